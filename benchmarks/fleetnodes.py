"""
Simulated nodes for a controller: each with a link of its own, on which it says what a real one would, when a
real one would. Servers go through drains, one state after another; clients lose servers and have them back.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, wrapClientTLS

from sipgrace import __version__
from sipgrace.control.approach import Approach, connect
from sipgrace.control.commands import Happened, Hello, Standing
from sipgrace.transport.peernames import linkOptions

__all__ = ["Node", "nodesOf"]

#: Of so many nodes one is a server; each client has links to so many of them.
SHARE: Final = 5
PEERS: Final = 8

#: What a node waits before it says how it stands, for several changes to be one; and how often it says so
#: without a change, in seconds.
SOON: Final = 0.05
BEAT: Final = 10.0

#: The course of a server.
_COURSE: Final = ("draining", "drained", "offline", "returning", "serving")


class Node:
    """
    One node.

    @ivar peers: what it says of servers, or of clients.
    @ivar changes: how many changes there were; its views have the same number when the last is to be seen.
    """

    def __init__(self, reactor: Any, name: str, role: str, peers: Sequence[str]) -> None:
        self._reactor = reactor
        self.name = name
        self.role = role
        self.changes = 0
        self.peers = [self._peer(peer) for peer in peers]
        self._state = "serving"
        self._link: Any = None

    def _peer(self, name: str) -> dict[str, Any]:
        if self.role == "server":
            return {"name": name, "transport": "SCTP", "up": True}
        return {
            "name": name,
            "state": "Active",
            "associated": True,
            "active": True,
            "skipped": False,
            "overdue": False,
            "countdown": 0.0,
            "latency": 0.0021,
        }

    async def link(self, host: str, port: int, controller: str, keys: Path) -> None:
        """
        Links up, says who it is and how it stands.
        """
        options = linkOptions(keys / f"{self.name}.crt", keys / f"{self.name}.key", keys / "ca.crt")
        endpoint = wrapClientTLS(options, TCP4ClientEndpoint(self._reactor, host, port, timeout=60))
        self._link = await connect(endpoint, Approach(controller, True))
        hello = {
            "name": self.name,
            "role": self.role,
            "version": __version__,
            "boot": "b" * 16,
            "number": 0,
            "labels": {"site": "north"},
            "group": "",
        }
        await self._link.callRemote(Hello, hello=hello)
        self._stand()
        self._reactor.callLater(BEAT, self._beat)

    def end(self) -> Deferred[None]:
        """
        Ends the link.
        """
        link = self._link
        self._link = None
        link.end()
        lost: Deferred[None] = link.whenLost()
        return lost

    def _beat(self) -> None:
        if self._link is not None:
            self._stand()
            self._reactor.callLater(BEAT, self._beat)

    def _stand(self) -> None:
        if self._link is None:
            return
        standing = {
            "state": self._state,
            "waiting": 0,
            "associations": len(self.peers),
            "guardLeft": None,
            "retryAfter": None,
            # It counts the changes, so that it can be seen which is the last that is to be seen.
            "accepted": self.changes,
            "settled": 1,
            "forced": 0,
            "refused": 0,
            "order": None,
            "version": __version__,
            "peers": self.peers,
        }
        self._link.callRemote(Standing, standing=standing)

    def change(self) -> None:
        """
        Something changes: a server's state, of which it tells at once; at a client, a server that it reaches
        no longer, or again, of which it tells soon.
        """
        self.changes += 1
        self._reactor.callLater(SOON, self._stand)
        if self.role == "client":
            peer = self.peers[self.changes // 2 % len(self.peers)]
            peer["active"] = peer["associated"] = not peer["active"]
            peer["state"] = "Active" if peer["active"] else "Lost"
            return
        self._state = _COURSE[(self.changes - 1) % len(_COURSE)]
        event = {
            "number": self.changes,
            "change": self._state,
            "state": self._state,
            "at": time.time(),
            "waiting": 0,
            "associations": len(self.peers),
            "guardLeft": None,
            "retryAfter": None,
            "forced": 0,
            "aborted": 0,
            "text": "",
            "sinceSettled": None,
            "lastInvite": None,
            "clock": time.monotonic(),
            "order": None,
        }
        self._link.callRemote(Happened, event=event)

    def shows(self, view: dict[str, Any], number: int) -> bool:
        """
        Whether a view of this node has a change of it.
        """
        if self.role == "client":
            return bool(view["standing"].get("accepted", 0) >= number)
        last = view["lastEvent"]
        return last is not None and bool(last["number"] >= number)


def nodesOf(reactor: Any, number: int) -> list[Node]:
    """
    @return: so many, each client with links to some servers, and these with links to it.
    """
    servers = [f"server-{at:04}" for at in range(max(1, number // SHARE))]
    clients = [f"client-{at:04}" for at in range(number - len(servers))]
    peers = {
        client: [servers[(at * PEERS + step) % len(servers)] for step in range(min(PEERS, len(servers)))]
        for at, client in enumerate(clients)
    }
    known: dict[str, list[str]] = {server: [] for server in servers}
    for client, its in peers.items():
        for server in its:
            known[server].append(client)
    return [Node(reactor, name, "server", its) for name, its in known.items()] + [
        Node(reactor, name, "client", its) for name, its in peers.items()
    ]
