"""
The metrics beside a role.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint

from sipgrace import __version__
from sipgrace.config.metrics import MetricsSection, addressAndPort
from sipgrace.tap.preparedport import PreparedPort

__all__ = ["metricsBeside"]


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


def metricsBeside(reactor: Any, section: MetricsSection | None, role: Told) -> Iterator[IService]:
    """
    @return: the metrics where they are configured, or nothing.
    """
    if section is None:
        return
    where = section.listen

    def listen() -> Deferred[IListeningPort]:
        # Slow to import, and not everybody's.
        from sipgrace.metrics.exposition import metricsSite, registryOf
        from sipgrace.metrics.node import NodeCollector

        collector = NodeCollector(lambda: {**role.standing(), **role.status()}, __version__)
        host, port = addressAndPort(where)
        kind = TCP6ServerEndpoint if ":" in host else TCP4ServerEndpoint
        endpoint: IStreamServerEndpoint = kind(reactor, port, interface=host)
        return endpoint.listen(metricsSite(registryOf(collector)))

    yield PreparedPort("metrics", where, listen)
