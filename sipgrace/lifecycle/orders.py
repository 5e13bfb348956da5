"""
Orders: what a server is told to do about its own service, by whom, when and why.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import isfinite

from sipgrace.errors import OrderRefused


class Kind(StrEnum):
    """
    What an order asks for.
    """

    DRAIN = "drain"
    CANCEL = "cancel"
    EXTEND = "extend"
    RESUME = "resume"
    OFFLINE = "offline"


class Announce(StrEnum):
    """
    How clients are told of a drain.
    """

    IN_ANSWER = "in-answer"
    """Each is told in the answers to what it asks."""

    BROADCAST = "broadcast"
    """Each that has subscribed is told at once, unasked. What is asked all the same gets the same answer,
    but for overload control."""

    BOTH = "both"
    """At once, and by overload control in answers, too."""

    @property
    def broadcasts(self) -> bool:
        """
        Whether clients are told unasked.
        """
        return self is not Announce.IN_ANSWER

    @property
    def inAnswer(self) -> bool:
        """
        Whether all answers tell it, and not just refusals.
        """
        return self is not Announce.BROADCAST


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """
    One order.

    @ivar kind: what it asks for.
    @ivar who: who gave it: a person, a controller, or C{'signal'}, C{'overload'}, C{'schedule'} for the
        server itself.
    @ivar when: when it was given, in seconds since the epoch.
    @ivar why: the reason, which clients are told as well (the comment of C{Retry-After}, RFC 3261
        §20.33).
    @ivar guard: the time a drain may take, in seconds from now, 0 for at once; for C{extend}, the time
        to add. C{None} leaves it to the server's settings.
    @ivar retryAfter: how long clients are asked to stay away, in seconds from now. What is shorter than
        the guard counts as the guard. C{None} leaves it to the server's settings.
    @ivar announce: how clients are told. C{None} leaves it to the server's settings.
    @ivar back: when the server is scheduled to return, in seconds from now; clients are told this too.
        C{None} where that is not known.
    @raise OrderRefused: when a time in it is not a finite number of seconds from 0 up.
    """

    kind: Kind
    who: str
    when: float
    why: str = ""
    guard: float | None = None
    retryAfter: float | None = None
    announce: Announce | None = None
    back: float | None = None

    def __post_init__(self) -> None:
        for name, seconds in (
            ("guard", self.guard),
            ("Retry-After", self.retryAfter),
            ("scheduled return", self.back),
        ):
            if seconds is not None and not (isfinite(seconds) and seconds >= 0):
                raise OrderRefused(
                    f"{self.kind}: its {name} is {seconds}; a number of seconds from 0 up is expected"
                )
