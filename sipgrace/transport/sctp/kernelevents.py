"""
What the kernel tells about an association between its messages: notifications (RFC 6458 §6.1).

They are read here with C{struct}, not by pysctp, whose own reading ends the process on a SEND_FAILED that
does not hold UTF-8. Nothing here touches a socket.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from twisted.internet.error import ConnectionAborted

__all__ = [
    "AssociationChange",
    "Cause",
    "PartialDeliveryAborted",
    "PathChange",
    "PeerShutdown",
    "RemoteError",
    "abortedByPeer",
    "parseCauses",
    "parseNotification",
    "parseSocketAddress",
]

# linux/sctp.h: enum sctp_sn_type
_ASSOC_CHANGE = 0x8001
_PEER_ADDR_CHANGE = 0x8002
_REMOTE_ERROR = 0x8004
_SHUTDOWN_EVENT = 0x8005
_PARTIAL_DELIVERY_EVENT = 0x8006

_HEADER = struct.Struct("=HHI")
# state, error, outbound streams, inbound streams, association
_ASSOC = struct.Struct("=HHHHi")
# state, error, association; behind a sockaddr_storage of 128 bytes
_PATH = struct.Struct("=iii")
_STORAGE = 128
_CAUSE = struct.Struct("!HH")
_ABORT_CHUNK = 6

STATES = ("up", "lost", "restarted", "shutdown", "refused")
"""C{sac_state} 0 to 4, in that order: SCTP_COMM_UP … SCTP_CANT_STR_ASSOC."""

PATH_STATES = {
    0: "available",
    1: "unreachable",
    2: "removed",
    3: "added",
    4: "primary",
    5: "confirmed",
    6: "potentially-failed",
}
"""C{spc_state}: SCTP_ADDR_AVAILABLE … SCTP_ADDR_POTENTIALLY_FAILED of linux/sctp.h."""

CAUSES = {
    1: "invalid stream",
    2: "missing parameter",
    3: "stale cookie",
    4: "out of resource",
    5: "unresolvable address",
    6: "unrecognized chunk",
    7: "invalid parameter",
    8: "unrecognized parameters",
    9: "no user data",
    10: "cookie received while shutting down",
    11: "restart with new addresses",
    12: "user-initiated abort",
    13: "protocol violation",
}
"""The error causes of RFC 9260 §3.3.10."""

_USER_INITIATED = 12
_PROTOCOL_VIOLATION = 13


@dataclass(frozen=True, slots=True)
class Cause:
    """
    Why a peer reported an error or aborted (RFC 9260 §3.3.10).

    @ivar code: 1 to 13, or one that this page does not know.
    @ivar text: the reason that the peer's user gave, at most 120 characters, printable; mostly empty.
    """

    code: int
    text: str = ""

    def __str__(self) -> str:
        name = CAUSES.get(self.code, "unknown cause")
        return f"{name} ({self.code}){': ' if self.text else ''}{self.text}"


@dataclass(frozen=True, slots=True)
class AssociationChange:
    """
    SCTP_ASSOC_CHANGE.

    @ivar state: one of L{STATES}.
    @ivar outStreams: streams towards the peer; with C{'up'} and C{'restarted'}.
    @ivar inStreams: streams towards us.
    @ivar causes: those of the ABORT that the peer sent, if it sent one with a cause.
    """

    state: str
    outStreams: int = 0
    inStreams: int = 0
    causes: tuple[Cause, ...] = ()


@dataclass(frozen=True, slots=True)
class PathChange:
    """
    SCTP_PEER_ADDR_CHANGE: what became of one address of the peer.

    @ivar state: one of the values of L{PATH_STATES}.
    """

    host: str
    state: str


@dataclass(frozen=True, slots=True)
class RemoteError:
    """
    SCTP_REMOTE_ERROR: the peer sent an ERROR chunk; the association goes on.
    """

    cause: Cause


@dataclass(frozen=True, slots=True)
class PeerShutdown:
    """
    SCTP_SHUTDOWN_EVENT: the peer has begun SHUTDOWN and takes nothing more.
    """


@dataclass(frozen=True, slots=True)
class PartialDeliveryAborted:
    """
    SCTP_PARTIAL_DELIVERY_EVENT: the rest of the message whose first pieces were read will not come.
    """


Notification = AssociationChange | PathChange | RemoteError | PeerShutdown | PartialDeliveryAborted


def abortedByPeer(causes: tuple[Cause, ...] = ()) -> ConnectionAborted:
    """
    What C{connectionLost} gets after the peer's ABORT: its text and its C{args} say why, as far as the peer
    said so; what we aborted ourselves has Twisted's own text.
    """
    error = ConnectionAborted(*(str(cause) for cause in causes))
    error.MESSAGE = "The peer aborted the association"
    return error


def parseNotification(data: bytes) -> Notification | None:
    """
    Reads one notification.

    @param data: what C{recvmsg} gave together with MSG_NOTIFICATION.
    @return: C{None} for kinds that are not of interest here, and for what is cut short.
    """
    if len(data) < _HEADER.size:
        return None
    kind, _flags, _length = _HEADER.unpack_from(data)
    body = data[_HEADER.size :]
    if kind == _SHUTDOWN_EVENT:
        return PeerShutdown()
    if kind == _PARTIAL_DELIVERY_EVENT:
        return PartialDeliveryAborted()
    if kind == _ASSOC_CHANGE and len(body) >= _ASSOC.size:
        return _associationChange(body)
    if kind == _PEER_ADDR_CHANGE and len(body) >= _STORAGE + _PATH.size:
        state, _error, _association = _PATH.unpack_from(body, _STORAGE)
        return PathChange(parseSocketAddress(body[:_STORAGE])[0], PATH_STATES.get(state, f"state {state}"))
    if kind == _REMOTE_ERROR and len(body) >= 2:
        # the cause's code stands in the order of the network (sre_error, RFC 6458 §6.1.4)
        return RemoteError(Cause(int.from_bytes(body[:2], "big")))
    return None


def _associationChange(body: bytes) -> AssociationChange | None:
    state, error, outStreams, inStreams, _association = _ASSOC.unpack_from(body)
    if state >= len(STATES):
        return None
    causes: tuple[Cause, ...] = ()
    if STATES[state] in ("lost", "refused"):
        causes = tuple(parseCauses(body[_ASSOC.size :]))
        # Linux gives the first cause's code in the order of the network also where it gives no chunk
        if not causes and error:
            causes = (Cause(socket.ntohs(error)),)
    return AssociationChange(STATES[state], outStreams, inStreams, causes)


def parseCauses(info: bytes) -> Iterator[Cause]:
    """
    Reads the error causes of an ABORT.

    @param info: C{sac_info}: the ABORT chunk (RFC 6458 §6.1.1), or, as Linux has it, its causes alone.
    """
    # A cause 0x06xx does not exist, so a first byte of 6 is the type of the chunk.
    if len(info) >= _CAUSE.size and info[0] == _ABORT_CHUNK:
        info = info[_CAUSE.size :]
    while len(info) >= _CAUSE.size:
        code, length = _CAUSE.unpack_from(info)
        if not _CAUSE.size <= length <= len(info):
            return
        text = ""
        if code in (_USER_INITIATED, _PROTOCOL_VIOLATION):
            raw = info[_CAUSE.size : min(length, _CAUSE.size + 120)].decode("utf-8", "replace")
            text = "".join(char if char.isprintable() else "?" for char in raw.rstrip("\0"))
        yield Cause(code, text)
        info = info[(length + 3) & ~3 :]


def parseSocketAddress(storage: bytes) -> tuple[str, int]:
    """
    Reads a C{sockaddr_in} or C{sockaddr_in6}; an IPv4 address mapped into IPv6 becomes what it is.

    @return: the IP address as text, empty where the family is another one, and the port.
    """
    (family,) = struct.unpack_from("=H", storage)
    (port,) = struct.unpack_from("!H", storage, 2)
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, storage[4:8]), port
    if family == socket.AF_INET6:
        return unmapped(socket.inet_ntop(socket.AF_INET6, storage[8:24])), port
    return "", 0


def unmapped(host: str) -> str:
    """
    C{::ffff:192.0.2.1} is C{192.0.2.1}: a socket for both families writes IPv4 so.
    """
    return host[7:] if host.startswith("::ffff:") and "." in host else host
