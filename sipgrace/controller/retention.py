"""
Retention: what has come to its end long ago is removed from the store, so that it does not grow without
bound.

It is done in the background, in steps that are small at the store, with pauses between them in which others
get on; by one controller at a time where several have the same store. What is removed of the audit log is
written into it before; orders and rolling maintenances, afterwards.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from sipgrace.controller.auditing import Auditing
from sipgrace.controller.facts import Kept
from sipgrace.controller.seams import IFleetStore
from sipgrace.errors import StoreError

__all__ = ["DAY", "FOR_EVER", "Keep", "Retention"]

DAY: Final = 86400.0

#: The store is looked at for the first time so many seconds after the start, when nodes have linked up.
FIRST: Final = 60.0

#: And again after so many.
EVERY: Final = 3600.0

#: Seconds between two steps.
PAUSE: Final = 0.05


@dataclass(frozen=True, slots=True)
class Keep:
    """
    For how long things are kept, in seconds; 0 for ever.

    @ivar orders: orders, rolling maintenances and schedules, from their end.
    @ivar audit: the audit log.
    """

    orders: float = 0.0
    audit: float = 0.0


FOR_EVER: Final = Keep()


class Retention:
    """
    See above.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        store: IFleetStore,
        audit: Auditing,
        schedules: Callable[[float], Awaitable[object]],
        wallClock: Callable[[], float],
        keep: Keep,
    ) -> None:
        """
        @param schedules: removes those of this controller that have been over since before a time.
        """
        self._clock = clock
        self._store = store
        self._audit = audit
        self._schedules = schedules
        self._wallClock = wallClock
        self._keep = keep
        self._call: IDelayedCall | None = None
        self._pause: Deferred[None] | None = None
        self._sweeping: Deferred[None] | None = None
        self._stopped = False

    def start(self) -> None:
        """
        Begins, unless everything is kept for ever.
        """
        if self._keep != FOR_EVER:
            self._call = self._clock.callLater(FIRST, self._look)

    def stop(self) -> Deferred[None]:
        """
        Ends.

        @return: fires when the step that is under way is done.
        """
        self._stopped = True
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._goOn()
        if self._sweeping is None:
            return succeed(None)
        ended: Deferred[None] = Deferred()
        self._sweeping.addCallback(ended.callback)
        return ended

    def _look(self) -> None:
        def failed(failure: Failure) -> None:
            if failure.check(StoreError):
                self._log.warn("what is old stays for now: {why}", why=failure.getErrorMessage())
            else:
                self._log.failure("what is old stays", failure)

        def over(_: None) -> None:
            self._sweeping = None
            if not self._stopped:
                self._call = self._clock.callLater(EVERY, self._look)

        sweeping = self._sweeping = Deferred.fromCoroutine(self._sweep()).addErrback(failed)
        sweeping.addCallback(over)

    async def _sweep(self) -> None:
        now = self._wallClock()
        if self._keep.orders:
            await self._schedules(now - self._keep.orders)
        if self._stopped or not await self._store.takeTurn():
            return
        try:
            if self._keep.orders:
                await self._dropEnded(now - self._keep.orders)
            if self._keep.audit:
                await self._dropAudit(now - self._keep.audit)
        finally:
            await self._store.leaveTurn()

    async def _dropEnded(self, before: float) -> None:
        # A rolling maintenance that has not ended may still ask for what became of its orders, when its
        # controller begins again for instance. Those that are younger than that have no orders so old.
        left = await self._drop(Kept.ROLLINGS, before)
        await self._drop(Kept.ORDERS, before, left)

    async def _dropAudit(self, before: float) -> None:
        number = await self._store.aged(before)
        if number and not self._stopped:
            await self._audit("pruned", which=str(Kept.AUDIT), number=number, until=before)
            await self._drop(Kept.AUDIT, before)

    async def _drop(self, kind: Kept, before: float, spared: frozenset[str] = frozenset()) -> frozenset[str]:
        """
        @return: the ids of the rolling maintenances of that age that have not ended.
        """
        removed, left, after = 0, set[str](), ""
        try:
            while not self._stopped:
                step = await self._store.prune(kind, before, after, spared)
                removed, after = removed + step.removed, step.after
                left.update(step.left)
                if not after:
                    break
                await self._rest()
        finally:
            if removed:
                self._log.info("{number} {kind} are removed from the store", number=removed, kind=kind)
                if kind is not Kept.AUDIT:
                    self._audit.note("pruned", which=str(kind), number=removed, until=before)
        return frozenset(left)

    def _rest(self) -> Deferred[None]:
        if self._stopped:
            return succeed(None)
        pause: Deferred[None] = Deferred()
        self._pause = pause
        self._call = self._clock.callLater(PAUSE, self._goOn)
        return pause

    def _goOn(self) -> None:
        pause, self._pause = self._pause, None
        if pause is not None:
            pause.callback(None)
