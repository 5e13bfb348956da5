"""
The controller's audit log: in the store, where none of it is ever changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from sipgrace.controller.seams import IFleetStore
from sipgrace.errors import StoreError

__all__ = ["Auditing", "increasing"]

#: So many who are turned away are written down within a L{WINDOW}; of more, their number.
MOST: Final = 100

#: Seconds.
WINDOW: Final = 60.0

#: The longest text in a record, in characters.
LONGEST: Final = 1000


def increasing(wallClock: Callable[[], float]) -> Callable[[], float]:
    """
    @return: the same clock, but that no time is given twice and none before another, so that what is kept by
        its time can be had page after page, without gaps.
    """
    last = 0.0

    def seconds() -> float:
        nonlocal last
        # Microseconds are what a float holds exactly enough for the next centuries.
        last = max(round(wallClock(), 6), round(last + 1e-6, 6))
        return last

    return seconds


class Auditing:
    """
    Writes records. Each has C{at} (seconds since the epoch), C{by} (this controller) and C{what}.
    """

    _log = Logger()

    def __init__(
        self, name: str, clock: IReactorTime, store: IFleetStore, wallClock: Callable[[], float]
    ) -> None:
        self._name = name
        self._clock = clock
        self._store = store
        self._wallClock = wallClock
        self._began = 0.0
        self._written = 0
        self._left = 0
        self._call: IDelayedCall | None = None

    def __call__(self, what: str, **facts: Any) -> Deferred[None]:
        """
        @return: fires when it is kept.
        """
        record = {name: _cut(value) for name, value in facts.items()}
        try:
            return self._store.addAudit({"at": self._wallClock(), "what": what, "by": self._name} | record)
        except StoreError:
            return fail()

    def note(self, what: str, **facts: Any) -> None:
        """
        The same, where nothing depends on it.
        """
        self(what, **facts).addErrback(self._failed)

    def refused(self, who: str, which: str, why: str) -> None:
        """
        Somebody was turned away. Whoever does that all the time does not fill the disk.
        """
        now = self._clock.seconds()
        if now - self._began >= WINDOW or not self._written:
            self._began, self._written = now, 0
        self._written += 1
        if self._written <= MOST:
            self.note("refused", who=who, which=which, reason=why)
            return
        self._left += 1
        if self._call is None:
            self._call = self._clock.callLater(self._began + WINDOW - now, self._tellLeft)

    def _tellLeft(self) -> None:
        self._call = None
        left, self._left = self._left, 0
        self.note("refused", reason=f"{left} more were turned away within {WINDOW:.0f} s", number=left)

    def stop(self) -> None:
        """
        Writes down what is still to be.
        """
        if self._call is not None:
            self._call.cancel()
            self._tellLeft()

    def _failed(self, failure: Failure) -> None:
        self._log.error("the audit log cannot be written: {why}", why=failure.getErrorMessage())


def _cut(value: Any) -> Any:
    return value[:LONGEST] if isinstance(value, str) else value
