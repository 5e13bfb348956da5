"""
What the front's lifecycle stands on: ledger, gate and associations of all workers at once, in the place of
those of one process (L{sipgrace.lifecycle.seams}).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from sipgrace.errors import TransportError
from sipgrace.interfaces import IListener
from sipgrace.lifecycle.gate import Gate
from sipgrace.transport.associations import SHOWN
from sipgrace.workers.crew import Crew, Member
from sipgrace.workers.sockets import Sockets

__all__ = ["AllAssociations", "AllGates", "AllLedgers"]

_log = Logger()

#: What has not aborted its associations so long after it was told to hangs; what has not even begun to shut
#: them down, likewise. In seconds.
_HUNG: Final = 1.0
_STUCK: Final = 2.0


class _Counted:
    """
    How many there are of something; which, only the workers know.
    """

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count()

    def __iter__(self) -> Iterator[Any]:
        return iter(())


class AllLedgers:
    """
    The ledger that is the sum of the workers'. See L{sipgrace.lifecycle.ledger.Ledger}.
    """

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self.setups = _Counted(lambda: sum(member.count("setups") for member in crew.members))
        self.calls = _Counted(lambda: sum(member.count("calls") for member in crew.members))
        self._onIdle: Callable[[], None] | None = None
        self._busy = False
        self._toForce: dict[Member, int] = {}
        self._mostForced = 0

    def __len__(self) -> int:
        return len(self.setups) + len(self.calls)

    def __bool__(self) -> bool:
        """
        @return: whether anything is left; true also while a worker may accept something yet.
        """
        return len(self) > 0 or not all(member.sure for member in self._crew.members)

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    @property
    def accepted(self) -> int:
        """
        How many were ever taken in.
        """
        return int(self._crew.sum("accepted"))

    @property
    def settled(self) -> int:
        """
        How many of these were settled.
        """
        return int(self._crew.sum("settled"))

    @property
    def failed(self) -> int:
        """
        How many could not be settled, those that went with a worker among them.
        """
        return int(self._crew.sum("failed")) + self._crew.lost

    @property
    def forced(self) -> int:
        """
        How many of the settled were given a final answer by force; those that are about to be are in it.
        """
        now = int(self._crew.sum("forced")) + sum(self._toForce.values())
        self._mostForced = max(self._mostForced, now)
        return self._mostForced

    def ages(self, now: float) -> list[float]:
        """
        @return: how long each has been waiting, in steps of half a second, the longest first.
        """
        found: list[float] = []
        for member in self._crew.members:
            for age, count in member.facts.get("ages", ()):
                found += [age] * count
        return sorted(found, reverse=True)

    def watch(self, onIdle: Callable[[], None] | None) -> None:
        """
        See L{sipgrace.lifecycle.seams.LedgerSeam}.
        """
        self._onIdle = onIdle
        self._busy = onIdle is not None and bool(self)

    def look(self) -> None:
        """
        Something may have changed.
        """
        if self:
            self._busy = self._onIdle is not None
        elif self._busy and self._onIdle is not None:
            self._busy = False
            self._onIdle()

    def recallAll(self, reason: str) -> None:
        """
        See L{sipgrace.lifecycle.seams.LedgerSeam}.
        """
        self._crew.askAll("recall", reason=reason)

    def settleAll(self, reason: str) -> int:
        """
        See L{sipgrace.lifecycle.seams.LedgerSeam}.

        @return: how many there were when last heard of.
        """
        for member in self._crew.up():
            self._toForce[member] = member.count("waiting")
            asked = self._crew.ask(member, "settle", reason=reason)
            asked.addCallback(self._settled, member)
        return sum(self._toForce.values())

    def _settled(self, facts: Any, member: Member) -> None:
        self._toForce.pop(member, None)
        if facts is not None:
            self._crew.told(member, facts)

    def gone(self, member: Member) -> None:
        """
        A worker has.
        """
        self._toForce.pop(member, None)


class AllGates:
    """
    The gates of all workers. How things stand there is known by one here, before which no call ever
    comes; see L{sipgrace.lifecycle.gate.Gate}.
    """

    def __init__(self, crew: Crew, clock: IReactorTime, spread: int) -> None:
        self._crew = crew
        self._clock = clock
        self._like = Gate(clock, spread)
        self._last = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._like, name)

    @property
    def refused(self) -> int:
        """
        How many were ever refused.
        """
        return int(self._crew.sum("refused"))

    @property
    def yielded(self) -> int:
        """
        How many were ever let in while it was closed.
        """
        return int(self._crew.sum("yielded"))

    @property
    def lastInvite(self) -> float | None:
        """
        How long after it was closed the latest new INVITE came, in seconds, at whichever worker.
        """
        found = [member.facts.get("lastInvite") for member in self._crew.members]
        return max((one for one in found if one is not None), default=None)

    def close(self, until: float, reason: str, last: float = 0.0) -> None:
        """
        See L{sipgrace.lifecycle.seams.GateSeam}. Whoever was closed already stays what it is.
        """
        opened = self._like.open
        self._like.close(until, reason, last)
        self._last = last
        self._crew.wanted = False
        for member in self._crew.up():
            self._closeAt(member, opened)

    def _closeAt(self, member: Member, opened: bool) -> None:
        now = self._clock.seconds()
        if opened:
            member.sure = False
        asked = self._crew.ask(
            member,
            "close",
            until=self._like.until - now,
            reason=self._like.reason,
            last=self._last - now,
        )
        asked.addCallback(self._closed, member)

    def _closed(self, facts: Any, member: Member) -> None:
        member.sure = True
        if facts is not None:
            self._crew.told(member, facts)

    def shut(self) -> None:
        """
        See L{sipgrace.lifecycle.seams.GateSeam}.
        """
        self._like.shut()
        self._last = 0.0
        self._crew.askAll("shut")

    def slow(self, over: float) -> None:
        """
        See L{sipgrace.lifecycle.seams.GateSeam}.
        """
        self._like.slow(over)
        self._crew.wanted = False
        self._crew.askAll("slow", over=over)

    def openAgain(self) -> None:
        """
        See L{sipgrace.lifecycle.seams.GateSeam}. Workers that are missing come back.
        """
        self._like.openAgain()
        self._crew.wanted = True
        for member in self._crew.members:
            member.sure = True
        self._crew.askAll("open")
        self._crew.complete().addErrback(lambda failure: None)


class AllAssociations:
    """
    The associations of all workers; see L{sipgrace.transport.associations.Associations}.

    @ivar listeners: those of one worker, which the others have, too.
    @ivar listening: whether one that comes back is to listen.
    """

    def __init__(self, crew: Crew, clock: IReactorTime, sockets: Sockets) -> None:
        self._crew = crew
        self._clock = clock
        self._sockets = sockets
        self._known = 0
        self._ending = False
        self.listening = False
        self.listeners: list[Any] = []
        self.onGone: Callable[[], None] = lambda: None
        self.onEnding: Callable[[], None] = lambda: None
        self.onListening: Callable[[IListener], None] = lambda listener: None
        self.onStopped: Callable[[IListener], None] = lambda listener: None

    @property
    def count(self) -> int:
        """
        How many associations are not yet gone.
        """
        return sum(member.count("associations") for member in self._crew.members)

    def paths(self) -> list[dict[str, Any]]:
        """
        How the ways to peers with several addresses are doing; at most L{SHOWN} of them.
        """
        found: list[dict[str, Any]] = []
        for member in self._crew.members:
            found += member.facts.get("status", {}).get("paths", ())
        return found[:SHOWN]

    def look(self) -> None:
        """
        Something may have changed.
        """
        count = self.count
        gone = self._known > 0 and count == 0
        self._known = count
        if gone:
            if self._ending:
                self._sockets.close()
            self.onGone()

    # ------------------------------------------------------------------ for the lifecycle

    def listen(self) -> Deferred[None]:
        """
        See L{sipgrace.lifecycle.seams.Associations}.
        """
        self._ending = False
        return self._crew.complete().addCallback(self._listen)

    def _listen(self, ignored: None) -> Deferred[None]:
        self._sockets.open()
        self.listening = True
        asked = [self.listenAt(member) for member in self._crew.up()]
        return DeferredList(asked, fireOnOneErrback=True, consumeErrors=True).addCallbacks(
            self._listens, self._listenFailed
        )

    def listenAt(self, member: Member) -> Deferred[Any]:
        """
        Has one worker listen.
        """
        link = member.link
        assert link is not None
        for place, given in self._sockets.of(member.number):
            link.hand(*place, given).addErrback(lambda failure: None)
        return link.do("listen")

    def _listens(self, results: Any) -> None:
        self.listeners = [_Listener(via.encode("ascii")) for via in results[0][1]]

    def _listenFailed(self, failure: Any) -> Deferred[None]:
        reason = failure.value.subFailure
        error = TransportError(reason.getErrorMessage())
        return self.stopListening().addCallback(lambda ignored: _raise(error))

    def stopListening(self) -> Deferred[None]:
        """
        See L{sipgrace.lifecycle.seams.Associations}.
        """
        self.listening = False
        self.listeners = []
        self._sockets.close(associations=not self.count)
        asked = [deferred for _, deferred in self._crew.askAll("stopListening")]
        return DeferredList(asked).addCallback(lambda results: None) if asked else succeed(None)

    def shutdownAll(self) -> None:
        """
        See L{sipgrace.lifecycle.seams.Associations}. A worker that hangs is killed: it would take calls if it
        woke up when the server is offline.
        """
        self._end("shutdown")
        for member, begun in self._crew.askAll("here"):
            self._within(_STUCK, member, begun)

    def abortAll(self) -> None:
        """
        See L{sipgrace.lifecycle.seams.Associations}. A worker that does not even do that is killed.
        """
        for member, asked in self._end("abort"):
            self._within(_HUNG, member, asked)

    def _within(self, seconds: float, member: Member, asked: Deferred[Any]) -> None:
        # In two steps: a front that was held up itself reads its answers in between.
        pid, half = member.pid, seconds / 2
        self._clock.callLater(half, self._clock.callLater, half, self._orElse, member, pid, asked)

    def _end(self, how: str) -> list[tuple[Member, Deferred[Any]]]:
        self._ending = True
        asked = self._crew.askAll(how)
        for member, one in asked:
            one.addCallback(self._ended, member)
        if not self.count:
            self._sockets.close()
        return asked

    def _ended(self, facts: Any, member: Member) -> None:
        if facts is not None:
            self._crew.told(member, facts)

    def _orElse(self, member: Member, pid: int, asked: Deferred[Any]) -> None:
        if not asked.called and member.pid == pid:
            _log.error("worker {number} hangs and is ended", number=member.number)
            member.kill()


class _Listener:
    """
    A listener that the workers have.
    """

    def __init__(self, via: bytes) -> None:
        self.via = via


def _raise(error: Exception) -> None:
    raise error
