"""
The store of one controller: a SQLite file.

Every change is on the disk before its Deferred fires (WAL, C{synchronous=FULL}). All is done in one thread,
one thing after another, so that what is asked later sees what was asked before.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from twisted.enterprise.adbapi import ConnectionPool
from twisted.internet.defer import Deferred, DeferredList, DeferredLock, fail, succeed
from twisted.python.failure import Failure
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
from sipgrace.controller.store.sqlitepruning import prune
from sipgrace.errors import OrderRefused, SIPGraceError, StoreError

__all__ = ["KEPT", "SQLiteStore"]

T = TypeVar("T")

#: The version of the tables.
VERSION: Final = 3

#: So many reports are kept of each node: the latest.
KEPT: Final = 100

_TABLES: Final = """
CREATE TABLE orders (id TEXT PRIMARY KEY, node TEXT NOT NULL, at REAL NOT NULL, open INTEGER NOT NULL,
    record TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX orders_at ON orders (at);
CREATE INDEX orders_of ON orders (node, at);
CREATE INDEX orders_open ON orders (at) WHERE open;
CREATE TABLE rollings (id TEXT PRIMARY KEY, at REAL NOT NULL, record TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX rollings_at ON rollings (at);
CREATE TABLE schedules (id TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE audit (number INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, record TEXT NOT NULL);
CREATE INDEX audit_at ON audit (at);
CREATE TRIGGER audit_stays BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log stays'); END;
CREATE TRIGGER audit_lasts BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log stays'); END;
CREATE TABLE reports (node TEXT NOT NULL, at REAL NOT NULL, record TEXT NOT NULL,
    PRIMARY KEY (node, at)) WITHOUT ROWID;
CREATE INDEX reports_at ON reports (at);
CREATE TABLE claims (budget TEXT NOT NULL, server TEXT NOT NULL, PRIMARY KEY (budget, server)) WITHOUT ROWID;
"""

#: What version 2 has besides.
_TABLES_2: Final = """
CREATE TABLE nodes (name TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
"""

#: And version 3: what is older than C{audit_going} says can be removed from the audit log; nothing stands
#: there but while that is done.
_TABLES_3: Final = """
CREATE TABLE audit_going (before REAL NOT NULL);
DROP TRIGGER audit_lasts;
CREATE TRIGGER audit_lasts BEFORE DELETE ON audit
    WHEN NOT EXISTS (SELECT 1 FROM audit_going WHERE OLD.at < before)
    BEGIN SELECT RAISE(ABORT, 'the audit log stays'); END;
"""


@implementer(IFleetStore)
class SQLiteStore:
    """
    See L{IFleetStore}.
    """

    shared = False

    def __init__(self, reactor: Any, path: Path) -> None:
        """
        @param path: the file; made, for its owner alone, where there is none. Beside it lies C{.lock}, held
            while the store is open: two controllers with one file would each do what the other does.
        """
        self._reactor = reactor
        self._path = path
        self._pool: Any = None
        self._lock = -1
        # Nobody else has the file, so this is enough to make one step of looking and claiming.
        self._claiming = DeferredLock()
        self._pending: dict[Deferred[Any], None] = {}

    # ------------------------------------------------------------------ opening and closing

    def start(self) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """
        try:
            self._take()
        except OSError as error:
            why = "another controller has it open" if isinstance(error, BlockingIOError) else error.strerror
            return fail(StoreError(f"the store {self._path} cannot be opened: {why}"))
        self._pool = ConnectionPool(
            "sqlite3",
            str(self._path),
            check_same_thread=False,
            # We begin each transaction ourselves.
            isolation_level=None,
            cp_reactor=self._reactor,
            cp_min=1,
            cp_max=1,
            cp_noisy=False,
            cp_openfun=_opened,
        )
        self._pool.start()
        return self._run(_prepare).addErrback(self._notStarted)

    def _take(self) -> None:
        lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except BaseException:
            os.close(lock)
            raise
        self._lock = lock

    def _notStarted(self, failure: Failure) -> Failure:
        self._close()
        return failure

    def stop(self) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """
        if self._pool is None:
            return succeed(None)
        waiting = [one.addErrback(lambda failure: None) for one in map(_fork, self._pending)]
        return DeferredList(waiting).addCallback(lambda _: self._close())

    def _close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    # ------------------------------------------------------------------ orders

    def putOrder(self, record: OrderRecord) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """
        row = (record.id, record.node, record.at, record.outcome not in ENDED)
        return self._put("INSERT OR REPLACE INTO orders VALUES (?, ?, ?, ?, ?)", *row, record=record)

    def orders(
        self, limit: int = 100, before: float | None = None, node: str = ""
    ) -> Deferred[list[OrderRecord]]:
        """
        See L{IFleetStore}.
        """
        where, values = _where(before, node)
        found = self._ask(f"SELECT record FROM orders {where} ORDER BY at DESC LIMIT ?", *values, limit)
        return found.addCallback(lambda rows: [orderFrom(row) for row, in rows])

    def order(self, id: str) -> Deferred[OrderRecord | None]:
        """
        See L{IFleetStore}.
        """
        found = self._ask("SELECT record FROM orders WHERE id = ?", id)
        return found.addCallback(lambda rows: orderFrom(rows[0][0]) if rows else None)

    def openOrders(self) -> Deferred[list[OrderRecord]]:
        """
        See L{IFleetStore}.
        """
        found = self._ask("SELECT record FROM orders WHERE open ORDER BY at")
        return found.addCallback(lambda rows: [orderFrom(row) for row, in rows])

    # ------------------------------------------------------------------ rolling maintenances, schedules

    def putRolling(self, record: RollingRecord) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """
        return self._put(
            "INSERT OR REPLACE INTO rollings VALUES (?, ?, ?)", record.id, record.at, record=record
        )

    def rollings(self, limit: int = 100, before: float | None = None) -> Deferred[list[RollingRecord]]:
        """
        See L{IFleetStore}.
        """
        where, values = _where(before)
        found = self._ask(f"SELECT record FROM rollings {where} ORDER BY at DESC LIMIT ?", *values, limit)
        return found.addCallback(lambda rows: [rollingFrom(row) for row, in rows])

    def putSchedule(self, record: ScheduleRecord) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """
        return self._put("INSERT OR REPLACE INTO schedules VALUES (?, ?)", record.id, record=record)

    def removeSchedule(self, id: str) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """
        return self._do("DELETE FROM schedules WHERE id = ?", id)

    def schedules(self) -> Deferred[list[ScheduleRecord]]:
        """
        See L{IFleetStore}.
        """
        found = self._ask("SELECT record FROM schedules ORDER BY id")
        return found.addCallback(lambda rows: [scheduleFrom(row) for row, in rows])

    # ------------------------------------------------------------------ nodes

    def putNode(self, record: NodeRecord) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """
        return self._put("INSERT OR REPLACE INTO nodes VALUES (?, ?)", record.name, record=record)

    def removeNode(self, name: str) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """
        return self._do("DELETE FROM nodes WHERE name = ?", name)

    def nodes(self) -> Deferred[list[NodeRecord]]:
        """
        See L{IFleetStore}.
        """
        found = self._ask("SELECT record FROM nodes ORDER BY name")
        return found.addCallback(lambda rows: [nodeFrom(row) for row, in rows])

    # ------------------------------------------------------------------ audit, reports

    def addAudit(self, facts: Mapping[str, Any]) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """
        return self._put("INSERT INTO audit (at, record) VALUES (?, ?)", facts["at"], record=facts)

    def audit(self, limit: int = 100, before: float | None = None) -> Deferred[list[dict[str, Any]]]:
        """
        See L{IFleetStore}.
        """
        where, values = _where(before)
        found = self._ask(
            f"SELECT record FROM audit {where} ORDER BY at DESC, number DESC LIMIT ?", *values, limit
        )
        return found.addCallback(lambda rows: [fromText(row) for row, in rows])

    def addReport(self, node: str, at: float, facts: Mapping[str, Any]) -> Deferred[None]:
        """
        See L{IFleetStore}. A report that comes again takes the place of the former.
        """
        try:
            text = toText({"node": node, "at": at, "report": facts})
        except StoreError:
            return fail()

        def add(cursor: Any) -> None:
            cursor.execute("INSERT OR REPLACE INTO reports VALUES (?, ?, ?)", (node, at, text))
            cursor.execute(
                "DELETE FROM reports WHERE node = ?1 AND at < "
                "(SELECT at FROM reports WHERE node = ?1 ORDER BY at DESC LIMIT 1 OFFSET ?2)",
                (node, KEPT - 1),
            )

        return self._run(add)

    def reports(self, node: str = "", limit: int = 20) -> Deferred[list[dict[str, Any]]]:
        """
        See L{IFleetStore}.
        """
        where, values = _where(None, node)
        found = self._ask(f"SELECT record FROM reports {where} ORDER BY at DESC LIMIT ?", *values, limit)
        return found.addCallback(lambda rows: [fromText(row) for row, in rows])

    # ------------------------------------------------------------------ what is old

    def takeTurn(self) -> Deferred[bool]:
        """
        See L{IFleetStore}. There is nobody else.
        """
        return succeed(True)

    def leaveTurn(self) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """
        return succeed(None)

    def aged(self, before: float) -> Deferred[int]:
        """
        See L{IFleetStore}.
        """
        found = self._ask("SELECT COUNT(*) FROM audit WHERE at < ?", before)
        return found.addCallback(lambda rows: int(rows[0][0]))

    def prune(
        self, kind: Kept, before: float, after: str = "", spared: Collection[str] = ()
    ) -> Deferred[Pruned]:
        """
        See L{IFleetStore}.
        """
        return self._run(lambda cursor: prune(cursor, kind, before, after, spared))

    # ------------------------------------------------------------------ claims

    def claim(
        self, group: str, server: str, allowed: Callable[[frozenset[str]], str]
    ) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """
        return self._claiming.run(lambda: Deferred.fromCoroutine(self._claim(group, server, allowed)))

    async def _claim(self, group: str, server: str, allowed: Callable[[frozenset[str]], str]) -> None:
        why = allowed(await self.claims(group) - {server})
        if why:
            raise OrderRefused(why)
        await self._do("INSERT OR IGNORE INTO claims VALUES (?, ?)", group, server)

    def hold(self, group: str, server: str) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """

        def check(claimed: frozenset[str]) -> None:
            if server not in claimed:
                raise StoreError(f"{server} is not claimed in the group {group}")

        return self.claims(group).addCallback(check)

    def release(self, group: str, server: str, owner: str = "") -> Deferred[None]:
        """
        See L{IFleetStore}.
        """
        return self._do("DELETE FROM claims WHERE budget = ? AND server = ?", group, server)

    def claims(self, group: str) -> Deferred[frozenset[str]]:
        """
        See L{IFleetStore}.
        """
        return self._run(lambda cursor: _claimed(cursor, group))

    def held(self) -> Deferred[list[tuple[str, str, str]]]:
        """
        See L{IFleetStore}.
        """
        return self._ask("SELECT budget, server, '' FROM claims ORDER BY budget, server")

    # ------------------------------------------------------------------ the thread

    def _put(self, sql: str, *values: Any, record: Any) -> Deferred[None]:
        try:
            text = toText(record)
        except StoreError:
            return fail()
        return self._do(sql, *values, text)

    def _do(self, sql: str, *values: Any) -> Deferred[None]:
        return self._run(lambda cursor: cursor.execute(sql, values)).addCallback(lambda _: None)

    def _ask(self, sql: str, *values: Any) -> Deferred[Any]:
        return self._run(lambda cursor: cursor.execute(sql, values).fetchall())

    def _run(self, work: Callable[[Any], T]) -> Deferred[T]:
        if self._pool is None:
            return fail(StoreError(f"the store {self._path} is not open"))

        def whole(cursor: Any) -> T:
            cursor.execute("BEGIN IMMEDIATE")
            return work(cursor)

        done: Deferred[T] = self._pool.runInteraction(whole)
        self._pending[done] = None

        def ended(result: Any) -> Any:
            del self._pending[done]
            return result

        return done.addBoth(ended).addErrback(self._failed)

    def _failed(self, failure: Failure) -> Failure:
        if failure.check(SIPGraceError):
            return failure
        return Failure(StoreError(f"the store {self._path}: {failure.getErrorMessage()}"))


def _fork(waited: Deferred[Any]) -> Deferred[None]:
    fork: Deferred[None] = Deferred()

    def passOn(result: Any) -> Any:
        fork.callback(None)
        return result

    waited.addBoth(passOn)
    return fork


def _where(before: float | None, node: str = "") -> tuple[str, list[Any]]:
    wanted = [("at < ?", before)] if before is not None else []
    if node:
        wanted.append(("node = ?", node))  # type: ignore[arg-type]
    text = " AND ".join(condition for condition, _ in wanted)
    return f"WHERE {text}" if text else "", [value for _, value in wanted]


def _claimed(cursor: Any, group: str) -> frozenset[str]:
    rows = cursor.execute("SELECT server FROM claims WHERE budget = ?", (group,)).fetchall()
    return frozenset(server for server, in rows)


def _opened(connection: Any) -> None:
    connection.execute("PRAGMA busy_timeout = 5000")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


def _prepare(cursor: Any) -> None:
    version = cursor.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise StoreError(f"its tables are of version {version}; this program knows those up to {VERSION}")
    for number, tables in enumerate((_TABLES, _TABLES_2, _TABLES_3), start=1):
        # executescript() would end our transaction.
        for statement in _statements(tables) if version < number else ():
            cursor.execute(statement)
    if version < VERSION:
        cursor.execute(f"PRAGMA user_version = {VERSION}")


def _statements(tables: str) -> list[str]:
    found: list[str] = []
    text = ""
    for line in tables.strip().splitlines():
        text += line + "\n"
        if sqlite3.complete_statement(text):
            found.append(text)
            text = ""
    return found
