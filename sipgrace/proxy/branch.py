"""
One branch of a response context: a request that was sent to one target (RFC 3261 §16.6).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import classImplements

from sipgrace.errors import ParseError
from sipgrace.interfaces import IAssociation, IClientTransactionUser
from sipgrace.message.message import Request, Response
from sipgrace.proxy.ghost import Ghost
from sipgrace.proxy.target import Target
from sipgrace.transaction.inviteclient import InviteClient
from sipgrace.transaction.inviteserver import InviteServer
from sipgrace.transaction.noninviteclient import NonInviteClient

if TYPE_CHECKING:
    from sipgrace.proxy.context import ResponseContext
    from sipgrace.proxy.core import ProxyCore

#: These neither begin a dialog nor change where its parties are; all others, unknown ones too, may
#: (RFC 3261 §16.6 step 4).
_NO_DIALOG: Final = frozenset((b"BYE", b"INFO", b"MESSAGE", b"OPTIONS", b"PRACK", b"PUBLISH", b"REGISTER"))


class Onward:
    """
    What is left of a branch that has set up a call, when the call's context is settled: further 2xx go up
    (RFC 6026 §7). One is kept for half a minute for each call, and hardly one is asked, so it is small.
    """

    __slots__ = ("_core", "_server", "_target")

    def __init__(self, core: ProxyCore, server: InviteServer, target: Target | None) -> None:
        """
        @param target: for those who listen to what it sends, where there are such.
        """
        self._core = core
        self._server = server
        self._target = target

    def clientResponse(self, transaction: object, response: Response) -> None:
        """
        See L{Branch.clientResponse}.
        """
        core = self._core
        if core.heard is not None and self._target is not None:
            core.heard(response, self._target)
        try:
            response.popVia()
        except ParseError:
            return
        if response.sentBy:
            core.passUp(self._server, response)

    def clientFailed(self, transaction: object, reason: str) -> None:
        """
        See L{Branch.clientFailed}. What was answered does not.
        """


class Branch:
    """
    Sends the request of its context to one target and tells the context what came of it.

    @ivar answered: whether anything at all has come back.
    @ivar done: whether nothing more can come of it: a final response came, or it failed.
    @ivar outcome: why it failed: C{'timeout'}, C{'lost'}, C{'clogged'} or C{'cancelled'}; empty before, and
        when there was an answer.
    @ivar abandoned: whether the next target was tried instead. What comes late is then put right: a
        provisional response by CANCEL, a 2xx by being forwarded as every 2xx must be.
    @ivar cancelled: whether it was taken back.
    """

    _log: ClassVar[Logger] = Logger()

    __slots__ = (
        "_ghost",
        "_reaching",
        "_reason",
        "_sentAt",
        "_transaction",
        "abandoned",
        "answered",
        "cancelled",
        "context",
        "done",
        "outcome",
        "target",
    )

    def __init__(self, context: ResponseContext, target: Target) -> None:
        self.context = context
        self.target = target
        self.answered = False
        self.done = False
        self.outcome = ""
        self.abandoned = False
        self.cancelled = False
        self._sentAt = 0.0
        self._reaching: Deferred[None] | None = None
        self._transaction: InviteClient | NonInviteClient | None = None
        self._reason = b""
        self._ghost: Ghost | None = None

    def start(self) -> None:
        """
        Sends the request, after making an association where there is none yet.
        """
        target = self.target
        if self.context.isInvite and self.context.core.busy is not None:
            self.context.core.busy(target, 1)
        if target.period and self.context.isInvite:
            self.context.core.timers.after(target.period, self._answerOverdue)
        if target.association is not None:
            self._send(target.association)
            return
        reached = self.context.core.role.reach(target)
        if isinstance(reached, Deferred):
            self._reaching = reached.addCallbacks(self._send, self._unreachable).addErrback(self._broken)
        else:
            self._send(reached)

    def _unreachable(self, failure: Failure) -> None:
        self._fail("cancelled" if self.cancelled else "lost")

    def _broken(self, failure: Failure) -> None:
        """
        An error of ours, on no way back to whoever would log it; the next target may fare better.
        """
        self._log.failure("a request could not be sent to {target!r}", failure, target=self.target)
        self._fail("lost")

    def _send(self, association: IAssociation) -> None:
        """
        RFC 3261 §16.6 steps 1 to 10.
        """
        context = self.context
        if context.request is None:
            return
        core = context.core
        paced = context.isInvite and association.reliable
        if (
            paced
            and not context.inDialog
            and core.paces.full(association)
            and not core.priorities.covers(context.request)
        ):
            self._fail("clogged")
            return
        request: Request = context.request.copy()
        if self.target.uri is not None:
            request.uri = self.target.uri
        request.setMaxForwards(request.maxForwards - 1 if request.maxForwards >= 0 else 70)
        if core.settings.recordRoute and request.method not in _NO_DIALOG:
            core.recordRoute(request, context.association, association)
        if request.contentLength < 0 and association.reliable:
            request.ensureContentLength()
        core.trail.sign(request, association, context.mark)
        self._transaction = core.layer.request(request, association, self)
        if paced:
            self._sentAt = core.paces.sent(association)

    def cancel(self, reason: bytes = b"") -> None:
        """
        Takes the request back (RFC 3261 §9.1), as soon as the other side has shown that it has it.

        @param reason: the value of the CANCEL's Reason header (RFC 3326), or empty for none.
        """
        if self.done or self.cancelled:
            return
        self.cancelled = True
        self._reason = reason
        transaction = self._transaction
        if transaction is None:
            if self._reaching is not None:
                self._reaching.cancel()
            self._fail("cancelled")
        elif isinstance(transaction, InviteClient):
            transaction.cancel(reason)

    def _answerOverdue(self) -> None:
        """
        The response period is over.
        """
        if self.answered or self.done:
            return
        self._waited()
        self.abandoned = True
        self.cancel()
        self.outcome = "timeout"
        self.context.branchFailed(self, "timeout", None)

    def clientResponse(self, transaction: object, response: Response) -> None:
        """
        RFC 3261 §16.7 steps 1 to 3.
        """
        context = self.context
        if context.core.heard is not None:
            context.core.heard(response, self.target)
        if not self.answered:
            self.answered = True
            self._waited()
            if not self.abandoned and context.isInvite:
                context.core.role.answered(context, self.target)
        try:
            response.popVia(context.request)
        except ParseError:
            response.sentBy = b""
        if not response.sentBy:
            # Whose Vias were spoiled on the way cannot be answered with this.
            if response.status >= 200:
                if response.status < 300 and context.isInvite:
                    self.endGhost(response)
                self._fail("lost")
            return
        if response.status < 200:
            if not self.abandoned:
                context.provisional(response)
            return
        self._end()
        context.final(self, response)

    def endGhost(self, response: Response) -> None:
        """
        Ends the call that this 2xx has set up: nobody upstream can be given it.
        """
        self.ghost(response)()

    def ghost(self, response: Response) -> Callable[[], None]:
        """
        @return: what is to be called where that turns out later.
        """
        if self._ghost is None:
            transaction = self._transaction
            if transaction is None or transaction.request is None:
                return lambda: None
            self._ghost = Ghost(self.context.core, transaction.request, transaction.association, self._reason)
        return partial(self._ghost.answered, response)

    def letGo(self, server: InviteServer) -> None:
        """
        Its context is settled, and needs to hear of nothing but further 2xx, if that.
        """
        transaction = self._transaction
        if not isinstance(transaction, InviteClient) or transaction.user is not self:
            return
        if self.done and self._ghost is None:
            core = self.context.core
            transaction.user = Onward(core, server, None if core.heard is None else self.target)

    def clientFailed(self, transaction: object, reason: str) -> None:
        """
        No final response will come.
        """
        self._fail(reason)

    def _end(self) -> None:
        if not self.done:
            self.done = True
            self._waited()
            if self.context.core.busy is not None and self.context.isInvite:
                self.context.core.busy(self.target, -1)

    def _waited(self) -> None:
        """
        The INVITE waits for its first response no longer.
        """
        if self._sentAt and self._transaction is not None:
            self.context.core.paces.heard(self._transaction.association, self._sentAt, self.answered)
            self._sentAt = 0.0

    def _fail(self, reason: str) -> None:
        if self.done:
            return
        self._end()
        self.outcome = reason
        if self.abandoned:
            self.context.settleIfDone()
        else:
            self.context.branchFailed(self, reason, None)


classImplements(Branch, IClientTransactionUser)
classImplements(Onward, IClientTransactionUser)
