"""
The clock of libusrsctp, which has no thread to keep one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

__all__ = ["StackClock"]

TICK: Final = 0.01
"""Seconds between two moves of the library's clock while packets come and go."""

SLOW_TICK: Final = 0.05
"""The same when none did since the last: heartbeats and first retransmissions are late by that much."""

SHARE: Final = 20
"""The library walks through all its timers at every move. With thousands of associations, the pause between
two moves becomes this many times the length of one, up to L{SLOW_TICK}."""


class StackClock:
    """
    Moves the library's time on, from L{start} to L{stop}.
    """

    def __init__(self, move: Callable[[int], None], packets: Callable[[], int]) -> None:
        """
        @param move: moves it on, by milliseconds.
        @param packets: how many packets there have been so far.
        """
        self._move = move
        self._packets = packets
        self._reactor: Any = None
        self._call: Any = None
        self._moved = 0.0
        self._seen = 0

    def start(self, reactor: Any) -> None:
        """
        Without effect where it runs.
        """
        if self._call is None:
            self._reactor = reactor
            self._moved = reactor.seconds()
            self._call = reactor.callLater(TICK, self._tick)

    def stop(self) -> None:
        """
        Without effect where it does not run.
        """
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()

    def _tick(self) -> None:
        begun = self._reactor.seconds()
        elapsed = int((begun - self._moved) * 1000)
        # What is left below a millisecond belongs to the next tick.
        self._moved += elapsed / 1000
        packets = self._packets()
        quiet = packets == self._seen
        self._seen = packets
        # Whoever moves it may stop it.
        self._call = self._reactor.callLater(SLOW_TICK, self._tick)
        self._move(elapsed)
        if not quiet and self._call is not None:
            cost = self._reactor.seconds() - begun
            self._call.reset(min(max(TICK, cost * SHARE), SLOW_TICK))
