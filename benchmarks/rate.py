"""
The highest rate at which a program still takes every call, and nobody sends anything twice.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.cpu import costOf
from benchmarks.load import Addresses
from benchmarks.processes import Failed
from benchmarks.subjects import Subject

__all__ = ["FIRST", "highestRate"]

#: Calls a second to begin with, and the most that is tried: more than SIPp itself can do.
FIRST, MOST = 1000, 64_000

#: The last step, in calls a second: the answer is not more exact than this.
EXACT = 250

#: Seconds after the last call was placed: by then some have been sent again, which is enough to know.
_PATIENCE = 5.0


def highestRate(
    subject: Subject,
    folder: Path,
    addresses: Addresses,
    seconds: float,
    say: Callable[[str], None] = lambda text: None,
    first: int = FIRST,
) -> int:
    """
    Doubles the rate until it is too much, and then halves the difference. What is too much once is tried once
    more, for the machine does other things, too.

    @param seconds: how long calls are placed each time.
    @param first: calls a second to begin with.
    @return: calls a second; 0 where even the first rate is too much.
    """

    def clean(rate: int) -> bool:
        for _ in range(2):
            try:
                found = costOf(subject.at(rate), folder, addresses, seconds, 0.5, patience=_PATIENCE)
            except Failed as error:
                say(f"{subject.label}: {rate} calls/s: {str(error)[:100]}")
                continue
            if found.rate < 0.97 * rate:
                say(f"{subject.label}: {rate} calls/s: the caller placed only {found.rate:.0f}")
                continue
            say(f"{subject.label}: {rate} calls/s: clean")
            return True
        return False

    good, bad = 0, first
    while bad <= MOST and clean(bad):
        good, bad = bad, bad * 2
    while bad - good > EXACT and good:
        middle = (good + bad) // 2 // EXACT * EXACT or EXACT
        if middle in (good, bad):
            break
        if clean(middle):
            good = middle
        else:
            bad = middle
    return good
