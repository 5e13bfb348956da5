"""
What the reference network is made of, and what is to be done with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

__all__ = ["CLIENTS", "CONTROLLERS", "GATEWAY", "SERVERS", "Member", "Plan", "pairs"]


@dataclass(frozen=True, slots=True)
class Member:
    """
    One server, client or controller.

    @ivar number: also the last part of its address, and what the numbers of its users begin with.
    """

    role: str
    number: int

    @property
    def name(self) -> str:
        """
        C{server-102}, say.
        """
        return f"{self.role}-{self.number}"


SERVERS = tuple(Member("server", number) for number in (102, 104, 106, 108))
CLIENTS = tuple(Member("client", number) for number in (110, 112, 114, 116))

#: The first has links to the servers, the second to the clients; each tells the other.
CONTROLLERS = tuple(Member("controller", number) for number in (120, 121))

#: Where calls go that no server takes: a gateway into the telephone network. The demo's own process is it.
GATEWAY = Member("gateway", 118)


def pairs() -> list[tuple[Member, Member]]:
    """
    @return: each client with each other: whose users call whose. Neighbours in the list call from
        different clients, so that a few calls are spread as well as many.
    """
    return sorted(
        permutations(CLIENTS, 2), key=lambda pair: ((pair[1].number - pair[0].number) % 8, pair[0].number)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    One run. All times in seconds.

    @ivar calls: how many calls are placed; none at all where the servers are to be drained idle.
    @ivar rate: how many of them a second.
    @ivar ring: from the INVITE's arrival at the callee until it answers.
    @ivar hold: from the answer until one of the two hangs up.
    @ivar drains: names of the servers to drain, one after the other.
    @ivar atOnce: whether they are drained all at the same time; there is a TDM route then.
    @ivar cancelAfter: so long after it was ordered each drain is taken back; C{None} for never.
    @ivar rolling: whether the servers are drained by a rolling maintenance of the controller's.
    @ivar killController: whether the controller is killed, and started again, while that is under way.
    @ivar settle: how long clients have to reach a server in a rolling maintenance before the next.
    @ivar guard: the guard of each drain.
    @ivar announce: how clients are told of a drain: C{in-answer}, C{broadcast} or C{both}.
    @ivar stack: the SCTP stack: C{userspace} or C{kernel}.
    @ivar loopback: what the addresses of all but the users begin with, of 127.0.0.0/8.
    @ivar directory: where configuration files and logs go.
    """

    calls: int = 1500
    rate: float = 60.0
    ring: float = 1.0
    hold: float = 0.5
    drains: tuple[str, ...] = ("server-102",)
    atOnce: bool = False
    cancelAfter: float | None = None
    rolling: bool = False
    killController: bool = False
    settle: float = 1.0
    guard: float = 4.0
    announce: str = "in-answer"
    stack: str = "userspace"
    loopback: str = "127.0.0"
    directory: Path = Path()

    def host(self, member: Member) -> str:
        """
        @return: the IP address of a server, client or controller.
        """
        return f"{self.loopback}.{member.number}"

    @property
    def drainAt(self) -> float:
        """
        When the first drain begins, counted from the first call: after a quarter of them.
        """
        return self.calls / self.rate / 4

    def nameAt(self, host: str) -> str:
        """
        @return: the server with that IP address, or an empty string.
        """
        return next((server.name for server in SERVERS if self.host(server) == host), "")
