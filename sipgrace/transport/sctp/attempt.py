"""
An association that is being opened.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    ConnectionRefusedError,
    TimeoutError,
)
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.python.failure import Failure

from sipgrace.transport.sctp.address import SCTPAddress
from sipgrace.transport.sctp.common import SCTPTransport

__all__ = ["Attempt", "refusalOf"]


class Attempt:
    """
    An association being opened: its time-out, its Deferred, its cancelling. Ends once.

    @ivar deferred: fires with the protocol or fails, as L{ISCTPStack.connect} says.
    """

    def __init__(
        self,
        reactor: Any,
        factory: IProtocolFactory,
        timeout: float,
        abandon: Callable[[], None],
        address: SCTPAddress | None = None,
    ) -> None:
        """
        @param timeout: seconds.
        @param abandon: gives up what was begun (ABORT where the peer may know), without calling back.
        @param address: where it is opened to, for the errors.
        """
        self._factory = factory
        self._abandon = abandon
        self._address = address or SCTPAddress("", 0)
        self.done = False
        self.deferred: Deferred[IProtocol] = Deferred(self._cancelled)
        self._call = reactor.callLater(timeout, self._timedOut, timeout)
        factory.doStart()

    def _finish(self) -> None:
        self.done = True
        if self._call.active():
            self._call.cancel()

    def succeeded(self, transport: SCTPTransport) -> None:
        """
        The association is up.
        """
        if self.done:
            return
        self._finish()
        protocol = transport.begin(self._factory, self._factory.doStop)
        if protocol is None:
            self._factory.doStop()
            self.deferred.errback(Failure(ConnectError(string="the factory made no protocol")))
        else:
            self.deferred.callback(protocol)

    def failed(self, error: Exception) -> None:
        """
        It will not come up.
        """
        if self.done:
            return
        self._finish()
        self._factory.doStop()
        self.deferred.errback(Failure(error))

    def _timedOut(self, timeout: float) -> None:
        if not self.done:
            self._abandon()
            self.failed(TimeoutError(string=f"no association with {self._address} within {timeout:g} s"))

    def _cancelled(self, deferred: Deferred[IProtocol]) -> None:
        if not self.done:
            self._abandon()
            self.failed(ConnectingCancelledError(self._address))


def refusalOf(code: int) -> Exception:
    """
    The error that an L{Attempt} gets for an C{errno} of the stack; 0 is an association that ended before
    it was up.
    """
    if code in (0, errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED):
        return ConnectionRefusedError(code, os.strerror(code or errno.ECONNREFUSED))
    if code == errno.ETIMEDOUT:
        return TimeoutError(code, os.strerror(code))
    return ConnectError(code, os.strerror(code))
