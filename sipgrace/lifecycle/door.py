"""
The one door that every order goes through, whichever way it comes: it is looked at, written down, and obeyed;
or refused, and that is written down.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from sipgrace.errors import OrderRefused
from sipgrace.lifecycle.approval import Approval
from sipgrace.lifecycle.aside import Beside
from sipgrace.lifecycle.audit import AuditLog, Refusals, stamp
from sipgrace.lifecycle.authorization import Authority, Giver, Grant, SignedRefused, Source
from sipgrace.lifecycle.events import State
from sipgrace.lifecycle.machine import Lifecycle
from sipgrace.lifecycle.orderform import SignedOrder, newNonce
from sipgrace.lifecycle.orders import Kind, Order

__all__ = ["Carried", "Door", "Obeyed"]

#: Ways by which an order must get through, come what may: a full disk must not keep a process from leaving,
#: nor a server from coming up.
_URGENT = (Source.SIGNAL, Source.PROCESS)

#: Ways by which an order is for the clients to approve of, where they are asked.
_ASKED = (Source.LINK, Source.SOCKET, Source.MANHOLE)

#: Whose orders those are that not every node takes.
_WHOSE = {Kind.SKIP: "client", Kind.UNSKIP: "client", Kind.REJECT: "server", Kind.ADMIT: "server"}


@dataclass(frozen=True, slots=True)
class Carried:
    """
    What came of an order that is not the lifecycle's.

    @ivar result: what is to be told at once, fit for JSON.
    @ivar later: what is to be told later; to the giver alone, like the former.
    """

    result: Any = None
    later: Deferred[Any] | None = None


@dataclass(slots=True, eq=False)
class Obeyed:
    """
    An order that was obeyed.

    @ivar order: the order, with a nonce by which the audit log knows it.
    @ivar number: what it did, and all that comes after, is told in events of a higher number.
    @ivar state: where the element stands now.
    @ivar result: what a rehearsal found; C{None} for most other kinds.
    @ivar later: what it has found when it is over; C{None} for all other kinds.
    """

    order: Order
    number: int
    state: State
    result: Any = None
    later: Deferred[Any] | None = None
    _outcome: State | Failure | None = None
    _waiting: list[Deferred[State]] = field(default_factory=list)
    _going: bool = False

    def whenEnded(self) -> Deferred[State]:
        """
        @return: fires with the state in which a drain or a return to service ended, and fails with what kept
            the element from returning; for all other kinds at once with C{state}.
        """
        if self._outcome is not None:
            return fail(self._outcome) if isinstance(self._outcome, Failure) else succeed(self._outcome)
        if not self._going:
            return succeed(self.state)
        waiting: Deferred[State] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def follow(self, ended: Deferred[State]) -> None:
        """
        Has L{whenEnded} wait for something.
        """
        self._going = True
        ended.addBoth(self._ended)

    def _ended(self, outcome: State | Failure) -> None:
        self._outcome = outcome
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(outcome)


class Door:
    """
    Where orders for one element are given.

    @cvar PATIENCE: how many seconds the audit log may take for a record before the order is refused.
    @cvar HURRY: how many it may take where the order is obeyed all the same.
    @ivar lifecycle: whose orders these are.
    @ivar kinds: what carries out the kinds of order that are not the lifecycle's: is called with the order,
        and raises L{OrderRefused}, or fails with it where it takes a while.
    @ivar checks: what looks at an order before it is obeyed, whatever its kind, and raises L{OrderRefused}.
    @ivar approval: how clients are asked, where they are.
    @ivar reached: fires when what was obeyed so far holds in all processes of the element, which is waited
        for before an order is said to be obeyed; C{None} where there is but one.
    """

    PATIENCE = 10.0
    HURRY = 1.0

    _log = Logger()

    def __init__(
        self,
        node: str,
        clock: IReactorTime,
        lifecycle: Lifecycle,
        authority: Authority | None = None,
        audit: AuditLog | None = None,
        beside: Beside | None = None,
        wallClock: Callable[[], float] = time.time,
    ) -> None:
        """
        @param node: the element's name.
        @param beside: where nonces are written to the disk; needed with keys.
        """
        self._node = node
        self._clock = clock
        self.lifecycle = lifecycle
        self.authority = Authority(node) if authority is None else authority
        self._audit = audit
        self._refusals = Refusals()
        self._beside = beside
        self._wallClock = wallClock
        self.approval: Approval | None = None
        self.checks: list[Callable[[Order], None]] = []
        self.kinds: dict[Kind, Callable[[Order], Carried | Deferred[Carried]]] = {}
        self.reached: Callable[[], Deferred[None]] | None = None

    # ------------------------------------------------------------------ giving

    def give(self, order: Order, giver: Giver) -> Deferred[Obeyed]:
        """
        Gives an order that bears no signature.

        @return: fires when it was obeyed, at once where nothing has to be waited for; fails with
            L{OrderRefused}, which says why.
        """
        return Deferred.fromCoroutine(self._give(order, giver))

    def take(self, signed: SignedOrder, giver: Giver) -> Deferred[Obeyed]:
        """
        Gives an order that is signed; as L{give}.
        """
        return Deferred.fromCoroutine(self._take(signed, giver))

    def giveNow(self, order: Order, giver: Giver) -> Obeyed:
        """
        Gives an order of the lifecycle's that is obeyed before this returns: for a process that is ending. It
        is written down first, if that can be done within a second.

        @raise OrderRefused: where it does not fit.
        """
        grant = Grant(_named(order), giver.role)
        # A disk that was waited for in vain is not waited for again.
        answers = self._writeNow(grant, giver, "order")
        try:
            obeyed, ended = self._obey(grant.order)
        except OrderRefused as error:
            self._writeNow(grant, giver, "refused", str(error), answers)
            raise
        self._writeNow(grant, giver, "obeyed", "", answers)
        self._follow(obeyed, ended)
        return obeyed

    async def _give(self, order: Order, giver: Giver) -> Obeyed:
        order = _named(order)
        try:
            grant = self.authority.unsigned(order, giver)
        except OrderRefused as error:
            if self._worthNoting(giver):
                self._note(Grant(order, giver.role), giver, "refused", str(error))
            raise
        return await self._granted(grant, giver)

    async def _take(self, signed: SignedOrder, giver: Giver) -> Obeyed:
        try:
            grant = await self.authority.signed(signed, giver, self._wallClock())
        except OrderRefused as error:
            if self._worthNoting(giver):
                self._log.warn(
                    "an order from {giver} is refused: {reason}", giver=giver.name, reason=str(error)
                )
                self._noteFacts(self._refusedSigned(signed, giver, error))
            raise
        if grant.key and self._beside is not None:
            # Before anything is waited for: what was given once is not obeyed later on, whatever comes of it
            # now, and whatever becomes of this process.
            remembering = self.authority.remembering(grant.order, self._wallClock())
            try:
                await self._written(self._beside(remembering), grant, giver)
            except OrderRefused as error:
                self._note(grant, giver, "refused", str(error))
                raise
        return await self._granted(grant, giver)

    def _refusedSigned(self, signed: SignedOrder, giver: Giver, error: OrderRefused) -> dict[str, Any]:
        reason = str(error)
        if isinstance(error, SignedRefused) and error.key:
            if error.order is not None:
                return self._all(Grant(error.order, error.role, error.key), giver, "refused", reason)
            facts = {**self._facts(giver, "refused", reason), "key": error.key}
        else:
            facts = self._facts(giver, "refused", reason)
        # What it says of itself proves nothing.
        return {**facts, "claimed": {"key": signed.key[:100], "order": signed.text[:1000]}}

    async def _granted(self, grant: Grant, giver: Giver) -> Obeyed:
        order = grant.order
        try:
            if (
                self.approval is not None
                and order.kind is Kind.DRAIN
                and giver.source in _ASKED
                and self.lifecycle.status().state is State.SERVING
            ):
                await self.approval.consult(order)
            if self._audit is not None:
                await self._written(self._audit.record(self._all(grant, giver, "order")), grant, giver)
            obeyed, ended = await self._carryOut(order)
        except OrderRefused as error:
            self._note(grant, giver, "refused", str(error))
            raise
        self._note(grant, giver, "obeyed")
        self._follow(obeyed, ended)
        if self.reached is not None:
            await self.reached()
        return obeyed

    # ------------------------------------------------------------------ obeying

    async def _carryOut(self, order: Order) -> tuple[Obeyed, Deferred[State] | None]:
        other = self.kinds.get(order.kind)
        if other is None:
            return self._obey(order)
        number = self.lifecycle.number
        self._check(order)
        carried = other(order)
        if isinstance(carried, Deferred):
            carried = await carried
        state = self.lifecycle.status().state
        return Obeyed(order, number, state, carried.result, carried.later), None

    def _check(self, order: Order) -> None:
        for check in self.checks:
            check(order)

    def _obey(self, order: Order) -> tuple[Obeyed, Deferred[State] | None]:
        """
        Obeys an order that is the lifecycle's.
        """
        lifecycle = self.lifecycle
        number = lifecycle.number
        ended: Deferred[State] | None = None
        self._check(order)
        if order.kind is Kind.DRAIN:
            ended = lifecycle.drain(order)
        elif order.kind is Kind.CANCEL:
            lifecycle.cancel(order)
        elif order.kind is Kind.EXTEND:
            if order.guard is None:
                raise OrderRefused("extend: no time is given; seconds above 0 are expected")
            lifecycle.extend(order.guard, order)
        elif order.kind is Kind.RESUME:
            ended = lifecycle.resume(order)
        elif order.kind is Kind.OFFLINE:
            lifecycle.offline(order)
        else:
            whose = _WHOSE.get(order.kind)
            hint = f"; it is one for a {whose}" if whose else ""
            raise OrderRefused(f"{order.kind} is no order for {self._node}{hint}")
        return Obeyed(order, number, lifecycle.status().state), ended

    def _follow(self, obeyed: Obeyed, ended: Deferred[State] | None) -> None:
        if ended is not None:
            order = obeyed.order
            obeyed.follow(
                ended.addCallbacks(self._ended, self._failed, callbackArgs=(order,), errbackArgs=(order,))
            )

    def _ended(self, state: State, order: Order) -> State:
        self._noteFacts({**self._end(order), "state": str(state)})
        return state

    def _failed(self, failure: Failure, order: Order) -> Failure:
        self._noteFacts({**self._end(order), "reason": failure.getErrorMessage()})
        return failure

    # ------------------------------------------------------------------ writing down

    def remark(self, order: Order, what: str, facts: dict[str, Any]) -> None:
        """
        Writes down what came of an order later on.
        """
        self._noteFacts({**self._end(order), "what": what, **facts})

    def noted(self, giver: Giver, what: str, facts: dict[str, Any]) -> None:
        """
        Writes down what somebody has said that is no order.
        """
        self._noteFacts({**self._facts(giver, what), **facts})

    def _facts(self, giver: Giver, what: str, reason: str = "") -> dict[str, Any]:
        facts = {
            "at": stamp(self._wallClock()),
            "node": self._node,
            "what": what,
            "source": str(giver.source),
            "by": giver.name,
        }
        return {**facts, "reason": reason} if reason else facts

    def _end(self, order: Order) -> dict[str, Any]:
        return {
            "at": stamp(self._wallClock()),
            "node": self._node,
            "what": "ended",
            "id": order.nonce,
            "kind": str(order.kind),
        }

    def _all(self, grant: Grant, giver: Giver, what: str, reason: str = "") -> dict[str, Any]:
        facts = self._facts(giver, what, reason)
        facts |= {"id": grant.order.nonce, "role": str(grant.role)}
        if grant.key:
            facts["key"] = grant.key
        return facts | {"order": grant.order.facts()}

    async def _written(self, written: Deferred[Any], grant: Grant, giver: Giver) -> None:
        """
        Waits until something about an order is on the disk, before it is obeyed.

        @raise OrderRefused: where that cannot be, and the order can wait.
        """
        urgent = giver.source in _URGENT
        try:
            await self._soon(written, urgent)
        except Exception as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else repr(error)
            if not urgent:
                self._log.error("the audit log cannot be written: {reason}", reason=reason)
                raise OrderRefused(
                    f"the order cannot be written into the audit log ({reason}), and is not obeyed; "
                    f"once that is put right, give it again"
                ) from None
            self._log.critical(
                "{kind} by {who} is obeyed although the audit log cannot be written: {reason}",
                kind=str(grant.order.kind),
                who=giver.name,
                reason=reason,
            )

    def _soon(self, written: Deferred[Any], urgent: bool) -> Deferred[Any]:
        limit = self.HURRY if urgent else self.PATIENCE

        def late(result: object, seconds: float) -> None:
            raise TimeoutError(f"no answer from the disk within {seconds:g} s")

        # What is under way in a thread cannot be taken back, and may still be written.
        fork: Deferred[Any] = Deferred()
        written.addBoth(lambda result: None if fork.called else fork.callback(result))
        return fork.addTimeout(limit, self._clock, late)

    def _note(self, grant: Grant, giver: Giver, what: str, reason: str = "") -> None:
        if what == "refused":
            self._log.info(
                "{kind} from {giver} is refused: {reason}",
                kind=str(grant.order.kind),
                giver=giver.name,
                reason=reason,
            )
        elif giver.source not in _URGENT and grant.order.kind is not Kind.REHEARSE:
            # Signals are logged where they come in. Rehearsals, which change nothing, may be many.
            self._log.info(
                "{kind} from {giver} ({source}) is obeyed{why}",
                kind=str(grant.order.kind),
                giver=giver.name,
                source=str(giver.source),
                why=f": {grant.order.why}" if grant.order.why else "",
            )
        self._noteFacts(self._all(grant, giver, what, reason))

    def _worthNoting(self, giver: Giver) -> bool:
        """
        Whether one more order that its giver may not give is; of others, the next record of the audit log
        says how many there were. (Those of whoever may, and which do not fit, are in it before they are
        looked at, and so are their refusals.)
        """
        number = self._refusals.count((giver.source, giver.name), self._clock.seconds())
        if number <= Refusals.MOST:
            return True
        if number == Refusals.MOST + 1:
            self._log.warn(
                "{giver} may not give what it orders again and again; for {seconds:g} s that is only counted",
                giver=giver.name,
                seconds=Refusals.WINDOW,
            )
        if self._audit is not None:
            self._audit.leaveOut()
        return False

    def _noteFacts(self, facts: dict[str, Any]) -> None:
        if self._audit is not None:
            self._audit.note(facts)

    def _writeNow(
        self, grant: Grant, giver: Giver, what: str, reason: str = "", answers: bool = True
    ) -> bool:
        if self._audit is None:
            return True
        return self._audit.recordNow(self._all(grant, giver, what, reason), answers)


def _named(order: Order) -> Order:
    return order if order.nonce else replace(order, nonce=newNonce())
