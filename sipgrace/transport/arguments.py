"""
What a string of C{udp}, C{tcp} or C{tls} may say (those of C{sctp}: L{sipgrace.transport.sctp.endpoints}).
"""

from __future__ import annotations

from sipgrace.errors import ConfigError
from sipgrace.transport.description import Description
from sipgrace.transport.tlsoptions import CERTIFICATE_ARGUMENTS

__all__ = ["connectArguments", "listenArguments"]


def listenArguments(given: Description) -> dict[str, str]:
    """
    @return: the arguments of a string that says where to listen, by name; C{port} is there, and each number
        is one.
    @raise ConfigError: says what is wrong with it.
    """
    known: tuple[str, ...] = ("interface",)
    if given.transport != b"UDP":
        known += ("backlog",)
    if given.transport == b"TLS":
        known += CERTIFICATE_ARGUMENTS
    values = given.named(("port",), known)
    given.number(values, "port", 0, 65535)
    if "backlog" in values:
        given.number(values, "backlog", 1, 65535)
    return values


def connectArguments(given: Description) -> dict[str, str]:
    """
    @return: the arguments of a string that says where to connect, by name; C{host} and C{port} are there, and
        each number is one.
    @raise ConfigError: says what is wrong with it.
    """
    if given.transport == b"UDP":
        raise ConfigError(f"{given.text!r}: expected sctp, tcp or tls, for UDP has nothing to open")
    known: tuple[str, ...] = ("timeout", "bindAddress")
    if given.transport == b"TLS":
        known += ("name", *CERTIFICATE_ARGUMENTS)
    values = given.named(("host", "port"), known)
    if not values.get("host"):
        raise ConfigError(f"{given.text!r}: expected a host, as in tcp:host=192.0.2.1:port=5060")
    given.number(values, "port", 1, 65535)
    if "timeout" in values:
        given.number(values, "timeout", 1, 3600)
    return values
