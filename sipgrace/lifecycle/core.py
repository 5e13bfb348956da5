"""
What the lifecycle machine knows and does; L{sipgrace.lifecycle.machine} says when.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from sipgrace.lifecycle.events import Change, Event, State
from sipgrace.lifecycle.guard import Guard
from sipgrace.lifecycle.orders import Order
from sipgrace.lifecycle.seams import Associations, GateSeam, LedgerSeam
from sipgrace.lifecycle.settings import Settings

T = TypeVar("T")
_log = Logger()


class Facts(Protocol):
    """
    The inputs of the machine that are facts.
    """

    def becameIdle(self) -> None:
        """
        The ledger is empty.
        """

    def associationsGone(self) -> None:
        """
        The last association has gone.
        """

    def _slowed(self) -> None:
        """
        Nearly all new INVITEs are refused by now: the drain is to begin.
        """

    def _recallDue(self) -> None:
        """
        Half a teardown margin before the settlement.
        """

    def _settlementDue(self) -> None:
        """
        The guard is one teardown margin away.
        """

    def _guardExpired(self) -> None:
        """
        The guard has expired.
        """

    def _listened(self) -> None:
        """
        All listeners are up.
        """

    def _listenFailed(self, failure: Failure) -> None:
        """
        They could not be brought up.
        """


@dataclass
class Core:
    """
    One server's part in it. What the seams raise is logged and goes no further: a drain that has begun
    goes on.

    @ivar post: has an input looked at after the present one.
    @ivar order: the order under which the server is in its present state.
    @ivar events: what happened and was not yet told.
    @ivar failure: why it could not listen again, of the last time that happened.
    """

    clock: IReactorTime
    ledger: LedgerSeam
    associations: Associations
    gate: GateSeam
    settings: Settings
    post: Callable[[Callable[[], None]], None]
    state: State = State.SERVING

    order: Order | None = None
    events: deque[Event] = field(default_factory=deque)
    count: int = 0
    failure: Failure | None = None
    guard: Guard | None = None
    until: float | None = None

    # Until when clients are to stay away where somebody said so, however the guard moves.
    _wanted: float | None = None
    _idleCall: IDelayedCall | None = None
    _closing: Deferred[None] | None = None
    _listening: Deferred[None] | None = None
    _ticket: object = None
    _forced: int = 0
    # When the ledger became empty in the drain under way.
    _settledAt: float | None = None
    _slowCall: IDelayedCall | None = None

    # ------------------------------------------------------------------ telling

    def tell(
        self, change: Change, order: Order | None, forced: int = 0, aborted: int = 0, text: str = ""
    ) -> None:
        """
        Notes what happened, to be told when the present input is done with.
        """
        self.count += 1
        event = Event(
            number=self.count,
            change=change,
            state=self.state,
            at=self.clock.seconds(),
            order=order,
            waiting=len(self.ledger),
            associations=self.associations.count,
            deadline=self.guard.deadline if self.guard is not None else None,
            until=self.until,
            forced=forced,
            aborted=aborted,
            text=text,
            sinceSettled=None if self._settledAt is None else self.clock.seconds() - self._settledAt,
            lastInvite=None
            if self.until is None and change is not Change.CANCELLED
            else self.gate.lastInvite,
        )
        self.events.append(event)

    def enter(
        self,
        state: State,
        change: Change,
        order: Order | None,
        forced: int = 0,
        aborted: int = 0,
        text: str = "",
    ) -> None:
        """
        Tells of a new state.
        """
        self.state = state
        self.tell(change, order, forced, aborted, text)

    def safely(self, call: Callable[[], T], what: str) -> T | None:
        """
        @return: what the call returned, or C{None} where it raised.
        """
        try:
            return call()
        except Exception:
            _log.failure("{what} failed; the lifecycle goes on", what=what)
            return None

    # ------------------------------------------------------------------ slowing

    def overFor(self, order: Order) -> float:
        """
        @return: how long before its full stop a drain under this order begins to refuse calls, in seconds.
        """
        return self.settings.over if order.over is None else order.over

    def slow(self, c: Facts, order: Order) -> None:
        """
        Begins to refuse calls; C{_slowed} follows.
        """
        self.order = order
        self._slowFor(c, self.overFor(order))

    def slowSooner(self, c: Facts, order: Order) -> None:
        """
        A further order wants it, too: the earlier full stop counts.
        """
        over = self.overFor(order)
        if over < self.slowLeft():
            self._slowFor(c, over)

    def slowLeft(self) -> float:
        """
        @return: the seconds until the full stop, 0 where none is to come.
        """
        if self._slowCall is None:
            return 0.0
        return max(0.0, self._slowCall.getTime() - self.clock.seconds())

    def _slowFor(self, c: Facts, over: float) -> None:
        self.stopSlowing()
        self.safely(partial(self.gate.slow, over), "slowing the gate")

        def slowed() -> None:
            self._slowCall = None
            self.post(c._slowed)

        self._slowCall = self.clock.callLater(over, slowed)

    def stopSlowing(self) -> None:
        """
        C{_slowed} does not follow any more.
        """
        if self._slowCall is not None:
            self._slowCall.cancel()
            self._slowCall = None

    # ------------------------------------------------------------------ gate and guard

    def setGuard(self, c: Facts, order: Order) -> None:
        """
        Begins a drain's time, and closes the gate.
        """
        self.stopSlowing()
        seconds = self.guardFor(order)
        retryAfter = self._wantedFor(order)
        self._wanted = None if retryAfter is None else self.clock.seconds() + retryAfter
        self.order = order
        self._settledAt = None
        self.forced()
        self.guard = Guard(
            self.clock,
            self.settings.margin,
            partial(self.post, c._recallDue),
            partial(self.post, c._settlementDue),
            partial(self.post, c._guardExpired),
        )
        self.moveGuard(seconds)

    def guardFor(self, order: Order) -> float:
        """
        @return: the time that a drain under this order may take, in seconds.
        """
        if order.guard is not None:
            return order.guard
        estimate = self.settings.estimate
        if estimate is None:
            return self.settings.guard
        seconds = self.safely(estimate, "estimating the guard")
        return self.settings.guard if seconds is None else seconds

    def awayFor(self, order: Order, guard: float) -> float:
        """
        @return: how long clients would be asked to stay away by a drain under this order, in seconds.
        """
        wanted = self._wantedFor(order)
        return guard + self.settings.retryPeriod if wanted is None else max(wanted, guard)

    def _wantedFor(self, order: Order) -> float | None:
        return self.settings.retryAfter if order.retryAfter is None else order.retryAfter

    def moveGuard(self, seconds: float | None) -> None:
        """
        @param seconds: the time until the guard is to expire, from now; C{None} leaves it where it is.
        """
        assert self.guard is not None
        if seconds is not None:
            self.guard.set(seconds)
        assert self.guard.deadline is not None
        self._closeGate(self.guard.deadline, self.clock.seconds() + self.guard.lastWordsIn())

    def _closeGate(self, deadline: float, last: float = 0.0) -> None:
        """
        Asks clients to stay away until the wanted time, or for the configured period after the guard
        where nobody wants one; never less than the guard.

        @param last: until when those that go before others are let in.
        """
        if self._wanted is None:
            self.until = deadline + self.settings.retryPeriod
        else:
            self.until = max(self._wanted, deadline)
        reason = self.order.why if self.order is not None else ""
        self.safely(partial(self.gate.close, self.until, reason, last), "closing the gate")

    def wantRetryAfter(self, seconds: float) -> None:
        """
        A further order wants clients to stay away for so many seconds from now: the longer one counts.
        """
        self._wanted = max(self.until or 0.0, self.clock.seconds() + seconds)

    def keepAway(self, order: Order) -> None:
        """
        Closes the gate for a server that goes at once; there is no guard any more.
        """
        self.stopSlowing()
        self.stopGuard()
        self.order = order
        for seconds in (order.retryAfter, self.settings.retryAfter, self.settings.retryPeriod):
            if seconds is not None:
                self.wantRetryAfter(seconds)
                break
        self._closeGate(self.clock.seconds())

    def openGate(self) -> None:
        """
        Lets new INVITEs in; the guard, the time to return and the order are over.
        """
        self.stopSlowing()
        self.stopGuard()
        self._settledAt = None
        self.order = None
        self.until = None
        self.safely(self.gate.openAgain, "opening the gate")

    def stopGuard(self) -> None:
        """
        There is no guard any more.
        """
        if self.guard is not None:
            self.guard.stop()
            self.guard = None

    # ------------------------------------------------------------------ ledger

    def awaitIdle(self, c: Facts) -> None:
        """
        Has C{becameIdle} follow when the ledger is empty: at once if it is.
        """
        if not self.ledger:
            self.post(c.becameIdle)
        else:
            self.ledger.watch(partial(self._emptied, c))

    def _emptied(self, c: Facts) -> None:
        self._settledAt = self.clock.seconds()
        # Whoever settled the last one is still in the middle of it, and may be about to send or to go
        # through its associations. So the reactor's next turn is the time to touch these.
        if self._idleCall is None:
            self._idleCall = self.clock.callLater(0, self._idle, c)

    def _idle(self, c: Facts) -> None:
        self._idleCall = None
        if not self.ledger:
            self.post(c.becameIdle)

    def leaveLedger(self) -> None:
        """
        C{becameIdle} is not asked for any more.
        """
        self.ledger.watch(None)
        if self._idleCall is not None:
            self._idleCall.cancel()
            self._idleCall = None

    def recall(self, reason: str) -> None:
        """
        Takes back what rings.
        """
        self.safely(partial(self.ledger.recallAll, reason), "taking back what rings")

    def forced(self) -> int:
        """
        @return: how many were settled by force since this was asked last, or the drain began.
        """
        before, self._forced = self._forced, self.ledger.forced
        return self._forced - before

    def settle(self, reason: str) -> int:
        """
        Gives all that is left its final answer.

        @return: as L{forced}.
        """
        self.safely(partial(self.ledger.settleAll, reason), "settling what was accepted")
        return self.forced()

    # ------------------------------------------------------------------ associations

    def stopListening(self) -> None:
        """
        Accepts no more associations.
        """
        closing = self.safely(self.associations.stopListening, "ceasing to listen")
        if closing is not None:
            closing.addErrback(lambda f: _log.failure("ceasing to listen failed", failure=f))
            # What is being closed since before may take longer.
            self._closing = self._closed().addCallback(lambda ignored: closing)

    def _closed(self) -> Deferred[None]:
        """
        @return: fires when the ports that are being closed are free. To cancel it does nothing to them.
        """
        closing = self._closing
        if closing is None:
            return succeed(None)
        closed: Deferred[None] = Deferred()

        def free(ignored: None) -> None:
            if not closed.called:
                closed.callback(None)

        closing.addCallback(free)
        return closed

    def shutDown(self, c: Facts) -> None:
        """
        Accepts no more associations and ends in order those that are left; whoever goes before others does so
        no longer.
        """
        self.leaveLedger()
        self.safely(self.gate.shut, "shutting the gate")
        self.stopListening()
        self._end(c, self.associations.shutdownAll, "shutting the associations down")

    def abort(self, c: Facts) -> int:
        """
        Ends at once the associations that are left.

        @return: how many these were.
        """
        left = self.associations.count
        self._end(c, self.associations.abortAll, "aborting the associations")
        return left

    def _end(self, c: Facts, how: Callable[[], None], what: str) -> None:
        gone = not self.associations.count
        # Also where none is left: it is what keeps others from coming up.
        self.safely(how, what)
        if gone:
            self.post(c.associationsGone)

    def listen(self, c: Facts) -> None:
        """
        Listens again, once the ports are free; C{_listened} or C{_listenFailed} follows.
        """
        ticket = self._ticket = object()

        def up(ignored: None) -> None:
            if self._ticket is ticket:
                self.post(c._listened)
            else:
                self.stopListening()

        def failed(failure: Failure) -> None:
            if self._ticket is ticket:
                self.post(partial(c._listenFailed, failure))

        self._listening = self._closed().addCallback(lambda ignored: self.associations.listen())
        self._listening.addCallbacks(up, failed)

    def forgetListening(self) -> None:
        """
        Gives up listening where that is under way.
        """
        self._ticket = None
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.cancel()
