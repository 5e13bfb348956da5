"""
Rules that refuse calls because an operator, or a controller, says so while the server runs. They come before
those of the configuration, and are kept in a file, so that a server that was started again still knows them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred

from sipgrace.config.check import checked
from sipgrace.config.server import OrderedReject
from sipgrace.errors import ConfigError, OrderRefused
from sipgrace.lifecycle.aside import Beside
from sipgrace.lifecycle.door import Carried
from sipgrace.lifecycle.events import Change
from sipgrace.lifecycle.orders import Order
from sipgrace.lifecycle.replacing import KeptOrders
from sipgrace.server.rules import Rejection

#: The most rules that may be ordered: each new call is held against all of them.
MOST: Final = 100


class Rejects:
    """
    The rules in force; those that were ordered are in the file, by name.

    @ivar rules: all there are, in the order in which they are looked at; always the same list.
    @ivar ordered: those that were ordered, as the file has them.
    @ivar onPut: called when these have changed.
    """

    def __init__(
        self,
        server: str,
        path: Path | None,
        configured: Sequence[Rejection],
        clients: Collection[str],
        make: Callable[[OrderedReject], Rejection],
        tell: Callable[[Change, str, Order | None], None],
        beside: Beside,
    ) -> None:
        """
        @param server: this server's name.
        @param path: the file, see L{KeptOrders}.
        @param configured: the rules of the configuration.
        @param clients: the names of its clients.
        @param make: makes a rule of what was ordered.
        @param tell: hears of every rule and its end.
        @param beside: where what waits for a disk is done.
        """
        self._server = server
        self._file = KeptOrders("server.rejects", path, beside)
        self._configured = configured
        self._clients = clients
        self._make = make
        self._tell = tell
        self.ordered: dict[str, dict[str, Any]] = {}
        self.onPut: Callable[[], None] = lambda: None
        self.rules = list(configured)

    def load(self) -> None:
        """
        Reads the file.

        @raise ConfigError: when it is there and cannot be read, or is none of ours.
        """
        found = self._file.read()
        try:
            for facts in found.values():
                self._read(facts["rule"])
        except (AttributeError, TypeError, KeyError, OrderRefused) as error:
            raise ConfigError(f"{self._file.where}: holds what is no rule: {error}") from None
        self.put(found)

    def status(self) -> list[dict[str, Any]]:
        """
        @return: those that were ordered: C{name}, C{rule}, C{who}, C{when}, C{why}.
        """
        return [{"name": name, **facts} for name, facts in self.ordered.items()]

    def reject(self, order: Order) -> Deferred[Carried]:
        """
        Adds a rule, or puts it in the place of the one of the same name. Calls that were accepted go on.

        @return: fails with L{OrderRefused} for one that makes no sense here, or when it cannot be written
            down.
        """
        return self._file.change(lambda: self._reject(order))

    async def _reject(self, order: Order) -> Carried:
        rule = self._read(order.rule)
        if len(self.ordered) >= MOST and rule.name not in self.ordered:
            raise OrderRefused(
                f"{self._server} has {MOST} rules already, as many as it may; admit some again"
            )
        facts = {"rule": order.rule, "who": order.who, "when": order.when, "why": order.why}
        await self._write({**self.ordered, rule.name: facts})
        self._tell(Change.REJECTING, f"calls are refused by the rule {rule.name}", order)
        return self._carried(rule.name)

    def admit(self, order: Order) -> Deferred[Carried]:
        """
        Takes a rule back.

        @return: fails with L{OrderRefused} for one that was not ordered, or when it cannot be written down.
        """
        return self._file.change(lambda: self._admit(order))

    async def _admit(self, order: Order) -> Carried:
        name = order.rule
        if name not in self.ordered:
            known = ", ".join(self.ordered) or "none"
            raise OrderRefused(f"{self._server} has no ordered rule {name[:50]!r}; those there are: {known}")
        await self._write({other: facts for other, facts in self.ordered.items() if other != name})
        self._tell(Change.ADMITTING, f"calls are refused by the rule {name} no more", order)
        return self._carried(name)

    def _read(self, text: str) -> OrderedReject:
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            raise OrderRefused("the rule is no JSON") from None
        if not isinstance(found, dict):
            raise OrderRefused("the rule is no JSON object")
        try:
            rule = checked(found, "rule", OrderedReject)
        except ConfigError as error:
            raise OrderRefused("; ".join(str(error).splitlines())) from None
        for party in (rule.origin, rule.destination):
            if party is not None and party.client is not None and party.client not in self._clients:
                raise OrderRefused(f"rule: {self._server} has no client {party.client!r}")
        return rule

    def _carried(self, name: str) -> Carried:
        return Carried({"rule": name, "rejects": name in self.ordered, "kept": self._file.kept})

    async def _write(self, ordered: dict[str, dict[str, Any]]) -> None:
        await self._file.write(ordered)
        self.put(ordered)

    def put(self, ordered: dict[str, dict[str, Any]]) -> None:
        """
        Has these rules be those that were ordered, and no others.
        """
        self.ordered = ordered
        rules = [self._make(self._read(facts["rule"])) for facts in ordered.values()]
        # In place: the role has this very list.
        self.rules[:] = [*rules, *self._configured]
        self.onPut()
