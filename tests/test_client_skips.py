"""
Servers that are skipped, and servers that are overdue: L{sipgrace.client.skips} and what a whole client makes
of them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.client.service import ClientService
from sipgrace.config.load import parseClient
from sipgrace.control.node import Node
from sipgrace.errors import ConfigError, OrderRefused
from sipgrace.lifecycle.authorization import Giver, Source
from sipgrace.lifecycle.orders import Kind, Order
from sipgrace.testing import MemoryAssociation
from sipgrace.transport.naming import Place
from tests.memorynet import Disk, World
from tests.test_commands_verbs import VerbCase
from tests.test_network_memory import CLIENT, DRAIN, ROUTES, NetworkCase

ALICE = Giver(Source.SOCKET, "alice")


class SkippingCase(NetworkCase):
    """
    Client 110 keeps what it skips in a file.
    """

    def setUp(self) -> None:
        super().setUp()
        self.disk = Disk(self)
        self.path = Path(self.mktemp()).absolute()
        text = CLIENT.format(number="110", first="192.0.2.1", second="192.0.2.3")
        self.text = text.replace("longest = 1", "longest = 1\ngrace = 3", 1)
        self.begin()

    def begin(self) -> None:
        """
        The client in a network of its own.
        """
        self.world = world = World(self)
        for name in ("102", "104"):
            world.server(name, ROUTES + DRAIN)
        self.alice = world.phone("alice", 1)
        self.bob = world.phone("bob", 2)
        client = world.client(
            "110", ("102", "104"), self.text, f'skips = "{self.path}"\nstrategy = "priority"'
        )
        world.client(
            "112", ("102", "104"), CLIENT.format(number="112", first="192.0.2.2", second="192.0.2.9")
        )
        self.client = client
        client.skips.load()
        self.events: list[dict[str, Any]] = []
        self.node = Node(client.element.door, client.status, wallClock=lambda: 5.0)
        self.node.watch(self.events.append)
        world.run(0.2)

    def give(self, kind: str, server: str, why: str = "") -> Any:
        return self.resultOf(self.node.order(ALICE, kind, why, server=server))

    def resultOf(self, given: Deferred[Any]) -> Any:
        return self.successResultOf(given).result

    def said(self) -> list[tuple[str, str]]:
        said = [(event["change"], event["text"]) for event in self.events]
        self.events.clear()
        return said

    def calls(self) -> list[str]:
        """
        Where three calls of Alice's go.
        """
        self.world.take()
        for _ in range(3):
            self.alice.call("1121", "110")
            self.world.run(0.1)
        return [line for line in self.world.take() if line.startswith("110>1") and line.endswith("INVITE")]


class FoundTests(SynchronousTestCase):
    """
    Servers that are found by DNS.
    """

    TEXT = """
[client]
name = "client-110"
listen = ["udp:5060:interface=192.0.2.110"]
listen_network = ["sctp:5060:interface=192.0.2.110"]
skips = "{path}"
[dns]
servers = ["192.0.2.53"]
[[servers]]
name = "trunk"
address = "sip:example.org;transport=sctp"
"""

    def setUp(self) -> None:
        self.disk = Disk(self)
        self.path = Path(self.mktemp()).absolute()
        self.begin()

    def begin(self) -> None:
        """
        The client is started again.
        """
        self.client = ClientService(Clock(), parseClient(self.TEXT.format(path=self.path), "client.toml"))
        self.client.skips.load()

    def find(self, *names: str) -> None:
        """
        The domain is looked up.
        """
        (discovery,) = self.client.found._discoveries.values()
        places = [Place(b"SCTP", name, 5060, ("192.0.2.1",)) for name in names]
        discovery.places = {f"trunk/{place.target}:5060": place for place in places}
        self.client.found.update(discovery)

    def order(self, kind: Kind) -> Any:
        order = Order(kind=kind, who="alice", when=5.0, server="trunk/one:5060")
        return self.successResultOf(self.client.element.door.give(order, ALICE)).result

    def skipped(self) -> list[str]:
        """
        Those that get no calls.
        """
        return [name for name, link in self.client.links.items() if link.skipped]

    def test_restart(self) -> None:
        """
        A client that is started again knows, when they are found.
        """
        self.find("one", "two")
        kept = {"server": "trunk/one:5060", "skipped": True, "kept": True}
        self.assertEqual(self.order(Kind.SKIP), kept)
        self.begin()
        self.assertEqual(self.skipped(), [])
        self.find("one", "two")
        self.assertEqual(self.skipped(), ["trunk/one:5060"])
        self.assertEqual([one["skipped"] is None for one in self.client.status()["servers"]], [False, True])
        self.order(Kind.UNSKIP)
        self.assertEqual((self.skipped(), json.loads(self.path.read_bytes())), ([], {}))

    def test_goneForAWhile(self) -> None:
        """
        One that has vanished, and is back, is skipped still, unless that was taken back.
        """
        self.find("one", "two")
        self.order(Kind.SKIP)
        self.find("two")
        self.find("one", "two")
        self.assertEqual(self.skipped(), ["trunk/one:5060"])
        self.find("two")
        self.assertFalse(self.order(Kind.UNSKIP)["skipped"])
        self.find("one", "two")
        self.assertEqual(self.skipped(), [])

    def test_goneMeanwhile(self) -> None:
        """
        DNS may say something else while the disk takes its time.
        """
        self.find("one", "two")
        self.disk.held = True
        order = Order(kind=Kind.SKIP, who="alice", when=5.0, server="trunk/one:5060")
        given = self.client.element.door.give(order, ALICE)
        self.find("two")
        self.find("one", "two")
        self.assertEqual(self.skipped(), [])
        self.disk.answer()
        self.assertTrue(self.successResultOf(given).result["skipped"])
        self.assertEqual(self.skipped(), ["trunk/one:5060"])

    def test_notConfigured(self) -> None:
        """
        What is of no domain of the configuration any more is forgotten.
        """
        self.path.write_text('{"berlin/one:5060": {}, "trunk/one:5060": {}}')
        self.begin()
        self.assertEqual(list(self.client.skips._skipped), ["trunk/one:5060"])


class SkipTests(SkippingCase):
    """
    Skip and unskip.
    """

    def test_calls(self) -> None:
        """
        Those that are skipped get none; the status says who had it skipped, and the event does.
        """
        self.assertEqual(
            self.give("skip", "server-102", "new kernel"),
            {"server": "server-102", "skipped": True, "kept": True},
        )
        self.assertEqual(self.calls(), ["110>104 INVITE"] * 3)
        facts = {"who": "alice", "when": 5.0, "why": "new kernel"}
        self.assertEqual([one["skipped"] for one in self.client.status()["servers"]], [facts, None])
        self.assertEqual(self.events[0]["order"]["who"], "alice")
        self.assertEqual(self.said(), [("skipped", "server-102 is skipped")])
        self.give("unskip", "server-102")
        self.assertEqual(set(self.calls()), {"110>102 INVITE", "110>104 INVITE"})
        self.assertEqual([one["skipped"] for one in self.client.status()["servers"]], [None, None])
        self.assertEqual(self.said(), [("unskipped", "server-102 is not skipped any more")])

    def test_tested(self) -> None:
        """
        One that is skipped is tested all the same, at most C{longest} apart, and not listed when it is good.
        """
        self.give("skip", "server-102")
        names = self.world.names
        tests: list[bytes] = []
        send = MemoryAssociation.send

        def noting(association: MemoryAssociation, data: bytes) -> bool:
            ends = names[association.localHost], names[association.peerHost]
            if data.startswith(b"OPTIONS ") and ends == ("110", "102"):
                tests.append(data)
            return send(association, data)

        self.patch(MemoryAssociation, "send", noting)
        self.world.run(3.5)
        self.assertEqual(len(tests), 3)
        self.assertEqual(self.active("110"), ["server-104"])
        self.client.links["server-102"].associationLost(self.world.between("110", "102")[0])
        self.world.run(2.0)
        self.assertTrue(self.client.links["server-102"].active)
        self.assertEqual(self.active("110"), ["server-104"])

    def test_restart(self) -> None:
        """
        A client that is started again knows.
        """
        self.give("skip", "server-102", "new kernel")
        self.assertEqual(json.loads(self.path.read_bytes())["server-102"]["why"], "new kernel")
        self.begin()
        self.assertEqual(self.active("110"), ["server-104"])
        self.assertEqual(self.calls(), ["110>104 INVITE"] * 3)
        self.give("unskip", "server-102")
        self.assertEqual(json.loads(self.path.read_bytes()), {})
        self.begin()
        self.assertEqual(self.active("110"), ["server-102", "server-104"])

    def test_all(self) -> None:
        """
        Where all are skipped, there is no server.
        """
        for name in ("server-102", "server-104"):
            self.give("skip", name)
        call = self.alice.call("1121", "110")
        self.world.run(0.2)
        self.ended(call, 503)

    def test_refused(self) -> None:
        """
        What makes no sense, and what could not be remembered.
        """
        for kind, server, reason in (
            ("skip", "x", "client-110 has no server 'x'; one of server-102, server-104 is expected"),
            ("unskip", "server-102", "server-102 is not skipped"),
        ):
            failure = self.failureResultOf(self.node.order(ALICE, kind, "", server=server), OrderRefused)
            self.assertEqual(failure.getErrorMessage(), reason)
        self.path.with_name(self.path.name + ".new").mkdir()
        failure = self.failureResultOf(self.node.order(ALICE, "skip", "", server="server-102"), OrderRefused)
        self.assertIn("cannot be written", failure.getErrorMessage())
        self.assertEqual(self.active("110"), ["server-102", "server-104"])

    def test_console(self) -> None:
        """
        At the manhole's prompt, which a server's has not.
        """
        names: Any = self.client.orders()
        skipped = self.successResultOf(names["skip"]("server-102", why="new kernel"))
        self.assertEqual(skipped, {"server": "server-102", "skipped": True, "kept": True})
        self.assertEqual(self.active("110"), ["server-104"])
        self.assertEqual(json.loads(self.path.read_bytes())["server-102"]["who"], "manhole")
        self.assertRaises(OrderRefused, names["skip"], "x")
        unskipped = self.successResultOf(names["unskip"]("server-102"))
        self.assertEqual(unskipped, {"server": "server-102", "skipped": False, "kept": True})
        self.assertEqual(self.active("110"), ["server-102", "server-104"])
        self.assertEqual({"skip", "unskip"} & set(self.world.servers["102"].orders()), set())

    def test_noFile(self) -> None:
        """
        A file that is none of ours keeps the client from starting.
        """
        for text in ("{", "[]", '{"server-102": 1}'):
            self.path.write_text(text)
            error = self.assertRaises(ConfigError, self.client.skips.load)
            self.assertIn(f"client.skips {self.path}: ", str(error))


class OverdueTests(SkippingCase):
    """
    A server that does not come back in time.
    """

    def test_notices(self) -> None:
        """
        One when it is overdue, one when it is back; between them the status says so.
        """
        self.bob.rings = None
        self.calls()
        self.world.drain("102", guard=4.0, retryAfter=4.0)
        self.calls()
        self.world.run(5.0)
        self.assertEqual(self.said(), [])
        self.world.run(15.0)
        self.assertEqual(self.said(), [("overdue", "server-102 announced to be back 3.0 s ago, and is not")])
        late = [one["overdue"] for one in self.client.status()["servers"]]
        self.assertTrue(10 < late[0] < 20, late)
        self.assertEqual(late[1], None)
        resume = self.world.servers["102"].element.order(Kind.RESUME, "test")
        self.world.servers["102"].element.lifecycle.resume(resume)
        self.world.run(5.0)
        (told,) = self.said()
        self.assertEqual(told[0], "back")
        self.assertRegex(told[1], r"\Aserver-102 is back, \d+\.\d s after it was known to be overdue\Z")


class VerbTests(VerbCase):
    """
    The command line.
    """

    async def test_verbs(self) -> None:
        """
        Each says what has become of the server, and whether a restart will know.
        """
        service = await self.client()
        outcome = await self.give("skip", "server-1", "--why", "new kernel")
        self.assertEqual(
            outcome.text,
            "client-1: server-1 is skipped, until its process ends: client.skips names no file",
        )
        self.assertEqual(
            {key: outcome.facts[key] for key in ("order", "server", "skipped", "kept")},
            {"order": "skip", "server": "server-1", "skipped": True, "kept": False},
        )
        self.assertRegex((await self.give("status")).text, r"server-1: .*, skipped by \w+: new kernel")
        self.assertTrue(service.links["server-1"].skipped)
        outcome = await self.give("unskip", "server-1")
        self.assertEqual(
            outcome.text,
            "client-1: server-1 is not skipped any more",
        )
        outcome = await self.give("unskip", "server-1")
        self.assertEqual((outcome.status, outcome.text), (1, "refused: server-1 is not skipped"))
