"""
From an address to an association with it: the one that is up, or a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from sipgrace.errors import SIPGraceError, TransportError
from sipgrace.interfaces import IAssociation, IAssociationUser, IListener
from sipgrace.transport.address import hostPort, isLiteral
from sipgrace.transport.bounds import Bounds
from sipgrace.transport.description import joinDescription
from sipgrace.transport.intake import Counters
from sipgrace.transport.listen import connect
from sipgrace.transport.resolve import Names
from sipgrace.transport.udp import UDPListener

__all__ = ["AssociationPool"]

Key = tuple[bytes, str, int]
Connect = Callable[..., Deferred[IAssociation]]

#: Into so many parts the idle time is cut; an association is closed after one part more at most.
_PARTS: Final = 4

#: So many addresses of UDP peers, and so many failures, are remembered; with one more, all are forgotten.
_KEPT: Final = 10000


class _Opened:
    """
    An association that the pool opened.
    """

    __slots__ = ("association", "keys", "still", "traffic")

    def __init__(self, association: IAssociation) -> None:
        self.association = association
        self.keys: list[Key] = []
        self.traffic = -1
        self.still = 0


class AssociationPool:
    """
    The associations of one element in one zone, by transport, host and port of the peer.

    It keeps no more than C{limit} that it opened: for one more, the longest idle is shut down, if any
    has been idle at all. Those idle for C{idle} seconds are shut down too. After an attempt that
    failed, the next C{backoff} seconds fail at once.

    @ivar peers: UDP peers by the addresses that were asked for: for whoever looks before they ask. Always the
        same dict; what is in it may have gone down.
    """

    log: Final = Logger()

    def __init__(
        self,
        reactor: Any,
        user: IAssociationUser,
        zone: str,
        arguments: Mapping[bytes, str] | None = None,
        bounds: Bounds | None = None,
        counters: Counters | None = None,
        limit: int = 1000,
        idle: float = 300.0,
        backoff: float = 1.0,
        timeout: float = 5.0,
        names: Names | None = None,
        connect: Connect = connect,
    ) -> None:
        """
        @param user: what stands above the associations opened here.
        @param zone: theirs, see L{IAssociation}.
        @param arguments: further arguments for the descriptions of L{connect}, by transport:
            C{{b"SCTP": "stack=userspace:encaps=9899"}}.
        @param limit: how many associations opened here may be there at a time.
        @param idle: seconds without traffic after which they are shut down; longer than Timer C, lest a
            ringing call loses its way. 0: never.
        @param backoff: seconds.
        @param timeout: seconds that one attempt at one address may take.
        @param names: resolves host names.
        @param connect: in place of L{connect}, for tests.
        """
        self._reactor = reactor
        self._clock: IReactorTime = reactor
        self._user = user
        self._zone = zone
        self._arguments = arguments or {}
        self._bounds = bounds
        self._counters = counters
        self._limit = limit
        self._idle = idle
        self._backoff = backoff
        self._timeout = timeout
        self._names = names or Names(reactor)
        self._connect = connect
        self._listeners: dict[tuple[bytes, bool], IListener] = {}
        self._up: dict[Key, IAssociation] = {}
        self.peers: dict[Key, IAssociation] = {}
        # Those that peers have opened, by where they come from.
        self._adopted: dict[Key, IAssociation] = {}
        self._opened: dict[IAssociation, _Opened] = {}
        self._waiting: dict[Key, list[Deferred[IAssociation]]] = {}
        self._attempts: dict[Key, Deferred[IAssociation]] = {}
        self._failed: dict[Key, tuple[float, str]] = {}
        self._sweeping: IDelayedCall | None = None
        self._stopped = False

    def use(self, listener: IListener) -> None:
        """
        Takes a listener: UDP goes out through it; what is opened over its transport bears its Via. One
        for each transport, and for each of IPv4 and IPv6: the last one given counts.
        """
        self._listeners[listener.transport, ":" in listener.host] = listener
        self.peers.clear()

    def disuse(self, listener: IListener) -> None:
        """
        The listener has stopped.
        """
        for key in [key for key, used in self._listeners.items() if used is listener]:
            del self._listeners[key]
        self.peers.clear()

    def found(self, key: Key) -> IAssociation | None:
        """
        @return: what L{reach} would return at once without opening anything; C{None} for all else.
        """
        association = self.peers.get(key) or self._up.get(key) or self._adopted.get(key)
        return association if association is not None and association.up else None

    def reach(self, transport: bytes, host: str, port: int) -> IAssociation | Deferred[IAssociation]:
        """
        @param transport: as in L{IAssociation}.
        @param host: an IP address, or a name: its A and AAAA records are tried in order.

        @return: an association that is up, at once; or a C{Deferred} that fires with one, or fails with
            L{TransportError}. All who wait for the same share one attempt, and may cancel their wait.
        """
        key = (transport, host, port)
        association = self.found(key)
        if association is not None:
            return association
        if transport == b"UDP" and isLiteral(host):
            try:
                peer = self._peer(host, port)
            except TransportError:
                return fail()
            if len(self.peers) >= _KEPT:
                self.peers.clear()
            self.peers[key] = peer
            return peer
        return self._wait(key)

    def __len__(self) -> int:
        """
        @return: how many associations opened here are there, or being opened.
        """
        return len(self._opened) + len(self._attempts)

    def stop(self) -> None:
        """
        Gives up all attempts and shuts down what was opened here; nothing can be reached any more.
        """
        self._stopped = True
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        for attempt in list(self._attempts.values()):
            attempt.cancel()
        for association in list(self._opened):
            association.shutdown()

    def _peer(self, host: str, port: int) -> IAssociation:
        listener = self._listeners.get((b"UDP", ":" in host))
        if not isinstance(listener, UDPListener):
            kind = "IPv6" if ":" in host else "IPv4"
            raise TransportError(f"no UDP listener of {kind} in zone {self._zone!r} to send from")
        return listener.associationTo(host, port)

    def _wait(self, key: Key) -> Deferred[IAssociation]:
        failed = self._failed.get(key)
        if failed is not None:
            if self._clock.seconds() < failed[0]:
                return fail(TransportError(failed[1]))
            del self._failed[key]
        if self._stopped:
            return fail(TransportError("this element opens no more associations"))
        waiting = self._waiting.get(key)
        if waiting is None:
            waiting = self._waiting[key] = []
            mine = self._waiter(waiting)
            self._attempt(key)
            return mine
        return self._waiter(waiting)

    def _waiter(self, waiting: list[Deferred[IAssociation]]) -> Deferred[IAssociation]:
        mine: Deferred[IAssociation] = Deferred(waiting.remove)
        waiting.append(mine)
        return mine

    def _attempt(self, key: Key) -> None:
        if not self._room():
            self._fails(Failure(TransportError(f"{self._limit} associations are open already")), key)
            return
        attempt: Deferred[IAssociation] = self._names.resolve(key[1]).addCallback(self._tryEach, key)
        self._attempts[key] = attempt
        attempt.addBoth(self._ended, key).addCallbacks(
            self._succeeds, self._fails, callbackArgs=(key,), errbackArgs=(key,)
        )

    def _ended(self, result: object, key: Key) -> object:
        self._attempts.pop(key, None)
        return result

    def _succeeds(self, association: IAssociation, key: Key) -> None:
        opened = self._opened.get(association)
        if opened is not None and key not in opened.keys:
            opened.keys.append(key)
            self._up[key] = association
        for waiting in list(self._waiting.pop(key, ())):
            if not waiting.called:
                waiting.callback(association)

    def _fails(self, reason: Failure, key: Key) -> None:
        text = reason.getErrorMessage()
        if reason.check(CancelledError):
            text = "the attempt was given up"
        elif not reason.check(SIPGraceError):
            self.log.failure("opening an association failed", reason)
        if len(self._failed) >= _KEPT:
            self._failed.clear()
        self._failed[key] = (self._clock.seconds() + self._backoff, text)
        for waiting in list(self._waiting.pop(key, ())):
            if not waiting.called:
                waiting.errback(TransportError(text))

    def _tryEach(self, addresses: list[str], key: Key, place: int = 0) -> Deferred[IAssociation]:
        """
        Tries one address after the other.
        """
        transport, host, port = key
        if transport == b"TLS" or addresses == [host]:
            # What TLS has verified holds for the name it was asked for alone.
            attempt = self._open(key, addresses[place])
        else:
            reached = self.reach(transport, addresses[place], port)
            attempt = reached if isinstance(reached, Deferred) else succeed(reached)
        if place + 1 < len(addresses):
            attempt.addErrback(self._tryNext, addresses, key, place + 1)
        return attempt

    def _tryNext(
        self, reason: Failure, addresses: list[str], key: Key, place: int
    ) -> Failure | Deferred[IAssociation]:
        if self._stopped:
            return reason
        return self._tryEach(addresses, key, place)

    def _open(self, key: Key, address: str) -> Deferred[IAssociation]:
        transport, host, port = key
        arguments: dict[str, object] = {"host": address, "port": port}
        extra = self._arguments.get(transport, "")
        if "timeout=" not in extra:
            arguments["timeout"] = round(self._timeout)
        if transport == b"TLS" and "name=" not in extra:
            arguments["name"] = host
        listener = self._listeners.get((transport, ":" in address))
        return self._connect(
            self._reactor,
            joinDescription(transport, arguments, extra),
            _Above(self, self._user),
            self._zone,
            None if listener is None else listener.via,
            self._bounds,
            self._counters,
        )

    def _room(self) -> bool:
        """
        Sees to it that there is room for one more.
        """
        if len(self) < self._limit:
            return True
        staying = [opened for opened in self._opened.values() if opened.association.up]
        if len(staying) + len(self._attempts) < self._limit:
            return True  # room is being made already
        idlest = max(staying, key=lambda opened: opened.still, default=None)
        if idlest is None or idlest.still == 0:
            return False
        idlest.association.shutdown()
        return True

    def made(self, association: IAssociation) -> None:
        """
        An attempt has led to this.
        """
        self._opened[association] = _Opened(association)
        if self._idle and self._sweeping is None and not self._stopped:
            self._sweeping = self._clock.callLater(self._idle / _PARTS, self._sweep)

    def adopt(self, association: IAssociation) -> None:
        """
        Takes one that a peer has opened: who asks for the very address that it comes from, gets it.
        (Telephones put that into the Contact of a call, and listen there for nobody else.)
        """
        self._adopted[association.transport, association.peerHost, association.peerPort] = association

    def lost(self, association: IAssociation) -> None:
        """
        It has gone.
        """
        key = (association.transport, association.peerHost, association.peerPort)
        if self._adopted.get(key) is association:
            del self._adopted[key]
        opened = self._opened.pop(association, None)
        for key in () if opened is None else opened.keys:
            if self._up.get(key) is association:
                del self._up[key]

    def _sweep(self) -> None:
        self._sweeping = None
        for opened in list(self._opened.values()):
            traffic = getattr(opened.association, "traffic", -1)
            if traffic != opened.traffic:
                opened.traffic = traffic
                opened.still = 0
                continue
            opened.still += 1
            if opened.still >= _PARTS and opened.association.up:
                association = opened.association
                self.log.info(
                    "shutting down {transport} to {peer}: idle",
                    transport=association.transport.decode("ascii"),
                    peer=hostPort(association.peerHost, association.peerPort),
                )
                association.shutdown()
        if self._opened:
            self._sweeping = self._clock.callLater(self._idle / _PARTS, self._sweep)


@implementer(IAssociationUser)
class _Above:
    """
    Between an association opened here and the pool's user.
    """

    def __init__(self, pool: AssociationPool, user: IAssociationUser) -> None:
        self._pool = pool
        self._user = user
        # No step in between where every message passes.
        self.messageReceived = user.messageReceived

    def associationMade(self, association: IAssociation) -> None:
        """
        See L{IAssociationUser.associationMade}.
        """
        self._pool.made(association)
        self._user.associationMade(association)

    def associationLost(self, association: IAssociation, reason: Failure) -> None:
        """
        See L{IAssociationUser.associationLost}.
        """
        self._pool.lost(association)
        self._user.associationLost(association, reason)
