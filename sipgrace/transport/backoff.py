"""
How long to wait before trying again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

#: No delay grows beyond C{base * 2 ** 62}, whatever the count of failures: an overflow is no delay.
_MOST_DOUBLINGS = 62


@dataclass(frozen=True, slots=True)
class Backoff:
    """
    RFC 5626 §4.5: C{min(cap, base * 2 ** failures)} seconds, of which between half and all are
    waited, at random, so that those who lost a server together do not come back together.

    The RFC's figures are a base of 30 s (90 s while other flows are alive) and a cap of 1800 s, meant
    for telephones behind an edge proxy. A trunk's peers are few and known, so the defaults here are the
    same curve at a thirtieth: 1 s to 60 s.

    @ivar base: seconds before the first new attempt; above 0.
    @ivar cap: seconds that no delay exceeds; at least C{base}.
    """

    base: float = 1.0
    cap: float = 60.0

    def __post_init__(self) -> None:
        """
        @raise ValueError: for a base that is not positive, or a cap below it.
        """
        if not 0.0 < self.base <= self.cap:
            raise ValueError(f"a back-off needs 0 < base <= cap, not base {self.base} and cap {self.cap}")

    def delay(self, failures: int, random: Callable[[], float]) -> float:
        """
        @param failures: how many attempts in a row have failed since the last good one; 0 for the first
            new attempt.
        @param random: gives a number from 0.0 up to 1.0.
        @return: seconds to wait.
        """
        whole = min(self.cap, self.base * 2.0 ** min(failures, _MOST_DOUBLINGS))
        return whole * (0.5 + 0.5 * random())
