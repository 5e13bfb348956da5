"""
Where a client's users are.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipgrace.client.users import Contact, Users
from sipgrace.message.uri import SIPURI
from sipgrace.proxy.target import Hop


class Registered:
    """
    Users who have registered, by URI.
    """

    def __init__(self) -> None:
        self.known: dict[bytes, list[Contact]] = {}

    def places(self, uri: bytes) -> list[Contact]:
        return self.known.get(uri, [])

    def knows(self, uri: bytes) -> bool:
        return uri in self.known

    def way(self, uri: SIPURI) -> None:
        return None


class UsersTests(SynchronousTestCase):
    """
    The whole URI, then the address of record, then the longest prefix.
    """

    def setUp(self) -> None:
        self.users = Users()
        uri = SIPURI.parse
        self.users.addURI(uri(b"sip:bob@example.com;user=phone"), uri(b"sip:bob@192.0.2.9:5061"))
        self.users.addRecord(uri(b"sip:bob@Example.com"), uri(b"sip:192.0.2.9:5062;transport=tcp"))
        self.users.addPrefix(b"+49", uri(b"sip:pbx:5063"))
        self.users.addPrefix(b"+4930", uri(b"sip:reception@pbx:5064?Subject=x"))
        self.users.addPrefix(b"1", uri(b"sips:[2001:db8::1]"))

    def test_services(self) -> None:
        """
        Who answers for a service, and for what is a part of it.
        """
        self.assertEqual(self.users.find(b"urn:service:sos"), None)
        self.users.addService(b"urn:service:sos", SIPURI.parse(b"sip:desk@192.0.2.8"))
        for uri in (b"urn:service:sos", b"URN:service:sos.fire"):
            self.assertEqual(
                self.users.find(uri), Contact(Hop(b"UDP", "192.0.2.8", 5060), b"sip:desk@192.0.2.8")
            )
        self.assertEqual(self.users.find(b"urn:service:counseling"), None)

    def test_found(self) -> None:
        for uri, hop, contact in (
            (b"sip:bob@EXAMPLE.com;user=phone", (b"UDP", "192.0.2.9", 5061), b"sip:bob@192.0.2.9:5061"),
            (b"sip:%62ob@example.com;user=phone", (b"UDP", "192.0.2.9", 5061), b"sip:bob@192.0.2.9:5061"),
            # An address of record has no parameters; a contact without a user is left so.
            (b"sip:bob@example.com", (b"TCP", "192.0.2.9", 5062), b"sip:192.0.2.9:5062;transport=tcp"),
            (
                b"sip:bob@example.com:5099;lr",
                (b"TCP", "192.0.2.9", 5062),
                b"sip:192.0.2.9:5062;transport=tcp",
            ),
            # A prefix keeps the user, as it can stand in a SIP URI.
            (b"sip:+4940@anywhere", (b"UDP", "pbx", 5063), b"sip:+4940@pbx:5063"),
            (b"sip:+49%20a@anywhere", (b"UDP", "pbx", 5063), b"sip:+49%20a@pbx:5063"),
            (b"tel:+49-40", (b"UDP", "pbx", 5063), b"sip:+4940@pbx:5063"),
            (b"sip:+49", (b"UDP", "pbx", 5063), None),
            # Unless the contact names one. A Request-URI has no header fields.
            (b"sip:+4930110@anywhere", (b"UDP", "pbx", 5064), b"sip:reception@pbx:5064"),
            (b"sip:110@anywhere", (b"TLS", "2001:db8::1", 5061), b"sips:110@[2001:db8::1]"),
        ):
            found = self.users.find(uri)
            if contact is None:
                self.assertEqual(found, None, uri)
            else:
                self.assertEqual(found, (Hop(*hop), contact, None), uri)

    def test_notFound(self) -> None:
        for uri in (
            b"sip:carol@example.com",
            b"sip:bob@example.org",
            b"sip:example.com",
            b"tel:2",
            b"sip:+4@x",
        ):
            self.assertEqual(self.users.find(uri), None, uri)

    def test_registered(self) -> None:
        """
        Who is named stays there; who is registered is not looked for by a prefix; who is not, is.
        """
        self.users.registered = registered = Registered()
        contact = Contact(Hop(b"UDP", "192.0.2.10", 5060), b"sip:phone@192.0.2.10")
        other = Contact(Hop(b"UDP", "192.0.2.11", 5060), b"sip:phone@192.0.2.11")
        for uri, found in (
            (b"sip:bob@example.com", b"sip:192.0.2.9:5062;transport=tcp"),
            (b"sip:bob@example.com;user=phone", b"sip:bob@192.0.2.9:5061"),
            (b"sip:+4940@example.com", b"sip:+4940@pbx:5063"),
            (b"sip:carol@example.com", None),
        ):
            registered.known = {}
            places = [place.uri for place in self.users.places(uri)]
            self.assertEqual(places, [] if found is None else [found])
            self.assertEqual(self.users.isAway(uri), False)
            registered.known[uri] = [contact, other]
            named = b"bob" in uri
            expected = [found] if named else [contact.uri, other.uri]
            self.assertEqual([place.uri for place in self.users.places(uri)], expected)

    def test_away(self) -> None:
        """
        Who may register, and has not.
        """
        self.users.registered = registered = Registered()
        registered.known = {b"sip:carol@example.com": [], b"sip:+4940@example.com": []}
        self.assertEqual(self.users.isAway(b"sip:carol@example.com"), True)
        self.assertEqual(self.users.isAway(b"sip:+4940@example.com"), False)
        self.assertEqual(self.users.isAway(b"sip:dave@example.com"), False)

    def test_nobody(self) -> None:
        self.assertEqual(Users().find(b"sip:bob@example.com"), None)
