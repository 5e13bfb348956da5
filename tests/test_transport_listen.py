"""
Tests for L{sipgrace.transport.listen} over real sockets on loopback: TCP, TLS and SCTP alike.
"""

from __future__ import annotations

import datetime
import ipaddress
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.endpoints import clientFromString
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from sipgrace.errors import ConfigError, SIPGraceError, TransportError
from sipgrace.interfaces import IAssociation, IListener
from sipgrace.message.message import Message, Request
from sipgrace.testing import Recorder, makeRequest, makeResponse
from sipgrace.transport import oncepersecond
from sipgrace.transport.bounds import Bounds
from sipgrace.transport.listen import connect, listen
from sipgrace.transport.sctp.stack import choose

reactor: Any = _reactor

#: Seconds after which what is waited for is taken not to come.
LIMIT = 20.0


class Watcher(Recorder):
    """
    A recorder that can be waited upon.
    """

    def __init__(self, answer: Callable[[Message, IAssociation], None] | None = None) -> None:
        super().__init__(answer)
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def until(self, condition: Callable[[], bool]) -> Deferred[None]:
        """
        Fires when the condition holds, at once or after some event.
        """
        done: Deferred[None] = Deferred()
        done.addTimeout(LIMIT, reactor)
        self._waiting.append((condition, done))
        self._look()
        return done

    def told(self, *names: str) -> Deferred[None]:
        """
        Fires when these events have come, in this order, and no others.
        """
        return self.until(lambda: self.names() == list(names))

    def _look(self) -> None:
        for entry in list(self._waiting):
            condition, done = entry
            if condition() and entry in self._waiting:
                self._waiting.remove(entry)
                done.callback(None)

    def associationMade(self, association: IAssociation) -> None:
        super().associationMade(association)
        self._look()

    def messageReceived(self, message: object, association: IAssociation) -> None:
        super().messageReceived(message, association)
        self._look()

    def associationLost(self, association: IAssociation, reason: Failure) -> None:
        super().associationLost(association, reason)
        self._look()


def answer200(message: Message, association: IAssociation) -> None:
    """
    Answers each request but ACK with 200.
    """
    if isinstance(message, Request) and message.method != b"ACK":
        association.send(makeResponse(message, 200))


@implementer(IHalfCloseableProtocol)
class Raw(Protocol):
    """
    A peer without manners: what it gets is kept, what it sends is given to it.
    """

    def __init__(self) -> None:
        self.data = b""
        self.ended = False
        self.lost: Failure | None = None
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    until = Watcher.until
    _look = Watcher._look

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        self._look()

    def readConnectionLost(self) -> None:
        self.ended = True
        self._look()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure) -> None:
        self.lost = reason
        self.ended = True
        self._look()

    def gone(self) -> Deferred[None]:
        """
        Fires when the connection has gone.
        """
        return self.until(lambda: self.lost is not None)


class SocketCase(TestCase):
    """
    Listeners and connections that are taken down at the end.
    """

    timeout = 60

    def setUp(self) -> None:
        # Lines of the test before would count.
        self.patch(oncepersecond, "_gates", WeakKeyDictionary())
        self.user = Watcher(answer200)
        self.listeners: list[Any] = []
        self.raws: list[Raw] = []
        self.others: list[Watcher] = []

    async def tearDown(self) -> None:
        for raw in self.raws:
            if raw.lost is None and raw.transport is not None:
                raw.transport.abortConnection()
        users = [self.user, *self.others]
        for user in users:
            for association in user.associations():
                association.abort()
        await DeferredList([listener.stopListening() for listener in self.listeners])
        for raw in self.raws:
            if raw.transport is not None:
                await raw.gone()
        for user in users:
            await user.until(lambda user=user: not user.associations())
        await self.until(lambda: not any(getattr(each, "accepted", ()) for each in self.listeners))

    async def until(self, condition: Callable[[], bool]) -> None:
        """
        For what gives no sign: looks again at each turn of the reactor.
        """
        start = reactor.seconds()
        while not condition():
            self.assertLess(reactor.seconds() - start, LIMIT)
            turn: Deferred[None] = Deferred()
            reactor.callLater(0.001, turn.callback, None)
            await turn

    async def listen(self, description: str, **more: Any) -> Any:
        listener = await listen(reactor, description, self.user, "network", **more)
        self.listeners.append(listener)
        return listener

    async def connect(self, description: str, **more: Any) -> tuple[Any, Watcher]:
        other = Watcher()
        self.others.append(other)
        return await connect(reactor, description, other, "interface", **more), other

    async def raw(self, description: str) -> Raw:
        raw = Raw()
        self.raws.append(raw)
        await clientFromString(reactor, description).connect(Factory.forProtocol(lambda: raw))
        return raw


def makeCertificates(directory: Path) -> None:
    """
    Writes C{ca.pem}, and of it C{server.pem} for 127.0.0.1 and C{client.pem}, each with its key; and
    C{stranger.pem}, of nobody.
    """
    directory.mkdir(parents=True)
    now = datetime.datetime.now(datetime.UTC)

    def issue(name: str, issuer: tuple[x509.Name, Any] | None, addresses: tuple[str, ...] = ()) -> Any:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuerName, issuerKey = issuer or (subject, key)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuerName)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        )
        if addresses:
            names = [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
            builder = builder.add_extension(
                x509.SubjectAlternativeName([x509.DNSName("sip.example.com"), *names]), critical=False
            )
        certificate = builder.sign(issuerKey, hashes.SHA256())
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        secret = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        (directory / f"{name}.pem").write_bytes(pem)
        (directory / f"{name}-key.pem").write_bytes(secret)
        (directory / f"{name}-both.pem").write_bytes(secret + pem)
        return subject, key

    authority = issue("ca", None)
    issue("server", authority, ("127.0.0.1", "::1"))
    issue("client", authority)
    issue("stranger", None)


class StreamTests:
    """
    What holds for TCP, TLS and SCTP; each of the three cases below says how it is called.
    """

    transport: bytes
    user: Watcher
    listen: Any
    connect: Any
    until: Any
    assertEqual: Any
    assertTrue: Any
    assertFalse: Any
    assertIs: Any
    assertIn: Any
    assertFailure: Any
    assertLess: Any

    def server(self, host: str = "127.0.0.1") -> str:
        raise NotImplementedError

    def client(self, listener: Any) -> str:
        raise NotImplementedError

    async def test_bothWays(self) -> None:
        listener = await self.listen(self.server())
        association, other = await self.connect(self.client(listener))
        self.assertEqual(other.names(), ["made"])
        self.assertTrue(verifyObject(IListener, listener))
        self.assertTrue(association.send(makeRequest(b"OPTIONS")))
        await other.told("made", "200 OPTIONS")
        self.assertEqual(self.user.names(), ["made", "OPTIONS"])
        accepted = self.user.events[0][1]
        for each in (association, accepted):
            self.assertTrue(verifyObject(IAssociation, each))
            self.assertEqual((each.transport, each.reliable, each.up), (self.transport, True, True))
        self.assertEqual((association.opened, accepted.opened), (True, False))
        self.assertEqual((association.zone, accepted.zone), ("interface", "network"))
        self.assertEqual((association.peerHost, association.peerPort), ("127.0.0.1", listener.port))
        self.assertEqual((accepted.localHost, accepted.localPort), ("127.0.0.1", listener.port))
        self.assertEqual(accepted.peerPort, association.localPort)
        sentBy = b"SIP/2.0/%b 127.0.0.1:%d"
        self.assertEqual(listener.via, sentBy % (self.transport, listener.port))
        self.assertEqual(accepted.via, listener.via)
        self.assertEqual(association.via, sentBy % (self.transport, association.localPort))

    async def test_shutdown(self) -> None:
        """
        What was sent arrives; then both sides hear of an orderly end.
        """
        listener = await self.listen(self.server())
        association, other = await self.connect(self.client(listener))
        for number in range(200):
            association.send(makeRequest(b"ACK", cseq=number, body=b"x" * 1000))
        association.shutdown()
        self.assertFalse(association.up)
        await self.user.until(lambda: len(self.user.events) == 202)
        self.assertEqual([message.cseq for message in self.user.messages()], list(range(200)))
        await other.told("made", "lost ConnectionDone")
        self.assertEqual(self.user.names()[-1], "lost ConnectionDone")
        self.assertEqual(listener.accepted, set())

    async def test_shutdownByTheListeningSide(self) -> None:
        listener = await self.listen(self.server())
        association, other = await self.connect(self.client(listener))
        await self.user.told("made")
        self.user.events[0][1].shutdown()
        await other.told("made", "lost ConnectionDone")
        await self.user.told("made", "lost ConnectionDone")
        self.assertFalse(association.send(makeRequest(b"OPTIONS")))

    async def test_abort(self) -> None:
        """
        The side that aborts hears C{ConnectionAborted}; the other hears no orderly end.
        """
        listener = await self.listen(self.server())
        association, other = await self.connect(self.client(listener))
        await self.user.told("made")
        association.abort()
        await other.told("made", "lost ConnectionAborted")
        await self.user.until(lambda: len(self.user.events) == 2)
        self.assertIn(self.user.names()[1], ("lost ConnectionLost", "lost ConnectionAborted"))

    async def test_slowReader(self) -> None:
        """
        A peer that does not read is aborted once the bound is passed, and not before.
        """
        listener = await self.listen(self.server(), bounds=Bounds(unsent=1 << 18))
        association, _ = await self.connect(self.client(listener))
        await self.user.told("made")
        association._wire.pauseProducing()
        accepted = self.user.events[0][1]
        data = makeRequest(b"ACK", body=b"x" * 10000)
        sent = 0
        while accepted.send(data):
            sent += len(data)
            self.assertLess(sent, 100 << 20)
            turn: Deferred[None] = Deferred()
            reactor.callLater(0, turn.callback, None)
            await turn
        self.assertTrue(sent >= 1 << 18)
        await self.user.told("made", "lost ConnectionAborted")
        self.assertEqual(listener.counters.overflowed, 1)

    async def test_muchAtOnce(self) -> None:
        """
        A peer that reads gets all of it, though the wire pauses in between.
        """
        listener = await self.listen(self.server(), bounds=Bounds(unsent=8 << 20))
        _, other = await self.connect(self.client(listener))
        await self.user.told("made")
        accepted = self.user.events[0][1]
        for number in range(100):
            self.assertTrue(accepted.send(makeRequest(b"ACK", cseq=number, body=b"x" * 50000)))
        await other.until(lambda: len(other.events) == 101)
        self.assertEqual(sorted(message.cseq for message in other.messages()), list(range(100)))
        self.assertEqual({len(message.body) for message in other.messages()}, {50000})

    async def test_stopListening(self) -> None:
        """
        No more are accepted, what is there goes on, and the port can be had again.
        """
        listener = await self.listen(self.server())
        association, other = await self.connect(self.client(listener))
        await listener.stopListening()
        await listener.stopListening()
        await self.assertFailure(Deferred.fromCoroutine(self.connect(self.client(listener))), TransportError)
        association.send(makeRequest(b"OPTIONS"))
        await other.told("made", "200 OPTIONS")

    async def test_tooMany(self) -> None:
        """
        Associations beyond the bound are turned away; there is room again when one has gone.
        """
        listener = await self.listen(self.server(), bounds=Bounds(accepted=2))
        first, other = await self.connect(self.client(listener))
        await self.connect(self.client(listener))
        await self.user.told("made", "made")
        try:
            third, third_ = await self.connect(self.client(listener))
        except TransportError:
            pass
        else:
            await third_.until(lambda: len(third_.events) == 2)
            self.assertFalse(third.up)
        self.assertEqual(self.user.names(), ["made", "made"])
        self.assertEqual(listener.counters.turnedAway, 1)
        first.shutdown()
        await other.told("made", "lost ConnectionDone")
        await self.until(lambda: len(listener.accepted) == 1)
        await self.connect(self.client(listener))
        await self.user.until(lambda: self.user.names().count("made") == 3)

    async def test_via(self) -> None:
        """
        A wildcard address cannot stand in a Via: what peers use must be said.
        """
        await self.assertFailure(Deferred.fromCoroutine(self.listen(self.server("0.0.0.0"))), ConfigError)
        listener = await self.listen(self.server("0.0.0.0"), advertise="sip.example.com:5999")
        self.assertEqual(listener.via, b"SIP/2.0/%b sip.example.com:5999" % self.transport)
        await listener.stopListening()
        second = await self.listen(self.server(), advertise="192.0.2.1")
        self.assertEqual(second.via, b"SIP/2.0/%b 192.0.2.1:%d" % (self.transport, second.port))
        association, _ = await self.connect(self.client(second), via=second.via)
        self.assertEqual(association.via, second.via)

    async def test_refused(self) -> None:
        listener = await self.listen(self.server())
        description = self.client(listener)
        await listener.stopListening()
        error = await self.assertFailure(Deferred.fromCoroutine(self.connect(description)), TransportError)
        self.assertIn(f"cannot connect to {description}", str(error))

    async def test_endedAtOnce(self) -> None:
        """
        A user that wants no more associations: the attempt fails, and is made and lost all the same.
        """
        listener = await self.listen(self.server())
        other = Watcher()
        made = other.associationMade

        def abort(association: IAssociation) -> None:
            made(association)
            association.abort()

        other.associationMade = abort
        attempt = connect(reactor, self.client(listener), other, "network")
        await self.assertFailure(attempt, TransportError)
        await other.told("made", "lost ConnectionAborted")

    async def test_userRaises(self) -> None:
        """
        A bug above is answered 500 and costs neither the association nor the listener.
        """

        def broken(message: Message, association: IAssociation) -> None:
            raise ZeroDivisionError("a bug above")

        self.user.answer = broken
        listener = await self.listen(self.server())
        association, other = await self.connect(self.client(listener))
        association.send(makeRequest(b"OPTIONS"))
        await other.told("made", "500 OPTIONS")
        self.assertTrue(self.user.events[0][1].up)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class TCPTests(StreamTests, SocketCase):
    """
    TCP.
    """

    transport = b"TCP"

    def server(self, host: str = "127.0.0.1") -> str:
        return f"tcp:0:interface={host}"

    def client(self, listener: Any) -> str:
        return f"tcp:host=127.0.0.1:port={listener.port}:timeout=5"

    async def test_ipv6(self) -> None:
        try:
            listener = await self.listen("tcp:0:interface=\\:\\:1")
        except TransportError:
            raise SkipTest("this host has no IPv6 loopback address") from None
        association, other = await self.connect(f"tcp:host=\\:\\:1:port={listener.port}")
        association.send(makeRequest(b"OPTIONS"))
        await other.told("made", "200 OPTIONS")
        self.assertEqual(listener.via, b"SIP/2.0/TCP [::1]:%d" % listener.port)
        self.assertEqual(association.via, b"SIP/2.0/TCP [::1]:%d" % association.localPort)
        self.assertEqual(association.peerHost, "::1")

    async def test_dualStack(self) -> None:
        """
        What comes by IPv4 to an IPv6 socket is shown as IPv4.
        """
        try:
            listener = await self.listen("tcp:0:interface=\\:\\:", advertise="127.0.0.1")
            await self.connect(f"tcp:host=127.0.0.1:port={listener.port}")
        except TransportError:
            raise SkipTest("this host has no dual-stack sockets") from None
        await self.user.told("made")
        self.assertEqual(self.user.events[0][1].peerHost, "127.0.0.1")

    async def test_vanishedPeers(self) -> None:
        """
        The kernel is told how long to wait for a peer that acknowledges nothing.
        """
        await self.watched(self.server(), lambda wire: wire.getHandle())

    async def watched(self, description: str, handle: Callable[[Any], socket.socket]) -> None:
        listener = await self.listen(description, bounds=Bounds(unanswered=9))
        await self.connect(self.client(listener))
        await self.user.told("made")
        sock = handle(self.user.events[0][1]._wire)
        self.assertEqual(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), 1)
        for option, value in (
            (socket.TCP_USER_TIMEOUT, 9000),
            (socket.TCP_KEEPIDLE, 9),
            (socket.TCP_KEEPINTVL, 3),
            (socket.TCP_KEEPCNT, 3),
            (socket.TCP_NODELAY, 1),
        ):
            self.assertEqual(sock.getsockopt(socket.IPPROTO_TCP, option), value)

    async def test_keepAlive(self) -> None:
        listener = await self.listen(self.server())
        raw = await self.raw(self.client(listener))
        raw.transport.write(b"\r\n\r\n")
        await raw.until(lambda: raw.data == b"\r\n")

    async def test_abruptClose(self) -> None:
        """
        A peer that goes in the midst of a message, with RST and with FIN.
        """
        listener = await self.listen(self.server())
        for rude in (True, False):
            raw = await self.raw(self.client(listener))
            raw.transport.write(makeRequest(b"OPTIONS") + makeRequest(b"OPTIONS")[:60])
            await raw.until(lambda raw=raw: raw.data.startswith(b"SIP/2.0 200 "))
            if rude:
                raw.transport.abortConnection()
            else:
                raw.transport.loseConnection()
            await self.user.until(lambda: not self.user.associations())
            await raw.gone()
        self.assertEqual(
            self.user.names(),
            ["made", "OPTIONS", "lost ConnectionLost", "made", "OPTIONS", "lost ConnectionDone"],
        )
        self.assertEqual(listener.accepted, set())

    async def test_halfClose(self) -> None:
        """
        A peer that ends its side after the request still gets the answer.
        """
        listener = await self.listen(self.server())
        raw = await self.raw(self.client(listener))
        raw.transport.write(makeRequest(b"OPTIONS"))
        raw.transport.loseWriteConnection()
        await raw.until(lambda: raw.ended)
        self.assertTrue(raw.data.startswith(b"SIP/2.0 200 "))
        await self.user.told("made", "OPTIONS", "lost ConnectionDone")

    async def test_answerIsReadBeforeTheEnd(self) -> None:
        """
        A peer whose framing is lost gets to read why, though it goes on sending.
        """
        listener = await self.listen(self.server())
        raw = await self.raw(self.client(listener))
        raw.transport.write(makeRequest(b"MESSAGE", body=b"x" * 1000000))
        await raw.until(lambda: raw.ended)
        self.assertTrue(raw.data.startswith(b"SIP/2.0 413 "))
        self.assertEqual(raw.data.count(b"SIP/2.0 413"), 1)
        raw.transport.loseConnection()
        await self.user.told("made", "lost ConnectionDone")

    async def test_partialWrites(self) -> None:
        """
        A peer that writes a few bytes at a time.
        """
        listener = await self.listen(self.server())
        raw = await self.raw(self.client(listener))
        raw.transport.setTcpNoDelay(True)
        data = makeRequest(b"OPTIONS", body=b"1234567890") * 2
        for place in range(0, len(data), 7):
            raw.transport.write(data[place : place + 7])
            turn: Deferred[None] = Deferred()
            reactor.callLater(0, turn.callback, None)
            await turn
        await raw.until(lambda: raw.data.count(b"SIP/2.0 200 ") == 2)
        self.assertEqual(self.user.names(), ["made", "OPTIONS", "OPTIONS"])

    async def test_shutdownOfAPeerThatStays(self) -> None:
        """
        A peer that never ends its side is aborted when the linger is over.
        """
        listener = await self.listen(self.server(), bounds=Bounds(linger=0.2))
        raw = await self.raw(self.client(listener))
        await self.user.told("made")
        self.user.events[0][1].shutdown()
        await raw.until(lambda: raw.ended)
        self.assertEqual(raw.lost, None)
        await self.user.told("made", "lost ConnectionAborted")

    async def test_slowloris(self) -> None:
        listener = await self.listen(self.server(), bounds=Bounds(incomplete=0.2))
        raw = await self.raw(self.client(listener))
        raw.transport.write(makeRequest(b"OPTIONS")[:30])
        await raw.gone()
        await self.user.told("made", "lost ConnectionAborted")
        self.assertEqual(listener.counters.stalled, 1)

    async def test_portTaken(self) -> None:
        listener = await self.listen(self.server())
        description = f"tcp:{listener.port}:interface=127.0.0.1"
        error = await self.assertFailure(Deferred.fromCoroutine(self.listen(description)), TransportError)
        self.assertIn(f"cannot listen at {description}", str(error))


class SCTPTests(StreamTests, SocketCase):
    """
    SCTP, over the userspace stack.
    """

    transport = b"SCTP"
    encaps = 0

    def setUp(self) -> None:
        super().setUp()
        try:
            choose("userspace")
        except (SIPGraceError, OSError) as error:
            raise SkipTest(str(error)) from None
        if not SCTPTests.encaps:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind(("127.0.0.1", 0))
                SCTPTests.encaps = probe.getsockname()[1]

    def server(self, host: str = "127.0.0.1") -> str:
        return f"sctp:0:interface={host}:encaps={self.encaps}:stack=userspace"

    def client(self, listener: Any) -> str:
        return f"sctp:host=127.0.0.1:port={listener.port}:encaps={self.encaps}:stack=userspace:timeout=2"

    async def test_noContentLength(self) -> None:
        """
        Each SCTP message is one SIP message (RFC 4168 §5).
        """
        listener = await self.listen(self.server())
        association, other = await self.connect(self.client(listener))
        association.send(makeRequest(b"OPTIONS").replace(b"Content-Length: 0\r\n", b""))
        await other.told("made", "200 OPTIONS")

    async def test_tooLong(self) -> None:
        """
        What is longer than a SIP message may be is answered; what is far longer ends the association.
        """
        listener = await self.listen(self.server())
        association, other = await self.connect(self.client(listener))
        association.send(makeRequest(b"MESSAGE", body=b"x" * 70000))
        await other.told("made", "413 MESSAGE")
        association.send(makeRequest(b"MESSAGE", body=b"x" * 200000))
        await other.told("made", "413 MESSAGE", "lost ConnectionAborted")

    async def test_tooLongToSend(self) -> None:
        listener = await self.listen(self.server())
        association, _ = await self.connect(self.client(listener))
        self.assertFalse(association.send(b"x" * (1 << 20)))
        self.assertTrue(association.up)


class TLSTests(StreamTests, SocketCase):
    """
    TLS, with certificates on both sides.
    """

    transport = b"TLS"

    def setUp(self) -> None:
        super().setUp()
        self.directory = Path(self.mktemp())
        makeCertificates(self.directory)

    def files(self, name: str) -> str:
        return f"privateKey={self.directory}/{name}-key.pem:certKey={self.directory}/{name}.pem"

    def server(self, host: str = "127.0.0.1") -> str:
        return f"tls:0:interface={host}:{self.files('server')}:caCerts={self.directory}/ca.pem"

    def client(self, listener: Any) -> str:
        return (
            f"tls:host=127.0.0.1:port={listener.port}:timeout=5:{self.files('client')}"
            f":caCerts={self.directory}/ca.pem"
        )

    async def refusedBy(self, listener: Any, description: str) -> None:
        """
        The listener lets nobody in who comes so; a client may learn of it after it thought itself in.
        """
        try:
            association, other = await self.connect(description)
        except TransportError:
            pass
        else:
            await other.until(lambda: other.names()[-1].startswith("lost"))
            self.assertFalse(association.up)
        await self.until(lambda: not listener.accepted)
        self.assertEqual(self.user.names(), [])

    async def test_clientWithoutCertificate(self) -> None:
        listener = await self.listen(self.server())
        await self.refusedBy(
            listener, f"tls:host=127.0.0.1:port={listener.port}:caCerts={self.directory}/ca.pem"
        )

    async def test_clientOfAnotherAuthority(self) -> None:
        listener = await self.listen(self.server())
        await self.refusedBy(listener, self.client(listener).replace("/client", "/stranger"))

    async def test_clientNotAsked(self) -> None:
        """
        Without C{caCerts} the listener asks for no certificate. Key and certificate may share a file.
        """
        listener = await self.listen(f"tls:0:interface=127.0.0.1:privateKey={self.directory}/server-both.pem")
        association, other = await self.connect(
            f"tls:127.0.0.1:{listener.port}:caCerts={self.directory}/ca.pem"
        )
        association.send(makeRequest(b"OPTIONS"))
        await other.told("made", "200 OPTIONS")

    async def test_serverOfAnotherAuthority(self) -> None:
        listener = await self.listen(self.server())
        description = self.client(listener).replace("/ca.pem", "/stranger.pem")
        error = await self.assertFailure(Deferred.fromCoroutine(self.connect(description)), TransportError)
        why = "its certificate is not by a CA that is trusted here (caCerts= names one)"
        self.assertEqual(str(error), f"cannot connect to {description}: {why}")
        self.assertEqual(self.others[0].names(), [])

    async def test_serverName(self) -> None:
        """
        The certificate must bear the name that was asked for (RFC 5922).
        """
        listener = await self.listen(self.server())
        wrong = self.client(listener) + ":name=sip.example.org"
        error = await self.assertFailure(Deferred.fromCoroutine(self.connect(wrong)), TransportError)
        why = "its certificate is not for this host (name= says for which it is to be)"
        self.assertEqual(str(error), f"cannot connect to {wrong}: {why}")
        association, _ = await self.connect(self.client(listener) + ":name=sip.example.com")
        self.assertTrue(association.up)

    async def test_notTLS(self) -> None:
        """
        A peer that speaks plain SIP gets nowhere.
        """
        listener = await self.listen(self.server())
        raw = await self.raw(f"tcp:127.0.0.1:{listener.port}")
        raw.transport.write(makeRequest(b"OPTIONS"))
        await raw.until(lambda: raw.ended)
        raw.transport.loseConnection()
        await self.until(lambda: not listener.accepted)
        self.assertEqual(self.user.names(), [])

    async def test_stalledHandshake(self) -> None:
        listener = await self.listen(self.server(), bounds=Bounds(incomplete=0.2))
        raw = await self.raw(f"tcp:127.0.0.1:{listener.port}")
        await raw.gone()
        self.assertEqual((listener.counters.stalled, self.user.names()), (1, []))

    async def test_cancelledHandshake(self) -> None:
        """
        An attempt can be given up while the handshake goes nowhere.
        """
        accepted: list[Protocol] = []

        class Silent(Protocol):
            def connectionMade(self) -> None:
                accepted.append(self)

        silent = Factory.forProtocol(Silent)
        port = reactor.listenTCP(0, silent, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        other = Watcher()
        attempt = connect(reactor, f"tls:127.0.0.1:{port.getHost().port}", other, "network")
        await self.until(lambda: accepted != [])
        reactor.callLater(0, attempt.cancel)
        await self.assertFailure(attempt, TransportError)
        self.assertEqual(other.names(), [])

    async def test_vanishedPeers(self) -> None:
        """
        As over TCP.
        """
        await TCPTests.watched(self, self.server(), lambda wire: wire.transport.getHandle())

    async def test_oldVersions(self) -> None:
        """
        Nothing below TLS 1.2.
        """
        from OpenSSL import SSL

        from sipgrace.transport.tlsoptions import serverOptions

        options = serverOptions(
            {
                "privateKey": f"{self.directory}/server-key.pem",
                "certKey": f"{self.directory}/server.pem",
            }
        )
        refused = SSL.OP_NO_SSLv2 | SSL.OP_NO_SSLv3 | SSL.OP_NO_TLSv1 | SSL.OP_NO_TLSv1_1
        self.assertEqual(options.getContext().set_options(0) & refused, refused)


class DescriptionErrorTests(SocketCase):
    """
    What cannot be understood says so at once.
    """

    async def test_listen(self) -> None:
        missing = str(Path(self.mktemp()))
        for description, words in (
            ("", "before the first colon"),
            ("ssl:5061", "before the first colon"),
            ("udp:5060", "advertise"),
            ("tcp:5060", "advertise"),
            ("sctp:5060", "advertise"),
            ("tcp:5060:interface=0.0.0.0", "advertise"),
            ("udp:interface=127.0.0.1", "port"),
            ("udp:sip:interface=127.0.0.1", "port"),
            ("udp:65536:interface=127.0.0.1", "port"),
            ("udp:0:interface=127.0.0.1:colour=red", "colour"),
            ("udp:0:1:interface=127.0.0.1", "expected NAME=VALUE after each colon, found '1'"),
            ("tcp:sip:interface=127.0.0.1", "expected port"),
            ("tcp:0:interface=127.0.0.1:colour=red", "colour"),
            ("tls:0:interface=127.0.0.1", "privateKey"),
            (f"tls:0:interface=127.0.0.1:privateKey={missing}", missing),
        ):
            error = await self.assertFailure(Deferred.fromCoroutine(self.listen(description)), ConfigError)
            self.assertIn(words, str(error))
        for advertise in ("", "a b", "sip.example.com:", "sip.example.com:0", "[::1", "x:99999"):
            await self.assertFailure(
                Deferred.fromCoroutine(self.listen("udp:0:interface=127.0.0.1", advertise=advertise)),
                ConfigError,
            )

    async def test_connect(self) -> None:
        for description, words in (
            ("udp:host=127.0.0.1:port=5060", "nothing to open"),
            ("tcp:port=5060", "expected a host"),
            ("tls:host=127.0.0.1:port=0", "port"),
            ("quic:host=127.0.0.1:port=5060", "before the first colon"),
        ):
            error = await self.assertFailure(Deferred.fromCoroutine(self.connect(description)), ConfigError)
            self.assertIn(words, str(error))

    async def test_badFiles(self) -> None:
        """
        A file that holds something else, or a key that is not the certificate's.
        """
        directory = Path(self.mktemp())
        makeCertificates(directory)
        start = "tls:0:interface=127.0.0.1"
        for files, words in (
            (f"privateKey={directory}/server.pem", "no unencrypted private key"),
            (f"privateKey={directory}/server-key.pem", "no certificate"),
            (f"privateKey={directory}/server-key.pem:certKey={directory}/client.pem", "not that of"),
            (f"privateKey={directory}/server-both.pem:caCerts={directory}/server-key.pem", "caCerts"),
        ):
            error = await self.assertFailure(
                Deferred.fromCoroutine(self.listen(f"{start}:{files}")), ConfigError
            )
            self.assertIn(words, str(error))

    async def test_udp(self) -> None:
        """
        UDP listens as the others do.
        """
        listener = await self.listen("udp:0:interface=127.0.0.1")
        other = await self.listen("udp:port=0:interface=127.0.0.2", advertise="192.0.2.1")
        self.assertEqual(listener.via, b"SIP/2.0/UDP 127.0.0.1:%d" % listener.port)
        self.assertEqual(other.via, b"SIP/2.0/UDP 192.0.2.1:%d" % other.port)
        listener.associationTo("127.0.0.2", other.port).send(makeRequest(b"OPTIONS", via=listener.via))
        await self.user.told("OPTIONS", "200 OPTIONS")
        error = await self.assertFailure(
            Deferred.fromCoroutine(self.listen(f"udp:{listener.port}:interface=127.0.0.1")), TransportError
        )
        self.assertIn("cannot listen at", str(error))
