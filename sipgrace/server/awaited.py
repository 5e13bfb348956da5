"""
Which clients are not back yet: a server that has come into service serves at once, but its clients come one
after another, and a call to or from one that is not there yet needs another server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from sipgrace.lifecycle.events import Change, Event
from sipgrace.lifecycle.gate import Gate
from sipgrace.server.clients import Clients

__all__ = ["Awaited"]

#: With these it leaves service, and with those it is in service again.
_LEAVES: Final = (Change.SLOWING, Change.DRAINING, Change.OFFLINE)
_SERVES: Final = (Change.SERVING, Change.CANCELLED)


class Awaited:
    """
    An observer of the lifecycle. Awaited are those that had an association when the server left service; when
    its process has just begun, those that are known to it by its configuration. Who leaves while it serves is
    not waited for the next time, nor who did not come the last time.

    Nothing is decided by it here: calls are taken all the same.

    @ivar names: the clients that are waited for, or will be: whoever hears that it serves, and of this a
        moment later, must not think meanwhile that all are back.
    @ivar missing: those that did not come in time.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        clients: Clients,
        gate: Gate,
        known: Iterable[str],
        within: float,
        changed: Callable[[], None],
    ) -> None:
        """
        @param known: the clients that are expected when the process has begun.
        @param within: for so many seconds beyond the time for which they were asked to stay away; with 0 none
            is waited for.
        @param changed: called when the time is over and some are missing.
        """
        self._clock = clock
        self._clients = clients
        self._gate = gate
        self._within = within
        self._changed = changed
        self._had = dict.fromkeys(known)
        self._until = 0.0
        self._end: IDelayedCall | None = None
        self.names: dict[str, None] = dict(self._had) if within else {}
        self.missing: dict[str, None] = {}
        clients.onMoved = self._moved

    def facts(self) -> dict[str, list[str]]:
        """
        For a status; fits JSON.
        """
        return {"awaited": sorted(self.names), "missing": sorted(self.missing)}

    def onChange(self, event: Event) -> None:
        """
        See L{sipgrace.lifecycle.seams.Observer}.
        """
        if event.until is not None:
            self._until = event.until
        if event.change in _LEAVES:
            self._stop()
            self.missing.clear()
        elif event.change in _SERVES:
            # Who was told of a drain is told as well that it was cancelled.
            away = self._until - event.at if event.change is Change.SERVING else 0.0
            self._until = 0.0
            if self.names:
                self._end = self._clock.callLater(max(0.0, away) + self._within, self._over)

    def _stop(self) -> None:
        end, self._end = self._end, None
        if end is not None:
            end.cancel()

    def _over(self) -> None:
        self._end = None
        self.missing, self.names = self.names, {}
        for name in self.missing:
            del self._had[name]
        self._log.warn("not back in time: {names}", names=", ".join(self.missing))
        self._changed()

    def _moved(self, name: str) -> None:
        if self._clients.associationTo(name) is not None:
            self._had[name] = None
            self.missing.pop(name, None)
            self.names.pop(name, None)
            if not self.names:
                self._stop()
        elif not self._gate.open:
            if self._within and name in self._had:
                self.names[name] = None
        elif name not in self.names:
            self._had.pop(name, None)
