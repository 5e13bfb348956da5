"""
The seams of the controller: what is asked of it by people (over HTTP, the command line) and by other
controllers, what keeps its facts, and the way to a node.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from sipgrace.controller.facts import (
    Kept,
    NodeRecord,
    OrderRecord,
    Person,
    Pruned,
    RollingRecord,
    ScheduleRecord,
)

__all__ = ["IController", "IFleetStore", "INodeLink"]


class INodeLink(Interface):
    """
    The way to one node, while it lasts.
    """

    def signed(signed: Any) -> Deferred[Any]:
        """
        Gives it a L{sipgrace.lifecycle.orderform.SignedOrder}.

        @return: fires with a L{sipgrace.control.remote.Answer} when it is obeyed; fails with
            L{sipgrace.errors.OrderRefused} or L{sipgrace.control.remote.Unreachable}.
        """

    def rehearsed(answer: Any) -> Deferred[Any]:
        """
        See L{sipgrace.control.remote.RemoteNode.rehearsed}.
        """

    def status() -> Deferred[dict[str, Any]]:
        """
        Everything that the node tells of itself.
        """

    def unavailable(server: str, retryAfter: float, back: float | None, why: str) -> Deferred[None]:
        """
        Tells a client on a server's behalf that it is unavailable for so many seconds, and back at such
        a time.
        """

    def available(server: str, why: str) -> Deferred[None]:
        """
        Takes that back.
        """

    def end() -> None:
        """
        Ends the link.
        """


class IFleetStore(Interface):
    """
    Where a controller keeps what must outlive it. Every Deferred fires when it is on the disk (or
    agreed upon), and fails with L{sipgrace.errors.StoreError} when that cannot be had.
    """

    shared = Attribute("Whether other controllers have the same store, so that claims hold for all.")

    def start() -> Deferred[None]:
        """
        Opens it.
        """

    def stop() -> Deferred[None]:
        """
        Closes it when all is written.
        """

    def putOrder(record: OrderRecord) -> Deferred[None]:
        """
        Keeps an order, or what became of it.
        """

    def orders(limit: int = 100, before: float | None = None, node: str = "") -> Deferred[list[OrderRecord]]:
        """
        The latest, newest first, given before that time.
        """

    def order(id: str) -> Deferred[OrderRecord | None]:
        """
        One.
        """

    def openOrders() -> Deferred[list[OrderRecord]]:
        """
        Those that have not ended, oldest first.
        """

    def putRolling(record: RollingRecord) -> Deferred[None]:
        """
        Keeps a rolling maintenance as it stands.
        """

    def rollings(limit: int = 100, before: float | None = None) -> Deferred[list[RollingRecord]]:
        """
        The latest, newest first, begun before that time.
        """

    def putSchedule(record: ScheduleRecord) -> Deferred[None]:
        """
        Keeps it.
        """

    def removeSchedule(id: str) -> Deferred[None]:
        """
        Forgets it.
        """

    def schedules() -> Deferred[list[ScheduleRecord]]:
        """
        All.
        """

    def putNode(record: NodeRecord) -> Deferred[None]:
        """
        Keeps a node of this controller's, in place of what was kept of it.
        """

    def removeNode(name: str) -> Deferred[None]:
        """
        Forgets it.
        """

    def nodes() -> Deferred[list[NodeRecord]]:
        """
        This controller's, by name; not those of others with the same store.
        """

    def addAudit(facts: Mapping[str, Any]) -> Deferred[None]:
        """
        Adds a record; none is ever changed, nor removed but by L{prune}.
        """

    def audit(limit: int = 100, before: float | None = None) -> Deferred[list[dict[str, Any]]]:
        """
        The latest, newest first.
        """

    def addReport(node: str, at: float, facts: Mapping[str, Any]) -> Deferred[None]:
        """
        Keeps the report of a finished drain.
        """

    def reports(node: str = "", limit: int = 20) -> Deferred[list[dict[str, Any]]]:
        """
        The latest, newest first: C{node}, C{at}, C{report}.
        """

    def takeTurn() -> Deferred[bool]:
        """
        Takes the turn to remove what is old, which one controller has at a time, until it leaves it or has
        ended.

        @return: fires with whether it has it.
        """

    def leaveTurn() -> Deferred[None]:
        """
        Leaves it to others.
        """

    def aged(before: float) -> Deferred[int]:
        """
        How many records of the audit log are older than that.
        """

    def prune(
        kind: Kept, before: float, after: str = "", spared: Collection[str] = ()
    ) -> Deferred[Pruned]:
        """
        Removes what is old, in small steps: orders and rolling maintenances that have come to their end
        before that time, records of the audit log that are older. What has not ended stays, however old.

        @param after: where the step before this one ended; empty for the first.
        @param spared: the ids of rolling maintenances whose orders stay.
        """

    def claim(group: str, server: str, allowed: Callable[[frozenset[str]], str]) -> Deferred[None]:
        """
        Counts a server as away, if that is allowed, as one step: whoever else claims at the same
        instant, here or at another controller with the same store, is looked at before or after, never
        in between.

        @param allowed: is called, perhaps more than once, with those claimed in that group now (without
            this one); returns why not, or an empty string.
        @return: fails with L{sipgrace.errors.OrderRefused} where it is not. To claim again what one has
            claimed is no mistake. Where the store is shared, a claim goes with the controller that made it,
            should it end, until it is L{hold}.
        """

    def hold(group: str, server: str) -> Deferred[None]:
        """
        Makes a claim last, also without the controller that made it, until it is released: the order is
        about to be sent.

        @return: fails with L{sipgrace.errors.StoreError} where the claim has gone meanwhile.
        """

    def release(group: str, server: str, owner: str = "") -> Deferred[None]:
        """
        Takes a claim back. The server is claimed as long as any controller claims it.

        @param owner: whose claim; empty for one's own.
        """

    def claims(group: str) -> Deferred[frozenset[str]]:
        """
        Who is claimed.
        """

    def held() -> Deferred[list[tuple[str, str, str]]]:
        """
        All claims that last: group, server, and the controller that made it (empty where there can be but
        one).
        """


class IController(Interface):
    """
    What people and peers can ask of a controller. Who may not gets L{sipgrace.errors.OrderRefused} with
    C{status} 403, an unknown name L{sipgrace.errors.Unknown}, and that is in the audit log.
    """

    name = Attribute("Its own name.")
    fleet = Attribute("The L{sipgrace.controller.fleet.Fleet}, which tells of what changes.")

    def order(values: Mapping[str, Any], person: Person) -> Deferred[OrderRecord]:
        """
        Gives an order: C{node}, C{kind}, and as it fits C{why}, C{guard}, C{retryAfter}, C{announce},
        C{back}, C{over}, C{then}, C{server} (see L{sipgrace.lifecycle.orders.Order}), C{queue} (true:
        wait for the budget rather than be refused), C{at} (do it then).

        @return: fires when the node has obeyed (C{OBEYED}, C{DONE}), when it was queued; fails with
            L{sipgrace.errors.OrderRefused} where it is refused, by the budget, the node, or for the
            person's role.
        """

    def withdraw(id: str, person: Person) -> Deferred[OrderRecord]:
        """
        Takes back an order that is queued.
        """

    def orders(limit: int = 100, before: float | None = None, node: str = "") -> Deferred[list[OrderRecord]]:
        """
        See L{IFleetStore.orders}.
        """

    def orderOf(id: str) -> Deferred[OrderRecord]:
        """
        One order; fails with L{sipgrace.errors.Unknown} where there is none of that id.
        """

    def status(node: str) -> Deferred[dict[str, Any]]:
        """
        All that a node tells of itself, asked of it now; of another controller's node, by way of that.

        @return: fails with L{sipgrace.control.remote.Unreachable} where there is no way to it, or no answer.
        """

    def rolling(values: Mapping[str, Any], person: Person) -> Deferred[RollingRecord]:
        """
        Begins a rolling maintenance: C{servers} (names), or C{select} (labels; C{{}} for all),
        C{atOnce} (1), C{settle} (10 s), C{why}, C{guard}, C{retryAfter}, C{announce}, C{over}, C{then}
        (C{'run'}, C{'stay'}, C{'exit'}), C{timeout} (seconds for one server, 600 and the guard).

        @return: fires when it is kept and under way.
        """

    def pause(id: str, person: Person) -> Deferred[RollingRecord]:
        """
        Begins with no further server until L{proceed}.
        """

    def proceed(id: str, person: Person) -> Deferred[RollingRecord]:
        """
        Goes on, also after trouble.
        """

    def stopRolling(id: str, person: Person) -> Deferred[RollingRecord]:
        """
        Ends it: those that have been begun are brought back, no further one is begun.
        """

    def rollings(limit: int = 100) -> Deferred[list[RollingRecord]]:
        """
        The latest, newest first.
        """

    def schedule(values: Mapping[str, Any], person: Person) -> Deferred[ScheduleRecord]:
        """
        Keeps something for later: C{what}, C{values}, and C{at}, or C{cron} with C{zone}.
        """

    def unschedule(id: str, person: Person) -> Deferred[None]:
        """
        Forgets it.
        """

    def schedules() -> Deferred[list[ScheduleRecord]]:
        """
        All.
        """

    def announce(
        server: str, retryAfter: float, back: float | None, why: str, person: Person
    ) -> Deferred[Sequence[str]]:
        """
        Tells all clients on a server's behalf that it is unavailable; the server may be one of no fleet.

        @return: fires with the names of the clients that were told.
        """

    def unannounce(server: str, why: str, person: Person) -> Deferred[Sequence[str]]:
        """
        Takes that back.
        """

    def audit(limit: int = 100, before: float | None = None) -> Deferred[list[dict[str, Any]]]:
        """
        See L{IFleetStore.audit}.
        """

    def reports(node: str = "", limit: int = 20) -> Deferred[list[dict[str, Any]]]:
        """
        See L{IFleetStore.reports}.
        """

    def forget(node: str, person: Person) -> Deferred[None]:
        """
        Forgets a node that will not come back: it is dropped from the fleet, and no budget counts it any
        more. For an admin; refused for one that has a link.
        """

    def noteRefused(who: str, what: str, why: str) -> None:
        """
        Writes into the audit log that somebody was turned away (wrong token, wrong role, wrong
        certificate).
        """
