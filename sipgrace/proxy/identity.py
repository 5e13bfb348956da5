"""
Which addresses are our own, and what we write into Record-Route.
"""

from __future__ import annotations

from socket import AF_INET6, inet_ntop, inet_pton

from sipgrace.interfaces import IAssociation, IListener
from sipgrace.message.headers import NameAddr
from sipgrace.message.uri import SIPURI
from sipgrace.proxy.target import PORTS, hopOf

#: How many names that are no listener's are remembered, the latest ones: each stands for an association that
#: was opened where nothing listens.
_REMEMBERED = 4096


def _split(via: bytes) -> tuple[bytes, bytes]:
    """
    @param via: the C{via} of an association or a listener.
    @return: transport and sent-by.
    """
    protocol, _, sentBy = via.partition(b" ")
    return protocol.rpartition(b"/")[2], sentBy


def _canonical(host: bytes) -> bytes:
    """
    One spelling for each host.
    """
    if b":" in host:
        try:
            return inet_ntop(AF_INET6, inet_pton(AF_INET6, host.decode("ascii"))).encode("ascii")
        except (OSError, ValueError):
            pass
    return host.lower()


class Identity:
    """
    The addresses under which this element can be reached, each with the side it looks to. One host and port
    may look to different sides by different transports.
    """

    def __init__(self) -> None:
        self._zones: dict[tuple[bytes, int, bytes], str] = {}
        self._anyTransport: dict[tuple[bytes, int], str] = {}
        # Record-Route values as we write them: by Via, and back to the side they stand for.
        self._routes: dict[bytes, bytes] = {}
        self._sides: dict[bytes, str] = {}
        self._passing: dict[bytes, None] = {}

    def addListener(self, listener: IListener, zone: str) -> None:
        """
        We can be reached wherever this listener listens, and under the name that it advertises.
        """
        transport, sentBy = _split(listener.via)
        self._addName(sentBy, transport, zone)
        for host in listener.hosts:
            self._add(host.encode("ascii"), listener.port, transport, zone)
        self._addRoute(listener.via, zone)

    def _addName(self, sentBy: bytes, transport: bytes, zone: str) -> None:
        uri = SIPURI.parse(b"sip:" + sentBy)
        self._add(uri.host, uri.port or PORTS.get(transport, 5060), transport, zone)

    def _add(self, host: bytes, port: int, transport: bytes, zone: str) -> None:
        host = _canonical(host)
        self._zones[host, port, transport] = zone
        self._anyTransport.setdefault((host, port), zone)

    def _addRoute(self, via: bytes, zone: str) -> bytes:
        transport, sentBy = _split(via)
        value = self._routes[via] = b"<sip:%b;transport=%b;lr>" % (sentBy, transport.lower())
        self._sides[value] = zone
        return value

    def zoneOf(self, uri: SIPURI) -> str | None:
        """
        The side on which this URI's host and port are our own, or C{None} when they are not. A URI that names
        no transport may mean any.
        """
        hop = hopOf(uri)
        host = _canonical(uri.host)
        zone = self._zones.get((host, hop.port, hop.transport))
        if zone is None and uri.param(b"transport") is None:
            zone = self._anyTransport.get((host, hop.port))
        return zone

    def zoneOfRoute(self, route: bytes) -> str | None:
        """
        The same for one element of a Route.

        @raise ParseError: where it is none.
        """
        zone = self._sides.get(route)
        if zone is None:
            uri = NameAddr.parse(route).uri
            if isinstance(uri, SIPURI):
                zone = self.zoneOf(uri)
        return zone

    def recordRoute(self, association: IAssociation) -> bytes:
        """
        The Record-Route value by which the elements beyond this association find us again
        (RFC 3261 §16.6 step 4; both sides of us insert their own, RFC 5658 §5). It is a C{sip} URI whatever
        the Request-URI is: between clients and servers it is the operator's network that protects a call.
        """
        via = association.via
        return self._routes.get(via) or self._remember(via, association.zone)

    def _remember(self, via: bytes, zone: str) -> bytes:
        """
        Takes the name of an association that was opened where nothing listens: what comes back by way of it
        is to be known again.
        """
        if len(self._passing) >= _REMEMBERED:
            oldest = next(iter(self._passing))
            del self._passing[oldest]
            del self._sides[self._routes.pop(oldest)]
        self._passing[via] = None
        return self._addRoute(via, zone)
