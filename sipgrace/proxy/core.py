"""
The proxy core (RFC 3261 §16): what servers and clients share. It checks each request, asks its role
where it may go, and keeps one response context for each until it is settled.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from zlib import crc32

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from sipgrace.interfaces import IAssociation, ITransactionUser
from sipgrace.message.derive import respond
from sipgrace.message.headers import NameAddr
from sipgrace.message.message import Request, Response
from sipgrace.message.uri import SIPURI, parseURI
from sipgrace.proxy.context import ResponseContext
from sipgrace.proxy.identity import Identity
from sipgrace.proxy.seams import Ledger, Role
from sipgrace.proxy.target import Answer, Target, hopOf
from sipgrace.transaction.inviteserver import InviteServer
from sipgrace.transaction.layer import TransactionLayer
from sipgrace.transaction.noninviteserver import NonInviteServer
from sipgrace.transaction.timers import TimerQueue

#: What we let pass in a Request-URI (RFC 3261 §16.3 step 2).
_SCHEMES = (b"sip:", b"sips:", b"tel:")

#: What a proxy allows is everything; this is what it answers itself.
ALLOW = b"INVITE, ACK, CANCEL, OPTIONS, BYE, PRACK, UPDATE, MESSAGE, SUBSCRIBE, NOTIFY, REFER, INFO, PUBLISH"


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """
    What an operator can choose.

    @ivar recordRoute: whether to stay in the path of the dialogs that are set up through us.
    @ivar detectMerges: whether a second copy of an INVITE that came another way is refused with 482
        (RFC 3261 §8.2.2.2). A client does not: the copy may come from a server that was tried after
        another had not answered in time.
    @ivar timerC: seconds for which a callee may ring without a further provisional response
        (RFC 3261 §16.6 step 11: more than 180).
    """

    recordRoute: bool = False
    detectMerges: bool = True
    timerC: float = 181.0


@implementer(ITransactionUser)
class ProxyCore:
    """
    Stands on the transaction layer and serves one role.

    @ivar counters: how often what happened, for status and metrics.
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
        self.counters: dict[str, int] = dict.fromkeys(
            ("accepted", "refused", "loops", "merged", "strayResponses", "strayAcks"), 0
        )
        # Branches of one process begin alike, so that a request that comes back is recognised.
        self._prefix = b"z9hG4bK" + os.urandom(6).hex().encode()
        self._tag = os.urandom(4).hex().encode()
        self._count = 0
        self._merging: dict[tuple[bytes, bytes, int, bytes], ResponseContext] = {}
        layer.user = self

    # ------------------------------------------------------------------ requests

    def requestReceived(self, transaction: InviteServer | NonInviteServer, request: Request) -> None:
        """
        RFC 3261 §16.3 to §16.6 for one new request.
        """
        if request.method == b"CANCEL":
            self._cancel(transaction, request)
            return
        association = transaction.association
        answer = self._check(request)
        outZone = None
        if answer is None:
            if request.hasRoute:
                outZone = self._popOwnRoutes(request)
            answer = self.role.admit(request, association)
        if answer is not None:
            self.counters["refused"] += 1
            transaction.respond(self.response(request, answer))
            return
        loopHash = self._loopHash(request, association)
        now = self.clock.seconds()
        context = ResponseContext(self, transaction, request, now, loopHash, outZone)
        if not self._remember(context, request):
            transaction.respond(self.response(request, Answer(482)))
            return
        self.counters["accepted"] += 1
        transaction.user = context
        self.ledger.accept(context)
        if context.isInvite:
            transaction.respond(respond(request, 100))
        if request.hasRoute:
            context.start((self._alongRoute(request, outZone or context.zone),))
        else:
            context.start(self.role.targets(request, context.zone, outZone))

    def _check(self, request: Request) -> Answer | None:
        """
        RFC 3261 §16.3 steps 2 to 5.
        """
        if not request.uri.lower().startswith(_SCHEMES):
            return Answer(416)
        if request.maxForwards == 0 and request.method != b"OPTIONS":
            return Answer(483)
        if request.has(b"Proxy-Require"):
            wanted = b", ".join(request.elements(b"Proxy-Require"))
            return Answer(420, ((b"Unsupported", wanted),))
        return None

    def _loopHash(self, request: Request, association: IAssociation) -> int:
        """
        A number over all that decides about a request's way here (RFC 3261 §16.6 step 8).
        """
        basis = request.uri + association.zone.encode("ascii", "replace")
        if request.hasRoute:
            basis += b"".join(request.getAll(b"Route"))
        return crc32(basis)

    def _remember(self, context: ResponseContext, request: Request) -> bool:
        """
        Notes a request under way.

        @return: false when it has been here before: a loop, or a merged copy (RFC 3261 §16.3 step 4,
            §8.2.2.2).
        """
        if self._looped(request, context.loopHash):
            return False
        if self.settings.detectMerges and context.isInvite and not context.inDialog:
            key = (request.callId, request.fromTag, request.cseq, request.uri + context.zone.encode())
            if key in self._merging:
                self.counters["merged"] += 1
                return False
            self._merging[key] = context
            context.mergeKey = key
        return True

    def _looped(self, request: Request, loopHash: int) -> bool:
        """
        Whether we have sent this very request on before (RFC 3261 §16.3 step 4).
        """
        suffix = b".%08x" % loopHash
        for via in request.getAll(b"Via"):
            if self._prefix in via and suffix in via:
                self.counters["loops"] += 1
                return True
        return False

    def settled(self, context: ResponseContext) -> None:
        """
        A context needs nothing more.
        """
        if context.mergeKey is not None:
            del self._merging[context.mergeKey]
        self.ledger.settle(context)

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
        if isinstance(invite.user, ResponseContext):
            invite.user.cancel(request.get(b"Reason") or b"")

    # ------------------------------------------------------------------ routes

    def _popOwnRoutes(self, request: Request) -> str | None:
        """
        Takes off the Routes that name us (RFC 3261 §16.4).

        @return: the side that the last of them names: where we wrote two Record-Routes, one a side,
            this is the side to go on to.
        """
        zone = None
        uri = parseURI(request.uri)
        if isinstance(uri, SIPURI) and uri.param(b"lr") is not None and self.identity.zoneOf(uri) is not None:
            # A strict router before us has put our Record-Route into the Request-URI.
            routes = request.elements(b"Route")
            request.uri = bytes(NameAddr.parse(routes[-1]).uri)
            request.remove(b"Route")
            for route in routes[:-1]:
                request.add(b"Route", route)
        while request.hasRoute:
            top = self._topRoute(request)
            found = self.identity.zoneOf(top) if top is not None else None
            if found is None:
                break
            request.popFirst(b"Route")
            zone = found
        return zone

    @staticmethod
    def _topRoute(request: Request) -> SIPURI | None:
        routes = request.elements(b"Route")
        if not routes:
            return None
        uri = NameAddr.parse(routes[0]).uri
        return uri if isinstance(uri, SIPURI) else None

    def _alongRoute(self, request: Request, zone: str) -> Target:
        """
        The target that the top Route names; before a strict router the Request-URI moves to the end of
        the Routes (RFC 3261 §16.6 step 6).
        """
        top = self._topRoute(request)
        if top is None:
            return Target()
        target = self.role.towards(hopOf(top), zone)
        if top.param(b"lr") is None:
            request.add(b"Route", b"<" + request.uri + b">")
            request.popFirst(b"Route")
            request.uri = bytes(top)
        return target

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

    def newVia(self, association: IAssociation, loopHash: int) -> bytes:
        """
        A Via value with a branch that was never used before (RFC 3261 §16.6 step 8).
        """
        self._count += 1
        return b"%b;branch=%b%x.%08x" % (association.via, self._prefix, self._count, loopHash)

    # ------------------------------------------------------------------ without a transaction

    def ackReceived(self, request: Request, association: IAssociation) -> None:
        """
        The ACK of a 2xx is passed on without any state (RFC 3261 §16.11), as a proxy in the path of the
        dialog must.
        """
        if request.maxForwards == 0:
            return
        zone = self._popOwnRoutes(request) if request.hasRoute else None
        loopHash = self._loopHash(request, association)
        if self._looped(request, loopHash):
            return
        if request.hasRoute:
            target = self._alongRoute(request, zone or association.zone)
        else:
            first = next(self.role.targets(request, association.zone, zone), None)
            if first is None:
                self.counters["strayAcks"] += 1
                return
            target = first
        if target.uri is not None:
            request.uri = target.uri
        request.setMaxForwards(request.maxForwards - 1 if request.maxForwards >= 0 else 70)

        def send(reached: IAssociation) -> None:
            request.pushVia(self.newVia(reached, loopHash))
            reached.send(request.toBytes())

        if target.association is not None:
            send(target.association)
            return
        reached = self.role.reach(target)
        if isinstance(reached, Deferred):
            reached.addCallbacks(send, lambda failure: None)
        else:
            send(reached)

    def responseReceived(self, response: Response, association: IAssociation) -> None:
        """
        A response without a transaction is counted and dropped (RFC 6026 §7.2: it must not go on).
        """
        self.counters["strayResponses"] += 1

    # ------------------------------------------------------------------ answers of our own

    def response(self, request: Request, answer: Answer) -> Response:
        """
        Makes a final response of our own to a request, with a To tag of ours.
        """
        self._count += 1
        tag = b"%b.%x" % (self._tag, self._count)
        return respond(request, answer.status, answer.reason or None, toTag=tag, headers=answer.headers)
