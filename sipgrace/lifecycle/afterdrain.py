"""
What follows a drain: nothing, the end of the process, or a command that maintains the machine.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from sipgrace.errors import OrderRefused
from sipgrace.lifecycle.audit import stamp
from sipgrace.lifecycle.events import Change, Event
from sipgrace.lifecycle.orders import Kind, Order

__all__ = ["AfterDrain", "Done", "environmentOf", "signalName"]

#: So many bytes of a command's output are kept: the last ones.
KEPT: Final = 16_384

#: So long a command has for its end after SIGTERM, in seconds, before SIGKILL.
GRACE: Final = 5.0

#: So long its output is listened to after its end, in seconds.
DREGS: Final = 1.0

#: What is counted for a drain begins anew.
_BEGINS: Final = (Change.SLOWING, Change.DRAINING, Change.RETURNING, Change.SERVING)

# The child is made the leader of a group of its own, so that all that it starts can be ended with it.
_LEADER = "import os, sys; os.setsid(); os.execv('/bin/sh', ['/bin/sh', '-c', sys.argv[1]])"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """
    What became of a command.

    @ivar status: its exit status; C{None} where a signal ended it, or it could not be started.
    @ivar signal: the name of that signal, or empty.
    @ivar seconds: how long it took.
    @ivar late: whether it was ended because its time was over.
    @ivar output: the last of what it wrote, to stdout and stderr.
    """

    command: str
    status: int | None
    signal: str = ""
    seconds: float = 0.0
    late: bool = False
    output: str = ""

    def outcome(self) -> str:
        """
        @return: the same in a few words.
        """
        if self.status is not None:
            text = f"exit status {self.status}"
        elif self.signal:
            text = f"ended by {self.signal}"
        else:
            text = "could not be started"
        text += f" after {self.seconds:.1f} s"
        return f"{text}, its time was over" if self.late else text

    def toJSON(self) -> dict[str, object]:
        """
        @return: the same for C{json.dumps}.
        """
        return {
            "command": self.command,
            "exit_status": self.status,
            "signal": self.signal or None,
            "seconds": round(self.seconds, 3),
            "timed_out": self.late,
            "output": self.output,
        }


def environmentOf(server: str, order: Order, event: Event, forced: int, aborted: int) -> dict[str, str]:
    """
    The order's facts, as the command is told them.

    @param event: the drain's last.
    @param forced: how many calls were ended by force in the whole drain.
    @param aborted: how many associations were aborted in it.
    """
    values: dict[str, object] = {
        "SERVER": server,
        "ORDER_ID": order.nonce,
        "ORDER_KIND": order.kind,
        "ORDER_WHO": order.who,
        "ORDER_WHY": order.why,
        "ORDER_WHEN": stamp(order.when),
        "STATE": event.state,
        "FORCED": forced,
        "ABORTED": aborted,
    }
    if order.back is not None:
        values["BACK"] = stamp(order.back)
    return {f"SIPGRACE_{name}": str(value) for name, value in values.items()}


def signalName(number: int) -> str:
    """
    @return: the name of a signal. Most of those of real time have none of their own.
    """
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"


class _Command(ProcessProtocol):
    """
    The command, while it runs.
    """

    def __init__(self, after: AfterDrain, command: str, limit: float, done: Callable[[Done], None]) -> None:
        self._after = after
        self._command = command
        self._limit = limit
        self._done = done
        self._output = b""
        self._began = after.clock.seconds()
        self._late = False
        self._call: IDelayedCall | None = None
        self._pid = 0

    def connectionMade(self) -> None:
        """
        See C{IProcessProtocol}.
        """
        assert self.transport is not None
        self._pid = self.transport.pid
        self._call = self._after.clock.callLater(self._limit, self._expired)
        self.transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        """
        See C{IProcessProtocol}.
        """
        self._output = (self._output + data)[-KEPT:]

    errReceived = outReceived

    def kill(self, number: int) -> None:
        """
        Sends a signal to it and to all that it has started.
        """
        try:
            os.killpg(self._pid, number)
        except (ProcessLookupError, PermissionError):
            # It is not the leader of its group yet, or nobody is left of that.
            if self.transport is not None:
                with suppress(ProcessExitedAlready):
                    self.transport.signalProcess(number)

    def _expired(self) -> None:
        self._late = True
        self.kill(signal.SIGTERM)
        self._call = self._after.clock.callLater(GRACE, self._killed)

    def _killed(self) -> None:
        self._call = None
        self.kill(signal.SIGKILL)

    def processExited(self, reason: Failure) -> None:
        """
        See C{IProcessProtocol}. What it has started and left behind is ended, too, where its time was over.
        Else it goes on, but is not waited for, should it keep the output open.
        """
        if self._call is not None and self._call.active():
            self._call.cancel()
        if self._late:
            self.kill(signal.SIGKILL)
        self._call = self._after.clock.callLater(DREGS, self._close)

    def _close(self) -> None:
        assert self.transport is not None
        self.transport.loseConnection()

    def processEnded(self, reason: Failure) -> None:
        """
        See C{IProcessProtocol}.
        """
        if self._call is not None and self._call.active():
            self._call.cancel()
        error = reason.value
        number = getattr(error, "signal", None) if isinstance(error, ProcessTerminated) else None
        status = None if number is not None else getattr(error, "exitCode", 0) or 0
        self._done(
            Done(
                command=self._command,
                status=status,
                signal="" if number is None else signalName(number),
                seconds=self._after.clock.seconds() - self._began,
                late=self._late,
                output=self._output.decode("utf-8", "replace"),
            )
        )


class AfterDrain:
    """
    An observer of the lifecycle that does what is to follow a drain, as soon as the server is offline.

    @ivar exit: ends the process.
    @ivar done: told what became of the command.
    @ivar running: whether the command is running.
    @ivar leaving: whether the process ends as soon as it is offline, so that a command could not be finished.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        server: str,
        then: str = "stay",
        command: str = "",
        limit: float = 3600.0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """
        @param then: C{'stay'}, C{'exit'} or C{'run'}, where an order does not say.
        @param command: what is run, by C{/bin/sh}.
        @param limit: how long it may take, in seconds.
        @param environment: what it is told besides the order's facts; by default our own environment.
        """
        self.clock = reactor
        self._server = server
        self._then = then
        self._command = command
        self._limit = limit
        self._environment = os.environ if environment is None else environment
        self._running: _Command | None = None
        self._forced = 0
        self._aborted = 0
        self.leaving = False
        self.exit: Callable[[], None] = lambda: None
        self.done: Callable[[Done], None] = lambda done: None

    @property
    def running(self) -> bool:
        """
        Whether the command is running.
        """
        return self._running is not None

    def wantedBy(self, order: Order) -> str:
        """
        What is to follow a drain under this order.
        """
        return self._then if order.then is None else order.then

    def check(self, order: Order) -> None:
        """
        @raise OrderRefused: when the order wants a command to be run, and there is none, or it runs already:
            its end would be taken for that of the one that this order wants.
        """
        if order.then != "run":
            return
        if not self._command:
            raise OrderRefused(f'{self._server} has no command to run: drain.then = "run COMMAND" names one')
        if self.running:
            raise OrderRefused(
                f"the command of the drain before is still running at {self._server}; wait until it has ended"
            )

    def onChange(self, event: Event) -> None:
        """
        See L{sipgrace.lifecycle.seams.Observer}.
        """
        if event.change in _BEGINS:
            self._forced = self._aborted = 0
        # Calls are ended by force before the associations go, and those before it is offline.
        self._forced += event.forced
        self._aborted += event.aborted
        order = event.order
        if event.change is not Change.OFFLINE or order is None or order.kind is not Kind.DRAIN:
            return
        then = self.wantedBy(order)
        if then == "exit":
            self._log.info("the drain is over, and so is the process")
            self.exit()
        elif then == "run" and self.leaving:
            self._log.warn(
                "the drain is over, and the process ends: {command} is not run", command=self._command
            )
        elif then == "run" and self.running:
            self._log.warn(
                "the drain is over, and {command} is still running from the one before: it is not run again",
                command=self._command,
            )
        elif then == "run":
            self._run(order, event)

    def _run(self, order: Order, event: Event) -> None:
        self._log.info("the drain is over: {command}", command=self._command)
        facts = environmentOf(self._server, order, event, self._forced, self._aborted)
        environment = {**self._environment, **facts}
        command = self._running = _Command(self, self._command, self._limit, self._ended)
        arguments = [sys.executable, "-I", "-S", "-c", _LEADER, self._command]
        try:
            self.clock.spawnProcess(command, sys.executable, arguments, environment, "/")
        except Exception:
            self._log.failure("{command} could not be started", command=self._command)
            self._ended(Done(command=self._command, status=None))

    def _ended(self, done: Done) -> None:
        self._running = None
        level = self._log.info if done.status == 0 else self._log.error
        level("{command}: {outcome}", command=done.command, outcome=done.outcome())
        self.done(done)

    def stop(self) -> None:
        """
        Ends the command where it is running: the process is about to end.
        """
        if self._running is not None:
            self._running.kill(signal.SIGTERM)
