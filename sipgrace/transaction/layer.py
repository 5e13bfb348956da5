"""
Matches messages to transactions (RFC 3261 §17.1.3, §17.2.3, §9.2) and keeps the tables of them.
"""

from __future__ import annotations

import os
from typing import ClassVar, Final
from zlib import crc32

from twisted.logger import Logger

from sipgrace.interfaces import IAssociation, IClientTransactionUser, ITransactionUser
from sipgrace.message import derive
from sipgrace.message.message import Request, Response
from sipgrace.transaction.inviteclient import InviteClient
from sipgrace.transaction.inviteserver import TRYING, InviteServer
from sipgrace.transaction.noninviteclient import NonInviteClient
from sipgrace.transaction.noninviteserver import COMPLETED, NonInviteServer
from sipgrace.transaction.timers import TimerQueue, Timers

#: Branches that begin so identify a transaction by themselves (§8.1.1.7). A bare cookie (RFC 4475 §3.2.1)
#: does not get here: the parser refuses it.
_COOKIE: Final = b"z9hG4bK"

LOST_AT_ONCE: Final = 500
"""
How many transactions of a lost association are told before the reactor gets its turn: telling one can
mean that a call is sent elsewhere.
"""

_Transaction = InviteServer | NonInviteServer | InviteClient | NonInviteClient


class TransactionLayer:
    """
    The transactions of one element, on all its associations.

    An association may be reported lost, or a message received, at any time but from within its own
    C{send}: a client transaction's user would then hear of it before L{request} has returned.

    @ivar timers: runs the timers of all transactions.
    @ivar user: gets new requests, ACKs and responses without a transaction.
    @ivar values: the durations.
    @ivar limit: how many server transactions there may be; above it new requests are answered 503
        without state and without Retry-After. A CANCEL that finds its INVITE always passes.
    @ivar shed: how many requests were answered so.
    """

    _log: ClassVar[Logger] = Logger()

    def __init__(
        self, timers: TimerQueue, user: ITransactionUser, values: Timers | None = None, limit: int = 100_000
    ) -> None:
        self.timers = timers
        self.user = user
        self.values = Timers() if values is None else values
        self.limit = limit
        self.shed = 0
        # Made by the peer: branch and sent-by (and method), or what RFC 2543 compares; each one string, which
        # takes less room than several, and is hashed faster.
        self.inviteServers: dict[bytes, InviteServer] = {}
        self.servers: dict[bytes, NonInviteServer] = {}
        # Made by us: the branch is unique, but for a CANCEL, which has that of its INVITE.
        self.inviteClients: dict[bytes, InviteClient] = {}
        self.clients: dict[bytes, NonInviteClient] = {}
        # What most calls set; the other timers are the queue's own.
        values = self.values
        self.firstA = timers.timer(values.a, InviteClient.unanswered)
        self.firstE = timers.timer(values.e, NonInviteClient.unanswered)
        self.timerJ = timers.timer(values.j, NonInviteServer.timerJ)
        self.timerK = timers.timer(values.k, NonInviteClient.timerK)
        self.timerL = timers.timer(values.l, InviteServer.timerL)
        self.timerM = timers.timer(values.m, InviteClient.timerM)
        self.late = timers.timer(values.late, NonInviteServer.late)
        self._seed = int.from_bytes(os.urandom(4), "big")

    def messageReceived(self, message: Request | Response, association: IAssociation) -> None:
        """
        A message from the network. Exceptions of the user come through, except for those of
        C{requestReceived}: they are logged, and the request is answered 500.
        """
        if isinstance(message, Response):
            method = message.cseqMethod
            if method == b"INVITE":
                invite = self.inviteClients.get(message.branch)
                if invite is not None:
                    invite.responseReceived(message, association)
                    return
            else:
                client = self.clients.get(message.branch)
                if client is not None and client.method == method:
                    client.responseReceived(message, association)
                    return
            self.user.responseReceived(message, association)
            return
        method = message.method
        if method == b"INVITE":
            self._inviteReceived(message, association)
        elif method == b"ACK":
            self._ackReceived(message, association)
        else:
            self._requestReceived(message, association)

    def request(
        self, request: Request, association: IAssociation, user: IClientTransactionUser | None
    ) -> InviteClient | NonInviteClient:
        """
        Sends a request in a client transaction of its own.

        @param request: its top Via is already on it, with a branch that no other has.
        @param user: who is told of responses and failure; C{None} where nobody cares.
        @raise ValueError: for an ACK, which makes no transaction, and for a branch in use.
        """
        method = request.method
        if method == b"INVITE":
            if request.branch in self.inviteClients:
                raise ValueError(f"an INVITE with the branch {request.branch!r} is under way already")
            invite = InviteClient(self, request, association, user)
            self.inviteClients[request.branch] = invite
            invite.start()
            return invite
        if method == b"ACK":
            raise ValueError("an ACK makes no transaction: give it to the association")
        if request.branch in self.clients:
            raise ValueError(f"a request with the branch {request.branch!r} is under way already")
        client = NonInviteClient(self, request, association, user)
        self.clients[request.branch] = client
        client.start()
        return client

    def associationLost(self, association: IAssociation) -> None:
        """
        Ends every transaction on C{association}. Where they are many, all but the first
        L{LOST_AT_ONCE} are told from later turns of the reactor; client transactions come first.
        """
        # No set is kept per association: looking at all costs 2 ms for 50 000, and loss is rare.
        found: list[_Transaction] = []
        for table in (self.inviteClients, self.clients, self.inviteServers, self.servers):
            found += [each for each in table.values() if each.association is association]
        found.reverse()
        self._lose(found)

    def inviteFor(self, cancel: Request) -> InviteServer | None:
        """
        The INVITE that a CANCEL means (§9.2), whether it was answered or not; C{None} where there is
        none (to be answered 481).
        """
        if cancel.branch.startswith(_COOKIE):
            return self.inviteServers.get(b"%b %b" % (cancel.branch, cancel.sentBy))
        return self.inviteServers.get(_legacy(cancel, cancel.toTag))

    def counts(self) -> dict[str, int]:
        """
        How many transactions of each kind there are, how many timers are queued, and how many requests
        were turned away since the start because of C{limit}.
        """
        return {
            "inviteServers": len(self.inviteServers),
            "nonInviteServers": len(self.servers),
            "inviteClients": len(self.inviteClients),
            "nonInviteClients": len(self.clients),
            "timers": len(self.timers),
            "shed": self.shed,
        }

    def _inviteReceived(self, request: Request, association: IAssociation) -> None:
        modern = request.branch.startswith(_COOKIE)
        key = b"%b %b" % (request.branch, request.sentBy) if modern else _legacy(request, request.toTag)
        server = self.inviteServers.get(key)
        if server is not None:
            server.requestReceived()
            return
        if len(self.inviteServers) + len(self.servers) >= self.limit:
            self._shed(request, association)
            return
        server = self.inviteServers[key] = InviteServer(self, key, request, association, not modern)
        try:
            self.user.requestReceived(server, request)
        except Exception:
            self._failed(server, request)
        # A user that answers at once, as a proxy does, costs no timer.
        if server.state == TRYING:
            self.timers.after(self.values.trying, server.trying)

    def _requestReceived(self, request: Request, association: IAssociation) -> None:
        if request.branch.startswith(_COOKIE):
            key = b"%b %b %b" % (request.branch, request.sentBy, request.method)
        else:
            key = _legacy(request, request.toTag) + request.method
        server = self.servers.get(key)
        if server is not None:
            server.requestReceived()
            return
        if len(self.inviteServers) + len(self.servers) >= self.limit and (
            request.method != b"CANCEL" or self.inviteFor(request) is None
        ):
            self._shed(request, association)
            return
        server = self.servers[key] = NonInviteServer(self, key, request, association)
        try:
            self.user.requestReceived(server, request)
        except Exception:
            self._failed(server, request)
        if server.state < COMPLETED:
            self.late.set(server)

    def _ackReceived(self, ack: Request, association: IAssociation) -> None:
        server: InviteServer | None
        if ack.branch.startswith(_COOKIE):
            server = self.inviteServers.get(b"%b %b" % (ack.branch, ack.sentBy))
        else:
            # The INVITE had no To tag where it opened a dialog; the ACK has that of the response.
            server = self.inviteServers.get(_legacy(ack, ack.toTag))
            if server is None:
                server = self.inviteServers.get(_legacy(ack, b""))
                if server is not None and server.answerTag != ack.toTag:
                    server = None
        if server is not None:
            server.ackReceived(ack, association)
        elif not self.shed or ack.toTag != self._tag(ack):
            self.user.ackReceived(ack, association)

    def _shed(self, request: Request, association: IAssociation) -> None:
        # A retransmission gets the same tag (§8.2.7), and the ACK is known by it.
        self.shed += 1
        association.send(derive.respond(request, 503, toTag=self._tag(request)).toBytes())

    def _tag(self, request: Request) -> bytes:
        return b"%08x" % crc32(request.branch + request.callId, self._seed)

    def _failed(self, server: InviteServer | NonInviteServer, request: Request) -> None:
        self._log.failure("{method} could not be dealt with and gets 500", method=request.method)
        server.respond(derive.respond(request, 500))

    def _lose(self, found: list[_Transaction]) -> None:
        for _ in range(min(LOST_AT_ONCE, len(found))):
            try:
                found.pop().lost()
            except Exception:
                self._log.failure("telling of a lost association failed")
        if found:
            self.timers.soon(lambda: self._lose(found))


def _legacy(request: Request, toTag: bytes) -> bytes:
    """
    What identifies a transaction of RFC 2543 (§17.2.3), but for the method.
    """
    return b"%b\n%b\n%b\n%d\n%b\n%b\n" % (
        request.uri,
        request.callId,
        request.fromTag,
        request.cseq,
        request.elements(b"Via")[0],
        toTag,
    )
