"""
The record of a drain.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.errors import ConfigError, OrderRefused
from sipgrace.lifecycle.afterdrain import Done
from sipgrace.lifecycle.estimate import Estimate
from sipgrace.lifecycle.orders import Kind, Order
from sipgrace.lifecycle.report import DrainReport, Reporter
from sipgrace.lifecycle.reportfiles import ReportFiles
from sipgrace.lifecycle.reportpage import page
from sipgrace.lifecycle.reportplot import plot, ticks
from sipgrace.lifecycle.timeline import Course, Timeline
from tests.test_lifecycle_audit import atOnce
from tests.test_lifecycle_machine import Call, World, order

#: In seconds since the epoch.
WHEN = 1763800000.0

REPORT = DrainReport(
    server="server-102",
    orders=(
        Order(
            kind=Kind.DRAIN,
            who="mallory",
            when=WHEN,
            why="<script>alert(1)</script> & more",
            guard=30,
            then="run",
        ),
    ),
    startedAt=1000,
    guard=30,
    retryAfter=60,
    waiting=20,
    associations=2,
    refused=30,
    settled=19,
    forced=1,
    drainedAfter=3.5,
    associationsGoneAfter=4,
    startedWall=WHEN,
    estimate=4.2,
    estimatedFrom="observed",
    course=Course(("accepted", "refused"), ((0, 20, (0, 0)), (2, 10, (0, 30)), (4, 0, (0, 30)))),
    marks=((0, "draining"), (3.5, "drained"), (4, "offline")),
    maintenance=Done(command="echo '</p>'", status=1, seconds=2, output="<b>no</b>"),
)


class Parser(HTMLParser):
    """
    Notes what is in a page.
    """

    VOID = ("meta",)

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(f"{data} ")


class Refusing:
    refused = 7


class ReporterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World()
        self.gate = Refusing()
        self.published: list[DrainReport] = []
        self.reporter = Reporter(
            "server-102",
            self.world.ledger,
            self.gate,
            self.published.append,
            estimate=lambda: Estimate(12.5, "observed", 2),
            wallClock=lambda: WHEN,
        )
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
            stoppedAfter=0,
            drainedAfter=39,
            associationsGoneAfter=40,
            startedWall=WHEN,
            estimate=12.5,
            estimatedFrom="observed",
            marks=((0, "draining"), (1.5, "extended"), (39, "drained"), (40, "aborted"), (40, "offline")),
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
        self.assertEqual(self.published[1].marks[5:], ((60, "serving"),))

    def test_gradual(self) -> None:
        """
        It begins when the first call is refused; guard, Retry-After and what was needed count from the full
        stop.
        """
        world = self.world
        call = Call(world, "call")
        world.lifecycle.drain(order(guard=30, retryAfter=50, over=20))
        self.gate.refused += 10
        world.clock.advance(20)
        world.clock.advance(3)
        world.associations.atOnce = True
        call.end()
        world.clock.advance(0)
        (report,) = self.published
        self.assertEqual(
            (report.startedAt, report.stoppedAfter, report.drainedAfter, report.needed, report.refused),
            (1000, 20, 23, 3, 10),
        )
        self.assertEqual((report.guard, report.retryAfter, len(report.orders)), (30, 50, 1))
        self.assertEqual(
            report.marks, ((0, "slowing"), (20, "draining"), (23, "drained"), (23, "offline"))
        )

    def test_gradualOvertaken(self) -> None:
        """
        By an order to stop at once.
        """
        Call(self.world, "call")
        self.world.lifecycle.drain(order(over=20))
        self.world.clock.advance(5)
        self.world.lifecycle.drain(order(guard=7))
        last = self.reporter.last
        assert last is not None
        self.assertEqual(last.orders, (order(over=20), order(guard=7)))
        self.assertEqual((last.stoppedAfter, last.guard), (5, 7))

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
                    stoppedAfter=0,
                    cancelledAfter=5,
                    backAfter=5,
                    startedWall=WHEN,
                    estimate=12.5,
                    estimatedFrom="observed",
                    marks=((0, "draining"), (4, "joined"), (5, "cancelled")),
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
            startedWall=WHEN,
            estimate=12.5,
            estimatedFrom="observed",
            marks=((0, "offline"),),
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
                "started": "2025-11-22T08:26:40.000Z",
                "started_at": 1000.0,
                "guard_s": 30.0,
                "guard_estimate_s": 12.5,
                "guard_estimated_from": "observed",
                "retry_after_s": 60.0,
                "waiting": 0,
                "associations": 2,
                "accepted": 0,
                "refused": 0,
                "settled": 0,
                "forced": 0,
                "failed": 0,
                "aborted": 0,
                "stopped_after_s": 0.0,
                "drained_after_s": 0.0,
                "cut_off": False,
                "associations_gone_after_s": 0.0,
                "cancelled_after_s": None,
                "back_after_s": None,
                "last_invite_after_s": None,
                "marks": [[0.0, "draining"], [0.0, "drained"], [0.0, "offline"]],
                "timeline": {"columns": ["after_s", "waiting"], "rows": []},
                "maintenance": None,
            },
        )

    def test_maintained(self) -> None:
        """
        What became of the command is in the report, which is published again.
        """
        done = Done(command="upgrade", status=3, seconds=2.25, output="no disk left\n")
        self.reporter.maintained(done)
        self.assertEqual(self.published, [])
        self.world.associations.atOnce = True
        self.world.lifecycle.drain(order())
        self.reporter.maintained(done)
        self.assertEqual([report.maintenance for report in self.published], [None, done])
        self.assertEqual(
            self.published[1].toJSON()["maintenance"],
            {
                "command": "upgrade",
                "exit_status": 3,
                "signal": None,
                "seconds": 2.25,
                "timed_out": False,
                "output": "no disk left\n",
            },
        )


class TimelineTests(SynchronousTestCase):
    """
    The course of a drain.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.counts = {"accepted": 100, "refused": 7}
        self.waiting = 2
        counters = {name: lambda name=name: self.counts[name] for name in self.counts}
        self.timeline = Timeline(self.clock, lambda: self.waiting, counters)

    def test_course(self) -> None:
        """
        All counts from the beginning on; nothing before it, nor after its end.
        """
        self.assertEqual(self.timeline.course(), Course(("accepted", "refused"), ()))
        self.timeline(0)
        self.timeline.begin()
        self.clock.advance(0.25)
        self.counts["refused"] += 3
        self.timeline(0)
        self.clock.advance(0.125)
        self.waiting = 0
        self.timeline.end()
        self.timeline.end()
        self.clock.advance(0.25)
        self.timeline(0)
        course = self.timeline.course()
        self.assertEqual(course.rows, ((0.0, 2, (0, 0)), (0.25, 2, (0, 3)), (0.375, 0, (0, 3))))
        self.assertEqual(
            course.toJSON(),
            {
                "columns": ["after_s", "waiting", "accepted", "refused"],
                "rows": [[0.0, 2, 0, 0], [0.25, 2, 0, 3], [0.375, 0, 0, 3]],
            },
        )
        self.timeline.begin()
        self.assertEqual(self.timeline.course().rows, ((0.0, 0, (0, 0)),))

    def test_long(self) -> None:
        """
        A drain of a day takes no more room than one of minutes; its ends are kept.
        """
        self.timeline.begin()
        for _ in range(4 * 3600):
            self.clock.advance(0.25)
            self.counts["accepted"] += 1
            self.timeline(0)
        self.timeline.end()
        rows = self.timeline.course().rows
        self.assertTrue(300 <= len(rows) <= 601, len(rows))
        self.assertEqual((rows[0][0], rows[-1][0]), (0.0, 3600.0))
        self.assertEqual(rows[-1][2], (14400, 0))
        self.assertEqual([row[0] for row in rows], sorted({row[0] for row in rows}))


class PlotTests(SynchronousTestCase):
    def test_ticks(self) -> None:
        """
        Round numbers, whatever the size.
        """
        self.assertEqual(ticks(0), [0.0])
        self.assertEqual(ticks(1), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0])
        self.assertEqual(ticks(30), [0, 5, 10, 15, 20, 25, 30])
        self.assertEqual(ticks(12345)[:3], [0, 5000, 10000])

    def test_plot(self) -> None:
        """
        One area, one line for each count, one mark for each moment; well formed.
        """
        root = ElementTree.fromstring(plot(REPORT))
        paths = [path.get("class") for path in root.iter("path")]
        self.assertEqual([name for name in paths if name == "waiting"], ["waiting"])
        self.assertEqual(
            [name for name in paths if name and name.startswith("line")], ["line accepted", "line refused"]
        )
        self.assertEqual(paths.count("mark"), 3)
        # Steps: level for 2 s, then up.
        line = next(path for path in root.iter("path") if path.get("class") == "line refused")
        self.assertEqual(line.get("d"), "M56.0 338.0H500.0V59.9H944.0")
        self.assertEqual(line.findtext("title"), "refused: 30")

    def test_empty(self) -> None:
        """
        A drain that was over before anything was seen.
        """
        report = DrainReport(
            server="s", orders=(), startedAt=0, guard=0, retryAfter=0, waiting=0, associations=0
        )
        ElementTree.fromstring(plot(report))
        page(report)


class PageTests(SynchronousTestCase):
    def test_page(self) -> None:
        """
        All that counts is there, for people; nothing is loaded, nothing run, whatever the words in it.
        """
        text = page(REPORT)
        parser = Parser()
        parser.feed(text)
        parser.close()
        self.assertEqual(parser.open, [])
        self.assertEqual(set(parser.tags) & {"script", "link", "img", "iframe", "object", "form"}, set())
        self.assertEqual([name for name in parser.attributes if name in ("src", "href", "onload")], [])
        self.assertNotIn("url(", text)
        self.assertNotIn("<script>", text)
        words = " ".join("".join(parser.text).split())
        for expected in (
            "Drain of server-102",
            "2025-11-22T08:26:40.000Z \N{MIDDLE DOT} cut off after 3.50 s, 1 call ended by force",
            "Guard 30.00 s Guard as estimated 4.20 s (observed)",
            "Time needed 3.50 s (cut off: more, had it been let)",
            "drain by mallory: <script>alert(1)</script> & more (guard 30 s, then run)",
            "echo '</p>': exit status 1 after 2.0 s",
            "<b>no</b>",
        ):
            self.assertIn(expected, words)


class FilesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def names(self) -> list[str]:
        return sorted(os.listdir(self.folder))

    def test_written(self) -> None:
        """
        Both, and in place of what was known before.
        """
        files = ReportFiles(self.folder, atOnce)
        files.check()
        files.publish(replace(REPORT, maintenance=None))
        files.publish(REPORT)
        name = "2025-11-22T082640.000Z-server-102"
        self.assertEqual(self.names(), [f"{name}.html", f"{name}.json"])
        written = json.loads((self.folder / f"{name}.json").read_text("utf-8"))
        self.assertEqual(written, json.loads(json.dumps(REPORT.toJSON())))
        self.assertEqual((self.folder / f"{name}.html").read_text("utf-8"), page(REPORT))

    def test_onDisk(self) -> None:
        """
        A report is on the disk before it takes its place: the loss of power leaves no empty one behind.
        """
        done: list[str] = []
        sync, put = os.fsync, os.replace

        def fsync(descriptor: int) -> None:
            done.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
            sync(descriptor)

        def replaced(source: Path, target: Path) -> None:
            done.append(f"to {target.name}")
            put(source, target)

        self.patch(os, "fsync", fsync)
        self.patch(os, "replace", replaced)
        ReportFiles(self.folder, atOnce).publish(REPORT)
        name = "2025-11-22T082640.000Z-server-102"
        self.assertEqual(
            done,
            [
                step
                for kind in ("json", "html")
                for step in (f"{name}.{kind}.new", f"to {name}.{kind}", self.folder.name)
            ],
        )

    def test_kept(self) -> None:
        """
        The latest, and whatever is not ours.
        """
        others = ["2025-11-22T082640.000Z-server-104.json", "notes.json", "2025-server-102.json"]
        for name in others:
            (self.folder / name).write_text("{}")
        files = ReportFiles(self.folder, atOnce, 2)
        for second in range(4):
            files.publish(replace(REPORT, startedWall=WHEN + second))
        ours = [
            f"2025-11-22T08264{second}.000Z-server-102.{kind}"
            for second in (2, 3)
            for kind in ("html", "json")
        ]
        self.assertEqual(self.names(), sorted(others + ours))

    def test_unwritable(self) -> None:
        """
        Known before anything is served; what goes wrong later is logged, and no more.
        """
        files = ReportFiles(self.folder / "no", atOnce)
        error = self.assertRaises(ConfigError, files.check)
        self.assertEqual(
            str(error), f"report.dir: expected a folder that can be written to, found {self.folder / 'no'}"
        )
        files.publish(REPORT)
