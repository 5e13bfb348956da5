"""
Orders: what a server (or a client) is told to do about its own service, by whom, when and why.

L{sipgrace.lifecycle.door.Door} is where they are given; L{sipgrace.lifecycle.orderform} is how they are
written down to be signed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import Any

from sipgrace.errors import OrderRefused

#: The longest reason for an order, in characters.
LONGEST_WHY = 500

#: The longest name of whoever gives an order, of a node, or of the order itself, in characters.
LONGEST_NAME = 100

#: The longest rule that refuses calls, in characters.
LONGEST_RULE = 1000

#: The longest guard, and the longest way to a full stop, in seconds; as in the configuration.
LONGEST_GUARD = 86_400.0

#: The longest time that clients may be asked to stay away, in seconds; as in the configuration.
LONGEST_AWAY = 604_800.0

#: No return is scheduled later than this, in seconds from the order.
LONGEST_BACK = 366 * 86_400.0

#: What may follow a drain.
THEN = ("stay", "exit", "run")


class Kind(StrEnum):
    """
    What an order asks for.
    """

    DRAIN = "drain"
    CANCEL = "cancel"
    EXTEND = "extend"
    RESUME = "resume"
    OFFLINE = "offline"
    REHEARSE = "rehearse"
    """Say what a drain would do, and go on serving."""

    SKIP = "skip"
    """To a client: leave a server alone, whatever it says itself."""

    UNSKIP = "unskip"
    """To a client: use it again."""

    REJECT = "reject"
    """To a server: refuse the new calls that a rule names."""

    ADMIT = "admit"
    """To a server: take such a rule back."""


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
        to add; L{LONGEST_GUARD} at most. C{None} leaves it to the server's settings.
    @ivar retryAfter: how long clients are asked to stay away, in seconds from now; L{LONGEST_AWAY} at most.
        What is shorter than
        the guard counts as the guard. C{None} leaves it to the server's settings.
    @ivar announce: how clients are told. C{None} leaves it to the server's settings.
    @ivar back: when the server is scheduled to return, in seconds since the epoch; clients are told this
        too; L{LONGEST_BACK} after C{when} at the latest. C{None} where that is not known.
    @ivar over: for so many seconds before the full stop a rising share of new INVITEs is refused; 0 for a
        full stop at once, L{LONGEST_GUARD} at most; C{None} leaves it to the server's settings.
    @ivar then: what follows the drain: C{'stay'} offline, C{'exit'} the process, C{'run'} the command that
        the server's settings name. C{None} leaves it to these. A command is never part of an order.
    @ivar server: for C{skip} and C{unskip}, the server that is meant.
    @ivar rule: for C{reject}, the rule as a JSON object (see L{sipgrace.server.rejects}); for C{admit}, the
        name of one.
    @ivar node: the element it is for; empty for whoever gets it. Orders that are signed name one.
    @ivar nonce: what tells it from every other order; empty until it has gone through the door.
    @ivar expires: after this it is void, in seconds since the epoch. C{None} for never; orders that are
        signed say when.
    @raise OrderRefused: when something in it cannot be meant.
    """

    kind: Kind
    who: str
    when: float
    why: str = ""
    guard: float | None = None
    retryAfter: float | None = None
    announce: Announce | None = None
    back: float | None = None
    over: float | None = None
    then: str | None = None
    server: str = ""
    rule: str = ""
    node: str = ""
    nonce: str = ""
    expires: float | None = None

    def __post_init__(self) -> None:
        for name, seconds in (
            ("guard", self.guard),
            ("Retry-After", self.retryAfter),
            ("scheduled return", self.back),
            ("over", self.over),
            ("expires", self.expires),
            ("when", self.when),
        ):
            if seconds is not None and not (isfinite(seconds) and seconds >= 0):
                raise OrderRefused(
                    f"{self.kind}: its {name} is {seconds}; a number of seconds from 0 up is expected"
                )
        for name, seconds, most in (
            ("guard", self.guard, LONGEST_GUARD),
            ("Retry-After", self.retryAfter, LONGEST_AWAY),
            ("over", self.over, LONGEST_GUARD),
        ):
            if seconds is not None and seconds > most:
                raise OrderRefused(
                    f"{self.kind}: its {name} is {seconds:.15g} s; at most {most:g} s are expected"
                )
        if self.back is not None and self.back > self.when + LONGEST_BACK:
            raise OrderRefused(
                f"{self.kind}: its scheduled return is more than {LONGEST_BACK / 86_400:g} days away"
            )
        for name, text, longest in (
            ("why", self.why, LONGEST_WHY),
            ("who", self.who, LONGEST_NAME),
            ("server", self.server, LONGEST_NAME),
            ("rule", self.rule, LONGEST_RULE),
            ("node", self.node, LONGEST_NAME),
            ("nonce", self.nonce, LONGEST_NAME),
        ):
            # It gets into headers and logs.
            if len(text) > longest:
                raise OrderRefused(f"{name}: at most {longest} characters are expected, found {len(text)}")
            if not text.isprintable():
                raise OrderRefused(f"{name}: one line of printable characters is expected")
        if self.then is not None and self.then not in THEN:
            raise OrderRefused(
                f"{self.kind}: what is to follow is {self.then[:30]!r}; one of {', '.join(THEN)} is expected"
            )

    def facts(self) -> dict[str, Any]:
        """
        @return: the same for display, fit for JSON: what every order has, and of the rest what is set.
        """
        facts: dict[str, Any] = {
            "kind": str(self.kind),
            "who": self.who,
            "when": self.when,
            "why": self.why,
            "guard": self.guard,
            "retryAfter": self.retryAfter,
            "announce": None if self.announce is None else str(self.announce),
            "back": self.back,
        }
        for name in ("over", "then", "server", "rule", "node", "nonce", "expires"):
            value = getattr(self, name)
            if value is not None and value != "":
                facts[name] = value
        return facts
