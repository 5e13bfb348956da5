"""
What one run stands on: things to clean up afterwards, expectations, and the record of what came of it.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from inspect import iscoroutine
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

#: A result besides C{"passed"} and C{"failed"}: what cannot be had here, with the reason behind it.
SKIPPED = "skipped"

#: The most characters of what went wrong that are kept.
NOTE = 1500


@dataclass(frozen=True, slots=True)
class Result:
    """
    What came of one scenario.

    @ivar peer: the program it was made with, and its version.
    @ivar transport: what carried SIP between the peer and us.
    @ivar outcome: C{"passed"}, C{"failed"} or C{"skipped"}.
    @ivar note: figures of a run that passed; else why it did not.
    @ivar seconds: how long it took.
    """

    peer: str
    transport: str
    scenario: str
    outcome: str
    note: str = ""
    seconds: float = 0.0


class Skipped(Exception):
    """
    A scenario cannot be run here; says why.
    """


class Bench:
    """
    Takes the part of a test case towards what the tests share with these runs (L{tests.scenarios}).
    """

    def __init__(self) -> None:
        self._cleanups: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = []

    def addCleanup(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> None:
        """
        To be called when the run is over, the last one first.
        """
        self._cleanups.append((function, arguments, keywords))

    def assertEqual(self, first: object, second: object, message: str = "") -> None:
        """
        See L{expect}.
        """
        expect(first == second, f"{first!r} is not {second!r} {message}")

    async def close(self) -> None:
        """
        Cleans up.
        """
        while self._cleanups:
            function, arguments, keywords = self._cleanups.pop()
            done = function(*arguments, **keywords)
            if isinstance(done, Deferred) or iscoroutine(done):
                await done


def expect(condition: object, otherwise: str) -> None:
    """
    @raise AssertionError: with that text, unless the condition holds.
    """
    if not condition:
        raise AssertionError(otherwise)


class Record:
    """
    Makes scenarios happen one after the other, and keeps what came of them.

    @ivar wanted: makes only the scenarios whose name has this in it.
    """

    def __init__(self, path: Path, wanted: str = "") -> None:
        """
        @param path: a file that gets a line of JSON for each result.
        """
        self._file = path.open("a", encoding="utf-8")
        self.wanted = wanted

    async def make(
        self,
        peer: str,
        transport: str,
        scenario: str,
        run: Callable[[Bench], Awaitable[str | None]],
    ) -> None:
        """
        @param run: makes the scenario. It fires with a note, or fails.
        """
        if self.wanted not in scenario:
            return
        bench = Bench()
        began = time.monotonic()
        try:
            outcome, note = "passed", await run(bench) or ""
        except Skipped as skipped:
            outcome, note = SKIPPED, str(skipped)
        except Exception as error:
            outcome, note = "failed", " ".join(str(error).split())[:NOTE] or repr(error)
            if not isinstance(error, AssertionError):
                traceback.print_exc()
        finally:
            await bench.close()
        self.add(Result(peer, transport, scenario, outcome, note, round(time.monotonic() - began, 2)))

    def add(self, result: Result) -> None:
        """
        Keeps one result, and prints it.
        """
        print(json.dumps(asdict(result)), file=self._file, flush=True)
        line = f"{result.outcome:8}{result.peer:16}{result.transport:12}{result.scenario}"
        print(f"{line} ({result.seconds:.1f} s)" + (f": {result.note}" if result.note else ""), flush=True)
