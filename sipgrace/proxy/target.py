"""
Where a request may go next: what a role says of it, and what became of it.
"""

from __future__ import annotations

from typing import NamedTuple

from sipgrace.interfaces import IAssociation
from sipgrace.message.uri import SIPURI

#: Default ports by transport (RFC 3261 §19.1.2, RFC 4168 §7).
PORTS = {b"UDP": 5060, b"TCP": 5060, b"SCTP": 5060, b"TLS": 5061}


class Hop(NamedTuple):
    """
    A next hop that has still to be reached.

    @ivar transport: a Via transport token: C{b"UDP"}, C{b"TCP"}, C{b"TLS"} or C{b"SCTP"}.
    @ivar host: a host name or an IP address, without brackets.
    @ivar port: the port of the transport.
    """

    transport: bytes
    host: str
    port: int


def hopOf(uri: SIPURI) -> Hop:
    """
    The next hop that a URI names by itself (RFC 3263 §4.1 and §4.2, where there is nothing to look up):
    its C{transport} parameter or UDP (TLS for C{sips}), its C{maddr} parameter or host, its port or the
    transport's default.
    """
    named = uri.param(b"transport")
    transport = named.upper() if named else b"UDP"
    if uri.scheme == b"sips":
        transport = b"TLS"
    host = uri.param(b"maddr") or uri.host
    return Hop(transport, host.decode("ascii", "replace").strip("[]"), uri.port or PORTS.get(transport, 5060))


class Answer(NamedTuple):
    """
    A final response that an element makes itself, yet without what it copies from the request.

    @ivar status: 200 to 699.
    @ivar headers: what it says besides.
    @ivar reason: the reason phrase, or empty for the usual one.
    """

    status: int
    headers: tuple[tuple[bytes, bytes], ...] = ()
    reason: bytes = b""


class Target:
    """
    One place to try for one request.

    @ivar association: where to send it; C{None} when L{hop} has to be reached first.
    @ivar hop: the next hop, where there is no association yet.
    @ivar uri: the Request-URI to put in (RFC 3261 §16.6 step 2), or C{None} to keep it.
    @ivar period: seconds within which a first answer must have come before the next target is tried;
        0 for as long as the transaction itself waits (Timer B or F).
    @ivar token: whatever the role wants to find again when it hears of this target. It stands for the place:
        none is tried twice for one request (RFC 3261 §16.5); C{None} where there is but this one.
    """

    __slots__ = ("association", "hop", "period", "token", "uri")

    def __init__(
        self,
        association: IAssociation | None = None,
        hop: Hop | None = None,
        uri: bytes | None = None,
        period: float = 0.0,
        token: object = None,
    ) -> None:
        self.association = association
        self.hop = hop
        self.uri = uri
        self.period = period
        self.token = token
