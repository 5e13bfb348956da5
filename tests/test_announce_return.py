"""
When a server is scheduled to return, and why it left: what its answers say, and what a client keeps of it.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.client.probe import Available, Failed, OptionsProbe, Outcome, Unavailable
from sipgrace.errors import ParseError
from sipgrace.lifecycle.availability import Availability, availabilityOf, commentOf, scheduledReturn
from sipgrace.lifecycle.gate import Gate
from sipgrace.message.message import Message, Response
from sipgrace.message.parser import parse
from sipgrace.proxy.own import unavailable
from sipgrace.proxy.target import Answer
from sipgrace.testing import MemoryNetwork, Recorder, makeRequest, makeResponse
from sipgrace.transaction.layer import TransactionLayer
from sipgrace.transaction.timers import TimerQueue
from tests.test_client_link import inState


class Said(SynchronousTestCase):
    """
    L{sipgrace.lifecycle.availability}.
    """

    def test_answer(self) -> None:
        """
        The 503 of a draining server.
        """
        clock = Clock()
        gate = Gate(clock, spread=0)
        gate.close(30.0, "new kernel")
        self.assertEqual(unavailable(gate, "a"), Answer(503, ((b"Retry-After", b"30 (new kernel)"),)))
        gate.back = 99.5
        self.assertEqual(
            unavailable(gate, "a"),
            Answer(503, ((b"Retry-After", b"30 (new kernel)"), (b"Scheduled-Return", b"100"))),
        )
        self.assertEqual(gate.refused, 2)
        clock.advance(99.5)
        self.assertEqual(unavailable(gate, "a"), Answer(503, ((b"Retry-After", b"1 (new kernel)"),)))
        gate.openAgain()
        gate.close(200.0, "")
        self.assertEqual(unavailable(gate, "a"), Answer(503, ((b"Retry-After", b"101"),)))

    def test_backIsForgotten(self) -> None:
        gate = Gate(Clock())
        gate.close(30.0, "")
        gate.back = 50.0
        self.assertEqual(gate.returnsIn(), 50)
        gate.openAgain()
        gate.close(30.0, "")
        self.assertIsNone(gate.returnsIn())

    def test_imagined(self) -> None:
        """
        An imagined gate has the spread of the real one, which stays open.
        """
        gate = Gate(Clock(), spread=100)
        imagined = gate.imagined(40.0, "x", 60.0)
        gate2 = Gate(Clock(), spread=100)
        gate2.close(40.0, "")
        self.assertEqual(imagined.retryAfter("a"), gate2.retryAfter("a"))
        self.assertEqual((imagined.returnsIn(), imagined.reason, gate.open), (60, "x", True))

    def test_available(self) -> None:
        self.assertEqual(availabilityOf(Gate(Clock()), "a"), Availability(True))
        self.assertEqual(Availability(True).headers(), ())

    def test_comment(self) -> None:
        """
        Whatever the reason, it is one comment.
        """
        for reason, comment in (
            ("", b""),
            ("plain", b"plain"),
            ("a (b) \\ c", b"a \\(b\\) \\\\ c"),
            ("two\r\nlines\x00", b"two  lines"),
            ("größer", "größer".encode()),
            ("x" * 300, b"x" * 200),
        ):
            self.assertEqual(commentOf(reason), comment)
            said = Availability(False, 5, comment)
            self.assertEqual(Availability.parse(said.fragment()), said)

    def test_parse(self) -> None:
        """
        Read leniently: bare line feeds, folded lines, any case, unknown headers, a body.
        """
        for fragment, expected in (
            (b"SIP/2.0 200 OK\r\n", Availability(True)),
            (b"SIP/2.0 299", Availability(True)),
            (b"SIP/2.0 503 \n", Availability(False)),
            (
                b"SIP/2.0 503 Gone\nX: y\nRETRY-AFTER :  9\n  (a\n b)\nscheduled-return:7\nRetry-After: 1\n",
                Availability(False, 9, b"a b", 7),
            ),
            (b"SIP/2.0 503 S\r\n\r\nRetry-After: 9\r\n", Availability(False)),
            (b"SIP/2.0 503 S\r\nScheduled-Return: tomorrow\r\n", Availability(False)),
            (b"SIP/2.0 503 S\r\nScheduled-Return: 9999999999\r\n", Availability(False)),
        ):
            self.assertEqual(Availability.parse(fragment), expected, fragment)

    def test_malformed(self) -> None:
        for fragment in (
            b"",
            b"Retry-After: 9\r\n",
            b"SIP/2.0 99 No\r\n",
            b"SIP/3.0 200 OK\r\n",
            b"SIP/2.0 486 B",
        ):
            self.assertRaises(ParseError, Availability.parse, fragment)
        self.assertRaises(ParseError, Availability.parse, b"SIP/2.0 503 S\r\nRetry-After: x\r\n")

    def test_scheduledReturn(self) -> None:
        invite = makeRequest(b"INVITE")
        for value, expected in ((b"60", 60), (b"soon", None), (b"-1", None)):
            response = parse(makeResponse(invite, 503, headers=((b"Scheduled-Return", value),)))
            self.assertEqual(scheduledReturn(response), expected)
        self.assertIsNone(scheduledReturn(parse(makeResponse(invite, 503))))


class Kept(SynchronousTestCase):
    """
    What a link keeps.
    """

    def test_counting(self) -> None:
        """
        It runs down, and goes on below 0 where the server is overdue.
        """
        world = inState("Active")
        self.assertIsNone(world.link.returnsIn)
        world.link.unavailable(30.0, 100.0)
        self.assertEqual(world.link.status()["scheduledReturn"], 100.0)
        world.clock.advance(10)
        world.link.unavailable(30.0)
        self.assertEqual(world.link.returnsIn, 90.0)
        world.link.unavailable(30.0, 50.0)
        self.assertEqual(world.link.returnsIn, 50.0)
        world.clock.advance(30)
        world.outcome(Failed("answered 500"))
        world.clock.advance(25)
        self.assertEqual(world.link.returnsIn, -5.0)

    def test_returned(self) -> None:
        """
        It is over when the server is back, whenever that is.
        """
        world = inState("Active")
        world.link.unavailable(30.0, 100.0)
        world.link.available()
        world.outcome(Available())
        self.assertTrue(world.link.active)
        self.assertIsNone(world.link.returnsIn)

    def test_tested(self) -> None:
        """
        A test may tell it, too.
        """
        world = inState("Testing")
        world.outcome(Unavailable(30.0, 70))
        self.assertEqual((world.state, world.link.returnsIn), ("Counting", 70.0))

    def test_probe(self) -> None:
        """
        The test reads it from the answer, bears an offer of overload control, and lets others see the answer.
        """
        clock = Clock()
        network = MemoryNetwork(clock)
        layer = TransactionLayer(TimerQueue(clock), cast(Any, None))
        asked: list[Message] = []

        def answer(message: Message, association: Any) -> None:
            asked.append(message)
            headers = ((b"Retry-After", b"30"), (b"Scheduled-Return", b"70"))
            association.send(makeResponse(cast(Any, message), 503, headers=headers))

        network.element(Recorder(answer), "192.0.2.1")
        client = network.element(Recorder(lambda m, a: layer.messageReceived(cast(Any, m), a)), "192.0.2.2")
        heard: list[Response] = []
        outcomes: list[Outcome] = []
        probe = OptionsProbe(layer, clock, lambda: b"t", offer=b";oc")
        probe.test(client.connect("192.0.2.1"), heard.append).addCallback(outcomes.append)
        clock.advance(0)
        self.assertEqual(outcomes, [Unavailable(30.0, 70)])
        self.assertEqual([response.status for response in heard], [503])
        self.assertEqual(asked[0].get(b"Via"), b"SIP/2.0/SCTP 192.0.2.2:5060;branch=z9hG4bKt;oc")
