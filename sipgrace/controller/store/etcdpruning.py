"""
How what is old is removed from etcd: in steps of one transaction each. What somebody else changes in that
very moment stays, and is looked at again when all is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final, TypeVar

from sipgrace.controller.facts import ENDED, Kept, OrderRecord, Pruned, RollingRecord
from sipgrace.controller.records import orderFrom, rollingFrom
from sipgrace.controller.store.etcdkeys import keyOf, older, placesOf
from sipgrace.controller.store.gateway import Found, Gateway, delete, isAt
from sipgrace.errors import StoreError

__all__ = ["STEP", "EtcdPruning"]

#: So many records are looked at in one step. An order has three keys, and etcd takes 128 in one transaction.
STEP: Final = 33

#: So many records of the audit log, which are one range of keys.
AUDIT_STEP: Final = 200

R = TypeVar("R", OrderRecord, RollingRecord)


class EtcdPruning:
    """
    Removes under one prefix.
    """

    def __init__(self, gateway: Gateway, prefix: str) -> None:
        self._gateway = gateway
        self._prefix = prefix

    async def prune(self, kind: Kept, before: float, after: str, spared: Collection[str]) -> Pruned:
        """
        See L{sipgrace.controller.seams.IFleetStore.prune}.
        """
        first, end = older(keyOf(self._prefix, kind, ""), before)
        first = f"{after}\0" if after else first
        if kind is Kept.AUDIT:
            return await self._audit(first, end)
        found = await self._gateway.read(first, end, STEP)
        there = found[-1].key if len(found) == STEP else ""
        if kind is Kept.ROLLINGS:
            return await self._rollings(found, before, there)
        return await self._orders(found, before, there, spared)

    async def _audit(self, first: str, end: str) -> Pruned:
        found = await self._gateway.read(first, end, AUDIT_STEP, keysOnly=True)
        if not found:
            return Pruned(0)
        last = found[-1].key
        await self._gateway.transact(delete(first, f"{last}\0"))
        return Pruned(len(found), after=last if len(found) == AUDIT_STEP else "")

    async def _rollings(self, found: Sequence[Found], before: float, there: str) -> Pruned:
        records = list(_readable(rollingFrom, found))
        old = [one for one, record in records if record.ended is not None and record.ended < before]
        left = [record.id for _, record in records if record.ended is None]
        return Pruned(await self._remove(old, [one.key for one in old]), left, there)

    async def _orders(
        self, found: Sequence[Found], before: float, there: str, spared: Collection[str]
    ) -> Pruned:
        old = [
            (one, record)
            for one, record in _readable(orderFrom, found)
            if record.outcome in ENDED and _end(record) < before and record.rolling not in spared
        ]
        keys = [key for _, record in old for key in placesOf(self._prefix, record)]
        return Pruned(await self._remove([one for one, _ in old], keys), after=there)

    async def _remove(self, old: Sequence[Found], keys: Sequence[str]) -> int:
        """
        @return: how many records were.
        """
        if not old:
            return 0
        unchanged = [isAt(one.key, one.revision) for one in old]
        done = await self._gateway.transact(*map(delete, keys), when=unchanged)
        return 0 if done is None else len(old)


def _end(record: OrderRecord) -> float:
    return record.at if record.ended is None else record.ended


def _readable(made: Callable[[bytes], R], found: Iterable[Found]) -> Iterable[tuple[Found, R]]:
    """
    What cannot be read stays.
    """
    for one in found:
        try:
            yield one, made(one.value)
        except StoreError:
            continue
