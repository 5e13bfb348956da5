"""
What a controller has not answered yet.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.protocols.amp import AmpError
from twisted.python.failure import Failure

from sipgrace.control.uplink import NodeUplink
from sipgrace.errors import NotAllowed, StoreError

__all__ = ["Outbox"]


class Outbox:
    """
    The reports that one controller has not answered yet; told one at a time, the oldest first.

    @cvar KEPT: how many at most; then the oldest are forgotten.
    """

    KEPT = 20

    def __init__(self) -> None:
        self._waiting: dict[float, dict[str, Any]] = {}
        self._link: NodeUplink | None = None
        self._telling = False
        self._refused = False
        self._emptied: list[Deferred[None]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, at: float, facts: dict[str, Any]) -> None:
        """
        One more report, or more of one that is waiting.
        """
        self._waiting[at] = facts
        while len(self._waiting) > self.KEPT:
            del self._waiting[min(self._waiting)]
        self._next()

    def use(self, link: NodeUplink | None) -> None:
        """
        Tells on that link from now on.
        """
        self._link = link
        self._telling = self._refused = False
        self._next()

    def again(self) -> None:
        """
        Tells what the controller could not keep when it was told first.
        """
        if self._refused:
            self._refused = self._telling = False
            self._next()

    def whenEmpty(self) -> Deferred[None]:
        """
        @return: fires when all have been answered; at once where there is no link to tell them on.
        """
        if not self._waiting or self._link is None:
            return succeed(None)
        emptied: Deferred[None] = Deferred()
        self._emptied.append(emptied)
        return emptied

    def _next(self) -> None:
        link = self._link
        if self._telling:
            return
        if link is None or not self._waiting:
            emptied, self._emptied = self._emptied, []
            for one in emptied:
                if not one.called:
                    one.callback(None)
            return
        self._telling = True
        at = min(self._waiting)
        facts = self._waiting[at]

        def answered(result: object) -> None:
            if self._link is not link:
                return
            if isinstance(result, Failure):
                if result.check(StoreError):
                    self._refused = True
                    return
                if not result.check(AmpError, NotAllowed):
                    # The link has gone.
                    return
            self._telling = False
            # What it cannot take for any other reason would be told for ever.
            if self._waiting.get(at) is facts:
                del self._waiting[at]
            self._next()

        link.report(at, facts).addBoth(answered)
