"""
The policy of the server role: whom it serves, what it refuses, where it sends what it accepts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Sized
from dataclasses import replace
from typing import Final

from twisted.internet.defer import Deferred, fail

from sipgrace.errors import TransportError
from sipgrace.interfaces import IAssociation
from sipgrace.lifecycle.gate import Gate
from sipgrace.message.headers import NameAddr
from sipgrace.message.message import Request, Response
from sipgrace.message.uri import SIPURI, parseURI
from sipgrace.proxy.context import ResponseContext
from sipgrace.proxy.dialogs import Dialogs
from sipgrace.proxy.glance import escaped, glance
from sipgrace.proxy.identity import Identity
from sipgrace.proxy.overload import mayOffer
from sipgrace.proxy.own import statusAnswer, unavailable
from sipgrace.proxy.priority import Priorities
from sipgrace.proxy.target import Answer, Hop, Target, hopOf
from sipgrace.server.clients import Clients
from sipgrace.server.routing import Route, RoutingTable
from sipgrace.server.rules import Access, Facts, Rejection, firstRejection
from sipgrace.transport.pool import AssociationPool

#: Outcomes of a branch after which another server may well reach who is called.
_NO_WAY: Final = ("lost", "clogged")


class ServerRole:
    """
    A server's answers to the questions of the proxy core (see L{sipgrace.proxy.seams.Role}).

    @param ledger: what it has accepted; beyond C{most} of it, new requests are refused; beyond a
        tenth more, also those that go before others.
    @ivar dialogs: the calls that go on, where they are known; while that table is full, new INVITEs are
        refused, but for those that go before others.
    @ivar throttles: whether those who speak overload control (RFC 7339) are asked to hold back themselves.
    @param addresses: the SIP addresses of the clients that have one: where they can be reached when they
        have not opened an association, and where callers are sent in redirect mode.
    @param redirects: whether callers are told where to go (302) rather than having calls set up here.
    @param priorities: which calls go before others.
    """

    def __init__(
        self,
        gate: Gate,
        identity: Identity,
        clients: Clients,
        access: Access,
        rejections: Sequence[Rejection],
        table: RoutingTable,
        pool: AssociationPool,
        ledger: Sized,
        most: int,
        addresses: Mapping[str, SIPURI],
        redirects: bool = False,
        priorities: Priorities | None = None,
    ) -> None:
        self.throttles = False
        self.dialogs: Dialogs | None = None
        self._gate = gate
        self._identity = identity
        self._clients = clients
        self._access = access
        self._rejections = rejections
        self._table = table
        self._pool = pool
        self._peers = pool.peers
        self._ledger = ledger
        self._most = most
        self._addresses = addresses
        self._hops = {name: hopOf(uri) for name, uri in addresses.items()}
        self._redirects = redirects
        self._priorities = priorities or Priorities()

    def admit(self, request: Request, association: IAssociation) -> Answer | None:
        """
        Access, then whether we are in service, then the rules. What belongs to a dialog passes whatever
        the state. A call that goes before others is let in for as long as the guard leaves it time, and is
        then like any other.
        """
        if not self._access.permits(association.peerHost):
            return Answer(403)
        if request.toTag:
            return None
        gate = self._gate
        if not gate.open and not (self._priorities.covers(request) and gate.yields()):
            if request.method == b"INVITE":
                gate.inviteCame()
            return unavailable(gate, self._clients.nameAt(association.peerHost) or association.peerHost)
        if gate.slowing and request.method == b"INVITE" and self._turnsAway(request):
            # Throttled, not leaving yet: no Retry-After (RFC 7339 §5.10.1).
            return Answer(503)
        if request.method == b"OPTIONS":
            own = statusAnswer(request, self._identity)
            if own is not None:
                return own
        if (len(self._ledger) >= self._most and self._isFull(request)) or (
            self.dialogs is not None and self.dialogs.full and self._isOneMore(request)
        ):
            # Throttled, not leaving: no Retry-After (RFC 7339 §5.10.1).
            return Answer(503)
        if self._rejections:
            rejection = firstRejection(
                self._rejections, self._origin(request, association), self._destination(request)
            )
            if rejection is not None:
                return Answer(rejection.status, (), rejection.reason)
        if self._redirects or self._table.redirects:
            return self._redirection(request)
        return None

    def _turnsAway(self, request: Request) -> bool:
        # Who speaks overload control has held back its share already.
        if self.throttles and mayOffer(request.get(b"Via") or b""):
            return False
        return not self._priorities.covers(request) and self._gate.turnsAway()

    def _isFull(self, request: Request) -> bool:
        return len(self._ledger) >= self._most + self._most // 10 or not self._priorities.covers(request)

    def _isOneMore(self, request: Request) -> bool:
        return request.method == b"INVITE" and not self._priorities.covers(request)

    def _origin(self, request: Request, association: IAssociation) -> Facts:
        _, user, domain = glance(bytes(NameAddr.parse(request.fromValue).uri))
        host = association.peerHost
        return Facts(host, self._clients.nameAt(host), user, domain)

    def _destination(self, request: Request) -> Facts:
        route = self._table.find(request.uri)
        names = [to for to in route.to if isinstance(to, str)] if route is not None else []
        _, user, domain = glance(request.uri)
        return Facts(domain.decode("ascii", "replace"), names[0] if names else "", user, domain)

    def _redirection(self, request: Request) -> Answer | None:
        """
        RFC 3261 §8.3: where the caller shall go instead, the user part kept where the new URI has none.
        """
        route = self._table.find(request.uri)
        if route is None or not (route.redirect or self._redirects):
            return None
        user = escaped(glance(request.uri)[1])
        contacts = [bytes(uri if uri.user else replace(uri, user=user)) for uri in self._contacts(route)]
        if not contacts:
            return Answer(480)
        return Answer(302, tuple((b"Contact", b"<%b>" % contact) for contact in contacts))

    def _contacts(self, route: Route) -> Iterator[SIPURI]:
        if route.redirect is not None:
            yield route.redirect
        for to in route.to:
            uri = self._addresses.get(to) if isinstance(to, str) else to
            if uri is not None:
                yield uri

    def targets(self, request: Request, zone: str, outZone: str | None) -> Iterator[Target]:
        """
        The routing table's line for the Request-URI, its places one after another. Within a dialog whose
        path leads through us the Request-URI is where the other party is, and so it is in one of which the
        table knows nothing.
        """
        route = None
        if outZone is None or not request.toTag:
            route = self._table.find(request.uri)
        if route is not None:
            if len(route.ways) == 1:
                # As most have it; a generator takes longer.
                return iter((self._way(route.ways[0], zone),))
            return self._ways(route, zone)
        if request.toTag:
            uri = parseURI(request.uri)
            if isinstance(uri, SIPURI) and self._identity.zoneOf(uri) is None:
                return iter((self.towards(hopOf(uri), zone),))
        return iter(())

    def _ways(self, route: Route, zone: str) -> Iterator[Target]:
        for to in route.ways:
            yield self._way(to, zone)

    def _way(self, to: str | Hop, zone: str) -> Target:
        if isinstance(to, str):
            return Target(self._clients.associationTo(to), self._hops.get(to), token=to)
        return self.towards(to, zone)

    def towards(self, hop: Hop, zone: str) -> Target:
        """
        The association that the client at this address has opened, or one that is there already, or else the
        address itself.
        """
        association = self._peers.get(hop)
        if association is None or not association.up:
            association = self._clients.associationFrom(hop.host, hop.transport)
        if association is None:
            association = self._pool.found(hop)
        return Target(association, hop)

    def reach(self, target: Target) -> IAssociation | Deferred[IAssociation]:
        """
        Opens an association to the address of a target, unless there is one.
        """
        if target.hop is None:
            return fail(TransportError(f"{target.token} has opened no association and has no address"))
        return self._pool.reach(*target.hop)

    def answered(self, context: ResponseContext, target: Target) -> None:
        """
        Nothing is kept of it.
        """

    def failed(
        self, context: ResponseContext, target: Target, reason: str, response: Response | None
    ) -> bool:
        """
        The next place is for those that could not be reached or are not in service; an answer of the
        callee is the answer.
        """
        return response is None or response.status == 503

    def exhausted(self, context: ResponseContext) -> Answer | None:
        """
        Where every way on was closed or full rather than silent, 503 lets the client try another server,
        which may have one.
        """
        if context.branches and all(branch.outcome in _NO_WAY for branch in context.branches):
            return Answer(503)
        return None
