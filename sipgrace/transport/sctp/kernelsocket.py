"""
One-to-one SCTP sockets of the Linux kernel: made, set up and asked through pysctp.

pysctp is imported when the first socket is made, never on a host that does not use the kernel's SCTP. What
it cannot do is done with plain socket calls: its heartbeat setting is without effect (it drops the flags
that go with it), and its reading and sending of messages is dangerous (see L{kernelassociation}).
Autoclose needs no setting: a one-to-one socket of the kernel has none.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sipgrace.errors import ConfigError
from sipgrace.transport.sctp.address import SCTPAddress
from sipgrace.transport.sctp.kernelevents import unmapped
from sipgrace.transport.sctp.stack import SCTPOptions, SCTPStatus

__all__ = ["KernelSocket", "PathStatus"]

IPPROTO_SCTP = 132

# linux/sctp.h
_PEER_ADDR_PARAMS = 9
_RECVRCVINFO = 32
_REMOTE_UDP_ENCAPS_PORT = 132
_HB_ENABLE = 1
_HB_DISABLE = 2
_SACKDELAY_ENABLE = 32
# association, address, heartbeat ms, retransmissions, MTU, SACK delay, flags, flow label, DSCP; packed to 4
_PATH_PARAMETERS = struct.Struct("=i128sIHIIIIBx")
# association, address (aligned to 8), port in the order of the network
_ENCAPS = struct.Struct("=i4x128s2s6x")

_ASSOCIATION_STATES = (
    "closed",
    "closed",
    "cookie-wait",
    "cookie-echoed",
    "established",
    "shutdown-pending",
    "shutdown-sent",
    "shutdown-received",
    "shutdown-ack-sent",
)
_PATH_STATES = ("inactive", "potentially-failed", "active", "unconfirmed")


@dataclass(frozen=True, slots=True)
class PathStatus:
    """
    How one address of the peer is doing (SCTP_GET_PEER_ADDR_INFO, RFC 6458 §8.2.2).

    @ivar state: C{'active'}, C{'inactive'} (nothing comes back over it), C{'potentially-failed'} or
        C{'unconfirmed'} (no HEARTBEAT was answered yet).
    @ivar primary: whether data goes this way as long as it is active.
    @ivar rtt: smoothed round-trip time in milliseconds.
    @ivar rto: retransmission time-out in milliseconds.
    @ivar window: congestion window in bytes.
    @ivar mtu: path MTU in bytes.
    """

    host: str
    state: str
    primary: bool = False
    rtt: int = 0
    rto: int = 0
    window: int = 0
    mtu: int = 0


def pysctp() -> Any:
    """
    @return: the module C{sctp}.
    @raise ConfigError: where it is missing or cannot be loaded.
    """
    try:
        import sctp
    except ImportError as error:
        raise ConfigError(
            f"stack=kernel needs the package pysctp ({error}); or use stack=userspace"
        ) from None
    return sctp


class KernelSocket:
    """
    One socket: of a listener, of an association, or of one being opened. Never blocks.

    @ivar plain: the Python socket, for C{sendmsg}, C{recvmsg} and the like.
    """

    def __init__(self, family: int, plain: socket.socket | None = None) -> None:
        """
        @param family: C{AF_INET}, or C{AF_INET6} for IPv6 alone or mixed with IPv4.
        @param plain: an accepted socket.
        @raise OSError: when the kernel refuses to make one.
        """
        self.family = family
        self._sctp = pysctp().sctpsocket_tcp(family, plain)
        self.plain: socket.socket = self._sctp.sock()
        self.plain.setblocking(False)

    def configure(self, options: SCTPOptions, encaps: int | None = None) -> None:
        """
        Sets what the associations of this socket start with; those that a listener accepts inherit it.

        @param encaps: the UDP port of the peer (RFC 6951); C{None} = C{net.sctp.encap_port}.
        """
        sock = self._sctp
        events = sock.events
        events.autoflush = False
        events.association = events.address = events.shutdown = 1
        events.peer_error = events.partial_delivery = 1
        # a copy of each lost message would help nobody; stream and PPID come as SCTP_RCVINFO instead
        events.send_failure = events.data_io = 0
        events.flush()
        self.plain.setsockopt(IPPROTO_SCTP, _RECVRCVINFO, 1)
        sock.nodelay = options.nodelay
        self.plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, options.sendBuffer // 2)

        start = sock.initparams
        start.autoflush = False
        start.num_ostreams = start.max_instreams = options.streams
        start.max_attempts = options.initAttempts
        start.max_init_timeo = options.rtoMax
        start.flush()

        rto = sock.get_rtoinfo()
        rto.initial, rto.min, rto.max = options.rtoInitial, options.rtoMin, options.rtoMax
        sock.set_rtoinfo(rto)

        association = sock.get_assocparams()
        association.assocmaxrxt = options.maxRetransmissions
        sock.set_assocparams(association)

        # Half on a path, so that two paths use up what the association may: RFC 9260 §8.2 asks that the
        # association's limit is not above the sum of its paths'.
        retransmissions = max(1, (options.maxRetransmissions + 1) // 2)
        self.plain.setsockopt(
            IPPROTO_SCTP,
            _PEER_ADDR_PARAMS,
            _PATH_PARAMETERS.pack(
                0,
                b"",
                options.heartbeat,
                retransmissions,
                0,
                options.sackDelay,
                (_HB_ENABLE if options.heartbeat else _HB_DISABLE) | _SACKDELAY_ENABLE,
                0,
                0,
            ),
        )
        if encaps is not None:
            self.plain.setsockopt(
                IPPROTO_SCTP, _REMOTE_UDP_ENCAPS_PORT, _ENCAPS.pack(0, b"", encaps.to_bytes(2, "big"))
            )

    def bind(self, hosts: Sequence[str], port: int) -> None:
        """
        Binds to all of the addresses (C{sctp_bindx}, RFC 6458 §9.1), on one port.

        @param port: 0 = any.
        @raise OSError: when the port is taken or an address is not ours.
        """
        self._sctp.bindx([(hosts[0], port)])
        if len(hosts) > 1:
            bound = self.plain.getsockname()[1]
            self._sctp.bindx([(host, bound) for host in hosts[1:]])

    def connect(self, hosts: Sequence[str], port: int) -> None:
        """
        Begins to open an association (C{sctp_connectx}, RFC 6458 §9.9); an C{AssociationChange} follows.

        @param hosts: the peer's addresses; where the first does not answer within C{rtoInitial} the kernel
            tries the next.
        @raise OSError: when it cannot even begin: no route, no such address.
        """
        try:
            self._sctp.connectx([(host, port) for host in hosts])
        except OSError as error:
            if error.errno != errno.EINPROGRESS:
                raise

    def reuse(self) -> None:
        """
        Lets it be bound to a port on which associations live, but nobody listens.
        """
        self.plain.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

    def anywhere(self) -> str:
        """
        @return: the address that stands for all.
        """
        return "::" if self.family == socket.AF_INET6 else "0.0.0.0"

    def accept(self) -> tuple[KernelSocket, SCTPAddress]:
        """
        @return: the association and where its peer is.
        @raise OSError: C{BlockingIOError} when there is none.
        """
        plain, peer = self.plain.accept()
        return KernelSocket(self.family, plain), SCTPAddress(unmapped(peer[0]), peer[1])

    def error(self) -> int:
        """
        @return: the pending C{errno} of the socket, which is thereby cleared; 0 = none.
        """
        return self.plain.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def failed(self) -> bool:
        """
        Whether an error is pending, which is left as it is.
        """
        poll = select.poll()
        poll.register(self.plain, 0)
        return bool(poll.poll(0))

    def shutdown(self) -> None:
        """
        Begins SHUTDOWN.

        @raise OSError: when there is no association.
        """
        self.plain.shutdown(socket.SHUT_WR)

    def abort(self) -> None:
        """
        Sends ABORT, with the cause "user-initiated abort", and closes. One-to-one sockets of Linux take no
        reason to send along (SCTP_ABORT fails there with EINVAL).
        """
        self.plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.plain.close()

    def close(self) -> None:
        self.plain.close()

    # What is known of it

    def local(self) -> SCTPAddress:
        """
        @raise OSError: where it is not bound, or no longer.
        """
        return _address(self.plain.getsockname(), self._sctp.getladdrs(0))

    def peer(self) -> SCTPAddress:
        """
        @return: the primary path's address, and all.
        @raise OSError: where the association is gone.
        """
        # not getpeername(), which is the address that was asked for last
        return _address(self._sctp.get_status().primary.sockaddr, self._sctp.getpaddrs(0))

    def outStreams(self) -> int:
        """
        @return: the streams towards the peer; 1 where the association is gone.
        """
        try:
            return int(self._sctp.get_status().outstrms)
        except OSError:
            return 1

    def status(self, queued: int = 0) -> SCTPStatus:
        try:
            found = self._sctp.get_status()
        except OSError:
            return SCTPStatus("closed", queued=queued)
        state = found.state
        return SCTPStatus(
            _ASSOCIATION_STATES[state] if 0 <= state < len(_ASSOCIATION_STATES) else f"state {state}",
            peerWindow=found.rwnd,
            unacknowledged=found.unackdata,
            pending=found.penddata,
            inStreams=found.instrms,
            outStreams=found.outstrms,
            rtt=found.primary.srtt,
            rto=found.primary.rto,
            window=found.primary.cwnd,
            mtu=found.primary.mtu,
            queued=queued,
        )

    def paths(self) -> list[PathStatus]:
        """
        @return: the peer's addresses, none where the association is gone.
        """
        result = []
        try:
            primary = self._sctp.get_status().primary.sockaddr[0]
            for address in self._sctp.getpaddrs(0):
                found = self._sctp.get_paddrinfo(0, address)
                state = found.state
                result.append(
                    PathStatus(
                        unmapped(address[0]),
                        _PATH_STATES[state] if 0 <= state < len(_PATH_STATES) else f"state {state}",
                        address[0] == primary,
                        found.srtt,
                        found.rto,
                        found.cwnd,
                        found.mtu,
                    )
                )
        except OSError:
            return []
        return result

    def setPrimary(self, host: str) -> None:
        """
        Sends over this address of the peer as long as it is active (SCTP_PRIMARY_ADDR, RFC 6458 §8.1.9).

        @raise OSError: when it is not one of the peer's, or the association is gone.
        """
        for address in self._sctp.getpaddrs(0):
            if unmapped(address[0]) == host:
                self._sctp.set_primary(0, tuple(address))
                return
        raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL), host)


def familyOf(hosts: Sequence[str]) -> int:
    """
    The family of a socket that is to use all of these addresses.
    """
    return socket.AF_INET6 if any(":" in host for host in hosts) else socket.AF_INET


def _address(first: tuple[Any, ...], every: Sequence[tuple[str, int]]) -> SCTPAddress:
    host = unmapped(first[0])
    others = (unmapped(address[0]) for address in every)
    return SCTPAddress(host, first[1], None, (host, *(other for other in others if other != host)))
