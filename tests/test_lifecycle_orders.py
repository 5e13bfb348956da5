"""
Orders, and the one form of bytes that they are signed in.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from math import inf, nan
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.errors import OrderRefused
from sipgrace.lifecycle.authorization import MAY, Role
from sipgrace.lifecycle.orderform import DOMAIN, SignedOrder, fromText, newNonce, sign, signedBytes, toText
from sipgrace.lifecycle.orders import Announce, Kind, Order

FULL = Order(
    kind=Kind.DRAIN,
    who="Zoë",
    when=1763800000.25,
    why='disk "sda" \\ 2',
    guard=30,
    retryAfter=120.5,
    announce=Announce.BOTH,
    back=600,
    over=0,
    then="run",
    node="server-102",
    nonce="4f2b8c0d9e1a77635a90b2c4d6e8f001",
    expires=1763800060,
)
TEXT = (
    '{"announce":"both","back_ms":600000,"expires_ms":1763800060000,"guard_ms":30000,"kind":"drain",'
    '"node":"server-102","nonce":"4f2b8c0d9e1a77635a90b2c4d6e8f001","over_ms":0,"retry_after_ms":120500,'
    '"then":"run","when_ms":1763800000250,"who":"Zoë","why":"disk \\"sda\\" \\\\ 2"}'
)


class OrderTests(SynchronousTestCase):
    def test_refused(self) -> None:
        """
        What cannot be meant, or would break out of a header or a line of a log.
        """
        cases: list[tuple[dict[str, object], str]] = [
            ({"guard": -1}, "drain: its guard is -1; a number of seconds from 0 up is expected"),
            ({"retryAfter": inf}, "drain: its Retry-After is inf; a number of seconds from 0 up is expected"),
            ({"over": nan}, "drain: its over is nan; a number of seconds from 0 up is expected"),
            ({"expires": -5.0}, "drain: its expires is -5.0; a number of seconds from 0 up is expected"),
            ({"guard": 86400.5}, "drain: its guard is 86400.5 s; at most 86400 s are expected"),
            ({"over": 99999999}, "drain: its over is 99999999 s; at most 86400 s are expected"),
            ({"retryAfter": 604801}, "drain: its Retry-After is 604801 s; at most 604800 s are expected"),
            ({"when": 5e8, "back": 6e8}, "drain: its scheduled return is more than 366 days away"),
            ({"why": "a\r\nb"}, "why: one line of printable characters is expected"),
            ({"why": "x" * 501}, "why: at most 500 characters are expected, found 501"),
            ({"who": "x" * 101}, "who: at most 100 characters are expected, found 101"),
            ({"who": "\x1b[2J"}, "who: one line of printable characters is expected"),
            (
                {"then": "rm -rf /"},
                "drain: what is to follow is 'rm -rf /'; one of stay, exit, run is expected",
            ),
        ]
        for values, text in cases:
            given = {"kind": Kind.DRAIN, "who": "alice", "when": 1.0, **values}
            error = self.assertRaises(OrderRefused, Order, **given)
            self.assertEqual(str(error), text)

    def test_facts(self) -> None:
        """
        For display: what is not set is left out, where it is new.
        """
        self.assertEqual(
            Order(kind=Kind.CANCEL, who="alice", when=1.0, nonce="n").facts(),
            {
                "kind": "cancel",
                "who": "alice",
                "when": 1.0,
                "why": "",
                "guard": None,
                "retryAfter": None,
                "announce": None,
                "back": None,
                "nonce": "n",
            },
        )
        facts = FULL.facts()
        self.assertEqual((facts["over"], facts["then"], facts["announce"]), (0, "run", "both"))
        json.dumps(facts)


class FormTests(SynchronousTestCase):
    def test_text(self) -> None:
        """
        The very bytes: other programs write them, too.
        """
        self.assertEqual(toText(FULL), TEXT)
        self.assertEqual(fromText(TEXT), FULL)
        self.assertEqual(signedBytes(TEXT), b"sipgrace order 1\n" + TEXT.encode("utf-8"))

    def test_shortest(self) -> None:
        text = '{"kind":"resume","when_ms":1000,"who":"x"}'
        self.assertEqual(fromText(text), Order(kind=Kind.RESUME, who="x", when=1.0))
        self.assertEqual(toText(fromText(text)), text)

    def test_refused(self) -> None:
        """
        Anything that is not the one form.
        """
        other = "the order is not in the one form that can be signed (sorted keys, no blanks)"
        cases = [
            ("", "the order is not JSON"),
            ("{", "the order is not JSON"),
            ("[" * 8000, "the order is not JSON"),
            ("[]", "the order is no JSON object"),
            ('"drain"', "the order is no JSON object"),
            ("x" * 8193, "the order is 8193 characters long; at most 8192 are expected"),
            ('{"kind":"drain","who":"x"}', "the order has no when_ms"),
            ('{"when_ms":1,"who":"x"}', "the order has no kind"),
            ('{"kind":"drain","when_ms":1}', "the order has no who"),
            (
                '{"kind":"dance","when_ms":1,"who":"x"}',
                "the order's kind is none of drain, cancel, extend, resume, offline, rehearse, skip, unskip, "
                "reject, admit",
            ),
            (
                '{"announce":"loudly","kind":"drain","when_ms":1,"who":"x"}',
                "the order's announce is none of in-answer, broadcast, both",
            ),
            ('{"kind":7,"when_ms":1,"who":"x"}', "the order's kind is no text"),
            ('{"kind":"drain","when_ms":1,"who":""}', "the order's who is no text"),
            ('{"kind":"drain","when_ms":1,"who":null}', "the order's who is no text"),
            (
                '{"kind":"drain","when_ms":1.0,"who":"x"}',
                "the order's when_ms is not a whole number of milliseconds from 0 up",
            ),
            (
                '{"kind":"drain","when_ms":true,"who":"x"}',
                "the order's when_ms is not a whole number of milliseconds from 0 up",
            ),
            (
                '{"guard_ms":-1,"kind":"drain","when_ms":1,"who":"x"}',
                "the order's guard_ms is not a whole number of milliseconds from 0 up",
            ),
            (
                '{"guard_ms":9007199254740992,"kind":"drain","when_ms":1,"who":"x"}',
                "the order's guard_ms is not a whole number of milliseconds from 0 up",
            ),
            (
                '{"guard_ms":NaN,"kind":"drain","when_ms":1,"who":"x"}',
                "the order's guard_ms is not a whole number of milliseconds from 0 up",
            ),
            (
                '{"kind":"drain","sudo":"x","when_ms":1,"who":"x"}',
                "the order has 'sudo', which is not known here",
            ),
            (
                '{"kind":"drain","when_ms":1,"who":"x","why":"a\\nb"}',
                "why: one line of printable characters is expected",
            ),
            (
                '{"kind":"drain","when_ms":1,"who":"\\ud800"}',
                "who: one line of printable characters is expected",
            ),
            # The same order, but other bytes.
            ('{"kind": "drain","when_ms":1,"who":"x"}', other),
            ('{"who":"x","kind":"drain","when_ms":1}', other),
            ('{"kind":"resume","kind":"drain","when_ms":1,"who":"x"}', other),
            ('{"kind":"drain","when_ms":1,"who":"\\u0078"}', other),
            ('{"kind":"drain","when_ms":1,"who":"x"}\n', other),
        ]
        for text, reason in cases:
            error = self.assertRaises(OrderRefused, fromText, text)
            self.assertEqual(str(error), reason, text[:100])
        self.assertRaises(OrderRefused, signedBytes, "\ud800")

    def test_nonces(self) -> None:
        made = {newNonce() for _ in range(100)}
        self.assertEqual(len(made), 100)
        self.assertEqual({len(nonce) for nonce in made}, {32})


class SignedTests(SynchronousTestCase):
    def test_signature(self) -> None:
        """
        Ed25519 over the domain and the text: repeatable, so that other programs can be held to it.
        """
        key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
        signed = sign(FULL, "alice", key)
        self.assertEqual((signed.text, signed.key), (TEXT, "alice"))
        key.public_key().verify(signed.signature, DOMAIN + TEXT.encode("utf-8"))
        self.assertEqual(signed.signature, key.sign(DOMAIN + TEXT.encode("utf-8")))

    def test_json(self) -> None:
        signed = sign(FULL, "alice", Ed25519PrivateKey.generate())
        values = json.loads(json.dumps(signed.toJSON()))
        self.assertEqual(
            values,
            {"order": TEXT, "key": "alice", "signature": b64encode(signed.signature).decode("ascii")},
        )
        self.assertEqual(SignedOrder.fromJSON(values), signed)

    def test_wrongJSON(self) -> None:
        good = {"order": "{}", "key": "alice", "signature": ""}
        cases: list[tuple[object, str]] = [
            (None, "a signed order is an object with order, key and signature"),
            ([], "a signed order is an object with order, key and signature"),
            ({}, "a signed order is an object with order, key and signature"),
            ({**good, "more": ""}, "a signed order is an object with order, key and signature"),
            ({**good, "order": {}}, "the order of a signed order is a string"),
            ({**good, "key": 1}, "the key of a signed order is a string"),
            ({**good, "signature": None}, "the signature of a signed order is a string"),
            ({**good, "signature": "*"}, "the signature of a signed order is base64"),
            ({**good, "signature": "ä"}, "the signature of a signed order is base64"),
        ]
        for values, reason in cases:
            error = self.assertRaises(OrderRefused, SignedOrder.fromJSON, values)
            self.assertEqual(str(error), reason)


class PageTests(SynchronousTestCase):
    """
    C{docs/orders.rst}, which other programs are written by.
    """

    page = Path(__file__).parent.parent / "docs" / "orders.rst"

    def setUp(self) -> None:
        if not self.page.exists():
            self.skipTest(f"{self.page} is not there")
        self.text = self.page.read_text(encoding="utf-8")

    def test_vector(self) -> None:
        """
        The text, its signature and the key to check other programs by.
        """
        key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
        public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        signature = b64encode(sign(FULL, "alice", key).signature).decode()
        for expected in (f"    {TEXT}\n", f"    {signature}\n", f'public = "{public}"'):
            self.assertIn(expected, self.text)

    def test_members(self) -> None:
        """
        All members are there, and no others; what is needed is said to be.
        """
        table = self.text[self.text.index("   * - member") : self.text.index("What is signed is")]
        found = dict(re.findall(r"   \* - ``(\w+)``\n     - (.+)", table))
        order = Order(
            kind=Kind.SKIP,
            who="x",
            when=1,
            why="x",
            guard=1,
            retryAfter=1,
            announce=Announce.BOTH,
            back=1,
            over=1,
            then="stay",
            server="x",
            rule="x",
            node="x",
            nonce="x",
            expires=1,
        )
        self.assertEqual(list(found), list(json.loads(toText(order))))
        needed = [name for name, meaning in found.items() if "needed" in meaning]
        self.assertEqual(needed, ["expires_ms", "kind", "node", "nonce", "when_ms", "who"])

    def test_kinds(self) -> None:
        """
        Every kind, with the least role that may give it.
        """
        table = self.text[self.text.index("   * - kind") : self.text.index("Ways\n")]
        found = {
            kind: role
            for kinds, role in re.findall(r"   \* - (``.+``)\n     - .+\n     - (\w+)\n", table)
            for kind in re.findall(r"``(\w+)``", kinds)
        }
        expected = {str(kind): str(next(role for role in Role if kind in MAY[role])) for kind in Kind}
        self.assertEqual(found, expected)
