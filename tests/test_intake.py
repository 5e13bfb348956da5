"""
Tests for L{sipgrace.transport.intake}.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.errors import ParseError
from sipgrace.interfaces import IAssociation
from sipgrace.message.framing import Limits
from sipgrace.message.message import Message, Response
from sipgrace.message.parser import parse
from sipgrace.testing import Recorder, makeRequest, makeResponse
from sipgrace.transport.bounds import Bounds
from sipgrace.transport.intake import Intake
from sipgrace.transport.oncepersecond import OncePerSecond, gateOf


class FakeSource:
    """
    Where bytes come from in these tests.
    """

    def __init__(self, host: str = "192.0.2.7", port: int = 5060) -> None:
        self.peerHost = host
        self.peerPort = port
        self.peerHostBytes = host.encode()
        self.up = True
        self.sent: list[bytes] = []

    def send(self, data: bytes) -> bool:
        self.sent.append(data)
        return True

    def returnPath(self, message: Message) -> IAssociation:
        return self


class Broken(Recorder):
    """
    A user that raises.
    """

    def messageReceived(self, message: object, association: IAssociation) -> None:
        super().messageReceived(message, association)
        raise ZeroDivisionError("a bug above")

    associationMade = associationLost = messageReceived


class IntakeTests(SynchronousTestCase):
    """
    L{Intake}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.user = Recorder()
        self.intake = Intake(self.user, self.clock, Bounds())
        self.source = FakeSource()
        self.lines: list[dict[str, object]] = []
        globalLogPublisher.addObserver(self.lines.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.lines.append)

    def counted(self) -> dict[str, int]:
        return {name: count for name, count in self.intake.counters.asDict().items() if count}

    def test_valid(self) -> None:
        self.intake.receive(makeRequest(b"INVITE"), self.source)
        self.intake.receive(makeResponse(makeRequest(b"INVITE"), 180), self.source)
        self.assertEqual(self.user.names(), ["INVITE", "180 INVITE"])
        self.assertEqual(self.counted(), {"received": 2})
        self.assertEqual((self.source.sent, self.lines), ([], []))

    def test_receivedAndRport(self) -> None:
        """
        RFC 3261 §18.2.1 and RFC 3581 §4, on requests alone.
        """
        request = makeRequest(b"OPTIONS", via=b"SIP/2.0/UDP phone.example.com;rport")
        self.intake.receive(request, self.source)
        self.intake.receive(makeResponse(request, 200), self.source)
        self.assertEqual(
            [message.get(b"Via") for message in self.user.messages()],
            [
                b"SIP/2.0/UDP phone.example.com;branch=z9hG4bK1;received=192.0.2.7;rport=5060",
                b"SIP/2.0/UDP phone.example.com;rport;branch=z9hG4bK1",
            ],
        )

    def test_answered(self) -> None:
        """
        What can be answered is, on the way that responses take, with its own Via marked.
        """
        bad = makeRequest(b"OPTIONS", via=b"SIP/2.0/UDP phone.example.com").replace(b"1 OPTIONS", b"1 BYE")
        self.intake.receive(bad, self.source)
        answer = parse(self.source.sent[0])
        assert isinstance(answer, Response)
        self.assertEqual(answer.status, 400)
        self.assertEqual(
            answer.get(b"Via"), b"SIP/2.0/UDP phone.example.com;branch=z9hG4bK1;received=192.0.2.7"
        )
        self.assertEqual(self.counted(), {"refused": 1, "answered": 1})
        self.assertEqual(self.user.names(), [])

    def test_limits(self) -> None:
        """
        The bounds given count, not those of the parser.
        """
        intake = Intake(self.user, self.clock, Bounds(message=Limits(message=1000)))
        intake.receive(makeRequest(b"MESSAGE", body=b"x" * 1000), self.source)
        self.assertTrue(self.source.sent[0].startswith(b"SIP/2.0 413 "))
        intake = Intake(self.user, self.clock, Bounds(message=Limits(message=100000)))
        intake.receive(makeRequest(b"MESSAGE", body=b"x" * 70000), self.source)
        self.assertEqual(self.user.names(), ["MESSAGE"])

    def test_answeredThoughTheViaIsBad(self) -> None:
        """
        An answer that cannot be read itself goes back where the input came from.
        """
        self.intake.refuse(ParseError("bad", answer=b"SIP/2.0 400 bad\r\n\r\n"), self.source)
        self.assertEqual(self.source.sent, [b"SIP/2.0 400 bad\r\n\r\n"])

    def test_unanswerable(self) -> None:
        """
        A bad response and a bad ACK are not answered: that could go on for ever.
        """
        self.intake.receive(makeResponse(makeRequest(b"BYE"), 200).replace(b"CSeq", b"X-Seq"), self.source)
        self.intake.receive(makeRequest(b"ACK").replace(b"1 ACK", b"1 BYE"), self.source)
        self.assertEqual(self.source.sent, [])
        self.assertEqual(self.counted(), {"refused": 2, "unlogged": 1})

    def test_silent(self) -> None:
        """
        Keep-alives, STUN and binary rubbish leave no line and get no answer.
        """
        stun = b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12)
        for data in (
            b"\r\n\r\n",
            b"\r\n",
            b"\0",
            b"\0\0\0\0",
            b"",
            b"  \r\n",
            stun,
            b"\x80rtp",
            b"\xff" * 99,
        ):
            self.intake.receive(data, self.source)
        self.assertEqual(self.counted(), {"ignored": 9})
        self.assertEqual((self.source.sent, self.lines), ([], []))

    def test_oneLinePerPeerAndSecond(self) -> None:
        other = FakeSource("192.0.2.8")
        for port in range(20):
            self.intake.receive(b"garbage", FakeSource("192.0.2.7", 1024 + port))
            self.intake.receive(b"garbage", other)
        self.clock.advance(0.999)
        self.intake.receive(b"garbage", self.source)
        self.assertEqual([line["peer"] for line in self.lines], ["192.0.2.7", "192.0.2.8"])
        self.clock.advance(0.001)
        self.intake.receive(b"garbage", self.source)
        self.assertEqual([line["peer"] for line in self.lines], ["192.0.2.7", "192.0.2.8", "192.0.2.7"])
        self.assertEqual({line["log_level"] for line in self.lines}, {LogLevel.warn})
        self.assertEqual(self.counted(), {"refused": 42, "unlogged": 39})

    def test_lineSaysWhat(self) -> None:
        """
        The line names the peer and the fault, and repeats none of the peer's bytes.
        """
        self.intake.receive(b"evil \x1b[31m words\r\n\r\n", self.source)
        text = formatEvent(self.lines[0])
        self.assertTrue(text.startswith("refused a message from 192.0.2.7: "), text)
        self.assertGreater(len(text), len("refused a message from 192.0.2.7: "))
        self.assertNotIn("evil", text)
        self.assertTrue(text.isprintable())

    def test_lateRequests(self) -> None:
        """
        After shutdown() nobody can answer: ACK and responses alone still come up.
        """
        self.source.up = False
        self.intake.receive(makeRequest(b"INVITE"), self.source)
        self.intake.receive(makeRequest(b"ACK"), self.source)
        self.intake.receive(makeResponse(makeRequest(b"BYE"), 200), self.source)
        self.assertEqual(self.user.names(), ["ACK", "200 BYE"])
        self.assertEqual(self.counted(), {"late": 1, "received": 2})

    def test_userRaises(self) -> None:
        """
        A bug above costs one message, which is answered 500 unless it is an ACK or a response; all
        from one peer within a second is one line.
        """
        self.intake.user = Broken()
        self.intake.receive(makeRequest(b"INVITE"), self.source)
        self.intake.receive(makeRequest(b"ACK"), self.source)
        self.intake.receive(makeResponse(makeRequest(b"BYE"), 200), self.source)
        statuses = []
        for data in self.source.sent:
            response = parse(data)
            assert isinstance(response, Response)
            statuses.append((response.status, response.cseqMethod, bool(response.toTag)))
        self.assertEqual(statuses, [(500, b"INVITE", True)])
        self.assertEqual(self.counted(), {"received": 3, "failed": 3, "unlogged": 2})
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_userRaisesOverAssociations(self) -> None:
        near = FakeSource()
        self.intake.user = Broken()
        self.intake.made(near)
        self.intake.lost(near, None)
        self.assertEqual(self.counted(), {"failed": 2, "unlogged": 1})
        self.flushLoggedErrors()

    def test_parserRaises(self) -> None:
        """
        A bug in the parser costs one message, too.
        """

        class Odd(bytes):
            def splitlines(self, keepends: bool = False) -> list[bytes]:
                raise RecursionError("a bug below")

        self.intake.receive(Odd(makeRequest(b"INVITE")), self.source)
        self.assertEqual(self.counted(), {"failed": 1})
        self.assertEqual(len(self.flushLoggedErrors(RecursionError)), 1)


class OncePerSecondTests(SynchronousTestCase):
    """
    L{OncePerSecond}.
    """

    def setUp(self) -> None:
        self.gate = OncePerSecond(bound=3)

    def test_slidingSecond(self) -> None:
        """
        A second from the last pass, wherever the generations change.
        """
        passed = [eighth for eighth in range(45) if self.gate.passes("a", 1000 + eighth / 8)]
        self.assertEqual(passed, [0, 8, 16, 24, 32, 40])
        late = OncePerSecond()
        self.assertEqual([late.passes("x", 0.0), late.passes("a", 0.75)], [True, True])
        self.assertEqual(
            [late.passes("a", time) for time in (1.0, 1.5, 1.75, 2.5)], [False, False, True, False]
        )

    def test_bounded(self) -> None:
        """
        However many peers there are, no more than the bound pass in a second, or are remembered.
        """
        self.assertEqual(sum(self.gate.passes(str(number), 5.0) for number in range(1000)), 3)
        self.assertEqual(sum(self.gate.passes(str(number), 6.5) for number in range(1000)), 3)
        self.assertLessEqual(len(self.gate), 6)

    def test_idle(self) -> None:
        passed = [self.gate.passes("a", time) for time in (1.0, 11.0, 11.5)]
        self.assertEqual(passed, [True, True, False])

    def test_oneForAll(self) -> None:
        """
        All on one reactor share one.
        """
        one, other = Clock(), Clock()
        self.assertIs(gateOf(one), gateOf(one))
        self.assertIsNot(gateOf(one), gateOf(other))
