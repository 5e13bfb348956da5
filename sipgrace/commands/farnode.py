"""
A node behind a controller: what verbs ask of a L{sipgrace.control.remote.RemoteNode}, asked over HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from twisted.internet.defer import Deferred, succeed

from sipgrace.commands.overhttp import ControllerHTTP, EventStream
from sipgrace.commands.words import segment
from sipgrace.control.commands import NotOffered
from sipgrace.control.remote import Answer, Unreachable

__all__ = ["FarNode"]

Facts = dict[str, Any]

#: What brings a node somewhere. The controller may have heard of the end of a maintenance only after it gave
#: an order, say, which is no news about that order.
_ARRIVED = ("serving", "cancelled", "offline", "gone", "failed")

_ENDED = ("done", "refused", "undone", "failed")


class FarNode:
    """
    One node of a controller's fleet.

    @ivar name: its name.
    """

    def __init__(self, controller: ControllerHTTP, name: str) -> None:
        self.name = name
        self._controller = controller
        self._watchers: list[Callable[[Facts], None]] = []
        self._stream: EventStream | None = None
        self._catchingUp: Deferred[None] = succeed(None)
        self._lost: Deferred[None] = Deferred()
        self._events: list[Facts] = []
        self._view: Facts = {}
        self._records: dict[str, Facts] = {}
        self._changed: list[Deferred[None]] = []

    # ------------------------------------------------------------------ asking

    async def look(self) -> None:
        """
        Learns how the controller sees it.

        @raise sipgrace.errors.OrderRefused: when there is no such node.
        """
        self._view = await self._controller.ask("GET", f"nodes/{segment(self.name)}")

    def status(self) -> Deferred[Facts]:
        """
        How things stand there, by its own word.
        """
        path = f"nodes/{segment(self.name)}/status"
        return Deferred.fromCoroutine(self._controller.ask("GET", path))

    async def glance(self) -> Facts:
        """
        How things stand there, by what the controller was told last: enough for a display.
        """
        standing = self._view.get("standing") or {}
        return {
            "name": self.name,
            "waiting": 0,
            "associations": 0,
            "guardLeft": None,
            "retryAfter": None,
            **standing,
        }

    def order(self, kind: Any, why: str = "", **values: Any) -> Deferred[Answer]:
        """
        Gives an order, see L{sipgrace.control.remote.RemoteNode.order}; with C{queue}, one that may wait for
        the budget.
        """
        return Deferred.fromCoroutine(self._order(str(kind), why, values))

    async def _order(self, kind: str, why: str, values: Facts) -> Answer:
        asked = {"node": self.name, "kind": kind, "why": why, **values}
        record = await self._controller.ask(
            "POST", "orders", {key: value for key, value in asked.items() if value not in (None, "")}
        )
        known = self._records.get(record["id"])
        # It may have been told of already.
        if known is None:
            self._records[record["id"]] = record
        if record["outcome"] == "queued":
            return Answer(record["number"], "queued", record["id"], {"queued": record["text"]})
        await self.look()
        result = record["result"]
        if kind == "rehearse" and isinstance(result, dict):
            # It may be over already, when no call was waiting.
            result = result.get("now", result)
        return Answer(record["number"], self._view["state"], record["id"], result)

    def reroutes(self, since: int = 0) -> Deferred[list[Facts]]:
        """
        These are not told over links.
        """
        raise NotOffered("a controller has no list of reroutes: ask the client itself, with --socket")

    # ------------------------------------------------------------------ watching

    async def watch(self, watcher: Callable[[Facts], None] | None = None) -> None:
        """
        Has what happens to it be told.

        @param watcher: called with each event from then on.
        """
        if watcher is not None:
            self._watchers.append(watcher)
        if self._stream is None:
            self._stream = self._controller.events(self._heard)
            self._stream.lost.addCallback(self._ended)
            await self._stream.started
            await self.look()

    def whenLost(self) -> Deferred[None]:
        """
        Fires when nothing is told any more.
        """
        return self._lost

    async def when(self, states: Collection[str], answer: Answer) -> Facts:
        """
        Waits for what becomes of an order; see L{sipgrace.control.remote.RemoteNode.when}.
        """
        while True:
            record = self._records.get(answer.id, {})
            # One that waited in the queue has no number before it was given.
            number = max(answer.number, record.get("number", 0))
            for event in self._events:
                arrived = event["number"] > number and event["change"] in _ARRIVED
                if arrived and event["state"] in states and not self._queued(record):
                    return event
            if record.get("outcome") in _ENDED:
                await self.look()
                if record["outcome"] != "done" or self._view["state"] in states:
                    return {"number": number, "state": self._view["state"], "text": record["text"]}
            await self._change()

    async def rehearsed(self, answer: Answer) -> Facts:
        """
        Waits for what a rehearsal found in the end.

        @raise NotOffered: when it came to nothing.
        """
        await self.watch()
        self._records[answer.id] = await self._controller.ask("GET", f"orders/{segment(answer.id)}")
        while (record := self._records[answer.id])["outcome"] not in _ENDED:
            await self._change()
        result = record["result"]
        if record["outcome"] != "done" or "found" not in (result or {}):
            raise NotOffered(record["text"] or "nothing came of the rehearsal")
        found: Facts = result["found"]
        return found

    def end(self) -> None:
        """
        Watches no longer.
        """
        if self._stream is not None:
            self._stream.stop()
        self._catchingUp.cancel()

    # ------------------------------------------------------------------ what is told

    def _queued(self, record: Facts) -> bool:
        return record.get("outcome") == "queued"

    def _change(self) -> Deferred[None]:
        waiting: Deferred[None] = Deferred()
        self._changed.append(waiting)
        return waiting

    def _ended(self, why: str) -> None:
        waiting, self._changed = self._changed, []
        for one in waiting:
            one.errback(Unreachable(why))
        self._lost.callback(None)

    def _heard(self, kind: str, notice: Facts) -> None:
        facts = notice.get("facts", {})
        if kind == "hello" and not notice["resumed"] and self._records:
            self._catchingUp.cancel()
            self._catchingUp = Deferred.fromCoroutine(self._caughtUp()).addErrback(lambda _: None)
        elif kind == "node" and notice["node"] == self.name:
            self._view = facts
        elif kind == "event" and notice["node"] == self.name:
            self._events.append(facts)
            for watcher in self._watchers:
                watcher(facts)
        elif kind == "order" and notice["node"] == self.name:
            self._records[facts["id"]] = facts
        else:
            return
        self._wake()

    async def _caughtUp(self) -> None:
        # The controller has forgotten what came meanwhile, or is another run: what it keeps is asked for.
        for id in list(self._records):
            self._records[id] = await self._controller.ask("GET", f"orders/{segment(id)}")
        await self.look()
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, []
        for waiting in changed:
            if not waiting.called:
                waiting.callback(None)
