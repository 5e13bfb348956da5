"""
Makes the runs: C{make interop}, or C{python -m interop [RUN...]} where everything is set up.

Runs that need SCTP in the kernel are made in a guest that has it, by this very program. Only when all that
there is has been run is docs/interop.rst written anew.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from interop import baresip, kamailio, sipp, versions
from interop.bench import Record, Result
from interop.page import page
from sipgrace.transport.sctp.stack import kernelSpeaksSCTP

#: Results and facts of the last runs, and what was left to be looked at.
OUT = Path("build/interop")

PAGE = Path("docs/interop.rst")

GUEST = "tools/kernel/run"


class Run(NamedTuple):
    """
    Some scenarios that are made together.

    @ivar kernel: whether it needs SCTP in the kernel.
    """

    kernel: bool
    make: Callable[[Record], Awaitable[None]]


RUNS = {
    "sipp-udp": Run(False, lambda record: sipp.run(record, "UDP")),
    "sipp-tcp": Run(False, lambda record: sipp.run(record, "TCP")),
    "kamailio-udp": Run(False, lambda record: kamailio.run(record, "UDP")),
    "kamailio-tcp": Run(False, lambda record: kamailio.run(record, "TCP")),
    "baresip-udp": Run(False, lambda record: baresip.run(record, "UDP")),
    "baresip-tcp": Run(False, lambda record: baresip.run(record, "TCP")),
    "sipp-sctp": Run(True, lambda record: sipp.run(record, "SCTP")),
    "kamailio-sctp": Run(True, lambda record: kamailio.run(record, "SCTP")),
}


def here(names: list[str], record: Record) -> None:
    """
    Makes runs on this machine, one after the other. Does not return.
    """

    async def each(reactor: object) -> None:
        for name in names:
            try:
                await RUNS[name].make(record)
            except Exception as error:
                # The next one is another network.
                record.add(Result(name, "", "as a whole", "failed", " ".join(str(error).split())))

    react(lambda reactor: Deferred.fromCoroutine(each(reactor)))


def elsewhere(names: list[str], only: str, guest: bool) -> int:
    """
    Makes runs in a process of their own.

    @return: its exit status.
    """
    command = [sys.executable, "-m", "interop", "--here", f"--only={only}", *names]
    return subprocess.run([GUEST, *command] if guest else command, check=False).returncode


def main(arguments: list[str]) -> int:
    """
    @return: the exit status.
    """
    parser = argparse.ArgumentParser(prog="interop")
    parser.add_argument("--here", action="store_true", help="make the runs in this process")
    parser.add_argument("--only", default="", metavar="TEXT", help="only scenarios with this in their names")
    parser.add_argument(
        "runs", nargs="*", metavar="RUN", help=f"of {', '.join(RUNS)}; all of them by default"
    )
    given = parser.parse_args(arguments)
    names = given.runs or list(RUNS)
    unknown = sorted(set(names) - set(RUNS))
    if unknown:
        parser.error(f"no such run: {', '.join(unknown)}")
    versions.useUnpacked()
    results = OUT / "results.jsonl"
    if given.here:
        here(names, Record(results, given.only))
    OUT.mkdir(parents=True, exist_ok=True)
    results.unlink(missing_ok=True)
    facts = versions.facts()
    print("\n".join(facts), flush=True)
    wrong = []
    hosted = [name for name in names if not RUNS[name].kernel]
    inGuest = [name for name in names if RUNS[name].kernel]
    for some, guest in ((hosted, False), (inGuest, not kernelSpeaksSCTP())):
        if some and elsewhere(some, given.only, guest):
            wrong.append(f"{' '.join(some)} did not come to an end")
    found = [Result(**json.loads(line)) for line in results.read_text(encoding="utf-8").splitlines()]
    failed = [result for result in found if result.outcome != "passed"]
    print(f"{len(found) - len(failed)} passed, {len(failed)} not" + "".join(f"; {what}" for what in wrong))
    if names == list(RUNS) and not given.only and not wrong:
        PAGE.write_text(page(facts, found), encoding="utf-8")
        print(f"written: {PAGE}")
    return 1 if failed or wrong or not found else 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", os.getcwd())
    sys.exit(main(sys.argv[1:]))
