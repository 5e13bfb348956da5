"""
The lifecycle machine, cell by cell, and what its door adds: order, answers, reentrancy.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, nan
from unittest.mock import patch

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.errors import OrderRefused, TransportError
from sipgrace.lifecycle import states
from sipgrace.lifecycle.events import Change, Event, State
from sipgrace.lifecycle.ledger import Ledger
from sipgrace.lifecycle.machine import Lifecycle, Status
from sipgrace.lifecycle.orders import Kind, Order
from sipgrace.lifecycle.settings import Settings


def order(
    kind: Kind = Kind.DRAIN,
    guard: float | None = None,
    retryAfter: float | None = None,
    over: float | None = None,
) -> Order:
    return Order(
        kind=kind, who="operator", when=1.0, why="upgrade", guard=guard, retryAfter=retryAfter, over=over
    )


class Call:
    """
    An accepted INVITE.
    """

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.acceptedAt = world.clock.seconds()
        self.whenRecalled: Callable[[], object] = lambda: None
        self.whenForced: Callable[[], object] = lambda: world.ledger.settle(self)
        world.ledger.accept(self)

    def recall(self, reason: str) -> None:
        self.world.log.append(f"recall {self.name}: {reason}")
        self.whenRecalled()

    def forceSettle(self, reason: str) -> None:
        self.world.log.append(f"force {self.name}: {reason}")
        self.whenForced()

    def end(self) -> None:
        self.world.ledger.settle(self)


class Gate:
    """
    @ivar last: until when those that go before others are let in.
    """

    def __init__(self, log: list[str]) -> None:
        self.log = log
        self.last = 0.0

    def close(self, until: float, reason: str, last: float = 0.0) -> None:
        self.log.append(f"gate closed until {until:g} {reason}".strip())
        self.last = last

    def shut(self) -> None:
        self.last = 0.0

    def slow(self, over: float) -> None:
        self.log.append(f"gate slow over {over:g}")

    def openAgain(self) -> None:
        self.log.append("gate open")

    @property
    def lastInvite(self) -> float | None:
        return None


class Associations:
    """
    @ivar atOnce: whether shutdown and abort take effect before they return.
    """

    def __init__(self, world: World, count: int) -> None:
        self.world = world
        self.count = count
        self.atOnce = False
        self.closing: Deferred[None] | None = None
        self.listening: Deferred[None] = succeed(None)

    def go(self) -> None:
        if self.count:
            self.count = 0
            self.world.lifecycle.associationsGone()

    def stopListening(self) -> Deferred[None] | None:
        self.world.log.append("stop listening")
        return self.closing

    def shutdownAll(self) -> None:
        self.world.log.append(f"shut down {self.count}")
        if self.atOnce:
            self.go()

    def abortAll(self) -> None:
        self.world.log.append(f"abort {self.count}")
        if self.atOnce:
            self.go()

    def listen(self) -> Deferred[None]:
        self.world.log.append("listen")
        return self.listening


class World:
    """
    A server with two associations and whatever calls a test adds, whose every act is written down.

    @ivar observing: what an observer does besides, by change.
    """

    def __init__(self, associations: int = 2, serving: bool = True, **settings: float | None) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.log: list[str] = []
        self.ledger = Ledger()
        self.gate = Gate(self.log)
        self.associations = Associations(self, associations)
        self.events: list[Event] = []
        self.observing: dict[Change, Callable[[], object]] = {}
        self.lifecycle = Lifecycle(
            self.clock,
            self.ledger,
            self.associations,
            self.gate,
            [self],
            Settings(**settings),
            serving,
        )

    def onChange(self, event: Event) -> None:
        self.events.append(event)
        text = f"{event.change} ({event.state})"
        for name in ("forced", "aborted"):
            if getattr(event, name):
                text += f" {name} {getattr(event, name)}"
        if event.text and event.change is not Change.REFUSED:
            text += f": {event.text}"
        self.log.append(text)
        self.observing.pop(event.change, lambda: None)()

    def flush(self) -> list[str]:
        log, self.log[:] = list(self.log), []
        return log

    def tell(self, fact: str, *args: object) -> None:
        machine = self.lifecycle._machine
        self.lifecycle._post(lambda: getattr(machine, fact)(*args))


def into(state: str, calls: int = 1) -> World:
    """
    @return: a server in that state, guard 30 from 1000 where there is one, with nothing written down yet.
    """
    world = World()
    if state in ("Serving", "Slowing", "Draining"):
        for number in range(calls):
            Call(world, f"call {number + 1}")
    if state == "Slowing":
        world.lifecycle.drain(order(over=20))
    if state in ("Draining", "Drained"):
        world.lifecycle.drain(order())
    if state in ("Offline", "Returning"):
        world.associations.atOnce = True
        world.lifecycle.drain(order())
        world.associations.atOnce = False
        world.associations.count = 0
    if state == "Returning":
        world.associations.listening = Deferred()
        world.lifecycle.resume().addErrback(lambda failure: None)
        world.associations.count = 1
    assert world.lifecycle.status().state == state.lower(), world.log
    world.flush()
    return world


INPUTS: dict[str, Callable[[World], object]] = {
    "drain": lambda w: w.lifecycle.drain(order()),
    "slow": lambda w: w.lifecycle.drain(order(over=10)),
    "cancel": lambda w: w.lifecycle.cancel(),
    "extend": lambda w: w.lifecycle.extend(10),
    "resume": lambda w: w.lifecycle.resume(),
    "offline": lambda w: w.lifecycle.offline(order(Kind.OFFLINE)),
    "becameIdle": lambda w: w.tell("becameIdle"),
    "_slowed": lambda w: w.tell("_slowed"),
    "_recallDue": lambda w: w.tell("_recallDue"),
    "_settlementDue": lambda w: w.tell("_settlementDue"),
    "_guardExpired": lambda w: w.tell("_guardExpired"),
    "associationsGone": lambda w: w.lifecycle.associationsGone(),
    "_listened": lambda w: w.tell("_listened"),
    "_listenFailed": lambda w: w.tell("_listenFailed", _failure()),
}


def _failure() -> object:
    from twisted.python.failure import Failure

    return Failure(TransportError("port 5060 is taken"))


# What each input does in each state: the sentence it is refused with, or all that happens. Every cell that is
# not here must do nothing at all.
CELLS: dict[tuple[str, str], str | list[str]] = {
    ("Serving", "drain"): ["gate closed until 1060 upgrade", "draining (draining)"],
    ("Serving", "slow"): ["gate slow over 10", "slowing (slowing)"],
    ("Serving", "cancel"): (
        "the server is serving and no drain is under way; drain is what would be accepted"
    ),
    ("Serving", "extend"): (
        "the server is serving and no guard is set; drain, with a guard, is what would be accepted"
    ),
    ("Serving", "offline"): [
        "gate closed until 1030 upgrade",
        "force call 1: taken offline",
        "stop listening",
        "abort 2",
        "offline (offline) forced 1 aborted 2",
    ],
    ("Slowing", "drain"): ["gate closed until 1060 upgrade", "draining (draining)"],
    ("Slowing", "slow"): ["gate slow over 10", "joined (slowing)"],
    ("Slowing", "cancel"): ["gate open", "cancelled (serving)"],
    ("Slowing", "extend"): (
        "the drain is about to begin and no guard is set yet; cancel is what would be accepted"
    ),
    ("Slowing", "resume"): "the server is about to drain; cancel is what takes that back",
    ("Slowing", "offline"): [
        "gate closed until 1030 upgrade",
        "force call 1: taken offline",
        "stop listening",
        "abort 2",
        "offline (offline) forced 1 aborted 2",
    ],
    ("Slowing", "_slowed"): ["gate closed until 1060 upgrade", "draining (draining)"],
    ("Draining", "slow"): ["gate closed until 1060 upgrade", "joined (draining)"],
    ("Draining", "drain"): ["gate closed until 1060 upgrade", "joined (draining)"],
    ("Draining", "cancel"): ["gate open", "cancelled (serving)"],
    ("Draining", "extend"): ["gate closed until 1070 upgrade", "extended (draining)"],
    ("Draining", "resume"): "the server is draining; cancel is what takes a drain back",
    ("Draining", "offline"): [
        "gate closed until 1060 upgrade",
        "force call 1: taken offline",
        "stop listening",
        "abort 2",
        "offline (offline) forced 1 aborted 2",
    ],
    ("Draining", "becameIdle"): ["stop listening", "shut down 2", "drained (drained)"],
    ("Draining", "_recallDue"): ["recall call 1: guard timer"],
    ("Draining", "_settlementDue"): [
        "force call 1: guard timer",
        "stop listening",
        "shut down 2",
        "drained (drained) forced 1",
    ],
    ("Draining", "_guardExpired"): [
        "force call 1: guard timer",
        "stop listening",
        "shut down 2",
        "drained (drained) forced 1",
        "abort 2",
        "aborted (drained) aborted 2",
    ],
    ("Drained", "drain"): (
        "the drain is complete and the associations are being shut down; wait until it is offline"
    ),
    ("Drained", "slow"): (
        "the drain is complete and the associations are being shut down; wait until it is offline"
    ),
    ("Drained", "cancel"): (
        "the drain is complete and the associations are being shut down; "
        "wait until it is offline, then resume"
    ),
    ("Drained", "extend"): (
        "the drain is complete and needs no more time; wait until the server is offline, then resume"
    ),
    ("Drained", "resume"): (
        "the associations are still being shut down; wait until the server is offline, then resume"
    ),
    ("Drained", "offline"): [
        "gate closed until 1060 upgrade",
        "stop listening",
        "abort 2",
        "offline (offline) aborted 2",
    ],
    ("Drained", "_guardExpired"): ["abort 2", "aborted (drained) aborted 2"],
    ("Drained", "associationsGone"): ["offline (offline)"],
    ("Offline", "drain"): "the server is offline already; resume is what would be accepted",
    ("Offline", "slow"): "the server is offline already; resume is what would be accepted",
    ("Offline", "cancel"): "the drain is over and the server is offline; resume is what would be accepted",
    ("Offline", "extend"): "the drain is over and the server is offline; resume is what would be accepted",
    ("Offline", "resume"): ["listen", "returning (returning)", "gate open", "serving (serving)"],
    ("Offline", "associationsGone"): ["gone (offline)"],
    ("Returning", "drain"): [
        "gate closed until 1060 upgrade",
        "stop listening",
        "shut down 1",
        "draining (drained)",
        "drained (drained)",
    ],
    ("Returning", "slow"): [
        "gate closed until 1060 upgrade",
        "stop listening",
        "shut down 1",
        "draining (drained)",
        "drained (drained)",
    ],
    ("Returning", "cancel"): (
        "no drain is under way, the server is coming back; drain is what would be accepted"
    ),
    ("Returning", "extend"): "no guard is set, the server is coming back; drain is what would be accepted",
    ("Returning", "offline"): [
        "gate closed until 1060 upgrade",
        "stop listening",
        "abort 1",
        "offline (offline) aborted 1",
    ],
    ("Returning", "_listened"): ["gate open", "serving (serving)"],
    ("Returning", "_listenFailed"): ["stop listening", "failed (offline): port 5060 is taken"],
}


class GridTests(SynchronousTestCase):
    def check(self, state: str, name: str) -> None:
        world = into(state)
        expected = CELLS.get((state, name), [])
        if isinstance(expected, str):
            error = self.assertRaises(OrderRefused, INPUTS[name], world)
            self.assertEqual(str(error), expected)
            self.assertEqual(world.flush(), [f"refused ({state.lower()})"])
            self.assertEqual(world.events[-1].text, expected)
            self.assertEqual(world.lifecycle.status().state, state.lower())
        else:
            INPUTS[name](world)
            self.assertEqual(world.flush(), expected)

    def test_drawing(self) -> None:
        """
        The grid drawn above the machine says of each cell what the machine does.
        """
        automaton = states.LifecycleMachine.__automat_automaton__
        found = {
            (old.name, symbol): (new.name, [o.name for o in outputs])
            for old, symbol, new, outputs in automaton.allTransitions()
        }
        lines = [line for line in (states.__doc__ or "").splitlines() if line.endswith("|")]
        header = [text.strip() for text in lines[0].split("|")[1:-1]]
        drawn: dict[tuple[str, str], str] = {}
        for line in lines[1:]:
            name, *cells = (text.strip() for text in line.split("|")[:-1])
            drawn.update({(state, name): cell for state, cell in zip(header, cells, strict=True)})
        self.assertEqual(set(drawn), {(s, i) for s in header for i in INPUTS})
        self.assertEqual(set(drawn), set(found))
        does = {".": "returns(", "join": "join", "refuse": "refuse", "extend": "extend", "abort": "abort"}
        does |= {"tell": "tellGone", "recall": "recall", "hurry": "hurry"}
        for (state, name), cell in drawn.items():
            following, outputs = found[state, name]
            if cell.startswith("→ "):
                self.assertEqual(cell[2:], following, (state, name))
                self.assertNotEqual(following, state)
            else:
                self.assertEqual(following, state, (state, name))
                self.assertTrue(outputs[0].startswith(does[cell]), (state, name, outputs))
                self.assertEqual(cell == ".", (state, name) not in CELLS)


def _addCells() -> None:
    for state in ("Serving", "Slowing", "Draining", "Drained", "Offline", "Returning"):
        for name in INPUTS:

            def test(self: GridTests, state: str = state, name: str = name) -> None:
                self.check(state, name)

            setattr(GridTests, f"test_{state}_{name}", test)


_addCells()


class DrainTests(SynchronousTestCase):
    """
    Whole drains.
    """

    def test_idle(self) -> None:
        """
        Nothing accepted is left: all of it happens within the order.
        """
        world = World()
        world.associations.atOnce = True
        done = world.lifecycle.drain(order())
        self.assertEqual(
            world.flush(),
            [
                "gate closed until 1060 upgrade",
                "draining (draining)",
                "stop listening",
                "shut down 2",
                "drained (drained)",
                "offline (offline)",
            ],
        )
        self.assertIs(self.successResultOf(done), State.OFFLINE)
        self.assertEqual(world.clock.getDelayedCalls(), [])

    def test_idleWithoutAssociations(self) -> None:
        """
        Nobody is there: shutting down is what keeps others from coming.
        """
        world = World(associations=0)
        self.successResultOf(world.lifecycle.drain(order()))
        self.assertEqual(
            world.flush(),
            [
                "gate closed until 1060 upgrade",
                "draining (draining)",
                "stop listening",
                "shut down 0",
                "drained (drained)",
                "offline (offline)",
            ],
        )

    def test_lastCallSettled(self) -> None:
        """
        The last settled call ends the drain, in the next turn of the reactor: whoever settled it may still
        be about to send.
        """
        world = World()
        first, second = Call(world, "first"), Call(world, "second")
        done = world.lifecycle.drain(order())
        world.flush()
        world.clock.advance(5)
        second.end()
        world.clock.advance(0)
        self.assertEqual(world.flush(), [])
        first.end()
        self.assertEqual(world.flush(), [])
        world.clock.advance(0)
        self.assertEqual(world.flush(), ["stop listening", "shut down 2", "drained (drained)"])
        self.assertNoResult(done)
        world.clock.advance(0.1)
        world.associations.go()
        self.assertEqual(world.flush(), ["offline (offline)"])
        self.assertIs(self.successResultOf(done), State.OFFLINE)
        self.assertEqual(world.clock.getDelayedCalls(), [])
        self.assertEqual([event.at for event in world.events], [1000, 1005, 1005.1])

    def test_acceptedBetween(self) -> None:
        """
        A call that may pass a drain was accepted before the reactor's next turn: the ledger is not empty
        any more.
        """
        world = World()
        first = Call(world, "first")
        world.lifecycle.drain(order())
        world.flush()
        first.end()
        second = Call(world, "second")
        world.clock.advance(1)
        self.assertEqual(world.flush(), [])
        second.end()
        world.clock.advance(0)
        self.assertEqual(world.flush(), ["stop listening", "shut down 2", "drained (drained)"])

    def test_clientsLeave(self) -> None:
        """
        All clients have left: Offline follows as soon as their calls have ended.
        """
        world = World()
        call = Call(world, "call")
        done = world.lifecycle.drain(order())
        world.flush()
        world.associations.go()
        self.assertEqual(world.flush(), [])
        call.end()
        world.clock.advance(0)
        self.assertEqual(
            world.flush(), ["stop listening", "shut down 0", "drained (drained)", "offline (offline)"]
        )
        self.successResultOf(done)

    def test_guard(self) -> None:
        """
        At 28.5 s what is left is taken back; at 29 s it is settled by force and SHUTDOWN goes out; at 30 s
        follows ABORT.
        """
        world = World()
        Call(world, "first")
        Call(world, "second")
        done = world.lifecycle.drain(order(guard=30))
        world.flush()
        world.clock.advance(28.49)
        self.assertEqual(world.flush(), [])
        world.clock.advance(0.01)
        self.assertEqual(world.flush(), ["recall first: guard timer", "recall second: guard timer"])
        world.clock.advance(0.49)
        self.assertEqual(world.flush(), [])
        world.clock.advance(0.01)
        self.assertEqual(
            world.flush(),
            [
                "force first: guard timer",
                "force second: guard timer",
                "stop listening",
                "shut down 2",
                "drained (drained) forced 2",
            ],
        )
        world.associations.count = 1
        world.clock.advance(0.99)
        self.assertEqual(world.flush(), [])
        world.clock.advance(0.01)
        self.assertEqual(world.flush(), ["abort 1", "aborted (drained) aborted 1"])
        self.assertNoResult(done)
        world.associations.go()
        self.assertEqual(world.flush(), ["offline (offline)"])
        self.assertEqual(world.events[-1].at, 1030)
        self.successResultOf(done)
        self.assertEqual(world.clock.getDelayedCalls(), [])

    def test_goneBeforeTheGuard(self) -> None:
        """
        What answered its SHUTDOWN within the margin is not aborted, and the guard comes to nothing.
        """
        world = World()
        Call(world, "call")
        world.lifecycle.drain(order(guard=30))
        world.clock.advance(29)
        world.associations.go()
        world.flush()
        world.clock.advance(100)
        self.assertEqual(world.flush(), [])

    def test_marginOfShortGuard(self) -> None:
        """
        The margin is a third of a short guard.
        """
        world = World()
        Call(world, "call")
        world.lifecycle.drain(order(guard=1.5))
        world.flush()
        world.clock.advance(0.74)
        self.assertEqual(world.flush(), [])
        world.clock.advance(0.01)
        self.assertEqual(world.flush(), ["recall call: guard timer"])
        world.clock.advance(0.24)
        self.assertEqual(world.flush(), [])
        world.clock.advance(0.01)
        self.assertEqual(world.events[-1].change, Change.DRAINED)
        self.assertEqual(world.events[-1].forced, 1)

    def test_guardOfZero(self) -> None:
        """
        At once: final answers and SHUTDOWN now, ABORT in the reactor's next turn.
        """
        world = World()
        Call(world, "call")
        world.lifecycle.drain(order(guard=0))
        self.assertEqual(
            world.flush(),
            [
                "gate closed until 1030 upgrade",
                "draining (draining)",
                "force call: guard timer",
                "stop listening",
                "shut down 2",
                "drained (drained) forced 1",
            ],
        )
        world.clock.advance(0)
        self.assertEqual(world.flush(), ["abort 2", "aborted (drained) aborted 2"])

    def test_guardOfZeroIdle(self) -> None:
        world = World()
        world.lifecycle.drain(order(guard=0))
        world.clock.advance(0)
        self.assertEqual(
            world.flush(),
            [
                "gate closed until 1030 upgrade",
                "draining (draining)",
                "stop listening",
                "shut down 2",
                "drained (drained)",
                "abort 2",
                "aborted (drained) aborted 2",
            ],
        )

    def test_lateReactor(self) -> None:
        """
        A reactor that was busy past the guard still recalls before it settles, and settles before it aborts,
        one right after the other.
        """
        world = World()
        Call(world, "call")
        world.lifecycle.drain(order(guard=30))
        world.flush()
        world.clock.advance(45)
        world.clock.advance(0)
        self.assertEqual(
            world.flush(),
            [
                "recall call: guard timer",
                "force call: guard timer",
                "stop listening",
                "shut down 2",
                "drained (drained) forced 1",
                "abort 2",
                "aborted (drained) aborted 2",
            ],
        )

    def test_cancel(self) -> None:
        """
        A cancelled drain leaves nothing behind, and the next one counts its own time.
        """
        world = World()
        call = Call(world, "call")
        done = world.lifecycle.drain(order())
        world.clock.advance(10)
        world.lifecycle.cancel(order(Kind.CANCEL))
        self.assertIs(self.successResultOf(done), State.SERVING)
        self.assertEqual(world.clock.getDelayedCalls(), [])
        world.flush()
        world.lifecycle.drain(order())
        self.assertEqual(world.flush(), ["gate closed until 1070 upgrade", "draining (draining)"])
        self.assertEqual(world.events[-1].deadline, 1040)
        call.end()
        world.lifecycle.cancel()
        world.flush()
        world.clock.advance(100)
        self.assertEqual(world.flush(), [])

    def test_cancelledIdleForgotten(self) -> None:
        """
        That the ledger became empty in a cancelled drain is of no interest to the next one.
        """
        world = World()
        call = Call(world, "call")
        world.lifecycle.drain(order())
        call.end()
        world.lifecycle.cancel()
        self.assertEqual(world.clock.getDelayedCalls(), [])
        another = Call(world, "another")
        world.lifecycle.drain(order())
        world.flush()
        world.clock.advance(0)
        self.assertEqual(world.flush(), [])
        another.end()
        world.clock.advance(0)
        self.assertEqual(world.flush(), ["stop listening", "shut down 2", "drained (drained)"])

    def test_settledAfterCancel(self) -> None:
        world = World()
        call = Call(world, "call")
        world.lifecycle.drain(order())
        world.lifecycle.cancel()
        world.flush()
        call.end()
        self.assertEqual(world.clock.getDelayedCalls(), [])
        self.assertEqual(world.flush(), [])

    def test_extend(self) -> None:
        """
        The guard moves by what is added, the margin with it, and clients are told the new time.
        """
        world = World()
        Call(world, "call")
        world.lifecycle.drain(order())
        world.clock.advance(20)
        world.lifecycle.extend(15, order(Kind.EXTEND))
        self.assertEqual(
            world.flush(),
            [
                "gate closed until 1060 upgrade",
                "draining (draining)",
                "gate closed until 1075 upgrade",
                "extended (draining)",
            ],
        )
        self.assertEqual((world.events[-1].deadline, world.events[-1].until), (1045, 1075))
        world.clock.advance(23.4)
        self.assertEqual(world.flush(), [])
        world.clock.advance(0.1)
        self.assertEqual(world.flush(), ["recall call: guard timer"])
        world.clock.advance(0.4)
        self.assertEqual(world.flush(), [])
        world.clock.advance(0.1)
        self.assertEqual(world.events[-1].change, Change.DRAINED)
        world.clock.advance(1)
        self.assertEqual((world.events[-1].change, world.events[-1].at), (Change.ABORTED, 1045))

    def test_offlineLeavesNothingBehind(self) -> None:
        """
        Neither guard nor ledger is of interest after the server was taken offline.
        """
        world = into("Draining", calls=2)
        world.lifecycle.offline(order(Kind.OFFLINE))
        self.assertEqual(world.clock.getDelayedCalls(), [])
        self.assertEqual(world.events[-1].deadline, None)

    def test_extendBadly(self) -> None:
        world = into("Draining")
        for seconds in (0, -1, nan, inf):
            error = self.assertRaises(OrderRefused, world.lifecycle.extend, seconds)
            self.assertEqual(str(error), f"extend: {seconds} is no time to add; seconds above 0 are expected")
        self.assertEqual(world.flush(), [])


class LastCallsTests(SynchronousTestCase):
    """
    Until when calls that go before others are let in while the server drains.
    """

    def test_lastWords(self) -> None:
        """
        Until what rings is taken back: for a later one there is no time.
        """
        world = into("Draining")
        self.assertEqual(world.gate.last, 1028.5)
        world.clock.advance(28.75)
        self.assertEqual((world.lifecycle.status().state, world.gate.last), (State.DRAINING, 1028.5))
        world.lifecycle.drain(order())
        self.assertEqual(world.gate.last, 1028.75, "joined, and there is no time left")

    def test_moved(self) -> None:
        """
        It moves with the guard.
        """
        world = into("Draining")
        world.lifecycle.extend(10)
        self.assertEqual(world.gate.last, 1038.5)
        world.lifecycle.drain(order(guard=3.0))
        self.assertEqual(world.gate.last, 1001.5)

    def test_drained(self) -> None:
        """
        Not while the associations are shut down.
        """
        world = into("Draining")
        world.ledger.settleAll("")
        world.clock.advance(0)
        self.assertEqual((world.lifecycle.status().state, world.gate.last), (State.DRAINED, 0))

    def test_offline(self) -> None:
        world = into("Draining")
        world.lifecycle.offline(order(Kind.OFFLINE))
        self.assertEqual((world.lifecycle.status().state, world.gate.last), (State.OFFLINE, 0))

    def test_returning(self) -> None:
        """
        A drain in Returning is over before it begins.
        """
        world = into("Returning")
        world.lifecycle.drain(order())
        self.assertEqual((world.lifecycle.status().state, world.gate.last), (State.DRAINED, 0))

    def test_guardOfZero(self) -> None:
        world = into("Serving")
        world.lifecycle.drain(order(guard=0.0))
        self.assertEqual((world.lifecycle.status().state, world.gate.last), (State.DRAINED, 0))


class RetryAfterTests(SynchronousTestCase):
    """
    Until when clients are asked to stay away: explicit, or guard and a configured period; never below the
    guard.
    """

    def until(self, world: World) -> float | None:
        return world.events[-1].until

    def test_explicit(self) -> None:
        world = into("Serving")
        world.lifecycle.drain(order(guard=10, retryAfter=200))
        self.assertEqual(self.until(world), 1200)
        world.clock.advance(4)
        world.lifecycle.extend(50)
        self.assertEqual(self.until(world), 1200)
        world.lifecycle.extend(500)
        self.assertEqual(self.until(world), 1560)

    def test_belowTheGuard(self) -> None:
        world = into("Serving")
        world.lifecycle.drain(order(guard=10, retryAfter=3))
        self.assertEqual(self.until(world), 1010)

    def test_zero(self) -> None:
        """
        0 is a time too, and not "unset".
        """
        world = World(retryAfter=500)
        Call(world, "call")
        world.lifecycle.drain(order(guard=10, retryAfter=0))
        self.assertEqual(self.until(world), 1010)

    def test_configured(self) -> None:
        world = World(guard=20, retryAfter=100, retryPeriod=7)
        Call(world, "call")
        world.lifecycle.drain(order())
        self.assertEqual((world.events[-1].deadline, self.until(world)), (1020, 1100))

    def test_configuredPeriod(self) -> None:
        world = World(guard=20, retryPeriod=7)
        Call(world, "call")
        world.lifecycle.drain(order())
        self.assertEqual(self.until(world), 1027)

    def test_offline(self) -> None:
        world = World(retryPeriod=7)
        world.lifecycle.offline(order(Kind.OFFLINE, retryAfter=90))
        self.assertEqual(self.until(world), 1090)
        world = World(retryPeriod=7)
        world.lifecycle.offline(order(Kind.OFFLINE))
        self.assertEqual(self.until(world), 1007)

    def test_offlineWhileDraining(self) -> None:
        """
        What clients were told before is kept.
        """
        world = into("Draining")
        world.lifecycle.offline(order(Kind.OFFLINE, retryAfter=5))
        self.assertEqual(self.until(world), 1060)

    def test_serving(self) -> None:
        world = into("Draining")
        world.lifecycle.cancel()
        self.assertEqual(self.until(world), None)


class JoinTests(SynchronousTestCase):
    """
    A second order to drain.
    """

    def test_earlier(self) -> None:
        """
        The earlier guard counts.
        """
        world = into("Draining")
        world.clock.advance(5)
        done = world.lifecycle.drain(order(guard=9))
        self.assertEqual(world.flush(), ["gate closed until 1044 upgrade", "joined (draining)"])
        self.assertEqual(world.events[-1].deadline, 1014)
        world.clock.advance(8)
        self.assertEqual(world.events[-1].change, Change.DRAINED)
        world.associations.go()
        self.assertIs(self.successResultOf(done), State.OFFLINE)

    def test_now(self) -> None:
        """
        Guard 0 ends the drain under way at once.
        """
        world = into("Draining")
        world.lifecycle.drain(order(guard=0))
        self.assertEqual(
            world.flush(),
            [
                "gate closed until 1030 upgrade",
                "joined (draining)",
                "force call 1: guard timer",
                "stop listening",
                "shut down 2",
                "drained (drained) forced 1",
            ],
        )

    def test_unnamed(self) -> None:
        """
        An order that names no guard leaves all moments where they were.
        """
        world = World()
        Call(world, "call")
        world.lifecycle.drain(order(guard=30))
        world.clock.advance(28)
        world.lifecycle.drain(order())
        world.flush()
        world.clock.advance(0.49)
        self.assertEqual(world.flush(), [])
        world.clock.advance(0.01)
        self.assertEqual(world.flush(), ["recall call: guard timer"])
        world.clock.advance(0.49)
        self.assertEqual(world.flush(), [])
        world.clock.advance(0.01)
        self.assertEqual(world.events[-1].change, Change.DRAINED)

    def test_later(self) -> None:
        world = into("Draining")
        world.clock.advance(12)
        error = self.assertRaises(OrderRefused, world.lifecycle.drain, order(guard=60))
        self.assertEqual(
            str(error),
            "the server is draining already and will be done in 18.0 s at the latest, before this order's "
            "60 s; extend is what gives it more time",
        )
        self.assertEqual(world.flush(), ["refused (draining)"])

    def test_longerRetryAfter(self) -> None:
        """
        The longer Retry-After counts, whoever gave it.
        """
        world = into("Draining")
        world.clock.advance(1)
        world.lifecycle.drain(order(retryAfter=200))
        self.assertEqual(world.events[-1].until, 1201)
        world.lifecycle.drain(order(retryAfter=2))
        self.assertEqual(world.events[-1].until, 1201)


class ReturnTests(SynchronousTestCase):
    """
    Coming back.
    """

    def test_first(self) -> None:
        """
        A server that has yet to listen comes into service by resume.
        """
        world = World(serving=False, associations=0)
        self.assertEqual(world.flush(), ["gate closed until 1000"])
        self.assertIs(self.successResultOf(world.lifecycle.whenOffline()), State.OFFLINE)
        done = world.lifecycle.resume()
        self.assertEqual(world.flush(), ["listen", "returning (returning)", "gate open", "serving (serving)"])
        self.assertIs(self.successResultOf(done), State.SERVING)

    def test_already(self) -> None:
        world = into("Serving")
        self.assertIs(self.successResultOf(world.lifecycle.resume()), State.SERVING)
        self.assertEqual(world.lifecycle._waiters, [])
        self.assertEqual(world.flush(), [])

    def test_underWay(self) -> None:
        """
        A second order to resume waits for the same.
        """
        world = into("Returning")
        second = world.lifecycle.resume()
        self.assertNoResult(second)
        world.associations.listening.callback(None)
        self.assertEqual(world.flush(), ["gate open", "serving (serving)"])
        self.assertIs(self.successResultOf(second), State.SERVING)

    def test_waitsForThePorts(self) -> None:
        """
        It listens when its ports are free, not before.
        """
        world = World()
        world.associations.atOnce = True
        world.associations.closing = closing = Deferred()
        world.lifecycle.drain(order())
        world.flush()
        world.lifecycle.resume()
        self.assertEqual(world.flush(), ["returning (returning)"])
        closing.callback(None)
        self.assertEqual(world.flush(), ["listen", "gate open", "serving (serving)"])

    def test_givenUpBeforeFree(self) -> None:
        """
        Whoever is taken offline before the ports are free does not listen, and the next attempt waits for the
        same ports.
        """
        world = World(associations=0)
        world.associations.closing = closing = Deferred()
        world.lifecycle.offline(order(Kind.OFFLINE))
        world.associations.closing = None
        first = world.lifecycle.resume()
        world.lifecycle.offline(order(Kind.OFFLINE))
        self.assertIs(self.successResultOf(first), State.OFFLINE)
        self.assertFalse(closing.called)
        second = world.lifecycle.resume()
        self.assertNotIn("listen", world.flush())
        closing.callback(None)
        self.assertEqual(world.flush(), ["listen", "gate open", "serving (serving)"])
        self.assertIs(self.successResultOf(second), State.SERVING)

    def test_freeInTheEnd(self) -> None:
        """
        Ports that are being closed are waited for, too, where others were closed since.
        """
        world = World()
        world.associations.closing = first = Deferred()
        world.lifecycle.drain(order())
        world.associations.closing = second = Deferred()
        world.lifecycle.offline(order(Kind.OFFLINE))
        second.callback(None)
        world.lifecycle.resume()
        self.assertNotIn("listen", world.flush())
        first.callback(None)
        self.assertEqual(world.flush(), ["listen", "gate open", "serving (serving)"])

    def test_ceasingToListenFails(self) -> None:
        world = World()
        world.associations.atOnce = True
        world.associations.closing = closing = Deferred()
        world.lifecycle.drain(order())
        closing.errback(OSError("no"))
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.successResultOf(world.lifecycle.resume())

    def test_fails(self) -> None:
        """
        Who ordered it is told what went wrong, and it may be tried again.
        """
        world = into("Offline")
        world.associations.listening = Deferred()
        done = world.lifecycle.resume()
        offline = world.lifecycle.whenOffline()
        world.flush()
        world.associations.listening.errback(TransportError("port 5060 is taken"))
        self.assertEqual(world.flush(), ["stop listening", "failed (offline): port 5060 is taken"])
        self.assertEqual(str(self.failureResultOf(done, TransportError).value), "port 5060 is taken")
        self.assertIs(self.successResultOf(offline), State.OFFLINE)
        world.associations.listening = succeed(None)
        self.assertIs(self.successResultOf(world.lifecycle.resume()), State.SERVING)

    def test_raises(self) -> None:
        """
        So it is where listen() raises instead.
        """
        world = into("Offline")
        world.associations.listen = lambda: 1 / 0
        self.failureResultOf(world.lifecycle.resume(), ZeroDivisionError)
        self.assertEqual(
            world.flush(), ["returning (returning)", "stop listening", "failed (offline): division by zero"]
        )

    def test_drained(self) -> None:
        """
        A drain in the middle of it: the attempt is given up, what came up already is shut down by the
        guard, and a listener that comes up late changes nothing.
        """
        world = into("Returning")
        done = world.lifecycle.drain(order(guard=6))
        self.assertTrue(world.associations.listening.called)
        world.flush()
        world.associations.listening.callback(None)
        world.clock.advance(6)
        world.clock.advance(0)
        self.assertEqual(world.flush(), ["abort 1", "aborted (drained) aborted 1"])
        world.associations.go()
        self.assertIs(self.successResultOf(done), State.OFFLINE)

    def test_takenOffline(self) -> None:
        """
        Who waits for it to serve hears that it does not.
        """
        world = into("Offline")
        world.associations.listening = Deferred()
        done = world.lifecycle.resume()
        world.lifecycle.offline(order(Kind.OFFLINE))
        self.assertIs(self.successResultOf(done), State.OFFLINE)

    def test_stubbornAttempt(self) -> None:
        """
        An attempt that ignores being cancelled and succeeds all the same is ended again, also when another
        is under way.
        """
        world = into("Offline")
        world.associations.listening = Deferred(lambda d: d.callback(None))
        world.lifecycle.resume()
        world.flush()
        world.lifecycle.offline(order(Kind.OFFLINE))
        self.assertEqual(
            world.flush(),
            [
                "stop listening",
                "gate closed until 1060 upgrade",
                "stop listening",
                "abort 0",
                "offline (offline)",
                "gone (offline)",
            ],
        )


class DoorTests(SynchronousTestCase):
    """
    What the shell adds: one thing after another, whoever asks for it and when.
    """

    def test_observersFirst(self) -> None:
        """
        What an observer does at the beginning of a drain happens before any shutdown, also when the server
        is idle.
        """
        world = World()
        world.observing[Change.DRAINING] = lambda: world.log.append("announced")
        world.lifecycle.drain(order())
        self.assertEqual(
            world.flush(),
            [
                "gate closed until 1060 upgrade",
                "draining (draining)",
                "announced",
                "stop listening",
                "shut down 2",
                "drained (drained)",
            ],
        )

    def test_orderFromAnObserver(self) -> None:
        """
        An observer takes back a drain of an idle server: nothing of it comes after that.
        """
        world = World()
        world.observing[Change.DRAINING] = world.lifecycle.cancel
        done = world.lifecycle.drain(order())
        self.assertEqual(
            world.flush(),
            ["gate closed until 1060 upgrade", "draining (draining)", "gate open", "cancelled (serving)"],
        )
        self.assertIs(self.successResultOf(done), State.SERVING)
        self.assertEqual(world.clock.getDelayedCalls(), [])

    def test_drainFromAnObserver(self) -> None:
        """
        An observer that orders another drain as soon as one was cancelled waits for that one, not for the
        one before.
        """
        world = into("Draining")
        waiting: list[Deferred[State]] = []
        world.observing[Change.CANCELLED] = lambda: waiting.append(world.lifecycle.drain(order()))
        world.lifecycle.cancel()
        self.assertNoResult(waiting[0])
        self.assertEqual([event.number for event in world.events], [1, 2, 3])
        world.lifecycle.cancel()
        self.assertIs(self.successResultOf(waiting[0]), State.SERVING)

    def test_resumeFromWaiter(self) -> None:
        """
        Whoever waits for Offline may order what comes next.
        """
        world = World()
        world.associations.atOnce = True
        back: list[object] = []
        world.lifecycle.whenOffline().addCallback(lambda ignored: world.lifecycle.resume()).addCallback(
            back.append
        )
        done = world.lifecycle.drain(order())
        self.assertIs(self.successResultOf(done), State.OFFLINE)
        self.assertEqual(back, [State.SERVING])
        self.assertEqual(
            [event.change for event in world.events],
            [Change.DRAINING, Change.DRAINED, Change.OFFLINE, Change.RETURNING, Change.SERVING],
        )

    def test_orderFromASeam(self) -> None:
        """
        In the middle of an order no other can be given.
        """
        world = World()
        errors: list[OrderRefused] = []
        call = Call(world, "call")

        def meddle() -> None:
            errors.append(self.assertRaises(OrderRefused, world.lifecycle.cancel))
            call.end()

        call.whenForced = meddle
        world.lifecycle.drain(order(guard=0))
        self.assertEqual(
            [str(error) for error in errors],
            ["cancel came in the middle of another order or change; give it again when that is done"],
        )
        self.assertEqual(world.flush()[-1], "drained (drained) forced 1")

    def test_goneWithinShutdown(self) -> None:
        """
        C{associationsGone} from within C{shutdownAll} is looked at when that is done with.
        """
        world = into("Draining")
        world.associations.atOnce = True
        world.tell("_settlementDue")
        self.assertEqual(
            world.flush(),
            [
                "force call 1: guard timer",
                "stop listening",
                "shut down 2",
                "drained (drained) forced 1",
                "offline (offline)",
            ],
        )

    def test_goneWithinAbort(self) -> None:
        world = into("Drained")
        world.associations.atOnce = True
        world.clock.advance(30)
        world.clock.advance(0)
        self.assertEqual(world.flush(), ["abort 2", "aborted (drained) aborted 2", "offline (offline)"])

    def test_goneWithinOffline(self) -> None:
        world = into("Draining")
        world.associations.atOnce = True
        world.lifecycle.offline(order(Kind.OFFLINE))
        self.assertEqual(
            world.flush()[2:],
            ["stop listening", "abort 2", "offline (offline) forced 1 aborted 2", "gone (offline)"],
        )

    def test_settledWithinForce(self) -> None:
        """
        The ledger becomes empty in the middle of settlement: that is no second end of the drain.
        """
        world = into("Draining", calls=3)
        world.clock.advance(29)
        # That of the guard.
        self.assertEqual(len(world.clock.getDelayedCalls()), 1)
        world.clock.advance(0)
        self.assertEqual(
            world.flush(),
            [
                "recall call 1: guard timer",
                "recall call 2: guard timer",
                "recall call 3: guard timer",
                "force call 1: guard timer",
                "force call 2: guard timer",
                "force call 3: guard timer",
                "stop listening",
                "shut down 2",
                "drained (drained) forced 3",
            ],
        )
        self.assertEqual(len(world.clock.getDelayedCalls()), 1)

    def test_recalled(self) -> None:
        """
        What is answered after it was taken back counts as forced where it says so, and the drain is over as
        soon as nothing is left.
        """
        world = into("Draining", calls=2)
        first, second = world.ledger
        world.clock.advance(28.5)
        self.assertEqual(world.flush(), ["recall call 1: guard timer", "recall call 2: guard timer"])
        world.ledger.settle(first, forced=True)
        world.ledger.settle(second)
        world.clock.advance(0)
        self.assertEqual(world.flush(), ["stop listening", "shut down 2", "drained (drained) forced 1"])

    def test_forcedInLog(self) -> None:
        """
        The log says how many calls were ended by force, and what else there is to say.
        """
        told: list[str | None] = []

        def note(event: LogEvent) -> None:
            told.append(formatEvent(event))

        world = into("Draining", calls=2)
        globalLogPublisher.addObserver(note)
        self.addCleanup(globalLogPublisher.removeObserver, note)
        world.clock.advance(30)
        with self.assertRaises(OrderRefused):
            world.lifecycle.cancel()
        self.assertEqual(
            [text for text in told if text and text.startswith("lifecycle")],
            [
                "lifecycle: drained, 0 accepted INVITEs left, 2 associations, 2 ended by force",
                "lifecycle: aborted, 0 accepted INVITEs left, 2 associations, 2 of them aborted",
                "lifecycle: refused, 0 accepted INVITEs left, 2 associations: the drain is complete and the "
                "associations are being shut down; wait until it is offline, then resume",
            ],
        )

    def test_recalledThenCancelled(self) -> None:
        """
        A drain that is taken back after that tells of them, too; the next one counts its own.
        """
        world = into("Draining", calls=2)
        first, second = world.ledger
        world.clock.advance(28.5)
        world.ledger.settle(first, forced=True)
        world.flush()
        world.lifecycle.cancel()
        self.assertEqual(world.flush(), ["gate open", "cancelled (serving) forced 1"])
        world.ledger.settle(second, forced=True)
        world.lifecycle.drain(order())
        self.assertEqual(world.flush()[-1], "drained (drained)")

    def test_recallRaises(self) -> None:
        """
        One that cannot be taken back does not keep the others from it, and is left to the settlement.
        """
        world = into("Draining", calls=2)
        first, _ = world.ledger
        first.whenRecalled = lambda: 1 / 0
        world.clock.advance(28.5)
        self.assertEqual(world.flush(), ["recall call 1: guard timer", "recall call 2: guard timer"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        world.clock.advance(0.5)
        self.assertEqual(world.events[-1].forced, 2)

    def test_seamsRaise(self) -> None:
        """
        Whatever raises, the drain goes on; the guard sees to what is left.
        """
        world = into("Draining")
        for name in ("stopListening", "shutdownAll"):
            setattr(world.associations, name, lambda: 1 / 0)
        world.observing[Change.DRAINED] = lambda: 1 / 0
        world.clock.advance(29)
        self.assertEqual(
            world.flush(),
            ["recall call 1: guard timer", "force call 1: guard timer", "drained (drained) forced 1"],
        )
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)
        world.clock.advance(1)
        self.assertEqual(world.flush(), ["abort 2", "aborted (drained) aborted 2"])

    def test_forgottenWaiter(self) -> None:
        """
        Whoever cancels waiting is not told.
        """
        world = into("Draining")
        waiting = world.lifecycle.whenOffline()
        waiting.addErrback(lambda failure: None)
        waiting.cancel()
        world.lifecycle.offline(order(Kind.OFFLINE))
        self.assertEqual(world.lifecycle._waiters, [])

    def test_wrongKind(self) -> None:
        world = into("Serving")
        give = {
            Kind.DRAIN: world.lifecycle.drain,
            Kind.CANCEL: world.lifecycle.cancel,
            Kind.EXTEND: lambda order: world.lifecycle.extend(5, order),
            Kind.RESUME: world.lifecycle.resume,
            Kind.OFFLINE: world.lifecycle.offline,
        }
        for kind, function in give.items():
            wrong = Kind.CANCEL if kind is not Kind.CANCEL else Kind.DRAIN
            error = self.assertRaises(OrderRefused, function, order(wrong))
            self.assertEqual(
                str(error), f"{kind} was given an order of kind {wrong}; one of its own is expected"
            )
        self.assertEqual(world.flush(), [])

    def test_factGoesWrong(self) -> None:
        """
        A fact that cannot be taken in is logged, and the next is looked at.
        """
        world = into("Draining")
        world.tell("becameIdle", "with an argument that it does not take")
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        world.lifecycle.associationsGone()
        world.lifecycle.offline(order(Kind.OFFLINE))
        self.assertEqual(world.lifecycle.status().state, State.OFFLINE)

    def test_observe(self) -> None:
        world = World()
        seen: list[Event] = []

        class Late:
            def onChange(self, event: Event) -> None:
                seen.append(event)

        world.lifecycle.observe(Late())
        world.lifecycle.drain(order())
        self.assertEqual(seen, world.events)

    def test_events(self) -> None:
        """
        Each event says how things stand after it.
        """
        world = into("Draining", calls=2)
        world.clock.advance(2)
        world.lifecycle.extend(8, order(Kind.EXTEND, guard=8))
        self.assertEqual(
            world.events[-1],
            Event(
                number=2,
                change=Change.EXTENDED,
                state=State.DRAINING,
                at=1002,
                order=order(Kind.EXTEND, guard=8),
                waiting=2,
                associations=2,
                deadline=1038,
                until=1068,
            ),
        )

    def test_sinceSettled(self) -> None:
        """
        A drain's events say for how long nothing has been left to settle; none of the next drain's does.
        """
        world = into("Draining", calls=2)
        for call in list(world.ledger):
            world.clock.advance(3)
            world.ledger.settle(call)
        world.clock.advance(1.5)
        world.associations.go()
        self.assertEqual(
            [(event.change, event.sinceSettled) for event in world.events],
            [(Change.DRAINING, None), (Change.DRAINED, 1.5), (Change.OFFLINE, 1.5)],
        )
        world = into("Draining", calls=1)
        world.ledger.settle(next(iter(world.ledger)))
        world.lifecycle.cancel()
        world.lifecycle.drain(order())
        world.clock.advance(0)
        world.associations.go()
        self.assertEqual([event.sinceSettled for event in world.events], [None] * 5)

    def test_lastInvite(self) -> None:
        """
        From the full stop to the end of the drain, and not afterwards, its events say when the latest INVITE
        came; the one that takes it back does, too.
        """
        world = into("Draining")
        world.events.clear()
        with patch.object(Gate, "lastInvite", 0.25):
            world.lifecycle.extend(8)
            world.lifecycle.cancel()
            with self.assertRaises(OrderRefused):
                world.lifecycle.cancel()
            world.lifecycle.drain(order())
        self.assertEqual([event.lastInvite for event in world.events], [0.25, 0.25, None, 0.25])

    def test_status(self) -> None:
        world = into("Draining")
        world.clock.advance(12.5)
        self.assertEqual(
            world.lifecycle.status(),
            Status(
                state=State.DRAINING,
                waiting=1,
                associations=2,
                guardLeft=17.5,
                awayFor=47.5,
                order=order(),
            ),
        )
        world.lifecycle.cancel()
        self.assertEqual(
            world.lifecycle.status(),
            Status(state=State.SERVING, waiting=1, associations=2, guardLeft=None, awayFor=None, order=None),
        )


class ManyLedgers:
    """
    Several workers' ledgers as one: all that the machine asks for.
    """

    def __init__(self, *ledgers: Ledger) -> None:
        self.ledgers = ledgers

    def __len__(self) -> int:
        return sum(len(ledger) for ledger in self.ledgers)

    def watch(self, onIdle: Callable[[], None] | None) -> None:
        for ledger in self.ledgers:
            ledger.watch(onIdle if onIdle is None else self.each(onIdle))

    def each(self, onIdle: Callable[[], None]) -> Callable[[], None]:
        return lambda: None if len(self) else onIdle()

    @property
    def forced(self) -> int:
        return sum(ledger.forced for ledger in self.ledgers)

    def recallAll(self, reason: str) -> None:
        for ledger in self.ledgers:
            ledger.recallAll(reason)

    def settleAll(self, reason: str) -> int:
        return sum(ledger.settleAll(reason) for ledger in self.ledgers)


class ManyLedgersTests(SynchronousTestCase):
    """
    One machine over several worker processes needs no more than the seam.
    """

    def setUp(self) -> None:
        self.world = World()
        self.workers = [Ledger(), Ledger()]
        self.world.lifecycle._core.ledger = ManyLedgers(*self.workers)
        self.calls = []
        for number, ledger in enumerate(self.workers):
            self.world.ledger = ledger
            call = Call(self.world, f"call {number}")
            call.whenForced = lambda ledger=ledger, call=call: ledger.settle(call)
            self.calls.append(call)
        self.world.lifecycle.drain(order())
        self.world.flush()

    def test_idle(self) -> None:
        self.workers[0].settle(self.calls[0])
        self.world.clock.advance(1)
        self.assertEqual(self.world.flush(), [])
        self.workers[1].settle(self.calls[1])
        self.world.clock.advance(0)
        self.assertEqual(self.world.flush(), ["stop listening", "shut down 2", "drained (drained)"])

    def test_forced(self) -> None:
        self.world.clock.advance(29)
        self.assertEqual(
            self.world.flush(),
            [
                "recall call 0: guard timer",
                "recall call 1: guard timer",
                "force call 0: guard timer",
                "force call 1: guard timer",
                "stop listening",
                "shut down 2",
                "drained (drained) forced 2",
            ],
        )


class OrderTests(SynchronousTestCase):
    def test_impossibleTimes(self) -> None:
        for value in (-0.1, nan, inf):
            error = self.assertRaises(OrderRefused, order, guard=value)
            self.assertEqual(
                str(error), f"drain: its guard is {value}; a number of seconds from 0 up is expected"
            )
            error = self.assertRaises(OrderRefused, order, retryAfter=value)
            self.assertEqual(
                str(error), f"drain: its Retry-After is {value}; a number of seconds from 0 up is expected"
            )
