"""
The roster: which nodes there are, kept in the store, so that a controller that begins again knows whom it
misses. Without it a server that is gone would be no server, and its place in the budget free.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from sipgrace.controller.facts import NodeRecord, Notice
from sipgrace.controller.fleet import Fleet
from sipgrace.controller.members import Member
from sipgrace.controller.seams import IFleetStore
from sipgrace.errors import Unknown

__all__ = ["Roster"]

#: What could not be stored is tried again after so many seconds.
AGAIN: Final = 5.0


class Roster:
    """
    Writes down whom the fleet knows.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, fleet: Fleet, store: IFleetStore) -> None:
        self._clock = clock
        self._fleet = fleet
        self._store = store
        self._kept: dict[str, NodeRecord] = {}
        self._retrying: dict[str, IDelayedCall] = {}
        self._stopped = False

    async def start(self) -> None:
        """
        Puts into the fleet whom it knew before; then watches it.
        """
        for record in await self._store.nodes():
            self._kept[record.name] = record
            self._fleet.restore(record)
        self._fleet.observe(self._noticed)
        for member in self._fleet.members():
            self._look(member.name)

    def stop(self) -> None:
        """
        Watches no longer.
        """
        self._stopped = True
        self._fleet.unobserve(self._noticed)
        for call in self._retrying.values():
            call.cancel()
        self._retrying.clear()

    def _noticed(self, notice: Notice) -> None:
        if notice.kind == "node":
            self._look(notice.node)

    def _look(self, name: str) -> None:
        try:
            record = _recordOf(member := self._fleet.member(name))
        except Unknown:
            # It was forgotten, or is another controller's.
            self._kept.pop(name, None)
            return
        kept = self._kept.get(name)
        # When it was seen changes all the time; it is of interest when the link is lost.
        if kept is not None and record == (replace(kept, seen=record.seen) if member.link else kept):
            return
        self._kept[name] = record
        self._store.putNode(record).addErrback(self._notKept, record)

    def _notKept(self, failure: Failure, record: NodeRecord) -> None:
        name = record.name
        self._log.warn("{node} is not in the roster yet: {why}", node=name, why=failure.getErrorMessage())
        if self._kept.get(name) != record or self._stopped:
            return
        del self._kept[name]
        if name not in self._retrying:
            self._retrying[name] = self._clock.callLater(AGAIN, self._again, name)

    def _again(self, name: str) -> None:
        del self._retrying[name]
        self._look(name)


def _recordOf(member: Member) -> NodeRecord:
    return NodeRecord(
        name=member.name,
        role=member.role,
        group=member.hello.group,
        labels=dict(member.labels),
        seen=member.lastSeen,
    )
