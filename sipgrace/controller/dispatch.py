"""
Orders on their way: sent, followed by what their nodes tell, and sent once more where it is not known whether
they have arrived.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from sipgrace.control.remote import Answer
from sipgrace.controller.casebook import Case, Casebook
from sipgrace.controller.claims import LEAVING, Claims, NoRoom
from sipgrace.controller.facts import Notice, Outcome
from sipgrace.controller.fleet import Fleet
from sipgrace.controller.following import NOT_ARRIVED
from sipgrace.controller.records import storable
from sipgrace.controller.wanted import orderOf
from sipgrace.errors import OrderRefused, SIPGraceError, Unknown
from sipgrace.lifecycle.orderform import SignedOrder
from sipgrace.lifecycle.orders import Kind, Order

__all__ = ["Dispatch"]

#: So many seconds after a link came up all that a node had to tell again has been told.
SETTLED: Final = 2.0

#: What was not answered is looked at again after so many seconds.
AGAIN: Final = 5.0

#: What a node says to an order that it has had already.
_GIVEN_BEFORE: Final = "nonce has been given before"


class Dispatch:
    """
    Sends and follows.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        fleet: Fleet,
        book: Casebook,
        sign: Callable[[Order], SignedOrder],
        claims: Claims,
        wallClock: Callable[[], float],
    ) -> None:
        self._clock = clock
        self._fleet = fleet
        self._book = book
        self._sign = sign
        self._claims = claims
        self._wallClock = wallClock
        self._linked: dict[str, tuple[str, float]] = {}
        self._stopped = False

    def start(self) -> None:
        """
        Begins to follow.
        """
        self._fleet.observe(self._noticed)
        for member in self._fleet.members():
            if member.link is not None:
                self._linkUp(member.name, (member.hello.boot, member.since))

    def stop(self) -> None:
        """
        Follows nothing any more.
        """
        self._stopped = True
        self._fleet.unobserve(self._noticed)

    async def send(self, case: Case) -> None:
        """
        Sends an order that is stored.
        """
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
        result = storable(answer.result)
        self._book.apply(case, case.following.answered(answer.state), result)
        if case.kind is Kind.REHEARSE and not case.ended:
            found = link.rehearsed(answer)
            found.addCallbacks(
                lambda facts: (Outcome.DONE, "", {"now": result, "found": storable(facts)}),
                lambda failure: (Outcome.FAILED, failure.getErrorMessage(), result),
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
            if facts.get("forgotten"):
                self._linked.pop(notice.node, None)
            if facts.get("linked") and self._linked.get(notice.node) != (facts["boot"], facts["since"]):
                self._linkUp(notice.node, (facts["boot"], facts["since"]))
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
            await self.send(case)

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
