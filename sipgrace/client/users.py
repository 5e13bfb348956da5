"""
Where a client's users are.
"""

from __future__ import annotations

from dataclasses import replace

from sipgrace.message.uri import SIPURI, parseURI, sameURI
from sipgrace.proxy.glance import glance


class Users:
    """
    From a Request-URI to a user's contact: the whole URI before the address of record, that before the
    longest prefix of the user part.
    """

    def __init__(self) -> None:
        self._uris: dict[tuple[bytes, bytes, bytes], list[tuple[SIPURI, SIPURI]]] = {}
        self._records: dict[tuple[bytes, bytes], SIPURI] = {}
        self._prefixes: dict[bytes, SIPURI] = {}
        self._lengths: tuple[int, ...] = ()

    def addURI(self, uri: SIPURI, contact: SIPURI) -> None:
        """
        A user known by one Request-URI, compared by the rules of RFC 3261 §19.1.4.
        """
        self._uris.setdefault(glance(bytes(uri)), []).append((uri, contact))

    def addRecord(self, record: SIPURI, contact: SIPURI) -> None:
        """
        A user known by an address of record: user and host.
        """
        _, user, host = glance(bytes(record))
        self._records[(user, host)] = contact

    def addPrefix(self, prefix: bytes, contact: SIPURI) -> None:
        """
        All users whose user part begins so; it is kept where the contact has none of its own.
        """
        self._prefixes[prefix] = contact
        self._lengths = tuple(sorted({len(known) for known in self._prefixes}, reverse=True))

    def find(self, uri: bytes) -> SIPURI | None:
        """
        The contact for a Request-URI, or C{None} for one that is no user's here.
        """
        glanced = glance(uri)
        for known, contact in self._uris.get(glanced, ()):
            if sameURI(known, parseURI(uri)):
                return contact
        _, user, host = glanced
        found = self._records.get((user, host))
        if found is not None:
            return found
        for length in self._lengths:
            if length <= len(user):
                found = self._prefixes.get(user[:length])
                if found is not None:
                    return found if found.user else replace(found, user=user)
        return None
