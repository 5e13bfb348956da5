"""
L{sipgrace.message.framing}.
"""

from __future__ import annotations

import time

from twisted.trial.unittest import SynchronousTestCase

from sipgrace.errors import ParseError
from sipgrace.message.framing import Limits, StreamFramer
from sipgrace.message.message import Response
from sipgrace.message.parser import parse

HEAD = (
    b"OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bKx\r\nFrom: <sip:a>;tag=1\r\nTo: <sip:h>\r\n"
    b"Call-ID: c\r\nCSeq: 1 OPTIONS\r\n"
)


def message(body: bytes = b"", length: bytes | None = None) -> bytes:
    """
    @param length: the whole Content-Length line where it is not the usual one.
    """
    line = b"Content-Length: %d\r\n" % len(body) if length is None else length
    return HEAD + line + b"\r\n" + body


class FramingTests(SynchronousTestCase):
    """
    What is whole, and what is not.
    """

    def setUp(self) -> None:
        self.framer = StreamFramer()

    def lost(self, data: bytes, status: int, reason: str, limits: Limits | None = None) -> ParseError:
        """
        Asserts that framing is lost over it, whole or byte by byte, and for good.
        """
        for pieces in ([data], [data[place : place + 1] for place in range(len(data))]):
            framer = StreamFramer(limits or Limits())

            def feedAll(pieces: list[bytes] = pieces, framer: StreamFramer = framer) -> None:
                for piece in pieces:
                    self.assertEqual(framer.feed(piece), [])

            error = self.assertRaises(ParseError, feedAll)
            self.assertEqual((error.fatal, error.status, error.reason), (True, status, reason))
            self.assertIs(self.assertRaises(ParseError, framer.feed, message()), error)
        return error

    def test_whole(self) -> None:
        """
        Several at once, with bodies that look like messages.
        """
        first, second, third = message(message()), message(), message(b"\r\n\r\n")
        self.assertEqual(self.framer.feed(first + second + third[:-1]), [first, second])
        self.assertEqual(self.framer.feed(third[-1:]), [third])
        self.assertEqual(self.framer.feed(b""), [])

    def test_everySplit(self) -> None:
        """
        Wherever the stream is cut in two, the same messages come out.
        """
        data = b"\r\n\r\n" + message(b"a\r\n\r\nb") + b"\r\n" + message(b"", b"l:0\r\n")
        whole = self.framer.feed(data)
        self.assertEqual(whole, [message(b"a\r\n\r\nb"), message(b"", b"l:0\r\n")])
        for place in range(len(data) + 1):
            framer = StreamFramer()
            self.assertEqual(framer.feed(data[:place]) + framer.feed(data[place:]), whole)
            self.assertEqual(framer.pings, 1)

    def test_byteByByte(self) -> None:
        """
        So does every single byte, in time linear in their number.
        """
        data = message(b"x" * 60000)
        head = HEAD + b"X: y\r\n" * 8000 + b"Content-Length: 0\r\n\r\n"
        for whole in (data, head):
            started = time.process_time()
            for place in range(len(whole) - 1):
                self.assertEqual(self.framer.feed(whole[place : place + 1]), [])
            self.assertEqual(self.framer.feed(whole[-1:]), [whole])
            # Quadratic work would be 10**9 steps.
            self.assertLess(time.process_time() - started, 2.0)

    def test_manyMessages(self) -> None:
        """
        Many in one read take time linear in their number, too.
        """
        data = message()
        started = time.process_time()
        self.assertEqual(self.framer.feed(data * 5000), [data] * 5000)
        self.assertLess(time.process_time() - started, 2.0)

    def test_contentLength(self) -> None:
        """
        Any spelling of the name, blanks and folds; nothing that merely looks like it.
        """
        for line in (
            b"Content-Length: 4\r\n",
            b"CONTENT-LENGTH :4\r\n",
            b"l:0004\r\n",
            b"L \t:\r\n 4\r\n",
            b"X: y\r\n Content-Length: 9\r\nl: 4\r\n",
            b"X-Content-Length: 9\r\nl: 4\r\nX: l: 8\r\n",
        ):
            whole = message(b"body", line)
            self.assertEqual(StreamFramer().feed(whole + b"OPT"), [whole])

    def test_lost(self) -> None:
        """
        No Content-Length, several, or none that is a number: nobody knows where the next message begins.
        """
        for line, reason in (
            (b"", "Missing Content-Length header field"),
            (b"X: y\r\n l: 4\r\n", "Missing Content-Length header field"),
            (b"l: 4\r\nContent-Length: 4\r\n", "Several Content-Length header fields"),
            (b"l: 4\r\nl: 5\r\n", "Several Content-Length header fields"),
            (b"l:\r\n", "Malformed Content-Length header field"),
            (b"l: -4\r\n", "Malformed Content-Length header field"),
            (b"l: 4 4\r\n", "Malformed Content-Length header field"),
            (b"l: 4\r\n 4\r\n", "Malformed Content-Length header field"),
            (b"l: 0x4\r\n", "Malformed Content-Length header field"),
        ):
            error = self.lost(message(b"", line), 400, reason)
            assert error.answer is not None
            answer = parse(error.answer)
            assert isinstance(answer, Response)
            self.assertEqual((answer.status, answer.branch), (400, b"z9hG4bKx"))

    def test_agrees(self) -> None:
        """
        The parser sees the same Content-Length, or refuses the message: nobody can hide one in the body
        of another. A stray line break counts as a line end for both.
        """
        for line in (
            b"X: y\nContent-Length: 4\r\nl: 0\r\n",
            b"X: y\rl: 4\r\nl: 0\r\n",
            b"l: 0\r\nX: y\nl: 4\r\n",
        ):
            self.lost(message(b"", line), 400, "Several Content-Length header fields")
        whole = message(b"body", b"X: y\nl: 4\r\n")
        self.assertEqual(self.framer.feed(whole), [whole])
        self.assertEqual(parse(whole).contentLength, 4)

    def test_tooLarge(self) -> None:
        """
        413 before the body is there, and before the header fields end; no more is kept than may be.
        """
        limits = Limits(message=400)
        self.assertEqual(len(message(b"")), 143)
        self.assertEqual(len(StreamFramer(limits).feed(message(b"x" * 250))), 1)
        for data in (
            message(b"", b"l: 400\r\n"),
            message(b"", b"l: " + b"9" * 100 + b"\r\n"),
            HEAD + b"X: y\r\n" * 50,
        ):
            error = self.lost(data, 413, "Message too large", limits)
            assert error.answer is not None
            self.assertTrue(error.answer.startswith(b"SIP/2.0 413 Message too large\r\n"))
        self.assertIsNone(self.lost(b"\0" * 401, 413, "Message too large", limits).answer)

    def test_before(self) -> None:
        """
        What stood before the loss is handed out; the next call raises.
        """
        self.assertEqual(self.framer.feed(message() + message(b"", b"")), [message()])
        error = self.assertRaises(ParseError, self.framer.feed, b"")
        self.assertEqual(error.reason, "Missing Content-Length header field")

    def test_pings(self) -> None:
        """
        Two empty lines are a keep-alive (RFC 5626 §3.5.1), one is none, nor are those within a message.
        """
        for data, pings in (
            (b"\r\n", 0),
            (b"\r\n\r\n", 1),
            (b"\r\n\r\n\r\n\r\n\r\n", 2),
            (b"\r\n" + message() + b"\r\n", 0),
            (b"\r\n\r\n" + message(b"\r\n\r\n") + b"\r\n\r\n", 2),
        ):
            framer = StreamFramer()
            for place in range(len(data)):
                framer.feed(data[place : place + 1])
            self.assertEqual(framer.pings, pings, data)
            framer.pings = 0
            framer.feed(data)
            self.assertGreaterEqual(framer.pings, pings)

    def test_garbage(self) -> None:
        """
        What has no message in it is kept up to the limit, then refused.
        """
        self.assertEqual(self.framer.feed(b"\xff" * 65536), [])
        self.assertEqual(self.assertRaises(ParseError, self.framer.feed, b"\xff").status, 413)
        self.assertRaises(ParseError, StreamFramer().feed, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
