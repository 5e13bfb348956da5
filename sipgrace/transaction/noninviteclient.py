"""
The client transaction of requests other than INVITE and ACK: RFC 3261 §17.1.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sipgrace.interfaces import IAssociation, IClientTransactionUser
from sipgrace.message.message import Request, Response

if TYPE_CHECKING:
    from sipgrace.transaction.layer import TransactionLayer

TRYING: Final = 0
PROCEEDING: Final = 1
COMPLETED: Final = 2
TERMINATED: Final = 3

# A star: on unreliable transports alone; a plus: on reliable ones alone. "tell" gives the response to the
# transaction's user, "stray" to the layer's user, "again" sends the request once more, "fail" enters
# Terminated and tells the transaction's user why, "quit" enters it in silence, "set" starts a timer.
# /a: its user has abandoned it.
#
# |                | Trying              | Proceeding          | Completed           | Terminated          |
# |----------------|---------------------|---------------------|---------------------|---------------------|
# | 1xx            | tell, →Proceeding   | tell                | -                   | stray               |
# | final          | set K*, tell,       | set K*, tell,       | -                   | stray               |
# |                | →Completed*, quit+  | →Completed*, quit+  |                     |                     |
# | timer E        | again*, set E*      | again*, set E*      | -                   | -                   |
# | timer F        | fail timeout        | fail timeout        | -                   | -                   |
# | timer K        | -                   | -                   | quit                | -                   |
# | abandon        | →Trying/a           | →Proceeding/a       | -                   | -                   |
# | lost           | fail lost           | fail lost           | quit                | -                   |
#
# |                | Trying/a                    | Proceeding/a                |
# |----------------|-----------------------------|-----------------------------|
# | 1xx            | →Proceeding/a               | -                           |
# | final          | set K*, →Completed*, quit+  | set K*, →Completed*, quit+  |
# | timer E        | -                           | -                           |
# | timer F        | quit                        | quit                        |
# | timer K        | -                           | -                           |
# | abandon        | -                           | -                           |
# | lost           | quit                        | quit                        |


class NonInviteClient:
    """
    One request other than INVITE and ACK that was sent.

    @ivar request: the request, C{None} once it was answered finally and the user has been told.
    @ivar method: of the request.
    @ivar association: where it went.
    @ivar user: who is told of responses and failure; C{None} once it has been abandoned or has no
        more to tell.
    @ivar finalStatus: the status of the final response; 0 until then.
    @ivar state: one of this module's constants.
    """

    __slots__ = (
        "_branch", "_interval", "_last", "_layer",
        "association", "finalStatus", "method", "request", "state", "user",
    )  # fmt: skip

    def __init__(
        self,
        layer: TransactionLayer,
        request: Request,
        association: IAssociation,
        user: IClientTransactionUser | None,
    ) -> None:
        self._layer = layer
        self._branch = request.branch
        self.method = request.method
        self._last = b""
        self._interval = 0.0
        self.request: Request | None = request
        self.association = association
        self.user = user
        self.finalStatus = 0
        self.state = TRYING

    def start(self) -> None:
        """
        Sends the request. Where that fails C{user} is told C{'lost'} after this has returned.
        """
        assert self.request is not None
        layer = self._layer
        data = self.request.toBytes()
        if not self.association.send(data):
            layer.timers.soon(self.lost)
            return
        if self.state == TRYING:
            if not self.association.reliable:
                self._last = data
            # Most are answered before: these cost no Timer F.
            layer.firstE.set(self)

    def abandon(self) -> None:
        """
        C{user} hears nothing more and the request is not sent again: for those with a time limit of
        their own, shorter than Timer F (RFC 4321 §1.5).
        """
        self.user = None
        if self.state <= PROCEEDING:
            self._last = b""

    def responseReceived(self, response: Response, association: IAssociation) -> None:
        """
        A response that matches this transaction (§17.1.3).
        """
        if self.state > PROCEEDING:
            return
        status = response.status
        user = self.user
        if status < 200:
            self.state = PROCEEDING
            if user is not None:
                user.clientResponse(self, response)
            return
        self.finalStatus = status
        self._last = b""
        self.state = COMPLETED
        if self.association.reliable:
            self._end("")
        else:
            self._layer.timerK.set(self)
        # Nothing more is told; this need not keep its user as long as it stays.
        self.user = None
        if user is not None:
            user.clientResponse(self, response)
        self.request = None

    def lost(self) -> None:
        """
        The association has gone.
        """
        self._end("" if self.finalStatus else "lost")

    def unanswered(self) -> None:
        """
        Timer E for the first time; or, on a reliable transport, nothing but the time at which Timer F is set.
        """
        if self.state <= PROCEEDING:
            values = self._layer.values
            self._layer.timers.after(values.f - values.e, self._timerF)
            self._interval = values.e
            self._timerE()

    def _timerE(self) -> None:
        if self.state <= PROCEEDING and self._last:
            values = self._layer.values
            self.association.send(self._last)
            self._interval = values.t2 if self.state == PROCEEDING else min(self._interval * 2, values.t2)
            self._layer.timers.after(self._interval, self._timerE)

    def _timerF(self) -> None:
        if self.state <= PROCEEDING:
            self._end("timeout")

    def timerK(self) -> None:
        """
        The response is not sent again any more.
        """
        if self.state == COMPLETED:
            self._end("")

    def _end(self, reason: str) -> None:
        if self.state == TERMINATED:
            return
        self.state = TERMINATED
        self._last = b""
        del self._layer.clients[self._branch]
        user = self.user
        # The timers keep this object for a while; it must not keep its user with it.
        self.user = None
        if reason:
            if user is not None:
                user.clientFailed(self, reason)
            self.request = None
