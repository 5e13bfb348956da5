"""
The policy of the client role: calls of its users go to one server after another, calls for its users go
to where the users are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import ceil
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from sipgrace.client.activelist import ActiveList
from sipgrace.client.countdown import retryAfterOf
from sipgrace.client.link import ServerLink
from sipgrace.client.reroutes import Reroutes
from sipgrace.client.tdm import ITDMRoute
from sipgrace.client.users import Contact, Users
from sipgrace.errors import ParseError, TransportError
from sipgrace.interfaces import IAssociation
from sipgrace.lifecycle.availability import scheduledReturn
from sipgrace.lifecycle.gate import Gate
from sipgrace.message.headers import NameAddr
from sipgrace.message.message import Request, Response
from sipgrace.message.uri import SIPURI, parseURI
from sipgrace.proxy.context import ResponseContext
from sipgrace.proxy.identity import Identity
from sipgrace.proxy.own import statusAnswer, unavailable
from sipgrace.proxy.priority import Priorities
from sipgrace.proxy.target import Answer, Hop, Target, hopOf
from sipgrace.transport.pool import AssociationPool

#: The side towards clients and servers, and the side towards users.
NETWORK = "network"
INTERFACE = "interface"


class _Gone(NamedTuple):
    """
    The token of a place on the path of a call where a server of ours is no more.
    """

    link: ServerLink


class ClientRole:
    """
    A client's answers to the questions of the proxy core (see L{sipgrace.proxy.seams.Role}).

    @param links: every configured server, whether or not it is active.
    @param pools: the associations to other elements, one pool a side.
    @param period: seconds within which a server must give its first answer to an INVITE.
    @param reroutes: keeps what calls had to be tried elsewhere.
    @param priorities: which calls go before others.
    @ivar unserved: how many calls were answered 503 because there was no server, or none took them.
    """

    log = Logger()

    def __init__(
        self,
        gate: Gate,
        identity: Identity,
        active: ActiveList[ServerLink],
        links: Mapping[str, ServerLink],
        users: Users,
        tdm: ITDMRoute | None,
        pools: Callable[[str], AssociationPool],
        period: float,
        reroutes: Reroutes,
        priorities: Priorities | None = None,
    ) -> None:
        self._gate = gate
        self._identity = identity
        self._active = active
        self._links = links
        self._users = users
        self._tdm = tdm
        self._pools = pools
        self._period = period
        self._reroutes = reroutes
        self._priorities = priorities or Priorities()
        self.toTDM = 0
        self.unserved = 0

    def admit(self, request: Request, association: IAssociation) -> Answer | None:
        """
        A client that is leaving takes no new calls, but for those that go before others and which it can
        still finish; all else goes on.
        """
        if request.toTag:
            return None
        gate = self._gate
        if gate.slowing and request.method == b"INVITE" and self._turnsAway(request):
            return Answer(503)
        if not gate.open and not (self._priorities.covers(request) and gate.yields()):
            return unavailable(gate, association.peerHost)
        return statusAnswer(request, self._identity)

    def _turnsAway(self, request: Request) -> bool:
        return not self._priorities.covers(request) and self._gate.turnsAway()

    def targets(self, request: Request, zone: str, outZone: str | None) -> Iterator[Target]:
        """
        Within a dialog whose path leads through us, where the Request-URI says the other party is. Else, from
        the network, the user that the Request-URI means; from a user, the servers of the active list; when
        they have all failed, those that are leaving, should this call go before others; then the TDM route.
        """
        if outZone is not None and request.toTag:
            target = self._remote(request, outZone)
            if target is not None:
                yield target
                return
        if zone == INTERFACE:
            yield from self._servers(request)
            return
        places = self._users.places(request.uri)
        for place in places:
            # A telephone that has gone without a word must not keep the call from the next one.
            period = self._period if place is not places[-1] else 0.0
            token = place if len(places) > 1 else INTERFACE
            yield Target(place.association, place.hop, place.uri, period, token)
        if not places and request.toTag:
            # The dialog's parties know nothing of Record-Route; who is here is a user.
            target = self._remote(request, INTERFACE)
            if target is not None:
                yield target

    def _remote(self, request: Request, zone: str) -> Target | None:
        """
        Where the Request-URI leads, unless it is to us.
        """
        uri = parseURI(request.uri)
        if isinstance(uri, SIPURI) and self._identity.zoneOf(uri) is None:
            target = self.towards(hopOf(uri), zone)
            if zone == INTERFACE:
                target.association = self._users.way(uri)
            return target
        return None

    def _servers(self, request: Request) -> Iterator[Target]:
        isInvite = request.method == b"INVITE"
        tried = []
        # It is INVITEs that take turns; the pointer marks the server that had the last one.
        for link in self._active.attempts() if isInvite else self._active.candidates():
            if isInvite and link.throttle.loss and not link.throttle.admits(self._priorities.covers(request)):
                continue
            tried.append(link.name)
            yield Target(link.association, period=self._period, token=link)
        if not request.toTag and self._priorities.covers(request):
            for link in self._links.values():
                if link.leaving and link.name not in tried:
                    tried.append(link.name)
                    yield Target(link.association, period=self._period, token=link)
        if self._tdm is not None and isInvite and not request.toTag:
            found = self._lastResort(self._tdm, request, tried)
            self.toTDM += found is not None
            if isinstance(found, Deferred):
                yield Target(token=found)
            elif found is not None:
                yield found

    def _lastResort(
        self, tdm: ITDMRoute, request: Request, tried: Sequence[str]
    ) -> Target | Deferred[Target | None] | None:
        try:
            return tdm.target(request, tried)
        except Exception:
            # It is somebody else's code, and the caller waits for an answer.
            self.log.failure("the TDM route ({route}) failed", route=tdm.description)
            return None

    def towards(self, hop: Hop, zone: str) -> Target:
        """
        The next hop itself, to be looked for on that side. One that is a server of ours, which has written
        itself into the dialog's path, is there at the other end of its link.
        """
        link = self._serverAt(hop) if zone == NETWORK else None
        if link is None:
            return Target(hop=hop, token=zone)
        if link.association is None or not link.association.up:
            return Target(hop=hop, token=_Gone(link))
        return Target(link.association, hop, token=zone)

    def reach(self, target: Target) -> IAssociation | Deferred[IAssociation]:
        """
        Finds or opens an association on the side that the target is on: users on the interface, all else
        in the network. Over UDP, the interface is the way out where the network has no listener for it.
        """
        if isinstance(target.token, Deferred):
            found: Deferred[Target | None] = target.token
            return found.addCallback(self._reachFound, target)
        if target.hop is None:
            return fail(TransportError("the server's association has gone"))
        if target.token == INTERFACE or isinstance(target.token, Contact):
            return self._pools(INTERFACE).reach(*target.hop)
        if isinstance(target.token, _Gone) and target.token.link.countdown:
            return fail(TransportError("the server has said that it is away"))
        hop = target.hop
        reached = self._pools(NETWORK).reach(*hop)
        if hop.transport == b"UDP" and isinstance(reached, Deferred):
            return reached.addErrback(self._byInterface, hop)
        return reached

    def _byInterface(self, failure: Failure, hop: Hop) -> Any:
        return self._pools(INTERFACE).reach(*hop)

    def _reachFound(self, found: Target | None, target: Target) -> Any:
        """
        Goes on with what the TDM route has found after a while.
        """
        if found is None:
            raise TransportError("the TDM route knows no way out")
        target.uri = found.uri
        return found.association or self.reach(found)

    def answered(self, context: ResponseContext, target: Target) -> None:
        """
        A server that answers is well.
        """
        if isinstance(target.token, ServerLink):
            target.token.answered()

    def failed(
        self, context: ResponseContext, target: Target, reason: str, response: Response | None
    ) -> bool:
        """
        A server that is silent, lost or not in service is told to its link, and the next one gets the
        call; so does the one that a server names instead of itself. Any other answer is the callee's. Where
        the target was no server there is no other, but for a user who is registered in several places.
        """
        link = target.token
        if isinstance(link, _Gone):
            return reason == "lost" and self._past(context, link.link)
        if isinstance(link, Contact):
            return response is None or response.status >= 400
        if not isinstance(link, ServerLink):
            return False
        if response is None:
            if reason == "timeout":
                if not context.isInvite:
                    # It is the far end that is silent: a server says nothing in its place (RFC 4320 §4.2).
                    return False
                link.unanswered()
        elif response.status == 503:
            retryAfter = retryAfterOf(response)
            if retryAfter is not None and context.request is not None:
                link.deaf = link.deaf or self._priorities.covers(context.request)
            link.unavailable(retryAfter, scheduledReturn(response))
        elif response.status < 400:
            return self._redirected(context, response)
        else:
            return False
        if not context.cancelled and context.request is not None:
            self._reroutes.add(context.request.callId, link.name, reason)
        return True

    def _past(self, context: ResponseContext, gone: ServerLink) -> bool:
        """
        A server was to stay in the path of a call, and has left: what is asked within the call goes past it,
        so that hanging up is heard. Not so a re-INVITE, whose ACK would not find the way.

        @return: whether there is a way.
        """
        request = context.request
        if request is None or context.isInvite or not context.inDialog:
            return False
        try:
            for route in request.elements(b"Route"):
                uri = NameAddr.parse(route).uri
                if not isinstance(uri, SIPURI) or uri.param(b"lr") is None:
                    return False
                hop = hopOf(uri)
                if self._serverAt(hop) is not gone:
                    context.tryFirst((self.towards(hop, NETWORK),))
                    return True
                request.popFirst(b"Route")
        except ParseError:
            return False
        target = self._remote(request, NETWORK)
        if target is None:
            return False
        context.tryFirst((target,))
        return True

    def _redirected(self, context: ResponseContext, response: Response) -> bool:
        """
        A server in redirect mode says which other server to ask: that one is asked next, for the same
        Request-URI. Any other redirection is the user's to follow.

        @return: whether it named a server.
        """
        links = []
        for contact in response.elements(b"Contact"):
            try:
                uri = NameAddr.parse(contact).uri
            except ParseError:
                continue
            link = self._serverAt(hopOf(uri)) if isinstance(uri, SIPURI) else None
            if link is not None:
                links.append(link)
        context.tryFirst(self._named(links))
        return bool(links)

    def _named(self, links: Iterable[ServerLink]) -> Iterator[Target]:
        for link in links:
            if link in self._active:
                self._active.used(link)
                yield Target(link.association, period=self._period, token=link)

    def _serverAt(self, hop: Hop) -> ServerLink | None:
        """
        The server at a next hop, known by its name in the configuration or by its address.
        """
        link = self._links.get(hop.host)
        if link is not None:
            return link
        for link in self._links.values():
            if link.isAt(*hop):
                return link
        return None

    def exhausted(self, context: ResponseContext) -> Answer | None:
        """
        When no server could take a call, users are told when the first will be back, as far as that is
        known (RFC 3261 §21.5.4).
        """
        if context.branches and isinstance(context.branches[-1].target.token, _Gone):
            # Not 408, which would end the call (§12.2.1.2).
            return Answer(500)
        if context.zone == NETWORK or context.inDialog:
            if context.branches or context.inDialog or context.request is None:
                return None
            # RFC 3261 §21.4.18.
            return Answer(480) if self._users.isAway(context.request.uri) else None
        if context.branches and not isinstance(context.branches[-1].target.token, ServerLink):
            # The TDM route was tried and has failed by itself, or it was no call for servers.
            return None
        self.unserved += context.isInvite
        waits = {link: _wait(link) for link in self._links.values() if not link.skipped}
        known = min((wait for wait in waits.values() if wait > 0), default=0.0)
        if not known or any(not waits[link] for link in self._active):
            return Answer(503)
        return Answer(503, ((b"Retry-After", b"%d" % ceil(known)),))


def _wait(link: ServerLink) -> float:
    """
    For how many seconds a server has asked to be sent nothing at all, in whichever way; 0.0 where it has not.
    """
    return max(link.countdown, link.throttle.left if link.throttle.loss == 100 else 0.0)
