"""
Whether a server may leave: how it asks its clients, and what they answer.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.client.consent import Consent
from sipgrace.lifecycle.approval import CONTENT_TYPE
from sipgrace.lifecycle.orderform import toText
from sipgrace.lifecycle.orders import Kind, Order
from sipgrace.message.derive import respond
from sipgrace.message.message import Request, Response
from sipgrace.message.parser import parse
from sipgrace.server.question import Question

ORDER = Order(kind=Kind.DRAIN, who="alice", when=1763800000.0, why="new kernel", nonce="n" * 16)


class Association:
    via = b"SIP/2.0/SCTP 192.0.2.102:5060"
    transport = b"SCTP"
    localHost, localPort = "192.0.2.102", 5060
    peerHost, peerPort = "2001:db8::110", 40001


class Layer:
    """
    Sends nothing.
    """

    def __init__(self) -> None:
        self.sent: list[tuple[Request, Any, Any]] = []
        self.abandoned = 0

    def request(self, request: Request, association: Any, user: Any) -> Any:
        self.sent.append((request, association, user))
        return self

    def abandon(self) -> None:
        self.abandoned += 1


class QuestionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.layer = Layer()
        self.associations = {"client-110": Association(), "client-112": Association()}
        tokens = iter([b"token1", b"token2"])
        question = Question(
            "server-102", self.layer, lambda: list(self.associations.items()), lambda: next(tokens)
        )
        self.answers: dict[str, Deferred[bool]] = dict(question.ask(ORDER))

    def test_message(self) -> None:
        """
        One for each, on its association, that any parser takes.
        """
        self.assertEqual(list(self.answers), ["client-110", "client-112"])
        self.assertEqual(
            [association for _, association, _ in self.layer.sent], list(self.associations.values())
        )
        text = toText(ORDER).encode()
        data = self.layer.sent[0][0].toBytes()
        self.assertEqual(
            data,
            b"MESSAGE sip:[2001:db8::110]:40001;transport=sctp SIP/2.0\r\n"
            b"Via: SIP/2.0/SCTP 192.0.2.102:5060;branch=z9hG4bKtoken1\r\n"
            b"Max-Forwards: 0\r\n"
            b"From: <sip:server-102@192.0.2.102:5060>;tag=token1\r\n"
            b"To: <sip:[2001:db8::110]:40001;transport=sctp>\r\n"
            b"Call-ID: token1@192.0.2.102:5060\r\n"
            b"CSeq: 1 MESSAGE\r\n"
            b"Content-Type: application/vnd.sipgrace.order+json\r\n"
            b"Content-Length: %d\r\n"
            b"\r\n%b" % (len(text), text),
        )
        self.assertEqual(parse(data).toBytes(), data)

    def answer(self, at: int, status: int) -> None:
        request, _, user = self.layer.sent[at]
        user.clientResponse(self.layer, respond(request, status))

    def test_answers(self) -> None:
        """
        200 is a yes; nothing else is, not another 2xx either.
        """
        self.answer(0, 100)
        self.assertNoResult(self.answers["client-110"])
        self.answer(0, 200)
        self.assertIs(self.successResultOf(self.answers["client-110"]), True)
        self.answer(0, 603)
        self.answer(1, 202)
        self.assertIs(self.successResultOf(self.answers["client-112"]), False)

    def test_refused(self) -> None:
        for at, status in enumerate((603, 483)):
            self.answer(at, status)
        self.assertEqual([self.successResultOf(answer) for answer in self.answers.values()], [False, False])

    def test_lost(self) -> None:
        self.layer.sent[0][2].clientFailed(self.layer, "lost")
        self.assertIs(self.successResultOf(self.answers["client-110"]), False)

    def test_cancelled(self) -> None:
        """
        An answer that nobody waits for any more.
        """
        answer = self.answers["client-110"]
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        self.assertEqual(self.layer.abandoned, 1)
        self.answer(0, 200)
        self.layer.sent[0][2].clientFailed(self.layer, "timeout")


class Transaction:
    """
    A server transaction.
    """

    def __init__(self, association: object) -> None:
        self.association = association
        self.responses: list[Response] = []

    def respond(self, response: Response) -> None:
        self.responses.append(response)


class ConsentTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.ours = object()
        self.others = {"server-102": 3}
        self.consent = Consent(
            lambda association: "server-102" if association is self.ours else "",
            lambda name: self.others[name],
        )

    def ask(
        self,
        body: bytes = toText(ORDER).encode(),
        kind: bytes = CONTENT_TYPE,
        hops: bytes = b"0",
        association: object = None,
        route: bytes = b"",
    ) -> tuple[int, bytes] | None:
        """
        @return: the answer, or C{None} where the MESSAGE is not taken for a question.
        """
        headers = [
            (b"Via", b"SIP/2.0/SCTP 192.0.2.102:5060;branch=z9hG4bKx"),
            (b"Max-Forwards", hops),
            (b"From", b"<sip:server-102@192.0.2.102>;tag=1"),
            (b"To", b"<sip:192.0.2.110>"),
            (b"Call-ID", b"x"),
            (b"CSeq", b"1 MESSAGE"),
            (b"Content-Type", kind),
            (b"Content-Length", b"%d" % len(body)),
        ]
        if route:
            headers.append((b"Route", route))
        request = parse(Request.make(b"MESSAGE", b"sip:192.0.2.110", headers, body).toBytes())
        assert isinstance(request, Request)
        transaction = Transaction(self.ours if association is None else association)
        taken = self.consent.messageReceived(transaction, request)
        self.assertEqual(len(transaction.responses), int(taken))
        return (transaction.responses[0].status, transaction.responses[0].reason) if taken else None

    def test_yes(self) -> None:
        self.assertEqual(self.ask(), (200, b"OK"))
        self.others["server-102"] = 1
        self.assertEqual(self.ask(kind=b"Application/vnd.SIPgrace.order+JSON ;charset=utf-8"), (200, b"OK"))

    def test_no(self) -> None:
        """
        Not the last one.
        """
        self.others["server-102"] = 0
        self.assertEqual(self.ask(), (603, b"No Other Server Is There"))

    def test_stranger(self) -> None:
        self.assertEqual(self.ask(association=object()), (403, b"Forbidden"))

    def test_malformed(self) -> None:
        for body in (b"", b"{}", b"\xff", b"please"):
            self.assertEqual(self.ask(body), (400, b"Malformed Order"))

    def test_notAsked(self) -> None:
        """
        People's messages go their way.
        """
        self.assertIs(self.ask(kind=b"text/plain"), None)
        self.assertIs(self.ask(kind=b""), None)
        self.assertIs(self.ask(hops=b"70"), None)
        self.assertIs(self.ask(route=b"<sip:192.0.2.1;lr>"), None)
