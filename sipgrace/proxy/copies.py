"""
Several copies of one INVITE that ask for the same call, made into one: the callee rings once, and whoever
sent a copy that is still wanted gets the answer.

Copies come about by failover. A server got the INVITE, and fell silent or died; the client before it asked
the next server, and so the client before the callee is asked twice. To refuse the second copy (482, RFC 3261
§8.2.2.2) would lose the call where the first server is dead; to let it ring again would disturb the callee.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from zope.interface import implementer

from sipgrace.interfaces import IAssociation, IServerTransactionUser
from sipgrace.message.derive import respond
from sipgrace.message.message import Request, Response
from sipgrace.transaction.inviteserver import InviteServer
from sipgrace.transaction.timers import TimerQueue

if TYPE_CHECKING:
    from sipgrace.proxy.context import ResponseContext

__all__ = ["Copies", "Copy", "Joint"]

#: So many seconds a ringing call waits for another copy when the last one's association has gone: its
#: caller's client tries elsewhere as soon as it knows.
PATIENCE: Final = 4.0

Key = tuple[bytes, bytes, int, bytes]


class Copies:
    """
    The calls that further copies can join.
    """

    def __init__(self, timers: TimerQueue, kept: float, patience: float = PATIENCE) -> None:
        """
        @param kept: so many seconds after a 2xx a copy still gets it.
        """
        self.timers = timers
        self.kept = kept
        self.patience = patience
        self._joints: dict[Key, Joint] = {}

    def __len__(self) -> int:
        return len(self._joints)

    def take(self, transaction: InviteServer, request: Request) -> Joint | None:
        """
        @param request: an INVITE outside a dialog, its Vias as they came.
        @return: what stands for all copies of it, to be given a user; C{None} where it was joined to another.
        """
        key = (request.callId, request.fromTag, request.cseq, request.uri)
        joint = self._joints.get(key)
        if joint is None:
            joint = self._joints[key] = Joint(self, key, transaction.association)
            joint.add(transaction, ())
            return joint
        transaction.respond(respond(request, 100))
        joint.add(transaction, tuple(request.elements(b"Via")))
        return None

    def forget(self, key: Key, joint: Joint) -> None:
        """
        What comes now is a new call.
        """
        if self._joints.get(key) is joint:
            del self._joints[key]


class Joint:
    """
    Stands in the place of the INVITE server transaction of a call, for all of its copies.

    @ivar association: of the first copy.
    @ivar user: as of L{InviteServer}.
    @ivar finalStatus: the status of the final response that was given, 0 before.
    """

    __slots__ = ("_copies", "_instead", "_key", "_last", "_owner", "association", "finalStatus", "user")

    def __init__(self, owner: Copies, key: Key, association: IAssociation) -> None:
        self.association = association
        self.user: ResponseContext | None = None
        self.finalStatus = 0
        self._owner = owner
        self._key = key
        self._copies: list[Copy] = []
        self._last: Response | None = None
        self._instead: Callable[[], None] | None = None

    @property
    def deserted(self) -> bool:
        """
        Whether nobody was given the 2xx.
        """
        return not any(200 <= copy.transaction.finalStatus < 300 for copy in self._copies)

    def add(self, transaction: InviteServer, vias: tuple[bytes, ...]) -> None:
        """
        Another copy, which gets what the others have got.

        @param vias: its Vias; none for the first copy, whose Vias the responses have.
        """
        copy = Copy(self, transaction, vias)
        transaction.user = copy
        self._copies.append(copy)
        if self._last is not None:
            self._instead = None
            copy.respond(self._last)

    def respond(self, response: Response) -> None:
        """
        See L{InviteServer.respond}.
        """
        status = response.status
        if self.finalStatus and not (self.finalStatus < 300 and 200 <= status < 300):
            return
        final = status >= 200 and not self.finalStatus
        if status > 100:
            self._last = response
        if final:
            self.finalStatus = status
            if status < 300:
                self._owner.timers.after(self._owner.kept, self._forget)
            else:
                self._forget()
        for copy in self._copies.copy():
            copy.respond(response)

    def orElse(self, instead: Callable[[], None]) -> None:
        """
        @param instead: called where nobody comes for the 2xx that was given while this was C{deserted}.
        """
        self._instead = instead
        self._owner.timers.after(self._owner.patience, self._notFetched)

    def ended(self, copy: Copy, reason: str) -> None:
        """
        The transaction of a copy has ended.
        """
        self._copies.remove(copy)
        if not self.finalStatus:
            if not self._waiting():
                self._owner.timers.after(self._owner.patience, self._notWanted)
        elif not self._copies:
            self._end(reason)

    def cancel(self, copy: Copy, reason: bytes) -> None:
        """
        A copy is taken back. The call goes on as long as there is another.
        """
        if self.finalStatus or self.user is None:
            return
        if self._waiting() == [copy]:
            self._forget()
            self.user.cancel(reason)
            return
        request = copy.transaction.request
        if request is not None:
            copy.transaction.respond(respond(request, 487))

    def _waiting(self) -> list[Copy]:
        return [copy for copy in self._copies if not copy.transaction.finalStatus]

    def _notWanted(self) -> None:
        if not (self.finalStatus or self._waiting()):
            self._forget()
            self._end("lost")

    def _notFetched(self) -> None:
        instead, self._instead = self._instead, None
        if instead is not None:
            self._forget()
            instead()

    def _forget(self) -> None:
        self._owner.forget(self._key, self)
        self._last = None

    def _end(self, reason: str) -> None:
        user, self.user = self.user, None
        if user is not None:
            user.serverTransactionEnded(self, reason)


@implementer(IServerTransactionUser)
class Copy:
    """
    One of them.

    @ivar transaction: its own.
    """

    __slots__ = ("_joint", "_vias", "transaction")

    def __init__(self, joint: Joint, transaction: InviteServer, vias: tuple[bytes, ...]) -> None:
        self._joint = joint
        self._vias = vias
        self.transaction = transaction

    def respond(self, response: Response) -> None:
        """
        Sends a response on the way that this copy has come.
        """
        if self._vias:
            response = response.copy()
            response.remove(b"Via")
            for via in reversed(self._vias):
                response.pushVia(via)
        self.transaction.respond(response)

    def cancel(self, reason: bytes = b"") -> None:
        """
        See L{sipgrace.proxy.context.ResponseContext.cancel}.
        """
        self._joint.cancel(self, reason)

    def serverTransactionEnded(self, transaction: object, reason: str) -> None:
        """
        See L{IServerTransactionUser}.
        """
        self._joint.ended(self, reason)
