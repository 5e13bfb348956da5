"""
The reference network, from the command line, as whoever looks at this package for the first time runs it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from random import randrange

import treq
from twisted.internet import reactor
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, HTTPConnectionPool

from sipgrace.demo.plan import CLIENTS, SERVERS
from tests.children import Child
from tests.scenarios.waiting import poll


def prefix() -> str:
    """
    Addresses that no other test has.
    """
    return f"127.{randrange(1, 255)}.{randrange(1, 255)}"


def running(directory: Path) -> list[int]:
    """
    The processes that were started with a configuration file in that directory.
    """

    def found() -> Iterator[int]:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                if any(word.startswith(os.fsencode(directory) + b"/") for word in words):
                    yield int(entry.name)

    return sorted(found())


class Runs(TestCase):
    """
    Whole runs.
    """

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.loopback = prefix()

    def demo(self, *arguments: str) -> Child:
        return Child(
            self,
            *("-m", "sipgrace.commands.main", "demo", "--loopback", self.loopback),
            *("--files", str(self.directory), *arguments),
        )

    async def test_drainUnderLoad(self) -> None:
        """
        All calls are completed; the server is drained within its guard, by both sides' account, and comes
        back; no process stays.
        """
        for _ in range(3):
            figures = Path(self.mktemp()).absolute()
            child = self.demo(
                *("--calls", "60", "--rate", "40", "--ring", "0.4", "--guard", "2"),
                *("--drain", "server-104", "--json", str(figures)),
            )
            status = await child.ended
            said = (child.output + child.errors).decode()
            self.assertEqual(running(self.directory), [])
            found = json.loads(figures.read_text())
            if status == 0 or all(bound["met"] for bound in found["bounds"]):
                break
            # On a busy machine all is late.
            self.assertEqual((found["calls_completed"], found["drains"][0]["met"]), (60, True), said)
        self.assertEqual((status, child.errors), (0, b""), said)

        # Each client that has a call for it while it drains is told, and tries the next server.
        rerouted = found["calls_rerouted"]
        self.assertIn(rerouted, range(1, 60), said)
        self.assertEqual(
            {key: found[key] for key in found if key.startswith("calls_")},
            {
                "calls_started": 60,
                "calls_completed": 60,
                "calls_failed": 0,
                "calls_lost": 0,
                "calls_rerouted": rerouted,
            },
            said,
        )
        setup = found["setup_ms"]
        self.assertGreaterEqual(setup["p50"], 400)
        self.assertGreaterEqual(setup["p99"], setup["p50"])
        self.assertGreaterEqual(setup["rerouted"]["p50"], 400)
        self.assertGreaterEqual(setup["rerouted"]["p99"], setup["rerouted"]["p50"])

        (drain,) = found["drains"]
        self.assertEqual(
            (drain["server"], drain["guard_s"], drain["forced"], drain["aborted"], drain["associations"]),
            ("server-104", 2.0, 0, 0, 4),
        )
        self.assertGreater(drain["waiting"], 0)
        self.assertLessEqual(drain["drained_after_s"], drain["associations_gone_after_s"])
        self.assertLess(drain["associations_gone_after_s"], 2)
        gone = drain["gone_by_clients_after_s"]
        self.assertEqual(set(gone), {client.name for client in CLIENTS})
        self.assertGreaterEqual(min(gone.values()), drain["drained_after_s"] - 0.05)
        # Those who were told stay away for as long as they were asked to.
        self.assertGreaterEqual(drain["back_after_s"], 2)
        self.assertEqual((found["troubles"], found["error"], drain["trouble"]), ([], "", ""))

        steps = [
            "the first of 60 calls",
            "server-104 is draining",
            "server-104 is drained, 0 by force",
            "server-104 is offline",
            "server-104 serves again",
            "server-104 is back on all active lists",
        ]
        timeline = child.output.decode().partition("Timeline")[2]
        self.assertEqual(re.findall("|".join(steps), timeline), steps)

    async def test_kept(self) -> None:
        """
        The network stays until Ctrl-C; its controllers have a page, and know all nodes. The exit status is
        then that of the run.
        """
        child = self.demo("--idle", "--keep", "--guard", "1")
        await child.printed(b"starting four")
        await child.printed(b"operator's token")
        await child.printed(b"The network goes on until Ctrl-C")
        told = await child.printed(rb"SIPGRACE_CONTROLLER=(\S+) SIPGRACE_TOKEN=(\S+)\n")
        first, token = told[1].decode(), told[2].decode()
        page = first.replace(".120:", ".121:")
        socket = (await child.printed(rb"--socket (\S+) +# server-104"))[1].decode()
        self.assertIn(b"Timeline", child.output)
        agent = Agent(reactor, HTTPConnectionPool(reactor, persistent=False))
        headers = {"Authorization": f"Bearer {token}"}
        self.assertEqual((await treq.get(page, agent=agent)).code, 200)
        fleet = await (await treq.get(f"{page}api/v1/fleet", agent=agent, headers=headers)).json()
        self.assertEqual(
            [(node["name"], node["linked"]) for node in fleet["nodes"]],
            [(member.name, True) for member in sorted((*SERVERS, *CLIENTS), key=lambda one: one.name)],
        )
        access = {"SIPGRACE_CONTROLLER": first, "SIPGRACE_TOKEN": token}
        rolling = Child(
            self,
            *("-m", "sipgrace.commands.main", "rolling", "--all", "--wait", "--settle", "0.5"),
            environment=access,
        )
        self.assertEqual(await rolling.ended, 0, rolling.output + rolling.errors)
        maintained = (self.directory / "maintained").read_text().split()
        self.assertEqual(maintained, [server.name for server in SERVERS])
        values = {"node": "server-104", "kind": "drain"}
        order = await treq.post(f"{page}api/v1/orders", agent=agent, headers=headers, json=values)
        self.assertEqual((order.code, (await order.json())["by"]), (201, "controller-120"))
        status = Child(self, "-m", "sipgrace.commands.main", "status", "--socket", socket)
        self.assertEqual(await status.ended, 0, status.errors)
        self.assertIn(b"server-104", status.output)
        child.signal(signal.SIGINT)
        self.assertEqual(await child.ended, 0, child.output + child.errors)
        self.assertEqual(running(self.directory), [])

    async def test_interrupted(self) -> None:
        """
        Ctrl-C takes everything down.
        """
        child = self.demo()
        await child.printed(b"starting")
        await poll(lambda: running(self.directory), "the first process")
        child.signal(signal.SIGINT)
        self.assertEqual(await child.ended, 130, child.errors)
        self.assertEqual(running(self.directory), [])

    async def test_addressTaken(self) -> None:
        """
        Where another process has one of the addresses, one sentence says which.
        """
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind((f"{self.loopback}.{SERVERS[1].number}", 9899))
            child = self.demo("--stack", "userspace")
            self.assertEqual(await child.ended, 3)
        self.assertEqual(
            child.errors.decode(),
            f"sipgrace: {self.loopback}.104, UDP port 9899 (SCTP in userspace): another process has this "
            "address, perhaps another demo; end it, or try again beside it with --loopback 127.0.1\n",
        )

    async def test_nowhereForFigures(self) -> None:
        """
        Where the figures cannot be written nothing is begun.
        """
        nowhere = self.directory / "none" / "figures.json"
        child = self.demo("--json", str(nowhere))
        self.assertEqual(await child.ended, 2)
        self.assertIn(
            "Invalid value for '--json': expected a file in a folder that can be written to, "
            f"found '{nowhere}'",
            child.errors.decode(),
        )
        self.assertEqual(child.output, b"")
