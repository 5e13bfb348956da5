"""
Where a client sends its calls, by each strategy, over real associations; and the TDM route that asks a
command.
"""

from __future__ import annotations

import stat
from signal import SIGKILL, SIGTERM

from twisted.trial.unittest import TestCase

from tests.scenarios.loss import BadNetwork
from tests.scenarios.network import Network
from tests.scenarios.phones import Phone, keepRinging


class StrategyTests(TestCase):
    """
    One client of three servers, and somebody to call.
    """

    timeout = 120

    async def start(
        self,
        strategy: str,
        server: dict[int, str] | None = None,
        more: str = "",
        network: Network | None = None,
    ) -> None:
        """
        @param server: further keys of each server, in the client's file.
        """
        self.network = network = network or Network(self)
        self.caller = await Phone(self, "caller").listen(network.host)
        self.callee = await Phone(self, "callee").listen(network.host)
        for number in (1, 2, 3):
            network.startServer(number)
        for number, phone in ((1, self.caller), (2, self.callee)):
            network.startClient(
                number,
                f"sip:{network.host}:{phone.port}",
                servers=(1, 2, 3),
                client=f'strategy = "{strategy}"' if number == 1 else "",
                server=server if number == 1 else None,
                more=more if number == 1 else "",
            )
        await network.ready()
        self.nodes = [await network.control("server", number) for number in (1, 2, 3)]

    async def accepted(self) -> list[int]:
        """
        @return: how many calls each server has had.
        """
        return [(await node.status())["accepted"] for node in self.nodes]

    async def call(self, times: int) -> list[int]:
        """
        Calls one after the other.

        @return: how many of them each server has had.
        """
        before = await self.accepted()
        for _ in range(times):
            call = self.caller.call("2001", self.network.users(1))
            self.assertEqual((await call.done()).status, 200)
        return [now - then for now, then in zip(await self.accepted(), before, strict=True)]

    async def test_roundRobin(self) -> None:
        await self.start("round-robin")
        self.assertEqual(await self.call(6), [2, 2, 2])
        self.network.check()

    async def test_primarySecondary(self) -> None:
        """
        All to the first; without it, all to the next.
        """
        await self.start("primary-secondary")
        self.assertEqual(await self.call(4), [4, 0, 0])
        self.network.servers[1].signal(SIGTERM)
        self.assertEqual(await self.network.servers[1].end(), 0)
        del self.nodes[0]
        self.assertEqual(await self.call(4), [4, 0])
        self.network.check()

    async def test_priority(self) -> None:
        """
        By location: in turn among the nearest.
        """
        await self.start("priority", {1: "cost = 90", 2: "cost = 10", 3: "cost = 10"})
        self.assertEqual(await self.call(6), [0, 3, 3])
        self.network.check()

    async def test_weighted(self) -> None:
        """
        By weights, at random; none to those without.
        """
        await self.start("weighted", {1: "weight = 9", 2: "weight = 1", 3: "weight = 0"})
        first, second, third = await self.call(60)
        self.assertEqual((first + second, third), (60, 0))
        # By chance this fails once in about 10^9 runs.
        self.assertGreater(first, second)
        self.network.check()

    async def test_leastLoaded(self) -> None:
        """
        Calls that ring count: the next goes where the fewest do.
        """
        await self.start("least-loaded")
        self.callee.ringing = keepRinging
        calls = [self.caller.call("2001", self.network.users(1)) for _ in range(6)]
        for call in calls:
            await call.has(180)
        self.assertEqual(await self.accepted(), [2, 2, 2])
        for call in calls:
            call.cancel()
            self.assertEqual((await call.done()).status, 487)
        self.network.check()

    async def test_latency(self) -> None:
        """
        To those that answer tests the soonest: not to those that are 100 ms away, and further than the rest.
        """
        network = BadNetwork(self, loss=0, delay=0.1, jitter=0, before=(1, 2))
        probe = "[probe]\ntimeout = 1\ninterval = 0.25\nlongest = 1\nevery = 0.5\n"
        await self.start("latency", more=probe, network=network)
        client = await network.control("client", 1)
        servers = (await client.status())["servers"]
        latencies = {server["name"]: server["latency"] for server in servers}
        self.assertGreater(min(latencies["server-1"], latencies["server-2"]), 0.2)
        self.assertLess(latencies["server-3"], 0.2)
        self.assertEqual(await self.call(6), [0, 0, 6])
        network.check()


class CommandTests(TestCase):
    """
    The TDM route that asks a command.
    """

    timeout = 120

    async def test_command(self) -> None:
        """
        When no server is there a command is told of the call, and says where it goes and as what.
        """
        network = Network(self, sctp=":rtoInitial=400:rtoMin=400:rtoMax=800:maxRetransmissions=2")
        caller = await Phone(self, "caller").listen(network.host)
        gateway = await Phone(self, "gateway").listen("127.0.0.1")
        told = network.directory / "told"
        command = network.directory / "tdm"
        command.write_text(
            f"#!/bin/sh\necho \"$SIPGRACE_URI\" >>{told}\necho sip:trunk@127.0.0.1:{gateway.port}\n",
            encoding="utf-8",
        )
        command.chmod(command.stat().st_mode | stat.S_IXUSR)
        network.startServer(1)
        more = f'[tdm]\ncommand = ["{command}"]\n'
        users = f"sip:{network.host}:{caller.port}"
        network.startClient(1, users, servers=(1,), more=more, client="response_period = 1")
        await network.ready()
        network.servers[1].signal(SIGKILL)
        await network.clients[1].said("server-1 is off the active list")
        call = caller.call("2001", network.users(1))
        self.assertEqual((await call.done()).status, 200)
        uri = b"sip:trunk@127.0.0.1:%d" % gateway.port
        self.assertEqual([ring.invite.uri for ring in gateway.rings], [uri])
        self.assertEqual(told.read_text(encoding="utf-8"), "sip:2001@example.org\n")
        network.check()
