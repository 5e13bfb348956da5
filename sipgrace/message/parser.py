"""
From bytes to a message. What every element needs is read and checked at once, everything else only
when somebody asks for it (RFC 3261 §16.3: what is not needed is passed on as it came, well-formed or
not).
"""

from __future__ import annotations

import re
from typing import Final

from sipgrace.errors import ParseError
from sipgrace.message.layout import Layout, layouts, readLayout
from sipgrace.message.limits import LIMITS, Limits
from sipgrace.message.message import Message, Request, Response
from sipgrace.message.refuse import answerTo
from sipgrace.message.scan import quotesBalanced, valueFrom, valueOf
from sipgrace.message.topvia import readViaLine
from sipgrace.message.uri import SIPURI, parseURI
from sipgrace.message.values import METHODS, isToken, readContentLength, readCSeq, readMaxForwards

__all__ = ["parse"]

# SIP URIs without anything unusual; all others are taken apart to be checked.
_USUAL_URI: Final = re.compile(
    rb"sips?:(?:[A-Za-z0-9+\-_.!~*'()]+@)?[A-Za-z0-9][A-Za-z0-9.\-]*(?::(?:[1-5]\d{4}|[1-9]\d{0,3}))?(?:;[a-z]+(?:=[A-Za-z0-9.]+)?)*"
)
_VERSION: Final = re.compile(rb"SIP/\d+\.\d+", re.IGNORECASE)
_STATUS: Final = re.compile(rb"SIP/2\.0 ([1-6]\d\d)(?: (.*))?", re.IGNORECASE | re.DOTALL)

_MEMO_BOUND: Final = 512
_MEMO_LENGTH: Final = 64
_RECENT_BOUND: Final = 4096
_statusLines: Final[dict[bytes, tuple[bytes, int, bytes]]] = {}
"""
Status lines met so far → how it is sent on, status, reason phrase.
"""

uris: Final[set[bytes]] = set()
"""
Request-URIs that were found to be right; emptied when it is full.
"""

# Lines as most elements write them.
_HOPS: Final = [b"Max-Forwards: %d" % number for number in range(100)]
_HOPS_LENGTH: Final = len(b"Max-Forwards: 70")
_LENGTHS: Final = [b"Content-Length: %d" % number for number in range(2048)]
_LENGTHS_BOUND: Final = len(_LENGTHS)
_CSEQS: Final = {
    b"CSeq: %d %b" % (number, name): (number, name) for number in range(1, 256) for name in METHODS
}

_spelled: Final[dict[bytes, int]] = {}
"""
Content-Length lines that are written otherwise, filled up with blanks as a rule → the number.
"""
_SPELLED_BOUND: Final = 4096


def parse(data: bytes, limits: Limits = LIMITS) -> Request | Response:
    """
    Reads one whole message: a datagram, an SCTP message, or what L{StreamFramer
    <sipgrace.message.framing.StreamFramer>} cut from a stream. Empty lines before it are skipped
    (§7.5); what follows the body that Content-Length announces is dropped (§18.3). Without
    Content-Length the body is all that follows.

    A SIP or SIPS Request-URI is one that L{parseURI} can read.

    @raise ParseError: where it is not acceptable; with the C{answer} where there is one to send.
    """
    try:
        return _parse(data, limits)
    except ParseError as error:
        if error.answer is None:
            error.answer = answerTo(data.lstrip(b"\r\n"), error.status, error.reason)
        raise


def _parse(data: bytes, limits: Limits) -> Request | Response:
    # Every message comes by here; what looks odd is measured (benchmarks/codec.py): a number is found
    # in bytes much faster than a string, tables are faster than conversions.
    if len(data) > limits.message:
        raise ParseError("Message too large", 413)
    if data.endswith(b"\r\n\r\n"):
        # As a rule no body follows then. Otherwise there is an empty line among these, which fits no layout.
        lines = data.splitlines()
        lines.pop()
        startLine = lines.pop(0)
        look = _lookOf(lines)
        layout = layouts[look]
        if layout is not None and startLine and len(data) <= limits.line and _fits(lines, layout):
            return _read(startLine, lines, lines, layout, b"", limits)
    head, end, body = data.partition(b"\r\n\r\n")
    # A CR or LF by itself ends a line, too. What is sent on has CRLF there, so that nobody after us
    # can see other lines than we do.
    lines = head.splitlines()
    if not end or not head or not lines[0]:
        stripped = data.lstrip(b"\r\n")
        if len(stripped) < len(data):
            return _parse(stripped, limits)
        raise ParseError("No empty line after the header fields")
    if len(head) > limits.line:
        _checkLengths(lines, limits)
    startLine = lines.pop(0)
    look = _lookOf(lines)
    layout = layouts[look]
    if layout is not None and _fits(lines, layout):
        return _read(startLine, lines, lines, layout, body, limits)
    lines, plain, layout = readLayout(lines, limits, look)
    return _read(startLine, lines, plain, layout, body, limits)


def _lookOf(lines: list[bytes]) -> int:
    """
    @return: how many lines there are, and how three of them begin, as a place in L{layouts}.
    """
    try:
        return (len(lines) * 61 + lines[1][0] * 31 + lines[len(lines) >> 1][0] * 7 + lines[-2][0]) & 1023
    except IndexError:
        return 0


def _read(
    startLine: bytes, lines: list[bytes], plain: list[bytes], layout: Layout, body: bytes, limits: Limits
) -> Request | Response:
    """
    @param lines: the header lines as they are to be sent on; C{plain} the same unfolded.
    @param body: what follows them, perhaps more than there should.
    """
    if len(lines) > limits.headers:
        raise ParseError("Too many header fields")

    # For the compiler: an attribute of one class is found much faster than one of either of two.
    message: Message
    message = _readStatusLine(startLine) if startLine.startswith(b"SIP/2.0 ") else _readRequestLine(startLine)
    message.lines = lines
    message.codes = layout.codes
    message.branch, message.sentBy, message.viaTransport = readViaLine(plain[layout.via], layout.viaValue)
    message.callId = callId = valueFrom(plain[layout.callId], layout.callIdValue)
    if not callId:
        raise ParseError("Empty From, To or Call-ID header field")
    message.fromLine = line = plain[layout.source]
    _checkParty(line, layout.sourceValue)
    message.toLine = line = plain[layout.target]
    _checkParty(line, layout.targetValue)
    message._fromTag = message._toTag = None
    line = plain[layout.cseq]
    message.cseq, message.cseqMethod = _CSEQS.get(line) or readCSeq(valueOf(line))
    message.maxForwards = message.contentLength = -1
    if layout.forwards >= 0:
        line = plain[layout.forwards]
        # Nearly always it has two digits.
        hops = line[-2] * 10 + line[-1] - 528 if len(line) == _HOPS_LENGTH else -1
        if not 10 <= hops <= 99 or line != _HOPS[hops]:
            hops = readMaxForwards(valueOf(line))
        message.maxForwards = hops
    if layout.length >= 0:
        line = plain[layout.length]
        length = len(body)
        if length >= _LENGTHS_BOUND or line != _LENGTHS[length]:
            length = _readLength(line)
            if len(body) != length:
                if len(body) < length:
                    raise ParseError("Body shorter than Content-Length")
                body = body[:length]
        message.contentLength = length
    message.body = body
    message.hasRoute = layout.route >= 0
    if message.hasRoute and 0x3C not in plain[layout.route]:
        raise ParseError("Malformed Route header field")
    if isinstance(message, Request):
        if message.method != message.cseqMethod:
            raise ParseError("CSeq method does not match the request method")
        if message.branch == b"z9hG4bK":
            raise ParseError("Branch without an identifier in Via header field")
        return message
    assert isinstance(message, Response)
    return message


def _fits(lines: list[bytes], layout: Layout) -> bool:
    """
    Whether the lines begin with the names of the layout, in its order, and are as many.
    """
    if len(layout.names) != len(lines):
        return False
    for line, name in zip(lines, layout.names):  # noqa: B905, SIM110 (all() makes a generator)
        if not line.startswith(name):
            return False
    return True


def _readLength(line: bytes) -> int:
    length = _spelled.get(line, -1)
    if length < 0:
        length = readContentLength(valueOf(line))
        if len(_spelled) < _SPELLED_BOUND and len(line) <= _MEMO_LENGTH:
            _spelled[line] = length
    return length


def _checkParty(line: bytes, start: int) -> None:
    """
    @param line: of a From or To, unfolded.
    @param start: where the value begins in it.
    """
    if len(line) <= start or (line[-1] <= 0x20 and not line[start:].strip()):
        raise ParseError("Empty From, To or Call-ID header field")
    if 0x22 in line and (line.count(b'"') != 2 or 0x5C in line) and not quotesBalanced(line[start:]):
        raise ParseError("Unterminated quoted string in From or To header field")


def _checkLengths(lines: list[bytes], limits: Limits) -> None:
    if len(lines[0]) > limits.line:
        raise ParseError("Request-URI too long", 414)
    if max(map(len, lines)) > limits.line:
        raise ParseError("Header field too long")


def _readStatusLine(startLine: bytes) -> Response:
    message = Response()
    known = _statusLines.get(startLine)
    if known is None:
        match = _STATUS.fullmatch(startLine)
        if match is None:
            raise ParseError("Malformed status line")
        known = (b"SIP" + startLine[3:], int(match[1]), match[2] or b"")
        if len(_statusLines) < _MEMO_BOUND and len(startLine) <= _MEMO_LENGTH:
            _statusLines[startLine] = known
    message.startLine, message.status, message.reason = known
    return message


def _readRequestLine(startLine: bytes) -> Message:
    try:
        method, uri, version = startLine.split(b" ")
    except ValueError:
        method = uri = version = b""
    if version != b"SIP/2.0":
        if _STATUS.fullmatch(startLine) is not None:
            return _readStatusLine(startLine)
        if _VERSION.fullmatch(version) is None:
            raise ParseError("Malformed start line")
        if version.upper() != b"SIP/2.0":
            raise ParseError("Version not supported", 505)
        startLine = method + b" " + uri + b" SIP/2.0"
    if method not in METHODS and not isToken(method):
        raise ParseError("Malformed method")
    if uri not in uris:
        if _USUAL_URI.fullmatch(uri) is None:
            _checkURI(uri)
        if len(uri) <= _MEMO_LENGTH:
            if len(uris) >= _RECENT_BOUND:
                uris.clear()
            uris.add(uri)
    message = Request()
    message.startLine = startLine
    message.method = method
    message._uri = uri
    return message


def _checkURI(uri: bytes) -> None:
    try:
        parsed = parseURI(uri)
    except ParseError as error:
        raise ParseError(error.reason.replace("URI", "Request-URI")) from None
    if isinstance(parsed, SIPURI) and parsed.headers:
        raise ParseError("Header fields in the Request-URI")
