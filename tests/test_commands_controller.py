"""
Tests of the command line through a controller: its site on a real port, its nodes as the tests put them.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

from click.testing import CliRunner
from rich.console import Console
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.commands.access import Control
from sipgrace.commands.display import Nothing
from sipgrace.commands.main import sipgrace
from sipgrace.commands.outcome import Exit, Outcome
from sipgrace.commands.overhttp import EventStream
from sipgrace.commands.reach import Left, Reach
from sipgrace.commands.rollingprogress import Bar, Lines, rollingDisplayFor
from sipgrace.control.remote import Unreachable
from sipgrace.controller.facts import OrderRecord, Person, Progress
from sipgrace.controller.facts import Outcome as Ended
from sipgrace.errors import OrderRefused, StoreError
from sipgrace.lifecycle.authorization import Role
from tests.scenarios.waiting import moment
from tests.webcase import WebCase

ALICE = Person("alice", Role.OPERATOR)
ALONE = {"SIPGRACE_SOCKET": "", "SIPGRACE_CONTROLLER": "", "SIPGRACE_TOKEN": "", "SIPGRACE_TOKEN_FILE": ""}


class ControllerCase(WebCase):
    """
    Takes the reactor's part out of a command line: what is left runs here.
    """

    def setUp(self) -> None:
        super().setUp()
        self.jobs: list[tuple[Any, Any]] = []

        def keep(reach: Any, job: Any) -> None:
            self.jobs.append((reach, job))

        self.patch(Reach, "carryOut", keep)
        self.patch(Control, "carryOut", keep)
        self.token = Path(self.mktemp())
        self.token.write_text("operator's\n")
        self.controller.server("server-102", clients=["client-110"], waiting=3)
        self.controller.server("server-104", clients=["client-110"])
        self.controller.client("client-110", {"server-102": {}, "server-104": {}})
        # A stream of events is let go of at the end of a verb, and its connection a moment later.
        self.addCleanup(moment, 0.05)

    def give(self, *words: str, before: bool = False, role: str = "operator") -> Deferred[Outcome]:
        """
        Gives a command line.

        @param before: whether the controller is named before the verb.
        @return: what came of it.
        """
        self.token.write_text(f"{role}'s\n")
        access = ["--controller", self.url, "--token-file", str(self.token)]
        line = [*access, *words] if before else [words[0], *access, *words[1:]]
        result = CliRunner().invoke(sipgrace, line, env=ALONE, catch_exceptions=False)
        self.assertEqual((result.exit_code, result.output), (0, ""))
        reach, job = self.jobs.pop()
        return Deferred.fromCoroutine(reach.outcome(reactor, job))

    def event(self, node: str, number: int, state: str, **more: Any) -> None:
        """
        Something happens to a node.
        """
        facts = {
            "number": number,
            "change": state,
            "state": state,
            "at": time.time(),
            "order": None,
            "waiting": 0,
            "associations": 0,
            "guardLeft": None,
            "retryAfter": None,
            "forced": 0,
            "aborted": 0,
            "text": "",
            **more,
        }
        self.controller.fleet.happened(node, facts)


class Ordering(ControllerCase):
    """
    The verbs for one node.
    """

    async def test_drain(self) -> None:
        """
        As at its socket: what was asked reaches the controller, and how things stand then is said.
        """
        given = self.give(
            "drain", "--node", "server-102", "--guard", "15", "--why", "new kernel", "--announce", "both"
        )
        await self.until(lambda: self.controller.asked)
        outcome = await given
        self.assertEqual((outcome.status, outcome.text), (Exit.DONE, "server-102: serving"))
        self.assertEqual(
            self.controller.asked,
            [
                (
                    "order",
                    {
                        "node": "server-102",
                        "kind": "drain",
                        "why": "new kernel",
                        "guard": 15.0,
                        "announce": "both",
                    },
                    "operator",
                )
            ],
        )
        self.assertEqual(
            {key: outcome.facts[key] for key in ("order", "name", "waiting", "forced")},
            {"order": "drain", "name": "server-102", "waiting": 3, "forced": 0},
        )
        await self.until(lambda: self.site.feed.readers == 0)

    async def test_wait(self) -> None:
        """
        With --wait it ends when the node is offline; what was ended by force is told.
        """
        given = self.give("drain", "--node", "server-102", "--wait", "--json")
        await self.until(lambda: self.controller.asked)
        self.event("server-102", 1, "draining", waiting=3)
        await moment(0.3)
        self.assertFalse(given.called)
        self.event("server-102", 2, "drained", forced=2)
        self.event("server-102", 3, "offline")
        outcome = await given
        self.assertEqual(outcome.status, Exit.DONE)
        self.assertRegex(outcome.text, r"\Aserver-102: offline after 0\.\d s, 2 calls ended by force\Z")

    async def test_maintained(self) -> None:
        """
        The command that follows is waited for here, too: the node itself is asked.
        """
        link: Any = self.controller.fleet.linkOf("server-102")
        link.facts["maintenance"] = "running"
        given = self.give("drain", "--node", "server-102", "--then", "run", "--wait", "--json")
        await self.until(lambda: self.controller.asked)
        self.event("server-102", 1, "draining")
        self.event("server-102", 2, "offline")
        await moment(1.2)
        self.assertFalse(given.called)
        done = {"command": "upgrade", "exit_status": 3, "signal": None, "seconds": 1.0, "timed_out": False}
        link.facts |= {"maintenance": "exit status 3 after 1.0 s", "maintained": {"number": 3, **done}}
        outcome = await given
        self.assertEqual((outcome.status, outcome.facts["maintenance"]), (Exit.OTHERWISE, done))

    async def test_extend(self) -> None:
        """
        An extended drain is waited for to its end, though the order is done before.
        """
        given = self.give("extend", "30", "--node", "server-102", "--wait", "--json")
        await self.until(lambda: self.controller.kept)
        self.event("server-102", 1, "draining", change="extended")
        self.controller.orderEnds(next(iter(self.controller.kept)), Ended.DONE, "")
        await moment(0.3)
        self.assertFalse(given.called)
        self.event("server-102", 2, "offline")
        self.assertEqual(((await given).status, (await given).facts["state"]), (Exit.DONE, "offline"))

    async def test_noKey(self) -> None:
        """
        A controller signs by itself.
        """
        key = self.token.with_name("key")
        key.touch()
        access = ["--controller", self.url, "--token-file", str(self.token), "--node", "server-102"]
        self.token.write_text("operator's\n")
        result = CliRunner().invoke(sipgrace, ["drain", *access, "--key", str(key)], env=ALONE)
        self.assertEqual(result.exit_code, Exit.USAGE)
        self.assertIn("a controller signs with its own key", result.output)

    async def test_takenBack(self) -> None:
        """
        A drain that somebody else cancels: another status.
        """
        given = self.give("drain", "--node", "server-102", "--wait", "--json", before=True)
        await self.until(lambda: self.controller.asked)
        self.event("server-102", 1, "draining")
        order = {"kind": "cancel", "who": "bob", "why": "not today"}
        self.event("server-102", 2, "serving", change="cancelled", order=order)
        outcome = await given
        self.assertEqual(
            (outcome.status, outcome.text),
            (Exit.OTHERWISE, "server-102: not offline but serving: cancelled by bob: not today"),
        )

    async def test_failed(self) -> None:
        """
        One that the controller says came to nothing.
        """
        given = self.give("drain", "--node", "server-102", "--wait", "--json")
        await self.until(lambda: self.controller.kept)
        self.controller.orderEnds(
            next(iter(self.controller.kept)), Ended.FAILED, "its link was lost for good"
        )
        outcome = await given
        self.assertEqual(
            (outcome.status, outcome.text),
            (Exit.OTHERWISE, "server-102: not offline but serving: its link was lost for good"),
        )

    async def test_queued(self) -> None:
        """
        One that waits for the budget: said, or waited for together with the drain.
        """
        self.controller.becomes = Ended.QUEUED
        outcome = await self.give("drain", "--node", "server-102", "--queue")
        self.assertEqual((outcome.status, outcome.text), (Exit.DONE, "server-102: the drain is queued"))
        self.assertEqual(self.controller.asked[0][1]["queue"], True)
        given = self.give("drain", "--node", "server-102", "--queue", "--wait", "--json")
        await self.until(lambda: len(self.controller.kept) == 2)
        # Of another order, before.
        self.event("server-102", 1, "offline")
        self.event("server-102", 2, "serving")
        await moment(0.1)
        self.assertFalse(given.called)

        (*_, record) = self.controller.kept.values()
        self.controller.put("order", replace(record, outcome=Ended.OBEYED, number=2))
        self.event("server-102", 3, "draining")
        self.event("server-102", 4, "offline")
        self.assertEqual((await given).facts["state"], "offline")

    async def test_missed(self) -> None:
        """
        What happens while the stream of events is broken is not missed; also when the controller has
        forgotten it, for the order itself is asked for.
        """
        given = self.give("drain", "--node", "server-102", "--wait", "--json")
        await self.until(lambda: self.controller.kept)
        self.site.feed.stop()
        self.event("server-102", 1, "draining")
        self.event("server-102", 2, "offline")
        self.assertEqual((await given).status, Exit.DONE)
        self.controller.server("server-102", state="serving")
        given = self.give("drain", "--node", "server-102", "--wait", "--json")
        await self.until(lambda: len(self.controller.kept) == 2)
        (*_, id) = self.controller.kept
        self.site.feed._run = "another"
        self.site.feed.stop()
        self.controller.fleet._notices.clear()
        self.controller.orderEnds(id, Ended.DONE)
        self.controller.server("server-102", state="offline")
        self.controller.fleet._notices.clear()
        self.assertEqual((await given).facts["state"], "offline")

    async def test_left(self) -> None:
        """
        Ctrl-C ends the waiting, and the reading of events with it.
        """
        given = self.give("drain", "--node", "server-102", "--wait", "--json")
        await self.until(lambda: self.controller.kept)
        await moment(0.05)
        given.cancel()
        try:
            await given
        except Left as left:
            self.assertIn("the drain goes on", str(left))
        else:
            self.fail("it went on waiting")
        await self.until(lambda: self.site.feed.readers == 0)

    async def test_lost(self) -> None:
        """
        When the controller does not come back, the waiting ends; the order stands.
        """
        self.patch(EventStream, "TRIES", 1)
        given = self.give("drain", "--node", "server-102", "--wait", "--json")
        await self.until(lambda: self.controller.kept)
        await self.port.stopListening()
        outcome = await given
        self.assertEqual(outcome.status, Exit.UNREACHABLE)
        self.assertRegex(outcome.text, "cannot be reached|has not answered")

    async def test_others(self) -> None:
        """
        The other orders.
        """
        for words, values in (
            (("cancel",), {"kind": "cancel"}),
            (("extend", "30"), {"kind": "extend", "guard": 30.0}),
            (("resume", "--why", "done"), {"kind": "resume", "why": "done"}),
            (("skip", "server-104"), {"kind": "skip", "server": "server-104"}),
            (("unskip", "server-104"), {"kind": "unskip", "server": "server-104"}),
        ):
            outcome = await self.give(words[0], "--node", "client-110", *words[1:])
            self.assertEqual(outcome.status, Exit.DONE, outcome.text)
            self.assertEqual(self.controller.asked.pop()[1], {"node": "client-110", **values})

    async def test_rehearse(self) -> None:
        """
        What a drain would do, and what would have come of it.
        """
        now = {
            "guard": 30.0,
            "forcedAfter": 28.0,
            "guardEstimate": 5.0,
            "estimatedFrom": "floor",
            "retryAfter": 60.0,
            "spread": 5,
            "over": 0.0,
            "then": "stay",
            "announce": "both",
            "announcements": [],
            "waiting": 3,
            "oldest": None,
            "cutOff": 0,
            "associations": 2,
            "clients": {"client-110": 2},
            "newPerSecond": 2.0,
            "refusedBefore": 4,
            "refusedWithin": 120,
        }
        original = self.controller.order

        def order(values: Any, person: Any) -> Any:

            def result(record: Any) -> Any:
                found = replace(record, result=now)
                self.controller.kept[record.id] = found
                return found

            return original(values, person).addCallback(result)

        self.controller.order = order
        outcome = await self.give("rehearse", "--node", "server-102", role="viewer")
        self.assertEqual((outcome.status, outcome.facts["retryAfter"]), (Exit.DONE, 60.0), outcome.text)
        given = self.give("rehearse", "--node", "server-102", "--wait", "--json", role="viewer")
        await self.until(lambda: len(self.controller.kept) == 2 and self.site.feed.readers)
        found = {"waiting": 3, "settled": 3, "cutOff": 0, "drainedAfter": 2.5, "refused": 9}
        (*_, id) = self.controller.kept
        self.controller.orderEnds(id, Ended.DONE, result={"now": now, "found": found})
        self.assertEqual((await given).facts["found"], found)

    async def test_status(self) -> None:
        """
        A node's own word; and for one that cannot be asked, why.
        """
        outcome = await self.give("status", "--node", "server-102", "--is", "draining")
        self.assertEqual(
            (outcome.status, outcome.text), (Exit.OTHERWISE, "server-102: not draining but serving")
        )
        link = self.controller.fleet.linkOf("server-102")
        assert link is not None
        self.controller.fleet.lost("server-102", link, "gone")
        outcome = await self.give("status", "--node", "server-102")
        self.assertEqual(
            (outcome.status, outcome.text),
            (Exit.UNREACHABLE, "server-102 has no link to controller-120 now"),
        )

    async def test_watch(self) -> None:
        """
        Events of that node, until Ctrl-C.
        """
        out = StringIO()
        with mock.patch("click.echo", lambda text: out.write(f"{text}\n")):
            given = self.give("watch", "--node", "server-102")
            await self.until(lambda: self.site.feed.readers)
            self.event("server-104", 1, "draining")
            self.event("server-102", 1, "draining", waiting=3)
            await self.until(out.getvalue)
            given.cancel()
            with contextlib.suppress(Left):
                await given
        self.assertRegex(out.getvalue(), r"\A\d\d:\d\d:\d\d draining, 3 calls left, 0 associations\n\Z")

    async def test_reroutes(self) -> None:
        """
        What goes over no link is said to be at the socket.
        """
        outcome = await self.give("reroutes", "--node", "client-110")
        self.assertEqual((outcome.status, "--socket" in outcome.text), (Exit.REFUSED, True))


class Refused(ControllerCase):
    """
    What goes wrong has its status, and says what to do.
    """

    async def test_refused(self) -> None:
        for trouble, status, text in (
            (OrderRefused("no room"), Exit.REFUSED, "refused: no room"),
            (StoreError("the disk is full"), Exit.UNREACHABLE, "the disk is full"),
            (Unreachable("it has not answered"), Exit.UNREACHABLE, "it has not answered"),
        ):
            self.controller.trouble = trouble
            outcome = await self.give("drain", "--node", "server-102")
            self.assertEqual((outcome.status, outcome.text), (status, text))

    async def test_role(self) -> None:
        outcome = await self.give("drain", "--node", "server-102", role="viewer")
        self.assertEqual(
            (outcome.status, outcome.text),
            (Exit.REFUSED, "refused: viewer is a viewer, who may not order drain"),
        )

    async def test_token(self) -> None:
        outcome = await self.give("fleet", role="nobody")
        self.assertEqual(
            (outcome.status, outcome.text),
            (Exit.REFUSED, "refused: this token is not known here (see --token-file)"),
        )

    async def test_unknown(self) -> None:
        outcome = await self.give("drain", "--node", "server-999")
        self.assertEqual(
            (outcome.status, outcome.text),
            (
                Exit.REFUSED,
                "refused: 'server-999' is no node of this fleet, or has not linked up yet",
            ),
        )
        self.assertEqual(self.controller.asked, [])

    async def test_nobody(self) -> None:
        """
        Where nobody listens, or nobody answers, or it is no controller.
        """
        taken = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(Factory())
        here, self.url = self.url, f"http://127.0.0.1:{taken.getHost().port}"
        await taken.stopListening()
        outcome = await self.give("fleet")
        self.assertEqual(outcome.status, Exit.UNREACHABLE)
        self.assertTrue(outcome.text.startswith(f"{self.url} cannot be reached: "), outcome.text)
        self.url = here
        pending: Deferred[Any] = Deferred()
        self.controller.audit = lambda *_: pending
        outcome = await self.give("audit", "--timeout", "0.2")
        self.assertEqual(
            (outcome.status, outcome.text),
            (Exit.UNREACHABLE, f"{here} has not answered within 0.2 seconds"),
        )
        self.url = f"{here}/elsewhere"
        outcome = await self.give("fleet")
        self.assertEqual(outcome.status, Exit.REFUSED, outcome.text)


class Fleets(ControllerCase):
    """
    The verbs for all of it.
    """

    async def test_fleet(self) -> None:
        outcome = await self.give("fleet", "--check")
        self.assertEqual(
            outcome.text.splitlines(),
            [
                "NODE        ROLE    GROUP    STATE    CALLS  REACHES         LABELS",
                "server-102  server  default  serving  3      1 of 1 client   site=north",
                "server-104  server  default  serving  0      1 of 1 client   site=north",
                "client-110  client  default  serving  0      2 of 2 servers  site=north",
            ],
        )
        self.controller.client("client-110", {"server-102": {"skipped": True}, "server-104": {}})
        outcome = await self.give("fleet", "--check")
        self.assertEqual(outcome.status, Exit.DONE)
        self.assertEqual(
            [line.split("serving")[1] for line in outcome.text.splitlines()[1:]],
            [
                "  3      0 of 1 client   site=north",
                "  0      1 of 1 client   site=north",
                "  0      1 of 2 servers  site=north",
            ],
        )
        self.controller.client("client-110", {"server-102": {"active": False}, "server-104": {}})
        link = self.controller.fleet.linkOf("server-104")
        assert link is not None
        self.controller.fleet.lost("server-104", link, "no sign of life")
        outcome = await self.give("fleet")
        *_, first, second, third = outcome.text.splitlines()
        self.assertEqual(first, "! server-102 says that it serves, and no client reaches it")
        self.assertEqual(second, "! the link to server-104 is lost, and 1 of 1 clients reach it")
        self.assertRegex(third, r"\A! the link to server-104 is lost since .*: no sign of life\Z")
        self.assertEqual((await self.give("fleet", "--check")).status, Exit.OTHERWISE)

    async def test_watch(self) -> None:
        """
        What happens to all nodes, orders, rolling maintenances and alerts, until Ctrl-C.
        """
        out = StringIO()
        with mock.patch("click.echo", lambda text: out.write(f"{text[9:]}\n")):
            given = self.give("fleet", "--watch")
            await self.until(lambda: self.site.feed.readers)
            await self.controller.order({"node": "server-102", "kind": "drain", "why": "disk"}, ALICE)
            self.event("server-102", 1, "draining", waiting=3)
            await self.controller.rolling({"servers": ["server-104"]}, ALICE)
            self.controller.fleet.publish("alert", "server-104", {"text": "late", "state": "firing"})
            link = self.controller.fleet.linkOf("server-104")
            assert link is not None
            self.controller.fleet.lost("server-104", link, "gone")
            await self.until(lambda: "gone" in out.getvalue())
            given.cancel()
            with contextlib.suppress(Left):
                await given
        self.assertEqual(
            out.getvalue().splitlines(),
            [
                "server-102: drain by alice: obeyed (disk)",
                "server-102: draining, 3 calls left, 0 associations",
                "rolling-1: running, 0 of 1 server",
                "! late",
                "! the link to server-104 is lost: gone",
            ],
        )

    async def test_orders(self) -> None:
        self.assertEqual((await self.give("orders")).text, "none was given")
        self.controller.becomes = Ended.QUEUED
        await self.give("drain", "--node", "server-102", "--queue", "--why", "new kernel")
        outcome = await self.give("orders", "--node", "server-102")
        self.assertRegex(
            outcome.text.splitlines()[1],
            r"\A[\d-]+ [\d:]+  server-102  drain  operator  queued   new kernel  order-0+1\Z",
        )
        outcome = await self.give("orders", "--withdraw", outcome.facts["orders"][0]["id"])
        self.assertEqual(outcome.text, "server-102: the drain is withdrawn")

    async def test_audit(self) -> None:
        self.controller.records = [{"at": 1.0, "what": "refused", "who": "127.0.0.1", "why": "no\nline"}]
        outcome = await self.give("audit", "--limit", "5")
        self.assertRegex(outcome.text, r"\A19[67]\d-.* refused by 127\.0\.0\.1: no\\nline\Z")

    async def test_announce(self) -> None:
        outcome = await self.give("announce", "gateway 1", "--for", "600", "--why", "hangs")
        self.assertEqual(outcome.text, "gateway 1 is unavailable for 10 min 0 s: 1 client told")
        outcome = await self.give("announce", "gateway 1", "--available")
        self.assertEqual(outcome.text, "gateway 1 is available: 1 client told")
        self.assertEqual(
            [asked[:2] for asked in self.controller.asked],
            [
                ("announce", ("gateway 1", 600.0, None, "hangs")),
                ("unannounce", ("gateway 1", "")),
            ],
        )

    async def test_forget(self) -> None:
        outcome = await self.give("forget", "server-104", role="admin")
        self.assertEqual((outcome.status, outcome.text), (Exit.DONE, "server-104 is forgotten"))

    async def test_schedule(self) -> None:
        self.assertEqual((await self.give("schedule")).text, "nothing is to be ordered")
        began = time.time()
        await self.give("schedule", "drain", "server-102", "--at", "+90m", "--guard", "20", "--why", "disk")
        await self.give("schedule", "rolling", "--all", "--cron", "30 3 * * SUN", "--zone", "Europe/Berlin")
        (_, once, _), (_, often, _) = self.controller.asked
        self.assertTrue(5400 <= once.pop("at") - began < 5410)
        values = {"node": "server-102", "kind": "drain", "guard": 20.0, "why": "disk"}
        self.assertEqual(once, {"what": "order", "values": values})
        self.assertEqual(often["cron"], "30 3 * * SUN")
        self.assertEqual(often["values"]["select"], {})
        outcome = await self.give("schedule")
        _, first, second = outcome.text.splitlines()
        self.assertRegex(first, r"\Aschedule-1  [\d-]+ [\d:]+  once +drain server-102  operator  disk\Z")
        self.assertRegex(second, r"\Aschedule-2  - +30 3 \* \* SUN UTC  rolling all +operator\Z")
        outcome = await self.give("schedule", "remove", "schedule-1")
        self.assertEqual(outcome.text, "schedule-1 is removed")


class Rolling(ControllerCase):
    """
    Rolling maintenance.
    """

    async def test_begin(self) -> None:
        outcome = await self.give(
            "rolling", "--servers", "server-104, server-102", "--at-once", "2", "--settle", "1"
        )
        self.assertEqual(outcome.text, "rolling-1: running, 0 of 2 servers")
        self.assertEqual(
            self.controller.asked[0][1],
            {
                "servers": ["server-104", "server-102"],
                "atOnce": 2,
                "settle": 1.0,
                "then": "run",
                "timeout": 600.0,
            },
        )
        await self.give("rolling", "--select", "site=north", "--select", "rack=2")
        self.assertEqual(self.controller.asked[1][1]["select"], {"site": "north", "rack": "2"})

    async def test_wait(self) -> None:
        """
        Shown as it goes, to its end; also when it is paused meanwhile.
        """
        out = StringIO()
        with mock.patch("click.echo", lambda text: out.write(f"{text}\n")):
            given = self.give("rolling", "--all", "--wait")
            await self.until(lambda: self.controller.rolls)
            self.controller.rolls_("rolling-1", steps={"server-102": "draining", "server-104": "waiting"})
            drain = OrderRecord(
                id="order-1",
                node="server-102",
                order={"kind": "drain"},
                who="alice",
                by="controller-120",
                at=0.0,
                outcome=Ended.QUEUED,
                text="no room",
                rolling="rolling-1",
            )
            self.controller.put("order", drain)
            self.controller.put("order", replace(drain, node="server-104", rolling=""))
            self.controller.put("order", replace(drain, outcome=Ended.SENT, text=""))
            self.controller.rolls_("rolling-1", progress=Progress.PAUSED)
            await self.until(lambda: "paused" in out.getvalue())
            self.assertFalse(given.called)
            self.controller.rolls_("rolling-1", progress=Progress.RUNNING)
            self.controller.rolls_("rolling-1", steps={"server-102": "done", "server-104": "settling"})
            self.controller.rolls_(
                "rolling-1", steps={"server-102": "done", "server-104": "done"}, progress=Progress.DONE
            )
            outcome = await given
        self.assertEqual(outcome.status, Exit.DONE)
        self.assertRegex(outcome.text, r"\A2 servers maintained after 0\.\d s\Z")
        self.assertEqual(
            out.getvalue().splitlines(),
            [
                "rolling-1: running, 0 of 2 servers",
                "rolling-1: running, 0 of 2 servers; server-102 draining",
                "rolling-1: running, 0 of 2 servers; server-102 queued (no room)",
                "rolling-1: running, 0 of 2 servers; server-102 draining",
                "rolling-1: paused, 0 of 2 servers; server-102 draining",
                "rolling-1: running, 0 of 2 servers; server-102 draining",
                "rolling-1: running, 1 of 2 servers; server-104 settling",
                "rolling-1: done, 2 of 2 servers",
            ],
        )

    async def test_trouble(self) -> None:
        given = self.give("rolling", "--all", "--wait", "--json")
        await self.until(lambda: self.controller.rolls)
        self.controller.rolls_(
            "rolling-1",
            steps={"server-102": "trouble", "server-104": "waiting"},
            progress=Progress.TROUBLE,
            text="server-102: its maintenance failed",
        )
        outcome = await given
        self.assertEqual(
            (outcome.status, outcome.text),
            (
                Exit.OTHERWISE,
                "rolling-1: trouble, 0 of 2 servers; server-102 trouble: server-102: its maintenance failed",
            ),
        )

    async def test_left(self) -> None:
        given = self.give("rolling", "--all", "--wait", "--json")
        await self.until(lambda: self.controller.rolls)
        await moment(0.05)
        given.cancel()
        try:
            await given
        except Left as left:
            self.assertIn("the rolling maintenance goes on", str(left))
        else:
            self.fail("it went on waiting")
        await self.until(lambda: self.site.feed.readers == 0)

    async def test_turned(self) -> None:
        """
        The only one that has not ended need not be named.
        """
        outcome = await self.give("rolling", "pause")
        self.assertEqual(
            (outcome.status, outcome.text),
            (Exit.REFUSED, "refused: which one? Name it; there is none that has not ended"),
        )
        await self.give("rolling", "--all")
        self.assertEqual((await self.give("rolling", "pause")).text, "rolling-1: paused, 0 of 2 servers")
        await self.give("rolling", "--all")
        outcome = await self.give("rolling", "proceed")
        self.assertEqual(
            outcome.text, "refused: which one? Name it; these have not ended: rolling-2, rolling-1"
        )
        outcome = await self.give("rolling", "stop", "rolling-1")
        self.assertEqual(outcome.text, "rolling-1: stopped, 0 of 2 servers")
        outcome = await self.give("rolling", "list")
        self.assertRegex(
            outcome.text.splitlines()[1], r"\A[\d-]+ [\d:]+ rolling-1: stopped, 0 of 2 servers\Z"
        )

    def test_displays(self) -> None:
        """
        A bar for a terminal, lines for logs, nothing for programs.
        """
        record = {
            "id": "rolling-1",
            "servers": ["a", "b"],
            "steps": {"a": "done", "b": "draining"},
            "progress": "running",
            "text": "",
        }
        out = StringIO()
        bar = Bar(Console(file=out, force_terminal=True, width=120))
        bar.update(record, {"b": 3}, {})
        self.assertIn("1/2", out.getvalue())
        self.assertIn("b draining (3 calls left)", out.getvalue())
        bar.update(record, {"b": 3}, {"b": "no room"})
        bar.close()
        self.assertIn("b queued (no room)", out.getvalue())
        self.assertIsInstance(rollingDisplayFor(True), Nothing)
        self.assertIsInstance(rollingDisplayFor(False), Lines)


class Wrong(SynchronousTestCase):
    """
    Command lines that cannot be meant: status 2, and what to say instead.
    """

    def wrong(self, *words: str, **environment: str) -> str:
        """
        @return: the last line of what it says.
        """
        result = CliRunner().invoke(sipgrace, words, env={**ALONE, **environment}, catch_exceptions=False)
        self.assertEqual(result.exit_code, 2, result.output)
        return result.output.splitlines()[-1].removeprefix("Error: ")

    def test_which(self) -> None:
        here = "http://127.0.0.1:1"
        token = {"SIPGRACE_TOKEN": "t"}
        self.assertEqual(
            self.wrong("fleet"), "which controller? Give --controller URL, or set SIPGRACE_CONTROLLER"
        )
        self.assertEqual(
            self.wrong("fleet", SIPGRACE_CONTROLLER=here),
            "a token is needed: give --token-file FILE, or set SIPGRACE_TOKEN",
        )
        printed = Path(self.mktemp())
        printed.write_text("sgt_x\nis the token of alice, shown this once\n")
        self.assertEqual(
            self.wrong("fleet", "--token-file", str(printed), SIPGRACE_CONTROLLER=here),
            f"{printed}: a token alone is expected, the one line that begins with sgt_, found more than that",
        )
        self.assertEqual(
            self.wrong("drain", SIPGRACE_CONTROLLER=here, **token),
            "which node? Give --node NAME; 'sipgrace fleet' shows those of the controller",
        )
        self.assertEqual(
            self.wrong("drain", "--node", "a"),
            "--node is for a controller's fleet: give --controller URL, too",
        )
        self.assertEqual(
            self.wrong("--controller", here, "drain", "--socket", "s", **token),
            "expected --controller, or --socket or --config, found both",
        )
        self.assertEqual(
            self.wrong("drain", "--socket", "s", "--queue"),
            "--queue is for a controller, whose budget there may be no room in",
        )

    def test_url(self) -> None:
        for url, text in (
            (
                "controller-120",
                "a URL such as https://controller-120:7180 is expected, found 'controller-120'",
            ),
            ("ftp://a", "a URL such as https://controller-120:7180 is expected, found 'ftp://a'"),
            (
                "https://me:secret@a",
                "a URL such as https://controller-120:7180 is expected, found 'https://me:secret@a'",
            ),
            (
                "http://192.0.2.1:7180",
                "the token would go over the network for all to read: https:// is expected",
            ),
        ):
            self.assertEqual(
                self.wrong("fleet", "--controller", url, SIPGRACE_TOKEN="t"),
                f"Invalid value for '--controller': {text}",
            )

    def test_rolling(self) -> None:
        access = {"SIPGRACE_CONTROLLER": "http://[::1]:1", "SIPGRACE_TOKEN": "t"}
        whom = "of whom? Give one of --all, --select NAME=VALUE and --servers NAME,..."
        self.assertEqual(self.wrong("rolling", **access), whom)
        self.assertEqual(self.wrong("rolling", "--all", "--servers", "a", **access), whom)
        self.assertEqual(
            self.wrong("rolling", "--select", "north", **access),
            "Invalid value for '--select': NAME=VALUE is expected, found 'north'",
        )
        self.assertEqual(
            self.wrong("rolling", "pause", "--all", **access),
            "'pause' is about one that has begun, and takes no more than its ID",
        )

    def test_schedule(self) -> None:
        access = {"SIPGRACE_CONTROLLER": "http://localhost:1", "SIPGRACE_TOKEN": "t"}
        for words, text in (
            (("drain", "a"), "when? Give either --at WHEN or --cron LINE"),
            (("drain", "--at", "+1h"), "which node is it to drain?"),
            (
                ("drain", "a", "--at", "soon"),
                "Invalid value for '--at': a time such as 2026-03-01T03:30, or +90m, is expected, "
                "found 'soon'",
            ),
            (("remove",), "which? Give the ID that 'sipgrace schedule' shows"),
        ):
            self.assertEqual(self.wrong("schedule", *words, **access), text)

    def test_announce(self) -> None:
        access = {"SIPGRACE_CONTROLLER": "http://localhost:1", "SIPGRACE_TOKEN": "t"}
        for words in ((), ("--for", "3", "--available")):
            self.assertEqual(
                self.wrong("announce", "a", *words, **access), "give either --for SECONDS or --available"
            )
        self.assertEqual(
            self.wrong("announce", "a", "--for", "604801", **access),
            "Invalid value for '--for': 604801.0 is not in the range 0<x<=604800.",
        )
