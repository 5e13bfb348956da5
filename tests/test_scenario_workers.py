"""
A server whose traffic several processes share: calls over all of them, a drain, the death of one, and a front
that hangs or dies.
"""

from __future__ import annotations

import json
import os
import sys
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from sipgrace.errors import OrderRefused
from tests.scenarios.network import PORT, Network, busy
from tests.scenarios.phones import Phone, answerAfter, keepRinging
from tests.scenarios.processes import Process
from tests.scenarios.sipp import CALLS, caller, needsSIPp
from tests.scenarios.waiting import poll, reactor

#: The server's keys.
SHARED = "workers = 2"

#: So many source ports are enough for both workers to be met, but for once in 2**15.
PORTS = 16


class WorkersCase(TestCase):
    """
    Server 1 has two workers, server 2, where there is one, none.

    @cvar network: of what kind it is.
    """

    timeout = 180
    network = Network

    async def start(self, servers: tuple[int, ...] = (1, 2), guard: float = 3, more: str = "") -> Network:
        """
        Two clients with one user each; server 1 is met over UDP and TCP, too.
        """
        network = self.network(self, guard=guard)
        host = network.serverHost(1)
        self.caller = await Phone(self, "caller").listen(network.host)
        self.callee = await Phone(self, "callee").listen(network.host)
        for number in servers:
            listen = (f"udp:{PORT}:interface={host}", f"tcp:{PORT}:interface={host}")
            shared = {"more": more, "server": SHARED, "listen": listen}
            network.startServer(number, **(shared if number == 1 else {}))
        for number, phone in ((1, self.caller), (2, self.callee)):
            network.startClient(number, f"sip:{network.host}:{phone.port}", servers=servers)
        await network.ready()
        return network

    async def status(self, network: Network) -> dict[str, Any]:
        """
        How server 1 stands.
        """
        return await (await network.control("server", 1)).status()

    def rangOnce(self, calls: int) -> None:
        """
        So many calls have rung, each once.
        """
        self.assertEqual(self.callee.copies, [])
        rung = [ring.invite.callId for ring in self.callee.rings]
        self.assertEqual((len(rung), len(set(rung))), (calls, calls))

    async def refused(self, network: Network) -> None:
        """
        Calls from many ports are.
        """
        phones = [await Phone(self, "caller").listen(network.host) for _ in range(PORTS)]
        calls = [phone.call("2001", (network.serverHost(1), PORT)) for phone in phones]
        self.assertEqual({(await call.done()).status for call in calls}, {403})


class WorkersTests(WorkersCase):
    """
    Over SCTP in userspace, and UDP and TCP beside it.
    """

    async def test_spread(self) -> None:
        """
        Calls over UDP from many ports are spread over both workers. The association of the callee's client is
        in one of them, by way of which the other sends; and each answer finds its call. C{status} is one
        answer, with a row for each worker.
        """
        network = await self.start((1,))
        self.callee.ringing = answerAfter(0.05)
        phones = [await Phone(self, f"caller-{at}").listen(network.host) for at in range(PORTS)]
        calls = [phone.call("2001", (network.serverHost(1), PORT)) for phone in phones]
        for call in calls:
            self.assertEqual((await call.done()).status, 200)
        self.rangOnce(PORTS)

        async def told() -> bool:
            # 180 and 200 of each call that went by way of the other one were handed over.
            status = await self.status(network)
            return status["accepted"] == PORTS and sum(row["handed"] for row in status["workers"]) >= 2

        await poll(lambda: Deferred.fromCoroutine(told()), "what the workers have counted")
        status = await self.status(network)
        rows = status["workers"]
        self.assertEqual(
            [(row["number"], row["state"], row["starts"]) for row in rows], [(0, "up", 1), (1, "up", 1)]
        )
        self.assertEqual(sum(row["accepted"] for row in rows), PORTS)
        self.assertGreater(min(row["accepted"] for row in rows), 0)
        self.assertEqual(status["associations"], 2)
        self.assertEqual(status["clients"], {"client-1": 1, "client-2": 1})
        self.assertEqual(status["proxy"]["accepted"], PORTS)
        self.assertEqual(status["proxy"]["strayResponses"], 0)
        network.check()

    async def test_tcp(self) -> None:
        """
        Both workers accept at one listening TCP socket.
        """
        network = await self.start((1,))
        self.callee.ringing = answerAfter(0.05)
        for at in range(4):
            phone = Phone(self, f"caller-{at}")
            way = await phone.connect(
                f"tcp:host={network.serverHost(1)}:port={PORT}:bindAddress={network.host}"
            )
            self.assertEqual((await phone.call("2001", way).done()).status, 200)
        self.rangOnce(4)
        network.check()

    async def test_approval(self) -> None:
        """
        Clients that have another server approve of a drain, whichever workers have their associations.
        """
        network = await self.start(more="[orders]\nclients_approve = 2\n")
        server = await network.control("server", 1)
        await server.watch()
        await server.when(["offline"], await server.drain(why="new kernel"))
        # Where they have no other they do not.
        network.servers[2].signal(SIGKILL)
        for client in network.clients.values():
            await client.said("server-2 is off the active list")
        await server.when(["serving"], await server.resume())
        for client in network.clients.values():
            await client.said("server-1 is active", 2)
        await self.assertFailure(server.drain(why="new kernel"), OrderRefused)
        self.assertEqual((await server.status())["state"], "serving")

    async def test_clientsBack(self) -> None:
        """
        One server after another: who waits for the first to return waits for both clients, whichever workers
        have their associations; then the second can leave, and no call is lost.
        """
        network = await self.start()
        first, second = [await network.control("server", number) for number in (1, 2)]
        for node in (first, second):
            await node.watch()
        await first.when(["offline"], await first.drain())
        # Client 2 does not come before it may.
        network.clients[2].signal(SIGSTOP)
        socket = str(network.socket("server", 1))
        words = ("-m", "sipgrace.commands.main", "resume", "--wait", "--socket", socket)
        resumed = Process(self, "resume", sys.executable, *words)
        await resumed.said("server-1: serving, waits for .*client-2")
        await network.clients[1].said("server-1 is active", 2)

        async def one() -> bool:
            return (await self.status(network))["awaited"] == ["client-2"]

        await poll(lambda: Deferred.fromCoroutine(one()), "client 1")
        self.assertEqual(resumed.every("serving after"), [])
        network.clients[2].signal(SIGCONT)
        self.assertEqual(await resumed.end(), 0)
        self.assertEqual(len(resumed.every(r"server-1: serving after [\d.]+ s\n")), 1)
        status = await self.status(network)
        self.assertEqual((status["awaited"], status["missing"]), ([], []))
        await second.when(["offline"], await second.drain())
        self.assertEqual((await self.caller.call("2001", network.users(1)).done()).status, 200)
        self.rangOnce(1)
        network.check()

    async def test_rejects(self) -> None:
        """
        A rule that is ordered holds in all workers, and in one that has been started again.
        """
        network = await self.start((1,))
        server = await network.control("server", 1)
        rule = {"name": "two", "status": 403, "destination": {"prefix": "2"}}
        await server.order("reject", rule=json.dumps(rule))
        await self.refused(network)
        victim = (await server.status())["workers"][0]
        os.kill(victim["pid"], SIGKILL)
        await network.servers[1].said("worker 0 serves")
        await self.refused(network)
        self.assertEqual([one["name"] for one in (await server.status())["rejects"]], ["two"])

    async def test_drainUnderLoad(self) -> None:
        """
        A drain in the middle of load is one drain: no call is lost, none is settled by force, and all
        associations of both workers have gone before it is offline. It comes back, and takes calls again.
        """
        needsSIPp()
        network = await self.start()
        self.callee.ringing = answerAfter(0.3)
        server = await network.control("server", 1)
        await server.watch()
        calling = caller(self, network, "udp", 7110, 1, "2001")
        await busy(server, CALLS // 8)
        gone = await server.when(["offline"], await server.drain(why="for a test"))
        self.assertEqual((gone["change"], gone["associations"], gone["forced"]), ("offline", 0, 0))
        self.assertEqual(gone["waiting"], 0)
        before = await server.status()
        self.assertEqual(before["accepted"], before["settled"])
        await server.when(["serving"], await server.resume())
        self.assertEqual(await calling.end(100), 0, calling.story())
        outcome = calling.outcome()
        self.assertEqual((outcome.successful, outcome.failed), (CALLS, 0), calling.story())
        self.rangOnce(CALLS)
        for client in network.clients.values():
            await client.said("server-1 is active", 2)
        self.assertEqual([row["starts"] for row in (await server.status())["workers"]], [1, 1])
        network.check()

    async def test_killedUnderLoad(self) -> None:
        """
        The worker that has the calls of client 1 is killed in the middle of load. The calls that it was
        setting up are set up by the other server; the worker is back at once, and what it had counted stays
        in the sums.
        """
        needsSIPp()
        network = await self.start()
        self.callee.ringing = answerAfter(0.3)
        calling = caller(self, network, "udp", 7110, 1, "2001")
        server = await network.control("server", 1)
        await busy(server, CALLS // 8)
        status = await server.status()
        victim = max(status["workers"], key=lambda row: int(row["accepted"]))
        os.kill(victim["pid"], SIGKILL)
        await network.servers[1].said(f"worker {victim['number']} has ended")
        await network.servers[1].said(f"worker {victim['number']} serves")
        self.assertEqual(await calling.end(100), 0, calling.story())
        outcome = calling.outcome()
        self.assertEqual((outcome.successful, outcome.failed), (CALLS, 0), calling.story())
        self.assertEqual(len({ring.invite.callId for ring in self.callee.rings}), CALLS)
        await network.clients[1].said("server-1 is active", 2)
        status = await server.status()
        row = status["workers"][victim["number"]]
        self.assertEqual((row["state"], row["starts"]), ("up", 2))
        self.assertNotEqual(row["pid"], victim["pid"])
        self.assertGreaterEqual(status["accepted"], victim["accepted"])
        self.assertEqual(status["state"], "serving")
        # It can leave as if nothing had been.
        network.servers[1].signal(SIGTERM)
        self.assertEqual(await network.servers[1].end(), 0)

    async def test_killedInDrain(self) -> None:
        """
        A worker that dies in a drain is not restarted: its calls are counted as lost, and the drain ends.
        """
        network = await self.start((1,), guard=20)
        self.callee.ringing = keepRinging
        call = self.caller.call("2001", network.users(1))
        await call.has(180)
        server = await network.control("server", 1)
        await server.watch()

        async def known() -> bool:
            return bool((await server.status())["waiting"])

        await poll(lambda: Deferred.fromCoroutine(known()), "the call")
        number = await server.drain(why="for a test")
        victim = next(row for row in (await server.status())["workers"] if row["waiting"])
        os.kill(victim["pid"], SIGKILL)
        gone = await server.when(["offline"], number)
        self.assertEqual((gone["waiting"], gone["associations"]), (0, 0))
        row = (await server.status())["workers"][victim["number"]]
        self.assertEqual((row["state"], row["starts"]), ("gone", 1))
        await server.when(["serving"], await server.resume())
        row = (await server.status())["workers"][victim["number"]]
        self.assertEqual((row["state"], row["starts"]), ("up", 2))

    async def test_frontHangs(self) -> None:
        """
        The front hangs in a drain: the workers keep the guard by themselves.
        """
        network = await self.start((1,), guard=4)
        self.callee.ringing = keepRinging
        call = self.caller.call("2001", network.users(1))
        await call.has(180)
        server = await network.control("server", 1)
        await server.drain(why="for a test")
        began = reactor.seconds()
        # The workers know of it.
        self.assertEqual((await self.caller.call("2001", network.users(1)).done()).status, 503)
        network.servers[1].signal(SIGSTOP)
        self.assertEqual((await call.done()).status, 503)
        self.assertTrue(2.0 < reactor.seconds() - began < 5.5, reactor.seconds() - began)
        await network.clients[1].said("server-1 is off the active list")
        network.servers[1].signal(SIGCONT)
        await network.servers[1].said("lifecycle: offline")

    async def test_workerHangs(self) -> None:
        """
        A worker hangs in a drain: the front ends it at the guard.
        """
        network = await self.start((1,), guard=3)
        server = await network.control("server", 1)
        await server.watch()
        victim = (await server.status())["workers"][1]
        os.kill(victim["pid"], SIGSTOP)
        began = reactor.seconds()
        await server.when(["offline"], await server.drain(why="for a test"))
        self.assertLess(reactor.seconds() - began, 6)

    async def test_frontDies(self) -> None:
        """
        The workers end with the front, however that ends.
        """
        network = await self.start((1,))
        pids = [row["pid"] for row in (await self.status(network))["workers"]]
        network.servers[1].signal(SIGKILL)
        self.assertEqual(await network.servers[1].end(), -SIGKILL)

        def gone() -> bool:
            return not any(os.path.exists(f"/proc/{pid}/cmdline") and _runs(pid) for pid in pids)

        await poll(gone, "the end of the workers")


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
