"""
Messages made from others: responses (RFC 3261 §8.2.6), and the ACK and CANCEL that go hop by hop
(§17.1.1.3, §9.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sipgrace.message.message import Request, Response
from sipgrace.message.names import (
    CALL_ID,
    CONTENT_LENGTH,
    CSEQ,
    FROM,
    MAX_FORWARDS,
    ROUTE,
    TO,
    VIA,
    codeOf,
)
from sipgrace.message.scan import cutFirst, valueOf
from sipgrace.message.stabletag import stableTag
from sipgrace.message.status import reasonOf
from sipgrace.message.values import headerLine

__all__ = ["ackFor", "cancelFor", "respond"]


_TIMESTAMP: Final = codeOf(b"Timestamp")
_EMPTY: Final = b"Content-Length: 0"


def respond(
    request: Request,
    status: int,
    reason: bytes | None = None,
    toTag: bytes = b"",
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> Response:
    """
    The response of this element to a request: all Vias, From, To, Call-ID and CSeq are copied as they
    came, Timestamp too into a 100.

    @param reason: the phrase; C{None} takes that of RFC 3261.
    @param toTag: what To gets where it has no tag and the status is above 100. Where none is given,
        one that stays the same for retransmissions of the request (§8.2.7).
    @param headers: put after the copied ones.
    @raise ValueError: where a value holds a line break.
    """
    if reason is None:
        reason = reasonOf(status)
    elif 0x0D in reason or 0x0A in reason:
        raise ValueError("line break in the reason phrase")
    if 0x0D in toTag or 0x0A in toTag:
        raise ValueError("line break in the tag")
    lines: list[bytes] = []
    codes: list[int] = []
    kept = request.codes
    for place in range(len(kept)):
        code = kept[place]
        if FROM <= code <= VIA:
            lines.append(request.lines[place])
            codes.append(code)
    toLine = request.toLine
    theTag = request._toTag
    if status > 100 and not request.toTag:
        theTag = toTag or stableTag(
            b"\n".join((request.branch, request.sentBy, request.callId, request.fromValue))
        )
        place = codes.index(TO)
        toLine = lines[place] = lines[place].rstrip() + b";tag=" + theTag
    if status == 100 and request.has(b"Timestamp"):
        lines.append(b"Timestamp: " + (request.get(b"Timestamp") or b""))
        codes.append(_TIMESTAMP)
    for name, value in headers:
        lines.append(headerLine(name, value))
        codes.append(codeOf(name))
    lines.append(_EMPTY)
    codes.append(CONTENT_LENGTH)
    response = Response()
    response.startLine = b"SIP/2.0 %d %b" % (status, reason)
    response.status = status
    response.reason = reason
    response.lines = lines
    response.codes = bytes(codes)
    response.body = b""
    response.branch = request.branch
    response.sentBy = request.sentBy
    response.viaTransport = request.viaTransport
    response.cseq = request.cseq
    response.cseqMethod = request.cseqMethod
    response.maxForwards = -1
    response.contentLength = 0
    response.hasRoute = False
    response.callId = request.callId
    response.fromLine = request.fromLine
    response.toLine = toLine
    response._fromTag = request._fromTag
    response._toTag = theTag
    return response


def _hopByHop(
    method: bytes, invite: Request, target: Request | Response, headers: Sequence[tuple[bytes, bytes]]
) -> Request:
    """
    A request that follows an INVITE to the same next hop: same Request-URI, branch, From, Call-ID, CSeq
    number and Route.
    """
    lines: list[bytes] = []
    codes: list[int] = []
    for place, code in enumerate(invite.codes):
        line = invite.lines[place]
        if code == VIA:
            if VIA in codes:
                continue
            if 0x2C in line:
                line = b"Via: " + cutFirst(valueOf(line))[0]
        elif code == TO:
            line = target.lines[target.codes.index(TO)]
        elif code == CSEQ:
            line = b"CSeq: %d %b" % (invite.cseq, method)
        elif code not in (FROM, CALL_ID, ROUTE):
            continue
        lines.append(line)
        codes.append(code)
    lines.append(b"Max-Forwards: 70")
    codes.append(MAX_FORWARDS)
    for name, value in headers:
        lines.append(headerLine(name, value))
        codes.append(codeOf(name))
    lines.append(b"Content-Length: 0")
    codes.append(CONTENT_LENGTH)
    request = Request()
    request.method = method
    request.body = b""
    request.uri = invite.uri
    request.lines = lines
    request.codes = bytes(codes)
    request.branch = invite.branch
    request.sentBy = invite.sentBy
    request.viaTransport = invite.viaTransport
    request.cseq = invite.cseq
    request.cseqMethod = method
    request.maxForwards = 70
    request.contentLength = 0
    request.hasRoute = invite.hasRoute
    request.callId = invite.callId
    request.fromLine = invite.fromLine
    request.toLine = target.toLine
    request._fromTag = invite._fromTag
    request._toTag = target._toTag
    return request


def ackFor(invite: Request, response: Response) -> Request:
    """
    The ACK of a non-2xx final response, which goes to where the INVITE went (§17.1.1.3): To is that
    of the response.

    @param invite: the request as it was sent, our Via on top.
    """
    return _hopByHop(b"ACK", invite, response, ())


def cancelFor(invite: Request, headers: Sequence[tuple[bytes, bytes]] = ()) -> Request:
    """
    The CANCEL of an INVITE that was sent (§9.1).

    @param headers: more of them, such as Reason (RFC 3326).
    """
    return _hopByHop(b"CANCEL", invite, invite, headers)
