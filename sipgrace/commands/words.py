"""
How states, counts and times are put into words.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

__all__ = [
    "calls",
    "count",
    "moment",
    "names",
    "seconds",
    "segment",
    "standing",
    "table",
    "until",
    "waitedFor",
]


def count(number: int, one: str, several: str | None = None) -> str:
    """
    C{1 call}, C{2 calls}.
    """
    return f"{number} {one if number == 1 else several or one + 's'}"


def names(several: Sequence[str]) -> str:
    """
    C{one}, C{one and another}, C{one, two, three, four and 7 others}.
    """
    if len(several) > 5:
        return f"{', '.join(several[:4])} and {len(several) - 4} others"
    return " and ".join(filter(None, (", ".join(several[:-1]), several[-1])))


def waitedFor(status: Mapping[str, Any]) -> Sequence[str]:
    """
    The clients that a server which serves waits for.
    """
    found: Sequence[str] = status.get("awaited", ()) if status["state"] == "serving" else ()
    return found


def calls(status: dict[str, Any]) -> str:
    """
    How many calls are yet to be set up.
    """
    return f"{count(status['waiting'], 'call')} left"


def seconds(time: float) -> str:
    """
    A time, as exactly as matters.
    """
    if time < 10:
        return f"{time:.1f} s"
    if time < 120:
        return f"{time:.0f} s"
    minutes, rest = divmod(round(time), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def moment(epoch: float | None) -> str:
    """
    When something was, or will be, in the time zone of whoever reads it.
    """
    return "-" if epoch is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(epoch))


def segment(name: str) -> str:
    """
    A name as one part of an address.
    """
    return quote(name, safe="")


def table(heads: list[str], rows: list[list[str]]) -> list[str]:
    """
    Lines with columns as wide as what is in them.
    """
    lines = [heads, *rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(heads))]
    return [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def until(status: Mapping[str, Any]) -> list[str]:
    """
    What a drain is to come to next, and when, where that is known.
    """
    if status["guardLeft"] is not None:
        return [f"{seconds(status['guardLeft'])} until the guard"]
    # A controller's view is without it.
    if status.get("slowLeft") is not None:
        return [f"{seconds(status['slowLeft'])} until the full stop"]
    return []


def standing(status: dict[str, Any]) -> str:
    """
    One line of how a process stands.
    """
    parts = [f"{status['name']}: {status['state']}"]
    if status["state"] != "serving":
        parts.append(calls(status))
        parts.append(count(status["associations"], "association"))
    parts += until(status)
    if waitedFor(status):
        parts.append(f"waits for {names(waitedFor(status))}")
    return ", ".join(parts)
