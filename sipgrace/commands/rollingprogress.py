"""
What is shown while a rolling maintenance is waited for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import click

from sipgrace.commands.display import barOf, fitting
from sipgrace.commands.words import count

__all__ = ["RollingDisplay", "rollingDisplayFor", "rollingLine"]

Facts = Mapping[str, Any]


class RollingDisplay(Protocol):
    """
    Something that shows how it goes.
    """

    def update(self, record: Facts, waiting: Mapping[str, int], queued: Mapping[str, str], /) -> None:
        """
        @param record: see L{sipgrace.controller.facts.RollingRecord}.
        @param waiting: by node, the calls that it has left.
        @param queued: by node whose drain waits for the budget, why it has no room.
        """

    def close(self) -> None:
        """
        Shows no more.
        """


def done(record: Facts) -> int:
    """
    How many servers are done with.
    """
    return sum(record["steps"].get(name) == "done" for name in record["servers"])


def underWay(record: Facts, waiting: Mapping[str, int], queued: Mapping[str, str]) -> str:
    """
    Those that are neither done nor to come: C{server-102 draining (3 calls left)}, or C{queued}.
    """
    parts = []
    for name in record["servers"]:
        step = record["steps"].get(name, "waiting")
        if step == "draining" and name in queued:
            parts.append(f"{name} queued ({queued[name]})")
        elif step not in ("waiting", "done"):
            calls = (
                f" ({count(waiting[name], 'call')} left)" if step == "draining" and name in waiting else ""
            )
            parts.append(f"{name} {step}{calls}")
    return ", ".join(parts)


def rollingLine(record: Facts, queued: Mapping[str, str] | None = None) -> str:
    """
    One line of how it stands.

    @param queued: see L{RollingDisplay.update}.
    """
    text = (
        f"{record['id']}: {record['progress']}, {done(record)} of {count(len(record['servers']), 'server')}"
    )
    now = underWay(record, {}, queued or {})
    if now:
        text += f"; {now}"
    return f"{text}: {record['text']}" if record["text"] else text


class Lines:
    """
    For logs: a line at each step.
    """

    def __init__(self) -> None:
        self._last = ""

    def update(self, record: Facts, waiting: Mapping[str, int], queued: Mapping[str, str]) -> None:
        """
        See L{RollingDisplay}.
        """
        line = rollingLine(record, queued)
        if line != self._last:
            self._last = line
            click.echo(line)

    def close(self) -> None:
        """
        See L{RollingDisplay}.
        """


class Bar:
    """
    For a terminal: a bar that fills as servers are done.
    """

    def __init__(self, console: Any = None) -> None:
        # Slow to import, and needed for terminals alone.
        from rich.progress import MofNCompleteColumn, TimeElapsedColumn

        self._progress = barOf("now", MofNCompleteColumn(), TimeElapsedColumn(), console=console)
        self._task = self._progress.add_task("", total=None, now="")
        self._progress.start()

    def update(self, record: Facts, waiting: Mapping[str, int], queued: Mapping[str, str]) -> None:
        """
        See L{RollingDisplay}.
        """
        self._progress.update(
            self._task,
            description=record["progress"],
            total=len(record["servers"]),
            completed=done(record),
            now=underWay(record, waiting, queued),
            refresh=True,
        )

    def close(self) -> None:
        """
        See L{RollingDisplay}.
        """
        self._progress.stop()


def rollingDisplayFor(asJSON: bool) -> RollingDisplay:
    """
    What fits where the output goes.
    """
    return fitting(asJSON, Bar, Lines)
