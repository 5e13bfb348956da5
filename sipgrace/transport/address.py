"""
Addresses as they stand in a Via, in a configuration, and as sockets give them.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.interfaces import IListeningPort

from sipgrace.errors import ConfigError

__all__ = ["addressOf", "hostPort", "isLiteral", "isWildcard", "plainHost", "splitHostPort", "viaOf"]


def hostPort(host: str, port: int) -> str:
    """
    @return: C{host:port}, an IPv6 address in brackets (RFC 3261 §25.1).
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def addressOf(port: IListeningPort) -> str:
    """
    @return: where one of TCP's listens, as people write it.
    """
    host: Any = port.getHost()
    return hostPort(host.host, host.port)


def viaOf(transport: bytes, host: str, port: int) -> bytes:
    """
    @return: sent-protocol and sent-by, see L{sipgrace.interfaces.IAssociation.via}.
    """
    return b"SIP/2.0/" + transport + b" " + hostPort(host, port).encode("ascii")


def splitHostPort(text: str, port: int) -> tuple[str, int]:
    """
    Reads C{host}, C{host:port}, C{[IPv6]} or C{[IPv6]:port}; a bare IPv6 address is taken too.

    @param port: where the text names none.

    @raise ConfigError: it is none of these.
    """
    host, colon, tail = text, "", ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ConfigError(f"expected host[:port], with IPv6 as [address]:port, not {text!r}")
        colon, tail = rest[:1], rest[1:]
    elif text.count(":") == 1:
        host, colon, tail = text.partition(":")
    if colon:
        if not tail.isascii() or not tail.isdigit() or not 0 < int(tail) < 65536:
            raise ConfigError(f"expected a port from 1 to 65535 after the colon of {text!r}")
        port = int(tail)
    if not host or not host.isascii() or any(c in host for c in " []/;,\t\r\n"):
        raise ConfigError(f"expected host[:port], not {text!r}")
    return host, port


def plainHost(host: str) -> str:
    """
    @return: the address as text, an IPv4 address that an IPv6 socket shows as C{::ffff:192.0.2.1}
        in its own form.
    """
    if host.startswith("::ffff:") and "." in host:
        return host[7:]
    return host


def isWildcard(host: str) -> bool:
    """
    @return: whether that binds to every interface, so that nobody can be told to answer there.
    """
    return host in ("", "*", "::", "0.0.0.0", "::0")


def isLiteral(host: str) -> bool:
    """
    @return: whether that is an IP address, not a name.
    """
    return isIPAddress(host) or isIPv6Address(host)
