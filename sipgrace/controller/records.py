"""
What a store keeps, as JSON and back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, Final, TypeVar

from sipgrace.controller.facts import (
    NodeRecord,
    OrderRecord,
    Outcome,
    Progress,
    RollingRecord,
    ScheduleRecord,
)
from sipgrace.errors import StoreError

__all__ = [
    "fromText",
    "misdated",
    "nodeFrom",
    "orderFrom",
    "rollingFrom",
    "scheduleFrom",
    "storable",
    "toText",
]

#: By so many seconds another's clock may be ahead of ours.
SKEW: Final = 30.0

R = TypeVar("R", NodeRecord, OrderRecord, RollingRecord, ScheduleRecord)


def toText(record: NodeRecord | OrderRecord | RollingRecord | ScheduleRecord | Mapping[str, Any]) -> str:
    """
    @return: the same as JSON.
    @raise StoreError: for what is no JSON.
    """
    facts = record if isinstance(record, Mapping) else asdict(record)
    try:
        return json.dumps(facts, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise StoreError(f"what was to be kept is not JSON: {error}") from None


def storable(facts: Any) -> Any:
    """
    @param facts: what a node has told.
    @return: the same; C{None} where it cannot be kept (what Python reads as JSON may hold numbers that JSON
        has not).
    """
    try:
        toText({"facts": facts})
    except StoreError:
        return None
    return facts


def misdated(at: float, now: float) -> str:
    """
    @param at: when something is said to have begun, in seconds since the epoch.
    @return: why that cannot be; empty where it can. What is of the future would stand on top for good.
    """
    if 0 <= at <= now + SKEW:
        return ""
    return f"it is of {at:g}; no later than now ({now:.0f}) is expected, in seconds since the epoch"


def fromText(text: str | bytes) -> dict[str, Any]:
    """
    @raise StoreError: for what is no JSON object.
    """
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict):
        raise StoreError(f"what the store holds cannot be read: {text[:80]!r}")
    return facts


def _record(made: type[R], text: str | bytes, **words: Any) -> R:
    facts = fromText(text)
    # What a later version has added is passed over.
    known = {one.name: facts[one.name] for one in fields(made) if one.name in facts}
    try:
        return made(**known | {name: word(facts[name]) for name, word in words.items()})
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"what the store holds is no {made.__name__}: {error!r}") from None


def orderFrom(text: str | bytes) -> OrderRecord:
    """
    @raise StoreError: for what is none.
    """
    return _record(OrderRecord, text, outcome=Outcome)


def rollingFrom(text: str | bytes) -> RollingRecord:
    """
    @raise StoreError: for what is none.
    """
    return _record(RollingRecord, text, progress=Progress)


def scheduleFrom(text: str | bytes) -> ScheduleRecord:
    """
    @raise StoreError: for what is none.
    """
    return _record(ScheduleRecord, text)


def nodeFrom(text: str | bytes) -> NodeRecord:
    """
    @raise StoreError: for what is none.
    """
    return _record(NodeRecord, text)
