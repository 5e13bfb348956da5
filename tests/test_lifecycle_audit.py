"""
What is written to the disk: the audit log and the nonces, in real files.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, execute, gatherResults
from twisted.trial.unittest import SynchronousTestCase, TestCase

from sipgrace.errors import ConfigError, OrderRefused
from sipgrace.lifecycle import audit
from sipgrace.lifecycle.aside import Aside
from sipgrace.lifecycle.audit import AuditLog, addLine, stamp
from sipgrace.lifecycle.nonces import Nonces


def atOnce(work: Callable[[], Any]) -> Deferred[Any]:
    """
    Done before this returns, without a thread.
    """
    return execute(work)


class Later:
    """
    Done when the test says so.
    """

    def __init__(self) -> None:
        self.waiting: list[tuple[Callable[[], Any], Deferred[Any]]] = []

    def __call__(self, work: Callable[[], Any]) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.waiting.append((work, done))
        return done

    def go(self) -> None:
        waiting, self.waiting = self.waiting, []
        for work, done in waiting:
            execute(work).chainDeferred(done)


def lines(path: Path) -> list[dict[str, Any]]:
    """
    The records in an audit log.
    """
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class LineTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.mkdir()
        self.path /= "audit.jsonl"

    def test_added(self) -> None:
        """
        Line by line, in a file for its owner alone.
        """
        addLine(self.path, b"one")
        addLine(self.path, b"two")
        self.assertEqual(self.path.read_bytes(), b"one\ntwo\n")
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)

    def test_synced(self) -> None:
        """
        All of it is on the disk before the call returns: the line, and the name of a new file.
        """
        calls: list[str] = []

        def write(descriptor: int, data: Any) -> int:
            calls.append("write")
            # As the kernel may: not all at once.
            return written(descriptor, bytes(data)[:2])

        written, synced = os.write, os.fsync
        self.patch(audit.os, "write", write)
        self.patch(audit.os, "fsync", lambda descriptor: (calls.append("fsync"), synced(descriptor)))
        addLine(self.path, b"one")
        self.assertEqual(calls, ["write", "write", "fsync", "fsync"])
        calls.clear()
        addLine(self.path, b"two")
        self.assertEqual(calls, ["write", "write", "fsync"])
        self.assertEqual(self.path.read_bytes(), b"one\ntwo\n")

    def test_cutShort(self) -> None:
        """
        A record that a full disk or a loss of power has cut short does not spoil the next.
        """
        self.path.write_bytes(b'{"what":"order"}\n{"wha')
        addLine(self.path, b'{"what":"obeyed"}')
        self.assertEqual(self.path.read_bytes(), b'{"what":"order"}\n{"wha\n{"what":"obeyed"}\n')

    def test_moved(self) -> None:
        """
        logrotate moves it away; the next record begins a new one.
        """
        addLine(self.path, b"one")
        old = self.path.with_suffix(".1")
        self.path.rename(old)
        addLine(self.path, b"two")
        self.assertEqual((old.read_bytes(), self.path.read_bytes()), (b"one\n", b"two\n"))

    def test_closed(self) -> None:
        """
        Neither success nor failure leaves a file open.
        """
        before = os.listdir("/proc/self/fd")
        addLine(self.path, b"one")
        self.assertRaises(FileNotFoundError, addLine, self.path.parent / "no" / "such", b"one")
        self.patch(audit.os, "fsync", lambda descriptor: os.close(10**6))
        self.assertRaises(OSError, addLine, self.path, b"two")
        self.assertEqual(len(os.listdir("/proc/self/fd")), len(before))

    def test_stamp(self) -> None:
        self.assertEqual(stamp(1763800000.2504), "2025-11-22T08:26:40.250Z")
        self.assertEqual(stamp(0), "1970-01-01T00:00:00.000Z")


class LogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def test_record(self) -> None:
        log = AuditLog(self.path, atOnce)
        self.successResultOf(log.record({"what": "order", "by": "Zoë"}))
        log.note({"what": "obeyed"})
        log.recordNow({"what": "refused", "bad": "\ud800"})
        self.assertEqual(
            self.path.read_bytes(),
            '{"what":"order","by":"Zoë"}\n{"what":"obeyed"}\n{"what":"refused","bad":"\\ud800"}\n'.encode(),
        )

    def test_fails(self) -> None:
        """
        Whoever waits is told; of what nobody waits for, the log tells, with all that is missing.
        """
        self.path.mkdir()
        log = AuditLog(self.path, atOnce)
        failure = self.failureResultOf(log.record({"what": "order"}), OSError)
        self.assertEqual(failure.value.errno, errno.EISDIR)
        log.note({"what": "obeyed"})
        log.recordNow({"what": "refused"})

    def test_stuck(self) -> None:
        """
        The end of a process does not wait for a disk that does not answer.
        """
        go = threading.Event()
        self.addCleanup(go.set)
        self.patch(audit.os, "fsync", lambda descriptor: go.wait(20))
        log = AuditLog(self.path, atOnce)
        log.HURRY = 0.2
        began = time.monotonic()
        log.recordNow({"what": "obeyed"})
        self.assertTrue(0.2 <= time.monotonic() - began < 5)

    def test_flood(self) -> None:
        """
        While the disk is slow, refusals beyond a bound are only counted; the next record says how many.
        """
        later = Later()
        log = AuditLog(self.path, later)
        self.patch(log, "MOST", 3)
        for number in range(10):
            log.note({"number": number})
        self.assertEqual(len(later.waiting), 3)
        self.assertEqual(log.unrecorded, 7)
        later.go()
        log.note({"number": 10})
        log.note({"number": 11})
        later.go()
        self.assertEqual(
            lines(self.path),
            [
                {"number": 0},
                {"number": 1},
                {"number": 2},
                {"number": 10, "unrecorded": 7},
                {"number": 11},
            ],
        )


class FullTests(SynchronousTestCase):
    def test_full(self) -> None:
        """
        A disk that is full, really.
        """
        if not os.access("/dev/full", os.W_OK):
            self.skipTest("there is no /dev/full")
        log = AuditLog(Path("/dev/full"), atOnce)
        failure = self.failureResultOf(log.record({"what": "order"}), OSError)
        self.assertEqual(failure.value.errno, errno.ENOSPC)


class AsideTests(TestCase):
    timeout = 30

    def test_oneAfterAnother(self) -> None:
        """
        In threads, but in the order in which it was asked, and never two at a time.
        """
        aside = Aside(reactor)
        seen: list[int] = []
        busy = threading.Lock()
        ours = threading.get_ident()

        def work(number: int) -> int:
            self.assertNotEqual(threading.get_ident(), ours)
            self.assertTrue(busy.acquire(blocking=False))
            seen.append(number)
            busy.release()
            return number

        done = gatherResults([aside(lambda number=number: work(number)) for number in range(20)])
        self.assertEqual(aside.waiting, 20)

        def check(results: list[int]) -> None:
            self.assertEqual(results, list(range(20)))
            self.assertEqual(seen, results)
            self.assertEqual(aside.waiting, 0)

        return done.addCallback(check)

    async def test_fails(self) -> None:
        """
        What one piece raises is its own affair.
        """
        aside = Aside(reactor)
        first = aside(lambda: os.close(10**6))
        second = aside(lambda: "two")
        await self.assertFailure(first, OSError)
        self.assertEqual(await second, "two")


class NonceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def take(self, nonces: Nonces, nonce: str, expires: float, now: float) -> None:
        nonces.take(nonce, expires, now)
        nonces.storing(nonce, expires, now)()

    def again(self, now: float) -> Nonces:
        nonces = Nonces(self.path)
        nonces.load(now)
        return nonces

    def test_twice(self) -> None:
        nonces = Nonces()
        self.take(nonces, "a" * 16, 100, 50)
        error = self.assertRaises(OrderRefused, nonces.take, "a" * 16, 100, 50)
        self.assertEqual(
            str(error), "an order with this nonce has been given before; each order needs its own"
        )
        self.take(nonces, "b" * 16, 100, 50)

    def test_restart(self) -> None:
        """
        A restart forgets those that have expired, and no other.
        """
        nonces = self.again(0)
        self.take(nonces, "a" * 16, 100.5, 50)
        self.take(nonces, "b" * 16, 200, 50)
        self.assertEqual(self.path.read_bytes(), b"100500 aaaaaaaaaaaaaaaa\n200000 bbbbbbbbbbbbbbbb\n")
        nonces = self.again(150)
        self.assertEqual(len(nonces), 1)
        self.assertRaises(OrderRefused, nonces.take, "b" * 16, 200, 150)
        nonces.take("a" * 16, 200, 150)

    def test_cutShort(self) -> None:
        self.path.write_bytes(b"200000 aaaaaaaaaaaaaaaa\nrubbish\n\xff\xfe\n2000")
        nonces = self.again(50)
        self.assertEqual(len(nonces), 1)
        self.take(nonces, "b" * 16, 200, 50)
        self.assertEqual(len(self.again(50)), 2)

    def test_full(self) -> None:
        """
        Bounded: none that is alive is forgotten for a new one.
        """
        nonces = Nonces(most=3)
        for number in range(3):
            nonces.take(f"nonce{number}", 100 + number, 50)
        error = self.assertRaises(OrderRefused, nonces.take, "one more", 200, 50)
        self.assertEqual(str(error), "3 orders are remembered, which is the most; wait until some expire")
        nonces.take("one more", 200, 100)
        self.assertEqual(len(nonces), 3)

    def test_rewritten(self) -> None:
        """
        The file does not grow for ever, and is whole at any moment.
        """
        # Thousands of these would take a real disk long.
        self.patch(audit.os, "fsync", lambda descriptor: None)
        nonces = self.again(0)
        self.take(nonces, "kept", 10**6, 0)
        for number in range(2500):
            self.take(nonces, f"nonce{number}", number + 1, number)
        found = self.path.read_text().splitlines()
        self.assertLess(len(found), 1100)
        self.assertIn("1000000000 kept", found)
        again = self.again(2499.5)
        self.assertEqual(len(again), 2)
        self.assertRaises(OrderRefused, again.take, "nonce2499", 2500, 2499.5)
        self.assertRaises(OrderRefused, again.take, "kept", 10**6, 2499.5)
        self.assertEqual(os.listdir(self.path.parent), [self.path.name])

    def test_rewrittenOnDisk(self) -> None:
        """
        The loss of power does not bring the former file back, which lacks the latest nonce: its folder is on
        the disk before the order acts.
        """
        done: list[str] = []

        def fsync(descriptor: int) -> None:
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                done.append("folder")

        replace = os.replace

        def replaced(*paths: Any) -> None:
            done.append("replaced")
            replace(*paths)

        self.patch(os, "fsync", fsync)
        self.patch(os, "replace", replaced)
        nonces = self.again(0)
        for number in range(1002):
            self.take(nonces, f"nonce{number}", number + 1, number)
        self.assertEqual(done[-2:], ["replaced", "folder"])
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)

    def test_unreadable(self) -> None:
        self.path.mkdir()
        error = self.assertRaises(ConfigError, self.again, 0)
        self.assertEqual(
            str(error), f"{self.path}: the nonces of earlier orders cannot be read: Is a directory"
        )
