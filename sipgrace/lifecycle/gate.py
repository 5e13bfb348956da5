"""
The gate: what the way of every new INVITE looks at.
"""

from __future__ import annotations

from math import ceil
from zlib import crc32

from twisted.internet.interfaces import IReactorTime


class Gate:
    """
    Open while the server serves. The role reads C{open} for each new INVITE (and OPTIONS), and asks
    L{refuse} for the C{Retry-After} of its 503 where it is false.

    @ivar open: whether new INVITEs are accepted.
    @ivar reason: why not, in a phrase fit for clients; empty when open.
    @ivar until: until when clients are asked to stay away, in seconds of the clock.
    @ivar back: when the server is scheduled to return, in seconds of the clock; C{None} where that is not
        known. May be set while it is closed.
    @ivar refused: how many were ever refused.
    """

    __slots__ = ("_clock", "_spread", "back", "open", "reason", "refused", "until")

    def __init__(self, clock: IReactorTime, spread: int = 5) -> None:
        """
        @param spread: clients are asked to come back within this many whole seconds after one another,
            each always at its own, so that they do not all return at once; 0 for none.
        """
        self._clock = clock
        self._spread = spread
        self.open = True
        self.reason = ""
        self.until = 0.0
        self.back: float | None = None
        self.refused = 0

    def close(self, until: float, reason: str) -> None:
        """
        See L{sipgrace.lifecycle.seams.GateSeam.close}.
        """
        self.open = False
        self.until = until
        self.reason = reason

    def openAgain(self) -> None:
        """
        Lets new INVITEs through.
        """
        self.open = True
        self.reason = ""
        self.back = None

    def imagined(self, until: float, reason: str, back: float | None = None) -> Gate:
        """
        @return: a gate that is closed so, with the same spread; this one stays as it is.
        """
        other = Gate(self._clock, self._spread)
        other.close(until, reason)
        other.back = back
        return other

    def returnsIn(self) -> int | None:
        """
        @return: in how many seconds the server is scheduled to return, rounded up; C{None} where that is
            not known, or that time has passed.
        """
        left = 0 if self.back is None else ceil(self.back - self._clock.seconds() - 1e-6)
        return left if left > 0 else None

    def retryAfter(self, peerName: str) -> int:
        """
        @param peerName: what the client is known by; the same name is always given the same share of
            the spread.
        @return: how many whole seconds this client is asked to stay away, from now (RFC 3261 §20.33),
            rounded up, so that it never comes before its time; at least 1, for 0 would ask it in.
        """
        # A hair is taken off, lest the clock's rounding turn 30 into 31.
        left = ceil(self.until - self._clock.seconds() - 1e-6)
        if left < 1:
            left = 1
        if self._spread:
            # crc32, because hash() differs from one process to the next.
            left += crc32(peerName.encode()) % (self._spread + 1)
        return left

    def refuse(self, peerName: str) -> int:
        """
        Counts one refused INVITE.

        @return: as L{retryAfter}.
        """
        self.refused += 1
        return self.retryAfter(peerName)
