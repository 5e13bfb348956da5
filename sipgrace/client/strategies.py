"""
In which order the active servers are tried: small classes behind one interface.
"""

from __future__ import annotations

import random as _random
from collections.abc import Callable
from math import inf
from operator import attrgetter
from typing import Protocol, TypeVar

from twisted.plugin import IPlugin, getPlugins
from zope.interface import Attribute, Interface, implementer

from sipgrace.errors import ConfigError


class Listed(Protocol):
    """
    What the active list and the strategies see of a server.
    """

    @property
    def name(self) -> str:
        """
        Its name in the configuration, one of a kind.
        """

    @property
    def cost(self) -> int:
        """
        How far away it is; the lowest is tried first by L{Priority}.
        """

    @property
    def weight(self) -> int:
        """
        Its share, for L{Weighted}; 0 or more.
        """

    @property
    def underWay(self) -> int:
        """
        How many INVITEs of ours are being set up there, for L{LeastLoaded}.
        """

    @property
    def latency(self) -> float | None:
        """
        Seconds that its last test took, for L{Latency}; C{None} where none was answered yet.
        """


L = TypeVar("L", bound=Listed)


class IStrategy(Interface):
    """
    Orders the active servers for one INVITE. It keeps nothing between calls that the active list does
    not tell it, so that servers may come and go at any time.

    Further strategies are found as Twisted plugins: objects in a module of C{twisted/plugins} that provide
    this and C{IPlugin}.
    """

    name: str = Attribute("What the configuration calls it.")

    def order(links: list[L], start: int) -> list[L]:
        """
        @param links: the active servers in configured order; not to be changed.
        @param start: the index in C{links} of the one after the last one used, as if C{links} were a
            ring; from 0 up to C{len(links) - 1}, or 0 when there are none.
        @return: a new list: all of them, in the order in which they are to be tried.
        """


@implementer(IPlugin, IStrategy)
class RoundRobin:
    """
    The one after the last one used, then the others around the ring.
    """

    name: str = "round-robin"

    def order(self, links: list[L], start: int) -> list[L]:
        """
        See L{IStrategy.order}.
        """
        return links[start:] + links[:start]


@implementer(IPlugin, IStrategy)
class PrimarySecondary:
    """
    As configured: the first one for as long as it is active, then the second, and so on.
    """

    name: str = "primary-secondary"

    def order(self, links: list[L], start: int) -> list[L]:
        """
        See L{IStrategy.order}.
        """
        return links.copy()


_cost = attrgetter("cost")


@implementer(IPlugin, IStrategy)
class Priority:
    """
    By configured location cost, lowest first; those that cost the same take turns.
    """

    name: str = "priority"

    def order(self, links: list[L], start: int) -> list[L]:
        """
        See L{IStrategy.order}.
        """
        # The sort is stable, so the ring's order is what is left among equals.
        return sorted(links[start:] + links[:start], key=_cost)


@implementer(IPlugin, IStrategy)
class Weighted:
    """
    At random, each first in as many cases as its share of the weights says; those that follow likewise, as in
    RFC 2782. Those without weight come last.
    """

    name: str = "weighted"

    def __init__(self, random: Callable[[], float] = _random.random) -> None:
        """
        @param random: a number from 0.0 up to 1.0.
        """
        self._random = random

    def order(self, links: list[L], start: int) -> list[L]:
        """
        See L{IStrategy.order}.
        """
        # Efraimidis and Spirakis, "Weighted random sampling with a reservoir" (2006), algorithm A.
        keys = {link.name: self._random() ** (1 / link.weight) if link.weight else -1.0 for link in links}
        return sorted(links, key=lambda link: -keys[link.name])


@implementer(IPlugin, IStrategy)
class SRV(Weighted):
    """
    By location cost, lowest first; those that cost the same at random by weight. So a client uses servers
    that it found by DNS as RFC 2782 says: their priority is their cost.
    """

    name: str = "srv"

    def order(self, links: list[L], start: int) -> list[L]:
        """
        See L{IStrategy.order}.
        """
        return sorted(super().order(links, start), key=_cost)


_load = attrgetter("underWay")


@implementer(IPlugin, IStrategy)
class LeastLoaded:
    """
    By how many INVITEs of ours are being set up there, the fewest first; equals take turns.
    """

    name: str = "least-loaded"

    def order(self, links: list[L], start: int) -> list[L]:
        """
        See L{IStrategy.order}.
        """
        return sorted(links[start:] + links[:start], key=_load)


@implementer(IPlugin, IStrategy)
class Latency:
    """
    By how soon the last test was answered. Those that are not much slower than the best take turns with it:
    what differs by less is noise, and one server would get all the calls for it. Those not measured yet come
    last.

    @cvar EVERY: seconds between two tests of a server in service, where the configuration does not say.
    """

    name: str = "latency"

    #: So many seconds, or such a part of the best latency, is not much.
    NEAR = 0.005
    PART = 0.25

    EVERY = 10.0

    def order(self, links: list[L], start: int) -> list[L]:
        """
        See L{IStrategy.order}.
        """
        times = {link.name: inf if link.latency is None else link.latency for link in links}
        best = min(times.values(), default=0.0)
        near = best + max(self.NEAR, best * self.PART)
        return sorted(links[start:] + links[:start], key=lambda link: max(near, times[link.name]))


#: Ours are known without looking for plugins: what keeps these from being found must not keep a client from
#: its calls.
OURS: tuple[IStrategy, ...] = (
    RoundRobin(),
    PrimarySecondary(),
    Priority(),
    Weighted(),
    SRV(),
    LeastLoaded(),
    Latency(),
)


def strategies() -> dict[str, IStrategy]:
    """
    Every strategy that there is, by the name that the configuration gives it: ours, and those of others that
    are found as plugins under other names.
    """
    found = {strategy.name: strategy for strategy in OURS}
    for strategy in getPlugins(IStrategy):
        found.setdefault(strategy.name, strategy)
    return found


def strategyNamed(name: str) -> IStrategy:
    """
    @raise ConfigError: for a name that no installed strategy has.
    """
    for strategy in OURS:
        if strategy.name == name:
            return strategy
    found = strategies()
    if name not in found:
        known = ", ".join(sorted(found))
        raise ConfigError(f"client.strategy: expected one of {known}, found {name!r}")
    return found[name]
