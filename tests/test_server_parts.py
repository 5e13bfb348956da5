"""
What the server role decides by: the routing table, access and rejections, who its clients are.
"""

from __future__ import annotations

from ipaddress import ip_network

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.message.uri import SIPURI
from sipgrace.server.clients import Clients, Network
from sipgrace.server.routing import Route, RoutingTable
from sipgrace.server.rules import Access, Facts, Party, Rejection, firstRejection
from sipgrace.testing import MemoryAssociation, MemoryElement, MemoryNetwork, Recorder

LOST = Failure(ConnectionDone())


def network(text: str) -> Network:
    return ip_network(text)


class RoutingTests(SynchronousTestCase):
    """
    The most particular line is found.
    """

    def setUp(self) -> None:
        self.table = RoutingTable()
        for name, add, argument in (
            ("exact", self.table.addURI, SIPURI.parse(b"sip:+4930110@example.com")),
            ("exact with port", self.table.addURI, SIPURI.parse(b"sip:+4930110@example.com:5070")),
            ("berlin", self.table.addPrefix, b"+4930"),
            ("germany", self.table.addPrefix, b"+49"),
            ("example", self.table.addDomain, b"Example.com"),
            ("ipv6", self.table.addDomain, b"[2001:db8::1]"),
        ):
            add(argument, Route((name,)))

    def found(self, uri: bytes) -> str | None:
        route = self.table.find(uri)
        return None if route is None else str(route.to[0])

    def test_order(self) -> None:
        for uri, name in (
            (b"sip:+4930110@example.com", "exact"),
            (b"sip:+49%330110@EXAMPLE.COM", "exact"),
            (b"sip:+4930110@example.com:5070", "exact with port"),
            (b"sip:+4930110@example.com:5080", "berlin"),
            (b"sip:+4930110@example.com;transport=tcp", "berlin"),
            (b"sip:+4930111@example.com", "berlin"),
            (b"sip:+49301@elsewhere.org", "berlin"),
            (b"sip:+49%330x@elsewhere.org", "berlin"),
            (b"tel:+49-30-1", "berlin"),
            (b"sip:+4940@elsewhere.org", "germany"),
            (b"sip:+49@elsewhere.org", "germany"),
            (b"sip:+4@example.com", "example"),
            (b"sip:bob@EXAMPLE.com:5070;lr", "example"),
            (b"sip:example.com", "example"),
            (b"sip:bob@[2001:DB8::1]:5060", "ipv6"),
            (b"sip:bob@sub.example.com", None),
            (b"tel:110", None),
        ):
            self.assertEqual(self.found(uri), name, uri)

    def test_everyDomain(self) -> None:
        self.assertIsNone(self.found(b"sip:bob@elsewhere.org"))
        # What was looked for before is looked for anew.
        self.table.addDomain(b"*", Route(("default",)))
        for uri, name in (
            (b"sip:bob@elsewhere.org", "default"),
            (b"tel:110", "default"),
            (b"sip:bob@example.com", "example"),
        ):
            self.assertEqual(self.found(uri), name, uri)

    def test_redirects(self) -> None:
        """
        Known from outside, so that nobody looks for redirections where there are none.
        """
        self.assertFalse(self.table.redirects)
        self.table.addPrefix(b"1", Route(redirect=SIPURI.parse(b"sip:h")))
        self.assertTrue(self.table.redirects)


class ClientsTests(SynchronousTestCase):
    """
    Clients are known by where they come from.
    """

    def setUp(self) -> None:
        self.clients = Clients(
            [
                ("edge", [network("192.0.2.0/24"), network("2001:db8::/32")]),
                ("inner", [network("192.0.2.64/26")]),
                ("none", []),
            ]
        )
        self.element = MemoryElement(MemoryNetwork(), Recorder(), "192.0.2.1", 5060, b"SCTP", "network")

    def association(self, host: str, transport: bytes = b"SCTP", port: int = 5060) -> MemoryAssociation:
        made = MemoryAssociation(
            self.element.network,
            self.element.user,
            transport,
            "network",
            ("192.0.2.1", 5060),
            (host, port),
            False,
            None,
        )
        self.clients.associationMade(made)
        return made

    def test_names(self) -> None:
        """
        The narrower network counts.
        """
        for host, name in (
            ("192.0.2.5", "edge"),
            ("192.0.2.65", "inner"),
            ("198.51.100.1", ""),
            ("2001:db8::7", "edge"),
            ("2001:db8::7%eth0", "edge"),
            ("client.example.com", ""),
        ):
            self.assertEqual(self.clients.nameAt(host), name)
            self.assertEqual(self.clients.nameAt(host), name)

    def test_bounded(self) -> None:
        """
        Whoever comes by from all over the world costs no memory for ever.
        """
        for number in range(10_500):
            self.clients.nameAt(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        self.assertEqual(len(self.clients._names), 500)

    def test_associations(self) -> None:
        """
        The newest that is up.
        """
        self.assertEqual(self.clients.associationTo("edge"), None)
        first = self.association("192.0.2.5")
        second = self.association("192.0.2.5")
        stranger = self.association("198.51.100.1")
        self.assertIs(self.clients.associationTo("edge"), second)
        second.up = False
        self.assertIs(self.clients.associationTo("edge"), first)
        self.assertEqual(self.clients.status(), {"edge": 1, "?": 1})
        self.clients.associationLost(second, LOST)
        self.clients.associationLost(first, LOST)
        self.clients.associationLost(stranger, LOST)
        # One that nobody knows of.
        self.clients.associationLost(stranger, LOST)
        self.assertEqual(self.clients.associationTo("edge"), None)
        self.assertEqual(self.clients.status(), {"edge": 0, "?": 0})

    def test_from(self) -> None:
        """
        By address and transport, though what was remembered of addresses has been forgotten.
        """
        sctp = self.association("192.0.2.5")
        self.association("192.0.2.5", b"TCP")
        self.association("192.0.2.6")
        self.clients._names.clear()
        self.assertIs(self.clients.associationFrom("192.0.2.5", b"SCTP"), sctp)
        self.assertEqual(self.clients.associationFrom("192.0.2.5", b"TLS"), None)
        self.assertEqual(self.clients.associationFrom("192.0.2.7", b"SCTP"), None)
        self.assertEqual(self.clients.associationFrom("client.example.com", b"SCTP"), None)
        sctp.up = False
        self.assertEqual(self.clients.associationFrom("192.0.2.5", b"SCTP"), None)

    def test_opened(self) -> None:
        """
        What we have opened to a client is the client's, also where no network says so.
        """
        made = self.association("198.51.100.9")
        self.assertEqual(self.clients.associationTo("none"), None)
        self.clients.opened("none", made)
        self.assertIs(self.clients.associationTo("none"), made)
        self.assertEqual(self.clients.nameAt("198.51.100.9"), "none")
        self.clients._names.clear()
        self.assertEqual(self.clients.nameAt("198.51.100.9"), "none")
        self.clients.associationLost(made, LOST)
        self.assertEqual(self.clients.associationTo("none"), None)
        again = self.association("198.51.100.9")
        self.clients.opened("none", again)
        self.assertIs(self.clients.associationTo("none"), again)
        self.assertEqual(self.clients.status(), {"?": 0, "none": 1})

    def test_openedWithin(self) -> None:
        """
        Where a network says so it is there already, once.
        """
        made = self.association("192.0.2.5")
        self.clients.opened("edge", made)
        self.assertEqual(self.clients.status(), {"edge": 1})

    def test_openedAndAccess(self) -> None:
        """
        An address that turns out to be a client's, for the server has opened an association there, is judged
        anew.
        """
        welcome, unwelcome = Access(self.clients, ("none",), ()), Access(self.clients, None, ("none",))
        host = "203.0.113.77"
        self.assertEqual((welcome.permits(host), unwelcome.permits(host)), (False, True))
        self.clients.opened("none", self.association(host))
        self.assertEqual((welcome.permits(host), unwelcome.permits(host)), (True, False))


class AccessTests(SynchronousTestCase):
    """
    Who may use a server.
    """

    def test_lists(self) -> None:
        clients = Clients([("edge", [network("192.0.2.0/24")]), ("other", [network("198.51.100.0/24")])])
        inside, outside, stranger = "192.0.2.5", "198.51.100.5", "203.0.113.5"
        for allow, deny, permitted in (
            (None, (), [inside, outside, stranger]),
            (("edge",), (), [inside]),
            ((network("192.0.2.0/28"), "other"), (), [inside, outside]),
            (None, ("edge",), [outside, stranger]),
            (("edge",), (network("192.0.2.5/32"),), []),
            ((), (), []),
            (("nobody",), (), []),
        ):
            access = Access(clients, allow, deny)
            for _ in range(2):
                found = [host for host in (inside, outside, stranger) if access.permits(host)]
                self.assertEqual(found, permitted, (allow, deny))

    def test_bounded(self) -> None:
        access = Access(Clients([]), None, ())
        for number in range(10_500):
            access.permits(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        self.assertEqual(len(access._known), 500)


class RejectionTests(SynchronousTestCase):
    """
    Calls that are refused by where they come from or go to.
    """

    CALLER = Facts("192.0.2.5", "edge", b"+49301", b"a.example")
    CALLEE = Facts("198.51.100.7", "other", b"+331", b"198.51.100.7")

    def test_parties(self) -> None:
        """
        All that is given must fit.
        """
        for party, fits in (
            (Party(), True),
            (Party(network=network("192.0.2.0/24")), True),
            (Party(network=network("192.0.3.0/24")), False),
            (Party(network=network("2001:db8::/32")), False),
            (Party(client="edge"), True),
            (Party(client="other"), False),
            (Party(domain=b"a.example"), True),
            (Party(domain=b"*"), True),
            (Party(domain=b"example"), False),
            (Party(prefix=b"+4930"), True),
            (Party(prefix=b"+4931"), False),
            (Party(client="edge", prefix=b"+49"), True),
            (Party(client="edge", prefix=b"+33"), False),
        ):
            self.assertEqual(party.fits(self.CALLER), fits, party)

    def test_names(self) -> None:
        """
        A host name lies in no network; an address in brackets does.
        """
        party = Party(network=network("2001:db8::/32"))
        self.assertFalse(party.fits(Facts("h.example", "", b"", b"")))
        self.assertTrue(party.fits(Facts("[2001:db8::1]", "", b"", b"")))

    def test_first(self) -> None:
        """
        The first rule whose sides both fit.
        """
        rules = [
            Rejection(Party(client="edge"), Party(client="edge"), 600),
            Rejection(Party(client="edge"), Party(prefix=b"+33"), 403, b"No"),
            Rejection(Party(client="edge"), None, 480),
            Rejection(None, Party(client="other"), 481),
        ]
        self.assertIs(firstRejection(rules, self.CALLER, self.CALLEE), rules[1])
        self.assertIs(firstRejection(rules, self.CALLER, self.CALLER), rules[0])
        self.assertIs(firstRejection(rules[2:], self.CALLER, self.CALLEE), rules[2])
        self.assertIs(firstRejection(rules, self.CALLEE, self.CALLEE), rules[3])
        self.assertEqual(firstRejection(rules, self.CALLEE, self.CALLER), None)
        self.assertEqual(firstRejection([], self.CALLER, self.CALLEE), None)
