"""
Two baresips, each registered at a client of its own, that call each other through a server.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from signal import SIGTERM
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.error import ConnectError
from twisted.protocols.basic import NetstringReceiver
from twisted.python.failure import Failure

from interop import versions
from interop.bench import Bench, Record, expect
from interop.network import networkOf
from sipgrace.control.remote import RemoteNode
from tests.scenarios.network import Network
from tests.scenarios.phones import Phone, keepRinging
from tests.scenarios.processes import Process
from tests.scenarios.waiting import Waiting, poll, reactor

DOMAIN = "example.org"

#: What is made of each, and what the table calls it.
SCENARIOS = {
    "plain": "two telephones, registered by digest: a call",
    "drained": "a call while its server drains",
    "restarted": "a call to a telephone whose client was restarted",
}

_CONFIG = """\
poll_method epoll
sip_listen {host}:{port}
net_interface {host}
audio_source ausine,440
ausrc_srate 48000
ausrc_channels 2
audio_player aubridge,line
audio_alert aubridge,alert
audio_path {sounds}
module_path {modules}
module stdio.so
module g711.so
module aubridge.so
module ausine.so
module_tmp uuid.so
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen {host}:{control}
rtp_timeout 0
"""

_ACCOUNT = (
    "<sip:{user}@{domain};transport={way}>;auth_user={user};auth_pass={password};regint=60"
    ';outbound="sip:{proxy}:{port};transport={way}";answermode=manual;audio_codecs=PCMU\n'
)


class Control(NetstringReceiver, Waiting):
    """
    A link to a baresip's C{ctrl_tcp}.

    @ivar events: all that it has told.
    """

    def __init__(self) -> None:
        Waiting.__init__(self)
        self.events: list[dict[str, Any]] = []

    def stringReceived(self, string: bytes) -> None:
        """
        An event, or the answer to a command.
        """
        self.events.append(json.loads(string))
        self.look()

    def connectionLost(self, reason: Failure) -> None:
        """
        See C{IProtocol}.
        """
        self.giveUp("the baresip has gone")

    def say(self, command: str, parameters: str = "") -> None:
        """
        Gives a command.
        """
        self.sendString(json.dumps({"command": command, "params": parameters, "token": ""}).encode())

    def happened(self, kind: str, times: int = 1) -> Deferred[Any]:
        """
        @return: fires when this has happened so often.
        """
        return self.until(
            lambda: [event for event in self.events if event.get("type") == kind][times - 1 :],
            f"{kind} ({times})",
        )

    def story(self) -> str:
        """
        What has happened.
        """
        return json.dumps(self.events[-8:])[-1500:]


class Baresip(Process):
    """
    One baresip with one user.
    """

    def __init__(
        self,
        bench: Bench,
        folder: Path,
        user: str,
        host: str,
        proxy: tuple[str, int],
        way: str,
    ) -> None:
        """
        @param way: C{"udp"} or C{"tcp"}.
        """
        folder.mkdir()
        self.user, self.host = user, host
        self.control = _free(host)
        values = {
            "host": host,
            "port": _free(host),
            "folder": folder,
            "modules": versions.PROGRAMS / "lib/baresip/modules",
            "control": self.control,
            "sounds": versions.PROGRAMS / "share/baresip",
        }
        (folder / "config").write_text(_CONFIG.format(**values), encoding="ascii")
        account = {
            "user": user,
            "domain": DOMAIN,
            "way": way,
            "password": f"secret-of-{user}",
            "proxy": proxy[0],
            "port": proxy[1],
        }
        (folder / "accounts").write_text(_ACCOUNT.format(**account), encoding="ascii")
        (folder / "contacts").write_text("", encoding="ascii")
        super().__init__(bench, user, "baresip", "-f", str(folder))
        self._bench = bench

    async def link(self) -> Control:
        """
        Waits until it can be told what to do.
        """

        async def attempt() -> Control | None:
            try:
                endpoint = HostnameEndpoint(reactor, self.host, self.control)
                return await connectProtocol(endpoint, Control())
            except ConnectError:
                return None

        control: Control = await poll(
            lambda: Deferred.fromCoroutine(attempt()), f"the control of {self.user}"
        )
        self._bench.addCleanup(control.transport.loseConnection)
        return control


def _free(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


class Telephones:
    """
    Two clients with a registrar each, two servers, and two telephones. A third party at each client, played
    by this process, has calls of its own.
    """

    def __init__(self, bench: Bench, transport: str) -> None:
        self.bench = bench
        self.way = transport.lower()
        self.network: Network = networkOf(bench, guard=10)
        self.caller = Phone(bench, "caller")
        self.callee = Phone(bench, "callee", keepRinging)

    def startClient(self, number: int) -> None:
        """
        A client whose users register. Its file of registrations stays from one start to the next.
        """
        user = {1: "alice", 2: "bob"}[number]
        registrar = f"""
[registrar]
database = "{user}.sqlite"
domains = ["{DOMAIN}"]

[[registrar.accounts]]
user = "{user}"
password = "secret-of-{user}"
# This baresip gives up at the sight of an algorithm that it does not know.
algorithms = ["MD5"]
"""
        self.network.startClient(number, f"sip:{self.network.host}:{self.callee.port}", more=registrar)

    async def start(self) -> None:
        """
        Starts them all, and waits until both telephones are registered.
        """
        network = self.network
        await self.caller.listen(network.host)
        await self.callee.listen(network.host)
        routes = "".join(
            f'[[routes]]\nprefix = "{user}"\nto = ["client-{number}"]\n'
            for number, user in ((1, "alice"), (2, "bob"))
        )
        for number in (1, 2):
            network.startServer(number, routes)
            self.startClient(number)
        await network.ready()
        folder = network.directory
        self.alice = Baresip(self.bench, folder / "alice", "alice", network.host, network.users(1), self.way)
        self.bob = Baresip(self.bench, folder / "bob", "bob", network.host, network.users(2), self.way)
        self.alices, self.bobs = await self.alice.link(), await self.bob.link()
        for number in (1, 2):
            await self.registered(number)

    async def registered(self, number: int, users: int = 1) -> None:
        """
        Waits until a client has so many users.
        """
        node = await self.network.control("client", number)

        async def there() -> bool:
            return bool((await node.status())["registrar"]["users"] == users)

        await poll(lambda: Deferred.fromCoroutine(there()), f"{users} registered users at client {number}")

    async def accepted(self) -> int:
        """
        @return: how many requests the servers have seen so far.
        """
        nodes = [await self.network.control("server", number) for number in (1, 2)]
        return sum([int((await node.status())["accepted"]) for node in nodes])

    async def ring(self) -> None:
        """
        Alice calls Bob.
        """
        self.alices.events.clear()
        self.bobs.events.clear()
        self.alices.say("dial", f"sip:bob@{DOMAIN}")
        await self.bobs.happened("CALL_INCOMING")
        await self.alices.happened("CALL_RINGING")

    async def answer(self) -> None:
        """
        Bob picks up; each hears the other.
        """
        self.bobs.say("accept")
        for control in (self.alices, self.bobs):
            await control.happened("CALL_ESTABLISHED")
            await control.happened("CALL_RTPESTAB")

    async def hangUp(self, ours: Control, theirs: Control) -> None:
        """
        One of them hangs up; the servers have nothing to do with that.
        """
        before = await self.accepted()
        ours.say("hangup")
        await theirs.happened("CALL_CLOSED")
        after = await self.accepted()
        expect(before == after, f"the servers have seen {after - before} requests of a hang-up")
        self.network.check()

    async def call(self) -> None:
        """
        A call from its beginning to its end.
        """
        await self.ring()
        await self.answer()
        await self.hangUp(self.alices, self.bobs)

    async def plain(self) -> str:
        """
        Two calls, of which each ends one. When Bob's telephone is switched off it is registered no more.
        """
        await self.start()
        await self.call()
        await self.ring()
        await self.answer()
        await self.hangUp(self.bobs, self.alices)
        self.bobs.say("quit")
        await self.registered(2, users=0)
        self.alices.events.clear()
        self.alices.say("dial", f"sip:bob@{DOMAIN}")
        (closed,) = await self.alices.happened("CALL_CLOSED")
        expect(closed["param"].startswith("480 "), f"Alice was told {closed['param']}")
        return "BYE from client to client; 480 when it is switched off"

    async def drained(self) -> str:
        """
        A call that rings when its server begins to drain is answered and hung up while it drains, for there
        is another call that still rings. When that is answered too, the server goes.
        """
        await self.start()
        servers = [await self.network.control("server", number) for number in (1, 2)]
        for server in servers:
            await server.watch()
        await self.ring()
        (server,) = [server for server in servers if (await server.status())["waiting"]]
        # Calls go to the servers by turns: one of two joins it there.
        users = self.network.users(1)
        others = [self.caller.call("2001", users), self.caller.call("2001", users)]
        for other in others:
            await other.has(180)
        await _waiting(server, 2)
        order = await server.drain(why="for a run")
        await self.answer()
        await _waiting(server, 1)
        await self.hangUp(self.alices, self.bobs)
        state = (await server.status())["state"]
        expect(state == "draining", f"the server was {state} when they had hung up")
        for ring in self.callee.rings:
            ring.respond(200)
        gone = await server.when(["offline"], order)
        expect((gone["forced"], gone["aborted"]) == (0, 0), f"the server went with {gone}")
        for other in others:
            expect((await other.done()).status == 200, f"{other!r} was lost")
            await other.hangUp()
        await self.call()
        return "answered and hung up while draining; the next call takes the other server"

    async def restarted(self) -> str:
        """
        A client that was started again still knows where its user is.
        """
        await self.start()
        client = self.network.clients[2]
        client.signal(SIGTERM)
        expect(await client.end() == 0, f"the client ended with {client.status}")
        self.startClient(2)
        for number in (1, 2):
            await self.network.clients[2].said(f"server-{number} is active")
        await self.registered(2)
        await self.call()
        return "called at once"


async def _waiting(server: RemoteNode, calls: int) -> None:
    async def there() -> bool:
        return bool((await server.status())["waiting"] == calls)

    await poll(lambda: Deferred.fromCoroutine(there()), f"{calls} calls in a server's ledger")


async def run(record: Record, transport: str) -> None:
    """
    Makes all scenarios with baresip over one transport.
    """
    peer = versions.baresip()
    for scenario, name in SCENARIOS.items():

        async def made(bench: Bench, scenario: str = scenario) -> str | None:
            return str(await getattr(Telephones(bench, transport), scenario)() or "")

        await record.make(peer, transport, name, made)
