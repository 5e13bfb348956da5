"""
From the domain of a SIP URI to its servers (RFC 3263, for SCTP with RFC 4168 §6): NAPTR says over which
transport, SRV says which hosts in which order, A and AAAA say where those are.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from socket import AF_INET6, inet_ntop
from typing import Any, Final

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.udp import Port
from twisted.names import dns
from twisted.names.client import Resolver
from twisted.names.error import AuthoritativeDomainError, DNSNameError, DomainError, ResolverError
from twisted.python import log

from sipgrace.errors import TransportError
from sipgrace.message.uri import SIPURI
from sipgrace.transport.address import isLiteral

__all__ = ["Located", "Locator", "Place", "resolverOf"]

#: The NAPTR services that lead to associations (RFC 3263 §4.1, RFC 4168 §6), with their transports.
SERVICES: Final = {b"SIP+D2S": b"SCTP", b"SIP+D2T": b"TCP", b"SIPS+D2T": b"TLS"}

#: What SRV records of a transport are called (RFC 3263 §4.2), those that are tried first first.
SRV: Final = {b"SCTP": b"_sip._sctp.", b"TCP": b"_sip._tcp.", b"TLS": b"_sips._tcp."}

#: Ports where neither URI nor SRV says one (RFC 3261 §19.1.2).
PORTS: Final = {b"SCTP": 5060, b"TCP": 5060, b"TLS": 5061}

#: Seconds that addresses are good for that need no name.
FOREVER: Final = 86400.0

#: For how many seconds an answer is good of which a part is missing.
SOON: Final = 5.0

#: The most records of one kind that are followed: what is beyond is nobody's list of servers.
MOST: Final = 64


@dataclass(frozen=True, slots=True)
class Place:
    """
    One server.

    @ivar transport: C{b"SCTP"}, C{b"TCP"} or C{b"TLS"}.
    @ivar target: its host name, without a dot at the end; or its address, where that was given.
    @ivar port: the port of the transport.
    @ivar hosts: its addresses in the order in which they are to be tried; at least one.
    @ivar priority: as in SRV: lower ones first.
    @ivar weight: as in SRV: its share among those of the same priority; 1 where there is no SRV.
    """

    transport: bytes
    target: str
    port: int
    hosts: tuple[str, ...]
    priority: int = 0
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Located:
    """
    What is known of a domain.

    @ivar places: its servers by priority, then by weight, the greater first.
    @ivar seconds: for how long that is good: the least TTL of all records it follows from; some seconds at
        most where something is missing.
    @ivar missing: those hosts among them for which DNS does not answer, each with what is wrong.
    """

    places: tuple[Place, ...]
    seconds: float
    missing: tuple[tuple[str, str], ...] = ()


class Locator:
    """
    Looks servers up.

    @ivar transports: those that may be used, the preferred ones first.
    """

    def __init__(self, resolver: Any, transports: Sequence[bytes] = (b"SCTP", b"TCP", b"TLS")) -> None:
        """
        @param resolver: a C{twisted.internet.interfaces.IResolver}, as in C{twisted.names}.
        """
        self._resolver = resolver
        self.transports = tuple(transports)

    def locate(self, uri: SIPURI) -> Deferred[Located]:
        """
        @param uri: C{sip:example.org}, or C{sips:}; a C{transport} parameter, a port or a C{maddr} say what
            need not be looked up.
        @return: fails with L{TransportError}, which says what was looked for.
        """
        return Deferred.fromCoroutine(self._locate(uri))

    async def _locate(self, uri: SIPURI) -> Located:
        host = (uri.param(b"maddr") or uri.host).decode("ascii", "replace").strip("[]")
        named = (uri.param(b"transport") or b"").upper()
        if uri.scheme == b"sips":
            # RFC 3261 §26.2.2: TLS, whatever the parameter says of what is below.
            named = b"TLS"
        if named and named not in self.transports:
            raise TransportError(f"{_text(uri)}: no associations over {named.decode('ascii', 'replace')}")
        look = _Look(self._resolver)
        if isLiteral(host):
            transport = named or self.transports[0]
            return Located((Place(transport, host, uri.port or PORTS[transport], (host,)),), FOREVER)
        name = host.rstrip(".").encode("ascii", "replace").lower()
        if uri.port is None:
            places = await self._byService(look, name, named)
            if places:
                places.sort(key=lambda place: (place.priority, -place.weight))
                return Located(tuple(places), look.seconds, tuple(look.missing.items()))
            if look.unavailable:
                raise TransportError(f"{_text(uri)}: DNS says that there is no such service")
        # Without SRV, what the URI says is all there is to say (RFC 3263 §4.2).
        transport = named or self.transports[0]
        hosts = await look.addresses(name)
        if not hosts:
            raise TransportError(f"{_text(uri)}: DNS knows no server of it, and no address")
        port = uri.port or PORTS[transport]
        return Located((Place(transport, name.decode("ascii"), port, hosts),), look.seconds)

    async def _byService(self, look: _Look, name: bytes, named: bytes) -> list[Place]:
        """
        RFC 3263 §4.1: NAPTR where no transport is given, then SRV; SRV for each transport where there is no
        NAPTR.
        """
        if named:
            return await look.services(SRV[named] + name, named)
        for record in await look.pointers(name):
            transport = SERVICES[record.service.string.upper()]
            if transport in self.transports:
                places = await look.services(record.replacement.name, transport)
                if places:
                    return places
        for transport in self.transports:
            if transport != b"TLS":
                # A sip URI does not ask for TLS, and only a NAPTR can say that it is there.
                places = await look.services(SRV[transport] + name, transport)
                if places:
                    return places
        return []


class _Look:
    """
    The look-ups for one URI.

    @ivar seconds: the least TTL of what was found.
    @ivar missing: what is wrong with hosts for which DNS does not answer.
    @ivar unavailable: whether a service is decidedly not there (RFC 2782): then no address stands for it.
    """

    def __init__(self, resolver: Any) -> None:
        self._resolver = resolver
        self.seconds = FOREVER
        self.missing: dict[str, str] = {}
        self.unavailable = False

    async def pointers(self, name: bytes) -> list[Any]:
        """
        The NAPTR records that lead to SRV records of a service we know, in their order.
        """
        found = [
            record
            for record in await self._records(name, dns.NAPTR)
            if record.flags.string.upper() == b"S" and record.service.string.upper() in SERVICES
        ]
        return sorted(found, key=lambda record: (record.order, record.preference))

    async def services(self, name: bytes, transport: bytes) -> list[Place]:
        """
        The servers that the SRV records of a name lead to. Those that have no address are left out, and those
        for which DNS does not answer, unless it does for none.
        """
        places = []
        failed = None
        for record in await self._records(name, dns.SRV):
            target = record.target.name.rstrip(b".").lower()
            if not target:
                self.unavailable = True
                continue
            text = target.decode("ascii", "replace")
            try:
                hosts = await self.addresses(target)
            except TransportError as error:
                failed = error
                self.missing[text] = str(error)
                self.seconds = min(self.seconds, SOON)
                continue
            if hosts:
                places.append(Place(transport, text, record.port, hosts, record.priority, record.weight))
        if failed is not None and not places:
            raise failed
        return places

    async def addresses(self, name: bytes) -> tuple[str, ...]:
        """
        The addresses of a host, those of IPv4 first.
        """
        found = [record.dottedQuad() for record in await self._records(name, dns.A)]
        for record in await self._records(name, dns.AAAA):
            found.append(inet_ntop(AF_INET6, record.address))
        return tuple(dict.fromkeys(found))

    async def _records(self, name: bytes, kind: int) -> list[Any]:
        """
        The records of one kind that there are, none where there is no such name.
        """
        try:
            answers, _, _ = await self._resolver.query(dns.Query(name, kind, dns.IN))
        except (DNSNameError, AuthoritativeDomainError):
            return []
        except (DomainError, ResolverError, TimeoutError, OSError) as error:
            what = f"{name.decode('ascii', 'replace')} {dns.QUERY_TYPES.get(kind, kind)}"
            # A DomainError would print the whole answer.
            why = str(error) if isinstance(error, OSError) else type(error).__name__
            raise TransportError(f"DNS does not answer for {what}: {why}") from error
        found = [answer for answer in answers if answer.type == kind][:MOST]
        for answer in answers:
            self.seconds = min(self.seconds, float(answer.ttl))
        return [answer.payload for answer in found]


def _text(uri: SIPURI) -> str:
    return bytes(uri).decode("ascii", "replace")


def resolverOf(servers: Sequence[tuple[str, int]], reactor: Any) -> Any:
    """
    @param servers: addresses and ports of DNS servers; those of the system's C{/etc/resolv.conf} where there
        are none.
    @return: a C{twisted.internet.interfaces.IResolver}, which keeps nothing: what is old is asked again.
    """
    resolv = None if servers else "/etc/resolv.conf"
    quiet = _Quiet(reactor)
    return Resolver(resolv=resolv, servers=list(servers) or None, timeout=(1, 2), reactor=quiet)


#: Twisted logs four lines about each UDP port that it opens and closes, which it does for each question.
_DEBUG: Final = {"logLevel": logging.DEBUG}


class _QuietPort(Port):
    def startListening(self) -> None:
        log.callWithContext(_DEBUG, super().startListening)

    def connectionLost(self, reason: Any = None) -> None:
        log.callWithContext(_DEBUG, super().connectionLost, reason)


class _Quiet:
    """
    A reactor whose UDP ports say what they do for debugging alone.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenUDP(
        self, port: int, protocol: Any, interface: str = "", maxPacketSize: int = 8192
    ) -> IListeningPort:
        """
        See C{IReactorUDP}.
        """
        opened = _QuietPort(port, protocol, interface, maxPacketSize, self._reactor)
        opened.startListening()
        return opened
