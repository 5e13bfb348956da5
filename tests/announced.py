"""
Servers, clients, a caller and a callee in this process, over real associations: for tests of what they tell
each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import DatagramProtocol

from sipgrace.client.service import ClientService
from sipgrace.config.load import parseClient, parseServer
from sipgrace.lifecycle.orders import Kind
from sipgrace.message.message import Request, Response
from sipgrace.message.parser import parse
from sipgrace.server.service import ServerService
from sipgrace.testing import makeRequest, makeResponse
from tests.scenarios.waiting import poll, reactor


async def until(condition: Callable[[], Any], what: str) -> float:
    """
    @return: the seconds it took until the condition was true.
    """
    begun = reactor.seconds()
    await poll(condition, what)
    return float(reactor.seconds() - begun)


class Callee(DatagramProtocol):
    """
    Answers calls at once; lets those for C{ring} ring until told otherwise.

    @ivar ringing: those that it lets ring, with where they came from.
    """

    def __init__(self) -> None:
        self.ringing: list[tuple[Request, Any]] = []

    def datagramReceived(self, data: bytes, addr: Any) -> None:
        message = parse(data)
        if not isinstance(message, Request) or message.method == b"ACK":
            return
        if message.method == b"INVITE" and message.uri.startswith(b"sip:ring@"):
            self.ringing.append((message, addr))
            self.transport.write(makeResponse(message, 180), addr)
        else:
            self.transport.write(makeResponse(message, 200), addr)

    def answer(self) -> None:
        """
        Takes up all that ring.
        """
        ringing, self.ringing = self.ringing, []
        for request, addr in ringing:
            self.transport.write(makeResponse(request, 200), addr)


class Caller(DatagramProtocol):
    """
    Calls through a client.

    @ivar answers: the final status of each call, by its number.
    """

    def __init__(self, port: int) -> None:
        self.answers: dict[int, int] = {}
        self.headers: dict[int, Response] = {}
        self.count = 0
        self._to = ("127.0.0.1", port)

    def call(self, user: str = "bob") -> int:
        """
        Sends one INVITE.

        @return: its number.
        """
        self.count += 1
        host = self.transport.getHost()
        self.transport.write(
            makeRequest(
                b"INVITE",
                b"sip:%b@example.com" % user.encode(),
                via=b"SIP/2.0/UDP 127.0.0.1:%d" % host.port,
                branch=b"z9hG4bKcall%d" % self.count,
                callId=b"%d@caller" % self.count,
            ),
            self._to,
        )
        return self.count

    def datagramReceived(self, data: bytes, addr: Any) -> None:
        response = parse(data)
        assert isinstance(response, Response)
        if response.status >= 200:
            number = int(response.callId.partition(b"@")[0])
            self.answers[number] = response.status
            self.headers[number] = response


SERVER = """
[server]
name = "{name}"
listen = ["{listen}", "udp:0:interface=127.0.0.1"]
[[routes]]
domain = "*"
to = ["sip:127.0.0.1:{callee};transport=udp"]
[drain]
guard = 20
announce = "{announce}"
spread = 0
"""

CLIENT = """
[client]
name = "client-110"
listen = ["udp:0:interface=127.0.0.1"]
{settings}
{servers}
"""

A_SERVER = """
[[servers]]
name = "{name}"
address = "{address}"
{more}
"""


class Network:
    """
    All of it.

    @ivar servers: by name.
    @ivar invites: when INVITEs came to each server, in seconds of the reactor.
    @ivar told: the NOTIFYs that came to the client: Subscription-State and body in one line.
    """

    def __init__(self, transport: str = "sctp") -> None:
        self.transport = transport
        self.callee = Callee()
        self.calleePort = reactor.listenUDP(0, self.callee, "127.0.0.1")
        self.servers: dict[str, ServerService] = {}
        self.invites: dict[str, list[float]] = {}
        self.client: ClientService | None = None
        self.caller: Caller | None = None
        self.told: list[tuple[str, str]] = []
        self._ends: list[Callable[[], Any]] = [self.calleePort.stopListening]

    async def server(self, name: str, announce: str = "both", more: str = "") -> ServerService:
        """
        Starts one server.
        """
        listen = {
            "sctp": "sctp:0:interface=127.0.0.1:stack=userspace:encaps=0",
            "tcp": "tcp:0:interface=127.0.0.1",
        }[self.transport]
        text = SERVER.format(
            name=name, listen=listen, callee=self.calleePort.getHost().port, announce=announce
        )
        service = ServerService(reactor, parseServer(text + more, name))
        self.servers[name] = service
        self.invites[name] = times = []
        core: Any = service.element.core

        def came(transaction: object, request: Request) -> bool:
            times.append(reactor.seconds())
            return False

        core.own[b"INVITE"] = came
        await service.startService()
        self._ends.append(service.stopService)
        return service

    def address(self, name: str) -> str:
        """
        Where a client connects to a server.
        """
        listeners: list[Any] = self.servers[name].element.associations.listeners
        (listener,) = [one for one in listeners if one.transport != b"UDP"]
        if self.transport == "tcp":
            return f"tcp:host=127.0.0.1:port={listener.port}"
        encaps = listener._port.getHost().encaps
        return f"sctp:host=127.0.0.1:port={listener.port}:encaps={encaps}:stack=userspace"

    async def start(
        self, more: str = "", settings: str = "", active: int | None = None, **addresses: str
    ) -> ClientService:
        """
        Starts a client of all servers, and a caller.

        @param more: further lines of each server's section.
        @param settings: further lines of the client's own section.
        @param active: how many servers are to become active, all by default.
        @param addresses: those of further servers, by name.
        """
        addresses = {**{name: self.address(name) for name in self.servers}, **addresses}
        servers = "".join(
            A_SERVER.format(name=name, address=address, more=more) for name, address in addresses.items()
        )
        self.client = client = ClientService(
            reactor, parseClient(CLIENT.format(servers=servers, settings=settings), "client")
        )
        core: Any = client.element.core
        notifyReceived = core.own[b"NOTIFY"]

        def notified(transaction: object, request: Request) -> bool:
            said = request.body.decode().strip().replace("\r\n", " | ")
            self.told.append(((request.get(b"Subscription-State") or b"").decode(), said))
            return bool(notifyReceived(transaction, request))

        core.own[b"NOTIFY"] = notified
        await client.startService()
        self._ends.insert(0, client.stopService)
        self.caller = Caller(client.element.associations.listeners[0].port)
        port = reactor.listenUDP(0, self.caller, "127.0.0.1")
        self._ends.append(port.stopListening)
        wanted = len(addresses) if active is None else active
        await until(lambda: len(client.active) == wanted, f"{wanted} servers on the active list")
        return client

    def drain(self, name: str, **values: Any) -> Deferred[Any]:
        """
        Orders a server out of service.
        """
        element = self.servers[name].element
        return element.lifecycle.drain(element.order(Kind.DRAIN, "test", **values))

    def cancel(self, name: str) -> None:
        """
        Takes that back.
        """
        element = self.servers[name].element
        element.lifecycle.cancel(element.order(Kind.CANCEL, "test"))

    async def stop(self) -> None:
        """
        Ends everything.
        """
        for end in self._ends:
            await maybeDeferred(end)
        associations = [service.element.associations for service in self.servers.values()]
        if self.client is not None:
            associations.append(self.client.element.associations)
        await until(lambda: not any(one.count or one.listeners for one in associations), "the end")
