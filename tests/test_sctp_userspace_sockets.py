"""
The UDP sockets below the userspace stack: who shares which, from which address answers come, when they
close; and the SCTP ports above them.
"""

from __future__ import annotations

import socket
import sys
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.error import (
    CannotListenError,
    ConnectBindError,
    ConnectionRefusedError,
    TimeoutError,
)
from twisted.internet.interfaces import IReadDescriptor
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from sipgrace.transport.sctp.userspace import userspaceStack
from sipgrace.transport.sctp.userspaceencaps import EncapsSocket, WildcardSocket
from tests.sctpcontract import Peer, PeerFactory, later
from tests.sctppackets import MISSING


class Echo(Peer):
    echo = True


class SocketTests(TestCase):
    skip = MISSING
    timeout = 30

    def setUp(self) -> None:
        self.stack = userspaceStack()
        self.factories: list[PeerFactory] = []

    async def tearDown(self) -> None:
        for factory in self.factories:
            for peer in factory.made:
                if not peer.lost:
                    peer.transport.abortConnection()
                    await peer.gone()

    async def listen(self, text: str, kind: type[Peer] = Echo) -> tuple[Any, PeerFactory]:
        factory = PeerFactory(kind)
        self.factories.append(factory)
        port = await serverFromString(reactor, f"sctp:{text}:stack=userspace").listen(factory)
        self.addCleanup(port.stopListening)
        return port, factory

    async def connect(self, text: str) -> Any:
        factory = PeerFactory()
        self.factories.append(factory)
        return await clientFromString(reactor, f"sctp:{text}:stack=userspace:timeout=3").connect(factory)

    async def asks(self, client: Any, words: bytes = b"well?") -> None:
        client.transport.write(words)
        await client.until(lambda: words in client.messages)

    def open(self) -> list[tuple[str, int]]:
        """
        The UDP sockets that are open now.
        """
        return sorted(
            (each.host, each.port) for each in reactor.getReaders() if isinstance(each, EncapsSocket)
        )

    # Sharing

    async def test_oneSocketForAll(self) -> None:
        """
        Listeners with the same UDP port share its socket; so do clients, so that peers see one port. It
        closes with the last that needs it.
        """
        first, _ = await self.listen("0:interface=127.0.0.1:encaps=0")
        encaps = first.getHost().encaps
        second, _ = await self.listen(f"0:interface=127.0.0.1:encaps={encaps}")
        self.assertEqual(self.open(), [("127.0.0.1", encaps)])
        client = await self.connect(f"127.0.0.1:{first.getHost().port}:encaps={encaps}")
        other = await self.connect(f"127.0.0.1:{second.getHost().port}:encaps={encaps}:localEncaps={encaps}")
        self.assertEqual(self.open(), [("127.0.0.1", encaps)])
        self.assertEqual(client.transport.getHost().encaps, encaps)
        self.assertEqual(other.transport.getHost().encaps, encaps)
        await self.asks(client)
        await self.asks(other)
        await first.stopListening()
        await second.stopListening()
        await self.asks(client)
        self.assertEqual(self.open(), [("127.0.0.1", encaps)])
        for each in (client, other):
            each.transport.loseConnection()
            await each.gone()
        for factory in self.factories:
            for each in factory.made:
                await each.gone()
        self.assertEqual(self.open(), [])

    async def test_ownPort(self) -> None:
        """
        A client can ask for a port of its own, or for a certain one.
        """
        port, _ = await self.listen("0:interface=127.0.0.1:encaps=0")
        address = port.getHost()
        client = await self.connect(f"127.0.0.1:{address.port}:encaps={address.encaps}:localEncaps=0")
        own = client.transport.getHost().encaps
        self.assertNotEqual(own, address.encaps)
        again = await self.connect(f"127.0.0.1:{address.port}:encaps={address.encaps}:localEncaps={own}")
        self.assertEqual(again.transport.getHost().encaps, own)
        await self.asks(client)
        await self.asks(again)

    async def test_bindAddress(self) -> None:
        """
        C{bindAddress} and C{bindPort} are where an association comes from; what another address has open
        is not used for it.
        """
        port, factory = await self.listen("0:interface=127.0.0.1:encaps=0")
        address = port.getHost()
        client = await self.connect(
            f"127.0.0.1:{address.port}:encaps={address.encaps}:bindAddress=127.0.0.3:bindPort=4321"
        )
        host = client.transport.getHost()
        self.assertEqual((host.host, host.port), ("127.0.0.3", 4321))
        self.assertEqual(factory.made[0].transport.getPeer(), host)
        await self.asks(client)

    async def test_cannotBind(self) -> None:
        """
        An address that is not ours, or a port that is taken, fails the connect, and leaves nothing open.
        """
        for text in (
            "127.0.0.1:1:bindAddress=192.0.2.1",
            f"127.0.0.1:1:encaps=9:localEncaps={self.taken('127.0.0.1')}",
            "255.255.255.255:1",
        ):
            await self.assertFailure(self.failing(text), ConnectBindError)
        self.assertEqual(self.open(), [])

    def failing(self, text: str) -> Any:
        return clientFromString(reactor, f"sctp:{text}:stack=userspace").connect(PeerFactory())

    def taken(self, host: str) -> int:
        holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        holder.bind((host, 0))
        self.addCleanup(holder.close)
        return int(holder.getsockname()[1])

    async def test_takenClientPort(self) -> None:
        """
        An SCTP port that an association of ours has cannot be had twice.
        """
        port, _ = await self.listen("0:interface=127.0.0.1:encaps=0")
        text = f"127.0.0.1:{port.getHost().port}:encaps={port.getHost().encaps}:bindPort=4321"
        client = await self.connect(text)
        await self.assertFailure(self.failing(text), ConnectBindError)
        await self.asks(client)

    async def test_cannotListen(self) -> None:
        """
        The same of listeners.
        """
        for text in ("0:interface=192.0.2.1", f"0:interface=127.0.0.1:encaps={self.taken('127.0.0.1')}"):
            await self.assertFailure(
                serverFromString(reactor, f"sctp:{text}:stack=userspace").listen(PeerFactory()),
                CannotListenError,
            )
        self.assertEqual(self.open(), [])

    # SCTP ports above

    async def test_samePortTwice(self) -> None:
        """
        One SCTP port on two UDP sockets: each leads to its own factory, and one can go without the other.
        """
        first, one = await self.listen("5061:interface=127.0.0.1:encaps=0")
        second, two = await self.listen("5061:interface=127.0.0.2:encaps=0")
        addresses = [first.getHost(), second.getHost()]
        self.assertEqual([each.port for each in addresses], [5061, 5061])
        clients = [
            await self.connect(f"{each.host}:5061:encaps={each.encaps}:localEncaps=0") for each in addresses
        ]
        self.assertEqual((len(one.made), len(two.made)), (1, 1))
        for client in clients:
            await self.asks(client)
        await first.stopListening()
        await self.connect(f"127.0.0.2:5061:encaps={addresses[1].encaps}:localEncaps=0")
        self.assertEqual(len(two.made), 2)
        for client in clients:
            await self.asks(client, b"still?")

    async def test_sameSocketTwice(self) -> None:
        """
        One SCTP port twice on one UDP socket is refused, and so is other options for the same port.
        """
        port, _ = await self.listen("5061:interface=127.0.0.1:encaps=0")
        encaps = port.getHost().encaps
        for text in (f"5061:interface=127.0.0.1:encaps={encaps}", "5061:interface=127.0.0.2:rtoMax=5000"):
            error = await self.assertFailure(
                serverFromString(reactor, f"sctp:{text}:stack=userspace").listen(PeerFactory()),
                CannotListenError,
            )
            self.assertIn("5061", str(error))
        client = await self.connect(f"127.0.0.1:5061:encaps={encaps}")
        await self.asks(client)

    async def test_severalInterfaces(self) -> None:
        """
        C{interface=A,B} is one listener on both, with one UDP port.
        """
        port, factory = await self.listen("0:interface=127.0.0.1,127.0.0.2:encaps=0")
        address = port.getHost()
        self.assertEqual(address.hosts, ("127.0.0.1", "127.0.0.2"))
        for host in address.hosts:
            client = await self.connect(f"{host}:{address.port}:encaps={address.encaps}")
            self.assertEqual(client.transport.getPeer().host, host)
            await self.asks(client)
        self.assertEqual([each.transport.getHost().host for each in factory.made], list(address.hosts))

    # All addresses

    async def everywhere(self, interface: str, hosts: tuple[str, ...]) -> None:
        port, factory = await self.listen(f"0:interface={interface}:encaps=0")
        address = port.getHost()
        [readable] = [each for each in reactor.getReaders() if isinstance(each, WildcardSocket)]
        verifyObject(IReadDescriptor, readable)
        for host in hosts:
            quoted = host.replace(":", "\\:")
            client = await self.connect(
                f"{quoted}:{address.port}:encaps={address.encaps}:localEncaps=0:bindAddress={quoted}"
            )
            await self.asks(client)
            self.assertEqual(factory.made[-1].transport.getHost().host, host)
            self.assertEqual(factory.made[-1].transport.getHost(), client.transport.getPeer())
        shared = await self.connect(f"{quoted}:{address.port}:encaps={address.encaps}")
        self.assertEqual(shared.transport.getHost().encaps, address.encaps)
        await self.asks(shared)

    async def test_everywhere(self) -> None:
        """
        A listener on all addresses answers from the one that was asked, whatever the routes prefer.
        """
        await self.everywhere("0.0.0.0", ("127.0.0.2", "127.0.0.3", "127.0.0.1"))

    async def test_everywhereIPv6(self) -> None:
        """
        The same on IPv6.
        """
        await self.everywhere("\\:\\:", ("::1",))

    async def test_foreignSource(self) -> None:
        """
        What comes to us at C{127.0.0.2} from a client that the routes would have come from C{127.0.0.1}
        is answered, too.
        """
        port, _ = await self.listen("0:interface=0.0.0.0:encaps=0")
        address = port.getHost()
        client = await self.connect(f"127.0.0.2:{address.port}:encaps={address.encaps}:localEncaps=0")
        self.assertEqual(client.transport.getHost().host, "127.0.0.1")
        await self.asks(client)

    # What UDP does to us

    async def test_deadPort(self) -> None:
        """
        Nobody has the UDP port: ICMP says so, and others go on.
        """
        port, _ = await self.listen("0:interface=127.0.0.1:encaps=0")
        client = await self.connect(f"127.0.0.1:{port.getHost().port}:encaps={port.getHost().encaps}")
        free = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        free.bind(("127.0.0.1", 0))
        dead = free.getsockname()[1]
        free.close()
        failing = clientFromString(
            reactor, f"sctp:127.0.0.1:1:encaps={dead}:stack=userspace:timeout=20"
        ).connect(PeerFactory())
        await self.assertFailure(failing, ConnectionRefusedError if sys.platform == "linux" else TimeoutError)
        await self.asks(client)

    async def test_initAttempts(self) -> None:
        """
        INITs come to an end by themselves, too, before a long time-out.
        """
        dead = self.taken("127.0.0.1")
        text = f"127.0.0.1:1:encaps={dead}:rtoInitial=40:rtoMin=30:rtoMax=40:initAttempts=2:timeout=20"
        begun = reactor.seconds()
        await self.assertFailure(self.failing(text), TimeoutError)
        self.assertLess(reactor.seconds() - begun, 5.0)
        self.assertEqual(self.open(), [])

    async def test_fullSocket(self) -> None:
        """
        What UDP cannot take now is counted and dropped; SCTP sends it again.
        """
        port, _ = await self.listen("0:interface=127.0.0.1:encaps=0:rtoInitial=60:rtoMin=30:rtoMax=60")
        client = await self.connect(
            f"127.0.0.1:{port.getHost().port}:encaps={port.getHost().encaps}:rtoInitial=60:rtoMin=30:rtoMax=60"
        )
        await self.asks(client)
        refused: list[int] = []
        peer = client.transport.udp
        really = peer.sendto

        def full(data: Any, address: Any) -> int:
            if len(refused) < 3:
                refused.append(len(data))
                raise BlockingIOError
            return really(data, address)

        before = self.stack.counters.dropped
        peer.sendto = full
        await self.asks(client, b"through?")
        self.assertEqual((len(refused), self.stack.counters.dropped - before), (3, 3))

    async def test_failingPacket(self) -> None:
        """
        An error of ours while a packet is taken is logged; the socket stays with the reactor.
        """
        port, _ = await self.listen("0:interface=127.0.0.1:encaps=0")
        client = await self.connect(f"127.0.0.1:{port.getHost().port}:encaps={port.getHost().encaps}")
        [encaps] = [each for each in reactor.getReaders() if isinstance(each, EncapsSocket)]
        really, calls = encaps._received, []

        def fails(*args: Any) -> None:
            calls.append(args[0])
            encaps._received = really
            raise ZeroDivisionError

        encaps._received = fails
        client.transport.write(b"lost in a bug")
        while not calls:
            await later(0.01)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        await self.asks(client)

    async def test_manySmall(self) -> None:
        """
        Ten thousand messages of a few bytes, written at once, all arrive.
        """
        port, factory = await self.listen("0:interface=127.0.0.1:encaps=0", Peer)
        client = await self.connect(f"127.0.0.1:{port.getHost().port}:encaps={port.getHost().encaps}")
        messages = [b"%d" % number for number in range(10000)]
        for message in messages:
            client.transport.write(message)
        server = factory.made[0]
        total = sum(map(len, messages))
        await server.until(lambda: server.received >= total)
        self.assertEqual(sorted(server.messages), sorted(messages))

    async def test_idleStops(self) -> None:
        """
        Nothing of the stack is left with the reactor once nobody uses it.
        """
        port, factory = await self.listen("0:interface=127.0.0.1:encaps=0")
        client = await self.connect(f"127.0.0.1:{port.getHost().port}:encaps={port.getHost().encaps}")
        client.transport.loseConnection()
        await client.gone()
        await factory.made[0].gone()
        self.assertEqual(len(self.open()), 1)
        await port.stopListening()
        self.assertEqual(self.open(), [])
        self.assertEqual([call for call in reactor.getDelayedCalls() if "StackClock" in str(call)], [])
        self.assertEqual((self.stack._transports, self.stack._listeners, self.stack._taken), ({}, {}, set()))
