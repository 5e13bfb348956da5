"""
Tests of L{sipgrace.controller.web.events}: what happens, as it happens.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.controller.fleet import KEPT, Fleet
from sipgrace.controller.web.events import HEARTBEAT, MOST, PATIENCE, Feed
from tests.scenarios.waiting import moment
from tests.test_controller_api import Raw, rawTo
from tests.webcase import WebCase


class FakeRequest:
    """
    A request, and the connection under it.
    """

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.headers: dict[str, str] = {}
        self.producer: Any = None
        self.aborted = False
        self.channel = self.transport = self
        self._done: Deferred[None] = Deferred()
        self.onWrite: Callable[[], None] = lambda: None

    def setHeader(self, name: str, value: str) -> None:
        """
        Notes it.
        """
        self.headers[name] = value

    def notifyFinish(self) -> Deferred[None]:
        """
        See C{twisted.web.http.Request}.
        """
        return self._done

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        See C{IConsumer}.
        """
        self.producer = producer

    def unregisterProducer(self) -> None:
        """
        See C{IConsumer}.
        """

    def write(self, data: bytes) -> None:
        """
        Notes it.
        """
        self.written.append(data)
        self.onWrite()

    def finish(self) -> None:
        """
        Ends it.
        """
        self._done.callback(None)

    def abortConnection(self) -> None:
        """
        As a connection does: it is lost.
        """
        self.aborted = True
        self._done.errback(ConnectionError())

    def said(self) -> list[tuple[str, str, Any]]:
        """
        The events: id, kind, data.
        """
        return events(b"".join(self.written))


def events(data: bytes) -> list[tuple[str, str, Any]]:
    """
    Reads a stream as browsers do.
    """
    found = []
    for block in data.decode("utf-8").split("\n\n")[:-1]:
        fields: dict[str, str] = {}
        for line in block.split("\n"):
            if not line.startswith(":"):
                name, _, value = line.partition(": ")
                fields[name] = value
        if fields:
            found.append((fields.get("id", ""), fields["event"], json.loads(fields["data"])))
    return found


class Feeding(SynchronousTestCase):
    """
    With a clock, and requests that take what they are given or do not.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.fleet = Fleet(self.clock.seconds)
        self.feed = Feed("controller-120", self.fleet, self.clock, "r1")

    def reader(self, last: str = "") -> FakeRequest:
        """
        One more reader.
        """
        request = FakeRequest()
        self.feed.add(request, last)
        return request

    def test_live(self) -> None:
        """
        A greeting, and then each notice as it is published.
        """
        request = self.reader()
        self.fleet.publish("event", "server-102", {"change": "draining", "text": "line\nfeed ä"})
        self.assertEqual(
            request.said(),
            [
                ("r1-0", "hello", {"controller": "controller-120", "resumed": False}),
                (
                    "r1-1",
                    "event",
                    {
                        "number": 1,
                        "node": "server-102",
                        "facts": {"change": "draining", "text": "line\nfeed ä"},
                    },
                ),
            ],
        )
        self.assertEqual(request.headers["Content-Type"], "text/event-stream; charset=utf-8")

    def test_resumed(self) -> None:
        """
        Who comes back gets what was missed, once.
        """
        for number in range(5):
            self.fleet.publish("event", "a", {"n": number})
        request = self.reader("r1-3")
        self.fleet.publish("event", "a", {"n": 5})
        self.assertEqual(
            [(id, kind, facts.get("resumed")) for id, kind, facts in request.said()],
            [
                ("r1-3", "hello", True),
                ("r1-4", "event", None),
                ("r1-5", "event", None),
                ("r1-6", "event", None),
            ],
        )
        self.assertEqual(self.reader("r1-6").said()[0][0], "r1-6")

    def test_notResumed(self) -> None:
        """
        Where that cannot be had it is said, whatever the browser sends.
        """
        for number in range(KEPT + 5):
            self.fleet.publish("event", "a", {"n": number})
        for last in ("r1-4", "r1-9999", "r0-1004", "r1-", "r1--1", "r1-²", "1004", "-", "r1-" + "9" * 5000):
            (greeting,) = self.reader(last).said()
            self.assertEqual(
                greeting,
                (f"r1-{KEPT + 5}", "hello", {"controller": "controller-120", "resumed": False}),
                last[:20],
            )

    def test_heartbeat(self) -> None:
        """
        When nothing happens there is a sign of life.
        """
        request = self.reader()
        self.clock.pump([HEARTBEAT, HEARTBEAT])
        self.assertEqual(request.written[1:], [b": still here\n\n"] * 2)

    def test_paused(self) -> None:
        """
        While a reader is not ready its events wait, in order; others get theirs.
        """
        slow, quick = self.reader(), self.reader()
        slow.producer.pauseProducing()
        for number in range(3):
            self.fleet.publish("event", "a", {"n": number})
        self.clock.advance(HEARTBEAT)
        self.assertEqual((len(slow.said()), len(quick.said())), (1, 4))
        # It is full again after the first.
        slow.onWrite = slow.producer.pauseProducing
        slow.producer.resumeProducing()
        self.assertEqual(len(slow.said()), 2)
        slow.onWrite = lambda: None
        slow.producer.resumeProducing()
        self.assertEqual(slow.said(), quick.said())

    def test_tooSlow(self) -> None:
        """
        For whom more waits than is kept, that one is sent away, and nothing is kept any more.
        """
        slow, quick = self.reader(), self.reader()
        slow.producer.pauseProducing()
        published = 0
        while not slow.aborted:
            self.fleet.publish("event", "a", {"text": "x" * 10_000})
            published += 1
            self.assertLess(published, 1000)
        self.assertTrue(MOST / 10_100 < published < MOST / 10_000 + 1, published)
        self.assertEqual((self.feed.readers, self.feed.dropped), (1, 1))
        self.fleet.publish("event", "a", {})
        self.assertEqual((len(slow.said()), len(quick.said())), (1, published + 2))

    def test_newest(self) -> None:
        """
        Of what is said of a node while a reader is not ready, the newest is enough; all else is told.
        """
        slow = self.reader()
        slow.producer.pauseProducing()
        for number in range(50):
            self.fleet.publish("node", "a", {"n": number, "text": "x" * 200_000})
            self.fleet.publish("event", "a", {"n": number})
        self.assertFalse(slow.aborted)
        slow.producer.resumeProducing()
        _, *rest = slow.said()
        self.assertEqual([kind for _, kind, _ in rest], ["event"] * 49 + ["node", "event"])
        self.assertEqual(rest[-2][2]["facts"]["n"], 49)

    def test_tooMuchMissed(self) -> None:
        """
        Who has missed more than is worth telling is to ask for everything again.
        """
        for _ in range(30):
            self.fleet.publish("node", "a", {"text": "x" * 100_000})
        (greeting,) = self.reader("r1-1").said()
        self.assertFalse(greeting[2]["resumed"])
        self.assertTrue(self.reader("r1-20").said()[0][2]["resumed"])

    def test_stuck(self) -> None:
        """
        Who takes nothing for a minute is sent away, too, however little is waiting.
        """
        request = self.reader()
        request.producer.pauseProducing()
        self.clock.pump([HEARTBEAT] * int(PATIENCE / HEARTBEAT - 1))
        self.assertFalse(request.aborted)
        self.clock.advance(HEARTBEAT)
        self.assertEqual((request.aborted, self.feed.readers), (True, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_unobserved(self) -> None:
        """
        The fleet is watched while there are readers, and no timer is left behind.
        """
        request = self.reader()
        self.assertEqual(len(self.fleet._observers), 1)
        request.finish()
        self.assertEqual((len(self.fleet._observers), self.feed.readers), (0, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop(self) -> None:
        """
        When the controller ends, so do they.
        """
        requests = [self.reader() for _ in range(3)]
        self.feed.stop()
        self.assertEqual([request.notifyFinish().called for request in requests], [True] * 3)
        self.assertEqual((self.feed.readers, self.feed.dropped), (0, 0))


class Streaming(WebCase):
    """
    Over a real port.
    """

    async def open(self, last: str = "") -> Raw:
        """
        A reader.
        """
        head = "GET /api/v1/events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer viewer's\r\n"
        if last:
            head += f"Last-Event-ID: {last}\r\n"
        raw = await rawTo(self.port.getHost().port, head.encode() + b"\r\n")
        await self.until(lambda: b"hello" in raw.data)
        self.addCleanup(lambda: raw.ended)
        self.addCleanup(raw.transport.abortConnection)
        return raw

    async def test_live(self) -> None:
        """
        What happens is told at once; who comes back with the id of the last event misses nothing.
        """
        raw = await self.open()
        self.controller.server("server-102")
        await self.until(lambda: raw.data.count(b"event: node") == 2)
        first = unchunked(raw.data)[-1]
        raw.transport.abortConnection()
        await raw.ended
        self.controller.server("server-104")
        again = await self.open(first[0])
        await self.until(lambda: again.data.count(b"event: node") == 2)
        self.assertEqual(
            [(kind, facts.get("node")) for _, kind, facts in unchunked(again.data)],
            [("hello", None), ("node", "server-104"), ("node", "server-104")],
        )

    async def test_full(self) -> None:
        """
        There is room for so many.
        """
        self.patch(Feed, "MOST", 1)
        await self.open()
        status, problem, _ = await self.ask("GET", "/api/v1/events")
        self.assertEqual(
            (status, problem["detail"]), (503, "as many watch the events as may; try again later")
        )

    async def test_slow(self) -> None:
        """
        A reader that does not read is cut off by real buffers, too; another loses nothing.
        """
        slow, quick = await self.open(), await self.open()
        slow.transport.pauseProducing()
        text = "x" * 50_000
        sent = 0
        while self.site.feed.dropped == 0:
            self.controller.fleet.publish("event", "a", {"text": text})
            sent += 1
            self.assertLess(sent, 2000)
            await moment(0)
        self.assertEqual(self.site.feed.readers, 1)
        await self.until(lambda: quick.data.count(b"event: event") == sent)

    async def test_gone(self) -> None:
        """
        A reader that goes leaves nothing behind.
        """
        before = len(self.controller.fleet._observers)
        raw = await self.open()
        self.assertEqual(len(self.controller.fleet._observers), before + 1)
        raw.transport.abortConnection()
        await self.until(lambda: self.site.feed.readers == 0)
        self.assertEqual(len(self.controller.fleet._observers), before)

    async def test_ends(self) -> None:
        """
        When the site ends, so do its readers.
        """
        raw = await self.open()
        await self.port.stopListening()
        await self.until(lambda: raw.data.endswith(b"0\r\n\r\n"))


def unchunked(data: bytes) -> list[tuple[str, str, Any]]:
    """
    The events of a response.
    """
    _, _, rest = data.partition(b"\r\n\r\n")
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return events(body)
