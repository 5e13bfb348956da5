"""
Tests of what Prometheus is told: by servers and clients, by controllers; and that the dashboard and the rules
in C{examples/} ask for what there is.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import treq
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from sipgrace.client.service import ClientService
from sipgrace.config.load import parseClient, parseServer
from sipgrace.config.metrics import MetricsSection, addressAndPort
from sipgrace.controller.facts import Outcome, Person
from sipgrace.controller.web.fleettally import FleetCollector
from sipgrace.controller.web.overview import Overview
from sipgrace.controller.web.tally import WebCollector
from sipgrace.errors import ConfigError
from sipgrace.lifecycle.authorization import Giver, Role, Source
from sipgrace.lifecycle.orders import Kind
from sipgrace.metrics.exposition import registryOf
from sipgrace.metrics.node import NodeCollector
from sipgrace.server.service import ServerService
from sipgrace.tap.metrics import metricsBeside
from sipgrace.tap.preparedport import PreparedPort
from tests.controlled import CLIENT, NOWHERE, SERVER, Call, ControlledCase
from tests.controllerfake import FakeController
from tests.webcase import WebCase

EXAMPLES = Path(__file__).parent.parent / "examples"

#: Where tools/setup.sh has unpacked Prometheus, where it is not installed.
UNPACKED = Path(__file__).parent.parent / "build" / "prometheus" / "usr" / "bin"

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: str) -> Samples:
    """
    Reads what Prometheus reads.
    """
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def named(found: Samples, name: str) -> dict[str, float]:
    """
    @return: the values of one metric, by its labels' values.
    """
    return {
        ",".join(value for _, value in labels): value for (one, labels), value in found.items() if one == name
    }


class Configured(SynchronousTestCase):
    """
    The section.
    """

    def test_address(self) -> None:
        self.assertEqual(addressAndPort("127.0.0.1:9102"), ("127.0.0.1", 9102))
        self.assertEqual(addressAndPort("[::1]:9102"), ("::1", 9102))
        for text in (
            "9102",
            "127.0.0.1",
            "localhost:9102",
            "127.0.0.1:",
            "127.0.0.1:65536",
            "::1:9102",
            ":1",
            "127.0.0.1:²",
        ):
            self.assertRaises(ValueError, addressAndPort, text)

    def test_both(self) -> None:
        """
        Both roles have it, and say what they expect.
        """
        text = '[metrics]\nlisten = "127.0.0.1:9102"\n'
        server = parseServer(SERVER + text, "server.toml")
        client = parseClient(CLIENT.format(address=NOWHERE) + text, "client.toml")
        self.assertEqual(server.metrics, client.metrics)
        error = self.assertRaises(
            ConfigError, parseServer, SERVER + '[metrics]\nlisten = "9102"\n', "server.toml"
        )
        self.assertEqual(
            str(error),
            "server.toml: metrics.listen: expected an address and a port, as in 127.0.0.1:9102, found '9102'",
        )


class Nodes(ControlledCase):
    """
    Servers and clients.
    """

    async def scraped(self, role: Any) -> Samples:
        """
        What a scrape of it finds.
        """
        (service,) = metricsBeside(reactor, MetricsSection(listen="127.0.0.1:0"), role)
        assert isinstance(service, PreparedPort)
        await service.startService()
        assert service.port is not None
        url = f"http://127.0.0.1:{service.port.getHost().port}"
        try:
            response = await treq.get(f"{url}/metrics", persistent=False)
            self.assertEqual(response.code, 200)
            (kind,) = response.headers.getRawHeaders("content-type")
            self.assertTrue(kind.startswith("text/plain; version="), kind)
            other = await treq.get(f"{url}/", persistent=False)
            self.assertEqual((other.code, await other.text()), (404, "The metrics are at /metrics.\n"))
            return samples(await response.text())
        finally:
            await service.stopService()

    async def test_server(self) -> None:
        """
        A server that drains.
        """
        service = await self.server()
        service.element.ledger.accept(Call())
        await service.element.door.give(
            service.element.order(Kind.DRAIN, "test", guard=20.0), Giver(Source.SOCKET, "test")
        )
        found = await self.scraped(service)
        self.assertEqual(
            named(found, "sipgrace_state"),
            {"serving": 0, "slowing": 0, "draining": 1, "drained": 0, "offline": 0, "returning": 0},
        )
        (info,) = [dict(labels) for name, labels in found if name == "sipgrace_info"]
        self.assertEqual((info["name"], info["role"]), ("server-1", "server"))
        self.assertEqual(found["sipgrace_calls_waiting", ()], 1)
        self.assertEqual(found["sipgrace_calls_accepted_total", ()], 1)
        self.assertEqual(found["sipgrace_refused_ratio", ()], 1)
        self.assertTrue(19 < found["sipgrace_guard_left_seconds", ()] <= 20)
        self.assertIn(("process_cpu_seconds_total", ()), found)
        self.assertNotIn(("sipgrace_calls_rerouted_total", ()), found)

    async def test_client(self) -> None:
        """
        A client, and what it says of its server.
        """
        found = await self.scraped(await self.client())
        self.assertEqual(named(found, "sipgrace_server_active"), {"server-1": 0})
        self.assertEqual(named(found, "sipgrace_server_skipped"), {"server-1": 0})
        self.assertEqual(
            named(found, "sipgrace_server_calls_total"),
            dict.fromkeys(
                [f"{one},server-1" for one in ("answered", "unanswered", "refused", "throttled", "spared")], 0
            ),
        )
        self.assertEqual(found["sipgrace_calls_rerouted_total", ()], 0)
        self.assertEqual(found["sipgrace_calls_unserved_total", ()], 0)
        self.assertEqual(found["sipgrace_calls_tdm_total", ()], 0)
        self.assertNotIn(("sipgrace_registered_users", ()), found)
        # It has not been tested: nothing is said rather than a number that means nothing.
        self.assertEqual(named(found, "sipgrace_server_latency_seconds"), {})

    def test_users(self) -> None:
        """
        A client that is a registrar says how many are registered.
        """
        status = {"registrar": {"users": 2, "bindings": 3, "refused": 4}}
        collector = NodeCollector(dict, "1")
        found = {metric.name: metric.samples[0].value for metric in collector._users(status)}
        self.assertEqual(
            found,
            {
                "sipgrace_registered_users": 2,
                "sipgrace_registered_places": 3,
                "sipgrace_registrations_refused": 4,
            },
        )
        self.assertEqual(list(collector._users({"registrar": None})), [])
        self.assertEqual(list(collector._users({})), [])

    async def test_taken(self) -> None:
        """
        Where it cannot listen, the process does not start, and says why.
        """
        taken = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(Factory())
        self.addCleanup(taken.stopListening)
        address = f"127.0.0.1:{taken.getHost().port}"
        service = await self.server()
        (metrics,) = metricsBeside(reactor, MetricsSection(listen=address), service)
        try:
            await metrics.startService()
        except ConfigError as error:
            self.assertIn(f"metrics.listen: cannot listen at {address}", str(error))
        else:
            self.fail("it listens where another does")
        self.assertEqual([*metricsBeside(reactor, None, service)], [])


class Fleets(WebCase):
    """
    Controllers.
    """

    async def test_fleet(self) -> None:
        """
        Nodes, who reaches whom, conflicts, orders.
        """
        controller = self.controller
        for client in ("client-110", "client-112"):
            controller.client(client, {"server-102": {}, "server-104": {"active": False, "overdue": 3.0}})
        controller.server("server-102", clients=["client-110", "client-112"], waiting=4)
        person = Person("alice", Role.OPERATOR)
        for outcome in (Outcome.DONE, Outcome.DONE, Outcome.REFUSED):
            record = await controller.order({"node": "server-102", "kind": "drain"}, person)
            controller.orderEnds(record.id, outcome)
        rolling = await controller.rolling({"select": {}}, person)
        await controller.pause(rolling.id, person)
        _, text, headers = await self.ask("GET", "/metrics", role="viewer")
        found = samples(text.decode())
        self.assertEqual(
            named(found, "sipgrace_controller_node_linked"),
            {"default,client-110,client": 1, "default,client-112,client": 1, "default,server-102,server": 1},
        )
        self.assertEqual(
            named(found, "sipgrace_controller_node_calls_waiting")["default,server-102,server"], 4
        )
        self.assertEqual(
            named(found, "sipgrace_controller_server_clients"),
            {
                "active,server-102": 2,
                "away,server-102": 0,
                "skipped,server-102": 0,
                "active,server-104": 0,
                "away,server-104": 2,
                "skipped,server-104": 0,
            },
        )
        self.assertEqual(
            named(found, "sipgrace_controller_server_overdue"), {"server-102": 0, "server-104": 2}
        )
        self.assertEqual(
            named(found, "sipgrace_controller_orders_total"), {"drain,done": 2, "drain,refused": 1}
        )
        self.assertEqual(
            named(found, "sipgrace_controller_rollings_open"), {"running": 0, "paused": 1, "trouble": 0}
        )
        self.assertEqual(sum(named(found, "sipgrace_controller_conflicts").values()), 0)
        self.assertEqual(found["sipgrace_controller_event_readers", ()], 0)
        kinds = headers.getRawHeaders("content-type") or [""]
        self.assertTrue(kinds[0].startswith("text/plain; version="), kinds)
        # What was scraped just now is counted at the next time.
        await self.ask("GET", "/api/v1/me")
        _, text, _ = await self.ask("GET", "/metrics")
        requests = named(samples(text.decode()), "sipgrace_controller_http_requests_total")
        self.assertEqual(requests, {"me,200": 1})


def everyName() -> dict[str, str]:
    """
    @return: every metric of every role, with its kind.
    """
    controller = FakeController()
    controller.client("client-110", {"server-102": {}})
    server, client = _statuses()

    class None_:
        requests = {("me", 200): 1}
        readers = dropped = 0

    texts = [
        generate_latest(one).decode()
        for one in (
            registryOf(NodeCollector(lambda: server, "1")),
            registryOf(NodeCollector(lambda: client, "1")),
            registryOf(
                FleetCollector(
                    "controller-120", controller.fleet, Overview(controller.fleet, Clock().seconds)
                ),
                WebCollector(None_, None_),
            ),
        )
    ]
    return {name: kind for text in texts for name, kind in re.findall(r"(?m)^# TYPE (\S+) (\S+)$", text)}


def _statuses() -> Iterable[dict[str, Any]]:
    yield ServerService(reactor, parseServer(SERVER, "server.toml")).status()
    role = ClientService(reactor, parseClient(CLIENT.format(address=NOWHERE), "client.toml"))
    yield {**role.standing(), **role.status()}


class Examples(SynchronousTestCase):
    """
    The dashboard and the rules.
    """

    def setUp(self) -> None:
        self.known = everyName()

    def asked(self, expression: str) -> set[str]:
        """
        The metrics that an expression is about; those of ours.
        """
        # Labels and what stands in them may look like names.
        bare = re.sub(
            r"\{[^}]*\}|\b(?:by|without|on|group_left|group_right|ignoring)\s*\([^)]*\)", "", expression
        )
        return set(re.findall(r"\bsipgrace_\w+|\bprocess_\w+|\bpython_\w+", bare))

    def test_conventions(self) -> None:
        """
        Counters end in _total, and nothing else does; units are base units.
        """
        ours = {name: kind for name, kind in self.known.items() if name.startswith("sipgrace_")}
        self.assertGreater(len(ours), 40)
        for name, kind in ours.items():
            self.assertEqual(name.endswith("_total"), kind == "counter", name)
            self.assertRegex(name, r"\A[a-z0-9_]+\Z")
            self.assertIsNone(re.search(r"(milliseconds|minutes|_ms|kilobytes)", name), name)

    def test_dashboard(self) -> None:
        """
        Every panel asks for what there is; no two share a place.
        """
        dashboard = json.loads((EXAMPLES / "grafana-dashboard.json").read_text())
        panels = [one for one in dashboard["panels"] if one["type"] != "row"]
        self.assertGreater(len(panels), 8)
        asked = set()
        for panel in panels:
            for target in panel["targets"]:
                found = self.asked(target["expr"])
                self.assertTrue(found, panel["title"])
                asked |= found
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                asked |= self.asked(variable["query"]["query"])
        self.assertEqual(asked - set(self.known), set())
        self.assertEqual(len({one["id"] for one in dashboard["panels"]}), len(dashboard["panels"]))
        places = [
            (x, y)
            for one in dashboard["panels"]
            for x in range(one["gridPos"]["x"], one["gridPos"]["x"] + one["gridPos"]["w"])
            for y in range(one["gridPos"]["y"], one["gridPos"]["y"] + one["gridPos"]["h"])
        ]
        self.assertEqual(len(places), len(set(places)))

    def test_rules(self) -> None:
        """
        Every alert asks for what there is, and says what to do.
        """
        rules = yaml.safe_load((EXAMPLES / "prometheus-alerts.yml").read_text())
        alerts = [rule for group in rules["groups"] for rule in group["rules"]]
        self.assertGreater(len(alerts), 6)
        for alert in alerts:
            found = self.asked(alert["expr"])
            self.assertTrue(found, alert["alert"])
            self.assertEqual(found - set(self.known), set(), alert["alert"])
            self.assertEqual({*alert["annotations"]}, {"summary", "description"})
            self.assertIn(alert["labels"]["severity"], ("page", "ticket"))
        self.assertEqual(len({alert["alert"] for alert in alerts}), len(alerts))

    def test_promtool(self) -> None:
        """
        Prometheus itself finds nothing wrong with the rules, nor with the metrics.
        """
        places = os.pathsep.join((os.environ.get("PATH", ""), str(UNPACKED)))
        promtool = shutil.which("promtool", path=places)
        if promtool is None:
            raise SkipTest("promtool is not installed (Debian's prometheus has it)")
        checked = subprocess.run(
            [promtool, "check", "rules", str(EXAMPLES / "prometheus-alerts.yml")],
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)
        controller = FakeController()
        controller.client("client-110", {"server-102": {}})
        server, _ = _statuses()
        registry = CollectorRegistry()
        registry.register(NodeCollector(lambda: server, "1"))
        registry.register(
            FleetCollector("controller-120", controller.fleet, Overview(controller.fleet, Clock().seconds))
        )
        checked = subprocess.run(
            [promtool, "check", "metrics"],
            input=generate_latest(registry).decode(),
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual((checked.returncode, checked.stdout + checked.stderr), (0, ""))
