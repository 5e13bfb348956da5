"""
The record of a drain.
"""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from sipgrace.errors import OrderRefused
from sipgrace.lifecycle.orders import Kind
from sipgrace.lifecycle.report import DrainReport, Reporter
from tests.test_lifecycle_machine import Call, World, order


class Refusing:
    refused = 7


class ReporterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World()
        self.gate = Refusing()
        self.published: list[DrainReport] = []
        self.reporter = Reporter("server-102", self.world.ledger, self.gate, self.published.append)
        self.world.lifecycle.observe(self.reporter)
        # What was before is none of the drain's business.
        Call(self.world, "long ago").end()

    def test_drain(self) -> None:
        """
        One call ends in time, one is let in and ends, one is forced; an association has to be aborted.
        """
        world = self.world
        first, _ = Call(world, "first"), Call(world, "second")
        world.clock.advance(3)
        world.lifecycle.drain(order(guard=30))
        self.gate.refused += 4
        world.clock.advance(1.5)
        first.end()
        Call(world, "emergency").end()
        world.lifecycle.extend(10, order(Kind.EXTEND, guard=10))
        world.clock.advance(37.5)
        self.assertEqual(self.published, [])
        world.associations.count = 1
        self.gate.refused += 1
        world.associations.atOnce = True
        world.clock.advance(1)
        expected = DrainReport(
            server="server-102",
            orders=(order(guard=30), order(Kind.EXTEND, guard=10)),
            startedAt=1003,
            guard=40,
            retryAfter=70,
            waiting=2,
            associations=2,
            accepted=1,
            refused=5,
            settled=2,
            forced=1,
            failed=0,
            aborted=1,
            drainedAfter=39,
            associationsGoneAfter=40,
        )
        self.assertEqual(self.published, [expected])
        self.assertIs(self.reporter.last, self.published[0])
        world.clock.advance(20)
        # Refused by somebody else's doing: after the drain.
        self.gate.refused += 100
        world.lifecycle.resume()
        self.assertEqual(len(self.published), 2)
        self.assertEqual(self.published[1].backAfter, world.clock.seconds() - 1003)
        self.assertEqual(self.published[1].refused, 5)

    def test_cancelled(self) -> None:
        Call(self.world, "call")
        self.world.lifecycle.drain(order())
        self.world.clock.advance(4)
        self.world.lifecycle.drain(order(guard=9))
        self.world.clock.advance(1)
        self.world.lifecycle.cancel(order(Kind.CANCEL))
        self.gate.refused += 100
        self.assertEqual(
            self.published,
            [
                DrainReport(
                    server="server-102",
                    orders=(order(), order(guard=9), order(Kind.CANCEL)),
                    startedAt=1000,
                    guard=13,
                    retryAfter=43,
                    waiting=1,
                    associations=2,
                    cancelledAfter=5,
                    backAfter=5,
                )
            ],
        )
        self.world.lifecycle.drain(order())
        self.assertEqual((self.reporter.last.refused, self.reporter.last.orders), (0, (order(),)))

    def test_takenOffline(self) -> None:
        """
        Without a drain: guard 0, and the report is completed when the associations have gone.
        """
        Call(self.world, "call")
        self.world.lifecycle.offline(order(Kind.OFFLINE))
        self.world.clock.advance(0.25)
        self.world.associations.go()
        expected = DrainReport(
            server="server-102",
            orders=(order(Kind.OFFLINE),),
            startedAt=1000,
            guard=0,
            retryAfter=30,
            waiting=1,
            associations=2,
            forced=1,
            aborted=2,
            drainedAfter=0,
        )
        self.assertEqual(self.published[0], expected)
        self.assertEqual([report.associationsGoneAfter for report in self.published], [None, 0.25])
        self.world.associations.go()
        self.assertEqual(len(self.published), 2)

    def test_refusedOrder(self) -> None:
        """
        What was refused does not count among the orders.
        """
        Call(self.world, "call")
        self.world.lifecycle.drain(order())
        before = self.reporter.last
        self.assertRaises(OrderRefused, self.world.lifecycle.drain, order(guard=900))
        self.assertEqual(self.reporter.last, before)

    def test_neverDrained(self) -> None:
        self.world.lifecycle.resume()
        self.assertRaises(OrderRefused, self.world.lifecycle.cancel)
        self.assertIs(self.reporter.last, None)

    def test_failedSettlement(self) -> None:
        Call(self.world, "call").whenForced = lambda: 1 / 0
        self.world.lifecycle.drain(order(guard=0))
        self.assertEqual((self.reporter.last.failed, self.reporter.last.forced), (1, 0))
        self.assertEqual(self.reporter.last.settled, 0)
        self.flushLoggedErrors(ZeroDivisionError)

    def test_toJSON(self) -> None:
        self.world.associations.atOnce = True
        self.world.lifecycle.drain(order())
        text = json.dumps(self.published[0].toJSON())
        self.assertEqual(
            json.loads(text),
            {
                "server": "server-102",
                "orders": [
                    {
                        "kind": "drain",
                        "who": "operator",
                        "when": 1.0,
                        "why": "upgrade",
                        "guard": None,
                        "retryAfter": None,
                        "announce": None,
                        "back": None,
                    }
                ],
                "started_at": 1000.0,
                "guard_s": 30.0,
                "retry_after_s": 60.0,
                "waiting": 0,
                "associations": 2,
                "accepted": 0,
                "refused": 0,
                "settled": 0,
                "forced": 0,
                "failed": 0,
                "aborted": 0,
                "drained_after_s": 0.0,
                "associations_gone_after_s": 0.0,
                "cancelled_after_s": None,
                "back_after_s": None,
            },
        )
