"""
Clients and servers as processes of their own over the kernel's SCTP: a path that is cut in mid-call, and the
demo.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from interop.network import KernelNetwork
from tests.scenarios.network import Network
from tests.scenarios.phones import Phone, answer
from tests.scenarios.waiting import poll
from tests.sctpguest import NEEDS_GUEST, NEEDS_KERNEL, addAddress, removeAddress

ROOT = Path(__file__).parent.parent

#: A server's two addresses.
BOTH = ("10.78.0.101", "10.78.0.102")

#: Paths that are found dead, and alive again, within moments.
QUICK = ":rtoMin=100:rtoInitial=200:rtoMax=500:heartbeat=200"


class Multihomed(KernelNetwork):
    """
    Servers that listen at two addresses.
    """

    def __init__(self, test: TestCase, **keywords: Any) -> None:
        super().__init__(test, **keywords)
        # SCTP from 127.0.0.0/8 reaches nothing else.
        self.host = "10.78.0.9"
        for host in (*BOTH, self.host, self.clientHost(1), self.clientHost(2)):
            addAddress(host)
            test.addCleanup(removeAddress, host)

    def clientHost(self, number: int) -> str:
        return f"10.78.0.{10 + number}"

    def serverHost(self, number: int) -> str:
        return BOTH[0]

    def toServer(self, number: int, host: str, encaps: int = 0) -> str:
        return f"sctp:host={BOTH[0]}:port=5060:stack=kernel:bindAddress={host}{QUICK}"

    def _write(self, name: str, text: str) -> str:
        return super()._write(name, text.replace(f"interface={BOTH[0]}", f"interface={','.join(BOTH)}"))


class Mixed(Network):
    """
    Servers over SCTP in userspace, clients over the kernel's: RFC 6951 between them.
    """

    def toServer(self, number: int, host: str, encaps: int = 0) -> str:
        return f"sctp:host={self.serverHost(number)}:port=5060:encaps=9899:stack=kernel:bindAddress={host}"

    def _write(self, name: str, text: str) -> str:
        if name.startswith("client"):
            text = text.replace('"userspace"', '"kernel"').replace(':encaps=9899"]', '"]')
        return super()._write(name, text)


class MixedTests(TestCase):
    """
    Clients on the kernel, a server in userspace.
    """

    skip = NEEDS_GUEST
    timeout = 300

    async def test_call(self) -> None:
        """
        A call from one client to the other, and the drain of the server: its SHUTDOWNs are answered.
        """
        port = Path("/proc/sys/net/sctp/udp_port")
        port.write_text("9900")
        self.addCleanup(port.write_text, "0")
        network = Mixed(self, guard=10)
        caller = await Phone(self, "caller").listen(network.host)
        callee = await Phone(self, "callee", answer).listen(network.host)
        server = network.startServer(1)
        for number, phone in ((1, caller), (2, callee)):
            network.startClient(number, f"sip:{network.host}:{phone.port}", servers=(1,))
        await network.ready()
        await server.said("SCTP stack: userspace")
        await network.clients[1].said("SCTP stack: kernel")
        call = caller.call("2001", network.users(1))
        ring = await callee.rung()
        final = await call.done()
        self.assertEqual(final.status, 200)
        await callee.until(lambda: ring.acked, "ACK")
        await call.hangUp()
        node = await network.control("server", 1)
        await node.watch()
        gone = await node.when(["offline"], await node.drain(why="for a test"))
        self.assertEqual((gone["forced"], gone["associations"]), (0, 0))
        network.check()


class PathTests(TestCase):
    """
    A server with two addresses.
    """

    skip = NEEDS_GUEST
    timeout = 300

    async def test_cutInMidCall(self) -> None:
        """
        The path that is used is cut while a call rings: the call is answered and ended, the change is logged
        and shown by the status, and so is the path's return.
        """
        network = Multihomed(self, guard=10)
        caller = await Phone(self, "caller").listen(network.host)
        callee = await Phone(self, "callee", lambda ring: ring.respond(180)).listen(network.host)
        server = network.startServer(1)
        for number, phone in ((1, caller), (2, callee)):
            network.startClient(number, f"sip:{network.host}:{phone.port}", servers=(1,))
        await network.ready()
        client = await network.control("client", 1)

        async def states() -> dict[str, str]:
            status = await client.status()
            return {path["host"]: path["state"] for path in status["paths"]}

        async def stands(*wanted: str) -> None:
            async def so() -> bool:
                return await states() == dict(zip(BOTH, wanted, strict=True))

            await poll(lambda: Deferred.fromCoroutine(so()), f"paths that are {wanted}")

        await stands("active", "active")
        shown = (await client.status())["paths"]
        self.assertEqual(
            [(path["peer"], path["host"], path["primary"]) for path in shown],
            [(f"{BOTH[0]}:5060", BOTH[0], True), (f"{BOTH[0]}:5060", BOTH[1], False)],
        )
        call = caller.call("2001", network.users(1))
        ring = await callee.rung()
        removeAddress(BOTH[0])
        await stands("inactive", "active")
        answer(ring)
        final = await call.done()
        self.assertEqual(final.status, 200)
        await callee.until(lambda: ring.acked, "ACK")
        await call.hangUp()
        self.assertTrue(ring.ended)
        await network.clients[1].said(rf"path {BOTH[0]} of .* is now unreachable")
        addAddress(BOTH[0])
        await stands("active", "active")
        self.assertEqual(len(server.every("association lost")), 0)
        network.check()


class DemoTests(TestCase):
    """
    C{sipgrace demo --stack kernel}.
    """

    skip = NEEDS_KERNEL
    timeout = 300

    async def test_small(self) -> None:
        """
        A few calls, one of the servers drained and brought back: all complete.
        """
        figures = Path(self.mktemp()).absolute()
        command = [sys.executable, "-m", "sipgrace.commands.main", "demo", "--stack", "kernel"]
        options = ["--calls", "24", "--rate", "3", "--guard", "10", "--json", str(figures)]
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        done = await deferToThread(
            subprocess.run,
            [*command, *options],
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        )
        self.assertEqual(done.returncode, 0, done.stdout[-2000:] + done.stderr[-2000:])
        found = json.loads(figures.read_text())
        counts = [found[key] for key in ("calls_started", "calls_completed", "calls_failed", "calls_lost")]
        self.assertEqual((found["stack"], counts), ("kernel", [24, 24, 0, 0]))
        self.assertEqual([drain["forced"] for drain in found["drains"]], [0])
