"""
A rolling maintenance by a whole controller, over real servers.
"""

from __future__ import annotations

from typing import Any

from sipgrace.controller.facts import Outcome, Progress
from sipgrace.controller.service import ControllerService
from tests.test_controller_service import ALICE, ControllerCase

NAMES = ("server-101", "server-102")

#: What is run in each server's maintenance, for its section C{[drain]}: it leaves a line.
MAINTENANCE = """
then = "run echo $SIPGRACE_SERVER $SIPGRACE_ORDER_ID >> {file}; exit {status}"
"""


class Rolling(ControllerCase):
    """
    Drain, maintenance, return, one server after another.
    """

    def maintained(self) -> list[str]:
        """
        Which servers were maintained, in order.
        """
        path = self.folder / "maintained"
        return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []

    async def network(self, *statuses: int) -> ControllerService:
        """
        A controller and two servers, whose maintenance ends so.
        """
        one = await self.controller(more='\n[[groups]]\nname = "default"\naway = 1\n')
        for name, status in zip(NAMES, statuses, strict=True):
            maintenance = MAINTENANCE.format(file=self.folder / "maintained", status=status)
            await self.server(name, one, orders=maintenance + self.keys())
        await self.until(lambda: not one.controller._claims.warming)
        return one

    async def ended(self, controller: ControllerService, *progress: Progress) -> Any:
        """
        Waits until it stands so.
        """
        found: list[Any] = []

        def look(records: list[Any]) -> None:
            found[:] = records

        def stands() -> bool:
            controller.controller.rollings().addCallback(look)
            return bool(found) and found[0].progress in progress

        await self.until(stands)
        return found[0]

    async def test_whole(self) -> None:
        """
        Each server is maintained once, and back. The controller ends in the middle and begins again.
        """
        one = await self.network(0, 0)
        begun = await one.controller.rolling({"select": {}, "settle": 0.3, "why": "kernel"}, ALICE)
        await self.until(self.maintained)
        port = self.port(one)
        await one.stopService()
        again = await self.controller(port=port, more='\n[[groups]]\nname = "default"\naway = 1\n')
        record = await self.ended(again, Progress.DONE, Progress.TROUBLE)
        self.assertEqual((record.id, record.progress, record.text), (begun.id, Progress.DONE, ""))
        self.assertEqual(self.maintained(), list(NAMES))
        orders = await again.controller.orders()
        drains = [order for order in orders if order.order["kind"] == "drain"]
        self.assertEqual([order.node for order in reversed(drains)], list(NAMES))
        for order in drains:
            self.assertEqual(order.outcome, Outcome.DONE)
            self.assertTrue(order.text.startswith("its maintenance: exit status 0"), order.text)
            self.assertEqual(order.rolling, begun.id)
        lines = (self.folder / "maintained").read_text().splitlines()
        self.assertEqual([line.split()[1] for line in lines], [order.id for order in reversed(drains)])

    async def test_trouble(self) -> None:
        """
        A maintenance that fails stops it, at that server.
        """
        one = await self.network(3, 0)
        await one.controller.rolling({"servers": list(NAMES), "settle": 0.1}, ALICE)
        record = await self.ended(one, Progress.DONE, Progress.TROUBLE)
        self.assertEqual(record.steps, {"server-101": "trouble", "server-102": "waiting"})
        self.assertTrue(record.text.startswith("server-101: its maintenance: exit status 3"), record.text)
        self.assertEqual(self.maintained(), ["server-101"])
        self.assertEqual(one.fleet.node("server-101")["state"], "offline")
        (report,) = await one.controller.reports("server-101")
        self.assertEqual(report["report"]["maintenance"]["exit_status"], 3)
