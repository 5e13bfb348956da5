"""
Rolling maintenance: servers drained, maintained, resumed and seen healthy, so many at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredLock, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from sipgrace.controller.casebook import Casebook
from sipgrace.controller.desk import Desk
from sipgrace.controller.facts import OrderRecord, Outcome, Person, Progress, RollingRecord
from sipgrace.controller.fleet import Fleet
from sipgrace.controller.rollingcore import RollingCore
from sipgrace.controller.rollingmachine import STATES, RollingStep, rollingMachine
from sipgrace.controller.seams import IFleetStore
from sipgrace.errors import StoreError, Unknown
from sipgrace.lifecycle.authorization import Role
from sipgrace.lifecycle.orderform import newNonce
from sipgrace.lifecycle.orders import Kind

__all__ = ["Rolling"]

#: What could not be stored is tried again after so many seconds.
AGAIN: Final = 5.0

#: Steps in which a server counts as one of those that are under way.
UNDER_WAY: Final = ("draining", "maintaining", "returning", "settling")

#: What is passed on to each order to drain.
_DRAIN: Final = ("why", "guard", "retryAfter", "announce", "over", "then")


class Rolling:
    """
    One rolling maintenance.

    @ivar record: how it stands.
    """

    _log = Logger()

    def __init__(
        self,
        record: RollingRecord,
        clock: IReactorTime,
        fleet: Fleet,
        store: IFleetStore,
        desk: Desk,
        book: Casebook,
        wallClock: Callable[[], float],
        ended: Callable[[Rolling], None],
    ) -> None:
        """
        @param ended: is told when nothing is under way any more.
        """
        self.record = record
        self.clock = clock
        self.fleet = fleet
        self._store = store
        self._desk = desk
        self._book = book
        self._wallClock = wallClock
        self._ended = ended
        self._writing = DeferredLock()
        self._dead = False
        self._holding = False
        self._retrying: IDelayedCall | None = None
        self._cores = {server: RollingCore(self, server, step) for server, step in record.steps.items()}
        self._machines: dict[str, RollingStep] = {
            server: rollingMachine(core, STATES[core.step]) for server, core in self._cores.items()
        }

    # ------------------------------------------------------------------ from outside

    def start(self) -> None:
        """
        Takes up what is under way, and goes on.
        """
        for server in self.record.servers:
            self._machines[server].takeUp()
            if self.stopping:
                self._machines[server].takeBack()
        self._goOn()

    def die(self) -> None:
        """
        The controller stops.
        """
        self._dead = True
        if self._retrying is not None and self._retrying.active():
            self._retrying.cancel()
        for core in self._cores.values():
            core.die()

    def pause(self) -> Deferred[RollingRecord]:
        """
        Begins with no further server.
        """
        return self._move(Progress.PAUSED)

    def proceed(self) -> Deferred[RollingRecord]:
        """
        Goes on, also after trouble.
        """
        return Deferred.fromCoroutine(self._proceed())

    async def _proceed(self) -> RollingRecord:
        troubled = [server for server, step in self.record.steps.items() if step == "trouble"]
        self.record = replace(self.record, progress=Progress.RUNNING, text="")
        # None further is begun before all of these count as being under way again.
        self._holding = True
        try:
            drained = [server for server in troubled if await self._wasDrained(server)]
            # It may have been stopped meanwhile.
            for server in () if self.stopping or self._dead else troubled:
                self._goOnWith(server, server in drained)
        finally:
            self._holding = False
        # Meanwhile it may have been paused, or have come into trouble again.
        return await self._keep().addCallback(lambda _: self.record)

    def _goOnWith(self, server: str, drained: bool) -> None:
        machine, state = self._machines[server], self._stateOf(server)
        if state == "offline":
            machine.goOnReturning()
        elif state == "serving" and drained:
            machine.goOnSettling()
        else:
            machine.goOn()

    def _stateOf(self, server: str) -> str:
        try:
            return self.fleet.member(server).state
        except Unknown:
            return "unknown"

    async def _wasDrained(self, server: str) -> bool:
        for id in self.orderIds(server):
            record = await self.known(id)
            drained = record is not None and record.order.get("kind") == Kind.DRAIN
            if drained and record is not None and record.outcome is Outcome.DONE:
                return True
        return False

    def stop(self, text: str) -> Deferred[RollingRecord]:
        """
        Ends it: what has been begun is brought back.
        """
        stopped = self._move(Progress.STOPPED, text)
        for server in self.record.servers:
            self._machines[server].takeBack()
        return stopped

    def _move(self, progress: Progress, text: str = "") -> Deferred[RollingRecord]:
        self.record = replace(self.record, progress=progress, text=text)
        return self._keep().addCallback(lambda _: self.record)

    def orderChanged(self, record: Mapping[str, Any]) -> None:
        """
        One of its orders has changed.
        """
        core = self._cores.get(record["node"])
        if core is not None:
            core.followed(record)

    def look(self) -> None:
        """
        The fleet has changed.
        """
        for core in self._cores.values():
            core.look()

    # ------------------------------------------------------------------ what its servers see

    @property
    def stopping(self) -> bool:
        """
        Whether a person has ended it.
        """
        return self.record.progress is Progress.STOPPED

    def values(self, name: str) -> Any:
        """
        See L{sipgrace.controller.rollingcore.RollingPlan}.
        """
        return self.record.values.get(name)

    def orderIds(self, server: str) -> list[str]:
        """
        See L{sipgrace.controller.rollingcore.RollingPlan}.
        """
        return list(self.record.orders.get(server, ()))

    def blind(self, server: str) -> list[str]:
        """
        See L{sipgrace.controller.rollingcore.RollingPlan}.
        """
        return list((self.values("blind") or {}).get(server, ()))

    def reached(self, server: str) -> list[str]:
        """
        See L{sipgrace.controller.rollingcore.RollingPlan}.
        """
        return list((self.values("reached") or {}).get(server, ()))

    def see(self, server: str) -> Deferred[None]:
        """
        See L{sipgrace.controller.rollingcore.RollingPlan}.
        """
        values = self.record.values
        if server in values.get("reached", {}):
            return succeed(None)
        reach = self._cores[server].reach()
        found = {
            "reached": sorted(name for name, reaches in reach.items() if reaches),
            "blind": sorted(name for name, reaches in reach.items() if not reaches),
        }
        seen = {what: {**values.get(what, {}), server: names} for what, names in found.items()}
        self.record = replace(self.record, values={**values, **seen})
        return self._keep()

    def forgot(self, client: str) -> None:
        """
        A client will not come back, and need not reach any server.
        """
        reached = self.values("reached") or {}
        if any(client in names for names in reached.values()):
            left = {server: [name for name in names if name != client] for server, names in reached.items()}
            self.record = replace(self.record, values={**self.record.values, "reached": left})
            self._keep()

    def put(self, server: str, step: str, newOrder: bool, why: str) -> Deferred[None]:
        """
        See L{sipgrace.controller.rollingcore.RollingPlan}.
        """
        record = self.record
        orders = {name: list(ids) for name, ids in record.orders.items()}
        if newOrder:
            orders.setdefault(server, []).append(newNonce())
        progress, text = record.progress, record.text
        if why and progress in (Progress.RUNNING, Progress.PAUSED):
            progress = Progress.TROUBLE
        if why:
            text = f"{text}; {server}: {why}" if text else f"{server}: {why}"
        steps = {**record.steps, server: step}
        if all(one == "done" for one in steps.values()):
            progress = Progress.DONE
        self.record = replace(
            record, steps=steps, orders=orders, progress=progress, text=text[:1000]
        )
        return self._keep()

    def give(self, server: str, kind: Kind, id: str) -> Deferred[OrderRecord]:
        """
        See L{sipgrace.controller.rollingcore.RollingPlan}.
        """
        values: dict[str, Any] = {"node": server, "kind": str(kind), "why": self.values("why") or ""}
        if kind is Kind.DRAIN:
            values |= {name: self.values(name) for name in _DRAIN if self.values(name) is not None}
            values["queue"] = True
        person = Person(self.record.who, Role.OPERATOR)
        return Deferred.fromCoroutine(self._desk.order(values, person, id, self.record.id))

    def known(self, id: str) -> Deferred[OrderRecord | None]:
        """
        See L{sipgrace.controller.rollingcore.RollingPlan}.
        """
        record = self._book.record(id)
        return self._store.order(id) if record is None else succeed(record)

    def whenEnded(self, id: str) -> Deferred[OrderRecord]:
        """
        See L{sipgrace.controller.rollingcore.RollingPlan}.
        """
        return self._book.whenEnded(id)

    def takeBack(self, server: str, id: str) -> Deferred[object]:
        """
        See L{sipgrace.controller.rollingcore.RollingPlan}.
        """
        return Deferred.fromCoroutine(self._takeBack(server, id))

    async def _takeBack(self, server: str, id: str) -> None:
        record = await self.known(id)
        person = Person(self.record.who, Role.OPERATOR)
        if record is not None and record.outcome is Outcome.QUEUED:
            await self._desk.withdraw(id, person)
        elif record is not None:
            values = {"node": server, "kind": "cancel", "why": self.values("why") or ""}
            await self._desk.order(values, person, rolling=self.record.id)

    # ------------------------------------------------------------------ going on

    def _goOn(self) -> None:
        """
        Begins with the next servers, as many as may be under way.
        """
        if self._holding:
            return
        for server in self.record.servers:
            # Each may bring trouble, or begin with the next, before it returns.
            under = sum(core.step in UNDER_WAY for core in self._cores.values())
            if self._dead or self.record.progress is not Progress.RUNNING or under >= self.values("atOnce"):
                return
            if self._cores[server].step == "waiting":
                self._machines[server].begin()

    def _keep(self) -> Deferred[None]:
        """
        Stores how it stands, however long that takes; then tells, and goes on.
        """
        under = any(core.step in UNDER_WAY for core in self._cores.values())
        over = self.record.progress is Progress.DONE or (self.stopping and not under)
        if over and self.record.ended is None:
            self.record = replace(self.record, ended=self._wallClock())
        return self._writing.run(self._write).addCallback(lambda _: self._kept())

    def _write(self) -> Deferred[None]:
        # What was changed meanwhile is stored along with it.
        return maybeDeferred(self._store.putRolling, self.record).addErrback(self._notWritten)

    def _notWritten(self, failure: Any) -> Deferred[None]:
        failure.trap(StoreError)
        self._log.error(
            "the rolling maintenance {id} waits: {why}", id=self.record.id, why=failure.getErrorMessage()
        )
        if self._dead:
            return Deferred()
        again: Deferred[None] = Deferred()
        self._retrying = self.clock.callLater(AGAIN, again.callback, None)
        return again.addCallback(lambda _: self._write())

    def _kept(self) -> None:
        if self._dead:
            return
        self.fleet.publish("rolling", "", asdict(self.record))
        if self.record.ended is not None:
            self._ended(self)
        self._goOn()
