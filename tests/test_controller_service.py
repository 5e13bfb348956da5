"""
A whole controller on loopback, with a real server and a real client: L{sipgrace.controller.service}.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import treq
from twisted.internet import reactor
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import LogLevel, globalLogPublisher
from twisted.web.client import Agent, HTTPConnectionPool

from sipgrace.client.service import ClientService
from sipgrace.commands.certificates import Authority
from sipgrace.commands.fleet import shown
from sipgrace.config.load import parseClient, parseController, parseServer
from sipgrace.control.remote import Unreachable
from sipgrace.control.uplinks import Identity
from sipgrace.controller.facts import Outcome, Person
from sipgrace.controller.service import ControllerService
from sipgrace.errors import NotAllowed, OrderRefused, StoreError, Unknown
from sipgrace.lifecycle.authorization import Role
from sipgrace.server.service import ServerService
from sipgrace.tap.control import nodeOf, uplinksBeside
from tests.controlled import CLIENT, NOWHERE, SERVER
from tests.keysmade import DIGEST, TOKEN, makeOrderKey
from tests.scenarios.waiting import PollingCase
from tests.test_commands_keys import makeAuthority

CONTROLLER = """
[controller]
name = "{name}"
[links]
listen = "tcp:{port}:interface=127.0.7.4"
insecure = true
[key]
name = "{name}"
file = "{name}.order"
[store]
path = "{name}.sqlite"
[http]
listen = "tcp:0:interface=127.0.7.4"
[[tokens]]
name = "alice"
role = "operator"
sha256 = "{digest}"
"""

LINK = """
[[controllers]]
name = "{name}"
host = "127.0.7.4"
port = {port}
insecure = true
"""

ALICE = Person("alice", Role.OPERATOR)


class ControllerCase(PollingCase):
    """
    Controllers and nodes, all in this process.
    """

    timeout = 60

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.publics: dict[str, str] = {}
        self.warnings: list[str] = []
        globalLogPublisher.addObserver(self._logged)
        self.addCleanup(globalLogPublisher.removeObserver, self._logged)

    def _logged(self, event: Any) -> None:
        if event["log_level"] >= LogLevel.warn:
            self.warnings.append(event.get("log_format", "").format_map(event))

    async def controller(
        self, name: str = "controller-120", port: int = 0, more: str = ""
    ) -> ControllerService:
        """
        A controller that serves.
        """
        if name not in self.publics:
            self.publics[name] = makeOrderKey(self.folder / f"{name}.order")
        text = self.text(CONTROLLER.format(name=name, port=port, digest=DIGEST), name)
        service = ControllerService(reactor, parseController(text + more, str(self.folder / "c.toml")))
        await service.startService()
        self.addCleanup(service.stopService)
        return service

    def text(self, text: str, name: str) -> str:
        """
        A file of that controller or node, as it is here.
        """
        return text

    def port(self, controller: ControllerService) -> int:
        port: Any = controller.links.port
        number: int = port.getHost().port
        return number

    def keys(self) -> str:
        """
        The keys of all controllers so far, for a node's file.
        """
        text = f'[orders]\naudit = "{self.folder}/audit"\n'
        for name, public in self.publics.items():
            text += f'[[orders.keys]]\nname = "{name}"\nrole = "admin"\npublic = "{public}"\n'
        return text

    def links(self, *controllers: ControllerService) -> str:
        return "".join(
            LINK.format(name=one.controller.name, port=self.port(one)) for one in controllers
        )

    async def server(self, name: str, *controllers: ControllerService, orders: str = "") -> ServerService:
        """
        A server, linked.
        """
        text = SERVER.replace("server-1", name) + (orders or self.keys())
        text += self.text(self.links(*controllers), name)
        config = parseServer(text, str(self.folder / "s.toml"))
        service = ServerService(reactor, config)
        self.addCleanup(service.stopService)
        await service.startService()
        await self.beside(service, config.controllers, name, "server", nodeOf(service), controllers)
        return service

    async def client(self, *controllers: ControllerService) -> ClientService:
        """
        A client, linked.
        """
        text = CLIENT.format(address=NOWHERE) + self.keys()
        text += self.text(self.links(*controllers), "client-1")
        config = parseClient(text, str(self.folder / "c.toml"))
        service = ClientService(reactor, config)
        self.addCleanup(service.stopService)
        await service.startService()
        node = nodeOf(service, service.reroutes, service.announced)
        await self.beside(service, config.controllers, "client-1", "client", node, controllers)
        return service

    async def beside(
        self, service: Any, sections: Any, name: str, role: str, node: Any, controllers: Any
    ) -> None:
        identity = Identity(name, role, {}, "")
        for one in uplinksBeside(reactor, sections, identity, service, node):
            one.startService()
            self.addCleanup(one.stopService)
        for controller in controllers:
            await self.until(lambda controller=controller: self.linked(controller, name))

    def linked(self, controller: ControllerService, name: str) -> bool:
        return any(one["name"] == name and one["linked"] for one in controller.fleet.nodes())

    def story(self) -> str:
        """
        See L{PollingCase}.
        """
        return f"warnings: {self.warnings}"


class Whole(ControllerCase):
    """
    One controller.
    """

    async def ask(self, controller: ControllerService, path: str, **values: Any) -> Any:
        """
        Asks the API.
        """
        assert controller.http is not None
        pool = HTTPConnectionPool(reactor, persistent=False)
        host: Any = controller.http.getHost()
        url = f"http://127.0.7.4:{host.port}/api/v1/{path}"
        asking = treq.post if values else treq.get
        more = {"json": values} if values else {}
        response = await asking(
            url, agent=Agent(reactor, pool=pool), headers={"Authorization": f"Bearer {TOKEN}"}, **more
        )
        text = await response.text()
        self.assertLess(response.code, 300, text)
        return json.loads(text)

    async def test_drain(self) -> None:
        """
        Somebody drains a server over the API: it is signed by the controller's key, obeyed, followed to its
        end; the report is kept.
        """
        controller = await self.controller()
        server = await self.server("server-1", controller)
        await self.client(controller)
        fleet = await self.ask(controller, "fleet")
        self.assertEqual(
            [(one["name"], one["state"]) for one in fleet["nodes"]],
            [("client-1", "serving"), ("server-1", "serving")],
        )
        record = await self.ask(controller, "orders", node="server-1", kind="drain", guard=2.0, why="test")
        self.assertEqual(record["node"], "server-1")
        await self.until(lambda: server.status()["state"] == "offline")
        self.assertEqual(server.status()["order"]["who"], "alice via controller-120")
        found: list[Any] = []
        for _ in range(200):
            found = [(await self.ask(controller, f"orders/{record['id']}"))["outcome"]]
            if found == ["done"]:
                break
        self.assertEqual(found, ["done"])
        reports = await controller.controller.reports("server-1")
        self.assertEqual(len(reports), 1)
        # No SIP is spoken here: the client's server is nowhere.
        self.assertEqual([one for one in self.warnings if "not opened" not in one], [])

    async def test_result(self) -> None:
        """
        What a node answers to an order that is carried out at once is kept with it.
        """
        controller = await self.controller()
        await self.server("server-1", controller)
        await self.client(controller)
        for kind, skipped in (("skip", True), ("unskip", False)):
            record = await controller.controller.order(
                {"node": "client-1", "kind": kind, "server": "server-1"}, ALICE
            )
            said = {"server": "server-1", "skipped": skipped, "kept": False}
            self.assertEqual((record.outcome, record.result), (Outcome.DONE, said))
            await self.until(lambda id=record.id: id not in controller.controller._book.cases)
            self.assertEqual((await controller.controller.orderOf(record.id)).result, said)

    async def test_verifiedByController(self) -> None:
        """
        A node that asks the controller is told that the order is right.
        """
        controller = await self.controller()
        orders = f'[orders]\naudit = "{self.folder}/audit"\nverify = "controller"\n'
        server = await self.server("server-1", controller, orders=orders)
        record = await controller.controller.order({"node": "server-1", "kind": "drain"}, ALICE)
        self.assertEqual(record.node, "server-1")
        await self.until(lambda: server.status()["state"] == "offline")

    async def test_notVerified(self) -> None:
        """
        A node that does not know the controller's key refuses.
        """
        controller = await self.controller()
        orders = f'[orders]\naudit = "{self.folder}/audit"\n'
        server = await self.server("server-1", controller, orders=orders)
        with self.assertRaises(OrderRefused) as caught:
            await controller.controller.order({"node": "server-1", "kind": "drain"}, ALICE)
        self.assertIn("a key that is not known here", str(caught.exception))
        self.assertEqual(server.status()["state"], "serving")

    async def test_restart(self) -> None:
        """
        A controller that begins again has its nodes back by itself, and knows what it has ordered.
        """
        controller = await self.controller()
        port = self.port(controller)
        await self.server("server-1", controller)
        record = await controller.controller.order({"node": "server-1", "kind": "rehearse"}, ALICE)
        await controller.stopService()
        self.assertEqual(controller.status()["state"], "offline")
        again = await self.controller(port=port)
        await self.until(lambda: self.linked(again, "server-1"))
        self.assertEqual([one.id for one in await again.controller.orders()], [record.id])

    async def test_windows(self) -> None:
        """
        Windows of the configuration are schedules; those that have gone from there are gone. Nobody takes one
        back but there.
        """
        first = """
[[windows]]
name = "north"
cron = "30 3 * * SUN"
timezone = "Europe/Berlin"
select = { site = "north" }
"""
        second = """
[[windows]]
name = "two"
cron = "0 4 1 * *"
servers = ["server-1", "server-2"]
guard = 20
"""
        controller = await self.controller(more=first)
        (record,) = await controller.controller.schedules()
        self.assertEqual(
            (record.id, record.who, record.zone),
            ("window-controller-120-north", "configuration", "Europe/Berlin"),
        )
        self.assertEqual(record.values["select"], {"site": "north"})
        assert record.next is not None
        with self.assertRaises(OrderRefused) as caught:
            await controller.controller.unschedule(record.id, Person("root", Role.ADMIN))
        self.assertEqual(
            str(caught.exception), "it stands in the configuration of its controller, under [[windows]]"
        )
        await controller.stopService()
        controller = await self.controller(more=first + second)
        records = {one.id: one for one in await controller.controller.schedules()}
        self.assertEqual(records.pop(record.id), record)
        (other,) = records.values()
        self.assertEqual((other.values["servers"], other.values["guard"]), (["server-1", "server-2"], 20.0))
        await controller.stopService()
        controller = await self.controller(more=second.replace("guard = 20", "guard = 30"))
        (other,) = await controller.controller.schedules()
        self.assertEqual((other.id, other.values["guard"]), ("window-controller-120-two", 30.0))

    async def test_status(self) -> None:
        """
        What the controller says of itself at its own socket, and that it takes no orders there.
        """
        controller = await self.controller()
        await self.server("server-1", controller)
        status = controller.node.status()
        self.assertEqual(
            {key: status[key] for key in ("role", "name", "state", "linked", "lost")},
            {"role": "controller", "name": "controller-120", "state": "serving", "linked": 1, "lost": []},
        )
        self.assertEqual(status["links"], f"127.0.7.4:{self.port(controller)}")
        json.dumps(status)
        refused = controller.node.order(None, "drain", "")
        with self.assertRaises(OrderRefused) as caught:
            await refused
        self.assertIn("orders for its fleet go to its HTTP API", str(caught.exception))


PEER = """
[[peers]]
name = "{name}"
host = "127.0.7.4"
port = {port}
role = "operator"
"""


class TwoCase(ControllerCase):
    """
    Controllers 120 and 121, over TLS; server-1 is linked to 120, server-2 to 121.
    """

    async def setUp(self) -> None:
        super().setUp()
        now = makeAuthority().now
        authority = Authority.make(self.folder / "keys", "test", 100, "p256", now)
        for name in ("controller-120", "controller-121", "server-1", "server-2", "client-1"):
            authority.certify(name, 100, "p256", now)
        ports = [self.free(), self.free()]
        names = ("controller-120", "controller-121")
        self.controllers = [
            await self.controller(
                name, port, self.peers + PEER.format(name=other, port=otherPort)
            )
            for name, port, other, otherPort in zip(names, ports, names[::-1], ports[::-1], strict=True)
        ]
        await self.until(
            lambda: [one.status()["peers"][0]["state"] for one in self.controllers] == ["Linked"] * 2
        )
        self.warnings.clear()

    peers = ""

    def free(self) -> int:
        """
        A port that nobody uses.
        """
        with socket.socket() as probe:
            probe.bind(("127.0.7.4", 0))
            number: int = probe.getsockname()[1]
            return number

    def text(self, text: str, name: str) -> str:
        """
        A file with certificates in place of insecure.
        """
        files = f'certificate = "keys/{name}.crt"\nkey = "keys/{name}.key"\nca = "keys/ca.crt"'
        return text.replace("insecure = true", files)


class Two(TwoCase):
    """
    What one does for the other.
    """

    async def test_passed(self) -> None:
        """
        An order for the other's server: the other signs it, the server drains; outcome and report come back.
        """
        first, second = self.controllers
        await self.server("server-1", first)
        server = await self.server("server-2", second)
        await self.until(lambda: len(first.fleet.nodes()) == len(second.fleet.nodes()) == 2)
        self.assertEqual(
            [(one["name"], one.get("controller")) for one in first.fleet.nodes()],
            [("server-1", None), ("server-2", "controller-121")],
        )
        # What it says of itself comes after its name.
        await self.until(lambda: first.fleet.node("server-2")["state"] == "serving")
        self.assertRegex(shown(first.fleet.view()), r"server-2 +server +default +serving, of controller-121 ")
        values = {"node": "server-2", "kind": "drain", "guard": 2.0}
        record = await first.controller.order(values, ALICE)
        self.assertEqual((record.by, record.who), ("controller-121", "alice at controller-120"))
        await self.until(lambda: server.status()["state"] == "offline")
        self.assertEqual(
            server.status()["order"]["who"], "alice at controller-120 via controller-121"
        )
        while (await first.controller.orderOf(record.id)).outcome is not Outcome.DONE:
            await deferLater(IReactorTime(reactor), 0.02)
        while not await first.controller.reports("server-2"):
            await deferLater(IReactorTime(reactor), 0.02)
        await self.until(lambda: first.fleet.node("server-2")["state"] == "offline")
        self.assertIn("passed", [one["what"] for one in await first.controller.audit()])
        self.assertEqual(self.warnings, [])

    async def test_status(self) -> None:
        """
        What the other's server tells of itself is asked by way of the other, which passes the question on no
        further.
        """
        first, second = self.controllers
        await self.server("server-2", second)
        await self.until(lambda: len(first.fleet.nodes()) == 1)
        status = await first.controller.status("server-2")
        self.assertEqual((status["name"], status["role"]), ("server-2", "server"))
        self.assertEqual(status.keys(), (await second.controller.status("server-2")).keys())
        with self.assertRaises(Unknown):
            await first.controller.status("server-3")
        with self.assertRaises(Unreachable) as caught:
            await first.passedStatus("server-2")
        self.assertEqual(str(caught.exception), "server-2 has no link to controller-120 now")

    async def test_misdated(self) -> None:
        """
        Nor does a report of a time that cannot be come by way of a peer.
        """
        first, _ = self.controllers
        told = {"node": "server-2", "at": 1e300, "report": {"forced": 0}}
        with self.assertRaises(StoreError):
            await first._keepReport("server-2", told)
        self.assertEqual(await first.controller.reports(), [])
        await first._keepReport("server-2", {**told, "at": 1.0})
        self.assertEqual(len(await first.controller.reports()), 1)

    async def test_announced(self) -> None:
        """
        The clients of both are told of a server, and when it is back.
        """
        first, second = self.controllers
        client = await self.client(second)
        link = client.links["server-1"]
        await self.until(lambda: first.fleet.isServer("server-1"))
        told = await first.controller.announce("server-1", 60.0, None, "hangs", ALICE)
        self.assertEqual(told, ["client-1"])
        self.assertGreater(link.countdown, 50)
        (record,) = [one for one in await second.controller.audit() if one["what"] == "announced"]
        self.assertEqual(record["who"], "alice at controller-120")
        self.assertEqual(await first.controller.unannounce("server-1", "", ALICE), ["client-1"])
        self.assertEqual(link.countdown, 0.0)

    async def test_role(self) -> None:
        """
        What the other allows our people is no more than its configuration says, and what ours may not ask is
        not even passed on.
        """
        first, second = self.controllers
        server = await self.server("server-2", second)
        await self.until(first.fleet.nodes)
        admin, viewer = Person("root", Role.ADMIN), Person("eve", Role.VIEWER)
        for person in (admin, viewer):
            with self.assertRaises(NotAllowed):
                await first.controller.order({"node": "server-2", "kind": "offline"}, person)
        refused = [one for one in await second.controller.audit() if one["what"] == "refused"]
        self.assertEqual([one["who"] for one in refused], ["root at controller-120"])
        self.assertEqual(server.status()["state"], "serving")

    async def test_lost(self) -> None:
        """
        When the other is gone its nodes are shown as lost, and orders say why they fail.
        """
        first, second = self.controllers
        await self.server("server-2", second)
        await self.until(first.fleet.nodes)
        await second.stopService()
        await self.until(lambda: not first.fleet.node("server-2")["linked"])
        with self.assertRaises(Unreachable) as caught:
            await first.controller.order({"node": "server-2", "kind": "drain"}, ALICE)
        self.assertIn(
            "server-2 is a node of controller-121, and controller-121 cannot be reached: ",
            str(caught.exception),
        )
