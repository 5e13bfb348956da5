"""
The kernel's SCTP and the one in userspace speak to each other: RFC 6951 on both sides, in one guest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import clientFromString
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionRefusedError
from twisted.trial.unittest import TestCase

from sipgrace.errors import ConfigError
from sipgrace.transport.sctp.kernel import KernelStack
from sipgrace.transport.sctp.stack import ISCTPStack, choose
from tests.sctpcontract import DetailedPeer, Peer, PeerFactory, SCTPContract
from tests.sctpguest import LOSS, NEEDS_GUEST, Loss

HOST = "127.0.0.1"
KERNEL_UDP = 9899
UDP_PORT = Path("/proc/sys/net/sctp/udp_port")
ENCAP_PORT = Path("/proc/sys/net/sctp/encap_port")


def _userspace() -> ISCTPStack | None:
    try:
        return choose("userspace")[0]
    except ConfigError:
        return None


_NO_USERSPACE = "kernel SCTP to userspace SCTP needs libusrsctp2"


class EncapsulatedCase:
    """
    A listener of one stack, and a client of the other.
    """

    timeout = 300
    skip = NEEDS_GUEST or (None if _userspace() else _NO_USERSPACE)
    setUpPeers = SCTPContract.setUp
    tearDownPeers = SCTPContract.tearDown

    async def tearDown(self) -> None:
        await self.tearDownPeers()
        UDP_PORT.write_text("0")

    def setUp(self) -> None:
        self.setUpPeers()
        UDP_PORT.write_text(str(KERNEL_UDP))

    async def _listen(self, factory: PeerFactory) -> tuple[int, int]:
        """
        @return: SCTP port and UDP port.
        """
        raise NotImplementedError

    async def _connect(self, factory: PeerFactory, port: int, encaps: int) -> Any:
        raise NotImplementedError

    async def pair(self, kind: type[Peer] = Peer) -> tuple[Any, Any]:
        factory = PeerFactory(kind)
        port, encaps = await self._listen(factory)
        client = await self._connect(PeerFactory(kind), port, encaps)
        self.factories.append(factory)
        self.peers.append(client)
        await factory.has(1)
        return client, factory.made[0]

    async def test_messages(self) -> None:
        """
        Messages of all sizes, both ways, with stream and PPID.
        """
        client, server = await self.pair(DetailedPeer)
        sizes = (1, 100, 1200, 1500, 9000, 60000)
        for sender, hearer in ((client, server), (server, client)):
            for number, size in enumerate(sizes):
                sender.transport.sendMessage(b"%d" % number * size, number, 1000 + number, False)
            await hearer.until(lambda hearer=hearer: len(hearer.events) == 1 + len(sizes))
            self.assertEqual(
                sorted(hearer.events[1:], key=lambda event: event[2]),
                [
                    ("message", b"%d" % number * size, number, 1000 + number, False)
                    for number, size in enumerate(sizes)
                ],
            )

    async def test_underLoss(self) -> None:
        """
        5 % lost and 20 ms late: everything arrives once, and in order where order was asked for.
        """
        if LOSS:
            self.skipTest(LOSS)
        client, server = await self.pair(DetailedPeer)
        with Loss("loss", "5%", "delay", "20ms", "2ms") as loss:
            for number in range(200):
                client.transport.sendMessage(b"%03d" % number * 100, unordered=False)
                client.transport.write(b"loose %03d" % number)
            await server.until(lambda: len(server.events) == 401)
            self.assertGreater(loss.lost(), 0)
        ordered = [event[1][:3] for event in server.events[1:] if not event[4]]
        self.assertEqual(ordered, [b"%03d" % number for number in range(200)])
        loose = sorted(event[1] for event in server.events[1:] if event[4])
        self.assertEqual(loose, [b"loose %03d" % number for number in range(200)])

    async def test_shutdown(self) -> None:
        client, server = await self.pair()
        client.transport.write(b"last")
        client.transport.loseConnection()
        await client.gone()
        await server.gone()
        self.assertEqual(server.events, [("made",), ("data", b"last"), ("lost", ConnectionDone)])
        self.assertEqual(client.lost, [ConnectionDone])

    async def test_shutdownByServer(self) -> None:
        client, server = await self.pair()
        server.transport.loseConnection()
        await client.gone()
        await server.gone()
        self.assertEqual((client.lost, server.lost), ([ConnectionDone], [ConnectionDone]))

    async def test_abort(self) -> None:
        client, server = await self.pair()
        client.transport.abortConnection()
        await server.gone()
        self.assertEqual(server.lost, [ConnectionAborted])

    async def test_abortByServer(self) -> None:
        client, server = await self.pair()
        server.transport.abortConnection()
        await client.gone()
        self.assertEqual(client.lost, [ConnectionAborted])

    async def test_refused(self) -> None:
        """
        Nobody listens on that SCTP port.
        """
        factory = PeerFactory()
        port, encaps = await self._listen(factory)
        connecting = self._connect(PeerFactory(), port ^ 1, encaps)
        try:
            await connecting
        except ConnectionRefusedError:
            return
        self.fail("it was not refused")


class KernelToUserspaceTests(EncapsulatedCase, TestCase):
    """
    A client of the kernel, a listener in userspace.
    """

    async def _listen(self, factory: PeerFactory) -> tuple[int, int]:
        stack = _userspace()
        assert stack is not None
        port = stack.listen(reactor, 0, [HOST], factory, encaps=0)
        self.ports.append(port)
        address = port.getHost()
        return address.port, address.encaps

    async def _connect(self, factory: PeerFactory, port: int, encaps: int) -> Any:
        return await KernelStack().connect(reactor, [HOST], port, factory, encaps=encaps)


class HostsPortTests(KernelToUserspaceTests):
    """
    The peers' UDP port is the host's setting (C{net.sctp.encap_port}).
    """

    async def tearDown(self) -> None:
        await super().tearDown()
        ENCAP_PORT.write_text("0")

    async def _connect(self, factory: PeerFactory, port: int, encaps: int) -> Any:
        ENCAP_PORT.write_text(str(encaps))
        return await KernelStack().connect(reactor, [HOST], port, factory)


class EndpointTests(KernelToUserspaceTests):
    """
    The same as endpoint strings have it.
    """

    async def _connect(self, factory: PeerFactory, port: int, encaps: int) -> Any:
        endpoint = clientFromString(reactor, f"sctp:{HOST}:{port}:encaps={encaps}:stack=kernel")
        return await endpoint.connect(factory)


class UserspaceToKernelTests(EncapsulatedCase, TestCase):
    """
    A client in userspace, a listener of the kernel.
    """

    async def _listen(self, factory: PeerFactory) -> tuple[int, int]:
        port = KernelStack().listen(reactor, 0, [HOST], factory)
        self.ports.append(port)
        return port.getHost().port, KERNEL_UDP

    async def _connect(self, factory: PeerFactory, port: int, encaps: int) -> Any:
        stack = _userspace()
        assert stack is not None
        return await stack.connect(reactor, [HOST], port, factory, encaps=encaps)
