"""
What is wrong with the files and folders that a configuration names, for C{--check}: those that its process
would not be able to use. Nothing is made or changed, and a process that runs by the same configuration is
left alone.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sipgrace.config.sections import ManholeSection
from sipgrace.errors import ConfigError

__all__ = ["Paths"]

#: What is below is made when the host starts, or by systemd when a service does (C{RuntimeDirectory=}).
_VOLATILE = Path("/run")


@dataclass(slots=True)
class Paths:
    """
    What this user finds.

    @ivar wrong: what would keep a process from starting, or from keeping what it is ordered, each with its
        key.
    @ivar missing: folders that are not there now, and may well be when the process starts.
    """

    wrong: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def look(self, config: Any) -> None:
        """
        @param config: the file of any role.
        """
        for key, path in _written(config):
            self._writable(key, path)
        control = getattr(config, "control", None)
        if control is not None:
            self._socket("control.socket", control.socket)
        report = getattr(config, "report", None)
        if report is not None and not (report.dir.is_dir() and os.access(report.dir, os.W_OK | os.X_OK)):
            self.wrong.append(f"report.dir: expected a folder that can be written to, found {report.dir}")
        tdm = getattr(config, "tdm", None)
        if tdm is not None and tdm.command:
            path = Path(tdm.command[0])
            if not (path.is_file() and os.access(path, os.X_OK)):
                self.wrong.append(f"tdm.command: expected a program that can be run, found {path}")
        manhole = getattr(config, "manhole", None)
        if manhole is not None:
            self._manhole(manhole)

    def _socket(self, key: str, path: Path) -> None:
        if self._folder(key, path) and _kind(path) not in (None, stat.S_IFSOCK):
            self.wrong.append(f"{key}: expected a socket, or nothing yet, found something else at {path}")

    def _writable(self, key: str, path: Path) -> None:
        if not self._folder(key, path):
            return
        kind = _kind(path)
        if kind not in (None, stat.S_IFREG):
            self.wrong.append(f"{key}: expected a file, or nothing yet, found something else at {path}")
        elif kind is not None and not os.access(path, os.R_OK | os.W_OK):
            self.wrong.append(f"{key}: expected a file that can be read and written to, found {path}")

    def _folder(self, key: str, path: Path) -> bool:
        folder = path.parent
        if not folder.exists():
            if folder.is_relative_to(_VOLATILE):
                self.missing.append(f"{key}: {folder} is not there yet; it has to be when the process starts")
            else:
                self.wrong.append(f"{key}: expected a path in a folder that exists, found {path}")
            return False
        if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
            self.wrong.append(f"{key}: expected a folder that can be written to, found {folder}")
            return False
        return True

    def _manhole(self, section: ManholeSection) -> None:
        # Slow to import, and needed for those with a manhole alone.
        from sipgrace.tap.manhole import authorizedKeys, hostKeyOf

        try:
            authorizedKeys(section)
        except ConfigError as error:
            self.wrong.append(str(error))
        if _kind(section.hostKey) is None:
            self._folder("manhole.host_key", section.hostKey)
            return
        try:
            hostKeyOf(section)
        except ConfigError as error:
            self.wrong.append(str(error))


def _kind(path: Path) -> int | None:
    """
    What there is; C{None} for nothing.
    """
    try:
        return stat.S_IFMT(path.stat().st_mode)
    except OSError:
        return None


def _written(config: Any) -> Iterator[tuple[str, Path]]:
    """
    The files that are made where there are none, with their keys.
    """
    orders = getattr(config, "orders", None)
    found = {
        "orders.audit": getattr(orders, "audit", None),
        "orders.nonces": getattr(orders, "nonces", None),
        "server.rejects": getattr(getattr(config, "server", None), "rejects", None),
        "client.skips": getattr(getattr(config, "client", None), "skips", None),
        "registrar.database": getattr(getattr(config, "registrar", None), "database", None),
        "store.path": getattr(getattr(config, "store", None), "path", None),
    }
    for key, path in found.items():
        if path is not None:
            yield key, path
