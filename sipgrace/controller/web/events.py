"""
What happens to the fleet, as server-sent events (U{https://html.spec.whatwg.org/multipage/server-sent-events.html}).

A reader that comes back with C{Last-Event-ID} gets what it has missed, as long as the fleet still has it;
the first event, C{hello}, says whether that was so. Else it is to ask for everything again. One that does not
read is sent away when more is waiting for it than is kept: nothing grows because of it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from sipgrace.controller.facts import Notice
from sipgrace.controller.web.bodies import abort
from sipgrace.controller.web.records import encoded

__all__ = ["Feed", "Stream"]

#: Seconds between two signs of life.
HEARTBEAT: Final = 15.0

#: Whoever has taken nothing for so many seconds is sent away.
PATIENCE: Final = 60.0

#: So much may wait for a reader, in bytes; half of it when it comes back.
MOST: Final = 4_194_304


class Watched(Protocol):
    """
    What tells of notices: the fleet.
    """

    def observe(self, observer: Callable[[Notice], None]) -> None: ...

    def unobserve(self, observer: Callable[[Notice], None]) -> None: ...

    def since(self, number: int) -> Sequence[Notice] | None: ...

    @property
    def number(self) -> int: ...


def event(kind: str, facts: Any, id: str = "") -> bytes:
    """
    One event as it is written.
    """
    # A line feed in JSON is written as two characters: one line is enough.
    head = f"id: {id}\nevent: {kind}" if id else f"event: {kind}"
    return b"%b\ndata: %b\n\n" % (head.encode("ascii"), encoded(facts))


@implementer(IPushProducer)
class Stream:
    """
    One reader.

    @ivar dropped: whether it was sent away.
    """

    def __init__(self, request: Any, clock: IReactorTime, ended: Callable[[Stream], None]) -> None:
        self._request = request
        self._clock = clock
        self._ended = ended
        self._paused = False
        self._over = False
        self._waiting: OrderedDict[object, bytes] = OrderedDict()
        self._size = 0
        self._beat: IDelayedCall | None = None
        self._taken = clock.seconds()
        self.dropped = False

    def begin(self) -> None:
        """
        Begins.
        """
        request = self._request
        request.setHeader("Content-Type", "text/event-stream; charset=utf-8")
        # Proxies that would gather the answer first are told not to.
        request.setHeader("X-Accel-Buffering", "no")
        request.notifyFinish().addBoth(self._finished)
        request.registerProducer(self, True)
        self._schedule()

    def send(self, data: bytes, about: str = "") -> None:
        """
        Sends it, or keeps it until the reader is ready.

        @param about: what it is the newest word about, which makes an older one that still waits needless.
        """
        if self._over:
            return
        if not self._paused:
            self._taken = self._clock.seconds()
            self._request.write(data)
            return
        key = about or object()
        self._size += len(data) - len(self._waiting.pop(key, b""))
        self._waiting[key] = data
        if self._size > MOST:
            self._drop()

    def end(self) -> None:
        """
        Ends it; the reader may come again.
        """
        if not self._over:
            self._request.unregisterProducer()
            self._request.finish()

    def pauseProducing(self) -> None:
        """
        See C{IPushProducer}.
        """
        if not self._paused:
            self._taken = self._clock.seconds()
        self._paused = True

    def resumeProducing(self) -> None:
        """
        See C{IPushProducer}.
        """
        self._paused = False
        while self._waiting and not self._paused and not self._over:
            _, data = self._waiting.popitem(last=False)
            self._size -= len(data)
            self.send(data)

    def stopProducing(self) -> None:
        """
        See C{IPushProducer}.
        """

    def _schedule(self) -> None:
        self._beat = self._clock.callLater(HEARTBEAT, self._beats)

    def _beats(self) -> None:
        self._beat = None
        if not self._paused:
            self._request.write(b": still here\n\n")
        elif self._clock.seconds() - self._taken >= PATIENCE:
            self._drop()
            return
        self._schedule()

    def _drop(self) -> None:
        self.dropped = True
        self._waiting.clear()
        # What is under way would wait for a reader that does not read.
        abort(self._request)

    def _finished(self, result: object) -> None:
        self._over = True
        self._waiting.clear()
        if self._beat is not None:
            self._beat.cancel()
            self._beat = None
        self._ended(self)


class Feed:
    """
    All readers. Each notice is written down once, whoever reads it.

    @cvar MOST: so many there may be.
    @ivar dropped: how many were sent away because they did not read.
    """

    MOST = 500

    log = Logger()

    def __init__(self, name: str, fleet: Watched, clock: IReactorTime, run: str) -> None:
        """
        @param name: the controller's.
        @param run: tells the numbers of this run of the controller from those of any other.
        """
        self._name = name
        self._fleet = fleet
        self._clock = clock
        self._run = run
        self._streams: list[Stream] = []
        self.dropped = 0

    @property
    def readers(self) -> int:
        """
        How many there are.
        """
        return len(self._streams)

    @property
    def full(self) -> bool:
        """
        Whether there is no room for one more.
        """
        return self.readers >= self.MOST

    def add(self, request: Any, last: str) -> None:
        """
        One more.

        @param last: the C{Last-Event-ID} that it came with, or nothing.
        """
        missed = self._missed(last)
        stream = Stream(request, self._clock, self._ended)
        stream.begin()
        if not self._streams:
            self._fleet.observe(self._noticed)
        self._streams.append(stream)
        hello = {"controller": self._name, "resumed": missed is not None}
        # Whoever comes back after this has missed nothing before it.
        stream.send(event("hello", hello, last if missed else f"{self._run}-{self._fleet.number}"))
        for data in missed or ():
            stream.send(data)

    def stop(self) -> None:
        """
        Ends all.
        """
        for stream in list(self._streams):
            stream.end()

    def _missed(self, last: str) -> list[bytes] | None:
        run, _, number = last.partition("-")
        if run != self._run or not (number.isascii() and number.isdigit() and len(number) < 16):
            return None
        notices = self._fleet.since(int(number))
        if notices is None:
            return None
        written = [self._written(notice) for notice in notices]
        # To ask for everything again is less then.
        return written if sum(map(len, written)) <= MOST // 2 else None

    def _written(self, notice: Notice) -> bytes:
        facts = {"number": notice.number, "node": notice.node, "facts": notice.facts}
        return event(notice.kind, facts, f"{self._run}-{notice.number}")

    def _noticed(self, notice: Notice) -> None:
        data = self._written(notice)
        about = notice.node if notice.kind == "node" else ""
        for stream in list(self._streams):
            stream.send(data, about)

    def _ended(self, stream: Stream) -> None:
        self._streams.remove(stream)
        if stream.dropped:
            self.dropped += 1
            self.log.warn("a reader of events was sent away, for it did not read")
        if not self._streams:
            self._fleet.unobserve(self._noticed)
