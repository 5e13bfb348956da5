"""
Claims at etcd: transactions over a revision of their group. Whoever claims reads the group's claims,
decides, and writes only if nobody else has written in that group since; else it looks again.

A claim goes with the lease of the controller that made it until it is held. When the lease is lost, claims
that were not held have gone, and to hold one of them fails, so that its order is never sent. Claims that
are held stay. Each controller has claims of its own: a server is claimed as long as any of them claims it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import unquote

from sipgrace.controller.store.etcdkeys import beyond, keyOf, named
from sipgrace.controller.store.etcdlease import EtcdLease
from sipgrace.controller.store.gateway import Found, Gateway, delete, isAt, lookUp, put
from sipgrace.errors import OrderRefused, StoreError

__all__ = ["EtcdClaims"]

#: What stands in a claim that is held; nothing stands in one that is not yet.
HELD: Final = "held"

#: Where others claim in the same group all the time, it is tried so often.
TRIES: Final = 50


class EtcdClaims:
    """
    The claims of one controller, under one prefix; see L{sipgrace.controller.seams.IFleetStore}.
    """

    def __init__(self, name: str, gateway: Gateway, lease: EtcdLease, prefix: str) -> None:
        self._name = name
        self._gateway = gateway
        self._lease = lease
        self._prefix = prefix

    def _place(self, group: str, *parts: str) -> str:
        return keyOf(self._prefix, "claims", named(group), *map(named, parts), "")

    async def claim(self, group: str, server: str, allowed: Callable[[frozenset[str]], str]) -> None:
        """
        Claims a server, if that is allowed.
        """
        place = self._place(group)
        turn, key = keyOf(self._prefix, "group", named(group)), self._place(group, server) + named(self._name)
        for _ in range(TRIES):
            parts = await self._gateway.transact(lookUp(turn), lookUp(place, beyond(place)))
            assert parts is not None
            claims = {one.key: one for one in parts[1]}
            why = allowed(frozenset(map(_serverIn, claims)) - {server})
            if why:
                raise OrderRefused(why)
            if key in claims and _isHeld(claims[key]):
                return
            revision = parts[0][0].revision if parts[0] else 0
            if await self._take(key, turn, revision):
                return
        raise StoreError(f"others claim in the group {group} all the time; try again")

    async def _take(self, key: str, turn: str, revision: int) -> bool:
        """
        @return: whether it was done; not, where the group has changed since, or the lease has ended.
        """
        return await self._lease.write(key, "", isAt(turn, revision), put(turn, self._name))

    async def hold(self, group: str, server: str) -> None:
        """
        Makes a claim last.
        """
        key = self._place(group, server) + named(self._name)
        for found in await self._gateway.read(key):
            # Without a lease, where it is there still.
            lasting, unchanged = put(key, HELD), isAt(key, found.revision)
            if _isHeld(found) or await self._gateway.transact(lasting, when=[unchanged]) is not None:
                return
        raise StoreError(f"the claim of {server} has gone meanwhile, and nothing was sent; try again")

    async def release(self, group: str, server: str, owner: str) -> None:
        """
        Takes a claim back.
        """
        key = self._place(group, server) + named(owner or self._name)
        await self._gateway.transact(delete(key))

    async def of(self, group: str) -> frozenset[str]:
        """
        @return: who is claimed.
        """
        place = self._place(group)
        found = await self._gateway.read(place, beyond(place), keysOnly=True)
        return frozenset(_serverIn(one.key) for one in found)

    async def held(self) -> list[tuple[str, str, str]]:
        """
        @return: all claims that last: group, server, and the controller that made it.
        """
        place = keyOf(self._prefix, "claims", "")
        found = [one.key for one in await self._gateway.read(place, beyond(place)) if _isHeld(one)]
        return [(unquote(key.split("/")[-3]), _serverIn(key), unquote(key.split("/")[-1])) for key in found]


def _serverIn(key: str) -> str:
    return unquote(key.split("/")[-2])


def _isHeld(found: Found) -> bool:
    return found.value == HELD.encode("ascii")
