"""
The timer queue and the values of RFC 3261.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.transaction.timers import TimerQueue, Timers


class TimerQueueTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.timers = TimerQueue(self.clock, tick=0.25)
        self.fired: list[tuple[float, str]] = []

    def note(self, name: str) -> Callable[[], None]:
        return lambda: self.fired.append((self.clock.seconds(), name))

    def test_roundsUp(self) -> None:
        """
        A timer fires at the first tick that is not before its time.
        """
        self.timers.after(0.5, self.note("exact"))
        self.timers.after(0.51, self.note("above"))
        self.timers.after(0.49, self.note("below"))
        self.timers.after(0, self.note("zero"))
        self.clock.pump([0.25] * 8)
        self.assertEqual(self.fired, [(0.25, "zero"), (0.5, "exact"), (0.5, "below"), (0.75, "above")])

    def test_neverEarlyAtMostOneTickLate(self) -> None:
        """
        Whenever set in relation to the tick, also with the default tick, which floating point cannot
        represent.
        """
        timers = TimerQueue(self.clock)
        late: list[float] = []

        def set(seconds: float) -> None:
            due = self.clock.seconds() + seconds
            timers.after(seconds, lambda: late.append(self.clock.seconds() - due))

        for step in range(600):
            for seconds in (0.2, 0.5, 1.0, 2.0, 4.0):
                set(seconds)
            self.clock.advance(0.01 + 0.003 * (step % 3))
        self.clock.pump([0.01] * 500)
        self.assertEqual(len(late), 3000)
        self.assertGreaterEqual(min(late), 0.0)
        # What the reactor itself is late by comes on top: its calls are looked at every 10 to 16 ms here.
        self.assertLess(max(late), 0.05 + 2 * 0.016)

    def test_orderWithinOneDuration(self) -> None:
        for name in "abc":
            self.timers.after(0.5, self.note(name))
        self.clock.pump([0.25, 0.25])
        self.assertEqual(self.fired, [(0.5, "a"), (0.5, "b"), (0.5, "c")])

    def test_idle(self) -> None:
        """
        There is a tick while something is queued, and only then.
        """
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.timers.after(0.3, self.note("once"))
        self.timers.after(0.3, self.note("twice"))
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.assertEqual(len(self.timers), 2)
        self.clock.advance(0.25)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(0.25)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.timers), 0)
        self.assertEqual(self.fired, [(0.5, "once"), (0.5, "twice")])
        self.clock.advance(10)
        self.timers.after(0.3, self.note("anew"))
        self.clock.pump([0.25, 0.25])
        self.assertEqual(self.fired[2:], [(10.5 + 0.5, "anew")])

    def test_failure(self) -> None:
        """
        What one timer raises is logged, and the others go on, also at later ticks.
        """

        def fail() -> None:
            raise RuntimeError("on purpose")

        self.timers.after(0.5, fail)
        self.timers.after(0.5, self.note("same tick"))
        self.timers.after(1.0, self.note("later"))
        self.clock.pump([0.25] * 4)
        self.assertEqual(self.fired, [(0.5, "same tick"), (1.0, "later")])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_setWhileFiring(self) -> None:
        """
        A timer set by another waits its time, and with 0 s for the next tick.
        """

        def repeat() -> None:
            self.note("tick")()
            if len(self.fired) < 3:
                self.timers.after(0, repeat)
                self.timers.after(0.25, self.note("same duration as another"))

        self.timers.after(0.25, self.note("another"))
        self.timers.after(0, repeat)
        self.clock.pump([0.25] * 5)
        self.assertEqual(
            self.fired,
            [
                (0.25, "another"),
                (0.25, "tick"),
                (0.5, "tick"),
                (0.5, "same duration as another"),
            ],
        )

    def test_lateReactor(self) -> None:
        """
        After a stall everything that is due fires at once.
        """
        self.timers.after(0.5, self.note("a"))
        self.timers.after(1.0, self.note("b"))
        self.timers.after(9.0, self.note("c"))
        self.clock.advance(5)
        self.assertEqual(self.fired, [(5.0, "a"), (5.0, "b")])

    def test_soon(self) -> None:
        """
        C{soon} waits for no tick, but does not fire within the call either; what it raises is logged.
        """

        def fail() -> None:
            raise RuntimeError("on purpose")

        self.timers.soon(fail)
        self.timers.soon(self.note("soon"))
        self.assertEqual(self.fired, [])
        self.clock.advance(0)
        self.assertEqual(self.fired, [(0.0, "soon")])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_stop(self) -> None:
        """
        After C{stop} nothing is left, and the queue can be used again; it can stop itself, too.
        """
        self.timers.after(0.5, self.note("never"))
        self.timers.stop()
        self.timers.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.timers.after(0.5, self.timers.stop)
        self.timers.after(0.5, self.note("never"))
        self.timers.after(0.75, self.note("never"))
        self.clock.pump([0.25] * 8)
        self.assertEqual(self.fired, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.timers.after(0.5, self.note("anew"))
        self.clock.pump([0.25] * 2)
        self.assertEqual(self.fired, [(2.5, "anew")])

    def test_stopAndGoOn(self) -> None:
        """
        A timer that stops the queue and sets another leaves one tick, not two.
        """

        def restart() -> None:
            self.timers.stop()
            self.timers.after(0.5, self.note("after"))

        self.timers.after(0.5, restart)
        self.clock.pump([0.25] * 2)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.pump([0.25] * 2)
        self.assertEqual(self.fired, [(1.0, "after")])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class TimerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.timers = TimerQueue(self.clock, tick=0.5)
        self.fired: list[tuple[float, str]] = []
        self.timer = self.timers.timer(2.0, lambda name: self.fired.append((self.clock.seconds(), name)))

    def test_together(self) -> None:
        """
        What is set within an eighth of a tick is due together, when the last of it is; each is called with
        its own object, in the order in which they were set, and none early.
        """
        for name in "abcd":
            self.timer.set(name)
            self.clock.advance(1 / 32)
        self.clock.pump([1 / 32] * 61)
        self.assertEqual(self.fired, [])
        self.assertEqual(len(self.timers), 4)
        self.clock.pump([1 / 32] * 32)
        # Ticks are every 14 of these steps, from when the first was set.
        self.assertEqual(self.fired, [(2.1875, "a"), (2.1875, "b"), (2.1875, "c"), (2.1875, "d")])
        self.assertEqual(len(self.timers), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_neverEarlyAtMostOneTickLate(self) -> None:
        """
        However they lie to the tick and to each other.
        """
        late: list[float] = []
        timer = self.timers.timer(2.0, lambda set: late.append(self.clock.seconds() - set - 2.0))
        for step in range(400):
            timer.set(self.clock.seconds())
            self.clock.advance(2 ** -(5 + step % 4))
        self.clock.pump([1 / 256] * 1000)
        self.assertEqual(len(late), 400)
        self.assertGreaterEqual(min(late), 0.0)
        # The reactor's calls are looked at with each step of the clock.
        self.assertLess(max(late), 0.5 + 2 * 2**-5)

    def test_keepsSetting(self) -> None:
        """
        Of what is set time and again, the first does not wait for the last.
        """
        for _ in range(400):
            self.timer.set("x")
            self.clock.advance(1 / 128)
        self.assertEqual(self.fired[0][0], 2.1875)

    def test_setWhileFiring(self) -> None:
        """
        What is set while others fire waits its time, also where that is none.
        """
        names = iter("bc")

        def again(name: str) -> None:
            self.fired.append((self.clock.seconds(), name))
            for following in names:
                at.set(following)
                break

        at = self.timers.timer(0.0, again)
        at.set("a")
        self.clock.pump([0.5] * 4)
        self.assertEqual(self.fired, [(0.5, "a"), (1.0, "b"), (1.5, "c")])

    def test_failure(self) -> None:
        """
        What is raised for one object is logged, and the others are called.
        """
        called: list[int] = []

        def fire(number: int) -> None:
            called.append(1 // number)

        timer = self.timers.timer(1.0, fire)
        for number in (1, 0, 1):
            timer.set(number)
        self.clock.pump([0.5] * 3)
        self.assertEqual(called, [1, 1])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_stop(self) -> None:
        """
        The queue can be stopped between two that are due at once; what it stopped can be set again.
        """
        stopping = self.timers.timer(1.0, lambda stop: stop())
        stopping.set(self.timers.stop)
        stopping.set(lambda: self.timer.set("never"))
        self.timer.set("never")
        self.clock.pump([0.5] * 8)
        self.assertEqual((self.fired, len(self.timers), self.clock.getDelayedCalls()), ([], 0, []))
        self.timer.set("anew")
        self.clock.pump([0.5] * 4)
        self.assertEqual(self.fired, [(6.0, "anew")])


class TimersTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        """
        RFC 3261 table 4, RFC 6026 §7, RFC 4320 §4.1.
        """
        values = Timers()
        self.assertEqual(
            {name: getattr(values, name) for name in values.__dataclass_fields__},
            {
                "t1": 0.5, "t2": 4.0, "t4": 5.0,
                "a": 0.5, "b": 32.0, "d": 32.0, "e": 0.5, "f": 32.0, "g": 0.5, "h": 32.0,
                "i": 5.0, "j": 32.0, "k": 5.0, "l": 32.0, "m": 32.0, "trying": 0.2, "late": 3.5,
            },
        )  # fmt: skip

    def test_derived(self) -> None:
        """
        Timer D never falls below 32 s, for T1 of the other side is not known (§17.1.1.2).
        """
        short = Timers(t1=0.125, t2=0.5, t4=1.0)
        self.assertEqual((short.b, short.d, short.i, short.late), (8.0, 32.0, 1.0, 0.375))
        long = Timers(t1=2.0)
        self.assertEqual((long.b, long.d, long.late), (128.0, 128.0, 2.0))
        self.assertEqual(Timers(t1=4.0).late, 4.0)
        self.assertEqual(Timers(t1=0.05).late, 3.2)

    def test_impossible(self) -> None:
        for values in ((0.0, 4.0, 5.0), (5.0, 4.0, 5.0), (0.5, 4.0, 0.0)):
            self.assertRaises(ValueError, Timers, *values)
