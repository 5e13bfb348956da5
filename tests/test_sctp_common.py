"""
What both stacks do alike, over a stack of paper.
"""

from __future__ import annotations

import errno
from typing import Any

from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    TimeoutError,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from sipgrace.transport.sctp.address import SCTPAddress
from sipgrace.transport.sctp.attempt import Attempt, refusalOf
from sipgrace.transport.sctp.common import SCTPTransport, endOf
from sipgrace.transport.sctp.stack import ISCTPTransport, SCTPOptions

HOST = SCTPAddress("127.0.0.1", 1)
PEER = SCTPAddress("127.0.0.2", 2)


class PaperTransport(SCTPTransport):
    """
    Notes what a stack is asked; C{room} is how many messages it takes.
    """

    stack = "paper"
    outStreams = 4

    def __init__(self, clock: Clock, options: SCTPOptions) -> None:
        super().__init__(clock, options, HOST, PEER)
        self.events: list[Any] = []
        self.room = 1000

    def _send(self, data: bytes, stream: int, ppid: int, unordered: bool) -> bool:
        if not self.room:
            return False
        self.room -= 1
        self.events.append((data, stream, ppid, unordered))
        return True

    def _shutdown(self) -> None:
        self.events.append("shutdown")

    def _abort(self) -> None:
        self.events.append("abort")

    def _pauseReading(self) -> None:
        self.events.append("pause")

    def _resumeReading(self) -> None:
        self.events.append("resume")


class Recorder(Protocol):
    def __init__(self) -> None:
        self.events: list[Any] = []

    def dataReceived(self, data: bytes) -> None:
        self.events.append(data)

    def connectionLost(self, reason: Any) -> None:
        self.events.append(reason.type)


class Producer:
    def __init__(self) -> None:
        self.events: list[str] = []

    def pauseProducing(self) -> None:
        self.events.append("pause")

    def resumeProducing(self) -> None:
        self.events.append("resume")

    def stopProducing(self) -> None:
        self.events.append("stop")


class PaperTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.make()

    def make(self, **options: Any) -> None:
        self.transport = PaperTransport(self.clock, SCTPOptions(**options))
        self.protocol = self.transport.begin(Factory.forProtocol(Recorder))

    def plain(self, *messages: bytes) -> list[Any]:
        return [(each, 0, 0, True) for each in messages]

    def test_interface(self) -> None:
        """
        It is a whole C{ISCTPTransport}.
        """
        verifyObject(ISCTPTransport, self.transport)

    def test_queue(self) -> None:
        """
        What the stack does not take waits, in order, with all that belongs to it.
        """
        self.transport.room = 1
        self.transport.write(b"a")
        self.transport.sendMessage(b"b", stream=3, ppid=9, unordered=False)
        self.transport.write(b"cc")
        self.assertEqual((self.transport.events, self.transport.queued), (self.plain(b"a"), 3))
        self.transport.room = 1
        self.transport.writable()
        self.assertEqual(self.transport.queued, 2)
        self.transport.room = 5
        self.transport.writable()
        self.assertEqual(self.transport.events, [*self.plain(b"a"), (b"b", 3, 9, False), *self.plain(b"cc")])
        self.assertEqual(self.transport.queued, 0)

    def test_bound(self) -> None:
        """
        Up to the bound it waits; past it the association is aborted, and the protocol told afterwards.
        """
        self.make(sendBound=10)
        self.transport.room = 0
        self.transport.write(b"x" * 10)
        self.assertEqual(self.transport.events, [])
        self.transport.write(b"y")
        self.assertEqual((self.transport.events, self.protocol.events), (["abort"], []))
        self.transport.write(b"z")
        self.transport.abortConnection()
        self.clock.advance(0)
        self.assertEqual((self.transport.events, self.protocol.events), (["abort"], [ConnectionAborted]))

    def test_loseAfterQueue(self) -> None:
        """
        SHUTDOWN comes after what waits; nothing can be added meanwhile.
        """
        self.transport.room = 0
        self.transport.write(b"a")
        self.transport.loseConnection()
        self.transport.write(b"late")
        self.assertEqual(self.transport.events, [])
        self.transport.room = 9
        self.transport.writable()
        self.assertEqual(self.transport.events, [*self.plain(b"a"), "shutdown"])

    def test_peerShutdown(self) -> None:
        """
        After the peer's SHUTDOWN nothing is sent, and ours is not needed.
        """
        self.transport.peerShutdown()
        self.transport.write(b"late")
        self.transport.loseConnection()
        self.assertEqual(self.transport.events, [])
        self.transport.end(ConnectionDone())
        self.transport.end(ConnectionLost())
        self.assertEqual(self.protocol.events, [ConnectionDone])

    def test_pushProducer(self) -> None:
        """
        A push producer is paused when the stack blocks, resumed when nothing waits any more.
        """
        producer = Producer()
        self.transport.registerProducer(producer, True)
        with self.assertRaises(RuntimeError):
            self.transport.registerProducer(Producer(), True)
        self.transport.room = 0
        self.transport.write(b"a")
        self.transport.write(b"b")
        self.assertEqual(producer.events, ["pause"])
        self.transport.room = 1
        self.transport.writable()
        self.assertEqual(producer.events, ["pause"])
        self.transport.room = 1
        self.transport.writable()
        self.assertEqual(producer.events, ["pause", "resume"])
        self.transport.room = 0
        self.transport.write(b"c")
        self.transport.unregisterProducer()
        late = Producer()
        self.transport.registerProducer(late, True)
        self.assertEqual(late.events, ["pause"])
        self.transport.end(ConnectionLost())
        self.assertEqual(late.events, ["pause", "stop"])
        never = Producer()
        self.transport.registerProducer(never, True)
        self.assertEqual(never.events, ["stop"])

    def test_pullProducer(self) -> None:
        """
        A pull producer is asked once at first, and then whenever there is room again.
        """
        producer = Producer()
        self.transport.registerProducer(producer, False)
        self.assertEqual(producer.events, ["resume"])
        self.transport.writable()
        self.assertEqual(producer.events, ["resume", "resume"])

    def test_loseWithProducer(self) -> None:
        """
        C{loseConnection} waits for the producer to finish.
        """
        self.transport.registerProducer(Producer(), True)
        self.transport.loseConnection()
        self.transport.write(b"last")
        self.assertEqual(self.transport.events, self.plain(b"last"))
        self.transport.unregisterProducer()
        self.assertEqual(self.transport.events, [*self.plain(b"last"), "shutdown"])

    def test_failingProducer(self) -> None:
        """
        A producer that fails ends its association alone.
        """
        producer = Producer()
        self.transport.registerProducer(producer, True)
        self.transport.room = 0
        self.transport.write(b"a")
        producer.resumeProducing = lambda: 1 / 0
        self.transport.room = 1
        self.transport.writable()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.clock.advance(0)
        self.assertEqual(self.protocol.events, [ConnectionAborted])

    def test_pieces(self) -> None:
        """
        Pieces are joined; the bound counts the whole message; a good one before it is kept.
        """
        self.make(maxMessage=6)
        receive = self.transport.pieceReceived
        receive(b"abc", False, 0, 0, True)
        receive(b"de", False, 0, 0, True)
        receive(b"f", True, 0, 0, True)
        receive(b"ghijkl", True, 0, 0, True)
        self.assertEqual(self.protocol.events, [b"abcdef", b"ghijkl"])
        receive(b"1234", False, 0, 0, True)
        receive(b"567", False, 0, 0, True)
        receive(b"8", True, 0, 0, True)
        self.assertEqual(self.transport.events, ["abort"])
        self.clock.advance(0)
        self.assertEqual(self.protocol.events, [b"abcdef", b"ghijkl", ConnectionAborted])

    def test_tooLargeAtOnce(self) -> None:
        """
        The same of a message that comes in one piece.
        """
        self.make(maxMessage=6)
        self.transport.pieceReceived(b"1234567", True, 0, 0, True)
        self.assertEqual((self.transport.events, self.protocol.events), (["abort"], []))

    def test_reading(self) -> None:
        """
        Reading is paused and resumed once for each change.
        """
        self.transport.resumeProducing()
        self.transport.pauseProducing()
        self.transport.pauseProducing()
        self.assertTrue(self.transport.readPaused)
        self.transport.resumeProducing()
        self.assertEqual((self.transport.events, self.transport.readPaused), (["pause", "resume"], False))
        self.transport.stopProducing()
        self.assertEqual(self.transport.events[-1], "shutdown")

    def test_failingLoss(self) -> None:
        """
        An error in C{connectionLost} is logged.
        """
        self.protocol.connectionLost = lambda reason: 1 / 0
        self.transport.end(ConnectionDone())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_failingFactory(self) -> None:
        """
        A factory that fails is logged, its association aborted, and nothing called afterwards.
        """

        class Bad(Factory):
            def buildProtocol(self, address: Any) -> Any:
                raise ZeroDivisionError

        transport = PaperTransport(self.clock, SCTPOptions())
        self.assertIsNone(transport.begin(Bad()))
        transport.end(ConnectionLost())
        self.assertEqual(transport.events, ["abort"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class AttemptTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.events: list[str] = []
        test = self

        class Counting(Factory):
            protocol = Recorder

            def startFactory(self) -> None:
                test.events.append("start")

            def stopFactory(self) -> None:
                test.events.append("stop")

        self.factory = Counting()
        self.attempt = Attempt(self.clock, self.factory, 3.0, lambda: self.events.append("abandon"), PEER)
        self.transport = PaperTransport(self.clock, SCTPOptions())

    def end(self) -> None:
        """
        Whatever comes afterwards changes nothing.
        """
        self.attempt.failed(ConnectionRefusedError())
        self.attempt.succeeded(self.transport)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_succeeds(self) -> None:
        """
        The protocol is made; the factory stops when the association has gone.
        """
        self.attempt.succeeded(self.transport)
        protocol = self.successResultOf(self.attempt.deferred)
        self.assertIs(protocol.transport, self.transport)
        self.end()
        self.assertEqual(self.events, ["start"])
        self.transport.end(ConnectionDone())
        self.assertEqual((self.events, protocol.events), (["start", "stop"], [ConnectionDone]))

    def test_fails(self) -> None:
        """
        The error is passed on.
        """
        self.attempt.failed(refusalOf(errno.ECONNREFUSED))
        self.failureResultOf(self.attempt.deferred, ConnectionRefusedError)
        self.end()
        self.assertEqual(self.events, ["start", "stop"])

    def test_timesOut(self) -> None:
        """
        Neither before nor after its time.
        """
        self.clock.advance(2.999)
        self.assertNoResult(self.attempt.deferred)
        self.clock.advance(0.001)
        failure = self.failureResultOf(self.attempt.deferred, TimeoutError)
        self.assertIn("127.0.0.2:2 within 3 s", str(failure.value))
        self.end()
        self.assertEqual(self.events, ["start", "abandon", "stop"])

    def test_cancelled(self) -> None:
        """
        Cancelling gives it up, and says towards whom it was.
        """
        self.attempt.deferred.cancel()
        failure = self.failureResultOf(self.attempt.deferred, ConnectingCancelledError)
        self.assertEqual(failure.value.address, PEER)
        self.end()
        self.assertEqual(self.events, ["start", "abandon", "stop"])

    def test_noProtocol(self) -> None:
        """
        A factory that makes none fails the attempt.
        """
        self.factory.buildProtocol = lambda address: None
        self.attempt.succeeded(self.transport)
        self.failureResultOf(self.attempt.deferred, ConnectError)
        self.assertEqual((self.events, self.transport.events), (["start", "stop"], ["abort"]))

    def test_errors(self) -> None:
        """
        What becomes of each C{errno}.
        """
        self.assertEqual(
            [type(endOf(code)) for code in (0, errno.ECONNRESET, errno.ECONNABORTED, errno.ETIMEDOUT)],
            [ConnectionDone, ConnectionAborted, ConnectionAborted, ConnectionLost],
        )
        self.assertEqual(
            [type(refusalOf(code)) for code in (0, errno.ECONNREFUSED, errno.ETIMEDOUT, errno.ENETDOWN)],
            [ConnectionRefusedError, ConnectionRefusedError, TimeoutError, ConnectError],
        )
        self.attempt.failed(refusalOf(0))
        self.failureResultOf(self.attempt.deferred)
