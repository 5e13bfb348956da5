"""
Checks the strings that say where to listen and where to connect, by asking those who will act on them, so
that a mistake in one is found before anything starts.
"""

from __future__ import annotations

from sipgrace.transport.address import isWildcard
from sipgrace.transport.arguments import connectArguments, listenArguments
from sipgrace.transport.description import Description, parseDescription
from sipgrace.transport.sctp.endpoints import clientFromArguments, serverFromArguments
from sipgrace.transport.tlsoptions import clientOptions, serverOptions

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
    values = listenArguments(given)
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
    values = connectArguments(given)
    if given.transport == b"TLS":
        clientOptions(values, values.get("name", values["host"]))
    return text


def listensEverywhere(given: Description) -> bool:
    """
    @return: whether it listens on every interface, so that no peer can be told the address it is bound to.
    """
    return isWildcard(given.arguments.get("interface", "").split(",")[0])
