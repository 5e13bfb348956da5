"""
The orders under way, each with what is known of it; what becomes of them is stored, and told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from sipgrace.controller.facts import ENDED, OrderRecord, Outcome
from sipgrace.controller.fleet import Fleet
from sipgrace.controller.following import Following, Verdict
from sipgrace.controller.records import storable
from sipgrace.controller.seams import IFleetStore
from sipgrace.errors import Unknown
from sipgrace.lifecycle.orders import Kind

__all__ = ["Case", "Casebook"]

#: What could not be stored is tried again after so many seconds.
AGAIN: Final = 5.0


class Case:
    """
    An order under way.

    @ivar record: how it stands.
    @ivar busy: whether it is being given right now.
    @ivar sends: how often it was sent.
    """

    __slots__ = ("again", "busy", "following", "record", "sends", "waiters")

    def __init__(self, record: OrderRecord) -> None:
        self.record = record
        self.following = Following(record)
        self.busy = False
        self.sends = 0
        self.again: IDelayedCall | None = None
        self.waiters: list[Deferred[OrderRecord]] = []

    @property
    def kind(self) -> Kind:
        """
        What it asks for.
        """
        return Kind(self.record.order["kind"])

    @property
    def ended(self) -> bool:
        """
        Whether nothing follows any more.
        """
        return self.record.outcome in ENDED


class Casebook:
    """
    All of them.

    @ivar cases: by the orders' ids.
    @ivar ended: is told when one has come to its end.
    """

    _log = Logger()

    def __init__(
        self,
        name: str,
        clock: IReactorTime,
        fleet: Fleet,
        store: IFleetStore,
        audit: Callable[..., Deferred[None]],
        wallClock: Callable[[], float],
    ) -> None:
        self._name = name
        self._clock = clock
        self._fleet = fleet
        self._store = store
        self._audit = audit
        self._wallClock = wallClock
        self._stopped = False
        # What could not be stored, until it is tried again.
        self._retrying: dict[Case, IDelayedCall] = {}
        self.cases: dict[str, Case] = {}
        self.ended: Callable[[], None] = lambda: None

    def stop(self) -> None:
        """
        Nothing is waited for any more.
        """
        self._stopped = True
        for case in self.cases.values():
            if case.again is not None and case.again.active():
                case.again.cancel()
        for call in self._retrying.values():
            call.cancel()
        self._retrying.clear()

    def of(self, node: str) -> list[Case]:
        """
        @return: those that a node has been given, or is being given.
        """
        return [
            case
            for case in self.cases.values()
            if case.record.node == node and case.record.outcome in (Outcome.SENT, Outcome.OBEYED)
        ]

    def record(self, id: str) -> OrderRecord | None:
        """
        @return: an order that is under way.
        """
        case = self.cases.get(id)
        return None if case is None else case.record

    def whenEnded(self, id: str) -> Deferred[OrderRecord]:
        """
        @return: fires with an order that has come to its end, which is in the store then; fails with
            L{Unknown} for none.
        """
        case = self.cases.get(id)
        if case is not None:
            waiter: Deferred[OrderRecord] = Deferred()
            case.waiters.append(waiter)
            return waiter

        def known(record: OrderRecord | None) -> OrderRecord:
            if record is None:
                raise Unknown(f"{id[:100]!r} is no order")
            return record

        return self._store.order(id).addCallback(known)

    # ------------------------------------------------------------------ outcomes

    def apply(self, case: Case, verdict: Verdict, result: Any = None) -> None:
        """
        Something has become of an order.
        """
        record = case.record
        outcome, text = verdict
        if case.ended and result is not None and record.result is None and record.outcome is outcome:
            # Its end was told as an event before the answer came, and the answer says more.
            case.record = replace(record, result=result)
            self.keep(case)
            return
        if case.ended or (record.outcome is Outcome.OBEYED and outcome is Outcome.SENT):
            return
        ended = self._wallClock() if outcome in ENDED else None
        changed = replace(record, outcome=outcome, text=text, ended=ended)
        if result is not None:
            changed = replace(changed, result=result)
        if changed != record:
            case.record = changed
            self.keep(case)
        if case.ended and case.again is not None and case.again.active():
            case.again.cancel()

    def keep(self, case: Case) -> None:
        """
        Stores what became of it, and tells. It has happened, so it is tried until it succeeds.
        """
        record = case.record

        def failed(failure: Failure) -> None:
            self._log.error(
                "what became of the order {id} cannot be stored: {why}",
                id=record.id,
                why=failure.getErrorMessage(),
            )
            if not self._stopped and case not in self._retrying:
                self._retrying[case] = self._clock.callLater(AGAIN, again)

        def again() -> None:
            del self._retrying[case]
            self.keep(case)

        def kept(_: None) -> None:
            if case.record is not record:
                # What came after it is on its way to the store.
                return
            retrying = self._retrying.pop(case, None)
            if retrying is not None:
                retrying.cancel()
            self.publish(record)
            if case.ended:
                self._end(case)

        self._store.putOrder(record).addCallbacks(kept, failed)

    def _end(self, case: Case) -> None:
        record = case.record
        if self.cases.pop(record.id, None) is None:
            return
        self._audit(
            "ended", id=record.id, node=record.node, outcome=str(record.outcome), reason=record.text
        ).addErrback(lambda failure: self._log.error("{why}", why=failure.getErrorMessage()))
        waiters, case.waiters = case.waiters, []
        for waiter in waiters:
            waiter.callback(record)
        self.ended()

    def publish(self, record: OrderRecord) -> None:
        """
        Tells those who watch.
        """
        self._fleet.publish("order", record.node, asdict(record))

    # ------------------------------------------------------------------ reports

    def reported(self, report: Mapping[str, Any]) -> None:
        """
        The report of a drain has come: its figures go to the orders that it was under.
        """
        orders = report.get("orders")
        figures = storable({name: report[name] for name in report if name not in ("timeline", "orders")})
        for facts in orders if isinstance(orders, list) and figures else ():
            id = str(facts.get("nonce", "")) if isinstance(facts, Mapping) else ""
            if id:
                self._figure(id, figures).addErrback(
                    lambda failure: self._log.error("{why}", why=failure.getErrorMessage())
                )

    def _figure(self, id: str, figures: Mapping[str, Any]) -> Deferred[None]:
        case = self.cases.get(id)
        if case is not None:
            if case.kind is Kind.DRAIN and case.record.outcome is not Outcome.QUEUED:
                case.record = replace(case.record, result=figures)
                self.keep(case)
            return succeed(None)

        def add(record: OrderRecord | None) -> Deferred[None] | None:
            if record is None or record.by != self._name or record.order.get("kind") != Kind.DRAIN:
                return None
            record = replace(record, result=figures)
            return self._store.putOrder(record).addCallback(lambda _: self.publish(record))

        return self._store.order(id).addCallback(add)
