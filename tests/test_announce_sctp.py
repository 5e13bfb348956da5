"""
Announcements between a server and a client in one process, over real associations.
"""

from __future__ import annotations

import time
from typing import Any

from twisted.internet.task import LoopingCall
from twisted.trial.unittest import TestCase

from sipgrace.client.service import ClientService
from sipgrace.element import Element
from sipgrace.message.message import Message, Request
from sipgrace.testing import Recorder, makeResponse, nameOf
from sipgrace.transport.listen import listen
from tests.announced import Network, until
from tests.scenarios.waiting import moment, reactor
from tests.sctppackets import MISSING


class Scenario(TestCase):
    """
    Two servers, one client, and calls.
    """

    timeout = 60
    transport = "sctp"

    def setUp(self) -> None:
        self.network = Network(self.transport)
        self.calls = LoopingCall(self.call)

    async def tearDown(self) -> None:
        if self.calls.running:
            self.calls.stop()
        await self.network.stop()

    def call(self, user: str = "bob") -> int:
        caller = self.network.caller
        assert caller is not None
        return caller.call(user)

    def server(self, name: str) -> Element:
        return self.network.servers[name].element

    def invites(self, name: str) -> int:
        return len(self.network.invites[name])

    async def begin(self, announce: str, more: str = "", settings: str = "") -> ClientService:
        """
        @return: the client, when both servers are active.
        """
        for name in ("server-102", "server-104"):
            await self.network.server(name, announce)
        client = await self.network.start(more, settings)
        if "subscribe" not in more:
            await until(
                lambda: all(one["subscription"] == "Subscribed" for one in client.status()["servers"]),
                "both subscriptions",
            )
        return client

    async def ring(self) -> None:
        """
        Has one call ring at server-102, so that it is not done too soon.
        """
        before = len(self.network.callee.ringing)
        for _ in range(2):
            if len(self.server("server-102").ledger):
                return
            self.call("ring")
            before += 1
            await until(lambda: len(self.network.callee.ringing) == before, "a call that rings")  # noqa: B023
        self.assertEqual(len(self.server("server-102").ledger), 1)

    async def allAnswered(self) -> None:
        """
        Every call gets its 200.
        """
        if self.calls.running:
            self.calls.stop()
        self.network.callee.answer()
        caller = self.network.caller
        assert caller is not None
        await until(lambda: len(caller.answers) == caller.count, "the last answer")
        self.assertEqual(set(caller.answers.values()), {200})


class Broadcast(Scenario):
    """
    Clients are told at once.
    """

    skip = MISSING

    async def test_drainAndCancel(self) -> None:
        """
        No INVITE comes to a draining server later than 100 ms after its announcement; within a second of the
        cancel it gets some again; no call fails.
        """
        client = await self.begin("broadcast")
        await self.ring()
        self.calls.start(0.005)
        await until(
            lambda: self.invites("server-102") > 10 and self.invites("server-104") > 10, "calls at both"
        )
        self.network.drain("server-102", guard=15.0, retryAfter=3600.0)
        drained = reactor.seconds()
        await moment(0.6)
        late = [at - drained for at in self.network.invites["server-102"] if at > drained + 0.1]
        self.assertEqual(late, [])
        self.assertEqual(client.links["server-102"].status()["state"], "Counting")
        self.assertTrue(3590 < client.links["server-102"].countdown <= 3600)
        before = self.invites("server-102")
        self.network.cancel("server-102")
        took = await until(lambda: self.invites("server-102") > before, "a call after the cancel")
        self.assertTrue(took < 1.0, took)
        await self.allAnswered()
        self.assertEqual(
            self.network.told,
            [
                ("active;expires=3600", "SIP/2.0 200 OK"),
                ("active;expires=3600", "SIP/2.0 200 OK"),
                ("active;expires=3600", "SIP/2.0 503 Service Unavailable | Retry-After: 3600"),
                ("active;expires=3599", "SIP/2.0 200 OK"),
            ],
        )

    async def test_toItsEnd(self) -> None:
        """
        The last NOTIFY comes before the association goes; the client keeps away until its countdown is over,
        and knows when the server is to be back.
        """
        client = await self.begin("broadcast")
        await self.ring()
        offline = self.network.drain(
            "server-102", guard=10.0, retryAfter=120.0, back=time.time() + 600, why="x"
        )
        await until(lambda: len(self.network.told) == 3, "the announcement")
        self.network.callee.answer()
        await offline
        await until(lambda: client.links["server-102"].association is None, "the end of the association")
        said = "SIP/2.0 503 Service Unavailable | Retry-After: 120 (x) | Scheduled-Return: 600"
        self.assertEqual(
            self.network.told[2:],
            [("active;expires=3600", said), ("terminated;reason=probation;retry-after=120", said)],
        )
        status = client.links["server-102"].status()
        self.assertEqual(status["state"], "Away")
        self.assertTrue(119 < float(str(status["countdown"])) <= 120, status)
        self.assertTrue(598 < float(str(status["scheduledReturn"])) <= 600, status)
        self.assertEqual(client.status()["servers"][0]["subscription"], "Idle")
        await self.allAnswered()

    async def test_extended(self) -> None:
        """
        The client hears of the new period.
        """
        client = await self.begin("both")
        await self.ring()
        self.network.drain("server-102", guard=10.0)
        await until(lambda: client.links["server-102"].countdown > 39, "the announcement")
        element = self.server("server-102")
        element.lifecycle.extend(60.0)
        await until(lambda: client.links["server-102"].countdown > 99, "the new one")
        await self.allAnswered()

    async def test_toldWhenItComes(self) -> None:
        """
        A client that opens its association while the server drains is told at once, and again when that is
        over.
        """
        await self.network.server("server-102", "broadcast")
        await self.network.server("server-104", "broadcast")
        self.server("server-102").ledger.accept(_Call())
        self.network.drain("server-102", guard=15.0, retryAfter=300.0)
        await self.network.start(active=1)
        client = self.network.client
        assert client is not None
        link = client.links["server-102"]
        await until(lambda: client.subscriptions.stateOf(link) == "Subscribed", "the subscription")
        self.assertEqual((link.status()["state"], len(client.active)), ("Counting", 1))
        self.network.cancel("server-102")
        took = await until(lambda: link.active, "the server on the active list")
        self.assertTrue(took < 1.0, took)


class BroadcastOverTCP(Broadcast):
    """
    The same over TCP.
    """

    skip = None
    transport = "tcp"


class _Call:
    """
    An accepted call.
    """

    def __init__(self) -> None:
        self.acceptedAt = reactor.seconds()

    def recall(self, reason: str) -> None:
        pass

    def forceSettle(self, reason: str) -> bool:
        return True


class InAnswer(Scenario):
    """
    Clients are told in answers alone.
    """

    transport = "tcp"

    async def test_overloadControl(self) -> None:
        """
        The answer to a call that was accepted tells it, and none need be refused. The cancel takes it back.
        """
        client = await self.begin("in-answer")
        link = client.links["server-102"]
        await self.ring()
        self.network.drain("server-102", guard=15.0)
        self.network.callee.answer()
        # The drain is over when the call is; another one keeps it going.
        self.server("server-102").ledger.accept(_Call())
        await until(lambda: link.throttle.loss == 100, "a word of overload control")
        self.assertTrue(44 < link.throttle.left <= 45, link.throttle.left)
        for _ in range(10):
            self.call()
        await self.allAnswered()
        self.assertEqual((self.server("server-102").gate.refused, link.status()["state"]), (0, "Active"))
        # The first may have been the other server's turn.
        self.assertIn(link.throttle.kept, (9, 10))
        before = self.invites("server-102")
        self.network.cancel("server-102")
        await until(lambda: link.throttle.loss == 0, "the word that it is over")
        for _ in range(2):
            self.call()
        await until(lambda: self.invites("server-102") > before, "a call")
        await self.allAnswered()

    async def test_cancel(self) -> None:
        """
        Who was refused is told of the cancel all the same, and is back within a second.
        """
        client = await self.begin("in-answer")
        link = client.links["server-102"]
        await self.ring()
        self.network.drain("server-102", guard=15.0, retryAfter=500.0)
        for _ in range(2):
            self.call()
        await until(lambda: not link.active, "the countdown")
        self.assertEqual(self.server("server-102").gate.refused, 1)
        self.assertTrue(499 < link.countdown <= 500)
        self.network.cancel("server-102")
        took = await until(lambda: link.active, "the server on the active list")
        self.assertTrue(took < 1.0, took)
        await self.allAnswered()


class Strangers(Scenario):
    """
    With elements that know nothing of all this.
    """

    transport = "tcp"

    async def test_client(self) -> None:
        """
        A client that neither subscribes nor offers anything is told in the answers to its calls, and only so.
        """
        client = await self.begin("both", "subscribe = false", "overload_control = false")
        element = self.server("server-102")
        self.assertEqual(client.status()["servers"][0]["subscription"], "Idle")
        await self.ring()
        self.network.drain("server-102", guard=15.0, retryAfter=60.0)
        await moment(0.05)
        self.assertTrue(client.links["server-102"].active)
        for _ in range(2):
            self.call()
        await until(lambda: not client.links["server-102"].active, "the countdown")
        for _ in range(4):
            self.call()
        self.assertEqual(client.links["server-102"].throttle.loss, 0)
        await self.allAnswered()
        self.assertEqual((self.network.told, element.gate.refused), ([], 1))

    async def stranger(self, status: int | None) -> tuple[Recorder, Any]:
        """
        A server of paper that answers SUBSCRIBE so, or not at all; calls after the third get 503.
        """
        calls: list[bytes] = []

        def answer(message: Message, association: Any) -> None:
            if not isinstance(message, Request) or message.method == b"ACK":
                return
            if message.method == b"SUBSCRIBE":
                if status is not None:
                    association.send(makeResponse(message, status))
            elif message.method == b"INVITE":
                calls.append(message.callId)
                away = ((b"Retry-After", b"30"),) if len(calls) > 3 else ()
                association.send(makeResponse(message, 503 if away else 200, headers=away))
            else:
                association.send(makeResponse(message, 200))

        recorder = Recorder(answer)
        listener = await listen(reactor, "tcp:0:interface=127.0.0.1", recorder, "network")
        self.addCleanup(listener.stopListening)
        return recorder, listener

    async def meets(self, status: int | None) -> None:
        """
        A client that is refused its subscription uses the server as ever, and asks no more.
        """
        recorder, listener = await self.stranger(status)
        await self.network.server("server-104")
        client = await self.network.start(stranger=f"tcp:host=127.0.0.1:port={listener.port}")
        link = client.links["stranger"]
        caller = self.network.caller
        assert caller is not None
        expected = "Asking" if status is None else "Without"
        await until(lambda: client.subscriptions.stateOf(link) == expected, "the refusal")
        for number in range(12):
            self.call()
            await until(lambda: len(caller.answers) > number, "the answer")  # noqa: B023
        await self.allAnswered()
        self.assertEqual(recorder.names().count("SUBSCRIBE"), 1)
        self.assertEqual(recorder.names().count("INVITE"), 4)
        self.assertEqual((link.active, link.status()["state"]), (False, "Counting"))
        self.assertTrue(29 < link.countdown <= 30)
        self.assertNotIn("NOTIFY", [nameOf(message) for message in recorder.messages()])

    async def test_badEvent(self) -> None:
        await self.meets(489)

    async def test_notImplemented(self) -> None:
        await self.meets(501)

    async def test_silence(self) -> None:
        await self.meets(None)
