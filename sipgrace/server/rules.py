"""
Who may use a server, and which calls it refuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final, NamedTuple

from sipgrace.server.clients import Clients

Network = IPv4Network | IPv6Network

#: How many addresses' access is remembered before it is worked out again.
_REMEMBERED: Final = 10_000


def _inside(host: str, network: Network) -> bool:
    """
    Whether an address given as text lies in a network; a name does not.
    """
    try:
        return ip_address(host.partition("%")[0].strip("[]")) in network
    except ValueError:
        return False


class Access:
    """
    Who may send requests here, by address or by the client that the address belongs to. A denial wins
    over a permission.

    @param allow: the networks and client names that may; C{None} for everybody.
    @param deny: the networks and client names that may not.
    """

    def __init__(
        self, clients: Clients, allow: Sequence[Network | str] | None, deny: Sequence[Network | str]
    ) -> None:
        self._clients = clients
        self._allow = allow
        self._deny = deny
        self._known: dict[str, bool] = {}
        clients.onNamed.append(self._known.clear)

    def permits(self, host: str) -> bool:
        """
        Whether requests from this address are served.

        @param host: an IP address as text.
        """
        permitted = self._known.get(host)
        if permitted is None:
            permitted = not self._listed(host, self._deny) and (
                self._allow is None or self._listed(host, self._allow)
            )
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[host] = permitted
        return permitted

    def _listed(self, host: str, entries: Sequence[Network | str]) -> bool:
        name = self._clients.nameAt(host)
        return any(entry == name if isinstance(entry, str) else _inside(host, entry) for entry in entries)


class Facts(NamedTuple):
    """
    What is known of one side of a call.

    @ivar address: the address that the request came from, or the host of the Request-URI.
    @ivar client: the name of the client it is at, or empty.
    @ivar user: the user part of its URI.
    @ivar domain: the host part of its URI, in lower case.
    """

    address: str
    client: str
    user: bytes
    domain: bytes


@dataclass(frozen=True, slots=True)
class Party:
    """
    One side of a call in a rule: all that is given must fit.
    """

    network: Network | None = None
    client: str | None = None
    domain: bytes | None = None
    prefix: bytes | None = None

    def fits(self, facts: Facts) -> bool:
        """
        Whether this side of a call is meant.
        """
        return (
            (self.network is None or _inside(facts.address, self.network))
            and (self.client is None or self.client == facts.client)
            and (self.domain is None or self.domain in (b"*", facts.domain))
            and (self.prefix is None or facts.user.startswith(self.prefix))
        )


@dataclass(frozen=True, slots=True)
class Rejection:
    """
    A rule that refuses new requests by where they come from or go to.

    @ivar status: 400 to 699.
    @ivar reason: the reason phrase, or empty for the usual one.
    """

    origin: Party | None
    destination: Party | None
    status: int
    reason: bytes = b""


def firstRejection(rules: Iterable[Rejection], origin: Facts, destination: Facts) -> Rejection | None:
    """
    The first rule that fits, both of its sides where both are given.
    """
    for rule in rules:
        if (rule.origin is None or rule.origin.fits(origin)) and (
            rule.destination is None or rule.destination.fits(destination)
        ):
            return rule
    return None
