"""
A role as a process: how it starts, and how it leaves when a signal asks it to.

SIGTERM asks the role to leave in its own time, and the process then ends with status 0. A second SIGTERM, or
SIGINT at any moment, ends it at once, by that signal as Twisted does; once that is under way one more signal
kills. SIGHUP, which would end a process that takes no heed of it, does nothing: it is what a terminal sends
that goes away, and what elsewhere has files read again, and neither is a reason to lose calls.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol, runtime_checkable

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError, ConnectError
from twisted.logger import Logger
from twisted.python.failure import Failure

from sipgrace.errors import SIPGraceError

__all__ = ["Prepared", "Reactor", "RoleProcess", "RoleService"]

# What may go wrong at the start without being a mistake of this program; these are said in one line.
_EXPECTED = (SIPGraceError, CannotListenError, ConnectError, OSError)


class Reactor(Protocol):
    """
    What is needed of a reactor here: parts of Twisted's C{IReactorCore} and C{IReactorFromThreads}.
    """

    def callWhenRunning(self, function: Callable[[], None]) -> object:
        """
        See C{IReactorCore}.
        """

    def callFromThread(self, function: Callable[[int], None], number: int, /) -> object:
        """
        See C{IReactorFromThreads}.
        """

    def stop(self) -> None:
        """
        See C{IReactorCore}.
        """


class RoleService(Protocol):
    """
    What a role offers to the process it runs in.
    """

    def startService(self) -> Deferred[Any] | None:
        """
        Starts to serve.

        @return: a C{Deferred} whose failure means that the role cannot serve, and the process ends with
            status 1.
        """

    def stopService(self) -> Deferred[Any] | None:
        """
        Ends what is left, without waiting for calls. Called once, after C{leave} too.
        """

    def leave(self) -> Deferred[Any]:
        """
        Leaves service without losing a call.

        @return: fires when the role is out of service. When it fails (the drain was cancelled, or refused)
            the process goes on.
        """

    def leaveNow(self) -> None:
        """
        Leaves service at once, aborting every association.
        """


@runtime_checkable
class Prepared(Protocol):
    """
    A service beside a role that can fail for what its configuration names: a port that is taken, a file that
    is not there. It does so before the role takes a call, for one that serves for a moment, again and again,
    loses those that it was sent.
    """

    def prepare(self) -> Deferred[Any] | None:
        """
        Takes what it needs, and lets nobody in yet: C{startService} does.

        @return: as that of C{startService}.
        """


class RoleProcess(Service):
    """
    The service that twistd runs: one role, what accompanies it, and the process's signals.

    @param reactor: the reactor that will run.
    @param role: the role's service.
    @param beside: services that start after the role and stay up while it leaves; those that are L{Prepared}
        are so before it.
    """

    _log = Logger()

    def __init__(self, reactor: Reactor, role: RoleService, *beside: IService) -> None:
        self._reactor = reactor
        self._role = role
        self._beside = beside
        self._started: list[IService] = []
        self._leaving = False
        self._gone = False
        self._former: dict[int, Callable[[int, FrameType | None], object]] = {}

    def startService(self) -> None:
        """
        Starts the role as soon as the reactor runs.
        """
        Service.startService(self)
        # By then the reactor has installed its own handlers of signals, which ours replace.
        self._reactor.callWhenRunning(self._begin)

    def stopService(self) -> Deferred[Any]:
        """
        Stops the role, then what accompanies it.
        """
        Service.stopService(self)
        self._gone = True
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        stops: list[Callable[[], object]] = [self._role.stopService]
        stops += [service.stopService for service in reversed(self._started)]
        for stop in stops:
            try:
                await maybeDeferred(stop)
            except Exception:
                self._log.failure("stopping did not go cleanly")

    def _begin(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            former = signal.signal(number, self._signalled)
            if callable(former):
                self._former[number] = former
        # Under nohup it is ignored, and stays so.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._hungUp)
        Deferred.fromCoroutine(self._start()).addErrback(self._failed)

    async def _start(self) -> None:
        for service in self._beside:
            if isinstance(service, Prepared):
                self._started.append(service)
                await maybeDeferred(service.prepare)
                if self._gone:
                    return
        await maybeDeferred(self._role.startService)
        for service in self._beside:
            if self._gone:
                return
            if service not in self._started:
                self._started.append(service)
            await maybeDeferred(service.startService)

    def _failed(self, reason: Failure) -> None:
        if self._gone:
            # What it had begun with was taken from it; that it was to end is no failure.
            self._log.info("the start was given up: {reason}", reason=reason.getErrorMessage())
            return
        if reason.check(*_EXPECTED) is None:
            self._log.failure("the start failed", reason)
        message = f"cannot start: {reason.getErrorMessage()}"
        self._log.critical("{message}", message=message)
        # The log may be a file, or JSON; this is for whoever looks on. (sys.stderr is the log by now.)
        print(message, file=sys.__stderr__, flush=True)
        # Neither twist nor twistd takes an exit status from a service.
        atexit.register(_exit, 1)
        self.end()

    def end(self) -> None:
        """
        Ends the process, with status 0: there is nothing left to do.
        """
        if not self._gone:
            self._gone = True
            self._reactor.stop()

    # Signals come between any two instructions, so nothing is done there but pass them on to the reactor's
    # turn.

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        if self._gone:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        else:
            self._reactor.callFromThread(self._received, number)

    def _hungUp(self, number: int, frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._goOn, number)

    def _goOn(self, number: int) -> None:
        self._log.info(
            "{name}: the process goes on as it is; its configuration is read at the next start",
            name=signal.Signals(number).name,
        )

    def _received(self, number: int) -> None:
        if self._gone:
            return
        name = signal.Signals(number).name
        if number == signal.SIGTERM and not self._leaving:
            self._log.info("{name}: leaving", name=name)
            self._leaving = True
            maybeDeferred(self._role.leave).addCallbacks(lambda _: self.end(), self._stayed)
            return
        self._log.info("{name}: leaving at once", name=name)
        self._gone = True
        try:
            self._role.leaveNow()
        except Exception:
            self._log.failure("leaving at once did not go cleanly")
        former = self._former.get(number)
        if former is None:
            self._reactor.stop()
        else:
            # The reactor's own: it stops, and makes the process end by this signal.
            former(number, None)

    def _stayed(self, reason: Failure) -> None:
        self._leaving = False
        if reason.check(SIPGraceError) is None:
            self._log.failure("leaving failed", reason)
        else:
            self._log.warn("not leaving: {reason}", reason=reason.getErrorMessage())


def _exit(status: int) -> None:
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None:
            stream.flush()
    os._exit(status)
