"""
What is left for the garbage collector of a server's calls: nothing, which is why it may look so seldom
(L{sipgrace.tap.collector}).
"""

from __future__ import annotations

import gc
import itertools
import sys
from typing import Any, cast
from unittest.mock import patch

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.tap.collector import Collector
from sipgrace.transaction.layer import TransactionLayer
from sipgrace.transaction.timers import TimerQueue
from tests.proxyrig import ProxyRig

#: Answered, refused, taken back, answered elsewhere, not answered at all, and their association lost.
CALLS = (
    ("INVITE", "a 100", "a 180", "a 200", "+40"),
    ("BYE", "a 200 BYE", "+40"),
    ("INVITE", "a 486", "ACK", "+40"),
    ("INVITE", "a 180", "CANCEL", "a 200 CANCEL", "a 487", "ACK", "+40"),
    ("INVITE", "a 503", "b 180", "b 200", "+40"),
    ("INVITE", "+200"),
    ("MESSAGE", "+200"),
    ("INVITE", "lose a", "b 200", "+40"),
)


class GarbageTests(SynchronousTestCase):
    """
    Whole calls, looked at when the last of their transactions has ended.
    """

    def found(self, transport: bytes) -> dict[str, int]:
        """
        How many objects only the collector can free, after each kind of call.
        """
        rig = ProxyRig(transport, transport)
        rig.role.plan = ["a", "b"]
        counts = {}
        for steps in CALLS:
            # The first of its kind may fill caches.
            for _ in range(2):
                gc.collect()
                gc.disable()
                try:
                    for step in steps:
                        rig.step(step)
                    rig.events.clear()
                    for line in rig.lines.values():
                        line.sent.clear()
                        line.up = True
                finally:
                    gc.enable()
                counts[", ".join(steps)] = gc.collect()
        return counts

    def test_none(self) -> None:
        """
        Over a reliable transport and over UDP.
        """
        for transport in (b"SCTP", b"UDP"):
            self.assertEqual(
                self.found(transport), {", ".join(steps): 0 for steps in CALLS}, f"over {transport!r}"
            )


class CollectorTests(SynchronousTestCase):
    """
    A process from its start on.
    """

    def setUp(self) -> None:
        self.addCleanup(gc.unfreeze)
        self.clock = Clock()
        self.layer = TransactionLayer(TimerQueue(self.clock), cast(Any, None))
        self.collector = Collector(self.clock, self.layer)
        self.collector.startService()
        self.addCleanup(lambda: self.collector.running and self.collector.stopService())

    def test_life(self) -> None:
        """
        What is there is left alone, and nothing is looked at while messages pass, until it ends.
        """
        self.assertGreater(gc.get_freeze_count(), 10_000)
        self.assertFalse(gc.isenabled())
        self.collector.stopService()
        self.assertTrue(gc.isenabled())
        self.clock.advance(3600)
        self.assertEqual(self.collector.collected, 0)

    def test_quiet(self) -> None:
        """
        While there is little to be gone through, garbage goes.
        """
        gone: list[str] = []

        class Cycle:
            def __init__(self) -> None:
                self.own = self

            def __del__(self) -> None:
                gone.append("gone")

        Cycle()
        self.assertEqual(gone, [])
        self.clock.pump([5] * 6)
        self.assertEqual(gone, ["gone"])
        self.assertEqual(self.collector.collected, 1)

    def busy(self, containers: int, transactions: int = 0) -> None:
        """
        Half a minute with so many containers more than after the last collection, and very much to be gone
        through, which takes a sixteenth of a second.
        """
        blocks = sys.getallocatedblocks() + 1_000_000
        self.layer.clients = dict.fromkeys(range(transactions))
        times = (turn * 0.0625 for turn in itertools.count())
        with (
            patch("sys.getallocatedblocks", lambda: blocks),
            patch("gc.get_count", lambda: (containers, 0, 0)),
            patch("sipgrace.tap.collector.perf_counter", lambda: next(times)),
        ):
            self.clock.pump([5] * 6)

    def test_calls(self) -> None:
        """
        What belongs to calls is left alone, however many there are.
        """
        self.busy(99_000)
        self.busy(450_000, 90_000)
        self.assertEqual(self.collector.collected, 0)

    def test_garbage(self) -> None:
        """
        What does not is collected, whatever the calls, for a hundredth of the time.
        """
        self.busy(600_000, 90_000)
        self.assertEqual(self.collector.collected, 3)
        # After that these calls are no news.
        self.busy(99_000, 90_000)
        self.assertEqual(self.collector.collected, 3)
