"""
Load from SIPp: callers and callees, and what they count.
"""

from __future__ import annotations

import csv
import os
import subprocess
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from benchmarks.processes import Failed, Process, waitFor

__all__ = ["RING", "Addresses", "Callee", "Caller", "Counts", "call", "listens", "stepsOf"]

#: What SIPp asks of the kernel for its sockets, in bytes: bursts must not get lost on its side.
_BUFFER = 4_000_000

_numbers = count(1)


class Addresses:
    """
    Loopback addresses of one run of the benchmark: all programs can then use the same port numbers, and two
    runs at a time do not meet.
    """

    def __init__(self) -> None:
        pid = os.getpid()
        self._prefix = f"127.{64 + pid % 128}.{pid // 128 % 250 + 1}"
        self._count = 0

    def next(self) -> str:
        """
        Another one.
        """
        self._count += 1
        return f"{self._prefix}.{self._count % 250 + 1}"


@dataclass(frozen=True)
class Counts:
    """
    What one SIPp has counted.

    @ivar messages: by step of its scenario, such as C{1_INVITE_Sent}.
    """

    calls: int
    successful: int
    failed: int
    retransmissions: int
    seconds: float
    messages: dict[str, int]

    def together(self, end: str) -> int:
        """
        How many messages were counted at steps of this kind: C{"_Sent"}, C{"_Recv"}, C{"_Retrans"}.
        """
        return sum(number for step, number in self.messages.items() if step.endswith(end))


def stepsOf(counts: Counts) -> dict[str, int]:
    """
    The counts of a scenario by message: C{200_Recv} for all steps at which a 200 was received.
    """
    found: dict[str, int] = {}
    for step, number in counts.messages.items():
        _, _, message = step.partition("_")
        found[message] = found.get(message, 0) + number
    return found


class _SIPp:
    def __init__(self, folder: Path, name: str, arguments: list[str]) -> None:
        self.folder = folder / f"{next(_numbers)}-{name}"
        self.process = Process(
            [
                "sipp",
                *arguments,
                "-nostdin",
                "-buff_size",
                str(_BUFFER),
                "-trace_stat",
                "-stf",
                "stat.csv",
                "-fd",
                "1",
                "-trace_counts",
                # A busy machine is no reason to give up; failed calls are, and are counted.
                "-watchdog_minor_maxtriggers",
                "1000000",
                "-watchdog_major_maxtriggers",
                "1000000",
            ],
            self.folder,
        )

    def counts(self) -> Counts:
        """
        The last that it has written.
        """
        stat = self._last(self.folder / "stat.csv")
        found = sorted(self.folder.glob("*_counts.csv"))
        if not stat or not found:
            raise Failed(f"SIPp has counted nothing; {self.process.story()}")
        steps = self._last(found[0])
        messages = {
            step: int(number) for step, number in steps.items() if step and number and number.isdigit()
        }
        hours, minutes, seconds = stat["ElapsedTime(C)"].split(":")[:3]
        return Counts(
            calls=int(stat["TotalCallCreated"]),
            successful=int(stat["SuccessfulCall(C)"]),
            failed=int(stat["FailedCall(C)"]),
            retransmissions=int(stat["Retransmissions(C)"]),
            seconds=int(hours) * 3600 + int(minutes) * 60 + float(seconds),
            messages=messages,
        )

    @staticmethod
    def _last(path: Path) -> dict[str, str]:
        try:
            with open(path, newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file, delimiter=";"))
        except OSError:
            return {}
        return rows[-1] if rows else {}


def listens(host: str, port: int, transport: str = "udp") -> bool:
    """
    Whether a socket is bound to this IPv4 address.
    """
    wanted = "".join(f"{int(part):02X}" for part in reversed(host.split("."))) + f":{port:04X}"
    lines = Path(f"/proc/net/{transport}").read_text(encoding="ascii").splitlines()
    return any(wanted in line.split()[1] for line in lines[1:])


#: Where SIPp's callee answers.
_ANSWER = '<send retrans="500">'


#: A callee who rings, and answers after ten minutes.
RING = "ring.xml"


def _ring(folder: Path) -> Path:
    text = subprocess.run(["sipp", "-sd", "uas"], capture_output=True, text=True, check=False).stdout
    found = folder / RING
    found.write_text(text.replace(_ANSWER, '<pause milliseconds="600000"/>' + _ANSWER), encoding="ascii")
    return found.absolute()


def _plain(folder: Path, scenario: str) -> Path:
    # It says that it succeeded by 99.
    text = subprocess.run(["sipp", "-sd", scenario], capture_output=True, text=True, check=False).stdout
    found = folder / f"{scenario}-plain.xml"
    text = text.replace(";transport=[transport]", "")
    if text.count(_ANSWER) != 1:
        raise Failed(f"SIPp's own {scenario} is not what it was; a 200 that follows its 180 was expected")
    found.write_text(text.replace(_ANSWER, '<pause milliseconds="50"/>' + _ANSWER), encoding="ascii")
    return found.absolute()


class Callee(_SIPp):
    """
    A SIPp that answers every call.
    """

    def __init__(
        self,
        folder: Path,
        host: str,
        port: int,
        scenario: str = "uas",
        transport: str = "udp",
        plain: bool = False,
    ) -> None:
        """
        @param plain: whether its Contact is not to name its transport, and its 200 to come 50 ms after its
            180.
        """
        if scenario == RING:
            scenario = str(_ring(folder))
        if plain:
            scenario = str(_plain(folder, scenario))
        given = ["-sn", scenario] if not scenario.endswith(".xml") else ["-sf", scenario]
        mode = {"udp": "u1", "tcp": "t1"}[transport]
        super().__init__(folder, "callee", [*given, "-t", mode, "-i", host, "-p", str(port)])
        waitFor(lambda: listens(host, port, transport), f"the callee at {host}:{port}")

    def __enter__(self) -> Callee:
        return self

    def __exit__(self, *args: object) -> None:
        self.process.kill()

    def end(self) -> Counts:
        """
        Ends it.

        @return: all that it has counted.
        """
        # It dumps its figures every second.
        time.sleep(1.2)
        counts = self.counts()
        self.process.kill()
        return counts


class Caller(_SIPp):
    """
    A SIPp that places so many calls at a steady rate.
    """

    def __init__(
        self,
        folder: Path,
        host: str,
        to: tuple[str, int],
        rate: float,
        calls: int,
        scenario: str = "uac",
        transport: str = "udp",
        extra: tuple[str, ...] = (),
    ) -> None:
        given = ["-sn", scenario] if not scenario.endswith(".xml") else ["-sf", scenario]
        mode = {"udp": "u1", "tcp": "t1"}[transport]
        place = ["-t", mode, "-i", host, "-p", "5080"]
        load = ["-r", str(rate), "-m", str(calls), "-l", str(calls), "-d", "0"]
        super().__init__(folder, "caller", [*given, *place, *load, *extra, f"{to[0]}:{to[1]}"])


def call(
    folder: Path,
    host: str,
    to: tuple[str, int],
    rate: float,
    calls: int,
    scenario: str = "uac",
    transport: str = "udp",
    extra: tuple[str, ...] = (),
    patience: float = 60.0,
) -> Counts:
    """
    Places calls at a steady rate and waits for their end.

    @param rate: calls a second.
    @param patience: seconds for which calls may go on when the last has been placed.
    @return: what the caller has counted.
    @raise Failed: where it does not come to an end.
    """
    sipp = Caller(folder, host, to, rate, calls, scenario, transport, extra)
    with sipp.process as process:
        process.wait(calls / rate + patience)
        return sipp.counts()
