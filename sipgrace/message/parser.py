"""
From bytes to a message. What every element needs is read and checked at once, everything else only
when somebody asks for it (RFC 3261 §16.3: what is not needed is passed on as it came, well-formed or
not).
"""

from __future__ import annotations

import re
from typing import Final

from sipgrace.errors import ParseError
from sipgrace.message.limits import LIMITS, Limits
from sipgrace.message.message import Message, Request, Response, readContentLength, readCSeq, readNumber
from sipgrace.message.names import (
    CALL_ID,
    CODES,
    CONTENT_LENGTH,
    CSEQ,
    FROM,
    LAST_SINGLE,
    MAX_FORWARDS,
    ROUTE,
    TO,
    TOKEN,
    VIA,
    codeOfReceived,
)
from sipgrace.message.refuse import answerTo
from sipgrace.message.scan import quotesBalanced, unfold
from sipgrace.message.topvia import readTopVia

__all__ = ["parse"]

_METHODS: Final = frozenset(
    b"INVITE ACK BYE CANCEL OPTIONS REGISTER PRACK UPDATE INFO SUBSCRIBE NOTIFY MESSAGE REFER PUBLISH".split()
)
_TOKEN: Final = re.compile(TOKEN)
_URI: Final = re.compile(rb'[A-Za-z][A-Za-z0-9+.\-]*:[^\x00-\x20<>"\x7f]+')
_VERSION: Final = re.compile(rb"SIP/\d+\.\d+", re.IGNORECASE)
_STATUS: Final = re.compile(rb"SIP/2\.0 ([1-6]\d\d)(?: (.*))?", re.IGNORECASE | re.DOTALL)

# The sorted codes of a message with each of these fields once begin so.
_REQUEST: Final = [CONTENT_LENGTH, MAX_FORWARDS, FROM, TO, CALL_ID, CSEQ, VIA]
_RESPONSE: Final = [CONTENT_LENGTH, FROM, TO, CALL_ID, CSEQ, VIA]

_NAMES: Final = {
    CONTENT_LENGTH: "Content-Length",
    MAX_FORWARDS: "Max-Forwards",
    FROM: "From",
    TO: "To",
    CALL_ID: "Call-ID",
    CSEQ: "CSeq",
    VIA: "Via",
}


def parse(data: bytes, limits: Limits = LIMITS) -> Request | Response:
    """
    Reads one whole message: a datagram, an SCTP message, or what L{StreamFramer
    <sipgrace.message.framing.StreamFramer>} cut from a stream. Empty lines before it are skipped
    (§7.5); what follows the body that Content-Length announces is dropped (§18.3).

    @raise ParseError: where it is not acceptable; with the C{answer} where there is one to send.
    """
    try:
        return _parse(data, limits)
    except ParseError as error:
        if error.answer is None:
            error.answer = answerTo(data.lstrip(b"\r\n"), error.status, error.reason)
        raise


def _parse(data: bytes, limits: Limits) -> Request | Response:
    if data[:1] in (b"\r", b"\n"):
        data = data.lstrip(b"\r\n")
    if len(data) > limits.message:
        raise ParseError("Message too large", 413)
    head, end, body = data.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    if not end:
        raise ParseError("No empty line after the header fields")
    # Stray CR and LF would be line ends to some elements and not to others.
    if len(head.splitlines()) != len(lines):
        raise ParseError("Stray line break in the header fields")
    if len(head) > limits.line:
        _checkLengths(lines, limits)
    startLine = lines.pop(0)

    try:
        pairs = [line.split(b":", 1) for line in lines]
        codes = [CODES[name] for name, _ in pairs]
    except (KeyError, ValueError):
        lines, pairs, codes = _readNames(lines, limits)
    if len(lines) > limits.headers:
        raise ParseError("Too many header fields")

    message = _readStatusLine(startLine) if startLine[:8] == b"SIP/2.0 " else _readRequestLine(startLine)
    message.lines = lines
    message.codes = codes

    order = sorted(codes)
    if order[:7] != _REQUEST and order[:6] != _RESPONSE:
        _checkPresence(codes)
    message.branch, message.sentBy, message.viaTransport = readTopVia(pairs[codes.index(VIA)][1])
    message.fromValue = pairs[codes.index(FROM)][1].strip()
    message.toValue = pairs[codes.index(TO)][1].strip()
    message.callId = pairs[codes.index(CALL_ID)][1].strip()
    message._fromTag = message._toTag = None
    message.cseq, message.cseqMethod = readCSeq(pairs[codes.index(CSEQ)][1])
    message.hasRoute = ROUTE in codes
    if MAX_FORWARDS in codes:
        message.maxForwards = readNumber(pairs[codes.index(MAX_FORWARDS)][1].strip(), "Max-Forwards", 255)
    else:
        message.maxForwards = -1
    if CONTENT_LENGTH in codes:
        length = readContentLength(pairs[codes.index(CONTENT_LENGTH)][1].strip())
        if len(body) != length:
            if len(body) < length:
                raise ParseError("Body shorter than Content-Length")
            body = body[:length]
        message.contentLength = length
    else:
        message.contentLength = -1
    message.body = body
    _checkValues(message)
    return message


def _checkLengths(lines: list[bytes], limits: Limits) -> None:
    if len(lines[0]) > limits.line:
        raise ParseError("Request-URI too long", 414)
    for line in lines:
        if len(line) > limits.line:
            raise ParseError("Header field too long")


def _readNames(lines: list[bytes], limits: Limits) -> tuple[list[bytes], list[list[bytes]], list[int]]:
    """
    The slow way: folded lines are joined (kept as they came in what is sent on), names met for the
    first time are looked up.
    """
    joined: list[list[bytes]] = []
    for line in lines:
        if line[:1] in (b" ", b"\t"):
            if not joined:
                raise ParseError("Blank before the first header field")
            joined[-1].append(line)
        else:
            joined.append([line])
    whole: list[bytes] = []
    pairs: list[list[bytes]] = []
    codes: list[int] = []
    for parts in joined:
        line = parts[0] if len(parts) == 1 else b"\r\n".join(parts)
        if len(line) > limits.line:
            raise ParseError("Header field too long")
        name, colon, value = line.partition(b":")
        code = codeOfReceived(name) if colon else -1
        if code < 0:
            raise ParseError("Malformed header field name")
        whole.append(line)
        pairs.append([name, unfold(value)])
        codes.append(code)
    return whole, pairs, codes


def _readStatusLine(startLine: bytes) -> Response:
    match = _STATUS.fullmatch(startLine)
    if match is None:
        raise ParseError("Malformed status line")
    message = Response.__new__(Response)
    message.startLine = startLine
    message.status = int(match.group(1))
    message.reason = match.group(2) or b""
    return message


def _readRequestLine(startLine: bytes) -> Request | Response:
    parts = startLine.split(b" ")
    if len(parts) != 3 or parts[2] != b"SIP/2.0":
        if _STATUS.fullmatch(startLine) is not None:
            return _readStatusLine(startLine)
        if len(parts) != 3 or _VERSION.fullmatch(parts[2]) is None:
            raise ParseError("Malformed start line")
        if parts[2].upper() != b"SIP/2.0":
            raise ParseError("Version not supported", 505)
        startLine = parts[0] + b" " + parts[1] + b" SIP/2.0"
    method, uri, _ = parts
    if method not in _METHODS and _TOKEN.fullmatch(method) is None:
        raise ParseError("Malformed method")
    if _URI.fullmatch(uri) is None:
        raise ParseError("Malformed Request-URI")
    if b"?" in uri and uri[:3].lower() == b"sip" and b"?" in uri[uri.find(b"@") + 1 :]:
        raise ParseError("Header fields in the Request-URI")
    message = Request.__new__(Request)
    message.startLine = startLine
    message.method = method
    message._uri = uri
    return message


def _checkPresence(codes: list[int]) -> None:
    for code in (VIA, FROM, TO, CALL_ID, CSEQ):
        if code not in codes:
            raise ParseError(f"Missing {_NAMES[code]} header field")
    for code in range(LAST_SINGLE + 1):
        if codes.count(code) > 1:
            raise ParseError(f"Several {_NAMES[code]} header fields")


def _checkValues(message: Message) -> None:
    if not (message.callId and message.fromValue and message.toValue):
        raise ParseError("Empty From, To or Call-ID header field")
    for value in (message.fromValue, message.toValue):
        if b'"' in value and not quotesBalanced(value):
            raise ParseError("Unterminated quoted string in From or To header field")
    if isinstance(message, Request):
        if message.method != message.cseqMethod:
            raise ParseError("CSeq method does not match the request method")
        if message.branch == b"z9hG4bK":
            raise ParseError("Branch without an identifier in Via header field")
