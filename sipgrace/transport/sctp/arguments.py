"""
What a string of C{sctp:} may say (those of C{udp}, C{tcp} and C{tls}: L{sipgrace.transport.arguments}).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sipgrace.errors import ConfigError
from sipgrace.transport.address import isLiteral
from sipgrace.transport.sctp.stack import DEFAULT_OPTIONS, SCTPOptions

__all__ = ["BOUNDS", "Arguments"]

STACKS: Final = ("auto", "userspace", "kernel")

BOUNDS: Final = {
    "rtoInitial": (10, 60000),
    "rtoMin": (10, 60000),
    "rtoMax": (10, 600000),
    "sackDelay": (1, 500),
    "heartbeat": (0, 3600000),
    "initAttempts": (1, 100),
    "maxRetransmissions": (1, 100),
    "streams": (1, 2048),
    "nodelay": (0, 1),
    "sendBuffer": (4096, 16777216),
    "sendBound": (0, 1073741824),
    "maxMessage": (1, 16777216),
}
"""The least and greatest value of each field of L{SCTPOptions} in a string."""


class Arguments:
    """
    The words of one endpoint string, taken one by one; each bad one raises a L{ConfigError} that names it and
    what was expected. What is not there is C{None}, nothing, or the default.
    """

    def __init__(
        self, kind: str, positions: tuple[str, ...], args: Sequence[object], kwargs: Mapping[str, object]
    ) -> None:
        """
        @param kind: what errors begin with.
        @param positions: the names of those without one, in their order.
        @param args: those without a name.
        @param kwargs: those with one.
        """
        if len(args) > len(positions):
            raise ConfigError(
                f"{kind}: {args[len(positions)]!r} has no name (an IPv6 address needs \\: for :)"
            )
        self._kind = kind
        self._left = dict(zip(positions, map(str, args), strict=False))
        self._known: set[str] = set()
        for name, value in kwargs.items():
            if name in self._left:
                raise ConfigError(f"{kind}: {name} is given twice")
            self._left[name] = str(value)

    def text(self, name: str) -> str | None:
        """
        Any words.
        """
        self._known.add(name)
        return self._left.pop(name, None)

    def number(self, name: str, least: int, greatest: int, default: int | None = None) -> int | None:
        """
        A whole number within these bounds.
        """
        text = self.text(name)
        if text is None:
            return default
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= greatest:
            raise ConfigError(f"{self._kind} {name}={text}: expected a number from {least} to {greatest}")
        return int(text)

    def seconds(self, name: str, default: float) -> float:
        """
        Seconds: above 0, at most 3600.
        """
        text = self.text(name)
        if text is None:
            return default
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0.0 < value <= 3600.0:
            raise ConfigError(f"{self._kind} {name}={text}: expected seconds, above 0 and at most 3600")
        return value

    def addresses(self, name: str) -> tuple[str, ...]:
        """
        IP addresses, with commas between them.
        """
        text = self.text(name)
        hosts = tuple(text.split(",")) if text else ()
        for host in hosts:
            if not isLiteral(host):
                raise ConfigError(f"{self._kind} {name}={text}: {host!r} is not an IP address")
        return hosts

    def address(self, name: str) -> str:
        """
        One IP address.
        """
        text = self.text(name) or ""
        if text and not isLiteral(text):
            raise ConfigError(f"{self._kind} {name}={text}: expected an IP address")
        return text

    def stack(self) -> str:
        """
        Which stack: C{auto} by default.
        """
        text = self.text("stack")
        if text is None:
            return "auto"
        if text not in STACKS:
            raise ConfigError(f"{self._kind} stack={text}: expected {', '.join(STACKS)}")
        return text

    def options(self) -> SCTPOptions:
        """
        The fields of L{SCTPOptions}.
        """
        values: dict[str, Any] = {}
        for name, (least, greatest) in BOUNDS.items():
            value = self.number(name, least, greatest)
            if value is not None:
                values[name] = bool(value) if name == "nodelay" else value
        options = dataclasses.replace(DEFAULT_OPTIONS, **values)
        if not options.rtoMin <= options.rtoInitial <= options.rtoMax:
            raise ConfigError(
                f"{self._kind}: expected rtoMin <= rtoInitial <= rtoMax, not "
                f"{options.rtoMin}, {options.rtoInitial}, {options.rtoMax}"
            )
        return options

    def end(self) -> None:
        """
        There is to be no other.
        """
        if self._left:
            unknown, known = ", ".join(sorted(self._left)), ", ".join(sorted(self._known))
            raise ConfigError(f"{self._kind}: unknown {unknown}; expected some of {known}")
