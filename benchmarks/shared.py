"""
Processor time per call of a server whose traffic several workers share: SIPp's C{uac}, from many ports, for
what comes from one gets to one worker alone → server → SIPp's C{uas}.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.cpu import checkCalls
from benchmarks.load import Addresses, Callee, call
from benchmarks.processes import Failed
from benchmarks.subjects import SUBJECTS, Place, Subject

__all__ = ["SharedCost", "sharedCost"]

#: Ports from which SIPp sends, in turn: which worker gets a call is decided by that.
_PORTS = ("-t", "un", "-max_socket", "64")


@dataclass(frozen=True)
class SharedCost:
    """
    @ivar milliseconds: of processor time of all its processes, for one call.
    @ivar rate: calls a second that were really made.
    @ivar share: of the processor time, what the busiest of its processes used.
    """

    milliseconds: float
    rate: float
    share: float


def _withWorkers(workers: int) -> Subject:
    subject = SUBJECTS["sipgrace"]

    def command(place: Place, folder: Path, more: str) -> list[str]:
        arguments = subject.command(place, folder, more)
        path = folder / "server.toml"
        text = path.read_text(encoding="ascii")
        path.write_text(text.replace("[limits]", f"workers = {workers}\n[limits]"), encoding="ascii")
        return arguments

    return replace(subject, command=command)


def sharedCost(workers: int, folder: Path, addresses: Addresses, rate: int, seconds: float) -> SharedCost:
    """
    @param workers: how many; 1 for a server in one process.
    @param rate: calls a second.
    @raise Failed: where the calls were not such that the figure means anything.
    """
    callerHost, host, calleeHost = addresses.next(), addresses.next(), addresses.next()
    calls = round(rate * seconds)
    with (
        Callee(folder, calleeHost, 5070) as callee,
        _withWorkers(workers).start(Place(host, 5060, calleeHost, 5070), folder / "server") as process,
    ):
        # Let it come to rest: what it does at its start is no part of a call.
        time.sleep(1)
        before = process.each()
        counted = call(folder, callerHost, (host, 5060), rate, calls, extra=_PORTS)
        if not process.running():
            raise Failed(f"the server has ended; {process.story()}")
        used = [now - before.get(pid, 0.0) for pid, now in process.each().items()]
        heard = callee.end()
    checkCalls(counted, heard, calls)
    return SharedCost(sum(used) / calls * 1000, calls / counted.seconds, max(used) / sum(used))
