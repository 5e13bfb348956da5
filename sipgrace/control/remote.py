"""
The other side of a link: whoever watches a node and gives it orders.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, TimeoutError, fail, succeed
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.protocols import amp
from twisted.python.failure import Failure

from sipgrace.control.commands import (
    Available,
    GetReroutes,
    GetStatus,
    GiveOrder,
    GiveSigned,
    Happened,
    Rehearsed,
    Unavailable,
    Watch,
    phrase,
)
from sipgrace.control.link import Link
from sipgrace.errors import OrderRefused, SIPGraceError
from sipgrace.lifecycle.orderform import SignedOrder
from sipgrace.lifecycle.orders import Kind

__all__ = ["Answer", "RemoteNode", "Unreachable"]

T = TypeVar("T")

#: An event as L{Happened} has it.
Facts = dict[str, Any]


class Unreachable(SIPGraceError):
    """
    A node cannot be reached, or not any more: says why and what to look at.
    """

    status = 503


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What a node says to an order that it obeys.

    @ivar number: the order's own events have a higher number than this.
    @ivar state: where the node stands after it.
    @ivar id: by this the audit log knows the order.
    @ivar result: what a rehearsal found.
    """

    number: int
    state: str
    id: str = ""
    result: Any = None


class RemoteNode(Link):
    """
    A node at the other end. Everything asked of it fails with L{Unreachable} when the link is lost or the
    answer takes too long.

    @cvar KEPT: how many events are kept for L{when}.
    """

    KEPT = 100

    def __init__(self, clock: IReactorTime, timeout: float = 10.0) -> None:
        """
        @param timeout: seconds within which an answer is expected.
        """
        super().__init__()
        self._clock = clock
        self._timeout = timeout
        self._watching: list[Deferred[int]] = []
        self._watchedFrom: int | None = None
        self._watchers: list[Callable[[Facts], None]] = []
        self._events: deque[Facts] = deque(maxlen=self.KEPT)
        self._waiters: list[tuple[frozenset[str], int, Deferred[Facts]]] = []
        self._rehearsed: dict[str, Facts] = {}
        self._rehearsing: dict[str, Deferred[Facts]] = {}

    def status(self) -> Deferred[dict[str, Any]]:
        """
        How things stand there; see L{GetStatus}.
        """
        return self._ask(GetStatus).addCallback(lambda answer: answer["status"])

    def order(
        self,
        kind: Kind | str,
        why: str = "",
        guard: float | None = None,
        retryAfter: float | None = None,
        who: str | None = None,
        **more: Any,
    ) -> Deferred[Answer]:
        """
        Gives an order; see L{sipgrace.lifecycle.orders.Order}.

        @param more: what else it says: C{announce}, C{back}, C{over}, C{then}, C{server}.
        @return: fires when it is obeyed; fails with L{sipgrace.errors.OrderRefused} where it is refused.
        """
        try:
            values: dict[str, Any] = {"kind": str(kind)[:100], "why": phrase(why), "who": who}
        except OrderRefused:
            return fail()
        values |= {"guard": _float(guard), "retryAfter": _float(retryAfter), **more}
        for key in ("back", "over"):
            values[key] = _float(values.get(key))
        return self._ask(GiveOrder, **values).addCallback(_answer)

    def signed(self, signed: SignedOrder) -> Deferred[Answer]:
        """
        Gives an order that is signed; as L{order}.
        """
        return self._ask(GiveSigned, signed=signed.toJSON()).addCallback(_answer)

    def drain(
        self, guard: float | None = None, retryAfter: float | None = None, why: str = ""
    ) -> Deferred[Answer]:
        """
        Orders it out of service without losing a call; all in seconds.
        """
        return self.order(Kind.DRAIN, why, guard, retryAfter)

    def resume(self, why: str = "") -> Deferred[Answer]:
        """
        Orders it into service.
        """
        return self.order(Kind.RESUME, why)

    def reroutes(self, since: int = 0) -> Deferred[list[dict[str, Any]]]:
        """
        @return: fires with all the reroutes after that number that a client still keeps, oldest first; fails
            with L{sipgrace.control.commands.NotOffered} at a server.
        """
        return Deferred.fromCoroutine(self._reroutes(since))

    async def _reroutes(self, since: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while page := (await self._ask(GetReroutes, since=since))["reroutes"]:
            found += page
            since = page[-1]["number"]
        return found

    def watch(self, watcher: Callable[[Facts], None] | None = None) -> Deferred[int]:
        """
        Has the node tell what happens to it.

        @param watcher: called with each event (see L{Happened}) from then on.
        @return: fires with the number of the last event before.
        """
        if watcher is not None:
            self._watchers.append(watcher)
        if self._watchedFrom is not None:
            return succeed(self._watchedFrom)
        watching: Deferred[int] = Deferred()
        self._watching.append(watching)
        if len(self._watching) == 1:
            self._ask(Watch).addCallback(lambda answer: answer["number"]).addBoth(self._watches)
        return watching

    def _watches(self, number: int | Failure) -> None:
        if not isinstance(number, Failure):
            self._watchedFrom = number
        watching, self._watching = self._watching, []
        for one in watching:
            one.callback(number)

    def when(self, states: Collection[str], answer: Answer) -> Deferred[Facts]:
        """
        Waits for what becomes of an order. To be asked on a link that had begun to L{watch} before the order
        was given.

        @param states: where the node may stand when the order has been carried out, or come to nothing.
        @return: fires with the event that brought it into one of these; with no more than C{number} and
            C{state} where it stood there already.
        """
        wanted = frozenset(str(state) for state in states)
        for event in self._events:
            if event["number"] > answer.number and event["state"] in wanted:
                return succeed(event)
        if answer.state in wanted:
            return succeed({"number": answer.number, "state": answer.state})
        found: Deferred[Facts] = Deferred()
        if self.gone:
            found.errback(_lost())
        else:
            self._waiters.append((wanted, answer.number, found))
        return found

    def rehearsed(self, answer: Answer) -> Deferred[Facts]:
        """
        Waits for what a rehearsal found in the end; see L{Rehearsed}. To be asked once.

        @param answer: what came at once.
        """
        known = self._rehearsed.pop(answer.id, None)
        if known is not None:
            return succeed(known)
        if self.gone:
            return fail(_lost())

        def forget(_: object) -> None:
            self._rehearsing.pop(answer.id, None)

        found = self._rehearsing[answer.id] = Deferred(forget)
        return found

    def unavailable(self, server: str, retryAfter: float, back: float | None, why: str) -> Deferred[None]:
        """
        Tells a client on a server's behalf; see L{sipgrace.control.commands.Unavailable}.

        @return: fails with L{sipgrace.errors.OrderRefused} where the client does not take it, with
            L{sipgrace.control.commands.NotOffered} at a server.
        """
        values = {"retryAfter": float(retryAfter), "back": _float(back)}
        return self._ask(Unavailable, server=server, why=why, **values).addCallback(lambda _: None)

    def available(self, server: str, why: str) -> Deferred[None]:
        """
        Takes that back; as L{unavailable}.
        """
        return self._ask(Available, server=server, why=why).addCallback(lambda _: None)

    @Rehearsed.responder
    def _told(self, id: str, facts: Facts) -> dict[str, Any]:
        found = self._rehearsing.pop(id, None)
        if found is not None:
            found.callback(facts)
        elif len(self._rehearsed) < self.KEPT:
            self._rehearsed[id] = facts
        return {}

    @Happened.responder
    def _happened(self, event: Facts) -> dict[str, Any]:
        self._events.append(event)
        for watcher in self._watchers:
            try:
                watcher(event)
            except Exception:
                self._log.failure("a watcher failed at {change}", change=event["change"])
        for waiter in list(self._waiters):
            wanted, number, found = waiter
            if event["number"] > number and event["state"] in wanted:
                self._waiters.remove(waiter)
                found.callback(event)
        return {}

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        See C{IProtocol}.
        """
        super().connectionLost(reason)
        waiters, self._waiters = self._waiters, []
        rehearsing, self._rehearsing = self._rehearsing, {}
        for found in [*(found for _, _, found in waiters), *rehearsing.values()]:
            found.errback(_lost())

    def _ask(self, command: type[amp.Command], **values: Any) -> Deferred[Any]:
        # What is None is left out, as AMP wants it.
        asked: Deferred[Any] = self.callRemote(command, **values)
        return asked.addTimeout(self._timeout, self._clock).addErrback(self._unanswered)

    def _unanswered(self, failure: Failure) -> Failure:
        if failure.check(ConnectionClosed, ConnectError):
            return Failure(_lost())
        if failure.check(TimeoutError):
            return Failure(Unreachable(f"it has not answered within {self._timeout:g} seconds"))
        return failure


def _answer(answer: dict[str, Any]) -> Answer:
    return Answer(answer["number"], answer["state"], answer["id"], answer["result"])


def _float(seconds: float | None) -> float | None:
    # AMP wants no integer here.
    return None if seconds is None else float(seconds)


def _lost() -> Unreachable:
    return Unreachable("it has closed the connection; its process has probably ended")
