"""
Which client an association belongs to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

from twisted.python.failure import Failure
from zope.interface import implementer

from sipgrace.interfaces import IAssociation, IAssociationUser

Network = IPv4Network | IPv6Network

#: How many addresses that belong to nobody are remembered before they are forgotten again.
_REMEMBERED = 10_000


@implementer(IAssociationUser)
class Clients:
    """
    The clients of a server by name, each known by the addresses it comes from, with the associations
    that are up.

    @param networks: the networks of each client by its name. Where networks overlap, the longest prefix
        wins.
    """

    def __init__(self, networks: Iterable[tuple[str, Sequence[Network]]]) -> None:
        self._networks = sorted(
            ((network, name) for name, several in networks for network in several),
            key=lambda pair: -pair[0].prefixlen,
        )
        self._names: dict[str, str] = {}
        self._associations: dict[str, list[IAssociation]] = {}

    def nameAt(self, host: str) -> str:
        """
        The client that comes from this address, or an empty string where none does.

        @param host: an IP address as text.
        """
        name = self._names.get(host)
        if name is None:
            address = ip_address(host.partition("%")[0])
            name = next((found for network, found in self._networks if address in network), "")
            if len(self._names) >= _REMEMBERED:
                self._names.clear()
            self._names[host] = name
        return name

    def associationMade(self, association: IAssociation) -> None:
        """
        See L{IAssociationUser}.
        """
        self._associations.setdefault(self.nameAt(association.peerHost), []).append(association)

    def messageReceived(self, message: object, association: IAssociation) -> None:
        """
        See L{IAssociationUser}: messages go elsewhere.
        """

    def associationLost(self, association: IAssociation, reason: Failure) -> None:
        """
        See L{IAssociationUser}.
        """
        several = self._associations.get(self.nameAt(association.peerHost), [])
        if association in several:
            several.remove(association)

    def status(self) -> dict[str, int]:
        """
        How many associations each client has up; those of nobody known stand under C{"?"}.
        """
        return {
            name or "?": sum(association.up for association in several)
            for name, several in self._associations.items()
        }

    def associationTo(self, name: str) -> IAssociation | None:
        """
        An association to this client that is up: the newest, because an older one may be that of a client
        which has restarted since and which nobody has told us of.
        """
        for association in reversed(self._associations.get(name, ())):
            if association.up:
                return association
        return None

    def associationFrom(self, host: str, transport: bytes) -> IAssociation | None:
        """
        An association over this transport that the client at this address has opened, and that is up.

        @param host: an IP address; a name finds nothing.
        @param transport: a Via transport token.
        """
        name = self._names.get(host)
        for association in reversed(self._associations.get(name, ()) if name else ()):
            if association.up and association.transport == transport and association.peerHost == host:
                return association
        return None
