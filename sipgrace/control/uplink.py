"""
A node's side of a link to a controller.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail

from sipgrace.control.approach import Approach
from sipgrace.control.commands import (
    Available,
    Confirm,
    Hello,
    Report,
    Standing,
    Unavailable,
    phrase,
)
from sipgrace.control.node import Node
from sipgrace.control.nodelink import NodeLink
from sipgrace.errors import TransportError
from sipgrace.lifecycle.authorization import Giver, Role, Source
from sipgrace.lifecycle.orderform import SignedOrder

__all__ = ["NodeUplink"]

class NodeUplink(Approach, NodeLink):
    """
    One connection to a controller.
    """

    LONGEST = 1 << 20

    def __init__(self, node: Node, controller: str, role: Role, secure: bool) -> None:
        """
        @param role: what the controller may order where its orders are not signed, or not by a key of ours.
        @param secure: whether it is TLS.
        """
        super().__init__(controller, secure, node)
        self._role = role
        self._unsent: dict[str, Any] | None = None

    # ------------------------------------------------------------------ what the node says

    def hello(self, facts: dict[str, Any]) -> Deferred[int]:
        """
        Says who we are.

        @return: fires with the number of the last event that the controller knows; fails with L{NotAllowed}
            where it does not want us.
        """
        asked: Deferred[Any] = self.callRemote(Hello, hello=facts)
        return asked.addCallback(self._answered)

    def _answered(self, answer: dict[str, Any]) -> int:
        self.greeted = True
        since: int = answer["since"]
        return since

    def follow(self, since: int) -> None:
        """
        Tells of the events after that number, and of all that come.
        """
        for facts in self._node.since(since):
            self._tell(facts)
        if not self.gone:
            self._node.watch(self._tell)

    def stand(self, facts: dict[str, Any]) -> None:
        """
        Says how we stand; where the other side does not read just now, when it reads again, and then only how
        we stood last.
        """
        if self._clogged:
            self._unsent = facts
        else:
            self.callRemote(Standing, standing=facts)

    def resumeProducing(self) -> None:
        """
        See L{NodeLink}.
        """
        super().resumeProducing()
        unsent, self._unsent = self._unsent, None
        if unsent is not None and not self.gone:
            self.stand(unsent)

    def report(self, at: float, facts: dict[str, Any]) -> Deferred[Any]:
        """
        Tells what became of a drain.

        @return: fires when the controller has it.
        """
        told: Deferred[Any] = self.callRemote(Report, at=at, report=facts)
        return told

    def confirm(self, signed: SignedOrder) -> Deferred[bool]:
        """
        Asks whether an order is the controller's.
        """
        if not self.greeted:
            return fail(TransportError(f"the link to {self.controller} is not up"))
        asked: Deferred[Any] = self.callRemote(
            Confirm, signed=signed.toJSON()
        )
        return asked.addCallback(lambda answer: bool(answer["right"]))

    # ------------------------------------------------------------------ what the controller says

    def giver(self, claimed: str | None) -> Giver:
        """
        The controller; what an order claims does not count.
        """
        return Giver(Source.LINK, self.controller, self._role)

    @Unavailable.responder
    def _unavailable(
        self, server: str, retryAfter: float, back: float | None, why: str | None
    ) -> dict[str, Any]:
        self._node.announced.unavailable(self.giver(None), server, retryAfter, back, phrase(why or ""))
        return {}

    @Available.responder
    def _available(self, server: str, why: str | None) -> dict[str, Any]:
        self._node.announced.available(self.giver(None), server, phrase(why or ""))
        return {}
