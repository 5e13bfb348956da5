"""
The proxy core (RFC 3261 §16): what servers and clients share. It checks each request, asks its role
where it may go, and keeps one response context for each until it is settled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from zope.interface import classImplements

from sipgrace.errors import ParseError
from sipgrace.interfaces import IAssociation, ITransactionUser
from sipgrace.message.derive import respond
from sipgrace.message.message import Request, Response
from sipgrace.proxy.acked import Acks
from sipgrace.proxy.checks import check, limitBreadth
from sipgrace.proxy.context import ResponseContext
from sipgrace.proxy.copies import Copies, Copy, Joint
from sipgrace.proxy.dialogs import Dialogs
from sipgrace.proxy.identity import Identity
from sipgrace.proxy.pace import Paces
from sipgrace.proxy.priority import Priorities
from sipgrace.proxy.routes import hopAlongRoute, takeOwnAddress, takeOwnRoutes
from sipgrace.proxy.seams import Ledger, Role
from sipgrace.proxy.target import Answer, Target
from sipgrace.proxy.trail import Trail
from sipgrace.transaction.inviteserver import InviteServer
from sipgrace.transaction.layer import TransactionLayer
from sipgrace.transaction.noninviteserver import NonInviteServer
from sipgrace.transaction.timers import TimerQueue


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """
    What an operator can choose.

    @ivar timerC: seconds for which a callee may ring without a further provisional response
        (RFC 3261 §16.6 step 11: more than 180).
    @ivar quiet: seconds after a final response over UDP within which whoever has not got it asks again:
        T2, and T1 for the way.
    @ivar recordRoute: whether to stay in the path of the dialogs that are set up through us.
    @ivar detectMerges: whether a second copy of an INVITE that came another way is refused with 482
        (RFC 3261 §8.2.2.2). A client does not: the copy may come from a server that was tried after
        another had not answered in time.
    @ivar joinZone: the side from which copies of an INVITE are made one call instead (see
        L{sipgrace.proxy.copies}), where C{detectMerges} is off; empty for none.
    """

    timerC: float
    quiet: float
    recordRoute: bool = False
    detectMerges: bool = True
    joinZone: str = ""


class ProxyCore:
    """
    Stands on the transaction layer and serves one role.

    @ivar trail: makes the Vias of what leaves here.
    @ivar own: by method, who looks at a request first: it may be for this element itself, in which case they
        answer it and return true.
    @ivar marks: given each response but 100 that leaves for a client, to add something to its top Via;
        C{None} while there is nothing to add.
    @ivar heard: given each response that a target sends, our Via still on it; C{None} where nobody listens.
    @ivar busy: given each target to which an INVITE is sent, with 1, and again, with -1, when nothing more
        can come of it there; C{None} where nobody counts.
    @ivar strays: given each response that belongs to no transaction here, and returns true where it has
        found whose it is; C{None} where there is nobody else.
    @ivar contexts: what serves a request.
    @ivar dialogs: the calls that go on through here, for the contexts that tell it of them (see
        L{sipgrace.proxy.kept}).
    @ivar paces: on which associations INVITEs wait for their first response.
    @ivar priorities: which calls are sent there however many wait.
    @ivar acks: what waits for an ACK to pass (see L{sipgrace.proxy.acked}); C{None} where nothing does.
    @ivar quiet: ends the wait for whoever has not got a final response over UDP.
    @ivar counters: how often what happened, for status and metrics: requests accepted; answered here (with a
        2xx), refused, looped, merged, joined to another copy; responses and ACKs that belong to nothing;
        calls ended because nobody could be given their 2xx.
    """

    def __init__(
        self,
        clock: IReactorTime,
        timers: TimerQueue,
        layer: TransactionLayer,
        role: Role,
        ledger: Ledger,
        identity: Identity,
        settings: ProxySettings,
    ) -> None:
        self.clock = clock
        self.timers = timers
        self.layer = layer
        self.role = role
        self.ledger = ledger
        self.identity = identity
        self.settings = settings
        self.trail = Trail()
        self.paces = Paces(layer.values.t1, clock.seconds)
        self.priorities = Priorities()
        self.own: dict[bytes, Callable[[Any, Request], bool]] = {}
        self.marks: Callable[[Response, IAssociation], None] | None = None
        self.heard: Callable[[Response, Target], None] | None = None
        self.busy: Callable[[Target, int], None] | None = None
        self.strays: Callable[[Response, IAssociation], bool] | None = None
        self.contexts: type[ResponseContext] = ResponseContext
        self.dialogs: Dialogs | None = None
        self.acks: Acks | None = None
        self.counters: dict[str, int] = dict.fromkeys(
            (
                *("accepted", "answered", "refused", "loops", "merged", "joined"),
                *("strayResponses", "strayAcks", "ghosts"),
            ),
            0,
        )
        # As long as the server transaction of a 2xx lasts (RFC 6026 Timer L).
        self._copies = Copies(timers, layer.values.l, longest=layer.values.t1) if settings.joinZone else None
        self.quiet = timers.timer(settings.quiet, ResponseContext.quiet)
        self._merging: dict[tuple[bytes, bytes, int, bytes], ResponseContext] = {}
        layer.user = self  # type: ignore[assignment]

    # ------------------------------------------------------------------ requests

    def requestReceived(self, transaction: InviteServer | NonInviteServer, request: Request) -> None:
        """
        RFC 3261 §16.3 to §16.6 for one new request.
        """
        if request.method == b"CANCEL":
            self._cancel(transaction, request)
            return
        own = self.own.get(request.method)
        if own is not None and own(transaction, request):
            return
        association = transaction.association
        outZone = None
        hop = None
        try:
            answer = check(request)
            if answer is None:
                if request.hasRoute:
                    outZone = takeOwnRoutes(request, self.identity)
                answer = self.role.admit(request, association)
            if answer is None:
                answer = Answer(483) if request.maxForwards == 0 else limitBreadth(request)
            if answer is None:
                mark = self.trail.mark(request, association.zone)
                hop = hopAlongRoute(request) if request.hasRoute else takeOwnAddress(request, self.identity)
        except ParseError as error:
            answer = Answer(error.status, (), error.reason.encode("ascii", "replace"))
        if answer is not None:
            self.counters["answered" if answer.status < 300 else "refused"] += 1
            response = self.response(request, answer)
            if self.marks is not None:
                self.marks(response, association)
            transaction.respond(response)
            return
        kind = self.contexts
        if kind is ResponseContext:
            # By its name, which is compiled; calling what is only known to be a class takes twice as long.
            context = ResponseContext(self, transaction, request, mark, outZone)
        else:
            context = kind(self, transaction, request, mark, outZone)
        if not self._isNew(context, request):
            transaction.respond(self.response(request, Answer(482)))
            return
        transaction.user = context
        if self._copies is not None and not self._isFirst(context, transaction, request):
            self.counters["joined"] += 1
            return
        self.counters["accepted"] += 1
        self.ledger.accept(context)
        if context.isInvite:
            transaction.respond(respond(request, 100))
        targets: Iterable[Target]
        if hop is not None:
            targets = (self.role.towards(hop, outZone or context.zone),)
        else:
            targets = self.role.targets(request, context.zone, outZone)
        if self._copies is not None and self._copies.ending and self._held(context, request, targets):
            return
        context.start(targets)

    def _held(self, context: ResponseContext, request: Request, targets: Iterable[Target]) -> bool:
        joint = context.transaction
        assert self._copies is not None
        return isinstance(joint, Joint) and self._copies.holds(
            joint, request, partial(context.startLate, targets)
        )

    def _isNew(self, context: ResponseContext, request: Request) -> bool:
        """
        Notes a request under way.

        @return: false when it has been here before: a loop, or a merged copy (RFC 3261 §16.3 step 4,
            §8.2.2.2).
        """
        if self.trail.looped(request, context.mark):
            self.counters["loops"] += 1
            return False
        if self.settings.detectMerges and context.isInvite and not context.inDialog:
            key = (request.callId, request.fromTag, request.cseq, request.uri + context.zone.encode())
            if self._merging.setdefault(key, context) is not context:
                self.counters["merged"] += 1
                return False
            context.mergeKey = key
        return True

    def _isFirst(
        self, context: ResponseContext, transaction: InviteServer | NonInviteServer, request: Request
    ) -> bool:
        """
        @return: false when another copy of this INVITE asks for the same call, and this one has joined it.
        """
        if not context.isInvite or context.inDialog or context.zone != self.settings.joinZone:
            return True
        assert self._copies is not None
        joint = self._copies.take(cast(InviteServer, transaction), request)
        if joint is None:
            return False
        context.transaction = joint
        joint.user = context
        return True

    def forgetMerges(self, context: ResponseContext) -> None:
        """
        Copies of this request are welcome again.
        """
        if context.mergeKey is not None:
            del self._merging[context.mergeKey]
            context.mergeKey = None

    def settled(self, context: ResponseContext, forced: bool) -> None:
        """
        A context needs nothing more.

        @param forced: whether its caller was refused because of the guard.
        """
        self.forgetMerges(context)
        if self._copies is not None and self._copies.ending and isinstance(context.transaction, Joint):
            self._copies.ended(context.transaction)
        self.ledger.settle(context, forced)

    def _cancel(self, transaction: InviteServer | NonInviteServer, request: Request) -> None:
        """
        RFC 3261 §16.10. A CANCEL that matches nothing is answered 481: nothing was ever forwarded
        statelessly here that it could be meant for.
        """
        invite = self.layer.inviteFor(request)
        if invite is None:
            transaction.respond(self.response(request, Answer(481)))
            return
        transaction.respond(self.response(request, Answer(200)))
        if isinstance(invite.user, ResponseContext | Copy):
            invite.user.cancel(b", ".join(request.getAll(b"Reason")))

    def passUp(self, transaction: InviteServer | NonInviteServer | Joint, response: Response) -> None:
        """
        A response that somebody else has given, or this element, goes to whoever asked.
        """
        association = transaction.association
        if self.marks is not None:
            self.marks(response, association)
        if response.contentLength < 0 and association.reliable:
            response.ensureContentLength()
        transaction.respond(response)

    def recordRoute(self, request: Request, came: IAssociation, goes: IAssociation) -> None:
        """
        Writes us into the dialog: one Record-Route a side, the one towards the callee on top
        (RFC 5658 §5); a single one where both would be the same.
        """
        inside = self.identity.recordRoute(came)
        outside = self.identity.recordRoute(goes)
        request.insert(b"Record-Route", inside)
        if outside != inside:
            request.insert(b"Record-Route", outside)

    # ------------------------------------------------------------------ without a transaction

    def ackReceived(self, request: Request, association: IAssociation) -> None:
        """
        The ACK of a 2xx is passed on without any state (RFC 3261 §16.11), as a proxy in the path of the
        dialog must. One that cannot be is dropped: its sender will send another.
        """
        if self.acks is not None:
            self.acks.received(request)
        try:
            target, mark = self._targetOfACK(request, association)
        except ParseError:
            target = None
        if target is None:
            self.counters["strayAcks"] += 1
            return
        if target.uri is not None:
            request.uri = target.uri
        request.setMaxForwards(request.maxForwards - 1 if request.maxForwards >= 0 else 70)
        if target.association is not None:
            self._sendACK(target.association, request, mark)
            return
        reached = self.role.reach(target)
        if isinstance(reached, Deferred):
            reached.addCallbacks(self._sendACK, _unreachable, callbackArgs=(request, mark))
        else:
            self._sendACK(reached, request, mark)

    def _sendACK(self, reached: IAssociation, request: Request, mark: int) -> None:
        if request.contentLength < 0 and reached.reliable:
            request.ensureContentLength()
        self.trail.sign(request, reached, mark)
        reached.send(request.toBytes())

    def _targetOfACK(self, request: Request, association: IAssociation) -> tuple[Target | None, int]:
        """
        @return: where it goes, C{None} where it goes nowhere; and its mark.
        """
        # Without a To tag it is of no dialog, and must not be asked for as if it were new.
        if request.maxForwards == 0 or not request.toTag or self.role.admit(request, association) is not None:
            return None, 0
        zone = takeOwnRoutes(request, self.identity) if request.hasRoute else None
        mark = self.trail.mark(request, association.zone)
        if self.trail.looped(request, mark):
            return None, mark
        hop = hopAlongRoute(request) if request.hasRoute else takeOwnAddress(request, self.identity)
        if hop is not None:
            return self.role.towards(hop, zone or association.zone), mark
        return next(self.role.targets(request, association.zone, zone), None), mark

    def responseReceived(self, response: Response, association: IAssociation) -> None:
        """
        A response without a transaction is counted and dropped (RFC 6026 §7.2: it must not go on).
        """
        if self.strays is not None and self.strays(response, association):
            return
        self.counters["strayResponses"] += 1

    # ------------------------------------------------------------------ answers of our own

    def response(self, request: Request, answer: Answer) -> Response:
        """
        Makes a final response of our own to a request.
        """
        return respond(request, answer.status, answer.reason or None, headers=answer.headers)


def _unreachable(failure: Failure) -> None:
    """
    Whoever sent an ACK that cannot be passed on will send another.
    """


classImplements(ProxyCore, ITransactionUser)
