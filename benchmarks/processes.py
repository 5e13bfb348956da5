"""
Processes under measurement: started in a folder of their own, ended for certain, and what the kernel says
that they cost.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

__all__ = ["Failed", "Process", "waitFor"]

_TICK = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """
    A part of the benchmark did not do what its figures would be read as.
    """


def waitFor(condition: Callable[[], bool], what: str, limit: float = 20.0) -> None:
    """
    Looks every 20 ms.

    @param limit: seconds.
    @raise Failed: when it does not come true in time.
    """
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            raise Failed(f"waited {limit:.0f} s for {what}")
        time.sleep(0.02)


def _parents() -> dict[int, int]:
    """
    @return: each process of this machine, and its parent.
    """
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = _stat(int(name))
            if fields:
                found[int(name)] = int(fields[1])
    return found


def _stat(pid: int) -> list[str]:
    """
    The fields of C{/proc/PID/stat} from the third on (state, parent, ...), or nothing where it has gone.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    # The name stands in brackets, and may hold blanks and brackets itself.
    return text.rpartition(")")[2].split()


class Process:
    """
    One program with all its children.

    @ivar folder: where it runs; its output is in C{output} there.
    """

    def __init__(
        self, command: Sequence[str], folder: Path, environment: dict[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.command = command
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "output", "wb") as output:
            self._popen = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                # A group of its own, so that what it has started ends with it.
                start_new_session=True,
            )
        self.pid = self._popen.pid

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def output(self) -> str:
        """
        What it has said so far.
        """
        return (self.folder / "output").read_text(encoding="utf-8", errors="replace")

    def running(self) -> bool:
        """
        Whether it has not ended.
        """
        return self._popen.poll() is None

    def pids(self) -> list[int]:
        """
        It and all that descend from it.
        """
        parents = _parents()
        found = [self.pid]
        for pid in found:
            found.extend(child for child, parent in parents.items() if parent == pid)
        return found

    def cpu(self) -> float:
        """
        Seconds of processor time that it has used so far, in user and system mode, its children's included:
        those that run, and those that have ended.
        """
        return sum(self.each().values())

    def each(self) -> dict[int, float]:
        """
        The same of each process that runs, by its number.
        """
        found = {}
        for pid in self.pids():
            fields = _stat(pid)
            if fields:
                # utime, stime, and the same of children waited for.
                found[pid] = sum(int(field) for field in fields[11:15]) / _TICK
        return found

    def memory(self) -> int:
        """
        Bytes of memory that it holds; what several of its processes share is counted once.
        """
        total = 0
        for pid in self.pids():
            try:
                text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
            except OSError:
                continue
            for line in text.splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        return total

    def wait(self, limit: float) -> int:
        """
        @param limit: seconds.
        @return: its exit status.
        @raise Failed: when it has not ended by then.
        """
        try:
            return self._popen.wait(limit)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.command[0]} did not end in {limit:.0f} s; {self.story()}") from None

    def story(self) -> str:
        """
        The end of its output, for when something is wrong.
        """
        return f"see {self.folder}: ..." + self.output()[-1500:]

    def signal(self, number: int) -> None:
        """
        Sends it, not its children, a signal.
        """
        self._popen.send_signal(number)

    def end(self, limit: float = 5.0) -> None:
        """
        Asks it to end, and makes it where it does not.
        """
        if self.running():
            self._popen.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(limit)
        self.kill()

    def kill(self) -> None:
        """
        Ends it at once, with all of its group.
        """
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()
