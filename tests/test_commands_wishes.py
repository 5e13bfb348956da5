"""
Tests of L{sipgrace.commands.wishes} and L{sipgrace.commands.rehearse}: how a drain is to go, and what it
would do, against a running server.
"""

from __future__ import annotations

import time
from typing import Any

from sipgrace.commands import rehearse
from sipgrace.commands.outcome import Exit
from sipgrace.commands.reach import Left
from sipgrace.lifecycle.orders import Announce
from sipgrace.server.service import ServerService
from tests.controlled import SERVER, Call
from tests.scenarios.waiting import moment
from tests.test_commands_verbs import VerbCase

#: All that can be said of a drain, but for C{--back}.
ALL = (
    *("--guard", "10", "--retry-after", "300", "--over", "60", "--then", "exit"),
    *("--announce", "broadcast", "--why", "new kernel"),
)


class Wishes(VerbCase):
    """
    What a drain's options come to in its order.
    """

    async def test_all(self) -> None:
        service = await self.server()
        service.element.ledger.accept(Call())
        exits: list[bool] = []
        self.patch(service.element.oversight.after, "exit", lambda: exits.append(True))
        before = time.time()
        outcome = await self.give("drain", *ALL, "--back", "1800")
        after = time.time()
        self.assertEqual((outcome.status, outcome.facts["state"]), (Exit.DONE, "slowing"))
        self.assertEqual(outcome.text.partition(",")[0], "server-1: slowing")
        order = service.element.lifecycle.status().order
        assert order is not None and order.back is not None
        self.assertEqual(
            (order.guard, order.retryAfter, order.over, order.then, order.announce, order.why),
            (10, 300, 60, "exit", Announce.BROADCAST, "new kernel"),
        )
        self.assertTrue(before + 1800 <= order.back <= after + 1800, order.back)
        self.assertEqual((await self.give("cancel")).text, "server-1: serving")
        self.assertEqual(exits, [])

    async def test_none(self) -> None:
        """
        What is not said is left to the server.
        """
        service = await self.server()
        service.element.ledger.accept(Call())
        await self.give("drain")
        order = service.element.lifecycle.status().order
        assert order is not None
        self.assertEqual(
            (order.guard, order.retryAfter, order.over, order.then, order.announce, order.back), (None,) * 6
        )

    async def test_over(self) -> None:
        """
        Against the configuration, at once; and a gradual one that is waited for to its end.
        """
        service = await self.server(SERVER + "over = 60\n")
        call = Call()
        service.element.ledger.accept(call)
        self.assertEqual((await self.give("drain", "--over", "0")).facts["state"], "draining")
        await self.give("cancel")
        self.assertEqual((await self.give("drain")).facts["state"], "slowing")
        await self.give("cancel")
        service.element.ledger.settle(call)
        outcome = await self.give("drain", "--over", "0.5", "--wait", "--json")
        self.assertEqual((outcome.status, outcome.facts["state"]), (Exit.DONE, "offline"))
        self.assertTrue(0.5 <= outcome.facts["seconds"] < 10, outcome.facts)

    async def test_then(self) -> None:
        """
        The process ends after the drain, and the waiting with C{offline}.
        """
        service = await self.server()
        exits: list[bool] = []
        self.patch(service.element.oversight.after, "exit", lambda: exits.append(True))
        outcome = await self.give("drain", "--then", "exit", "--wait", "--json")
        self.assertEqual((outcome.status, outcome.facts["state"], exits), (Exit.DONE, "offline", [True]))

    async def test_noCommand(self) -> None:
        service = await self.server()
        for verb in ("drain", "rehearse"):
            outcome = await self.give(verb, "--then", "run")
            self.assertEqual(
                (outcome.status, outcome.text),
                (
                    Exit.REFUSED,
                    'refused: server-1 has no command to run: drain.then = "run COMMAND" names one',
                ),
            )
        self.assertEqual(service.status()["state"], "serving")


class Rehearsing(VerbCase):
    """
    What a drain would do.
    """

    def setUp(self) -> None:
        super().setUp()
        self.lines: list[str] = []
        self.patch(rehearse.click, "echo", self.lines.append)

    async def waiting(self, number: int) -> tuple[ServerService, list[Call]]:
        """
        A server with calls that wait.
        """
        service = await self.server()
        calls = [Call(service.element.oversight.rehearsals._clock.seconds()) for _ in range(number)]
        for call in calls:
            service.element.ledger.accept(call)
        return service, calls

    async def test_plan(self) -> None:
        """
        All of it for people; the server goes on serving, and nothing has happened to it.
        """
        service, _ = await self.waiting(2)
        node = await self.connect()
        events: list[dict[str, Any]] = []
        number = await node.watch(events.append)
        outcome = await self.give("rehearse", *ALL, "--back", "1800")
        self.assertEqual(outcome.status, Exit.DONE)
        self.assertRegex(
            outcome.text,
            r"\Aname          server-1: goes on serving\n"
            r"guard         10 s, by force after 7\.0 s\n"
            r"estimate      3 min 0 s \(few observations\)\n"
            r"back in       5 min 0 s, and up to 5 s more for each client\n"
            r"slowing       for 60 s before\n"
            r"then          exit\n"
            r"announce      broadcast\n"
            r"calls left    2, the oldest for 0\.\d s\n"
            r"cut off       not known\n"
            r"associations  0\n"
            r"new calls     [0-9.]+ a second\n"
            r"refused       \d+ until it is drained, \d+ until it is back\Z",
        )
        self.assertEqual((service.status()["state"], events), ("serving", []))
        self.assertEqual(await node.watch(), number)
        self.assertEqual((self.lines, service.element.lifecycle.status().order), ([], None))

    async def test_json(self) -> None:
        """
        The same with the names that the answer has.
        """
        await self.waiting(1)
        facts = (await self.give("rehearse", *ALL, "--json")).facts
        self.assertEqual(
            {key: facts[key] for key in ("order", "name", "state", "guard", "retryAfter", "over", "then")},
            {
                "order": "rehearse",
                "name": "server-1",
                "state": "serving",
                "guard": 10,
                "retryAfter": 300,
                "over": 60,
                "then": "exit",
            },
        )
        self.assertEqual(
            {key: facts[key] for key in ("announce", "announcements", "waiting", "cutOff", "clients")},
            {"announce": "broadcast", "announcements": [], "waiting": 1, "cutOff": None, "clients": {}},
        )
        self.assertNotIn("found", facts)

    async def test_settled(self) -> None:
        """
        With --wait also what would have come of it; the plan is shown first.
        """
        service, (call,) = await self.waiting(1)
        given = self.give("rehearse", "--wait")
        await self.until(lambda: self.lines)
        self.assertTrue(
            self.lines[0].startswith("name          server-1: goes on serving\nguard         20 s")
        )
        await moment(0.2)
        self.assertFalse(given.called)
        service.element.ledger.accept(Call())
        service.element.ledger.settle(call)
        outcome = await given
        self.assertEqual(outcome.status, Exit.DONE)
        self.assertRegex(
            outcome.text,
            r"\Aserver-1: 1 of 1 call settled, drained after \d\.\d s, 1 new would have been refused\Z",
        )
        self.assertEqual((len(self.lines), service.status()["state"]), (1, "serving"))

    async def test_cutOff(self) -> None:
        service, calls = await self.waiting(3)
        given = self.give("rehearse", "--guard", "1", "--wait", "--json")
        await self.until(lambda: service.element.oversight.rehearsals._watching)
        service.element.ledger.settle(calls[0])
        outcome = await given
        self.assertEqual(
            outcome.text,
            "server-1: 1 of 3 calls settled, 2 would have been cut off, 0 new would have been refused",
        )
        self.assertEqual(
            outcome.facts["found"],
            {"guard": 1, "waiting": 3, "settled": 1, "cutOff": 2, "drainedAfter": None, "refused": 0},
        )
        self.assertEqual((self.lines, [call.forced for call in calls]), ([], [[], [], []]))

    async def test_left(self) -> None:
        """
        Ctrl-C ends it, at the server as well.
        """
        service, _ = await self.waiting(1)
        given = self.give("rehearse", "--wait")
        await self.until(lambda: self.lines)
        given.cancel()
        error = await self.assertFailure(given, Left)
        self.assertEqual(str(error), "left; it is not watched any more, and nothing was changed")
        await self.until(lambda: not service.element.oversight.rehearsals._watching)
        self.assertEqual(service.status()["state"], "serving")

    async def test_refused(self) -> None:
        await self.waiting(1)
        await self.give("drain")
        outcome = await self.give("rehearse")
        self.assertEqual(
            (outcome.status, outcome.text),
            (Exit.REFUSED, "refused: a rehearsal is for a server that serves; this one is draining"),
        )


class Telling(VerbCase):
    """
    What is shown where more is known.
    """

    def test_known(self) -> None:
        found = rehearse._lines(
            "server-1",
            {
                "guard": 10.0,
                "forcedAfter": 8.5,
                "guardEstimate": 11.0,
                "estimatedFrom": "observed",
                "retryAfter": 60.0,
                "spread": 5,
                "over": 0.0,
                "then": "stay",
                "announce": "both",
                "announcements": [{"client": "client-110", "message": ""}],
                "waiting": 0,
                "oldest": None,
                "cutOff": 0.25,
                "associations": 3,
                "clients": {"client-110": 2, "client-112": 1},
                "newPerSecond": 2.5,
                "refusedBefore": 25,
                "refusedWithin": 150,
            },
        )
        self.assertEqual(
            found,
            [
                ("name", "server-1: goes on serving"),
                ("guard", "10 s, by force after 8.5 s"),
                ("estimate", "11 s (observed)"),
                ("back in", "60 s, and up to 5 s more for each client"),
                ("then", "stay"),
                ("announce", "both, 1 announcement at once"),
                ("calls left", "0"),
                ("cut off", "0.25 to be expected"),
                ("associations", "3"),
                ("client", "client-110: 2 associations"),
                ("client", "client-112: 1 association"),
                ("new calls", "2.5 a second"),
                ("refused", "25 until it is drained, 150 until it is back"),
            ],
        )
