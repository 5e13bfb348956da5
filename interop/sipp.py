"""
SIPp as caller and callee, over each transport that it speaks: each turn that a call may take, a server that
drains under it, and SIPp's own scenarios under load.
"""

from __future__ import annotations

import re
from pathlib import Path
from signal import SIGTERM
from typing import Any

from twisted.internet.defer import Deferred, DeferredList

from interop import versions
from interop.bench import Bench, Record, expect
from interop.dialogues import (
    DIALOGUES,
    LAST_MOMENT,
    LATE,
    RINGING,
    RINGING_ALONE,
    UNAVAILABLE,
    Dialogue,
)
from interop.network import listening, networkOf
from sipgrace.control.remote import RemoteNode
from tests.scenarios.network import Network, busy
from tests.scenarios.sipp import HERE, SIPp
from tests.scenarios.waiting import poll
from tests.sctpguest import Loss

#: Ports of the callers and of who is called, on an address of the run's own.
CALLER, CALLEE = 7110, 7112

#: The interface's port of SCTP: the kernel has the other one for the clients' network.
SCTP = 5062

#: The scenario files of the last run, to be tried by hand.
FILES = Path("build/interop/scenarios")

#: Whom C{branchc} calls: a section of the servers, and one of the clients.
OTHERS = '[[routes]]\ndomain = "ca.cym.com"\nto = ["client-2"]\n'
OTHER_USERS = '[[users]]\n{rule}\ncontact = "{users}"\n'

#: Calls that SIPp's own scenarios make, and how many a second.
CALLS, RATE = 100, 20

#: SIPp's own callers. The third registers first, and calls others than the rest do.
BUILT_IN = ("uac", "regexp", "branchc")

#: A caller and a callee who are in the dialog with its route set, past the servers. SIPp's own are put out by
#: an ACK that comes after its BYE, as it may where packets are lost: RFC 4168 has SIP go unordered.
OWN_CALLER, OWN_CALLEE = ("-sf", str(HERE / "uac.xml")), ("-sf", str(HERE / "uas.xml"))

#: Seconds after which a single call counts as hung.
LIMIT = 40


class Calls:
    """
    The calls of one transport: its network stays up from one dialogue to the next.
    """

    def __init__(self, record: Record, transport: str) -> None:
        self.record = record
        self.transport = transport
        self.peer = versions.sipp()
        self.network: Network

    async def run(self) -> None:
        """
        All of them.
        """
        bench = Bench()
        try:
            network = self.network = networkOf(bench, guard=3)
            way = self.transport.lower()
            for number in (1, 2):
                # Callers may also come to a server itself.
                place = f"{way}:5060:interface={network.serverHost(number)}"
                network.startServer(number, OTHERS, listen=() if way == "sctp" else (place,))
            for number, port in ((1, CALLER), (2, CALLEE)):
                place = f"sctp:{SCTP}:interface={network.clientHost(number)}"
                users = f"sip:{network.host}:{port};transport={way}"
                more = "".join(
                    OTHER_USERS.format(rule=rule, users=users)
                    for rule in ('prefix = "ua"', 'uri = "sip:CA.cym.com"')
                )
                network.startClient(number, users, more=more, listen=(place,) if way == "sctp" else ())
            await network.ready()
            for dialogue in DIALOGUES:
                if self.transport in dialogue.transports:
                    await self._make(dialogue.name, self._dialogue, dialogue)
            for dialogue in (RINGING, RINGING_ALONE, LAST_MOMENT, LATE):
                await self._make(dialogue.name, self._late, dialogue)
            await self._make(UNAVAILABLE.name, self._unavailable)
            for name in BUILT_IN:
                callee = ("-sn", "branchs" if name == "branchc" else "uas")
                await self._make(f"SIPp's own {name}, {CALLS} calls", self._load, ("-sn", name), callee)
            name = f"SIPp's own uac, {CALLS} calls, a server drains"
            await self._make(name, self._load, ("-sn", "uac"), ("-sn", "uas"), True)
            if way == "sctp":
                hosts = [network.serverHost(number) for number in network.servers]
                # Associations take longer to come back.
                name = f"{2 * CALLS} calls, a server drains, servers' packets 5 % lost and 20 ms late"
                await self._make(name, self._underLoss, hosts)
            network.check()
            for role in network.servers.values():
                role.signal(SIGTERM)
            for role in network.servers.values():
                expect(await role.end() == 0, f"{role.name} ended with {role.status}")
        finally:
            await bench.close()

    async def _make(self, name: str, run: Any, *arguments: Any) -> None:
        async def made(bench: Bench) -> str | None:
            try:
                return str(await run(bench, *arguments) or "")
            finally:
                await self._restore()

        await self.record.make(self.peer, self.transport, name, made)

    # ------------------------------------------------------------------ one SIPp

    def _files(self, dialogue: Dialogue) -> dict[str, str]:
        FILES.mkdir(parents=True, exist_ok=True)
        paths = {}
        for side, text in dialogue.files().items():
            path = FILES / f"{re.sub('[^a-z0-9]+', '-', dialogue.name.lower())}-{side}.xml"
            path.write_text(text, encoding="utf-8")
            paths[side] = str(path.absolute())
        return paths

    async def callee(self, bench: Bench, *arguments: str) -> SIPp:
        """
        Starts one that is called.
        """
        sipp = SIPp(
            bench,
            self.network,
            "callee",
            CALLEE,
            self.transport.lower(),
            *("-recv_timeout", "10000", *arguments),
        )
        await listening(self.transport, self.network.host, CALLEE)
        return sipp

    def caller(self, bench: Bench, to: tuple[str, int], *arguments: str) -> SIPp:
        """
        Starts one that calls user 2001.
        """
        host, port = to
        return SIPp(
            bench,
            self.network,
            "caller",
            CALLER,
            self.transport.lower(),
            f"{host}:{port}",
            *("-s", "2001", "-recv_timeout", "10000", *arguments),
        )

    def _users(self) -> tuple[str, int]:
        """
        @return: where the caller sends its calls.
        """
        host, port = self.network.users(1)
        return host, SCTP if self.transport == "SCTP" else port

    async def _finish(self, calls: int, **sipps: SIPp) -> None:
        limit = LIMIT + calls / RATE
        await DeferredList([sipp.end(limit) for sipp in sipps.values()], consumeErrors=True)
        wrong = []
        for side, sipp in sipps.items():
            outcome = sipp.outcome()
            figures = (sipp.status, outcome.created, outcome.successful, outcome.failed)
            if figures != (0, calls, calls, 0):
                wrong.append(f"the {side} ended with {sipp.status} and {outcome}: {sipp.story()}")
        expect(not wrong, "; ".join(wrong))

    async def _accepted(self) -> int:
        return sum([(await node.status())["accepted"] for node in await self._servers()])

    async def _servers(self) -> list[RemoteNode]:
        if not hasattr(self, "_nodes"):
            self._nodes = [await self.network.control("server", number) for number in (1, 2)]
            for node in self._nodes:
                await node.watch()
        return self._nodes

    # ------------------------------------------------------------------ scenarios

    async def _dialogue(self, bench: Bench, dialogue: Dialogue) -> None:
        """
        One call as the files have it, to the end of both.
        """
        files = self._files(dialogue)
        before = await self._accepted()
        sides = {}
        if "callee" in files:
            sides["callee"] = await self.callee(bench, "-sf", files["callee"], "-m", "1")
        options = ("-sf", files["caller"], "-m", "1", *dialogue.options)
        sides["caller"] = self.caller(bench, self._users(), *options)
        await self._finish(1, **sides)
        if dialogue.accepted is not None:
            accepted = await self._accepted() - before
            expect(accepted == dialogue.accepted, f"servers accepted {accepted} requests")

    async def _ring(self, bench: Bench, dialogue: Dialogue) -> tuple[dict[str, SIPp], RemoteNode]:
        """
        A call that rings for as long as it may.

        @return: its two ends, and the server that has it.
        """
        files = self._files(dialogue)
        called = await self.callee(bench, "-sf", files["callee"], "-m", "1")
        nodes = await self._servers()
        calling = self.caller(bench, self._users(), "-sf", files["caller"], "-m", "1")

        async def which() -> list[RemoteNode]:
            return [node for node in nodes if (await node.status())["waiting"]]

        (node,) = await poll(lambda: Deferred.fromCoroutine(which()), "a call that waits")
        return {"caller": calling, "callee": called}, node

    async def _late(self, bench: Bench, dialogue: Dialogue) -> None:
        """
        A callee that still rings when the guard ends is taken back before, and may ring elsewhere; or it
        answers nevertheless, just then or afterwards.
        """
        alone = dialogue in (RINGING_ALONE, LATE)
        sides, node = await self._ring(bench, dialogue)
        others = [other for other in await self._servers() if other is not node]
        if alone:
            for other in others:
                await other.when(["offline"], await other.drain(why="for a run"))
        before = (await node.status())["forced"]
        await node.when(["offline"], await node.drain(why="for a run"))
        forced = (await node.status())["forced"] - before
        # An answer that is heard in time is nobody's force.
        expect(forced == int(dialogue is not LAST_MOMENT), f"the server forced {forced} ends")
        await self._finish(1, **sides)
        await self._back(*(others if alone else ()), node)

    async def _back(self, *nodes: RemoteNode) -> None:
        for node in nodes:
            await node.when(["serving"], await node.resume())
        await self._settled()

    async def _restore(self) -> None:
        """
        Whatever became of a scenario, the next one finds every server in service.
        """
        for node in await self._servers():
            if (await node.status())["state"] != "serving":
                await poll(lambda node=node: self._stands(node, "offline"), "the end of a drain")
                await self._back(node)

    def _stands(self, node: RemoteNode, state: str) -> Deferred[bool]:
        return node.status().addCallback(lambda status: status["state"] == state)

    async def _settled(self) -> None:
        """
        Waits until every client has every server on its list.
        """
        if not hasattr(self, "_clients"):
            self._clients = [await self.network.control("client", number) for number in (1, 2)]

        async def complete() -> bool:
            states = [await node.status() for node in self._clients]
            return all(server["active"] for state in states for server in state["servers"])

        await poll(lambda: Deferred.fromCoroutine(complete()), "clients that have both servers")

    async def _unavailable(self, bench: Bench) -> None:
        """
        A caller that comes to a draining server itself is told to try again, and when.
        """
        sides, node = await self._ring(bench, RINGING)
        draining = await node.drain(why="for a run")
        server = (await self._servers()).index(node) + 1
        refused = SIPp(
            bench,
            self.network,
            "refused",
            CALLER + 1,
            self.transport.lower(),
            f"{self.network.serverHost(server)}:5060",
            *("-s", "2001", "-sf", self._files(UNAVAILABLE)["caller"], "-m", "1"),
        )
        await self._finish(1, refused=refused)
        await node.when(["offline"], draining)
        await self._finish(1, **sides)
        await self._back(node)

    async def _underLoss(self, bench: Bench, hosts: list[str]) -> str:
        """
        The same load, with packets to and from these addresses lost.
        """
        with Loss("loss", "5%", "delay", "20ms", "2ms", hosts=hosts) as loss:
            note = await self._load(bench, OWN_CALLER, OWN_CALLEE, True, 2 * CALLS)
            lost = loss.lost()
        expect(lost > 0, "no packet was lost")
        return f"{note}; {lost} packets lost"

    async def _load(
        self,
        bench: Bench,
        caller: tuple[str, str],
        callee: tuple[str, str],
        drain: bool = False,
        calls: int = CALLS,
    ) -> str:
        """
        Scenarios under load.

        @param caller: which, as SIPp's arguments; C{callee} likewise.
        @param drain: whether a server is drained, and comes back, meanwhile.
        """
        called = await self.callee(bench, *callee, "-m", str(calls))
        # It would send BYE right after the ACK, and one may overtake the other where they take two ways.
        calling = self.caller(bench, self._users(), *caller, "-d", "200", "-m", str(calls), "-r", str(RATE))
        note = ""
        if drain:
            node = (await self._servers())[0]
            await busy(node, (await node.status())["accepted"] + calls // 20)
            gone = await node.when(["offline"], await node.drain(why="for a run"))
            expect((gone["associations"], gone["forced"]) == (0, 0), f"the server went with {gone}")
            await self._back(node)
            expect(calling.status is None, "the load was over before the server was back")
            note = "none failed"
        await self._finish(calls, caller=calling, callee=called)
        return note


async def run(record: Record, transport: str) -> None:
    """
    Makes all scenarios with SIPp over one transport.
    """
    await Calls(record, transport).run()
