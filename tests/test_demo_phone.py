"""
The demo's users, on a network in memory: they behave as telephones do.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.demo.book import Book, Call
from sipgrace.demo.phone import Phone
from sipgrace.demo.plan import CLIENTS, Plan
from sipgrace.message.derive import ackFor, cancelFor, respond
from sipgrace.message.message import Request, Response
from sipgrace.testing import MemoryNetwork, Recorder
from sipgrace.transaction.timers import TimerQueue

PROXY = ("127.0.0.110", 5060)
PHONE = ("127.0.0.1", 7110)
ROUTE = b"<sip:127.0.0.110:5060;lr>"


class PhoneCase(SynchronousTestCase):
    """
    A phone of client-110, and in its client's place a recorder.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.network = MemoryNetwork(self.clock)
        self.book = Book(self.clock.seconds)
        self.timers = TimerQueue(self.clock)
        self.phone = Phone(self.clock, self.timers, CLIENTS[0], Plan(ring=1.0, hold=0.5), self.book)
        self.phone.use(self.network.element(self.phone, *PHONE, transport=b"UDP"))
        self.client = Recorder()
        self.element = self.network.element(self.client, *PROXY, transport=b"UDP")

    def pass_(self, seconds: float) -> list[str]:
        """
        Lets time go by.

        @return: what has arrived at the client.
        """
        steps = round(seconds / 0.025)
        self.clock.pump([seconds / steps] * steps)
        return self.client.take()


class Callers(PhoneCase):
    """
    A user who calls.
    """

    def call(self, byCallee: bool = False) -> tuple[Call, Request]:
        self.phone.call(CLIENTS[1], byCallee)
        self.network.flush()
        (invite,) = self.client.messages()
        assert isinstance(invite, Request)
        self.client.take()
        (call,) = self.book.calls.values()
        return call, invite

    def answer(self, request: Request, status: int, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        self.element.associationTo(*PHONE).send(
            respond(request, status, toTag=b"callee", headers=headers).toBytes()
        )
        self.network.flush()

    def pickUp(self, invite: Request) -> None:
        contact = (b"Contact", b"<sip:112001@127.0.0.1:7112>")
        self.answer(invite, 200, (contact, (b"Record-Route", ROUTE)))

    def last(self) -> Request:
        request = self.client.messages()[-1]
        assert isinstance(request, Request)
        return request

    def test_completed(self) -> None:
        """
        From INVITE to the answer of its BYE; times are those of the caller.
        """
        call, invite = self.call()
        self.assertEqual((invite.method, invite.uri), (b"INVITE", b"sip:112001@demo.invalid"))
        self.assertEqual(invite.callId, call.callId)
        self.answer(invite, 100)
        self.clock.advance(0.1)
        self.assertIsNone(call.rungAt)
        self.answer(invite, 180)
        self.clock.advance(0.9)
        self.pickUp(invite)
        ack = self.last()
        self.assertEqual(
            (ack.method, ack.cseq, ack.uri, ack.elements(b"Route"), ack.toTag),
            (b"ACK", 1, b"sip:112001@127.0.0.1:7112", [ROUTE], b"callee"),
        )
        self.assertNotEqual(ack.branch, invite.branch)
        self.assertEqual(self.client.take(), ["ACK"])
        self.assertEqual((call.rungAt, call.answeredAt, self.book.setUpTimes()), (0.1, 1.0, [1.0]))

        self.clock.advance(0.5)
        bye = self.last()
        self.assertEqual((bye.method, bye.cseq), (b"BYE", 2))
        self.assertEqual(call.outcome, "")
        self.answer(bye, 200)
        self.assertEqual((call.outcome, self.book.open), ("completed", 0))

    def test_repeatedAnswer(self) -> None:
        """
        Each copy of the 200 gets an ACK, and there is one BYE all the same.
        """
        _, invite = self.call()
        self.pickUp(invite)
        self.pickUp(invite)
        self.assertEqual(self.client.take(), ["ACK", "ACK"])
        self.assertEqual(self.pass_(0.6), ["BYE"])

    def test_calleeHangsUp(self) -> None:
        """
        The callee's BYE is answered; how the call ended is the callee's to tell.
        """
        call, invite = self.call(byCallee=True)
        self.pickUp(invite)
        self.assertEqual(self.pass_(2), ["ACK"])
        bye = Request.make(
            b"BYE",
            b"sip:110001@127.0.0.1:7110",
            (
                (b"Via", b"SIP/2.0/UDP 127.0.0.110:5060;branch=z9hG4bKbye"),
                (b"From", invite.toValue + b";tag=callee"),
                (b"To", invite.fromValue),
                (b"Call-ID", invite.callId),
                (b"CSeq", b"1 BYE"),
            ),
        )
        self.element.associationTo(*PHONE).send(bye.toBytes())
        self.network.flush()
        self.assertEqual((self.client.take(), call.outcome), (["200 BYE"], ""))
        bye.set(b"Via", b"SIP/2.0/UDP 127.0.0.110:5060;branch=z9hG4bKagain")
        self.element.associationTo(*PHONE).send(bye.toBytes())
        self.network.flush()
        self.assertEqual(self.client.take(), ["481 BYE"])

    def test_refused(self) -> None:
        """
        Another final answer is a failed call; its ACK is sent.
        """
        call, invite = self.call()
        self.answer(invite, 503)
        self.assertEqual((call.outcome, call.why), ("failed", "INVITE answered 503"))
        self.assertEqual(self.client.take(), ["ACK"])
        self.assertEqual(self.book.setUpTimes(), [])

    def test_nothingAtAll(self) -> None:
        """
        Without any answer the INVITE is repeated, and the call lost after 32 seconds (Timer B).
        """
        call, _ = self.call()
        self.assertEqual(self.pass_(31.9), ["INVITE"] * 6)
        self.assertEqual(call.outcome, "")
        self.pass_(0.3)
        self.assertEqual((call.outcome, call.why), ("lost", "INVITE: timeout"))

    def test_neverAnswered(self) -> None:
        """
        One that rings for good is lost, too, and taken back.
        """
        call, invite = self.call()
        self.answer(invite, 180)
        self.assertEqual(self.pass_(32.9), [])
        self.assertEqual(self.pass_(0.3), ["CANCEL"])
        self.assertEqual((call.outcome, call.why), ("lost", "no final answer in time"))

    def test_byeUnanswered(self) -> None:
        """
        One that cannot be ended has failed.
        """
        call, invite = self.call()
        self.pickUp(invite)
        self.pass_(33.5)
        self.assertEqual((call.outcome, call.why), ("failed", "BYE: timeout"))

    def test_byeRefused(self) -> None:
        """
        So has one whose BYE finds nobody.
        """
        call, invite = self.call()
        self.pickUp(invite)
        self.clock.advance(0.5)
        self.answer(self.last(), 481)
        self.assertEqual((call.outcome, call.why), ("failed", "BYE answered 481"))


class Callees(PhoneCase):
    """
    A user who is called.
    """

    def ring(self, branch: bytes = b"z9hG4bKi") -> Request:
        invite = Request.make(
            b"INVITE",
            b"sip:110007@127.0.0.1:7110",
            (
                (b"Via", b"SIP/2.0/UDP 127.0.0.110:5060;branch=" + branch),
                (b"Record-Route", ROUTE),
                (b"Max-Forwards", b"67"),
                (b"From", b"<sip:112007@demo.invalid>;tag=caller"),
                (b"To", b"<sip:110007@demo.invalid>"),
                (b"Call-ID", b"c"),
                (b"CSeq", b"1 INVITE"),
                (b"Contact", b"<sip:112007@127.0.0.1:7112>"),
            ),
        )
        self.send(invite)
        return invite

    def send(self, request: Request) -> None:
        self.element.associationTo(*PHONE).send(request.toBytes())
        self.network.flush()

    def acknowledge(self, invite: Request) -> None:
        ack = ackFor(invite, respond(invite, 200, toTag=b"x"))
        ack.set(b"Via", b"SIP/2.0/UDP 127.0.0.110:5060;branch=z9hG4bKack")
        self.send(ack)

    def test_answers(self) -> None:
        """
        180 a moment later, 200 when it has rung for long enough, with the route set and a Contact.
        """
        self.ring()
        self.assertEqual(self.client.take(), [])
        self.assertEqual(self.pass_(0.1), ["180 INVITE"])
        self.assertEqual(self.pass_(0.85), [])
        self.clock.advance(0.1)
        (answer,) = self.client.messages()
        assert isinstance(answer, Response)
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.elements(b"Record-Route"), [ROUTE])
        self.assertEqual(answer.get(b"Contact"), b"<sip:110007@127.0.0.1:7110>")

    def test_repeatsItsAnswer(self) -> None:
        """
        The 200 is sent again, after 0.5, 1, 2, 4 and 4 seconds, until its ACK is here (RFC 3261 §13.3.1.4).
        """
        invite = self.ring()
        self.pass_(1.05)
        self.assertEqual(self.pass_(12), ["200 INVITE"] * 5)
        self.assertEqual(self.book.repeated, 5)
        self.acknowledge(invite)
        self.assertEqual(self.pass_(30), [])

    def test_neverAcknowledged(self) -> None:
        """
        Without an ACK for 32 seconds the call has failed.
        """
        call = self.book.start(b"c", False)
        self.ring()
        self.pass_(40)
        self.assertEqual((call.outcome, call.why), ("failed", "no ACK reached the callee"))

    def test_hangsUp(self) -> None:
        """
        Where it is the callee's turn to hang up, its BYE takes the way of the route set, to the caller's
        Contact; its answer completes the call.
        """
        call = self.book.start(b"c", True)
        invite = self.ring()
        self.pass_(1.05)
        self.acknowledge(invite)
        self.pass_(0.4)
        self.clock.advance(0.15)
        (bye,) = self.client.messages()
        assert isinstance(bye, Request)
        self.assertEqual(
            (bye.method, bye.uri, bye.elements(b"Route"), bye.toTag),
            (b"BYE", b"sip:112007@127.0.0.1:7112", [ROUTE], b"caller"),
        )
        self.assertEqual(call.outcome, "")
        self.element.associationTo(*PHONE).send(respond(bye, 200).toBytes())
        self.network.flush()
        self.assertEqual(call.outcome, "completed")

    def test_callerHangsUp(self) -> None:
        """
        Where it is the caller's, the callee waits for the BYE.
        """
        self.book.start(b"c", False)
        invite = self.ring()
        self.pass_(1.05)
        self.acknowledge(invite)
        self.assertEqual(self.pass_(5), [])

    def test_cancelled(self) -> None:
        """
        A CANCEL is answered, and the INVITE with 487; it rings no more.
        """
        invite = self.ring()
        self.pass_(0.1)
        self.send(cancelFor(invite))
        self.assertEqual(self.client.take(), ["200 CANCEL", "487 INVITE"])
        self.send(ackFor(invite, respond(invite, 487, toTag=b"x")))
        self.assertEqual(self.pass_(3), [])

    def test_askedTwice(self) -> None:
        """
        The same call by another way while it rings is a merged request (RFC 3261 §8.2.2.2); when the first
        was taken back, it is a new call.
        """
        invite = self.ring()
        self.pass_(0.1)
        second = self.ring(b"z9hG4bKsecond")
        self.assertEqual(self.client.take(), ["482 INVITE"])
        self.send(ackFor(second, respond(second, 482, toTag=b"x")))
        self.send(cancelFor(invite))
        self.send(ackFor(invite, respond(invite, 487, toTag=b"x")))
        self.client.take()
        self.ring(b"z9hG4bKthird")
        self.assertEqual(self.pass_(0.1), ["180 INVITE"])

    def test_otherRequests(self) -> None:
        """
        A CANCEL for nothing, and what it does not know.
        """
        invite = self.ring()
        self.client.take()
        cancel = cancelFor(invite)
        cancel.set(b"Via", b"SIP/2.0/UDP 127.0.0.110:5060;branch=z9hG4bKnone")
        self.send(cancel)
        self.send(
            Request.make(
                b"MESSAGE",
                invite.uri,
                (
                    (b"Via", b"SIP/2.0/UDP 127.0.0.110:5060;branch=z9hG4bKm"),
                    (b"From", invite.fromValue),
                    (b"To", invite.toValue),
                    (b"Call-ID", b"m"),
                    (b"CSeq", b"1 MESSAGE"),
                ),
            )
        )
        self.assertEqual(self.client.take(), ["481 CANCEL", "501 MESSAGE"])
