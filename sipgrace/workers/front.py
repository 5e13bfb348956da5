"""
The front: a server whose traffic others have. It has the lifecycle, takes the orders and tells how things
stand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList

from sipgrace.config.server import ServerConfig
from sipgrace.console import Console
from sipgrace.element import Element
from sipgrace.interfaces import IAssociation
from sipgrace.lifecycle.approval import Approval
from sipgrace.lifecycle.estimate import SetupTimes
from sipgrace.lifecycle.events import Change, Event, State
from sipgrace.lifecycle.gate import Gate
from sipgrace.lifecycle.ledger import Ledger
from sipgrace.lifecycle.orderform import toText
from sipgrace.lifecycle.orders import Kind, Order
from sipgrace.server.clients import Clients
from sipgrace.server.rejects import Rejects
from sipgrace.server.service import NETWORK, awaitedOf, rejectionOf
from sipgrace.transport.associations import Associations, Listen
from sipgrace.workers.crew import Crew, Member
from sipgrace.workers.facades import AllAssociations, AllGates, AllLedgers
from sipgrace.workers.link import End
from sipgrace.workers.siblings import SiblingAssociation
from sipgrace.workers.sockets import Sockets, placesOf
from sipgrace.workers.spawning import Spawner
from sipgrace.workers.told import factsOf

__all__ = ["FrontElement", "FrontService"]


class FrontElement(Element):
    """
    An element whose ledger, gate and associations are those of its workers together.
    """

    def __init__(self, crew: Crew, *args: Any) -> None:
        self.crew = crew
        super().__init__(*args)

    def _makeLedger(self, times: SetupTimes) -> Ledger:
        return cast(Ledger, AllLedgers(self.crew))

    def _makeGate(self, spread: int) -> Gate:
        return cast(Gate, AllGates(self.crew, self.clock, spread))

    def _makeAssociations(self, places: list[Listen]) -> Associations:
        return cast(Associations, AllAssociations(self.crew, self.clock, self._sockets()))

    def _sockets(self) -> Sockets:
        given: Iterable[str] = (self.withStack(description) for description, _ in self.places)
        places = (place for text in given for place in placesOf(text))
        return Sockets(places, len(self.crew.members), self.crew.shared)

    def status(self) -> dict[str, Any]:
        """
        See L{Element.status}: sums.
        """
        crew = self.crew
        transactions: dict[str, int] = {}
        for member in crew.members:
            for name, count in member.facts.get("status", {}).get("transactions", {}).items():
                transactions[name] = transactions.get(name, 0) + count
        return {
            **super().status(),
            "proxy": crew.table("proxy"),
            "transport": {**self.counters.asDict(), **crew.table("transport")},
            "transactions": {**self.layer.counts(), **transactions, "shed": crew.sum("shed")},
            "workers": [member.row() for member in crew.members],
        }


class FrontService(Service):
    """
    A server over several processes (see L{sipgrace.tap.signals.RoleService}).

    @ivar element: what it is made of.
    """

    def __init__(self, reactor: Any, config: ServerConfig, text: str, path: str) -> None:
        """
        @param text: the configuration file, which the workers read, too; C{path} is what it is called.
        """
        server = config.server
        self.config = config
        self._spawner = Spawner(reactor, server.workers, text, path, server.stack, self._end)
        self.crew = crew = Crew(reactor, server.workers, self._spawner.spawn)
        self.element = element = FrontElement(
            crew,
            reactor,
            server.name,
            [(description, NETWORK) for description in server.listen],
            server.advertise,
            server.stack,
            config.timers,
            config.limits,
            config.drain,
            config.orders,
            config.report,
        )
        self._ledger = cast(AllLedgers, element.ledger)
        self._associations = cast(AllAssociations, element.associations)
        self.clients = Clients((client.name, client.networks) for client in config.clients)
        self.awaited = awaitedOf(config, self.clients, element)
        element.lifecycle.observe(self.awaited)
        self.rejects = Rejects(
            server.name,
            server.rejects,
            (),
            {client.name for client in config.clients},
            rejectionOf,
            element.lifecycle.remark,
            element.oversight.beside,
        )
        self.rejects.onPut = self._rulesChanged
        element.door.kinds[Kind.REJECT] = self.rejects.reject
        element.door.kinds[Kind.ADMIT] = self.rejects.admit
        element.door.reached = crew.reached
        self._theirs: dict[tuple[int, int], tuple[SiblingAssociation, dict[str, Any], str]] = {}
        crew.brief = self._brief
        crew.onFacts = self._looked
        crew.onEnded = self._left
        self._spawner.crew = crew
        element.lifecycle.observe(self)
        element.oversight.drainItself(config.overload, config.schedule, self._processTime, self._lag)
        element.oversight.rehearsals.clients = self.clients.status
        if config.orders.clientsApprove:
            element.door.approval = Approval(
                element.clock, config.orders.clientsApprove, config.orders.approveWithin, self._askClients
            )

    # ------------------------------------------------------------------ workers

    def _end(self, member: Member) -> End:
        # What a process has said may be read after it has ended.
        start = member.starts

        def gone() -> bool:
            return not member.pid or member.starts != start

        def told(facts: dict[str, Any]) -> None:
            if gone():
                return
            for at, count in facts.pop("times", ()):
                self.element.times.counts[at] += count
            self.crew.told(member, facts)

        def ready(facts: dict[str, Any]) -> None:
            if not gone():
                self.crew.ready(member, end)
                told(facts)

        def made(number: int, facts: dict[str, Any]) -> Deferred[None] | None:
            return None if gone() else self._made(member, number, facts)

        def named(number: int, client: str) -> Deferred[None] | None:
            return None if gone() else self._named(member, number, client)

        def lost(number: int) -> None:
            if not gone():
                self._lost(member, number)

        does: dict[str, Callable[..., Any]] = {
            "ready": ready,
            "facts": told,
            "made": made,
            "named": named,
            "lost": lost,
        }
        # A link that breaks is of a process that ends; where it does not, it is not heard of and ended.
        end = End(does, lambda: None)
        return end

    def _brief(self, member: Member) -> None:
        """
        One has come up: it is told what there is, and takes part where that is under way.
        """
        self.crew.ask(member, "rejects", ordered=self.rejects.ordered)
        for (worker, number), (_, facts, name) in self._theirs.items():
            self.crew.ask(member, "made", worker=worker, number=number, facts=facts, client=name)
        if self._associations.listening and not (self.element.gate.open and not self.element.gate.slowing):
            # It has come up in a drain that began meanwhile, and would take calls.
            member.kill()
        elif self._associations.listening:
            listening = self._associations.listenAt(member)
            listening.addCallbacks(self._back, self._notBack, callbackArgs=(member,), errbackArgs=(member,))

    def _rulesChanged(self) -> None:
        self.crew.askAll("rejects", ordered=self.rejects.ordered)

    def _back(self, ignored: object, member: Member) -> None:
        if self.element.gate.open and member.link is not None:
            lifecycle = self.element.lifecycle
            event = Event(
                number=lifecycle.number,
                change=Change.SERVING,
                state=State.SERVING,
                at=self.element.clock.seconds(),
                order=None,
                waiting=0,
                associations=0,
            )
            self.crew.ask(member, "event", facts=factsOf(event))
            self.crew.log.info("worker {number} serves", number=member.number)

    def _notBack(self, failure: Any, member: Member) -> None:
        self.crew.log.error(
            "worker {number} cannot listen and is ended: {reason}",
            number=member.number,
            reason=failure.getErrorMessage(),
        )
        member.kill()

    def _left(self, member: Member) -> None:
        self._ledger.gone(member)
        for worker, number in list(self._theirs):
            if worker == member.number:
                self._lost(member, number)

    def _looked(self) -> None:
        self._ledger.look()
        self._associations.look()

    def _others(self, member: Member, name: str, **values: Any) -> Deferred[None]:
        others = [other for other in self.crew.up() if other is not member]
        asked = [self.crew.ask(other, name, worker=member.number, **values) for other in others]
        self.element.changed()
        return DeferredList(asked).addCallback(lambda results: None)

    def _made(self, member: Member, number: int, facts: dict[str, Any]) -> Deferred[None]:
        # Only for what is shown: nothing is ever sent from here.
        association = SiblingAssociation(None, member.number, number, facts)
        self._theirs[member.number, number] = (association, facts, "")
        self.clients.associationMade(association)
        return self._others(member, "made", number=number, facts=facts, client="")

    def _named(self, member: Member, number: int, client: str) -> Deferred[None]:
        association, facts, _ = self._theirs[member.number, number]
        self._theirs[member.number, number] = (association, facts, client)
        self.clients.opened(client, cast(IAssociation, association))
        return self._others(member, "named", number=number, client=client)

    def _lost(self, member: Member, number: int) -> None:
        association, _, _ = self._theirs.pop((member.number, number))
        association.up = False
        self.clients.associationLost(cast(IAssociation, association), cast(Any, None))
        self._others(member, "lost", number=number)

    def onChange(self, event: Event) -> None:
        """
        See L{sipgrace.lifecycle.seams.Observer}: the workers hear of it before more is asked of them.
        """
        self.crew.askAll("event", facts=factsOf(event))

    def _askClients(self, order: Order) -> Mapping[str, Deferred[bool]]:
        # Each by the worker that has its association.
        holders = {
            self.clients.nameAt(association.peerHost): worker
            for (worker, _), (association, _, _) in self._theirs.items()
        }
        text = toText(order)
        return {
            name: self.crew.ask(self.crew.members[worker], "consult", order=text, client=name)
            for name, worker in holders.items()
            if name
        }

    def _processTime(self) -> float:
        """
        What the workers have used on average, in seconds.
        """
        return float(self.crew.sum("cpu")) / len(self.crew.members)

    def _lag(self) -> float:
        return max(float(member.count("lag")) for member in self.crew.members)

    # ------------------------------------------------------------------ how things stand

    @property
    def lifecycle(self) -> Any:
        """
        Where orders go.
        """
        return self.element.lifecycle

    def status(self) -> dict[str, Any]:
        """
        How things stand, for display; everything in it fits JSON.
        """
        told = [member.facts["status"]["announcements"] for member in self.crew.members if member.facts]
        announcements: dict[str, Any] = {"announce": str(self.config.drain.announce)}
        for one in told[:1]:
            announcements["announce"] = one["announce"]
        for name in ("subscriptions", "untold"):
            announcements[name] = sum(one[name] for one in told)
        announcements["notified"] = self.crew.sum("notified")
        return {
            "role": "server",
            **self.element.status(),
            "clients": self.clients.status(),
            **self.awaited.facts(),
            "announcements": announcements,
            "rejects": self.rejects.status(),
        }

    def standing(self) -> dict[str, Any]:
        """
        How things stand, in brief; everything in it fits JSON.
        """
        return {**self.element.standing(), **self.awaited.facts(), "peers": self.clients.peers()}

    def orders(self) -> dict[str, object]:
        """
        What an operator can say at the manhole's prompt.
        """
        return Console(self.element, self.status).names()

    # ------------------------------------------------------------------ life

    def startService(self) -> Deferred[Any]:
        """
        Starts the workers, and listens.

        @return: fails with what kept it from that.
        @raise ConfigError: when the file of rules that were ordered cannot be read.
        """
        self.rejects.load()
        super().startService()
        return self.crew.complete().addCallback(lambda ignored: self.element.start())

    def stopService(self) -> Deferred[Any]:
        """
        Ends what is left, at once.
        """
        super().stopService()
        self.element.leaveNow("stop")
        stopped = self.element.stop()
        return stopped.addBoth(lambda result: self._spawner.stop(self.crew))

    def leave(self) -> Deferred[State]:
        """
        Leaves service without losing a call.
        """
        return self.element.leave()

    def leaveNow(self) -> None:
        """
        Leaves service at once.
        """
        self.element.leaveNow()
