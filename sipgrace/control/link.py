"""
One AMP connection, of either side, as safe from its peer as a link must be.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

__all__ = ["Link"]


class Link(amp.AMP):
    """
    What cannot be read ends the link with one line in the log.

    @cvar LONGEST: the most bytes that one box may take, about.
    @ivar gone: whether the connection was lost.
    """

    LONGEST = 16 << 20

    _log = Logger()
    transport: Any

    def __init__(self) -> None:
        super().__init__()
        self.gone = False
        self._dropped = False
        self._held = 0
        self._lost: list[Deferred[None]] = []

    def whenLost(self) -> Deferred[None]:
        """
        @return: fires when the connection has gone, at once where it has.
        """
        lost: Deferred[None] = Deferred()
        if self.gone:
            lost.callback(None)
        else:
            self._lost.append(lost)
        return lost

    def end(self) -> None:
        """
        Ends the link when all that was said has been sent.
        """
        if self.transport is not None:
            self.transport.loseConnection()

    # AMP's own would tell of every connection in the log, which is often asked of monitoring.

    def makeConnection(self, transport: Any) -> None:
        """
        See C{IProtocol}.
        """
        self._transportPeer = transport.getPeer()
        self._transportHost = transport.getHost()
        amp.BinaryBoxProtocol.makeConnection(self, transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        See C{IProtocol}.
        """
        self.gone = True
        amp.BinaryBoxProtocol.connectionLost(self, reason)
        self.transport = None
        lost, self._lost = self._lost, []
        for one in lost:
            one.callback(None)

    def dataReceived(self, data: bytes) -> None:
        """
        See C{IProtocol}.
        """
        if self._dropped:
            return
        self._held += len(data)
        try:
            if self._held > self.LONGEST:
                raise ValueError(f"it is longer than {self.LONGEST} bytes")
            super().dataReceived(data)
        except Exception as error:
            self._drop(repr(error))

    def lengthLimitExceeded(self, length: int) -> None:
        """
        See C{amp.BinaryBoxProtocol}.
        """
        super().lengthLimitExceeded(length)
        self._drop(f"a key of {length} bytes")

    def ampBoxReceived(self, box: Any) -> None:
        """
        See C{amp.IBoxReceiver}.
        """
        self._held = 0
        super().ampBoxReceived(box)

    def unhandledError(self, failure: Failure) -> None:
        """
        See C{amp.IBoxReceiver}.
        """
        if not self.gone:
            self._drop(failure.getErrorMessage())

    def _drop(self, why: str) -> None:
        if self._dropped:
            return
        self._dropped = True
        self._log.warn("a link is ended, for what came on it cannot be read: {why}", why=why[:200])
        if self.transport is not None:
            self.transport.abortConnection()
