"""
What the codec costs, by C{benchmarks/codec.py}.
"""

from __future__ import annotations

import importlib.util
import json
from io import StringIO
from pathlib import Path
from types import ModuleType

from twisted.trial.unittest import SynchronousTestCase

BENCHMARK = Path(__file__).resolve().parent.parent / "benchmarks" / "codec.py"


def load() -> ModuleType:
    """
    @return: the benchmark as a module; it lies outside of all packages.
    """
    spec = importlib.util.spec_from_file_location("sipgraceBenchmarkCodec", BENCHMARK)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class CodecBenchmarkTests(SynchronousTestCase):
    """
    An eighth of what sipmessage takes, in the same run.
    """

    def setUp(self) -> None:
        self.codec = load()

    def test_same(self) -> None:
        """
        Both read and write the same.
        """
        for data in (self.codec.INVITE, self.codec.OK):
            read, written = self.codec.ours(data)
            theirs, theirBytes = self.codec.theirs(data)
            branch, host, port, fromTag, toTag, callId, sequence, method, hops = theirs
            self.assertEqual(
                read,
                [
                    branch.encode(),
                    f"{host}:{port}".encode(),
                    fromTag.encode(),
                    (toTag or "").encode(),
                    callId.encode(),
                    sequence,
                    method.encode(),
                    -1 if hops is None else hops,
                ],
            )
            self.assertEqual(sorted(written.split(b"\r\n")), sorted(theirBytes.split(b"\r\n")))

    def test_ratio(self) -> None:
        """
        The best of many short rounds that take turns, so that a busy machine counts for little.
        """
        figures = self.codec.measure(iterations=60, rounds=150)
        for name, row in figures.items():
            self.assertLessEqual(row["ratio"], self.codec.BOUND, (name, row))

    def test_main(self) -> None:
        """
        It prints its figures, writes them where it is told, and its exit status says whether they hold.
        """
        path = self.mktemp()
        out = StringIO()
        self.patch(self.codec.sys, "stdout", out)
        self.patch(self.codec, "BOUND", 1e9)
        self.assertEqual(self.codec.main(["--iterations", "2", "--json", path]), 0)
        self.assertIn("invite", out.getvalue())
        with open(path, encoding="utf-8") as file:
            figures = json.load(file)
        self.assertEqual(
            {name: set(row) for name, row in figures.items()},
            {name: {"ours_us", "theirs_us", "ratio"} for name in ("invite", "ok")},
        )
        self.patch(self.codec, "BOUND", 1e-9)
        self.assertEqual(self.codec.main(["--iterations", "2"]), 1)
