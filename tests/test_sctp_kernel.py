"""
The kernel's SCTP keeps the contract of both stacks, and what it alone can do.

Where this kernel has no SCTP: C{tools/kernel/run .venv/bin/python -m twisted.trial tests.test_sctp_kernel}.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.error import ConnectBindError, ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SkipTest, TestCase

from sipgrace.errors import ConfigError
from sipgrace.transport.sctp.kernel import KernelStack
from tests.scenarios.waiting import poll
from tests.sctpcontract import DetailedPeer, Peer, PeerFactory, SCTPContract, later
from tests.sctpguest import LOSS, NEEDS_GUEST, NEEDS_KERNEL, Loss, addAddress, removeAddress, routeIntoNothing

IPPROTO_SCTP = 132
SNDINFO = 2
ABORT = 4


class KernelTests(SCTPContract, TestCase):
    """
    One-to-one sockets on IPv4.
    """

    skip = NEEDS_KERNEL
    timeout = 300
    stack = "kernel"
    host = "127.0.0.1"
    family = 4

    def serverString(self, more: str = "") -> str:
        return f"sctp:0:interface={self.host}:stack=kernel{more}"

    def clientString(self, address: Any, more: str = "") -> str:
        return f"sctp:{self.host}:{address.port}:stack=kernel{more}"

    def stringOf(self, address: Any) -> str:
        return f"sctp:{address.port}:interface={self.host}:stack=kernel"

    def deadString(self, more: str) -> str:
        if NEEDS_GUEST:
            raise SkipTest(NEEDS_GUEST)
        host = routeIntoNothing(self.family).replace(":", "\\:")
        return f"sctp:{host}:5060:stack=kernel{more}"


class KernelIPv6Tests(KernelTests):
    """
    The same on IPv6.
    """

    host = "\\:\\:1"
    family = 6


class Echo(Peer):
    """
    Answers each message with itself.
    """

    echo = True


class KernelCase:
    """
    The helpers of the contract, for what follows.
    """

    host = "127.0.0.1"
    keepsBoundaries = True
    setUp = SCTPContract.setUp
    tearDown = SCTPContract.tearDown
    listen = SCTPContract.listen
    connect = SCTPContract.connect
    pair = SCTPContract.pair
    serverString = KernelTests.serverString
    clientString = KernelTests.clientString


class OptionTests(KernelCase, TestCase):
    """
    What C{SCTPOptions} sets reaches the association on both sides.
    """

    skip = NEEDS_KERNEL
    timeout = 120

    async def test_parameters(self) -> None:
        more = ":rtoInitial=700:rtoMin=300:rtoMax=2500:heartbeat=5000:maxRetransmissions=7"
        factory = PeerFactory()
        port = await self.listen(factory, more)
        client = await self.connect(port, more=more)
        await factory.has(1)
        for peer in (client, factory.made[0]):
            sock = peer.transport._socket._sctp
            rto = sock.get_rtoinfo()
            self.assertEqual((rto.initial, rto.min, rto.max), (700, 300, 2500))
            self.assertEqual(sock.get_assocparams().assocmaxrxt, 7)
            path = sock.get_paddrparams(0, sock.getpaddrs()[0])
            self.assertEqual((path.hbinterval, path.pathmaxrxt), (5000, 4))
            self.assertEqual(sock.nodelay, 1)

    async def test_noHeartbeat(self) -> None:
        client, server = await self.pair(more=":heartbeat=0:nodelay=0")
        for peer in (client, server):
            plain = peer.transport._socket.plain
            self.assertEqual(peer.transport._socket._sctp.nodelay, 0)
            # spp_flags, behind 4 + 128 + 4 + 2 + 4 + 4 bytes: SPP_HB_DISABLE; an accepted socket inherits it
            asked = bytearray(struct.pack("=i", 0).ljust(156, b"\0"))
            flags = struct.unpack_from("=I", _getsockopt(plain.fileno(), 9, asked), 146)[0]
            self.assertEqual(flags & 3, 2)

    async def test_noUDPPort(self) -> None:
        """
        The UDP port of RFC 6951 is the host's.
        """
        stack = KernelStack()
        with self.assertRaisesRegex(ConfigError, "encaps=9899.*net.sctp.udp_port"):
            stack.listen(reactor, 0, ["127.0.0.1"], PeerFactory(), encaps=9899)
        await self.assertFailure(
            stack.connect(reactor, ["127.0.0.1"], 9, PeerFactory(), localEncaps=9899), ConfigError
        )

    async def test_bound(self) -> None:
        """
        C{bindAddress} and C{bindPort} of a client; an address that is not ours fails.
        """
        factory = PeerFactory()
        port = await self.listen(factory)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_SCTP) as probe:
            probe.bind(("127.0.0.7", 0))
            free = probe.getsockname()[1]
        client = await self.connect(port, more=f":bindAddress=127.0.0.7:bindPort={free}")
        await factory.has(1)
        self.assertEqual((factory.addresses[0].host, factory.addresses[0].port), ("127.0.0.7", free))
        self.assertEqual(client.transport.getHost().hosts, ("127.0.0.7",))
        foreign = clientFromString(
            reactor, self.clientString(port.getHost(), ":bindAddress=192.0.2.7")
        ).connect(PeerFactory())
        await self.assertFailure(foreign, ConnectBindError)

    async def test_bothFamilies(self) -> None:
        """
        A listener on C{::} takes IPv4, too, and calls its addresses as they are called.
        """
        factory = PeerFactory()
        port = await serverFromString(reactor, "sctp:0:interface=\\:\\::stack=kernel").listen(factory)
        self.ports.append(port)
        self.factories.append(factory)
        client = await self.connect(port)
        await factory.has(1)
        self.assertEqual(factory.addresses[0].host, "127.0.0.1")
        self.assertEqual(factory.made[0].transport.getHost().host, "127.0.0.1")
        self.assertEqual(client.transport.getPeer().host, "127.0.0.1")


def _getsockopt(descriptor: int, option: int, asked: bytearray) -> bytes:
    # Python's own does not say which association and address it asks about.
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    buffer = (ctypes.c_char * len(asked)).from_buffer(asked)
    length = ctypes.c_int(len(asked))
    if libc.getsockopt(descriptor, IPPROTO_SCTP, option, buffer, ctypes.byref(length)):
        raise OSError(ctypes.get_errno(), "getsockopt")
    return bytes(asked)


class EndTests(KernelCase, TestCase):
    """
    Why an association ended, in the words of the peer.
    """

    skip = NEEDS_KERNEL
    timeout = 120

    def reasonOf(self, peer: Any) -> list[Any]:
        """
        @return: what C{connectionLost} will get, once it has.
        """
        reasons: list[Any] = []
        original = peer.connectionLost

        def connectionLost(reason: Any) -> None:
            reasons.append(reason.value)
            original(reason)

        peer.connectionLost = connectionLost
        return reasons

    async def test_abortWithReason(self) -> None:
        """
        A peer may say why it aborts (only one-to-many sockets can, so this one is such).
        """
        factory = PeerFactory()
        port = await self.listen(factory)
        many = socket.socket(socket.AF_INET, socket.SOCK_SEQPACKET, IPPROTO_SCTP)
        self.addCleanup(many.close)
        many.bind(("127.0.0.1", 0))
        there = ("127.0.0.1", port.getHost().port)
        many.sendto(b"hello", there)
        await factory.has(1)
        reasons = self.reasonOf(factory.made[0])
        await factory.made[0].heard(1)
        info = struct.pack("=HHIIi", 0, ABORT, 0, 0, 0)
        many.sendmsg([b"moving house"], [(IPPROTO_SCTP, SNDINFO, info)], 0, there)
        await factory.made[0].gone()
        (error,) = reasons
        self.assertIs(type(error), ConnectionAborted)
        self.assertEqual(
            str(error), "The peer aborted the association: user-initiated abort (12): moving house."
        )

    async def test_abortOfOurs(self) -> None:
        """
        Ours carries a cause as well, and its own side has Twisted's text.
        """
        client, server = await self.pair()
        there, here = self.reasonOf(server), self.reasonOf(client)
        client.transport.abortConnection()
        await client.gone()
        await server.gone()
        self.assertEqual(str(there[0]), "The peer aborted the association: user-initiated abort (12).")
        self.assertIn("locally", str(here[0]))

    async def test_shutdown(self) -> None:
        client, server = await self.pair()
        there = self.reasonOf(server)
        client.transport.loseConnection()
        await server.gone()
        self.assertEqual([type(reason) for reason in there], [ConnectionDone])

    async def test_abortWhilePaused(self) -> None:
        """
        An abort is noticed by one who does not read, and soon.
        """
        client, server = await self.pair()
        server.transport.pauseProducing()
        client.transport.write(b"unread")
        await later(0.1)
        client.transport.abortConnection()
        begun = reactor.seconds()
        await server.gone()
        self.assertLess(reactor.seconds() - begun, 5.0)
        self.assertEqual((server.lost, server.messages), ([ConnectionAborted], []))

    async def test_shutdownWhilePaused(self) -> None:
        """
        One who does not read can leave; what it has not read is lost.
        """
        client, server = await self.pair()
        server.transport.pauseProducing()
        for _ in range(200):
            client.transport.write(b"x" * 1000)
        await later(0.1)
        server.transport.loseConnection()
        await server.gone()
        await client.gone()
        self.assertEqual(
            (server.lost, server.messages, client.lost), ([ConnectionDone], [], [ConnectionDone])
        )

    async def test_gone(self) -> None:
        """
        A transport whose association is gone has no paths and takes no primary.
        """
        client, _ = await self.pair()
        transport = client.transport
        self.assertEqual([(path.host, path.state) for path in transport.paths()], [("127.0.0.1", "active")])
        transport.loseConnection()
        await client.gone()
        self.assertEqual(transport.paths(), [])
        self.assertRaises(OSError, transport.setPrimary, "127.0.0.1")
        self.assertEqual(transport.fileno(), -1)


HERE = ("10.77.0.1", "10.77.0.2")
THERE = ("10.77.0.11", "10.77.0.12")
QUICK = ":rtoMin=100:rtoInitial=200:rtoMax=500:heartbeat=200"


class PathTests(KernelCase, TestCase):
    """
    Several addresses on each side, of which some go away.
    """

    skip = NEEDS_GUEST
    timeout = 300

    def setUp(self) -> None:
        super().setUp()
        for host in (*HERE, *THERE):
            addAddress(host)
        self.logged: list[str] = []

        def observe(event: Any) -> None:
            if "path" in event:
                self.logged.append(event["log_format"].format(**event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    async def pairOf(self, kind: type[Peer] = Peer, more: str = QUICK, client: str = "") -> tuple[Any, Any]:
        factory = PeerFactory(kind)
        port = await serverFromString(
            reactor, f"sctp:0:interface={','.join(HERE)}:stack=kernel{more}"
        ).listen(factory)
        self.assertEqual(port.getHost().hosts, HERE)
        self.ports.append(port)
        self.factories.append(factory)
        made = await clientFromString(
            reactor,
            f"sctp:{','.join(HERE)}:{port.getHost().port}:bindAddress={','.join(THERE)}"
            f":stack=kernel{more}{client}",
        ).connect(PeerFactory())
        self.peers.append(made)
        await factory.has(1)
        return made, factory.made[0]

    def states(self, peer: Any) -> dict[str, str]:
        return {path.host: path.state for path in peer.transport.paths()}

    async def test_addresses(self) -> None:
        """
        Both sides know all addresses of both, the one in use first; heartbeats confirm the others.
        """
        client, server = await self.pairOf()
        self.assertEqual(client.transport.getHost().hosts, THERE)
        self.assertEqual(client.transport.getPeer().hosts, HERE)
        self.assertEqual(server.transport.getHost().hosts, HERE)
        self.assertEqual(server.transport.getPeer().hosts, THERE)
        await poll(lambda: set(self.states(client).values()) == {"active"}, "both paths")
        self.assertEqual(
            [(path.host, path.primary) for path in client.transport.paths()],
            [(HERE[0], True), (HERE[1], False)],
        )

    async def test_pathCut(self) -> None:
        """
        The path in use is cut in the midst of traffic: everything arrives, each once and in order; the
        change is logged and shown, and so is the path's return.
        """
        client, server = await self.pairOf(Echo)
        await poll(lambda: set(self.states(client).values()) == {"active"}, "both paths")
        sent = []

        async def talk(count: int) -> None:
            for _ in range(count):
                sent.append(b"%d" % len(sent))
                client.transport.sendMessage(sent[-1], unordered=False)
                await later(0.02)

        await talk(20)
        removeAddress(HERE[0])
        begun = reactor.seconds()
        await talk(20)
        await client.heard(len(sent))
        self.assertLess(reactor.seconds() - begun, 10.0)
        await poll(lambda: self.states(client)[HERE[0]] == "inactive", "the loss of a path")
        self.assertEqual(self.states(client)[HERE[1]], "active")
        await poll(lambda: any("unreachable" in line for line in self.logged), "the line in the log")
        addAddress(HERE[0])
        await poll(lambda: self.states(client)[HERE[0]] == "active", "the path")
        await talk(20)
        await client.heard(60)
        self.assertEqual(server.messages, sent)
        self.assertEqual(sorted(client.messages, key=int), sent)
        self.assertEqual((client.lost, server.lost), ([], []))
        peer = str(client.transport.getPeer())
        ours = [line for line in self.logged if line.startswith(f"path {HERE[0]} of {peer}")]
        self.assertEqual(
            [line.rsplit(" ", 1)[1] for line in ours if "primary" not in line], ["unreachable", "available"]
        )

    async def test_primary(self) -> None:
        """
        The primary path can be chosen, and is shown; an address that is not the peer's is refused.
        """
        client, server = await self.pairOf()
        client.transport.setPrimary(HERE[1])
        self.assertEqual(
            [(path.host, path.primary) for path in client.transport.paths()],
            [(HERE[0], False), (HERE[1], True)],
        )
        await poll(lambda: client.transport.getPeer().host == HERE[1], "the other address")
        self.assertEqual(client.transport.getPeer().hosts, (HERE[1], HERE[0]))
        self.assertRaises(OSError, client.transport.setPrimary, "10.77.0.99")
        client.transport.write(b"this way")
        await server.heard(1)

    async def test_primaryAskedFor(self) -> None:
        """
        The string of a client chooses the primary path, which is used from the start. An address that the
        peer does not have costs a warning.
        """
        client, _ = await self.pairOf(client=f":primary={HERE[1]}")
        self.assertEqual(client.transport.getPeer().hosts, (HERE[1], HERE[0]))
        self.assertEqual([path.host for path in client.transport.paths() if path.primary], [HERE[1]])
        warned: list[str] = []

        def observe(event: Any) -> None:
            if "primary" in event:
                warned.append(event["log_format"].format(**event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        other, _ = await self.pairOf(client=":primary=10.77.0.99")
        self.assertEqual([path.host for path in other.transport.paths() if path.primary], [HERE[0]])
        peer = other.transport.getPeer()
        self.assertEqual(
            warned,
            [f"10.77.0.99 is not the primary path of {peer}: Cannot assign requested address"],
        )

    async def test_allPathsCut(self) -> None:
        """
        With nothing left the association is lost, which is neither an end in order nor an abort.
        """
        client, server = await self.pairOf(more=QUICK + ":maxRetransmissions=2")
        for host in HERE:
            removeAddress(host)
        client.transport.write(b"lost")
        await client.gone()
        self.assertEqual(client.lost, [ConnectionLost])
        for host in HERE:
            addAddress(host)
        await server.gone()

    async def test_firstIsDead(self) -> None:
        """
        Of several addresses of the peer the first need not be there.
        """
        factory = PeerFactory()
        port = await serverFromString(reactor, f"sctp:0:interface={HERE[0]}:stack=kernel").listen(factory)
        self.ports.append(port)
        self.factories.append(factory)
        there = f"sctp:192.0.2.1,{HERE[0]}:{port.getHost().port}:stack=kernel{QUICK}"
        client = await clientFromString(reactor, there).connect(PeerFactory())
        self.peers.append(client)
        self.assertEqual(client.transport.getPeer().host, HERE[0])

    async def test_restart(self) -> None:
        """
        A peer that comes back on the same port after it lost its memory: for our protocol one association
        has ended, and another begun.
        """
        addAddress("10.77.0.21")
        factory = PeerFactory(Echo)
        port = await serverFromString(reactor, f"sctp:0:interface={HERE[0]}:stack=kernel").listen(factory)
        self.ports.append(port)
        self.factories.append(factory)
        there = f"sctp:{HERE[0]}:{port.getHost().port}:stack=kernel:bindAddress=10.77.0.21:bindPort=7777"
        first = await clientFromString(reactor, there).connect(PeerFactory())
        first.transport.write(b"before")
        await first.heard(1)
        # its ABORT comes to nothing
        removeAddress("10.77.0.21")
        first.transport.abortConnection()
        await first.gone()
        self.assertEqual(factory.made[0].lost, [])
        addAddress("10.77.0.21")
        second = await clientFromString(reactor, there).connect(PeerFactory())
        self.peers.append(second)
        await factory.has(2)
        self.assertEqual(factory.made[0].lost, [ConnectionLost])
        second.transport.write(b"after")
        await second.heard(1)
        self.assertEqual(factory.made[1].messages, [b"after"])


class LossTests(KernelCase, TestCase):
    """
    Loss, delay and reordering below.
    """

    skip = LOSS
    timeout = 300

    async def test_order(self) -> None:
        """
        With 5 % lost, 20 ms late and a quarter overtaking, everything arrives, and in order per stream.
        """
        client, server = await self.pair(DetailedPeer, QUICK)
        with Loss("loss", "5%", "delay", "20ms", "5ms", "reorder", "25%") as loss:
            for number in range(600):
                client.transport.sendMessage(b"%d" % number, stream=number % 3, unordered=False)
                client.transport.sendMessage(b"u%d" % number)
                if number % 20 == 0:
                    await later(0.01)
            await server.until(lambda: len(server.events) == 1201)
            self.assertGreater(loss.lost(), 0)
        for stream in range(3):
            heard = [int(event[1]) for event in server.events[1:] if event[2] == stream and not event[4]]
            self.assertEqual(heard, list(range(stream, 600, 3)))
        loose = {event[1] for event in server.events[1:] if event[4]}
        self.assertEqual(loose, {b"u%d" % number for number in range(600)})
