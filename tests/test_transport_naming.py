"""
L{sipgrace.transport.naming}.
"""

from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime, IReactorUDP
from twisted.internet.task import deferLater
from twisted.logger import LogEvent, LogLevel, formatEvent, globalLogPublisher
from twisted.names import dns
from twisted.names.server import DNSServerFactory
from twisted.trial.unittest import SynchronousTestCase, TestCase

from sipgrace.errors import TransportError
from sipgrace.message.uri import SIPURI
from sipgrace.transport.naming import FOREVER, Located, Locator, Place, resolverOf
from tests.zones import Zone, a, aaaa, naptr, srv

#: Two servers over SCTP, one over TCP, as an operator would write them down.
TRUNK = {
    "at": [
        naptr(50, b"SIP+D2U", b"_sip._udp.example.org"),
        naptr(100, b"SIP+D2T", b"_sip._tcp.example.org"),
        naptr(90, b"SIP+D2S", b"_sip._sctp.example.org"),
    ],
    "_sip___sctp": [srv(20, 0, 5062, b"two"), srv(10, 3, 5061, b"one")],
    "_sip___tcp": [srv(0, 0, 5070, b"one")],
    "one": [a("192.0.2.1"), aaaa("2001:db8::1")],
    "two": [a("192.0.2.2")],
}

ONE = Place(b"SCTP", "one.example.org", 5061, ("192.0.2.1", "2001:db8::1"), 10, 3)
TWO = Place(b"SCTP", "two.example.org", 5062, ("192.0.2.2",), 20, 0)
TCP = Place(b"TCP", "one.example.org", 5070, ("192.0.2.1", "2001:db8::1"), 0, 0)


class LocatorTests(SynchronousTestCase):
    """
    What is found, and in which order.
    """

    def locate(self, zone: Zone, uri: bytes, *transports: bytes) -> Located:
        """
        Looks up.
        """
        locator = Locator(zone, transports) if transports else Locator(zone)
        return self.successResultOf(locator.locate(SIPURI.parse(uri)))

    def refused(self, zone: Zone, uri: bytes) -> str:
        """
        Looks up in vain.
        """
        return str(self.failureResultOf(Locator(zone).locate(SIPURI.parse(uri)), TransportError).value)

    def test_naptr(self) -> None:
        """
        The first transport of NAPTR that opens associations; its servers by priority.
        """
        zone = Zone(**TRUNK)
        self.assertEqual(self.locate(zone, b"sip:example.org"), Located((ONE, TWO), 300.0))
        self.assertEqual(zone.asked["NAPTR example.org"], 1)

    def test_naptrOfWhatWeHave(self) -> None:
        """
        What cannot be used is passed over.
        """
        self.assertEqual(self.locate(Zone(**TRUNK), b"sip:example.org", b"TCP"), Located((TCP,), 300.0))

    def test_naptrToNothing(self) -> None:
        """
        A NAPTR that leads to no server is passed over, too.
        """
        zone = Zone(**{**TRUNK, "_sip___sctp": [srv(0, 0, 5060, b"nobody")]})
        self.assertEqual(self.locate(zone, b"sip:example.org").places, (TCP,))

    def test_preference(self) -> None:
        """
        Among NAPTRs of one order the preference decides.
        """
        zone = Zone(
            **{
                **TRUNK,
                "at": [
                    naptr(1, b"SIP+D2S", b"_sip._sctp.example.org", 20),
                    naptr(1, b"sip+d2t", b"_sip._tcp.example.org", 10),
                ],
            }
        )
        self.assertEqual(self.locate(zone, b"sip:example.org").places, (TCP,))

    def test_transportGiven(self) -> None:
        """
        With a transport in the URI there is no NAPTR to ask for.
        """
        zone = Zone(**TRUNK)
        self.assertEqual(self.locate(zone, b"sip:example.org;transport=tcp").places, (TCP,))
        self.assertEqual(zone.asked["NAPTR example.org"], 0)

    def test_noNaptr(self) -> None:
        """
        Without NAPTR the SRV records of one transport after the other are asked for.
        """
        zone = Zone(**{**TRUNK, "at": [], "_sip___sctp": []})
        self.assertEqual(self.locate(zone, b"sip:example.org").places, (TCP,))

    def test_weights(self) -> None:
        """
        Of one priority the greater weight stands first.
        """
        zone = Zone(**{**TRUNK, "_sip___sctp": [srv(10, 1, 5062, b"two"), srv(10, 3, 5061, b"one")]})
        found = self.locate(zone, b"sip:example.org").places
        self.assertEqual(
            [(place.target, place.weight) for place in found],
            [
                ("one.example.org", 3),
                ("two.example.org", 1),
            ],
        )

    def test_notAvailable(self) -> None:
        """
        A service that is decidedly not there (RFC 2782), nor is anything else.
        """
        zone = Zone(_sip___sctp=[dns.Record_SRV(0, 0, 0, b"", ttl=300)])
        text = "sip:example.org;transport=sctp: DNS says that there is no such service"
        self.assertEqual(self.refused(zone, b"sip:example.org;transport=sctp"), text)
        # Not by the domain's own address either, which may be that of a web server.
        zone.put("at", [a("192.0.2.9")])
        self.assertEqual(self.refused(zone, b"sip:example.org;transport=sctp"), text)
        self.assertEqual(
            self.refused(zone, b"sip:example.org"), "sip:example.org: DNS says that there is no such service"
        )

    def test_notAvailableOverOne(self) -> None:
        """
        That one transport is not there says nothing of the next.
        """
        records = {**TRUNK, "at": [a("192.0.2.9")], "_sip___sctp": [dns.Record_SRV(0, 0, 0, b"", ttl=300)]}
        self.assertEqual(self.locate(Zone(**records), b"sip:example.org").places, (TCP,))

    def test_oneDoesNotAnswer(self) -> None:
        """
        A server whose address cannot be had is missing, the others are found; it is looked for again soon.
        """
        zone = Zone(**TRUNK)
        zone.mute = {b"one.example.org"}
        why = "DNS does not answer for one.example.org A: DNSServerError"
        self.assertEqual(
            self.locate(zone, b"sip:example.org"), Located((TWO,), 5.0, (("one.example.org", why),))
        )

    def test_noneAnswers(self) -> None:
        """
        Where none can be had that is trouble, not another transport's turn.
        """
        zone = Zone(**TRUNK)
        zone.mute = {b"one.example.org", b"two.example.org"}
        self.assertEqual(
            self.refused(zone, b"sip:example.org"),
            "DNS does not answer for one.example.org A: DNSServerError",
        )

    def test_addressOnly(self) -> None:
        """
        With nothing but an address: the URI's transport or SCTP, and its usual port.
        """
        zone = Zone(at=[a("192.0.2.9", 60)])
        place = Place(b"SCTP", "example.org", 5060, ("192.0.2.9",))
        self.assertEqual(self.locate(zone, b"sip:example.org"), Located((place,), 60.0))
        place = Place(b"TLS", "example.org", 5061, ("192.0.2.9",))
        self.assertEqual(self.locate(zone, b"sip:example.org;transport=tls").places, (place,))

    def test_portGiven(self) -> None:
        """
        With a port there is no SRV to ask for.
        """
        zone = Zone(**{**TRUNK, "at": [*TRUNK["at"], a("192.0.2.9")]})
        place = Place(b"SCTP", "example.org", 5099, ("192.0.2.9",))
        self.assertEqual(self.locate(zone, b"sip:example.org:5099").places, (place,))
        self.assertEqual(sorted(zone.asked), ["A example.org", "AAAA example.org"])

    def test_sips(self) -> None:
        """
        C{sips} is TLS, and nothing else.
        """
        zone = Zone(
            at=[naptr(1, b"SIPS+D2T", b"_sips._tcp.example.org")],
            _sips___tcp=[srv(0, 0, 5061, b"one")],
            one=[a("192.0.2.1")],
        )
        place = Place(b"TLS", "one.example.org", 5061, ("192.0.2.1",), 0, 0)
        for uri in (b"sips:example.org", b"sips:example.org;transport=tcp", b"sip:example.org"):
            self.assertEqual(self.locate(zone, uri).places, (place,), uri)

    def test_literal(self) -> None:
        """
        An address needs no DNS; so does a C{maddr} that is one.
        """
        zone = Zone()
        for uri in (b"sip:192.0.2.5", b"sip:example.org;maddr=192.0.2.5"):
            place = Place(b"SCTP", "192.0.2.5", 5060, ("192.0.2.5",))
            self.assertEqual(self.locate(zone, uri), Located((place,), FOREVER))
        place = Place(b"TCP", "2001:db8::5", 5070, ("2001:db8::5",))
        self.assertEqual(self.locate(zone, b"sip:[2001:db8::5]:5070;transport=tcp").places, (place,))
        self.assertEqual(dict(zone.asked), {})

    def test_leastTTL(self) -> None:
        """
        What was found is as good as its shortest-lived part.
        """
        for name, records in (
            ("at", [naptr(1, b"SIP+D2S", b"_sip._sctp.example.org", ttl=7)]),
            ("_sip___sctp", [srv(10, 3, 5061, b"one", ttl=7)]),
            ("one", [a("192.0.2.1", ttl=7)]),
        ):
            zone = Zone(**{**TRUNK, name: records})
            self.assertEqual(self.locate(zone, b"sip:example.org").seconds, 7.0, name)

    def test_alias(self) -> None:
        """
        The address of a host that is called by another name.
        """
        zone = Zone(
            _sip___sctp=[srv(0, 0, 5060, b"alias")],
            alias=[dns.Record_CNAME(b"one.example.org", ttl=30)],
            one=[a("192.0.2.1", ttl=60)],
        )
        found = self.locate(zone, b"sip:example.org")
        self.assertEqual(found.places, (Place(b"SCTP", "alias.example.org", 5060, ("192.0.2.1",), 0, 0),))
        self.assertEqual(found.seconds, 30.0)

    def test_unknown(self) -> None:
        """
        A name that there is not.
        """
        text = "sip:nobody.example.org: DNS knows no server of it, and no address"
        self.assertEqual(self.refused(Zone(**TRUNK), b"sip:nobody.example.org"), text)

    def test_noAnswer(self) -> None:
        """
        A DNS server that is in trouble is not one that knows no server.
        """
        zone = Zone(**TRUNK)
        zone.broken = True
        self.assertEqual(
            self.refused(zone, b"sip:example.org"),
            "DNS does not answer for example.org NAPTR: DNSServerError",
        )

    def test_wrongTransport(self) -> None:
        """
        UDP opens no associations.
        """
        self.assertEqual(
            self.refused(Zone(), b"sip:example.org;transport=udp"),
            "sip:example.org;transport=udp: no associations over UDP",
        )


class ResolverTests(TestCase):
    timeout = 30

    async def test_quiet(self) -> None:
        """
        Each question has a port of its own, and the log says nothing of that, unless for debugging.
        """
        factory = DNSServerFactory([Zone(**TRUNK)])
        factory.noisy = False
        server = IReactorUDP(reactor).listenUDP(0, dns.DNSDatagramProtocol(factory), "127.0.0.1")
        self.addCleanup(server.stopListening)
        told: dict[LogLevel, list[str]] = {}

        def note(event: LogEvent) -> None:
            told.setdefault(event["log_level"], []).append(formatEvent(event))

        resolver = resolverOf([("127.0.0.1", server.getHost().port)], reactor)
        globalLogPublisher.addObserver(note)
        self.addCleanup(globalLogPublisher.removeObserver, note)
        found = await Locator(resolver).locate(SIPURI.parse(b"sip:example.org"))
        self.assertEqual(found, Located((ONE, TWO), 300.0))
        clock = IReactorTime(reactor)
        while sum(line.endswith("Closed)") for line in told.get(LogLevel.debug, ())) < 6:
            nothing: Deferred[None] = deferLater(clock, 0.01)
            await nothing
        self.assertEqual(list(told), [LogLevel.debug], told)
        self.assertEqual(len(told[LogLevel.debug]), 4 * 6)
