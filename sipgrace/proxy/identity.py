"""
Which addresses are our own, and what we write into Record-Route.
"""

from __future__ import annotations

from sipgrace.interfaces import IAssociation, IListener
from sipgrace.message.uri import SIPURI
from sipgrace.proxy.target import PORTS, hopOf


def _sentBy(via: bytes) -> tuple[bytes, bytes]:
    """
    Transport and sent-by of an association's C{via} attribute.
    """
    protocol, _, sentBy = via.partition(b" ")
    return protocol.rpartition(b"/")[2], sentBy


class Identity:
    """
    The addresses under which this element can be reached, each with the side it looks to.
    """

    def __init__(self) -> None:
        self._zones: dict[tuple[bytes, int], str] = {}
        self._routes: dict[bytes, bytes] = {}

    def addListener(self, listener: IListener, zone: str) -> None:
        """
        We can be reached where this listener listens, and under the name that it advertises.
        """
        transport, sentBy = _sentBy(listener.via)
        self.addName(sentBy, transport, zone)
        host = listener.host.encode("ascii")
        if b":" in host:
            host = b"[" + host + b"]"
        self._zones[(host.lower(), listener.port)] = zone

    def addName(self, hostPort: bytes, transport: bytes, zone: str) -> None:
        """
        We can be reached as C{host[:port]}.
        """
        uri = SIPURI.parse(b"sip:" + hostPort)
        self._zones[(uri.host.lower(), uri.port or PORTS.get(transport, 5060))] = zone

    def zoneOf(self, uri: SIPURI) -> str | None:
        """
        The side on which this URI's host and port are our own, or C{None} when they are not.
        """
        return self._zones.get((uri.host.lower(), uri.port or hopOf(uri).port))

    def recordRoute(self, association: IAssociation) -> bytes:
        """
        The Record-Route value by which the elements beyond this association find us again
        (RFC 3261 §16.6 step 4; both sides of us insert their own, RFC 5658 §5).
        """
        via = association.via
        value = self._routes.get(via)
        if value is None:
            transport, sentBy = _sentBy(via)
            value = b"<sip:%b;transport=%b;lr>" % (sentBy, transport.lower())
            self._routes[via] = value
        return value
