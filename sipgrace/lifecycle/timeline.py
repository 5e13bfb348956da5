"""
How a drain went on, from moment to moment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime

__all__ = ["Course", "Timeline"]

#: No more moments are kept than this; where a drain lasts longer, every second one is dropped.
MOST: Final = 600


@dataclass(frozen=True, slots=True)
class Course:
    """
    What was seen.

    @ivar columns: the names of what was counted.
    @ivar rows: for each moment the seconds since the beginning, how many calls were waiting, and how much of
        each had been counted since the beginning.
    """

    columns: tuple[str, ...] = ()
    rows: tuple[tuple[float, int, tuple[int, ...]], ...] = ()

    def toJSON(self) -> dict[str, Any]:
        """
        @return: the same as a table.
        """
        return {
            "columns": ["after_s", "waiting", *self.columns],
            "rows": [[round(after, 3), waiting, *counts] for after, waiting, counts in self.rows],
        }


class Timeline:
    """
    Looks at some counters at every beat, while it runs. A listener of L{sipgrace.lifecycle.pulse.Pulse}.

    @param waiting: how many calls are waiting now.
    @ivar counters: what is counted, by name; further ones may be put in before a drain.
    """

    def __init__(
        self,
        clock: IReactorTime,
        waiting: Callable[[], int],
        counters: Mapping[str, Callable[[], int]],
    ) -> None:
        self._clock = clock
        self._waiting = waiting
        self.counters = dict(counters)
        self._running = False
        self._began = 0.0
        self._before: list[int] = []
        self._rows: list[tuple[float, int, tuple[int, ...]]] = []
        self._every = 1
        self._beats = 0

    def begin(self) -> None:
        """
        Begins anew.
        """
        self._running = True
        self._began = self._clock.seconds()
        self._before = [read() for read in self.counters.values()]
        self._rows = []
        self._every = 1
        self._beats = 0
        self.look()

    def end(self) -> None:
        """
        Looks once more, and no more.
        """
        if self._running:
            self.look()
            self._running = False

    def __call__(self, lag: float) -> None:
        """
        One beat.
        """
        if self._running:
            self._beats += 1
            if self._beats % self._every == 0:
                self.look()

    def look(self) -> None:
        """
        Notes how things stand.
        """
        counts = [read() - before for read, before in zip(self.counters.values(), self._before, strict=True)]
        after = self._clock.seconds() - self._began
        if self._rows and self._rows[-1][0] == after:
            del self._rows[-1]
        self._rows.append((after, self._waiting(), tuple(counts)))
        if len(self._rows) > MOST:
            # The first stays, and the last.
            self._rows = [*self._rows[:-1:2], self._rows[-1]]
            self._every *= 2

    def course(self) -> Course:
        """
        @return: what was seen so far.
        """
        return Course(tuple(self.counters), tuple(self._rows))
