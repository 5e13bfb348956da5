"""
Checks the strings that say where to listen and where to connect, by asking those who will act on them, so
that a mistake in one is found before anything starts.
"""

from __future__ import annotations

from sipgrace.errors import ConfigError
from sipgrace.transport.address import isWildcard
from sipgrace.transport.description import Description, parseDescription
from sipgrace.transport.sctp.endpoints import clientFromArguments, serverFromArguments
from sipgrace.transport.tlsoptions import CERTIFICATE_ARGUMENTS, clientOptions, serverOptions

__all__ = ["checkConnect", "checkListen", "listensEverywhere"]


def checkListen(text: str) -> str:
    """
    Checks a string that says where to listen; the files that a C{tls} string names are read.

    @return: the same string.
    @raise ConfigError: says what is wrong with it.
    """
    given = parseDescription(text)
    if given.transport == b"SCTP":
        serverFromArguments(None, *given.positional, **given.arguments)
        return text
    known: tuple[str, ...] = ("interface",)
    if given.transport != b"UDP":
        known += ("backlog",)
    if given.transport == b"TLS":
        known += CERTIFICATE_ARGUMENTS
    values = given.named(("port",), known)
    given.number(values, "port", 0, 65535)
    if "backlog" in values:
        given.number(values, "backlog", 1, 65535)
    if given.transport == b"TLS":
        serverOptions(values)
    return text


def checkConnect(text: str) -> str:
    """
    Checks a string that says where to connect; the files that a C{tls} string names are read.

    @return: the same string.
    @raise ConfigError: says what is wrong with it.
    """
    given = parseDescription(text)
    if given.transport == b"SCTP":
        clientFromArguments(None, *given.positional, **given.arguments)
        return text
    if given.transport == b"UDP":
        raise ConfigError(f"{text!r}: expected sctp, tcp or tls, for UDP has nothing to open")
    known: tuple[str, ...] = ("timeout", "bindAddress")
    if given.transport == b"TLS":
        known += ("name", *CERTIFICATE_ARGUMENTS)
    values = given.named(("host", "port"), known)
    if not values.get("host"):
        raise ConfigError(f"{text!r}: expected a host, as in tcp:host=192.0.2.1:port=5060")
    given.number(values, "port", 1, 65535)
    if "timeout" in values:
        given.number(values, "timeout", 1, 3600)
    if given.transport == b"TLS":
        clientOptions(values, values.get("name", values["host"]))
    return text


def listensEverywhere(given: Description) -> bool:
    """
    @return: whether it listens on every interface, so that no peer can be told the address it is bound to.
    """
    return isWildcard(given.arguments.get("interface", "").split(",")[0])
