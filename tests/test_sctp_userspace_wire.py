"""
What the userspace stack makes of hostile, broken and vanished peers, seen on the wire.
"""

from __future__ import annotations

import struct
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.trial.unittest import TestCase

from sipgrace.transport.sctp.userspace import userspaceStack
from sipgrace.transport.sctp.userspaceguard import Admission, UserspaceLimits
from tests.sctpcontract import PeerFactory, later
from tests.sctppackets import (
    ABORT,
    COOKIE_ACK,
    COOKIE_ECHO,
    DATA,
    HEARTBEAT,
    INIT,
    INIT_ACK,
    MISSING,
    SHUTDOWN_ACK,
    SHUTDOWN_COMPLETE,
    ByHand,
    Packet,
    Relay,
    chunk,
    cookieOf,
    initChunk,
    packet,
)

FAST = ":rtoInitial=60:rtoMin=30:rtoMax=60:maxRetransmissions=2:initAttempts=2"


async def settle() -> None:
    """
    Lets what is on its way over loopback arrive, without time passing.
    """
    for _ in range(20):
        done: Deferred[None] = Deferred()
        reactor.callWhenRunning(reactor.callLater, 0, done.callback, None)
        await done


class WireTests(TestCase):
    skip = MISSING
    timeout = 30

    async def setUp(self) -> None:
        self.stack = userspaceStack()
        self.factory = PeerFactory()
        self.port = await self.listen(self.factory, FAST)
        self.address = self.port.getHost()
        self.hand = ByHand()
        self.hand.open()
        self.clients: list[Any] = []

    async def listen(self, factory: PeerFactory, more: str = "", port: int = 0) -> Any:
        text = f"sctp:{port}:interface=127.0.0.1:stack=userspace{more}"
        listening = await serverFromString(reactor, text if "encaps=" in more else text + ":encaps=0").listen(
            factory
        )
        self.addCleanup(listening.stopListening)
        return listening

    async def connect(self, encaps: int | None = None, more: str = "") -> Any:
        encaps = encaps or self.address.encaps
        text = f"sctp:127.0.0.1:{self.address.port}:encaps={encaps}:stack=userspace{more}"
        client = await clientFromString(reactor, text).connect(PeerFactory())
        self.clients.append(client)
        return client

    async def tearDown(self) -> None:
        for peer in [*self.clients, *self.factory.made]:
            if not peer.lost:
                peer.transport.abortConnection()
                await peer.gone()
        await self.hand.close()

    async def assertServes(self) -> None:
        """
        An honest client still gets in, and is heard.
        """
        before = len(self.factory.made)
        client = await self.connect()
        await self.factory.has(before + 1)
        server = self.factory.made[-1]
        client.transport.write(b"honest")
        await server.heard(1)
        self.assertEqual(server.messages, [b"honest"])

    def assertNothingQueued(self) -> None:
        """
        The library's accept queue is empty.
        """
        listener = self.stack._listeners[self.address.port]
        name, size = self.stack.binding.address(0, 0), self.stack.ffi.new("uint32_t *", 16)
        self.assertEqual(self.stack.lib.usrsctp_accept(listener.so, name, size), 0)

    # The two denials of service

    def attack(self, answer: Packet, number: int) -> None:
        """
        Answers an INIT-ACK with COOKIE-ECHO and ABORT in one packet.
        """
        theirs = struct.unpack(">I", answer.chunks[0].value[:4])[0]
        echo, abort = chunk(COOKIE_ECHO, cookieOf(answer)), chunk(ABORT)
        self.hand.send(packet(20000 + number, self.address.port, theirs, echo, abort), self.address.encaps)

    async def test_cookieEchoWithAbort(self) -> None:
        """
        COOKIE-ECHO and ABORT in one packet, more often than the accept queue is long: nothing is left
        in the queue, and honest clients get in.
        """
        for number in range(300):
            answer = await self.hand.offer(self.address, 20000 + number, 7000 + number)
            self.assertEqual(answer.kinds, [INIT_ACK])
            self.attack(answer, number)
            if self.hand.packets:
                self.hand.packets.clear()
        await later(0.05)
        self.assertNothingQueued()
        await self.assertServes()
        self.assertEqual([peer for peer in self.factory.made[:-1] if not peer.lost], [])

    async def test_sameFromKnownPeer(self) -> None:
        """
        The same from a UDP address that has a good association already, which is not harmed.
        """
        await self.hand.open4(self.address, 19999, 1)
        await self.factory.has(1)
        for number in range(300):
            self.hand.packets.clear()
            answer = await self.hand.offer(self.address, 20000 + number, 7000 + number)
            self.attack(answer, number)
            await later(0)
        await later(0.05)
        self.assertNothingQueued()
        self.assertEqual(self.factory.made[0].lost, [])
        await self.assertServes()

    # What reaches the library

    async def test_unknownPeerOnlyKnocks(self) -> None:
        """
        Of an unknown peer nothing but INIT and COOKIE-ECHO is taken; the rest is out of the blue and
        answered as RFC 4960 §8.4 asks.
        """
        fed: list[int] = []
        binding = self.stack.lib

        class Watch:
            def __getattr__(self, name: str) -> Any:
                return getattr(binding, name)

            def usrsctp_conninput(self, handle: int, data: Any, length: int, ecn: int) -> None:
                fed.append(data[12][0])
                binding.usrsctp_conninput(handle, data, length, ecn)

        self.patch(self.stack.wire, "lib", Watch())
        answers = []
        for kind in (DATA, 3, HEARTBEAT, 5, 7, SHUTDOWN_ACK, 0x80, 0xC1):
            self.hand.send(packet(1, self.address.port, 77, chunk(kind, b"12345678")), self.address.encaps)
            found = await self.hand.next()
            answers.append((kind, found.kinds, found.chunks[0].flags, found.tag, found.source))
        port = self.address.port
        self.assertEqual(
            answers,
            [
                (kind, [SHUTDOWN_COMPLETE if kind == SHUTDOWN_ACK else ABORT], 1, 77, port)
                for kind in (DATA, 3, HEARTBEAT, 5, 7, SHUTDOWN_ACK, 0x80, 0xC1)
            ],
        )
        for kind in (ABORT, SHUTDOWN_COMPLETE, COOKIE_ACK, 9):
            self.hand.send(packet(1, port, 77, chunk(kind)), self.address.encaps)
            self.hand.send(
                packet(1, port, 77, chunk(HEARTBEAT, b"12345678"), chunk(kind)), self.address.encaps
            )
        await self.assertFailure(self.hand.next(0.1), TimeoutError)
        self.assertEqual(fed, [])
        await self.hand.offer(self.address, 1, 5)
        self.assertEqual(fed, [INIT])

    async def test_garbage(self) -> None:
        """
        Garbage, from unknown and from known peers, disturbs nobody.
        """
        await self.hand.open4(self.address, 19999, 1)
        await self.factory.has(1)
        stranger = ByHand()
        stranger.open()
        self.addCleanup(stranger.close)
        good = packet(19999, self.address.port, 0, initChunk(5))
        for sender in (self.hand, stranger):
            for size in (0, 1, 11, 12, 13, 15, 16, 17, 40, 1200, 60000):
                sender.send(bytes(size), self.address.encaps)
                sender.send(b"\xff" * size, self.address.encaps)
                sender.send(good[:12] + b"\x01" * size, self.address.encaps)
            for length in range(len(good)):
                sender.send(good[:length], self.address.encaps)
                sender.send(good[:length] + b"\xff" + good[length + 1 :], self.address.encaps)
        await later(0.1)
        self.assertEqual(self.factory.made[0].lost, [])
        await self.assertServes()

    async def test_initWithoutListener(self) -> None:
        """
        An INIT for a port where nobody listens is refused with an ABORT that carries its tag, even where
        the port is open on another UDP socket of this process.
        """
        other = await self.listen(PeerFactory())
        self.hand.send(packet(9, other.getHost().port, 0, initChunk(0x01020304)), self.address.encaps)
        answer = await self.hand.next()
        self.assertEqual((answer.kinds, answer.chunks[0].flags, answer.tag), ([ABORT], 0, 0x01020304))
        self.assertEqual((answer.source, answer.destination), (other.getHost().port, 9))

    async def test_initFlood(self) -> None:
        """
        INITs past the limits are dropped unanswered; another address, and another time, are not.
        """
        clock = [1000.0]
        admission = Admission(
            UserspaceLimits(initRate=50, initBurst=60, sourceRate=10, sourceBurst=20), 1000.0
        )
        self.patch(self.stack.wire, "admission", admission)
        self.patch(reactor, "seconds", lambda: clock[0])
        refused = self.stack.counters.initsRefused
        for number in range(100):
            self.hand.send(packet(9, self.address.port, 0, initChunk(number + 1)), self.address.encaps)
            if number % 10 == 9:
                await settle()
        await settle()
        self.assertEqual(self.stack.counters.initsRefused - refused, 80)
        self.assertEqual([each.kinds for each in self.hand.packets], [[INIT_ACK]] * 20)

    async def test_tooManyAssociations(self) -> None:
        """
        Past the number of associations allowed INITs are refused; those that are there go on.
        """
        await self.hand.open4(self.address, 1, 1)
        await self.factory.has(1)
        self.patch(self.stack, "limits", UserspaceLimits(associations=1))
        stranger = ByHand()
        stranger.open()
        self.addCleanup(stranger.close)
        answer = await stranger.offer(self.address, 2, 5)
        self.assertEqual((answer.kinds, answer.tag), ([ABORT], 5))
        self.assertEqual(self.factory.made[0].lost, [])

    # Peers that vanish, stall and come back

    async def relay(self) -> Relay:
        relay = Relay(self.address.encaps)
        self.addCleanup(relay.close)
        return relay

    async def test_vanishedUnderTraffic(self) -> None:
        """
        A peer that answers nothing any more: lost after the retransmissions allowed.
        """
        relay = await self.relay()
        client = await self.connect(relay.port, FAST)
        await self.factory.has(1)
        relay.passes = lambda packet, way: False
        client.transport.write(b"hello?")
        begun = reactor.seconds()
        await client.gone()
        self.assertEqual(client.lost, [ConnectionLost])
        self.assertTrue(0.05 < reactor.seconds() - begun < 3.0)
        # The last may be lost before the relay has read it.
        await settle()
        sent = [found for way, found in relay.seen if way == "out" and DATA in found.kinds]
        self.assertEqual(len(sent), 3)

    async def test_vanishedInSilence(self) -> None:
        """
        The same without traffic: HEARTBEATs notice it.
        """
        relay = await self.relay()
        client = await self.connect(relay.port, FAST + ":heartbeat=50")
        await self.factory.has(1)
        relay.passes = lambda packet, way: False
        await client.gone()
        self.assertEqual(client.lost, [ConnectionLost])

    async def test_vanishedWhileLeaving(self) -> None:
        """
        A peer that vanishes during SHUTDOWN.
        """
        relay = await self.relay()
        client = await self.connect(relay.port, FAST)
        await self.factory.has(1)
        relay.passes = lambda packet, way: False
        client.transport.loseConnection()
        await client.gone()
        self.assertEqual(client.lost, [ConnectionLost])

    async def test_lostPackets(self) -> None:
        """
        Every third packet of either direction is lost: everything arrives once, and the end is orderly.
        """
        relay = await self.relay()
        client = await self.connect(relay.port, ":rtoInitial=60:rtoMin=30:rtoMax=60:maxRetransmissions=20")
        await self.factory.has(1)
        server = self.factory.made[0]
        relay.passes = lambda packet, way: len(relay.seen) % 3 != 0
        messages = [b"%04d" % number * 100 for number in range(100)]
        for message in messages:
            client.transport.write(message)
        await server.heard(100)
        self.assertEqual(sorted(server.messages), messages)
        relay.passes = lambda packet, way: True
        client.transport.loseConnection()
        await client.gone()
        await server.gone()
        self.assertEqual((client.lost, server.lost), ([ConnectionDone], [ConnectionDone]))

    async def test_lostShutdownComplete(self) -> None:
        """
        The last packet of the end is lost: the peer asks again, and is answered out of the blue.
        """
        relay = await self.relay()
        client = await self.connect(relay.port, FAST)
        keeper = await self.connect(relay.port, FAST)
        await self.factory.has(2)
        lost = []

        def passes(packet: Any, way: str) -> bool:
            if SHUTDOWN_COMPLETE in packet.kinds and not lost:
                lost.append(packet)
                return False
            return True

        relay.passes = passes
        client.transport.loseConnection()
        await client.gone()
        await self.factory.made[0].gone()
        self.assertEqual(len(lost), 1)
        self.assertEqual((client.lost, self.factory.made[0].lost), ([ConnectionDone], [ConnectionDone]))
        self.assertEqual(keeper.lost, [])

    async def test_restartedPeer(self) -> None:
        """
        A peer that restarts on the same ports: its old association is lost, a new one begins in its place.
        """
        await self.hand.open4(self.address, 19999, 1)
        await self.factory.has(1)
        await self.hand.open4(self.address, 19999, 2)
        await self.factory.has(2)
        first, second = self.factory.made
        self.assertEqual((first.lost, second.lost), ([ConnectionLost], []))
        second.transport.write(b"anew")
        found = await self.hand.next()
        self.assertEqual((found.kinds, found.tag, found.chunks[0].value[12:]), ([DATA], 2, b"anew"))

    async def test_restartWithoutListener(self) -> None:
        """
        The same after the listener has stopped: the association ends for both.
        """
        await self.hand.open4(self.address, 19999, 1)
        await self.factory.has(1)
        await self.port.stopListening()
        await self.hand.open4(self.address, 19999, 2)
        found = await self.hand.next()
        self.assertEqual((found.kinds, found.tag), ([ABORT], 2))
        self.assertEqual([peer.lost for peer in self.factory.made], [[ConnectionLost]])

    async def test_crashedServer(self) -> None:
        """
        A server that came back knowing nothing tells its old client so with the first packet.
        """
        relay = await self.relay()
        client = await self.connect(relay.port, FAST)
        await self.factory.has(1)
        relay.passes = lambda packet, way: False
        self.factory.made[0].transport.abortConnection()
        while not any(ABORT in found.kinds for way, found in relay.seen):
            await later(0)
        relay.passes = lambda packet, way: True
        client.transport.write(b"hello?")
        await client.gone()
        self.assertEqual(client.lost, [ConnectionAborted])
        self.assertEqual([found.kinds for way, found in relay.seen[-2:]], [[DATA], [ABORT]])
