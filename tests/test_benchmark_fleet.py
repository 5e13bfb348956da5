"""
The benchmark of a controller and its fleet, with a small fleet: that it measures what it says.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.fleet import MEMORY, VISIBLE, fleetFigures, percentile
from benchmarks.fleetnodes import nodesOf


class Fleet(SynchronousTestCase):
    """
    Simulated nodes, a real controller.
    """

    def test_figures(self) -> None:
        """
        Every change is seen in the stream, one of five by GET as well, and none before the node has said so.
        """
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        found = fleetFigures(20, 1.0, 20.0, folder)
        self.assertEqual((found["nodes"], found["servers"]), (20, 4))
        seen = found["visible_ms"]
        self.assertGreaterEqual(seen["stream"]["of"], 15)
        self.assertEqual(seen["get"]["of"], seen["stream"]["of"] // 5)
        for way in seen.values():
            self.assertTrue(0 < way["p50"] <= way["p99"], seen)
        self.assertTrue(20 < found["memory_mib"] < MEMORY, found)
        self.assertEqual(found["bounds"], {"visible_ms": VISIBLE, "memory_mib": MEMORY})

    def test_nodes(self) -> None:
        """
        Each client knows eight servers, and is known to them.
        """
        nodes = nodesOf(None, 100)
        self.assertEqual([node.role for node in nodes], ["server"] * 20 + ["client"] * 80)
        self.assertEqual(sum(len(node.peers) for node in nodes[:20]), 80 * 8)
        self.assertEqual({len(node.peers) for node in nodes[20:]}, {8})

    def test_percentile(self) -> None:
        """
        One that occurred.
        """
        self.assertIsNone(percentile([], 99))
        self.assertEqual(percentile([float(each) for each in range(200)], 99), 197.0)
