"""
Servers and clients with a control socket, in the process of the test.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import reactor

from sipgrace.client.service import ClientService
from sipgrace.config.load import parseClient, parseServer
from sipgrace.control.local import LocalControl, connectLocal
from sipgrace.control.node import Node
from sipgrace.control.remote import RemoteNode
from sipgrace.server.service import ServerService
from tests.scenarios.waiting import PollingCase

SERVER = """
[server]
name = "server-1"
listen = ["udp:0:interface=127.0.7.1"]
[drain]
guard = 20
retry_after = 60
"""

CLIENT = """
[client]
name = "client-1"
listen = ["udp:0:interface=127.0.7.2"]
[[servers]]
name = "server-1"
address = "{address}"
[reconnect]
interval = 60
longest = 60
"""

#: Where nobody is.
NOWHERE = "tcp:host=127.0.7.9:port=9"


class Call:
    """
    An accepted INVITE, for a ledger.
    """

    isInvite = True

    def __init__(self, acceptedAt: float = 0.0) -> None:
        self.acceptedAt = acceptedAt
        self.forced: list[str] = []

    def recall(self, reason: str) -> None:
        """
        Nothing rings.
        """

    def checkTimerC(self, now: float) -> None:
        """
        Nothing rings.
        """

    def forceSettle(self, reason: str) -> bool:
        """
        Notes that it was settled by force.
        """
        self.forced.append(reason)
        return True


class ControlledCase(PollingCase):
    """
    Tests over a real socket.

    @ivar path: where the socket is.
    """

    timeout = 30

    def setUp(self) -> None:
        # Not trial's own directories: their names are too long for a socket.
        folder = tempfile.mkdtemp(prefix="sipgrace-")
        self.addCleanup(shutil.rmtree, folder)
        self.folder = Path(folder)
        self.path = self.folder / "control.sock"

    async def server(self, text: str = SERVER) -> ServerService:
        """
        A server that serves, its socket open.
        """
        service = ServerService(reactor, parseServer(text, "server.toml"))
        self.control = LocalControl(reactor, self.path, Node(service.element.door, service.status))
        await self._start(service)
        return service

    async def client(self, address: str = NOWHERE) -> ClientService:
        """
        A client that serves, its socket open.
        """
        service = ClientService(reactor, parseClient(CLIENT.format(address=address), "client.toml"))
        self.control = LocalControl(
            reactor, self.path, Node(service.element.door, service.status, service.reroutes)
        )
        await self._start(service)
        return service

    async def _start(self, service: Any) -> None:
        control = self.control
        self.addCleanup(service.stopService)
        await service.startService()
        control.startService()
        self.addCleanup(lambda: control.stopService() if control.running else None)

    async def connect(self, timeout: float = 10.0) -> RemoteNode:
        """
        One more connection to it.
        """
        node = await connectLocal(reactor, self.path, timeout)
        self.addCleanup(node.whenLost)
        self.addCleanup(node.end)
        return node
