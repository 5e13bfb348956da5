"""
Waiting for what must come, without sleeping.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, TimeoutError
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

reactor: Any = _reactor

#: Seconds after which what is waited for is taken not to come.
LIMIT = 30.0


class Waiting:
    """
    A mixin for whatever is told of events: L{look} is to be called after each.
    """

    def __init__(self) -> None:
        self._conditions: list[tuple[Callable[[], Any], Deferred[Any]]] = []

    def until(self, condition: Callable[[], Any], what: str, limit: float = LIMIT) -> Deferred[Any]:
        """
        @param what: what is waited for, for the message of the failure.
        @return: fires with what the condition returns as soon as that is true.
        """
        done: Deferred[Any] = Deferred()
        self._conditions.append((condition, done))
        done.addTimeout(limit, reactor)
        done.addErrback(self._late, what, limit)
        self.look()
        return done

    def look(self) -> None:
        """
        Something has happened.
        """
        for entry in list(self._conditions):
            condition, done = entry
            found = condition()
            if found and entry in self._conditions:
                self._conditions.remove(entry)
                done.callback(found)

    def giveUp(self, why: str) -> None:
        """
        Nothing more will happen.
        """
        waiting, self._conditions = self._conditions, []
        for _, done in waiting:
            done.errback(AssertionError(why))

    def _late(self, failure: Failure, what: str, limit: float) -> Failure:
        if failure.check(TimeoutError) is None:
            return failure
        self._conditions = [entry for entry in self._conditions if not entry[1].called]
        return Failure(AssertionError(f"{what} has not come within {limit:g} seconds: {self.story()}"))

    def story(self) -> str:
        """
        @return: what did happen, for the message of a failure.
        """
        return ""


def moment(seconds: float) -> Deferred[None]:
    """
    Fires after a while: where time itself is what a scenario is about.
    """
    done: Deferred[None] = Deferred()
    reactor.callLater(seconds, done.callback, None)
    return done


async def poll(
    look: Callable[[], Any], what: str, limit: float = LIMIT, story: Callable[[], str] = lambda: ""
) -> Any:
    """
    For what tells nobody when it happens.

    @param story: gives what did happen, for the message of a failure.
    @return: what C{look} returns, or its C{Deferred} fires with, once that is true.
    """
    deadline = reactor.seconds() + limit
    while True:
        found = look()
        if isinstance(found, Deferred):
            found = await found
        if found:
            return found
        if reactor.seconds() > deadline:
            raise AssertionError(f"{what} has not come within {limit:g} seconds: {story()}")
        await moment(0.01)


class PollingCase(TestCase):
    """
    Tests that wait for what tells nobody when it happens.
    """

    async def until(self, condition: Callable[[], Any]) -> None:
        """
        Waits until something has come about.
        """
        await poll(condition, "what is waited for", story=self.story)

    def story(self) -> str:
        """
        @return: what did happen, for the message of a failure.
        """
        return ""
