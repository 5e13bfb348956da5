"""
Makes the runs: C{make interop}, or C{python -m interop [RUN...]} where everything is set up.

Runs that need SCTP in the kernel are made in a guest that has it, by this very program. The results of each
are kept until it is made again; when there are those of all, with the same versions of everything and of one
commit, docs/interop.rst is written anew.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable
from datetime import date
from pathlib import Path
from typing import NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from interop import baresip, kamailio, sipp, versions
from interop.bench import Record, Result
from interop.network import inGuest
from interop.page import page

#: Results and facts of the last runs.
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


def here(names: list[str], only: str) -> None:
    """
    Makes runs on this machine, one after the other. Does not return.
    """

    async def each(reactor: object) -> None:
        for name in names:
            record = Record(path(name, only), only)
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


def path(name: str, only: str = "") -> Path:
    """
    @return: where the results of a run are kept; those of a part of one are kept apart.
    """
    return OUT / f"{name}{'-part' if only else ''}.jsonl"


def read(names: Iterable[str], only: str = "") -> list[Result]:
    """
    @return: what came of these runs when they were made last.
    """
    files = [path(name, only) for name in names if path(name, only).exists()]
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return [Result(**json.loads(line)) for line in lines]


def prepare(names: Iterable[str], only: str, facts: list[str]) -> None:
    """
    Forgets what came of these runs before, and of all others that were made with other versions or of another
    commit.
    """
    OUT.mkdir(parents=True, exist_ok=True)
    known = OUT / "facts.json"
    if not known.exists() or json.loads(known.read_text(encoding="utf-8")) != facts:
        for name in RUNS:
            path(name).unlink(missing_ok=True)
        known.write_text(json.dumps(facts), encoding="utf-8")
    for name in names:
        path(name, only).unlink(missing_ok=True)


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
    if given.here and not inGuest() and any(RUNS[name].kernel for name in names):
        parser.error(f"runs over the kernel's SCTP are made in the guest alone: {GUEST}")
    if given.here:
        here(names, given.only)
    facts = versions.facts()
    prepare(names, given.only, facts)
    print("\n".join(facts), flush=True)
    wrong = []
    hosted = [name for name in names if not RUNS[name].kernel]
    guests = [name for name in names if RUNS[name].kernel]
    for some, guest in ((hosted, False), (guests, not inGuest())):
        if some and elsewhere(some, given.only, guest):
            wrong.append(f"{' '.join(some)} did not come to an end")
    found = read(names, given.only)
    failed = [result for result in found if result.outcome != "passed"]
    print(f"{len(found) - len(failed)} passed, {len(failed)} not" + "".join(f"; {what}" for what in wrong))
    if not given.only and not wrong and all(path(name).exists() for name in RUNS):
        PAGE.write_text(page([*facts, f"made on {date.today()}"], read(RUNS)), encoding="utf-8")
        print(f"written: {PAGE}")
    return 1 if failed or wrong or not found else 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", os.getcwd())
    sys.exit(main(sys.argv[1:]))
