"""
The TDM route that asks a command where a call may go.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from sipgrace.client.tdm import ITDMRoute
from sipgrace.errors import ParseError
from sipgrace.lifecycle.afterdrain import signalName
from sipgrace.message.message import Request
from sipgrace.message.uri import SIPURI
from sipgrace.proxy.target import Target, hopOf

__all__ = ["CommandRoute"]

#: The most bytes that a command may say.
LONGEST: Final = 4096


def factsOf(request: Request, tried: Sequence[str]) -> dict[str, str]:
    """
    What a command is told of a call, in its environment. The values come from whoever calls: they are data,
    and no shell is to see them unquoted.
    """
    values = {
        "URI": request.uri,
        "FROM": request.fromValue,
        "TO": request.toValue,
        "CALL_ID": request.callId,
        "RESOURCE_PRIORITY": request.get(b"Resource-Priority") or b"",
    }
    # An environment cannot hold a NUL, which SIP may within quotes.
    facts = {
        f"SIPGRACE_{name}": value.replace(b"\0", b"").decode("utf-8", "surrogateescape")
        for name, value in values.items()
    }
    return facts | {"SIPGRACE_TRIED": " ".join(tried)}


class _Asked(ProcessProtocol):
    """
    The command, for one call.
    """

    def __init__(self, clock: Any, limit: float, done: Callable[[_Asked, str], None]) -> None:
        self._clock = clock
        self._limit = limit
        self._done = done
        self._call: IDelayedCall | None = None
        self._output = b""
        self._late = False
        self._over = False

    def connectionMade(self) -> None:
        """
        See C{IProcessProtocol}.
        """
        assert self.transport is not None
        self._call = self._clock.callLater(self._limit, self._expired)
        self.transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        """
        See C{IProcessProtocol}.
        """
        self._output += data
        if len(self._output) > LONGEST:
            self._output = self._output[:LONGEST]
            self._finish("it says too much")

    def errReceived(self, data: bytes) -> None:
        """
        See C{IProcessProtocol}: what it says there is for nobody.
        """

    def end(self) -> None:
        """
        Ends it: nobody waits any more.
        """
        self._over = True
        self._stopWaiting()
        self._kill()

    def _expired(self) -> None:
        self._call = None
        self._finish(f"it has taken longer than {self._limit:g} s")

    def processEnded(self, reason: Failure) -> None:
        """
        See C{IProcessProtocol}.
        """
        status = getattr(reason.value, "exitCode", None) or 0
        number = getattr(reason.value, "signal", None)
        if number is not None:
            self._finish(f"it was ended by {signalName(number)}")
        elif status:
            self._finish(f"exit status {status}")
        else:
            self._finish("")

    def _finish(self, trouble: str) -> None:
        self._stopWaiting()
        if self._over:
            return
        self._over = True
        self._kill()
        self._done(self, trouble)

    def _stopWaiting(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _kill(self) -> None:
        if self.transport is not None:
            with suppress(ProcessExitedAlready):
                self.transport.signalProcess("KILL")
            self.transport.loseConnection()

    @property
    def said(self) -> str:
        """
        The first line of what it wrote.
        """
        return self._output.partition(b"\n")[0].strip().decode("utf-8", "replace")


@implementer(ITDMRoute)
class CommandRoute:
    """
    Runs a command for each call, without a shell. It finds the call's facts in its environment
    (C{SIPGRACE_URI}, C{_FROM}, C{_TO}, C{_CALL_ID}, C{_RESOURCE_PRIORITY}; C{_TRIED}: the servers that were
    tried) and writes a SIP URI to its standard output. The call goes there; with the URI's user part, where
    it has one, in the place of what was dialled. An exit status other than 0 refuses the call, and so does
    silence.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        command: Sequence[str],
        limit: float = 2.0,
        most: int = 20,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """
        @param command: the program's path, and its arguments.
        @param limit: how many seconds it may take.
        @param most: how many may run at a time; calls beyond that have no way out.
        @param environment: what it is told besides the facts; by default our own environment.
        """
        self._reactor = reactor
        self._command = list(command)
        self._limit = limit
        self._most = most
        self._environment = os.environ if environment is None else environment
        self._running: dict[_Asked, Deferred[Target | None]] = {}
        self.description = f"command {self._command[0]}"

    def target(self, request: Request, tried: Sequence[str]) -> Deferred[Target | None]:
        """
        See L{ITDMRoute.target}.
        """
        if len(self._running) >= self._most:
            self.log.warn("{route}: {most} run already", route=self.description, most=self._most)
            return succeed(None)
        asked = _Asked(self._reactor, self._limit, self._answered)
        found: Deferred[Target | None] = Deferred(lambda _: self._forget(asked))
        self._running[asked] = found
        environment = {**self._environment, **factsOf(request, tried)}
        try:
            self._reactor.spawnProcess(asked, self._command[0], self._command, environment, "/")
        except Exception:
            self.log.failure("{route} could not be started", route=self.description)
            self._running.pop(asked, None)
            return succeed(None)
        return found

    def stop(self) -> None:
        """
        Ends those that run.
        """
        for asked in list(self._running):
            self._answered(asked, "the client is stopped")
            asked.end()

    def _forget(self, asked: _Asked) -> None:
        self._running.pop(asked, None)
        asked.end()

    def _answered(self, asked: _Asked, trouble: str) -> None:
        found = self._running.pop(asked, None)
        if found is None:
            return
        target: Target | None = None
        if not trouble:
            target, trouble = self._targetOf(asked.said)
        elif not os.access(self._command[0], os.X_OK):
            # The child could not become it, and ended with status 1.
            trouble = "there is no such file, or it may not be executed"
        if trouble:
            self.log.warn("{route}: no way out: {trouble}", route=self.description, trouble=trouble)
        found.callback(target)

    def _targetOf(self, said: str) -> tuple[Target | None, str]:
        try:
            uri = SIPURI.parse(said.encode("utf-8"))
        except ParseError as error:
            return None, f"it says {said[:80]!r}, which is no SIP URI: {error}"
        return Target(hop=hopOf(uri), uri=bytes(uri) if uri.user else None, token=self), ""
