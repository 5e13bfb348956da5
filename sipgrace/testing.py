"""
Fakes for tests of whatever stands above the transport: associations in memory, a network of them
with faults by a written pattern, and a recorder of what came up. Public API.

Nothing moves by itself. Without a clock, L{MemoryNetwork.flush} delivers; with a
C{twisted.internet.task.Clock}, C{clock.advance} does::

    network = MemoryNetwork()
    server = Recorder()
    network.element(server, "192.0.2.1")
    client = network.element(Recorder(), "192.0.2.2")
    client.connect("192.0.2.1").send(makeRequest(b"OPTIONS"))
    network.flush()
    assert server.names() == ["made", "OPTIONS"]
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from sipgrace.errors import TransportError
from sipgrace.interfaces import IAssociation, IAssociationUser, IListener
from sipgrace.message.derive import respond
from sipgrace.message.message import Message, Request, Response
from sipgrace.message.parser import parse

__all__ = [
    "Faults",
    "MemoryAssociation",
    "MemoryElement",
    "MemoryNetwork",
    "Recorder",
    "associationPair",
    "makeRequest",
    "makeResponse",
    "nameOf",
    "viaOf",
]


@dataclass(frozen=True, slots=True)
class Faults:
    """
    What befalls the messages of one direction, by their number; the first is 1.

    @ivar drop: these never arrive.
    @ivar duplicate: these arrive twice.
    @ivar delay: these arrive so many seconds later than they would; needs a clock. On TCP and TLS
        what follows waits for them, on UDP and SCTP (RFC 4168: unordered) it overtakes them.
    """

    drop: Iterable[int] = ()
    duplicate: Iterable[int] = ()
    delay: Mapping[int, float] = field(default_factory=dict)


NONE: Final = Faults()


@implementer(IAssociation)
class MemoryAssociation:
    """
    One end of an association in memory.

    @ivar user: who hears of it; may be replaced.
    @ivar sent: every message that left here, in order, also those that a fault dropped.
    @ivar twin: the other end.
    """

    up = True
    twin: MemoryAssociation

    def __init__(
        self,
        network: MemoryNetwork,
        user: IAssociationUser,
        transport: bytes,
        zone: str,
        local: tuple[str, int],
        peer: tuple[str, int],
        opened: bool,
        faults: Faults,
    ) -> None:
        self.network = network
        self.user = user
        self.transport = transport
        self.reliable = transport != b"UDP"
        self.zone = zone
        self.localHost, self.localPort = local
        self.peerHost, self.peerPort = peer
        self.via = viaOf(transport, *local)
        self.opened = opened
        self.faults = faults
        self.sent: list[bytes] = []
        self.element: MemoryElement | None = None
        self._lastDue = 0.0
        self._lost = False
        self._deaf = False

    def __repr__(self) -> str:
        arrow = "->" if self.opened else "<-"
        return (
            f"<{self.transport.decode()} {self.localHost}:{self.localPort}"
            f" {arrow} {self.peerHost}:{self.peerPort}>"
        )

    def send(self, data: bytes) -> bool:
        """
        See L{IAssociation.send}.
        """
        if not self.up:
            return False
        self.sent.append(data)
        number = len(self.sent)
        if number in self.faults.drop:
            return True
        due = self.network.seconds() + self.network.latency + self.faults.delay.get(number, 0.0)
        if self.transport in (b"TCP", b"TLS"):
            due = self._lastDue = max(due, self._lastDue)
        for _ in range(2 if number in self.faults.duplicate else 1):
            self.network.at(due, lambda: self.twin._arrive(data))
        return True

    def shutdown(self) -> None:
        """
        See L{IAssociation.shutdown}: what was sent arrives first, then both users hear
        C{ConnectionDone}.
        """
        self._end(ConnectionDone())

    def abort(self) -> None:
        """
        See L{IAssociation.abort}: what is under way is lost; both users hear C{ConnectionAborted}.
        """
        self._cut(ConnectionAborted())

    def fail(self) -> None:
        """
        The path dies: what is under way is lost, both users hear C{ConnectionLost}.
        """
        self._cut(ConnectionLost())

    def _cut(self, reason: Exception) -> None:
        self._deaf = self.twin._deaf = True
        self.twin.up = self.twin.up and not self.reliable
        self._end(reason, evenIfEnding=True)

    def _end(self, reason: Exception, evenIfEnding: bool = False) -> None:
        if self._lost or not (self.up or evenIfEnding):
            return
        self.up = False
        if not self.reliable:
            self._lost = True
            self.network.forget(self)
            return
        due = max(self.network.seconds() + self.network.latency, self._lastDue)

        def gone() -> None:
            self.twin._goes(reason)
            self._goes(reason)

        self.network.at(due, gone)

    def _arrive(self, data: bytes) -> None:
        if self._lost or self._deaf:
            return
        message = parse(data)
        if isinstance(message, Request):
            if not self.up and message.method != b"ACK":
                return  # as the real ones do: nobody could answer it any more
            message.markReceived(self.peerHost.encode(), self.peerPort)
        self.user.messageReceived(message, self)

    def _goes(self, reason: Exception) -> None:
        if not self._lost:
            self._lost = True
            self.up = False
            self.network.forget(self)
            self.user.associationLost(self, Failure(reason))


@implementer(IListener)
class MemoryElement:
    """
    One SIP element's place in a L{MemoryNetwork}: it accepts associations as a listener does, and
    opens them as a pool does.

    @ivar associations: those that are there, opened and accepted, in the order they came.
    """

    def __init__(
        self,
        network: MemoryNetwork,
        user: IAssociationUser,
        host: str,
        port: int,
        transport: bytes,
        zone: str,
    ) -> None:
        self.network = network
        self.user = user
        self.host = host
        self.hosts: tuple[str, ...] = (host,)
        self.port = port
        self.transport = transport
        self.zone = zone
        self.via = viaOf(transport, host, port)
        self.associations: list[MemoryAssociation] = []

    def connect(
        self, host: str, port: int = 5060, faults: Faults = NONE, back: Faults = NONE
    ) -> MemoryAssociation:
        """
        Opens an association to another element of the network, at once.

        @param faults: what befalls the messages that leave here.
        @param back: what befalls those that come back.

        @raise TransportError: nobody listens there.
        """
        other = self.network.find(self.transport, host, port)
        if other is None:
            raise TransportError(f"nobody listens at {self.transport.decode()} {host}:{port}")
        number = self.port if self.transport in (b"UDP", b"SCTP") else self.network.ephemeral()
        return _join(self.network, self, other, (self.host, number), faults, back)

    def reach(
        self, transport: bytes, host: str, port: int
    ) -> MemoryAssociation | Deferred[MemoryAssociation]:
        """
        As L{sipgrace.transport.pool.AssociationPool.reach}: the association that is up at once, else
        a new one by way of a C{Deferred}, which fails with L{TransportError}.
        """
        if transport != self.transport:
            return fail(TransportError(f"no {transport.decode()} here"))
        for association in self.associations:
            if association.up and (association.peerHost, association.peerPort) == (host, port):
                return association
        try:
            return succeed(self.connect(host, port))
        except TransportError:
            return fail()

    def associationTo(self, host: str, port: int) -> MemoryAssociation:
        """
        As L{sipgrace.transport.udp.UDPListener.associationTo}.
        """
        for association in self.associations:
            if association.up and (association.peerHost, association.peerPort) == (host, port):
                return association
        return self.connect(host, port)

    def stopListening(self) -> Deferred[None]:
        """
        See L{IListener.stopListening}.
        """
        self.network.elements.pop((self.transport, self.host, self.port), None)
        if self.transport == b"UDP":
            for association in list(self.associations):
                association.shutdown()
        return succeed(None)


class MemoryNetwork:
    """
    Where associations in memory live.

    @param clock: moves messages; without one, L{flush} does.
    @param latency: seconds one way; needs a clock.
    """

    def __init__(self, clock: Clock | None = None, latency: float = 0.0) -> None:
        if clock is None and latency:
            raise ValueError("latency needs a clock")
        self.clock = clock
        self.latency = latency
        self.elements: dict[tuple[bytes, str, int], MemoryElement] = {}
        self._queue: deque[Callable[[], None]] = deque()
        self._nextPort = 49152

    def element(
        self,
        user: IAssociationUser,
        host: str,
        port: int = 5060,
        transport: bytes = b"SCTP",
        zone: str = "network",
    ) -> MemoryElement:
        """
        Puts an element into the network. One user may stand at several places.
        """
        element = MemoryElement(self, user, host, port, transport, zone)
        self.elements[transport, host, port] = element
        return element

    def find(self, transport: bytes, host: str, port: int) -> MemoryElement | None:
        """
        @return: who listens there.
        """
        return self.elements.get((transport, host, port))

    def flush(self) -> int:
        """
        Delivers everything under way, and what that gives rise to; with a clock, what is due now.

        @return: how many deliveries there were; without a clock.
        """
        if self.clock is not None:
            self.clock.advance(0)
            return 0
        count = 0
        while self._queue:
            self._queue.popleft()()
            count += 1
        return count

    def seconds(self) -> float:
        """
        @return: the clock's time; 0.0 without one.
        """
        return 0.0 if self.clock is None else self.clock.seconds()

    def at(self, due: float, deliver: Callable[[], None]) -> None:
        """
        Delivers at that time.
        """
        if self.clock is not None:
            self.clock.callLater(max(0.0, due - self.clock.seconds()), deliver)
        elif due > 0.0:
            raise ValueError("a delay needs a clock")
        else:
            self._queue.append(deliver)

    def ephemeral(self) -> int:
        """
        @return: a port that was not given before.
        """
        self._nextPort += 1
        return self._nextPort

    def forget(self, association: MemoryAssociation) -> None:
        """
        Takes an association that has gone off its element's list.
        """
        if association.element is not None and association in association.element.associations:
            association.element.associations.remove(association)


def _join(
    network: MemoryNetwork,
    near: MemoryElement,
    far: MemoryElement,
    local: tuple[str, int],
    faults: Faults,
    back: Faults,
) -> MemoryAssociation:
    peer = (far.host, far.port)
    here = MemoryAssociation(network, near.user, near.transport, near.zone, local, peer, True, faults)
    there = MemoryAssociation(network, far.user, far.transport, far.zone, peer, local, False, back)
    here.twin, there.twin = there, here
    for association, element in ((here, near), (there, far)):
        association.via = element.via
        association.element = element
        element.associations.append(association)
    if here.reliable:
        far.user.associationMade(there)
        near.user.associationMade(here)
    return here


def associationPair(
    userA: IAssociationUser,
    userB: IAssociationUser,
    transport: bytes = b"SCTP",
    clock: Clock | None = None,
    latency: float = 0.0,
    faultsA: Faults = NONE,
    faultsB: Faults = NONE,
    zoneA: str = "network",
    zoneB: str = "network",
) -> tuple[MemoryAssociation, MemoryAssociation]:
    """
    Two ends of one association, A's opened by A; A is 192.0.2.1:5060, B is 192.0.2.2:5060. Both
    users hear C{associationMade}, except on UDP. C{network.flush()} of either end delivers.

    @param faultsA: what befalls the messages that A sends; C{faultsB} likewise.
    """
    network = MemoryNetwork(clock, latency)
    elementA = network.element(userA, "192.0.2.1", 5060, transport, zoneA)
    elementB = network.element(userB, "192.0.2.2", 5060, transport, zoneB)
    here = _join(network, elementA, elementB, ("192.0.2.1", 5060), faultsA, faultsB)
    return here, here.twin


@implementer(IAssociationUser)
class Recorder:
    """
    Writes down what comes up.

    @ivar events: C{("made", association)}, C{("received", association, message)},
        C{("lost", association, reason)} with the C{Failure}, in order.
    @ivar answer: called with each message and its association after it was written down; for an
        element that answers.
    """

    def __init__(self, answer: Callable[[Message, IAssociation], None] | None = None) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.answer = answer

    def associationMade(self, association: IAssociation) -> None:
        """
        See L{IAssociationUser.associationMade}.
        """
        self.events.append(("made", association))

    def messageReceived(self, message: object, association: IAssociation) -> None:
        """
        See L{IAssociationUser.messageReceived}.
        """
        assert isinstance(message, Message)
        self.events.append(("received", association, message))
        if self.answer is not None:
            self.answer(message, association)

    def associationLost(self, association: IAssociation, reason: Failure) -> None:
        """
        See L{IAssociationUser.associationLost}.
        """
        self.events.append(("lost", association, reason))

    def names(self) -> list[str]:
        """
        @return: the events in words: C{"made"}, C{"INVITE"}, C{"180 INVITE"}, C{"lost ConnectionDone"}.
        """
        words = []
        for kind, *rest in self.events:
            if kind == "received":
                words.append(nameOf(rest[1]))
            elif kind == "lost":
                words.append(f"lost {rest[1].type.__name__}")
            else:
                words.append(kind)
        return words

    def take(self) -> list[str]:
        """
        @return: L{names}, which are then forgotten.
        """
        words = self.names()
        self.events.clear()
        return words

    def messages(self) -> list[Message]:
        """
        @return: the messages received, in order.
        """
        return [event[2] for event in self.events if event[0] == "received"]

    def associations(self) -> list[IAssociation]:
        """
        @return: those made and not lost, in order.
        """
        lost = {id(event[1]) for event in self.events if event[0] == "lost"}
        return [event[1] for event in self.events if event[0] == "made" and id(event[1]) not in lost]


def nameOf(message: Message) -> str:
    """
    @return: C{"INVITE"} for a request, C{"180 INVITE"} for a response.
    """
    if isinstance(message, Request):
        return message.method.decode()
    assert isinstance(message, Response)
    return f"{message.status} {message.cseqMethod.decode()}"


def viaOf(transport: bytes, host: str, port: int) -> bytes:
    """
    @return: as L{IAssociation.via}.
    """
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return b"SIP/2.0/" + transport + b" " + where.encode()


def makeRequest(
    method: bytes,
    uri: bytes = b"sip:bob@example.com",
    via: bytes = b"SIP/2.0/SCTP 192.0.2.1:5060",
    branch: bytes = b"z9hG4bK1",
    callId: bytes = b"call-1",
    cseq: int = 1,
    toTag: bytes = b"",
    headers: Sequence[tuple[bytes, bytes]] = (),
    body: bytes = b"",
) -> bytes:
    """
    @param headers: further ones, after the usual.

    @return: a complete, valid request. With C{branch=b""} the Via has none.
    """
    lines = [
        method + b" " + uri + b" SIP/2.0",
        b"Via: " + via + (b";branch=" + branch if branch else b""),
        b"Max-Forwards: 70",
        b"From: <sip:alice@example.com>;tag=a1",
        b"To: <sip:bob@example.com>" + (b";tag=" + toTag if toTag else b""),
        b"Call-ID: " + callId,
        b"CSeq: %d %s" % (cseq, method),
        b"Contact: <sip:alice@192.0.2.1>",
        *(name + b": " + value for name, value in headers),
        b"Content-Length: %d" % len(body),
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def makeResponse(
    request: Request | bytes,
    status: int,
    toTag: bytes = b"b1",
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> bytes:
    """
    @return: a complete response to that request, as L{sipgrace.message.derive.respond} makes it.
    """
    if isinstance(request, bytes):
        parsed = parse(request)
        assert isinstance(parsed, Request)
        request = parsed
    return respond(request, status, toTag=toTag, headers=headers).toBytes()
