"""
Which associations new INVITEs wait on for too long. An element that falls behind, or whose peer does, must
begin nothing more there: what waits would fill every buffer on the way, until the association is aborted
with all calls on it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sipgrace.interfaces import IAssociation

__all__ = ["LEAST", "Paces"]

LEAST: Final = 32
"""
So many may wait at a time in any case: a few slow answers say nothing.
"""


class _Pace:
    """
    @ivar waiting: how many INVITEs have had no response yet.
    @ivar slow: whether the last first response came late.
    @ivar moved: when the last INVITE was sent, or one waited no longer.
    """

    __slots__ = ("moved", "slow", "waiting")

    def __init__(self) -> None:
        self.waiting = 0
        self.slow = False
        self.moved = 0.0


class Paces:
    """
    The associations on which INVITEs wait for their first response.

    Whoever gets an INVITE shows that within 200 ms (RFC 3261 §17.2.1). A first response that takes longer
    than T1, our estimate of the way there and back (§17.1.1.1), has waited for a processor, ours or theirs.
    Already the first one that is late counts: after a moment's pause the next ones are soon in time again,
    and where it is no pause, what has been begun till then fills the way back as well.

    Where those that wait are never answered, no answer could show that the next ones would be. So one more is
    sent whenever nothing has been sent or heard for T1.
    """

    def __init__(self, t1: float, now: Callable[[], float]) -> None:
        """
        @param t1: seconds.
        @param now: the clock.
        """
        self._t1 = t1
        self._now = now
        self._paces: dict[IAssociation, _Pace] = {}

    def full(self, association: IAssociation) -> bool:
        """
        @return: whether no new INVITE should be sent there just now.
        """
        pace = self._paces.get(association)
        if pace is None or not pace.slow or pace.waiting < LEAST:
            return False
        return self._now() - pace.moved <= self._t1

    def sent(self, association: IAssociation) -> float:
        """
        One more waits.

        @return: since when, for L{heard}.
        """
        pace = self._paces.get(association)
        if pace is None:
            pace = self._paces[association] = _Pace()
        pace.waiting += 1
        pace.moved = self._now()
        return pace.moved

    def heard(self, association: IAssociation, since: float, answered: bool = True) -> None:
        """
        One that L{sent} was told of waits no longer.

        @param since: when it was sent.
        @param answered: whether it was answered. One that has failed, or is waited for no longer, may show
            that it takes long, but never that it does not.
        """
        pace = self._paces[association]
        pace.moved = self._now()
        pace.slow = pace.moved - since > self._t1 or (pace.slow and not answered)
        pace.waiting -= 1
        if not pace.waiting:
            del self._paces[association]

    def __len__(self) -> int:
        """
        How many associations are waited for.
        """
        return len(self._paces)
