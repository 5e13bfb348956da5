"""
Servers that are found by DNS: looked up at the start and whenever what was found has become old.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from random import random as _random
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from sipgrace.errors import TransportError
from sipgrace.interfaces import IAssociation
from sipgrace.message.uri import SIPURI
from sipgrace.transport.backoff import Backoff
from sipgrace.transport.description import joinDescription
from sipgrace.transport.naming import Located, Locator, Place

__all__ = ["Discovery", "opening"]


class Discovery:
    """
    Follows one domain.

    @ivar places: what was found last, by the names that its servers have here.
    @ivar trouble: why the last look-up failed, or failed in part; empty where it did not. What was known
        before stays in use.
    """

    log = Logger()

    def __init__(
        self,
        name: str,
        uri: SIPURI,
        locator: Locator,
        clock: IReactorTime,
        found: Callable[[Discovery], None],
        backoff: Backoff | None = None,
        bounds: tuple[float, float] = (1.0, 3600.0),
        random: Callable[[], float] = _random,
    ) -> None:
        """
        @param name: what the names of its servers begin with.
        @param bounds: seconds between look-ups, at least and at most, whatever the TTLs are.
        @param found: called after each look-up that found anything.
        @param backoff: between look-ups that fail.
        """
        self.name = name
        self.uri = uri
        self.places: dict[str, Place] = {}
        self.trouble = ""
        self._locator = locator
        self._clock = clock
        self._found = found
        self._backoff = backoff or Backoff()
        self._bounds = bounds
        self._random = random
        self._failures = 0
        self._next: IDelayedCall | None = None
        self._looking: Deferred[Located] | None = None

    def start(self) -> None:
        """
        Looks up now, and again whenever it is time. Nothing happens when it was started before.
        """
        if self._next is None and self._looking is None:
            self._look()

    def stop(self) -> None:
        """
        Looks up no more.
        """
        upcoming, self._next = self._next, None
        if upcoming is not None:
            upcoming.cancel()
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()

    def _look(self) -> None:
        self._next = None
        looking = self._looking = self._locator.locate(self.uri)
        looking.addCallbacks(self._took, self._failed, callbackArgs=(looking,), errbackArgs=(looking,))

    def _took(self, located: Located, looking: Deferred[Located]) -> None:
        if self._looking is not looking:
            return
        self._looking = None
        self._failures = 0
        self._troubled("; ".join(text for _, text in located.missing))
        missing = {target for target, _ in located.missing}
        kept = [place for place in self.places.values() if place.target in missing]
        places = sorted([*located.places, *kept], key=lambda place: (place.priority, -place.weight))
        self.places = self._named(places)
        shortest, longest = self._bounds
        self._next = self._clock.callLater(min(longest, max(shortest, located.seconds)), self._look)
        self._found(self)

    def _failed(self, failure: Failure, looking: Deferred[Located]) -> None:
        if self._looking is not looking:
            return
        self._looking = None
        trouble = failure.getErrorMessage() or repr(failure.value)
        if failure.check(TransportError):
            self._troubled(trouble)
        else:
            self.trouble = trouble
            self.log.failure("looking {uri} up failed", failure, uri=bytes(self.uri).decode("ascii"))
        self._next = self._clock.callLater(self._backoff.delay(self._failures, self._random), self._look)
        self._failures += 1

    def _troubled(self, text: str) -> None:
        """
        What is wrong is logged when it begins and when it becomes something else, not at every look-up.
        """
        if text and text != self.trouble:
            self.log.warn("{name}: {trouble}; it is looked up again", name=self.name, trouble=text)
        self.trouble = text

    def _named(self, places: Sequence[Place]) -> dict[str, Place]:
        """
        A server that is listed twice is one server, as it is listed first.
        """
        found: dict[str, Place] = {}
        for place in places:
            found.setdefault(f"{self.name}/{place.target}:{place.port}", place)
        return found

    def status(self) -> dict[str, Any]:
        """
        How things stand, for display; everything in it fits JSON.
        """
        upcoming = self._next
        return {
            "name": self.name,
            "uri": bytes(self.uri).decode("ascii", "replace"),
            "servers": list(self.places),
            "again": None if upcoming is None else max(0.0, upcoming.getTime() - self._clock.seconds()),
            "trouble": self.trouble,
        }


def opening(
    place: Callable[[], Place | None],
    domain: str,
    words: str,
    connect: Callable[[str], Deferred[IAssociation]],
) -> Callable[[], Deferred[IAssociation]]:
    """
    What opens an association to a server that was found.

    @param place: where it is by now; C{None} where it is no more.
    @param domain: what its certificate must bear, over TLS (RFC 5922 §7).
    @param words: further ones for the description of where to connect.
    @param connect: opens one, by such a description.
    @return: tries the addresses of the server, one after the other.
    """

    def attempt() -> Deferred[IAssociation]:
        known = place()
        if known is None:
            return fail(TransportError("DNS does not know this server any more"))
        return _inTurn([partial(connectTo, known, host) for host in known.hosts])

    def connectTo(known: Place, host: str) -> Deferred[IAssociation]:
        arguments: dict[str, object] = {"host": host, "port": known.port}
        if known.transport == b"TLS":
            arguments["name"] = domain
        return connect(joinDescription(known.transport, arguments, words))

    return attempt


def _inTurn(ways: Sequence[Callable[[], Deferred[IAssociation]]]) -> Deferred[IAssociation]:
    """
    @param ways: at least one.
    @return: fires with what the first of them opens; fails with why the last does not. When it is cancelled
        no further one is tried.
    """
    trying: Deferred[IAssociation]
    left = list(ways)
    givenUp = False

    def giveUp(_: Deferred[IAssociation]) -> None:
        nonlocal givenUp
        givenUp = True
        trying.cancel()

    def tryNext() -> None:
        nonlocal trying
        trying = left.pop(0)()
        trying.addCallbacks(up, down)

    def up(association: IAssociation) -> None:
        if givenUp:
            association.abort()
        else:
            opened.callback(association)

    def down(failure: Failure) -> None:
        if givenUp:
            return
        if left and failure.check(TransportError):
            tryNext()
        else:
            opened.errback(failure)

    opened: Deferred[IAssociation] = Deferred(giveUp)
    tryNext()
    return opened
