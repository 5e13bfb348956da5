"""
Links over real TLS sockets on loopback, with a real server and a real client: L{sipgrace.tap.control},
L{sipgrace.control.uplink}, L{sipgrace.controller.links}.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher

from sipgrace.client.service import ClientService
from sipgrace.commands.certificates import Authority
from sipgrace.config.load import parseClient, parseServer
from sipgrace.control.uplinks import Identity
from sipgrace.controller.links import Links
from sipgrace.errors import OrderRefused
from sipgrace.lifecycle.authorization import Giver, Source
from sipgrace.lifecycle.orderform import newNonce, sign
from sipgrace.lifecycle.orders import Kind, Order
from sipgrace.server.service import ServerService
from sipgrace.tap.control import nodeOf, uplinksBeside
from sipgrace.transport.peernames import linkOptions
from tests.controlled import CLIENT, NOWHERE, SERVER
from tests.linkrig import User
from tests.scenarios.waiting import PollingCase
from tests.test_commands_keys import makeAuthority
from tests.test_control_local import Raw
from tests.test_lifecycle_door import DoorCase

KEY = DoorCase.keys["operator"]

LINK = """
[[controllers]]
name = "controller-120"
host = "127.0.7.3"
port = {port}
certificate = "{name}.crt"
key = "{name}.key"
ca = "{ca}.crt"
"""


class RealUser(User):
    """
    With the time of day.
    """

    def __init__(self) -> None:
        super().__init__(Clock())

    def report(self, node: str, at: float, facts: Any) -> Deferred[None]:
        self.reports.append((node, at, facts))
        return succeed(None)


class TLSTests(PollingCase):
    """
    One controller with a certificate by one CA; a second CA is a stranger's.
    """

    timeout = 60

    async def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        now = makeAuthority().now
        self.authority = Authority.make(self.folder, "test", 100, "p256", now)
        for name in ("controller-120", "server-1", "client-1"):
            self.authority.certify(name, 100, "p256", now)
        stranger = Authority.make(self.folder / "stranger", "stranger", 100, "ed25519", now)
        stranger.certify("server-1", 100, "ed25519", now)
        stranger.certify("controller-120", 100, "ed25519", now)
        self.warnings: list[str] = []
        globalLogPublisher.addObserver(self._logged)
        self.addCleanup(globalLogPublisher.removeObserver, self._logged)
        self.user = RealUser()
        self.links = await self.listen(self.folder)

    def _logged(self, event: Any) -> None:
        if event["log_level"] >= LogLevel.warn:
            self.warnings.append(event.get("log_format", "").format_map(event))

    async def listen(self, folder: Path) -> Links:
        """
        A controller with the certificate in that folder.
        """
        options = linkOptions(
            folder / "controller-120.crt", folder / "controller-120.key", self.folder / "ca.crt"
        )
        endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.7.3")
        links = Links(IReactorTime(reactor), endpoint, options, self.user)
        await links.startService()
        self.addCleanup(links.stopService)
        return links

    def text(self, name: str, certificate: str = "", links: Links | None = None) -> str:
        port: Any = (links or self.links).port
        ca = "stranger/ca" if "stranger" in certificate else "ca"
        return LINK.format(port=port.getHost().port, name=certificate or name, ca=ca)

    async def server(self, text: str, orders: str = "") -> ServerService:
        """
        A server with its links.
        """
        config = parseServer(SERVER + orders + text, str(self.folder / "server.toml"))
        service = ServerService(reactor, config)
        self.addCleanup(service.stopService)
        await service.startService()
        await self.beside(service, config.controllers, "server-1", nodeOf(service))
        return service

    async def client(self, text: str) -> ClientService:
        """
        A client with its links.
        """
        config = parseClient(CLIENT.format(address=NOWHERE) + text, str(self.folder / "client.toml"))
        service = ClientService(reactor, config)
        self.addCleanup(service.stopService)
        await service.startService()
        node = nodeOf(service, service.reroutes, service.announced)
        await self.beside(service, config.controllers, "client-1", node)
        return service

    async def beside(self, service: Any, controllers: Any, name: str, node: Any) -> None:
        identity = Identity(name, name.partition("-")[0], {}, "")
        for one in uplinksBeside(reactor, controllers, identity, service, node):
            one.startService()
            self.addCleanup(one.stopService)

    def story(self) -> str:
        """
        See L{PollingCase}.
        """
        return f"warnings: {self.warnings}"

    def linked(self, name: str) -> bool:
        return any(one["name"] == name and one["linked"] for one in self.user.fleet.nodes())

    async def test_drain(self) -> None:
        """
        A server and a client link up; the server drains by a signed order, its report arrives, and the client
        is told on its behalf.
        """
        public = KEY.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        orders = (
            f'[orders]\naudit = "{self.folder}/audit"\n[[orders.keys]]\nname = "c"\nrole = "operator"\n'
            f'public = "{public.decode()}"\n'
        )
        server = await self.server(self.text("server-1"), orders)
        client = await self.client(self.text("client-1"))
        await self.until(lambda: self.linked("server-1") and self.linked("client-1"))
        await self.until(lambda: server.status()["controllers"][0]["state"] == "Linked")
        self.assertEqual(self.warnings, [])
        now = time.time()
        order = Order(
            kind=Kind.DRAIN,
            who="alice via controller-120",
            when=now,
            node="server-1",
            nonce=newNonce(),
            expires=now + 30,
            guard=2.0,
        )
        link = self.user.fleet.linkOf("server-1")
        assert link is not None
        answer = await link.signed(sign(order, "c", KEY))
        self.assertEqual(answer.id, order.nonce)
        await self.until(lambda: self.user.fleet.node("server-1")["state"] == "offline")
        await self.until(lambda: self.user.reports)
        node, _, report = self.user.reports[0]
        self.assertEqual((node, report["orders"][0]["who"]), ("server-1", "alice via controller-120"))
        link = self.user.fleet.linkOf("client-1")
        assert link is not None
        await link.unavailable("server-1", 60.0, now + 50, "hangs")
        counting = client.links["server-1"]
        self.assertTrue(59 < counting.countdown <= 60, counting.countdown)
        self.assertTrue(45 < (counting.returnsIn or 0) < 51, counting.returnsIn)
        await self.until(
            lambda: self.user.fleet.node("client-1")["standing"]["peers"][0]["state"] == "Away"
        )
        await link.available("server-1", "")
        self.assertEqual(counting.countdown, 0.0)
        with self.assertRaises(OrderRefused) as caught:
            await link.available("server-9", "")
        self.assertEqual(
            str(caught.exception), "client-1 has no server 'server-9'; one of server-1 is expected"
        )

    async def test_otherName(self) -> None:
        """
        A node that says another's name is turned away, which both sides say.
        """
        text = self.text("server-1")
        config = parseServer(SERVER + text, str(self.folder / "server.toml"))
        service = ServerService(reactor, config)
        self.addCleanup(service.stopService)
        await service.startService()
        await self.beside(service, config.controllers, "server-2", nodeOf(service))
        await self.until(lambda: len(self.warnings) >= 2)
        why = "the certificate of this link is that of server-1, and not of server-2"
        self.assertEqual(
            sorted(self.warnings)[0], f"no link to controller-120: it turns us away: {why}"
        )
        self.assertEqual(
            [(what, text) for _, what, text in self.user.refused], [("node", why)]
        )

    async def test_otherCA(self) -> None:
        """
        Certificates by another CA are of no use, at either end.
        """
        audit = self.folder / "audit"
        await self.server(self.text("server-1", "stranger/server-1"), f'[orders]\naudit = "{audit}"\n')
        await self.until(lambda: self.warnings)
        await self.until(lambda: audit.exists() and "distrusted" in audit.read_text())
        self.assertEqual(
            self.warnings[0],
            "no link to controller-120: its certificate is not by a CA that is trusted here",
        )
        self.warnings.clear()
        self.assertEqual(self.user.fleet.nodes(), [])

    async def test_ourCAIsNotTrusted(self) -> None:
        """
        A node that the controller does not trust is told so.
        """
        text = self.text("server-1", "stranger/server-1").replace("stranger/ca", "ca")
        await self.server(text)
        await self.until(lambda: len(self.warnings) >= 2)
        self.assertIn("no link to controller-120: it does not trust the CA of our certificate", self.warnings)
        self.assertEqual([what for _, what, _ in self.user.refused], ["link"])
        self.assertEqual(self.user.fleet.nodes(), [])

    async def test_oneEndOnly(self) -> None:
        """
        TLS at one end alone: neither takes it for more than it is.
        """
        port: Any = self.links.port
        await self.server(
            f'[[controllers]]\nname = "controller-120"\nhost = "127.0.7.3"\n'
            f"port = {port.getHost().port}\ninsecure = true\n"
        )
        await self.until(lambda: len(self.warnings) >= 2)
        self.assertEqual(
            sorted(self.warnings),
            [
                "127.0.0.1 is turned away: it does not speak TLS",
                "no link to controller-120: it has hung up without a word; does it listen for TLS?",
            ],
        )
        self.warnings.clear()
        endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.7.3")
        plain = Links(IReactorTime(reactor), endpoint, None, self.user)
        await plain.startService()
        self.addCleanup(plain.stopService)
        await self.client(self.text("client-1", links=plain))
        await self.until(lambda: len(self.warnings) >= 2)
        self.assertEqual(
            self.warnings[1],
            "no link to controller-120: it has hung up before it showed a certificate; is it without TLS?",
        )
        self.assertEqual(self.user.fleet.nodes(), [])

    async def test_deadController(self) -> None:
        """
        With its controller dead a server drains and comes back all the same.
        """
        server = await self.server(self.text("server-1"))
        await self.until(lambda: self.linked("server-1"))
        await self.links.stopService()
        await self.until(lambda: server.status()["controllers"][0]["state"] == "Waiting")
        await server.leave()
        self.assertEqual(server.status()["state"], "offline")
        order = server.element.order(Kind.RESUME, "root")
        obeyed = await server.element.door.give(order, Giver(Source.SOCKET, "root"))
        self.assertEqual(str(await obeyed.whenEnded()), "serving")

    async def test_noTLS(self) -> None:
        """
        Whoever does not speak TLS 1.3 gets no word.
        """
        port: Any = self.links.port
        raw = await connectProtocol(
            TCP4ClientEndpoint(reactor, "127.0.7.3", port.getHost().port), Raw()
        )
        raw.transport.write(b"\x00\x04_ask\x00\x011\x00\x08_command\x00\x05hello\x00\x00")
        heard = await raw.lost
        self.assertNotIn(b"_answer", heard)
        self.assertEqual(self.user.fleet.nodes(), [])
