"""
What the lifecycle tells those who watch it: one frozen L{Event} for each thing that happened to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sipgrace.lifecycle.orders import Order


class State(StrEnum):
    """
    Where a server stands, for display and for whoever waits for it. Nobody decides by it: orders and
    facts go to L{sipgrace.lifecycle.machine.Lifecycle}, which knows what they mean in each state.
    """

    SERVING = "serving"
    SLOWING = "slowing"
    DRAINING = "draining"
    DRAINED = "drained"
    OFFLINE = "offline"
    RETURNING = "returning"


class Change(StrEnum):
    """
    What happened.
    """

    SLOWING = "slowing"
    """A drain is to begin gradually: a rising share of new INVITEs is refused from now on."""

    DRAINING = "draining"
    """A drain began: new INVITEs are refused from now on."""

    JOINED = "joined"
    """A second order to drain was merged into the drain under way."""

    EXTENDED = "extended"
    """The guard was moved to a later time."""

    CANCELLED = "cancelled"
    """The drain was taken back: the server serves again, its associations were never touched."""

    DRAINED = "drained"
    """Nothing accepted is left; the associations are being shut down. C{forced} says how many accepted
    INVITEs got their final answer by force."""

    ABORTED = "aborted"
    """The guard expired: the associations that had not shut down by then were aborted."""

    GONE = "gone"
    """The last association has gone after it was taken offline at once."""

    OFFLINE = "offline"
    """The server is out of service. After a drain, no SIP association of it is left."""

    RETURNING = "returning"
    """It was told to resume and begins to listen."""

    FAILED = "failed"
    """It could not listen again and stays offline; C{text} says why."""

    MAINTAINED = "maintained"
    """The command that was to be run after the drain is done; C{text} says how it ended."""

    SERVING = "serving"
    """It is (again) in service."""

    SKIPPED = "skipped"
    """A client was told to leave a server alone; C{text} says which."""

    UNSKIPPED = "unskipped"
    """It was told to use it again."""

    REJECTING = "rejecting"
    """A server was told to refuse the new calls that a rule names; C{text} says which."""

    ADMITTING = "admitting"
    """It was told to take such a rule back."""

    OVERDUE = "overdue"
    """A client's server is not back at the time that it announced; C{text} says which."""

    BACK = "back"
    """One that was overdue is back; C{text} says which, and how late."""

    REFUSED = "refused"
    """An order did not fit; C{text} says why. Nothing has changed."""


@dataclass(frozen=True, slots=True)
class Event:
    """
    One change, and how things stood right after it.

    @ivar number: counts the events of one lifecycle from 1, without gaps.
    @ivar change: what happened.
    @ivar state: the state after it.
    @ivar at: when, in seconds of the clock.
    @ivar order: the order that caused it, or under which the drain goes on; C{None} where there is none.
    @ivar waiting: accepted INVITEs that are not yet settled.
    @ivar associations: SIP associations that are up.
    @ivar deadline: when the guard expires, in seconds of the clock; C{None} where none is set.
    @ivar until: until when clients are asked to stay away, in seconds of the clock; C{None} when
        serving.
    @ivar forced: how many accepted INVITEs were settled by force in this very change.
    @ivar aborted: how many associations were aborted in this very change.
    @ivar text: a sentence, for those changes that need one.
    @ivar sinceSettled: in a drain, the seconds since the last of what was accepted was settled; C{None} where
        there was nothing to settle, or there is still something.
    @ivar lastInvite: how many seconds after the full stop the latest new INVITE came from a client that did
        not know; C{None} where none has.
    """

    number: int
    change: Change
    state: State
    at: float
    order: Order | None
    waiting: int
    associations: int
    deadline: float | None = None
    until: float | None = None
    forced: int = 0
    aborted: int = 0
    text: str = ""
    sinceSettled: float | None = None
    lastInvite: float | None = None
