"""
The messages of a notifier of C{service-availability} (RFC 6665 §4.2), made without sending anything: a
rehearsal makes the same ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sipgrace.errors import ParseError
from sipgrace.interfaces import IAssociation
from sipgrace.lifecycle.availability import CONTENT_TYPE, EVENT, Availability
from sipgrace.message.headers import Event, NameAddr, SubscriptionState
from sipgrace.message.message import Request
from sipgrace.message.uri import SIPURI

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall

#: A subscription lasts so many seconds where the subscriber does not ask for less (RFC 6665 §5.4.5).
LONGEST: Final = 3600


class Refused(Exception):
    """
    A SUBSCRIBE that cannot be accepted.

    @ivar status: its answer; C{headers} go with it.
    """

    def __init__(
        self, status: int, reason: bytes = b"", headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
        self.headers = headers


class Subscription:
    """
    One subscription: a dialog that a client has begun on its association, and which ends with that at the
    latest.

    @ivar name: the client, as the gate knows it.
    @ivar tag: our tag in the dialog.
    @ivar expires: when it ends unless it is refreshed, in seconds of the clock.
    @ivar timer: set while it is kept.
    """

    __slots__ = (
        "_event",
        "_head",
        "_sequence",
        "_target",
        "association",
        "callId",
        "expires",
        "name",
        "remoteSequence",
        "remoteTag",
        "tag",
        "timer",
    )

    def __init__(
        self, request: Request, association: IAssociation, name: str, tag: bytes, expires: float
    ) -> None:
        """
        @param request: the SUBSCRIBE that begins it.
        @raise Refused: where it cannot be answered by notifications.
        """
        self.association = association
        self.name = name
        self.tag = tag
        self.expires = expires
        self.callId = request.callId
        self.remoteTag = request.fromTag
        self.remoteSequence = request.cseq
        self.timer: IDelayedCall | None = None
        self._sequence = 0
        self._event = eventOf(request)
        self._head: tuple[tuple[bytes, bytes], ...] = (
            (b"Max-Forwards", b"70"),
            (b"From", request.toValue + b";tag=" + tag),
            (b"To", request.fromValue),
            (b"Call-ID", request.callId),
        )
        self._target = contactOf(request)

    def isOf(self, request: Request) -> bool:
        """
        Whether a SUBSCRIBE on this association belongs to this dialog.
        """
        return (
            request.callId == self.callId
            and request.toTag == self.tag
            and request.fromTag == self.remoteTag
            and eventOf(request).id == self._event.id
        )

    def refresh(self, request: Request, expires: float) -> None:
        """
        Another SUBSCRIBE in the dialog.

        @raise Refused: where a later one was there already (RFC 3261 §12.2.2), or it has no place to notify.
        """
        if request.cseq <= self.remoteSequence:
            raise Refused(500, b"CSeq Out Of Order")
        self._target = contactOf(request)
        self.remoteSequence = request.cseq
        self.expires = expires

    def notification(self, branch: bytes, availability: Availability, state: SubscriptionState) -> Request:
        """
        The next NOTIFY of this dialog; making it changes nothing.

        @param branch: of its Via.
        """
        association = self.association
        return Request.make(
            b"NOTIFY",
            self._target,
            (
                (b"Via", b"%b;branch=%b" % (association.via, branch)),
                *self._head,
                (b"CSeq", b"%d NOTIFY" % (self._sequence + 1)),
                (b"Contact", contact(association)),
                (b"Event", bytes(self._event)),
                (b"Subscription-State", bytes(state)),
                (b"Content-Type", CONTENT_TYPE),
            ),
            availability.fragment(),
        )

    def sent(self) -> None:
        """
        The notification is on its way.
        """
        self._sequence += 1


def contact(association: IAssociation) -> bytes:
    """
    Where we are to be found, for those at the other end of this association.
    """
    _, _, sentBy = association.via.partition(b" ")
    return b"<sip:%b;transport=%b>" % (sentBy, association.transport.lower())


def active(left: float) -> SubscriptionState:
    """
    A subscription that goes on.

    @param left: seconds until it expires.
    """
    return SubscriptionState(b"active", expires=max(0, round(left)))


def ended(reason: bytes, retryAfter: int | None = None) -> SubscriptionState:
    """
    One that does not (RFC 6665 §4.1.3).
    """
    return SubscriptionState(b"terminated", reason=reason, retryAfter=retryAfter)


def leaving(availability: Availability) -> SubscriptionState:
    """
    One that ends because the server goes: the client is to subscribe again when it may come back.
    """
    return ended(b"probation", availability.retryAfter)


def eventOf(request: Request) -> Event:
    """
    The Event of a request.

    @raise Refused: where it is none of ours.
    """
    value = request.get(b"Event")
    if value is not None:
        try:
            event = Event.parse(value)
        except ParseError:
            raise Refused(400, b"Malformed Event") from None
        if event.package.lower() == EVENT:
            return event
    raise Refused(489, headers=((b"Allow-Events", EVENT),))


def contactOf(request: Request) -> bytes:
    """
    Where the subscriber wants its notifications: the Request-URI they get. They go to its association.
    """
    try:
        contacts = request.elements(b"Contact")
        if len(contacts) == 1 and isinstance(uri := NameAddr.parse(contacts[0]).uri, SIPURI):
            return bytes(uri)
    except ParseError:
        pass
    raise Refused(400, b"One Contact Expected")


def expiresOf(request: Request) -> int:
    """
    For how many seconds a subscription is granted.
    """
    value = request.get(b"Expires")
    if value is None:
        return LONGEST
    if not value.isdigit():
        raise Refused(400, b"Malformed Expires")
    return LONGEST if len(value) > 9 else min(int(value), LONGEST)


def checkAccept(request: Request) -> None:
    """
    Whether the subscriber takes the only kind of body that there is.
    """
    if not request.has(b"Accept"):
        return
    for element in request.elements(b"Accept"):
        kind = element.partition(b";")[0].strip().lower()
        if kind in (b"message/sipfrag", b"message/*", b"*/*"):
            return
    raise Refused(406, headers=((b"Accept", CONTENT_TYPE),))
