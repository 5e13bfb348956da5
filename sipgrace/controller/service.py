"""
A running controller: its configuration made into store, fleet, links, peers and the HTTP API.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from treq.client import HTTPClient
from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.endpoints import HostnameEndpoint, serverFromString, wrapClientTLS
from twisted.internet.interfaces import IListeningPort, IReactorTime
from twisted.logger import Logger
from twisted.web.client import Agent, HTTPConnectionPool

from sipgrace.config.controller import (
    ControllerConfig,
    GroupSection,
    MaintenanceSection,
    PeerSection,
    StoreSection,
    TokenSection,
)
from sipgrace.control.remote import Unreachable
from sipgrace.controller.budget import Budget
from sipgrace.controller.controller import Controller
from sipgrace.controller.facts import OrderRecord, Person, ScheduleRecord
from sipgrace.controller.fleet import Fleet
from sipgrace.controller.links import Accepted, Links
from sipgrace.controller.localnode import ControllerNode
from sipgrace.controller.peers import Neighbour, Peers
from sipgrace.controller.records import misdated
from sipgrace.controller.retention import DAY, Keep
from sipgrace.controller.schedules import CONFIGURED
from sipgrace.controller.seams import IFleetStore
from sipgrace.controller.store.etcd import EtcdStore
from sipgrace.controller.store.sqlite import SQLiteStore
from sipgrace.controller.web.site import webSite
from sipgrace.controller.webhook import Webhook
from sipgrace.errors import OrderRefused, StoreError, Unknown
from sipgrace.lifecycle.authorization import Role
from sipgrace.lifecycle.orderform import SignedOrder, sign, signedBytes
from sipgrace.lifecycle.orders import Order
from sipgrace.metrics.exposition import registryOf
from sipgrace.transport.address import addressOf
from sipgrace.transport.description import parseDescription
from sipgrace.transport.httpstrust import HTTPSTrust
from sipgrace.transport.linkcertificates import LinkCertificates
from sipgrace.transport.listen import streamEndpoint
from sipgrace.transport.orderkey import readOrderKey

__all__ = ["ControllerService", "Signer", "storeOf"]

#: So many seconds a TCP connection to a peer may take.
_CONNECT: Final = 10.0

#: So many of the latest orders and reports a peer is told of when its link is (back) up.
_PAST: Final = 50


class Signer:
    """
    The controller's key.
    """

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        """
        @param name: by which nodes know it.
        """
        self._name = name
        self._key = key

    def sign(self, order: Order) -> SignedOrder:
        """
        Signs an order.
        """
        return sign(order, self._name, self._key)

    def isOurs(self, signed: SignedOrder) -> bool:
        """
        Whether an order is signed with it.
        """
        if signed.key != self._name:
            return False
        try:
            self._key.public_key().verify(signed.signature, signedBytes(signed.text))
        except (InvalidSignature, OrderRefused):
            return False
        return True


def storeOf(reactor: Any, section: StoreSection, name: str) -> IFleetStore:
    """
    @param name: the controller's.
    @return: where things are kept, as configured.
    """
    if section.urls:
        # Connections are kept open: a claim takes several requests, one after another.
        pool = HTTPConnectionPool(reactor)
        trust = HTTPSTrust(section.ca, section.certificate, section.key)
        client = HTTPClient(Agent(reactor, trust, connectTimeout=_CONNECT, pool=pool))
        clock = IReactorTime(reactor)
        close = pool.closeCachedConnections
        return EtcdStore(name, clock, client, section.urls, section.prefix, close=close)
    assert section.path is not None
    return SQLiteStore(reactor, section.path)


@dataclass(frozen=True, slots=True)
class Token:
    """
    See L{sipgrace.controller.web.tokens.TokenEntry}.
    """

    name: str
    role: Role
    sha256: str


def tokensOf(sections: Iterable[TokenSection]) -> list[Token]:
    """
    @return: who may use the API, as configured.
    """
    return [Token(one.name, Role(one.role), one.sha256) for one in sections]


def windowOf(name: str, section: MaintenanceSection) -> ScheduleRecord:
    """
    @param name: the controller's.
    @return: when servers are maintained, as configured.
    """
    return ScheduleRecord(
        id=f"{CONFIGURED}{name}-{section.name}",
        what="rolling",
        values=section.values,
        who="configuration",
        role=str(Role.OPERATOR),
        cron=section.cron,
        zone=section.timezone,
        by=name,
    )


def keepOf(section: StoreSection) -> Keep:
    """
    @return: for how long things are kept, as configured.
    """
    return Keep(orders=section.orderDays * DAY, audit=section.auditDays * DAY)


def budgetOf(section: GroupSection) -> Budget:
    """
    @return: a group's budget, as configured.
    """
    return Budget(
        group=section.name, away=section.away, inService=section.inService, capacity=section.capacity
    )


class ControllerService(Service):
    """
    A controller (see L{sipgrace.tap.signals.RoleService}).

    @ivar controller: what people and peers can ask for.
    @ivar fleet: the nodes.
    @ivar links: where nodes come.
    @ivar node: the controller at its own control socket.
    @ivar http: where the API listens; C{None} while it does not.
    """

    log = Logger()

    def __init__(
        self, reactor: Any, config: ControllerConfig, wallClock: Callable[[], float] = time.time
    ) -> None:
        """
        @raise ConfigError: when a key or a certificate cannot be used (any more).
        """
        self.config = config
        self._reactor = reactor
        self._wallClock = wallClock
        clock = IReactorTime(reactor)
        name = config.controller.name
        self._signer = Signer(config.key.name, readOrderKey(config.key.file))
        self.fleet = Fleet(wallClock)
        self._store = storeOf(reactor, config.store, name)
        self.controller = Controller(
            name,
            clock,
            self.fleet,
            self._store,
            self._signer.sign,
            [budgetOf(section) for section in config.groups],
            wallClock,
            alertAfter=config.alerts.after,
            keep=keepOf(config.store),
        )
        self._webhook: Webhook | None = None
        if config.alerts.webhook is not None:
            self._webhook = Webhook(clock, HTTPClient(Agent(reactor)), config.alerts.webhook)
            self.controller.alerts.hooks.append(self._webhook)
        endpoint = serverFromString(reactor, config.links.listen)
        options = self._options()
        self.links = Links(clock, endpoint, options, self)
        neighbours = [self._neighbour(one, options) for one in config.peers]
        self.peers = Peers(
            name, clock, self.fleet, neighbours, self, self._keep, self._keepReport, self.noteRefused
        )
        self.controller.passing = self.peers
        self.controller.windows = [windowOf(name, section) for section in config.windows]
        self.node = ControllerNode(name, self.status)
        self.site = webSite(self.controller, tokensOf(config.tokens), clock, registryOf())
        place = parseDescription(config.http.listen)
        self._site = streamEndpoint(reactor, place, place.arguments.get("interface", ""))
        self.http: IListeningPort | None = None

    def _options(self) -> Any:
        links = self.config.links
        if links.certificate is None or links.key is None or links.ca is None:
            return None
        return LinkCertificates(links.certificate, links.key, links.ca)

    def _neighbour(self, section: PeerSection, options: Any) -> Neighbour:
        plain = HostnameEndpoint(self._reactor, section.host, section.port, timeout=_CONNECT)
        endpoint = plain if options is None else wrapClientTLS(options, plain)
        return Neighbour(section.name, endpoint, Role(section.role), options is not None)

    # ------------------------------------------------------------------ starting and stopping

    def startService(self) -> Deferred[None]:
        """
        Opens the store, takes up what was under way, and listens.

        @return: fails with what keeps it from that.
        """
        super().startService()
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        await self.controller.start()
        await self.links.startService()
        self.http = await self._site.listen(self.site)
        self.peers.startService()
        self.log.info("the API at {address}", address=addressOf(self.http))

    def stopService(self) -> Deferred[None]:
        """
        Ends the links, and what is asked just now.
        """
        if not self.running:
            return succeed(None)
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        port, self.http = self.http, None
        if port is not None:
            await maybeDeferred(port.stopListening)
        if self.peers.running:
            await self.peers.stopService()
        await self.links.stopService()
        if self._webhook is not None:
            self._webhook.stop()
        await self.controller.stop()

    def leave(self) -> Deferred[None]:
        """
        Leaves at once: there is no call to wait for, and what is under way is taken up at the next start.
        """
        return succeed(None)

    def leaveNow(self) -> None:
        """
        As L{leave}.
        """

    # ------------------------------------------------------------------ what the links ask

    @property
    def controllers(self) -> Collection[str]:
        """
        See L{sipgrace.controller.links.LinkUser}.
        """
        return {self.controller.name, *(one.name for one in self.config.peers)}

    def isOurs(self, signed: SignedOrder) -> bool:
        """
        See L{sipgrace.controller.links.LinkUser}.
        """
        return self._signer.isOurs(signed)

    def report(self, node: str, at: float, facts: Mapping[str, Any]) -> Deferred[None]:
        """
        See L{sipgrace.controller.links.LinkUser}.
        """
        return self.controller.report(node, at, facts)

    def noteRefused(self, who: str, what: str, why: str) -> None:
        """
        See L{sipgrace.controller.links.LinkUser}.
        """
        self.controller.noteRefused(who, what, why)

    def welcome(self, link: Accepted, hello: Any) -> None:
        """
        See L{sipgrace.controller.links.LinkUser}.
        """
        self.peers.welcome(link, hello)

    # ------------------------------------------------------------------ what the peers ask

    def passedOrder(self, values: Mapping[str, Any], person: Person) -> Deferred[OrderRecord]:
        """
        See L{sipgrace.controller.peerlink.Passed}: for nodes of our own alone.
        """
        node = str(values.get("node", ""))
        if self.fleet.ownerOf(node):
            # It was ours when it was passed on.
            return fail(Unreachable(f"{self.controller.name} has no link to {node[:100]} (any more)"))
        return self.controller.order(values, person)

    def passedWithdrawal(self, id: str, person: Person) -> Deferred[OrderRecord]:
        """
        See L{sipgrace.controller.peerlink.Passed}.
        """

        def own(record: OrderRecord) -> Deferred[OrderRecord]:
            if record.by != self.controller.name:
                raise Unknown(f"the order {id[:100]} is not that of {self.controller.name}")
            return self.controller.withdraw(id, person)

        return self.controller.orderOf(id).addCallback(own)

    def passedAnnouncement(self, values: Mapping[str, Any], person: Person) -> Deferred[Sequence[str]]:
        """
        See L{sipgrace.controller.peerlink.Passed}.
        """
        server, why = values.get("server", ""), values.get("why", "")
        if "retryAfter" not in values:
            return self.controller.unannounce(server, why, person, passed=True)
        times = (values["retryAfter"], values.get("back"))
        return self.controller.announce(server, *times, why, person, passed=True)

    def passedStatus(self, node: str) -> Deferred[dict[str, Any]]:
        """
        See L{sipgrace.controller.peerlink.Passed}: for nodes of our own alone.
        """
        return self.controller.ownStatus(node)

    def past(self) -> Deferred[list[tuple[str, str, Any]]]:
        """
        See L{sipgrace.controller.peerlink.Passed}.
        """
        return Deferred.fromCoroutine(self._past())

    async def _past(self) -> list[tuple[str, str, Any]]:
        try:
            orders = await self.controller.orders(_PAST)
            reports = await self.controller.reports("", _PAST)
        except StoreError as error:
            self.log.error("a peer cannot be told what it has missed: {why}", why=error)
            return []
        name = self.controller.name
        found = [("past", one.node, asdict(one)) for one in orders if one.by == name]
        return found + [
            ("report", one["node"], one) for one in reversed(reports) if not self.fleet.ownerOf(one["node"])
        ]

    def _keep(self, record: OrderRecord, passed: bool) -> Deferred[None]:
        return Deferred.fromCoroutine(self._keepPassed(record, passed))

    async def _keepPassed(self, record: OrderRecord, passed: bool) -> None:
        # In a store that both have it is the other's to be written.
        if not self._store.shared and (passed or await self._store.order(record.id) is not None):
            await self._store.putOrder(record)

    def _keepReport(self, node: str, facts: Mapping[str, Any]) -> Deferred[None]:
        return Deferred.fromCoroutine(self._keepPeers(node, facts))

    async def _keepPeers(self, node: str, facts: Mapping[str, Any]) -> None:
        at, report = facts.get("at"), facts.get("report")
        if not isinstance(at, int | float) or not isinstance(report, dict):
            raise StoreError("it is no report")
        if why := misdated(at, self._wallClock()):
            raise StoreError(why)
        if not self._store.shared:
            await self._store.addReport(node, float(at), report)
        self.fleet.publish("report", node, facts)

    # ------------------------------------------------------------------ for display

    def status(self) -> dict[str, Any]:
        """
        How it stands; everything in it fits JSON.
        """
        nodes = self.fleet.nodes()
        return {
            "role": "controller",
            "name": self.controller.name,
            "state": "serving" if self.http is not None else "offline",
            "linked": sum(bool(node["linked"]) for node in nodes),
            "peers": self.peers.status(),
            "lost": [node["name"] for node in nodes if not node["linked"]],
            "links": None if self.links.port is None else addressOf(self.links.port),
            "http": None if self.http is None else addressOf(self.http),
        }

    def orders(self) -> dict[str, object]:
        """
        What an operator can say at the manhole's prompt.
        """
        return {"show": self.show, "controller": self.controller, "fleet": self.fleet}

    def show(self) -> None:
        """
        Shows how things stand: the controller, and a line for each node.
        """
        for heading, value in self.status().items():
            print(f"{heading:<14} {value}")
        for node in self.fleet.nodes():
            lost = "" if node["linked"] else f"  lost: {node['lost']}"
            print(f"{node['role']:<8} {node['name']:<20} {node['state']}{lost}")
