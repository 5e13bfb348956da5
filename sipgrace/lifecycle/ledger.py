"""
The ledger: every accepted INVITE that is not yet settled, oldest first.

Where a server stays in the path of calls and its guard covers them, an INVITE is settled when its call has
ended. Meanwhile the ledger holds the call in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Final

from mypy_extensions import mypyc_attr
from twisted.logger import Logger

from sipgrace.lifecycle.estimate import STEP
from sipgrace.lifecycle.seams import Entry

_log = Logger()

_STEPS: Final = 1 / STEP


@mypyc_attr(allow_interpreted_subclasses=True)
class Ledger:
    """
    A dict in order of acceptance. C{accept} and C{settle} are passed by every call: no timers, no
    logging there.

    @ivar setups: what is being set up (or is no INVITE): all, unless calls are held.
    @ivar calls: those that go on, each with how many accepted INVITEs have led to it.
    @ivar accepted: how many were ever taken in.
    @ivar settled: how many of these were settled, in their own time or by force.
    @ivar forced: how many of the settled were given a final answer by force.
    @ivar failed: how many could not be settled by force, because they raised.
    """

    __slots__ = (
        "_onIdle",
        "_seconds",
        "_times",
        "accepted",
        "calls",
        "failed",
        "forced",
        "settled",
        "setups",
    )

    def __init__(
        self, times: list[float] | None = None, seconds: Callable[[], float] = lambda: 0.0
    ) -> None:
        """
        @param times: where it is counted how long those took that were settled in their own time: see
            L{sipgrace.lifecycle.estimate.SetupTimes.counts}. C{None} for nowhere.
        @param seconds: the clock.
        """
        self._times = times
        self._seconds = seconds
        self.setups: dict[Entry, None] = {}
        self.calls: dict[Entry, int] = {}
        self._onIdle: Callable[[], None] | None = None
        self.accepted = 0
        self.settled = 0
        self.forced = 0
        self.failed = 0

    def __len__(self) -> int:
        return len(self.setups) + len(self.calls)

    def __contains__(self, entry: Entry) -> bool:
        """
        @return: whether it is not yet settled.
        """
        # One that has left its place to a call knows which.
        return entry in self.setups or entry in self.calls or getattr(entry, "call", None) in self.calls

    def __iter__(self) -> Iterator[Entry]:
        """
        @return: all that are not settled, the oldest first, and calls that go on last. Not to be kept while
            entries come and go.
        """
        return chain(self.setups, self.calls)

    def accept(self, entry: Entry) -> None:
        """
        Takes in a new one: it was answered with 100 Trying.
        """
        self.setups[entry] = None
        self.accepted += 1

    def settle(self, entry: Entry, forced: bool = False) -> None:
        """
        Its final response has left, and nothing more can be asked of the server for it. Harmless for
        one that is not (or no longer) in the ledger.

        @param forced: whether it was given that response by force, after L{recallAll}.
        """
        try:
            del self.setups[entry]
        except KeyError:
            self._settleCall(entry, forced)
            return
        self.settled += 1
        self.forced += forced
        times = self._times
        if times is not None and not forced and entry.isInvite:
            # As SetupTimes.add, without the call: every call passes here (0.2 µs).
            try:
                times[int((self._seconds() - entry.acceptedAt) * _STEPS)] += 1.0
            except IndexError:
                times[-1] += 1.0
        if self._onIdle is not None and not self.setups and not self.calls:
            self._onIdle()

    def hold(self, entry: Entry, call: Entry) -> None:
        """
        It is set up, and its call goes on: that is settled in its place when it ends. Several may lead to one
        call.
        """
        if entry in self.setups:
            del self.setups[entry]
            self.calls[call] = self.calls.get(call, 0) + 1
            if self._times is not None:
                place = int((self._seconds() - entry.acceptedAt) * _STEPS)
                self._times[min(place, len(self._times) - 1)] += 1.0

    def _settleCall(self, call: Entry, forced: bool) -> None:
        count = self.calls.pop(call, 0)
        if count:
            self.settled += count
            self.forced += forced
            if self._onIdle is not None and not self.setups and not self.calls:
                self._onIdle()

    def watch(self, onIdle: Callable[[], None] | None) -> None:
        """
        Asks to be told each time the ledger becomes empty; C{None} ends that.
        """
        self._onIdle = onIdle

    def recallAll(self, reason: str) -> None:
        """
        Takes back all that can be, oldest first, and ends the calls that go on. One that fails is logged, and
        left to L{settleAll}.

        @param reason: handed to each entry's C{recall}.
        """
        for entry in list(self):
            try:
                entry.recall(reason)
            except Exception:
                _log.failure("{entry} could not be taken back", entry=entry)

    def settleAll(self, reason: str) -> int:
        """
        Settles all that is there by force, oldest first. One that fails is logged, counted and let go:
        it must not keep the others from their answers, nor hold up the next drain.

        @param reason: handed to each entry's C{forceSettle}.
        @return: how many had to be given a final answer.
        """
        count = 0
        # How long these took says nothing.
        times, self._times = self._times, None
        # What was set up may leave a call in its place.
        for kind in (self.setups, self.calls):
            for entry in list(kind):
                if entry not in kind:
                    # Settling one of those before has settled this one too.
                    continue
                try:
                    forced = entry.forceSettle(reason) is not False
                except Exception:
                    _log.failure("{entry} could not be settled; it is let go", entry=entry)
                    kind.pop(entry, None)
                    self.failed += 1
                    continue
                self.settle(entry)
                count += forced
        self._times = times
        self.forced += count
        return count

    @property
    def oldest(self) -> Entry | None:
        """
        The one that has waited longest to be set up; C{None} where there is none.
        """
        return next(iter(self.setups), None)

    def ages(self, now: float) -> list[float]:
        """
        @return: how long each has been waiting to be set up, in seconds, the longest first.
        """
        return [now - entry.acceptedAt for entry in self.setups]
