"""
The store in a file.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from sipgrace.controller.facts import Kept, Pruned
from sipgrace.controller.store.sqlite import SQLiteStore
from sipgrace.errors import StoreError
from tests.storecontract import StoreContract, anOrder, aRolling


class SQLite(StoreContract, TestCase):
    """
    The contract, and what is a file's own.
    """

    maxDiff = None
    OWNER = ""

    def setUp(self) -> None:
        """
        A place for the file.
        """
        self.path = Path(self.mktemp())

    def makeStore(self) -> SQLiteStore:
        """
        See L{StoreContract}.
        """
        return SQLiteStore(reactor, self.path)

    async def refused(self) -> str:
        """
        Why it does not open.
        """
        with self.assertRaises(StoreError) as caught:
            await self.makeStore().start()
        return str(caught.exception)

    async def test_durable(self) -> None:
        """
        The file is its owner's alone, and is written through to the disk.
        """
        store = await self.opened()
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        modes = await store._run(
            lambda cursor: [
                cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
            ]
        )
        self.assertEqual(modes, ["wal", 2])
        self.assertFalse(store.shared)

    async def test_auditStays(self) -> None:
        """
        Nothing in the audit log can be changed or removed, by any mistake of ours.
        """
        store = await self.opened()
        await store.addAudit({"at": 0.5, "what": "order"})
        await store.addAudit({"at": 1.0, "what": "order"})
        await store.prune(Kept.AUDIT, 1.0)
        for sql in ("UPDATE audit SET at = 2", "DELETE FROM audit"):
            with self.assertRaises(StoreError) as caught:
                await store._do(sql)
            self.assertIn("the audit log stays", str(caught.exception))
        self.assertEqual(await store.audit(), [{"at": 1.0, "what": "order"}])

    async def test_oneController(self) -> None:
        """
        A second controller with the same file does not start; after the end of the first it does.
        """
        store = await self.opened()
        self.assertIn("another controller has it open", await self.refused())
        await store.stop()
        await self.opened()

    async def test_laterVersion(self) -> None:
        """
        A file of a later version is left alone.
        """
        with sqlite3.connect(self.path) as connection:
            connection.execute("PRAGMA user_version = 4")
        self.assertIn("of version 4; this program knows those up to 3", await self.refused())

    async def test_formerVersion(self) -> None:
        """
        A file of a former version gets what it lacks, and keeps what it has.
        """
        store = await self.opened()
        await store.putOrder(anOrder("a", 1000.0))
        await store.addAudit({"at": 1.0, "what": "order"})
        await store.stop()
        with sqlite3.connect(self.path) as connection:
            connection.execute("DROP TABLE nodes")
            connection.execute("DROP TABLE audit_going")
            connection.execute("DROP TRIGGER audit_lasts")
            connection.execute(
                "CREATE TRIGGER audit_lasts BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'stays'); END"
            )
            connection.execute("PRAGMA user_version = 1")
        store = await self.opened()
        self.assertEqual(await store.orders(), [anOrder("a", 1000.0)])
        self.assertEqual(await store.nodes(), [])
        self.assertEqual(await store.prune(Kept.AUDIT, 2.0), Pruned(1))

    async def test_pruneUnreadable(self) -> None:
        """
        A record that somebody has put there by hand, and that is none, keeps nothing else from going.
        """
        store = await self.opened()
        await store._do("INSERT INTO orders VALUES ('a', 'n', 1.0, 1, 'no')")
        await store._do("INSERT INTO rollings VALUES ('a', 1.0, 'no')")
        await store.putRolling(replace(aRolling("r1", 1000.0), ended=1001.0))
        self.assertEqual((await store.prune(Kept.ROLLINGS, 2000.0)).removed, 1)
        self.assertEqual((await store.prune(Kept.ORDERS, 2000.0)).removed, 0)

    async def test_noStore(self) -> None:
        """
        A file that is none, and one that cannot be made, are named.
        """
        self.path.write_bytes(b"this is no database" * 100)
        self.assertIn(f"{self.path}: file is not a database", await self.refused())
        self.path = Path(self.mktemp()) / "store.sqlite"
        self.assertIn(f"{self.path} cannot be opened: No such file or directory", await self.refused())

    async def test_unreadable(self) -> None:
        """
        A record that somebody has put there by hand, and that is none, is said to be.
        """
        store = await self.opened()
        for text in ('{"id":"a"}', "no", "[]", '{"id":"a","outcome":"odd"}'):
            await store._do("INSERT OR REPLACE INTO orders VALUES ('a', 'n', 1.0, 1, ?)", text)
            with self.assertRaises(StoreError):
                await store.openOrders()

    async def test_stopWaits(self) -> None:
        """
        What was asked for before the end is done.
        """
        store = await self.opened()
        written = [store.putOrder(anOrder(f"o{n}", 1000.0 + n)) for n in range(20)]
        await store.stop()
        self.assertTrue(all(one.called for one in written))
        store = await self.opened()
        self.assertEqual(len(await store.orders()), 20)

    async def test_killed(self) -> None:
        """
        What was written is there after SIGKILL, and the file can be opened at once.
        """
        program = (
            "import os, sys, pathlib\n"
            "from twisted.internet import reactor\n"
            "from sipgrace.controller.store.sqlite import SQLiteStore\n"
            "from tests.storecontract import anOrder\n"
            "async def main():\n"
            "    store = SQLiteStore(reactor, pathlib.Path(sys.argv[1]))\n"
            "    await store.start()\n"
            "    await store.putOrder(anOrder('a', 1.0))\n"
            "    await store.claim('default', 'server-102', lambda claimed: '')\n"
            "    os.kill(os.getpid(), 9)\n"
            "from twisted.internet.defer import Deferred\n"
            "reactor.callWhenRunning(lambda: Deferred.fromCoroutine(main()))\n"
            "reactor.run()\n"
        )
        root = str(Path(__file__).parent.parent)
        environment = {**os.environ, "PYTHONPATH": root}
        command = [sys.executable, "-c", program, str(self.path)]
        ended = subprocess.run(command, env=environment, timeout=60, check=False)
        self.assertEqual(ended.returncode, -9)
        store = await self.opened()
        self.assertEqual(await store.openOrders(), [anOrder("a", 1.0)])
        self.assertEqual(await store.held(), [("default", "server-102", "")])
