"""
Users, played by the test process: callers and callees of whom every message can be seen and timed. They have
no transactions and resend nothing, for nothing is lost on loopback.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any

from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from sipgrace.demo.dialog import Dialog
from sipgrace.interfaces import IAssociation, IAssociationUser
from sipgrace.message.derive import ackFor, cancelFor, respond
from sipgrace.message.message import Message, Request, Response
from sipgrace.transport.listen import connect, listen
from sipgrace.transport.udp import UDPListener
from tests.scenarios.waiting import Waiting, reactor

_numbers = itertools.count(1)
_prefix = os.urandom(4).hex()


def token() -> bytes:
    """
    @return: what nobody has used before, for tags, branches and Call-IDs.
    """
    return b"%b%d" % (_prefix.encode(), next(_numbers))


class Call:
    """
    A call that a phone makes. Its final response gets an ACK at once.

    @ivar invite: as it was sent.
    @ivar responses: each with the time at which it came.
    @ivar dialog: set when it was answered with 2xx.
    @ivar ended: whether the BYE of either side has been answered.
    """

    def __init__(self, phone: Phone, invite: Request, association: IAssociation) -> None:
        self.phone = phone
        self.invite = invite
        self.association = association
        self.sentAt = reactor.seconds()
        self.responses: list[tuple[float, Response]] = []
        self.dialog: Dialog | None = None
        self.ended = False

    @property
    def statuses(self) -> list[int]:
        """
        What has come, 100 aside.
        """
        return [response.status for _, response in self.responses if response.status > 100]

    @property
    def final(self) -> Response | None:
        """
        The final response.
        """
        return next((response for _, response in self.responses if response.status >= 200), None)

    @property
    def finalAt(self) -> float:
        """
        When it came.
        """
        return next(at for at, response in self.responses if response.status >= 200)

    async def has(self, status: int) -> Response:
        """
        Waits for a response of that status.
        """

        def find() -> Response | None:
            return next((response for _, response in self.responses if response.status == status), None)

        found: Response = await self.phone.until(find, f"{status} to {self!r}")
        return found

    async def done(self, limit: float = 30.0) -> Response:
        """
        Waits for the final response.
        """
        found: Response = await self.phone.until(lambda: self.final, f"an end of {self!r}", limit)
        return found

    def received(self, response: Response) -> None:
        """
        A response to the INVITE, or to a BYE.
        """
        if response.cseqMethod == b"BYE":
            self.ended = self.ended or response.status == 200
        if response.cseqMethod != b"INVITE":
            return
        self.responses.append((reactor.seconds(), response))
        if response.status >= 300:
            self.association.send(ackFor(self.invite, response).toBytes())
        elif response.status >= 200:
            self.dialog = Dialog.ofCaller(response)
            self.phone.within(self.dialog, b"ACK", self.invite.cseq)

    def cancel(self) -> None:
        """
        Gives up.
        """
        self.association.send(cancelFor(self.invite).toBytes())

    async def hangUp(self) -> None:
        """
        Sends BYE, and waits for its answer.
        """
        assert self.dialog is not None
        self.phone.within(self.dialog, b"BYE")
        await self.phone.until(lambda: self.ended, f"200 to BYE of {self!r}")

    def __repr__(self) -> str:
        came = [response.status for _, response in self.responses]
        return f"<call {self.invite.callId.decode()} to {self.invite.uri.decode()}: {came}>"


class Ring:
    """
    One INVITE that has come to a phone.

    @ivar at: when it came.
    @ivar cancelledAt: when it was taken back, or C{None}.
    @ivar reason: the Reason of the CANCEL.
    @ivar final: the status it was answered with, 0 before.
    @ivar acked: whether the ACK of it has come.
    """

    def __init__(self, phone: Phone, invite: Request, association: IAssociation) -> None:
        self.phone = phone
        self.invite = invite
        self.association = association
        self.at = reactor.seconds()
        self.cancelledAt: float | None = None
        self.reason = b""
        self.final = 0
        self.acked = False
        self.ended = False
        self.tag = token()
        self.dialog = Dialog.ofCallee(invite, self.tag)
        self._last: Response | None = None

    def respond(self, status: int) -> None:
        """
        Answers.
        """
        headers = [(b"Record-Route", route) for route in self.invite.getAll(b"Record-Route")]
        headers.append((b"Contact", b"<%b>" % self.phone.contact(self.association)))
        self._last = respond(self.invite, status, toTag=self.tag, headers=headers if status < 300 else ())
        if status >= 200:
            self.final = status
        self.association.send(self._last.toBytes())

    def again(self) -> None:
        """
        The same INVITE has come again.
        """
        if self._last is not None:
            self.association.send(self._last.toBytes())

    def cancel(self, request: Request) -> None:
        """
        It is taken back.
        """
        self.association.send(respond(request, 200, toTag=self.tag).toBytes())
        if self.cancelledAt is None and not self.final:
            self.cancelledAt = reactor.seconds()
            self.reason = request.get(b"Reason") or b""
            self.respond(487)

    def hangUp(self) -> None:
        """
        Sends BYE.
        """
        self.phone.within(self.dialog, b"BYE")

    def __repr__(self) -> str:
        state = "cancelled" if self.cancelledAt is not None else self.final or "ringing"
        return f"<ring {self.invite.callId.decode()}: {state}>"


def answer(ring: Ring) -> None:
    """
    A callee who answers at once.
    """
    ring.respond(180)
    ring.respond(200)


def keepRinging(ring: Ring) -> None:
    """
    A callee who does not.
    """
    ring.respond(180)


def answerAfter(seconds: float) -> Callable[[Ring], None]:
    """
    A callee who lets it ring for so many seconds.
    """

    def ringing(ring: Ring) -> None:
        ring.respond(180)
        call = reactor.callLater(seconds, pickUp, ring)
        ring.phone.pending.append(call)

    def pickUp(ring: Ring) -> None:
        if ring.cancelledAt is None:
            ring.respond(200)

    return ringing


@implementer(IAssociationUser)
class Phone(Waiting):
    """
    Callers and callees behind one UDP socket, or at the end of associations.

    @ivar rings: the INVITEs that have come, less those that came again on the same branch.
    @ivar copies: those among them that are another copy of a call that has come before and has not failed;
        they are refused with 482 (RFC 3261 §8.2.2.2).
    @ivar received: every message, with the time at which it came and its association.
    @ivar lost: the associations that have gone: the time, and the class of the reason.
    @ivar ringing: called with each ring that is no copy.
    """

    def __init__(self, test: TestCase, name: str, ringing: Callable[[Ring], None] = answer) -> None:
        super().__init__()
        self.name = name
        self.ringing = ringing
        self.rings: list[Ring] = []
        self.copies: list[Ring] = []
        self.calls: dict[bytes, Call] = {}
        self.received: list[tuple[float, Message, IAssociation]] = []
        self.associations: list[IAssociation] = []
        self.lost: dict[IAssociation, tuple[float, type]] = {}
        self.pending: list[Any] = []
        self._listener: UDPListener | None = None
        self._byBranch: dict[tuple[bytes, bytes], Ring] = {}
        self._byCall: dict[tuple[bytes, bytes, int], Ring] = {}
        test.addCleanup(self.stop)

    async def listen(self, host: str) -> Phone:
        """
        Takes a free UDP port.
        """
        listener = await listen(reactor, f"udp:0:interface={host}", self, "phone")
        assert isinstance(listener, UDPListener)
        self._listener = listener
        return self

    async def connect(self, description: str) -> IAssociation:
        """
        Opens an association.
        """
        return await connect(reactor, description, self, "phone")

    async def stop(self) -> None:
        """
        Ends everything.
        """
        for call in self.pending:
            if call.active():
                call.cancel()
        for association in self.associations:
            if association not in self.lost:
                association.abort()
        await self.until(lambda: all(one in self.lost for one in self.associations), "the associations' end")
        if self._listener is not None:
            await self._listener.stopListening()

    @property
    def port(self) -> int:
        """
        Its UDP port.
        """
        assert self._listener is not None
        return self._listener.port

    def contact(self, association: IAssociation) -> bytes:
        """
        @return: where to reach it, as a SIP URI.
        """
        host = association.localHost.encode()
        return b"sip:phone@%b:%d;transport=%b" % (host, association.localPort, association.transport.lower())

    def way(self, host: str, port: int) -> IAssociation:
        """
        @return: where to send to that address: over UDP, or else on the association that is there.
        """
        if self._listener is not None:
            return self._listener.associationTo(host, port)
        return self.associations[-1]

    def call(
        self,
        user: str,
        proxy: tuple[str, int] | IAssociation,
        domain: str = "example.org",
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> Call:
        """
        Calls somebody, or a service by its name, through a proxy.
        """
        association = self.way(*proxy) if isinstance(proxy, tuple) else proxy
        uri = (user if user.startswith("urn:") else f"sip:{user}@{domain}").encode()
        invite = Request.make(
            b"INVITE",
            uri,
            [
                (b"Max-Forwards", b"70"),
                (b"From", b"<sip:%b@example.org>;tag=%b" % (self.name.encode(), token())),
                (b"To", b"<%b>" % uri),
                (b"Call-ID", token() + b"@" + self.name.encode()),
                (b"CSeq", b"1 INVITE"),
                (b"Contact", b"<%b>" % self.contact(association)),
                *headers,
            ],
        )
        invite.pushVia(b"%b;branch=z9hG4bK%b;rport" % (association.via, token()))
        call = self.calls[invite.callId] = Call(self, invite, association)
        association.send(invite.toBytes())
        return call

    def within(self, dialog: Dialog, method: bytes, cseq: int | None = None) -> None:
        """
        Sends a request within a dialog.
        """
        association = self.way(*dialog.hop())
        request = dialog.request(method, cseq)
        request.pushVia(b"%b;branch=z9hG4bK%b;rport" % (association.via, token()))
        association.send(request.toBytes())

    # What comes in

    def associationMade(self, association: IAssociation) -> None:
        """
        See L{IAssociationUser}.
        """
        self.associations.append(association)
        self.look()

    def associationLost(self, association: IAssociation, reason: Failure) -> None:
        """
        See L{IAssociationUser}.
        """
        self.lost[association] = (reactor.seconds(), reason.type)
        self.look()

    def messageReceived(self, message: Any, association: IAssociation) -> None:
        """
        See L{IAssociationUser}.
        """
        self.received.append((reactor.seconds(), message, association))
        if isinstance(message, Response):
            call = self.calls.get(message.callId)
            if call is not None:
                call.received(message)
        else:
            self._request(message, association)
        self.look()

    def _request(self, request: Request, association: IAssociation) -> None:
        ring = self._byBranch.get((request.branch, request.sentBy))
        if request.method == b"INVITE":
            if ring is not None:
                ring.again()
            else:
                self._invited(Ring(self, request, association))
        elif request.method == b"ACK":
            ring = ring or next((one for one in self.rings if one.tag == request.toTag), None)
            if ring is not None:
                ring.acked = True
        elif request.method == b"CANCEL" and ring is not None:
            ring.cancel(request)
        elif request.method == b"BYE":
            self._ended(request)
            association.send(respond(request, 200).toBytes())
        else:
            association.send(respond(request, 481).toBytes())

    def _ended(self, request: Request) -> None:
        call = self.calls.get(request.callId)
        if call is not None:
            call.ended = True
        for ring in self.rings:
            if ring.tag == request.toTag:
                ring.ended = True

    def _invited(self, ring: Ring) -> None:
        invite = ring.invite
        self.rings.append(ring)
        self._byBranch[invite.branch, invite.sentBy] = ring
        key = (invite.callId, invite.fromTag, invite.cseq)
        former = self._byCall.get(key)
        if former is not None and former.final < 300:
            self.copies.append(ring)
            ring.respond(482)
            return
        self._byCall[key] = ring
        self.ringing(ring)

    async def rung(self, count: int = 1) -> Ring:
        """
        Waits for so many rings.

        @return: the last of them.
        """
        await self.until(lambda: len(self.rings) >= count, f"ring {count} at {self.name}")
        return self.rings[count - 1]

    def story(self) -> str:
        """
        What has come.
        """
        return "\n".join(
            f"{at:.2f} {(message.toBytes().split(bytes([13]))[0]).decode()} {message.callId.decode()}"
            for at, message, _ in self.received[-30:]
        )
