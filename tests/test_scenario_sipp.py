"""
Calls of SIPp through client, server and client, each a process of its own, over SCTP in userspace.
"""

from __future__ import annotations

from signal import SIGTERM, SIGUSR1

from twisted.trial.unittest import TestCase

from tests.scenarios.network import Network, busy
from tests.scenarios.sipp import CALLS, Outcome, SIPp, callee, caller, needsSIPp
from tests.scenarios.waiting import poll

#: Ports on an address of the test's own.
CALLER, CALLEE = 7110, 7112

#: More calls than a test makes: it is told when to stop.
ENDLESS = 1_000_000

#: Seconds that all calls may take.
LONGEST = 250


class SIPpTests(TestCase):
    """
    None of many calls fails.
    """

    timeout = 300

    def setUp(self) -> None:
        needsSIPp()

    async def start(self, transport: str, own: bool, calls: int) -> tuple[Network, SIPp]:
        """
        Two servers, two clients, and somebody to call.

        @param own: whether the callee follows the route set.
        @param calls: the most calls that the callee takes.
        """
        network = Network(self, guard=3)
        for number in (1, 2):
            network.startServer(number)
        network.startClient(1, f"sip:{network.host}:{CALLER};transport={transport}")
        network.startClient(2, f"sip:{network.host}:{CALLEE};transport={transport}")
        called = await callee(self, network, transport, CALLEE, calls, own=own)
        await network.ready()
        return network, called

    async def finish(self, network: Network, calling: SIPp, called: SIPp) -> Outcome:
        """
        Both sides have had all calls, and none failed; no process has made a mistake, and all end well.
        """
        self.assertEqual(await called.end(), 0, called.story())
        outcome = calling.outcome()
        self.assertEqual((outcome.successful, outcome.failed), (outcome.created, 0), calling.story())
        other = called.outcome()
        self.assertEqual((other.successful, other.failed), (outcome.created, 0), called.story())
        for server in network.servers.values():
            server.signal(SIGTERM)
        for server in network.servers.values():
            self.assertEqual(await server.end(), 0, server.story())
        for role in (*network.servers.values(), *network.clients.values()):
            self.assertEqual(role.warnings(), [], role.name)
        return outcome

    async def steady(self, transport: str, own: bool) -> None:
        """
        Nothing happens but calls.
        """
        network, called = await self.start(transport, own, CALLS)
        calling = caller(self, network, transport, CALLER, 1, "2001", own=own)
        self.assertEqual(await calling.end(LONGEST), 0, calling.story())
        accepted = []
        for number in network.servers:
            accepted.append((await (await network.control("server", number)).status())["accepted"])
        if own:
            # Turn by turn, and the INVITE alone: the rest takes the route set, past the servers.
            self.assertEqual(accepted, [CALLS // 2, CALLS // 2])
        else:
            self.assertEqual(sum(accepted), 2 * CALLS)
        outcome = await self.finish(network, calling, called)
        self.assertEqual(outcome.created, CALLS)

    async def drain(self, transport: str, own: bool) -> None:
        """
        One of two servers is drained under load, and comes back while the load goes on.
        """
        network, called = await self.start(transport, own, ENDLESS)
        server = await network.control("server", 1)
        await server.watch()
        calling = caller(self, network, transport, CALLER, 1, "2001", ENDLESS, own=own)
        await busy(server, CALLS // 20)
        gone = await server.when(["offline"], await server.drain(why="for a test"))
        self.assertEqual((gone["change"], gone["associations"], gone["forced"]), ("offline", 0, 0))
        before = (await server.status())["accepted"]
        back = await server.when(["serving"], await server.resume())
        self.assertEqual(back["change"], "serving")
        for client in network.clients.values():
            await client.said("server-1 is active", 2)
        await busy(server, before + 1)
        await poll(lambda: calling.outcome().created >= CALLS, f"{CALLS} calls", LONGEST)
        calling.signal(SIGUSR1)
        self.assertEqual(await calling.end(), 0, calling.story())
        called.signal(SIGUSR1)
        await self.finish(network, calling, called)

    async def test_udp(self) -> None:
        """
        UDP on both interfaces, callers and callees that follow the route set.
        """
        await self.steady("udp", True)

    async def test_tcp(self) -> None:
        """
        TCP on both interfaces, SIPp's own scenarios, which know no route set: all requests go through a
        server.
        """
        await self.steady("tcp", False)

    async def test_udpDrain(self) -> None:
        """
        UDP, while a server drains.
        """
        await self.drain("udp", True)

    async def test_tcpDrain(self) -> None:
        """
        TCP, while a server drains.
        """
        await self.drain("tcp", True)

    async def test_udpDrainWithoutRoutes(self) -> None:
        """
        SIPp's own scenarios, while a server drains.
        """
        await self.drain("udp", False)
