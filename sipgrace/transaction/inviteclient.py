"""
The INVITE client transaction: RFC 3261 §17.1.1 with the state Accepted of RFC 6026 §7.2, and CANCEL (§9.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sipgrace.interfaces import IAssociation, IClientTransactionUser
from sipgrace.message import derive
from sipgrace.message.message import Request, Response

if TYPE_CHECKING:
    from sipgrace.transaction.layer import TransactionLayer

CALLING: Final = 0
PROCEEDING: Final = 1
COMPLETED: Final = 2
ACCEPTED: Final = 3
TERMINATED: Final = 4

_NO: Final = 0
_WANTED: Final = 1
_SENT: Final = 2

# A star: on unreliable transports alone; a plus: on reliable ones alone. "tell" gives the response to the
# transaction's user, "stray" to the layer's user, "again" sends the last request (INVITE, then ACK) once
# more, "fail" enters Terminated and tells the transaction's user why, "quit" enters it in silence, "set"
# starts a timer. /c: cancel() was asked for; /a: its user has abandoned it.
#
# |                | Calling         | Proceeding      | Completed       | Accepted        | Terminated      |
# |----------------|-----------------|-----------------|-----------------|-----------------|-----------------|
# | 1xx            | tell,           | tell            | -               | -               | stray           |
# |                | →Proceeding     |                 |                 |                 |                 |
# | 2xx            | set M, tell,    | set M, tell,    | stray           | tell            | stray           |
# |                | →Accepted       | →Accepted       |                 |                 |                 |
# | 3xx-6xx        | set D*, ACK,    | set D*, ACK,    | again           | -               | stray           |
# |                | tell,           | tell,           |                 |                 |                 |
# |                | →Completed*,    | →Completed*,    |                 |                 |                 |
# |                | quit+           | quit+           |                 |                 |                 |
# | timer A        | again*, set A*  | -               | -               | -               | -               |
# | timer B        | fail timeout    | -               | -               | -               | -               |
# | timer cancel   | -               | -               | -               | -               | -               |
# | timer D        | -               | -               | quit            | -               | -               |
# | timer M        | -               | -               | -               | quit            | -               |
# | cancel         | →Calling/c      | CANCEL, set     | -               | -               | -               |
# |                |                 | cancel,         |                 |                 |                 |
# |                |                 | →Proceeding/c   |                 |                 |                 |
# | abandon        | →Calling/a      | CANCEL, set     | -               | →Accepted/a     | -               |
# |                |                 | cancel,         |                 |                 |                 |
# |                |                 | →Proceeding/a   |                 |                 |                 |
# | lost           | fail lost       | fail lost       | quit            | quit            | -               |
#
# |                | Calling/c       | Proceeding/c    | Calling/a       | Proceeding/a    | Accepted/a      |
# |----------------|-----------------|-----------------|-----------------|-----------------|-----------------|
# | 1xx            | CANCEL, set     | tell            | CANCEL, set     | -               | -               |
# |                | cancel, tell,   |                 | cancel,         |                 |                 |
# |                | →Proceeding/c   |                 | →Proceeding/a   |                 |                 |
# | 2xx            | set M, tell,    | set M, tell,    | set M, stray,   | set M, stray,   | stray           |
# |                | →Accepted       | →Accepted       | →Accepted/a     | →Accepted/a     |                 |
# | 3xx-6xx        | set D*, ACK,    | set D*, ACK,    | set D*, ACK,    | set D*, ACK,    | -               |
# |                | tell,           | tell,           | →Completed*,    | →Completed*,    |                 |
# |                | →Completed*,    | →Completed*,    | quit+           | quit+           |                 |
# |                | quit+           | quit+           |                 |                 |                 |
# | timer A        | again*, set A*  | -               | -               | -               | -               |
# | timer B        | fail timeout    | -               | quit            | -               | -               |
# | timer cancel   | -               | fail timeout    | -               | quit            | -               |
# | timer D        | -               | -               | -               | -               | -               |
# | timer M        | -               | -               | -               | -               | quit            |
# | cancel         | -               | -               | -               | -               | -               |
# | abandon        | →Calling/a      | →Proceeding/a   | -               | -               | -               |
# | lost           | fail lost       | fail lost       | quit            | quit            | quit            |
#
# What Timer C is to a proxy lies there, not here: in Proceeding only the CANCEL sets a limit (§9.1). An
# abandoned INVITE that nobody has answered is not sent again: it might still start a call.


class InviteClient:
    """
    One INVITE that was sent.

    @ivar request: the INVITE, C{None} once it was answered finally and the user has been told.
    @ivar association: where it went; its ACK and CANCEL go there, too.
    @ivar user: who is told of responses and failure; C{None} once it has been abandoned or has no
        more to tell.
    @ivar finalStatus: the status of the first final response; 0 until then.
    @ivar state: one of this module's constants.
    """

    __slots__ = (
        "_branch", "_cancel", "_interval", "_last", "_layer", "_reason",
        "association", "finalStatus", "request", "state", "user",
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
        self._cancel = _NO
        self._reason = b""
        self._last = b""
        self._interval = 0.0
        self.request: Request | None = request
        self.association = association
        self.user = user
        self.finalStatus = 0
        self.state = CALLING

    def start(self) -> None:
        """
        Sends the INVITE. Where that fails C{user} is told C{'lost'} after this has returned.
        """
        assert self.request is not None
        layer = self._layer
        data = self.request.toBytes()
        if not self.association.send(data):
            layer.timers.soon(self.lost)
            return
        if self.state == CALLING:
            if not self.association.reliable:
                self._last = data
            # Most are answered before: these cost no Timer B.
            layer.firstA.set(self)

    def cancel(self, reason: bytes = b"") -> None:
        """
        Sends CANCEL once a provisional response is there (§9.1); does nothing after the final one. The
        INVITE goes on to its final response, 487 as a rule, or fails 64*T1 after the CANCEL.

        @param reason: the value of its Reason header (RFC 3326), or empty for none.
        """
        if self.state <= PROCEEDING and self._cancel == _NO:
            self._cancel = _WANTED
            self._reason = reason
            if self.state == PROCEEDING:
                self._sendCancel()

    def abandon(self) -> None:
        """
        As L{cancel}, and C{user} hears nothing more: a late 2xx goes to the layer's user, and all else
        nowhere.
        """
        self.cancel()
        self.user = None
        if self.state == CALLING:
            self._last = b""

    def responseReceived(self, response: Response, association: IAssociation) -> None:
        """
        A response that matches this transaction (§17.1.3).
        """
        status = response.status
        state = self.state
        if state <= PROCEEDING:
            if status < 200:
                if state == CALLING:
                    self.state = PROCEEDING
                    self._last = b""
                    if self._cancel == _WANTED:
                        self._sendCancel()
                if self.user is not None:
                    self.user.clientResponse(self, response)
                return
            self.finalStatus = status
            if status < 300:
                self._last = b""
                self.state = ACCEPTED
                self._layer.timerM.set(self)
                self._accepted(response, association)
            else:
                self._refused(response)
            self.request = None
        elif status >= 300:
            if state == COMPLETED:
                self.association.send(self._last)
        elif status >= 200:
            if state == ACCEPTED:
                self._accepted(response, association)
            else:
                # Forked further on, and picked up after another had refused.
                self._layer.user.responseReceived(response, association)

    def lost(self) -> None:
        """
        The association has gone.
        """
        self._end("" if self.finalStatus else "lost")

    def _accepted(self, response: Response, association: IAssociation) -> None:
        if self.user is not None:
            self.user.clientResponse(self, response)
        else:
            self._layer.user.responseReceived(response, association)

    def _refused(self, response: Response) -> None:
        assert self.request is not None
        user = self.user
        ack = derive.ackFor(self.request, response).toBytes()
        # Before anything is sent: sending may end the association, and this with it.
        self.state = COMPLETED
        # Nothing more is told; this need not keep its user as long as it stays.
        self.user = None
        if self.association.reliable:
            self._end("")
        else:
            self._last = ack
            self._layer.timers.after(self._layer.values.d, self._timerD)
        self.association.send(ack)
        if user is not None:
            user.clientResponse(self, response)

    def _sendCancel(self) -> None:
        assert self.request is not None
        self._cancel = _SENT
        layer = self._layer
        headers = ((b"Reason", self._reason),) if self._reason else ()
        layer.request(derive.cancelFor(self.request, headers), self.association, None)
        layer.timers.after(layer.values.b, self._timerCancel)

    def unanswered(self) -> None:
        """
        Timer A for the first time; or, on a reliable transport, nothing but the time at which Timer B is set.
        """
        if self.state == CALLING:
            values = self._layer.values
            self._layer.timers.after(values.b - values.a, self._timerB)
            self._interval = values.a
            self._timerA()

    def _timerA(self) -> None:
        if self.state == CALLING and self._last:
            self.association.send(self._last)
            self._interval *= 2
            self._layer.timers.after(self._interval, self._timerA)

    def _timerB(self) -> None:
        if self.state == CALLING:
            self._end("timeout")

    def _timerCancel(self) -> None:
        if self.state == PROCEEDING and self._cancel == _SENT:
            self._end("timeout")

    def _timerD(self) -> None:
        if self.state == COMPLETED:
            self._end("")

    def timerM(self) -> None:
        """
        RFC 6026 §7.2: no more 2xx are expected.
        """
        if self.state == ACCEPTED:
            self._end("")

    def _end(self, reason: str) -> None:
        if self.state == TERMINATED:
            return
        self.state = TERMINATED
        self._last = b""
        del self._layer.inviteClients[self._branch]
        user = self.user
        # The timers keep this object for a while; it must not keep its user with it.
        self.user = None
        if reason:
            if user is not None:
                user.clientFailed(self, reason)
            self.request = None
