"""
The strings that say where to listen and where to connect, in the manner of Twisted's endpoint descriptions:
C{kind:value:key=value}, with C{\\:} for a colon inside a value.

L{sipgrace.transport} acts on them; here they are only checked, so that a mistake is found before anything
starts.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["Description", "checkConnect", "checkListen", "parseDescription"]

_PIECES = re.compile(r"((?:\\.|[^:\\])*)(:|\Z)", re.DOTALL)
_UNESCAPE = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Description:
    """
    One such string, taken apart.

    @ivar kind: C{udp}, C{tcp}, C{tls} or C{sctp}.
    @ivar positional: the values that stand without a key, in order.
    @ivar named: the values that stand with a key.
    """

    kind: str
    positional: tuple[str, ...]
    named: Mapping[str, str]


def parseDescription(text: str) -> Description:
    """
    Takes a string apart without asking what its parts mean.

    @raise ValueError: an unfinished escape, or the same key twice.
    """
    positional: list[str] = []
    named: dict[str, str] = {}
    at = 0
    while True:
        match = _PIECES.match(text, at)
        if match is None:
            raise ValueError(f"expected a character after the last backslash, found {text!r}")
        key, equals, value = match[1].partition("=")
        if equals:
            if key in named:
                raise ValueError(f"expected {key!r} once, found it twice in {text!r}")
            named[key] = _UNESCAPE.sub(r"\1", value)
        else:
            positional.append(_UNESCAPE.sub(r"\1", key))
        if not match[2]:
            return Description(positional[0] if positional else "", tuple(positional[1:]), named)
        at = match.end()


def _number(least: int, most: int) -> Callable[[str], str]:
    def check(value: str) -> str:
        if not (value.isascii() and value.isdigit() and least <= int(value) <= most):
            return f"a number from {least} to {most}"
        return ""

    return check


def _address(value: str) -> str:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return "an IP address (a colon inside it is written '\\:')"
    return ""


def _addresses(value: str) -> str:
    return "IP addresses, with commas between" if any(_address(one) for one in value.split(",")) else ""


def _seconds(value: str) -> str:
    try:
        good = 0 < float(value) <= 3600
    except ValueError:
        good = False
    return "" if good else "a number of seconds, above 0 and at most 3600"


def _stack(value: str) -> str:
    return "" if value in ("auto", "userspace", "kernel") else "auto, userspace or kernel"


def _some(value: str) -> str:
    return "" if value else "a value"


_Checks = Mapping[str, Callable[[str], str]]

# What may stand in each kind of string; "port" and "host" may also stand without their key, as in Twisted.
_LISTEN: Mapping[str, _Checks] = {
    "udp": {"port": _number(0, 65535), "interface": _address},
    "tcp": {"port": _number(0, 65535), "interface": _address, "backlog": _number(1, 65535)},
    "tls": {
        "port": _number(0, 65535),
        "interface": _address,
        "backlog": _number(1, 65535),
        "privateKey": _some,
        "certKey": _some,
        "extraCertChain": _some,
        "dhParameters": _some,
    },
    "sctp": {
        "port": _number(0, 65535),
        "interface": _addresses,
        "encaps": _number(0, 65535),
        "stack": _stack,
    },
}
_CONNECT: Mapping[str, _Checks] = {
    "udp": {"host": _some, "port": _number(1, 65535)},
    "tcp": {"host": _some, "port": _number(1, 65535), "timeout": _seconds, "bindAddress": _address},
    "tls": {
        "host": _some,
        "port": _number(1, 65535),
        "timeout": _seconds,
        "bindAddress": _address,
        "certificate": _some,
        "privateKey": _some,
        "trustRoots": _some,
        "endpoint": _some,
    },
    "sctp": {
        "host": _some,
        "port": _number(1, 65535),
        "encaps": _number(1, 65535),
        "bindAddress": _addresses,
        "localEncaps": _number(0, 65535),
        "stack": _stack,
        "timeout": _seconds,
    },
}


def _check(text: str, kinds: Mapping[str, _Checks], order: tuple[str, ...], example: str) -> str:
    given = parseDescription(text)
    checks = kinds.get(given.kind)
    if checks is None:
        raise ValueError(
            f"expected a string that begins with one of {', '.join(kinds)}, such as {example!r}, "
            f"found {text!r}"
        )
    if len(given.positional) > len(order):
        raise ValueError(
            f"expected key=value after {':'.join((given.kind, *order)).upper()!r}, found {text!r}"
        )
    values = dict(zip(order, given.positional, strict=False))
    for key, value in given.named.items():
        if key not in checks:
            raise ValueError(
                f"expected one of the keys {', '.join(checks)} in a {given.kind} string, "
                f"found {key!r} in {text!r}"
            )
        if key in values:
            raise ValueError(f"expected {key!r} once, found it twice in {text!r}")
        values[key] = value
    for key in order:
        if key not in values:
            raise ValueError(f"expected a {key} as in {example!r}, found none in {text!r}")
    for key, value in values.items():
        wrong = checks[key](value)
        if wrong:
            raise ValueError(f"expected {wrong} for {key!r}, found {value!r} in {text!r}")
    return text


def checkListen(text: str) -> str:
    """
    Checks a string that says where to listen.

    @return: the same string.
    @raise ValueError: naming what was expected.
    """
    return _check(text, _LISTEN, ("port",), "udp:5060:interface=192.0.2.1")


def checkConnect(text: str) -> str:
    """
    Checks a string that says where to connect.

    @return: the same string.
    @raise ValueError: naming what was expected.
    """
    return _check(text, _CONNECT, ("host", "port"), "sctp:host=192.0.2.1:port=5060")
