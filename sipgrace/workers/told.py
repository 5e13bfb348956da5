"""
What happened to the lifecycle, as the front tells its workers.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sipgrace.lifecycle.events import Change, Event, State
from sipgrace.lifecycle.orders import Announce, Kind, Order

__all__ = ["eventOf", "factsOf"]


def factsOf(event: Event) -> dict[str, Any]:
    """
    @return: an event, fit for JSON; times count from it.
    """
    return {
        "number": event.number,
        "change": str(event.change),
        "state": str(event.state),
        "order": None if event.order is None else asdict(event.order),
        "waiting": event.waiting,
        "associations": event.associations,
        "deadline": None if event.deadline is None else event.deadline - event.at,
        "until": None if event.until is None else event.until - event.at,
        "text": event.text,
    }


def eventOf(facts: dict[str, Any], now: float) -> Event:
    """
    @param now: the present time, in seconds of the clock here.
    @return: the event.
    """
    order = facts["order"]
    if order is not None:
        announce = order["announce"]
        words = {
            "kind": Kind(order["kind"]),
            "announce": None if announce is None else Announce(announce),
        }
        order = Order(**{**order, **words})
    times: dict[str, Any] = {
        name: None if facts[name] is None else now + facts[name] for name in ("deadline", "until")
    }
    return Event(
        number=facts["number"],
        change=Change(facts["change"]),
        state=State(facts["state"]),
        at=now,
        order=order,
        waiting=facts["waiting"],
        associations=facts["associations"],
        text=facts["text"],
        **times,
    )
