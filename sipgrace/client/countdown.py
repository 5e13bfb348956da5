"""
What C{Retry-After} means to a client: how long it leaves one server alone.

 - 503 with C{Retry-After}: the server gets nothing until that many seconds from the response are over
   (RFC 3261 §21.5.4). A value that cannot be read counts as none.
 - 503 without it: as if it were a 500; this one call fails over, and the server stays in use. (A server
   that throttles answers so, RFC 7339 §5.)
 - Several: the latest end counts. A later answer never brings the end forward, not even with 0: answers
   overtake each other (SIP goes unordered over SCTP), and each draining server counts down towards one
   moment anyhow. Only the server's own word that it is available again ends a countdown early.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from sipgrace.errors import ParseError
from sipgrace.message.headers import RetryAfter
from sipgrace.message.message import Response


def retryAfterOf(response: Response) -> float | None:
    """
    How long this answer asks to be left alone.

    @param response: any response.
    @return: seconds, 0 or more, for a 503 with a readable C{Retry-After}; C{None} for all else.
    """
    if response.status != 503:
        return None
    value = response.get(b"Retry-After")
    if value is None:
        return None
    try:
        return float(RetryAfter.parse(value).seconds)
    except ParseError:
        return None


class Countdown:
    """
    The end of the time during which one server is left alone.
    """

    __slots__ = ("_clock", "_end", "_longest")

    def __init__(self, clock: IReactorTime, longest: float) -> None:
        """
        @param longest: seconds; a server that asks for more is held to this, so that one wrong figure
            does not take it away for good (the header can say 136 years).
        """
        self._clock = clock
        self._longest = longest
        self._end = 0.0

    def ask(self, seconds: float) -> bool:
        """
        The server asks to be left alone from now on.

        @return: whether that moved the end.
        """
        end = self._clock.seconds() + min(max(seconds, 0.0), self._longest)
        if end <= self._end:
            return False
        self._end = end
        return True

    def clear(self) -> None:
        """
        The server is said to be available again.
        """
        self._end = 0.0

    @property
    def left(self) -> float:
        """
        Seconds until the end; 0.0 when it is over.
        """
        return max(0.0, self._end - self._clock.seconds())
