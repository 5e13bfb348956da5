"""
Servers that die, fall silent, send callers elsewhere or refuse them: what becomes of calls.
"""

from __future__ import annotations

from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.scenarios.network import PORT, Network, busy
from tests.scenarios.phones import Phone, answerAfter, keepRinging
from tests.scenarios.sipp import CALLS, caller, needsSIPp
from tests.scenarios.waiting import moment, poll, reactor

#: Has an association noticed as dead within about three seconds.
IMPATIENT = ":heartbeat=400:rtoInitial=400:rtoMin=400:rtoMax=800:maxRetransmissions=2"


class Case(TestCase):
    """
    Two clients, one user at each.
    """

    timeout = 120

    async def start(
        self,
        servers: tuple[int, ...] = (1, 2),
        sctp: str = "",
        server: dict[str, Any] | None = None,
        client: dict[str, Any] | None = None,
        configured: tuple[int, ...] = (),
    ) -> Network:
        """
        @param servers: those that run.
        @param sctp: as for L{Network}.
        @param server: for the file of the first server; the others have none of it.
        @param client: for the file of the caller's client.
        @param configured: the servers that clients know, where these are others than run.
        """
        network = Network(self, sctp=sctp)
        self.caller = await Phone(self, "caller").listen(network.host)
        self.callee = await Phone(self, "callee").listen(network.host)
        known = configured or servers
        for number in servers:
            network.startServer(number, **(server or {} if number == 1 else {}))
        for number, phone, more in ((1, self.caller, client or {}), (2, self.callee, {})):
            network.startClient(number, f"sip:{network.host}:{phone.port}", servers=known, **more)
        await network.ready()
        return network

    def rangOnce(self) -> None:
        """
        No call has rung twice.
        """
        self.assertEqual(self.callee.copies, [])
        calls = [ring.invite.callId for ring in self.callee.rings]
        self.assertEqual(len(calls), len(set(calls)))


class SilentTests(Case):
    """
    Servers that do not answer.
    """

    async def test_killedUnderLoad(self) -> None:
        """
        A server is killed while calls ring that it has set up: they are set up by the other one, and so are
        those that come before anybody knows that it is dead. None is lost.
        """
        needsSIPp()
        network = await self.start(sctp=IMPATIENT)
        self.callee.ringing = answerAfter(0.3)
        calling = caller(self, network, "udp", 7110, 1, "2001")
        await busy(await network.control("server", 1), CALLS // 8)
        network.servers[1].signal(SIGKILL)
        self.assertEqual(await network.servers[1].end(), -SIGKILL)
        status = await calling.end(100)
        outcome = calling.outcome()
        self.assertEqual((status, outcome.successful, outcome.failed), (0, CALLS, 0), calling.story())
        self.rangOnce()
        self.assertEqual(len(self.callee.rings), CALLS)
        client = await (await network.control("client", 1)).status()
        self.assertGreater(client["reroutes"], 0)
        network.check()

    async def test_stopped(self) -> None:
        """
        A server that is stopped: a call that comes to it goes to the other within the response period; once
        it goes on, its late answer is followed by CANCEL, and the callee never rings twice.
        """
        network = await self.start(client={"client": 'response_period = 1\nstrategy = "primary-secondary"'})
        self.assertEqual((await self.caller.call("2001", network.users(1)).done()).status, 200)
        network.servers[1].signal(SIGSTOP)
        call = self.caller.call("2001", network.users(1))
        self.assertEqual((await call.done()).status, 200)
        self.assertTrue(1 <= call.finalAt - call.sentAt < 3, call.finalAt - call.sentAt)
        await network.clients[1].said("server-1 is off the active list: unanswered")
        # With the silent server off the list nobody waits for it any more.
        self.assertEqual((await self.caller.call("2001", network.users(1)).done()).status, 200)
        client = await network.control("client", 1)
        self.assertEqual((await client.status())["reroutes"], 1)
        network.servers[1].signal(SIGCONT)
        await network.clients[1].said("server-1 is active", 2)
        status = await network.control("server", 1)
        await busy(status, 2)

        async def settled() -> bool:
            now = await status.status()
            return bool(now["waiting"] == 0)

        await poll(lambda: Deferred.fromCoroutine(settled()), "the end of the late call")
        await call.hangUp()
        self.rangOnce()
        self.assertEqual(len(self.callee.rings), 3)
        network.check()

    async def test_stoppedWhileRinging(self) -> None:
        """
        The same while the callee is still ringing, by way of the other server, when the silent one goes on.
        """
        network = await self.start(client={"client": 'response_period = 1\nstrategy = "primary-secondary"'})
        self.callee.ringing = keepRinging
        network.servers[1].signal(SIGSTOP)
        call = self.caller.call("2001", network.users(1))
        await call.has(180)
        network.servers[1].signal(SIGCONT)
        await network.clients[1].said("server-1 is active", 2)
        await busy(await network.control("server", 1), 1)
        await moment(0.5)
        self.callee.rings[0].respond(200)
        self.assertEqual((await call.done()).status, 200)
        await call.hangUp()
        self.rangOnce()
        network.check()


class NobodyTests(Case):
    """
    Where no server is left.
    """

    async def test_tdm(self) -> None:
        """
        Calls go to the gateway of the TDM route, with their Request-URI as it was; when a server is there
        again they go there.
        """
        gateway = await Phone(self, "gateway").listen("127.0.0.1")
        network = await self.start(
            servers=(1,),
            sctp=IMPATIENT,
            client={
                "more": f'[tdm]\ngateway = "sip:127.0.0.1:{gateway.port}"\n',
                "client": "response_period = 1",
            },
        )
        self.assertEqual((await self.caller.call("2001", network.users(1)).done()).status, 200)
        network.servers[1].signal(SIGKILL)
        # Once while nobody knows that it is dead, once when everybody does.
        for count in (1, 2):
            call = self.caller.call("2001", network.users(1))
            self.assertEqual((await call.done()).status, 200)
            self.assertEqual(len(gateway.rings), count)
            self.assertEqual(gateway.rings[-1].invite.uri, b"sip:2001@example.org")
            await gateway.until(lambda: gateway.rings[-1].acked, "ACK")
            await call.hangUp()
            await network.clients[1].said("server-1 is off the active list")
        self.assertEqual(len(self.callee.rings), 1)
        network.startServer(1)
        await network.clients[1].said("server-1 is active", 2)
        await network.clients[2].said("server-1 is active", 2)
        self.assertEqual((await self.caller.call("2001", network.users(1)).done()).status, 200)
        self.assertEqual((len(gateway.rings), len(self.callee.rings)), (2, 2))
        network.check()

    async def test_killedIdle(self) -> None:
        """
        Without a call, and without waiting until heartbeats have remained unanswered often enough, clients
        learn that a server was killed: its host says so. They are back when it is.
        """
        network = await self.start(sctp=":heartbeat=1000:maxRetransmissions=100")
        network.servers[1].signal(SIGKILL)
        self.assertEqual(await network.servers[1].end(), -SIGKILL)
        began = reactor.seconds()
        for client in network.clients.values():
            await client.said("server-1 is off the active list")
        # A heartbeat a second, give or take half the time-out, and what it takes to be sure.
        self.assertLess(reactor.seconds() - began, 8)
        for client in network.clients.values():
            self.assertEqual(client.every("server-2 is off the active list"), [])
        network.startServer(1)
        for client in network.clients.values():
            await client.said("server-1 is active", 2)
        self.assertEqual((await self.caller.call("2001", network.users(1)).done()).status, 200)
        network.check()

    async def test_refused(self) -> None:
        """
        Without a TDM route the caller gets a final answer, at once.
        """
        network = await self.start(servers=(1,), sctp=IMPATIENT)
        network.servers[1].signal(SIGKILL)
        await network.clients[1].said("server-1 is off the active list")
        call = self.caller.call("2001", network.users(1))
        self.assertEqual((await call.done()).status, 503)
        self.assertLess(call.finalAt - call.sentAt, 2)


class PolicyTests(Case):
    """
    What a server does with calls that it does not set up.
    """

    async def accepted(self, network: Network, number: int) -> int:
        """
        How many requests a server has accepted.
        """
        return int((await (await network.control("server", number)).status())["accepted"])

    async def test_redirect(self) -> None:
        """
        In redirect mode a server names another, and the client asks that one; nothing else is the user's to
        notice.
        """
        network = Network(self)
        self.caller = await Phone(self, "caller").listen(network.host)
        self.callee = await Phone(self, "callee").listen(network.host)
        elsewhere = f"sip:{network.serverHost(2)}:{PORT};transport=sctp"
        network.startServer(1, f'[[routes]]\nprefix = "29"\nredirect = "{elsewhere}"\n')
        network.startServer(2)
        network.startClient(
            1, f"sip:{network.host}:{self.caller.port}", client='strategy = "primary-secondary"'
        )
        network.startClient(2, f"sip:{network.host}:{self.callee.port}")
        await network.ready()
        call = self.caller.call("2901", network.users(1))
        self.assertEqual((await call.done()).status, 200)
        await call.hangUp()
        self.assertEqual((await self.accepted(network, 1), await self.accepted(network, 2)), (0, 1))
        # What is not to be redirected is still set up here.
        self.assertEqual((await self.caller.call("2001", network.users(1)).done()).status, 200)
        self.assertEqual((await self.accepted(network, 1), await self.accepted(network, 2)), (1, 1))
        network.check()

    async def test_reject(self) -> None:
        """
        Rules refuse calls by origin and destination, with status and reason; such an answer is final, and no
        other server is tried.
        """
        rules = """
[[reject]]
destination = { prefix = "2900" }
status = 403
reason = "Not this one"
[[reject]]
origin = { client = "client-2" }
status = 480
"""
        network = await self.start(
            server={"more": rules}, client={"client": 'strategy = "primary-secondary"'}
        )
        refused = await self.caller.call("2900", network.users(1)).done()
        self.assertEqual((refused.status, refused.reason), (403, b"Not this one"))
        self.assertEqual((await self.caller.call("2901", network.users(1)).done()).status, 200)
        self.assertEqual(await self.accepted(network, 2), 0)
        self.assertEqual((await self.callee.call("1001", network.users(2)).done()).status, 480)
        self.assertEqual([ring.invite.uri[:8] for ring in self.callee.rings], [b"sip:2901"])
        self.assertEqual(self.caller.rings, [])
        network.check()

    async def test_access(self) -> None:
        """
        Who is not on the access list is refused, status tests included, so that no client sends calls there;
        the others are served.
        """
        network = Network(self)
        self.caller = await Phone(self, "caller").listen(network.host)
        stranger = Phone(self, "stranger")
        server = network.startServer(1, '[access]\nallow = ["client-1"]\n')
        client = network.startClient(1, f"sip:{network.host}:{self.caller.port}", servers=(1,))
        await server.said("lifecycle: serving")
        await client.said("server-1 is active")
        refused = stranger.call("1001", await stranger.connect(network.toServer(1, network.clientHost(2))))
        self.assertEqual((await refused.done()).status, 403)
        self.assertEqual(self.caller.rings, [])
        self.assertEqual((await self.caller.call("1002", network.users(1)).done()).status, 200)
        self.assertEqual(len(self.caller.rings), 1)
        network.check()
