"""
L{sipgrace.client.discovery} and L{sipgrace.client.found}: servers that DNS knows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import Logger, formatEvent
from twisted.names import dns
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.client.activelist import ActiveList
from sipgrace.client.discovery import Discovery, opening
from sipgrace.client.found import LOOK, Found
from sipgrace.client.strategies import SRV
from sipgrace.commands.show import _domain
from sipgrace.errors import TransportError
from sipgrace.message.uri import SIPURI
from sipgrace.transport.backoff import Backoff
from sipgrace.transport.naming import Locator, Place
from tests.fakes import FakeAssociation
from tests.zones import Zone, a, srv

DOMAIN = SIPURI.parse(b"sip:example.org;transport=tcp")


@dataclass
class Association:
    """
    As much of one as is looked at.
    """

    peerHost: str


@dataclass(eq=False)
class Link:
    """
    A link that notes what it is told.
    """

    name: str
    cost: int
    weight: int
    association: Association | None = None
    active: bool = False
    skipped: bool = False
    underWay: int = 0
    told: list[str] = field(default_factory=list)

    def start(self) -> None:
        self.told.append("start")

    def stop(self) -> Deferred[None]:
        self.told.append("stop")
        return succeed(None)

    def up(self, host: str) -> None:
        """
        It is reached there, and good.
        """
        self.association, self.active = Association(host), True


class FoundCase(SynchronousTestCase):
    """
    A zone with two servers, and a client that is to find them between two that it knows.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.zone = Zone(
            _sip___tcp=[srv(10, 3, 5061, b"one", 20), srv(20, 1, 5062, b"two", 20)],
            one=[a("192.0.2.1")],
            two=[a("192.0.2.2")],
        )
        self.discovery = Discovery(
            "trunk",
            DOMAIN,
            Locator(self.zone),
            self.clock,
            self.lookedUp,
            Backoff(4.0, 8.0),
            (5.0, 60.0),
            lambda: 1.0,
        )
        self.links: dict[str, Any] = {name: Link(name, 0, 1) for name in ("first", "last")}
        self.active: ActiveList[Any] = ActiveList([], SRV(lambda: 0.5))
        self.gone: list[Any] = []
        self.made: list[Any] = []
        self.found = Found(
            ["first", "trunk", "last"],
            [self.discovery],
            self.links,
            self.active,
            self.clock,
            lambda discovery, place: 100 + place.priority,
            self.make,
            self.gone.append,
        )

    def lookedUp(self, discovery: Discovery) -> None:
        """
        The discovery is made before what it tells.
        """
        self.found.update(discovery)

    def make(self, discovery: Discovery, name: str, place: Place) -> Any:
        """
        A link to a server that was found.
        """
        link = Link(name, 100 + place.priority, place.weight)
        self.made.append(link)
        return link

    def listed(self) -> str:
        """
        The names on the active list.
        """
        return " ".join(link.name for link in self.active)

    def asked(self) -> int:
        """
        How often the servers were looked up.
        """
        return self.zone.asked["SRV _sip._tcp.example.org"]


class FollowTests(FoundCase):
    """
    Links come and go with DNS.
    """

    def test_start(self) -> None:
        """
        Each server is a link, with priority and weight as DNS says, in its place among the configured ones.
        """
        self.found.start()
        self.assertEqual(
            [(link.name, link.cost, link.weight, link.told) for link in self.made],
            [
                ("trunk/one.example.org:5061", 110, 3, ["start"]),
                ("trunk/two.example.org:5062", 120, 1, ["start"]),
            ],
        )
        for link in (*reversed(self.made), self.links["last"], self.links["first"]):
            self.active.add(link)
        self.assertEqual(self.listed(), "first trunk/one.example.org:5061 trunk/two.example.org:5062 last")
        self.assertEqual(
            [link.name for link in self.active.candidates()],
            ["first", "last", "trunk/one.example.org:5061", "trunk/two.example.org:5062"],
        )

    def test_ttl(self) -> None:
        """
        What was found is looked up again when it has become old, within the bounds.
        """
        self.found.start()
        self.assertEqual(self.asked(), 1)
        self.clock.advance(19.9)
        self.assertEqual(self.asked(), 1)
        self.zone.put("_sip___tcp", [srv(10, 3, 5061, b"one", 1)])
        self.clock.advance(0.1)
        self.assertEqual(self.asked(), 2)
        self.clock.advance(4.9)
        self.assertEqual(self.asked(), 2)
        self.zone.put("_sip___tcp", [srv(10, 3, 5061, b"one", 9999)])
        self.zone.put("one", [a("192.0.2.1", 9999)])
        self.clock.advance(0.1)
        self.assertEqual(self.asked(), 3)
        self.clock.pump([59.9, 0.1])
        self.assertEqual(self.asked(), 4)

    def test_changed(self) -> None:
        """
        Another priority or weight needs no other link.
        """
        self.found.start()
        self.zone.put("_sip___tcp", [srv(30, 7, 5061, b"one"), srv(20, 1, 5062, b"two")])
        self.clock.advance(20)
        self.assertEqual([(link.cost, link.weight) for link in self.made], [(130, 7), (120, 1)])
        self.assertEqual(
            list(self.discovery.places), ["trunk/two.example.org:5062", "trunk/one.example.org:5061"]
        )

    def test_more(self) -> None:
        """
        A server that is new is reached, the others are left alone.
        """
        self.found.start()
        self.zone.put(
            "_sip___tcp", [srv(10, 3, 5061, b"one"), srv(20, 1, 5062, b"two"), srv(5, 0, 1, b"two")]
        )
        self.clock.advance(20)
        self.assertEqual([link.told for link in self.made], [["start"]] * 3)
        self.assertEqual(self.made[2].name, "trunk/two.example.org:1")

    def test_gone(self) -> None:
        """
        One that is not listed any more gets no more calls at once, and ends when its calls are set up.
        """
        self.found.start()
        one, two = self.made
        for link in self.made:
            link.up("192.0.2.9")
            self.active.add(link)
        two.underWay = 1
        two.association.peerHost, one.association.peerHost = "192.0.2.2", "192.0.2.1"
        self.zone.put("_sip___tcp", [srv(10, 3, 5061, b"one")])
        self.clock.advance(20)
        self.assertEqual(self.listed(), one.name)
        self.assertEqual(sorted(self.links), ["first", "last", one.name])
        self.assertEqual((list(self.found), two.skipped, self.gone), ([two], True, []))
        self.clock.pump([LOOK, LOOK])
        self.assertEqual(two.told, ["start"])
        two.underWay = 0
        self.clock.advance(LOOK)
        self.assertEqual((two.told, self.gone, list(self.found)), (["start", "stop"], [two], []))

    def test_moved(self) -> None:
        """
        One with another address is reached there before the old association is given up.
        """
        self.found.start()
        one = self.made[0]
        one.up("192.0.2.1")
        self.active.add(one)
        self.zone.put("one", [a("192.0.2.7")])
        self.clock.advance(20)
        again = self.made[2]
        self.assertEqual((again.name, again.told, self.listed()), (one.name, ["start"], one.name))
        self.assertIs(self.links[one.name], again)
        self.clock.pump([LOOK, LOOK])
        self.assertEqual((one.told, list(self.active)), (["start"], [one]))
        again.up("192.0.2.7")
        self.active.add(again)
        self.clock.advance(LOOK)
        self.assertEqual((one.told, list(self.active)), (["start", "stop"], [again]))

    def test_notYetThere(self) -> None:
        """
        One without an association finds its new address by itself.
        """
        self.found.start()
        self.zone.put("one", [a("192.0.2.7")])
        self.clock.advance(20)
        self.assertEqual(len(self.made), 2)
        self.assertEqual(self.discovery.places["trunk/one.example.org:5061"].hosts, ("192.0.2.7",))

    def test_dnsDown(self) -> None:
        """
        While DNS does not answer, what was known is used; it is asked again after growing waits.
        """
        self.found.start()
        self.zone.broken = True
        self.clock.advance(20)
        self.assertEqual(len(self.links), 4)
        self.assertEqual(
            self.found.status(),
            [
                {
                    "name": "trunk",
                    "uri": "sip:example.org;transport=tcp",
                    "servers": [link.name for link in self.made],
                    "again": 4.0,
                    "trouble": "DNS does not answer for _sip._tcp.example.org SRV: DNSServerError",
                }
            ],
        )
        self.assertEqual(
            _domain(self.found.status()[0]),
            "trunk, sip:example.org;transport=tcp: 2 servers, to be looked up in 4.0 s "
            "(DNS does not answer for _sip._tcp.example.org SRV: DNSServerError)",
        )
        asked = self.asked()
        self.clock.pump([4.0, 7.9])
        self.assertEqual(self.asked(), asked + 1)
        self.zone.broken = False
        self.clock.advance(0.1)
        self.assertEqual((self.asked(), self.discovery.trouble), (asked + 2, ""))
        self.zone.broken = True
        self.clock.advance(20)
        self.assertEqual(self.found.status()[0]["again"], 4.0)

    def test_oneMissing(self) -> None:
        """
        A server whose address DNS does not give just now stays as it was known; where it was not known, the
        others are used, and it is looked for again soon.
        """
        self.zone.mute = {b"one.example.org"}
        self.found.start()
        self.assertEqual(list(self.discovery.places), ["trunk/two.example.org:5062"])
        status = self.found.status()[0]
        text = "DNS does not answer for one.example.org A: DNSServerError"
        self.assertEqual((status["again"], status["trouble"]), (5.0, text))
        self.zone.mute = set()
        self.clock.advance(5)
        both = ["trunk/one.example.org:5061", "trunk/two.example.org:5062"]
        self.assertEqual((list(self.discovery.places), self.discovery.trouble), (both, ""))
        self.zone.mute = {b"one.example.org"}
        self.clock.advance(20)
        self.assertEqual((list(self.discovery.places), self.discovery.trouble), (both, text))

    def test_logged(self) -> None:
        """
        What is wrong with a look-up is logged when it begins, not at every look-up.
        """
        lines: list[str | None] = []
        self.discovery.log = Logger(observer=lambda event: lines.append(formatEvent(event)))
        self.zone.mute = {b"one.example.org"}
        self.found.start()
        self.clock.advance(5)
        self.clock.advance(5)
        text = "trunk: DNS does not answer for one.example.org A: DNSServerError; it is looked up again"
        self.assertEqual(lines, [text])
        self.zone.mute = set()
        self.clock.advance(5)
        self.zone.mute = {b"one.example.org"}
        self.clock.advance(20)
        self.assertEqual(lines, [text, text])

    def test_stop(self) -> None:
        """
        Nothing is looked up any more, and links that were given up end.
        """
        self.found.start()
        two = self.made[1]
        two.underWay = 1
        self.zone.put("_sip___tcp", [srv(10, 3, 5061, b"one")])
        self.clock.advance(20)
        self.found.stop()
        self.assertEqual((two.told, self.clock.getDelayedCalls()), (["start", "stop"], []))
        self.found.start()
        self.assertEqual(self.asked(), 3)

    def test_stopWhileAsking(self) -> None:
        """
        An answer that comes after the end changes nothing.
        """
        asked: Deferred[Any] = Deferred()
        self.patch(self.zone, "query", lambda query: asked)
        self.found.start()
        self.found.start()
        self.found.stop()
        self.assertEqual((self.made, self.clock.getDelayedCalls()), ([], []))

    def test_nonsense(self) -> None:
        """
        A mistake of our own is logged, and is not the end of looking up.
        """
        self.patch(self.zone, "query", lambda query: fail(ZeroDivisionError("x")))
        self.found.start()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((self.discovery.trouble, len(self.clock.getDelayedCalls())), ("x", 1))


class OpeningTests(SynchronousTestCase):
    """
    How a server that was found is reached.
    """

    def open(self, place: Place | None, reachable: str, words: str = "") -> tuple[list[str], Deferred[Any]]:
        """
        Opens an association where only one address can be reached.
        """
        tried = []

        def connect(description: str) -> Any:
            tried.append(description)
            return succeed("up") if reachable in description else fail(TransportError("refused"))

        return tried, opening(lambda: place, "example.org", words, connect)()

    def test_inTurn(self) -> None:
        """
        One address after the other.
        """
        place = Place(b"SCTP", "one.example.org", 5061, ("192.0.2.1", "2001:db8::1", "192.0.2.2"))
        tried, opened = self.open(place, "db8", "bindAddress=192.0.2.9")
        self.assertEqual(self.successResultOf(opened), "up")
        self.assertEqual(
            tried,
            [
                "sctp:host=192.0.2.1:port=5061:bindAddress=192.0.2.9",
                "sctp:host=2001\\:db8\\:\\:1:port=5061:bindAddress=192.0.2.9",
            ],
        )

    def test_certificate(self) -> None:
        """
        Over TLS the server must show that it is of the domain, whatever it is called itself.
        """
        place = Place(b"TLS", "one.example.org", 5061, ("192.0.2.1",))
        tried, _ = self.open(place, "192")
        self.assertEqual(tried, ["tls:host=192.0.2.1:port=5061:name=example.org"])

    def test_nowhere(self) -> None:
        """
        The last reason is told; so is that there is no such server any more.
        """
        tried, opened = self.open(Place(b"TCP", "one", 1, ("192.0.2.1", "192.0.2.2")), "none")
        self.assertEqual(str(self.failureResultOf(opened, TransportError).value), "refused")
        self.assertEqual(len(tried), 2)
        tried, opened = self.open(None, "none")
        self.failureResultOf(opened, TransportError)
        self.assertEqual(tried, [])

    def test_givenUp(self) -> None:
        """
        Who gives the attempt up wants no other address tried; what comes up nevertheless is ended.
        """
        place = Place(b"TCP", "one", 1, ("192.0.2.1", "192.0.2.2"))
        association = FakeAssociation(lambda entry: None, True)
        cancels: list[Callable[[Deferred[Any]], None]] = [
            lambda attempt: attempt.errback(TransportError("cancelled")),
            lambda attempt: attempt.callback(association),
        ]
        tried = []

        def connect(description: str) -> Any:
            tried.append(description)
            return Deferred(cancels.pop())

        for _ in list(cancels):
            opened = opening(lambda: place, "example.org", "", connect)()
            opened.cancel()
            self.failureResultOf(opened, CancelledError)
        self.assertEqual(tried, ["tcp:host=192.0.2.1:port=1"] * 2)
        self.assertFalse(association.up)


class TwiceTests(FoundCase):
    """
    DNS that says a thing twice.
    """

    def test_oneServer(self) -> None:
        """
        It is one server, at its best.
        """
        self.zone.put("_sip___tcp", [srv(20, 1, 5061, b"one"), srv(10, 2, 5061, b"one")])
        self.found.start()
        self.assertEqual([(link.cost, link.weight) for link in self.made], [(110, 2)])

    def test_nothing(self) -> None:
        """
        A domain without servers has none, and is asked again.
        """
        self.zone.put("_sip___tcp", [dns.Record_SRV(0, 0, 0, b"", ttl=300)])
        self.found.start()
        self.assertEqual((self.made, len(self.clock.getDelayedCalls())), ([], 1))
