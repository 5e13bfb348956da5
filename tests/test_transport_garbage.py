"""
Garbage, truncated and oversized input on every listener: the process goes on serving, and each peer
costs at most one log line a second.
"""

from __future__ import annotations

import socket
from collections import Counter
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, LogLevel, formatEvent, globalLogPublisher

from sipgrace.testing import makeRequest, makeResponse
from sipgrace.transport.bounds import Bounds
from tests import test_transport_listen
from tests.test_transport_listen import SocketCase, makeCertificates

reactor: Any = _reactor

GOOD = makeRequest(b"OPTIONS", via=b"SIP/2.0/UDP 127.0.0.1;rport")

#: Each is one datagram, one SCTP message, or all that one connection sends before it is closed.
INPUTS = (
    b"garbage",
    b"garbage\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: sip.example.com\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
    bytes(range(256)) * 16,
    b"\xff" * 60000,
    b"A" * 60000,
    b"\r\n" * 500,
    b"\0" * 100,
    b"SIP/2.0 200 OK\r\n\r\n",
    b"SIP/2.0 999 What\r\nVia: x\r\n\r\n",
    b"OPTIONS sip:x SIP/2.0\r\n\r\n",
    b"OPTIONS sip:x SIP/7.0\r\n" + GOOD.partition(b"\r\n")[2],
    b"OPTIONS  sip:x  SIP/2.0\r\n" + GOOD.partition(b"\r\n")[2],
    GOOD.replace(b"OPTIONS sip", b"OPT\xe4ONS sip"),
    GOOD.replace(b"Content-Length: 0", b"Content-Length: -1"),
    GOOD.replace(b"Content-Length: 0", b"Content-Length: 99999999999999999999"),
    GOOD.replace(b"Content-Length: 0", b"Content-Length: 500"),
    GOOD.replace(b"Content-Length: 0", b"Content-Length: 0\r\nContent-Length: 5"),
    GOOD.replace(b"Via: SIP/2.0/UDP 127.0.0.1", b"Via: SIP/2.0/UDP 127.0.0.1:99999"),
    GOOD.replace(b"Via: SIP", b"Via: \xff\xfe"),
    GOOD.replace(b"CSeq: 1 ", b"CSeq: 99999999999 "),
    GOOD.replace(b"Call-ID: call-1\r\n", b""),
    GOOD.replace(b"\r\nTo:", b"\r\n To:"),
    GOOD.replace(b"\r\n", b"\n"),
    GOOD.replace(b"Max-Forwards: 70", b"Max-Forwards: \xb2"),
    GOOD.replace(b"To: ", b'To: "'),
    GOOD.replace(b"Contact", b"X" * 9000),
    makeRequest(b"OPTIONS", headers=[(b"Subject", b"x" * 9000)]),
    makeRequest(b"OPTIONS", headers=[(b"Subject", b"x")] * 1000),
    makeRequest(b"OPTIONS", uri=b"sip:" + b"x" * 9000),
    makeResponse(GOOD, 200).replace(b"CSeq: 1 OPTIONS", b"CSeq: x"),
    *(GOOD[:length] for length in range(1, len(GOOD), 40)),
)

#: What is longer than any message may be; too long for UDP.
OVERSIZED = (
    makeRequest(b"MESSAGE", body=b"x" * 70000),
    b"OPTIONS " + b"x" * 200000,
    b"INVITE sip:x SIP/2.0\r\n" + b"X: y\r\n" * 30000,
)


class GarbageTests(SocketCase):
    """
    One listener of each kind, one kind of peer after the other.
    """

    def setUp(self) -> None:
        super().setUp()
        self.lines: list[LogEvent] = []
        self.start = reactor.seconds()
        globalLogPublisher.addObserver(self.lines.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.lines.append)

    def checkLines(self, listener: Any) -> None:
        """
        All peers here are one host: one line a second, begun seconds counted.
        """
        allowed = int(reactor.seconds() - self.start) + 1
        texts = [formatEvent(line) for line in self.lines if line["log_level"] >= LogLevel.warn]
        self.assertTrue(0 < len(texts) <= allowed, f"{len(texts)} lines of {allowed}: {texts}")
        self.assertGreater(listener.counters.unlogged, 0)
        self.assertEqual(listener.counters.failed, 0)

    def accepted(self) -> int:
        """
        How many good messages came up.
        """
        return Counter(self.user.names())["OPTIONS"]

    async def test_udp(self) -> None:
        listener = await self.listen("udp:0:interface=127.0.0.1")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.bind(("127.0.0.1", 0))
            peer.connect(("127.0.0.1", listener.port))
            peer.setblocking(False)
            for number, data in enumerate(INPUTS):
                peer.send(data)
                peer.send(GOOD)
                await self.until(lambda number=number: self.accepted() >= number + 1)
            answers = Counter[bytes]()
            try:
                while True:
                    answers[peer.recv(65535)[:11]] += 1
            except BlockingIOError:
                pass
        self.assertGreaterEqual(answers[b"SIP/2.0 200"], len(INPUTS))
        self.assertGreater(answers[b"SIP/2.0 400"], 5)
        self.assertEqual(answers[b"SIP/2.0 505"], 1)
        self.assertEqual(answers[b"SIP/2.0 500"], 0)
        self.assertGreater(listener.counters.ignored, 2)
        self.checkLines(listener)

    async def throughStreams(self, listener: Any, description: str) -> None:
        """
        Each input on a connection of its own, then a good message on another.
        """
        for number, data in enumerate((*INPUTS, *OVERSIZED)):
            raw = await self.raw(description)
            raw.transport.write(data)
            raw.transport.loseConnection()
            await raw.gone()
            good, other = await self.connectGood(listener)
            before = self.accepted()
            good.send(GOOD)
            await other.told("made", "200 OPTIONS")
            self.assertEqual(self.accepted(), before + 1, number)
            good.shutdown()
            await other.until(lambda other=other: len(other.events) == 3)
        await self.until(lambda: not listener.accepted)
        self.checkLines(listener)

    async def connectGood(self, listener: Any) -> tuple[Any, Any]:
        return await self.connect(self.client(listener))

    def client(self, listener: Any) -> str:
        return f"tcp:host=127.0.0.1:port={listener.port}"

    async def test_tcp(self) -> None:
        listener = await self.listen("tcp:0:interface=127.0.0.1")
        await self.throughStreams(listener, self.client(listener))

    async def test_tcpOnOneConnection(self) -> None:
        """
        The same bad message, its end known, again and again: each is answered, the connection stays.
        """
        listener = await self.listen("tcp:0:interface=127.0.0.1")
        raw = await self.raw(self.client(listener))
        bad = GOOD.replace(b"CSeq: 1 OPTIONS", b"CSeq: 1 BYE")
        for _ in range(50):
            raw.transport.write(bad * 20)
            turn: Deferred[None] = Deferred()
            reactor.callLater(0, turn.callback, None)
            await turn
        await raw.until(lambda: raw.data.count(b"SIP/2.0 400 ") == 1000)
        raw.transport.write(GOOD)
        await raw.until(lambda: raw.data.count(b"SIP/2.0 200 ") == 1)
        self.checkLines(listener)

    async def test_tls(self) -> None:
        """
        Within TLS, and instead of it.
        """
        directory = Path(self.mktemp())
        makeCertificates(directory)
        listener = await self.listen(
            f"tls:0:interface=127.0.0.1:privateKey={directory}/server-both.pem", bounds=Bounds(linger=2.0)
        )
        description = f"tls:127.0.0.1:{listener.port}:caCerts={directory}/ca.pem"
        self.client = lambda listener: description
        for data in (b"", b"garbage\r\n\r\n", GOOD, b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", bytes(5000)):
            raw = await self.raw(f"tcp:127.0.0.1:{listener.port}")
            raw.transport.write(data)
            raw.transport.loseConnection()
            await raw.gone()
        await self.until(lambda: not listener.accepted)
        for data in (*INPUTS[::4], *OVERSIZED):
            bad, other = await self.connect(description)
            bad._wire.write(data)
            bad.shutdown()
            await other.until(lambda other=other: not other.associations())
            good, other = await self.connect(description)
            good.send(GOOD)
            await other.told("made", "200 OPTIONS")
            good.abort()
        await self.until(lambda: not listener.accepted)
        self.checkLines(listener)

    async def test_sctp(self) -> None:
        """
        Each input is one message, all on one association, which stays.
        """
        case = test_transport_listen.SCTPTests("test_bothWays")
        case.setUp()
        listener = await self.listen(case.server())
        bad, other = await self.connect(case.client(listener))
        for number, data in enumerate(INPUTS):
            bad._wire.write(data)
            bad.send(GOOD)
            await self.until(lambda number=number: self.accepted() >= number + 1)
        self.assertTrue(bad.up)
        for data in OVERSIZED:
            bad, _ = await self.connect(case.client(listener))
            bad._wire.write(data)
        good, other = await self.connect(case.client(listener))
        good.send(GOOD)
        await other.told("made", "200 OPTIONS")
        self.checkLines(listener)
