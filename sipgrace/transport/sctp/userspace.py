"""
The userspace stack: libusrsctp without threads, over UDP (RFC 6951).

One a process, because libusrsctp is. Packets come in through L{Wire}; whatever the library reports while
it works on one is only noted and served after the call, because it may not be called from within itself.
Its clock is moved on by a short timer that runs only while there is something to time.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectBindError, ConnectError
from twisted.internet.interfaces import IListeningPort, IProtocol, IProtocolFactory
from twisted.logger import Logger
from zope.interface import implementer

from sipgrace.errors import ConfigError
from sipgrace.transport.sctp import usrsctp
from sipgrace.transport.sctp.address import SCTPAddress
from sipgrace.transport.sctp.attempt import Attempt
from sipgrace.transport.sctp.stack import DEFAULT_OPTIONS, ENCAPS_PORT, ISCTPStack, SCTPOptions
from sipgrace.transport.sctp.userspaceclock import StackClock
from sipgrace.transport.sctp.userspacedoubt import Doubt
from sipgrace.transport.sctp.userspaceencaps import EncapsSocket, Peer
from sipgrace.transport.sctp.userspaceguard import HEADER, INIT, Admission, UserspaceLimits
from sipgrace.transport.sctp.userspaceport import Listener, UserspacePort
from sipgrace.transport.sctp.userspacesockets import openSocket
from sipgrace.transport.sctp.userspacetransport import UserspaceTransport
from sipgrace.transport.sctp.userspacewire import Counters, Wire
from sipgrace.transport.sctp.usrsctp import Binding

__all__ = ["UserspaceStack", "userspaceStack"]

log = Logger()

BACKLOG: Final = 128
"""How many associations may wait to be accepted; after each packet of an unknown peer none is left."""


@implementer(ISCTPStack)
class UserspaceStack:
    """
    The stack of this process; get it from L{userspaceStack}.

    @ivar reactor: the reactor of those who use it now.
    @ivar wire: the UDP below.
    """

    name = "userspace"

    def __init__(self, binding: Binding, limits: UserspaceLimits) -> None:
        self.binding = binding
        self.lib = binding.lib
        self.ffi = ffi = binding.ffi
        self.limits = limits
        self.reactor: Any = None
        self.wire = Wire(binding, self)
        self._listeners: dict[int, Listener] = {}
        self._transports: dict[int, UserspaceTransport] = {}
        self._key = 0
        self._taken: set[int] = set()
        self._dirty: dict[int, None] = {}
        self._serving = False
        self._clock = StackClock(self._elapsed, self._countPackets)
        # One buffer and one set of cells for all reading: nothing here runs in parallel.
        self.bufferSize = 131072
        self.buffer = ffi.new("char[]", self.bufferSize)
        self.view = ffi.buffer(self.buffer)
        self.receiving = (
            ffi.new("struct sctp_rcvinfo *"),
            ffi.new("uint32_t *"),
            ffi.new("unsigned int *"),
            ffi.new("int *"),
            ffi.new("uint32_t *"),
        )
        self.plainInfo = ffi.new("struct sctp_sndinfo *", {"snd_flags": usrsctp.UNORDERED})
        self.sendInfo = ffi.new("struct sctp_sndinfo *")
        self._lingering = ffi.new("int[2]", [1, 0])
        # The library keeps the addresses of both for good, so this object does, too.
        self._output = ffi.callback(
            "int(uintptr_t, void *, size_t, uint8_t, uint8_t)", self.wire.sendPacket, error=0
        )
        self._upcall = ffi.callback("void(uintptr_t, uintptr_t, int)", self._note)
        self.lib.usrsctp_tunable_set_sctp_hashtblsize(limits.hashSize)
        self.lib.usrsctp_init_nothreads(0, self._output, ffi.NULL)
        self.lib.usrsctp_sysctl_set_sctp_ecn_enable(0)
        self.lib.usrsctp_sysctl_set_sctp_asconf_enable(0)
        self.lib.usrsctp_sysctl_set_sctp_auto_asconf(0)

    @property
    def counters(self) -> Counters:
        """
        What the stack has seen since the process began.
        """
        return self.wire.counters

    # ISCTPStack

    def listen(
        self,
        reactor: Any,
        port: int,
        hosts: Sequence[str],
        factory: IProtocolFactory,
        options: SCTPOptions = DEFAULT_OPTIONS,
        encaps: int | None = None,
    ) -> IListeningPort:
        self._use(reactor)
        listening = UserspacePort(
            self, port, hosts, ENCAPS_PORT if encaps is None else encaps, factory, options
        )
        listening.startListening()
        self._clock.start(self.reactor)
        return listening

    def connect(
        self,
        reactor: Any,
        hosts: Sequence[str],
        port: int,
        factory: IProtocolFactory,
        options: SCTPOptions = DEFAULT_OPTIONS,
        timeout: float = 5.0,
        bindHosts: Sequence[str] = (),
        bindPort: int = 0,
        encaps: int | None = None,
        localEncaps: int | None = None,
        primary: str = "",
    ) -> Deferred[IProtocol]:
        if primary:
            return fail(ConfigError(f"primary={primary}: in userspace an association has one path"))
        self._use(reactor)
        there = SCTPAddress(hosts[0], port, ENCAPS_PORT if encaps is None else encaps)
        assert there.encaps is not None
        try:
            ours = self.wire.towards(there.host, there.encaps, bindHosts, localEncaps)
            ours.uses += 1
        except OSError as error:
            return fail(ConnectBindError(error.errno, f"UDP towards {there}: {error.strerror}"))
        try:
            address = ours.addressOf(there.host, there.encaps)
            so, bindPort = openSocket(self.binding, options, bindPort, self._taken)
            peer = self.wire.hold(ours, address)
        except OSError as error:
            return fail(ConnectBindError(error.errno, f"SCTP port {bindPort}: {error.strerror}"))
        finally:
            ours.uses -= 1
            self.wire.settle(ours)
        host = SCTPAddress(ours.localOf(address), bindPort, ours.port)
        transport = self._adopt(so, peer, options, host, there)
        self._taken.add(bindPort)
        transport.opened = True
        transport.attempt = attempt = Attempt(reactor, factory, timeout, transport.abandon, there)
        name = self.binding.address(peer.handle, port)
        noted, sent = peer.note, list[bytes]()
        peer.note = sent.append
        failed = self.lib.usrsctp_connect(so, name, self.ffi.sizeof("struct sockaddr_conn"))
        code = self.ffi.errno
        peer.note = noted
        transport.initTag = next((packet[16:20] for packet in sent if packet[12] == INIT), b"")
        if failed and code != errno.EINPROGRESS:
            transport.abandon()
            attempt.failed(ConnectError(code, os.strerror(code)))
        return attempt.deferred

    # Associations

    def _adopt(
        self, so: int, peer: Peer, options: SCTPOptions, host: SCTPAddress, there: SCTPAddress
    ) -> UserspaceTransport:
        self._key += 1
        transport = UserspaceTransport(self, so, self._key, peer, options, host, there)
        self._transports[self._key] = transport
        self.lib.usrsctp_set_upcall(so, self._upcall, self._key)
        self._clock.start(self.reactor)
        return transport

    def released(self, transport: UserspaceTransport) -> None:
        """
        The socket of an association is closed.
        """
        del self._transports[transport.key]
        if transport.udp.ends.get(transport.ends) is transport:
            del transport.udp.ends[transport.ends]
        self._dirty.pop(transport.key, None)
        if transport.opened:
            self._taken.discard(transport.getHost().port)
        self.wire.release(transport.udp)
        self._rest()

    def linger(self, so: int) -> None:
        """
        Makes the next C{usrsctp_close} of a socket send ABORT.
        """
        self.lib.usrsctp_setsockopt(so, socket.SOL_SOCKET, socket.SO_LINGER, self._lingering, 8)

    def restarted(self, transport: UserspaceTransport) -> None:
        """
        The peer of an association has restarted: what was is lost. An association that it opened begins
        anew, one that we opened is aborted, for its protocol to open it again.
        """
        listener = self._listeners.get(transport.getHost().port)
        listening = listener.ports.get(transport.udp.encaps) if listener is not None else None
        successor = transport.succeed()
        self._transports[successor.key] = successor
        if listening is None:
            successor.forget()
        else:
            self._dirty[successor.key] = None
            successor.begin(listening.factory)

    # Listening

    def listener(self, port: int, options: SCTPOptions) -> Listener:
        """
        The library's listening socket for an SCTP port.

        @param port: 0 = any free one.
        @raise OSError: when it is taken, or open with other options.
        """
        found = self._listeners.get(port) if port else None
        if found is not None:
            if found.options != options:
                raise OSError(errno.EADDRINUSE, "the port is open with other SCTP options in this process")
            return found
        so, port = openSocket(self.binding, options, port, self._taken)
        if self.lib.usrsctp_listen(so, BACKLOG) != 0:
            code = self.ffi.errno
            self.lib.usrsctp_close(so)
            raise OSError(code, os.strerror(code))
        self._taken.add(port)
        made = self._listeners[port] = Listener(so, port, options)
        return made

    def settleListener(self, listener: Listener) -> None:
        """
        Closes the library's socket where no UDP socket offers it any more.
        """
        if not listener.ports:
            del self._listeners[listener.port]
            self._taken.discard(listener.port)
            self.lib.usrsctp_close(listener.so)
            self._rest()

    # WireUser

    def offers(self, port: int, encaps: EncapsSocket) -> bool:
        listener = self._listeners.get(port)
        return listener is not None and encaps in listener.ports

    def full(self) -> bool:
        return len(self._transports) >= self.limits.associations

    def acceptAll(self, port: int, visitor: Peer) -> None:
        listener = self._listeners.get(port)
        if listener is None:
            return
        name = self.binding.address(0, 0)
        size = self.ffi.new("uint32_t *")
        while True:
            size[0] = self.ffi.sizeof("struct sockaddr_conn")
            so = self.lib.usrsctp_accept(listener.so, name, size)
            if not so:
                return
            self._accept(listener, so, visitor, socket.ntohs(name.sconn_port))

    def _accept(self, listener: Listener, so: int, visitor: Peer, port: int) -> None:
        listening = listener.ports.get(visitor.encaps)
        status = self.binding.getStruct(so, usrsctp.STATUS, "sctp_status")
        if listening is None or status is None:
            # Nobody listens there any more, or it came together with its own ABORT.
            self.linger(so)
            self.lib.usrsctp_close(so)
            return
        self.counters.accepted += 1
        self.lib.usrsctp_set_non_blocking(so, 1)
        encaps, address = visitor.encaps, visitor.address
        peer = self.wire.hold(encaps, address)
        host = SCTPAddress(encaps.localOf(address), listener.port, encaps.port)
        there = SCTPAddress(address[0], port, address[1])
        transport = self._adopt(so, peer, listening.options, host, there)
        transport.outStreams = status.sstat_outstrms
        transport.begin(listening.factory)
        self._dirty[transport.key] = None

    def unreachable(self, peer: Peer, quoted: bytes) -> None:
        transport = peer.ends.get((quoted[0] << 8 | quoted[1], quoted[2] << 8 | quoted[3]))
        if transport is None:
            return
        if transport.attempt is not None:
            # Before it is up there is no tag to verify but the one in our INIT (RFC 9260 §10, ICMP6).
            if len(quoted) >= 20 and quoted[HEADER] == INIT and quoted[16:20] == transport.initTag:
                transport.unreachable()
        elif peer.doubt is None:
            Doubt(self.reactor, peer, self._askAgain, self._gone).begin()
        else:
            peer.doubt.refused(quoted)

    def _askAgain(self, peer: Peer) -> None:
        for transport in peer.ends.values():
            if transport.attempt is None:
                transport.beat()
                break
        self.serve()

    def _gone(self, peer: Peer) -> None:
        log.info(
            "{number} associations are lost: nobody is at UDP port {port} of {host} any more",
            number=len(peer.ends),
            port=peer.address[1],
            host=peer.address[0],
        )
        for transport in list(peer.ends.values()):
            transport.unreachable()

    def serve(self) -> None:
        if self._serving:
            return
        self._serving = True
        try:
            dirty = self._dirty
            while dirty:
                key, _ = dirty.popitem()
                transport = self._transports.get(key)
                if transport is not None:
                    try:
                        transport.serve()
                    except Exception:
                        log.failure("{transport} could not be served: aborted", transport=transport)
                        transport.abortConnection()
        finally:
            self._serving = False

    def wake(self, transport: UserspaceTransport) -> None:
        """
        Serves an association soon, from the reactor.
        """
        if transport.so:
            self._dirty[transport.key] = None
            self.reactor.callLater(0, self.serve)

    def _note(self, so: int, key: int, flags: int) -> None:
        # Called by the library, which may not be called back from here.
        self._dirty[key] = None

    # Time

    def _use(self, reactor: Any) -> None:
        if self.reactor is reactor:
            return
        if self._busy():
            raise ValueError("the SCTP stack of this process runs on another reactor")
        self.reactor = self.wire.reactor = reactor
        self.wire.admission = Admission(self.limits, reactor.seconds())

    def _busy(self) -> bool:
        return bool(self._transports or self._listeners)

    def _elapsed(self, milliseconds: int) -> None:
        self.lib.usrsctp_handle_timers(milliseconds)
        if self._dirty:
            self.serve()

    def _countPackets(self) -> int:
        return self.counters.packetsIn + self.counters.packetsOut

    def _rest(self) -> None:
        if not self._busy():
            self._clock.stop()


_stack: UserspaceStack | None = None


def userspaceStack(limits: UserspaceLimits | None = None) -> UserspaceStack:
    """
    The userspace stack of this process; made at the first call.

    @param limits: counts at the first call only.
    @raise ConfigError: where libusrsctp is not installed.
    """
    global _stack  # noqa: PLW0603 (libusrsctp is one a process, too)
    if _stack is None:
        _stack = UserspaceStack(usrsctp.load(), limits or UserspaceLimits())
    return _stack
