"""
The guard, estimated from what set-ups took so far.
"""

from __future__ import annotations

from time import perf_counter, time

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.lifecycle.estimate import Estimate, SetupTimes
from sipgrace.lifecycle.ledger import Ledger


class Call:
    def __init__(self, acceptedAt: float, isInvite: bool = True) -> None:
        self.acceptedAt = acceptedAt
        self.isInvite = isInvite

    def recall(self, reason: str) -> None:
        pass

    def forceSettle(self, reason: str) -> bool:
        return True


class HistogramTests(SynchronousTestCase):
    def test_quantile(self) -> None:
        times = SetupTimes()
        self.assertIs(times.quantile(0.5), None)
        self.assertEqual(times.status(), {"observed": 0, "median": None, "p99": None})
        for number in range(1, 101):
            times.add(number / 10 - 0.01)
        self.assertAlmostEqual(times.quantile(0.5) or 0, 5.0)
        self.assertAlmostEqual(times.quantile(0.99) or 0, 9.9)
        self.assertAlmostEqual(times.quantile(1.0) or 0, 10.0)
        self.assertEqual(times.status(), {"observed": 100, "median": 5.0, "p99": 9.9})

    def test_ends(self) -> None:
        """
        What is longer than all steps is counted as such.
        """
        times = SetupTimes()
        times.add(0)
        times.add(1e6)
        self.assertEqual((times.counts[0], times.counts[-1]), (1.0, 1.0))
        self.assertEqual(sum(times.counts), 2)

    def test_age(self) -> None:
        """
        What is new counts more; in the very list that others hold, and to nothing in the end.
        """
        times = SetupTimes()
        counts = times.counts
        for _ in range(100):
            times.add(1)
        times.age()
        for _ in range(100):
            times.add(10)
        self.assertIs(times.counts, counts)
        self.assertEqual(sum(counts), 150)
        self.assertAlmostEqual(times.quantile(0.5) or 0, 10.05)
        for _ in range(20):
            times.age()
        self.assertEqual(sum(counts), 0)


class GuardTests(SynchronousTestCase):
    """
    A thousand calls that took 1 to 11 s, evenly.
    """

    def setUp(self) -> None:
        self.times = SetupTimes()
        for number in range(1000):
            self.times.add(1 + number / 100)

    def test_oneCall(self) -> None:
        """
        A new one may take what all but 1 % took; an old one what is left of that, among those that took as
        long.
        """
        self.assertEqual(self.times.guard([0.0], floor=1), Estimate(10.9, "observed", 1))
        self.assertEqual(self.times.guard([6.0], floor=1), Estimate(5.0, "observed", 1))
        self.assertEqual(self.times.guard([10.5], floor=0), Estimate(0.5, "observed", 1))

    def test_many(self) -> None:
        """
        With many the chance that one of them is the longest grows.
        """
        self.assertEqual(self.times.guard([0.0] * 1000, floor=1), Estimate(11.0, "observed", 1000))
        self.assertEqual(self.times.guard([0.0, 4.0, 9.0], floor=1).seconds, 11.0)

    def test_margin(self) -> None:
        self.assertEqual(self.times.guard([0.0], margin=1.5, floor=1), Estimate(12.4, "observed", 1))

    def test_bounds(self) -> None:
        self.assertEqual(self.times.guard([]), Estimate(5.0, "floor", 0))
        self.assertEqual(self.times.guard([10.5]), Estimate(5.0, "floor", 1))
        self.assertEqual(self.times.guard([0.0], ceiling=8), Estimate(8, "ceiling", 1))

    def test_unknown(self) -> None:
        """
        Where nothing can be said, the ceiling is what is safe.
        """
        self.assertEqual(self.times.guard([0.0, 11.5]), Estimate(180, "longer than any", 2))
        self.times.add(500)
        self.assertEqual(self.times.guard([10.99]), Estimate(180, "longer than any", 1))
        self.assertEqual(SetupTimes().guard([0.0]), Estimate(180, "few observations", 1))
        self.assertEqual(SetupTimes().guard([]), Estimate(5.0, "floor", 0))

    def test_turnsOut(self) -> None:
        """
        Held against what happens: of many drains with a few calls each, in about one in a hundred a call
        takes longer than estimated.
        """
        late = 0
        for drain in range(1000):
            # 5 calls at an evenly spread place among those that it knows; each one's age is a third.
            durations = [1 + ((drain * 5 + call) * 617 % 1000) / 100 for call in range(5)]
            ages = [duration / 3 for duration in durations]
            estimate = self.times.guard(ages, floor=0)
            needed = max(duration - age for duration, age in zip(durations, ages, strict=True))
            late += needed > estimate.seconds
        self.assertLess(late, 20)

    def test_quick(self) -> None:
        """
        Not a pause for calls, with ten thousand in the ledger.
        """
        ages = [number / 1000 for number in range(10_000)]
        began = perf_counter()
        self.times.guard(ages)
        self.assertLess(perf_counter() - began, 0.25)


class LedgerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.times = SetupTimes()
        self.ledger = Ledger(self.times.counts, self.clock.seconds)

    def observed(self) -> dict[int, float]:
        return {at: count for at, count in enumerate(self.times.counts) if count}

    def test_settled(self) -> None:
        """
        What is settled in its own time is counted once; other requests than INVITE are not.
        """
        calls = [Call(0.0), Call(0.0), Call(0.0, isInvite=False)]
        for call in calls:
            self.ledger.accept(call)
        self.clock.advance(1.02)
        self.ledger.settle(calls[0])
        self.ledger.settle(calls[0])
        self.ledger.settle(calls[2])
        self.clock.advance(1000)
        self.ledger.settle(calls[1])
        self.assertEqual(self.observed(), {20: 1.0, len(self.times.counts) - 1: 1.0})

    def test_forced(self) -> None:
        """
        What was ended by force says nothing about how long it would have taken.
        """
        calls = [Call(0.0), Call(0.0), Call(0.0)]
        for call in calls:
            self.ledger.accept(call)
        self.clock.advance(2)
        self.ledger.settle(calls[0], True)
        self.ledger.settleAll("guard timer")
        self.assertEqual((self.ledger.forced, self.observed()), (3, {}))
        call = Call(2.0)
        self.ledger.accept(call)
        self.ledger.settle(call)
        self.assertEqual(self.observed(), {0: 1.0})

    def test_held(self) -> None:
        """
        It is the set-up that counts, not how long people talk.
        """
        first, second, talk = Call(0.0), Call(0.0), Call(0.0)
        self.ledger.accept(first)
        self.ledger.accept(second)
        self.clock.advance(1.02)
        self.ledger.hold(first, talk)
        self.clock.advance(1000)
        self.ledger.hold(second, talk)
        self.ledger.settle(talk)
        self.assertEqual(self.observed(), {20: 1.0, len(self.times.counts) - 1: 1.0})

    def test_cheap(self) -> None:
        """
        Every call passes here: what it costs beside a ledger that does not count. (The figure is 0.2 µs; the
        bound is wide, for a machine that does something else at the same time.)
        """

        def measure(ledger: Ledger) -> float:
            call = Call(time())
            least = 1.0
            for _ in range(20):
                began = perf_counter()
                for _ in range(5000):
                    ledger.accept(call)
                    ledger.settle(call)
                least = min(least, (perf_counter() - began) / 5000)
            return least

        cost = measure(Ledger(SetupTimes().counts, time)) - measure(Ledger())
        self.assertLess(cost, 1e-6)
