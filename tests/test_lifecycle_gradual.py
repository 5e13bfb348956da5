"""
Drains that begin gradually.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.lifecycle.events import Change, Event, State
from sipgrace.lifecycle.gate import Gate
from sipgrace.lifecycle.orders import Kind
from sipgrace.server.ramp import VALIDITY, Ramp
from tests.test_lifecycle_machine import Call, World, order


class GateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.gate = Gate(self.clock)

    def turnedAway(self, calls: int) -> str:
        """
        What becomes of so many calls at this moment.
        """
        return "".join("x" if self.gate.turnsAway() else "." for _ in range(calls))

    def test_share(self) -> None:
        """
        From nothing to all, evenly, and not beyond.
        """
        self.assertEqual((self.gate.slowing, self.gate.share()), (False, 0))
        self.gate.slow(60)
        shares = []
        for _ in range(6):
            shares.append(self.gate.share())
            self.clock.advance(15)
        self.assertEqual(shares, [0, 0.25, 0.5, 0.75, 1, 1])
        self.assertTrue(self.gate.slowing)
        self.gate.close(1000, "")
        self.assertEqual((self.gate.slowing, self.gate.share()), (False, 1))
        self.gate.openAgain()
        self.assertEqual((self.gate.slowing, self.gate.share()), (False, 0))

    def test_even(self) -> None:
        """
        Which calls are refused is no matter of chance.
        """
        self.gate.slow(60)
        self.assertEqual(self.turnedAway(10), "..........")
        self.clock.advance(15)
        self.assertEqual(self.turnedAway(12), "...x...x...x")
        self.clock.advance(15)
        self.assertEqual(self.turnedAway(10), ".x.x.x.x.x")
        self.clock.advance(15)
        self.assertEqual(self.turnedAway(12), ".xxx.xxx.xxx")
        self.clock.advance(15)
        self.assertEqual(self.turnedAway(5), "xxxxx")
        self.assertEqual(self.gate.refused, 3 + 5 + 9 + 5)

    def test_half(self) -> None:
        """
        Over the whole of it half of the calls are refused.
        """
        self.gate.slow(60)
        told = ""
        for _ in range(6000):
            told += self.turnedAway(1)
            self.clock.advance(0.01)
        self.assertTrue(2998 <= told.count("x") <= 3001, told.count("x"))

    def test_sooner(self) -> None:
        """
        It goes on from where it is.
        """
        self.gate.slow(60)
        self.clock.advance(30)
        self.gate.slow(10)
        self.assertEqual(self.gate.share(), 0.5)
        self.clock.advance(5)
        self.assertEqual(self.gate.share(), 0.75)
        self.clock.advance(5)
        self.assertEqual(self.gate.share(), 1)

    def test_again(self) -> None:
        """
        What was owed when one was taken back is not asked of the next.
        """
        self.gate.slow(10)
        self.clock.advance(9)
        self.turnedAway(1)
        self.gate.openAgain()
        self.gate.slow(10)
        self.clock.advance(1)
        self.assertEqual(self.turnedAway(9), ".........")


class LifecycleTests(SynchronousTestCase):
    def test_drain(self) -> None:
        """
        Whoever waits for the drain waits for all of it; the guard begins at the full stop.
        """
        world = World()
        call = Call(world, "call")
        waiting = world.lifecycle.drain(order(guard=30, over=20))
        self.assertEqual(world.flush(), ["gate slow over 20", "slowing (slowing)"])
        status = world.lifecycle.status()
        self.assertEqual((status.slowLeft, status.guardLeft, status.awayFor), (20, None, None))
        call.end()
        world.clock.advance(19.9)
        self.assertEqual(world.flush(), [])
        Call(world, "another")
        world.clock.advance(0.1)
        self.assertEqual(world.flush(), ["gate closed until 1080 upgrade", "draining (draining)"])
        status = world.lifecycle.status()
        self.assertEqual((status.slowLeft, status.guardLeft, status.awayFor), (None, 30, 60))
        self.assertNoResult(waiting)
        world.associations.atOnce = True
        world.clock.pump([30])
        self.assertEqual(self.successResultOf(waiting), State.OFFLINE)

    def test_cancelled(self) -> None:
        """
        Nothing is left of it.
        """
        world = World()
        waiting = world.lifecycle.drain(order(over=20))
        world.clock.advance(5)
        world.lifecycle.cancel(order(Kind.CANCEL))
        self.assertEqual(self.successResultOf(waiting), State.SERVING)
        self.assertEqual(world.clock.getDelayedCalls(), [])
        self.assertEqual(world.lifecycle.status().order, None)

    def test_sooner(self) -> None:
        """
        A second one joins it; the earlier full stop counts, for all else the first order.
        """
        world = World()
        Call(world, "call")
        world.lifecycle.drain(order(guard=30, over=20))
        world.clock.advance(5)
        world.lifecycle.drain(order(guard=99, over=60))
        self.assertEqual(world.lifecycle.status().slowLeft, 15)
        world.flush()
        world.lifecycle.drain(order(over=4))
        self.assertEqual(world.flush(), ["gate slow over 4", "joined (slowing)"])
        world.clock.advance(4)
        self.assertEqual(world.lifecycle.status().guardLeft, 30)
        self.assertEqual(world.lifecycle.status().order, order(guard=30, over=20))

    def test_atOnce(self) -> None:
        """
        An order to stop at once does, and is what counts.
        """
        world = World()
        Call(world, "call")
        world.lifecycle.drain(order(guard=30, over=20))
        world.clock.advance(5)
        world.lifecycle.drain(order(guard=7))
        self.assertEqual((world.lifecycle.status().guardLeft, world.lifecycle.status().slowLeft), (7, None))
        world.associations.atOnce = True
        world.clock.advance(30)
        self.assertEqual(world.clock.getDelayedCalls(), [])
        self.assertEqual(world.lifecycle.status().state, State.OFFLINE)

    def test_settings(self) -> None:
        """
        Where the order does not say, the settings do.
        """
        world = World(over=20.0)
        world.lifecycle.drain(order())
        self.assertEqual(world.lifecycle.status().slowLeft, 20)
        world.lifecycle.cancel()
        world.lifecycle.drain(order(over=0))
        self.assertEqual(world.lifecycle.status().state, State.DRAINED)


class Control:
    """
    Overload control, written down.
    """

    def __init__(self) -> None:
        self.loss = 0
        self.log: list[Any] = []

    def ask(self, loss: int, validity: Any) -> None:
        self.loss = loss
        self.log.append((loss, validity(None)))

    def release(self) -> None:
        self.loss = 0
        self.log.append("release")

    def flush(self) -> list[Any]:
        log, self.log[:] = list(self.log), []
        return log


class RampTests(SynchronousTestCase):
    """
    The same for those who speak overload control.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.gate = Gate(self.clock)
        self.control = Control()
        self.told: list[bool] = []
        self.ramp = Ramp(self.gate, self.control, self.told.append)

    def happens(self, change: Change) -> None:
        state = State.SLOWING if change is Change.SLOWING else State.DRAINING
        self.ramp.onChange(
            Event(number=1, change=change, state=state, at=0.0, order=None, waiting=0, associations=0)
        )

    def beats(self, count: int) -> None:
        for _ in range(count):
            self.clock.advance(0.25)
            self.ramp(0.0)

    def slow(self) -> None:
        self.gate.slow(10)
        self.happens(Change.SLOWING)

    def test_rises(self) -> None:
        """
        Once a second, and never to all: that is for the full stop.
        """
        self.beats(8)
        self.assertEqual(self.control.flush(), [])
        self.slow()
        self.assertEqual(self.told, [True])
        self.beats(12)
        self.assertEqual(
            self.control.flush(), [(0, VALIDITY), (10, VALIDITY), (20, VALIDITY), (30, VALIDITY)]
        )
        self.beats(40)
        self.assertEqual(self.control.flush()[-1], (99, VALIDITY))

    def test_ends(self) -> None:
        """
        At the full stop it is up to whoever announces that; where nobody asks for anything then, it is over.
        """
        self.slow()
        self.control.loss = 100
        self.happens(Change.DRAINING)
        self.assertEqual((self.control.flush(), self.told), ([(0, VALIDITY)], [True, False]))
        self.slow()
        self.control.flush()
        self.happens(Change.DRAINING)
        self.assertEqual(self.control.flush(), ["release"])
        self.slow()
        self.control.flush()
        self.happens(Change.CANCELLED)
        self.assertEqual(self.control.flush(), ["release"])
        self.beats(8)
        self.happens(Change.OFFLINE)
        self.assertEqual(self.control.flush(), [])
