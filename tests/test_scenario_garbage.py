"""
Garbage, truncated and oversized input on every listener of running processes: calls go on, and the log stays
short.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.endpoints import SSL4ClientEndpoint, TCP4ClientEndpoint, clientFromString
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol, connectionDone
from twisted.internet.ssl import CertificateOptions
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from tests.scenarios.network import ENCAPS, PORT, Network
from tests.scenarios.phones import Phone, token
from tests.scenarios.processes import Role
from tests.scenarios.waiting import Waiting, reactor
from tests.test_transport_garbage import INPUTS, OVERSIZED
from tests.test_transport_listen import makeCertificates

TLS_PORT = 5061


class Attacker(Waiting):
    """
    Keeps what comes back.
    """

    def __init__(self) -> None:
        super().__init__()
        self.data = b""
        self.lost = False

    def came(self, data: bytes) -> None:
        """
        Something has come.
        """
        self.data += data
        self.look()

    async def served(self, send: Callable[[bytes], object], host: str, port: int, transport: str) -> None:
        """
        Asks for the status of the element, and waits for its answer.
        """
        branch = b"z9hG4bK" + token()
        options = (
            f"OPTIONS sip:{host}:{port} SIP/2.0\r\n"
            f"Via: SIP/2.0/{transport} 127.0.0.1;rport;branch={branch.decode()}\r\n"
            "Max-Forwards: 70\r\nFrom: <sip:a@example.org>;tag=1\r\nTo: <sip:b@example.org>\r\n"
            f"Call-ID: {branch.decode()}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        )
        send(options.encode())
        await self.until(lambda: self._has200(branch), f"200 to OPTIONS over {transport}")

    def _has200(self, branch: bytes) -> bool:
        heads = self.data.split(b"\r\n\r\n")
        return any(head.lstrip().startswith(b"SIP/2.0 200 ") and branch in head for head in heads)

    def story(self) -> str:
        """
        The last that came.
        """
        return repr(self.data[-500:])


class Stream(Protocol, Attacker):
    """
    One TCP or TLS connection, or SCTP association.
    """

    def __init__(self) -> None:
        Attacker.__init__(self)

    def dataReceived(self, data: bytes) -> None:
        """
        See C{IProtocol}.
        """
        self.came(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        See C{IProtocol}.
        """
        self.lost = True
        self.look()


class Datagrams(DatagramProtocol, Attacker):
    """
    A UDP socket.
    """

    def __init__(self) -> None:
        Attacker.__init__(self)

    def datagramReceived(self, datagram: bytes, addr: object) -> None:
        """
        See C{DatagramProtocol}.
        """
        self.came(datagram + b"\r\n\r\n")


class GarbageTests(TestCase):
    """
    One server and one client with listeners of all kinds, and calls through both.
    """

    timeout = 120

    async def setUp(self) -> None:
        self.network = network = Network(self)
        self.caller = await Phone(self, "caller").listen(network.host)
        self.callee = await Phone(self, "callee").listen(network.host)
        certificates = Path(self.mktemp()).absolute()
        makeCertificates(certificates)
        tls = f":privateKey={certificates}/server-both.pem"
        server, client = network.serverHost(1), network.clientHost(1)
        network.startServer(
            1,
            listen=(
                f"udp:{PORT}:interface={server}",
                f"tcp:{PORT}:interface={server}",
                f"tls:{TLS_PORT}:interface={server}{tls}",
            ),
        )
        network.startClient(
            1,
            f"sip:{network.host}:{self.caller.port}",
            servers=(1,),
            listen=(f"tls:{TLS_PORT}:interface={client}{tls}",),
        )
        network.startClient(2, f"sip:{network.host}:{self.callee.port}", servers=(1,))
        await network.ready()

    # How to attack

    async def connect(self, transport: str, host: str) -> Any:
        """
        Connects from the attacker's address.
        """
        here = self.network.host
        endpoint: Any
        if transport == "sctp":
            words = f"sctp:host={host}:port={PORT}:encaps={ENCAPS}:bindAddress={here}:localEncaps=0"
            endpoint = clientFromString(reactor, f"{words}:stack=userspace")
        elif transport == "tls":
            unverified = CertificateOptions()
            endpoint = SSL4ClientEndpoint(reactor, host, TLS_PORT, unverified, bindAddress=(here, 0))
        else:
            port = TLS_PORT if transport == "raw" else PORT
            endpoint = TCP4ClientEndpoint(reactor, host, port, bindAddress=(here, 0))
        stream = await endpoint.connect(Factory.forProtocol(Stream))
        self.addCleanup(self.disconnect, stream)
        return stream

    async def disconnect(self, stream: Any) -> None:
        """
        Ends a connection.
        """
        if not stream.lost:
            stream.transport.abortConnection()
        await stream.until(lambda: stream.lost, "the end of a connection")

    async def udp(self, host: str) -> None:
        """
        Each input is a datagram.
        """
        socket_ = Datagrams()
        port = reactor.listenUDP(0, socket_, interface=self.network.host)
        self.addCleanup(port.stopListening)

        def send(data: bytes) -> None:
            port.write(data, (host, PORT))

        for data in INPUTS:
            send(data)
        await socket_.served(send, host, PORT, "UDP")

    async def onStreams(self, transport: str, host: str, inputs: tuple[bytes, ...]) -> None:
        """
        Each input is all that a connection carries.
        """

        async def one(data: bytes) -> None:
            stream = await self.connect(transport, host)
            stream.transport.write(data)
            stream.transport.loseConnection()
            await stream.until(lambda: stream.lost, "the end of a connection")

        for start in range(0, len(inputs), 10):
            each = [Deferred.fromCoroutine(one(data)) for data in inputs[start : start + 10]]
            for success, result in await DeferredList(each, consumeErrors=True):
                if not success:
                    result.raiseException()

    async def tcp(self, host: str) -> None:
        """
        Connections that end, and some that stay, in the middle of a message.
        """
        await self.onStreams("tcp", host, (*INPUTS, *OVERSIZED))
        for data in (b"", b"OPT", INPUTS[-1], b"A" * 70000):
            staying = await self.connect("tcp", host)
            staying.transport.write(data)
        good = await self.connect("tcp", host)
        await good.served(good.transport.write, host, PORT, "TCP")

    async def tls(self, host: str) -> None:
        """
        Within TLS, and instead of it.
        """
        await self.onStreams("tls", host, (*INPUTS, *OVERSIZED))
        await self.onStreams("raw", host, INPUTS[:12])
        good = await self.connect("tls", host)
        await good.served(good.transport.write, host, TLS_PORT, "TLS")

    async def sctp(self, host: str) -> None:
        """
        Each input is a message of one association; the oversized ones, which may cost it, have their own.
        """
        bad = await self.connect("sctp", host)
        for data in INPUTS:
            bad.transport.write(data)
        await bad.served(bad.transport.write, host, PORT, "SCTP")
        await self.onStreams("sctp", host, OVERSIZED)
        good = await self.connect("sctp", host)
        await good.served(good.transport.write, host, PORT, "SCTP")

    async def sctpPackets(self, host: str) -> None:
        """
        What is not even SCTP, on the UDP port that carries it.
        """
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as noise:
            noise.bind((self.network.host, 0))
            for data in (*INPUTS, b"", b"\0" * 12, bytes(range(28))):
                noise.sendto(data, (host, ENCAPS))
        good = await self.connect("sctp", host)
        await good.served(good.transport.write, host, PORT, "SCTP")

    # The tests

    async def attack(self, role: Role, host: str) -> None:
        """
        Everything at once on every listener of one process, calls in between; then its log is counted.
        """
        ways: list[Callable[[str], Awaitable[None]]] = [
            self.udp,
            self.tcp,
            self.tls,
            self.sctp,
            self.sctpPackets,
        ]
        before = len(role.output.splitlines())
        began = reactor.seconds()
        for way in ways:
            await way(host)
            call = self.caller.call("2001", self.network.users(1))
            self.assertEqual((await call.done()).status, 200)
            await call.hangUp()
        allowed = int(reactor.seconds() - began) + 1
        lines = role.output.decode("utf-8", "replace").splitlines()[before:]
        self.assertTrue(0 < len(lines) <= allowed, f"{len(lines)} lines, {allowed} allowed: {lines[:20]}")
        self.assertEqual(role.oddities(), [])
        self.assertIsNone(role.status)
        self.assertEqual(len(self.callee.rings), len(ways))
        self.network.check()

    async def test_server(self) -> None:
        """
        At a server.
        """
        await self.attack(self.network.servers[1], self.network.serverHost(1))

    async def test_client(self) -> None:
        """
        At a client.
        """
        await self.attack(self.network.clients[1], self.network.clientHost(1))
