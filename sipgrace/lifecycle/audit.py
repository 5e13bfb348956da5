"""
The audit log: who ordered what, when, by which way, and what came of it. One JSON object a line, only ever
added to, on the disk before the order acts.
"""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from sipgrace.lifecycle.aside import Beside

__all__ = ["AuditLog", "Refusals", "addLine", "stamp"]


def stamp(seconds: float) -> str:
    """
    @param seconds: since the epoch.
    @return: the same as RFC 3339 has it, in UTC, to the millisecond.
    """
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def addLine(path: Path, line: bytes) -> None:
    """
    Adds a line to a file, which is made where there is none (for its owner alone), and has it on the disk
    before this returns.

    The file is opened for each line: they are few, and a log that was moved away (C{logrotate} needs no
    C{copytruncate} and no signal) is begun anew. A line that was cut short, by a full disk or the loss of
    power, is ended before the next.

    @raise OSError: when it cannot be written.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line
        left = memoryview(line + b"\n")
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if not size:
        # The name of a new file is on the disk when its folder is.
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class AuditLog:
    """
    One file.

    @cvar MOST: how many records may wait to be written. Of refusals beyond that, which nothing depends on,
        only the number is kept, so that whoever sends orders that are refused cannot fill the memory.
    @cvar HURRY: how many seconds the end of a process waits for a record.
    @ivar unrecorded: how many were left out so since the last record.
    """

    MOST = 1000
    HURRY = 1.0

    _log = Logger()

    def __init__(self, path: Path, beside: Beside) -> None:
        self._path = path
        self._beside = beside
        self._waiting = 0
        self.unrecorded = 0

    def record(self, facts: dict[str, Any]) -> Deferred[None]:
        """
        Adds a record.

        @param facts: fit for JSON.
        @return: fires when it is on the disk; fails with C{OSError} when it cannot be written.
        """
        line = self._line(facts)
        self._waiting += 1
        written: Deferred[None] = self._beside(lambda: addLine(self._path, line))
        return written.addBoth(self._done)

    def note(self, facts: dict[str, Any]) -> None:
        """
        Adds a record that nobody waits for. Where it cannot be written the log says so.
        """
        if self._waiting >= self.MOST:
            self.leaveOut()
            return
        self.record(facts).addErrback(self._failed, facts)

    def leaveOut(self) -> None:
        """
        Leaves out a record that nothing depends on: the next one says how many there were of these.
        """
        self.unrecorded += 1

    def recordNow(self, facts: dict[str, Any], wait: bool = True) -> bool:
        """
        Adds a record before this returns, if that is possible: for when the process is ending, and threads of
        the reactor's may not be there any more. A disk that does not answer is not waited for.

        @param wait: whether to wait at all.
        @return: whether the disk has answered.
        """
        line = self._line(facts)
        errors: list[Exception] = [TimeoutError(f"no answer from the disk within {self.HURRY:g} s")]

        def write() -> None:
            try:
                addLine(self._path, line)
                errors.clear()
            except OSError as error:
                errors[:] = [error]

        # One that is stuck does not keep the process.
        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        writer.join(self.HURRY if wait else 0)
        for error in errors:
            self._complain(error, facts)
        return not writer.is_alive()

    def _line(self, facts: dict[str, Any]) -> bytes:
        if self.unrecorded:
            facts = {**facts, "unrecorded": self.unrecorded}
            self.unrecorded = 0
        text = json.dumps(facts, ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "backslashreplace")

    def _done(self, result: Any) -> Any:
        self._waiting -= 1
        return result

    def _failed(self, failure: Any, facts: dict[str, Any]) -> None:
        self._complain(failure.value, facts)

    def _complain(self, error: BaseException, facts: dict[str, Any]) -> None:
        self._log.error(
            "the audit log {path} cannot be written ({error}); this is missing in it: {facts}",
            path=self._path,
            error=error,
            facts=facts,
        )


class Refusals:
    """
    Which refusals are written down of those who may not give what they order: of each giver so many, and no
    more, so that whoever sends such orders again and again does not fill the disk. (Whoever may is not
    bounded: each order that can act is in the log before it does, whether it will fit or not.)

    @cvar MOST: how many of one giver within a L{WINDOW}.
    @cvar WINDOW: seconds.
    """

    MOST = 100
    WINDOW = 60.0

    def __init__(self) -> None:
        self._began = 0.0
        self._counts: Counter[object] = Counter()

    def count(self, giver: object, now: float) -> int:
        """
        Counts one.

        @param giver: by what the way knows them: there are few of these, whatever they send.
        @param now: seconds, of a clock that never goes back.
        @return: of the refusals of that giver within this window, which one it is.
        """
        if now - self._began >= self.WINDOW:
            self._began = now
            self._counts.clear()
        self._counts[giver] += 1
        return self._counts[giver]
