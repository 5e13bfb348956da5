"""
The gate: what the way of every new INVITE looks at.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from math import ceil
from zlib import crc32

from twisted.internet.interfaces import IReactorTime


class Gate:
    """
    Open while the server serves. The role reads C{open} for each new INVITE (and OPTIONS), and asks
    L{refuse} for the C{Retry-After} of its 503 where it is false; about one that goes before others it asks
    L{yields} first.

    @ivar open: whether new INVITEs are accepted.
    @ivar reason: why not, in a phrase fit for clients; empty when open.
    @ivar until: until when clients are asked to stay away, in seconds of the clock.
    @ivar back: when the server is scheduled to return, in seconds of the clock; C{None} where that is not
        known. May be set while it is closed.
    @ivar slowing: whether a share of new INVITEs is refused while it is open; L{turnsAway} says which.
    @ivar refused: how many were ever refused.
    @ivar lastInvite: how long after it was closed the latest new INVITE came, in seconds; C{None} where none
        has come since, or it has never been closed.
    @ivar yielded: how many were ever let in while it was closed.
    """

    __slots__ = (
        "_began",
        "_clock",
        "_closedAt",
        "_first",
        "_last",
        "_monotonic",
        "_over",
        "_owed",
        "_spread",
        "back",
        "lastInvite",
        "open",
        "reason",
        "refused",
        "slowing",
        "until",
        "yielded",
    )

    def __init__(
        self, clock: IReactorTime, spread: int = 5, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """
        @param spread: clients are asked to come back within this many whole seconds after one another,
            each always at its own, so that they do not all return at once; 0 for none.
        @param monotonic: measures C{lastInvite}, in seconds that nobody sets.
        """
        self._clock = clock
        self._monotonic = monotonic
        self._closedAt = 0.0
        self.lastInvite: float | None = None
        self._spread = spread
        self.open = True
        self.reason = ""
        self.until = 0.0
        self.back: float | None = None
        self.slowing = False
        self.refused = 0
        self.yielded = 0
        self._last = 0.0
        self._began = 0.0
        self._over = 0.0
        self._first = 0.0
        self._owed = 0.0

    def close(self, until: float, reason: str, last: float = 0.0) -> None:
        """
        See L{sipgrace.lifecycle.seams.GateSeam.close}.
        """
        if self.open:
            self._closedAt = self._monotonic()
            self.lastInvite = None
        self.open = False
        self.slowing = False
        self.until = until
        self.reason = reason
        self._last = last

    def shut(self) -> None:
        """
        See L{sipgrace.lifecycle.seams.GateSeam.shut}.
        """
        self._last = 0.0

    def openAgain(self) -> None:
        """
        Lets new INVITEs through.
        """
        self.open = True
        self.slowing = False
        self.reason = ""
        self.back = None

    def slow(self, over: float) -> None:
        """
        See L{sipgrace.lifecycle.seams.GateSeam.slow}.
        """
        self._first = self.share()
        self._began = self._clock.seconds()
        self._over = over
        if not self.slowing:
            self._owed = 0.0
            self.lastInvite = None
        self.slowing = True

    def share(self) -> float:
        """
        @return: which share of new INVITEs is refused now, from 0 to 1.
        """
        if not self.open:
            return 1.0
        if not self.slowing:
            return 0.0
        passed = self._clock.seconds() - self._began
        if passed >= self._over:
            return 1.0
        return self._first + (1 - self._first) * max(0.0, passed) / self._over

    def turnsAway(self) -> bool:
        """
        To be asked about each new INVITE while C{slowing}. Which of them are refused is not left to chance:
        each adds its share to what is owed, and whenever that comes to a whole one, one is refused (as in
        Bresenham's lines). So of any hundred at a share of a third 33 or 34 are refused, evenly.

        @return: whether this one is refused; it is counted then.
        """
        self._owed += self.share()
        if self._owed < 1:
            return False
        self._owed -= 1
        self.refused += 1
        return True

    def yields(self) -> bool:
        """
        To be asked about each new INVITE that goes before others, while it is closed.

        @return: whether this one is let in nevertheless; it is counted then.
        """
        if self._clock.seconds() >= self._last:
            return False
        self.yielded += 1
        return True

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

    def inviteCame(self) -> None:
        """
        A new INVITE came although the gate is closed: its sender did not know.
        """
        self.lastInvite = self._monotonic() - self._closedAt

    def refuse(self, peerName: str) -> int:
        """
        Counts one refused INVITE.

        @return: as L{retryAfter}.
        """
        self.refused += 1
        return self.retryAfter(peerName)
