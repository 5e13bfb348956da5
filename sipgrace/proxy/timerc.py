"""
Timer C (RFC 3261 §16.8) without a timer per call: the ledger is looked through, oldest first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from sipgrace.proxy.context import ResponseContext


class TimerC:
    """
    Looks at every request that is older than Timer C, a sixteenth of Timer C apart (bounded to between
    0.1 and 5 s), and stops at the first that is younger.

    @param entries: the ledger's entries in the order of their acceptance.
    @param seconds: Timer C.
    """

    def __init__(self, clock: IReactorTime, entries: Iterable[Any], seconds: float) -> None:
        self._clock = clock
        self._entries = entries
        self._seconds = seconds
        self._loop = LoopingCall(self._look)
        self._loop.clock = clock

    def start(self) -> None:
        """
        From now on.
        """
        self._loop.start(min(5.0, max(0.1, self._seconds / 16)), now=False)

    def stop(self) -> None:
        """
        No more.
        """
        if self._loop.running:
            self._loop.stop()

    def _look(self) -> None:
        now = self._clock.seconds()
        oldEnough = now - self._seconds
        late: list[ResponseContext] = []
        for entry in self._entries:
            if entry.acceptedAt > oldEnough:
                break
            late.append(entry)
        for entry in late:
            entry.checkTimerC(now)
