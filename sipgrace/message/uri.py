"""
URIs: SIP and SIPS taken apart (RFC 3261 §19.1), all others kept whole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from socket import AF_INET6, inet_pton
from typing import Final

from sipgrace.errors import ParseError
from sipgrace.message.params import Params

__all__ = ["SIPURI", "OtherURI", "hostPort", "parseURI", "sameURI"]

_SCHEME: Final = re.compile(rb'([A-Za-z][A-Za-z0-9+.\-]*):([^\x00-\x20<>"\x7f]+)')
# More characters than §25.1 allows are let through in the user, as nothing depends on them there.
_SIP: Final = re.compile(
    rb"(?:([^@:]+)(?::([^@]*))?@)?"
    rb"([A-Za-z0-9_](?:[A-Za-z0-9_.\-]*)|\[[0-9A-Fa-f:.]+\])"
    rb"(?::(\d{1,5}))?"
    rb"((?:;[^;?=@]+(?:=[^;?@]*)?)*)"
    rb"(?:\?(.+))?"
)
_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_RESERVED: Final = b";/?:@&=+$,"
_ALWAYS_COMPARED: Final = frozenset([b"user", b"ttl", b"method", b"maddr"])
"""
A parameter of these names in one URI alone makes the two different (§19.1.4). The same section's
examples ask it of C{transport} too.
"""


@dataclass(frozen=True, slots=True)
class SIPURI:
    """
    A SIP or SIPS URI. Escapes (C{%41}) stay as they are written.

    @ivar scheme: C{b"sip"} or C{b"sips"}.
    @ivar user: C{b""} where there is none. It may hold semicolons (RFC 4475 §3.1.1.9).
    @ivar password: C{None} where there is none.
    @ivar host: a name or an IP address; IPv6 without its brackets.
    @ivar port: C{None} where none is written.
    @ivar params: names and values in order; C{None} for a parameter without a value.
    @ivar headers: what follows the question mark, names and values.
    """

    scheme: bytes
    user: bytes
    password: bytes | None
    host: bytes
    port: int | None = None
    params: Params = ()
    headers: tuple[tuple[bytes, bytes], ...] = ()

    @classmethod
    def parse(cls, text: bytes) -> SIPURI:
        """
        @raise ParseError: 400 where it is malformed, 416 where it is of another scheme.
        """
        scheme, _, rest = text.partition(b":")
        scheme = scheme.lower()
        if _SCHEME.fullmatch(text) is None:
            raise ParseError("Malformed URI")
        if scheme not in (b"sip", b"sips"):
            raise ParseError("Unsupported URI scheme", 416)
        match = _SIP.fullmatch(rest)
        if match is None:
            raise ParseError("Malformed SIP URI")
        user, password, host, port, params, headers = match.groups()
        if host[:1] == b"[":
            # The grammar of RFC 3261 lets a third colon stand before an IPv4 address; it means nothing
            # (RFC 5118 §4.10).
            host = host[1:-1].replace(b":::", b"::")
            _checkIPv6(host)
        number = None
        if port is not None:
            number = int(port)
            if not 0 < number < 65536:
                raise ParseError("Port out of range in SIP URI")
        pairs: list[tuple[bytes, bytes | None]] = []
        for piece in params.split(b";")[1:]:
            name, equals, value = piece.partition(b"=")
            pairs.append((name, value if equals else None))
        fields: list[tuple[bytes, bytes]] = []
        if headers is not None:
            for piece in headers.split(b"&"):
                name, equals, value = piece.partition(b"=")
                if not (name and equals):
                    raise ParseError("Malformed header fields in SIP URI")
                fields.append((name, value))
        return cls(scheme, user or b"", password, host, number, tuple(pairs), tuple(fields))

    def param(self, name: bytes) -> bytes | None:
        """
        @return: the value of that parameter, C{b""} where it has none (C{;lr}), C{None} where it is
            not there.
        """
        wanted = name.lower()
        for other, value in self.params:
            if other.lower() == wanted:
                return value or b""
        return None

    def __bytes__(self) -> bytes:
        text = self.scheme + b":"
        if self.user:
            text += self.user
            if self.password is not None:
                text += b":" + self.password
            text += b"@"
        text += b"[" + self.host + b"]" if b":" in self.host else self.host
        if self.port is not None:
            text += b":%d" % self.port
        for name, value in self.params:
            text += b";" + name if value is None else b";" + name + b"=" + value
        if self.headers:
            text += b"?" + b"&".join([name + b"=" + value for name, value in self.headers])
        return text


@dataclass(frozen=True, slots=True)
class OtherURI:
    """
    A URI of any other scheme.

    @ivar scheme: in lower case.
    @ivar rest: what follows the colon.
    """

    scheme: bytes
    rest: bytes

    def __bytes__(self) -> bytes:
        return self.scheme + b":" + self.rest


def parseURI(text: bytes) -> SIPURI | OtherURI:
    """
    @raise ParseError: where it is no URI, or a malformed SIP or SIPS URI.
    """
    match = _SCHEME.fullmatch(text)
    if match is None:
        raise ParseError("Malformed URI")
    scheme = match.group(1).lower()
    if scheme in (b"sip", b"sips"):
        return SIPURI.parse(text)
    return OtherURI(scheme, match.group(2))


def _checkIPv6(host: bytes) -> None:
    try:
        inet_pton(AF_INET6, host.decode("ascii"))
    except OSError:
        raise ParseError("Malformed IPv6 address in SIP URI") from None


def _plain(text: bytes) -> bytes:
    """
    Writes out the escapes of all characters that mean the same escaped or not.
    """
    if b"%" not in text:
        return text

    def decode(match: re.Match[bytes]) -> bytes:
        char = bytes([int(match.group(1), 16)])
        return match.group().upper() if char in _RESERVED or char == b"%" else char

    return _ESCAPE.sub(decode, text)


def _host(uri: SIPURI) -> bytes:
    if b":" in uri.host:
        try:
            return inet_pton(AF_INET6, uri.host.decode("ascii", "replace"))
        except OSError:
            pass
    return uri.host.lower()


def _folded(pairs: Params) -> dict[bytes, bytes]:
    return {_plain(name).lower(): _plain(value or b"").lower() for name, value in pairs}


def sameURI(one: SIPURI | OtherURI, other: SIPURI | OtherURI) -> bool:
    """
    Whether two URIs are equivalent by §19.1.4. (That is not transitive.) URIs of other schemes are so
    when they are equal; header values are compared without regard to case.
    """
    if not isinstance(one, SIPURI) or not isinstance(other, SIPURI):
        return one == other
    if (
        one.scheme != other.scheme
        or one.port != other.port
        or _plain(one.user) != _plain(other.user)
        or (one.password is None) != (other.password is None)
        or _plain(one.password or b"") != _plain(other.password or b"")
        or _host(one) != _host(other)
    ):
        return False
    ours = _folded(one.params)
    theirs = _folded(other.params)
    for name in ours.keys() | theirs.keys():
        if name in ours and name in theirs:
            if ours[name] != theirs[name]:
                return False
        elif name in _ALWAYS_COMPARED or name == b"transport":
            return False
    return _folded(one.headers) == _folded(other.headers)


def hostPort(host: bytes, port: int | None = None) -> bytes:
    """
    @param host: a name or an IP address, IPv6 with or without brackets.
    @return: C{host}, C{host:port}, C{[IPv6]} or C{[IPv6]:port}.
    """
    if b":" in host and host[:1] != b"[":
        host = b"[" + host + b"]"
    return host if port is None else b"%b:%d" % (host, port)
