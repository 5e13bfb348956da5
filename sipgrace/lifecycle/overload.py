"""
A server that drains itself when it cannot keep up, and comes back by itself.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from sipgrace.errors import OrderRefused
from sipgrace.lifecycle.authorization import Giver, Source
from sipgrace.lifecycle.comeback import Comeback
from sipgrace.lifecycle.door import Door, Obeyed
from sipgrace.lifecycle.events import State
from sipgrace.lifecycle.orders import Kind, Order
from sipgrace.lifecycle.pulse import BEAT

__all__ = ["Overload", "Thresholds"]

#: Lag and CPU are looked at over so many seconds.
WINDOW: Final = 1.0

#: After a drain was refused it is not tried again for so many seconds.
PAUSE: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """
    What is too much. C{None} does not count.

    @ivar ledger: so many calls that are not yet settled.
    @ivar lag: by so many seconds the reactor is late.
    @ivar cpu: so many percent of one processor.
    @ivar period: for so long without a break, in seconds, before anything is done.
    """

    ledger: int | None = None
    lag: float | None = None
    cpu: float | None = None
    period: float = 10.0


class Overload:
    """
    A listener of L{sipgrace.lifecycle.pulse.Pulse}.

    @ivar lag: the reactor's, over the last second.
    @ivar cpu: the percentage of one processor that this process took over the last second.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        door: Door,
        ledger: Sized,
        thresholds: Thresholds,
        comeback: Comeback,
        guard: float | None = None,
        retryAfter: float | None = None,
        processTime: Callable[[], float] = time.process_time,
        wallClock: Callable[[], float] = time.time,
    ) -> None:
        """
        @param guard: of its drains, in seconds; C{None} for that of others.
        @param retryAfter: for so many seconds clients are asked to stay away; then the server comes back.
        """
        self._clock = clock
        self._door = door
        self._ledger = ledger
        self._thresholds = thresholds
        self._comeback = comeback
        self._guard = guard
        self._retryAfter = retryAfter
        self._processTime = processTime
        self._wallClock = wallClock
        beats = round(WINDOW / BEAT)
        self._lags: deque[float] = deque(maxlen=beats)
        self._seen: deque[tuple[float, float]] = deque([(clock.seconds(), processTime())], beats + 1)
        self._since: dict[str, float] = {}
        self._notBefore = 0.0
        self._giving = False
        self.lag = 0.0
        self.cpu = 0.0

    def __call__(self, lag: float) -> None:
        """
        One beat.
        """
        now = self._clock.seconds()
        self._look(now, lag)
        if self._giving or now < self._notBefore or self._door.lifecycle.status().state is not State.SERVING:
            self._since.clear()
            return
        found = dict(self._found())
        for name in list(self._since):
            if name not in found:
                del self._since[name]
        for name in found:
            self._since.setdefault(name, now)
        for name, text in found.items():
            lasted = now - self._since[name]
            if lasted >= self._thresholds.period:
                self._drain(f"overload: {text} for {lasted:.0f} s")
                return

    def _look(self, now: float, lag: float) -> None:
        self._lags.append(lag)
        self.lag = max(self._lags)
        self._seen.append((now, self._processTime()))
        (began, before), (ended, after) = self._seen[0], self._seen[-1]
        self.cpu = 100 * (after - before) / (ended - began) if ended > began else 0.0

    def _found(self) -> Iterator[tuple[str, str]]:
        limits = self._thresholds
        calls = len(self._ledger)
        if limits.ledger is not None and calls > limits.ledger:
            yield "ledger", f"{calls} calls waiting"
        if limits.lag is not None and self.lag > limits.lag:
            yield "lag", f"{self.lag:.2f} s late"
        if limits.cpu is not None and self.cpu > limits.cpu:
            yield "cpu", f"{self.cpu:.0f} % CPU"

    def _drain(self, why: str) -> None:
        self._since.clear()
        self._giving = True
        self._log.warn("{why}", why=why)
        order = Order(
            kind=Kind.DRAIN,
            who="overload",
            when=self._wallClock(),
            why=why,
            guard=self._guard,
            retryAfter=self._retryAfter,
            # To slow down first, or to maintain something, would not help.
            over=0.0,
            then="stay",
        )
        given = self._door.give(order, Giver(Source.SELF, "overload"))
        given.addCallbacks(self._given, self._refused)

    def _given(self, obeyed: Obeyed) -> None:
        self._giving = False
        self._comeback.promise(obeyed.order.nonce)

    def _refused(self, failure: Failure) -> None:
        self._giving = False
        self._notBefore = self._clock.seconds() + PAUSE
        if failure.check(OrderRefused) is None:
            self._log.failure("the drain failed", failure)

    def status(self) -> dict[str, Any]:
        """
        For display.
        """
        return {"lag": round(self.lag, 3), "cpu": round(self.cpu, 1)}
