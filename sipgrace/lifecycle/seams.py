"""
What the lifecycle machine stands on and speaks to. It knows nothing else of the server, so that one
machine can stand over several worker processes: one drain, the ledger the sum of theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred

from sipgrace.lifecycle.events import Event


class Entry(Protocol):
    """
    One accepted INVITE, as the ledger holds it.

    @ivar acceptedAt: when it was accepted, in seconds of the clock.
    @ivar isInvite: whether it is an INVITE indeed; others (a proxied OPTIONS) are kept in the ledger, too.
    """

    acceptedAt: float
    isInvite: bool

    def recall(self, reason: str) -> None:
        """
        Takes back what was not answered yet: CANCEL for what rings downstream, whose callee has the last
        word. What is not answered nevertheless gets a final response and is settled.

        @param reason: as for L{forceSettle}.
        """

    def forceSettle(self, reason: str) -> bool | None:
        """
        Settles it now: a final response upstream if none has left yet, and CANCEL for what is open
        downstream.

        @param reason: one phrase without quotes, fit for a C{Reason} header (RFC 3326).
        @return: C{False} where its final response had left before, so that nothing was forced on the
            caller; anything else counts as forced.
        """


class LedgerSeam(Protocol):
    """
    The accepted INVITEs, in this process or in several.
    """

    @property
    def forced(self) -> int:
        """
        How many were ever given a final answer by force.
        """

    def __len__(self) -> int:
        """
        @return: how many are not yet settled.
        """

    def watch(self, onIdle: Callable[[], None] | None) -> None:
        """
        Asks to be told each time the ledger becomes empty; C{None} ends that. Not called for a ledger
        that is empty already.
        """

    def recallAll(self, reason: str) -> None:
        """
        Takes back all that can be.
        """

    def settleAll(self, reason: str) -> int:
        """
        Settles all that is there by force; it is empty afterwards.

        @return: how many had to be given a final answer.
        """


class Associations(Protocol):
    """
    All SIP associations of the server and the places where it accepts them.

    Whoever implements this calls L{sipgrace.lifecycle.machine.Lifecycle.associationsGone} each time
    the last association has gone, and sees to it that from C{shutdownAll} or C{abortAll} until C{listen} none
    comes up any more: one that was under way is aborted as soon as it appears.

    @ivar count: how many are up or not yet gone.
    """

    @property
    def count(self) -> int:
        """
        How many associations are not yet gone.
        """

    def stopListening(self) -> Deferred[None] | None:
        """
        Accepts no more associations; those that are there go on. Also ends what a failed or unfinished
        C{listen} has begun. Harmless when nothing listens.

        @return: a C{Deferred} that fires when the ports are free, where that takes time.
        """

    def shutdownAll(self) -> None:
        """
        Ends every association in order: what was sent is delivered first (SCTP SHUTDOWN). Also called when
        there is none.
        """

    def abortAll(self) -> None:
        """
        Ends every association at once (SCTP ABORT). Also called when there is none.
        """

    def listen(self) -> Deferred[None]:
        """
        Accepts associations (again), and opens those that the server opens itself.

        @return: a C{Deferred} that fires when all listeners are up, or fails with what went wrong.
        """


class GateSeam(Protocol):
    """
    What stands before new INVITEs.
    """

    @property
    def lastInvite(self) -> float | None:
        """
        How long after it was closed the latest new INVITE came, in seconds; C{None} where none has.
        """

    def close(self, until: float, reason: str, last: float = 0.0) -> None:
        """
        Refuses new INVITEs from now on. Also called while it is closed, when the time has changed.

        @param until: when clients may come back, in seconds of the clock; never before the guard
            expires.
        @param reason: why, in a phrase that clients are shown; may be empty.
        @param last: until when those are nevertheless let in that go before others, in seconds of the clock;
            later ones the guard would leave no time.
        """

    def shut(self) -> None:
        """
        Lets nobody in any more, whoever goes before others: the associations are going. Called while it is
        closed.
        """

    def slow(self, over: float) -> None:
        """
        Refuses a share of new INVITEs from now on, that rises to all of them. Also called while it does, when
        the time has changed: it then rises from where it is.

        @param over: in so many seconds.
        """

    def openAgain(self) -> None:
        """
        Lets new INVITEs through.
        """


class Observer(Protocol):
    """
    Whoever wants to know: reports, announcements, the operation controller, systemd.
    """

    def onChange(self, event: Event) -> None:
        """
        Something happened. Called in the order of C{event.number}, and before the next step is taken:
        what an observer sends at C{draining} goes out ahead of any shutdown. It may give orders.
        """
