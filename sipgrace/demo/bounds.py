"""
What a run is held to.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from sipgrace.demo.book import Book, percentiles
from sipgrace.demo.drains import Drain
from sipgrace.demo.plan import GATEWAY, Plan

__all__ = ["Figure", "figuresOf"]

#: What L{figuresOf} holds the figures against: milliseconds, all of them.
INVITE: Final = 100.0
GROWTH: Final = 20.0
IDLE: Final = 200.0
SETTLED: Final = 100.0
AGAIN: Final = 1000.0


@dataclass(frozen=True, slots=True)
class Figure:
    """
    One bound, and how far a run has kept it.

    @ivar name: the same in every release.
    @ivar what: the same in a few words.
    @ivar bound: the most that C{measured} may be; the least where C{atLeast}.
    @ivar unit: of both.
    @ivar measured: the worst case of the run; C{None} where what is bounded did not occur at all.
    @ivar missing: whether that it did not occur is a failure.
    """

    name: str
    what: str
    bound: float
    unit: str
    measured: float | None
    atLeast: bool = False
    missing: bool = True

    @property
    def met(self) -> bool:
        """
        Whether the bound was kept.
        """
        if self.measured is None:
            return not self.missing
        return self.measured >= self.bound if self.atLeast else self.measured <= self.bound

    def toJSON(self) -> dict[str, Any]:
        """
        @return: for C{json.dumps}.
        """
        facts = asdict(self)
        del facts["missing"]
        least = facts.pop("atLeast")
        return {**facts, "at_least": least, "met": self.met}


def figuresOf(
    plan: Plan, book: Book, drains: Sequence[Drain], rerouted: Collection[bytes]
) -> Iterator[Figure]:
    """
    @param rerouted: the Call-IDs of calls that some client had to try at another server.
    @return: those that this kind of run has. Where the controller drains as it sees fit there are none: what
        that is judged by is in L{sipgrace.demo.rolling.Course}.
    """
    if not drains or plan.rolling:
        return
    if plan.calls and plan.announce != "in-answer":
        latest = [drain.lastInvite for drain in drains]
        yield Figure(
            "invite_after_announcement_ms",
            "latest INVITE after the announcement",
            INVITE,
            "ms",
            _worst(latest),
            missing=False,
        )
    told = plan.announce == "in-answer" and not plan.atOnce
    if told and rerouted and not any(drain.forced for drain in drains):
        others = book.calls.keys() - set(rerouted)
        mine, theirs = (percentiles(book.setUpTimes(among))["p99"] for among in (rerouted, others))
        yield Figure(
            "rerouted_p99_growth_ms",
            "rerouted calls: p99 beyond the others'",
            GROWTH,
            "ms",
            None if mine is None or theirs is None else round(mine - theirs, 1),
            missing=False,
        )
    if plan.cancelAfter is not None:
        yield Figure(
            "used_again_ms",
            "cancelled: until all clients use it again",
            AGAIN,
            "ms",
            _worst([drain.usedAgainAfter for drain in drains], every=True),
        )
        return
    idle = [drain.offlineAfter for drain in drains if not drain.waiting]
    if idle:
        yield Figure(
            "idle_offline_ms",
            "idle: from the order to offline",
            IDLE,
            "ms",
            _worst(idle, every=True),
        )
    busy = [drain.sinceSettled for drain in drains if drain.waiting]
    if busy:
        yield Figure(
            "settled_offline_ms",
            "busy: from the last settled INVITE to offline",
            SETTLED,
            "ms",
            _worst(busy, every=True),
        )
    if plan.atOnce and plan.calls:
        yield Figure(
            "tdm_calls",
            "calls by the TDM route",
            1,
            "calls",
            sum(call.way == GATEWAY.name for call in book.calls.values()),
            atLeast=True,
        )


def _worst(seconds: Sequence[float | None], every: bool = False) -> float | None:
    """
    @param every: whether it must be known of each.
    @return: the largest, in milliseconds.
    """
    known = [each for each in seconds if each is not None]
    if not known or (every and len(known) < len(seconds)):
        return None
    return round(max(known) * 1000, 1)
