"""
Coming back by itself: what a server that has drained itself does when the time is over for which it had asked
its clients to stay away.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from sipgrace.lifecycle.authorization import Giver
from sipgrace.lifecycle.door import Door, Obeyed
from sipgrace.lifecycle.events import Change, Event, State
from sipgrace.lifecycle.orders import Kind, Order

__all__ = ["Comeback"]

#: What keeps it from coming back is looked at again after so many seconds.
AGAIN: Final = 10.0


class Comeback:
    """
    An observer of the lifecycle that takes back one drain, L{promise}d before, and no other: where somebody
    else has had a word since (resumed it, or taken it offline), it is theirs.

    @param giver: in whose name the server resumes.
    @param busy: whether something is going on that must be over first: maintenance.
    @ivar at: when it is due, in seconds of the clock; C{None} where nothing is promised, or the drain is not
        yet over.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        door: Door,
        giver: Giver,
        busy: Callable[[], bool],
        wallClock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._door = door
        self._giver = giver
        self._busy = busy
        self._wallClock = wallClock
        self._nonce = ""
        self._due: float | None = None
        self._call: IDelayedCall | None = None
        self.at: float | None = None
        door.lifecycle.observe(self)

    def promise(self, nonce: str, due: float | None = None) -> None:
        """
        The drain under this order is to be taken back.

        @param due: when, in seconds of the clock; C{None} for the time until which clients were asked to stay
            away.
        """
        self.forget()
        status = self._door.lifecycle.status()
        if status.state is State.SERVING:
            # It has been taken back already.
            return
        self._nonce = nonce
        self._due = due
        # It may be over already.
        if status.state is State.OFFLINE and status.order is not None:
            self._offline(status.order, status.awayFor)

    def forget(self) -> None:
        """
        Nothing is promised any more.
        """
        self._nonce = ""
        self._due = self.at = None
        self._cancel()

    def onChange(self, event: Event) -> None:
        """
        See L{sipgrace.lifecycle.seams.Observer}.
        """
        if not self._nonce:
            return
        if event.change in (Change.SERVING, Change.CANCELLED):
            self.forget()
        elif event.change is Change.OFFLINE:
            away = None if event.until is None else event.until - event.at
            self._offline(event.order, away)
        elif event.change is Change.FAILED:
            self._wait(AGAIN)

    def _offline(self, order: Order | None, away: float | None) -> None:
        if order is None or order.nonce != self._nonce:
            self.forget()
            return
        left = away or 0.0 if self._due is None else self._due - self._clock.seconds()
        self._wait(max(0.0, left))

    def _wait(self, seconds: float) -> None:
        self._cancel()
        self.at = self._clock.seconds() + seconds
        self._call = self._clock.callLater(seconds, self._resume)

    def _cancel(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _resume(self) -> None:
        self._call = None
        if self._busy():
            self._wait(1.0)
            return
        order = Order(
            kind=Kind.RESUME, who=self._giver.name, when=self._wallClock(), why="the time is over"
        )
        # Where it cannot listen, that is told as an event.
        given = self._door.give(order, self._giver).addCallback(Obeyed.whenEnded)
        given.addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        self._log.error("not back yet: {reason}", reason=failure.getErrorMessage())
        if self._nonce and self._call is None:
            self._wait(AGAIN)
