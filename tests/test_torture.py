"""
What becomes of messages that were written to break parsers: those of RFC 4475, where they lie beside
the repository, and our own in C{tests/messages}.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from sipgrace.errors import ParseError
from sipgrace.message.framing import StreamFramer
from sipgrace.message.headers import Date, NameAddr, RetryAfter, SubscriptionState, Via
from sipgrace.message.message import Request, Response
from sipgrace.message.params import unquote
from sipgrace.message.parser import parse
from sipgrace.message.uri import SIPURI, OtherURI, parseURI, sameURI

ROOT = Path(__file__).resolve().parent.parent
RFC4475 = ROOT.parent / "shared" / "rfc4475"
OWN = ROOT / "tests" / "messages"

#: Asserts what holds of a message that was taken.
Check = Callable[[SynchronousTestCase, Request | Response], None]


@dataclass(frozen=True)
class Accepted:
    """
    The parser takes it, and gives it back byte for byte.

    @ivar check: what is asserted of it besides; C{why} it may pass where RFC 4475 calls it invalid, or
        who refuses it above the parser.
    @ivar rest: how many bytes after the message are dropped.
    """

    check: Check
    why: str = ""
    rest: int = 0


@dataclass(frozen=True)
class Refused:
    """
    The parser refuses it and answers.
    """

    status: int
    reason: str


@dataclass(frozen=True)
class Dropped:
    """
    The parser refuses it and there is nobody to answer: a response, or an ACK.
    """

    reason: str


def values(**expected: object) -> Check:
    """
    A check of the message's attributes.
    """

    def check(test: SynchronousTestCase, message: Request | Response) -> None:
        found = {name: getattr(message, name) for name in expected}
        test.assertEqual(found, expected)

    return check


def raises(name: bytes, reader: Callable[[bytes], object], reason: str) -> Callable[..., None]:
    """
    A check that the message passes and that whoever reads this header field has C{ParseError}.
    """

    def check(test: SynchronousTestCase, message: Request | Response) -> None:
        value = message.get(name)
        assert value is not None
        error = test.assertRaises(ParseError, reader, value)
        test.assertEqual((error.reason, error.status), (reason, 400))

    return check


def wsinv(test: SynchronousTestCase, message: Request | Response) -> None:
    values(
        uri=b"sip:vivekg@chair-dnrc.example.com;unknownparam",
        branch=b"390skdjuw",
        sentBy=b"192.0.2.2",
        viaTransport=b"UDP",
        cseq=9,
        cseqMethod=b"INVITE",
        maxForwards=68,
        contentLength=150,
        hasRoute=True,
        callId=b"wsinv.ndaksdj@192.0.2.1",
        fromTag=b"98asjd8",
        toTag=b"1918181833n",
    )(test, message)
    test.assertEqual(message.get(b"Subject"), b"")
    test.assertEqual(message.get(b"NewFangledHeader"), b"newfangled value continued newfangled value")
    test.assertEqual(message.get(b"UnknownHeaderWithUnusualValue"), b";;,,;;,;")
    vias = [Via.parse(value) for value in message.elements(b"Via")]
    test.assertEqual(
        [(via.transport, via.sentBy, via.branch) for via in vias],
        [
            (b"UDP", b"192.0.2.2", b"390skdjuw"),
            (b"TCP", b"spindle.example.com", b"z9hG4bK9ikj8"),
            (b"UDP", b"192.168.255.111", b"z9hG4bK30239"),
        ],
    )
    contact = NameAddr.parse(message.elements(b"m")[0])
    test.assertEqual(unquote(contact.display), b'Quoted string ""')
    test.assertEqual(contact.params, ((b"newparam", b"newvalue"), (b"secondparam", None), (b"q", b"0.33")))
    test.assertEqual(unquote(NameAddr.parse(message.fromValue).display), b'J Rosenberg \\"')
    copy = message.copy()
    for branch in (b"z9hG4bK9ikj8", b"z9hG4bK30239", b""):
        copy.popVia()
        test.assertEqual(copy.branch, branch)
    test.assertFalse(copy.has(b"Via"))


def intmeth(test: SynchronousTestCase, message: Request | Response) -> None:
    method = b"!interesting-Method0123456789_*+`.%indeed'~"
    values(method=method, cseqMethod=method, cseq=139122385, branch=b"z9hG4bK-.!%66*_+`'~")(test, message)
    values(fromTag=b"_token~1'+`*%!-.", callId=b"intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{")(test, message)
    assert isinstance(message, Request)
    uri = SIPURI.parse(message.uri)
    test.assertEqual(uri.user, b"1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*")
    test.assertEqual(uri.password, b"&it+has=1,weird!*pas$wo~d_too.(doesn't-it)")
    test.assertEqual(unquote(NameAddr.parse(message.toValue).display), b"BEL:\x07 NUL:\x00 DEL:\x7f")
    test.assertEqual(message.get(b"extensionHeader-!.%*+_`'~"), "\ufeff\u5927\u505c\u96fb".encode())


def esc01(test: SynchronousTestCase, message: Request | Response) -> None:
    values(uri=b"sip:sips%3Auser%40example.com@example.net", maxForwards=87)(test, message)
    user = NameAddr.parse(message.toValue).uri
    test.assertTrue(sameURI(user, parseURI(b"sip:user@example.com")))
    contact = NameAddr.parse(message.elements(b"Contact")[0]).uri
    test.assertTrue(sameURI(contact, parseURI(b"sip:caller@host5.example.net;lr;name=value%2541")))


def escnull(test: SynchronousTestCase, message: Request | Response) -> None:
    contacts = [NameAddr.parse(value).uri for value in message.elements(b"Contact")]
    test.assertEqual([getattr(uri, "user", None) for uri in contacts], [b"%00", b"%00%00"])
    test.assertFalse(sameURI(contacts[0], contacts[1]))


def esc02(test: SynchronousTestCase, message: Request | Response) -> None:
    values(method=b"RE%47IST%45R", cseqMethod=b"RE%47IST%45R", branch=b"z9hG4bK209%fzsnel234")(test, message)
    test.assertEqual(unquote(NameAddr.parse(message.toValue).display), b"%Z%45")
    test.assertEqual(len(message.elements(b"Contact")), 2)
    test.assertEqual(message.get(b"C%6Fntact"), b"<sip:alias2@host2.example.com>")


def lwsdisp(test: SynchronousTestCase, message: Request | Response) -> None:
    source = NameAddr.parse(message.fromValue)
    test.assertEqual((source.display, bytes(source.uri)), (b"caller", b"sip:caller@example.com"))


def longreq(test: SynchronousTestCase, message: Request | Response) -> None:
    test.assertEqual(len(message.getAll(b"Via")), 34)
    test.assertEqual((message.branch, message.sentBy), (b"", b"sip33.example.com"))
    test.assertTrue(re.fullmatch(rb"1(298){40,60}2424", message.fromTag), message.fromTag)
    test.assertEqual(message.contentLength, 150)
    branch = Via.parse(message.elements(b"v")[-1]).branch
    test.assertTrue(re.fullmatch(rb"very(long){40,60}branchvalue", branch), branch)


def semiuri(test: SynchronousTestCase, message: Request | Response) -> None:
    assert isinstance(message, Request)
    uri = SIPURI.parse(message.uri)
    test.assertEqual((uri.user, uri.host, uri.params), (b"user;par=u%40example.net", b"example.com", ()))
    test.assertEqual(len(message.elements(b"Accept")), 6)


def transports(test: SynchronousTestCase, message: Request | Response) -> None:
    vias = [Via.parse(value).transport for value in message.elements(b"Via")]
    test.assertEqual(vias, [b"UDP", b"SCTP", b"TLS", b"UNKNOWN", b"TCP"])


def mpart01(test: SynchronousTestCase, message: Request | Response) -> None:
    values(contentLength=553, hasRoute=True, method=b"MESSAGE")(test, message)
    test.assertEqual(len(message.body), 553)
    test.assertTrue(message.body.endswith(b"--7a9cbec02ceef655--\r\n"))


def unreason(test: SynchronousTestCase, message: Request | Response) -> None:
    assert isinstance(message, Response)
    test.assertEqual(message.status, 200)
    test.assertTrue(message.reason.decode().startswith("= 2**3 * 5**2 \u043d\u043e"))


def baddate(test: SynchronousTestCase, message: Request | Response) -> None:
    raises(b"Date", Date.parse, "Malformed Date header field")(test, message)


def badaspec(test: SynchronousTestCase, message: Request | Response) -> None:
    values(toTag=b"", fromTag=b"433423")(test, message)
    test.assertEqual(bytes(NameAddr.parse(message.toValue).uri), b"sip:t.watson@example.org")


def otherURI(scheme: bytes) -> Check:
    def check(test: SynchronousTestCase, message: Request | Response) -> None:
        assert isinstance(message, Request)
        uri = parseURI(message.uri)
        assert isinstance(uri, OtherURI)
        test.assertEqual(uri.scheme, scheme)
        test.assertEqual(bytes(uri).lower(), message.uri.lower())
        test.assertEqual(test.assertRaises(ParseError, SIPURI.parse, message.uri).status, 416)

    return check


def unksm2(test: SynchronousTestCase, message: Request | Response) -> None:
    fields = [message.toValue, message.fromValue, message.get(b"Contact") or b""]
    uris = [NameAddr.parse(value).uri for value in fields]
    test.assertEqual([uri.scheme for uri in uris], [b"isbn", b"http", b"name"])
    test.assertEqual(message.fromTag, b"3234233")


def bext01(test: SynchronousTestCase, message: Request | Response) -> None:
    test.assertEqual(
        message.elements(b"Proxy-Require"), [b"noProxiesSupportThis", b"norDoAnyProxiesSupportThis"]
    )


def bcast(test: SynchronousTestCase, message: Request | Response) -> None:
    message = message.copy()
    message.popVia()
    test.assertEqual(message.sentBy, b"255.255.255.255")


def cparam(uriParams: object, fieldParams: object) -> Check:
    def check(test: SynchronousTestCase, message: Request | Response) -> None:
        contact = NameAddr.parse(message.elements(b"Contact")[0])
        assert isinstance(contact.uri, SIPURI)
        test.assertEqual((contact.uri.params, contact.params), (uriParams, fieldParams))

    return check


def regescrt(test: SynchronousTestCase, message: Request | Response) -> None:
    uri = NameAddr.parse(message.elements(b"Contact")[0]).uri
    assert isinstance(uri, SIPURI)
    test.assertEqual(uri.headers, ((b"Route", b"%3Csip:sip.example.com%3E"),))


TORTURE: dict[str, Accepted | Refused | Dropped] = {
    # §3.1.1: valid.
    "wsinv": Accepted(wsinv),
    "intmeth": Accepted(intmeth),
    "esc01": Accepted(esc01),
    "escnull": Accepted(escnull),
    "esc02": Accepted(esc02),
    "lwsdisp": Accepted(lwsdisp),
    "longreq": Accepted(longreq),
    "dblreq": Accepted(
        values(method=b"REGISTER", body=b"", contentLength=0),
        "what follows the first message in the datagram is dropped (RFC 3261 §18.3)",
        rest=450,
    ),
    "semiuri": Accepted(semiuri),
    "transports": Accepted(transports),
    "mpart01": Accepted(mpart01),
    "unreason": Accepted(unreason),
    "noreason": Accepted(values(status=100, reason=b"")),
    # §3.1.2: invalid.
    "badinv01": Refused(400, "Malformed parameters in Via header field"),
    "clerr": Refused(400, "Body shorter than Content-Length"),
    "ncl": Refused(400, "Malformed Content-Length header field"),
    "scalar02": Refused(400, "CSeq number out of range"),
    "scalarlg": Dropped("CSeq number out of range"),
    "quotbal": Refused(400, "Unterminated quoted string in From or To header field"),
    "ltgtruri": Refused(400, "Malformed Request-URI"),
    "lwsruri": Refused(400, "Malformed start line"),
    "lwsstart": Refused(400, "Malformed start line"),
    "trws": Refused(400, "Malformed start line"),
    "escruri": Refused(400, "Header fields in the Request-URI"),
    "baddate": Accepted(baddate, "only who reads Date needs it: a proxy does not (RFC 3261 §16.3)"),
    "regbadct": Accepted(
        raises(b"Contact", NameAddr.parse, "Address that needs angle brackets"),
        "only a registrar reads Contact, and refuses it",
    ),
    "badaspec": Accepted(
        badaspec, "the blanks in To can mean nothing else, and a proxy routes by none of it"
    ),
    "baddn": Refused(400, "No empty line after the header fields"),
    "badvers": Refused(505, "Version not supported"),
    "mismatch01": Refused(400, "CSeq method does not match the request method"),
    "mismatch02": Refused(400, "CSeq method does not match the request method"),
    "bigcode": Dropped("Malformed status line"),
    # §3.2: transactions.
    "badbranch": Refused(400, "Branch without an identifier in Via header field"),
    # §3.3: what the application sees.
    "insuf": Refused(400, "Missing From header field"),
    "unkscm": Accepted(otherURI(b"nobodyknowsthisscheme"), "the proxy answers 416"),
    "novelsc": Accepted(otherURI(b"soap.beep"), "the proxy answers 416"),
    "unksm2": Accepted(unksm2, "a registrar refuses it; a proxy routes by none of these"),
    "bext01": Accepted(bext01, "the proxy answers 420"),
    "invut": Accepted(values(contentLength=40), "the callee answers 415"),
    "regaut01": Accepted(values(method=b"REGISTER"), "a registrar challenges or refuses it"),
    "multi01": Refused(400, "Several Max-Forwards header fields"),
    "mcl01": Refused(400, "Several Content-Length header fields"),
    "bcast": Accepted(bcast, "the proxy has no transaction for it, and sends nothing to a broadcast address"),
    "zeromf": Accepted(values(maxForwards=0), "the proxy answers 483, or for itself where it is meant"),
    "cparam01": Accepted(cparam((), ((b"unknownparam", None),))),
    "cparam02": Accepted(cparam(((b"unknownparam", None),), ())),
    "regescrt": Accepted(regescrt),
    "sdp01": Accepted(values(method=b"INVITE"), "the callee answers 406"),
    # §3.4: RFC 2543.
    "inv2543": Accepted(values(branch=b"", fromTag=b"", maxForwards=-1, contentLength=-1)),
}


def joinedvias(test: SynchronousTestCase, message: Request | Response) -> None:
    values(
        status=180,
        branch=b"z9hG4bK.top",
        sentBy=b"ss1.example.com:5060",
        viaTransport=b"SCTP",
        fromTag=b"1",
        toTag=b"yes",
    )(test, message)
    vias = [Via.parse(value) for value in message.elements(b"Via")]
    test.assertEqual(vias[0].param(b"oc-algo"), b"loss,rate")
    test.assertEqual(vias[1].host, b"2001:db8::9:1")
    test.assertEqual(vias[1].param(b"RECEIVED"), b"2001:db8::9:255")
    test.assertEqual(
        message.elements(b"Record-Route"), [b"<sip:p2.example.net;lr>", b"<sip:p1.example.net;lr>"]
    )
    message = message.copy()
    message.popVia()
    test.assertEqual((message.branch, message.sentBy), (b"z9hG4bK.second", b"[2001:db8::9:1]:5062"))
    test.assertEqual(message.elements(b"v")[1], b"SIP/2.0/TCP last.example.com")


def folded(test: SynchronousTestCase, message: Request | Response) -> None:
    values(
        branch=b"z9hG4bKfolded",
        sentBy=b"pc33.example.com:5066",
        maxForwards=70,
        fromTag=b"1928301774",
        cseq=63104,
        fromValue=b"Alice <sip:alice@example.com> ;tag=1928301774",
    )(test, message)
    test.assertEqual(message.get(b"s"), b"I know you're there, pick up the phone and answer!")


def compact(test: SynchronousTestCase, message: Request | Response) -> None:
    values(
        branch=b"z9hG4bKcompact1", callId=b"compact-1@host.example.com", fromTag=b"a73kszlfl", maxForwards=70
    )(test, message)
    test.assertEqual(message.elements(b"Supported"), [b"100rel", b"timer"])
    test.assertEqual(message.get(b"Content-Type"), b"application/sdp")
    test.assertEqual(message.contentLength, len(message.body))


def requestURI(host: bytes, port: int | None) -> Check:
    def check(test: SynchronousTestCase, message: Request | Response) -> None:
        assert isinstance(message, Request)
        uri = SIPURI.parse(message.uri)
        test.assertEqual((uri.host, uri.port), (host, port))

    return check


def received(expected: bytes) -> Check:
    def check(test: SynchronousTestCase, message: Request | Response) -> None:
        test.assertEqual(message.sentBy, b"[2001:db8::9:1]")
        test.assertEqual(Via.parse(message.elements(b"Via")[0]).param(b"received"), expected)

    return check


def sipfrag(test: SynchronousTestCase, message: Request | Response) -> None:
    state = SubscriptionState.parse(message.get(b"Subscription-State") or b"")
    test.assertEqual((state.state, state.reason, state.retryAfter), (b"terminated", b"probation", 118))
    value = message.body.partition(b"Retry-After:")[2]
    test.assertEqual(RetryAfter.parse(value), RetryAfter(118, b"maintenance (planned)", 3600))


OURS: dict[str, Accepted | Refused | Dropped] = {
    "compact": Accepted(compact),
    "joinedvias": Accepted(joinedvias),
    "folded": Accepted(folded),
    "unquotedcomma": Accepted(
        values(fromTag=b"43", toTag=b""), "From and To hold one address, so that the comma splits nothing"
    ),
    "sipfrag": Accepted(sipfrag),
    "ipv6-4.1-reference": Accepted(requestURI(b"2001:db8::10", None)),
    "ipv6-4.2-nobrackets": Refused(400, "Malformed SIP Request-URI"),
    "ipv6-4.3-portinside": Accepted(requestURI(b"2001:db8::10:5070", None)),
    "ipv6-4.4-port": Accepted(requestURI(b"2001:db8::10", 5070)),
    "ipv6-4.5-received": Accepted(received(b"[2001:db8::9:255]")),
    "ipv6-4.5-receivedplain": Accepted(received(b"2001:db8::9:255")),
    "ipv6-4.9-mapped": Accepted(requestURI(b"::ffff:192.0.2.10", 5070)),
    "ipv6-4.10-threecolons": Accepted(requestURI(b"2001:db8::192.0.2.1", None)),
    "longuri": Refused(414, "Request-URI too long"),
    "manyheaders": Refused(400, "Too many header fields"),
    "badack": Dropped("CSeq method does not match the request method"),
    "viaversion": Refused(505, "Unsupported SIP version in Via header field"),
    "emptyroute": Refused(400, "Malformed Route header field"),
}


class TortureMixin:
    """
    One table held against one directory.
    """

    directory: Path
    suffix: str
    table: dict[str, Accepted | Refused | Dropped]

    def test_complete(self) -> None:
        """
        Every message that is there is in the table.
        """
        assert isinstance(self, SynchronousTestCase)
        found = {path.name.removesuffix(self.suffix) for path in self.directory.glob("*" + self.suffix)}
        self.assertEqual(found, set(self.table))

    def test_messages(self) -> None:
        """
        Each is accepted, refused or dropped as its row says.
        """
        assert isinstance(self, SynchronousTestCase)
        for name, expected in self.table.items():
            data = (self.directory / (name + self.suffix)).read_bytes()
            try:
                self._one(data, expected)
            except Exception as error:
                raise self.failureException(f"{name}: {error!r}") from error

    def _one(self, data: bytes, expected: Accepted | Refused | Dropped) -> None:
        assert isinstance(self, SynchronousTestCase)
        if isinstance(expected, Accepted):
            message = parse(data)
            expected.check(self, message)
            self.assertEqual(message.toBytes(), data[: len(data) - expected.rest])
            self.assertEqual(message.copy().toBytes(), message.toBytes())
            return
        error = self.assertRaises(ParseError, parse, data)
        self.assertEqual(error.reason, expected.reason)
        if isinstance(expected, Dropped):
            self.assertIsNone(error.answer)
            return
        self.assertEqual(error.status, expected.status)
        self._checkAnswer(data, error, expected)

    def _checkAnswer(self, data: bytes, error: ParseError, expected: Refused) -> None:
        """
        The answer has the status, the same top Via and CSeq (by which the sender finds its
        transaction), a To tag, and nothing that came twice.
        """
        assert isinstance(self, SynchronousTestCase)
        assert error.answer is not None
        head, end, body = error.answer.partition(b"\r\n\r\n")
        self.assertEqual((end, body), (b"\r\n\r\n", b""))
        start, *lines = head.split(b"\r\n")
        self.assertEqual(start, b"SIP/2.0 %d %b" % (expected.status, expected.reason.encode()))
        came = data.split(b"\r\n")
        for name in (rb"via|v", rb"cseq", rb"call-id|i", rb"from|f"):
            pattern = re.compile(rb"(?:" + name + rb")[ \t]*:", re.IGNORECASE)
            ours = [line for line in lines if pattern.match(line)]
            theirs = [line for line in came if pattern.match(line)]
            self.assertEqual(ours, theirs if name.endswith(b"v") else theirs[:1])
        tos = [line for line in lines if re.match(rb"(?i)(to|t)[ \t]*:", line)]
        self.assertLessEqual(len(tos), 1)
        self.assertTrue(all(b"tag=" in line for line in tos))


class RFC4475Tests(TortureMixin, SynchronousTestCase):
    """
    The messages of RFC 4475, as RFC 4475 asks.
    """

    directory = RFC4475
    suffix = ".dat"
    table = TORTURE

    def setUp(self) -> None:
        if not RFC4475.is_dir():
            raise SkipTest("the messages of RFC 4475 are not beside the repository")

    def test_ncl(self) -> None:
        """
        On a stream a Content-Length that is none is the end: nobody knows where the next message begins.
        """
        for name in ("ncl", "mcl01"):
            data = (RFC4475 / f"{name}.dat").read_bytes()
            error = self.assertRaises(ParseError, StreamFramer().feed, data)
            self.assertTrue(error.fatal)
            assert error.answer is not None
            self.assertTrue(error.answer.startswith(b"SIP/2.0 400 "))

    def test_dblreq(self) -> None:
        """
        On a stream the two requests of dblreq are two messages.
        """
        data = (RFC4475 / "dblreq.dat").read_bytes()
        messages = [parse(message) for message in StreamFramer().feed(data)]
        self.assertEqual([message.cseqMethod for message in messages], [b"REGISTER", b"INVITE"])

    def test_retryAfter(self) -> None:
        """
        The Retry-After of scalarlg is beyond all numbers: whoever reads it is told so.
        """
        data = (RFC4475 / "scalarlg.dat").read_bytes().replace(b"9292394834772304023312", b"9")
        message = parse(data)
        error = self.assertRaises(ParseError, RetryAfter.parse, message.get(b"Retry-After"))
        self.assertEqual(error.reason, "Number out of range in Retry-After header field")


class OwnMessageTests(TortureMixin, SynchronousTestCase):
    """
    Our own.
    """

    directory = OWN
    suffix = ".sip"
    table = {**OURS}

    def test_bareLines(self) -> None:
        """
        A CR or LF by itself ends a line, and leaves as CRLF, so that nobody after us sees other lines
        than we did.
        """
        data = (OWN / "barelines.sip").read_bytes()
        self.assertEqual(parse(data).toBytes(), data.replace(b"tag=1\n", b"tag=1\r\n"))

    def test_complete(self) -> None:
        """
        Every message that is there is in the table, or has a test of its own.
        """
        found = {path.name.removesuffix(".sip") for path in OWN.glob("*.sip")}
        self.assertEqual(found, {*OURS, "barelines"})
