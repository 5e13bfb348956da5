"""
Tests of L{sipgrace.commands}: each verb against a running server, in the process of the test.
"""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from rich.console import Console
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.commands import display, progress
from sipgrace.commands.display import Nothing
from sipgrace.commands.main import sipgrace
from sipgrace.commands.outcome import Exit, Outcome
from sipgrace.commands.progress import Bar, Lines, displayFor
from sipgrace.commands.reach import Job, Left, Reach
from sipgrace.commands.show import _lines
from sipgrace.commands.words import calls, count, seconds, standing
from sipgrace.compiled import HOW
from sipgrace.control.remote import Unreachable
from tests.controlled import SERVER, Call, ControlledCase
from tests.scenarios.waiting import moment

#: A server that never sees its clients.
CLIENTS = SERVER.replace("udp:0", "tcp:0") + "".join(
    f"""
[[clients]]
name = "client-{number}"
networks = ["192.0.2.{number}"]
"""
    for number in range(1, 7)
)


class VerbCase(ControlledCase):
    """
    Takes the reactor's part out of a command line: what is left runs here.
    """

    def setUp(self) -> None:
        super().setUp()
        self.jobs: list[tuple[Reach, Job]] = []

        def keep(reach: Reach, job: Job) -> None:
            self.jobs.append((reach, job))

        self.patch(Reach, "carryOut", keep)

    def give(self, *words: str, wanted: int = 0) -> Deferred[Outcome]:
        """
        Gives a command line.

        @param wanted: the exit status of the command line itself.
        @return: what came of it.
        """
        result = CliRunner().invoke(sipgrace, [*words, "--socket", str(self.path)], catch_exceptions=False)
        self.assertEqual((result.exit_code, result.output), (wanted, ""))
        reach, job = self.jobs.pop()
        return Deferred.fromCoroutine(reach.outcome(reactor, job))


class Ordering(VerbCase):
    """
    The verbs that give orders.
    """

    async def test_drain(self) -> None:
        """
        Without --wait it says how things stand then.
        """
        service = await self.server()
        service.element.ledger.accept(Call())
        outcome = await self.give("drain", "--guard", "15", "--retry-after", "300", "--why", "new kernel")
        self.assertEqual(outcome.status, Exit.DONE)
        self.assertRegex(
            outcome.text, r"\Aserver-1: draining, 1 call left, 0 associations, 15 s until the guard\Z"
        )
        facts = outcome.facts
        self.assertAlmostEqual(facts.pop("guardLeft"), 15, 0)
        self.assertAlmostEqual(facts.pop("retryAfter"), 300, 0)
        self.assertEqual(
            facts,
            {
                "order": "drain",
                "name": "server-1",
                "state": "draining",
                "waiting": 1,
                "associations": 0,
                "forced": 0,
                "aborted": 0,
            },
        )
        order = service.element.lifecycle.status().order
        assert order is not None
        self.assertEqual((order.guard, order.retryAfter, order.why), (15, 300, "new kernel"))

    async def test_wait(self) -> None:
        """
        With --wait, it ends when the server is offline.
        """
        service = await self.server()
        call = Call()
        service.element.ledger.accept(call)
        given = self.give("drain", "--wait", "--json")
        await self.until(lambda: service.status()["state"] == "draining")
        await moment(0.3)
        self.assertFalse(given.called)
        service.element.ledger.settle(call)
        outcome = await given
        self.assertEqual(outcome.status, Exit.DONE)
        self.assertRegex(outcome.text, r"\Aserver-1: offline after 0\.\d s\Z")
        took = outcome.facts.pop("seconds")
        self.assertTrue(0.3 <= took < 10, took)
        self.assertEqual(
            outcome.facts,
            {"order": "drain", "name": "server-1", "state": "offline", "forced": 0, "aborted": 0},
        )

    async def test_forced(self) -> None:
        """
        What had to be ended by force is told.
        """
        service = await self.server()
        for _ in range(2):
            service.element.ledger.accept(Call())
        outcome = await self.give("drain", "--wait", "--guard", "0.2", "--json")
        self.assertRegex(outcome.text, r"\Aserver-1: offline after 0\.\d s, 2 calls ended by force\Z")
        self.assertEqual((outcome.status, outcome.facts["forced"]), (0, 2))

    async def test_strict(self) -> None:
        """
        Where that counts as something else than was waited for.
        """
        service = await self.server()
        service.element.ledger.accept(Call())
        outcome = await self.give("drain", "--wait", "--strict", "--guard", "0.2", "--json")
        self.assertEqual((outcome.status, outcome.facts["forced"]), (Exit.OTHERWISE, 1))
        await self.give("resume", "--wait")
        self.assertEqual((await self.give("drain", "--wait", "--strict", "--json")).status, Exit.DONE)

    async def test_command(self) -> None:
        """
        The command that follows is waited for; that it fails is something else.
        """
        service = await self.server()
        after = service.element.oversight.after
        for command, status, text in (
            ("sleep 0.7", Exit.DONE, "exit status 0"),
            ("exit 3", Exit.OTHERWISE, "exit status 3"),
            ("kill -KILL $$", Exit.OTHERWISE, "ended by SIGKILL"),
        ):
            after._command = command
            outcome = await self.give("drain", "--wait", "--then", "run", "--json")
            self.assertFalse(after.running)
            self.assertRegex(
                outcome.text, rf"\Aserver-1: offline after \d\.\d s; its command: {text}\Z"
            )
            self.assertEqual(outcome.status, status)
            self.assertEqual(outcome.facts["maintenance"]["command"], command)
            found = service.status()
            self.assertTrue(found["maintenance"].startswith(f"{text} after "), found["maintenance"])
            self.assertIn(f"maintenance   {text} after", (await self.give("status")).text)
            await self.give("resume", "--wait", "--json")
        # What was run after a drain before is not of this one.
        outcome = await self.give("drain", "--wait", "--json")
        self.assertNotIn("maintenance", outcome.facts)
        self.assertRegex(outcome.text, r"\Aserver-1: offline after \d\.\d s\Z")

    async def test_waitingEach(self) -> None:
        """
        --wait of all the other orders, and of the status.
        """
        service = await self.server()
        call = Call()
        service.element.ledger.accept(call)
        await self.give("drain", "--guard", "10")
        given = self.give("extend", "30", "--wait", "--json")
        offline = self.give("status", "--is", "offline", "--wait")
        await moment(0.5)
        self.assertEqual((given.called, offline.called), (False, False))
        service.element.ledger.settle(call)
        self.assertRegex((await given).text, r"\Aserver-1: offline after 0\.\d s\Z")
        self.assertEqual(((await offline).status, (await offline).facts["state"]), (0, "offline"))
        await self.give("resume", "--wait", "--json")
        service.element.ledger.accept(call := Call())
        await self.give("drain", "--guard", "10")
        outcome = await self.give("cancel", "--wait", "--json")
        self.assertEqual((outcome.status, outcome.facts["state"]), (0, "serving"))
        outcome = await self.give("offline", "--wait", "--json")
        self.assertEqual(
            (outcome.status, outcome.facts["state"], outcome.facts["forced"]), (0, "offline", 1)
        )
        for words in (("skip", "server-2"), ("unskip", "server-2")):
            outcome = await self.give(*words, "--wait")
            self.assertEqual(outcome.status, Exit.REFUSED)
        outcome = await self.give("reject", "premium", "--to", "prefix=0900", "--wait")
        self.assertEqual((outcome.status, outcome.facts["rejects"]), (0, True))
        outcome = await self.give("admit", "premium", "--wait")
        self.assertEqual((outcome.status, outcome.facts["rejects"]), (0, False))

    async def test_leftStatus(self) -> None:
        await self.server()
        given = self.give("status", "--is", "offline", "--wait")
        await moment(0.1)
        given.cancel()
        await self.assertFailure(given, Left)

    async def test_takenBack(self) -> None:
        """
        A drain that is cancelled meanwhile: another status, and who it was.
        """
        service = await self.server()
        service.element.ledger.accept(Call())
        given = self.give("drain", "--wait", "--json")
        await self.until(lambda: service.status()["state"] == "draining")
        cancelled = await self.give("cancel", "--why", "not today")
        self.assertEqual((cancelled.status, cancelled.text), (0, "server-1: serving"))
        outcome = await given
        self.assertEqual(outcome.status, Exit.OTHERWISE)
        self.assertRegex(outcome.text, r"\Aserver-1: not offline but serving: cancelled by \w+: not today\Z")
        self.assertEqual(outcome.facts["state"], "serving")

    async def test_joined(self) -> None:
        """
        Two who wait for one drain.
        """
        service = await self.server()
        call = Call()
        service.element.ledger.accept(call)
        first = self.give("drain", "--wait", "--json")
        await self.until(lambda: service.status()["state"] == "draining")
        before = service.element.lifecycle.number
        second = self.give("drain", "--wait", "--json")
        await self.until(lambda: service.element.lifecycle.number > before)
        service.element.ledger.settle(call)
        self.assertEqual([(await one).status for one in (first, second)], [0, 0])

    async def test_extend(self) -> None:
        service = await self.server()
        service.element.ledger.accept(Call())
        await self.give("drain", "--guard", "10")
        outcome = await self.give("extend", "90")
        self.assertEqual(
            outcome.text, "server-1: draining, 1 call left, 0 associations, 100 s until the guard"
        )

    async def test_offline(self) -> None:
        service = await self.server()
        service.element.ledger.accept(Call())
        outcome = await self.give("offline")
        self.assertEqual(
            (outcome.status, outcome.text),
            (0, "server-1: offline, 0 calls left, 0 associations, 1 call ended by force"),
        )

    async def test_resume(self) -> None:
        await self.server()
        await self.give("offline")
        outcome = await self.give("resume", "--wait", "--json")
        self.assertEqual(outcome.status, 0)
        self.assertRegex(outcome.text, r"\Aserver-1: serving after 0\.\d s\Z")
        outcome = await self.give("resume", "--wait", "--json")
        self.assertEqual((outcome.status, outcome.facts["state"]), (0, "serving"))

    async def test_resumeClients(self) -> None:
        """
        With --wait it ends when the clients are back that were there before; what says that it serves is the
        outcome alone.
        """
        service = await self.server(CLIENTS)
        awaited = service.awaited
        status = await self.give("status")
        self.assertIn("waits for     client-1, client-2, client-3, client-4 and 2 others", status.text)
        awaited.names = dict.fromkeys(["client-3"])
        lines: list[str] = []
        self.patch(progress.click, "echo", lines.append)
        self.patch(display.sys, "stdout", StringIO())
        given = self.give("resume", "--wait")
        await self.until(lambda: lines)
        outcome = await self.give("resume")
        self.assertEqual(outcome.text, "server-1: serving, waits for client-3")
        self.assertFalse(given.called)
        awaited.names.clear()
        outcome = await given
        self.assertEqual(lines, ["server-1: serving, waits for client-3"])
        self.assertEqual(outcome.status, Exit.DONE)
        self.assertRegex(outcome.text, r"\Aserver-1: serving after \d\.\d s\Z")
        self.assertNotIn("missing", outcome.facts)
        self.assertNotIn("waits for", (await self.give("status")).text)
        # Whoever comes back to nobody has nobody to wait for.
        self.assertEqual((await self.give("offline", "--wait")).text, "server-1: offline after 0.0 s")
        await self.give("resume", "--wait")
        self.assertEqual(lines, ["server-1: serving, waits for client-3"])

    async def test_resumeWithout(self) -> None:
        """
        Where some do not come in time it says who, with another status.
        """
        service = await self.server(CLIENTS)
        service.awaited._end.reset(0.6)
        outcome = await self.give("resume", "--wait", "--json")
        self.assertEqual(outcome.status, Exit.OTHERWISE)
        self.assertRegex(
            outcome.text,
            r"\Aserver-1: serving after \d\.\d s, "
            r"without client-1, client-2, client-3, client-4 and 2 others\Z",
        )
        self.assertEqual(outcome.facts["missing"], [f"client-{number}" for number in range(1, 7)])
        self.assertIn("missing       client-1, client-2", (await self.give("status")).text)

    async def test_resumeInVain(self) -> None:
        """
        Somebody else takes it out of service while its clients are waited for.
        """
        await self.server(CLIENTS)
        given = self.give("resume", "--wait", "--json")
        await moment(0.2)
        await self.give("offline", "--why", "power")
        outcome = await given
        self.assertEqual(outcome.status, Exit.OTHERWISE)
        self.assertRegex(outcome.text, r"\Aserver-1: not serving but offline: offline by \w+: power\Z")

    async def test_failedReturn(self) -> None:
        """
        A return that fails: another status, and the reason.
        """
        service = await self.server()
        await self.give("offline")
        self.patch(service.element.associations, "_places", [self.nowhere])
        outcome = await self.give("resume", "--wait", "--json")
        self.assertEqual(outcome.status, Exit.OTHERWISE)
        self.assertEqual(outcome.text, "server-1: not serving but offline: no such place")

    def nowhere(self, user: object) -> Deferred[Any]:
        """
        A place where nobody can listen.
        """
        failed: Deferred[Any] = Deferred()
        failed.errback(OSError("no such place"))
        return failed

    async def test_refused(self) -> None:
        """
        What does not fit.
        """
        await self.server()
        for words in (("cancel",), ("extend", "10"), ("drain", "--why", "a\nb")):
            outcome = await self.give(*words)
            self.assertEqual(outcome.status, Exit.REFUSED)
            self.assertTrue(outcome.text.startswith("refused: "), outcome.text)
        outcome = await self.give("drain", "--wait", "--json")
        outcome = await self.give("drain", "--wait", "--json")
        self.assertEqual(
            (outcome.status, outcome.text),
            (1, "refused: the server is offline already; resume is what would be accepted"),
        )

    async def test_left(self) -> None:
        """
        Ctrl-C ends the waiting, not the drain, and says so.
        """
        service = await self.server()
        call = Call()
        service.element.ledger.accept(call)
        given = self.give("drain", "--wait", "--json")
        await self.until(lambda: service.status()["state"] == "draining")
        await moment(0.05)
        given.cancel()
        try:
            await given
        except Left as error:
            self.assertEqual(
                str(error),
                "left; the drain goes on ('sipgrace status --is offline --wait' waits on, 'sipgrace cancel' "
                "takes it back)",
            )
        else:
            self.fail("it is still there")
        await self.until(lambda: not self.control._factory.links)
        self.assertEqual(service.status()["state"], "draining")

    async def test_ended(self) -> None:
        """
        The process ends in the middle of waiting.
        """
        service = await self.server()
        service.element.ledger.accept(Call())
        given = self.give("drain", "--wait", "--json")
        await self.until(lambda: service.status()["state"] == "draining")
        await self.control.stopService()
        outcome = await given
        self.assertEqual(
            (outcome.status, outcome.text),
            (Exit.UNREACHABLE, "it has closed the connection; its process has probably ended"),
        )

    async def test_nobody(self) -> None:
        outcome = await self.give("drain")
        self.assertEqual(outcome.status, Exit.UNREACHABLE)
        self.assertTrue(outcome.text.startswith(f"{self.path}: there is no such socket"), outcome.text)

    async def test_otherVersion(self) -> None:
        """
        A process that does not know what is asked of it.
        """
        await self.server()
        self.patch(self.control._factory, "buildProtocol", lambda address: Ignorant())
        outcome = await self.give("status")
        self.assertEqual(outcome.status, Exit.FAULT)
        self.assertIn("is it of another version?", outcome.text)

    async def test_stranger(self) -> None:
        """
        Something else listens there.
        """
        await self.server()
        self.patch(self.control._factory, "buildProtocol", lambda address: Stranger())
        outcome = await self.give("status")
        self.assertEqual(
            (outcome.status, outcome.text),
            (Exit.FAULT, f"{self.path}: it cannot answer that (TooLong); is it of another version?"),
        )


class Signing(VerbCase):
    """
    Orders to a server that takes signed ones alone, with keys as 'sipgrace keys order' makes them.
    """

    async def signedOnly(self) -> Path:
        """
        @return: the key's file.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        made = CliRunner().invoke(sipgrace, ["keys", "order", "alice", "--dir", str(folder)])
        self.assertEqual(made.exit_code, 0, made.output)
        keys = made.output.partition("# In that of each server and client:\n")[2]
        self.service = await self.server(
            f'{SERVER}[orders]\naudit = "{folder.absolute()}/audit.jsonl"\nsigned_locally = true\n{keys}'
        )
        return folder / "alice.order"

    async def test_signed(self) -> None:
        """
        All that changes something is signed; what only looks on needs no key.
        """
        key = await self.signedOnly()
        outcome = await self.give("drain", "--wait")
        self.assertEqual(
            (outcome.status, outcome.text),
            (
                Exit.REFUSED,
                "refused: the order is not signed; orders from the socket are signed here (--key FILE)",
            ),
        )
        service = self.service
        service.element.ledger.accept(Call())
        wishes = ("--guard", "30.5", "--over", "2", "--announce", "both", "--why", "new kernel")
        outcome = await self.give("drain", *wishes, "--key", str(key))
        self.assertEqual((outcome.status, outcome.facts["state"]), (0, "slowing"))
        order = service.element.lifecycle.status().order
        assert order is not None
        self.assertEqual(
            (order.who, order.node, order.guard, order.over, order.why, order.announce),
            ("alice", "server-1", 30.5, 2, "new kernel", "both"),
        )
        for words, state in (
            (("cancel", "--wait"), "serving"),
            (("rehearse",), "serving"),
            (("reject", "premium", "--to", "prefix=0900"), "serving"),
            (("admit", "premium"), "serving"),
            (("drain",), "draining"),
            (("extend", "5"), "draining"),
        ):
            outcome = await self.give(*words, "--json", "--key", str(key))
            self.assertEqual((outcome.status, outcome.facts["state"]), (0, state), outcome.text)
        outcome = await self.give("offline", "--key", str(key))
        self.assertEqual(
            outcome.text, "refused: offline takes the role admin; the key alice has the role operator"
        )
        self.assertEqual((await self.give("status", "--is", "draining")).status, 0)

    async def test_name(self) -> None:
        """
        Of the key: the comment beside it, or what is said.
        """
        key = await self.signedOnly()
        outcome = await self.give("drain", "--key", str(key), "--key-name", "bob")
        self.assertEqual(
            outcome.text,
            "refused: the order is signed with 'bob', a key that is not known here",
        )
        key.with_name("alice.order.pub").unlink()
        for words, text in (
            (("--key", str(key)), "give --key-name NAME"),
            (("--key-name", "alice"), "--key-name is for --key FILE"),
            (("--key", __file__), "expected that only the owner may read"),
        ):
            result = CliRunner().invoke(sipgrace, ["drain", *words, "--socket", str(self.path)])
            self.assertEqual(result.exit_code, Exit.USAGE)
            self.assertIn(text, " ".join(result.output.split()))
        outcome = await self.give("drain", "--key", str(key), "--key-name", "alice", "--wait", "--json")
        self.assertEqual((outcome.status, outcome.facts["state"]), (0, "offline"))


class Stranger(Protocol):
    """
    Speaks something else.
    """

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")


class Ignorant(amp.AMP):
    """
    Knows no command at all.
    """


class Looking(VerbCase):
    """
    The verbs that look on.
    """

    async def test_status(self) -> None:
        service = await self.server()
        outcome = await self.give("status")
        self.assertEqual(outcome.status, 0)
        pid = outcome.facts["pid"]
        port = service.element.associations.listeners[0].port
        self.assertEqual(
            outcome.text,
            f"name          server-1 (server, version 0.1.0, {HOW}, pid {pid})\n"
            "state         serving\n"
            "calls left    0\n"
            "associations  0\n"
            "since start   0 accepted, 0 settled, 0 of them by force, 0 refused\n"
            f"listens at    SIP/2.0/UDP 127.0.7.1:{port}",
        )
        self.assertEqual(set(outcome.facts), {"compiled", "pid", "version", *service.status()})

    async def test_draining(self) -> None:
        service = await self.server()
        service.element.ledger.accept(Call())
        service.element.gate.yielded = 2
        await self.give("drain", "--why", "new kernel")
        text = (await self.give("status")).text
        self.assertIn(" settled, 0 of them by force, 0 refused, 2 let in nevertheless\n", text)
        self.assertRegex(
            text, r"\nstate         draining\nordered       drain by \w+ at [-0-9]+ [:0-9]+: new kernel\n"
        )
        self.assertRegex(text, r"\ncalls left    1\nguard         in 20 s\nback in       60 s\n")

    async def test_callsGoingOn(self) -> None:
        """
        Where a server waits for whole calls, those are told apart.
        """
        service = await self.server()
        entries = [Call(), Call(), Call()]
        for entry in entries:
            service.element.ledger.accept(entry)
        service.element.ledger.hold(entries[0], Call())
        outcome = await self.give("status")
        self.assertIn("\ncalls left    3: 2 being set up, 1 going on\n", outcome.text)
        self.assertEqual([outcome.facts[key] for key in ("waiting", "setups", "dialogs")], [3, 2, 1])
        estimate = outcome.facts["guardEstimate"]
        self.assertEqual(list(estimate.values()), [180, "calls going on", 3])

    async def test_client(self) -> None:
        await self.client()
        await self.until(lambda: self.control._factory._node.status()["servers"][0]["lastTrouble"])
        text = (await self.give("status")).text
        self.assertRegex(
            text, r"\nserver        server-1: waiting for \d\.\d s \(.*[^.]\)\nreroutes      0\Z"
        )
        self.assertIn(
            ("answered 503", "2 calls, which no server took"),
            _lines({**self.control._factory._node.status(), "unserved": 2}),
        )

    async def test_is(self) -> None:
        """
        For health checks.
        """
        await self.server()
        self.assertEqual((await self.give("status", "--is", "serving")).status, 0)
        outcome = await self.give("status", "--is", "offline")
        self.assertEqual((outcome.status, outcome.text), (4, "server-1: not offline but serving"))

    async def test_watch(self) -> None:
        """
        One line an event, until the process ends or Ctrl-C.
        """
        service = await self.server()
        lines: list[str] = []
        self.patch(progress.click, "echo", lambda line, err=False: lines.append(line))
        given = self.give("watch")
        asJSON = self.give("watch", "--json")
        await self.until(lambda: len(self.control._factory._node._watchers) == 2)
        service.element.ledger.accept(Call())
        await self.give("drain", "--guard", "0.2", "--why", "new kernel")
        await service.element.lifecycle.whenOffline()
        await self.until(lambda: len(lines) == 6)
        told = [line for line in lines if not line.startswith("{")]
        patterns = (
            r"\d\d:\d\d:\d\d draining, ordered by \w+: new kernel, 1 call left, 0 associations, "
            r"0\.2 s until the guard",
            r"\d\d:\d\d:\d\d drained, ordered by \w+: new kernel, 0 calls left, 0 associations, "
            r"0\.\d s until the guard, 1 call ended by force",
            r"\d\d:\d\d:\d\d offline, ordered by \w+: new kernel, 0 calls left, 0 associations",
        )
        for line, pattern in zip(told, patterns, strict=True):
            self.assertRegex(line, rf"\A{pattern}\Z")
        events = [json.loads(line) for line in lines if line.startswith("{")]
        self.assertEqual([event["change"] for event in events], ["draining", "drained", "offline"])
        asJSON.cancel()
        await self.assertFailure(asJSON, Left)
        await self.control.stopService()
        self.assertEqual((await given).status, Exit.UNREACHABLE)

    async def test_pipe(self) -> None:
        """
        Whoever reads the lines has read enough.
        """
        await self.server()

        def broken(line: str, err: bool = False) -> None:
            raise BrokenPipeError(32, "Broken pipe")

        self.patch(progress.click, "echo", broken)
        given = self.give("watch")
        await self.until(lambda: self.control._factory._node._watchers)
        await self.give("offline")
        await self.assertFailure(given, Left)
        await self.until(lambda: not self.control._factory.links)

    async def test_reroutes(self) -> None:
        service = await self.client()
        for number in range(3):
            service.reroutes.add(b"call-%d" % number, "server-1", "timeout")
        outcome = await self.give("reroutes", "--since", "1")
        self.assertEqual(
            (outcome.status, outcome.text), (0, "2 call-1 server-1 timeout\n3 call-2 server-1 timeout")
        )
        self.assertEqual([one["number"] for one in outcome.facts["reroutes"]], [2, 3])

    async def test_reroutesOfServer(self) -> None:
        await self.server()
        outcome = await self.give("reroutes")
        self.assertEqual(
            (outcome.status, outcome.text), (1, "refused: a server reroutes no calls; ask its clients")
        )


def statusOf(**values: Any) -> dict[str, Any]:
    """
    What displays are shown.
    """
    return {
        "name": "server-1",
        "state": "draining",
        "waiting": 0,
        "associations": 0,
        "guardLeft": None,
        **values,
    }


class Displays(ControlledCase):
    """
    What is shown while something is waited for.
    """

    def test_lines(self) -> None:
        """
        A line when the state changes, and every five seconds.
        """
        lines: list[str] = []
        self.patch(progress.click, "echo", lines.append)
        display = Lines()
        for now in range(12):
            display.update(statusOf(waiting=12 - now, associations=4, guardLeft=20.0 - now), now)
        display.update(statusOf(state="drained", associations=1, guardLeft=9.04), 11.5)
        display.close()
        self.assertEqual(
            lines,
            [
                "server-1: draining, 12 calls left, 4 associations, 20 s until the guard",
                "server-1: draining, 7 calls left, 4 associations, 15 s until the guard",
                "server-1: draining, 2 calls left, 4 associations, 10 s until the guard",
                "server-1: drained, 0 calls left, 1 association, 9.0 s until the guard",
            ],
        )

    def test_linesAtEnd(self) -> None:
        """
        Of the state that is waited for whoever waits will speak, unless there is still something to wait for.
        """
        lines: list[str] = []
        self.patch(progress.click, "echo", lines.append)
        display = Lines("serving")
        for at, values in enumerate(
            (
                {"state": "returning", "awaited": ["a", "b"]},
                {"state": "serving", "awaited": ["a", "b"]},
                {"state": "serving", "awaited": ["b"]},
                {"state": "serving", "awaited": []},
            )
        ):
            display.update(statusOf(**values), at)
        self.assertEqual(
            lines,
            ["server-1: returning, 0 calls left, 0 associations", "server-1: serving, waits for a and b"],
        )

    def test_bar(self) -> None:
        """
        The bar fills as calls are settled; the text says what is left.
        """
        screen = StringIO()
        console = Console(file=screen, force_terminal=True, width=80, color_system=None)
        bar = Bar(console)
        seen: list[str] = []
        filled: list[int] = []
        for values in (
            {"waiting": 8, "associations": 2, "guardLeft": 20.0},
            {"waiting": 2, "associations": 2, "guardLeft": 15.0},
            {"waiting": 0, "associations": 1, "state": "drained", "guardLeft": 14.0},
            {"waiting": 0, "associations": 0, "state": "offline"},
            {"waiting": 0, "associations": 1, "state": "serving", "awaited": ["a"]},
        ):
            screen.seek(0)
            screen.truncate()
            bar.update(statusOf(**values), 0.0)
            text = screen.getvalue().split("\x1b[2K")[-1]
            self.assertEqual(len(text), 80)
            seen.append(" ".join(text.replace("━", " ").replace("╸", " ").split()))
            filled.append(text.count("━"))
        bar.close()
        self.assertEqual(
            seen,
            [
                "server-1: draining 8 calls left, 20 s until the guard",
                "server-1: draining 2 calls left, 15 s until the guard",
                "server-1: drained 1 association left, 14 s until the guard",
                "server-1: offline 0 calls left",
                "server-1: serving waits for a",
            ],
        )
        # The bar takes what room there is between the words.
        self.assertEqual(filled, [0, 19, 21, 49, 50])

    def test_narrow(self) -> None:
        """
        Where there is no room for a bar the words are there all the same, all of them.
        """
        seen = {}
        for width in (60, 40, 20):
            screen = StringIO()
            bar = Bar(Console(file=screen, force_terminal=True, width=width, color_system=None))
            bar.update(statusOf(name="server-102", waiting=12, associations=2, guardLeft=21.0), 0.0)
            seen[width] = [line.rstrip() for line in screen.getvalue().split("\x1b[2K")[-1].splitlines()]
            bar.close()
        self.assertEqual(
            seen,
            {
                60: ["server-102: draining 12 calls left, 21 s until the guard"],
                40: ["server-102: draining 12 calls left, 21 s", "until the guard"],
                20: ["server-102: draining", "12 calls left, 21 s", "until the guard"],
            },
        )

    def test_filling(self) -> None:
        """
        How full it is: of the most calls that there were.
        """
        bar = Bar(Console(file=StringIO(), force_terminal=True))
        seen = []
        for waiting in (6, 8, 2, 0):
            bar.update(statusOf(waiting=waiting), 0.0)
            (task,) = bar._progress.tasks
            seen.append((task.completed, task.total))
        bar.close()
        self.assertEqual(seen, [(0, 6), (0, 8), (6, 8), (8, 8)])

    def test_which(self) -> None:
        """
        What is shown depends on where it goes.
        """

        class Terminal(StringIO):
            def isatty(self) -> bool:
                return True

        self.assertIsInstance(displayFor(True), Nothing)
        self.patch(display.sys, "stdout", StringIO())
        self.assertIsInstance(displayFor(False), Lines)
        self.patch(display.sys, "stdout", Terminal())
        bar = displayFor(False)
        bar.close()
        self.assertIsInstance(bar, Bar)
        self.assertIsInstance(displayFor(True), Nothing)

    async def test_nobodyLooks(self) -> None:
        """
        That the display fails is no reason to wait no longer.
        """
        shown: list[str] = []

        class Broken(Nothing):
            def update(self, status: dict[str, Any], now: float) -> None:
                shown.append(status["state"])
                raise BrokenPipeError(32, "Broken pipe")

        service = await self.server()
        call = Call()
        service.element.ledger.accept(call)
        node = await self.connect()
        await node.watch()
        answer = await node.drain()
        waiting = node.when({"offline"}, answer)
        given = Deferred.fromCoroutine(progress.follow(reactor, node, waiting, Broken(), 10))
        await self.until(lambda: shown)
        # Two looks more, had it gone on.
        await moment(0.6)
        self.assertEqual(shown, ["draining"])
        service.element.ledger.settle(call)
        self.assertEqual((await given)["state"], "offline")


class Hanging(SynchronousTestCase):
    """
    A process that has stopped to answer is not waited for without end.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.status: dict[str, Any] | None = statusOf(waiting=1, guardLeft=8.0)
        self.end: Deferred[str] = Deferred()

    async def glance(self) -> dict[str, Any]:
        if self.status is None:
            raise Unreachable("it has not answered within 10 seconds")
        return self.status

    def follow(self) -> Deferred[str]:
        return Deferred.fromCoroutine(progress.follow(self.clock, self, self.end, Nothing(), 10.0))

    def test_guard(self) -> None:
        """
        From its last word on, until its guard has expired, and for the time that an answer may take.
        """
        given = self.follow()
        self.clock.pump([0.25] * 400)
        self.assertNoResult(given)
        self.status = None
        self.clock.pump([0.25] * 71)
        self.assertNoResult(given)
        self.clock.advance(0.25)
        self.assertEqual(
            str(self.failureResultOf(given, Unreachable).value),
            "nothing has been heard of it for 18 s, longer than its guard; its process probably hangs",
        )
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_slowing(self) -> None:
        """
        One that is slowing first, under an order that names a guard or does not.
        """
        for order, until in (({"guard": 5.0}, 35), ({"guard": None}, 42), (None, 42)):
            self.end = Deferred()
            estimate = {"seconds": 12.0}
            self.status = statusOf(state="slowing", slowLeft=20.0, order=order, guardEstimate=estimate)
            given = self.follow()
            self.status = None
            self.clock.pump([0.25] * (4 * until - 1))
            self.assertNoResult(given)
            self.clock.advance(0.25)
            self.failureResultOf(given, Unreachable)

    def test_done(self) -> None:
        """
        Whatever else it fails of, and what comes in time.
        """
        given = self.follow()
        self.clock.advance(5)
        self.end.callback("offline")
        self.assertEqual(self.successResultOf(given), "offline")
        self.end = Deferred()
        given = self.follow()
        given.cancel()
        self.failureResultOf(given, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class Words(SynchronousTestCase):
    """
    Counts and times.
    """

    def test_count(self) -> None:
        self.assertEqual([count(n, "call") for n in (0, 1, 2)], ["0 calls", "1 call", "2 calls"])
        self.assertEqual(calls({"waiting": 1}), "1 call left")

    def test_seconds(self) -> None:
        self.assertEqual(
            [seconds(time) for time in (0, 0.04, 9.94, 10.4, 119, 120, 3599.6, 3600, 90000)],
            ["0.0 s", "0.0 s", "9.9 s", "10 s", "119 s", "2 min 0 s", "1 h 0 min", "1 h 0 min", "25 h 0 min"],
        )

    def test_standing(self) -> None:
        self.assertEqual(standing(statusOf(state="serving", waiting=3)), "server-1: serving")
        self.assertEqual(standing(statusOf(waiting=3)), "server-1: draining, 3 calls left, 0 associations")
        self.assertEqual(
            standing(statusOf(state="slowing", slowLeft=9.5)),
            "server-1: slowing, 0 calls left, 0 associations, 9.5 s until the full stop",
        )


class Outcomes(SynchronousTestCase):
    """
    How a verb ends.
    """

    def leave(self, outcome: Outcome, asJSON: bool) -> tuple[int, list[tuple[str, bool]]]:
        """
        @return: the exit status, and what was written, each with whether to standard error.
        """
        lines: list[tuple[str, bool]] = []
        self.patch(progress.click, "echo", lambda line, err=False: lines.append((line, err)))
        error = self.assertRaises(SystemExit, outcome.leave, asJSON)
        code = error.code
        assert isinstance(code, int)
        return code, lines

    def test_people(self) -> None:
        self.assertEqual(self.leave(Outcome(0, "fine", {"a": 1}), False), (0, [("fine", False)]))
        self.assertEqual(self.leave(Outcome(0, ""), False), (0, []))
        self.assertEqual(self.leave(Outcome(4, "oh", {"a": 1}), False), (4, [("sipgrace: oh", True)]))
        self.assertEqual(self.leave(Outcome(130, ""), False), (130, []))

    def test_scripts(self) -> None:
        """
        One object, whatever came of it.
        """
        for status, word in [
            (1, "refused"),
            (3, "unreachable"),
            (4, "otherwise"),
            (5, "fault"),
            (130, "left"),
        ]:
            self.assertEqual(
                self.leave(Outcome(status, "oh: ü", {"a": 1}), True),
                (status, [(f'{{"outcome": "{word}", "error": "oh: ü", "a": 1}}', False)]),
            )
        self.assertEqual(
            self.leave(Outcome(0, "fine", {"a": 1}), True), (0, [('{"outcome": "done", "a": 1}', False)])
        )
