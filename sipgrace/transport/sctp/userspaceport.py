"""
Listening on the userspace stack. The library has one listening socket an SCTP port; on how many UDP
sockets that port is offered, and to whom each leads, is told apart here.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from zope.interface import implementer

from sipgrace.transport.sctp.address import SCTPAddress
from sipgrace.transport.sctp.stack import SCTPOptions
from sipgrace.transport.sctp.userspaceencaps import EncapsSocket

if TYPE_CHECKING:
    from sipgrace.transport.sctp.userspace import UserspaceStack

__all__ = ["Listener", "UserspacePort"]


class Listener:
    """
    The library's listening socket for an SCTP port.

    @ivar ports: what was asked to listen there, by UDP socket.
    """

    def __init__(self, so: int, port: int, options: SCTPOptions) -> None:
        self.so = so
        self.port = port
        self.options = options
        self.ports: dict[EncapsSocket, UserspacePort] = {}


@implementer(IListeningPort)
class UserspacePort:
    """
    A listener as Twisted knows it; what C{UserspaceStack.listen} gives.
    """

    def __init__(
        self,
        stack: UserspaceStack,
        port: int,
        hosts: Sequence[str],
        encaps: int,
        factory: IProtocolFactory,
        options: SCTPOptions,
    ) -> None:
        self.factory = factory
        self.options = options
        self._stack = stack
        self._sockets: list[EncapsSocket] = []
        self._listener: Listener | None = None
        self._address = SCTPAddress(hosts[0], port, encaps, tuple(hosts))

    def startListening(self) -> None:
        """
        @raise CannotListenError: when the port is taken, or an address is not ours.
        """
        wanted = self._address
        assert wanted.encaps is not None
        try:
            self._openSockets(wanted.hosts, wanted.encaps)
            self._listener = self._stack.listener(wanted.port, self.options)
            if any(each in self._listener.ports for each in self._sockets):
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        except OSError as error:
            if self._listener is not None:
                self._stack.settleListener(self._listener)
                self._listener = None
            self._closeSockets()
            raise CannotListenError(wanted.host, f"{wanted.port} over UDP {wanted.encaps}", error) from error
        for each in self._sockets:
            self._listener.ports[each] = self
        first = self._sockets[0]
        hosts = tuple(each.host for each in self._sockets)
        self._address = SCTPAddress(first.host, self._listener.port, first.port, hosts)
        self.factory.doStart()

    def _openSockets(self, hosts: Sequence[str], encaps: int) -> None:
        for host in hosts:
            found = self._stack.wire.open(host, encaps)
            found.uses += 1
            self._sockets.append(found)
            # All addresses of one listener have the same UDP port.
            encaps = found.port

    def _closeSockets(self) -> None:
        for each in self._sockets:
            each.uses -= 1
            self._stack.wire.settle(each)
        self._sockets = []

    def stopListening(self) -> Deferred[None]:
        listener, self._listener = self._listener, None
        if listener is not None:
            for each in self._sockets:
                del listener.ports[each]
            self._stack.settleListener(listener)
            self._closeSockets()
            self.factory.doStop()
        return succeed(None)

    def getHost(self) -> SCTPAddress:
        return self._address

    def __repr__(self) -> str:
        return f"<sctp {self._address} for {self.factory!r}>"
