"""
A fleet that is simulated: nodes with a lifecycle and links that can be lost at the worst moment, a store in
memory that can die at any write, and a clock that dies with its controller.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from zope.interface import implementer

from sipgrace.control.remote import Answer, Unreachable
from sipgrace.controller.facts import (
    ENDED,
    Hello,
    Kept,
    NodeRecord,
    OrderRecord,
    Pruned,
    RollingRecord,
    ScheduleRecord,
)
from sipgrace.controller.fleet import Fleet
from sipgrace.controller.records import nodeFrom, orderFrom, rollingFrom, scheduleFrom, toText
from sipgrace.controller.seams import IFleetStore, INodeLink
from sipgrace.errors import OrderRefused, StoreError
from sipgrace.lifecycle.orderform import SignedOrder, fromText, sign
from sipgrace.lifecycle.orders import Kind, Order

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def signer(order: Order) -> SignedOrder:
    """
    Signs as a controller does.
    """
    return sign(order, "controller-120", KEY)


class MortalClock:
    """
    A clock over another, whose calls end with it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._calls: list[IDelayedCall] = []
        self.dead = False

    def seconds(self) -> float:
        """
        See C{IReactorTime}.
        """
        return self._clock.seconds()

    def callLater(self, delay: float, call: Callable[..., Any], *args: Any, **kw: Any) -> IDelayedCall:
        """
        See C{IReactorTime}.
        """
        delayed: IDelayedCall = self._clock.callLater(delay, call, *args, **kw)
        self._calls = [one for one in self._calls if one.active()]
        if self.dead:
            delayed.cancel()
        else:
            self._calls.append(delayed)
        return delayed

    def die(self) -> None:
        """
        Nothing is called any more.
        """
        self.dead = True
        for call in self._calls:
            if call.active():
                call.cancel()

    @property
    def waiting(self) -> int:
        """
        How many calls are still to come.
        """
        return sum(call.active() for call in self._calls)


@implementer(INodeLink)
class SimulatedLink:
    """
    A link to a L{SimulatedNode}, for as long as the node has it.
    """

    def __init__(self, node: SimulatedNode) -> None:
        self.node = node
        self.dead = False
        self.told: list[tuple[Any, ...]] = []

    def signed(self, signed: SignedOrder) -> Deferred[Answer]:
        """
        See L{INodeLink}.
        """
        if self.dead:
            return Deferred()
        if self.node.link is not self:
            return fail(Unreachable("it has closed the connection"))
        return self.node.take(signed)

    def rehearsed(self, answer: Answer) -> Deferred[dict[str, Any]]:
        """
        See L{INodeLink}.
        """
        self.node.rehearsing = Deferred()
        return self.node.rehearsing

    def status(self) -> Deferred[dict[str, Any]]:
        """
        See L{INodeLink}.
        """
        return succeed({"state": self.node.state})

    def unavailable(self, server: str, retryAfter: float, back: float | None, why: str) -> Deferred[None]:
        """
        See L{INodeLink}.
        """
        return self._tell("unavailable", server, retryAfter, back, why)

    def available(self, server: str, why: str) -> Deferred[None]:
        """
        See L{INodeLink}.
        """
        return self._tell("available", server, why)

    def _tell(self, *what: Any) -> Deferred[None]:
        if self.node.link is not self:
            return fail(Unreachable("it has closed the connection"))
        self.told.append(what)
        return succeed(None)

    def end(self) -> None:
        """
        See L{INodeLink}.
        """
        if self.node.link is self:
            self.node.unlink("ended")


class SimulatedNode:
    """
    A server (or, without a lifecycle of interest, a client).

    @ivar obeyed: the kinds and nonces of what was obeyed, ever.
    @ivar takes: seconds that a drain takes; C{None} for ever.
    @ivar maintenance: how the command after a drain ends; C{None} for not at all.
    @ivar returns: seconds that coming back takes.
    @ivar refuses: why the next order is refused.
    @ivar awaited: the clients that it says it waits for.
    @ivar loses: what happens to the next order: C{'order'} (the link is lost before it arrives), C{'answer'}
        (the link is lost when it has been obeyed), C{'silence'} (it is obeyed, and no answer comes in time).
    """

    def __init__(
        self, clock: Clock, name: str, group: str = "", labels: Mapping[str, str] | None = None
    ) -> None:
        self.clock = clock
        self.name = name
        self.group = group
        self.labels = dict(labels or {})
        self.link: SimulatedLink | None = None
        self.fleet: Fleet | None = None
        self.takes: float | None = 3.0
        self.maintenance: str | None = "exit status 0 after 1.0 s"
        self.returns = 0.5
        self.refuses = ""
        self.loses = ""
        self.awaited: list[str] = []
        self.obeyed: list[tuple[str, str]] = []
        self.nonces: set[str] = set()
        self.rehearsing: Deferred[dict[str, Any]] | None = None
        self.whenChanged: list[Callable[[], None]] = []
        self.runs = 0
        self._begin()

    def _begin(self) -> None:
        self.runs += 1
        self.boot = f"{self.name}-run{self.runs}"
        self.number = 0
        self.events: list[dict[str, Any]] = []
        self.state = "serving"
        self.order: Order | None = None
        self._call: IDelayedCall | None = None

    # ------------------------------------------------------------------ links

    def connect(self, fleet: Fleet) -> SimulatedLink:
        """
        Links up, tells again what was missed, and how it stands.
        """
        self.fleet = fleet
        link = self.link = SimulatedLink(self)
        hello = Hello(self.name, "server", "1.0", self.boot, self.number, self.labels, self.group)
        since = fleet.hello(hello, link, "127.0.0.1")
        for event in self.events:
            if event["number"] > since:
                fleet.happened(self.name, event)
        self.stand()
        return link

    def unlink(self, why: str = "reset") -> None:
        """
        Loses its link.
        """
        link, self.link = self.link, None
        if link is not None and self.fleet is not None and not link.dead:
            self.fleet.lost(self.name, link, why)

    def stand(self) -> None:
        """
        Says how it stands.
        """
        if self.link is not None and self.fleet is not None and not self.link.dead:
            order = None if self.order is None else self.order.facts()
            self.fleet.standing(self.name, {"state": self.state, "order": order, "awaited": self.awaited})

    def restart(self) -> None:
        """
        Its process ends, and begins again.
        """
        self.unlink("its process ended")
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._begin()
        self._changed()

    def _changed(self) -> None:
        for call in self.whenChanged:
            call()

    def tell(self, change: str, state: str, order: Order | None = None, text: str = "") -> None:
        """
        Something happens to it.
        """
        self.number += 1
        self.state = state
        event = {
            "number": self.number,
            "change": change,
            "state": state,
            "at": self.clock.seconds(),
            "order": None if order is None else order.facts(),
            "text": text,
        }
        self.events.append(event)
        if self.link is not None and self.fleet is not None and not self.link.dead:
            self.fleet.happened(self.name, event)
            self.stand()
        self._changed()

    # ------------------------------------------------------------------ orders

    def take(self, signed: SignedOrder) -> Deferred[Answer]:
        """
        Obeys, or does not.
        """
        KEY.public_key().verify(signed.signature, b"sipgrace order 1\n" + signed.text.encode())
        order = fromText(signed.text)
        assert order.node == self.name and order.expires is not None
        loses, self.loses = self.loses, ""
        if loses == "order":
            self.unlink()
            return fail(Unreachable("it has closed the connection"))
        if order.expires <= self.clock.seconds():
            return fail(OrderRefused("the order expired"))
        if order.nonce in self.nonces:
            return fail(
                OrderRefused("an order with this nonce has been given before; each order needs its own")
            )
        self.nonces.add(order.nonce)
        if loses == "answer":
            self.unlink()
        refuses, self.refuses = self.refuses, ""
        number = self.number
        try:
            if refuses:
                raise OrderRefused(refuses)
            self._obey(order)
        except OrderRefused as error:
            self.tell("refused", self.state, order, str(error))
            if loses:
                return fail(Unreachable("no answer"))
            return fail(OrderRefused(str(error)))
        if loses:
            return fail(Unreachable("it has not answered within 10 seconds"))
        result = {"guard": 30.0} if order.kind is Kind.REHEARSE else None
        return succeed(Answer(number, self.state, order.nonce, result))

    def _obey(self, order: Order) -> None:
        kind = order.kind
        if kind is Kind.DRAIN:
            if self.state == "offline":
                raise OrderRefused("the server is offline already; resume is what would be accepted")
            self.obeyed.append(("drain", order.nonce))
            if self.state == "draining":
                self.tell("joined", "draining", order)
                return
            self.order = order
            self.tell("draining", "draining", order)
            if self.takes is not None:
                self._later(self.takes, self.leave)
        elif kind is Kind.CANCEL:
            if self.state != "draining":
                raise OrderRefused("no drain is under way")
            self.obeyed.append(("cancel", order.nonce))
            self._stopWaiting()
            self.tell("cancelled", "serving", order)
        elif kind is Kind.RESUME:
            if self.state == "draining":
                raise OrderRefused("the server is draining; cancel is what takes a drain back")
            self.obeyed.append(("resume", order.nonce))
            if self.state == "serving":
                return
            self.tell("returning", "returning", order)
            self._later(self.returns, self.serve)
        elif kind is Kind.OFFLINE:
            self.obeyed.append(("offline", order.nonce))
            self._stopWaiting()
            self.order = order
            self.tell("offline", "offline", order)
        elif kind is Kind.EXTEND:
            self.obeyed.append(("extend", order.nonce))
            self.tell("extended", self.state, order)
        elif kind is not Kind.REHEARSE:
            raise OrderRefused(f"{kind} is no order for {self.name}")

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        self._stopWaiting()
        self._call = self.clock.callLater(seconds, call)

    def _stopWaiting(self) -> None:
        if self._call is not None and self._call.active():
            self._call.cancel()

    def leave(self) -> None:
        """
        The drain is over.
        """
        order = self.order
        self.tell("drained", "drained", order)
        self.tell("offline", "offline", order)
        if order is not None and order.then == "run" and self.maintenance is not None:
            self._later(1.0, self.maintained)

    def maintained(self) -> None:
        """
        Its maintenance is done.
        """
        self.tell("maintained", self.state, self.order, self.maintenance or "")

    def serve(self) -> None:
        """
        It is back.
        """
        self.order = None
        self.tell("serving", "serving")


class SimulatedClient:
    """
    A client that sees servers a moment after they change.

    @ivar blind: servers that it does not reach, whatever they do.
    """

    def __init__(self, clock: Clock, name: str, servers: Iterable[SimulatedNode]) -> None:
        self.clock = clock
        self.name = name
        self.servers = list(servers)
        self.blind: set[str] = set()
        self.link: Any = None
        self.fleet: Fleet | None = None
        self.state = "serving"
        for server in self.servers:
            server.whenChanged.append(lambda: self.clock.callLater(0.2, self.stand))

    def connect(self, fleet: Fleet) -> SimulatedLink:
        """
        Links up.
        """
        self.fleet = fleet
        link = self.link = SimulatedLink(self)
        fleet.hello(Hello(self.name, "client", "1.0", "b1", 0), link, "127.0.0.1")
        self.stand()
        return link

    def unlink(self, why: str = "reset") -> None:
        """
        Loses its link.
        """
        link, self.link = self.link, None
        if link is not None and self.fleet is not None and not link.dead:
            self.fleet.lost(self.name, link, why)

    def stand(self) -> None:
        """
        Says which servers it reaches.
        """
        if self.link is None or self.fleet is None or self.link.dead:
            return
        peers = []
        for server in self.servers:
            active = server.state == "serving" and server.name not in self.blind
            peers.append({"name": server.name, "active": active, "associated": active, "skipped": False})
        self.fleet.standing(self.name, {"state": "serving", "peers": peers})


class SecondLink(SimulatedLink):
    """
    A link of the same node to another controller. It is told what the first one is.
    """

    def __init__(self, node: SimulatedNode, fleet: Fleet) -> None:
        super().__init__(node)
        self.fleet = fleet
        self.up = True
        self._told = fleet.hello(
            Hello(node.name, "server", "1.0", node.boot, node.number, node.labels, node.group),
            self,
            "127.0.0.1",
        )
        node.whenChanged.append(self.tell)
        self.tell()

    def tell(self) -> None:
        """
        Tells what is new.
        """
        node = self.node
        if self.up and not self.dead:
            for event in node.events:
                if event["number"] > self._told:
                    self._told = event["number"]
                    self.fleet.happened(node.name, event)
            order = None if node.order is None else node.order.facts()
            self.fleet.standing(node.name, {"state": node.state, "order": order})

    def signed(self, signed: SignedOrder) -> Deferred[Answer]:
        """
        See L{INodeLink}.
        """
        if self.dead:
            return Deferred()
        return self.node.take(signed) if self.up else fail(Unreachable("it has closed the connection"))

    def end(self) -> None:
        """
        See L{INodeLink}.
        """
        if self.up:
            self.up = False
            self.node.whenChanged.remove(self.tell)
            if not self.dead:
                self.fleet.lost(self.node.name, self, "ended")


@implementer(IFleetStore)
class MemoryStore:
    """
    A store in memory. What is kept is kept as JSON in C{data}, so that another one over the same C{data}
    finds it.

    @ivar shared: whether others have the same.
    @ivar name: whose it is, where others have the same; then claims are known by whose they are.
    @ivar writes: what was written, in order.
    @ivar onWrite: is called with each write before it is done; may end this store (L{die}).
    @ivar broken: why nothing can be kept.
    @ivar brokenFor: only what begins so cannot be kept then.
    @ivar step: so many records are looked at in one step of pruning.
    """

    def __init__(self, data: dict[str, dict[Any, Any]] | None = None, name: str = "") -> None:
        self.data: dict[str, dict[Any, Any]] = {} if data is None else data
        for kind in ("orders", "rollings", "schedules", "audit", "reports", "claims", "nodes"):
            self.data.setdefault(kind, {})
        self.name = name
        self.shared = bool(name)
        self.writes: list[str] = []
        self.onWrite: Callable[[str], None] = lambda what: None
        self.broken = ""
        self.brokenFor = ""
        self.step = 2
        self.dead = False

    def die(self) -> None:
        """
        Nothing is written any more, and nobody gets an answer.
        """
        self.dead = True

    def _write(self, what: str, work: Callable[[], Any]) -> Deferred[Any]:
        if self.dead:
            return Deferred()
        if self.broken and what.startswith(self.brokenFor):
            return fail(StoreError(self.broken))
        self.writes.append(what)
        self.onWrite(what)
        if self.dead:
            return Deferred()
        try:
            return succeed(work())
        except Exception:
            return fail()

    def _read(self, work: Callable[[], Any]) -> Deferred[Any]:
        if self.dead:
            return Deferred()
        return succeed(work())

    def start(self) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """
        return succeed(None)

    def putOrder(self, record: OrderRecord) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """
        text = toText(record)
        return self._write(
            f"order {record.order['kind']} {record.node} {record.outcome}",
            lambda: self.data["orders"].__setitem__(record.id, text),
        )

    def _orders(self) -> list[OrderRecord]:
        return sorted(map(orderFrom, self.data["orders"].values()), key=lambda record: record.at)

    def orders(
        self, limit: int = 100, before: float | None = None, node: str = ""
    ) -> Deferred[list[OrderRecord]]:
        """
        See L{IFleetStore}.
        """
        return self._read(
            lambda: [
                record
                for record in reversed(self._orders())
                if (before is None or record.at < before) and (not node or record.node == node)
            ][:limit]
        )

    def order(self, id: str) -> Deferred[OrderRecord | None]:
        """
        See L{IFleetStore}.
        """
        text = self.data["orders"].get(id)
        return self._read(lambda: None if text is None else orderFrom(text))

    def openOrders(self) -> Deferred[list[OrderRecord]]:
        """
        See L{IFleetStore}.
        """
        return self._read(lambda: [record for record in self._orders() if record.outcome not in ENDED])

    def putRolling(self, record: RollingRecord) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """
        text = toText(record)
        steps = " ".join(f"{name}={step}" for name, step in record.steps.items())
        return self._write(
            f"rolling {record.progress} {steps}",
            lambda: self.data["rollings"].__setitem__(record.id, text),
        )

    def rollings(self, limit: int = 100, before: float | None = None) -> Deferred[list[RollingRecord]]:
        """
        See L{IFleetStore}.
        """
        found = sorted(map(rollingFrom, self.data["rollings"].values()), key=lambda record: -record.at)
        return self._read(lambda: [one for one in found if before is None or one.at < before][:limit])

    def putSchedule(self, record: ScheduleRecord) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """
        text = toText(record)
        return self._write("schedule", lambda: self.data["schedules"].__setitem__(record.id, text))

    def removeSchedule(self, id: str) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """
        return self._write("no schedule", lambda: self.data["schedules"].pop(id, None) and None)

    def schedules(self) -> Deferred[list[ScheduleRecord]]:
        """
        See L{IFleetStore}.
        """
        return self._read(lambda: list(map(scheduleFrom, self.data["schedules"].values())))

    def putNode(self, record: NodeRecord) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """
        text = toText(record)
        return self._write(
            f"node {record.name}", lambda: self.data["nodes"].__setitem__((self.name, record.name), text)
        )

    def removeNode(self, name: str) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """
        nodes = self.data["nodes"]
        return self._write(f"no node {name}", lambda: nodes.pop((self.name, name), None) and None)

    def nodes(self) -> Deferred[list[NodeRecord]]:
        """
        See L{IFleetStore}.
        """
        found = [nodeFrom(text) for (owner, _), text in self.data["nodes"].items() if owner == self.name]
        return self._read(lambda: sorted(found, key=lambda record: record.name))

    def addAudit(self, facts: Mapping[str, Any]) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """
        text = toText(facts)
        audit = self.data["audit"]
        number = max(audit, default=0) + 1
        return self._write(f"audit {facts['what']}", lambda: audit.__setitem__(number, text))

    def audit(self, limit: int = 100, before: float | None = None) -> Deferred[list[dict[str, Any]]]:
        """
        See L{IFleetStore}.
        """
        found = [json.loads(text) for text in reversed(self.data["audit"].values())]
        return self._read(
            lambda: [facts for facts in found if before is None or facts["at"] < before][:limit]
        )

    def addReport(self, node: str, at: float, facts: Mapping[str, Any]) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """
        text = toText({"node": node, "at": at, "report": facts})
        return self._write("report", lambda: self.data["reports"].__setitem__((node, at), text))

    def reports(self, node: str = "", limit: int = 20) -> Deferred[list[dict[str, Any]]]:
        """
        See L{IFleetStore}.
        """
        found = [json.loads(text) for text in self.data["reports"].values()]
        found.sort(key=lambda one: -one["at"])
        return self._read(lambda: [one for one in found if not node or one["node"] == node][:limit])

    def takeTurn(self) -> Deferred[bool]:
        """
        See L{IFleetStore}.
        """
        turn = self.data.setdefault("turn", {})
        return self._read(lambda: turn.setdefault("turn", self.name) == self.name)

    def leaveTurn(self) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """
        return self._read(self.data.setdefault("turn", {}).clear)

    def aged(self, before: float) -> Deferred[int]:
        """
        See L{IFleetStore}.
        """
        return self._read(lambda: len(self._agedAudit(before)))

    def _agedAudit(self, before: float) -> list[int]:
        return [n for n, text in self.data["audit"].items() if json.loads(text)["at"] < before]

    def prune(
        self, kind: Kept, before: float, after: str = "", spared: Collection[str] = ()
    ) -> Deferred[Pruned]:
        """
        See L{IFleetStore}. One step looks at C{step} records.
        """

        def drop(ids: Iterable[Any]) -> int:
            return len([self.data[kind].pop(id) for id in ids])

        def prune() -> Pruned:
            if kind is Kept.AUDIT:
                old = self._agedAudit(before)
                return Pruned(drop(old[: self.step]), after="more" if len(old) > self.step else "")
            made: Any = rollingFrom if kind is Kept.ROLLINGS else orderFrom
            records = sorted(map(made, self.data[kind].values()), key=lambda one: (one.at, one.id))
            found = [one for one in records if one.at < before and f"{one.at:030} {one.id}" > after]
            found, more = found[: self.step], len(found) > self.step
            over = [one for one in found if one.ended is not None and one.ended < before]
            removed = drop(one.id for one in over if getattr(one, "rolling", None) not in spared)
            left = [one.id for one in found if one.ended is None and kind is Kept.ROLLINGS]
            return Pruned(removed, left, f"{found[-1].at:030} {found[-1].id}" if more else "")

        return self._write(f"prune {kind}", prune)

    def _claimed(self, group: str) -> frozenset[str]:
        return frozenset(server for server, _ in self.data["claims"].get(group, ()))

    def claim(
        self, group: str, server: str, allowed: Callable[[frozenset[str]], str]
    ) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """

        def claim() -> None:
            why = allowed(self._claimed(group) - {server})
            if why:
                raise OrderRefused(why)
            claims = self.data["claims"].setdefault(group, [])
            if (server, self.name) not in claims:
                claims.append((server, self.name))

        return self._write(f"claim {server}", claim)

    def hold(self, group: str, server: str) -> Deferred[None]:
        """
        See L{IFleetStore}.
        """
        return self._write(f"hold {server}", lambda: None)

    def release(self, group: str, server: str, owner: str = "") -> Deferred[None]:
        """
        See L{IFleetStore}.
        """

        def release() -> None:
            claims = self.data["claims"].get(group, [])
            if (server, owner or self.name) in claims:
                claims.remove((server, owner or self.name))

        return self._write(f"release {server}", release)

    def claims(self, group: str) -> Deferred[frozenset[str]]:
        """
        See L{IFleetStore}.
        """
        return self._read(lambda: self._claimed(group))

    def held(self) -> Deferred[list[tuple[str, str, str]]]:
        """
        See L{IFleetStore}.
        """
        return self._read(
            lambda: [
                (group, server, owner)
                for group, claims in self.data["claims"].items()
                for server, owner in claims
            ]
        )
