"""
From host names to IP addresses (A and AAAA), by way of the reactor's resolver.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NoReturn

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IAddress, IHostResolution, IReactorTime, IResolutionReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from sipgrace.errors import TransportError
from sipgrace.transport.address import isLiteral

__all__ = ["Names", "addressesOf"]


def addressesOf(reactor: Any, host: str) -> Deferred[list[str]]:
    """
    Asks the resolver, each time.

    @param reactor: provides C{nameResolver}.
    @param host: a name.

    @return: fires with at least one address, in the resolver's order; fails with C{DNSLookupError}.
    """
    receiver = _Receiver(host)
    reactor.nameResolver.resolveHostName(receiver, host)
    return receiver.answer


class Names:
    """
    Resolves, and remembers for a while: SIP names few hosts, many times.

    @ivar keep: seconds that an answer is good for. (The resolver of the operating system, which knows
        how long, does not say.)
    """

    def __init__(self, reactor: Any, keep: float = 60.0, timeout: float = 10.0, bound: int = 1000) -> None:
        """
        @param reactor: provides C{nameResolver} and time.
        @param timeout: seconds that one look-up may take.
        @param bound: how many names are remembered.
        """
        self.keep = keep
        self._reactor = reactor
        self._clock: IReactorTime = reactor
        self._timeout = timeout
        self._bound = bound
        self._known: dict[str, tuple[float, list[str]]] = {}

    def resolve(self, host: str) -> Deferred[list[str]]:
        """
        @param host: a name, or an address, which is its own answer.

        @return: fires with at least one address, in the resolver's order; fails with L{TransportError}.
        """
        if isLiteral(host):
            return succeed([host])
        known = self._known.get(host)
        if known is not None and self._clock.seconds() < known[0]:
            return succeed(known[1])
        asked = addressesOf(self._reactor, host).addErrback(_unknown, host)
        asked.addTimeout(self._timeout, self._clock, onTimeoutCancel=partial(_late, host))
        return asked.addCallback(self._remember, host)

    def _remember(self, addresses: list[str], host: str) -> list[str]:
        if len(self._known) >= self._bound:
            self._known.clear()
        self._known[host] = (self._clock.seconds() + self.keep, addresses)
        return addresses


def _unknown(reason: Failure, host: str) -> NoReturn:
    reason.trap(DNSLookupError)
    raise TransportError(f"the host name {host!r} has no address")


def _late(host: str, result: object, timeout: float) -> NoReturn:
    raise TransportError(f"the host name {host!r} was not resolved within {timeout} s")


@implementer(IResolutionReceiver)
class _Receiver:
    def __init__(self, host: str) -> None:
        self.host = host
        self.answer: Deferred[list[str]] = Deferred()
        self.addresses: list[str] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """
        See C{IResolutionReceiver}.
        """

    def addressResolved(self, address: IAddress) -> None:
        """
        See C{IResolutionReceiver}.
        """
        if isinstance(address, (IPv4Address, IPv6Address)) and address.host not in self.addresses:
            self.addresses.append(address.host)

    def resolutionComplete(self) -> None:
        """
        See C{IResolutionReceiver}.
        """
        if self.answer.called:
            return
        if self.addresses:
            self.answer.callback(self.addresses)
        else:
            self.answer.errback(DNSLookupError(f"no address of {self.host}"))
