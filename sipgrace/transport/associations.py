"""
All the associations of one element, and the places where it accepts them: what a drain takes down, and
what resume brings back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, cast

from twisted.internet.defer import Deferred, DeferredList, FirstError, gatherResults
from twisted.python.failure import Failure
from zope.interface import implementer

from sipgrace.errors import TransportError
from sipgrace.interfaces import IAssociation, IAssociationUser, IListener
from sipgrace.transport.address import hostPort
from sipgrace.transport.sip import SIPProtocol
from sipgrace.transport.udp import UDPListener

#: How many paths a status shows: it must fit into one message.
SHOWN = 64

#: Begins to listen at one place, with what stands above the associations made there.
Listen = Callable[[IAssociationUser], Deferred[IListener]]


def _ignore(result: object) -> None:
    """
    Swallows a result.
    """


@implementer(IAssociationUser)
class Associations:
    """
    Stands between the transports and what is above them, and keeps the books. It is what the lifecycle
    takes down (L{sipgrace.lifecycle.seams.Associations}).

    @ivar listeners: those that listen now, in the order of the configuration.
    @ivar onGone: called when the last association has gone.
    @ivar onEnding: called once before all are ended, so that none is opened again.
    @ivar onListening: called with each new listener; C{onStopped} with each that has ended.
    """

    def __init__(self, places: Sequence[Listen], user: IAssociationUser) -> None:
        """
        @param places: where to listen.
        @param user: hears of every association, and gets every message.
        """
        self._places = places
        self._user = user
        # Where every message passes there is no step in between.
        self.messageReceived = user.messageReceived
        self._closed = True
        self._associations: dict[IAssociation, None] = {}
        self._listening: list[Deferred[IListener]] = []
        self.listeners: list[IListener] = []
        self.onGone: Callable[[], None] = lambda: None
        self.onEnding: Callable[[], None] = lambda: None
        self.onListening: Callable[[IListener], None] = _ignore
        self.onStopped: Callable[[IListener], None] = _ignore

    @property
    def count(self) -> int:
        """
        How many associations are not yet gone.
        """
        return len(self._associations)

    def paths(self) -> list[dict[str, Any]]:
        """
        How the ways to peers with several addresses are doing; everything in it fits JSON. At most
        L{SHOWN} of them.
        """
        found: list[dict[str, Any]] = []
        for association in self._associations:
            if not isinstance(association, SIPProtocol):
                continue
            peer = hostPort(association.peerHost, association.peerPort)
            found += ({"peer": peer, **asdict(path)} for path in association.paths())
            if len(found) >= SHOWN:
                break
        return found[:SHOWN]

    def peer(self, zone: str, via: bytes, host: str, port: int) -> IAssociation | None:
        """
        @param via: of a UDP listener on that side.
        @return: the peer behind this very listener, whether heard of before or not; C{None} where the
            listener is not there, or there can be no such peer.
        """
        for listener in self.listeners:
            if listener.zone == zone and listener.via == via and isinstance(listener, UDPListener):
                try:
                    return listener.associationTo(host, port)
                except TransportError:
                    return None
        return None

    # ------------------------------------------------------------------ for the lifecycle

    def listen(self) -> Deferred[None]:
        """
        Listens at every place.

        @return: fires when all do; fails with the first reason why one cannot, and then none does.
        """
        self._closed = False
        self._listening = [place(self) for place in self._places]
        return gatherResults(
            [listening.addCallback(self._listens) for listening in self._listening], consumeErrors=True
        ).addCallbacks(_ignore, self._listenFailed)

    def _listens(self, listener: IListener) -> IListener:
        self.listeners.append(listener)
        self.onListening(listener)
        return listener

    def _listenFailed(self, failure: Failure) -> Deferred[None]:
        first = failure.value.subFailure if isinstance(failure.value, FirstError) else failure
        return self.stopListening().addCallback(lambda ignored: first)

    def stopListening(self) -> Deferred[None]:
        """
        Accepts no more associations.

        @return: fires when the ports are free.
        """
        for listening in self._listening:
            listening.cancel()
        self._listening = []
        listeners, self.listeners = self.listeners, []
        for listener in listeners:
            self.onStopped(listener)
        stops = [cast("Deferred[object]", listener.stopListening()) for listener in listeners]
        return DeferredList(stops, consumeErrors=True).addCallback(_ignore)

    def shutdownAll(self) -> None:
        """
        Ends every association in order.
        """
        self._end()
        for association in list(self._associations):
            association.shutdown()

    def abortAll(self) -> None:
        """
        Ends every association at once.
        """
        self._end()
        for association in list(self._associations):
            association.abort()

    def _end(self) -> None:
        if not self._closed:
            self._closed = True
            self.onEnding()

    # ------------------------------------------------------------------ from the transports

    def associationMade(self, association: IAssociation) -> None:
        """
        See L{IAssociationUser}. What comes up after the end is ended at once.
        """
        self._associations[association] = None
        self._user.associationMade(association)
        if self._closed:
            association.abort()

    def associationLost(self, association: IAssociation, reason: Failure) -> None:
        """
        See L{IAssociationUser}.
        """
        del self._associations[association]
        self._user.associationLost(association, reason)
        if not self._associations:
            self.onGone()
