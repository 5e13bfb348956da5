"""
A user who calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import implementer

from sipgrace.demo.dialog import Dialog
from sipgrace.demo.hangup import HangUp
from sipgrace.demo.plan import Member
from sipgrace.interfaces import IClientTransactionUser
from sipgrace.message.message import Request, Response
from sipgrace.transaction.inviteclient import InviteClient

if TYPE_CHECKING:
    from sipgrace.demo.phone import Phone

#: The domain of the numbers; nobody looks it up.
DOMAIN = b"demo.invalid"

#: How many users each client has; their numbers follow one another.
USERS = 1000

#: Seconds beyond the ring time after which a caller gives up who was given no final answer: as long as a
#: transaction without any answer goes on (RFC 3261, Timer B).
PATIENCE = 32.0

#: Session descriptions are as real ones are; nobody reads them.
SDP = (
    b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    b"m=audio 49170 RTP/AVP 8 0\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n"
)


@implementer(IClientTransactionUser)
class Caller:
    """
    The calling side of one call.

    @ivar call: what becomes of it.
    """

    def __init__(self, phone: Phone, client: Member, byCallee: bool) -> None:
        self._phone = phone
        self._host = phone.plan.host(phone.client)
        self.call = phone.book.start(phone.token() + b"@demo.invalid", byCallee, phone.client.name)
        place = len(phone.book.calls) % USERS
        self._user = b"%d%03d" % (phone.client.number, place)
        self._callee = b"sip:%d%03d@%b" % (client.number, place, DOMAIN)
        self._dialog: Dialog | None = None
        self._invite: InviteClient | None = None

    def start(self) -> None:
        """
        Sends the INVITE to the client.
        """
        phone = self._phone
        proxy = phone.to(self._host, 5060)
        request = Request.make(
            b"INVITE",
            self._callee,
            (
                (b"Max-Forwards", b"70"),
                (b"From", b"<sip:%b@%b>;tag=%b" % (self._user, DOMAIN, phone.token())),
                (b"To", b"<%b>" % self._callee),
                (b"Call-ID", self.call.callId),
                (b"CSeq", b"1 INVITE"),
                (b"Contact", phone.contact(self._user)),
                (b"Content-Type", b"application/sdp"),
            ),
            SDP,
        )
        invite = phone.layer.request(phone.addVia(request, proxy), proxy, self)
        assert isinstance(invite, InviteClient)
        self._invite = invite
        phone.timers.after(phone.plan.ring + PATIENCE, self._giveUp)

    def clientResponse(self, transaction: object, response: Response) -> None:
        """
        See L{IClientTransactionUser}.
        """
        book, call = self._phone.book, self.call
        if response.status < 200:
            if response.status > 100:
                book.ringing(call)
        elif response.status >= 300:
            self._over("failed", f"INVITE answered {response.status}")
        else:
            first = self._dialog is None
            dialog = self._dialog = self._dialog or Dialog.ofCaller(response)
            # Each 2xx gets an ACK, the repeated ones too (RFC 3261 §13.2.2.4).
            hop = self._phone.to(*dialog.hop())
            hop.send(self._phone.addVia(dialog.request(b"ACK", response.cseq), hop).toBytes())
            if first:
                book.answered(call)
                if not call.byCallee:
                    self._phone.later(self._phone.plan.hold, self._hangUp)

    def clientFailed(self, transaction: object, reason: str) -> None:
        """
        See L{IClientTransactionUser}.
        """
        self._over("lost", f"INVITE: {reason}")

    def byeReceived(self) -> None:
        """
        The callee has hung up: it will say whether that went well.
        """
        self._phone.callerGone(self.call.callId)

    def _hangUp(self) -> None:
        if self._dialog is not None and not self.call.outcome:
            HangUp(self._phone, self._dialog, self._over).start()

    def _giveUp(self) -> None:
        if not self.call.outcome:
            if self._dialog is not None:
                self._over("failed", "answered, but not ended in time")
                return
            self._over("lost", "no final answer in time")
            if self._invite is not None:
                self._invite.abandon()

    def _over(self, outcome: str, why: str = "") -> None:
        self._phone.book.end(self.call, outcome, why)
        # A repeated 2xx still finds this object through its transaction.
        self._phone.callerGone(self.call.callId)
