"""
The processes of the workers, and what they inherit.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.logger import Logger, eventFromJSON, globalLogPublisher
from twisted.python.failure import Failure

import sipgrace
from sipgrace.workers.crew import Crew, Member
from sipgrace.workers.link import End

__all__ = ["CONFIG", "LINK", "OWN", "Spawner"]

#: Descriptors in a worker: the link, its configuration, the socket where siblings write to; those to the
#: siblings follow, one for each worker, its own among them.
LINK: Final = 3
CONFIG: Final = 4
OWN: Final = 5

#: So long the processes may take to end by themselves, in seconds.
_PATIENCE: Final = 2.0


class Spawner:
    """
    Starts them. Each ends with this process, whatever that ends by (see L{sipgrace.demo.tether}).
    """

    def __init__(
        self,
        reactor: Any,
        count: int,
        text: str,
        path: str,
        stack: str,
        end: Callable[[Member], End],
    ) -> None:
        """
        @param text: the configuration file, called C{path}.
        @param end: makes our end of the link to one.
        """
        self._reactor = reactor
        self._text = text.encode("utf-8")
        self._arguments = [path, stack]
        self._end = end
        # For each: where it reads what others write. They stay open, so that one can come back.
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(count)]
        self._reads = [pair[0] for pair in pairs]
        self._writes = [pair[1] for pair in pairs]
        self.crew: Crew | None = None
        self._left: Deferred[None] | None = None

    def spawn(self, member: Member) -> None:
        """
        Starts one.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        config = os.memfd_create("configuration")
        nothing = os.open(os.devnull, os.O_RDWR)
        try:
            os.write(config, self._text)
            os.lseek(config, 0, os.SEEK_SET)
            descriptors: dict[int, Any] = {
                0: nothing,
                1: "r",
                2: "r",
                LINK: theirs.fileno(),
                CONFIG: config,
                OWN: self._reads[member.number].fileno(),
                **{OWN + 1 + at: each.fileno() for at, each in enumerate(self._writes)},
            }
            environment = {
                name: value
                for name, value in os.environ.items()
                if name not in ("NOTIFY_SOCKET", "WATCHDOG_USEC")
            }
            # Wherever this package is found, it is found there, too.
            package = str(Path(sipgrace.__file__).parent.parent)
            known = environment.get("PYTHONPATH")
            environment["PYTHONPATH"] = package if not known else f"{package}{os.pathsep}{known}"
            python = [sys.executable, "-m"]
            command = [*python, "sipgrace.demo.tether", str(os.getpid()), *python, "sipgrace.tap.worker"]
            assert self.crew is not None
            numbers = [str(member.number), str(len(self._writes)), self.crew.shared.decode("ascii")]
            protocol = _Process(self, member)
            process = self._reactor.spawnProcess(
                protocol,
                sys.executable,
                [*command, *numbers, *self._arguments],
                environment,
                childFDs=descriptors,
            )
            member.pid = process.pid
            member.kill = protocol.kill
            ours.setblocking(False)
            end = self._end(member)
            factory = Factory.forProtocol(lambda: end)
            factory.noisy = False
            self._reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, factory)
        finally:
            for one in (ours, theirs):
                one.close()
            os.close(config)
            os.close(nothing)

    def ended(self, member: Member, why: str) -> None:
        """
        One has ended.
        """
        if self.crew is None:
            return
        self.crew.ended(member, why)
        if self._left is not None and not any(each.pid for each in self.crew.members):
            left, self._left = self._left, None
            left.callback(None)

    def stop(self, crew: Crew) -> Deferred[None]:
        """
        @return: fires when all have ended.
        """
        crew.stop()
        if not any(each.pid for each in crew.members):
            return succeed(None)
        self._left = Deferred()
        return self._left.addTimeout(_PATIENCE, self._reactor).addErrback(lambda failure: None)


class _Process(ProcessProtocol):
    """
    One process: what it writes goes into our log.
    """

    _log = Logger()

    def __init__(self, spawner: Spawner, member: Member) -> None:
        self._spawner = spawner
        self._member = member
        self._rest = {1: b"", 2: b""}

    def kill(self) -> None:
        """
        Ends it at once.
        """
        if self.transport is not None and self.transport.pid:
            os.kill(self.transport.pid, signal.SIGKILL)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """
        See C{IProcessProtocol}.
        """
        *lines, self._rest[childFD] = (self._rest[childFD] + data).split(b"\n")
        for line in lines:
            self._write(childFD, line.decode("utf-8", "replace"))

    def _write(self, childFD: int, line: str) -> None:
        if childFD == 1:
            try:
                event = eventFromJSON(line)
                event["worker"] = self._member.number
                level = event["log_level"].name
                event["log_system"] = f"worker {self._member.number} {event['log_namespace']}#{level}"
                globalLogPublisher(event)
                return
            except Exception:
                pass
        if line:
            self._log.error("worker {number}: {line}", number=self._member.number, line=line)

    def processEnded(self, reason: Failure) -> None:
        """
        See C{IProcessProtocol}.
        """
        for childFD, rest in self._rest.items():
            self._write(childFD, rest.decode("utf-8", "replace"))
        self._spawner.ended(self._member, reason.getErrorMessage())
