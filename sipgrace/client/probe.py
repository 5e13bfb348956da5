"""
The server status test: one OPTIONS, and what its answer says (the 200 is the server available message).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from os import urandom
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from sipgrace.client.countdown import retryAfterOf
from sipgrace.interfaces import IAssociation, IClientTransactionUser
from sipgrace.lifecycle.availability import scheduledReturn
from sipgrace.message.message import Request, Response


@dataclass(frozen=True, slots=True)
class Available:
    """
    The server takes INVITEs.
    """


@dataclass(frozen=True, slots=True)
class Unavailable:
    """
    The server asks to be left alone.

    @ivar retryAfter: seconds, 0 or more.
    @ivar back: in how many seconds it is scheduled to return; C{None} where it did not say.
    """

    retryAfter: float
    back: float | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """
    The test showed nothing good.

    @ivar reason: one phrase: what came instead.
    @ivar silent: whether nothing came at all, so that the association itself may be at fault.
    """

    reason: str
    silent: bool = False


Outcome = Available | Unavailable | Failed


class _ClientTransaction(Protocol):
    def abandon(self) -> None:
        """
        Nobody waits for the answer any more.
        """


class Requester(Protocol):
    """
    The part of the transaction layer that is needed here.
    """

    def request(
        self, request: Request, association: IAssociation, user: IClientTransactionUser
    ) -> _ClientTransaction:
        """
        Sends a request whose Via is already on it.
        """


def _hostPort(host: str, port: int) -> bytes:
    """
    A host and port as they stand in a URI.
    """
    return (f"[{host}]:{port}" if ":" in host else f"{host}:{port}").encode("ascii")


def _token() -> bytes:
    """
    64 random bits (RFC 3261 §19.3 asks for 32 or more).
    """
    return urandom(8).hex().encode("ascii")


class OptionsProbe:
    """
    Asks the element at the other end of an association whether it is in service.

    Non-INVITE transactions go on for 64·T1 = 32 s and must not be answered 408 (RFC 4320), so a test has
    a timeout of its own, after which its transaction is abandoned.
    """

    def __init__(
        self,
        layer: Requester,
        clock: IReactorTime,
        identifier: Callable[[], bytes] = _token,
        timeout: float = 2.0,
        good: Collection[int] = frozenset({200}),
        offer: bytes = b"",
    ) -> None:
        """
        @param layer: the transaction layer.
        @param identifier: gives a new random token each time, for branch, tag and Call-ID.
        @param timeout: seconds to wait for the final response; above 0.
        @param good: the status codes that mean it is available. Some elements do not know OPTIONS and show
            by a 405 or 501 that they are there.
        @param offer: further parameters of its Vias.
        """
        self._layer = layer
        self._clock = clock
        self._identifier = identifier
        self._timeout = timeout
        self._good = good
        self._offer = offer

    def test(
        self, association: IAssociation, heard: Callable[[Response], None] | None = None
    ) -> Deferred[Outcome]:
        """
        Sends one OPTIONS.

        @param heard: is given each answer as well.
        @return: fires within C{timeout} seconds, never fails but with C{CancelledError} when cancelled.
        """

        def send(hops: int, user: IClientTransactionUser) -> _ClientTransaction:
            return self._layer.request(self._options(association, hops), association, user)

        return _Test(self._clock, self._good, heard).begin(send, self._timeout)

    def _options(self, association: IAssociation, hops: int) -> Request:
        """
        @param hops: Max-Forwards.
        """
        identifier = self._identifier()
        ours = _hostPort(association.localHost, association.localPort)
        # A NAT can stand in the way of UDP alone (RFC 3581 §3).
        rport = b"" if association.reliable else b";rport"
        theirs = b"sip:%b;transport=%b" % (
            _hostPort(association.peerHost, association.peerPort),
            association.transport.lower(),
        )
        return Request.make(
            b"OPTIONS",
            theirs,
            (
                (b"Via", b"%b;branch=z9hG4bK%b%b%b" % (association.via, identifier, rport, self._offer)),
                (b"Max-Forwards", b"%d" % hops),
                (b"From", b"<sip:%b>;tag=%b" % (ours, identifier)),
                (b"To", b"<%b>" % theirs),
                (b"Call-ID", identifier + b"@" + ours),
                (b"CSeq", b"1 OPTIONS"),
                (b"Accept", b"application/sdp"),
                (b"Content-Length", b"0"),
            ),
        )


@implementer(IClientTransactionUser)
class _Test:
    """
    One OPTIONS on its way. With Max-Forwards 0 whoever receives it answers for itself, whatever the
    Request-URI says (RFC 3261 §11 and §16.3 step 3). Elements that look at Max-Forwards before all else
    (Kamailio as it is commonly configured) say 483 to that, whatever their state: those are asked once more,
    with 1.
    """

    def __init__(
        self, clock: IReactorTime, good: Collection[int], heard: Callable[[Response], None] | None
    ) -> None:
        self._clock = clock
        self._good = good
        self._heard = heard
        self._over = False
        self._transaction: _ClientTransaction | None = None
        self._timer: IDelayedCall | None = None
        self._hops = 0
        self._result: Deferred[Outcome] = Deferred(self._cancelled)

    def begin(
        self, send: Callable[[int, IClientTransactionUser], _ClientTransaction], timeout: float
    ) -> Deferred[Outcome]:
        self._send = send
        self._timer = self._clock.callLater(timeout, self._timedOut)
        self._transaction = send(self._hops, self)
        return self._result

    def clientResponse(self, transaction: object, response: object) -> None:
        """
        See L{IClientTransactionUser.clientResponse}.
        """
        assert isinstance(response, Response)
        if self._heard is not None:
            self._heard(response)
        if response.status < 200:
            return
        if response.status == 483 and not self._hops and not self._over:
            self._hops = 1
            self._transaction = self._send(self._hops, self)
            return
        retryAfter = retryAfterOf(response)
        if response.status in self._good:
            self._finish(Available())
        elif retryAfter is not None:
            self._finish(Unavailable(retryAfter, scheduledReturn(response)))
        else:
            self._finish(Failed(f"answered {response.status}"))

    def clientFailed(self, transaction: object, reason: str) -> None:
        """
        See L{IClientTransactionUser.clientFailed}.
        """
        self._finish(Failed(reason, silent=True))

    def _timedOut(self) -> None:
        self._timer = None
        self._finish(Failed("timeout", silent=True))
        self._abandon()

    def _cancelled(self, result: Deferred[Outcome]) -> None:
        self._over = True
        self._stopTimer()
        self._abandon()

    def _abandon(self) -> None:
        if self._transaction is not None:
            self._transaction.abandon()

    def _stopTimer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _finish(self, outcome: Outcome) -> None:
        if self._over:
            return
        self._over = True
        self._stopTimer()
        self._result.callback(outcome)
