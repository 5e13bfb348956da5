"""
Servers that stay in the path of the calls they set up: every message, in memory.
"""

from __future__ import annotations

from typing import Any

from tests.memorynet import Call
from tests.test_network_memory import DRAIN, ROUTES, NetworkCase


class RecordRouteCase(NetworkCase):
    """
    Both servers Record-Route.
    """

    head = "record_route = true"

    def makeServer(self, name: str) -> None:
        self.world.server(name, ROUTES + DRAIN, self.head)

    def talking(self) -> Call:
        """
        Alice talks to Bob by way of 102.
        """
        call = self.alice.call("1121", "110")
        self.world.run(0.1)
        self.ended(call, 180, 200)
        self.assertEqual(self.bob.take(), ["rings", "answers", "ACK"])
        self.world.take()
        return call

    def requests(self) -> list[str]:
        """
        The requests that were sent.
        """
        return [line for line in self.world.take() if not line.split()[1].isdigit()]

    def drained(self) -> Any:
        """
        The report of the last drain of server 102.
        """
        return self.world.servers["102"].element.oversight.reporter.last


class PathTests(RecordRouteCase):
    """
    Requests within a dialog pass the server that has set it up, on the associations that are there.
    """

    def test_call(self) -> None:
        call = self.alice.call("1121", "110")
        self.world.run(0.1)
        self.ended(call, 180, 200)
        self.assertEqual(
            self.world.take()[-4:], ["alice>110 ACK", "110>102 ACK", "102>112 ACK", "112>bob ACK"]
        )
        assert call.final is not None
        self.assertEqual(
            call.final.elements(b"Record-Route"),
            [
                b"<sip:192.0.2.112:5060;transport=udp;lr>",
                b"<sip:192.0.2.112:5060;transport=sctp;lr>",
                b"<sip:192.0.2.102:5060;transport=sctp;lr>",
                b"<sip:192.0.2.110:5060;transport=sctp;lr>",
                b"<sip:192.0.2.110:5060;transport=udp;lr>",
            ],
        )
        call.hangUp()
        self.world.run(0.1)
        self.assertEqual(
            self.world.take(),
            [
                "alice>110 BYE",
                "110>102 BYE",
                "102>112 BYE",
                "112>bob BYE",
                "bob>112 200 BYE",
                "112>102 200 BYE",
                "102>110 200 BYE",
                "110>alice 200 BYE",
            ],
        )
        for client in ("110", "112"):
            self.assertEqual(len(self.world.between(client, "102")), 1, "no association of its own")
        self.world.run(40)
        self.assertEqual(self.waiting(), {})

    def test_calleeHangsUp(self) -> None:
        self.talking()
        self.bob.taken[0].hangUp()
        self.world.run(0.1)
        self.assertEqual(self.requests(), ["bob>112 BYE", "112>102 BYE", "102>110 BYE", "110>alice BYE"])
        self.assertEqual((self.alice.take(), self.bob.take()), (["BYE"], ["200 BYE"]))

    def test_paths(self) -> None:
        """
        Whoever calls whom, users of one client included.
        """
        for caller, number, client, callee in (
            (self.alice, "1102", "110", self.dora),
            (self.bob, "1101", "112", self.alice),
            (self.bob, "1102", "112", self.dora),
            (self.dora, "1121", "110", self.bob),
        ):
            call = caller.call(number, client)
            self.world.run(0.1)
            self.ended(call, 180, 200)
            self.talk(caller, callee, call)

    def test_setups(self) -> None:
        """
        The guard covers set-ups: a drain does not wait for calls. They go on, and clients go past the server
        that has left, but for a re-INVITE.
        """
        call, other = self.talking(), self.talking()
        self.world.drain("102")
        self.world.run(0.5)
        self.assertEqual(self.world.state("102"), "offline")
        self.assertEqual(self.requests(), [])
        self.assertEqual(self.drained().forced, 0)
        self.alice.take()
        assert call.dialog is not None
        call.dialog.send(b"INVITE")
        self.world.run(0.1)
        self.assertEqual((self.alice.take(), self.bob.take()), (["100 INVITE", "500 INVITE"], []))
        call.dialog.send(b"INFO")
        call.hangUp()
        self.world.run(0.1)
        self.assertEqual((self.alice.take(), self.bob.take()), (["200 INFO", "200 BYE"], ["INFO", "BYE"]))
        self.bob.taken[1].hangUp()
        self.world.run(0.1)
        self.assertEqual((self.alice.take(), self.bob.take()), (["BYE"], ["200 BYE"]))
        self.assertEqual(self.requests()[-3:], ["bob>112 BYE", "112>110 BYE", "110>alice BYE"])
        self.assertIsNotNone(other.final)


class AckTests(RecordRouteCase):
    """
    A call is set up when its ACK has passed.
    """

    def test_waitedFor(self) -> None:
        """
        A server that leaves while the phone takes its time waits for the ACK, and for nothing else.
        """
        call = self.alice.call("1121", "110")
        received = self.alice.messageReceived
        held: list[Any] = []
        self.alice.messageReceived = lambda message, association: held.append((message, association))
        self.world.run(0.1)
        self.assertEqual(self.waiting(), {"102": 1, "110": 1})
        self.world.drain("102")
        self.world.run(2)
        self.assertEqual(self.world.state("102"), "draining")
        for message, association in held:
            received(message, association)
        self.world.run(0.1)
        self.assertEqual((self.world.state("102"), self.bob.take()[-1]), ("offline", "ACK"))
        self.ended(call, 180, 200)
        self.assertEqual(self.drained().forced, 0)

    def test_neverComes(self) -> None:
        self.alice.call("1121", "110")
        self.alice.messageReceived = lambda message, association: None
        self.world.run(4.4)
        self.assertEqual(self.waiting()["102"], 1)
        self.world.run(0.3)
        self.assertNotIn("102", self.waiting())


class DialogsCase(RecordRouteCase):
    """
    The guard covers whole calls.
    """

    head = 'record_route = true\nscope = "dialogs"'

    def left(self) -> tuple[int, int, int]:
        """
        What server 102 waits for: all, set-ups, calls that go on.
        """
        status = self.world.servers["102"].status()
        return status["waiting"], status["setups"], status["dialogs"]


class DialogsTests(DialogsCase):
    """
    A drain waits for calls, and ends those that are left.
    """

    def test_hungUp(self) -> None:
        """
        A drain is over as soon as the last call is.
        """
        call = self.talking()
        self.assertEqual(self.left(), (1, 0, 1))
        self.world.drain("102", guard=60.0)
        self.world.run(20)
        self.assertEqual(self.world.state("102"), "draining")
        call.hangUp()
        self.world.run(0.2)
        self.assertEqual(self.requests(), ["alice>110 BYE", "110>102 BYE", "102>112 BYE", "112>bob BYE"])
        self.assertEqual(self.alice.take(), ["200 BYE"])
        self.assertEqual(self.world.state("102"), "offline")
        report = self.drained()
        # The BYE is settled, too.
        self.assertEqual((report.waiting, report.accepted, report.settled, report.forced), (1, 1, 2, 0))

    def test_forced(self) -> None:
        """
        When the guard is near both get BYE, and their answers end the drain.
        """
        self.talking()
        self.world.drain("102")
        self.world.run(8.4)
        self.assertEqual((self.requests(), self.left()), ([], (1, 0, 1)))
        self.world.run(0.3)
        self.assertEqual(self.requests(), ["102>110 BYE", "102>112 BYE", "110>alice BYE", "112>bob BYE"])
        self.assertEqual((self.alice.take(), self.bob.take()), (["BYE"], ["BYE"]))
        self.assertEqual(self.world.state("102"), "offline")
        report = self.drained()
        self.assertEqual((report.waiting, report.settled, report.forced), (1, 0, 1))
        self.assertLess(report.drainedAfter, 8.6)

    def test_cancelled(self) -> None:
        """
        A drain that is taken back leaves calls alone.
        """
        call = self.talking()
        self.world.drain("102")
        self.world.run(8)
        self.world.servers["102"].element.lifecycle.cancel()
        self.world.run(10)
        self.assertEqual((self.requests(), self.left()), ([], (1, 0, 1)))
        call.hangUp()
        self.world.run(0.1)
        self.assertEqual((self.alice.take(), self.left()), (["200 BYE"], (0, 0, 0)))

    def test_scopeOfWhatIsLeft(self) -> None:
        """
        What rings is taken back, who talks is hung up on, and who hangs up at that moment is heard.
        """
        first, second = self.talking(), self.talking()
        self.bob.rings = None
        ringing = self.alice.call("1121", "110")
        self.world.run(0.1)
        self.assertEqual(self.left(), (3, 1, 2))
        self.world.take()
        self.world.drain("102")
        self.world.run(8.497)
        second.hangUp()
        self.world.run(0.5)
        self.assertEqual(self.world.state("102"), "offline")
        requests = self.requests()
        self.assertEqual(requests.count("102>112 CANCEL"), 1)
        self.assertEqual(requests.count("102>110 BYE"), 2)
        self.assertEqual(requests.count("102>112 BYE"), 3)
        self.assertEqual(self.alice.take().count("BYE"), 2)
        report = self.drained()
        self.assertEqual((report.waiting, report.forced, report.failed, report.aborted), (3, 3, 0, 0))
        # The other server has it now.
        self.assertIsNone(ringing.final)
        self.assertIsNotNone(first.final)
        self.bob.answerNow()
        self.world.run(0.1)
        self.ended(ringing, 180, 180, 200)

    def test_deaf(self) -> None:
        """
        Phones that do not answer BYE keep nobody beyond the settlement.
        """
        self.talking()
        self.bob.messageReceived = lambda message, association: None
        self.world.drain("102")
        self.world.run(8.9)
        self.assertEqual((self.world.state("102"), self.left()), ("draining", (1, 0, 1)))
        self.world.run(0.3)
        self.assertEqual((self.world.state("102"), self.left()), ("offline", (0, 0, 0)))
        self.assertEqual(self.drained().forced, 1)

    def test_resumed(self) -> None:
        """
        A second drain knows only of the calls of its own time.
        """
        self.talking()
        self.world.drain("102")
        self.world.run(20)
        lifecycle = self.world.servers["102"].element.lifecycle
        lifecycle.resume()
        self.world.run(20)
        self.assertEqual((self.world.state("102"), self.active("110")[0]), ("serving", "server-102"))
        self.bob.take()
        self.world.take()
        call = self.talking()
        self.world.drain("102")
        self.world.run(1)
        call.hangUp()
        self.world.run(1)
        self.assertEqual((self.world.state("102"), self.drained().forced), ("offline", 0))

    def test_takenOffline(self) -> None:
        """
        At once: both are told, as far as that goes.
        """
        self.talking()
        self.world.servers["102"].leaveNow()
        self.world.run(0.1)
        self.assertEqual((self.world.state("102"), self.left()), ("offline", (0, 0, 0)))
        self.assertEqual(self.drained().forced, 1)

    def test_oneClient(self) -> None:
        """
        Caller and callee at one client, which each BYE passes once.
        """
        call = self.alice.call("1102", "110")
        self.world.run(0.1)
        self.ended(call, 180, 200)
        self.world.take()
        self.world.drain("102")
        self.world.run(9)
        self.assertEqual(self.requests(), ["102>110 BYE", "102>110 BYE", "110>alice BYE", "110>dora BYE"])
        self.assertEqual((self.world.state("102"), self.drained().forced), ("offline", 1))


class FullTests(DialogsCase):
    """
    The table of calls has its bound.
    """

    head = 'record_route = true\nscope = "dialogs"\nmax_dialogs = 1'

    def test_full(self) -> None:
        """
        The other server gets what is too much; all but new INVITEs goes on.
        """
        first = self.talking()
        second = self.alice.call("1121", "110")
        self.world.run(0.1)
        self.ended(second, 180, 200)
        self.assertIn("104>112 INVITE", self.world.take())
        first.hangUp()
        self.world.run(0.1)
        self.world.take()
        self.alice.call("1121", "110")
        self.world.run(0.1)
        self.assertIn("102>112 INVITE", self.world.take())


class TransportsTests(DialogsCase):
    """
    A callee without a client, whom the server reaches over UDP.
    """

    def makeServer(self, name: str) -> None:
        route = '[[routes]]\nprefix = "99"\nto = ["sip:192.0.2.4"]\n'
        drain = DRAIN.replace("margin = 1", "margin = 2")
        self.world.server(name, ROUTES + route + drain, self.head, ("sctp", "udp"))

    def setUp(self) -> None:
        super().setUp()
        self.carol = self.world.phone("carol", 4)

    def setUpCall(self) -> Call:
        call = self.alice.call("9911", "110")
        self.world.run(0.1)
        self.ended(call, 180, 200)
        self.assertEqual(self.carol.take(), ["rings", "answers", "ACK"])
        self.world.take()
        return call

    def test_path(self) -> None:
        """
        One Record-Route a side (RFC 5658), so that each party finds the server by its own transport.
        """
        call = self.setUpCall()
        assert call.final is not None
        self.assertEqual(
            call.final.elements(b"Record-Route")[:3],
            [
                b"<sip:192.0.2.102:5060;transport=udp;lr>",
                b"<sip:192.0.2.102:5060;transport=sctp;lr>",
                b"<sip:192.0.2.110:5060;transport=sctp;lr>",
            ],
        )
        self.carol.taken[0].send(b"INFO")
        self.world.run(0.1)
        self.assertEqual((self.alice.take(), self.carol.take()), (["INFO"], ["200 INFO"]))
        self.carol.taken[0].hangUp()
        self.world.run(0.1)
        self.assertEqual(self.requests(), ["carol>102 BYE", "102>110 BYE", "110>alice BYE"])
        self.assertEqual(self.left()[2], 0)

    def test_callerHangsUp(self) -> None:
        self.setUpCall().hangUp()
        self.world.run(0.1)
        self.assertEqual(self.requests(), ["alice>110 BYE", "110>102 BYE", "102>carol BYE"])

    def test_forced(self) -> None:
        """
        Each by its own way, and again where it is not answered.
        """
        self.setUpCall()
        received = self.carol.messageReceived
        lost: list[Any] = []

        def loseFirst(message: Any, association: Any) -> None:
            if lost:
                received(message, association)
            lost.append(message)

        self.carol.messageReceived = loseFirst
        self.world.run(10)
        self.world.drain("102", guard=30.0)
        self.world.run(27.1)
        self.assertEqual((self.requests()[:2], self.left()[2]), (["102>110 BYE", "102>carol BYE"], 1))
        self.world.run(0.5)
        self.assertEqual((self.alice.take(), self.carol.take()), (["BYE"], ["BYE"]))
        self.assertEqual((self.world.state("102"), self.drained().forced), ("offline", 1))
