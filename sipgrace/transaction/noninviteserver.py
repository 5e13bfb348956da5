"""
The server transaction of requests other than INVITE and ACK: RFC 3261 §17.2.2 with the rules of RFC 4320 §4:
no provisional response but 100, that one late, and no 408.
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
TERMINATED: Final = 3

# A star: on unreliable transports alone; a plus: on reliable ones alone. "again" sends the last response
# once more, "end" enters Terminated and tells the transaction's user why, "set" starts a timer, "new" is a
# new transaction, for this one is no longer in the table. "unsent": the association did not take it.
#
# |                | Trying              | Proceeding          | Completed           | Terminated          |
# |----------------|---------------------|---------------------|---------------------|---------------------|
# | request        | -                   | again*              | again*              | new                 |
# | 100            | send+, →Proceeding+ | send                | -                   | -                   |
# | 101-199        | -                   | -                   | -                   | -                   |
# | 408            | →Completed*, set    | →Completed*, set    | -                   | -                   |
# |                | J*, end done+       | J*, end done+       |                     |                     |
# | final          | send, →Completed*,  | send, →Completed*,  | -                   | -                   |
# |                | set J*, end done+   | set J*, end done+   |                     |                     |
# | final unsent   | end lost            | end lost            | -                   | -                   |
# | timer late     | send 100, set       | set expiry          | -                   | -                   |
# |                | expiry, →Proceeding |                     |                     |                     |
# | timer expiry   | end timeout         | end timeout         | -                   | -                   |
# | timer J        | -                   | -                   | end done            | -                   |
# | lost           | end lost            | end lost            | end done            | -                   |
#
# 408 is taken for final, but nobody hears it: the client has timed out by then, and its copy would do harm
# further up (RFC 4320 §4.2). Timer late comes when the client's Timer E has reached T2 (§4.1). The expiry
# comes 64*T1 after the request: the client has given up, so that no answer is of use any more.


class NonInviteServer:
    """
    One request other than INVITE and ACK that was received, and its answer.

    @ivar request: the request, C{None} once its final response has left.
    @ivar association: where it came from and where its responses go.
    @ivar reliable: whether that is so of its transport.
    @ivar user: who is told when it ends; may be set at any time.
    @ivar finalStatus: the status of the final response that has left (a 408: that was given and
        withheld); 0 until then.
    @ivar state: one of this module's constants.
    """

    __slots__ = (
        "_key", "_last", "_layer",
        "association", "finalStatus", "reliable", "request", "state", "user",
    )  # fmt: skip

    def __init__(
        self, layer: TransactionLayer, key: bytes, request: Request, association: IAssociation
    ) -> None:
        self._layer = layer
        self._key = key
        self._last = b""
        self.request: Request | None = request
        self.association = association
        self.reliable: bool = association.reliable
        self.user: IServerTransactionUser | None = None
        self.finalStatus = 0
        self.state = TRYING

    def respond(self, response: Response) -> None:
        """
        Sends 100 where RFC 4320 allows it, or the final response unless it is 408. Whatever comes too
        late for the state that has been reached goes nowhere, quietly.

        When it returns, C{finalStatus} tells whether a final response has left. Where the association
        could not take it, C{user} has been told C{'lost'}.
        """
        if self.state >= COMPLETED:
            return
        status = response.status
        reliable = self.reliable
        if status < 200:
            if status == 100 and (reliable or self.state == PROCEEDING):
                self._provisional(response)
            return
        data = b""
        if status != 408:
            data = response.toBytes()
            # The state is looked at anew, for sending may have ended the association.
            if not self.association.send(data) or self.state >= COMPLETED:
                self._end("lost")
                return
        self.finalStatus = status
        self.request = None
        self.state = COMPLETED
        if reliable:
            self._end("done")
        else:
            self._last = data
            self._layer.timerJ.set(self)

    def requestReceived(self) -> None:
        """
        The request was received again.
        """
        if self._last:
            self.association.send(self._last)

    def lost(self) -> None:
        """
        The association has gone.
        """
        self._end("done" if self.finalStatus else "lost")

    def late(self) -> None:
        """
        The client has come to retransmitting every T2 seconds.
        """
        if self.state >= COMPLETED:
            return
        if self.state == TRYING:
            assert self.request is not None
            self._provisional(derive.respond(self.request, 100))
        values = self._layer.values
        self._layer.timers.after(values.f - values.late, self._expired)

    def _provisional(self, response: Response) -> None:
        data = response.toBytes()
        self.association.send(data)
        if self.state < COMPLETED:
            self.state = PROCEEDING
            if not self.reliable:
                self._last = data

    def _expired(self) -> None:
        if self.state < COMPLETED:
            self._end("timeout")

    def timerJ(self) -> None:
        """
        The request is not sent again any more.
        """
        if self.state == COMPLETED:
            self._end("done")

    def _end(self, reason: str) -> None:
        if self.state == TERMINATED:
            return
        self.state = TERMINATED
        self.request = None
        self._last = b""
        del self._layer.servers[self._key]
        user = self.user
        # The timers keep this object for a while; it must not keep its user with it.
        self.user = None
        if user is not None:
            user.serverTransactionEnded(self, reason)
