"""
The store of several controllers, with a real etcd.
"""

from __future__ import annotations

import itertools
import json
from base64 import b64decode
from collections import Counter
from dataclasses import replace
from typing import Any

from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import Agent, HTTPConnectionPool

from sipgrace.controller.budget import Budget
from sipgrace.controller.controller import Controller
from sipgrace.controller.facts import Kept, Outcome, Pruned
from sipgrace.controller.fleet import Fleet
from sipgrace.controller.store.etcd import EtcdStore
from sipgrace.controller.store.etcdkeys import beyond, timed
from sipgrace.controller.store.gateway import Gateway, isNew, put
from sipgrace.errors import OrderRefused, StoreError
from tests.etcdprocess import Etcd, etcd, program
from tests.fleetfakes import SimulatedNode, signer
from tests.scenarios.waiting import poll
from tests.storecontract import StoreContract, anOrder, aRolling
from tests.test_controller_orders import ALICE

_prefixes = itertools.count(1)


class EtcdCase(TestCase):
    """
    Stores under a prefix of their own.
    """

    timeout = 120
    maxDiff = None
    if program() is None:
        skip = "there is no etcd: apt-get install etcd-server"

    def setUp(self) -> None:
        """
        An etcd that runs.
        """
        self.etcd: Etcd = etcd()
        self.prefix = f"/test-{next(_prefixes)}/"
        self.pool = HTTPConnectionPool(reactor)
        self.client = HTTPClient(Agent(reactor, pool=self.pool))
        self.addCleanup(self.pool.closeCachedConnections)

    def store(self, name: str = "controller-120", lease: int = 15, urls: Any = None) -> EtcdStore:
        """
        A controller's store, not yet started.
        """
        return EtcdStore(name, reactor, self.client, urls or [self.etcd.url], self.prefix, lease)

    async def started(self, *args: Any, **kw: Any) -> EtcdStore:
        """
        The same, started, and stopped when the test is over.
        """
        store = self.store(*args, **kw)
        await store.start()
        self.addCleanup(store.stop)
        return store

    def later(self, seconds: float) -> Deferred[None]:
        """
        Time passes, since it does so at etcd.
        """
        return deferLater(reactor, seconds)


class Contract(StoreContract, EtcdCase):
    """
    What every store does.
    """

    OWNER = "controller-120"

    def makeStore(self) -> EtcdStore:
        """
        See L{StoreContract}.
        """
        return self.store()


def one(claimed: frozenset[str]) -> str:
    """
    At most one is away.
    """
    return "one is away already" if claimed else ""


class Shared(EtcdCase):
    """
    Several controllers with one etcd.
    """

    async def test_seen(self) -> None:
        """
        What one writes, the other reads.
        """
        a, b = await self.started("controller-120"), await self.started("controller-121")
        self.assertTrue(a.shared)
        record = anOrder("a", 1000.0, "server/with?odd name")
        await a.putOrder(record)
        await b.putOrder(anOrder("b", 1001.0))
        self.assertEqual([found.id for found in await a.orders()], ["b", "a"])
        self.assertEqual(await b.orders(node="server/with?odd name"), [record])
        await a.addAudit({"at": 1.0, "by": "a"})
        await b.addAudit({"at": 1.0, "by": "b"})
        self.assertEqual({facts["by"] for facts in await a.audit()}, {"a", "b"})

    async def test_pruneTurn(self) -> None:
        """
        One of them at a time removes what is old; when it has ended, another can.
        """
        a, b = await self.started("controller-120"), await self.started("controller-121", lease=1)
        self.assertEqual([await b.takeTurn(), await a.takeTurn(), await b.takeTurn()], [True, False, False])
        await a.leaveTurn()
        self.assertIs(await a.takeTurn(), False)
        await b.stop()
        self.assertIs(await a.takeTurn(), True)

    async def test_pruneChanged(self) -> None:
        """
        What another changes in the moment in which it would be removed stays.
        """
        a, b = await self.started("controller-120"), await self.started("controller-121")
        order = replace(anOrder("a", 1000.0, outcome=Outcome.DONE), ended=1001.0)
        rolling = replace(aRolling("r", 1000.0), ended=1001.0)
        await a.putOrder(order)
        await a.putRolling(rolling)
        changed = replace(order, result={"forced": 0})
        transact = a._gateway.transact

        async def late(*parts: Any, when: Any = ()) -> Any:
            await b.putOrder(changed)
            await b.putRolling(replace(rolling, text="again"))
            return await transact(*parts, when=when)

        a._gateway.transact = late
        for kind in (Kept.ORDERS, Kept.ROLLINGS):
            self.assertEqual((await a.prune(kind, 2000.0)).removed, 0)
        del a._gateway.transact
        self.assertEqual(await a.orders(), [changed])
        self.assertEqual([record.text for record in await a.rollings()], ["again"])
        for kind in (Kept.ORDERS, Kept.ROLLINGS):
            self.assertEqual((await a.prune(kind, 2000.0)).removed, 1)

    async def test_pruneWhole(self) -> None:
        """
        Nothing of an order is left behind; what cannot be read keeps nothing else from going.
        """
        store = await self.started("controller-120")
        await store.putOrder(replace(anOrder("a/b", 1000.0, outcome=Outcome.DONE), ended=1001.0))
        await store._gateway.transact(put(f"{self.prefix}orders/{timed(1.0)}/x", "no"))
        self.assertEqual(await store.prune(Kept.ORDERS, 2000.0), Pruned(1))
        left = await store._gateway.read(self.prefix, beyond(self.prefix))
        self.assertEqual([found.value for found in left], [b"no"])

    async def test_sameInstant(self) -> None:
        """
        Both claim at the same instant, again and again: one of them has it, never both, never none.
        """
        a, b = await self.started("controller-120"), await self.started("controller-121")
        won: Counter[str] = Counter()
        for number in range(60):
            group = f"group-{number}"
            # Whoever asks first is not always the first.
            pair = [(a, "server-101"), (b, "server-102")][:: 1 if number % 2 else -1]
            claims = [store.claim(group, server, one) for store, server in pair]
            for claim in claims:
                claim.addCallbacks(lambda _: True, lambda failure: failure.trap(OrderRefused) and False)
            self.assertEqual(sorted(await gatherResults(claims)), [False, True], group)
            (claimed,) = await a.claims(group)
            won[claimed] += 1
        self.assertEqual(won.total(), 60)

    async def test_manyAtOnce(self) -> None:
        """
        Five controllers claim eight servers each at one instant where two may be away: two are.
        """
        stores = [await self.started(f"controller-{n}") for n in range(5)]

        def two(claimed: frozenset[str]) -> str:
            return "" if len(claimed) < 2 else "two are away already"

        asked = itertools.product(range(8), enumerate(stores))
        claims = [store.claim("default", f"server-{at}-{n}", two) for n, (at, store) in asked]
        for claim in claims:
            claim.addCallbacks(lambda _: 1, lambda failure: failure.trap(OrderRefused) and 0)
        self.assertEqual(sum(await gatherResults(claims)), 2)
        self.assertEqual(len(await stores[0].claims("default")), 2)

    async def test_controllersAtOnce(self) -> None:
        """
        Two controllers are ordered at the same instant to drain the last two servers, many times: not both
        succeed.
        """
        clock = Clock()
        clock.advance(1_000_000.0)
        outcomes: Counter[tuple[str, ...]] = Counter()
        for number in range(25):
            self.prefix = f"/test-{next(_prefixes)}/"
            nodes = [SimulatedNode(clock, name) for name in ("server-101", "server-102")]
            for node in nodes:
                node.takes = None
            controllers = []
            for name in ("controller-120", "controller-121"):
                fleet = Fleet(clock.seconds)
                controllers.append(
                    Controller(
                        name,
                        clock,
                        fleet,
                        self.store(name),
                        signer,
                        [Budget(group="default", inService=1)],
                        wallClock=clock.seconds,
                    )
                )
                await controllers[-1].start()
            for controller, node in zip(controllers, nodes, strict=True):
                # Each believes that the other's server serves, and goes on doing so.
                other = nodes[1 - nodes.index(node)]
                SimulatedNode(clock, other.name).connect(controller.fleet)
                node.connect(controller.fleet)
            pairs = list(zip(controllers, nodes, strict=True))[:: 1 if number % 2 else -1]
            orders = [
                controller.order({"node": node.name, "kind": "drain"}, ALICE) for controller, node in pairs
            ]
            for order in orders:
                order.addCallbacks(
                    lambda record: str(record.outcome),
                    lambda failure: failure.trap(OrderRefused) and "refused",
                )
            outcomes[tuple(sorted(await gatherResults(orders)))] += 1
            self.assertEqual(sum(len(node.obeyed) for node in nodes), 1)
            for controller in controllers:
                await controller.stop()
        self.assertEqual(outcomes, {("obeyed", "refused"): 25})

    async def test_others(self) -> None:
        """
        What another has claimed may be claimed along with it, and is claimed until both have released it.
        """
        a, b = await self.started("controller-120"), await self.started("controller-121")
        await a.claim("default", "server-102", one)
        await b.claim("default", "server-102", one)
        await a.hold("default", "server-102")
        await b.hold("default", "server-102")
        both = [("default", "server-102", "controller-120"), ("default", "server-102", "controller-121")]
        self.assertEqual(await b.held(), both)
        await a.release("default", "server-102")
        self.assertEqual(await a.claims("default"), frozenset(("server-102",)))
        with self.assertRaises(OrderRefused):
            await a.claim("default", "server-101", one)
        await a.release("default", "server-102", "controller-121")
        self.assertEqual(await a.claims("default"), frozenset())

    async def test_busyGroup(self) -> None:
        """
        Where others claim all the time, it ends with a reason.
        """
        a = await self.started("controller-120")
        others = itertools.count(1)

        async def claim() -> None:
            original = a._claims._take

            async def late(*args: Any) -> bool:
                await a._gateway.transact(put(a._key("group", "default"), str(next(others))))
                return await original(*args)

            a._claims._take = late
            await a.claim("default", "server-102", one)

        with self.assertRaises(StoreError) as caught:
            await claim()
        self.assertIn("others claim in the group default all the time", str(caught.exception))
        self.assertEqual(await a.claims("default"), frozenset())


class Leases(EtcdCase):
    """
    What becomes of claims when a controller does not come back, or cannot be reached by etcd.
    """

    async def gone(self, store: EtcdStore) -> None:
        """
        Waits until nothing is claimed.
        """
        for _ in range(300):
            if not await store.claims("default"):
                return
            await self.later(0.1)
        self.fail("the claim is there still")

    async def test_controllerDies(self) -> None:
        """
        A claim that was not held goes with the controller; one that was stays.
        """
        a, b = await self.started("controller-120", lease=2), await self.started("controller-121")
        await a.claim("other", "server-103", one)
        await a.hold("other", "server-103")
        await a.claim("default", "server-102", one)
        with self.assertRaises(OrderRefused):
            await b.claim("default", "server-101", one)
        # It dies: nobody keeps the lease alive.
        a._lease.stop()
        a._open = False
        await self.gone(b)
        await b.claim("default", "server-101", one)
        self.assertEqual(await b.held(), [("other", "server-103", "controller-120")])

    async def test_keptAlive(self) -> None:
        """
        As long as the controller lives, its claims do.
        """
        a = await self.started("controller-120", lease=2)
        await a.claim("default", "server-102", one)
        await self.later(4.5)
        self.assertEqual(await a.claims("default"), frozenset(("server-102",)))
        await a.hold("default", "server-102")

    async def test_stopped(self) -> None:
        """
        At an orderly end they go at once.
        """
        a, b = await self.started("controller-120"), await self.started("controller-121")
        await a.claim("default", "server-102", one)
        await a.stop()
        self.assertEqual(await b.claims("default"), frozenset())

    async def test_lostBeforeHeld(self) -> None:
        """
        A claim whose lease has ended cannot be held, so that nothing is sent under it; the next claim takes a
        new lease.
        """
        a, b = await self.started("controller-120"), await self.started("controller-121")
        await a.claim("default", "server-102", one)
        await b._gateway.revoke(a._lease.number)
        await b.claim("default", "server-101", one)
        with self.assertRaises(StoreError) as caught:
            await a.hold("default", "server-102")
        self.assertIn("the claim of server-102 has gone meanwhile", str(caught.exception))
        with self.assertRaises(OrderRefused):
            await a.claim("default", "server-102", one)
        await b.release("default", "server-101")
        await a.claim("default", "server-102", one)
        await a.hold("default", "server-102")

    async def test_noticed(self) -> None:
        """
        A lease that has ended is noticed when it is to be kept alive.
        """
        a, b = await self.started("controller-120", lease=2), await self.started("controller-121")
        await b._gateway.revoke(a._lease.number)
        await poll(lambda: a._lease.number == 0, "the end of the lease")
        await a.claim("default", "server-102", one)
        self.assertNotEqual(a._lease.number, 0)

    async def test_orderNotSent(self) -> None:
        """
        The whole of it: a controller that loses its lease between claim and order sends nothing.
        """
        clock = Clock()
        clock.advance(1_000_000.0)
        store, other = self.store("controller-120"), await self.started("controller-121")
        node = SimulatedNode(clock, "server-102")
        fleet = Fleet(clock.seconds)
        budgets = [Budget(group="default", inService=0)]
        controller = Controller(
            "controller-120", clock, fleet, store, signer, budgets, wallClock=clock.seconds
        )
        await controller.start()
        node.connect(fleet)
        hold = store.hold

        def late(group: str, server: str) -> Deferred[None]:
            lost = Deferred.fromCoroutine(other._gateway.revoke(store._lease.number))
            return lost.addCallback(lambda _: hold(group, server))

        store.hold = late
        with self.assertRaises(StoreError):
            await controller.order({"node": "server-102", "kind": "drain"}, ALICE)
        self.assertEqual(node.obeyed, [])
        self.assertEqual(await store.openOrders(), [])
        store.hold = hold
        record = await controller.order({"node": "server-102", "kind": "drain"}, ALICE)
        self.assertEqual(record.outcome, Outcome.OBEYED)
        await controller.stop()


class Trouble(EtcdCase):
    """
    etcd is away, or does not answer.
    """

    async def test_notThere(self) -> None:
        """
        Nobody is at the address.
        """
        store = self.store(urls=["http://127.0.0.1:9"])
        with self.assertRaises(StoreError) as caught:
            await store.start()
        self.assertIn("etcd at http://127.0.0.1:9 does not answer", str(caught.exception))

    async def test_nextAddress(self) -> None:
        """
        The next address is asked after one that does not answer.
        """
        store = self.store(urls=["http://127.0.0.1:9", self.etcd.url])
        with self.assertRaises(StoreError):
            await store.start()
        await store.start()
        await store.putOrder(anOrder("a", 1.0))
        await store.stop()

    async def test_silence(self) -> None:
        """
        An etcd that hangs is an error after a while, and is good again after that.
        """
        process = Etcd()
        self.addCleanup(process.remove)
        store = await self.started(urls=[process.url])
        store._gateway._timeout = 0.5
        await store.putOrder(anOrder("a", 1.0))
        process.pause()
        with self.assertRaises(StoreError) as caught:
            await store.putOrder(anOrder("b", 2.0))
        self.assertIn("does not answer", str(caught.exception))
        process.proceed()
        store._gateway._timeout = 10.0
        await store.putOrder(anOrder("c", 3.0))
        self.assertIn("c", [record.id for record in await store.orders()])

    async def test_restarted(self) -> None:
        """
        What was written is there after etcd was killed.
        """
        process = Etcd()
        self.addCleanup(process.remove)
        store = await self.started(urls=[process.url])
        await store.putOrder(anOrder("a", 1.0))
        await store.claim("default", "server-102", one)
        await store.hold("default", "server-102")
        process.stop()
        with self.assertRaises(StoreError):
            await store.orders()
        process.start()
        self.assertEqual(await store.openOrders(), [anOrder("a", 1.0)])
        self.assertEqual(await store.held(), [("default", "server-102", "controller-120")])

    async def test_largeReport(self) -> None:
        """
        Of a report that etcd would not take, the course is left out.
        """
        store = await self.started()
        await store.addReport("server-102", 1.0, {"forced": 1, "timeline": ["x" * 1000] * 1500})
        (found,) = await store.reports()
        self.assertEqual(found["report"], {"forced": 1, "timeline": None})

    async def test_tooLarge(self) -> None:
        """
        What etcd does not take is an error that says so.
        """
        store = await self.started()
        with self.assertRaises(StoreError) as caught:
            await store.addAudit({"at": 1.0, "x": "x" * 3_000_000})
        self.assertIn("answers 4", str(caught.exception))


class Answers(SynchronousTestCase):
    """
    What the gateway makes of answers, without an etcd.
    """

    def gateway(self, status: int, body: bytes) -> Gateway:
        """
        One that answers the same to everything.
        """
        self.asked: list[Any] = []

        class Response:
            code = status

            def content(self) -> Deferred[bytes]:
                return succeed(body)

        class Client:
            def post(_self, url: str, data: bytes, **kw: Any) -> Deferred[Any]:
                self.asked.append((url, json.loads(data)))
                return succeed(Response())

        return Gateway(Clock(), Client(), ["http://a/", "http://b"])

    def test_asked(self) -> None:
        """
        How a transaction is asked for.
        """
        gateway = self.gateway(200, b'{"succeeded": true}')
        found = self.successResultOf(
            Deferred.fromCoroutine(gateway.transact(put("k", "é", 7), when=[isNew("k")]))
        )
        self.assertEqual(found, [])
        ((url, asked),) = self.asked
        self.assertEqual(url, "http://a/v3/kv/txn")
        self.assertEqual(
            asked["compare"], [{"key": "aw==", "target": "MOD", "result": "EQUAL", "mod_revision": "0"}]
        )
        written = asked["success"][0]["request_put"]
        self.assertEqual((b64decode(written["value"]).decode(), written["lease"]), ("é", "7"))

    def test_errors(self) -> None:
        """
        Every answer that is none is an error; after some, the next address is asked.
        """
        for status, body, why, address in [
            (200, b"no", "does not answer", "http://b/v3/kv/range"),
            (200, b"[]", "cannot be read", "http://a/v3/kv/range"),
            (503, b'{"error": "no leader"}', "answers 503: no leader", "http://b/v3/kv/range"),
            (400, b'{"error": "bad"}', "answers 400: bad", "http://a/v3/kv/range"),
            (404, b"{}", "answers 404: {}", "http://a/v3/kv/range"),
        ]:
            gateway = self.gateway(status, body)
            for _ in range(2):
                failure = self.failureResultOf(Deferred.fromCoroutine(gateway.read("k")), StoreError)
                self.assertIn(why, str(failure.value))
            self.assertEqual(self.asked[1][0], address)
