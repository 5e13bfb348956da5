"""
What a controller says on a server's behalf.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

from twisted.logger import Logger

from sipgrace.client.link import ServerLink
from sipgrace.errors import NotAllowed, OrderRefused
from sipgrace.lifecycle.authorization import Giver, Role
from sipgrace.lifecycle.door import Door
from sipgrace.lifecycle.orders import LONGEST_AWAY


class Announced:
    """
    Takes it as the server's own word, and writes it into the audit log. It takes the role operator.
    """

    log = Logger()

    def __init__(
        self,
        client: str,
        links: Mapping[str, ServerLink],
        door: Door,
        wallClock: Callable[[], float] = time.time,
    ) -> None:
        """
        @param client: this client's name.
        @param links: its servers.
        """
        self._client = client
        self._links = links
        self._door = door
        self._wallClock = wallClock

    def unavailable(
        self, giver: Giver, server: str, retryAfter: float, back: float | None, why: str
    ) -> None:
        """
        See L{sipgrace.control.node.Announced}.
        """
        links = self._meant(giver, server)
        for name, seconds in (("retryAfter", retryAfter), ("back", back)):
            if seconds is not None and not (math.isfinite(seconds) and seconds >= 0):
                raise OrderRefused(f"{name}: a number of seconds from 0 up is expected, found {seconds}")
        if retryAfter > LONGEST_AWAY:
            most = f"at most {LONGEST_AWAY:g} seconds are expected"
            raise OrderRefused(f"retryAfter: {most}, found {retryAfter:g}")
        self.log.info(
            "{giver}: {server} is unavailable for {seconds:.0f} s ({why})",
            giver=giver.name,
            server=server,
            seconds=retryAfter,
            why=why,
        )
        facts = {"server": server, "retryAfter": retryAfter, "back": back, "why": why}
        self._door.noted(giver, "announced", facts)
        left = None if back is None else max(0.0, back - self._wallClock())
        for link in links:
            link.unavailable(retryAfter, left)

    def available(self, giver: Giver, server: str, why: str) -> None:
        """
        See L{sipgrace.control.node.Announced}.
        """
        links = self._meant(giver, server)
        self.log.info("{giver}: {server} is available ({why})", giver=giver.name, server=server, why=why)
        self._door.noted(giver, "unannounced", {"server": server, "why": why})
        for link in links:
            link.available()

    def _meant(self, giver: Giver, server: str) -> list[ServerLink]:
        """
        The server, or all that DNS knows under its name.
        """
        if giver.role is Role.VIEWER:
            raise NotAllowed(f"to speak for a server takes the role operator; {giver.name} is a viewer")
        links = [
            link for name, link in self._links.items() if server in (name, name.partition("/")[0])
        ]
        if not links:
            known = ", ".join(self._links)
            raise OrderRefused(f"{self._client} has no server {server[:100]!r}; one of {known} is expected")
        return links
