"""
The drains of a run, one after the other, and what is measured of each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.protocols.amp import RemoteAmpError

from sipgrace.demo.children import DemoError
from sipgrace.demo.network import LOOK, Network
from sipgrace.demo.plan import SERVERS, Member, Plan
from sipgrace.errors import SIPGraceError

__all__ = ["Drain", "Drains"]

#: Seconds that a server is left offline, as if something were done to it.
WORK = 0.25

#: Seconds beyond the guard after which nobody waits for the end of a drain any more, and seconds that a
#: server may take to be back on all lists after its guard. Both are far more than should ever be needed.
LATE = 5.0
RETURN = 30.0


@dataclass(slots=True)
class Drain:
    """
    One drain. Times in seconds since it was begun; C{None} for what has not come about.

    @ivar server: the server's name.
    @ivar guard: its guard.
    @ivar begunAt: when it began, in seconds since the epoch.
    @ivar waiting: accepted requests that were not settled when it began.
    @ivar associations: associations that the server had then.
    @ivar drainedAfter: when nothing accepted was left, by the server's own account.
    @ivar forced: how many of them had to be given a final answer by force.
    @ivar aborted: how many associations were aborted at the guard.
    @ivar goneByServer: when its last association was gone, by its own account.
    @ivar goneByClients: the same as each client has seen it.
    @ivar backAfter: when it was on the active lists of all clients again.
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
    def met(self) -> bool:
        """
        Whether all was as it should be: the associations gone no later than the guard (as exactly as that
        can be seen from the outside), and the server back.
        """
        gone = self.goneAfter
        return gone is not None and gone <= self.guard + LOOK and self.backAfter is not None


class Drains:
    """
    Drains the servers of the plan.

    @ivar drains: those that were begun.
    @ivar onStep: called with one line for each thing that happens.
    """

    def __init__(self, reactor: Any, plan: Plan, network: Network) -> None:
        self._reactor = reactor
        self._plan = plan
        self._network = network
        self.drains: list[Drain] = []
        self.onStep: Callable[[str], None] = lambda text: None
        network.onEvent = self._happened

    async def run(self) -> None:
        """
        All of them.

        @raise DemoError: when a process has ended. Whatever else goes wrong with a drain is kept in it.
        """
        await deferLater(self._reactor, self._plan.drainAt)
        for name in self._plan.drains:
            drain = Drain(name, self._plan.guard)
            self.drains.append(drain)
            try:
                await self._drain(next(server for server in SERVERS if server.name == name), drain)
            except SIPGraceError as error:
                self._network.check()
                self._failed(drain, str(error))
            except RemoteAmpError as error:
                self._failed(drain, f"a fault in {name}, which its log has: {error}")

    def _failed(self, drain: Drain, why: str) -> None:
        drain.trouble = why
        self.onStep(f"{drain.server}: {why}")

    async def _drain(self, server: Member, drain: Drain) -> None:
        network, node = self._network, self._network.nodes[server]
        limit = drain.guard + LATE
        given = await node.drain(drain.guard, why="demo")
        await self._within(node.when(("offline",), given), limit, f"{server.name} is not offline")
        await network.until(
            lambda: network.isGone(server), limit, f"{server.name} still has associations, its clients say,"
        )
        begunAt = drain.begunAt or 0.0
        drain.goneByClients = {
            client: round(since - begunAt, 3) for client, since in network.seenSince(server).items()
        }
        await deferLater(self._reactor, WORK)
        given = await node.resume("demo")
        await self._within(node.when(("serving",), given), limit, f"{server.name} does not serve again")
        await network.until(
            lambda: network.isBack(server),
            drain.guard + RETURN,
            f"{server.name} is not back on all active lists",
        )
        drain.backAfter = round(max(network.seenSince(server).values()) - begunAt, 3)
        self.onStep(f"{server.name} is back on all active lists")

    def _within(self, waiter: Deferred[Any], seconds: float, otherwise: str) -> Deferred[Any]:
        def overdue(result: object, timeout: float) -> None:
            raise DemoError(f"{otherwise} after {timeout:.0f} seconds")

        return waiter.addTimeout(seconds, self._reactor, overdue)

    def _happened(self, server: Member, event: dict[str, Any]) -> None:
        """
        A server tells what happened to it.
        """
        drain = self.drains[-1] if self.drains else None
        if drain is None or drain.server != server.name:
            return
        change, at = event["change"], event["at"]
        if change == "draining":
            drain.begunAt = at
            drain.waiting = event["waiting"]
            drain.associations = event["associations"]
            self.onStep(
                f"{server.name} is draining: {drain.waiting} calls to set up, "
                f"{drain.associations} associations, guard {drain.guard:g} s"
            )
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
            self.onStep(f"{server.name} is offline")
        elif change == "serving":
            self.onStep(f"{server.name} serves again")
        elif change in ("failed", "refused"):
            self.onStep(f"{server.name}: {event['text']}")
