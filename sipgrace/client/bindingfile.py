"""
The file that keeps the registrations of a client's users: SQLite, used by a thread of its own so that the
reactor never waits for the disk.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

from twisted.enterprise.adbapi import ConnectionPool, Transaction
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from sipgrace.client.bindings import Binding, Record, Source
from sipgrace.errors import ConfigError

__all__ = ["BindingFile"]

#: C{user_version} of the file: raised with every change of what it holds.
_VERSION: Final = 1

#: Seconds that a write waits for another program that has the file.
_PATIENCE: Final = 5.0

_COLUMNS: Final = "user, host, place, uri, expires, callId, cseq, q, via, sourceHost, sourcePort"

_SCHEMA: Final = (
    """
    CREATE TABLE IF NOT EXISTS bindings (
        user BLOB NOT NULL, host BLOB NOT NULL, place INTEGER NOT NULL, uri BLOB NOT NULL,
        expires REAL NOT NULL, callId BLOB NOT NULL, cseq INTEGER NOT NULL, q INTEGER NOT NULL,
        via BLOB, sourceHost TEXT, sourcePort INTEGER,
        PRIMARY KEY (user, host, place)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX IF NOT EXISTS bindingsByExpiry ON bindings (expires)",
    f"PRAGMA user_version = {_VERSION}",
)


class BindingFile:
    """
    See L{sipgrace.client.bindings.Keeper}.
    """

    def __init__(self, reactor: Any, path: Path) -> None:
        """
        @param path: it is made where it is not there, for its owner alone.
        """
        self._reactor = reactor
        self._path = path
        self._pool: ConnectionPool | None = None

    def load(self, now: float) -> Deferred[list[tuple[Record, Binding]]]:
        """
        Opens the file.

        @return: fails with L{ConfigError} when it cannot be used.
        """
        self._pool = pool = ConnectionPool(
            "sqlite3",
            os.fspath(self._path),
            timeout=_PATIENCE,
            check_same_thread=False,
            cp_reactor=self._reactor,
            cp_min=1,
            cp_max=1,
            cp_openfun=self._prepare,
            cp_noisy=False,
        )
        loaded: Deferred[Any] = pool.runInteraction(self._load, now)
        return loaded.addErrback(self._unusable)

    def _prepare(self, file: sqlite3.Connection) -> None:
        # SQLite gives its other files the mode of this one.
        os.chmod(self._path, 0o600)
        # Who was answered 200 is in the file when the host has lost its power, too.
        file.execute("PRAGMA synchronous=FULL")
        file.execute("PRAGMA journal_mode=WAL")

    def _load(self, cursor: Transaction, now: float) -> list[tuple[Record, Binding]]:
        (version,) = cursor.execute("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            raise ConfigError(f"it is of version {version}, and this program knows {_VERSION}")
        for statement in _SCHEMA:
            cursor.execute(statement)
        cursor.execute("DELETE FROM bindings WHERE expires <= ?", (now,))
        rows = cursor.execute(f"SELECT {_COLUMNS} FROM bindings ORDER BY user, host, place")
        return [_fromRow(row) for row in rows.fetchall()]

    def _unusable(self, reason: Failure) -> Failure:
        reason.trap(sqlite3.Error, OSError, ConfigError)
        self.close()
        return Failure(
            ConfigError(f"registrar.database {self._path}: cannot be used: {reason.getErrorMessage()}")
        )

    def write(self, changes: Mapping[Record, Sequence[Binding]]) -> Deferred[None]:
        """
        Puts these in the place of all that there was of the same users.
        """
        return self._run(_write, changes)

    def expire(self, now: float) -> Deferred[None]:
        """
        Takes out what has ended.
        """
        return self._run(_expire, now)

    def _run(self, interaction: Any, argument: object) -> Deferred[None]:
        if self._pool is None:
            raise sqlite3.ProgrammingError("the file is not open")
        return cast("Deferred[None]", self._pool.runInteraction(interaction, argument))

    def close(self) -> None:
        """
        Waits for what is being written, and lets go of the file.
        """
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()


def _write(cursor: Transaction, changes: Mapping[Record, Sequence[Binding]]) -> None:
    cursor.executemany("DELETE FROM bindings WHERE user = ? AND host = ?", list(changes))
    cursor.executemany(
        f"INSERT INTO bindings ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            _row(record, place, binding)
            for record, bindings in changes.items()
            for place, binding in enumerate(bindings)
        ],
    )


def _expire(cursor: Transaction, now: float) -> None:
    cursor.execute("DELETE FROM bindings WHERE expires <= ?", (now,))


def _row(record: Record, place: int, binding: Binding) -> tuple[object, ...]:
    source = binding.source or (None, None, None)
    facts = (binding.uri, binding.expires, binding.callId, binding.cseq, binding.q)
    return (*record, place, *facts, *source)


def _fromRow(row: tuple[Any, ...]) -> tuple[Record, Binding]:
    user, host, _, uri, expires, callId, cseq, q, *source = row
    origin = Source(*source) if None not in source else None
    return (user, host), Binding(uri, expires, callId, cseq, q, origin)
