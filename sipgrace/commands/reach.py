"""
How a verb gets to a running process: which socket, and the reactor around it.
"""

from __future__ import annotations

import functools
import signal
import sys
import traceback
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar, cast

import click
from click.core import ParameterSource
from twisted.internet.defer import CancelledError, Deferred
from twisted.protocols.amp import AmpError
from twisted.python.failure import Failure

from sipgrace.commands.access import Access, answering, found, withController
from sipgrace.commands.outcome import Exit, Outcome
from sipgrace.config.tables import readTables
from sipgrace.control.commands import NotOffered
from sipgrace.control.local import connectLocal
from sipgrace.control.remote import RemoteNode, Unreachable
from sipgrace.errors import ConfigError, OrderRefused
from sipgrace.lifecycle.steadyclock import keepSteady

__all__ = ["Left", "Reach", "glance", "reaching", "run", "told"]

F = TypeVar("F", bound=Callable[..., Any])

#: What a verb does once it is connected, given the reactor and the process: a L{RemoteNode}, or a
#: L{sipgrace.commands.farnode.FarNode}, which is asked in the same words.
Job = Callable[[Any, Any], Coroutine[Any, Any, Outcome]]


class Left(Exception):
    """
    A signal has ended the waiting; the text says what goes on without us.
    """


@dataclass(frozen=True, slots=True)
class Reach:
    """
    What the common options say.

    @ivar socket: the process's own; empty with a controller.
    @ivar timeout: seconds within which the process is expected to answer.
    @ivar json: whether the outcome is wanted as JSON.
    @ivar access: the controller that it is reached through; C{None} for its socket.
    @ivar node: its name, with a controller.
    """

    socket: str
    timeout: float
    json: bool
    access: Access | None = None
    node: str = ""

    def carryOut(self, job: Job) -> None:
        """
        Connects, does the job, says what came of it and ends this process.
        """
        # Not before it is needed: it installs itself when it is imported.
        from twisted.internet import reactor

        run(reactor, functools.partial(self.outcome, reactor, job)).leave(self.json)

    async def outcome(self, reactor: Any, job: Job) -> Outcome:
        """
        Connects and does the job.

        @return: what came of it, whatever went wrong.
        """
        node: Any = None
        try:
            node = await self._connected(reactor)
            return await job(reactor, node)
        except Exception as error:
            outcome = told(error, self.socket or (self.access.url if self.access else ""))
            if outcome is None:
                raise
            return outcome
        finally:
            if node is not None:
                node.end()

    async def _connected(self, reactor: Any) -> Any:
        if self.access is None:
            return await connectLocal(reactor, self.socket, self.timeout)
        # Slow to import, and needed here alone.
        from sipgrace.commands.farnode import FarNode

        node = FarNode(self.access.open(reactor, self.timeout), self.node)
        await node.look()
        return node


def told(error: Exception, where: str) -> Outcome | None:
    """
    @param where: who was asked.
    @return: what an error comes to; C{None} for one that is a fault in this program.
    """
    if isinstance(error, (OrderRefused, NotOffered)):
        return Outcome(Exit.REFUSED, f"refused: {error}")
    if isinstance(error, Unreachable):
        return Outcome(Exit.UNREACHABLE, f"{error}")
    if isinstance(error, ConfigError):
        return Outcome(Exit.USAGE, f"{error}")
    if isinstance(error, AmpError):
        why = str(error) or type(error).__name__
        return Outcome(Exit.FAULT, f"{where}: it cannot answer that ({why}); is it of another version?")
    # Where it was raised, that module has been imported.
    overhttp = sys.modules.get("sipgrace.commands.overhttp")
    if overhttp is not None and isinstance(error, overhttp.Fault):
        return Outcome(Exit.FAULT, f"{error}")
    return None


def glance(node: Any) -> Deferred[dict[str, Any]]:
    """
    How a process stands, as often as one likes to know: one behind a controller is not asked itself.
    """
    if isinstance(node, RemoteNode):
        return node.status()
    return Deferred.fromCoroutine(node.glance())


def run(reactor: Any, job: Callable[[], Coroutine[Any, Any, Outcome]]) -> Outcome:
    """
    Runs the reactor around a job. The first SIGINT or SIGTERM cancels what it waits for.
    """
    keepSteady(reactor)
    outcomes: list[Outcome] = []
    signals: list[int] = []

    def ended(result: Outcome | Failure) -> None:
        if isinstance(result, Outcome):
            outcomes.append(result)
        elif result.check(CancelledError, Left):
            # Without a signal it is that nobody reads what is written.
            number = signals[0] if signals else signal.SIGPIPE
            text = result.getErrorMessage() if result.check(Left) else ""
            outcomes.append(Outcome(128 + number, text))
        else:
            text = "".join(traceback.format_exception(result.value))
            outcomes.append(Outcome(Exit.FAULT, f"a fault in this program: {result.value!r}\n{text}"))
        reactor.stop()

    def begin() -> None:
        running = Deferred.fromCoroutine(job())

        def signalled(number: int, frame: FrameType | None) -> None:
            signals.append(number)
            reactor.callFromThread(running.cancel)

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signalled)
        running.addBoth(ended)

    reactor.callWhenRunning(begin)
    reactor.run()
    return outcomes[0] if outcomes else Outcome(Exit.FAULT, "a fault in this program: it has ended early")


def reaching(function: F) -> F:
    """
    Gives a verb the options by which it finds its process; the function gets them as L{Reach}, first.
    """

    @click.option(
        "--socket",
        envvar="SIPGRACE_SOCKET",
        metavar="PATH",
        type=click.Path(),
        help="The control socket of the process.  [env: SIPGRACE_SOCKET]",
    )
    @click.option(
        "--config",
        metavar="FILE",
        type=click.Path(exists=True, dir_okay=False),
        help="The configuration file of the process, which names its socket.",
    )
    @withController
    @click.option("--node", metavar="NAME", help="Which node of the controller's fleet is meant.")
    @answering("process")
    @click.pass_context
    @functools.wraps(function)
    def wrapped(
        context: click.Context,
        /,
        *values: Any,
        socket: str | None,
        config: str | None,
        controller: str | None,
        tokenFile: Path | None,
        ca: Path | None,
        node: str | None,
        timeout: float,
        asJSON: bool,
        **others: Any,
    ) -> Any:
        explicit = context.get_parameter_source("socket") is ParameterSource.COMMANDLINE
        if config is not None:
            if explicit:
                raise click.UsageError("expected --socket or --config, found both")
            socket = socketIn(config)
            explicit = True
        before = (context.find_root().obj or {}).get("controller")
        named = before or context.get_parameter_source("controller") is ParameterSource.COMMANDLINE
        if named and explicit:
            raise click.UsageError("expected --controller, or --socket or --config, found both")
        # Of what the environment names, --node says that the controller is meant.
        if named or (not explicit and (node is not None or not socket)):
            access, _ = found(context, controller, tokenFile, ca)
            if access is not None:
                if not node:
                    raise click.UsageError(
                        "which node? Give --node NAME; 'sipgrace fleet' shows those of the controller"
                    )
                return function(Reach("", timeout, asJSON, access, node), *values, **others)
        if node is not None:
            raise click.UsageError("--node is for a controller's fleet: give --controller URL, too")
        if not socket:
            raise click.UsageError(
                "which process? Give --socket PATH, --config FILE, or set SIPGRACE_SOCKET; or give "
                "--controller URL and --node NAME"
            )
        return function(Reach(socket, timeout, asJSON), *values, **others)

    return cast(F, wrapped)


def socketIn(config: str) -> str:
    """
    The socket that a role's configuration file names. The rest of the file may be as wrong as it likes: it is
    for a process that is to be started, and the one to be reached runs already.

    @raise click.UsageError: where there is none.
    """
    # Slow to import, and seldom needed.
    from sipgrace.config.check import checked
    from sipgrace.config.sections import ControlSection, Section

    class Control(Section):
        control: ControlSection

    try:
        tables = readTables(config)
        if "control" not in tables:
            raise click.UsageError(
                f"{config} has no [control] section with a socket, so its process takes no orders here"
            )
        return str(checked({"control": tables["control"]}, config, Control).control.socket)
    except ConfigError as error:
        raise click.UsageError(str(error)) from None
