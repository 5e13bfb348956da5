"""
A proxy core over the real transaction layer, with a role that does as it is told, and scenarios written as
tables: what happens, and what the core does about it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from zope.interface import implementer

from sipgrace.errors import TransportError
from sipgrace.interfaces import IAssociation
from sipgrace.lifecycle.ledger import Ledger
from sipgrace.message.message import Message, Request, Response
from sipgrace.message.parser import parse
from sipgrace.proxy.context import ResponseContext
from sipgrace.proxy.core import ProxyCore, ProxySettings
from sipgrace.proxy.identity import Identity
from sipgrace.proxy.target import Answer, Hop, Target
from sipgrace.testing import makeRequest, makeResponse, nameOf
from sipgrace.transaction.layer import TransactionLayer
from sipgrace.transaction.timers import TimerQueue

#: A tick that floating point represents exactly.
TICK = 0.125

HOSTS = {"caller": 1, "other": 2, "a": 11, "b": 12, "c": 13, "d": 14}


@implementer(IAssociation)
class Line:
    """
    An association with nobody at its other end. What is sent goes into the journal as C{a INVITE} or
    C{caller 180}.

    @ivar sent: the messages, in order.
    """

    opened = False
    localHost = "192.0.2.100"
    localPort = 5060

    def __init__(self, journal: Callable[[str], None], name: str, transport: bytes, zone: str) -> None:
        self.journal = journal
        self.name = name
        self.transport = transport
        self.reliable = transport != b"UDP"
        self.zone = zone
        self.via = b"SIP/2.0/" + transport + b" 192.0.2.100:5060"
        self.peerHost = f"192.0.2.{HOSTS[name]}"
        self.peerPort = 5060
        self.up = True
        self.sent: list[Message] = []

    def __repr__(self) -> str:
        return self.name

    def send(self, data: bytes) -> bool:
        if not self.up:
            return False
        message = parse(data)
        self.sent.append(message)
        if isinstance(message, Request):
            self.journal(f"{self.name} {nameOf(message)}")
        else:
            self.journal(f"{self.name} {nameOf(message).removesuffix(' INVITE')}")
        return True

    def shutdown(self) -> None:
        self.up = False

    def abort(self) -> None:
        self.up = False

    def last(self, *methods: bytes) -> Request:
        """
        The last request that was sent here, of these methods.
        """
        return next(
            message
            for message in reversed(self.sent)
            if isinstance(message, Request) and (message.method in methods or not methods)
        )


class JournalLedger(Ledger):
    """
    Writes down what is settled.
    """

    __slots__ = ("journal",)

    def settle(self, entry: Any, forced: bool = False) -> None:
        known = entry in self.setups or entry in self.calls
        super().settle(entry, forced)
        if known:
            self.journal("settled forced" if forced else "settled")


class RigTimers(TimerQueue):
    """
    A class of Python's own, so that tests can patch it when the queue is compiled.
    """


class ScriptedRole:
    """
    Goes where it is told.

    @ivar plan: the places to try: names of lines. A name in brackets has to be reached first.
    @ivar again: after what the next place is tried: reasons and statuses.
    @ivar admits: what is answered at once, by method.
    @ivar last: what C{exhausted} says.
    @ivar reaching: the places that are being reached.
    """

    def __init__(self, rig: ProxyRig) -> None:
        self.rig = rig
        self.plan: list[str] = ["a"]
        self.period = 2.0
        self.again: set[object] = {"timeout", "lost", 503}
        self.admits: dict[bytes, Answer] = {}
        self.last: Answer | None = None
        self.uri: bytes | None = None
        self.reaching: dict[str, Deferred[IAssociation]] = {}
        self.asked: list[tuple[object, ...]] = []
        self.more: dict[str, list[str]] = {}

    def admit(self, request: Request, association: IAssociation) -> Answer | None:
        return self.admits.get(request.method)

    def targets(self, request: Request, zone: str, outZone: str | None) -> Iterator[Target]:
        self.asked.append((zone, outZone, request.uri))
        for name in self.plan:
            yield self.target(name)

    def target(self, name: str) -> Target:
        if name.startswith("("):
            return Target(None, Hop(b"SCTP", name.strip("()"), 5060), self.uri, self.period, name)
        return Target(self.rig.lines[name], None, self.uri, self.period, name)

    def towards(self, hop: Hop, zone: str) -> Target:
        self.asked.append((hop, zone))
        return Target(self.rig.lines["a"], hop)

    def reach(self, target: Target) -> IAssociation | Deferred[IAssociation]:
        assert target.hop is not None
        name = target.hop.host
        if name == "nowhere":
            return fail(TransportError("nobody is there"))
        if name not in self.reaching:
            reached: Deferred[IAssociation] = Deferred(lambda ignored: self.rig.journal(f"{name} given up"))
            self.reaching[name] = reached
            self.rig.journal(f"{name} reaching")
            return reached
        return self.rig.lines[name]

    def answered(self, context: ResponseContext, target: Target) -> None:
        self.rig.journal(f"{target.token} answered")

    def failed(
        self, context: ResponseContext, target: Target, reason: str, response: Response | None
    ) -> bool:
        self.rig.journal(f"{target.token} failed {reason if response is None else response.status}")
        if target.token in self.more:
            context.tryFirst(self.target(name) for name in self.more[str(target.token)])
        return (reason if response is None else response.status) in self.again

    def exhausted(self, context: ResponseContext) -> Answer | None:
        return self.last


class ProxyRig:
    """
    A core between a caller and several callees.

    @ivar events: what happened, in words.
    """

    def __init__(
        self,
        caller: bytes = b"SCTP",
        callee: bytes = b"SCTP",
        zones: tuple[str, str] = ("network", "network"),
        **settings: Any,
    ) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.events: list[str] = []
        self.ledger = JournalLedger()
        self.ledger.journal = self.journal
        self.timers = RigTimers(self.clock, TICK)
        self.layer = TransactionLayer(self.timers, None)
        self.identity = Identity()
        self.role = ScriptedRole(self)
        self.core = ProxyCore(
            self.clock,
            self.timers,
            self.layer,
            self.role,
            self.ledger,
            self.identity,
            ProxySettings(**{"timerC": 181.0, "quiet": 4.5, **settings}),
        )
        self.lines = {
            name: Line(self.journal, name, caller if name in ("caller", "other") else callee, zone)
            for name, zone in [
                ("caller", zones[0]),
                ("other", zones[0]),
                *((name, zones[1]) for name in "abcd"),
            ]
        }
        self.count = 0
        self.request = b""

    def journal(self, event: str) -> None:
        self.events.append(event)

    def take(self) -> list[str]:
        events, self.events[:] = list(self.events), []
        return events

    def receive(self, data: bytes, line: str = "caller") -> None:
        self.layer.messageReceived(parse(data), self.lines[line])

    def make(self, method: bytes, toTag: bytes = b"", **changes: Any) -> bytes:
        """
        A new request of the caller's.
        """
        self.count += 1
        transport = self.lines["caller"].transport
        return makeRequest(
            method,
            via=b"SIP/2.0/" + transport + b" 192.0.2.1:5060",
            branch=b"z9hG4bKcaller%d" % self.count,
            toTag=toTag,
            **changes,
        )

    def answer(self, name: str, status: int, method: bytes = b"", **changes: Any) -> None:
        """
        A callee's answer to the last request it got that can be answered.
        """
        line = self.lines[name]
        request = line.last(method) if method else self.answerable(line)
        self.receive(makeResponse(request, status, toTag=name.encode(), **changes), name)

    @staticmethod
    def answerable(line: Line) -> Request:
        return next(
            message
            for message in reversed(line.sent)
            if isinstance(message, Request) and message.method not in (b"ACK", b"BYE", b"CANCEL")
        )

    def lose(self, name: str) -> None:
        self.lines[name].up = False
        self.layer.associationLost(self.lines[name])

    def run(self, seconds: float) -> None:
        """
        Lets time pass tick by tick.
        """
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            self.clock.advance(min(TICK, end - self.clock.seconds()))

    # ------------------------------------------------------------------ scenarios

    def step(self, text: str) -> None:
        """
        One thing that happens:

          - C{INVITE}, C{BYE}, C{MESSAGE}...: the caller sends one; C{again} the same once more; C{CANCEL} and
            C{ACK} belong to the last one; C{reINVITE} is an INVITE within a dialog;
          - C{a 180}: that callee answers its last request; C{a 200 CANCEL} its last CANCEL; C{b 200 of a} as
            the callee a;
          - C{+2}: so many seconds pass;
          - C{lose a}: that association is lost; C{reached a}, C{unreached a}: it comes up, or does not;
          - C{recall}, C{force}: what the lifecycle asks of the ledger.
        """
        words = text.split()
        if text[0] == "+":
            self.run(float(text[1:]))
        elif words[0] in self.lines:
            self.answer(words[0], int(words[1]), words[2].encode() if len(words) > 2 else b"")
        elif words[0] == "lose":
            for name in words[1:]:
                self.lose(name)
        elif words[0] == "reached":
            self.role.reaching[words[1]].callback(self.lines[words[1]])
        elif words[0] == "unreached":
            self.role.reaching[words[1]].errback(TransportError("refused"))
        elif text == "recall":
            self.ledger.recallAll("guard timer")
        elif text == "force":
            self.ledger.settleAll("guard timer")
        elif text == "again":
            self.receive(self.request)
        elif text in ("CANCEL", "ACK"):
            branch = b"z9hG4bKcaller%d" % self.count
            via = b"SIP/2.0/" + self.lines["caller"].transport + b" 192.0.2.1:5060"
            self.receive(makeRequest(text.encode(), via=via, branch=branch, toTag=b"x" * (text == "ACK")))
        elif text == "reINVITE":
            self.request = self.make(b"INVITE", toTag=b"a")
            self.receive(self.request)
        else:
            self.request = self.make(text.encode())
            self.receive(self.request)

    def play(self, table: str) -> tuple[list[str], list[str]]:
        """
        Goes through a table.

        @param table: one line a step, C{step | event, event}.
        @return: the table as it was written and as it went, to be compared.
        """
        wanted = []
        went = []
        for line in table.strip().splitlines():
            step, _, events = line.partition("|")
            step = step.strip()
            expected = [event.strip() for event in events.split(",") if event.strip()]
            wanted.append(f"{step:12} | {', '.join(expected)}")
            self.step(step)
            went.append(f"{step:12} | {', '.join(self.take())}")
        return wanted, went
