"""
What nodes and other controllers tell, looked at before it is shown or reckoned with: one that is out of its
mind, or of another version, must not spoil the view of all the others.
"""

from __future__ import annotations

from math import isfinite
from typing import Any, Final

from sipgrace.controller.greeting import isCapacity

__all__ = ["eventFrom", "standingFrom", "viewFrom"]

#: The longest text, in characters; the most peers of a node.
_LONGEST: Final = 2000
_PEERS: Final = 10_000

#: What is reckoned with.
_NUMBERS: Final = frozenset(
    (
        "waiting",
        "associations",
        "guardLeft",
        "retryAfter",
        "accepted",
        "settled",
        "forced",
        "refused",
        "reroutes",
        "tdm",
        "countdown",
        "latency",
        "at",
        "aborted",
    )
)

_VIEW: Final = frozenset(
    (
        "name",
        "role",
        "version",
        "labels",
        "group",
        "linked",
        "address",
        "since",
        "lastSeen",
        "lost",
        "boot",
        "state",
        "standing",
        "lastEvent",
    )
)


def _sane(key: str, value: Any, depth: int = 4) -> None:
    """
    Looks whether it can be shown. What a later version has added is no matter, however it looks.
    """
    if isinstance(value, str):
        if len(value) > _LONGEST:
            raise ValueError(f"{key} is longer than {_LONGEST} characters")
    elif isinstance(value, float):
        if not isfinite(value):
            raise ValueError(f"{key} is not finite")
    elif isinstance(value, dict | list):
        if not depth:
            raise ValueError(f"{key} is nested too deeply")
        for one in value.values() if isinstance(value, dict) else value:
            _sane(key, one, depth - 1)


def _object(what: str, value: Any, but: tuple[str, ...] = ()) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is no object")
    for key, one in value.items():
        if key in but:
            continue
        if key in _NUMBERS and one is not None and (one is True or not isinstance(one, int | float)):
            raise ValueError(f"{key} is no number")
        _sane(key, one)
    return value


def _order(value: Any) -> None:
    if value is not None:
        _object("its order", value)


def standingFrom(facts: Any) -> dict[str, Any]:
    """
    @param facts: see L{sipgrace.control.commands.Standing}.
    @return: the same.
    @raise ValueError: for what is no such thing; says what.
    """
    found = _object("a standing", facts, ("order", "peers"))
    if not isinstance(found.get("state", ""), str):
        raise ValueError("state is no text")
    _order(found.get("order"))
    peers = found.get("peers", [])
    if not isinstance(peers, list) or len(peers) > _PEERS:
        raise ValueError(f"peers is no array of at most {_PEERS}")
    for peer in peers:
        if not isinstance(_object("a peer", peer).get("name"), str):
            raise ValueError("a peer has no name")
    return found


def eventFrom(facts: Any) -> dict[str, Any]:
    """
    @param facts: see L{sipgrace.control.commands.Happened}.
    @return: the same.
    @raise ValueError: for what is no such thing; says what.
    """
    found = _object("an event", facts, ("order",))
    if type(found.get("number")) is not int:
        raise ValueError("an event has a number")
    if not (isinstance(found.get("change"), str) and isinstance(found.get("state"), str)):
        raise ValueError("an event has a change and a state")
    _order(found.get("order"))
    return found


def viewFrom(facts: Any) -> dict[str, Any]:
    """
    @param facts: a node as another controller shows it; see L{sipgrace.controller.members.Member.view}.
    @return: the same.
    @raise ValueError: for what is no such thing; says what.
    """
    found = _object("a node", facts, ("labels", "standing", "lastEvent"))
    if not found.keys() >= _VIEW:
        raise ValueError(f"a node has no {', '.join(sorted(_VIEW - found.keys()))}")
    for key in ("name", "role", "state", "boot"):
        if not isinstance(found[key], str):
            raise ValueError(f"{key} is no text")
    labels = _object("labels", found["labels"])
    if not all(isinstance(value, str) for value in labels.values()):
        raise ValueError("a label is no text")
    if not isCapacity(labels.get("capacity", "1")):
        raise ValueError("the label capacity is no finite number from 0 up")
    standingFrom(found["standing"])
    if found["lastEvent"] is not None:
        eventFrom(found["lastEvent"])
    return found
