"""
The metrics beside a role.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.logger import Logger

from sipgrace import __version__
from sipgrace.config.metrics import MetricsSection, addressAndPort
from sipgrace.errors import ConfigError
from sipgrace.transport.address import addressOf

__all__ = ["Metrics", "metricsBeside"]


class Told(Protocol):
    """
    A role, as far as it tells of itself.
    """

    def status(self) -> dict[str, Any]:
        """
        How things stand.
        """

    def standing(self) -> dict[str, Any]:
        """
        The same in brief, with what is not among the other.
        """


class Metrics(Service):
    """
    Listens for Prometheus.

    @ivar port: where it listens, while it does.
    """

    _log = Logger()
    port: IListeningPort | None = None

    def __init__(self, reactor: Any, section: MetricsSection, role: Told) -> None:
        self._reactor = reactor
        self._section = section
        self._role = role

    def prepare(self) -> Deferred[None]:
        """
        Takes the port, and answers nobody yet.

        @return: as that of L{startService}.
        """

        def hold(ignored: None) -> None:
            port: Any = self.port
            port.stopReading()

        return self._listen().addCallback(hold)

    def startService(self) -> Deferred[None]:
        """
        @return: fires when it listens; fails with L{ConfigError} where it cannot.
        """
        Service.startService(self)
        port: Any = self.port
        if port is None:
            return self._listen()
        port.startReading()
        return succeed(None)

    def _listen(self) -> Deferred[None]:
        # Slow to import, and not everybody's.
        from sipgrace.metrics.exposition import metricsSite, registryOf
        from sipgrace.metrics.node import NodeCollector

        role = self._role
        collector = NodeCollector(lambda: {**role.standing(), **role.status()}, __version__)
        host, port = addressAndPort(self._section.listen)
        kind = TCP6ServerEndpoint if ":" in host else TCP4ServerEndpoint
        endpoint: IStreamServerEndpoint = kind(self._reactor, port, interface=host)
        listening = endpoint.listen(metricsSite(registryOf(collector)))
        return listening.addCallbacks(self._listens, self._failed)

    def _listens(self, port: IListeningPort) -> None:
        self.port = port
        self._log.info("metrics at {address}", address=addressOf(port))

    def _failed(self, failure: Any) -> None:
        failure.trap(CannotListenError)
        raise ConfigError(f"metrics.listen: cannot listen at {self._section.listen}: {failure.value}")

    def stopService(self) -> Deferred[Any] | None:
        """
        Listens no longer.
        """
        Service.stopService(self)
        port, self.port = self.port, None
        return None if port is None else maybeDeferred(port.stopListening)


def metricsBeside(reactor: Any, section: MetricsSection | None, role: Told) -> Iterator[IService]:
    """
    @return: the metrics where they are configured, or nothing.
    """
    if section is not None:
        yield Metrics(reactor, section, role)
