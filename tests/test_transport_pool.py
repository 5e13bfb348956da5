"""
Tests for L{sipgrace.transport.pool} and L{sipgrace.transport.resolve}, without a network.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.errors import TransportError
from sipgrace.interfaces import IAssociation, IAssociationUser
from sipgrace.testing import MemoryNetwork, Recorder, makeRequest
from sipgrace.transport.bounds import Bounds
from sipgrace.transport.intake import Intake
from sipgrace.transport.pool import AssociationPool
from sipgrace.transport.resolve import Names
from sipgrace.transport.udp import UDPListener
from tests.test_transport_listen import SocketCase, Watcher, reactor


class Reactor(Clock):
    """
    A clock that resolves names when told to, and takes readers without reading.
    """

    def __init__(self) -> None:
        super().__init__()
        self.nameResolver = self
        self.asked: list[tuple[Any, str]] = []

    def resolveHostName(self, receiver: Any, name: str) -> None:
        receiver.resolutionBegan(None)
        self.asked.append((receiver, name))

    def resolved(self, *hosts: str) -> None:
        """
        Answers the oldest question.
        """
        receiver, _ = self.asked.pop(0)
        for host in hosts:
            family = IPv6Address if ":" in host else IPv4Address
            receiver.addressResolved(family("TCP", host, 0))
        receiver.resolutionComplete()

    def addReader(self, reader: object) -> None:
        pass

    def removeReader(self, reader: object) -> None:
        pass


class Opened:
    """
    What the pool opens in these tests.
    """

    def __init__(self, user: IAssociationUser, description: str) -> None:
        self.user = user
        self.description = description
        self.transport, self.peerHost, self.peerPort = b"TCP", "", 0
        self.up = True
        self.traffic = 0

    def __repr__(self) -> str:
        return self.description

    def shutdown(self) -> None:
        self.up = False

    def lost(self) -> None:
        self.up = False
        self.user.associationLost(self, Failure(ConnectionDone()))


class PoolTests(SynchronousTestCase):
    """
    L{AssociationPool}.
    """

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.user = Recorder()
        self.attempts: list[tuple[str, Any, Deferred[Any]]] = []
        self.cancelled: list[str] = []
        self.vias: list[bytes | None] = []
        self.pool = self.makePool()

    def makePool(self, **more: Any) -> AssociationPool:
        return AssociationPool(self.reactor, self.user, "network", connect=self.connect, **more)

    def connect(
        self, reactor: object, description: str, user: Any, zone: str, via: bytes | None, *more: Any
    ) -> Deferred[IAssociation]:
        self.assertEqual((reactor, zone), (self.reactor, "network"))
        attempt: Deferred[IAssociation] = Deferred(lambda _: self.cancelled.append(description))
        self.attempts.append((description, user, attempt))
        self.vias.append(via)
        return attempt

    def test_adopted(self) -> None:
        """
        Who asks for the very address that a peer's connection comes from gets that, as long as it is up.
        """
        theirs: Any = Opened(self.user, "theirs")
        theirs.peerHost, theirs.peerPort = "192.0.2.10", 40001
        self.pool.adopt(theirs)
        self.assertIs(self.pool.reach(b"TCP", "192.0.2.10", 40001), theirs)
        self.assertEqual(len(self.pool), 0)
        for transport, port in ((b"TLS", 40001), (b"TCP", 5060)):
            self.assertIsInstance(self.pool.reach(transport, "192.0.2.10", port), Deferred)
        # Another one from the same place, before it is known that the first has gone.
        later: Any = Opened(self.user, "later")
        later.peerHost, later.peerPort = "192.0.2.10", 40001
        self.pool.adopt(later)
        self.pool.lost(theirs)
        self.assertIs(self.pool.reach(b"TCP", "192.0.2.10", 40001), later)
        later.up = False
        self.assertIsInstance(self.pool.reach(b"TCP", "192.0.2.10", 40001), Deferred)
        self.pool.lost(later)
        self.assertEqual(self.pool._adopted, {})

    def succeed(self) -> Opened:
        """
        The oldest attempt leads to an association.
        """
        description, user, attempt = self.attempts.pop(0)
        opened = Opened(user, description)
        user.associationMade(opened)
        attempt.callback(opened)
        return opened

    def fail(self, reason: str = "refused") -> None:
        _, _, attempt = self.attempts.pop(0)
        attempt.errback(TransportError(reason))

    def reach(self, host: str = "192.0.2.1", transport: bytes = b"TCP", port: int = 5060) -> Deferred[Any]:
        reached = self.pool.reach(transport, host, port)
        assert isinstance(reached, Deferred)
        return reached

    def descriptions(self) -> list[str]:
        return [description for description, _, _ in self.attempts]

    def test_opensAndKeeps(self) -> None:
        """
        The first one waits; afterwards the association is there at once.
        """
        waiting = self.reach()
        self.assertEqual(self.descriptions(), ["tcp:host=192.0.2.1:port=5060:timeout=5"])
        self.assertNoResult(waiting)
        association = self.succeed()
        self.assertIs(self.successResultOf(waiting), association)
        self.assertIs(self.pool.reach(b"TCP", "192.0.2.1", 5060), association)
        self.assertEqual(self.user.events, [("made", association)])
        self.assertEqual((self.attempts, len(self.pool)), ([], 1))

    def test_shared(self) -> None:
        """
        All who want the same share one attempt; one who gives up leaves the others theirs.
        """
        first, second, third = self.reach(), self.reach(), self.reach()
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.assertEqual(len(self.attempts), 1)
        association = self.succeed()
        self.assertIs(self.successResultOf(first), association)
        self.assertIs(self.successResultOf(third), association)

    def test_oneCancelsAnother(self) -> None:
        first, second, third = self.reach(), self.reach(), self.reach()
        first.addCallback(lambda _: second.cancel())
        association = self.succeed()
        self.failureResultOf(second, CancelledError)
        self.assertIs(self.successResultOf(third), association)

    def test_eachItsOwn(self) -> None:
        """
        Transport, host and port all count.
        """
        self.reach()
        self.reach(port=5061)
        self.reach(host="192.0.2.2")
        self.reach(transport=b"SCTP")
        self.reach(host="2001:db8::1")
        self.assertEqual(
            self.descriptions(),
            [
                "tcp:host=192.0.2.1:port=5060:timeout=5",
                "tcp:host=192.0.2.1:port=5061:timeout=5",
                "tcp:host=192.0.2.2:port=5060:timeout=5",
                "sctp:host=192.0.2.1:port=5060:timeout=5",
                "tcp:host=2001\\:db8\\:\\:1:port=5060:timeout=5",
            ],
        )

    def test_arguments(self) -> None:
        self.pool = self.makePool(arguments={b"SCTP": "stack=userspace:timeout=2", b"TLS": "caCerts=ca.pem"})
        self.reach(transport=b"SCTP")
        self.reach(transport=b"TLS")
        self.assertEqual(
            self.descriptions(),
            [
                "sctp:host=192.0.2.1:port=5060:stack=userspace:timeout=2",
                "tls:host=192.0.2.1:port=5060:timeout=5:name=192.0.2.1:caCerts=ca.pem",
            ],
        )

    def test_listenersVia(self) -> None:
        """
        What is opened over a transport that is listened on bears the listener's Via.
        """
        network = MemoryNetwork()
        listener = network.element(self.user, "192.0.2.9", transport=b"TCP")
        self.pool.use(listener)
        self.reach()
        self.reach(host="2001:db8::1")
        self.pool.disuse(listener)
        self.reach(host="192.0.2.2")
        self.assertEqual(self.vias, [b"SIP/2.0/TCP 192.0.2.9:5060", None, None])

    def test_failure(self) -> None:
        """
        Who waits hears why; for a second others hear the same without another attempt.
        """
        first, second = self.reach(), self.reach()
        self.fail("nobody there")
        for waiting in (first, second):
            self.assertEqual(str(self.failureResultOf(waiting, TransportError).value), "nobody there")
        self.reactor.advance(0.9)
        self.assertEqual(str(self.failureResultOf(self.reach(), TransportError).value), "nobody there")
        other = self.reach(host="192.0.2.2")
        self.assertEqual(self.descriptions(), ["tcp:host=192.0.2.2:port=5060:timeout=5"])
        self.reactor.advance(0.1)
        again = self.reach()
        self.fail()
        self.failureResultOf(other, TransportError)
        association = self.succeed()
        self.assertIs(self.successResultOf(again), association)
        self.assertEqual(len(self.pool), 1)

    def test_unexpectedFailure(self) -> None:
        """
        A bug is logged, and told as a C{TransportError}.
        """
        waiting = self.reach()
        self.attempts.pop()[2].errback(ZeroDivisionError("a bug"))
        self.failureResultOf(waiting, TransportError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_lost(self) -> None:
        """
        The user hears of it, and the next one opens another.
        """
        self.reach()
        first = self.succeed()
        first.lost()
        self.assertEqual(self.user.names(), ["made", "lost ConnectionDone"])
        waiting = self.reach()
        second = self.succeed()
        self.assertIs(self.successResultOf(waiting), second)

    def test_notUp(self) -> None:
        """
        One that is going is not given out, and its end does not take the new one away.
        """
        self.reach()
        first = self.succeed()
        first.shutdown()
        self.reach()
        second = self.succeed()
        first.lost()
        self.assertIs(self.pool.reach(b"TCP", "192.0.2.1", 5060), second)
        self.assertEqual(len(self.pool), 1)

    def test_idle(self) -> None:
        """
        What carries nothing for the idle time is shut down, what carries something stays.
        """
        self.reach()
        self.reach(host="192.0.2.2")
        quiet, busy = self.succeed(), self.succeed()
        for _ in range(4):
            self.reactor.advance(75)
            busy.traffic += 1
            self.assertTrue(quiet.up)
        self.reactor.advance(75)
        self.assertEqual((quiet.up, busy.up), (False, True))
        quiet.lost()
        busy.lost()
        self.reactor.pump([75] * 2)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_neverIdle(self) -> None:
        self.pool = self.makePool(idle=0)
        self.reach()
        quiet = self.succeed()
        self.reactor.pump([75] * 20)
        self.assertTrue(quiet.up)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_limit(self) -> None:
        """
        No more than the limit: the longest idle makes room, where there is none the next one fails.
        """
        self.pool = self.makePool(limit=2)
        self.reach()
        first = self.succeed()
        self.reactor.advance(75)
        self.reach(host="192.0.2.2")
        second = self.succeed()
        self.reactor.advance(75)
        first.traffic += 1
        second.traffic += 1
        self.reactor.advance(75)
        self.failureResultOf(self.reach(host="192.0.2.3"), TransportError)
        second.traffic += 1
        self.reactor.advance(75)
        waiting = self.reach(host="192.0.2.3")
        self.assertEqual((first.up, second.up), (False, True))
        self.failureResultOf(self.reach(host="192.0.2.4"), TransportError)
        third = self.succeed()
        self.assertIs(self.successResultOf(waiting), third)
        first.lost()
        self.assertEqual(len(self.pool), 2)

    def test_stop(self) -> None:
        """
        Attempts are given up, associations shut down, and nothing is opened any more.
        """
        self.reach()
        association = self.succeed()
        waiting = self.reach(host="192.0.2.2")
        self.pool.stop()
        self.failureResultOf(waiting, TransportError)
        self.assertEqual(self.cancelled, ["tcp:host=192.0.2.2:port=5060:timeout=5"])
        self.assertFalse(association.up)
        self.failureResultOf(self.reach(host="192.0.2.3"), TransportError)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_udp(self) -> None:
        """
        UDP peers are those of the listener of their family, at once.
        """
        self.failureResultOf(self.reach(transport=b"UDP"), TransportError)
        listener = UDPListener(
            self.reactor, Intake(self.user, self.reactor, Bounds()), "network", "127.0.0.1", 0
        )
        self.addCleanup(listener.stopListening)
        self.pool.use(listener)
        peer = self.pool.reach(b"UDP", "127.0.0.2", 5060)
        self.assertIs(peer, listener.associationTo("127.0.0.2", 5060))
        self.failureResultOf(self.reach(transport=b"UDP", host="::1"), TransportError)
        named = self.reach(transport=b"UDP", host="sip.example.com")
        self.reactor.resolved("2001:db8::1", "127.0.0.2")
        self.assertIs(self.successResultOf(named), peer)

    def test_name(self) -> None:
        """
        The addresses of a name are tried in order, and what is up to one of them is shared.
        """
        first = self.reach(host="sip.example.com")
        self.assertEqual(self.reactor.asked[0][1], "sip.example.com")
        self.reactor.resolved("192.0.2.1", "192.0.2.2")
        second = self.reach(host="192.0.2.2")
        self.fail()
        self.assertEqual(self.descriptions(), ["tcp:host=192.0.2.2:port=5060:timeout=5"])
        association = self.succeed()
        self.assertIs(self.successResultOf(first), association)
        self.assertIs(self.successResultOf(second), association)
        for host in ("sip.example.com", "192.0.2.2"):
            self.assertIs(self.pool.reach(b"TCP", host, 5060), association)
        association.lost()
        self.assertNoResult(self.reach(host="sip.example.com"))

    def test_nameTLS(self) -> None:
        """
        The certificate is asked for the name; what it proves holds for that name alone.
        """
        self.reach(host="sip.example.com", transport=b"TLS", port=5061)
        self.reactor.resolved("192.0.2.1")
        self.reach(host="sip.example.org", transport=b"TLS", port=5061)
        self.reactor.resolved("192.0.2.1")
        self.assertEqual(
            self.descriptions(),
            [
                "tls:host=192.0.2.1:port=5061:timeout=5:name=sip.example.com",
                "tls:host=192.0.2.1:port=5061:timeout=5:name=sip.example.org",
            ],
        )

    def test_nameUnknown(self) -> None:
        waiting = self.reach(host="nowhere.example.com")
        self.reactor.resolved()
        self.failureResultOf(waiting, TransportError)
        self.assertEqual(self.attempts, [])

    def test_allAddressesFail(self) -> None:
        waiting = self.reach(host="sip.example.com")
        self.reactor.resolved("192.0.2.1", "192.0.2.2")
        self.fail("first")
        self.fail("second")
        self.assertEqual(str(self.failureResultOf(waiting, TransportError).value), "second")


class NamesTests(SynchronousTestCase):
    """
    L{Names}.
    """

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.names = Names(self.reactor)

    def test_literal(self) -> None:
        self.assertEqual(self.successResultOf(self.names.resolve("192.0.2.1")), ["192.0.2.1"])
        self.assertEqual(self.successResultOf(self.names.resolve("2001:db8::1")), ["2001:db8::1"])
        self.assertEqual(self.reactor.asked, [])

    def test_remembered(self) -> None:
        """
        For a minute; an address given twice counts once.
        """
        asked = self.names.resolve("sip.example.com")
        self.reactor.resolved("192.0.2.1", "2001:db8::1", "192.0.2.1")
        self.assertEqual(self.successResultOf(asked), ["192.0.2.1", "2001:db8::1"])
        self.reactor.advance(59)
        self.assertEqual(
            self.successResultOf(self.names.resolve("sip.example.com")), ["192.0.2.1", "2001:db8::1"]
        )
        self.reactor.advance(1)
        self.assertNoResult(self.names.resolve("sip.example.com"))

    def test_late(self) -> None:
        """
        A resolver that does not answer is not waited for, and its answer then comes too late.
        """
        asked = self.names.resolve("sip.example.com")
        self.reactor.advance(10)
        failure = self.failureResultOf(asked, TransportError)
        self.assertIn("within 10.0 s", str(failure.value))
        self.reactor.resolved("192.0.2.1")

    def test_bounded(self) -> None:
        self.names = Names(self.reactor, bound=10)
        for number in range(100):
            self.names.resolve(f"host{number}.example.com")
            self.reactor.resolved("192.0.2.1")
        self.assertLessEqual(len(self.names._known), 10)


class RealPoolTests(SocketCase):
    """
    Over TCP.
    """

    async def test_reach(self) -> None:
        listener = await self.listen("tcp:0:interface=127.0.0.1")
        other = Watcher()
        self.others.append(other)
        pool = AssociationPool(reactor, other, "network")
        reached = pool.reach(b"TCP", "127.0.0.1", listener.port)
        assert isinstance(reached, Deferred)
        association = await reached
        association.send(makeRequest(b"OPTIONS"))
        await other.told("made", "200 OPTIONS")
        self.assertIs(pool.reach(b"TCP", "127.0.0.1", listener.port), association)
        pool.stop()
        await other.told("made", "200 OPTIONS", "lost ConnectionDone")
        self.assertEqual(len(pool), 0)

    async def test_name(self) -> None:
        """
        By way of the reactor's own resolver.
        """
        listener = await self.listen("tcp:0:interface=127.0.0.1")
        other = Watcher()
        self.others.append(other)
        pool = AssociationPool(reactor, other, "network")
        reached = pool.reach(b"TCP", "localhost", listener.port)
        assert isinstance(reached, Deferred)
        association = await reached
        self.assertEqual(association.peerHost, "127.0.0.1")
        pool.stop()
        await other.told("made", "lost ConnectionDone")
