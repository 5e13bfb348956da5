"""
A running server: its configuration made into role, element and orders.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred

from sipgrace.config.server import Party as PartySection
from sipgrace.config.server import Reject, ServerConfig
from sipgrace.config.server import Route as RouteSection
from sipgrace.console import Console
from sipgrace.element import Element
from sipgrace.interfaces import IAssociation
from sipgrace.lifecycle.approval import Approval
from sipgrace.lifecycle.events import State
from sipgrace.lifecycle.orders import Kind
from sipgrace.proxy.acked import AckedContext, Acks
from sipgrace.proxy.core import ProxySettings
from sipgrace.proxy.dialogs import Dialogs
from sipgrace.proxy.farewell import Farewells
from sipgrace.proxy.kept import KeptContext
from sipgrace.proxy.priority import Priorities
from sipgrace.server.announcer import Announcer
from sipgrace.server.awaited import Awaited
from sipgrace.server.clients import Clients
from sipgrace.server.overloadcontrol import OverloadControl
from sipgrace.server.question import Question
from sipgrace.server.ramp import Ramp
from sipgrace.server.rejects import Rejects
from sipgrace.server.role import ServerRole
from sipgrace.server.routing import Route, RoutingTable
from sipgrace.server.rules import Access, Party, Rejection
from sipgrace.transport.description import parseDescription
from sipgrace.transport.opener import Opener

#: All that a server does lies on one side.
NETWORK = "network"


def _route(section: RouteSection) -> Route:
    return Route(section.to or (), section.redirect)


def tableOf(sections: tuple[RouteSection, ...]) -> RoutingTable:
    """
    The routing table, as configured.
    """
    table = RoutingTable()
    for section in sections:
        route = _route(section)
        if isinstance(section.uri, str):
            table.addService(section.uri.encode("ascii"), route)
        elif section.uri is not None:
            table.addURI(section.uri, route)
        elif section.prefix is not None:
            table.addPrefix(section.prefix.encode("ascii"), route)
        elif section.domain is not None:
            table.addDomain(section.domain.encode("ascii"), route)
    return table


def _party(section: PartySection | None) -> Party | None:
    if section is None:
        return None
    return Party(
        section.network,
        section.client,
        section.domain.encode("ascii") if section.domain is not None else None,
        section.prefix.encode("ascii") if section.prefix is not None else None,
    )


def rejectionsOf(config: ServerConfig) -> list[Rejection]:
    """
    The rules that refuse calls, as configured.
    """
    return [rejectionOf(rule) for rule in config.reject]


def rejectionOf(rule: Reject) -> Rejection:
    """
    A rule that refuses calls, as configured or ordered.
    """
    reason = (rule.reason or "").encode("ascii")
    return Rejection(_party(rule.origin), _party(rule.destination), rule.status, reason)


def awaitedOf(config: ServerConfig, clients: Clients, element: Element) -> Awaited:
    """
    Who is waited for, as configured: no client that comes by UDP, which nobody sees come, nor one that the
    server itself reaches when there is a call for it.
    """
    connects = any(parseDescription(place).transport != b"UDP" for place in config.server.listen)
    return Awaited(
        element.clock,
        clients,
        element.gate,
        [
            client.name
            for client in config.clients
            if client.open is not None or (connects and client.address is None)
        ],
        config.server.awaitClients,
        element.changed,
    )


class ServerService(Service):
    """
    A server (see L{sipgrace.tap.signals.RoleService}).

    @ivar element: what it is made of.
    @ivar announcer: tells clients of drains.
    @ivar control: asks clients for less.
    @ivar rejects: which calls are refused by rule.
    @ivar awaited: which clients are not back yet.
    @ivar observers: those of the lifecycle that have to do with traffic, in their order.
    """

    def __init__(self, reactor: Any, config: ServerConfig) -> None:
        server = config.server
        self.config = config
        self.element = element = Element(
            reactor,
            server.name,
            [(description, NETWORK) for description in server.listen],
            server.advertise,
            server.stack,
            config.timers,
            config.limits,
            config.drain,
            config.orders,
            config.report,
        )
        self.clients = Clients((client.name, client.networks) for client in config.clients)
        element.watchers.append(self.clients)
        self.awaited = awaitedOf(config, self.clients, element)
        element.lifecycle.observe(self.awaited)
        self._openers = [
            Opener(
                client.name,
                partial(element.connect, client.open, NETWORK),
                element.clock,
                self.clients.opened,
            )
            for client in config.clients
            if client.open is not None
        ]
        element.watchers.extend(self._openers)
        element.associations.onEnding = self._ending
        element.onServing = self._startOpeners
        access = Access(self.clients, config.access.allow, config.access.deny)
        self.rejects = Rejects(
            server.name,
            server.rejects,
            rejectionsOf(config),
            {client.name for client in config.clients},
            rejectionOf,
            element.lifecycle.remark,
            element.oversight.beside,
        )
        element.door.kinds[Kind.REJECT] = self.rejects.reject
        element.door.kinds[Kind.ADMIT] = self.rejects.admit
        priorities = Priorities(config.priority.resources, config.priority.emergency)
        role = ServerRole(
            element.gate,
            element.identity,
            self.clients,
            access,
            self.rejects.rules,
            tableOf(config.routes),
            element.addPool(NETWORK),
            element.ledger.setups,
            server.maxAccepted,
            {client.name: client.address for client in config.clients if client.address is not None},
            redirects=server.mode == "redirect",
            priorities=priorities,
        )
        settings = ProxySettings(
            recordRoute=server.recordRoute,
            timerC=config.timers.timerC,
            quiet=config.timers.t1 + config.timers.t2,
        )
        core = element.serve(role, settings)
        core.priorities = priorities
        self.control = OverloadControl(element.clock, partial(setattr, core, "marks"))
        self.announcer = Announcer(
            element.clock,
            element.layer,
            element.gate,
            element.identity,
            self.clients.nameAt,
            access.permits,
            self.control,
            config.drain.announce,
        )
        if server.scope == "dialogs":
            self.dialogs = Dialogs(
                element.clock,
                element.timers,
                element.identity,
                element.ledger,
                Farewells(core, NETWORK),
                server.longestDialog,
                server.maxDialogs,
            )
            core.dialogs = role.dialogs = self.dialogs
            core.contexts = KeptContext
        elif server.recordRoute:
            core.acks = Acks(element.timers, settings.quiet)
            core.contexts = AckedContext
        core.own[b"SUBSCRIBE"] = self.announcer.subscribeReceived
        element.watchers.append(self.announcer)
        element.lifecycle.observe(self.announcer)
        if config.orders.clientsApprove:
            question = Question(server.name, element.layer, self._associated)
            element.door.approval = Approval(
                element.clock, config.orders.clientsApprove, config.orders.approveWithin, question.ask
            )
        element.oversight.drainItself(config.overload, config.schedule)
        ramp = Ramp(element.gate, self.control, partial(setattr, role, "throttles"))
        element.lifecycle.observe(ramp)
        element.oversight.pulse.listeners.append(ramp)
        self.observers = (element, self.announcer, ramp)
        element.oversight.rehearsals.clients = self.clients.status
        element.oversight.rehearsals.announced = self._announced

    @property
    def lifecycle(self) -> Any:
        """
        Where orders go.
        """
        return self.element.lifecycle

    def _startOpeners(self) -> None:
        for opener in self._openers:
            opener.start()

    def _ending(self) -> None:
        for opener in self._openers:
            opener.stop()
        self.announcer.ending()

    def _associated(self) -> Iterator[tuple[str, IAssociation]]:
        for client in self.config.clients:
            association = self.clients.associationTo(client.name)
            if association is not None:
                yield client.name, association

    def _announced(self, retryAfter: float, why: str, back: float | None) -> Iterator[tuple[str, bytes]]:
        for name, request in self.announcer.rehearse(retryAfter, why, back):
            yield name, request.toBytes()

    def status(self) -> dict[str, Any]:
        """
        How things stand, for display; everything in it fits JSON.
        """
        return {
            "role": "server",
            **self.element.status(),
            "clients": self.clients.status(),
            **self.awaited.facts(),
            "announcements": self.announcer.status(),
            "rejects": self.rejects.status(),
        }

    def standing(self) -> dict[str, Any]:
        """
        How things stand, in brief; everything in it fits JSON.
        """
        return {**self.element.standing(), **self.awaited.facts(), "peers": self.clients.peers()}

    def orders(self) -> dict[str, object]:
        """
        What an operator can say at the manhole's prompt.
        """
        return Console(self.element, self.status).names()

    def startService(self) -> Deferred[Any]:
        """
        Listens.

        @return: fails with what kept it from listening.
        @raise ConfigError: when the file of rules that were ordered cannot be read.
        """
        self.rejects.load()
        super().startService()
        return self.element.start()

    def stopService(self) -> Deferred[Any]:
        """
        Ends what is left, at once.
        """
        super().stopService()
        self.element.leaveNow("stop")
        self.control.stop()
        return self.element.stop()

    def leave(self) -> Deferred[State]:
        """
        Leaves service without losing a call.
        """
        return self.element.leave()

    def leaveNow(self) -> None:
        """
        Leaves service at once.
        """
        self.element.leaveNow()
