"""
What the userspace stack makes of ICMP: peers whose process has ended, and those who only seem to have.
"""

from __future__ import annotations

import socket
import sys
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from sipgrace.transport.sctp import userspacedoubt
from sipgrace.transport.sctp.userspace import userspaceStack
from sipgrace.transport.sctp.userspacedoubt import Doubt
from sipgrace.transport.sctp.userspaceencaps import EncapsSocket, WildcardSocket
from tests.sctpcontract import Peer, PeerFactory, later
from tests.sctppackets import ABORT, DATA, HEARTBEAT, MISSING, Relay

#: Nothing but ICMP ends such an association within the time of a test.
PATIENT = ":maxRetransmissions=100:initAttempts=100:rtoInitial=300:rtoMin=300:rtoMax=300"

#: As long as it takes to be sure, and as long again for a busy machine.
SURE = 2 * userspacedoubt.ROUND * (userspacedoubt.ROUNDS + 1)


class Case(TestCase):
    skip = MISSING or (None if sys.platform == "linux" else "this needs Linux' error queue")
    timeout = 30

    def setUp(self) -> None:
        self.stack = userspaceStack()
        self.peers: list[Any] = []
        self.factories: list[PeerFactory] = []

    async def tearDown(self) -> None:
        for peer in [*self.peers, *(peer for factory in self.factories for peer in factory.made)]:
            if not peer.lost:
                peer.transport.abortConnection()
                await peer.gone()

    async def listen(self, more: str = PATIENT, host: str = "127.0.0.1") -> tuple[Any, PeerFactory]:
        factory = PeerFactory()
        self.factories.append(factory)
        text = f"sctp:0:interface={host}:encaps=0:stack=userspace{more}"
        port = await serverFromString(reactor, text).listen(factory)
        self.addCleanup(port.stopListening)
        return port.getHost(), factory

    async def connect(self, port: int, encaps: int, more: str = PATIENT, host: str = "127.0.0.1") -> Any:
        text = f"sctp:{host}:{port}:encaps={encaps}:stack=userspace{more}"
        client = await clientFromString(reactor, text).connect(PeerFactory())
        self.peers.append(client)
        return client

    def relay(self, encaps: int) -> Relay:
        relay = Relay(encaps)
        self.addCleanup(relay.close)
        return relay

    async def asks(self, client: Peer, server: Peer) -> None:
        before = len(server.messages)
        client.transport.write(b"well?")
        await server.heard(before + 1)

    async def through(self, more: str = PATIENT) -> tuple[Any, Any, Relay]:
        """
        @return: client, server, and the relay between them.
        """
        address, factory = await self.listen(more)
        relay = self.relay(address.encaps)
        client = await self.connect(address.port, relay.port, more)
        await factory.has(1)
        server = factory.made[0]
        await self.asks(client, server)
        return client, server, relay


class OpeningTests(Case):
    """
    Associations to where nobody is.
    """

    async def refused(self, host: str, more: str = "") -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as free:
            free.bind((host.replace("\\", ""), 0))
            dead = free.getsockname()[1]
        began = reactor.seconds()
        text = f"sctp:{host}:5060:encaps={dead}:stack=userspace:timeout=20{PATIENT}{more}"
        failing = clientFromString(reactor, text).connect(PeerFactory())
        await self.assertFailure(failing, ConnectionRefusedError)
        self.assertLess(reactor.seconds() - began, 2)

    async def test_refused(self) -> None:
        """
        It is told at once.
        """
        await self.refused("127.0.0.1")
        await self.refused("\\:\\:1")

    async def test_wildcard(self) -> None:
        """
        From a socket that is bound to all addresses, too.
        """
        for host, any in (("127.0.0.1", "0.0.0.0"), ("\\:\\:1", "\\:\\:")):
            address, _ = await self.listen(host=any)
            await self.refused(host, f":localEncaps={address.encaps}")
            sockets = [each for each in reactor.getReaders() if isinstance(each, EncapsSocket)]
            self.assertIn(address.encaps, [one.port for one in sockets if isinstance(one, WildcardSocket)])

    async def test_again(self) -> None:
        """
        The same socket serves the next attempt, when somebody is there.
        """
        address, factory = await self.listen()
        own, _ = await self.listen()
        more = f":localEncaps={own.encaps}"
        for _ in range(3):
            await self.refused("127.0.0.1", more)
            client = await self.connect(address.port, address.encaps, PATIENT + more)
            await factory.has(len(self.peers))
            await self.asks(client, factory.made[-1])

    async def test_forged(self) -> None:
        """
        What does not quote our own INIT ends no attempt.
        """
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            text = f"sctp:127.0.0.1:5060:encaps={silent.getsockname()[1]}:stack=userspace:timeout=2{PATIENT}"
            failing = clientFromString(reactor, text).connect(PeerFactory())
            init = silent.recv(2000)
            (peer,) = [each.udp for each in self.stack._transports.values() if each.getPeer().port == 5060]
            forged = init[:16] + bytes(byte ^ 1 for byte in init[16:20]) + init[20:]
            for quoted in (forged, init[:19], init[:12], init[:8] + bytes(len(init) - 8)):
                self.stack.unreachable(peer, quoted)
            self.assertNoResult(failing)
            self.stack.unreachable(peer, init)
            await self.assertFailure(failing, ConnectionRefusedError)


class VanishedTests(Case):
    """
    Associations whose peer has gone without a word.
    """

    async def test_underTraffic(self) -> None:
        """
        It is told soon after the next message.
        """
        client, server, relay = await self.through()
        await relay.vanish("out")
        began = reactor.seconds()
        client.transport.write(b"still there?")
        await client.gone()
        self.assertEqual(client.lost, [ConnectionLost])
        least = userspacedoubt.ROUND * userspacedoubt.ROUNDS
        self.assertTrue(least - 0.1 < reactor.seconds() - began < SURE)
        self.assertEqual(server.lost, [])

    async def test_idle(self) -> None:
        """
        Or after the next HEARTBEAT.
        """
        client, _, relay = await self.through(PATIENT + ":heartbeat=500")
        await relay.vanish("out")
        began = reactor.seconds()
        await client.gone()
        self.assertEqual(client.lost, [ConnectionLost])
        self.assertLess(reactor.seconds() - began, 1.5 + SURE)

    async def test_clientHasVanished(self) -> None:
        """
        A server notices the same of its clients.
        """
        client, server, relay = await self.through()
        await relay.vanish("back")
        server.transport.write(b"still there?")
        await server.gone()
        self.assertEqual((server.lost, client.lost), ([ConnectionLost], []))

    async def test_allOfOnePeer(self) -> None:
        """
        All associations to that UDP port are lost, and none to another from the same socket, which loses no
        message by it.
        """
        address, factory = await self.listen()
        relay = self.relay(address.encaps)
        own, _ = await self.listen()
        more = f"{PATIENT}:localEncaps={own.encaps}"
        lost = [await self.connect(address.port, relay.port, more) for _ in range(3)]
        kept = await self.connect(address.port, address.encaps, more)
        await factory.has(4)
        server = next(
            peer for peer in factory.made if peer.transport.getPeer().port == kept.transport.getHost().port
        )
        await relay.vanish("out")
        dropped = self.stack.counters.dropped
        for number in range(200):
            lost[0].transport.write(b"still there?")
            kept.transport.write(b"%d" % number)
            await later(0.005)
        await server.heard(200)
        self.assertEqual(self.stack.counters.dropped, dropped)
        for client in lost:
            await client.gone()
            self.assertEqual(client.lost, [ConnectionLost])
        self.assertEqual((kept.lost, server.lost), ([], []))
        await self.asks(kept, server)

    async def test_forAMoment(self) -> None:
        """
        What comes back within a second is as before.
        """
        client, server, relay = await self.through()
        await relay.vanish("out")
        before = self.stack.counters.unreachable
        client.transport.write(b"still there?")
        while self.stack.counters.unreachable < before + 2:
            await later(0.01)
        relay.appear()
        await server.heard(2)
        await later(SURE)
        self.assertEqual((client.lost, server.lost), ([], []))
        await self.asks(client, server)
        self.assertIsNone(client.transport.udp.doubt)

    async def test_forged(self) -> None:
        """
        Whoever knows addresses and ports, but not the verification tag, makes us ask, twice a second at most;
        the peer answers, and nothing else happens.
        """
        client, server, relay = await self.through()
        data = next(found for way, found in relay.seen if way == "out" and DATA in found.kinds)
        host = client.transport.getHost()
        forged = host.port.to_bytes(2, "big") + data.destination.to_bytes(2, "big") + bytes(20)
        relay.seen.clear()
        began = reactor.seconds()
        while reactor.seconds() - began < 1.2:
            self.stack.unreachable(client.transport.udp, forged)
            await later(0.01)
        asked = [found for way, found in relay.seen if way == "out" and HEARTBEAT in found.kinds]
        self.assertIn(len(asked), (2, 3))
        await self.asks(client, server)
        self.assertEqual((client.lost, server.lost), ([], []))

    async def test_saysSo(self) -> None:
        """
        To a peer that was there all the same, the end is told by ABORT.
        """
        client, server, relay = await self.through()
        relay.passes = lambda packet, way: way == "out"
        sent: list[bytes] = []
        peer = client.transport.udp
        really = peer.sendto

        def note(data: Any, address: Any) -> int:
            sent.append(bytes(data))
            return really(data, address)

        peer.sendto = note
        client.transport.write(b"still there?")
        while not client.lost:
            self.stack.unreachable(peer, sent[-1])
            await later(0.02)
        await server.gone()
        self.assertIn([ABORT], [found.kinds for way, found in relay.seen if way == "out"])


class DoubtTests(SynchronousTestCase):
    """
    When a peer is taken for gone.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.happened: list[tuple[float, str]] = []
        self.doubt: Doubt | None = None
        self.note: Any = None
        peer: Any = self
        Doubt(self.clock, peer, lambda peer: self.happens("ask"), lambda peer: self.happens("gone")).begin()

    def happens(self, what: str) -> None:
        self.happened.append((self.clock.seconds(), what))

    def comesBack(self, packet: bytes = b"0123456789abcdef", quoted: int = 16) -> None:
        assert self.doubt is not None
        self.note(packet)
        self.doubt.refused(b"0123456789abcdef"[:quoted])

    def test_gone(self) -> None:
        """
        Three times in a row.
        """
        for _ in range(3):
            self.comesBack()
            self.clock.advance(0.5)
        self.assertEqual(self.happened, [(0, "ask"), (0.5, "ask"), (1, "ask"), (1.5, "gone")])
        self.assertIsNone(self.doubt)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_silence(self) -> None:
        """
        What does not come back says nothing; heartbeats will tell.
        """
        self.comesBack()
        self.clock.advance(0.5)
        self.clock.advance(0.5)
        self.assertEqual(self.happened, [(0, "ask"), (0.5, "ask")])
        self.assertIsNone(self.doubt)

    def test_answered(self) -> None:
        """
        A peer that sends anything is there.
        """
        self.comesBack()
        self.clock.advance(0.5)
        self.comesBack()
        assert self.doubt is not None
        self.doubt.answered = True
        self.comesBack()
        self.clock.advance(0.5)
        self.assertEqual(self.happened, [(0, "ask"), (0.5, "ask")])
        self.assertIsNone(self.doubt)

    def test_other(self) -> None:
        """
        Neither another packet nor too little of one counts.
        """
        self.comesBack(b"0123456789abcdeX")
        self.comesBack(quoted=11)
        self.clock.advance(0.5)
        self.assertEqual((self.happened, self.doubt), ([(0, "ask")], None))

    def test_old(self) -> None:
        """
        Nor does what was sent long ago.
        """
        assert self.doubt is not None
        self.note(b"0123456789abcdef")
        for number in range(16):
            self.note(b"%016d" % number)
        self.doubt.refused(b"0123456789abcdef")
        self.clock.advance(0.5)
        self.assertIsNone(self.doubt)

    def test_stopped(self) -> None:
        """
        When the last association goes for another reason.
        """
        assert self.doubt is not None
        self.doubt.stop()
        self.assertIsNone(self.doubt)
        self.assertEqual(self.clock.getDelayedCalls(), [])
