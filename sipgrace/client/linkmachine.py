"""
The life of a client's link to one server::

    Stopped     nothing is wanted of it
    Opening     an association is being opened
    Waiting     no association; the next attempt waits for its back-off
    Testing     association up, not on the active list; an OPTIONS is on its way
    Resting     association up, not on the active list; the next test waits
    Active      association up, on the active list
    Counting    association up, not on the active list until the countdown is over
    Away        no association, and none is opened until the countdown is over
    Stopping    the association is being shut down

The grid. A dot is an input that changes nothing there: it comes too late, or cannot come. Whoever leaves
a state cancels what that state had under way (timer, attempt, test), so that no late private input can be
about a state that is gone::

                 Stopped  Opening  Waiting  Testing  Resting  Active   Counting Away     Stopping
    start        Opening  .        .        .        .        .        .        .        Opening
    stop         finish   Stopped  Stopped  Stopping Stopping Stopping Stopping Stopped  .
    unavailable  .        Away     Away     Counting Counting Counting extend   extend   .
    available    .        .        Opening  .        Testing  .        Testing  Opening  .
    unanswered   .        .        .        .        .        Testing  .        .        .
    lost         .        .        .        Waiting  Waiting  Waiting  Away     .        Stopped
    _opened      .        Testing  .        .        .        .        .        .        .
    _trusted     .        Active   .        .        .        .        .        .        .
    _openFailed  .        Waiting  .        .        .        .        .        .        .
    _due         .        .        Opening  .        Testing  .        Testing  Opening  Stopped
    _passed      .        .        .        Active   .        .        .        .        .
    _promising   .        .        .        Resting  .        .        .        .        .
    _failed      .        .        .        Resting  .        .        .        .        .
    _exhausted   .        .        .        Waiting  .        .        .        .        .

 - C{available} comes from the server (a cancelled drain is announced) or from a controller. It is believed
   only as far as one test at once.
 - C{unanswered} leads straight to a test: to have been wrong costs one round trip, and one INVITE that no
   server can digest does not take the whole list away for longer than that.
 - C{_exhausted} gives the association up: a stream that a middlebox forgot stays "up" for a quarter of an
   hour, and a new one may be all that is needed.
 - C{_due} in Stopping aborts an association that did not end in order.
 - C{start} in Stopping leaves the old association to its shutdown and opens another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from automat import TypeMachineBuilder
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import Interface

from sipgrace.client.backoff import Backoff
from sipgrace.client.countdown import Countdown
from sipgrace.client.probe import Available, Failed, Outcome, Unavailable
from sipgrace.interfaces import IAssociation

if TYPE_CHECKING:
    from sipgrace.client.link import ServerLink


class ILinkObserver(Interface):
    """
    Whoever wants to know how a link fares: the client role. What an observer raises is logged and goes no
    further. It may send inputs to the link; they are taken up when the present one is done with.
    """

    def linkUp(link: ServerLink) -> None:
        """
        INVITEs may be sent on C{link.association} from now on: onto the active list with it.
        """

    def linkDown(link: ServerLink, why: str) -> None:
        """
        No INVITEs any more. Called once after each L{linkUp}.

        @param why: C{'unavailable'} (it asked to be left alone), C{'unanswered'}, C{'lost'} or C{'stopped'}.
        """

    def linkCounting(link: ServerLink, seconds: float) -> None:
        """
        A countdown began, or its end was moved.

        @param seconds: what is left of it.
        """

    def linkTested(link: ServerLink, outcome: Outcome, latency: float) -> None:
        """
        A status test ended (not called for one that was given up because it no longer mattered).

        @param latency: seconds it took.
        """


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """
    @ivar reopen: between attempts to open an association.
    @ivar tests: between status tests.
    @ivar testNew: whether a new association must pass a test before INVITEs are sent on it. A server that
        drains may accept associations, so yes unless the peer cannot answer OPTIONS.
    @ivar down: how many INVITEs in a row without any answer take a server off the list; at least 1.
    @ivar up: how many tests in a row must pass before it is put back; at least 1.
    @ivar fresh: after how many unanswered tests in a row the association is given up and another one
        opened; 0 for never.
    @ivar longest: seconds; no countdown is longer, whatever the server asks for.
    @ivar stopLimit: seconds that an association has to end in order when the link is stopped.
    """

    reopen: Backoff = field(default_factory=Backoff)
    tests: Backoff = field(default_factory=Backoff)
    testNew: bool = True
    down: int = 1
    up: int = 1
    fresh: int = 3
    longest: float = 86400.0
    stopLimit: float = 5.0


class Link(Protocol):
    """
    The inputs.
    """

    def start(self) -> None:
        """
        Open an association and keep it open.
        """

    def stop(self) -> None:
        """
        End the association, and whatever is under way; then finish.
        """

    def unavailable(self, retryAfter: float) -> None:
        """
        The server asked to be left alone for so many seconds.
        """

    def available(self) -> None:
        """
        The server is said to be back before its time.
        """

    def unanswered(self) -> None:
        """
        As many INVITEs in a row as it takes went without any answer.
        """

    def lost(self) -> None:
        """
        The association has gone.
        """

    def _opened(self) -> None:
        """
        The attempt gave an association, to be tested first.
        """

    def _trusted(self) -> None:
        """
        The attempt gave an association, to be used at once.
        """

    def _openFailed(self) -> None:
        """
        The attempt gave none.
        """

    def _due(self) -> None:
        """
        The time that this state waits for has come.
        """

    def _passed(self) -> None:
        """
        Enough tests in a row were good.
        """

    def _promising(self) -> None:
        """
        A test was good, and more are asked for.
        """

    def _failed(self) -> None:
        """
        A test was not good.
        """

    def _exhausted(self) -> None:
        """
        So many tests went unanswered that the association itself is in doubt.
        """


@dataclass(eq=False)
class LinkCore:
    """
    What the states share.

    @ivar state: the state's name, for displays alone.
    @ivar since: when that state was entered, by the clock.
    @ivar openFailures: attempts to open that failed since the server was last good.
    @ivar testFailures: tests that failed since it was last good.
    @ivar good: tests in a row that were good.
    @ivar silent: tests in a row on this association that went unanswered.
    """

    clock: IReactorTime
    connect: Callable[[], Deferred[IAssociation]]
    test: Callable[[IAssociation], Deferred[Outcome]]
    observer: ILinkObserver
    settings: LinkSettings
    random: Callable[[], float]
    link: ServerLink
    countdown: Countdown
    log: Logger

    association: IAssociation | None = None
    state: str = "Stopped"
    since: float = 0.0
    active: bool = False
    openFailures: int = 0
    testFailures: int = 0
    good: int = 0
    silent: int = 0
    latency: float | None = None
    lastDown: str = ""
    lastTrouble: str = ""
    stopWaiters: list[Deferred[None]] = field(default_factory=list)

    _timer: IDelayedCall | None = None
    _attempt: Deferred[IAssociation] | None = None
    _testing: Deferred[Outcome] | None = None

    def enter(self, state: str, why: str = "") -> None:
        """
        Leaves a state for another: nothing that was under way goes on.

        @param why: what to tell the observer when this leaves Active.
        """
        self.state = state
        self.since = self.clock.seconds()
        timer, self._timer = self._timer, None
        attempt, self._attempt = self._attempt, None
        testing, self._testing = self._testing, None
        if timer is not None and timer.active():
            timer.cancel()
        for pending in (attempt, testing):
            if pending is not None:
                pending.cancel()
        if self.active:
            self.active = False
            self.lastDown = why
            self.tell("linkDown", why)

    def tell(self, event: str, *args: object) -> None:
        """
        Calls the observer; a raising one must not leave the machine half-way.
        """
        try:
            getattr(self.observer, event)(self.link, *args)
        except Exception:
            self.log.failure("{server}: {event} was not taken well", server=self.link.name, event=event)

    def wait(self, seconds: float, due: Callable[[], None]) -> None:
        """
        The state waits for so many seconds from now, and no longer for what it waited for before.
        """
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self.clock.callLater(seconds, due)

    @property
    def dueIn(self) -> float | None:
        """
        Seconds until what the state waits for; C{None} when it does not wait.
        """
        if self._timer is None or not self._timer.active():
            return None
        return max(0.0, self._timer.getTime() - self.clock.seconds())

    def finishStopping(self) -> None:
        """
        Those who waited for the stop need wait no longer.
        """
        waiters, self.stopWaiters = self.stopWaiters, []
        for waiter in waiters:
            waiter.callback(None)

    def attemptOpening(self, link: Link) -> None:
        """
        Opens an association.
        """
        attempt = self._attempt = maybeDeferred(self.connect)

        def opened(association: IAssociation) -> None:
            if self._attempt is not attempt:
                association.shutdown()
                return
            self._attempt = None
            if not association.up:
                self._openingFailed(link, "lost while it was opened")
                return
            self.association = association
            self.silent = 0
            if self.settings.testNew:
                link._opened()
            else:
                link._trusted()

        def failed(failure: Failure) -> None:
            if self._attempt is attempt:
                self._attempt = None
                self._openingFailed(link, failure.getErrorMessage() or repr(failure.value))

        attempt.addCallbacks(opened, failed)

    def _openingFailed(self, link: Link, reason: str) -> None:
        self.lastTrouble = f"not opened: {reason}"
        link._openFailed()

    def attemptTest(self, link: Link) -> None:
        """
        Sends one status test.
        """
        association = self.association
        if association is None:
            # It went while an observer was told of this very transition: C{lost} is the next input.
            return
        started = self.clock.seconds()
        testing = self._testing = maybeDeferred(self.test, association)

        def broken(failure: Failure) -> Outcome:
            if self._testing is testing:
                self.log.failure("{server}: the test itself failed", failure=failure, server=self.link.name)
            return Failed(failure.getErrorMessage() or "error")

        def tested(outcome: Outcome) -> None:
            if self._testing is not testing:
                return
            self._testing = None
            latency = self.clock.seconds() - started
            self.tell("linkTested", outcome, latency)
            self._judge(link, outcome, latency)

        testing.addErrback(broken).addCallback(tested)

    def _judge(self, link: Link, outcome: Outcome, latency: float) -> None:
        """
        Sends the input that an outcome amounts to.
        """
        match outcome:
            case Available():
                self.latency, self.silent, self.testFailures = latency, 0, 0
                self.good += 1
                if self.good < self.settings.up:
                    link._promising()
                else:
                    link._passed()
            case Unavailable(retryAfter):
                self.latency, self.silent, self.good = latency, 0, 0
                link.unavailable(retryAfter)
            case Failed(reason, silent):
                self.good = 0
                self.testFailures += 1
                self.silent = self.silent + 1 if silent else 0
                self.lastTrouble = f"test: {reason}"
                if self.settings.fresh and self.silent >= self.settings.fresh:
                    link._exhausted()
                else:
                    link._failed()


def _machine() -> TypeMachineBuilder[Link, LinkCore]:
    """
    The grid above as a machine.
    """
    machine = TypeMachineBuilder(Link, LinkCore)

    Stopped = machine.state("Stopped")
    Opening = machine.state("Opening")
    Waiting = machine.state("Waiting")
    Testing = machine.state("Testing")
    Resting = machine.state("Resting")
    Active = machine.state("Active")
    Counting = machine.state("Counting")
    Away = machine.state("Away")
    Stopping = machine.state("Stopping")

    # What changes nothing, state by state.

    for ignored in (
        Stopped.upon(Link.available),
        Stopped.upon(Link.unanswered),
        Stopped.upon(Link.lost),
        Stopped.upon(Link._opened),
        Stopped.upon(Link._trusted),
        Stopped.upon(Link._openFailed),
        Stopped.upon(Link._due),
        Stopped.upon(Link._passed),
        Stopped.upon(Link._promising),
        Stopped.upon(Link._failed),
        Stopped.upon(Link._exhausted),
        Opening.upon(Link.start),
        Opening.upon(Link.available),
        Opening.upon(Link.unanswered),
        Opening.upon(Link.lost),
        Opening.upon(Link._due),
        Opening.upon(Link._passed),
        Opening.upon(Link._promising),
        Opening.upon(Link._failed),
        Opening.upon(Link._exhausted),
        Waiting.upon(Link.start),
        Waiting.upon(Link.unanswered),
        Waiting.upon(Link.lost),
        Waiting.upon(Link._opened),
        Waiting.upon(Link._trusted),
        Waiting.upon(Link._openFailed),
        Waiting.upon(Link._passed),
        Waiting.upon(Link._promising),
        Waiting.upon(Link._failed),
        Waiting.upon(Link._exhausted),
        Testing.upon(Link.start),
        Testing.upon(Link.available),
        Testing.upon(Link.unanswered),
        Testing.upon(Link._opened),
        Testing.upon(Link._trusted),
        Testing.upon(Link._openFailed),
        Testing.upon(Link._due),
        Resting.upon(Link.start),
        Resting.upon(Link.unanswered),
        Resting.upon(Link._opened),
        Resting.upon(Link._trusted),
        Resting.upon(Link._openFailed),
        Resting.upon(Link._passed),
        Resting.upon(Link._promising),
        Resting.upon(Link._failed),
        Resting.upon(Link._exhausted),
        Active.upon(Link.start),
        Active.upon(Link.available),
        Active.upon(Link._opened),
        Active.upon(Link._trusted),
        Active.upon(Link._openFailed),
        Active.upon(Link._due),
        Active.upon(Link._passed),
        Active.upon(Link._promising),
        Active.upon(Link._failed),
        Active.upon(Link._exhausted),
        Counting.upon(Link.start),
        Counting.upon(Link.unanswered),
        Counting.upon(Link._opened),
        Counting.upon(Link._trusted),
        Counting.upon(Link._openFailed),
        Counting.upon(Link._passed),
        Counting.upon(Link._promising),
        Counting.upon(Link._failed),
        Counting.upon(Link._exhausted),
        Away.upon(Link.start),
        Away.upon(Link.unanswered),
        Away.upon(Link.lost),
        Away.upon(Link._opened),
        Away.upon(Link._trusted),
        Away.upon(Link._openFailed),
        Away.upon(Link._passed),
        Away.upon(Link._promising),
        Away.upon(Link._failed),
        Away.upon(Link._exhausted),
        Stopping.upon(Link.stop),
        Stopping.upon(Link.available),
        Stopping.upon(Link.unanswered),
        Stopping.upon(Link._opened),
        Stopping.upon(Link._trusted),
        Stopping.upon(Link._openFailed),
        Stopping.upon(Link._passed),
        Stopping.upon(Link._promising),
        Stopping.upon(Link._failed),
        Stopping.upon(Link._exhausted),
    ):
        ignored.loop().returns(None)
    Stopped.upon(Link.unavailable).loop().returns(None)
    Stopping.upon(Link.unavailable).loop().returns(None)

    # Towards an association.

    @Stopped.upon(Link.start).to(Opening)
    @Waiting.upon(Link.available).to(Opening)
    @Waiting.upon(Link._due).to(Opening)
    @Away.upon(Link.available).to(Opening)
    @Away.upon(Link._due).to(Opening)
    def openNow(link: Link, core: LinkCore) -> None:
        """
        Begins to open an association.
        """
        core.enter("Opening")
        core.countdown.clear()
        core.attemptOpening(link)

    @Stopping.upon(Link.start).to(Opening)
    def reopen(link: Link, core: LinkCore) -> None:
        """
        Leaves the old association to its shutdown, answers those who waited for it, and opens another.
        """
        core.association = None
        core.finishStopping()
        openNow(link, core)

    @Opening.upon(Link._openFailed).to(Waiting)
    @Testing.upon(Link.lost).to(Waiting)
    @Resting.upon(Link.lost).to(Waiting)
    @Active.upon(Link.lost).to(Waiting)
    def retryLater(link: Link, core: LinkCore) -> None:
        """
        Forgets the association and waits for the back-off, which grows until a test is good.
        """
        core.enter("Waiting", "lost")
        core.association = None
        core.good = 0
        core.wait(core.settings.reopen.delay(core.openFailures, core.random), link._due)
        core.openFailures += 1

    @Testing.upon(Link._exhausted).to(Waiting)
    def giveUpAssociation(link: Link, core: LinkCore) -> None:
        """
        Aborts the association that gives no answers, and waits for the back-off.
        """
        association = core.association
        retryLater(link, core)
        if association is not None:
            association.abort()

    # Towards the active list.

    @Opening.upon(Link._opened).to(Testing)
    @Resting.upon(Link.available).to(Testing)
    @Resting.upon(Link._due).to(Testing)
    @Counting.upon(Link.available).to(Testing)
    @Counting.upon(Link._due).to(Testing)
    @Active.upon(Link.unanswered).to(Testing)
    def testNow(link: Link, core: LinkCore) -> None:
        """
        Sends a status test; the countdown, if any, is over.
        """
        core.enter("Testing", "unanswered")
        core.countdown.clear()
        core.attemptTest(link)

    @Testing.upon(Link._promising).to(Resting)
    @Testing.upon(Link._failed).to(Resting)
    def testLater(link: Link, core: LinkCore) -> None:
        """
        Waits for the back-off of the tests.
        """
        core.enter("Resting")
        # The first wait after a failure is the base; after a good test, where more are asked for, too.
        core.wait(core.settings.tests.delay(max(0, core.testFailures - 1), core.random), link._due)

    @Opening.upon(Link._trusted).to(Active)
    @Testing.upon(Link._passed).to(Active)
    def activate(link: Link, core: LinkCore) -> None:
        """
        Reports the server as up; every count of failures begins anew.
        """
        core.enter("Active")
        core.openFailures = core.testFailures = core.good = 0
        core.active = True
        core.link.unansweredInRow = 0
        core.tell("linkUp")

    # The countdown.

    @Testing.upon(Link.unavailable).to(Counting)
    @Resting.upon(Link.unavailable).to(Counting)
    @Active.upon(Link.unavailable).to(Counting)
    def countDown(link: Link, core: LinkCore, retryAfter: float) -> None:
        """
        Takes the server off the list, where it was on it, until the countdown is over.
        """
        core.enter("Counting", "unavailable")
        core.openFailures = core.testFailures = core.good = 0
        core.countdown.ask(retryAfter)
        core.wait(core.countdown.left, link._due)
        core.tell("linkCounting", core.countdown.left)

    @Opening.upon(Link.unavailable).to(Away)
    @Waiting.upon(Link.unavailable).to(Away)
    def stayAway(link: Link, core: LinkCore, retryAfter: float) -> None:
        """
        Opens nothing until the countdown is over.
        """
        core.enter("Away")
        core.openFailures = core.testFailures = core.good = 0
        core.countdown.ask(retryAfter)
        core.wait(core.countdown.left, link._due)
        core.tell("linkCounting", core.countdown.left)

    @Counting.upon(Link.unavailable).loop()
    @Away.upon(Link.unavailable).loop()
    def extend(link: Link, core: LinkCore, retryAfter: float) -> None:
        """
        Moves the end of the countdown, if the new one is later.
        """
        if core.countdown.ask(retryAfter):
            core.wait(core.countdown.left, link._due)
            core.tell("linkCounting", core.countdown.left)

    @Counting.upon(Link.lost).to(Away)
    def lostWhileCounting(link: Link, core: LinkCore) -> None:
        """
        Opens nothing until the countdown is over.
        """
        core.enter("Away")
        core.wait(core.countdown.left, link._due)

    # Towards the end.

    @Stopped.upon(Link.stop).to(Stopped)
    @Opening.upon(Link.stop).to(Stopped)
    @Waiting.upon(Link.stop).to(Stopped)
    @Away.upon(Link.stop).to(Stopped)
    @Stopping.upon(Link.lost).to(Stopped)
    def stopped(link: Link, core: LinkCore) -> None:
        """
        Answers those who waited for the stop.
        """
        core.enter("Stopped")
        core.association = None
        core.countdown.clear()
        core.openFailures = core.testFailures = core.good = 0
        core.finishStopping()

    @Testing.upon(Link.stop).to(Stopping)
    @Resting.upon(Link.stop).to(Stopping)
    @Active.upon(Link.stop).to(Stopping)
    @Counting.upon(Link.stop).to(Stopping)
    def shutDown(link: Link, core: LinkCore) -> None:
        """
        Ends the association in order, within a limit.
        """
        core.enter("Stopping", "stopped")
        core.wait(core.settings.stopLimit, link._due)
        association = core.association
        if association is not None:
            association.shutdown()
            if not association.reliable:
                # A UDP peer is only forgotten; nobody will report it lost.
                link.lost()

    @Stopping.upon(Link._due).to(Stopped)
    def abort(link: Link, core: LinkCore) -> None:
        """
        Aborts the association, which did not end in order, and answers those who waited for the stop.
        """
        association = core.association
        stopped(link, core)
        if association is not None:
            association.abort()

    return machine


#: The builder, from which the documentation's transition table is generated.
linkBuilder = _machine()
#: Makes a machine for one link.
linkMachine = linkBuilder.build()
