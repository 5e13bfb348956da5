"""
The lease of one controller at etcd: what is written with it goes when the controller is no more. It is kept
alive as long as the controller lives and reaches etcd; when it is lost nevertheless, the next that is
written takes a new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from sipgrace.controller.store.gateway import Gateway, put
from sipgrace.errors import StoreError

__all__ = ["EtcdLease"]


class EtcdLease:
    """
    @ivar number: etcd's for it; 0 while there is none.
    """

    _log = Logger()

    def __init__(self, gateway: Gateway, clock: IReactorTime, seconds: int) -> None:
        """
        @param seconds: how long it lasts without being kept alive.
        """
        self._gateway = gateway
        self._seconds = seconds
        self._keeping = LoopingCall(lambda: Deferred.fromCoroutine(self._keepAlive()))
        self._keeping.clock = clock
        self.number = 0

    async def start(self) -> None:
        """
        Takes one, and begins to keep it alive.
        """
        self.number = await self._gateway.grant(self._seconds)
        self._keeping.start(self._seconds / 3, now=False)

    def stop(self) -> None:
        """
        Keeps it alive no longer.
        """
        self._keeping.stop()

    async def revoke(self) -> None:
        """
        Ends it.
        """
        try:
            await self._gateway.revoke(self.number)
        except StoreError as error:
            # It ends by itself.
            self._log.info("{why}", why=str(error))

    async def _keepAlive(self) -> None:
        try:
            if self.number and not await self._gateway.keepAlive(self.number):
                self._log.warn("the lease at etcd has ended; what was claimed and not held is free")
                self.number = 0
        except StoreError as error:
            self._log.warn("the lease at etcd is not kept alive: {why}", why=str(error))

    async def write(self, key: str, value: str, when: Mapping[str, Any], *more: Mapping[str, Any]) -> bool:
        """
        Writes what goes with the lease.

        @param when: the condition.
        @param more: what else is done in the same step.
        @return: whether it was done; not, where the condition does not hold, or the lease has ended.
        """
        if not self.number:
            self.number = await self._gateway.grant(self._seconds)
        try:
            done = await self._gateway.transact(put(key, value, self.number), *more, when=[when])
        except StoreError as error:
            if "lease not found" not in str(error):
                raise
            self._log.warn("the lease at etcd had ended; what was claimed and not held is free")
            self.number = 0
            return False
        return done is not None
