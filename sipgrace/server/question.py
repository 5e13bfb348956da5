"""
Asking clients, over their associations, whether a server may leave: a MESSAGE (RFC 3428) to each, with the
order as its body. 200 is a yes; any other answer, and none, is a no.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from os import urandom
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from zope.interface import implementer

from sipgrace.interfaces import IAssociation, IClientTransactionUser
from sipgrace.lifecycle.approval import CONTENT_TYPE
from sipgrace.lifecycle.orderform import toText
from sipgrace.lifecycle.orders import Order
from sipgrace.message.message import Request, Response
from sipgrace.message.uri import hostPort

__all__ = ["Question"]


class Requester(Protocol):
    """
    The part of the transaction layer that is needed here.
    """

    def request(self, request: Request, association: IAssociation, user: IClientTransactionUser) -> Any:
        """
        Sends a request whose Via is already on it.
        """


class Question:
    """
    See L{sipgrace.lifecycle.approval.Ask}.

    @param name: the server's.
    @param clients: the clients that have an association up, by name, with the one to ask on.
    """

    def __init__(
        self,
        name: str,
        layer: Requester,
        clients: Callable[[], Iterable[tuple[str, IAssociation]]],
        identifier: Callable[[], bytes] = lambda: urandom(8).hex().encode("ascii"),
    ) -> None:
        self._name = name
        self._layer = layer
        self._clients = clients
        self._identifier = identifier

    def ask(self, order: Order) -> Mapping[str, Deferred[bool]]:
        """
        Asks each; see L{sipgrace.lifecycle.approval.Ask}.
        """
        body = toText(order).encode("utf-8")
        return {
            name: _Asked().begin(self._layer, self._message(association, body), association)
            for name, association in self._clients()
        }

    def _message(self, association: IAssociation, body: bytes) -> Request:
        identifier = self._identifier()
        ours = hostPort(association.localHost.encode("ascii"), association.localPort)
        theirs = b"sip:%b;transport=%b" % (
            hostPort(association.peerHost.encode("ascii"), association.peerPort),
            association.transport.lower(),
        )
        return Request.make(
            b"MESSAGE",
            theirs,
            (
                (b"Via", b"%b;branch=z9hG4bK%b" % (association.via, identifier)),
                # For whoever is at the other end, whatever it is called (RFC 3261 §16.3 step 3).
                (b"Max-Forwards", b"0"),
                (b"From", b"<sip:%b@%b>;tag=%b" % (self._name.encode("ascii"), ours, identifier)),
                (b"To", b"<%b>" % theirs),
                (b"Call-ID", identifier + b"@" + ours),
                (b"CSeq", b"1 MESSAGE"),
                (b"Content-Type", CONTENT_TYPE),
                (b"Content-Length", b"%d" % len(body)),
            ),
            body,
        )


@implementer(IClientTransactionUser)
class _Asked:
    """
    One client that was asked.
    """

    def __init__(self) -> None:
        self._transaction: Any = None
        self._answer: Deferred[bool] = Deferred(self._cancelled)

    def begin(self, layer: Requester, request: Request, association: IAssociation) -> Deferred[bool]:
        """
        Asks.
        """
        answer = self._answer
        self._transaction = layer.request(request, association, self)
        return answer

    def clientResponse(self, transaction: object, response: object) -> None:
        """
        See L{IClientTransactionUser}.
        """
        assert isinstance(response, Response)
        if response.status >= 200 and not self._answer.called:
            self._answer.callback(response.status == 200)

    def clientFailed(self, transaction: object, reason: str) -> None:
        """
        See L{IClientTransactionUser}.
        """
        if not self._answer.called:
            self._answer.callback(False)

    def _cancelled(self, answer: object) -> None:
        if self._transaction is not None:
            self._transaction.abandon()
