"""
The configuration of a server.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from sipgrace.config.links import Labels
from sipgrace.config.roles import RoleSections
from sipgrace.config.sections import Many, Section, checkListeners
from sipgrace.config.selfdrain import OverloadSection, WindowSection
from sipgrace.config.values import (
    Advertise,
    Connect,
    Domain,
    FilePath,
    Guard,
    Listen,
    Mistake,
    Name,
    Network,
    NetworkOrName,
    Phrase,
    Prefix,
    Seconds,
    SipURI,
    SipURIOrName,
    SipURIOrService,
    Then,
    atLeast,
    mistakes,
    once,
)
from sipgrace.message.uri import SIPURI

__all__ = [
    "Access",
    "Drain",
    "Party",
    "Reject",
    "Route",
    "ServerClient",
    "ServerConfig",
    "ServerSection",
]


class ServerSection(Section):
    """
    What this server is called and where it listens.
    """

    name: Name
    """The server's name, as operators and logs know it."""

    listen: Annotated[tuple[Listen, ...], Many, Field(min_length=1)]
    """Where it listens. Clients open their associations to here."""

    advertise: Advertise | None = None
    """What to put into Via and Contact in place of the address that is bound: host or host:port, leading
    here. Needed when listening on every interface."""

    stack: Literal["auto", "userspace", "kernel"] = "auto"
    """The SCTP stack: the kernel's, the one in userspace (libusrsctp), or the kernel's where it has one."""

    mode: Literal["proxy", "redirect"] = "proxy"
    """Whether calls are set up here, or callers told where to go (302)."""

    recordRoute: bool = False
    """Whether to stay in the path of the calls set up here (Record-Route): all that is asked within a call
    then passes this server too, and when it has left, only clients that go past it find a way."""

    scope: Literal["setups", "dialogs"] = "setups"
    """What a drain waits for, and its guard covers: calls that are being set up; or, with record_route, whole
    calls, until they are hung up. Those that are left when the guard is near are ended by BYE to both sides.
    How long people talk is not estimated: guard = "auto" means guard_ceiling while calls go on."""

    maxDialogs: Annotated[int, Field(ge=1, le=10000000)] = 100000
    """With scope "dialogs": the most calls that are known at a time; a new INVITE beyond them is answered
    503, unless it goes before others. A tenth more of those are known."""

    longestDialog: Annotated[Seconds, Field(ge=1, le=31536000)] = 86400.0
    """With scope "dialogs": after this time without a session timer's refresh (RFC 4028) a call is forgotten;
    no drain waits for it, or ends it."""

    awaitClients: Annotated[Seconds, Field(ge=0, le=86400)] = 60.0
    """For so long after it has come into service, or after the time for which clients were asked to leave it
    alone where that is later, it says that it waits for the clients that it had before and that are not back;
    after the start of its process, for those that its file names. It takes calls meanwhile; but sipgrace
    resume --wait, rolling maintenances and budgets wait before another server leaves. 0 to wait for none."""

    maxAccepted: Annotated[int, Field(ge=1, le=1000000)] = 10000
    """The most accepted INVITEs that are not yet settled; a new one beyond them is answered 503."""

    rejects: FilePath | None = None
    """The file that keeps which calls are refused by order (sipgrace reject), so that this server still knows
    when it is started again. By default it forgets."""

    workers: Annotated[int, Field(ge=1, le=255)] = 1
    """How many processes share its traffic, at most twice as many as there are processors; each is sent the
    calls of other peers. What is bounded here and in [limits] is so for each of them. With more than one
    scope "dialogs" is not to be had."""

    labels: Labels = {}
    """By what controllers may select this server, as in { site = "north", rack = "12" }."""

    group: Name | None = None
    """The group of the controllers' budget in which this server counts; default where none is named."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        found = list(checkListeners("listen", self.listen, self.stack, self.advertise))
        if self.scope == "dialogs" and not (self.recordRoute and self.mode == "proxy"):
            found.append(
                (("scope",), 'expected "setups" without record_route (and in redirect mode), found "dialogs"')
            )
        found += self._shared()
        mistakes(found)
        return self

    def _shared(self) -> Iterator[Mistake]:
        most = 2 * (os.cpu_count() or 1)
        if self.workers > most:
            yield (
                ("workers",),
                f"expected at most {most}, twice the number of processors, found {self.workers}",
            )
        if self.workers > 1 and self.scope == "dialogs":
            yield (("workers",), f'expected 1 with scope = "dialogs", found {self.workers}')


class ServerClient(Section):
    """
    One client whose calls this server sets up.
    """

    name: Name
    """The client's name, as routes and rules use it."""

    networks: Annotated[tuple[Network, ...], Many] = ()
    """The source addresses by which an association is known as this client's."""

    address: SipURI | None = None
    """A SIP URI that reaches it where no association of its own is up."""

    open: Connect | None = None
    """Where the server connects by itself to open the association to this client; by default the client
    opens it."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        if not self.networks and self.open is None:
            mistakes(
                [
                    (
                        ("networks",),
                        "expected at least one network (or open), found nothing to know this client by",
                    )
                ]
            )
        return self


class Route(Section):
    """
    Where requests go. Exactly one of uri, prefix and domain says which requests, and exactly one of to and
    redirect where. The most specific route is taken: uri, then the longest prefix, then domain, then the
    domain "*".
    """

    uri: SipURIOrService | None = None
    """The Request-URI, compared by the rules of RFC 3261 section 19.1.4. Or the name of a service, such as
    "urn:service:sos", which is for its sub-services too (RFC 5031)."""

    prefix: Prefix | None = None
    """The first characters of the Request-URI's user part."""

    domain: Domain | None = None
    """The Request-URI's host; "*" for every host."""

    to: Annotated[tuple[SipURIOrName, ...], Many, Field(min_length=1)] | None = None
    """Client names and SIP URIs, tried one after the other."""

    redirect: SipURI | None = None
    """Where the caller is sent (302)."""

    @model_validator(mode="after")
    def _decided(self) -> Self:
        found: list[Mistake] = []
        which = [key for key in ("uri", "prefix", "domain") if getattr(self, key) is not None]
        if len(which) != 1:
            found.append(((), f"expected exactly one of uri, prefix and domain, found {_and(which)}"))
        where = [key for key in ("to", "redirect") if getattr(self, key) is not None]
        if len(where) != 1:
            found.append(((), f"expected exactly one of to and redirect, found {_and(where)}"))
        mistakes(found)
        return self


class Party(Section):
    """
    One side of a call, said in exactly one way. As an origin it is compared with the source address of the
    request, the client it came from, and the From URI; as a destination with the Request-URI, and the client
    it is routed to.
    """

    network: Network | None = None
    """A network: the address that the request came from, or the one in its Request-URI."""

    client: Name | None = None
    """A client's name."""

    domain: Domain | None = None
    """The host of the URI."""

    prefix: Prefix | None = None
    """The first characters of the URI's user part."""

    @model_validator(mode="after")
    def _decided(self) -> Self:
        given = [key for key in ("network", "client", "domain", "prefix") if getattr(self, key) is not None]
        if len(given) != 1:
            mistakes(
                [((), f"expected exactly one of network, client, domain and prefix, found {_and(given)}")]
            )
        return self


class Reject(Section):
    """
    New calls to answer with a final failure. A rule with both origin and destination wants both to match; the
    first rule that matches is taken.
    """

    origin: Party | None = None
    """Where the call comes from."""

    destination: Party | None = None
    """Where the call goes to."""

    status: Annotated[int, Field(ge=400, le=699)] = 403
    """The status code of the answer."""

    reason: Phrase | None = None
    """The reason phrase of the answer; by default the one that belongs to the status code."""

    @model_validator(mode="after")
    def _decided(self) -> Self:
        if self.origin is None and self.destination is None:
            mistakes([((), "expected an origin, a destination or both, found neither")])
        return self


class OrderedReject(Reject):
    """
    Such a rule as an order brings it (sipgrace reject).
    """

    name: Name
    """By this name it is taken back."""


class Access(Section):
    """
    Who may use this server. A request whose source is denied, or is not among those allowed, is answered 403.
    """

    allow: Annotated[tuple[NetworkOrName, ...], Many] | None = None
    """The networks and clients that may; everyone when this key is not there."""

    deny: Annotated[tuple[NetworkOrName, ...], Many] = ()
    """The networks and clients that may not, even when they are also allowed."""


class Drain(Section):
    """
    How this server leaves.
    """

    guard: Guard = 30.0
    """After this time the server's SIP associations are gone, whatever is left. "auto" estimates it for each
    drain, from how long calls took to set up lately and how long those under way have been waiting, so that
    with a probability of 99 % none has to be ended by force."""

    guardFloor: Annotated[Seconds, Field(ge=0.5, le=86400)] = 5.0
    """The least that is estimated."""

    guardCeiling: Annotated[Seconds, Field(ge=0.5, le=86400)] = 180.0
    """The most that is estimated, and what is taken as long as too little is known."""

    margin: Annotated[Seconds, Field(ge=0.05, le=60)] | None = None
    """How long before the guard what is left gets its final answers, and the associations their SHUTDOWN. By
    default a tenth of the guard, and at most 2."""

    retryAfter: Annotated[int, Field(ge=1, le=604800)] | None = None
    """The Retry-After that clients are told, in seconds: how long they leave the server alone. Not below the
    guard."""

    retryAfterPeriod: Annotated[Seconds, Field(ge=0, le=604800)] = 30.0
    """How much longer than the guard clients leave the server alone, where there is no retry_after."""

    spread: Annotated[int, Field(ge=0, le=3600)] = 5
    """The most seconds that are added to a client's Retry-After so that they do not all come back at once;
    each client has its own share of them."""

    over: Annotated[Seconds, Field(ge=0, le=86400)] = 0.0
    """For so long before the full stop a rising share of the new calls is refused (503 without Retry-After,
    or overload control as in RFC 7339). 0 stops all at once, as a signal does in any case."""

    then: Then = "stay"
    """What follows a drain, as soon as the server is offline: it stays so; its process ends; or a command is
    run by /bin/sh, with the order's facts in its environment (see docs/orders.rst), and it stays offline."""

    thenLimit: Annotated[Seconds, Field(ge=0.1, le=604800)] = 3600.0
    """How long the command may take; then it is ended, with all that it has started."""

    announce: Literal["in-answer", "broadcast", "both"] = "both"
    """How clients are told of a drain: in the answers to what they ask; at once, by a NOTIFY to each that has
    subscribed; or both. New INVITEs are refused with Retry-After in any case."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        found: list[Mistake] = []
        if self.retryAfter is not None and "retryAfterPeriod" in self.model_fields_set:
            found.append(
                (("retry_after_period",), "expected it or retry_after, not both, found both in this section")
            )
        guard = self.guardFloor if self.guard == "auto" else self.guard
        found += atLeast("guard_ceiling", self.guardCeiling, "guard_floor", self.guardFloor, " seconds")
        if self.retryAfter is not None:
            found += atLeast("retry_after", self.retryAfter, "the guard", guard, " seconds")
        if self.margin is not None and self.margin > guard / 2:
            found.append(
                (
                    ("margin",),
                    f"expected at most half the guard, which is {guard:g} seconds, found {self.margin:g}",
                )
            )
        mistakes(found)
        return self

    @property
    def usualGuard(self) -> float:
        """
        The guard, or the most that is estimated for it.
        """
        return self.guardCeiling if self.guard == "auto" else self.guard

    @property
    def command(self) -> str:
        """
        The command that C{then} names, or nothing.
        """
        return self.then.removeprefix("run ").strip() if self.then.startswith("run ") else ""

    def marginOf(self, guard: float) -> float:
        """
        @param guard: a drain's guard, in seconds.
        @return: how many seconds before that guard the end is forced.
        """
        return min(2.0, guard / 10) if self.margin is None else min(self.margin, guard / 2)


class _Own(Section):
    """
    The sections that only a server has.
    """

    server: ServerSection
    """What this server is called and where it listens."""

    clients: Annotated[tuple[ServerClient, ...], Many] = ()
    """The clients, one table each."""

    routes: Annotated[tuple[Route, ...], Many] = ()
    """Where requests go, one table each."""

    reject: Annotated[tuple[Reject, ...], Many] = ()
    """The calls that are refused, one table each."""

    access: Access = Access()
    """Who may use this server."""

    drain: Drain = Drain()
    """How it leaves."""

    overload: OverloadSection | None = None
    """When it leaves by itself because it cannot keep up; by default it does not."""

    schedule: Annotated[tuple[WindowSection, ...], Many] = ()
    """When it leaves by itself for maintenance, one table each."""

    @field_validator("clients", mode="after")
    @classmethod
    def _once(cls, clients: tuple[ServerClient, ...]) -> tuple[ServerClient, ...]:
        found = list(once([client.name for client in clients], "client"))
        owners: dict[IPv4Network | IPv6Network, str] = {}
        for at, client in enumerate(clients):
            for place, network in enumerate(client.networks):
                owner = owners.setdefault(network, client.name)
                if owner != client.name:
                    found.append(
                        (
                            (at, "networks", place),
                            f"expected a network that is no other client's, found {network}, which is "
                            f"{owner}'s already",
                        )
                    )
        mistakes(found)
        return clients

    @field_validator("schedule", mode="after")
    @classmethod
    def _windows(cls, schedule: tuple[WindowSection, ...], info: ValidationInfo) -> tuple[WindowSection, ...]:
        drain: Drain | None = info.data.get("drain")
        found = list(once([window.name for window in schedule], "window"))
        for at, window in enumerate(schedule):
            if window.then == "run" and drain is not None and not drain.command:
                found.append(((at, "then"), 'expected a command in drain.then ("run COMMAND"), found none'))
        mistakes(found)
        return schedule

    # Fields are checked in order: where [[clients]] itself was wrong, the names are not known here and only
    # that is reported.

    @field_validator("routes", mode="after")
    @classmethod
    def _routes(cls, routes: tuple[Route, ...], info: ValidationInfo) -> tuple[Route, ...]:
        seen: list[tuple[str, object]] = []
        found: list[Mistake] = []
        for at, route in enumerate(routes):
            for key in ("uri", "prefix", "domain"):
                value = getattr(route, key)
                if value is None:
                    continue
                if (key, value) in seen:
                    found.append(((at, key), f"expected one route for {value}, found another before it"))
                seen.append((key, value))
            for place, target in enumerate(route.to or ()):
                if not isinstance(target, SIPURI):
                    found.extend(_unknown(target, (at, "to", place), info))
        mistakes(found)
        return routes

    @field_validator("reject", mode="after")
    @classmethod
    def _reject(cls, reject: tuple[Reject, ...], info: ValidationInfo) -> tuple[Reject, ...]:
        found: list[Mistake] = []
        for at, rule in enumerate(reject):
            for key, party in (("origin", rule.origin), ("destination", rule.destination)):
                if party is not None and party.client is not None:
                    found.extend(_unknown(party.client, (at, key, "client"), info))
        mistakes(found)
        return reject

    @field_validator("access", mode="after")
    @classmethod
    def _access(cls, access: Access, info: ValidationInfo) -> Access:
        found: list[Mistake] = []
        for key, values in (("allow", access.allow or ()), ("deny", access.deny)):
            for at, value in enumerate(values):
                if not isinstance(value, IPv4Network | IPv6Network):
                    found.extend(_unknown(value, (key, at), info))
        mistakes(found)
        return access


class ServerConfig(RoleSections, _Own):
    """
    A server's whole file.
    """


def _and(keys: list[str]) -> str:
    return " and ".join(keys) or "none"


def _unknown(name: str, path: tuple[str | int, ...], info: ValidationInfo) -> Iterator[Mistake]:
    clients: tuple[ServerClient, ...] | None = info.data.get("clients")
    if clients is not None and name not in [client.name for client in clients]:
        yield (path, f"expected the name of one of [[clients]], found {name!r}")
