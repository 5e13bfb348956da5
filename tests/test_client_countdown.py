"""
L{sipgrace.client.countdown} and L{sipgrace.transport.backoff}.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.client.countdown import Countdown, retryAfterOf
from sipgrace.message.message import Response
from sipgrace.transport.backoff import Backoff

HEADERS = (
    (b"Via", b"SIP/2.0/SCTP 192.0.2.1;branch=z9hG4bK1"),
    (b"From", b"<sip:a@example.com>;tag=1"),
    (b"To", b"<sip:b@example.com>;tag=2"),
    (b"Call-ID", b"1@example.com"),
    (b"CSeq", b"1 INVITE"),
)


def answer(status: int, *retryAfter: bytes) -> Response:
    """
    A response with so many Retry-After headers.
    """
    return Response.make(
        status, b"Whatever", (*HEADERS, *((b"Retry-After", value) for value in retryAfter)), b""
    )


class RetryAfterTests(SynchronousTestCase):
    """
    What a response asks for.
    """

    def test_seconds(self) -> None:
        """
        The seconds, whatever else stands there.
        """
        for value, seconds in (
            (b"30", 30.0),
            (b"0", 0.0),
            (b"18000;duration=3600", 18000.0),
            (b"120 (I'm in a meeting)", 120.0),
            (b"120 (maintenance);duration=3600", 120.0),
        ):
            self.assertEqual(retryAfterOf(answer(503, value)), seconds, value)

    def test_absent(self) -> None:
        """
        A 503 without it asks for nothing.
        """
        self.assertIsNone(retryAfterOf(answer(503)))

    def test_unreadable(self) -> None:
        """
        What cannot be read counts as absent.
        """
        for value in (b"soon", b"", b"-5", b"Fri, 31 Dec 1999 23:59:59 GMT"):
            self.assertIsNone(retryAfterOf(answer(503, value)), value)

    def test_otherStatus(self) -> None:
        """
        In other responses it speaks of the callee, not of the server.
        """
        for status in (404, 480, 486, 500, 600):
            self.assertIsNone(retryAfterOf(answer(status, b"30")), str(status))


class CountdownTests(SynchronousTestCase):
    """
    The end that may only move away.
    """

    def test_left(self) -> None:
        """
        It runs down to 0.0 and stays there.
        """
        clock = Clock()
        countdown = Countdown(clock, 3600.0)
        self.assertEqual(countdown.left, 0.0)
        self.assertTrue(countdown.ask(30.0))
        clock.advance(12.5)
        self.assertEqual(countdown.left, 17.5)
        clock.advance(20.0)
        self.assertEqual(countdown.left, 0.0)

    def test_laterOfSeveral(self) -> None:
        """
        Only what ends later moves it.
        """
        clock = Clock()
        countdown = Countdown(clock, 3600.0)
        countdown.ask(30.0)
        clock.advance(10.0)
        self.assertEqual(
            [(asked, countdown.ask(asked), countdown.left) for asked in (0.0, 19.0, 20.0, 21.0, 5.0)],
            [
                (0.0, False, 20.0),
                (19.0, False, 20.0),
                (20.0, False, 20.0),
                (21.0, True, 21.0),
                (5.0, False, 21.0),
            ],
        )

    def test_bounds(self) -> None:
        """
        No longer than the longest, no shorter than nothing.
        """
        clock = Clock()
        clock.advance(100.0)
        countdown = Countdown(clock, 60.0)
        countdown.ask(-5.0)
        self.assertEqual(countdown.left, 0.0)
        countdown.ask(61.0)
        self.assertEqual(countdown.left, 60.0)

    def test_clear(self) -> None:
        """
        It can be ended, and begun again with less.
        """
        countdown = Countdown(Clock(), 3600.0)
        countdown.ask(30.0)
        countdown.clear()
        self.assertEqual(countdown.left, 0.0)
        self.assertTrue(countdown.ask(5.0))
        self.assertEqual(countdown.left, 5.0)


class BackoffTests(SynchronousTestCase):
    """
    RFC 5626 §4.5.
    """

    def test_rfcFigures(self) -> None:
        """
        With the RFC's own base and cap: 30 s doubling to half an hour.
        """
        backoff = Backoff(30.0, 1800.0)
        self.assertEqual(
            [backoff.delay(failures, lambda: 1.0) for failures in range(8)],
            [30.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1800.0, 1800.0],
        )

    def test_randomness(self) -> None:
        """
        From half to all of it.
        """
        backoff = Backoff(4.0, 60.0)
        self.assertEqual([backoff.delay(1, lambda r=r: r) for r in (0.0, 0.5, 1.0)], [4.0, 6.0, 8.0])

    def test_manyFailures(self) -> None:
        """
        Years of failures do not overflow.
        """
        self.assertEqual(Backoff(1.0, 60.0).delay(10**9, lambda: 1.0), 60.0)

    def test_bounds(self) -> None:
        """
        A base must be positive and within the cap.
        """
        for base, cap in ((0.0, 1.0), (-1.0, 1.0), (2.0, 1.0)):
            self.assertRaises(ValueError, Backoff, base, cap)
