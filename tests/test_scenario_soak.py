"""
Calls without end, and servers that are drained and come back time and again: nothing piles up.
"""

from __future__ import annotations

import os
from pathlib import Path
from signal import SIGUSR1
from statistics import median

from twisted.logger import Logger
from twisted.trial.unittest import TestCase

from tests.scenarios.network import Network, busy
from tests.scenarios.processes import Role
from tests.scenarios.sipp import callee, caller, needsSIPp

#: How many calls, at the least; C{SIPGRACE_SOAK_CALLS=1000000} for the long run.
CALLS = int(os.environ.get("SIPGRACE_SOAK_CALLS", "5000"))

#: Calls a second.
RATE = int(os.environ.get("SIPGRACE_SOAK_RATE", "160"))

#: Calls from one drain to the next.
APART = int(os.environ.get("SIPGRACE_SOAK_APART", str(CALLS // 20)))

ENDLESS = 100_000_000

#: Seconds. Transactions end after 64 of it, 9.6 s, so that also a short run sees what is left of them.
T1 = float(os.environ.get("SIPGRACE_SOAK_T1", "0.15"))

TIMERS = f"[timers]\nt1 = {T1}\n"


def held(role: Role) -> int:
    """
    @return: bytes of memory that a process has to itself.
    """
    for line in Path(f"/proc/{role.transport.pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the kernel says nothing of memory")


class SoakTests(TestCase):
    """
    Two servers drained in turn under steady load.
    """

    timeout = 60 + CALLS / RATE * 3
    log = Logger()

    async def test_memory(self) -> None:
        """
        No call fails, and from the second quarter to the last no process grows by more than a twentieth and a
        MiB: the medians of what they hold whenever a server has come back.
        """
        needsSIPp()
        network = Network(self, guard=2)
        for number in (1, 2):
            network.startServer(number, TIMERS)
        network.startClient(1, f"sip:{network.host}:7110", more=TIMERS)
        network.startClient(2, f"sip:{network.host}:7112", more=TIMERS)
        called = await callee(self, network, "udp", 7112, ENDLESS)
        await network.ready()
        servers = [await network.control("server", number) for number in (1, 2)]
        for server in servers:
            await server.watch()
        calling = caller(self, network, "udp", 7110, 1, "2001", ENDLESS, RATE)
        roles = [*network.servers.values(), *network.clients.values()]
        samples: list[dict[str, int]] = []
        while calling.outcome().created < CALLS:
            number = len(samples) % 2
            server = servers[number]
            await busy(server, (await server.status())["accepted"] + APART // 2, limit=60 + APART / RATE * 4)
            gone = await server.when(["offline"], await server.drain(why="for a test"))
            self.assertEqual((gone["change"], gone["forced"]), ("offline", 0), network.story())
            await server.when(["serving"], await server.resume())
            await network.clients[1].said(f"server-{1 + number} is active", 2 + len(samples) // 2)
            samples.append({role.name: held(role) for role in roles})
            self.log.info("{outcome}; bytes: {sample}", outcome=calling.outcome(), sample=samples[-1])
        calling.signal(SIGUSR1)
        self.assertEqual(await calling.end(60), 0, calling.story())
        outcome = calling.outcome()
        self.assertEqual((outcome.successful, outcome.failed), (outcome.created, 0), calling.story())
        called.signal(SIGUSR1)
        self.assertEqual(await called.end(60), 0, called.story())
        network.check()
        self.assertGreaterEqual(len(samples), 8)
        quarter = len(samples) // 4
        for role in roles:
            first = median(sample[role.name] for sample in samples[quarter : 2 * quarter])
            last = median(sample[role.name] for sample in samples[-quarter:])
            self.assertLess(last, first * 1.05 + (1 << 20), f"{role.name}: {samples}")
