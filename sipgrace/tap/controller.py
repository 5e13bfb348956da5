"""
What C{twist sipgrace-controller} runs.
"""

from __future__ import annotations

from typing import cast

from twisted.application.service import IService

from sipgrace.config.controller import ControllerConfig
from sipgrace.config.load import loadController
from sipgrace.lifecycle.steadyclock import keepSteady
from sipgrace.tap.control import controlBeside
from sipgrace.tap.filelimit import raiseFileLimit
from sipgrace.tap.manhole import manholeBeside
from sipgrace.tap.options import FileOptions
from sipgrace.tap.signals import Reactor, RoleProcess

__all__ = ["Options", "makeService"]


class Options(FileOptions):
    """
    The command line of a controller.
    """

    synopsis = "[--config FILE] [--check]"
    longdesc = (
        "Watches servers and clients and gives them orders: drains within budgets, rolling maintenance, "
        "schedules; an HTTP API and a web page. It is in no call's path. SIGTERM and SIGINT end it; what is "
        "under way is taken up at the next start."
    )
    config: ControllerConfig

    def load(self, path: str) -> ControllerConfig:
        """
        Reads a controller's file.
        """
        return loadController(path)


def makeService(options: Options) -> IService:
    """
    Makes the controller's process.
    """
    # Not before the command line asks for it, for this is imported also to list what there is.
    from twisted.internet import reactor

    from sipgrace.controller.service import ControllerService

    keepSteady(reactor)
    raiseFileLimit()
    config = options.config
    role = ControllerService(reactor, config)
    beside = [
        *controlBeside(reactor, config.control, role.node),
        *manholeBeside(reactor, config.manhole, role.orders()),
    ]
    return RoleProcess(cast(Reactor, reactor), role, *beside)
