"""
SIP over UDP, on a socket of our own: Twisted's C{Port} costs a tenth of the budget of a message.
"""

from __future__ import annotations

import errno
import re
import socket
import sys
from typing import Any, ClassVar, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import classImplements

from sipgrace.errors import TransportError
from sipgrace.interfaces import IAssociation, IListener
from sipgrace.message.message import Message
from sipgrace.transport import handed
from sipgrace.transport.address import hostPort, isWildcard, viaOf
from sipgrace.transport.datagrams import Datagrams, addressOf, datagramsFor
from sipgrace.transport.intake import Intake

__all__ = ["UDPListener", "UDPPeer"]

#: What the kernel says when it cannot take a datagram just now: a full buffer, a full table of its
#: packet filter, an ICMP error that somebody else's datagram met. SIP retransmits.
_PASSING: Final = frozenset(
    (
        errno.EAGAIN,
        errno.EWOULDBLOCK,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.EPERM,
        errno.ECONNREFUSED,
        errno.EINTR,
    )
)

#: C{SO_RCVBUFFORCE} and C{SO_SNDBUFFORCE} of Linux, which the socket module does not name.
_FORCED: Final = {socket.SO_RCVBUF: 33, socket.SO_SNDBUF: 32}

_DATAGRAM: Final = 65535

#: What is sent while datagrams are read is sent after them, so many at a time: waking its reader is the
#: dearest part of sending, and one that finds many is woken once.
_TOGETHER: Final = 32

#: The longest that leaves so: a datagram of any length up to this is taken by every path.
_SURE: Final = 32768

#: C{rport}, with or without a value, among the parameters of the first Via of a field.
_RPORT: Final = re.compile(rb"(?i)[^,]*;[ \t]*rport[ \t]*(?:[=;,]|\Z)")

#: As the socket gives and takes it: C{(host, port)}, and flow and scope behind that for IPv6.
Address = tuple[Any, ...]


class UDPPeer:
    """
    One UDP address of a peer. It is up until it is forgotten or the listener stops, and nobody hears
    of either.
    """

    __slots__ = (
        "__weakref__",
        "_address",
        "_listener",
        "_reached",
        "_sentBy",
        "opened",
        "peerHost",
        "peerHostBytes",
        "peerPort",
        "up",
        "via",
        "zone",
    )

    transport: ClassVar[bytes] = b"UDP"
    reliable: ClassVar[bool] = False

    def __init__(self, listener: UDPListener, address: Address, opened: bool) -> None:
        self._listener = listener
        self._address = address
        self.peerHost: str = address[0]
        self.peerHostBytes = self.peerHost.encode("ascii")
        self.peerPort: int = address[1]
        self.via = listener.via
        self.zone = listener.zone
        self.opened = opened
        self.up = True
        # Whether the kernel took the last datagram: only then can the next one wait for others.
        self._reached = False
        # The last sent-by seen whose responses come here, so that most requests need no closer look.
        self._sentBy: bytes | None = None

    def __repr__(self) -> str:
        return f"<UDP {hostPort(self._listener.host, self._listener.port)} <> {hostPort(*self._address[:2])}>"

    @property
    def localHost(self) -> str:
        """
        See L{IAssociation}. On a wildcard address it is the one that the kernel would send from.
        """
        return self._listener.localHostFor(self._address)

    @property
    def localPort(self) -> int:
        """
        See L{IAssociation}.
        """
        return self._listener.port

    def send(self, data: bytes) -> bool:
        """
        See L{IAssociation.send}: a datagram that the kernel cannot take now is dropped and counted.

        @return: false, too, for what can never leave: longer than a datagram, or without a route. (Where the
            last one did leave, one that meets this for the first time is taken for lost on its way.)
        """
        if not self.up:
            return False
        listener = self._listener
        outgoing = listener.outgoing
        if outgoing is not None:
            if self._reached and len(data) <= _SURE:
                outgoing.append((data, self))
                return True
            listener.flush()
        return self.sendNow(data)

    def sendNow(self, data: bytes) -> bool:
        """
        Hands one datagram to the kernel.

        @return: as L{send}.
        """
        listener = self._listener
        try:
            listener.sendto(data, self._address)
        except OSError as error:
            if error.errno in _PASSING:
                listener.counters.dropped += 1
                return True
            self._reached = False
            if listener.fileno() < 0:
                self.up = False  # forgotten before the listener stopped
                return False
            listener.counters.unsendable += 1
            listener.intake.warn(self.peerHost, "cannot send to {peer}: {reason}", reason=error.strerror)
            return False
        self._reached = True
        return True

    def shutdown(self) -> None:
        """
        See L{IAssociation.shutdown}: the peer is forgotten.
        """
        self.up = False
        self._listener.forget(self._address, self)

    def abort(self) -> None:
        """
        See L{IAssociation.abort}: the same.
        """
        self.shutdown()

    def returnPath(self, message: Message) -> IAssociation:
        """
        Where responses go, RFC 3261 §18.2.2 and RFC 3581 §4: to the source address where the top Via
        has C{rport}, else to the source host and the port of sent-by. The source host stands for
        C{received}, which is it wherever it differs from sent-by. C{maddr} is ignored: it would let
        anybody send our responses to anybody.
        """
        sentBy = message.sentBy
        if sentBy == self._sentBy:
            return self
        port = _portOf(sentBy)
        if port == self.peerPort:
            self._sentBy = sentBy
            return self
        if port is None or _RPORT.match(message.get(b"Via") or b""):
            return self
        return self._listener.peer((self._address[0], port, *self._address[2:]))


class UDPListener:
    """
    One UDP socket and the peers behind it.

    Peers are kept in two generations of C{bounds.peers / 2}: the young one is asked first, so that a
    known peer costs one look into a dict; when it is full it becomes the old one. A forgotten peer
    that somebody still holds goes on sending; the next datagram from there makes a new object.

    @ivar intake: what gets the datagrams.
    @ivar counters: of the intake.
    @ivar outgoing: while datagrams are read: what is to be sent after them; C{None} at all other times.
    """

    log: ClassVar[Logger] = Logger()
    transport: ClassVar[bytes] = b"UDP"

    def __init__(
        self,
        reactor: IReactorFDSet,
        intake: Intake,
        zone: str,
        host: str,
        port: int,
        advertise: tuple[str, int] | None = None,
    ) -> None:
        """
        Binds, and reads from the next turn of the reactor on.

        @param host: an IP address.
        @param advertise: what stands in the Via instead of the bound address; port 0: the bound one.

        @raise OSError: it cannot be bound.
        """
        self.intake = intake
        self.counters = intake.counters
        self.zone = zone
        self._reactor = reactor
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._datagrams = datagramsFor(self._family)
        # Of the young ones those that were heard, by their addresses as the kernel writes them.
        self._heard: dict[bytes, UDPPeer] = {}
        self._young: dict[Address, UDPPeer] = {}
        self._old: dict[Address, UDPPeer] = {}
        self._generation = max(1, intake.bounds.peers // 2)
        self.outgoing: list[tuple[bytes, UDPPeer]] | None = None
        given = handed.take(handed.UDP, host, port)
        self._socket = given or socket.socket(self._family, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            if self._family == socket.AF_INET6 and given is None:
                # One address has one way to be written, then; IPv4 has a listener of its own.
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            self._grow(socket.SO_RCVBUF, "receive")
            self._grow(socket.SO_SNDBUF, "send")
            if given is None:
                self._socket.bind((host, port))
        except BaseException:
            self._socket.close()
            raise
        self.host: str
        self.port: int
        self.host, self.port = self._socket.getsockname()[:2]
        self.hosts = (self.host,)
        advertisedHost, advertisedPort = advertise or (self.host, 0)
        self.via = viaOf(b"UDP", advertisedHost, advertisedPort or self.port)
        self.sendto = self._socket.sendto
        self._descriptor = self._socket.fileno()
        reactor.addReader(self)  # type: ignore[arg-type]

    def _grow(self, option: int, name: str) -> None:
        wanted = self.intake.bounds.buffer
        try:
            if sys.platform != "linux":
                raise OSError("known on Linux alone")
            self._socket.setsockopt(socket.SOL_SOCKET, _FORCED[option], wanted)
        except OSError:
            self._socket.setsockopt(socket.SOL_SOCKET, option, wanted)
        # The kernel doubles what was asked, for its own overhead.
        got = self._socket.getsockopt(socket.SOL_SOCKET, option) // 2
        if got < wanted:
            self.log.info(
                "the UDP {name} buffer has {got} of {wanted} bytes; raise net.core.rmem_max and wmem_max",
                name=name,
                got=got,
                wanted=wanted,
            )

    def associationTo(self, host: str, port: int) -> UDPPeer:
        """
        @param host: an IP address of this socket's family.

        @return: the peer there, whether heard of before or not.

        @raise TransportError: that is no such address, or the listener has stopped.
        """
        if self._descriptor < 0:
            raise TransportError("the UDP listener has stopped")
        try:
            found = socket.getaddrinfo(
                host,
                port,
                self._family,
                socket.SOCK_DGRAM,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            if not 0 < port < 65536:
                raise OSError("no such port")
        except (OSError, OverflowError, UnicodeError):
            kind = "IPv6" if self._family == socket.AF_INET6 else "IPv4"
            raise TransportError(f"{host!r} port {port} is no {kind} address to send to") from None
        return self.peer(found[0][4], opened=True)

    def peer(self, address: Address, opened: bool = False) -> UDPPeer:
        """
        @param address: as the socket gives and takes it.

        @return: the peer there.
        """
        peer = self._young.get(address)
        if peer is None:
            peer = self._old.pop(address, None)
            if peer is None:
                peer = UDPPeer(self, address, opened)
            if len(self._young) >= self._generation:
                self._old, self._young = self._young, {}
                self._heard.clear()
            self._young[address] = peer
        return peer

    def forget(self, address: Address, peer: UDPPeer) -> None:
        """
        Takes a peer out.
        """
        for generation in (self._young, self._old):
            if generation.get(address) is peer:
                del generation[address]
        self._heard.clear()

    def known(self) -> int:
        """
        @return: how many peers are remembered.
        """
        return len(self._young) + len(self._old)

    def localHostFor(self, address: Address) -> str:
        """
        @return: the bound address; on a wildcard the one that the kernel takes to send there.
        """
        if not isWildcard(self.host):
            return self.host
        with socket.socket(self._family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(address)
            except OSError:
                return self.host
            return str(probe.getsockname()[0])

    def doRead(self) -> None:
        """
        See C{IReadDescriptor}. Nothing may be raised here: the reactor would drop the reader.
        """
        self.outgoing = []
        if self._datagrams is None:
            self._readEach()
        else:
            self._readMany(self._datagrams)
        self.flush()
        self.outgoing = None

    def _readMany(self, datagrams: Datagrams) -> None:
        heard = self._heard
        left: int = self.intake.bounds.burst
        while left > 0 and self._descriptor >= 0:
            try:
                count = datagrams.receive(self._descriptor, left)
            except OSError:
                # ICMP errors of what was sent before.
                self.counters.readErrors += 1
                left -= 1
                continue
            if count == 0:
                return
            left -= count
            for place in range(count):
                raw = datagrams.address(place)
                peer = heard.get(raw)
                if peer is None:
                    peer = self.peer(addressOf(raw))
                    heard[raw] = peer
                self._take(datagrams.data(place), peer)
                if self._descriptor < 0:
                    return  # closed from within

    def _readEach(self) -> None:
        receive = self._socket.recvfrom
        for _ in range(self.intake.bounds.burst):
            try:
                data, address = receive(_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:
                # ICMP errors of what was sent before; or we were closed from within.
                if self._descriptor < 0:
                    return
                self.counters.readErrors += 1
                continue
            self._take(data, self.peer(address))

    def _take(self, data: bytes, peer: UDPPeer) -> None:
        try:
            self.intake.receive(data, peer)
        except Exception:
            self.counters.failed += 1
            self.log.failure("reading from UDP failed")
        if self.outgoing is not None and len(self.outgoing) >= _TOGETHER:
            self.flush()

    def flush(self) -> None:
        """
        Sends what waits for the end of reading.
        """
        outgoing = self.outgoing
        if outgoing:
            for data, peer in outgoing:
                peer.sendNow(data)
            outgoing.clear()

    def fileno(self) -> int:
        """
        See C{IReadDescriptor}: -1 once it has stopped.
        """
        return self._descriptor

    def logPrefix(self) -> str:
        """
        See C{IReadDescriptor}.
        """
        return "SIP over UDP"

    def connectionLost(self, reason: Failure) -> None:
        """
        See C{IReadDescriptor}: the reactor has dropped this reader, at its own end.
        """
        self._close()

    def stopListening(self) -> Deferred[None]:
        """
        See L{IListener.stopListening}: closes the socket; all peers go down.
        """
        if self._descriptor >= 0:
            self._reactor.removeReader(self)  # type: ignore[arg-type]
            self._close()
        return succeed(None)

    def _close(self) -> None:
        self.flush()
        self._descriptor = -1
        self._socket.close()
        for peer in [*self._young.values(), *self._old.values()]:
            peer.up = False
        self._heard.clear()
        self._young.clear()
        self._old.clear()


def _portOf(sentBy: bytes) -> int | None:
    """
    @return: the port of a sent-by, 5060 where it names none, C{None} for one that cannot be.
    """
    _, colon, port = sentBy.rpartition(b":")
    if not colon or not port.isdigit():
        return 5060  # a name or an IPv4 address; or the end of "[2001:db8::1]"
    number = int(port) if len(port) < 6 else 0
    return number if 0 < number < 65536 else None


classImplements(UDPPeer, IAssociation)
classImplements(UDPListener, IListener, IReadDescriptor)
