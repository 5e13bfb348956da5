"""
A port beside a role, taken before the role takes a call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.python.failure import Failure

from sipgrace.errors import ConfigError
from sipgrace.transport.address import addressOf

__all__ = ["PreparedPort"]


class PreparedPort(Service):
    """
    Listens at one port (see L{sipgrace.tap.signals.Prepared}).

    @ivar port: where it listens, while it does.
    """

    _log = Logger()
    port: IListeningPort | None = None

    def __init__(self, what: str, where: str, listen: Callable[[], Deferred[IListeningPort]]) -> None:
        """
        @param what: the section of the configuration that has it.
        @param where: what stands there as C{listen}.
        @param listen: takes the port; may raise L{ConfigError}.
        """
        self._what = what
        self._where = where
        self._listen = listen

    def prepare(self) -> Deferred[None]:
        """
        Takes the port, and answers nobody yet.

        @return: as that of L{startService}.
        """

        def hold(ignored: None) -> None:
            port: Any = self.port
            port.stopReading()

        return self._take().addCallback(hold)

    def startService(self) -> Deferred[None]:
        """
        @return: fires when it listens; fails with L{ConfigError} where it cannot.
        """
        super().startService()
        port: Any = self.port
        if port is None:
            return self._take()
        port.startReading()
        return succeed(None)

    def stopService(self) -> Deferred[Any]:
        """
        Listens no longer. Connections that there are stay until they or the process end.
        """
        super().stopService()
        port, self.port = self.port, None
        return succeed(None) if port is None else maybeDeferred(port.stopListening)

    def _take(self) -> Deferred[None]:
        return maybeDeferred(self._listen).addCallbacks(self._taken, self._failed)

    def _taken(self, port: IListeningPort) -> None:
        self.port = port
        self._log.info("{what} at {address}", what=self._what, address=addressOf(port))

    def _failed(self, failure: Failure) -> None:
        failure.trap(CannotListenError)
        raise ConfigError(f"{self._what}.listen: cannot listen at {self._where}: {failure.value}")
