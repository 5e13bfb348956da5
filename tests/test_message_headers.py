"""
L{sipgrace.message.headers}: each class there and back, and what it refuses.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from sipgrace.errors import ParseError
from sipgrace.message import params
from sipgrace.message.headers import Date, Event, NameAddr, Reason, RetryAfter, SubscriptionState, Via
from sipgrace.message.uri import SIPURI, OtherURI


class HeadersTests(SynchronousTestCase):
    """
    All of them.
    """

    def refusals(self, parse: Callable[[bytes], object], *values: bytes) -> None:
        """
        Asserts that each value raises.
        """
        for value in values:
            self.assertRaises(ParseError, parse, value)

    def test_via(self) -> None:
        """
        RFC 3261 §20.42, RFC 7339's parameters and IPv6 included.
        """
        text = (
            b'SIP/2.0/SCTP [2001:db8::1]:5060;branch=z9hG4bKa;rport;oc;oc-algo="loss,x";oc-seq=1282321615.782'
        )
        via = Via.parse(text)
        self.assertEqual((via.transport, via.host, via.port), (b"SCTP", b"2001:db8::1", 5060))
        self.assertEqual((via.sentBy, via.branch), (b"[2001:db8::1]:5060", b"z9hG4bKa"))
        self.assertEqual((via.param(b"oc"), via.param(b"OC-Algo"), via.param(b"x")), (b"", b"loss,x", None))
        self.assertEqual(bytes(via), text)
        self.assertEqual(bytes(Via.parse(b"sip / 2.0 / udp\r\n  h ; ttl = 1")), b"SIP/2.0/UDP h;ttl=1")
        self.assertEqual(Via.parse(b"SIP/2.0/UDP h").branch, b"")
        self.refusals(
            Via.parse, b"", b"SIP/2.0/UDP", b"SIP/2.0/UDP a, SIP/2.0/UDP b", b"SIP/2.0/UDP h;;", b"x"
        )
        self.assertEqual(self.assertRaises(ParseError, Via.parse, b"SIP/3.0/UDP h").status, 505)

    def test_nameAddr(self) -> None:
        """
        With brackets and without, with all that may stand in quotes.
        """
        uri = SIPURI.parse(b"sip:a@b;lr")
        for text, expected in (
            (b"<sip:a@b;lr>", NameAddr(uri)),
            (b"<sip:a@b;lr>;tag=1;x", NameAddr(uri, b"", ((b"tag", b"1"), (b"x", None)))),
            (b"Alice B <sip:a@b;lr>", NameAddr(uri, b"Alice B")),
            (b'"A, \\"<B>\\"" <sip:a@b;lr>;x="<,>"', NameAddr(uri, b'"A, \\"<B>\\""', ((b"x", b'"<,>"'),))),
            (b"<tel:+1>", NameAddr(OtherURI(b"tel", b"+1"))),
        ):
            self.assertEqual(NameAddr.parse(text), expected)
            self.assertEqual(bytes(expected), text)
        for text, expected in (
            (b"sip:a@b;lr", NameAddr(SIPURI.parse(b"sip:a@b"), b"", ((b"lr", None),))),
            (b"sip:a;x@b ; tag = 1", NameAddr(SIPURI.parse(b"sip:a;x@b"), b"", ((b"tag", b"1"),))),
            (b"tel:+1;tag=2", NameAddr(OtherURI(b"tel", b"+1"), b"", ((b"tag", b"2"),))),
            (b"Bell, A < sip:a@b;lr >;tag=1", NameAddr(uri, b"Bell, A", ((b"tag", b"1"),))),
            (b"A\r\n <sip:a@b;lr>", NameAddr(uri, b"A")),
        ):
            self.assertEqual(NameAddr.parse(text), expected)
        self.assertEqual(NameAddr.parse(b'"A \\"B\\"" <sip:a>').display, b'"A \\"B\\""')
        self.assertEqual(NameAddr.parse(b"<sip:a>;tag=x").param(b"TAG"), b"x")
        self.refusals(
            NameAddr.parse,
            b"",
            b"*",
            b"<>",
            b"<sip:a",
            b"sip:a>",
            b"<sip:a> x",
            b"<<sip:a>>",
            b'"a <sip:a>',
            b"<sip:a>, <sip:b>",
            b"sip:a@b, sip:c@d",
            b"sip:a@b?Route=x",
            b"<sip:a b>",
            b"<sip:a>;;",
        )

    def test_retryAfter(self) -> None:
        """
        RFC 3261 §20.33 and its examples.
        """
        for text, expected in (
            (b"18000;duration=3600", RetryAfter(18000, b"", 3600)),
            (b"120 (I'm in a meeting)", RetryAfter(120, b"I'm in a meeting")),
            (b"0", RetryAfter(0)),
            (b"4294967295", RetryAfter(4294967295)),
            (b"1 (a (b \\) c) d);duration=2", RetryAfter(1, b"a (b \\) c) d", 2)),
        ):
            self.assertEqual(RetryAfter.parse(text), expected)
            self.assertEqual(bytes(expected), text)
        self.assertEqual(RetryAfter.parse(b" 5(x) ; y ; Duration = 7"), RetryAfter(5, b"x", 7))
        self.refusals(
            RetryAfter.parse,
            b"",
            b"x",
            b"-1",
            b"4294967296",
            b"1 2",
            b"1 (a",
            b"1 (a (b)",
            b"1;duration=x",
            b"1;duration",
            b"Fri, 01 Jan 2010 16:00:00 GMT",
        )

    def test_subscriptionState(self) -> None:
        """
        RFC 6665 §8.2.3.
        """
        for text, expected in (
            (b"active;expires=600", SubscriptionState(b"active", b"", 600)),
            (
                b"terminated;reason=probation;retry-after=118",
                SubscriptionState(b"terminated", b"probation", None, 118),
            ),
            (b"pending", SubscriptionState(b"pending")),
        ):
            self.assertEqual(SubscriptionState.parse(text), expected)
            self.assertEqual(bytes(expected), text)
        self.assertEqual(SubscriptionState.parse(b"Active ;x"), SubscriptionState(b"active"))
        self.refusals(SubscriptionState.parse, b"", b";expires=1", b"active;expires=x", b"active,pending")

    def test_event(self) -> None:
        """
        RFC 6665 §8.2.1.
        """
        event = Event.parse(b"presence.winfo;id=7;x=y")
        self.assertEqual(
            (event.package, event.id, bytes(event)), (b"presence.winfo", b"7", b"presence.winfo;id=7;x=y")
        )
        self.assertEqual(Event.parse(b"dialog").id, b"")
        self.refusals(Event.parse, b"", b"a b")

    def test_reason(self) -> None:
        """
        RFC 3326.
        """
        reason = Reason(b"SIP", 503, b'server "102" drains')
        self.assertEqual(bytes(reason), b'SIP;cause=503;text="server \\"102\\" drains"')
        self.assertEqual(Reason.parse(bytes(reason)), reason)
        self.assertEqual(Reason.parse(b"Q.850 ;cause=16"), Reason(b"Q.850", 16))
        self.assertEqual(bytes(Reason(b"SIP")), b"SIP")
        self.refusals(Reason.parse, b"", b"SIP;cause=x", b'SIP;text="x')

    def test_date(self) -> None:
        """
        RFC 3261 §20.17.
        """
        self.assertEqual(Date.parse(b"Sat, 13 Nov 2010 23:29:00 GMT"), Date(1289690940))
        self.assertEqual(bytes(Date(1289690940)), b"Sat, 13 Nov 2010 23:29:00 GMT")
        self.refusals(
            Date.parse,
            b"",
            b"Sat, 13 Nov 2010 23:29:00 EST",
            b"Sat, 31 Feb 2010 23:29:00 GMT",
            b"Sat, 13 Nov 2010 24:29:00 GMT",
            b"Sat, 13 Nov 0000 23:29:00 GMT",
            b"13 Nov 2010 23:29:00 GMT",
        )


class ParamsTests(SynchronousTestCase):
    """
    L{sipgrace.message.params}, and names.
    """

    def test_quote(self) -> None:
        """
        There and back.
        """
        for text in (b"", b"a", b'"', b"\\", b'a\\"b\\\\'):
            self.assertEqual(params.unquote(params.quote(text)), text)
        self.assertEqual(params.unquote(b"token"), b"token")
        self.assertEqual(params.unquote(b'"'), b'"')

    def test_split(self) -> None:
        """
        In order, as they are written.
        """
        found = params.split(b' ; a = 1;b;c="x;y" ;d=[::1]')
        self.assertEqual(found, ((b"a", b"1"), (b"b", None), (b"c", b'"x;y"'), (b"d", b"[::1]")))
        self.assertEqual(params.join(found), b';a=1;b;c="x;y";d=[::1]')
        self.assertEqual(params.split(b""), ())
        self.assertEqual(
            (params.find(found, b"C"), params.find(found, b"b"), params.find(found, b"e")),
            (b"x;y", b"", None),
        )
        for text in (b"a", b";", b";a;", b";a=", b';a="', b";a=1 2", b";a=1,b", b";\xff"):
            self.assertRaises(ParseError, params.split, text)
