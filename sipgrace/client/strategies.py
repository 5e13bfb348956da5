"""
In which order the active servers are tried: small classes behind one interface.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Protocol, TypeVar

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


L = TypeVar("L", bound=Listed)


class IStrategy(Interface):
    """
    Orders the active servers for one INVITE. It keeps nothing between calls that the active list does
    not tell it, so that servers may come and go at any time.
    """

    name: str = Attribute("What the configuration calls it.")

    def order(links: list[L], start: int) -> list[L]:
        """
        @param links: the active servers in configured order; not to be changed.
        @param start: the index in C{links} of the one after the last one used, as if C{links} were a
            ring; from 0 up to C{len(links) - 1}, or 0 when there are none.
        @return: a new list: all of them, in the order in which they are to be tried.
        """


@implementer(IStrategy)
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


@implementer(IStrategy)
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


@implementer(IStrategy)
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


#: Every strategy by the name that the configuration gives it.
STRATEGIES: dict[str, IStrategy] = {
    strategy.name: strategy for strategy in (RoundRobin(), PrimarySecondary(), Priority())
}


def strategyNamed(name: str) -> IStrategy:
    """
    @raise ConfigError: for a name that is none of L{STRATEGIES}.
    """
    try:
        return STRATEGIES[name]
    except KeyError:
        known = ", ".join(sorted(STRATEGIES))
        raise ConfigError(f"strategy: expected one of {known}, not {name!r}") from None
