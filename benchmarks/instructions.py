"""
How many instructions a call costs a compiled server, function by function: C{make profile
ARGS=--instructions} has valgrind's callgrind count them while SIPp calls through it. Processor time differs
from run to run with all that the machine does besides; this does not, and so shows what a change is worth.

What the kernel does is not in it, nor what it costs to wake up. Messages come one by one here, so that what
is done once for many under load is done for each.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from benchmarks.load import Addresses, Callee, call
from benchmarks.processes import Failed, Process, waitFor
from benchmarks.subjects import SUBJECTS, Place

__all__ = ["WAY", "count", "perCall", "table"]

#: What all of a call is in: datagrams that come, and timers.
WAY: Final = ("udp.UDPListener.doRead", "timers.TimerQueue._run")

#: Calls a second: callgrind makes a server some fifty times slower.
_RATE: Final = 30

#: Calls before those that count.
_BEFORE: Final = 60

#: Transactions end after 64 of these seconds, and what that costs is a part of a call.
_T1: Final = 0.1

_LINE: Final = re.compile(r"^\s*([\d,]+) .*?:CPyDef_(\w+) \[")


def count(calls: int) -> dict[str, float]:
    """
    @return: instructions a call, with those of all it calls, by function.
    @raise Failed: where they cannot be counted.
    """
    subject = SUBJECTS["sipgrace"]
    for program in ("valgrind", "callgrind_control", "callgrind_annotate"):
        if shutil.which(program) is None:
            raise Failed(f"{program} is not installed: apt install valgrind")
    addresses = Addresses()
    callerHost, host, calleeHost = addresses.next(), addresses.next(), addresses.next()
    with tempfile.TemporaryDirectory(prefix="instructions-") as name:
        folder = Path(name)
        found = folder / "callgrind"
        under = ("valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={found}", "--")
        place = Place(host, 5060, calleeHost, 5070)
        with (
            Callee(folder, calleeHost, 5070),
            subject.start(place, folder / "server", f"[timers]\nt1 = {_T1}\n", under, 120) as process,
        ):
            call(folder, callerHost, (host, 5060), _RATE, _BEFORE)
            _control(process, "--instr=on")
            counts = call(folder, callerHost, (host, 5060), _RATE, calls)
            if counts.successful != calls:
                raise Failed(f"of {calls} calls {counts.successful} succeeded; {process.story()}")
            time.sleep(64 * _T1 + 1)
            _control(process, "--dump")
            # What is asked for is written when the server has its next turn.
            part = folder / f"{found.name}.1"
            waitFor(part.exists, "callgrind to write", 60)
        asked = ["callgrind_annotate", "--inclusive=yes", "--threshold=100", str(part)]
        return perCall(subprocess.run(asked, check=True, capture_output=True, text=True).stdout, calls)


def _control(process: Process, what: str) -> None:
    done = subprocess.run(
        ["callgrind_control", what, str(process.pid)], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise Failed(f"callgrind_control {what}: {(done.stderr or done.stdout).strip()}")


def perCall(annotated: str, calls: int) -> dict[str, float]:
    """
    @param annotated: what callgrind_annotate has printed.
    @return: instructions a call, by the name of each compiled function; the most first.
    @raise Failed: where none are in it.
    """
    found: dict[str, float] = {}
    for line in annotated.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        # mypyc joins the parts of a name with three underlines; a fourth is that of a private name.
        name = match[2].removesuffix("_").replace("____", ".\N{BULLET}").replace("___", ".")
        found.setdefault(name.replace("\N{BULLET}", "_"), int(match[1].replace(",", "")) / calls)
    if not all(found.get(name) for name in WAY):
        raise Failed("callgrind has seen no compiled function: is the server compiled?")
    return found


def table(found: Mapping[str, float], least: float = 500) -> str:
    """
    @param least: functions with fewer are left out.
    @return: what to print.
    """
    lines = [f"{sum(found[name] for name in WAY) / 1000:8.1f} k instructions a call; with all they call:"]
    lines += [f"{value / 1000:8.1f} k  {name}" for name, value in found.items() if value >= least]
    return "\n".join(lines)
