"""
Orders that wait: for the budget to have room, first come first served in each group, or for their time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from sipgrace.controller.casebook import Case

__all__ = ["Queue", "Turn"]

#: Two clocks that go alike are taken to agree within so many seconds.
SLACK: Final = 0.002

#: No order waits longer for its time without a look at the clock on the wall, in seconds.
LONGEST: Final = 30.0

#: Seconds between a change in the fleet and a look at the queue, which does for all that changes meanwhile.
SOON: Final = 0.1

#: What other controllers release is not told: the queue is looked at again after so many seconds.
AGAIN: Final = 5.0


class Turn(Enum):
    """
    What came of an order whose turn it was.
    """

    OVER = "over"
    """It waits no longer."""

    FULL = "full"
    """There is no room; those behind it in its group wait as well."""

    NOT_YET = "not yet"
    """It waits on, which is no reason for the others to."""


class Queue:
    """
    The orders of one controller that wait.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        wallClock: Callable[[], float],
        give: Callable[[Case], Awaitable[Turn]],
        group: Callable[[Case], str],
        sweep: Callable[[], Awaitable[None]],
    ) -> None:
        """
        @param give: gives an order, and says how it went on.
        @param group: whose turn an order waits for.
        @param sweep: releases the claims of those that serve again.
        """
        self._clock = clock
        self._wallClock = wallClock
        self._give = give
        self._group = group
        self._sweep = sweep
        self._waiting: dict[str, Case] = {}
        self._call: IDelayedCall | None = None
        self._looking = False
        self._again = False
        self._stopped = False

    def add(self, case: Case) -> None:
        """
        Puts an order at the end.
        """
        self._waiting[case.record.id] = case
        self._wait()

    def remove(self, case: Case) -> None:
        """
        Takes it out.
        """
        self._waiting.pop(case.record.id, None)

    def stop(self) -> None:
        """
        Waits no more.
        """
        self._stopped = True
        if self._call is not None and self._call.active():
            self._call.cancel()

    def lookSoon(self) -> None:
        """
        Something has changed.
        """
        if not self._stopped:
            self._wake(SOON)

    def look(self) -> None:
        """
        Gives what can be given now.
        """
        if self._looking:
            self._again = True
            return
        self._looking = True
        self._again = False
        looked = Deferred.fromCoroutine(self._look())
        looked.addErrback(self._failed).addCallback(lambda _: self._looked())

    async def _look(self) -> None:
        await self._sweep()
        full: set[str] = set()
        now = self._wallClock()
        for case in list(self._waiting.values()):
            group = self._group(case)
            if self._stopped or case.record.id not in self._waiting:
                continue
            if group in full or self.due(case) > now + SLACK:
                continue
            turn = await self._give(case)
            if turn is Turn.FULL:
                full.add(group)
            elif turn is Turn.OVER:
                self.remove(case)

    def due(self, case: Case) -> float:
        """
        @return: when it is to be given, in seconds since the epoch; 0 for as soon as there is room.
        """
        at = case.record.order.get("at")
        return float(at) if isinstance(at, (int, float)) else 0.0

    def _failed(self, failure: Failure) -> None:
        self._log.warn("orders wait on: {why}", why=failure.getErrorMessage())
        if not self._stopped:
            # Perhaps nothing else happens that would have it looked at.
            self._wake(AGAIN)

    def _looked(self) -> None:
        self._looking = False
        if self._again and not self._stopped:
            self._wake(SOON)
        self._wait()

    def _wait(self) -> None:
        if self._waiting and not self._stopped:
            now = self._wallClock()
            dues = [self.due(case) for case in self._waiting.values()]
            # The clock on the wall may be set, and may be a little behind the other.
            self._wake(min(min(due - now + 0.001, LONGEST) if due > now else AGAIN for due in dues))

    def _wake(self, seconds: float) -> None:
        call = self._call
        if call is not None and call.active():
            if call.getTime() <= self._clock.seconds() + seconds:
                return
            call.cancel()
        self._call = self._clock.callLater(seconds, self.look)
