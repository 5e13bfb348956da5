"""
A client that finds its servers by DNS (RFC 3263): a NAPTR of SCTP, SRV records with priorities, and what they
change into.
"""

from __future__ import annotations

from signal import SIGKILL
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.names import dns
from twisted.names.server import DNSServerFactory
from twisted.trial.unittest import TestCase

from sipgrace.control.remote import RemoteNode
from tests.scenarios.network import ENCAPS, PORT, Network
from tests.scenarios.phones import Phone
from tests.scenarios.waiting import poll, reactor
from tests.zones import Zone, a, naptr, srv

#: Seconds for which an answer of DNS is good here.
TTL = 1


class DNSTests(TestCase):
    """
    Two servers that DNS knows.
    """

    timeout = 120

    async def start(self) -> None:
        """
        A DNS server, two servers, two clients, and a user on each.
        """
        network = self.network = Network(self, guard=3)
        self.zone = Zone(
            at=[naptr(10, b"SIP+D2S", b"_sip._sctp.example.org", ttl=TTL)],
            _sip___sctp=self.order(1, 2),
            one=[a(network.serverHost(1), TTL)],
            two=[a(network.serverHost(2), TTL)],
        )
        factory = DNSServerFactory([self.zone])
        factory.noisy = False
        asked = reactor.listenUDP(0, dns.DNSDatagramProtocol(factory), network.host)
        self.addCleanup(lambda: maybeDeferred(asked.stopListening))
        for number in (1, 2):
            network.startServer(number)
        self.caller = await Phone(self, "caller").listen(network.host)
        self.callee = await Phone(self, "callee").listen(network.host)
        for number, phone in ((1, self.caller), (2, self.callee)):
            host = network.clientHost(number)
            more = f"""
[[servers]]
name = "trunk"
address = "sip:example.org"
options = "encaps={ENCAPS}:bindAddress={host}:localEncaps={ENCAPS}"

[dns]
servers = ["{network.host}:{asked.getHost().port}"]
"""
            network.startClient(
                number, f"sip:{network.host}:{phone.port}", servers=(), more=more, client='strategy = "srv"'
            )
        for client in network.clients.values():
            for name in ("one", "two"):
                await client.said(f"trunk/{name}.example.org:{PORT} is active")

    def order(self, first: int, second: int) -> list[Any]:
        """
        SRV records of the two servers.
        """
        names = {1: b"one", 2: b"two"}
        return [srv(10, 0, PORT, names[first], TTL), srv(20, 0, PORT, names[second], TTL)]

    async def call(self) -> None:
        """
        One call, to its end.
        """
        call = self.caller.call("2001", self.network.users(1))
        final = await call.done()
        self.assertEqual(final.status, 200)
        await call.hangUp()

    async def accepted(self, *numbers: int) -> list[int]:
        """
        How many calls each server has had.
        """
        found = []
        for number in numbers:
            node = await self.network.control("server", number)
            found.append(int((await node.status())["accepted"]))
        return found

    async def changed(self, client: RemoteNode, wanted: dict[str, int]) -> None:
        """
        Waits until the costs of the servers are so.
        """

        async def costs() -> bool:
            servers = (await client.status())["servers"]
            return {server["name"].split(".")[0]: server["cost"] for server in servers} == wanted

        await poll(lambda: Deferred.fromCoroutine(costs()), f"costs of {wanted}")

    async def test_priorities(self) -> None:
        """
        Calls go to the server of the lower priority; to the other when that one dies; and wherever DNS sends
        them when it has changed its mind.
        """
        await self.start()
        network = self.network
        for _ in range(3):
            await self.call()
        self.assertEqual(await self.accepted(1, 2), [3, 0])
        network.servers[1].signal(SIGKILL)
        await network.servers[1].end()
        await self.call()
        self.assertEqual(await self.accepted(2), [1])

        network.startServer(1)
        for client in network.clients.values():
            await client.said(rf"trunk/one.example.org:{PORT} is active", 2)
        await self.call()
        self.assertEqual(await self.accepted(1, 2), [1, 1])

        self.zone.put("_sip___sctp", self.order(2, 1))
        client = await network.control("client", 1)
        await self.changed(client, {"trunk/one": 20, "trunk/two": 10})
        await self.call()
        self.assertEqual(await self.accepted(1, 2), [1, 2])

        self.zone.put("_sip___sctp", self.order(2, 1)[1:])
        await self.changed(client, {"trunk/one": 20})
        await self.call()
        self.assertEqual(await self.accepted(1, 2), [2, 2])

        async def left() -> bool:
            node = await network.control("server", 2)
            return int((await node.status())["associations"]) == 0

        await poll(
            lambda: Deferred.fromCoroutine(left()), "the end of what leads to a server that is not listed"
        )
        (domain,) = (await client.status())["domains"]
        self.assertEqual((domain["servers"], domain["trouble"]), ([f"trunk/one.example.org:{PORT}"], ""))
        network.check()
