"""
All rolling maintenances of a controller.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from sipgrace.controller.casebook import Casebook
from sipgrace.controller.desk import Desk
from sipgrace.controller.facts import Notice, Person, Progress, RollingRecord
from sipgrace.controller.fleet import Fleet
from sipgrace.controller.rolling import Rolling
from sipgrace.controller.seams import IFleetStore
from sipgrace.controller.wanted import allow, read, readOrder
from sipgrace.errors import Malformed, OrderRefused, Unknown
from sipgrace.lifecycle.authorization import Role
from sipgrace.lifecycle.orderform import newNonce

__all__ = ["ROLLING", "Rollings"]

#: What may be asked for.
ROLLING: Final[Mapping[str, Any]] = {
    "servers": list,
    "select": dict,
    "atOnce": int,
    "settle": float,
    "timeout": float,
    "why": str,
    "guard": float,
    "retryAfter": float,
    "announce": str,
    "over": float,
    "then": str,
}

#: Where nothing else is said.
DEFAULTS: Final[Mapping[str, Any]] = {"atOnce": 1, "settle": 10.0, "then": "run"}

#: One server may take so many seconds, besides its guard.
TIMEOUT: Final = 600.0

#: What goes into each order to drain.
_ORDER: Final = ("why", "guard", "retryAfter", "announce", "over", "then")

#: So many are read at once.
PAGE: Final = 200

#: Seconds between a change in the fleet and a look at it, which does for all that changes meanwhile.
SOON: Final = 0.2


class Rollings:
    """
    Those that have not ended.
    """

    def __init__(
        self,
        name: str,
        clock: IReactorTime,
        fleet: Fleet,
        store: IFleetStore,
        desk: Desk,
        book: Casebook,
        audit: Callable[..., Deferred[None]],
        wallClock: Callable[[], float],
    ) -> None:
        self._name = name
        self._clock = clock
        self._fleet = fleet
        self._store = store
        self._desk = desk
        self._book = book
        self._audit = audit
        self._wallClock = wallClock
        self._open: dict[str, Rolling] = {}
        # Servers of those that are being stored, by the id.
        self._beginning: dict[str, Sequence[str]] = {}
        self._call: IDelayedCall | None = None

    async def start(self) -> None:
        """
        Takes up what has not ended.
        """
        self._fleet.observe(self._noticed)
        async for record in self._all():
            if record.by == self._name and record.ended is None:
                self._make(record).start()

    async def _all(self) -> AsyncIterator[RollingRecord]:
        """
        All that are kept, newest first.
        """
        before = None
        while found := await self._store.rollings(PAGE, before):
            for record in found:
                yield record
            before = found[-1].at

    def stop(self) -> None:
        """
        Does nothing more; all is taken up at the next start.
        """
        self._fleet.unobserve(self._noticed)
        if self._call is not None:
            self._call.cancel()
            self._call = None
        for rolling in self._open.values():
            rolling.die()

    def _make(self, record: RollingRecord) -> Rolling:
        rolling = self._open[record.id] = Rolling(
            record,
            self._clock,
            self._fleet,
            self._store,
            self._desk,
            self._book,
            self._wallClock,
            self._ended,
        )
        return rolling

    def _ended(self, rolling: Rolling) -> None:
        self._open.pop(rolling.record.id, None)

    # ------------------------------------------------------------------ what people ask for

    def check(self, values: Mapping[str, Any], person: Person) -> None:
        """
        @raise OrderRefused: where that cannot be meant, or the person may not ask for it.
        """
        allow(person, Role.OPERATOR, "a rolling maintenance")
        self._read(values, person)

    async def begin(self, values: Mapping[str, Any], person: Person, id: str = "") -> RollingRecord:
        """
        See L{sipgrace.controller.seams.IController.rolling}.

        @param id: its name, where it has one already; the one of that name is not begun again.
        """
        allow(person, Role.OPERATOR, "a rolling maintenance")
        found = self._read(values, person)
        if id:
            async for record in self._all():
                if record.id == id:
                    return record
        servers = self._servers(found)
        # Before anything is waited for: another that is asked for meanwhile must see it.
        id = id or newNonce()
        self._beginning[id] = servers
        try:
            return await self._begin(found, servers, person, id)
        finally:
            del self._beginning[id]

    async def _begin(
        self, found: Mapping[str, Any], servers: list[str], person: Person, id: str
    ) -> RollingRecord:
        record = RollingRecord(
            id=id,
            servers=servers,
            steps=dict.fromkeys(servers, "waiting"),
            orders={server: [] for server in servers},
            values={name: value for name, value in found.items() if name != "servers"},
            who=person.name,
            by=self._name,
            at=self._wallClock(),
            progress=Progress.RUNNING,
        )
        await self._audit(
            "rolling", who=person.name, id=record.id, servers=servers, values=dict(record.values)
        )
        await self._store.putRolling(record)
        self._fleet.publish("rolling", "", asdict(record))
        rolling = self._make(record)
        rolling.start()
        return rolling.record

    def _read(self, values: Mapping[str, Any], person: Person) -> dict[str, Any]:
        found = {**DEFAULTS, **read(values, ROLLING, "the rolling maintenance")}
        found.setdefault("timeout", TIMEOUT + found.get("guard", 0.0) + found.get("over", 0.0))
        if found["then"] not in ("run", "stay", "exit"):
            raise Malformed("the rolling maintenance: then is none of run, stay, exit")
        if found["atOnce"] < 1:
            raise Malformed("the rolling maintenance: atOnce is 0; a number from 1 up is expected")
        if ("servers" in found) == ("select" in found):
            raise Malformed("the rolling maintenance: servers, or select, is expected, and not both")
        drain = {name: value for name, value in found.items() if name in _ORDER}
        readOrder({"node": "x", "kind": "drain"} | drain, person, self._name, 0.0, newNonce())
        return found

    def _servers(self, found: Mapping[str, Any]) -> list[str]:
        if "select" in found:
            wanted = found["select"].items()
            members = [
                member
                for member in self._fleet.members("server")
                if wanted <= dict(member.hello.labels).items()
            ]
            if not members:
                raise Unknown("the rolling maintenance: no server has these labels")
        else:
            members = [self._fleet.member(name) for name in found["servers"]]
        names = [member.name for member in members]
        if not names or len(set(names)) < len(names):
            raise Malformed("the rolling maintenance: servers are expected, each of them once")
        for member in members:
            if member.role != "server":
                raise Malformed(f"the rolling maintenance: {member.name} is a {member.role}")
            if member.link is None:
                raise OrderRefused(
                    f"{member.name} has no link to this controller; name the servers to leave it out"
                )
            if member.state != "serving":
                raise OrderRefused(f"{member.name} is {member.state}; name the servers to leave it out")
        others = {id: other.record.servers for id, other in self._open.items()}
        for id, servers in (self._beginning | others).items():
            both = [name for name in names if name in servers]
            if both:
                raise OrderRefused(f"{both[0]} is in the rolling maintenance {id}, which has not ended")
        return names

    async def pause(self, id: str, person: Person) -> RollingRecord:
        """
        See L{sipgrace.controller.seams.IController.pause}.
        """
        rolling = await self._meant(id, person, "paused", (Progress.RUNNING,))
        return await rolling.pause()

    async def proceed(self, id: str, person: Person) -> RollingRecord:
        """
        See L{sipgrace.controller.seams.IController.proceed}.
        """
        rolling = await self._meant(id, person, "proceeded", (Progress.PAUSED, Progress.TROUBLE))
        return await rolling.proceed()

    async def end(self, id: str, person: Person) -> RollingRecord:
        """
        See L{sipgrace.controller.seams.IController.stopRolling}.
        """
        running = (Progress.RUNNING, Progress.PAUSED, Progress.TROUBLE)
        rolling = await self._meant(id, person, "stopped", running)
        return await rolling.stop(f"stopped by {person.name}")

    async def _meant(self, id: str, person: Person, what: str, fit: tuple[Progress, ...]) -> Rolling:
        allow(person, Role.OPERATOR, "a rolling maintenance")
        rolling = self._open.get(id)
        if rolling is None:
            async for record in self._all():
                if record.id == id and record.ended is None:
                    raise OrderRefused(f"it is carried out by {record.by}; ask there")
                if record.id == id:
                    raise OrderRefused(f"it is {record.progress}, and has ended")
            raise Unknown(f"{id[:100]!r} is no rolling maintenance")
        for again in (False, True):
            # Somebody else may have asked for the same, or it may have ended, while that was written.
            if rolling.record.progress not in fit or rolling.record.ended is not None:
                raise OrderRefused(f"it is {rolling.record.progress}, and cannot be {what}")
            if not again:
                await self._audit(what, who=person.name, id=id)
        return rolling

    # ------------------------------------------------------------------ the fleet

    def _noticed(self, notice: Notice) -> None:
        if not self._open:
            return
        if notice.kind == "order":
            rolling = self._open.get(notice.facts.get("rolling", ""))
            if rolling is not None:
                rolling.orderChanged(notice.facts)
        elif notice.kind == "node" and notice.facts.get("forgotten"):
            for rolling in list(self._open.values()):
                rolling.forgot(notice.node)
            self._lookSoon()
        elif notice.kind == "node":
            self._lookSoon()

    def _lookSoon(self) -> None:
        if self._call is None:
            self._call = self._clock.callLater(SOON, self._look)

    def _look(self) -> None:
        self._call = None
        for rolling in list(self._open.values()):
            rolling.look()
