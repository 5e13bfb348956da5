"""
Alerts, and how they are posted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from treq.testing import StubTreq
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from sipgrace.controller.alerts import Alerts
from sipgrace.controller.facts import Hello
from sipgrace.controller.fleet import Fleet
from sipgrace.controller.webhook import MOST, TRIES, Webhook


class Link:
    """
    Stands for a link.
    """

    def end(self) -> None:
        """
        Ends it.
        """


class Overdue(SynchronousTestCase):
    """
    Servers that are not back in time, as their clients say.
    """

    def setUp(self) -> None:
        """
        Two clients.
        """
        self.clock = Clock()
        self.fleet = Fleet(self.clock.seconds)
        self.links = {name: Link() for name in ("client-110", "client-111")}
        for name, link in self.links.items():
            self.fleet.hello(Hello(name, "client", "1", "b", 0), link, "")
        self.alerts = Alerts("controller-120", self.clock, self.fleet, self.clock.seconds, after=10.0)
        self.told: list[Mapping[str, Any]] = []
        self.alerts.hooks.append(self.told.append)
        self.alerts.start()

    def say(self, client: str, **overdue: Any) -> None:
        """
        A client says which servers are overdue.
        """
        peers = [{"name": name.replace("_", "-"), "overdue": late} for name, late in overdue.items()]
        self.fleet.standing(client, {"peers": peers})

    def words(self) -> list[tuple[str, str]]:
        """
        What was told since.
        """
        told, self.told[:] = [(one["name"], one["state"]) for one in self.told], []
        return told

    def test_overdue(self) -> None:
        """
        One alert for a server, once it has been overdue for so long, and its end when all clients say so.
        """
        self.say("client-110", server_102=0.0, server_103=None)
        self.clock.advance(9)
        self.say("client-111", server_102=3.5)
        self.assertEqual(self.words(), [])
        self.clock.advance(1)
        self.assertEqual(
            self.told,
            [
                {
                    "alert": "overdue",
                    "name": "server-102",
                    "state": "firing",
                    "controller": "controller-120",
                    "at": 10.0,
                    "text": "server-102 is not back at the time that it announced",
                    "clients": ["client-110", "client-111"],
                }
            ],
        )
        self.words()
        self.assertEqual(list(self.alerts.firing), [("overdue", "server-102")])
        notice = (self.fleet.since(self.fleet.number - 1) or [])[0]
        self.assertEqual((notice.kind, notice.node, notice.facts["state"]), ("alert", "server-102", "firing"))
        self.say("client-110", server_102=None)
        self.assertEqual(self.words(), [])
        self.say("client-111", server_102=None)
        self.assertEqual(self.words(), [("server-102", "resolved")])
        self.assertEqual(self.alerts.firing, {})

    def test_backInTime(self) -> None:
        """
        A server that is back before that gives no alert.
        """
        self.say("client-110", server_102=0.0)
        self.clock.advance(5)
        self.say("client-110", server_102=None)
        self.clock.advance(50)
        self.assertEqual(self.words(), [])

    def test_lost(self) -> None:
        """
        A client whose link is lost takes nothing back; one that is forgotten does.
        """
        self.say("client-110", server_102=1.0)
        self.clock.advance(10)
        self.fleet.lost("client-110", self.links["client-110"], "reset")
        self.assertEqual(self.words(), [("server-102", "firing")])
        self.fleet.forget("client-110")
        self.assertEqual(self.words(), [("server-102", "resolved")])

    def test_trouble(self) -> None:
        """
        A rolling maintenance in trouble is an alert until it is not.
        """
        for progress in ("running", "trouble", "trouble", "running"):
            self.fleet.publish("rolling", "", {"id": "r1", "progress": progress, "text": "server-102: no"})
        self.assertEqual(
            [(one["alert"], one["state"], one["text"]) for one in self.told],
            [
                ("trouble", "firing", "the rolling maintenance r1 has stopped: server-102: no"),
                ("trouble", "resolved", "the rolling maintenance r1 is running"),
            ],
        )

    def test_faultyHook(self) -> None:
        """
        A hook that fails keeps no other from being told.
        """

        def faulty(facts: Mapping[str, Any]) -> None:
            raise ValueError("x")

        self.alerts.hooks.insert(0, faulty)
        self.say("client-110", server_102=1.0)
        self.clock.advance(10)
        self.assertEqual(self.words(), [("server-102", "firing")])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_stop(self) -> None:
        """
        Nothing is told any more.
        """
        self.say("client-110", server_102=1.0)
        self.alerts.stop()
        self.clock.advance(20)
        self.assertEqual((self.words(), self.clock.getDelayedCalls()), ([], []))


class Hearer(Resource):
    """
    Takes what is posted, and answers as a test says.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[dict[str, Any]] = []
        self.codes: list[int] = []
        self.silent = False

    def render_POST(self, request: Any) -> bytes | int:
        """
        One alert.
        """
        self.heard.append(json.loads(request.content.read()))
        self.type = request.getHeader("content-type")
        if self.silent:
            return NOT_DONE_YET
        request.setResponseCode(self.codes.pop(0) if self.codes else 204)
        return b""


class Posted(SynchronousTestCase):
    """
    Alerts are posted in order, each until it is taken.
    """

    def setUp(self) -> None:
        """
        Somebody hears them.
        """
        self.clock = Clock()
        self.hearer = Hearer()
        self.client = StubTreq(self.hearer)
        self.webhook = Webhook(self.clock, self.client, "http://127.0.0.1/alerts", chance=lambda: 1.0)

    def post(self, *numbers: int) -> None:
        """
        Posts alerts.
        """
        for number in numbers:
            self.webhook({"n": number})
        self.client.flush()

    def heard(self) -> list[int]:
        """
        What was heard since.
        """
        heard, self.hearer.heard = [one["n"] for one in self.hearer.heard], []
        return heard

    def later(self, seconds: float) -> None:
        """
        Time passes.
        """
        self.clock.advance(seconds)
        self.client.flush()

    def test_post(self) -> None:
        """
        One after another.
        """
        self.post(1, 2, 3)
        for _ in range(3):
            self.client.flush()
        self.assertEqual(self.heard(), [1, 2, 3])
        self.assertEqual(self.hearer.type, "application/json")

    def test_again(self) -> None:
        """
        What is not taken is posted again, at growing distances, before what came after it.
        """
        self.hearer.codes = [500, 503, 429]
        self.post(1, 2)
        self.assertEqual(self.heard(), [1])
        self.later(0.9)
        self.assertEqual(self.heard(), [])
        self.later(0.1)
        self.assertEqual(self.heard(), [1])
        self.later(2.0)
        self.assertEqual(self.heard(), [1])
        self.later(4.0)
        self.client.flush()
        self.assertEqual(self.heard(), [1, 2])

    def test_never(self) -> None:
        """
        What is refused for good is left out.
        """
        self.hearer.codes = [404]
        self.post(1, 2)
        self.client.flush()
        self.assertEqual(self.heard(), [1, 2])

    def test_givenUp(self) -> None:
        """
        After many tries one is left out.
        """
        self.hearer.codes = [500] * TRIES
        self.post(1, 2)
        for _ in range(TRIES + 1):
            self.later(60)
        self.assertEqual(self.heard(), [1] * TRIES + [2])

    def test_silent(self) -> None:
        """
        Who does not answer is asked again after a while.
        """
        self.hearer.silent = True
        self.post(1)
        self.later(10)
        self.hearer.silent = False
        self.later(1)
        self.assertEqual(self.heard(), [1, 1])

    def test_unreachable(self) -> None:
        """
        Who is not there is tried again.
        """
        tries: list[str] = []

        class Nobody:
            def post(self, url: str, **values: Any) -> Deferred[Any]:
                tries.append(url)
                raise ConnectionRefusedError("refused")

        webhook = Webhook(self.clock, Nobody(), "http://x/", chance=lambda: 1.0)
        webhook({})
        self.clock.advance(1.0)
        self.assertEqual(tries, ["http://x/"] * 2)
        webhook.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_many(self) -> None:
        """
        The oldest is left out of too many.
        """
        self.hearer.codes = [500]
        self.post(*range(MOST + 2))
        self.assertEqual(self.heard(), [0])
        for _ in range(MOST + 5):
            self.later(1)
        self.assertEqual(self.heard(), list(range(2, MOST + 2)))

    def test_stop(self) -> None:
        """
        Nothing is posted any more.
        """
        self.hearer.silent = True
        self.post(1)
        self.webhook.stop()
        self.later(100)
        self.assertEqual((self.heard(), self.clock.getDelayedCalls()), ([1], []))
