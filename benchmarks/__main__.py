"""
What a call costs, in processor time of the program in the middle: C{python -m benchmarks} measures each
program in turn, several rounds interleaved, and prints medians, spreads and ratios.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.cpu import CallCost, costOf
from benchmarks.load import Addresses
from benchmarks.processes import Failed
from benchmarks.subjects import COMPILED, SUBJECTS

#: What all others are compared with.
ANCHOR = "kamailio"


def present(name: str) -> str:
    """
    @return: what is missing for this program, or the empty string.
    """
    if name.startswith("kamailio"):
        return "" if shutil.which("kamailio") else "Debian's kamailio"
    if name == "sipgrace":
        return "" if COMPILED.exists() else "a C compiler (tools/compile.sh)"
    if name == "sippy":
        there = Path(__file__).parent.parent / "build" / "bench-venv" / "bin" / "b2bua_simple"
        return "" if there.exists() else "PyPI's sippy in build/bench-venv"
    return ""


def say(text: str) -> None:
    """
    Tells how far it is.
    """
    print(text, file=sys.stderr, flush=True)


def measure(names: list[str], rounds: int, seconds: float, warm: float) -> dict[str, list[CallCost]]:
    """
    Each program once a round, so that what disturbs the machine disturbs all.
    """
    found: dict[str, list[CallCost]] = {name: [] for name in names}
    addresses = Addresses()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            for name in names:
                place = Path(folder) / str(number)
                place.mkdir(exist_ok=True)
                try:
                    found[name].append(costOf(SUBJECTS[name], place, addresses, seconds, warm, say))
                except Failed as error:
                    say(f"{name}: not counted: {error}")
    return found


def main(arguments: list[str] | None = None) -> int:
    """
    @return: the exit status: 1 where a program has no figure at all.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each program is measured (3)")
    parser.add_argument("--seconds", type=float, default=10, help="how long calls are placed each time (10)")
    parser.add_argument("--warm", type=float, default=3, help="how long before that, uncounted (3)")
    parser.add_argument(
        "--only", action="append", choices=list(SUBJECTS), help="only this program; repeatable"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    given = parser.parse_args(arguments)
    names = []
    for name in given.only or SUBJECTS:
        missing = present(name)
        if missing:
            print(f"{name} is left out: it needs {missing}", file=sys.stderr)
        else:
            names.append(name)
    found = measure(names, given.rounds, given.seconds, given.warm)
    medians = {name: median(cost.milliseconds for cost in costs) for name, costs in found.items() if costs}
    anchor = medians.get(ANCHOR)
    print(f"{'':<30} {'ms a call':>10} {'from':>8} {'to':>8} {'ratio':>8}")
    for name, middle in medians.items():
        values = [cost.milliseconds for cost in found[name]]
        ratio = f"{middle / anchor:8.2f}" if anchor else ""
        print(f"{SUBJECTS[name].label:<30} {middle:10.3f} {min(values):8.3f} {max(values):8.3f} {ratio}")
    if given.json is not None:
        figures = {
            name: {"median": medians[name], "rounds": [cost.milliseconds for cost in found[name]]}
            for name in medians
        }
        given.json.write_text(json.dumps({"cpu_ms_per_call": figures}, indent=2) + "\n", encoding="ascii")
    return 0 if len(medians) == len(names) else 1


if __name__ == "__main__":
    sys.exit(main())
