"""
The node's side of a link: it answers the commands of L{sipgrace.control.commands}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from sipgrace.control.commands import (
    GetReroutes,
    GetStatus,
    GiveOrder,
    GiveSigned,
    Happened,
    Rehearsed,
    Watch,
)
from sipgrace.control.link import Link
from sipgrace.control.node import Watched
from sipgrace.errors import OrderRefused
from sipgrace.lifecycle.authorization import Giver
from sipgrace.lifecycle.door import Obeyed

__all__ = ["NodeLink"]


@implementer(IPushProducer)
class NodeLink(Link):
    """
    A link on which a node takes orders. Each kind of link says in L{giver} whom an order on it comes from.

    A peer that does not read its answers is not read from either, so that they cannot pile up here. (That is
    for this side alone: were both to do so, then each could wait for the other.)

    @cvar UNREAD: how many events a watcher may leave unread before its link is ended.
    """

    UNREAD = 256

    #: So many bytes are looked at before the peer is seen to read.
    _BITE = 1024

    def __init__(self, node: Watched) -> None:
        super().__init__()
        self._node = node
        self._later: list[Deferred[Any]] = []
        self._unread = 0
        self._rest = b""
        self._clogged = False

    def makeConnection(self, transport: Any) -> None:
        """
        See C{IProtocol}.
        """
        super().makeConnection(transport)
        transport.registerProducer(self, True)

    def end(self) -> None:
        """
        See L{Link}.
        """
        if self.transport is not None:
            # With one that is paused the connection would never end.
            self.transport.unregisterProducer()
        super().end()

    def dataReceived(self, data: bytes) -> None:
        """
        See C{IProtocol}.
        """
        self._rest += data
        while self._rest and not (self._clogged or self._dropped or self.gone):
            bite, self._rest = self._rest[: self._BITE], self._rest[self._BITE :]
            super().dataReceived(bite)

    def pauseProducing(self) -> None:
        """
        What was sent is not being read.
        """
        self._clogged = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """
        It is being read again.
        """
        self._clogged = False
        if self.transport.disconnecting:
            self.transport.unregisterProducer()
            return
        self.dataReceived(b"")
        if not (self._clogged or self.gone):
            self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """
        The connection is going.
        """

    def giver(self, claimed: str | None) -> Giver:
        """
        @param claimed: who the order says it comes from; C{None} for a signed one.
        @return: who it comes from, and which way.
        @raise OrderRefused: where nobody may give orders here.
        """
        raise OrderRefused("orders are not taken on this link")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        See C{IProtocol}.
        """
        self._node.unwatch(self._tell)
        # Nobody is left to be told.
        later, self._later = self._later, []
        for one in later:
            one.cancel()
        super().connectionLost(reason)

    @GiveOrder.responder
    def _order(
        self,
        kind: str,
        who: str | None,
        why: str | None,
        server: str | None,
        rule: str | None,
        **values: Any,
    ) -> Deferred[dict[str, Any]]:
        values |= {"server": server or "", "rule": rule or ""}
        given = self._node.order(self.giver(who), kind, why or "", **values)
        return given.addCallback(self._obeyed)

    @GiveSigned.responder
    def _signed(self, signed: Any) -> Deferred[dict[str, Any]]:
        return self._node.signed(self.giver(None), signed).addCallback(self._obeyed)

    def _obeyed(self, obeyed: Obeyed) -> dict[str, Any]:
        later = obeyed.later
        if later is not None:
            self._later.append(later)
            told = (later, obeyed.order.nonce)
            later.addCallbacks(self._tellLater, lambda failure: None, callbackArgs=told)
            if self.gone:
                # Nobody is left to be told.
                later.cancel()
        return {
            "number": obeyed.number,
            "state": str(obeyed.state),
            "id": obeyed.order.nonce,
            "result": obeyed.result,
        }

    def _tellLater(self, facts: dict[str, Any], later: Deferred[Any], name: str) -> None:
        self._later.remove(later)
        if not self.gone:
            self.callRemote(Rehearsed, id=name, facts=facts)

    @GetStatus.responder
    def _status(self) -> dict[str, Any]:
        return {"status": self._node.status()}

    @GetReroutes.responder
    def _reroutes(self, since: int) -> dict[str, Any]:
        page, total = self._node.reroutes(since)
        return {"reroutes": page, "total": total}

    @Watch.responder
    def _watch(self) -> dict[str, Any]:
        self._node.watch(self._tell)
        return {"number": self._node.number}

    def _tell(self, facts: dict[str, Any]) -> None:
        self._unread = self._unread + 1 if self._clogged else 0
        if self._unread > self.UNREAD:
            self._node.unwatch(self._tell)
            self._drop("whoever watches here does not read")
        else:
            self.callRemote(Happened, event=facts)
