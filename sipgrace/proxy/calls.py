"""
One call that goes on through a server, as the table of L{sipgrace.proxy.dialogs} knows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from sipgrace.message.headers import NameAddr
from sipgrace.message.message import Request, Response
from sipgrace.proxy.routes import along
from sipgrace.proxy.target import Hop

if TYPE_CHECKING:
    from sipgrace.proxy.dialogs import Dialogs

__all__ = ["FORKS", "Call", "Dialog", "Ending", "SetUp", "Within"]

#: So many callees who have answered one INVITE are kept; of any further ones nothing is known.
FORKS: Final = 8

#: The highest CSeq number (RFC 3261 §8.1.1.5).
_HIGHEST: Final = 2**31 - 1

#: A BYE with one of these is not over yet: it is sent again, with credentials (§22.2, §22.3).
_CHALLENGES: Final = (401, 407)


class Ending(Protocol):
    """
    Who ends calls by force.
    """

    def end(self, dialog: Dialog, reason: str) -> None:
        """
        Sends a BYE to each side, now or very soon, and calls L{Dialog.over} when both have answered, or will
        not.

        @param reason: why, for the Reason header (RFC 3326); a phrase without quotes.
        """

    def endNow(self, dialog: Dialog, reason: str) -> None:
        """
        The same for one that is forgotten already: the BYEs leave before this returns, unless they have left.
        """


class Dialog:
    """
    One dialog, as it is seen from between its two sides.

    @ivar toValue: what the callee is called in it, with its tag.
    @ivar callerContact: where the caller is, as in its Contact; C{calleeContact} likewise.
    @ivar calleeRoutes: the Routes towards the callee, nearest first.
    @ivar ending: whether it is being ended by force.
    """

    __slots__ = ("call", "calleeContact", "calleeRoutes", "callerContact", "ending", "slot", "tag", "toValue")

    def __init__(self, call: Call, response: Response, calleeRoutes: list[bytes]) -> None:
        self.call = call
        self.tag = response.toTag
        self.toValue = response.toValue
        self.callerContact = call.contact
        self.calleeContact = response.get(b"Contact")
        self.calleeRoutes = calleeRoutes
        self.ending = False
        self.slot = 0

    @property
    def alive(self) -> bool:
        """
        Whether it has not ended.
        """
        return self.call.dialogs.get(self.tag) is self

    def over(self) -> None:
        """
        Both sides know that it has ended.
        """
        if self.alive:
            self.call.ended(self.tag)

    def byeToCaller(self, reason: bytes) -> tuple[Request, Hop]:
        """
        @param reason: the value of the Reason header.
        @return: a BYE in the callee's name, without a Via, and where to send it (§12.2.1.1).
        @raise ParseError: where the caller's Contact or Routes make no sense.
        """
        call = self.call
        return self._bye(
            self.callerContact, call.routes, self.toValue, call.fromValue, call.calleeCSeq, reason
        )

    def byeToCallee(self, reason: bytes) -> tuple[Request, Hop]:
        """
        The same in the caller's name.
        """
        call = self.call
        return self._bye(
            self.calleeContact, self.calleeRoutes, call.fromValue, self.toValue, call.callerCSeq, reason
        )

    def _bye(
        self,
        contact: bytes | None,
        routes: list[bytes],
        fromValue: bytes,
        toValue: bytes,
        cseq: int,
        reason: bytes,
    ) -> tuple[Request, Hop]:
        # Who has given no Contact may be known by the address it is called by.
        target = bytes(NameAddr.parse(toValue if contact is None else contact).uri)
        uri, remaining, hop = along(target, routes)
        bye = Request.make(
            b"BYE",
            uri,
            (
                (b"Max-Forwards", b"70"),
                *((b"Route", route) for route in remaining),
                (b"From", fromValue),
                (b"To", toValue),
                (b"Call-ID", self.call.callId),
                (b"CSeq", b"%d BYE" % min(cseq + 1, _HIGHEST)),
                (b"Reason", reason),
            ),
        )
        return bye, hop


class Call:
    """
    One call, from the INVITE on. An entry of the ledger (see L{sipgrace.proxy.seams.LedgerEntry}) from when
    it is set up until its last dialog has ended.

    @ivar routes: the Routes towards the caller, nearest first.
    @ivar contact: where the caller is, as in its Contact.
    @ivar callerCSeq: the highest CSeq number that the caller has used; C{calleeCSeq} likewise.
    @ivar dialogs: those that were confirmed and have not ended, by the callee's tag.
    @ivar pending: how many INVITEs of it are being set up.
    @ivar forced: whether any of it was ended by force.
    """

    __slots__ = (
        "_owner",
        "acceptedAt",
        "callId",
        "calleeCSeq",
        "callerCSeq",
        "contact",
        "dialogs",
        "forced",
        "fromValue",
        "key",
        "pending",
        "routes",
    )

    #: What is measured of INVITEs is how long they took to set up.
    isInvite = False

    def __init__(self, owner: Dialogs, key: tuple[bytes, bytes], invite: Request, now: float) -> None:
        self._owner = owner
        self.key = key
        self.acceptedAt = now
        self.callId = invite.callId
        self.fromValue = invite.fromValue
        self.contact = invite.get(b"Contact")
        self.routes = invite.elements(b"Record-Route")
        self.callerCSeq = invite.cseq
        self.calleeCSeq = 0
        self.dialogs: dict[bytes, Dialog] = {}
        self.pending = 0
        self.forced = False

    def confirmed(self, response: Response) -> None:
        """
        A callee has answered, and the caller been told.
        """
        tag = response.toTag
        if tag not in self.dialogs and len(self.dialogs) < FORKS:
            routes = self._owner.routesBeyond(response)
            if routes is not None:
                self.dialogs[tag] = dialog = Dialog(self, response, routes)
                self._owner.keep(dialog, response)

    def refreshed(self, within: Within, response: Response) -> None:
        """
        A re-INVITE or an UPDATE has been answered with 2xx: both sides may have moved (§12.2), and the
        session goes on for as long as is said now (RFC 4028 §9).
        """
        asked, answered = within.contact, response.get(b"Contact")
        caller, callee = (asked, answered) if within.byCaller else (answered, asked)
        dialog = self.dialogs.get(within.tag)
        if dialog is None:
            # It has not been confirmed yet.
            self.contact = caller or self.contact
            return
        dialog.callerContact = caller or dialog.callerContact
        dialog.calleeContact = callee or dialog.calleeContact
        self._owner.keep(dialog, response)

    def ended(self, tag: bytes) -> None:
        """
        The dialog with the callee of this tag is over.
        """
        dialog = self.dialogs.pop(tag, None)
        if dialog is not None:
            self._owner.forget(dialog)
            self.forced = self.forced or dialog.ending
            self.close()

    def close(self) -> None:
        """
        Nothing is kept of it any more, if nothing is left of it.
        """
        if not self.dialogs:
            if not self.pending:
                self._owner.close(self)
            self._owner.ledger.settle(self, self.forced)

    # ------------------------------------------------------------------ the ledger's entry

    def recall(self, reason: str) -> None:
        """
        Ends it: both sides get BYE. It leaves the ledger when they have answered.
        """
        for dialog in self.dialogs.values():
            if not dialog.ending:
                dialog.ending = True
                self._owner.ending.end(dialog, reason)

    def forceSettle(self, reason: str) -> bool:
        """
        Ends it without waiting for answers.
        """
        for dialog in list(self.dialogs.values()):
            # First of all, lest it be settled by its own end.
            del self.dialogs[dialog.tag]
            self._owner.forget(dialog)
            self._owner.ending.endNow(dialog, reason)
        if not self.pending:
            self._owner.close(self)
        return True


class SetUp:
    """
    An INVITE outside a dialog on its way.
    """

    __slots__ = ("_seen", "call")

    def __init__(self, call: Call) -> None:
        self.call = call
        self._seen: tuple[bytes, ...] = ()

    def answered(self, response: Response, given: int) -> None:
        """
        A final response has left.

        @param given: the status that its sender was given first, 0 where it could not be given any: a 2xx
            that comes after that is nobody's.
        """
        if response.status < 300 and 200 <= given < 300:
            tag = response.toTag
            # Every 2xx comes here, as often as it is sent.
            if tag not in self._seen and len(self._seen) < FORKS:
                self._seen += (tag,)
                self.call.confirmed(response)

    @property
    def forced(self) -> bool:
        """
        Whether the call was ended by force before this was settled.
        """
        return self.call.forced

    def recall(self, reason: str) -> None:
        """
        The guard is near.
        """
        self.call.recall(reason)

    def settled(self) -> Call | None:
        """
        Nothing more can be asked of us for it.

        @return: the call, where it goes on.
        """
        call = self.call
        call.pending -= 1
        if call.dialogs:
            return call
        call.close()
        return None


class Within:
    """
    A request within a call on its way.

    @ivar tag: the callee's.
    @ivar byCaller: whether it is the caller who asks.
    @ivar contact: where whoever asks is, as in its Contact.
    """

    __slots__ = ("_answered", "_method", "byCaller", "call", "contact", "tag")

    forced = False

    def __init__(self, call: Call, request: Request, byCaller: bool) -> None:
        self.call = call
        self.byCaller = byCaller
        self.tag = request.toTag if byCaller else request.fromTag
        self.contact = request.get(b"Contact")
        self._method = request.method
        self._answered = False

    def answered(self, response: Response, given: int) -> None:
        """
        See L{SetUp.answered}.
        """
        self._answered = True
        status = response.status
        if self._method == b"BYE":
            # Whatever else it was answered: whoever has sent it takes the call for ended (§15.1.1).
            if status not in _CHALLENGES:
                self.call.ended(self.tag)
        elif self._method in (b"INVITE", b"UPDATE"):
            if status < 300:
                self.call.refreshed(self, response)
            elif status == 481:
                self.call.ended(self.tag)

    def recall(self, reason: str) -> None:
        """
        The guard is near.
        """

    def settled(self) -> None:
        """
        Nothing more can be asked of us for it.
        """
        if self._method == b"BYE" and not self._answered:
            self.call.ended(self.tag)
