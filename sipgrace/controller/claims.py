"""
Claims: before a server is taken out of service, it is claimed in the store, where everybody with the same
store sees it; when it serves again the claim is released.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final

from twisted.internet.defer import DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from sipgrace.controller.budget import Budget, presences
from sipgrace.controller.fleet import Fleet
from sipgrace.controller.seams import IFleetStore
from sipgrace.errors import OrderRefused, Unknown
from sipgrace.lifecycle.orders import Kind

__all__ = ["LEAVING", "Claims", "NoRoom"]

#: Kinds of order that take a server out of service.
LEAVING: Final = (Kind.DRAIN, Kind.OFFLINE)

#: A claim by somebody else of a server that serves is released after so many seconds at least: whoever made
#: it has probably ended for good.
STALE: Final = 60.0


class NoRoom(OrderRefused):
    """
    The budget has no room.
    """


class Claims:
    """
    The claims of one controller.

    @ivar mine: what it has claimed: the group by server.
    """

    _log = Logger()

    def __init__(
        self,
        name: str,
        clock: IReactorTime,
        fleet: Fleet,
        store: IFleetStore,
        budgets: Mapping[str, Budget],
        warmUp: float,
    ) -> None:
        """
        @param name: the controller's name, which is its name in the store.
        @param warmUp: for so many seconds after its start a controller may not yet know who is away.
        """
        self._name = name
        self._clock = clock
        self._fleet = fleet
        self._store = store
        self._budgets = budgets
        self._warmUp = warmUp
        self._ready = 0.0
        self._strangers: dict[tuple[str, str, str], float] = {}
        # One after another: what a release removes must not be what was claimed since.
        self._turn = DeferredLock()
        self.mine: dict[str, str] = {}

    async def start(self) -> None:
        """
        Takes up what it had claimed before.
        """
        self._ready = self._clock.seconds() + self._warmUp
        for group, server, owner in await self._store.held():
            if owner in (self._name, ""):
                self.mine[server] = group

    @property
    def warming(self) -> bool:
        """
        Whether it may not be known yet who is away.
        """
        return self._clock.seconds() < self._ready

    async def take(self, server: str) -> None:
        """
        Claims a server, to last.

        @raise NoRoom: where its group's budget has no room.
        @raise sipgrace.errors.StoreError: where the store does not answer, or has lost the claim meanwhile.
        """
        group = self._fleet.member(server).group
        budget = self._budgets.get(group)
        if budget is None:
            return
        async with self._turn:
            before = server in self.mine
            # Where the store does not answer, it may have it all the same: it is released in due course.
            self.mine[server] = group
            try:
                await self._store.claim(group, server, self._allowed(budget, server))
            except OrderRefused as error:
                if not before:
                    self.mine.pop(server, None)
                raise NoRoom(str(error)) from None
            await self._store.hold(group, server)

    def _allowed(self, budget: Budget, server: str) -> Callable[[frozenset[str]], str]:
        def allowed(claimed: frozenset[str]) -> str:
            if budget.away is not None and self.warming:
                return (
                    "the controller has just begun, and may not know yet who is away in the group "
                    f"{budget.group}; in {self._ready - self._clock.seconds():.0f} s it will"
                )
            return budget.refusal(server, presences(self._fleet, budget.group), claimed)

        return allowed

    def serves(self, server: str) -> bool:
        """
        Whether a server says that it is in service.
        """
        try:
            member = self._fleet.member(server)
        except Unknown:
            return False
        return member.link is not None and member.state == "serving"

    async def sweep(self, leaving: Callable[[], Collection[str]]) -> bool:
        """
        Releases the claims of servers that are in service.

        @param leaving: gives those that are about to leave by an order that is under way, at each instant.
        @return: whether any was released.
        """
        released = False
        for server in list(self.mine):
            async with self._turn:
                # Both may have changed while it waited.
                group = self.mine.get(server)
                if group is not None and self.serves(server) and server not in leaving():
                    await self._store.release(group, server)
                    self.mine.pop(server, None)
                    released = True
        return released

    async def release(self, server: str) -> None:
        """
        Releases a claim of whomever, since the server will not come back.
        """
        async with self._turn:
            self.mine.pop(server, None)
            for group, claimed, owner in await self._store.held():
                if claimed == server:
                    await self._store.release(group, server, owner)

    async def sweepOthers(self) -> None:
        """
        Releases claims that other controllers have left behind. To be called time and again.
        """
        if not self._store.shared:
            return
        now = self._clock.seconds()
        strangers = {
            (group, server, owner)
            for group, server, owner in await self._store.held()
            if owner != self._name and self.serves(server)
        }
        self._strangers = {key: self._strangers.get(key, now) for key in strangers}
        stale = [key for key, since in self._strangers.items() if now - since >= STALE]
        if not stale:
            return
        under = {record.node for record in await self._store.openOrders()}
        for group, server, owner in stale:
            if server not in under:
                self._log.warn(
                    "{owner} has claimed {server}, which serves: that is released", owner=owner, server=server
                )
                await self._store.release(group, server, owner)

