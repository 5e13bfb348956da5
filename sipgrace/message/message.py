"""
SIP requests and responses (RFC 3261 §7), kept as the lines they came in. Nothing is written anew but
what was changed: a proxy's message leaves byte for byte as it came, save the lines it edited.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from sipgrace.errors import ParseError
from sipgrace.message.names import (
    CALL_ID,
    CONTENT_LENGTH,
    CSEQ,
    FROM,
    MAX_FORWARDS,
    OTHER,
    ROUTE,
    TO,
    TOKEN,
    VIA,
    codeOf,
)
from sipgrace.message.scan import cutFirst, splitElements, tagOf, unfold, valueOf
from sipgrace.message.status import reasonOf
from sipgrace.message.topvia import markedVia, readTopVia, wantsMarks

__all__ = ["Message", "Request", "Response"]

METHODS: Final = frozenset(
    b"INVITE ACK BYE CANCEL OPTIONS REGISTER PRACK UPDATE INFO SUBSCRIBE NOTIFY MESSAGE REFER PUBLISH".split()
)
"""
The registered methods. Any other token is one, too.
"""

_TOKEN: Final = re.compile(TOKEN)
_NO_BLANKS: Final = re.compile(rb"[^\x00-\x20\x7f]+")


def readNumber(value: bytes, name: str, bound: int) -> int:
    """
    @param value: the stripped value of a header field that holds one number.
    @param bound: the greatest number there can be.
    @return: the number, or -1 where it is greater than C{bound}.
    @raise ParseError: where it is not a number.
    """
    if not value.isdigit():
        raise ParseError(f"Malformed {name} header field")
    if len(value) > 10:
        value = value.lstrip(b"0") or b"0"
        if len(value) > 10:
            return -1
    number = int(value)
    return number if number <= bound else -1


def readCSeq(value: bytes) -> tuple[int, bytes]:
    """
    @return: number and method (RFC 3261 §20.16).
    @raise ParseError: where it is not a number below 2**31 and a token.
    """
    parts = value.split()
    if len(parts) == 2:
        digits, method = parts
        if method in METHODS or _TOKEN.fullmatch(method) is not None:
            if len(digits) < 10 and digits.isdigit():
                return int(digits), method
            number = readNumber(digits, "CSeq", 2**31 - 1)
            if number < 0:
                raise ParseError("CSeq number out of range")
            return number, method
    raise ParseError("Malformed CSeq header field")


def readMaxForwards(value: bytes) -> int:
    """
    @return: -1 above 255, which RFC 4475 §3.1.2.4 lets an element take as absent.
    @raise ParseError: where it is not a number.
    """
    return readNumber(value, "Max-Forwards", 255)


def readContentLength(value: bytes) -> int:
    """
    @raise ParseError: where it is not a number, or one beyond all reason (2**31 and more, 413).
    """
    number = readNumber(value, "Content-Length", 2**31 - 1)
    if number < 0:
        raise ParseError("Content-Length out of range", 413)
    return number


def headerLine(name: bytes, value: bytes) -> bytes:
    """
    One header line.

    @raise ValueError: where it would not be one line (header injection), or the name is no token.
    """
    if 0x0D in value or 0x0A in value:
        raise ValueError(f"line break in the value of {name!r}")
    if _TOKEN.fullmatch(name) is None:
        raise ValueError(f"not a header name: {name!r}")
    return name + b": " + value


class Message:
    """
    What requests and responses share. Names are given as C{bytes} in any spelling, the compact form
    included. Values come unfolded and stripped.

    @ivar branch: of the top Via, C{b""} when there is none (RFC 2543).
    @ivar sentBy: of the top Via: C{host} or C{host:port} as it stands there, without blanks.
    @ivar viaTransport: of the top Via, in upper case.
    @ivar cseq: the number of CSeq; C{cseqMethod} its method.
    @ivar maxForwards: -1 when absent, or above 255, which RFC 4475 §3.1.2.4 lets an element take as
        absent.
    @ivar contentLength: in bytes, -1 when absent.
    @ivar hasRoute: whether there is a Route.
    @ivar callId: the whole value, as C{fromValue} and C{toValue} are.
    @ivar fromTag: C{b""} when From has none; C{toTag} likewise.
    @ivar body: what follows the empty line. Assigning it leaves Content-Length alone: see L{setBody}.
    @ivar lines: the header lines as they leave, each without its final CRLF; for this package alone.
    @ivar codes: beside each line the code of its name; for this package alone.
    """

    __slots__ = (
        "body",
        "branch",
        "callId",
        "codes",
        "contentLength",
        "cseq",
        "cseqMethod",
        "fromTag",
        "fromValue",
        "hasRoute",
        "lines",
        "maxForwards",
        "sentBy",
        "startLine",
        "toTag",
        "toValue",
        "viaTransport",
    )

    startLine: bytes
    lines: list[bytes]
    codes: list[int]
    body: bytes
    branch: bytes
    sentBy: bytes
    viaTransport: bytes
    cseq: int
    cseqMethod: bytes
    maxForwards: int
    contentLength: int
    hasRoute: bool
    callId: bytes
    fromValue: bytes
    toValue: bytes
    fromTag: bytes
    toTag: bytes

    def __init__(self, startLine: bytes, lines: list[bytes], codes: list[int], body: bytes) -> None:
        """
        Takes over lines and codes; reads what is read at once.

        @raise ParseError: where one of the fields read at once is malformed.
        """
        self.startLine = startLine
        self.lines = lines
        self.codes = codes
        self.body = body
        for code in range(ROUTE + 1):
            self._read(code)

    def _read(self, code: int) -> None:
        """
        Reads anew what is kept of the header fields with this code.
        """
        if code > ROUTE:
            return
        codes = self.codes
        there = code in codes
        value = valueOf(self.lines[codes.index(code)]) if there else b""
        if code == VIA:
            self.branch, self.sentBy, self.viaTransport = readTopVia(value) if there else (b"", b"", b"")
        elif code == ROUTE:
            self.hasRoute = there
        elif code == MAX_FORWARDS:
            self.maxForwards = readMaxForwards(value) if there else -1
        elif code == CONTENT_LENGTH:
            self.contentLength = readContentLength(value) if there else -1
        elif code == CSEQ:
            self.cseq, self.cseqMethod = readCSeq(value) if there else (0, b"")
        elif code == CALL_ID:
            self.callId = value
        elif code == FROM:
            self.fromValue = value
            self.fromTag = tagOf(value)
        elif code == TO:
            self.toValue = value
            self.toTag = tagOf(value)

    def _places(self, name: bytes) -> list[int]:
        """
        Where the lines of that name stand.
        """
        code = codeOf(name)
        places = [place for place, other in enumerate(self.codes) if other == code]
        if code == OTHER:
            wanted = name.lower()
            places = [
                place
                for place in places
                if self.lines[place].partition(b":")[0].rstrip(b" \t").lower() == wanted
            ]
        return places

    def _place(self, name: bytes) -> int:
        """
        Where the first line of that name stands, -1 when there is none.
        """
        code = codeOf(name)
        if code != OTHER:
            return self.codes.index(code) if code in self.codes else -1
        places = self._places(name)
        return places[0] if places else -1

    def get(self, name: bytes) -> bytes | None:
        """
        @return: the value of the first field of that name, C{None} when there is none.
        """
        place = self._place(name)
        return None if place < 0 else valueOf(self.lines[place])

    def getAll(self, name: bytes) -> list[bytes]:
        """
        @return: the value of each field of that name.
        """
        return [valueOf(self.lines[place]) for place in self._places(name)]

    def elements(self, name: bytes) -> list[bytes]:
        """
        @return: the comma-separated elements of all fields of that name, in order (§7.3.1).
        @raise ParseError: where a quoted string is not closed.
        """
        found: list[bytes] = []
        for place in self._places(name):
            found.extend(splitElements(valueOf(self.lines[place])))
        return found

    def has(self, name: bytes) -> bool:
        """
        @return: whether there is a field of that name.
        """
        return self._place(name) >= 0

    def set(self, name: bytes, value: bytes) -> None:
        """
        Gives the first field of that name this value and drops the others; appends it when there is
        none.

        @raise ValueError: where the value holds a line break.
        """
        line = headerLine(name, value)
        places = self._places(name)
        if not places:
            self.lines.append(line)
            self.codes.append(codeOf(name))
        else:
            self.lines[places[0]] = line
            for place in reversed(places[1:]):
                del self.lines[place]
                del self.codes[place]
        self._read(codeOf(name))

    def add(self, name: bytes, value: bytes) -> None:
        """
        Appends a field after the last one.

        @raise ValueError: where the value holds a line break.
        """
        self.lines.append(headerLine(name, value))
        self.codes.append(codeOf(name))
        self._read(codeOf(name))

    def insert(self, name: bytes, value: bytes) -> None:
        """
        Puts a field before the first of that name, or at the top when there is none.

        @raise ValueError: where the value holds a line break.
        """
        line = headerLine(name, value)
        place = max(self._place(name), 0)
        self.lines.insert(place, line)
        self.codes.insert(place, codeOf(name))
        self._read(codeOf(name))

    def remove(self, name: bytes) -> None:
        """
        Drops all fields of that name.
        """
        for place in reversed(self._places(name)):
            del self.lines[place]
            del self.codes[place]
        self._read(codeOf(name))

    def popFirst(self, name: bytes) -> bytes | None:
        """
        Takes the first element off a list header: of C{Route: <a>, <b>} it leaves C{Route: <b>}.

        @return: the element, C{None} when there is none.
        @raise ParseError: where a quoted string in it is not closed.
        """
        while True:
            place = self._place(name)
            if place < 0:
                return None
            first = self._cut(place)
            self._read(codeOf(name))
            if first:
                return first

    def _cut(self, place: int) -> bytes:
        """
        Takes the first element off one line, and the line away when it was the only one.
        """
        name, _, value = self.lines[place].partition(b":")
        first, rest = cutFirst(value.lstrip(b", \t\r\n"))
        if rest:
            self.lines[place] = name + b": " + rest
        else:
            del self.lines[place]
            del self.codes[place]
        return unfold(first)

    def pushVia(self, value: bytes) -> None:
        """
        Puts a Via on top.

        @param value: sent-protocol, sent-by and parameters, C{b"SIP/2.0/SCTP 192.0.2.1;branch=..."}.
        @raise ValueError: where it holds a line break.
        @raise ParseError: where it is not a Via.
        """
        if 0x0D in value or 0x0A in value:
            raise ValueError("line break in Via")
        self.branch, self.sentBy, self.viaTransport = readTopVia(value)
        codes = self.codes
        try:
            place = codes.index(VIA)
        except ValueError:
            place = 0
        self.lines.insert(place, b"Via: " + value)
        codes.insert(place, VIA)

    def popVia(self) -> None:
        """
        Takes the top Via off, also where several are joined by commas. Does nothing when there is
        none.

        @raise ParseError: where what is then the top one is malformed.
        """
        codes = self.codes
        if VIA not in codes:
            return
        place = codes.index(VIA)
        if 0x2C in self.lines[place]:
            self._cut(place)
        else:
            del self.lines[place]
            del codes[place]
        self._read(VIA)

    def markReceived(self, host: bytes, port: int) -> None:
        """
        Notes in the top Via where the request came from: RFC 3261 §18.2.1, RFC 3581 §4.

        @param host: the source IP address; IPv6 without brackets.
        @param port: the source port.
        """
        if VIA not in self.codes:
            return
        place = self.codes.index(VIA)
        line = self.lines[place]
        if wantsMarks(line, self.sentBy, host):
            self.lines[place] = b"Via: " + markedVia(valueOf(line), self.sentBy, host, port)

    def setMaxForwards(self, count: int) -> None:
        """
        @param count: 0 to 255.
        """
        self.maxForwards = count
        codes = self.codes
        if MAX_FORWARDS in codes:
            self.lines[codes.index(MAX_FORWARDS)] = b"Max-Forwards: %d" % count
        else:
            self.lines.append(b"Max-Forwards: %d" % count)
            codes.append(MAX_FORWARDS)

    def setBody(self, body: bytes, contentType: bytes) -> None:
        """
        Replaces the body, with Content-Type and Content-Length; an empty one has no Content-Type.
        """
        self.body = body
        if body:
            self.set(b"Content-Type", contentType)
        else:
            self.remove(b"Content-Type")
        self.set(b"Content-Length", b"%d" % len(body))

    def ensureContentLength(self) -> None:
        """
        Adds Content-Length where there is none, as any message that leaves over a stream must have it
        (§16.6 step 9, §18.3).
        """
        if self.contentLength < 0:
            self.set(b"Content-Length", b"%d" % len(self.body))

    def _copyInto(self, other: Message) -> None:
        other.startLine = self.startLine
        other.lines = self.lines[:]
        other.codes = self.codes[:]
        other.body = self.body
        other.branch = self.branch
        other.sentBy = self.sentBy
        other.viaTransport = self.viaTransport
        other.cseq = self.cseq
        other.cseqMethod = self.cseqMethod
        other.maxForwards = self.maxForwards
        other.contentLength = self.contentLength
        other.hasRoute = self.hasRoute
        other.callId = self.callId
        other.fromValue = self.fromValue
        other.toValue = self.toValue
        other.fromTag = self.fromTag
        other.toTag = self.toTag

    def toBytes(self) -> bytes:
        """
        @return: the message as it goes on the wire.
        """
        return b"\r\n".join([self.startLine, *self.lines, b"", self.body])


def _made(headers: Sequence[tuple[bytes, bytes]], body: bytes) -> tuple[list[bytes], list[int]]:
    """
    Lines and codes of a new message; Content-Length is added where it is not among the headers.
    """
    lines = [headerLine(name, value) for name, value in headers]
    codes = [codeOf(name) for name, _ in headers]
    if CONTENT_LENGTH not in codes:
        lines.append(b"Content-Length: %d" % len(body))
        codes.append(CONTENT_LENGTH)
    return lines, codes


class Request(Message):
    """
    A request.

    @ivar method: as it stands in the start line; not to be assigned.
    """

    __slots__ = ("_uri", "method")

    method: bytes
    _uri: bytes

    def __init__(
        self, method: bytes, uri: bytes, startLine: bytes, lines: list[bytes], codes: list[int], body: bytes
    ) -> None:
        super().__init__(startLine, lines, codes, body)
        self.method = method
        self._uri = uri

    @classmethod
    def make(
        cls, method: bytes, uri: bytes, headers: Sequence[tuple[bytes, bytes]], body: bytes = b""
    ) -> Request:
        """
        A new request with these headers, in this order. Content-Length is added where it is not given;
        nothing else is, so that a Via can be pushed later.

        @raise ValueError: where a value holds a line break, or method or URI a blank.
        """
        if _TOKEN.fullmatch(method) is None:
            raise ValueError(f"not a method: {method!r}")
        if _NO_BLANKS.fullmatch(uri) is None:
            raise ValueError(f"not a URI: {uri!r}")
        lines, codes = _made(headers, body)
        return cls(method, uri, method + b" " + uri + b" SIP/2.0", lines, codes, body)

    @property
    def uri(self) -> bytes:
        """
        The Request-URI.
        """
        return self._uri

    @uri.setter
    def uri(self, uri: bytes) -> None:
        if _NO_BLANKS.fullmatch(uri) is None:
            raise ValueError(f"not a URI: {uri!r}")
        self._uri = uri
        self.startLine = self.method + b" " + uri + b" SIP/2.0"

    def copy(self) -> Request:
        """
        @return: a copy that can be changed without changing this one.
        """
        other = Request.__new__(Request)
        self._copyInto(other)
        other.method = self.method
        other._uri = self._uri
        return other

    def __repr__(self) -> str:
        return f"<Request {self.method!r} {self._uri!r} branch={self.branch!r}>"


class Response(Message):
    """
    A response.

    @ivar status: 100 to 699; not to be assigned, as C{reason} is not.
    """

    __slots__ = ("reason", "status")

    status: int
    reason: bytes

    def __init__(
        self, status: int, reason: bytes, startLine: bytes, lines: list[bytes], codes: list[int], body: bytes
    ) -> None:
        super().__init__(startLine, lines, codes, body)
        self.status = status
        self.reason = reason

    @classmethod
    def make(
        cls,
        status: int,
        reason: bytes | None,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes = b"",
    ) -> Response:
        """
        A new response with these headers, in this order. Content-Length is added where it is not given.

        @param reason: the phrase; C{None} takes that of RFC 3261.
        @raise ValueError: where a value holds a line break, or there is no such status.
        """
        if not 100 <= status <= 699:
            raise ValueError(f"not a SIP status: {status}")
        if reason is None:
            reason = reasonOf(status)
        if 0x0D in reason or 0x0A in reason:
            raise ValueError("line break in the reason phrase")
        lines, codes = _made(headers, body)
        return cls(status, reason, b"SIP/2.0 %d %b" % (status, reason), lines, codes, body)

    def copy(self) -> Response:
        """
        @return: a copy that can be changed without changing this one.
        """
        other = Response.__new__(Response)
        self._copyInto(other)
        other.status = self.status
        other.reason = self.reason
        return other

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.reason!r} branch={self.branch!r}>"
