"""
SCTP as Twisted endpoints, for any protocol: objects, and the strings of C{serverFromString} and
C{clientFromString}.

Server: C{sctp:PORT} and, each optional, C{interface=A,B} (addresses to bind; several, multihoming, on the
kernel alone), C{encaps=N} (our UDP port, userspace), C{stack=auto|userspace|kernel}.

Client: C{sctp:HOST:PORT} or C{sctp:host=HOST:port=PORT} and C{encaps=N} (the peer's UDP port),
C{bindAddress=A,B}, C{bindPort=N}, C{localEncaps=N} (our UDP port, userspace), C{primary=A} (the address of
the peer's to prefer, kernel), C{stack=...}, C{timeout=SECONDS}. C{HOST} may be several addresses with commas
(kernel).

Both: the fields of L{SCTPOptions} by their names. A colon of an IPv6 address is written C{\\:}.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, execute, fail
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from twisted.logger import Logger
from zope.interface import implementer

from sipgrace.errors import ConfigError
from sipgrace.transport.address import isLiteral
from sipgrace.transport.resolve import addressesOf
from sipgrace.transport.sctp.arguments import Arguments
from sipgrace.transport.sctp.stack import DEFAULT_OPTIONS, ISCTPStack, SCTPOptions, choose

__all__ = [
    "SCTPClientEndpoint",
    "SCTPServerEndpoint",
    "clientFromArguments",
    "serverFromArguments",
]

log = Logger()

_said: set[str] = set()


def _stackFor(stack: str, encapsulated: bool, own: str = "") -> ISCTPStack:
    """
    The stack, with one line in the log for each kind of choice.

    @param encapsulated: whether UDP ports were asked for. In the kernel they go along with a setting of the
        whole host: C{auto} then means userspace.
    @param own: the word that asks for a UDP port of our own, where one does.
    @raise ConfigError: when the stack asked for cannot run here.
    """
    if own and stack == "kernel":
        raise ConfigError(
            f"stack=kernel takes no {own}: there the own UDP port is a setting of the host, net.sctp.udp_port"
        )
    if encapsulated and stack == "auto":
        found, _ = choose("userspace")
        why = "a UDP port of the encapsulation was asked for"
    else:
        found, why = choose(stack)
    line = f"SCTP stack: {found.name}, because {why}"
    if line not in _said:
        _said.add(line)
        log.info("{line}", line=line)
    return found


@implementer(IStreamServerEndpoint)
class SCTPServerEndpoint:
    """
    Accepts SCTP associations; the parameters are those of L{ISCTPStack.listen}.
    """

    def __init__(
        self,
        reactor: Any,
        port: int,
        hosts: Sequence[str] = ("0.0.0.0",),
        encaps: int | None = None,
        stack: str = "auto",
        options: SCTPOptions = DEFAULT_OPTIONS,
    ) -> None:
        self.reactor = reactor
        self.port = port
        self.hosts = tuple(hosts)
        self.encaps = encaps
        self.stack = stack
        self.options = options

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        return execute(self._listen, protocolFactory)

    def _listen(self, factory: IProtocolFactory) -> IListeningPort:
        stack = _stackFor(self.stack, self.encaps is not None, "" if self.encaps is None else "encaps")
        return stack.listen(self.reactor, self.port, self.hosts, factory, self.options, self.encaps)


@implementer(IStreamClientEndpoint)
class SCTPClientEndpoint:
    """
    Opens SCTP associations; the parameters are those of L{ISCTPStack.connect}.

    @ivar hosts: IP addresses, or one name, whose first address is taken.
    """

    def __init__(
        self,
        reactor: Any,
        hosts: Sequence[str],
        port: int,
        encaps: int | None = None,
        bindHosts: Sequence[str] = (),
        bindPort: int = 0,
        localEncaps: int | None = None,
        stack: str = "auto",
        timeout: float = 5.0,
        options: SCTPOptions = DEFAULT_OPTIONS,
        primary: str = "",
    ) -> None:
        self.reactor = reactor
        self.hosts = tuple(hosts)
        self.port = port
        self.encaps = encaps
        self.primary = primary
        self.bindHosts = tuple(bindHosts)
        self.bindPort = bindPort
        self.localEncaps = localEncaps
        self.stack = stack
        self.timeout = timeout
        self.options = options

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        try:
            own = "" if self.localEncaps is None else "localEncaps"
            stack = _stackFor(self.stack, bool(own) or self.encaps is not None, own)
        except ConfigError:
            return fail()
        names = [host for host in self.hosts if not isLiteral(host)]
        if not names:
            return self._connect(stack, self.hosts, protocolFactory)
        found = addressesOf(self.reactor, names[0])
        return found.addCallback(lambda hosts: self._connect(stack, (hosts[0],), protocolFactory))

    def _connect(
        self, stack: ISCTPStack, hosts: Sequence[str], factory: IProtocolFactory
    ) -> Deferred[IProtocol]:
        return stack.connect(
            self.reactor,
            hosts,
            self.port,
            factory,
            self.options,
            self.timeout,
            self.bindHosts,
            self.bindPort,
            self.encaps,
            self.localEncaps,
            self.primary,
        )


def serverFromArguments(reactor: Any, /, *args: object, **kwargs: object) -> SCTPServerEndpoint:
    """
    The server endpoint of a string's parts.

    @raise ConfigError: names the part that is wrong, and what was expected.
    """
    given = Arguments("sctp server", ("port",), args, kwargs)
    port = given.number("port", 0, 65535)
    if port is None:
        raise ConfigError("sctp server: the port is missing, as in sctp:5060")
    endpoint = SCTPServerEndpoint(
        reactor,
        port,
        given.addresses("interface") or ("0.0.0.0",),
        given.number("encaps", 0, 65535),
        given.stack(),
        given.options(),
    )
    given.end()
    return endpoint


def clientFromArguments(reactor: Any, /, *args: object, **kwargs: object) -> SCTPClientEndpoint:
    """
    The client endpoint of a string's parts.

    @raise ConfigError: names the part that is wrong, and what was expected.
    """
    given = Arguments("sctp client", ("host", "port"), args, kwargs)
    host = given.text("host")
    port = given.number("port", 1, 65535)
    if not host or port is None:
        raise ConfigError("sctp client: host and port are needed, as in sctp:192.0.2.1:5060")
    endpoint = SCTPClientEndpoint(
        reactor,
        tuple(host.split(",")),
        port,
        given.number("encaps", 1, 65535),
        given.addresses("bindAddress"),
        given.number("bindPort", 0, 65535, 0) or 0,
        given.number("localEncaps", 0, 65535),
        given.stack(),
        given.seconds("timeout", 5.0),
        given.options(),
        given.address("primary"),
    )
    given.end()
    return endpoint
