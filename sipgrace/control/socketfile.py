"""
A UNIX socket in the file system: made for its owner alone, and removed by whoever made it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, connectionDone
from twisted.python.failure import Failure

from sipgrace.errors import ConfigError

__all__ = ["LONGEST", "PATIENCE", "SocketPort", "listenAt"]

#: The most bytes in the path of a socket (C{sun_path} of unix(7), less the byte that ends it).
LONGEST = 107

#: So many seconds another process may take to make a socket in the same directory.
PATIENCE = 2.0


class SocketPort(unix.Port):
    """
    Twisted's would, when it is closed, remove whatever has the name by then, and fail where nothing has.
    """

    def __init__(self, reactor: Any, path: Path, factory: Factory) -> None:
        super().__init__(os.fsencode(path), factory, mode=0o600, reactor=reactor)
        self._path = path
        self._made: tuple[int, int] | None = None

    def startListening(self) -> None:
        """
        See C{IListeningPort}.
        """
        # Nobody else can connect, from the very first moment.
        before = os.umask(0o177)
        try:
            super().startListening()
        finally:
            os.umask(before)
        self._made = _inode(self._path)

    @property
    def stands(self) -> bool:
        """
        Whether it is still found where it was made.
        """
        return self._made is not None and _inode(self._path) == self._made

    def loseConnection(self, connDone: Failure = connectionDone) -> Any:
        """
        See C{IListeningPort}: from now on nobody finds it.
        """
        self._remove()
        return super().loseConnection(connDone)

    stopListening = loseConnection

    def connectionLost(self, reason: Failure) -> None:
        """
        See C{IListeningPort}.
        """
        self._remove()
        tcp.Port.connectionLost(self, reason)

    def _remove(self) -> None:
        stands, self._made = self.stands, None
        if stands:
            self._path.unlink()


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino)


def listenAt(
    reactor: Any, path: Path, factory: Factory, patience: float | None = None
) -> SocketPort:
    """
    Listens at a socket of mode 0600. What a process that is no more has left behind there is replaced.

    @param patience: so many seconds this may take where another process makes a socket in the same directory;
        C{None} for L{PATIENCE}.
    @raise ConfigError: where another process listens there, where something other than a socket has the name,
        or where it cannot be made; the text does not name the path.
    """
    try:
        with _alone(path.parent, PATIENCE if patience is None else patience):
            _clear(path)
            port = SocketPort(reactor, path, factory)
            port.startListening()
    except CannotListenError as error:
        raise ConfigError(_reason(error.socketError)) from None
    except OSError as error:
        raise ConfigError(_reason(error)) from None
    return port


def _reason(error: object) -> str:
    return f"cannot be made: {getattr(error, 'strerror', None) or error}"


def _clear(path: Path) -> None:
    """
    Removes a socket at which nobody listens.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError("there is something else than a socket; give another path, or remove it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        result = probe.connect_ex(str(path))
    if result in (0, errno.EAGAIN):
        raise ConfigError("another process listens there; stop that one, or give this one another path")
    if result == errno.ECONNREFUSED:
        path.unlink()
    elif result != errno.ENOENT:
        raise ConfigError(f"there is a socket that cannot be looked at: {os.strerror(result)}")


@contextmanager
def _alone(directory: Path, patience: float) -> Iterator[None]:
    """
    Keeps other processes of ours from the same: of two that find an old socket, one might else remove the
    other's new one.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        until = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise ConfigError(f"{directory} is locked by another process") from None
                time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)
