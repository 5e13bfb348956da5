"""
Following the Route of a request (RFC 3261 §16.4, §16.6 step 6, §16.12).
"""

from __future__ import annotations

from dataclasses import replace

from sipgrace.errors import ParseError
from sipgrace.message.headers import NameAddr
from sipgrace.message.message import Request
from sipgrace.message.uri import SIPURI, parseURI
from sipgrace.proxy.identity import Identity
from sipgrace.proxy.target import Hop, hopOf


def takeOwnRoutes(request: Request, identity: Identity) -> str | None:
    """
    Takes off the Routes that name us.

    @return: the side that the last of them names: where we wrote two Record-Routes, one a side, this is the
        side to go on to. C{None} where none named us.
    @raise ParseError: for a malformed Route, or Request-URI.
    """
    if b";lr" in request.uri.lower():
        _restoreURI(request, identity)
    zone = None
    for route in request.elements(b"Route"):
        found = identity.zoneOfRoute(route)
        if found is None:
            break
        request.popFirst(b"Route")
        zone = found
    return zone


def _restoreURI(request: Request, identity: Identity) -> None:
    """
    Undoes what a strict router before us has done: it put our Record-Route into the Request-URI, and the
    Request-URI behind the Routes.
    """
    uri = parseURI(request.uri)
    if not isinstance(uri, SIPURI) or uri.param(b"lr") is None or identity.zoneOf(uri) is None:
        return
    routes = request.elements(b"Route")
    request.uri = bytes(NameAddr.parse(routes.pop()).uri)
    request.remove(b"Route")
    for route in routes:
        request.add(b"Route", route)


def hopAlongRoute(request: Request) -> Hop:
    """
    The next hop that the top Route names. Before a strict router the Request-URI moves behind the Routes, and
    the top one into its place.

    @raise ParseError: where it is no SIP URI.
    """
    top = NameAddr.parse(request.elements(b"Route")[0]).uri
    if not isinstance(top, SIPURI):
        raise ParseError("Route that is no SIP URI")
    if top.param(b"lr") is None:
        request.add(b"Route", b"<" + request.uri + b">")
        request.popFirst(b"Route")
        request.uri = bytes(replace(top, headers=()))
    return hopOf(top)


def along(target: bytes, routes: list[bytes]) -> tuple[bytes, list[bytes], Hop]:
    """
    The way of a request within a dialog (RFC 3261 §12.2.1.1).

    @param target: where the other side is, as a URI.
    @param routes: the Routes that lead there, nearest first.
    @return: Request-URI and Routes of the request, and the next hop.
    @raise ParseError: where that is no SIP URI.
    """
    first = NameAddr.parse(routes[0]).uri if routes else parseURI(target)
    if not isinstance(first, SIPURI):
        raise ParseError("Route that is no SIP URI")
    if routes and first.param(b"lr") is None:
        return bytes(replace(first, headers=())), [*routes[1:], b"<" + target + b">"], hopOf(first)
    return target, routes, hopOf(first)


def takeOwnAddress(request: Request, identity: Identity) -> Hop | None:
    """
    Obeys the C{maddr} of a Request-URI (RFC 3261 §16.4, §16.5): one that is ours is taken off, with port and
    transport, for we are where it led.

    @return: the next hop where it is not ours; C{None} where there is none (any more).
    """
    text = request.uri
    if 0x3B not in text or b";maddr=" not in text.lower():
        return None
    uri = parseURI(request.uri)
    address = uri.param(b"maddr") if isinstance(uri, SIPURI) else None
    if not isinstance(uri, SIPURI) or not address:
        return None
    if identity.zoneOf(replace(uri, host=address.strip(b"[]"))) is None:
        return hopOf(uri)
    params = tuple(pair for pair in uri.params if pair[0].lower() not in (b"maddr", b"transport"))
    request.uri = bytes(replace(uri, port=None, params=params))
    return None
