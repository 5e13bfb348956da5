"""
The fleet as a whole: who reaches whom, and where those who should agree do not.

The facts come from both sides of each association. A client says whether it may send calls to a server; a
server says which clients have an association up. A node whose link is lost has no say, for what it said may
not be so any more; what it said last is shown, and marked as old.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

__all__ = ["Seen", "conflictsOf", "isOverdue", "meshOf"]

Facts = Mapping[str, Any]


class Seen(Protocol):
    """
    A node, as far as these views go.
    """

    @property
    def name(self) -> str:
        """
        Its name.
        """

    @property
    def role(self) -> str:
        """
        C{'server'} or C{'client'}.
        """

    @property
    def link(self) -> Any:
        """
        The way to it; C{None} while there is none.
        """

    @property
    def standing(self) -> Facts:
        """
        How it says that it stands.
        """

    @property
    def state(self) -> str:
        """
        Where its lifecycle stands.
        """


def _peers(node: Seen) -> Sequence[Facts]:
    peers = node.standing.get("peers")
    return peers if isinstance(peers, (list, tuple)) else ()


def isOverdue(peer: Facts) -> bool:
    """
    @param peer: a client's word for a server, which says for how many seconds it has been overdue.
    """
    overdue = peer.get("overdue")
    # 0.0 is less than a second; and equal to False.
    return overdue is not None and overdue is not False


def meshOf(nodes: Sequence[Seen]) -> list[dict[str, Any]]:
    """
    @return: an entry for each pair of server and client of which either knows: C{server}, C{client};
        C{state} (the client's word for it; C{"unknown"} where it has none), C{active} (whether it sends calls
        there), C{associated}, C{skipped}, C{overdue}, C{countdown}, C{latency}, all as the client says;
        C{serverSays}: whether the server has an association up with that client, C{None} where it does not
        say; C{old}: whether the client's link is lost, so that this is how things stood then.
    """
    up: dict[tuple[str, str], bool] = {}
    for node in nodes:
        if node.role == "server" and node.link is not None:
            for peer in _peers(node):
                key = (node.name, str(peer.get("name", "")))
                up[key] = up.get(key, False) or bool(peer.get("up"))
    mesh = []
    clients = {node.name for node in nodes if node.role == "client"}
    for node in nodes:
        if node.role != "client":
            continue
        old = node.link is None
        for peer in _peers(node):
            server = str(peer.get("name", ""))
            mesh.append(
                {
                    "server": server,
                    "client": node.name,
                    "state": peer.get("state", "unknown"),
                    "active": bool(peer.get("active")),
                    "associated": bool(peer.get("associated")),
                    "skipped": bool(peer.get("skipped")),
                    "overdue": isOverdue(peer),
                    "countdown": peer.get("countdown"),
                    "latency": peer.get("latency"),
                    "serverSays": up.pop((server, node.name), None),
                    "old": old,
                }
            )
    for (server, client), associated in up.items():
        # Of clients that the fleet does not know, a server's word is no part of the mesh.
        if client in clients:
            mesh.append(
                {
                    "server": server,
                    "client": client,
                    "state": "unknown",
                    "active": False,
                    "associated": False,
                    "skipped": False,
                    "overdue": False,
                    "countdown": None,
                    "latency": None,
                    "serverSays": associated,
                    "old": True,
                }
            )
    return mesh


def conflictsOf(nodes: Sequence[Seen], mesh: Sequence[Facts]) -> list[dict[str, Any]]:
    """
    @param mesh: see L{meshOf}.
    @return: where the nodes' words do not fit together: C{server}, C{kind}, C{reach} and C{not} (clients that
        reach it and that do not), C{text}. Kinds: C{"reach"}, some clients reach it and some do not;
        C{"unreached"}, it says that it serves, and no client reaches it; C{"reached"}, it says that it is
        offline, and clients reach it; C{"unlinked"}, the controller has no link to it, and clients reach it;
        C{"association"}, client and server are of two minds about their association.
    """
    reach: dict[str, tuple[list[str], list[str]]] = {}
    apart: dict[str, list[str]] = {}
    for entry in mesh:
        # A client that was told to leave a server alone does as it was told.
        if entry["old"] or entry["skipped"]:
            continue
        reached, missed = reach.setdefault(entry["server"], ([], []))
        if entry["active"]:
            reached.append(entry["client"])
        elif not entry["countdown"] or entry["overdue"]:
            # Else it leaves the server alone for as long as that asked for; also when it is back early.
            missed.append(entry["client"])
        says = entry["serverSays"]
        if says is not None and says != entry["associated"]:
            apart.setdefault(entry["server"], []).append(entry["client"])
    known = {node.name: node for node in nodes if node.role == "server"}
    return [
        {"server": server, "kind": kind, "reach": reached, "not": missed, "text": text}
        for server, (reached, missed) in sorted(reach.items())
        for kind, text in _trouble(server, known.get(server), reached, missed, apart.get(server, []))
    ]


def _trouble(
    server: str, node: Seen | None, reached: list[str], missed: list[str], apart: list[str]
) -> Iterator[tuple[str, str]]:
    share = f"{len(reached)} of {len(reached) + len(missed)} clients"
    many = f"{share} reach it"
    state = "" if node is None or node.link is None else node.state
    if reached and state == "offline":
        yield "reached", f"{server} says that it is offline, and {many}"
    elif reached and missed and state not in ("slowing", "draining", "drained", "returning"):
        # While it comes and goes, clients hear of it one after another.
        yield "reach", f"{share} reach {server}; {_names(missed)} {'does' if len(missed) == 1 else 'do'} not"
    elif missed and not reached and state == "serving":
        yield "unreached", f"{server} says that it serves, and no client reaches it"
    if reached and node is not None and node.link is None:
        yield "unlinked", f"the link to {server} is lost, and {many}"
    if apart:
        yield "association", f"{server} and {_names(apart)} are of two minds about their association"


def _names(names: Sequence[str]) -> str:
    if len(names) > 5:
        return f"{', '.join(names[:4])} and {len(names) - 4} others"
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
