"""
A server over several processes: what the front makes of its workers, and what workers have to do with one
another.
"""

from __future__ import annotations

import socket
from dataclasses import replace
from errno import EMFILE
from functools import partial
from typing import Any

from prometheus_client import generate_latest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.config.load import parseServer
from sipgrace.errors import ConfigError, OrderRefused, TransportError
from sipgrace.lifecycle.approval import Approval
from sipgrace.lifecycle.authorization import Giver, Source
from sipgrace.lifecycle.events import Change, Event, State
from sipgrace.lifecycle.machine import Lifecycle
from sipgrace.lifecycle.orderform import fromText
from sipgrace.lifecycle.orders import Announce, Kind, Order
from sipgrace.lifecycle.settings import Settings
from sipgrace.message.message import Response
from sipgrace.message.parser import parse
from sipgrace.metrics.exposition import registryOf
from sipgrace.metrics.node import NodeCollector
from sipgrace.proxy.trail import Trail
from sipgrace.testing import Recorder, makeRequest
from sipgrace.transport import handed
from sipgrace.transport.bounds import Bounds
from sipgrace.transport.intake import Intake
from sipgrace.transport.sip import SIPProtocol
from sipgrace.workers.crew import Crew, Member
from sipgrace.workers.facades import AllAssociations, AllGates, AllLedgers
from sipgrace.workers.front import FrontService
from sipgrace.workers.siblings import SiblingAssociation, Siblings, factsOf, ownPart
from sipgrace.workers.sockets import Place, Sockets, placesOf
from sipgrace.workers.told import eventOf
from sipgrace.workers.told import factsOf as eventFacts
from sipgrace.workers.worker import Worker, configOf
from tests.test_transport_sip import Wire

FACTS = {"setups": 0, "calls": 0, "waiting": 0, "associations": 0, "lastInvite": None}


class FakeLink:
    """
    A link to a worker: keeps what was asked for, and answers when it is told to.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any], Deferred[Any]]] = []
        self.given: list[tuple[str, str, int]] = []
        self.ended = False

    def do(self, name: str, **values: Any) -> Deferred[Any]:
        answer: Deferred[Any] = Deferred()
        self.asked.append((name, values, answer))
        return answer

    def hand(self, kind: str, host: str, port: int, given: Any) -> Deferred[Any]:
        self.given.append((kind, host, port))
        return succeed({})

    def end(self) -> None:
        self.ended = True

    def names(self) -> list[str]:
        """
        What it was asked for, in order.
        """
        return [name for name, _, _ in self.asked]

    def answer(self, name: str, result: Any = None) -> None:
        """
        Answers the first such question.
        """
        at = next(at for at, (asked, _, _) in enumerate(self.asked) if asked == name)
        self.asked.pop(at)[2].callback(result)


class CrewCase(SynchronousTestCase):
    """
    A crew of two.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.spawned: list[int] = []
        self.killed: list[int] = []
        self.crew = Crew(self.clock, 2, self.spawn)
        self.links: dict[int, FakeLink] = {}

    def spawn(self, member: Member) -> None:
        self.spawned.append(member.number)
        member.pid = 100 + len(self.spawned)
        member.kill = lambda: self.killed.append(member.number)

    def up(self) -> None:
        """
        Both come up.
        """
        done = self.crew.complete()
        self.assertNoResult(done)
        for member in self.crew.members:
            self.ready(member)
        self.successResultOf(done)

    def ready(self, member: Member) -> None:
        link = self.links[member.number] = FakeLink()
        self.crew.ready(member, link)

    def tell(self, number: int, **facts: Any) -> None:
        self.crew.told(self.crew.members[number], {**FACTS, **facts})


class CrewTests(CrewCase):
    """
    Workers that come and go.
    """

    def test_restart(self) -> None:
        """
        One that dies soon is started again after growing waits, one that had been up for long at once. What
        it had counted is kept, and so is how many calls it was setting up.
        """
        self.up()
        self.tell(0, accepted=10, waiting=3, setups=3, status={"proxy": {"accepted": 10, "loops": 1}})
        self.tell(1, accepted=5, status={"proxy": {"accepted": 5}})
        self.clock.advance(31)
        self.tell(0, accepted=10, waiting=3, setups=3, status={"proxy": {"accepted": 10, "loops": 1}})
        self.crew.ended(self.crew.members[0], "killed")
        self.assertEqual((self.crew.sum("accepted"), self.crew.lost), (15, 3))
        self.assertEqual(self.crew.table("proxy"), {"accepted": 15, "loops": 1})
        self.clock.advance(0)
        self.assertEqual(self.spawned, [0, 1, 0])
        self.assertEqual(self.crew.members[0].row()["state"], "starting")
        for wait in (0.5, 1.0, 2.0):
            self.crew.ended(self.crew.members[0], "killed")
            before = len(self.spawned)
            self.clock.advance(wait - 0.01)
            self.assertEqual(len(self.spawned), before)
            self.clock.advance(0.02)
            self.assertEqual(len(self.spawned), before + 1)
        self.ready(self.crew.members[0])
        self.tell(0, accepted=1)
        self.assertEqual(self.crew.sum("accepted"), 16)

    def test_notWanted(self) -> None:
        """
        In a drain none is started again; the next time all are wanted it is.
        """
        self.up()
        self.crew.wanted = False
        self.crew.ended(self.crew.members[1], "killed")
        self.clock.advance(100)
        self.assertEqual(self.spawned, [0, 1])
        self.assertEqual(self.crew.members[1].row()["state"], "gone")
        done = self.crew.complete()
        self.assertEqual(self.spawned, [0, 1, 1])
        self.ready(self.crew.members[1])
        self.successResultOf(done)

    def test_startFails(self) -> None:
        """
        One that does not come up is ended after a time, and whoever waits for it is told.
        """
        self.crew.wanted = False
        done = self.crew.complete()
        self.ready(self.crew.members[0])
        self.tell(0)
        for _ in range(12):
            self.clock.advance(5)
            self.tell(0)
        self.assertEqual(self.killed, [1])
        self.crew.ended(self.crew.members[1], "exit 1")
        self.assertIn(
            "worker 1 did not come up: exit 1", self.failureResultOf(done, TransportError).getErrorMessage()
        )

    def test_cannotBeStarted(self) -> None:
        """
        Where there can be no process, whoever waits for it is told; it is tried again as with one that dies.
        """
        spawn = self.crew.spawn

        def fails(member: Member) -> None:
            if member.number == 1:
                raise OSError(EMFILE, "Too many open files")
            spawn(member)

        self.crew.spawn = fails
        done = self.crew.complete()
        why = self.failureResultOf(done, TransportError).getErrorMessage()
        self.assertIn("worker 1 did not come up: it cannot be started: [Errno 24] Too many open files", why)
        self.ready(self.crew.members[0])
        self.clock.advance(0.6)
        self.assertEqual(self.spawned, [0])
        self.crew.spawn = spawn
        self.clock.advance(1.1)
        self.assertEqual(self.spawned, [0, 1])
        self.ready(self.crew.members[1])
        self.successResultOf(self.crew.complete())

    def test_silent(self) -> None:
        """
        One that is not heard of for ten seconds is ended. A front that was held up itself ends nobody.
        """
        self.up()
        self.clock.advance(60)
        self.assertEqual(self.killed, [])
        for _ in range(12):
            self.clock.advance(1)
            self.tell(0)
        self.assertEqual(self.killed, [1])

    def test_stop(self) -> None:
        """
        At the end they go by themselves, and are killed where they do not.
        """
        self.up()
        self.crew.stop()
        self.assertEqual([link.ended for link in self.links.values()], [True, True])
        self.crew.ended(self.crew.members[0], "done")
        self.clock.advance(1)
        self.assertEqual(self.killed, [1])
        self.crew.ended(self.crew.members[1], "killed")
        self.clock.advance(100)
        self.assertEqual(self.spawned, [0, 1])

    def test_gone(self) -> None:
        """
        What a worker that has gone was asked for comes to nothing, and raises nothing.
        """
        self.up()
        asked = self.crew.ask(self.crew.members[0], "settle")
        self.crew.ended(self.crew.members[0], "killed")
        self.links[0].asked[0][2].errback(ConnectionDone())
        self.assertIsNone(self.successResultOf(asked))


    def test_reached(self) -> None:
        """
        What was ordered has reached all when each has answered or has gone; those that are not up do not
        count.
        """
        self.successResultOf(self.crew.reached())
        self.up()
        reached = self.crew.reached()
        self.links[0].answer("here")
        self.assertNoResult(reached)
        self.crew.ended(self.crew.members[1], "killed")
        self.links[1].asked[-1][2].errback(ConnectionDone())
        self.successResultOf(reached)


class FrontCase(SynchronousTestCase):
    """
    A front over two workers that are not there.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        config = parseServer(
            "[server]\nname = 's'\nlisten = ['tcp:0:interface=127.0.0.1']\nworkers = 2\n"
            "[[clients]]\nname = 'c'\nnetworks = ['192.0.2.0/24']\n",
            "s.toml",
        )
        self.front = FrontService(self.clock, config, "", "s.toml")
        self.crew = self.front.crew
        self.crew.spawn = self.spawn
        self.ends: dict[int, Any] = {}
        self.links: dict[int, FakeLink] = {}
        self.crew.complete()
        for member in self.crew.members:
            self.ready(member)

    def spawn(self, member: Member) -> None:
        member.pid = 100 * (1 + member.number) + member.starts
        self.ends[member.number] = self.front._end(member)

    def ready(self, member: Member) -> None:
        link = self.links[member.number] = FakeLink()
        self.crew.ready(member, link)

    def say(self, worker: int, what: str, **values: Any) -> Any:
        """
        A worker says something to the front.
        """
        return self.ends[worker].does[what](**values)


class FrontTests(FrontCase):
    """
    What the front tells its workers, and when.
    """

    def setUp(self) -> None:
        super().setUp()
        for link in self.links.values():
            link.asked.clear()

    def give(self, kind: Kind, **values: Any) -> Deferred[Any]:
        order = Order(kind=kind, who="test", when=0.0, **values)
        return self.front.element.door.give(order, Giver(Source.PROCESS, "test"))

    def test_rule(self) -> None:
        """
        An order that refuses calls is answered when every worker has the rule, and so is one that takes it
        back.
        """
        rule = '{"name": "two", "status": 403, "destination": {"prefix": "2"}}'
        for kind, text, rules in ((Kind.REJECT, rule, ["two"]), (Kind.ADMIT, "two", [])):
            given = self.give(kind, rule=text)
            for link in self.links.values():
                self.assertEqual(link.names(), ["rejects", "event", "here"])
                self.assertEqual(list(link.asked[0][1]["ordered"]), rules)
            for link in self.links.values():
                self.assertNoResult(given)
                for name in link.names():
                    link.answer(name)
            self.successResultOf(given)

    def test_restarted(self) -> None:
        """
        One that is started again has the rules, and knows of the others' associations, before it listens.
        """
        serving = self.front.element.lifecycle.resume()
        for link in self.links.values():
            link.answer("listen", [])
        self.successResultOf(serving)
        self.say(0, "made", number=7, facts=factsOf(FakeAssociation()))
        self.crew.ended(self.crew.members[1], "killed")
        self.give(Kind.REJECT, rule='{"name": "two", "status": 403, "destination": {"prefix": "2"}}')
        self.clock.advance(1)
        self.ready(self.crew.members[1])
        self.assertEqual(self.links[1].names(), ["rejects", "made", "listen"])
        self.assertEqual(list(self.links[1].asked[0][1]["ordered"]), ["two"])
        self.assertEqual((self.links[1].asked[1][1]["worker"], self.links[1].asked[1][1]["number"]), (0, 7))

    def test_drain(self) -> None:
        """
        A drain is answered when no worker takes calls any more.
        """
        given = self.front.element.lifecycle.resume()
        for link in self.links.values():
            link.answer("listen", [])
        self.successResultOf(given)
        drain = self.give(Kind.DRAIN, guard=5.0)
        for link in self.links.values():
            self.assertNoResult(drain)
            self.assertLess(link.names().index("close"), link.names().index("here"))
            link.answer("here")
        self.successResultOf(drain)

    def test_made(self) -> None:
        """
        That an association is known is said when all others know it; one of them that dies is not waited for.
        """
        facts = factsOf(FakeAssociation())
        made = self.say(0, "made", number=1, facts=facts)
        self.assertEqual(self.links[0].names(), [])
        self.assertNoResult(made)
        self.links[1].answer("made")
        self.successResultOf(made)
        named = self.say(0, "named", number=1, client="c")
        self.crew.ended(self.crew.members[1], "killed")
        self.links[1].asked[-1][2].errback(ConnectionDone())
        self.successResultOf(named)
        self.assertEqual(self.front.status()["clients"], {"c": 1})

    def test_consult(self) -> None:
        """
        Clients are asked about a drain by the worker that has their association; enough of them must approve.
        """
        door = self.front.element.door
        given = self.front.element.lifecycle.resume()
        for link in self.links.values():
            link.answer("listen", [])
        self.successResultOf(given)
        door.approval = Approval(self.clock, 1, 5.0, self.front._askClients)
        self.say(1, "made", number=1, facts=factsOf(FakeAssociation()))
        for answer in (False, None, True):
            order = Order(kind=Kind.DRAIN, who="test", when=0.0, why="new kernel", guard=5.0)
            drain = door.give(order, Giver(Source.MANHOLE, "test"))
            self.assertNotIn("consult", self.links[0].names())
            name, values, _ = self.links[1].asked[-1]
            self.assertEqual((name, values["client"]), ("consult", "c"))
            self.assertEqual(fromText(values["order"]).why, "new kernel")
            self.links[1].answer("consult", answer)
            if answer is not True:
                self.failureResultOf(drain, OrderRefused)
        for link in self.links.values():
            link.answer("here")
        self.assertEqual(self.successResultOf(drain).state, State.DRAINING)

    def test_metrics(self) -> None:
        """
        Prometheus is told the sums, which never fall, and of each worker.
        """
        named = {"accepted": 5, "shed": 2, "notified": 1, "cpu": 1.5}
        status = {
            "announcements": {"announce": "both", "subscriptions": 1, "untold": 0, "notified": 1},
            "transactions": {"inviteServers": 3, "shed": 2},
            "proxy": {"accepted": 5},
        }
        for number in range(2):
            self.crew.told(self.crew.members[number], {**FACTS, **named, "status": status})
        self.crew.ended(self.crew.members[1], "killed")
        text = generate_latest(registryOf(NodeCollector(self.front.status, "0"))).decode()
        for line in (
            "sipgrace_calls_accepted_total 10.0",
            'sipgrace_proxy_events_total{event="accepted"} 10.0',
            "sipgrace_transactions_shed_total 4.0",
            "sipgrace_notifications_total 2.0",
            'sipgrace_transactions{kind="inviteServers"} 3.0',
            'sipgrace_worker_up{worker="0"} 1.0',
            'sipgrace_worker_up{worker="1"} 0.0',
            'sipgrace_worker_starts_total{worker="1"} 1.0',
            'sipgrace_worker_processor_seconds_total{worker="0"} 1.5',
        ):
            self.assertIn(line, text.splitlines())

    def test_late(self) -> None:
        """
        What a process said that has ended since counts no more.
        """
        end = self.ends[0]
        self.crew.ended(self.crew.members[0], "killed")
        for name, values in (
            ("ready", {"facts": {"times": []}}),
            ("made", {"number": 1, "facts": factsOf(FakeAssociation())}),
            ("named", {"number": 1, "client": "c"}),
            ("lost", {"number": 1}),
            ("facts", {"facts": {"times": [], "accepted": 5}}),
        ):
            self.assertIsNone(end.does[name](**values))
        self.assertEqual((self.links[1].asked, self.crew.sum("accepted")), ([], 0))
        self.assertEqual(self.crew.members[0].row()["state"], "gone")
        # Nor when there is another one.
        self.crew.complete().addErrback(lambda failure: None)
        end.does["ready"](facts={"times": []})
        self.assertEqual(self.crew.members[0].row()["state"], "starting")


class FacadeTests(CrewCase):
    """
    The lifecycle of the front, over two workers.
    """

    def setUp(self) -> None:
        super().setUp()
        self.ledger = AllLedgers(self.crew)
        self.gate = AllGates(self.crew, self.clock, 0)
        self.sockets = Sockets((), 2)
        self.associations = AllAssociations(self.crew, self.clock, self.sockets)
        self.events: list[Event] = []
        self.lifecycle = Lifecycle(
            self.clock,
            self.ledger,
            self.associations,
            self.gate,
            (self,),
            Settings(guard=10.0, margin=1.0, retryPeriod=0.0),
            serving=False,
        )
        self.crew.onFacts = self.looked
        self.crew.onEnded = self.ledger.gone
        self.associations.onGone = self.lifecycle.associationsGone
        serving = self.lifecycle.resume()
        for member in self.crew.members:
            self.ready(member)
        for link in self.links.values():
            link.answer("listen", ["SIP/2.0/UDP 192.0.2.1:5060"])
        self.assertEqual(self.successResultOf(serving), State.SERVING)

    def onChange(self, event: Event) -> None:
        self.events.append(event)

    def looked(self) -> None:
        self.ledger.look()
        self.associations.look()

    def changes(self) -> list[Change]:
        return [event.change for event in self.events]

    def order(self, guard: float | None = None) -> Order:
        return Order(kind=Kind.DRAIN, who="test", when=0.0, guard=guard)

    def alive(self, seconds: float) -> None:
        """
        Time passes, in which the workers say that they are there.
        """
        for _ in range(round(seconds * 4)):
            self.clock.advance(0.25)
            for member in self.crew.members:
                member.unheard = 0

    def test_serving(self) -> None:
        """
        All listen and have their gates opened.
        """
        self.assertEqual([link.names() for link in self.links.values()], [["open"], ["open"]])
        self.assertEqual(
            [listener.via for listener in self.associations.listeners], [b"SIP/2.0/UDP 192.0.2.1:5060"]
        )

    def test_drain(self) -> None:
        """
        The ledger is empty when every worker has said so after its gate was closed, and all have nothing
        left. The drain ends when the last association of any has gone.
        """
        self.tell(0, associations=1)
        self.tell(1, associations=1)
        drained = self.lifecycle.drain(self.order())
        self.assertEqual(len(self.ledger), 0)
        self.assertTrue(self.ledger)
        self.alive(0.5)
        self.assertEqual(self.changes()[-1], Change.DRAINING)
        self.links[0].answer("close", {**FACTS, "associations": 1})
        # This one had accepted a call before it knew.
        self.links[1].answer("close", {**FACTS, "associations": 1, "setups": 1, "waiting": 1, "accepted": 1})
        self.alive(0.5)
        self.assertEqual(self.changes()[-1], Change.DRAINING)
        self.tell(1, associations=1, accepted=1, settled=1)
        self.clock.advance(0)
        self.assertEqual(self.changes()[-1], Change.DRAINED)
        self.assertEqual(
            [link.names()[-3:] for link in self.links.values()], 2 * [["stopListening", "shutdown", "here"]]
        )
        self.links[0].answer("shutdown", FACTS)
        self.assertNoResult(drained)
        self.links[1].answer("shutdown", {**FACTS, "accepted": 1, "settled": 1})
        self.assertEqual(self.successResultOf(drained), State.OFFLINE)
        self.assertEqual((self.ledger.accepted, self.ledger.settled, self.ledger.forced), (1, 1, 0))

    def test_died(self) -> None:
        """
        A worker that dies in a drain holds it up no longer; its calls have failed.
        """
        self.tell(0, associations=1, setups=2, waiting=2, accepted=2)
        self.tell(1)
        drained = self.lifecycle.drain(self.order())
        self.links[1].answer("close", FACTS)
        self.crew.ended(self.crew.members[0], "killed")
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(drained), State.OFFLINE)
        self.assertEqual((self.ledger.failed, len(self.ledger), self.associations.count), (2, 0, 0))
        self.clock.advance(60)
        self.assertEqual(self.spawned, [0, 1])

    def test_guard(self) -> None:
        """
        At the guard what is left is settled by force at all workers, and one that does not even abort its
        associations is killed.
        """
        self.tell(0, associations=1, setups=2, waiting=2, accepted=2)
        self.tell(1, associations=1)
        drained = self.lifecycle.drain(self.order())
        for number, link in self.links.items():
            facts = self.crew.members[number].facts
            link.answer("close", facts)
        self.alive(9.0)
        self.assertIn("recall", self.links[1].names())
        self.assertEqual((self.events[-1].change, self.events[-1].forced), (Change.DRAINED, 2))
        self.links[0].answer("settle", {**FACTS, "associations": 1, "accepted": 2, "settled": 2, "forced": 2})
        self.links[1].answer("settle", {**FACTS, "associations": 1})
        self.assertEqual(self.ledger.forced, 2)
        self.links[0].answer("shutdown", {**FACTS, "accepted": 2, "settled": 2, "forced": 2})
        self.assertNoResult(drained)
        self.alive(1.25)
        self.links[0].answer("abort", {**FACTS, "accepted": 2, "settled": 2, "forced": 2})
        self.links[0].answer("here")
        self.alive(1.0)
        self.assertEqual(set(self.killed), {1})
        self.crew.ended(self.crew.members[1], "killed")
        self.assertEqual(self.successResultOf(drained), State.OFFLINE)

    def test_hangs(self) -> None:
        """
        A worker that hangs is killed though it has nothing left: it must not take calls when the server is
        offline. A front that was held up itself ends nobody.
        """
        self.tell(0, associations=1)
        drained = self.lifecycle.drain(self.order())
        self.links[0].answer("close", {**FACTS, "associations": 1})
        self.alive(9.0)
        self.assertEqual(self.events[-1].change, Change.DRAINED)
        self.links[0].answer("here")
        self.links[0].answer("shutdown", FACTS)
        self.assertEqual(self.successResultOf(drained), State.OFFLINE)
        self.clock.advance(5.0)
        self.assertEqual(self.killed, [])
        self.clock.advance(1.0)
        self.assertEqual(self.killed, [1])

    def test_cancel(self) -> None:
        """
        A drain that is taken back opens all gates, and has a worker come back that died in it.
        """
        self.tell(0, setups=1, waiting=1)
        drained = self.lifecycle.drain(self.order())
        self.crew.ended(self.crew.members[1], "killed")
        self.lifecycle.cancel()
        self.assertEqual(self.successResultOf(drained), State.SERVING)
        self.assertEqual(self.links[0].names()[-1], "open")
        self.assertEqual(self.spawned, [0, 1, 1])

    def test_slow(self) -> None:
        """
        A drain that begins gradually does so at all.
        """
        self.gate.slow(20.0)
        self.clock.advance(5)
        self.assertEqual(self.gate.share(), 0.25)
        self.assertEqual([link.asked[-1][:2] for link in self.links.values()], 2 * [("slow", {"over": 20.0})])

    def test_closing(self) -> None:
        """
        Times travel as what is left of them.
        """
        self.clock.advance(100)
        self.gate.close(130.0, "new kernel", 120.0)
        name, values, _ = self.links[0].asked[-1]
        self.assertEqual((name, values), ("close", {"until": 30.0, "reason": "new kernel", "last": 20.0}))
        self.assertEqual((self.gate.open, self.gate.retryAfter("somebody")), (False, 30))

    def test_listenFails(self) -> None:
        """
        Where one cannot listen none does, and why is told.
        """
        self.lifecycle.offline(Order(kind=Kind.OFFLINE, who="test", when=0.0))
        for link in self.links.values():
            link.answer("stopListening")
        back = self.lifecycle.resume()
        self.links[0].answer("listen", [])
        self.links[1].asked[-1][2].errback(TransportError("no such address"))
        for link in self.links.values():
            link.answer("stopListening")
        self.assertIn("no such address", self.failureResultOf(back, TransportError).getErrorMessage())

    def test_ages(self) -> None:
        """
        How long calls have been waiting, over all workers.
        """
        self.tell(0, ages=[[0.5, 2], [3.0, 1]])
        self.tell(1, ages=[[1.0, 1]])
        self.assertEqual(self.ledger.ages(0.0), [3.0, 1.0, 0.5, 0.5])

    def test_lastInvite(self) -> None:
        """
        The latest INVITE at any of them.
        """
        self.assertIsNone(self.gate.lastInvite)
        self.tell(0, lastInvite=1.5, refused=2)
        self.tell(1, lastInvite=0.5, refused=3)
        self.assertEqual((self.gate.lastInvite, self.gate.refused), (1.5, 5))


class FakeReactor:
    """
    Readers and writers.
    """

    def __init__(self) -> None:
        self.writers: set[object] = set()

    def addReader(self, reader: object) -> None:
        pass

    def addWriter(self, writer: object) -> None:
        self.writers.add(writer)

    def removeWriter(self, writer: object) -> None:
        self.writers.discard(writer)


class FakeAssociation:
    """
    An association that keeps what is sent.
    """

    def __init__(self, transport: bytes = b"SCTP") -> None:
        self.transport = transport
        self.via = b"SIP/2.0/%b 192.0.2.1:5060" % transport
        self.zone = "network"
        self.peerHost, self.peerPort = "192.0.2.9", 5070
        self.localHost, self.localPort = "192.0.2.1", 5060
        self.opened, self.reliable, self.up = False, True, True
        self.sent: list[bytes] = []

    def send(self, data: bytes) -> bool:
        self.sent.append(data)
        return True


SHARED = b"0badcafe"


class SiblingTests(SynchronousTestCase):
    """
    Two workers, and the sockets between them.
    """

    def setUp(self) -> None:
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2)]
        for pair in pairs:
            for end in pair:
                self.addCleanup(end.close)
        self.reactor = FakeReactor()
        self.received: list[tuple[int, Response, Any]] = []
        self.peer = FakeAssociation(b"UDP")
        self.asked: list[tuple[str, bytes, str, int]] = []
        self.workers = [self.make(number, pairs) for number in range(2)]

    def make(self, number: int, pairs: Any) -> Siblings:
        def peer(*where: Any) -> Any:
            self.asked.append(where)
            return self.peer

        def received(response: Response, association: Any) -> None:
            self.received.append((number, response, association))

        others = {other: pairs[other][1] for other in range(2) if other != number}
        return Siblings(self.reactor, number, SHARED, pairs[number][0], others, peer, received)

    def response(self, number: int, shared: bytes = SHARED) -> Response:
        """
        A response to a request of a worker.
        """
        branch = Trail(shared, ownPart(number)).via(FakeAssociation(), 7)
        found = parse(
            b"SIP/2.0 180 Ringing\r\nVia: %b\r\nVia: SIP/2.0/UDP 192.0.2.5;branch=z9hG4bKx\r\n"
            b"From: <sip:a@example.org>;tag=1\r\nTo: <sip:b@example.org>;tag=2\r\n"
            b"Call-ID: c\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n" % branch
        )
        assert isinstance(found, Response)
        return found

    def test_udp(self) -> None:
        """
        A response over UDP is handed over with the address it came from, byte for byte.
        """
        response = self.response(1)
        self.assertTrue(self.workers[0].stray(response, self.peer))
        self.workers[1].doRead()
        ((number, got, association),) = self.received
        self.assertEqual((number, got.toBytes()), (1, response.toBytes()))
        self.assertIs(association, self.peer)
        self.assertEqual(self.asked, [("network", b"SIP/2.0/UDP 192.0.2.1:5060", "192.0.2.9", 5070)])
        self.assertEqual((self.workers[0].handed, self.workers[1].taken), (1, 1))

    def test_notTheirs(self) -> None:
        """
        What bears our own number, nobody's, or is of another server stays here.
        """
        for response in (self.response(0), self.response(2), self.response(1, b"deadbeef")):
            self.assertFalse(self.workers[0].stray(response, self.peer))
        self.assertEqual(self.workers[0].handed, 0)

    def test_association(self) -> None:
        """
        What one sends on the association of another leaves there, and the answer that comes on it finds back,
        on what stands for it here.
        """
        real = FakeAssociation()
        holder, user = self.workers
        holder.numbers[real] = 7
        holder.own[7] = real
        stands = SiblingAssociation(user, 0, 7, factsOf(real))
        user.theirs[0, 7] = stands
        self.assertEqual((stands.via, stands.transport, stands.peerHost), (real.via, b"SCTP", "192.0.2.9"))
        self.assertTrue(stands.send(b"INVITE"))
        holder.doRead()
        self.assertEqual(real.sent, [b"INVITE"])
        self.assertTrue(holder.stray(self.response(1), real))
        user.doRead()
        ((number, _, association),) = self.received
        self.assertEqual((number, association), (1, stands))
        stands.up = False
        self.assertFalse(stands.send(b"INVITE"))

    def test_gone(self) -> None:
        """
        Who sends on an association that is down, or is not there any more, is told so.
        """
        real = FakeAssociation()
        holder, user = self.workers
        gone: list[Any] = []
        user.onGone = gone.append
        holder.own[7] = real
        stands = [SiblingAssociation(user, 0, number, factsOf(real)) for number in (7, 8)]
        for one in stands:
            user.theirs[0, one.number] = one
            self.assertTrue(one.send(b"INVITE"))
        holder.doRead()
        user.doRead()
        self.assertEqual(gone, stands[1:])
        real.up = False
        self.assertTrue(stands[0].send(b"INVITE"))
        holder.doRead()
        del user.theirs[0, 8]
        stands[1].send(b"INVITE")
        holder.doRead()
        user.doRead()
        self.assertEqual(gone, [stands[1], stands[0]])

    def test_slowReader(self) -> None:
        """
        What does not fit waits, in order, and too much of it is refused.
        """
        way = self.workers[0]
        sent = 0
        while way.post(1, b"S" + b"\0" * 10 + b"%08d" % sent + b"." * 8000):
            sent += 1
        self.assertGreater(sent, 400)
        (writer,) = self.reactor.writers
        real = FakeAssociation()
        self.workers[1].own[0] = real
        while self.reactor.writers:
            self.workers[1].doRead()
            writer.doWrite()
        for _ in range(10):
            self.workers[1].doRead()
        self.assertEqual([int(data[:8]) for data in real.sent], list(range(sent)))

    def test_garbage(self) -> None:
        """
        Nothing that comes breaks the reader.
        """
        for data in (b"", b"U[]\0x", b"R\0", b'U["network","",1,2]\0nonsense', b"S" + b"\0" * 9 + b"\1x"):
            self.workers[0].post(1, data)
        self.workers[1].doRead()
        self.assertEqual(self.received, [])
        self.flushLoggedErrors()

    def test_loop(self) -> None:
        """
        A request that one worker has sent on is known again by the others.
        """
        ours, theirs = Trail(SHARED, ownPart(0)), Trail(SHARED, ownPart(1))
        request: Any = parse(
            b"OPTIONS sip:b@example.org SIP/2.0\r\nVia: %b\r\nFrom: <sip:a@example.org>;tag=1\r\n"
            b"To: <sip:b@example.org>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 9\r\n\r\n"
            % theirs.via(FakeAssociation(), 7)
        )
        self.assertTrue(ours.looped(request, 7))
        self.assertFalse(ours.looped(request, 8))
        self.assertFalse(Trail().looped(request, 7))


class WorkerTests(SynchronousTestCase):
    """
    What a worker does by itself.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.worker, self.link = self.make()
        self.user = Recorder()

    def make(self) -> tuple[Worker, FakeLink]:
        config = parseServer(
            "[server]\nname = 's'\nlisten = ['tcp:0:interface=127.0.0.1']\nworkers = 2\n"
            "[[clients]]\nname = 'c'\nnetworks = ['192.0.2.0/24']\n",
            "s.toml",
        )
        own, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for each in (own, other):
            self.addCleanup(each.close)
        siblings = partial(Siblings, FakeReactor(), 0, SHARED, own, {1: other})
        worker = Worker(self.clock, config, 0, SHARED, siblings, lambda: None)
        link = FakeLink()
        worker.link = link
        return worker, link

    def association(self) -> SIPProtocol:
        """
        One that has just been made, and on which something has come.
        """
        intake = Intake(self.user, self.clock, Bounds())
        protocol = SIPProtocol(intake, b"TCP", "network", False, b"SIP/2.0/TCP 192.0.2.1:5060")
        protocol.makeConnection(Wire(IPv4Address("TCP", "192.0.2.7", 40000)))
        self.worker.associationMade(protocol)
        self.user.take()
        protocol.dataReceived(makeRequest(b"OPTIONS"))
        return protocol

    def test_times(self) -> None:
        """
        How long set-ups took is told once, and not in what is said in answer, where it is not read.
        """
        element = self.worker.service.element
        element.ledger.settled = 1
        element.times.counts[3] += 2.0
        self.assertNotIn("times", self.worker.facts())
        self.worker.start()
        told = []
        for _ in range(2):
            self.clock.advance(0.25)
            told.append(self.link.asked[-1][1]["facts"]["times"])
        self.assertEqual(told, [[(3, 2.0)], []])

    def test_branches(self) -> None:
        """
        A worker that is started again makes none of the branches of the one before it, with which its
        requests would be taken for repetitions; but they are known for this server's all the same.
        """
        successor, _ = self.make()
        association = FakeAssociation()
        trails = [each.service.element.core.trail for each in (self.worker, successor)]
        first, second = (trail.via(association, 7) for trail in trails)
        self.assertNotEqual(first, second)
        for via in (first, second):
            self.assertIn(b"branch=z9hG4bK" + SHARED + ownPart(0), via)

    def test_held(self) -> None:
        """
        What comes on a new association is heard when the others know of it.
        """
        self.association()
        self.assertEqual(self.link.names(), ["made"])
        self.assertEqual(self.user.take(), [])
        self.link.answer("made")
        self.assertEqual(self.user.take(), ["OPTIONS"])

    def test_named(self) -> None:
        """
        And when they know whose it is, where this side has opened it.
        """
        protocol = self.association()
        self.worker.service.clients.opened("c", protocol)
        self.link.answer("made")
        self.assertEqual((self.link.names(), self.user.take()), (["named"], []))
        self.link.answer("named")
        self.assertEqual(self.user.take(), ["OPTIONS"])

    def test_frontHangs(self) -> None:
        """
        A front that says nothing does not keep clients out.
        """
        self.association()
        self.clock.advance(4.9)
        self.assertEqual(self.user.take(), [])
        self.clock.advance(0.1)
        self.assertEqual(self.user.take(), ["OPTIONS"])
        self.link.answer("made")

    def test_lost(self) -> None:
        """
        One that is lost before they know is not heard of any more.
        """
        protocol = self.association()
        self.worker.associationLost(protocol, Failure(ConnectionDone()))
        protocol.connectionLost(Failure(ConnectionDone()))
        self.user.take()
        self.assertEqual(self.link.names(), ["made", "lost"])
        self.link.answer("made")
        self.assertEqual(self.user.take(), [])


class SteeringTests(SynchronousTestCase):
    """
    Responses that the kernel gives to whom they belong.
    """

    def setUp(self) -> None:
        self.sockets = Sockets([Place("udp", "127.0.0.1", 0)], 3, SHARED)
        self.addCleanup(self.sockets.close)
        self.sockets.open()
        self.group = [one for number in range(3) for _, one in self.sockets.of(number)]
        self.out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(self.out.close)

    def send(self, data: bytes) -> list[int]:
        """
        @return: the sockets that it has come to.
        """
        self.out.sendto(data, self.group[0].getsockname())
        found = []
        for number, one in enumerate(self.group):
            try:
                self.assertEqual(one.recv(65536), data)
                found.append(number)
            except BlockingIOError:
                pass
        return found

    def response(self, branch: bytes, status: bytes = b"200 OK", via: bytes = b"Via: ") -> bytes:
        """
        A response as somebody sends it.
        """
        return (
            b"SIP/2.0 %b\r\n%bSIP/2.0/UDP 192.0.2.1:5060;branch=%b;received=192.0.2.1\r\n"
            b"From: <sip:a@example.org>;tag=1\r\nTo: <sip:b@example.org>;tag=2\r\n"
            b"Call-ID: c\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n" % (status, via, branch)
        )

    def test_own(self) -> None:
        """
        Whoever sent the request gets the response, whatever its status and however the header is written.
        """
        for number in range(3):
            branch = b"z9hG4bK%b%b1f.%08x" % (SHARED, ownPart(number), 7)
            for status in (b"100 Trying", b"180 Ringing", b"200 ", b"487 Request Terminated"):
                for via in (b"Via: ", b"v:"):
                    self.assertEqual(self.send(self.response(branch, status, via)), [number])

    def test_others(self) -> None:
        """
        All else goes by where it comes from: requests, what others have sent, short ones, and numbers that no
        worker has.
        """
        branch = b"z9hG4bK%b021f.00000007" % SHARED
        (usual,) = self.send(b"\r\n\r\n")
        request = self.response(branch).replace(b"SIP/2.0 200 OK", b"INVITE sip:b@example.org SIP/2.0", 1)
        for data in (
            request,
            self.response(branch.replace(SHARED, b"deadbeef")),
            self.response(branch.replace(SHARED + b"02", SHARED + b"07")),
            self.response(branch)[:100],
        ):
            self.assertEqual(self.send(data), [usual])


class SocketTests(SynchronousTestCase):
    """
    Sockets that are shared.
    """

    def test_places(self) -> None:
        """
        What each description needs. SCTP in userspace shares a UDP port.
        """
        self.assertEqual(list(placesOf("udp:5060:interface=127.0.0.1")), [Place("udp", "127.0.0.1", 5060)])
        self.assertEqual(list(placesOf("udp:5060")), [Place("udp", "0.0.0.0", 5060)])
        self.assertEqual(list(placesOf("tcp:5060")), [Place("stream", "", 5060)])
        self.assertEqual(
            list(placesOf("sctp:5060:interface=127.0.0.1:stack=userspace")),
            [Place("encaps", "127.0.0.1", 9899)],
        )
        self.assertRaises(ConfigError, list, placesOf("sctp:0:interface=127.0.0.1:stack=userspace"))

    def test_shared(self) -> None:
        """
        UDP is as many sockets as there are workers on one port, TCP one for all.
        """
        sockets = Sockets([Place("udp", "127.0.0.1", 0), Place("stream", "127.0.0.1", 0)], 2)
        self.addCleanup(sockets.close)
        sockets.open()
        (_, udp), (_, tcp) = sockets.of(0)
        (_, otherUDP), (_, otherTCP) = sockets.of(1)
        self.assertIsNot(udp, otherUDP)
        self.assertEqual(udp.getsockname(), otherUDP.getsockname())
        self.assertIs(tcp, otherTCP)
        name = udp.getsockname()
        again = Sockets([Place("udp", *name)], 2)
        error = self.assertRaises(TransportError, again.open)
        self.assertIn("Address already in use", str(error))
        self.assertEqual(list(again.of(0)), [])
        sockets.close()
        again.open()
        again.close()

    def test_associations(self) -> None:
        """
        Those of SCTP stay open for as long as there are associations.
        """
        sockets = Sockets(2 * [Place("encaps", "127.0.0.1", 0)] + [Place("udp", "127.0.0.1", 0)], 1)
        self.addCleanup(sockets.close)
        sockets.open()
        sockets.close(associations=False)
        self.assertEqual([place.kind for place, _ in sockets.of(0)], ["encaps", "encaps"])

    def test_handed(self) -> None:
        """
        What was handed over is taken once, the first one first; what is left is closed.
        """
        ones = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
        for one in ones:
            handed.put(handed.UDP, "127.0.0.1", 5060, one)
        self.assertIs(handed.take(handed.UDP, "127.0.0.1", 5060), ones[0])
        self.assertIs(handed.take(handed.UDP, "127.0.0.1", 5060), ones[1])
        self.assertIsNone(handed.take(handed.UDP, "127.0.0.1", 5061))
        handed.forget()
        self.assertEqual(ones[2].fileno(), -1)
        for one in ones:
            one.close()


class ToldTests(SynchronousTestCase):
    """
    What the front tells its workers.
    """

    def test_event(self) -> None:
        """
        An event comes through as it was, with its times by the other's clock.
        """
        order = Order(
            kind=Kind.DRAIN, who="ann", when=3.0, why="kernel", announce=Announce.BROADCAST, back=900.0
        )
        event = Event(4, Change.DRAINING, State.DRAINING, 100.0, order, 2, 3, deadline=130.0, until=160.0)
        told = eventOf(eventFacts(event), 1000.0)
        self.assertEqual(told, replace(event, at=1000.0, deadline=1030.0, until=1060.0))

    def test_config(self) -> None:
        """
        A worker gives itself no orders, and the first alone opens associations.
        """
        config = parseServer(
            "[server]\nname = 's'\nlisten = ['udp:5060:interface=127.0.0.1']\nworkers = 2\n"
            "[[clients]]\nname = 'c'\nopen = 'tcp:host=127.0.0.2:port=5060'\n"
            "[control]\nsocket = '/tmp/s'\n[overload]\nledger = 5\n[drain]\nthen = 'exit'\n"
            "[[schedule]]\nname = 'n'\ncron = '0 3 * * *'\n",
            "s.toml",
        )
        first, second = configOf(config, 0), configOf(config, 1)
        for one in (first, second):
            self.assertEqual(
                (one.control, one.overload, one.schedule, one.drain.then), (None, None, (), "stay")
            )
        self.assertEqual([one.clients[0].open is None for one in (first, second)], [False, True])

    def test_bounds(self) -> None:
        """
        What cannot be had with workers is said.
        """
        server = "[server]\nname = 's'\nlisten = ['udp:5060:interface=127.0.0.1']\n"
        for text, said in (
            ("workers = 255\n", "server.workers: expected at most "),
            ("workers = 0\n", "server.workers: expected at least 1"),
            (
                "workers = 2\nrecord_route = true\nscope = 'dialogs'\n",
                'server.workers: expected 1 with scope = "dialogs", found 2',
            ),
        ):
            error = self.assertRaises(ConfigError, parseServer, server + text, "s.toml")
            self.assertIn(said, str(error))
