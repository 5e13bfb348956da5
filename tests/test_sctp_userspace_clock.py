"""
The clock of libusrsctp, by a clock of our own.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.transport.sctp.userspaceclock import StackClock


class ClockTests(SynchronousTestCase):
    # Steps of 1/1024 s add up exactly: a tick of 10 ms falls on 11 of them, one of 50 ms on 52.

    def setUp(self) -> None:
        self.reactor = Clock()
        self.packets = 0
        self.cost = 0
        self.moves: list[tuple[int, int]] = []
        self.clock = StackClock(self.move, lambda: self.packets)

    def now(self) -> int:
        return int(self.reactor.seconds() * 1024)

    def move(self, milliseconds: int) -> None:
        self.moves.append((self.now(), milliseconds))
        self.reactor.rightNow += self.cost / 1024

    def elapse(self, steps: int, packets: int) -> None:
        for _ in range(steps):
            self.packets += packets
            self.reactor.advance(1 / 1024)

    def test_busy(self) -> None:
        """
        With packets about, every 10 ms.
        """
        self.clock.start(self.reactor)
        self.clock.start(self.reactor)
        self.elapse(33, 1)
        self.assertEqual(self.moves, [(11, 10), (22, 11), (33, 11)])

    def test_quiet(self) -> None:
        """
        Without, every 50 ms; and soon again every 10 ms.
        """
        self.clock.start(self.reactor)
        self.elapse(120, 0)
        self.assertEqual(self.moves, [(11, 10), (63, 51), (115, 51)])
        self.elapse(70, 1)
        self.assertEqual(self.moves[3:], [(167, 51), (178, 10), (189, 11)])

    def test_nothingIsLost(self) -> None:
        """
        Fractions of a millisecond add up.
        """
        self.clock.start(self.reactor)
        self.elapse(11264, 1)
        self.assertEqual(len(self.moves), 1024)
        self.assertEqual(sum(elapsed for _, elapsed in self.moves), 11000)

    def test_costly(self) -> None:
        """
        Moves that take long come less often, but no less than every 50 ms.
        """
        self.clock.start(self.reactor)
        self.cost = 1
        self.elapse(60, 1)
        self.assertEqual(self.moves, [(11, 10), (32, 21), (53, 20)])
        self.moves.clear()
        self.cost = 100
        self.elapse(400, 1)
        self.assertEqual(self.moves[1][0] - self.moves[0][0], 152)

    def test_stop(self) -> None:
        """
        Stopped, from outside or from within a move, nothing is left.
        """
        self.clock.start(self.reactor)
        self.clock.stop()
        self.clock.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        within = StackClock(lambda milliseconds: within.stop(), lambda: self.packets)
        within.start(self.reactor)
        self.elapse(30, 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_startsAnew(self) -> None:
        """
        The time for which it was stopped does not count.
        """
        self.clock.start(self.reactor)
        self.clock.stop()
        self.reactor.advance(1000)
        self.clock.start(self.reactor)
        self.elapse(11, 1)
        self.assertEqual(self.moves, [(1024011, 10)])
