"""
L{sipgrace.client.probe}: alone, and over the transaction layer.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from sipgrace.client.probe import Available, Failed, OptionsProbe, Outcome, Unavailable
from sipgrace.interfaces import IAssociation, IAssociationUser, IClientTransactionUser
from sipgrace.message.derive import respond
from sipgrace.message.message import Message, Request, Response
from sipgrace.testing import MemoryAssociation, Recorder, associationPair
from sipgrace.transaction.layer import TransactionLayer
from sipgrace.transaction.timers import TimerQueue


class FakeTransaction:
    """
    A transaction that records whether it was abandoned.
    """

    def __init__(self, request: Request, user: IClientTransactionUser) -> None:
        self.request = request
        self.user = user
        self.abandoned = 0

    def abandon(self) -> None:
        self.abandoned += 1


class FakeLayer:
    """
    A transaction layer that keeps what it was asked to send.
    """

    def __init__(self) -> None:
        self.transactions: list[FakeTransaction] = []

    def request(
        self, request: Request, association: IAssociation, user: IClientTransactionUser
    ) -> FakeTransaction:
        transaction = FakeTransaction(request, user)
        self.transactions.append(transaction)
        return transaction


def numbered() -> Callable[[], bytes]:
    """
    Identifiers that can be foretold.
    """
    numbers = count(1)
    return lambda: b"id%d" % next(numbers)


class OutcomeTests(SynchronousTestCase):
    """
    What each end of a test amounts to, and that nothing is left over afterwards.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.layer = FakeLayer()
        self.probe = OptionsProbe(self.layer, self.clock, timeout=2.0, identifier=numbered())
        self.association, _ = associationPair(Recorder(), Recorder())

    def begin(self) -> tuple[Deferred[Outcome], FakeTransaction]:
        """
        Starts one test.
        """
        result = self.probe.test(self.association)
        self.assertNoResult(result)
        return result, self.layer.transactions[-1]

    def answer(self, status: int, *headers: tuple[bytes, bytes]) -> Outcome:
        """
        One test that is answered so.
        """
        result, transaction = self.begin()
        transaction.user.clientResponse(transaction, respond(transaction.request, status, headers=headers))
        self.assertEqual((self.clock.getDelayedCalls(), transaction.abandoned), ([], 0))
        return self.successResultOf(result)

    def test_answers(self) -> None:
        """
        200 is the server available message; 503 with a period asks for rest; all else is no good.
        """
        self.assertEqual(self.answer(200), Available())
        self.assertEqual(self.answer(503, (b"Retry-After", b"30 (drain)")), Unavailable(30.0))
        self.assertEqual(self.answer(503), Failed("answered 503"))
        self.assertEqual(self.answer(503, (b"Retry-After", b"later")), Failed("answered 503"))
        self.assertEqual(self.answer(404), Failed("answered 404"))
        self.assertEqual(self.answer(500, (b"Retry-After", b"30")), Failed("answered 500"))
        self.assertEqual(self.answer(202), Failed("answered 202"))

    def test_tooManyHops(self) -> None:
        """
        483 says nothing of the server: it is asked once more with a Max-Forwards of 1, within the same time.
        """
        result, first = self.begin()
        first.user.clientResponse(first, respond(first.request, 483))
        self.assertNoResult(result)
        _, second = self.layer.transactions
        hops = [one.request.get(b"Max-Forwards") for one in self.layer.transactions]
        self.assertEqual(hops, [b"0", b"1"])
        self.assertNotEqual(first.request.branch, second.request.branch)
        self.clock.advance(1.0)
        second.user.clientResponse(second, respond(second.request, 200))
        self.assertEqual(self.successResultOf(result), Available())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stillTooManyHops(self) -> None:
        """
        Who says so again does not answer for itself.
        """
        result, first = self.begin()
        first.user.clientResponse(first, respond(first.request, 483))
        second = self.layer.transactions[-1]
        second.user.clientResponse(second, respond(second.request, 483))
        self.assertEqual(self.successResultOf(result), Failed("answered 483"))
        self.assertEqual(len(self.layer.transactions), 2)

    def test_otherGoodAnswers(self) -> None:
        """
        Where the configuration says so, others are good too.
        """
        self.probe = OptionsProbe(self.layer, self.clock, good={200, 405})
        self.assertEqual(self.answer(405), Available())
        self.assertEqual(self.answer(501), Failed("answered 501"))

    def test_provisional(self) -> None:
        """
        Only the final response counts.
        """
        result, transaction = self.begin()
        transaction.user.clientResponse(transaction, respond(transaction.request, 100))
        self.assertNoResult(result)
        transaction.user.clientResponse(transaction, respond(transaction.request, 200))
        self.assertEqual(self.successResultOf(result), Available())

    def test_timeout(self) -> None:
        """
        No answer in time: failed, and the transaction is abandoned.
        """
        result, transaction = self.begin()
        self.clock.advance(1.99)
        self.assertNoResult(result)
        self.clock.advance(0.01)
        self.assertEqual(self.successResultOf(result), Failed("timeout", silent=True))
        self.assertEqual(transaction.abandoned, 1)
        # Should it come up late all the same, it changes nothing.
        transaction.user.clientResponse(transaction, respond(transaction.request, 200))

    def test_transactionFails(self) -> None:
        """
        The association went, or did not take it.
        """
        result, transaction = self.begin()
        transaction.user.clientFailed(transaction, "lost")
        self.assertEqual(self.successResultOf(result), Failed("lost", silent=True))
        self.assertEqual((self.clock.getDelayedCalls(), transaction.abandoned), ([], 0))

    def test_cancelled(self) -> None:
        """
        A test that no longer matters is abandoned.
        """
        result, transaction = self.begin()
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertEqual((self.clock.getDelayedCalls(), transaction.abandoned), ([], 1))
        transaction.user.clientResponse(transaction, respond(transaction.request, 200))


class RequestTests(SynchronousTestCase):
    """
    The OPTIONS as it stands on the wire.
    """

    def sent(self, transport: bytes = b"SCTP") -> bytes:
        """
        The first test on an association of that transport.
        """
        layer = FakeLayer()
        association, _ = associationPair(Recorder(), Recorder(), transport)
        OptionsProbe(layer, Clock(), identifier=numbered()).test(association)
        return layer.transactions[0].request.toBytes()

    def test_sctp(self) -> None:
        """
        To the element at the other end, and no farther: Max-Forwards 0.
        """
        self.assertEqual(
            self.sent(),
            b"OPTIONS sip:192.0.2.2:5060;transport=sctp SIP/2.0\r\n"
            b"Via: SIP/2.0/SCTP 192.0.2.1:5060;branch=z9hG4bKid1\r\n"
            b"Max-Forwards: 0\r\n"
            b"From: <sip:192.0.2.1:5060>;tag=id1\r\n"
            b"To: <sip:192.0.2.2:5060;transport=sctp>\r\n"
            b"Call-ID: id1@192.0.2.1:5060\r\n"
            b"CSeq: 1 OPTIONS\r\n"
            b"Accept: application/sdp\r\n"
            b"Content-Length: 0\r\n"
            b"\r\n",
        )

    def test_udp(self) -> None:
        """
        Over UDP the answer is asked to come back to where the request came from (RFC 3581).
        """
        self.assertIn(b"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKid1;rport\r\n", self.sent(b"UDP"))

    def test_ipv6(self) -> None:
        """
        IPv6 addresses stand in brackets.
        """
        layer = FakeLayer()
        association, _ = associationPair(Recorder(), Recorder())
        association.localHost, association.peerHost = "2001:db8::1", "2001:db8::2"
        OptionsProbe(layer, Clock(), identifier=numbered()).test(association)
        request = layer.transactions[0].request
        self.assertEqual(request.uri, b"sip:[2001:db8::2]:5060;transport=sctp")
        self.assertEqual(request.fromValue, b"<sip:[2001:db8::1]:5060>;tag=id1")

    def test_identifiers(self) -> None:
        """
        By default no two tests share a branch, tag or Call-ID.
        """
        layer = FakeLayer()
        association, _ = associationPair(Recorder(), Recorder())
        probe = OptionsProbe(layer, Clock())
        for _ in range(50):
            probe.test(association)
        requests = [transaction.request for transaction in layer.transactions]
        for seen in (
            {request.branch for request in requests},
            {request.fromTag for request in requests},
            {request.callId for request in requests},
        ):
            self.assertEqual(len(seen), 50)


@implementer(IAssociationUser)
class Element:
    """
    A client: a transaction layer, and nothing above it.
    """

    def __init__(self, layer: TransactionLayer) -> None:
        self.layer = layer

    def associationMade(self, association: IAssociation) -> None:
        pass

    def messageReceived(self, message: object, association: IAssociation) -> None:
        assert isinstance(message, Request | Response)
        self.layer.messageReceived(message, association)

    def associationLost(self, association: IAssociation, reason: Failure) -> None:
        self.layer.associationLost(association)


class LayerTests(SynchronousTestCase):
    """
    Over the real transaction layer.
    """

    def pair(
        self, answer: Callable[[Message, IAssociation], None], transport: bytes = b"SCTP"
    ) -> tuple[Clock, OptionsProbe, MemoryAssociation, Recorder]:
        """
        A client's probe and its association to a server that answers so, 10 ms away.
        """
        clock = Clock()
        # Nothing but answers to its own requests comes up here, so it needs no user.
        layer = TransactionLayer(TimerQueue(clock), None)
        server = Recorder(answer)
        association, _ = associationPair(Element(layer), server, transport, clock=clock, latency=0.01)
        return clock, OptionsProbe(layer, clock), association, server

    def test_answered(self) -> None:
        """
        There and back.
        """

        def answer(message: Message, association: IAssociation) -> None:
            assert isinstance(message, Request)
            association.send(respond(message, 200).toBytes())

        clock, probe, association, server = self.pair(answer)
        result = probe.test(association)
        clock.pump([0.01, 0.01])
        self.assertEqual(self.successResultOf(result), Available())
        self.assertEqual(server.names(), ["made", "OPTIONS"])

    def test_silence(self) -> None:
        """
        Over UDP it is sent again, but not after it has been given up.
        """
        clock, probe, association, server = self.pair(lambda message, association: None, b"UDP")
        result = probe.test(association)
        clock.pump([0.05] * 39)
        self.assertNoResult(result)
        clock.pump([0.05])
        self.assertEqual(self.successResultOf(result), Failed("timeout", silent=True))
        self.assertEqual(server.take(), ["OPTIONS"] * 3)
        clock.pump([0.05] * 700)
        self.assertEqual(server.take(), [])
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_lost(self) -> None:
        """
        The association goes meanwhile.
        """
        clock, probe, association, _ = self.pair(lambda message, association: association.abort())
        result = probe.test(association)
        clock.pump([0.01, 0.01, 0.05])
        self.assertEqual(self.successResultOf(result), Failed("lost", silent=True))

    def test_alreadyDown(self) -> None:
        """
        It was gone before the test.
        """
        clock, probe, association, server = self.pair(lambda message, association: None)
        association.abort()
        result = probe.test(association)
        clock.pump([0.05])
        self.assertEqual(self.successResultOf(result), Failed("lost", silent=True))
        self.assertEqual(server.names(), ["made", "lost ConnectionAborted"])
