"""
A controller whose nodes and records are as a test puts them: for what is in front of a controller.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from sipgrace.control.remote import Unreachable
from sipgrace.controller.facts import (
    Hello,
    OrderRecord,
    Outcome,
    Person,
    Progress,
    RollingRecord,
    ScheduleRecord,
)
from sipgrace.controller.fleet import Fleet
from sipgrace.controller.seams import IController, INodeLink
from sipgrace.errors import NotAllowed, OrderRefused, SIPGraceError, Unknown
from sipgrace.lifecycle.authorization import MAY, Role
from sipgrace.lifecycle.orders import Kind


@dataclass(frozen=True)
class Token:
    """
    See L{sipgrace.controller.web.tokens.TokenEntry}.
    """

    name: str
    role: Role
    sha256: str


@implementer(INodeLink)
class FakeLink:
    """
    A link that answers C{status}.
    """

    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts = facts

    def signed(self, signed: Any) -> Deferred[Any]:
        """
        Obeys.
        """
        return succeed(None)

    def rehearsed(self, answer: Any) -> Deferred[Any]:
        """
        Never.
        """
        return Deferred()

    def status(self) -> Deferred[dict[str, Any]]:
        """
        As given.
        """
        return succeed(self.facts)

    def unavailable(self, server: str, retryAfter: float, back: float | None, why: str) -> Deferred[None]:
        """
        Takes it.
        """
        return succeed(None)

    def available(self, server: str, why: str) -> Deferred[None]:
        """
        Takes it.
        """
        return succeed(None)

    def end(self) -> None:
        """
        Nothing.
        """


@implementer(IController)
class FakeController:
    """
    Obeys what a person's role covers, and notes it.

    @ivar asked: what was asked, by whom.
    @ivar refused: who was turned away.
    @ivar trouble: what the next thing asked fails with.
    @ivar becomes: what an order comes to at once.
    """

    def __init__(self, name: str = "controller-120", wallClock: Callable[[], float] = time.time) -> None:
        self.name = name
        self._wallClock = wallClock
        self.fleet = Fleet(wallClock)
        self.asked: list[tuple[str, Any, str]] = []
        self.refused: list[tuple[str, str, str]] = []
        self.trouble: SIPGraceError | None = None
        self.becomes = Outcome.OBEYED
        self.kept: dict[str, OrderRecord] = {}
        self.rolls: dict[str, RollingRecord] = {}
        self.later: dict[str, ScheduleRecord] = {}
        self.records: list[dict[str, Any]] = []
        self.drains: list[dict[str, Any]] = []

    # ------------------------------------------------------------------ putting things up

    def server(self, name: str, state: str = "serving", clients: Sequence[str] = (), **facts: Any) -> None:
        """
        A server that is linked.
        """
        self.node(
            name,
            "server",
            state,
            peers=[{"name": client, "transport": "SCTP", "up": state != "offline"} for client in clients],
            **facts,
        )

    def client(self, name: str, servers: Mapping[str, Any], **facts: Any) -> None:
        """
        A client that is linked.

        @param servers: by name, what it says of each beside the usual.
        """
        usual = {
            "state": "Up",
            "associated": True,
            "active": True,
            "skipped": False,
            "overdue": None,
            "countdown": None,
            "latency": 0.0021,
        }
        peers = [{"name": server, **usual, **said} for server, said in servers.items()]
        self.node(name, "client", "serving", peers=peers, reroutes=0, tdm=0, **facts)

    def node(
        self, name: str, role: str, state: str, labels: Mapping[str, str] | None = None, **facts: Any
    ) -> None:
        """
        A node that is linked, or says how it stands now.
        """
        standing = {
            "state": state,
            "waiting": 0,
            "associations": 2,
            "guardLeft": None,
            "retryAfter": None,
            "accepted": 1200,
            "settled": 1200,
            "forced": 0,
            "refused": 0,
            "order": None,
            "version": "1.0",
            **facts,
        }
        try:
            self.fleet.member(name)
        except Unknown:
            hello = Hello(name, role, "1.0", f"boot-{name}", 0, labels or {"site": "north"})
            self.fleet.hello(hello, FakeLink({"name": name, "role": role, **standing}), "127.0.0.1")
        self.fleet.standing(name, standing)

    def put(self, kind: str, record: Any) -> Any:
        """
        Keeps a record, and tells of it.
        """
        facts = {name: getattr(record, name) for name in record.__slots__}
        self.fleet.publish(kind, facts.get("node", ""), facts)
        return record

    def _done(self, what: str, values: Any, person: Person, needs: Role = Role.OPERATOR) -> None:
        self.asked.append((what, values, person.name))
        roles = list(Role)
        if roles.index(person.role) < roles.index(needs):
            raise NotAllowed(f"{person.name} is a {person.role}; {what} needs {needs}")
        trouble, self.trouble = self.trouble, None
        if trouble is not None:
            raise trouble

    # ------------------------------------------------------------------ IController

    def order(self, values: Mapping[str, Any], person: Person) -> Deferred[OrderRecord]:
        """
        See L{IController}.
        """
        kind = Kind(values["kind"])
        try:
            self._done("order", dict(values), person, Role.VIEWER)
            if kind not in MAY[person.role]:
                raise NotAllowed(f"{person.name} is a {person.role}, who may not order {kind}")
            self.fleet.node(values["node"])
        except SIPGraceError:
            return fail()
        order = {"who": f"{person.name} via {self.name}", "when": self._wallClock(), "why": "", **values}
        record = OrderRecord(
            id=f"order-{len(self.kept) + 1:016d}",
            node=values["node"],
            order=order,
            who=person.name,
            by=self.name,
            at=self._wallClock(),
            outcome=self.becomes,
        )
        self.kept[record.id] = record
        return succeed(self.put("order", record))

    def orderEnds(self, id: str, outcome: Outcome, text: str = "", result: Any = None) -> None:
        """
        An order came to its end.
        """
        record = replace(self.kept[id], outcome=outcome, text=text, ended=self._wallClock(), result=result)
        self.kept[id] = self.put("order", record)

    def withdraw(self, id: str, person: Person) -> Deferred[OrderRecord]:
        """
        See L{IController}.
        """
        try:
            self._done("withdraw", id, person)
            record = self._one(self.kept, id)
            if record.outcome is not Outcome.QUEUED:
                raise OrderRefused(f"{id} is {record.outcome}, and only what is queued can be withdrawn")
        except SIPGraceError:
            return fail()
        self.orderEnds(id, Outcome.UNDONE, f"withdrawn by {person.name}")
        return succeed(self.kept[id])

    def _one(self, known: Mapping[str, Any], id: str) -> Any:
        if id not in known:
            raise Unknown(f"{id!r} is not known")
        return known[id]

    def orders(
        self, limit: int = 100, before: float | None = None, node: str = ""
    ) -> Deferred[list[OrderRecord]]:
        """
        See L{IController}.
        """
        found = [one for one in reversed(self.kept.values()) if node in ("", one.node)]
        return succeed([one for one in found if before is None or one.at < before][:limit])

    def orderOf(self, id: str) -> Deferred[OrderRecord]:
        """
        See L{IController}.
        """
        try:
            return succeed(self._one(self.kept, id))
        except Unknown:
            return fail()

    def status(self, node: str) -> Deferred[dict[str, Any]]:
        """
        See L{IController}.
        """
        if not self.fleet.roleOf(node):
            return fail(Unknown(f"{node!r} is no node"))
        owner = self.fleet.ownerOf(node)
        if owner:
            return succeed({"name": node, "listeners": [f"udp:5060, says {owner}"]})
        link = self.fleet.linkOf(node)
        if link is None:
            return fail(Unreachable(f"{node} has no link to {self.name} now"))
        return link.status()

    def rolling(self, values: Mapping[str, Any], person: Person) -> Deferred[RollingRecord]:
        """
        See L{IController}.
        """
        try:
            self._done("rolling", dict(values), person)
        except SIPGraceError:
            return fail()
        servers = values.get("servers") or [one.name for one in self.fleet.members("server")]
        record = RollingRecord(
            id=f"rolling-{len(self.rolls) + 1}",
            servers=servers,
            steps=dict.fromkeys(servers, "waiting"),
            orders={server: [] for server in servers},
            values=dict(values),
            who=person.name,
            by=self.name,
            at=self._wallClock(),
            progress=Progress.RUNNING,
        )
        self.rolls[record.id] = record
        return succeed(self.put("rolling", record))

    def rolls_(self, id: str, **values: Any) -> RollingRecord:
        """
        A rolling maintenance changes.
        """
        self.rolls[id] = replace(self.rolls[id], **values)
        record: RollingRecord = self.put("rolling", self.rolls[id])
        return record

    def _turned(self, what: str, id: str, person: Person, progress: Progress) -> Deferred[RollingRecord]:
        try:
            self._done(what, id, person)
            self._one(self.rolls, id)
        except SIPGraceError:
            return fail()
        return succeed(self.rolls_(id, progress=progress))

    def pause(self, id: str, person: Person) -> Deferred[RollingRecord]:
        """
        See L{IController}.
        """
        return self._turned("pause", id, person, Progress.PAUSED)

    def proceed(self, id: str, person: Person) -> Deferred[RollingRecord]:
        """
        See L{IController}.
        """
        return self._turned("proceed", id, person, Progress.RUNNING)

    def stopRolling(self, id: str, person: Person) -> Deferred[RollingRecord]:
        """
        See L{IController}.
        """
        return self._turned("stopRolling", id, person, Progress.STOPPED)

    def rollings(self, limit: int = 100) -> Deferred[list[RollingRecord]]:
        """
        See L{IController}.
        """
        return succeed(list(reversed(self.rolls.values()))[:limit])

    def schedule(self, values: Mapping[str, Any], person: Person) -> Deferred[ScheduleRecord]:
        """
        See L{IController}.
        """
        try:
            self._done("schedule", dict(values), person)
        except SIPGraceError:
            return fail()
        record = ScheduleRecord(
            id=f"schedule-{len(self.later) + 1}",
            what=values["what"],
            values=values["values"],
            who=person.name,
            role=person.role,
            at=values.get("at"),
            cron=values.get("cron", ""),
            next=values.get("at"),
        )
        self.later[record.id] = record
        return succeed(self.put("schedule", record))

    def unschedule(self, id: str, person: Person) -> Deferred[None]:
        """
        See L{IController}.
        """
        try:
            self._done("unschedule", id, person)
            self._one(self.later, id)
        except SIPGraceError:
            return fail()
        del self.later[id]
        return succeed(None)

    def schedules(self) -> Deferred[list[ScheduleRecord]]:
        """
        See L{IController}.
        """
        return succeed(list(self.later.values()))

    def announce(
        self, server: str, retryAfter: float, back: float | None, why: str, person: Person
    ) -> Deferred[Sequence[str]]:
        """
        See L{IController}.
        """
        try:
            self._done("announce", (server, retryAfter, back, why), person)
        except SIPGraceError:
            return fail()
        return succeed([one.name for one in self.fleet.members("client")])

    def unannounce(self, server: str, why: str, person: Person) -> Deferred[Sequence[str]]:
        """
        See L{IController}.
        """
        try:
            self._done("unannounce", (server, why), person)
        except SIPGraceError:
            return fail()
        return succeed([one.name for one in self.fleet.members("client")])

    def audit(self, limit: int = 100, before: float | None = None) -> Deferred[list[dict[str, Any]]]:
        """
        See L{IController}.
        """
        return succeed(self.records[:limit])

    def reports(self, node: str = "", limit: int = 20) -> Deferred[list[dict[str, Any]]]:
        """
        See L{IController}.
        """
        return succeed([one for one in self.drains if node in ("", one["node"])][:limit])

    def forget(self, node: str, person: Person) -> Deferred[None]:
        """
        See L{IController}.
        """
        try:
            self._done("forget", node, person, Role.ADMIN)
            self.fleet.node(node)
        except SIPGraceError:
            return fail()
        return succeed(None)

    def noteRefused(self, who: str, what: str, why: str) -> None:
        """
        See L{IController}.
        """
        self.refused.append((who, what, why))
