"""
Drains at set times: once, or time and again, as C{cron} has it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from cronsim import CronSim
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from sipgrace.lifecycle.audit import stamp
from sipgrace.lifecycle.authorization import Giver, Source
from sipgrace.lifecycle.comeback import Comeback
from sipgrace.lifecycle.door import Door, Obeyed
from sipgrace.lifecycle.orders import Kind, Order

__all__ = ["Schedule", "Window", "localZone"]

#: The clock on the wall may be set; it is looked at again at least so often, in seconds.
LOOK: Final = 30.0

#: A window that began so many seconds ago is not begun any more: the process was not there, or stood still.
LATE: Final = 60.0


def localZone() -> tzinfo:
    """
    @return: the time zone of this host, with its changes to summer time and back; UTC where it says nothing.
    """
    try:
        with Path("/etc/localtime").open("rb") as file:
            return ZoneInfo.from_file(file, "local")
    except (OSError, ValueError):
        return UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """
    When the server leaves by itself, and for how long.

    @ivar at: when, for one that comes once; else C{None}.
    @ivar cron: when, for one that comes again: minute, hour, day of the month, month, day of the week.
    @ivar zone: the time zone of C{cron}.
    @ivar lasts: when it comes back by itself, in seconds from the beginning; C{None} to stay away until
        somebody brings it back.
    @ivar values: what else the order says.
    """

    name: str
    at: datetime | None = None
    cron: str = ""
    zone: tzinfo = UTC
    why: str = ""
    lasts: float | None = None
    values: dict[str, Any] = field(default_factory=dict)

    def next(self, after: float) -> float | None:
        """
        @param after: seconds since the epoch.
        @return: when it begins next after that; C{None} for never.
        """
        if self.at is not None:
            at = self.at.timestamp()
            return at if at > after else None
        # What falls into the hour that summer time leaves out begins right after it, as with Debian's cron.
        found: datetime = next(CronSim(self.cron, datetime.fromtimestamp(after, self.zone)))
        return found.timestamp()


class Schedule:
    """
    Gives the orders when it is time.

    @param comeback: brings the server back.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        door: Door,
        windows: Sequence[Window],
        comeback: Comeback,
        wallClock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._door = door
        self._windows = windows
        self._comeback = comeback
        self._wallClock = wallClock
        self._next: dict[str, float] = {}
        self._call: IDelayedCall | None = None

    def start(self) -> None:
        """
        Begins to wait.
        """
        now = self._wallClock()
        for window in self._windows:
            self._plan(window, now)
        self._wait()

    def stop(self) -> None:
        """
        Waits no more.
        """
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _plan(self, window: Window, after: float) -> None:
        found = window.next(after)
        if found is None:
            self._next.pop(window.name, None)
        else:
            self._next[window.name] = found

    def _wait(self) -> None:
        if self._next:
            left = min(self._next.values()) - self._wallClock()
            self._call = self._clock.callLater(min(LOOK, max(0.0, left)), self._look)

    def _look(self) -> None:
        self._call = None
        now = self._wallClock()
        for window in self._windows:
            due = self._next.get(window.name)
            if due is None or due > now:
                continue
            self._plan(window, now)
            if now - due > LATE:
                self._log.warn(
                    "the window {name} of {at} is left out: it is {late:.0f} s late",
                    name=window.name,
                    at=stamp(due),
                    late=now - due,
                )
            else:
                self._begin(window, due, now)
        self._wait()

    def _begin(self, window: Window, due: float, now: float) -> None:
        back = None if window.lasts is None else due + window.lasts
        order = Order(
            kind=Kind.DRAIN,
            who="schedule",
            when=now,
            why=window.why or f"schedule: {window.name}",
            back=back,
            **window.values,
        )
        if back is not None and order.retryAfter is None:
            # It counts from the full stop.
            over = self._door.lifecycle.overFor(order)
            order = replace(order, retryAfter=max(0.0, back - now - over))
        given = self._door.give(order, Giver(Source.SELF, f"schedule {window.name}"))
        given.addCallbacks(self._given, self._refused, callbackArgs=(back,), errbackArgs=(window,))

    def _given(self, obeyed: Obeyed, back: float | None) -> None:
        if back is not None:
            self._comeback.promise(
                obeyed.order.nonce, self._clock.seconds() + back - self._wallClock()
            )

    def _refused(self, failure: Failure, window: Window) -> None:
        self._log.error(
            "the window {name} is left out: {reason}", name=window.name, reason=failure.getErrorMessage()
        )

    def status(self) -> list[dict[str, str]]:
        """
        What comes next, for display.
        """
        return [
            {"name": name, "at": stamp(at)}
            for name, at in sorted(self._next.items(), key=lambda pair: pair[1])
        ]
