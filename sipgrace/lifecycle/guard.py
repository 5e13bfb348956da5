"""
The guard timer: the latest moment at which a server's SIP associations are gone.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Guard:
    """
    Three moments, one after the other::

        set(30)                         28.5 s          29 s         30 s
          |------------------------------|--------------|-------------|
            what was accepted is finished   last words      teardown     gone
                                   recallDue()  settlementDue()   expired()

    Associations are to be gone at the guard, not to begin to go. So what is left is settled by force one
    teardown margin earlier, which leaves time for SHUTDOWN; what has not answered that is aborted at the
    guard itself. Half a margin before the settlement, what rings is taken back: a callee who has just
    answered, or does so now, can still be heard. The margin is never more than a third of the time that
    was set.

    One delayed call at a time, so that they never come in the wrong order, however late the reactor is.
    """

    def __init__(
        self,
        clock: IReactorTime,
        margin: float,
        recallDue: Callable[[], None],
        settlementDue: Callable[[], None],
        expired: Callable[[], None],
    ) -> None:
        """
        @param margin: the teardown margin in seconds.
        """
        self._clock = clock
        self._margin = margin
        self._recallDue = recallDue
        self._settlementDue = settlementDue
        self._expired = expired
        self._call: IDelayedCall | None = None
        self.deadline: float | None = None
        self._used = 0.0

    def set(self, seconds: float) -> None:
        """
        Sets it, or moves it.

        @param seconds: the time until the guard expires, from now. 0 means at once: settlement is due
            before this returns, and the guard has expired in the reactor's next turn, so that the final
            answers leave ahead of the ABORTs.
        """
        self.stop()
        self.deadline = self._clock.seconds() + seconds
        if seconds > 0:
            margin = min(self._margin, seconds / 3)
            self._used = margin
            self._call = self._clock.callLater(seconds - 1.5 * margin, self._recall, margin)
        else:
            self._used = 0.0
            self._settle()

    def stop(self) -> None:
        """
        Takes it back; neither moment comes any more.
        """
        self.deadline = None
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def left(self) -> float:
        """
        @return: the seconds until it expires, 0 where it has or was not set.
        """
        if self.deadline is None:
            return 0.0
        return max(0.0, self.deadline - self._clock.seconds())

    def lastWordsIn(self) -> float:
        """
        @return: the seconds until what rings is taken back, 0 where it has been, or nothing was set.
        """
        if self.deadline is None:
            return 0.0
        return max(0.0, self.deadline - 1.5 * self._used - self._clock.seconds())

    def _recall(self, margin: float) -> None:
        self._call = self._clock.callLater(max(0.0, self.left() - margin), self._settle)
        self._recallDue()

    def _settle(self) -> None:
        self._call = self._clock.callLater(self.left(), self._expire)
        self._settlementDue()

    def _expire(self) -> None:
        self._call = None
        self._expired()
