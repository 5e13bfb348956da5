"""
Kamailio as a client of our servers, and as a server of our clients.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
from pathlib import Path
from typing import Any

from interop import versions
from interop.bench import Bench, Record, expect
from interop.messages import receive, respond, scenario, sdp
from interop.network import KernelNetwork, TCPNetwork, listening
from tests.scenarios.processes import Process
from tests.scenarios.sipp import HERE as SCENARIOS
from tests.scenarios.sipp import SIPp
from tests.scenarios.waiting import poll

#: Ports of the caller and the callee.
CALLER, CALLEE = 7110, 7112

PORT = 5060

CONFIGURATION = Path(__file__).with_name("kamailio.cfg")


class Kamailio(Process):
    """
    One Kamailio, of several processes.
    """

    def __init__(
        self,
        bench: Bench,
        name: str,
        host: str,
        folder: Path,
        transport: str,
        *,
        servers: tuple[str, ...] = (),
        callee: str = "",
    ) -> None:
        """
        @param servers: as a client: the SIP URIs of its servers.
        @param callee: as a server: the SIP URI where it sends all calls.
        """
        folder.mkdir()
        self._socket = str(folder / "rpc")
        self._folder = folder
        text = CONFIGURATION.read_text(encoding="utf-8")
        modules = versions.LIBRARIES / "kamailio/modules/"
        for word, value in (
            ("HOST", host),
            ("MODULES", f"{modules}/"),
            ("FOLDER", str(folder)),
            ("CALLEE", callee),
        ):
            text = re.sub(rf"\b{word}\b", lambda match, value=value: value, text)
        file = folder / "kamailio.cfg"
        file.write_text(text, encoding="utf-8")
        lines = "".join(f"1 {server} 0 0\n" for server in servers)
        (folder / "dispatcher.list").write_text(lines, encoding="ascii")
        flags = [*(["AS_CLIENT"] if servers else []), *(["WITH_SCTP"] if transport == "SCTP" else [])]
        super().__init__(
            bench,
            name,
            "kamailio",
            *("-DD", "-E", "-f", str(file), "-w", str(folder), "-Y", str(folder), "-m", "32", "-M", "4"),
            *(part for flag in flags for part in ("-A", flag)),
        )
        # Its parts would go on without the first of them.
        bench.addCleanup(self.kill)

    def kill(self) -> None:
        """
        Ends all its processes at once.
        """
        with contextlib.suppress(ProcessLookupError, TypeError):
            os.killpg(self.transport.pid, signal.SIGKILL)

    def ask(self, method: str) -> Any:
        """
        Calls one of its procedures.
        """
        own = f"{self._folder}/answer"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking:
            Path(own).unlink(missing_ok=True)
            asking.bind(own)
            asking.settimeout(5)
            asking.sendto(json.dumps({"jsonrpc": "2.0", "method": method, "id": 1}).encode(), self._socket)
            return json.loads(asking.recv(1 << 16))["result"]

    def flags(self) -> dict[str, str]:
        """
        The state of its servers, by their URIs: C{"AP"} is active and probed, C{"IP"} inactive and probed.
        """
        found = {}
        for group in self.ask("dispatcher.list")["RECORDS"]:
            for target in group["SET"]["TARGETS"]:
                found[target["DEST"]["URI"]] = target["DEST"]["FLAGS"]
        return found

    def story(self) -> str:
        """
        The last that it has logged.
        """
        return (self.output + self.errors)[-2500:].decode("utf-8", "replace")


class Calls:
    """
    The calls of one transport: UDP, TCP, or the kernel's SCTP.
    """

    #: How many calls a scenario makes, how many a second, and for how many seconds each rings.
    CALLS, RATE, RING = 120, 10, 1.5

    def __init__(self, bench: Bench, transport: str) -> None:
        self.bench = bench
        self.transport = transport
        self.way = transport.lower()
        self.network = (KernelNetwork if transport == "SCTP" else TCPNetwork)(bench, guard=6)

    def uri(self, host: str, port: int = PORT) -> str:
        """
        @return: a SIP URI of an address over the transport of this run.
        """
        return f"sip:{host}:{port};transport={self.way}"

    async def callee(self, scenario: tuple[str, ...], calls: int) -> SIPp:
        """
        Starts a SIPp that is called, over UDP.
        """
        sipp = SIPp(self.bench, self.network, "callee", CALLEE, "udp", *scenario, "-m", str(calls))
        await listening("UDP", self.network.host, CALLEE)
        return sipp

    def caller(self, host: str, calls: int, rate: float) -> SIPp:
        """
        Starts a SIPp that calls user 2001 over UDP.
        """
        scenario = ("-sf", str(SCENARIOS / "uac.xml"))
        return SIPp(
            self.bench,
            self.network,
            "caller",
            CALLER,
            "udp",
            *(*scenario, f"{host}:{PORT}", "-s", "2001", "-m", str(calls), "-r", str(rate)),
            *("-recv_timeout", "20000"),
        )

    async def begun(self, sipp: SIPp, calls: int) -> None:
        """
        Waits until so many calls have been made.
        """
        await poll(lambda: sipp.outcome().created >= calls, f"{calls} calls", 60)

    async def finish(self, calling: SIPp, called: SIPp, calls: int) -> None:
        """
        None of the calls has failed, on either side.
        """
        for side, sipp in (("caller", calling), ("callee", called)):
            status = await sipp.end(90)
            outcome = sipp.outcome()
            expect(
                (status, outcome.created, outcome.successful, outcome.failed) == (0, calls, calls, 0),
                f"the {side} ended with {status} and {outcome}: {sipp.story()}",
            )


class AsClient(Calls):
    """
    Kamailio sends its calls to two of our servers, with its dispatcher.
    """

    async def start(self) -> Kamailio:
        """
        Starts all but the ends of the calls.
        """
        network = self.network
        servers = [network.serverHost(number) for number in (1, 2)]
        for number, host in enumerate(servers, 1):
            ways = () if self.transport == "SCTP" else sorted({self.way, "tcp"})
            network.startServer(number, listen=tuple(f"{way}:{PORT}:interface={host}" for way in ways))
        network.startClient(2, f"sip:{network.host}:{CALLEE}")
        await network.ready()
        kamailio = Kamailio(
            self.bench,
            "kamailio",
            network.clientHost(1),
            network.directory / "kamailio",
            self.transport,
            servers=tuple(self.uri(host) for host in servers),
        )
        await poll(lambda: Path(kamailio._socket).exists(), "Kamailio")
        return kamailio

    async def byTurns(self) -> str:
        """
        All is well.
        """
        await self.start()
        calls = 60
        called = await self.callee(("-sf", str(SCENARIOS / "uas.xml"), "-d", "100"), calls)
        await self.finish(self.caller(self.network.clientHost(1), calls, 20), called, calls)
        accepted = []
        for number in (1, 2):
            accepted.append((await (await self.network.control("server", number)).status())["accepted"])
        expect(accepted == [calls // 2, calls // 2], f"the servers accepted {accepted}")
        self.network.check()
        return f"{calls} calls"

    async def drained(self) -> str:
        """
        One of the servers drains under load and comes back: Kamailio sees it leave, by its 503 and by its
        OPTIONS, and sees it come back.
        """
        kamailio = await self.start()
        first = self.uri(self.network.serverHost(1))
        server = await self.network.control("server", 1)
        await server.watch()
        ring = str(round(self.RING * 1000))
        called = await self.callee(("-sf", str(SCENARIOS / "uas.xml"), "-d", ring), self.CALLS)
        calling = self.caller(self.network.clientHost(1), self.CALLS, self.RATE)
        await self.begun(calling, 2 * self.RATE)
        order = await server.drain(why="for a run")
        await poll(lambda: kamailio.flags()[first][0] == "I", "Kamailio that has seen the server leave")
        state = (await server.status())["state"]
        gone = await server.when(["offline"], order)
        expect(state == "draining", f"Kamailio saw it only when the server was {state}")
        refused = (await server.status())["refused"]
        back = await server.when(["serving"], await server.resume())
        expect(back["change"] == "serving", str(back))
        await poll(lambda: kamailio.flags()[first][0] == "A", "Kamailio that has seen the server come back")
        accepted = (await server.status())["accepted"]
        await self.finish(calling, called, self.CALLS)
        later = (await server.status())["accepted"] - accepted
        expect(later > 0, "the server had no calls when it was back")
        expect(gone["forced"] == 0, f"the server went with {gone}")
        expect(refused > 0, "the server refused nothing")
        self.network.check()
        return f"{self.CALLS} calls, none failed; left while draining, back with {later} calls"


class AsServer(Calls):
    """
    Our client has two Kamailios as its servers.
    """

    def kamailio(self, number: int, times: int = 0) -> Kamailio:
        """
        Starts one of them.
        """
        return Kamailio(
            self.bench,
            f"kamailio-{number}",
            self.network.serverHost(number),
            self.network.directory / f"kamailio-{number}-{times}",
            self.transport,
            callee=self.uri(self.network.clientHost(2), self.network.inner),
        )

    async def start(self) -> list[Kamailio]:
        """
        Starts all but the ends of the calls.
        """
        network = self.network
        servers = [self.kamailio(number) for number in (1, 2)]
        for number, port in ((1, CALLER), (2, CALLEE)):
            network.startClient(number, f"sip:{network.host}:{port}")
            for server in (1, 2):
                await network.clients[number].said(f"server-{server} is active")
        return servers

    async def byTurns(self) -> str:
        """
        All is well.
        """
        await self.start()
        calls = 60
        called = await self.callee(("-sf", str(SCENARIOS / "uas.xml"), "-d", "100"), calls)
        await self.finish(self.caller(self.network.clientHost(1), calls, 20), called, calls)
        self.network.check()
        return f"{calls} calls"

    async def killed(self, signalled: bool) -> str:
        """
        One of them is stopped under load, in order or hard, and comes back.
        """
        servers = await self.start()
        client = self.network.clients[1]
        called = await self.callee(("-sf", str(self._forgiving())), self.CALLS)
        calling = self.caller(self.network.clientHost(1), self.CALLS, self.RATE)
        await self.begun(calling, 2 * self.RATE)
        if signalled:
            servers[0].signal(signal.SIGTERM)
        else:
            servers[0].kill()
        await servers[0].end()
        await client.said("server-1 is off the active list")
        await self.begun(calling, 4 * self.RATE)
        self.kamailio(1, 1)
        await client.said("server-1 is active", 2)
        node = await self.network.control("client", 1)

        async def answered() -> int:
            return int((await node.status())["servers"][0]["answered"])

        before = await answered()
        await self.finish(calling, called, self.CALLS)
        after = await answered() - before
        expect(after > 0, "the server had no calls when it was back")
        self.network.check()
        return f"{self.CALLS} calls, none failed; back with {after} calls"

    def _forgiving(self) -> Path:
        """
        A callee who answers at once, and an INVITE that comes again by another way as well: the answer to the
        first may have gone to the one that was killed.
        """
        again = receive("INVITE", optional=True, next="1")
        text = scenario(
            "callee",
            receive("INVITE", rrs=True),
            '  <label id="1"/>\n',
            respond("200 OK", body=sdp()),
            again,
            receive("ACK"),
            receive("BYE"),
            respond("200 OK", tag=False),
        )
        path = self.network.directory / "forgiving.xml"
        path.write_text(text, encoding="ascii")
        return path


async def run(record: Record, transport: str) -> None:
    """
    Makes all scenarios with Kamailio over one transport.
    """
    peer = versions.kamailio()

    async def make(name: str, which: type[Any], scenario: str, *arguments: Any) -> None:
        async def made(bench: Bench) -> str:
            return str(await getattr(which(bench, transport), scenario)(*arguments))

        await record.make(peer, transport, name, made)

    await make("as client: calls by turns over two of our servers", AsClient, "byTurns")
    await make("as client: a server of ours drains and comes back", AsClient, "drained")
    if transport != "UDP":
        await make("as server: calls by turns over two of them", AsServer, "byTurns")
        await make("as server: stopped (SIGTERM), and back", AsServer, "killed", True)
        await make("as server: killed (SIGKILL), and back", AsServer, "killed", False)
