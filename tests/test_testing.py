"""
Tests for L{sipgrace.testing}: others rely on the fakes to behave as the real things.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from sipgrace.errors import TransportError
from sipgrace.interfaces import IAssociation, IAssociationUser, IListener
from sipgrace.message.message import Message
from sipgrace.testing import (
    Faults,
    MemoryNetwork,
    Recorder,
    associationPair,
    makeRequest,
    makeResponse,
    nameOf,
)


def numbered(association: IAssociation, count: int) -> None:
    """
    Sends so many OPTIONS, of CSeq 1 and up.
    """
    for number in range(1, count + 1):
        association.send(makeRequest(b"OPTIONS", cseq=number))


def numbers(recorder: Recorder) -> list[int]:
    """
    The CSeq numbers that arrived.
    """
    return [message.cseq for message in recorder.messages()]


class InterfaceTests(SynchronousTestCase):
    """
    The fakes provide what they stand for.
    """

    def test_provided(self) -> None:
        near, far = associationPair(Recorder(), Recorder())
        for association in (near, far):
            self.assertTrue(verifyObject(IAssociation, association))
        self.assertTrue(verifyObject(IAssociationUser, Recorder()))
        self.assertTrue(verifyObject(IListener, MemoryNetwork().element(Recorder(), "192.0.2.1")))


class PairTests(SynchronousTestCase):
    """
    L{associationPair}.
    """

    def setUp(self) -> None:
        self.alice, self.bob = Recorder(), Recorder()
        self.near, self.far = associationPair(self.alice, self.bob)

    def test_facts(self) -> None:
        """
        Each end tells who it is and whom it talks to.
        """
        near, far = self.near, self.far
        self.assertEqual(
            (
                near.localHost,
                near.localPort,
                near.peerHost,
                near.peerPort,
                near.opened,
                near.via,
                near.reliable,
            ),
            ("192.0.2.1", 5060, "192.0.2.2", 5060, True, b"SIP/2.0/SCTP 192.0.2.1:5060", True),
        )
        self.assertEqual(
            (far.localHost, far.localPort, far.peerHost, far.peerPort, far.opened, far.via, far.zone),
            ("192.0.2.2", 5060, "192.0.2.1", 5060, False, b"SIP/2.0/SCTP 192.0.2.2:5060", "network"),
        )

    def test_nothingBeforeFlush(self) -> None:
        self.assertTrue(self.near.send(makeRequest(b"INVITE")))
        self.assertEqual(self.bob.names(), ["made"])
        self.assertEqual(self.near.network.flush(), 1)
        self.assertEqual(self.bob.names(), ["made", "INVITE"])
        self.assertIs(self.bob.events[1][1], self.far)

    def test_answersInTheSameFlush(self) -> None:
        def answer(message: Message, association: IAssociation) -> None:
            association.send(makeResponse(message, 100))
            association.send(makeResponse(message, 486))

        self.bob.answer = answer
        self.near.send(makeRequest(b"INVITE"))
        self.near.network.flush()
        self.assertEqual(self.alice.take(), ["made", "100 INVITE", "486 INVITE"])
        self.assertEqual(self.alice.take(), [])

    def test_receivedIsMarked(self) -> None:
        """
        As the real transports do (RFC 3261 §18.2.1).
        """
        self.near.send(makeRequest(b"INVITE", via=b"SIP/2.0/SCTP host.example.com"))
        self.near.network.flush()
        via = self.bob.messages()[0].get(b"Via")
        self.assertEqual(via, b"SIP/2.0/SCTP host.example.com;branch=z9hG4bK1;received=192.0.2.1")

    def test_shutdownDeliversFirst(self) -> None:
        numbered(self.near, 2)
        self.near.shutdown()
        self.assertFalse(self.near.up)
        self.assertFalse(self.near.send(makeRequest(b"OPTIONS")))
        self.near.network.flush()
        self.assertEqual(self.bob.names(), ["made", "OPTIONS", "OPTIONS", "lost ConnectionDone"])
        self.assertEqual(self.alice.names(), ["made", "lost ConnectionDone"])
        self.assertFalse(self.far.up)

    def test_afterShutdown(self) -> None:
        """
        Responses and ACK under way still come up, requests that nobody could answer do not.
        """
        self.far.send(makeRequest(b"OPTIONS"))
        self.far.send(makeRequest(b"ACK"))
        self.far.send(makeResponse(makeRequest(b"BYE"), 200))
        self.near.shutdown()
        self.near.network.flush()
        self.assertEqual(self.alice.names(), ["made", "ACK", "200 BYE", "lost ConnectionDone"])

    def test_abortLosesWhatIsUnderWay(self) -> None:
        numbered(self.near, 2)
        self.near.abort()
        self.assertFalse(self.far.up)
        self.near.network.flush()
        self.assertEqual(self.bob.names(), ["made", "lost ConnectionAborted"])
        self.assertEqual(self.alice.names(), ["made", "lost ConnectionAborted"])

    def test_abortAfterShutdown(self) -> None:
        """
        The loss is told once, and as what came first.
        """
        self.near.shutdown()
        self.near.abort()
        self.far.shutdown()
        self.near.network.flush()
        self.assertEqual(self.bob.names(), ["made", "lost ConnectionDone"])
        self.assertEqual(self.alice.names(), ["made", "lost ConnectionDone"])

    def test_fail(self) -> None:
        self.near.fail()
        self.near.network.flush()
        self.assertEqual(self.bob.names(), ["made", "lost ConnectionLost"])
        self.assertEqual(self.bob.associations(), [])

    def test_udp(self) -> None:
        """
        UDP peers are neither made nor lost, only forgotten.
        """
        near, far = associationPair(self.alice, self.bob, b"UDP")
        self.alice.take()
        self.bob.take()
        near.send(makeRequest(b"OPTIONS"))
        near.network.flush()
        near.shutdown()
        self.assertEqual((near.up, far.up), (False, True))
        far.send(makeRequest(b"OPTIONS"))
        near.network.flush()
        self.assertEqual((self.alice.names(), self.bob.names()), ([], ["OPTIONS"]))


class FaultTests(SynchronousTestCase):
    """
    L{Faults}.
    """

    def test_dropAndDuplicate(self) -> None:
        bob = Recorder()
        near, _ = associationPair(Recorder(), bob, b"UDP", faultsA=Faults(drop=(3,), duplicate=(1,)))
        numbered(near, 4)
        near.network.flush()
        self.assertEqual(numbers(bob), [1, 1, 2, 4])
        self.assertEqual(len(near.sent), 4)

    def test_delay(self) -> None:
        """
        On UDP and SCTP a delayed message is overtaken; on TCP those behind it wait.
        """
        arrivals = {}
        for transport in (b"UDP", b"SCTP", b"TCP"):
            clock, bob = Clock(), Recorder()
            near, _ = associationPair(
                Recorder(), bob, transport, clock, latency=0.25, faultsA=Faults(delay={2: 1.0})
            )
            numbered(near, 3)
            clock.advance(0.25)
            soon = numbers(bob)
            clock.advance(1.0)
            arrivals[transport] = (soon, numbers(bob))
        overtaken = ([1, 3], [1, 3, 2])
        self.assertEqual(arrivals, {b"UDP": overtaken, b"SCTP": overtaken, b"TCP": ([1], [1, 2, 3])})

    def test_clockNeeded(self) -> None:
        self.assertRaises(ValueError, MemoryNetwork, None, 0.5)
        near, _ = associationPair(Recorder(), Recorder(), faultsA=Faults(delay={1: 1.0}))
        self.assertRaises(ValueError, near.send, makeRequest(b"OPTIONS"))

    def test_otherDirection(self) -> None:
        alice = Recorder()
        _, far = associationPair(alice, Recorder(), faultsB=Faults(drop=(1,)))
        numbered(far, 2)
        far.network.flush()
        self.assertEqual(numbers(alice), [2])


class NetworkTests(SynchronousTestCase):
    """
    L{MemoryNetwork}.
    """

    def setUp(self) -> None:
        self.network = MemoryNetwork()
        self.serverUser, self.clientUser = Recorder(), Recorder()
        self.server = self.network.element(self.serverUser, "192.0.2.1")
        self.client = self.network.element(self.clientUser, "192.0.2.2", zone="interface")

    def test_connect(self) -> None:
        association = self.client.connect("192.0.2.1")
        association.send(makeRequest(b"INVITE"))
        self.network.flush()
        self.assertEqual(self.serverUser.names(), ["made", "INVITE"])
        self.assertEqual(self.clientUser.names(), ["made"])
        self.assertEqual((association.zone, association.twin.zone), ("interface", "network"))
        self.assertEqual(self.server.associations, [association.twin])
        association.shutdown()
        self.network.flush()
        self.assertEqual((self.server.associations, self.client.associations), ([], []))

    def test_nobodyThere(self) -> None:
        self.assertRaises(TransportError, self.client.connect, "192.0.2.9")
        self.server.stopListening()
        self.assertRaises(TransportError, self.client.connect, "192.0.2.1")

    def test_reach(self) -> None:
        """
        As the pool: a new one comes by way of a Deferred, one that is up at once.
        """
        first = self.client.reach(b"SCTP", "192.0.2.1", 5060)
        assert isinstance(first, Deferred)
        association = self.successResultOf(first)
        self.assertIs(self.client.reach(b"SCTP", "192.0.2.1", 5060), association)
        association.abort()
        self.network.flush()
        again = self.client.reach(b"SCTP", "192.0.2.1", 5060)
        assert isinstance(again, Deferred)
        self.assertIsNot(self.successResultOf(again), association)
        nowhere = self.client.reach(b"SCTP", "192.0.2.9", 5060)
        assert isinstance(nowhere, Deferred)
        self.failureResultOf(nowhere, TransportError)
        other = self.client.reach(b"UDP", "192.0.2.1", 5060)
        assert isinstance(other, Deferred)
        self.failureResultOf(other, TransportError)

    def test_udpElements(self) -> None:
        one, other = Recorder(), Recorder()
        self.network.element(one, "192.0.2.1", transport=b"UDP")
        element = self.network.element(other, "192.0.2.2", transport=b"UDP")
        peer = element.associationTo("192.0.2.1", 5060)
        self.assertIs(element.associationTo("192.0.2.1", 5060), peer)
        peer.send(makeRequest(b"OPTIONS"))
        self.network.flush()
        self.assertEqual((one.names(), other.names()), (["OPTIONS"], []))
        element.stopListening()
        self.assertFalse(peer.up)

    def test_tcpPortsAreEphemeral(self) -> None:
        self.network.element(Recorder(), "192.0.2.1", transport=b"TCP")
        element = self.network.element(Recorder(), "192.0.2.2", transport=b"TCP")
        first, second = element.connect("192.0.2.1"), element.connect("192.0.2.1")
        self.assertNotEqual(first.localPort, second.localPort)
        self.assertEqual(first.twin.peerPort, first.localPort)
        self.assertEqual(first.via, b"SIP/2.0/TCP 192.0.2.2:5060")

    def test_names(self) -> None:
        message = self.client.connect("192.0.2.1")
        message.send(makeRequest(b"BYE", toTag=b"t", body=b"x", headers=[(b"Subject", b"y")]))
        self.network.flush()
        received = self.serverUser.messages()[0]
        self.assertEqual(nameOf(received), "BYE")
        self.assertEqual((received.body, received.toTag, received.get(b"Subject")), (b"x", b"t", b"y"))
