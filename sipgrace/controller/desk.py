"""
Orders from the moment they are asked for to their end: claimed, written down, stored, signed, sent, followed.

What is stored is always ahead of what is done, so that a controller that was killed at any instant finds out
after its restart: an order that is C{sent} may have arrived or not. Its node's events say which; and where
they do not, it is sent once more: its nonce makes that harmless.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from sipgrace.control.remote import Unreachable
from sipgrace.controller.casebook import Case, Casebook
from sipgrace.controller.claims import LEAVING, Claims, NoRoom
from sipgrace.controller.dispatch import Dispatch
from sipgrace.controller.facts import Notice, OrderRecord, Outcome, Person
from sipgrace.controller.fleet import Fleet
from sipgrace.controller.following import NOT_ARRIVED, Following
from sipgrace.controller.queue import Queue, Turn
from sipgrace.controller.seams import IFleetStore
from sipgrace.controller.wanted import orderOf, readOrder
from sipgrace.errors import OrderRefused, StoreError, Unknown
from sipgrace.lifecycle.orderform import SignedOrder, newNonce
from sipgrace.lifecycle.orders import Order

__all__ = ["Desk"]

#: For so many seconds an order is valid once it is signed.
VALID: Final = 60.0

#: Claims that other controllers may have left behind are looked for every so many seconds.
EVERY: Final = 30.0

#: A queued order whose turn has come waits so many seconds for its node's link.
PATIENCE: Final = 60.0

#: An order for later that was due more than so many seconds ago, while the controller was not there, is not
#: given any more.
LATE: Final = 300.0


class Desk:
    """
    Where orders are given.

    @ivar queue: those that wait.
    """

    _log = Logger()

    def __init__(
        self,
        name: str,
        clock: IReactorTime,
        fleet: Fleet,
        store: IFleetStore,
        book: Casebook,
        sign: Callable[[Order], SignedOrder],
        claims: Claims,
        audit: Callable[..., Deferred[None]],
        wallClock: Callable[[], float],
    ) -> None:
        """
        @param book: the orders under way.
        @param sign: signs an order with the controller's key.
        @param audit: writes a record into the audit log.
        @param wallClock: gives each time once, so that pages of orders miss none.
        """
        self._name = name
        self._clock = clock
        self._fleet = fleet
        self._store = store
        self._dispatch = Dispatch(clock, fleet, book, sign, claims, wallClock)
        self._claims = claims
        self._audit = audit
        self._wallClock = wallClock
        self._book = book
        # Those that are claimed and written down right now.
        self._beginning: dict[Case, None] = {}
        self._tick: IDelayedCall | None = None
        self._started = 0.0
        self.queue = Queue(clock, wallClock, self._giveQueued, self._group, self._sweep)
        book.ended = self.queue.lookSoon

    # ------------------------------------------------------------------ starting and stopping

    async def start(self) -> None:
        """
        Follows again what was under way.
        """
        self._started = self._wallClock()
        for record in await self._store.openOrders():
            if record.by == self._name:
                case = self._book.cases[record.id] = Case(record)
                if record.outcome is Outcome.QUEUED:
                    self._queueAgain(case)
        self._fleet.observe(self._noticed)
        self._dispatch.start()
        self.queue.look()
        if self._store.shared:
            self._tick = self._clock.callLater(EVERY, self._lookForOthers)

    def _queueAgain(self, case: Case) -> None:
        at = case.record.order.get("at")
        late = 0.0 if at is None else self._started - at
        if late <= LATE:
            self.queue.add(case)
        else:
            text = f"it was due {late:.0f} s ago, when this controller was not there"
            self._book.apply(case, (Outcome.FAILED, text))

    def stop(self) -> None:
        """
        Follows nothing any more; it is taken up at the next start.
        """
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        self._fleet.unobserve(self._noticed)
        self._dispatch.stop()
        self.queue.stop()
        self._book.stop()

    # ------------------------------------------------------------------ giving

    async def order(
        self, values: Mapping[str, Any], person: Person, id: str = "", rolling: str = ""
    ) -> OrderRecord:
        """
        See L{sipgrace.controller.seams.IController.order}.

        @param id: the order's nonce, where it has one already.
        @param rolling: the rolling maintenance that it is part of.
        """
        now = self._wallClock()
        wanted = readOrder(values, person, self._name, now, id or newNonce())
        node = wanted.order.node
        self._fleet.member(node)
        record = OrderRecord(
            id=wanted.order.nonce,
            node=node,
            order=wanted.facts(),
            who=person.name,
            by=self._name,
            at=now,
            outcome=Outcome.QUEUED,
            rolling=rolling,
        )
        case = Case(record)
        if wanted.at is not None and wanted.at > now:
            return await self._enqueue(case)
        case.busy = True
        try:
            await self._begin(case)
        except NoRoom as error:
            if wanted.queue:
                return await self._enqueue(case, str(error))
            await self._turnDown(case, Outcome.REFUSED, str(error))
            raise
        except (OrderRefused, Unreachable, Unknown) as error:
            outcome = Outcome.REFUSED if isinstance(error, OrderRefused) else Outcome.FAILED
            await self._turnDown(case, outcome, str(error))
            raise
        finally:
            case.busy = False
        if case.record.outcome is Outcome.REFUSED:
            raise OrderRefused(case.record.text)
        return case.record

    def _noticed(self, notice: Notice) -> None:
        if notice.kind == "node":
            self.queue.lookSoon()

    async def withdraw(self, id: str, person: Person) -> OrderRecord:
        """
        See L{sipgrace.controller.seams.IController.withdraw}.
        """
        case = self._book.cases.get(id)
        if case is None:
            record = await self._store.order(id)
            if record is None:
                raise Unknown(f"{id[:100]!r} is no order")
            if record.outcome is Outcome.QUEUED:
                raise OrderRefused(f"it waits at {record.by}; withdraw it there")
            raise OrderRefused(f"it is {record.outcome}, and waits no longer")
        if case.record.outcome is not Outcome.QUEUED or case.busy:
            word = "being given" if case.busy else case.record.outcome
            raise OrderRefused(f"it is {word}, and waits no longer; an order to cancel takes a drain back")
        self.queue.remove(case)
        self._book.apply(case, (Outcome.REFUSED, f"withdrawn by {person.name}"))
        await self._book.whenEnded(id)
        return case.record

    async def _turnDown(self, case: Case, outcome: Outcome, text: str) -> None:
        """
        Stores an order that was not sent, if that can be.
        """
        result = NOT_ARRIVED if outcome is Outcome.FAILED else None
        case.record = replace(
            case.record, outcome=outcome, text=text, ended=self._wallClock(), result=result
        )
        self._book.cases.pop(case.record.id, None)
        try:
            await self._store.putOrder(case.record)
        except StoreError as error:
            self._log.error("{why}", why=str(error))
        self._book.publish(case.record)

    # ------------------------------------------------------------------ the queue

    async def _enqueue(self, case: Case, why: str = "") -> OrderRecord:
        case.record = replace(case.record, text=why)
        await self._audit("queued", **_ofRecord(case.record))
        await self._keep(case, case.record)
        self._book.cases[case.record.id] = case
        self._book.publish(case.record)
        self.queue.add(case)
        return case.record

    async def _giveQueued(self, case: Case) -> Turn:
        record = case.record
        case.busy = True
        try:
            await self._begin(case)
        except NoRoom as error:
            if record.order.get("queue") or self._claims.warming:
                self._waitsOn(case, str(error))
                return Turn.FULL
            self._book.apply(case, (Outcome.REFUSED, str(error)))
        except OrderRefused as error:
            self._book.apply(case, (Outcome.REFUSED, str(error)))
        except (Unreachable, Unknown) as error:
            since = max(self._started, record.at, self.queue.due(case))
            if self._wallClock() < since + PATIENCE:
                self._waitsOn(case, str(error))
                return Turn.NOT_YET
            self._book.apply(case, (Outcome.FAILED, str(error)), NOT_ARRIVED)
        except StoreError:
            if not case.ended:
                raise
        finally:
            case.busy = False
        return Turn.OVER

    def _waitsOn(self, case: Case, why: str) -> None:
        if case.record.text != why:
            case.record = replace(case.record, text=why)
            self._book.publish(case.record)

    def _group(self, case: Case) -> str:
        """
        Whose turn an order waits for: that of its node's group.
        """
        try:
            return self._fleet.member(case.record.node).group
        except Unknown:
            return ""

    async def _sweep(self) -> None:
        await self._claims.sweep(self._leaving)

    def _leaving(self) -> set[str]:
        leaving = {case.record.node for case in self._beginning}
        return leaving | {
            case.record.node
            for case in self._book.cases.values()
            if case.kind in LEAVING and case.record.outcome is not Outcome.QUEUED
        }

    def _lookForOthers(self) -> None:
        self._tick = self._clock.callLater(EVERY, self._lookForOthers)
        Deferred.fromCoroutine(self._claims.sweepOthers()).addErrback(
            lambda failure: self._log.warn("{why}", why=failure.getErrorMessage())
        )

    # ------------------------------------------------------------------ sending

    async def _begin(self, case: Case) -> None:
        self._beginning[case] = None
        try:
            await self._beginNow(case)
        finally:
            del self._beginning[case]
        await self._dispatch.send(case)

    async def _beginNow(self, case: Case) -> None:
        record = case.record
        member = self._fleet.member(record.node)
        if member.link is None:
            raise Unreachable(f"{record.node} has no link to this controller: {member.lost}")
        if case.kind in LEAVING and member.role == "server":
            await self._claims.take(record.node)
        now = self._wallClock()
        order = orderOf(record, when=now, expires=now + VALID)
        kept = {name: record.order[name] for name in ("queue", "at") if name in record.order}
        await self._audit("order", **_ofRecord(record))
        record = replace(
            record,
            order=order.facts() | kept,
            outcome=Outcome.SENT,
            text="",
            boot=member.hello.boot,
            number=member.number,
        )
        await self._keep(case, record)
        case.record = record
        case.following = Following(record)
        self._book.cases[record.id] = case
        self._book.publish(record)

    async def _keep(self, case: Case, record: OrderRecord) -> None:
        """
        Stores what an order is about to be.
        """
        try:
            await self._store.putOrder(record)
        except StoreError as error:
            # It may have been stored all the same, and must not be sent after the next start.
            self._book.cases[record.id] = case
            self._book.apply(case, (Outcome.FAILED, str(error)), NOT_ARRIVED)
            raise


def _ofRecord(record: OrderRecord) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "who": record.who,
        "id": record.id,
        "node": record.node,
        "order": record.order,
    }
    if record.rolling:
        facts["rolling"] = record.rolling
    return facts
