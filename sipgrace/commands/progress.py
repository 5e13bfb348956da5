"""
What is shown while a drain or a return is waited for.
"""

from __future__ import annotations

from collections.abc import Coroutine
from functools import partial
from typing import Any, Protocol, TypeVar

import click
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall

from sipgrace.commands.display import barOf, fitting
from sipgrace.commands.reach import glance
from sipgrace.commands.words import calls, count, names, seconds, standing, until, waitedFor
from sipgrace.control.remote import Unreachable

__all__ = ["Display", "displayFor", "follow"]


T = TypeVar("T")


class Display(Protocol):
    """
    Something that shows how things stand.
    """

    def update(self, status: dict[str, Any], now: float, /) -> None:
        """
        @param status: how things stand now.
        @param now: the time, in seconds of any clock.
        """

    def close(self) -> None:
        """
        Shows no more.
        """


class Lines:
    """
    For logs: a line when the state changes, and every few seconds.

    @cvar INTERVAL: seconds between two lines of the same state.
    """

    INTERVAL = 5.0

    def __init__(self, end: str = "") -> None:
        """
        @param end: the state that is waited for, of which whoever waits will speak.
        """
        self._end = end
        self._state = ""
        self._last = 0.0

    def update(self, status: dict[str, Any], now: float) -> None:
        """
        See L{Display}.
        """
        if status["state"] == self._end and not waitedFor(status):
            return
        if status["state"] != self._state or now - self._last >= self.INTERVAL:
            self._state, self._last = status["state"], now
            click.echo(standing(status))

    def close(self) -> None:
        """
        See L{Display}.
        """


class Bar:
    """
    For a terminal: a bar that fills as calls are settled.
    """

    def __init__(self, console: Any = None) -> None:
        self._progress = barOf("left", console=console)
        self._task = self._progress.add_task("", total=None, left="")
        self._most = 0
        self._progress.start()

    def update(self, status: dict[str, Any], now: float) -> None:
        """
        See L{Display}.
        """
        waiting = status["waiting"]
        self._most = max(self._most, waiting)
        left = calls(status) if waiting or not status["associations"] else ""
        if not waiting and status["associations"]:
            left = f"{count(status['associations'], 'association')} left"
        if waitedFor(status):
            left = f"waits for {names(waitedFor(status))}"
        left = ", ".join([left, *until(status)])
        self._progress.update(
            self._task,
            description=f"{status['name']}: {status['state']}",
            # Without a call to wait for it only says that something is under way.
            total=self._most or None,
            completed=self._most - waiting,
            left=left,
            refresh=True,
        )

    def close(self) -> None:
        """
        See L{Display}.
        """
        self._progress.stop()


def displayFor(asJSON: bool, end: str = "") -> Display:
    """
    What fits where the output goes.

    @param end: the state that is waited for.
    """
    return fitting(asJSON, Bar, partial(Lines, end))


def _beyond(status: dict[str, Any]) -> float:
    """
    In how many seconds a drain's guard expires at the latest; 0 for none.
    """
    slow = status.get("slowLeft")
    if slow is not None:
        # The guard begins then.
        guard = (status.get("order") or {}).get("guard")
        return float(slow + (status["guardEstimate"]["seconds"] if guard is None else guard))
    return float(status["guardLeft"] or 0.0)


async def follow(
    reactor: Any, node: Any, waiting: Coroutine[Any, Any, T] | Deferred[T], display: Display, timeout: float
) -> T:
    """
    Waits for something, and shows how things stand meanwhile.

    @param waiting: what is waited for.
    @param timeout: how many seconds the node may go without a word beyond its guard, where it has one: what
        was to come of it should have come to pass then.
    @return: what came of it.
    @raise Unreachable: when nothing was heard for so long.
    """
    awaited = waiting if isinstance(waiting, Deferred) else Deferred.fromCoroutine(waiting)
    showing = True
    silent = False
    patience = timeout
    until = reactor.seconds() + timeout

    def show(status: dict[str, Any]) -> None:
        nonlocal showing, until, patience
        patience = timeout + _beyond(status)
        until = reactor.seconds() + patience
        if showing:
            try:
                display.update(status, reactor.seconds())
            except OSError:
                # Nobody looks on any more, which is no reason to wait no longer.
                showing = False

    def look() -> Any:
        # Whatever is wrong with the link ends the waiting itself.
        return glance(node).addCallbacks(show, lambda failure: None)

    def listen() -> None:
        nonlocal silent
        if reactor.seconds() >= until and not awaited.called:
            silent = True
            awaited.cancel()

    loops = [LoopingCall(look), LoopingCall(listen)]
    for call in loops:
        call.clock = reactor
        call.start(0.25)
    try:
        return await awaited
    except CancelledError:
        if silent:
            raise Unreachable(
                f"nothing has been heard of it for {seconds(patience)}, longer than its guard; its process "
                f"probably hangs"
            ) from None
        raise
    finally:
        showing = False
        for call in loops:
            call.stop()
        display.close()
