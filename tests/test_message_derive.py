"""
L{sipgrace.message.derive}: responses, ACK and CANCEL, byte for byte.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipgrace.message.derive import ackFor, cancelFor, respond
from sipgrace.message.message import Message, Request, Response
from sipgrace.message.parser import parse
from sipgrace.message.status import REASONS, reasonOf

DATA = (
    b"INVITE sip:bob@biloxi.example.com;x SIP/2.0\r\n"
    b"Via: SIP/2.0/SCTP ours;branch=z9hG4bKours,SIP/2.0/UDP pc33;branch=z9hG4bK77\r\n"
    b"Max-Forwards: 5\r\n"
    b"Route: <sip:p1;lr>,\r\n <sip:p2;lr>\r\n"
    b"t:\r\n Bob <sip:bob@biloxi.example.com> \r\n"
    b"v: SIP/2.0/TCP third\r\n"
    b"f: <sip:alice@atlanta.example.com>;tag=1928301774\r\n"
    b"i: a84b4c76e66710\r\n"
    b"CSeq:  314159  INVITE\r\n"
    b"Timestamp: 54.5\r\n"
    b"Record-Route: <sip:p0;lr>\r\n"
    b"Contact: <sip:alice@pc33>\r\n"
    b"Content-Length: 4\r\n\r\nbody"
)


def request() -> Request:
    """
    @return: a fresh one.
    """
    message = parse(DATA)
    assert isinstance(message, Request)
    return message


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


class DeriveCase(SynchronousTestCase):
    """
    With an assertion about what is derived.
    """

    def consistent(self, message: Message) -> None:
        """
        Asserts that its attributes are those that the parser reads from its bytes.
        """
        parsed = parse(message.toBytes())
        self.assertIs(type(parsed), type(message))
        for name in ATTRIBUTES[type(message)]:
            self.assertEqual(getattr(message, name), getattr(parsed, name), name)


class RespondTests(DeriveCase):
    """
    RFC 3261 §8.2.6.
    """

    def test_trying(self) -> None:
        """
        A 100 has no To tag, and Timestamp.
        """
        response = respond(request(), 100)
        self.assertEqual(
            response.toBytes(),
            b"SIP/2.0 100 Trying\r\n"
            b"Via: SIP/2.0/SCTP ours;branch=z9hG4bKours,SIP/2.0/UDP pc33;branch=z9hG4bK77\r\n"
            b"t:\r\n Bob <sip:bob@biloxi.example.com> \r\n"
            b"v: SIP/2.0/TCP third\r\n"
            b"f: <sip:alice@atlanta.example.com>;tag=1928301774\r\n"
            b"i: a84b4c76e66710\r\n"
            b"CSeq:  314159  INVITE\r\n"
            b"Timestamp: 54.5\r\n"
            b"Content-Length: 0\r\n\r\n",
        )
        self.consistent(response)

    def test_final(self) -> None:
        """
        Any other has a To tag, the reason and the header fields that are given.
        """
        response = respond(request(), 503, b"Going", b"tt", [(b"Retry-After", b"120")])
        self.assertEqual(
            response.toBytes(),
            b"SIP/2.0 503 Going\r\n"
            b"Via: SIP/2.0/SCTP ours;branch=z9hG4bKours,SIP/2.0/UDP pc33;branch=z9hG4bK77\r\n"
            b"t:\r\n Bob <sip:bob@biloxi.example.com>;tag=tt\r\n"
            b"v: SIP/2.0/TCP third\r\n"
            b"f: <sip:alice@atlanta.example.com>;tag=1928301774\r\n"
            b"i: a84b4c76e66710\r\n"
            b"CSeq:  314159  INVITE\r\n"
            b"Retry-After: 120\r\n"
            b"Content-Length: 0\r\n\r\n",
        )
        self.assertEqual((response.status, response.reason, response.toTag), (503, b"Going", b"tt"))
        self.consistent(response)

    def test_stableTag(self) -> None:
        """
        Without a tag given, a request and its retransmission get the same one, others another.
        """
        one, again = respond(request(), 486), respond(request(), 200)
        self.assertEqual(one.toTag, again.toTag)
        self.assertEqual(len(one.toTag), 16)
        self.consistent(one)
        other = request()
        other.set(b"Call-ID", b"other")
        self.assertNotEqual(respond(other, 486).toTag, one.toTag)

    def test_tagged(self) -> None:
        """
        A To tag of the request stays.
        """
        tagged = request()
        tagged.set(b"To", b"<sip:b>;tag=there")
        response = respond(tagged, 481, toTag=b"new")
        self.assertEqual(response.toTag, b"there")
        self.assertNotIn(b"new", response.toBytes())
        self.consistent(response)

    def test_untouched(self) -> None:
        """
        The request stays as it is.
        """
        original = request()
        respond(original, 200, toTag=b"x", headers=[(b"Via", b"SIP/2.0/UDP h")]).pushVia(b"SIP/2.0/UDP h")
        self.assertEqual(original.toBytes(), DATA)
        self.assertEqual(original.toTag, b"")

    def test_injection(self) -> None:
        """
        Nothing given becomes a line of its own.
        """
        self.assertRaises(ValueError, respond, request(), 500, b"a\r\nb: c")
        self.assertRaises(ValueError, respond, request(), 500, None, b"x\r\nb: c")
        self.assertRaises(ValueError, respond, request(), 500, None, b"", [(b"X", b"a\nb: c")])

    def test_reasons(self) -> None:
        """
        Phrases for all codes of RFC 3261 §21, and a class's own for unknown ones.
        """
        self.assertEqual((reasonOf(100), reasonOf(606)), (b"Trying", b"Not Acceptable"))
        self.assertEqual(
            [reasonOf(code) for code in (199, 299, 399, 499, 599, 699)],
            [
                b"Early Dialog Terminated",
                b"OK",
                b"Multiple Choices",
                b"Bad Request",
                b"Server Internal Error",
                b"Decline",
            ],
        )
        self.assertTrue(all(100 <= code <= 699 and phrase for code, phrase in REASONS.items()))


class HopByHopTests(DeriveCase):
    """
    §17.1.1.3 and §9.1.
    """

    def test_ack(self) -> None:
        """
        Top Via alone, To of the response, Route and the CSeq number of the INVITE.
        """
        invite = request()
        response = respond(invite, 486, toTag=b"theirs")
        assert isinstance(response, Response)
        ack = ackFor(invite, response)
        self.assertEqual(
            ack.toBytes(),
            b"ACK sip:bob@biloxi.example.com;x SIP/2.0\r\n"
            b"Via: SIP/2.0/SCTP ours;branch=z9hG4bKours\r\n"
            b"Route: <sip:p1;lr>,\r\n <sip:p2;lr>\r\n"
            b"t:\r\n Bob <sip:bob@biloxi.example.com>;tag=theirs\r\n"
            b"f: <sip:alice@atlanta.example.com>;tag=1928301774\r\n"
            b"i: a84b4c76e66710\r\n"
            b"CSeq: 314159 ACK\r\n"
            b"Max-Forwards: 70\r\n"
            b"Content-Length: 0\r\n\r\n",
        )
        self.consistent(ack)
        self.assertEqual(invite.toBytes(), DATA)

    def test_cancel(self) -> None:
        """
        Likewise with the To of the INVITE, and a Reason.
        """
        invite = request()
        cancel = cancelFor(invite, [(b"Reason", b"SIP;cause=503")])
        self.assertEqual(
            cancel.toBytes(),
            b"CANCEL sip:bob@biloxi.example.com;x SIP/2.0\r\n"
            b"Via: SIP/2.0/SCTP ours;branch=z9hG4bKours\r\n"
            b"Route: <sip:p1;lr>,\r\n <sip:p2;lr>\r\n"
            b"t:\r\n Bob <sip:bob@biloxi.example.com> \r\n"
            b"f: <sip:alice@atlanta.example.com>;tag=1928301774\r\n"
            b"i: a84b4c76e66710\r\n"
            b"CSeq: 314159 CANCEL\r\n"
            b"Max-Forwards: 70\r\n"
            b"Reason: SIP;cause=503\r\n"
            b"Content-Length: 0\r\n\r\n",
        )
        self.consistent(cancel)

    def test_pushed(self) -> None:
        """
        A Via that was pushed is the one that counts.
        """
        invite = request()
        invite.pushVia(b"SIP/2.0/TCP new;branch=z9hG4bKnew")
        cancel = cancelFor(invite)
        self.assertEqual(
            (cancel.branch, cancel.getAll(b"Via")), (b"z9hG4bKnew", [b"SIP/2.0/TCP new;branch=z9hG4bKnew"])
        )
