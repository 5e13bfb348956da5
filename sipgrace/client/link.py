"""
A client's link to one server.
"""

from __future__ import annotations

from collections.abc import Callable
from random import random as _random

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from sipgrace.client.countdown import Countdown
from sipgrace.client.linkcore import ILinkObserver, Link, LinkCore, LinkSettings
from sipgrace.client.linkmachine import linkMachine
from sipgrace.client.probe import Outcome
from sipgrace.client.throttle import Throttle
from sipgrace.interfaces import IAssociation

__all__ = ["ILinkObserver", "LinkSettings", "ServerLink", "linkMachine"]


class ServerLink:
    """
    One configured server as this client sees it. The states are those of L{sipgrace.client.linkmachine};
    this shell counts what is per call, so that the machine is only bothered with what changes something.

    @ivar name: the server's name in the configuration.
    @ivar cost: its location cost.
    @ivar weight: its share of the calls.
    @ivar underWay: INVITEs that are being set up there.
    @ivar invites: INVITEs that got an answer of any kind from it.
    @ivar refused: 503 answers with a C{Retry-After}.
    @ivar throttled: 503 answers without one.
    @ivar unansweredTotal: INVITEs that got no answer in time.
    @ivar unansweredInRow: those since the last answer.
    @ivar skipped: whether an operator has it left alone: see L{sipgrace.client.skips}.
    @ivar throttle: what the server has asked to be spared.
    @ivar deaf: whether it has asked to be left alone in answer to a call that goes before others; until it is
        back.
    """

    log = Logger()

    def __init__(
        self,
        name: str,
        connect: Callable[[], Deferred[IAssociation]],
        test: Callable[[IAssociation], Deferred[Outcome]],
        clock: IReactorTime,
        observer: ILinkObserver,
        settings: LinkSettings | None = None,
        cost: int = 0,
        weight: int = 1,
        random: Callable[[], float] = _random,
    ) -> None:
        """
        @param connect: opens an association. Cancelling what it returns must also end an association that
            comes up later. Where the server is the one that opens, it fires when the server has.
        @param test: sends one status test: L{sipgrace.client.probe.OptionsProbe.test}.
        @param observer: hears of everything; see L{ILinkObserver}.
        @param random: a number from 0.0 up to 1.0, for the back-off.
        """
        self.name = name
        self.cost = cost
        self.weight = weight
        self.underWay = 0
        self.invites = 0
        self.refused = 0
        self.throttled = 0
        self.unansweredTotal = 0
        self.unansweredInRow = 0
        self.skipped = False
        self.deaf = False
        self.throttle = Throttle(clock)
        self._back: float | None = None
        self._settings = settings = settings or LinkSettings()
        self._core = LinkCore(
            clock=clock,
            connect=connect,
            test=test,
            observer=observer,
            settings=settings,
            random=random,
            link=self,
            countdown=Countdown(clock, settings.longest),
            log=self.log,
            since=clock.seconds(),
        )
        self._machine: Link = linkMachine(self._core)

    def __repr__(self) -> str:
        return f"<ServerLink {self.name} {self._core.state}>"

    @property
    def association(self) -> IAssociation | None:
        """
        The association with the server, whether or not INVITEs may be sent on it; C{None} when there is
        none.
        """
        return self._core.association

    def isAt(self, transport: bytes, host: str, port: int) -> bool:
        """
        @return: whether this is where the server is, or was found last. Of one that opens the association
            itself the port is not known.
        """
        return self._core.peer in ((transport, host, port), (transport, host, 0))

    @property
    def active(self) -> bool:
        """
        Whether INVITEs may be sent: from C{linkUp} until C{linkDown}.
        """
        return self._core.active

    @property
    def countdown(self) -> float:
        """
        Seconds for which the server is still to be left alone; 0.0 when it is not counting down.
        """
        return self._core.countdown.left

    @property
    def leaving(self) -> bool:
        """
        Whether it has asked for no calls, and could still be sent one that goes before others: its
        association is up, nobody has it skipped, and it has not refused such a one.
        """
        if self.association is None or self.skipped or self.deaf:
            return False
        return self.countdown > 0 or (self.active and self.throttle.loss == 100)

    @property
    def latency(self) -> float | None:
        """
        Seconds that the last test took that got an answer; C{None} before.
        """
        return self._core.latency

    @property
    def testedEvery(self) -> float:
        """
        Seconds between tests while it could be sent INVITEs; 0.0 for none. One that is skipped gets none that
        would show how it is.
        """
        if self.skipped and not self._settings.every:
            return self._settings.tests.cap
        return self._settings.every

    @property
    def returnsIn(self) -> float | None:
        """
        Seconds until the server is scheduled to return, below 0 where it is overdue; C{None} where it did not
        say, or has returned.
        """
        return None if self._back is None else self._back - self._core.clock.seconds()

    def start(self) -> None:
        """
        Opens an association and keeps it open. Nothing happens when it was started before.
        """
        self._machine.start()

    def stop(self) -> Deferred[None]:
        """
        Ends whatever is under way, and the association in order (by force after C{stopLimit} seconds).

        @return: fires when all that is done.
        """
        done: Deferred[None] = Deferred()
        self._core.stopWaiters.append(done)
        self._machine.stop()
        return done

    def answered(self) -> None:
        """
        An INVITE got its first answer.
        """
        self.invites += 1
        self.unansweredInRow = 0

    def unanswered(self) -> None:
        """
        An INVITE got no answer within its period. C{down} of them in a row take the server off the list
        until a test is good.
        """
        self.unansweredTotal += 1
        self.unansweredInRow += 1
        if self.unansweredInRow >= self._settings.down:
            self._machine.unanswered()

    def unavailable(self, retryAfter: float | None, back: float | None = None) -> None:
        """
        The server said 503: in answer to an INVITE, in a NOTIFY, or through a controller.

        @param retryAfter: seconds (L{sipgrace.client.countdown.retryAfterOf}); C{None} when it did not say,
            so that it stays on the list and only this call goes elsewhere.
        @param back: in how many seconds it is scheduled to return; C{None} when it did not say.
        """
        self.scheduled(back)
        if retryAfter is None:
            self.throttled += 1
            return
        self.refused += 1
        self._machine.unavailable(retryAfter)

    def available(self) -> None:
        """
        The server is said to be back: it is tested now instead of at the end of its countdown or back-off.
        """
        self.throttle.release()
        self._core.countdown.clear()
        self._machine.available()

    def watchNow(self) -> None:
        """
        L{testedEvery} has changed.
        """
        if self._core.active and self._core.dueIn is None and not self._core.testing:
            self._core.testAgain(self._machine._due)

    def scheduled(self, back: float | None) -> None:
        """
        The server has said when it is to return.

        @param back: seconds; C{None}, where it did not say, takes nothing back.
        """
        if back is not None:
            self._back = self._core.clock.seconds() + back

    def returned(self) -> None:
        """
        The server is back.
        """
        self._back = None
        self.deaf = False

    def associationLost(self, association: IAssociation, reason: str = "") -> None:
        """
        An association has gone. One that is not this link's (any more) is no concern of it. A server that had
        asked, by overload control alone, to be sent nothing at all has left: what is left of that time is
        counted down, as after its 503.

        @param reason: one phrase for the status display.
        """
        if association is self._core.association:
            self._core.lastTrouble = f"association lost: {reason}" if reason else "association lost"
            self._core.association = None
            stopped = self.throttle.left if self.throttle.loss == 100 else 0.0
            self.throttle.reset()
            if stopped:
                self._machine.unavailable(stopped)
            self._machine.lost()

    def status(self) -> dict[str, object]:
        """
        What a status display shows; everything in it fits JSON. Times in seconds; C{None} where there is
        none.
        """
        core = self._core
        association = core.association
        return {
            "name": self.name,
            "state": core.state,
            "for": core.clock.seconds() - core.since,
            "active": core.active,
            "cost": self.cost,
            "weight": self.weight,
            "underWay": self.underWay,
            "association": None
            if association is None
            else f"{association.transport.decode('ascii')} {association.peerHost} {association.peerPort}",
            "countdown": core.countdown.left,
            "scheduledReturn": self.returnsIn,
            "throttle": self.throttle.loss,
            "due": core.dueIn,
            "latency": core.latency,
            "openFailures": core.openFailures,
            "testFailures": core.testFailures,
            "lastDown": core.lastDown,
            "lastTrouble": core.lastTrouble,
            "answered": self.invites,
            "unanswered": self.unansweredTotal,
            "refused": self.refused,
            "throttled": self.throttled,
            "spared": self.throttle.kept,
        }
