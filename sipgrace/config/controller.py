"""
The configuration of a controller.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cryptography import x509
from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from sipgrace.config.links import PORT, Host, Labels, certified, isLoopback
from sipgrace.config.sections import ControlSection, ManholeSection, Many, Section
from sipgrace.config.selfdrain import Cron
from sipgrace.config.values import FilePath, Listen, Mistake, Name, Phrase, Seconds, mistakes, once
from sipgrace.errors import ConfigError
from sipgrace.transport.description import parseDescription
from sipgrace.transport.httpstrust import HTTPSTrust
from sipgrace.transport.orderkey import readOrderKey
from sipgrace.transport.peernames import namesOf

__all__ = [
    "URL",
    "AlertsSection",
    "ControllerConfig",
    "ControllerSection",
    "Digest",
    "GroupSection",
    "HTTPSection",
    "KeySection",
    "LinksSection",
    "MaintenanceSection",
    "PeerSection",
    "StoreSection",
    "TokenSection",
]

_URL = re.compile(r"https?://[^\s/?#]+[^\s#]*\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


def _url(value: str) -> str:
    if not _URL.match(value) or not value.isascii() or len(value) > 2000:
        raise ValueError(f"expected an address such as 'https://example.org/hook', found {value[:70]!r}")
    return value


def _digest(value: str) -> str:
    if not _DIGEST.match(value):
        raise ValueError("expected 64 hexadecimal digits in lower case (sipgrace keys token prints them)")
    return value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"expected a time zone such as 'Europe/Berlin', found {value!r}") from None
    return value


URL = Annotated[str, AfterValidator(_url)]
"""An address of HTTP or HTTPS."""

Digest = Annotated[str, AfterValidator(_digest)]
"""A SHA-256, in hexadecimal digits."""


class ControllerSection(Section):
    """
    What this controller is called.
    """

    name: Name
    """The controller's name, as operators, nodes and logs know it; its certificate says the same."""


class LinksSection(Section):
    """
    Where servers, clients and other controllers come with their links. See docs/controllers.rst.
    """

    listen: Listen = f"tcp:{PORT}:interface=127.0.0.1"
    """Where it listens: a tcp string. TLS comes by the next three keys."""

    certificate: FilePath | None = None
    """The file of the controller's certificate (PEM), which bears its name; sipgrace keys makes one. Also
    shown to peers. This and the next two are needed unless insecure is set."""

    key: FilePath | None = None
    """The file of its private key (PEM)."""

    ca: FilePath | None = None
    """The file of the CA that has signed the certificates of nodes and peers (PEM)."""

    insecure: bool = False
    """Whether links go without TLS, so that anybody on this host may claim to be any node. On loopback
    alone."""

    @property
    def interface(self) -> str:
        """
        The address it is bound to; empty for all.
        """
        return parseDescription(self.listen).arguments.get("interface", "")

    @model_validator(mode="after")
    def _certified(self) -> Self:
        found: list[Mistake] = []
        if parseDescription(self.listen).transport != b"TCP":
            found.append((("listen",), f"expected a tcp string, found {self.listen!r}"))
        found += certified(self.certificate, self.key, self.ca, self.insecure, self.interface, "listen")
        mistakes(found)
        return self


class KeySection(Section):
    """
    The key by which this controller signs its orders. Nodes have its public half in [[orders.keys]], or ask
    the controller itself (orders.verify).
    """

    name: Name
    """By this name nodes know the key."""

    file: FilePath
    """The private key, Ed25519, as sipgrace keys order makes it, or ssh-keygen -t ed25519 without a
    passphrase. Nobody but the owner may read it."""

    @field_validator("file", mode="after")
    @classmethod
    def _readable(cls, file: FilePath) -> FilePath:
        try:
            readOrderKey(file)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return file


class PeerSection(Section):
    """
    Another controller. Each is told how the other's nodes stand, and passes on orders for them; for that each
    has the other in its file. The certificate is that of [links].
    """

    name: Name
    """Its name. Its certificate says the same."""

    host: Host
    """Where it is: a host name or an IP address."""

    port: Annotated[int, Field(ge=1, le=65535)] = PORT
    """The port where it listens for links."""

    role: Literal["viewer", "operator", "admin"] = "operator"
    """What its people may order here at most, whatever they may there."""


class StoreSection(Section):
    """
    Where orders, rolling maintenances, schedules, reports and the audit log are kept.
    """

    kind: Literal["sqlite", "etcd"] = "sqlite"
    """A file of this controller's own; or etcd, which several controllers share, so that budgets hold for all
    of them together."""

    path: FilePath | None = None
    """With sqlite: the file."""

    urls: Annotated[tuple[URL, ...], Many] = ()
    """With etcd: the addresses of its JSON gateway, such as ["https://etcd-1:2379", "https://etcd-2:2379"];
    while one does not answer, the next is asked. http is for loopback alone, unless insecure is set."""

    ca: FilePath | None = None
    """With https: the file of those whose certificates are trusted (PEM); by default those that the platform
    trusts."""

    certificate: FilePath | None = None
    """With https: the file of the certificate that is shown to etcd (PEM), which knows by it who may use it
    (--client-cert-auth). With key."""

    key: FilePath | None = None
    """The file of its private key (PEM)."""

    insecure: bool = False
    """Whether etcd may be reached by http elsewhere than on loopback, where anybody on the way can read and
    write. Whoever can write to the store can have orders signed."""

    prefix: Annotated[str, Field(min_length=1, max_length=200)] = "/sipgrace/"
    """With etcd: what the names of all keys begin with."""

    orderDays: Annotated[int, Field(ge=0, le=36500)] = 90
    """Orders, rolling maintenances and schedules are removed so many days after their end; 0 keeps them for
    ever. Of several controllers with one store, this and the next are best set alike: the shortest holds."""

    auditDays: Annotated[int, Field(ge=0, le=36500)] = 400
    """Records of the audit log are removed after so many days, which is written into it first; 0 keeps them
    for ever."""

    @model_validator(mode="after")
    def _decided(self) -> Self:
        away = ("urls", "ca", "certificate", "key", "insecure")
        needed, others = ("path", away) if self.kind == "sqlite" else ("urls", ("path",))
        found: list[Mistake] = []
        if not getattr(self, needed):
            found.append(((needed,), f"expected this key, which {self.kind} needs, found none"))
        for other in others:
            if getattr(self, other):
                found.append(((other,), f"expected none with {self.kind}, found one"))
        mistakes(found or self._untrusted())
        return self

    def _untrusted(self) -> Iterator[Mistake]:
        """
        Finds what is wrong with how etcd is known, and with how it knows us. The files are read.
        """
        plain = [url for url in self.urls if url.startswith("http:")]
        for at, url in enumerate(self.urls):
            if url in plain and not self.insecure and not isLoopback(urlsplit(url).hostname or ""):
                text = "expected https, or http to a loopback address (or insecure = true)"
                yield (("urls", at), f"{text}, found {url!r}")
        if len(plain) == len(self.urls):
            for name in ("ca", "certificate", "key"):
                if getattr(self, name) is not None:
                    yield ((name,), "expected none without https, found one")
        elif (self.certificate is None) != (self.key is None):
            name, other = ("key", "certificate") if self.key is None else ("certificate", "key")
            yield ((name,), f"expected this key beside {other}, found none")
        else:
            try:
                HTTPSTrust(self.ca, self.certificate, self.key).creatorForNetloc(b"localhost", 0)
            except ConfigError as error:
                name, _, text = str(error).partition(": ")
                key = {"caCerts": "ca", "certKey": "certificate", "privateKey": "key"}.get(name, name)
                yield ((key,), f"expected what TLS needs: {text}")


class GroupSection(Section):
    """
    The budget of a group of servers: an order that would take one out of service beyond it is refused, or
    queued where the order says so. Servers say in their own files which group is theirs.
    """

    name: Name
    """The group's name; default is that of servers which name none."""

    away: Annotated[int, Field(ge=0, le=100000)] | None = None
    """At most so many of its servers may be draining or away at once."""

    inService: Annotated[int, Field(ge=0, le=100000)] | None = None
    """At least so many must be in service."""

    capacity: Annotated[float, Field(ge=0, le=1e9)] | None = None
    """At least so much capacity must be in service: the sum of the servers' labels capacity, of which each
    counts 1 where it is not given."""

    @model_validator(mode="after")
    def _decided(self) -> Self:
        if self.away is None and self.inService is None and self.capacity is None:
            mistakes([((), "expected one of away, in_service and capacity, found none")])
        return self


class TokenSection(Section):
    """
    Who may use the HTTP API, and the web page.
    """

    name: Name
    """Who it is: the audit log and the nodes have this name."""

    role: Literal["viewer", "operator", "admin"]
    """What they may: look, and rehearse; all that loses no call; all."""

    sha256: Digest
    """The SHA-256 of the token, in hexadecimal digits. sipgrace keys token makes both."""


class HTTPSection(Section):
    """
    The HTTP API and the web page.
    """

    listen: Listen = "tcp:7180:interface=127.0.0.1"
    """Where it listens: a tls string, or a tcp string on loopback (in front of which something else may speak
    TLS)."""

    insecure: bool = False
    """Whether a tcp string may listen elsewhere than on loopback, so that anybody on the way can read
    tokens."""

    @model_validator(mode="after")
    def _private(self) -> Self:
        given = parseDescription(self.listen)
        if given.transport not in (b"TCP", b"TLS"):
            mistakes([(("listen",), f"expected a tls or tcp string, found {self.listen!r}")])
        loopback = isLoopback(given.arguments.get("interface", ""))
        if given.transport == b"TCP" and not loopback and not self.insecure:
            mistakes(
                [
                    (
                        ("listen",),
                        "expected a tls string, or a loopback interface (or insecure = true), found "
                        f"{self.listen!r}",
                    )
                ]
            )
        return self


class MaintenanceSection(Section):
    """
    When servers are maintained, time and again: drained, their command run ([drain] then, in their files),
    brought back and seen to be well, one after another. What is due while the controller is not there is made
    up for within five minutes, and then left out.
    """

    name: Name
    """What it is called; part of its id."""

    cron: Cron
    """When it begins: minute, hour, day of the month, month, day of the week, as cron has them."""

    timezone: Annotated[str, AfterValidator(_zone)] = "UTC"
    """The time zone of cron, such as "Europe/Berlin"."""

    servers: Annotated[tuple[Name, ...], Many] = ()
    """Which servers, in that order."""

    select: Labels | None = None
    """Or those that have all of these labels; { } for all that are linked."""

    atOnce: Annotated[int, Field(ge=1, le=100000)] = 1
    """How many at once."""

    settle: Annotated[Seconds, Field(ge=0, le=86400)] = 10.0
    """How long a server must be seen to be well before the next one's turn."""

    timeout: Annotated[Seconds, Field(ge=1, le=86400)] = 600.0
    """How long one server may take; longer is trouble, at which it stops."""

    then: Literal["run", "stay", "exit"] = "run"
    """Whether the command is run, servers are only drained and brought back, or their processes end, to be
    begun again by what supervises them."""

    why: Phrase | None = None
    """The reason that clients are told; by default the name."""

    guard: Annotated[Seconds, Field(ge=0.5, le=86400)] | None = None
    """The guard of each drain; by default as each server has it."""

    over: Annotated[Seconds, Field(ge=0, le=86400)] | None = None
    """For so long before each full stop a rising share of new calls is refused; by default as each server has
    it."""

    @model_validator(mode="after")
    def _decided(self) -> Self:
        if bool(self.servers) == (self.select is not None):
            found = "both" if self.servers else "none"
            mistakes([((), f"expected exactly one of servers and select, found {found}")])
        return self

    @property
    def values(self) -> dict[str, Any]:
        """
        The same as a rolling maintenance is asked for.
        """
        found: dict[str, Any] = {"why": self.why or self.name}
        if self.select is None:
            found["servers"] = list(self.servers)
        else:
            found["select"] = dict(self.select)
        for key in ("atOnce", "settle", "timeout", "then", "guard", "over"):
            value = getattr(self, key)
            if value is not None:
                found[key] = value
        return found


class AlertsSection(Section):
    """
    Who is told of servers that are overdue: the log and the metrics always are.
    """

    webhook: URL | None = None
    """An address that each alert is sent to, by POST, as a JSON object."""

    after: Annotated[Seconds, Field(ge=0, le=86400)] = 0.0
    """How long a server may be overdue before there is an alert."""


class ControllerConfig(Section):
    """
    A controller's whole file.
    """

    controller: ControllerSection
    """What this controller is called."""

    links: LinksSection
    """Where nodes and peers come with their links."""

    key: KeySection
    """The key by which it signs orders."""

    store: StoreSection
    """Where it keeps what must outlive it."""

    groups: Annotated[tuple[GroupSection, ...], Many] = ()
    """The budgets of groups, one table each."""

    peers: Annotated[tuple[PeerSection, ...], Many] = ()
    """Other controllers, one table each."""

    http: HTTPSection = HTTPSection()
    """The HTTP API and the web page."""

    tokens: Annotated[tuple[TokenSection, ...], Many] = ()
    """Who may use it, one table each."""

    alerts: AlertsSection = AlertsSection()
    """Who is told of overdue servers."""

    windows: Annotated[tuple[MaintenanceSection, ...], Many] = ()
    """When servers are maintained, one table each."""

    control: ControlSection | None = None
    """A socket for the sipgrace command line."""

    manhole: ManholeSection | None = None
    """An SSH login for operators."""

    @field_validator("groups", mode="after")
    @classmethod
    def _groups(cls, groups: tuple[GroupSection, ...]) -> tuple[GroupSection, ...]:
        mistakes(once([one.name for one in groups], "group"))
        return groups

    @field_validator("windows", mode="after")
    @classmethod
    def _windows(cls, windows: tuple[MaintenanceSection, ...]) -> tuple[MaintenanceSection, ...]:
        mistakes(once([one.name for one in windows], "window"))
        return windows

    @field_validator("tokens", mode="after")
    @classmethod
    def _tokens(cls, tokens: tuple[TokenSection, ...]) -> tuple[TokenSection, ...]:
        found = list(once([one.name for one in tokens], "token"))
        digests = [one.sha256 for one in tokens]
        for at, digest in enumerate(digests):
            if digest in digests[:at]:
                found.append(((at, "sha256"), "expected that of a token which nobody else has"))
        mistakes(found)
        return tokens

    @field_validator("links", mode="after")
    @classmethod
    def _links(cls, links: LinksSection, info: ValidationInfo) -> LinksSection:
        controller: ControllerSection | None = info.data.get("controller")
        if controller is not None and links.certificate is not None:
            names = namesOf(x509.load_pem_x509_certificate(links.certificate.read_bytes()))
            if controller.name not in names:
                found = ", ".join(names) or "no name"
                text = f"expected a certificate of {controller.name}, found {found} in it"
                mistakes([(("certificate",), text)])
        return links

    @field_validator("peers", mode="after")
    @classmethod
    def _peers(cls, peers: tuple[PeerSection, ...], info: ValidationInfo) -> tuple[PeerSection, ...]:
        found = list(once([one.name for one in peers], "peer"))
        controller: ControllerSection | None = info.data.get("controller")
        links: LinksSection | None = info.data.get("links")
        for at, one in enumerate(peers):
            if controller is not None and one.name == controller.name:
                found.append(((at, "name"), f"expected another controller, found this one, {one.name}"))
            if links is not None and links.insecure and not isLoopback(one.host):
                text = f"expected a loopback address with links.insecure, found {one.host!r}"
                found.append(((at, "host"), text))
        mistakes(found)
        return peers
