"""
Runs the suite with trial, shows its output as it comes, and closes with a line that counts the tests:
C{N passed, N failed, N skipped}.

It fails when trial fails or dies, when no test ran, and, where the environment has C{CI=true}, when a test
was skipped for want of anything but kernel SCTP, and what tools/setup.sh could not get (build/lacking): what
CI skips, nobody ever sees fail.

Usage: runtests.py SUMMARY [trial's arguments...], by default the whole suite. The closing line is also
written to the file SUMMARY.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

# What need not be there, in the words of reasons to skip: kernel SCTP, and what tools/setup.sh could not get.
EXCUSED = "kernel sctp"
LACKING = Path("build/lacking")

_SUMMARY = re.compile(r"(?:PASSED|FAILED)(?: \((.*)\))?\Z")
_RULE = re.compile(r"[=-]{79}\Z")


@dataclass
class Count:
    """
    What trial's output says, line by line.

    @ivar totals: the numbers of its summary, or C{None} before it comes.
    @ivar finished: the tests seen to pass so far, for when no summary comes.
    @ivar skips: the reason of each skip.
    """

    totals: dict[str, int] | None = None
    finished: int = 0
    skips: list[str] = field(default_factory=list)
    _reason: list[str] | None = None

    def line(self, text: str) -> None:
        """
        Takes in the next line.
        """
        summary = _SUMMARY.match(text)
        if summary is not None:
            pairs = [one.split("=") for one in (summary[1] or "").split(", ") if one]
            self.totals = {key: int(value) for key, value in pairs}
        elif text.endswith("[OK]"):
            self.finished += 1
        elif text == "[SKIPPED]":
            self._reason = []
        elif _RULE.match(text):
            self._reason = None
        elif self._reason is not None:
            if re.fullmatch(r"[\w.]+\.test\w*", text):
                self.skips.append(" ".join(self._reason))
            elif text:
                self._reason.append(text)


def closing(count: Count) -> str:
    """
    @return: the closing line.
    """
    totals = count.totals
    if totals is None:
        return f"{count.finished} passed, 1 failed, {len(count.skips)} skipped"
    failed = sum(totals.get(key, 0) for key in ("failures", "errors", "unexpectedSuccesses"))
    skipped = sum(totals.get(key, 0) for key in ("skips", "expectedFailures"))
    return f"{totals.get('successes', 0)} passed, {failed} failed, {skipped} skipped"


def excused(lacking: Path = LACKING) -> list[str]:
    """
    @return: words of which one stands in a reason that is no mistake.
    """
    return [EXCUSED, *(lacking.read_text(encoding="ascii").split() if lacking.exists() else ())]


def verdict(count: Count, status: int, ci: bool, excuses: Sequence[str] = (EXCUSED,)) -> str:
    """
    @param excuses: see L{excused}.
    @param status: how trial ended, as in L{subprocess.Popen.returncode}.
    @return: why the run counts as failed, or the empty string.
    """
    if status < 0:
        return f"trial was ended by {signal.Signals(-status).name}"
    if count.totals is None:
        return f"trial ended with status {status} before its summary"
    if status > 0:
        return "tests failed"
    if not count.totals.get("successes", 0):
        return "no test ran"
    unexcused = sorted(
        {reason for reason in count.skips if not any(excuse in reason.lower() for excuse in excuses)}
    )
    if ci and (unexcused or len(count.skips) != count.totals.get("skips", 0)):
        reasons = "; ".join(unexcused) or "for reasons that could not be read"
        return f"tests were skipped that CI must run: {reasons}"
    return ""


def main(arguments: list[str]) -> int:
    """
    @return: the exit status.
    """
    summary, *wanted = arguments
    temporary = Path(f"build/trial-{os.getpid()}").absolute()
    temporary.parent.mkdir(exist_ok=True)
    Path(summary).unlink(missing_ok=True)
    command = [sys.executable, "-m", "twisted.trial", f"--temp-directory={temporary}", *(wanted or ["tests"])]
    count = Count()
    line = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as trial:
        assert trial.stdout is not None
        for line in trial.stdout:
            print(line, end="", flush=True)
            count.line(line.rstrip("\n"))
    why = verdict(count, trial.returncode, os.environ.get("CI") == "true", excused())
    if line and not line.endswith("\n"):
        # It died in the midst of a line.
        print()
    if why:
        print(f"failed: {why}" + (f"; logs are in {temporary}" if temporary.exists() else ""))
    else:
        shutil.rmtree(temporary, ignore_errors=True)
    line = closing(count)
    Path(summary).write_text(f"{line}\n", encoding="ascii")
    print(line, flush=True)
    return 1 if why else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
