"""
SIP over what Twisted calls a stream: TCP and TLS, cut into messages by Content-Length (RFC 3261
§18.3), and SCTP, where each C{dataReceived} is one whole message (RFC 4168).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IHandshakeListener,
    IProtocol,
    IPushProducer,
    IReactorTime,
    ITCPTransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from sipgrace.errors import ParseError
from sipgrace.interfaces import IAssociation
from sipgrace.message.framing import StreamFramer
from sipgrace.message.message import Message
from sipgrace.transport.address import hostPort, plainHost, viaOf
from sipgrace.transport.intake import Intake
from sipgrace.transport.keepalive import watchPeer

__all__ = ["SIPProtocol"]

#: What answers a keep-alive (RFC 5626 §3.5.1).
PONG: Final = b"\r\n"

#: Seconds that a peer whose framing is lost has to read the answer that says so.
FAREWELL: Final = 5.0


# Not a Protocol: that one's C{transport} is the wire, IAssociation's names the kind of transport.
@implementer(IAssociation, IProtocol, IHandshakeListener, IHalfCloseableProtocol, IPushProducer)
class SIPProtocol:
    """
    One association over TCP, TLS or SCTP.

    How it ends. C{shutdown()} sends what is kept, then a FIN (SCTP: SHUTDOWN, TLS: close_notify), and
    reads on until the peer has ended too: responses and ACK still come up, other requests are
    dropped, since nobody could answer them. A peer that has not finished after C{bounds.linger}
    seconds is aborted. When the peer ends first (TCP half close), what is kept is sent likewise.

    What a TCP peer's RST means cannot be told from a dead path: both are C{ConnectionLost}.

    @ivar whenUp: fires with this object when it is made, or with the reason why it never was. On TLS
        that is after the handshake.
    @ivar traffic: how many messages were sent and how many chunks received; for whoever watches for
        idleness.
    """

    up = False
    peerHost = localHost = ""
    peerPort = localPort = 0
    peerHostBytes = b""

    def __init__(
        self,
        intake: Intake,
        transport: bytes,
        zone: str,
        opened: bool,
        via: bytes = b"",
        gone: Callable[[SIPProtocol], None] | None = None,
    ) -> None:
        """
        @param via: as in L{IAssociation}; empty: made of the local address.
        @param gone: called when it is lost, made or not, before the user is.
        """
        self.intake = intake
        self.transport = transport
        self.reliable = True
        self.zone = zone
        self.opened = opened
        self.via = via
        self.whenUp: Deferred[SIPProtocol] = Deferred()
        self.traffic = 0
        self._clock: IReactorTime = intake.clock
        self._gone = gone
        self._framer = None if transport == b"SCTP" else StreamFramer(intake.bounds.message)
        self._wire: Any = None
        self._held: deque[bytes] = deque()
        self._heldBytes = 0
        self._reserved = 0
        self._paused = False
        self._made = False
        self._ending = False
        self._finished = False
        self._peerEnded = False
        self._deaf = False
        # What came while it was held, with None where the peer ended; it is deaf meanwhile.
        self._unheard: list[bytes | None] | None = None
        self._unheardBytes = 0
        self._aborted = False
        self._lost = False
        self._since: float | None = None
        self._watch: IDelayedCall | None = None
        self._linger: IDelayedCall | None = None

    def __repr__(self) -> str:
        arrow = "->" if self.opened else "<-"
        here, there = hostPort(self.localHost, self.localPort), hostPort(self.peerHost, self.peerPort)
        return f"<{self.transport.decode()} {here} {arrow} {there} {'up' if self.up else 'down'}>"

    # What stands above calls these.

    def send(self, data: bytes) -> bool:
        """
        See L{IAssociation.send}.
        """
        if not self.up:
            return False
        self.traffic += 1
        if not self._paused:
            return self._write(data)
        self._held.append(data)
        if not self._weigh(len(data)):
            self.intake.counters.overflowed += 1
            self.intake.warn(self.peerHost, "aborted {association}: its peer does not read", association=self)
            self.abort()
            return False
        return True

    def shutdown(self) -> None:
        """
        See L{IAssociation.shutdown}.
        """
        self._end(self.intake.bounds.linger)

    def abort(self) -> None:
        """
        See L{IAssociation.abort}.
        """
        if self._lost:
            return
        self.up = False
        self._deaf = self._aborted = True
        self._unheard = None
        self._held.clear()
        self._weigh(-self._heldBytes)
        if self._wire is not None:
            self._wire.abortConnection()

    def hold(self) -> None:
        """
        Keeps what the peer sends, until L{release}: for an association that must not be used before others
        know of it. Right when it is made, or when it is known whose it is.
        """
        if not self._deaf:
            self._deaf = True
            self._unheard = []
            self._unheardBytes = 0

    def release(self) -> None:
        """
        Hears what was kept, and all that follows.
        """
        unheard, self._unheard = self._unheard, None
        self._unheardBytes = 0
        if unheard is None:
            return
        self._deaf = False
        for data in unheard:
            if data is None:
                self.readConnectionLost()
            else:
                self.dataReceived(data)

    def returnPath(self, message: Message) -> IAssociation:
        """
        See L{sipgrace.transport.intake.Source.returnPath}: the same connection (RFC 3261 §18.2.2).
        """
        return self

    def paths(self) -> list[Any]:
        """
        How the ways to a peer with several addresses are doing, over the kernel's SCTP.

        @return: a L{sipgrace.transport.sctp.kernelsocket.PathStatus} for each of its addresses; none where
            it has but one, or its stack does not say.
        """
        wire = self._wire
        if self._lost or len(getattr(wire.getPeer(), "hosts", ())) < 2 or not hasattr(wire, "paths"):
            return []
        return cast("list[Any]", wire.paths())

    # The wire calls these.

    def makeConnection(self, transport: Any) -> None:
        """
        See C{IProtocol}.
        """
        self._wire = transport
        local, peer = transport.getHost(), transport.getPeer()
        self.localHost, self.localPort = plainHost(local.host), local.port
        self.peerHost, self.peerPort = plainHost(peer.host), peer.port
        self.peerHostBytes = self.peerHost.encode("ascii")
        if not self.via:
            self.via = viaOf(self.transport, self.localHost, self.localPort)
        tcp = ITCPTransport(transport, None)
        if tcp is not None:
            tcp.setTcpNoDelay(True)
            watchPeer(transport, self.intake.bounds.unanswered)
        transport.registerProducer(self, True)
        if self.transport == b"TLS":
            self._await(True)
        else:
            self._up()

    def connectionMade(self) -> None:
        """
        See C{IProtocol}; L{makeConnection} does it all.
        """

    def logPrefix(self) -> str:
        """
        See C{IProtocol}.
        """
        return "SIP"

    def handshakeCompleted(self) -> None:
        """
        See C{IHandshakeListener}.
        """
        if not self._made and not self._deaf:
            self._since = None
            self._up()

    def dataReceived(self, data: bytes) -> None:
        """
        See C{IProtocol}.
        """
        if self._deaf:
            if self._unheard is not None:
                self._keep(data, self._unheard)
            return
        self.traffic += 1
        if self._framer is None:
            self.intake.receive(data, self)
            return
        framer = self._framer
        anew = False
        try:
            messages = framer.feed(data)
            while messages:
                anew = True
                for message in messages:
                    self.intake.receive(message, self)
                    if self._deaf:
                        return
                messages = framer.feed(b"")
        except ParseError as error:
            self._deaf = True
            self.intake.refuse(error, self)
            self._end(min(FAREWELL, self.intake.bounds.linger))
            return
        if framer.pings:
            self.intake.counters.pings += framer.pings
            framer.pings = 0
            self.send(PONG)
        if framer.pending:
            self._await(anew)
        else:
            self._since = None

    def readConnectionLost(self) -> None:
        """
        See C{IHalfCloseableProtocol}: the peer sends no more. What is on its way it gets.
        """
        if self._unheard is not None:
            self._unheard.append(None)
            return
        self._peerEnded = self._deaf = True
        self.shutdown()
        if self._finished:
            self._wire.loseConnection()

    def writeConnectionLost(self) -> None:
        """
        See C{IHalfCloseableProtocol}: our FIN has left.
        """

    def connectionLost(self, reason: Failure) -> None:
        """
        See C{IProtocol}.
        """
        if self._lost:
            return
        self.up = False
        self._lost = self._deaf = True
        self._unheard = None
        self._held.clear()
        self._weigh(-self._heldBytes)
        for call in (self._watch, self._linger):
            if call is not None and call.active():
                call.cancel()
        if self._gone is not None:
            self._gone(self)
        if self._aborted:
            # Twisted's TLS reports its own abort as an unexpected end.
            reason = Failure(ConnectionAborted())
        elif not reason.check(ConnectionDone, ConnectError, ConnectionLost):
            reason = Failure(ConnectionLost(reason.getErrorMessage()))
        if self._made:
            self.intake.lost(self, reason)
        else:
            self.whenUp.errback(reason)

    def pauseProducing(self) -> None:
        """
        See C{IPushProducer}: the wire has enough.
        """
        self._paused = True

    def resumeProducing(self) -> None:
        """
        See C{IPushProducer}: the wire takes more.
        """
        self._paused = False
        while self._held and not self._paused:
            data = self._held.popleft()
            self._weigh(-len(data))
            self._write(data)
        if self._ending and not self._held:
            self._finish()

    def stopProducing(self) -> None:
        """
        See C{IPushProducer}; C{connectionLost} follows.
        """

    # And the rest it does by itself.

    def _weigh(self, more: int) -> bool:
        """
        @param more: so many bytes more are kept, or fewer.
        @return: whether that is within the bounds.
        """
        bounds = self.intake.bounds
        self._heldBytes += more
        reserved = max(0, self._heldBytes - bounds.unsent)
        bounds.reserve.taken += reserved - self._reserved
        self._reserved = reserved
        return not reserved or bounds.reserve.taken <= bounds.reserve.size

    def _write(self, data: bytes) -> bool:
        try:
            self._wire.write(data)
        except ValueError as error:
            # Longer than an SCTP message can be, or empty.
            self.intake.counters.unsendable += 1
            self.intake.warn(self.peerHost, "cannot send to {peer}: {reason}", reason=str(error))
            return False
        return True

    def _keep(self, data: bytes, unheard: list[bytes | None]) -> None:
        unheard.append(data)
        self._unheardBytes += len(data)
        if self._unheardBytes > self.intake.bounds.unsent:
            self.intake.counters.overflowed += 1
            self.intake.warn(self.peerHost, "aborted {association}: too much too soon", association=self)
            self.abort()

    def _up(self) -> None:
        self._made = self.up = True
        self.intake.made(self)
        self.whenUp.callback(self)

    def _end(self, linger: float) -> None:
        if self._ending or self._lost:
            return
        if not self._made:
            self.abort()
            return
        self.up = False
        self._ending = True
        self._linger = self._clock.callLater(linger, self.abort)
        if not self._held:
            self._finish()

    def _finish(self) -> None:
        if self._finished or self._lost:
            return
        self._finished = True
        self._wire.unregisterProducer()
        if self.transport == b"TCP" and not self._peerEnded:
            # A close would make the kernel answer what the peer sends meanwhile with a RST, which
            # discards what we sent and the peer has not yet read.
            self._wire.loseWriteConnection()
        else:
            self._wire.loseConnection()

    def _await(self, anew: bool) -> None:
        """
        Something has begun to arrive. The watch is not cancelled when the rest has come, but looks
        again: most messages come whole, and cost no timer.

        @param anew: whether it is another thing than what was awaited before.
        """
        if anew or self._since is None:
            self._since = self._clock.seconds()
        if self._watch is None:
            self._watch = self._clock.callLater(self.intake.bounds.incomplete, self._look)

    def _look(self) -> None:
        self._watch = None
        if self._since is None:
            return
        left = self._since + self.intake.bounds.incomplete - self._clock.seconds()
        if left > 0:
            self._watch = self._clock.callLater(left, self._look)
            return
        self.intake.counters.stalled += 1
        self.intake.warn(self.peerHost, "aborted {association}: what it sends never ends", association=self)
        self.abort()
