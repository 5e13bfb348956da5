"""
Orders at the controller, from the moment they are asked for to their end.
"""

from __future__ import annotations

import os
from dataclasses import replace
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.control.remote import Unreachable
from sipgrace.controller.budget import Budget
from sipgrace.controller.controller import Controller
from sipgrace.controller.facts import Notice, OrderRecord, Outcome, Person
from sipgrace.controller.fleet import Fleet
from sipgrace.controller.retention import FOR_EVER
from sipgrace.errors import Malformed, NotAllowed, OrderRefused, StoreError, Unknown
from sipgrace.lifecycle.authorization import Role
from tests.fleetfakes import (
    MemoryStore,
    MortalClock,
    SecondLink,
    SimulatedClient,
    SimulatedNode,
    signer,
)

ALICE = Person("alice", Role.OPERATOR)
ADMIN = Person("root", Role.ADMIN)
VIEWER = Person("bob", Role.VIEWER)


class OrdersCase(SynchronousTestCase):
    """
    A controller with three servers and a client.
    """

    maxDiff = None
    budgets: tuple[Budget, ...] = ()
    keep = FOR_EVER

    def setUp(self) -> None:
        """
        All are linked up.
        """
        self.clock = Clock()
        self.clock.advance(1_000_000.0)
        self.store = MemoryStore()
        names = ("server-101", "server-102", "server-103")
        self.nodes = {name: SimulatedNode(self.clock, name) for name in names}
        self.client = SimulatedClient(self.clock, "client-110", self.nodes.values())
        self.node = self.nodes["server-102"]
        self.begin()
        self.pass_(10)

    def begin(self) -> None:
        """
        A controller begins, and the nodes link up.
        """
        self.mortal = MortalClock(self.clock)
        self.fleet = Fleet(self.clock.seconds)
        self.notices: list[Notice] = []
        self.fleet.observe(self.notices.append)
        self.controller = Controller(
            "controller-120",
            self.mortal,
            self.fleet,
            self.store,
            signer,
            self.budgets,
            wallClock=self.clock.seconds,
            keep=self.keep,
        )
        self.successResultOf(self.controller.start())
        for node in self.nodes.values():
            node.connect(self.fleet)
        self.client.connect(self.fleet)

    def kill(self) -> None:
        """
        The controller ends at once.
        """
        self.mortal.die()
        self.store.die()
        for node in [*self.nodes.values(), self.client]:
            if node.link is not None:
                node.link.dead = True
                node.link = None
        self.store = MemoryStore(self.store.data)

    def pass_(self, seconds: float) -> None:
        """
        Time goes on.
        """
        self.clock.pump([0.05] * round(seconds / 0.05))

    def order(self, kind: str, person: Person = ALICE, **values: Any) -> Deferred[OrderRecord]:
        """
        Gives one; to server-102 unless it says so.
        """
        return self.controller.order({"node": "server-102", "kind": kind} | values, person)

    def given(self, kind: str, person: Person = ALICE, **values: Any) -> OrderRecord:
        """
        The same, and it is obeyed or queued.
        """
        record: OrderRecord = self.successResultOf(self.order(kind, person, **values))
        return record

    def refusal(self, expected: type[Exception], kind: str, person: Person = ALICE, **values: Any) -> str:
        """
        The same, and it is refused.
        """
        failure = self.failureResultOf(self.order(kind, person, **values), expected)
        return str(failure.value)

    def kept(self, record: OrderRecord) -> OrderRecord:
        """
        The same order as it is in the store now.
        """
        found: OrderRecord = self.successResultOf(self.store.order(record.id))
        return found

    def outcomes(self) -> list[tuple[str, str, str]]:
        """
        All orders, oldest first.
        """
        return [
            (record.node, str(record.outcome), record.text)
            for record in reversed(self.successResultOf(self.controller.orders()))
        ]

    def audited(self) -> list[str]:
        """
        What is in the audit log, oldest first.
        """
        return [facts["what"] for facts in reversed(self.successResultOf(self.controller.audit()))]


class Given(OrdersCase):
    """
    Orders that nothing hinders.
    """

    def test_drain(self) -> None:
        """
        A drain is obeyed, followed, and done when the server is offline; all of it is in the store.
        """
        record = self.given(
            "drain", why="new kernel", guard=30, retryAfter=60, announce="both", back=1_000_900
        )
        self.assertEqual((record.outcome, record.node), (Outcome.OBEYED, "server-102"))
        self.assertEqual((record.who, record.by, record.at), ("alice", "controller-120", 1_000_010.0))
        self.assertEqual((record.boot, record.number), ("server-102-run1", 0))
        self.assertEqual(
            record.order,
            {
                "kind": "drain",
                "who": "alice via controller-120",
                "when": record.order["when"],
                "why": "new kernel",
                "guard": 30.0,
                "retryAfter": 60.0,
                "announce": "both",
                "back": 1_000_900.0,
                "node": "server-102",
                "nonce": record.id,
                "expires": record.order["when"] + 60.0,
            },
        )
        self.assertEqual(self.kept(record), record)
        self.assertEqual(self.node.obeyed, [("drain", record.id)])
        self.assertEqual(self.successResultOf(self.store.openOrders()), [record])
        self.pass_(4)
        done = self.kept(record)
        self.assertEqual((done.outcome, done.text), (Outcome.DONE, ""))
        self.assertAlmostEqual(done.ended or 0.0, record.at + 3.0, 1)
        self.assertEqual(self.successResultOf(self.store.openOrders()), [])
        self.assertEqual(
            [notice.facts["outcome"] for notice in self.notices if notice.kind == "order"],
            ["sent", "obeyed", "done"],
        )

    def test_written(self) -> None:
        """
        Audit log and store come first.
        """
        seen: list[list[str]] = []
        self.store.writes.clear()
        self.node.whenChanged.append(lambda: seen.append(list(self.store.writes)))
        self.given("drain")
        self.assertEqual(seen[0][:2], ["audit order", "order drain server-102 sent"])
        self.pass_(4)
        self.assertEqual(
            self.store.writes[2:],
            ["order drain server-102 obeyed", "order drain server-102 done", "audit ended"],
        )

    def test_kinds(self) -> None:
        """
        Each kind comes to its own end.
        """
        self.node.takes = None
        drain = self.given("drain")
        self.assertEqual(self.given("extend", guard=10).outcome, Outcome.DONE)
        self.assertEqual(self.given("cancel").outcome, Outcome.DONE)
        self.assertEqual(self.kept(drain).outcome, Outcome.UNDONE)
        self.assertEqual(self.given("offline", ADMIN).outcome, Outcome.DONE)
        resume = self.given("resume")
        self.assertEqual(resume.outcome, Outcome.OBEYED)
        self.pass_(1)
        self.assertEqual(self.kept(resume).outcome, Outcome.DONE)
        self.assertEqual(self.given("resume").outcome, Outcome.DONE)

    def test_joined(self) -> None:
        """
        A drain that joins another ends with it.
        """
        first = self.given("drain")
        second = self.given("drain")
        self.assertEqual(second.outcome, Outcome.OBEYED)
        self.pass_(4)
        self.assertEqual([self.kept(one).outcome for one in (first, second)], [Outcome.DONE] * 2)

    def test_maintenance(self) -> None:
        """
        A drain that is to be followed by maintenance is done when that is.
        """
        record = self.given("drain", then="run")
        self.pass_(3.5)
        kept = self.kept(record)
        self.assertEqual((kept.outcome, kept.text), (Outcome.OBEYED, "offline; its maintenance is under way"))
        self.pass_(1)
        kept = self.kept(record)
        self.assertEqual(
            (kept.outcome, kept.text), (Outcome.DONE, "its maintenance: exit status 0 after 1.0 s")
        )

    def test_maintenanceFails(self) -> None:
        """
        And has failed when that has.
        """
        self.node.maintenance = "exit status 2 after 1.0 s"
        record = self.given("drain", then="run")
        self.pass_(5)
        kept = self.kept(record)
        self.assertEqual(
            (kept.outcome, kept.text), (Outcome.FAILED, "its maintenance: exit status 2 after 1.0 s")
        )

    def test_forcedOffline(self) -> None:
        """
        A drain ends when the server is taken offline at once; maintenance does not follow then.
        """
        self.node.takes = None
        first, second = self.given("drain"), self.given("drain", then="run")
        self.given("offline", ADMIN)
        self.assertEqual(
            [(self.kept(one).outcome, self.kept(one).text) for one in (first, second)],
            [
                (Outcome.DONE, "it was taken offline at once"),
                (Outcome.FAILED, "it was taken offline at once, and its maintenance was not run"),
            ],
        )

    def test_rehearse(self) -> None:
        """
        A rehearsal's findings come in two parts; a viewer may ask for one.
        """
        record = self.given("rehearse", VIEWER)
        self.assertEqual((record.outcome, record.result), (Outcome.OBEYED, {"guard": 30.0}))
        assert self.node.rehearsing is not None
        self.node.rehearsing.callback({"cutOff": 0})
        kept = self.kept(record)
        self.assertEqual(kept.outcome, Outcome.DONE)
        self.assertEqual(kept.result, {"now": {"guard": 30.0}, "found": {"cutOff": 0}})

    def test_notStorable(self) -> None:
        """
        What a node tells and cannot be kept is left out; the order comes to its end.
        """
        record = self.given("rehearse")
        assert self.node.rehearsing is not None
        self.node.rehearsing.callback({"cutOff": float("nan")})
        self.assertEqual(self.kept(record).result, {"now": {"guard": 30.0}, "found": None})
        drain = self.given("drain")
        self.pass_(4)
        for report in (
            {"orders": 5},
            {"orders": [5, {"nonce": drain.id}], "forced": float("inf")},
            {"orders": [{"nonce": ["x"]}], "forced": 1},
        ):
            self.fleet.reported("server-102", 1.0, report)
        self.assertIsNone(self.kept(drain).result)

    def test_rehearsalLost(self) -> None:
        """
        A rehearsal whose link is lost has come to nothing.
        """
        record = self.given("rehearse")
        assert self.node.rehearsing is not None
        self.node.rehearsing.errback(Unreachable("gone"))
        kept = self.kept(record)
        self.assertEqual((kept.outcome, kept.text, kept.result), (Outcome.FAILED, "gone", {"guard": 30.0}))

    def test_report(self) -> None:
        """
        The report of a drain is kept; its figures go to the order.
        """
        record = self.given("drain")
        self.pass_(4)
        report = {
            "server": "server-102",
            "orders": [self.kept(record).order, {"nonce": "unknown"}],
            "forced": 0,
            "timeline": [1, 2],
        }
        self.successResultOf(self.controller.report("server-102", 1_000_010.0, report))
        self.assertEqual(self.kept(record).result, {"server": "server-102", "forced": 0})
        self.assertEqual(self.kept(record).outcome, Outcome.DONE)
        self.assertEqual(
            self.successResultOf(self.controller.reports()),
            [{"node": "server-102", "at": 1_000_010.0, "report": report}],
        )

    def test_reportLater(self) -> None:
        """
        A report that cannot be stored is to be told again.
        """
        self.store.broken = "no space"
        self.failureResultOf(self.controller.report("server-102", 5.0, {"forced": 0}), StoreError)
        self.store.broken = ""
        self.assertEqual(self.successResultOf(self.controller.reports()), [])
        self.successResultOf(self.controller.report("server-102", 5.0, {"forced": 0}))
        self.assertEqual(len(self.successResultOf(self.controller.reports("server-102"))), 1)

    def test_reportNotStorable(self) -> None:
        """
        One that never can be is not asked for again.
        """
        self.successResultOf(self.controller.report("server-102", 5.0, {"forced": float("nan")}))
        self.assertEqual(self.successResultOf(self.controller.reports()), [])

    def test_reportOfNoTime(self) -> None:
        """
        Nor one that is of no time that can be meant, which would stand on top for good. It is noted.
        """
        for at in (1e300, 4e18, float("inf"), float("nan"), -1.0, 1_000_010.0 + 31):
            told = self.controller.report("server-102", at, {"forced": 0})
            failure = self.failureResultOf(told, NotAllowed)
            self.assertIn("no later than now (1000010) is expected", str(failure.value))
        self.assertEqual(self.successResultOf(self.controller.reports()), [])
        self.assertEqual(self.audited(), ["refused"] * 6)
        for at in (0.0, 1_000_010.0 + 29):
            self.successResultOf(self.controller.report("server-102", at, {"forced": 0}))
        self.assertEqual(len(self.successResultOf(self.controller.reports())), 2)

    def test_orderOf(self) -> None:
        """
        One order can be asked for, under way and after.
        """
        record = self.given("drain")
        self.assertEqual(self.successResultOf(self.controller.orderOf(record.id)), record)
        self.pass_(4)
        self.assertEqual(self.successResultOf(self.controller.orderOf(record.id)).outcome, Outcome.DONE)
        self.failureResultOf(self.controller.orderOf("x"), Unknown)


class Refused(OrdersCase):
    """
    Orders that are not given, each with its reason, in the audit log, and without effect.
    """

    def tearDown(self) -> None:
        """
        Nothing was obeyed.
        """
        self.assertEqual(self.node.obeyed, [])

    def test_role(self) -> None:
        """
        Whose role does not cover it.
        """
        self.assertEqual(
            self.refusal(NotAllowed, "drain", VIEWER),
            "drain takes the role operator; bob has the role viewer",
        )
        self.assertEqual(
            self.refusal(NotAllowed, "offline"), "offline takes the role admin; alice has the role operator"
        )
        self.assertEqual(self.audited(), ["refused", "refused"])
        facts = self.successResultOf(self.controller.audit())[0]
        self.assertEqual(facts["who"], "alice")
        self.assertEqual(facts["which"], "order {'node': 'server-102', 'kind': 'offline'}")
        self.assertEqual(facts["reason"], "offline takes the role admin; alice has the role operator")
        self.assertEqual(self.outcomes(), [])

    def test_unknown(self) -> None:
        """
        A node that is not there.
        """
        self.assertEqual(
            self.refusal(Unknown, "drain", node="server-109"),
            "'server-109' is no node of this fleet, or has not linked up yet",
        )
        self.assertEqual(self.audited(), ["refused"])

    def test_malformed(self) -> None:
        """
        What cannot be understood.
        """
        for values, why in [
            ({"kind": "dance"}, "the order: its kind is none of drain, cancel, extend, resume, offline"),
            ({"kind": "drain", "guard": "30"}, "the order: guard is '30'; a number is expected"),
            ({"kind": "drain", "guard": True}, "the order: guard is True; a number is expected"),
            ({"kind": "drain", "guard": -1}, "the order: guard is -1.0; a number from 0 up is expected"),
            ({"kind": "drain", "guard": 10**400}, "the order: guard is inf; a number from 0 up is expected"),
            ({"kind": "drain", "why": 5}, "the order: why is 5; a text is expected"),
            ({"kind": "drain", "why": "a\nb"}, "why: one line of printable characters is expected"),
            ({"kind": "drain", "queue": "yes"}, "the order: queue is 'yes'; true or false is expected"),
            ({"kind": "drain", "announce": "x"}, "the order: announce is none of in-answer, broadcast, both"),
            ({"kind": "drain", "then": "x"}, "the order: then is none of stay, exit, run"),
            ({"kind": "drain", "nonce": "x"}, "the order: 'nonce' is not known; what may be said is"),
            ({"kind": "drain", "node": ""}, "the order: node is missing"),
            ({"kind": "drain", "node": "a\x00"}, "the order: node is no name"),
            ({"kind": "extend"}, "the order: guard is missing: the seconds to add"),
            ({"kind": "skip"}, "the order: server is missing"),
        ]:
            failure = self.failureResultOf(
                self.controller.order({"node": "server-102", **values}, ALICE), Malformed
            )
            self.assertTrue(str(failure.value).startswith(why), str(failure.value))
            self.assertEqual(failure.value.status, 400)
        self.failureResultOf(self.controller.order([], ALICE), Malformed)

    def test_notLinked(self) -> None:
        """
        A node without a link. That is kept as an order that has failed.
        """
        self.node.unlink("reset by peer")
        why = "server-102 has no link to this controller: reset by peer"
        self.assertEqual(self.refusal(Unreachable, "drain"), why)
        self.assertEqual(self.outcomes(), [("server-102", "failed", why)])

    def test_byNode(self) -> None:
        """
        The node's own refusal is told, and kept.
        """
        self.node.refuses = "no"
        self.assertEqual(self.refusal(OrderRefused, "drain"), "no")
        self.assertEqual(self.outcomes(), [("server-102", "refused", "no")])
        self.assertEqual(self.audited(), ["order", "ended", "refused"])

    def test_storeBroken(self) -> None:
        """
        What cannot be written down is not sent.
        """
        self.store.broken = "no space left on device"
        self.assertEqual(self.refusal(StoreError, "drain"), "no space left on device")
        self.store.broken = ""
        self.pass_(10)
        self.assertEqual(self.outcomes(), [])

    def test_storeBreaks(self) -> None:
        """
        Where the store fails between audit log and order, it may have stored that all the same. It is seen
        to that the order is not sent later.
        """

        def write(what: str, work: Any) -> Any:
            if what.endswith("sent"):
                work()
                return fail(StoreError("no answer"))
            return original(what, work)

        original = self.store._write
        self.store._write = write
        self.assertEqual(self.refusal(StoreError, "drain"), "no answer")
        self.assertEqual(self.outcomes(), [("server-102", "failed", "no answer")])
        self.kill()
        self.begin()
        self.pass_(10)

    def test_storeBreaksWaiting(self) -> None:
        """
        So it is with an order that was to wait: whoever gave it was told that it failed.
        """

        def write(what: str, work: Any) -> Any:
            if what.startswith("order ") and what.endswith(" queued"):
                work()
                return fail(StoreError("no answer"))
            return original(what, work)

        original = self.store._write
        self.store._write = write
        at = self.controller._wallClock() + 20
        self.assertEqual(self.refusal(StoreError, "drain", at=at), "no answer")
        self.assertEqual(self.outcomes(), [("server-102", "failed", "no answer")])
        self.kill()
        self.begin()
        self.pass_(30)
        self.assertEqual(self.outcomes(), [("server-102", "failed", "no answer")])

    def test_manyRefusals(self) -> None:
        """
        Whoever is refused all the time does not fill the disk.
        """
        for _ in range(130):
            self.controller.noteRefused("mallory", "a token", "wrong")
        self.assertEqual(len(self.store.data["audit"]), 100)
        self.pass_(61)
        last = self.successResultOf(self.controller.audit(limit=1))[0]
        self.assertEqual((last["what"], last["number"]), ("refused", 30))
        self.controller.noteRefused("mallory", "a token", "wrong")
        self.assertEqual(len(self.store.data["audit"]), 102)


class Lost(OrdersCase):
    """
    Links that are lost at the worst moment, and controllers that end there: nothing is half done, and nothing
    done twice.
    """

    def doubt(self, loses: str) -> OrderRecord:
        """
        A drain after which the link is lost.
        """
        self.node.loses = loses
        record = self.given("drain")
        self.assertEqual(record.outcome, Outcome.SENT)
        return record

    def test_stopsWithBrokenStore(self) -> None:
        """
        A controller that stops while nothing can be stored tries no more; the next one finds out what became
        of it all.
        """
        record = self.given("drain")
        self.store.broken = "no space left on device"
        self.pass_(4)
        self.assertEqual(self.node.state, "offline")
        self.controller.stop()
        self.assertEqual(self.mortal.waiting, 0)
        self.kill()
        self.begin()
        self.pass_(10)
        self.assertEqual(self.kept(record).outcome, Outcome.DONE)

    def test_neverArrived(self) -> None:
        """
        An order that never arrived is sent once more when the link is back.
        """
        record = self.doubt("order")
        self.assertEqual(record.text, "not answered yet: it has closed the connection")
        self.pass_(5)
        self.assertEqual(self.node.obeyed, [])
        self.node.connect(self.fleet)
        self.pass_(2.1)
        self.assertEqual(self.node.obeyed, [("drain", record.id)])
        self.assertEqual(self.kept(record).outcome, Outcome.OBEYED)
        self.pass_(4)
        self.assertEqual(self.kept(record).outcome, Outcome.DONE)

    def test_answerLost(self) -> None:
        """
        One that was obeyed is known to be by the node's events.
        """
        record = self.doubt("answer")
        self.pass_(1)
        self.node.connect(self.fleet)
        self.assertEqual(self.kept(record).outcome, Outcome.OBEYED)
        self.pass_(4)
        self.assertEqual(self.kept(record).outcome, Outcome.DONE)
        self.assertEqual(self.node.obeyed, [("drain", record.id)])

    def test_answerLostLong(self) -> None:
        """
        Also when all is over by the time that the link is back.
        """
        record = self.doubt("answer")
        self.pass_(300)
        self.node.connect(self.fleet)
        self.assertEqual(self.kept(record).outcome, Outcome.DONE)
        self.assertEqual(self.node.obeyed, [("drain", record.id)])

    def test_refusalLost(self) -> None:
        """
        One that was refused, too.
        """
        self.node.refuses = "no"
        record = self.doubt("answer")
        self.node.connect(self.fleet)
        kept = self.kept(record)
        self.assertEqual((kept.outcome, kept.text), (Outcome.REFUSED, "no"))

    def test_silence(self) -> None:
        """
        An answer that does not come in time, on a link that is there.
        """
        self.node.loses = "silence"
        record = self.given("drain")
        self.pass_(5)
        self.assertEqual(self.kept(record).outcome, Outcome.DONE)
        self.assertEqual(self.node.obeyed, [("drain", record.id)])

    def test_givenBefore(self) -> None:
        """
        A node that has had the order, and does not say what came of it, is asked again; in the end nothing is
        known.
        """
        record = self.doubt("order")
        self.node.nonces.add(record.id)
        self.node.connect(self.fleet)
        self.pass_(55)
        self.assertEqual(self.kept(record).outcome, Outcome.SENT)
        self.pass_(10)
        kept = self.kept(record)
        self.assertEqual(
            (kept.outcome, kept.text),
            (Outcome.FAILED, "it was not carried out: it has expired before the node answered"),
        )
        self.assertEqual(self.node.obeyed, [])

    def test_expired(self) -> None:
        """
        An order that has expired by the time that the link is back is not sent any more.
        """
        record = self.doubt("order")
        self.pass_(61)
        self.node.connect(self.fleet)
        self.pass_(3)
        kept = self.kept(record)
        self.assertEqual((kept.outcome, kept.result), (Outcome.FAILED, {"arrived": False}))
        self.assertEqual(self.node.obeyed, [])

    def test_anotherRun(self) -> None:
        """
        A node that began again meanwhile cannot say.
        """
        record = self.doubt("order")
        self.node.restart()
        self.node.connect(self.fleet)
        self.pass_(3)
        kept = self.kept(record)
        self.assertEqual(
            (kept.outcome, kept.text),
            (Outcome.FAILED, "its process began again; whether it had the order is not known"),
        )
        self.assertEqual(self.node.obeyed, [])

    def test_processEnds(self) -> None:
        """
        A drain that ends with the process is done when that is back; another has failed.
        """
        self.node.takes = None
        record = self.given("drain", then="exit")
        self.node.restart()
        self.node.connect(self.fleet)
        self.pass_(3)
        kept = self.kept(record)
        self.assertEqual(
            (kept.outcome, kept.text), (Outcome.DONE, "its process has ended, and began again")
        )
        record = self.given("drain", then="stay")
        self.node.restart()
        self.node.connect(self.fleet)
        self.pass_(3)
        self.assertEqual(self.kept(record).outcome, Outcome.FAILED)

    def test_linkLostMeanwhile(self) -> None:
        """
        A drain goes on without its controller, and so does what is known of it afterwards.
        """
        record = self.given("drain")
        self.pass_(1)
        self.node.unlink()
        self.pass_(10)
        self.assertEqual(self.kept(record).outcome, Outcome.OBEYED)
        self.node.connect(self.fleet)
        self.assertEqual(self.kept(record).outcome, Outcome.DONE)

    def test_restarted(self) -> None:
        """
        Orders survive their controller: under way, done meanwhile, queued.
        """
        self.node.takes = 30.0
        long, short = self.given("drain"), self.given("drain", node="server-103")
        later = self.given("drain", node="server-101", at=self.clock.seconds() + 40)
        self.kill()
        self.pass_(20)
        self.assertEqual(self.node.state, "draining")
        self.begin()
        self.assertEqual(self.kept(short).outcome, Outcome.DONE)
        self.assertEqual(self.kept(long).outcome, Outcome.OBEYED)
        self.pass_(12)
        self.assertEqual(self.kept(long).outcome, Outcome.DONE)
        self.assertEqual(self.kept(later).outcome, Outcome.QUEUED)
        self.pass_(15)
        self.assertEqual(self.kept(later).outcome, Outcome.DONE)

    def test_oldEvents(self) -> None:
        """
        What happened to a node before an order was given is no part of it.
        """
        self.given("drain")
        self.pass_(4)
        self.given("resume")
        self.pass_(4)
        self.node.takes = None
        record = self.given("drain")
        self.kill()
        self.begin()
        self.pass_(4)
        self.assertEqual(self.kept(record).outcome, Outcome.OBEYED)

    def test_killedAtEveryWrite(self) -> None:
        """
        Wherever the controller dies: in the end the server has obeyed once or not at all, and the store says
        which.
        """
        for number in range(8):
            for done in (False, True):
                self.setUp()
                self.count = 0

                def die(what: str, number: int = number, done: bool = done) -> None:
                    self.count += 1
                    if (self.count == number + 1 and not done) or (self.count == number + 2 and done):
                        self.kill()

                self.store.onWrite = die
                self.order("drain", then="run")
                self.pass_(6)
                self.store.onWrite = lambda what: None
                self.kill()
                self.pass_(1)
                self.begin()
                self.pass_(10)
                records = self.successResultOf(self.store.orders())
                obeyed = [nonce for kind, nonce in self.node.obeyed if kind == "drain"]
                where = f"killed at write {number}"
                self.assertLessEqual(len(obeyed), 1, where)
                self.assertEqual([record.id for record in records], obeyed, where)
                self.assertEqual([str(record.outcome) for record in records], ["done"] * len(obeyed), where)

    def test_storeLater(self) -> None:
        """
        What has become of an order is stored as soon as the store works again.
        """
        record = self.given("drain")
        self.store.broken = "no answer"
        self.pass_(4)
        self.store.broken = ""
        self.assertEqual(self.kept(record).outcome, Outcome.OBEYED)
        self.pass_(5)
        self.assertEqual(self.kept(record).outcome, Outcome.DONE)


class Budgeted(OrdersCase):
    """
    Orders against a budget: one of three servers may be away.
    """

    budgets = (Budget(group="default", away=1),)

    def claimed(self) -> frozenset[str]:
        """
        Who is claimed.
        """
        found: frozenset[str] = self.successResultOf(self.store.claims("default"))
        return found

    def test_overBudget(self) -> None:
        """
        What is over budget is refused, with the reason; nothing is half done.
        """
        self.given("drain")
        why = "the budget of the group default lets 1 server be away at once, and 1 is (server-102 draining)"
        self.assertEqual(self.refusal(OrderRefused, "drain", node="server-103"), why)
        self.assertEqual(self.nodes["server-103"].obeyed, [])
        self.assertEqual(self.outcomes()[1], ("server-103", "refused", why))
        self.assertEqual(self.claimed(), frozenset(("server-102",)))
        # Offline takes it out of service as well; the rest does not.
        self.refusal(OrderRefused, "offline", ADMIN, node="server-103")
        self.given("rehearse", node="server-103")
        # A second drain of the same server takes no more.
        self.given("drain")

    def test_backInService(self) -> None:
        """
        A server that serves again makes room.
        """
        self.given("drain")
        self.pass_(4)
        self.assertEqual(self.claimed(), frozenset(("server-102",)))
        self.refusal(OrderRefused, "drain", node="server-103")
        self.given("resume")
        self.pass_(1)
        self.assertEqual(self.claimed(), frozenset())
        self.given("drain", node="server-103")

    def test_leavesAgainMeanwhile(self) -> None:
        """
        A drain that is given while the claim of the return before it is being released has its own.
        """
        self.given("drain")
        self.pass_(4)
        write, slow = self.store._write, []

        def slowly(what: str, work: Any) -> Any:
            if what != "release server-102" or slow:
                return write(what, work)
            slow.append(done := Deferred())
            return done.addCallback(lambda _: write(what, work))

        self.store._write = slowly
        self.given("resume")
        self.pass_(2)
        self.assertEqual(len(slow), 1)
        again = self.order("drain")
        self.pass_(1)
        slow[0].callback(None)
        self.pass_(0.2)
        self.assertEqual(self.successResultOf(again).outcome, Outcome.OBEYED)
        self.assertEqual(self.claimed(), frozenset(("server-102",)))
        self.pass_(10)
        self.assertEqual(self.claimed(), frozenset(("server-102",)))

    def test_unreached(self) -> None:
        """
        A server that is back, and that its clients do not reach yet, takes no second one's place.
        """
        self.nodes["server-103"].unlink()
        self.nodes["server-103"].state = "offline"
        self.client.blind.add("server-102")
        self.client.stand()
        self.assertIn(
            "1 is (server-103 not linked, and reached by no client)", self.refusal(OrderRefused, "drain")
        )

    def test_cancelled(self) -> None:
        """
        So does one whose drain was taken back, or refused.
        """
        self.given("drain")
        self.given("cancel")
        self.pass_(0.2)
        self.assertEqual(self.claimed(), frozenset())
        self.node.refuses = "no"
        self.refusal(OrderRefused, "drain")
        self.pass_(0.2)
        self.assertEqual(self.claimed(), frozenset())

    def test_awayByItself(self) -> None:
        """
        What the fleet shows counts, whoever brought it about; so does a server that nobody reaches.
        """
        self.nodes["server-101"].tell("offline", "offline")
        self.assertIn("server-101 offline", self.refusal(OrderRefused, "drain"))
        self.nodes["server-101"].tell("serving", "serving")
        self.nodes["server-103"].unlink()
        self.given("rehearse")
        self.client.blind.add("server-103")
        self.client.stand()
        self.assertIn("server-103 not linked, and reached by no client", self.refusal(OrderRefused, "drain"))

    def test_queued(self) -> None:
        """
        Whoever queues waits for room; the first to come is the first to go.
        """
        self.given("drain")
        second = self.given("drain", node="server-103", queue=True)
        third = self.given("drain", node="server-101", queue=True)
        self.assertEqual((second.outcome, third.outcome), (Outcome.QUEUED, Outcome.QUEUED))
        self.assertIn("1 is (server-102 draining)", second.text)
        self.pass_(10)
        self.given("resume")
        self.pass_(1)
        self.assertEqual(self.kept(second).outcome, Outcome.OBEYED)
        self.assertEqual(self.kept(third).outcome, Outcome.QUEUED)
        self.pass_(4)
        self.given("resume", node="server-103")
        self.pass_(1)
        self.assertEqual(self.kept(third).outcome, Outcome.OBEYED)
        self.assertEqual(self.audited().count("queued"), 2)
        # It is signed anew when it is sent.
        self.assertGreater(self.kept(third).order["when"], third.at + 10)

    def test_queuedForClients(self) -> None:
        """
        Also until the clients of the one that is back are back.
        """
        first = self.nodes["server-102"]
        self.given("drain")
        second = self.given("drain", node="server-103", queue=True)
        self.pass_(10)
        first.awaited = ["client-112"]
        self.given("resume")
        self.pass_(5)
        self.assertEqual(first.state, "serving")
        self.assertEqual(self.kept(second).outcome, Outcome.QUEUED)
        first.awaited = []
        first.stand()
        self.pass_(1)
        self.assertEqual(self.kept(second).outcome, Outcome.OBEYED)

    def test_withdrawn(self) -> None:
        """
        What waits can be taken back, by whom it may; what does not wait cannot.
        """
        first = self.given("drain")
        second = self.given("drain", node="server-103", queue=True)
        self.failureResultOf(self.controller.withdraw(second.id, VIEWER), NotAllowed)
        record = self.successResultOf(self.controller.withdraw(second.id, ALICE))
        self.assertEqual((record.outcome, record.text), (Outcome.REFUSED, "withdrawn by alice"))
        self.assertEqual(self.kept(second), record)
        for id, error in [(first.id, OrderRefused), (second.id, OrderRefused), ("x", Unknown)]:
            self.failureResultOf(self.controller.withdraw(id, ALICE), error)
        self.pass_(4)
        self.given("resume")
        self.pass_(10)
        self.assertEqual(self.nodes["server-103"].obeyed, [])

    def test_storeBreaks(self) -> None:
        """
        An order that waited, and could not be written down when its turn came, has failed: whoever waits for
        its end hears of it, and it is not sent later.
        """
        self.given("drain")
        second = self.given("drain", node="server-103", queue=True)
        third = self.given("drain", node="server-101", queue=True)
        ended = self.controller._book.whenEnded(second.id)
        write = self.store._write

        def fails(what: str, work: Any) -> Any:
            if not what.endswith("sent"):
                return write(what, work)
            self.store._write = write
            work()
            return fail(StoreError("no answer"))

        self.pass_(4)
        self.given("resume")
        self.store._write = fails
        self.pass_(1)
        record = self.successResultOf(ended)
        self.assertEqual((record.outcome, record.text), (Outcome.FAILED, "no answer"))
        self.assertEqual(self.kept(second), record)
        self.pass_(20)
        self.assertEqual((self.kept(second), self.nodes["server-103"].obeyed), (record, []))
        self.assertEqual(self.kept(third).outcome, Outcome.DONE)

    def test_anothers(self) -> None:
        """
        What waits at another controller is withdrawn there.
        """
        self.given("drain")
        second = self.given("drain", node="server-103", queue=True)
        self.store.putOrder(replace(second, id="other", by="controller-121"))
        failure = self.failureResultOf(self.controller.withdraw("other", ALICE), OrderRefused)
        self.assertEqual(str(failure.value), "it waits at controller-121; withdraw it there")

    def test_later(self) -> None:
        """
        An order for later is given then, and refused then where there is no room.
        """
        at = self.clock.seconds() + 60
        first, second = self.given("drain", at=at), self.given("drain", node="server-103", at=at)
        self.assertEqual(first.outcome, Outcome.QUEUED)
        self.pass_(59)
        self.assertEqual(self.kept(first).outcome, Outcome.QUEUED)
        self.pass_(2)
        self.assertEqual(self.kept(first).outcome, Outcome.OBEYED)
        kept = self.kept(second)
        self.assertEqual(kept.outcome, Outcome.REFUSED)
        self.assertIn("lets 1 server be away", kept.text)

    def test_laterAndQueued(self) -> None:
        """
        Unless it may wait on.
        """
        at = self.clock.seconds() + 10
        self.given("drain")
        later = self.given("drain", node="server-103", at=at, queue=True)
        self.pass_(15)
        self.assertEqual(self.kept(later).outcome, Outcome.QUEUED)
        self.given("resume")
        self.pass_(1)
        self.assertEqual(self.kept(later).outcome, Outcome.OBEYED)

    def test_missed(self) -> None:
        """
        An order that was due while no controller was there is given if it is not long ago.
        """
        soon = self.given("drain", at=self.clock.seconds() + 10)
        early = self.given("rehearse", node="server-103", at=self.clock.seconds() + 10)
        self.kill()
        self.pass_(60)
        self.begin()
        self.pass_(8)
        self.assertEqual(self.kept(soon).outcome, Outcome.OBEYED)
        self.assertEqual(self.kept(early).outcome, Outcome.OBEYED)
        late = self.given("drain", node="server-101", at=self.clock.seconds() + 10)
        self.kill()
        self.clock.advance(1000)
        self.begin()
        self.pass_(1)
        kept = self.kept(late)
        self.assertEqual(kept.outcome, Outcome.FAILED)
        self.assertEqual(kept.text, "it was due 990 s ago, when this controller was not there")

    def test_notLinkedInQueue(self) -> None:
        """
        A node that has no link when its turn comes does not hold up the others.
        """
        self.given("drain")
        second = self.given("drain", node="server-103", queue=True)
        third = self.given("drain", node="server-101", queue=True)
        self.pass_(4)
        self.nodes["server-103"].unlink()
        self.given("resume")
        self.pass_(1)
        self.assertEqual(self.kept(second).outcome, Outcome.QUEUED)
        self.assertEqual(self.kept(third).outcome, Outcome.OBEYED)
        self.pass_(60)
        kept = self.kept(second)
        self.assertEqual(
            (kept.outcome, kept.text),
            (Outcome.FAILED, "server-103 has no link to this controller: reset"),
        )

    def test_warmUp(self) -> None:
        """
        A controller that has just begun does not know yet who is away.
        """
        self.kill()
        self.begin()
        self.assertIn("the controller has just begun", self.refusal(OrderRefused, "drain"))
        record = self.given("drain", queue=True)
        self.pass_(6)
        self.assertEqual(self.kept(record).outcome, Outcome.OBEYED)

    def test_missedAfterRestart(self) -> None:
        """
        A server that went while the controller was not there, and never returns, is shown as lost by the next
        run of the controller, and has its place in the budget until it is forgotten.
        """
        labels = self.nodes["server-103"].labels
        self.kill()
        gone = self.nodes.pop("server-103")
        gone.state = "offline"
        self.client.stand()
        self.client.servers.remove(gone)
        self.begin()
        self.pass_(10)
        view = self.fleet.node("server-103")
        self.assertEqual(
            (view["linked"], view["state"], view["role"], view["labels"], view["lost"]),
            (False, "unknown", "server", labels, "it has not linked up since the controller began"),
        )
        self.assertEqual(view["lastSeen"], 1_000_000.0)
        self.assertIn(
            "1 is (server-103 not linked, and reached by no client)", self.refusal(OrderRefused, "drain")
        )
        self.successResultOf(self.controller.forget("server-103", ADMIN))
        self.kill()
        self.begin()
        self.pass_(10)
        self.assertEqual([one.name for one in self.fleet.members("server")], ["server-101", "server-102"])
        self.given("drain")

    def test_rosterLater(self) -> None:
        """
        What the store does not take of a node, it is asked to take again.
        """
        self.store.broken = "no space"
        self.nodes["server-103"].unlink()
        self.nodes["server-103"].labels = {"site": "north"}
        self.nodes["server-103"].connect(self.fleet)
        self.pass_(12)
        self.store.broken = ""
        self.pass_(5)
        kept = {record.name: record for record in self.successResultOf(self.store.nodes())}
        self.assertEqual(kept["server-103"].labels, {"site": "north"})
        # Only what changes is written.
        before = len(self.store.writes)
        self.fleet.standing("server-103", self.fleet.member("server-103").standing)
        self.pass_(60)
        self.assertEqual(self.store.writes[before:], [])
        self.nodes["server-103"].unlink()
        self.pass_(1)
        self.nodes["server-103"].connect(self.fleet)
        self.pass_(60)
        self.assertEqual(self.store.writes[before:], ["node server-103"])

    def test_claimsSurvive(self) -> None:
        """
        What is claimed stays claimed when the controller begins again, also before its server links up.
        """
        self.given("drain")
        self.pass_(4)
        self.kill()
        node = self.nodes.pop("server-102")
        self.begin()
        self.pass_(10)
        self.assertEqual(self.claimed(), frozenset(("server-102",)))
        self.assertIn("1 is (server-102 ", self.refusal(OrderRefused, "drain", node="server-103"))
        self.nodes["server-102"] = node
        node.connect(self.fleet)
        self.given("resume")
        self.pass_(1)
        self.assertEqual(self.claimed(), frozenset())

    def test_leftBehind(self) -> None:
        """
        A claim that another controller has left behind is released a while after the server is seen to serve,
        unless that controller has an order under way.
        """
        self.kill()
        self.store = MemoryStore(self.store.data, "controller-120")
        self.store.data["claims"]["default"] = [("server-102", "controller-121")]
        self.node.state = "offline"
        self.begin()
        self.pass_(200)
        self.assertEqual(self.claimed(), frozenset(("server-102",)))
        self.node.tell("serving", "serving")
        self.pass_(50)
        self.assertEqual(self.claimed(), frozenset(("server-102",)))
        self.refusal(OrderRefused, "drain", node="server-103")
        theirs = replace(self.given("rehearse"), id="other", by="controller-121")
        self.store.putOrder(theirs)
        self.pass_(100)
        self.assertEqual(self.claimed(), frozenset(("server-102",)))
        self.store.putOrder(replace(theirs, outcome=Outcome.DONE))
        assert self.node.rehearsing is not None
        self.node.rehearsing.callback({})
        self.pass_(100)
        self.assertEqual(self.claimed(), frozenset())
        self.given("drain", node="server-103")

    def test_forget(self) -> None:
        """
        A server that will not come back is forgotten by whoever may, and counts no more.
        """
        self.given("drain")
        self.pass_(4)
        self.failureResultOf(self.controller.forget("server-102", ALICE), NotAllowed)
        failure = self.failureResultOf(self.controller.forget("server-102", ADMIN), OrderRefused)
        self.assertIn("server-102 has a link", str(failure.value))
        self.node.unlink()
        self.failureResultOf(self.controller.forget("server-109", ADMIN), Unknown)
        self.successResultOf(self.controller.forget("server-102", ADMIN))
        self.assertRaises(Unknown, self.fleet.node, "server-102")
        self.assertEqual(self.claimed(), frozenset())
        self.given("drain", node="server-103")
        # Names that come and go leave nothing behind.
        self.successResultOf(self.controller.announce("server-103", 60.0, None, "hangs", ALICE))
        self.client.unlink()
        self.successResultOf(self.controller.forget("client-110", ADMIN))
        self.assertEqual(set(self.controller._desk._dispatch._linked), {"server-101", "server-103"})
        self.assertEqual(self.controller._announcing._told, {})


class Announced(OrdersCase):
    """
    Word on a server's behalf.
    """

    def test_announce(self) -> None:
        """
        All clients are told, those that link up later too, as long as it lasts; and told otherwise.
        """
        told = self.successResultOf(
            self.controller.announce("server-103", 60.0, 2_000_000.0, "it hangs", ALICE)
        )
        self.assertEqual(told, ["client-110"])
        expected = ("unavailable", "server-103", 60.0, 2_000_000.0, "it hangs")
        self.assertEqual(self.client.link.told, [expected])
        self.client.unlink()
        self.pass_(20)
        link = self.client.connect(self.fleet)
        what, server, left, *rest = link.told[0]
        self.assertEqual((what, server, rest), ("unavailable", "server-103", [2_000_000.0, "it hangs"]))
        self.assertAlmostEqual(left, 40.0, 3)
        told = self.successResultOf(self.controller.unannounce("server-103", "it is back", ALICE))
        self.assertEqual((told, link.told[1:]), (["client-110"], [("available", "server-103", "it is back")]))
        self.client.unlink()
        self.assertEqual(self.client.connect(self.fleet).told, [])
        self.assertEqual(self.audited(), ["announced", "unannounced"])

    def test_over(self) -> None:
        """
        What is over is told nobody.
        """
        self.successResultOf(self.controller.announce("server-103", 5.0, None, "", ALICE))
        self.client.unlink()
        self.pass_(6)
        self.assertEqual(self.client.connect(self.fleet).told, [])

    def test_saidAnew(self) -> None:
        """
        Word that nobody has taken in the end takes nothing back that was said meanwhile.
        """
        told = Deferred()
        self.client.link.unavailable = lambda *what: told
        first = self.controller.announce("server-103", 60.0, None, "it hangs", ALICE)
        del self.client.link.unavailable
        self.successResultOf(self.controller.announce("server-103", 300.0, None, "it burns", ALICE))
        told.errback(Unreachable("it has not answered"))
        self.failureResultOf(first, OrderRefused)
        self.client.unlink()
        ((*_, why),) = self.client.connect(self.fleet).told
        self.assertEqual(why, "it burns")

    def test_refused(self) -> None:
        """
        By whom it may not, and what cannot be understood.
        """
        announce = self.controller.announce
        self.failureResultOf(announce("server-103", 60.0, None, "", VIEWER), NotAllowed)
        self.failureResultOf(announce("", 60.0, None, "", ALICE), Malformed)
        self.failureResultOf(announce("server-103", -1.0, None, "", ALICE), Malformed)
        self.failureResultOf(announce("server-103", None, None, "", ALICE), Malformed)
        self.failureResultOf(announce("server-103", 1.0, None, "a\r\nb", ALICE), Malformed)
        self.failureResultOf(self.controller.unannounce("server-103", "", VIEWER), NotAllowed)
        self.assertEqual(self.client.link.told, [])
        self.assertEqual(self.audited(), ["refused"] * 6)

    def test_unknown(self) -> None:
        """
        A server that nobody knows is none; one that a client alone knows is.
        """
        for act in (
            lambda: self.controller.announce("server-199", 60.0, None, "", ALICE),
            lambda: self.controller.unannounce("server-199", "", ALICE),
            lambda: self.controller.announce("client-110", 60.0, None, "", ALICE),
        ):
            self.failureResultOf(act(), Unknown)
        self.assertEqual((self.client.link.told, self.audited()), ([], ["refused"] * 3))
        self.fleet.standing("client-110", {"peers": [{"name": "gateway"}]})
        told = self.successResultOf(self.controller.announce("gateway", 60.0, None, "", ALICE))
        self.assertEqual(told, ["client-110"])

    def test_nobody(self) -> None:
        """
        Where no client could be told that is no success, and nothing is left to be told later.
        """
        self.client.unlink()
        why = "no client was told: none that has 'server-103' is linked, or has taken it"
        failure = self.failureResultOf(
            self.controller.announce("server-103", 60.0, None, "", ALICE), OrderRefused
        )
        self.assertEqual(str(failure.value), why)
        failure = self.failureResultOf(self.controller.unannounce("server-103", "", ALICE), OrderRefused)
        self.assertEqual(str(failure.value), why)
        passed = self.controller.announce("server-199", 5.0, None, "", ALICE, passed=True)
        self.assertEqual(self.successResultOf(passed), [])
        self.pass_(6)
        self.assertEqual(self.client.connect(self.fleet).told, [])


class TwoControllers(SynchronousTestCase):
    """
    Two controllers with one store and the same servers, which are ordered at random, are killed, and lose
    links: never are more servers away than the budget lets.
    """

    def setUp(self) -> None:
        """
        Both are there, and all are linked to both.
        """
        self.clock = Clock()
        self.clock.advance(1_000_000.0)
        self.data: dict[str, dict[Any, Any]] = {}
        self.nodes = [SimulatedNode(self.clock, f"server-10{n}") for n in range(4)]
        self.running: dict[str, tuple[Controller, MortalClock, MemoryStore, list[SecondLink]]] = {}
        for name in ("controller-120", "controller-121"):
            self.begin(name)
        self.pass_(6)

    def begin(self, name: str) -> None:
        """
        A controller begins.
        """
        mortal, store = MortalClock(self.clock), MemoryStore(self.data, name)
        fleet = Fleet(self.clock.seconds)
        budgets = [Budget(group="default", away=2)]
        controller = Controller(
            name, mortal, fleet, store, signer, budgets, wallClock=self.clock.seconds
        )
        self.successResultOf(controller.start())
        links = [SecondLink(node, fleet) for node in self.nodes]
        self.running[name] = (controller, mortal, store, links)

    def kill(self, name: str) -> None:
        """
        It ends at once.
        """
        _, mortal, store, links = self.running.pop(name)
        mortal.die()
        store.die()
        for link in links:
            link.dead = True
            link.end()

    def pass_(self, seconds: float) -> None:
        """
        Time goes on, and the budget is never exceeded.
        """
        for _ in range(round(seconds / 0.1)):
            self.clock.advance(0.1)
            away = [node.name for node in self.nodes if node.state != "serving"]
            self.assertLessEqual(len(away), 2, self.where)

    where = ""

    def test_never(self) -> None:
        """
        By seeds, so that what fails once fails again.
        """
        obeyed = 0
        seeds = int(os.environ.get("SIPGRACE_STORMS", "40"))
        for seed in range(seeds):
            chance = Random(seed)
            self.where = f"seed {seed}"
            self.setUp()
            for _ in range(60):
                name = chance.choice(("controller-120", "controller-121"))
                if name not in self.running:
                    if chance.random() < 0.5:
                        self.begin(name)
                elif chance.random() < 0.1:
                    self.kill(name)
                else:
                    self.mishap(name, chance)
                self.pass_(chance.choice((0.0, 0.2, 1.0, 5.0)))
            obeyed += sum(kind == "drain" for node in self.nodes for kind, _ in node.obeyed)
        # It is no wonder that nothing is exceeded where nothing is done.
        self.assertGreater(obeyed, 5 * seeds)

    def mishap(self, name: str, chance: Random) -> None:
        """
        An order, or something that goes wrong.
        """
        controller, _, _, links = self.running[name]
        node = chance.choice(self.nodes)
        kind = chance.choice(("drain", "drain", "drain", "resume", "resume", "cancel", "loses", "link"))
        if kind == "loses":
            node.loses = chance.choice(("order", "silence"))
        elif kind == "link":
            at = self.nodes.index(node)
            links[at].end()
            links[at] = SecondLink(node, controller.fleet)
        else:
            values = {"node": node.name, "kind": kind, "queue": chance.random() < 0.3}
            ordered = controller.order(values, ALICE)
            ordered.addErrback(lambda failure: failure.trap(OrderRefused, Unreachable))
