"""
Whole networks in memory: every message between two clients, two servers and their users.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from sipgrace.lifecycle.orders import Kind, Order
from sipgrace.message.message import Request, Response
from tests.memorynet import Call, Phone, World

#: What both servers know.
ROUTES = """
[[clients]]
name = "client-110"
networks = ["192.0.2.110"]
address = "sip:192.0.2.110;transport=sctp"

[[clients]]
name = "client-112"
networks = ["192.0.2.112"]
address = "sip:192.0.2.112;transport=sctp"

[[routes]]
prefix = "110"
to = ["client-110"]

[[routes]]
prefix = "112"
to = ["client-112"]
"""

DRAIN = """
[drain]
guard = 10
margin = 1
retry_after_period = 0
spread = 0
announce = "in-answer"
"""

CLIENT = """
[[users]]
prefix = "{number}1"
contact = "sip:{first}"

[[users]]
prefix = "{number}2"
contact = "sip:{second};transport=tcp"

[probe]
timeout = 0.5
interval = 0.5
longest = 1

[reconnect]
interval = 0.5
longest = 1
"""


class NetworkCase(SynchronousTestCase):
    """
    Alice (1101) and Dora (1102, over TCP) are at client 110, Bob (1121) at client 112. Primary server is 102,
    secondary 104.
    """

    maxDiff = None
    strategy = "primary-secondary"

    def setUp(self) -> None:
        self.world = world = World(self)
        for name in ("102", "104"):
            self.makeServer(name)
        self.alice = world.phone("alice", 1)
        self.bob = world.phone("bob", 2)
        self.dora = world.phone("dora", 3, b"TCP")
        head = f'strategy = "{self.strategy}"'
        for name, first, second in (("110", 1, 3), ("112", 2, 9)):
            text = CLIENT.format(number=name, first=f"192.0.2.{first}", second=f"192.0.2.{second}")
            world.client(name, ("102", "104"), text + self.further(name), head)
        world.run(0.2)
        self.assertEqual(self.active("110"), ["server-102", "server-104"])
        self.assertEqual(world.take(), [])

    def makeServer(self, name: str) -> None:
        self.world.server(name, ROUTES + DRAIN)

    def further(self, name: str) -> str:
        return ""

    def tearDown(self) -> None:
        self.assertEqual(self.flushLoggedErrors(), [])

    def active(self, client: str) -> list[str]:
        return [link.name for link in self.world.clients[client].active]

    def waiting(self) -> dict[str, int]:
        services: dict[str, Any] = {**self.world.servers, **self.world.clients}
        return {name: len(one.element.ledger) for name, one in services.items() if len(one.element.ledger)}

    def ended(self, call: Call, *answers: object) -> None:
        self.assertEqual(call.answers, list(answers))

    def talk(self, caller: Phone, callee: Phone, call: Call) -> None:
        """
        Both can hang up, which shows that the dialog's path is whole.
        """
        self.assertEqual(callee.take()[-1], "ACK")
        caller.take()
        call.hangUp()
        self.world.run(0.2)
        self.assertEqual((caller.take(), callee.take()), (["200 BYE"], ["BYE"]))
        callee.taken[-1].send(b"INFO")
        self.world.run(0.2)
        self.assertEqual((caller.take(), callee.take()), (["INFO"], ["200 INFO"]))


class LatencyTests(NetworkCase):
    strategy = "latency"

    def test_tested(self) -> None:
        """
        What this strategy goes by is measured again and again, though probe.every is not set.
        """
        client = self.world.clients["110"]
        before = {name: link.latency for name, link in client.links.items()}
        self.world.network.latency = 0.05
        self.world.run(11)
        for name, link in client.links.items():
            latency, former = link.latency, before[name]
            assert latency is not None and former is not None
            self.assertTrue(latency > 5 * former, (latency, former))


class NotLatencyTests(NetworkCase):
    def test_notTested(self) -> None:
        """
        The other strategies do not ask for it.
        """
        client = self.world.clients["110"]
        before = {name: link.latency for name, link in client.links.items()}
        self.world.network.latency = 0.05
        self.world.run(11)
        self.assertEqual({name: link.latency for name, link in client.links.items()}, before)

    def test_longAway(self) -> None:
        """
        The longest time that a server may ask to be left alone is kept by its clients.
        """
        self.bob.rings = None
        for _ in range(2):
            # The first is waited for; the second is refused.
            self.alice.call("1121", "110")
            self.world.run(0.1)
            if self.world.state("102") == "serving":
                self.world.drain("102", retryAfter=604800.0)
        countdown = self.world.clients["110"].links["server-102"].countdown
        self.assertTrue(604799 < countdown <= 604800, countdown)


class CallTests(NetworkCase):
    """
    Calls with everybody in service.
    """

    def test_call(self) -> None:
        """
        Client, server, client; once it is set up the server is out of it.
        """
        call = self.alice.call("1121", "110")
        self.world.run(0.1)
        self.assertEqual(
            self.world.take(),
            [
                "alice>110 INVITE",
                "110>alice 100",
                "110>102 INVITE",
                "102>110 100",
                "102>112 INVITE",
                "112>102 100",
                "112>bob INVITE",
                "bob>112 180",
                "bob>112 200",
                "112>102 180",
                "112>102 200",
                "102>110 180",
                "102>110 200",
                "110>alice 180",
                "110>alice 200",
                "alice>110 ACK",
                "110>112 ACK",
                "112>bob ACK",
            ],
        )
        self.ended(call, 180, 200)
        self.assertEqual(self.waiting(), {"110": 1})  # her 200 might have to be repeated
        call.hangUp()
        self.world.run(0.1)
        self.assertEqual(
            self.world.take(),
            [
                "alice>110 BYE",
                "110>112 BYE",
                "112>bob BYE",
                "bob>112 200 BYE",
                "112>110 200 BYE",
                "110>alice 200 BYE",
            ],
        )
        self.world.run(40)
        self.assertEqual(self.waiting(), {})

    def test_calleeHangsUp(self) -> None:
        call = self.alice.call("1121", "110")
        self.world.run(0.1)
        self.world.take()
        self.bob.taken[0].hangUp()
        self.world.run(0.1)
        self.assertEqual(
            self.world.take(),
            [
                "bob>112 BYE",
                "112>110 BYE",
                "110>alice BYE",
                "alice>110 200 BYE",
                "110>112 200 BYE",
                "112>bob 200 BYE",
            ],
        )
        self.assertEqual(self.alice.take(), ["BYE"])
        self.ended(call, 180, 200)

    def test_sameClient(self) -> None:
        """
        Caller and callee at one client, one over UDP and one over TCP: by way of a server, which is no loop,
        and then directly.
        """
        call = self.alice.call("1102", "110")
        self.world.run(0.1)
        self.assertEqual(
            self.world.take(),
            [
                "alice>110 INVITE",
                "110>alice 100",
                "110>102 INVITE",
                "102>110 100",
                "102>110 INVITE",
                "110>102 100",
                "110>dora INVITE",
                "dora>110 180",
                "dora>110 200",
                "110>102 180",
                "110>102 200",
                "102>110 180",
                "102>110 200",
                "110>alice 180",
                "110>alice 200",
                "alice>110 ACK",
                "110>dora ACK",
            ],
        )
        self.ended(call, 180, 200)
        self.talk(self.alice, self.dora, call)

    def test_paths(self) -> None:
        """
        Whoever calls whom, requests in the dialog reach the other.
        """
        for caller, number, client, callee in (
            (self.alice, "1121", "110", self.bob),
            (self.bob, "1101", "112", self.alice),
            (self.bob, "1102", "112", self.dora),
            (self.dora, "1121", "110", self.bob),
            (self.dora, "1101", "110", self.alice),
        ):
            call = caller.call(number, client)
            self.world.run(0.1)
            self.ended(call, 180, 200)
            self.talk(caller, callee, call)

    def test_refused(self) -> None:
        """
        The callee's word is the last one: no other server is asked.
        """
        for status in (486, 404, 500, 603):
            self.bob.says = status
            call = self.alice.call("1121", "110")
            self.world.run(0.1)
            self.ended(call, 180, status)
        self.assertEqual([line for line in self.world.take() if ">104" in line], [])

    def test_unknown(self) -> None:
        """
        No such number, at the server or at the callee's client.
        """
        for number in ("999", "1129"):
            call = self.alice.call(number, "110")
            self.world.run(0.1)
            self.ended(call, 404)

    def test_cancelled(self) -> None:
        self.bob.rings = None
        call = self.alice.call("1121", "110")
        self.world.run(1)
        call.cancel()
        self.world.run(0.1)
        self.ended(call, 180, 487)
        self.assertEqual(self.bob.take(), ["rings", "cancelled"])
        self.assertEqual([line for line in self.world.take() if "CANCEL" in line and "200" not in line], [
            "alice>110 CANCEL", "110>102 CANCEL", "102>112 CANCEL", "112>bob CANCEL"
        ])  # fmt: skip
        self.world.run(10)
        self.assertEqual(self.waiting(), {})

    def test_rungTooLong(self) -> None:
        """
        Timer C, at whichever comes first to it.
        """
        self.bob.rings = None
        call = self.alice.call("1121", "110")
        self.world.run(200)
        self.ended(call, 180, 487)
        self.assertEqual(self.bob.take(), ["rings", "cancelled"])
        self.assertEqual(self.waiting(), {})

    def test_nobodyThere(self) -> None:
        """
        The callee is off: that is not the server's fault.
        """
        call = self.alice.call("1121", "110")
        self.bob.element.stopListening()
        self.bob.messageReceived = lambda message, association: None
        self.world.run(40)
        self.ended(call, 408)
        self.assertEqual(self.active("110"), ["server-102", "server-104"])

    def test_loop(self) -> None:
        """
        A telephone that forwards its calls to itself: the server that set the call up knows it again.
        """
        received = self.bob.messageReceived

        def forward(message: Any, association: Any) -> None:
            if isinstance(message, Request) and message.method == b"INVITE":
                back = message.copy()
                back.uri = b"sip:1121@example.com"
                back.pushVia(association.via + b";branch=z9hG4bKforwarded")
                association.send(back.toBytes())
            elif isinstance(message, Response) and message.cseqMethod == b"INVITE":
                message.popVia()
                association.send(message.toBytes())
            else:
                received(message, association)

        self.bob.messageReceived = forward
        call = self.alice.call("1121", "110")
        self.world.run(0.1)
        self.ended(call, 482)
        self.assertEqual(self.world.servers["102"].element.core.counters["loops"], 1)
        self.assertEqual(
            [line for line in self.world.take() if line.endswith("INVITE")],
            [
                "alice>110 INVITE",
                "110>102 INVITE",
                "102>112 INVITE",
                "112>bob INVITE",
                "bob>112 INVITE",
                "112>102 INVITE",
            ],
        )


class FailoverTests(NetworkCase):
    """
    A server does not do what it should.
    """

    def test_silence(self) -> None:
        """
        No first answer within 2 s: the next one is asked. Its late 100 is answered by CANCEL; Bob rings once.
        """
        associations: Any = self.world.servers["102"].element.associations
        held: list[Any] = []
        layer = associations.messageReceived
        associations.messageReceived = lambda *message: held.append(message)
        self.bob.rings = 3.0
        call = self.alice.call("1121", "110")
        self.world.run(1.9)
        self.assertEqual([line for line in self.world.take() if "104" in line], [])
        self.world.run(0.2)
        self.assertEqual(self.active("110"), ["server-104"])
        self.assertEqual(self.bob.take(), ["rings"])
        self.world.take()
        associations.messageReceived = layer
        for message in held:
            layer(*message)
        self.world.run(0.1)
        between = [line for line in self.world.take() if line.startswith(("110>102", "102>110"))]
        self.assertEqual(between[:3], ["102>110 100", "110>102 CANCEL", "102>110 200 CANCEL"])
        self.world.run(3)
        self.ended(call, 180, 200)
        self.assertEqual(self.bob.take(), ["answers", "ACK"])
        self.world.run(40)
        self.assertEqual(self.waiting(), {})
        self.assertEqual(self.active("110"), ["server-102", "server-104"])

    def test_lost(self) -> None:
        """
        The association is lost while Bob's telephone rings: the server takes the call back before it comes to
        him by the other, for it learns of the loss when the client does.
        """
        self.bob.rings = 1.0
        call = self.alice.call("1121", "110")
        self.world.run(0.5)
        self.world.take()
        for association in self.world.between("110", "102"):
            association.fail()
        self.world.run(2)
        self.through(call, "rings", "cancelled")
        self.assertEqual(self.world.clients["110"].reroutes.total, 1)

    def through(self, call: Call, *before: str) -> None:
        """
        The call was answered, and both can hang up.

        @param before: what happened to Bob before that.
        """
        self.assertEqual(call.answers[-1], 200)
        self.assertEqual(self.bob.seen, [*before, "rings", "answers", "ACK"])
        self.talk(self.alice, self.bob, call)

    def test_crash(self) -> None:
        """
        The server goes altogether: what comes by the other one is the same call, and Bob's telephone just
        goes on ringing.
        """
        self.bob.rings = 1.0
        call = self.alice.call("1121", "110")
        self.world.run(0.5)
        for client in ("110", "112"):
            for association in self.world.between("102", client):
                association.fail()
        self.world.run(2)
        self.through(call)

    def test_calleesSide(self) -> None:
        """
        The association to Bob's client is lost. The server knows no other way, but another server does; Bob
        notices nothing.
        """
        self.bob.rings = 1.0
        call = self.alice.call("1121", "110")
        self.world.run(0.5)
        for association in self.world.between("102", "112"):
            association.fail()
        self.world.run(2)
        self.through(call)

    def test_manyAtOnce(self) -> None:
        """
        Hundreds of calls in set-up are lost with an association; all are answered in the end, by Bob, once.
        """
        self.bob.rings = 1.0
        calls = [self.alice.call("1121", "110") for _ in range(600)]
        self.world.run(0.5)
        for association in self.world.between("110", "102"):
            association.abort()
        self.world.run(3)
        self.assertEqual({call.answers[-1] for call in calls}, {200})
        self.assertEqual(len(self.bob.taken), 600)
        self.world.run(40)
        self.assertEqual(self.waiting(), {})


class DrainTests(NetworkCase):
    """
    A server leaves.
    """

    def test_callInProgress(self) -> None:
        """
        What was accepted is finished, new calls go elsewhere; then it goes, sooner than the guard, and comes
        back.
        """
        self.bob.rings = 3.0
        first = self.alice.call("1121", "110")
        self.world.run(0.5)
        self.world.drain("102")
        self.bob.rings = 0.0
        second = self.alice.call("1121", "110")
        self.world.run(0.5)
        self.ended(second, 180, 200)
        self.assertEqual(self.active("110"), ["server-104"])
        self.assertEqual(self.world.clients["110"].reroutes.total, 1)
        third = self.alice.call("1121", "110")
        self.world.run(0.5)
        self.ended(third, 180, 200)
        self.assertEqual((self.world.clients["110"].reroutes.total, self.world.state("102")), (1, "draining"))
        self.world.run(2)
        self.ended(first, 180, 200)
        self.assertEqual(self.world.state("102"), "offline")
        self.assertEqual(self.world.between("110", "102") + self.world.between("102", "110"), [])
        # Nothing of the calls is left at the server: hanging up is done without it.
        first.hangUp()
        self.world.run(0.2)
        self.assertEqual(self.alice.take()[-1], "200 BYE")
        # The countdown is over, but nobody is there.
        self.world.run(10)
        self.assertEqual(self.active("110"), ["server-104"])
        self.world.servers["102"].element.lifecycle.resume(Order(kind=Kind.RESUME, who="test", when=0.0))
        self.world.run(2)
        self.assertEqual(self.active("110"), ["server-102", "server-104"])
        self.world.take()
        fourth = self.alice.call("1121", "110")
        self.world.run(0.5)
        self.ended(fourth, 180, 200)
        self.assertIn("110>102 INVITE", self.world.take())

    def test_toldByOverloadControl(self) -> None:
        """
        The client learns of the drain by the answer to a call that the server had accepted before (RFC 7339),
        and so never meets a 503: it stays away for as long as one would have said, and is not at its door
        when the server comes back before.
        """
        self.bob.rings = 1.0
        call = self.alice.call("1121", "110")
        self.world.run(0.5)
        self.world.drain("102")
        self.world.run(1.0)
        self.ended(call, 180, 200)
        link = self.world.clients["110"].links["server-102"]
        self.assertEqual((self.world.state("102"), link.refused), ("offline", 0))
        self.assertEqual((link.status()["state"], self.active("110")), ("Away", ["server-104"]))
        self.assertEqual(round(link.countdown, 1), 9.5, "of the 10 that it said half a second ago")
        self.world.servers["102"].element.lifecycle.resume(Order(kind=Kind.RESUME, who="test", when=0.0))
        self.world.run(9.3)
        self.assertEqual(self.world.between("110", "102"), [])
        self.world.run(0.5)
        self.assertEqual(self.active("110"), ["server-102", "server-104"])

    def test_forced(self) -> None:
        """
        A callee who rings beyond the guard: taken back in time, and the call goes through by another server.
        """
        self.bob.rings = 12.0
        call = self.alice.call("1121", "110")
        self.world.run(0.5)
        self.world.drain("102")
        self.world.run(8.4)
        self.assertEqual(self.bob.take(), ["rings"])
        self.bob.rings = 2.0
        self.world.run(0.2)
        self.assertEqual(self.bob.take(), ["cancelled", "rings"])
        self.world.run(0.1)
        self.assertEqual(
            (self.world.state("102"), self.world.servers["102"].element.ledger.forced), ("offline", 1)
        )
        self.world.run(3)
        self.ended(call, 180, 180, 200)
        self.assertEqual(self.bob.take(), ["answers", "ACK"])

    def test_slowCallee(self) -> None:
        """
        A callee's phone that takes its time over the CANCEL: the settlement comes before its 487, and the
        call is tried elsewhere, but it gets no second INVITE before the ACK of that.
        """
        self.bob.rings = None
        call = self.alice.call("1121", "110")
        self.world.run(0.5)
        receive = self.bob.messageReceived

        def slowly(message: Any, association: Any) -> None:
            self.world.clock.callLater(0.7, receive, message, association)

        self.bob.messageReceived = slowly
        self.world.take()
        self.world.drain("102")
        self.world.run(9.05)
        self.assertIn("104>112 INVITE", self.world.log)
        self.bob.rings = 0.0
        self.world.run(3)
        self.ended(call, 180, 180, 200)
        sent = self.world.take()
        order = ["112>bob CANCEL", "104>112 INVITE", "bob>112 487", "112>bob ACK", "112>bob INVITE"]
        self.assertEqual(sorted(order, key=sent.index), order)

    def test_lastWord(self) -> None:
        """
        The callee takes up while the CANCEL is on its way: the call stands.
        """
        self.bob.rings = None
        call = self.alice.call("1121", "110")
        self.world.run(0.5)
        self.world.drain("102")
        self.world.run(8.5)
        self.world.clock.advance(0.004)
        self.bob.answerNow()
        self.world.run(0.2)
        self.ended(call, 180, 200)
        self.assertEqual(self.bob.seen, ["rings", "answers", "ACK"])
        ledger = self.world.servers["102"].element.ledger
        self.assertEqual((self.world.state("102"), ledger.forced), ("offline", 0))
        self.talk(self.alice, self.bob, call)

    def test_silentCallee(self) -> None:
        """
        A callee who obeys nobody: the settlement answers without it, and the association is gone at the
        guard.
        """
        self.bob.rings = None
        call = self.alice.call("1121", "110")
        self.world.run(0.5)
        self.bob.messageReceived = lambda message, association: None
        self.world.drain("102")
        self.world.run(9.2)
        ledger = self.world.servers["102"].element.ledger
        self.assertEqual((self.world.state("102"), ledger.forced), ("offline", 1))
        self.assertEqual(self.world.between("110", "102"), [])
        self.assertIn("110>104 INVITE", self.world.take())
        self.ended(call, 180)

    def test_cancelled(self) -> None:
        """
        A drain that is taken back: the server takes calls again, its associations were never touched.
        """
        before = self.world.between("110", "102")
        self.bob.rings = 3.0
        first = self.alice.call("1121", "110")
        self.world.run(0.5)
        self.world.drain("102", retryAfter=11.0)
        second = self.alice.call("1121", "110")
        self.world.run(0.5)
        self.assertEqual(self.active("110"), ["server-104"])
        self.world.servers["102"].element.lifecycle.cancel()
        self.world.run(4)
        self.ended(first, 180, 200)
        self.ended(second, 180, 200)
        self.assertEqual(self.world.between("110", "102"), before)
        # Nobody has told the client; it asks when the countdown is over.
        self.world.run(5.5)
        self.assertEqual(self.active("110"), ["server-104"])
        self.world.run(2)
        self.assertEqual(self.active("110"), ["server-102", "server-104"])

    def test_dialogsPass(self) -> None:
        """
        What belongs to a dialog passes while it drains, also from those who know no Route.
        """
        call = self.alice.call("1121", "110")
        self.world.run(0.2)
        self.bob.rings = None
        self.alice.call("1121", "110")
        self.world.run(0.2)
        self.world.drain("102")
        self.world.take()
        assert call.dialog is not None
        call.dialog.routes = []
        call.dialog.target = b"sip:1121@example.com"
        call.dialog.proxy = "192.0.2.110"
        for method in (b"INFO", b"PRACK", b"UPDATE", b"INVITE", b"ACK", b"BYE"):
            self.bob.take()
            call.dialog.send(method, 2)
            self.world.run(0.1)
            self.assertEqual(self.bob.take(), [method.decode()])
        self.assertEqual(
            self.alice.take(),
            ["200 INFO", "200 PRACK", "200 UPDATE", "100 INVITE", "200 INVITE", "200 BYE"],
        )
        self.assertIn("110>102 BYE", self.world.take())
        self.assertEqual(self.world.servers["102"].element.gate.refused, 0)

    def test_underLoad(self) -> None:
        """
        Forty calls a second while both servers are drained, one after the other: all are answered.
        """
        self.bob.rings = 1.0
        calls: list[Call] = []
        for moment in range(12 * 40):
            if moment == 80:
                self.world.drain("102", guard=3.0)
            if moment == 160:
                self.world.servers["102"].element.lifecycle.resume(
                    Order(kind=Kind.RESUME, who="test", when=0.0)
                )
            if moment == 400:
                self.world.drain("104", guard=3.0)
            calls.append(self.alice.call("1121", "110"))
            self.world.run(0.025)
        self.world.run(2)
        self.assertEqual({tuple(call.answers) for call in calls}, {(180, 200)})
        self.assertEqual((self.world.state("102"), self.world.state("104")), ("serving", "offline"))
        for name in ("102", "104"):
            ledger = self.world.servers[name].element.ledger
            self.assertEqual((ledger.forced, ledger.failed, len(ledger)), (0, 0, 0))


class RoundRobinTests(NetworkCase):
    """
    INVITEs take turns.
    """

    strategy = "round-robin"

    def test_turns(self) -> None:
        """
        Whatever else passes between them.
        """
        for _ in range(4):
            call = self.alice.call("1121", "110")
            self.world.run(0.1)
            self.talk(self.alice, self.bob, call)
        servers = [
            line for line in self.world.take() if line.startswith("110>10") and line.endswith(" INVITE")
        ]
        self.assertEqual(servers, ["110>102 INVITE", "110>104 INVITE"] * 2)


class LeastLoadedTests(NetworkCase):
    """
    INVITEs go where the fewest are.
    """

    strategy = "least-loaded"

    def loads(self) -> list[int]:
        return [link.underWay for link in self.world.clients["110"].links.values()]

    def test_counted(self) -> None:
        """
        From when they are sent until nothing more can come of them, however they end.
        """
        self.bob.rings = None
        calls = []
        for expected in ([1, 0], [1, 1], [2, 1]):
            calls.append(self.alice.call("1121", "110"))
            self.world.run(0.1)
            self.assertEqual(self.loads(), expected)
        calls[0].cancel()
        calls[2].cancel()
        self.world.run(0.2)
        self.assertEqual(self.loads(), [0, 1])
        self.alice.call("1121", "110")
        self.world.run(0.1)
        self.assertEqual(self.loads(), [1, 1])
        # One server is gone with its call; the call goes on at the other.
        for association in self.world.between("110", "102"):
            association.abort()
        self.world.run(0.2)
        self.assertEqual(self.loads(), [0, 2])


class NoServerTests(NetworkCase):
    """
    All servers are away.
    """

    def further(self, name: str) -> str:
        return '[tdm]\ngateway = "sip:192.0.2.7:5060"\n' if name == "110" else ""

    def setUp(self) -> None:
        super().setUp()
        self.gateway = self.world.phone("gateway", 7)
        self.bob.rings = None
        # Both have something to wait for.
        for name in ("102", "104"):
            self.alice.call("1121", "110")
            self.world.run(0.2)
            self.world.drain(name)

    def test_gateway(self) -> None:
        """
        The way out into the telephone network, and a dialog with what is there.
        """
        self.world.take()
        call = self.alice.call("1121", "110")
        self.world.run(0.2)
        self.ended(call, 180, 200)
        self.assertEqual(
            [line for line in self.world.take() if line.endswith("INVITE")],
            ["alice>110 INVITE", "110>104 INVITE", "110>gateway INVITE"],
        )
        self.talk(self.alice, self.gateway, call)

    def test_gatewayRefuses(self) -> None:
        self.gateway.says = 486
        call = self.alice.call("1121", "110")
        self.world.run(0.2)
        self.ended(call, 180, 486)

    def test_noGateway(self) -> None:
        """
        Where there is none, the caller is told when the first server is back.
        """
        self.bob.call("1101", "112")
        self.world.run(0.2)
        call = self.bob.call("1101", "112")
        self.world.run(0.2)
        self.ended(call, 503)
        assert call.final is not None
        self.assertEqual(call.final.get(b"Retry-After"), b"10")
        self.assertEqual(self.active("112"), [])


class RedirectTests(NetworkCase):
    """
    A server that only says which other one to ask.
    """

    def makeServer(self, name: str) -> None:
        if name == "102":
            text = '[[routes]]\ndomain = "*"\nredirect = "sip:192.0.2.104;transport=sctp"\n'
            self.world.server(name, text, 'mode = "redirect"')
        else:
            super().makeServer(name)

    def test_followed(self) -> None:
        """
        The client asks that one; the caller notices nothing.
        """
        call = self.alice.call("1121", "110")
        self.world.run(0.1)
        self.ended(call, 180, 200)
        self.assertEqual(
            [line for line in self.world.take() if line.startswith(("110>10", "102>", "104>110"))],
            [
                "110>102 INVITE",
                "102>110 302",
                "110>102 ACK",
                "110>104 INVITE",
                "104>110 100",
                "104>110 180",
                "104>110 200",
            ],
        )
        self.talk(self.alice, self.bob, call)

    def test_notThere(self) -> None:
        """
        The one that is named is away, and there is no other: it is for the caller's client to say so.
        """
        self.world.clients["110"].links["server-104"].unavailable(30.0)
        call = self.alice.call("1121", "110")
        self.world.run(0.1)
        self.assertEqual(call.answers, [503])


class OpeningServerTests(NetworkCase):
    """
    A server that opens the association to a client by itself, and knows this client by nothing else.
    """

    def setUp(self) -> None:
        super().setUp()
        self.world.server(
            "106",
            """
[[clients]]
name = "client-112"
open = "sctp:host=192.0.2.112:port=5060:bindAddress=192.0.2.106"

[[routes]]
prefix = "112"
to = ["client-112"]

[access]
allow = ["client-112", "192.0.2.114/32"]
"""
            + DRAIN,
        )
        self.world.client("114", ("106",), CLIENT.format(number="114", first="192.0.2.4", second="192.0.2.5"))
        self.eve = self.world.phone("eve", 4)
        self.world.run(0.5)

    def call(self) -> list[object]:
        call = self.eve.call("1121", "114")
        self.world.run(0.2)
        return call.answers

    def test_call(self) -> None:
        self.assertEqual(self.world.servers["106"].clients.status(), {"?": 1, "client-112": 1})
        self.assertEqual(self.call(), [180, 200])
        self.assertIn("106>112 INVITE", self.world.take())

    def test_lost(self) -> None:
        """
        It is opened again after a moment; until then there is no way to that client.
        """
        for association in self.world.between("106", "112"):
            association.fail()
        self.world.run(0.02)
        self.assertEqual(self.call(), [503])
        self.world.run(1.2)
        self.assertEqual(self.call(), [180, 200])

    def test_drained(self) -> None:
        """
        Not while the server is out of service, and again when it is back.
        """
        self.world.drain("106")
        self.world.run(5)
        self.assertEqual((self.world.state("106"), self.world.between("106", "112")), ("offline", []))
        self.world.servers["106"].element.lifecycle.resume(Order(kind=Kind.RESUME, who="test", when=0.0))
        self.world.run(0.1)
        self.assertEqual(len(self.world.between("106", "112")), 1)
        self.world.run(10)
        self.assertEqual(self.call(), [180, 200])
