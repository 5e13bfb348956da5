"""
The controller: what people and peers ask for goes through here, is held against their role, and written into
the audit log, whether it is done or not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from sipgrace.control.remote import Unreachable
from sipgrace.controller.alerts import Alerts
from sipgrace.controller.announcing import Announcing
from sipgrace.controller.auditing import Auditing, increasing
from sipgrace.controller.budget import Budget
from sipgrace.controller.casebook import Casebook
from sipgrace.controller.claims import Claims
from sipgrace.controller.desk import Desk
from sipgrace.controller.facts import OrderRecord, Person, RollingRecord, ScheduleRecord
from sipgrace.controller.fleet import Fleet
from sipgrace.controller.records import misdated, storable
from sipgrace.controller.retention import FOR_EVER, Keep, Retention
from sipgrace.controller.rollings import Rollings
from sipgrace.controller.roster import Roster
from sipgrace.controller.schedules import Schedules
from sipgrace.controller.seams import IController, IFleetStore
from sipgrace.controller.wanted import allow, readOrder
from sipgrace.errors import NotAllowed, OrderRefused, SIPGraceError, Unknown
from sipgrace.lifecycle.authorization import Role
from sipgrace.lifecycle.orderform import SignedOrder, newNonce
from sipgrace.lifecycle.orders import Order

__all__ = ["Controller"]

T = TypeVar("T")

#: The most that is given of orders, audit records or reports at once.
MOST: Final = 1000


class Passing(Protocol):
    """
    The way to other controllers.
    """

    def order(self, values: Mapping[str, Any], person: Person) -> Deferred[OrderRecord]:
        """
        Passes an order on to whose node it is for.
        """

    def withdraw(self, record: OrderRecord, person: Person) -> Deferred[OrderRecord]:
        """
        Withdraws one that was passed on.
        """

    def statusOf(self, node: str) -> Deferred[dict[str, Any]]:
        """
        Asks how things stand at one of their nodes.
        """

    def announce(self, values: Mapping[str, Any], person: Person) -> Deferred[list[str]]:
        """
        Has all other controllers that can be reached tell their clients of a server: C{server}, C{why}, and
        unless it is available again, C{retryAfter} and C{back}.

        @return: fires with the names of those who were told.
        """


@implementer(IController)
class Controller:
    """
    See L{IController}.

    @ivar name: its own name.
    @ivar fleet: the nodes.
    @ivar passing: passes on what is for nodes of other controllers; C{None} where there are none.
    @ivar windows: schedules that stand in the configuration; see L{Schedules.start}.
    @ivar alerts: what is amiss; further C{hooks} may be added to it.
    """

    _log = Logger()

    def __init__(
        self,
        name: str,
        clock: IReactorTime,
        fleet: Fleet,
        store: IFleetStore,
        sign: Callable[[Order], SignedOrder],
        budgets: Iterable[Budget] = (),
        wallClock: Callable[[], float] = time.time,
        warmUp: float = 5.0,
        alertAfter: float = 0.0,
        keep: Keep = FOR_EVER,
    ) -> None:
        """
        @param store: is started and stopped with the controller.
        @param sign: signs an order with the controller's key: C{lambda order: sign(order, name, key)}.
        @param budgets: of those groups that have one.
        @param warmUp: for so many seconds after its start no server of a group with a limit of servers that
            are away is taken out of service: those that are may not have linked up yet.
        @param alertAfter: seconds for which a server must be overdue before that is an alert.
        @param keep: for how long things are kept; by default for ever.
        """
        self.name = name
        self.fleet = fleet
        self._clock = clock
        self._store = store
        self._wallClock = increasing(wallClock)
        self._auditing = Auditing(name, clock, store, self._wallClock)
        self._claims = Claims(name, clock, fleet, store, {one.group: one for one in budgets}, warmUp)
        self._book = Casebook(name, clock, fleet, store, self._auditing, self._wallClock)
        self._desk = Desk(
            name, clock, fleet, store, self._book, sign, self._claims, self._auditing, self._wallClock
        )
        self._announcing = Announcing(fleet, self._auditing, self._wallClock)
        self._roster = Roster(clock, fleet, store)
        self._rollings = Rollings(
            name, clock, fleet, store, self._desk, self._book, self._auditing, self._wallClock
        )
        self._schedules = Schedules(name, clock, fleet, store, self, self._auditing, self._wallClock)
        self._retention = Retention(
            clock, store, self._auditing, self._schedules.prune, self._wallClock, keep
        )
        self.passing: Passing | None = None
        self.windows: Sequence[ScheduleRecord] = ()
        self.alerts = Alerts(name, clock, fleet, self._wallClock, alertAfter)

    # ------------------------------------------------------------------ starting and stopping

    def start(self) -> Deferred[None]:
        """
        Opens the store, and takes up what was under way. To be waited for before nodes may link up.

        @return: fails with L{sipgrace.errors.StoreError}.
        """
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        await self._store.start()
        await self._roster.start()
        await self._claims.start()
        self.alerts.start()
        self._announcing.start()
        await self._desk.start()
        await self._rollings.start()
        await self._schedules.start(self.windows)
        self._retention.start()

    def stop(self) -> Deferred[None]:
        """
        Does nothing more; what is under way is taken up at the next start.

        @return: fires when all is stored.
        """
        self._schedules.stop()
        self._rollings.stop()
        self._desk.stop()
        self._announcing.stop()
        self.alerts.stop()
        self._roster.stop()
        self._auditing.stop()
        return self._retention.stop().addCallback(lambda _: self._store.stop())

    # ------------------------------------------------------------------ orders

    def order(self, values: Mapping[str, Any], person: Person) -> Deferred[OrderRecord]:
        """
        See L{IController}.
        """
        return self._asked("order", person, self._order(values, person), values)

    async def _order(self, values: Mapping[str, Any], person: Person, id: str = "") -> OrderRecord:
        if self.passing is None or not self.fleet.ownerOf(str(values.get("node", ""))):
            return await self._desk.order(values, person, id)
        # What cannot be meant, or is not theirs to ask, does not leave this house.
        self.check("order", values, person)
        record = await self.passing.order(values, person)
        self._auditing.note("passed", who=person.name, id=record.id, node=record.node, to=record.by)
        return record

    def withdraw(self, id: str, person: Person) -> Deferred[OrderRecord]:
        """
        See L{IController}.
        """

        async def withdraw() -> OrderRecord:
            allow(person, Role.OPERATOR, "to withdraw an order")
            before = await self.orderOf(id)
            if self.passing is not None and before.by != self.name:
                record = await self.passing.withdraw(before, person)
            else:
                record = await self._desk.withdraw(id, person)
            self._auditing.note("withdrawn", who=person.name, id=id)
            return record

        return self._asked("withdraw", person, withdraw(), {"id": id})

    def orders(
        self, limit: int = 100, before: float | None = None, node: str = ""
    ) -> Deferred[list[OrderRecord]]:
        """
        See L{IController}.
        """
        return self._store.orders(_bounded(limit), before, node)

    def orderOf(self, id: str) -> Deferred[OrderRecord]:
        """
        See L{IController}.
        """
        record = self._book.record(id)
        if record is not None:
            return succeed(record)

        def known(found: OrderRecord | None) -> OrderRecord:
            if found is None:
                raise Unknown(f"{id[:100]!r} is no order")
            return found

        return self._store.order(id).addCallback(known)

    def status(self, node: str) -> Deferred[dict[str, Any]]:
        """
        See L{IController}.
        """
        if not self.fleet.roleOf(node):
            return fail(Unknown(f"{node[:100]!r} is no node of this fleet, or has not linked up yet"))
        if self.passing is not None and self.fleet.ownerOf(node):
            return self.passing.statusOf(node)
        return self.ownStatus(node)

    def ownStatus(self, node: str) -> Deferred[dict[str, Any]]:
        """
        The same of a node that has its link here.
        """
        link = self.fleet.linkOf(node)
        if link is None:
            return fail(Unreachable(f"{node[:100]} has no link to {self.name} now"))
        return link.status()

    # ------------------------------------------------------------------ rolling maintenances

    def rolling(self, values: Mapping[str, Any], person: Person) -> Deferred[RollingRecord]:
        """
        See L{IController}.
        """
        return self._asked("rolling", person, self._rollings.begin(values, person), values)

    def pause(self, id: str, person: Person) -> Deferred[RollingRecord]:
        """
        See L{IController}.
        """
        return self._asked("pause", person, self._rollings.pause(id, person), {"id": id})

    def proceed(self, id: str, person: Person) -> Deferred[RollingRecord]:
        """
        See L{IController}.
        """
        return self._asked("proceed", person, self._rollings.proceed(id, person), {"id": id})

    def stopRolling(self, id: str, person: Person) -> Deferred[RollingRecord]:
        """
        See L{IController}.
        """
        return self._asked("stop", person, self._rollings.end(id, person), {"id": id})

    def rollings(self, limit: int = 100) -> Deferred[list[RollingRecord]]:
        """
        See L{IController}.
        """
        return self._store.rollings(_bounded(limit))

    # ------------------------------------------------------------------ schedules

    def schedule(self, values: Mapping[str, Any], person: Person) -> Deferred[ScheduleRecord]:
        """
        See L{IController}.
        """
        return self._asked("schedule", person, self._schedules.add(values, person), values)

    def unschedule(self, id: str, person: Person) -> Deferred[None]:
        """
        See L{IController}.
        """
        return self._asked("unschedule", person, self._schedules.remove(id, person), {"id": id})

    def schedules(self) -> Deferred[list[ScheduleRecord]]:
        """
        See L{IController}.
        """
        return self._store.schedules()

    def check(self, what: str, values: Mapping[str, Any], person: Person) -> None:
        """
        See L{sipgrace.controller.schedules.Doing}.
        """
        if what == "order":
            readOrder(values, person, self.name, self._wallClock(), newNonce())
        else:
            self._rollings.check(values, person)

    def isThere(self, node: str) -> bool:
        """
        See L{sipgrace.controller.schedules.Doing}.
        """
        return self.fleet.linkOf(node) is not None or bool(self.fleet.ownerOf(node))

    def do(self, what: str, values: Mapping[str, Any], person: Person, id: str) -> Deferred[object]:
        """
        See L{sipgrace.controller.schedules.Doing}.
        """

        async def do() -> None:
            if what == "rolling":
                await self._rollings.begin(values, person, id)
            elif await self._store.order(id) is None:
                await self._order(values, person, id)

        return Deferred.fromCoroutine(do())

    # ------------------------------------------------------------------ announcements

    def announce(
        self,
        server: str,
        retryAfter: float,
        back: float | None,
        why: str,
        person: Person,
        passed: bool = False,
    ) -> Deferred[Sequence[str]]:
        """
        See L{IController}.

        @param passed: whether another controller has passed it on: then it goes no further.
        """
        values = {"server": server, "retryAfter": retryAfter, "back": back, "why": why}
        further = None if passed else self._announceFurther
        return self._asked("announce", person, self._announcing.announce(values, person, further), values)

    def unannounce(
        self, server: str, why: str, person: Person, passed: bool = False
    ) -> Deferred[Sequence[str]]:
        """
        See L{IController}.

        @param passed: as for L{announce}.
        """
        values = {"server": server, "why": why}
        further = None if passed else self._announceFurther
        return self._asked("unannounce", person, self._announcing.unannounce(values, person, further), values)

    def _announceFurther(self, values: Mapping[str, Any], person: Person) -> Deferred[list[str]]:
        """
        Has other controllers tell their clients, too.
        """
        return succeed([]) if self.passing is None else self.passing.announce(values, person)

    # ------------------------------------------------------------------ records

    def audit(self, limit: int = 100, before: float | None = None) -> Deferred[list[dict[str, Any]]]:
        """
        See L{IController}.
        """
        return self._store.audit(_bounded(limit), before)

    def reports(self, node: str = "", limit: int = 20) -> Deferred[list[dict[str, Any]]]:
        """
        See L{IController}.
        """
        return self._store.reports(node, _bounded(limit))

    def report(self, node: str, at: float, facts: Mapping[str, Any]) -> Deferred[None]:
        """
        The report of a finished drain has come.

        @param at: when that drain began.
        @return: fires when it is kept; fails with L{sipgrace.errors.StoreError} where it is not, and is to be
            told again, and with L{NotAllowed} where it is of no time that can be meant.
        """
        why = misdated(at, self._wallClock())
        if why:
            self.noteRefused(node, "report", why)
            return fail(NotAllowed(why))
        if storable(facts) is None:
            # To be told again would not help.
            self._log.warn("a report of {node} cannot be kept, and is left out", node=node)
            return succeed(None)
        kept = self._store.addReport(node, at, facts)
        return kept.addCallback(lambda _: self.fleet.reported(node, at, facts))

    def forget(self, node: str, person: Person) -> Deferred[None]:
        """
        See L{IController}.
        """

        async def forget() -> None:
            allow(person, Role.ADMIN, "to forget a node")
            if self.fleet.member(node).link is not None:
                raise OrderRefused(f"{node} has a link, and would be back at once; end its process first")
            await self._auditing("forgot", who=person.name, node=node)
            await self._claims.release(node)
            await self._store.removeNode(node)
            self.fleet.forget(node)

        return self._asked("forget", person, forget(), {"node": node})

    def noteRefused(self, who: str, what: str, why: str) -> None:
        """
        See L{IController}.
        """
        self._auditing.refused(who, what, why)

    # ------------------------------------------------------------------ inside

    def _asked(
        self, what: str, person: Person, work: Coroutine[Any, Any, T], values: object
    ) -> Deferred[T]:
        """
        Does something, and writes into the audit log where it is refused.
        """

        def failed(failure: Failure) -> Failure:
            failure.trap(SIPGraceError)
            self._log.info(
                "{what} by {who} is refused: {why}",
                what=what,
                who=person.name,
                why=failure.getErrorMessage(),
            )
            self._auditing.refused(person.name, f"{what} {values!r}", failure.getErrorMessage())
            return failure

        return Deferred.fromCoroutine(work).addErrback(failed)


def _bounded(limit: int) -> int:
    return min(max(limit, 0), MOST)
