"""
Which associations new INVITEs wait on for too long. An element that falls behind, or whose peer does, must
begin nothing more there: what waits would fill every buffer on the way, until the association is aborted
with all calls on it.
"""

from __future__ import annotations

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
    """

    __slots__ = ("slow", "waiting")

    def __init__(self) -> None:
        self.waiting = 0
        self.slow = False


class Paces:
    """
    The associations on which INVITEs wait for their first response.

    Whoever gets an INVITE shows that within 200 ms (RFC 3261 §17.2.1). A first response that takes longer
    than T1, our estimate of the way there and back (§17.1.1.1), has waited for a processor, ours or theirs.
    Already the first one that is late counts: after a moment's pause the next ones are soon in time again,
    and where it is no pause, what has been begun till then fills the way back as well.
    """

    def __init__(self, t1: float) -> None:
        """
        @param t1: seconds.
        """
        self._t1 = t1
        self._paces: dict[IAssociation, _Pace] = {}

    def full(self, association: IAssociation) -> bool:
        """
        @return: whether no new INVITE should be sent there just now.
        """
        pace = self._paces.get(association)
        return pace is not None and pace.slow and pace.waiting >= LEAST

    def sent(self, association: IAssociation) -> None:
        """
        One more waits.
        """
        pace = self._paces.get(association)
        if pace is None:
            pace = self._paces[association] = _Pace()
        pace.waiting += 1

    def heard(self, association: IAssociation, seconds: float) -> None:
        """
        One that L{sent} was told of waits no longer: it was answered, or has failed.

        @param seconds: how long it has waited.
        """
        pace = self._paces[association]
        pace.slow = seconds > self._t1
        pace.waiting -= 1
        if not pace.waiting:
            del self._paces[association]

    def __len__(self) -> int:
        """
        How many associations are waited for.
        """
        return len(self._paces)
