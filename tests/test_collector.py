"""
What is left for the garbage collector of a server's calls: nothing, which is why it may look so seldom
(L{sipgrace.tap.collector}).
"""

from __future__ import annotations

import gc

from twisted.trial.unittest import SynchronousTestCase

from sipgrace.tap.collector import settleCollector
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


class SettleTests(SynchronousTestCase):
    """
    The process as it is from its start on.
    """

    def test_settled(self) -> None:
        """
        What is there is left alone, and new objects are looked at seldom, but are.
        """
        self.addCleanup(gc.set_threshold, *gc.get_threshold())
        self.addCleanup(gc.unfreeze)
        settleCollector()
        self.assertGreater(gc.get_freeze_count(), 10_000)
        self.assertTrue(gc.isenabled())
        self.assertTrue(all(10 <= threshold <= 100_000 for threshold in gc.get_threshold()))
