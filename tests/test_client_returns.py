"""
How servers come back, and are skipped, over real associations.
"""

from __future__ import annotations

from sipgrace.lifecycle.authorization import Giver, Source
from sipgrace.lifecycle.orders import Kind
from tests.announced import until
from tests.scenarios.waiting import moment
from tests.sctppackets import MISSING
from tests.test_announce_sctp import Scenario

QUICK = "[probe]\ninterval = 0.1\nlongest = 0.2\n"


class Returning(Scenario):
    """
    Two servers that tell their clients in answers alone.
    """

    skip = MISSING

    async def away(self, returns: str) -> None:
        """
        Server 102 asks to be left alone for an hour, and changes its mind.
        """
        # By Retry-After alone: else the 180 of the call that rings may ask to hold back, by overload control.
        head = f'overload_control = false\nreturn = "{returns}"\n{QUICK}'
        client = await self.begin("in-answer", "subscribe = false\n", head)
        await self.ring()
        self.network.drain("server-102", guard=15.0, retryAfter=3600.0)
        link = client.links["server-102"]
        self.calls.start(0.01)
        await until(lambda: link.countdown > 3500, "the countdown")
        self.network.cancel("server-102")

    async def test_early(self) -> None:
        """
        A good test brings it back before its time.
        """
        await self.away("early")
        before = self.invites("server-102")
        await until(lambda: self.invites("server-102") > before + 3, "calls at server-102")
        await self.allAnswered()

    async def test_countdown(self) -> None:
        """
        Otherwise it stays away.
        """
        await self.away("countdown")
        before = self.invites("server-102")
        await moment(1.0)
        self.assertEqual(self.invites("server-102"), before)
        await self.allAnswered()

    async def test_skipped(self) -> None:
        """
        One that is skipped gets no calls until it is not any more, and none is lost.
        """
        client = await self.begin("in-answer", "subscribe = false\n", QUICK)
        element = client.element
        self.calls.start(0.01)
        await until(lambda: self.invites("server-102") > 3, "calls at server-102")
        giver = Giver(Source.SOCKET, "alice")
        await element.door.give(element.order(Kind.SKIP, "alice", server="server-102"), giver)
        # What has left already may still arrive.
        await moment(0.2)
        before = self.invites("server-102"), self.invites("server-104")
        await moment(0.5)
        self.assertEqual(self.invites("server-102"), before[0])
        self.assertGreater(self.invites("server-104"), before[1] + 5)
        self.assertTrue(client.links["server-102"].active)
        await element.door.give(element.order(Kind.UNSKIP, "alice", server="server-102"), giver)
        await until(lambda: self.invites("server-102") > before[0] + 3, "calls at server-102 again")
        await self.allAnswered()
