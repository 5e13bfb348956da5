"""
Another SCTP service in the same process, on the same stack and the same UDP port as a server: what becomes of
the server is nothing to it.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from sipgrace.config.load import loadServer
from sipgrace.lifecycle.events import State
from sipgrace.lifecycle.orders import Kind
from sipgrace.server.service import ServerService
from tests.scenarios.network import ENCAPS, Network
from tests.scenarios.phones import Phone, answerAfter, keepRinging
from tests.scenarios.waiting import LIMIT, Waiting, reactor

#: SCTP's port of the other service (RFC 862).
ECHO = 7


class Echo(Protocol):
    """
    The other service.
    """

    def dataReceived(self, data: bytes) -> None:
        """
        See C{IProtocol}.
        """
        assert self.transport is not None
        self.transport.write(data)


class Peer(Protocol, Waiting):
    """
    Whoever uses it, without a pause: each answer is followed by the next question.

    @ivar answers: how many there were.
    @ivar slowest: seconds that the slowest took.
    @ivar reasons: why the association was lost, at most one.
    """

    def __init__(self) -> None:
        Waiting.__init__(self)
        self.answers = 0
        self.slowest = 0.0
        self.reasons: list[Any] = []
        self._askedAt = 0.0

    def connectionMade(self) -> None:
        """
        See C{IProtocol}.
        """
        self._ask()

    def _ask(self) -> None:
        assert self.transport is not None
        self._askedAt = reactor.seconds()
        self.transport.write(b"question %d" % self.answers)

    def dataReceived(self, data: bytes) -> None:
        """
        See C{IProtocol}.
        """
        assert data == b"question %d" % self.answers, data
        self.answers += 1
        self.slowest = max(self.slowest, reactor.seconds() - self._askedAt)
        self.look()
        reactor.callLater(0.01, self._askNext)

    def _askNext(self) -> None:
        if not self.reasons:
            self._ask()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        See C{IProtocol}.
        """
        self.reasons.append(reason.type)
        self.look()

    async def goesOn(self) -> None:
        """
        Waits until it has had some more answers.
        """
        enough = self.answers + 5
        await self.until(lambda: self.answers >= enough, "more answers", LIMIT)


class NeighbourTests(TestCase):
    """
    The server runs in the test process; its clients do not.
    """

    timeout = 90

    async def setUp(self) -> None:
        self.network = network = Network(self, guard=2)
        self.caller = await Phone(self, "caller").listen(network.host)
        self.callee = await Phone(self, "callee", keepRinging).listen(network.host)
        self.server = ServerService(reactor, loadServer(network.serverFile(1)))
        await self.server.startService()
        self.addCleanup(self.server.stopService)
        for number, phone in ((1, self.caller), (2, self.callee)):
            network.startClient(number, f"sip:{network.host}:{phone.port}", servers=(1,))
        host = network.serverHost(1)
        echo = serverFromString(reactor, f"sctp:{ECHO}:interface={host}:encaps={ENCAPS}:stack=userspace")
        port = await echo.listen(Factory.forProtocol(Echo))
        self.addCleanup(port.stopListening)
        away = f"sctp:host={host}:port={ECHO}:encaps={ENCAPS}:bindAddress={network.host}:stack=userspace"
        self.peer: Any = await clientFromString(reactor, away).connect(Factory.forProtocol(Peer))
        self.addCleanup(self.endPeer)
        await network.ready()
        for client in network.clients.values():
            await client.said("server-1 is active")

    async def endPeer(self) -> None:
        """
        The other service ends in order, and not before.
        """
        self.assertEqual(self.peer.reasons, [])
        self.peer.transport.loseConnection()
        await self.peer.until(lambda: self.peer.reasons, "the end of the other association")
        self.assertEqual(self.peer.reasons, [ConnectionDone])

    async def whileCalling(self, leave: Deferred[Any]) -> None:
        """
        The server goes, and comes back.
        """
        await self.peer.goesOn()
        self.assertIs(await leave, State.OFFLINE)
        self.assertEqual(self.server.element.status()["associations"], 0)
        await self.peer.goesOn()
        await self.server.lifecycle.resume(self.server.element.order(Kind.RESUME, "test"))
        for client in self.network.clients.values():
            await client.said("server-1 is active", 2)
        self.callee.ringing = answerAfter(0)
        self.assertEqual((await self.caller.call("2001", self.network.users(1)).done()).status, 200)
        await self.peer.goesOn()
        self.assertLess(self.peer.slowest, 3)
        self.network.check()

    async def test_drain(self) -> None:
        """
        Before, during and after a drain that has to be forced, and after the server's return, the other
        service answers on its one association.
        """
        call = self.caller.call("2001", self.network.users(1))
        await call.has(180)
        await self.peer.goesOn()
        await self.whileCalling(self.server.leave())
        self.assertGreaterEqual((await call.done()).status, 500)

    async def test_atOnce(self) -> None:
        """
        Nor does it feel anything of a server that aborts all that it has.
        """
        call = self.caller.call("2001", self.network.users(1))
        await call.has(180)
        offline = self.server.lifecycle.whenOffline()
        self.server.leaveNow()
        await self.whileCalling(offline)
        self.assertGreaterEqual((await call.done()).status, 500)
