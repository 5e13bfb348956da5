"""
Where the time of a server goes under load: C{python -m benchmarks.profile} has py-spy look at it a few
hundred times a second while SIPp calls through it. The result opens in a browser at
U{https://www.speedscope.app}, or, where it is written to a file that ends in C{.svg}, by itself, as a flame
graph.

The server runs interpreted, so that every function is seen by its name; with C{--compiled} as it would for
speed, and then with the frames of the compiled modules, and of Python itself. C{--instructions} counts
instead: see L{benchmarks.instructions}.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from benchmarks import instructions
from benchmarks.load import Addresses, Callee, call
from benchmarks.processes import Failed, waitFor
from benchmarks.subjects import ROOT, SUBJECTS, Place


def record(path: Path, compiled: bool, seconds: float, rate: int, samples: int) -> None:
    """
    Writes one profile.

    @param seconds: how long calls are placed.
    @param rate: calls a second.
    @param samples: looks a second.
    @raise Failed: where there is none to write.
    """
    subject = SUBJECTS["sipgrace" if compiled else "sipgrace_interpreted"]
    spy = shutil.which("py-spy", path=f"{Path(sys.executable).parent}:/usr/bin:/usr/local/bin")
    if spy is None:
        raise Failed("py-spy is not installed: pip install py-spy")
    path.unlink(missing_ok=True)
    addresses = Addresses()
    callerHost, host, calleeHost = addresses.next(), addresses.next(), addresses.next()
    place = Place(host, 5060, calleeHost, 5070)
    form = "flamegraph" if path.suffix == ".svg" else "speedscope"
    options = ["--format", form, "--rate", str(samples), "--output", str(path.absolute())]
    if compiled:
        options.append("--native")
    with tempfile.TemporaryDirectory(prefix="profile-") as name:
        folder = Path(name)
        under = (spy, "record", *options, "--")
        with (
            Callee(folder, calleeHost, 5070),
            subject.start(place, folder / "server", under=under) as process,
        ):
            counts = call(folder, callerHost, (host, 5060), rate, round(rate * seconds))
            if not process.running():
                raise Failed(f"the server has ended; {process.story()}")
            # py-spy writes what it has when it is interrupted.
            process.signal(signal.SIGINT)
            waitFor(lambda: not process.running(), "py-spy to write", 60)
            if not path.exists():
                raise Failed(f"nothing was written; {process.story()}")
    print(f"{counts.successful} of {counts.calls} calls succeeded; the profile is {path}")


def main(arguments: list[str] | None = None) -> int:
    """
    @return: the exit status.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.profile",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    build = ROOT / "build"
    parser.add_argument("--output", type=Path, default=build / "profile.speedscope.json", metavar="FILE")
    parser.add_argument("--compiled", action="store_true", help="with its hot modules compiled")
    parser.add_argument("--seconds", type=float, default=10, help="how long calls are placed (10)")
    parser.add_argument("--rate", type=int, default=1000, help="calls a second (1000)")
    parser.add_argument("--samples", type=int, default=500, help="looks a second (500)")
    parser.add_argument(
        "--instructions", action="store_true", help="count instructions a call, compiled, with callgrind"
    )
    given = parser.parse_args(arguments)
    if given.instructions:
        try:
            print(instructions.table(instructions.count(300)))
        except Failed as error:
            print(f"nothing was counted: {error}", file=sys.stderr)
            return 1
        return 0
    given.output.parent.mkdir(parents=True, exist_ok=True)
    try:
        record(given.output, given.compiled, given.seconds, given.rate, given.samples)
    except Failed as error:
        print(f"no profile: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
