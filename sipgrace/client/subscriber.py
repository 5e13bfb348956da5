"""
A client's subscriptions to C{service-availability}: how servers tell it, unasked, that they leave and that
they are back (C{docs/event-package.rst}).
"""

from __future__ import annotations

from collections.abc import Callable
from os import urandom
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from sipgrace.client.link import ServerLink
from sipgrace.client.probe import Requester
from sipgrace.client.subscribercore import SubscriberCore, Subscribing, contactURI
from sipgrace.client.subscribermachine import subscriberMachine
from sipgrace.errors import ParseError
from sipgrace.interfaces import IAssociation
from sipgrace.lifecycle.availability import CONTENT_TYPE, EVENT, Availability
from sipgrace.message.derive import respond
from sipgrace.message.headers import Event, SubscriptionState
from sipgrace.message.message import Request, Response
from sipgrace.transaction.noninviteserver import NonInviteServer

#: Seconds until a subscription is asked for again that was ended without a word on when: at once, as RFC 6665
#: §4.1.3 has it for these reasons, but not in a loop.
_AGAIN: Final = 1.0
_AT_ONCE: Final = (b"deactivated", b"timeout")
#: Seconds for all other reasons.
_LATER: Final = 60.0
#: After these it is not asked for again.
_NEVER: Final = (b"rejected", b"noresource", b"invariant")


class Subscriber:
    """
    The subscription at one server. Its states are those of L{sipgrace.client.subscribermachine}.

    @ivar link: the link that is told.
    """

    def __init__(self, link: ServerLink, core: SubscriberCore) -> None:
        self.link = link
        self._core = core
        self._machine: Subscribing = subscriberMachine(core)

    @property
    def state(self) -> str:
        """
        Where it stands, for display.
        """
        return self._core.state

    @property
    def association(self) -> IAssociation | None:
        """
        The association it is on, or has been refused on.
        """
        return self._core.association

    def use(self, association: IAssociation) -> None:
        """
        Subscribes on this association, unless that was done before.
        """
        core = self._core
        if core.association is association:
            return
        self._machine.lost()
        if association.reliable and association.up:
            core.association = association
            self._machine.made()

    def lost(self) -> None:
        """
        The association has gone, and the subscription with it.
        """
        self._machine.lost()

    def notified(self, request: Request, association: IAssociation) -> tuple[int, bytes]:
        """
        A NOTIFY with our Call-ID. What it says is only believed from the server that we asked, on the
        association on which we did (RFC 6665 §4.1.2.4).

        @return: status and reason of the answer, the reason empty for the usual one.
        """
        core = self._core
        if association is not core.association or not core.follows(request):
            return 481, b""
        if request.cseq <= core.remoteSequence:
            # A later one has overtaken it (RFC 3261 §12.2.2).
            return 500, b"CSeq Out Of Order"
        try:
            event = request.get(b"Event")
            if event is None or Event.parse(event).package.lower() != EVENT:
                return 489, b""
            value = request.get(b"Subscription-State")
            if value is None:
                return 400, b"Missing Subscription-State"
            state = SubscriptionState.parse(value)
            availability = None
            if request.body:
                kind = (request.get(b"Content-Type") or b"").partition(b";")[0].strip().lower()
                if kind != b"message/sipfrag":
                    return 415, b""
                availability = Availability.parse(request.body)
        except ParseError as error:
            return 400, error.reason.encode("ascii", "replace")
        core.remoteSequence = request.cseq
        core.retarget(request)
        self._follow(state)
        if availability is not None:
            self._tell(availability, state)
        return 200, b""

    def _follow(self, state: SubscriptionState) -> None:
        if state.state != b"terminated":
            self._machine._notified(None if state.expires is None else float(state.expires))
        elif state.reason in _NEVER:
            self._machine._barred()
        else:
            seconds = _AGAIN if state.reason in _AT_ONCE else _LATER
            if state.retryAfter is not None:
                seconds = max(_AGAIN, float(state.retryAfter))
            self._machine._ended(seconds)

    def _tell(self, availability: Availability, state: SubscriptionState) -> None:
        if availability.available:
            self.link.available()
            return
        retryAfter = availability.retryAfter
        if retryAfter is None:
            retryAfter = state.retryAfter
        if retryAfter is not None:
            self.link.unavailable(float(retryAfter), availability.back)


class Subscriptions:
    """
    The subscriptions of one client.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        layer: Requester,
        identifier: Callable[[], bytes] = lambda: urandom(8).hex().encode("ascii"),
        offer: bytes = b"",
        heard: Callable[[ServerLink, Response], None] = lambda link, response: None,
    ) -> None:
        """
        @param identifier: gives a new token each time that nobody can foretell.
        @param offer: parameters for the Vias of SUBSCRIBEs.
        @param heard: told of each answer to a SUBSCRIBE.
        """
        self._clock = clock
        self._layer = layer
        self._identifier = identifier
        self._offer = offer
        self._heard = heard
        self._all: dict[ServerLink, Subscriber] = {}
        self._dialogs: dict[bytes, Subscriber] = {}

    def use(self, link: ServerLink) -> None:
        """
        A server has shown on its link's association that it is there: subscribes, unless that was done
        before.
        """
        association = link.association
        if association is not None:
            self._of(link).use(association)

    def stateOf(self, link: ServerLink) -> str:
        """
        Where the subscription at this server stands, for display.
        """
        subscriber = self._all.get(link)
        return "Idle" if subscriber is None else subscriber.state

    def forget(self, link: ServerLink) -> None:
        """
        There will be no more of this link.
        """
        subscriber = self._all.pop(link, None)
        if subscriber is not None:
            subscriber.lost()

    def associationLost(self, association: IAssociation) -> None:
        """
        An association has gone.
        """
        for subscriber in self._all.values():
            if subscriber.association is association:
                subscriber.lost()

    def stop(self) -> None:
        """
        Ends what would keep a reactor busy. The servers learn of it by the end of the associations.
        """
        for subscriber in self._all.values():
            subscriber.lost()

    def _of(self, link: ServerLink) -> Subscriber:
        subscriber = self._all.get(link)
        if subscriber is None:

            def begun() -> None:
                self._dialogs[core.callId] = made

            def over() -> None:
                self._dialogs.pop(core.callId, None)

            core = SubscriberCore(
                self._clock,
                self._layer,
                self._identifier,
                self._offer,
                lambda response: self._heard(link, response),
                begun,
                over,
            )
            made = subscriber = self._all[link] = Subscriber(link, core)
        return subscriber

    def notifyReceived(self, transaction: NonInviteServer, request: Request) -> bool:
        """
        A NOTIFY came.

        @return: whether it was for this client itself, and has been answered.
        """
        association = transaction.association
        subscriber = self._dialogs.get(request.callId)
        if subscriber is not None:
            status, reason = subscriber.notified(request, association)
        elif request.uri == contactURI(association) and not request.hasRoute:
            # Meant for us, in a dialog that is over.
            status, reason = 481, b""
        else:
            return False
        headers = ((b"Accept", CONTENT_TYPE),) if status == 415 else ()
        if status == 489:
            headers = ((b"Allow-Events", EVENT),)
        transaction.respond(respond(request, status, reason or None, headers=headers))
        return True
