"""
An association of the kernel as a Twisted transport: data and notifications through plain C{sendmsg} and
C{recvmsg}.

pysctp's own C{sctp_send} and C{sctp_recv} are left alone: the one overflows on many PPIDs, the other ends
the process on some notifications.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable
from typing import Any

from twisted.internet.error import (
    ConnectError,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
)
from twisted.internet.interfaces import IProtocolFactory, IReadWriteDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from sipgrace.transport.sctp.address import SCTPAddress
from sipgrace.transport.sctp.attempt import Attempt, refusalOf
from sipgrace.transport.sctp.common import SCTPTransport, endOf
from sipgrace.transport.sctp.kernelevents import (
    AssociationChange,
    Cause,
    PartialDeliveryAborted,
    PathChange,
    PeerShutdown,
    RemoteError,
    abortedByPeer,
    parseNotification,
)
from sipgrace.transport.sctp.kernelsocket import IPPROTO_SCTP, KernelSocket, PathStatus
from sipgrace.transport.sctp.stack import SCTPOptions, SCTPStatus

__all__ = ["KernelTransport"]

log = Logger()

# linux/sctp.h and linux/socket.h
_SNDINFO = 2
_RCVINFO = 3
_UNORDERED = 1
_MSG_EOR = 0x80
_MSG_NOSIGNAL = 0x4000
_MSG_NOTIFICATION = 0x8000

# stream, flags, PPID (as it stands on the wire), context, association
_SEND = struct.Struct("=HH4sIi")
# stream, sequence number, flags, 2 bytes of padding, PPID, and what is not used here
_RECEIVE = struct.Struct("=HHHxx4s")

_PIECE = 65536
"""Bytes read at once: a whole SIP message, nearly always."""
_ANCILLARY = 64
"""Room for one SCTP_RCVINFO: 28 bytes behind a header of 16."""
_GLANCE = 0.5
"""Seconds between two looks at an association whose protocol does not want to read."""
_READS_A_TURN = 50
"""Messages read before the reactor may look at others."""


def _sendInfo(stream: int, ppid: int, unordered: bool) -> list[tuple[int, int, bytes]]:
    flags = _UNORDERED if unordered else 0
    return [(IPPROTO_SCTP, _SNDINFO, _SEND.pack(stream, flags, ppid.to_bytes(4, "big"), 0, 0))]


_PLAIN = _sendInfo(0, 0, True)


@implementer(IReadWriteDescriptor)
class KernelTransport(SCTPTransport):
    """
    One association over one non-blocking one-to-one socket.

    @ivar primary: the address of the peer that is made the primary one as soon as the association is up;
        empty for none.
    """

    stack = "kernel"
    primary = ""

    def __init__(
        self, reactor: Any, options: SCTPOptions, sock: KernelSocket, host: SCTPAddress, peer: SCTPAddress
    ) -> None:
        super().__init__(reactor, options, host, peer)
        self._socket: KernelSocket | None = sock
        self._attempt: Attempt | None = None
        # of the listener that accepted it: whether it still listens
        self._listening: Callable[[], bool] | None = None
        # the end is near: read on even while paused, to learn of it; data is dropped then
        self._draining = False
        # the next look at it while reading is paused
        self._glance: Any = None
        # an error of the socket that sending has met, and which the kernel tells but once
        self._sendError = 0

    # How it comes up

    def opening(self, attempt: Attempt) -> None:
        """
        The kernel is connecting; C{attempt} is told what comes of it.
        """
        self._attempt = attempt
        self.reactor.addReader(self)

    def abandon(self) -> None:
        """
        Gives up opening it.
        """
        self._attempt = None
        self._abort()

    def accepted(self, factory: IProtocolFactory, listening: Callable[[], bool]) -> None:
        """
        A listener accepted it.

        @param listening: whether the listener still listens: asked when the peer restarts.
        """
        self._listening = listening
        self._up()
        self.begin(factory)
        self._readOn()

    def _up(self, outStreams: int = 0) -> None:
        sock = self._socket
        assert sock is not None
        self.outStreams = outStreams or sock.outStreams()
        try:
            self._host, self._peer = sock.local(), sock.peer()
        except OSError:
            # gone before it was seen; what it left behind is still to be read
            return

    def _readOn(self) -> None:
        if self._socket is not None and not self.readPaused:
            self.reactor.addReader(self)

    # What the base class asks for

    def _send(self, data: bytes, stream: int, ppid: int, unordered: bool) -> bool:
        sock = self._socket
        if sock is None:
            return True
        info = _PLAIN if not stream and not ppid and unordered else _sendInfo(stream, ppid, unordered)
        try:
            sock.plain.sendmsg((data,), info, _MSG_NOSIGNAL)
        except BlockingIOError:
            self.reactor.addWriter(self)
            return False
        except OSError as error:
            self._sendFailed(error, len(data))
        return True

    def _sendFailed(self, error: OSError, size: int) -> None:
        code = error.errno or 0
        if code in (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.ESHUTDOWN, errno.ETIMEDOUT):
            # it is going or gone: the notifications that wait to be read say how
            self._sendError = self._sendError or code
            self._drain()
            return
        log.warn(
            "the kernel takes no message of {size} bytes to {peer}: {reason}; aborted",
            size=size,
            peer=self._peer,
            reason=os.strerror(code),
        )
        self.abortConnection()

    def _drain(self) -> None:
        self._draining = True
        if self._socket is not None:
            self.reactor.addReader(self)

    def _shutdown(self) -> None:
        if self._socket is None:
            return
        try:
            self._socket.shutdown()
        except OSError as error:
            self._sendError = self._sendError or error.errno or 0
        self._drain()

    def _abort(self) -> None:
        sock = self._detach()
        if sock is not None:
            sock.abort()

    def _pauseReading(self) -> None:
        if self._socket is not None and not self._draining:
            self.reactor.removeReader(self)
            if self._glance is None:
                self._glance = self.reactor.callLater(_GLANCE, self._glanced)

    def _glanced(self) -> None:
        # Nobody waits for the socket now, but an ABORT must be noticed all the same.
        self._glance = None
        sock = self._socket
        if sock is None or not self.readPaused or self._draining:
            return
        if sock.failed():
            self._drain()
        else:
            self._glance = self.reactor.callLater(_GLANCE, self._glanced)

    def _resumeReading(self) -> None:
        self._readOn()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        super().registerProducer(producer, streaming)
        # one that is to be asked for each piece is asked whenever the socket takes one
        if self._producer is not None and not streaming and self._socket is not None:
            self.reactor.addWriter(self)

    def status(self) -> SCTPStatus:
        if self._socket is None:
            return SCTPStatus("closed")
        return self._socket.status(self.queued)

    def paths(self) -> list[PathStatus]:
        """
        How the peer's addresses are doing.
        """
        return [] if self._socket is None else self._socket.paths()

    def setPrimary(self, host: str) -> None:
        """
        Sends over this address of the peer as long as it is active (RFC 6458 §8.1.9).

        @raise OSError: when it is not one of the peer's, or the association is gone.
        """
        if self._socket is None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        self._socket.setPrimary(host)

    # What the reactor asks for

    def fileno(self) -> int:
        return -1 if self._socket is None else self._socket.plain.fileno()

    def logPrefix(self) -> str:
        return f"sctp {self._peer}"

    def doWrite(self) -> None:
        if self._socket is None:
            return
        self.writable()
        if not self._queue and (self._producer is None or self._streamingProducer):
            self.reactor.removeWriter(self)

    def doRead(self) -> None:
        # An exception that left here would make the reactor drop the association without a word to it.
        try:
            self._read()
        except Exception:
            log.failure("reading from {peer} failed: aborted", peer=self._peer)
            self.abortConnection()

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor stops, or found the descriptor unusable.
        """
        self._gone(ConnectionLost(str(reason.value)))

    def _read(self) -> None:
        for _ in range(_READS_A_TURN):
            sock = self._socket
            if sock is None or (self.readPaused and not self._draining):
                return
            try:
                data, ancillary, flags, _peer = sock.plain.recvmsg(_PIECE, _ANCILLARY)
            except BlockingIOError:
                return
            except OSError as error:
                self._gone(endOf(error.errno or 0))
                return
            if flags & _MSG_NOTIFICATION:
                self._notified(data)
            elif not data:
                # Only after the peer's SHUTDOWN: all it had has been read, and it takes nothing more.
                code = self._sendError
                self._gone(ConnectionDone() if code in (0, errno.EPIPE) else endOf(code))
                return
            elif not self.readPaused:
                stream = ppid = 0
                unordered = False
                for level, kind, value in ancillary:
                    if kind == _RCVINFO and level == IPPROTO_SCTP:
                        stream, _sequence, mark, wire = _RECEIVE.unpack_from(value)
                        ppid = int.from_bytes(wire, "big")
                        unordered = bool(mark & _UNORDERED)
                self.pieceReceived(data, bool(flags & _MSG_EOR), stream, ppid, unordered)

    def _notified(self, data: bytes) -> None:
        event = parseNotification(data)
        if isinstance(event, AssociationChange):
            self._changed(event)
        elif isinstance(event, PeerShutdown):
            self.peerShutdown()
        elif isinstance(event, PathChange):
            self._pathChanged(event)
        elif isinstance(event, PartialDeliveryAborted):
            self._parts.clear()
            self._partial = 0
        elif isinstance(event, RemoteError):
            log.info("{peer} reports an error: {cause}", peer=self._peer, cause=str(event.cause))

    def _changed(self, event: AssociationChange) -> None:
        sock = self._socket
        assert sock is not None
        if event.state == "up":
            if self._attempt is not None:
                attempt, self._attempt = self._attempt, None
                if self.primary:
                    self._prefer(sock)
                self._up(event.outStreams)
                attempt.succeeded(self)
                if self.readPaused:
                    self._pauseReading()
        elif event.state == "restarted":
            self._restarted(sock)
        elif event.state == "shutdown":
            self._gone(ConnectionDone())
        elif event.state == "refused":
            self._gone(_notOpened(sock.error(), event.causes))
        else:
            code = sock.error() or self._sendError
            if event.causes or code in (0, errno.ECONNRESET):
                self._gone(abortedByPeer(event.causes))
            else:
                self._gone(endOf(code))

    def _prefer(self, sock: KernelSocket) -> None:
        # An association over another path is better than none.
        try:
            sock.setPrimary(self.primary)
        except OSError as error:
            log.warn(
                "{primary} is not the primary path of {peer}: {reason}",
                primary=self.primary,
                peer=self._peer,
                reason=error.strerror,
            )

    def _restarted(self, sock: KernelSocket) -> None:
        # The peer began anew on the same addresses and ports (RFC 9260 §5.2), and knows nothing of what
        # was: for the protocol above, one association has ended and another begins. One that we opened is
        # aborted, for its protocol to open it again.
        error = ConnectionLost("the peer has restarted")
        factory, listening = self._factory, self._listening
        if factory is None or listening is None or not listening():
            self._abort()
            self.end(error)
            return
        self._detach()
        successor = KernelTransport(self.reactor, self.options, sock, self._host, self._peer)
        self.end(error)
        successor.accepted(factory, listening)

    def _pathChanged(self, event: PathChange) -> None:
        if event.state == "primary":
            hosts = (event.host, *(host for host in self._peer.hosts if host != event.host))
            self._peer = SCTPAddress(event.host, self._peer.port, self._peer.encaps, hosts)
        log.info("path {path} of {peer} is now {state}", path=event.host, peer=self._peer, state=event.state)

    # How it ends

    def _gone(self, error: Exception) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            self.end(error)
            return
        self._close()
        attempt.failed(error if isinstance(error, ConnectError) else ConnectError(string=str(error)))

    def end(self, error: Exception) -> None:
        self._close()
        super().end(error)

    def _close(self) -> None:
        sock = self._detach()
        if sock is not None:
            sock.close()

    def _detach(self) -> KernelSocket | None:
        glance, self._glance = self._glance, None
        if glance is not None:
            glance.cancel()
        sock, self._socket = self._socket, None
        if sock is not None:
            # the reactor knows it by its descriptor, which must still be told then
            self._socket = sock
            self.reactor.removeReader(self)
            self.reactor.removeWriter(self)
            self._socket = None
        return sock


def _notOpened(code: int, causes: tuple[Cause, ...]) -> Exception:
    if causes:
        return ConnectionRefusedError(code, ", ".join(str(cause) for cause in causes))
    return refusalOf(code)
