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
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from sipgrace.control.remote import Answer, Unreachable
from sipgrace.controller.casebook import Case, Casebook
from sipgrace.controller.claims import Claims, NoRoom
from sipgrace.controller.fleet import Fleet
from sipgrace.controller.following import NOT_ARRIVED, Following
from sipgrace.controller.queue import Queue, Turn
from sipgrace.controller.seams import IFleetStore, Notice, OrderRecord, Outcome, Person
from sipgrace.controller.wanted import orderOf, readOrder
from sipgrace.errors import OrderRefused, SIPGraceError, StoreError, Unknown
from sipgrace.lifecycle.orderform import SignedOrder, newNonce
from sipgrace.lifecycle.orders import Kind, Order

__all__ = ["Desk"]

#: For so many seconds an order is valid once it is signed.
VALID: Final = 60.0

#: So many seconds after a link came up all that a node had to tell again has been told.
SETTLED: Final = 2.0

#: What was not answered is looked at again after so many seconds.
AGAIN: Final = 5.0

#: What other controllers may have left behind is looked for every so many seconds.
EVERY: Final = 30.0

#: A queued order whose turn has come waits so many seconds for its node's link.
PATIENCE: Final = 60.0

#: An order for later that was due more than so many seconds ago, while the controller was not there, is not
#: given any more.
LATE: Final = 300.0

#: What a node says to an order that it has had already.
_GIVEN_BEFORE: Final = "nonce has been given before"

#: Kinds of order that take a server out of service.
LEAVING: Final = (Kind.DRAIN, Kind.OFFLINE)


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
        self._sign = sign
        self._claims = claims
        self._audit = audit
        self._wallClock = wallClock
        self._book = book
        # Those that are claimed and written down right now.
        self._beginning: dict[Case, None] = {}
        self._sweptOthers = 0.0
        self._started = 0.0
        self._linked: dict[str, tuple[str, float]] = {}
        self._stopped = False
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
        for member in self._fleet.members():
            if member.link is not None:
                self._linkUp(member.name, (member.hello.boot, member.since))
        self.queue.look()

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
        self._stopped = True
        self._fleet.unobserve(self._noticed)
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
        await self._store.putOrder(case.record)
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
        leaving = {case.record.node for case in self._beginning}
        leaving |= {
            case.record.node
            for case in self._book.cases.values()
            if case.kind in LEAVING and case.record.outcome is not Outcome.QUEUED
        }
        await self._claims.sweep(leaving)
        if self._clock.seconds() - self._sweptOthers >= EVERY:
            self._sweptOthers = self._clock.seconds()
            await self._claims.sweepOthers()

    # ------------------------------------------------------------------ sending

    async def _begin(self, case: Case) -> None:
        self._beginning[case] = None
        try:
            await self._beginNow(case)
        finally:
            del self._beginning[case]
        await self._send(case)

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
        try:
            await self._store.putOrder(record)
        except StoreError as error:
            # It may have been stored all the same, and must not be sent after the next start.
            self._book.cases.pop(record.id, None)
            case.record = replace(
                record, outcome=Outcome.FAILED, text=str(error), ended=now, result=NOT_ARRIVED
            )
            self._book.keep(case)
            raise
        case.record = record
        case.following = Following(record)
        self._book.cases[record.id] = case
        self._book.publish(record)

    async def _send(self, case: Case) -> None:
        record = case.record
        member = self._fleet.member(record.node)
        link = member.link
        if link is None:
            # It is looked at again when the link is back.
            return
        if member.hello.boot != record.boot and not case.sends:
            self._book.apply(case, (Outcome.FAILED, "its process began again just then"), NOT_ARRIVED)
            return
        case.sends += 1
        try:
            answer = await link.signed(self._sign(orderOf(record)))
        except OrderRefused as error:
            if case.sends > 1 and _GIVEN_BEFORE in str(error):
                # It has arrived; what came of it is still to be heard.
                self._lookLater(case, AGAIN)
            else:
                self._book.apply(case, (Outcome.REFUSED, str(error)))
        except Exception as error:
            self._doubt(case, error)
        else:
            self._answered(case, answer, link)

    def _doubt(self, case: Case, error: Exception) -> None:
        if not isinstance(error, SIPGraceError):
            self._log.failure("{id} could not be sent", id=case.record.id)
        if case.record.outcome is Outcome.SENT and not self._stopped:
            self._book.apply(case, (Outcome.SENT, f"not answered yet: {error}"))
            self._lookLater(case, SETTLED)

    def _answered(self, case: Case, answer: Answer, link: Any) -> None:
        self._book.apply(case, case.following.answered(answer.state), answer.result)
        if case.kind is Kind.REHEARSE and not case.ended:
            found = link.rehearsed(answer)
            found.addCallbacks(
                lambda facts: (Outcome.DONE, "", {"now": answer.result, "found": facts}),
                lambda failure: (Outcome.FAILED, failure.getErrorMessage(), answer.result),
            )
            found.addCallback(lambda end: self._book.apply(case, end[:2], end[2]))

    # ------------------------------------------------------------------ following

    def _noticed(self, notice: Notice) -> None:
        if "controller" in notice.facts:
            # Of another controller's node, whose orders that one follows.
            return
        if notice.kind == "event":
            boot = self._fleet.member(notice.node).hello.boot
            for case in self._book.of(notice.node):
                verdict = case.following.happened(boot, notice.facts)
                if verdict is not None:
                    self._book.apply(case, verdict)
        elif notice.kind == "node":
            facts = notice.facts
            if facts.get("linked") and self._linked.get(notice.node) != (facts["boot"], facts["since"]):
                self._linkUp(notice.node, (facts["boot"], facts["since"]))
            self.queue.lookSoon()
        elif notice.kind == "report":
            self._book.reported(notice.facts["report"])

    def _linkUp(self, node: str, link: tuple[str, float]) -> None:
        self._linked[node] = link
        for case in self._book.of(node):
            self._lookLater(case, SETTLED)

    def _lookLater(self, case: Case, seconds: float) -> None:
        if case.again is not None and case.again.active():
            case.again.cancel()
        if not (case.ended or self._stopped):
            case.again = self._clock.callLater(seconds, self._look, case)

    def _look(self, case: Case) -> None:
        """
        The node has told all that it had to tell: what is known now?
        """
        record = case.record
        try:
            member = self._fleet.member(record.node)
        except Unknown:
            return
        if member.link is None or case.ended:
            return
        if case.busy:
            self._lookLater(case, SETTLED)
            return
        verdict = case.following.found(member.hello.boot, member.standing)
        if verdict is not None:
            self._book.apply(case, verdict)
        elif record.outcome is Outcome.SENT:
            if self._wallClock() < record.order["expires"] - 1.0:
                self._lookLater(case, AGAIN)
                self._resend(case)
            else:
                text = "it was not carried out: it has expired before the node answered"
                self._book.apply(case, (Outcome.FAILED, text), NOT_ARRIVED)
        else:
            # The node has yet to say how it stands.
            self._lookLater(case, AGAIN)

    def _resend(self, case: Case) -> None:
        async def again() -> None:
            node = case.record.node
            leaving = case.kind in LEAVING and self._fleet.member(node).role == "server"
            if leaving and node not in self._claims.mine:
                await self._claims.take(node)
            await self._send(case)

        def failed(failure: Failure) -> None:
            if failure.check(NoRoom):
                self._book.apply(case, (Outcome.REFUSED, failure.getErrorMessage()))
            else:
                self._log.warn("{id} was not sent again: {why}", id=record.id, why=failure.getErrorMessage())

        record = case.record
        case.busy = True
        # It was sent before, by a former run of this controller perhaps.
        case.sends = max(case.sends, 1)

        def done(result: Any) -> Any:
            case.busy = False
            return result

        Deferred.fromCoroutine(again()).addBoth(done).addErrback(failed)


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
