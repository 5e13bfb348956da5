"""
Links of nodes to controllers, both sides, in memory: L{sipgrace.control.uplinks} and
L{sipgrace.controller.links}.
"""

from __future__ import annotations

import gc
import struct
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionLost
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.control.commands import Confirm, Happened, NotOffered, Report, Standing
from sipgrace.control.commands import Hello as SayHello
from sipgrace.control.link import Link
from sipgrace.control.node import Node
from sipgrace.control.uplinks import Destination, Identity, Uplinks
from sipgrace.errors import NotAllowed, OrderRefused, StoreError
from sipgrace.lifecycle.authorization import Authority, Giver, Key, Role, Source, Verify
from sipgrace.lifecycle.door import Door
from sipgrace.lifecycle.orderform import sign
from sipgrace.lifecycle.orders import Kind, Order
from tests.linkrig import NOW, Endpoint, Rig
from tests.test_lifecycle_door import SOCKET, DoorCase
from tests.test_lifecycle_machine import Call, World

KEYS = DoorCase.keys


class Spoken:
    """
    A client that is told of servers.
    """

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def unavailable(
        self, giver: Giver, server: str, retryAfter: float, back: float | None, why: str
    ) -> None:
        if server == "nobody":
            raise OrderRefused("there is no such server")
        self.heard.append((giver.name, str(giver.role), server, retryAfter, back, why))

    def available(self, giver: Giver, server: str, why: str) -> None:
        self.heard.append((giver.name, server, why))


class LinkCase(SynchronousTestCase):
    """
    A server and a controller.
    """

    verify = Verify.SELF

    def setUp(self) -> None:
        self.world = World()
        self.clock = self.world.clock
        self.rig = Rig(self.clock)
        self.warnings: list[str] = []
        globalLogPublisher.addObserver(self._logged)
        self.addCleanup(globalLogPublisher.removeObserver, self._logged)
        authority = Authority(
            "server-1", [Key("operator", Role.OPERATOR, KEYS["operator"].public_key())], verify=self.verify
        )
        self.door = Door("server-1", self.clock, self.world.lifecycle, authority, wallClock=self.wallClock)
        self.noted: list[tuple[str, dict[str, Any]]] = []
        noted = self.door.noted

        def note(giver: Giver, what: str, facts: dict[str, Any]) -> None:
            self.noted.append((what, facts))
            noted(giver, what, facts)

        self.door.noted = note
        self.endpoint = Endpoint(self.rig, ("server-1", "controller-120"))
        self.spoken = Spoken()
        self.node = Node(
            self.door,
            lambda: {"state": "serving"},
            wallClock=self.wallClock,
            announced=self.spoken,
        )
        self.facts: dict[str, Any] = {"state": "serving", "waiting": 0}
        self.uplinks = self.makeUplinks(self.endpoint)
        self.addCleanup(self.uplinks.stopService)

    def _logged(self, event: Any) -> None:
        if event["log_level"] >= LogLevel.warn:
            self.warnings.append(event.get("log_format", "").format_map(event))

    def makeUplinks(self, *endpoints: Endpoint, name: str = "server-1") -> Uplinks:
        where = [
            Destination((one.names or ("", "controller-120"))[1], one, Role.OPERATOR, one.names is not None)
            for one in endpoints
        ]
        identity = Identity(name, "server", {"site": "north"}, "core")
        return Uplinks(
            self.clock, self.node, identity, lambda: self.facts, where, random=lambda: 0.0
        )

    def start(self) -> None:
        self.uplinks.startService()
        self.rig.run()

    def wallClock(self) -> float:
        return NOW + self.clock.seconds()

    def state(self) -> str:
        return str(self.uplinks.status()[0]["state"])

    def view(self, name: str = "server-1") -> dict[str, Any]:
        return self.rig.fleet.node(name)

    def order(self, kind: Kind = Kind.DRAIN, nonce: str = "nonce-0000000001", **values: Any) -> Order:
        now = NOW + self.clock.seconds()
        return Order(
            kind=kind, who="alice", when=now, node="server-1", nonce=nonce, expires=now + 60, **values
        )

    def link(self) -> Any:
        """
        The controller's end.
        """
        link = self.rig.fleet.linkOf("server-1")
        assert link is not None
        return link

    def give(self, order: Order, key: str = "operator", name: str = "") -> Any:
        """
        Signs an order with a key (and another name for it), and gives it.
        """
        return self.outcome(self.link().signed(sign(order, name or key, KEYS[key])))

    def outcome(self, asked: Deferred[Any]) -> Any:
        """
        What came of it: the result, or the error.
        """
        outcomes: list[Any] = []
        # At once: AMP ends a link on which an error was of no interest to anybody.
        asked.addCallbacks(outcomes.append, lambda failure: outcomes.append(failure.value))
        self.rig.run()
        self.assertEqual(len(outcomes), 1)
        return outcomes[0]

    def assertRefused(self, outcome: object, text: str) -> None:
        """
        It was refused, for that reason.
        """
        self.assertIsInstance(outcome, OrderRefused)
        self.assertEqual(str(outcome), text)


class Linking(LinkCase):
    """
    How a link comes up and goes.
    """

    def test_linked(self) -> None:
        """
        The controller knows the node, and how it stands.
        """
        self.start()
        self.assertEqual(self.state(), "Linked")
        view = self.view()
        self.assertEqual(
            {key: view[key] for key in ("role", "labels", "group", "linked", "address", "lost", "state")},
            {
                "role": "server",
                "labels": {"site": "north"},
                "group": "core",
                "linked": True,
                "address": "192.0.2.7",
                "lost": "",
                "state": "serving",
            },
        )
        self.assertEqual(self.warnings, [])

    def test_standing(self) -> None:
        """
        Changes within 50 ms are told as one; and every ten seconds there is a sign of life.
        """
        self.start()
        told: list[Any] = []
        self.rig.fleet.observe(lambda notice: told.append(notice.facts["standing"]["waiting"]))
        for waiting in (1, 2, 3):
            self.facts = {"state": "serving", "waiting": waiting}
            self.uplinks.changed()
        self.rig.run()
        self.assertEqual(told, [])
        self.rig.run(0.05)
        self.assertEqual(told, [3])
        seen = self.view()["lastSeen"]
        self.rig.run(10)
        self.assertEqual((told, round(self.view()["lastSeen"] - seen)), ([3], 10))

    def test_standingQuick(self) -> None:
        """
        During a drain it is told every second.
        """
        self.start()
        self.facts = {"state": "draining", "waiting": 9}
        self.uplinks.changed()
        self.rig.run(0.05)
        self.facts = {"state": "draining", "waiting": 8}
        self.rig.run(1.0)
        self.assertEqual(self.view()["standing"]["waiting"], 8)

    def test_refusedAndBack(self) -> None:
        """
        Where nobody listens it tries again, after waits that grow from half a second to five (the figures
        with no luck at all; a second to ten with all of it); one line is written, not one each time. When
        somebody does again, it is linked up soon, however long that took.
        """
        self.endpoint.refusing = True
        self.uplinks.startService()
        times: list[float] = []
        for _ in range(800):
            before = self.endpoint.attempts
            self.rig.run(0.25)
            if self.endpoint.attempts > before:
                times.append(self.clock.seconds())
        self.assertEqual([at - 1000 for at in times[:8]], [0.5, 1.5, 3.5, 7.5, 12.5, 17.5, 22.5, 27.5])
        self.assertEqual(len(self.warnings), 1, self.warnings)
        self.assertIn("no link to controller-120: Connection was refused", self.warnings[0])
        self.assertEqual(self.state(), "Waiting")
        self.endpoint.refusing = False
        self.rig.run(5)
        self.assertEqual((self.state(), self.uplinks.status()[0]["trouble"]), ("Linked", ""))

    def test_lost(self) -> None:
        """
        A lost link is shown as lost, not as gone, and made again.
        """
        self.start()
        self.rig.run(40)
        self.endpoint.wires[0].end(ConnectionLost("cable"))
        self.assertEqual(self.state(), "Waiting")
        view = self.view()
        self.assertEqual((view["linked"], "cable" in view["lost"], view["state"]), (False, True, "serving"))
        self.rig.run(0.5)
        self.assertEqual((self.state(), self.view()["linked"], self.view()["lost"]), ("Linked", True, ""))

    def test_shortLived(self) -> None:
        """
        Links that are lost as soon as they are made count as failures: there is no storm.
        """
        self.start()
        for _ in range(6):
            self.endpoint.wires[-1].end(ConnectionLost("again"))
            self.rig.run(0.5)
            while self.state() != "Linked":
                self.rig.run(0.5)
        self.assertEqual(self.clock.seconds() > 25, True, self.clock.seconds())

    def test_silentController(self) -> None:
        """
        A controller that answers no more is left, and looked for again.
        """
        self.start()
        self.endpoint.wires[0].cut = True
        self.rig.run(34)
        self.assertEqual(self.state(), "Linked")
        self.rig.run(2)
        self.assertEqual((self.state(), self.endpoint.attempts), ("Linked", 2))
        self.assertEqual(
            self.warnings[:1], ["no link to controller-120: no answer within 15 seconds"], self.warnings
        )

    def test_silentGreeting(self) -> None:
        """
        One that does not even answer the greeting, too.
        """
        self.uplinks.startService()
        self.endpoint.wires[0].cut = True
        self.rig.run(14)
        self.assertEqual(self.state(), "Greeting")
        self.rig.run(1.2)
        self.assertEqual(self.state(), "Waiting")

    def test_stop(self) -> None:
        """
        The end of the node is the end of its links.
        """
        self.start()
        self.successResultOf(self.uplinks.stopService())
        self.rig.run(0)
        self.assertEqual((self.state(), self.view()["linked"]), ("Idle", False))
        self.rig.run(200)
        self.assertEqual(self.endpoint.attempts, 1)

    def test_stopWhileCut(self) -> None:
        """
        Also where the controller is silent.
        """
        self.start()
        wire = self.endpoint.wires[0]
        wire.cut = True
        self.successResultOf(self.uplinks.stopService())
        self.clock.advance(2)
        self.assertTrue(wire.client.aborted)

    def test_two(self) -> None:
        """
        Each controller has a link of its own; one that is away is no matter to the other.
        """
        away = Endpoint(self.rig, ("server-1", "controller-121"))
        away.refusing = True
        uplinks = self.makeUplinks(self.endpoint, away)
        uplinks.startService()
        self.addCleanup(uplinks.stopService)
        self.rig.run()
        self.assertEqual([one["state"] for one in uplinks.status()], ["Linked", "Waiting"])

    def test_wrongController(self) -> None:
        """
        Whoever has another certificate than the controller's gets not one word.
        """
        endpoint = Endpoint(self.rig, ("server-1", "server-2"))
        where = Destination("controller-120", endpoint, Role.OPERATOR, True)
        uplinks = Uplinks(
            self.clock, self.node, Identity("server-1", "server", {}, ""), dict, [where], random=lambda: 0.0
        )
        uplinks.startService()
        self.addCleanup(uplinks.stopService)
        self.rig.run()
        self.assertEqual(
            self.warnings[:1],
            ["no link to controller-120: its certificate is that of server-2, and not of controller-120"],
        )
        self.assertEqual(
            self.noted,
            [("distrusted", {"reason": "its certificate is that of server-2, and not of controller-120"})],
        )
        self.assertEqual(self.rig.fleet.nodes(), [])


class Trust(LinkCase):
    """
    Who is turned away.
    """

    def test_otherName(self) -> None:
        """
        A node that claims another's name is turned away, and told so; the other's link is not touched.
        """
        self.start()
        link = self.rig.fleet.linkOf("server-1")
        endpoint = Endpoint(self.rig, ("server-2", "controller-120"))
        intruder = self.makeUplinks(endpoint, name="server-1")
        intruder.startService()
        self.addCleanup(intruder.stopService)
        self.rig.run()
        why = "the certificate of this link is that of server-2, and not of server-1"
        self.assertEqual(self.rig.user.refused, [("server-2 at 192.0.2.7", "node", why)])
        self.assertEqual(
            sorted(self.warnings),
            [
                f"no link to controller-120: it turns us away: {why}",
                f"server-2 (192.0.2.7) is turned away: {why}",
            ],
        )
        self.assertIs(self.rig.fleet.linkOf("server-1"), link)
        self.assertTrue(endpoint.wires[0].server.gone)

    def test_second(self) -> None:
        """
        A second link of one node takes the place of the first.
        """
        self.start()
        first = self.rig.fleet.linkOf("server-1")
        again = Endpoint(self.rig, ("server-1", "controller-120"))
        second = self.makeUplinks(again)
        second.startService()
        self.addCleanup(second.stopService)
        self.rig.run()
        self.assertIsNot(self.rig.fleet.linkOf("server-1"), first)
        self.assertTrue(self.endpoint.wires[0].server.gone)
        self.assertTrue(self.view()["linked"])

    def test_badHello(self) -> None:
        """
        What is no hello is refused, with what is wrong with it.
        """
        good = self.uplinks.hello()
        for change, text in (
            ({"role": "king"}, "its role is 'king'; server or client is expected"),
            ({"name": ""}, "its name is empty"),
            ({"name": "a\nb"}, "its name is no line of at most 100 characters"),
            ({"number": -1}, "its number is no whole number from 0 up"),
            ({"number": True}, "its number is no whole number from 0 up"),
            ({"labels": [1]}, "its labels are no object of 32 at most"),
            ({"labels": {"a": 1}}, "its label is no line of at most 100 characters"),
            ({"boot": "x" * 101}, "its boot is no line of at most 100 characters"),
            *(
                ({"labels": {"capacity": much}}, "its label capacity is no finite number from 0 up")
                for much in ("inf", "nan", "-1", "1e999", "much", "")
            ),
        ):
            self.assertRefused(self.say({**good, **change}), f"its hello cannot be read: {text}")
        self.assertRefused(self.say([1]), "its hello cannot be read: it is no object")
        self.assertEqual(self.rig.fleet.nodes(), [])
        self.assertEqual(len(self.rig.user.refused), 15)

    def test_otherRole(self) -> None:
        """
        A certificate proves a name: who has linked up as a server is not taken for a client, nor the other
        way round; not while the link is lost, and not where another controller has told of it.
        """
        self.start()
        why = "server-1 is known as a server, and not as a client"
        self.assertRefused(self.say({**self.uplinks.hello(), "role": "client"}), why)
        self.assertTrue(self.view()["linked"])
        self.uplinks.stopService()
        self.rig.run(2.0)
        self.assertFalse(self.view()["linked"])
        self.assertRefused(self.say({**self.uplinks.hello(), "role": "client"}), why)
        view = self.view()
        self.rig.fleet.forget("server-1")
        self.rig.fleet.adopt("controller-121", view | {"role": "client"})
        other = "server-1 is known as a client, and not as a server"
        self.assertRefused(self.say(self.uplinks.hello()), other)
        shown = "server-1 at 192.0.2.7"
        self.assertEqual(
            self.rig.user.refused, [(shown, "node", why), (shown, "node", why), (shown, "node", other)]
        )

    def test_noController(self) -> None:
        """
        The certificate of a controller, or of a peer, is none of a node.
        """
        for name in ("controller-120", "controller-121"):
            endpoint = Endpoint(self.rig, (name, "controller-120"))
            intruder = self.makeUplinks(endpoint, name=name)
            intruder.startService()
            self.addCleanup(intruder.stopService)
            self.rig.run()
            self.assertEqual(
                self.rig.user.refused.pop(),
                (f"{name} at 192.0.2.7", "node", f"{name} is a controller, and no server"),
            )
            self.assertTrue(endpoint.wires[0].server.gone)
        self.assertEqual(self.rig.fleet.nodes(), [])

    def raw(self) -> tuple[Any, Endpoint]:
        """
        A connection on which anything can be said.
        """
        link: Any = Link()
        link.handshakeCompleted = lambda: None
        endpoint = Endpoint(self.rig, ("server-1", "controller-120"))
        endpoint.connect(Fixed(link))
        return link, endpoint

    def say(self, hello: Any) -> Any:
        """
        What comes of a hello.
        """
        link, _ = self.raw()
        return self.outcome(link.callRemote(SayHello, hello=hello))

    def test_beforeHello(self) -> None:
        """
        Who says something else before hello is dropped; who says too much, or nothing, also.
        """
        for act in (
            lambda link: link.callRemote(Standing, standing={}),
            lambda link: link.transport.write(b"\x00\x01a\xff\xff" + b"x" * 70000),
            lambda link: link.transport.write(b"GET / HTTP/1.1\r\n\r\n"),
            lambda link: self.rig.run(20.0),
        ):
            link, endpoint = self.raw()
            act(link)
            self.rig.run()
            self.assertTrue(endpoint.wires[0].server.aborted)
        self.assertEqual(self.rig.fleet.nodes(), [])

    def test_whatComesAfterHello(self) -> None:
        """
        What is for nodes alone is refused before hello, with the reason, and noted; there is no traceback.
        """
        event = {"number": 1, "change": "draining", "state": "draining", "at": 1.0, "order": None}
        why = "it has not said hello, which comes first"
        for asked in ((Report, {"at": 1.0, "report": {}}), (Confirm, {"signed": {}})):
            link, endpoint = self.raw()
            self.assertRefused(self.outcome(link.callRemote(asked[0], **asked[1])), why)
            self.rig.run(0.1)
            self.assertTrue(endpoint.wires[0].server.gone)
            self.assertEqual(self.rig.user.refused.pop(), ("server-1 at 192.0.2.7", "node", why))
        for told in ((Standing, {"standing": {}}), (Happened, {"event": event})):
            link, endpoint = self.raw()
            link.callRemote(told[0], **told[1])
            self.rig.run(0.1)
            self.assertTrue(endpoint.wires[0].server.gone)
            self.assertEqual(self.rig.user.refused.pop(), ("server-1 at 192.0.2.7", "node", why))
        self.assertEqual((self.rig.user.reports, self.rig.fleet.nodes()), ([], []))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_nonsense(self) -> None:
        """
        What makes no sense ends the link with one line, and is neither shown nor reckoned with.
        """
        peer = {"name": "client-1", "up": True}
        for standing in (
            [],
            {"state": 1},
            {"waiting": "many"},
            {"waiting": True},
            {"waiting": float("nan")},
            {"guardLeft": float("inf")},
            {"waiting": []},
            {"more": {"deep": {"deep": {"deep": {"deep": {"deep": 1}}}}}},
            {"more": {"deep": [float("nan")]}},
            {"why": "x" * 2001},
            {"order": 7},
            {"order": {"guard": float("nan")}},
            {"peers": {}},
            {"peers": [7]},
            {"peers": [peer, {"up": True}]},
            {"peers": [{**peer, "latency": "soon"}]},
            {"peers": [peer] * 10_001},
        ):
            self.drops(Standing, standing=standing)
        event = {"number": 1, "change": "draining", "state": "draining", "at": 1.0, "order": None}
        for change in (
            {"number": "1"},
            {"number": True},
            {"change": None},
            {"state": 5},
            {"at": "now"},
            {"order": []},
            {"text": "x" * 2001},
        ):
            self.drops(Happened, event={**event, **change})
        self.drops(Happened, event=[])
        view = self.view()
        self.assertEqual((view["standing"], view["lastEvent"], view["linked"]), ({}, None, False))

    def test_later(self) -> None:
        """
        What a later version may have to say is no nonsense.
        """
        order = {"kind": "reject", "rule": {"to": ["a"]}}
        self.facts = {"state": "serving", "order": order, "new": {"a": [1]}}
        self.start()
        self.assertEqual(self.view()["standing"]["new"], {"a": [1]})

    def drops(self, command: Any, **values: Any) -> None:
        """
        Says hello and then that, and sees the link dropped.
        """
        self.warnings.clear()
        link, endpoint = self.raw()
        self.outcome(link.callRemote(SayHello, hello=self.uplinks.hello()))
        link.callRemote(command, **values)
        self.rig.run()
        self.assertTrue(endpoint.wires[0].server.aborted, values)
        self.assertEqual(len(self.warnings), 1, self.warnings)
        self.assertIn("what came on it cannot be read", self.warnings[0])

    def test_deep(self) -> None:
        """
        Nor does what is nested without end.
        """
        link, endpoint = self.raw()
        self.outcome(link.callRemote(SayHello, hello=self.uplinks.hello()))
        deep = b"[" * 60_000
        box = b"\x00\x08_command\x00\x08standing\x00\x08standing" + struct.pack(">H", len(deep)) + deep
        link.transport.write(box + b"\x00\x00")
        self.rig.run()
        self.assertTrue(endpoint.wires[0].server.aborted)

    def test_tooBig(self) -> None:
        """
        Also a node that is known says no more than so much at a time.
        """
        self.start()
        self.facts = {"state": "serving", "more": "x" * (5 << 20)}
        self.uplinks.changed()
        self.rig.run(0.1)
        self.assertTrue(self.endpoint.wires[0].server.aborted)
        self.assertFalse(self.view()["linked"])

    def test_mute(self) -> None:
        """
        A node that is silent is dropped.
        """
        self.start()
        self.endpoint.wires[0].cut = True
        self.uplinks.stopService()
        self.rig.run(44)
        self.assertTrue(self.view()["linked"])
        self.rig.run(6)
        self.endpoint.wires[0].cut = False
        self.rig.run()
        self.assertFalse(self.view()["linked"])
        self.assertIn("it has been silent for", self.view()["lost"])

    def test_slow(self) -> None:
        """
        So is one that does not read.
        """
        self.start()
        self.endpoint.wires[0].server.stuck = True
        errors: list[Any] = []
        self.link().status().addErrback(errors.append)
        for _ in range(10):
            self.rig.run(4)
            self.uplinks.changed()
        self.assertTrue(self.endpoint.wires[0].server.aborted)
        self.assertEqual(len(errors), 1)

    def test_slowController(self) -> None:
        """
        A controller that does not read is told no more than how things stand last, when it reads again.
        """
        self.start()
        wire = self.endpoint.wires[0]
        wire.client.stuck = True
        for waiting in range(50):
            self.facts = {"state": "serving", "waiting": waiting}
            self.uplinks.changed()
            self.rig.run(0.1)
        self.assertEqual(len(wire.client.sent) < 4, True, wire.client.sent)
        wire.client.stuck = False
        wire.client.producer.resumeProducing()
        self.rig.run()
        self.assertEqual(self.view()["standing"]["waiting"], 49)


class Fixed:
    """
    A factory of one protocol.
    """

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol

    def buildProtocol(self, addr: object) -> Any:
        return self.protocol


class Telling(LinkCase):
    """
    What a controller may have missed.
    """

    def events(self) -> list[tuple[int, str]]:
        """
        All the controller has heard of.
        """
        return [
            (notice.facts["number"], notice.facts["change"])
            for notice in self.rig.fleet.since(0) or []
            if notice.kind == "event"
        ]

    def local(self, kind: Kind) -> None:
        values = {"guard": 30.0} if kind is Kind.DRAIN else {}
        given = self.door.give(Order(kind=kind, who="root", when=NOW, **values), SOCKET)
        self.successResultOf(given)

    def setUp(self) -> None:
        super().setUp()
        # Something to wait for.
        Call(self.world, "call")

    def test_events(self) -> None:
        """
        Events come as they happen; those before the link, and those within a break of it, are told again,
        each once.
        """
        self.local(Kind.DRAIN)
        self.local(Kind.CANCEL)
        self.start()
        self.assertEqual(self.events(), [(1, "draining"), (2, "cancelled")])
        self.local(Kind.DRAIN)
        self.rig.run()
        self.endpoint.wires[0].end(ConnectionLost("cable"))
        self.local(Kind.CANCEL)
        self.rig.run(1)
        self.local(Kind.DRAIN)
        self.rig.run()
        self.assertEqual(
            self.events(),
            [(1, "draining"), (2, "cancelled"), (3, "draining"), (4, "cancelled"), (5, "draining")],
        )

    def test_bounded(self) -> None:
        """
        No more than the last 256 are kept.
        """
        for _ in range(150):
            self.local(Kind.DRAIN)
            self.local(Kind.CANCEL)
        self.start()
        numbers = [number for number, _ in self.events()]
        self.assertEqual((numbers[0], numbers[-1], len(numbers)), (45, 300, 256))

    def test_report(self) -> None:
        """
        A report is told until the controller has it, across breaks of the link; a later one of the same drain
        takes its place.
        """
        self.uplinks.report(10.0, {"waiting": 1})
        self.uplinks.report(10.0, {"waiting": 2})
        self.uplinks.report(20.0, {"waiting": 3})
        stored: Deferred[None] = Deferred()
        self.rig.user.storing = lambda: stored
        self.start()
        self.assertEqual(self.rig.user.reports, [("server-1", 10.0, {"waiting": 2})])
        self.endpoint.wires[0].end(ConnectionLost("cable"))
        self.rig.user.storing = lambda: fail(StoreError("the disk is full"))
        self.rig.run(1)
        self.assertEqual(len(self.rig.user.reports), 2)
        self.assertEqual(self.uplinks.status()[0]["reports"], 2)
        done: Deferred[None] = Deferred()
        done.callback(None)
        self.rig.user.storing = lambda: done
        self.rig.run(11)
        self.assertEqual([facts["waiting"] for _, _, facts in self.rig.user.reports], [2, 2, 2, 3])
        self.assertEqual(self.uplinks.status()[0]["reports"], 0)

    def test_reportRefused(self) -> None:
        """
        What the controller will never take is told once; the link stays.
        """
        why = NotAllowed("it is of no time")
        self.rig.user.storing = lambda: fail(why)
        self.uplinks.report(10.0, {"waiting": 1})
        self.uplinks.report(20.0, {"waiting": 2})
        self.start()
        self.rig.run(11)
        self.assertEqual([facts["waiting"] for _, _, facts in self.rig.user.reports], [1, 2])
        self.assertEqual(self.uplinks.status()[0]["reports"], 0)
        self.assertTrue(self.view()["linked"])

    def test_reportAtTheEnd(self) -> None:
        """
        The end of the process waits for the last report, but not for long.
        """
        self.start()
        stored: Deferred[None] = Deferred()
        self.rig.user.storing = lambda: stored
        self.uplinks.report(10.0, {"waiting": 1})
        stopped = self.uplinks.stopService()
        self.rig.run(0.5)
        self.assertNoResult(stopped)
        stored.callback(None)
        self.rig.run()
        self.successResultOf(stopped)
        self.assertEqual(self.state(), "Idle")

    def test_reportNobodyTakes(self) -> None:
        """
        One second.
        """
        self.start()
        self.rig.user.storing = Deferred
        self.uplinks.report(10.0, {"waiting": 1})
        stopped = self.uplinks.stopService()
        self.rig.run(0.9)
        self.assertNoResult(stopped)
        self.rig.run(0.2)
        self.successResultOf(stopped)
        gc.collect()
        self.assertEqual(self.warnings, [])

    def test_reportsBounded(self) -> None:
        """
        The latest twenty are kept for a controller that is away.
        """
        for at in range(30):
            self.uplinks.report(float(at), {})
        self.start()
        self.assertEqual([at for _, at, _ in self.rig.user.reports], [float(at) for at in range(10, 30)])


class Orders(LinkCase):
    """
    Orders over the link.
    """

    def test_signed(self) -> None:
        """
        A signed order is obeyed; the controller hears what becomes of it.
        """
        self.start()
        Call(self.world, "call")
        answer = self.give(self.order(guard=30.0))
        self.assertEqual((answer.state, answer.id), ("draining", "nonce-0000000001"))
        self.assertEqual(self.view()["lastEvent"]["change"], "draining")
        self.assertEqual(self.view()["lastEvent"]["order"]["who"], "alice")

    def test_forged(self) -> None:
        """
        One that is signed by another key, or given twice, is refused.
        """
        self.start()
        self.assertRefused(
            self.give(self.order(), "stranger", "operator"),
            "the signature is not that of the key operator over this order",
        )
        self.assertEqual(self.give(self.order(guard=30.0)).id, "nonce-0000000001")
        again = self.give(self.order(guard=30.0))
        self.assertIsInstance(again, OrderRefused)
        self.assertIn("has been given", str(again))

    def test_unsigned(self) -> None:
        """
        One that is not signed as well.
        """
        self.start()
        self.assertRefused(
            self.outcome(self.link().drain(guard=3.0)),
            "the order is not signed; orders from a link are signed here",
        )

    def test_speaking(self) -> None:
        """
        The controller speaks for a server; who speaks is the name in the certificate, with the role that the
        node gives it.
        """
        self.start()
        link = self.link()
        told = [
            link.unavailable("server-9", 60.0, NOW + 90, "hangs"),
            link.unavailable("server-9", 60.0, None, ""),
            link.available("server-9", "well again"),
        ]
        self.assertEqual([self.outcome(one) for one in told], [None, None, None])
        self.assertEqual(
            self.spoken.heard,
            [
                ("controller-120", "operator", "server-9", 60.0, NOW + 90, "hangs"),
                ("controller-120", "operator", "server-9", 60.0, None, ""),
                ("controller-120", "server-9", "well again"),
            ],
        )
        self.assertRefused(
            self.outcome(link.unavailable("nobody", 1.0, None, "")), "there is no such server"
        )
        self.assertRefused(
            self.outcome(link.available("server-9", "a\nb")),
            "why: one line of printable characters is expected",
        )
        self.node._announced = None
        self.assertIsInstance(self.outcome(link.available("server-9", "")), NotOffered)
        self.assertEqual(self.state(), "Linked")


class Confirming(LinkCase):
    """
    C{verify = "controller"}.
    """

    verify = Verify.CONTROLLER

    def test_right(self) -> None:
        """
        The controller on whose link the order came is asked, and says that it is its own.
        """
        self.start()
        order = self.order()
        self.rig.user.ours.append(sign(order, "stranger", KEYS["stranger"]).text)
        Call(self.world, "call")
        self.assertEqual(self.give(order, "stranger").state, "draining")

    def test_wrong(self) -> None:
        """
        It says that it is not.
        """
        self.start()
        self.assertRefused(
            self.give(self.order(), "stranger"), "the controller says that the order is not right"
        )

    def test_nobodyToAsk(self) -> None:
        """
        Without the link there is nobody to be asked.
        """
        self.start()
        given = self.door.take(
            sign(self.order(), "stranger", KEYS["stranger"]), Giver(Source.LINK, "controller-121")
        )
        self.assertRefused(
            self.outcome(given),
            "the controller could not say whether the order is right: there is no link to controller-121",
        )
