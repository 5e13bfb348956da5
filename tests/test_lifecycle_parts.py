"""
What the lifecycle machine is made of: ledger, gate, guard timer.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.lifecycle.gate import Gate
from sipgrace.lifecycle.guard import Guard
from sipgrace.lifecycle.ledger import Ledger


class Call:
    def __init__(self, name: str, acceptedAt: float = 0.0) -> None:
        self.name = name
        self.acceptedAt = acceptedAt
        self.forced: list[str] = []
        self.whenForced: Callable[[], bool | None] = lambda: None

    def forceSettle(self, reason: str) -> bool | None:
        self.forced.append(reason)
        return self.whenForced()


class LedgerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.ledger = Ledger()
        self.calls = [Call("first", 10), Call("second", 11.5), Call("third", 14)]
        for call in self.calls:
            self.ledger.accept(call)

    def counts(self) -> dict[str, int]:
        return {name: getattr(self.ledger, name) for name in ("accepted", "settled", "forced", "failed")} | {
            "waiting": len(self.ledger)
        }

    def test_order(self) -> None:
        """
        The oldest first, whichever are settled in between.
        """
        self.assertEqual(self.ledger.ages(15), [5, 3.5, 1])
        self.assertIs(self.ledger.oldest, self.calls[0])
        self.ledger.settle(self.calls[0])
        self.assertEqual(self.ledger.ages(15), [3.5, 1])
        self.assertIs(self.ledger.oldest, self.calls[1])
        self.assertEqual(list(self.ledger), self.calls[1:])
        self.ledger.settle(self.calls[2])
        self.ledger.settle(self.calls[1])
        self.assertEqual(self.ledger.ages(15), [])
        self.assertIs(self.ledger.oldest, None)

    def test_settledTwice(self) -> None:
        """
        Once is enough; so is never having been accepted.
        """
        self.ledger.settle(self.calls[0])
        self.ledger.settle(self.calls[0])
        self.ledger.settle(Call("stranger"))
        self.assertEqual(self.counts(), {"accepted": 3, "settled": 1, "forced": 0, "failed": 0, "waiting": 2})

    def test_watch(self) -> None:
        """
        The watcher is told each time the ledger becomes empty, until it no longer watches.
        """
        told: list[int] = []
        self.ledger.watch(lambda: told.append(len(self.ledger)))
        for call in self.calls:
            self.assertEqual(told, [])
            self.ledger.settle(call)
        self.assertEqual(told, [0])
        self.ledger.settle(self.calls[0])
        self.assertEqual(told, [0])
        self.ledger.accept(self.calls[0])
        self.ledger.settle(self.calls[0])
        self.assertEqual(told, [0, 0])
        self.ledger.watch(None)
        self.ledger.accept(self.calls[0])
        self.ledger.settle(self.calls[0])
        self.assertEqual(told, [0, 0])

    def test_settleAll(self) -> None:
        """
        Each is forced once, whether or not it settles itself in the course of that.
        """
        self.calls[1].whenForced = lambda: self.ledger.settle(self.calls[1])
        self.assertEqual(self.ledger.settleAll("guard timer"), 3)
        self.assertEqual([call.forced for call in self.calls], [["guard timer"]] * 3)
        self.assertEqual(self.counts(), {"accepted": 3, "settled": 3, "forced": 3, "failed": 0, "waiting": 0})

    def test_held(self) -> None:
        """
        Calls that go on stand in the place of what was set up: still waiting, but not to be set up any more.
        """
        told: list[int] = []
        self.ledger.watch(lambda: told.append(len(self.ledger)))
        first, second, third = self.calls
        talk = Call("talk", 16)
        for entry in (first, first, second, Call("stranger")):
            self.ledger.hold(entry, talk)
        self.assertEqual((list(self.ledger), list(self.ledger.setups)), ([third, talk], [third]))
        self.assertEqual((self.ledger.ages(15), self.ledger.oldest), ([1], third))
        self.assertEqual([one in self.ledger for one in (first, third, talk)], [False, True, True])
        first.call = talk
        self.assertIn(first, self.ledger)
        self.ledger.settle(third)
        self.assertEqual((self.counts()["settled"], told), (1, []))
        self.ledger.settle(talk, True)
        self.ledger.settle(talk, True)
        self.assertEqual(self.counts(), {"accepted": 3, "settled": 3, "forced": 1, "failed": 0, "waiting": 0})
        self.assertEqual(told, [0])
        self.assertNotIn(first, self.ledger)

    def test_heldWhileSettling(self) -> None:
        """
        What is held only because its set-up was settled by force is forced, too.
        """
        talk = Call("talk", 16)

        def hold() -> bool:
            self.ledger.hold(self.calls[1], talk)
            return False

        self.calls[1].whenForced = hold
        self.assertEqual(self.ledger.settleAll("guard timer"), 3)
        self.assertEqual(talk.forced, ["guard timer"])
        self.assertEqual(self.counts(), {"accepted": 3, "settled": 3, "forced": 3, "failed": 0, "waiting": 0})

    def test_settleAllTellsOnce(self) -> None:
        told: list[int] = []
        self.ledger.watch(lambda: told.append(len(self.ledger)))
        self.ledger.settleAll("guard timer")
        self.assertEqual(told, [0])

    def test_settleAllEmpty(self) -> None:
        told: list[int] = []
        ledger = Ledger()
        ledger.watch(lambda: told.append(1))
        self.assertEqual(ledger.settleAll("guard timer"), 0)
        self.assertEqual(told, [])

    def test_settlingOneSettlesAnother(self) -> None:
        """
        One that another has settled on the way is not forced as well.
        """
        self.calls[0].whenForced = lambda: self.ledger.settle(self.calls[2])
        self.assertEqual(self.ledger.settleAll("guard timer"), 2)
        self.assertEqual(self.calls[2].forced, [])
        self.assertEqual(self.counts(), {"accepted": 3, "settled": 3, "forced": 2, "failed": 0, "waiting": 0})

    def test_answeredBefore(self) -> None:
        """
        One whose final response had left before was not forced upon.
        """
        self.calls[0].whenForced = lambda: False
        self.assertEqual(self.ledger.settleAll("guard timer"), 2)
        self.assertEqual(self.counts(), {"accepted": 3, "settled": 3, "forced": 2, "failed": 0, "waiting": 0})

    def test_oneFails(self) -> None:
        """
        One that fails is logged and let go; the others are settled all the same.
        """
        self.calls[0].whenForced = lambda: bool(1 / 0)
        self.assertEqual(self.ledger.settleAll("guard timer"), 2)
        self.assertEqual([call.forced for call in self.calls], [["guard timer"]] * 3)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.counts(), {"accepted": 3, "settled": 2, "forced": 2, "failed": 1, "waiting": 0})

    def test_acceptedMeanwhile(self) -> None:
        """
        What is accepted in the course of settlement is not its business: the gate has been closed, so it
        was let in on purpose.
        """
        late = Call("late")
        self.calls[0].whenForced = lambda: self.ledger.accept(late)
        self.assertEqual(self.ledger.settleAll("guard timer"), 3)
        self.assertEqual(self.ledger.oldest, late)


class GateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)

    def test_openAndClosed(self) -> None:
        gate = Gate(self.clock)
        self.assertEqual((gate.open, gate.reason), (True, ""))
        gate.close(1060, "upgrade")
        self.assertEqual((gate.open, gate.reason, gate.until), (False, "upgrade", 1060))
        gate.openAgain()
        self.assertEqual((gate.open, gate.reason), (True, ""))

    def test_secondsLeft(self) -> None:
        """
        Counted from each response, and rounded up.
        """
        gate = Gate(self.clock, spread=0)
        gate.close(1060, "")
        self.assertEqual(gate.retryAfter("client-110"), 60)
        self.clock.advance(0.1)
        self.assertEqual(gate.retryAfter("client-110"), 60)
        self.clock.advance(29.9)
        self.assertEqual(gate.retryAfter("client-110"), 30)
        self.clock.advance(29.5)
        self.assertEqual(gate.retryAfter("client-110"), 1)
        gate.close(1200.25, "")
        self.assertEqual(gate.retryAfter("client-110"), 141)

    def test_yields(self) -> None:
        """
        Until a time, and never again once it is shut; those that pass are counted.
        """
        gate = Gate(self.clock)
        gate.close(1060, "", 1020)
        self.assertEqual((gate.yields(), gate.yielded, gate.refused), (True, 1, 0))
        self.clock.advance(19.9)
        self.assertTrue(gate.yields())
        self.clock.advance(0.1)
        self.assertFalse(gate.yields())
        gate.close(1060, "", 1030)
        self.assertTrue(gate.yields())
        gate.shut()
        self.assertEqual((gate.yields(), gate.yielded), (False, 3))
        gate.close(1060, "")
        self.assertFalse(gate.yields())

    def test_roundingOfTheClock(self) -> None:
        """
        Sums of fractions do not make a second more of it.
        """
        gate = Gate(self.clock, spread=0)
        gate.close(self.clock.seconds() + 0.1 + 0.2 + 29.7, "")
        self.assertEqual(gate.retryAfter("client-110"), 30)

    def test_neverZero(self) -> None:
        """
        The time is over and the server is not back: 0 would ask clients in.
        """
        gate = Gate(self.clock, spread=0)
        gate.close(1000, "")
        self.assertEqual(gate.retryAfter("client-110"), 1)
        self.clock.advance(500)
        self.assertEqual(gate.retryAfter("client-110"), 1)

    def test_spread(self) -> None:
        """
        Each client has its own share, always the same; together they fill the spread, and none of them
        comes before the time.
        """
        gate = Gate(self.clock, spread=5)
        gate.close(1060, "")
        names = [f"client-{number}" for number in range(110, 310)]
        first = [gate.retryAfter(name) for name in names]
        self.assertEqual(first, [Gate.retryAfter(gate, name) for name in names])
        self.assertEqual(set(first), {60, 61, 62, 63, 64, 65})
        another = Gate(self.clock, spread=5)
        another.close(1060, "")
        self.assertEqual(first, [another.retryAfter(name) for name in names])
        # The same in every process and release.
        self.assertEqual([gate.retryAfter(n) for n in ("client-110", "client-112")], [64, 62])

    def test_lastInvite(self) -> None:
        """
        How late the latest INVITE came is counted from the full stop, not from when the time was changed, and
        not by a clock that somebody may set.
        """
        now = [50.0]
        gate = Gate(self.clock, monotonic=lambda: now[0])
        self.assertIsNone(gate.lastInvite)
        gate.close(1060, "")
        now[0] += 0.25
        gate.inviteCame()
        gate.close(1090, "")
        self.assertEqual(gate.lastInvite, 0.25)
        now[0] += 0.5
        self.clock.advance(100)
        gate.inviteCame()
        gate.openAgain()
        self.assertEqual(gate.lastInvite, 0.75)
        gate.close(1060, "")
        self.assertIsNone(gate.lastInvite)
        gate.inviteCame()
        gate.openAgain()
        gate.slow(10)
        self.assertIsNone(gate.lastInvite)

    def test_refused(self) -> None:
        gate = Gate(self.clock, spread=0)
        gate.close(1060, "")
        self.assertEqual(gate.refused, 0)
        self.assertEqual(gate.refuse("client-110"), 60)
        self.assertEqual(gate.refused, 1)
        gate.retryAfter("client-110")
        self.assertEqual(gate.refused, 1)


class GuardTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.seen: list[tuple[float, str]] = []

    def guard(self, margin: float = 1.0) -> Guard:
        return Guard(
            self.clock,
            margin,
            lambda: self.note("recall"),
            lambda: self.note("due"),
            lambda: self.note("expired"),
        )

    def note(self, what: str) -> None:
        self.seen.append((round(self.clock.seconds(), 6), what))

    def advance(self, seconds: float, step: float = 0.25) -> None:
        self.clock.pump([step] * round(seconds / step))

    def test_moments(self) -> None:
        for seconds, margin, recall, due in (
            (30, 1, 1028.5, 1029),
            (30, 0, 1030, 1030),
            (3, 1, 1001.5, 1002),
            (1.5, 1, 1000.75, 1001),
            (30, 20, 1015, 1020),
        ):
            self.clock = Clock()
            self.clock.advance(1000)
            self.seen = []
            guard = self.guard(margin)
            guard.set(seconds)
            self.assertEqual(guard.deadline, 1000 + seconds)
            self.advance(40)
            self.assertEqual(self.seen, [(recall, "recall"), (due, "due"), (1000 + seconds, "expired")])
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_zero(self) -> None:
        self.guard().set(0)
        self.assertEqual(self.seen, [(1000, "due")])
        self.clock.advance(0)
        self.assertEqual(self.seen, [(1000, "due"), (1000, "expired")])

    def test_moved(self) -> None:
        guard = self.guard()
        guard.set(30)
        self.advance(10)
        guard.set(5)
        self.assertEqual((guard.deadline, guard.left()), (1015, 5))
        self.advance(2)
        guard.set(10)
        self.advance(40)
        self.assertEqual(self.seen, [(1020.5, "recall"), (1021, "due"), (1022, "expired")])

    def test_left(self) -> None:
        guard = self.guard()
        self.assertEqual(guard.left(), 0)
        guard.set(30)
        self.clock.advance(29.5)
        self.assertEqual(guard.left(), 0.5)
        self.clock.advance(5)
        self.assertEqual(guard.left(), 0)
        guard.stop()
        self.assertEqual((guard.left(), guard.deadline), (0, None))

    def test_stopped(self) -> None:
        """
        At any stage, and more than once.
        """
        guard = self.guard()
        guard.set(30)
        guard.stop()
        guard.stop()
        self.advance(40)
        self.assertEqual(self.seen, [])
        guard.set(30)
        self.advance(29.5)
        guard.stop()
        self.advance(40)
        self.assertEqual([what for _, what in self.seen], ["recall", "due"])
        guard.set(30)
        self.advance(28.75)
        guard.stop()
        self.advance(40)
        self.assertEqual([what for _, what in self.seen], ["recall", "due", "recall"])

    def test_stoppedWhenDue(self) -> None:
        """
        Whoever is told may stop it there and then.
        """
        for moments in (0, 1):
            guards: list[Guard] = []
            told = [lambda: self.note("recall"), lambda: self.note("due"), lambda: self.note("expired")]
            told[moments] = lambda guards=guards: guards.pop().stop()
            guard = Guard(self.clock, 1, *told)
            guards.append(guard)
            guard.set(30)
            self.advance(40)
            self.assertEqual(guards, [])
            self.assertEqual([what for _, what in self.seen], ["recall"][:moments])
            self.seen = []

    def test_lateReactor(self) -> None:
        """
        All moments are past when the reactor comes round: they come in their order.
        """
        self.guard().set(30)
        self.clock.advance(50)
        self.clock.advance(0)
        self.assertEqual(self.seen, [(1050, "recall"), (1050, "due"), (1050, "expired")])
