"""
Which calls had to be tried at another server, kept for a while for those who want to know.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reroute:
    """
    One attempt that went elsewhere.

    @ivar number: counts from 1, without gaps.
    @ivar callId: the Call-ID.
    @ivar server: the server that did not take it.
    @ivar reason: C{'timeout'}, C{'lost'}, C{'clogged'} or C{'answer'} (503).
    """

    number: int
    callId: str
    server: str
    reason: str


class Reroutes:
    """
    The last attempts that went elsewhere.

    @ivar total: how many there ever were.
    """

    def __init__(self, most: int = 10_000) -> None:
        """
        @param most: how many are kept.
        """
        self.total = 0
        self._kept: deque[Reroute] = deque(maxlen=most)

    def add(self, callId: bytes, server: str, reason: str) -> None:
        """
        One more.
        """
        self.total += 1
        self._kept.append(Reroute(self.total, callId.decode("utf-8", "replace"), server, reason))

    def since(self, number: int) -> list[Reroute]:
        """
        Those after the given number that are still kept, oldest first.
        """
        return [reroute for reroute in self._kept if reroute.number > number]
