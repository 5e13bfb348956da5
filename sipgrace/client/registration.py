"""
What a REGISTER says of each place (RFC 3261 §10.2, §10.3).
"""

from __future__ import annotations

import re
from typing import Final
from weakref import ref

from sipgrace.client.bindings import Binding, Source
from sipgrace.interfaces import IAssociation
from sipgrace.message.headers import Via
from sipgrace.message.message import Request
from sipgrace.message.uri import SIPURI
from sipgrace.proxy.target import PORTS, hopOf

__all__ = ["contactHeader", "isInOrder", "preferenceOf", "secondsOf", "withWay"]

_MOST_SECONDS: Final = 2**32 - 1

_Q: Final = re.compile(rb"0(?:\.\d*)?|1(?:\.0*)?")


def isInOrder(request: Request, binding: Binding) -> bool:
    """
    Whether a REGISTER may change a binding: within one Call-ID the later CSeq counts, and none twice.
    """
    return binding.callId != request.callId or request.cseq > binding.cseq


def withWay(binding: Binding, uri: SIPURI, request: Request, association: IAssociation) -> Binding:
    """
    Where a telephone registers itself, and not another one, the way that the REGISTER came is the way back: a
    NAT lets nothing in that comes otherwise, and over TCP it may not even listen. It is itself when its
    contact is what it calls itself in the only Via there is, or where it was seen. (Over a connection the
    host is enough: who opens one has a port for that alone.)

    @param uri: the binding's.
    @param association: where the answers to the REGISTER go.
    """
    vias = request.elements(b"Via")
    if len(vias) != 1 or hopOf(uri).transport != association.transport:
        return binding
    via = Via.parse(vias[0])
    port = PORTS.get(association.transport, 5060)
    seen = (association.peerHost.encode("ascii"), association.peerPort)
    named = (via.host.lower(), via.port or port)
    at = (uri.host.lower(), uri.port or port)
    if association.reliable:
        if at[0] in (named[0], seen[0]):
            return binding._replace(connection=ref(association))
    elif at in (named, seen):
        return binding._replace(source=Source(association.via, association.peerHost, association.peerPort))
    return binding


def secondsOf(value: bytes | None, otherwise: int | None = None) -> int | None:
    """
    Malformed periods are none at all (RFC 3261 §10.3 step 7), and long ones as long as can be.
    """
    if value is None:
        return otherwise
    text = value.strip()
    if not text.isdigit():
        return None
    return min(int(text[:12]), _MOST_SECONDS)


def preferenceOf(value: bytes | None) -> int:
    """
    A q value in thousandths; the highest where there is none, or no good one.
    """
    return 1000 if value is None or _Q.fullmatch(value) is None else round(float(value) * 1000)


def contactHeader(binding: Binding, now: float) -> bytes:
    """
    A binding as it stands in the answer to a REGISTER.
    """
    left = max(1, round(binding.expires - now))
    q = b";q=%d.%03d" % divmod(binding.q, 1000) if binding.q != 1000 else b""
    return b"<%b>;expires=%d%b" % (binding.uri, left, q)
