"""
Calls that are refused by order: L{sipgrace.server.rejects} and what a whole server makes of it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sipgrace.control.node import Node
from sipgrace.errors import ConfigError, OrderRefused
from sipgrace.lifecycle.authorization import Giver, Source
from sipgrace.server.rejects import MOST
from tests.memorynet import Disk, World
from tests.test_commands_verbs import VerbCase
from tests.test_network_memory import CLIENT, DRAIN, ROUTES, NetworkCase

ALICE = Giver(Source.SOCKET, "alice")

CONFIGURED = '[[reject]]\nstatus = 480\n[reject.destination]\nprefix = "1129"\n'


class RejectCase(NetworkCase):
    """
    A server that keeps what it refuses in a file.
    """

    def setUp(self) -> None:
        super().setUp()
        self.disk = Disk(self)
        self.path = Path(self.mktemp()).absolute()
        self.begin()

    def begin(self) -> None:
        """
        The server in a network of its own.
        """
        self.world = world = World(self)
        head = f'rejects = "{self.path}"'
        self.server = world.server("102", CONFIGURED + ROUTES + DRAIN, head)
        self.alice, self.bob = world.phone("alice", 1), world.phone("bob", 2)
        for name, first, second in (("110", "192.0.2.1", "192.0.2.3"), ("112", "192.0.2.2", "192.0.2.9")):
            world.client(name, ("102",), CLIENT.format(number=name, first=first, second=second))
        self.server.rejects.load()
        self.events: list[dict[str, Any]] = []
        self.node = Node(self.server.element.door, self.server.status, wallClock=lambda: 5.0)
        self.node.watch(self.events.append)
        world.run(0.2)

    def give(self, kind: str, rule: object, why: str = "") -> Any:
        text = rule if isinstance(rule, str) else json.dumps(rule)
        return self.successResultOf(self.node.order(ALICE, kind, why, rule=text)).result

    def refused(self, kind: str, rule: object) -> str:
        text = rule if isinstance(rule, str) else json.dumps(rule)
        return str(self.failureResultOf(self.node.order(ALICE, kind, "", rule=text), OrderRefused).value)

    def answer(self, number: str) -> object:
        """
        @return: what Alice is answered, at last.
        """
        call = self.alice.call(number, "110")
        self.world.run(3)
        return call.answers[-1]

    def test_calls(self) -> None:
        """
        They are refused as the rule says, until it is taken back; others are not. Status and events say who.
        """
        self.assertEqual(self.answer("11215"), 200)
        rule = {"name": "bob", "destination": {"prefix": "11215"}, "status": 603, "reason": "Not now"}
        self.assertEqual(
            self.give("reject", rule, "a loop"), {"rule": "bob", "rejects": True, "kept": True}
        )
        self.assertEqual(self.answer("11215"), 603)
        self.assertEqual(self.answer("1121"), 200)
        facts = {"name": "bob", "rule": json.dumps(rule), "who": "alice", "when": 5.0, "why": "a loop"}
        self.assertEqual(self.server.status()["rejects"], [facts])
        self.assertEqual(self.give("admit", "bob"), {"rule": "bob", "rejects": False, "kept": True})
        self.assertEqual(self.answer("11215"), 200)
        self.assertEqual(self.server.status()["rejects"], [])
        said = [(event["change"], event["text"], event["order"]["who"]) for event in self.events]
        self.assertEqual(
            said,
            [
                ("rejecting", "calls are refused by the rule bob", "alice"),
                ("admitting", "calls are refused by the rule bob no more", "alice"),
            ],
        )

    def test_accepted(self) -> None:
        """
        Calls that were accepted go on.
        """
        self.bob.rings = 2.0
        call = self.alice.call("1121", "110")
        self.world.run(0.5)
        self.give("reject", {"name": "all", "origin": {"client": "client-110"}})
        self.assertEqual(self.answer("1121"), 403)
        self.world.run(2)
        self.assertEqual(call.answers[-1], 200)

    def test_before(self) -> None:
        """
        Rules that were ordered come before those of the configuration, the newer of a name in place of the
        older; those of the configuration stay.
        """
        self.assertEqual(self.answer("1129"), 480)
        self.give("reject", {"name": "one", "destination": {"prefix": "112"}, "status": 500})
        self.give("reject", {"name": "one", "destination": {"prefix": "112"}, "status": 410})
        self.assertEqual(self.answer("1129"), 410)
        self.give("admit", "one")
        self.assertEqual(self.answer("1129"), 480)

    def test_restart(self) -> None:
        """
        A server that was started again still knows them.
        """
        self.give("reject", {"name": "bob", "destination": {"prefix": "1121"}})
        self.begin()
        self.assertEqual(self.answer("1121"), 403)
        self.give("admit", "bob")
        self.begin()
        self.assertEqual(self.answer("1121"), 200)

    def test_mistakes(self) -> None:
        """
        What makes no sense is refused, each with what was expected, and nothing has changed.
        """
        sides = "network, client, domain, prefix"
        for rule, why in (
            ("{", "the rule is no JSON"),
            ("[]", "the rule is no JSON object"),
            ({"origin": {"prefix": "1"}}, "rule: name: expected this key, found none"),
            ({"name": "x"}, "rule: expected an origin, a destination or both, found neither"),
            (
                {"name": "x", "origin": {"network": "zzz"}},
                "rule: origin.network: expected a network such as '192.0.2.0/24' or '2001:db8::1', found "
                "'zzz' ('zzz' does not appear to be an IPv4 or IPv6 network)",
            ),
            (
                {"name": "x", "origin": {"user": "a"}},
                f"rule: origin.user: expected one of the keys {sides}, found an unknown one; "
                "rule: origin: expected exactly one of network, client, domain and prefix, found none",
            ),
            (
                {"name": "x", "origin": {"client": "client-9"}},
                "rule: server-102 has no client 'client-9'",
            ),
        ):
            said = self.refused("reject", rule)
            self.assertEqual(set(said.split("; ")), set(why.split("; ")), rule)
        rule = {"name": "x", "origin": {"prefix": "1"}, "status": 200}
        self.assertIn("status", self.refused("reject", rule))
        self.assertEqual(
            self.refused("admit", "x"), "server-102 has no ordered rule 'x'; those there are: none"
        )
        self.assertIn("at most 1000 characters", self.refused("admit", "x" * 1001))
        self.assertEqual((self.server.status()["rejects"], self.path.exists()), ([], False))

    def test_most(self) -> None:
        """
        There is a bound to them.
        """
        for number in range(MOST):
            self.give("reject", {"name": f"n{number}", "origin": {"prefix": "9"}})
        self.assertIn("100 rules already", self.refused("reject", {"name": "y", "origin": {"prefix": "9"}}))
        self.give("reject", {"name": "n0", "origin": {"prefix": "8"}})

    def test_file(self) -> None:
        """
        A file that cannot be read keeps the server from starting; one that cannot be written, the order from
        acting.
        """
        for text in ("[", '{"a": {"rule": "{}"}}', '{"a": 1}', "[1]"):
            self.path.write_text(text)
            error = self.assertRaises(ConfigError, self.server.rejects.load)
            self.assertIn(f"server.rejects {self.path}: ", str(error))
        self.path.unlink()
        self.path.mkdir()
        self.assertIn("cannot be written", self.refused("reject", {"name": "x", "origin": {"prefix": "1"}}))
        self.assertEqual(self.server.rejects.status(), [])


    def test_slowDisk(self) -> None:
        """
        Calls go on while the disk takes its time. An order counts when it is on the disk, and the next is
        looked at after it.
        """
        self.disk.held = True
        text = json.dumps({"name": "bob", "destination": {"prefix": "1121"}, "status": 603})
        first = self.node.order(ALICE, "reject", "", rule=text)
        second = self.node.order(ALICE, "admit", "", rule="bob")
        self.assertEqual(self.answer("1121"), 200)
        self.assertNoResult(first)
        self.assertNoResult(second)
        self.disk.answer()
        self.assertTrue(self.successResultOf(first).result["rejects"])
        self.assertFalse(self.successResultOf(second).result["rejects"])
        self.assertEqual([event["change"] for event in self.events], ["rejecting", "admitting"])
        self.assertEqual(json.loads(self.path.read_bytes()), {})


class VerbTests(VerbCase):
    """
    The verbs.
    """

    async def test_verbs(self) -> None:
        service = await self.server()
        outcome = await self.give("reject", "flood", "--from", "network=192.0.2.0/24", "--why", "a loop")
        self.assertEqual(
            outcome.text,
            "server-1 refuses the calls of the rule flood, until its process ends: "
            "server.rejects names no file",
        )
        rule = json.loads(service.rejects.status()[0]["rule"])
        self.assertEqual(rule, {"name": "flood", "status": 403, "origin": {"network": "192.0.2.0/24"}})
        outcome = await self.give("admit", "flood")
        self.assertEqual(
            outcome.text,
            "server-1 does not refuse any more the calls of the rule flood",
        )
        self.assertEqual(outcome.facts["rejects"], False)
        outcome = await self.give("admit", "flood")
        self.assertEqual(outcome.text, "refused: server-1 has no ordered rule 'flood'; those there are: none")
