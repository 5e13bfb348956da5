"""
What is known about Request-URIs, found without going through all of it.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from sipgrace.message.uri import SIPURI, parseURI, sameURI
from sipgrace.proxy.glance import glance

__all__ = ["Lookup"]

T = TypeVar("T")


class Lookup(Generic[T]):
    """
    Values by whole URIs, by the names of services, and by the first characters of a user part. Each kind is
    found by dictionary, however much of it there is. In which order the kinds count is for the caller to say.
    """

    __slots__ = ("_lengths", "_prefixes", "_services", "_uris")

    def __init__(self) -> None:
        self._uris: dict[tuple[bytes, bytes, bytes], list[tuple[SIPURI, T]]] = {}
        self._services: dict[bytes, T] = {}
        self._prefixes: dict[bytes, T] = {}
        self._lengths: tuple[int, ...] = ()

    def addURI(self, uri: SIPURI, value: T) -> None:
        """
        For one URI, compared by the rules of RFC 3261 §19.1.4.
        """
        self._uris.setdefault(glance(bytes(uri)), []).append((uri, value))

    def addService(self, name: bytes, value: T) -> None:
        """
        For one service and its sub-services (RFC 5031 §2): C{urn:service:sos} is for C{urn:service:sos.fire}
        as well, where that has no value of its own.
        """
        self._services[name.lower()] = value

    def addPrefix(self, prefix: bytes, value: T) -> None:
        """
        For all user parts that begin so: C{b"+4930"}.
        """
        self._prefixes[prefix] = value
        self._lengths = tuple(sorted({len(known) for known in self._prefixes}, reverse=True))

    def exactly(self, uri: bytes, glanced: tuple[bytes, bytes, bytes]) -> T | None:
        """
        @param glanced: what L{glance} makes of it.
        @return: the value for a whole URI, or for the service that it names.
        """
        for known, value in self._uris.get(glanced, ()):
            if sameURI(known, parseURI(uri)):
                return value
        if self._services and glanced[0] == b"urn":
            name, more = uri.lower(), b"."
            while more:
                found = self._services.get(name)
                if found is not None:
                    return found
                name, more, _ = name.rpartition(b".")
        return None

    def byPrefix(self, user: bytes) -> T | None:
        """
        @param user: as L{glance} gives it.
        @return: the value for the longest prefix of it.
        """
        for length in self._lengths:
            found = self._prefixes.get(user[:length])
            if found is not None:
                return found
        return None
