"""
A node as those see it who command and watch it, whichever way they come.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, fail

from sipgrace import __version__
from sipgrace.compiled import COMPILED
from sipgrace.control.commands import (
    NotOffered,
    phrase,
)
from sipgrace.errors import OrderRefused
from sipgrace.lifecycle.authorization import Giver
from sipgrace.lifecycle.door import Door, Obeyed
from sipgrace.lifecycle.events import Event
from sipgrace.lifecycle.orderform import SignedOrder
from sipgrace.lifecycle.orders import Announce, Kind, Order

__all__ = ["Announced", "Node", "Reroutes", "Watched", "eventFacts"]

_W = TypeVar("_W", Kind, Announce)

#: The most reroutes on one page.
PAGE = 250


class Reroutes(Protocol):
    """
    The calls that a client had to try elsewhere.
    """

    @property
    def total(self) -> int:
        """
        How many there ever were.
        """

    def since(self, number: int) -> Sequence[Any]:
        """
        Those with a higher number that are still kept, oldest first: dataclasses.
        """


def eventFacts(event: Event, wallClock: float) -> dict[str, Any]:
    """
    @param wallClock: the present time, in seconds since the epoch.
    @return: an event as L{Happened} has it.
    """
    return {
        "number": event.number,
        "change": str(event.change),
        "state": str(event.state),
        "at": wallClock,
        "waiting": event.waiting,
        "associations": event.associations,
        "guardLeft": None if event.deadline is None else max(0.0, event.deadline - event.at),
        "retryAfter": None if event.until is None else max(0.0, event.until - event.at),
        "forced": event.forced,
        "aborted": event.aborted,
        "text": event.text,
        "sinceSettled": event.sinceSettled,
        "lastInvite": event.lastInvite,
        "clock": time.monotonic(),
        "order": None if event.order is None else event.order.facts(),
    }


class Announced(Protocol):
    """
    A client, to which somebody can speak in place of a server.
    """

    def unavailable(self, giver: Giver, server: str, retryAfter: float, back: float | None, why: str) -> None:
        """
        A server is unavailable for C{retryAfter} seconds, and scheduled to be back at C{back}, in seconds
        since the epoch.

        @raise OrderRefused: where nobody may say so, or of that server.
        """

    def available(self, giver: Giver, server: str, why: str) -> None:
        """
        It is back.

        @raise OrderRefused: as above.
        """


class Watched(Protocol):
    """
    What is at the end of a link that commands come to.
    """

    @property
    def number(self) -> int:
        """
        The number of the last event.
        """

    def watch(self, watcher: Callable[[dict[str, Any]], None]) -> None:
        """
        Has someone told of what happens, once for each event however often they ask.
        """

    def unwatch(self, watcher: Callable[[dict[str, Any]], None]) -> None:
        """
        Tells them no longer.
        """

    def since(self, number: int) -> list[dict[str, Any]]:
        """
        The events of a higher number that are still kept, oldest first.
        """

    @property
    def announced(self) -> Announced:
        """
        The client.

        @raise NotOffered: where it is none.
        """

    def status(self) -> dict[str, Any]:
        """
        How things stand.
        """

    def reroutes(self, since: int) -> tuple[list[dict[str, Any]], int]:
        """
        @return: a page of reroutes after that number, and how many there ever were.
        @raise NotOffered: where there are none.
        """

    def order(self, giver: Giver, kind: str, why: str, **values: Any) -> Deferred[Obeyed]:
        """
        Obeys.

        @return: fails with L{OrderRefused} where it does not.
        """

    def signed(self, giver: Giver, values: object) -> Deferred[Obeyed]:
        """
        Obeys an order that is signed; as L{order}.
        """


class Node:
    """
    A role, as links know it: one for all of them.

    @cvar KEPT: how many of the last events are kept for L{since}.
    @ivar door: where the role takes orders.
    @ivar number: the number of the last event.
    """

    KEPT = 256

    def __init__(
        self,
        door: Door,
        status: Callable[[], Mapping[str, Any]],
        reroutes: Reroutes | None = None,
        wallClock: Callable[[], float] = time.time,
        announced: Announced | None = None,
    ) -> None:
        """
        @param door: where the role takes orders.
        @param status: how things stand; everything in it fits JSON.
        @param reroutes: a client's.
        @param announced: a client.
        """
        self.door = door
        self._status = status
        self._reroutes = reroutes
        self._wallClock = wallClock
        self._announced = announced
        self._kept: deque[dict[str, Any]] = deque(maxlen=self.KEPT)
        self._watchers: dict[Callable[[dict[str, Any]], None], None] = {}
        self.number = 0
        door.lifecycle.observe(self)

    def onChange(self, event: Event) -> None:
        """
        See L{sipgrace.lifecycle.seams.Observer}.
        """
        self.number = event.number
        facts = eventFacts(event, self._wallClock())
        self._kept.append(facts)
        for watcher in list(self._watchers):
            watcher(facts)

    def since(self, number: int) -> list[dict[str, Any]]:
        """
        The events of a higher number that are still kept, oldest first.
        """
        return [facts for facts in self._kept if facts["number"] > number]

    @property
    def announced(self) -> Announced:
        """
        The client.

        @raise NotOffered: by a server.
        """
        if self._announced is None:
            raise NotOffered("a server is told nothing of other servers; tell its clients")
        return self._announced

    def watch(self, watcher: Callable[[dict[str, Any]], None]) -> None:
        """
        Has someone told of what happens, once for each event however often they ask.
        """
        self._watchers[watcher] = None

    def unwatch(self, watcher: Callable[[dict[str, Any]], None]) -> None:
        """
        Tells them no longer.
        """
        self._watchers.pop(watcher, None)

    def status(self) -> dict[str, Any]:
        """
        How things stand.
        """
        return {"version": __version__, "compiled": COMPILED, "pid": os.getpid(), **self._status()}

    def reroutes(self, since: int) -> tuple[list[dict[str, Any]], int]:
        """
        @return: a page of reroutes after that number, and how many there ever were.
        @raise NotOffered: by a server.
        """
        if self._reroutes is None:
            raise NotOffered("a server reroutes no calls; ask its clients")
        page = self._reroutes.since(since)[:PAGE]
        return [asdict(one) for one in page], self._reroutes.total

    def order(self, giver: Giver, kind: str, why: str, **values: Any) -> Deferred[Obeyed]:
        """
        Obeys.

        @param values: what else is to be said in the L{Order}.
        @return: fails with L{OrderRefused} where it does not.
        """
        try:
            announce = values.pop("announce", None)
            order = Order(
                kind=_word(Kind, kind, "order"),
                who=giver.name,
                when=self._wallClock(),
                why=phrase(why),
                announce=None if announce is None else _word(Announce, announce, "way to announce it"),
                **values,
            )
        except OrderRefused:
            return fail()
        return self.door.give(order, giver)

    def signed(self, giver: Giver, values: object) -> Deferred[Obeyed]:
        """
        Obeys an order that is signed.

        @param values: see L{SignedOrder.fromJSON}.
        @return: fails with L{OrderRefused} where it does not.
        """
        try:
            signed = SignedOrder.fromJSON(values)
        except OrderRefused:
            return fail()
        return self.door.take(signed, giver)


def _word(known: type[_W], text: str, what: str) -> _W:
    try:
        return known(text)
    except ValueError:
        raise OrderRefused(f"{text[:50]!r} is no {what}; one of {', '.join(known)} is expected") from None
