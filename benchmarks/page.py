"""
The figures as tables: for the terminal, and for docs/benchmarks.rst.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.subjects import ROOT, SUBJECTS
from interop import versions

__all__ = ["PAGE", "Table", "put", "tables", "text"]

PAGE = ROOT / "docs" / "benchmarks.rst"

#: What lies between these lines of the page is written anew by each run.
_BEGIN, _END = ".. tables: written by make bench ARGS=--page\n", ".. end of tables\n"

#: What all others are compared with.
ANCHOR = "kamailio"

_MESSAGES = {"invite": "an INVITE", "ok": "a 200"}


@dataclass(frozen=True)
class Table:
    """
    @ivar title: what it is of; C{words}, what has to be known to read it.
    @ivar rows: the first is its head.
    """

    title: str
    words: str
    rows: list[list[str]]


def _label(name: str) -> str:
    return SUBJECTS[name].label if name in SUBJECTS else name


def _ends(rounds: Sequence[float]) -> tuple[float, float]:
    return min(rounds), max(rounds)


def _cpu(found: Mapping[str, Any]) -> Table:
    rows = [["program", "ms a call", "from", "to", "of tuned Kamailio"]]
    anchor = found.get(ANCHOR, {}).get("median")
    for name, row in found.items():
        ratio = f"{row['median'] / anchor:.2f}" if anchor else ""
        costs = (f"{each:.3f}" for each in (row["median"], *_ends(row["rounds"])))
        rows.append([_label(name), *costs, ratio])
    words = (
        "SIPp's ``uac`` → program → SIPp's ``uas`` over UDP, seven messages a call through it, 1500 calls/s "
        "(sippy: 60), one worker; from ``/proc``, with all processes of a program; median of the rounds, "
        "which are interleaved. The relay sends no 100, and so six messages. What sippy does without any "
        "call, too, weighs more in its figure, for it has fewer."
    )
    return Table("Processor time a call", words, rows)


def _rate(found: Mapping[str, Any]) -> Table:
    rows = [["program", "calls/s", "from", "to"]]
    for name, row in found.items():
        rows.append([_label(name), *(f"{each:.0f}" for each in (row["median"], *_ends(row["rounds"])))])
    words = (
        "The highest rate with no failed call and no retransmission in 4 s, found to 250 calls/s; median of "
        "the rounds, a search in each. It is a burst, in which no transaction gets as old as 32 s. Both "
        "SIPps are on the same machine, and have to get by with what the program leaves them. All ask the "
        "kernel for receive buffers of 4 MiB."
    )
    return Table("Highest clean rate", words, rows)


def _delay(found: Mapping[str, Any]) -> Table:
    rows = [["program", "calls/s beside", "p50, ms", "p99, ms", "worst, ms"]]
    for name, row in found.items():
        rows.append([_label(name), str(row["rate"]), *(f"{row[key]:.2f}" for key in ("p50", "p99", "worst"))])
    return Table(
        "Added delay",
        "One request, from one socket through the program to another, beside calls at half of the lower one "
        "of the highest rates above.",
        rows,
    )


def _memory(found: Mapping[str, Any]) -> Table:
    rows = [
        ["program", "MiB for 1000"],
        *([_label(name), f"{each / 1024:.1f}"] for name, each in found.items()),
    ]
    return Table(
        "Memory of open calls",
        "5000 calls that ring, each of them two open transactions: what the processes hold beyond what they "
        "began with, for 1000 calls.",
        rows,
    )


def _way(found: Mapping[str, Any]) -> Table:
    rows = [
        ["between clients and server", "calls/s", "caller's client", "server", "callee's client", "together"]
    ]
    for name, row in found.items():
        each = [row["near"], row["server"], row["far"]]
        rows.append([name, f"{row['rate']}", *(f"{value:.2f}" for value in (*each, sum(each)))])
    words = "Milliseconds of processor time a call, seven messages on the whole way; compiled."
    return Table("Client → server → client", words, rows)


def _storm(found: Mapping[str, Any]) -> Table:
    rows = [["new INVITEs/s", "refused/s", "p50, ms", "p99, ms", "worst, ms"]]
    for row in found.values():
        rows.append(
            [
                f"{row['sent']:.0f}",
                f"{row['refused']:.0f}",
                *(f"{row[key]:.2f}" for key in ("p50", "p99", "worst")),
            ]
        )
    words = (
        "A draining server answers new INVITEs with 503 and Retry-After, and takes their ACKs, while 200 "
        "calls that it had accepted go on ringing: how long a 180 of theirs takes through it. The "
        "last row is the highest rate of refusals here: when fewer than 200 INVITEs wait for theirs, the "
        "next is sent."
    )
    return Table("A storm of refused calls", words, rows)


def _workers(found: Mapping[str, Any]) -> Table:
    rows = [["processes", "calls/s", "ms a call", "of the busiest", "calls on as many cores"]]
    alone = found["1"]["milliseconds"] * found["1"]["share"]
    for name, row in found.items():
        processes = "one, without workers" if name == "1" else f"a front and {name} workers"
        busiest = row["milliseconds"] * row["share"]
        rate, cost = f"{row['rate']:.0f}", f"{row['milliseconds']:.3f}"
        rows.append([processes, rate, cost, f"{busiest:.3f}", f"{alone / busiest:.2f}"])
    words = (
        "As the first table, but from 64 ports, 500 calls/s for each process that takes calls: processor "
        "time of all processes of the server for a call, and how much of it the busiest of them uses. SIPp "
        "is on the same machine, so more processes make no more calls here, and no throughput was measured. "
        "Where each has a core of its own the busiest is the bound: the last column says what that would "
        "make, one process being 1. It can be more than the number of workers, for who waits for the "
        "processor finds more messages at a time, which makes each cheaper."
    )
    return Table("Several workers", words, rows)


def _codec(found: Mapping[str, Any]) -> Table:
    names = list(dict.fromkeys(name for row in found.values() for name in row))
    rows = [["codec", *_MESSAGES.values()]]
    for name in names:
        rows.append([name, *(f"{found[key][name]:.1f}" for key in _MESSAGES if name in found[key])])
    words = (
        "Microseconds to parse a message with SDP, read what a proxy reads, put a Via on top, and write it; "
        "all of them interpreted, the best of the rounds."
    )
    return Table("The codec", words, rows)


def _fleet(found: Mapping[str, Any]) -> Table:
    rows = [["nodes", "events: p50, p99, ms", "GET: p50, p99, ms", "memory, MiB", "processor"]]
    for name, row in found.items():
        seen = row["visible_ms"]
        ways = [f"{seen[way]['p50']}, {seen[way]['p99']}" for way in ("stream", "get")]
        rows.append([name, *ways, f"{row['memory_mib']:.0f}", f"{row['cpu_share']:.0%}"])
    words = (
        "From a change at a node until it is to be seen at the API of its controller, of which 50 ms are the "
        "node's own, in which several changes become one. 50 changes/s; links over TLS on loopback; SQLite; "
        "meanwhile the whole fleet is asked for every 5 s, and the metrics every 15 s. Both bounds of "
        "``benchmarks/fleet.py`` (200 ms at p99, 500 MiB) are judged by ``python -m benchmarks.fleet``."
    )
    return Table("A controller and its fleet", words, rows)


_MAKERS = {
    "cpu_ms_per_call": _cpu,
    "highest_rate": _rate,
    "delay_ms": _delay,
    "memory_kib_per_1000_open": _memory,
    "way_cpu_ms_per_call": _way,
    "storm": _storm,
    "workers_cpu_ms_per_call": _workers,
    "codec_us": _codec,
    "fleet": _fleet,
}


def tables(figures: Mapping[str, Any]) -> list[Table]:
    """
    @param figures: as the JSON has them.
    @return: a table for each part that has any.
    """
    return [make(figures[key]) for key, make in _MAKERS.items() if figures.get(key)]


def text(table: Table) -> str:
    """
    @return: the table for a terminal.
    """
    widths = [max(len(row[place]) for row in table.rows) for place in range(len(table.rows[0]))]
    lines = [table.title]
    for row in table.rows:
        first, *rest = row
        cells = [
            first.ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)),
        ]
        lines.append("  " + "  ".join(cells))
    return "\n".join(lines)


def _rst(table: Table) -> str:
    lines = [
        table.title,
        "-" * len(table.title),
        "",
        table.words,
        "",
        ".. list-table::",
    ]
    lines += ["   :header-rows: 1", ""]
    for row in table.rows:
        lines += [f"   {'* -' if not place else '  -'} {cell}".rstrip() for place, cell in enumerate(row)]
    return "\n".join(lines) + "\n"


def _rmem() -> str:
    # Some containers do not see it.
    try:
        return Path("/proc/sys/net/core/rmem_max").read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"


def facts() -> list[str]:
    """
    @return: what was measured, on what.
    """
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT).stdout.strip()
    except OSError:
        said = ""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    model = re.search(r"(?m)^model name\s*: (.+)$", info)
    return [
        f"commit {said or 'unknown'}",
        f"Python {platform.python_version()}, {sys.implementation.name}",
        f"{os.cpu_count()} processors{f' ({model[1]})' if model else ''}, Linux {platform.release()}",
        f"receive buffers of at most {_rmem()} bytes (net.core.rmem_max)",
        versions.sipp(),
        versions.kamailio(),
    ]


def put(figures: Mapping[str, Any], page: Path = PAGE) -> None:
    """
    Writes the tables into the page.

    @raise ValueError: where it has no place for them.
    """
    before, begin, rest = page.read_text(encoding="utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"{page} has no lines {_BEGIN!r} and {_END!r}")
    parts = ["\n".join(f"* {fact}" for fact in figures["made"]) + "\n", *map(_rst, tables(figures))]
    page.write_text(f"{before}{_BEGIN}\n" + "\n".join(parts) + f"\n{_END}{after}", encoding="utf-8")
