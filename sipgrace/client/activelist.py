"""
The client's ordered list of servers to which it may send INVITEs, with a pointer to the last one used.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

from sipgrace.client.strategies import IStrategy, Listed

L = TypeVar("L", bound=Listed)


class ActiveList(Generic[L]):
    """
    The active servers, always in the order of the configuration however they come and go.

    The pointer is kept as the last used server's place in the I{configuration}: it stays good when that
    server, or one before it, leaves the list or comes back.
    """

    def __init__(self, names: Sequence[str], strategy: IStrategy) -> None:
        """
        @param names: every configured server, in order.
        @param strategy: in which order to try those that are active.
        """
        self._ranks = {name: rank for rank, name in enumerate(names)}
        self._strategy = strategy
        self._links: list[L] = []
        self._places: list[int] = []
        self._last = -1
        self._lastName: str | None = None

    def __len__(self) -> int:
        return len(self._links)

    def __iter__(self) -> Iterator[L]:
        """
        The active servers in configured order.
        """
        return iter(self._links.copy())

    def __contains__(self, link: object) -> bool:
        return link in self._links

    @property
    def lastUsed(self) -> str | None:
        """
        The name of the server that the pointer marks, whether or not it is still active.
        """
        return self._lastName

    def add(self, link: L) -> None:
        """
        A server may be sent INVITEs from now on. Nothing happens when it already was.

        @raise KeyError: for a server that is not configured.
        """
        rank = self._ranks[link.name]
        at = bisect_left(self._places, rank)
        if at < len(self._places) and self._places[at] == rank:
            self._links[at] = link
            return
        self._places.insert(at, rank)
        self._links.insert(at, link)

    def remove(self, link: L) -> None:
        """
        A server is left alone from now on. Nothing happens when it already was.
        """
        if link in self._links:
            at = self._links.index(link)
            del self._places[at]
            del self._links[at]

    def arrange(self, names: Sequence[str]) -> None:
        """
        Other servers than at first, or in another order. Those on the list that are not among them leave it;
        the pointer stays with the server that it marks, if that is among them.
        """
        self._ranks = {name: rank for rank, name in enumerate(names)}
        self._links = sorted(
            (link for link in self._links if link.name in self._ranks),
            key=lambda link: self._ranks[link.name],
        )
        self._places = [self._ranks[link.name] for link in self._links]
        self._last = self._ranks.get(self._lastName or "", -1)

    def candidates(self) -> list[L]:
        """
        The order in which the servers that are active now are to be tried for an INVITE. This does not
        move the pointer: L{used} does.
        """
        links = self._links
        start = bisect_right(self._places, self._last)
        return self._strategy.order(links, start if start < len(links) else 0)

    def used(self, link: L) -> None:
        """
        An INVITE goes to this server: the pointer marks it.
        """
        self._last = self._ranks[link.name]
        self._lastName = link.name

    def attempts(self) -> Iterator[L]:
        """
        The servers to try for one INVITE, one after another: each step takes the best that is active I{at
        that moment} and has not been tried for this INVITE, and moves the pointer to it. So a server that
        has begun to drain since the call came is passed over, and failed-over calls spread over the
        others instead of all going to the neighbour of the one that failed.
        """
        tried: list[L] = []
        while True:
            for link in self.candidates():
                if link not in tried:
                    break
            else:
                return
            tried.append(link)
            self.used(link)
            yield link
