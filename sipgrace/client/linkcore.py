"""
What the states of a client's link share: who is called, what is under way, what is counted. The states
themselves are in L{sipgrace.client.linkmachine}.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import Interface

from sipgrace.client.countdown import Countdown
from sipgrace.client.probe import Available, Failed, Outcome, Unavailable
from sipgrace.interfaces import IAssociation
from sipgrace.transport.backoff import Backoff

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

        @param why: C{'unavailable'} (it asked to be left alone), C{'unanswered'}, C{'tests'} (they failed),
            C{'lost'} or C{'stopped'}.
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
    @ivar down: how many INVITEs in a row without any answer, or failed tests in a row, take a server off the
        list; at least 1.
    @ivar up: how many tests in a row must pass before it is put back; at least 1.
    @ivar fresh: after how many unanswered tests in a row the association is given up and another one
        opened; 0 for never.
    @ivar every: seconds between the tests of a server that is on the list; 0 for none.
    @ivar early: whether a server is tested also while it counts down, and a good test brings it back before
        its time. Without, nothing but its own word does.
    @ivar longest: seconds; no countdown is longer, whatever the server asks for. As long as one of ours ever
        asks for: a week, or its guard and a week, and its spread.
    @ivar stopLimit: seconds that an association has to end in order when the link is stopped.
    """

    reopen: Backoff = field(default_factory=Backoff)
    tests: Backoff = field(default_factory=Backoff)
    testNew: bool = True
    down: int = 1
    up: int = 1
    fresh: int = 3
    every: float = 0.0
    early: bool = False
    longest: float = 604_800.0 + 86_400.0 + 3600.0
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

    def _doubtful(self) -> None:
        """
        A test of a server on the list was not good, and it takes more of them to take it off.
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
    @ivar earlyTries: tests, and attempts to open, within the countdown since the server was last good.
    @ivar good: tests in a row that were good.
    @ivar peer: where the server was found last: transport, address and port; 0 where it opened the
        association, from any port.
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
    peer: tuple[bytes, str, int] | None = None
    state: str = "Stopped"
    since: float = 0.0
    active: bool = False
    openFailures: int = 0
    testFailures: int = 0
    earlyTries: int = 0
    good: int = 0
    silent: int = 0
    latency: float | None = None
    lastDown: str = ""
    lastTrouble: str = ""
    stopWaiters: list[Deferred[None]] = field(default_factory=list)
    _logged: str = ""

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

    def retry(self, seconds: float, due: Callable[[], None]) -> None:
        """
        As L{wait}, but no longer than the countdown, should there be any left.
        """
        left = self.countdown.left
        self.wait(min(seconds, left) if left else seconds, due)

    def countDown(self, due: Callable[[], None]) -> None:
        """
        Waits for the end of the countdown, or for the next test before it.
        """
        if self.settings.early:
            self.retry(self.settings.tests.delay(self.earlyTries, self.random), due)
        else:
            self.wait(self.countdown.left, due)

    def leaveCountdown(self) -> None:
        """
        Something is tried before, or after, the countdown's end. It goes on where it is to be known until the
        test is good.
        """
        if not self.settings.early:
            self.countdown.clear()
        elif self.countdown.left:
            self.earlyTries += 1

    @property
    def testing(self) -> bool:
        """
        Whether a test is under way.
        """
        return self._testing is not None

    def testAgain(self, due: Callable[[], None]) -> None:
        """
        Waits for the next test of a server that is on the list.
        """
        every = self.link.testedEvery
        if every:
            self.wait(every, due)

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
            port = association.peerPort if association.opened else 0
            self.peer = (association.transport, association.peerHost, port)
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
        self._troubled(f"not opened: {reason}")
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

    def _troubled(self, text: str) -> None:
        """
        What is wrong is logged when it begins and when it becomes something else, not at every attempt.
        """
        self.lastTrouble = text
        if text != self._logged:
            self._logged = text
            said = text.rstrip(".")
            self.log.info("{server}: {trouble}; it is tried again", server=self.link.name, trouble=said)

    def _judge(self, link: Link, outcome: Outcome, latency: float) -> None:
        """
        Sends the input that an outcome amounts to.
        """
        match outcome:
            case Available():
                self.latency, self.silent, self.testFailures = latency, 0, 0
                self._logged = ""
                self.good += 1
                if self.good < self.settings.up:
                    link._promising()
                else:
                    link._passed()
            case Unavailable(retryAfter, back):
                self.latency, self.silent, self.good = latency, 0, 0
                self.link.scheduled(back)
                link.unavailable(retryAfter)
            case Failed(reason, silent):
                self.good = 0
                self.testFailures += 1
                self.silent = self.silent + 1 if silent else 0
                self._troubled(f"test: {reason}")
                if self.active and self.testFailures < self.settings.down:
                    link._doubtful()
                elif self.settings.fresh and self.silent >= self.settings.fresh:
                    link._exhausted()
                else:
                    link._failed()
