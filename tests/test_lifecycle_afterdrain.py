"""
What follows a drain, with real commands.
"""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.errors import OrderRefused
from sipgrace.lifecycle import afterdrain
from sipgrace.lifecycle.afterdrain import AfterDrain, Done
from sipgrace.lifecycle.events import Change, Event, State
from sipgrace.lifecycle.orders import Kind, Order
from tests.scenarios.waiting import PollingCase


def order(kind: Kind = Kind.DRAIN, **values: Any) -> Order:
    return Order(kind=kind, who="alice", when=1763800000.0, why='new "kernel"', nonce="n" * 16, **values)


def offline(given: Order | None, change: Change = Change.OFFLINE) -> Event:
    return Event(
        number=3,
        change=change,
        state=State.OFFLINE,
        at=0.0,
        order=given,
        waiting=0,
        associations=0,
        forced=2,
        aborted=1,
    )


class ChoiceTests(SynchronousTestCase):
    """
    Which of them.
    """

    def setUp(self) -> None:
        self.log: list[str] = []

    def after(self, then: str = "stay") -> AfterDrain:
        after = AfterDrain(self, "server-102", then, "upgrade", environment={})
        after.exit = lambda: self.log.append("exit")
        return after

    def seconds(self) -> float:
        return 0.0

    def spawnProcess(self, command: object, path: str, arguments: list[str], *more: object) -> None:
        self.log.append(f"run {arguments[-1]}")

    def done(self) -> list[str]:
        log, self.log = self.log, []
        return log

    def test_configured(self) -> None:
        for then, expected in (("stay", []), ("exit", ["exit"]), ("run", ["run upgrade"])):
            self.after(then).onChange(offline(order()))
            self.assertEqual(self.done(), expected)

    def test_ordered(self) -> None:
        """
        What the order says counts more.
        """
        for then, expected in (("stay", []), ("exit", ["exit"]), ("run", ["run upgrade"])):
            self.after("exit").onChange(offline(order(then=then)))
            self.assertEqual(self.done(), expected)

    def test_nothingElse(self) -> None:
        """
        Not when it was taken offline at once, could not come back, or drains yet.
        """
        after = self.after("exit")
        after.onChange(offline(None))
        after.onChange(offline(order(Kind.OFFLINE)))
        for change in Change:
            if change is not Change.OFFLINE:
                after.onChange(offline(order(), change))
        self.assertEqual(self.done(), [])

    def test_twice(self) -> None:
        """
        Not while it is running from the time before.
        """
        after = self.after("run")
        after.onChange(offline(order()))
        self.assertTrue(after.running)
        with capturedLogs() as events:
            after.onChange(offline(order()))
        self.assertEqual(self.done(), ["run upgrade"])
        self.assertEqual(
            [formatEvent(event) for event in events],
            ["the drain is over, and upgrade is still running from the one before: it is not run again"],
        )

    def test_leaving(self) -> None:
        """
        Not when the process is about to end, in the middle of it.
        """
        after = self.after("run")
        after.leaving = True
        after.onChange(offline(order()))
        after.onChange(offline(order(then="run")))
        self.assertEqual((self.done(), after.running), ([], False))
        after.leaving = False
        after.onChange(offline(order()))
        self.assertEqual(self.done(), ["run upgrade"])

    def test_noCommand(self) -> None:
        """
        An order that wants what there is not is refused; any other is not.
        """
        after = AfterDrain(self, "server-102")
        error = self.assertRaises(OrderRefused, after.check, order(then="run"))
        self.assertEqual(
            str(error), 'server-102 has no command to run: drain.then = "run COMMAND" names one'
        )
        for then in (None, "stay", "exit"):
            after.check(order(then=then))
        self.after().check(order(then="run"))

    def test_stillRunning(self) -> None:
        """
        Nor is an order obeyed that wants what could not be run at its end, for it runs already. One that does
        not say is: a process must be able to leave.
        """
        after = self.after("run")
        after.check(order(then="run"))
        after.onChange(offline(order()))
        error = self.assertRaises(OrderRefused, after.check, order(then="run"))
        self.assertEqual(
            str(error),
            "the command of the drain before is still running at server-102; wait until it has ended",
        )
        for then in (None, "stay", "exit"):
            after.check(order(then=then))

    def test_cannotStart(self) -> None:
        seen: list[Done] = []
        after = self.after("run")
        after.done = seen.append
        self.patch(self, "spawnProcess", lambda *arguments: 1 / 0)
        after.onChange(offline(order()))
        self.assertEqual(seen, [Done(command="upgrade", status=None)])
        self.assertEqual(seen[0].outcome(), "could not be started after 0.0 s")
        self.assertFalse(after.running)
        self.flushLoggedErrors(ZeroDivisionError)


class CommandTests(PollingCase):
    """
    Commands that are run.
    """

    timeout = 30

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.ended: Deferred[Done] = Deferred()

    def run_(self, command: str, limit: float = 20.0, given: Order | None = None) -> Deferred[Done]:
        self.after = AfterDrain(
            reactor, "server-102", "run", command, limit, {"PATH": os.environ["PATH"], "HOME": "/nowhere"}
        )
        self.after.done = self.ended.callback
        self.after.onChange(offline(order() if given is None else given))
        return self.ended

    def alive(self, pid: int) -> bool:
        try:
            # A zombie that nobody has buried yet is dead.
            return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
        except FileNotFoundError:
            return False

    async def test_environment(self) -> None:
        """
        The order's facts, besides what it is given; and a shell's words are a shell's.
        """
        given = order(back=1763803600.0)
        done = await self.run_("env | grep -v '^PWD\\|^_\\|^SHLVL\\|^OLDPWD\\|^LC_' | sort; pwd", given=given)
        self.assertEqual(
            done.output.splitlines(),
            [
                "HOME=/nowhere",
                f"PATH={os.environ['PATH']}",
                "SIPGRACE_ABORTED=1",
                "SIPGRACE_BACK=2025-11-22T09:26:40.000Z",
                "SIPGRACE_FORCED=2",
                "SIPGRACE_ORDER_ID=nnnnnnnnnnnnnnnn",
                "SIPGRACE_ORDER_KIND=drain",
                "SIPGRACE_ORDER_WHEN=2025-11-22T08:26:40.000Z",
                "SIPGRACE_ORDER_WHO=alice",
                'SIPGRACE_ORDER_WHY=new "kernel"',
                "SIPGRACE_SERVER=server-102",
                "SIPGRACE_STATE=offline",
                "/",
            ],
        )
        self.assertEqual((done.status, done.signal, done.late), (0, "", False))
        self.assertTrue(done.outcome().startswith("exit status 0 after "))
        self.assertFalse(self.after.running)

    async def test_sums(self) -> None:
        """
        What it is told of force is that of the whole drain, and of no drain before.
        """
        self.after = AfterDrain(
            reactor, "server-102", "run", 'echo "$SIPGRACE_FORCED $SIPGRACE_ABORTED"', 20.0
        )
        self.after.done = self.ended.callback

        def happened(change: Change, forced: int = 0, aborted: int = 0) -> None:
            self.after.onChange(
                replace(offline(order(then="stay"), change), forced=forced, aborted=aborted)
            )

        happened(Change.DRAINING)
        happened(Change.DRAINED, forced=3)
        happened(Change.OFFLINE)
        happened(Change.SERVING)
        happened(Change.DRAINING)
        happened(Change.DRAINED, forced=6)
        happened(Change.ABORTED, aborted=2)
        self.after.onChange(replace(offline(order()), forced=0, aborted=1))
        self.assertEqual((await self.ended).output, "6 3\n")

    async def test_status(self) -> None:
        done = await self.run_("echo no disk >&2; exit 7")
        self.assertEqual((done.command, done.status), ("echo no disk >&2; exit 7", 7))
        self.assertEqual(done.output, "no disk\n")

    async def test_signal(self) -> None:
        done = await self.run_("kill -KILL $$")
        self.assertEqual((done.status, done.signal, done.late), (None, "SIGKILL", False))
        self.assertTrue(done.outcome().startswith("ended by SIGKILL after "), done.outcome())

    async def test_namelessSignal(self) -> None:
        """
        Most signals of real time have no name of their own.
        """
        done = await self.run_("kill -40 $$")
        self.assertEqual((done.status, done.signal), (None, f"SIGRTMIN+{40 - signal.SIGRTMIN}"))
        self.assertFalse(self.after.running)

    async def test_stdin(self) -> None:
        """
        Nobody is there to be asked.
        """
        done = await self.run_("read answer || echo nobody")
        self.assertEqual(done.output, "nobody\n")

    async def test_output(self) -> None:
        """
        The last of it, however much there is.
        """
        done = await self.run_("i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done")
        self.assertEqual(len(done.output), afterdrain.KEPT)
        self.assertTrue(done.output.endswith("line 2999\n"))

    async def test_limit(self) -> None:
        """
        When its time is over it is ended, with all that it has started.
        """
        path = self.folder / "pids"
        done = self.run_(f"sleep 1000 & echo $! > {path}.new; mv {path}.new {path}; wait", limit=2)
        await self.until(path.exists)
        sleeper = int(path.read_text())
        self.assertTrue(self.alive(sleeper))
        ended = await done
        self.assertEqual((ended.status, ended.signal, ended.late), (None, "SIGTERM", True))
        self.assertTrue(ended.outcome().endswith(", its time was over"), ended.outcome())
        await self.until(lambda: not self.alive(sleeper))

    async def test_deaf(self) -> None:
        """
        Those that do not heed SIGTERM get SIGKILL.
        """
        self.patch(afterdrain, "GRACE", 0.3)
        path = self.folder / "pids"
        deaf = "trap '' TERM; (trap '' TERM; sleep 1000) &"
        done = self.run_(f"{deaf} echo $! > {path}.new; mv {path}.new {path}; wait", limit=2)
        await self.until(path.exists)
        sleeper = int(path.read_text())
        ended = await done
        self.assertEqual((ended.status, ended.signal, ended.late), (None, "SIGKILL", True))
        await self.until(lambda: not self.alive(sleeper))

    async def test_daemon(self) -> None:
        """
        What it leaves behind in good time goes on, and is not waited for.
        """
        self.patch(afterdrain, "DREGS", 0.1)
        path = self.folder / "pids"
        done = await self.run_(f"sleep 1000 & echo $! > {path}; echo started")
        sleeper = int(path.read_text())
        self.addCleanup(os.kill, sleeper, 9)
        self.assertEqual((done.status, done.output, done.late), (0, "started\n", False))
        self.assertTrue(self.alive(sleeper))

    async def test_stopped(self) -> None:
        """
        When the process ends before it does.
        """
        path = self.folder / "there"
        done = self.run_(f"touch {path}; sleep 1000")
        await self.until(path.exists)
        self.after.stop()
        self.assertEqual((await done).signal, "SIGTERM")
        self.after.stop()
