"""
The strings that say where to listen and whom to connect to, in the manner of Twisted's endpoints:
C{udp:5060:interface=192.0.2.1}, C{tcp:host=192.0.2.7:port=5060}; a backslash quotes a colon.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from twisted.internet.endpoints import quoteStringArgument

from sipgrace.errors import ConfigError

__all__ = ["Description", "joinDescription", "parseDescription"]

_TRANSPORTS = ("udp", "tcp", "tls", "sctp")


@dataclass(frozen=True, slots=True)
class Description:
    """
    A string, taken apart.

    @ivar text: the whole of it.
    @ivar transport: C{b'UDP'}, C{b'TCP'}, C{b'TLS'} or C{b'SCTP'}.
    @ivar positional: what has no name.
    @ivar arguments: what has one.
    """

    text: str
    transport: bytes
    positional: tuple[str, ...]
    arguments: Mapping[str, str]

    def named(self, order: tuple[str, ...], known: Iterable[str]) -> dict[str, str]:
        """
        @param order: the names of the positional ones.
        @param known: all the other names.

        @return: all arguments, by name.

        @raise ConfigError: there is one that is not known, or too many.
        """
        if len(self.positional) > len(order):
            part = self.positional[len(order)]
            raise ConfigError(
                f"{self.text!r}: expected NAME=VALUE after each colon, found {part!r}; a colon within a "
                r"value, as in an IPv6 address, is written \: (in TOML, between single quotes)"
            )
        values = {**dict(zip(order, self.positional, strict=False)), **self.arguments}
        for name in self.arguments:
            if name not in order and name not in known:
                expected = ", ".join(sorted({*order, *known}))
                raise ConfigError(f"{self.text!r}: unknown argument {name!r}; expected some of {expected}")
            if name in order and order.index(name) < len(self.positional):
                raise ConfigError(f"{self.text!r}: {name} is given twice")
        return values

    def number(self, values: Mapping[str, str], name: str, least: int, most: int) -> int:
        """
        @return: that one of C{values}.

        @raise ConfigError: it is missing, or no number between the bounds.
        """
        value = values.get(name, "")
        if not value.isascii() or not value.isdigit() or not least <= int(value) <= most:
            raise ConfigError(f"{self.text!r}: expected {name} from {least} to {most}, not {value!r}")
        return int(value)


def parseDescription(text: str) -> Description:
    """
    @raise ConfigError: it does not begin with one of the transports.
    """
    parts: list[list[str]] = [[""]]
    characters = iter(text)
    for character in characters:
        if character == "\\":
            parts[-1][-1] += next(characters, "")
        elif character == ":":
            parts.append([""])
        elif character == "=" and len(parts[-1]) == 1:
            parts[-1].append("")
        else:
            parts[-1][-1] += character
    transport = "".join(parts[0])
    if transport not in _TRANSPORTS:
        raise ConfigError(f"{text!r}: expected {', '.join(_TRANSPORTS)} before the first colon")
    return Description(
        text,
        transport.upper().encode("ascii"),
        tuple(part[0] for part in parts[1:] if len(part) == 1),
        {part[0]: part[1] for part in parts[1:] if len(part) == 2},
    )


def joinDescription(transport: bytes, arguments: Mapping[str, object], extra: str = "") -> str:
    """
    @param extra: further arguments as they stand, already quoted.

    @return: a string that L{parseDescription} and Twisted read.
    """
    parts = [transport.decode("ascii").lower()]
    parts += [f"{name}={quoteStringArgument(str(value))}" for name, value in arguments.items()]
    return ":".join([*parts, extra] if extra else parts)
