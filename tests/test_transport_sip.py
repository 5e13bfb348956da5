"""
Tests for L{sipgrace.transport.sip} over a wire of paper, with a L{Clock}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHandshakeListener, IProtocol, IPushProducer
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from sipgrace.interfaces import IAssociation
from sipgrace.message.message import Message
from sipgrace.testing import Recorder, makeRequest, makeResponse
from sipgrace.transport.bounds import Bounds
from sipgrace.transport.intake import Intake
from sipgrace.transport.sip import SIPProtocol


class Wire:
    """
    What an association is told to do, in order. Writes are joined where nothing stands between.
    """

    def __init__(self, peer: Any = None) -> None:
        self.peer = peer or IPv4Address("TCP", "192.0.2.7", 40000)
        self.done: list[Any] = []
        self.producer: Any = None

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.1", 5060)

    def getPeer(self) -> Any:
        return self.peer

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def write(self, data: bytes) -> None:
        if not data:
            raise ValueError("an SCTP message has at least one byte")
        self.done.append(data)

    def loseConnection(self) -> None:
        self.done.append("close")

    def loseWriteConnection(self) -> None:
        self.done.append("FIN")

    def abortConnection(self) -> None:
        self.done.append("RST")


class StreamCase(SynchronousTestCase):
    """
    One accepted association.
    """

    transport = b"TCP"

    def setUp(self) -> None:
        self.clock = Clock()
        self.user = Recorder()
        self.gone: list[SIPProtocol] = []
        self.intake = Intake(self.user, self.clock, Bounds(unsent=1000))
        self.protocol = SIPProtocol(
            self.intake, self.transport, "network", False, b"SIP/2.0/TCP 192.0.2.1:5060", self.gone.append
        )
        self.wire = Wire()
        self.protocol.makeConnection(self.wire)

    def lose(self, error: Exception) -> None:
        self.protocol.connectionLost(Failure(error))

    def counted(self) -> dict[str, int]:
        return {name: count for name, count in self.intake.counters.asDict().items() if count}


class TCPTests(StreamCase):
    """
    Over TCP.
    """

    def test_interfaces(self) -> None:
        for interface in (IAssociation, IProtocol, IPushProducer, IHandshakeListener):
            self.assertTrue(verifyObject(interface, self.protocol))
        protocol = self.protocol
        self.assertEqual(
            (
                protocol.transport,
                protocol.reliable,
                protocol.zone,
                protocol.opened,
                protocol.up,
                protocol.via,
            ),
            (b"TCP", True, "network", False, True, b"SIP/2.0/TCP 192.0.2.1:5060"),
        )
        self.assertEqual(
            (protocol.localHost, protocol.localPort, protocol.peerHost, protocol.peerPort),
            ("192.0.2.1", 5060, "192.0.2.7", 40000),
        )

    def test_made(self) -> None:
        self.assertEqual(self.user.events, [("made", self.protocol)])
        self.assertIs(self.successResultOf(self.protocol.whenUp), self.protocol)

    def test_viaOfLocalAddress(self) -> None:
        protocol = SIPProtocol(self.intake, b"TCP", "network", True)
        protocol.makeConnection(Wire(IPv6Address("TCP", "::ffff:192.0.2.9", 5060)))
        self.assertEqual((protocol.via, protocol.peerHost), (b"SIP/2.0/TCP 192.0.2.1:5060", "192.0.2.9"))

    def test_piecewise(self) -> None:
        """
        However a message is cut, it arrives once, and those behind it too.
        """
        first, second = makeRequest(b"INVITE", body=b"v=0\r\n\r\n"), makeRequest(b"BYE")
        stream = first + second
        for cut in range(1, len(stream)):
            self.user.take()
            self.protocol.dataReceived(stream[:cut])
            self.protocol.dataReceived(stream[cut:])
            self.assertEqual(self.user.names(), ["INVITE", "BYE"])
        for place in range(len(stream)):
            self.protocol.dataReceived(stream[place : place + 1])
        self.assertEqual(self.user.take(), ["INVITE", "BYE", "INVITE", "BYE"])

    def test_held(self) -> None:
        """
        What comes while it is held is heard when that ends, in order, and the peer's end after it. What can
        be sent is sent meanwhile.
        """
        self.user.take()
        self.protocol.hold()
        both = makeRequest(b"INVITE", body=b"v=0\r\n\r\n") + makeRequest(b"BYE")
        self.protocol.dataReceived(both[:100])
        self.protocol.dataReceived(both[100:])
        self.protocol.readConnectionLost()
        self.assertTrue(self.protocol.send(b"something"))
        self.assertEqual((self.user.take(), self.wire.done), ([], [b"something"]))
        self.protocol.release()
        ended = [b"something", "close", "close"]
        self.assertEqual((self.user.take(), self.wire.done), (["INVITE", "BYE"], ended))
        self.protocol.release()
        self.assertEqual(self.user.take(), [])

    def test_heldAndLost(self) -> None:
        """
        What was kept is not heard any more where the association has gone, nor when it was ended here.
        """
        for end in (lambda test: test.lose(ConnectionDone()), lambda test: test.protocol.abort()):
            self.setUp()
            self.user.take()
            self.protocol.hold()
            self.protocol.dataReceived(makeRequest(b"BYE"))
            end(self)
            self.protocol.release()
            self.assertNotIn("BYE", self.user.take())

    def test_heldTooMuch(self) -> None:
        """
        There is a bound to what is kept.
        """
        self.protocol.hold()
        self.protocol.dataReceived(bytes(1000))
        self.assertEqual(self.wire.done, [])
        self.protocol.dataReceived(bytes(1))
        self.assertEqual((self.wire.done, self.counted()), (["RST"], {"overflowed": 1}))

    def test_heldAgain(self) -> None:
        """
        What was heard after it was held counts no more when it is held again.
        """
        request = makeRequest(b"BYE")
        for _ in range(5):
            self.protocol.hold()
            self.protocol.dataReceived(request)
            self.protocol.release()
        self.assertEqual((self.user.take()[-5:], self.wire.done), (["BYE"] * 5, []))

    def test_received(self) -> None:
        self.protocol.dataReceived(makeRequest(b"BYE", via=b"SIP/2.0/TCP phone;rport"))
        self.assertEqual(
            self.user.messages()[0].get(b"Via"),
            b"SIP/2.0/TCP phone;branch=z9hG4bK1;received=192.0.2.7;rport=40000",
        )
        self.assertIs(self.user.events[-1][1], self.protocol)

    def test_keepAlive(self) -> None:
        """
        A double CRLF is answered with a CRLF (RFC 5626 §3.5.1), a single one is not.
        """
        self.protocol.dataReceived(b"\r\n")
        self.assertEqual(self.wire.done, [])
        self.protocol.dataReceived(b"\r\n")
        self.assertEqual(self.wire.done, [b"\r\n"])
        self.protocol.dataReceived(b"\r\n\r\n" + makeRequest(b"OPTIONS"))
        self.assertEqual(self.wire.done, [b"\r\n", b"\r\n"])
        self.assertEqual(self.user.names(), ["made", "OPTIONS"])
        self.assertEqual(self.counted(), {"pings": 2, "received": 1})

    def test_refusedGoesOn(self) -> None:
        """
        A bad message whose end is known is answered; the connection stays.
        """
        self.protocol.dataReceived(makeRequest(b"BYE").replace(b"1 BYE", b"1 ACK"))
        self.protocol.dataReceived(makeRequest(b"OPTIONS"))
        self.assertEqual(self.user.names(), ["made", "OPTIONS"])
        self.protocol.dataReceived(makeRequest(b"OPTIONS").replace(b"1 OPTIONS", b"1 BYE"))
        self.assertTrue(self.wire.done[-1].startswith(b"SIP/2.0 400 "))
        self.assertTrue(self.protocol.up)

    def test_framingLost(self) -> None:
        """
        Without Content-Length nobody knows where the next message begins: what stood before is handed
        up, the rest answered where it can be, then our side ends, and nothing is heard any more.
        """
        bad = makeRequest(b"OPTIONS").replace(b"Content-Length: 0\r\n", b"")
        self.protocol.dataReceived(makeRequest(b"BYE") + bad + makeRequest(b"BYE"))
        self.protocol.dataReceived(makeRequest(b"BYE"))
        self.assertEqual(self.user.names(), ["made", "BYE"])
        self.assertTrue(self.wire.done[0].startswith(b"SIP/2.0 400 Missing Content-Length"))
        self.assertEqual(self.wire.done[1:], ["FIN"])
        self.assertFalse(self.protocol.up)
        self.clock.advance(4.9)
        self.assertEqual(self.wire.done[2:], [])
        self.clock.advance(0.1)
        self.assertEqual(self.wire.done[2:], ["RST"])
        self.lose(ConnectionAborted())
        self.assertEqual(self.user.take(), ["made", "BYE", "lost ConnectionAborted"])

    def test_oversized(self) -> None:
        self.protocol.dataReceived(makeRequest(b"MESSAGE", body=b"x" * 70000)[:5000])
        self.assertTrue(self.wire.done[0].startswith(b"SIP/2.0 413 "))
        self.assertEqual(self.wire.done[1:], ["FIN"])
        self.assertEqual(self.counted(), {"refused": 1, "answered": 1})

    def test_garbage(self) -> None:
        """
        What is no SIP at all has an end, too: the size of a message.
        """
        for _ in range(70):
            self.protocol.dataReceived(b"\x16\x03\x01" + b"x" * 1021)
        self.assertEqual(self.wire.done, ["FIN"])
        self.assertEqual(self.counted(), {"refused": 1})

    def test_slowMessage(self) -> None:
        """
        A message that trickles in must end within the bound, however often some of it comes.
        """
        data = makeRequest(b"OPTIONS")
        for second in range(31):
            self.protocol.dataReceived(data[second : second + 1])
            self.clock.advance(1)
        self.assertEqual(self.wire.done, [])
        self.protocol.dataReceived(data[31:40])
        self.clock.advance(1)
        self.assertEqual(self.wire.done, ["RST"])
        self.assertFalse(self.protocol.up)
        self.assertEqual(self.counted(), {"stalled": 1})
        self.lose(ConnectionAborted())
        self.assertEqual(self.user.names(), ["made", "lost ConnectionAborted"])

    def test_eachMessageHasItsTime(self) -> None:
        """
        The bound is for each message alone, and an idle association has none.
        """
        data = makeRequest(b"OPTIONS")
        self.protocol.dataReceived(data[:50])
        for _ in range(5):
            self.clock.advance(20)
            self.protocol.dataReceived(data[50:] + data[:50])
        self.protocol.dataReceived(data[50:])
        self.clock.advance(3600)
        self.assertEqual(self.user.names(), ["made"] + ["OPTIONS"] * 6)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.protocol.dataReceived(data[:50])
        self.clock.advance(31.9)
        self.assertEqual(self.wire.done, [])
        self.clock.advance(0.1)
        self.assertEqual(self.wire.done, ["RST"])

    def test_backPressure(self) -> None:
        """
        What the wire does not take is kept and sent in order.
        """
        self.protocol.send(b"1")
        self.wire.producer.pauseProducing()
        self.assertTrue(self.protocol.send(b"2"))
        self.assertTrue(self.protocol.send(b"3"))
        self.assertEqual(self.wire.done, [b"1"])
        self.wire.producer.resumeProducing()
        self.protocol.send(b"4")
        self.assertEqual(self.wire.done, [b"1", b"2", b"3", b"4"])

    def test_backPressureAgain(self) -> None:
        """
        A wire that pauses in the midst of it gets no more.
        """
        self.wire.producer.pauseProducing()
        for data in (b"1", b"2", b"3"):
            self.protocol.send(data)
        write = self.wire.write

        def writeAndPause(data: bytes) -> None:
            write(data)
            self.protocol.pauseProducing()

        self.wire.write = writeAndPause
        self.protocol.resumeProducing()
        self.assertEqual(self.wire.done, [b"1"])
        self.protocol.resumeProducing()
        self.assertEqual(self.wire.done, [b"1", b"2"])

    def test_slowReader(self) -> None:
        """
        Past the bound the association is aborted, and the message that passed it went nowhere.
        """
        self.wire.producer.pauseProducing()
        self.assertEqual([self.protocol.send(b"x" * 250) for _ in range(6)], [True] * 4 + [False] * 2)
        self.assertEqual(self.wire.done, ["RST"])
        self.assertFalse(self.protocol.up)
        self.assertEqual(self.counted(), {"overflowed": 1})
        self.lose(ConnectionAborted())
        self.assertEqual(self.user.names(), ["made", "lost ConnectionAborted"])

    def test_boundCountsWhatIsKept(self) -> None:
        self.wire.producer.pauseProducing()
        for _ in range(10):
            self.assertEqual([self.protocol.send(b"x" * 250) for _ in range(4)], [True] * 4)
            self.wire.producer.resumeProducing()
            self.wire.producer.pauseProducing()

    def test_reserve(self) -> None:
        """
        Beyond its own bound an association keeps what the others leave of the reserve, and gives it back when
        its peer reads, or is lost.
        """
        bounds = self.intake.bounds
        bounds.reserve.size = 1000
        self.wire.producer.pauseProducing()
        self.assertEqual([self.protocol.send(b"x" * 250) for _ in range(7)], [True] * 7)
        self.assertEqual(bounds.reserve.taken, 750)
        other = SIPProtocol(self.intake, self.transport, "network", False, b"SIP/2.0/TCP 192.0.2.1:5060")
        wire = Wire()
        other.makeConnection(wire)
        wire.producer.pauseProducing()
        self.assertEqual([other.send(b"x" * 250) for _ in range(6)], [True] * 5 + [False])
        self.assertEqual((wire.done, bounds.reserve.taken), (["RST"], 750))
        other.connectionLost(Failure(ConnectionAborted()))
        self.wire.producer.resumeProducing()
        self.assertEqual((len(self.wire.done), bounds.reserve.taken), (7, 0))
        self.wire.producer.pauseProducing()
        self.assertEqual([self.protocol.send(b"x" * 250) for _ in range(8)], [True] * 8)
        self.assertEqual(bounds.reserve.taken, 1000)
        self.lose(ConnectionLost())
        self.assertEqual(bounds.reserve.taken, 0)

    def test_unsendable(self) -> None:
        """
        What the wire will not take at all is refused; the association lives.
        """
        self.assertFalse(self.protocol.send(b""))
        self.assertTrue(self.protocol.up)
        self.assertEqual(self.counted(), {"unsendable": 1})

    def test_unsendableHeld(self) -> None:
        """
        One that was kept is left out, too, and what was kept behind it is sent.
        """
        self.wire.producer.pauseProducing()
        for data in (b"1", b"", b"2"):
            self.assertTrue(self.protocol.send(data))
        self.wire.producer.resumeProducing()
        self.assertEqual(self.wire.done, [b"1", b"2"])
        self.assertEqual(self.counted(), {"unsendable": 1})

    def test_shutdown(self) -> None:
        """
        First what is kept, then FIN; then the peer's end, which is the end.
        """
        self.wire.producer.pauseProducing()
        self.protocol.send(b"1")
        self.protocol.shutdown()
        self.assertFalse(self.protocol.up)
        self.assertFalse(self.protocol.send(b"2"))
        self.assertEqual(self.wire.done, [])
        self.wire.producer.resumeProducing()
        self.assertEqual(self.wire.done, [b"1", "FIN"])
        self.assertIsNone(self.wire.producer)
        self.protocol.shutdown()
        self.protocol.readConnectionLost()
        self.assertEqual(self.wire.done, [b"1", "FIN", "close"])
        self.lose(ConnectionDone())
        self.assertEqual(self.user.names(), ["made", "lost ConnectionDone"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_shutdownUnfinished(self) -> None:
        """
        A peer that never ends its side is aborted after 64*T1.
        """
        self.protocol.shutdown()
        self.clock.advance(31.9)
        self.assertEqual(self.wire.done, ["FIN"])
        self.clock.advance(0.1)
        self.assertEqual(self.wire.done, ["FIN", "RST"])

    def test_afterShutdown(self) -> None:
        """
        Responses and ACK still come up; requests, which nobody could answer, do not.
        """
        self.protocol.shutdown()
        for data in (makeRequest(b"INVITE"), makeRequest(b"ACK"), makeResponse(makeRequest(b"BYE"), 200)):
            self.protocol.dataReceived(data)
        self.assertEqual(self.user.names(), ["made", "ACK", "200 BYE"])

    def test_peerEndsFirst(self) -> None:
        """
        The peer's FIN: what is kept is sent, then all is closed.
        """
        self.wire.producer.pauseProducing()
        self.protocol.send(b"1")
        self.protocol.readConnectionLost()
        self.assertFalse(self.protocol.up)
        self.assertEqual(self.wire.done, [])
        self.wire.producer.resumeProducing()
        self.assertEqual(self.wire.done[:2], [b"1", "close"])
        self.lose(ConnectionDone())
        self.assertEqual(self.user.names(), ["made", "lost ConnectionDone"])

    def test_peerEndsFirstWithNothingKept(self) -> None:
        self.protocol.readConnectionLost()
        self.assertEqual(set(self.wire.done), {"close"})

    def test_abort(self) -> None:
        self.protocol.abort()
        self.assertEqual((self.wire.done, self.protocol.up), (["RST"], False))
        self.assertFalse(self.protocol.send(b"1"))
        self.protocol.dataReceived(makeRequest(b"OPTIONS"))
        self.lose(ConnectionAborted())
        self.assertEqual(self.user.names(), ["made", "lost ConnectionAborted"])

    def test_abortAfterShutdown(self) -> None:
        self.protocol.shutdown()
        self.protocol.abort()
        self.assertEqual(self.wire.done, ["FIN", "RST"])

    def test_lostOnce(self) -> None:
        """
        However often the wire says so; and then there is nothing left to end.
        """
        self.lose(ConnectionLost())
        self.lose(ConnectionDone())
        self.protocol.shutdown()
        self.protocol.abort()
        self.assertEqual(self.user.names(), ["made", "lost ConnectionLost"])
        self.assertEqual((self.gone, self.wire.done), ([self.protocol], []))

    def test_otherReasons(self) -> None:
        """
        Whatever else the wire reports is a C{ConnectionLost} that says it.
        """
        self.lose(ZeroDivisionError("TLS alert"))
        reason = self.user.events[-1][2]
        self.assertEqual((reason.type, "TLS alert" in reason.getErrorMessage()), (ConnectionLost, True))

    def test_endedFromWithin(self) -> None:
        """
        A user that aborts over a message gets none of those behind it.
        """

        def abort(message: Message, association: IAssociation) -> None:
            association.abort()

        self.user.answer = abort
        self.protocol.dataReceived(makeRequest(b"OPTIONS") * 3)
        self.assertEqual(self.user.names(), ["made", "OPTIONS"])


class SCTPTests(StreamCase):
    """
    Over SCTP.
    """

    transport = b"SCTP"

    def test_wholeMessages(self) -> None:
        """
        Each read is one message: no Content-Length is needed, and nothing is joined (RFC 4168).
        """
        self.protocol.dataReceived(makeRequest(b"OPTIONS").replace(b"Content-Length: 0\r\n", b""))
        data = makeRequest(b"OPTIONS")
        self.protocol.dataReceived(data[:50])
        self.protocol.dataReceived(data[50:])
        self.protocol.dataReceived(data)
        self.assertEqual(self.user.names(), ["made", "OPTIONS", "OPTIONS"])
        self.assertTrue(self.protocol.up)
        self.assertEqual(self.counted()["refused"], 2)

    def test_oversized(self) -> None:
        self.protocol.dataReceived(makeRequest(b"MESSAGE", body=b"x" * 70000))
        self.assertTrue(self.wire.done[0].startswith(b"SIP/2.0 413 "))
        self.assertTrue(self.protocol.up)

    def test_shutdown(self) -> None:
        """
        SCTP knows no half-closed state.
        """
        self.protocol.shutdown()
        self.assertEqual(self.wire.done, ["close"])
        self.clock.advance(32)
        self.assertEqual(self.wire.done, ["close", "RST"])


class TLSTests(StreamCase):
    """
    Over TLS.
    """

    transport = b"TLS"

    def test_madeAfterHandshake(self) -> None:
        self.assertFalse(self.protocol.up)
        self.assertFalse(self.protocol.send(b"1"))
        self.assertEqual(self.user.names(), [])
        self.protocol.handshakeCompleted()
        self.assertEqual(self.user.names(), ["made"])
        self.assertTrue(self.protocol.up)
        self.clock.advance(3600)
        self.assertEqual(self.wire.done, [])

    def test_handshakeFails(self) -> None:
        """
        What was never made is never lost.
        """
        self.lose(ZeroDivisionError("certificate verify failed"))
        self.assertEqual(self.user.names(), [])
        failure = self.failureResultOf(self.protocol.whenUp, ConnectionLost)
        self.assertIn("certificate verify failed", failure.getErrorMessage())
        self.assertEqual(self.gone, [self.protocol])

    def test_handshakeStalls(self) -> None:
        self.clock.advance(32)
        self.assertEqual(self.wire.done, ["RST"])
        self.assertEqual(self.counted(), {"stalled": 1})
        self.protocol.handshakeCompleted()
        self.lose(ConnectionAborted())
        self.failureResultOf(self.protocol.whenUp, ConnectionAborted)
        self.assertEqual(self.user.names(), [])

    def test_shutdownBeforeHandshake(self) -> None:
        self.protocol.shutdown()
        self.assertEqual(self.wire.done, ["RST"])
        self.lose(ConnectionAborted())
        self.failureResultOf(self.protocol.whenUp, ConnectionAborted)

    def test_shutdown(self) -> None:
        self.protocol.handshakeCompleted()
        self.protocol.shutdown()
        self.assertEqual(self.wire.done, ["close"])
