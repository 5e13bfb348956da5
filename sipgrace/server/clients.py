"""
Which client an association belongs to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

from twisted.python.failure import Failure
from zope.interface import classImplements

from sipgrace.interfaces import IAssociation, IAssociationUser

Network = IPv4Network | IPv6Network

#: How many addresses are remembered, with the client they belong to, before they are worked out again.
_REMEMBERED = 10_000

#: How many associations of nobody known are named in a brief.
_SHOWN = 32


class Clients:
    """
    The clients of a server by name, each known by the addresses it comes from, with the associations
    that are up.

    @ivar onOpened: told the name and the association whenever one has been opened to a client.
    @ivar onMoved: told the name of a client when an association of it has come or gone.
    @ivar onNamed: are called when L{nameAt} says of an address something else than before.
    @param networks: the networks of each client by its name. Where networks overlap, the longest prefix
        wins.
    """

    def __init__(self, networks: Iterable[tuple[str, Sequence[Network]]]) -> None:
        networks = list(networks)
        self._networks = sorted(
            ((network, name) for name, several in networks for network in several),
            key=lambda pair: -pair[0].prefixlen,
        )
        self._known = list(dict.fromkeys(name for name, _ in networks))
        self._opened: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._associations: dict[str, list[IAssociation]] = {}
        self.onOpened: Callable[[str, IAssociation], None] = lambda name, association: None
        self.onMoved: Callable[[str], None] = lambda name: None
        self.onNamed: list[Callable[[], None]] = []

    def nameAt(self, host: str) -> str:
        """
        The client that comes from this address, or an empty string where none does.

        @param host: an IP address as text; of a name none is known.
        """
        name = self._names.get(host)
        if name is None:
            name = self._opened.get(host) or self._find(host)
            if len(self._names) >= _REMEMBERED:
                self._names.clear()
            self._names[host] = name
        return name

    def _find(self, host: str) -> str:
        try:
            address = ip_address(host.partition("%")[0])
        except ValueError:
            return ""
        return next((name for network, name in self._networks if address in network), "")

    def opened(self, name: str, association: IAssociation) -> None:
        """
        We have opened an association to this client: its address is the client's, too.
        """
        host = association.peerHost
        was = self.nameAt(host)
        if was != name:
            before = self._associations.get(was, [])
            moved = [one for one in before if one.peerHost == host]
            before[:] = [one for one in before if one.peerHost != host]
            self._opened[host] = self._names[host] = name
            for call in self.onNamed:
                call()
            self._associations.setdefault(name, []).extend(moved)
            for one in filter(None, (was, name)):
                self.onMoved(one)
        self.onOpened(name, association)

    def associationMade(self, association: IAssociation) -> None:
        """
        See L{IAssociationUser}.
        """
        name = self.nameAt(association.peerHost)
        self._associations.setdefault(name, []).append(association)
        if name:
            self.onMoved(name)

    def messageReceived(self, message: object, association: IAssociation) -> None:
        """
        See L{IAssociationUser}: messages go elsewhere.
        """

    def associationLost(self, association: IAssociation, reason: Failure) -> None:
        """
        See L{IAssociationUser}.
        """
        name = self.nameAt(association.peerHost)
        several = self._associations.get(name, [])
        if association in several:
            several.remove(association)
            if name:
                self.onMoved(name)

    def status(self) -> dict[str, int]:
        """
        How many associations each client has up; those of nobody known stand under C{"?"}.
        """
        return {
            name or "?": sum(association.up for association in several)
            for name, several in self._associations.items()
        }

    def peers(self) -> list[dict[str, Any]]:
        """
        Every client, and every association of nobody known, in brief: by which transport it is there, if at
        all.
        """
        peers: list[dict[str, Any]] = []
        for name in dict.fromkeys((*self._known, *self._associations)):
            up = [one for one in self._associations.get(name, ()) if one.up]
            if name:
                transport = up[-1].transport.decode("ascii") if up else ""
                peers.append({"name": name, "transport": transport, "up": bool(up)})
            else:
                peers += [
                    {"name": one.peerHost, "transport": one.transport.decode("ascii"), "up": True}
                    for one in up[:_SHOWN]
                ]
        return peers

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
        if transport == b"UDP":
            # Nobody opens those, and their peers are not told of.
            return None
        for association in reversed(self._associations.get(self.nameAt(host), ())):
            if association.up and association.transport == transport and association.peerHost == host:
                return association
        return None


classImplements(Clients, IAssociationUser)
