"""
The examples of deployment, C{examples/kubernetes.yaml}, the units of systemd and
C{examples/logrotate.conf}: what stands in them fits together, and the very commands in them do what they are
there for.
"""

from __future__ import annotations

import grp
import gzip
import json
import os
import pwd
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from signal import SIGTERM
from typing import Any

import yaml
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

from sipgrace.config.load import parseServer
from sipgrace.config.server import ServerConfig
from sipgrace.errors import OrderRefused
from sipgrace.lifecycle.audit import AuditLog
from sipgrace.lifecycle.nonces import Nonces
from tests.scenarios.addresses import claim
from tests.scenarios.network import ENCAPS, PORT
from tests.scenarios.phones import Phone, answer, keepRinging
from tests.scenarios.processes import Process
from tests.scenarios.waiting import poll, reactor
from tests.test_lifecycle_audit import atOnce as beside
from tests.test_lifecycle_sdnotify import Manager

EXAMPLES = Path(__file__).parent.parent / "examples"

#: How a test runs the programs that the examples name.
PROGRAMS = {
    "twist": [sys.executable, "-m", "twisted"],
    "sipgrace": [sys.executable, "-m", "sipgrace.commands.main"],
}

#: What the examples' clients are called by, and where.
CLIENTS = ("192.0.2.110", "192.0.2.112")


def manifests() -> dict[str, Any]:
    """
    The objects of the manifest by their kinds.
    """
    text = (EXAMPLES / "kubernetes.yaml").read_text(encoding="utf-8")
    return {found["kind"]: found for found in yaml.safe_load_all(text)}


def container(kind: str = "containers") -> Any:
    """
    The only container of that kind in the pod.
    """
    (found,) = manifests()["StatefulSet"]["spec"]["template"]["spec"][kind]
    return found


def rendered(text: str, name: str, address: str) -> str:
    """
    The pod's file, as its first container makes it.
    """
    return text.replace("@NAME@", name).replace("@ADDRESS@", address)


class Manifest(SynchronousTestCase):
    """
    What stands in the manifest.
    """

    def setUp(self) -> None:
        self.found = manifests()
        self.spec = self.found["StatefulSet"]["spec"]
        self.pod = self.spec["template"]["spec"]
        self.server = container()

    def config(self) -> ServerConfig:
        text = self.found["ConfigMap"]["data"]["server.toml"]
        return parseServer(rendered(text, "sipgrace-server-0", "192.0.2.1"), "server.toml")

    def test_kinds(self) -> None:
        self.assertEqual(
            {kind: found["metadata"]["name"] for kind, found in self.found.items()},
            dict.fromkeys(("ConfigMap", "Service", "PodDisruptionBudget", "StatefulSet"), "sipgrace-server"),
        )

    def test_grace(self) -> None:
        """
        Kubernetes waits longer than a drain can take. That is known beforehand, and the process does not end
        by itself, upon which Kubernetes would start another one in the same pod.
        """
        drain = self.config().drain
        self.assertNotEqual(drain.guard, "auto")
        self.assertGreaterEqual(self.pod["terminationGracePeriodSeconds"], drain.over + drain.usualGuard + 10)
        self.assertEqual(drain.then, "stay")

    def test_drain(self) -> None:
        """
        A pod that is to end waits for its drain.
        """
        command = self.server["lifecycle"]["preStop"]["exec"]["command"]
        self.assertEqual(command[:3], ["sipgrace", "drain", "--wait"])

    def test_socket(self) -> None:
        """
        The commands find the socket that the file asks for, in the only place that can be written.
        """
        control = self.config().control
        assert control is not None
        self.assertEqual(
            self.server["env"], [{"name": "SIPGRACE_SOCKET", "value": os.fspath(control.socket)}]
        )
        for one in (self.server, container("initContainers")):
            mounts = {mount["mountPath"]: mount for mount in one["volumeMounts"]}
            volumes = {volume["name"]: volume for volume in self.pod["volumes"]}
            self.assertIn("emptyDir", volumes[mounts[os.fspath(control.socket.parent)]["name"]])
            for path in [path for path in mounts if path != "/run/sipgrace"]:
                self.assertTrue(mounts[path]["readOnly"])

    def test_confined(self) -> None:
        """
        Nothing runs as root, writes to its image or may become more than it is.
        """
        pod = self.pod["securityContext"]
        self.assertTrue(pod["runAsNonRoot"] and pod["runAsUser"] > 0 and pod["fsGroup"] == pod["runAsGroup"])
        self.assertEqual(pod["seccompProfile"], {"type": "RuntimeDefault"})
        self.assertFalse(self.pod["automountServiceAccountToken"])
        for one in (self.server, container("initContainers")):
            self.assertEqual(
                one["securityContext"],
                {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
            )

    def test_ports(self) -> None:
        """
        The port that is open is the one that the server takes; DNS says C{_sip._sctp}, as RFC 3263 has it,
        and the port within.
        """
        (listen,) = self.config().server.listen
        self.assertEqual(listen, f"sctp:{PORT}:interface=192.0.2.1:encaps={ENCAPS}")
        (port,) = self.server["ports"]
        self.assertEqual((port["protocol"], port["containerPort"]), ("UDP", ENCAPS))
        service = self.found["Service"]["spec"]
        self.assertEqual(service["ports"], [{"name": "sip", "protocol": "SCTP", "port": PORT}])
        self.assertEqual(service["clusterIP"], "None")

    def test_selected(self) -> None:
        labels = self.spec["template"]["metadata"]["labels"]
        self.assertEqual(self.spec["selector"]["matchLabels"], labels)
        self.assertEqual(self.found["Service"]["spec"]["selector"], labels)
        self.assertEqual(self.found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"], labels)
        self.assertEqual(self.spec["serviceName"], self.found["Service"]["metadata"]["name"])

    def test_probes(self) -> None:
        """
        Each gives up before Kubernetes does; only what looks at readiness minds the state.
        """
        for name, minds in (("startupProbe", True), ("readinessProbe", True), ("livenessProbe", False)):
            probe = self.server[name]
            command = probe["exec"]["command"]
            self.assertEqual(command[:2], ["sipgrace", "status"])
            self.assertEqual("--is" in command, minds)
            self.assertLess(float(command[command.index("--timeout") + 1]), probe["timeoutSeconds"])


class Rotated(TestCase):
    """
    C{examples/logrotate.conf}, with a real logrotate.
    """

    timeout = 60

    def setUp(self) -> None:
        """
        The example, for a folder of the test's own.
        """
        self.folder = Path(self.mktemp()).absolute()
        # Where its group could write it, logrotate would not touch it.
        self.folder.mkdir(mode=0o755)
        # A file that others may write is not taken either.
        self.config = self.folder / "logrotate.conf"
        text = (EXAMPLES / "logrotate.conf").read_text(encoding="utf-8")
        self.assertIn("/var/log/sipgrace/*.jsonl {", text)
        text = text.replace("/var/log/sipgrace", os.fspath(self.folder))
        user, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
        self.config.write_text(text.replace("su sipgrace sipgrace", f"su {user} {group}"))
        self.config.chmod(0o644)
        self.path = self.folder / "audit.jsonl"

    def rotate(self, *options: str) -> None:
        """
        Once.
        """
        unpacked = Path(__file__).parent.parent / "build" / "logrotate"
        program = shutil.which("logrotate", path=f"{os.environ['PATH']}:/usr/sbin:{unpacked}/usr/sbin")
        if program is None:
            raise SkipTest("logrotate is not installed")
        libraries = ":".join(os.fspath(one) for one in unpacked.glob("usr/lib/*-linux-gnu*"))
        state = os.fspath(self.folder / "state")
        done = subprocess.run(
            [program, *options, "--state", state, os.fspath(self.config)],
            env={**os.environ, "LD_LIBRARY_PATH": libraries},
            check=False,
            capture_output=True,
            text=True,
            timeout=30,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def records(self, name: str) -> list[Any]:
        """
        What stands in a file.
        """
        path = self.folder / name
        text = gzip.decompress(path.read_bytes()) if name.endswith(".gz") else path.read_bytes()
        return [json.loads(line)["n"] for line in text.splitlines()]

    async def test_rotated(self) -> None:
        """
        No record is lost, however often it is rotated; nobody else can read them; an order that was given is
        known still.
        """
        log = AuditLog(self.path, beside)
        nonces = Nonces(self.path.with_name("audit.jsonl.nonces"))
        nonces.take("n1", 2e9, 1e9)
        nonces.storing("n1", 2e9, 1e9)()
        for number in range(3):
            await log.record({"n": number})
            self.rotate("--force")
            self.assertFalse(self.path.exists())
        # Nothing was added since.
        self.rotate("--force")
        await log.record({"n": 3})
        names = ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2.gz", "audit.jsonl.3.gz"]
        self.assertEqual([self.records(name) for name in names], [[3], [2], [1], [0]])
        self.assertEqual({(self.folder / name).stat().st_mode & 0o777 for name in names}, {0o600})
        again = Nonces(self.path.with_name("audit.jsonl.nonces"))
        again.load(1e9)
        self.assertRaises(OrderRefused, again.take, "n1", 2e9, 1e9)

    async def test_kept(self) -> None:
        """
        As many as the example says, however much is written; a small one is left alone until its month is
        over.
        """
        log = AuditLog(self.path, beside)
        for number in range(17):
            await log.record({"n": number})
            self.rotate("--force")
        found = sorted(path.name for path in self.folder.glob("audit.jsonl*"))
        self.assertEqual(len(found), 14)
        self.assertEqual(self.records("audit.jsonl.14.gz"), [3])
        await log.record({"n": 17})
        self.rotate()
        self.assertEqual(self.records("audit.jsonl"), [17])
        with self.path.open("ab") as file:
            file.truncate(101 * 1024 * 1024)
        self.rotate()
        self.assertFalse(self.path.exists())


class Running(TestCase):
    """
    A server that was started as an example says, two phones in the place of its clients.
    """

    timeout = 90

    def setUp(self) -> None:
        addresses = claim(self)
        self.address, self.hosts = addresses[0], addresses[1:3]
        # Paths of sockets are short.
        self.folder = Path(tempfile.mkdtemp(prefix="deployed-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.caller, self.callee = Phone(self, "caller"), Phone(self, "callee", keepRinging)

    def words(self, command: Sequence[str]) -> list[str]:
        """
        A command of the examples', its program and files in their places here.
        """
        program = command[0].rpartition("/")[2]
        return [*PROGRAMS.get(program, [program]), *(self.here(word) for word in command[1:])]

    def here(self, text: str) -> str:
        return re.sub(r"/(run|etc)/sipgrace", rf"{self.folder}/\1", text)

    def process(self, command: Sequence[str], environment: Mapping[str, str]) -> Process:
        return Process(self, command[0], *self.words(command), environment=dict(environment))

    async def run_(self, command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
        """
        Runs a command to its end.

        @return: its status, and what it has printed.
        """
        process = self.process(command, environment)
        status = await process.end()
        return status, (process.output + process.errors).decode()

    async def meet(self) -> Any:
        """
        Opens the associations of both clients.

        @return: the caller's.
        """
        found = [
            await phone.connect(
                f"sctp:host={self.address}:port={PORT}:encaps={ENCAPS}:stack=userspace:bindAddress={host}"
                ":localEncaps=0"
            )
            for phone, host in zip((self.caller, self.callee), self.hosts, strict=True)
        ]
        return found[0]

    def clientsHere(self, text: str) -> str:
        for documented, host in zip(CLIENTS, self.hosts, strict=True):
            text = text.replace(f'"{documented}"', f'"{host}"')
        return text


class Kubernetes(Running):
    """
    A pod: what Kubernetes would run, in its order.
    """

    async def start(self) -> Process:
        """
        The first container, then the server until its startup probe is content.
        """
        (self.folder / "run").mkdir()
        (self.folder / "etc").mkdir()
        text = manifests()["ConfigMap"]["data"]["server.toml"]
        (self.folder / "etc" / "server.toml").write_text(self.here(self.clientsHere(text)))
        values = {"POD_NAME": "sipgrace-server-0", "POD_ADDRESS": self.address}
        first = container("initContainers")
        self.assertEqual({one["name"] for one in first["env"]}, set(values))
        command = [re.sub(r"\$\((\w+)\)", lambda found: values[found[1]], word) for word in first["command"]]
        program, *arguments = self.words(command)
        path = shutil.which(program)
        assert path is not None
        self.assertEqual(await getProcessOutputAndValue(path, arguments), (b"", b"", 0))
        self.spec = container()
        self.environment = {one["name"]: self.here(one["value"]) for one in self.spec["env"]}
        server = self.process(self.spec["command"], self.environment)
        probe = self.spec["startupProbe"]
        for _ in range(probe["failureThreshold"]):
            status, _ = await self.run_(probe["exec"]["command"], self.environment)
            if not status:
                return server
        raise AssertionError(f"it does not start: {server.story()}")

    async def probe(self, name: str) -> int:
        """
        @return: the exit status of a probe, which came in time.
        """
        probe = self.spec[name]
        began = reactor.seconds()
        status, _ = await self.run_(probe["exec"]["command"], self.environment)
        self.assertLess(reactor.seconds() - began, probe["timeoutSeconds"])
        return status

    async def test_end(self) -> None:
        """
        A pod in service is ready and alive. When it is to end, preStop waits for the call that rings; the pod
        is not ready meanwhile, but alive. Then SIGTERM ends it at once, well within its period.
        """
        server = await self.start()
        out = await self.meet()
        call = self.caller.call("112", out)
        await call.has(180)
        self.assertEqual((await self.probe("readinessProbe"), await self.probe("livenessProbe")), (0, 0))

        began = reactor.seconds()
        hook = self.process(self.spec["lifecycle"]["preStop"]["exec"]["command"], self.environment)
        await server.said("lifecycle: draining")
        self.assertEqual((await self.probe("readinessProbe"), await self.probe("livenessProbe")), (4, 0))
        refused = await self.caller.call("112", out).done()
        self.assertEqual((refused.status, refused.has(b"Retry-After")), (503, True))
        self.assertIsNone(hook.status)
        self.callee.rings[0].respond(200)
        self.assertEqual((await call.done()).status, 200)
        self.assertEqual(await hook.end(), 0)
        self.assertIn(b"sipgrace-server-0: offline after", hook.output)
        self.assertEqual(await self.probe("livenessProbe"), 0)

        server.signal(SIGTERM)
        self.assertEqual(await server.end(), 0)
        grace = manifests()["StatefulSet"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        self.assertLess(reactor.seconds() - began, grace / 2)
        self.assertEqual(os.listdir(self.folder / "run"), ["server.toml"])

    async def test_drainedBefore(self) -> None:
        """
        A server that somebody has drained by hand: preStop fails, which Kubernetes notes, and SIGTERM ends
        the pod no less. A process that is gone is not alive.
        """
        server = await self.start()
        self.assertEqual((await self.run_(["sipgrace", "drain", "--wait"], self.environment))[0], 0)
        status, text = await self.run_(
            self.spec["lifecycle"]["preStop"]["exec"]["command"], self.environment
        )
        self.assertEqual((status, "the server is offline already" in text), (1, True))
        server.signal(SIGTERM)
        self.assertEqual(await server.end(), 0)
        self.assertEqual((await self.probe("readinessProbe"), await self.probe("livenessProbe")), (3, 3))


class Systemd(Running):
    """
    The unit.
    """

    def unit(self, role: str = "server") -> dict[str, list[str]]:
        """
        The settings of the unit, each with its values, C{%i} as it would be.
        """
        found: dict[str, list[str]] = {}
        for line in (EXAMPLES / f"sipgrace-{role}@.service").read_text(encoding="utf-8").splitlines():
            name, equals, value = line.partition("=")
            if equals and not line.startswith("#"):
                found.setdefault(name, []).append(value.replace("%i", "server-102"))
        return found

    def test_verified(self) -> None:
        """
        systemd knows all that stands there, and in those of clients and controllers.
        """
        verify = shutil.which("systemd-analyze")
        if verify is None:
            raise SkipTest("systemd is not installed")
        for name in ("server", "client", "controller"):
            text = (EXAMPLES / f"sipgrace-{name}@.service").read_text(encoding="utf-8")
            unit = self.folder / f"sipgrace-{name}@{name}-1.service"
            # Programs and user are there only where it is installed.
            text = re.sub(r"/opt/sipgrace/bin/\w+", "/bin/true", text)
            unit.write_text(text.replace("User=sipgrace", "User=root"))
            command = [verify, "verify", "--man=no", os.fspath(unit)]
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
            self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))

    def test_client(self) -> None:
        """
        A client's is the server's, but for what it runs.
        """
        server, client = self.unit(), self.unit("client")
        for setting in ("Description", "ExecStart"):
            (line,) = server.pop(setting)
            self.assertEqual(client.pop(setting), [line.replace("server ", "client ")])
        self.assertEqual(client, server)

    def command(self, setting: str) -> list[str]:
        (line,) = self.unit()[setting]
        return shlex.split(line.removeprefix("-"))

    async def start(self) -> tuple[Process, Manager]:
        """
        As systemd does, until the server says that it is ready.
        """
        (runtime,) = self.unit()["RuntimeDirectory"]
        (self.folder / "run" / runtime.removeprefix("sipgrace/")).mkdir(parents=True)
        (self.folder / "etc").mkdir()
        text = manifests()["ConfigMap"]["data"]["server.toml"]
        text = self.clientsHere(rendered(text, "server-102", self.address))
        text = text.replace("/run/sipgrace/control.sock", "/run/sipgrace/server-102/control.sock")
        (self.folder / "etc" / "server-102.toml").write_text(self.here(text))
        manager = Manager(self)
        server = self.process(self.command("ExecStart"), manager.environ)
        self.told: list[str] = []
        await self.until(manager, "READY=1")
        return server, manager

    async def until(self, manager: Manager, what: str) -> None:
        """
        Waits until systemd was told something.
        """

        def said() -> bool:
            self.told += manager.told()
            return any(what in told for told in self.told)

        await poll(said, f"{what} to systemd")

    def lines(self) -> Iterator[str]:
        for told in self.told:
            yield from told.splitlines()

    async def test_stop(self) -> None:
        """
        C{systemctl stop}: C{ExecStop} waits for the call that rings, systemd is asked for more time; then
        SIGTERM ends the process at once.
        """
        server, manager = await self.start()
        out = await self.meet()
        call = self.caller.call("112", out)
        await call.has(180)
        stop = self.process(self.command("ExecStop"), {})
        await self.until(manager, "STATUS=Draining: 1 accepted")
        self.assertIn("EXTEND_TIMEOUT_USEC=10000000", list(self.lines()))
        self.assertIsNone(stop.status)
        self.callee.rings[0].respond(200)
        self.assertEqual((await call.done()).status, 200)
        self.assertEqual(await stop.end(), 0)
        await self.until(manager, "STATUS=Offline")
        server.signal(SIGTERM)
        self.assertEqual(await server.end(), 0)

    async def test_signal(self) -> None:
        """
        SIGTERM alone drains as well: where C{ExecStop} cannot reach the process nothing is lost.
        """
        server, manager = await self.start()
        self.callee.ringing = answer
        self.assertEqual((await self.caller.call("112", await self.meet()).done()).status, 200)
        (line,) = self.unit()["ExecStop"]
        self.assertTrue(line.startswith("-"), "its failure is none of the service's")
        os.unlink(self.folder / "run" / "server-102" / "control.sock")
        self.assertEqual((await self.run_(self.command("ExecStop"), {}))[0], 3)
        server.signal(SIGTERM)
        await self.until(manager, "STOPPING=1")
        self.assertEqual(await server.end(), 0)
