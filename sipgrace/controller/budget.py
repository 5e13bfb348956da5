"""
Budgets: how many servers of a group may be away at once, and what must stay in service. Pure.

What counts is what the fleet shows, whoever brought it about, and besides that what is claimed: a server is
claimed before the order that takes it away is sent.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sipgrace.controller.fleet import Fleet
from sipgrace.controller.members import Adopted, Member

__all__ = ["Budget", "Presence", "presences"]

_UNLINKED: Final = "not linked, and reached by no client"
_UNKNOWN: Final = "of unknown state"
_UNREACHED: Final = "reached by no client"
_AWAITING: Final = "waiting for clients"

#: Such a server counts as away, but may be in service all the same, or be so in a moment: to take it out
#: needs room.
_DOUBTFUL: Final = (_UNLINKED, _UNKNOWN, _UNREACHED, _AWAITING)


@dataclass(frozen=True, slots=True)
class Presence:
    """
    A server as its budget counts it.

    @ivar away: why it counts as away; empty where it is in service.
    @ivar capacity: what it contributes: its label C{capacity}, or 1.
    """

    name: str
    away: str
    capacity: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """
    One group's budget. What is C{None} is not limited.

    @ivar group: the group.
    @ivar away: at most so many servers are away at once.
    @ivar inService: at least so many servers are in service.
    @ivar capacity: at least so much capacity is in service: the sum of the servers' labels C{capacity}.
    """

    group: str
    away: int | None = None
    inService: int | None = None
    capacity: float | None = None

    def refusal(self, server: str, present: Sequence[Presence], claimed: Collection[str]) -> str:
        """
        May a server be taken out of service?

        @param present: all servers of the group.
        @param claimed: those that are about to be taken out, or have been.
        @return: why not; empty where it may. One that is claimed, or says that it leaves, is offline or
            returns, takes no more room; one that merely seems to be away needs it like any other.
        """
        gone = {one.name: one.away for one in present if one.away}
        gone |= {name: "claimed" for name in claimed if name not in gone}
        if server in claimed or gone.pop(server, _UNREACHED) not in _DOUBTFUL:
            return ""
        those = f" ({_listed(gone)})" if gone else ""
        if self.away is not None and len(gone) + 1 > self.away:
            return (
                f"the budget of the group {self.group} lets {_servers(self.away)} be away at once, and "
                f"{len(gone)} {'is' if len(gone) == 1 else 'are'}{those}"
            )
        left = [one for one in present if one.name not in gone and one.name != server]
        if self.inService is not None and len(left) < self.inService:
            return (
                f"the budget of the group {self.group} wants {_servers(self.inService)} in service, and "
                f"without {server} there would be {len(left)}{those}"
            )
        capacity = sum(one.capacity for one in left)
        if self.capacity is not None and capacity < self.capacity:
            return (
                f"the budget of the group {self.group} wants a capacity of {self.capacity:g} in service, and "
                f"without {server} there would be {capacity:g}{those}"
            )
        return ""


def _servers(number: int) -> str:
    return "1 server" if number == 1 else f"{number} servers"


def _listed(gone: Mapping[str, str]) -> str:
    names = sorted(gone)
    text = ", ".join(f"{name} {gone[name]}" for name in names[:5])
    return text if len(names) <= 5 else f"{text} and {len(names) - 5} others"


def presences(fleet: Fleet, group: str) -> list[Presence]:
    """
    @return: how the servers of a group stand, as far as the fleet shows; those of other controllers, too.
    """
    members = [member for member in fleet.seen("server") if member.group == group]
    reached = _reached(fleet.seen("client"), {member.name for member in members})
    return [Presence(member.name, _away(member, reached), _capacity(member)) for member in members]


def _reached(clients: Iterable[Member | Adopted], servers: Collection[str]) -> dict[str, bool]:
    """
    By server, whether any client with a link sends calls there; without those that no such client has.
    """
    reached: dict[str, bool] = {}
    for client in clients:
        peers: Any = client.standing.get("peers")
        if client.link is None or not isinstance(peers, list):
            continue
        for peer in peers:
            name = peer.get("name")
            if name in servers and not reached.get(name):
                reached[name] = bool(peer.get("active"))
    return reached


def _away(member: Member | Adopted, reached: Mapping[str, bool]) -> str:
    if member.link is None:
        return "" if reached.get(member.name) else _UNLINKED
    if member.state != "serving":
        return _UNKNOWN if member.state == "unknown" else member.state
    # A server that has just come back is of no use yet until its clients know, of little until all do.
    if reached.get(member.name) is False:
        return _UNREACHED
    return _AWAITING if member.standing.get("awaited") else ""


def _capacity(member: Member | Adopted) -> float:
    try:
        return max(0.0, float(member.labels.get("capacity", "1")))
    except (TypeError, ValueError):
        return 1.0
