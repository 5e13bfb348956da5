"""
Tells every client that has subscribed when the server leaves service and when it is back: the notifier of the
event package C{service-availability} (C{docs/event-package.rst}).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import islice
from os import urandom
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from sipgrace.interfaces import IAssociation, IAssociationUser, IClientTransactionUser
from sipgrace.lifecycle.availability import Availability, availabilityOf
from sipgrace.lifecycle.events import Change, Event
from sipgrace.lifecycle.gate import Gate
from sipgrace.lifecycle.orders import Announce
from sipgrace.message.derive import respond
from sipgrace.message.headers import SubscriptionState
from sipgrace.message.message import Request, Response
from sipgrace.message.uri import SIPURI, parseURI
from sipgrace.proxy.identity import Identity
from sipgrace.server.announcements import (
    Refused,
    Subscription,
    active,
    checkAccept,
    contact,
    ended,
    eventOf,
    expiresOf,
    leaving,
)
from sipgrace.server.overloadcontrol import OverloadControl
from sipgrace.transaction.layer import TransactionLayer
from sipgrace.transaction.noninviteserver import NonInviteServer

#: How many clients are told in one turn of the reactor.
BATCH: Final = 50

#: Answers to a NOTIFY after which there is no subscription any more (RFC 5057 §5.2, RFC 6665 §4.2.2).
_GONE: Final = frozenset((404, 405, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604))


@implementer(IAssociationUser)
class Announcer:
    """
    Keeps the subscriptions, one an association, and has each told what the gate says now. An observer of the
    lifecycle, and of the associations.

    Where many are to be told, L{BATCH} are in each turn of the reactor; what has changed by the time a
    client's turn comes, it is told as it is then.

    @ivar notified: how many NOTIFYs were sent.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        layer: TransactionLayer,
        gate: Gate,
        identity: Identity,
        nameOf: Callable[[str], str],
        permits: Callable[[str], bool],
        control: OverloadControl,
        announce: str = "both",
        most: int = 10_000,
        wallClock: Callable[[], float] = time.time,
    ) -> None:
        """
        @param nameOf: the client at an address, or an empty string.
        @param permits: whether whoever is at an address may use this server.
        @param announce: how clients are told where an order does not say; one of L{Announce}.
        @param most: how many subscriptions there may be; none is taken beyond them.
        """
        self.notified = 0
        self._clock = clock
        self._layer = layer
        self._gate = gate
        self._identity = identity
        self._nameOf = nameOf
        self._permits = permits
        self._control = control
        self._announce = self._mode = Announce(announce)
        self._most = most
        self._wallClock = wallClock
        self._subscriptions: dict[IAssociation, Subscription] = {}
        self._waiting: dict[Subscription, None] = {}
        self._turn: IDelayedCall | None = None
        # Branches and tags that nobody can foretell.
        self._prefix = urandom(8).hex().encode("ascii")
        self._count = 0

    def __len__(self) -> int:
        """
        How many subscriptions there are.
        """
        return len(self._subscriptions)

    def status(self) -> dict[str, object]:
        """
        For display.
        """
        return {
            "announce": str(self._mode),
            "subscriptions": len(self._subscriptions),
            "untold": len(self._waiting),
            "notified": self.notified,
        }

    # ------------------------------------------------------------------ lifecycle

    def onChange(self, event: Event) -> None:
        """
        See L{sipgrace.lifecycle.seams.Observer}.
        """
        change, order = event.change, event.order
        if change in (Change.DRAINING, Change.JOINED, Change.EXTENDED):
            if change is Change.DRAINING:
                self._mode = self._announce
            if order is not None:
                if order.announce is not None and change is not Change.EXTENDED:
                    self._mode = _joined(self._mode, order.announce, change is Change.JOINED)
                if order.back is not None:
                    self._gate.back = self._clock.seconds() + order.back - self._wallClock()
            if self._mode.inAnswer:
                self._control.ask(100, self._validity)
            if self._mode.broadcasts:
                self._tell(self._subscriptions.values())
        elif change in (Change.CANCELLED, Change.SERVING):
            self._mode = self._announce
            self._control.release()
            # However the drain was told: whoever was refused in it stays away until told otherwise.
            self._tell(self._subscriptions.values())

    def _validity(self, association: IAssociation) -> int:
        return 1000 * self._gate.retryAfter(self._name(association))

    def ending(self) -> None:
        """
        The associations are about to be ended: so is every subscription, and where clients are told unasked
        they are told that, in this very turn, for nothing can be sent in the next.
        """
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.cancel()
        for subscription in list(self._subscriptions.values()):
            self._drop(subscription)
            if not self._mode.broadcasts:
                continue
            try:
                availability = availabilityOf(self._gate, subscription.name)
                # No answer is waited for: none can come when the association is shut down.
                self._send(subscription, availability, leaving(availability), None)
            except Exception:
                self.log.failure("{client} could not be told", client=subscription.name)

    def rehearse(
        self, retryAfter: float, reason: str = "", back: float | None = None
    ) -> list[tuple[str, Request]]:
        """
        What every subscribed client would be told if a drain began now. Nothing is sent, nothing is changed.

        @param retryAfter: for how many seconds from now clients would be asked to stay away, without the
            spread.
        @param back: in how many seconds the server would be scheduled to return.
        @return: client and NOTIFY, in the order in which they would be sent.
        """
        now = self._clock.seconds()
        gate = self._gate.imagined(now + retryAfter, reason, None if back is None else now + back)
        found = []
        for number, one in enumerate(self._subscriptions.values()):
            state = active(one.expires - now)
            branch = b"z9hG4bK%b.rehearsal%x" % (self._prefix, number)
            found.append((one.name, one.notification(branch, availabilityOf(gate, one.name), state)))
        return found

    # ------------------------------------------------------------------ telling

    def _tell(self, subscriptions: Iterable[Subscription]) -> None:
        self._waiting.update(dict.fromkeys(subscriptions))
        if self._turn is None:
            self._tellSome()

    def _tellSome(self) -> None:
        self._turn = None
        waiting = self._waiting
        for subscription in list(islice(waiting, BATCH)):
            # To tell one may be the end of another.
            if subscription in waiting:
                try:
                    self._notify(subscription)
                except Exception:
                    self.log.failure("{client} could not be told", client=subscription.name)
        if waiting:
            self._turn = self._clock.callLater(0, self._tellSome)

    def _notify(self, subscription: Subscription) -> None:
        """
        Tells one client what the gate says now.
        """
        self._waiting.pop(subscription, None)
        availability = availabilityOf(self._gate, subscription.name)
        left = subscription.expires - self._clock.seconds()
        self._send(subscription, availability, active(left), _Notification(self, subscription))

    def _send(
        self,
        subscription: Subscription,
        availability: Availability,
        state: SubscriptionState,
        user: IClientTransactionUser | None,
    ) -> None:
        request = subscription.notification(self._newBranch(), availability, state)
        subscription.sent()
        self.notified += 1
        self._layer.request(request, subscription.association, user)

    def _newBranch(self) -> bytes:
        self._count += 1
        return b"z9hG4bK%b.%x" % (self._prefix, self._count)

    # ------------------------------------------------------------------ subscriptions

    def subscribeReceived(self, transaction: NonInviteServer, request: Request) -> bool:
        """
        A SUBSCRIBE came.

        @return: whether it was for this server itself, and has been answered.
        """
        if not self._isForUs(request):
            return False
        association = transaction.association
        if not self._permits(association.peerHost):
            self._refuse(transaction, request, Refused(403))
            return True
        try:
            eventOf(request)
            checkAccept(request)
            seconds = expiresOf(request)
            if request.toTag:
                self._refresh(transaction, request, association, seconds)
            else:
                self._begin(transaction, request, association, seconds)
        except Refused as refusal:
            self._refuse(transaction, request, refusal)
        return True

    def _isForUs(self, request: Request) -> bool:
        """
        Max-Forwards 0 asks whoever receives it, whatever name the subscriber knows us by, as in our status
        tests.
        """
        if request.hasRoute:
            return False
        if request.maxForwards == 0:
            return True
        uri = parseURI(request.uri)
        return isinstance(uri, SIPURI) and not uri.user and self._identity.zoneOf(uri) is not None

    def _begin(
        self, transaction: NonInviteServer, request: Request, association: IAssociation, seconds: int
    ) -> None:
        if not association.reliable:
            # Nothing would tell us when the client is gone, and anybody could have others notified.
            raise Refused(403, b"Subscriptions Need A Connection")
        if seconds and len(self._subscriptions) >= self._most and association not in self._subscriptions:
            raise Refused(500, b"Too Many Subscriptions")
        if len(request.elements(b"Via")) > 1:
            # The association is a proxy's, not the subscriber's.
            raise Refused(403, b"Subscriptions Need A Connection Of Their Own")
        self._count += 1
        tag = b"%b.%x" % (urandom(6).hex().encode("ascii"), self._count)
        subscription = Subscription(
            request, association, self._name(association), tag, self._clock.seconds() + seconds
        )
        self._accept(transaction, request, subscription, seconds)
        if not seconds:
            # Asked once (RFC 6665 §4.4.3); a subscription that is there goes on.
            self._end(subscription, b"timeout")
            return
        before = self._subscriptions.get(association)
        if before is not None:
            self._end(before, b"rejected")
        self._subscriptions[association] = subscription
        self._keep(subscription, seconds)

    def _refresh(
        self, transaction: NonInviteServer, request: Request, association: IAssociation, seconds: int
    ) -> None:
        subscription = self._subscriptions.get(association)
        if subscription is None or not subscription.isOf(request):
            raise Refused(481)
        subscription.refresh(request, self._clock.seconds() + seconds)
        self._accept(transaction, request, subscription, seconds)
        if seconds:
            self._keep(subscription, seconds)
        else:
            self._end(subscription, b"timeout")

    def _accept(
        self, transaction: NonInviteServer, request: Request, subscription: Subscription, seconds: int
    ) -> None:
        headers = ((b"Contact", contact(subscription.association)), (b"Expires", b"%d" % seconds))
        transaction.respond(respond(request, 200, toTag=subscription.tag, headers=headers))

    def _refuse(self, transaction: NonInviteServer, request: Request, refusal: Refused) -> None:
        transaction.respond(respond(request, refusal.status, refusal.reason or None, headers=refusal.headers))

    def _keep(self, subscription: Subscription, seconds: int) -> None:
        """
        Sets its time anew, and tells the client what RFC 6665 §4.2.1.2 has it told at once.
        """
        if subscription.timer is None:
            subscription.timer = self._clock.callLater(seconds, self._expired, subscription)
        else:
            subscription.timer.reset(seconds)
        self._notify(subscription)

    def _expired(self, subscription: Subscription) -> None:
        subscription.timer = None
        self._end(subscription, b"timeout")

    def _end(self, subscription: Subscription, reason: bytes) -> None:
        """
        Ends one, and tells its client.
        """
        self._drop(subscription)
        self._send(subscription, availabilityOf(self._gate, subscription.name), ended(reason), None)

    def _drop(self, subscription: Subscription) -> None:
        if self._subscriptions.get(subscription.association) is subscription:
            del self._subscriptions[subscription.association]
        self._waiting.pop(subscription, None)
        timer, subscription.timer = subscription.timer, None
        if timer is not None:
            timer.cancel()

    def notifyFailed(self, subscription: Subscription, why: str) -> None:
        """
        A client knows nothing of its subscription, or does not answer.
        """
        if self._subscriptions.get(subscription.association) is subscription:
            self.log.info("{client} is not told any more: {why}", client=subscription.name, why=why)
            self._drop(subscription)

    def _name(self, association: IAssociation) -> str:
        return self._nameOf(association.peerHost) or association.peerHost

    # ------------------------------------------------------------------ IAssociationUser

    def associationMade(self, association: IAssociation) -> None:
        """
        See L{IAssociationUser}: the client subscribes if it wants to be told.
        """

    def messageReceived(self, message: object, association: IAssociation) -> None:
        """
        See L{IAssociationUser}: messages go elsewhere.
        """

    def associationLost(self, association: IAssociation, reason: Failure) -> None:
        """
        See L{IAssociationUser}: the subscription has gone with it.
        """
        subscription = self._subscriptions.get(association)
        if subscription is not None:
            self._drop(subscription)


def _joined(mode: Announce, announce: Announce, joins: bool) -> Announce:
    """
    How clients are told from now on. An order that joins a drain cannot take back how they were told before.
    """
    return announce if not joins or announce is mode else Announce.BOTH


@implementer(IClientTransactionUser)
class _Notification:
    """
    One NOTIFY under way.
    """

    __slots__ = ("_announcer", "_subscription")

    def __init__(self, announcer: Announcer, subscription: Subscription) -> None:
        self._announcer = announcer
        self._subscription = subscription

    def clientResponse(self, transaction: object, response: Response) -> None:
        """
        See L{IClientTransactionUser}.
        """
        if response.status in _GONE:
            self._announcer.notifyFailed(self._subscription, f"NOTIFY was answered {response.status}")

    def clientFailed(self, transaction: object, reason: str) -> None:
        """
        See L{IClientTransactionUser}.
        """
        self._announcer.notifyFailed(self._subscription, f"NOTIFY: {reason}")
