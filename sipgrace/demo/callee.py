"""
A user who is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import implementer

from sipgrace.demo.dialog import Dialog
from sipgrace.demo.hangup import HangUp
from sipgrace.interfaces import IServerTransactionUser
from sipgrace.message.derive import respond
from sipgrace.message.message import Request, Response
from sipgrace.transaction.inviteserver import InviteServer

if TYPE_CHECKING:
    from sipgrace.demo.phone import Phone

#: Seconds from the INVITE to the 180.
MOMENT = 0.05


@implementer(IServerTransactionUser)
class Callee:
    """
    The called side of one call.
    """

    def __init__(self, phone: Phone, transaction: InviteServer, request: Request) -> None:
        self._phone = phone
        self._transaction = transaction
        self._request: Request | None = request
        self._tag = phone.token()
        self._dialog = Dialog.ofCallee(request, self._tag)
        user = request.uri.partition(b":")[2].partition(b"@")[0]
        self._headers = (
            (b"Contact", phone.contact(user)),
            *((b"Record-Route", route) for route in self._dialog.routes),
        )
        self._answer: Response | None = None
        self._answeredAt = 0.0
        self._interval = 0.0
        self._over = False

    def start(self) -> None:
        """
        Rings a moment later, answers when it has rung for long enough.
        """
        self._transaction.user = self
        ring = self._phone.plan.ring
        self._phone.later(min(MOMENT, ring / 2), self._respond, 180)
        self._phone.later(ring, self._pickUp)

    def _respond(self, status: int) -> Response | None:
        request = self._request
        if request is None or self._over:
            return None
        response = respond(request, status, toTag=self._tag, headers=self._headers)
        self._transaction.respond(response)
        return response

    def _pickUp(self) -> None:
        self._answer = self._respond(200)
        if self._answer is None:
            return
        self._request = None
        self._answeredAt = self._phone.clock.seconds()
        self._interval = self._phone.layer.values.t1
        self._phone.timers.after(self._interval, self._again)

    def _again(self) -> None:
        """
        The 200 is sent until its ACK is here (RFC 3261 §13.3.1.4).
        """
        if self._answer is None or self._over:
            return
        values = self._phone.layer.values
        if self._phone.clock.seconds() - self._answeredAt > 64 * values.t1:
            self._ended("failed", "no ACK reached the callee")
            return
        self._phone.book.repeated += 1
        self._transaction.respond(self._answer)
        self._interval = min(2 * self._interval, values.t2)
        self._phone.timers.after(self._interval, self._again)

    def ackReceived(self) -> None:
        """
        The caller has the 200.
        """
        if self._answer is None:
            return
        self._answer = None
        call = self._phone.book.calls.get(self._dialog.callId)
        if call is not None and call.byCallee:
            self._phone.later(self._phone.plan.hold, self._hangUp)

    def byeReceived(self) -> None:
        """
        The caller has hung up.
        """
        self._gone()

    def cancelled(self) -> None:
        """
        The caller, or a proxy on the way, gave up.
        """
        if self._respond(487) is not None:
            self._gone()

    def serverTransactionEnded(self, transaction: object, reason: str) -> None:
        """
        See L{IServerTransactionUser}.
        """

    def _hangUp(self) -> None:
        if not self._over:
            HangUp(self._phone, self._dialog, self._ended).start()

    def _ended(self, outcome: str, why: str = "") -> None:
        call = self._phone.book.calls.get(self._dialog.callId)
        if call is not None:
            self._phone.book.end(call, outcome, why)
        self._gone()

    def _gone(self) -> None:
        self._over = True
        self._request = self._answer = None
        self._phone.calleeGone(self._dialog.callId)
