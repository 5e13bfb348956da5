"""
The userspace stack: libusrsctp without threads, over UDP (RFC 6951).

One a process, because libusrsctp is. Packets come in through L{EncapsSocket}; whatever the library
reports while it works on one is only noted (C{_upcall}) and served after the call, because it may not be
called from within itself. Its clock is moved on by a short timer that runs only while there is something
to time.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from errno import EADDRINUSE, EINPROGRESS
from typing import Any, Final

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError, ConnectBindError, ConnectError
from twisted.internet.interfaces import IListeningPort, IProtocol, IProtocolFactory
from twisted.logger import Logger
from zope.interface import implementer

from sipgrace.transport.sctp import usrsctp
from sipgrace.transport.sctp.address import SCTPAddress
from sipgrace.transport.sctp.common import Attempt
from sipgrace.transport.sctp.stack import DEFAULT_OPTIONS, ENCAPS_PORT, ISCTPStack, SCTPOptions
from sipgrace.transport.sctp.userspaceencaps import EncapsSocket, Peer, handleOf
from sipgrace.transport.sctp.userspaceguard import (
    COOKIE_ECHO,
    INIT,
    SHORTEST,
    Admission,
    UserspaceLimits,
    abortOfInit,
    outOfTheBlue,
)
from sipgrace.transport.sctp.userspacetransport import UserspaceTransport
from sipgrace.transport.sctp.usrsctp import Binding

__all__ = ["Counters", "UserspacePort", "UserspaceStack", "userspaceStack"]

log = Logger()

TICK: Final = 0.01
"""Seconds between two moves of the library's clock while packets come and go."""

SLOW_TICK: Final = 0.05
"""The same when none did since the last."""

PATH_MTU: Final = 1200
BACKLOG: Final = 128
EPHEMERAL: Final = (32768, 65535)


@dataclass(slots=True)
class Counters:
    """
    What the stack has seen since the process began.

    @ivar packetsIn: packets received.
    @ivar packetsOut: packets sent.
    @ivar dropped: packets that UDP could not take; SCTP sends them again.
    @ivar short: packets too short to be SCTP.
    @ivar blue: packets that belonged to no association and were no INIT or COOKIE-ECHO.
    @ivar initsRefused: INITs past the limits.
    @ivar accepted: associations accepted.
    """

    packetsIn: int = 0
    packetsOut: int = 0
    dropped: int = 0
    short: int = 0
    blue: int = 0
    initsRefused: int = 0
    accepted: int = 0


class _Listener:
    """
    The library's one listening socket for an SCTP port, whatever the number of UDP sockets that offer it.
    """

    def __init__(self, so: int, port: int, options: SCTPOptions) -> None:
        self.so = so
        self.port = port
        self.options = options
        self.ports: dict[EncapsSocket, UserspacePort] = {}


@implementer(IListeningPort)
class UserspacePort:
    """
    A listener; what L{UserspaceStack.listen} gives.
    """

    def __init__(
        self,
        stack: UserspaceStack,
        port: int,
        hosts: Sequence[str],
        factory: IProtocolFactory,
        options: SCTPOptions,
        encaps: int,
    ) -> None:
        self.stack = stack
        self.factory = factory
        self.options = options
        self._port = port
        self._hosts = hosts
        self._encaps = encaps
        self.sockets: list[EncapsSocket] = []
        self.listener: _Listener | None = None
        self._address = SCTPAddress(hosts[0], port, encaps, tuple(hosts))

    def startListening(self) -> None:
        """
        @raise CannotListenError: when the port is taken, or the address is not ours.
        """
        self.stack.bindPort(self, self._port, self._hosts, self._encaps)
        assert self.listener is not None
        first = self.sockets[0]
        hosts = tuple(each.host for each in self.sockets)
        self._address = SCTPAddress(first.host, self.listener.port, first.port, hosts)
        self.factory.doStart()

    def stopListening(self) -> Deferred[None]:
        if self.listener is not None:
            self.stack.unbindPort(self)
            self.factory.doStop()
        return succeed(None)

    def getHost(self) -> SCTPAddress:
        return self._address

    def __repr__(self) -> str:
        return f"<sctp {self._address} to {self.factory!r}>"


@implementer(ISCTPStack)
class UserspaceStack:
    """
    The stack of this process; get it from L{userspaceStack}.

    @ivar reactor: the reactor of those who use it now.
    @ivar counters: what it has seen.
    """

    name = "userspace"

    def __init__(self, binding: Binding, limits: UserspaceLimits) -> None:
        self.binding = binding
        self.lib = binding.lib
        self.ffi = ffi = binding.ffi
        self.limits = limits
        self.counters = Counters()
        self.reactor: Any = None
        self._admission: Admission | None = None
        self._secret = os.urandom(16)
        self._index = 0
        self._sockets: dict[tuple[str, int], EncapsSocket] = {}
        self._byHandle: dict[int, Peer] = {}
        self._visitor: Peer | None = None
        self._listeners: dict[int, _Listener] = {}
        self._transports: dict[int, UserspaceTransport] = {}
        self._key = 0
        self._dirty: dict[int, None] = {}
        self._serving = False
        self._call: Any = None
        self._moved = 0.0
        self._packets = 0
        self._clientPorts: set[int] = set()
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
        self._linger = ffi.new("int[2]", [1, 0])
        # The library keeps these addresses for good, so this object does, too.
        self._output = ffi.callback(
            "int(uintptr_t, void *, size_t, uint8_t, uint8_t)", self._sendPacket, error=0
        )
        self._upcall = ffi.callback("void(uintptr_t, uintptr_t, int)", self._note)
        self.lib.usrsctp_tunable_set_sctp_hashtblsize(limits.hashSize)
        self.lib.usrsctp_init_nothreads(0, self._output, ffi.NULL)
        self.lib.usrsctp_sysctl_set_sctp_ecn_enable(0)
        self.lib.usrsctp_sysctl_set_sctp_asconf_enable(0)
        self.lib.usrsctp_sysctl_set_sctp_auto_asconf(0)

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
            self, port, hosts, factory, options, ENCAPS_PORT if encaps is None else encaps
        )
        listening.startListening()
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
    ) -> Deferred[IProtocol]:
        self._use(reactor)
        remote = (hosts[0], ENCAPS_PORT if encaps is None else encaps)
        try:
            encapsSocket = self._socketTowards(remote, bindHosts, localEncaps)
        except OSError as error:
            return fail(ConnectBindError(error.errno, f"UDP towards {hosts[0]}: {error.strerror}"))
        address = self._udpAddress(encapsSocket, remote)
        try:
            so, local = self._openClient(options, bindPort)
        except OSError as error:
            self._settle(encapsSocket)
            return fail(ConnectBindError(error.errno, f"SCTP port {bindPort}: {error.strerror}"))
        peer = self._hold(encapsSocket, address)
        host = SCTPAddress(encapsSocket.host, local, encapsSocket.port)
        there = SCTPAddress(remote[0], port, remote[1])
        transport = self._adopt(so, peer, options, host, there)
        self._clientPorts.add(local)
        transport.attempt = attempt = Attempt(reactor, factory, timeout, transport.abandon, there)
        name = self.binding.address(peer.handle, port)
        if self.lib.usrsctp_connect(so, name, self.ffi.sizeof("struct sockaddr_conn")) != 0:
            code = self.ffi.errno
            if code != EINPROGRESS:
                transport.abandon()
                attempt.failed(ConnectError(code, os.strerror(code)))
        return attempt.deferred

    # Sockets of the library

    def _newSocket(self) -> int:
        NULL = self.ffi.NULL
        so: int = self.lib.usrsctp_socket(
            usrsctp.AF_CONN, socket.SOCK_STREAM, usrsctp.IPPROTO_SCTP, NULL, NULL, 0, NULL
        )
        if not so:
            self.binding.fail("socket")
        return so

    def _configure(self, so: int, options: SCTPOptions) -> None:
        binding = self.binding
        self.lib.usrsctp_set_non_blocking(so, 1)
        binding.setInt(so, usrsctp.IPPROTO_SCTP, usrsctp.RECVRCVINFO, 1)
        binding.setInt(so, usrsctp.IPPROTO_SCTP, usrsctp.NODELAY, int(options.nodelay))
        binding.setInt(so, socket.SOL_SOCKET, socket.SO_SNDBUF, options.sendBuffer)
        for kind in (usrsctp.ASSOC_CHANGE, usrsctp.SHUTDOWN_EVENT):
            binding.setStruct(so, usrsctp.EVENT, "sctp_event", se_type=kind, se_on=1)
        binding.setStruct(
            so,
            usrsctp.RTOINFO,
            "sctp_rtoinfo",
            srto_initial=options.rtoInitial,
            srto_min=options.rtoMin,
            srto_max=options.rtoMax,
        )
        binding.setStruct(
            so, usrsctp.ASSOCINFO, "sctp_assocparams", sasoc_asocmaxrxt=options.maxRetransmissions
        )
        binding.setStruct(
            so,
            usrsctp.INITMSG,
            "sctp_initmsg",
            sinit_num_ostreams=options.streams,
            sinit_max_instreams=options.streams,
            sinit_max_attempts=options.initAttempts,
            sinit_max_init_timeo=options.rtoMax,
        )
        beat = usrsctp.SPP_HB_ENABLE if options.heartbeat else usrsctp.SPP_HB_DISABLE
        binding.setStruct(
            so,
            usrsctp.PEER_ADDR_PARAMS,
            "sctp_paddrparams",
            spp_hbinterval=options.heartbeat,
            spp_pathmtu=PATH_MTU,
            spp_pathmaxrxt=options.maxRetransmissions,
            spp_flags=beat | usrsctp.SPP_PMTUD_DISABLE,
        )

    def _bind(self, so: int, port: int) -> None:
        name = self.binding.address(0, port)
        if self.lib.usrsctp_bind(so, name, self.ffi.sizeof("struct sockaddr_conn")) != 0:
            self.binding.fail("bind")

    def _bindFree(self, so: int) -> int:
        for _ in range(64):
            port = random.randint(*EPHEMERAL)
            if port not in self._listeners and port not in self._clientPorts:
                self._bind(so, port)
                return port
        raise OSError(EADDRINUSE, os.strerror(EADDRINUSE))

    def _openClient(self, options: SCTPOptions, port: int) -> tuple[int, int]:
        so = self._newSocket()
        try:
            self._configure(so, options)
            if port:
                self._bind(so, port)
            else:
                port = self._bindFree(so)
        except BaseException:
            self.lib.usrsctp_close(so)
            raise
        return so, port

    def _adopt(
        self, so: int, peer: Peer, options: SCTPOptions, host: SCTPAddress, there: SCTPAddress
    ) -> UserspaceTransport:
        self._key += 1
        transport = UserspaceTransport(self, so, self._key, peer, options, host, there)
        self._transports[self._key] = transport
        self.lib.usrsctp_set_upcall(so, self._upcall, self._key)
        self._schedule(TICK)
        return transport

    def linger(self, so: int) -> None:
        """
        Makes the next C{usrsctp_close} of a socket send ABORT.
        """
        self.lib.usrsctp_setsockopt(so, socket.SOL_SOCKET, socket.SO_LINGER, self._linger, 8)

    def released(self, transport: UserspaceTransport) -> None:
        """
        The socket of an association is closed.
        """
        del self._transports[transport.key]
        self._dirty.pop(transport.key, None)
        port = transport.getHost().port
        if port not in self._listeners:
            self._clientPorts.discard(port)
        self._release(transport.udp)
        self._rest()

    # Listening

    def bindPort(self, listening: UserspacePort, port: int, hosts: Sequence[str], encaps: int) -> None:
        """
        Gives a port its sockets.

        @raise CannotListenError: when that cannot be.
        """
        sockets: list[EncapsSocket] = []
        try:
            for host in hosts:
                try:
                    sockets.append(self._socketOn(host, encaps))
                except OSError as error:
                    raise CannotListenError(host, encaps, error) from error
            listener = self._listeners.get(port) if port else None
            if listener is None:
                listener = self._openListener(port, hosts[0], listening.options)
            elif listener.options != listening.options:
                raise CannotListenError(hosts[0], port, ValueError("it is open here with other SCTP options"))
            if any(each in listener.ports for each in sockets):
                raise CannotListenError(hosts[0], port, OSError(EADDRINUSE, os.strerror(EADDRINUSE)))
        except CannotListenError:
            for each in sockets:
                self._settle(each)
            raise
        for each in sockets:
            each.uses += 1
            listener.ports[each] = listening
        listening.listener = listener
        listening.sockets = sockets
        self._schedule(TICK)

    def _openListener(self, port: int, host: str, options: SCTPOptions) -> _Listener:
        so = self._newSocket()
        try:
            self._configure(so, options)
            if port:
                self._bind(so, port)
            else:
                port = self._bindFree(so)
            if self.lib.usrsctp_listen(so, BACKLOG) != 0:
                self.binding.fail("listen")
        except OSError as error:
            self.lib.usrsctp_close(so)
            raise CannotListenError(host, port, error) from error
        listener = self._listeners[port] = _Listener(so, port, options)
        return listener

    def unbindPort(self, listening: UserspacePort) -> None:
        """
        Takes its sockets from a port; associations stay.
        """
        listener, listening.listener = listening.listener, None
        if listener is None:
            return
        for each in listening.sockets:
            del listener.ports[each]
            each.uses -= 1
            self._settle(each)
        listening.sockets = []
        if not listener.ports:
            del self._listeners[listener.port]
            self.lib.usrsctp_close(listener.so)
        self._rest()

    def _acceptAll(self, listener: _Listener, visitor: Peer) -> None:
        name = self.binding.address(0, 0)
        size = self.ffi.new("uint32_t *")
        while True:
            size[0] = self.ffi.sizeof("struct sockaddr_conn")
            so = self.lib.usrsctp_accept(listener.so, name, size)
            if not so:
                return
            self._accept(listener, so, visitor, socket.ntohs(name.sconn_port))

    def _accept(self, listener: _Listener, so: int, visitor: Peer, port: int) -> None:
        listening = listener.ports.get(visitor.encaps)
        if listening is None:
            self.linger(so)
            self.lib.usrsctp_close(so)
            return
        self.counters.accepted += 1
        self.lib.usrsctp_set_non_blocking(so, 1)
        encaps = visitor.encaps
        peer = self._hold(encaps, visitor.address)
        host = SCTPAddress(encaps.host, listener.port, encaps.port)
        there = SCTPAddress(visitor.address[0], port, visitor.address[1])
        transport = self._adopt(so, peer, listening.options, host, there)
        status = self.binding.getStruct(so, usrsctp.STATUS, "sctp_status")
        if status is None:
            # It came with its own ABORT (or the next packet of the batch brought it).
            transport.forget()
            return
        transport.outStreams = status.sstat_outstrms
        transport.begin(listening.factory)
        self._dirty[transport.key] = None

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

    # UDP

    def _socketOn(self, host: str, port: int) -> EncapsSocket:
        found = self._sockets.get((host, port)) if port else None
        if found is not None:
            return found
        while True:
            self._index = self._index % 32767 + 1
            if all(each.index != self._index for each in self._sockets.values()):
                break
        made = EncapsSocket(self.reactor, self._index, host, port, self.ffi, self._received, self._serve)
        self._sockets[made.host, made.port] = made
        return made

    def _socketTowards(
        self, remote: tuple[str, int], bindHosts: Sequence[str], port: int | None
    ) -> EncapsSocket:
        host = bindHosts[0] if bindHosts else _sourceTowards(*remote)
        if port is None:
            everywhere = "::" if ":" in host else "0.0.0.0"
            for each in self._sockets.values():
                if each.host in (host, everywhere):
                    return each
        return self._socketOn(host, port or 0)

    def _udpAddress(self, encaps: EncapsSocket, remote: tuple[str, int]) -> Any:
        if ":" in remote[0]:
            return socket.getaddrinfo(
                remote[0], remote[1], socket.AF_INET6, socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
            )[0][4]
        return remote

    def _settle(self, encaps: EncapsSocket) -> None:
        if not encaps.uses:
            self._sockets.pop((encaps.host, encaps.port), None)
            encaps.close()

    def _hold(self, encaps: EncapsSocket, address: Any) -> Peer:
        peer = encaps.peers.get(address)
        if peer is None:
            peer = encaps.peers[address] = Peer(
                encaps, address, handleOf(encaps.index, address, self._secret)
            )
            self._byHandle[peer.handle] = peer
            self.lib.usrsctp_register_address(peer.handle)
            encaps.uses += 1
        peer.uses += 1
        return peer

    def _release(self, peer: Peer) -> None:
        peer.uses -= 1
        if not peer.uses:
            self.lib.usrsctp_deregister_address(peer.handle)
            del self._byHandle[peer.handle]
            del peer.encaps.peers[peer.address]
            peer.encaps.uses -= 1
            self._settle(peer.encaps)

    # Packets

    def _sendPacket(self, handle: int, packet: Any, length: int, tos: int, df: int) -> int:
        # Called by the library: nothing but the sending may happen here.
        peer = self._byHandle.get(handle)
        if peer is None:
            peer = self._visitor
            if peer is None or peer.handle != handle:
                return 0
        try:
            peer.sendto(self.ffi.buffer(packet, length), peer.address)
            self.counters.packetsOut += 1
        except OSError:
            self.counters.dropped += 1
        return 0

    def _note(self, so: int, key: int, flags: int) -> None:
        # Called by the library, as above.
        self._dirty[key] = None

    def _received(self, encaps: EncapsSocket, address: Any, packet: bytearray, length: int) -> None:
        self.counters.packetsIn += 1
        if length < SHORTEST:
            self.counters.short += 1
            return
        peer = encaps.peers.get(address)
        first = packet[12]
        if peer is not None and first != INIT and first != COOKIE_ECHO:
            self.lib.usrsctp_conninput(peer.handle, encaps.pointer, length, 0)
        else:
            self._visited(encaps, address, packet, length, first, peer)

    def _visited(
        self,
        encaps: EncapsSocket,
        address: Any,
        packet: bytearray,
        length: int,
        first: int,
        peer: Peer | None,
    ) -> None:
        now = self.reactor.seconds()
        assert self._admission is not None
        listener = self._listeners.get(packet[2] << 8 | packet[3])
        if first == INIT and not self._admission.init(address[0], now):
            self.counters.initsRefused += 1
            return
        if peer is None:
            answer = None
            if first not in (INIT, COOKIE_ECHO):
                self.counters.blue += 1
                answer = outOfTheBlue(bytes(packet[:length]), self.binding.checksum)
            elif listener is None or encaps not in listener.ports:
                make = abortOfInit if first == INIT else outOfTheBlue
                answer = make(bytes(packet[:length]), self.binding.checksum)
            elif first == INIT and len(self._transports) >= self.limits.associations:
                self.counters.initsRefused += 1
                answer = abortOfInit(bytes(packet[:length]), self.binding.checksum)
            else:
                peer = Peer(encaps, address, handleOf(encaps.index, address, self._secret))
                if peer.handle in self._byHandle:
                    return
            if peer is None:
                if answer is not None and self._admission.answer(now):
                    try:
                        encaps.socket.sendto(answer, address)
                        self.counters.packetsOut += 1
                    except OSError:
                        self.counters.dropped += 1
                return
        self._visitor = peer
        self.lib.usrsctp_conninput(peer.handle, encaps.pointer, length, 0)
        # Whatever the library says, or does not: a COOKIE-ECHO with an ABORT behind it is not announced,
        # and would stay in the queue of the listener for good.
        if listener is not None:
            self._acceptAll(listener, peer)
        self._visitor = None

    def _serve(self) -> None:
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
            self.reactor.callLater(0, self._serve)

    # Time

    def _use(self, reactor: Any) -> None:
        if self.reactor is reactor:
            return
        if self._busy():
            raise ValueError("the SCTP stack of this process runs on another reactor")
        self.reactor = reactor
        self._admission = Admission(self.limits, reactor.seconds())

    def _busy(self) -> bool:
        return bool(self._transports or self._listeners)

    def _schedule(self, delay: float) -> None:
        if self._call is None:
            self._moved = self.reactor.seconds()
            self._call = self.reactor.callLater(delay, self._tick)

    def _tick(self) -> None:
        self._call = None
        now = self.reactor.seconds()
        elapsed = int((now - self._moved) * 1000)
        # What is left below a millisecond belongs to the next tick.
        self._moved += elapsed / 1000
        self.lib.usrsctp_handle_timers(elapsed)
        self._serve()
        packets = self.counters.packetsIn + self.counters.packetsOut
        quiet = packets == self._packets
        self._packets = packets
        if self._busy() and self._call is None:
            self._call = self.reactor.callLater(SLOW_TICK if quiet else TICK, self._tick)

    def _rest(self) -> None:
        if not self._busy() and self._call is not None:
            self._call.cancel()
            self._call = None

    def finish(self) -> bool:
        """
        Aborts what is there and gives the library back what it had: sockets closed, what is queued
        flushed, the library finished, the timer stopped. The stack cannot be used afterwards.

        @return: whether the library let go of everything.
        """
        for transport in list(self._transports.values()):
            transport.abortConnection()
        for listener in list(self._listeners.values()):
            for listening in set(listener.ports.values()):
                listening.stopListening()
        self._serve()
        self.lib.usrsctp_handle_timers(0)
        done = bool(self.lib.usrsctp_finish() == 0)
        self._rest()
        return done


def _sourceTowards(host: str, port: int) -> str:
    """
    Our own address on the way to another; nothing is sent.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((host, port))
        source: str = probe.getsockname()[0]
        return source


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
