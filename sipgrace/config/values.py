"""
The kinds of value that configuration keys hold, each with its bounds.

Every check here raises C{ValueError} with a text that says what was expected; L{sipgrace.config.load} puts
file and key before it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, ValidationInfo
from pydantic_core import PydanticCustomError

from sipgrace.config.descriptions import checkConnect, checkListen
from sipgrace.errors import ConfigError, SIPGraceError
from sipgrace.message.uri import SIPURI, parseURI
from sipgrace.transport.address import splitHostPort

__all__ = [
    "Advertise",
    "Argument",
    "Connect",
    "ConnectOrDomain",
    "Domain",
    "FilePath",
    "Guard",
    "Listen",
    "Mistake",
    "Name",
    "Network",
    "NetworkOrName",
    "Phrase",
    "Prefix",
    "Resolving",
    "Seconds",
    "SipURI",
    "SipURIOrName",
    "SipURIOrService",
    "Then",
    "atLeast",
    "mistakes",
    "named",
    "once",
]

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,62}\Z")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}\Z")
# RFC 5031 §3
_SERVICE = re.compile(rf"urn:service:{_LABEL}(?:\.{_LABEL})*\Z")
# What RFC 3261 §25.1 lets a user part hold, less the escapes and the password.
_PREFIX = re.compile(r"[A-Za-z0-9\-_.!~*'()&=+$,;?/]+\Z")


Mistake = tuple[tuple[str | int, ...], str]
"""The path of keys from the value under check to what is wrong, and a text that says what was expected."""


def mistakes(found: Iterable[Mistake]) -> None:
    """
    Raises one error that carries several mistakes, so that a check over many keys can name each.

    @param found: with none, nothing is raised.
    """
    listed = list(found)
    if listed:
        raise PydanticCustomError("mistakes", "several mistakes", {"mistakes": listed})


def once(names: list[str], what: str, key: str = "name") -> Iterator[Mistake]:
    """
    Finds names that occur twice in an array of tables.

    @param what: what they are names of.
    @param key: under which they stand in each table.
    """
    for at, name in enumerate(names):
        if name in names[:at]:
            yield ((at, key), f"expected a {key} that no other {what} has, found {name!r} again")


def atLeast(key: str, value: float, other: str, bound: float, unit: str = "") -> Iterator[Mistake]:
    """
    Finds a value that is below another one of the same section.

    @param other: what that is called.
    """
    if value < bound:
        yield ((key,), f"expected at least {other}, which is {bound:g}{unit}, found {value:g}")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected a string, found {value!r}")
    return value


def _name(value: str) -> str:
    if not _NAME.match(value):
        raise ValueError(
            f"expected a name (a letter, then letters, digits, '_', '.', '-'; 63 at most), found {value!r}"
        )
    return value


def _network(value: object) -> IPNetwork:
    text = _text(value)
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(
            f"expected a network such as '192.0.2.0/24' or '2001:db8::1', found {text!r} ({error})"
        ) from None


def _networkOrName(value: object) -> IPNetwork | str:
    text = _text(value)
    return _name(text) if _NAME.match(text) else _network(text)


def _uri(value: object) -> SIPURI:
    text = _text(value)
    expected = f"expected a SIP URI such as 'sip:192.0.2.1:5060;transport=tcp', found {text!r}"
    if any(not 0x20 < ord(c) < 0x7F for c in text):
        raise ValueError(expected)
    try:
        uri = parseURI(text.encode("ascii"))
    except SIPGraceError as error:
        raise ValueError(f"{expected} ({error})") from None
    if not isinstance(uri, SIPURI):
        raise ValueError(expected)
    return uri


def _uriOrName(value: object) -> SIPURI | str:
    text = _text(value)
    return _name(text) if ":" not in text else _uri(text)


def _uriOrService(value: object) -> SIPURI | str:
    text = _text(value)
    if not text.lower().startswith("urn:"):
        return _uri(text)
    if not _SERVICE.match(text.lower()):
        raise ValueError(f"expected the name of a service such as 'urn:service:sos', found {text!r}")
    return text.lower()


def _domain(value: str) -> str:
    text = value.lower()
    if text == "*" or _DOMAIN.match(text):
        return text
    address = text[1:-1] if text.startswith("[") and text.endswith("]") else ""
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        raise ValueError(
            f"expected a domain such as 'example.org', an address, or '*' for every domain, found {value!r}"
        ) from None
    return text


def _prefix(value: str) -> str:
    if not _PREFIX.match(value):
        raise ValueError(
            f"expected the first characters of the user part of a SIP URI, such as '+4930', found {value!r}"
        )
    return value


def _phrase(value: str) -> str:
    if not (0 < len(value) <= 200 and value.isascii() and value.isprintable()):
        raise ValueError(f"expected 1 to 200 printable ASCII characters, found {value[:30]!r}")
    return value


def _argument(value: str) -> str:
    if not value or "\0" in value:
        raise ValueError(f"expected an argument of a program, found {value[:30]!r}")
    return value


def _guard(value: object) -> object:
    if value == "auto":
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.5 <= value <= 86400:
        found = str(value).lower() if isinstance(value, bool) else repr(value)
        raise ValueError(f"expected a number of seconds from 0.5 to 86400, or 'auto', found {found}")
    return float(value)


def _then(value: str) -> str:
    if value in ("stay", "exit") or (value.startswith("run ") and value[4:].strip() and "\0" not in value):
        return value
    raise ValueError(f"expected 'stay', 'exit' or 'run COMMAND', found {value!r}")


def _listen(value: str) -> str:
    try:
        return checkListen(value)
    except ConfigError as error:
        raise ValueError(str(error)) from None


def _connect(value: str) -> str:
    try:
        return checkConnect(value)
    except ConfigError as error:
        raise ValueError(str(error)) from None


def _connectOrDomain(value: str) -> str:
    if value.partition(":")[0].lower() not in ("sip", "sips"):
        return _connect(value)
    uri = _uri(value)
    transport = (uri.param(b"transport") or b"").lower()
    if uri.user or uri.headers or transport not in (b"", b"sctp", b"tcp", b"tls"):
        raise ValueError(
            f"expected a domain to look up, as in 'sip:example.org' or 'sip:example.org;transport=sctp' "
            f"(or tcp, tls), found {value!r}"
        )
    return value


def _advertise(value: str) -> str:
    try:
        splitHostPort(value, 0)
    except SIPGraceError as error:
        raise ValueError(f"expected host or host:port, found {value!r} ({error})") from None
    return value


def _resolving(value: str) -> str:
    try:
        host, _ = splitHostPort(value, 53)
    except SIPGraceError as error:
        raise ValueError(f"expected an address or address:port, found {value!r} ({error})") from None
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        raise ValueError(f"expected an IP address, with or without a port, found {value!r}") from None
    return value


def _path(value: object, info: ValidationInfo) -> Path:
    text = _text(value)
    if not text:
        raise ValueError("expected the path of a file, found ''")
    folder = (info.context or {}).get("folder", Path())
    return Path(folder) / Path(text).expanduser()


def named(value: object) -> str:
    """
    @return: one of these values as it would stand in a file.
    """
    return bytes(value).decode("ascii") if isinstance(value, SIPURI) else str(value)


Name = Annotated[str, AfterValidator(_name)]
"""The name of a client or server."""

Seconds = Annotated[float, Field(allow_inf_nan=False)]
"""A number of seconds; each key has its own bounds."""

Guard = Annotated[float | Literal["auto"], BeforeValidator(_guard)]
"""A time in seconds, or that it is to be estimated."""

Then = Annotated[str, AfterValidator(_then)]
"""What follows a drain."""

Network = Annotated[IPNetwork, BeforeValidator(_network), PlainSerializer(named)]
"""An IP network; a single address is a network of one."""

NetworkOrName = Annotated[IPNetwork | str, BeforeValidator(_networkOrName), PlainSerializer(named)]
"""An IP network, or the name of a client."""

SipURI = Annotated[SIPURI, BeforeValidator(_uri), PlainSerializer(named)]
"""A C{sip:} or C{sips:} URI (RFC 3261 §19.1)."""

SipURIOrName = Annotated[SIPURI | str, BeforeValidator(_uriOrName), PlainSerializer(named)]
"""A C{sip:} or C{sips:} URI, or the name of a client."""

SipURIOrService = Annotated[SIPURI | str, BeforeValidator(_uriOrService), PlainSerializer(named)]
"""A C{sip:} or C{sips:} URI, or the name of a service in lower case (RFC 5031)."""

Domain = Annotated[str, AfterValidator(_domain)]
"""The host part of a SIP URI, in lower case; C{*} stands for every domain."""

Prefix = Annotated[str, AfterValidator(_prefix)]
"""The first characters of the user part of a SIP URI."""

Argument = Annotated[str, AfterValidator(_argument)]
"""One argument of a program, the program's own path included."""

Phrase = Annotated[str, AfterValidator(_phrase)]
"""A reason phrase: 1 to 200 printable ASCII characters."""

FilePath = Annotated[Path, BeforeValidator(_path), PlainSerializer(named)]
"""The path of a file; a relative one counts from the folder of the configuration file."""

Advertise = Annotated[str, AfterValidator(_advertise)]
"""What peers are told in place of a bound address: C{host} or C{host:port}."""

Resolving = Annotated[str, AfterValidator(_resolving)]
"""A DNS server: an IP address, or address and port."""

Listen = Annotated[str, AfterValidator(_listen)]
"""Where to listen: C{udp:5060:interface=192.0.2.1}, C{sctp:5060:encaps=9899} and so on."""

Connect = Annotated[str, AfterValidator(_connect)]
"""Where to connect: C{sctp:host=192.0.2.1:port=5060}, C{tcp:host=...:port=...} and so on."""

ConnectOrDomain = Annotated[str, AfterValidator(_connectOrDomain)]
"""The same, or a SIP URI whose domain DNS knows the servers of: C{sip:example.org}."""
