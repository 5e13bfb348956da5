"""
Orders and rolling maintenances for later, at the controller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import deferLater

from sipgrace.controller.facts import Person, ScheduleRecord
from sipgrace.controller.schedules import nextOf
from sipgrace.controller.web.problems import problemOf
from sipgrace.errors import Malformed, NotAllowed, OrderRefused, StoreError, Unknown
from tests.test_controller_orders import ADMIN, ALICE, VIEWER, OrdersCase

#: The clock of the tests begins 10 s after this: 1970-01-12 13:46:40 UTC, a Monday.
BEGAN = 1_000_000.0


class Schedules(OrdersCase):
    """
    What is done when, and what is left out.
    """

    def add(self, person: Person = ALICE, **values: Any) -> ScheduleRecord:
        """
        Schedules something; a drain of server-102 unless it says so.
        """
        values.setdefault("what", "order")
        values.setdefault("values", {"node": "server-102", "kind": "drain"})
        record: ScheduleRecord = self.successResultOf(self.controller.schedule(values, person))
        return record

    def all(self) -> list[ScheduleRecord]:
        """
        As they are stored.
        """
        found: list[ScheduleRecord] = self.successResultOf(self.controller.schedules())
        return found

    def times(self) -> int:
        """
        How often server-102 was drained.
        """
        return [kind for kind, _ in self.node.obeyed].count("drain")

    def test_once(self) -> None:
        """
        Once, at its time, in the name of whoever asked for it.
        """
        record = self.add(at=BEGAN + 100, values={"node": "server-102", "kind": "drain", "why": "kernel"})
        self.assertEqual((record.who, record.role, record.by), ("alice", "operator", "controller-120"))
        self.assertEqual((record.next, self.all()), (BEGAN + 100, [record]))
        self.pass_(89)
        self.assertEqual(self.times(), 0)
        self.pass_(2)
        self.assertEqual(self.times(), 1)
        order = self.successResultOf(self.controller.orders())[0]
        self.assertEqual((order.who, order.order["why"]), ("alice", "kernel"))
        self.assertEqual([one.next for one in self.all()], [None])
        self.pass_(200)
        self.assertEqual(self.times(), 1)
        self.assertEqual(self.audited(), ["schedule", "order", "ended"])

    def test_cron(self) -> None:
        """
        Time and again, until it is taken back.
        """
        record = self.add(
            cron="*/10 * * * *", what="rolling", values={"servers": ["server-102"], "settle": 1}
        )
        # 13:50.
        self.assertEqual(record.next, BEGAN + 200)
        self.pass_(230)
        self.assertEqual(self.times(), 1)
        self.assertEqual([one.next for one in self.all()], [BEGAN + 800])
        self.assertEqual(self.successResultOf(self.controller.rollings())[0].progress, "done")
        self.pass_(600)
        self.assertEqual(self.times(), 2)
        self.failureResultOf(self.controller.unschedule(record.id, VIEWER), NotAllowed)
        self.successResultOf(self.controller.unschedule(record.id, ALICE))
        self.failureResultOf(self.controller.unschedule(record.id, ALICE), Unknown)
        self.assertEqual(self.all(), [])
        self.pass_(700)
        self.assertEqual(self.times(), 2)

    def test_takenBackMeanwhile(self) -> None:
        """
        What becomes due while its removal is under way is not done any more, nor kept again.
        """
        record = self.add(cron="*/10 * * * *", values={"node": "server-102", "kind": "rehearse"})

        def slowly(work: Any) -> Any:
            # What was asked first is done first; only the answer takes a while.
            def asked(value: Any) -> Deferred[None]:
                work(value)
                return deferLater(self.clock, 2, lambda: None)

            return asked

        self.store.putSchedule = slowly(self.store.putSchedule)
        self.store.removeSchedule = slowly(self.store.removeSchedule)
        self.pass_(189)
        gone = self.controller.unschedule(record.id, ALICE)
        # 13:50.
        self.pass_(5)
        self.successResultOf(gone)
        self.assertEqual((self.all(), self.node.obeyed), ([], []))
        self.pass_(600)
        self.assertEqual((self.all(), self.node.obeyed), ([], []))

    def test_removalFails(self) -> None:
        """
        What the store could not remove is still there.
        """
        record = self.add(cron="*/10 * * * *", values={"node": "server-102", "kind": "drain"})
        self.store.removeSchedule = lambda id: fail(StoreError("no answer"))
        self.failureResultOf(self.controller.unschedule(record.id, ALICE), StoreError)
        self.pass_(200)
        self.assertEqual(self.times(), 1)

    def test_missedShortly(self) -> None:
        """
        What was due while the controller was away for a moment is done.
        """
        self.add(at=BEGAN + 100)
        self.kill()
        self.pass_(150)
        self.begin()
        self.pass_(10)
        self.assertEqual(self.times(), 1)

    def test_notLinkedYet(self) -> None:
        """
        What is due right after a start waits for the nodes to link up: an order for its own, a rolling
        maintenance for a minute.
        """
        self.add(at=BEGAN + 100)
        self.add(at=BEGAN + 100, what="rolling", values={"servers": ["server-103"], "settle": 1})
        self.kill()
        self.pass_(100)
        nodes, self.nodes = self.nodes, {}
        self.begin()
        self.pass_(20)
        self.assertEqual(self.successResultOf(self.controller.orders()), [])
        for node in nodes.values():
            node.connect(self.fleet)
        self.nodes = nodes
        self.pass_(6)
        self.assertEqual((self.times(), self.nodes["server-103"].obeyed), (1, []))
        self.pass_(60)
        self.assertEqual([kind for kind, _ in self.nodes["server-103"].obeyed], ["drain", "resume"])

    def test_missedLong(self) -> None:
        """
        What was due long ago is left out, and that is written down; the next time counts again.
        """
        self.add(at=BEGAN + 100)
        self.add(cron="0 * * * *", values={"node": "server-103", "kind": "drain"})
        self.kill()
        self.clock.advance(1200)
        self.begin()
        self.pass_(10)
        self.assertEqual(self.times(), 0)
        self.assertEqual(self.audited().count("missed"), 2)
        # 15:00.
        self.assertEqual(sorted(one.next or 0.0 for one in self.all()), [0.0, BEGAN + 4400])
        self.pass_(3300)
        self.assertEqual([kind for kind, _ in self.nodes["server-103"].obeyed], ["drain"])

    def test_killed(self) -> None:
        """
        Wherever the controller dies, it is done once.
        """
        for number in range(7):
            for rolling in (False, True):
                self.setUp()
                if rolling:
                    self.add(at=BEGAN + 20, what="rolling", values={"servers": ["server-102"], "settle": 1})
                else:
                    self.add(at=BEGAN + 20)
                count = 0

                def die(what: str, number: int = number) -> None:
                    nonlocal count
                    count += 1
                    if count == number + 1:
                        self.kill()

                self.store.onWrite = die
                self.pass_(15)
                self.store.onWrite = lambda what: None
                self.kill()
                self.pass_(2)
                self.begin()
                self.pass_(80)
                self.assertEqual(self.times(), 1, f"killed at write {number}, rolling: {rolling}")

    def test_refusedThen(self) -> None:
        """
        What is refused when its time has come is written down; the next time it is tried again.
        """
        self.add(cron="*/10 * * * *")
        self.node.refuses = "no"
        self.pass_(230)
        self.assertEqual(self.times(), 0)
        self.assertIn("refused", self.audited())
        ((key, alert),) = self.controller.alerts.firing.items()
        self.assertEqual(key[0], "schedule")
        self.assertTrue(alert["text"].endswith(": no"), alert["text"])
        self.pass_(600)
        self.assertEqual(self.times(), 1)
        self.assertEqual(self.controller.alerts.firing, {})

    def test_storeBroken(self) -> None:
        """
        It waits for the store.
        """
        self.add(at=BEGAN + 100)
        self.store.broken = "no space"
        self.pass_(120)
        self.assertEqual(self.times(), 0)
        self.store.broken = ""
        self.pass_(10)
        self.assertEqual(self.times(), 1)
        self.assertEqual([one.next for one in self.all()], [None])
        self.store.broken = "no space"
        self.failureResultOf(
            self.controller.schedule({"what": "rolling", "values": {"select": {}}, "at": BEGAN + 900}, ALICE),
            StoreError,
        )

    def test_others(self) -> None:
        """
        What another controller sees to is left to it.
        """
        record = self.add(at=BEGAN + 100)
        self.store.putSchedule(replace(record, by="controller-121"))
        self.kill()
        self.begin()
        self.pass_(120)
        self.assertEqual(self.times(), 0)
        failure = self.failureResultOf(self.controller.unschedule(record.id, ALICE), OrderRefused)
        self.assertEqual(str(failure.value), "it is seen to by controller-121; take it back there")

    def test_role(self) -> None:
        """
        An admin's is taken back by an admin.
        """
        record = self.add(ADMIN, at=BEGAN + 100, values={"node": "server-102", "kind": "offline"})
        self.failureResultOf(self.controller.unschedule(record.id, ALICE), NotAllowed)
        self.pass_(100)
        self.assertEqual([kind for kind, _ in self.node.obeyed], ["offline"])

    def test_refused(self) -> None:
        """
        What cannot be meant, or not by this person.
        """
        drain = {"node": "server-102", "kind": "drain"}
        for values, expected, why in [
            ({"what": "dance", "at": 2e6}, Malformed, "what is none of order, rolling"),
            ({"what": "order", "values": drain}, Malformed, "at, or cron, is expected"),
            ({"what": "order", "values": drain, "at": 2e6, "cron": "* * * * *"}, Malformed, "not both"),
            ({"what": "order", "values": drain, "at": 5.0}, Malformed, "it would never come to pass"),
            ({"what": "order", "values": drain, "cron": "x"}, Malformed, "the schedule: cron: "),
            ({"what": "order", "values": drain, "cron": "0 0 31 2 *"}, Malformed, ""),
            (
                {"what": "order", "values": drain, "cron": "* * * * *", "zone": "Moon"},
                Malformed,
                "the time zone 'Moon' is not known",
            ),
            (
                {"what": "order", "values": drain, "cron": "* * * * *", "zone": "../../etc/passwd"},
                Malformed,
                "is not known",
            ),
            ({"what": "order", "values": drain | {"at": 2e6}, "at": 2e6}, Malformed, "beside its values"),
            ({"what": "order", "values": [], "at": 2e6}, Malformed, "values is no object"),
            ({"what": "order", "values": {"node": "a"}, "at": 2e6}, Malformed, "its kind is none of"),
            (
                {"what": "order", "values": {"node": "a", "kind": "offline"}, "at": 2e6},
                NotAllowed,
                "takes the role admin",
            ),
            ({"what": "rolling", "values": {}, "at": 2e6}, Malformed, "servers, or select, is expected"),
            (
                {"what": "order", "values": {"node": "nobody", "kind": "drain"}, "at": 2e6},
                Unknown,
                "'nobody' is no node of this fleet",
            ),
            (
                {"what": "rolling", "values": {"servers": ["nobody"]}, "at": 2e6},
                Unknown,
                "'nobody' is no node of this fleet",
            ),
        ]:
            failure = self.failureResultOf(self.controller.schedule(values, ALICE), expected)
            self.assertIn(why, str(failure.value))
            status = {Malformed: 400, Unknown: 404}.get(expected, 403)
            self.assertEqual(problemOf(failure.value).status, status)
        failure = self.failureResultOf(
            self.controller.schedule({"what": "rolling", "values": {"select": {}}, "at": 2e6}, VIEWER),
            NotAllowed,
        )
        self.assertEqual(self.all(), [])

    def test_summerTime(self) -> None:
        """
        Cron goes by the zone's own time, over its changes.
        """
        common: Mapping[str, Any] = {"id": "x", "what": "order", "values": {}, "who": "a", "role": "admin"}
        record = ScheduleRecord(cron="30 2 * * *", zone="Europe/Berlin", **common)
        zone = ZoneInfo("Europe/Berlin")
        after = datetime(2026, 3, 28, 12, tzinfo=zone).timestamp()
        # 2:30 does not exist on the 29th.
        first = nextOf(record, after)
        assert first is not None
        self.assertEqual(datetime.fromtimestamp(first, UTC), datetime(2026, 3, 29, 1, 0, tzinfo=UTC))
        second = nextOf(record, first)
        assert second is not None
        self.assertEqual(datetime.fromtimestamp(second, zone), datetime(2026, 3, 30, 2, 30, tzinfo=zone))

