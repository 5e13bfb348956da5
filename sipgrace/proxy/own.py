"""
The answers that servers and clients give alike for themselves.
"""

from __future__ import annotations

from typing import Protocol

from sipgrace.lifecycle.availability import Announcing, Availability, commentOf
from sipgrace.message.message import Request
from sipgrace.message.uri import SIPURI, parseURI
from sipgrace.proxy.identity import Identity
from sipgrace.proxy.target import Answer

#: What may be sent to us or through us.
ALLOW = b"INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO, MESSAGE, SUBSCRIBE, NOTIFY, REFER, PUBLISH"

_AVAILABLE = Answer(200, ((b"Allow", ALLOW), (b"Accept", b"application/sdp"), (b"Accept-Encoding", b"")))


class Gate(Announcing, Protocol):
    """
    Whether new requests are taken, and for how long they are not.
    """

    def refuse(self, peerName: str) -> int:
        """
        Counts a refusal.

        @return: seconds for which this client shall leave us alone, at least 1.
        """


def statusAnswer(request: Request, identity: Identity) -> Answer | None:
    """
    The server available message: an OPTIONS for ourselves, or one that may go no further, is answered
    here (RFC 3261 §11.2, §16.3 step 3).

    @return: C{None} for everything else.
    """
    if request.method != b"OPTIONS":
        return None
    if request.maxForwards != 0:
        uri = parseURI(request.uri)
        if not isinstance(uri, SIPURI) or uri.user or identity.zoneOf(uri) is None:
            return None
    if request.has(b"Require"):
        # §8.2.2.3; we have no extension that one could require.
        return Answer(420, ((b"Unsupported", b", ".join(request.elements(b"Require"))),))
    return _AVAILABLE


def unavailable(gate: Gate, name: str) -> Answer:
    """
    The service unavailable message (RFC 3261 §21.5.4).

    @param name: the client it is for; the period is spread a little by it.
    """
    said = Availability(False, gate.refuse(name), commentOf(gate.reason), gate.returnsIn())
    return Answer(503, said.headers())
