"""
Servers that are left alone because an operator, or a controller, says so: they get no INVITEs, and are tested
all the same. This is kept in a file, so that a client that was started again still knows it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from sipgrace.client.activelist import ActiveList
from sipgrace.client.link import ServerLink
from sipgrace.errors import ConfigError, OrderRefused
from sipgrace.lifecycle.aside import Beside
from sipgrace.lifecycle.door import Carried
from sipgrace.lifecycle.events import Change
from sipgrace.lifecycle.orders import Order
from sipgrace.lifecycle.replacing import KeptOrders


class Skips:
    """
    Which servers are skipped. Those that are found by DNS come and go, and are skipped nevertheless when they
    are back.
    """

    def __init__(
        self,
        client: str,
        path: Path | None,
        configured: Collection[str],
        links: Mapping[str, ServerLink],
        active: ActiveList[ServerLink],
        tell: Callable[[Change, str, Order | None], None],
        beside: Beside,
    ) -> None:
        """
        @param client: this client's name.
        @param path: the file, see L{KeptOrders}.
        @param configured: the names of its servers; those of what is found begin with one, and a slash.
        @param links: those that there are now, by name.
        @param tell: hears of every skip and its end.
        @param beside: where what waits for a disk is done.
        """
        self._client = client
        self._file = KeptOrders("client.skips", path, beside)
        self._configured = configured
        self._links = links
        self._active = active
        self._tell = tell
        self._skipped: dict[str, dict[str, Any]] = {}

    def load(self) -> None:
        """
        Reads the file. Servers that are not configured any more are forgotten.

        @raise ConfigError: when it is there and cannot be read, or is none of ours.
        """
        found = self._file.read()
        if not (isinstance(found, dict) and all(isinstance(facts, dict) for facts in found.values())):
            raise ConfigError(f"{self._file.where}: expected an object of objects, found another")
        for name, facts in found.items():
            if name.partition("/")[0] in self._configured:
                self._skipped[name] = {"who": "", "when": 0.0, "why": "", **facts}
                if name in self._links:
                    self._links[name].skipped = True

    def of(self, name: str) -> dict[str, Any] | None:
        """
        Who had a server skipped, when and why; C{None} where nobody did.
        """
        return self._skipped.get(name)

    def skip(self, order: Order) -> Deferred[Carried]:
        """
        Leaves a server alone. Calls that are under way there go on.

        @return: fails with L{OrderRefused} for a server that there is not, or when it cannot be written down.
        """
        return self._file.change(lambda: self._skip(order))

    async def _skip(self, order: Order) -> Carried:
        name = self._meant(order).name
        facts = {"who": order.who, "when": order.when, "why": order.why}
        await self._write({**self._skipped, name: facts})
        # DNS may have said something else of it meanwhile.
        link = self._links.get(name)
        if link is not None and not link.skipped:
            link.skipped = True
            self._active.remove(link)
            link.watchNow()
        self._tell(Change.SKIPPED, f"{name} is skipped", order)
        return self._carried(name)

    def unskip(self, order: Order) -> Deferred[Carried]:
        """
        Uses a server again, as soon as it is good.

        @return: fails with L{OrderRefused} for a server that is not skipped, or when it cannot be written
            down.
        """
        return self._file.change(lambda: self._unskip(order))

    async def _unskip(self, order: Order) -> Carried:
        server = order.server
        if server not in self._skipped:
            raise OrderRefused(f"{self._meant(order).name} is not skipped")
        await self._write({name: facts for name, facts in self._skipped.items() if name != server})
        link = self._links.get(server)
        if link is not None:
            link.skipped = False
            if link.active:
                self._active.add(link)
        self._tell(Change.UNSKIPPED, f"{server} is not skipped any more", order)
        return self._carried(server)

    def _meant(self, order: Order) -> ServerLink:
        link = self._links.get(order.server)
        if link is None:
            known = ", ".join(self._links)
            raise OrderRefused(f"{self._client} has no server {order.server!r}; one of {known} is expected")
        return link

    def _carried(self, server: str) -> Carried:
        return Carried({"server": server, "skipped": server in self._skipped, "kept": self._file.kept})

    async def _write(self, skipped: dict[str, dict[str, Any]]) -> None:
        await self._file.write(skipped)
        self._skipped = skipped
