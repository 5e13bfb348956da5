"""
What a request must be before it is sent on (RFC 3261 §16.3).
"""

from __future__ import annotations

from typing import Final

from sipgrace.message.message import Request
from sipgrace.message.names import codeOf
from sipgrace.proxy.target import Answer

#: What we let pass in a Request-URI.
_SCHEMES: Final = frozenset((b"sip", b"sips", b"tel"))

#: Besides: services by their names (RFC 5031), whose places the Route says, or the routing table.
_SERVICE: Final = b"urn:service:"

#: The most branches that all elements after us may have at a time together for one request (RFC 5393 §5.3.3).
#: We try one place after another, and so take none of them for ourselves.
_BREADTH: Final = 60
_MAX_BREADTH: Final = codeOf(b"Max-Breadth")
_BREADTH_VALUE: Final = b"%d" % _BREADTH
_BREADTH_LINE: Final = b"Max-Breadth: " + _BREADTH_VALUE


def check(request: Request) -> Answer | None:
    """
    Scheme, Max-Forwards and Proxy-Require (steps 2, 3 and 5). An OPTIONS that may go no further passes: the
    role may be the one to answer it.
    """
    uri = request.uri
    if (
        not uri.startswith(b"sip:")
        and uri.partition(b":")[0].lower() not in _SCHEMES
        and uri[: len(_SERVICE)].lower() != _SERVICE
    ):
        return Answer(416)
    if request.maxForwards == 0 and request.method != b"OPTIONS":
        return Answer(483)
    if request.has(b"Proxy-Require"):
        # We have none of the extensions that one could ask for.
        return Answer(420, ((b"Unsupported", b", ".join(request.elements(b"Proxy-Require"))),))
    return None


def limitBreadth(request: Request) -> Answer | None:
    """
    Sees to it that the request says how far it may be forked (RFC 5393 §5.3.3); by a number of ours where its
    own is none or too great.
    """
    if not request.has(b"Max-Breadth"):
        request.addLine(_MAX_BREADTH, _BREADTH_LINE)
        return None
    value = request.get(b"Max-Breadth") or b""
    number = int(value) if value.isdigit() and len(value) < 4 else _BREADTH + 1
    if number == 0:
        return Answer(440)
    if number > _BREADTH:
        request.set(b"Max-Breadth", _BREADTH_VALUE)
    return None
