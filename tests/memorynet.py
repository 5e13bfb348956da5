"""
A whole network in memory, on one clock: real servers and clients with their configuration, and telephones.
Nothing is replaced but the transports.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

from twisted.internet.defer import Deferred, execute, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from sipgrace import element as elementModule
from sipgrace.client.service import ClientService
from sipgrace.config.load import parseClient, parseServer
from sipgrace.errors import TransportError
from sipgrace.interfaces import IAssociation, IAssociationUser, IClientTransactionUser, ITransactionUser
from sipgrace.lifecycle.aside import Aside
from sipgrace.lifecycle.orders import Kind, Order
from sipgrace.message.derive import respond
from sipgrace.message.headers import NameAddr
from sipgrace.message.message import Request, Response
from sipgrace.message.parser import parse
from sipgrace.message.uri import SIPURI
from sipgrace.proxy.target import hopOf
from sipgrace.server.service import ServerService
from sipgrace.testing import MemoryAssociation, MemoryElement, MemoryNetwork, nameOf
from sipgrace.transaction.inviteclient import InviteClient
from sipgrace.transaction.layer import TransactionLayer
from sipgrace.transaction.timers import TimerQueue
from sipgrace.transport.description import parseDescription

#: Seconds that a message takes to the next element.
LATENCY = 0.005

#: Each request of a dialog has its own.
_BRANCHES = count(1)

#: What is written down of all that is sent.
METHODS = frozenset((b"INVITE", b"ACK", b"CANCEL", b"BYE", b"MESSAGE"))


class Disk:
    """
    In the place of threads that wait for the disk, for as long as a test runs.

    @ivar held: whether the disk does not answer.
    """

    def __init__(self, test: SynchronousTestCase) -> None:
        self.held = False
        self._waiting: list[tuple[Callable[[], Any], Deferred[Any]]] = []
        test.patch(Aside, "__call__", lambda aside, work: self._do(work))

    def _do(self, work: Callable[[], Any]) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self._waiting.append((work, done))
        if not self.held:
            self.answer()
        return done

    def answer(self) -> None:
        """
        What waits for it is done.
        """
        self.held = False
        while self._waiting:
            work, done = self._waiting.pop(0)
            execute(work).addBoth(done.callback)


class MemoryPool:
    """
    As L{sipgrace.transport.pool.AssociationPool}, in memory.
    """

    def __init__(self, world: World, user: IAssociationUser, zone: str) -> None:
        self.world = world
        self.user = user
        self.zone = zone
        self.listeners: dict[bytes, MemoryElement] = {}
        self.opened: dict[tuple[bytes, str, int], MemoryAssociation] = {}
        self.peers: dict[tuple[bytes, str, int], IAssociation] = {}

    def use(self, listener: MemoryElement) -> None:
        self.listeners[listener.transport] = listener

    def adopt(self, association: MemoryAssociation) -> None:
        pass

    def lost(self, association: MemoryAssociation) -> None:
        pass

    def disuse(self, listener: MemoryElement) -> None:
        self.listeners.pop(listener.transport, None)

    def found(self, key: tuple[bytes, str, int]) -> IAssociation | None:
        association = self.opened.get(key)
        return association if association is not None and association.up else None

    def reach(self, transport: bytes, host: str, port: int) -> IAssociation | Deferred[IAssociation]:
        listener = self.listeners.get(transport)
        if listener is None:
            return fail(TransportError(f"no {transport!r} here"))
        if transport == b"UDP":
            try:
                return listener.associationTo(host, port)
            except TransportError:
                # Nobody is there, which UDP does not tell.
                return self.world.nobody(listener, host, port)
        key = (transport, host, port)
        association = self.opened.get(key)
        if association is not None and association.up:
            return association
        try:
            self.opened[key] = association = listener.connect(host, port)
        except TransportError:
            return fail()
        return succeed(association)

    def stop(self) -> None:
        pass


class World:
    """
    The network, its elements by name, and what was sent.

    @ivar log: C{"alice>110 INVITE"}, in order.
    """

    def __init__(self, case: SynchronousTestCase) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.network = MemoryNetwork(self.clock, LATENCY)
        self.log: list[str] = []
        self.names: dict[str, str] = {}
        self.servers: dict[str, ServerService] = {}
        self.clients: dict[str, ClientService] = {}
        case.patch(elementModule, "listen", self._listen)
        case.patch(elementModule, "connect", self._connect)
        case.patch(elementModule, "AssociationPool", self._pool)
        send = MemoryAssociation.send

        def logged(association: MemoryAssociation, data: bytes) -> bool:
            sent = send(association, data)
            if sent:
                self._sent(association, data)
            return sent

        case.patch(MemoryAssociation, "send", logged)

    # ------------------------------------------------------------------ in place of the transports

    def _listen(
        self, reactor: object, description: str, user: Any, zone: str, **further: object
    ) -> Deferred[Any]:
        given = parseDescription(description)
        host, port = given.arguments["interface"], int(given.positional[0])
        return succeed(self.network.element(user, host, port, given.transport, zone))

    def _connect(
        self,
        reactor: object,
        description: str,
        user: Any,
        zone: str,
        via: bytes | None = None,
        **further: object,
    ) -> Deferred[Any]:
        given = parseDescription(description).arguments
        transport = parseDescription(description).transport
        here = MemoryElement(
            self.network, user, given["bindAddress"], self.network.ephemeral(), transport, zone
        )
        here.via = via or here.via
        try:
            return succeed(here.connect(given["host"], int(given["port"])))
        except TransportError:
            return fail()

    def _pool(self, reactor: object, user: Any, zone: str, *args: object, **further: object) -> MemoryPool:
        return MemoryPool(self, user, zone)

    def nobody(self, listener: MemoryElement, host: str, port: int) -> MemoryAssociation:
        """
        A UDP peer that never answers.
        """
        self.network.element(_Silence(), host, port, b"UDP", "nowhere")
        self.names.setdefault(host, host)
        return listener.associationTo(host, port)

    def _sent(self, association: MemoryAssociation, data: bytes) -> None:
        message = parse(data)
        if message.cseqMethod in METHODS:
            here, there = self.names[association.localHost], self.names[association.peerHost]
            self.log.append(f"{here}>{there} {nameOf(message).removesuffix(' INVITE')}")

    # ------------------------------------------------------------------ who is there

    def server(
        self, name: str, text: str = "", head: str = "", transports: tuple[str, ...] = ("sctp",)
    ) -> ServerService:
        """
        A server C{192.0.2.<name>}.

        @param head: more for its [server] section.
        @param text: further sections.
        """
        self.names[f"192.0.2.{name}"] = name
        config = parseServer(
            f"""
[server]
name = "server-{name}"
listen = {[f"{transport}:5060:interface=192.0.2.{name}" for transport in transports]!r}
{head}
{text}
""",
            name,
        )
        service = self.servers[name] = ServerService(self.clock, config)
        self._start(service)
        return service

    def client(self, name: str, servers: tuple[str, ...], text: str = "", head: str = "") -> ClientService:
        """
        A client C{192.0.2.<name>} with its users on UDP and TCP; its servers tell it nothing unasked.
        """
        self.names[f"192.0.2.{name}"] = name
        sections = "".join(
            f"""
[[servers]]
name = "server-{server}"
address = "sctp:host=192.0.2.{server}:port=5060:bindAddress=192.0.2.{name}"
subscribe = false
"""
            for server in servers
        )
        config = parseClient(
            f"""
[client]
name = "client-{name}"
listen = ["udp:5060:interface=192.0.2.{name}", "tcp:5060:interface=192.0.2.{name}"]
listen_network = ["sctp:5060:interface=192.0.2.{name}"]
{head}
{sections}
{text}
""",
            name,
        )
        service = self.clients[name] = ClientService(self.clock, config)
        self._start(service)
        return service

    def _start(self, service: Any) -> None:
        element = service.element
        element._timerC.start()
        element.lifecycle.resume(Order(kind=Kind.RESUME, who="test", when=0.0))

    def phone(self, name: str, number: int, transport: bytes = b"UDP") -> Phone:
        """
        A telephone at C{192.0.2.<number>}.
        """
        self.names[f"192.0.2.{number}"] = name
        return Phone(self, name, f"192.0.2.{number}", transport)

    # ------------------------------------------------------------------ time

    def run(self, seconds: float) -> None:
        """
        Lets time pass, from one thing that is due to the next.
        """
        end = self.clock.seconds() + seconds
        while True:
            due = min((call.getTime() for call in self.clock.getDelayedCalls()), default=end)
            if due >= end:
                break
            self.clock.advance(max(0.0, due - self.clock.seconds()))
        self.clock.advance(end - self.clock.seconds())

    def take(self) -> list[str]:
        """
        What was sent since this was asked last.
        """
        log, self.log[:] = list(self.log), []
        return log

    def drain(self, name: str, **values: Any) -> None:
        """
        Orders a drain of a server.
        """
        lifecycle = self.servers[name].element.lifecycle
        lifecycle.drain(Order(kind=Kind.DRAIN, who="test", when=0.0, **values))

    def state(self, name: str) -> str:
        return str(self.servers[name].element.lifecycle.status().state)

    def between(self, one: str, other: str) -> list[MemoryAssociation]:
        """
        The SCTP associations of two elements, the first one's ends.
        """
        service: Any = self.servers.get(one) or self.clients[one]
        return [
            association
            for association in service.element.associations._associations
            if self.names[association.peerHost] == other
        ]


@implementer(IAssociationUser)
class _Silence:
    def associationMade(self, association: IAssociation) -> None:
        pass

    def messageReceived(self, message: object, association: IAssociation) -> None:
        pass

    def associationLost(self, association: IAssociation, reason: Failure) -> None:
        pass


@implementer(IAssociationUser, ITransactionUser)
class Phone:
    """
    A telephone that calls through a client, and takes calls.

    @ivar rings: seconds before it takes up; C{None}: it does not.
    @ivar says: the status that it takes up with, or refuses.
    @ivar seen: what happened to it, in words.
    """

    def __init__(self, world: World, name: str, host: str, transport: bytes) -> None:
        self.world = world
        self.name = name
        self.host = host
        self.rings: float | None = 0.0
        self.says = 200
        self.seen: list[str] = []
        self.layer = TransactionLayer(TimerQueue(world.clock), self)
        self.element = world.network.element(self, host, 5060, transport, "phone")
        self.contact = b"<sip:%b@%b:5060;transport=%b>" % (name.encode(), host.encode(), transport.lower())
        self.transport = transport
        self.calls: list[Call] = []
        self.taken: list[Dialog] = []
        self.ringing: dict[bytes, Any] = {}

    def associationMade(self, association: IAssociation) -> None:
        pass

    def associationLost(self, association: IAssociation, reason: Failure) -> None:
        self.layer.associationLost(association)

    def messageReceived(self, message: Any, association: IAssociation) -> None:
        self.layer.messageReceived(message, association)

    def take(self) -> list[str]:
        seen, self.seen[:] = list(self.seen), []
        return seen

    def to(self, host: str, port: int = 5060) -> MemoryAssociation:
        return self.element.associationTo(host, port)

    # ------------------------------------------------------------------ calling

    def call(self, number: str, client: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Call:
        """
        Calls a number, or a service by its name, through a client.
        """
        call = Call(self, number.encode(), self.to(f"192.0.2.{client}"), headers)
        self.calls.append(call)
        return call

    # ------------------------------------------------------------------ being called

    def requestReceived(self, transaction: Any, request: Request) -> None:
        method = request.method
        if method == b"INVITE" and not request.toTag:
            self.seen.append("rings")
            tag = b"tag%d" % (len(self.taken) + len(self.seen))
            transaction.respond(respond(request, 180, toTag=tag, headers=self._dialogHeaders(request)))
            answering = None
            if self.rings is not None:
                answering = self.world.clock.callLater(self.rings, self._answer, transaction, request, tag)
            self.ringing[request.branch] = (transaction, request, tag, answering)
        elif method == b"CANCEL":
            transaction.respond(respond(request, 200))
            found = self.ringing.pop(request.branch, None)
            if found is not None:
                invite, original, tag, answering = found
                if answering is not None:
                    answering.cancel()
                self.seen.append("cancelled")
                invite.respond(respond(original, 487, toTag=tag))
        else:
            self.seen.append(method.decode())
            transaction.respond(respond(request, 200))

    def answerNow(self) -> None:
        """
        Takes up all that rings.
        """
        for transaction, request, tag, _ in list(self.ringing.values()):
            self._answer(transaction, request, tag)

    def _answer(self, transaction: Any, request: Request, tag: bytes) -> None:
        self.ringing.pop(request.branch, None)
        if self.says < 300:
            self.seen.append("answers")
            self.taken.append(Dialog.ofCallee(self, request, tag))
        transaction.respond(respond(request, self.says, toTag=tag, headers=self._dialogHeaders(request)))

    def _dialogHeaders(self, request: Request) -> list[tuple[bytes, bytes]]:
        recorded = [(b"Record-Route", value) for value in request.getAll(b"Record-Route")]
        return [*recorded, (b"Contact", self.contact)]

    def ackReceived(self, request: Request, association: IAssociation) -> None:
        self.seen.append("ACK")

    def responseReceived(self, response: Response, association: IAssociation) -> None:
        pass

    def clientResponse(self, transaction: object, response: Response) -> None:
        self.seen.append(nameOf(response))

    def clientFailed(self, transaction: object, reason: str) -> None:
        self.seen.append(reason)


class Dialog:
    """
    One side of a dialog (RFC 3261 §12).

    @ivar proxy: the host to which its requests are sent whatever the routes say.
    """

    def __init__(
        self,
        phone: Phone,
        callId: bytes,
        ours: bytes,
        theirs: bytes,
        target: bytes,
        routes: list[bytes],
        cseq: int,
    ) -> None:
        self.phone = phone
        self.callId = callId
        self.ours = ours
        self.theirs = theirs
        self.target = target
        self.routes = routes
        self.cseq = cseq
        self.proxy = ""

    @classmethod
    def ofCaller(cls, phone: Phone, response: Response) -> Dialog:
        routes = response.elements(b"Record-Route")[::-1]
        target = bytes(NameAddr.parse(response.get(b"Contact") or b"").uri)
        return cls(
            phone, response.callId, response.fromValue, response.toValue, target, routes, response.cseq
        )

    @classmethod
    def ofCallee(cls, phone: Phone, request: Request, tag: bytes) -> Dialog:
        target = bytes(NameAddr.parse(request.get(b"Contact") or b"").uri)
        ours = request.toValue + b";tag=" + tag
        routes = request.elements(b"Record-Route")
        return cls(phone, request.callId, ours, request.fromValue, target, routes, 0)

    def send(self, method: bytes, cseq: int | None = None) -> None:
        """
        Sends a request along the dialog's path.
        """
        if cseq is None:
            self.cseq += 1
            cseq = self.cseq
        first = NameAddr.parse(self.routes[0]).uri if self.routes else SIPURI.parse(self.target)
        assert isinstance(first, SIPURI)
        _, host, port = hopOf(first)
        association = self.phone.to(self.proxy or host, port)
        request = Request.make(
            method,
            self.target,
            [
                (b"Max-Forwards", b"70"),
                *((b"Route", route) for route in self.routes),
                (b"From", self.ours),
                (b"To", self.theirs),
                (b"Call-ID", self.callId),
                (b"CSeq", b"%d %b" % (cseq, method)),
                (b"Contact", self.phone.contact),
            ],
        )
        branch = b"z9hG4bK%b.dialog%d" % (self.phone.name.encode(), next(_BRANCHES))
        request.pushVia(association.via + b";branch=" + branch)
        if method == b"ACK":
            association.send(request.toBytes())
        else:
            self.phone.layer.request(request, association, self.phone)

    def hangUp(self) -> None:
        self.send(b"BYE")


@implementer(IClientTransactionUser)
class Call:
    """
    One call of a telephone's.

    @ivar answers: the statuses of all answers but 100; C{timeout} or C{lost} where there was none.
    @ivar final: the final response.
    """

    count = 0

    def __init__(
        self, phone: Phone, number: bytes, client: MemoryAssociation, headers: tuple[tuple[bytes, bytes], ...]
    ) -> None:
        Call.count += 1
        self.phone = phone
        self.answers: list[object] = []
        self.final: Response | None = None
        self.dialog: Dialog | None = None
        user = phone.name.encode()
        uri = number if number.startswith(b"urn:") else b"sip:%b@example.com" % number
        request = Request.make(
            b"INVITE",
            uri,
            [
                (b"Max-Forwards", b"70"),
                (b"From", b"<sip:%b@example.com>;tag=%d" % (user, Call.count)),
                (b"To", b"<%b>" % uri),
                (b"Call-ID", b"%b-%d" % (user, Call.count)),
                (b"CSeq", b"1 INVITE"),
                (b"Contact", phone.contact),
                *headers,
            ],
        )
        request.pushVia(client.via + b";branch=z9hG4bK%b%d" % (user, Call.count))
        transaction = phone.layer.request(request, client, self)
        assert isinstance(transaction, InviteClient)
        self.transaction = transaction

    def cancel(self) -> None:
        self.transaction.cancel()

    def clientResponse(self, transaction: object, response: Response) -> None:
        if response.status > 100:
            self.answers.append(response.status)
        if response.status < 200:
            return
        self.final = response
        if response.status < 300:
            self.dialog = self.dialog or Dialog.ofCaller(self.phone, response)
            self.dialog.send(b"ACK", response.cseq)

    def clientFailed(self, transaction: object, reason: str) -> None:
        self.answers.append(reason)

    def hangUp(self) -> None:
        assert self.dialog is not None
        self.dialog.hangUp()
