"""
The record of a drain: what was there when it began, what became of it, and when.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from sipgrace.lifecycle.afterdrain import Done
from sipgrace.lifecycle.audit import stamp
from sipgrace.lifecycle.estimate import Estimate
from sipgrace.lifecycle.events import Change, Event
from sipgrace.lifecycle.orders import Order
from sipgrace.lifecycle.timeline import Course, Timeline

_NOTHING = Course()


class CountingLedger(Protocol):
    """
    A ledger that counts; see L{sipgrace.lifecycle.ledger.Ledger}.
    """

    accepted: int
    settled: int
    failed: int


class CountingGate(Protocol):
    """
    A gate that counts; see L{sipgrace.lifecycle.gate.Gate}.
    """

    refused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainReport:
    """
    One drain, as far as it has come. All times are seconds; those that end in C{After} count from
    C{startedAt} and are C{None} until it has happened.

    @ivar server: the server's name.
    @ivar orders: what was ordered, in that order: the drain, and what joined, extended or cancelled it.
    @ivar startedAt: when it began, in seconds of the clock.
    @ivar guard: from the full stop to the expiry of the guard, as it was set last; 0 for a server that was
        taken offline at once.
    @ivar retryAfter: for how long clients were asked to stay away, from the full stop, without the spread.
    @ivar waiting: accepted INVITEs that were not settled when it began.
    @ivar associations: associations that were up then.
    @ivar accepted: what was accepted all the same, because it may pass a drain.
    @ivar refused: new INVITEs that were refused.
    @ivar settled: what was settled in its own time.
    @ivar forced: what got its final answer by force.
    @ivar failed: what could not be given one; anything but 0 is a fault in this program.
    @ivar aborted: associations that had not shut down by the guard (or were taken offline at once).
    @ivar stoppedAfter: when all new INVITEs were refused: at once, unless it began gradually.
    @ivar drainedAfter: when nothing accepted was left.
    @ivar associationsGoneAfter: when no association was left.
    @ivar cancelledAfter: when the drain was taken back.
    @ivar backAfter: when the server served again.
    @ivar lastInviteAfter: when the latest new INVITE came from a client that did not know, counted from the
        full stop; C{None} where none has.
    @ivar startedWall: when it began, in seconds since the epoch.
    @ivar estimate: the guard as it was estimated at the full stop, to be held against L{needed}.
    @ivar estimatedFrom: what that estimate was made from, see L{Estimate}; empty where there is none.
    @ivar course: how it went on.
    @ivar marks: what happened, and when.
    @ivar maintenance: what became of the command that was run afterwards; C{None} where none was.
    """

    server: str
    orders: tuple[Order, ...]
    startedAt: float
    guard: float
    retryAfter: float
    waiting: int
    associations: int
    accepted: int = 0
    refused: int = 0
    settled: int = 0
    forced: int = 0
    failed: int = 0
    aborted: int = 0
    stoppedAfter: float | None = None
    drainedAfter: float | None = None
    associationsGoneAfter: float | None = None
    cancelledAfter: float | None = None
    backAfter: float | None = None
    lastInviteAfter: float | None = None
    startedWall: float = 0.0
    estimate: float | None = None
    estimatedFrom: str = ""
    course: Course = _NOTHING
    marks: tuple[tuple[float, str], ...] = ()
    maintenance: Done | None = None

    @property
    def needed(self) -> float | None:
        """
        How long it took from the full stop until nothing accepted was left.
        """
        return None if self.drainedAfter is None else self.drainedAfter - (self.stoppedAfter or 0.0)

    @property
    def cutOff(self) -> bool:
        """
        Whether the drain was cut off at L{needed}: what was left then was ended by force. How long it would
        have needed is not known.
        """
        return self.drainedAfter is not None and self.forced + self.failed > 0

    def toJSON(self) -> dict[str, object]:
        """
        @return: the same for C{json.dumps}: names with underscores, times with C{_s} (seconds, to the
            millisecond), each order a dict.
        """
        return {
            "server": self.server,
            "orders": [order.facts() for order in self.orders],
            "started": stamp(self.startedWall),
            "started_at": round(self.startedAt, 3),
            "guard_s": round(self.guard, 3),
            "guard_estimate_s": _rounded(self.estimate),
            "guard_estimated_from": self.estimatedFrom or None,
            "retry_after_s": round(self.retryAfter, 3),
            "waiting": self.waiting,
            "associations": self.associations,
            "accepted": self.accepted,
            "refused": self.refused,
            "settled": self.settled,
            "forced": self.forced,
            "failed": self.failed,
            "aborted": self.aborted,
            "stopped_after_s": _rounded(self.stoppedAfter),
            "drained_after_s": _rounded(self.drainedAfter),
            "cut_off": self.cutOff,
            "associations_gone_after_s": _rounded(self.associationsGoneAfter),
            "cancelled_after_s": _rounded(self.cancelledAfter),
            "back_after_s": _rounded(self.backAfter),
            "last_invite_after_s": _rounded(self.lastInviteAfter),
            "marks": [[round(after, 3), name] for after, name in self.marks],
            "timeline": self.course.toJSON(),
            "maintenance": None if self.maintenance is None else self.maintenance.toJSON(),
        }


class Reporter:
    """
    An observer that keeps the report of the latest drain, and publishes it when the server is offline,
    when the drain is cancelled, and again when maintenance is done and when the server is back.

    @ivar last: the latest report, of a drain under way too; C{None} before the first.
    """

    def __init__(
        self,
        server: str,
        ledger: CountingLedger,
        gate: CountingGate,
        publish: Callable[[DrainReport], None] | None = None,
        timeline: Timeline | None = None,
        estimate: Callable[[], Estimate] | None = None,
        wallClock: Callable[[], float] = time.time,
    ) -> None:
        """
        @param timeline: watches the course of each drain.
        @param estimate: says how long a drain would need that began now.
        """
        self._timeline = timeline
        self._estimate = estimate
        self._wallClock = wallClock
        self._server = server
        self._ledger = ledger
        self._gate = gate
        self._publish = publish
        self._before = (0, 0, 0, 0)
        self._open = False
        self.last: DrainReport | None = None

    def onChange(self, event: Event) -> None:
        """
        See L{sipgrace.lifecycle.seams.Observer}.
        """
        change = event.change
        if change in (Change.SLOWING, Change.DRAINING, Change.OFFLINE) and not self._open:
            self._begin(event)
        report = self.last
        if report is None or change is Change.REFUSED:
            return
        after = event.at - report.startedAt
        if self._open:
            report = self._counted(report, event)
        if change in (Change.JOINED, Change.EXTENDED, Change.CANCELLED) and event.order is not None:
            report = replace(report, orders=(*report.orders, event.order))
        if change is Change.DRAINING:
            # One that began gradually may have got another order since.
            if event.order is not None and event.order not in report.orders:
                report = replace(report, orders=(*report.orders, event.order))
            seconds, basis = self._estimated()
            report = replace(report, stoppedAfter=after, estimate=seconds, estimatedFrom=basis)
        if change is Change.DRAINED:
            report = replace(report, drainedAfter=after)
        elif change in (Change.OFFLINE, Change.GONE):
            if report.drainedAfter is None:
                report = replace(report, drainedAfter=after)
            if not event.associations and report.associationsGoneAfter is None:
                report = replace(report, associationsGoneAfter=after)
        elif change is Change.CANCELLED:
            report = replace(report, cancelledAfter=after, backAfter=after)
        elif change is Change.SERVING:
            report = replace(report, backAfter=after)
        changed = report != self.last
        if changed or self._open:
            report = replace(report, marks=(*report.marks, (after, str(change))))
        if self._timeline is not None and self._open:
            self._timeline.look()
            report = replace(report, course=self._timeline.course())
        if change in (Change.OFFLINE, Change.CANCELLED):
            self._open = False
            if self._timeline is not None:
                self._timeline.end()
        self.last = report
        if changed and change in (Change.OFFLINE, Change.GONE, Change.CANCELLED, Change.SERVING):
            self._tell(report)

    def maintained(self, done: Done) -> None:
        """
        The command that was to be run after the drain is done.
        """
        if self.last is not None:
            self.last = replace(self.last, maintenance=done)
            self._tell(self.last)

    def _tell(self, report: DrainReport) -> None:
        if self._publish is not None:
            self._publish(report)

    def _begin(self, event: Event) -> None:
        self._open = True
        if self._timeline is not None:
            self._timeline.begin()
        # What was forced in the event that begins the record (taken offline at once) was settled before it.
        forced = event.forced
        self._before = (
            self._ledger.accepted,
            self._ledger.settled - forced,
            self._ledger.failed,
            self._gate.refused,
        )
        seconds, basis = self._estimated()
        self.last = DrainReport(
            server=self._server,
            orders=() if event.order is None else (event.order,),
            startedAt=event.at,
            guard=0.0,
            retryAfter=0.0,
            waiting=event.waiting + forced,
            associations=max(event.associations, event.aborted),
            startedWall=self._wallClock(),
            estimate=seconds,
            estimatedFrom=basis,
        )

    def _estimated(self) -> tuple[float | None, str]:
        if self._estimate is None:
            return None, ""
        estimate = self._estimate()
        return estimate.seconds, estimate.basis

    def _counted(self, report: DrainReport, event: Event) -> DrainReport:
        accepted, settled, failed, refused = self._before
        stoppedAt = report.startedAt + (report.stoppedAfter or 0.0)
        if event.change is Change.DRAINING:
            stoppedAt = event.at
        forced = report.forced + event.forced
        return replace(
            report,
            guard=report.guard if event.deadline is None else event.deadline - stoppedAt,
            retryAfter=report.retryAfter if event.until is None else event.until - stoppedAt,
            accepted=self._ledger.accepted - accepted,
            settled=self._ledger.settled - settled - forced,
            failed=self._ledger.failed - failed,
            refused=self._gate.refused - refused,
            forced=forced,
            aborted=report.aborted + event.aborted,
            lastInviteAfter=report.lastInviteAfter if event.lastInvite is None else event.lastInvite,
        )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
