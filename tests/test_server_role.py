"""
The policy of the server role: whom it admits, where it sends requests, when the next place is tried.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.errors import TransportError
from sipgrace.interfaces import IAssociation
from sipgrace.lifecycle.gate import Gate
from sipgrace.message.message import Request, Response
from sipgrace.message.parser import parse
from sipgrace.message.uri import SIPURI
from sipgrace.proxy.branch import Branch
from sipgrace.proxy.context import ResponseContext
from sipgrace.proxy.identity import Identity
from sipgrace.proxy.priority import Priorities
from sipgrace.proxy.target import Answer, Hop, Target
from sipgrace.server.clients import Clients
from sipgrace.server.role import ServerRole
from sipgrace.server.routing import Route, RoutingTable
from sipgrace.server.rules import Access, Party, Rejection
from sipgrace.testing import MemoryElement, MemoryNetwork, Recorder, makeRequest
from tests.proxyrig import Line, ProxyRig


class Pool:
    """
    Notes what is to be reached.
    """

    def __init__(self) -> None:
        self.peers: dict[tuple[bytes, str, int], IAssociation] = {}
        self.asked: list[tuple[bytes, str, int]] = []
        self.there: dict[tuple[bytes, str, int], IAssociation] = {}

    def found(self, key: tuple[bytes, str, int]) -> IAssociation | None:
        return self.there.get(key)

    def reach(self, transport: bytes, host: str, port: int) -> Deferred[Any]:
        self.asked.append((transport, host, port))
        return Deferred()


def contextOf(*outcomes: str) -> ResponseContext:
    """
    One whose branches have come to this.
    """
    rig = ProxyRig()
    rig.step("INVITE")
    context: Any = rig.ledger.oldest
    context.branches = [Branch(context, Target()) for _ in outcomes]
    for branch, outcome in zip(context.branches, outcomes, strict=True):
        branch.outcome = outcome
    assert isinstance(context, ResponseContext)
    return context


class RoleCase(SynchronousTestCase):
    """
    A server at 192.0.2.100 with two clients: west at 192.0.2.1 (the rig's caller) and east at 192.0.2.11.
    """

    maxDiff = None

    def setUp(self) -> None:
        self.clock = Clock()
        self.gate = Gate(self.clock, spread=0)
        self.identity = Identity()
        self.identity.addListener(
            MemoryElement(MemoryNetwork(), Recorder(), "192.0.2.100", 5060, b"SCTP", ""), "network"
        )
        self.clients = Clients(
            [("west", [ip_network("192.0.2.1/32")]), ("east", [ip_network("192.0.2.11/32")])]
        )
        self.table = RoutingTable()
        self.pool = Pool()
        self.ledger: list[object] = []
        self.west = self.line("caller")
        self.role = self.make()

    def make(self, allow: Any = None, deny: Any = (), rules: Any = (), **changes: Any) -> ServerRole:
        return ServerRole(
            self.gate,
            self.identity,
            self.clients,
            Access(self.clients, allow, deny),
            rules,
            self.table,
            self.pool,
            self.ledger,
            100,
            **{"addresses": {}, **changes},
        )

    def line(self, name: str, transport: bytes = b"SCTP") -> Line:
        line = Line(lambda event: None, name, transport, "network")
        self.clients.associationMade(line)
        return line

    def request(self, method: bytes = b"INVITE", **changes: Any) -> Request:
        request = parse(makeRequest(method, **changes))
        assert isinstance(request, Request)
        return request

    def admit(self, request: Request, role: ServerRole | None = None) -> Answer | None:
        return (role or self.role).admit(request, self.west)

    def status(self, request: Request, role: ServerRole | None = None) -> int | None:
        answer = self.admit(request, role)
        return None if answer is None else answer.status


class AdmitTests(RoleCase):
    """
    What ends a request here.
    """

    def test_access(self) -> None:
        """
        Who may not use the server is refused all, within dialogs too.
        """
        role = self.make(deny=("west",))
        for request in (self.request(), self.request(b"BYE", toTag=b"x"), self.request(b"OPTIONS")):
            self.assertEqual(self.status(request, role), 403)
            self.assertEqual(self.status(request), None)

    def test_gate(self) -> None:
        """
        While it drains only what belongs to a dialog passes; each refusal says how long.
        """
        self.gate.close(60, "")
        for method in (b"OPTIONS", b"MESSAGE", b"REGISTER", b"SUBSCRIBE", b"INVITE"):
            self.assertIsNone(self.gate.lastInvite)
            answer = self.admit(self.request(method))
            assert answer is not None
            self.assertEqual((answer.status, answer.headers), (503, ((b"Retry-After", b"60"),)))
        self.assertEqual(self.gate.refused, 5)
        self.assertIsNotNone(self.gate.lastInvite)
        for method in (b"INVITE", b"BYE", b"UPDATE", b"PRACK", b"OPTIONS", b"ACK"):
            self.assertEqual(self.admit(self.request(method, toTag=b"x")), None)
        self.gate.openAgain()
        self.assertEqual(self.admit(self.request()), None)

    def test_statusTest(self) -> None:
        """
        An OPTIONS for the server is answered while it serves; others go on.
        """
        for uri, status in (
            (b"sip:192.0.2.100;transport=sctp", 200),
            (b"sip:bob@192.0.2.100", None),
            (b"sip:192.0.2.9", None),
        ):
            self.assertEqual(self.status(self.request(b"OPTIONS", uri=uri)), status)

    def test_full(self) -> None:
        """
        Throttled is not leaving: no Retry-After (RFC 7339 §5.10.1). Status tests and dialogs go on.
        """
        self.ledger.extend(range(99))
        self.assertEqual(self.admit(self.request()), None)
        self.ledger.append(99)
        self.assertEqual(self.admit(self.request()), Answer(503))
        self.assertEqual(self.admit(self.request(toTag=b"x")), None)
        self.assertEqual(self.status(self.request(b"OPTIONS", uri=b"sip:192.0.2.100")), 200)

    def test_priority(self) -> None:
        """
        Calls that go before others pass the closed gate for as long as it yields; access and rules count for
        them as for all, and other methods do not pass.
        """
        role = self.make(
            rules=[Rejection(None, Party(prefix=b"900"), 480)],
            deny=("east",),
            priorities=Priorities(["wps"], True),
        )
        urgent = {"headers": ((b"Resource-Priority", b"wps.3"),)}
        self.gate.close(60, "", 20)
        self.assertEqual(self.status(self.request(**urgent), role), None)
        self.assertEqual(self.status(self.request(uri=b"urn:service:sos"), role), None)
        self.assertEqual(self.gate.yielded, 2)
        self.assertEqual(self.status(self.request(**urgent)), 503, "it is not configured")
        self.assertEqual(self.status(self.request(), role), 503)
        self.assertEqual(self.status(self.request(uri=b"sip:900@h", **urgent), role), 480)
        self.assertEqual(role.admit(self.request(**urgent), self.line("a")), Answer(403))
        for method in (b"MESSAGE", b"OPTIONS", b"SUBSCRIBE"):
            self.assertEqual(self.status(self.request(method, **urgent), role), 503)
        self.clock.advance(20)
        answer = self.admit(self.request(**urgent), role)
        self.assertEqual(answer, Answer(503, ((b"Retry-After", b"40"),)))

    def test_priorityWhileSlowing(self) -> None:
        """
        None of those that go before others is refused, and they do not move the others' turns.
        """
        role = self.make(priorities=Priorities(["wps"]))
        urgent = {"headers": ((b"Resource-Priority", b"wps.0"),)}
        self.gate.slow(10)
        self.clock.advance(5)
        found = [self.status(self.request(**(urgent if n % 2 else {})), role) for n in range(8)]
        self.assertEqual(found, [None, None, 503, None, None, None, 503, None])

    def test_priorityWhenFull(self) -> None:
        """
        A tenth more is there for them, and that is all.
        """
        role = self.make(priorities=Priorities(emergency=True))
        self.ledger.extend(range(100))
        for _ in range(10):
            self.assertEqual(self.status(self.request(uri=b"urn:service:sos.police"), role), None)
            self.assertEqual(self.admit(self.request(), role), Answer(503))
            self.ledger.append(None)
        self.assertEqual(self.admit(self.request(uri=b"urn:service:sos.police"), role), Answer(503))

    def test_dialogsFull(self) -> None:
        """
        Where no more calls can be known, new INVITEs are refused, and nothing else: not what belongs to a
        call, nor what goes before others.
        """
        role = self.make(priorities=Priorities(["wps"]))
        role.dialogs = type("Table", (), {"full": False})()
        self.assertEqual(self.status(self.request(), role), None)
        role.dialogs.full = True
        self.assertEqual(self.admit(self.request(), role), Answer(503))
        for request in (
            self.request(b"MESSAGE"),
            self.request(toTag=b"x"),
            self.request(headers=((b"Resource-Priority", b"wps.0"),)),
        ):
            self.assertEqual(self.status(request, role), None)

    def test_rules(self) -> None:
        """
        By origin (address, client, From) and destination (Request-URI, the client it is routed to).
        """
        self.table.addPrefix(b"+33", Route(("east", SIPURI.parse(b"sip:gw"))))
        for rule, uri, refused in (
            (Rejection(Party(client="west"), None, 480, b"Not now"), b"sip:bob@h", True),
            (Rejection(Party(network=ip_network("192.0.2.0/24")), None, 480, b"Not now"), b"sip:bob@h", True),
            (Rejection(Party(domain=b"example.com"), None, 480, b"Not now"), b"sip:bob@h", True),
            (Rejection(Party(prefix=b"al"), None, 480, b"Not now"), b"sip:bob@h", True),
            (Rejection(Party(prefix=b"bo"), None, 480, b"Not now"), b"sip:bob@h", False),
            (Rejection(None, Party(client="east"), 480, b"Not now"), b"sip:+331@h", True),
            (Rejection(None, Party(client="east"), 480, b"Not now"), b"sip:bob@h", False),
            (Rejection(None, Party(domain=b"h"), 480, b"Not now"), b"sip:bob@H", True),
            (
                Rejection(None, Party(network=ip_network("10.0.0.0/8")), 480, b"Not now"),
                b"sip:b@10.1.1.1",
                True,
            ),
            (Rejection(None, Party(prefix=b"+331"), 480, b"Not now"), b"tel:+33-1", True),
        ):
            answer = self.admit(self.request(uri=uri), self.make(rules=[rule]))
            self.assertEqual(answer, Answer(480, (), b"Not now") if refused else None, (rule, uri))
            self.assertEqual(self.admit(self.request(uri=uri, toTag=b"x"), self.make(rules=[rule])), None)

    def test_redirectLine(self) -> None:
        """
        A line that redirects, in a server that sets up calls: the user is kept where it says none.
        """
        self.table.addPrefix(b"1", Route(redirect=SIPURI.parse(b"sip:other.example;transport=sctp")))
        self.table.addPrefix(b"2", Route(redirect=SIPURI.parse(b"sip:9@other.example")))
        self.table.addPrefix(b"3", Route(("east",)))
        for uri, contact in (
            (b"sip:123@h", b"<sip:123@other.example;transport=sctp>"),
            (b"sip:1%20a@h", b"<sip:1%20a@other.example;transport=sctp>"),
            (b"sip:234@h", b"<sip:9@other.example>"),
        ):
            self.assertEqual(self.admit(self.request(uri=uri)), Answer(302, ((b"Contact", contact),)))
        self.assertEqual(self.admit(self.request(uri=b"sip:345@h")), None)
        self.assertEqual(self.admit(self.request(uri=b"sip:456@h")), None)
        self.assertEqual(self.admit(self.request(uri=b"sip:123@h", toTag=b"x")), None)

    def test_redirectMode(self) -> None:
        """
        All the places of a line, in order; those without an address cannot be named.
        """
        self.table.addPrefix(b"1", Route(("west", "east", SIPURI.parse(b"sip:gw.example"))))
        self.table.addPrefix(b"2", Route(("west",)))
        role = self.make(
            redirects=True, addresses={"east": SIPURI.parse(b"sip:192.0.2.11:5062;transport=sctp")}
        )
        self.assertEqual(
            self.admit(self.request(uri=b"sip:123@h"), role),
            Answer(
                302,
                (
                    (b"Contact", b"<sip:123@192.0.2.11:5062;transport=sctp>"),
                    (b"Contact", b"<sip:123@gw.example>"),
                ),
            ),
        )
        self.assertEqual(self.admit(self.request(uri=b"sip:2@h"), role), Answer(480))
        self.assertEqual(self.admit(self.request(uri=b"sip:3@h"), role), None)


class TargetTests(RoleCase):
    """
    Where requests go.
    """

    def setUp(self) -> None:
        super().setUp()
        self.east = self.line("a")

    def targets(
        self, role: ServerRole | None = None, outZone: str | None = None, **changes: Any
    ) -> list[Any]:
        found = (role or self.role).targets(self.request(**changes), "network", outZone)
        return [(each.association, each.hop, each.uri, each.period) for each in found]

    def test_clients(self) -> None:
        """
        One place after another: clients by their associations, or by their addresses where they have none.
        """
        self.table.addPrefix(
            b"+49", Route(("east", "west", SIPURI.parse(b"sip:gw.example:5070;transport=tcp")))
        )
        self.assertEqual(
            self.targets(uri=b"sip:+4930@h"),
            [
                (self.east, None, None, 0.0),
                (self.west, None, None, 0.0),
                (None, Hop(b"TCP", "gw.example", 5070), None, 0.0),
            ],
        )
        self.east.up = False
        role = self.make(addresses={"east": SIPURI.parse(b"sip:192.0.2.11;transport=sctp")})
        hop = Hop(b"SCTP", "192.0.2.11", 5060)
        self.assertEqual(self.targets(role, uri=b"sip:+4930@h")[0], (None, hop, None, 0.0))

    def test_lateChoice(self) -> None:
        """
        A place is looked at when its turn has come, not before.
        """
        self.table.addPrefix(b"+49", Route(("west", "east")))
        targets = self.role.targets(self.request(uri=b"sip:+49@h"), "network", None)
        self.assertIs(next(targets).association, self.west)
        newer = self.line("a")
        self.assertIs(next(targets).association, newer)
        self.assertRaises(StopIteration, next, targets)

    def test_nowhere(self) -> None:
        self.assertEqual(self.targets(uri=b"sip:bob@elsewhere.example"), [])

    def test_dialog(self) -> None:
        """
        Within a dialog through us the Request-URI is the other party's address, whatever the table says;
        without a Route it goes the way of its INVITE, or where it says itself.
        """
        self.table.addDomain(b"*", Route(("west",)))
        there = (self.east, Hop(b"SCTP", "192.0.2.11", 5060), None, 0.0)
        uri = b"sip:bob@192.0.2.11;transport=sctp"
        self.assertEqual(self.targets(uri=uri, toTag=b"x", outZone="network"), [there])
        self.assertEqual(self.targets(uri=uri, outZone="network"), [(self.west, None, None, 0.0)])
        self.assertEqual(self.targets(uri=uri, toTag=b"x"), [(self.west, None, None, 0.0)])
        self.role._table = RoutingTable()
        self.assertEqual(self.targets(uri=uri, toTag=b"x"), [there])
        self.assertEqual(self.targets(uri=b"sip:bob@192.0.2.100", toTag=b"x", outZone="network"), [])
        self.assertEqual(self.targets(uri=b"tel:+49", toTag=b"x", outZone="network"), [])

    def test_towards(self) -> None:
        """
        The association that a client has opened from there, or one that we have opened before, or the address
        itself.
        """
        hop = Hop(b"SCTP", "192.0.2.11", 5066)
        target = self.role.towards(hop, "network")
        self.assertEqual((target.association, target.hop), (self.east, hop))
        for other in (Hop(b"TCP", "192.0.2.11", 5060), Hop(b"SCTP", "h.example", 5060)):
            target = self.role.towards(other, "network")
            self.assertEqual((target.association, target.hop), (None, other))
            self.pool.there[other] = self.west
            self.assertIs(self.role.towards(other, "network").association, self.west)

    def test_towardsPeer(self) -> None:
        """
        A UDP peer that was asked for before, for as long as it is up.
        """
        hop = Hop(b"UDP", "192.0.2.12", 5060)
        self.pool.peers[hop] = self.west
        self.assertIs(self.role.towards(hop, "network").association, self.west)
        self.west.up = False
        self.assertIs(self.role.towards(hop, "network").association, None)

    def test_reach(self) -> None:
        self.role.reach(Target(hop=Hop(b"SCTP", "192.0.2.11", 5062)))
        self.assertEqual(self.pool.asked, [(b"SCTP", "192.0.2.11", 5062)])
        nothing = self.role.reach(Target(token="east"))
        assert isinstance(nothing, Deferred)
        error = self.failureResultOf(nothing, TransportError)
        self.assertEqual(error.getErrorMessage(), "east has opened no association and has no address")


class FailureTests(RoleCase):
    """
    When the next place is tried, and what is said when there is none.
    """

    def test_failed(self) -> None:
        context = contextOf()
        target = Target(token="east")
        for reason in ("timeout", "lost"):
            self.assertTrue(self.role.failed(context, target, reason, None))
        for status, again in (
            (503, True),
            (302, False),
            (404, False),
            (500, False),
            (486, False),
            (600, False),
        ):
            response = Response.make(status, None, ())
            self.assertEqual(self.role.failed(context, target, "answer", response), again)

    def test_exhausted(self) -> None:
        """
        Where every way was closed, another server may have one open; where somebody was silent, it is the
        callee.
        """
        for outcomes, answer in (
            ((), None),
            (("lost",), Answer(503)),
            (("lost", "lost"), Answer(503)),
            (("lost", "timeout"), None),
            (("lost", ""), None),
        ):
            context = contextOf(*outcomes)
            self.assertEqual(self.role.exhausted(context), answer)
