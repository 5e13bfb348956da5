"""
What every transport of SIP messages must do, written once: L{StreamContract} for any, L{SCTPContract} for
both SCTP stacks. A subclass with C{TestCase} supplies the endpoint strings.

    class KernelTests(SCTPContract, TestCase):
        stack = "kernel"
        def serverString(self, more=""): return "sctp:0:interface=127.0.0.1:stack=kernel" + more
        ...
"""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.error import (
    CannotListenError,
    ConnectingCancelledError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionRefusedError,
    TimeoutError,
)
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer
from zope.interface.verify import verifyObject

from sipgrace.transport.sctp.stack import ISCTPProtocol, ISCTPTransport

__all__ = ["DetailedPeer", "Peer", "PeerFactory", "SCTPContract", "Source", "StreamContract", "later"]

LIMIT = 20.0
"""Seconds that a test waits for what must come."""


class Peer(Protocol):
    """
    Records what happens to it: C{("made",)}, C{("data", bytes)}, C{("lost", exception class)}.
    """

    echo = False
    explode = b""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.received = 0
        self._waiting: list[tuple[Any, Deferred[None]]] = []

    def happened(self, *event: Any) -> None:
        self.events.append(event)
        for condition, deferred in self._waiting[:]:
            if condition():
                self._waiting.remove((condition, deferred))
                deferred.callback(None)

    def until(self, condition: Any) -> Deferred[None]:
        """
        Fires once the condition holds, checked at each event; fails after L{LIMIT}.
        """
        done: Deferred[None] = Deferred()
        if condition():
            done.callback(None)
        else:
            self._waiting.append((condition, done))
            done.addTimeout(LIMIT, reactor)
            done.addErrback(self._late)
        return done

    def _late(self, failure: Any) -> None:
        shown = [event if len(repr(event)) < 200 else event[0] for event in self.events[-10:]]
        raise AssertionError(f"{failure.value!r} after {len(self.events)} events, the last: {shown}")

    def connectionMade(self) -> None:
        self.happened("made")

    def dataReceived(self, data: bytes) -> None:
        self.received += len(data)
        self.happened("data", data)
        if self.explode and data == self.explode:
            raise RuntimeError("boom")
        if self.echo:
            self.transport.write(data)

    def connectionLost(self, reason: Any) -> None:
        self.happened("lost", reason.type)

    @property
    def messages(self) -> list[bytes]:
        return [event[1] for event in self.events if event[0] == "data"]

    @property
    def lost(self) -> list[type]:
        return [event[1] for event in self.events if event[0] == "lost"]

    def gone(self) -> Deferred[None]:
        return self.until(lambda: self.lost)

    def heard(self, count: int) -> Deferred[None]:
        return self.until(lambda: len(self.messages) >= count)


@implementer(ISCTPProtocol)
class DetailedPeer(Peer):
    """
    Records streams and PPIDs: C{("message", bytes, stream, ppid, unordered)}.
    """

    def sctpMessageReceived(self, data: bytes, stream: int, ppid: int, unordered: bool) -> None:
        self.happened("message", data, stream, ppid, unordered)


class PeerFactory(Factory):
    """
    Keeps its protocols.
    """

    def __init__(self, kind: type[Peer] = Peer, refuse: bool = False) -> None:
        self.kind = kind
        self.refuse = refuse
        self.made: list[Peer] = []
        self.addresses: list[Any] = []
        self._waiting: list[tuple[int, Deferred[None]]] = []
        self.starts = self.stops = 0

    def startFactory(self) -> None:
        self.starts += 1

    def stopFactory(self) -> None:
        self.stops += 1

    def buildProtocol(self, address: Any) -> Any:
        self.addresses.append(address)
        if self.refuse:
            return None
        peer = self.kind()
        peer.factory = self
        self.made.append(peer)
        for count, deferred in self._waiting[:]:
            if len(self.made) >= count:
                self._waiting.remove((count, deferred))
                reactor.callLater(0, deferred.callback, None)
        return peer

    def has(self, count: int) -> Deferred[None]:
        """
        Fires once it has made that many.
        """
        done: Deferred[None] = Deferred()
        if len(self.made) >= count:
            done.callback(None)
        else:
            self._waiting.append((count, done))
            done.addTimeout(LIMIT, reactor)
        return done


class Source:
    """
    A push producer that writes messages of its own until it is paused.
    """

    def __init__(self, transport: Any, size: int, most: int) -> None:
        self.transport = transport
        self.size = size
        self.most = most
        self.written = 0
        self.pauses = 0
        self.paused = False
        self.stopped = False
        self.pausedOnce: Deferred[None] = Deferred()

    def run(self) -> None:
        while not self.paused and not self.stopped and self.written < self.most:
            self.transport.write(b"%08d" % self.written + b"x" * (self.size - 8))
            self.written += 1
        if self.written == self.most:
            self.transport.unregisterProducer()

    def pauseProducing(self) -> None:
        self.paused = True
        self.pauses += 1
        if not self.pausedOnce.called:
            self.pausedOnce.callback(None)

    def resumeProducing(self) -> None:
        self.paused = False
        reactor.callLater(0, self.run)

    def stopProducing(self) -> None:
        self.stopped = True


def later(seconds: float) -> Deferred[None]:
    """
    Fires after a while: for what must B{not} happen.
    """
    done: Deferred[None] = Deferred()
    reactor.callLater(seconds, done.callback, None)
    return done


class StreamContract:
    """
    What TCP and both SCTP stacks have in common.

    @cvar abortedByPeer: what C{connectionLost} gets after the other side's abort.
    @cvar keepsBoundaries: whether one write is one C{dataReceived}.
    @cvar blocked: bytes that cannot all be on the way to a peer that does not read.
    """

    timeout = 60
    abortedByPeer: type = ConnectionAborted
    keepsBoundaries = True
    blocked = 700_000

    def serverString(self, more: str = "") -> str:
        """
        A listener on any free port of loopback.

        @param more: further parts of the string, each with its colon.
        """
        raise NotImplementedError

    def clientString(self, address: Any, more: str = "") -> str:
        """
        Connects to a listener's C{getHost()}.
        """
        raise NotImplementedError

    # Helpers

    def setUp(self) -> None:
        self.ports: list[Any] = []
        self.peers: list[Peer] = []
        self.factories: list[PeerFactory] = []

    async def tearDown(self) -> None:
        for port in self.ports:
            await maybeDeferred(port.stopListening)
        ends = []
        for peer in [*self.peers, *(each for factory in self.factories for each in factory.made)]:
            if not peer.lost and peer.transport is not None:
                ends.append(peer.gone())
                peer.transport.abortConnection()
        for end in ends:
            await end
        await later(0)

    async def listen(self, factory: PeerFactory, more: str = "") -> Any:
        port = await serverFromString(reactor, self.serverString(more)).listen(factory)
        self.ports.append(port)
        self.factories.append(factory)
        return port

    async def connect(self, port: Any, kind: type[Peer] = Peer, more: str = "") -> Any:
        factory = PeerFactory(kind)
        peer = await clientFromString(reactor, self.clientString(port.getHost(), more)).connect(factory)
        self.peers.append(peer)
        return peer

    async def pair(self, kind: type[Peer] = Peer, more: str = "") -> tuple[Any, Any]:
        """
        @return: the side that connected and the side that accepted.
        """
        factory = PeerFactory(kind)
        port = await self.listen(factory, more)
        client = await self.connect(port, kind, more)
        await factory.has(1)
        return client, factory.made[0]

    def assertHeard(self, peer: Peer, messages: list[bytes]) -> None:
        if self.keepsBoundaries:
            self.assertEqual(sorted(peer.messages), sorted(messages))
        else:
            self.assertEqual(b"".join(peer.messages), b"".join(messages))

    async def hear(self, peer: Peer, messages: list[bytes]) -> None:
        """
        Waits until the messages have come, then compares.
        """
        total = sum(map(len, messages))
        await peer.until(lambda: peer.received >= total)
        self.assertHeard(peer, messages)

    # The contract

    async def test_bothWays(self) -> None:
        """
        Data goes from either side to the other.
        """
        client, server = await self.pair()
        client.transport.write(b"one")
        await self.hear(server, [b"one"])
        server.transport.write(b"two")
        server.transport.writeSequence([b"th", b"ree"])
        await self.hear(client, [b"two", b"three"])

    async def test_addresses(self) -> None:
        """
        Each side's host is the other's peer, and the factory was told.
        """
        factory = PeerFactory()
        port = await self.listen(factory)
        client = await self.connect(port)
        await factory.has(1)
        server = factory.made[0]
        self.assertEqual(client.transport.getHost(), server.transport.getPeer())
        self.assertEqual(server.transport.getHost(), client.transport.getPeer())
        self.assertEqual(client.transport.getPeer(), port.getHost())
        self.assertEqual(factory.addresses, [client.transport.getHost()])

    async def test_largeMessages(self) -> None:
        """
        Messages up to 60 kB arrive whole, from both sides at once.
        """
        client, server = await self.pair()
        messages = [bytes([number]) * size for number, size in enumerate((1, 1199, 1200, 1201, 9000, 60000))]
        for message in messages:
            client.transport.write(message)
            server.transport.write(message[::-1])
        await self.hear(server, messages)
        await self.hear(client, messages)

    async def test_manyMessages(self) -> None:
        """
        Two thousand messages, more than any buffer takes at once, arrive each once.
        """
        client, server = await self.pair()
        messages = [b"%06d" % number + b"." * 494 for number in range(2000)]
        for message in messages:
            client.transport.write(message)
        await self.hear(server, messages)

    async def test_loseFromOpener(self) -> None:
        """
        C{loseConnection} of the side that opened is an orderly end on both.
        """
        client, server = await self.pair()
        client.transport.loseConnection()
        client.transport.loseConnection()
        await client.gone()
        await server.gone()
        self.assertEqual((client.lost, server.lost), ([ConnectionDone], [ConnectionDone]))

    async def test_loseFromAccepter(self) -> None:
        """
        The same from the side that accepted.
        """
        client, server = await self.pair()
        server.transport.loseConnection()
        await client.gone()
        await server.gone()
        self.assertEqual((client.lost, server.lost), ([ConnectionDone], [ConnectionDone]))

    async def test_loseFromBoth(self) -> None:
        """
        Both may leave at the same moment.
        """
        client, server = await self.pair()
        server.transport.loseConnection()
        client.transport.loseConnection()
        await client.gone()
        await server.gone()
        self.assertEqual((client.lost, server.lost), ([ConnectionDone], [ConnectionDone]))

    async def test_queuedFirst(self) -> None:
        """
        What was written before C{loseConnection} is delivered before the end, whatever its size.
        """
        client, server = await self.pair()
        messages = [b"%06d" % number + b"." * 994 for number in range(900)]
        for message in messages:
            client.transport.write(message)
        client.transport.loseConnection()
        await server.gone()
        await client.gone()
        self.assertHeard(server, messages)
        self.assertEqual((client.lost, server.lost), ([ConnectionDone], [ConnectionDone]))

    async def test_abort(self) -> None:
        """
        C{abortConnection} ends both sides, and never calls back from within.
        """
        client, server = await self.pair()
        client.transport.abortConnection()
        self.assertEqual(client.lost, [])
        await client.gone()
        await server.gone()
        self.assertEqual((client.lost, server.lost), ([ConnectionAborted], [self.abortedByPeer]))

    async def test_abortFromAccepter(self) -> None:
        """
        The same from the side that accepted.
        """
        client, server = await self.pair()
        server.transport.abortConnection()
        await client.gone()
        await server.gone()
        self.assertEqual((client.lost, server.lost), ([self.abortedByPeer], [ConnectionAborted]))

    async def test_abortWhileLeaving(self) -> None:
        """
        An orderly end that does not come about can be cut short.
        """
        client, server = await self.pair()
        server.transport.pauseProducing()
        for _ in range(self.blocked // 1000):
            client.transport.write(b"." * 1000)
        client.transport.loseConnection()
        await later(0.05)
        self.assertEqual(client.lost, [])
        client.transport.abortConnection()
        await client.gone()
        server.transport.resumeProducing()
        await server.gone()
        self.assertEqual((client.lost, server.lost), ([ConnectionAborted], [self.abortedByPeer]))

    async def test_nothingAfterwards(self) -> None:
        """
        Writing to what has gone does nothing; neither does leaving again.
        """
        client, server = await self.pair()
        client.transport.loseConnection()
        await client.gone()
        await server.gone()
        for peer in (client, server):
            peer.transport.write(b"late")
            peer.transport.loseConnection()
            peer.transport.abortConnection()
        await later(0.05)
        self.assertEqual(client.events, [("made",), ("lost", ConnectionDone)])
        self.assertEqual(server.events, [("made",), ("lost", ConnectionDone)])

    async def test_refused(self) -> None:
        """
        Nobody listens there: refused at once.
        """
        port = await self.listen(PeerFactory())
        address = port.getHost()
        keeper = await self.listen(PeerFactory(), self.sameCarrier(port))
        await maybeDeferred(port.stopListening)
        factory = PeerFactory()
        connecting = clientFromString(reactor, self.clientString(address)).connect(factory)
        await self.assertFailure(connecting, ConnectionRefusedError)
        await later(0)
        self.assertEqual((factory.made, factory.starts, factory.stops), ([], 1, 1))
        del keeper

    def sameCarrier(self, port: Any) -> str:
        """
        What makes a second listener share whatever lies below the first (the UDP port of SCTP in UDP).
        """
        return ""

    async def test_cancelled(self) -> None:
        """
        The Deferred of C{connect} can be cancelled; nothing comes up afterwards.
        """
        port = await self.listen(PeerFactory())
        factory = PeerFactory()
        connecting = clientFromString(reactor, self.clientString(port.getHost())).connect(factory)
        connecting.cancel()
        await self.assertFailure(connecting, ConnectingCancelledError)
        await later(0.1)
        self.assertEqual(factory.made, [])

    async def test_stopListening(self) -> None:
        """
        A listener that stops leaves its associations alone, and its port can be listened on again.
        """
        factory = PeerFactory()
        port = await self.listen(factory)
        client = await self.connect(port)
        await factory.has(1)
        address = port.getHost()
        await maybeDeferred(port.stopListening)
        client.transport.write(b"still")
        await self.hear(factory.made[0], [b"still"])
        factory.made[0].transport.write(b"here")
        await self.hear(client, [b"here"])
        self.assertEqual((factory.starts, factory.stops), (1, 1))
        again = PeerFactory()
        self.ports.append(await serverFromString(reactor, self.stringOf(address)).listen(again))
        self.factories.append(again)
        second = await self.connect(self.ports[-1])
        await again.has(1)
        second.transport.write(b"new")
        await self.hear(again.made[0], [b"new"])
        client.transport.write(b"old")
        await factory.made[0].until(lambda: b"".join(factory.made[0].messages) == b"stillold")

    def stringOf(self, address: Any) -> str:
        """
        A listener on just that address.
        """
        raise NotImplementedError

    async def test_portTaken(self) -> None:
        """
        Two listeners cannot have the same port; the first is not disturbed.
        """
        factory = PeerFactory()
        port = await self.listen(factory)
        second = PeerFactory()
        again = serverFromString(reactor, self.stringOf(port.getHost())).listen(second)
        await self.assertFailure(again, CannotListenError)
        self.assertEqual(second.starts, second.stops)
        await self.connect(port)
        await factory.has(1)

    async def test_twoServices(self) -> None:
        """
        One service goes, with its listener and its associations; another beside it answers on.
        """

        class Echo(Peer):
            echo = True

        sip, other = PeerFactory(), PeerFactory(Echo)
        sipPort = await self.listen(sip)
        otherPort = await self.listen(other, self.sameCarrier(sipPort))
        calls = [await self.connect(sipPort) for _ in range(3)]
        witness = await self.connect(otherPort)
        await sip.has(3)
        await maybeDeferred(sipPort.stopListening)
        sip.made[0].transport.loseConnection()
        sip.made[1].transport.abortConnection()
        sip.made[2].transport.loseConnection()
        for call in [*calls, *sip.made]:
            await call.gone()
        witness.transport.write(b"there?")
        await self.hear(witness, [b"there?"])
        self.assertEqual(witness.lost, [])

    async def test_failingProtocol(self) -> None:
        """
        An error in C{dataReceived} is logged, and ends that association alone.
        """

        class Fragile(Peer):
            explode = b"bang"
            echo = True

        factory = PeerFactory(Fragile)
        port = await self.listen(factory)
        first, second = await self.connect(port), await self.connect(port)
        await factory.has(2)
        first.transport.write(b"bang")
        await first.gone()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        second.transport.write(b"well?")
        await self.hear(second, [b"well?"])

    async def test_noProtocol(self) -> None:
        """
        A factory that makes no protocol ends the association; the listener goes on.
        """
        factory = PeerFactory(refuse=True)
        port = await self.listen(factory)
        client = await self.connect(port)
        await client.gone()
        if self.keepsBoundaries:
            self.assertEqual(client.lost, [ConnectionAborted])
        factory.refuse = False
        await self.connect(port)
        await factory.has(1)

    async def test_backPressure(self) -> None:
        """
        A peer that does not read pauses our producer; when it reads on everything arrives, each once.
        """
        client, server = await self.pair()
        server.transport.pauseProducing()
        source = Source(client.transport, 1000, 20000)
        client.transport.registerProducer(source, True)
        source.run()
        await source.pausedOnce
        stuck = -1
        while source.written > stuck:
            stuck = source.written
            await later(0.2)
        self.assertLess(stuck, 20000)
        heard = server.received
        server.transport.resumeProducing()
        await server.until(lambda: server.received >= 20_000_000)
        self.assertLess(heard, 1_000_000)
        self.assertEqual(server.received, 20_000_000)
        if self.keepsBoundaries:
            self.assertEqual(sorted(int(each[:8]) for each in server.messages), list(range(20000)))

    async def test_producerThenLose(self) -> None:
        """
        With a producer registered, C{loseConnection} waits for it to finish.
        """
        client, server = await self.pair()
        source = Source(client.transport, 1000, 3)
        client.transport.registerProducer(source, True)
        client.transport.loseConnection()
        source.run()
        await server.gone()
        await client.gone()
        self.assertEqual(server.received, 3000)
        self.assertEqual((client.lost, server.lost), ([ConnectionDone], [ConnectionDone]))

    async def test_producerStopped(self) -> None:
        """
        The end of the association stops the producer.
        """
        client, server = await self.pair()
        source = Source(client.transport, 1000, 1)
        client.transport.registerProducer(source, True)
        server.transport.abortConnection()
        await client.gone()
        self.assertEqual(source.stopped, True)

    async def test_manyAssociations(self) -> None:
        """
        Fifty associations at once, each with its own answer.
        """

        class Echo(Peer):
            echo = True

        factory = PeerFactory(Echo)
        port = await self.listen(factory)
        clients = [await self.connect(port) for _ in range(50)]
        await factory.has(50)
        for number, client in enumerate(clients):
            client.transport.write(b"%d" % number)
        for number, client in enumerate(clients):
            await self.hear(client, [b"%d" % number])
            client.transport.loseConnection()
        for client in [*clients, *factory.made]:
            await client.gone()
            self.assertEqual(client.lost, [ConnectionDone])


class SCTPContract(StreamContract):
    """
    What SCTP has beyond TCP.

    @cvar stack: the name of the stack.
    """

    stack = ""

    async def test_stackName(self) -> None:
        """
        The transport is an C{ISCTPTransport}, and says whose it is.
        """
        client, server = await self.pair()
        for peer in (client, server):
            verifyObject(ISCTPTransport, peer.transport)
            self.assertEqual(peer.transport.stack, self.stack)

    async def test_boundaries(self) -> None:
        """
        Each write is one C{dataReceived}, however small.
        """
        client, server = await self.pair()
        for number in range(100):
            client.transport.write(b"%d" % number)
        await server.heard(100)
        self.assertEqual(server.messages, [b"%d" % number for number in range(100)])

    async def test_streamsAndPPID(self) -> None:
        """
        Stream, PPID and order are what the sender said; the default is RFC 4168's.
        """
        client, server = await self.pair(DetailedPeer)
        client.transport.write(b"plain")
        client.transport.sendMessage(b"both", stream=7, ppid=0xFEDCBA98, unordered=False)
        client.transport.sendMessage(b"stream", stream=15)
        client.transport.sendMessage(b"ppid", ppid=46)
        client.transport.write(b"again")
        await server.until(lambda: len(server.events) == 6)
        self.assertEqual(
            sorted(server.events[1:]),
            sorted(
                [
                    ("message", b"plain", 0, 0, True),
                    ("message", b"both", 7, 0xFEDCBA98, False),
                    ("message", b"stream", 15, 0, True),
                    ("message", b"ppid", 0, 46, True),
                    ("message", b"again", 0, 0, True),
                ]
            ),
        )

    async def test_badMessages(self) -> None:
        """
        An empty message, or a stream that is not there, is the caller's error; an empty write nothing.
        """
        client, server = await self.pair()
        client.transport.write(b"")
        for bad in ({"data": b""}, {"data": b"x", "stream": 16}, {"data": b"x", "stream": -1}):
            with self.assertRaises(ValueError):
                client.transport.sendMessage(**bad)
        with self.assertRaises(ValueError):
            client.transport.write(b"x" * 300000)
        client.transport.write(b"fine")
        await server.heard(1)
        self.assertEqual(server.messages, [b"fine"])

    async def test_streamsNegotiated(self) -> None:
        """
        Each side has the streams that the other allows.
        """
        factory = PeerFactory()
        port = await self.listen(factory, ":streams=4")
        client = await self.connect(port, more=":streams=40")
        await factory.has(1)
        self.assertEqual(client.transport.outStreams, 4)
        self.assertEqual(factory.made[0].transport.outStreams, 4)

    async def test_status(self) -> None:
        """
        The status tells an association that is up from one that has gone.
        """
        client, server = await self.pair()
        status = client.transport.status()
        self.assertEqual(
            (status.state, status.inStreams, status.outStreams, status.queued), ("established", 16, 16, 0)
        )
        client.transport.loseConnection()
        await client.gone()
        await server.gone()
        self.assertEqual(client.transport.status().state, "closed")

    async def test_sackDelay(self) -> None:
        """
        A SHUTDOWN waits for what was sent last to be acknowledged: so long and no longer does a peer that
        says nothing wait with that.
        """
        took = []
        for delay in (300, 20):
            ends = []
            # Every second packet is acknowledged at once; which one that is, the stack decides.
            for count in (4, 5):
                client, server = await self.pair(more=f":sackDelay={delay}")
                for number in range(count):
                    client.transport.write(b"%d" % number)
                    await server.heard(number + 1)
                began = reactor.seconds()
                client.transport.loseConnection()
                await client.gone()
                ends.append(reactor.seconds() - began)
            took.append(max(ends))
        self.assertGreater(took[0], 0.2)
        self.assertLess(took[1], 0.2)

    async def test_messageTooLarge(self) -> None:
        """
        A message above the bound aborts the association; one just at it does not.
        """
        client, server = await self.pair(more=":maxMessage=20000")
        client.transport.write(b"x" * 20000)
        await server.heard(1)
        client.transport.write(b"x" * 20001)
        await server.gone()
        await client.gone()
        self.assertEqual([len(message) for message in server.messages], [20000])
        self.assertEqual((client.lost, server.lost), ([ConnectionAborted], [ConnectionAborted]))

    async def test_hugeMessage(self) -> None:
        """
        A message larger than the receiver's window comes in pieces, and is delivered whole; so is what
        follows it.
        """
        client, server = await self.pair(more=":maxMessage=1000000:sendBuffer=1000000")
        message = bytes(range(256)) * 800
        client.transport.sendMessage(message, unordered=False)
        client.transport.sendMessage(b"after", unordered=False)
        await server.heard(2)
        self.assertEqual([len(each) for each in server.messages], [204800, 5])
        self.assertEqual(server.messages[0], message)

    async def test_sendBound(self) -> None:
        """
        More than the bound for a peer that does not read: aborted, not kept without end.
        """
        client, server = await self.pair(more=":sendBound=100000")
        server.transport.pauseProducing()
        for _ in range(3000):
            client.transport.write(b"x" * 1000)
        await client.gone()
        self.assertEqual(client.lost, [ConnectionAborted])
        await server.gone()
        self.assertEqual(server.lost, [ConnectionAborted])

    async def test_closedWhileBlocked(self) -> None:
        """
        A peer that leaves while our messages wait for it: an orderly or an aborted end, but an end.
        """
        client, server = await self.pair()
        server.transport.pauseProducing()
        for _ in range(700):
            client.transport.write(b"x" * 1000)
        server.transport.loseConnection()
        server.transport.resumeProducing()
        await client.gone()
        await server.gone()

    async def test_timedOut(self) -> None:
        """
        A host that does not answer: C{TimeoutError} after the time asked for.
        """
        dead = self.deadString(":timeout=0.3")
        factory = PeerFactory()
        begun = reactor.seconds()
        await self.assertFailure(clientFromString(reactor, dead).connect(factory), TimeoutError)
        self.assertTrue(0.25 < reactor.seconds() - begun < 5.0)
        self.assertEqual((factory.made, factory.starts, factory.stops), ([], 1, 1))

    def deadString(self, more: str) -> str:
        """
        A client string towards something that swallows packets.
        """
        raise NotImplementedError

    async def test_failingConnectionMade(self) -> None:
        """
        An error in C{connectionMade} of an accepted association aborts it.
        """

        class Bad(Peer):
            def connectionMade(self) -> None:
                raise RuntimeError("boom")

        factory = PeerFactory(Bad)
        port = await self.listen(factory)
        client = await self.connect(port)
        await client.gone()
        self.assertEqual(client.lost, [ConnectionAborted])
        await factory.made[0].gone()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
