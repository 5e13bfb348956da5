"""
SCTP packets by hand, and what lies between two ends: for tests of what no honest stack would send.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import DatagramProtocol

from sipgrace.errors import ConfigError
from sipgrace.transport.sctp.userspace import userspaceStack


def _missing() -> str | None:
    try:
        userspaceStack()
    except ConfigError as error:
        return str(error)
    return None


MISSING = _missing()
"""Why the userspace stack cannot run here, C{None} where it can: for C{skip}."""

DATA, INIT, INIT_ACK, SACK, HEARTBEAT, HEARTBEAT_ACK, ABORT, SHUTDOWN, SHUTDOWN_ACK = range(9)
ERROR, COOKIE_ECHO, COOKIE_ACK = 9, 10, 11
SHUTDOWN_COMPLETE = 14


def chunk(kind: int, value: bytes = b"", flags: int = 0) -> bytes:
    """
    One chunk, padded.
    """
    return struct.pack(">BBH", kind, flags, 4 + len(value)) + value + bytes(-len(value) % 4)


def packet(source: int, destination: int, tag: int, *chunks: bytes) -> bytes:
    """
    A packet with a right checksum.
    """
    blank = struct.pack(">HHII", source, destination, tag, 0) + b"".join(chunks)
    checksum = struct.pack("=I", userspaceStack().binding.checksum(blank))
    return blank[:8] + checksum + blank[12:]


@dataclass
class Chunk:
    kind: int
    flags: int
    value: bytes


@dataclass
class Packet:
    source: int
    destination: int
    tag: int
    chunks: list[Chunk]

    @property
    def kinds(self) -> list[int]:
        return [each.kind for each in self.chunks]


def parse(data: bytes) -> Packet:
    """
    Takes a packet apart.
    """
    source, destination, tag, _ = struct.unpack(">HHII", data[:12])
    chunks = []
    offset = 12
    while offset + 4 <= len(data):
        kind, flags, length = struct.unpack(">BBH", data[offset : offset + 4])
        chunks.append(Chunk(kind, flags, data[offset + 4 : offset + length]))
        offset += length + 3 & ~3
    return Packet(source, destination, tag, chunks)


def initChunk(tag: int, streams: int = 16, tsn: int = 1) -> bytes:
    """
    An INIT.
    """
    return chunk(INIT, struct.pack(">IIHHI", tag, 131072, streams, streams, tsn))


def cookieOf(initAck: Packet) -> bytes:
    """
    The state cookie of an INIT-ACK.
    """
    value = initAck.chunks[0].value
    offset = 16
    while offset + 4 <= len(value):
        kind, length = struct.unpack(">HH", value[offset : offset + 4])
        if kind == 7:
            return value[offset + 4 : offset + length]
        offset += length + 3 & ~3
    raise AssertionError("an INIT-ACK without a cookie")


class ByHand(DatagramProtocol):
    """
    A UDP socket that sends what it is told, and hands out what it gets, in order.
    """

    def __init__(self) -> None:
        self.packets: list[Packet] = []
        self._waiting: list[Deferred[Packet]] = []

    def open(self) -> None:
        self.port = reactor.listenUDP(0, self, interface="127.0.0.1")

    def close(self) -> Any:
        return self.port.stopListening()

    def send(self, data: bytes, encaps: int) -> None:
        self.transport.write(data, ("127.0.0.1", encaps))

    def datagramReceived(self, data: bytes, address: Any) -> None:
        if self._waiting:
            self._waiting.pop(0).callback(parse(data))
        else:
            self.packets.append(parse(data))

    def next(self, limit: float = 5.0) -> Deferred[Packet]:
        """
        Fires with the next packet; fails with C{twisted.internet.error.TimeoutError} after the limit.
        """
        done: Deferred[Packet] = Deferred()
        if self.packets:
            done.callback(self.packets.pop(0))
        else:
            self._waiting.append(done)
            done.addTimeout(limit, reactor)
            done.addErrback(self._late, done)
        return done

    def _late(self, failure: Any, done: Deferred[Packet]) -> Any:
        self._waiting.remove(done)
        return failure

    async def offer(self, address: Any, source: int, tag: int) -> Packet:
        """
        Sends INIT.

        @return: the INIT-ACK.
        """
        self.send(packet(source, address.port, 0, initChunk(tag)), address.encaps)
        return await self.next()

    async def open4(self, address: Any, source: int, tag: int) -> int:
        """
        The whole handshake of four packets.

        @return: the other side's tag.
        """
        answer = await self.offer(address, source, tag)
        theirs = struct.unpack(">I", answer.chunks[0].value[:4])[0]
        echo = chunk(COOKIE_ECHO, cookieOf(answer))
        self.send(packet(source, address.port, theirs, echo), address.encaps)
        while True:
            answer = await self.next()
            if COOKIE_ACK in answer.kinds:
                return int(theirs)


class Relay:
    """
    Lies between one client and one server, both on loopback.

    @ivar passes: decides, for each packet: called with the packet and C{"out"} (from the client) or
        C{"back"}.
    @ivar seen: every packet with its direction, whether it was let through or not.
    @ivar port: the UDP port that the client is to use.
    """

    def __init__(self, encaps: int) -> None:
        self.passes: Callable[[Packet, str], bool] = lambda packet, way: True
        self.seen: list[tuple[str, Packet]] = []
        self._client: Any = None
        self._server = ("127.0.0.1", encaps)
        self._front, self._back = DatagramProtocol(), DatagramProtocol()
        self._front.datagramReceived = self._out
        self._back.datagramReceived = self._in
        self._ports = [
            reactor.listenUDP(0, each, interface="127.0.0.1") for each in (self._front, self._back)
        ]
        self.port = self._ports[0].getHost().port

    def _out(self, data: bytes, address: Any) -> None:
        self._client = address
        found = parse(data)
        self.seen.append(("out", found))
        if self.passes(found, "out") and self._back.transport is not None:
            self._back.transport.write(data, self._server)

    def _in(self, data: bytes, address: Any) -> None:
        found = parse(data)
        self.seen.append(("back", found))
        if self.passes(found, "back") and self._front.transport is not None:
            self._front.transport.write(data, self._client)

    async def vanish(self, way: str) -> None:
        """
        Closes the port of one side: to C{"out"} the server has vanished, to C{"back"} the client.
        """
        await self._ports[way == "back"].stopListening()

    def appear(self) -> None:
        """
        Opens the port again that the client uses.
        """
        self._ports[0] = reactor.listenUDP(self.port, self._front, interface="127.0.0.1")

    async def close(self) -> None:
        for port in self._ports:
            await maybeDeferred(port.stopListening)
