"""
What came of a verb: for the person or script that gave it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NoReturn

import click

__all__ = ["Exit", "Outcome"]


class Exit(IntEnum):
    """
    Exit statuses; those after a signal are 128 and its number.
    """

    DONE = 0
    REFUSED = 1
    USAGE = 2
    UNREACHABLE = 3
    OTHERWISE = 4
    FAULT = 5


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What came of a verb.

    @ivar status: the exit status.
    @ivar text: for people; on standard error unless it is done.
    @ivar facts: for scripts.
    """

    status: int
    text: str
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def word(self) -> str:
        """
        The C{outcome} that scripts see.
        """
        return Exit(self.status).name.lower() if self.status in Exit.__members__.values() else "left"

    def leave(self, asJSON: bool) -> NoReturn:
        """
        Says it, and ends the process.

        @param asJSON: whether one JSON object is all that is written to standard output.
        """
        failed = self.status != Exit.DONE
        if asJSON:
            facts: dict[str, Any] = {"outcome": self.word}
            if failed:
                facts["error"] = self.text
            click.echo(json.dumps(facts | self.facts, ensure_ascii=False))
        elif self.text:
            click.echo(f"sipgrace: {self.text}" if failed else self.text, err=failed)
        raise SystemExit(self.status)
