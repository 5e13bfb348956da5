"""
Child processes for tests: started, watched by what they print, and never left behind.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessDone
from twisted.internet.interfaces import IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

ROOT = Path(__file__).parent.parent


class Child(ProcessProtocol):
    """
    One child process.

    @ivar output: what it has printed.
    @ivar errors: what it has printed to standard error.
    @ivar ended: fires when it has ended, with its exit status, or with minus the number of the signal
        that ended it.
    """

    def __init__(self, test: TestCase, *command: str, environment: dict[str, str] | None = None) -> None:
        self.output = b""
        self.errors = b""
        self.status: int | None = None
        self.ended: Deferred[int] = Deferred()
        self._waiting: list[tuple[bytes, Deferred[re.Match[bytes]]]] = []
        # What the tests themselves use comes first: it may be compiled.
        path = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(ROOT)])
        self.transport = IReactorProcess(reactor).spawnProcess(
            self,
            sys.executable,
            [sys.executable, *command],
            {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **(environment or {})},
        )
        test.addCleanup(self._kill)

    def _kill(self) -> Deferred[int] | None:
        if self.status is not None:
            return None
        gone: Deferred[int] = Deferred()
        self.ended.addBoth(gone.callback)
        self.transport.signalProcess("KILL")
        return gone

    def signal(self, number: int) -> None:
        """
        Sends it a signal.
        """
        self.transport.signalProcess(int(number))

    def printed(self, pattern: bytes) -> Deferred[re.Match[bytes]]:
        """
        @param pattern: a regular expression.
        @return: fires when it has printed this; fails when it ends before.
        """
        done: Deferred[re.Match[bytes]] = Deferred()
        self._waiting.append((pattern, done))
        self._look()
        return done.addTimeout(30, IReactorTime(reactor))

    def _look(self) -> None:
        for one in list(self._waiting):
            pattern, done = one
            match = re.search(pattern, self.output)
            if match is not None:
                self._waiting.remove(one)
                done.callback(match)

    def outReceived(self, data: bytes) -> None:
        """
        See C{IProcessProtocol}.
        """
        self.output += data
        self._look()

    def errReceived(self, data: bytes) -> None:
        """
        See C{IProcessProtocol}.
        """
        self.errors += data

    def processEnded(self, reason: Failure) -> None:
        """
        See C{IProcessProtocol}.
        """
        error = reason.value
        if isinstance(error, ProcessDone):
            self.status = 0
        else:
            self.status = -error.signal if error.signal else error.exitCode
        waiting, self._waiting = self._waiting, []
        for pattern, done in waiting:
            seen = (self.output + self.errors).decode("utf-8", "replace")
            done.errback(AssertionError(f"ended with {self.status} before {pattern!r}: {seen}"))
        # Whoever asks later is told at once.
        ended, self.ended = self.ended, succeed(self.status)
        ended.callback(self.status)
