"""
Word on a server's behalf: clients are told over the controller's own links that it is unavailable, for a
server that hangs, or one that knows nothing of announcements.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from sipgrace.controller.facts import Notice
from sipgrace.controller.fleet import Fleet
from sipgrace.controller.seams import INodeLink

__all__ = ["Announcing"]


@dataclass(frozen=True, slots=True)
class _Word:
    until: float
    back: float | None
    why: str


class Announcing:
    """
    What clients have been told of servers. A client whose link comes up later is told what is left of it; a
    controller that begins again has forgotten it, while clients go by what they were told.
    """

    _log = Logger()

    def __init__(self, fleet: Fleet, wallClock: Callable[[], float]) -> None:
        self._fleet = fleet
        self._wallClock = wallClock
        self._words: dict[str, _Word] = {}
        self._told: dict[str, INodeLink] = {}

    def start(self) -> None:
        """
        Watches for clients that link up.
        """
        self._fleet.observe(self._noticed)

    def stop(self) -> None:
        """
        Tells nobody any more.
        """
        self._fleet.unobserve(self._noticed)

    def unavailable(
        self, server: str, retryAfter: float, back: float | None, why: str
    ) -> Deferred[list[str]]:
        """
        @return: fires with the names of the clients that were told.
        """
        self._words[server] = _Word(self._wallClock() + retryAfter, back, why)
        return self._tellAll(lambda link: link.unavailable(server, retryAfter, back, why))

    def available(self, server: str, why: str) -> Deferred[list[str]]:
        """
        @return: fires with the names of the clients that were told.
        """
        self._words.pop(server, None)
        return self._tellAll(lambda link: link.available(server, why))

    def isSaid(self, server: str) -> bool:
        """
        @return: whether something has been said of a server that clients which link up later are to be told.
        """
        return server in self._words

    def forget(self, server: str) -> None:
        """
        Tells clients that link up later nothing of it.
        """
        self._words.pop(server, None)

    def _tellAll(self, tell: Callable[[INodeLink], Deferred[None]]) -> Deferred[list[str]]:
        told = []
        for member in self._fleet.members("client"):
            if member.link is not None:
                self._told[member.name] = member.link
                told.append(self._tell(member.name, member.link, tell))
        return gatherResults(told).addCallback(lambda names: [name for name in names if name])

    def _tell(
        self, name: str, link: INodeLink, tell: Callable[[INodeLink], Deferred[None]]
    ) -> Deferred[str]:
        def failed(failure: Any) -> str:
            self._log.warn("{client} was not told: {why}", client=name, why=failure.getErrorMessage())
            return ""

        return tell(link).addCallbacks(lambda _: name, failed)

    def _noticed(self, notice: Notice) -> None:
        facts = notice.facts
        if notice.kind == "node" and facts.get("forgotten"):
            self._told.pop(notice.node, None)
        if notice.kind != "node" or facts.get("role") != "client" or not self._words:
            return
        link = self._fleet.linkOf(notice.node)
        if link is None or self._told.get(notice.node) is link:
            return
        self._told[notice.node] = link
        now = self._wallClock()
        self._words = {server: word for server, word in self._words.items() if word.until > now}
        for server, word in self._words.items():
            self._tell(notice.node, link, _telling(server, word.until - now, word))


def _telling(server: str, left: float, word: _Word) -> Callable[[INodeLink], Deferred[None]]:
    return lambda link: link.unavailable(server, left, word.back, word.why)
