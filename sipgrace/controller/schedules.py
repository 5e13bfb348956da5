"""
What is to be ordered later, once or time and again: orders and rolling maintenances.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from sipgrace.controller.facts import Person, ScheduleRecord
from sipgrace.controller.fleet import Fleet
from sipgrace.controller.seams import IFleetStore
from sipgrace.controller.wanted import allow, read
from sipgrace.errors import Malformed, OrderRefused, SIPGraceError, StoreError, Unknown
from sipgrace.lifecycle.audit import stamp
from sipgrace.lifecycle.authorization import Role
from sipgrace.lifecycle.orderform import newNonce

__all__ = ["CONFIGURED", "Schedules", "nextOf"]

#: The clock on the wall may be set; it is looked at again at least so often, in seconds.
LOOK: Final = 30.0

#: What was due more than so many seconds ago is left out: the controller was not there, or stood still.
LATE: Final = 300.0

#: For so many seconds after the start nodes may not have linked up yet: what is due waits for them.
PATIENCE: Final = 60.0

#: What the store could not do is tried again after so many seconds.
AGAIN: Final = 5.0

#: What the ids of schedules begin with that stand in the configuration.
CONFIGURED: Final = "window-"

_SCHEDULE: Final[Mapping[str, Any]] = {
    "what": str,
    "values": Mapping,
    "at": float,
    "cron": str,
    "zone": str,
}


class Doing(Protocol):
    """
    What is done when it is time, and looked at before it is kept.
    """

    def check(self, what: str, values: Mapping[str, Any], person: Person) -> None:
        """
        @raise OrderRefused: where it cannot be meant, or the person may not do it.
        """

    def isThere(self, node: str) -> bool:
        """
        Whether a node can be given an order.
        """

    def do(self, what: str, values: Mapping[str, Any], person: Person, id: str) -> Deferred[object]:
        """
        Does it, unless what has that id is there already.
        """


def nextOf(record: ScheduleRecord, after: float) -> float | None:
    """
    @return: when it is due next after that; C{None} for never.
    """
    if not record.cron:
        return record.at if record.at is not None and record.at > after else None
    # What falls into the hour that summer time leaves out begins right after it, as with Debian's cron.
    try:
        found: datetime = next(CronSim(record.cron, datetime.fromtimestamp(after, ZoneInfo(record.zone))))
    except StopIteration:
        return None
    return found.timestamp()


class Schedules:
    """
    Those of one controller.
    """

    _log = Logger()

    def __init__(
        self,
        name: str,
        clock: IReactorTime,
        fleet: Fleet,
        store: IFleetStore,
        doing: Doing,
        audit: Callable[..., Deferred[None]],
        wallClock: Callable[[], float],
    ) -> None:
        self._name = name
        self._clock = clock
        self._fleet = fleet
        self._store = store
        self._doing = doing
        self._audit = audit
        self._wallClock = wallClock
        self._mine: dict[str, ScheduleRecord] = {}
        self._call: IDelayedCall | None = None
        self._looking = False
        self._stopped = False
        self._patient = 0.0

    async def start(self, windows: Sequence[ScheduleRecord] = ()) -> None:
        """
        Begins to wait. What was due meanwhile is done, if that is not long ago.

        @param windows: those that the configuration has; they stand in place of those that it had before.
        @raise OrderRefused: where one cannot be meant.
        """
        self._patient = self._clock.seconds() + PATIENCE
        for record in await self._store.schedules():
            if record.by in (self._name, ""):
                self._mine[record.id] = record
        configured = {record.id for record in windows}
        for id in [id for id in self._mine if id.startswith(CONFIGURED) and id not in configured]:
            await self._store.removeSchedule(id)
            del self._mine[id]
        for record in windows:
            self._doing.check(record.what, record.values, Person(record.who, Role(record.role)))
            before = self._mine.get(record.id)
            if before is None or replace(before, next=None) != record:
                begun = replace(record, next=nextOf(record, self._wallClock()))
                await self._store.putSchedule(begun)
                self._mine[record.id] = begun
        self._wait()

    def stop(self) -> None:
        """
        Waits no more.
        """
        self._stopped = True
        if self._call is not None and self._call.active():
            self._call.cancel()

    # ------------------------------------------------------------------ what people ask for

    async def add(self, values: Mapping[str, Any], person: Person) -> ScheduleRecord:
        """
        See L{sipgrace.controller.seams.IController.schedule}.
        """
        found = read(values, _SCHEDULE, "the schedule")
        what = found.get("what", "")
        if what not in ("order", "rolling"):
            raise Malformed("the schedule: what is none of order, rolling")
        wanted = dict(found.get("values", {}))
        if "at" in wanted:
            raise Malformed("the schedule: its time stands beside its values, not in them")
        self._doing.check(what, wanted, person)
        # A mistake in a name is better found now than in the night.
        for name in [wanted["node"]] if what == "order" else wanted.get("servers", ()):
            self._fleet.member(name)
        now = self._wallClock()
        record = ScheduleRecord(
            id=newNonce(),
            what=what,
            values=wanted,
            who=person.name,
            role=str(person.role),
            at=found.get("at"),
            cron=found.get("cron", ""),
            zone=found.get("zone", "UTC"),
            by=self._name,
        )
        record = replace(record, next=self._checked(record, now))
        await self._audit("schedule", who=person.name, id=record.id, schedule=asdict(record))
        await self._store.putSchedule(record)
        self._mine[record.id] = record
        self._publish(record)
        self._wait()
        return record

    def _checked(self, record: ScheduleRecord, now: float) -> float:
        if (record.at is None) == (not record.cron):
            raise Malformed("the schedule: at, or cron, is expected, and not both")
        try:
            ZoneInfo(record.zone)
        except (KeyError, OSError, ValueError):
            raise Malformed(f"the schedule: the time zone {record.zone[:50]!r} is not known") from None
        try:
            due = nextOf(record, now)
        except CronSimError as error:
            raise Malformed(f"the schedule: cron: {error}") from None
        except (OverflowError, ValueError, OSError):
            due = None
        if due is None:
            raise Malformed("the schedule: it would never come to pass")
        return due

    async def remove(self, id: str, person: Person) -> None:
        """
        See L{sipgrace.controller.seams.IController.unschedule}.
        """
        allow(person, Role.OPERATOR, "to take a schedule back")
        if id.startswith(CONFIGURED):
            raise OrderRefused("it stands in the configuration of its controller, under [[windows]]")
        for record in await self._store.schedules():
            if record.id == id:
                break
        else:
            raise Unknown(f"{id[:100]!r} is no schedule")
        if record.by not in (self._name, ""):
            raise OrderRefused(f"it is seen to by {record.by}; take it back there")
        allow(person, Role(record.role), "to take this schedule back")
        await self._audit("unscheduled", who=person.name, id=id)
        # Before anything is waited for: if it became due meanwhile, it would be kept again.
        mine = self._mine.pop(id, None)
        try:
            await self._store.removeSchedule(id)
        except StoreError:
            if mine is not None:
                self._mine[id] = mine
                self._wait()
            raise
        self._fleet.publish("schedule", "", {"id": id, "removed": True})

    async def prune(self, before: float) -> None:
        """
        Forgets those for once whose time was before that.
        """
        for record in list(self._mine.values()):
            over = record.next is None and record.at is not None and record.at < before
            if over and not self._stopped and record.id in self._mine:
                await self._store.removeSchedule(record.id)
                self._mine.pop(record.id, None)
                self._fleet.publish("schedule", "", {"id": record.id, "removed": True})

    def _publish(self, record: ScheduleRecord, error: str = "") -> None:
        """
        @param error: why what was due was not done.
        """
        facts = asdict(record)
        self._fleet.publish("schedule", "", facts | {"error": error} if error else facts)

    # ------------------------------------------------------------------ time

    def _wait(self, late: float = 0.0) -> None:
        """
        @param late: seconds until the next look at what is due already.
        """
        if self._call is not None and self._call.active():
            self._call.cancel()
        dues = [record.next for record in self._mine.values() if record.next is not None]
        if dues and not self._stopped and not self._looking:
            left = min(dues) - self._wallClock()
            self._call = self._clock.callLater(min(LOOK, left + 0.001 if left > 0 else late), self._look)

    def _look(self) -> None:
        self._looking = True

        def looked(failure: Failure | None) -> None:
            self._looking = False
            if failure is not None:
                self._log.error("schedules wait: {why}", why=failure.getErrorMessage())
            self._wait(AGAIN)

        Deferred.fromCoroutine(self._doDue()).addBoth(looked)

    async def _doDue(self) -> None:
        now = self._wallClock()
        for record in list(self._mine.values()):
            due = record.next
            if due is not None and due <= now and record.id in self._mine and self._isReady(record):
                await self._due(record, due, now)

    def _isReady(self, record: ScheduleRecord) -> bool:
        if self._clock.seconds() >= self._patient:
            return True
        return record.what == "order" and self._doing.isThere(str(record.values.get("node", "")))

    async def _due(self, record: ScheduleRecord, due: float, now: float) -> None:
        # With an id that follows from schedule and time it is done once, whenever this controller ends and
        # begins again.
        error = ""
        id = hashlib.sha256(f"{record.id} {due!r}".encode()).hexdigest()[:32]
        if now - due > LATE:
            why = f"what was due at {stamp(due)} is left out: that is {now - due:.0f} s ago"
            self._log.warn("the schedule {id}: {why}", id=record.id, why=why)
            await self._audit("missed", id=record.id, reason=why)
            error = why
        else:
            person = Person(record.who, Role(record.role))
            try:
                await self._doing.do(record.what, record.values, person, id)
            except StoreError:
                raise
            except SIPGraceError as refusal:
                error = str(refusal)
                self._log.error("the schedule {id}: {why}", id=record.id, why=error)
                await self._audit("refused", who=record.who, which=f"schedule {record.id}", reason=error)
        if record.id in self._mine:
            changed = replace(record, next=nextOf(record, now))
            await self._store.putSchedule(changed)
            if record.id in self._mine:
                self._mine[record.id] = changed
                self._publish(changed, error)
