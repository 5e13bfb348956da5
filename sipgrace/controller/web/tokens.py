"""
Tokens: how a person at the API says who they are.

A token is a random text that its holder keeps; the configuration has its SHA-256, its holder's name, and
their role. It travels in the header C{Authorization: Bearer TOKEN} alone: never in an address, which ends up
in logs, and never in a cookie, which browsers send for other pages' requests, too.
"""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Final, Protocol

from sipgrace.controller.facts import Person
from sipgrace.lifecycle.authorization import Role

__all__ = ["Attempts", "TokenEntry", "Tokens", "digestOf", "newToken"]

#: What a token of ours begins with, so that one left lying about is known for what it is.
PREFIX: Final = "sgt_"


class TokenEntry(Protocol):
    """
    One token, as configured.

    @ivar sha256: of the token's text, in hexadecimal digits.
    """

    @property
    def name(self) -> str: ...

    @property
    def role(self) -> Role: ...

    @property
    def sha256(self) -> str: ...


def digestOf(token: str) -> str:
    """
    What the configuration has of a token. A plain hash is enough: it is no password, but 32 random bytes.
    """
    return sha256(token.encode("utf-8")).hexdigest()


def newToken() -> tuple[str, str]:
    """
    @return: a token for its holder, and its SHA-256 for the configuration.
    """
    token = PREFIX + secrets.token_urlsafe(32)
    return token, digestOf(token)


class Tokens:
    """
    All that are known.
    """

    def __init__(self, entries: Iterable[TokenEntry]) -> None:
        self._known = [
            (entry.sha256.lower().encode("ascii"), Person(entry.name, Role(entry.role))) for entry in entries
        ]

    def personWith(self, header: str) -> Person | None:
        """
        @param header: the C{Authorization} of a request.
        @return: whose token it bears; C{None} where it bears none that is known.
        """
        scheme, _, token = header.strip().partition(" ")
        if scheme.lower() != "bearer":
            return None
        found = digestOf(token.strip()).encode("ascii")
        person = None
        # All are looked at, whichever it is.
        for digest, holder in self._known:
            if hmac.compare_digest(digest, found):
                person = holder
        return person


class Attempts:
    """
    Counts wrong tokens by address, so that nobody tries many, or fills the audit log with them.

    @cvar MOST: so many are answered within L{PERIOD} seconds.
    @cvar KEPT: of so many addresses it is remembered.
    """

    MOST = 10
    PERIOD = 60.0
    KEPT = 10_000

    def __init__(self, seconds: Callable[[], float]) -> None:
        """
        @param seconds: the time.
        """
        self._seconds = seconds
        self._wrong: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def wait(self, address: str) -> float:
        """
        @return: for how many seconds nothing from there is looked at; 0 when it is.
        """
        since, times = self._wrong.get(address, (0.0, 0))
        left = since + self.PERIOD - self._seconds()
        return left if times >= self.MOST and left > 0 else 0.0

    def wrong(self, address: str) -> None:
        """
        One more.
        """
        now = self._seconds()
        since, times = self._wrong.pop(address, (now, 0))
        if since + self.PERIOD <= now:
            since, times = now, 0
        self._wrong[address] = (since, times + 1)
        if len(self._wrong) > self.KEPT:
            self._wrong.popitem(last=False)
