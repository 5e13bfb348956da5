"""
L{sipgrace.client.overdue}.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.client.overdue import Overdue


class Server:
    """
    As much of a link as is looked at.
    """

    name = "server-102"

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.back: float | None = None

    @property
    def returnsIn(self) -> float | None:
        return None if self.back is None else self.back - self.clock.seconds()


class OverdueTests(SynchronousTestCase):
    """
    One server, 5 seconds of grace.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.told: list[tuple[str, str, float]] = []
        self.server = Server(self.clock)
        self.watched = Overdue(self.clock, 5.0, self)

    def overdue(self, name: str, seconds: float) -> None:
        self.told.append(("overdue", name, seconds))

    def back(self, name: str, seconds: float) -> None:
        self.told.append(("back", name, seconds))

    def test_oneNoticeEach(self) -> None:
        """
        One when the time and the grace are over, whatever it announces then; one when it is back.
        """
        self.watched.announced(self.server, 30.0)
        self.clock.advance(34.9)
        self.assertEqual((self.told, self.watched.late(self.server)), ([], None))
        self.clock.advance(0.1)
        self.assertEqual(self.told, [("overdue", "server-102", 5.0)])
        self.watched.announced(self.server, 10.0)
        self.clock.advance(100.0)
        self.assertEqual(self.watched.late(self.server), 100.0)
        self.watched.returned(self.server)
        self.assertEqual(self.told[1:], [("back", "server-102", 100.0)])
        self.assertEqual((self.watched.late(self.server), self.clock.getDelayedCalls()), (None, []))

    def test_inTime(self) -> None:
        """
        One that is back in time is not spoken of.
        """
        self.watched.announced(self.server, 30.0)
        self.clock.advance(34.0)
        self.watched.returned(self.server)
        self.clock.advance(100.0)
        self.assertEqual(self.told, [])

    def test_later(self) -> None:
        """
        The last announcement counts, and the later of countdown and scheduled return, also where the latter
        is said afterwards.
        """
        self.watched.announced(self.server, 30.0)
        self.clock.advance(20.0)
        self.server.back = self.clock.seconds() + 60.0
        self.watched.announced(self.server, 30.0)
        self.clock.advance(50.0)
        self.server.back = self.clock.seconds() + 100.0
        self.clock.advance(104.9)
        self.assertEqual(self.told, [])
        self.clock.advance(0.1)
        self.assertEqual(self.told, [("overdue", "server-102", 5.0)])

    def test_gone(self) -> None:
        """
        A server that there is not any more is not waited for, and not overdue.
        """
        self.watched.announced(self.server, 1.0)
        self.watched.forget(self.server)
        self.clock.advance(10.0)
        self.assertEqual((self.told, self.clock.getDelayedCalls()), ([], []))
        self.watched.announced(self.server, 1.0)
        self.clock.advance(10.0)
        self.watched.forget(self.server)
        self.assertIsNone(self.watched.late(self.server))
        self.watched.returned(self.server)
        self.assertEqual(self.told, [("overdue", "server-102", 5.0)])

    def test_stop(self) -> None:
        """
        A client that leaves waits for nobody, and begins anew.
        """
        self.watched.announced(self.server, 1.0)
        self.clock.advance(6.0)
        self.watched.stop()
        self.watched.announced(self.server, 1.0)
        self.watched.stop()
        self.assertEqual((self.clock.getDelayedCalls(), len(self.told)), ([], 1))
        self.watched.returned(self.server)
        self.assertEqual(len(self.told), 1)
