"""
A running client: its configuration made into links, role, element and orders.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList

from sipgrace.client.activelist import ActiveList
from sipgrace.client.announced import Announced
from sipgrace.client.bindings import Bindings, Source
from sipgrace.client.consent import Consent
from sipgrace.client.discovery import Discovery, opening
from sipgrace.client.found import Found
from sipgrace.client.link import LinkSettings, ServerLink
from sipgrace.client.overdue import Overdue
from sipgrace.client.probe import OptionsProbe, Outcome
from sipgrace.client.registering import registering
from sipgrace.client.registrar import Registrar
from sipgrace.client.reroutes import Reroutes
from sipgrace.client.role import INTERFACE, NETWORK, ClientRole
from sipgrace.client.skips import Skips
from sipgrace.client.strategies import Latency, strategyNamed
from sipgrace.client.subscriber import Subscriptions
from sipgrace.client.tdm import ITDMRoute, SIPGateway
from sipgrace.client.tdmcommand import CommandRoute
from sipgrace.client.users import Users
from sipgrace.client.watchers import Notices, OpenedByUsers, Servers
from sipgrace.config.client import TDM, ClientConfig, ClientUser
from sipgrace.config.server import Drain
from sipgrace.console import Console
from sipgrace.element import Element
from sipgrace.interfaces import IAssociation
from sipgrace.lifecycle.events import State
from sipgrace.lifecycle.orders import Kind
from sipgrace.message.message import Response
from sipgrace.proxy.core import ProxySettings
from sipgrace.proxy.overload import OFFER
from sipgrace.proxy.priority import Priorities
from sipgrace.proxy.target import Target
from sipgrace.transport.address import splitHostPort
from sipgrace.transport.backoff import Backoff
from sipgrace.transport.naming import Locator, Place, resolverOf


def usersOf(sections: tuple[ClientUser, ...]) -> Users:
    """
    Where users are, as configured.
    """
    users = Users()
    for section in sections:
        if isinstance(section.uri, str):
            users.addService(section.uri.encode("ascii"), section.contact)
        elif section.uri is not None:
            users.addURI(section.uri, section.contact)
        elif section.aor is not None:
            users.addRecord(section.aor, section.contact)
        elif section.prefix is not None:
            users.addPrefix(section.prefix.encode("ascii"), section.contact)
    return users


def _every(config: ClientConfig) -> float:
    """
    How often servers in service are tested, in seconds.
    """
    if config.probe.every is not None:
        return config.probe.every
    return Latency.EVERY if config.client.strategy == Latency.name else 0.0


def _heard(response: Response, target: Target) -> None:
    """
    A server's answer may ask for less.
    """
    if isinstance(target.token, ServerLink):
        target.token.throttle.read(response)


def _busy(target: Target, more: int) -> None:
    """
    An INVITE is sent to a server, or is done with there.
    """
    if isinstance(target.token, ServerLink):
        target.token.underWay += more


class ClientService(Service):
    """
    A client (see L{sipgrace.tap.signals.RoleService}).

    @ivar element: what it is made of.
    @ivar links: its servers by name.
    @ivar active: the active list.
    @ivar subscriptions: how the servers tell it of their drains.
    """

    def __init__(self, reactor: Any, config: ClientConfig) -> None:
        client = config.client
        self.config = config
        self.element = element = Element(
            reactor,
            client.name,
            [(description, INTERFACE) for description in client.listen]
            + [(description, NETWORK) for description in client.listenNetwork],
            client.advertise,
            client.stack,
            config.timers,
            config.limits,
            Drain(),
            config.orders,
            config.report,
        )
        self.active: ActiveList[ServerLink] = ActiveList(
            [server.name for server in config.servers], strategyNamed(client.strategy)
        )
        offer = OFFER if client.overloadControl else b""
        self.subscriptions = Subscriptions(
            element.clock,
            element.layer,
            offer=offer,
            heard=lambda link, response: link.throttle.read(response),
        )
        self._servers = Servers(
            self.active,
            self.subscriptions,
            frozenset(server.name for server in config.servers if server.subscribe),
            Overdue(element.clock, config.probe.grace, Notices(element.lifecycle)),
            element.changed,
        )
        self.links = self._servers.links
        self.announced = Announced(client.name, self.links, element.door)
        self.skips = Skips(
            client.name,
            client.skips,
            [server.name for server in config.servers],
            self.links,
            self.active,
            element.lifecycle.remark,
            element.oversight.beside,
        )
        element.door.kinds[Kind.SKIP] = self.skips.skip
        element.door.kinds[Kind.UNSKIP] = self.skips.unskip
        element.watchers.append(self._servers)
        self._probe = OptionsProbe(
            element.layer,
            element.clock,
            lambda: os.urandom(8).hex().encode(),
            config.probe.timeout,
            offer=offer,
        )
        self._linkSettings = LinkSettings(
            reopen=Backoff(config.reconnect.interval, config.reconnect.longest),
            tests=Backoff(config.probe.interval, config.probe.longest),
            down=config.probe.down,
            up=config.probe.up,
            every=_every(config),
            early=client.returns == "early",
        )
        for server in config.servers:
            if server.domain is None:
                connect = partial(element.connect, server.address, NETWORK)
                self.links[server.name] = self._link(server.name, connect, server.cost, server.weight)
        self.found = self._servers.leaving = self._finding()
        self.reroutes = Reroutes()
        element.oversight.timeline.counters["rerouted"] = lambda: self.reroutes.total
        pools = {zone: element.addPool(zone) for zone in (NETWORK, INTERFACE)}
        element.watchers.append(OpenedByUsers(pools[INTERFACE]))
        users = usersOf(config.users)
        self._bindings: Bindings | None = None
        self._opening: Deferred[Any] | None = None
        self._registrar: Registrar | None = None
        if config.registrar is not None:
            self._bindings, self._registrar = registering(config.registrar, element, self._source)
            users.registered = self._registrar
        self._commands: CommandRoute | None = None
        tdm: ITDMRoute | None = None
        if config.tdm is not None:
            tdm = self._tdmRoute(config.tdm)
        priorities = Priorities(config.priority.resources, config.priority.emergency)
        self._role = role = ClientRole(
            element.gate,
            element.identity,
            self.active,
            self.links,
            users,
            tdm,
            pools.__getitem__,
            client.responsePeriod,
            self.reroutes,
            priorities,
        )
        core = element.serve(
            role,
            ProxySettings(
                recordRoute=True,
                detectMerges=False,
                joinZone=NETWORK,
                timerC=config.timers.timerC,
                quiet=config.timers.t1 + config.timers.t2,
            ),
        )
        core.priorities = priorities
        core.own[b"MESSAGE"] = Consent(self._serverAt, self._others).messageReceived
        if self._registrar is not None:
            core.own[b"REGISTER"] = self._registrar.registerReceived
        core.own[b"NOTIFY"] = self.subscriptions.notifyReceived
        if offer:
            core.trail.offers[NETWORK] = offer
            core.heard = _heard
        core.busy = _busy
        element.associations.onEnding = self._endLinks
        element.onServing = self._startLinks

    def _tdmRoute(self, tdm: TDM) -> ITDMRoute:
        if tdm.gateway is not None:
            return SIPGateway(bytes(tdm.gateway).decode("ascii"))
        self._commands = CommandRoute(self.element.reactor, tdm.command, tdm.limit, tdm.most)
        return self._commands

    def _link(
        self, name: str, connect: Callable[[], Deferred[IAssociation]], cost: int, weight: int
    ) -> ServerLink:
        def test(association: IAssociation) -> Deferred[Outcome]:
            return self._probe.test(association, link.throttle.read)

        link = ServerLink(
            name,
            connect,
            test,
            self.element.clock,
            self._servers,
            self._linkSettings,
            cost=cost,
            weight=weight,
        )
        link.skipped = self.skips.of(name) is not None
        return link

    def _source(self, source: Source) -> IAssociation | None:
        return self.element.associations.peer(INTERFACE, source.via, source.host, source.port)

    def _finding(self) -> Found:
        """
        What finds the servers whose address is a domain.
        """
        config, element = self.config, self.element
        servers = {server.name: server for server in config.servers}
        domains = [(server.name, server.domain) for server in config.servers if server.domain is not None]
        asked = [splitHostPort(server, 53) for server in config.dns.servers]
        locator = Locator(resolverOf(asked, element.reactor) if domains else None)
        bounds = (config.dns.shortest, config.dns.longest)
        backoff = Backoff(config.reconnect.interval, config.reconnect.longest)

        def cost(discovery: Discovery, place: Place) -> int:
            return servers[discovery.name].cost + place.priority

        def make(discovery: Discovery, name: str, place: Place) -> ServerLink:
            connect = opening(
                lambda: discovery.places.get(name),
                discovery.uri.host.decode("ascii"),
                servers[discovery.name].options,
                self._connectFound,
            )
            return self._link(name, connect, cost(discovery, place), place.weight)

        discoveries = [
            Discovery(name, domain, locator, element.clock, self._lookedUp, backoff, bounds)
            for name, domain in domains
        ]
        gone = self._servers.gone
        return Found(servers, discoveries, self.links, self.active, element.clock, cost, make, gone)

    def _lookedUp(self, discovery: Discovery) -> None:
        self.found.update(discovery)

    def _connectFound(self, description: str) -> Deferred[IAssociation]:
        return self.element.connect(description, NETWORK)

    def _serverAt(self, association: IAssociation) -> str:
        return next((name for name, link in self.links.items() if link.association is association), "")

    def _others(self, name: str) -> int:
        return sum(link.active for link in self.links.values() if link.name != name)

    def _endLinks(self) -> None:
        self._servers.overdue.stop()
        self.found.stop()
        for link in self.links.values():
            link.stop()

    def standing(self) -> dict[str, Any]:
        """
        How things stand, in brief; everything in it fits JSON.
        """
        return {
            **self.element.standing(),
            "peers": [self._peer(link) for link in self.links.values()],
            "reroutes": self.reroutes.total,
            "tdm": self._role.toTDM,
        }

    def _peer(self, link: ServerLink) -> dict[str, Any]:
        status = link.status()
        return {
            "name": link.name,
            "state": status["state"],
            "associated": link.association is not None,
            "active": link.active,
            "skipped": link.skipped,
            "overdue": self._servers.overdue.late(link),
            "countdown": link.countdown,
            "latency": link.latency,
        }

    def status(self) -> dict[str, Any]:
        """
        How things stand, for display; everything in it fits JSON.
        """
        return {
            "role": "client",
            **self.element.status(),
            "servers": [
                {
                    **link.status(),
                    "subscription": self.subscriptions.stateOf(link),
                    "skipped": self.skips.of(link.name),
                    "overdue": self._servers.overdue.late(link),
                }
                for link in self.links.values()
            ],
            "domains": self.found.status(),
            "registrar": None if self._registrar is None else self._registrar.status(),
            "lastUsed": self.active.lastUsed,
            "reroutes": self.reroutes.total,
            "unserved": self._role.unserved,
        }

    def orders(self) -> dict[str, object]:
        """
        What an operator can say at the manhole's prompt.
        """
        return Console(self.element, self.status).names()

    def startService(self) -> Deferred[Any]:
        """
        Listens, and opens an association to each server.

        @return: fails with what kept it from listening, or with L{sipgrace.errors.ConfigError} when the file
            of registrations cannot be used.
        @raise ConfigError: when the file of skipped servers cannot be read.
        """
        self.skips.load()
        super().startService()
        if self._bindings is None:
            return self.element.start()
        # Before the first call comes it is known who is where.
        self._opening = self._bindings.open()
        return self._opening.addCallback(self._opened)

    def _opened(self, ignored: None) -> Deferred[Any]:
        self._opening = None
        return self.element.start()

    def _startLinks(self) -> None:
        for link in self.links.values():
            link.start()
        self.found.start()

    def stopService(self) -> Deferred[Any]:
        """
        Ends what is left, at once.
        """
        super().stopService()
        self.subscriptions.stop()
        self._servers.overdue.stop()
        if self._commands is not None:
            self._commands.stop()
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
        if self._bindings is not None:
            self._bindings.close()
        stopped = [*self.found.stop(), *(link.stop() for link in self.links.values())]
        self.element.leaveNow("stop")
        return DeferredList([*stopped, self.element.stop()])

    def leave(self) -> Deferred[State]:
        """
        Takes no new calls and finishes the accepted ones.
        """
        return self.element.leave()

    def leaveNow(self) -> None:
        """
        Ends every association at once.
        """
        self.element.leaveNow()
