"""
Sockets that another process has bound and handed over to this one, to be used in place of new ones: several
processes then share an address. In a process that shares nothing there are none.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

__all__ = ["ENCAPS", "KERNEL", "STREAM", "UDP", "HandedEndpoint", "forget", "put", "take"]

#: What they are for: SIP over UDP, SIP over TCP or TLS, the UDP port of userspace SCTP, SCTP of the kernel.
UDP, STREAM, ENCAPS, KERNEL = "udp", "stream", "encaps", "kernel"

# One process has one set of them, as it has one userspace SCTP stack.
_sockets: dict[tuple[str, str, int], list[socket.socket]] = {}


def put(kind: str, host: str, port: int, given: socket.socket) -> None:
    """
    Keeps one for whoever comes to listen.

    @param host: as the configuration has it; empty for all IPv4 addresses of TCP; several of SCTP with commas
        between them.
    @param port: as the configuration has it, 0 included: the first that was handed over is taken first.
    """
    _sockets.setdefault((kind, host, port), []).append(given)


def take(kind: str, host: str, port: int) -> socket.socket | None:
    """
    @return: one that was handed over for this, bound already; C{None} where there is none.
    """
    waiting = _sockets.get((kind, host, port))
    return waiting.pop(0) if waiting else None


def forget() -> None:
    """
    Closes those that nobody has taken.
    """
    for waiting in _sockets.values():
        for given in waiting:
            given.close()
    _sockets.clear()


@implementer(IStreamServerEndpoint)
class HandedEndpoint:
    """
    Accepts connections at a socket that listens already.
    """

    def __init__(self, reactor: Any, given: socket.socket, tls: Any = None) -> None:
        """
        @param tls: for TLS, its options.
        """
        self._reactor = reactor
        self._given = given
        self._tls = tls

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """
        See C{IStreamServerEndpoint}.
        """
        return maybeDeferred(self._listen, protocolFactory)

    def _listen(self, factory: Any) -> IListeningPort:
        if self._tls is not None:
            factory = TLSMemoryBIOFactory(self._tls, False, factory)
        given = self._given
        given.setblocking(False)
        try:
            # The port works on a copy of the descriptor.
            port: IListeningPort = self._reactor.adoptStreamPort(given.fileno(), given.family, factory)
        finally:
            given.close()
        return port
