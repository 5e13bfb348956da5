"""
What became of the calls.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from math import ceil

__all__ = ["Book", "Call", "percentiles"]


class Call:
    """
    One call.

    @ivar callId: its Call-ID.
    @ivar startedAt: when its INVITE was sent, in seconds of the clock; C{rungAt} and C{answeredAt} when the
        180 and the 200 were received; C{None} before.
    @ivar caller: the client at which the caller is.
    @ivar way: the server by which it came to a callee, the last one where there were several, or the gateway;
        empty before.
    @ivar reachedAt: when it arrived there.
    @ivar byCallee: whether it is the callee that hangs up.
    @ivar outcome: C{'completed'}, C{'failed'} or C{'lost'}; empty before its end.
    @ivar why: what went wrong.
    """

    __slots__ = (
        "answeredAt",
        "byCallee",
        "callId",
        "caller",
        "outcome",
        "reachedAt",
        "rungAt",
        "startedAt",
        "way",
        "why",
    )

    def __init__(self, callId: bytes, byCallee: bool, startedAt: float, caller: str = "") -> None:
        self.callId = callId
        self.caller = caller
        self.way = ""
        self.reachedAt: float | None = None
        self.byCallee = byCallee
        self.startedAt = startedAt
        self.rungAt: float | None = None
        self.answeredAt: float | None = None
        self.outcome = ""
        self.why = ""


class Book:
    """
    All calls of a run, by Call-ID.

    A call is completed when it was answered and its BYE, too; it has failed when it was given another final
    answer, or broke off after it was set up; it is lost when no final answer to its INVITE ever came.

    @ivar repeated: how many answers had to be sent again for want of an ACK.
    @ivar onEnd: called with each call that is over.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        """
        @param seconds: tells the time.
        """
        self._seconds = seconds
        self.calls: dict[bytes, Call] = {}
        self.outcomes: Counter[str] = Counter()
        self.repeated = 0
        self.onEnd: Callable[[Call], None] = lambda call: None

    def start(self, callId: bytes, byCallee: bool, caller: str = "") -> Call:
        """
        A call begins.
        """
        call = self.calls[callId] = Call(callId, byCallee, self._seconds(), caller)
        return call

    def reached(self, callId: bytes, way: str) -> None:
        """
        Its INVITE has come to a callee.

        @param way: through which server.
        """
        call = self.calls.get(callId)
        if call is not None:
            call.way = way
            call.reachedAt = self._seconds()

    def usedAgain(self, server: str, since: float) -> dict[str, float]:
        """
        @param since: a time, in seconds of the clock.
        @return: when each client's first call that began after it arrived by that server, counted from it.
        """
        found: dict[str, float] = {}
        for call in reversed(self.calls.values()):
            if call.startedAt < since:
                break
            if call.way == server and call.reachedAt is not None:
                after = call.reachedAt - since
                found[call.caller] = min(after, found.get(call.caller, after))
        return found

    def ringing(self, call: Call) -> None:
        """
        The caller hears it ring.
        """
        if call.rungAt is None:
            call.rungAt = self._seconds()

    def answered(self, call: Call) -> None:
        """
        The caller was answered.
        """
        if call.answeredAt is None:
            call.answeredAt = self._seconds()

    def end(self, call: Call, outcome: str, why: str = "") -> None:
        """
        It is over. What is said of it later changes nothing.
        """
        if call.outcome:
            return
        call.outcome = outcome
        call.why = why
        self.outcomes[outcome] += 1
        self.onEnd(call)

    def breakOff(self) -> None:
        """
        Ends those that are not over: the run is.
        """
        for call in self.calls.values():
            self.end(call, "lost" if call.answeredAt is None else "failed", "the run broke off")

    @property
    def open(self) -> int:
        """
        How many are not over.
        """
        return len(self.calls) - self.outcomes.total()

    def troubles(self) -> list[Call]:
        """
        @return: those that are over and did not complete, in the order in which they began.
        """
        return [call for call in self.calls.values() if call.outcome not in ("", "completed")]

    def setUpTimes(self, among: Iterable[bytes] | None = None) -> list[float]:
        """
        @param among: Call-IDs of those that are asked for; by default all.
        @return: how long each took from its INVITE to its 200, in seconds, the ringing included.
        """
        calls = (
            self.calls.values()
            if among is None
            else [self.calls[callId] for callId in among if callId in self.calls]
        )
        return [call.answeredAt - call.startedAt for call in calls if call.answeredAt is not None]


def percentiles(seconds: Sequence[float]) -> dict[str, float | None]:
    """
    @return: C{p50} and C{p99} in milliseconds (each a value that occurred: the nearest rank); C{None} where
        there is nothing.
    """
    ordered = sorted(seconds)
    return {
        f"p{percent}": round(ordered[ceil(len(ordered) * percent / 100) - 1] * 1000, 1) if ordered else None
        for percent in (50, 99)
    }
