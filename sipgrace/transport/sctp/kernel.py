"""
SCTP of the Linux kernel, behind the seam of both stacks.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError, ConnectBindError, getConnectError
from twisted.internet.interfaces import IListeningPort, IProtocol, IProtocolFactory, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from sipgrace.errors import ConfigError
from sipgrace.transport import handed
from sipgrace.transport.sctp.address import SCTPAddress
from sipgrace.transport.sctp.attempt import Attempt
from sipgrace.transport.sctp.kernelassociation import KernelTransport
from sipgrace.transport.sctp.kernelsocket import KernelSocket, familyOf
from sipgrace.transport.sctp.stack import DEFAULT_OPTIONS, ISCTPStack, SCTPOptions

__all__ = ["KernelPort", "KernelStack"]

log = Logger()

_BACKLOG = 1024
"""How many associations may wait to be accepted; the kernel allows no more than C{net.core.somaxconn}."""

_ACCEPTS_A_TURN = 50
"""How many are accepted before the reactor's other descriptors have their turn."""

_NO_ENCAPS = "{}={}: with stack=kernel the own UDP port is a setting of the host, net.sctp.udp_port"
_PAUSE = 1.0
"""Seconds without accepting when the process has no descriptor left."""


@implementer(ISCTPStack)
class KernelStack:
    """
    The stack of the host's kernel. It needs no state of its own.
    """

    name = "kernel"

    def listen(
        self,
        reactor: object,
        port: int,
        hosts: Sequence[str],
        factory: IProtocolFactory,
        options: SCTPOptions = DEFAULT_OPTIONS,
        encaps: int | None = None,
    ) -> IListeningPort:
        if encaps is not None:
            raise ConfigError(_NO_ENCAPS.format("encaps", encaps))
        listener = KernelPort(reactor, port, hosts, factory, options)
        listener.startListening()
        return listener

    def connect(
        self,
        reactor: object,
        hosts: Sequence[str],
        port: int,
        factory: IProtocolFactory,
        options: SCTPOptions = DEFAULT_OPTIONS,
        timeout: float = 5.0,
        bindHosts: Sequence[str] = (),
        bindPort: int = 0,
        encaps: int | None = None,
        localEncaps: int | None = None,
        primary: str = "",
    ) -> Deferred[IProtocol]:
        if localEncaps is not None:
            return fail(ConfigError(_NO_ENCAPS.format("localEncaps", localEncaps)))
        sock = KernelSocket(familyOf([*hosts, *bindHosts]))
        try:
            sock.configure(options, encaps)
            if bindHosts or bindPort:
                _bind(sock, bindHosts, bindPort)
            sock.connect(hosts, port)
        except OSError as error:
            sock.close()
            return fail(getConnectError(error))
        except ConnectBindError:
            sock.close()
            return fail()
        transport = KernelTransport(
            reactor, options, sock, SCTPAddress("", bindPort), SCTPAddress(hosts[0], port, None, tuple(hosts))
        )
        transport.primary = primary
        attempt = Attempt(reactor, factory, timeout, transport.abandon)
        transport.opening(attempt)
        return attempt.deferred


def _bind(sock: KernelSocket, hosts: Sequence[str], port: int) -> None:
    try:
        sock.bind(hosts or [sock.anywhere()], port)
    except OSError as error:
        raise ConnectBindError(error.errno, f"{', '.join(hosts)} port {port}: {error.strerror}") from None


@implementer(IListeningPort, IReadDescriptor)
class KernelPort:
    """
    A place where associations are accepted, on one address, several or all.
    """

    def __init__(
        self,
        reactor: Any,
        port: int,
        hosts: Sequence[str],
        factory: IProtocolFactory,
        options: SCTPOptions = DEFAULT_OPTIONS,
    ) -> None:
        self.reactor = reactor
        self.factory = factory
        self.options = options
        self._wanted = (tuple(hosts), port)
        self._host = SCTPAddress(hosts[0], port, None, tuple(hosts))
        self._socket: KernelSocket | None = None

    def startListening(self) -> None:
        """
        @raise CannotListenError: when the port is taken, or an address is not ours.
        """
        hosts, port = self._wanted
        given = handed.take(handed.KERNEL, ",".join(hosts), port)
        sock = KernelSocket(familyOf(hosts), given)
        try:
            sock.configure(self.options)
            if given is None:
                # so that the port can be had again while associations of an earlier listener live on
                sock.reuse()
                sock.bind(hosts, port)
            sock.plain.listen(_BACKLOG)
            bound = sock.plain.getsockname()[1]
        except OSError as error:
            sock.close()
            raise CannotListenError(", ".join(hosts), port, error) from None
        self._socket = sock
        self._host = SCTPAddress(hosts[0], bound, None, hosts)
        self.factory.doStart()
        self.reactor.addReader(self)
        log.info("SCTP of the kernel on {host}", host=self._host)

    def stopListening(self) -> Deferred[None]:
        sock = self._socket
        if sock is not None:
            self.reactor.removeReader(self)
            self._socket = None
            sock.close()
            self.factory.doStop()
        return succeed(None)

    def getHost(self) -> SCTPAddress:
        return self._host

    def fileno(self) -> int:
        return -1 if self._socket is None else self._socket.plain.fileno()

    def logPrefix(self) -> str:
        return f"sctp listener {self._host}"

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor stops.
        """
        self.stopListening()

    def doRead(self) -> None:
        for _ in range(_ACCEPTS_A_TURN):
            listener = self._socket
            if listener is None:
                return
            try:
                sock, peer = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                self._notAccepted(error)
                return
            transport = KernelTransport(self.reactor, self.options, sock, self._host, peer)
            transport.accepted(self.factory, self._listening)

    def _listening(self) -> bool:
        return self._socket is not None

    def _notAccepted(self, error: OSError) -> None:
        log.warn("{host} could not accept: {reason}", host=self._host, reason=error.strerror)
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
            # the association stays in the kernel's queue, and the reactor would ask again at once
            self.reactor.removeReader(self)
            self.reactor.callLater(_PAUSE, self._acceptAgain)

    def _acceptAgain(self) -> None:
        if self._socket is not None:
            self.reactor.addReader(self)
