"""
Tests of L{sipgrace.control.socketfile}: sockets in the file system.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import stat
import tempfile
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from sipgrace.control import socketfile
from sipgrace.control.socketfile import listenAt
from sipgrace.errors import ConfigError


class Greeter(Protocol):
    """
    Says hello, and goes.
    """

    def connectionMade(self) -> None:
        self.transport.write(b"hello")
        self.transport.loseConnection()


class Ear(Protocol):
    """
    Hears it.
    """

    def __init__(self) -> None:
        self.heard = b""
        self.ended: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def connectionLost(self, reason: object = None) -> None:
        self.ended.callback(self.heard)


class SocketFile(TestCase):
    """
    The socket from its making to its end.
    """

    timeout = 30

    def setUp(self) -> None:
        folder = tempfile.mkdtemp(prefix="sipgrace-")
        self.addCleanup(shutil.rmtree, folder)
        self.path = Path(folder) / "s"
        # The most careless of surroundings.
        self.addCleanup(os.umask, os.umask(0))

    def listen(self) -> IListeningPort:
        """
        Listens there until the test ends.
        """
        port = listenAt(reactor, self.path, Factory.forProtocol(Greeter))
        self.addCleanup(lambda: maybeDeferred(port.stopListening))
        return port

    async def greeting(self) -> bytes:
        """
        What is said to whoever connects.
        """
        ear = await connectProtocol(UNIXClientEndpoint(reactor, os.fspath(self.path)), Ear())
        return await ear.ended

    def refused(self) -> str:
        """
        Why nobody can listen there.
        """
        return str(self.assertRaises(ConfigError, listenAt, reactor, self.path, Factory()))

    def left(self) -> None:
        """
        Leaves a socket behind, as a process does that is killed.
        """
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(os.fspath(self.path))
            dead.listen()

    async def test_mode(self) -> None:
        """
        It is the owner's alone from its first moment: before Twisted's own chmod, which comes after bind.
        """
        modes: list[int] = []
        chmod = os.chmod

        def spy(path: bytes, mode: int) -> None:
            modes.append(stat.S_IMODE(os.stat(path).st_mode))
            chmod(path, mode)

        self.patch(os, "chmod", spy)
        self.listen()
        self.assertEqual(modes, [0o600])
        found = self.path.lstat().st_mode
        self.assertTrue(stat.S_ISSOCK(found))
        self.assertEqual(stat.S_IMODE(found), 0o600)
        self.assertEqual(await self.greeting(), b"hello")

    def test_umask(self) -> None:
        """
        The process's umask is as before, also when it fails.
        """
        self.listen()
        self.refused()
        self.patch(socketfile.unix.Port, "createInternetSocket", lambda port: 1 / 0)
        self.path = self.path.with_name("t")
        self.assertRaises(ZeroDivisionError, listenAt, reactor, self.path, Factory())
        self.assertEqual(os.umask(0), 0)

    async def test_stale(self) -> None:
        """
        What a dead process has left behind is replaced.
        """
        self.left()
        self.listen()
        self.assertEqual(await self.greeting(), b"hello")

    async def test_live(self) -> None:
        """
        A socket at which somebody listens is refused, and left alone.
        """
        self.listen()
        self.assertEqual(
            self.refused(), "another process listens there; stop that one, or give this one another path"
        )
        self.assertEqual(await self.greeting(), b"hello")

    def test_liveAndBusy(self) -> None:
        """
        So is one whose process does not get round to accept.
        """
        with socket.socket(socket.AF_UNIX) as busy:
            busy.bind(os.fspath(self.path))
            busy.listen(0)
            waiting = []
            while True:
                one = socket.socket(socket.AF_UNIX)
                self.addCleanup(one.close)
                one.setblocking(False)
                waiting.append(one.connect_ex(os.fspath(self.path)))
                if waiting[-1]:
                    break
            self.assertEqual(
                self.refused(), "another process listens there; stop that one, or give this one another path"
            )

    def test_something(self) -> None:
        """
        Other files are not touched.
        """
        self.path.write_text("precious")
        self.assertEqual(
            self.refused(), "there is something else than a socket; give another path, or remove it"
        )
        self.assertEqual(self.path.read_text(), "precious")
        self.path.unlink()
        self.path.symlink_to("/nowhere")
        self.assertEqual(
            self.refused(), "there is something else than a socket; give another path, or remove it"
        )
        self.assertTrue(self.path.is_symlink())

    def test_datagrams(self) -> None:
        """
        A socket of another kind is none to connect to.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.bind(os.fspath(self.path))
            self.assertEqual(
                self.refused(), "there is a socket that cannot be looked at: Protocol wrong type for socket"
            )
        self.assertTrue(self.path.exists())

    def test_nowhere(self) -> None:
        self.path = self.path / "deeper"
        self.assertEqual(self.refused(), "cannot be made: No such file or directory")

    def test_long(self) -> None:
        self.path = self.path.with_name("x" * 120)
        self.assertEqual(self.refused(), "cannot be made: AF_UNIX path too long")

    def test_locked(self) -> None:
        """
        While another process is at it in the same directory, we wait, but not for ever.
        """
        self.patch(socketfile, "PATIENCE", 0.05)
        descriptor = os.open(self.path.parent, os.O_RDONLY)
        self.addCleanup(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self.assertEqual(self.refused(), f"{self.path.parent} is locked by another process")
        self.assertFalse(self.path.exists())
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        self.listen()
        # It keeps others out while it makes the socket, and no longer.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    async def test_removed(self) -> None:
        """
        It goes with its port, and at once.
        """
        port = self.listen()
        stopped = maybeDeferred(port.stopListening)
        self.assertFalse(self.path.exists())
        await stopped

    async def test_gone(self) -> None:
        """
        That somebody has removed it is no trouble.
        """
        port = self.listen()
        self.path.unlink()
        await maybeDeferred(port.stopListening)
        self.assertFalse(self.path.exists())

    async def test_replaced(self) -> None:
        """
        What somebody else has put in its place stays there.
        """
        port = self.listen()
        self.path.unlink()
        self.path.write_text("precious")
        await maybeDeferred(port.stopListening)
        self.assertEqual(self.path.read_text(), "precious")
