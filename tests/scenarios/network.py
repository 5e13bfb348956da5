"""
A network on loopback: servers and clients as processes of their own, and the files they are started with.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from shutil import rmtree
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from sipgrace.control.local import connectLocal
from sipgrace.control.remote import RemoteNode
from tests.scenarios.addresses import claim
from tests.scenarios.processes import Role
from tests.scenarios.waiting import LIMIT, poll, reactor

#: The UDP port of every SCTP association.
ENCAPS = 9899

PORT = 5060


class Network:
    """
    Servers 1, 2 ... and clients 1, 2 ..., meshed over SCTP in userspace. Numbers that begin with 1 are those
    of client 1, and so on; what is left of a number says nothing.

    @ivar host: addresses of this test's own that nobody uses yet.
    @ivar servers: the processes of the servers by number; C{clients} likewise.
    """

    def __init__(
        self, test: TestCase, clients: int = 2, guard: float = 5, margin: float = 0.5, sctp: str = ""
    ) -> None:
        """
        @param sctp: further words for the addresses of servers, on both sides.
        @param clients: how many clients each server knows.
        @param guard: seconds, for every server; C{margin} likewise.
        """
        self.test = test
        self.guard = guard
        self.margin = margin
        self._sctp = sctp
        self._clients = clients
        self._addresses = claim(test)
        self.host = self._addresses[9]
        self.servers: dict[int, Role] = {}
        self.clients: dict[int, Role] = {}
        # Paths of sockets are short.
        self.directory = Path(tempfile.mkdtemp(prefix="scenario-"))
        test.addCleanup(rmtree, self.directory, ignore_errors=True)

    def serverHost(self, number: int) -> str:
        """
        @return: the address of a server; the first is number 1.
        """
        return self._addresses[number - 1]

    def clientHost(self, number: int) -> str:
        """
        @return: the address of a client.
        """
        return self._addresses[number + 4]

    def users(self, number: int) -> tuple[str, int]:
        """
        @return: where the users of a client send their calls.
        """
        return self.clientHost(number), PORT

    # Files

    def serverFile(
        self, number: int, more: str = "", server: str = "", listen: tuple[str, ...] = (), drain: str = ""
    ) -> str:
        """
        Writes a server's file.

        @param more: further sections.
        @param server: further keys of C{[server]}; C{drain} likewise.
        @param listen: further listeners.
        @return: its path.
        """
        host = self.serverHost(number)
        listeners = [f"sctp:{PORT}:interface={host}:encaps={ENCAPS}{self._sctp}", *listen]
        clients = "".join(
            f"""
[[clients]]
name = "client-{client}"
networks = ["{self.clientHost(client)}"]

[[routes]]
prefix = "{client}"
to = ["client-{client}"]
"""
            for client in range(1, self._clients + 1)
        )
        text = f"""\
[server]
name = "server-{number}"
listen = {listeners!r}
stack = "userspace"
{server}
{clients}
[drain]
guard = {self.guard:g}
margin = {self.margin:g}
{drain or "retry_after_period = 0"}
spread = 0

[control]
socket = "{self.socket("server", number)}"

{more}
"""
        return self._write(f"server-{number}", text)

    def clientFile(
        self,
        number: int,
        users: str,
        servers: tuple[int, ...] = (1, 2),
        more: str = "",
        client: str = "",
        listen: tuple[str, ...] = (),
        server: dict[int, str] | None = None,
    ) -> str:
        """
        Writes a client's file. Its users meet it over UDP and TCP.

        @param users: a SIP URI: where calls for its users go.
        @param servers: the numbers of its servers, in this order.
        @param more: further sections.
        @param client: further keys of C{[client]}.
        @param listen: further listeners on the interface.
        @param server: further keys of C{[[servers]]}, by the server's number.
        @return: its path.
        """
        host = self.clientHost(number)
        listeners = [f"udp:{PORT}:interface={host}", f"tcp:{PORT}:interface={host}", *listen]
        opened = "".join(
            f"""
[[servers]]
name = "server-{each}"
address = "{self.toServer(each, host, ENCAPS)}"
{(server or {}).get(each, "")}
"""
            for each in servers
        )
        probe = "[probe]\ntimeout = 1\ninterval = 0.25\nlongest = 1\n" if "[probe]" not in more else ""
        text = f"""\
[client]
name = "client-{number}"
listen = {listeners!r}
listen_network = ["sctp:{PORT}:interface={host}:encaps={ENCAPS}"]
stack = "userspace"
{client}
{opened}
[[users]]
prefix = "{number}"
contact = "{users}"

{probe}
[reconnect]
interval = 0.25
longest = 1

[control]
socket = "{self.socket("client", number)}"

{more}
"""
        return self._write(f"client-{number}", text)

    def toServer(self, number: int, host: str, encaps: int = 0) -> str:
        """
        @param host: the address to connect from.
        @param encaps: the UDP port to connect from, 0 for any free one.
        @return: where to connect.
        """
        return (
            f"sctp:host={self.serverHost(number)}:port={PORT}:encaps={ENCAPS}:stack=userspace"
            f":bindAddress={host}:localEncaps={encaps}{self._sctp}"
        )

    def socket(self, role: str, number: int) -> Path:
        """
        @return: the path of a control socket.
        """
        return self.directory / f"{role[0]}{number}.sock"

    def _write(self, name: str, text: str) -> str:
        path = self.directory / f"{name}.toml"
        path.write_text(text, encoding="utf-8")
        return os.fspath(path)

    # Processes

    def startServer(self, number: int, *arguments: Any, **keywords: Any) -> Role:
        """
        Starts a server; the arguments are those of L{serverFile}.
        """
        path = self.serverFile(number, *arguments, **keywords)
        role = self.servers[number] = Role(self.test, "server", f"server-{number}", path)
        return role

    def startClient(self, number: int, *arguments: Any, **keywords: Any) -> Role:
        """
        Starts a client; the arguments are those of L{clientFile}.
        """
        path = self.clientFile(number, *arguments, **keywords)
        role = self.clients[number] = Role(self.test, "client", f"client-{number}", path)
        return role

    async def ready(self) -> None:
        """
        Waits until all that was started serves, and each client has every server that is there on its list.
        """
        for role in (*self.servers.values(), *self.clients.values()):
            # With several processes each, on a machine that has much else to do.
            await role.said("lifecycle: serving", limit=3 * LIMIT)
        for client in self.clients.values():
            for server in self.servers.values():
                await client.said(f"{server.name} is active")

    async def control(self, role: str, number: int) -> RemoteNode:
        """
        @return: a link to the control socket of a process.
        """
        process = (self.servers if role == "server" else self.clients)[number]
        # It is there a moment after the role itself serves.
        await process.said("control socket at ")
        node = await connectLocal(reactor, self.socket(role, number))
        self.test.addCleanup(_end, node)
        return node

    def story(self) -> str:
        """
        @return: what the processes have logged beyond information, in part.
        """
        roles = (*self.servers.values(), *self.clients.values())
        return "\n".join(f"{role.name}: {line}" for role in roles for line in role.oddities()[:15])

    def check(self) -> None:
        """
        Fails the test where any process has logged a mistake of its own.
        """
        for role in (*self.servers.values(), *self.clients.values()):
            self.test.assertEqual(role.oddities(), [], role.name)


async def _end(node: RemoteNode) -> None:
    if not node.gone:
        gone = node.whenLost()
        node.end()
        await gone


async def busy(node: RemoteNode, requests: int, limit: float = LIMIT) -> None:
    """
    Waits until a server or client has accepted so many requests since it was started.

    @param limit: seconds that this may take.
    """

    async def enough() -> bool:
        status = await node.status()
        return int(status["accepted"]) >= requests

    await poll(lambda: Deferred.fromCoroutine(enough()), f"{requests} accepted requests", limit)
