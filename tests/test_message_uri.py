"""
L{sipgrace.message.uri}.
"""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

from twisted.trial.unittest import SynchronousTestCase

from sipgrace.errors import ParseError
from sipgrace.message.uri import SIPURI, OtherURI, hostPort, parseURI, sameURI


class ParseTests(SynchronousTestCase):
    """
    From bytes and back.
    """

    def test_whole(self) -> None:
        """
        Every part of a SIP URI.
        """
        text = b"sips:alice:secret@[2001:db8::1]:5061;transport=tcp;lr;x=?Subject=a%20b&to=c"
        text = text.replace(b"x=?", b"x=y?")
        uri = SIPURI.parse(text)
        self.assertEqual(
            uri,
            SIPURI(
                b"sips",
                b"alice",
                b"secret",
                b"2001:db8::1",
                5061,
                ((b"transport", b"tcp"), (b"lr", None), (b"x", b"y")),
                ((b"Subject", b"a%20b"), (b"to", b"c")),
            ),
        )
        self.assertEqual(bytes(uri), text)
        self.assertEqual(
            (uri.param(b"TRANSPORT"), uri.param(b"lr"), uri.param(b"maddr")), (b"tcp", b"", None)
        )

    def test_roundTrip(self) -> None:
        """
        All these leave as they came.
        """
        for text in (
            b"sip:example.com",
            b"sip:example.com:65535",
            b"sip:a@192.0.2.1:1",
            b"sip:a:@h",
            b"sip:user;par=u%40example.net@example.com",
            b"sip:a?b@h",
            b"sip:+1-212;isub=5@h;user=phone",
            b"sip:h;maddr=[::1]",
            b"tel:+12015550123;phone-context=x",
            b"urn:service:sos",
            b"soap.beep://192.0.2.103:3002",
            b"sip:\xc3\xa4@h",
        ):
            self.assertEqual(bytes(parseURI(text)), text)
        self.assertEqual(bytes(parseURI(b"SIP:H")), b"sip:H")
        self.assertEqual(parseURI(b"TEL:+1"), OtherURI(b"tel", b"+1"))

    def test_malformed(self) -> None:
        """
        What is no URI, with the status for its sender.
        """
        for text in (
            b"",
            b"sip",
            b":",
            b"sip:",
            b"1sip:a",
            b"sip:@h",
            b"sip:a@",
            b"sip:a@b@c",
            b"sip:a b@c",
            b"sip:a@b c",
            b"sip:a@b; lr",
            b"<sip:a>",
            b'sip:"a"@b',
            b"sip:h:",
            b"sip:h:0",
            b"sip:h:65536",
            b"sip:h:1000000",
            b"sip:h:x",
            b"sip:h;",
            b"sip:h;;a",
            b"sip:h;=a",
            b"sip:h?",
            b"sip:h?a",
            b"sip:h?a=b&",
            b"sip:2001:db8::10",
            b"sip:[2001:db8::g]",
            b"sip:[1:2:3]",
            b"sip:[]",
            b"sip:[::1",
            b"sip:a@-h",
            b"sip:a\r\n@h",
            b"sip:a@h\0",
        ):
            self.assertEqual(self.assertRaises(ParseError, parseURI, text).status, 400, text)
        self.assertEqual(self.assertRaises(ParseError, SIPURI.parse, b"tel:+1").status, 416)

    def test_value(self) -> None:
        """
        It is a value: hashable, comparable, not to be changed but by making another.
        """
        uri = SIPURI.parse(b"sip:h")
        self.assertEqual(len({uri, SIPURI.parse(b"sip:h")}), 1)
        self.assertRaises(FrozenInstanceError, setattr, uri, "host", b"i")
        self.assertEqual(bytes(replace(uri, user=b"bob")), b"sip:bob@h")


class SameTests(SynchronousTestCase):
    """
    RFC 3261 §19.1.4.
    """

    def test_equivalent(self) -> None:
        """
        The examples of equivalent ones, and some more.
        """
        for one, other in (
            (b"sip:%61lice@atlanta.com;transport=TCP", b"sip:alice@AtLanTa.CoM;Transport=tcp"),
            (b"sip:carol@chicago.com", b"sip:carol@chicago.com;newparam=5"),
            (b"sip:carol@chicago.com", b"sip:carol@chicago.com;security=on"),
            (
                b"sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
                b"sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
            ),
            (
                b"sip:alice@atlanta.com?subject=project%20x&priority=urgent",
                b"sip:alice@atlanta.com?priority=urgent&subject=project%20x",
            ),
            (b"sip:a@[2001:db8::1]", b"sip:a@[2001:DB8:0:0::1]"),
            (b"sip:a%2fb@h", b"sip:a%2Fb@h"),
            (b"tel:+1", b"TEL:+1"),
        ):
            self.assertTrue(sameURI(parseURI(one), parseURI(other)), one)
            self.assertTrue(sameURI(parseURI(other), parseURI(one)), one)

    def test_different(self) -> None:
        """
        The examples of others, and some more.
        """
        for one, other in (
            (b"SIP:ALICE@AtLanTa.CoM;Transport=udp", b"sip:alice@AtLanTa.CoM;Transport=UDP"),
            (b"sip:bob@biloxi.com", b"sip:bob@biloxi.com:5060"),
            (b"sip:bob@biloxi.com", b"sip:bob@biloxi.com;transport=udp"),
            (b"sip:bob@biloxi.com", b"sip:bob@biloxi.com:6000;transport=tcp"),
            (b"sip:carol@chicago.com", b"sip:carol@chicago.com?Subject=next%20meeting"),
            (b"sip:bob@phone21.boxesbybob.com", b"sip:bob@192.0.2.4"),
            (b"sip:carol@chicago.com;security=on", b"sip:carol@chicago.com;security=off"),
            (b"sip:a@h", b"sips:a@h"),
            (b"sip:a@h", b"sip:h"),
            (b"sip:a@h", b"sip:a:b@h"),
            (b"sip:a:@h", b"sip:a@h"),
            (b"sip:a@h;maddr=i", b"sip:a@h"),
            (b"sip:a@h;user=ip", b"sip:a@h"),
            (b"sip:a@h;ttl=1", b"sip:a@h"),
            (b"sip:a@h;method=INVITE", b"sip:a@h"),
            (b"sip:a%2Fb@h", b"sip:a/b@h"),
            (b"tel:+1", b"tel:+2"),
            (b"sip:+1@h", b"tel:+1"),
        ):
            self.assertFalse(sameURI(parseURI(one), parseURI(other)), one)
            self.assertFalse(sameURI(parseURI(other), parseURI(one)), one)


class HostPortTests(SynchronousTestCase):
    """
    L{hostPort}.
    """

    def test_all(self) -> None:
        """
        Names, IPv4, IPv6 with brackets or without; with a port or without.
        """
        self.assertEqual(hostPort(b"h"), b"h")
        self.assertEqual(hostPort(b"192.0.2.1", 5060), b"192.0.2.1:5060")
        self.assertEqual(hostPort(b"::1"), b"[::1]")
        self.assertEqual(hostPort(b"::1", 5060), b"[::1]:5060")
        self.assertEqual(hostPort(b"[::1]", 5060), b"[::1]:5060")
