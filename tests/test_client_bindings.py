"""
Where registered users are: in memory, and in a file.
"""

from __future__ import annotations

import gc
import sqlite3
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from weakref import ref

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from sipgrace.client.bindingfile import BindingFile
from sipgrace.client.bindings import Binding, Bindings, Record, Source
from sipgrace.client.service import ClientService
from sipgrace.config.load import parseClient
from sipgrace.errors import ConfigError
from sipgrace.interfaces import IAssociation
from sipgrace.message.uri import SIPURI
from sipgrace.testing import MemoryNetwork, Recorder

ALICE = (b"alice", b"example.org")
BOB = (b"bob", b"example.org")
SOURCE = Source(b"SIP/2.0/UDP 192.0.2.1:5060", "198.51.100.7", 40001)


def binding(number: int = 1, expires: float = 2000.0, q: int = 1000, source: Source | None = None) -> Binding:
    """
    One at C{192.0.2.<number>}.
    """
    return Binding(b"sip:phone@192.0.2.%d" % number, expires, b"call-%d" % number, 1, q, source)


class MemoryKeeper:
    """
    Keeps bindings for a test, and writes down what it is asked.

    @ivar slow: whether writes wait until they are told what becomes of them, in C{pending}.
    """

    def __init__(self, rows: Sequence[tuple[Record, Binding]] = ()) -> None:
        self.rows: dict[Record, list[Binding]] = {}
        for record, one in rows:
            self.rows.setdefault(record, []).append(one)
        self.slow = False
        self.pending: list[Deferred[None]] = []
        self.writes: list[list[Record]] = []
        self.log: list[object] = []

    def load(self, now: float) -> Deferred[list[tuple[Record, Binding]]]:
        self.log.append(("load", now))
        return succeed([(record, one) for record, bindings in self.rows.items() for one in bindings])

    def write(self, changes: Mapping[Record, Sequence[Binding]]) -> Deferred[None]:
        self.writes.append(list(changes))
        done: Deferred[None] = Deferred()
        done.addCallback(lambda ignored: self.rows.update({key: [*value] for key, value in changes.items()}))
        if self.slow:
            self.pending.append(done)
        else:
            done.callback(None)
        return done

    def expire(self, now: float) -> Deferred[None]:
        self.log.append(("expire", now))
        return succeed(None)

    def close(self) -> None:
        self.log.append("close")


class BindingsTests(SynchronousTestCase):
    """
    In memory.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.keeper = MemoryKeeper()
        self.bindings = self.make()

    def make(self) -> Bindings:
        bindings = Bindings(self.clock, self.clock.seconds, self.keeper)
        self.successResultOf(bindings.open())
        return bindings

    def put(self, record: Record, *bindings: Binding) -> None:
        self.successResultOf(self.bindings.replace(record, bindings))

    def test_order(self) -> None:
        """
        The preferred one first, the newer one of equals; and of each user only their own.
        """
        self.put(ALICE, binding(1), binding(2, q=500), binding(3), binding(4, q=0))
        self.put(BOB, binding(9))
        found = [one.uri[-1:] for one in self.bindings.of(ALICE)]
        self.assertEqual(found, [b"3", b"1", b"2", b"4"])
        self.assertEqual(self.bindings.of(BOB), [binding(9)])
        self.assertEqual(self.bindings.of((b"alice", b"example.com")), [])
        self.assertEqual(self.bindings.counts(), {"users": 2, "bindings": 5})
        self.put(BOB)
        self.assertEqual(self.bindings.of(BOB), [])
        self.assertEqual(self.bindings.counts(), {"users": 1, "bindings": 4})

    def test_ended(self) -> None:
        """
        What has ended is not told of any more, and taken out within a minute.
        """
        self.put(ALICE, binding(1, 1010), binding(2, 1500))
        self.put(BOB, binding(3, 1010))
        self.clock.advance(9)
        self.assertEqual(len(self.bindings.of(ALICE)), 2)
        self.clock.advance(1)
        self.assertEqual(self.bindings.of(ALICE), [binding(2, 1500)])
        self.assertEqual(self.bindings.of(BOB), [])
        self.assertEqual(self.bindings.counts(), {"users": 2, "bindings": 3})
        self.clock.advance(50)
        self.assertEqual(self.bindings.counts(), {"users": 1, "bindings": 1})
        self.assertEqual(self.keeper.log, [("load", 1000), ("expire", 1060)])

    def test_unwanted(self) -> None:
        """
        Whose account or domain has gone is not found again after a restart, in the file neither.
        """
        gone = (b"alice", b"example.com")
        for record in (ALICE, BOB, gone):
            self.put(record, binding(1))
        self.bindings.close()
        wanted = {ALICE}
        bindings = Bindings(self.clock, self.clock.seconds, self.keeper, wanted.__contains__)
        self.successResultOf(bindings.open())
        self.assertEqual([len(bindings.of(record)) for record in (ALICE, BOB, gone)], [1, 0, 0])
        self.assertEqual(bindings.counts(), {"users": 1, "bindings": 1})
        left = [record for record, found in self.keeper.rows.items() if found]
        self.assertEqual(left, [ALICE])

    def test_closed(self) -> None:
        self.bindings.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.keeper.log[-1], "close")

    def test_written(self) -> None:
        """
        A binding counts when it is written, not before. What comes meanwhile is written together.
        """
        self.keeper.slow = True
        first = self.bindings.replace(ALICE, [binding(1)])
        others = [self.bindings.replace(BOB, [binding(2)]), self.bindings.replace((b"c", b"x"), [binding(3)])]
        self.assertEqual((self.bindings.of(ALICE), self.bindings.waiting), ([], 3))
        self.assertNoResult(first)
        self.assertEqual(self.keeper.writes, [[ALICE]])
        self.keeper.pending[0].callback(None)
        self.successResultOf(first)
        self.assertEqual((self.bindings.of(ALICE), self.bindings.waiting), ([binding(1)], 2))
        self.assertEqual(self.keeper.writes, [[ALICE], [BOB, (b"c", b"x")]])
        self.assertNoResult(others[0])
        self.keeper.pending[1].callback(None)
        for other in others:
            self.successResultOf(other)
        self.assertEqual((self.bindings.of(BOB), self.bindings.waiting), ([binding(2)], 0))

    def test_notWritten(self) -> None:
        """
        What could not be written has not happened; the next may be.
        """
        self.put(ALICE, binding(1))
        self.keeper.slow = True
        failing = self.bindings.replace(ALICE, [])
        waiting = self.bindings.replace(BOB, [binding(2)])
        self.keeper.pending[0].errback(sqlite3.OperationalError("disk full"))
        self.failureResultOf(failing, sqlite3.OperationalError)
        self.assertEqual(self.bindings.of(ALICE), [binding(1)])
        self.keeper.pending[1].callback(None)
        self.successResultOf(waiting)
        self.assertEqual(self.bindings.of(BOB), [binding(2)])

    def test_raises(self) -> None:
        """
        A keeper that cannot even be asked.
        """
        self.patch(self.keeper, "write", lambda changes: 1 / 0)
        self.failureResultOf(self.bindings.replace(ALICE, [binding()]), ZeroDivisionError)
        self.assertEqual(self.bindings.waiting, 0)

    def test_loaded(self) -> None:
        self.keeper = MemoryKeeper([(ALICE, binding(1)), (BOB, binding(2)), (ALICE, binding(3))])
        bindings = self.make()
        self.assertEqual(bindings.of(ALICE), [binding(3), binding(1)])
        self.assertEqual(bindings.of(BOB), [binding(2)])

    def test_way(self) -> None:
        """
        Found by the contact, for the requests of a dialog: those with a way of their own, where it is one
        way alone.
        """
        element = MemoryNetwork().element(Recorder(), "192.0.2.1")
        connection = ref(element)
        self.put(ALICE, binding(1, source=SOURCE), binding(2), binding(3)._replace(connection=connection))
        at = self.bindings.at
        self.assertEqual(at(SIPURI.parse(b"sip:phone@192.0.2.1;ob")), binding(1, source=SOURCE))
        self.assertEqual(at(SIPURI.parse(b"sip:phone@192.0.2.2")), None)
        # Over a connection a telephone may name another port in its calls than it does when it registers.
        for uri in (b"sip:phone@192.0.2.3", b"sip:phone@192.0.2.3:40123"):
            self.assertEqual(at(SIPURI.parse(uri)).connection, connection)
        self.assertEqual(at(SIPURI.parse(b"sip:phone@192.0.2.3;transport=tcp")), None)
        for other in (b"sip:phone@192.0.2.1:5060", b"sip:other@192.0.2.1", b"sip:192.0.2.1"):
            self.assertEqual(at(SIPURI.parse(other)), None)
        # Of a connection that has gone for good nothing is left.
        other = MemoryNetwork().element(Recorder(), "192.0.2.2")
        self.put((b"c", b"x"), binding(4)._replace(connection=ref(other)))
        del other
        gc.collect()
        self.assertEqual(at(SIPURI.parse(b"sip:phone@192.0.2.4")), None)
        self.put((b"c", b"x"))
        # Two telephones that call themselves the same, behind two NATs.
        elsewhere = SOURCE._replace(host="203.0.113.5")
        self.put(BOB, binding(1, 1500, source=elsewhere))
        self.assertEqual(at(SIPURI.parse(b"sip:phone@192.0.2.1")), None)
        self.clock.advance(500)
        self.assertEqual(at(SIPURI.parse(b"sip:phone@192.0.2.1")), binding(1, source=SOURCE))
        self.put(ALICE)
        self.assertEqual(at(SIPURI.parse(b"sip:phone@192.0.2.1")), None)
        self.clock.advance(60)
        self.assertEqual(self.bindings._ways, {})


class FileTests(TestCase):
    """
    The file itself, and the thread that writes it.
    """

    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    async def opened(self, now: float = 1000.0) -> tuple[BindingFile, list[tuple[Record, Binding]]]:
        file = BindingFile(reactor, self.path)
        rows = await file.load(now)
        self.addCleanup(file.close)
        return file, rows

    async def test_kept(self) -> None:
        """
        All there is to a binding is there again, in its order, but for its connection.
        """
        file, rows = await self.opened()
        self.assertEqual(rows, [])
        strange = (b"\x00\xff'; DROP TABLE bindings; --", b"example.org")
        element = MemoryNetwork().element(Recorder(), "192.0.2.1")
        connected: Binding = binding(3)._replace(connection=ref[IAssociation](element))
        await file.write({ALICE: [binding(2, q=300), binding(1, source=SOURCE)], strange: [connected]})
        await file.write({ALICE: [binding(4), binding(1, source=SOURCE), binding(2, q=0)], BOB: [binding(5)]})
        await file.write({BOB: []})
        file.close()
        _, rows = await self.opened()
        self.assertEqual(
            rows,
            [
                (strange, binding(3)),
                (ALICE, binding(4)),
                (ALICE, binding(1, source=SOURCE)),
                (ALICE, binding(2, q=0)),
            ],
        )

    async def test_ended(self) -> None:
        """
        What has ended leaves the file, at the start and later.
        """
        file, _ = await self.opened()
        await file.write({ALICE: [binding(1, 1100), binding(2, 1200), binding(3, 1300)]})
        await file.expire(1100.0)
        self.assertEqual(self.read("SELECT expires FROM bindings ORDER BY 1"), [(1200,), (1300,)])
        file.close()
        file, rows = await self.opened(1200)
        self.assertEqual(rows, [(ALICE, binding(3, 1300))])
        self.assertEqual(self.read("SELECT count(*) FROM bindings"), [(1,)])

    def read(self, question: str) -> list[object]:
        connection = sqlite3.connect(self.path)
        try:
            return connection.execute(question).fetchall()
        finally:
            connection.close()

    async def test_allOrNothing(self) -> None:
        """
        A write that fails has changed nothing, and the next one goes on.
        """
        file, _ = await self.opened()
        await file.write({ALICE: [binding(1)]})
        broken = binding(2)._replace(uri=None)
        await self.assertFailure(file.write({ALICE: [], BOB: [broken]}), sqlite3.IntegrityError)
        await file.write({BOB: [binding(3)]})
        file.close()
        _, rows = await self.opened()
        self.assertEqual(rows, [(ALICE, binding(1)), (BOB, binding(3))])

    async def test_durable(self) -> None:
        """
        Written ahead, and to the disk, when a write is done; readable by its owner alone.
        """
        file, _ = await self.opened()
        assert file._pool is not None

        def look(cursor: sqlite3.Cursor) -> list[object]:
            return [
                cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
            ]

        self.assertEqual(await file._pool.runInteraction(look), ["wal", 2])
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)

    async def test_unusable(self) -> None:
        """
        No database, one of a later version, and a place where there can be none.
        """
        self.path.write_bytes(b"not a database, as anybody can see" * 100)
        text = await self.refused()
        self.assertIn("file is not a database", text)
        self.path.unlink()
        connection = sqlite3.connect(self.path)
        connection.execute("PRAGMA user_version = 9")
        connection.close()
        self.assertIn("it is of version 9, and this program knows 1", await self.refused())
        self.path = self.path / "nowhere" / "file"
        await self.refused()

    async def refused(self) -> str:
        error = await self.assertFailure(BindingFile(reactor, self.path).load(0.0), ConfigError)
        text = str(error)
        self.assertTrue(text.startswith(f"registrar.database {self.path}: cannot be used: "), text)
        return text

    async def test_notOpen(self) -> None:
        file = BindingFile(reactor, self.path)
        self.assertRaises(sqlite3.ProgrammingError, file.write, {})
        file.close()


class StoppedTests(SynchronousTestCase):
    """
    A client that is stopped before its file is open.
    """

    TEXT = """
[client]
name = "client-110"
listen = ["udp:0:interface=127.0.7.2"]
[registrar]
domains = ["example.com"]
database = "{path}"
[[registrar.accounts]]
user = "alice"
password = "not so secret"
[[servers]]
name = "server-102"
address = "tcp:host=127.0.7.9:port=9"
"""

    def test_stopped(self) -> None:
        """
        It does not come into service when the file is open, nor does anything go on.
        """
        rows: Deferred[Any] = Deferred()
        self.patch(BindingFile, "load", lambda keeper, now: rows)
        clock = Clock()
        text = self.TEXT.format(path=Path(self.mktemp()).absolute())
        client = ClientService(clock, parseClient(text, "client.toml"))
        started = client.startService()
        client.stopService()
        rows.callback([])
        self.failureResultOf(started, CancelledError)
        self.assertEqual(client.element.lifecycle.status().state, "offline")
        self.assertEqual(clock.getDelayedCalls(), [])
