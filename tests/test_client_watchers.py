"""
Tests of L{sipgrace.client.watchers}.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.client.overdue import Overdue
from sipgrace.client.watchers import Servers


class Link:
    """
    As much of a link as is looked at.
    """

    returnsIn: float | None = None

    def __init__(self, name: str) -> None:
        self.name = name


class GoneTests(SynchronousTestCase):
    """
    Links that are given up for good.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.told: list[str] = []
        self.forgotten: list[Any] = []
        me = cast(Any, self)
        self.servers = Servers(cast(Any, None), me, (), Overdue(self.clock, 5.0, me))

    def forget(self, link: Any) -> None:
        self.forgotten.append(link)

    def overdue(self, name: str, seconds: float) -> None:
        self.told.append(name)

    def test_gone(self) -> None:
        """
        Nobody waits for the return of a server that is looked up and has vanished.
        """
        link = cast(Any, Link("berlin/192.0.2.1"))
        self.servers.linkCounting(link, 30.0)
        self.servers.gone(link)
        self.clock.advance(100.0)
        self.assertEqual((self.forgotten, self.told), ([link], []))

    def test_replaced(self) -> None:
        """
        One that has another link by now is waited for.
        """
        link = cast(Any, Link("berlin/192.0.2.1"))
        self.servers.links[link.name] = cast(Any, Link(link.name))
        self.servers.linkCounting(link, 30.0)
        self.servers.gone(link)
        self.clock.advance(100.0)
        self.assertEqual((self.forgotten, self.told), ([link], [link.name]))
