"""
What C{twist sipgrace-server} runs.
"""

from __future__ import annotations

from typing import Any

from twisted.application.service import IService

from sipgrace.config.load import parseServer
from sipgrace.config.server import ServerConfig
from sipgrace.config.tables import readText
from sipgrace.control.uplinks import Identity
from sipgrace.lifecycle.steadyclock import keepSteady
from sipgrace.tap.control import nodeOf
from sipgrace.tap.options import RoleOptions
from sipgrace.tap.process import processOf

__all__ = ["Options", "makeService"]


class Options(RoleOptions):
    """
    The command line of a server.

    @ivar text: what the file says, as it stands there.
    """

    synopsis = "[--config FILE] [--check] [--stack auto|userspace|kernel]"
    longdesc = (
        "A SIP server that sets up calls for its clients over SCTP, UDP, TCP and TLS, and leaves without "
        "losing one: SIGTERM drains it and ends it within the guard; a second SIGTERM, or SIGINT, at once."
    )
    section = "server"
    config: ServerConfig
    text = ""

    def load(self, path: str) -> ServerConfig:
        """
        Reads a server's file. Its text is kept for the workers.
        """
        self.text = readText(path)
        return parseServer(self.text, path)


def makeService(options: Options) -> IService:
    """
    Makes the server's process.
    """
    # Not before the command line asks for it, for this is imported also to list what there is.
    from twisted.internet import reactor

    keepSteady(reactor)
    config = options.config
    role: Any
    if config.server.workers > 1:
        from sipgrace.workers.front import FrontService

        role = FrontService(reactor, config, options.text, options["config"])
    else:
        from sipgrace.server.service import ServerService

        role = ServerService(reactor, config)
    identity = Identity(config.server.name, "server", config.server.labels, config.server.group or "")
    return processOf(reactor, config, identity, role, nodeOf(role))
