"""
L{sipgrace.client.strategies}.
"""

from __future__ import annotations

from dataclasses import dataclass

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from sipgrace.client.strategies import STRATEGIES, IStrategy, strategyNamed
from sipgrace.errors import ConfigError


@dataclass(frozen=True)
class Server:
    """
    As much of a link as a strategy looks at.
    """

    name: str
    cost: int


LINKS = [Server("a", 2), Server("b", 1), Server("c", 2), Server("d", 1)]


def orders(name: str) -> list[str]:
    """
    What a strategy makes of four servers, for each place where the ring may begin.
    """
    strategy = strategyNamed(name)
    return ["".join(server.name for server in strategy.order(LINKS, start)) for start in range(4)]


class OrderTests(SynchronousTestCase):
    """
    The orders themselves.
    """

    def test_roundRobin(self) -> None:
        """
        The ring from its beginning.
        """
        self.assertEqual(orders("round-robin"), ["abcd", "bcda", "cdab", "dabc"])

    def test_primarySecondary(self) -> None:
        """
        As configured, wherever the pointer is.
        """
        self.assertEqual(orders("primary-secondary"), ["abcd"] * 4)

    def test_priority(self) -> None:
        """
        The cheapest first; equals in the ring's order.
        """
        self.assertEqual(orders("priority"), ["bdac", "bdca", "dbca", "dbac"])


class EachTests(SynchronousTestCase):
    """
    What holds for all of them.
    """

    def test_interface(self) -> None:
        """
        Each provides L{IStrategy} under its own name.
        """
        self.assertEqual(set(STRATEGIES), {"round-robin", "primary-secondary", "priority"})
        for name, strategy in STRATEGIES.items():
            verifyObject(IStrategy, strategy)
            self.assertEqual(strategy.name, name)

    def test_newList(self) -> None:
        """
        The list passed in stays as it was, and the one given back may be changed.
        """
        for strategy in STRATEGIES.values():
            links = LINKS.copy()
            strategy.order(links, 2).clear()
            self.assertEqual(links, LINKS, strategy.name)

    def test_nobody(self) -> None:
        """
        Of no servers, none.
        """
        for strategy in STRATEGIES.values():
            self.assertEqual(strategy.order([], 0), [], strategy.name)

    def test_unknown(self) -> None:
        """
        An unknown name is answered with the known ones.
        """
        error = self.assertRaises(ConfigError, strategyNamed, "random")
        self.assertEqual(
            str(error), "strategy: expected one of primary-secondary, priority, round-robin, not 'random'"
        )
