"""
L{sipgrace.client.link} and L{sipgrace.client.linkmachine}: the grid cell by cell, then whole lives.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import isfunction
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import Logger, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from sipgrace.client import linkmachine
from sipgrace.client.link import ILinkObserver, LinkSettings, ServerLink
from sipgrace.client.linkcore import Link
from sipgrace.client.probe import Available, Failed, OptionsProbe, Outcome, Unavailable
from sipgrace.interfaces import IAssociation, IAssociationUser
from sipgrace.message.derive import respond
from sipgrace.message.message import Message, Request, Response
from sipgrace.proxy.overload import Control
from sipgrace.testing import MemoryNetwork, Recorder
from sipgrace.transaction.layer import TransactionLayer
from sipgrace.transaction.timers import TimerQueue
from sipgrace.transport.backoff import Backoff
from tests.fakes import drawn

STATES = (
    "Stopped",
    "Opening",
    "Waiting",
    "Testing",
    "Resting",
    "Active",
    "Counting",
    "Away",
    "Stopping",
)


@implementer(IAssociation)
class FakeAssociation:
    """
    An association that records how it is ended.
    """

    transport = b"SCTP"
    reliable = True
    via = b"SIP/2.0/SCTP 127.0.0.1:5060"
    zone = "network"
    peerHost = "127.0.0.2"
    peerPort = 5060
    localHost = "127.0.0.1"
    localPort = 40000
    opened = True
    up = True

    def __init__(self, name: str, events: list[Any]) -> None:
        self.name = name
        self._events = events

    def send(self, data: bytes) -> bool:
        return self.up

    def shutdown(self) -> None:
        self.up = False
        self._events.append(("shutdown", self.name))

    def abort(self) -> None:
        self.up = False
        self._events.append(("abort", self.name))


@implementer(ILinkObserver)
class World:
    """
    Everything around one link, recording in one list what the link does to it.

    @ivar reactions: what to do when an event of that name is observed.
    """

    def __init__(self, **settings: Any) -> None:
        self.events: list[Any] = []
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.connecting: list[Deferred[IAssociation]] = []
        self.testing: list[Deferred[Outcome]] = []
        self.associations: list[FakeAssociation] = []
        self.reactions: dict[str, Callable[[], object]] = {}
        settings.setdefault("reopen", Backoff(1.0, 8.0))
        settings.setdefault("tests", Backoff(2.0, 16.0))
        self.link = ServerLink(
            "server-102",
            self.connect,
            self.test,
            self.clock,
            self,
            LinkSettings(**settings),
            cost=7,
            random=lambda: 1.0,
        )

    # What the link calls.

    def connect(self) -> Deferred[IAssociation]:
        self.note("connect")
        connecting: Deferred[IAssociation] = Deferred(lambda _: self.note("connect cancelled"))
        self.connecting.append(connecting)
        return connecting

    def test(self, association: IAssociation) -> Deferred[Outcome]:
        assert isinstance(association, FakeAssociation)
        self.note("test", association.name)
        testing: Deferred[Outcome] = Deferred(lambda _: self.note("test cancelled"))
        self.testing.append(testing)
        return testing

    def linkUp(self, link: ServerLink) -> None:
        self.note("up")

    def linkDown(self, link: ServerLink, why: str) -> None:
        self.note("down", why)

    def linkCounting(self, link: ServerLink, seconds: float) -> None:
        self.note("counting", seconds)

    def linkTested(self, link: ServerLink, outcome: Outcome, latency: float) -> None:
        self.note("tested", outcome, latency)

    def note(self, event: str, *details: Any) -> None:
        self.events.append((event, *details) if details else event)
        self.reactions.get(event, lambda: None)()

    # What the tests do.

    @property
    def state(self) -> Any:
        """
        The machine's own idea of its state, which what is displayed must agree with.
        """
        machine: Any = self.link._machine
        actual = machine.__automat_transitioner__._state.name
        shown = self.link.status()["state"]
        assert actual == shown, f"shows {shown} in {actual}"
        return actual

    def took(self) -> list[Any]:
        """
        What was recorded since the last time.
        """
        events, self.events[:] = self.events.copy(), []
        return events

    def openedNow(self) -> FakeAssociation:
        association = FakeAssociation(f"association {len(self.associations) + 1}", self.events)
        self.associations.append(association)
        self.connecting[-1].callback(association)
        return association

    def loseNow(self) -> None:
        self.associations[-1].up = False
        self.link.associationLost(self.associations[-1])

    def outcome(self, outcome: Outcome) -> None:
        self.testing[-1].callback(outcome)


def inState(state: str, **settings: Any) -> World:
    """
    A link that has come to a state the usual way, with a clean record. Countdowns were for 30 s, 10 s ago.
    """
    settings.setdefault("fresh", 0)
    world = World(**settings)
    link = world.link
    if state != "Stopped":
        link.start()
    if state == "Waiting":
        world.connecting[-1].errback(ConnectionRefusedError("refused"))
    if state not in ("Stopped", "Opening", "Waiting"):
        world.openedNow()
    if state == "Resting":
        world.outcome(Failed("answered 500"))
    if state in ("Active", "Counting", "Away", "Stopping"):
        world.outcome(Available())
    if state in ("Counting", "Away"):
        link.unavailable(30)
        world.clock.advance(10.0)
    if state == "Away":
        world.loseNow()
    if state == "Stopping":
        link.stop()
    assert world.state == state
    world.took()
    return world


#: How to give each input. Private ones go to the machine itself: the point is that it can take them in
#: every state, whatever the shell would let through.
INPUTS: dict[str, Callable[[World, Any], object]] = {
    "start": lambda world, machine: machine.start(),
    "stop": lambda world, machine: machine.stop(),
    "unavailable": lambda world, machine: machine.unavailable(60.0),
    "available": lambda world, machine: machine.available(),
    "unanswered": lambda world, machine: machine.unanswered(),
    "lost": lambda world, machine: machine.lost(),
    "_opened": lambda world, machine: machine._opened(),
    "_trusted": lambda world, machine: machine._trusted(),
    "_openFailed": lambda world, machine: machine._openFailed(),
    "_due": lambda world, machine: machine._due(),
    "_passed": lambda world, machine: machine._passed(),
    "_promising": lambda world, machine: machine._promising(),
    "_failed": lambda world, machine: machine._failed(),
    "_doubtful": lambda world, machine: machine._doubtful(),
    "_exhausted": lambda world, machine: machine._exhausted(),
}

A = "association 1"

#: Every cell that does something: where it leads, what is seen outside, and the seconds until what the new
#: state waits for.
CELLS: dict[tuple[str, str], tuple[str, list[Any], float | None]] = {
    ("Stopped", "start"): ("Opening", ["connect"], None),
    ("Stopped", "stop"): ("Stopped", [], None),
    ("Opening", "stop"): ("Stopped", ["connect cancelled"], None),
    ("Opening", "unavailable"): ("Away", ["connect cancelled", ("counting", 60.0)], 60.0),
    # Without an association to test (that is the shell's part) the test waits for the loss to arrive.
    ("Opening", "_opened"): ("Testing", ["connect cancelled"], None),
    ("Opening", "_trusted"): ("Active", ["connect cancelled", "up"], None),
    ("Opening", "_openFailed"): ("Waiting", ["connect cancelled"], 1.0),
    ("Waiting", "stop"): ("Stopped", [], None),
    ("Waiting", "unavailable"): ("Away", [("counting", 60.0)], 60.0),
    ("Waiting", "available"): ("Opening", ["connect"], None),
    ("Waiting", "_due"): ("Opening", ["connect"], None),
    ("Testing", "stop"): ("Stopping", ["test cancelled", ("shutdown", A)], 5.0),
    ("Testing", "unavailable"): ("Counting", ["test cancelled", ("counting", 60.0)], 60.0),
    ("Testing", "lost"): ("Waiting", ["test cancelled"], 1.0),
    ("Testing", "_passed"): ("Active", ["test cancelled", "up"], None),
    ("Testing", "_promising"): ("Resting", ["test cancelled"], 2.0),
    ("Testing", "_failed"): ("Resting", ["test cancelled"], 2.0),
    ("Testing", "_exhausted"): ("Waiting", ["test cancelled", ("abort", A)], 1.0),
    ("Resting", "stop"): ("Stopping", [("shutdown", A)], 5.0),
    ("Resting", "unavailable"): ("Counting", [("counting", 60.0)], 60.0),
    ("Resting", "available"): ("Testing", [("test", A)], None),
    ("Resting", "lost"): ("Waiting", [], 1.0),
    ("Resting", "_due"): ("Testing", [("test", A)], None),
    ("Active", "stop"): ("Stopping", [("down", "stopped"), ("shutdown", A)], 5.0),
    ("Active", "unavailable"): ("Counting", [("down", "unavailable"), ("counting", 60.0)], 60.0),
    ("Active", "unanswered"): ("Testing", [("down", "unanswered"), ("test", A)], None),
    ("Active", "lost"): ("Waiting", [("down", "lost")], 1.0),
    ("Active", "_due"): ("Active", [("test", A)], None),
    ("Active", "_passed"): ("Active", [], None),
    ("Active", "_promising"): ("Active", [], None),
    ("Active", "_doubtful"): ("Active", [], 2.0),
    ("Active", "_failed"): ("Resting", [("down", "tests")], 2.0),
    ("Active", "_exhausted"): ("Waiting", [("down", "lost"), ("abort", A)], 1.0),
    ("Counting", "stop"): ("Stopping", [("shutdown", A)], 5.0),
    ("Counting", "unavailable"): ("Counting", [("counting", 60.0)], 60.0),
    ("Counting", "available"): ("Testing", [("test", A)], None),
    ("Counting", "lost"): ("Away", [], 20.0),
    ("Counting", "_due"): ("Testing", [("test", A)], None),
    ("Away", "stop"): ("Stopped", [], None),
    ("Away", "unavailable"): ("Away", [("counting", 60.0)], 60.0),
    ("Away", "available"): ("Opening", ["connect"], None),
    ("Away", "_due"): ("Opening", ["connect"], None),
    ("Stopping", "start"): ("Opening", ["connect"], None),
    ("Stopping", "lost"): ("Stopped", [], None),
    ("Stopping", "_due"): ("Stopped", [("abort", A)], None),
}

#: The grid as it is drawn above the machine.
DRAWN = drawn(linkmachine, STATES)


class GridTests(SynchronousTestCase):
    """
    The grid, as drawn, as built, and as it behaves.
    """

    def test_everyCellIsDrawn(self) -> None:
        """
        States times inputs, none left out, and the inputs are those of the protocol.
        """
        declared = {
            name
            for name, value in vars(Link).items()
            if isfunction(value) and value.__module__ == Link.__module__
        }
        self.assertEqual(set(INPUTS), declared)
        self.assertEqual(set(DRAWN), {(state, name) for state in STATES for name in INPUTS})

    def test_drawnAsBuilt(self) -> None:
        """
        Each cell leads where the drawing says.
        """
        same = {".", "extend", "finish", "test", "again", "doubt"}
        expected = {(state, name, state if cell in same else cell) for (state, name), cell in DRAWN.items()}
        automaton = linkmachine.linkBuilder._automaton
        built = {(before.name, name, after.name) for before, name, after, _ in automaton.allTransitions()}
        self.assertEqual(built, expected)

    def test_drawnAsTested(self) -> None:
        """
        The cells that L{CELLS} expects something of are those that are not dots.
        """
        self.assertEqual({cell for cell, drawing in DRAWN.items() if drawing != "."}, set(CELLS))

    def test_everyCell(self) -> None:
        """
        From each state each input does what L{CELLS} says, and nothing at all where it says nothing.
        """
        for state in STATES:
            for name, give in INPUTS.items():
                world = inState(state)
                before = world.link._core.dueIn
                after, events, due = CELLS.get((state, name), (state, [], before))
                give(world, world.link._machine)
                where = f"{name} in {state}"
                self.assertEqual(world.took(), events, where)
                self.assertEqual(world.state, after, where)
                self.assertEqual(world.link._core.dueIn, due, where)
                # Whatever was under way before and is not waited for now is gone from the clock.
                self.assertEqual(len(world.clock.getDelayedCalls()), 0 if due is None else 1, where)

    def test_observerIsProvided(self) -> None:
        """
        The recorder that these tests use is what the link asks for.
        """
        verifyObject(ILinkObserver, World())


class OpeningTests(SynchronousTestCase):
    """
    Associations that come, do not come, and go.
    """

    def test_upAfterAGoodTest(self) -> None:
        """
        A new association is tested first, and used when the test is good.
        """
        world = World()
        world.link.start()
        self.assertIsNone(world.link.association)
        association = world.openedNow()
        self.assertIs(world.link.association, association)
        self.assertFalse(world.link.active)
        world.clock.advance(0.25)
        world.outcome(Available())
        self.assertTrue(world.link.active)
        self.assertEqual(world.took(), ["connect", ("test", A), ("tested", Available(), 0.25), "up"])

    def test_usedUntestedWhenToldSo(self) -> None:
        """
        C{testNew=False}: a new association is used at once.
        """
        world = World(testNew=False)
        world.link.start()
        world.openedNow()
        self.assertEqual(world.took(), ["connect", "up"])

    def test_failedAttemptsBackOff(self) -> None:
        """
        1, 2, 4 s and so on to the cap, until it is good again: then 1 s.
        """
        world = World()
        world.link.start()
        waits = []
        for _ in range(6):
            world.connecting[-1].errback(ConnectionRefusedError("refused"))
            waits.append(world.link.status()["due"])
            world.clock.advance(float(str(waits[-1])))
        self.assertEqual(waits, [1.0, 2.0, 4.0, 8.0, 8.0, 8.0])
        self.assertEqual(world.link.status()["lastTrouble"], "not opened: refused")
        world.openedNow()
        world.outcome(Available())
        world.loseNow()
        self.assertEqual(world.link.status()["due"], 1.0)

    def test_logged(self) -> None:
        """
        What keeps a server away is logged when it begins, and when it becomes something else, not at every
        attempt; and again after the server was good.
        """
        world = World()
        lines: list[str | None] = []
        world.link._core.log = Logger(observer=lambda event: lines.append(formatEvent(event)))
        world.link.start()
        for reason in ("refused", "refused", "timed out", "timed out"):
            world.connecting[-1].errback(ConnectionRefusedError(reason))
            world.clock.advance(float(str(world.link.status()["due"])))
        name = world.link.name
        found = [f"{name}: not opened: {why}; it is tried again" for why in ("refused", "timed out")]
        self.assertEqual(lines, found)
        world.openedNow()
        world.outcome(Failed("answered 500"))
        found.append(f"{name}: test: answered 500; it is tried again")
        self.assertEqual(lines, found)
        world.clock.advance(float(str(world.link.status()["due"])))
        world.outcome(Available())
        world.loseNow()
        world.clock.advance(float(str(world.link.status()["due"])))
        world.connecting[-1].errback(ConnectionRefusedError("timed out"))
        self.assertEqual(lines, [*found, found[1]])

    def test_anAssociationThatDoesNotPassIsNoSuccess(self) -> None:
        """
        Coming up and going again before a good test does not start the back-off anew.
        """
        world = World()
        world.link.start()
        waits = []
        for _ in range(3):
            world.openedNow()
            world.loseNow()
            waits.append(world.link.status()["due"])
            world.clock.advance(float(str(waits[-1])))
        self.assertEqual(waits, [1.0, 2.0, 4.0])

    def test_randomness(self) -> None:
        """
        Of the back-off, between half and all is waited, as the random source says.
        """
        world = World()
        world.link._core.random = lambda: 0.5
        world.link.start()
        world.connecting[-1].errback(ConnectionRefusedError())
        self.assertEqual(world.link.status()["due"], 0.75)

    def test_raisingConnect(self) -> None:
        """
        A C{connect} that raises is an attempt that failed.
        """
        world = World()

        def refuse() -> None:
            raise OSError("no descriptors left")

        world.reactions["connect"] = refuse
        world.link.start()
        self.assertEqual(world.state, "Waiting")
        self.assertEqual(world.link.status()["lastTrouble"], "not opened: no descriptors left")

    def test_goneBeforeItWasHere(self) -> None:
        """
        An association that is down again when the attempt reports it counts as a failed attempt.
        """
        world = World()
        world.link.start()
        association = FakeAssociation("short-lived", world.events)
        association.up = False
        world.connecting[-1].callback(association)
        self.assertEqual(world.took(), ["connect"])
        self.assertEqual(world.state, "Waiting")
        self.assertIsNone(world.link.association)

    def test_lateAssociationIsEnded(self) -> None:
        """
        One that an uncancellable attempt gives after the link was stopped is shut down.
        """
        world = World()
        late: Deferred[IAssociation] = Deferred()
        late.cancel = lambda: None
        world.link._core.connect = lambda: late
        world.link.start()
        self.successResultOf(world.link.stop())
        late.callback(FakeAssociation("late", world.events))
        self.assertEqual(world.took(), [("shutdown", "late")])
        self.assertEqual(world.state, "Stopped")

    def test_lossOfAnother(self) -> None:
        """
        The loss of an association that is not the link's changes nothing; nor does a second report.
        """
        world = inState("Active")
        world.link.associationLost(FakeAssociation("other", world.events))
        self.assertEqual((world.took(), world.state), ([], "Active"))
        world.loseNow()
        world.loseNow()
        self.assertEqual((world.took(), world.state), ([("down", "lost")], "Waiting"))


class TestingTests(SynchronousTestCase):
    """
    Status tests, and what their outcomes amount to.
    """

    def test_failedTestsBackOff(self) -> None:
        """
        Tests that get a wrong answer are repeated after 2, 4, 8 s and so on to the cap.
        """
        world = inState("Testing")
        waits = []
        for _ in range(5):
            world.outcome(Failed("answered 500"))
            waits.append(world.link.status()["due"])
            world.clock.advance(float(str(waits[-1])))
        self.assertEqual(waits, [2.0, 4.0, 8.0, 16.0, 16.0])
        self.assertEqual(world.link.status()["lastTrouble"], "test: answered 500")
        world.outcome(Available())
        self.assertEqual(world.state, "Active")
        self.assertEqual(world.link.status()["testFailures"], 0)

    def test_unavailableAnswerStartsTheCountdown(self) -> None:
        """
        A draining server that accepts the association answers the test 503: nothing more is sent to it for
        the period, and then a test.
        """
        world = inState("Testing")
        world.outcome(Unavailable(30.0))
        self.assertEqual(world.took(), [("tested", Unavailable(30.0), 0.0), ("counting", 30.0)])
        world.clock.advance(29.9)
        self.assertEqual(world.took(), [])
        world.clock.advance(0.1)
        self.assertEqual(world.took(), [("test", A)])

    def test_severalGoodTests(self) -> None:
        """
        C{up=3}: three in a row, a base apart; one that is not good starts the row anew.
        """
        world = inState("Stopped", up=3)
        world.link.start()
        world.openedNow()
        states = []
        for outcome in (
            Available(),
            Available(),
            Failed("answered 500"),
            Available(),
            Available(),
            Available(),
        ):
            world.outcome(outcome)
            states.append((world.state, world.link.status()["due"]))
            world.clock.advance(2.0)
        self.assertEqual(states, [("Resting", 2.0)] * 5 + [("Active", None)])

    def test_aGoodTestEndsTheBackOff(self) -> None:
        """
        After a good one that is not enough by itself the next comes after a base, however many had failed.
        """
        world = inState("Stopped", up=2)
        world.link.start()
        world.openedNow()
        for _ in range(3):
            world.outcome(Failed("answered 500"))
            world.clock.advance(16.0)
        world.outcome(Available())
        self.assertEqual((world.state, world.link.status()["due"]), ("Resting", 2.0))

    def test_aGoodTestBreaksTheSilence(self) -> None:
        """
        C{fresh=2}: unanswered tests before a good one do not count.
        """
        world = inState("Stopped", up=3, fresh=2)
        world.link.start()
        world.openedNow()
        for outcome in (Failed("timeout", silent=True), Available(), Failed("timeout", silent=True)):
            world.outcome(outcome)
            self.assertEqual(world.state, "Resting")
            world.clock.advance(16.0)

    def test_goodTestsOfAnAssociationThatWent(self) -> None:
        """
        C{up=2}: the row is broken by a loss.
        """
        world = inState("Stopped", up=2)
        world.link.start()
        world.openedNow()
        world.outcome(Available())
        world.loseNow()
        world.clock.advance(1.0)
        world.openedNow()
        world.outcome(Available())
        self.assertEqual(world.state, "Resting")

    def test_silenceGivesTheAssociationUp(self) -> None:
        """
        C{fresh=3}: the third unanswered test in a row aborts the association, and a new one is opened.
        """
        world = inState("Testing", fresh=3)
        silent = Failed("timeout", silent=True)
        world.outcome(silent)
        world.clock.advance(2.0)
        world.outcome(silent)
        world.clock.advance(4.0)
        world.outcome(silent)
        self.assertEqual(
            world.took(),
            [
                ("tested", silent, 0.0),
                ("test", A),
                ("tested", silent, 0.0),
                ("test", A),
                ("tested", silent, 0.0),
                ("abort", A),
            ],
        )
        self.assertIsNone(world.link.association)
        # Its loss is reported later, and is no news.
        world.loseNow()
        self.assertEqual(world.state, "Waiting")
        world.clock.advance(1.0)
        world.openedNow()
        self.assertEqual(world.took(), ["connect", ("test", "association 2")])
        # The new one has a row of its own.
        world.outcome(silent)
        self.assertEqual(world.state, "Resting")

    def test_anAnswerBreaksTheSilence(self) -> None:
        """
        Any answer shows that the association works, be it not a good one.
        """
        world = inState("Testing", fresh=2)
        for outcome in (Failed("timeout", silent=True), Failed("answered 500"), Failed("lost", silent=True)):
            world.outcome(outcome)
            self.assertEqual(world.state, "Resting")
            world.clock.advance(16.0)

    def test_neverGivenUp(self) -> None:
        """
        C{fresh=0}: however many go unanswered.
        """
        world = inState("Testing", fresh=0)
        for _ in range(20):
            world.outcome(Failed("timeout", silent=True))
            self.assertEqual(world.state, "Resting")
            world.clock.advance(16.0)

    def test_brokenTest(self) -> None:
        """
        A test that fails by an error of its own is logged and counts as failed.
        """
        world = inState("Testing")
        world.testing[-1].errback(ZeroDivisionError("oops"))
        self.assertEqual(world.took(), [("tested", Failed("oops"), 0.0)])
        self.assertEqual(world.state, "Resting")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_lostInTheTest(self) -> None:
        """
        Sending the test shows that the association is gone, and the loss is reported from within.
        """
        world = inState("Resting")
        world.reactions["test"] = world.loseNow
        world.clock.advance(2.0)
        self.assertEqual(world.took(), [("test", A), "test cancelled"])
        self.assertEqual(world.state, "Waiting")

    def test_latency(self) -> None:
        """
        The last answered test's latency is kept; an unanswered one does not touch it.
        """
        world = inState("Testing")
        world.clock.advance(0.125)
        world.outcome(Unavailable(0.0))
        self.assertEqual(world.link.status()["latency"], 0.125)
        world.clock.advance(0.0)
        world.clock.advance(2.0)
        world.outcome(Failed("timeout", silent=True))
        self.assertEqual(world.link.status()["latency"], 0.125)


class CountdownTests(SynchronousTestCase):
    """
    Retry-After, and the way back.
    """

    def test_drainFromBeginningToEnd(self) -> None:
        """
        503 in answer, association shut down by the server, nothing until the end of the period, then a new
        association, a test, and the list.
        """
        world = inState("Active")
        link = world.link
        link.unavailable(30)
        self.assertEqual(link.countdown, 30.0)
        world.clock.advance(5.0)
        world.loseNow()
        self.assertEqual((world.took(), world.state), ([("down", "unavailable"), ("counting", 30.0)], "Away"))
        world.clock.advance(24.99)
        self.assertEqual(world.took(), [])
        world.clock.advance(0.01)
        self.assertEqual((world.took(), link.countdown), (["connect"], 0.0))
        world.connecting[-1].errback(ConnectionRefusedError())
        world.clock.advance(1.0)
        world.openedNow()
        world.outcome(Available())
        self.assertEqual(
            world.took(), ["connect", ("test", "association 2"), ("tested", Available(), 0.0), "up"]
        )

    def test_fullStop(self) -> None:
        """
        A server that has asked by overload control (RFC 7339) to be sent nothing at all keeps its place for
        as long as its association is up, and leaves it for what is left of that time when that goes: it has
        drained, and no INVITE of ours has met its 503.
        """
        world = inState("Active")
        world.link.throttle.heard(Control(100, 30000, 1))
        world.clock.advance(5.0)
        self.assertEqual((world.took(), world.state), ([], "Active"))
        world.loseNow()
        self.assertEqual((world.took(), world.state), ([("down", "unavailable"), ("counting", 25.0)], "Away"))
        self.assertEqual((world.link.countdown, world.link.throttle.loss), (25.0, 0))
        world.clock.advance(24.99)
        self.assertEqual(world.took(), [])
        world.clock.advance(0.01)
        self.assertEqual(world.took(), ["connect"])

    def test_noFullStop(self) -> None:
        """
        Nothing is to be waited for where it asked for less, took it back, or that time was over.
        """
        for words in (
            [Control(99, 30000, 1)],
            [Control(100, 30000, 1), Control(0, 0, 2)],
            [Control(100, 4000, 1)],
        ):
            world = inState("Active")
            for word in words:
                world.link.throttle.heard(word)
            world.clock.advance(5.0)
            world.loseNow()
            self.assertEqual((world.took(), world.state), ([("down", "lost")], "Waiting"))

    def test_fullStopWhileCounting(self) -> None:
        """
        Of both ends the later one counts, as ever.
        """
        for validity, left in ((50000, 45.0), (20000, 25.0)):
            world = inState("Active")
            world.link.unavailable(30)
            world.link.throttle.heard(Control(100, validity, 1))
            world.clock.advance(5.0)
            world.loseNow()
            self.assertEqual((world.state, world.link.countdown), ("Away", left))

    def test_laterOfSeveral(self) -> None:
        """
        A repeated 503 moves the end only to later, 0 included; each move is told, and nothing else.
        """
        world = inState("Active")
        link = world.link
        link.unavailable(30)
        world.clock.advance(10.0)
        for asked in (20, 5, 0):
            link.unavailable(asked)
        self.assertEqual(link.countdown, 20.0)
        link.unavailable(25)
        self.assertEqual(link.countdown, 25.0)
        self.assertEqual(world.took(), [("down", "unavailable"), ("counting", 30.0), ("counting", 25.0)])
        world.clock.advance(24.0)
        self.assertEqual(world.took(), [])
        world.clock.advance(1.0)
        self.assertEqual(world.took(), [("test", A)])

    def test_withoutRetryAfter(self) -> None:
        """
        A 503 without it is as a 500: the server stays on the list, and a countdown stays as it is.
        """
        world = inState("Active")
        world.link.unavailable(None)
        self.assertEqual((world.took(), world.state), ([], "Active"))
        world.link.unavailable(30)
        world.took()
        world.link.unavailable(None)
        self.assertEqual((world.took(), world.link.countdown), ([], 30.0))
        status = world.link.status()
        self.assertEqual((status["refused"], status["throttled"]), (1, 2))

    def test_zero(self) -> None:
        """
        C{Retry-After: 0}: off the list, and a test at the next turn.
        """
        world = inState("Active")
        world.link.unavailable(0)
        self.assertEqual(world.took(), [("down", "unavailable"), ("counting", 0.0)])
        world.clock.advance(0.0)
        self.assertEqual(world.took(), [("test", A)])

    def test_longest(self) -> None:
        """
        One wrong figure does not take a server away for good.
        """
        world = inState("Active", longest=3600.0)
        world.link.unavailable(2**32 - 1)
        self.assertEqual(world.took(), [("down", "unavailable"), ("counting", 3600.0)])

    def test_cancelledDrain(self) -> None:
        """
        The server's word that it is available again ends the countdown: one test, and it is back.
        """
        world = inState("Counting")
        world.link.available()
        self.assertEqual(world.link.countdown, 0.0)
        world.outcome(Available())
        self.assertEqual(world.took(), [("test", A), ("tested", Available(), 0.0), "up"])

    def test_cancelledWhileAway(self) -> None:
        """
        Without an association, one is opened at once.
        """
        world = inState("Away")
        world.link.available()
        self.assertEqual((world.took(), world.link.countdown), (["connect"], 0.0))

    def test_aCountdownEndsTheBackOff(self) -> None:
        """
        A server that says when it returns was there to say so: what failed before does not slow its return.
        """
        world = inState("Testing")
        for _ in range(3):
            world.outcome(Failed("answered 500"))
            world.clock.advance(16.0)
        world.outcome(Unavailable(30.0))
        world.clock.advance(30.0)
        world.outcome(Failed("answered 500"))
        self.assertEqual(world.link.status()["due"], 2.0)
        world = inState("Opening")
        for _ in range(3):
            world.connecting[-1].errback(ConnectionRefusedError())
            world.clock.advance(8.0)
        world.link.unavailable(30)
        world.clock.advance(30.0)
        world.connecting[-1].errback(ConnectionRefusedError())
        self.assertEqual(world.link.status()["due"], 1.0)

    def test_cancelledInWordAlone(self) -> None:
        """
        Where the test says otherwise, it counts.
        """
        world = inState("Counting")
        world.link.available()
        world.outcome(Unavailable(12.0))
        self.assertEqual(world.took(), [("test", A), ("tested", Unavailable(12.0), 0.0), ("counting", 12.0)])


class EarlyTests(SynchronousTestCase):
    """
    Servers that may return before their countdown is over.
    """

    maxDiff = None

    def test_goodTest(self) -> None:
        """
        It is tested while it counts down, less and less often; a good test brings it back, and nothing of the
        countdown is left. What it asks for again moves the end.
        """
        world = inState("Active", early=True)
        world.link.unavailable(30)
        self.assertEqual(world.took(), [("down", "unavailable"), ("counting", 30.0)])
        self.assertEqual(world.link._core.dueIn, 2.0)
        world.clock.advance(2.0)
        self.assertEqual((world.state, world.link.countdown), ("Testing", 28.0))
        world.outcome(Unavailable(29.0))
        self.assertEqual((world.state, world.link.countdown, world.link._core.dueIn), ("Counting", 29.0, 4.0))
        world.clock.advance(4.0)
        world.outcome(Failed("answered 500"))
        self.assertEqual((world.state, world.link.countdown), ("Resting", 25.0))
        world.clock.advance(2.0)
        world.outcome(Available())
        self.assertEqual((world.state, world.link.countdown), ("Active", 0.0))
        self.assertEqual(world.took()[-1], "up")

    def test_notLater(self) -> None:
        """
        However long the waits have become, it is tested at the end of the countdown.
        """
        world = inState("Active", early=True)
        world.link.unavailable(5)
        world.clock.advance(2.0)
        world.outcome(Unavailable(3.0))
        self.assertEqual(world.link._core.dueIn, 3.0)
        world.clock.advance(2.0)
        world.loseNow()
        self.assertEqual((world.state, world.link._core.dueIn), ("Away", 1.0))

    def test_away(self) -> None:
        """
        Without an association, opening one is tried meanwhile.
        """
        world = inState("Active", early=True)
        world.link.unavailable(30)
        world.loseNow()
        self.assertEqual((world.state, world.link._core.dueIn), ("Away", 2.0))
        world.clock.advance(2.0)
        world.connecting[-1].errback(ConnectionRefusedError("refused"))
        self.assertEqual((world.state, world.link.countdown, world.link._core.dueIn), ("Waiting", 28.0, 1.0))
        world.clock.advance(1.0)
        world.openedNow()
        world.outcome(Available())
        self.assertEqual((world.state, world.link.countdown), ("Active", 0.0))

    def test_word(self) -> None:
        """
        Its own word ends the countdown here, too.
        """
        world = inState("Active", early=True)
        world.link.unavailable(30)
        world.link.available()
        self.assertEqual((world.state, world.link.countdown), ("Testing", 0.0))

    def test_notBefore(self) -> None:
        """
        Otherwise nothing is tried before the countdown is over, whether or not the association lasts.
        """
        for lost in (False, True):
            world = inState("Active")
            world.link.unavailable(30)
            if lost:
                world.loseNow()
            world.took()
            world.clock.advance(29.9)
            self.assertEqual(world.took(), [])
            world.clock.advance(0.1)
            self.assertEqual(world.took(), ["connect"] if lost else [("test", A)])


class ActiveTests(SynchronousTestCase):
    """
    Tests of servers that are on the list.
    """

    def test_thresholds(self) -> None:
        """
        So many failures in a row take it off, fewer do not; it stays on while it is tested.
        """
        world = inState("Active", every=10.0, down=2)
        for outcome, due in (
            (Available(), 10.0),
            (Failed("answered 500"), 2.0),
            (Available(), 10.0),
            (Failed("timeout", silent=True), 2.0),
        ):
            assert world.link._core.dueIn is not None
            world.clock.advance(world.link._core.dueIn)
            self.assertTrue(world.link.active)
            world.outcome(outcome)
            self.assertEqual((world.state, world.link._core.dueIn), ("Active", due))
        world.took()
        world.clock.advance(2.0)
        world.outcome(Failed("answered 500"))
        self.assertEqual(
            world.took(), [("test", A), ("tested", Failed("answered 500"), 0.0), ("down", "tests")]
        )
        world.clock.advance(4.0)
        world.outcome(Available())
        self.assertEqual((world.state, world.link._core.dueIn), ("Active", 10.0))

    def test_unavailable(self) -> None:
        """
        One that asks in a test to be left alone is.
        """
        world = inState("Active", every=10.0)
        world.clock.advance(10.0)
        world.outcome(Unavailable(30.0))
        self.assertEqual((world.state, world.link.countdown), ("Counting", 30.0))

    def test_skipped(self) -> None:
        """
        One that is skipped is tested although the others are not.
        """
        world = inState("Testing")
        world.link.skipped = True
        world.outcome(Available())
        self.assertEqual((world.state, world.link._core.dueIn), ("Active", 16.0))


class UnansweredTests(SynchronousTestCase):
    """
    INVITEs without an answer.
    """

    def test_oneIsEnough(self) -> None:
        """
        By default the first takes the server off the list, and a good test puts it back.
        """
        world = inState("Active")
        world.link.unanswered()
        world.outcome(Available())
        self.assertEqual(
            world.took(), [("down", "unanswered"), ("test", A), ("tested", Available(), 0.0), "up"]
        )

    def test_inARow(self) -> None:
        """
        C{down=3}: three in a row; any answer between starts the row anew.
        """
        world = inState("Active", down=3)
        link = world.link
        for _ in range(2):
            link.unanswered()
            link.unanswered()
            link.answered()
        link.unanswered()
        link.unanswered()
        self.assertEqual(world.took(), [])
        link.unanswered()
        self.assertEqual(world.took(), [("down", "unanswered"), ("test", A)])
        # The row starts anew with the server's return.
        world.outcome(Available())
        world.took()
        link.unanswered()
        self.assertEqual((world.took(), world.state), ([], "Active"))
        self.assertEqual(link.unansweredTotal, 8)


class ObserverTests(SynchronousTestCase):
    """
    Observers that talk back, or fail.
    """

    def test_talksBack(self) -> None:
        """
        An input from within a call is taken up when the present one is done with.
        """
        world = inState("Active")
        world.reactions["down"] = world.loseNow
        world.link.unanswered()
        self.assertEqual((world.took(), world.state), ([("down", "unanswered")], "Waiting"))

    def test_stopsTheLinkFromWithin(self) -> None:
        """
        So is a stop.
        """
        world = inState("Testing")
        stopped: list[Deferred[None]] = []
        world.reactions["up"] = lambda: stopped.append(world.link.stop())
        world.outcome(Available())
        self.assertEqual(
            world.took(), [("tested", Available(), 0.0), "up", ("down", "stopped"), ("shutdown", A)]
        )
        self.assertNoResult(stopped[0])
        world.loseNow()
        self.successResultOf(stopped[0])

    def test_raises(self) -> None:
        """
        What an observer raises is logged, and the link goes on.
        """
        world = inState("Active")

        def fail() -> None:
            raise ZeroDivisionError

        world.reactions["down"] = fail
        world.link.unavailable(30)
        self.assertEqual(world.state, "Counting")
        self.assertEqual(world.link.countdown, 30.0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class StoppingTests(SynchronousTestCase):
    """
    The end of a link.
    """

    def test_inOrder(self) -> None:
        """
        The stop is over when the association is gone; two that wait for it both hear so.
        """
        world = inState("Active")
        first, second = world.link.stop(), world.link.stop()
        self.assertNoResult(first)
        world.loseNow()
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertEqual(world.took(), [("down", "stopped"), ("shutdown", A)])
        self.assertEqual(world.clock.getDelayedCalls(), [])
        self.assertIsNone(world.link.association)

    def test_byForce(self) -> None:
        """
        An association that does not end in time is aborted.
        """
        world = inState("Resting", stopLimit=3.0)
        done = world.link.stop()
        world.clock.advance(2.99)
        self.assertNoResult(done)
        world.clock.advance(0.01)
        self.successResultOf(done)
        self.assertEqual(world.took(), [("shutdown", A), ("abort", A)])
        self.assertIsNone(world.link.association)
        world.loseNow()
        self.assertEqual(world.state, "Stopped")

    def test_overUDP(self) -> None:
        """
        A UDP peer has no end that could be waited for.
        """
        world = inState("Active")
        world.associations[0].reliable = False
        self.successResultOf(world.link.stop())
        self.assertEqual(world.took(), [("down", "stopped"), ("shutdown", A)])
        self.assertEqual(world.clock.getDelayedCalls(), [])

    def test_withNothingOpen(self) -> None:
        """
        Where there is no association the stop is over at once.
        """
        for state in ("Stopped", "Opening", "Waiting", "Away"):
            world = inState(state)
            self.successResultOf(world.link.stop())
            self.assertEqual(world.clock.getDelayedCalls(), [], state)
            self.assertEqual(world.link.countdown, 0.0, state)

    def test_startedAgainWhileStopping(self) -> None:
        """
        The stop is over, the old association ends by itself, another is opened.
        """
        world = inState("Active")
        done = world.link.stop()
        world.link.start()
        self.successResultOf(done)
        self.assertIsNone(world.link.association)
        world.loseNow()
        self.assertEqual(
            (world.took(), world.state), ([("down", "stopped"), ("shutdown", A), "connect"], "Opening")
        )

    def test_startedAgainLater(self) -> None:
        """
        A stopped link begins anew, its back-off as well.
        """
        world = inState("Waiting")
        world.link.stop()
        world.link.start()
        world.connecting[-1].errback(ConnectionRefusedError())
        self.assertEqual(world.link.status()["due"], 1.0)


@implementer(ILinkObserver, IAssociationUser)
class Client:
    """
    A client with one server and the real status test, in a network in memory: a 64th of a second one way,
    so that floating point represents all times exactly.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.events: list[tuple[float, str]] = []
        self.network = MemoryNetwork(self.clock, latency=1 / 64)
        self.layer = TransactionLayer(TimerQueue(self.clock), None)
        self.server = Recorder(self._answer)
        self.retryAfter = b""
        self.place = self.network.element(self, "192.0.2.1")
        self.serve()
        self.link = ServerLink(
            "server-102",
            lambda: maybeDeferred(self.place.connect, "192.0.2.102"),
            OptionsProbe(self.layer, self.clock).test,
            self.clock,
            self,
            LinkSettings(reopen=Backoff(1.0, 8.0), tests=Backoff(1.0, 8.0)),
            random=lambda: 1.0,
        )

    def serve(self) -> None:
        """
        The server is there.
        """
        self.listener = self.network.element(self.server, "192.0.2.102")

    def _answer(self, message: Message, association: IAssociation) -> None:
        assert isinstance(message, Request)
        if self.retryAfter:
            answer = respond(message, 503, headers=[(b"Retry-After", self.retryAfter)])
        else:
            answer = respond(message, 200)
        association.send(answer.toBytes())

    def run(self, seconds: float) -> None:
        """
        Lets time pass in steps as long as the latency.
        """
        self.clock.pump([1 / 64] * round(seconds * 64))

    def _note(self, event: str) -> None:
        self.events.append((self.clock.seconds(), event))

    def linkUp(self, link: ServerLink) -> None:
        self._note("up")

    def linkDown(self, link: ServerLink, why: str) -> None:
        self._note(f"down {why}")

    def linkCounting(self, link: ServerLink, seconds: float) -> None:
        self._note(f"counting {seconds:g}")

    def linkTested(self, link: ServerLink, outcome: Outcome, latency: float) -> None:
        self._note(f"tested {outcome} {latency:g}")

    def associationMade(self, association: IAssociation) -> None:
        self._note("made")

    def messageReceived(self, message: object, association: IAssociation) -> None:
        assert isinstance(message, Response)
        self.layer.messageReceived(message, association)

    def associationLost(self, association: IAssociation, reason: Failure) -> None:
        self._note("lost")
        self.layer.associationLost(association)
        self.link.associationLost(association, reason.getErrorMessage())


class LifeTests(SynchronousTestCase):
    """
    Links with everything under them.
    """

    def test_drainedAndBack(self) -> None:
        """
        A server is in use, asks to be left alone, goes, and is not back when it said; then it accepts the
        association but wants more time; then it is back.
        """
        client = Client()
        client.link.start()
        client.run(1.0)
        client.link.unavailable(5)
        client.run(1.0)
        client.listener.stopListening()
        for association in list(client.listener.associations):
            association.shutdown()
        client.run(4.5)
        client.retryAfter = b"3 (still at it)"
        client.serve()
        client.run(2.0)
        client.retryAfter = b""
        client.run(4.0)
        self.assertEqual(
            client.events,
            [
                (0.0, "made"),
                (0.03125, "tested Available() 0.03125"),
                (0.03125, "up"),
                (1.0, "down unavailable"),
                (1.0, "counting 5"),
                (2.015625, "lost"),
                # The attempt at the end of the countdown, at 6 s, finds nobody; the next is 1 s later.
                (7.0, "made"),
                (7.03125, "tested Unavailable(retryAfter=3.0, back=None) 0.03125"),
                (7.03125, "counting 3"),
                (10.0625, "tested Available() 0.03125"),
                (10.0625, "up"),
            ],
        )


class StatusTests(SynchronousTestCase):
    """
    What displays are given.
    """

    def test_everything(self) -> None:
        """
        All of it, for a server that is counting down.
        """
        world = inState("Counting")
        world.link.answered()
        self.assertEqual(
            world.link.status(),
            {
                "name": "server-102",
                "state": "Counting",
                "for": 10.0,
                "active": False,
                "cost": 7,
                "weight": 1,
                "underWay": 0,
                "association": "SCTP 127.0.0.2 5060",
                "countdown": 20.0,
                "scheduledReturn": None,
                "throttle": 0,
                "due": 20.0,
                "latency": 0.0,
                "openFailures": 0,
                "testFailures": 0,
                "lastDown": "unavailable",
                "lastTrouble": "",
                "answered": 1,
                "unanswered": 0,
                "refused": 1,
                "throttled": 0,
                "spared": 0,
            },
        )
        self.assertEqual(repr(world.link), "<ServerLink server-102 Counting>")

    def test_nothing(self) -> None:
        """
        And for one that was never started.
        """
        status = World().link.status()
        self.assertEqual(
            (status["state"], status["association"], status["due"], status["latency"]),
            ("Stopped", None, None, None),
        )
