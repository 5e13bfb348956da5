"""
The policy of the client role: servers one after another, users, the TDM route.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from sipgrace.client.activelist import ActiveList
from sipgrace.client.link import ServerLink
from sipgrace.client.probe import Available
from sipgrace.client.reroutes import Reroute, Reroutes
from sipgrace.client.role import INTERFACE, NETWORK, ClientRole
from sipgrace.client.strategies import strategyNamed
from sipgrace.client.tdm import ITDMRoute, SIPGateway
from sipgrace.client.users import Contact, Users
from sipgrace.errors import TransportError
from sipgrace.lifecycle.gate import Gate
from sipgrace.message.message import Request, Response
from sipgrace.message.parser import parse
from sipgrace.message.uri import SIPURI
from sipgrace.proxy.identity import Identity
from sipgrace.proxy.overload import Control
from sipgrace.proxy.priority import Priorities
from sipgrace.proxy.target import Answer, Hop, Target
from sipgrace.testing import MemoryElement, MemoryNetwork, Recorder, makeRequest
from tests.proxyrig import Line

#: Servers by name, with the rig's line that leads there.
SERVERS = {"server-102": "a", "server-104": "b", "server-106": "c"}


class Observer:
    """
    Keeps the active list.
    """

    def __init__(self, active: ActiveList[ServerLink]) -> None:
        self.active = active

    def linkUp(self, link: ServerLink) -> None:
        self.active.add(link)

    def linkDown(self, link: ServerLink, why: str) -> None:
        self.active.remove(link)

    def linkCounting(self, link: ServerLink, seconds: float) -> None:
        pass

    def linkTested(self, link: ServerLink, outcome: object, latency: float) -> None:
        pass


class Pool:
    """
    Notes what is to be reached; the network has no UDP.
    """

    def __init__(self, asked: list[tuple[Any, ...]], zone: str) -> None:
        self.asked = asked
        self.zone = zone

    def reach(self, *hop: object) -> Deferred[Any]:
        self.asked.append((self.zone, *hop))
        if self.zone == NETWORK and hop[0] == b"UDP":
            return fail(TransportError("no UDP listener"))
        return Deferred()


class FakeContext:
    """
    As much of a context as the role asks for.
    """

    isInvite = True
    cancelled = False
    inDialog = False
    zone = INTERFACE

    def __init__(self, request: Request | None, **changes: Any) -> None:
        self.request = request
        self.branches: list[Any] = []
        self.first: list[object] = []
        for name, value in changes.items():
            setattr(self, name, value)

    def tryFirst(self, targets: Any) -> None:
        self.first += [target.token for target in targets]

    def tried(self, *tokens: object) -> Any:
        for token in tokens:
            branch = type("B", (), {})()
            branch.target = Target(token=token)
            self.branches.append(branch)
        return self


class RoleCase(SynchronousTestCase):
    """
    A client at 192.0.2.100: users over UDP, the network over SCTP, both on one port; three servers, all
    active.
    """

    maxDiff = None
    #: Whether server-106 opens the association itself.
    accepts = False

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.gate = Gate(self.clock, spread=0)
        self.identity = Identity()
        for transport, zone in ((b"UDP", INTERFACE), (b"SCTP", NETWORK)):
            self.identity.addListener(
                MemoryElement(MemoryNetwork(), Recorder(), "192.0.2.100", 5060, transport, ""), zone
            )
        self.active: ActiveList[ServerLink] = ActiveList(list(SERVERS), strategyNamed("round-robin"))
        observer = Observer(self.active)
        self.lines = {
            name: Line(lambda event: None, line, b"SCTP", NETWORK) for name, line in SERVERS.items()
        }
        self.links: dict[str, ServerLink] = {}
        for name, line in self.lines.items():
            line.opened = name != "server-106" or not self.accepts
            self.links[name] = ServerLink(
                name,
                lambda line=line: succeed(line),
                lambda association: succeed(Available()),
                self.clock,
                observer,
            )
            self.links[name].start()
        self.users = Users()
        self.users.addPrefix(b"+49", SIPURI.parse(b"sip:192.0.2.9:5070"))
        self.asked: list[tuple[Any, ...]] = []
        self.reroutes = Reroutes()
        self.role = self.make()

    def make(self, tdm: ITDMRoute | None = None, priorities: Priorities | None = None) -> ClientRole:
        return ClientRole(
            self.gate,
            self.identity,
            self.active,
            self.links,
            self.users,
            tdm,
            {zone: Pool(self.asked, zone) for zone in (INTERFACE, NETWORK)}.__getitem__,
            2.0,
            self.reroutes,
            priorities,
        )

    def request(self, method: bytes = b"INVITE", **changes: Any) -> Request:
        request = parse(makeRequest(method, **changes))
        assert isinstance(request, Request)
        return request

    def names(self, targets: Any) -> list[str]:
        return [
            target.token.name if isinstance(target.token, ServerLink) else repr(target.token)
            for target in targets
        ]


class AdmitTests(RoleCase):
    """
    What ends a request here.
    """

    def test_serving(self) -> None:
        line = Line(lambda event: None, "caller", b"UDP", INTERFACE)
        self.assertEqual(self.role.admit(self.request(), line), None)
        answer = self.role.admit(self.request(b"OPTIONS", uri=b"sip:192.0.2.100"), line)
        assert answer is not None
        self.assertEqual(answer.status, 200)

    def test_leaving(self) -> None:
        """
        No new calls, from neither side; dialogs go on.
        """
        self.gate.close(1060, "")
        for zone in (INTERFACE, NETWORK):
            line = Line(lambda event: None, "caller", b"UDP", zone)
            for method in (b"INVITE", b"OPTIONS", b"MESSAGE"):
                answer = self.role.admit(self.request(method), line)
                assert answer is not None
                self.assertEqual((answer.status, answer.headers), (503, ((b"Retry-After", b"60"),)))
            for method in (b"BYE", b"INVITE", b"ACK"):
                self.assertEqual(self.role.admit(self.request(method, toTag=b"x"), line), None)

    def test_priority(self) -> None:
        """
        What goes before others passes for as long as the gate yields, and while it slows.
        """
        role = self.make(priorities=Priorities(emergency=True))
        line = Line(lambda event: None, "caller", b"UDP", INTERFACE)
        self.gate.slow(1)
        self.clock.advance(1)
        self.assertEqual(role.admit(self.request(uri=b"urn:service:sos"), line), None)
        self.assertEqual(role.admit(self.request(), line), Answer(503))
        self.gate.close(1060, "", 1020)
        self.assertEqual(role.admit(self.request(uri=b"urn:service:sos"), line), None)
        self.gate.shut()
        for uri in (b"urn:service:sos", b"sip:bob@h"):
            answer = role.admit(self.request(uri=uri), line)
            assert answer is not None
            self.assertEqual((answer.status, answer.headers), (503, ((b"Retry-After", b"59"),)))


class ServerTests(RoleCase):
    """
    What users send goes to servers.
    """

    def targets(self, role: ClientRole | None = None, **changes: Any) -> Any:
        return (role or self.role).targets(self.request(**changes), INTERFACE, None)

    def test_one(self) -> None:
        """
        As it is, by the server's association, within the response period.
        """
        target = next(self.targets())
        self.assertEqual(
            (target.association, target.hop, target.uri, target.period),
            (self.lines["server-102"], None, None, 2.0),
        )

    def test_inTurn(self) -> None:
        """
        Each INVITE begins with the server after the last one used.
        """
        firsts = [self.names([next(self.targets())])[0] for _ in range(4)]
        self.assertEqual(firsts, ["server-102", "server-104", "server-106", "server-102"])
        self.assertEqual(self.names(self.targets()), ["server-104", "server-106", "server-102"])
        self.assertEqual(self.active.lastUsed, "server-102")

    def test_others(self) -> None:
        """
        What is no INVITE takes the next one's turn, but does not use it up.
        """
        next(self.targets())
        for method in (b"MESSAGE", b"BYE", b"ACK", b"REGISTER"):
            next(self.targets(method=method))
            self.assertEqual(
                self.names(self.targets(method=method, toTag=b"x" if method in (b"BYE", b"ACK") else b"")),
                ["server-104", "server-106", "server-102"],
            )
        self.assertEqual(self.active.lastUsed, "server-102")

    def test_meanwhile(self) -> None:
        """
        A server that has left the list since the call came is passed over.
        """
        targets = self.targets()
        next(targets)
        self.links["server-104"].unavailable(30.0)
        self.assertEqual(self.names(targets), ["server-106"])

    def test_none(self) -> None:
        for link in self.links.values():
            link.unavailable(30.0)
        self.assertEqual(list(self.targets()), [])

    def test_strayingDialog(self) -> None:
        """
        A user agent that knows nothing of Route sends what belongs to a dialog as it has sent the INVITE.
        """
        for uri in (b"sip:+33@192.0.2.100", b"sip:bob@elsewhere.example"):
            self.assertEqual(len(list(self.targets(method=b"BYE", uri=uri, toTag=b"x"))), 3)


class PriorityTests(RoleCase):
    """
    Calls that go before others.
    """

    def setUp(self) -> None:
        super().setUp()
        self.role = self.make(SIPGateway("sip:gw"), Priorities(["wps"]))
        self.first, self.second, self.third = self.links.values()

    def invite(self, *resources: bytes, **changes: Any) -> Request:
        return self.request(headers=tuple((b"Resource-Priority", value) for value in resources), **changes)

    def tried(self, request: Request) -> list[str]:
        """
        The servers that are tried when none takes it; C{gw} where the way out comes after them.
        """
        found = self.names(self.role.targets(request, INTERFACE, None))
        return [name if name in self.links else "gw" for name in found]

    def test_preferred(self) -> None:
        """
        Servers in service, then those that are leaving, then the way out; calls as all others do not go to
        those.
        """
        self.first.unavailable(30.0)
        self.assertEqual(self.tried(self.invite(b"wps.0")), ["server-104", "server-106", "server-102", "gw"])
        self.assertEqual(self.tried(self.invite(b"dsn.flash")), ["server-104", "server-106", "gw"])
        self.second.unavailable(30.0)
        self.third.unavailable(30.0)
        self.assertEqual(self.tried(self.invite(b"wps.0")), [*self.links, "gw"])
        self.assertEqual(self.tried(self.invite()), ["gw"])
        self.assertEqual(self.tried(self.invite(b"wps.0", toTag=b"x")), [])

    def test_onlyOnce(self) -> None:
        """
        A server that begins to leave when it is asked is not asked again.
        """
        targets = self.role.targets(self.invite(b"wps.0"), INTERFACE, None)
        next(targets)
        self.first.unavailable(30.0)
        self.assertEqual(self.names(targets)[:-1], ["server-104", "server-106"])

    def test_notReachable(self) -> None:
        """
        Neither what has no association, nor what an operator has left alone.
        """
        for link in self.links.values():
            link.unavailable(30.0)
        self.first.associationLost(self.lines["server-102"])
        self.second.skipped = True
        self.assertEqual(self.tried(self.invite(b"wps.0")), ["server-106", "gw"])

    def test_deaf(self) -> None:
        """
        One that has refused such a call with Retry-After is sent no other, until it is back; a refusal of
        this one call says nothing about the next.
        """
        for link in self.links.values():
            link.unavailable(30.0)
        for link, headers in (
            (self.first, ((b"Retry-After", b"60"),)),
            (self.second, ()),
        ):
            response = Response.make(503, b"No", headers)
            self.role.failed(FakeContext(self.invite(b"wps.0")), Target(token=link), "answer", response)
        response = Response.make(503, b"No", ((b"Retry-After", b"60"),))
        self.role.failed(FakeContext(self.invite()), Target(token=self.third), "answer", response)
        self.assertEqual(self.tried(self.invite(b"wps.0")), ["server-104", "server-106", "gw"])
        self.clock.advance(60)
        self.assertTrue(self.first.active)
        self.first.unavailable(30.0)
        self.assertEqual(self.tried(self.invite(b"wps.0"))[-2:], ["server-102", "gw"])

    def test_throttled(self) -> None:
        """
        None of them is kept from a server that asks for less (RFC 7339 §5.10.1); one that asks for nothing at
        all comes after the others.
        """
        self.first.throttle.heard(Control(100, 25000, 1))
        self.second.throttle.heard(Control(99, 25000, 1))
        self.third.throttle.heard(Control(99, 25000, 1))
        self.assertEqual(self.tried(self.invite(b"wps.0")), ["server-104", "server-106", "server-102", "gw"])
        self.assertEqual(self.tried(self.invite()), ["gw"])


class UserTests(RoleCase):
    """
    What comes from the network goes to users, what belongs to a dialog where it leads.
    """

    def targets(self, zone: str, outZone: str | None, uri: bytes, toTag: bytes) -> list[Any]:
        found = self.role.targets(
            self.request(b"BYE" if toTag else b"INVITE", uri=uri, toTag=toTag), zone, outZone
        )
        return [(each.hop, each.uri, each.token) for each in found]

    def test_call(self) -> None:
        hop = Hop(b"UDP", "192.0.2.9", 5070)
        self.assertEqual(
            self.targets(NETWORK, None, b"sip:+4930@example.com", b""),
            [(hop, b"sip:+4930@192.0.2.9:5070", INTERFACE)],
        )
        self.assertEqual(self.targets(NETWORK, None, b"sip:+33@example.com", b""), [])
        self.assertEqual(self.targets(NETWORK, None, b"sip:bob@192.0.2.55", b""), [])

    def test_dialog(self) -> None:
        """
        A Route that named us said on which side the other party is: the Request-URI is its address, also
        where it looks like a number of another user's.
        """
        uri = b"sip:+4930@192.0.2.77:5099;transport=tcp"
        hop = Hop(b"TCP", "192.0.2.77", 5099)
        self.assertEqual(self.targets(NETWORK, INTERFACE, uri, b"x"), [(hop, None, INTERFACE)])
        self.assertEqual(self.targets(INTERFACE, NETWORK, uri, b"x"), [(hop, None, NETWORK)])
        self.assertEqual(self.targets(INTERFACE, INTERFACE, uri, b"x"), [(hop, None, INTERFACE)])

    def test_newAlongRoute(self) -> None:
        """
        A new call with a Route that names us (an outbound proxy) is a call like any other.
        """
        found = self.role.targets(self.request(), INTERFACE, INTERFACE)
        self.assertEqual(len(list(found)), 3)
        self.assertEqual(
            self.targets(NETWORK, NETWORK, b"sip:+4930@example.com", b"")[0][1], b"sip:+4930@192.0.2.9:5070"
        )

    def test_dialogWithoutRoute(self) -> None:
        """
        From the network: to the user that is meant, or to where it leads on the interface.
        """
        self.assertEqual(
            self.targets(NETWORK, None, b"sip:+4930@192.0.2.100", b"x"),
            [(Hop(b"UDP", "192.0.2.9", 5070), b"sip:+4930@192.0.2.9:5070", INTERFACE)],
        )
        self.assertEqual(
            self.targets(NETWORK, None, b"sip:bob@192.0.2.77", b"x"),
            [(Hop(b"UDP", "192.0.2.77", 5060), None, INTERFACE)],
        )
        self.assertEqual(self.targets(NETWORK, None, b"sip:bob@192.0.2.100", b"x"), [])
        self.assertEqual(self.targets(NETWORK, None, b"tel:+33", b"x"), [])

    def test_dialogToUs(self) -> None:
        """
        A Request-URI that is our own address is none of the other party: it goes as its INVITE went.
        """
        self.assertEqual(
            self.targets(NETWORK, INTERFACE, b"sip:+4930@192.0.2.100", b"x"),
            [(Hop(b"UDP", "192.0.2.9", 5070), b"sip:+4930@192.0.2.9:5070", INTERFACE)],
        )
        self.assertEqual(len(self.targets(INTERFACE, NETWORK, b"sip:+33@192.0.2.100", b"x")), 3)

    def register(self, *places: Contact, way: Any = None) -> None:
        """
        Has Carol, who may register, registered in these places.
        """

        class Registered:
            def places(self, uri: bytes) -> list[Contact]:
                return list(places) if b"carol" in uri else []

            def knows(self, uri: bytes) -> bool:
                return b"carol" in uri

            def way(self, uri: SIPURI) -> Any:
                return way if uri.host == b"192.0.2.77" else None

        self.users.registered = Registered()

    def test_registered(self) -> None:
        """
        One place after the other, by the way there that is known; the next one's turn comes when one is
        silent, cannot be reached, or refuses.
        """
        line = Line(lambda event: None, "other", b"UDP", INTERFACE)
        hops = [Hop(b"UDP", f"192.0.2.7{number}", 5060) for number in range(3)]
        places = [Contact(hop, b"sip:carol@%d" % number, line) for number, hop in enumerate(hops)]
        self.register(*places)
        found = list(self.role.targets(self.request(uri=b"sip:carol@example.com"), NETWORK, None))
        self.assertEqual(
            [(each.association, each.hop, each.uri) for each in found],
            [(line, place.hop, place.uri) for place in places],
        )
        self.assertEqual([each.period for each in found], [2.0, 2.0, 0.0])
        context: Any = FakeContext(None, zone=NETWORK)
        for reason, response, again in (
            ("timeout", None, True),
            ("lost", None, True),
            ("answer", Response.make(486, b"", []), True),
            ("answer", Response.make(302, b"", []), False),
        ):
            self.assertEqual(self.role.failed(context, found[0], reason, response), again, reason)
        self.role.reach(Target(hop=hops[1], token=places[1]._replace(association=None)))
        self.assertEqual(self.asked, [(INTERFACE, *hops[1])])

    def test_registeredOnce(self) -> None:
        """
        In a single place it rings for as long as it likes.
        """
        self.register(Contact(Hop(b"UDP", "192.0.2.77", 5060), b"sip:carol@192.0.2.77"))
        (found,) = self.role.targets(self.request(uri=b"sip:carol@example.com"), NETWORK, None)
        self.assertEqual((found.period, found.token, found.association), (0.0, INTERFACE, None))

    def test_notRegistered(self) -> None:
        """
        RFC 3261 §21.4.18: there is such a user, but nobody knows where. For all others it is 404 as ever.
        """
        self.register()
        for uri, answer in ((b"sip:carol@example.com", Answer(480)), (b"sip:dave@example.com", None)):
            request = self.request(uri=uri)
            self.assertEqual(list(self.role.targets(request, NETWORK, None)), [])
            context: Any = FakeContext(request, zone=NETWORK)
            self.assertEqual(self.role.exhausted(context), answer)
            within: Any = FakeContext(request, zone=NETWORK, inDialog=True)
            self.assertEqual(self.role.exhausted(within), None)

    def test_dialogWithRegistered(self) -> None:
        """
        What a dialog sends to a telephone that has registered takes the way by which it did.
        """
        line = Line(lambda event: None, "other", b"UDP", INTERFACE)
        self.register(way=line)
        for zone, outZone, host, association in (
            (NETWORK, INTERFACE, b"192.0.2.77", line),
            (NETWORK, None, b"192.0.2.77", line),
            (INTERFACE, NETWORK, b"192.0.2.77", None),
            (NETWORK, INTERFACE, b"192.0.2.78", None),
        ):
            request = self.request(b"BYE", uri=b"sip:bob@" + host, toTag=b"x")
            (found,) = self.role.targets(request, zone, outZone)
            self.assertIs(found.association, association)

    def test_sides(self) -> None:
        """
        Users are reached on the interface, all else in the network.
        """
        hop = Hop(b"TCP", "h", 5060)
        self.role.reach(Target(hop=hop, token=INTERFACE))
        self.role.reach(self.role.towards(hop, INTERFACE))
        self.role.reach(self.role.towards(hop, NETWORK))
        self.role.reach(Target(hop=hop, token=object()))
        self.assertEqual([zone for zone, *_ in self.asked], [INTERFACE, INTERFACE, NETWORK, NETWORK])
        self.assertEqual(self.asked[0][1:], hop)

    def test_serverOnTheWay(self) -> None:
        """
        A server that has written itself into the path of a dialog is at the other end of its link, whether or
        not it gets new calls now; on the interface, or without an association, it is a host as any other.
        """
        hop = Hop(b"SCTP", "192.0.2.12", 5060)
        link = self.links["server-104"]
        self.assertIs(self.role.towards(hop, NETWORK).association, link.association)
        link.unavailable(30.0)
        self.assertFalse(link.active)
        self.assertIs(self.role.towards(hop, NETWORK).association, self.lines["server-104"])
        for other in (Hop(b"SCTP", "192.0.2.12", 5070), Hop(b"TCP", "192.0.2.12", 5060)):
            self.assertIsNone(self.role.towards(other, NETWORK).association)
        self.assertIsNone(self.role.towards(hop, INTERFACE).association)
        self.lines["server-104"].up = False
        self.assertIsNone(self.role.towards(hop, NETWORK).association)

    def test_serverThatConnects(self) -> None:
        """
        Where it opens the association itself, that says nothing of the port at which it listens.
        """
        self.accepts = True
        self.setUp()
        for number in (12, 13):
            target = self.role.towards(Hop(b"SCTP", f"192.0.2.{number}", 5070), NETWORK)
            self.assertIs(target.association, self.lines["server-106"] if number == 13 else None)

    def test_serverGone(self) -> None:
        """
        One that has said that it is away is not looked for.
        """
        for name in ("server-104", "server-106"):
            self.lines[name].up = False
        self.links["server-104"].unavailable(30.0)
        nothing = self.role.reach(self.role.towards(Hop(b"SCTP", "192.0.2.12", 5060), NETWORK))
        assert isinstance(nothing, Deferred)
        self.failureResultOf(nothing, TransportError)
        self.role.reach(self.role.towards(Hop(b"SCTP", "192.0.2.13", 5060), NETWORK))
        self.assertEqual(self.asked, [(NETWORK, b"SCTP", "192.0.2.13", 5060)])

    def past(self, reason: str = "lost", method: bytes = b"BYE", toTag: bytes = b"x", *routes: bytes) -> Any:
        """
        @param routes: what comes behind two Routes of a server that has gone.
        @return: where a request goes then, and its Routes; C{None} where it goes nowhere.
        """
        self.lines["server-104"].up = False
        own = b"<sip:192.0.2.12;transport=sctp;lr>"
        headers = tuple((b"Route", route) for route in (own, own, *routes))
        request = self.request(method, uri=b"sip:bob@192.0.2.77", toTag=toTag, headers=headers)
        found: list[Target] = []
        context = FakeContext(request, isInvite=method == b"INVITE", inDialog=bool(toTag))
        context.tryFirst = found.extend
        target = self.role.towards(Hop(b"SCTP", "192.0.2.12", 5060), NETWORK)
        again = self.role.failed(context, target, reason, None)
        self.assertEqual(again, bool(found))
        return (found[0].hop, request.elements(b"Route")) if found else None

    def test_pastServer(self) -> None:
        """
        What is asked within a call goes past a server that has left: to the next on its path, or to the other
        party.
        """
        following = b"<sip:192.0.2.50:5080;transport=tcp;lr>"
        hop = Hop(b"TCP", "192.0.2.50", 5080)
        self.assertEqual(self.past("lost", b"BYE", b"x", following), (hop, [following]))
        self.assertEqual(self.past(), (Hop(b"UDP", "192.0.2.77", 5060), []))
        for case in (
            ("timeout", b"BYE", b"x"),
            ("lost", b"INVITE", b"x"),
            ("lost", b"MESSAGE", b""),
            ("lost", b"BYE", b"x", b"<sip:strict>"),
            ("lost", b"BYE", b"x", b"<sip:>"),
            ("lost", b"BYE", b"x", b"<tel:+33>"),
        ):
            self.assertIsNone(self.past(*case), case)

    def test_udp(self) -> None:
        """
        UDP goes out where there is a listener for it.
        """
        hop = Hop(b"UDP", "h", 5060)
        self.role.reach(self.role.towards(hop, NETWORK))
        self.assertEqual(self.asked, [(NETWORK, *hop), (INTERFACE, *hop)])

    def test_unreachable(self) -> None:
        """
        A server whose association has just gone.
        """
        nothing = self.role.reach(Target(token=self.links["server-102"]))
        assert isinstance(nothing, Deferred)
        self.failureResultOf(nothing, TransportError)


class FailureTests(RoleCase):
    """
    What links, and those who want to know of reroutes, hear; and whether the next server is tried.
    """

    def failed(self, reason: str, status: int = 0, name: str = "server-102", **changes: Any) -> bool:
        headers = changes.pop("headers", ())
        response = Response.make(status, None, headers) if status else None
        self.context: Any = FakeContext(self.request(), **changes)
        return self.role.failed(self.context, Target(token=self.links[name]), reason, response)

    def counts(self, name: str = "server-102") -> tuple[int, int, int, bool]:
        link = self.links[name]
        return link.unansweredTotal, link.refused, link.throttled, link.active

    def test_outcomes(self) -> None:
        """
        Silence, loss and 503 are the server's, any other answer is the callee's.
        """
        for reason, status, headers, again, counts in (
            ("lost", 0, (), True, (0, 0, 0, True)),
            ("answer", 503, (), True, (0, 0, 1, True)),
            ("answer", 503, ((b"Retry-After", b"30"),), True, (0, 1, 0, False)),
            ("answer", 404, (), False, (0, 0, 0, True)),
            ("answer", 486, (), False, (0, 0, 0, True)),
            ("answer", 500, (), False, (0, 0, 0, True)),
            ("answer", 603, (), False, (0, 0, 0, True)),
        ):
            self.setUp()
            self.assertEqual(self.failed(reason, status, headers=headers), again, (reason, status))
            self.assertEqual(self.counts(), counts, (reason, status))
            rerouted = [Reroute(1, "call-1", "server-102", reason)] if again else []
            self.assertEqual(self.reroutes.since(0), rerouted)

    def test_silence(self) -> None:
        """
        It is tested at once, and put back as it passes.
        """
        self.assertTrue(self.failed("timeout"))
        self.assertEqual(self.counts(), (1, 0, 0, True))
        self.assertEqual(self.reroutes.since(0), [Reroute(1, "call-1", "server-102", "timeout")])

    def test_silenceOfOthers(self) -> None:
        """
        Of what is no INVITE it is the far end that is silent (RFC 4320 §4.2).
        """
        self.assertFalse(self.failed("timeout", isInvite=False))
        self.assertEqual(self.counts(), (0, 0, 0, True))
        self.assertTrue(self.failed("lost", isInvite=False))

    def test_cancelled(self) -> None:
        """
        The link hears of it all the same, but nothing is tried elsewhere.
        """
        self.failed("timeout", cancelled=True)
        self.assertEqual((self.counts(), self.reroutes.total), ((1, 0, 0, True), 0))

    def test_answered(self) -> None:
        self.links["server-102"].unansweredInRow = 3
        self.role.answered(FakeContext(None), Target(token=self.links["server-102"]))
        self.role.answered(FakeContext(None), Target(token=INTERFACE))
        link = self.links["server-102"]
        self.assertEqual((link.invites, link.unansweredInRow), (1, 0))

    def test_notAServer(self) -> None:
        """
        A user, or the TDM route: there is no other.
        """
        for token in (INTERFACE, object()):
            self.assertFalse(self.role.failed(FakeContext(self.request()), Target(token=token), "lost", None))

    def redirected(self, *contacts: bytes) -> list[str] | None:
        again = self.failed("answer", 302, headers=[(b"Contact", contact) for contact in contacts])
        names = [link.name for link in self.context.first]
        self.assertEqual(bool(self.reroutes.total), False)
        return names if again else None

    def test_redirected(self) -> None:
        """
        A server that names another server, by name or by address, has it asked; all else is for the user.
        """
        for contacts, names in (
            ((b"<sip:+331@server-104;transport=sctp>",), ["server-104"]),
            ((b"<sip:+331@192.0.2.13;transport=sctp>",), ["server-106"]),
            (
                (b"<sip:+331@192.0.2.13:5060;transport=sctp>;q=0.5, <sip:x@server-104>",),
                ["server-106", "server-104"],
            ),
            ((b"<sip:+331@192.0.2.13:5070;transport=sctp>",), None),
            ((b"<sip:+331@192.0.2.13;transport=tcp>",), None),
            ((b"<sip:+331@198.51.100.1>", b"<tel:+331>", b"<sip:>"), None),
            ((b"<sip:+331@198.51.100.1>", b"<sip:server-104>"), ["server-104"]),
            ((), None),
        ):
            self.assertEqual(self.redirected(*contacts), names, contacts)

    def test_redirectedAway(self) -> None:
        """
        The one that is named may be off the list: then the others come next.
        """
        self.links["server-104"].unavailable(30.0)
        self.assertEqual(self.redirected(b"<sip:server-104>"), [])

    def test_redirectMovesThePointer(self) -> None:
        self.redirected(b"<sip:server-104>")
        self.assertEqual(self.active.lastUsed, "server-104")


@implementer(ITDMRoute)
class Later:
    """
    A route that takes its time, or fails.
    """

    description = "later"

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.answer: Any = Deferred()

    def target(self, request: Request, tried: Sequence[str]) -> Any:
        self.asked.append(list(tried))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class TDMTests(RoleCase):
    """
    The way out when no server took the call.
    """

    def test_last(self) -> None:
        role = self.make(SIPGateway("sip:gw.example:5062;transport=tcp"))
        *servers, last = role.targets(self.request(), INTERFACE, None)
        self.assertEqual(len(servers), 3)
        self.assertEqual((last.hop, last.uri), (Hop(b"TCP", "gw.example", 5062), None))
        role.reach(last)
        self.assertEqual(self.asked, [(NETWORK, b"TCP", "gw.example", 5062)])

    def test_onlyCalls(self) -> None:
        """
        Neither other requests nor parts of dialogs.
        """
        role = self.make(SIPGateway("sip:gw.example"))
        for method, tag in ((b"MESSAGE", b""), (b"BYE", b"x"), (b"INVITE", b"x")):
            found = role.targets(self.request(method, toTag=tag), INTERFACE, None)
            self.assertEqual(self.names(found), ["server-102", "server-104", "server-106"])
            self.role = self.make()
            self.active.used(self.links["server-106"])

    def test_tried(self) -> None:
        """
        It is told who was tried, none where none was active.
        """
        route = Later()
        list(self.make(route).targets(self.request(), INTERFACE, None))
        for link in self.links.values():
            link.unavailable(30.0)
        list(self.make(route).targets(self.request(), INTERFACE, None))
        self.assertEqual(route.asked, [["server-102", "server-104", "server-106"], []])

    def test_later(self) -> None:
        """
        What it finds after a while is reached then.
        """
        route = Later()
        role = self.make(route)
        *_, last = role.targets(self.request(), INTERFACE, None)
        reached = role.reach(last)
        assert isinstance(reached, Deferred)
        self.assertEqual(self.asked, [])
        route.answer.callback(Target(hop=Hop(b"TCP", "gw", 5060), uri=b"sip:1@gw"))
        self.assertEqual((self.asked, last.uri), ([(NETWORK, b"TCP", "gw", 5060)], b"sip:1@gw"))
        self.assertNoResult(reached)

    def test_laterAssociation(self) -> None:
        route = Later()
        role = self.make(route)
        *_, last = role.targets(self.request(), INTERFACE, None)
        reached: Any = role.reach(last)
        line = self.lines["server-102"]
        route.answer.callback(Target(line))
        self.assertIs(self.successResultOf(reached), line)

    def test_noWayOut(self) -> None:
        """
        At once, after a while, or because of a fault.
        """
        route = Later()
        role = self.make(route)
        *_, last = role.targets(self.request(), INTERFACE, None)
        reached: Any = role.reach(last)
        route.answer.callback(None)
        self.failureResultOf(reached, TransportError)
        for answer in (None, ValueError("no")):
            route.answer = answer
            self.assertEqual(len(list(role.targets(self.request(), INTERFACE, None))), 3)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class ExhaustedTests(RoleCase):
    """
    What users are told when nobody took their call.
    """

    def exhausted(self, *tokens: object, **changes: Any) -> Answer | None:
        return self.role.exhausted(FakeContext(self.request(), **changes).tried(*tokens))

    def test_servers(self) -> None:
        """
        503; with the time when the first will be back, where all are away.
        """
        links = list(self.links.values())
        self.assertEqual(self.exhausted(*links), Answer(503))
        links[0].unavailable(30.0)
        links[1].unavailable(20.0)
        self.assertEqual(self.exhausted(links[2]), Answer(503))
        links[2].unavailable(40.0)
        self.clock.advance(0.5)
        self.assertEqual(self.exhausted(), Answer(503, ((b"Retry-After", b"20"),)))
        self.assertEqual(self.role.unserved, 3)
        self.assertEqual(self.exhausted(isInvite=False), Answer(503, ((b"Retry-After", b"20"),)))
        self.assertEqual(self.role.unserved, 3)

    def test_fullStop(self) -> None:
        """
        One that asks by overload control to be sent nothing is away, too; one that asks for less is not.
        """
        first, second, third = self.links.values()
        first.unavailable(30.0)
        second.throttle.heard(Control(100, 25000, 1))
        third.throttle.heard(Control(99, 10000, 1))
        self.assertEqual(self.exhausted(), Answer(503))
        third.throttle.heard(Control(100, 26000, 2))
        self.assertEqual(self.exhausted(), Answer(503, ((b"Retry-After", b"25"),)))
        self.clock.advance(25.5)
        self.assertEqual(self.exhausted(), Answer(503))

    def test_skipped(self) -> None:
        """
        One that is skipped is nobody's to wait for.
        """
        for link, seconds in zip(self.links.values(), (10.0, 20.0, 30.0), strict=True):
            link.unavailable(seconds)
        self.links["server-102"].skipped = True
        self.assertEqual(self.exhausted(), Answer(503, ((b"Retry-After", b"20"),)))

    def test_notServers(self) -> None:
        """
        A user who cannot be reached, a dialog, the TDM route: what the RFC says.
        """
        self.assertEqual(self.exhausted(zone=NETWORK), None)
        self.assertEqual(self.exhausted(INTERFACE, zone=NETWORK), None)
        self.assertEqual(self.exhausted(*self.links.values(), inDialog=True), None)
        self.assertEqual(self.exhausted(*self.links.values(), SIPGateway("sip:gw")), None)
        self.assertEqual(self.role.unserved, 0)


class ReroutesTests(SynchronousTestCase):
    """
    Which calls were tried elsewhere.
    """

    def test_since(self) -> None:
        reroutes = Reroutes(most=3)
        for number in range(5):
            reroutes.add(b"call-%d\xff" % number, "server-102", "lost")
        self.assertEqual(reroutes.total, 5)
        self.assertEqual([each.number for each in reroutes.since(0)], [3, 4, 5])
        self.assertEqual(
            reroutes.since(4), [Reroute(5, "call-4\N{REPLACEMENT CHARACTER}", "server-102", "lost")]
        )
        self.assertEqual(reroutes.since(5), [])
