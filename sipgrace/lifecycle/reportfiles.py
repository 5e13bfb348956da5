"""
Reports of drains, kept as files: C{TIME-SERVER.json} and C{TIME-SERVER.html}, by the time at which the drain
began.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from twisted.logger import Logger
from twisted.python.failure import Failure

from sipgrace.errors import ConfigError
from sipgrace.lifecycle.aside import Beside
from sipgrace.lifecycle.audit import stamp
from sipgrace.lifecycle.replacing import replaceFile
from sipgrace.lifecycle.report import DrainReport
from sipgrace.lifecycle.reportpage import page

__all__ = ["ReportFiles"]


class ReportFiles:
    """
    One folder.

    @param beside: where what waits for a disk is done.
    @param keep: how many reports of this server are kept: the latest.
    """

    _log = Logger()

    def __init__(self, folder: Path, beside: Beside, keep: int = 100) -> None:
        self._folder = folder
        self._beside = beside
        self._keep = keep

    def check(self) -> None:
        """
        @raise ConfigError: when nothing can be written there.
        """
        if not (self._folder.is_dir() and os.access(self._folder, os.W_OK | os.X_OK)):
            raise ConfigError(f"report.dir: expected a folder that can be written to, found {self._folder}")

    def publish(self, report: DrainReport) -> None:
        """
        Writes a report, or writes it anew when more is known of that drain.
        """
        self._beside(lambda: self._write(report)).addErrback(self._failed)

    def _write(self, report: DrainReport) -> None:
        name = nameOf(report)
        self._replace(f"{name}.json", json.dumps(report.toJSON(), indent=1, ensure_ascii=False) + "\n")
        self._replace(f"{name}.html", page(report))
        self._prune(report.server)

    def _replace(self, name: str, text: str) -> None:
        replaceFile(self._folder / name, text.encode("utf-8", "replace"))

    def _prune(self, server: str) -> None:
        ours = re.compile(r"\d{4}-\d\d-\d\dT\d{6}\.\d{3}Z-" + re.escape(server) + r"\.json\Z")
        found = sorted(path.name for path in self._folder.iterdir() if ours.match(path.name))
        for name in found[: -self._keep]:
            (self._folder / name).unlink(missing_ok=True)
            (self._folder / name).with_suffix(".html").unlink(missing_ok=True)

    def _failed(self, failure: Failure) -> None:
        self._log.error(
            "a report cannot be written to {folder}: {reason}",
            folder=self._folder,
            reason=failure.getErrorMessage(),
        )


def nameOf(report: DrainReport) -> str:
    """
    @return: the name of its files, without what follows the dot.
    """
    return f"{stamp(report.startedWall).replace(':', '')}-{report.server}"
