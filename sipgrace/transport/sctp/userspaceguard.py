"""
What a packet from an unknown UDP peer may do to the userspace stack: almost nothing.

Only INIT and COOKIE-ECHO reach the library, INITs no faster than the limits allow. To anything else
goes what RFC 4960 §8.4 asks for ("out of the blue"): an ABORT, or a SHUTDOWN-COMPLETE, of sixteen bytes,
never longer than what came. A client of a server that crashed so learns it with its next packet.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

__all__ = [
    "COOKIE_ECHO",
    "INIT",
    "Admission",
    "TokenBucket",
    "UserspaceLimits",
    "abortOfInit",
    "outOfTheBlue",
]

# Types of chunks (RFC 9260 §3.2).
INIT: Final = 1
ABORT: Final = 6
SHUTDOWN_ACK: Final = 8
ERROR: Final = 9
COOKIE_ECHO: Final = 10
COOKIE_ACK: Final = 11
SHUTDOWN_COMPLETE: Final = 14

HEADER: Final = 12
"""Bytes of the common header (RFC 9260 §3.1)."""

SHORTEST: Final = 16
"""Bytes of a packet with one chunk that says nothing."""

TAG_REFLECTED: Final = 1
"""The T bit of ABORT and SHUTDOWN COMPLETE (RFC 9260 §8.5.1): the tag is the one that the peer has sent."""

SOURCES: Final = 4096
"""How many IP addresses are counted one by one."""


@dataclass(frozen=True, slots=True)
class UserspaceLimits:
    """
    What the process-wide stack allows. The INIT figures bound what a flood costs: an INIT-ACK takes about
    0.1 ms and is 4.2 times as large as its INIT.

    @ivar initRate: INITs a second taken from all unknown peers together.
    @ivar initBurst: how many of them may come at once.
    @ivar sourceRate: INITs a second taken from one IP address.
    @ivar sourceBurst: how many of them may come at once.
    @ivar answerRate: answers a second to packets that belong to no association.
    @ivar associations: how many associations may be there; INITs past that are refused with ABORT.
    @ivar hashSize: size of the library's association table, set before its first use.
    """

    initRate: float = 2000.0
    initBurst: float = 4000.0
    sourceRate: float = 500.0
    sourceBurst: float = 1000.0
    answerRate: float = 1000.0
    associations: int = 20000
    hashSize: int = 16384


class TokenBucket:
    """
    C{burst} at once, C{rate} a second in the long run.
    """

    __slots__ = ("burst", "rate", "seen", "tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self.tokens = burst
        self.seen = now

    def take(self, now: float) -> bool:
        """
        @param now: seconds, never decreasing.
        @return: whether there was one left.
        """
        tokens = min(self.burst, self.tokens + (now - self.seen) * self.rate)
        self.seen = now
        if tokens < 1.0:
            self.tokens = tokens
            return False
        self.tokens = tokens - 1.0
        return True


class Admission:
    """
    Counts INITs, of one address and of all, and answers out of the blue.
    """

    def __init__(self, limits: UserspaceLimits, now: float) -> None:
        self._limits = limits
        self._all = TokenBucket(limits.initRate, limits.initBurst, now)
        self._answers = TokenBucket(limits.answerRate, limits.answerRate, now)
        self._sources: OrderedDict[str, TokenBucket] = OrderedDict()

    def init(self, host: str, now: float) -> bool:
        """
        Whether an INIT of this address is let in. The address's own bucket is asked first: what it
        refuses takes nothing from the others.
        """
        source = self._sources.get(host)
        if source is None:
            source = TokenBucket(self._limits.sourceRate, self._limits.sourceBurst, now)
            self._sources[host] = source
            if len(self._sources) > SOURCES:
                self._sources.popitem(last=False)
        else:
            self._sources.move_to_end(host)
        return source.take(now) and self._all.take(now)

    def answer(self, now: float) -> bool:
        """
        Whether one more packet may be answered.
        """
        return self._answers.take(now)


def _packet(header: bytes, tag: bytes, kind: int, flags: int, checksum: Callable[[bytes], int]) -> bytes:
    ports = header[2:4] + header[0:2]
    chunk = struct.pack(">BBH", kind, flags, 4)
    blank = ports + tag + b"\0\0\0\0" + chunk
    return ports + tag + struct.pack("=I", checksum(blank)) + chunk


def abortOfInit(packet: bytes, checksum: Callable[[bytes], int]) -> bytes | None:
    """
    The ABORT that refuses an INIT (RFC 4960 §5.1): its verification tag is the INIT's initiate tag.
    """
    if len(packet) < HEADER + 20:
        return None
    return _packet(packet, packet[16:20], ABORT, 0, checksum)


def outOfTheBlue(packet: bytes, checksum: Callable[[bytes], int]) -> bytes | None:
    """
    What RFC 4960 §8.4 answers to a packet that belongs to no association.

    @return: the packet to send back, or C{None} where it is to be dropped in silence.
    """
    if len(packet) < SHORTEST:
        return None
    if struct.unpack("=I", packet[8:12])[0] != checksum(packet[:8] + b"\0\0\0\0" + packet[12:]):
        return None
    first = packet[HEADER]
    offset = HEADER
    while offset + 4 <= len(packet):
        kind = packet[offset]
        if kind in (ABORT, SHUTDOWN_COMPLETE, COOKIE_ACK, ERROR):
            return None
        length = packet[offset + 2] << 8 | packet[offset + 3]
        if length < 4:
            return None
        offset += length + 3 & ~3
    kind = SHUTDOWN_COMPLETE if first == SHUTDOWN_ACK else ABORT
    return _packet(packet, packet[4:8], kind, TAG_REFLECTED, checksum)
