"""
What people ask for, as it comes (JSON): read with care, so that each mistake is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, Final

from sipgrace.controller.facts import OrderRecord, Person
from sipgrace.errors import Malformed, NotAllowed, OrderRefused
from sipgrace.lifecycle.authorization import MAY, Role
from sipgrace.lifecycle.orders import LONGEST_NAME, THEN, Announce, Kind, Order

__all__ = ["ORDER", "Wanted", "allow", "orderOf", "read", "readOrder", "text"]

#: What each value of an order is: its type, and how it is called in a refusal.
ORDER: Final[Mapping[str, type]] = {
    "node": str,
    "kind": str,
    "why": str,
    "guard": float,
    "retryAfter": float,
    "announce": str,
    "back": float,
    "over": float,
    "then": str,
    "server": str,
    "rule": str,
    "queue": bool,
    "at": float,
}

_TYPES: Final = {str: "a text", float: "a number", bool: "true or false", int: "a whole number"}

_RANKS: Final = list(Role)


def read(values: Mapping[str, Any], known: Mapping[str, Any], what: str) -> dict[str, Any]:
    """
    @param known: the values that there may be, and their types; C{list} and C{dict} stand for those of texts.
    @return: those that are set, numbers as C{float} where that is wanted.
    @raise Malformed: for another name, or another type.
    """
    if not isinstance(values, Mapping):
        raise Malformed(f"{what}: an object is expected")
    found: dict[str, Any] = {}
    for name, value in values.items():
        wanted = known.get(name)
        if wanted is None:
            raise Malformed(
                f"{what}: {str(name)[:50]!r} is not known; what may be said is {', '.join(sorted(known))}"
            )
        if value is not None:
            found[name] = _value(value, wanted, f"{what}: {name}")
    return found


def _value(value: Any, wanted: type, what: str) -> Any:
    # bool is an int to Python.
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if wanted is float and number:
        try:
            value = float(value)
        except OverflowError:
            value = float("inf")
        if not isfinite(value) or value < 0:
            raise Malformed(f"{what} is {value}; a number from 0 up is expected")
        return value
    if wanted is int and number and value == int(value) and value >= 0:
        return int(value)
    if wanted is list:
        if isinstance(value, (list, tuple)) and all(isinstance(one, str) for one in value):
            return list(value)
        raise Malformed(f"{what} is no list of texts")
    if wanted is dict:
        if isinstance(value, Mapping) and all(
            isinstance(text, str) for pair in value.items() for text in pair
        ):
            return dict(value)
        raise Malformed(f"{what} is no object of texts")
    if wanted is Mapping:
        if isinstance(value, Mapping):
            return value
        raise Malformed(f"{what} is no object")
    if wanted in (float, int) or type(value) is not wanted:
        raise Malformed(f"{what} is {_short(value)}; {_TYPES[wanted]} is expected")
    return value


def _short(value: Any) -> str:
    return repr(value)[:50]


def text(values: Mapping[str, Any], name: str, what: str) -> str:
    """
    @return: a text that must be there.
    @raise Malformed: where it is not, or is no name.
    """
    value = values.get(name, "")
    if not value:
        raise Malformed(f"{what}: {name} is missing")
    if len(value) > LONGEST_NAME or not value.isprintable():
        raise Malformed(f"{what}: {name} is no name: up to {LONGEST_NAME} printable characters are expected")
    return str(value)


def allow(person: Person, least: Role, what: str) -> None:
    """
    @raise NotAllowed: where that takes more.
    """
    if _RANKS.index(person.role) < _RANKS.index(least):
        raise NotAllowed(f"{what} takes the role {least}; {person.name} has the role {person.role}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """
    An order as it was asked for.

    @ivar order: it; C{when} is when it was asked for, C{expires} is not set yet.
    @ivar queue: whether it shall wait for the budget.
    @ivar at: when it shall be given; C{None} for now.
    """

    order: Order
    queue: bool
    at: float | None

    def facts(self) -> dict[str, Any]:
        """
        @return: the same as L{OrderRecord} keeps it.
        """
        facts = self.order.facts()
        if self.queue:
            facts["queue"] = True
        if self.at is not None:
            facts["at"] = self.at
        return facts


def readOrder(values: Mapping[str, Any], person: Person, by: str, now: float, nonce: str) -> Wanted:
    """
    Reads an order.

    @param by: the controller's name.
    @raise Malformed: where it is none.
    @raise NotAllowed: where the person may not give it.
    """
    found = read(values, ORDER, "the order")
    node = text(found, "node", "the order")
    queue, at = found.pop("queue", False), found.pop("at", None)
    try:
        found["kind"] = kind = Kind(found.get("kind", ""))
    except ValueError:
        raise Malformed(f"the order: its kind is none of {', '.join(Kind)}") from None
    if "announce" in found:
        try:
            found["announce"] = Announce(found["announce"])
        except ValueError:
            raise Malformed(f"the order: announce is none of {', '.join(Announce)}") from None
    if "then" in found and found["then"] not in THEN:
        raise Malformed(f"the order: then is none of {', '.join(THEN)}")
    if kind in (Kind.SKIP, Kind.UNSKIP):
        text(found, "server", "the order")
    if kind in (Kind.REJECT, Kind.ADMIT) and not found.get("rule"):
        raise Malformed("the order: rule is missing")
    if kind is Kind.EXTEND and "guard" not in found:
        raise Malformed("the order: guard is missing: the seconds to add")
    try:
        order = Order(**{**found, "who": giver(person, by), "when": now, "node": node, "nonce": nonce})
    except OrderRefused as error:
        raise Malformed(str(error)) from None
    if kind not in MAY[person.role]:
        least = next(role for role in Role if kind in MAY[role])
        raise NotAllowed(f"{kind} takes the role {least}; {person.name} has the role {person.role}")
    return Wanted(order, queue, at)


def giver(person: Person, by: str) -> str:
    """
    @return: how nodes are told who gave an order.
    """
    via = f" via {by}"
    name = "".join(char if char.isprintable() else "?" for char in person.name)
    return f"{name[: max(1, LONGEST_NAME - len(via))]}{via}"[:LONGEST_NAME]


def orderOf(record: OrderRecord, **changes: Any) -> Order:
    """
    @return: the order that is kept in a record.
    @raise OrderRefused: where it holds none.
    """
    facts = {name: value for name, value in record.order.items() if name not in ("queue", "at")}
    facts["kind"] = Kind(facts["kind"])
    if facts.get("announce") is not None:
        facts["announce"] = Announce(facts["announce"])
    return replace(Order(**facts), **changes)
