"""
What C{twist sipgrace-client} runs.
"""

from __future__ import annotations

from twisted.application.service import IService

from sipgrace.config.client import ClientConfig
from sipgrace.config.load import loadClient
from sipgrace.control.uplinks import Identity
from sipgrace.errors import ConfigError
from sipgrace.lifecycle.steadyclock import keepSteady
from sipgrace.tap.control import nodeOf
from sipgrace.tap.options import RoleOptions
from sipgrace.tap.process import processOf

__all__ = ["Options", "makeService"]


class Options(RoleOptions):
    """
    The command line of a client.
    """

    synopsis = "[--config FILE] [--check] [--stack auto|userspace|kernel]"
    longdesc = (
        "A SIP switch between its users (UDP, TCP, TLS) and servers (SCTP), which asks one server after "
        "another to set up each call. SIGTERM ends it in order; a second SIGTERM, or SIGINT, at once."
    )
    section = "client"
    config: ClientConfig

    def load(self, path: str) -> ClientConfig:
        """
        Reads a client's file.
        """
        from sipgrace.client.strategies import strategyNamed

        config = loadClient(path)
        try:
            strategyNamed(config.client.strategy)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None
        return config


def makeService(options: Options) -> IService:
    """
    Makes the client's process.
    """
    # Not before the command line asks for it, for this is imported also to list what there is.
    from twisted.internet import reactor

    from sipgrace.client.service import ClientService

    keepSteady(reactor)
    config = options.config
    role = ClientService(reactor, config)
    node = nodeOf(role, role.reroutes, role.announced)
    identity = Identity(config.client.name, "client", config.client.labels, config.client.group or "")
    return processOf(reactor, config, identity, role, node)
