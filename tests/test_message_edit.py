"""
L{sipgrace.message.message}: reading and editing header fields, and that all else stays as it came.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipgrace.errors import ParseError
from sipgrace.message.message import Message, Request, Response
from sipgrace.message.parser import parse

LINES = [
    b"INVITE sip:bob@biloxi.example.com SIP/2.0",
    b"v:SIP/2.0/UDP pc33.example.com:5060 ;branch=z9hG4bKtop , SIP/2.0/TCP second;branch=z9hG4bK2",
    b"X-One:  1",
    b'Route: <sip:p1;lr>,\r\n <sip:p2;lr>;x="," ,<sip:p3;lr>',
    b"f: <sip:alice@atlanta.example.com>;tag=1928301774",
    b"To: Bob <sip:bob@biloxi.example.com>",
    b"VIA: SIP/2.0/UDP third:7",
    b"x-one:",
    b"Call-ID: a84b4c76e66710@pc33.example.com",
    b"ROUTE: <sip:p4;lr>",
    b"CSeq: 314159 INVITE",
    b"Max-Forwards: 070",
    b"Subject: a,\r\n\tb",
    b"l: 4",
]
DATA = b"\r\n".join([*LINES, b"", b"body"])


def lines(message: Message) -> list[bytes]:
    """
    @return: the message's lines as they leave, up to the empty one.
    """
    head = message.toBytes().partition(b"\r\n\r\n")[0]
    return head.replace(b"\r\n ", b"\0").replace(b"\r\n\t", b"\1").split(b"\r\n")


def edited(*changes: tuple[int, bytes | None]) -> list[bytes]:
    """
    @return: the lines with those at these places replaced, or taken away.
    """
    found: list[bytes | None] = [line.replace(b"\r\n ", b"\0").replace(b"\r\n\t", b"\1") for line in LINES]
    for place, line in changes:
        found[place] = line
    return [line for line in found if line is not None]


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


class ReadTests(SynchronousTestCase):
    """
    Reading.
    """

    def setUp(self) -> None:
        self.message = parse(DATA)

    def test_get(self) -> None:
        """
        Any spelling of the name; values unfolded and stripped.
        """
        for name in (b"Subject", b"s", b"SUBJECT", b"sUbJeCt"):
            self.assertEqual(self.message.get(name), b"a, b")
        self.assertEqual(self.message.get(b"X-ONE"), b"1")
        self.assertEqual(self.message.getAll(b"X-One"), [b"1", b""])
        self.assertEqual(self.message.get(b"Content-Length"), b"4")
        self.assertIsNone(self.message.get(b"Contact"))
        self.assertIsNone(self.message.get(b"X-Two"))
        self.assertEqual(self.message.getAll(b"X-Two"), [])
        self.assertTrue(self.message.has(b"x-one"))
        self.assertFalse(self.message.has(b"X-Two"))
        self.assertFalse(self.message.has(b"Contact"))

    def test_elements(self) -> None:
        """
        All elements of all fields; commas in quotes and angle brackets split nothing.
        """
        self.assertEqual(
            self.message.elements(b"Route"),
            [b"<sip:p1;lr>", b'<sip:p2;lr>;x=","', b"<sip:p3;lr>", b"<sip:p4;lr>"],
        )
        self.assertEqual(len(self.message.elements(b"Via")), 3)
        self.assertEqual(self.message.elements(b"X-One"), [b"1"])
        self.assertEqual(self.message.elements(b"Allow"), [])
        for value, expected in (
            (b"", []),
            (b" , ,", []),
            (b"a,,b", [b"a", b"b"]),
            (b'"a,b" <sip:c,d>;x="\\",", e', [b'"a,b" <sip:c,d>;x="\\","', b"e"]),
            (b"a<b,c", [b"a<b", b"c"]),
            (b'"a\\\\",b', [b'"a\\\\"', b"b"]),
        ):
            self.message.set(b"X-Two", value)
            self.assertEqual(self.message.elements(b"X-Two"), expected)
        for value in (b'"', b'a,"b', b'"\\"', b'"a" "'):
            self.message.set(b"X-Two", value)
            self.assertRaises(ParseError, self.message.elements, b"X-Two")
        self.message.set(b"X-Two", b'"a')
        self.assertRaises(ParseError, self.message.popFirst, b"X-Two")


class EditTests(SynchronousTestCase):
    """
    Editing.
    """

    def setUp(self) -> None:
        self.message = parse(DATA)

    def test_untouched(self) -> None:
        """
        Nothing done, nothing changed; nor by reading.
        """
        self.message.elements(b"Route")
        self.assertEqual(self.message.toBytes(), DATA)

    def test_set(self) -> None:
        """
        The first takes the value, the others go.
        """
        self.message.set(b"X-One", b"2")
        self.assertEqual(lines(self.message), edited((2, b"X-One: 2"), (7, None)))
        self.message.set(b"Contact", b"<sip:c>")
        self.assertEqual(lines(self.message), [*edited((2, b"X-One: 2"), (7, None)), b"Contact: <sip:c>"])

    def test_add(self) -> None:
        """
        At the end, the body after it.
        """
        self.message.add(b"X-One", b"3")
        self.assertEqual(lines(self.message), [*edited(), b"X-One: 3"])
        self.assertTrue(self.message.toBytes().endswith(b"X-One: 3\r\n\r\nbody"))

    def test_insert(self) -> None:
        """
        Before the first of that name; at the top where there is none.
        """
        self.message.insert(b"Route", b"<sip:p0;lr>")
        before = edited()
        self.assertEqual(lines(self.message), [*before[:3], b"Route: <sip:p0;lr>", *before[3:]])
        self.message.insert(b"Record-Route", b"<sip:r;lr>")
        self.assertEqual(lines(self.message)[1], b"Record-Route: <sip:r;lr>")

    def test_remove(self) -> None:
        """
        All of that name.
        """
        self.message.remove(b"route")
        self.message.remove(b"X-ONE")
        self.message.remove(b"Contact")
        self.assertEqual(lines(self.message), edited((2, None), (3, None), (7, None), (9, None)))
        self.assertFalse(self.message.hasRoute)

    def test_popFirst(self) -> None:
        """
        Element by element, over folds and fields.
        """
        self.assertEqual(self.message.popFirst(b"Route"), b"<sip:p1;lr>")
        self.assertEqual(lines(self.message), edited((3, b'Route: <sip:p2;lr>;x="," ,<sip:p3;lr>')))
        self.assertEqual(self.message.popFirst(b"Route"), b'<sip:p2;lr>;x=","')
        self.assertEqual(self.message.popFirst(b"Route"), b"<sip:p3;lr>")
        self.assertTrue(self.message.hasRoute)
        self.assertEqual(self.message.popFirst(b"Route"), b"<sip:p4;lr>")
        self.assertFalse(self.message.hasRoute)
        self.assertEqual(lines(self.message), edited((3, None), (9, None)))
        self.assertIsNone(self.message.popFirst(b"Route"))
        self.message.set(b"X-Two", b",, ,a,")
        self.message.add(b"X-Two", b",")
        self.assertEqual(self.message.popFirst(b"X-Two"), b"a")
        self.assertIsNone(self.message.popFirst(b"X-Two"))
        self.assertFalse(self.message.has(b"X-Two"))

    def test_eagerFollows(self) -> None:
        """
        What is kept of a header field follows its edits.
        """
        message = self.message
        for name, value, attribute, expected in (
            (b"CSeq", b"7 BYE", "cseqMethod", b"BYE"),
            (b"CSeq", b"7 BYE", "cseq", 7),
            (b"Max-Forwards", b"9", "maxForwards", 9),
            (b"Content-Length", b"3", "contentLength", 3),
            (b"i", b"other", "callId", b"other"),
            (b"From", b"<sip:x>;tag=y", "fromTag", b"y"),
            (b"From", b"<sip:x>;tag=y", "fromValue", b"<sip:x>;tag=y"),
            (b"t", b"<sip:x>;tag=z", "toTag", b"z"),
            (b"Via", b"SIP/2.0/TLS h:1;branch=b", "sentBy", b"h:1"),
            (b"Via", b"SIP/2.0/TLS h:1;branch=b", "viaTransport", b"TLS"),
        ):
            message.set(name, value)
            self.assertEqual(getattr(message, attribute), expected)
        for name, attribute, expected in (
            (b"CSeq", "cseqMethod", b""),
            (b"Max-Forwards", "maxForwards", -1),
            (b"Content-Length", "contentLength", -1),
            (b"Call-ID", "callId", b""),
            (b"From", "fromTag", b""),
            (b"To", "toValue", b""),
            (b"Via", "branch", b""),
        ):
            message.remove(name)
            self.assertEqual(getattr(message, attribute), expected)
        self.assertRaises(ParseError, message.set, b"CSeq", b"nonsense")

    def test_injection(self) -> None:
        """
        No value and no name makes a line of its own.
        """
        for value in (b"a\r\nb: c", b"a\nb", b"a\rb", b"\r\n"):
            for edit in (self.message.set, self.message.add, self.message.insert):
                self.assertRaises(ValueError, edit, b"X-One", value)
            self.assertRaises(ValueError, self.message.pushVia, b"SIP/2.0/UDP h;branch=b" + value)
            self.assertRaises(ValueError, Request.make, b"BYE", b"sip:a", [(b"X", value)])
            self.assertRaises(ValueError, Request.make, b"BYE", b"sip:a" + value, [])
            self.assertRaises(ValueError, Response.make, 200, b"OK" + value, [])
        for name in (b"X:", b"", b"X Y", b"X\r\nY"):
            self.assertRaises(ValueError, self.message.add, name, b"v")
        self.assertRaises(ValueError, Request.make, b"BY E", b"sip:a", [])
        self.assertEqual(self.message.toBytes(), DATA)

    def test_pushVia(self) -> None:
        """
        On top, as its own line.
        """
        self.message.pushVia(b"SIP/2.0/SCTP 192.0.2.1:5060;branch=z9hG4bK.own")
        before = edited()
        self.assertEqual(
            lines(self.message),
            [before[0], b"Via: SIP/2.0/SCTP 192.0.2.1:5060;branch=z9hG4bK.own", *before[1:]],
        )
        self.assertEqual(self.message.branch, b"z9hG4bK.own")
        self.assertEqual((self.message.sentBy, self.message.viaTransport), (b"192.0.2.1:5060", b"SCTP"))
        self.message.popVia()
        self.assertEqual(self.message.toBytes(), DATA)
        self.assertEqual(self.message.branch, b"z9hG4bKtop")
        self.assertRaises(ParseError, self.message.pushVia, b"nonsense")
        self.assertEqual(self.message.toBytes(), DATA)

    def test_popVia(self) -> None:
        """
        One by one, also where they are joined by commas.
        """
        self.message.popVia()
        self.assertEqual(lines(self.message), edited((1, b"v: SIP/2.0/TCP second;branch=z9hG4bK2")))
        self.assertEqual((self.message.branch, self.message.viaTransport), (b"z9hG4bK2", b"TCP"))
        self.message.popVia()
        self.assertEqual(lines(self.message), edited((1, None)))
        self.assertEqual((self.message.branch, self.message.sentBy), (b"", b"third:7"))
        self.message.popVia()
        self.assertEqual(lines(self.message), edited((1, None), (6, None)))
        self.assertEqual((self.message.branch, self.message.sentBy), (b"", b""))
        self.message.popVia()
        self.message.markReceived(b"192.0.2.9", 9)
        self.assertEqual(lines(self.message), edited((1, None), (6, None)))

    def test_popViaSpellings(self) -> None:
        """
        However they are written, what is left is the rest of the line.
        """
        one, two = b"SIP/2.0/UDP a;branch=z9hG4bK1", b"SIP/2.0/TCP b:7;branch=z9hG4bK2"
        for line, left in (
            (b"Via: %b, %b" % (one, two), b"Via: " + two),
            (b"Via: %b,%b" % (one, two), b"Via: " + two),
            (b"Via:%b  ,  %b" % (one, two), b"Via: " + two),
            (b"v:%b;rport,\t%b" % (one, two), b"v: " + two),
            (b"VIA : %b, %b" % (one, two), b"VIA : " + two),
            (b'Via: %b;x="a,\\",b", %b' % (one, two), b"Via: " + two),
            (b"Via: SIP/2.0/UDP a, %b" % two, b"Via: " + two),
            (b"Via: SIP/2.0/UDP a; branch = z9hG4bK1, %b" % two, b"Via: " + two),
            (b"Via: %b, %b, %b" % (one, two, one), b"Via: %b, %b" % (two, one)),
        ):
            message = parse(DATA.replace(LINES[1], line))
            message.popVia()
            self.assertEqual(lines(message), edited((1, left)), line)
            self.assertEqual(
                (message.branch, message.sentBy, message.viaTransport), (b"z9hG4bK2", b"b:7", b"TCP")
            )
        for line in (b"Via: %b," % one, b"Via:%b, " % one, b"v: %b ,\t" % one):
            message = parse(DATA.replace(LINES[1], line))
            message.popVia()
            self.assertEqual(lines(message), edited((1, None)), line)
            self.assertEqual((message.branch, message.sentBy), (b"", b"third:7"))

    def test_setMaxForwards(self) -> None:
        """
        In place, or at the end where there was none.
        """
        self.message.setMaxForwards(69)
        self.assertEqual(lines(self.message), edited((11, b"Max-Forwards: 69")))
        self.assertEqual(self.message.maxForwards, 69)
        self.message.remove(b"Max-Forwards")
        self.message.setMaxForwards(70)
        self.assertEqual(lines(self.message), [*edited((11, None)), b"Max-Forwards: 70"])

    def test_uri(self) -> None:
        """
        The Request-URI, and nothing else of the start line.
        """
        assert isinstance(self.message, Request)
        self.message.uri = b"sip:carol@c"
        self.assertEqual(self.message.uri, b"sip:carol@c")
        self.assertEqual(lines(self.message), edited((0, b"INVITE sip:carol@c SIP/2.0")))
        for uri in (b"sip:a b", b"sip:a\r\n", b""):
            self.assertRaises(ValueError, setattr, self.message, "uri", uri)

    def test_ensureContentLength(self) -> None:
        """
        It is added where it is missing, and left alone where not.
        """
        self.message.ensureContentLength()
        self.assertEqual(self.message.toBytes(), DATA)
        self.message.remove(b"l")
        self.message.ensureContentLength()
        self.assertEqual(lines(self.message), edited((13, b"Content-Length: 4")))

    def test_copy(self) -> None:
        """
        A copy and its original know nothing of each other.
        """
        for original in (self.message, parse(RESPONSE)):
            before = original.toBytes()
            copy = original.copy()
            self.assertIs(type(copy), type(original))
            for name in ATTRIBUTES[type(original)]:
                self.assertEqual(getattr(copy, name), getattr(original, name))
            copy.pushVia(b"SIP/2.0/UDP h;branch=b")
            copy.setMaxForwards(1)
            copy.remove(b"To")
            copy.body = b""
            self.assertEqual(original.toBytes(), before)
            self.assertNotEqual(original.branch, b"b")


RESPONSE = (
    b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=x\r\nFrom: <sip:a>;tag=1\r\nTo: <sip:b>;tag=2\r\n"
    b"Call-ID: c\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n"
)


class MakeTests(SynchronousTestCase):
    """
    Messages of our own.
    """

    def test_request(self) -> None:
        """
        The header fields in their order; Content-Length is added; what is made can be parsed.
        """
        message = Request.make(
            b"OPTIONS",
            b"sip:h",
            [
                (b"From", b"<sip:a>;tag=1"),
                (b"To", b"<sip:h>"),
                (b"Call-ID", b"c"),
                (b"CSeq", b"1 OPTIONS"),
                (b"Max-Forwards", b"70"),
            ],
            b"xyz",
        )
        self.assertEqual((message.branch, message.cseq, message.fromTag), (b"", 1, b"1"))
        message.pushVia(b"SIP/2.0/UDP h;branch=z9hG4bKb")
        self.assertEqual(
            message.toBytes(),
            b"OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKb\r\nFrom: <sip:a>;tag=1\r\n"
            b"To: <sip:h>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\n"
            b"Content-Length: 3\r\n\r\nxyz",
        )
        parsed = parse(message.toBytes())
        for name in ATTRIBUTES[Request]:
            self.assertEqual(getattr(parsed, name), getattr(message, name))

    def test_response(self) -> None:
        """
        Likewise; the phrase is that of the status unless one is given.
        """
        self.assertEqual(
            Response.make(503, None, []).toBytes(),
            b"SIP/2.0 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
        )
        self.assertEqual(Response.make(499, None, []).reason, b"Bad Request")
        message = Response.make(200, b"Fine", [(b"l", b"1")], b"x")
        self.assertEqual(message.toBytes(), b"SIP/2.0 200 Fine\r\nl: 1\r\n\r\nx")
        self.assertRaises(ValueError, Response.make, 99, b"", [])
        self.assertRaises(ValueError, Response.make, 700, b"", [])


class MarkReceivedTests(SynchronousTestCase):
    """
    RFC 3261 §18.2.1 and RFC 3581.
    """

    def marked(self, via: bytes, host: bytes, port: int) -> bytes:
        """
        @return: the Via line afterwards.
        """
        message = parse(
            RESPONSE.replace(b"SIP/2.0 200 OK", b"BYE sip:b SIP/2.0").replace(b"SIP/2.0/UDP h;branch=x", via)
        )
        message.markReceived(host, port)
        again = parse(message.toBytes())
        self.assertEqual((again.branch, again.sentBy), (message.branch, message.sentBy))
        return message.lines[0]

    def test_same(self) -> None:
        """
        Nothing is added where it came from where it says.
        """
        for via, host in (
            (b"SIP/2.0/UDP 192.0.2.1:7;branch=b", b"192.0.2.1"),
            (b"SIP/2.0/UDP  192.0.2.1 ; branch=b", b"192.0.2.1"),
            (b"SIP/2.0/UDP [2001:DB8:0::1]:7;branch=b", b"2001:db8::1"),
            (b'SIP/2.0/UDP 192.0.2.1;branch=b;x=";rport"', b"192.0.2.1"),
            (b"SIP/2.0/UDP 192.0.2.1;branch=b;rport=5", b"192.0.2.1"),
            (b"SIP/2.0/UDP 192.0.2.1;branch=b, SIP/2.0/UDP h;rport", b"192.0.2.1"),
        ):
            self.assertEqual(self.marked(via, host, 9), b"Via: " + via)

    def test_received(self) -> None:
        """
        The address where it is another; one that the sender wrote is dropped; IPv6 without brackets.
        """
        for via, host, expected in (
            (b"SIP/2.0/UDP h;branch=b", b"192.0.2.1", b"SIP/2.0/UDP h;branch=b;received=192.0.2.1"),
            (b"SIP/2.0/UDP h", b"192.0.2.1", b"SIP/2.0/UDP h;received=192.0.2.1"),
            (
                b"SIP/2.0/UDP [2001:db8::2];branch=b",
                b"2001:db8::1",
                b"SIP/2.0/UDP [2001:db8::2];branch=b;received=2001:db8::1",
            ),
            (
                b"SIP/2.0/UDP h;received=6.6.6.6;branch=b;rport=1 , SIP/2.0/TCP i;branch=c",
                b"192.0.2.1",
                b"SIP/2.0/UDP h;branch=b;received=192.0.2.1, SIP/2.0/TCP i;branch=c",
            ),
            (
                b'SIP/2.0/UDP h;oc-algo="a,b;rport";branch=b;received="x"',
                b"192.0.2.1",
                b'SIP/2.0/UDP h;oc-algo="a,b;rport";branch=b;received=192.0.2.1',
            ),
        ):
            self.assertEqual(self.marked(via, host, 9), b"Via: " + expected)

    def test_rport(self) -> None:
        """
        An empty rport is filled, and the address goes with it, also where it is the same (RFC 3581 §4).
        """
        for via, expected in (
            (b"SIP/2.0/UDP h;rport;branch=b", b"SIP/2.0/UDP h;branch=b;received=192.0.2.1;rport=9"),
            (
                b"SIP/2.0/UDP 192.0.2.1;branch=b;rport",
                b"SIP/2.0/UDP 192.0.2.1;branch=b;received=192.0.2.1;rport=9",
            ),
            (b"SIP/2.0/UDP h ;RPORT ;branch=b", b"SIP/2.0/UDP h ;branch=b;received=192.0.2.1;rport=9"),
            (
                b"SIP/2.0/UDP h;branch=b;rport,SIP/2.0/TCP i",
                b"SIP/2.0/UDP h;branch=b;received=192.0.2.1;rport=9, SIP/2.0/TCP i",
            ),
        ):
            self.assertEqual(self.marked(via, b"192.0.2.1", 9), b"Via: " + expected)
