"""
What a server and a client are both made of: transports, transactions, proxy core and lifecycle, put
together.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from sipgrace.config.orders import OrdersSection
from sipgrace.config.report import ReportSection
from sipgrace.config.sections import Limits, Timers
from sipgrace.config.server import Drain
from sipgrace.errors import OrderRefused
from sipgrace.interfaces import IAssociation, IAssociationUser, IListener
from sipgrace.lifecycle.authorization import Giver, Source
from sipgrace.lifecycle.door import Obeyed
from sipgrace.lifecycle.estimate import SetupTimes
from sipgrace.lifecycle.events import Change, Event, State
from sipgrace.lifecycle.gate import Gate
from sipgrace.lifecycle.ledger import Ledger
from sipgrace.lifecycle.machine import Lifecycle
from sipgrace.lifecycle.orders import Kind, Order
from sipgrace.lifecycle.sdnotify import Notifier, Systemd
from sipgrace.lifecycle.settings import Settings
from sipgrace.message.framing import Limits as MessageLimits
from sipgrace.oversight import Oversight
from sipgrace.proxy.core import ProxyCore, ProxySettings
from sipgrace.proxy.identity import Identity
from sipgrace.proxy.seams import Role
from sipgrace.proxy.timerc import TimerC
from sipgrace.transaction.layer import TransactionLayer
from sipgrace.transaction.timers import TimerQueue
from sipgrace.transaction.timers import Timers as TransactionTimers
from sipgrace.transport.associations import Associations, Listen
from sipgrace.transport.bounds import Bounds, Reserve
from sipgrace.transport.description import parseDescription
from sipgrace.transport.intake import Counters
from sipgrace.transport.listen import connect, listen
from sipgrace.transport.pool import AssociationPool

#: So long an association that was opened for a request stays without traffic, in seconds, or longer.
_IDLE: Final = 300.0

#: Bytes that are kept together for those who read slowly, beyond what is kept for each.
_RESERVE: Final = 64 << 20


def boundsOf(limits: Limits) -> Bounds:
    """
    The transports' bounds, as configured.
    """
    return Bounds(
        message=MessageLimits(message=limits.message, headers=limits.headers, line=limits.line),
        reserve=Reserve(_RESERVE),
        accepted=limits.associations,
    )


@implementer(IAssociationUser)
class Element:
    """
    One SIP element of this project. Messages go from the associations straight to the transaction layer;
    orders go to the lifecycle, which takes the associations down.

    @ivar reactor: where it lives.
    @ivar counters: what has arrived at all of its listeners and associations together.
    @ivar associations: all there are.
    @ivar door: where orders are given.
    @ivar watchers: who else hears of associations that come and go.
    @ivar times: how long calls took to set up.
    @ivar places: where it listens, and the zone of what is accepted there.
    @ivar onServing: called whenever it has come into service.
    @ivar controllers: says how the links to controllers stand.
    @ivar onChanged: each is called when L{standing} may have changed other than by the lifecycle.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        name: str,
        places: Iterable[tuple[str, str]],
        advertise: str | None,
        stack: str,
        timers: Timers,
        limits: Limits,
        drain: Drain,
        orders: OrdersSection | None = None,
        report: ReportSection | None = None,
    ) -> None:
        """
        @param places: where to listen, and the zone of what is accepted there.
        @param orders: who may give orders; by default whoever is on this host and may.
        @param report: where reports of drains are written; by default nowhere.
        """
        self.reactor = reactor
        self.name = name
        self.stack = stack
        self.bounds = boundsOf(limits)
        self.counters = Counters()
        self.clock = cast(IReactorTime, reactor)
        self.timers = TimerQueue(self.clock)
        self.layer = TransactionLayer(
            self.timers,
            cast(Any, None),
            TransactionTimers(t1=timers.t1, t2=timers.t2, t4=timers.t4),
            limits.transactions,
        )
        # Where every message passes there is no step in between.
        self.messageReceived = self.layer.messageReceived
        self.identity = Identity()
        self.times = times = SetupTimes()
        self.places = list(places)
        self.ledger = self._makeLedger(times)
        self.gate = self._makeGate(round(drain.spread))
        self.pools: dict[str, AssociationPool] = {}
        # A call that rings is silent for as long as Timer C lets it.
        self._idle = max(_IDLE, timers.timerC + 2 * timers.t4)
        self.watchers: list[IAssociationUser] = []
        self.onServing: Callable[[], None] = lambda: None
        self.onChanged: list[Callable[[], None]] = []
        self.controllers: Callable[[], list[dict[str, Any]]] = list
        self._timerC = TimerC(self.clock, self.ledger.setups, timers.timerC)
        self.associations = self._makeAssociations(
            [self._place(description, zone, advertise) for description, zone in self.places]
        )
        self.lifecycle = Lifecycle(
            self.clock,
            self.ledger,
            self.associations,
            self.gate,
            (self,),
            Settings(
                guard=drain.usualGuard,
                estimate=(lambda: self.oversight.estimate().seconds) if drain.guard == "auto" else None,
                margin=drain.marginOf(drain.usualGuard),
                over=drain.over,
                retryAfter=drain.retryAfter,
                retryPeriod=30.0 if drain.retryAfterPeriod is None else drain.retryAfterPeriod,
            ),
            serving=False,
        )
        self.oversight = Oversight(
            reactor, name, self.lifecycle, self.ledger, self.gate, times, drain, orders, report
        )
        self.door = self.oversight.door
        self._systemd = Systemd(Notifier(os.environ), self.clock, self.lifecycle.status)
        self.lifecycle.observe(self._systemd)
        self.associations.onGone = self.lifecycle.associationsGone
        self.associations.onListening = self._listens
        self.associations.onStopped = self._stopped
        self.core: ProxyCore | None = None

    # What an element over several processes has in another way.

    def _makeLedger(self, times: SetupTimes) -> Ledger:
        return Ledger(times.counts, self.clock.seconds)

    def _makeGate(self, spread: int) -> Gate:
        return Gate(self.clock, spread)

    def _makeAssociations(self, places: list[Listen]) -> Associations:
        return Associations(places, self)

    def _place(
        self, description: str, zone: str, advertise: str | None
    ) -> Callable[[IAssociationUser], Deferred[IListener]]:
        def place(user: IAssociationUser) -> Deferred[IListener]:
            return listen(
                self.reactor,
                self.withStack(description),
                user,
                zone,
                advertise=advertise,
                bounds=self.bounds,
                counters=self.counters,
            )

        return place

    def withStack(self, description: str) -> str:
        """
        A transport description with the configured SCTP stack, where it names none itself.
        """
        given = parseDescription(description)
        if given.transport == b"SCTP" and "stack" not in given.arguments:
            return f"{description}:stack={self.stack}"
        return description

    def _listens(self, listener: IListener) -> None:
        zone = listener.zone
        self.identity.addListener(listener, zone)
        self.pools[zone].use(listener)
        self.log.info(
            "{name} listens for {zone} at {via}", name=self.name, zone=zone, via=listener.via.decode("ascii")
        )

    def _stopped(self, listener: IListener) -> None:
        self.pools[listener.zone].disuse(listener)

    def onChange(self, event: Event) -> None:
        """
        See L{sipgrace.lifecycle.seams.Observer}.
        """
        if event.change is Change.SERVING:
            self.onServing()

    def connect(self, description: str, zone: str) -> Deferred[IAssociation]:
        """
        Opens one association.
        """
        return connect(
            self.reactor,
            self.withStack(description),
            self.associations,
            zone,
            via=self._viaFor(description, zone),
            bounds=self.bounds,
            counters=self.counters,
        )

    def _viaFor(self, description: str, zone: str) -> bytes | None:
        """
        The Via of our listener, on that side, of the transport that a description names, so that peers
        find us where we listen; C{None} where there is none.
        """
        transport = parseDescription(description).transport
        for listener in self.associations.listeners:
            if listener.transport == transport and listener.zone == zone:
                return listener.via
        return None

    def addPool(self, zone: str) -> AssociationPool:
        """
        Makes the pool of one side.
        """
        pool = self.pools[zone] = AssociationPool(
            self.reactor,
            self.associations,
            zone,
            {b"SCTP": f"stack={self.stack}"},
            bounds=self.bounds,
            counters=self.counters,
            idle=self._idle,
        )
        return pool

    def serve(self, role: Role, settings: ProxySettings) -> ProxyCore:
        """
        Puts a role on top. Once, before L{start}.
        """
        self.core = ProxyCore(
            self.clock, self.timers, self.layer, role, self.ledger, self.identity, settings
        )
        return self.core

    # ------------------------------------------------------------------ life

    def start(self) -> Deferred[Any]:
        """
        Brings it into service for the first time.

        @return: fails with what kept it from listening.
        @raise ConfigError: when a file that is to be written cannot be.
        """
        self.oversight.start()
        self.startTimers()
        given = self.door.give(self.order(Kind.RESUME, "start"), Giver(Source.PROCESS, "start"))
        return given.addCallback(Obeyed.whenEnded)

    def startTimers(self) -> None:
        """
        Begins to look for calls that ring for too long.
        """
        self._timerC.start()

    def stop(self) -> Deferred[Any]:
        """
        Ends what would keep a reactor busy.

        @return: fires when all that is to be written has been.
        """
        self._timerC.stop()
        self.timers.stop()
        for pool in self.pools.values():
            pool.stop()
        return self.oversight.stop()

    def order(self, kind: Kind, who: str, why: str = "", **values: Any) -> Order:
        """
        An order given here and now.
        """
        return Order(kind=kind, who=who, when=time.time(), why=why, **values)

    def leave(self, who: str = "signal") -> Deferred[State]:
        """
        Drains, or waits for the drain that is under way.

        @return: fires when it is offline; fails with L{OrderRefused} when the drain was cancelled.
        """
        self._systemd.leaving()
        return Deferred.fromCoroutine(self._leave(who))

    async def _leave(self, who: str) -> State:
        self.oversight.after.leaving = True
        try:
            return await self._left(who)
        except OrderRefused:
            self.oversight.after.leaving = False
            raise

    async def _left(self, who: str) -> State:
        if self.lifecycle.status().state is State.OFFLINE:
            # An order, as for "systemctl stop" after a drain, would only be written down as refused.
            return State.OFFLINE
        try:
            obeyed = await self.door.give(self.order(Kind.DRAIN, who, over=0.0), Giver(Source.SIGNAL, who))
        except OrderRefused:
            state = await self.lifecycle.whenOffline()
        else:
            state = await obeyed.whenEnded()
        if state is not State.OFFLINE:
            raise OrderRefused("the drain was cancelled, and the element serves again")
        return state

    def leaveNow(self, who: str = "signal") -> None:
        """
        Leaves service at once.
        """
        self.door.giveNow(self.order(Kind.OFFLINE, who), Giver(Source.PROCESS, who))

    def status(self) -> dict[str, Any]:
        """
        How things stand, for display; everything in it fits JSON.
        """
        lifecycle = self.lifecycle.status()
        return {
            "name": self.name,
            "state": str(lifecycle.state),
            "waiting": lifecycle.waiting,
            "setups": len(self.ledger.setups),
            "dialogs": len(self.ledger.calls),
            "associations": lifecycle.associations,
            "guardLeft": lifecycle.guardLeft,
            "retryAfter": lifecycle.awayFor,
            "slowLeft": lifecycle.slowLeft,
            "refusedShare": round(self.gate.share(), 3),
            **self.oversight.status(),
            "order": None if lifecycle.order is None else lifecycle.order.facts(),
            "accepted": self.ledger.accepted,
            "settled": self.ledger.settled,
            "forced": self.ledger.forced,
            "refused": self.gate.refused,
            "yielded": self.gate.yielded,
            "listeners": [listener.via.decode("ascii") for listener in self.associations.listeners],
            "paths": self.associations.paths(),
            "proxy": dict(self.core.counters) if self.core is not None else {},
            "transactions": self.layer.counts(),
            "transport": self.counters.asDict(),
            "controllers": self.controllers(),
        }

    def standing(self) -> dict[str, Any]:
        """
        How things stand, in brief, for those who are told of each change; everything in it fits JSON.
        """
        lifecycle = self.lifecycle.status()
        return {
            "state": str(lifecycle.state),
            "waiting": lifecycle.waiting,
            "associations": lifecycle.associations,
            "guardLeft": lifecycle.guardLeft,
            "retryAfter": lifecycle.awayFor,
            "accepted": self.ledger.accepted,
            "settled": self.ledger.settled,
            "forced": self.ledger.forced,
            "refused": self.gate.refused,
            "order": None if lifecycle.order is None else lifecycle.order.facts(),
        }

    def changed(self) -> None:
        """
        Calls L{onChanged}.
        """
        for call in self.onChanged:
            call()

    # ------------------------------------------------------------------ IAssociationUser

    def associationMade(self, association: IAssociation) -> None:
        """
        See L{IAssociationUser}.
        """
        for watcher in self.watchers:
            watcher.associationMade(association)
        self.changed()

    def associationLost(self, association: IAssociation, reason: Failure) -> None:
        """
        See L{IAssociationUser}. The watchers hear first: a call that is tried elsewhere because of it must
        not find it still listed.
        """
        for watcher in self.watchers:
            watcher.associationLost(association, reason)
        self.layer.associationLost(association)
        self.changed()
