"""
What a call costs on its whole way, caller → client → server → client → callee, over each transport between
them.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cpu import checkCalls
from benchmarks.load import Addresses, Callee, call
from benchmarks.processes import Failed, Process, waitFor
from benchmarks.subjects import COMPILED, ROOT

__all__ = ["WAYS", "PathCost", "pathCost"]

#: Where a server listens, and how a client gets there.
WAYS = {
    "SCTP in userspace": (
        "sctp:5060:interface={server}:encaps=9899:stack=userspace",
        "sctp:host={server}:port=5060:encaps=9899:stack=userspace:bindAddress={own}:localEncaps=9899",
    ),
    "TCP": ("tcp:5060:interface={server}", "tcp:host={server}:port=5060:bindAddress={own}"),
}

_SERVER = """[server]
name = "server"
listen = ["{listen}"]
max_accepted = 1000000
[limits]
transactions = 1000000
[[clients]]
name = "near"
networks = ["{near}"]
[[clients]]
name = "far"
networks = ["{far}"]
[[routes]]
domain = "*"
to = ["far"]
"""

_CLIENT = """[client]
name = "{name}"
listen = ["udp:5060:interface={own}"]
stack = "userspace"
[limits]
transactions = 1000000
[[servers]]
name = "server"
address = "{address}"
[[users]]
prefix = "{prefix}"
contact = "sip:{user}"
"""


@dataclass(frozen=True)
class PathCost:
    """
    Milliseconds of processor time for one call: of the caller's client, of the server, and of the callee's
    client.
    """

    near: float
    server: float
    far: float


def pathCost(way: str, folder: Path, addresses: Addresses, rate: int, seconds: float) -> PathCost:
    """
    @param way: one of L{WAYS}.
    @param rate: calls a second.
    @raise Failed: where a call fails, or SIPp or what it calls through sends anything twice.
    """
    caller, near, server, far, callee = (addresses.next() for _ in range(5))
    listen, connect = WAYS[way]
    calls = round(rate * seconds)
    with ExitStack() as stack:
        called = stack.enter_context(Callee(folder, callee, 5070))

        def start(role: str, name: str, text: str, said: str) -> Process:
            place = folder / name
            place.mkdir(parents=True)
            (place / "role.toml").write_text(text, encoding="ascii")
            given = [sys.executable, "-m", "twisted", "--log-format=text", f"sipgrace-{role}"]
            process = Process([*given, "--config", "role.toml"], place, {"PYTHONPATH": f"{COMPILED}:{ROOT}"})
            stack.enter_context(process)
            waitFor(lambda: said in process.output() or not process.running(), f"{name} to say {said!r}")
            if not process.running():
                raise Failed(f"{name} has ended; {process.story()}")
            return process

        def client(name: str, own: str, prefix: str, user: str) -> Process:
            address = connect.format(server=server, own=own)
            text = _CLIENT.format(name=name, own=own, address=address, prefix=prefix, user=user)
            return start("client", name, text, "server is active")

        text = _SERVER.format(listen=listen.format(server=server), near=near, far=far)
        parts = [
            start("server", "server", text, "lifecycle: serving"),
            client("near", near, "caller", f"{caller}:5080"),
            client("far", far, "service", f"{callee}:5070"),
        ]
        call(folder, caller, (near, 5060), rate, rate)
        before = [part.cpu() for part in parts]
        counts = call(folder, caller, (near, 5060), rate, calls)
        time.sleep(0.1)
        costs = [(part.cpu() - start) / calls * 1000 for part, start in zip(parts, before, strict=True)]
        heard = called.end()
    checkCalls(counts, heard, calls, trying=False, behind=False)
    return PathCost(costs[1], costs[0], costs[2])
