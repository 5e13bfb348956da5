"""
Links between nodes and controllers in memory: a clock, wires that carry bytes when they are told to, and
certificates that are what their wire says.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

from cryptography import x509
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionRefusedError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from sipgrace.controller.fleet import Fleet
from sipgrace.controller.links import Accepted, Links
from sipgrace.lifecycle.orderform import SignedOrder
from tests.test_commands_keys import makeAuthority

#: The present, in seconds since the epoch.
NOW = 1763800000.0


@cache
def certificateOf(name: str) -> x509.Certificate:
    """
    A certificate that bears that name.
    """
    folder = makeAuthority()
    path, _ = folder.certify(name, 100, "ed25519", folder.now)
    return x509.load_pem_x509_certificate(path.read_bytes())


class End:
    """
    One end of a wire: a transport.

    @ivar stuck: whether what is written here is not read by the other side.
    """

    disconnecting = False

    def __init__(self, wire: Wire, name: str | None) -> None:
        self.wire = wire
        self.other: End
        self.protocol: Any = None
        self.name = name
        self.sent: list[bytes] = []
        self.stuck = False
        self.paused = False
        self.producer: Any = None
        self.aborted = False
        self.gone = False

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.7", 7)

    getHost = getPeer

    def getPeerCertificate(self) -> Any:
        """
        The other side's.
        """
        if self.other.name is None:
            return None
        return SimpleNamespace(to_cryptography=lambda: certificateOf(self.other.name or ""))

    def write(self, data: bytes) -> None:
        if self.gone or (self.disconnecting and self.producer is None):
            return
        self.sent.append(data)
        if self.stuck and self.producer is not None:
            self.producer.pauseProducing()

    def writeSequence(self, pieces: list[bytes]) -> None:
        self.write(b"".join(pieces))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False

    def loseConnection(self) -> None:
        self.disconnecting = True

    def abortConnection(self) -> None:
        self.disconnecting = self.aborted = True


class Wire:
    """
    A connection.

    @ivar cut: whether nothing gets through any more, and neither side knows.
    """

    def __init__(self, client: Any, server: Any, names: tuple[str, str] | None) -> None:
        self.cut = False
        here, there = names or (None, None)
        self.client, self.server = End(self, here), End(self, there)
        self.client.other, self.server.other = self.server, self.client
        self.client.protocol, self.server.protocol = client, server
        for end in (self.server, self.client):
            end.protocol.makeConnection(end)
        if names is not None:
            for end in (self.server, self.client):
                end.protocol.handshakeCompleted()

    def run(self) -> bool:
        """
        Carries what there is.

        @return: whether there was anything.
        """
        if self.cut:
            return False
        moved = False
        for end in (self.client, self.server):
            if end.sent and not (end.stuck or end.other.paused or end.gone) and not end.other.gone:
                sent, end.sent = end.sent, []
                moved = True
                end.other.protocol.dataReceived(b"".join(sent))
        for end in (self.client, self.server):
            if end.gone or not end.disconnecting or (end.sent and not end.aborted):
                continue
            moved = True
            self.end(ConnectionAborted() if end.aborted else ConnectionDone())
        return moved

    def end(self, reason: Exception) -> None:
        """
        Both sides hear that it is over.
        """
        for end in (self.client, self.server):
            if not end.gone:
                end.gone = True
                end.protocol.connectionLost(Failure(reason))


@implementer(IStreamClientEndpoint)
class Endpoint:
    """
    Where a controller is.

    @ivar refusing: whether nobody listens there.
    @ivar wires: the connections that were made.
    """

    def __init__(self, rig: Rig, names: tuple[str, str] | None) -> None:
        self.rig = rig
        self.names = names
        self.refusing = False
        self.attempts = 0
        self.wires: list[Wire] = []

    def connect(self, factory: Factory) -> Deferred[Any]:
        """
        See C{IStreamClientEndpoint}.
        """
        self.attempts += 1
        if self.refusing:
            return fail(ConnectionRefusedError())
        client = factory.buildProtocol(None)
        server = self.rig.accept()
        self.rig.wires.append(wire := Wire(client, server, self.names))
        self.wires.append(wire)
        return succeed(client)


class User:
    """
    What stands above the links of a controller.
    """

    def __init__(self, clock: Clock) -> None:
        self.fleet = Fleet(lambda: NOW + clock.seconds())
        self.controllers = ["controller-120", "controller-121"]
        self.ours: list[str] = []
        self.reports: list[tuple[str, float, Any]] = []
        self.storing: Callable[[], Deferred[None]] = lambda: succeed(None)
        self.refused: list[tuple[str, str, str]] = []

    def isOurs(self, signed: SignedOrder) -> bool:
        return signed.text in self.ours

    def report(self, node: str, at: float, facts: Any) -> Deferred[None]:
        self.reports.append((node, at, facts))
        return self.storing()

    def welcome(self, link: Accepted, hello: Any) -> None:
        link.refuse("peer", "there are none here")

    def noteRefused(self, who: str, what: str, why: str) -> None:
        self.refused.append((who, what, why))


class Rig:
    """
    One controller in memory.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.wires: list[Wire] = []
        self.user = User(clock)
        self.links = Links(clock, NoEndpoint(), None, self.user)
        self.links.startService()

    @property
    def fleet(self) -> Fleet:
        """
        What the controller knows.
        """
        return self.user.fleet

    def accept(self) -> Accepted:
        """
        The controller's end of one more connection.
        """
        link = self.links.accept("192.0.2.7")
        assert link is not None
        return link

    def run(self, seconds: float = 0.0) -> None:
        """
        Carries all, for so many seconds.
        """
        # Steps that add up to the second exactly.
        for step in [0.0625] * math.ceil(seconds / 0.0625) or [0.0]:
            self.clock.advance(step)
            for _ in range(1000):
                if not sum([wire.run() for wire in self.wires]):
                    break
                self.clock.advance(0)
            else:
                raise AssertionError("there is no end of it")


class NoEndpoint:
    """
    Where nobody comes but by the rig.
    """

    def listen(self, factory: Any) -> Deferred[Any]:
        """
        Listens to nobody.
        """
        return Deferred()
