"""
How much the transports take before they defend themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sipgrace.message.limits import Limits

__all__ = ["Bounds", "Reserve"]


@dataclass(slots=True)
class Reserve:
    """
    What associations that share it may keep together beyond what each may by itself: one that many calls are
    on needs more for a moment than all who could ever connect can be given.

    @ivar size: in bytes; C{taken}: so many of them are in use.
    """

    size: int = 0
    taken: int = 0


@dataclass(frozen=True, slots=True)
class Bounds:
    """
    The bounds of one listener or connection.

    @ivar message: the limits of one message, see L{Limits}.
    @ivar unsent: bytes kept for a peer that reads too slowly, beyond what the kernel and Twisted
        hold (64 KiB); an association that passes it, and finds nothing left in the reserve, is aborted.
    @ivar reserve: see L{Reserve}; there is none unless it is given.
    @ivar incomplete: seconds that one message, or the TLS handshake, may take to arrive; 64*T1 of
        RFC 3261, after which nobody waits for its answer any more.
    @ivar linger: seconds after C{shutdown()} within which the peer must have taken what was sent
        and have ended its side too; then the association is aborted. 64*T1 again.
    @ivar unanswered: seconds after which a TCP connection is lost whose peer acknowledges nothing. Left
        to itself the kernel tries for a quarter of an hour, and all calls sent there meanwhile fail.
    @ivar accepted: associations that one listener keeps at a time; more are turned away.
    @ivar peers: UDP peers that one listener remembers; the least recently heard are forgotten.
    @ivar burst: datagrams read at one wake-up, after which other descriptors have their turn.
    @ivar buffer: bytes asked of the kernel for the UDP receive and send buffers. Bursts decide the
        highest rate without loss.
    """

    message: Limits = field(default_factory=Limits)
    unsent: int = 1 << 20
    reserve: Reserve = field(default_factory=Reserve)
    incomplete: float = 32.0
    linger: float = 32.0
    unanswered: float = 32.0
    accepted: int = 10000
    peers: int = 20000
    burst: int = 64
    buffer: int = 4 << 20
