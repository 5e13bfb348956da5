"""
Controllers and their peers, in memory: L{sipgrace.controller.peers}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher
from twisted.protocols.amp import UnknownRemoteError
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.control.link import Link
from sipgrace.control.remote import Unreachable
from sipgrace.controller.facts import Hello, OrderRecord, Outcome, Person
from sipgrace.controller.links import Accepted
from sipgrace.controller.peercommands import AskStatus, PassOrder, PeerHello, PeerTold
from sipgrace.controller.peers import Neighbour, Peers
from sipgrace.errors import NotAllowed, OrderRefused, Unknown
from sipgrace.lifecycle.authorization import Role
from tests.linkrig import NOW, Endpoint, Rig, User
from tests.test_control_uplinks import Fixed

ALICE = Person("alice", Role.ADMIN)


class NodeLinkOf:
    """
    A node's link, as far as the fleet looks at it.
    """

    def end(self) -> None:
        """
        Nothing to be ended.
        """


class Side(User):
    """
    One controller.
    """

    def __init__(self, name: str, rig: Rig) -> None:
        super().__init__(rig.clock)
        self.name = name
        self.rig = rig
        self.asked: list[tuple[Any, ...]] = []
        self.kept: dict[str, OrderRecord] = {}
        self.pasts: list[tuple[str, str, Any]] = []
        self.outcome: Any = None
        rig.user = rig.links.user = self

    def link(self, other: Side, names: tuple[str, str] | None, role: Role = Role.OPERATOR) -> None:
        self.endpoint = Endpoint(other.rig, names)
        neighbours = [Neighbour(other.name, self.endpoint, role, names is not None)]
        self.peers = Peers(
            self.name,
            self.rig.clock,
            self.fleet,
            neighbours,
            self,
            self.keep,
            self.keepReport,
            self.noteRefused,
            lambda: 0.0,
        )

    def welcome(self, link: Accepted, hello: Any) -> None:
        self.peers.welcome(link, hello)

    def keep(self, record: OrderRecord, passed: bool) -> Deferred[None]:
        if passed or record.id in self.kept:
            self.kept[record.id] = record
        return succeed(None)

    def passedAnnouncement(self, values: Mapping[str, Any], person: Person) -> Deferred[Sequence[str]]:
        self.asked.append((dict(values), person.name, str(person.role)))
        if isinstance(self.outcome, Exception):
            return fail(self.outcome)
        return succeed(["client-2"])

    def keepReport(self, node: str, facts: Mapping[str, Any]) -> Deferred[None]:
        self.fleet.publish("report", node, facts)
        return succeed(None)

    def past(self) -> Deferred[list[tuple[str, str, Any]]]:
        return succeed(self.pasts)

    def passedOrder(self, values: Mapping[str, Any], person: Person) -> Deferred[OrderRecord]:
        self.asked.append((dict(values), person.name, str(person.role)))
        if isinstance(self.outcome, Exception):
            return fail(self.outcome)
        return maybeDeferred(lambda: self.outcome or self.record(**values))

    def passedWithdrawal(self, id: str, person: Person) -> Deferred[OrderRecord]:
        self.asked.append((id, person.name, str(person.role)))
        return succeed(replace(self.record("server-2"), id=id, outcome=Outcome.REFUSED))

    def passedStatus(self, node: str) -> Deferred[dict[str, Any]]:
        self.asked.append((node,))
        if isinstance(self.outcome, Exception):
            return fail(self.outcome)
        return self.outcome or succeed({"name": node, "state": "serving", "text": "x" * 100_000})

    def record(self, node: str, **values: Any) -> OrderRecord:
        return OrderRecord(
            id="0" * 32,
            node=node,
            order=values,
            who="alice",
            by=self.name,
            at=1.0,
            outcome=Outcome.OBEYED,
        )

    def hello(self, name: str, role: str = "server") -> NodeLinkOf:
        """
        A node links up here.
        """
        link: Any = NodeLinkOf()
        self.fleet.hello(Hello(name, role, "1", f"boot of {name}", 0), link, "192.0.2.1")
        return link

    def nodes(self) -> list[tuple[str, str, bool]]:
        """
        Name, owner, and whether there is a way to it.
        """
        return [(one["name"], one.get("controller", ""), one["linked"]) for one in self.fleet.nodes()]


class Listening(Link):
    """
    A link on which anything can be said.
    """

    def handshakeCompleted(self) -> None:
        """
        Whoever is there.
        """

    @PeerTold.responder
    def told(self, kind: str, node: str, facts: Any) -> dict[str, Any]:
        return {}


class PeersTests(SynchronousTestCase):
    """
    Controllers 120 and 121; server 1 is linked to 120, server 2 to 121.
    """

    def setUp(self) -> None:
        self.warnings: list[str] = []
        globalLogPublisher.addObserver(self._logged)
        self.addCleanup(globalLogPublisher.removeObserver, self._logged)
        self.clock = Clock()
        self.rig = Rig(self.clock)
        self.other = Rig(self.clock)
        self.a = Side("controller-120", self.rig)
        self.b = Side("controller-121", self.other)
        self.a.link(self.b, ("controller-120", "controller-121"))
        self.b.link(self.a, ("controller-121", "controller-120"))
        # One run for both.
        self.other.wires = self.rig.wires
        self.first = self.a.hello("server-1")
        self.second = self.b.hello("server-2")

    def _logged(self, event: Any) -> None:
        if event["log_level"] >= LogLevel.warn:
            self.warnings.append(event.get("log_format", "").format_map(event))

    def start(self) -> None:
        for side in (self.a, self.b):
            side.peers.startService()
            self.addCleanup(side.peers.stopService)
        self.rig.run()

    def outcome(self, asked: Deferred[Any]) -> Any:
        outcomes: list[Any] = []
        asked.addCallbacks(outcomes.append, lambda failure: outcomes.append(failure.value))
        self.rig.run()
        self.assertEqual(len(outcomes), 1)
        return outcomes[0]

    def order(self, node: str = "server-2", person: Person = ALICE) -> Any:
        return self.outcome(self.a.peers.order({"node": node, "kind": "drain"}, person))

    def test_views(self) -> None:
        """
        Each sees the other's nodes, marked with whose they are; no node comes back to where it is linked.
        """
        self.start()
        self.assertEqual(
            self.a.nodes(), [("server-1", "", True), ("server-2", "controller-121", True)]
        )
        self.assertEqual(
            self.b.nodes(), [("server-1", "controller-120", True), ("server-2", "", True)]
        )
        self.assertEqual(self.warnings, [])
        self.assertEqual([one["state"] for one in self.a.peers.status()], ["Linked"])

    def test_changes(self) -> None:
        """
        What changes at one is told to the other, once; and what happens to a node.
        """
        self.start()
        heard: list[tuple[str, str, Any]] = []
        self.a.fleet.observe(
            lambda notice: heard.append((notice.kind, notice.node, notice.facts.get("controller")))
        )
        told: list[str] = []
        self.b.fleet.observe(lambda notice: told.append(notice.kind))
        self.b.fleet.standing("server-2", {"state": "draining", "peers": []})
        self.b.fleet.happened("server-2", {"number": 1, "change": "draining", "state": "draining"})
        self.b.fleet.reported("server-2", 5.0, {"waiting": 1})
        self.rig.run()
        self.assertEqual(
            heard,
            [
                (kind, "server-2", "controller-121")
                for kind in ("node", "event", "node", "report")
            ],
        )
        self.assertEqual(told, ["node", "event", "node", "report"])
        self.assertEqual(self.a.fleet.node("server-2")["state"], "draining")

    def test_mesh(self) -> None:
        """
        The mesh has the nodes of both.
        """
        self.b.hello("client-1", "client")
        self.b.fleet.standing("client-1", {"peers": [{"name": "server-1", "active": True}]})
        self.start()
        (entry,) = self.a.fleet.mesh()
        self.assertEqual((entry["server"], entry["client"], entry["active"]), ("server-1", "client-1", True))

    def test_order(self) -> None:
        """
        An order for the other's node is passed on with the person and their role, of which the other allows
        no more than its configuration; the record is kept here, too, and its outcome follows.
        """
        self.start()
        self.assertEqual(
            [self.a.fleet.ownerOf(name) for name in ("server-1", "server-9", "server-2")],
            ["", "", "controller-121"],
        )
        record = self.order()
        self.assertEqual((record.by, record.outcome), ("controller-121", Outcome.OBEYED))
        self.assertEqual(
            self.b.asked,
            [({"node": "server-2", "kind": "drain"}, "alice at controller-120", "operator")],
        )
        self.order(person=Person("bob", Role.VIEWER))
        self.assertEqual(self.b.asked[1][1:], ("bob at controller-120", "viewer"))
        self.assertEqual(self.a.kept, {record.id: record})
        done = replace(record, outcome=Outcome.DONE)
        self.b.fleet.publish("order", "server-2", asdict(done))
        self.rig.run()
        self.assertEqual(self.a.kept, {record.id: done})
        another = replace(record, id="another")
        self.b.fleet.publish("order", "server-2", asdict(another))
        self.rig.run()
        self.assertEqual(self.a.kept, {record.id: done})

    def test_withdraw(self) -> None:
        """
        So is taking one back that waits.
        """
        self.start()
        record = self.outcome(self.a.peers.withdraw(self.b.record("server-2"), ALICE))
        self.assertEqual(record.outcome, Outcome.REFUSED)
        self.assertEqual(self.b.asked, [("0" * 32, "alice at controller-120", "operator")])

    def status(self) -> Any:
        return self.outcome(self.a.peers.statusOf("server-2"))

    def test_status(self) -> None:
        """
        So is what a node tells of itself; whatever keeps it from that is said.
        """
        self.start()
        found = self.status()
        self.assertEqual((found["state"], len(found["text"])), ("serving", 100_000))
        self.assertEqual(self.b.asked, [("server-2",)])
        node = "server-2 is a node of controller-121"
        for error, expected in [
            (Unreachable("server-2 has no link to controller-121 now"), None),
            (Unknown("no such node"), None),
            (ConnectionLost("cable"), "server-2 cannot answer: "),
            (UnknownRemoteError("odd"), "server-2 cannot answer: Code<UNKNOWN>: odd"),
        ]:
            self.b.outcome = error
            found = self.status()
            self.assertIsInstance(found, type(error) if expected is None else Unreachable)
            self.assertIn(str(error) if expected is None else expected, str(found))
        self.b.outcome = succeed("odd")
        self.assertEqual(str(self.status()), f"{node}, which answers what cannot be read")
        self.assertEqual(self.warnings, [])

    def test_statusSilent(self) -> None:
        """
        It is not waited for longer than a person would.
        """
        self.start()
        self.b.outcome = Deferred()
        asked = self.a.peers.statusOf("server-2")
        self.rig.run(14)
        self.assertNoResult(asked)
        self.rig.run(2)
        why = str(self.failureResultOf(asked, Unreachable).value)
        self.assertEqual(why, "server-2 is a node of controller-121, and controller-121 has not answered")

    def test_statusOlder(self) -> None:
        """
        A controller of a former version does not know the question, and is not lost by it.
        """
        self.patch(AskStatus, "commandName", b"never-heard-of")
        self.start()
        self.assertEqual(
            str(self.status()), "server-2 is a node of controller-121, whose version cannot be asked that"
        )
        self.assertEqual(self.order().outcome, Outcome.OBEYED)

    def test_statusLost(self) -> None:
        """
        Nor is it passed on where there is no way.
        """
        self.start()
        self.a.peers.stopService()
        expected = "server-2 is a node of controller-121, and controller-121 cannot be reached: "
        self.assertIn(expected, str(self.status()))

    def test_announced(self) -> None:
        """
        What is said for a server goes to the other's clients, too; where it cannot, that is only logged.
        """
        self.start()
        values = {"server": "server-9", "retryAfter": 60.0, "back": None, "why": "hangs"}
        self.assertEqual(self.outcome(self.a.peers.announce(values, ALICE)), ["client-2"])
        self.assertEqual(self.b.asked, [(values, "alice at controller-120", "operator")])
        self.b.outcome = NotAllowed("a viewer")
        self.assertEqual(self.outcome(self.a.peers.announce(values, ALICE)), [])
        self.assertEqual(self.warnings, ["controller-121 does not tell its clients: a viewer"])
        self.a.peers.stopService()
        self.assertEqual(self.outcome(self.a.peers.announce(values, ALICE)), [])

    def test_refused(self) -> None:
        """
        What the other says comes back as it is.
        """
        self.start()
        for error in (
            OrderRefused("over budget"),
            NotAllowed("a viewer"),
            Unknown("no such node"),
            Unreachable("lost just now"),
        ):
            self.b.outcome = error
            found = self.order()
            self.assertEqual((type(found), str(found)), (type(error), str(error)))
        self.assertEqual(self.a.kept, {})

    def test_fault(self) -> None:
        """
        A fault of the other's is an error here, and no more.
        """
        self.start()
        self.b.outcome = ZeroDivisionError()
        found = self.order()
        self.assertIsInstance(found, Unreachable)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_lost(self) -> None:
        """
        When the other cannot be reached, its nodes are shown as lost, and orders for them fail and say why;
        when it is back all is as it was, and what came of orders meanwhile is told.
        """
        self.start()
        self.rig.run(40)
        record = self.order()
        lost = NOW + self.clock.seconds()
        for wire in self.rig.wires:
            wire.end(ConnectionLost("cable"))
        self.a.endpoint.refusing = True
        self.rig.run(2)
        view = self.a.fleet.node("server-2")
        self.assertEqual((view["linked"], view["controller"]), (False, "controller-121"))
        self.assertIn("controller-121 cannot be reached: ", view["lost"])
        self.assertEqual(view["since"], lost)
        found = self.order()
        self.assertIsInstance(found, Unreachable)
        self.assertIn(
            "server-2 is a node of controller-121, and controller-121 cannot be reached: ", str(found)
        )
        done = replace(record, outcome=Outcome.DONE)
        self.b.pasts = [("past", "server-2", asdict(done)), ("report", "server-2", {"at": 1.0})]
        self.b.hello("server-3")
        self.a.endpoint.refusing = False
        self.rig.run(5)
        self.assertEqual(
            self.a.nodes(),
            [
                ("server-1", "", True),
                ("server-2", "controller-121", True),
                ("server-3", "controller-121", True),
            ],
        )
        self.assertEqual(self.a.kept, {record.id: done})

    def test_silent(self) -> None:
        """
        One that does not answer may have obeyed; that is said.
        """
        self.start()
        self.b.outcome = Deferred()
        asked = self.a.peers.order({"node": "server-2", "kind": "drain"}, ALICE)
        errors: list[Any] = []
        asked.addErrback(lambda failure: errors.append(str(failure.value)))
        self.rig.run(31)
        self.assertEqual(
            errors,
            ["server-2 is a node of controller-121, and controller-121 has not answered; it may have obeyed"],
        )

    def test_bothLinked(self) -> None:
        """
        A node with links to both is each one's own; when one link is lost the other's is used.
        """
        own = self.a.hello("server-2")
        self.start()
        self.assertEqual(self.a.nodes(), [("server-1", "", True), ("server-2", "", True)])
        self.assertEqual(self.a.fleet.ownerOf("server-2"), "")
        heard: list[str] = []
        self.a.fleet.observe(lambda notice: heard.append(notice.kind))
        self.b.fleet.happened("server-2", {"number": 1, "change": "draining", "state": "draining"})
        self.rig.run()
        self.assertEqual(heard, [])
        self.a.fleet.lost("server-2", own, "cable")
        self.assertEqual(self.a.nodes()[1], ("server-2", "controller-121", True))
        self.assertEqual(self.order().by, "controller-121")

    def test_forgotten(self) -> None:
        """
        A node that the other has forgotten is gone here, too, and whoever watches is told so.
        """
        self.start()
        self.b.fleet.lost("server-2", self.second, "over")
        self.rig.run()
        heard: list[tuple[str, str, Any]] = []
        self.a.fleet.observe(lambda notice: heard.append((notice.kind, notice.node, notice.facts)))
        self.b.fleet.forget("server-2")
        self.rig.run()
        self.assertEqual(self.a.nodes(), [("server-1", "", True)])
        gone = {"name": "server-2", "controller": "controller-121", "forgotten": True}
        self.assertEqual(heard, [("node", "server-2", gone)])

    def test_forgottenByOne(self) -> None:
        """
        One that is known otherwise is shown as that, and stays as it is shown where it has a link here.
        """
        own = self.a.hello("server-2")
        self.start()
        self.a.fleet.lost("server-2", own, "cable")
        self.b.fleet.lost("server-2", self.second, "over")
        self.rig.run()
        heard: list[tuple[str, str, Any]] = []
        self.a.fleet.observe(lambda notice: heard.append((notice.kind, notice.node, notice.facts)))
        self.b.fleet.forget("server-2")
        self.rig.run()
        self.assertEqual(heard, [])
        self.b.hello("server-2")
        self.rig.run()
        self.assertEqual(self.a.nodes()[1], ("server-2", "controller-121", True))
        heard.clear()
        self.b.fleet.forget("server-2")
        self.rig.run()
        self.assertEqual(heard, [("node", "server-2", self.a.fleet.member("server-2").view())])
        self.assertEqual(self.a.nodes()[1], ("server-2", "", False))

    def raw(self, names: tuple[str, str]) -> Any:
        link: Any = Listening()
        Endpoint(self.other, names).connect(Fixed(link))
        return link

    def test_strangers(self) -> None:
        """
        Whoever is no peer, or has no certificate of one, is turned away, as is who passes something on before
        hello.
        """
        stranger = self.raw(("controller-129", "controller-121"))
        found = self.outcome(stranger.callRemote(PeerHello, hello={"name": "controller-120"}))
        self.assertEqual(
            str(found), "the certificate of this link is that of controller-129, and not of controller-120"
        )
        stranger = self.raw(("controller-129", "controller-121"))
        found = self.outcome(stranger.callRemote(PeerHello, hello={"name": "controller-129"}))
        self.assertEqual(
            str(found),
            "controller-129 is no peer of controller-121; each has the other under [[peers]]",
        )
        found = self.outcome(self.raw(("a", "b")).callRemote(PeerHello, hello=7))
        self.assertEqual(str(found), "its hello cannot be read")
        self.assertEqual([what for _, what, _ in self.b.refused], ["peer"] * 3)
        early = self.raw(("controller-120", "controller-121"))
        found = self.outcome(early.callRemote(PassOrder, values={}, person="eve", role="admin"))
        self.assertEqual((type(found).__name__, self.b.asked), ("UnhandledCommand", []))

    def test_wrongPeer(self) -> None:
        """
        Whoever is where the other should be, and shows another's certificate, is told nothing, and written
        down, once.
        """
        self.a.link(self.b, ("controller-120", "controller-129"))
        self.start()
        self.rig.run(10)
        why = "its certificate is that of controller-129, and not of controller-121"
        self.assertEqual(self.a.refused, [("controller-121", "peer", why)])
        self.assertEqual(self.b.nodes(), [("server-1", "controller-120", True), ("server-2", "", True)])
        self.assertEqual(self.a.nodes(), [("server-1", "", True)])

    def test_badRole(self) -> None:
        """
        A role that there is not is refused.
        """
        link = self.raw(("controller-120", "controller-121"))
        self.outcome(link.callRemote(PeerHello, hello={"name": "controller-120"}))
        found = self.outcome(link.callRemote(PassOrder, values={}, person="eve", role="king"))
        self.assertEqual((type(found), str(found)), (NotAllowed, "'king' is no role"))
        found = self.outcome(link.callRemote(PassOrder, values=[], person="eve", role="admin"))
        self.assertEqual((type(found), str(found)), (NotAllowed, "an order is an object"))
        self.assertEqual(self.b.asked, [])
