"""
The INVITE server transaction: RFC 3261 §17.2.1 with the state Accepted of RFC 6026 §7.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sipgrace.interfaces import IAssociation, IServerTransactionUser
from sipgrace.message import derive
from sipgrace.message.message import Request, Response

if TYPE_CHECKING:
    from sipgrace.transaction.layer import TransactionLayer

TRYING: Final = 0
PROCEEDING: Final = 1
COMPLETED: Final = 2
CONFIRMED: Final = 3
ACCEPTED: Final = 4
TERMINATED: Final = 5

# A star: on unreliable transports alone; a plus: on reliable ones alone. Trying is the RFC's Proceeding
# before anything was answered. "again" sends the last response once more, "end" enters Terminated and
# tells the transaction's user why, "set" starts a timer, "pass" gives the ACK to the layer's user, "new"
# is a new transaction, for this one is no longer in the table. "unsent": the association did not take it.
#
# |                | Trying       | Proceeding   | Completed    | Confirmed    | Accepted     | Terminated   |
# |----------------|--------------|--------------|--------------|--------------|--------------|--------------|
# | INVITE         | -            | again*       | again*       | -            | -            | new          |
# | ACK            | -            | -            | →Confirmed*, | -            | pass         | pass         |
# |                |              |              | set I*, end  |              |              |              |
# |                |              |              | done+        |              |              |              |
# | 1xx            | send,        | send         | -            | -            | -            | -            |
# |                | →Proceeding  |              |              |              |              |              |
# | 2xx            | send, set L, | send, set L, | -            | -            | send         | -            |
# |                | →Accepted    | →Accepted    |              |              |              |              |
# | 3xx-6xx        | send, set    | send, set    | -            | -            | -            | -            |
# |                | G*, set H,   | G*, set H,   |              |              |              |              |
# |                | →Completed   | →Completed   |              |              |              |              |
# | 1xx unsent     | →Proceeding  | -            | -            | -            | -            | -            |
# | 2xx unsent     | end lost     | end lost     | -            | -            | -            | -            |
# | 3xx-6xx unsent | end lost     | end lost     | -            | -            | -            | -            |
# | timer 100      | send 100,    | -            | -            | -            | -            | -            |
# |                | →Proceeding  |              |              |              |              |              |
# | timer G        | -            | -            | again*, set  | -            | -            | -            |
# |                |              |              | G*           |              |              |              |
# | timer H        | -            | -            | end timeout  | -            | -            | -            |
# | timer I        | -            | -            | -            | end done     | -            | -            |
# | timer L        | -            | -            | -            | -            | end done     | -            |
# | lost           | end lost     | end lost     | end done     | end done     | end done     | -            |
#
# A duplicate on a reliable transport is a peer's fault; no bytes are kept for it.


class InviteServer:
    """
    One INVITE that was received and its answer.

    @ivar request: the INVITE, C{None} once its final response has left.
    @ivar association: where it came from and where its responses go.
    @ivar reliable: whether that is so of its transport.
    @ivar user: who is told when it ends; may be set at any time.
    @ivar finalStatus: the status of the final response that has left; 0 until then.
    @ivar state: one of this module's constants.
    @ivar answerTag: the To tag of the final response, where RFC 2543 matching needs it for the ACK.
    """

    __slots__ = (
        "_interval", "_key", "_last", "_layer",
        "answerTag", "association", "finalStatus", "legacy", "reliable", "request", "state", "user",
    )  # fmt: skip

    def __init__(
        self,
        layer: TransactionLayer,
        key: bytes,
        request: Request,
        association: IAssociation,
        legacy: bool = False,
    ) -> None:
        self._layer = layer
        self._key = key
        self._last = b""
        self._interval = 0.0
        self.request: Request | None = request
        self.association = association
        self.reliable: bool = association.reliable
        self.user: IServerTransactionUser | None = None
        self.finalStatus = 0
        self.state = TRYING
        self.legacy = legacy
        self.answerTag = b""

    def respond(self, response: Response) -> None:
        """
        Sends a provisional or the final response; after a 2xx, further 2xx (RFC 6026 §7.1). Whatever
        comes too late for the state that has been reached goes nowhere, quietly.

        When it returns, C{finalStatus} tells whether a final response has left. Where the association
        could not take it, C{user} has been told C{'lost'}.
        """
        status = response.status
        state = self.state
        if state <= PROCEEDING:
            data = response.toBytes()
            sent = self.association.send(data)
            if status < 200:
                if self.state <= PROCEEDING:
                    self.state = PROCEEDING
                    if not self.reliable:
                        self._last = data
                return
            # The state is looked at anew, for sending may have ended the association.
            if not sent or self.state > PROCEEDING:
                self._end("lost")
                return
            self.finalStatus = status
            self.request = None
            layer = self._layer
            if status < 300:
                self.state = ACCEPTED
                self._last = b""
                layer.timerL.set(self)
                return
            self.state = COMPLETED
            if self.legacy:
                self.answerTag = response.toTag
            if not self.reliable:
                self._last = data
                self._interval = layer.values.g
                layer.timers.after(layer.values.g, self._timerG)
            layer.timers.after(layer.values.h, self._timerH)
        elif state == ACCEPTED and 200 <= status < 300:
            self.association.send(response.toBytes())

    def requestReceived(self) -> None:
        """
        The INVITE was received again.
        """
        if self._last:
            self.association.send(self._last)

    def ackReceived(self, ack: Request, association: IAssociation) -> None:
        """
        An ACK that matches this transaction (§17.2.3).
        """
        state = self.state
        if state == COMPLETED:
            if self.reliable:
                self._end("done")
            else:
                self.state = CONFIRMED
                self._last = b""
                self._layer.timers.after(self._layer.values.i, self._timerI)
        elif state == ACCEPTED:
            # That of a 2xx has a branch of its own, but not from every peer.
            self._layer.user.ackReceived(ack, association)

    def lost(self) -> None:
        """
        The association has gone.
        """
        self._end("done" if self.finalStatus else "lost")

    def trying(self) -> None:
        """
        Timer of 200 ms (§17.2.1): nothing was answered yet.
        """
        if self.state == TRYING:
            assert self.request is not None
            self.respond(derive.respond(self.request, 100))

    def _timerG(self) -> None:
        if self.state == COMPLETED and self._last:
            values = self._layer.values
            self.association.send(self._last)
            self._interval = min(self._interval * 2, values.t2)
            self._layer.timers.after(self._interval, self._timerG)

    def _timerH(self) -> None:
        if self.state == COMPLETED:
            self._end("timeout")

    def _timerI(self) -> None:
        if self.state == CONFIRMED:
            self._end("done")

    def timerL(self) -> None:
        """
        RFC 6026 §7.1: the INVITE is not sent again any more.
        """
        if self.state == ACCEPTED:
            self._end("done")

    def _end(self, reason: str) -> None:
        if self.state == TERMINATED:
            return
        self.state = TERMINATED
        self.request = None
        self._last = b""
        del self._layer.inviteServers[self._key]
        user = self.user
        # The timers keep this object for a while; it must not keep its user with it.
        self.user = None
        if user is not None:
            user.serverTransactionEnded(self, reason)
