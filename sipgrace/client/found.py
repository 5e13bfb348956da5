"""
The links to servers that are found by DNS: made, changed and given up as their domain says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from sipgrace.client.activelist import ActiveList
from sipgrace.client.discovery import Discovery
from sipgrace.client.link import ServerLink
from sipgrace.transport.naming import Place

__all__ = ["Found"]

#: Seconds between two looks at whether a server that is given up has calls left.
LOOK = 1.0


class Found:
    """
    Keeps the links in step with DNS. A server that DNS lists no more gets no more calls, and keeps its
    association until those that are being set up there are done. One that has moved keeps its calls until
    it is reached at its new address.

    @ivar leaving: links that are given up and not yet gone.
    """

    log = Logger()

    def __init__(
        self,
        names: Iterable[str],
        discoveries: Iterable[Discovery],
        links: dict[str, ServerLink],
        active: ActiveList[ServerLink],
        clock: IReactorTime,
        cost: Callable[[Discovery, Place], int],
        make: Callable[[Discovery, str, Place], ServerLink],
        gone: Callable[[ServerLink], None],
    ) -> None:
        """
        @param names: of all configured servers in their order; one that is looked up stands for what is
            found.
        @param links: all links by name.
        @param cost: the cost of a server.
        @param make: makes a link to a server, which is skipped where somebody wanted that.
        @param gone: hears of each link that is given up for good.
        """
        self._names = tuple(names)
        self._discoveries = {discovery.name: discovery for discovery in discoveries}
        self._links = links
        self._active = active
        self._clock = clock
        self._cost = cost
        self._make = make
        self._gone = gone
        self._serving = False
        self._tick: IDelayedCall | None = None
        self.leaving: list[tuple[ServerLink, ServerLink | None]] = []

    def __iter__(self) -> Iterator[ServerLink]:
        """
        Those that are given up.
        """
        return iter([link for link, _ in self.leaving])

    def start(self) -> None:
        """
        Looks the servers up, from now on.
        """
        self._serving = True
        for discovery in self._discoveries.values():
            discovery.start()

    def stop(self) -> list[Deferred[None]]:
        """
        Looks nothing up any more. What is known stays; links that were given up end now.

        @return: fire when those have ended.
        """
        self._serving = False
        for discovery in self._discoveries.values():
            discovery.stop()
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        leaving, self.leaving = self.leaving, []
        for link, _ in leaving:
            self._gone(link)
        return [link.stop() for link, _ in leaving]

    def update(self, discovery: Discovery) -> None:
        """
        A domain was looked up.
        """
        before = {name for name in self._links if name.startswith(f"{discovery.name}/")}
        fresh = []
        for name, place in discovery.places.items():
            link = self._links.get(name)
            if link is not None and _isAt(link, place):
                link.cost, link.weight = self._cost(discovery, place), place.weight
                continue
            made = self._links[name] = self._make(discovery, name, place)
            if link is not None:
                self._leave(link, made)
            fresh.append(made)
        for name in before - discovery.places.keys():
            self._leave(self._links.pop(name), None)
        self._arrange()
        if fresh or before - discovery.places.keys():
            self.log.info(
                "{name} stands for {servers}",
                name=discovery.name,
                servers=", ".join(discovery.places) or "none",
            )
        if self._serving:
            for link in fresh:
                link.start()

    def _arrange(self) -> None:
        """
        The order of the active list: as configured, and what is found in the order of its domain.
        """
        order: list[str] = []
        for name in self._names:
            discovery = self._discoveries.get(name)
            order += [name] if discovery is None else discovery.places
        self._active.arrange(order)

    def _leave(self, link: ServerLink, successor: ServerLink | None) -> None:
        if successor is None:
            self._active.remove(link)
            # Nor is it to come back.
            link.skipped = True
        self.leaving.append((link, successor))
        if self._tick is None:
            self._tick = self._clock.callLater(LOOK, self._look)

    def _look(self) -> None:
        self._tick = None
        staying = []
        for link, successor in self.leaving:
            replaced = successor is None or successor.active or not link.active
            if replaced and successor is not None:
                self._active.remove(link)
                link.skipped = True
            if replaced and not link.underWay:
                self._gone(link)
                link.stop()
            else:
                staying.append((link, successor))
        self.leaving = staying
        if staying:
            self._tick = self._clock.callLater(LOOK, self._look)

    def status(self) -> list[dict[str, Any]]:
        """
        How the domains stand, for display; everything in it fits JSON.
        """
        return [discovery.status() for discovery in self._discoveries.values()]


def _isAt(link: ServerLink, place: Place) -> bool:
    """
    Whether a link leads to where its server is by now; one that has no association will open one there.
    """
    association = link.association
    return association is None or association.peerHost in place.hosts
