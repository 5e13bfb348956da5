"""
What both SCTP stacks do alike: the association as a Twisted transport.

L{SCTPTransport} queues what the stack does not take, drives producers, joins the pieces of a message,
keeps the errors of protocols to themselves and reports the end of an association once. A stack derives
from it and supplies six operations (those that raise C{NotImplementedError}).
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from sipgrace.transport.oncepersecond import gateOf
from sipgrace.transport.sctp.address import SCTPAddress
from sipgrace.transport.sctp.stack import ISCTPProtocol, ISCTPTransport, SCTPOptions, SCTPStatus

__all__ = ["SCTPTransport", "endOf"]

log = Logger()


@implementer(ISCTPTransport)
class SCTPTransport:
    """
    One association as a protocol's transport; see L{ISCTPTransport}.

    The stack calls L{begin} once the association is up, L{pieceReceived} for what it reads,
    L{writable} when it takes data again after L{_send} returned false, L{peerShutdown} when the peer has
    begun SHUTDOWN, and L{end} when the association is gone.

    @ivar connected: from L{begin} to L{end}, or to an abort.
    @ivar disconnecting: once L{loseConnection} was called, or the peer has begun SHUTDOWN.
    @ivar readPaused: the protocol wants no more data: read nothing until L{_resumeReading}.
    @ivar outStreams: the streams that may be sent on.
    """

    stack = ""
    connected = False
    disconnecting = False
    readPaused = False
    outStreams = 1
    protocol: IProtocol

    def __init__(self, reactor: Any, options: SCTPOptions, host: SCTPAddress, peer: SCTPAddress) -> None:
        self.reactor = reactor
        self.options = options
        self._host = host
        self._peer = peer
        self._closing = False
        self._aborting = False
        self._ended = False
        self._queue: deque[tuple[bytes, int, int, bool]] = deque()
        self._queued = 0
        self._parts: list[bytes] = []
        self._partial = 0
        self._producer: Any = None
        self._streamingProducer = False
        self._producerPaused = False
        self._factory: IProtocolFactory | None = None
        self._afterwards: Callable[[], None] | None = None
        self._detailed: Callable[[bytes, int, int, bool], None] | None = None

    # What a stack supplies.

    def _send(self, data: bytes, stream: int, ppid: int, unordered: bool) -> bool:
        """
        Gives one message to the stack.

        @return: false when it would block: the stack then calls L{writable} later. True otherwise,
            also when the association is gone and the message with it.
        """
        raise NotImplementedError

    def _shutdown(self) -> None:
        """
        Begins SHUTDOWN; L{end} follows.
        """
        raise NotImplementedError

    def _abort(self) -> None:
        """
        Sends ABORT and forgets the association, without calling back.
        """
        raise NotImplementedError

    def _resumeReading(self) -> None:
        """
        Reads on, beginning with what has arrived meanwhile; not from within this call.
        """
        raise NotImplementedError

    def _pauseReading(self) -> None:
        """
        Called when L{readPaused} has become true.
        """

    def status(self) -> SCTPStatus:
        raise NotImplementedError

    # Its life.

    def begin(
        self, factory: IProtocolFactory, afterwards: Callable[[], None] | None = None
    ) -> IProtocol | None:
        """
        The association is up: makes its protocol.

        @param afterwards: called when the protocol has lost the association.
        @return: the protocol; C{None} where the factory refused or failed, and the association was
            therefore aborted.
        """
        try:
            protocol = factory.buildProtocol(self._peer)
        except Exception:
            log.failure("no protocol for the association with {peer}", peer=self._peer)
            protocol = None
        if protocol is None:
            self._ended = True
            self._abort()
            return None
        self.protocol = protocol
        if ISCTPProtocol.providedBy(protocol):
            self._detailed = protocol.sctpMessageReceived
        self._factory = factory
        self._afterwards = afterwards
        self.connected = True
        try:
            protocol.makeConnection(self)
        except Exception:
            log.failure("connectionMade of {peer} failed", peer=self._peer)
            self.abortConnection()
        return protocol

    def peerShutdown(self) -> None:
        """
        The peer has begun SHUTDOWN: the stack takes nothing more from us.
        """
        self.disconnecting = self._closing = True

    def end(self, error: Exception) -> None:
        """
        The association is gone. Only the first call counts.
        """
        if self._ended:
            return
        self._ended = True
        self.connected = False
        self.disconnecting = False
        self._closing = True
        self._queue.clear()
        self._queued = 0
        self._parts.clear()
        producer, self._producer = self._producer, None
        if producer is not None:
            self._contained(producer.stopProducing)
        reason = Failure(error)
        self._contained(lambda: self.protocol.connectionLost(reason))
        if self._afterwards is not None:
            self._contained(self._afterwards)

    def _contained(self, call: Callable[[], object]) -> bool:
        try:
            call()
            return True
        except Exception:
            log.failure("a protocol failed on the association with {peer}", peer=self._peer)
            return False

    # Sending.

    def write(self, data: bytes) -> None:
        if data:
            self.sendMessage(data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        self.write(b"".join(iovec))

    def sendMessage(self, data: bytes, stream: int = 0, ppid: int = 0, unordered: bool = True) -> None:
        if self._closing or not self.connected:
            return
        if not data:
            raise ValueError("an SCTP message has at least one byte")
        if not 0 <= stream < self.outStreams:
            raise ValueError(f"stream {stream}: this association has {self.outStreams}")
        if len(data) > self.options.sendBuffer:
            raise ValueError(f"a message of {len(data)} bytes: at most {self.options.sendBuffer} can be sent")
        if not self._queue and self._send(data, stream, ppid, unordered):
            return
        if not self.connected:
            return
        self._queue.append((data, stream, ppid, unordered))
        self._queued += len(data)
        if self._queued > self.options.sendBound:
            self._warn("{peer} takes nothing: {queued} bytes wait, aborted", queued=self._queued)
            self.abortConnection()
        elif self._producer is not None and self._streamingProducer and not self._producerPaused:
            self._producerPaused = True
            self._producer.pauseProducing()

    def writable(self) -> None:
        """
        The stack takes data again.
        """
        queue = self._queue
        while queue and self.connected:
            if not self._send(*queue[0]):
                return
            if queue:
                self._queued -= len(queue.popleft()[0])
        if not self.connected:
            return
        if self._producer is not None:
            if not self._streamingProducer or self._producerPaused:
                self._producerPaused = False
                if not self._contained(self._producer.resumeProducing):
                    self.abortConnection()
        elif self.disconnecting:
            self._beginShutdown()

    @property
    def queued(self) -> int:
        """
        Bytes kept here because the stack blocked.
        """
        return self._queued

    # IConsumer

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self._producer is not None:
            raise RuntimeError(f"{producer!r}: another producer is registered: {self._producer!r}")
        if self._closing or not self.connected:
            producer.stopProducing()
            return
        self._producer = producer
        self._streamingProducer = streaming
        self._producerPaused = False
        if not streaming:
            producer.resumeProducing()
        elif self._queue:
            self._producerPaused = True
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        self._producer = None
        if self.connected and self.disconnecting and not self._queue:
            self._beginShutdown()

    # IPushProducer: our reading

    def pauseProducing(self) -> None:
        if not self.readPaused:
            self.readPaused = True
            self._pauseReading()

    def resumeProducing(self) -> None:
        if self.readPaused and self.connected:
            self.readPaused = False
            self._resumeReading()

    def stopProducing(self) -> None:
        self.loseConnection()

    # Leaving

    def loseConnection(self) -> None:
        if not self.connected or self.disconnecting:
            return
        self.disconnecting = True
        if self._producer is None:
            if self._queue:
                self._closing = True
            else:
                self._beginShutdown()

    def _beginShutdown(self) -> None:
        self._closing = True
        self._shutdown()

    def abortConnection(self) -> None:
        if self._ended or self._aborting:
            return
        self._aborting = self._closing = True
        self.connected = False
        self._queue.clear()
        self._abort()
        self.reactor.callLater(0, self.end, ConnectionAborted())

    # Receiving

    def pieceReceived(self, data: bytes, whole: bool, stream: int, ppid: int, unordered: bool) -> None:
        """
        A message, or a piece of one.

        @param whole: whether a message ends here (MSG_EOR).
        """
        if not self.connected:
            return
        if self._parts or not whole or len(data) > self.options.maxMessage:
            self._partial += len(data)
            if self._partial > self.options.maxMessage:
                self._warn(
                    "{peer} sent a message of more than {bound} bytes: aborted", bound=self.options.maxMessage
                )
                self.abortConnection()
                return
            self._parts.append(data)
            if not whole:
                return
            data = b"".join(self._parts)
            self._parts.clear()
            self._partial = 0
        try:
            if self._detailed is None:
                self.protocol.dataReceived(data)
            else:
                self._detailed(data, stream, ppid, unordered)
        except Exception:
            log.failure("a protocol failed on a message of {peer}: aborted", peer=self._peer)
            self.abortConnection()

    def _warn(self, form: str, **values: object) -> None:
        """
        One line about the peer, if it had none within the last second: it could cause them at will.
        """
        if gateOf(self.reactor).passes(self._peer.host, self.reactor.seconds()):
            log.warn(form, peer=self._peer, **values)

    # Where it is

    def getHost(self) -> SCTPAddress:
        return self._host

    def getPeer(self) -> SCTPAddress:
        return self._peer

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._host} to {self._peer}>"


def endOf(code: int) -> Exception:
    """
    The error that C{connectionLost} gets for an C{errno} of the stack; 0 is an orderly end.
    """
    if code == 0:
        return ConnectionDone()
    if code in (errno.ECONNRESET, errno.ECONNABORTED):
        return ConnectionAborted()
    return ConnectionLost(os.strerror(code))
