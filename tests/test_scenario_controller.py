"""
A rolling maintenance of the reference network by its controller, real processes all of them, with calls under
way; and the controller killed in the middle of it. What is asserted stands in the servers' own audit logs.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from sipgrace.demo.plan import SERVERS
from tests.children import Child
from tests.test_demo import prefix, running

NAMES = [server.name for server in SERVERS]


class Rolling(TestCase):
    """
    Whole runs.
    """

    timeout = 240

    async def roll(self, *arguments: str, calls: int) -> dict[str, Any]:
        """
        @return: the figures of a run in which no call failed or was lost, and every server was drained,
            maintained and brought back once.
        """
        self.directory = Path(self.mktemp()).absolute()
        figures = self.directory.with_suffix(".json")
        child = Child(
            self,
            *("-m", "sipgrace.commands.main", "demo", "--rolling", "--loopback", prefix()),
            *("--files", str(self.directory), "--json", str(figures)),
            *("--calls", str(calls), "--rate", "20", "--ring", "0.4", "--guard", "2", *arguments),
        )
        status = await child.ended
        said = (child.output + child.errors).decode()
        self.assertEqual(running(self.directory), [])
        # On a busy machine all is late, which is judged elsewhere.
        self.assertIn(status, (0, 4), said)
        found: dict[str, Any] = json.loads(figures.read_text())
        self.assertEqual(
            {key: found[key] for key in found if key.startswith("calls_") or key in ("troubles", "error")},
            {
                "calls_started": calls,
                "calls_completed": calls,
                "calls_failed": 0,
                "calls_lost": 0,
                "calls_rerouted": found["calls_rerouted"],
                "troubles": [],
                "error": "",
            },
            said,
        )
        self.assertEqual([drain["trouble"] for drain in found["drains"]], [""] * 4, said)
        self.assertEqual([drain["server"] for drain in found["drains"]], NAMES, said)
        rolling = found["rolling"]
        self.assertEqual((rolling["progress"], rolling["text"]), ("done", ""), said)
        for name in NAMES:
            self.assertEqual(self.obeyed(name), ["drain", "resume"], said)
            self.assertEqual(rolling["servers"][name], {"drains": 1, "maintained": 1, "resumes": 1})
        self.assertEqual((self.directory / "maintained").read_text().split(), NAMES)
        return found

    def obeyed(self, name: str) -> list[str]:
        """
        @return: the kinds of the orders that came to a server over its link and were obeyed.
        """
        lines = (self.directory / f"{name}.audit").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        return [
            record["order"]["kind"]
            for record in records
            if record["what"] == "obeyed" and record["source"] == "link"
        ]

    async def test_all(self) -> None:
        """
        Every server is maintained once, one after another; the next one begins when the one before is back
        on all clients' lists.
        """
        found = await self.roll(calls=320)
        self.assertEqual(found["rolling"]["controller_killed"], [])
        for one, after in zip(found["drains"], found["drains"][1:], strict=False):
            self.assertLess(one["begun_at_s"] + one["back_after_s"], after["begun_at_s"])
        self.assertEqual(os.path.getsize(self.directory / "maintained"), sum(len(one) + 1 for one in NAMES))

    async def test_killed(self) -> None:
        """
        The controller is killed while the second server drains, and again while the third is worked at. It
        goes on where it was: no server is drained twice, none is left behind.
        """
        found = await self.roll("--kill-controller", calls=440)
        self.assertEqual(
            found["rolling"]["controller_killed"], ["server-104 draining", "server-106 maintaining"]
        )
        log = (self.directory / "controller-120.log").read_text()
        self.assertEqual(log.count("links at "), 3)
