"""
A client's interface as a registrar.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.client.bindings import Binding, Bindings, Source
from sipgrace.client.digest import Digest, credentials
from sipgrace.client.registrar import Registrar, RegistrarSettings
from sipgrace.client.role import INTERFACE, NETWORK
from sipgrace.interfaces import IAssociation
from sipgrace.message.message import Request, Response
from sipgrace.message.parser import parse
from sipgrace.message.uri import SIPURI
from sipgrace.proxy.identity import Identity
from sipgrace.testing import MemoryElement, MemoryNetwork, Recorder
from tests.proxyrig import Line
from tests.test_client_bindings import ALICE, MemoryKeeper
from tests.test_client_digest import answer

PHONE = b"<sip:alice@192.0.2.10:5060>"


class Transaction:
    """
    Keeps what it is answered.
    """

    def __init__(self, association: IAssociation) -> None:
        self.association = association
        self.responses: list[Response] = []

    def respond(self, response: Response) -> None:
        self.responses.append(parse(response.toBytes()))


class RegistrarCase(SynchronousTestCase):
    """
    The interface of a client at 192.0.2.1, registrar of example.org; and Alice's telephone at 192.0.2.10.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.identity = Identity()
        self.identity.addListener(
            MemoryElement(MemoryNetwork(), Recorder(), "192.0.2.1", 5060, b"UDP", ""), INTERFACE
        )
        self.keeper = MemoryKeeper()
        self.bindings = Bindings(self.clock, self.clock.seconds, self.keeper)
        self.successResultOf(self.bindings.open())
        self.line = self.association("192.0.2.10", 5060)
        self.peers: dict[Source, IAssociation] = {}
        self.registrar = self.make()
        self.cseq = 0

    def make(self, **changes: Any) -> Registrar:
        algorithms = (b"SHA-256", b"MD5")
        users = {
            user: credentials(user, b"example.org", b"secret", algorithms) for user in (b"alice", b"b c")
        }
        self.digest = Digest(b"example.org", users, self.clock.seconds)
        settings = RegistrarSettings((b"example.org", b"example.net"), users, **changes)
        return Registrar(
            self.clock,
            self.identity,
            self.bindings,
            self.digest,
            settings,
            self.clock.seconds,
            INTERFACE,
            self.peers.get,
        )

    def association(self, host: str, port: int, transport: bytes = b"UDP", zone: str = INTERFACE) -> Any:
        line: Any = Line(lambda event: None, "caller", transport, zone)
        line.peerHost, line.peerPort = host, port
        return line

    def request(self, *contacts: bytes, user: bytes = b"alice", **changes: Any) -> Request:
        """
        A REGISTER, the next in its Call-ID, without credentials.

        @param changes: C{uri}, C{to}, C{callId}, C{cseq}, C{via}, and C{headers}: more of them.
        """
        self.cseq += 1
        record = changes.get("to", b"<sip:%b@example.org>" % user)
        return Request.make(
            b"REGISTER",
            changes.get("uri", b"sip:example.org"),
            [
                *[
                    (b"Via", via + b";branch=z9hG4bK%d" % self.cseq)
                    for via in changes.get("vias", [b"SIP/2.0/UDP 192.0.2.10:5060"])
                ],
                (b"Max-Forwards", b"70"),
                (b"From", b"<sip:alice@example.org>;tag=1"),
                (b"To", record),
                (b"Call-ID", changes.get("callId", b"call")),
                (b"CSeq", b"%d REGISTER" % changes.get("cseq", self.cseq)),
                *((b"Contact", contact) for contact in contacts),
                *changes.get("headers", ()),
            ],
        )

    def ask(self, request: Request, line: Any = None) -> Response:
        """
        The answer to a request as it is.
        """
        transaction = Transaction(line or self.line)
        self.assertTrue(self.registrar.registerReceived(transaction, request))
        (response,) = transaction.responses
        return response

    def signed(self, request: Request, user: bytes = b"alice") -> Request:
        """
        A request with Alice's credentials.
        """
        (challenge, _) = self.digest.challenges(user)
        request.set(b"Authorization", answer(challenge, user, uri=request.uri))
        return request

    def register(
        self, *contacts: bytes, user: bytes = b"alice", line: Any = None, **changes: Any
    ) -> Response:
        """
        The answer to one with good credentials.
        """
        return self.ask(self.signed(self.request(*contacts, user=user, **changes), user), line)

    def refuses(self, status: int, reason: bytes, *contacts: bytes, **changes: Any) -> Response:
        """
        Checks that this is refused, and changes nothing.
        """
        before = self.bindings.of(ALICE)
        response = self.register(*contacts, **changes)
        self.assertEqual((response.status, response.reason), (status, reason))
        self.assertEqual(response.getAll(b"Contact"), [])
        self.assertEqual(self.bindings.of(ALICE), before)
        return response


class AuthenticationTests(RegistrarCase):
    """
    Who may register.
    """

    def test_challenged(self) -> None:
        """
        RFC 8760 §2.4: a challenge for each algorithm, SHA-256 first; either answer will do.
        """
        for which in (0, 1):
            response = self.ask(self.request(PHONE))
            self.assertEqual(response.status, 401)
            challenges = response.getAll(b"WWW-Authenticate")
            self.assertEqual([b"algorithm=SHA-256," in one for one in challenges], [True, False], "the order")
            self.assertEqual([b"algorithm=MD5," in one for one in challenges], [False, True])
            self.assertEqual([b'qop="auth"' in one for one in challenges], [True, True])
            self.assertEqual([b"stale" in one for one in challenges], [False, False])
            again = self.request(PHONE)
            again.add(b"Authorization", answer(challenges[which]))
            self.assertEqual(self.ask(again).status, 200)
        self.assertEqual(self.bindings.counts(), {"users": 1, "bindings": 1})

    def test_stale(self) -> None:
        """
        What was heard on the way is worth nothing the second time; the telephone need not ask its user.
        """
        request = self.signed(self.request(PHONE))
        self.assertEqual(self.ask(request).status, 200)
        response = self.ask(request)
        self.assertEqual(response.status, 401)
        self.assertTrue(all(b"stale=true" in one for one in response.getAll(b"WWW-Authenticate")))
        self.assertEqual(self.registrar.status()["refused"], 0)

    def test_wrong(self) -> None:
        """
        Wrong credentials are challenged anew, counted, and said in the log once a second for each host.
        """
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        for _ in range(3):
            request = self.request(PHONE)
            request.add(b"Authorization", answer(self.digest.challenges(b"alice")[0], password=b"guess"))
            response = self.ask(request)
            self.assertEqual(response.status, 401)
            self.assertNotIn(b"stale", response.get(b"WWW-Authenticate") or b"")
        self.assertEqual(self.bindings.counts()["users"], 0)
        self.assertEqual(self.registrar.status(), {"users": 0, "bindings": 0, "refused": 3})
        said = [
            event["log_format"] for event in events if "wrong credentials" in str(event.get("log_format"))
        ]
        self.assertEqual(len(said), 1)

    def test_others(self) -> None:
        """
        Nobody registers for somebody else.
        """
        request = self.request(PHONE, to=b"<sip:b%20c@example.org>")
        self.assertEqual(self.ask(self.signed(request)).status, 403)
        self.assertEqual(self.bindings.counts()["users"], 0)

    def test_escapes(self) -> None:
        """
        A user is the same with and without escapes.
        """
        response = self.register(PHONE, user=b"b c", to=b"<sip:b%20%63@EXAMPLE.org>")
        self.assertEqual(response.status, 200)
        self.assertEqual(len(self.bindings.of((b"b c", b"example.org"))), 1)
        self.assertEqual(len(self.registrar.places(b"sip:%62%20c@example.org")), 1)

    def test_malformed(self) -> None:
        for value in (b'Digest username="alice', b"Digest a=1, a=1"):
            request = self.request(PHONE)
            request.add(b"Authorization", value)
            self.assertEqual(self.ask(request).status, 400)

    def test_second(self) -> None:
        """
        Of several credentials one is enough: those for other realms may come along.
        """
        request = self.signed(self.request(PHONE))
        request.insert(b"Authorization", b'Digest username="alice", realm="elsewhere", response="x"')
        self.assertEqual(self.ask(request).status, 200)


class OursTests(RegistrarCase):
    """
    What is for this registrar, and what is not.
    """

    def goesOn(self, line: Any = None, **changes: Any) -> None:
        transaction = Transaction(line or self.line)
        taken = self.registrar.registerReceived(transaction, self.request(PHONE, **changes))
        self.assertEqual((taken, transaction.responses), (False, []))

    def test_elsewhere(self) -> None:
        """
        Other domains, other sides, other routes: those go the way of all requests.
        """
        for uri in (b"sip:example.com", b"tel:+49", b"sip:192.0.2.1:5070"):
            self.goesOn(uri=uri)
        self.goesOn(self.association("192.0.2.9", 5060, b"SCTP", NETWORK))
        self.goesOn(headers=[(b"Route", b"<sip:192.0.2.1;lr>, <sip:other.example;lr>")])

    def test_here(self) -> None:
        """
        Each domain, our own address (for the first domain), and what came by a Route to us.
        """
        self.assertEqual(
            self.register(PHONE, uri=b"sip:EXAMPLE.net", to=b"sip:alice@example.net").status, 200
        )
        self.assertEqual(len(self.bindings.of((b"alice", b"example.net"))), 1)
        self.assertEqual(len(self.bindings.of(ALICE)), 0)
        response = self.register(PHONE, uri=b"sip:192.0.2.1:5060", to=b"sip:alice@192.0.2.1")
        self.assertEqual(response.status, 200)
        self.assertEqual(len(self.bindings.of(ALICE)), 1)
        response = self.register(PHONE, headers=[(b"Route", b"<sip:192.0.2.1;lr>")])
        self.assertEqual(response.status, 200)

    def test_malformedRoute(self) -> None:
        response = self.ask(self.request(PHONE, headers=[(b"Route", b"<sip:@@@>")]))
        self.assertEqual(response.status, 400)

    def test_nobodys(self) -> None:
        """
        An address of record elsewhere.
        """
        for to in (b"<sip:alice@example.com>", b"<tel:+49>"):
            self.assertEqual(self.register(PHONE, to=to).status, 404)

    def test_required(self) -> None:
        response = self.register(PHONE, headers=[(b"Require", b"path, gruu")])
        self.assertEqual((response.status, response.get(b"Unsupported")), (420, b"path, gruu"))


class BindingTests(RegistrarCase):
    """
    RFC 3261 §10.3, steps 6 to 8.
    """

    def test_asked(self) -> None:
        """
        Without Contact it is a question.
        """
        response = self.register()
        self.assertEqual((response.status, response.getAll(b"Contact")), (200, []))
        self.assertEqual(self.keeper.writes, [])
        self.register(PHONE)
        self.clock.advance(600)
        response = self.register(callId=b"other")
        self.assertEqual(response.elements(b"Contact"), [PHONE + b";expires=3000"])
        self.assertEqual(response.get(b"Date"), b"Thu, 01 Jan 1970 00:26:40 GMT")

    def test_written(self) -> None:
        """
        Nobody is told 200 before it is written.
        """
        self.keeper.slow = True
        transaction = Transaction(self.line)
        request = self.signed(self.request(PHONE))
        self.registrar.registerReceived(transaction, request)
        self.assertEqual(transaction.responses, [])
        self.keeper.pending[0].callback(None)
        self.assertEqual([response.status for response in transaction.responses], [200])
        self.assertEqual(self.registrar._locks, {})

    def test_notWritten(self) -> None:
        """
        A full disk is 500, and the next one may fare better.
        """
        self.keeper.slow = True
        transactions = [Transaction(self.line), Transaction(self.line)]
        for transaction in transactions:
            request = self.signed(self.request(PHONE))
            self.registrar.registerReceived(transaction, request)
        self.keeper.pending[0].errback(sqlite3.OperationalError("database or disk is full"))
        self.assertEqual(self.bindings.of(ALICE), [])
        # The second waited for the first.
        self.keeper.pending[1].callback(None)
        found = [[one.status for one in transaction.responses] for transaction in transactions]
        self.assertEqual(found, [[500], [200]])
        self.assertEqual(len(self.bindings.of(ALICE)), 1)
        self.assertEqual(self.registrar._locks, {})

    def test_oneAfterTheOther(self) -> None:
        """
        Each change stands on those before it, though they come faster than they can be written; and there is
        an end to how many wait.
        """
        self.keeper.slow = True
        transactions = []
        for number in range(13):
            transactions.append(Transaction(self.line))
            request = self.signed(self.request(b"<sip:alice@192.0.2.1%d>" % number, callId=b"%d" % number))
            self.registrar.registerReceived(transactions[-1], request)
        self.assertEqual([[one.status for one in last.responses] for last in transactions[-2:]], [[503]] * 2)
        self.assertEqual(transactions[-1].responses[0].get(b"Retry-After"), b"5")
        while self.keeper.pending:
            self.keeper.pending.pop(0).callback(None)
        self.assertEqual(
            [transaction.responses[0].status for transaction in transactions],
            [200] * 10 + [403] + [503] * 2,
        )
        self.assertEqual(len(self.bindings.of(ALICE)), 10)
        self.assertEqual(self.registrar._locks, {})

    def test_busy(self) -> None:
        """
        When the disk does not keep up at all.
        """
        self.patch(Bindings, "waiting", 1000)
        self.refuses(503, b"Service Unavailable", PHONE)
        self.assertEqual(self.registrar._locks, {})

    def test_expiry(self) -> None:
        """
        The contact's own period, else that of the request, else the usual one; within bounds. What is
        malformed counts as none.
        """
        for parameter, header, left in (
            (b"", None, 3600),
            (b"", b"600", 600),
            (b";expires=900", b"600", 900),
            (b";expires=86400", None, 7200),
            (b";expires=99999999999999999999", None, 7200),
            (b";expires=soon", b"600", 3600),
            (b"", b"-1", 3600),
            (b";expires=60", None, 60),
        ):
            headers = [] if header is None else [(b"Expires", header)]
            response = self.register(PHONE + parameter, headers=headers)
            self.assertEqual(response.elements(b"Contact"), [PHONE + b";expires=%d" % left])

    def test_tooBrief(self) -> None:
        """
        423 says what would be long enough; nobody who asks for an hour is told so.
        """
        for contact, headers in ((PHONE + b";expires=59", []), (PHONE, [(b"Expires", b"1")])):
            response = self.refuses(423, b"Interval Too Brief", contact, headers=headers)
            self.assertEqual(response.get(b"Min-Expires"), b"60")
        self.registrar = self.make(shortest=7000, usual=7200)
        self.refuses(423, b"Interval Too Brief", PHONE + b";expires=3599")
        response = self.register(PHONE + b";expires=3600")
        self.assertEqual(response.elements(b"Contact"), [PHONE + b";expires=3600"])

    def test_several(self) -> None:
        """
        Several places, in one request and in several, preferred by q; of equals the later one first.
        """
        self.register(
            b"<sip:a@192.0.2.11>;q=0.5, <sip:b@192.0.2.12>;q=0.25;expires=120", b"<sip:c@192.0.2.13>"
        )
        response = self.register(b"<sip:d@192.0.2.14>;q=1.0", callId=b"other")
        self.assertEqual(
            response.elements(b"Contact"),
            [
                b"<sip:d@192.0.2.14>;expires=3600",
                b"<sip:c@192.0.2.13>;expires=3600",
                b"<sip:a@192.0.2.11>;expires=3600;q=0.500",
                b"<sip:b@192.0.2.12>;expires=120;q=0.250",
            ],
        )
        found = [place.uri for place in self.registrar.places(b"sip:alice@example.org")]
        self.assertEqual([uri[4:5] for uri in found], [b"d", b"c", b"a", b"b"])

    def test_q(self) -> None:
        """
        A q that is none counts as the highest.
        """
        for q, found in (
            (b"0", b";q=0.000"),
            (b"0.1234", b";q=0.123"),
            (b"1.000", b""),
            (b"1.5", b""),
            (b"nan", b""),
            (b"1e9", b""),
            (b"-1", b""),
        ):
            response = self.register(PHONE + b";q=" + q)
            self.assertEqual(response.elements(b"Contact"), [PHONE + b";expires=3600" + found])

    def test_same(self) -> None:
        """
        Which contacts are one is for RFC 3261 §19.1.4 to say.
        """
        self.register(b"<sip:alice@phone.example;transport=tcp>")
        self.register(b"<sip:%61lice@PHONE.example;transport=TCP;x=y>")
        self.assertEqual(
            [one.uri for one in self.bindings.of(ALICE)], [b"sip:%61lice@PHONE.example;transport=TCP;x=y"]
        )
        self.register(b"<sip:alice@phone.example>")
        self.assertEqual(len(self.bindings.of(ALICE)), 2)
        self.register(b"<sip:alice@192.0.2.3>;expires=600, <sip:alice@192.0.2.3>;expires=700")
        self.assertEqual(self.bindings.of(ALICE)[0].expires, 1700)
        self.assertEqual(len(self.bindings.of(ALICE)), 3)

    def test_removed(self) -> None:
        """
        One with Expires: 0, or all of them.
        """
        self.register(PHONE, b"<sip:a@192.0.2.11>")
        response = self.register(PHONE + b";expires=0")
        self.assertEqual(response.elements(b"Contact"), [b"<sip:a@192.0.2.11>;expires=3600"])
        # It is as well that what is not there goes.
        response = self.register(PHONE, headers=[(b"Expires", b"0")])
        self.assertEqual(len(response.elements(b"Contact")), 1)
        response = self.register(b"*", callId=b"other", cseq=1, headers=[(b"Expires", b"0")])
        self.assertEqual((response.status, response.elements(b"Contact")), (200, []))
        self.assertEqual(self.keeper.rows, {ALICE: []})

    def test_asterisk(self) -> None:
        """
        With anything else it is a mistake.
        """
        self.register(PHONE)
        self.refuses(400, b"Contact * Without Expires: 0", b"*")
        self.refuses(400, b"Contact * Without Expires: 0", b"*", headers=[(b"Expires", b"600")])
        for contacts in ((b"*", PHONE), (PHONE + b", *",), (b"*", b"*")):
            self.refuses(400, b"Contact * Among Others", *contacts, headers=[(b"Expires", b"0")])
        response = self.register(b"*;x=y", headers=[(b"Expires", b"0")])
        self.assertEqual((response.status, len(self.bindings.of(ALICE))), (400, 1))

    def test_order(self) -> None:
        """
        Within a Call-ID the CSeq must rise; one that comes late changes nothing at all. Another Call-ID is
        another story: the telephone has been restarted.
        """
        self.register(PHONE, cseq=5)
        late = b"REGISTER Out Of Order"
        for cseq in (4, 5):
            self.refuses(500, late, b"<sip:a@192.0.2.11>", PHONE, cseq=cseq)
            self.refuses(500, late, PHONE + b";expires=0", cseq=cseq)
            self.refuses(500, late, b"*", cseq=cseq, headers=[(b"Expires", b"0")])
        self.assertEqual(self.register(b"<sip:a@192.0.2.11>", cseq=3).status, 200)
        self.assertEqual(self.register(PHONE + b";expires=0", cseq=1, callId=b"other").status, 200)
        self.assertEqual(len(self.bindings.of(ALICE)), 1)

    def test_badContacts(self) -> None:
        for contact, status, reason in (
            (b"<tel:+49>", 400, b"Contact That Is No SIP URI"),
            (b"<http://example.org>", 400, b"Contact That Is No SIP URI"),
            (b"<sip:a@192.0.2.9;transport=carrier>", 400, b"Contact With Unknown Transport"),
            (b"<sip:%b@192.0.2.9>" % (b"a" * 500), 400, b"Contact Too Long"),
            (b"<sip:alice@192.0.2.1>", 403, b"Contact That Leads Back Here"),
            (b"<sip:bob@example.org>", 403, b"Contact That Leads Back Here"),
        ):
            self.refuses(status, reason, PHONE, contact)
        for contact in (b"<sip:@>", b"<sip:a@192.0.2.9", b"nonsense", b"<sip:a@192.0.2.9>;;", b"<sip:a@b:0>"):
            self.assertEqual(self.register(PHONE, contact).status, 400, contact)
        self.assertEqual(self.keeper.writes, [])

    def test_many(self) -> None:
        """
        So many places and no more.
        """
        self.registrar = self.make(most=2)
        places = [b"<sip:a@192.0.2.%d>" % number for number in range(11, 20)]
        self.assertEqual(self.register(*places[:2]).status, 200)
        self.refuses(403, b"Registered In Too Many Places", places[2])
        self.refuses(403, b"Too Many Contacts", *places[:5])
        moved = [place + b";expires=0" for place in places[:2]] + places[2:4]
        self.assertEqual(self.register(*moved).status, 200)
        self.assertEqual(self.register(*places[2:4]).status, 200)

    def test_fits(self) -> None:
        """
        The answer to whoever registers in as many places as can be, each as long as can be, is one datagram.
        """
        self.registrar = self.make(most=50)
        places = [b"<sip:%b%03d@192.0.2.9>;q=0.5" % (b"a" * 480, number) for number in range(50)]
        response = self.register(*places)
        self.assertEqual((response.status, len(response.elements(b"Contact"))), (200, 50))
        self.assertLess(len(response.toBytes()), 32768)

    def test_mistake(self) -> None:
        """
        A mistake of our own is 500, too.
        """
        self.patch(self.registrar, "_lasting", lambda asked: 1 / 0)
        self.assertEqual(self.register(PHONE).status, 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.registrar._locks, {})


class PlaceTests(RegistrarCase):
    """
    Where calls go.
    """

    def test_records(self) -> None:
        """
        By the domain or by our own address; not for others.
        """
        self.register(PHONE)
        for uri in (b"sip:alice@example.org", b"sip:alice@EXAMPLE.ORG:5062;x", b"sip:alice@192.0.2.1"):
            (place,) = self.registrar.places(uri)
            self.assertEqual((place.hop, place.uri), ((b"UDP", "192.0.2.10", 5060), PHONE[1:-1]))
            self.assertEqual(self.registrar.knows(uri), True)
        others = (b"sip:alice@example.net", b"sip:bob@example.org", b"sip:alice@other.example")
        for uri in (*others, b"tel:1", b"@"):
            self.assertEqual(self.registrar.places(uri), [])
        self.assertEqual(self.registrar.knows(b"sip:alice@example.net"), True)
        self.assertEqual(self.registrar.knows(b"sip:bob@example.org"), False)
        self.assertEqual(self.registrar.knows(b"sip:alice@other.example"), False)
        self.clock.advance(3600)
        self.assertEqual(self.registrar.places(b"sip:alice@example.org"), [])

    def way(self, contact: bytes, line: Any, *vias: bytes) -> Any:
        """
        The way to where this REGISTER came from.
        """
        response = self.register(contact, line=line, vias=vias or [b"SIP/2.0/UDP 192.0.2.10:5060"])
        self.assertEqual(response.status, 200)
        place = self.registrar.places(b"sip:alice@example.org")[0]
        uri = SIPURI.parse(contact.strip(b"<>"))
        self.assertEqual(self.registrar.way(uri), place.association)
        return place.association

    def test_behindNAT(self) -> None:
        """
        A telephone that calls itself what it does not look like from here is called at the address it was
        seen at, from the listener that saw it. After a restart, too.
        """
        line = self.association("198.51.100.7", 40001)
        source = Source(line.via, "198.51.100.7", 40001)
        self.peers[source] = line
        self.assertIs(self.way(PHONE, line), line)
        self.assertEqual(self.bindings.of(ALICE)[0].source, source)
        # It has learned what it looks like.
        self.assertIs(self.way(b"<sip:alice@198.51.100.7:40001>", line), line)
        # The listener, or the peer, has gone: what remains is the URI.
        line.up = False
        self.assertEqual(self.way(PHONE, line), None)
        del self.peers[source]
        self.assertEqual(self.way(PHONE, line), None)

    def test_connection(self) -> None:
        """
        Over TCP it is the connection, as long as that is there.
        """
        line = self.association("198.51.100.7", 40001, b"TCP")
        contact = b"<sip:alice@192.0.2.10:34567;transport=tcp>"
        self.assertIs(self.way(contact, line, b"SIP/2.0/TCP 192.0.2.10:5060"), line)
        line.up = False
        (place,) = self.registrar.places(b"sip:alice@example.org")
        self.assertEqual((place.association, place.hop.port), (None, 34567))

    def test_forAnother(self) -> None:
        """
        Whoever registers another telephone, or is behind a proxy, is not what is to be called.
        """
        line = self.association("198.51.100.7", 40001)
        self.peers[Source(line.via, "198.51.100.7", 40001)] = line
        via = b"SIP/2.0/UDP 192.0.2.10:5060"
        for contact in (
            b"<sip:alice@192.0.2.10:5070>",
            b"<sip:alice@192.0.2.11:5060>",
            b"<sip:alice@192.0.2.10:5060;transport=tcp>",
        ):
            self.assertEqual(self.way(contact, line, via), None, contact)
        self.assertEqual(self.way(PHONE, line, via, b"SIP/2.0/UDP 192.0.2.10:5060"), None)
        tcp = self.association("198.51.100.7", 40001, b"TCP")
        self.assertEqual(
            self.way(b"<sip:a@192.0.2.12;transport=tcp>", tcp, via.replace(b"UDP", b"TCP")), None
        )

    def test_status(self) -> None:
        self.register(PHONE, b"<sip:a@192.0.2.11>")
        self.register(PHONE, user=b"b c", to=b"<sip:b%20c@example.org>")
        self.assertEqual(self.registrar.status(), {"users": 2, "bindings": 3, "refused": 0})
        self.assertIsInstance(self.bindings.of(ALICE)[0], Binding)
