"""
The store of several controllers: etcd, through its JSON gateway.

Keys stand under a prefix; those of orders, audit records and so on hold the time, counted down, so that the
newest come first. What belongs together is written as one transaction.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from treq.client import HTTPClient
from twisted.internet.defer import Deferred, DeferredLock, fail, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from sipgrace.controller.facts import (
    ENDED,
    Kept,
    NodeRecord,
    OrderRecord,
    Pruned,
    RollingRecord,
    ScheduleRecord,
)
from sipgrace.controller.records import fromText, nodeFrom, orderFrom, rollingFrom, scheduleFrom, toText
from sipgrace.controller.seams import IFleetStore
from sipgrace.controller.store.etcdclaims import EtcdClaims
from sipgrace.controller.store.etcdkeys import END_OF_TIME, beyond, keyOf, named, older, placesOf, timed
from sipgrace.controller.store.etcdlease import EtcdLease
from sipgrace.controller.store.etcdpruning import EtcdPruning
from sipgrace.controller.store.gateway import Found, Gateway, delete, isAt, isNew, lookUp, put
from sipgrace.controller.store.sqlite import KEPT
from sipgrace.errors import StoreError

__all__ = ["LEASE", "EtcdStore"]

T = TypeVar("T")

#: A lease lasts so many seconds without being kept alive.
LEASE: Final = 15

#: A transaction may have so many parts: etcd's own limit is 128.
PARTS: Final = 100

#: A report without its course stays below what etcd takes in one request (1.5 MiB), in bytes.
LARGEST: Final = 700_000


@implementer(IFleetStore)
class EtcdStore:
    """
    See L{IFleetStore}.
    """

    shared = True

    def __init__(
        self,
        name: str,
        clock: IReactorTime,
        client: HTTPClient,
        urls: Sequence[str],
        prefix: str = "/sipgrace/",
        lease: int = LEASE,
        close: Callable[[], object] = lambda: None,
    ) -> None:
        """
        @param name: this controller's, which no other with the same store has.
        @param client: of treq.
        @param urls: where etcd is: C{http://127.0.0.1:2379}.
        @param prefix: what all keys begin with.
        @param lease: how long claims that are not held outlive the controller, in seconds.
        @param close: closes the client's connections; called when the store is stopped.
        """
        self._name = name
        self._gateway = Gateway(clock, client, urls)
        self._prefix = prefix
        self._close = close
        self._open = False
        self._writing = DeferredLock()
        self._numbers = itertools.count(1)
        self._lease = EtcdLease(self._gateway, clock, lease)
        self._claims = EtcdClaims(name, self._gateway, self._lease, prefix)
        self._pruning = EtcdPruning(self._gateway, prefix)

    def _key(self, *parts: str) -> str:
        return keyOf(self._prefix, *parts)

    # ------------------------------------------------------------------ opening and closing

    def start(self) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        await self._lease.start()
        self._open = True

    def stop(self) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if not self._open:
            return
        self._open = False
        self._lease.stop()
        # What was asked for before is done first.
        await self._writing.run(lambda: None)
        await self._lease.revoke()
        await maybeDeferred(self._close)

    # ------------------------------------------------------------------ orders

    def putOrder(self, record: OrderRecord) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """

        async def write() -> None:
            text, at, id = toText(record), timed(record.at), named(record.id)
            pointer, *places = placesOf(self._prefix, record)
            waiting = self._key("open", at, id)
            await self._gateway.transact(
                put(pointer, at),
                *(put(place, text) for place in places),
                delete(waiting) if record.outcome in ENDED else put(waiting, text),
            )

        return self._write(write)

    def orders(
        self, limit: int = 100, before: float | None = None, node: str = ""
    ) -> Deferred[list[OrderRecord]]:
        """
        See L{IFleetStore}.
        """
        place = ("node", named(node)) if node else ("orders",)
        return self._list(orderFrom, limit, before, *place)

    def order(self, id: str) -> Deferred[OrderRecord | None]:
        """
        See L{IFleetStore}.
        """

        async def read() -> OrderRecord | None:
            for found in await self._gateway.read(self._key("order", named(id))):
                at = found.value.decode("ascii")
                for record in await self._gateway.read(self._key("orders", at, named(id))):
                    return orderFrom(record.value)
            return None

        return self._run(read)

    def openOrders(self) -> Deferred[list[OrderRecord]]:
        """
        See L{IFleetStore}.
        """
        return self._list(orderFrom, 0, None, "open").addCallback(lambda found: found[::-1])

    # ------------------------------------------------------------------ rolling maintenances, schedules

    def putRolling(self, record: RollingRecord) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """

        async def write() -> None:
            text = toText(record)
            await self._gateway.transact(
                put(self._key("rollings", timed(record.at), named(record.id)), text)
            )

        return self._write(write)

    def rollings(self, limit: int = 100, before: float | None = None) -> Deferred[list[RollingRecord]]:
        """
        See L{IFleetStore}.
        """
        return self._list(rollingFrom, limit, before, "rollings")

    def putSchedule(self, record: ScheduleRecord) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """

        async def write() -> None:
            await self._gateway.transact(put(self._key("schedules", named(record.id)), toText(record)))

        return self._write(write)

    def removeSchedule(self, id: str) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """

        async def write() -> None:
            await self._gateway.transact(delete(self._key("schedules", named(id))))

        return self._write(write)

    def schedules(self) -> Deferred[list[ScheduleRecord]]:
        """
        See L{IFleetStore}.
        """
        return self._list(scheduleFrom, 0, None, "schedules")

    # ------------------------------------------------------------------ nodes

    def putNode(self, record: NodeRecord) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """

        async def write() -> None:
            await self._gateway.transact(put(self._node(record.name), toText(record)))

        return self._write(write)

    def removeNode(self, name: str) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """

        async def write() -> None:
            await self._gateway.transact(delete(self._node(name)))

        return self._write(write)

    def nodes(self) -> Deferred[list[NodeRecord]]:
        """
        See L{IFleetStore}.
        """
        return self._list(nodeFrom, 0, None, "roster", named(self._name))

    def _node(self, name: str) -> str:
        return self._key("roster", named(self._name), named(name))

    # ------------------------------------------------------------------ audit, reports

    def addAudit(self, facts: Mapping[str, Any]) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """

        async def write() -> None:
            text = toText(facts)
            # Of the same instant, the later comes first.
            number = f"{END_OF_TIME - next(self._numbers):019d}"
            key = self._key("audit", timed(facts["at"]), number, named(self._name))
            if await self._gateway.transact(put(key, text), when=[isNew(key)]) is None:
                raise StoreError("there is an audit record in the place of the new one")

        return self._write(write)

    def audit(self, limit: int = 100, before: float | None = None) -> Deferred[list[dict[str, Any]]]:
        """
        See L{IFleetStore}.
        """
        return self._list(fromText, limit, before, "audit")

    def addReport(self, node: str, at: float, facts: Mapping[str, Any]) -> Deferred[None]:
        """
        See L{IFleetStore}. Of a report that is too large, the course is left out.
        """

        async def write() -> None:
            text = toText({"node": node, "at": at, "report": facts})
            if len(text) > LARGEST:
                text = toText({"node": node, "at": at, "report": {**facts, "timeline": None}})
            stood = timed(at)
            of = self._key("reporter", named(node), "")
            await self._gateway.transact(
                put(self._key("reports", stood, named(node)), text), put(of + stood, "")
            )
            kept = await self._gateway.read(of, beyond(of), KEPT + PARTS // 2, keysOnly=True)
            old = [found.key for found in kept[KEPT:]]
            if old:
                reports = [self._key("reports", key.removeprefix(of), named(node)) for key in old]
                await self._gateway.transact(*(delete(key) for key in [*old, *reports]))

        return self._write(write)

    def reports(self, node: str = "", limit: int = 20) -> Deferred[list[dict[str, Any]]]:
        """
        See L{IFleetStore}.
        """
        if not node:
            return self._list(fromText, limit, None, "reports")

        async def read() -> list[dict[str, Any]]:
            of = self._key("reporter", named(node), "")
            pointers = await self._gateway.read(of, beyond(of), limit, keysOnly=True)
            keys = [self._key("reports", one.key.removeprefix(of), named(node)) for one in pointers]
            found = []
            for at in range(0, len(keys), PARTS):
                parts = await self._gateway.transact(*map(lookUp, keys[at : at + PARTS]))
                found += [fromText(one.value) for part in parts or () for one in part]
            return found

        return self._run(read)

    # ------------------------------------------------------------------ what is old

    def takeTurn(self) -> Deferred[bool]:
        """
        See L{IFleetStore}.
        """

        key = self._key("pruning")
        return self._run(lambda: self._lease.write(key, self._name, isNew(key)))

    def leaveTurn(self) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """

        async def leave() -> None:
            key = self._key("pruning")
            for found in await self._gateway.read(key):
                if found.value.decode("utf-8") == self._name:
                    await self._gateway.transact(delete(key), when=[isAt(key, found.revision)])

        return self._run(leave)

    def aged(self, before: float) -> Deferred[int]:
        """
        See L{IFleetStore}.
        """
        start = self._key(Kept.AUDIT, "")
        return self._run(lambda: self._gateway.count(*older(start, before)))

    def prune(
        self, kind: Kept, before: float, after: str = "", spared: Collection[str] = ()
    ) -> Deferred[Pruned]:
        """
        See L{IFleetStore}.
        """
        return self._run(lambda: self._pruning.prune(kind, before, after, spared))

    # ------------------------------------------------------------------ claims

    def claim(
        self, group: str, server: str, allowed: Callable[[frozenset[str]], str]
    ) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """
        return self._run(lambda: self._claims.claim(group, server, allowed))

    def hold(self, group: str, server: str) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """
        return self._run(lambda: self._claims.hold(group, server))

    def release(self, group: str, server: str, owner: str = "") -> Deferred[None]:
        """
        See L{IFleetStore}.
        """
        return self._run(lambda: self._claims.release(group, server, owner))

    def claims(self, group: str) -> Deferred[frozenset[str]]:
        """
        See L{IFleetStore}.
        """
        return self._run(lambda: self._claims.of(group))

    def held(self) -> Deferred[list[tuple[str, str, str]]]:
        """
        See L{IFleetStore}.
        """
        return self._run(self._claims.held)

    # ------------------------------------------------------------------ inside

    def _run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> Deferred[T]:
        if not self._open:
            return fail(StoreError("the store at etcd is not open"))
        return Deferred.fromCoroutine(work())

    def _write(self, work: Callable[[], Coroutine[Any, Any, None]]) -> Deferred[None]:
        """
        Writes in the order in which it was asked, so that the last word is the last.
        """
        if not self._open:
            return fail(StoreError("the store at etcd is not open"))
        return self._writing.run(lambda: Deferred.fromCoroutine(work()))

    def _list(
        self, made: Callable[[bytes], T], limit: int, before: float | None, *place: str
    ) -> Deferred[list[T]]:
        async def read() -> list[T]:
            start = self._key(*place, "")
            first, end = (start, beyond(start)) if before is None else older(start, before)
            return _all(made, await self._gateway.read(first, end, limit))

        return self._run(read)


def _all(made: Callable[[bytes], T], found: Iterable[Found]) -> list[T]:
    return [made(one.value) for one in found]
