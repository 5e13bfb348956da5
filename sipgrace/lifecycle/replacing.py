"""
Small files that are replaced as a whole: what was ordered and is to outlive the process.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredLock

from sipgrace.errors import ConfigError, OrderRefused
from sipgrace.lifecycle.aside import Beside

__all__ = ["KeptOrders", "replaceFile"]

T = TypeVar("T")


class KeptOrders:
    """
    A file with a JSON object of what was ordered, by name, each with who said so, when (in seconds since the
    epoch) and why. One change is made after another, each on the disk before it counts.

    @ivar where: the key and the file, for errors.
    @ivar kept: whether there is a file at all.
    """

    def __init__(self, key: str, path: Path | None, beside: Beside) -> None:
        """
        @param key: the key of the configuration that names the file.
        @param path: the file; C{None} for none, and then the end of the process is the end of it.
        @param beside: where what waits for a disk is done.
        """
        self._beside = beside
        self._turn = DeferredLock()
        self.where = f"{key} {path}"
        self.kept = path is not None
        self._path = path

    def read(self) -> Any:
        """
        @return: what is in the file, of whatever form; an empty object where there is none yet.
        @raise ConfigError: when it is there and cannot be read: to go on without what was ordered would be
            worse than not to start.
        """
        if self._path is None:
            return {}
        try:
            return json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self.where}: cannot be read: {error}") from None

    def change(self, change: Callable[[], Coroutine[Any, Any, T]]) -> Deferred[T]:
        """
        Makes a change when those before it are made.

        @param change: looks whether it can be, and waits for L{write}.
        @return: what came of it.
        """
        return self._turn.run(lambda: Deferred.fromCoroutine(change()))

    async def write(self, ordered: Mapping[str, Mapping[str, Any]]) -> None:
        """
        To be waited for within a L{change}.

        @raise OrderRefused: when it cannot be written; what was there before is still there then.
        """
        path = self._path
        if path is None:
            return
        data = json.dumps(ordered, indent=1).encode("ascii") + b"\n"
        try:
            await self._beside(lambda: replaceFile(path, data))
        except OSError as error:
            raise OrderRefused(
                f"{path} cannot be written ({error.strerror}); the next start would not know of it"
            ) from None


def replaceFile(path: Path, data: bytes, mode: int = 0o666) -> None:
    """
    Puts a file in the place of another: whoever reads finds the one or the other, whenever the power fails.

    @param mode: of the new file, less the umask.
    @raise OSError: when it cannot be written; the old one is still there then.
    """
    beside = path.with_name(path.name + ".new")
    beside.unlink(missing_ok=True)
    with open(beside, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
