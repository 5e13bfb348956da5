"""
Header values as objects, for those who want more of them than the message itself tells. Each has
C{parse}, which takes the value of one field (one element of a list header) and raises L{ParseError},
and C{__bytes__}, which writes it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

from sipgrace.errors import ParseError
from sipgrace.message import params
from sipgrace.message.params import Params
from sipgrace.message.scan import cutFirst, unfold
from sipgrace.message.topvia import readSent
from sipgrace.message.uri import SIPURI, OtherURI, hostPort, parseURI

__all__ = ["Date", "Event", "NameAddr", "Reason", "RetryAfter", "SubscriptionState", "Via"]

_NAME_ADDR: Final = re.compile(rb'("[^"\\]*(?:\\.[^"\\]*)*"[ \t]*|[^"<>]*)<([^<>"]*)>(.*)', re.DOTALL)
_VALUE_PARAMS: Final = re.compile(rb"([^\s;,\"]+)[ \t]*(.*)", re.DOTALL)
_SECONDS: Final = re.compile(rb"(\d+)[ \t]*")
_DATE: Final = re.compile(
    rb"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), (\d\d) (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) (\d{4})"
    rb" (\d\d):(\d\d):(\d\d) GMT"
)
_MONTHS: Final = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
_IN_COMMENT: Final = re.compile(rb"\\.|[()]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Via:
    """
    One Via (RFC 3261 §20.42).

    @ivar transport: in upper case.
    @ivar host: IPv6 without its brackets.
    @ivar port: C{None} where none is written.
    """

    transport: bytes
    host: bytes
    port: int | None = None
    params: Params = ()

    @classmethod
    def parse(cls, value: bytes) -> Via:
        """
        @raise ParseError: 505 where it is one of another SIP version.
        """
        first, rest = cutFirst(unfold(value))
        if rest:
            raise ParseError("More than one Via header field value")
        sent, semicolon, parameters = first.partition(b";")
        transport, host, port = readSent(sent)
        return cls(transport, host.strip(b"[]"), port, params.split(semicolon + parameters))

    def param(self, name: bytes) -> bytes | None:
        """
        See L{sipgrace.message.params.find}.
        """
        return params.find(self.params, name)

    @property
    def sentBy(self) -> bytes:
        """
        C{host} or C{host:port}.
        """
        return hostPort(self.host, self.port)

    @property
    def branch(self) -> bytes:
        """
        C{b""} where there is none.
        """
        return self.param(b"branch") or b""

    def __bytes__(self) -> bytes:
        return b"SIP/2.0/" + self.transport + b" " + self.sentBy + params.join(self.params)


@dataclass(frozen=True, slots=True)
class NameAddr:
    """
    An address with its display name and parameters: From, To, Contact, Route, Record-Route, Refer-To.

    @ivar uri: without angle brackets.
    @ivar display: as it is written, in its quotes where it has some; C{b""} where there is none.
    @ivar params: of the header field, not of the URI.
    """

    uri: SIPURI | OtherURI
    display: bytes = b""
    params: Params = ()

    @classmethod
    def parse(cls, value: bytes) -> NameAddr:
        """
        Takes some values that no sender should write, and what they can only mean: blanks within the
        angle brackets and commas or other marks in a display name without quotes (RFC 4475 §3.1.2.14,
        §3.1.2.15).
        """
        value = unfold(value)
        if b"<" in value:
            match = _NAME_ADDR.fullmatch(value)
            if match is None:
                raise ParseError("Malformed address")
            display, uri, rest = match.groups()
            return cls(parseURI(uri.strip(b" \t")), display.strip(), params.split(rest))
        # Without angle brackets what follows is the header field's, not the URI's (§20), and a URI with
        # a question mark or a comma cannot stand so. The user part may hold semicolons.
        semicolon = value.find(b";", value.find(b"@") + 1)
        if semicolon < 0:
            semicolon = len(value)
        uri = value[:semicolon].rstrip(b" \t")
        if b"?" in uri or b"," in uri:
            raise ParseError("Address that needs angle brackets")
        return cls(parseURI(uri), b"", params.split(value[semicolon:]))

    def param(self, name: bytes) -> bytes | None:
        """
        See L{sipgrace.message.params.find}.
        """
        return params.find(self.params, name)

    def __bytes__(self) -> bytes:
        name = self.display + b" " if self.display else b""
        return name + b"<" + bytes(self.uri) + b">" + params.join(self.params)


@dataclass(frozen=True, slots=True)
class RetryAfter:
    """
    RFC 3261 §20.33.

    @ivar seconds: from the response that holds it; below 2**32.
    @ivar comment: without its brackets, C{b""} where there is none.
    @ivar duration: seconds for which the callee is there again, C{None} where not said.
    """

    seconds: int
    comment: bytes = b""
    duration: int | None = None

    @classmethod
    def parse(cls, value: bytes) -> RetryAfter:
        """
        Other parameters are passed over.
        """
        value = unfold(value)
        match = _SECONDS.match(value)
        if match is None:
            raise ParseError("Malformed Retry-After header field")
        comment, rest = _cutComment(value[match.end() :])
        duration = params.find(params.split(rest), b"duration")
        return cls(
            _seconds(match.group(1), "Retry-After"),
            comment,
            None if duration is None else _seconds(duration, "Retry-After"),
        )

    def __bytes__(self) -> bytes:
        text = b"%d" % self.seconds
        if self.comment:
            text += b" (" + self.comment + b")"
        if self.duration is not None:
            text += b";duration=%d" % self.duration
        return text


@dataclass(frozen=True, slots=True)
class SubscriptionState:
    """
    RFC 6665 §8.2.3.

    @ivar state: C{active}, C{pending}, C{terminated} or an extension, in lower case.
    @ivar reason: C{b""} where there is none.
    @ivar expires: in seconds, C{None} where not said; C{retryAfter} likewise.
    """

    state: bytes
    reason: bytes = b""
    expires: int | None = None
    retryAfter: int | None = None

    @classmethod
    def parse(cls, value: bytes) -> SubscriptionState:
        """
        Other parameters are passed over.
        """
        state, found = _valueAndParams(value, "Subscription-State")
        expires, retryAfter = params.find(found, b"expires"), params.find(found, b"retry-after")
        return cls(
            state.lower(),
            (params.find(found, b"reason") or b"").lower(),
            None if expires is None else _seconds(expires, "Subscription-State"),
            None if retryAfter is None else _seconds(retryAfter, "Subscription-State"),
        )

    def __bytes__(self) -> bytes:
        text = self.state
        if self.reason:
            text += b";reason=" + self.reason
        if self.expires is not None:
            text += b";expires=%d" % self.expires
        if self.retryAfter is not None:
            text += b";retry-after=%d" % self.retryAfter
        return text


@dataclass(frozen=True, slots=True)
class Event:
    """
    RFC 6665 §8.2.1.

    @ivar package: the event package, with its templates.
    """

    package: bytes
    params: Params = ()

    @classmethod
    def parse(cls, value: bytes) -> Event:
        """
        See the module.
        """
        return cls(*_valueAndParams(value, "Event"))

    @property
    def id(self) -> bytes:
        """
        C{b""} where there is none.
        """
        return params.find(self.params, b"id") or b""

    def __bytes__(self) -> bytes:
        return self.package + params.join(self.params)


@dataclass(frozen=True, slots=True)
class Reason:
    """
    RFC 3326: why a request was sent.

    @ivar protocol: C{b"SIP"}, C{b"Q.850"} or an extension.
    @ivar cause: C{None} where not said; a SIP status for C{SIP}.
    @ivar text: C{b""} where there is none; out of its quotes.
    """

    protocol: bytes
    cause: int | None = None
    text: bytes = b""

    @classmethod
    def parse(cls, value: bytes) -> Reason:
        """
        Other parameters are passed over.
        """
        protocol, found = _valueAndParams(value, "Reason")
        cause = params.find(found, b"cause")
        return cls(
            protocol, None if cause is None else _seconds(cause, "Reason"), params.find(found, b"text") or b""
        )

    def __bytes__(self) -> bytes:
        text = self.protocol
        if self.cause is not None:
            text += b";cause=%d" % self.cause
        if self.text:
            text += b";text=" + params.quote(self.text)
        return text


@dataclass(frozen=True, slots=True)
class Date:
    """
    RFC 3261 §20.17: in GMT and no other zone.

    @ivar seconds: since 1970-01-01 00:00 UTC.
    """

    seconds: int

    @classmethod
    def parse(cls, value: bytes) -> Date:
        """
        The day of the week is not held against the date.
        """
        match = _DATE.fullmatch(unfold(value))
        if match is None:
            raise ParseError("Malformed Date header field")
        _, day, month, year, hour, minute, second = match.groups()
        try:
            moment = datetime(
                int(year),
                _MONTHS.index(month) + 1,
                int(day),
                int(hour),
                int(minute),
                min(int(second), 59),
                0,
                UTC,
            )
        except ValueError:
            raise ParseError("Impossible date in Date header field") from None
        return cls(int(moment.timestamp()))

    def __bytes__(self) -> bytes:
        return format_datetime(datetime.fromtimestamp(self.seconds, UTC), usegmt=True).encode("ascii")


def _seconds(text: bytes, name: str) -> int:
    if not text.isdigit() or len(text) > 10 or int(text) >= 2**32:
        raise ParseError(f"Number out of range in {name} header field")
    return int(text)


def _valueAndParams(value: bytes, name: str) -> tuple[bytes, Params]:
    match = _VALUE_PARAMS.fullmatch(unfold(value))
    if match is None:
        raise ParseError(f"Malformed {name} header field")
    return match.group(1), params.split(match.group(2))


def _cutComment(text: bytes) -> tuple[bytes, bytes]:
    """
    @return: the comment that it begins with, out of its brackets, and the rest. Comments nest.
    """
    if text[:1] != b"(":
        return b"", text
    depth = 0
    for match in _IN_COMMENT.finditer(text):
        found = match.group()
        if found == b"(":
            depth += 1
        elif found == b")":
            depth -= 1
            if depth == 0:
                return text[1 : match.start()], text[match.end() :]
    raise ParseError("Unterminated comment in a header field")
