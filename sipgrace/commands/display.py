"""
What is common to all that is shown while something is waited for: how a drain goes, or a rolling maintenance.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

__all__ = ["Nothing", "barOf", "fitting"]

D = TypeVar("D")
E = TypeVar("E")


class Nothing:
    """
    For those who want the outcome alone.
    """

    def update(self, *shown: object) -> None:
        """
        Shows none of that.
        """

    def close(self) -> None:
        """
        There is nothing to end.
        """


def fitting(asJSON: bool, bar: Callable[[], D], lines: Callable[[], E]) -> D | E | Nothing:
    """
    What fits where the output goes.

    @param asJSON: whether it is the outcome alone.
    @param bar: makes what is for a terminal.
    @param lines: makes what is for logs.
    """
    if asJSON:
        return Nothing()
    return bar() if sys.stdout.isatty() else lines()


def barOf(last: str, *between: ProgressColumn, console: Any = None) -> Progress:
    """
    A bar, for a terminal, that goes when it is done with; drawn when it is told to.

    @param last: the name of the field that stands behind it; before it stands the description.
    @param between: what else stands between it and that field.
    """
    # Slow to import, and needed for terminals alone.
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    def text(what: str) -> TextColumn:
        return TextColumn(what, markup=False, table_column=Column(no_wrap=True))

    return Progress(
        text("{task.description}"),
        BarColumn(bar_width=None),
        *between,
        text(f"{{task.fields[{last}]}}"),
        expand=True,
        console=console,
        transient=True,
        auto_refresh=False,
    )
