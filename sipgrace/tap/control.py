"""
The control socket beside a role.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from twisted.application.service import IService

from sipgrace.config.sections import ControlSection
from sipgrace.control.local import LocalControl
from sipgrace.control.node import Node, Reroutes
from sipgrace.lifecycle.door import Door

__all__ = ["controlBeside"]


def controlBeside(
    reactor: object,
    section: ControlSection | None,
    door: Door,
    status: Callable[[], Mapping[str, Any]],
    reroutes: Reroutes | None = None,
) -> Iterator[IService]:
    """
    @return: the control socket where one is configured, or nothing.
    """
    if section is not None:
        yield LocalControl(reactor, section.socket, Node(door, status, reroutes))
