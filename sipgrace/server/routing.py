"""
The routing table of a server: from a Request-URI to where it leads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from sipgrace.message.uri import SIPURI
from sipgrace.proxy.glance import glance
from sipgrace.proxy.lookup import Lookup
from sipgrace.proxy.target import Hop, hopOf

#: So many Request-URIs are remembered, with where they lead.
_REMEMBERED: Final = 4096


@dataclass(frozen=True, slots=True)
class Route:
    """
    One line of the table.

    @ivar to: the names of clients, or SIP URIs, to try one after another.
    @ivar redirect: where to send the caller instead (302).
    @ivar ways: the same as C{to}, the next hop in place of each URI.
    """

    to: tuple[str | SIPURI, ...] = ()
    redirect: SIPURI | None = None
    ways: tuple[str | Hop, ...] = field(init=False)

    def __post_init__(self) -> None:
        ways = tuple(to if isinstance(to, str) else hopOf(to) for to in self.to)
        object.__setattr__(self, "ways", ways)


class RoutingTable:
    """
    Finds the most particular line: an exact URI, or the name of a service, before the longest user prefix,
    that before the domain, that before the line for every domain. Each kind is found by dictionary, whatever
    the table's size.

    @ivar redirects: whether any line redirects.
    """

    def __init__(self) -> None:
        self.redirects = False
        self._found: dict[bytes, Route | None] = {}
        self._lookup: Lookup[Route] = Lookup()
        self._domains: dict[bytes, Route] = {}

    def addURI(self, uri: SIPURI, route: Route) -> None:
        """
        A line for one URI, compared by the rules of RFC 3261 §19.1.4.
        """
        self._note(route)
        self._lookup.addURI(uri, route)

    def addService(self, name: bytes, route: Route) -> None:
        """
        A line for a service and its sub-services: C{b"urn:service:sos"}.
        """
        self._note(route)
        self._lookup.addService(name, route)

    def addDomain(self, domain: bytes, route: Route) -> None:
        """
        A line for a domain; C{b"*"} is every domain.
        """
        self._note(route)
        self._domains[domain.lower()] = route

    def addPrefix(self, prefix: bytes, route: Route) -> None:
        """
        A line for all users that begin so: C{b"+4930"}.
        """
        self._note(route)
        self._lookup.addPrefix(prefix, route)

    def _note(self, route: Route) -> None:
        self._found.clear()
        self.redirects = self.redirects or route.redirect is not None

    def find(self, uri: bytes) -> Route | None:
        """
        The line for a Request-URI.
        """
        # Each request of a dialog asks for the same, and so do calls to one place.
        if uri in self._found:
            return self._found[uri]
        glanced = glance(uri)
        route = self._lookup.exactly(uri, glanced) or self._lookup.byPrefix(glanced[1])
        route = route or self._domains.get(glanced[2]) or self._domains.get(b"*")
        if len(self._found) >= _REMEMBERED:
            self._found.clear()
        self._found[uri] = route
        return route
