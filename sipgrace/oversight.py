"""
What stands around an element's lifecycle, as configured: the door for orders with its audit log.
"""

from __future__ import annotations

import os
import time
from typing import Any

from sipgrace.config.orders import OrdersSection
from sipgrace.errors import ConfigError
from sipgrace.lifecycle.aside import Aside
from sipgrace.lifecycle.audit import AuditLog
from sipgrace.lifecycle.authorization import Authority, Key, Role, Verify
from sipgrace.lifecycle.door import Door
from sipgrace.lifecycle.machine import Lifecycle
from sipgrace.lifecycle.nonces import Nonces

__all__ = ["Oversight"]


class Oversight:
    """
    All of it, for one element.

    @ivar door: where orders are given.
    @ivar beside: where what waits for a disk is done.
    """

    def __init__(self, reactor: Any, name: str, lifecycle: Lifecycle, orders: OrdersSection) -> None:
        self._orders = orders
        self.beside = Aside(reactor)
        self._nonces = Nonces(orders.noncesPath)
        authority = Authority(
            name,
            [Key(key.name, Role(key.role), key.public) for key in orders.keys],
            self._nonces,
            Verify(orders.verify),
            orders.signedLocally,
            orders.skew,
            orders.longest,
        )
        self.door = Door(
            name,
            reactor,
            lifecycle,
            authority,
            None if orders.audit is None else AuditLog(orders.audit, self.beside),
            self.beside,
        )

    def start(self) -> None:
        """
        Looks whether the files can be used, before anything is served.

        @raise ConfigError: when one cannot.
        """
        path = self._orders.audit
        if path is not None:
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600))
            except OSError as error:
                raise ConfigError(f"orders.audit: cannot write {path}: {error.strerror}") from None
        self._nonces.load(time.time())
