"""
What the proxy core is made of: identity, glance, the best response, Timer C's watch, answers of our own.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.message.headers import NameAddr
from sipgrace.message.message import Request, Response
from sipgrace.message.parser import parse
from sipgrace.message.uri import SIPURI
from sipgrace.proxy.best import best
from sipgrace.proxy.glance import escaped, glance
from sipgrace.proxy.identity import Identity
from sipgrace.proxy.own import statusAnswer
from sipgrace.proxy.target import Hop, hopOf
from sipgrace.proxy.timerc import TimerC
from sipgrace.proxy.trail import Trail
from sipgrace.testing import MemoryElement, MemoryNetwork, Recorder, makeRequest
from tests.proxyrig import Line


def listener(transport: bytes, host: str, port: int = 5060, via: bytes = b"") -> MemoryElement:
    element = MemoryElement(MemoryNetwork(), Recorder(), host, port, transport, "")
    if via:
        element.via = via
    return element


class TrailTests(SynchronousTestCase):
    """
    The Via that we put on a request.
    """

    def test_sign(self) -> None:
        """
        What we know of our own Via is what anybody reads in it, whatever the offers; no branch is used twice.
        """
        trail = Trail()
        line = Line(lambda event: None, "a", b"SCTP", "network")
        branches = set()
        for offer in (b"", b';oc;oc-algo="loss"'):
            trail.offers["network"] = offer
            request = parse(makeRequest(b"INVITE", uri=b"sip:bob@example.com"))
            assert isinstance(request, Request)
            came = request.get(b"Via")
            trail.sign(request, line, 255)
            read = parse(request.toBytes())
            for name in ("branch", "sentBy", "viaTransport"):
                self.assertEqual(getattr(request, name), getattr(read, name))
            self.assertEqual(read.elements(b"Via")[1], came)
            self.assertIn(b"m255n", request.branch)
            self.assertTrue(request.elements(b"Via")[0].endswith(request.branch + offer))
            self.assertEqual((read.sentBy, read.viaTransport), (b"192.0.2.100:5060", b"SCTP"))
            self.assertTrue(trail.looped(read, 255))
            self.assertFalse(trail.looped(read, 25) or trail.looped(read, 55))
            self.assertFalse(trail.looped(request.copy(), 256))
            branches.add(request.branch)
        self.assertEqual(len(branches), 2)


class GlanceTests(SynchronousTestCase):
    """
    The three parts of a URI that routing decides by.
    """

    def test_parts(self) -> None:
        for uri, parts in (
            (b"sip:bob@example.com", (b"sip", b"bob", b"example.com")),
            (b"SIPS:Bob@Example.COM:5061", (b"sips", b"Bob", b"example.com")),
            (b"sip:example.com", (b"sip", b"", b"example.com")),
            (b"sip:example.com:5070;transport=tcp", (b"sip", b"", b"example.com")),
            (b"sip:bob:secret@example.com;lr?Subject=x", (b"sip", b"bob", b"example.com")),
            (b"sip:+4930;phone-context=+49@gw;user=phone", (b"sip", b"+4930;phone-context=+49", b"gw")),
            (b"sip:bob@[2001:db8::1]:5060;lr", (b"sip", b"bob", b"[2001:db8::1]")),
            (b"sip:[2001:DB8::1]", (b"sip", b"", b"[2001:db8::1]")),
            (b"sip:%62ob@example.com", (b"sip", b"bob", b"example.com")),
            (b"tel:+49-30.12(34);phone-context=x", (b"tel", b"+49301234", b"")),
            (b"tel:110", (b"tel", b"110", b"")),
            (b"urn:service:sos", (b"urn", b"", b"service")),
        ):
            self.assertEqual(glance(uri), parts, uri)

    def test_escaped(self) -> None:
        """
        And back.
        """
        for user, written in (
            (b"bob", b"bob"),
            (b"+4930;x=1", b"+4930;x=1"),
            (b"a b@c", b"a%20b%40c"),
            (b"\xfc", b"%FC"),
            (b"", b""),
        ):
            self.assertEqual(escaped(user), written)
            self.assertEqual(glance(b"sip:" + written + b"@h")[1], user)


class HopTests(SynchronousTestCase):
    """
    RFC 3263 §4.1 and §4.2, where there is nothing to look up.
    """

    def test_hops(self) -> None:
        for uri, hop in (
            (b"sip:h", Hop(b"UDP", "h", 5060)),
            (b"sip:h:5070;transport=TCP", Hop(b"TCP", "h", 5070)),
            (b"sip:h;transport=sctp", Hop(b"SCTP", "h", 5060)),
            (b"sip:h;transport=tls", Hop(b"TLS", "h", 5061)),
            (b"sips:h", Hop(b"TLS", "h", 5061)),
            (b"sips:h;transport=tcp", Hop(b"TLS", "h", 5061)),
            (b"sip:h;maddr=192.0.2.9", Hop(b"UDP", "192.0.2.9", 5060)),
            (b"sip:u@[2001:db8::1]", Hop(b"UDP", "2001:db8::1", 5060)),
            (b"sip:h;maddr=[2001:db8::1]", Hop(b"UDP", "2001:db8::1", 5060)),
        ):
            self.assertEqual(hopOf(SIPURI.parse(uri)), hop, uri)


class IdentityTests(SynchronousTestCase):
    """
    Which addresses are ours.
    """

    def setUp(self) -> None:
        self.identity = Identity()

    def zone(self, uri: bytes) -> str | None:
        return self.identity.zoneOf(SIPURI.parse(uri))

    def line(self, transport: bytes, zone: str, port: int = 5060) -> Line:
        line = Line(lambda event: None, "a", transport, zone)
        line.via = b"SIP/2.0/%b 192.0.2.100:%d" % (transport, port)
        return line

    def test_byTransport(self) -> None:
        """
        One port can look to two sides.
        """
        self.identity.addListener(listener(b"UDP", "192.0.2.100"), "interface")
        self.identity.addListener(listener(b"SCTP", "192.0.2.100"), "network")
        for uri, zone in (
            (b"sip:192.0.2.100", "interface"),
            (b"sip:192.0.2.100:5060;transport=udp", "interface"),
            (b"sip:192.0.2.100;transport=SCTP", "network"),
            (b"sip:192.0.2.100;transport=tcp", None),
            (b"sips:192.0.2.100", None),
            (b"sip:192.0.2.100:5061", None),
            (b"sip:192.0.2.101", None),
        ):
            self.assertEqual(self.zone(uri), zone, uri)

    def test_anyTransport(self) -> None:
        """
        Without a transport it may be any; UDP is only the first guess.
        """
        self.identity.addListener(listener(b"SCTP", "192.0.2.100"), "network")
        self.identity.addListener(listener(b"TLS", "192.0.2.100", 5061), "interface")
        self.assertEqual(self.zone(b"sip:192.0.2.100"), "network")
        self.assertEqual(self.zone(b"sip:192.0.2.100:5061"), "interface")
        self.assertEqual(self.zone(b"sips:192.0.2.100"), "interface")

    def test_advertised(self) -> None:
        """
        The name in the Via is ours, and the address it stands for.
        """
        via = b"SIP/2.0/UDP Edge.Example.com"
        self.identity.addListener(listener(b"UDP", "192.0.2.100", 5070, via), "interface")
        for uri in (b"sip:edge.example.com", b"sip:edge.EXAMPLE.com:5060", b"sip:192.0.2.100:5070"):
            self.assertEqual(self.zone(uri), "interface")
        self.assertEqual(self.zone(b"sip:edge.example.com:5070"), None)

    def test_severalAddresses(self) -> None:
        """
        All addresses of a listener are ours, in a Request-URI and in a Route.
        """
        several = listener(b"SCTP", "192.0.2.100")
        several.hosts = ("192.0.2.100", "192.0.2.101")
        self.identity.addListener(several, "network")
        for host in (b"192.0.2.100", b"192.0.2.101"):
            self.assertEqual(self.zone(b"sip:%b;transport=sctp" % host), "network")
            self.assertEqual(self.identity.zoneOfRoute(b"<sip:%b;transport=sctp;lr>" % host), "network")
        self.assertEqual(self.zone(b"sip:192.0.2.102;transport=sctp"), None)

    def test_ipv6(self) -> None:
        """
        However it is written (RFC 5952).
        """
        self.identity.addListener(listener(b"TCP", "2001:db8::1"), "interface")
        for uri in (
            b"sip:[2001:db8::1];transport=tcp",
            b"sip:bob@[2001:DB8:0:0::1];transport=tcp",
            b"sip:[2001:0db8::0001]",
        ):
            self.assertEqual(self.zone(uri), "interface")
        self.assertEqual(self.zone(b"sip:[2001:db8::2]"), None)

    def test_recordRoute(self) -> None:
        """
        It says where we listen, and is known again, as it was written and by its meaning.
        """
        self.identity.addListener(listener(b"UDP", "192.0.2.100"), "interface")
        self.identity.addListener(listener(b"SCTP", "192.0.2.100", 5062), "network")
        for transport, zone, port, value in (
            (b"UDP", "interface", 5060, b"<sip:192.0.2.100:5060;transport=udp;lr>"),
            (b"SCTP", "network", 5062, b"<sip:192.0.2.100:5062;transport=sctp;lr>"),
        ):
            self.assertEqual(self.identity.recordRoute(self.line(transport, zone, port)), value)
            self.assertEqual(self.identity.zoneOfRoute(value), zone)
            self.assertEqual(self.identity.zoneOfRoute(b'"x" ' + value + b";y"), zone)
            self.assertEqual(self.identity.zoneOf(NameAddr.parse(value).uri), zone)
        self.assertEqual(self.identity.zoneOfRoute(b"<sip:192.0.2.100:5062;lr>"), "network")
        self.assertEqual(self.identity.zoneOfRoute(b"<sip:192.0.2.9;lr>"), None)
        self.assertEqual(self.identity.zoneOfRoute(b"<tel:+4930>"), None)

    def test_withoutListener(self) -> None:
        """
        An association that was opened where nothing listens is known by what it was called; only so many of
        them, the latest.
        """
        values = [
            self.identity.recordRoute(self.line(b"TCP", "network", port))
            for port in range(10000, 10000 + 5000)
        ]
        self.assertEqual(len(set(values)), 5000)
        self.assertEqual(self.identity.zoneOfRoute(values[-1]), "network")
        self.assertEqual(self.identity.zoneOfRoute(values[904]), "network")
        self.assertEqual(self.identity.zoneOfRoute(values[903]), None)
        self.assertEqual(len(self.identity._routes), 4096)
        self.assertEqual(len(self.identity._sides), 4096)
        # The same one again costs nothing.
        self.identity.recordRoute(self.line(b"TCP", "network", 14999))
        self.assertEqual(self.identity.zoneOfRoute(values[904]), "network")


class BestTests(SynchronousTestCase):
    """
    §16.7 step 6.
    """

    def test_best(self) -> None:
        for statuses, chosen in (
            ((), None),
            ((404,), 404),
            ((500, 404, 302), 302),
            ((404, 486), 404),
            ((404, 484), 484),
            ((486, 407), 407),
            ((503, 480), 480),
            ((302, 600), 600),
            ((603, 600), 603),
        ):
            responses = [Response.make(status, None, ()) for status in statuses]
            found = best(responses)
            self.assertEqual(None if found is None else found.status, chosen, statuses)


class Entry:
    def __init__(self, acceptedAt: float, seen: list[tuple[float, float]]) -> None:
        self.acceptedAt = acceptedAt
        self.seen = seen

    def checkTimerC(self, now: float) -> None:
        self.seen.append((self.acceptedAt, now))


class TimerCTests(SynchronousTestCase):
    """
    The watch over Timer C.
    """

    def test_look(self) -> None:
        """
        A look every sixteenth of the time, at those that are old enough alone.
        """
        clock = Clock()
        seen: list[tuple[float, float]] = []
        entries = [Entry(0, seen), Entry(1, seen), Entry(30, seen)]
        timer = TimerC(clock, entries, 32)
        timer.start()
        clock.pump([2.0] * 15)
        self.assertEqual(seen, [])
        clock.advance(2)
        self.assertEqual(seen, [(0, 32)])
        clock.advance(2)
        self.assertEqual(seen[1:], [(0, 34), (1, 34)])
        timer.stop()
        timer.stop()
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_interval(self) -> None:
        """
        Not too often, and not too seldom.
        """
        for seconds, interval in ((181, 5), (32, 2), (0.5, 0.1)):
            clock = Clock()
            TimerC(clock, (), seconds).start()
            self.assertEqual([call.getTime() for call in clock.getDelayedCalls()], [interval])

    def test_changing(self) -> None:
        """
        What is looked at may leave the ledger.
        """
        clock = Clock()
        entries: dict[Any, None] = {}

        class Leaving(Entry):
            def checkTimerC(self, now: float) -> None:
                del entries[self]

        entries.update({Leaving(0, []): None, Leaving(0, []): None})
        TimerC(clock, entries, 16).start()
        clock.pump([1.0] * 16)
        self.assertEqual(entries, {})


class OwnTests(SynchronousTestCase):
    """
    What servers and clients answer alike.
    """

    def answer(self, method: bytes, hops: int = 70, **changes: Any) -> object:
        identity = Identity()
        identity.addListener(listener(b"UDP", "192.0.2.100"), "interface")
        request = parse(
            makeRequest(method, **changes).replace(b"Max-Forwards: 70", b"Max-Forwards: %d" % hops)
        )
        assert isinstance(request, Request)
        answer = statusAnswer(request, identity)
        return None if answer is None else answer.status

    def test_status(self) -> None:
        """
        OPTIONS for ourselves, or that may go no further (§11.2).
        """
        for method, uri, hops, status in (
            (b"OPTIONS", b"sip:192.0.2.100", 70, 200),
            (b"OPTIONS", b"sip:192.0.2.100:5060;transport=udp", 70, 200),
            (b"OPTIONS", b"sip:bob@192.0.2.100", 70, None),
            (b"OPTIONS", b"sip:example.com", 70, None),
            (b"OPTIONS", b"sip:bob@example.com", 0, 200),
            (b"OPTIONS", b"tel:+4930", 70, None),
            (b"OPTIONS", b"tel:+4930", 0, 200),
            (b"INVITE", b"sip:192.0.2.100", 70, None),
        ):
            self.assertEqual(self.answer(method, hops, uri=uri), status, (method, uri, hops))

    def test_require(self) -> None:
        """
        §8.2.2.3.
        """
        self.assertEqual(self.answer(b"OPTIONS", 0, headers=((b"Require", b"100rel"),)), 420)

    def test_says(self) -> None:
        """
        §11.2: what we take.
        """
        identity = Identity()
        request = parse(makeRequest(b"OPTIONS").replace(b"Max-Forwards: 70", b"Max-Forwards: 0"))
        assert isinstance(request, Request)
        answer = statusAnswer(request, identity)
        assert answer is not None
        self.assertEqual([name for name, _ in answer.headers], [b"Allow", b"Accept", b"Accept-Encoding"])
        self.assertIn(b"INVITE", answer.headers[0][1].split(b", "))
