"""
Tests of L{sipgrace.commands.main}: the command line as a process: its options, signals and exit statuses.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from signal import SIGINT, SIGPIPE, SIGTERM
from typing import Any

from click.testing import CliRunner
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorProcess
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from sipgrace import __version__
from sipgrace.commands.main import VERBS, sipgrace
from sipgrace.commands.reach import Reach
from sipgrace.compiled import HOW
from sipgrace.control.remote import Unreachable
from tests.children import ROOT, Child
from tests.controlled import SERVER, Call, ControlledCase
from tests.scenarios.waiting import moment

SIPGRACE = ("-m", "sipgrace.commands.main")


class Processes(ControlledCase):
    """
    The whole of it.
    """

    timeout = 60

    def give(self, *words: str, **environment: str) -> Child:
        """
        Starts a command line.
        """
        return Child(self, *SIPGRACE, *words, environment={"SIPGRACE_SOCKET": str(self.path), **environment})

    async def json(self, *words: str, wanted: int = 0) -> dict[str, Any]:
        """
        @param wanted: the exit status.
        @return: the one object that a command line writes.
        """
        child = self.give(*words, "--json")
        status = await child.ended
        self.assertEqual((status, child.errors), (wanted, b""), child.output)
        self.assertEqual(child.output.count(b"\n"), 1, child.output)
        found: dict[str, Any] = json.loads(child.output)
        return found

    async def test_life(self) -> None:
        """
        A server is drained and brought back; each step says on standard output what came of it, and the exit
        status is 0.
        """
        await self.server()
        for words, text in [
            (("status", "--is", "serving"), rb"name          server-1 \(server, version "),
            (("drain", "--wait", "--why", "f\u00fcr sp\u00e4ter"), rb"server-1: offline after \d\.\d s\n\Z"),
            (("resume", "--wait"), rb"server-1: serving after \d\.\d s\n\Z"),
            (("offline",), rb"server-1: offline, 0 calls left, 0 associations\n\Z"),
        ]:
            child = self.give(*words)
            self.assertEqual((await child.ended, child.errors), (0, b""), child.output)
            self.assertRegex(child.output, rb"(?:server-1: \w+, 0 calls left.*\n)*" + text)

    async def test_json(self) -> None:
        """
        With --json there is one object, also when it goes wrong.
        """
        service = await self.server()
        status = await self.json("status")
        self.assertEqual((status["outcome"], status["state"], status["waiting"]), ("done", "serving", 0))
        rehearsed = await self.json("rehearse", "--guard", "5", "--over", "10")
        self.assertEqual(
            [rehearsed[key] for key in ("outcome", "state", "guard", "over")], ["done", "serving", 5, 10]
        )
        refused = await self.json("cancel", wanted=1)
        self.assertEqual(
            refused,
            {
                "outcome": "refused",
                "error": "refused: the server is serving and no drain is under way; drain is what would be "
                "accepted",
            },
        )
        service.element.ledger.accept(Call())
        drained = await self.json("drain", "--wait", "--guard", "0.3")
        self.assertEqual(
            {key: drained[key] for key in ("outcome", "order", "name", "state", "forced", "aborted")},
            {
                "outcome": "done",
                "order": "drain",
                "name": "server-1",
                "state": "offline",
                "forced": 1,
                "aborted": 0,
            },
        )
        other = await self.json("status", "--is", "serving", wanted=4)
        self.assertEqual((other["outcome"], other["state"]), ("otherwise", "offline"))
        await self.control.stopService()
        gone = await self.json("status", wanted=3)
        self.assertEqual(gone["outcome"], "unreachable")

    async def test_statuses(self) -> None:
        """
        Refused, unreachable: the reason on standard error, nothing on standard output.
        """
        await self.server()
        for words, status, text in [
            (("extend", "5"), 1, b"sipgrace: refused: the server is serving"),
            (("status", "--socket", "/nowhere"), 3, b"sipgrace: /nowhere: there is no such socket"),
            (("status", "--is", "offline"), 4, b"sipgrace: server-1: not offline but serving\n"),
        ]:
            child = self.give(*words)
            self.assertEqual((await child.ended, child.output), (status, b""), child.errors)
            self.assertTrue(child.errors.startswith(text), child.errors)

    async def test_unwritten(self) -> None:
        """
        What cannot be written is no order that was refused.
        """
        await self.server()
        full = "os.open('/dev/full', os.O_WRONLY)"
        unread = "(lambda ends: (os.close(ends[0]), ends[1])[1])(os.pipe())"
        for where, words, status, text in [
            (full, ("status",), 5, b"sipgrace: the output cannot be written: No space left on device\n"),
            (full, ("--help",), 5, b"sipgrace: the output cannot be written: No space left on device\n"),
            (unread, ("status", "--json"), 128 + SIGPIPE, b""),
            (unread, ("drain", "--help"), 128 + SIGPIPE, b""),
        ]:
            start = f"import os; os.dup2({where}, 1); from sipgrace.commands.main import main; main()"
            child = Child(self, "-c", start, *words, environment={"SIPGRACE_SOCKET": str(self.path)})
            self.assertEqual((await child.ended, child.errors), (status, text), words)

    async def test_lines(self) -> None:
        """
        Where the output is no terminal, the progress is lines; a drain that is cancelled is another end.
        """
        service = await self.server()
        service.element.ledger.accept(Call())
        child = self.give("drain", "--wait")
        await child.printed(rb"server-1: draining, 1 call left, 0 associations, (20|1\d) s until the guard\n")
        cancelled = self.give("cancel")
        self.assertEqual(await cancelled.ended, 0)
        self.assertEqual(await child.ended, 4)
        self.assertRegex(
            child.errors, rb"\Asipgrace: server-1: not offline but serving: cancelled by \w+\n\Z"
        )

    async def interrupted(self, number: int) -> None:
        """
        A signal in the middle of waiting.
        """
        service = await self.server()
        service.element.ledger.accept(Call())
        child = self.give("drain", "--wait")
        await child.printed(b"draining")
        child.signal(number)
        self.assertEqual(await child.ended, 128 + number)
        self.assertEqual(
            child.errors,
            b"sipgrace: left; the drain goes on "
            b"('sipgrace status --is offline --wait' waits on, 'sipgrace cancel' takes it back)\n",
        )
        self.assertEqual(service.status()["state"], "draining")

    async def test_int(self) -> None:
        """
        Ctrl-C leaves; the drain goes on.
        """
        await self.interrupted(SIGINT)

    async def test_term(self) -> None:
        await self.interrupted(SIGTERM)

    async def test_watch(self) -> None:
        """
        One JSON object a line, as it happens.
        """
        service = await self.server()
        child = self.give("watch", "--json")
        await self.until(lambda: self.control._factory._node._watchers)
        service.orders()["drain"](why="at the console")
        await child.printed(b'"offline"')
        child.signal(SIGINT)
        self.assertEqual((await child.ended, child.errors), (130, b""))
        events = [json.loads(line) for line in child.output.splitlines()]
        self.assertEqual(
            [(event["change"], event["order"]["who"]) for event in events[:3]],
            [(change, "manhole") for change in ("draining", "drained", "offline")],
        )

    async def test_config(self) -> None:
        """
        The socket that a configuration file names, relative to its folder; whatever else is in the file.
        """
        await self.server()
        config = self.folder / "server.toml"
        config.write_text('[server]\nsome = "mistake"\n[control]\nsocket = "control.sock"\n')
        child = self.give("status", "--config", str(config), SIPGRACE_SOCKET="/elsewhere")
        self.assertEqual((await child.ended, child.errors), (0, b""))
        self.assertIn(b"serving", child.output)

    async def test_terminal(self) -> None:
        """
        On a terminal there is a bar. Ctrl-C leaves, and the terminal is as it was: the bar is gone, the
        cursor is back.
        """
        service = await self.server()
        calls = [Call() for _ in range(4)]
        for call in calls:
            service.element.ledger.accept(call)
        terminal = Terminal(self, "drain", "--wait", SIPGRACE_SOCKET=str(self.path))
        await self.until(lambda: b"4 calls left" in terminal.output)
        for call in calls[:3]:
            service.element.ledger.settle(call)
        await self.until(lambda: b"1 call left" in terminal.output)
        self.assertIn("━".encode(), terminal.output)
        terminal.transport.write(b"\x03")
        self.assertEqual(await terminal.ended, 130)
        self.assertTrue(
            terminal.output.endswith(
                b"sipgrace: left; the drain goes on ('sipgrace status --is offline --wait' waits "
                b"on, 'sipgrace cancel' takes it back)\r\n"
            ),
            terminal.output,
        )
        self.assertEqual(terminal.output.count(b"\x1b[?25h"), 1)
        self.assertEqual(service.status()["state"], "draining")


class Terminal(ProcessProtocol):
    """
    A command line on a terminal of its own.
    """

    def __init__(self, test: ControlledCase, *words: str, **environment: str) -> None:
        self.output = b""
        self.ended: Deferred[int] = Deferred()
        self.transport = IReactorProcess(reactor).spawnProcess(
            self,
            sys.executable,
            [sys.executable, *SIPGRACE, *words],
            {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "80", **environment},
            usePTY=True,
        )

    def outReceived(self, data: bytes) -> None:
        self.output += data

    def processEnded(self, reason: Failure) -> None:
        error: Any = reason.value
        self.ended.callback(-error.signal if getattr(error, "signal", None) else error.exitCode)


class CommandLine(SynchronousTestCase):
    """
    What can be said, and what cannot.
    """

    def setUp(self) -> None:
        self.reached: list[Reach] = []

        def carryOut(reach: Reach, job: object) -> None:
            self.reached.append(reach)

        self.patch(Reach, "carryOut", carryOut)
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def give(self, *words: str, **environment: str | None) -> tuple[int, str]:
        """
        @return: the exit status and all output.
        """
        result = CliRunner().invoke(
            sipgrace, words, prog_name="sipgrace", env={"SIPGRACE_SOCKET": None, **environment}
        )
        return result.exit_code, result.output

    def wrong(self, *words: str, **environment: str | None) -> str:
        """
        @return: what is said about a wrong command line.
        """
        status, output = self.give(*words, **environment)
        self.assertEqual((status, self.reached), (2, []), output)
        return output.strip().rpartition("Error: ")[2]

    def file(self, text: str) -> str:
        """
        A configuration file.
        """
        path = self.folder / "role.toml"
        path.write_text(text)
        return str(path)

    def test_version(self) -> None:
        self.assertEqual(self.give("--version"), (0, f"sipgrace, version {__version__} ({HOW})\n"))

    def test_help(self) -> None:
        """
        The verbs in their order, each with a line; the exit statuses.
        """
        status, output = self.give("--help")
        self.assertEqual(status, 0)
        listed = output.partition("Commands:\n")[2].splitlines()
        self.assertEqual([line.split()[0] for line in listed], list(VERBS))
        for line in listed:
            self.assertRegex(line, r"\A  \w+ +[A-Z].*\.\Z")
        for text in ("  0  done\n", "  1  refused", "  3  the process cannot be reached", "SIPGRACE_SOCKET"):
            self.assertIn(text, output)

    def test_verbs(self) -> None:
        """
        Each verb has a page of its own.
        """
        for verb in VERBS:
            status, output = self.give(verb, "--help")
            self.assertEqual(status, 0)
            self.assertTrue(output.startswith(f"Usage: sipgrace {verb} "), output)

    def test_which(self) -> None:
        """
        Where the socket is taken from: what is said counts more than the environment.
        """
        config = self.file('[control]\nsocket = "x.sock"\n')
        self.give("status", "--socket", "a")
        self.give("status", SIPGRACE_SOCKET="b")
        self.give("status", "--socket", "c", SIPGRACE_SOCKET="b")
        self.give("status", "--config", config, SIPGRACE_SOCKET="b")
        self.assertEqual(
            [reach.socket for reach in self.reached], ["a", "b", "c", str(self.folder.absolute() / "x.sock")]
        )

    def test_options(self) -> None:
        self.give("status", "--socket", "a", "--timeout", "2.5", "--json")
        self.give("status", "--socket", "a")
        self.assertEqual(self.reached, [Reach("a", 2.5, True), Reach("a", 10.0, False)])

    def test_none(self) -> None:
        for environment in ({}, {"SIPGRACE_SOCKET": ""}):
            self.assertEqual(
                self.wrong("drain", **environment),
                "which process? Give --socket PATH, --config FILE, or set SIPGRACE_SOCKET; or give "
                "--controller URL and --node NAME",
            )

    def test_both(self) -> None:
        config = self.file('[control]\nsocket = "x.sock"\n')
        self.assertEqual(
            self.wrong("drain", "--socket", "a", "--config", config),
            "expected --socket or --config, found both",
        )

    def test_config(self) -> None:
        """
        Files that name no socket.
        """
        for text, error in [
            ("[server]\n", "has no [control] section with a socket, so its process takes no orders here"),
            ("[control]\n", "control.socket: expected this key, found none"),
            ("[control]\nsocket = 7\n", "control.socket: expected a string, found 7"),
            ('[control]\nsocket = "a"\npath = "b"\n', "control.path: expected one of the keys socket, found"),
            ("control = 5\n", "control: expected a table, found 5"),
            ("[control\n", "expected TOML: Expected ']' at the end of a table declaration"),
        ]:
            config = self.file(text)
            self.assertIn(error, self.wrong("status", "--config", config))
        self.assertIn("does not exist", self.wrong("status", "--config", str(self.folder / "none.toml")))

    def test_times(self) -> None:
        for words, text in [
            (("drain", "--guard", "-1"), "-1.0 is not in the range 0<=x<=86400.0."),
            (("drain", "--guard", "99999999"), "99999999.0 is not in the range 0<=x<=86400.0."),
            (("drain", "--guard", "soon"), "'soon' is not a valid number."),
            (("drain", "--guard", "nan"), "'nan' is not a valid number."),
            (("status", "--timeout", "nan"), "'nan' is not a valid number."),
            (("status", "--timeout", "inf"), "'inf' is not a valid number."),
            (("drain", "--retry-after", "-1"), "-1.0 is not in the range 0<=x<=604800.0."),
            (("drain", "--over", "-1"), "-1.0 is not in the range 0<=x<=86400.0."),
            (("drain", "--retry-after", "1e12"), "1000000000000.0 is not in the range 0<=x<=604800.0."),
            (("drain", "--then", "halt"), "'halt' is not one of 'stay', 'exit', 'run'."),
            (
                ("rehearse", "--announce", "loudly"),
                "'loudly' is not one of 'in-answer', 'broadcast', 'both'.",
            ),
            (("rehearse", "--back", "-1"), "-1.0 is not in the range 0<=x<=31622400.0."),
            (("extend", "0"), "0.0 is not in the range 0<x<=86400.0."),
            (("extend",), "Missing argument 'SECONDS'."),
            (("status", "--timeout", "0"), "0.0 is not in the range x>0."),
            (("status", "--is", "asleep"), "'asleep' is not one of"),
            (("reroutes", "--since", "-1"), "-1 is not in the range x>=0."),
        ]:
            self.assertIn(text, self.wrong(*words, SIPGRACE_SOCKET="s"))

    def test_unknown(self) -> None:
        self.assertEqual(self.wrong("dance"), "No such command 'dance'.")
        self.assertEqual(self.wrong("drian"), "No such command 'drian'. Did you mean 'drain'?")
        self.assertIn("No such option", self.wrong("drain", "--dance"))

    def test_completion(self) -> None:
        """
        A script for each shell, and what they ask for.
        """
        for shell in ("bash", "zsh", "fish"):
            status, output = self.give("completion", shell)
            self.assertEqual(status, 0)
            self.assertIn(f"_SIPGRACE_COMPLETE={shell}_complete", output)
        status, output = self.give(
            _SIPGRACE_COMPLETE="bash_complete", COMP_WORDS="sipgrace dr", COMP_CWORD="1"
        )
        self.assertEqual((status, output), (0, "plain,drain\n"))
        status, output = self.give(
            _SIPGRACE_COMPLETE="bash_complete", COMP_WORDS="sipgrace status --is of", COMP_CWORD="3"
        )
        self.assertEqual((status, output), (0, "plain,offline\n"))


class Configured(ControlledCase):
    """
    The socket of a process that is started as operators start it.
    """

    timeout = 60

    def setUp(self) -> None:
        super().setUp()
        self.config = self.folder / "server.toml"
        self.config.write_text(SERVER + '[control]\nsocket = "control.sock"\n')

    def twist(self) -> Child:
        """
        Starts it.
        """
        return Child(
            self,
            "-c",
            "from twisted.application.twist._twist import Twist; Twist.main()",
            "--log-file=/dev/null",
            "sipgrace-server",
            f"--config={self.config}",
        )

    async def test_process(self) -> None:
        """
        It is there as long as the process is: SIGTERM drains, which those who watch hear to its end. A second
        process with the same socket does not start.
        """
        process = self.twist()
        await self.until(self.path.exists)
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        second = self.twist()
        self.assertEqual(await second.ended, 1)
        self.assertEqual(
            second.errors,
            f"cannot start: control.socket {self.path}: another process listens there; stop that one, or "
            "give this one another path\n".encode(),
        )
        node = await self.connect()
        self.assertEqual((await node.status())["pid"], process.transport.pid)
        changes: list[str] = []
        await node.watch(lambda event: changes.append(event["change"]))
        process.signal(SIGTERM)
        self.assertEqual(await process.ended, 0)
        await node.whenLost()
        self.assertEqual(changes, ["draining", "drained", "offline"])
        self.assertFalse(self.path.exists())

    async def test_stop(self) -> None:
        """
        As systemd stops it: C{ExecStop=sipgrace drain --wait}, then SIGTERM.
        """
        process = Child(
            self,
            "-c",
            "from twisted.scripts.twistd import run; run()",
            "-n",
            "--pidfile=",
            "--logfile=/dev/null",
            "sipgrace-server",
            f"--config={self.config}",
        )
        await self.until(self.path.exists)
        words = ("drain", "--wait", "--why", "systemctl stop", "--config", str(self.config))
        stop = Child(self, *SIPGRACE, *words)
        self.assertEqual((await stop.ended, stop.errors), (0, b""))
        self.assertIsNone(process.status)
        process.signal(SIGTERM)
        self.assertEqual((await process.ended, process.errors), (0, b""))

    async def test_killed(self) -> None:
        """
        What a killed process leaves behind does not keep the next one from starting.
        """
        first = self.twist()
        await self.until(self.path.exists)
        first.transport.signalProcess("KILL")
        await first.ended
        self.assertTrue(self.path.exists())
        second = self.twist()
        while True:
            try:
                node = await self.connect()
                break
            except Unreachable:
                await moment(0.05)
        self.assertEqual((await node.status())["pid"], second.transport.pid)
