"""
The UDP sockets below the userspace stack (RFC 6951): one a local address and port, shared by all
listeners and associations there; and the UDP peers behind them, each with the handle by which libusrsctp
knows it.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from sipgrace.transport import handed

if TYPE_CHECKING:
    from sipgrace.transport.sctp.userspacedoubt import Doubt
    from sipgrace.transport.sctp.userspacetransport import UserspaceTransport

__all__ = ["EncapsSocket", "Peer", "UDPAddress", "WildcardSocket", "handleOf", "sourceTowards"]

log = Logger()

BATCH: Final = 64
"""Datagrams read at one wake-up before the reactor's other descriptors have their turn."""

BUFFER: Final = 4 * 1024 * 1024
"""Bytes that the socket's buffers are asked for, each way: bursts decide the highest rate without loss."""

LARGEST: Final = 65536
"""Bytes; no datagram is longer."""

# linux/in.h
IP_PKTINFO: Final = 8

# From Linux' headers (linux/in.h, linux/in6.h, linux/errqueue.h): errors that ICMP tells are kept in a queue.
IP_RECVERR: Final = 11
IPV6_RECVERR: Final = 25
_ERROR: Final = struct.Struct("=IBBBxII")
_ORIGIN_ICMP: Final = 2
_ORIGIN_ICMP6: Final = 3

#: By origin, type, code: no process has the port (RFC 792, RFC 4443 §3.1).
_PORT_UNREACHABLE: Final = frozenset(((_ORIGIN_ICMP, 3, 3), (_ORIGIN_ICMP6, 1, 4)))

#: The most bytes that are read of a datagram that came back, and of what is said about it.
_QUOTED: Final = 256

UDPAddress = tuple[Any, ...]
"""As C{recvfrom} gives it; from a L{WildcardSocket} with our own address behind it."""


class Peer:
    """
    A UDP address that associations run to, from one of our sockets.

    @ivar handle: the number that stands for it inside libusrsctp.
    @ivar uses: associations and attempts that need it.
    @ivar ends: the associations and attempts, by our SCTP port and theirs.
    @ivar doubt: set while it is not known whether the peer is still there.
    @ivar note: called with each packet that goes to the peer, where somebody wants to know it.
    """

    __slots__ = ("address", "doubt", "encaps", "ends", "handle", "note", "sendto", "uses")

    def __init__(self, encaps: EncapsSocket, address: UDPAddress, secret: bytes) -> None:
        self.encaps = encaps
        self.address = address
        self.handle = handleOf(encaps.index, address, secret)
        self.sendto: Callable[[Any, Any], int] = encaps.sendto
        self.uses = 0
        self.ends: dict[tuple[int, int], UserspaceTransport] = {}
        self.doubt: Doubt | None = None
        self.note: Callable[[bytes], None] | None = None


def handleOf(index: int, address: UDPAddress, secret: bytes) -> int:
    """
    The handle of a UDP peer. Nothing is kept for it: it follows from the address, because the library
    signs it into the cookie of an INIT-ACK and must meet it again in the COOKIE-ECHO.

    @param index: the number of our socket, 1 to 32767.
    @param secret: keys the hash of addresses that do not fit as they are (all but plain IPv4), so that
        nobody can aim at another's handle.
    @return: a positive number below 2**64.
    """
    if len(address) == 2:
        return index << 48 | int.from_bytes(socket.inet_aton(address[0]), "big") << 16 | int(address[1])
    digest = blake2b(repr((index, address)).encode(), digest_size=8, key=secret).digest()
    return int.from_bytes(digest, "big") | 1 << 63


@implementer(IReadDescriptor)
class EncapsSocket:
    """
    One bound UDP socket.

    @ivar index: its number in the handles of its peers.
    @ivar host: the IP address it is bound to.
    @ivar port: its UDP port.
    @ivar peers: the peers with associations, by UDP address.
    @ivar uses: listeners and peers that need it; the socket closes with the last one.
    @ivar shared: whether other processes read from this address, too: what is opened from there would get
        no answers.
    """

    def __init__(
        self,
        reactor: Any,
        index: int,
        host: str,
        port: int,
        ffi: Any,
        received: Callable[[Any, UDPAddress, bytearray, int], None],
        drained: Callable[[], None],
        unreachable: Callable[[Any, UDPAddress, bytes], None],
    ) -> None:
        """
        @param received: called with this, the sender's address, the buffer (whose first bytes hold the
            packet) and the packet's length.
        @param drained: called after a batch.
        @param unreachable: called with this, the address of a peer at whose port nobody is, as ICMP says, and
            the packet to it, or the beginning of that.
        @raise OSError: when it cannot be bound.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.reactor = reactor
        self.index = index
        self.peers: dict[UDPAddress, Peer] = {}
        self.uses = 0
        given = handed.take(handed.ENCAPS, host, port)
        self.shared = given is not None
        self.socket = given or socket.socket(family, socket.SOCK_DGRAM)
        try:
            if family == socket.AF_INET6 and given is None:
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                self.socket.setsockopt(socket.SOL_SOCKET, option, BUFFER)
            self.socket.setblocking(False)
            if sys.platform == "linux":
                # It then fails whatever is asked of the socket next, too: see doRead and Wire.sendPacket.
                if family == socket.AF_INET6:
                    self.socket.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
                else:
                    self.socket.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
            self._prepare(family)
            if given is None:
                self.socket.bind((host, port))
        except BaseException:
            self.socket.close()
            raise
        name = self.socket.getsockname()
        self.host: str = name[0]
        self.port: int = name[1]
        self.buffer = bytearray(LARGEST)
        self.pointer = ffi.from_buffer(self.buffer)
        self._receive: Callable[[bytearray], tuple[int, UDPAddress]] = self.socket.recvfrom_into
        self.sendto: Callable[[Any, UDPAddress], int] = self.socket.sendto
        self._received = received
        self._drained = drained
        self._unreachable = unreachable
        reactor.addReader(self)

    def _prepare(self, family: int) -> None:
        """
        What has to be set before it is bound.
        """

    def localOf(self, address: UDPAddress) -> str:
        """
        Our own IP address towards a peer.
        """
        return self.host

    def addressOf(self, host: str, port: int) -> UDPAddress:
        """
        The key of a peer that we want to reach.
        """
        if ":" not in host:
            return (host, port)
        found = socket.getaddrinfo(
            host, port, socket.AF_INET6, socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
        )
        return found[0][4]

    def fileno(self) -> int:
        return self.socket.fileno()

    def logPrefix(self) -> str:
        return "sctp"

    def doRead(self) -> None:
        receive = self._receive
        buffer = self.buffer
        received = self._received
        try:
            for _ in range(BATCH):
                try:
                    length, address = receive(buffer)
                except BlockingIOError:
                    break
                except OSError:
                    # An ICMP error.
                    self._readErrors()
                    continue
                received(self, address, buffer, length)
        except Exception:
            # Out of here it would make the reactor drop the socket, and all associations with it.
            log.failure("a packet on UDP {host} {port} could not be taken", host=self.host, port=self.port)
        self._drained()

    def _readErrors(self) -> None:
        """
        Takes what ICMP has told.
        """
        if sys.platform != "linux":
            return
        for _ in range(BATCH):
            try:
                quoted, ancillary, _flags, address = self.socket.recvmsg(
                    _QUOTED, _QUOTED, socket.MSG_ERRQUEUE
                )
            except OSError:
                break
            for level, kind, value in ancillary:
                if (level, kind) in ((socket.IPPROTO_IP, IP_RECVERR), (socket.IPPROTO_IPV6, IPV6_RECVERR)):
                    _code, *what, _info, _data = _ERROR.unpack_from(value)
                    if tuple(what) in _PORT_UNREACHABLE:
                        self._unreachable(self, self._peerOf(address, ancillary, 8), quoted)

    def _peerOf(
        self, address: UDPAddress, ancillary: Sequence[tuple[int, int, bytes]], place: int = 4
    ) -> UDPAddress:
        """
        The key of a peer.

        @param address: as the system gives it.
        @param place: where in a C{struct in_pktinfo} our address is: 4 (C{ipi_spec_dst}) for a packet, 8
            (C{ipi_addr}) for an error, in which the other is not filled in.
        """
        return address

    def connectionLost(self, reason: object) -> None:
        """
        Reactors take an error with nothing to read for the end. For UDP there is none: it is ICMP, and we go
        on, unless the reactor itself ends.
        """
        if isinstance(reason, Failure) and not reason.check(ConnectionDone):
            self.close()
        if self.socket.fileno() < 0:
            return
        self.reactor.addReader(self)
        try:
            self._readErrors()
        except Exception:
            log.failure("an ICMP error on UDP {host} {port} is left", host=self.host, port=self.port)
        self._drained()

    def close(self) -> None:
        """
        Closes the socket. What is still to be sent to its peers is lost.
        """
        if self.socket.fileno() >= 0:
            self.reactor.removeReader(self)
            self.socket.close()


class WildcardSocket(EncapsSocket):
    """
    A socket bound to all addresses: what comes to one of ours is answered from that one, not from
    whichever the routes would take, or a client would not know its server.
    """

    def _prepare(self, family: int) -> None:
        if family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            self.socket.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        self._six = family == socket.AF_INET6
        self._room = socket.CMSG_SPACE(20)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._receive = self._receiveWithOurs
        self.sendto = self._sendFromOurs

    def _receiveWithOurs(self, buffer: bytearray) -> tuple[int, UDPAddress]:
        length, ancillary, _, address = self.socket.recvmsg_into([buffer], self._room)
        return length, self._peerOf(address, ancillary)

    def _peerOf(
        self, address: UDPAddress, ancillary: Sequence[tuple[int, int, bytes]], place: int = 4
    ) -> UDPAddress:
        for level, kind, value in ancillary:
            if level == socket.IPPROTO_IP and kind == IP_PKTINFO:
                return (*address, socket.inet_ntoa(value[place : place + 4]))
            if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
                return (*address, socket.inet_ntop(socket.AF_INET6, value[:16]))
        return (*address, self.host)

    def _sendFromOurs(self, data: Any, address: UDPAddress) -> int:
        ours = address[-1]
        if self._six:
            info = struct.pack("=16sI", socket.inet_pton(socket.AF_INET6, ours), address[3])
            ancillary = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, info)
        else:
            info = struct.pack("=I4s4x", 0, socket.inet_aton(ours))
            ancillary = (socket.IPPROTO_IP, IP_PKTINFO, info)
        return self.socket.sendmsg([data], [ancillary], 0, address[:-1])

    def localOf(self, address: UDPAddress) -> str:
        return str(address[-1])

    def addressOf(self, host: str, port: int) -> UDPAddress:
        return (*super().addressOf(host, port), sourceTowards(host, port))


def sourceTowards(host: str, port: int) -> str:
    """
    Our own address on the way to another; nothing is sent.

    @raise OSError: when there is no way.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((host, port))
        return str(probe.getsockname()[0])
