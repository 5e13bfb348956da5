"""
Tests of C{tools/runtests.py}: nothing that goes wrong in the suite is counted as well; and of what says what
the kernel's tests run on.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent

HEAD = """
import os
from twisted.trial.unittest import TestCase
class Sample(TestCase):
    def test_one(self): pass
    def test_two(self): pass
"""
SKIPS = "    def test_skip(self): pass\n    test_skip.skip = {!r}\n"
KERNEL = "kernel SCTP is missing here"


class VersionsTests(SynchronousTestCase):
    """
    C{tools/kernel/versions.py}.
    """

    def test_said(self) -> None:
        """
        What the kernel's tests run on.
        """
        command = [sys.executable, os.fspath(ROOT / "tools/kernel/versions.py")]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        python, number = platform.python_version(), r"(missing|unknown|\d\S*)"
        wanted = rf"Linux \S+, Python {python}, Twisted \d\S*, pysctp {number}, libusrsctp2 {number}\n\Z"
        self.assertRegex(said, wanted)


class RunTests(SynchronousTestCase):
    """
    Small suites, run by it.
    """

    def run_(self, text: str, ci: str = "false", lacking: str = "") -> tuple[int, list[str], str]:
        """
        @param lacking: what the set-up could not get.
        @return: the exit status, the lines from the reason of the failure on, and the summary file.
        """
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "sample.py").write_text(text, encoding="utf-8")
        if lacking:
            (folder / "build").mkdir()
            (folder / "build" / "lacking").write_text(lacking, encoding="ascii")
        done = subprocess.run(
            [sys.executable, str(ROOT / "tools" / "runtests.py"), "summary", "sample"],
            cwd=folder,
            env={**os.environ, "CI": ci},
            capture_output=True,
            text=True,
            check=False,
        )
        lines = done.stdout.splitlines()
        self.assertTrue(lines, done.stderr)
        last = [line.split("; logs are in ")[0] for line in lines[-2:] if not line.startswith("PASSED")]
        self.temporary = sorted((folder / "build").iterdir())
        return done.returncode, last, (folder / "summary").read_text(encoding="ascii")

    def test_passed(self) -> None:
        line = "2 passed, 0 failed, 0 skipped"
        self.assertEqual(self.run_(HEAD), (0, [line], f"{line}\n"))
        self.assertEqual(self.temporary, [])

    def test_failed(self) -> None:
        """
        Failures and errors count alike, and so does a test that was to fail and did not. What trial left is
        kept.
        """
        text = (
            "    def test_fails(self): self.fail('x')\n"
            "    def test_errs(self): 1 / 0\n"
            "    def test_todo(self): pass\n"
            "    test_todo.todo = 'x'\n"
        )
        line = "2 passed, 3 failed, 0 skipped"
        self.assertEqual(self.run_(HEAD + text), (1, ["failed: tests failed", line], f"{line}\n"))
        self.assertEqual(len(self.temporary), 1)

    def test_skipped(self) -> None:
        """
        A skip passes for a person, but not in CI.
        """
        text = HEAD + SKIPS.format("sipp is not installed")
        line = "2 passed, 0 failed, 1 skipped"
        self.assertEqual(self.run_(text), (0, [line], f"{line}\n"))
        why = "failed: tests were skipped that CI must run: sipp is not installed"
        self.assertEqual(self.run_(text, "true"), (1, [why, line], f"{line}\n"))

    def test_skippedKernel(self) -> None:
        """
        For want of SCTP in the kernel it passes there, too.
        """
        line = "2 passed, 0 failed, 1 skipped"
        self.assertEqual(self.run_(HEAD + SKIPS.format(KERNEL), "true"), (0, [line], f"{line}\n"))

    def test_skippedForLack(self) -> None:
        """
        So it does for want of what the set-up could not get, and for that alone.
        """
        line = "2 passed, 0 failed, 1 skipped"
        text = HEAD + SKIPS.format("there is no etcd")
        self.assertEqual(self.run_(text, "true", "chromium\netcd\n"), (0, [line], f"{line}\n"))
        why = "failed: tests were skipped that CI must run: there is no etcd"
        self.assertEqual(self.run_(text, "true", "chromium\n"), (1, [why, line], f"{line}\n"))

    def test_skippedForTwoReasons(self) -> None:
        """
        One excuse does not cover another skip.
        """
        text = HEAD + SKIPS.format(KERNEL) + SKIPS.format("no time").replace("test_skip", "test_other")
        line = "2 passed, 0 failed, 2 skipped"
        why = "failed: tests were skipped that CI must run: no time"
        self.assertEqual(self.run_(text, "true"), (1, [why, line], f"{line}\n"))

    def test_crashed(self) -> None:
        """
        When the process dies there is no summary; what passed before it is counted all the same.
        """
        text = HEAD + "    def test_tworst(self): os.kill(os.getpid(), 11)\n"
        line = "2 passed, 1 failed, 0 skipped"
        self.assertEqual(self.run_(text), (1, ["failed: trial was ended by SIGSEGV", line], f"{line}\n"))

    def test_exited(self) -> None:
        text = HEAD + "    def test_tworst(self): os._exit(0)\n"
        line = "2 passed, 1 failed, 0 skipped"
        why = "failed: trial ended with status 0 before its summary"
        self.assertEqual(self.run_(text), (1, [why, line], f"{line}\n"))

    def test_nothing(self) -> None:
        line = "0 passed, 0 failed, 0 skipped"
        self.assertEqual(self.run_(""), (1, ["failed: no test ran", line], f"{line}\n"))

    def test_notImportable(self) -> None:
        line = "0 passed, 1 failed, 0 skipped"
        done = self.run_("import nothing_like_it")
        self.assertEqual(done, (1, ["failed: tests failed", line], f"{line}\n"))
