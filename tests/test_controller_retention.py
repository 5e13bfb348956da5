"""
What is old is removed from the store; what is still in force is not.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from sipgrace.config.controller import StoreSection
from sipgrace.controller.budget import Budget
from sipgrace.controller.facts import Progress
from sipgrace.controller.retention import DAY, FIRST, FOR_EVER, Keep
from sipgrace.controller.service import keepOf
from tests.fleetfakes import MemoryStore
from tests.test_controller_orders import ALICE, OrdersCase
from tests.test_controller_rolling import TURN


class RetentionCase(OrdersCase):
    """
    Orders are kept for ten days, the audit log for a hundred.
    """

    keep = Keep(orders=10 * DAY, audit=100 * DAY)

    def days(self, days: float) -> None:
        """
        Days go by, each minute.
        """
        self.clock.pump([60.0] * round(days * DAY / 60))

    def ids(self) -> set[str]:
        """
        The orders that are kept.
        """
        return set(self.store.data["orders"])

    def marks(self) -> list[tuple[str, int, float]]:
        """
        What the audit log says of what was removed, oldest first.
        """
        records = reversed(self.successResultOf(self.controller.audit(1000)))
        return [(one["which"], one["number"], one["until"]) for one in records if one["what"] == "pruned"]


class Ended(RetentionCase):
    """
    Orders, rolling maintenances, schedules.
    """

    def test_orders(self) -> None:
        """
        Orders go when their end is ten days ago, which the audit log says; not before.
        """
        for _ in range(5):
            self.given("drain")
            self.pass_(10)
            self.given("resume")
            self.pass_(10)
        self.assertEqual(len(self.ids()), 10)
        self.days(9.9)
        self.assertEqual((len(self.ids()), self.marks()), (10, []))
        began = self.clock.seconds()
        self.days(0.2)
        self.assertEqual(self.ids(), set())
        marks = self.marks()
        self.assertEqual({which for which, _, _ in marks}, {"orders"})
        self.assertEqual(sum(number for _, number, _ in marks), 10)
        for _, _, until in marks:
            self.assertTrue(began - 10 * DAY < until <= self.clock.seconds() - 10 * DAY)

    def test_open(self) -> None:
        """
        One that has not ended stays, however long that takes, and is followed; when it has, its days begin.
        """
        self.node.takes = None
        record = self.given("drain")
        self.node.unlink()
        self.days(30)
        self.assertEqual(self.ids(), {record.id})
        self.kill()
        self.begin()
        self.node.leave()
        self.pass_(10)
        self.assertEqual(self.kept(record).outcome, "done")
        self.days(9)
        self.assertEqual(self.ids(), {record.id})
        self.days(1.1)
        self.assertEqual(self.ids(), set())

    def test_replay(self) -> None:
        """
        That the order is forgotten here does not make it new at its node: what was signed then is still
        refused there.
        """
        sent = []
        take = self.node.take

        def note(signed: Any) -> Any:
            sent.append(signed)
            return take(signed)

        self.node.take = note
        self.given("drain")
        self.pass_(10)
        self.given("resume")
        self.days(12)
        self.assertEqual(self.ids(), set())
        for signed in list(sent):
            self.failureResultOf(self.node.take(signed))
        self.assertEqual([kind for kind, _ in self.node.obeyed], ["drain", "resume"])

    def test_claims(self) -> None:
        """
        A server that is away stays claimed when its order is forgotten.
        """
        self.controller._claims._budgets = {"default": Budget(group="default", away=1)}
        self.given("drain")
        self.days(12)
        self.assertEqual(self.ids(), set())
        self.assertEqual(self.successResultOf(self.store.claims("default")), frozenset(("server-102",)))

    def test_rolling(self) -> None:
        """
        A rolling maintenance goes with its orders; one that has not ended keeps its orders, and goes on by
        them when its controller begins again.
        """
        self.successResultOf(self.controller.rolling({"servers": ["server-103"], "settle": 1}, ALICE))
        self.pass_(20)
        self.node.maintenance = "exit status 2 after 1.0 s"
        values = {"servers": ["server-101", "server-102"], "settle": 1}
        record = self.successResultOf(self.controller.rolling(values, ALICE))
        self.pass_(30)
        self.days(20)
        self.assertEqual(list(self.store.data["rollings"]), [record.id])
        self.assertEqual(len(self.ids()), 3)
        self.assertEqual([mark[:2] for mark in self.marks()], [("rollings", 1), ("orders", 2)])
        self.kill()
        self.begin()
        self.pass_(10)
        self.successResultOf(self.controller.proceed(record.id, ALICE))
        self.pass_(30)
        (stands,) = self.successResultOf(self.controller.rollings())
        self.assertEqual(stands.progress, Progress.DONE)
        self.assertEqual([kind for kind, _ in self.node.obeyed], TURN)
        self.days(11)
        self.assertEqual((self.ids(), self.store.data["rollings"]), (set(), {}))

    def test_schedules(self) -> None:
        """
        A schedule goes that was for once; its alert, too. Others stay.
        """
        now = self.clock.seconds()
        asked = {"what": "order", "values": {"node": "server-102", "kind": "resume"}}
        for when in ({"at": now + 60}, {"at": now + 15 * DAY}, {"cron": "0 3 1 1 *"}):
            self.successResultOf(self.controller.schedule({**asked, **when}, ALICE))
        self.node.unlink()
        self.days(9)
        self.assertEqual(len(self.successResultOf(self.controller.schedules())), 3)
        self.assertEqual(len(self.controller.alerts.firing), 1)
        self.days(1.1)
        left = self.successResultOf(self.controller.schedules())
        self.assertEqual({one.at for one in left}, {None, now + 15 * DAY})
        self.assertEqual(self.controller.alerts.firing, {})
        self.assertEqual(len(self.controller._schedules._mine), 2)


class Audit(RetentionCase):
    """
    The audit log.
    """

    def test_audit(self) -> None:
        """
        Records go after a hundred days; how many, and until when, is in the log before they do.
        """
        self.given("drain")
        self.pass_(10)
        self.days(99.9)
        self.assertEqual(self.audited(), ["order", "ended", "pruned"])
        gone: list[list[str]] = []
        self.store.onWrite = lambda what: gone.append(self.audited()) if what == "prune audit" else None
        self.days(0.2)
        self.assertEqual(gone, [["order", "ended", "pruned", "pruned"]])
        self.assertEqual(self.audited(), ["pruned", "pruned"])
        which, number, until = self.marks()[1]
        self.assertEqual((which, number), ("audit", 2))
        self.assertTrue(0 <= self.clock.seconds() - 100 * DAY - until <= 0.2 * DAY)

    def test_notWritten(self) -> None:
        """
        Nothing goes where that cannot be written down.
        """
        self.given("drain")
        self.pass_(10)
        self.days(99.9)
        self.store.broken, self.store.brokenFor = "no space", "audit"
        self.days(0.2)
        self.store.broken = ""
        self.assertEqual(self.audited(), ["order", "ended", "pruned"])
        self.days(0.1)
        self.assertEqual(self.audited(), ["pruned", "pruned"])

    def test_forEver(self) -> None:
        """
        One may be kept for ever, and the other not.
        """
        self.keep = Keep(orders=10 * DAY)
        self.kill()
        self.begin()
        self.given("drain")
        self.pass_(10)
        self.days(120)
        self.assertEqual((self.ids(), self.audited()), (set(), ["order", "ended", "pruned"]))

    def test_bothForEver(self) -> None:
        """
        Then nothing is looked at at all.
        """
        before = self.mortal.waiting
        self.keep = FOR_EVER
        self.kill()
        self.begin()
        self.pass_(10)
        self.assertEqual(self.mortal.waiting, before - 1)

    def test_configured(self) -> None:
        """
        By default audit records are kept for longer than a year, and orders for a quarter of one.
        """
        section = StoreSection.model_validate({"kind": "sqlite", "path": self.mktemp()})
        self.assertEqual(keepOf(section), Keep(orders=90 * DAY, audit=400 * DAY))
        days = {"order_days": 0, "audit_days": 1}
        section = StoreSection.model_validate({"kind": "sqlite", "path": self.mktemp(), **days})
        self.assertEqual(keepOf(section), Keep(orders=0.0, audit=DAY))


class Steps(RetentionCase):
    """
    How it is done.
    """

    def setUp(self) -> None:
        """
        Twelve orders are old.
        """
        super().setUp()
        for _ in range(6):
            self.given("drain")
            self.pass_(5)
            self.given("resume")
            self.pass_(5)
        self.days(9)
        self.kill()
        self.days(3)
        self.store.step = 3

    def until(self, number: int) -> None:
        """
        Time goes on until so many orders are left.
        """
        for _ in range(round((FIRST + 10) / 0.01)):
            if len(self.ids()) == number:
                return
            self.clock.advance(0.01)
        self.fail(f"{len(self.ids())} are left")

    def test_steps(self) -> None:
        """
        Step by step, with pauses in which other things are done.
        """
        self.begin()
        before = self.clock.seconds()
        lefts = []
        for left in (9, 6, 3, 0):
            self.until(left)
            lefts.append(round(self.clock.seconds() - before, 2))
        self.assertEqual([round(at - lefts[0], 2) for at in lefts], [0.0, 0.05, 0.1, 0.15])
        self.assertTrue(FIRST <= lefts[0] <= FIRST + 0.1, lefts)
        self.assertEqual([mark[:2] for mark in self.marks()], [("orders", 12)])

    def test_stopped(self) -> None:
        """
        A controller that ends leaves the rest; what has gone is written down; the next one goes on.
        """
        self.begin()
        self.until(6)
        self.successResultOf(self.controller.stop())
        self.assertEqual([mark[:2] for mark in self.marks()], [("orders", 6)])
        self.assertEqual(self.mortal.waiting, 0)
        self.pass_(10)
        self.assertEqual(len(self.ids()), 6)
        self.kill()
        self.begin()
        self.until(0)
        self.assertEqual([mark[:2] for mark in self.marks()], [("orders", 6)] * 2)

    def test_stoppedInAStep(self) -> None:
        """
        A step that is under way is waited for.
        """
        self.begin()
        slow: list[Deferred[None]] = []
        prune = self.store.prune

        def slowly(*args: Any) -> Any:
            done: Deferred[None] = Deferred()
            slow.append(done)
            return done.addCallback(lambda _: prune(*args))

        self.store.prune = slowly
        self.clock.advance(FIRST + 1)
        stopped = self.controller.stop()
        self.assertNoResult(stopped)
        slow.pop().callback(None)
        self.successResultOf(stopped)
        self.assertEqual((slow, len(self.ids())), ([], 12))

    def test_trouble(self) -> None:
        """
        Where the store fails, it is tried again later.
        """
        self.begin()
        self.until(6)
        self.store.broken, self.store.brokenFor = "no space", "prune"
        self.pass_(20)
        self.store.broken = ""
        self.pass_(20)
        self.assertEqual((len(self.ids()), [mark[:2] for mark in self.marks()]), (6, [("orders", 6)]))
        self.clock.pump([60.0] * 62)
        self.assertEqual(self.ids(), set())


class Shared(RetentionCase):
    """
    Several controllers with one store.
    """

    def setUp(self) -> None:
        """
        There is another.
        """
        super().setUp()
        self.kill()
        self.store = MemoryStore(self.store.data, "controller-120")
        self.other = MemoryStore(self.store.data, "controller-121")
        self.begin()

    def test_turn(self) -> None:
        """
        While another does it, this one does not.
        """
        self.given("drain")
        self.assertTrue(self.successResultOf(self.other.takeTurn()))
        self.days(12)
        self.assertEqual(len(self.ids()), 1)
        self.assertFalse([what for what in self.store.writes if what.startswith("prune")])
        self.successResultOf(self.other.leaveTurn())
        self.clock.pump([60.0] * 62)
        self.assertEqual(self.ids(), set())
        self.assertTrue(self.successResultOf(self.other.takeTurn()))
