"""
What stands around an element's lifecycle, as configured: the door for orders with its audit log, estimates
and rehearsals, reports, and what follows a drain.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall

from sipgrace.config.orders import OrdersSection
from sipgrace.config.report import ReportSection
from sipgrace.config.selfdrain import OverloadSection, WindowSection
from sipgrace.config.server import Drain
from sipgrace.errors import ConfigError
from sipgrace.lifecycle.afterdrain import AfterDrain, Done
from sipgrace.lifecycle.aside import Aside
from sipgrace.lifecycle.audit import AuditLog
from sipgrace.lifecycle.authorization import Authority, Giver, Key, Role, Source, Verify
from sipgrace.lifecycle.comeback import Comeback
from sipgrace.lifecycle.door import Door
from sipgrace.lifecycle.estimate import Estimate, SetupTimes
from sipgrace.lifecycle.gate import Gate
from sipgrace.lifecycle.ledger import Ledger
from sipgrace.lifecycle.machine import Lifecycle
from sipgrace.lifecycle.nonces import Nonces
from sipgrace.lifecycle.orders import Kind
from sipgrace.lifecycle.overload import Overload, Thresholds
from sipgrace.lifecycle.pulse import Pace, Pulse
from sipgrace.lifecycle.rehearsal import Rehearsals
from sipgrace.lifecycle.report import DrainReport, Reporter
from sipgrace.lifecycle.reportfiles import ReportFiles
from sipgrace.lifecycle.schedule import Schedule, Window, localZone
from sipgrace.lifecycle.timeline import Timeline

__all__ = ["Oversight"]

#: So often what was observed of set-up times loses half its weight, in seconds.
_AGING: Final = 300.0

#: So long the end of a process waits for the disk, in seconds.
_PATIENCE: Final = 2.0


class Oversight:
    """
    All of it, for one element.

    @ivar door: where orders are given.
    @ivar beside: where what waits for a disk is done.
    @ivar pulse: the beat for what is looked at time and again.
    @ivar rehearsals: what is asked to rehearse a drain.
    @ivar timeline: what watches a drain's course; a role may put further counters in.
    @ivar reporter: keeps the report of the latest drain.
    @ivar after: does what follows a drain.
    @ivar reportReaders: are given each report of a drain, and again when there is more to tell of it.
    """

    def __init__(
        self,
        reactor: Any,
        name: str,
        lifecycle: Lifecycle,
        ledger: Ledger,
        gate: Gate,
        times: SetupTimes,
        drain: Drain,
        orders: OrdersSection | None = None,
        report: ReportSection | None = None,
    ) -> None:
        self._clock = reactor
        self._lifecycle = lifecycle
        self._ledger = ledger
        self._times = times
        self._drain = drain
        self._orders = OrdersSection() if orders is None else orders
        self._margin = drain.marginOf(drain.usualGuard)
        self.beside = Aside(reactor)
        self._nonces = Nonces(self._orders.noncesPath)
        self.door = self._makeDoor(name)
        self._aging = LoopingCall(times.age)
        self._aging.clock = reactor
        self.pulse = Pulse(reactor)
        pace = Pace(reactor, lambda: ledger.accepted)
        self.timeline = Timeline(
            reactor,
            ledger.__len__,
            {
                "accepted": lambda: ledger.accepted,
                # In their own time, as in the table beside it.
                "settled": lambda: ledger.settled - ledger.forced,
                "forced": lambda: ledger.forced,
                "refused": lambda: gate.refused,
            },
        )
        self.pulse.listeners += [pace, self.timeline]
        self.rehearsals = Rehearsals(
            reactor,
            lifecycle,
            ledger,
            times,
            self.estimate,
            self._margin,
            drain.spread,
            pace.perSecond,
            # Without the command: whoever may only look on may ask for a rehearsal.
            {"over": drain.over, "then": drain.then.partition(" ")[0], "announce": drain.announce},
        )
        self.door.kinds[Kind.REHEARSE] = self.rehearsals.rehearse
        self.after = AfterDrain(reactor, name, drain.then.partition(" ")[0], drain.command, drain.thenLimit)
        self.after.done = self._maintained
        self.door.checks.append(self.after.check)
        self._files = None if report is None else ReportFiles(report.dir, self.beside, report.keep)
        self.reporter = Reporter(name, ledger, gate, self._publish, self.timeline, self.estimate)
        self._overload: Overload | None = None
        self._schedule: Schedule | None = None
        self._comebacks: dict[str, Comeback] = {}
        # What became of the latest command, in words and at length.
        self._maintenance: str | None = None
        self._last: dict[str, Any] | None = None
        self.reportReaders: list[Callable[[DrainReport], None]] = []
        # The report first, for it is about what the others then do.
        lifecycle.observe(self.reporter)
        lifecycle.observe(self.after)

    def _makeDoor(self, name: str) -> Door:
        orders = self._orders
        authority = Authority(
            name,
            [Key(key.name, Role(key.role), key.public) for key in orders.keys],
            self._nonces,
            Verify(orders.verify),
            orders.signedLocally,
            orders.skew,
            orders.longest,
        )
        audit = None if orders.audit is None else AuditLog(orders.audit, self.beside)
        return Door(name, self._clock, self._lifecycle, authority, audit, self.beside)

    def drainItself(
        self,
        overload: OverloadSection | None,
        schedule: Sequence[WindowSection],
        processTime: Callable[[], float] = time.process_time,
        lag: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """
        Has the server begin drains by itself. Once, before L{start}.

        @param processTime: the processor time that was used, in seconds.
        @param lag: by how many seconds others that belong to the server were late.
        """
        if overload is not None:
            self._overload = Overload(
                self._clock,
                self.door,
                self._ledger.setups,
                Thresholds(
                    ledger=overload.ledger, lag=overload.lag, cpu=overload.cpu, period=overload.period
                ),
                self._comeback("overload"),
                overload.guard,
                overload.retryAfter,
                processTime,
            )
            watching = self._overload
            self.pulse.listeners.append(lambda here: watching(max(here, lag())))
        if schedule:
            windows = [_window(section) for section in schedule]
            self._schedule = Schedule(self._clock, self.door, windows, self._comeback("schedule"))

    def _comeback(self, name: str) -> Comeback:
        comeback = Comeback(
            self._clock, self.door, Giver(Source.SELF, name), lambda: self.after.running
        )
        self._comebacks[name] = comeback
        return comeback

    def start(self) -> None:
        """
        Looks whether the files can be used, before anything is served, and begins to watch.

        @raise ConfigError: when one cannot.
        """
        path = self._orders.audit
        if path is not None:
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600))
            except OSError as error:
                raise ConfigError(f"orders.audit: cannot write {path}: {error.strerror}") from None
        if self._files is not None:
            self._files.check()
        self._nonces.load(time.time())
        self._aging.start(_AGING, now=False)
        self.pulse.start()
        if self._schedule is not None:
            self._schedule.start()

    def stop(self) -> Deferred[Any]:
        """
        Ends what would keep a reactor busy.

        @return: fires when all that is to be written has been, or the disk takes too long for it.
        """
        if self._aging.running:
            self._aging.stop()
        self.pulse.stop()
        if self._schedule is not None:
            self._schedule.stop()
        for comeback in self._comebacks.values():
            comeback.forget()
        self.rehearsals.stop()
        self.after.stop()
        if not self.beside.waiting:
            return succeed(None)
        return self.beside.whenIdle().addTimeout(_PATIENCE, self._clock).addErrback(lambda failure: None)

    def estimate(self) -> Estimate:
        """
        The guard that a drain would need now. How long people talk is not known.
        """
        if self._ledger.calls:
            return Estimate(self._drain.guardCeiling, "calls going on", len(self._ledger))
        return self._times.guard(
            self._ledger.ages(self._clock.seconds()),
            # What rings is taken back one and a half margins before the guard.
            1.5 * self._margin,
            self._drain.guardFloor,
            self._drain.guardCeiling,
        )

    def status(self) -> dict[str, Any]:
        """
        How things stand, for display; everything in it fits JSON.
        """
        return {
            "guardEstimate": asdict(self.estimate()),
            "setupTimes": self._times.status(),
            "maintenance": "running" if self.after.running else self._maintenance,
            "maintained": self._last,
            "overload": None if self._overload is None else self._overload.status(),
            "schedule": [] if self._schedule is None else self._schedule.status(),
            "backIn": self._backIn(),
        }

    def _backIn(self) -> float | None:
        times = [comeback.at for comeback in self._comebacks.values() if comeback.at is not None]
        return max(0.0, min(times) - self._clock.seconds()) if times else None

    def _publish(self, report: DrainReport) -> None:
        if self._files is not None:
            self._files.publish(report)
        for reader in self.reportReaders:
            reader(report)

    def _maintained(self, done: Done) -> None:
        self.reporter.maintained(done)
        report = self.reporter.last
        facts = done.toJSON()
        # That is in the report.
        del facts["output"]
        if report is not None and report.orders:
            self.door.remark(report.orders[-1], "maintained", facts)
        self._maintenance = done.outcome()
        self._last = {"number": self._lifecycle.number + 1, **facts}
        self._lifecycle.maintained(done.outcome())


def _window(section: WindowSection) -> Window:
    values = {
        "guard": section.guard,
        "retryAfter": section.retryAfter,
        "over": section.over,
        "then": section.then,
    }
    return Window(
        name=section.name,
        at=section.at,
        cron=section.cron or "",
        zone=localZone() if section.timezone is None else section.timezone,
        why=section.why or "",
        lasts=section.lasts,
        values={key: value for key, value in values.items() if value is not None},
    )
