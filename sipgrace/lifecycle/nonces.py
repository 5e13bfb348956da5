"""
Which signed orders have been given already, so that none is obeyed twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from sipgrace.errors import ConfigError, OrderRefused
from sipgrace.lifecycle.audit import addLine
from sipgrace.lifecycle.replacing import replaceFile

__all__ = ["Nonces"]

_LINE = re.compile(r"(\d{1,16}) (\S+)\Z")

#: Those that are written down and void are left until they are so many.
_SPARE = 1000


class Nonces:
    """
    The nonces of orders that have been given and have not yet expired. They are also kept in a file, one line
    each, C{expiry nonce}, the former in milliseconds since the epoch, so that a restart forgets none.

    @param path: the file; C{None} for memory alone.
    @param most: how many are kept. They are only of orders that were rightly signed, so no stranger can fill
        it; where it is full all the same, further orders are refused until some expire.
    """

    def __init__(self, path: Path | None = None, most: int = 10_000) -> None:
        self._path = path
        self._most = most
        self._known: dict[str, float] = {}
        self._written = 0

    def __len__(self) -> int:
        return len(self._known)

    def load(self, now: float) -> None:
        """
        Reads the file.

        @param now: seconds since the epoch.
        @raise ConfigError: when it is there and cannot be read.
        """
        if self._path is None:
            return
        try:
            lines = self._path.read_text(encoding="ascii", errors="replace").splitlines()
        except FileNotFoundError:
            return
        except OSError as error:
            raise ConfigError(
                f"{self._path}: the nonces of earlier orders cannot be read: {error.strerror}"
            ) from None
        for line in lines:
            # The last one may have been cut short, by a full disk say; then its order did not act.
            found = _LINE.match(line)
            if found is not None and int(found[1]) / 1000 > now:
                self._known[found[2]] = int(found[1]) / 1000
        self._written = len(lines)

    def take(self, nonce: str, expires: float, now: float) -> None:
        """
        Notes one; to be written down with L{storing}.

        @param expires: until when it is kept, in seconds since the epoch.
        @raise OrderRefused: when it is known already, or no more can be kept.
        """
        if nonce in self._known:
            raise OrderRefused("an order with this nonce has been given before; each order needs its own")
        if len(self._known) >= self._most:
            self._known = {known: until for known, until in self._known.items() if until > now}
        if len(self._known) >= self._most:
            raise OrderRefused(
                f"{self._most} orders are remembered, which is the most; wait until some expire"
            )
        self._known[nonce] = expires

    def storing(self, nonce: str, expires: float, now: float) -> Callable[[], None]:
        """
        @return: what writes it into the file, and raises C{OSError} when it cannot. It may wait for the disk,
            and may be called in a thread, one after another.
        """
        path = self._path
        if path is None:
            return lambda: None
        lines = [_line(nonce, expires)]
        live = {known: until for known, until in self._known.items() if until > now}
        self._written += 1
        if self._written <= len(live) + _SPARE:
            return lambda: addLine(path, lines[0])
        lines = [_line(known, until) for known, until in live.items()]
        self._written = len(lines)
        return lambda: replaceFile(path, b"".join(line + b"\n" for line in lines), 0o600)


def _line(nonce: str, expires: float) -> bytes:
    return b"%d %b" % (round(expires * 1000), nonce.encode("ascii"))
