"""
A server or a client as a process: the role, and all that its file asks for beside it.
"""

from __future__ import annotations

from typing import Any, cast

from sipgrace.config.roles import RoleSections
from sipgrace.control.node import Node
from sipgrace.control.uplinks import Identity
from sipgrace.tap.collector import Collector
from sipgrace.tap.control import controlBeside, uplinksBeside
from sipgrace.tap.manhole import manholeBeside
from sipgrace.tap.metrics import metricsBeside
from sipgrace.tap.signals import Reactor, RoleProcess

__all__ = ["processOf"]


def processOf(
    reactor: Any, config: RoleSections, identity: Identity, role: Any, node: Node
) -> RoleProcess:
    """
    @param identity: as what it is known to controllers.
    @param node: the role, as links know it.
    """
    beside = [
        *controlBeside(reactor, config.control, node),
        *manholeBeside(reactor, config.manhole, role.orders()),
        *metricsBeside(reactor, config.metrics, role),
        *uplinksBeside(reactor, config.controllers, identity, role, node),
        Collector(reactor, role.element.layer),
    ]
    process = RoleProcess(cast(Reactor, reactor), role, *beside)
    role.element.oversight.after.exit = process.end
    return process
