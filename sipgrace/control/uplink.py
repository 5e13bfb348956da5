"""
A node's side of a link to a controller.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from sipgrace.control.commands import (
    Alive,
    Available,
    Confirm,
    Hello,
    Report,
    Standing,
    Unavailable,
    phrase,
)
from sipgrace.control.node import Node, NodeLink
from sipgrace.errors import NotAllowed, TransportError
from sipgrace.lifecycle.authorization import Giver, Role, Source
from sipgrace.lifecycle.orderform import SignedOrder
from sipgrace.transport.keepalive import watchPeer
from sipgrace.transport.peernames import peerNames

__all__ = ["NodeUplink"]

#: So many seconds the other side's host may be silent to the kernel's probes.
_SILENT = 20.0


@implementer(IHandshakeListener)
class NodeUplink(NodeLink):
    """
    One connection to a controller.

    @ivar controller: the controller's name; with TLS its certificate says the same, or nothing is said.
    """

    LONGEST = 1 << 20

    def __init__(self, node: Node, controller: str, role: Role, secure: bool) -> None:
        """
        @param role: what the controller may order where its orders are not signed, or not by a key of ours.
        @param secure: whether it is TLS.
        """
        super().__init__(node)
        self.controller = controller
        self._role = role
        self._secure = secure
        self._welcomed = False
        self._unsent: dict[str, Any] | None = None
        self._why: Exception | None = None
        self._readying: list[Deferred[NodeUplink]] = []
        self._isReady = False

    # ------------------------------------------------------------------ beginning and end

    def whenReady(self) -> Deferred[NodeUplink]:
        """
        @return: fires with this link when the other side is known to be the controller; fails with the reason
            why it is not.
        """
        ready: Deferred[NodeUplink] = Deferred()
        if self._isReady:
            ready.callback(self)
        elif self.gone:
            ready.errback(self._why or TransportError("the connection was lost"))
        else:
            self._readying.append(ready)
        return ready

    def connectionMade(self) -> None:
        """
        See C{IProtocol}.
        """
        watchPeer(self.transport, _SILENT)
        if not self._secure:
            self._ready()

    def handshakeCompleted(self) -> None:
        """
        See C{IHandshakeListener}.
        """
        names = peerNames(self.transport)
        if self.controller in names:
            self._ready()
        else:
            shown = ", ".join(names) or "nobody"
            self._why = NotAllowed(f"its certificate is that of {shown}, and not of {self.controller}")
            self.transport.abortConnection()

    def _ready(self) -> None:
        self._isReady = True
        readying, self._readying = self._readying, []
        for one in readying:
            one.callback(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        See C{IProtocol}.
        """
        if self._why is None and isinstance(reason.value, Exception):
            self._why = reason.value
        super().connectionLost(reason)
        readying, self._readying = self._readying, []
        for one in readying:
            one.errback(self._why or TransportError("the connection was lost"))

    @property
    def why(self) -> Exception | None:
        """
        Why the connection has gone.
        """
        return self._why

    # ------------------------------------------------------------------ what the node says

    def hello(self, facts: dict[str, Any]) -> Deferred[int]:
        """
        Says who we are.

        @return: fires with the number of the last event that the controller knows; fails with L{NotAllowed}
            where it does not want us.
        """
        asked: Deferred[Any] = self.callRemote(Hello, hello=facts)  # type: ignore[no-untyped-call]
        return asked.addCallback(self._answered)

    def _answered(self, answer: dict[str, Any]) -> int:
        self._welcomed = True
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
            self.callRemote(Standing, standing=facts)  # type: ignore[no-untyped-call]

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
        told: Deferred[Any] = self.callRemote(Report, at=at, report=facts)  # type: ignore[no-untyped-call]
        return told

    def alive(self) -> Deferred[Any]:
        """
        Asks for a sign of life.
        """
        asked: Deferred[Any] = self.callRemote(Alive)  # type: ignore[no-untyped-call]
        return asked

    def confirm(self, signed: SignedOrder) -> Deferred[bool]:
        """
        Asks whether an order is the controller's.
        """
        if not self._welcomed:
            return fail(TransportError(f"the link to {self.controller} is not up"))
        asked: Deferred[Any] = self.callRemote(  # type: ignore[no-untyped-call]
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
