"""
Calls through client, server and client that end otherwise than by an answer, and a client that leaves.
"""

from __future__ import annotations

from signal import SIGTERM

from twisted.trial.unittest import TestCase

from tests.scenarios.network import Network
from tests.scenarios.phones import Phone, Ring, answerAfter, keepRinging
from tests.scenarios.waiting import reactor


class CallTests(TestCase):
    """
    Two servers, two clients, one user at each.
    """

    timeout = 90

    async def setUp(self) -> None:
        self.network = network = Network(self)
        self.caller = await Phone(self, "caller").listen(network.host)
        self.callee = await Phone(self, "callee", keepRinging).listen(network.host)
        for number in (1, 2):
            network.startServer(number)
        for number, phone in ((1, self.caller), (2, self.callee)):
            network.startClient(number, f"sip:{network.host}:{phone.port}")
        await network.ready()

    async def test_unanswered(self) -> None:
        """
        A caller who gives up, a callee who is busy or declines, and a number that nobody has: each final
        response comes through as it is, no other server is tried, and nothing is left in any ledger.
        """
        users = self.network.users(1)
        call = self.caller.call("2001", users)
        await call.has(180)
        call.cancel()
        self.assertEqual((await call.done()).status, 487)
        self.assertIsNotNone(self.callee.rings[0].cancelledAt)
        for status in (486, 603):

            def refuse(ring: Ring, status: int = status) -> None:
                ring.respond(status)

            self.callee.ringing = refuse
            self.assertEqual((await self.caller.call("2001", users).done()).status, status)
        self.assertEqual((await self.caller.call("5001", users).done()).status, 404)
        self.assertEqual(len(self.callee.rings), 3)
        await self.callee.until(lambda: all(ring.acked for ring in self.callee.rings), "ACK")
        for role, number in (("server", 1), ("server", 2), ("client", 2)):
            status = (await (await self.network.control(role, number)).status())["waiting"]
            self.assertEqual(status, 0, (role, number))
        client = await (await self.network.control("client", 1)).status()
        self.assertEqual(client["reroutes"], 0)
        self.network.check()

    async def test_clientLeaves(self) -> None:
        """
        The callee's client is told to leave while a call rings: that is answered, new ones are not taken, and
        the process ends with status 0 as soon as there is nothing left to do.
        """
        self.callee.ringing = answerAfter(1)
        call = self.caller.call("2001", self.network.users(1))
        await call.has(180)
        leaving = self.network.clients[2]
        began = reactor.seconds()
        leaving.signal(SIGTERM)
        await leaving.said("lifecycle: draining")
        self.assertEqual((await self.caller.call("2001", self.network.users(1)).done()).status // 100, 5)
        self.assertEqual((await call.done()).status, 200)
        self.assertEqual(await leaving.end(), 0)
        self.assertLess(reactor.seconds() - began, 15, "it waited for its guard")
        self.assertEqual(len(self.callee.rings), 1)
        self.network.check()
