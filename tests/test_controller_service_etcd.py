"""
Two whole controllers with one etcd, and real servers that are linked to both.
"""

from __future__ import annotations

import itertools
from collections import Counter

from twisted.internet.defer import gatherResults

from sipgrace.errors import OrderRefused
from tests.etcdprocess import etcd, program
from tests.test_controller_service import ALICE, ControllerCase

_prefixes = itertools.count(1)

GROUP = """
[[groups]]
name = "default"
in_service = 1
"""


class Shared(ControllerCase):
    """
    One budget over two controllers.
    """

    timeout = 120
    if program() is None:
        skip = "there is no etcd: apt-get install etcd-server"

    def setUp(self) -> None:
        """
        An etcd that runs.
        """
        super().setUp()
        self.url = etcd().url
        self.prefix = f"/service-{next(_prefixes)}/"

    def text(self, text: str, name: str) -> str:
        """
        See L{ControllerCase}.
        """
        store = f'kind = "etcd"\nurls = ["{self.url}"]\nprefix = "{self.prefix}"'
        return text.replace(f'path = "{name}.sqlite"', store)

    async def test_lastTwo(self) -> None:
        """
        Both are ordered at the same instant to drain one of the last two servers each: not both obey. Each
        time one of them stays in service, and the other comes back.
        """
        a, b = await self.controller("controller-120", more=GROUP), await self.controller(
            "controller-121", more=GROUP
        )
        names = ("server-101", "server-102")
        servers = {name: await self.server(name, a, b) for name in names}
        for controller in (a, b):
            for name in names:
                await self.until(lambda c=controller, n=name: self.stands(c, n) == "serving")
        found: Counter[tuple[str, ...]] = Counter()
        for number in range(8):
            pairs = [(a, names[number % 2]), (b, names[1 - number % 2])]
            orders = [
                one.controller.order({"node": name, "kind": "drain", "then": "stay"}, ALICE)
                for one, name in pairs[:: 1 if number % 4 < 2 else -1]
            ]
            for order in orders:
                order.addCallbacks(
                    lambda record: "obeyed", lambda failure: failure.trap(OrderRefused) and "refused"
                )
            found[tuple(sorted(await gatherResults(orders)))] += 1
            away = [name for name, server in servers.items() if server.status()["state"] != "serving"]
            self.assertEqual(len(away), 1)
            await self.until(lambda n=away[0]: servers[n].status()["state"] == "offline")
            for controller in (a, b):
                await self.until(lambda c=controller, n=away[0]: self.stands(c, n) == "offline")
            # Either controller sees what either has ordered.
            await b.controller.order({"node": away[0], "kind": "resume"}, ALICE)
            for controller in (a, b):
                await self.until(lambda c=controller, n=away[0]: self.stands(c, n) == "serving")
            await self.until(lambda: not self.claimed(a, b))
        self.assertEqual(found, {("obeyed", "refused"): 8})
        records = await a.controller.orders(limit=1000)
        self.assertEqual(await b.controller.orders(limit=1000), records)
        outcomes = Counter(str(one.outcome) for one in records if one.order["kind"] == "drain")
        self.assertEqual(outcomes, {"done": 8, "refused": 8})

    def stands(self, controller: object, name: str) -> str:
        """
        The state of a server, as a controller sees it.
        """
        found: str = controller.fleet.member(name).state
        return found

    def claimed(self, *controllers: object) -> list[str]:
        """
        What any controller has claimed.
        """
        return [name for one in controllers for name in one.controller._claims.mine]
