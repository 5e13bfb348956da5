"""
The processes of the reference network.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError, succeed
from twisted.internet.error import ProcessDone
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

import sipgrace
from sipgrace.demo.plan import Member
from sipgrace.errors import SIPGraceError
from sipgrace.lifecycle.afterdrain import signalName

__all__ = ["Child", "DemoError"]

#: How many of its last lines are shown of a process that has ended.
_TAIL = 12

#: Seconds that a process has to end once it was told to.
_LIMIT = 5.0


class DemoError(SIPGraceError):
    """
    The reference network cannot be had, or did not hold: says what is wrong, where, and what to look at.
    """


class Child(ProcessProtocol):
    """
    One server, client or controller, started as an operator would start it, with its output in a file.

    @ivar member: which.
    @ivar running: whether its process is there.
    @ivar onDeath: called when it has ended without having been told to.
    """

    def __init__(self, reactor: Any, member: Member, configuration: Path, log: Path) -> None:
        self._reactor = reactor
        self.member = member
        self._configuration = configuration
        self._log = log
        self.running = False
        self.onDeath: Callable[[Child], None] = lambda child: None
        self._told = False
        self._begun = False
        self._status = ""
        self._ended: list[Deferred[None]] = []

    def start(self) -> None:
        """
        Starts it; also again, when it has ended.
        """
        self._told = False
        command = [
            sys.executable,
            *("-m", "sipgrace.demo.tether", str(os.getpid())),
            *(sys.executable, "-m", "twisted", "--log-format=text"),
            *(f"sipgrace-{self.member.role}", "--config", str(self._configuration)),
        ]
        # Twisted looks for plugins along the path of modules.
        paths = [str(Path(sipgrace.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "PYTHONUNBUFFERED": "1",
        }
        # It is not the child that the one who started us waits for.
        environment.pop("NOTIFY_SOCKET", None)
        with open(os.devnull, "rb") as nothing, self._log.open("ab" if self._begun else "wb") as log:
            self._reactor.spawnProcess(
                self,
                sys.executable,
                command,
                environment,
                childFDs={0: nothing.fileno(), 1: log.fileno(), 2: log.fileno()},
            )
        self._begun = True

    def connectionMade(self) -> None:
        """
        See C{IProcessProtocol}.
        """
        self.running = True

    def processEnded(self, reason: Failure) -> None:
        """
        See C{IProcessProtocol}.
        """
        self.running = False
        error: Any = reason.value
        if isinstance(error, ProcessDone):
            self._status = "ended by itself"
        elif error.signal:
            self._status = f"was ended by {signalName(error.signal)}"
        else:
            self._status = f"ended with status {error.exitCode}"
        ended, self._ended = self._ended, []
        for waiter in ended:
            waiter.callback(None)
        if not self._told:
            self.onDeath(self)

    def stop(self) -> Deferred[None]:
        """
        Ends it at once: by SIGINT, and where that is not enough by SIGKILL.

        @return: fires when its process is gone.
        """
        self._told = True
        if not self.running:
            return succeed(None)
        self._signal("INT")
        return self._gone().addTimeout(_LIMIT, self._reactor).addErrback(self._kill)

    def kill(self) -> Deferred[None]:
        """
        Ends it by SIGKILL.

        @return: fires when its process is gone.
        """
        self._told = True
        self._signal("KILL")
        return self._gone()

    def _kill(self, failure: Failure) -> Deferred[None]:
        failure.trap(TimeoutError)
        gone = self._gone()
        self._signal("KILL")
        return gone

    def _signal(self, name: str) -> None:
        transport: Any = self.transport
        if self.running:
            transport.signalProcess(name)

    def _gone(self) -> Deferred[None]:
        if not self.running:
            return succeed(None)
        gone: Deferred[None] = Deferred()
        self._ended.append(gone)
        return gone

    def tail(self) -> str:
        """
        @return: a sentence with the last lines that it wrote.
        """
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:]
        if not lines:
            return "It wrote nothing."
        return "\n".join(["The last that it wrote:", *(f"  {self.member.name}: {line}" for line in lines)])

    def obituary(self) -> DemoError:
        """
        @return: what is to be said of one that has ended without having been told to.
        """
        return DemoError(f"{self.member.name} {self._status}. {self.tail()}")
