"""
Several copies of one INVITE that ask for the same call, made into one: the callee rings once, and whoever
sent a copy that is still wanted gets the answer.

Copies come about by failover. A server got the INVITE, and fell silent or died; the client before it asked
the next server, and so the client before the callee is asked twice. To refuse the second copy (482, RFC 3261
§8.2.2.2) would lose the call where the first server is dead; to let it ring again would disturb the callee.

A copy may also come while the call is being taken back, because the server of the only other copy goes at
once. To the callee that is a second INVITE of a transaction that is still there, which a strict one answers
482 itself. So it is held until the callee has answered the CANCEL, but no longer than a round trip should
take; where the callee has taken up just then, it gets that answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from zope.interface import classImplements

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

    @ivar ending: those that are being taken back; as long as there is none, nothing can be held.
    """

    def __init__(
        self, timers: TimerQueue, kept: float, patience: float = PATIENCE, longest: float = 0.5
    ) -> None:
        """
        @param kept: so many seconds after a 2xx a copy still gets it.
        @param longest: for at most so many seconds a copy is held: T1.
        """
        self.timers = timers
        self.kept = kept
        self.patience = patience
        self._longest = longest
        self._joints: dict[Key, Joint] = {}
        self.ending: dict[Key, Joint] = {}

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

    def holds(self, joint: Joint, request: Request, start: Callable[[], None]) -> bool:
        """
        @param joint: what L{take} has made of this INVITE.
        @param start: sends it on.
        @return: whether it is held back; then C{start} is called later, unless the callee's answer to the
            call before it is the answer to this one too.
        """
        before = self.ending.get(joint.key)
        if before is None or before is joint:
            return False
        before.held.append((joint, tuple(request.elements(b"Via")), start))
        self.timers.after(self._longest, before.letGo)
        return True

    def ends(self, joint: Joint) -> None:
        """
        It is taken back from now on.
        """
        self.ending[joint.key] = joint

    def ended(self, joint: Joint) -> None:
        """
        The callee has answered it, or has nothing more to say.
        """
        if self.ending.get(joint.key) is joint:
            del self.ending[joint.key]
        if 200 <= joint.finalStatus < 300:
            joint.letGo()
        elif joint.held:
            # Whoever gives it its final answer by force may be about to do so to what was held as well.
            self.timers.soon(joint.letGo)

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
    @ivar key: what all copies have in common.
    @ivar held: those that came while this was being taken back; the Vias of each, and what sends it on.
    """

    __slots__ = (
        "_copies",
        "_instead",
        "_last",
        "_owner",
        "association",
        "finalStatus",
        "held",
        "key",
        "user",
    )

    def __init__(self, owner: Copies, key: Key, association: IAssociation) -> None:
        self.association = association
        self.user: ResponseContext | None = None
        self.finalStatus = 0
        self._owner = owner
        self.key = key
        self.held: list[tuple[Joint, tuple[bytes, ...], Callable[[], None]]] = []
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
        if final and self._owner.ending:
            self._owner.ended(self)

    def letGo(self) -> None:
        """
        Those that were held are sent on, or get the answer that the callee has given after all.
        """
        held, self.held = self.held, []
        for joint, vias, start in held:
            if 200 <= self.finalStatus < 300:
                joint.moveTo(self, vias)
            else:
                start()

    def moveTo(self, other: Joint, vias: tuple[bytes, ...]) -> None:
        """
        All of these are copies of that call.

        @param vias: those of the first.
        """
        self._forget()
        copies, self._copies = self._copies, []
        for copy in copies:
            other.add(copy.transaction, copy.vias or vias)
        self._end("joined")

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
            self._owner.ends(self)
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
            self._owner.ends(self)
            self._end("lost")

    def _notFetched(self) -> None:
        instead, self._instead = self._instead, None
        if instead is not None:
            self._forget()
            instead()

    def _forget(self) -> None:
        self._owner.forget(self.key, self)
        self._last = None

    def _end(self, reason: str) -> None:
        user, self.user = self.user, None
        if user is not None:
            user.serverTransactionEnded(self, reason)


class Copy:
    """
    One of them.

    @ivar transaction: its own.
    @ivar vias: its Vias; none for the first one.
    """

    __slots__ = ("_joint", "transaction", "vias")

    def __init__(self, joint: Joint, transaction: InviteServer, vias: tuple[bytes, ...]) -> None:
        self._joint = joint
        self.vias = vias
        self.transaction = transaction

    def respond(self, response: Response) -> None:
        """
        Sends a response on the way that this copy has come.
        """
        if self.vias:
            response = response.copy()
            response.remove(b"Via")
            for via in reversed(self.vias):
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


classImplements(Copy, IServerTransactionUser)
