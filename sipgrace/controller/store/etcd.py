"""
The store of several controllers: etcd, through its JSON gateway.

Keys stand under a prefix; those of orders, audit records and so on hold the time, counted down, so that the
newest come first. What belongs together is written as one transaction.

Claims are transactions over a revision of their group: whoever claims reads the group's claims, decides, and
writes only if nobody else has written in that group since; else it looks again. A claim goes with the lease
of the controller that made it until it is held. The lease is kept alive as long as the controller lives and
reaches etcd. When it is lost nevertheless, claims that were not held have gone, and to hold one of them
fails, so that its order is never sent; the next claim takes a new lease. Claims that are held stay. Each
controller has claims of its own: a server is claimed as long as any of them claims it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import unquote

from treq.client import HTTPClient
from twisted.internet.defer import Deferred, DeferredLock, fail, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
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
from sipgrace.controller.store.etcdkeys import END_OF_TIME, beyond, keyOf, named, older, placesOf, timed
from sipgrace.controller.store.etcdpruning import EtcdPruning
from sipgrace.controller.store.gateway import Found, Gateway, delete, isAt, isNew, lookUp, put
from sipgrace.controller.store.sqlite import KEPT
from sipgrace.errors import OrderRefused, StoreError

__all__ = ["LEASE", "EtcdStore"]

T = TypeVar("T")

#: A lease lasts so many seconds without being kept alive.
LEASE: Final = 15

#: What stands in a claim that is held; nothing stands in one that is not yet.
HELD: Final = "held"

#: Where others claim in the same group all the time, it is tried so often.
TRIES: Final = 50

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

    _log = Logger()

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
        self._seconds = lease
        self._close = close
        self._lease = 0
        self._open = False
        self._keeping = LoopingCall(lambda: Deferred.fromCoroutine(self._keepAlive()))
        self._keeping.clock = clock
        self._writing = DeferredLock()
        self._numbers = itertools.count(1)
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
        self._lease = await self._gateway.grant(self._seconds)
        self._open = True
        self._keeping.start(self._seconds / 3, now=False)

    def stop(self) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if not self._open:
            return
        self._open = False
        self._keeping.stop()
        # What was asked for before is done first.
        await self._writing.run(lambda: None)
        try:
            await self._gateway.revoke(self._lease)
        except StoreError as error:
            # It ends by itself.
            self._log.info("{why}", why=str(error))
        await maybeDeferred(self._close)

    async def _keepAlive(self) -> None:
        try:
            if self._lease and not await self._gateway.keepAlive(self._lease):
                self._log.warn("the lease at etcd has ended; what was claimed and not held is free")
                self._lease = 0
        except StoreError as error:
            self._log.warn("the lease at etcd is not kept alive: {why}", why=str(error))

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

        async def take() -> bool:
            key = self._key("pruning")
            return await self._leased(put(key, self._name, await self._lasting()), isNew(key))

        return self._run(take)

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

    def _place(self, group: str, *parts: str) -> str:
        return self._key("claims", named(group), *map(named, parts), "")

    def claim(
        self, group: str, server: str, allowed: Callable[[frozenset[str]], str]
    ) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """

        async def claim() -> None:
            place = self._place(group)
            turn, key = self._key("group", named(group)), self._place(group, server) + named(self._name)
            for _ in range(TRIES):
                parts = await self._gateway.transact(lookUp(turn), lookUp(place, beyond(place)))
                assert parts is not None
                claims = {one.key: one for one in parts[1]}
                why = allowed(frozenset(map(_serverIn, claims)) - {server})
                if why:
                    raise OrderRefused(why)
                if key in claims and _isHeld(claims[key]):
                    return
                revision = parts[0][0].revision if parts[0] else 0
                if await self._take(key, turn, revision):
                    return
            raise StoreError(f"others claim in the group {group} all the time; try again")

        return self._run(claim)

    async def _take(self, key: str, turn: str, revision: int) -> bool:
        """
        @return: whether it was done; not, where the group has changed since, or the lease has ended.
        """
        claim = put(key, "", await self._lasting())
        return await self._leased(claim, isAt(turn, revision), put(turn, self._name))

    async def _lasting(self) -> int:
        if not self._lease:
            self._lease = await self._gateway.grant(self._seconds)
        return self._lease

    async def _leased(
        self, part: Mapping[str, Any], when: Mapping[str, Any], *more: Mapping[str, Any]
    ) -> bool:
        """
        @param part: writes what goes with the lease.
        @return: whether it was done; not, where the condition does not hold, or the lease has ended.
        """
        try:
            done = await self._gateway.transact(part, *more, when=[when])
        except StoreError as error:
            if "lease not found" not in str(error):
                raise
            self._log.warn("the lease at etcd had ended; what was claimed and not held is free")
            self._lease = 0
            return False
        return done is not None

    def hold(self, group: str, server: str) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """

        async def hold() -> None:
            key = self._place(group, server) + named(self._name)
            for found in await self._gateway.read(key):
                # Without a lease, where it is there still.
                lasting, unchanged = put(key, HELD), isAt(key, found.revision)
                if _isHeld(found) or await self._gateway.transact(lasting, when=[unchanged]) is not None:
                    return
            raise StoreError(f"the claim of {server} has gone meanwhile, and nothing was sent; try again")

        return self._run(hold)

    def release(self, group: str, server: str, owner: str = "") -> Deferred[None]:
        """
        See L{IFleetStore}.
        """

        async def release() -> None:
            key = self._place(group, server) + named(owner or self._name)
            await self._gateway.transact(delete(key))

        return self._run(release)

    def claims(self, group: str) -> Deferred[frozenset[str]]:
        """
        See L{IFleetStore}.
        """

        async def read() -> frozenset[str]:
            place = self._place(group)
            found = await self._gateway.read(place, beyond(place), keysOnly=True)
            return frozenset(_serverIn(one.key) for one in found)

        return self._run(read)

    def held(self) -> Deferred[list[tuple[str, str, str]]]:
        """
        See L{IFleetStore}.
        """

        async def read() -> list[tuple[str, str, str]]:
            place = self._key("claims", "")
            found = [one.key for one in await self._gateway.read(place, beyond(place)) if _isHeld(one)]
            return [(unquote(key.split("/")[-3]), _serverIn(key), _last(key)) for key in found]

        return self._run(read)

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


def _last(key: str) -> str:
    return unquote(key.rpartition("/")[2])


def _serverIn(key: str) -> str:
    return unquote(key.split("/")[-2])


def _isHeld(found: Found) -> bool:
    return found.value == HELD.encode("ascii")
