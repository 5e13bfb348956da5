"""
Associations over a bad network: datagrams between clients and servers are lost, delayed and put out of order.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import TestCase

from tests.scenarios.network import Network
from tests.scenarios.waiting import reactor

#: The UDP port at a server's address where the bad network begins.
FRONT = 9898


class BadNetwork(Network):
    """
    Servers 1, 2 ... and clients 1, 2 ... as in L{Network}, with a L{Relay} before each server.

    All addresses are those of their owners: only UDP ports differ, which RFC 6951 §5.1 does not go by.

    @ivar relays: by the number of the server.
    """

    def __init__(
        self,
        test: TestCase,
        loss: float = 0.05,
        delay: float = 0.02,
        jitter: float = 0.01,
        before: Collection[int] = range(1, 6),
        **keywords: Any,
    ) -> None:
        """
        @param loss: the share of datagrams that are lost, each way.
        @param delay: seconds that each datagram takes, each way.
        @param jitter: up to so many seconds more, by which datagrams overtake each other.
        @param before: the numbers of the servers that lie behind it.
        """
        super().__init__(test, **keywords)
        self._before = before
        self._weather = Weather(loss, delay, jitter)
        self.relays: dict[int, Relay] = {}

    def toServer(self, number: int, host: str, encaps: int = 0) -> str:
        """
        See L{Network}.
        """
        there = super().toServer(number, host, encaps)
        if number not in self._before:
            return there
        if number not in self.relays:
            relay = self.relays[number] = Relay(self.serverHost(number), encaps, self._weather)
            self.test.addCleanup(relay.close)
        return there.replace(f":encaps={encaps}:", f":encaps={FRONT}:")


class Weather:
    """
    What becomes of a datagram: one in so many is lost, and of ten each takes another time.

    @ivar lost: how many were lost; C{passed}, C{overtaken} likewise.
    """

    def __init__(self, loss: float, delay: float, jitter: float) -> None:
        """
        As for L{BadNetwork}.
        """
        self._every = round(1 / loss) if loss else 0
        self._count = 0
        self._delay = delay
        self._jitter = jitter
        self._latest: dict[Any, float] = {}
        self._underWay: list[Any] = []
        self.lost = self.passed = self.overtaken = 0

    def carry(self, send: Any, data: bytes, to: tuple[str, int]) -> None:
        """
        Does so later, or never.
        """
        self._count += 1
        if self._every and self._count % self._every == 0:
            self.lost += 1
            return
        self.passed += 1
        later = self._delay + self._count * 7 % 10 / 10 * self._jitter
        arrives = reactor.seconds() + later
        latest = self._latest.get(to, 0.0)
        if arrives < latest:
            self.overtaken += 1
        self._latest[to] = max(latest, arrives)
        self._underWay = [call for call in self._underWay if call.active()]
        self._underWay.append(reactor.callLater(later, send, data, to))

    def end(self) -> None:
        """
        Loses what is on its way.
        """
        for call in self._underWay:
            if call.active():
                call.cancel()


class Relay:
    """
    Lies before one server, with a socket of its own at each client's address, so that the server sees who it
    is.
    """

    def __init__(self, host: str, encaps: int, weather: Weather) -> None:
        self.weather = weather
        self._server = (host, encaps)
        self._front = DatagramProtocol()
        self._front.datagramReceived = self._out
        self._ports = [reactor.listenUDP(FRONT, self._front, interface=host, maxPacketSize=65536)]
        self._backs: dict[tuple[str, int], DatagramProtocol] = {}

    def _out(self, data: bytes, client: tuple[str, int]) -> None:
        back = self._backs.get(client)
        if back is None:
            back = self._backs[client] = DatagramProtocol()
            back.datagramReceived = lambda answer, server: self.weather.carry(
                self._front.transport.write, answer, client
            )
            self._ports.append(reactor.listenUDP(0, back, interface=client[0], maxPacketSize=65536))
        self.weather.carry(back.transport.write, data, self._server)

    async def close(self) -> None:
        """
        Ends it, with what is on its way.
        """
        self.weather.end()
        for port in self._ports:
            await port.stopListening()
