"""
The two ways into the transport: to listen, and to connect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.endpoints import (
    SSL4ServerEndpoint,
    TCP4ClientEndpoint,
    clientFromString,
    serverFromString,
    wrapClientTLS,
)
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocolFactory,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from sipgrace.errors import ConfigError, SIPGraceError, TransportError
from sipgrace.interfaces import IAssociation, IAssociationUser, IListener
from sipgrace.transport import handed
from sipgrace.transport.address import isWildcard, plainHost, splitHostPort, viaOf
from sipgrace.transport.arguments import connectArguments, listenArguments
from sipgrace.transport.bounds import Bounds
from sipgrace.transport.description import Description, parseDescription
from sipgrace.transport.handed import HandedEndpoint
from sipgrace.transport.intake import Counters, Intake
from sipgrace.transport.sctp.endpoints import clientFromArguments, serverFromArguments
from sipgrace.transport.sip import SIPProtocol
from sipgrace.transport.tlsoptions import clientOptions, serverOptions
from sipgrace.transport.udp import UDPListener

__all__ = ["StreamListener", "connect", "listen", "streamEndpoint"]


def listen(
    reactor: Any,
    description: str,
    user: IAssociationUser,
    zone: str,
    advertise: str | None = None,
    bounds: Bounds | None = None,
    counters: Counters | None = None,
) -> Deferred[IListener]:
    """
    Listens at one address::

        udp:5060:interface=192.0.2.1
        tcp:5060:interface=192.0.2.1
        tls:5061:interface=192.0.2.1:privateKey=key.pem:certKey=cert.pem:caCerts=ca.pem
        sctp:5060:interface=192.0.2.1:encaps=9899:stack=userspace

    Port 0 takes a free one. An IPv6 address has its colons quoted with backslashes. TCP and SCTP take
    whatever C{serverFromString} does.

    @param zone: see L{IAssociation}.
    @param advertise: C{host} or C{host:port} for the Via, where it is not the bound address; needed on
        a wildcard address, where nobody could be told C{0.0.0.0}. Without a port, the bound one.
    @param counters: those of other listeners, to add up with theirs.

    @return: fires with the L{IListener}; fails with L{ConfigError} where the description is wrong,
        with L{TransportError} where the address cannot be had.
    """
    try:
        parsed = parseDescription(description)
        advertised = splitHostPort(advertise, 0) if advertise is not None else None
        intake = Intake(user, reactor, bounds or Bounds(), counters)
        if parsed.transport == b"UDP":
            return succeed(_listenUDP(reactor, parsed, intake, zone, advertised))
        endpoint = _serverEndpoint(reactor, parsed, advertised is not None, intake.bounds)
    except SIPGraceError:
        return fail()
    listener = StreamListener(intake, parsed.transport, zone, advertised)
    listening = maybeDeferred(endpoint.listen, cast(IProtocolFactory, _Accepting(listener)))
    listening.addCallbacks(listener.listening, _explain(f"cannot listen at {description}"))
    return cast("Deferred[IListener]", listening)


def connect(
    reactor: Any,
    description: str,
    user: IAssociationUser,
    zone: str,
    via: bytes | None = None,
    bounds: Bounds | None = None,
    counters: Counters | None = None,
) -> Deferred[IAssociation]:
    """
    Opens one association::

        tcp:host=192.0.2.7:port=5060:bindAddress=192.0.2.1:timeout=5
        tls:host=192.0.2.7:port=5061:name=sip.example.com:caCerts=ca.pem:privateKey=key.pem
        sctp:host=192.0.2.7:port=5060:encaps=9899:localEncaps=9899

    Over TLS it is made when the handshake is done; C{name} is what the certificate must bear, where
    that is not C{host}. UDP has nothing to open: see L{UDPListener.associationTo}.

    @param via: see L{IAssociation}; that of a listener of the same transport, which new connections of
        the peer then reach. Without it, the local address.

    @return: fires with the L{IAssociation} after C{user.associationMade}; fails with L{ConfigError} or
        L{TransportError}. Cancelling it gives the attempt up.
    """
    try:
        parsed = parseDescription(description)
        intake = Intake(user, reactor, bounds or Bounds(), counters)
        endpoint = _clientEndpoint(reactor, parsed, intake.bounds)
    except SIPGraceError:
        return fail()
    protocol = SIPProtocol(intake, parsed.transport, zone, True, via or b"")
    made: Deferred[SIPProtocol] = Deferred(lambda _: protocol.abort())
    protocol.whenUp.addCallbacks(_firing(made.callback, made), _firing(made.errback, made))
    explain = _explain(f"cannot connect to {description}")

    def failed(reason: Failure) -> Failure:
        made.addErrback(lambda _: None)
        return explain(reason)

    attempt = maybeDeferred(endpoint.connect, cast(IProtocolFactory, _Opening(protocol)))
    attempt.addCallback(lambda _: made).addCallback(_stillUp).addErrback(failed)
    return cast("Deferred[IAssociation]", attempt)


def _stillUp(protocol: SIPProtocol) -> SIPProtocol:
    if not protocol.up:
        raise TransportError("it ended as soon as it was made")
    return protocol


def _firing(fire: Callable[[Any], None], made: Deferred[SIPProtocol]) -> Callable[[Any], None]:
    def unlessCancelled(result: Any) -> None:
        if not made.called:
            fire(result)

    return unlessCancelled


@implementer(IListener)
class StreamListener:
    """
    A place where associations over TCP, TLS or SCTP are accepted.

    @ivar accepted: those that are there.
    @ivar counters: what happened, see L{Counters}.
    """

    host = ""
    hosts: tuple[str, ...] = ()
    port = 0
    via = b""

    def __init__(
        self, intake: Intake, transport: bytes, zone: str, advertised: tuple[str, int] | None
    ) -> None:
        self.intake = intake
        self.counters = intake.counters
        self.transport = transport
        self.zone = zone
        self.accepted: set[SIPProtocol] = set()
        self._advertised = advertised
        self._port: IListeningPort | None = None

    def listening(self, port: IListeningPort) -> StreamListener:
        """
        The endpoint listens now.
        """
        self._port = port
        address: Any = port.getHost()
        self.host, self.port = address.host, address.port
        # Those of SCTP have all of them.
        self.hosts = tuple(getattr(address, "hosts", ())) or (self.host,)
        host, number = self._advertised or (plainHost(self.host), 0)
        self.via = viaOf(self.transport, host, number or self.port)
        return self

    def accept(self) -> SIPProtocol | Protocol:
        """
        @return: what serves one more association.
        """
        if len(self.accepted) >= self.intake.bounds.accepted:
            return _TurnedAway(self.intake)
        protocol = SIPProtocol(self.intake, self.transport, self.zone, False, self.via, self.accepted.discard)
        self.accepted.add(protocol)
        protocol.whenUp.addErrback(self._neverUp, protocol)
        return protocol

    def _neverUp(self, reason: Failure, protocol: SIPProtocol) -> None:
        self.intake.warn(
            protocol.peerHost,
            "no {transport} association with {peer}: {reason}",
            transport=self.transport.decode("ascii"),
            reason=reason.getErrorMessage(),
        )

    def stopListening(self) -> Deferred[None]:
        """
        See L{IListener.stopListening}.
        """
        port, self._port = self._port, None
        if port is None:
            return succeed(None)
        return maybeDeferred(port.stopListening).addCallback(lambda _: None)


class _Accepting(Factory):
    noisy = False

    def __init__(self, listener: StreamListener) -> None:
        self.listener = listener

    def buildProtocol(self, addr: IAddress | None) -> Any:
        return self.listener.accept()


class _Opening(Factory):
    noisy = False

    def __init__(self, protocol: SIPProtocol) -> None:
        self.opening = protocol

    def buildProtocol(self, addr: IAddress | None) -> Any:
        return self.opening


class _TurnedAway(Protocol):
    """
    One association too many. (A C{buildProtocol} that returns C{None} breaks behind TLS.)
    """

    def __init__(self, intake: Intake) -> None:
        self.intake = intake

    def connectionMade(self) -> None:
        self.intake.counters.turnedAway += 1
        wire: Any = self.transport
        self.intake.warn(plainHost(wire.getPeer().host), "turned {peer} away: too many associations")
        wire.abortConnection()


def _listenUDP(
    reactor: Any, parsed: Description, intake: Intake, zone: str, advertised: tuple[str, int] | None
) -> UDPListener:
    values = listenArguments(parsed)
    port = int(values["port"])
    host = _interface(parsed, values, advertised is not None)
    try:
        return UDPListener(reactor, intake, zone, host or "0.0.0.0", port, advertised)
    except OSError as error:
        raise TransportError(f"cannot listen at {parsed.text}: {error.strerror or error}") from error


def _interface(parsed: Description, values: Mapping[str, str], advertised: bool) -> str:
    host = values.get("interface", "")
    if isWildcard(host.split(",")[0]) and not advertised:
        raise ConfigError(
            f"{parsed.text!r} listens on all interfaces, and no peer can be told to answer there: name one"
            " address with interface=, or give the address that peers use with advertise"
        )
    return host


def _serverEndpoint(
    reactor: Any, parsed: Description, advertised: bool, bounds: Bounds
) -> IStreamServerEndpoint:
    host = _interface(parsed, parsed.arguments, advertised)
    if parsed.transport == b"SCTP":
        # Not by way of the plugins: a running element must not depend on files that an upgrade replaces.
        return serverFromArguments(reactor, *parsed.positional, **_forSCTP(parsed, bounds))
    return streamEndpoint(reactor, parsed, host)


def streamEndpoint(reactor: Any, parsed: Description, host: str) -> IStreamServerEndpoint:
    """
    Where a C{tcp:} or C{tls:} description listens, for whatever protocol.

    @param host: the address to be bound; empty for all.
    @raise ConfigError: when a certificate cannot be used.
    """
    values = listenArguments(parsed)
    given = handed.take(handed.STREAM, host, int(values["port"]))
    if given is not None:
        return HandedEndpoint(reactor, given, serverOptions(values) if parsed.transport == b"TLS" else None)
    if parsed.transport == b"TLS":
        port, backlog = int(values["port"]), int(values.get("backlog", 50))
        return SSL4ServerEndpoint(reactor, port, serverOptions(values), backlog, host)
    return cast(IStreamServerEndpoint, serverFromString(reactor, parsed.text))


def _clientEndpoint(reactor: Any, parsed: Description, bounds: Bounds) -> IStreamClientEndpoint:
    if parsed.transport == b"SCTP":
        return clientFromArguments(reactor, *parsed.positional, **_forSCTP(parsed, bounds))
    values = connectArguments(parsed)
    if parsed.transport == b"TLS":
        host = values["host"]
        port, timeout = int(values["port"]), int(values.get("timeout", 30))
        local = (values["bindAddress"], 0) if "bindAddress" in values else None
        tcp = TCP4ClientEndpoint(reactor, host, port, timeout, local)
        return wrapClientTLS(clientOptions(values, values.get("name", host)), tcp)
    return cast(IStreamClientEndpoint, clientFromString(reactor, parsed.text))


def _forSCTP(parsed: Description, bounds: Bounds) -> dict[str, str]:
    # What is somewhat too long is to reach the intake, which answers it.
    return {"maxMessage": str(min(2 * bounds.message.message, 1 << 24)), **parsed.arguments}


#: What OpenSSL and service-identity call what a person may have to put right.
_SAYINGS: Final = (
    ("VerificationError", "its certificate is not for this host (name= says for which it is to be)"),
    ("certificate verify failed", "its certificate is not by a CA that is trusted here (caCerts= names one)"),
)


def _explain(what: str) -> Callable[[Failure], Failure]:
    def explained(reason: Failure) -> Failure:
        if reason.check(SIPGraceError):
            return reason
        text = reason.getErrorMessage()
        text = next((plain for known, plain in _SAYINGS if known in text), text)
        error = TransportError(f"{what}: {text}")
        error.__cause__ = reason.value
        return Failure(error)

    return explained
