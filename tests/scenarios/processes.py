"""
Child processes that cannot outlive the test process, and whose output can be waited for.
"""

from __future__ import annotations

import os
import re
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python import log
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from tests.children import Child
from tests.scenarios.waiting import LIMIT, Waiting


class Process(Child, Waiting):
    """
    A child process. The kernel kills it when this process ends, however that comes about.

    @ivar name: for messages.
    """

    def __init__(
        self, test: TestCase, name: str, *command: str, environment: dict[str, str] | None = None
    ) -> None:
        """
        @param environment: more than this process has.
        """
        Waiting.__init__(self)
        self.name = name
        tether = ("-m", "sipgrace.demo.tether", str(os.getpid()))
        super().__init__(test, *tether, *command, environment=environment)

    def signal(self, number: int) -> None:
        """
        Sends it a signal, of whatever kind.
        """
        self.transport.signalProcess(int(number))

    def outReceived(self, data: bytes) -> None:
        """
        See C{IProcessProtocol}.
        """
        super().outReceived(data)
        self.look()

    def processEnded(self, reason: Failure) -> None:
        """
        See C{IProcessProtocol}.
        """
        super().processEnded(reason)
        # Kept with trial's own log where a test fails.
        log.msg(f"{self.name} ended with {self.status}: {self.story()}")
        self.look()
        self.giveUp(f"{self.name} has ended with {self.status}: {self.story()}")

    def said(self, pattern: str, times: int = 1, limit: float = LIMIT) -> Deferred[Any]:
        """
        @param pattern: a regular expression.
        @return: fires when it has printed this so many times since it began.
        """
        return self.until(
            lambda: len(self.every(pattern)) >= times, f"{pattern!r} ({times}) of {self.name}", limit
        )

    def every(self, pattern: str) -> list[Any]:
        """
        @return: all it has printed so far that fits a regular expression.
        """
        return re.findall(pattern.encode(), self.output)

    def end(self, limit: float = LIMIT) -> Deferred[Any]:
        """
        @return: fires when it has ended, with its exit status as in L{Child}.
        """
        ended = self.until(lambda: self.status is not None, f"the end of {self.name}", limit)
        return ended.addCallback(lambda _: self.status)

    def story(self) -> str:
        """
        The last that it has printed.
        """
        return "\n" + (self.output[-3000:] + self.errors[-1000:]).decode("utf-8", "replace")


class Role(Process):
    """
    A server or client, started as an operator would.
    """

    def __init__(self, test: TestCase, role: str, name: str, configuration: str) -> None:
        """
        @param role: C{"server"} or C{"client"}.
        @param configuration: the path of its file.
        """
        command = (sys.executable, "-m", "twisted", "--log-format=text")
        super().__init__(test, name, *command, f"sipgrace-{role}", "--config", configuration)

    def warnings(self) -> list[str]:
        """
        @return: the lines of its log that are more than information.
        """
        lines = self.output.decode("utf-8", "replace").splitlines()
        return [line for line in lines if re.search(r"#(warn|error|critical)\]", line)]

    def oddities(self) -> list[str]:
        """
        @return: the lines that speak of a mistake of its own.
        """
        lines = (self.output + self.errors).decode("utf-8", "replace").splitlines()
        return [line for line in lines if re.search(r"#(error|critical)\]|^\t|Unhandled", line)]
