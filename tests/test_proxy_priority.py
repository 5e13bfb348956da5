"""
Which calls go before others, and what is found by Request-URIs.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipgrace.message.message import Request
from sipgrace.message.parser import parse
from sipgrace.message.uri import SIPURI
from sipgrace.proxy.checks import check
from sipgrace.proxy.glance import glance
from sipgrace.proxy.lookup import Lookup
from sipgrace.proxy.priority import Priorities
from sipgrace.proxy.target import Answer
from sipgrace.testing import makeRequest


def request(method: bytes = b"INVITE", uri: bytes = b"sip:bob@h", *resources: bytes) -> Request:
    headers = tuple((b"Resource-Priority", value) for value in resources)
    made = parse(makeRequest(method, uri=uri, headers=headers))
    assert isinstance(made, Request)
    return made


class PrioritiesTests(SynchronousTestCase):
    """
    L{Priorities}.
    """

    def test_resources(self) -> None:
        """
        A namespace is for all of its priorities, a value for itself; in any case of letters, wherever among
        the values, in however many fields (RFC 4412 §3.1).
        """
        priorities = Priorities(["ESNET", "wps.0"])
        for resources, covered in (
            ((b"esnet.4",), True),
            ((b"EsNet.0",), True),
            ((b"wps.0",), True),
            ((b"WPS.0",), True),
            ((b"wps.1",), False),
            ((b"wps",), False),
            ((b"wps.00",), False),
            ((b"esnets.4",), False),
            ((b"dsn.flash , wps.0",), True),
            ((b"dsn.flash", b"wps.0"), True),
            ((b"dsn.flash,wps.1",), False),
            ((), False),
        ):
            found = priorities.covers(request(b"INVITE", b"sip:bob@h", *resources))
            self.assertEqual(found, covered, resources)

    def test_emergency(self) -> None:
        """
        The URN and its sub-services (RFC 5031 §4.2), and nothing that only begins alike.
        """
        priorities = Priorities(emergency=True)
        for uri, covered in (
            (b"urn:service:sos", True),
            (b"URN:Service:SOS", True),
            (b"urn:service:sos.fire", True),
            (b"urn:service:sos.ecall.manual", True),
            (b"urn:service:sosfire", False),
            (b"urn:service:counseling", False),
            (b"sip:sos@h", False),
        ):
            self.assertEqual(priorities.covers(request(uri=uri)), covered, uri)
            self.assertFalse(Priorities(["esnet"]).covers(request(uri=uri)))

    def test_others(self) -> None:
        """
        Other methods do not, nor does anything where nothing is configured.
        """
        everything = Priorities(["esnet"], True)
        for method in (b"MESSAGE", b"OPTIONS", b"SUBSCRIBE", b"REGISTER"):
            self.assertFalse(everything.covers(request(method, b"urn:service:sos", b"esnet.0")))
        self.assertTrue(everything.covers(request(b"INVITE", b"urn:service:sos", b"esnet.0")))
        self.assertFalse(Priorities().covers(request(b"INVITE", b"urn:service:sos", b"esnet.0")))


class CheckTests(SynchronousTestCase):
    def test_services(self) -> None:
        """
        A service's name may be a Request-URI, as no other URN may.
        """
        for uri, answer in (
            (b"urn:service:sos", None),
            (b"URN:service:counseling.children", None),
            (b"urn:nena:service:sos", Answer(416)),
            (b"urn:services:sos", Answer(416)),
            (b"http://h/", Answer(416)),
        ):
            self.assertEqual(check(request(uri=uri)), answer, uri)


class LookupTests(SynchronousTestCase):
    """
    L{Lookup}.
    """

    def setUp(self) -> None:
        self.lookup: Lookup[str] = Lookup()

    def exactly(self, uri: bytes) -> str | None:
        return self.lookup.exactly(uri, glance(uri))

    def test_services(self) -> None:
        """
        The most particular name counts; what has none of its own is what it is a part of.
        """
        self.assertEqual(self.exactly(b"urn:service:sos"), None)
        self.lookup.addService(b"urn:service:sos", "all")
        self.lookup.addService(b"urn:service:sos.fire", "fire")
        for uri, found in (
            (b"urn:service:sos", "all"),
            (b"urn:service:SOS.police", "all"),
            (b"urn:service:sos.fire", "fire"),
            (b"urn:service:sos.fire.mountain", "fire"),
            (b"urn:service:sosfire", None),
            (b"urn:service:counseling", None),
            (b"sip:sos@service", None),
        ):
            self.assertEqual(self.exactly(uri), found, uri)

    def test_uris(self) -> None:
        self.lookup.addURI(SIPURI.parse(b"sip:bob@h;user=phone"), "phone")
        self.lookup.addURI(SIPURI.parse(b"sip:bob@h"), "bob")
        self.assertEqual(self.exactly(b"sip:bob@H"), "bob")
        self.assertEqual(self.exactly(b"sip:bob@h;user=phone"), "phone")
        self.assertEqual(self.exactly(b"sip:bob@h;user=ip"), None)

    def test_prefixes(self) -> None:
        self.lookup.addPrefix(b"+49", "far")
        self.lookup.addPrefix(b"+4930", "near")
        for user, found in ((b"+49301", "near"), (b"+49311", "far"), (b"+4", None), (b"", None)):
            self.assertEqual(self.lookup.byPrefix(user), found)
