"""
The runs against other programs: their scenario files, how results are kept, and the page that tells of them.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from interop import __main__ as program
from interop import baresip, network, versions
from interop.bench import Bench, Record, Result, Skipped, expect
from interop.dialogues import DIALOGUES, LAST_MOMENT, LATE, RINGING, RINGING_ALONE, UNAVAILABLE
from interop.messages import has, receive, request, scenario, sdp
from interop.page import page

EVERY = (*DIALOGUES, LAST_MOMENT, LATE, RINGING, RINGING_ALONE, UNAVAILABLE)


class ScenarioTests(SynchronousTestCase):
    """
    What SIPp is given to play.
    """

    def test_wellFormed(self) -> None:
        """
        Every file is XML that begins with a message, and every request of it has all that RFC 3261 §8.1.1
        wants.
        """
        for dialogue in EVERY:
            for text in dialogue.files().values():
                steps = list(ElementTree.fromstring(text))
                self.assertIn(steps[0].tag, ("send", "recv"), dialogue.name)
                for step in steps:
                    if step.tag == "send":
                        names = {line.split(":")[0].strip() for line in (step.text or "").splitlines()}
                        missing = {"Content-Length"} - names
                        self.assertEqual(missing, set(), dialogue.name)

    def test_names(self) -> None:
        """
        No two are called alike, for their files and results would be one.
        """
        names = [dialogue.name for dialogue in EVERY]
        self.assertEqual(len(set(names)), len(names))

    def test_request(self) -> None:
        """
        A request within the dialog follows the route set, and what is sent again has a branch of its own.
        """
        text = request("BYE", 2, within=True)
        self.assertIn("      BYE [next_url] SIP/2.0\n", text)
        self.assertIn("branch=z9hG4bK[pid]x[call_number]xBYE2\n      [routes]\n", text)
        self.assertIn("To: <sip:[service]@example.org>[peer_tag_param]\n", text)

    def test_variables(self) -> None:
        """
        SIPp refuses a file with a variable that is set and never read.
        """
        text = scenario("x", receive("200", has("a<b", "Contact")))
        self.assertIn('regexp="a&lt;b" search_in="hdr" header="Contact:"', text)
        self.assertIn('<Reference variables="1"/>', text)

    def test_padding(self) -> None:
        """
        A large body is as large as asked, to the line.
        """
        self.assertEqual(len(sdp(padding=6800)) - len(sdp()), 6800)


class RecordTests(SynchronousTestCase):
    """
    How results are kept.
    """

    def made(self, *runs: object, wanted: str = "") -> tuple[list[Result], list[str]]:
        """
        Makes runs that do nothing but what is given.
        """
        path = Path(self.mktemp())
        record = Record(path, wanted)
        cleaned: list[str] = []
        for number, run in enumerate(runs):

            async def make(bench: Bench, run: object = run, number: int = number) -> object:
                bench.addCleanup(lambda: succeed(cleaned.append(f"{number} second")))
                bench.addCleanup(cleaned.append, f"{number} first")
                if isinstance(run, Exception):
                    raise run
                return run

            made = Deferred.fromCoroutine(record.make("X 1", "UDP", f"scenario {number}", make))
            self.assertIs(self.successResultOf(made), None)
        return [Result(**json.loads(line)) for line in path.read_text().splitlines()], cleaned

    def test_outcomes(self) -> None:
        """
        A note, a reason, a mistake; and everything is cleaned up, the last thing first.
        """
        found, cleaned = self.made(None, "3 calls", Skipped("no SCTP"), AssertionError("not\n  so"))
        self.assertEqual(
            [(one.scenario, one.outcome, one.note) for one in found],
            [
                ("scenario 0", "passed", ""),
                ("scenario 1", "passed", "3 calls"),
                ("scenario 2", "skipped", "no SCTP"),
                ("scenario 3", "failed", "not so"),
            ],
        )
        order = [f"{number} {which}" for number in range(4) for which in ("first", "second")]
        self.assertEqual(cleaned, order)

    def test_wanted(self) -> None:
        """
        Only what is asked for is made.
        """
        found, _ = self.made(None, None, wanted="1")
        self.assertEqual([one.scenario for one in found], ["scenario 1"])

    def test_expect(self) -> None:
        """
        An expectation that does not hold says what is wrong.
        """
        expect(True, "all is well")
        error = self.assertRaises(AssertionError, expect, False, "nothing is")
        self.assertEqual(str(error), "nothing is")


class KeptTests(SynchronousTestCase):
    """
    Results stay until their run is made again.
    """

    def setUp(self) -> None:
        self.patch(program, "OUT", Path(self.mktemp()))
        self.runs = list(program.RUNS)

    def keep(self, name: str, only: str = "") -> None:
        """
        Makes a run with one scenario.
        """
        program.prepare([name], only, ["X 1"])
        Record(program.path(name, only)).add(Result(name, "UDP", only or "all", "passed"))

    def test_kept(self) -> None:
        """
        Of each the last time it was made, in the order of the runs; a part of one is something else.
        """
        first, second, *_ = self.runs
        self.keep(second)
        self.keep(first)
        self.keep(second)
        self.keep(first, only="busy")
        self.assertEqual([result.peer for result in program.read(self.runs)], [first, second])
        self.assertEqual([result.scenario for result in program.read(self.runs, "busy")], ["busy"])

    def test_guestAlone(self) -> None:
        """
        Runs over the kernel's SCTP are made in the guest even where the host's kernel speaks it, and refused
        outside.
        """
        made: list[tuple[list[str], bool]] = []
        self.patch(program, "elsewhere", lambda names, only, guest: made.append((names, guest)))
        self.patch(program, "read", lambda names, only="": [])
        self.patch(versions, "useUnpacked", lambda: None)
        for inside, guest in ((False, True), (True, False)):
            self.patch(program, "inGuest", lambda inside=inside: inside)
            program.main(["sipp-udp", "sipp-sctp"])
            self.assertEqual(made, [(["sipp-udp"], False), (["sipp-sctp"], guest)])
            made.clear()
        self.patch(program, "inGuest", lambda: False)
        self.patch(program.sys, "stderr", io.StringIO())
        self.assertRaises(SystemExit, program.main, ["--here", "sipp-sctp"])
        self.patch(network, "inGuest", lambda: False)
        self.patch(network, "Network", lambda test: "userspace")
        self.assertEqual(network.networkOf(self), "userspace")

    def test_commit(self) -> None:
        """
        Facts name the commit; without git, the version has to do.
        """
        said = {"log": "0123456789 of 2026-01-31", "status": " M x"}
        self.patch(versions, "_git", lambda *arguments: said[arguments[0]])
        self.assertEqual(versions.commit(), ", commit 0123456789 of 2026-01-31, changed since")
        said["status"] = ""
        self.assertEqual(versions.commit(), ", commit 0123456789 of 2026-01-31")
        said["log"] = ""
        self.assertEqual(versions.commit(), "")

    def test_otherVersions(self) -> None:
        """
        What was made with other versions is not told of.
        """
        first, second, *_ = self.runs
        self.keep(first)
        program.prepare([second], "", ["X 2"])
        self.assertEqual(program.read(self.runs), [])


class PageTests(SynchronousTestCase):
    """
    The page that tells of the results.
    """

    PAGE: ClassVar = """\
Peer 2
------

.. list-table::
   :header-rows: 1
   :widths: 50 20 20

   * - scenario
     - UDP
     - SCTP
   * - busy
     - passed
     - **failed**: 500
   * - lost ACK
     - passed: twice
     - \\-

2 of 3 passed.
"""

    def test_table(self) -> None:
        """
        A table for each peer, a line for each scenario, a column for each transport.
        """
        text = page(
            ["this", "that"],
            [
                Result("Peer 2", "UDP", "busy", "passed"),
                Result("Peer 2", "UDP", "lost ACK", "passed", "twice"),
                Result("Peer 2", "SCTP", "busy", "failed", "500"),
            ],
        )
        self.assertIn("\n* this\n* that\n\n" + self.PAGE, text)

    def test_upToDate(self) -> None:
        """
        The page in the docs has every scenario there is, and all of them passed.
        """
        text = (Path(__file__).parent.parent / "docs" / "interop.rst").read_text(encoding="utf-8")
        rows = text.splitlines()
        names = [*(dialogue.name for dialogue in EVERY), *baresip.SCENARIOS.values()]
        missing = [name for name in names if f"   * - {name}" not in rows]
        self.assertEqual(missing, [])
        self.assertNotIn("**", text)
