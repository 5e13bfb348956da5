"""
The options that say how a drain is to go: for the drain itself and for its rehearsal.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

import click

from sipgrace.commands.numbers import Amount
from sipgrace.lifecycle.orders import LONGEST_AWAY, LONGEST_BACK, LONGEST_GUARD, THEN, Announce

__all__ = ["AWAY", "BACK", "GUARD", "reason", "wishing"]

F = TypeVar("F", bound=Callable[..., Any])

#: How long a guard may be, and the way to a full stop; for how long clients may be asked to stay away; when a
#: return may be scheduled; all in seconds.
GUARD = Amount(min=0, max=LONGEST_GUARD)
AWAY = Amount(min=0, max=LONGEST_AWAY)
BACK = Amount(min=0, max=LONGEST_BACK)

reason = click.option("--why", metavar="TEXT", default="", help="The reason, for those who ask.")

_OPTIONS = (
    click.option(
        "--guard",
        metavar="SECONDS",
        type=GUARD,
        help="When its associations are gone at the latest; by default as configured.",
    ),
    click.option(
        "--retry-after",
        metavar="SECONDS",
        type=AWAY,
        help="How long clients are asked to stay away, from now, or from the full stop with --over; never "
        "less than the guard. By default as configured.",
    ),
    click.option(
        "--over",
        metavar="SECONDS",
        type=GUARD,
        help="Refuse a rising share of new calls for so long before the full stop, from which the guard "
        "counts; 0 for a full stop at once. By default as configured.",
    ),
    click.option(
        "--then",
        type=click.Choice(THEN),
        help="What follows when it is offline: it stays so, its process exits, or it runs the command that "
        "its configuration names. By default as configured.",
    ),
    click.option(
        "--announce",
        type=click.Choice([str(way) for way in Announce]),
        help="How clients are told: by the answers to what they ask, unasked and at once, or both. By "
        "default as configured.",
    ),
    click.option(
        "--back",
        metavar="SECONDS",
        type=BACK,
        help="In how many seconds from now it is scheduled to return, for clients to know; 'sipgrace resume' "
        "is needed all the same.",
    ),
    reason,
)


def wishing(function: F) -> F:
    """
    Gives a verb these options; the function gets them as the keyword C{wishes}: what
    L{sipgrace.control.remote.RemoteNode.order} is to be told.
    """

    @functools.wraps(function)
    def wrapped(
        *values: Any,
        guard: float | None,
        retry_after: float | None,
        over: float | None,
        then: str | None,
        announce: str | None,
        back: float | None,
        why: str,
        **others: Any,
    ) -> Any:
        wishes = {
            "guard": guard,
            "retryAfter": retry_after,
            "over": over,
            "then": then,
            "announce": announce,
            # An order says when, for it may take a while until it is given.
            "back": None if back is None else time.time() + back,
            "why": why,
        }
        return function(*values, wishes=wishes, **others)

    decorated: Any = wrapped
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return cast(F, decorated)
