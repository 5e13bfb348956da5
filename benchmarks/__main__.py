"""
What sipgrace costs, beside other programs: processor time, rates, delays, memory. C{make bench} sets up what
is needed first.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from benchmarks.page import facts, put, tables, text
from benchmarks.parts import PARTS, Wishes
from benchmarks.subjects import COMPILED, SIPPY, SUBJECTS


def missing(name: str) -> str:
    """
    @return: what is missing for this program, or the empty string.
    """
    if name.startswith("kamailio"):
        return "" if shutil.which("kamailio") else "Debian's kamailio"
    if name == "sipgrace":
        found = any(COMPILED.glob("sipgrace/**/*.so"))
        return "" if found else "what tools/compile.sh makes"
    if name == "sippy":
        return "" if SIPPY.exists() else "PyPI's sippy in build/bench-venv"
    return ""


def say(line: str) -> None:
    """
    Tells how far it is.
    """
    print(line, file=sys.stderr, flush=True)


def write(path: Path, figures: dict[str, Any]) -> None:
    """
    Writes them as JSON.
    """
    path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """
    @return: the exit status: 1 where a program or a part has no figure at all.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each program is measured (3)")
    parser.add_argument("--seconds", type=float, default=10, help="how long calls are placed each time (10)")
    # Transactions live for 32 s over UDP, and what their end costs is a part of a call.
    parser.add_argument("--warm", type=float, default=35, help="how long before that, uncounted (35)")
    parser.add_argument(
        "--only", action="append", choices=list(SUBJECTS), help="only this program; repeatable"
    )
    parser.add_argument(
        "--part",
        action="append",
        choices=list(PARTS),
        help="only this part; repeatable; all take half an hour",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--page", action="store_true", help="write the tables into docs/benchmarks.rst")
    given = parser.parse_args(arguments)
    if given.page and (given.part or given.only):
        parser.error("--page writes all tables anew: it needs all parts and programs")
    names = []
    for name in given.only or SUBJECTS:
        lack = missing(name)
        if lack:
            say(f"{name} is left out: it needs {lack}")
        else:
            names.append(name)
    how = f"{given.rounds} rounds, each of {given.seconds:g} s after {given.warm:g} s of the same load"
    figures: dict[str, Any] = {"made": [*facts(), how]}
    wishes = Wishes(names, given.rounds, given.seconds, given.warm, say, figures)
    if given.json is not None:
        # Where nothing can be written, that is said now.
        write(given.json, figures)
    for part in given.part or PARTS:
        say(f"-- {part}")
        key, measure = PARTS[part]
        figures[key] = measure(wishes)
        for table in tables({key: figures[key]}):
            print(text(table) + "\n", flush=True)
        if given.json is not None:
            # So far: whoever breaks it off has what there was.
            write(given.json, figures)
    whole = all(figures.values()) and set(names) <= set(figures.get("cpu_ms_per_call", names))
    if given.page and whole:
        put(figures)
    elif given.page:
        say("the page stays as it is, for figures are missing: see above")
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
