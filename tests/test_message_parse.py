"""
L{sipgrace.message.parser}: what is read at once, what is refused, and what the refusal answers.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipgrace.errors import ParseError
from sipgrace.message.layout import layouts
from sipgrace.message.limits import Limits
from sipgrace.message.message import Request, Response
from sipgrace.message.names import CODES
from sipgrace.message.parser import _lookOf, parse, uris

INVITE = (
    b"INVITE sip:bob@biloxi.example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP pc33.example.com:5060;branch=z9hG4bK776asdhds;rport\r\n"
    b"Max-Forwards: 70\r\n"
    b"To: Bob <sip:bob@biloxi.example.com>\r\n"
    b'From: "Alice" <sip:alice@atlanta.example.com>;tag=1928301774\r\n'
    b"Call-ID: a84b4c76e66710@pc33.example.com\r\n"
    b"CSeq: 314159 INVITE\r\n"
    b"X-Own: yes\r\n"
    b"Content-Length: 4\r\n\r\nbody"
)
RARE = (
    b"INVITE sip:bob@biloxi.example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP pc33.example.com:5060;branch=z9hG4bK776asdhds\r\n"
    b"Max-Forwards: 70\r\n"
    b"To: Bob <sip:bob@biloxi.example.com>\r\n"
    b"From: Alice <sip:alice@atlanta.example.com>;tag=1928301774\r\n"
    b"Call-ID: a84b4c76e66710@pc33.example.com\r\n"
    b"X-Own: yes\r\n"
    b"CSeq: 314159 INVITE\r\n\r\n"
)
RINGING = (
    b"SIP/2.0 180 Ringing\r\n"
    b"Via: SIP/2.0/SCTP 192.0.2.1;branch=z9hG4bKab.1\r\n"
    b"Via: SIP/2.0/UDP pc33.example.com:5060;branch=z9hG4bK776asdhds\r\n"
    b"To: Bob <sip:bob@biloxi.example.com>;tag=a6c85cf\r\n"
    b"From: Alice <sip:alice@atlanta.example.com>;tag=1928301774\r\n"
    b"Call-ID: a84b4c76e66710@pc33.example.com\r\n"
    b"CSeq: 314159 INVITE\r\n"
    b"Content-Length: 0\r\n\r\n"
)


def changed(old: bytes, new: bytes, data: bytes = INVITE) -> bytes:
    """
    @return: the message with one piece replaced, which must be there.
    """
    assert data.count(old) == 1, old
    return data.replace(old, new)


ATTRIBUTES = {
    cls: [
        {"fromLine": "fromValue", "toLine": "toValue"}.get(name, name.lstrip("_"))
        for base in cls.__mro__
        for name in getattr(base, "__slots__", ())
    ]
    for cls in (Request, Response)
}
"""
All that a message keeps.
"""


class RefusalCase(SynchronousTestCase):
    """
    With an assertion about what is refused.
    """

    def refused(
        self, data: bytes, reason: str, status: int = 400, limits: Limits | None = None
    ) -> ParseError:
        """
        Asserts that it is refused so.
        """
        error = self.assertRaises(ParseError, parse, data, limits or Limits())
        self.assertEqual((error.reason, error.status, error.fatal), (reason, status, False))
        return error


class ParseTests(RefusalCase):
    """
    What is read.
    """

    def test_request(self) -> None:
        """
        A request with all that is read at once; it leaves as it came.
        """
        message = parse(INVITE)
        assert isinstance(message, Request)
        self.assertEqual((message.method, message.uri), (b"INVITE", b"sip:bob@biloxi.example.com"))
        self.assertEqual(message.branch, b"z9hG4bK776asdhds")
        self.assertEqual((message.sentBy, message.viaTransport), (b"pc33.example.com:5060", b"UDP"))
        self.assertEqual((message.cseq, message.cseqMethod), (314159, b"INVITE"))
        self.assertEqual((message.maxForwards, message.contentLength), (70, 4))
        self.assertFalse(message.hasRoute)
        self.assertEqual(message.callId, b"a84b4c76e66710@pc33.example.com")
        self.assertEqual((message.fromTag, message.toTag), (b"1928301774", b""))
        self.assertEqual(message.fromValue, b'"Alice" <sip:alice@atlanta.example.com>;tag=1928301774')
        self.assertEqual(message.toValue, b"Bob <sip:bob@biloxi.example.com>")
        self.assertEqual(message.body, b"body")
        self.assertEqual(message.toBytes(), INVITE)
        self.assertEqual(
            repr(message), "<Request b'INVITE' b'sip:bob@biloxi.example.com' branch=b'z9hG4bK776asdhds'>"
        )

    def test_response(self) -> None:
        """
        A response likewise.
        """
        message = parse(RINGING)
        assert isinstance(message, Response)
        self.assertEqual((message.status, message.reason), (180, b"Ringing"))
        self.assertEqual((message.branch, message.sentBy), (b"z9hG4bKab.1", b"192.0.2.1"))
        self.assertEqual((message.fromTag, message.toTag), (b"1928301774", b"a6c85cf"))
        self.assertEqual((message.maxForwards, message.contentLength), (-1, 0))
        self.assertEqual(message.toBytes(), RINGING)
        self.assertEqual(repr(message), "<Response 180 b'Ringing' branch=b'z9hG4bKab.1'>")

    def test_bothWays(self) -> None:
        """
        The quick way, which a message takes whose like was met before, and the slow way read the same.
        """
        for data in (INVITE, RINGING):
            layouts[:] = [None] * len(layouts)
            slow = parse(data)
            self.assertEqual(sum(layout is not None for layout in layouts), 1)
            quick = parse(data)
            for name in ATTRIBUTES[type(slow)]:
                self.assertEqual(getattr(quick, name), getattr(slow, name), name)
            self.assertIsNot(quick.lines, slow.lines)

    def test_lookalike(self) -> None:
        """
        A message with as many lines as one met before, but with other names among them, is read by its
        own names.
        """
        parse(INVITE)
        other = parse(changed(b"Call-ID: ", b"Call-Id : ", changed(b"X-Own: yes", b"Route:<sip:a;lr>")))
        self.assertTrue(other.hasRoute)
        self.assertEqual(other.callId, b"a84b4c76e66710@pc33.example.com")
        self.refused(changed(b"Call-ID: ", b"Call-IX: "), "Missing Call-ID header field")
        self.refused(changed(b"X-Own: yes", b"X-Own"), "Malformed header field name")

    def test_samePlaceOtherNumber(self) -> None:
        """
        Of two whose layouts share a place, and whose names are the same as far as both go, each is read to
        its own end.
        """
        short = changed(b"Call-ID: ", b"X-Two: 2\r\nCall-ID: ", changed(b"X-Own", b"Allow", RARE))
        long = changed(b"\r\n\r\n", b"\r\nZoo: 1\r\nRoute: <sip:a;lr>\r\n\r\n", short)
        looks = {_lookOf(data.splitlines()[1:-1]) for data in (short, long)}
        self.assertEqual(len(looks), 1)
        for _ in range(2):
            self.assertFalse(parse(short).hasRoute)
            self.assertTrue(parse(long).hasRoute)
            twice = changed(b"Route: <sip:a;lr>", b"CSeq: 2 INVITE", long)
            self.refused(twice, "Several CSeq header fields")

    def test_memosAreBounded(self) -> None:
        """
        Whatever arrives, what is remembered of it stays small.
        """
        for number in range(6000):
            parse(changed(b"X-Own: yes", b"X-Own-%d: yes" % number))
        self.assertLessEqual(len(CODES), 4096)
        self.assertEqual(len(layouts), 1024)
        for number in range(3000):
            parse(changed(b"pc33.example.com:5060", b"h%d.example.com" % number))
        self.assertEqual(parse(INVITE).sentBy, b"pc33.example.com:5060")
        for number in range(5000):
            parse(INVITE.replace(b"sip:", b"sip:%d" % number))
        self.assertLessEqual(len(uris), 4096)
        long = parse(changed(b"X-Own: yes", b"X" * 300 + b": yes"))
        self.assertEqual(long.get(b"x" * 300), b"yes")
        self.assertNotIn(b"X" * 300, CODES)

    def test_again(self) -> None:
        """
        What was read before is read alike, and a line under another name is another.
        """
        for _ in range(3):
            request = parse(INVITE)
            other = parse(INVITE.replace(b"To:", b"X:").replace(b"From:", b"To:").replace(b"X:", b"From:"))
            self.assertEqual((other.toValue, other.fromValue), (request.fromValue, request.toValue))
            self.assertEqual((other.toTag, other.fromTag), (request.fromTag, request.toTag))
            assert isinstance(request, Request)
            for wrong in (b"sip:b@c:65536", b"sip:b@c:70000", b"sip:b@c:100000"):
                self.assertRaises(ParseError, parse, INVITE.replace(request.uri, wrong, 1))
            parse(INVITE.replace(request.uri, b"sip:b@c:65535", 1))

    def test_emptyLinesBefore(self) -> None:
        """
        Empty lines before the start line are skipped (RFC 3261 §7.5).
        """
        self.assertEqual(parse(b"\r\n\r\n\r\n" + INVITE).toBytes(), INVITE)
        self.assertEqual(parse(b"\n" + INVITE).toBytes(), INVITE)

    def test_body(self) -> None:
        """
        What is beyond Content-Length is dropped; without one everything is the body; too little is
        refused (§18.3).
        """
        self.assertEqual(parse(INVITE + b"more").body, b"body")
        without = parse(changed(b"Content-Length: 4\r\n", b"") + b"more")
        self.assertEqual((without.body, without.contentLength), (b"bodymore", -1))
        short = changed(b"Content-Length: 4", b"Content-Length: 5")
        answer = self.refused(short, "Body shorter than Content-Length").answer
        assert answer is not None
        self.assertTrue(answer.startswith(b"SIP/2.0 400 Body shorter than Content-Length\r\n"))
        response = changed(b"Content-Length: 0", b"Content-Length: 5", RINGING)
        self.assertIsNone(self.refused(response, "Body shorter than Content-Length").answer)

    def test_numbers(self) -> None:
        """
        Numbers are digits and nothing else; leading zeros mean nothing; each has its bounds.
        """
        for text, expected in ((b"0", 0), (b"00070", 70), (b"255", 255), (b"256", -1), (b"9" * 5000, -1)):
            self.assertEqual(
                parse(changed(b"Max-Forwards: 70", b"Max-Forwards:  " + text)).maxForwards, expected
            )
        for text in (b"", b"-1", b"+7", b"7_0", b"0x46", b"70 hops", b"\xd9\xa7", b"6:", b"7/"):
            self.refused(
                changed(b"Max-Forwards: 70", b"Max-Forwards: " + text), "Malformed Max-Forwards header field"
            )
            self.refused(
                changed(b"Content-Length: 4", b"Content-Length: " + text),
                "Malformed Content-Length header field",
            )
        self.assertEqual(parse(changed(b"Content-Length: 4", b"Content-Length:0004")).body, b"body")
        self.refused(
            changed(b"Content-Length: 4", b"Content-Length: 2147483648"), "Content-Length out of range", 413
        )

    def test_cseq(self) -> None:
        """
        CSeq is a number below 2**31 and the request's method.
        """
        self.assertEqual(parse(changed(b"314159 INVITE", b"2147483647  INVITE")).cseq, 2147483647)
        self.assertEqual(parse(changed(b"314159 INVITE", b"00000000000001\tINVITE")).cseq, 1)
        self.refused(changed(b"314159 INVITE", b"2147483648 INVITE"), "CSeq number out of range")
        self.refused(changed(b"314159 INVITE", b"314159"), "Malformed CSeq header field")
        self.refused(changed(b"314159 INVITE", b"x INVITE"), "Malformed CSeq header field")
        self.refused(changed(b"314159 INVITE", b"1 IN VITE"), "Malformed CSeq header field")
        self.refused(changed(b"314159 INVITE", b"1 IN,VITE"), "Malformed CSeq header field")
        self.refused(changed(b"314159 INVITE", b"1 invite"), "CSeq method does not match the request method")

    def test_via(self) -> None:
        """
        All that a top Via may look like, read twice, as the second reading remembers the first.
        """
        old = b"SIP/2.0/UDP pc33.example.com:5060;branch=z9hG4bK776asdhds;rport"
        for text, branch, sentBy, transport in (
            (b"SIP/2.0/UDP h;branch=b", b"b", b"h", b"UDP"),
            (b"SIP/2.0/tcp h:5;branch=b.-_!x", b"b.-_!x", b"h:5", b"TCP"),
            (b"SIP/2.0/TLS-SCTP h;rport;branch=b", b"b", b"h", b"TLS-SCTP"),
            (b"SIP/2.0/UDP h;branch=b;rport;received=[::1]", b"b", b"h", b"UDP"),
            (b"sip/2.0/UDP  h ;  Branch = b ; x", b"b", b"h", b"UDP"),
            (b"SIP / 2.0 / UDP [2001:DB8::1] : 5060;ttl=1;branch=b", b"b", b"[2001:DB8::1]:5060", b"UDP"),
            (b'SIP/2.0/UDP h;x=";branch=no";branch=b', b"b", b"h", b"UDP"),
            (b'SIP/2.0/UDP h;x="a,\\"b;branch=no"', b"", b"h", b"UDP"),
            (b"SIP/2.0/UDP h;xbranch=no;branch=b", b"b", b"h", b"UDP"),
            (b"SIP/2.0/UDP h;branch=b,SIP/2.0/UDP i;branch=c", b"b", b"h", b"UDP"),
            (b"SIP/2.0/UDP h , SIP/2.0/UDP i;branch=c", b"", b"h", b"UDP"),
            (b"SIP/2.0/UDP h", b"", b"h", b"UDP"),
            (b"SIP/2.0/UDP a_b.example.com", b"", b"a_b.example.com", b"UDP"),
        ):
            for _ in range(2):
                message = parse(changed(old, text))
                self.assertEqual(
                    (message.branch, message.sentBy, message.viaTransport), (branch, sentBy, transport)
                )
        for text, reason, status in (
            (b"", "Malformed Via header field", 400),
            (b"SIP/2.0/UDP", "Malformed Via header field", 400),
            (b"SIP/2.0/UDP  ;branch=b", "Malformed Via header field", 400),
            (b"SIP/2.0 h;branch=b", "Malformed Via header field", 400),
            (b"SIP/2.0/UDP h:;branch=b", "Malformed Via header field", 400),
            (b"SIP/2.0/UDP h:0;branch=b", "Port out of range in Via header field", 400),
            (b"SIP/2.0/UDP h:65536;branch=b", "Port out of range in Via header field", 400),
            (b"SIP/2.0/UDP h:123456;branch=b", "Malformed Via header field", 400),
            (b"SIP/2.0/UDP ::1;branch=b", "Malformed Via header field", 400),
            (b"SIP/2.0/UDP h@i;branch=b", "Malformed Via header field", 400),
            (b"SIP/2.0/UDP h i;branch=b", "Malformed Via header field", 400),
            (b"SIP/2.1/UDP h;branch=b", "Unsupported SIP version in Via header field", 505),
            (b"SIP/2.0/UDP h;branch=", "Malformed parameters in Via header field", 400),
            (b"SIP/2.0/UDP h;branch=b;;x", "Malformed parameters in Via header field", 400),
            (b"SIP/2.0/UDP h;branch=b c", "Malformed parameters in Via header field", 400),
            (b"SIP/2.0/UDP h;branch=b;", "Malformed parameters in Via header field", 400),
            (b'SIP/2.0/UDP h;branch=b;x="', "Unterminated quoted string", 400),
            (b"SIP/2.0/UDP h;branch=z9hG4bK", "Branch without an identifier in Via header field", 400),
        ):
            for _ in range(2):
                self.refused(changed(old, text), reason, status)

    def test_tags(self) -> None:
        """
        The tag is a parameter of the header field: not of the URI, nor within quotes.
        """
        old = b"Bob <sip:bob@biloxi.example.com>"
        for value, tag in (
            (b"<sip:b@c>;tag=1", b"1"),
            (b"<sip:b@c> ; TAG = 1 ;x", b"1"),
            (b"<sip:b@c;tag=no>", b""),
            (b"<sip:b@c;tag=no>;tag=1", b"1"),
            (b'"<;tag=no>" <sip:b@c>;x=">;tag=no";tag=1', b"1"),
            (b'"x>;tag=no" <sip:b@c>', b""),
            (b"sip:b@c;tag=1", b"1"),
            (b"sip:b;tag=no@c;tag=1", b"1"),
            (b"sip:b;tag=no@c", b""),
            (b"tel:+1-201;phone-context=x;tag=1", b"1"),
            (b"<sip:b@c>;nottag=no;tag=1;tag=2", b"1"),
            (b"<sip:b@c>;tag=", b""),
            (b"<sip:b@c>;tag=1 ", b"1"),
            (b"*", b""),
        ):
            self.assertEqual(parse(changed(old, value)).toTag, tag, value)

    def test_empty(self) -> None:
        """
        From, To and Call-ID hold something, and their quotes close.
        """
        for text in (b"To:", b"To: ", b"To: \t"):
            self.refused(
                changed(b"To: Bob <sip:bob@biloxi.example.com>", text),
                "Empty From, To or Call-ID header field",
            )
        self.refused(
            changed(b"a84b4c76e66710@pc33.example.com", b" \t "), "Empty From, To or Call-ID header field"
        )
        for text in (b'"Bob', b'"Bob\\" <sip:b@c>', b'"B" "o" "b <sip:b@c>'):
            self.refused(
                changed(b"Bob <sip:bob@biloxi.example.com>", text),
                "Unterminated quoted string in From or To header field",
            )
        self.assertEqual(parse(changed(b'"Alice"', b'"Al\\"ice"')).fromTag, b"1928301774")
        for text in (b"Call-ID:a b@c", b"Call-ID:  a b@c", b"Call-ID: a b@c ", b"Call-ID:\ta b@c\t"):
            found = parse(changed(b"Call-ID: a84b4c76e66710@pc33.example.com", text))
            self.assertEqual(found.callId, b"a b@c")

    def test_startLine(self) -> None:
        """
        What a start line is and is not.
        """
        old = b"INVITE sip:bob@biloxi.example.com SIP/2.0"
        lower = parse(changed(old, b"INVITE sip:bob@biloxi.example.com sip/2.0"))
        self.assertEqual(lower.toBytes(), INVITE)
        for text, reason, status in (
            (b"INVITE  sip:b@c SIP/2.0", "Malformed start line", 400),
            (b"INVITE sip:b@c SIP/2.0 ", "Malformed start line", 400),
            (b"INVITE sip:b@c", "Malformed start line", 400),
            (b"INVITE sip:b@c HTTP/1.1", "Malformed start line", 400),
            (b"INVITE sip:b@c SIP/3.0", "Version not supported", 505),
            (b"IN,VITE sip:b@c SIP/2.0", "Malformed method", 400),
            (b"INVITE sip: SIP/2.0", "Malformed Request-URI", 400),
            (b"INVITE sip:b@ SIP/2.0", "Malformed SIP Request-URI", 400),
            (b"INVITE <sip:b@c> SIP/2.0", "Malformed Request-URI", 400),
            (b"INVITE sip:b@c:0 SIP/2.0", "Port out of range in SIP Request-URI", 400),
            (b"INVITE sip:b@c:99999 SIP/2.0", "Port out of range in SIP Request-URI", 400),
            (b"INVITE sip:[::1::2] SIP/2.0", "Malformed IPv6 address in SIP Request-URI", 400),
            (b"INVITE sip:b@c?Route=x SIP/2.0", "Header fields in the Request-URI", 400),
        ):
            self.refused(changed(old, text), reason, status)
        for uri in (b"tel:+12015550123", b"urn:service:sos", b"sips:a?b@c", b"SIP:C", b"sip:c:65535"):
            message = parse(changed(old, b"INVITE " + uri + b" SIP/2.0"))
            assert isinstance(message, Request)
            self.assertEqual(message.uri, uri)

    def test_statusLine(self) -> None:
        """
        Likewise of responses.
        """
        old = b"SIP/2.0 180 Ringing"
        for text, status, reason in (
            (b"SIP/2.0 200", 200, b""),
            (b"SIP/2.0 699 ", 699, b""),
            (b"SIP/2.0 100 a  b\xff", 100, b"a  b\xff"),
        ):
            message = parse(changed(old, text, RINGING))
            assert isinstance(message, Response)
            self.assertEqual((message.status, message.reason), (status, reason))
            self.assertTrue(message.toBytes().startswith(text + b"\r\n"))
        self.assertEqual(parse(changed(old, b"sip/2.0 180 Ringing", RINGING)).toBytes(), RINGING)
        for text in (
            b"SIP/2.0 099 x",
            b"SIP/2.0 700 x",
            b"SIP/2.0 20 x",
            b"SIP/2.0 2000 x",
            b"SIP/2.0 ",
            b"SIP/2.0",
        ):
            self.assertRaises(ParseError, parse, changed(old, text, RINGING))
        self.refused(changed(old, b"SIP/3.0 180 Ringing", RINGING), "Malformed start line")

    def test_mandatory(self) -> None:
        """
        The five that must be there, and those that may be there once.
        """
        for name in (b"Via", b"To", b"From", b"Call-ID", b"CSeq"):
            without = b"\r\n".join(line for line in INVITE.split(b"\r\n") if not line.startswith(name + b":"))
            self.refused(without, f"Missing {name.decode()} header field")
        for line in (
            b"t: <sip:a@b>",
            b"FROM: <sip:a@b>",
            b"i:x",
            b"cseq: 1 INVITE",
            b"l: 4",
            b"max-forwards: 9",
        ):
            error = self.assertRaises(ParseError, parse, changed(b"X-Own: yes", line))
            self.assertTrue(error.reason.startswith("Several "), error.reason)
        self.refused(b"INVITE sip:a SIP/2.0\r\n\r\n", "Missing Via header field")

    def test_names(self) -> None:
        """
        A header field has a name and a colon.
        """
        for line in (b"X Own: yes", b": yes", b"X-Own", b"X\x00: y", b"X-\xc3\xa4: y"):
            self.refused(changed(b"X-Own: yes", line), "Malformed header field name")
        self.refused(INVITE.replace(b"\r\nVia", b"\r\n Via"), "Blank before the first header field")
        self.assertEqual(parse(changed(b"X-Own: yes", b"X-Own \t:yes")).get(b"x-own"), b"yes")

    def test_garbage(self) -> None:
        """
        What is no message at all.
        """
        for data in (
            b"",
            b"\r\n\r\n",
            b"\0",
            b"GET / HTTP/1.1\r\n\r\n",
            b"\r\n",
            INVITE[:100],
            b"\xff" * 70000,
        ):
            self.assertIsNone(self.assertRaises(ParseError, parse, data).answer)


class LimitTests(RefusalCase):
    """
    The bounds, and what is answered at each.
    """

    def answered(self, error: ParseError, status: int) -> None:
        """
        Asserts that there is an answer, with the status, to the transaction.
        """
        assert error.answer is not None
        response = parse(error.answer)
        assert isinstance(response, Response)
        self.assertEqual((response.status, response.branch), (status, b"z9hG4bK776asdhds"))
        self.assertEqual((response.callId, response.cseq), (b"a84b4c76e66710@pc33.example.com", 314159))
        self.assertNotEqual(response.toTag, b"")

    def test_message(self) -> None:
        """
        413 beyond the size of a message.
        """
        limits = Limits(message=len(INVITE))
        self.assertEqual(parse(INVITE, limits).toBytes(), INVITE)
        self.answered(self.refused(INVITE + b"x", "Message too large", 413, limits), 413)
        self.assertEqual(Limits().message, 65536)

    def test_headers(self) -> None:
        """
        400 beyond the number of header fields. Folded lines are parts of one.
        """
        self.assertEqual(parse(INVITE, Limits(headers=8)).toBytes(), INVITE)
        self.answered(self.refused(INVITE, "Too many header fields", 400, Limits(headers=7)), 400)
        folded = changed(b"X-Own: yes", b"X-Own: yes" + b"\r\n and more" * 100)
        self.assertEqual(parse(folded, Limits(headers=8)).toBytes(), folded)
        self.refused(folded, "Too many header fields", 400, Limits(headers=7))

    def test_line(self) -> None:
        """
        400 beyond the length of a header field, with its folds or without; 414 where it is the start line.
        """
        limits = Limits(line=200)
        self.assertEqual(parse(changed(b"yes", b"y" * 193), limits).get(b"X-Own"), b"y" * 193)
        self.answered(self.refused(changed(b"yes", b"y" * 194), "Header field too long", 400, limits), 400)
        folded = changed(b"yes", b"y" * 100 + b"\r\n " + b"y" * 100)
        self.answered(self.refused(folded, "Header field too long", 400, limits), 400)
        uri = changed(b"sip:bob@biloxi.example.com SIP", b"sip:" + b"b" * 200 + b"@c SIP")
        self.answered(self.refused(uri, "Request-URI too long", 414, limits), 414)
        # Neither the names nor the end of a message let it by, when they were met before.
        bare = changed(b"Content-Length: 4\r\n\r\nbody", b"Content-Length: 0\r\n\r\n")
        self.assertEqual(parse(bare, limits).body, b"")
        self.refused(changed(b"yes", b"y" * 194, bare), "Header field too long", 400, limits)


class AnswerTests(SynchronousTestCase):
    """
    The answer to what is refused.
    """

    def test_answer(self) -> None:
        """
        It holds what RFC 3261 §8.2.6 copies, folds and compact forms and all, and a To tag.
        """
        data = (
            b"OPTIONS sip:a SIP/9.0\r\nv: SIP/9.0/UDP h\r\n ;branch=b\r\nVia: SIP/2.0/UDP i\r\n"
            b"X: y\r\n folded\r\nt: <sip:a>\r\nf: <sip:b>;tag=1\r\ni: c\r\n"
            b"CSeq: 1 OPTIONS\r\nCSeq: 2 OPTIONS\r\nl: 0\r\n\r\n"
        )
        error = self.assertRaises(ParseError, parse, data)
        assert error.answer is not None
        answer = error.answer.split(b"\r\n")
        tag = answer[4].partition(b";tag=")[2]
        self.assertEqual(len(tag), 16)
        self.assertEqual(
            answer,
            [
                b"SIP/2.0 400 Several CSeq header fields",
                b"v: SIP/9.0/UDP h",
                b" ;branch=b",
                b"Via: SIP/2.0/UDP i",
                b"t: <sip:a>;tag=" + tag,
                b"f: <sip:b>;tag=1",
                b"i: c",
                b"CSeq: 1 OPTIONS",
                b"Content-Length: 0",
                b"",
                b"",
            ],
        )
        again = self.assertRaises(ParseError, parse, data)
        self.assertEqual(again.answer, error.answer)

    def test_toTag(self) -> None:
        """
        A To tag that is there stays the only one.
        """
        error = self.assertRaises(
            ParseError, parse, changed(b"<sip:bob@biloxi.example.com>", b"<sip:b>;tag=mine", INVITE[:-1])
        )
        assert error.answer is not None
        self.assertEqual(error.answer.count(b"tag="), 2)

    def test_nobody(self) -> None:
        """
        No answer to a response, to an ACK by start line or CSeq, or to what has no Via or CSeq.
        """
        short = INVITE[:-1]
        for data in (
            changed(b"INVITE sip", b"ACK sip", short),
            changed(b"314159 INVITE", b"314159 ACK", short),
            changed(b"314159 INVITE", b"INVITE", short),
            changed(b"Via: ", b"Vie: ", short),
            changed(b"CSeq: ", b"CSeg: ", short),
            RINGING.replace(b"Content-Length: 0", b"Content-Length: 1"),
            changed(b"SIP/2.0/UDP pc33", b"SIP/2.0/UDP " + b"a" * 20000, short),
        ):
            self.assertIsNone(self.assertRaises(ParseError, parse, data).answer)

    def test_noInjection(self) -> None:
        """
        What stands after a stray line break is not repeated as a header field of the answer's own, and
        bytes of the sender are not in its reason phrase.
        """
        error = self.assertRaises(
            ParseError,
            parse,
            changed(b"CSeq: 314159 INVITE", b"CSeq: 314159 INVITE\nContact: <sip:evil>", INVITE[:-1]),
        )
        assert error.answer is not None
        self.assertNotIn(b"evil", error.answer)
