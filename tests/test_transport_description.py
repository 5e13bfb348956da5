"""
Tests for L{sipgrace.transport.description} and L{sipgrace.transport.address}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipgrace.errors import ConfigError
from sipgrace.transport.address import (
    hostPort,
    isLiteral,
    isWildcard,
    plainHost,
    splitHostPort,
    viaOf,
)
from sipgrace.transport.description import joinDescription, parseDescription


class DescriptionTests(SynchronousTestCase):
    """
    L{parseDescription} and L{joinDescription}.
    """

    def test_parts(self) -> None:
        parsed = parseDescription(r"tcp:5060:interface=\:\:1:odd=a\=b=c\\d")
        self.assertEqual(
            (parsed.transport, parsed.positional, parsed.arguments),
            (b"TCP", ("5060",), {"interface": "::1", "odd": "a=b=c\\d"}),
        )

    def test_thereAndBack(self) -> None:
        arguments = {"host": "2001:db8::1", "port": "5060", "file": "a=b:c\\d"}
        text = joinDescription(b"SCTP", arguments, "encaps=9899:stack=userspace")
        parsed = parseDescription(text)
        self.assertEqual((parsed.transport, parsed.positional), (b"SCTP", ()))
        self.assertEqual(parsed.arguments, {**arguments, "encaps": "9899", "stack": "userspace"})

    def test_noExtra(self) -> None:
        self.assertEqual(
            joinDescription(b"TCP", {"host": "192.0.2.1", "port": 5060}), "tcp:host=192.0.2.1:port=5060"
        )

    def test_unknownTransport(self) -> None:
        for text in ("", "TCP:5060", "5060", "unix:/tmp/x", "tcp=5060"):
            self.assertRaises(ConfigError, parseDescription, text)

    def test_named(self) -> None:
        parsed = parseDescription("udp:5060:interface=192.0.2.1")
        self.assertEqual(parsed.named(("port",), ("interface",)), {"port": "5060", "interface": "192.0.2.1"})
        self.assertRaises(ConfigError, parsed.named, ("port",), ())
        error = self.assertRaises(
            ConfigError, parseDescription("udp:5060:interface=::1").named, ("port",), ("interface",)
        )
        self.assertEqual(
            str(error),
            "'udp:5060:interface=::1': expected NAME=VALUE after each colon, found ''; a colon within a "
            r"value, as in an IPv6 address, is written \: (in TOML, between single quotes)",
        )
        self.assertRaises(ConfigError, parsed.named, (), ("interface", "port"))
        self.assertRaises(ConfigError, parseDescription("udp:5060:port=5061").named, ("port",), ())

    def test_number(self) -> None:
        parsed = parseDescription("udp:5060")
        self.assertEqual(parsed.number({"port": "5060"}, "port", 0, 65535), 5060)
        for value in ("", "-1", "65536", "5_0", "0x10", "٣", " 5060"):
            self.assertRaises(ConfigError, parsed.number, {"port": value}, "port", 0, 65535)
        self.assertRaises(ConfigError, parsed.number, {}, "port", 0, 65535)


class AddressTests(SynchronousTestCase):
    """
    L{sipgrace.transport.address}.
    """

    def test_hostPort(self) -> None:
        self.assertEqual(hostPort("192.0.2.1", 5060), "192.0.2.1:5060")
        self.assertEqual(hostPort("2001:db8::1", 5060), "[2001:db8::1]:5060")
        self.assertEqual(viaOf(b"TLS", "2001:db8::1", 5061), b"SIP/2.0/TLS [2001:db8::1]:5061")

    def test_split(self) -> None:
        for text, expected in (
            ("sip.example.com", ("sip.example.com", 7)),
            ("sip.example.com:5060", ("sip.example.com", 5060)),
            ("[2001:db8::1]", ("2001:db8::1", 7)),
            ("[2001:db8::1]:5060", ("2001:db8::1", 5060)),
            ("2001:db8::1", ("2001:db8::1", 7)),
        ):
            self.assertEqual(splitHostPort(text, 7), expected)

    def test_splitRefuses(self) -> None:
        for text in (
            "",
            ":5060",
            "a:",
            "a:b",
            "a:0",
            "a:65536",
            "[::1",
            "[::1]5060",
            "a b",
            "a;b",
            "ä",
            "[]",
        ):
            self.assertRaises(ConfigError, splitHostPort, text, 7)

    def test_plainHost(self) -> None:
        self.assertEqual(plainHost("::ffff:192.0.2.1"), "192.0.2.1")
        for host in ("::ffff:1", "2001:db8::1", "192.0.2.1"):
            self.assertEqual(plainHost(host), host)

    def test_wildcard(self) -> None:
        hosts = ("", "*", "0.0.0.0", "::", "192.0.2.1", "::1")
        self.assertEqual([isWildcard(host) for host in hosts], [True] * 4 + [False] * 2)

    def test_literal(self) -> None:
        hosts = ("192.0.2.1", "2001:db8::1", "sip.example.com", "1.2.3", "")
        self.assertEqual([isLiteral(host) for host in hosts], [True] * 2 + [False] * 3)
