"""
The policy of the client role: calls of its users go to one server after another, calls for its users go
to where the users are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import ceil

from twisted.internet.defer import Deferred, fail

from sipgrace.client.activelist import ActiveList
from sipgrace.client.countdown import retryAfterOf
from sipgrace.client.link import ServerLink
from sipgrace.client.reroutes import Reroutes
from sipgrace.client.tdm import ITDMRoute
from sipgrace.client.users import Users
from sipgrace.errors import TransportError
from sipgrace.interfaces import IAssociation
from sipgrace.lifecycle.gate import Gate
from sipgrace.message.message import Request, Response
from sipgrace.message.uri import SIPURI, parseURI
from sipgrace.proxy.context import ResponseContext
from sipgrace.proxy.identity import Identity
from sipgrace.proxy.own import statusAnswer, unavailable
from sipgrace.proxy.target import Answer, Hop, Target, hopOf
from sipgrace.transport.pool import AssociationPool

#: The side towards clients and servers, and the side towards users.
NETWORK = "network"
INTERFACE = "interface"


class ClientRole:
    """
    A client's answers to the questions of the proxy core (see L{sipgrace.proxy.seams.Role}).

    @param links: every configured server, whether or not it is active.
    @param pools: the associations to other elements, one pool a side.
    @param period: seconds within which a server must give its first answer to an INVITE.
    @param reroutes: keeps what calls had to be tried elsewhere.
    """

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

    def admit(self, request: Request, association: IAssociation) -> Answer | None:
        """
        A client that is leaving takes no new calls; all else goes on.
        """
        if request.toTag:
            return None
        if not self._gate.open:
            return unavailable(self._gate, association.peerHost)
        return statusAnswer(request, self._identity)

    def targets(self, request: Request, zone: str, outZone: str | None) -> Iterator[Target]:
        """
        From the network, the user that the Request-URI means; within a dialog, where it leads when it is
        not to us; from a user, the servers of the active list, and the TDM route when they have all failed.
        """
        contact = self._users.find(request.uri) if zone == NETWORK else None
        if contact is not None:
            yield Target(hop=hopOf(contact), uri=bytes(contact), token=INTERFACE)
            return
        uri = parseURI(request.uri) if request.toTag else None
        if isinstance(uri, SIPURI) and self._identity.zoneOf(uri) is None:
            yield self.towards(hopOf(uri), outZone or zone)
        elif zone == INTERFACE:
            yield from self._servers(request)

    def _servers(self, request: Request) -> Iterator[Target]:
        tried = []
        for link in self._active.attempts():
            tried.append(link.name)
            yield Target(link.association, period=self._period, token=link)
        if self._tdm is not None and request.method == b"INVITE":
            target = self._tdm.target(request, tried)
            if isinstance(target, Target):
                yield target

    def towards(self, hop: Hop, zone: str) -> Target:
        """
        The next hop itself, to be looked for on that side.
        """
        return Target(hop=hop, token=zone)

    def reach(self, target: Target) -> IAssociation | Deferred[IAssociation]:
        """
        Finds or opens an association on the side that the target is on: users on the interface, all else
        in the network.
        """
        if target.hop is None:
            return fail(TransportError("the server's association has gone"))
        return self._pools(INTERFACE if target.token == INTERFACE else NETWORK).reach(*target.hop)

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
        call; any other answer is the callee's. Where the target was no server there is no other.
        """
        link = target.token
        if not isinstance(link, ServerLink):
            return False
        if response is None:
            if reason == "timeout":
                if not context.isInvite:
                    # It is the far end that is silent: a server says nothing in its place (RFC 4320 §4.2).
                    return False
                link.unanswered()
        elif response.status == 503:
            link.unavailable(retryAfterOf(response))
        else:
            return False
        if not context.cancelled and context.request is not None:
            self._reroutes.add(context.request.callId, link.name, reason)
        return True

    def exhausted(self, context: ResponseContext) -> Answer | None:
        """
        When no server could take a call, users are told when the first will be back, as far as that is
        known (RFC 3261 §21.5.4).
        """
        if context.zone == NETWORK or context.inDialog:
            return None
        if context.branches and not isinstance(context.branches[-1].target.token, ServerLink):
            # The TDM route was tried and has failed by itself.
            return None
        waits = [link.countdown for link in self._links.values()]
        known = min((wait for wait in waits if wait > 0), default=0.0)
        if len(self._active) or not known:
            return Answer(503)
        return Answer(503, ((b"Retry-After", b"%d" % ceil(known)),))
