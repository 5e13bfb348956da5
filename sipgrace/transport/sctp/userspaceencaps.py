"""
The UDP sockets below the userspace stack (RFC 6951): one a local address and port, shared by all
listeners and associations there; and the UDP peers behind them, each with the handle by which libusrsctp
knows it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Final

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from zope.interface import implementer

__all__ = ["EncapsSocket", "Peer", "handleOf"]

log = Logger()

BATCH: Final = 64
"""Datagrams read at one wake-up before the reactor's other descriptors have their turn."""

BUFFER: Final = 4 * 1024 * 1024
LARGEST: Final = 65536


class Peer:
    """
    A UDP address that associations run to, from one of our sockets.

    @ivar handle: the number that stands for it inside libusrsctp.
    @ivar uses: associations and attempts that need it.
    """

    __slots__ = ("address", "encaps", "handle", "registered", "sendto", "uses")

    def __init__(self, encaps: EncapsSocket, address: Any, handle: int) -> None:
        self.encaps = encaps
        self.address = address
        self.handle = handle
        self.sendto: Callable[[Any, Any], int] = encaps.socket.sendto
        self.registered = False
        self.uses = 0


def handleOf(index: int, address: Any, secret: bytes) -> int:
    """
    The handle of a UDP peer. Nothing is kept for it: it follows from the address, because the library
    signs it into the cookie of an INIT-ACK and must meet it again in the COOKIE-ECHO.

    @param index: the number of our socket, 1 to 32767.
    @param address: as C{recvfrom} gives it.
    @param secret: keys the hash of IPv6 addresses, so that nobody can aim at another's handle. (IPv4
        addresses fit as they are.)
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
    """

    def __init__(
        self,
        reactor: Any,
        index: int,
        host: str,
        port: int,
        ffi: Any,
        received: Callable[[EncapsSocket, Any, Any, int], None],
        drained: Callable[[], None],
    ) -> None:
        """
        @param received: called with this, the sender's address, the buffer (a C{bytearray} whose first
            bytes hold the packet) and the packet's length.
        @param drained: called after a batch.
        @raise OSError: when it cannot be bound.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.reactor = reactor
        self.index = index
        self.peers: dict[Any, Peer] = {}
        self.uses = 0
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            if family == socket.AF_INET6:
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                self.socket.setsockopt(socket.SOL_SOCKET, option, BUFFER)
            self.socket.setblocking(False)
            self.socket.bind((host, port))
        except BaseException:
            self.socket.close()
            raise
        name = self.socket.getsockname()
        self.host: str = name[0]
        self.port: int = name[1]
        self.buffer = bytearray(LARGEST)
        self.pointer = ffi.from_buffer(self.buffer)
        self._received = received
        self._drained = drained
        reactor.addReader(self)

    def fileno(self) -> int:
        return self.socket.fileno()

    def logPrefix(self) -> str:
        return "sctp"

    def doRead(self) -> None:
        receive = self.socket.recvfrom_into
        buffer = self.buffer
        received = self._received
        try:
            for _ in range(BATCH):
                try:
                    length, address = receive(buffer)
                except (BlockingIOError, InterruptedError):
                    break
                received(self, address, buffer, length)
        except Exception:
            # Out of here it would make the reactor drop the socket, and all associations with it.
            log.failure("a packet on UDP {host} {port} could not be taken", host=self.host, port=self.port)
        self._drained()

    def connectionLost(self, reason: object) -> None:
        self.close()

    def close(self) -> None:
        """
        Closes the socket. What is still to be sent to its peers is lost.
        """
        if self.socket.fileno() >= 0:
            self.reactor.removeReader(self)
            self.socket.close()
