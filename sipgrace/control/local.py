"""
Orders and live state over a UNIX socket on the node's own host. Who may connect is who may give orders: the
owner of the socket, and root.
"""

from __future__ import annotations

import errno
import os
import pwd
import socket
import stat
import struct
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, fail
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from sipgrace.control.node import Watched
from sipgrace.control.nodelink import NodeLink
from sipgrace.control.remote import RemoteNode, Unreachable
from sipgrace.control.socketfile import LONGEST, SocketPort, listenAt
from sipgrace.errors import ConfigError
from sipgrace.lifecycle.authorization import Giver, Source

__all__ = ["LocalControl", "connectLocal"]


class LocalLink(NodeLink):
    """
    One who has connected.
    """

    def giver(self, claimed: str | None) -> Giver:
        """
        The name of the user at the other end, as the kernel knows it; what an order claims does not count.
        """
        assert self.transport is not None
        return Giver(Source.SOCKET, userOf(self.transport.socket))

    def connectionMade(self) -> None:
        """
        See C{IProtocol}.
        """
        self.factory.links[self] = None

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        See C{IProtocol}.
        """
        self.factory.links.pop(self, None)
        super().connectionLost(reason)


class ControlSocket(Factory):
    """
    All who have connected.
    """

    noisy = False

    def __init__(self, node: Watched) -> None:
        self._node = node
        self.links: dict[LocalLink, None] = {}

    def buildProtocol(self, addr: object) -> LocalLink:
        """
        See C{IProtocolFactory}.
        """
        link = LocalLink(self._node)
        link.factory = self
        return link


class LocalControl(Service):
    """
    Listens on the socket, and makes it anew where somebody has removed it: else nobody could give orders to a
    process that runs, nor ask how it is.

    @param reactor: the reactor.
    @param path: where the socket is made.
    @param node: what is watched and given orders.
    """

    _log = Logger()

    #: So many seconds those who have connected may take to read what they were told last.
    PATIENCE = 1.0

    #: Seconds between two looks whether the socket is still there.
    LOOK = 5.0

    def __init__(self, reactor: Any, path: Path, node: Watched) -> None:
        self._reactor = reactor
        self._path = path
        self._factory = ControlSocket(node)
        self._port: SocketPort | None = None
        self._trouble = ""
        self._looking = LoopingCall(self._look)
        self._looking.clock = reactor

    def prepare(self) -> None:
        """
        Makes the socket. Those who connect are not answered before the service is started.

        @raise ConfigError: where it cannot, or another process listens there.
        """
        self._listen().stopReading()

    def _listen(self, patience: float | None = None) -> SocketPort:
        try:
            self._port = listenAt(self._reactor, self._path, self._factory, patience)
        except ConfigError as error:
            raise ConfigError(f"control.socket {self._path}: {error}") from None
        return self._port

    def startService(self) -> None:
        """
        Listens.

        @raise ConfigError: as that of L{prepare}.
        """
        if self._port is None:
            self._listen()
        else:
            self._port.startReading()
        super().startService()
        self._looking.start(self.LOOK, now=False)
        self._log.info("control socket at {path}", path=str(self._path))

    def _look(self) -> None:
        port = self._port
        if port is None or port.stands:
            return
        try:
            # Calls do not wait for it.
            self._listen(0.0)
        except ConfigError as error:
            # It is tried again, and said once.
            if str(error) != self._trouble:
                self._trouble = str(error)
                self._log.error("{why}; somebody has removed the socket that was there", why=self._trouble)
            return
        self._trouble = ""
        self._log.warn("somebody has removed {path}: it is made anew", path=str(self._path))
        # Those who have connected stay.
        port.stopListening()

    def stopService(self) -> Deferred[Any]:
        """
        Removes the socket, and ends the connections when all that was said on them has left.
        """
        super().stopService()
        if self._looking.running:
            self._looking.stop()
        port, self._port = self._port, None
        stops: list[Deferred[Any]] = []
        if port is not None:
            stopped = port.stopListening()
            if stopped is not None:
                stops.append(stopped)
        for link in list(self._factory.links):
            stops.append(link.whenLost().addTimeout(self.PATIENCE, self._reactor, self._abort(link)))
            link.end()
        return DeferredList(stops, consumeErrors=True)

    def _abort(self, link: LocalLink) -> Any:
        def abort(result: object, timeout: float) -> None:
            if link.transport is not None:
                link.transport.abortConnection()

        return abort


def userOf(connection: socket.socket) -> str:
    """
    @return: the name of the user whose process is at the other end of a UNIX socket.
    """
    if not hasattr(socket, "SO_PEERCRED"):
        return "local"
    size = struct.calcsize("3i")
    _, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"uid {user}"


def connectLocal(reactor: Any, path: str | os.PathLike[str], timeout: float = 10.0) -> Deferred[RemoteNode]:
    """
    Connects to a node's control socket.

    @param timeout: seconds within which each answer is expected.
    @return: fails with L{Unreachable}, which says what to look at.
    """
    name = os.fspath(path)
    if len(os.fsencode(name)) > LONGEST:
        return fail(Unreachable(f"{name}: the path of a socket has at most {LONGEST} bytes"))
    endpoint = UNIXClientEndpoint(reactor, name, timeout=timeout)
    node = RemoteNode(IReactorTime(reactor), timeout)
    made: Deferred[RemoteNode] = connectProtocol(endpoint, node)
    return made.addErrback(_unreachable, name)


def _isSocket(name: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(name).st_mode)
    except OSError:
        return False


_REASONS = {
    errno.ENOENT: "there is no such socket; is the process running, and is this the socket in its [control]?",
    errno.ECONNREFUSED: "nobody listens there; the process has ended without removing it",
    errno.EACCES: "you may not use it; it is for the user that the process runs as, and for root",
    errno.EAGAIN: "it takes no more connections at the moment; try again",
}


def _unreachable(failure: Failure, name: str) -> Failure:
    error = failure.value
    number = error.osError if isinstance(error, ConnectError) else getattr(error, "errno", None)
    reason = _REASONS.get(number) if isinstance(number, int) else None
    if number == errno.ECONNREFUSED and not _isSocket(name):
        reason = "that is no socket; name the one in the [control] of the process"
    return Failure(Unreachable(f"{name}: {reason or failure.getErrorMessage()}"))
