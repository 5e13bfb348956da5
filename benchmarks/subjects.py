"""
The programs that are compared: each takes calls over UDP at one address and sends them on to a callee.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.load import listens
from benchmarks.processes import Failed, Process, waitFor

__all__ = ["COMPILED", "PROBE", "SIPPY", "SUBJECTS", "Place", "Subject"]

ROOT = Path(__file__).resolve().parent.parent

#: The package with its hot modules compiled, where C{tools/compile.sh} has put it.
COMPILED = ROOT / "build" / "compiled"

#: sippy's program, in the environment that C{tools/setup.sh} has made for it.
SIPPY = ROOT / "build" / "bench-venv" / "bin" / "b2bua_simple"

#: Where calls for C{probe} go, at the callee's address.
PROBE = 5071

_KAMAILIO = """#!KAMAILIO
debug=0
log_stderror=yes
children=1
listen=udp:{host}:{port}
disable_tcp=yes
auto_aliases=no
loadmodule "tm.so"
loadmodule "tmx.so"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "textops.so"
request_route {{
  if ($rU == "probe") {{
    $du = "sip:{calleeHost}:{probe}";
  }} else {{
    $du = "sip:{calleeHost}:{calleePort}";
  }}
  t_relay();
}}
"""

_SERVER = """[server]
name = "bench"
listen = ["udp:{port}:interface={host}"]
max_accepted = 1000000
[limits]
transactions = 1000000
[[routes]]
prefix = "probe"
to = ["sip:{calleeHost}:{probe}"]
[[routes]]
domain = "*"
to = ["sip:{calleeHost}:{calleePort}"]
"""


@dataclass(frozen=True)
class Place:
    """
    Where a subject listens, and where the callee is.
    """

    host: str
    port: int
    calleeHost: str
    calleePort: int

    def fill(self, text: str) -> str:
        """
        Puts these in.
        """
        return text.format(**vars(self), probe=PROBE)


@dataclass(frozen=True)
class Subject:
    """
    One program.

    @ivar name: its key in the results.
    @ivar label: what tables call it.
    @ivar rate: how many calls a second it is given in the comparison.
    @ivar command: makes its command line, and writes what files it needs, with further lines in them.
    @ivar messages: how many messages of a call it sends.
    @ivar paths: where Python looks for modules first.
    @ivar plain: whether the callee makes allowances for it; see L{benchmarks.load.Callee}.
    """

    name: str
    label: str
    command: Callable[[Place, Path, str], list[str]]
    rate: int = 1500
    messages: int = 7
    paths: tuple[Path, ...] = (ROOT,)
    plain: bool = False

    def at(self, rate: int) -> Subject:
        """
        The same, given another rate.
        """
        return replace(self, rate=rate)

    def start(
        self, place: Place, folder: Path, more: str = "", under: Sequence[str] = (), limit: float = 20.0
    ) -> Process:
        """
        Starts it and waits until it listens.

        @param more: further lines of its configuration; a relative path in it is that of C{folder}.
        @param under: the command that runs it, where another does.
        @param limit: seconds within which it must listen.
        """
        folder.mkdir(parents=True, exist_ok=True)
        paths = ":".join(map(str, self.paths))
        process = Process([*under, *self.command(place, folder, more)], folder, {"PYTHONPATH": paths})
        try:
            waitFor(
                lambda: not process.running() or listens(place.host, place.port),
                f"{self.name} to listen",
                limit,
            )
            if not process.running():
                raise Failed(f"{self.name} has ended; {process.story()}")
        except BaseException:
            process.kill()
            raise
        return process


def _kamailio(*options: str) -> Callable[[Place, Path, str], list[str]]:
    def command(place: Place, folder: Path, more: str) -> list[str]:
        (folder / "kamailio.cfg").write_text(place.fill(_KAMAILIO) + more, encoding="ascii")
        return ["kamailio", "-f", "kamailio.cfg", "-DD", "-E", "-m", "4096", *options]

    return command


def _sipgrace(place: Place, folder: Path, more: str) -> list[str]:
    (folder / "server.toml").write_text(place.fill(_SERVER) + more, encoding="ascii")
    return [
        sys.executable,
        "-m",
        "twisted",
        "--log-format=text",
        "sipgrace-server",
        "--config",
        "server.toml",
    ]


def _relay(place: Place, folder: Path, more: str) -> list[str]:
    there = [place.host, str(place.port), place.calleeHost, str(place.calleePort)]
    return [sys.executable, "-m", "benchmarks.relay", *there]


def _sippy(place: Place, folder: Path, more: str) -> list[str]:
    return [
        str(SIPPY),
        "-f",
        "-l",
        place.host,
        "-p",
        str(place.port),
        "-n",
        f"{place.calleeHost}:{place.calleePort}",
    ]


SUBJECTS = {
    subject.name: subject
    for subject in (
        Subject("sipgrace", "sipgrace, compiled", _sipgrace, paths=(COMPILED, ROOT)),
        Subject("sipgrace_interpreted", "sipgrace, interpreted", _sipgrace),
        # What bursts need is asked of the kernel by all alike.
        Subject("kamailio", "Kamailio, tuned", _kamailio("-x", "fm", "-X", "fm", "-b", "4194304")),
        Subject("kamailio_default", "Kamailio, as Debian starts it", _kamailio()),
        Subject("relay", "bare relay on Twisted", _relay, messages=6),
        # Its release 2.5.0 ends no call with a Contact such as SIPp's (it knows transport=udp, not UDP), and
        # its threads send a 200 before the 180 that came just before.
        Subject("sippy", "sippy b2bua_simple", _sippy, rate=60, plain=True),
    )
}
