"""
One controller with a thousand nodes: how long it takes until a change is to be seen at its API, and how much
memory it takes. C{python -m benchmarks.fleet} measures.

The controller is a process of its own, started as ever, with its store on the disk. The nodes are simulated
here (see L{benchmarks.fleetnodes}), each with a link of its own, over TLS on loopback. All the while somebody
reads the stream of events, a page asks for the whole fleet every five seconds, and the metrics are read every
fifteen.
"""

from __future__ import annotations

import argparse
import datetime
import json
import random
import sys
import tempfile
import time
from math import ceil
from pathlib import Path
from typing import Any, Final
from urllib.request import Request, urlopen

from treq.client import HTTPClient
from twisted.internet.defer import Deferred, DeferredList, DeferredSemaphore, gatherResults
from twisted.internet.task import LoopingCall, deferLater, react
from twisted.internet.threads import deferToThreadPool
from twisted.web.client import Agent, HTTPConnectionPool

from benchmarks.fleetnodes import Node, nodesOf
from benchmarks.load import Addresses
from benchmarks.processes import Failed, Process, waitFor
from sipgrace.commands.certificates import Authority
from sipgrace.commands.keys import makeOrderKey
from sipgrace.controller.web.tokens import newToken

__all__ = ["fleetFigures", "main"]

#: What is to be kept: milliseconds at p99, and MiB.
VISIBLE: Final = 200.0
MEMORY: Final = 500.0

#: Seconds between two requests for the whole fleet, for the metrics, for one node that is being looked at.
PAGE: Final = 5.0
SCRAPE: Final = 15.0
GLANCE: Final = 0.01

#: So many of the changes are looked for by GET as well as in the stream: one in so many.
LOOKED: Final = 5

#: Seconds after the last change, within which all are to be seen.
LATE: Final = 10.0

_LINKS: Final = 7120
_HTTP: Final = 7180
_NAME: Final = "controller-bench"


def fleetFigures(nodes: int, seconds: float, rate: float, folder: Path) -> dict[str, Any]:
    """
    Measures in a process of its own, with a reactor of its own.

    @param seconds: how long nodes change, once all are linked.
    @param rate: how many changes there are in a second.
    @param folder: for all that is written.
    @return: the figures, as C{--json} has them.
    @raise Failed: where there are none.
    """
    file = (folder / "fleet.json").absolute()
    here = str(Path(__file__).parent.parent)
    command = [
        *(sys.executable, "-m", "benchmarks.fleet", "--json", str(file)),
        *("--nodes", str(nodes), "--seconds", f"{seconds:g}", "--rate", f"{rate:g}"),
    ]
    with Process(command, folder / "fleet", {"PYTHONPATH": here}) as process:
        process.wait(600 + seconds)
        if not file.exists():
            raise Failed(f"no figures; {process.story()}")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def configured(folder: Path, host: str, names: list[str]) -> tuple[Path, str]:
    """
    Makes all that the controller and the nodes need.

    @return: the controller's file, and a token.
    """
    now = datetime.datetime.now(datetime.UTC)
    keys = folder / "keys"
    authority = Authority.make(keys, "sipgrace benchmark", 2, "p256", now)
    for name in (_NAME, *names):
        authority.certify(name, 2, "p256", now)
    makeOrderKey(keys, _NAME)
    token, digest = newToken()
    file = folder / "controller.toml"
    file.write_text(
        f"""\
[controller]
name = "{_NAME}"
[links]
listen = "tcp:{_LINKS}:interface={host}:backlog=2000"
certificate = "keys/{_NAME}.crt"
key = "keys/{_NAME}.key"
ca = "keys/ca.crt"
[key]
name = "{_NAME}"
file = "keys/{_NAME}.order"
[store]
path = "controller.sqlite"
[http]
listen = "tcp:{_HTTP}:interface={host}"
[[tokens]]
name = "bench"
role = "operator"
sha256 = "{digest}"
""",
        encoding="utf-8",
    )
    return file, token


class Measuring:
    """
    One run.
    """

    def __init__(self, reactor: Any, host: str, token: str, nodes: list[Node]) -> None:
        self._reactor = reactor
        self._base = f"http://{host}:{_HTTP}"
        self._headers: dict[bytes | str, bytes | str] = {"Authorization": f"Bearer {token}"}
        self._http = HTTPClient(Agent(reactor, pool=HTTPConnectionPool(reactor)))
        self._nodes = {node.name: node for node in nodes}
        self._waiting: dict[str, list[tuple[int, float]]] = {name: [] for name in self._nodes}
        self._looking: list[Deferred[None]] = []
        self._rest = b""
        self._began = Deferred[None]()
        self.streamed: list[float] = []
        self.got: list[float] = []
        self.pages: list[float] = []
        self.scrapes: list[float] = []
        self.placed = 0

    async def read(self) -> None:
        """
        Begins to read the stream of events.
        """
        response = await self._http.get(f"{self._base}/api/v1/events", headers=self._headers, unbuffered=True)
        if response.code != 200:
            raise Failed(f"the stream of events is refused: {response.code}")
        # It does not end before the controller does.
        response.collect(self._received).addErrback(lambda failure: None)
        await self._began

    def _received(self, data: bytes) -> None:
        *whole, self._rest = (self._rest + data).split(b"\n\n")
        now = time.monotonic()
        for text in whole:
            fields = dict(line.split(b": ", 1) for line in text.split(b"\n") if b": " in line)
            kind = fields.get(b"event")
            if kind == b"hello":
                self._began.callback(None)
            elif kind == b"node":
                told = json.loads(fields[b"data"])
                self._seen(told["node"], told["facts"], now)

    def _seen(self, name: str, view: dict[str, Any], now: float) -> None:
        node, waiting = self._nodes[name], self._waiting[name]
        while waiting and node.shows(view, waiting[0][0]):
            self.streamed.append((now - waiting.pop(0)[1]) * 1000)

    def change(self, node: Node) -> None:
        """
        Has something change, and looks for it.
        """
        self.placed += 1
        began = time.monotonic()
        node.change()
        self._waiting[node.name].append((node.changes, began))
        if self.placed % LOOKED == 0:
            self._looking.append(Deferred.fromCoroutine(self._lookFor(node, node.changes, began)))

    async def _lookFor(self, node: Node, number: int, began: float) -> None:
        while True:
            view = await self._get(f"/api/v1/nodes/{node.name}")
            if node.shows(json.loads(view), number):
                self.got.append((time.monotonic() - began) * 1000)
                return
            await deferLater(self._reactor, GLANCE)

    async def _get(self, path: str) -> str:
        response = await self._http.get(f"{self._base}{path}", headers=self._headers)
        text: str = await response.text()
        if response.code != 200:
            raise Failed(f"GET {path}: {response.code} {text[:200]}")
        return text

    async def page(self) -> int:
        """
        Asks for the whole fleet.

        @return: how long the answer is, in bytes.
        """
        return await self._aside("/api/v1/fleet", self.pages)

    async def scrape(self) -> None:
        """
        Reads the metrics.
        """
        await self._aside("/metrics", self.scrapes)

    async def _aside(self, path: str, times: list[float]) -> int:
        """
        Reads what is long in a thread, so that what is looked for meanwhile is not seen later for that.
        """

        def read() -> int:
            headers = {str(name): str(value) for name, value in self._headers.items()}
            with urlopen(Request(self._base + path, headers=headers), timeout=60) as answer:
                return len(answer.read())

        began = time.monotonic()
        long = await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), read)
        times.append((time.monotonic() - began) * 1000)
        return long

    async def finish(self) -> None:
        """
        Waits until all is seen.

        @raise Failed: where it is not.
        """
        until = time.monotonic() + LATE
        await gatherResults(self._looking, consumeErrors=True)
        while any(self._waiting.values()):
            if time.monotonic() > until:
                missing = sum(map(len, self._waiting.values()))
                raise Failed(f"{missing} changes are not to be seen after {LATE:.0f} s")
            await deferLater(self._reactor, GLANCE)


async def measure(reactor: Any, given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """
    @return: the figures.
    """
    host = Addresses().next()
    nodes = nodesOf(reactor, given.nodes)
    file, token = configured(folder, host, [node.name for node in nodes])
    command = [sys.executable, "-m", "twisted", "sipgrace-controller", "--config", str(file)]
    root = str(Path(__file__).parent.parent)
    with Process(command, folder / "controller", {"PYTHONPATH": root}) as controller:
        waitFor(lambda: "the API at" in controller.output(), "the controller", 60)
        empty = controller.memory()
        began = time.monotonic()
        # So many at a time, for their side of the handshakes is made here.
        linking = DeferredSemaphore(200)

        def link(node: Node) -> Deferred[None]:
            return Deferred.fromCoroutine(node.link(host, _LINKS, _NAME, folder / "keys"))

        await gatherResults([linking.run(link, node) for node in nodes], consumeErrors=True)
        linked = time.monotonic() - began
        measuring = Measuring(reactor, host, token, nodes)
        await measuring.read()
        long = await measuring.page()
        await deferLater(reactor, 2)
        measuring.pages.clear()
        loops = [LoopingCall(lambda: Deferred.fromCoroutine(measuring.page()))]
        loops += [LoopingCall(lambda: Deferred.fromCoroutine(measuring.scrape()))]
        beats = [loop.start(each) for loop, each in zip(loops, (PAGE, SCRAPE), strict=True)]
        worked = controller.cpu()
        began = time.monotonic()
        choose = random.Random(4)
        while (now := time.monotonic() - began) < given.seconds:
            for _ in range(max(0, round(now * given.rate) - measuring.placed)):
                measuring.change(choose.choice(nodes))
            await deferLater(reactor, 1 / given.rate)
        await measuring.finish()
        worked = (controller.cpu() - worked) / (time.monotonic() - began)
        most = controller.memory()
        for loop in loops:
            loop.stop()
        await gatherResults(beats)
        await DeferredList([node.end() for node in nodes], consumeErrors=True)
    sight = {
        way: {f"p{percent}": percentile(times, percent) for percent in (50, 99)} | {"of": len(times)}
        for way, times in (("stream", measuring.streamed), ("get", measuring.got))
    }
    worst = max(each["p99"] or 0.0 for each in sight.values())
    mebibytes = round(most / (1 << 20), 1)
    return {
        "nodes": len(nodes),
        "servers": sum(node.role == "server" for node in nodes),
        "seconds": given.seconds,
        "changes_per_second": given.rate,
        "visible_ms": sight,
        "memory_mib": mebibytes,
        "memory_empty_mib": round(empty / (1 << 20), 1),
        "cpu_share": round(worked, 3),
        "all_linked_s": round(linked, 1),
        "fleet_ms": {f"p{percent}": percentile(measuring.pages, percent) for percent in (50, 99)},
        "fleet_kib": round(long / 1024),
        "metrics_ms": {f"p{percent}": percentile(measuring.scrapes, percent) for percent in (50, 99)},
        "bounds": {"visible_ms": VISIBLE, "memory_mib": MEMORY},
        "met": bool(measuring.streamed) and worst <= VISIBLE and mebibytes <= MEMORY,
    }


def percentile(values: list[float], percent: float) -> float | None:
    """
    @return: one that occurred, by its nearest rank.
    """
    ordered = sorted(values)
    return round(ordered[ceil(len(ordered) * percent / 100) - 1], 1) if ordered else None


def text(figures: dict[str, Any]) -> str:
    """
    @return: the same for people.
    """

    def times(found: dict[str, Any]) -> str:
        return f"p50 {found['p50']} ms, p99 {found['p99']} ms"

    seen = figures["visible_ms"]
    memory, empty = figures["memory_mib"], figures["memory_empty_mib"]
    rows = {
        "nodes": f"{figures['nodes']}, of which {figures['servers']} servers",
        "changes": f"{figures['changes_per_second']:g}/s for {figures['seconds']:g} s",
        "to be seen in the stream of events": f"{times(seen['stream'])} ({seen['stream']['of']} changes)",
        "to be seen by GET nodes/NAME": f"{times(seen['get'])} ({seen['get']['of']} of these)",
        "memory of the controller": f"{memory} MiB ({empty} MiB without nodes)",
        "processor": f"{figures['cpu_share']:.0%} of one core",
        "all linked up": f"after {figures['all_linked_s']} s",
        f"GET fleet, {figures['fleet_kib']} KiB": times(figures["fleet_ms"]),
        "GET metrics": times(figures["metrics_ms"]),
        f"p99 to {VISIBLE:g} ms, memory to {MEMORY:g} MiB": "kept" if figures["met"] else "missed",
    }
    return "\n".join(f"{name:<36} {value}" for name, value in rows.items())


def main(arguments: list[str] | None = None) -> None:
    """
    The exit status is 1 where a bound was missed.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=__doc__)
    parser.add_argument("--nodes", type=int, default=1000, help="how many (1000)")
    parser.add_argument("--seconds", type=float, default=30, help="how long they change (30)")
    parser.add_argument("--rate", type=float, default=50, help="how many changes a second (50)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    given = parser.parse_args(arguments)

    async def run(reactor: Any) -> None:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            figures = await measure(reactor, given, Path(folder))
        print(text(figures))
        if given.json is not None:
            given.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        if not figures["met"]:
            raise SystemExit(1)

    react(lambda reactor: Deferred.fromCoroutine(run(reactor)))


if __name__ == "__main__":
    main()
