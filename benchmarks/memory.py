"""
What calls that ring cost in memory.
"""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.load import RING, Addresses, Callee, Caller, stepsOf
from benchmarks.processes import Failed, waitFor
from benchmarks.subjects import Place, Subject

__all__ = ["memoryPerThousand"]


def memoryPerThousand(subject: Subject, folder: Path, addresses: Addresses, calls: int, rate: int) -> float:
    """
    Places calls that ring and are not answered: each holds an INVITE server transaction, an INVITE client
    transaction and what joins them.

    @return: KiB for 1000 of them.
    @raise Failed: where not all of them ring.
    """
    callerHost, host, calleeHost = addresses.next(), addresses.next(), addresses.next()
    with subject.start(Place(host, 5060, calleeHost, 5070), folder / subject.name) as process:
        time.sleep(1)
        before = process.memory()
        with Callee(folder, calleeHost, 5070, RING) as callee:
            caller = Caller(folder, callerHost, (host, 5060), rate, calls)
            with caller.process:
                # It dumps its figures every second.
                waitFor(lambda: _ringing(caller) >= calls, f"{calls} calls to ring", calls / rate + 20)
                held = process.memory() - before
                if not callee.process.running():
                    raise Failed(f"the callee has ended; {callee.process.story()}")
    return held / 1024 / (calls / 1000)


def _ringing(caller: Caller) -> int:
    try:
        return stepsOf(caller.counts()).get("180_Recv", 0)
    except Failed:
        # It has not written anything yet.
        return 0
