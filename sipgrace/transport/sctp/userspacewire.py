"""
What passes between the UDP sockets and libusrsctp: which packets it gets, and where those that it makes
go.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sipgrace.transport.sctp.userspaceencaps import (
    EncapsSocket,
    Peer,
    UDPAddress,
    WildcardSocket,
    sourceTowards,
)
from sipgrace.transport.sctp.userspaceguard import (
    COOKIE_ECHO,
    HEADER,
    INIT,
    SHORTEST,
    Admission,
    abortOfInit,
    outOfTheBlue,
)
from sipgrace.transport.sctp.usrsctp import Binding

__all__ = ["Counters", "Wire", "WireUser"]

EVERYWHERE = ("0.0.0.0", "::")


@dataclass(slots=True)
class Counters:
    """
    What the stack has seen since the process began.

    @ivar packetsIn: packets received.
    @ivar packetsOut: packets sent.
    @ivar dropped: packets that UDP could not take; SCTP sends them again.
    @ivar short: packets too short to be SCTP.
    @ivar blue: packets that belonged to no association and were no INIT or COOKIE-ECHO.
    @ivar unreachable: ICMP messages that say that nobody is at the UDP port of a peer.
    @ivar initsRefused: INITs past the limits.
    @ivar accepted: associations accepted.
    """

    packetsIn: int = 0
    packetsOut: int = 0
    dropped: int = 0
    short: int = 0
    blue: int = 0
    unreachable: int = 0
    initsRefused: int = 0
    accepted: int = 0


class WireUser(Protocol):
    """
    What stands above the wire.
    """

    def offers(self, port: int, encaps: EncapsSocket) -> bool:
        """
        Whether associations to an SCTP port are accepted on a UDP socket.
        """

    def full(self) -> bool:
        """
        Whether there are as many associations as are allowed.
        """

    def acceptAll(self, port: int, visitor: Peer) -> None:
        """
        A packet that may have begun an association to a port has been taken.
        """

    def unreachable(self, peer: Peer, quoted: bytes) -> None:
        """
        Nobody is at the UDP port of a peer, ICMP says.

        @param quoted: the packet that it is about, or the beginning of that.
        """

    def serve(self) -> None:
        """
        A batch of packets has been taken.
        """


class Wire:
    """
    The UDP sockets and peers of the process.

    @ivar reactor: set by the user before the first socket is opened.
    @ivar admission: counts INITs and answers; set by the user, too.
    """

    reactor: Any
    admission: Admission

    def __init__(self, binding: Binding, user: WireUser) -> None:
        self.binding = binding
        self.lib = binding.lib
        self.counters = Counters()
        self._user = user
        self._buffer = binding.ffi.buffer
        self._secret = os.urandom(16)
        self._index = 0
        self._sockets: dict[tuple[str, int], EncapsSocket] = {}
        self._byHandle: dict[int, Peer] = {}
        self._visitor: Peer | None = None

    # Sockets

    def open(self, host: str, port: int) -> EncapsSocket:
        """
        The socket on an address; opened where it is not there.

        @param port: 0 = any free one.
        @raise OSError: when it cannot be bound.
        """
        found = self._sockets.get((host, port)) if port else None
        if found is not None:
            return found
        taken = {each.index for each in self._sockets.values()}
        while True:
            self._index = self._index % 32767 + 1
            if self._index not in taken:
                break
        kind = WildcardSocket if host in EVERYWHERE else EncapsSocket
        made = kind(
            self.reactor,
            self._index,
            host,
            port,
            self.binding.ffi,
            self._received,
            self._user.serve,
            self._unreachable,
        )
        self._sockets[made.host, made.port] = made
        return made

    def towards(self, host: str, encaps: int, bindHosts: Sequence[str], port: int | None) -> EncapsSocket:
        """
        A socket from which a host can be reached.

        @param port: our UDP port, 0 = any free one, C{None} = that of a socket which is there and whose
            address is the one that the routes, or C{bindHosts}, would take.
        @raise OSError: when it cannot be bound, or there is no route.
        """
        source = bindHosts[0] if bindHosts else sourceTowards(host, encaps)
        if port is None:
            wildcard = "::" if ":" in source else "0.0.0.0"
            for each in self._sockets.values():
                if each.host in (source, wildcard) and not each.shared:
                    return each
        elif port:
            for address in (source, "::" if ":" in source else "0.0.0.0"):
                if (address, port) in self._sockets and not self._sockets[address, port].shared:
                    return self._sockets[address, port]
        return self.open(source, port or 0)

    def settle(self, encaps: EncapsSocket) -> None:
        """
        Closes a socket that nobody needs any more.
        """
        if not encaps.uses:
            self._sockets.pop((encaps.host, encaps.port), None)
            encaps.close()

    # Peers

    def hold(self, encaps: EncapsSocket, address: UDPAddress) -> Peer:
        """
        A peer that an association needs until L{release}.
        """
        peer = encaps.peers.get(address)
        if peer is None:
            peer = encaps.peers[address] = Peer(encaps, address, self._secret)
            self._byHandle[peer.handle] = peer
            self.lib.usrsctp_register_address(peer.handle)
            encaps.uses += 1
        peer.uses += 1
        return peer

    def release(self, peer: Peer) -> None:
        """
        Undoes one L{hold}.
        """
        peer.uses -= 1
        if not peer.uses:
            self.lib.usrsctp_deregister_address(peer.handle)
            del self._byHandle[peer.handle]
            del peer.encaps.peers[peer.address]
            if peer.doubt is not None:
                peer.doubt.stop()
            peer.encaps.uses -= 1
            self.settle(peer.encaps)

    # Packets

    def sendPacket(self, handle: int, packet: Any, length: int, tos: int, df: int) -> int:
        """
        Called by the library, which may not be called back from here: sends, and nothing else.
        """
        peer = self._byHandle.get(handle)
        if peer is None:
            peer = self._visitor
            if peer is None or peer.handle != handle:
                return 0
        if peer.note is not None:
            peer.note(bytes(self._buffer(packet, length)))
        self._send(peer.sendto, self._buffer(packet, length), peer.address)
        return 0

    def _send(self, sendto: Callable[[Any, Any], int], data: Any, address: UDPAddress) -> None:
        try:
            sendto(data, address)
        except BlockingIOError:
            self.counters.dropped += 1
        except OSError:
            # As likely as not an ICMP error about an earlier packet, to whomever. It is told once, and this
            # one has not been sent yet.
            try:
                sendto(data, address)
            except OSError:
                self.counters.dropped += 1
            else:
                self.counters.packetsOut += 1
        else:
            self.counters.packetsOut += 1

    def _received(self, encaps: EncapsSocket, address: UDPAddress, packet: bytearray, length: int) -> None:
        self.counters.packetsIn += 1
        if length < SHORTEST:
            self.counters.short += 1
            return
        peer = encaps.peers.get(address)
        if peer is not None and peer.doubt is not None:
            peer.doubt.answered = True
        first = packet[12]
        if peer is not None and first != INIT and first != COOKIE_ECHO:
            self.lib.usrsctp_conninput(peer.handle, encaps.pointer, length, 0)
            return
        if first == INIT and not self.admission.init(address[0], self.reactor.seconds()):
            self.counters.initsRefused += 1
            return
        if peer is None:
            peer = self._stranger(encaps, address, packet, length, first)
            if peer is None:
                return
        self._visitor = peer
        self.lib.usrsctp_conninput(peer.handle, encaps.pointer, length, 0)
        # Whatever the library says, or does not: a COOKIE-ECHO with an ABORT behind it is not announced,
        # and would stay in the queue of the listener for good.
        self._user.acceptAll(packet[2] << 8 | packet[3], peer)
        self._visitor = None

    def _stranger(
        self, encaps: EncapsSocket, address: UDPAddress, packet: bytearray, length: int, first: int
    ) -> Peer | None:
        answer = outOfTheBlue
        if first not in (INIT, COOKIE_ECHO):
            self.counters.blue += 1
        elif not self._user.offers(packet[2] << 8 | packet[3], encaps):
            if first == INIT:
                answer = abortOfInit
        elif first == INIT and self._user.full():
            self.counters.initsRefused += 1
            answer = abortOfInit
        else:
            peer = Peer(encaps, address, self._secret)
            return None if peer.handle in self._byHandle else peer
        reply = answer(bytes(packet[:length]), self.binding.checksum)
        if reply is not None and self.admission.answer(self.reactor.seconds()):
            self._send(encaps.sendto, reply, address)
        return None

    def _unreachable(self, encaps: EncapsSocket, address: UDPAddress, quoted: bytes) -> None:
        peer = encaps.peers.get(address)
        if peer is not None and len(quoted) >= HEADER:
            self.counters.unreachable += 1
            self._user.unreachable(peer, quoted)
