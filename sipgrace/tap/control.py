"""
What stands beside a role to be watched and given orders: the control socket, and the links to controllers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from twisted.application.service import IService
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

from sipgrace.config.links import NodeController
from sipgrace.config.sections import ControlSection
from sipgrace.control.local import LocalControl
from sipgrace.control.node import Announced, Node, Reroutes, Watched
from sipgrace.control.uplinks import Destination, Identity, Uplinks
from sipgrace.element import Element
from sipgrace.lifecycle.authorization import Role
from sipgrace.lifecycle.report import DrainReport
from sipgrace.transport.linkcertificates import LinkCertificates

__all__ = ["controlBeside", "endpointOf", "nodeOf", "uplinksBeside"]

#: So many seconds a TCP connection to a controller may take.
_CONNECT = 10.0


class Controlled(Protocol):
    """
    A role, as far as it is watched and given orders.
    """

    element: Element

    def status(self) -> dict[str, Any]:
        """
        How things stand.
        """

    def standing(self) -> dict[str, Any]:
        """
        The same in brief.
        """


def nodeOf(
    role: Controlled, reroutes: Reroutes | None = None, announced: Announced | None = None
) -> Node:
    """
    @return: a role as links know it.
    """
    return Node(role.element.door, role.status, reroutes, announced=announced)


def controlBeside(reactor: object, section: ControlSection | None, node: Watched) -> Iterator[IService]:
    """
    @return: the control socket where one is configured, or nothing.
    """
    if section is not None:
        yield LocalControl(reactor, section.socket, node)


def uplinksBeside(
    reactor: Any,
    sections: Sequence[NodeController],
    identity: Identity,
    role: Controlled,
    node: Node,
) -> Iterator[IService]:
    """
    @return: the links to controllers where there are any configured, or nothing.
    @raise ConfigError: when a certificate cannot be used (any more).
    """
    if not sections:
        return
    destinations = [
        Destination(one.name, endpointOf(reactor, one), Role(one.role), not one.insecure) for one in sections
    ]
    uplinks = Uplinks(IReactorTime(reactor), node, identity, role.standing, destinations)

    def tell(report: DrainReport) -> None:
        uplinks.report(report.startedWall, report.toJSON())

    role.element.onChanged.append(uplinks.changed)
    role.element.controllers = uplinks.status
    role.element.oversight.reportReaders.append(tell)
    yield uplinks


def endpointOf(reactor: Any, section: NodeController) -> IStreamClientEndpoint:
    """
    @return: where a controller is.
    @raise ConfigError: when a certificate cannot be used (any more).
    """
    plain = HostnameEndpoint(reactor, section.host, section.port, timeout=_CONNECT)
    if section.certificate is None or section.key is None or section.ca is None:
        return plain
    certificates = LinkCertificates(section.certificate, section.key, section.ca)
    return wrapClientTLS(certificates, plain)
