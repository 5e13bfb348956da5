"""
Tests of L{sipgrace.control.commands}: what is said on a link.
"""

from __future__ import annotations

from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.control.commands import JSON, GiveOrder, phrase
from sipgrace.errors import OrderRefused


class JSONTests(SynchronousTestCase):
    """
    Values of any length.
    """

    def through(self, value: object) -> list[tuple[bytes, int]]:
        """
        Sends a value through the bytes of a box, and compares.

        @return: the keys and lengths that it took.
        """
        box = amp.AmpBox()
        JSON().toBox(b"fact", box, {"fact": value}, None)
        (read,) = amp.parseString(box.serialize())
        taken = sorted((key, len(piece)) for key, piece in read.items())
        objects: dict[str, object] = {}
        JSON().fromBox(b"fact", read, objects, None)
        self.assertEqual(objects, {"fact": value})
        self.assertEqual(read, {})
        return taken

    def test_short(self) -> None:
        self.assertEqual(self.through({"a": [1, 2.5, None, True]}), [(b"fact", 23)])

    def test_limit(self) -> None:
        """
        What just fits is not split; one byte more is.
        """
        self.assertEqual(self.through("x" * 65533), [(b"fact", 65535)])
        self.assertEqual(self.through("x" * 65534), [(b"fact", 65535), (b"fact.1", 1)])

    def test_long(self) -> None:
        """
        The pieces are cut without regard to characters.
        """
        self.assertEqual(
            self.through("ü→" * 30000),
            [(b"fact", 65535), *((b"fact.%d" % at, 65535) for at in range(1, 5)), (b"fact.5", 32327)],
        )

    def test_neighbours(self) -> None:
        """
        What follows another value under a name that only looks alike is left alone.
        """
        objects: dict[str, object] = {}
        box = {b"fact": b"1", b"fact.2": b"2", b"factor": b"3"}
        JSON().fromBox(b"fact", box, objects, None)
        self.assertEqual(objects, {"fact": 1})
        self.assertEqual(box, {b"fact.2": b"2", b"factor": b"3"})

    def test_missing(self) -> None:
        self.assertRaises(KeyError, JSON().fromBox, b"fact", {}, {}, None)

    def test_wrong(self) -> None:
        self.assertRaises(ValueError, JSON().fromBox, b"fact", {b"fact": b"{"}, {}, None)


class Arguments(SynchronousTestCase):
    """
    Arguments that cannot be read.
    """

    def test_malformed(self) -> None:
        """
        The sender is told which command, and what is the matter.
        """
        for box, text in [
            ({}, "order: its arguments cannot be read: KeyError(b'kind')"),
            (
                {b"kind": b"drain", b"guard": b"soon"},
                "order: its arguments cannot be read: "
                "ValueError(\"could not convert string to float: b'soon'\")",
            ),
        ]:
            error = self.assertRaises(amp.RemoteAmpError, GiveOrder.parseArguments, box, None)
            self.assertEqual((error.errorCode, error.description), (b"MALFORMED", text))

    def test_optional(self) -> None:
        self.assertEqual(
            GiveOrder.parseArguments({b"kind": b"drain"}, None),
            {
                "kind": "drain",
                "who": None,
                "why": None,
                "guard": None,
                "retryAfter": None,
                "announce": None,
                "back": None,
                "over": None,
                "then": None,
                "server": None,
                "rule": None,
            },
        )


class Phrase(SynchronousTestCase):
    """
    The reason for an order.
    """

    def test_good(self) -> None:
        for why in ("", 'Kernel für 110 → 112; "quoted"', "x" * 500):
            self.assertEqual(phrase(why), why)

    def test_bad(self) -> None:
        """
        Nothing that would end a header or a line.
        """
        for why in ("a\r\nVia: b", "a\x00", "a\x1b[2J", "a\u2028b"):
            error = self.assertRaises(OrderRefused, phrase, why)
            self.assertEqual(str(error), "why: one line of printable characters is expected")
        error = self.assertRaises(OrderRefused, phrase, "x" * 501)
        self.assertEqual(str(error), "why: at most 500 characters are expected, found 501")
