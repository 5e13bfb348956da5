"""
A server in the path of calls leaves: whole calls between users of two clients, over real associations.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from sipgrace.control.remote import RemoteNode
from sipgrace.message.message import Request
from tests.scenarios.network import Network
from tests.scenarios.phones import Call, Phone, answer
from tests.scenarios.waiting import poll, reactor


class DialogTests(TestCase):
    """
    One server, whose guard covers whole calls; two clients, one user at each.
    """

    timeout = 90

    async def start(
        self, guard: float, margin: float, scope: str = "dialogs"
    ) -> tuple[Network, RemoteNode]:
        network = Network(self, guard=guard, margin=margin)
        self.caller = await Phone(self, "caller").listen(network.host)
        self.callee = await Phone(self, "callee", answer).listen(network.host)
        network.startServer(1, server=f'record_route = true\nscope = "{scope}"')
        for number, phone in ((1, self.caller), (2, self.callee)):
            network.startClient(number, f"sip:{network.host}:{phone.port}", servers=(1,))
        await network.ready()
        control = await network.control("server", 1)
        await control.watch()
        return network, control

    async def talking(self, network: Network) -> Call:
        """
        The two talk.
        """
        count = len(self.callee.rings)
        call = self.caller.call("2001", network.users(1))
        self.assertEqual((await call.done()).status, 200)
        await self.callee.until(lambda: self.callee.rings[count].acked, "ACK")
        return call

    def byes(self, phone: Phone) -> list[tuple[float, Request]]:
        """
        The BYEs that have come to a phone, each with its time.
        """
        return [
            (at, message)
            for at, message, _ in phone.received
            if isinstance(message, Request) and message.method == b"BYE"
        ]

    async def test_forced(self) -> None:
        """
        Two who talk on when the guard is near both get BYE with a Reason, each as if from the other, and
        their answers end the drain, before the settlement. Their clients have no association but the one.
        """
        network, control = await self.start(6, 2)
        call = await self.talking(network)
        before = await control.status()
        self.assertEqual([before[key] for key in ("setups", "dialogs", "associations")], [0, 1, 2])

        began = reactor.seconds()
        gone = await control.when(["offline"], await control.drain())
        ended = reactor.seconds() - began
        self.assertEqual((gone["change"], gone["aborted"]), ("offline", 0))
        for phone in (self.caller, self.callee):
            await phone.until(lambda phone=phone: self.byes(phone), "BYE")
        ring = self.callee.rings[0]
        for phone, ours, theirs in (
            (self.caller, call.invite.fromTag, ring.tag),
            (self.callee, ring.tag, call.invite.fromTag),
        ):
            ((at, bye),) = self.byes(phone)
            self.assertEqual((bye.toTag, bye.fromTag), (ours, theirs))
            self.assertEqual(bye.get(b"Reason"), b'SIP;cause=503;text="guard timer"')
            self.assertTrue(3 <= at - began < 4, at - began)
        self.assertTrue(3 <= ended < 4, ended)
        after = await control.status()
        self.assertEqual([after[key] for key in ("waiting", "forced")], [0, 1])
        network.check()

    async def test_hungUp(self) -> None:
        """
        Two calls hang up by themselves, one on either side, and then the drain is over, long before its
        guard.
        """
        network, control = await self.start(60, 2)
        first, second = await self.talking(network), await self.talking(network)
        number = await control.drain()
        self.assertEqual((await self.caller.call("2001", network.users(1)).done()).status, 503)
        await first.hangUp()

        async def oneLeft() -> bool:
            return bool((await control.status())["dialogs"] == 1)

        await poll(lambda: Deferred.fromCoroutine(oneLeft()), "one call left")
        began = reactor.seconds()
        ring = next(one for one in self.callee.rings if one.invite.callId == second.invite.callId)
        ring.hangUp()
        gone = await control.when(["offline"], number)
        self.assertLess(reactor.seconds() - began, 5)
        self.assertEqual(gone["change"], "offline")
        await self.caller.until(lambda: second.ended, "BYE")
        self.assertEqual([len(self.byes(phone)) for phone in (self.caller, self.callee)], [1, 1])
        self.assertEqual((await control.status())["forced"], 0)
        network.check()

    async def test_setups(self) -> None:
        """
        A server whose guard covers set-ups leaves at once. The two talk on, and hang up past it.
        """
        network, control = await self.start(20, 2, "setups")
        first, second = await self.talking(network), await self.talking(network)
        began = reactor.seconds()
        gone = await control.when(["offline"], await control.drain())
        self.assertLess(reactor.seconds() - began, 5)
        self.assertEqual(gone["forced"], 0)
        self.assertEqual([self.byes(phone) for phone in (self.caller, self.callee)], [[], []])
        await first.hangUp()
        ring = next(one for one in self.callee.rings if one.invite.callId == second.invite.callId)
        ring.hangUp()
        await self.caller.until(lambda: second.ended, "BYE")
        self.assertEqual([len(self.byes(phone)) for phone in (self.caller, self.callee)], [1, 1])

    async def test_cancelled(self) -> None:
        """
        A drain that is taken back leaves the two alone.
        """
        network, control = await self.start(3, 0.5)
        call = await self.talking(network)
        await control.drain()
        self.assertEqual((await control.order("cancel")).state, "serving")
        await network.clients[1].said("server-1 is active", 2)
        await self.talking(network)
        await call.hangUp()
        self.assertEqual((await control.status())["dialogs"], 1)
        self.assertEqual(len(self.byes(self.caller)), 0)
        network.check()
