"""
The node's side of a link: it answers the commands of L{sipgrace.control.commands}.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from sipgrace import __version__
from sipgrace.control.commands import (
    GetReroutes,
    GetStatus,
    GiveOrder,
    GiveSigned,
    Happened,
    NotOffered,
    Rehearsed,
    Watch,
    phrase,
)
from sipgrace.control.link import Link
from sipgrace.errors import OrderRefused
from sipgrace.lifecycle.authorization import Giver
from sipgrace.lifecycle.door import Door, Obeyed
from sipgrace.lifecycle.events import Event
from sipgrace.lifecycle.orderform import SignedOrder
from sipgrace.lifecycle.orders import Announce, Kind, Order

__all__ = ["Announced", "Node", "NodeLink", "Reroutes", "Watched", "eventFacts"]

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
        return {"version": __version__, "pid": os.getpid(), **self._status()}

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


@implementer(IPushProducer)
class NodeLink(Link):
    """
    A link on which a node takes orders. Each kind of link says in L{giver} whom an order on it comes from.

    A peer that does not read its answers is not read from either, so that they cannot pile up here. (That is
    for this side alone: were both to do so, then each could wait for the other.)

    @cvar UNREAD: how many events a watcher may leave unread before its link is ended.
    """

    UNREAD = 256

    #: So many bytes are looked at before the peer is seen to read.
    _BITE = 1024

    def __init__(self, node: Watched) -> None:
        super().__init__()
        self._node = node
        self._later: list[Deferred[Any]] = []
        self._unread = 0
        self._rest = b""
        self._clogged = False

    def makeConnection(self, transport: Any) -> None:
        """
        See C{IProtocol}.
        """
        super().makeConnection(transport)
        transport.registerProducer(self, True)

    def end(self) -> None:
        """
        See L{Link}.
        """
        if self.transport is not None:
            # With one that is paused the connection would never end.
            self.transport.unregisterProducer()
        super().end()

    def dataReceived(self, data: bytes) -> None:
        """
        See C{IProtocol}.
        """
        self._rest += data
        while self._rest and not (self._clogged or self._dropped or self.gone):
            bite, self._rest = self._rest[: self._BITE], self._rest[self._BITE :]
            super().dataReceived(bite)

    def pauseProducing(self) -> None:
        """
        What was sent is not being read.
        """
        self._clogged = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """
        It is being read again.
        """
        self._clogged = False
        if self.transport.disconnecting:
            self.transport.unregisterProducer()
            return
        self.dataReceived(b"")
        if not (self._clogged or self.gone):
            self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """
        The connection is going.
        """

    def giver(self, claimed: str | None) -> Giver:
        """
        @param claimed: who the order says it comes from; C{None} for a signed one.
        @return: who it comes from, and which way.
        @raise OrderRefused: where nobody may give orders here.
        """
        raise OrderRefused("orders are not taken on this link")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        See C{IProtocol}.
        """
        self._node.unwatch(self._tell)
        # Nobody is left to be told.
        later, self._later = self._later, []
        for one in later:
            one.cancel()
        super().connectionLost(reason)

    @GiveOrder.responder
    def _order(
        self,
        kind: str,
        who: str | None,
        why: str | None,
        server: str | None,
        rule: str | None,
        **values: Any,
    ) -> Deferred[dict[str, Any]]:
        values |= {"server": server or "", "rule": rule or ""}
        given = self._node.order(self.giver(who), kind, why or "", **values)
        return given.addCallback(self._obeyed)

    @GiveSigned.responder
    def _signed(self, signed: Any) -> Deferred[dict[str, Any]]:
        return self._node.signed(self.giver(None), signed).addCallback(self._obeyed)

    def _obeyed(self, obeyed: Obeyed) -> dict[str, Any]:
        later = obeyed.later
        if later is not None:
            self._later.append(later)
            told = (later, obeyed.order.nonce)
            later.addCallbacks(self._tellLater, lambda failure: None, callbackArgs=told)
        return {
            "number": obeyed.number,
            "state": str(obeyed.state),
            "id": obeyed.order.nonce,
            "result": obeyed.result,
        }

    def _tellLater(self, facts: dict[str, Any], later: Deferred[Any], name: str) -> None:
        self._later.remove(later)
        if not self.gone:
            self.callRemote(Rehearsed, id=name, facts=facts)  # type: ignore[no-untyped-call]

    @GetStatus.responder
    def _status(self) -> dict[str, Any]:
        return {"status": self._node.status()}

    @GetReroutes.responder
    def _reroutes(self, since: int) -> dict[str, Any]:
        page, total = self._node.reroutes(since)
        return {"reroutes": page, "total": total}

    @Watch.responder
    def _watch(self) -> dict[str, Any]:
        self._node.watch(self._tell)
        return {"number": self._node.number}

    def _tell(self, facts: dict[str, Any]) -> None:
        self._unread = self._unread + 1 if self._clogged else 0
        if self._unread > self.UNREAD:
            self._node.unwatch(self._tell)
            self._drop("whoever watches here does not read")
        else:
            self.callRemote(Happened, event=facts)  # type: ignore[no-untyped-call]


def _word(known: type[_W], text: str, what: str) -> _W:
    try:
        return known(text)
    except ValueError:
        raise OrderRefused(f"{text[:50]!r} is no {what}; one of {', '.join(known)} is expected") from None
