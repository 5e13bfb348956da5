"""
The benchmarks of whole processes: that figures are refused which would not mean what they are read as, and
that what is measured gets where it is looked for. Nothing is measured here.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import __main__ as whole
from benchmarks import instructions, page, parts, profile, rate
from benchmarks.cpu import CallCost, checkCalls
from benchmarks.delay import Delay
from benchmarks.load import Addresses, Counts
from benchmarks.paths import PathCost
from benchmarks.processes import Failed, Process, waitFor
from benchmarks.storm import Storm, blow
from benchmarks.subjects import SUBJECTS

CALLER = Counts(
    calls=2,
    successful=2,
    failed=0,
    retransmissions=0,
    seconds=1.0,
    messages={
        "0_INVITE_Sent": 2,
        "0_INVITE_Retrans": 0,
        "1_100_Recv": 2,
        "2_180_Recv": 2,
        "3_183_Recv": 0,
        "4_200_Recv": 2,
        "5_ACK_Sent": 2,
        "7_BYE_Sent": 2,
        "8_200_Recv": 2,
    },
)

CALLEE = Counts(
    calls=2,
    successful=2,
    failed=0,
    retransmissions=0,
    seconds=1.0,
    messages={
        "0_INVITE_Recv": 2,
        "1_180_Sent": 2,
        "2_200_Sent": 2,
        "2_200_Retrans": 0,
        "3_ACK_Recv": 2,
        "4_BYE_Recv": 2,
        "5_200_Sent": 2,
    },
)


def having(counts: Counts, **messages: int) -> Counts:
    """
    @return: these, but for some steps, whose names have lost the digit before them: C{n180_Recv=1}.
    """
    changed = {name[1:]: number for name, number in messages.items()}
    return replace(
        counts,
        messages={
            step: changed.get(step.partition("_")[2], number) for step, number in counts.messages.items()
        },
    )


class CheckTests(SynchronousTestCase):
    """
    What SIPp has counted.
    """

    def test_whole(self) -> None:
        """
        All messages of all calls have passed, once.
        """
        checkCalls(CALLER, CALLEE, 2)

    def test_refused(self) -> None:
        """
        Nothing else counts.
        """
        for caller, callee, said in (
            (replace(CALLER, successful=1, failed=1), CALLEE, "of 2 calls 1 succeeded and 1 failed"),
            (replace(CALLER, successful=1), CALLEE, "of 2 calls 1 succeeded and 0 failed"),
            (
                replace(CALLER, retransmissions=3),
                CALLEE,
                "the caller has counted 3 retransmissions in 2 calls",
            ),
            (
                having(CALLER, nINVITE_Retrans=1),
                CALLEE,
                "the caller has counted 1 retransmissions in 2 calls",
            ),
            (CALLER, having(CALLEE, n200_Retrans=1), "the callee has counted 1 retransmissions in 2 calls"),
            (having(CALLER, n180_Recv=1), CALLEE, "'180_Recv': 1"),
            (having(CALLER, n100_Recv=1), CALLEE, "the caller has been sent 1 times 100 in 2 calls"),
            (CALLER, having(CALLEE, nACK_Recv=1), "'ACK_Recv': 1"),
        ):
            error = self.assertRaises(Failed, checkCalls, caller, callee, 2)
            self.assertIn(said, str(error))

    def test_allowed(self) -> None:
        """
        A program that sends no 100, and a callee with calls from before.
        """
        checkCalls(having(CALLER, n100_Recv=0), CALLEE, 2, trying=False)
        checkCalls(CALLER, having(CALLEE, nACK_Recv=3), 2, behind=False)
        self.assertRaises(
            Failed, checkCalls, CALLER, having(CALLEE, n200_Retrans=1), 2, trying=False, behind=False
        )


class RateTests(SynchronousTestCase):
    """
    The search for the highest rate.
    """

    def search(self, clean: Callable[[int], bool], placed: float = 1.0) -> tuple[int, list[int]]:
        """
        @param clean: whether a rate is, asked each time.
        @param placed: the share of the calls that SIPp manages to place.
        @return: what was found, and what was tried.
        """
        tried: list[int] = []

        def costOf(subject: Any, *arguments: object, **more: object) -> CallCost:
            tried.append(subject.rate)
            if not clean(subject.rate):
                raise Failed("too much")
            return CallCost(0.1, subject.rate * placed)

        self.patch(rate, "costOf", costOf)
        return rate.highestRate(SUBJECTS["sipgrace"], Path(), Addresses(), 4), tried

    def test_found(self) -> None:
        """
        Exactly enough, wherever it lies, beyond what is reached by doubling as well.
        """
        for limit in (1000, 1100, 4250, 14_100, 17_900):
            found, _ = self.search(lambda each, limit=limit: each <= limit)
            self.assertTrue(found <= limit < found + rate.EXACT, (limit, found))

    def test_tooMuch(self) -> None:
        """
        There is none.
        """
        self.assertEqual(self.search(lambda each: False), (0, [rate.FIRST] * 2))

    def test_again(self) -> None:
        """
        A rate that fails once is tried once more.
        """
        once: set[int] = set()

        def clean(each: int) -> bool:
            if each == 2000 and each not in once:
                once.add(each)
                return False
            return each <= 2000

        self.assertEqual(self.search(clean)[0], 2000)

    def test_slow(self) -> None:
        """
        Calls that SIPp did not place at that rate are no proof of it.
        """
        self.assertEqual(self.search(lambda each: True, placed=0.9)[0], 0)


class PartsTests(SynchronousTestCase):
    """
    The parts, without what they measure.
    """

    def setUp(self) -> None:
        self.said: list[str] = []
        self.wishes = parts.Wishes(["sipgrace", "kamailio"], 3, 1.0, 0.0, self.said.append)

    def test_cpu(self) -> None:
        """
        The programs take turns; the median is of the rounds that count.
        """
        costs = {"sipgrace": [1.0, 3.0, 2.0], "kamailio": [1.0, None, 2.0]}
        order: list[str] = []

        def costOf(subject: Any, *arguments: object) -> CallCost:
            order.append(subject.name)
            cost = costs[subject.name][order.count(subject.name) - 1]
            if cost is None:
                raise Failed("two calls failed")
            return CallCost(cost, 1500)

        self.patch(parts, "costOf", costOf)
        self.assertEqual(
            parts.cpu(self.wishes),
            {
                "sipgrace": {"median": 2.0, "rounds": [1.0, 3.0, 2.0]},
                "kamailio": {"median": 1.5, "rounds": [1.0, 2.0]},
            },
        )
        self.assertEqual(order, ["sipgrace", "kamailio"] * 3)
        self.assertIn("kamailio: not counted: two calls failed", self.said)

    def test_rate(self) -> None:
        """
        A search a round, the programs in turn; the later ones begin where the first has shown them to.
        """
        found = {"sipgrace": [12_000, 0, 13_000], "kamailio": [10_000, 11_000, 12_000]}
        began: list[tuple[str, int]] = []

        def highestRate(subject: Any, folder: Path, addresses: Addresses, *more: Any) -> int:
            began.append((subject.name, more[-1]))
            return found[subject.name][sum(name == subject.name for name, _ in began) - 1]

        self.patch(parts, "highestRate", highestRate)
        self.assertEqual(
            parts.rate(replace(self.wishes, names=["sippy", "sipgrace", "kamailio"])),
            {
                "sipgrace": {"median": 12_000, "rounds": [12_000, 0, 13_000]},
                "kamailio": {"median": 11_000, "rounds": [10_000, 11_000, 12_000]},
            },
        )
        starts = [1000, 1000, 6000, 5000, 1000, 5500]
        self.assertEqual(began, list(zip(["sipgrace", "kamailio"] * 3, starts, strict=True)))

    def test_halfLoad(self) -> None:
        """
        Delays are looked at beside half of what both take.
        """
        rates: list[int] = []

        def delayOf(subject: Any, folder: Path, addresses: Addresses, beside: int, seconds: float) -> Delay:
            rates.append(beside)
            return Delay(1.0, 2.0, 3.0)

        self.patch(parts, "delayOf", delayOf)
        highest = {"sipgrace": {"median": 14_000}, "kamailio": {"median": 10_250}}
        known = replace(self.wishes, figures={"highest_rate": highest})
        self.assertEqual(
            parts.delay(known),
            {name: {"rate": 5125, "p50": 1.0, "p99": 2.0, "worst": 3.0} for name in ("sipgrace", "kamailio")},
        )
        parts.delay(replace(self.wishes, names=["sipgrace"]))
        self.assertEqual(rates, [5125, 5125, 2000])

    def test_way(self) -> None:
        """
        At the first rate with which nothing is sent twice; where there is none there is no figure.
        """

        def pathCost(way: str, folder: Path, addresses: Addresses, each: int, seconds: float) -> PathCost:
            if way == "TCP" or each > 500:
                raise Failed("retransmissions")
            return PathCost(0.1, 0.2, 0.3)

        self.patch(parts, "pathCost", pathCost)
        self.assertEqual(
            parts.way(self.wishes),
            {"SCTP in userspace": {"rate": 500, "near": 0.1, "server": 0.2, "far": 0.3}},
        )

    def test_storm(self) -> None:
        """
        Whatever goes wrong with one figure, the others are there.
        """

        def stormOf(folder: Path, addresses: Addresses, each: int, seconds: float) -> Storm:
            if each == 5000:
                raise TimeoutError("timed out")
            if each == 10_000:
                raise CalledProcessError(1, "drain")
            return Storm(each, each, 1.0, 2.0, 3.0)

        self.patch(parts, "stormOf", stormOf)
        self.assertEqual(list(parts.storm(self.wishes)), ["1000", "0"])
        self.assertIn("5000: not counted: timed out", self.said)

    def test_codec(self) -> None:
        """
        Without sippy, or with one that does not work, the others have figures.
        """
        asked: list[Path | None] = []

        def codecs(sippy: Path | None) -> dict[str, Any]:
            asked.append(sippy)
            if sippy is not None:
                raise Failed("sippy's codec")
            return {"invite": {"sipgrace": 1.0}}

        self.patch(parts, "codecs", codecs)
        folder = Path(self.mktemp())
        folder.mkdir()
        self.patch(parts, "SIPPY", folder / "b2bua_simple")
        self.assertEqual(parts.codec(self.wishes), {"invite": {"sipgrace": 1.0}})
        (folder / "b2bua_simple").touch()
        self.assertEqual(parts.codec(self.wishes), {"invite": {"sipgrace": 1.0}})
        self.assertEqual(asked, [None, folder / "python", None])


class MissingTests(SynchronousTestCase):
    """
    What is not there.
    """

    def test_compiled(self) -> None:
        """
        A server that runs interpreted is not called compiled.
        """
        folder = Path(self.mktemp())
        self.patch(whole, "COMPILED", folder)
        self.assertEqual(whole.missing("sipgrace"), "what tools/compile.sh makes")
        (folder / "sipgrace" / "message").mkdir(parents=True)
        (folder / "sipgrace" / "message" / "parser.cpython-311.so").touch()
        self.assertEqual(whole.missing("sipgrace"), "")
        self.assertEqual(whole.missing("sipgrace_interpreted"), "")

    def test_programs(self) -> None:
        """
        Kamailio and sippy need not be.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        self.patch(whole, "SIPPY", folder / "b2bua_simple")
        self.patch(whole.shutil, "which", lambda name: None)
        for name in ("kamailio", "kamailio_default"):
            self.assertEqual(whole.missing(name), "Debian's kamailio")
        self.assertEqual(whole.missing("sippy"), "PyPI's sippy in build/bench-venv")


class CommandTests(SynchronousTestCase):
    """
    C{python -m benchmarks}, with parts that measure nothing.
    """

    def setUp(self) -> None:
        self.out = StringIO()
        self.patch(sys, "stdout", self.out)
        self.patch(sys, "stderr", StringIO())
        self.patch(whole, "missing", lambda name: "")
        self.patch(whole, "facts", lambda: ["commit 0123456789ab"])
        self.cpu: dict[str, Any] = {
            name: {"median": 0.1 * number, "rounds": [0.1 * number]}
            for number, name in enumerate(SUBJECTS, start=1)
        }
        self.patch(
            whole,
            "PARTS",
            {"cpu": ("cpu_ms_per_call", lambda wishes: self.cpu), "rate": ("highest_rate", self.rate)},
        )
        self.page: list[dict[str, Any]] = []
        self.patch(whole, "put", self.page.append)

    def rate(self, wishes: parts.Wishes) -> dict[str, Any]:
        """
        A part that sees what came before.
        """
        self.assertEqual(wishes.figures["cpu_ms_per_call"], self.cpu)
        return {"sipgrace": {"median": 14_000, "rounds": [14_000]}}

    def test_json(self) -> None:
        """
        It holds the median of each program, and on what it was measured; the terminal has the ratios.
        """
        path = Path(self.mktemp())
        self.assertEqual(whole.main(["--json", str(path)]), 0)
        found = json.loads(path.read_text(encoding="utf-8"))
        self.assertEqual(
            found,
            {
                "made": ["commit 0123456789ab", "3 rounds, each of 10 s after 35 s of the same load"],
                "cpu_ms_per_call": self.cpu,
                "highest_rate": {"sipgrace": {"median": 14_000, "rounds": [14_000]}},
            },
        )
        for name in ("sipgrace", "kamailio", "kamailio_default", "sippy"):
            self.assertIsInstance(found["cpu_ms_per_call"][name]["median"], float)
        # Of tuned Kamailio, the third.
        row = next(line for line in self.out.getvalue().splitlines() if "sipgrace, compiled" in line)
        self.assertEqual(row.split()[-4:], ["0.100", "0.100", "0.100", "0.33"])

    def test_page(self) -> None:
        """
        It is written where all was measured, and only then.
        """
        self.assertEqual(whole.main(["--page"]), 0)
        self.assertEqual(len(self.page), 1)
        for words in (["--part", "cpu"], ["--only", "sipgrace"]):
            self.assertRaises(SystemExit, whole.main, ["--page", *words])
        del self.cpu["kamailio"]
        self.assertEqual(whole.main(["--page"]), 1)
        self.assertEqual(len(self.page), 1)

    def test_leftOut(self) -> None:
        """
        What is not there is not missed; what is there and has no figure is.
        """
        self.patch(whole, "missing", lambda name: "it" if name == "sippy" else "")
        del self.cpu["sippy"]
        self.assertEqual(whole.main([]), 0)
        del self.cpu["kamailio"]
        self.assertEqual(whole.main([]), 1)


class InstructionsTests(SynchronousTestCase):
    """
    What callgrind has counted.
    """

    LINES = """\
Ir
100,000,000 (100.0%)  ???:_PyEval_EvalFrameDefault [/usr/bin/python3.11]
 60,400,000 (60.40%)  ???:CPyPy_udp___UDPListener___doRead [/x/sipgrace__mypyc.so]
 60,000,000 (60.00%)  ???:CPyDef_udp___UDPListener___doRead [/x/sipgrace__mypyc.so]
 20,000,000 (20.00%)  ???:CPyDef_timers___TimerQueue____run [/x/sipgrace__mypyc.so]
 10,000,000 (10.00%)  ???:CPyDef_parser____parse [/x/sipgrace__mypyc.so]
  9,000,000 ( 9.00%)  ???:CPyDef_parser____parse'2 [/x/sipgrace__mypyc.so]
     40,000 ( 0.04%)  ???:CPyDef_scan___tagOf [/x/sipgrace__mypyc.so]
"""

    def test_perCall(self) -> None:
        """
        Compiled functions alone, by the names that they have in the source, for one call.
        """
        found = instructions.perCall(self.LINES, 200)
        self.assertEqual(
            list(found.items()),
            [
                ("udp.UDPListener.doRead", 300_000.0),
                ("timers.TimerQueue._run", 100_000.0),
                ("parser._parse", 50_000.0),
                ("scan.tagOf", 200.0),
            ],
        )
        lines = instructions.table(found).splitlines()
        self.assertEqual(lines[0], "   400.0 k instructions a call; with all they call:")
        self.assertEqual([line.split()[-1] for line in lines[1:]], list(found)[:3])

    def test_nothing(self) -> None:
        """
        Where the server was not compiled that is said.
        """
        error = self.assertRaises(Failed, instructions.perCall, "Ir\n", 200)
        self.assertIn("is the server compiled?", str(error))

    def test_noValgrind(self) -> None:
        """
        What is missing is named, with the package it is in.
        """
        self.patch(os, "environ", {**os.environ, "PATH": self.mktemp()})
        out = StringIO()
        self.patch(sys, "stderr", out)
        self.assertEqual(profile.main(["--instructions"]), 1)
        self.assertIn("apt install valgrind", out.getvalue())


class PageTests(SynchronousTestCase):
    """
    The tables.
    """

    def test_put(self) -> None:
        """
        They replace those that were there, and nothing else.
        """
        path = Path(self.mktemp())
        path.write_text(
            "before\n.. tables: written by make bench ARGS=--page\nstale\n.. end of tables\nafter\n",
            encoding="utf-8",
        )
        found = {"sipgrace": {"median": 14_000, "rounds": [14_000, 9_750]}}
        page.put({"made": ["a fact"], "highest_rate": found}, path)
        text = path.read_text(encoding="utf-8")
        self.assertTrue(text.startswith("before\n.. tables: written by make bench ARGS=--page\n\n* a fact\n"))
        self.assertIn("   * - sipgrace, compiled\n     - 14000\n     - 9750\n     - 14000\n", text)
        self.assertTrue(text.endswith("\n.. end of tables\nafter\n"))
        self.assertNotIn("stale", text)
        path.write_text("without a place\n", encoding="utf-8")
        self.assertRaises(ValueError, page.put, {"made": []}, path)

    def test_facts(self) -> None:
        """
        There are some without git, too.
        """
        self.patch(page, "ROOT", Path(self.mktemp()))
        found = page.facts()
        self.assertEqual(found[0], "commit unknown")
        self.assertTrue(any(one.startswith("Python ") for one in found))


class ProcessTests(SynchronousTestCase):
    """
    Processes under measurement.
    """

    def test_children(self) -> None:
        """
        What a program's children use and hold is the program's, while they run and when they have ended.
        """
        burn = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass\n"
        text = (
            "import subprocess, sys\n"
            f"subprocess.run([sys.executable, '-c', {burn!r}])\n"
            f"child = subprocess.Popen([sys.executable, '-c', {burn + 'print(1, flush=True); input()'!r}],"
            " stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
            "child.stdout.readline()\nprint('ready', flush=True)\nchild.wait()\n"
        )
        with Process([sys.executable, "-c", text], Path(self.mktemp())) as process:
            waitFor(lambda: "ready" in process.output(), "the child")
            self.assertEqual(len(process.pids()), 2)
            each = process.each()
            self.assertEqual(set(each), set(process.pids()))
            # Ticks are of 10 ms, user and system apart.
            self.assertTrue(all(used >= 0.17 for used in each.values()), each)
            self.assertGreaterEqual(process.cpu(), 0.35)
            self.assertGreater(process.memory(), 4 << 20)
        self.assertFalse(process.running())


class StormTests(SynchronousTestCase):
    """
    What blows.
    """

    def test_asManyAsCanBe(self) -> None:
        """
        Never more wait for their refusal than are allowed to; each refusal is acknowledged.
        """
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            server.bind(("127.0.0.1", 0))
            server.settimeout(10)
            invites: list[bytes] = []
            acks: list[bytes] = []

            def serve() -> None:
                # Refuses none before all that may wait do.
                waiting = []
                while len(acks) < 200:
                    data, source = server.recvfrom(65536)
                    if data.startswith(b"ACK "):
                        acks.append(data)
                        continue
                    invites.append(data)
                    waiting.append((data, source))
                    if len(invites) == 200:
                        server.settimeout(0.2)
                        try:
                            server.recvfrom(65536)
                        except TimeoutError:
                            server.settimeout(10)
                        else:
                            return
                        for request, back in waiting:
                            head = request.split(b"\r\n")[1:]
                            server.sendto(b"\r\n".join([b"SIP/2.0 503 Service Unavailable", *head]), back)

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            found = blow("127.0.0.1", server.getsockname()[1], "127.0.0.1", 0, 3.0)
            thread.join(10)
        self.assertEqual((found["refused"], found["sent"], len(acks)), (200, 400, 200))
        self.assertGreaterEqual(len(invites), 200)
