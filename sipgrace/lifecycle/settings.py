"""
What an operator sets about drains, for all orders that do not say otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """
    All in seconds.

    @ivar guard: the time a drain may take.
    @ivar estimate: asked for it at the beginning of a drain, where it is not to be C{guard}.
    @ivar margin: how long before the guard what is left is settled by force, so that the associations
        can be shut down in order by the guard; never more than a third of the guard is taken.
    @ivar retryAfter: how long clients are asked to stay away, counted from the order. What is shorter
        than the guard counts as the guard. C{None}: until C{retryPeriod} after the guard.
    @ivar over: for so long before the full stop a rising share of new INVITEs is refused; 0 for a full stop
        at once.
    @ivar retryPeriod: added to the guard where nobody gave a Retry-After.
    """

    guard: float = 30.0
    estimate: Callable[[], float] | None = None
    margin: float = 1.0
    retryAfter: float | None = None
    retryPeriod: float = 30.0
    over: float = 0.0
