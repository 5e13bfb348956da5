"""
The way out when no server answers: a route into another network, behind a seam.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface, implementer

from sipgrace.errors import ConfigError, ParseError
from sipgrace.message.message import Request
from sipgrace.message.uri import SIPURI
from sipgrace.proxy.target import Target, hopOf


class ITDMRoute(Interface):
    """
    Finds the target of last resort for an INVITE that no server took.
    """

    description: str = Attribute("One phrase for logs and status displays.")

    def target(request: Request, tried: Sequence[str]) -> Target | Deferred[Target | None] | None:
        """
        @param request: the INVITE as it came from the user; not to be changed.
        @param tried: the names of the servers that were tried for it, in order; empty when none was
            active.
        @return: where to send it: a target with a C{hop} (or an association), and a C{uri} where the
            Request-URI is to be replaced; C{None} when there is no way out for this one; a C{Deferred} of
            either where finding out takes time.
        """


@implementer(ITDMRoute)
class SIPGateway:
    """
    A gateway that speaks SIP: every INVITE goes there with its Request-URI as it is.
    """

    def __init__(self, address: str, period: float = 0.0) -> None:
        """
        @param address: C{"sip:gw.example:5060;transport=udp"}.
        @param period: seconds within which it must give a first answer; 0 for as long as the transaction
            waits.
        @raise ConfigError: for an address that is no SIP URI.
        """
        try:
            uri = SIPURI.parse(address.encode("utf-8"))
        except ParseError as error:
            raise ConfigError(
                f"TDM route: expected a SIP URI such as sip:gw.example:5060;transport=udp, "
                f"not {address!r}: {error}"
            ) from None
        self._hop = hopOf(uri)
        self._period = period
        self.description = f"SIP gateway {address}"

    def target(self, request: Request, tried: Sequence[str]) -> Target:
        """
        See L{ITDMRoute.target}.
        """
        return Target(hop=self._hop, period=self._period, token=self)
