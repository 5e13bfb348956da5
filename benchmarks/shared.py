"""
Processor time per call of a server whose traffic several workers share: SIPp's C{uac}, from several
addresses, for one gets to one worker alone → server → SIPp's C{uas}.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.cpu import checkCalls
from benchmarks.load import Addresses, Callee, Caller, Counts
from benchmarks.processes import Failed
from benchmarks.subjects import SUBJECTS, Place, Subject

__all__ = ["SharedCost", "sharedCost"]

#: How many callers there are.
_CALLERS = 8


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


def _sum(counts: list[Counts]) -> Counts:
    messages: dict[str, int] = {}
    for each in counts:
        for step, number in each.messages.items():
            messages[step] = messages.get(step, 0) + number
    return Counts(
        calls=sum(each.calls for each in counts),
        successful=sum(each.successful for each in counts),
        failed=sum(each.failed for each in counts),
        retransmissions=sum(each.retransmissions for each in counts),
        seconds=max(each.seconds for each in counts),
        messages=messages,
    )


def sharedCost(workers: int, folder: Path, addresses: Addresses, rate: int, seconds: float) -> SharedCost:
    """
    @param rate: calls a second, of all callers together.
    @raise Failed: where the calls were not such that the figure means anything.
    """
    hosts = [addresses.next() for _ in range(_CALLERS)]
    host, calleeHost = addresses.next(), addresses.next()
    calls = round(rate * seconds / _CALLERS)
    subject = _withWorkers(workers)
    with (
        Callee(folder, calleeHost, 5070) as callee,
        subject.start(Place(host, 5060, calleeHost, 5070), folder / "server") as process,
    ):
        # Let it come to rest: what it does at its start is no part of a call.
        time.sleep(1)
        before = process.each()
        callers = [Caller(folder, one, (host, 5060), rate / _CALLERS, calls) for one in hosts]
        try:
            for caller in callers:
                caller.process.wait(seconds + 60)
            counted = _sum([caller.counts() for caller in callers])
        finally:
            for caller in callers:
                caller.process.kill()
        if not process.running():
            raise Failed(f"the server has ended; {process.story()}")
        used = [now - before.get(pid, 0.0) for pid, now in process.each().items()]
        heard = callee.end()
    checkCalls(counted, heard, calls * _CALLERS)
    cost = sum(used) / (calls * _CALLERS) * 1000
    return SharedCost(cost, calls * _CALLERS / counted.seconds, max(used) / sum(used))
