"""
The door to the lifecycle machine of L{sipgrace.lifecycle.states}: orders and facts in, events and answers
out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import isfinite
from typing import TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from sipgrace.errors import OrderRefused
from sipgrace.lifecycle.core import Core
from sipgrace.lifecycle.events import Change, Event, State
from sipgrace.lifecycle.orders import Kind, Order
from sipgrace.lifecycle.seams import Associations, GateSeam, LedgerSeam, Observer
from sipgrace.lifecycle.settings import Settings
from sipgrace.lifecycle.states import OFFLINE, LifecycleMachine

T = TypeVar("T")


@dataclass(eq=False)
class _Waiter:
    """
    Somebody who waits for one of several states.

    @ivar since: the number of the last event that is of no interest.
    @ivar failing: whether to hear of a failure to listen as such.
    """

    states: frozenset[State]
    since: int
    failing: bool
    deferred: Deferred[State]


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """
    How things stand, for display.

    @ivar waiting: accepted INVITEs not yet settled.
    @ivar associations: associations not yet gone.
    @ivar guardLeft: seconds until the guard expires, C{None} where none is set.
    @ivar awayFor: seconds for which clients are asked to stay away yet, C{None} when serving.
    @ivar order: the order under which it is in this state.
    @ivar slowLeft: seconds until new INVITEs are refused altogether, C{None} where that is not to come.
    """

    state: State
    waiting: int
    associations: int
    guardLeft: float | None
    awayFor: float | None
    order: Order | None
    slowLeft: float | None = None


class Lifecycle:
    """
    One server's life: the only door to its machine. Orders raise L{OrderRefused} where they do not fit;
    its text says why and what would be accepted.

    An order cannot be given from within a seam's method, that is in the middle of another one. Observers
    and whoever waits on a C{Deferred} may give orders.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        ledger: LedgerSeam,
        associations: Associations,
        gate: GateSeam,
        observers: Iterable[Observer] = (),
        settings: Settings | None = None,
        serving: bool = True,
    ) -> None:
        """
        @param observers: told of each change, in this order.
        @param serving: whether it is in service already. Where false, the gate is closed, and L{resume}
            is what brings it into service for the first time.
        """
        self._core = Core(
            clock=clock,
            ledger=ledger,
            associations=associations,
            gate=gate,
            settings=Settings() if settings is None else settings,
            post=self._post,
        )
        self._observers = list(observers)
        self._facts: deque[Callable[[], None]] = deque()
        self._waiters: list[_Waiter] = []
        self._inside = False
        self._working = False
        if serving:
            self._machine = LifecycleMachine(self._core)
        else:
            self._core.state = State.OFFLINE
            gate.close(clock.seconds(), "")
            self._machine = LifecycleMachine(self._core, OFFLINE)

    # ------------------------------------------------------------------ orders

    def drain(self, order: Order) -> Deferred[State]:
        """
        Takes the server out of service without losing an accepted call, gradually where the order or the
        settings want that. While it drains already, an order that asks for no later an end joins that drain.

        @return: fires with L{State.OFFLINE} when all associations are gone, or with L{State.SERVING} when
            the drain was cancelled. Never fails.
        @raise OrderRefused: see the grid. Whoever only wants the server to be offline (a signal) goes on
            to wait on L{whenOffline}.
        """
        self._check(order, Kind.DRAIN)
        machineInput = self._machine.slow if self._core.overFor(order) > 0 else self._machine.drain
        return self._giveAndWait(lambda: machineInput(order), State.OFFLINE, State.SERVING)

    def cancel(self, order: Order | None = None) -> None:
        """
        Takes the drain back; the server serves again at once.

        @raise OrderRefused: unless it is draining.
        """
        self._check(order, Kind.CANCEL)
        self._give(lambda: self._machine.cancel(order))

    def extend(self, seconds: float, order: Order | None = None) -> None:
        """
        Gives the drain more time.

        @param seconds: how much more, above 0.
        @raise OrderRefused: unless it is draining, and for a time that is not above 0.
        """
        self._check(order, Kind.EXTEND)
        if not (isfinite(seconds) and seconds > 0):
            raise OrderRefused(f"extend: {seconds} is no time to add; seconds above 0 are expected")
        self._give(lambda: self._machine.extend(seconds, order))

    def resume(self, order: Order | None = None) -> Deferred[State]:
        """
        Brings the server into service (again).

        @return: fires with L{State.SERVING} when it listens, or with L{State.OFFLINE} when it was drained
            or taken offline before; fails with what went wrong when it could not listen.
        @raise OrderRefused: when it is draining or shutting down.
        """
        self._check(order, Kind.RESUME)
        return self._giveAndWait(
            lambda: self._machine.resume(order), State.SERVING, State.OFFLINE, failing=True
        )

    def offline(self, order: Order) -> None:
        """
        Takes the server out of service at once: what was accepted gets a final answer, associations are
        aborted. Never refused (but in the middle of another order).
        """
        self._check(order, Kind.OFFLINE)
        self._give(lambda: self._machine.offline(order))

    # ------------------------------------------------------------------ facts

    def associationsGone(self) -> None:
        """
        The last association has gone: told by whoever keeps them, whenever it happens.
        """
        self._post(self._machine.associationsGone)

    def maintained(self, text: str) -> None:
        """
        The command that was to be run after the drain is done.
        """
        self.remark(Change.MAINTAINED, text, self._core.order)

    def remark(self, change: Change, text: str, order: Order | None = None) -> None:
        """
        Something happened that is not the machine's, and those who watch are to know.
        """
        self._core.tell(change, order, text=text)
        self._work()

    # ------------------------------------------------------------------ waiting and watching

    def whenOffline(self) -> Deferred[State]:
        """
        @return: fires with L{State.OFFLINE} when the server is offline, at once where it is.
        """
        if self._core.state is State.OFFLINE:
            return succeed(State.OFFLINE)
        return self._wait((State.OFFLINE,), False).deferred

    def observe(self, observer: Observer) -> None:
        """
        Has one more observer told of changes from now on.
        """
        self._observers.append(observer)

    def plan(self, order: Order) -> tuple[float, float]:
        """
        What a drain under this order would come to; nothing is done.

        @return: its guard, and how long clients would be asked to stay away, without the spread; in seconds.
        """
        guard = self._core.guardFor(order)
        return guard, self._core.awayFor(order, guard)

    def overFor(self, order: Order) -> float:
        """
        @return: how long before its full stop a drain under this order begins to refuse calls, in seconds.
        """
        return self._core.overFor(order)

    @property
    def number(self) -> int:
        """
        The number of the last event; what an order does is told in events of higher numbers.
        """
        return self._core.count

    def status(self) -> Status:
        """
        @return: how things stand now, for display; not to decide by.
        """
        s = self._core
        return Status(
            state=s.state,
            waiting=len(s.ledger),
            associations=s.associations.count,
            guardLeft=None if s.guard is None else s.guard.left(),
            awayFor=None if s.until is None else max(0.0, s.until - s.clock.seconds()),
            slowLeft=s.slowLeft() if s.state is State.SLOWING else None,
            order=s.order,
        )

    # ------------------------------------------------------------------ the door

    def _check(self, order: Order | None, kind: Kind) -> None:
        if order is not None and order.kind is not kind:
            raise OrderRefused(f"{kind} was given an order of kind {order.kind}; one of its own is expected")
        if self._inside:
            raise OrderRefused(
                f"{kind} came in the middle of another order or change; give it again when that is done"
            )

    def _run(self, machineInput: Callable[[], T]) -> T:
        self._inside = True
        try:
            return machineInput()
        finally:
            self._inside = False

    def _give(self, machineInput: Callable[[], str]) -> None:
        refusal = self._run(machineInput)
        self._work()
        if refusal:
            raise OrderRefused(refusal)

    def _giveAndWait(
        self, machineInput: Callable[[], str], *states: State, failing: bool = False
    ) -> Deferred[State]:
        waiter = self._wait(states, failing)
        refusal = self._run(machineInput)
        if refusal:
            self._waiters.remove(waiter)
        elif self._core.state in states:
            # It asked for what is there already.
            self._waiters.remove(waiter)
            waiter.deferred.callback(self._core.state)
        self._work()
        if refusal:
            raise OrderRefused(refusal)
        return waiter.deferred

    def _post(self, fact: Callable[[], None]) -> None:
        self._facts.append(fact)
        self._work()

    def _work(self) -> None:
        """
        Takes what came in one after another; what happened is told before the next is looked at.
        """
        if self._inside or self._working:
            return
        self._working = True
        try:
            while True:
                if self._core.events:
                    self._deliver(self._core.events.popleft())
                elif self._facts:
                    self._take(self._facts.popleft())
                else:
                    break
        finally:
            self._working = False

    def _take(self, fact: Callable[[], None]) -> None:
        try:
            self._run(fact)
        except Exception:
            self._log.failure("{fact} failed; the lifecycle goes on", fact=fact)

    def _deliver(self, event: Event) -> None:
        self._log.info(
            "lifecycle: {change}, {waiting} accepted INVITEs left, {associations} associations{more}",
            change=str(event.change),
            waiting=event.waiting,
            associations=event.associations,
            more=_more(event),
            event=event,
        )
        for observer in list(self._observers):
            try:
                observer.onChange(event)
            except Exception:
                self._log.failure("{observer} failed at {change}", observer=observer, change=event.change)
        for waiter in list(self._waiters):
            if waiter.since < event.number and event.state in waiter.states and waiter in self._waiters:
                self._waiters.remove(waiter)
                if waiter.failing and event.change is Change.FAILED and self._core.failure is not None:
                    waiter.deferred.errback(self._core.failure)
                else:
                    waiter.deferred.callback(event.state)

    def _wait(self, states: Iterable[State], failing: bool) -> _Waiter:
        def forget(ignored: Deferred[State]) -> None:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

        waiter = _Waiter(frozenset(states), self._core.count, failing, Deferred(forget))
        self._waiters.append(waiter)
        return waiter


def _more(event: Event) -> str:
    """
    What few events have to tell, for the log.
    """
    parts = [f", {event.forced} ended by force"] if event.forced else []
    if event.aborted:
        parts.append(f", {event.aborted} of them aborted")
    if event.text:
        parts.append(f": {event.text}")
    return "".join(parts)
