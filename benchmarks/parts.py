"""
What C{python -m benchmarks} measures, part by part. Each part returns figures that fit JSON.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from subprocess import SubprocessError
from typing import Any

from benchmarks.codecs import codecs
from benchmarks.cpu import costOf
from benchmarks.delay import delayOf
from benchmarks.fleet import fleetFigures
from benchmarks.load import Addresses
from benchmarks.memory import memoryPerThousand
from benchmarks.paths import WAYS, pathCost
from benchmarks.processes import Failed
from benchmarks.rate import FIRST, highestRate
from benchmarks.shared import sharedCost
from benchmarks.storm import stormOf
from benchmarks.subjects import SIPPY, SUBJECTS

__all__ = ["PARTS", "Wishes"]

#: Whom the parts after the first compare.
_TWO = ("sipgrace", "kamailio")

#: Calls that ring at once, and how many begin in a second, where memory is looked at.
_OPEN, _OPENING = 5000, 1000

#: Calls a second beside which delays are looked at, where the highest rates are not known.
_BESIDE = 2000

#: Calls a second on the way through three elements: the first of these with which nothing is sent twice.
_WAY = (1000, 500, 250)

#: INVITEs a second that are to be refused; 0 for as many as can be.
_STORMS = (1000, 5000, 10_000, 0)

#: How many processes share the traffic; and how many calls a second each of them is given: a process that has
#: less to do takes more time for a call, for it wakes up for fewer messages at once.
_WORKERS, _SHARED = (1, 2), 500

#: Nodes of one controller, and how many changes there are in a second.
_FLEET, _CHANGES = 1000, 50


#: What costs one figure, and not all that come after it: sockets and programs can fail, too.
_WRONG = (Failed, OSError, SubprocessError, ValueError)


@dataclass(frozen=True)
class Wishes:
    """
    @ivar names: the programs.
    @ivar rounds: how often each is measured where they are compared.
    @ivar seconds: how long calls are placed each time; C{warm}, for how long before, uncounted.
    @ivar say: is told how far it is.
    @ivar figures: those of the parts before.
    """

    names: Sequence[str]
    rounds: int
    seconds: float
    warm: float
    say: Callable[[str], None]
    figures: Mapping[str, Any] = field(default_factory=dict)


def _each(wishes: Wishes, names: Sequence[str], one: Callable[[str, Path], Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in names:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            try:
                found[name] = one(name, Path(folder))
            except _WRONG as error:
                wishes.say(f"{name}: not counted: {error}")
            else:
                wishes.say(f"{name}: {found[name]}")
    return found


def _some(wishes: Wishes) -> list[str]:
    return [name for name in _TWO if name in wishes.names]


def _inTurn(wishes: Wishes, names: Sequence[str], one: Callable[[str, Path], float]) -> dict[str, Any]:
    """
    Each program once a round, so that what disturbs the machine disturbs all.

    @return: of each program that was counted the median of its rounds, and all of them.
    """
    found: dict[str, list[float]] = {}
    for number in range(wishes.rounds):
        wishes.say(f"round {number + 1} of {wishes.rounds}")
        for name in names:
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                try:
                    found.setdefault(name, []).append(one(name, Path(folder)))
                except _WRONG as error:
                    wishes.say(f"{name}: not counted: {error}")
    return {name: {"median": median(each), "rounds": each} for name, each in found.items() if each}


def cpu(wishes: Wishes) -> dict[str, Any]:
    """
    Processor time a call.
    """
    addresses = Addresses()
    given = (addresses, wishes.seconds, wishes.warm, wishes.say)
    return _inTurn(
        wishes, wishes.names, lambda name, folder: costOf(SUBJECTS[name], folder, *given).milliseconds
    )


def rate(wishes: Wishes) -> dict[str, Any]:
    """
    The highest rate with no failed call and no retransmission. Each search after the first of a program
    begins at half of what the one before has found.
    """
    addresses = Addresses()
    before: dict[str, int] = {}

    def search(name: str, folder: Path) -> int:
        first = before.get(name, 0) // 2 or FIRST
        found = before[name] = highestRate(SUBJECTS[name], folder, addresses, 4, wishes.say, first)
        wishes.say(f"{name}: {found}")
        return found

    return _inTurn(wishes, _some(wishes), search)


def delay(wishes: Wishes) -> dict[str, Any]:
    """
    How long one message takes through, at half load: half of the rate that all of them take.
    """
    addresses = Addresses()
    highest = [each["median"] for each in wishes.figures.get("highest_rate", {}).values()]
    beside = round(min(highest) // 2) if highest else 0
    beside = beside or _BESIDE
    return _each(
        wishes,
        _some(wishes),
        lambda name, folder: {
            "rate": beside,
            **asdict(delayOf(SUBJECTS[name], folder, addresses, beside, wishes.seconds)),
        },
    )


def memory(wishes: Wishes) -> dict[str, Any]:
    """
    KiB for 1000 calls that ring.
    """
    addresses = Addresses()
    return _each(
        wishes,
        _some(wishes),
        lambda name, folder: memoryPerThousand(SUBJECTS[name], folder, addresses, _OPEN, _OPENING),
    )


def way(wishes: Wishes) -> dict[str, Any]:
    """
    Processor time a call of caller → client → server → client → callee.
    """
    addresses = Addresses()

    def one(name: str, folder: Path) -> dict[str, Any]:
        for each in _WAY:
            try:
                found = pathCost(name, folder / str(each), addresses, each, wishes.seconds)
            except Failed as error:
                wishes.say(f"{name}: {each} calls/s: {error}")
            else:
                return {"rate": each, **asdict(found)}
        raise Failed("no rate is low enough")

    return _each(wishes, list(WAYS), one)


def storm(wishes: Wishes) -> dict[str, Any]:
    """
    Messages of accepted calls, while a draining server refuses so many new ones a second.
    """
    addresses = Addresses()
    return _each(
        wishes,
        [str(each) for each in _STORMS],
        lambda name, folder: asdict(stormOf(folder, addresses, int(name), wishes.seconds)),
    )


def workers(wishes: Wishes) -> dict[str, Any]:
    """
    Processor time a call of a server with one process, and with workers.
    """
    addresses = Addresses()
    found: dict[str, Any] = {}
    for number in range(wishes.rounds):
        wishes.say(f"round {number + 1} of {wishes.rounds}")
        rows = _each(
            wishes,
            [str(each) for each in _WORKERS],
            lambda name, folder: asdict(
                sharedCost(int(name), folder, addresses, _SHARED * int(name), wishes.seconds)
            ),
        )
        for name, row in rows.items():
            found.setdefault(name, []).append(row)
    return {
        name: {key: median(row[key] for row in rows) for key in ("milliseconds", "rate", "share")}
        for name, rows in found.items()
    }


def codec(wishes: Wishes) -> dict[str, Any]:
    """
    Parsing and writing a message, in microseconds, by us and by others.
    """
    # The environment may be there without it.
    sippy = SIPPY.parent / "python" if SIPPY.exists() else None
    try:
        found = codecs(sippy)
    except _WRONG as error:
        wishes.say(f"codec: {error}")
        found = codecs(None)
    wishes.say(f"codec: {found}")
    return found


def fleet(wishes: Wishes) -> dict[str, Any]:
    """
    A controller with a thousand nodes: how soon a change of theirs is to be seen at its API, and its memory.
    """
    return _each(
        wishes,
        [str(_FLEET)],
        lambda name, folder: fleetFigures(int(name), 3 * wishes.seconds, _CHANGES, folder),
    )


#: By the name of their figures in the JSON: what measures them.
PARTS: dict[str, tuple[str, Callable[[Wishes], dict[str, Any]]]] = {
    "cpu": ("cpu_ms_per_call", cpu),
    "rate": ("highest_rate", rate),
    "delay": ("delay_ms", delay),
    "memory": ("memory_kib_per_1000_open", memory),
    "way": ("way_cpu_ms_per_call", way),
    "storm": ("storm", storm),
    "workers": ("workers_cpu_ms_per_call", workers),
    "codec": ("codec_us", codec),
    "fleet": ("fleet", fleet),
}
