"""
One branch of a response context: a request that was sent to one target (RFC 3261 §16.6).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from sipgrace.interfaces import IAssociation, IClientTransactionUser
from sipgrace.message.message import Request, Response
from sipgrace.proxy.target import Target
from sipgrace.transaction.inviteclient import InviteClient
from sipgrace.transaction.noninviteclient import NonInviteClient

if TYPE_CHECKING:
    from sipgrace.proxy.context import ResponseContext


@implementer(IClientTransactionUser)
class Branch:
    """
    Sends the request of its context to one target and tells the context what came of it.

    @ivar answered: whether anything at all has come back.
    @ivar done: whether nothing more can come of it: a final response came, or it failed.
    @ivar outcome: why it failed: C{'timeout'}, C{'lost'} or C{'cancelled'}; empty before, and when there
        was an answer.
    @ivar abandoned: whether the next target was tried instead. What comes late is then put right: a
        provisional response by CANCEL, a 2xx by being forwarded as every 2xx must be.
    """

    __slots__ = ("abandoned", "answered", "cancelled", "context", "done", "outcome", "target", "transaction")

    def __init__(self, context: ResponseContext, target: Target) -> None:
        self.context = context
        self.target = target
        self.transaction: InviteClient | NonInviteClient | None = None
        self.answered = False
        self.done = False
        self.outcome = ""
        self.abandoned = False
        self.cancelled = False

    def start(self) -> None:
        """
        Sends the request, after making an association where there is none yet.
        """
        target = self.target
        if target.period and self.context.isInvite:
            self.context.core.timers.after(target.period, self._answerOverdue)
        if target.association is not None:
            self._send(target.association)
            return
        reached = self.context.core.role.reach(target)
        if isinstance(reached, Deferred):
            reached.addCallbacks(self._send, self._unreachable)
        else:
            self._send(reached)

    def _unreachable(self, failure: Failure) -> None:
        self._fail("lost")

    def _send(self, association: IAssociation) -> None:
        """
        RFC 3261 §16.6 steps 1 to 10.
        """
        if self.done:
            return
        context = self.context
        if self.cancelled or context.request is None:
            self._fail("cancelled")
            return
        core = context.core
        request: Request = context.request.copy()
        if self.target.uri is not None:
            request.uri = self.target.uri
        request.setMaxForwards(request.maxForwards - 1 if request.maxForwards >= 0 else 70)
        if core.settings.recordRoute and not context.inDialog:
            core.recordRoute(request, context.association, association)
        request.pushVia(core.newVia(association, context.loopHash))
        self.transaction = core.layer.request(request, association, self)

    def cancel(self, reason: bytes = b"") -> None:
        """
        Takes the request back (RFC 3261 §9.1), as soon as the other side has shown that it has it.

        @param reason: the value of the CANCEL's Reason header (RFC 3326), or empty for none.
        """
        if self.done or self.cancelled:
            return
        self.cancelled = True
        transaction = self.transaction
        if isinstance(transaction, InviteClient):
            transaction.cancel(reason)

    def _answerOverdue(self) -> None:
        """
        The response period is over.
        """
        if self.answered or self.done or self.abandoned:
            return
        self.abandoned = True
        self.outcome = "timeout"
        self.cancel()
        if self.transaction is None:
            self.done = True
        self.context.branchFailed(self, "timeout", None)

    def clientResponse(self, transaction: object, response: Response) -> None:
        """
        RFC 3261 §16.7 steps 1 to 3.
        """
        response.popVia()
        context = self.context
        if not self.answered:
            self.answered = True
            if not self.abandoned and context.isInvite:
                context.core.role.answered(context, self.target)
        if response.status < 200:
            if not self.abandoned:
                context.provisional(response)
            return
        self.done = True
        context.final(self, response)

    def clientFailed(self, transaction: object, reason: str) -> None:
        """
        No final response will come.
        """
        self._fail(reason)

    def _fail(self, reason: str) -> None:
        if self.done:
            return
        self.done = True
        self.outcome = reason
        if self.abandoned:
            self.context.settleIfDone()
        else:
            self.context.branchFailed(self, reason, None)
