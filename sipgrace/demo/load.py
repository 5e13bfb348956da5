"""
The calls of a run, at a steady rate.
"""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from sipgrace.demo.book import Book, Call
from sipgrace.demo.phone import Phone
from sipgrace.demo.plan import Member, Plan, pairs
from sipgrace.errors import SIPGraceError

__all__ = ["Load"]


class Load:
    """
    Places calls.

    @ivar startedAt: when the first was placed, in seconds of the clock; C{None} before.
    @ivar done: fires when all are over; fails when they cannot be.
    """

    def __init__(self, clock: IReactorTime, plan: Plan, phones: Mapping[Member, Phone], book: Book) -> None:
        self._clock = clock
        self._plan = plan
        self._phones = phones
        self._book = book
        self._pairs = pairs()
        self._placed = 0
        self.startedAt: float | None = None
        self.done: Deferred[None] = Deferred()
        book.onEnd = self._ended

    def start(self) -> None:
        """
        Places the first, if there is any.
        """
        self.startedAt = self._clock.seconds()
        if self._plan.calls:
            self._place()
        else:
            self.done.callback(None)

    def fail(self, error: SIPGraceError) -> None:
        """
        Places no more: the network is broken.
        """
        if not self.done.called:
            self.done.errback(error)

    def _place(self) -> None:
        """
        Places those that are due: the times follow from the first call's, so that the rate holds.
        """
        assert self.startedAt is not None
        plan = self._plan
        while self._placed < plan.calls and not self.done.called:
            wait = self.startedAt + self._placed / plan.rate - self._clock.seconds()
            if wait > 0:
                self._clock.callLater(wait, self._place)
                return
            # All pairs take turns; in every other round it is the callee that hangs up.
            turn, place = divmod(self._placed, len(self._pairs))
            self._placed += 1
            caller, callee = self._pairs[place]
            self._phones[caller].call(callee, byCallee=turn % 2 == 1)

    def _ended(self, call: Call) -> None:
        if self._placed == self._plan.calls and not self._book.open and not self.done.called:
            self.done.callback(None)
