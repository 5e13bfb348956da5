"""
The configuration of a client.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from sipgrace.config.descriptions import checkConnect
from sipgrace.config.links import Labels
from sipgrace.config.registrar import RegistrarSection
from sipgrace.config.roles import RoleSections
from sipgrace.config.sections import Many, Section, checkListeners
from sipgrace.config.values import (
    Advertise,
    Argument,
    ConnectOrDomain,
    FilePath,
    Listen,
    Name,
    Prefix,
    Resolving,
    Seconds,
    SipURI,
    SipURIOrService,
    atLeast,
    mistakes,
    once,
)
from sipgrace.errors import ConfigError
from sipgrace.message.uri import SIPURI, parseURI

__all__ = [
    "DNS",
    "TDM",
    "ClientConfig",
    "ClientSection",
    "ClientServer",
    "ClientUser",
    "Probe",
    "Reconnect",
]


# By name: pydoctor takes a string within an annotation for one more annotation.
_RETURN = "return"


class ClientSection(Section):
    """
    What this client is called, where it meets its users, and how it picks servers.
    """

    name: Name
    """The client's name, as operators and logs know it."""

    listen: Annotated[tuple[Listen, ...], Many, Field(min_length=1)]
    """The interface: where it listens for its users."""

    listenNetwork: Annotated[tuple[Listen, ...], Many] = ()
    """Where it listens for servers that open associations by themselves, and for requests within calls from
    other clients."""

    advertise: Advertise | None = None
    """What to put into Via and Record-Route in place of the address that is bound: host or host:port, leading
    here. Needed when listening on every interface."""

    stack: Literal["auto", "userspace", "kernel"] = "auto"
    """The SCTP stack: the kernel's, the one in userspace (libusrsctp), or the kernel's where it has one."""

    strategy: Name = "round-robin"
    """How new calls are spread. round-robin: each to the next server in turn; primary-secondary: all to the
    first that is there; priority: all to the one that is there with the lowest cost, in turn among equals;
    weighted: at random, by their weights; least-loaded: each to the one with the fewest calls of this client
    that are being set up; latency: each to the one that answers tests soonest, in turn among those that are
    near it (tested every 10 seconds, or as probe.every says); srv: by cost and then by weight, as DNS means
    its priorities and weights. Or any other that is installed as a Twisted plugin
    (sipgrace.client.strategies.IStrategy)."""

    returns: Annotated[Literal["countdown", "early"], Field(alias=_RETURN)] = "countdown"
    """When a server that asked to be left alone may get calls again: not before its countdown is over, unless
    it says itself that it is back; or as soon as a test is good, for which it is tested meanwhile."""

    responsePeriod: Annotated[Seconds, Field(ge=0.05, le=32)] = 2.0
    """How long a server may take for its first answer to an INVITE before the next server is tried."""

    skips: FilePath | None = None
    """The file that keeps which servers are skipped (sipgrace skip), so that this client still knows when it
    is started again. Without, it does not."""

    overloadControl: bool = True
    """Whether to offer servers to send them a smaller share of the new calls when they ask for it (RFC
    7339)."""

    labels: Labels = {}
    """By what controllers may select this client, as in { site = "north", rack = "12" }."""

    group: Name | None = None
    """The group of the controllers' budget in which this client counts; default where none is named."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        mistakes(
            [
                *checkListeners("listen", self.listen, self.stack, self.advertise),
                *checkListeners("listen_network", self.listenNetwork, self.stack, self.advertise),
            ]
        )
        return self


class ClientServer(Section):
    """
    One server that this client asks to set up calls. Their order is the order of the active list.
    """

    name: Name
    """The server's name."""

    address: ConnectOrDomain
    """Where to connect to open the association. Or the domain of several servers, as in sip:example.org: DNS
    says which they are, and over which transport (NAPTR, SRV; RFC 3263), and is asked again when its answer
    has become old. Each of them is called after this one: name/host:port."""

    options: str = ""
    """Further words of where to connect, for servers that are found by DNS: bindAddress=192.0.2.1, say."""

    cost: Annotated[int, Field(ge=0, le=1000000)] = 0
    """How far the server is; the priority and srv strategies take the lowest. To servers that are found by
    DNS the priority that it gives them is added."""

    weight: Annotated[int, Field(ge=0, le=1000000)] = 1
    """Its share of the calls with the weighted and srv strategies; 0 for none while another is there. Servers
    that are found by DNS have the weight that it gives them."""

    subscribe: bool = True
    """Whether to ask this server to tell at once when it leaves and when it is back (SUBSCRIBE). One that
    does not know what is asked keeps its calls all the same."""

    @property
    def domain(self) -> SIPURI | None:
        """
        What DNS is asked for; C{None} where the address itself says where to connect.
        """
        if self.address.partition(":")[0].lower() not in ("sip", "sips"):
            return None
        uri = parseURI(self.address.encode("ascii"))
        assert isinstance(uri, SIPURI)
        return uri

    @model_validator(mode="after")
    def _possible(self) -> Self:
        domain = self.domain
        if not self.options:
            return self
        if domain is None:
            mistakes([(("options",), "expected them within address, which is not looked up")])
            return self
        named = (domain.param(b"transport") or b"").decode("ascii").lower()
        wrong = []
        for transport in ("tls",) if domain.scheme == b"sips" else (named,) if named else ("sctp", "tcp"):
            try:
                checkConnect(f"{transport}:host=192.0.2.1:port=5060:{self.options}")
                return self
            except ConfigError as error:
                wrong.append(str(error))
        mistakes([(("options",), wrong[0])])
        return self


class ClientUser(Section):
    """
    Where the requests for some users go. Exactly one of uri, aor and prefix says for which; the most specific
    is taken, and of prefixes the longest.
    """

    uri: SipURIOrService | None = None
    """The whole Request-URI, compared by the rules of RFC 3261 section 19.1.4. Or the name of a service, such
    as "urn:service:sos", which is for its sub-services too (RFC 5031)."""

    aor: SipURI | None = None
    """An address of record: user and host of the Request-URI, its parameters aside."""

    prefix: Prefix | None = None
    """The first characters of the Request-URI's user part."""

    contact: SipURI
    """Where the user is: a SIP URI with an address, and the transport where it is not UDP. With a prefix, the
    user part of the request is kept when this URI has none."""

    @model_validator(mode="after")
    def _decided(self) -> Self:
        given = [key for key in ("uri", "aor", "prefix") if getattr(self, key) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            mistakes([((), f"expected exactly one of uri, aor and prefix, found {found}")])
        return self


class TDM(Section):
    """
    The way out when no server answers: exactly one of gateway and command.
    """

    gateway: SipURI | None = None
    """The SIP address of a gateway to the telephone network."""

    command: Annotated[tuple[Argument, ...], Many] = ()
    """A program, by its absolute path, and its arguments; it is run for each call, without a shell. It finds
    the call in its environment (SIPGRACE_URI, SIPGRACE_FROM, SIPGRACE_TO, SIPGRACE_CALL_ID,
    SIPGRACE_RESOURCE_PRIORITY, SIPGRACE_TRIED) and writes the SIP URI to which it is to go; the user part of
    this one, if any, replaces what was dialled. An exit status other than 0 refuses the call."""

    limit: Annotated[Seconds, Field(ge=0.05, le=32)] = 2.0
    """How long the command may take."""

    most: Annotated[int, Field(ge=1, le=1000)] = 20
    """How many of it may run at a time; for calls beyond that there is no way out."""

    @model_validator(mode="after")
    def _decided(self) -> Self:
        if (self.gateway is None) == (not self.command):
            found = "both" if self.command else "none"
            mistakes([((), f"expected exactly one of gateway and command, found {found}")])
        if self.command and not self.command[0].startswith("/"):
            mistakes([(("command",), f"expected an absolute path first, found {self.command[0]!r}")])
        return self


class Probe(Section):
    """
    How servers are tested: OPTIONS, which one in service answers with 200. One that was away gets calls again
    when it has done so. After each test that fails the wait is twice as long; of each wait between half and
    all is waited, at random, so that clients do not test all at once.
    """

    timeout: Annotated[Seconds, Field(ge=0.05, le=32)] = 2.0
    """How long a server may take to answer."""

    interval: Annotated[Seconds, Field(ge=0.05, le=3600)] = 2.0
    """The wait after the first test that fails."""

    longest: Annotated[Seconds, Field(ge=0.05, le=86400)] = 60.0
    """The longest wait."""

    down: Annotated[int, Field(ge=1, le=100)] = 1
    """So many calls in a row without any answer, or so many tests in a row that fail, take a server off the
    active list."""

    up: Annotated[int, Field(ge=1, le=100)] = 1
    """So many good tests in a row put it back."""

    grace: Annotated[Seconds, Field(ge=0, le=86400)] = 5.0
    """A server that has passed no test so long after its announced return is overdue, of which those who
    watch are told."""

    every: Annotated[Seconds, Field(ge=0, le=86400)] | None = None
    """The time between tests of a server that is on the active list; 0 for none, since its calls show how it
    is. By default 10 where strategy is "latency", which goes by these tests, and else 0. One that is skipped
    is tested in any case."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        mistakes(atLeast("longest", self.longest, "interval", self.interval))
        return self


class Reconnect(Section):
    """
    How an association that could not be opened, or was lost, is opened again. The waits double as those of
    [probe] do.
    """

    interval: Annotated[Seconds, Field(ge=0.05, le=3600)] = 1.0
    """The wait after the first failure."""

    longest: Annotated[Seconds, Field(ge=0.05, le=86400)] = 30.0
    """The longest wait."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        mistakes(atLeast("longest", self.longest, "interval", self.interval))
        return self


class DNS(Section):
    """
    How servers are looked up whose address is a domain.
    """

    servers: Annotated[tuple[Resolving, ...], Many] = ()
    """The DNS servers to ask, the first that answers: an address, or address:port. Those of /etc/resolv.conf
    when none is named."""

    shortest: Annotated[Seconds, Field(ge=0.05, le=3600)] = 1.0
    """The least time between two look-ups, however short the TTLs are."""

    longest: Annotated[Seconds, Field(ge=1, le=86400)] = 3600.0
    """The most time between two look-ups, however long the TTLs are."""


class _Own(Section):
    """
    The sections that only a client has.
    """

    client: ClientSection
    """What this client is called, where it meets its users, and how it picks servers."""

    servers: Annotated[tuple[ClientServer, ...], Many, Field(min_length=1)]
    """The servers, one table each."""

    users: Annotated[tuple[ClientUser, ...], Many] = ()
    """Where users are, one table each."""

    registrar: RegistrarSection | None = None
    """Lets users register at the interface."""

    tdm: TDM | None = None
    """The way out when no server answers; a final failure without it."""

    probe: Probe = Probe()
    """How servers are tested before they get calls again."""

    reconnect: Reconnect = Reconnect()
    """How associations are opened again."""

    dns: DNS = DNS()
    """How servers are looked up."""

    @field_validator("servers", mode="after")
    @classmethod
    def _once(cls, servers: tuple[ClientServer, ...]) -> tuple[ClientServer, ...]:
        mistakes(once([server.name for server in servers], "server"))
        return servers


class ClientConfig(RoleSections, _Own):
    """
    A client's whole file.
    """
