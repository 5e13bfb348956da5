"""
Announcements between a server and a client in one process, over SCTP in userspace.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import LoopingCall
from twisted.trial.unittest import TestCase

from tests.announced import Network, moment, reactor, until
from tests.sctppackets import MISSING


class Announced(TestCase):
    """
    Two servers, one client, a call every 5 ms.
    """

    skip = MISSING
    timeout = 60

    def setUp(self) -> None:
        self.network = Network()
        self.calls = LoopingCall(self.call)

    async def tearDown(self) -> None:
        if self.calls.running:
            self.calls.stop()
        await self.network.stop()

    def call(self) -> None:
        caller = self.network.caller
        assert caller is not None
        caller.call()

    async def begin(self, announce: str) -> Any:
        """
        @return: the client, when both servers get calls and one call rings at server-102.
        """
        network = self.network
        for name in ("server-102", "server-104"):
            await network.server(name, announce)
        client = await network.start()
        await until(
            lambda: all(one["subscription"] == "Subscribed" for one in client.status()["servers"]),
            "both subscriptions",
        )
        assert network.caller is not None
        while not len(network.servers["server-102"].element.ledger):
            network.caller.call("ring")
            await until(lambda: network.callee.ringing, "a call that rings")
            if not len(network.servers["server-102"].element.ledger):
                network.callee.answer()
                network.callee.ringing.clear()
        self.calls.start(0.005)
        await until(
            lambda: all(len(times) > 10 for times in network.invites.values()), "calls at both servers"
        )
        return client

    async def test_broadcast(self) -> None:
        """
        No INVITE comes to a draining server later than 100 ms after its announcement; within a second of the
        cancel it gets some again; no call fails.
        """
        network = self.network
        client = await self.begin("broadcast")
        network.drain("server-102", guard=15.0, retryAfter=3600.0, back=None)
        drained = reactor.seconds()
        await moment(0.7)
        late = [time for time in network.invites["server-102"] if time > drained + 0.1]
        self.assertEqual(late, [])
        self.assertEqual(client.links["server-102"].status()["state"], "Counting")
        self.assertTrue(3590 < client.links["server-102"].countdown <= 3600)
        network.cancel("server-102")
        took = await until(
            lambda: network.invites["server-102"][-1] > drained + 0.5, "a call after the cancel"
        )
        self.assertTrue(took < 1.0, took)
        self.calls.stop()
        assert network.caller is not None
        answers, count = network.caller.answers, network.caller.count
        await until(lambda: len(answers) == count - 1, "all answers but of the one that rings")
        self.assertEqual(set(answers.values()), {200})
        network.callee.answer()
        await until(lambda: len(answers) == count, "the last answer")
