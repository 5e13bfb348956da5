"""
Rehearsals, and what they reckon with.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.errors import OrderRefused
from sipgrace.lifecycle.door import Carried
from sipgrace.lifecycle.estimate import SetupTimes
from sipgrace.lifecycle.orders import Announce, Kind, Order
from sipgrace.lifecycle.pulse import BEAT, Pace, Pulse
from sipgrace.lifecycle.rehearsal import Rehearsals
from tests.test_lifecycle_machine import Call, World, order


class RehearsalTests(SynchronousTestCase):
    """
    A server on which set-ups take 1 to 11 s, with three calls that have been waiting for 8, 4 and 0 s.
    """

    def setUp(self) -> None:
        self.world = World(guard=30.0, margin=1.0, retryPeriod=20.0)
        self.clock = self.world.clock
        self.times = SetupTimes()
        for number in range(1000):
            self.times.add(1 + number / 100)
        self.rehearsals = Rehearsals(
            self.clock,
            self.world.lifecycle,
            self.world.ledger,
            self.times,
            lambda: self.times.guard(self.world.ledger.ages(self.clock.seconds())),
            1.0,
            5,
            lambda: 2.5,
            {"over": 0.0, "then": "stay", "announce": "both"},
            lambda: 100.0,
        )
        self.rehearsals.announced = lambda away, why, back: [
            ("client-110", f"{away:g} {why} {back}".encode())
        ]
        self.rehearsals.clients = lambda: {"client-110": 2, "client-112": 1}
        self.calls = [Call(self.world, "oldest")]
        self.clock.advance(4)
        self.calls.append(Call(self.world, "middle"))
        self.clock.advance(4)
        self.calls.append(Call(self.world, "newest"))
        self.began = self.clock.seconds()

    def rehearse(self, **values: Any) -> Carried:
        return self.rehearsals.rehearse(Order(kind=Kind.REHEARSE, who="alice", when=1.0, **values))

    def test_told(self) -> None:
        """
        All that a drain would do, and its order's wishes count.
        """
        self.assertEqual(
            self.rehearse(
                guard=10,
                retryAfter=60,
                over=20,
                then="exit",
                announce=Announce.BROADCAST,
                why="disk",
                back=150.0,
            ).result,
            {
                "guard": 10,
                "guardEstimate": 11.0,
                "estimatedFrom": "observed",
                "forcedAfter": 8.5,
                "retryAfter": 60,
                "spread": 5,
                "over": 20,
                "then": "exit",
                "announce": "broadcast",
                "waiting": 3,
                "dialogs": 0,
                "oldest": 8.0,
                # Of calls that have taken 8 s none takes 16.5, nor of those of 4 s any 12.5; of new ones one
                # in four takes longer than 8.5 s.
                "cutOff": 0.25,
                "associations": 2,
                "clients": {"client-110": 2, "client-112": 1},
                "announcements": [{"client": "client-110", "message": "60 disk 50.0"}],
                "newPerSecond": 2.5,
                "refusedBefore": 25,
                "refusedWithin": 150,
            },
        )

    def test_defaults(self) -> None:
        result = self.rehearse().result
        self.assertEqual(
            {key: result[key] for key in ("guard", "retryAfter", "over", "then", "announce")},
            {"guard": 30.0, "retryAfter": 50.0, "over": 0.0, "then": "stay", "announce": "both"},
        )
        self.assertEqual((result["cutOff"], result["refusedBefore"]), (0.0, 28))
        self.assertEqual(len(result["announcements"]), 1)
        self.assertEqual(self.rehearse(announce=Announce.IN_ANSWER).result["announcements"], [])

    def test_unknown(self) -> None:
        """
        Where too little is known that is said.
        """
        self.times.counts[:] = [0.0] * len(self.times.counts)
        result = self.rehearse().result
        self.assertEqual((result["cutOff"], result["estimatedFrom"]), (None, "few observations"))

    def test_callsGoingOn(self) -> None:
        """
        How long people talk is not known; it is watched, and being set up does not settle a call.
        """
        talk = Call(self.world, "talk")
        self.world.ledger.hold(self.calls[0], talk)
        self.world.ledger.settle(talk)
        self.world.ledger.accept(self.calls[0])
        self.world.ledger.hold(self.calls[0], talk)
        carried = self.rehearse(guard=10)
        self.assertEqual(
            {key: carried.result[key] for key in ("waiting", "dialogs", "oldest", "cutOff")},
            {"waiting": 3, "dialogs": 1, "oldest": 4.0, "cutOff": None},
        )
        other = Call(self.world, "other")
        self.calls[1].call = other
        self.world.ledger.hold(self.calls[1], other)
        self.calls[2].end()
        self.clock.pump([0.1] * 86)
        assert carried.later is not None
        found = self.successResultOf(carried.later)
        self.assertEqual((found["settled"], found["cutOff"]), (1, 2))

    def test_settled(self) -> None:
        """
        What became of the calls that waited then; what came later is only counted.
        """
        later = self.rehearse(guard=10).later
        assert later is not None
        self.clock.pump([0.1] * 20)
        self.calls[0].end()
        Call(self.world, "new")
        Call(self.world, "and another")
        self.clock.pump([0.1] * 20)
        self.calls[1].end()
        self.assertNoResult(later)
        self.calls[2].end()
        self.clock.advance(0.1)
        self.assertEqual(
            self.successResultOf(later),
            {"guard": 10, "waiting": 3, "settled": 3, "cutOff": 0, "drainedAfter": 4.1, "refused": 2},
        )

    def test_cutOff(self) -> None:
        later = self.rehearse(guard=10).later
        assert later is not None
        self.calls[1].end()
        self.clock.pump([0.1] * 84)
        self.assertNoResult(later)
        self.clock.pump([0.1] * 2)
        self.assertEqual(
            self.successResultOf(later),
            {"guard": 10, "waiting": 3, "settled": 1, "cutOff": 2, "drainedAfter": None, "refused": 0},
        )

    def test_idle(self) -> None:
        for call in self.calls:
            call.end()
        carried = self.rehearse()
        self.assertEqual((carried.result["waiting"], carried.result["oldest"]), (0, None))
        assert carried.later is not None
        self.assertEqual(self.successResultOf(carried.later)["drainedAfter"], 0)

    def test_unnoticed(self) -> None:
        """
        Nothing changes: no state, no gate, no association, no word to those who watch.
        """
        self.world.flush()
        before = self.world.lifecycle.status()
        later = self.rehearse(guard=5).later
        assert later is not None
        self.assertEqual(self.world.lifecycle.status(), before)
        self.clock.pump([0.1] * 60)
        self.successResultOf(later)
        self.assertEqual(self.world.flush(), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_refused(self) -> None:
        """
        For a server that serves, and not too many at a time.
        """
        laters = [self.rehearse().later for _ in range(4)]
        error = self.assertRaises(OrderRefused, self.rehearse)
        self.assertEqual(str(error), "4 rehearsals are under way already; wait until one has ended")
        # Whoever asked has gone.
        assert laters[0] is not None
        laters[0].cancel()
        self.failureResultOf(laters[0], CancelledError)
        laters[0] = self.rehearse().later
        self.rehearsals.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.world.lifecycle.drain(order())
        error = self.assertRaises(OrderRefused, self.rehearse)
        self.assertEqual(str(error), "a rehearsal is for a server that serves; this one is draining")


class PulseTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.pulse = Pulse(self.clock)

    def test_beat(self) -> None:
        """
        Four times a second, and by how much too late.
        """
        seen: list[float] = []
        self.pulse.listeners.append(seen.append)
        self.pulse.start()
        self.pulse.start()
        self.clock.pump([BEAT] * 2)
        self.assertEqual(seen, [0.0, 0.0])
        self.clock.advance(BEAT + 1)
        self.assertEqual(seen, [0.0, 0.0, 1.0])
        self.pulse.stop()
        self.pulse.stop()
        self.clock.advance(10)
        self.assertEqual(len(seen), 3)

    def test_raises(self) -> None:
        """
        One that fails does not keep the others from hearing it.
        """
        seen: list[float] = []
        self.pulse.listeners += [lambda lag: 1 / 0, seen.append]
        self.pulse.start()
        self.clock.pump([BEAT] * 2)
        self.assertEqual(seen, [0.0, 0.0])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_pace(self) -> None:
        """
        Over the last half minute.
        """
        counter = [100]
        pace = Pace(self.clock, lambda: counter[0])
        self.assertEqual(pace.perSecond(), 0)
        self.pulse.listeners.append(pace)
        self.pulse.start()
        for _ in range(4 * 60):
            counter[0] += 5
            self.clock.advance(BEAT)
        self.assertEqual(pace.perSecond(), 20)
        self.clock.pump([BEAT] * 4 * 60)
        self.assertEqual(pace.perSecond(), 0)
