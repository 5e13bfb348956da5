"""
Rehearsals: what a drain would do now, told to whoever asks, while the server goes on serving and nobody else
notices.

What is told at once is reckoned from what is known at that moment. What is told later has been watched:
whether the calls that waited then were settled in the time that the drain would have had, and how many new
ones came in meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from sipgrace.errors import OrderRefused
from sipgrace.lifecycle.door import Carried
from sipgrace.lifecycle.estimate import Estimate, SetupTimes
from sipgrace.lifecycle.events import State
from sipgrace.lifecycle.machine import Lifecycle
from sipgrace.lifecycle.orders import Announce, Order
from sipgrace.lifecycle.seams import Entry

__all__ = ["Rehearsals"]

#: So often it is looked which calls are left, in seconds.
LOOK: Final = 0.1

#: So many announcements are shown; they are all alike.
SHOWN: Final = 100

#: See L{Rehearsals.announced}.
Announced = Callable[[float, str, float | None], Iterable[tuple[str, bytes]]]


class CountedLedger(Protocol):
    """
    What is needed of the ledger.
    """

    accepted: int

    def __len__(self) -> int:
        """
        How many calls are waiting.
        """

    def __iter__(self) -> Iterator[Entry]:
        """
        These calls.
        """

    def __contains__(self, entry: Entry) -> bool:
        """
        Whether a call is waiting yet.
        """

    def ages(self, now: float) -> list[float]:
        """
        How long each has been waiting to be set up.
        """


class Rehearsals:
    """
    Holds them.

    @cvar MOST: how many may be watched at a time.
    @ivar announced: what a drain would tell them unasked: client and message; called with for how many
        seconds they would be asked to stay away, why, and in how many seconds the server would be back.
    @ivar clients: whom a drain would tell: how many associations each client has up, by name.
    """

    MOST = 4

    def __init__(
        self,
        clock: IReactorTime,
        lifecycle: Lifecycle,
        ledger: CountedLedger,
        times: SetupTimes,
        estimate: Callable[[], Estimate],
        margin: float,
        spread: int,
        rate: Callable[[], float],
        defaults: Mapping[str, Any],
        wallClock: Callable[[], float] = time.time,
    ) -> None:
        """
        @param margin: how many seconds before the guard the end is forced.
        @param spread: the most seconds that are added to a client's Retry-After.
        @param rate: how many new INVITEs are accepted a second.
        @param defaults: what counts where the order does not say: C{over}, C{then}, C{announce}.
        """
        self._clock = clock
        self._lifecycle = lifecycle
        self._ledger = ledger
        self._times = times
        self._estimate = estimate
        self._margin = margin
        self._spread = spread
        self._rate = rate
        self._defaults = defaults
        self._wallClock = wallClock
        self._watching: list[LoopingCall] = []
        self.announced: Announced = lambda retryAfter, why, back: ()
        self.clients: Callable[[], Mapping[str, int]] = dict

    def rehearse(self, order: Order) -> Carried:
        """
        Carries out an order to rehearse; see L{sipgrace.lifecycle.door.Door.kinds}.

        @return: what would be done, and later what would have come of it: both fit JSON, times in seconds.
        @raise OrderRefused: unless the server serves.
        """
        status = self._lifecycle.status()
        if status.state is not State.SERVING:
            raise OrderRefused(f"a rehearsal is for a server that serves; this one is {status.state}")
        if len(self._watching) >= self.MOST:
            raise OrderRefused(f"{self.MOST} rehearsals are under way already; wait until one has ended")
        guard, away = self._lifecycle.plan(order)
        # What rings then is taken back (see L{sipgrace.lifecycle.guard}).
        forcedAfter = max(0.0, guard - 1.5 * min(self._margin, guard / 3))
        estimate = self._estimate()
        ages = self._ledger.ages(self._clock.seconds())
        # How long people talk is not known.
        dialogs = len(self._ledger) - len(ages)
        cutOff = None if dialogs else self._times.unfinished(ages, forcedAfter)
        rate = self._rate()
        needed = min(estimate.seconds, guard)
        result = {
            "guard": guard,
            "guardEstimate": estimate.seconds,
            "estimatedFrom": estimate.basis,
            "forcedAfter": forcedAfter,
            "retryAfter": away,
            "spread": self._spread,
            "over": self._said(order, "over"),
            "then": self._said(order, "then"),
            "announce": str(self._said(order, "announce")),
            "waiting": len(self._ledger),
            "dialogs": dialogs,
            "oldest": round(ages[0], 3) if ages else None,
            "cutOff": None if cutOff is None else round(cutOff, 2),
            "associations": status.associations,
            "clients": dict(self.clients()),
            "announcements": self._announcements(order, away),
            "newPerSecond": round(rate, 2),
            "refusedBefore": round(rate * needed),
            "refusedWithin": round(rate * away),
        }
        return Carried(result, self._watch(guard, forcedAfter))

    def _announcements(self, order: Order, away: float) -> list[dict[str, str]]:
        if self._said(order, "announce") == Announce.IN_ANSWER:
            return []
        back = None if order.back is None else max(0.0, order.back - self._wallClock())
        return [
            {"client": name, "message": message.decode("utf-8", "replace")}
            for name, message in islice(self.announced(away, order.why, back), SHOWN)
        ]

    def _said(self, order: Order, name: str) -> Any:
        value = getattr(order, name)
        return self._defaults.get(name) if value is None else value

    def _watch(self, guard: float, forcedAfter: float) -> Deferred[dict[str, Any]]:
        ledger, clock = self._ledger, self._clock
        began = clock.seconds()
        left: list[Entry] = list(ledger)
        waiting = len(left)
        accepted = ledger.accepted
        found: Deferred[dict[str, Any]] = Deferred(lambda _: self._stop(looking))

        def look() -> None:
            left[:] = [entry for entry in left if entry in ledger]
            after = clock.seconds() - began
            if left and after < forcedAfter:
                return
            self._stop(looking)
            found.callback(
                {
                    "guard": guard,
                    "waiting": waiting,
                    "settled": waiting - len(left),
                    "cutOff": len(left),
                    "drainedAfter": None if left else round(after, 3),
                    "refused": ledger.accepted - accepted,
                }
            )

        looking = LoopingCall(look)
        looking.clock = clock
        self._watching.append(looking)
        looking.start(LOOK)
        return found

    def _stop(self, looking: LoopingCall) -> None:
        if looking in self._watching:
            self._watching.remove(looking)
            looking.stop()

    def stop(self) -> None:
        """
        Ends what would keep a reactor busy; nothing is told any more.
        """
        for looking in list(self._watching):
            self._stop(looking)
