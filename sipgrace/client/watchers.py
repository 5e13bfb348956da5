"""
What a client does when its links, its servers and its associations come and go.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from sipgrace.client.activelist import ActiveList
from sipgrace.client.link import ILinkObserver, ServerLink
from sipgrace.client.overdue import Overdue
from sipgrace.client.probe import Failed, Outcome
from sipgrace.client.role import INTERFACE
from sipgrace.client.subscriber import Subscriptions
from sipgrace.interfaces import IAssociation, IAssociationUser
from sipgrace.lifecycle.events import Change
from sipgrace.lifecycle.machine import Lifecycle
from sipgrace.transport.pool import AssociationPool

__all__ = ["Notices", "OpenedByUsers", "Servers"]


class Notices:
    """
    Tells those who watch the client of overdue servers.
    """

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle

    def overdue(self, name: str, seconds: float) -> None:
        """
        See L{sipgrace.client.overdue.Notices}.
        """
        self._lifecycle.remark(Change.OVERDUE, f"{name} announced to be back {seconds:.1f} s ago, and is not")

    def back(self, name: str, seconds: float) -> None:
        """
        See L{sipgrace.client.overdue.Notices}.
        """
        self._lifecycle.remark(
            Change.BACK, f"{name} is back, {seconds:.1f} s after it was known to be overdue"
        )


@implementer(ILinkObserver, IAssociationUser)
class Servers:
    """
    Keeps the active list by what the links tell, subscribes where a server answers, and tells the links of
    lost associations.
    """

    log = Logger()

    def __init__(
        self,
        active: ActiveList[ServerLink],
        subscriptions: Subscriptions,
        subscribed: Collection[str],
        overdue: Overdue,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """
        @param changed: is called at each change.
        """
        self.active = active
        self.changed = changed
        self.overdue = overdue
        self._subscriptions = subscriptions
        self._subscribed = subscribed
        self.links: dict[str, ServerLink] = {}
        self.leaving: Iterable[ServerLink] = ()

    def linkUp(self, link: ServerLink) -> None:
        """
        See L{ILinkObserver}.
        """
        if link.skipped:
            self.log.info("{server} is skipped, and could be active", server=link.name)
        else:
            self.active.add(link)
            self.log.info("{server} is active", server=link.name)
        self.overdue.returned(link)
        self._subscribe(link)
        self.changed()

    def linkDown(self, link: ServerLink, why: str) -> None:
        """
        See L{ILinkObserver}.
        """
        self.active.remove(link)
        self.changed()
        self.log.info("{server} is off the active list: {why}", server=link.name, why=why)

    def linkCounting(self, link: ServerLink, seconds: float) -> None:
        """
        See L{ILinkObserver}.
        """
        self.log.info("{server} is left alone for {seconds:.0f} s", server=link.name, seconds=seconds)
        self.overdue.announced(link, seconds)
        self.changed()

    def linkTested(self, link: ServerLink, outcome: Outcome, latency: float) -> None:
        """
        See L{ILinkObserver}.
        """
        self.log.debug("test of {server}: {outcome}", server=link.name, outcome=outcome)
        if not (isinstance(outcome, Failed) and outcome.silent):
            self._subscribe(link)

    def gone(self, link: ServerLink) -> None:
        """
        There will be no more of this link. Its server may have another one, of the same name.
        """
        self._subscriptions.forget(link)
        if link.name not in self.links:
            self.overdue.forget(link)

    def _subscribe(self, link: ServerLink) -> None:
        if link.name.partition("/")[0] in self._subscribed:
            self._subscriptions.use(link)

    def associationMade(self, association: IAssociation) -> None:
        """
        See L{IAssociationUser}: the link that opened it knows already.
        """

    def messageReceived(self, message: object, association: IAssociation) -> None:
        """
        See L{IAssociationUser}: messages go elsewhere.
        """

    def associationLost(self, association: IAssociation, reason: Failure) -> None:
        """
        See L{IAssociationUser}.
        """
        self._subscriptions.associationLost(association)
        for link in (*self.links.values(), *self.leaving):
            link.associationLost(association, reason.getErrorMessage())


@implementer(IAssociationUser)
class OpenedByUsers:
    """
    Has the interface's pool use the connections that users open.
    """

    def __init__(self, pool: AssociationPool) -> None:
        self._pool = pool

    def associationMade(self, association: IAssociation) -> None:
        """
        See L{IAssociationUser}.
        """
        if association.zone == INTERFACE and not association.opened:
            self._pool.adopt(association)

    def messageReceived(self, message: object, association: IAssociation) -> None:
        """
        See L{IAssociationUser}: messages go elsewhere.
        """

    def associationLost(self, association: IAssociation, reason: Failure) -> None:
        """
        See L{IAssociationUser}.
        """
        if association.zone == INTERFACE and not association.opened:
            self._pool.lost(association)
