"""
Where a client's users are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from sipgrace.message.uri import SIPURI, parseURI, sameURI
from sipgrace.proxy.glance import escaped, glance
from sipgrace.proxy.target import Hop, hopOf


class Contact(NamedTuple):
    """
    Where a user is.

    @ivar hop: where requests for it are sent.
    @ivar uri: the Request-URI that they get.
    """

    hop: Hop
    uri: bytes


def _contact(uri: SIPURI) -> Contact:
    # A Request-URI has no header fields (RFC 3261 §19.1.1, table 1).
    return Contact(hopOf(uri), bytes(replace(uri, headers=())))


def _withUser(contact: Contact, user: bytes) -> Contact:
    """
    @param contact: one without a user.
    """
    scheme, _, rest = contact.uri.partition(b":")
    return Contact(contact.hop, b"%b:%b@%b" % (scheme, escaped(user), rest))


class Users:
    """
    From a Request-URI to a user's contact: the whole URI before the address of record, that before the
    longest prefix of the user part.
    """

    def __init__(self) -> None:
        self._uris: dict[tuple[bytes, bytes, bytes], list[tuple[SIPURI, Contact]]] = {}
        self._records: dict[tuple[bytes, bytes], Contact] = {}
        self._prefixes: dict[bytes, tuple[Contact, bool]] = {}
        self._lengths: tuple[int, ...] = ()

    def addURI(self, uri: SIPURI, contact: SIPURI) -> None:
        """
        A user known by one URI, compared by the rules of RFC 3261 §19.1.4.
        """
        self._uris.setdefault(glance(bytes(uri)), []).append((uri, _contact(contact)))

    def addRecord(self, record: SIPURI, contact: SIPURI) -> None:
        """
        A user known by an address of record: user and host.
        """
        _, user, host = glance(bytes(record))
        self._records[(user, host)] = _contact(contact)

    def addPrefix(self, prefix: bytes, contact: SIPURI) -> None:
        """
        All users whose user part begins so; it is kept where the contact has none of its own.
        """
        self._prefixes[prefix] = (_contact(contact), bool(contact.user))
        self._lengths = tuple(sorted({len(known) for known in self._prefixes}, reverse=True))

    def find(self, uri: bytes) -> Contact | None:
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
            prefixed = self._prefixes.get(user[:length])
            if prefixed is not None:
                contact, hasUser = prefixed
                return contact if hasUser else _withUser(contact, user)
        return None
