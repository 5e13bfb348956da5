"""
What a client makes of a controller's word for a server: L{sipgrace.client.announced}.
"""

from __future__ import annotations

from math import inf, nan
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from sipgrace.client.announced import Announced
from sipgrace.errors import NotAllowed, OrderRefused
from sipgrace.lifecycle.authorization import Giver, Role, Source

NOW = 1763800000.0
CONTROLLER = Giver(Source.LINK, "controller-120", Role.OPERATOR)


class FakeLink:
    """
    A link to a server.
    """

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def unavailable(self, retryAfter: float | None, back: float | None = None) -> None:
        self.heard.append((retryAfter, back))

    def available(self) -> None:
        self.heard.append("available")


class FakeDoor:
    """
    The audit log of a door.
    """

    def __init__(self) -> None:
        self.written: list[tuple[str, str, dict[str, Any]]] = []

    def noted(self, giver: Giver, what: str, facts: dict[str, Any]) -> None:
        self.written.append((giver.name, what, facts))


class AnnouncedTests(SynchronousTestCase):
    """
    A client with server-102, and two that DNS knows as cluster.
    """

    def setUp(self) -> None:
        names = ("server-102", "cluster/192.0.2.1:5060", "cluster/192.0.2.2:5060")
        self.links = {name: FakeLink() for name in names}
        self.door = FakeDoor()
        links: Any = self.links
        door: Any = self.door
        self.announced = Announced("client-110", links, door, lambda: NOW)

    def heard(self) -> list[list[Any]]:
        return [link.heard for link in self.links.values()]

    def test_unavailable(self) -> None:
        """
        As if the server had said it: for so long, and back in so many seconds; written into the audit log.
        """
        self.announced.unavailable(CONTROLLER, "server-102", 60.0, NOW + 90, "hangs")
        self.announced.unavailable(CONTROLLER, "server-102", 60.0, NOW - 5, "")
        self.announced.unavailable(CONTROLLER, "server-102", 0.0, None, "")
        self.assertEqual(self.heard(), [[(60.0, 90.0), (60.0, 0.0), (0.0, None)], [], []])
        facts = {"server": "server-102", "retryAfter": 60.0, "back": NOW + 90, "why": "hangs"}
        self.assertEqual(self.door.written[0], ("controller-120", "announced", facts))

    def test_available(self) -> None:
        """
        It is back.
        """
        self.announced.available(CONTROLLER, "server-102", "well")
        self.assertEqual(self.heard(), [["available"], [], []])
        facts = {"server": "server-102", "why": "well"}
        self.assertEqual(self.door.written, [("controller-120", "unannounced", facts)])

    def test_found(self) -> None:
        """
        Servers that DNS has found are meant together by the name of the configuration, or one by one.
        """
        self.announced.unavailable(CONTROLLER, "cluster", 1.0, None, "")
        self.announced.available(CONTROLLER, "cluster/192.0.2.2:5060", "")
        self.assertEqual(self.heard(), [[], [(1.0, None)], [(1.0, None), "available"]])

    def test_refused(self) -> None:
        """
        What cannot be meant, or may not be said, has no effect.
        """
        viewer = Giver(Source.LINK, "controller-121", Role.VIEWER)
        for giver, server, retryAfter, back, error, text in (
            (viewer, "server-102", 1.0, None, NotAllowed, "the role operator; controller-121 is a viewer"),
            (CONTROLLER, "server-9", 1.0, None, OrderRefused, "client-110 has no server 'server-9'"),
            (CONTROLLER, "192.0.2.1:5060", 1.0, None, OrderRefused, "has no server"),
            (CONTROLLER, "server-102", -1.0, None, OrderRefused, "retryAfter: a number of seconds from 0 up"),
            (CONTROLLER, "server-102", nan, None, OrderRefused, "retryAfter: a number of seconds from 0 up"),
            (CONTROLLER, "server-102", 1e6, None, OrderRefused, "retryAfter: at most 604800 seconds are"),
            (CONTROLLER, "server-102", 1.0, inf, OrderRefused, "back: a number of seconds from 0 up"),
        ):
            found = self.assertRaises(
                error, self.announced.unavailable, giver, server, retryAfter, back, ""
            )
            self.assertIn(text, str(found))
        self.assertRaises(NotAllowed, self.announced.available, viewer, "server-102", "")
        self.assertEqual((self.heard(), self.door.written), ([[], [], []], []))
