"""
What the demo is made of.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from sipgrace.config.load import loadClient, loadController, loadServer
from sipgrace.controller.web.tokens import digestOf
from sipgrace.demo.book import Book, Call, percentiles
from sipgrace.demo.children import Child, DemoError
from sipgrace.demo.dialog import Dialog
from sipgrace.demo.drains import Drain
from sipgrace.demo.files import filesOf
from sipgrace.demo.load import Load
from sipgrace.demo.plan import CLIENTS, CONTROLLERS, SERVERS, Member, Plan, pairs
from sipgrace.demo.result import Result
from sipgrace.demo.rolling import Course, Turn
from sipgrace.demo.trust import makeTrust
from sipgrace.message.message import Request, Response
from sipgrace.message.parser import parse
from tests import children

INVITE = (
    b"INVITE sip:112001@127.0.0.1:7112 SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 127.0.0.112:5060;branch=z9hG4bKa\r\n"
    b"Record-Route: <sip:127.0.0.112:5060;lr>, <sip:127.0.0.112:5060;transport=sctp;lr>\r\n"
    b"Record-Route: <sip:127.0.0.110:5060;transport=sctp;lr>\r\n"
    b"Record-Route: <sip:127.0.0.110:5060;lr>\r\n"
    b"From: <sip:110001@demo.invalid>;tag=f\r\n"
    b"To: <sip:112001@demo.invalid>\r\n"
    b"Call-ID: c\r\nCSeq: 7 INVITE\r\nContact: <sip:110001@127.0.0.1:7110>\r\nContent-Length: 0\r\n\r\n"
)


class Dialogs(SynchronousTestCase):
    """
    The route set, from either side (RFC 3261 §12).
    """

    def test_callee(self) -> None:
        """
        A callee's requests go the way that the INVITE came, to the caller's Contact.
        """
        invite = parse(INVITE)
        assert isinstance(invite, Request)
        dialog = Dialog.ofCallee(invite, b"t")
        self.assertEqual(dialog.hop(), ("127.0.0.112", 5060))
        self.assertEqual(
            dialog.request(b"BYE").toBytes().split(b"\r\n"),
            [
                b"BYE sip:110001@127.0.0.1:7110 SIP/2.0",
                b"Route: <sip:127.0.0.112:5060;lr>",
                b"Route: <sip:127.0.0.112:5060;transport=sctp;lr>",
                b"Route: <sip:127.0.0.110:5060;transport=sctp;lr>",
                b"Route: <sip:127.0.0.110:5060;lr>",
                b"Max-Forwards: 70",
                b"From: <sip:112001@demo.invalid>;tag=t",
                b"To: <sip:110001@demo.invalid>;tag=f",
                b"Call-ID: c",
                b"CSeq: 1 BYE",
                b"Content-Length: 0",
                b"",
                b"",
            ],
        )

    def test_caller(self) -> None:
        """
        A caller's go the other way round; the ACK has the number of the INVITE, the BYE the next one.
        """
        answer = parse(
            INVITE.replace(b"INVITE sip:112001@127.0.0.1:7112 SIP/2.0", b"SIP/2.0 200 OK")
            .replace(b"To: <sip:112001@demo.invalid>", b"To: <sip:112001@demo.invalid>;tag=t")
            .replace(b"<sip:110001@127.0.0.1:7110>", b"<sip:112001@127.0.0.1:7112>")
        )
        assert isinstance(answer, Response)
        dialog = Dialog.ofCaller(answer)
        self.assertEqual(dialog.hop(), ("127.0.0.110", 5060))
        ack, bye = dialog.request(b"ACK", 7), dialog.request(b"BYE")
        self.assertEqual((ack.cseq, bye.cseq, ack.uri), (7, 8, b"sip:112001@127.0.0.1:7112"))
        self.assertEqual((bye.fromTag, bye.toTag), (b"f", b"t"))
        self.assertEqual(
            bye.elements(b"Route"),
            [
                b"<sip:127.0.0.110:5060;lr>",
                b"<sip:127.0.0.110:5060;transport=sctp;lr>",
                b"<sip:127.0.0.112:5060;transport=sctp;lr>",
                b"<sip:127.0.0.112:5060;lr>",
            ],
        )

    def test_withoutRoutes(self) -> None:
        """
        Where nobody has recorded a route, the other side itself is next.
        """
        lines = [line for line in INVITE.split(b"\r\n") if not line.startswith(b"Record-Route")]
        invite = parse(b"\r\n".join(lines))
        assert isinstance(invite, Request)
        self.assertEqual(Dialog.ofCallee(invite, b"t").hop(), ("127.0.0.1", 7110))


class Books(SynchronousTestCase):
    """
    What is counted.
    """

    def test_percentiles(self) -> None:
        """
        Each is a value that occurred, in milliseconds.
        """
        self.assertEqual(percentiles([]), {"p50": None, "p99": None})
        self.assertEqual(percentiles([0.25]), {"p50": 250.0, "p99": 250.0})
        self.assertEqual(percentiles([n / 1000 for n in range(200, 0, -1)]), {"p50": 100.0, "p99": 198.0})

    def test_outcomes(self) -> None:
        """
        A call ends once; what is said later changes nothing.
        """
        clock = Clock()
        book = Book(clock.seconds)
        ended: list[Call] = []
        book.onEnd = ended.append
        first, second = book.start(b"1", False), book.start(b"2", False)
        clock.advance(1.5)
        book.answered(first)
        self.assertEqual(book.open, 2)
        book.end(second, "lost", "no final answer in time")
        clock.advance(1)
        book.answered(first)
        book.end(first, "completed")
        book.end(first, "failed", "too late")
        self.assertEqual(ended, [second, first])
        self.assertEqual((book.open, book.outcomes), (0, {"lost": 1, "completed": 1}))
        self.assertEqual(book.troubles(), [second])
        self.assertEqual(book.setUpTimes(), [1.5])
        self.assertEqual(book.setUpTimes([b"2", b"unknown"]), [])

    def test_brokenOff(self) -> None:
        """
        At the end of a run none is left open.
        """
        book = Book(Clock().seconds)
        book.end(book.start(b"1", False), "completed")
        book.answered(book.start(b"2", False))
        book.start(b"3", False)
        book.breakOff()
        self.assertEqual(
            [call.outcome for call in book.calls.values()], ["completed", "failed", "lost"]
        )


class FakePhone:
    """
    Places calls that nothing becomes of.
    """

    def __init__(self, client: Member, book: Book, placed: list[tuple[float, str, str, bool]]) -> None:
        self.client = client
        self.book = book
        self.placed = placed

    def call(self, client: Member, byCallee: bool) -> None:
        call = self.book.start(b"%d" % len(self.placed), byCallee)
        self.placed.append((call.startedAt, self.client.name, client.name, byCallee))


class Loads(SynchronousTestCase):
    """
    Calls at a steady rate.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.book = Book(self.clock.seconds)
        self.placed: list[tuple[float, str, str, bool]] = []

    def load(self, plan: Plan) -> Load:
        phones = {client: FakePhone(client, self.book, self.placed) for client in CLIENTS}
        return Load(self.clock, plan, phones, self.book)

    def test_rate(self) -> None:
        """
        Each call has its moment; those that a busy moment has delayed are made up for.
        """
        load = self.load(Plan(calls=10, rate=4))
        load.start()
        self.clock.advance(0.25)
        self.clock.advance(0.26)
        self.clock.advance(0.24)
        self.clock.advance(1)
        self.assertEqual([at for at, *_ in self.placed], [0, 0.25, 0.51, 0.75, 1.75, 1.75, 1.75, 1.75])
        self.clock.pump([0.25] * 10)
        self.assertEqual(len(self.placed), 10)

    def test_everybodyCallsEverybody(self) -> None:
        """
        All pairs come in turn; in the next round it is the other side that hangs up.
        """
        load = self.load(Plan(calls=24, rate=1000))
        load.start()
        self.clock.pump([0.001] * 30)
        whole = {(caller.name, callee.name) for caller, callee in pairs()}
        self.assertEqual(len(whole), 12)
        self.assertEqual({entry[1:3] for entry in self.placed[:12]}, whole)
        self.assertEqual({entry[1:] for entry in self.placed[:12]}, {(*pair, False) for pair in whole})
        self.assertEqual({entry[1:] for entry in self.placed[12:]}, {(*pair, True) for pair in whole})
        # Neighbours call from different clients.
        self.assertEqual(len({entry[1] for entry in self.placed[:4]}), 4)

    def test_done(self) -> None:
        """
        It is done when the last call is over, not when it is placed.
        """
        load = self.load(Plan(calls=2, rate=10))
        load.start()
        first = self.book.calls[b"0"]
        self.book.end(first, "completed")
        self.assertNoResult(load.done)
        self.clock.advance(0.1)
        self.assertNoResult(load.done)
        self.book.end(self.book.calls[b"1"], "lost")
        self.assertIsNone(self.successResultOf(load.done))

    def test_broken(self) -> None:
        """
        When the network breaks no further call is placed.
        """
        load = self.load(Plan(calls=5, rate=10))
        load.start()
        load.fail(DemoError("gone"))
        self.failureResultOf(load.done, DemoError)
        self.clock.pump([0.1] * 10)
        self.assertEqual(len(self.placed), 1)


class Files(SynchronousTestCase):
    """
    The configuration files.
    """

    def test_valid(self) -> None:
        """
        All of them, for either stack, are what the roles accept.
        """
        for stack in ("userspace", "kernel"):
            directory = Path(self.mktemp()).absolute()
            directory.mkdir()
            plan = Plan(stack=stack, directory=directory, loopback="127.9.8", guard=2.5, announce="broadcast")
            users = {client: ("127.0.0.1", 7000 + client.number) for client in CLIENTS}
            trust = makeTrust(directory / "keys")
            left = directory / "server-102.audit"
            left.write_text("of an earlier run\n")
            written = filesOf(plan, Path("/run/x"), users, trust)
            self.assertFalse(left.exists())
            self.assertEqual(list(written), [*CONTROLLERS, *SERVERS, *CLIENTS])
            for controller, other in zip(CONTROLLERS, CONTROLLERS[::-1], strict=True):
                found = loadController(str(written[controller][0]))
                self.assertEqual(found.controller.name, controller.name)
                self.assertEqual([peer.name for peer in found.peers], [other.name])
                self.assertEqual([one.inService for one in found.groups], [3])
                self.assertEqual(digestOf(trust.token), found.tokens[0].sha256)
            for server in SERVERS:
                config = loadServer(str(written[server][0]))
                self.assertEqual((config.server.name, config.drain.guard), (server.name, 2.5))
                self.assertEqual((config.drain.retryAfterPeriod, config.drain.spread), (0, 0))
                self.assertEqual(config.drain.announce, "broadcast")
                known = [client.name for client in config.clients]
                self.assertEqual(known, [client.name for client in CLIENTS])
                self.assertEqual([one.name for one in config.controllers], ["controller-120"])
            for client in CLIENTS:
                configuration = loadClient(str(written[client][0]))
                self.assertEqual(
                    [server.name for server in configuration.servers], [server.name for server in SERVERS]
                )
                self.assertEqual("encaps" in configuration.servers[0].address, stack == "userspace")
                self.assertEqual([one.name for one in configuration.controllers], ["controller-121"])

    def test_rolling(self) -> None:
        """
        For a rolling maintenance each server has its work, whatever its folder is called; where all leave at
        once there is no budget.
        """
        directory = Path(self.mktemp()).absolute() / "two words"
        directory.mkdir(parents=True)
        trust = makeTrust(directory / "keys")
        users = dict.fromkeys(CLIENTS, ("127.0.0.1", 7000))
        written = filesOf(Plan(atOnce=True, directory=directory), Path("/x"), users, trust)
        self.assertEqual(
            loadServer(str(written[SERVERS[1]][0])).drain.command,
            f"sleep 1; echo server-104 >> '{directory}/maintained'",
        )
        self.assertEqual(loadController(str(written[CONTROLLERS[0]][0])).groups, ())


def drained(**values: object) -> Drain:
    """
    A drain as it should be, but for what is given.
    """
    good: dict[str, object] = {
        "server": "server-102",
        "guard": 4.0,
        "begunAt": 1000.0,
        "drainedAfter": 1.0,
        "goneByServer": 1.2,
        "goneByClients": {"client-110": 1.1, "client-112": 1.3},
        "backAfter": 4.5,
        "offlineAfter": 0.15,
    }
    return Drain(**(good | values))


class Results(SynchronousTestCase):
    """
    What a run amounts to.
    """

    def result(self, drain: Drain, calls: int = 1, outcome: str = "completed", error: str = "") -> Result:
        clock = Clock()
        book = Book(clock.seconds)
        call = book.start(b"1", False, "client-110")
        book.reached(b"1", "server-104")
        clock.advance(1.25)
        book.answered(call)
        book.end(call, outcome)
        rerouted = {b"1", b"another"}
        return Result(Plan(calls=calls), book, [drain], rerouted, {"answer": 2}, [(0.0, "a step")], error)

    def test_good(self) -> None:
        """
        Everything must be as it should be.
        """
        self.assertTrue(self.result(drained()).good)
        self.assertFalse(self.result(drained(), outcome="failed").good)
        self.assertFalse(self.result(drained(), outcome="lost").good)
        self.assertFalse(self.result(drained(), calls=2).good)
        self.assertFalse(self.result(drained(), error="server-104 was ended by SIGKILL").good)
        self.assertFalse(self.result(drained(goneByServer=None)).good)
        self.assertFalse(self.result(drained(goneByServer=4.2)).good)
        self.assertFalse(self.result(drained(goneByClients={"client-110": 4.2})).good)
        self.assertFalse(self.result(drained(goneByClients={})).good)
        self.assertFalse(self.result(drained(backAfter=None)).good)
        self.assertFalse(self.result(drained(offlineAfter=0.25)).good)

    def test_rolling(self) -> None:
        """
        A rolling maintenance is good when each server had its turn once, by its own account; how fast one
        drain was is judged elsewhere.
        """
        turns = {server.name: Turn(1, 1, 1) for server in SERVERS}
        self.assertTrue(Course("done", turns=turns).good)
        self.assertFalse(Course("trouble", turns=turns).good)
        self.assertFalse(Course("done").good)
        self.assertFalse(Course("done", turns=turns, deaths=2, killed=["server-104 draining"]).good)
        for turn in (Turn(2, 1, 1), Turn(1, 0, 1), Turn(1, 1, 0)):
            self.assertFalse(Course("done", turns={**turns, "server-104": turn}).good)
        clock = Clock()
        plan = Plan(calls=0, rolling=True)
        drains = [drained(server=server.name, offlineAfter=0.25) for server in SERVERS]
        plan = replace(plan, drains=tuple(turns))
        good = Result(plan, Book(clock.seconds), drains, (), {}, [], course=Course("done", turns=turns))
        self.assertTrue(good.good)
        self.assertEqual(good.toJSON(0.0)["rolling"]["servers"]["server-108"]["drains"], 1)
        self.assertFalse(replace(good, course=None).good)
        self.assertFalse(replace(good, course=Course("running", turns=turns)).good)
        self.assertEqual(
            list(replace(good, course=Course("trouble", "server-104: no")).troubles()),
            ["the rolling maintenance: trouble server-104: no"],
        )

    def test_json(self) -> None:
        """
        The figures, those of the clients counted as well as the server's own.
        """
        found = self.result(drained()).toJSON(990.0)
        self.assertEqual(
            [(bound["name"], bound["measured"], bound["met"]) for bound in found.pop("bounds")],
            [("rerouted_p99_growth_ms", None, True), ("idle_offline_ms", 150.0, True)],
        )
        drain = found.pop("drains")[0]
        self.assertEqual(
            found,
            {
                "calls_started": 1,
                "calls_completed": 1,
                "calls_failed": 0,
                "calls_lost": 0,
                "calls_rerouted": 1,
                "setup_ms": {
                    "p50": 1250.0,
                    "p99": 1250.0,
                    "rerouted": {"p50": 1250.0, "p99": 1250.0},
                    "others": {"p50": None, "p99": None},
                },
                "ways": {"server-104": 1},
                "troubles": [],
                "reroutes": {"answer": 2},
                "error": "",
                "answers_repeated": 0,
                "load_average": [],
                "rolling": None,
                "rate": 60.0,
                "ring_s": 1.0,
                "announce": "in-answer",
                "stack": "userspace",
            },
        )
        self.assertEqual(drain["associations_gone_after_s"], 1.3)
        self.assertEqual((drain["begun_at_s"], drain["met"]), (10.0, True))


class Children(TestCase):
    """
    Processes that end when they should.
    """

    async def test_obituary(self) -> None:
        """
        Of one that cannot start, the end of its log is told.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        configuration = directory / "server-102.toml"
        configuration.write_text("[server]\nname = 7\n")
        child = Child(reactor, SERVERS[0], configuration, directory / "log")
        died: Deferred[Child] = Deferred()
        child.onDeath = died.callback
        child.start()
        await died.addTimeout(30, reactor)
        text = str(child.obituary())
        self.assertTrue(
            text.startswith("server-102 ended with status 1. The last that it wrote:\n  server-102: "), text
        )
        self.assertIn("server-102.toml: server.name", text)
        self.assertFalse(child.running)

    async def test_tethered(self) -> None:
        """
        What was started on a tether goes with whoever started it, even by SIGKILL.
        """
        program = (
            "import os, subprocess, sys, time\n"
            "child = subprocess.Popen([sys.executable, '-m', 'sipgrace.demo.tether', str(os.getpid()),\n"
            "    'sh', '-c', 'echo tied; exec sleep 1000'], stdout=subprocess.PIPE)\n"
            "child.stdout.readline()\n"
            "print(child.pid, flush=True)\n"
            "time.sleep(1000)\n"
        )
        parent = children.Child(self, "-c", program)
        tied = int((await parent.printed(rb"(\d+)\n"))[1])
        os.kill(tied, 0)
        self.assertNotEqual(os.getpgid(tied), os.getpgid(parent.transport.pid))
        parent.signal(signal.SIGKILL)
        await parent.ended
        for _ in range(200):
            try:
                state = Path(f"/proc/{tied}/stat").read_text().rpartition(")")[2].split()[0]
            except FileNotFoundError:
                return
            if state == "Z":
                # Dead, and nobody's to bury in a container without an init.
                return
            await deferLater(reactor, 0.05)
        self.fail("it has outlived its parent")

    async def test_orphan(self) -> None:
        """
        When whoever started it is gone already, nothing is started.
        """
        command = ("-m", "sipgrace.demo.tether", "1", sys.executable, "-c", "print('alive')")
        child = children.Child(self, *command)
        self.assertEqual((await child.ended, child.output), (1, b""))
