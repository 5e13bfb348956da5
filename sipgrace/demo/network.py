"""
The reference network while it runs: its processes, and what they tell of themselves.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, gatherResults
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from sipgrace.control.local import connectLocal
from sipgrace.control.remote import RemoteNode, Unreachable
from sipgrace.demo.api import API, NotReached
from sipgrace.demo.children import Child, DemoError
from sipgrace.demo.files import HTTP, LINKS, PORT, filesOf
from sipgrace.demo.plan import CLIENTS, CONTROLLERS, SERVERS, Member, Plan
from sipgrace.demo.trust import Trust
from sipgrace.transport.sctp.stack import ENCAPS_PORT

__all__ = ["Network", "Sight"]

#: Seconds between two looks at what the clients know of the servers.
LOOK = 0.1

#: Seconds that all may take until every client can send calls to every server.
START = 90.0


@dataclass(frozen=True, slots=True)
class Sight:
    """
    How one client saw one server at the last look.

    @ivar active: whether it is on the active list.
    @ivar associated: whether there is an association.
    @ivar since: since when that is so, in seconds of the host's monotonic clock.
    @ivar countdown: seconds for which it is left alone; 0 for not.
    """

    active: bool
    associated: bool
    since: float
    countdown: float


class Network:
    """
    Four servers, four clients, two controllers, each its own process.

    @ivar apis: the controllers, for an operator.
    @ivar sockets: each process's control socket.
    @ivar sights: by client and server.
    @ivar states: each server's state, as it told last.
    @ivar onBroken: called with an error when a process has ended that should be there.
    @ivar onEvent: called with a server and each event of it (see L{sipgrace.control.commands.Happened}).
    """

    log = Logger()

    def __init__(self, reactor: Any, plan: Plan) -> None:
        self._reactor = reactor
        self._plan = plan
        self._children: dict[Member, Child] = {}
        self._dead: Child | None = None
        self._looking = LoopingCall(self._look)
        self._looking.clock = reactor
        self._waiters: list[tuple[Callable[[], bool], Deferred[None]]] = []
        self.apis: dict[Member, API] = {}
        self.sockets: dict[Member, Path] = {}
        self.nodes: dict[Member, RemoteNode] = {}
        self.sights: dict[Member, dict[str, Sight]] = {}
        self.states: dict[str, str] = {}
        self.onBroken: Callable[[DemoError], None] = lambda error: None
        self.onEvent: Callable[[Member, dict[str, Any]], None] = lambda member, event: None

    # ------------------------------------------------------------------ start and end

    def checkAddresses(self) -> None:
        """
        @raise DemoError: where another process has one of the addresses.
        """
        userspace = self._plan.stack == "userspace"
        for member in (*SERVERS, *CLIENTS):
            if userspace:
                _checkFree(self._plan.host(member), "UDP", ENCAPS_PORT, " (SCTP in userspace)")
            else:
                _checkFree(self._plan.host(member), "SCTP", PORT, "")
            if member.role == "client":
                _checkFree(self._plan.host(member), "UDP", PORT, "")
        for controller in CONTROLLERS:
            for port in (LINKS, HTTP):
                _checkFree(self._plan.host(controller), "TCP", port, "")

    async def start(self, sockets: Path, users: Mapping[Member, tuple[str, int]], trust: Trust) -> None:
        """
        Starts all processes.

        @param sockets: the directory for the control sockets.
        @param users: where each client's users are.
        @param trust: their certificates and keys.
        @raise DemoError: when they cannot be had; says why.
        """
        self.checkAddresses()
        paths = filesOf(self._plan, sockets, users, trust)
        for member, (configuration, _) in paths.items():
            log = self._plan.directory / f"{member.name}.log"
            child = self._children[member] = Child(self._reactor, member, configuration, log)
            child.onDeath = self._died
            child.start()
        until = self._reactor.seconds() + START
        self.sockets = {member: control for member, (_, control) in paths.items()}
        for controller in CONTROLLERS:
            page = f"http://{self._plan.host(controller)}:{HTTP}/"
            self.apis[controller] = API(self._reactor, controller.name, page, trust.token)
        for member in (*SERVERS, *CLIENTS):
            self.nodes[member] = await self._connect(member, paths[member][1], until)
        for server in SERVERS:
            await self.nodes[server].watch(partial(self._happened, server))
            self.states[server.name] = (await self.nodes[server].status())["state"]
        self._looking.start(LOOK).addErrback(self._lookFailed)
        await self.until(
            lambda: len(self.sights) == len(CLIENTS) and all(self.isBack(server) for server in SERVERS),
            max(1.0, until - self._reactor.seconds()),
            "the clients have not reached all servers",
        )
        for controller in CONTROLLERS:
            await self._known(controller, until)

    async def _known(self, controller: Member, until: float) -> None:
        """
        Waits until a controller has a way to all nodes, by links of its own or the other's.
        """
        missing = "it does not answer"
        while self._reactor.seconds() < until:
            self.check()
            try:
                nodes = (await self.apis[controller].get("fleet"))["nodes"]
            except NotReached as error:
                missing = str(error)
            else:
                linked = {node["name"] for node in nodes if node["linked"]}
                names = [member.name for member in (*SERVERS, *CLIENTS) if member.name not in linked]
                if not names:
                    return
                missing = f"it has no way to {', '.join(names)}"
            await deferLater(self._reactor, LOOK)
        raise DemoError(
            f"{controller.name}: {missing} after {START:.0f} seconds. {self._children[controller].tail()}"
        )

    async def restart(self, controller: Member, pause: float) -> None:
        """
        Kills a controller (SIGKILL), and starts it again.

        @param pause: how many seconds later.
        """
        child = self._children[controller]
        await child.kill()
        await deferLater(self._reactor, pause)
        child.start()

    async def _connect(self, member: Member, control: Path, until: float) -> RemoteNode:
        while True:
            self.check()
            if control.exists():
                try:
                    return await connectLocal(self._reactor, control)
                except Unreachable:
                    # Between making it and listening.
                    pass
            if self._reactor.seconds() > until:
                raise DemoError(
                    f"{member.name} is not up after {START:.0f} seconds. {self._children[member].tail()}"
                )
            await deferLater(self._reactor, 0.05)

    def stop(self) -> Deferred[Any]:
        """
        Ends all processes.

        @return: fires when they are gone.
        """
        if self._looking.running:
            self._looking.stop()
        for node in self.nodes.values():
            node.end()
        return DeferredList([child.stop() for child in self._children.values()], consumeErrors=True)

    def _died(self, child: Child) -> None:
        if self._dead is None:
            self._dead = child
            self.onBroken(child.obituary())
        self._wake()

    def check(self) -> None:
        """
        @raise DemoError: when a process has ended that should be there.
        """
        if self._dead is not None:
            raise self._dead.obituary()

    # ------------------------------------------------------------------ what is seen

    def _happened(self, server: Member, event: dict[str, Any]) -> None:
        self.states[server.name] = event["state"]
        self.onEvent(server, event)
        self._wake()

    def _look(self) -> Deferred[Any]:
        return gatherResults([self._lookAt(client) for client in CLIENTS], consumeErrors=True)

    def _lookAt(self, client: Member) -> Deferred[None]:
        def seen(status: dict[str, Any]) -> None:
            now = time.monotonic()
            self.sights[client] = {
                server["name"]: Sight(
                    server["active"],
                    server["association"] is not None,
                    now - server["for"],
                    server["countdown"],
                )
                for server in status["servers"]
            }
            self._wake()

        return self.nodes[client].status().addCallback(seen)

    def _lookFailed(self, failure: Failure) -> None:
        # A process that has ended says so itself.
        if self._dead is None and self._looking.running:
            self.log.failure("the clients cannot be looked at", failure=failure)

    def isGone(self, server: Member) -> bool:
        """
        Whether no client has an association with a server.
        """
        return not any(sights[server.name].associated for sights in self.sights.values())

    def isBack(self, server: Member) -> bool:
        """
        Whether a server is on every client's active list.
        """
        return all(sights[server.name].active for sights in self.sights.values())

    def seenSince(self, server: Member) -> dict[str, float]:
        """
        @return: since when each client has seen a server as it does now, in seconds of the host's monotonic
            clock.
        """
        return {client.name: sights[server.name].since for client, sights in self.sights.items()}

    def until(self, condition: Callable[[], bool], limit: float, otherwise: str) -> Deferred[None]:
        """
        Waits for something that can be seen at the clients, or that servers tell.

        @param limit: in seconds.
        @param otherwise: what it means when it does not come.
        @return: fails with L{DemoError}.
        """

        def overdue(result: object, timeout: float) -> None:
            raise DemoError(f"{otherwise} after {timeout:.0f} seconds")

        waiter: Deferred[None] = Deferred()
        self._waiters.append((condition, waiter))
        waiter.addTimeout(limit, self._reactor, overdue)
        self._wake()
        return waiter

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for condition, waiter in waiters:
            if waiter.called:
                continue
            if self._dead is not None:
                waiter.errback(self._dead.obituary())
            elif condition():
                waiter.callback(None)
            else:
                self._waiters.append((condition, waiter))


def _checkFree(host: str, transport: str, port: int, what: str) -> None:
    """
    @raise DemoError: where that address cannot be bound.
    """
    if transport == "UDP":
        probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    elif transport == "TCP":
        probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        # As it will be bound: connections of an earlier run may linger.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    else:
        probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132)
    with probe:
        try:
            probe.bind((host, port))
        except OSError as error:
            place = f"{host}, {transport} port {port}{what}"
            if error.errno == errno.EADDRINUSE:
                raise DemoError(
                    f"{place}: another process has this address, perhaps another demo; end it, or try again "
                    "beside it with --loopback 127.0.1"
                ) from None
            raise DemoError(f"{place}: cannot be had: {error.strerror}") from None
