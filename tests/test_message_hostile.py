"""
Bytes that nobody should send: nothing but L{ParseError} comes of them, and no more work than their
length warrants.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from sipgrace.errors import ParseError
from sipgrace.message.derive import ackFor, cancelFor, respond
from sipgrace.message.framing import Limits, StreamFramer
from sipgrace.message.headers import Date, Event, NameAddr, Reason, RetryAfter, SubscriptionState, Via
from sipgrace.message.message import Request, Response
from sipgrace.message.parser import parse
from sipgrace.message.uri import parseURI, sameURI

ROOT = Path(__file__).resolve().parent.parent
NAMES = (b"Via", b"From", b"t", b"Call-ID", b"Contact", b"Route", b"Record-Route", b"Supported", b"X-Own")
VALUES = (Via, NameAddr, RetryAfter, SubscriptionState, Event, Reason, Date)


def tolerate(read: Callable[..., object], *arguments: object) -> object:
    """
    Calls it; C{None} where it raises ParseError. Anything else is the failure that is looked for.
    """
    try:
        return read(*arguments)
    except ParseError as error:
        assert 400 <= error.status < 600 and error.reason.isascii()
        return None


def readAll(message: Request | Response) -> None:
    """
    Everything that can be asked of a message, and everything that can be done to it.
    """
    for name in NAMES:
        message.has(name)
        message.get(name)
        for value in message.getAll(name)[:10]:
            for cls in VALUES:
                again = tolerate(cls.parse, value)
                if again is not None:
                    # What was read can be written, and is then read as the same.
                    assert cls.parse(bytes(again)) == again, value
            uri = tolerate(parseURI, value)
            if uri is not None:
                assert sameURI(uri, uri)
        tolerate(message.elements, name)
        tolerate(message.copy().popFirst, name)
    if isinstance(message, Request):
        assert parseURI(message.uri) is not None
        # What is derived from an acceptable request is acceptable.
        response = respond(message, 486)
        assert parse(response.toBytes()).toTag == response.toTag
        parse(respond(message, 100).toBytes())
        parse(cancelFor(message).toBytes())
        parse(ackFor(message, response).toBytes())
    copy = message.copy()
    copy.markReceived(b"192.0.2.1", 5060)
    copy.pushVia(b"SIP/2.0/SCTP h;branch=z9hG4bKh")
    copy.setMaxForwards(5)
    again = parse(copy.toBytes(), Limits(message=10**6, line=10**5, headers=110))
    assert again.branch == b"z9hG4bKh" and again.maxForwards == 5
    for name in ("callId", "fromTag", "toTag", "cseq", "cseqMethod", "hasRoute", "body"):
        assert getattr(again, name) == getattr(message, name), name
    copy.popVia()
    assert (copy.branch, copy.sentBy) == (message.branch, message.sentBy)
    tolerate(copy.popVia)


class FuzzTests(SynchronousTestCase):
    """
    Messages that were damaged by a written pattern: the same in each run.
    """

    PIECES = (
        b"\r\n", b"\n", b"\r", b"\r\n ", b",", b";", b'"', b"\\", b"<", b">", b"@", b":", b"=", b"?",
        b"%00", b"\0", b"\xff", b" ", b"\t", b";tag=", b";branch=", b"SIP/2.0", b"[::1]", b"l: 0\r\n",
        b"v: SIP/2.0/UDP h\r\n", b"Route: ", b"(", b"99999999999", b"-1", b";rport", b";received=",
    )  # fmt: skip

    def seeds(self) -> list[bytes]:
        """
        @return: the messages to start with, those of RFC 4475 too where they are there.
        """
        paths = sorted((ROOT / "tests" / "messages").glob("*.sip"))
        paths += sorted((ROOT.parent / "shared" / "rfc4475").glob("*.dat"))
        found = [data for data in (path.read_bytes() for path in paths) if len(data) < 4000]
        # Those that are acceptable more often, as what is done with them afterwards is more.
        return found + [data for data in found if tolerate(parse, data)] * 2

    def damaged(self, random: Random, seeds: list[bytes]) -> bytes:
        """
        @return: one of them after one to four injuries.
        """
        data = random.choice(seeds)
        for _ in range(random.randint(1, 4)):
            place = random.randrange(len(data) + 1)
            end = min(len(data), place + random.randint(1, 40))
            injury = random.randrange(6)
            if injury == 0:
                data = data[:place] + data[end:]
            elif injury == 1:
                data = data[:place] + random.choice(self.PIECES) + data[place:]
            elif injury == 2:
                data = data[:end] + data[place:end] * random.randint(1, 3) + data[end:]
            elif injury == 3:
                data = data[:place] + random.randbytes(random.randint(1, 4)) + data[end:]
            elif injury == 4:
                other = random.choice(seeds)
                data = data[:place] + other[random.randrange(len(other)) :]
            else:
                data = data[:place] + random.choice(self.PIECES) * random.randint(2, 300) + data[place:]
        return data

    def test_damaged(self) -> None:
        """
        Only ParseError; answers can be parsed unless they repeat the damage; what is accepted can be
        read, edited and sent on.
        """
        random = Random(4475)
        seeds = self.seeds()
        accepted = answered = 0
        for number in range(4000):
            data = self.damaged(random, seeds)
            try:
                message = parse(data)
            except ParseError as error:
                assert 400 <= error.status < 600 and not error.fatal
                if error.answer is not None:
                    answered += 1
                    assert error.answer.startswith(b"SIP/2.0 %d " % error.status)
                    assert error.answer.endswith(b"\r\nContent-Length: 0\r\n\r\n")
                    tolerate(parse, error.answer)
                continue
            accepted += 1
            try:
                readAll(message)
            except Exception as error:
                raise self.failureException(f"number {number}, {data!r}: {error!r}") from error
        # Most injuries hit what a proxy does not read.
        self.assertGreater(accepted, 500)
        self.assertGreater(answered, 800)

    def test_stream(self) -> None:
        """
        A damaged stream, in pieces: messages and at most one loss of framing, the same ones however it
        is cut; and the parser never sees another length than the framer.
        """
        random = Random(5118)
        seeds = self.seeds()
        for _ in range(400):
            data = b"".join(self.damaged(random, seeds) for _ in range(3))
            results = []
            for size in (len(data), random.randint(1, 200)):
                framer = StreamFramer()
                messages: list[bytes] = []
                loss: object = None
                try:
                    for place in range(0, len(data), size):
                        got = framer.feed(data[place : place + size])
                        while got:
                            messages += got
                            got = framer.feed(b"")
                except ParseError as error:
                    assert error.fatal
                    loss = error.reason
                results.append((messages, loss, framer.pings))
            self.assertEqual(results[0], results[1])
            for whole in results[0][0]:
                message = tolerate(parse, whole)
                if message is not None:
                    assert isinstance(message, Request | Response)
                    self.assertEqual(len(message.body), message.contentLength)
                    self.assertTrue(whole.endswith(b"\r\n\r\n" + message.body))


class WorkTests(SynchronousTestCase):
    """
    Messages of 64 KiB that would take any quadratic reading minutes: a field made of one piece again
    and again, or thousands of fields.
    """

    SIZE = 65000
    BOUND = 0.5
    """
    Seconds of CPU for one message, all readings together; they take some hundredths. Any reading with
    quadratic work takes SIZE ** 2 steps.
    """

    PATTERNS = (
        b",", b'"', b'\\"', b'"\\', b"<", b"<a", b">", b";", b"; ", b" ", b"\t ", b"=", b";tag", b";tag=",
        b";a=b", b';a="', b"(", b")(", b"\\", b"@", b":", b"%41", b"/", b"1", b"0", b"a.", b"a:", b"a=b&",
        b"\r\n ", b"\r\n x", b"\r\n\t ", b"\n ", b'"a" ', b"SIP/2.0/UDP a,", b";rport", b";received=", b"[",
        b"::",
    )  # fmt: skip
    BEFORE = (b"", b'"', b"SIP/2.0/UDP h;branch=b", b"<sip:a>", b"sip:", b"1 (", b'"\\', b"A <", b"<sip:a@b;")

    def measure(self, data: bytes, limits: Limits) -> float:
        """
        @return: CPU seconds for parsing and reading it all.
        """
        started = time.process_time()
        message = tolerate(parse, data, limits)
        if message is not None:
            assert isinstance(message, Request | Response)
            for name in (b"Via", b"To", b"X-Own"):
                for value in message.getAll(name)[:3]:
                    for cls in VALUES:
                        tolerate(cls.parse, value)
                    tolerate(parseURI, value)
                tolerate(message.elements, name)
                tolerate(message.copy().popFirst, name)
            copy = message.copy()
            tolerate(copy.markReceived, b"192.0.2.1", 5)
            tolerate(copy.popVia)
        return time.process_time() - started

    def message(self, name: bytes, value: bytes) -> bytes:
        """
        @return: a message with this value in one place.
        """
        values = {
            b"Via": b"SIP/2.0/UDP h;branch=z9hG4bKx",
            b"To": b"<sip:b>",
            b"CSeq": b"1 OPTIONS",
            b"X-Own": b"x",
            b"uri": b"sip:h",
        }
        values[name] = value
        uri = values.pop(b"uri")
        lines = b"".join(b"%b: %b\r\n" % pair for pair in values.items())
        return b"OPTIONS %b SIP/2.0\r\n%bFrom: <sip:a>;tag=1\r\nCall-ID: c\r\nMax-Forwards: 1\r\n\r\n" % (
            uri,
            lines,
        )

    def test_values(self) -> None:
        """
        One huge value, in each place, with the limit on lines out of the way.
        """
        limits = Limits(message=70000, headers=100, line=70000)
        for pattern in self.PATTERNS:
            for before in self.BEFORE:
                value = (before + pattern * (self.SIZE // len(pattern)))[: self.SIZE]
                for name in (b"Via", b"To", b"X-Own"):
                    spent = self.measure(self.message(name, value), limits)
                    self.assertLess(spent, self.BOUND, (pattern, before, name))
            for name in (b"CSeq", b"uri"):
                value = (pattern * (self.SIZE // len(pattern)))[: self.SIZE]
                self.assertLess(self.measure(self.message(name, value), limits), self.BOUND, (pattern, name))

    def test_fields(self) -> None:
        """
        Thousands of fields, with the limit on them in its place and out of the way.
        """
        last = self.message(b"X-Own", b"x").partition(b"\r\n")[2]
        for line in (
            b"X: y\r\n",
            b"v:SIP/2.0/UDP h\r\n",
            b"Route:<sip:a>\r\n",
            b" x\r\n",
            b"X\r\n",
            b"\r",
            b"x:\n",
            b"t:a\r\n",
        ):
            data = b"OPTIONS sip:h SIP/2.0\r\nA: b\r\n" + line * (self.SIZE // len(line)) + last
            for limits in (Limits(message=70000), Limits(message=70000, headers=70000, line=70000)):
                self.assertLess(self.measure(data, limits), self.BOUND, line)

    def test_framing(self) -> None:
        """
        The same through the framer, in pieces of 100 bytes.
        """
        for pattern in self.PATTERNS:
            data = self.message(b"X-Own", pattern * (self.SIZE // len(pattern)))
            framer = StreamFramer(Limits(message=70000))
            started = time.process_time()
            try:
                for place in range(0, len(data), 100):
                    framer.feed(data[place : place + 100])
            except ParseError as error:
                self.assertTrue(error.fatal)
            self.assertLess(time.process_time() - started, self.BOUND, pattern)


class MemoryTests(SynchronousTestCase):
    """
    What was read before changes nothing.
    """

    def test_via(self) -> None:
        """
        A Via is taken or refused alike whether good ones of the same sender are known or not.
        """
        form = (
            b"OPTIONS sip:x@h SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.77:%d;branch=z9hG4bKa%b\r\n"
            b"From: <sip:a@h>;tag=1\r\nTo: <sip:x@h>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\nl: 0\r\n\r\n"
        )
        odd = {b";x=<a,b>": False, b";x=<a": True, b';x="a, b': False, b";;": False, b" , a": True}
        for port, (more, good) in enumerate(odd.items(), 6001):
            self.assertIs(tolerate(parse, form % (port, more)) is not None, good, more)
            parse(form % (port, b""))
            parse(form % (port, b", SIP/2.0/UDP 192.0.2.78;branch=z9hG4bKb"))
            self.assertIs(tolerate(parse, form % (port, more)) is not None, good, more)
