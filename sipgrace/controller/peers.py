"""
Other controllers: each opens a link to each of its peers, over which it is told how the other's nodes stand,
and passes on the orders that are for them. A controller tells of its own nodes alone, and carries out what is
passed on for its own nodes alone, so that nothing can go round in circles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import random as _random
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, TimeoutError, fail, gatherResults, succeed
from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger
from twisted.protocols.amp import AmpError, UnhandledCommand
from twisted.python.failure import Failure

from sipgrace import __version__
from sipgrace.control.approach import connect
from sipgrace.control.remote import Unreachable
from sipgrace.control.uplinkcore import BACKOFF, UplinkCore, Uplinking
from sipgrace.control.uplinkmachine import uplinkMachine
from sipgrace.controller.facts import Notice, OrderRecord, Person
from sipgrace.controller.fleet import Fleet
from sipgrace.controller.hearsay import eventFrom, viewFrom
from sipgrace.controller.links import Accepted
from sipgrace.controller.peercommands import PeerTold
from sipgrace.controller.peerlink import Passed, PeerUplink, Serving
from sipgrace.controller.records import orderFrom, toText
from sipgrace.lifecycle.authorization import Role

__all__ = ["Neighbour", "Peers"]

#: What peers are told of.
_TOLD = ("node", "event", "order", "report")


@dataclass(frozen=True, slots=True)
class Neighbour:
    """
    Another controller.

    @ivar name: the name in its certificate.
    @ivar endpoint: where it is.
    @ivar role: what its people may here at most.
    @ivar secure: whether it is reached by TLS.
    """

    name: str
    endpoint: IStreamClientEndpoint
    role: Role
    secure: bool


class _Peer:
    """
    One of them, and our link to it.
    """

    def __init__(
        self, peers: Peers, neighbour: Neighbour, clock: IReactorTime, random: Callable[[], float]
    ) -> None:
        self.neighbour = neighbour
        self.link: PeerUplink | None = None
        self._peers = peers
        self._clock = clock
        self.core: UplinkCore[PeerUplink] = UplinkCore(
            name=neighbour.name,
            clock=clock,
            connect=self._connect,
            user=self,
            backoff=BACKOFF,
            random=random,
            log=Peers.log,
        )
        self.machine: Uplinking = uplinkMachine(self.core)

    def _connect(self) -> Deferred[PeerUplink]:
        where = self.neighbour
        return connect(where.endpoint, PeerUplink(where.name, where.secure, self._clock, self._peers))

    def hello(self) -> dict[str, Any]:
        """
        See L{sipgrace.control.uplinkcore.UplinkUser}.
        """
        return {"name": self._peers.name, "version": __version__}

    def distrusted(self, why: str) -> None:
        """
        See L{sipgrace.control.uplinkcore.UplinkUser}.
        """
        self._peers.noteRefused(self.neighbour.name, "peer", why)

    def linked(self, link: PeerUplink) -> None:
        """
        See L{sipgrace.control.uplinkcore.UplinkUser}.
        """
        self.link = link

    def unlinked(self, link: PeerUplink) -> None:
        """
        See L{sipgrace.control.uplinkcore.UplinkUser}.
        """
        self.link = None
        self._peers.fleet.disown(self.neighbour.name, self.core.trouble or "the link has ended")


class _Audience:
    """
    The peers that have opened a link to us: they are told of our nodes.
    """

    def __init__(
        self, name: str, fleet: Fleet, past: Callable[[], Deferred[list[tuple[str, str, Any]]]]
    ) -> None:
        self._name = name
        self._fleet = fleet
        self._past = past
        self._links: dict[Accepted, None] = {}

    def add(self, link: Accepted) -> None:
        """
        One more: it is told of all nodes at once.
        """
        self._links[link] = None
        link.whenLost().addCallback(lambda _: self._links.pop(link, None))
        views = [member.view() for member in self._fleet.members()]
        for view in views:
            self._tell(link, "node", view["name"], view)
        self._tell(link, "all", "", [view["name"] for view in views])
        self._past().addCallback(self._tellPast, link)

    def _tellPast(self, past: list[tuple[str, str, Any]], link: Accepted) -> None:
        # What may have come about while there was no link.
        for kind, node, facts in past:
            self._tell(link, kind, node, facts)

    def noticed(self, notice: Notice) -> None:
        """
        Something has changed.
        """
        if self._links and notice.kind in _TOLD and self._isOurs(notice):
            for link in list(self._links):
                self._tell(link, notice.kind, notice.node, notice.facts)

    def _isOurs(self, notice: Notice) -> bool:
        if notice.kind == "order":
            return notice.facts.get("by") == self._name
        if notice.kind == "node":
            return "controller" not in notice.facts
        return self._fleet.linkOf(notice.node) is not None

    def _tell(self, link: Accepted, kind: str, node: str, facts: Any) -> None:
        link.callRemote(PeerTold, kind=kind, node=node, facts=facts)


class Peers(Service):
    """
    All of them.

    @ivar name: this controller's name.
    @ivar fleet: where nodes are kept, our own and others'.
    """

    log = Logger()

    def __init__(
        self,
        name: str,
        clock: IReactorTime,
        fleet: Fleet,
        neighbours: Sequence[Neighbour],
        user: Passed,
        keep: Callable[[OrderRecord, bool], Deferred[None]],
        keepReport: Callable[[str, Mapping[str, Any]], Deferred[None]],
        noteRefused: Callable[[str, str, str], None],
        random: Callable[[], float] = _random,
    ) -> None:
        """
        @param noteRefused: see L{sipgrace.controller.seams.IController.noteRefused}.
        @param user: carries out what is passed on.
        @param keep: keeps the record of another's order; where it was not just passed on by us (false), only
            if it was before.
        @param keepReport: keeps a report of another's node, and tells of it.
        """
        self.name = name
        self.fleet = fleet
        self._keep = keep
        self._keepReport = keepReport
        self.noteRefused = noteRefused
        self._user = user
        self._peers = {one.name: _Peer(self, one, clock, random) for one in neighbours}
        self._audience = _Audience(name, fleet, user.past)

    def startService(self) -> None:
        """
        Opens the links.
        """
        super().startService()
        self.fleet.observe(self._audience.noticed)
        for peer in self._peers.values():
            peer.machine.start()

    def stopService(self) -> Deferred[None]:
        """
        Ends them.
        """
        super().stopService()
        self.fleet.unobserve(self._audience.noticed)
        for peer in self._peers.values():
            peer.machine.stop()
        return succeed(None)

    # ------------------------------------------------------------------ what we pass on

    def order(self, values: Mapping[str, Any], person: Person) -> Deferred[OrderRecord]:
        """
        Passes an order on to whose node it is for.

        @return: fires with the record, which stays with the other controller and is kept here, too; fails as
            L{sipgrace.controller.seams.IController.order} does, and with L{Unreachable} where the other
            controller is.
        """
        node = str(values.get("node", ""))
        owner = self.fleet.ownerOf(node)
        what = f"{node} is a node of {owner}"
        return self._pass(owner, what, lambda link: link.order(values, person))

    def withdraw(self, record: OrderRecord, person: Person) -> Deferred[OrderRecord]:
        """
        Withdraws an order that was passed on; as L{order}.
        """
        what = f"the order is with {record.by}"
        return self._pass(record.by, what, lambda link: link.withdraw(record.id, person))

    def announce(self, values: Mapping[str, Any], person: Person) -> Deferred[list[str]]:
        """
        Has all peers that can be reached tell their clients of a server; see
        L{sipgrace.controller.controller.Passing}.
        """

        def failed(failure: Failure, name: str) -> list[str]:
            self.log.warn(
                "{peer} does not tell its clients: {why}", peer=name, why=failure.getErrorMessage()
            )
            return []

        asked = [
            peer.link.announce(values, person).addErrback(failed, name)
            for name, peer in self._peers.items()
            if peer.link is not None
        ]
        return gatherResults(asked).addCallback(lambda told: [name for names in told for name in names])

    def statusOf(self, node: str) -> Deferred[dict[str, Any]]:
        """
        Asks how things stand at a node of another controller's.

        @return: fails with L{Unreachable} where the node is, or that controller.
        """
        owner = self.fleet.ownerOf(node)
        what = f"{node} is a node of {owner}"

        def checked(status: Any) -> dict[str, Any]:
            if not isinstance(status, dict):
                raise Unreachable(f"{what}, which answers what cannot be read")
            return status

        return self._ask(owner, what, lambda link: link.status(node), "").addCallback(checked)

    def _pass(
        self, owner: str, what: str, ask: Callable[[PeerUplink], Deferred[dict[str, Any]]]
    ) -> Deferred[OrderRecord]:
        return self._ask(owner, what, ask, "; it may have obeyed").addCallback(self._kept)

    def _ask(
        self, owner: str, what: str, ask: Callable[[PeerUplink], Deferred[dict[str, Any]]], doubt: str
    ) -> Deferred[dict[str, Any]]:
        """
        @param doubt: what is to be said where no answer came.
        """
        peer = self._peers.get(owner)
        if peer is None or peer.link is None:
            why = "it is no peer of this one" if peer is None else peer.core.trouble or "there is no link yet"
            return fail(Unreachable(f"{what}, and {owner} cannot be reached: {why}"))

        def failed(failure: Failure) -> Failure:
            if failure.check(TimeoutError):
                return Failure(Unreachable(f"{what}, and {owner} has not answered{doubt}"))
            if failure.check(UnhandledCommand):
                return Failure(Unreachable(f"{what}, whose version cannot be asked that"))
            if failure.check(ConnectionClosed, AmpError):
                return Failure(Unreachable(f"{what}, and the link to it was lost{doubt}"))
            return failure

        return ask(peer.link).addErrback(failed)

    def _kept(self, facts: Any) -> Deferred[OrderRecord]:
        record = orderFrom(toText(facts))
        return self._keep(record, True).addCallback(lambda _: record)

    # ------------------------------------------------------------------ what we are told

    def told(self, owner: str, kind: str, node: str, facts: Any) -> None:
        """
        See L{sipgrace.controller.peerlink.Told}.
        """
        if kind == "all" and isinstance(facts, list):
            self.fleet.adoptOnly(owner, [str(name) for name in facts])
        elif not isinstance(facts, dict):
            raise ValueError(f"what is told of a {kind[:20]} is an object")
        elif kind == "node":
            if facts.get("forgotten"):
                self.fleet.adoptOnly(owner, [name for name in self.fleet.adoptedOf(owner) if name != node])
            else:
                self.fleet.adopt(owner, viewFrom(facts))
        elif kind in ("order", "past"):
            self._orderTold(owner, facts)
            if kind == "order":
                self.fleet.publish("order", node, facts)
        elif kind in _TOLD and self.fleet.ownerOf(node) == owner:
            # What nodes of our own tell comes without a detour.
            told = {**facts, "controller": owner}
            if kind == "report":
                self._keepReport(node, told).addErrback(
                    lambda failure: self.log.error(
                        "a report of {node} cannot be stored: {why}", node=node, why=failure.getErrorMessage()
                    )
                )
            else:
                self.fleet.publish(kind, node, eventFrom(told))

    def _orderTold(self, owner: str, facts: dict[str, Any]) -> None:
        record = orderFrom(toText(facts))
        if record.by != owner:
            raise ValueError(f"the order {record.id[:100]} is that of {record.by[:100]}")
        self._keep(record, False).addErrback(
            lambda failure: self.log.error(
                "an order of {peer} cannot be stored: {why}", peer=owner, why=failure.getErrorMessage()
            )
        )

    # ------------------------------------------------------------------ who comes to us

    def welcome(self, link: Accepted, hello: Any) -> None:
        """
        Somebody says that they are a peer.

        @raise NotAllowed: where they are none. The link is ended.
        """
        name = hello.get("name") if isinstance(hello, dict) else None
        if not isinstance(name, str):
            link.refuse("peer", "its hello cannot be read")
            return
        link.certify(name, "peer")
        peer = self._peers.get(name)
        if peer is None:
            link.refuse("peer", f"{name[:100]} is no peer of {self.name}; each has the other under [[peers]]")
            return
        link.begin(name)
        link.locator = Serving(name, peer.neighbour.role, self._user)
        self.log.info("{peer} is linked, from {address}", peer=name, address=link.address)
        self._audience.add(link)

    def status(self) -> list[dict[str, Any]]:
        """
        How the links stand, for display.
        """
        return [
            {"name": name, "state": peer.core.state, "trouble": peer.core.trouble}
            for name, peer in self._peers.items()
        ]
