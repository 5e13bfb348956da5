"""
Calls over associations that lose, delay and reorder packets: none is lost, not in a drain either.
"""

from __future__ import annotations

from signal import SIGTERM, SIGUSR1

from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.trial.unittest import TestCase

from tests.scenarios.addresses import claim
from tests.scenarios.loss import FRONT, BadNetwork, Relay, Weather
from tests.scenarios.network import busy
from tests.scenarios.phones import Phone, answerAfter
from tests.scenarios.sipp import caller, needsSIPp
from tests.scenarios.waiting import poll, reactor
from tests.sctpcontract import DetailedPeer, PeerFactory

#: More calls than the test makes: the caller is told when to stop.
ENDLESS = 1_000_000

#: So many at least.
CALLS = 200

#: Calls a second.
RATE = 25


class LossTests(TestCase):
    """
    One packet in twenty is lost each way, and each takes 20 to 30 ms.
    """

    timeout = 240

    async def test_drain(self) -> None:
        """
        One of two servers is drained, and comes back, under load: every call is set up, none rings twice, no
        INVITE is settled by force, and the server is gone before its guard ends.
        """
        needsSIPp()
        network = BadNetwork(self, guard=8, margin=2)
        callee = await Phone(self, "callee").listen(network.host)
        callee.ringing = answerAfter(0.3)
        for number in (1, 2):
            network.startServer(number)
        network.startClient(1, f"sip:{network.host}:7110")
        network.startClient(2, f"sip:{network.host}:{callee.port}")
        await network.ready()
        server = await network.control("server", 1)
        await server.watch()
        calling = caller(self, network, "udp", 7110, 1, "2001", ENDLESS, RATE)
        await busy(server, CALLS // 8)
        gone = await server.when(["offline"], await server.drain(why="for a test"))
        self.assertEqual((gone["change"], gone["forced"], gone["aborted"]), ("offline", 0, 0))
        before = (await server.status())["accepted"]
        await server.when(["serving"], await server.resume())
        await network.clients[1].said("server-1 is active", 2)
        await busy(server, before + 1)
        await poll(lambda: calling.outcome().created >= CALLS, f"{CALLS} calls", 60)
        calling.signal(SIGUSR1)
        self.assertEqual(await calling.end(100), 0, calling.story())
        outcome = calling.outcome()
        self.assertEqual((outcome.successful, outcome.failed), (outcome.created, 0), calling.story())
        self.assertEqual(callee.copies, [])
        calls = [ring.invite.callId for ring in callee.rings]
        self.assertEqual((len(calls), len(set(calls))), (outcome.created, outcome.created))
        for each in network.servers.values():
            each.signal(SIGTERM)
        for each in network.servers.values():
            self.assertEqual(await each.end(40), 0, each.story())
        network.check()
        # The network was as bad as it was said to be.
        weather = network.relays[1].weather
        share = weather.lost / (weather.lost + weather.passed)
        self.assertTrue(0.03 < share < 0.07, share)
        self.assertGreater(weather.lost, 50)
        self.assertGreater(weather.overtaken, 50)


class OrderTests(TestCase):
    """
    What SCTP in userspace makes of such a network.
    """

    timeout = 120

    async def test_order(self) -> None:
        """
        Everything arrives once, and in order where order was asked for.
        """
        host, other = claim(self)[:2]
        factory = PeerFactory(DetailedPeer)
        place = f"sctp:5060:interface={host}:encaps=9899:stack=userspace"
        port = await serverFromString(reactor, place).listen(factory)
        self.addCleanup(port.stopListening)
        weather = Weather(0.05, 0.02, 0.01)
        relay = Relay(host, 9899, weather)
        self.addCleanup(relay.close)
        text = f"sctp:host={host}:port=5060:encaps={FRONT}:stack=userspace:bindAddress={other}:localEncaps=0"
        client = await clientFromString(reactor, text).connect(PeerFactory(DetailedPeer))
        await poll(lambda: bool(factory.made), "the association")
        server = factory.made[0]
        for number in range(300):
            client.transport.sendMessage(b"%03d" % number * 100, stream=number % 3, unordered=False)
            client.transport.write(b"loose %03d" % number)
        await poll(lambda: len(server.events) >= 601, "all of it", 60)
        for stream in range(3):
            heard = [int(event[1][:3]) for event in server.events[1:] if event[2] == stream and not event[4]]
            self.assertEqual(heard, list(range(stream, 300, 3)))
        loose = sorted(event[1] for event in server.events[1:] if event[4])
        self.assertEqual(loose, [b"loose %03d" % number for number in range(300)])
        self.assertGreater(weather.lost, 5)
        self.assertGreater(weather.overtaken, 5)
        for peer in (client, server):
            if not peer.lost:
                peer.transport.abortConnection()
                await peer.gone()
