"""
Word on a server's behalf: clients are told over the controller's own links that it is unavailable, for a
server that hangs, or one that knows nothing of announcements.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from sipgrace.controller.facts import Notice, Person
from sipgrace.controller.fleet import Fleet
from sipgrace.controller.seams import INodeLink
from sipgrace.controller.wanted import allow, read, text
from sipgrace.errors import Malformed, OrderRefused, Unknown
from sipgrace.lifecycle.authorization import Role

__all__ = ["Announcing"]

#: Has other controllers tell their clients; gives the names of those who were told.
Further = Callable[[Mapping[str, Any], Person], Awaitable[list[str]]]


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

    def __init__(
        self, fleet: Fleet, audit: Callable[..., Deferred[None]], wallClock: Callable[[], float]
    ) -> None:
        """
        @param audit: writes a record into the audit log.
        """
        self._fleet = fleet
        self._audit = audit
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

    async def announce(
        self, values: Mapping[str, Any], person: Person, further: Further | None
    ) -> Sequence[str]:
        """
        Tells clients that a server is unavailable.

        @param values: C{server}, C{retryAfter}, C{back}, C{why}.
        @param further: has other controllers tell theirs; C{None} where one of them has passed this on, and
            knows the server.
        @return: the names of the clients that were told.
        @raise Unknown: where it is not known whose word that would be.
        @raise OrderRefused: where nobody was told, here or further.
        """
        allow(person, Role.OPERATOR, "to announce")
        found = _read(values)
        if "retryAfter" not in found:
            raise Malformed("the announcement: retryAfter is missing")
        await self._noted("announced", found, person, further)
        server, retryAfter = found["server"], found["retryAfter"]
        word = self._words[server] = _Word(
            self._wallClock() + retryAfter, found.get("back"), found.get("why", "")
        )
        told = await self._tellAll(_telling(server, retryAfter, word))
        if further is None:
            return told
        told = sorted({*told, *await further(found, person)})
        if not told and self._words.get(server) is word:
            del self._words[server]
        return _somebody(told, server)

    async def unannounce(
        self, values: Mapping[str, Any], person: Person, further: Further | None
    ) -> Sequence[str]:
        """
        Takes that back; as L{announce}.

        @param values: C{server}, C{why}.
        """
        allow(person, Role.OPERATOR, "to announce")
        found = _read(values)
        await self._noted("unannounced", found, person, further)
        server, why = found["server"], found.get("why", "")
        self._words.pop(server, None)
        told = await self._tellAll(lambda link: link.available(server, why))
        if further is None:
            return told
        return _somebody(sorted({*told, *await further(found, person)}), server)

    async def _noted(
        self, what: str, found: Mapping[str, Any], person: Person, further: Further | None
    ) -> None:
        """
        Writes down what is asked for, where it is known whose word that would be.
        """
        server = found["server"]
        if further is not None and not self._fleet.isServer(server) and server not in self._words:
            raise Unknown(f"{server[:100]!r} is no server of this fleet, and no client has one of that name")
        await self._audit(what, who=person.name, **found)

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


def _read(values: Mapping[str, Any]) -> dict[str, Any]:
    found = read(
        values, {"server": str, "retryAfter": float, "back": float, "why": str}, "the announcement"
    )
    text(found, "server", "the announcement")
    why = found.get("why", "")
    if len(why) > 500 or not why.isprintable():
        raise Malformed("the announcement: why is one line of up to 500 printable characters")
    return found


def _somebody(told: Sequence[str], server: str) -> Sequence[str]:
    """
    @raise OrderRefused: where nobody was told.
    """
    if not told:
        raise OrderRefused(f"no client was told: none that has {server[:100]!r} is linked, or has taken it")
    return told
