"""
What every store does; each store's tests bring it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.internet.defer import gatherResults
from zope.interface.verify import verifyObject

from sipgrace.controller.facts import (
    Kept,
    NodeRecord,
    OrderRecord,
    Outcome,
    Progress,
    RollingRecord,
    ScheduleRecord,
)
from sipgrace.controller.seams import IFleetStore
from sipgrace.errors import OrderRefused, StoreError


def anOrder(id: str, at: float, node: str = "server-102", outcome: Outcome = Outcome.SENT) -> OrderRecord:
    """
    An order as it is kept.
    """
    return OrderRecord(
        id=id,
        node=node,
        order={"kind": "drain", "why": 'disk "sda" — Zoë', "guard": 30.5, "back": None},
        who="alice",
        by="controller-120",
        at=at,
        outcome=outcome,
        boot="b1",
        number=7,
    )


def aRolling(id: str, at: float) -> RollingRecord:
    """
    A rolling maintenance as it is kept.
    """
    return RollingRecord(
        id=id,
        servers=["server-101", "server-102"],
        steps={"server-101": "done", "server-102": "waiting"},
        orders={"server-101": ["a", "b"], "server-102": []},
        values={"atOnce": 1, "settle": 10.0},
        who="alice",
        by="controller-120",
        at=at,
        progress=Progress.RUNNING,
    )


class StoreContract:
    """
    Mixed into a C{TestCase} that has C{makeStore()}: another store over the same data, not yet started.
    """

    async def opened(self: Any) -> Any:
        """
        A store that is open; closed when the test is over.
        """
        store = self.makeStore()
        await store.start()
        self.addCleanup(store.stop)
        return store

    async def reopened(self: Any, store: Any) -> Any:
        """
        The same after its process has ended in order and begun again.
        """
        await store.stop()
        return await self.opened()

    async def test_interface(self: Any) -> None:
        """
        It has all that a store has.
        """
        store = await self.opened()
        self.assertTrue(verifyObject(IFleetStore, store))
        await store.stop()
        await store.stop()

    async def test_notOpen(self: Any) -> None:
        """
        What is asked of a store that is not open fails with what stores fail with.
        """
        store = self.makeStore()
        with self.assertRaises(StoreError):
            await store.orders()
        with self.assertRaises(StoreError):
            await store.claim("default", "server-102", lambda claimed: "")

    async def test_empty(self: Any) -> None:
        """
        A new store holds nothing.
        """
        store = await self.opened()
        self.assertEqual(await store.orders(), [])
        self.assertEqual(await store.openOrders(), [])
        self.assertIsNone(await store.order("x"))
        self.assertEqual(await store.rollings(), [])
        self.assertEqual(await store.schedules(), [])
        self.assertEqual(await store.nodes(), [])
        self.assertEqual(await store.audit(), [])
        self.assertEqual(await store.reports(), [])
        self.assertEqual(await store.claims("default"), frozenset())
        self.assertEqual(await store.held(), [])

    async def test_orders(self: Any) -> None:
        """
        Orders come back as they were put, newest first, by pages and nodes, also from a store opened again.
        """
        store = await self.opened()
        a, b, c = anOrder("a", 1000.25), anOrder("b", 1001.5, "server-103"), anOrder("c", 1002.0)
        for record in (b, a, c):
            await store.putOrder(record)
        store = await self.reopened(store)
        self.assertEqual(await store.orders(), [c, b, a])
        self.assertEqual(await store.orders(limit=2), [c, b])
        self.assertEqual(await store.orders(before=1002.0), [b, a])
        self.assertEqual(await store.orders(limit=1, before=1001.5), [a])
        self.assertEqual(await store.orders(node="server-102"), [c, a])
        self.assertEqual(await store.orders(limit=1, before=1002.0, node="server-102"), [a])
        self.assertEqual(await store.orders(node="server-10"), [])
        self.assertEqual(await store.order("b"), b)

    async def test_openOrders(self: Any) -> None:
        """
        Orders are open until they have ended.
        """
        store = await self.opened()
        a, b, c = anOrder("a", 1000.0), anOrder("b", 1001.0, outcome=Outcome.QUEUED), anOrder("c", 1002.0)
        for record in (c, b, a):
            await store.putOrder(record)
        self.assertEqual(await store.openOrders(), [a, b, c])
        a = replace(a, outcome=Outcome.OBEYED)
        b = replace(b, outcome=Outcome.REFUSED, text="withdrawn", ended=1003.0)
        c = replace(c, outcome=Outcome.DONE, ended=1003.0, result={"forced": 0})
        for record in (a, b, c):
            await store.putOrder(record)
        store = await self.reopened(store)
        self.assertEqual(await store.openOrders(), [a])
        self.assertEqual(await store.orders(), [c, b, a])

    async def test_nodes(self: Any) -> None:
        """
        Nodes come back by name, as they were put last, until they are removed.
        """
        store = await self.opened()
        b = NodeRecord(name="b/1", role="server", group="core", labels={"site": "Zürich"}, seen=1000.25)
        a = NodeRecord(name="a", role="client")
        for record in (b, a, replace(a, seen=1001.0)):
            await store.putNode(record)
        store = await self.reopened(store)
        self.assertEqual(await store.nodes(), [replace(a, seen=1001.0), b])
        await store.removeNode("a")
        await store.removeNode("never")
        store = await self.reopened(store)
        self.assertEqual(await store.nodes(), [b])

    async def test_rollings(self: Any) -> None:
        """
        Rolling maintenances come back as they stood last.
        """
        store = await self.opened()
        first, second = aRolling("r1", 1000.0), aRolling("r2", 1001.0)
        await store.putRolling(second)
        await store.putRolling(first)
        first = replace(first, progress=Progress.TROUBLE, text="server-102: no", ended=1002.0)
        await store.putRolling(first)
        store = await self.reopened(store)
        self.assertEqual(await store.rollings(), [second, first])
        self.assertEqual(await store.rollings(limit=1), [second])

    async def test_schedules(self: Any) -> None:
        """
        Schedules are kept until they are removed.
        """
        store = await self.opened()
        common = {"what": "order", "values": {"node": "server-102"}, "who": "alice", "role": "operator"}
        once = ScheduleRecord(id="s1", at=2000.0, next=2000.0, **common)
        weekly = ScheduleRecord(id="s2", cron="0 3 * * SUN", zone="Europe/Berlin", next=2500.0, **common)
        await store.putSchedule(weekly)
        await store.putSchedule(once)
        weekly = replace(weekly, next=9000.0)
        await store.putSchedule(weekly)
        store = await self.reopened(store)
        self.assertEqual(await store.schedules(), [once, weekly])
        await store.removeSchedule("s1")
        await store.removeSchedule("s1")
        self.assertEqual(await store.schedules(), [weekly])

    async def test_audit(self: Any) -> None:
        """
        The audit log keeps all, newest first, also what was added in the same instant.
        """
        store = await self.opened()
        for number, at in enumerate((1000.0, 1001.0, 1001.0, 1002.0)):
            await store.addAudit({"at": at, "what": "order", "n": number})
        store = await self.reopened(store)
        self.assertEqual([facts["n"] for facts in await store.audit()], [3, 2, 1, 0])
        self.assertEqual([facts["n"] for facts in await store.audit(limit=2)], [3, 2])
        self.assertEqual(await store.audit(before=1001.0), [{"at": 1000.0, "what": "order", "n": 0}])

    async def test_reports(self: Any) -> None:
        """
        Reports come newest first; one that comes again takes the place of the former; the latest are kept.
        """
        store = await self.opened()
        await store.addReport("server-102", 1000.0, {"forced": 1})
        await store.addReport("server-103", 1001.0, {"forced": 2})
        await store.addReport("server-102", 1002.0, {"forced": 3})
        await store.addReport("server-102", 1002.0, {"forced": 4})
        store = await self.reopened(store)
        newest = {"node": "server-102", "at": 1002.0, "report": {"forced": 4}}
        found = await store.reports()
        self.assertEqual(found[0], newest)
        self.assertEqual([one["report"]["forced"] for one in found], [4, 2, 1])
        self.assertEqual([one["at"] for one in await store.reports("server-102")], [1002.0, 1000.0])
        self.assertEqual(await store.reports("server-102", limit=1), [newest])
        self.assertEqual(await store.reports("server-10"), [])

    async def test_reportsKept(self: Any) -> None:
        """
        Of each node the latest hundred reports are kept.
        """
        store = await self.opened()
        await store.addReport("server-103", 1.0, {})
        for number in range(103):
            await store.addReport("server-102", 1000.0 + number, {})
        found = await store.reports("server-102", limit=1000)
        self.assertEqual([one["at"] for one in found], [1102.0 - n for n in range(100)])
        self.assertEqual(len(await store.reports("server-103")), 1)

    async def pruned(self: Any, store: Any, kind: Kept, before: float, *spared: str) -> tuple[int, list[str]]:
        """
        Removes what is old, step by step.

        @return: how much, and the rolling maintenances of that age that stay.
        """
        removed, left, after = 0, [], ""
        while True:
            step = await store.prune(kind, before, after, spared)
            removed, after = removed + step.removed, step.after
            left += step.left
            if not after:
                return removed, left

    async def test_pruneOrders(self: Any) -> None:
        """
        Orders go that have come to their end long ago, whenever they were given; wherever they can be found.
        """
        store = await self.opened()
        old = replace(anOrder("old", 1000.0, outcome=Outcome.DONE), ended=1010.0)
        waiting = anOrder("waiting", 1001.0, outcome=Outcome.QUEUED)
        late = replace(anOrder("late", 1002.0, outcome=Outcome.FAILED), ended=2000.0)
        part = replace(anOrder("part", 1003.0, outcome=Outcome.DONE), ended=1010.0, rolling="r1")
        parted = replace(part, id="parted", at=1004.0, rolling="r2")
        undated = anOrder("undated", 1005.0, outcome=Outcome.REFUSED)
        new = replace(anOrder("new", 2000.0, outcome=Outcome.DONE), ended=2000.0)
        for record in (old, waiting, late, part, parted, undated, new):
            await store.putOrder(record)
        self.assertEqual(await self.pruned(store, Kept.ORDERS, 2000.0, "r1", "r3"), (3, []))
        store = await self.reopened(store)
        self.assertEqual(await store.orders(), [new, part, late, waiting])
        self.assertEqual(await store.orders(node="server-102"), [new, part, late, waiting])
        self.assertEqual(await store.openOrders(), [waiting])
        self.assertIsNone(await store.order("old"))
        self.assertEqual(await self.pruned(store, Kept.ORDERS, 2000.0, "r1"), (0, []))
        self.assertEqual(await self.pruned(store, Kept.ORDERS, 2001.0), (3, []))
        self.assertEqual(await store.orders(), [waiting])

    async def test_pruneRollings(self: Any) -> None:
        """
        So do rolling maintenances; those that have not ended stay, and are told of.
        """
        store = await self.opened()
        old = replace(aRolling("old", 1000.0), ended=1010.0)
        open_ = aRolling("open", 1001.0)
        late = replace(aRolling("late", 1002.0), ended=2000.0)
        new = aRolling("new", 2000.0)
        for record in (old, open_, late, new):
            await store.putRolling(record)
        self.assertEqual(await self.pruned(store, Kept.ROLLINGS, 2000.0), (1, ["open"]))
        self.assertEqual(await store.rollings(), [new, late, open_])
        self.assertEqual(await store.rollings(before=2000.0), [late, open_])
        self.assertEqual(await store.rollings(limit=1, before=2000.0), [late])

    async def test_pruneAudit(self: Any) -> None:
        """
        So do records of the audit log.
        """
        store = await self.opened()
        for number, at in enumerate((1000.0, 1001.0, 1001.0, 1002.0, 1003.0)):
            await store.addAudit({"at": at, "n": number})
        self.assertEqual(await store.aged(1002.0), 3)
        self.assertEqual(await self.pruned(store, Kept.AUDIT, 1002.0), (3, []))
        self.assertEqual((await store.aged(1002.0), await store.aged(1002.1)), (0, 1))
        self.assertEqual(await self.pruned(store, Kept.AUDIT, 1002.0), (0, []))
        store = await self.reopened(store)
        self.assertEqual([facts["n"] for facts in await store.audit()], [4, 3])
        await store.addAudit({"at": 1004.0, "n": 5})
        self.assertEqual([facts["n"] for facts in await store.audit()], [5, 4, 3])

    async def test_pruneMany(self: Any) -> None:
        """
        However much there is, one step is small, and all of them together leave out nothing.
        """
        store = await self.opened()
        many = 501
        writes = []
        for number in range(many):
            at = 1000.0 + number // 3
            writes.append(store.addAudit({"at": at, "n": number}))
            outcome, ended = (Outcome.SENT, None) if number % 10 == 0 else (Outcome.DONE, at)
            order = replace(anOrder(f"o{number:04}", at, outcome=outcome), ended=ended)
            writes.append(store.putOrder(order))
            rolling = aRolling(f"r{number:04}", at)
            writes.append(store.putRolling(replace(rolling, ended=ended)))
        await gatherResults(writes)
        for kind in Kept:
            step = await store.prune(kind, 5000.0)
            self.assertTrue(0 < step.removed <= 200, step)
            self.assertTrue(step.after)
        await self.pruned(store, Kept.ORDERS, 5000.0)
        _, left = await self.pruned(store, Kept.ROLLINGS, 5000.0)
        await self.pruned(store, Kept.AUDIT, 5000.0)
        stay = {f"{number:04}" for number in range(0, many, 10)}
        self.assertEqual({record.id[1:] for record in await store.openOrders()}, stay)
        self.assertEqual({record.id[1:] for record in await store.orders(limit=1000)}, stay)
        self.assertEqual({record.id[1:] for record in await store.rollings(limit=1000)}, stay)
        self.assertEqual({id[1:] for id in left}, stay)
        self.assertEqual(await store.audit(), [])

    async def test_turn(self: Any) -> None:
        """
        The turn to do that can be taken, left, and taken again.
        """
        store = await self.opened()
        await store.leaveTurn()
        self.assertIs(await store.takeTurn(), True)
        await store.leaveTurn()
        store = await self.reopened(store)
        self.assertIs(await store.takeTurn(), True)

    async def test_notJSON(self: Any) -> None:
        """
        What cannot be kept is refused, and nothing is.
        """
        store = await self.opened()
        with self.assertRaises(StoreError):
            await store.putOrder(replace(anOrder("a", 1.0), result=object()))
        with self.assertRaises(StoreError):
            await store.addReport("server-102", 1.0, {"x": float("nan")})
        with self.assertRaises(StoreError):
            await store.addAudit({"at": 1.0, "x": object()})
        self.assertEqual((await store.orders(), await store.reports(), await store.audit()), ([], [], []))

    async def test_claims(self: Any) -> None:
        """
        A claim is made where it is allowed, sees those made before, and may be made again.
        """
        store = await self.opened()
        seen: list[frozenset[str]] = []

        def one(claimed: frozenset[str]) -> str:
            seen.append(claimed)
            return "one is away already" if claimed else ""

        await store.claim("default", "server-102", one)
        await store.claim("default", "server-102", one)
        with self.assertRaises(OrderRefused) as caught:
            await store.claim("default", "server-103", one)
        self.assertEqual(str(caught.exception), "one is away already")
        await store.claim("other", "server-104", one)
        self.assertEqual(
            seen, [frozenset(), frozenset(), frozenset(("server-102",)), frozenset()]
        )
        self.assertEqual(await store.claims("default"), frozenset(("server-102",)))
        await store.release("default", "server-102")
        await store.release("default", "server-102")
        await store.claim("default", "server-103", one)
        self.assertEqual(await store.claims("default"), frozenset(("server-103",)))

    async def test_faultyRule(self: Any) -> None:
        """
        A rule that fails claims nothing, and keeps nobody else from claiming.
        """
        store = await self.opened()

        def faulty(claimed: frozenset[str]) -> str:
            raise ZeroDivisionError

        with self.assertRaises(ZeroDivisionError):
            await store.claim("default", "server-102", faulty)
        self.assertEqual(await store.claims("default"), frozenset())
        await store.claim("default", "server-103", lambda claimed: "")

    async def test_hold(self: Any) -> None:
        """
        A claim that is held lasts beyond the controller that made it.
        """
        store = await self.opened()
        await store.claim("default", "server-102", lambda claimed: "")
        await store.hold("default", "server-102")
        await store.hold("default", "server-102")
        with self.assertRaises(StoreError):
            await store.hold("default", "server-103")
        store = await self.reopened(store)
        self.assertEqual(await store.held(), [("default", "server-102", self.OWNER)])
        self.assertEqual(await store.claims("default"), frozenset(("server-102",)))
        # It may be claimed again, and is held still.
        await store.claim("default", "server-102", lambda claimed: "")
        self.assertEqual(await store.held(), [("default", "server-102", self.OWNER)])
        await store.release("default", "server-102")
        self.assertEqual((await store.held(), await store.claims("default")), ([], frozenset()))

    async def test_sameInstant(self: Any) -> None:
        """
        Of many claims at one instant as many succeed as there is room for, here for two.
        """
        store = await self.opened()

        def two(claimed: frozenset[str]) -> str:
            return "" if len(claimed) < 2 else "two are away already"

        claims = [store.claim("default", f"server-{n}", two) for n in range(100, 108)]
        for claim in claims:
            claim.addCallbacks(lambda _: "claimed", lambda failure: failure.type.__name__)
        done = await gatherResults(claims)
        self.assertEqual(sorted(done), ["OrderRefused"] * 6 + ["claimed"] * 2)
        self.assertEqual(len(await store.claims("default")), 2)
