"""
What is common to all that is shown while something is waited for: how a drain goes, or a rolling maintenance.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import Progress, ProgressColumn

__all__ = ["Nothing", "barOf", "fitting"]

#: A bar of fewer columns shows nothing.
_SHORTEST = 4

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
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
    from rich.table import Column
    from rich.text import Text

    class Fitting(Progress):
        """
        Without the bar, and on several lines, where the terminal has no room for the words beside one.
        """

        def get_renderables(self) -> Iterable[RenderableType]:
            columns = cast(list[ProgressColumn], self.columns)
            shown = [column for column in columns if not isinstance(column, BarColumn)]
            for task in self.tasks:
                words = Text(" ").join([cast(Text, column(task)) for column in shown])
                if words.cell_len + _SHORTEST + 1 > self.console.width:
                    yield words
                else:
                    yield self.make_tasks_table([task])

    def text(what: str) -> TextColumn:
        return TextColumn(what, markup=False, table_column=Column(no_wrap=True))

    return Fitting(
        text("{task.description}"),
        BarColumn(bar_width=None),
        *between,
        text(f"{{task.fields[{last}]}}"),
        expand=True,
        console=console,
        transient=True,
        auto_refresh=False,
    )
