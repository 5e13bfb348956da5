"""
A beat for what is looked at time and again, and how late the reactor is with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

__all__ = ["BEAT", "Pace", "Pulse"]

#: The time between two beats, in seconds.
BEAT: Final = 0.25


class Pulse:
    """
    Calls its listeners at every beat, with by how many seconds it came late: the reactor's lag.

    @ivar listeners: called in this order; what one raises is logged and goes no further.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._call: IDelayedCall | None = None
        self._due = 0.0
        self.listeners: list[Callable[[float], None]] = []

    def start(self) -> None:
        """
        Begins.
        """
        if self._call is None:
            self._next()

    def stop(self) -> None:
        """
        Ends.
        """
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _next(self) -> None:
        self._due = self._clock.seconds() + BEAT
        self._call = self._clock.callLater(BEAT, self._beat)

    def _beat(self) -> None:
        lag = max(0.0, self._clock.seconds() - self._due)
        self._next()
        for listener in list(self.listeners):
            try:
                listener(lag)
            except Exception:
                self._log.failure("{listener} failed", listener=listener)


class Pace:
    """
    How fast a counter rises, over the last half minute. A listener of L{Pulse}.

    @param read: the counter.
    """

    _WINDOW: Final = round(30 / BEAT)

    def __init__(self, clock: IReactorTime, read: Callable[[], int]) -> None:
        self._clock = clock
        self._read = read
        self._seen: deque[tuple[float, int]] = deque([(clock.seconds(), read())], self._WINDOW)

    def __call__(self, lag: float) -> None:
        """
        Notes where it stands.
        """
        self._seen.append((self._clock.seconds(), self._read()))

    def perSecond(self) -> float:
        """
        @return: by how much it rose, in a second.
        """
        (began, before), (ended, after) = self._seen[0], self._seen[-1]
        return (after - before) / (ended - began) if ended > began else 0.0
