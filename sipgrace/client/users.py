"""
Where a client's users are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple, Protocol

from sipgrace.interfaces import IAssociation
from sipgrace.message.uri import SIPURI
from sipgrace.proxy.glance import escaped, glance
from sipgrace.proxy.lookup import Lookup
from sipgrace.proxy.target import Hop, hopOf


class Contact(NamedTuple):
    """
    Where a user is.

    @ivar hop: where requests for it are sent.
    @ivar uri: the Request-URI that they get.
    @ivar association: the way there, where it is not to be looked for.
    """

    hop: Hop
    uri: bytes
    association: IAssociation | None = None


def contactOf(uri: SIPURI, association: IAssociation | None = None) -> Contact:
    """
    Where a URI leads.

    @param association: the way there, where it is known.
    """
    # A Request-URI has no header fields (RFC 3261 §19.1.1, table 1).
    return Contact(hopOf(uri), bytes(replace(uri, headers=())), association)


class Registered(Protocol):
    """
    Users who say themselves where they are (see L{sipgrace.client.registrar.Registrar}).
    """

    def places(self, uri: bytes) -> list[Contact]:
        """
        Where the user of a Request-URI is registered, the preferred place first.
        """

    def way(self, uri: SIPURI) -> IAssociation | None:
        """
        The way to a telephone, where it is none that its URI names.
        """

    def knows(self, uri: bytes) -> bool:
        """
        Whether the user of a Request-URI could be registered.
        """


def _withUser(contact: Contact, user: bytes) -> Contact:
    """
    The same for this user, where the contact names none itself.
    """
    if b"@" in contact.uri:
        return contact
    scheme, _, rest = contact.uri.partition(b":")
    return Contact(contact.hop, b"%b:%b@%b" % (scheme, escaped(user), rest))


class Users:
    """
    From a Request-URI to a user's contact: the whole URI before the address of record, that before where the
    user is registered, and that before the longest prefix of the user part. (Where an operator has named a
    user, that is the operator's word. A prefix names nobody: it is for those of whom no more is known.)

    @ivar registered: users who register, where there are any.
    """

    def __init__(self) -> None:
        self.registered: Registered | None = None
        self._lookup: Lookup[Contact] = Lookup()
        self._records: dict[tuple[bytes, bytes], Contact] = {}

    def addURI(self, uri: SIPURI, contact: SIPURI) -> None:
        """
        A user known by one URI, compared by the rules of RFC 3261 §19.1.4.
        """
        self._lookup.addURI(uri, contactOf(contact))

    def addService(self, name: bytes, contact: SIPURI) -> None:
        """
        Who answers for a service and its sub-services: C{b"urn:service:sos"}.
        """
        self._lookup.addService(name, contactOf(contact))

    def addRecord(self, record: SIPURI, contact: SIPURI) -> None:
        """
        A user known by an address of record: user and host.
        """
        _, user, host = glance(bytes(record))
        self._records[(user, host)] = contactOf(contact)

    def addPrefix(self, prefix: bytes, contact: SIPURI) -> None:
        """
        All users whose user part begins so; it is kept where the contact has none of its own.
        """
        self._lookup.addPrefix(prefix, contactOf(contact))

    def find(self, uri: bytes) -> Contact | None:
        """
        The configured contact for a Request-URI, or C{None} for one that is no user's here.
        """
        glanced = glance(uri)
        return self._exactly(uri, glanced) or self._byPrefix(glanced[1])

    def places(self, uri: bytes) -> list[Contact]:
        """
        Where to look for the user of a Request-URI, in one place after the other. Only one who is registered
        can be in several.
        """
        glanced = glance(uri)
        found = self._exactly(uri, glanced)
        if found is None:
            places = [] if self.registered is None else self.registered.places(uri)
            if places:
                return places
            found = self._byPrefix(glanced[1])
        return [] if found is None else [found]

    def way(self, uri: SIPURI) -> IAssociation | None:
        """
        The way to a user's telephone, where it is none that its URI names.
        """
        return None if self.registered is None else self.registered.way(uri)

    def isAway(self, uri: bytes) -> bool:
        """
        Whether there is such a user who could be registered, though nobody knows where.
        """
        return self.registered is not None and self.registered.knows(uri) and not self.places(uri)

    def _exactly(self, uri: bytes, glanced: tuple[bytes, bytes, bytes]) -> Contact | None:
        return self._lookup.exactly(uri, glanced) or self._records.get(glanced[1:])

    def _byPrefix(self, user: bytes) -> Contact | None:
        contact = self._lookup.byPrefix(user)
        return None if contact is None else _withUser(contact, user)
