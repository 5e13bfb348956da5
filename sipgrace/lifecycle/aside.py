"""
Work that may wait for a disk, done beside the reactor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.threads import deferToThreadPool

__all__ = ["Aside", "Beside"]

T = TypeVar("T")

#: Does something, now or soon, in the order in which it was asked.
Beside = Callable[[Callable[[], Any]], Deferred[Any]]


class Aside:
    """
    One thread's worth of it: one piece of work after another, each in one of the reactor's threads, so that a
    disk that makes its writers wait does not hold up calls.

    @ivar waiting: how many pieces are not yet done.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._lock = DeferredLock()
        self.waiting = 0

    def __call__(self, work: Callable[[], T]) -> Deferred[T]:
        """
        @return: fires with what C{work} returns, or fails with what it raises.
        """
        self.waiting += 1
        done: Deferred[T] = self._lock.run(
            deferToThreadPool, self._reactor, self._reactor.getThreadPool(), work
        )
        return done.addBoth(self._done)

    def whenIdle(self) -> Deferred[None]:
        """
        @return: fires when all that was asked so far is done.
        """
        return self._lock.run(lambda: None)

    def _done(self, result: T) -> T:
        self.waiting -= 1
        return result
