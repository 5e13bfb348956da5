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
        The guard covers set-ups: a drain does not wait for calls, and they go on without a path.
        """
        self.talking()
        self.world.drain("102")
        self.world.run(0.5)
        self.assertEqual(self.world.state("102"), "offline")
        self.assertEqual(self.requests(), [])
        self.assertEqual(self.drained().forced, 0)
