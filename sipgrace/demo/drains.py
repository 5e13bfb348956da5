"""
The drains of a run, and what is measured of each.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from sipgrace.demo.api import Refused
from sipgrace.demo.book import Book
from sipgrace.demo.children import DemoError
from sipgrace.demo.network import LOOK, Network
from sipgrace.demo.plan import CLIENTS, CONTROLLERS, SERVERS, Member, Plan
from sipgrace.demo.rolling import Course, Rolling
from sipgrace.errors import SIPGraceError

__all__ = ["Drain", "Drains"]

#: Seconds that a server is left offline, as if something were done to it.
WORK = 0.25

#: Seconds beyond the guard after which nobody waits for the end of a drain any more, and seconds that a
#: server may take to be back on all lists after its guard. Both are far more than should ever be needed.
LATE = 5.0
RETURN = 30.0

#: Seconds that a server may take, in a rolling maintenance, from offline until it serves again: its work, and
#: a controller that has to be started again.
WORKED = 60.0

#: Seconds that clients may take to send calls again after a drain was taken back.
AGAIN = 5.0


@dataclass(slots=True)
class Drain:
    """
    One drain. Times in seconds since it was begun; C{None} for what has not come about.

    @ivar server: the server's name.
    @ivar guard: its guard.
    @ivar begunAt: when it began, in seconds of the host's monotonic clock, which its processes share: the
        wall clock may be set meanwhile.
    @ivar waiting: accepted requests that were not settled when it began.
    @ivar associations: associations that the server had then.
    @ivar drainedAfter: when nothing accepted was left, by the server's own account.
    @ivar forced: how many of them had to be given a final answer by force.
    @ivar aborted: how many associations were aborted at the guard.
    @ivar goneByServer: when its last association was gone, by its own account.
    @ivar goneByClients: the same as each client has seen it.
    @ivar backAfter: when it was on the active lists of all clients again.
    @ivar askedAt: when the controller was asked for it, by the host's monotonic clock.
    @ivar obeyedAt: when the server obeyed, by its own account and the same clock.
    @ivar cancelledAt: the same of the order that took it back.
    @ivar offlineAfter: from C{obeyedAt} until the server was offline, by its own account.
    @ivar sinceSettled: the same from its last settled INVITE on; C{None} where there was none.
    @ivar lastInvite: how long after its announcement the latest INVITE reached it; C{None} where none did.
    @ivar usedAgain: from the order to cancel until each client's first call by that server had arrived.
    @ivar servesAgain: whether it is in service again, by its own account.
    @ivar trouble: what went wrong.
    """

    server: str
    guard: float
    begunAt: float | None = None
    waiting: int = 0
    associations: int = 0
    drainedAfter: float | None = None
    forced: int = 0
    aborted: int = 0
    goneByServer: float | None = None
    goneByClients: dict[str, float] = field(default_factory=dict)
    backAfter: float | None = None
    askedAt: float = 0.0
    obeyedAt: float = 0.0
    cancelledAt: float | None = None
    offlineAfter: float | None = None
    sinceSettled: float | None = None
    lastInvite: float | None = None
    usedAgain: dict[str, float] = field(default_factory=dict)
    servesAgain: bool = False
    trouble: str = ""

    @property
    def goneAfter(self) -> float | None:
        """
        When its associations were gone: by its own account and everyone else's.
        """
        if self.goneByServer is None or not self.goneByClients:
            return None
        return max(self.goneByServer, *self.goneByClients.values())

    @property
    def usedAgainAfter(self) -> float | None:
        """
        From the order to cancel until all clients had sent the server a call.
        """
        return max(self.usedAgain.values()) if len(self.usedAgain) == len(CLIENTS) else None

    @property
    def met(self) -> bool:
        """
        Whether all was as it should be: the associations gone no later than the guard (as exactly as that
        can be seen from the outside), and the server back; or the drain taken back, and all clients.
        """
        if self.cancelledAt is not None:
            return self.backAfter is not None and self.usedAgainAfter is not None
        gone = self.goneAfter
        return gone is not None and gone <= self.guard + LOOK and self.backAfter is not None


class Drains:
    """
    Drains the servers of the plan.

    @ivar drains: those that were begun.
    @ivar course: how the rolling maintenance went, where there was one.
    @ivar onStep: called with one line for each thing that happens.
    """

    def __init__(self, reactor: Any, plan: Plan, network: Network, book: Book) -> None:
        """
        @param book: keeps time by the host's monotonic clock.
        """
        self._reactor = reactor
        self._plan = plan
        self._network = network
        self._book = book
        self.drains: list[Drain] = []
        self.course: Course | None = None
        self._rolling: Rolling | None = None
        self._latest: dict[str, Drain] = {}
        self._following: list[Deferred[None]] = []
        self.onStep: Callable[[str], None] = lambda text: None
        network.onEvent = self._happened

    async def run(self) -> None:
        """
        All of them.

        @raise DemoError: when a process has ended. Whatever else goes wrong with a drain is kept in it.
        """
        if self._plan.calls:
            await deferLater(self._reactor, self._plan.drainAt)
        members = [next(server for server in SERVERS if server.name == name) for name in self._plan.drains]
        if self._plan.rolling:
            await self._roll()
        elif self._plan.atOnce:
            await self._drain(members)
        else:
            for server in members:
                await self._drain([server])

    async def _drain(self, servers: list[Member]) -> None:
        """
        Some at the same time: all leave, then all return.
        """
        drains = {server: Drain(server.name, self._plan.guard) for server in servers}
        self.drains += drains.values()
        self._latest |= {drain.server: drain for drain in drains.values()}
        leave = self._leave if self._plan.cancelAfter is None else self._leaveAndCancel
        await self._each(drains, leave)
        if self._plan.cancelAfter is None:
            await deferLater(self._reactor, WORK)
            await self._each({one: drain for one, drain in drains.items() if not drain.trouble}, self._return)

    async def _roll(self) -> None:
        """
        Leaves it to the controller, and follows what it does.
        """
        rolling = self._rolling = Rolling(self._reactor, self._plan, self._network)
        rolling.onStep = self.onStep
        self.course = rolling.course
        await rolling.run()
        await gatherResults(self._following)

    def _follow(self, server: Member) -> Drain:
        """
        A server drains by the controller's own will.
        """
        drain = self._latest[server.name] = Drain(server.name, self._plan.guard)
        self.drains.append(drain)
        following = Deferred.fromCoroutine(self._each({server: drain}, self._followed))
        # A process that has ended is found by whoever waits for the whole.
        self._following.append(following.addErrback(lambda failure: None))
        return drain

    async def _followed(self, server: Member, drain: Drain) -> None:
        await self._left(server, drain)
        await self._network.until(
            lambda: drain.servesAgain, drain.guard + WORKED, f"{server.name} does not serve again"
        )
        await self._back(server, drain)

    async def _each(
        self, drains: dict[Member, Drain], act: Callable[[Member, Drain], Awaitable[None]]
    ) -> None:
        async def one(server: Member, drain: Drain) -> None:
            try:
                await act(server, drain)
            except SIPGraceError as error:
                self._network.check()
                self._failed(drain, str(error))

        await gatherResults([Deferred.fromCoroutine(one(*pair)) for pair in drains.items()])

    def _failed(self, drain: Drain, why: str) -> None:
        drain.trouble = why
        self.onStep(f"{drain.server}: {why}")

    async def _leave(self, server: Member, drain: Drain) -> None:
        await self._order(drain, "drain", guard=drain.guard)
        await self._left(server, drain)

    async def _order(self, drain: Drain, kind: str, **values: Any) -> None:
        """
        Has the controller give an order.
        """
        if kind == "drain":
            drain.askedAt = time.monotonic()
            # The last server's return may not have come to its ears yet.
            values |= {"queue": True, "then": "stay"}
        await self._network.apis[CONTROLLERS[0]].post(
            "orders", node=drain.server, kind=kind, why="demo", **values
        )

    async def _left(self, server: Member, drain: Drain) -> None:
        network = self._network
        limit = drain.guard + LATE
        await network.until(lambda: drain.goneByServer is not None, limit, f"{server.name} is not offline")
        await network.until(
            lambda: network.isGone(server), limit, f"{server.name} still has associations, its clients say,"
        )
        begunAt = drain.begunAt or 0.0
        drain.goneByClients = {
            client: round(since - begunAt, 3) for client, since in network.seenSince(server).items()
        }

    async def _return(self, server: Member, drain: Drain) -> None:
        await self._order(drain, "resume")
        await self._network.until(
            lambda: drain.servesAgain, drain.guard + LATE, f"{server.name} does not serve again"
        )
        await self._back(server, drain)

    async def _back(self, server: Member, drain: Drain) -> None:
        await self._network.until(
            lambda: self._network.isBack(server),
            drain.guard + RETURN,
            f"{server.name} is not back on all active lists",
        )
        drain.backAfter = round(max(self._network.seenSince(server).values()) - (drain.begunAt or 0.0), 3)
        self.onStep(f"{server.name} is back on all active lists")

    async def _leaveAndCancel(self, server: Member, drain: Drain) -> None:
        await self._order(drain, "drain", guard=drain.guard)
        limit = drain.guard + LATE
        await self._network.until(lambda: bool(drain.obeyedAt), limit, f"{server.name} does not drain")
        await deferLater(self._reactor, self._plan.cancelAfter or 0.0)
        try:
            await self._order(drain, "cancel")
        except Refused as refused:
            # On a busy host it may be over before the order arrives. The bound is missed then; no call is.
            self.onStep(f"{server.name}: too late to take the drain back: {refused}")
            await self._left(server, drain)
            await self._return(server, drain)
            return
        await self._network.until(
            lambda: drain.cancelledAt is not None, limit, f"{server.name} goes on draining"
        )
        cancelledAt = drain.cancelledAt or 0.0
        await self._back(server, drain)
        until = cancelledAt + AGAIN
        while drain.usedAgainAfter is None:
            if time.monotonic() > until:
                raise DemoError(f"not all clients have sent {server.name} a call {AGAIN:.0f} seconds later")
            await deferLater(self._reactor, LOOK)
            drain.usedAgain = self._book.usedAgain(server.name, cancelledAt)

    def _happened(self, server: Member, event: dict[str, Any]) -> None:
        """
        A server tells what happened to it.
        """
        change, at = event["change"], event["clock"]
        drain = self._latest.get(server.name)
        if self._rolling is not None:
            self._rolling.happened(server, change)
            if change == "draining":
                drain = self._follow(server)
        if drain is None:
            return
        if change == "draining":
            drain.begunAt = at
            drain.obeyedAt = at
            drain.waiting = event["waiting"]
            drain.associations = event["associations"]
            self.onStep(
                f"{server.name} is draining: {drain.waiting} calls to set up, "
                f"{drain.associations} associations, guard {drain.guard:g} s"
            )
        if change in ("offline", "cancelled"):
            drain.sinceSettled = event["sinceSettled"]
            drain.lastInvite = event["lastInvite"]
        drain.forced += event["forced"]
        drain.aborted += event["aborted"]
        after = round(at - (drain.begunAt or at), 3)
        if change == "drained":
            drain.drainedAfter = after
            self.onStep(f"{server.name} is drained, {drain.forced} by force; its associations shut down")
        elif change == "aborted":
            self.onStep(f"{server.name} has aborted {event['aborted']} associations")
        elif change == "offline":
            drain.goneByServer = after
            drain.offlineAfter = at - drain.obeyedAt
            self.onStep(f"{server.name} is offline")
        elif change == "cancelled":
            drain.cancelledAt = at
            self.onStep(f"{server.name}: the drain is taken back")
        elif change == "serving":
            drain.servesAgain = True
            self.onStep(f"{server.name} serves again")
        elif change in ("failed", "refused"):
            self.onStep(f"{server.name}: {event['text']}")
