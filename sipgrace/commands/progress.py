"""
What is shown while a drain or a return is waited for.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import Any, Protocol

import click
from twisted.internet.task import LoopingCall

from sipgrace.commands.reach import glance
from sipgrace.commands.words import calls, count, seconds, standing
from sipgrace.control.remote import Answer

__all__ = ["Display", "displayFor", "follow"]


class Display(Protocol):
    """
    Something that shows how things stand.
    """

    def update(self, status: dict[str, Any], now: float) -> None:
        """
        @param status: how things stand now.
        @param now: the time, in seconds of any clock.
        """

    def close(self) -> None:
        """
        Shows no more.
        """


class Nothing:
    """
    For those who want the outcome alone.
    """

    def update(self, status: dict[str, Any], now: float) -> None:
        """
        See L{Display}.
        """

    def close(self) -> None:
        """
        See L{Display}.
        """


class Lines:
    """
    For logs: a line when the state changes, and every few seconds.

    @cvar INTERVAL: seconds between two lines of the same state.
    """

    INTERVAL = 5.0

    def __init__(self) -> None:
        self._state = ""
        self._last = 0.0

    def update(self, status: dict[str, Any], now: float) -> None:
        """
        See L{Display}.
        """
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
        # Slow to import, and needed here alone.
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.table import Column

        self._progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[left]}", markup=False, table_column=Column(no_wrap=True)),
            expand=True,
            console=console,
            transient=True,
            auto_refresh=False,
        )
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
        if status["guardLeft"] is not None:
            left = f"{left}, {seconds(status['guardLeft'])} until the guard"
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


def displayFor(asJSON: bool) -> Display:
    """
    What fits where the output goes.
    """
    if asJSON:
        return Nothing()
    return Bar() if sys.stdout.isatty() else Lines()


async def follow(
    reactor: Any, node: Any, answer: Answer, states: Collection[str], display: Display
) -> dict[str, Any]:
    """
    Waits until an order has been carried out or come to nothing, and shows how things stand meanwhile.

    @param states: where the node may stand then.
    @return: the event that ended the waiting, see L{sipgrace.control.remote.RemoteNode.when}.
    """
    showing = True

    def show(status: dict[str, Any]) -> None:
        nonlocal showing
        if showing:
            try:
                display.update(status, reactor.seconds())
            except OSError:
                # Nobody looks on any more, which is no reason to wait no longer.
                showing = False

    def look() -> Any:
        # Whatever is wrong with the link ends the waiting itself.
        return glance(node).addCallbacks(show, lambda failure: None)

    looking = LoopingCall(look)
    looking.clock = reactor
    looking.start(0.25)
    try:
        event: dict[str, Any] = await node.when(states, answer)
        return event
    finally:
        showing = False
        looking.stop()
        display.close()
