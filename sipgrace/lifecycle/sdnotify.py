"""
What systemd is told (sd_notify(3)): that the server is ready, that it is leaving, that it needs more time
for that, and a line for C{systemctl status}. Nothing at all where C{NOTIFY_SOCKET} is not set.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from sipgrace.lifecycle.events import Change, Event
from sipgrace.lifecycle.machine import Status

_INTERVAL = 1.0
"""Seconds between two messages while draining."""

_WINDOW = 10.0
"""For so many seconds after each of these messages systemd goes on waiting. A process that hangs is thus
stopped soon, and one that was busy for a moment is not."""


class Notifier:
    """
    The way to the service manager.
    """

    _log = Logger()

    def __init__(self, environ: Mapping[str, str]) -> None:
        """
        @param environ: the environment; C{NOTIFY_SOCKET} in it is the path of a UNIX datagram socket, or
            its abstract name after an C{@}.
        """
        self._address = environ.get("NOTIFY_SOCKET", "")
        if self._address and self._address[0] not in "/@":
            self._log.warn(
                "NOTIFY_SOCKET is {address}; a path or @name is expected, systemd is told nothing",
                address=self._address,
            )
            self._address = ""

    @property
    def wanted(self) -> bool:
        """
        Whether there is anybody to tell.
        """
        return bool(self._address)

    def send(self, *assignments: str) -> None:
        """
        Sends one message. A failure is logged: the server does not depend on it.

        @param assignments: each C{NAME=value}, without line breaks.
        """
        if not self._address:
            return
        address = self._address
        if address.startswith("@"):
            address = "\0" + address[1:]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                # A manager that does not read must not stop calls for longer than this.
                sender.settimeout(0.2)
                sender.sendto("\n".join(assignments).encode(), address)
        except OSError as error:
            self._log.warn("systemd could not be told {what}: {error}", what=assignments, error=error)


class Systemd:
    """
    An observer of the lifecycle that tells systemd.
    """

    def __init__(self, notifier: Notifier, clock: IReactorTime, status: Callable[[], Status]) -> None:
        """
        @param status: how things stand: C{Lifecycle.status}.
        """
        self._notifier = notifier
        self._status = status
        self._repeating = LoopingCall(self._stillDraining)
        self._repeating.clock = clock
        self._leaving = False

    def leaving(self) -> None:
        """
        The process is about to end: to be called at SIGTERM, before the order to drain. (A drain alone
        does not say so: the server may come back, and systemd stops those that said they are stopping.)
        """
        if not self._leaving:
            self._leaving = True
            self._notifier.send("STOPPING=1", "STATUS=Leaving", _extension())

    def onChange(self, event: Event) -> None:
        """
        See L{sipgrace.lifecycle.seams.Observer}.
        """
        if not self._notifier.wanted:
            return
        if event.change in (Change.SLOWING, Change.DRAINING):
            if not self._repeating.running:
                self._repeating.start(_INTERVAL)
        elif event.change in (Change.SERVING, Change.CANCELLED, Change.OFFLINE, Change.FAILED):
            if self._repeating.running:
                self._repeating.stop()
            if event.change is Change.SERVING:
                self._notifier.send("READY=1", "STATUS=Serving")
            elif event.change is Change.CANCELLED:
                self._notifier.send("STATUS=Serving")
            elif event.change is Change.OFFLINE:
                self._notifier.send("STATUS=Offline")
            else:
                self._notifier.send(f"STATUS=Offline: {' '.join(event.text.split())}")

    def _stillDraining(self) -> None:
        status = self._status()
        if status.slowLeft is not None:
            self._notifier.send(f"STATUS=About to drain, in {status.slowLeft:.0f} s", _extension())
            return
        self._notifier.send(
            f"STATUS=Draining: {status.waiting} accepted INVITEs and {status.associations} associations left,"
            f" guard in {status.guardLeft or 0.0:.0f} s",
            _extension(),
        )


def _extension() -> str:
    return f"EXTEND_TIMEOUT_USEC={int(_WINDOW * 1_000_000)}"
