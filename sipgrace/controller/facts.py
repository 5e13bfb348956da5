"""
What controllers know, tell and keep: who asks, who is there, what became of orders. The fields fit JSON;
times are seconds since the epoch unless a name says else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from sipgrace.lifecycle.authorization import Role

__all__ = [
    "ENDED",
    "Hello",
    "Kept",
    "NodeRecord",
    "Notice",
    "OrderRecord",
    "Outcome",
    "Person",
    "Progress",
    "Pruned",
    "RollingRecord",
    "ScheduleRecord",
]


@dataclass(frozen=True, slots=True)
class Person:
    """
    Who asks something of the controller.

    @ivar name: as the token, or the peer that passes it on, has it.
    @ivar role: what they may.
    """

    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class Hello:
    """
    What a node says of itself when its link comes up.

    @ivar name: the node's name; its certificate says the same.
    @ivar role: C{'server'} or C{'client'}.
    @ivar version: of this package.
    @ivar boot: tells this run of the process from every other.
    @ivar number: the number of its last event.
    @ivar labels: what selectors go by: C{{'site': 'north'}}.
    @ivar group: whose budget it counts in; empty for C{'default'}.
    """

    name: str
    role: str
    version: str
    boot: str
    number: int
    labels: Mapping[str, str] = field(default_factory=dict)
    group: str = ""


class Outcome(StrEnum):
    """
    Where an order stands.
    """

    QUEUED = "queued"
    """It waits for the budget to have room."""

    SENT = "sent"
    """It is on its way to the node, and not answered yet."""

    OBEYED = "obeyed"
    """The node obeyed; a drain is under way."""

    DONE = "done"
    """It was carried out: for a drain, the server is offline."""

    REFUSED = "refused"
    """The node, or the controller, refused it; C{text} says why."""

    UNDONE = "undone"
    """A drain that was cancelled."""

    FAILED = "failed"
    """It came to nothing: the node could not be reached, its maintenance failed; C{text} says why."""


#: Outcomes after which nothing follows.
ENDED: Final = frozenset((Outcome.DONE, Outcome.REFUSED, Outcome.UNDONE, Outcome.FAILED))


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRecord:
    """
    One order to one node, and what became of it.

    @ivar id: the order's nonce: the node's audit log has the same.
    @ivar node: whom it is for.
    @ivar order: as L{sipgrace.lifecycle.orders.Order.facts} has it.
    @ivar who: who asked for it.
    @ivar by: the controller that gave it.
    @ivar at: when.
    @ivar outcome: where it stands.
    @ivar text: why, where a word is due.
    @ivar ended: when it came to its end; C{None} before.
    @ivar rolling: the rolling maintenance that it is part of, or empty.
    @ivar result: what a rehearsal found, the report of a drain.
    @ivar boot: the run of the node that it was given to; empty while it is queued.
    @ivar number: the number of that run's last event before it was given.
    """

    id: str
    node: str
    order: Mapping[str, Any]
    who: str
    by: str
    at: float
    outcome: Outcome
    text: str = ""
    ended: float | None = None
    rolling: str = ""
    result: Any = None
    boot: str = ""
    number: int = 0


class Progress(StrEnum):
    """
    Where a rolling maintenance stands.
    """

    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    STOPPED = "stopped"
    """A person ended it."""

    TROUBLE = "trouble"
    """It stopped by itself; C{text} says at which server and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RollingRecord:
    """
    One rolling maintenance: servers drained, maintained, resumed and seen healthy, so many at a time.

    @ivar id: its name.
    @ivar servers: all of them, in order.
    @ivar steps: by server: C{'waiting'}, C{'draining'}, C{'maintaining'}, C{'returning'},
        C{'settling'}, C{'done'}, C{'trouble'}.
    @ivar orders: by server: the ids of the orders that were given for it.
    @ivar values: what was asked for: C{atOnce}, C{guard}, C{retryAfter}, C{announce}, C{over}, C{then},
        C{settle}, C{why}; and by server the clients that reached it before its drain (C{reached}) and those
        that did not (C{blind}).
    """

    id: str
    servers: Sequence[str]
    steps: Mapping[str, str]
    orders: Mapping[str, Sequence[str]]
    values: Mapping[str, Any]
    who: str
    by: str
    at: float
    progress: Progress
    text: str = ""
    ended: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRecord:
    """
    What is to be ordered later, once or time and again.

    @ivar what: C{'order'} or C{'rolling'}.
    @ivar values: what L{sipgrace.controller.seams.IController} takes for that.
    @ivar at: when, for once; C{None} with C{cron}.
    @ivar cron: five fields, as cron has them; empty for once.
    @ivar zone: the time zone of C{cron}.
    @ivar next: when it is due next; C{None} when it is over.
    @ivar by: the controller that keeps it, and sees to it.
    """

    id: str
    what: str
    values: Mapping[str, Any]
    who: str
    role: str
    at: float | None = None
    cron: str = ""
    zone: str = "UTC"
    next: float | None = None
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecord:
    """
    A node that a controller knows, also when it has no link: what is left of it when the controller begins
    again.

    @ivar name: the node's name.
    @ivar role: C{'server'} or C{'client'}.
    @ivar group: as in L{Hello}.
    @ivar labels: as in L{Hello}.
    @ivar seen: when it had said something last, as far as that is kept: it is written when the node is first
        seen, when one of the others changes, and when its link is lost.
    """

    name: str
    role: str
    group: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    seen: float = 0.0


class Kept(StrEnum):
    """
    What a store has more and more of, unless it is removed some time.
    """

    ORDERS = "orders"
    ROLLINGS = "rollings"
    AUDIT = "audit"


@dataclass(frozen=True, slots=True)
class Pruned:
    """
    What one step of L{sipgrace.controller.seams.IFleetStore.prune} has come to.

    @ivar removed: how many records were removed.
    @ivar left: the ids of the rolling maintenances of that age that have not ended, and stay.
    @ivar after: where the next step goes on; empty where nothing is left to look at.
    """

    removed: int
    left: Sequence[str] = ()
    after: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """
    Something has changed, as told to those who watch the fleet (server-sent events, rolling
    maintenance, alerts).

    @ivar number: counts notices from 1, without gaps, within one run of the controller.
    @ivar kind: C{'node'} (a node's view changed), C{'event'} (something happened to a node),
        C{'order'}, C{'rolling'}, C{'schedule'}, C{'report'}, C{'alert'}.
    @ivar node: which node; empty where none is meant.
    @ivar facts: the view, the event, the record: fit for JSON.
    """

    number: int
    kind: str
    node: str
    facts: Mapping[str, Any]
