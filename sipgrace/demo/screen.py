"""
What a run shows while it runs.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from twisted.internet.task import LoopingCall

from sipgrace.demo.book import Book
from sipgrace.demo.network import Network, Sight
from sipgrace.demo.plan import CLIENTS, SERVERS, Plan

__all__ = ["Screen"]

#: Seconds between two pictures on a terminal, and between two lines elsewhere.
PICTURE = 0.25
LINE = 2.0

#: How many of the last steps the picture shows.
LAST = 8


class Screen:
    """
    A picture that changes where there is a terminal; lines one after another elsewhere.

    @ivar steps: what happened when: seconds since the first call, and a line.
    """

    def __init__(self, reactor: Any, console: Console, plan: Plan, book: Book, network: Network) -> None:
        self._reactor = reactor
        self._console = console
        self._plan = plan
        self._book = book
        self._network = network
        self._startedAt: float | None = None
        self._live: Live | None = None
        self._last: deque[tuple[float, str]] = deque(maxlen=LAST)
        self._again = LoopingCall(self._show)
        self._again.clock = reactor
        self.steps: list[tuple[float, str]] = []

    def start(self) -> None:
        """
        Begins to show.
        """
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        self._again.start(PICTURE if self._live is not None else LINE, now=False)

    def callsBegin(self) -> None:
        """
        Time counts from now.
        """
        self._startedAt = self._reactor.seconds()

    def stop(self) -> None:
        """
        Shows no more.
        """
        if self._again.running:
            self._again.stop()
        if self._live is not None:
            self._live.stop()
            self._live = None

    def say(self, text: str) -> None:
        """
        One line, before there are calls.
        """
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def step(self, text: str) -> None:
        """
        Something happened.
        """
        at = self._elapsed()
        self.steps.append((at, text))
        self._last.append((at, text))
        if self._live is None:
            self.say(f"{at:6.2f} s  {text}")

    def _elapsed(self) -> float:
        return 0.0 if self._startedAt is None else self._reactor.seconds() - self._startedAt

    def _show(self) -> None:
        if self._live is not None:
            self._live.update(self._picture(), refresh=True)
        elif self._startedAt is not None:
            self.say(f"{self._elapsed():6.2f} s  {self._counts()}")

    def _counts(self) -> str:
        outcomes = self._book.outcomes
        ended = ", ".join(f"{outcomes[outcome]} {outcome}" for outcome in ("completed", "failed", "lost"))
        return f"{len(self._book.calls)} of {self._plan.calls} calls started, {ended}"

    def _picture(self) -> RenderableType:
        bar = ProgressBar(total=self._plan.calls, completed=self._book.outcomes.total(), width=60)
        table = Table(box=None, pad_edge=False)
        table.add_column("as seen by")
        table.add_column("itself")
        for client in CLIENTS:
            table.add_column(client.name)
        for server in SERVERS:
            table.add_row(
                server.name,
                self._network.states.get(server.name, "starting"),
                *(_glimpse(self._network.sights.get(client, {}).get(server.name)) for client in CLIENTS),
            )
        steps = [Text(f"{at:6.2f} s  {text}") for at, text in self._last]
        return Group(Text(f"{self._elapsed():6.2f} s  {self._counts()}"), bar, Text(), table, Text(), *steps)


def _glimpse(sight: Sight | None) -> str:
    if sight is None:
        return ""
    if sight.active:
        return "[green]active[/]"
    if sight.countdown:
        return f"[yellow]away {sight.countdown:.0f} s[/]"
    return "[red]testing[/]" if sight.associated else "[red]none[/]"
