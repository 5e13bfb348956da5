"""
L{sipgrace.client.strategies}.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from sipgrace.client.strategies import IStrategy, Weighted, strategies, strategyNamed
from sipgrace.errors import ConfigError


@dataclass(frozen=True)
class Server:
    """
    As much of a link as a strategy looks at.
    """

    name: str
    cost: int
    weight: int = 1
    underWay: int = 0
    latency: float | None = None


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


class MeasuredTests(SynchronousTestCase):
    """
    The orders of those that go by more than the configuration.
    """

    def first(self, name: str, links: list[Server]) -> list[str]:
        strategy = strategyNamed(name)
        return ["".join(one.name for one in strategy.order(links, start)) for start in range(len(links))]

    def test_weighted(self) -> None:
        """
        Whoever has three times the weight is first three times as often; all are tried; those without weight
        are last.
        """
        links = [Server("a", 0, 1), Server("b", 0, 3), Server("c", 0, 0)]
        steps = 100
        firsts = {"a": 0, "b": 0, "c": 0}
        for one in range(steps):
            for other in range(steps):
                drawn = iter(((one + 0.5) / steps, (other + 0.5) / steps))
                ordered = Weighted(lambda drawn=drawn: next(drawn)).order(links, 0)
                firsts[ordered[0].name] += 1
                self.assertEqual((len(ordered), ordered[2].name), (3, "c"))
        self.assertEqual(round(firsts["b"] / steps**2, 2), 0.75)
        self.assertEqual(firsts["c"], 0)

    def test_leastLoaded(self) -> None:
        """
        The fewest first; equals in the ring's order.
        """
        links = [Server("a", 0, underWay=2), Server("b", 0, underWay=1), Server("c", 0, underWay=1)]
        self.assertEqual(self.first("least-loaded", links), ["bca", "bca", "cba"])

    def test_latency(self) -> None:
        """
        The quickest, and those near it in turn; then the others; last whoever was not measured.
        """
        links = [
            Server("a", 0, latency=0.104),
            Server("b", 0),
            Server("c", 0, latency=0.2),
            Server("d", 0, latency=0.1),
        ]
        self.assertEqual(self.first("latency", links), ["adcb", "dacb", "dacb", "dacb"])
        links = [Server("a", 0, latency=0.0001), Server("b", 0, latency=0.004), Server("c", 0, latency=0.006)]
        self.assertEqual(self.first("latency", links), ["abc", "bac", "abc"])


class PluginTests(SynchronousTestCase):
    """
    Strategies that others have installed.
    """

    def test_found(self) -> None:
        """
        One in a folder of theirs is found by its name; it cannot take the name of one of ours.
        """
        folder = Path(self.mktemp()).absolute()
        plugins = folder / "twisted" / "plugins"
        plugins.mkdir(parents=True)
        (plugins / "sipgrace_test_strategy.py").write_text(
            "from twisted.plugin import IPlugin\n"
            "from zope.interface import implementer\n"
            "from sipgrace.client.strategies import IStrategy\n"
            "@implementer(IPlugin, IStrategy)\n"
            "class Reverse:\n"
            "    def __init__(self, name):\n"
            "        self.name = name\n"
            "    def order(self, links, start):\n"
            "        return links[::-1]\n"
            "reverse = Reverse('reverse')\n"
            "impostor = Reverse('priority')\n"
        )
        package = importlib.import_module("twisted.plugins")
        self.patch(package, "__path__", [*package.__path__, str(plugins)])
        self.addCleanup(sys.modules.pop, "twisted.plugins.sipgrace_test_strategy", None)
        self.assertEqual(orders("reverse"), ["dcba"] * 4)
        self.assertEqual(orders("priority")[0], "bdac")
        error = self.assertRaises(ConfigError, strategyNamed, "random")
        self.assertIn(" priority, reverse, round-robin,", str(error))


class EachTests(SynchronousTestCase):
    """
    What holds for all of them.
    """

    def test_interface(self) -> None:
        """
        Each provides L{IStrategy} under its own name.
        """
        ours = {"round-robin", "primary-secondary", "priority", "weighted", "srv", "least-loaded", "latency"}
        self.assertEqual(set(strategies()), ours)
        for name, strategy in strategies().items():
            verifyObject(IStrategy, strategy)
            self.assertEqual(strategy.name, name)

    def test_newList(self) -> None:
        """
        The list passed in stays as it was, and the one given back may be changed.
        """
        for strategy in strategies().values():
            links = LINKS.copy()
            strategy.order(links, 2).clear()
            self.assertEqual(links, LINKS, strategy.name)

    def test_nobody(self) -> None:
        """
        Of no servers, none.
        """
        for strategy in strategies().values():
            self.assertEqual(strategy.order([], 0), [], strategy.name)

    def test_unknown(self) -> None:
        """
        An unknown name is answered with the known ones.
        """
        error = self.assertRaises(ConfigError, strategyNamed, "random")
        self.assertEqual(
            str(error),
            "client.strategy: expected one of latency, least-loaded, primary-secondary, priority, "
            "round-robin, srv, weighted, found 'random'",
        )
