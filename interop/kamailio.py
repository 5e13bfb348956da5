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
from interop.network import KernelNetwork, TCPNetwork, listening
from sipgrace.control.remote import RemoteNode
from tests.scenarios.network import busy
from tests.scenarios.phones import Phone, Ring, answerAfter
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

    def refusals(self, server: str) -> int:
        """
        How many calls it has taken away from a server that answered them 503.
        """
        return (self.output + self.errors).count(f"interop: 503 from {server}\n".encode("ascii"))

    def story(self) -> str:
        """
        The last that it has logged.
        """
        return (self.output + self.errors)[-2500:].decode("utf-8", "replace")


class Callee(Phone):
    """
    A telephone that answers an INVITE that comes by another way after it has answered: its answer may have
    gone to the server that was killed.
    """

    def _invited(self, ring: Ring) -> None:
        invite = ring.invite
        former = self._byCall.get((invite.callId, invite.fromTag, invite.cseq))
        if former is None or former.final != 200 or former.acked:
            super()._invited(ring)
            return
        self.rings.append(ring)
        self._byBranch[invite.branch, invite.sentBy] = ring
        ring.respond(200)


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

    async def finish(self, calls: int, **sipps: SIPp) -> None:
        """
        None of the calls has failed, on any side.
        """
        for side, sipp in sipps.items():
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
        calling = self.caller(self.network.clientHost(1), calls, 20)
        await self.finish(calls, caller=calling, callee=called)
        accepted = []
        for number in (1, 2):
            accepted.append((await (await self.network.control("server", number)).status())["accepted"])
        expect(accepted == [calls // 2, calls // 2], f"the servers accepted {accepted}")
        self.network.check()
        return f"{calls} calls"

    async def drained(self) -> str:
        """
        One of the servers drains under load and comes back: Kamailio sees it leave, by its 503 and by its
        OPTIONS, and sees it come back. Where an OPTIONS came before any call did, the server drains again.
        """
        kamailio = await self.start()
        first = self.uri(self.network.serverHost(1))
        server = await self.network.control("server", 1)
        await server.watch()
        calls = 2 * self.CALLS
        ring = str(round(self.RING * 1000))
        called = await self.callee(("-sf", str(SCENARIOS / "uas.xml"), "-d", ring), calls)
        calling = self.caller(self.network.clientHost(1), calls, self.RATE)
        await self.begun(calling, 2 * self.RATE)
        drains = 0
        while not kamailio.refusals(first) and drains < 3:
            drains += 1
            await self._left(kamailio, first, server)
        refused = kamailio.refusals(first)
        accepted = (await server.status())["accepted"]
        await self.finish(calls, caller=calling, callee=called)
        later = (await server.status())["accepted"] - accepted
        expect(later > 0, "the server had no calls when it was back")
        expect(refused > 0, f"no call met a 503: {kamailio.story()}")
        self.network.check()
        went = f"{refused} refused by 503 went on elsewhere"
        return f"{calls} calls, none failed; {went}; back with {later} calls"

    async def _left(self, kamailio: Kamailio, first: str, server: RemoteNode) -> None:
        """
        Kamailio sees a server leave while it drains, and come back.
        """
        order = await server.drain(why="for a run")
        await poll(lambda: kamailio.flags()[first][0] == "I", "Kamailio that has seen the server leave")
        state = (await server.status())["state"]
        expect(state == "draining", f"Kamailio saw it only when the server was {state}")
        gone = await server.when(["offline"], order)
        expect(gone["forced"] == 0, f"the server went with {gone}")
        await server.when(["serving"], await server.resume())
        await poll(lambda: kamailio.flags()[first][0] == "A", "Kamailio that has seen the server come back")

    async def quiet(self) -> str:
        """
        One of the servers drains while no new calls come: Kamailio sees it leave by OPTIONS alone. A call
        that rings meanwhile keeps the server there.
        """
        kamailio = await self.start()
        first = self.uri(self.network.serverHost(1))
        server = await self.network.control("server", 1)
        await server.watch()
        calls = 2
        called = await self.callee(("-sf", str(SCENARIOS / "uas.xml"), "-d", "5000"), calls)
        calling = self.caller(self.network.clientHost(1), calls, 10)
        # By turns: each server has one of them.
        await busy(server, 1)
        await self.begun(calling, calls)
        await self._left(kamailio, first, server)
        expect(kamailio.refusals(first) == 0, "a call met a 503 as well")
        await self.finish(calls, caller=calling, callee=called)
        self.network.check()
        return "left while draining, and back"


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

    async def start(self, callee: int = CALLEE) -> list[Kamailio]:
        """
        Starts all but the ends of the calls.

        @param callee: the port of who is called.
        """
        network = self.network
        servers = [self.kamailio(number) for number in (1, 2)]
        for number, port in ((1, CALLER), (2, callee)):
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
        calling = self.caller(self.network.clientHost(1), calls, 20)
        await self.finish(calls, caller=calling, callee=called)
        self.network.check()
        return f"{calls} calls"

    async def killed(self, signalled: bool) -> str:
        """
        One of them is stopped under load, in order or hard, with calls ringing by way of it, and comes back.
        """
        callee = Callee(self.bench, "callee", answerAfter(self.RING))
        await callee.listen(self.network.host)
        servers = await self.start(callee.port)
        client = self.network.clients[1]
        calling = self.caller(self.network.clientHost(1), self.CALLS, self.RATE)
        await self.begun(calling, 3 * self.RATE)
        if signalled:
            servers[0].signal(signal.SIGTERM)
        else:
            servers[0].kill()
        await servers[0].end()
        await client.said("server-1 is off the active list")
        node = await self.network.control("client", 1)
        await self.begun(calling, 5 * self.RATE)
        rerouted = (await node.status())["reroutes"]
        expect(rerouted > 1, f"{rerouted} calls were on their way by the server that was stopped")
        self.kamailio(1, 1)
        await client.said("server-1 is active", 2)

        async def answered() -> int:
            return int((await node.status())["servers"][0]["answered"])

        before = await answered()
        await self.finish(self.CALLS, caller=calling)
        after = await answered() - before
        expect(after > 0, "the server had no calls when it was back")
        self.network.check()
        return f"{self.CALLS} calls, none failed; {rerouted} went on by the other; back with {after} calls"


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
    await make("as client: a server of ours drains without new calls", AsClient, "quiet")
    if transport != "UDP":
        await make("as server: calls by turns over two of them", AsServer, "byTurns")
        await make("as server: stopped (SIGTERM), and back", AsServer, "killed", True)
        await make("as server: killed (SIGKILL), and back", AsServer, "killed", False)
