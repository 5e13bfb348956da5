"""
How long a drain will need, from how long calls took to set up so far.

A plain histogram: how many accepted INVITEs took how long to be settled, in steps of L{STEP}. What was long
ago counts less: L{SetupTimes.age} halves all counts every so often. From that, and from how long each call in
the ledger has been waiting already, follows a time within which they all will very likely be settled.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import ceil
from typing import Any, Final

__all__ = ["STEP", "Estimate", "SetupTimes"]

#: The width of one step, in seconds.
STEP: Final = 0.05

#: The longest time that is told from longer ones, in seconds: ringing may take the three minutes of Timer C,
#: and a final response over UDP may have to be sent again for half a minute (RFC 3261 §16.6, §17.2.1).
LONGEST: Final = 240.0

#: With fewer observations nothing is estimated.
FEWEST: Final = 50

#: What counts less than this has been forgotten.
_FORGOTTEN: Final = 0.01


@dataclass(frozen=True, slots=True)
class Estimate:
    """
    A guard, and where it comes from.

    @ivar seconds: the guard.
    @ivar basis: C{'observed'}; C{'floor'} or C{'ceiling'} where that was the limit; C{'few observations'},
        C{'longer than any'} where a call has been waiting for longer than nearly any before, and
        C{'calls going on'} where a drain waits for these, too: all three mean the ceiling.
    @ivar calls: how many calls were waiting.
    """

    seconds: float
    basis: str
    calls: int


class SetupTimes:
    """
    The histogram.

    @ivar counts: how many took how many steps; the last one counts all that took longer. Whoever settles a
        call counts here by itself, because every call passes there: L{sipgrace.lifecycle.ledger.Ledger}.
    """

    def __init__(self) -> None:
        self.counts: list[float] = [0.0] * (round(LONGEST / STEP) + 1)

    def add(self, seconds: float) -> None:
        """
        Counts one.
        """
        self.counts[min(int(seconds / STEP), len(self.counts) - 1)] += 1.0

    def age(self) -> None:
        """
        Has all that was counted so far count half.
        """
        # In place: others hold this very list.
        self.counts[:] = [count / 2 if count > _FORGOTTEN else 0.0 for count in self.counts]

    def quantile(self, share: float) -> float | None:
        """
        @param share: 0.99 for the time that all but one in a hundred stay below.
        @return: the time in seconds, rounded up to a step; C{None} while nothing was observed.
        """
        sums = list(accumulate(self.counts))
        if not sums[-1]:
            return None
        return STEP * (1 + next(at for at, below in enumerate(sums) if below >= share * sums[-1]))

    def guard(
        self,
        ages: Sequence[float],
        margin: float = 0.0,
        floor: float = 5.0,
        ceiling: float = 180.0,
        risk: float = 0.01,
    ) -> Estimate:
        """
        The time within which all calls that wait will be settled.

        For each, the time that all but so few of those took which took at least as long as it has been
        waiting; so few that the risks of all of them together are C{risk}. The longest of these counts.

        @param ages: how long each has been waiting, in seconds.
        @param margin: is added: the seconds before the guard at which the end is forced.
        @param risk: how likely it may be that any of them is not settled by then.
        """
        seconds, basis = self._needed(ages, risk)
        if basis == "observed":
            # To a tenth of a second, upwards.
            seconds = ceil(10 * (seconds + margin) - 1e-6) / 10
            if seconds < floor:
                seconds, basis = floor, "floor"
            elif seconds > ceiling:
                seconds, basis = ceiling, "ceiling"
        else:
            seconds = ceiling
        return Estimate(seconds, basis, len(ages))

    def _needed(self, ages: Sequence[float], risk: float) -> tuple[float, str]:
        if not ages:
            return 0.0, "observed"
        # How many took at least so many steps.
        left = list(accumulate(reversed(self.counts)))[::-1]
        if left[0] < FEWEST:
            return 0.0, "few observations"
        rising = [-count for count in left]
        needed = 0.0
        last = len(self.counts) - 1
        # Many have been waiting for as many steps; of these the one with the least time behind it counts.
        least: dict[int, float] = {}
        for age in ages:
            at = int(age / STEP)
            if age < least.get(at, age + 1):
                least[at] = age
        for steps, age in least.items():
            at = min(max(0, steps), last)
            end = bisect_left(rising, -left[at] * risk / len(ages))
            if not left[at] or end > last:
                return 0.0, "longer than any"
            needed = max(needed, end * STEP - age)
        return needed, "observed"

    def unfinished(self, ages: Sequence[float], seconds: float) -> float | None:
        """
        @param ages: how long calls have been waiting, in seconds.
        @return: how many of them are to be expected not to be settled in so many seconds; C{None} while too
            little is known.
        """
        left = list(accumulate(reversed(self.counts)))[::-1]
        if ages and left[0] < FEWEST:
            return None
        last = len(self.counts) - 1
        expected = 0.0
        for age in ages:
            now = left[min(max(0, int(age / STEP)), last)]
            then = left[min(ceil((age + seconds) / STEP), last)]
            # One that has been waiting for longer than any before may wait for ever.
            expected += then / now if now else 1.0
        return expected

    def status(self) -> dict[str, Any]:
        """
        For display: times in seconds.
        """
        return {
            "observed": round(sum(self.counts)),
            "median": _rounded(self.quantile(0.5)),
            "p99": _rounded(self.quantile(0.99)),
        }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)
