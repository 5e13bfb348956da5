"""
Time for transactions: one queue for very many timers of few durations, and the values of RFC 3261.

A transaction sets several timers and almost all of them fire long after they stopped to matter. So
there is no cancelling: what fires looks at its state and does nothing where that has moved on. Timers
of one duration become due in the order in which they were set, hence a plain list per duration, and
one coarse tick looks at the head of each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from mypy_extensions import mypyc_attr
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

#: Which part of a tick timers may be apart that become due as one.
_APART: Final = 1 / 8


class _Batch:
    """
    Timers that were set shortly after each other, and are due when the last of them is: there are very many,
    and so they have one time between them.

    @ivar due: when that is.
    @ivar closed: what is due later than this does not belong to it.
    """

    __slots__ = ("closed", "due", "subjects", "timer")

    def __init__(self, timer: Timer, due: float, closed: float) -> None:
        self.timer = timer
        self.due = due
        self.closed = closed
        self.subjects: list[Any] = []


@mypyc_attr(allow_interpreted_subclasses=True)
class Timer:
    """
    What happens to many objects, each when one and the same duration is over. One that is set costs eight
    bytes, and no object.

    @ivar seconds: the duration.
    @ivar fire: called with the object.
    """

    def __init__(self, queue: TimerQueue, seconds: float, fire: Callable[[Any], None]) -> None:
        self.seconds = seconds
        self.fire = fire
        self._queue = queue
        self._batches: list[_Batch] = []
        self._last: _Batch | None = None

    def set(self, subject: Any) -> None:
        """
        Calls C{fire} with C{subject} once, rounded up as L{TimerQueue.after} does.
        """
        queue = self._queue
        due = queue.now() + self.seconds
        batch = self._last
        if batch is None or due > batch.closed:
            batch = self._last = _Batch(self, due, due + queue.apart)
            self._batches.append(batch)
            queue.wake()
        elif due > batch.due:
            batch.due = due
        batch.subjects.append(subject)

    def take(self, now: float, taken: list[_Batch]) -> None:
        """
        Moves what is due into C{taken}.
        """
        batches = self._batches
        count = 0
        for batch in batches:
            if batch.due > now:
                break
            count += 1
        if count:
            taken += batches[:count]
            del batches[:count]
            if not batches:
                self._last = None

    @property
    def idle(self) -> bool:
        """
        Whether nothing is set.
        """
        return self._last is None

    def clear(self) -> None:
        """
        Forgets what was set.
        """
        self._batches.clear()
        self._last = None

    def __len__(self) -> int:
        return sum([len(batch.subjects) for batch in self._batches])


@mypyc_attr(allow_interpreted_subclasses=True)
class TimerQueue:
    """
    Calls back after at least the given time and at most one tick later. While nothing is queued there
    is no tick either.

    The work of one tick is not bounded: everything that is due is done, so that a burst of calls
    becomes a burst of timers 32 s later. That costs about a third of a microsecond each for those that
    have nothing to do.

    @ivar tick: seconds between two looks at the queue, and how far apart timers are that wait for each other.
    @ivar apart: the latter.
    @ivar now: the clock.
    """

    _log: ClassVar[Logger] = Logger()

    def __init__(self, clock: IReactorTime, tick: float = 0.05) -> None:
        self.tick = tick
        self.apart = tick * _APART
        self.now: Callable[[], float] = clock.seconds
        self._clock = clock
        self._kept: list[Timer] = []
        self._timers: dict[float, Timer] = {}
        self._stops = 0
        self._next: IDelayedCall | None = None

    def timer(self, seconds: float, fire: Callable[[Any], None]) -> Timer:
        """
        For what is set so often that it should cost little, and whose duration is known beforehand. It is
        kept as long as the queue is, and looked at each tick.

        @param seconds: as of L{after}.
        @param fire: its exceptions are logged and disturb no other timer.
        """
        timer = Timer(self, seconds, fire)
        self._kept.append(timer)
        return timer

    def after(self, seconds: float, callback: Callable[[], None]) -> None:
        """
        Calls C{callback} once, C{seconds} from now, rounded up to the tick. Each distinct duration
        costs a list while it is in use: meant for constants, not for computed times.

        @param seconds: from 0; never fires within the tick that is running.
        @param callback: its exceptions are logged and disturb no other timer.
        """
        timer = self._timers.get(seconds)
        if timer is None:
            timer = self._timers[seconds] = Timer(self, seconds, _call)
        timer.set(callback)

    def soon(self, callback: Callable[[], None]) -> None:
        """
        Calls C{callback} from the reactor as soon as the present call has returned, without waiting
        for a tick.
        """
        self._clock.callLater(0, self._guarded, callback)

    def stop(self) -> None:
        """
        Forgets every timer and ends the tick (not what L{soon} was given). A later L{after} starts anew.
        """
        self._stops += 1
        for timer in self._kept:
            timer.clear()
        self._timers.clear()
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._next = None

    def __len__(self) -> int:
        """
        How many timers are queued, those that no longer matter included.
        """
        return sum([len(timer) for timer in (*self._kept, *self._timers.values())])

    def wake(self) -> None:
        """
        There is something to wait for.
        """
        if self._next is None:
            self._next = self._clock.callLater(self.tick - self.apart, self._run)

    def _run(self) -> None:
        now = self.now()
        due: list[_Batch] = []
        for timer in self._kept:
            timer.take(now, due)
        for seconds, timer in list(self._timers.items()):
            timer.take(now, due)
            if timer.idle:
                del self._timers[seconds]
        # All is taken out before any is called: what they set is not due in this tick.
        stops = self._stops
        for batch in due:
            fire = batch.timer.fire
            for subject in batch.subjects:
                if self._stops != stops:
                    break
                try:
                    fire(subject)
                except Exception:
                    self._failed(subject)
        if not self._timers and all(timer.idle for timer in self._kept):
            self._next = None
        elif self._next is None or not self._next.active():
            # The period counts from the start of this tick, however long its work took.
            again = max(0.0, now + self.tick - self.apart - self.now())
            self._next = self._clock.callLater(again, self._run)

    def _guarded(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception:
            self._failed(callback)

    def _failed(self, subject: Any) -> None:
        self._log.failure("timer of {subject!r} failed", subject=subject)


def _call(callback: Callable[[], None]) -> None:
    callback()


@dataclass(frozen=True)
class Timers:
    """
    The timer values of RFC 3261 table 4, but for C, which is the proxy's, and of RFC 6026 §7, in seconds.
    Those that reliable transports set to zero (D, I, J, K) are given here for unreliable ones; the machines
    know the difference.

    @ivar t1: the estimate of a round trip.
    @ivar t2: the longest interval between retransmissions of non-INVITE requests and of finals of INVITE.
    @ivar t4: how long a message can stay in the network.
    @ivar a: first retransmission of INVITE; doubles.
    @ivar b: INVITE without any response.
    @ivar d: absorbs final responses of INVITE other than 2xx; at least 32 s whatever T1 is here.
    @ivar e: first retransmission of others than INVITE; doubles up to T2.
    @ivar f: others than INVITE without a final response.
    @ivar g: first retransmission of a final response of INVITE; doubles up to T2.
    @ivar h: wait for the ACK.
    @ivar i: absorbs further ACKs.
    @ivar j: absorbs retransmitted requests.
    @ivar k: absorbs retransmitted responses.
    @ivar l: an accepted INVITE, server side; on every transport (RFC 6026).
    @ivar m: an accepted INVITE, client side; on every transport (RFC 6026).
    @ivar trying: INVITE without an answer gets 100 (§17.2.1).
    @ivar late: when others than INVITE may get 100 on an unreliable transport, and must on any: the
        time until the client's Timer E has reached T2 (RFC 4320 §4.1), or its Timer F fires.
    """

    t1: float = 0.5
    t2: float = 4.0
    t4: float = 5.0
    a: float = field(init=False)
    b: float = field(init=False)
    d: float = field(init=False)
    e: float = field(init=False)
    f: float = field(init=False)
    g: float = field(init=False)
    h: float = field(init=False)
    i: float = field(init=False)
    j: float = field(init=False)
    k: float = field(init=False)
    l: float = field(init=False)  # noqa: E741 (the RFC's name)
    m: float = field(init=False)
    trying: float = field(init=False)
    late: float = field(init=False)

    def __post_init__(self) -> None:
        if not (0 < self.t1 <= self.t2 and self.t4 > 0):
            raise ValueError(f"0 < T1 <= T2 and 0 < T4 expected, not {self.t1}, {self.t2}, {self.t4}")
        long = 64 * self.t1
        late = interval = self.t1
        while interval * 2 < self.t2:
            interval *= 2
            late += interval
        derived = {
            "a": self.t1, "b": long, "d": max(32.0, long), "e": self.t1, "f": long,
            "g": self.t1, "h": long, "i": self.t4, "j": long, "k": self.t4, "l": long, "m": long,
            "trying": 0.2, "late": min(late, long),
        }  # fmt: skip
        for name, value in derived.items():
            object.__setattr__(self, name, value)
