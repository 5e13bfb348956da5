"""
The users of one client: callers and callees behind one UDP socket.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from sipgrace.demo.book import Book
from sipgrace.demo.callee import Callee
from sipgrace.demo.caller import Caller
from sipgrace.demo.plan import GATEWAY, Member, Plan
from sipgrace.interfaces import IAssociation, IAssociationUser, ITransactionUser
from sipgrace.message.derive import respond
from sipgrace.message.headers import Via
from sipgrace.message.message import Request, Response
from sipgrace.transaction.inviteserver import InviteServer
from sipgrace.transaction.layer import TransactionLayer
from sipgrace.transaction.noninviteserver import NonInviteServer
from sipgrace.transaction.timers import TimerQueue
from sipgrace.transport.listen import listen
from sipgrace.transport.udp import UDPListener

__all__ = ["Phone"]


@implementer(IAssociationUser, ITransactionUser)
class Phone:
    """
    All users of one client.

    @ivar client: the client, which is their outbound proxy; or the gateway, where whoever is called is behind
        that, and nobody calls.
    @ivar address: where they are: IP address and port.
    @ivar clock: tells the time.
    @ivar layer: its transactions.
    """

    log = Logger()

    def __init__(self, reactor: Any, timers: TimerQueue, client: Member, plan: Plan, book: Book) -> None:
        self._reactor = reactor
        self.clock = cast(IReactorTime, reactor)
        self.timers = timers
        self.client = client
        self.plan = plan
        self.book = book
        self.layer = TransactionLayer(timers, self)
        # Straight to the layer.
        self.messageReceived = self.layer.messageReceived
        self.address = ("", 0)
        self._listener: UDPListener | None = None
        self._prefix = os.urandom(6).hex().encode("ascii")
        self._count = 0
        self._callers: dict[bytes, Caller] = {}
        self._callees: dict[bytes, Callee] = {}

    def listen(self) -> Deferred[None]:
        """
        Takes a free port.
        """

        listening = listen(self._reactor, "udp:0:interface=127.0.0.1", self, "phone")
        return listening.addCallback(lambda listener: self.use(cast(UDPListener, listener)))

    def use(self, listener: UDPListener) -> None:
        """
        Takes a listener whose user this is.
        """
        self._listener = listener
        self.address = (listener.host, listener.port)

    def stop(self) -> None:
        """
        Closes the socket; nobody does anything any more.
        """
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.stopListening()

    # ------------------------------------------------------------------ for callers and callees

    def later(self, seconds: float, function: Callable[..., object], *values: object) -> None:
        """
        Calls a function after so many seconds, unless this has been stopped by then.
        """
        self.clock.callLater(seconds, self._unlessStopped, function, values)

    def _unlessStopped(self, function: Callable[..., object], values: tuple[object, ...]) -> None:
        if self._listener is not None:
            function(*values)

    def token(self) -> bytes:
        """
        @return: what nobody has used before, for tags, branches and Call-IDs.
        """
        self._count += 1
        return b"%b-%x" % (self._prefix, self._count)

    def contact(self, user: bytes) -> bytes:
        """
        @return: the Contact of one of the users.
        """
        return b"<sip:%b@%b:%d>" % (user, self.address[0].encode("ascii"), self.address[1])

    def to(self, host: str, port: int) -> IAssociation:
        """
        @return: where to send for that address.
        """
        assert self._listener is not None
        return self._listener.associationTo(host, port)

    def addVia(self, request: Request, association: IAssociation) -> Request:
        """
        Puts our Via on a request, with a new branch.
        """
        request.pushVia(b"%b;branch=z9hG4bK%b;rport" % (association.via, self.token()))
        return request

    def call(self, client: Member, byCallee: bool) -> None:
        """
        One of our users calls one of another client's.

        @param byCallee: whether it is the callee that hangs up.
        """
        caller = Caller(self, client, byCallee)
        self._callers[caller.call.callId] = caller
        caller.start()

    def callerGone(self, callId: bytes) -> None:
        """
        A caller's call is over.
        """
        self._callers.pop(callId, None)

    def calleeGone(self, callId: bytes) -> None:
        """
        A callee's call is over.
        """
        self._callees.pop(callId, None)

    # ------------------------------------------------------------------ ITransactionUser

    def requestReceived(self, transaction: InviteServer | NonInviteServer, request: Request) -> None:
        """
        See L{ITransactionUser}.
        """
        callId = request.callId
        if isinstance(transaction, InviteServer):
            if callId in self._callees:
                # The same call by another way (RFC 3261 §8.2.2.2).
                transaction.respond(respond(request, 482))
                return
            self.book.reached(callId, self.wayOf(request))
            callee = Callee(self, transaction, request)
            self._callees[callId] = callee
            callee.start()
            return
        if request.method == b"BYE":
            party = self._callers.get(callId) or self._callees.get(callId)
            if party is None:
                transaction.respond(respond(request, 481))
                return
            transaction.respond(respond(request, 200))
            party.byeReceived()
        elif request.method == b"CANCEL":
            invite = self.layer.inviteFor(request)
            transaction.respond(respond(request, 481 if invite is None else 200))
            if invite is not None and isinstance(invite.user, Callee):
                invite.user.cancelled()
        else:
            transaction.respond(respond(request, 501))

    def wayOf(self, request: Request) -> str:
        """
        The server through which a call came, by its Via; the gateway where we are that.
        """
        if self.client is GATEWAY:
            return GATEWAY.name
        hosts = (Via.parse(value).host.decode("ascii", "replace") for value in request.elements(b"Via"))
        return next(filter(None, map(self.plan.nameAt, hosts)), "")

    def ackReceived(self, request: Request, association: IAssociation) -> None:
        """
        See L{ITransactionUser}.
        """
        callee = self._callees.get(request.callId)
        if callee is not None:
            callee.ackReceived()

    def responseReceived(self, response: Response, association: IAssociation) -> None:
        """
        See L{ITransactionUser}: nothing here forks, so what comes late means nothing.
        """

    # ------------------------------------------------------------------ IAssociationUser

    def associationMade(self, association: IAssociation) -> None:
        """
        See L{IAssociationUser}: UDP makes none.
        """

    def associationLost(self, association: IAssociation, reason: Failure) -> None:
        """
        See L{IAssociationUser}: UDP loses none.
        """
