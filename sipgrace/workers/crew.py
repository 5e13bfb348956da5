"""
The workers, as the front sees them: which are there, what they tell of themselves, and what becomes of one
that dies.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from sipgrace.errors import TransportError
from sipgrace.transport.backoff import Backoff

__all__ = ["COUNTERS", "Crew", "Link", "Member"]

#: What only ever rises; what the dead have counted is kept.
COUNTERS: Final = (
    *("accepted", "settled", "forced", "failed", "refused", "yielded", "cpu", "shed", "notified"),
)

#: Sums of these are kept, too: dicts of counters in a worker's status.
TABLES: Final = ("proxy", "transport")

#: A worker that was up for so long has not failed to come up, in seconds.
_SOUND: Final = 30.0

#: So long a worker may take to come up; so often it is looked whether one is still heard of, and so many
#: times in vain until it is taken for hung: before whoever waits for the answer to an order gives up. In
#: seconds.
_START: Final = 60.0
_LOOK: Final = 1.0
_SILENT: Final = 8

#: So long one may take to leave, in seconds.
_LEAVE: Final = 1.0


class Link(Protocol):
    """
    See L{sipgrace.workers.link.End}.
    """

    def do(self, name: str, **values: Any) -> Deferred[Any]:
        """
        Asks the worker.
        """

    def hand(self, kind: str, host: str, port: int, given: Any) -> Deferred[Any]:
        """
        Hands it a socket.
        """

    def end(self) -> None:
        """
        Ends the link.
        """


class Member:
    """
    One worker.

    @ivar number: from 0.
    @ivar link: the link to it, while it is up.
    @ivar pid: its process; 0 while there is none.
    @ivar facts: what it has told of itself last; empty while it is not up.
    @ivar sure: whether it is known to refuse new calls, while that was asked for.
    @ivar starts: how often it was started.
    @ivar kill: ends it at once.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.link: Link | None = None
        self.pid = 0
        self.facts: dict[str, Any] = {}
        self.sure = True
        self.starts = 0
        self.failures = 0
        self.upAt = 0.0
        self.unheard = 0
        self.kill: Callable[[], None] = lambda: None
        self.again: IDelayedCall | None = None
        self.hurry: IDelayedCall | None = None

    def count(self, name: str) -> Any:
        """
        @return: one of the numbers that it has told.
        """
        return self.facts.get(name, 0)

    def row(self) -> dict[str, Any]:
        """
        For display.
        """
        return {
            "number": self.number,
            "pid": self.pid,
            "state": "up" if self.link is not None else "starting" if self.pid else "gone",
            "starts": self.starts,
            **{name: self.count(name) for name in ("waiting", "associations", "accepted", "settled")},
            "handed": self.count("handed"),
            "cpu": round(self.count("cpu"), 2),
        }


class Crew:
    """
    All of them.

    @ivar members: by number.
    @ivar shared: what the branches of all have in common: eight hexadecimal digits.
    @ivar spawn: starts one, sets its C{pid} and C{kill}, and calls L{ready} and L{ended}; may raise
        C{OSError}.
    @ivar brief: tells one that has come up, or come back, how things stand.
    @ivar wanted: whether one that dies is to come back; not so in a drain.
    @ivar onFacts: called when facts have come, or somebody has gone.
    @ivar onEnded: called with each that has gone, before that.
    @ivar past: what the dead have counted; C{pastTables}, the same for L{TABLES}.
    @ivar lost: how many calls in set-up went with them.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, count: int, spawn: Callable[[Member], None]) -> None:
        self.clock = clock
        self.shared = os.urandom(4).hex().encode("ascii")
        self.members = [Member(number) for number in range(count)]
        self.spawn = spawn
        self.brief: Callable[[Member], None] = lambda member: None
        self.wanted = True
        self.onFacts: Callable[[], None] = lambda: None
        self.onEnded: Callable[[Member], None] = lambda member: None
        self.past: Counter[str] = Counter()
        self.pastTables: dict[str, Counter[str]] = {name: Counter() for name in TABLES}
        self.lost = 0
        self._backoff = Backoff(0.5, 30.0)
        self._stopped = False
        self._waiting: list[Deferred[None]] = []
        self._looking = LoopingCall(self._look)
        self._looking.clock = clock

    # ------------------------------------------------------------------ coming and going

    def complete(self) -> Deferred[None]:
        """
        Starts those that are not there.

        @return: fires when all are up; fails with L{TransportError} where one does not come up.
        """
        if not self._looking.running:
            self._looking.start(_LOOK, now=False)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        for member in self.members:
            if not member.pid:
                self._start(member)
        self._lookComplete()
        return waiting

    def _lookComplete(self) -> None:
        if all(member.link is not None for member in self.members):
            waiting, self._waiting = self._waiting, []
            for one in waiting:
                one.callback(None)

    def _start(self, member: Member) -> None:
        if member.again is not None:
            if member.again.active():
                member.again.cancel()
            member.again = None
        member.starts += 1
        member.unheard = 0
        member.hurry = self.clock.callLater(_START, self._late, member)
        try:
            self.spawn(member)
        except OSError as error:
            # Out of descriptors, or of processes, perhaps for a moment. A process that has been started
            # without its link ends by itself.
            if not member.pid:
                self.ended(member, f"it cannot be started: {error}")

    def _late(self, member: Member) -> None:
        self.log.error("worker {number} does not come up and is ended", number=member.number)
        member.kill()

    def ready(self, member: Member, link: Link) -> None:
        """
        One is up.
        """
        self._unhurry(member)
        member.link = link
        member.upAt = self.clock.seconds()
        self.brief(member)
        self._lookComplete()

    def _unhurry(self, member: Member) -> None:
        if member.hurry is not None:
            if member.hurry.active():
                member.hurry.cancel()
            member.hurry = None

    def ended(self, member: Member, why: str) -> None:
        """
        The process of one has ended.
        """
        self._unhurry(member)
        wasUp, facts = member.link is not None, member.facts
        member.link, member.facts, member.pid, member.sure = None, {}, 0, True
        for name in COUNTERS:
            self.past[name] += facts.get(name, 0)
        for name, table in self.pastTables.items():
            table.update(facts.get("status", {}).get(name, {}))
        if self._stopped:
            self.onFacts()
            return
        lost = facts.get("waiting", 0)
        self.lost += lost
        self.log.error(
            "worker {number} has ended ({why}); {lost} calls that it was setting up are lost",
            number=member.number,
            why=why,
            lost=lost,
        )
        self.onEnded(member)
        sound = wasUp and self.clock.seconds() - member.upAt >= _SOUND
        member.failures = 0 if sound else member.failures + 1
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.errback(TransportError(f"worker {member.number} did not come up: {why}"))
        if self.wanted:
            # The first time at once.
            wait = 0.0 if sound else self._backoff.delay(member.failures - 1, lambda: 1.0)
            member.again = self.clock.callLater(wait, self._again, member)
        self.onFacts()

    def _again(self, member: Member) -> None:
        member.again = None
        if self.wanted and not self._stopped and not member.pid:
            self._start(member)

    def _look(self) -> None:
        for member in self.members:
            if member.link is not None:
                member.unheard += 1
                if member.unheard > _SILENT:
                    self.log.error("worker {number} is not heard of and is ended", number=member.number)
                    member.unheard = 0
                    member.kill()

    def stop(self) -> None:
        """
        Ends all: by themselves, when they find the front gone, or else by force.
        """
        self._stopped = True
        self.wanted = False
        if self._looking.running:
            self._looking.stop()
        for member in self.members:
            self._unhurry(member)
            if member.again is not None and member.again.active():
                member.again.cancel()
            if member.link is not None:
                member.link.end()
                member.hurry = self.clock.callLater(_LEAVE, member.kill)
            elif member.pid:
                member.kill()

    # ------------------------------------------------------------------ telling and asking

    def up(self) -> Iterator[Member]:
        """
        @return: those that are up.
        """
        return (member for member in self.members if member.link is not None)

    def told(self, member: Member, facts: Mapping[str, Any]) -> None:
        """
        One has told how it stands.
        """
        if member.link is not None:
            member.unheard = 0
            member.facts = dict(facts)
            self.onFacts()

    def ask(self, member: Member, name: str, **values: Any) -> Deferred[Any]:
        """
        Asks one of them. Where it cannot, that is logged, and nothing came of it.
        """
        assert member.link is not None
        asked = member.link.do(name, **values)
        return asked.addErrback(self._unanswered, member, name)

    def _unanswered(self, failure: Any, member: Member, name: str) -> None:
        if member.link is not None and not self._stopped:
            self.log.warn(
                "worker {number}: {name} failed: {reason}",
                number=member.number,
                name=name,
                reason=failure.getErrorMessage(),
            )

    def askAll(self, name: str, **values: Any) -> list[tuple[Member, Deferred[Any]]]:
        """
        Asks all that are up.
        """
        return [(member, self.ask(member, name, **values)) for member in self.up()]

    def reached(self) -> Deferred[None]:
        """
        @return: fires when every worker has done, or at least begun, what it was asked for so far, or has
            gone. One that is not up yet is told everything before it listens.
        """
        asked = [deferred for _, deferred in self.askAll("here")]
        return DeferredList(asked).addCallback(lambda results: None)

    # ------------------------------------------------------------------ sums

    def sum(self, name: str) -> Any:
        """
        @return: the sum of one number over all, the dead included.
        """
        return self.past[name] + sum(member.count(name) for member in self.members)

    def table(self, name: str) -> dict[str, int]:
        """
        @return: the sums of one table of counters, by name.
        """
        total = Counter(self.pastTables.get(name, ()))
        for member in self.members:
            for key, value in member.facts.get("status", {}).get(name, {}).items():
                total[key] += value
        return dict(total)
