"""
SIP requests and responses (RFC 3261 §7), kept as the lines they came in. Nothing is written anew but
what was changed: a proxy's message leaves byte for byte as it came, save the lines it edited.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from sipgrace.message.fields import HeaderFields
from sipgrace.message.names import (
    BYTES,
    CALL_ID,
    CONTENT_LENGTH,
    CSEQ,
    FROM,
    LAST_READ,
    MAX_FORWARDS,
    ROUTE,
    TO,
    VIA,
    codeOf,
    placeOf,
)
from sipgrace.message.scan import tagIn, valueOf
from sipgrace.message.status import reasonOf
from sipgrace.message.topvia import markedVia, readTopVia, wantsMarks
from sipgrace.message.values import headerLine, isToken, readContentLength, readCSeq, readMaxForwards

__all__ = ["Message", "Request", "Response"]

_HOPS: Final = [b"Max-Forwards: %d" % count for count in range(256)]
_BARE: Final = len(b"Via: SIP/2.0/ ;branch=")
_NO_BLANKS: Final = re.compile(rb"[^\x00-\x20\x7f]+")


class Message(HeaderFields):
    """
    What requests and responses share.

    @ivar branch: of the top Via, C{b""} when there is none (RFC 2543).
    @ivar sentBy: of the top Via: C{host} or C{host:port} as it stands there, without blanks.
    @ivar viaTransport: of the top Via, in upper case.
    @ivar cseq: the number of CSeq; C{cseqMethod} its method.
    @ivar maxForwards: -1 when absent, or above 255, which RFC 4475 §3.1.2.4 lets an element take as
        absent.
    @ivar contentLength: in bytes, -1 when absent.
    @ivar hasRoute: whether there is a Route.
    @ivar callId: the whole value.
    @ivar fromLine: the line that From stands in, unfolded or as it came; C{toLine} likewise. For this package
        alone.
    @ivar body: what follows the empty line. Assigning it leaves Content-Length alone.
    """

    __slots__ = (
        "_fromTag",
        "_toTag",
        "body",
        "branch",
        "callId",
        "contentLength",
        "cseq",
        "cseqMethod",
        "fromLine",
        "hasRoute",
        "maxForwards",
        "sentBy",
        "startLine",
        "toLine",
        "viaTransport",
    )

    startLine: bytes
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
    fromLine: bytes
    toLine: bytes
    _fromTag: bytes | None
    _toTag: bytes | None

    # There is no __init__: whoever makes one sets all of these, and most know them already.

    def _fill(self, startLine: bytes, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        """
        Makes a new one. Content-Length is added where it is not among the headers.

        @raise ValueError: where a value holds a line break.
        @raise ParseError: where one of the fields read at once is malformed.
        """
        self.startLine = startLine
        self.lines = [headerLine(name, value) for name, value in headers]
        self.codes = bytes([codeOf(name) for name, _ in headers])
        if CONTENT_LENGTH not in self.codes:
            self.lines.append(b"Content-Length: %d" % len(body))
            self.codes += BYTES[CONTENT_LENGTH]
        self.body = body
        for code in range(LAST_READ + 1):
            self._read(code)

    def _read(self, code: int) -> None:
        """
        Reads anew what is kept of the header fields with this code.
        """
        if code > LAST_READ:
            return
        place = placeOf(code, self.codes)
        there = place >= 0
        value = valueOf(self.lines[place]) if there else b""
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
            self.fromLine = self.lines[place] if there else b""
            self._fromTag = None
        elif code == TO:
            self.toLine = self.lines[place] if there else b""
            self._toTag = None

    # Not every message is asked for these, and most only once.

    @property
    def fromValue(self) -> bytes:
        """
        The whole value of From.
        """
        return valueOf(self.fromLine)

    @property
    def toValue(self) -> bytes:
        """
        The whole value of To.
        """
        return valueOf(self.toLine)

    @property
    def fromTag(self) -> bytes:
        """
        The tag of From, C{b""} when it has none.
        """
        tag = self._fromTag
        if tag is None:
            tag = self._fromTag = tagIn(self.fromLine)
        return tag

    @property
    def toTag(self) -> bytes:
        """
        The tag of To, C{b""} when it has none.
        """
        tag = self._toTag
        if tag is None:
            tag = self._toTag = tagIn(self.toLine)
        return tag

    def pushVia(self, value: bytes) -> None:
        """
        Puts a Via on top.

        @param value: sent-protocol, sent-by and parameters, C{b"SIP/2.0/SCTP 192.0.2.1;branch=..."}.
        @raise ValueError: where it holds a line break.
        @raise ParseError: where it is not a Via.
        """
        if 0x0D in value or 0x0A in value:
            raise ValueError("line break in Via")
        branch, sentBy, transport = readTopVia(value)
        self.pushOwnVia(b"Via: " + value, branch, sentBy, transport)

    def pushOwnVia(self, line: bytes, branch: bytes, sentBy: bytes, transport: bytes) -> None:
        """
        The same for one of our own making, of which we know what it says.

        @param line: the whole line.
        """
        self.branch = branch
        self.sentBy = sentBy
        self.viaTransport = transport
        self._put(max(self._viaPlace(), 0), line, VIA)

    def _viaPlace(self) -> int:
        """
        Where the first Via stands, -1 when there is none.
        """
        codes = self.codes
        # As a rule it comes first.
        return 0 if codes and codes[0] == VIA else placeOf(VIA, codes)

    def popVia(self, likely: Message | None = None) -> None:
        """
        Takes the top Via off, also where several are joined by commas. Does nothing when there is
        none.

        @param likely: a message whose top Via is probably the next one: then that is not read again.
        @raise ParseError: where what is then the top one is malformed.
        """
        place = self._viaPlace()
        if place < 0:
            return
        codes = self.codes
        lines = self.lines
        line = lines[place]
        if 0x2C in line:
            # Several in one line: where the first is an ordinary one, the first comma ends it.
            first, _, rest = line.partition(b",")
            branch = self.branch
            # As a rule its branch ends it, which is seen faster than that it has one.
            ordinary = (branch and first.endswith(branch)) or first.find(b";branch=") >= 0
            usual = first.startswith(b"Via:") and len(rest) > 1 and rest[0] == 0x20 and rest[1] > 0x20
            if not usual:
                rest = b" " + rest.lstrip()
            if not ordinary or len(rest) < 2 or 0x22 in first or 0x3C in first:
                self._cut(place)
                self._read(VIA)
                return
            name = b"Via:" if usual else first[: first.index(b":") + 1]
            line = lines[place] = name + rest
        else:
            self._drop(place)
            codes = self.codes
            # As a rule the next one follows at once.
            if place == len(codes) or codes[place] != VIA:
                self._read(VIA)
                return
            line = lines[place]
        there = -1 if likely is None else likely._viaPlace()
        if likely is not None and there >= 0 and line == likely.lines[there]:
            self.branch = likely.branch
            self.sentBy = likely.sentBy
            self.viaTransport = likely.viaTransport
        else:
            self.branch, self.sentBy, self.viaTransport = readTopVia(valueOf(line))

    def hasOneVia(self) -> bool:
        """
        Whether there is a single Via, as in the requests of users.
        """
        place = self._viaPlace()
        return place >= 0 and placeOf(VIA, self.codes, place + 1) < 0 and 0x2C not in self.lines[place]

    def markReceived(self, host: bytes, port: int) -> None:
        """
        Notes in the top Via where the request came from: RFC 3261 §18.2.1, RFC 3581 §4.

        @param host: the source IP address; IPv6 without brackets.
        @param port: the source port.
        """
        place = self._viaPlace()
        if place < 0:
            return
        line = self.lines[place]
        sentBy = self.sentBy
        # As a rule there is its branch and nothing else, sent by the very address that it came from.
        bare = self.branch and len(line) <= _BARE + len(self.viaTransport) + len(sentBy) + len(self.branch)
        if bare and len(sentBy) > len(host) and sentBy[len(host)] == 0x3A and sentBy.startswith(host):
            return
        if wantsMarks(line, sentBy, host):
            self.lines[place] = b"Via: " + markedVia(valueOf(line), self.sentBy, host, port)

    def setMaxForwards(self, count: int) -> None:
        """
        @param count: 0 to 255.
        """
        self.maxForwards = count
        place = placeOf(MAX_FORWARDS, self.codes)
        if place >= 0:
            self.lines[place] = _HOPS[count]
        else:
            self.addLine(MAX_FORWARDS, _HOPS[count])

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
        other.codes = self.codes
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
        other.fromLine = self.fromLine
        other.toLine = self.toLine
        other._fromTag = self._fromTag
        other._toTag = self._toTag

    def toBytes(self) -> bytes:
        """
        @return: the message as it goes on the wire.
        """
        # To copy all of it twice takes less time than to make a list for one join.
        return b"%b\r\n%b\r\n\r\n%b" % (self.startLine, b"\r\n".join(self.lines), self.body)


class Request(Message):
    """
    A request.

    @ivar method: as it stands in the start line; not to be assigned.
    """

    __slots__ = ("_uri", "method")

    method: bytes
    _uri: bytes

    @classmethod
    def make(
        cls, method: bytes, uri: bytes, headers: Sequence[tuple[bytes, bytes]], body: bytes = b""
    ) -> Request:
        """
        A new request with these headers, in this order. Content-Length is added where it is not given;
        nothing else is, so that a Via can be pushed later.

        @raise ValueError: where a value holds a line break, or method or URI a blank.
        """
        if not isToken(method):
            raise ValueError(f"not a method: {method!r}")
        if _NO_BLANKS.fullmatch(uri) is None:
            raise ValueError(f"not a URI: {uri!r}")
        request = cls()
        request.method = method
        request._uri = uri
        request._fill(method + b" " + uri + b" SIP/2.0", headers, body)
        return request

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
        other = Request()
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
        response = cls()
        response.status = status
        response.reason = reason
        response._fill(b"SIP/2.0 %d %b" % (status, reason), headers, body)
        return response

    def copy(self) -> Response:
        """
        @return: a copy that can be changed without changing this one.
        """
        other = Response()
        self._copyInto(other)
        other.status = self.status
        other.reason = self.reason
        return other

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.reason!r} branch={self.branch!r}>"
