"""
Servers that are not back when they said they would be: one notice each, and one when they are.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger


class Announced(Protocol):
    """
    What is looked at of a server's link.
    """

    @property
    def name(self) -> str:
        """
        The server's name.
        """

    @property
    def returnsIn(self) -> float | None:
        """
        Seconds until it is scheduled to return; below 0 where that is over, C{None} where it did not say.
        """


class Notices(Protocol):
    """
    Whoever is to be told: those who watch the client, a controller among them.
    """

    def overdue(self, name: str, seconds: float) -> None:
        """
        A server is not back, that many seconds after the time that it announced.
        """

    def back(self, name: str, seconds: float) -> None:
        """
        A server of which that was told is back, that many seconds after it was.
        """


class Overdue:
    """
    Waits for servers to be back at the time that they have announced: the end of their countdown or, where it
    is later, their scheduled return. Back is a server that has passed its test.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, grace: float, notices: Notices) -> None:
        """
        @param grace: how many seconds after that time the good test may come.
        """
        self._clock = clock
        self._grace = grace
        self._notices = notices
        self._awaited: dict[str, IDelayedCall] = {}
        self._since: dict[str, float] = {}

    def announced(self, link: Announced, seconds: float) -> None:
        """
        A server asked to be left alone for so many seconds. One that is overdue stays so until it is back,
        whatever else it announces.
        """
        if link.name in self._since:
            return
        self._forget(link.name)
        self._await(link, max(seconds, link.returnsIn or 0.0) + self._grace)

    def returned(self, link: Announced) -> None:
        """
        A server has passed its test.
        """
        self._forget(link.name)
        since = self._since.pop(link.name, None)
        if since is not None:
            late = self._clock.seconds() - since
            self.log.info(
                "{server}, which was overdue, is back after {late:.0f} s", server=link.name, late=late
            )
            self._notices.back(link.name, late)

    def forget(self, link: Announced) -> None:
        """
        There is no such server any more.
        """
        self._forget(link.name)
        self._since.pop(link.name, None)

    def late(self, link: Announced) -> float | None:
        """
        For how many seconds a server has been known to be overdue; C{None} where it is not.
        """
        since = self._since.get(link.name)
        return None if since is None else self._clock.seconds() - since

    def stop(self) -> None:
        """
        No server is waited for any longer.
        """
        for name in list(self._awaited):
            self._forget(name)
        self._since.clear()

    def _await(self, link: Announced, seconds: float) -> None:
        self._awaited[link.name] = self._clock.callLater(seconds, self._expired, link)

    def _expired(self, link: Announced) -> None:
        del self._awaited[link.name]
        # It may have said a later time meanwhile.
        left = (link.returnsIn or -self._grace) + self._grace
        if left > 0:
            self._await(link, left)
            return
        self._since[link.name] = self._clock.seconds()
        self.log.warn(
            "{server} is overdue: it announced to be back {grace:.1f} s ago, and has passed no test",
            server=link.name,
            grace=self._grace,
        )
        self._notices.overdue(link.name, self._grace)

    def _forget(self, name: str) -> None:
        awaited = self._awaited.pop(name, None)
        if awaited is not None:
            awaited.cancel()
