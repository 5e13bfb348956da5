"""
Rolling maintenances.
"""

from __future__ import annotations

import itertools
import os
from random import Random
from typing import Any

from twisted.internet.defer import Deferred

from sipgrace.controller import rollings
from sipgrace.controller.budget import Budget
from sipgrace.controller.facts import Hello, Person, Progress, RollingRecord
from sipgrace.errors import Malformed, NotAllowed, OrderRefused, StoreError, Unknown
from tests.fleetfakes import SimulatedClient, SimulatedLink
from tests.test_controller_orders import ADMIN, ALICE, VIEWER, OrdersCase

ALL = ["server-101", "server-102", "server-103"]

#: What a server obeys in its turn.
TURN = ["drain", "resume"]


class RollingCase(OrdersCase):
    """
    Three servers and a client, one server at a time.
    """

    budgets = (Budget(group="default", away=1),)

    def ask(self, person: Person = ALICE, **values: Any) -> Deferred[RollingRecord]:
        """
        Asks for one; of all servers unless it says so.
        """
        if "servers" not in values:
            values.setdefault("select", {})
        return self.controller.rolling(values, person)

    def roll(self, **values: Any) -> RollingRecord:
        """
        The same, and it begins.
        """
        record: RollingRecord = self.successResultOf(self.ask(**values))
        return record

    def refusal(self, expected: type[Exception], **values: Any) -> str:
        """
        The same, and it does not.
        """
        return str(self.failureResultOf(self.ask(**values), expected).value)

    def stands(self) -> RollingRecord:
        """
        The latest as it is stored.
        """
        found: RollingRecord = self.successResultOf(self.controller.rollings())[0]
        return found

    def steps(self) -> list[str]:
        """
        Where the servers stand, in order.
        """
        record = self.stands()
        return [record.steps[server] for server in record.servers]

    def until(self, *steps: str, limit: float = 60.0) -> None:
        """
        Time goes on until the servers stand so.
        """
        for _ in range(round(limit / 0.05)):
            if self.steps() == list(steps):
                return
            self.pass_(0.05)
        self.fail(f"{self.steps()}, {self.stands()}")

    def obeyed(self) -> dict[str, list[str]]:
        """
        What each server has obeyed.
        """
        return {name: [kind for kind, _ in node.obeyed] for name, node in self.nodes.items()}


class Smooth(RollingCase):
    """
    Nothing goes wrong.
    """

    def test_oneByOne(self) -> None:
        """
        Each is drained, maintained, resumed, and seen healthy, before the next is begun.
        """
        record = self.roll(settle=5, why="new kernel", guard=20)
        self.assertEqual(record.progress, Progress.RUNNING)
        seen = [self.steps()]
        for _ in range(1000):
            self.pass_(0.05)
            if self.steps() != seen[-1]:
                seen.append(self.steps())
            away = [node.name for node in self.nodes.values() if node.state != "serving"]
            self.assertLessEqual(len(away), 1)
        turn = ["draining", "maintaining", "returning", "settling"]
        expected = [["done"] * at + [step] + ["waiting"] * (2 - at) for at in range(3) for step in turn]
        self.assertEqual(seen, [*expected, ["done"] * 3])
        done = self.stands()
        self.assertEqual((done.progress, done.text), (Progress.DONE, ""))
        self.assertIsNotNone(done.ended)
        self.assertEqual(self.obeyed(), dict.fromkeys(ALL, TURN))
        orders = self.successResultOf(self.controller.orders())
        self.assertEqual({order.rolling for order in orders}, {record.id})
        drain = next(order for order in orders if order.order["kind"] == "drain")
        self.assertEqual(
            (drain.order["why"], drain.order["guard"], drain.order["then"], drain.who),
            ("new kernel", 20.0, "run", "alice"),
        )
        self.assertEqual(self.audited()[0], "rolling")

    def test_settling(self) -> None:
        """
        The next waits until the clients have reached the former for so long without a break.
        """
        self.roll(settle=5)
        self.client.blind.add("server-101")
        self.until("settling", "waiting", "waiting")
        self.pass_(20)
        self.assertEqual(self.steps(), ["settling", "waiting", "waiting"])
        self.client.blind.clear()
        self.client.stand()
        self.pass_(4.5)
        self.client.blind.add("server-101")
        self.client.stand()
        self.pass_(1)
        self.client.blind.clear()
        self.client.stand()
        self.pass_(5)
        self.assertEqual(self.steps(), ["settling", "waiting", "waiting"])
        self.pass_(0.5)
        self.assertEqual(self.steps(), ["done", "draining", "waiting"])

    def test_awaiting(self) -> None:
        """
        Also for the clients that only the server knows of; those that did not reach it before do not matter.
        """
        self.client.blind.add("server-101")
        self.client.stand()
        first = self.nodes["server-101"]
        first.awaited = ["client-110", "trunk"]
        self.roll(settle=1, servers=["server-101"])
        self.until("settling")
        self.pass_(20)
        self.assertEqual(self.steps(), ["settling"])
        first.awaited = ["client-110"]
        first.stand()
        self.pass_(1.5)
        self.assertEqual(self.steps(), ["done"])

    def test_clientOfAnother(self) -> None:
        """
        What a client says that has its link to another controller counts as well, while that can be asked.
        """
        self.client.unlink()
        self.fleet.forget("client-110")

        def tell(active: bool) -> None:
            peers = [{"name": "server-101", "active": active, "associated": active, "skipped": False}]
            view = {"name": "client-112", "role": "client", "linked": True, "standing": {"peers": peers}}
            self.fleet.adopt("controller-121", view)

        tell(True)
        self.roll(settle=1, servers=["server-101"])
        tell(False)
        self.until("settling")
        self.pass_(20)
        self.assertEqual(self.steps(), ["settling"])
        tell(True)
        self.pass_(1.5)
        self.assertEqual(self.steps(), ["done"])

    def test_blindBefore(self) -> None:
        """
        A client that did not reach the server before need not reach it afterwards.
        """
        self.client.blind.add("server-101")
        self.client.stand()
        self.roll(settle=1, servers=["server-101"])
        self.pass_(10)
        # Reached by nobody it counts as away, so that there is no room for another; it is the only one.
        self.assertEqual(self.steps(), ["done"])

    def test_nobodySees(self) -> None:
        """
        No server is drained while nobody can tell whether clients reach it; when one can, it goes on.
        """
        self.client.unlink()
        self.roll(settle=1, servers=["server-101"])
        self.pass_(60)
        self.assertEqual(self.steps(), ["draining"])
        self.assertEqual(self.obeyed()["server-101"], [])
        self.client.connect(self.fleet)
        self.pass_(10)
        self.assertEqual(self.steps(), ["done"])

    def test_nobodySeesRestarted(self) -> None:
        """
        Nor by a controller that has just begun, and knows only that there are clients.
        """
        self.kill()
        client, self.client = self.client, SimulatedClient(self.clock, "client-111", [])
        self.begin()
        self.pass_(10)
        self.roll(settle=1, servers=["server-101"])
        self.pass_(60)
        self.assertEqual(self.obeyed()["server-101"], [])
        client.connect(self.fleet)
        self.pass_(10)
        self.assertEqual(self.steps(), ["done"])

    def test_clientLost(self) -> None:
        """
        A client that reached the server before has to say that it does again, also when its link is lost
        meanwhile, and the controller begins again; unless it is forgotten.
        """
        self.roll(settle=1)
        self.pass_(1)
        self.client.unlink()
        self.until("settling", "waiting", "waiting")
        self.pass_(20)
        self.assertEqual(self.steps(), ["settling", "waiting", "waiting"])
        self.client.connect(self.fleet)
        self.until("done", "draining", "waiting")
        self.kill()
        self.client = SimulatedClient(self.clock, "client-111", [])
        self.begin()
        self.until("done", "settling", "waiting")
        self.pass_(20)
        self.assertEqual(self.steps(), ["done", "settling", "waiting"])
        self.successResultOf(self.controller.forget("client-110", ADMIN))
        self.pass_(2)
        self.assertEqual(self.steps(), ["done", "done", "draining"])
        self.pass_(20)
        self.assertEqual(self.steps(), ["done"] * 3)

    def test_noClients(self) -> None:
        """
        Where there are no clients, servers' own words are enough.
        """
        self.client.unlink()
        self.successResultOf(self.controller.forget("client-110", ADMIN))
        self.roll(settle=1)
        self.pass_(60)
        self.assertEqual(self.steps(), ["done"] * 3)

    def test_several(self) -> None:
        """
        So many at a time, as far as the budget has room.
        """
        self.controller._claims._budgets = {"default": Budget(group="default", away=2)}
        self.roll(atOnce=2, settle=1)
        self.assertEqual(self.steps(), ["draining", "draining", "waiting"])
        self.pass_(30)
        self.assertEqual(self.steps(), ["done"] * 3)
        self.assertEqual(self.obeyed(), dict.fromkeys(ALL, TURN))

    def test_budget(self) -> None:
        """
        Where the budget has no room it waits, however long that takes.
        """
        self.roll(atOnce=3, settle=1, timeout=20)
        self.assertEqual(self.steps(), ["draining"] * 3)
        self.assertEqual([order.outcome for order in self.successResultOf(self.store.openOrders())],
                         ["obeyed", "queued", "queued"])
        self.pass_(40)
        self.assertEqual(self.steps(), ["done"] * 3)

    def test_otherwiseAway(self) -> None:
        """
        Also where somebody else's server is away.
        """
        self.given("drain", node="server-103")
        self.roll(servers=["server-101"], timeout=20)
        self.pass_(50)
        self.assertEqual(self.steps(), ["draining"])
        self.given("resume", node="server-103")
        self.pass_(20)
        self.assertEqual(self.steps(), ["done"])

    def test_stay(self) -> None:
        """
        Without maintenance there is none.
        """
        self.roll(servers=["server-102"], then="stay", settle=1)
        self.pass_(10)
        self.assertEqual(self.steps(), ["done"])
        self.assertFalse(any(event["change"] == "maintained" for event in self.node.events))

    def test_exit(self) -> None:
        """
        Processes that end are begun again by somebody else; each is waited for.
        """

        def leave(node: Any) -> None:
            if node.state == "offline":
                self.clock.callLater(1, node.unlink)
                self.clock.callLater(20, node.restart)
                self.clock.callLater(22, node.connect, self.fleet)

        for node in self.nodes.values():
            node.whenChanged.append(lambda node=node: leave(node))
        self.roll(then="exit", settle=1)
        self.pass_(15)
        self.assertEqual(self.steps(), ["returning", "waiting", "waiting"])
        self.pass_(90)
        self.assertEqual(self.steps(), ["done"] * 3)
        self.assertEqual(self.obeyed(), dict.fromkeys(ALL, TURN))
        self.assertEqual([node.runs for node in self.nodes.values()], [2, 2, 2])

    def test_select(self) -> None:
        """
        Labels say of whom.
        """
        for name in ("server-101", "server-103"):
            self.nodes[name].labels = {"site": "north", "rack": name[-1]}
            self.nodes[name].unlink()
            self.nodes[name].connect(self.fleet)
        self.assertEqual(self.roll(select={"site": "north"}).servers, ["server-101", "server-103"])
        self.assertIn("no server has these labels", self.refusal(Unknown, select={"site": "south"}))


class Troubled(RollingCase):
    """
    It stops at the first trouble, and says which; nobody further is begun.
    """

    def trouble(self, *steps: str, limit: float = 60.0) -> str:
        """
        Waits for it.
        """
        self.until(*steps, limit=limit)
        self.pass_(100)
        self.assertEqual(self.steps(), list(steps))
        record = self.stands()
        self.assertEqual(record.progress, Progress.TROUBLE)
        self.assertIsNone(record.ended)
        return record.text

    def test_maintenance(self) -> None:
        """
        The maintenance fails. When somebody has seen to it, it goes on.
        """
        self.node.maintenance = "exit status 2 after 1.0 s"
        record = self.roll(settle=1)
        self.assertEqual(
            self.trouble("done", "trouble", "waiting"),
            "server-102: its maintenance: exit status 2 after 1.0 s",
        )
        self.assertEqual(self.node.state, "offline")
        self.assertEqual(list(self.controller.alerts.firing), [("trouble", record.id)])
        proceeded = self.successResultOf(self.controller.proceed(record.id, ALICE))
        self.assertEqual((proceeded.progress, proceeded.text), (Progress.RUNNING, ""))
        self.pass_(20)
        self.assertEqual(self.steps(), ["done"] * 3)
        self.assertEqual(self.obeyed(), dict.fromkeys(ALL, TURN))
        self.assertEqual(self.controller.alerts.firing, {})

    def test_resumedByHand(self) -> None:
        """
        Where somebody has brought it back, it only has to settle.
        """
        self.node.maintenance = "exit status 2 after 1.0 s"
        record = self.roll(servers=["server-102"], then="run", settle=1)
        self.until("trouble")
        self.given("resume")
        self.pass_(2)
        self.successResultOf(self.controller.proceed(record.id, ALICE))
        # It was not maintained, so that it is done again.
        self.node.maintenance = "exit status 0 after 1.0 s"
        self.pass_(20)
        self.assertEqual(self.steps(), ["done"])
        self.assertEqual(self.obeyed()["server-102"], ["drain", "resume", "drain", "resume"])

    def test_refused(self) -> None:
        """
        The server does not obey.
        """
        self.node.refuses = "server-102 has no command to run"
        record = self.roll(settle=1)
        self.assertEqual(
            self.trouble("done", "trouble", "waiting"), "server-102: server-102 has no command to run"
        )
        self.successResultOf(self.controller.proceed(record.id, ALICE))
        self.pass_(30)
        self.assertEqual(self.steps(), ["done"] * 3)
        self.assertEqual(self.obeyed(), dict.fromkeys(ALL, TURN))

    def test_doesNotReturn(self) -> None:
        """
        The server does not come back.
        """

        def refuse() -> None:
            if self.node.state == "offline" and self.node.events[-1]["change"] == "offline":
                self.node.refuses = "no"

        self.node.whenChanged.append(refuse)
        self.roll(settle=1)
        self.assertEqual(self.trouble("done", "trouble", "waiting"), "server-102: no")

    def test_cannotListen(self) -> None:
        """
        It begins to come back, and cannot.
        """
        self.node.serve = lambda: self.node.tell("failed", "offline", None, "port 5060 is in use")
        self.roll(settle=1)
        self.assertEqual(
            self.trouble("done", "trouble", "waiting"),
            "server-102: it does not come back: port 5060 is in use",
        )

    def test_cancelled(self) -> None:
        """
        Somebody takes the drain back.
        """
        self.roll(servers=["server-102"], settle=1)
        self.pass_(1)
        self.given("cancel")
        self.assertEqual(self.trouble("trouble"), "server-102: its drain was cancelled by somebody else")

    def test_alreadyAway(self) -> None:
        """
        Somebody else has drained it.
        """
        self.node.takes = None
        self.given("drain")
        self.assertEqual(
            self.refusal(OrderRefused), "server-102 is draining; name the servers to leave it out"
        )
        self.given("cancel")
        self.roll(settle=1)
        self.controller._claims._budgets = {}
        self.given("drain")
        self.assertEqual(
            self.trouble("done", "trouble", "waiting"),
            "server-102: it is draining already, by somebody else's order",
        )

    def test_late(self) -> None:
        """
        It takes too long, whatever it is that does.
        """
        self.node.takes = None
        self.roll(servers=["server-102"], timeout=30)
        self.assertEqual(
            self.trouble("trouble"), "server-102: it is not offline 30 s after its turn began"
        )

    def test_lateMaintenance(self) -> None:
        """
        Also when the maintenance does not end.
        """
        self.node.maintenance = None
        self.roll(servers=["server-102"], timeout=30)
        self.assertEqual(
            self.trouble("trouble"), "server-102: its maintenance is not done 30 s after its turn began"
        )

    def test_notHealthy(self) -> None:
        """
        Or a client does not reach it any more.
        """
        self.roll(servers=["server-102"], timeout=30)
        self.client.blind.add("server-102")
        self.assertEqual(
            self.trouble("trouble"),
            "server-102: it is not healthy (not reached by client-110) 30 s after its turn began",
        )

    def test_clientsLost(self) -> None:
        """
        Clients that cannot be asked any more are named.
        """
        self.client.unlink()
        self.roll(timeout=30, servers=["server-101"])
        self.assertEqual(
            self.trouble("trouble"),
            "server-101: it is not offline (no client reaches it, as far as is known, and of client-110 it "
            "is not) 30 s after its turn began",
        )
        self.client.connect(self.fleet)
        self.successResultOf(self.controller.proceed(self.stands().id, ALICE))
        self.pass_(1)
        self.client.unlink()
        self.assertEqual(
            self.trouble("trouble"),
            "server-101: it is not healthy (not known to be reached by client-110, as it was before) 30 s "
            "after its turn began",
        )

    def test_linkLost(self) -> None:
        """
        A link that is lost for a while is no trouble; one that stays lost is.
        """
        self.roll(settle=1, timeout=30)
        self.pass_(1)
        self.nodes["server-101"].unlink()
        self.pass_(10)
        self.nodes["server-101"].connect(self.fleet)
        self.until("done", "draining", "waiting")
        self.node.unlink()
        self.assertEqual(
            self.trouble("done", "trouble", "waiting"),
            "server-102: it is not offline 30 s after its turn began",
        )

    def test_neverArrived(self) -> None:
        """
        An order that is known never to have arrived is given anew.
        """
        self.roll(servers=["server-101", "server-102"], settle=1)
        self.node.loses = "order"
        self.until("done", "draining")
        self.pass_(70)
        self.node.connect(self.fleet)
        self.pass_(30)
        self.assertEqual(self.steps(), ["done", "done"])
        self.assertEqual(self.obeyed()["server-102"], TURN)
        self.assertEqual(len(self.stands().orders["server-102"]), 3)

    def test_othersGoOn(self) -> None:
        """
        What is under way goes on to its end, and no further one is begun.
        """
        self.controller._claims._budgets = {}
        self.nodes["server-101"].refuses = "no"
        self.roll(atOnce=2, settle=1)
        self.assertEqual(self.trouble("trouble", "done", "waiting"), "server-101: no")

    def most(self, seconds: float) -> int:
        """
        Time goes on.

        @return: how many servers were away at once.
        """
        most = 0
        for _ in range(round(seconds / 0.05)):
            most = max(most, sum(node.state != "serving" for node in self.nodes.values()))
            self.pass_(0.05)
        return most

    def test_proceedOne(self) -> None:
        """
        The one in trouble has its turn before any other.
        """
        self.controller._claims._budgets = {}
        self.nodes["server-101"].refuses = "no"
        record = self.roll(settle=1)
        self.assertEqual(self.steps(), ["trouble", "waiting", "waiting"])
        self.successResultOf(self.controller.proceed(record.id, ALICE))
        self.assertEqual(self.steps(), ["draining", "waiting", "waiting"])
        self.assertEqual(self.most(40), 1)
        self.assertEqual(self.steps(), ["done"] * 3)

    def test_proceedSeveral(self) -> None:
        """
        All of those in trouble are taken up before any further one is begun.
        """
        self.controller._claims._budgets = {}
        for name in ALL[:2]:
            self.nodes[name].maintenance = "exit status 2 after 1.0 s"
        record = self.roll(settle=1, atOnce=2)
        self.until("trouble", "trouble", "waiting")
        self.successResultOf(self.controller.proceed(record.id, ALICE))
        self.assertEqual(self.steps(), ["returning", "returning", "waiting"])
        self.assertEqual(self.most(40), 2)
        self.assertEqual(self.steps(), ["done"] * 3)
        self.assertEqual(self.obeyed(), dict.fromkeys(ALL, TURN))

    def test_proceedAgain(self) -> None:
        """
        What comes into trouble again at once stops it again.
        """
        self.nodes["server-101"].refuses = "no"
        record = self.roll(settle=1)
        self.nodes["server-101"].refuses = "not yet"
        again = self.successResultOf(self.controller.proceed(record.id, ALICE))
        self.assertEqual((again.progress, again.text), (Progress.TROUBLE, "server-101: not yet"))
        self.pass_(20)
        self.assertEqual(self.steps(), ["trouble", "waiting", "waiting"])
        self.successResultOf(self.controller.proceed(record.id, ALICE))
        self.pass_(40)
        self.assertEqual(self.steps(), ["done"] * 3)

    def slowOrders(self) -> list[Deferred[None]]:
        """
        To read an order takes until each is fired.
        """
        slow: list[Deferred[None]] = []
        read = self.store.order

        def slowly(id: str) -> Any:
            done: Deferred[None] = Deferred()
            slow.append(done)
            return done.addCallback(lambda _: read(id))

        self.store.order = slowly
        return slow

    def test_stopWhileProceeding(self) -> None:
        """
        Who stops it while it is about to go on has it stopped.
        """
        self.node.maintenance = "exit status 2 after 1.0 s"
        record = self.roll(settle=1, servers=["server-102", "server-103"])
        self.until("trouble", "waiting")
        slow = self.slowOrders()
        proceeded = self.controller.proceed(record.id, ALICE)
        self.successResultOf(self.controller.stopRolling(record.id, ALICE))
        del self.store.order
        for done in slow:
            done.callback(None)
        self.assertEqual(self.successResultOf(proceeded).progress, Progress.STOPPED)
        self.pass_(20)
        self.assertEqual((self.steps(), self.stands().progress), (["trouble", "waiting"], Progress.STOPPED))
        self.assertEqual(self.obeyed()["server-102"], ["drain"])

    def test_pauseWhileProceeding(self) -> None:
        """
        Who pauses it while it is about to go on has those in trouble brought back, and nothing begun.
        """
        self.node.maintenance = "exit status 2 after 1.0 s"
        record = self.roll(settle=1, servers=["server-102", "server-103"])
        self.until("trouble", "waiting")
        slow = self.slowOrders()
        proceeded = self.controller.proceed(record.id, ALICE)
        self.successResultOf(self.controller.pause(record.id, ALICE))
        self.assertEqual(self.steps(), ["trouble", "waiting"])
        del self.store.order
        for done in slow:
            done.callback(None)
        self.assertEqual(self.successResultOf(proceeded).progress, Progress.PAUSED)
        self.pass_(20)
        self.assertEqual((self.steps(), self.stands().progress), (["done", "waiting"], Progress.PAUSED))


class Asked(RollingCase):
    """
    What people may ask of one.
    """

    def test_pause(self) -> None:
        """
        Begins with no further server until it may.
        """
        record = self.roll(settle=1)
        self.pass_(1)
        paused = self.successResultOf(self.controller.pause(record.id, ALICE))
        self.assertEqual(paused.progress, Progress.PAUSED)
        self.pass_(30)
        self.assertEqual(self.steps(), ["done", "waiting", "waiting"])
        self.failureResultOf(self.controller.pause(record.id, ALICE), OrderRefused)
        self.successResultOf(self.controller.proceed(record.id, ALICE))
        self.pass_(30)
        self.assertEqual(self.steps(), ["done"] * 3)
        for ask in (self.controller.pause, self.controller.proceed, self.controller.stopRolling):
            failure = self.failureResultOf(ask(record.id, ALICE), OrderRefused)
            self.assertEqual(str(failure.value), "it is done, and has ended")
            self.failureResultOf(ask("x", ALICE), Unknown)
            self.failureResultOf(ask(record.id, VIEWER), NotAllowed)

    def test_stop(self) -> None:
        """
        A drain under way is taken back; no further one is begun.
        """
        record = self.roll(settle=1)
        self.pass_(1)
        stopped = self.successResultOf(self.controller.stopRolling(record.id, ALICE))
        self.assertEqual((stopped.progress, stopped.text), (Progress.STOPPED, "stopped by alice"))
        self.pass_(1)
        self.assertEqual(self.steps(), ["waiting"] * 3)
        self.assertIsNotNone(self.stands().ended)
        self.assertEqual(self.nodes["server-101"].state, "serving")
        self.assertEqual(self.obeyed()["server-101"], ["drain", "cancel"])
        self.pass_(30)
        self.assertEqual(self.obeyed()["server-102"], [])

    def test_stopLate(self) -> None:
        """
        One that is offline already is brought back.
        """
        record = self.roll(settle=1)
        self.until("maintaining", "waiting", "waiting")
        self.successResultOf(self.controller.stopRolling(record.id, ALICE))
        self.assertIsNone(self.stands().ended)
        self.pass_(20)
        self.assertEqual(self.steps(), ["done", "waiting", "waiting"])
        self.assertEqual(self.stands().progress, Progress.STOPPED)
        self.assertIsNotNone(self.stands().ended)

    def test_stopQueued(self) -> None:
        """
        One that waits for the budget is withdrawn.
        """
        self.given("drain", node="server-103")
        record = self.roll(servers=["server-101"])
        self.successResultOf(self.controller.stopRolling(record.id, ALICE))
        self.assertEqual(self.steps(), ["waiting"])
        self.assertEqual(self.stands().progress, Progress.STOPPED)
        self.assertEqual(self.obeyed()["server-101"], [])

    def test_stopUnseen(self) -> None:
        """
        One that waits for a client is not drained any more when that is there.
        """
        self.client.unlink()
        record = self.roll(servers=["server-101"])
        self.successResultOf(self.controller.stopRolling(record.id, ALICE))
        self.client.connect(self.fleet)
        self.pass_(10)
        self.assertEqual(self.steps(), ["waiting"])
        self.assertEqual(self.obeyed()["server-101"], [])
        self.assertIsNotNone(self.stands().ended)

    def test_longAgo(self) -> None:
        """
        However many came after it: one that has not ended is found, and taken up.
        """
        self.patch(rollings, "PAGE", 2)
        self.nodes["server-101"].refuses = "no"
        first = self.roll(settle=1, servers=["server-101"])
        for _ in range(3):
            self.roll(settle=1, servers=["server-102"])
            self.pass_(20)
        self.assertEqual(len(self.store.data["rollings"]), 4)
        self.kill()
        self.begin()
        self.pass_(10)
        self.successResultOf(self.controller.proceed(first.id, ALICE))
        self.pass_(20)
        (record,) = [one for one in self.successResultOf(self.controller.rollings()) if one.id == first.id]
        self.assertEqual(record.progress, Progress.DONE)
        failure = self.failureResultOf(self.controller.proceed(first.id, ALICE), OrderRefused)
        self.assertEqual(str(failure.value), "it is done, and has ended")

    def test_stopRestarted(self) -> None:
        """
        A stop survives the controller.
        """
        record = self.roll(settle=1)
        self.until("maintaining", "waiting", "waiting")
        self.successResultOf(self.controller.stopRolling(record.id, ALICE))
        self.kill()
        self.pass_(5)
        self.begin()
        self.pass_(20)
        self.assertEqual(self.steps(), ["done", "waiting", "waiting"])
        self.assertIsNotNone(self.stands().ended)

    def test_refused(self) -> None:
        """
        What cannot be meant.
        """
        for values, expected, why in [
            ({"servers": []}, Malformed, "servers are expected, each of them once"),
            ({"servers": ["server-101", "server-101"]}, Malformed, "each of them once"),
            ({"servers": ["client-110"]}, Malformed, "client-110 is a client"),
            ({"servers": ["server-109"]}, Unknown, "'server-109' is no node"),
            ({"servers": ["server-101"], "select": {}}, Malformed, "and not both"),
            ({"servers": "server-101"}, Malformed, "servers is no list of texts"),
            ({"select": {"a": 1}}, Malformed, "select is no object of texts"),
            ({"atOnce": 0}, Malformed, "a number from 1 up"),
            ({"atOnce": 1.5}, Malformed, "atOnce is 1.5; a whole number is expected"),
            ({"then": "leave"}, Malformed, "then is none of run, stay, exit"),
            ({"guard": -1}, Malformed, "guard is -1.0"),
            ({"announce": "x"}, Malformed, "announce is none of"),
            ({"queue": True}, Malformed, "'queue' is not known"),
            ({"person": VIEWER}, NotAllowed, "takes the role operator"),
        ]:
            self.assertIn(why, self.refusal(expected, **values))
        self.node.unlink()
        self.assertIn("server-102 has no link", self.refusal(OrderRefused))
        self.assertEqual(self.successResultOf(self.controller.rollings()), [])
        self.assertEqual(self.obeyed(), {name: [] for name in ALL})

    def test_twice(self) -> None:
        """
        A server is in one at a time.
        """
        record = self.roll(servers=["server-102", "server-101"])
        self.assertEqual(
            self.refusal(OrderRefused, servers=["server-103", "server-101"]),
            f"server-101 is in the rolling maintenance {record.id}, which has not ended",
        )

    def slowAudit(self) -> list[Deferred[None]]:
        """
        What is to be in the audit log takes until each is fired.
        """
        slow: list[Deferred[None]] = []
        write = self.store._write

        def slowly(what: str, work: Any) -> Any:
            if not what.startswith("audit "):
                return write(what, work)
            done: Deferred[None] = Deferred()
            slow.append(done)
            return done.addCallback(lambda _: write(what, work))

        self.store._write = slowly
        return slow

    def test_twiceAtOnce(self) -> None:
        """
        Also of two that are asked for at the same instant.
        """
        slow = self.slowAudit()
        first = self.ask(servers=["server-101", "server-102"])
        second = self.ask(servers=["server-102"])
        why = str(self.failureResultOf(second, OrderRefused).value)
        self.assertIn("server-102 is in the rolling maintenance ", why)
        slow[0].callback(None)
        self.assertIn(self.successResultOf(first).id, why)
        self.assertEqual(len(self.successResultOf(self.store.rollings())), 1)

    def test_notBegun(self) -> None:
        """
        One that could not be kept stands in nobody's way.
        """
        self.store.broken = "no space"
        self.refusal(StoreError)
        self.store.broken = ""
        self.roll()

    def test_proceedTwiceAtOnce(self) -> None:
        """
        Of two who have it go on at the same instant, one does.
        """
        record = self.roll()
        self.successResultOf(self.controller.pause(record.id, ALICE))
        slow = self.slowAudit()
        first = self.controller.proceed(record.id, ALICE)
        second = self.controller.proceed(record.id, ALICE)
        for one in list(slow):
            one.callback(None)
        self.assertEqual(self.successResultOf(first).progress, Progress.RUNNING)
        why = str(self.failureResultOf(second, OrderRefused).value)
        self.assertEqual(why, "it is running, and cannot be proceeded")

    def test_storeBroken(self) -> None:
        """
        It does not begin where it cannot be stored, and waits where it cannot be stored any more.
        """
        self.store.broken = "no space"
        self.refusal(StoreError)
        self.store.broken = ""
        self.roll(settle=1)
        self.until("returning", "waiting", "waiting")
        self.store.broken = "no space"
        self.pass_(20)
        self.store.broken = ""
        self.assertEqual(self.obeyed()["server-102"], [])
        self.pass_(60)
        self.assertEqual(self.steps(), ["done"] * 3)
        self.assertEqual(self.obeyed(), dict.fromkeys(ALL, TURN))

    def test_stopsWithBrokenStore(self) -> None:
        """
        A controller that stops meanwhile tries no more.
        """
        for what in ("", "rolling", "order", "audit order"):
            self.setUp()
            self.roll(settle=1)
            self.until("settling", "waiting", "waiting")
            self.store.broken, self.store.brokenFor = "no space", what
            self.pass_(8)
            self.controller.stop()
            self.assertEqual(self.mortal.waiting, 0, what)

    def test_stepNotStored(self) -> None:
        """
        Nothing is ordered before the step that it belongs to is stored.
        """
        self.roll(settle=1)
        self.pass_(1)
        self.store.broken, self.store.brokenFor = "no space", "rolling"
        self.pass_(30)
        self.assertEqual(self.obeyed()["server-101"], ["drain"])
        self.store.broken = ""
        self.until("returning", "waiting", "waiting")
        self.store.broken = "no space"
        self.pass_(30)
        self.assertEqual(self.obeyed()["server-101"], TURN)
        self.assertEqual(self.obeyed()["server-102"], [])
        self.store.broken = ""
        self.pass_(60)
        self.assertEqual(self.steps(), ["done"] * 3)
        self.assertEqual(self.obeyed(), dict.fromkeys(ALL, TURN))


class Killed(RollingCase):
    """
    A controller that is killed goes on where it was: no server is drained twice, none is left behind.
    """

    def test_atEveryWrite(self) -> None:
        """
        At every write that there is, before it and after it.
        """
        whole = self.rehearse()
        self.assertGreater(whole, 40)
        for number, done in itertools.product(range(whole), (False, True)):
            self.roundabout([(number, done)], 3.0)

    def test_linkAwaited(self) -> None:
        """
        After a restart it goes on as soon as the next server has said how it stands, and not some time later.
        """
        self.roll(settle=1)
        self.until("settling", "waiting", "waiting")
        self.kill()
        waited = self.nodes["server-102"]
        link, waited.connect = waited.connect, lambda fleet: None
        self.begin()
        self.until("done", "draining", "waiting")
        self.pass_(6)
        self.fleet.hello(Hello("server-102", "server", "1.0", "b1", 0), SimulatedLink(waited), "127.0.0.1")
        self.pass_(6)
        self.assertEqual(self.steps(), ["done", "draining", "waiting"])
        link(self.fleet)
        self.pass_(0.3)
        self.assertEqual(self.obeyed()["server-102"], ["drain"])

    def test_twice(self) -> None:
        """
        Again and again, and for longer than orders are valid.
        """
        for first, then, down in [(5, 3, 1.0), (9, 9, 70.0), (14, 2, 100.0), (20, 7, 10.0), (3, 1, 65.0)]:
            for done in (False, True):
                self.roundabout([(first, done), (then, not done), (then, done), (1, done)], down)

    def rehearse(self) -> int:
        """
        @return: how many writes there are when nothing happens.
        """
        self.setUp()
        before = len(self.store.writes)
        self.roll(settle=1)
        self.pass_(40)
        self.assertEqual(self.steps(), ["done"] * 3)
        return len(self.store.writes) - before

    def arm(self, kills: list[tuple[int, bool]]) -> None:
        """
        Has the controller die at a write.
        """
        count = 0
        write = self.store._write

        def writing(what: str, work: Any) -> Any:
            nonlocal count
            if not kills or self.store.dead:
                return write(what, work)
            number, done = kills[0]
            count += 1
            if count <= number:
                return write(what, work)
            kills.pop(0)
            if done:
                # A claim may be refused, of which nobody hears any more.
                write(what, work).addErrback(lambda failure: None)
            self.died = what
            dead = self.store
            self.kill()
            dead.die()
            return Deferred()

        self.store._write = writing

    def roundabout(self, kills: list[tuple[int, bool]], down: float) -> None:
        """
        One whole rolling maintenance.
        """
        self.setUp()
        where = f"killed at {kills}, down {down} s"
        left = list(kills)
        self.arm(left)
        asked = self.ask(settle=1)
        for _ in range(400):
            self.pass_(0.5)
            if self.mortal.dead:
                self.pass_(down)
                self.begin()
                self.arm(left)
            found = self.successResultOf(self.store.rollings())
            if not left and (not found or found[0].ended is not None):
                break
        found = self.successResultOf(self.store.rollings())
        drains = {name: kinds.count("drain") for name, kinds in self.obeyed().items()}
        if not found:
            # It died before it was kept, and nobody was told that it had begun.
            self.assertNoResult(asked)
            self.assertEqual(drains, dict.fromkeys(ALL, 0), where)
            return
        self.assertEqual(self.steps(), ["done"] * 3, f"{where}: {self.stands().text}")
        self.assertEqual(drains, dict.fromkeys(ALL, 1), where)
        self.assertEqual({node.state for node in self.nodes.values()}, {"serving"}, where)
        self.pass_(1)
        self.assertEqual(self.successResultOf(self.store.claims("default")), frozenset(), where)
        self.assertEqual(self.successResultOf(self.store.openOrders()), [], where)


class Storm(RollingCase):
    """
    All that can go wrong, at random moments (by seeds, so that what fails once fails again): links and
    answers that are lost, controllers that are killed, stores that fail for a while.
    """

    #: Whether servers' processes may end and begin again, too. Nobody can tell then what they had done.
    restarts = False

    def mishap(self, chance: Random) -> None:
        """
        Something goes wrong.
        """
        kinds = ["kill", "kill", "unlink", "loses", "loses", "client", "store"]
        kind = chance.choice([*kinds, "restart", "restart"] if self.restarts else kinds)
        node = self.nodes[chance.choice(ALL)]
        seconds = chance.choice([0.3, 2.0, 15.0, 70.0])
        if kind == "kill" and not self.mortal.dead:
            self.kill()
            self.clock.callLater(seconds, self.begin)
        elif kind == "unlink" and not self.mortal.dead:
            node.unlink()
            self.clock.callLater(seconds, self.linkAgain, node)
        elif kind == "loses" and not self.mortal.dead:
            node.loses = chance.choice(["order", "answer", "silence"])
            self.clock.callLater(seconds, self.linkAgain, node)
        elif kind == "restart" and not self.mortal.dead:
            node.restart()
            self.clock.callLater(seconds, self.linkAgain, node)
        elif kind == "client" and not self.mortal.dead:
            self.client.unlink()
            self.clock.callLater(seconds, self.linkAgain, self.client)
        elif kind == "store":
            store = self.store
            store.broken = "no answer"
            self.clock.callLater(min(seconds, 15.0), lambda: setattr(store, "broken", ""))

    def linkAgain(self, node: Any) -> None:
        """
        A node finds its way back to the controller, if there is one.
        """
        if node.link is None and not self.mortal.dead:
            node.connect(self.fleet)

    def check(self, where: str) -> None:
        """
        What holds at every moment.
        """
        away = [node.name for node in self.nodes.values() if node.state != "serving"]
        self.assertLessEqual(len(away), 1, where)
        for name, kinds in () if self.restarts else self.obeyed().items():
            self.assertLessEqual(kinds.count("drain"), 1, f"{where}: {name}")
            self.assertLessEqual(kinds.count("resume"), 1, f"{where}: {name}")

    def storm(self, seed: int) -> int:
        """
        One whole rolling maintenance.

        @return: how often somebody had to see to it.
        """
        chance = Random(seed)
        self.setUp()
        where = f"seed {seed}"
        self.roll(settle=1, timeout=60)
        for _ in range(chance.randrange(1, 9)):
            for _ in range(chance.randrange(1, 150)):
                self.pass_(0.1)
                self.check(where)
            self.mishap(chance)
        seen = 0
        for _ in range(60):
            # Then it is calm.
            for node in [*self.nodes.values(), self.client]:
                self.linkAgain(node)
            self.pass_(10)
            self.check(where)
            record = self.successResultOf(self.store.rollings())[0]
            if self.mortal.dead or self.store.broken:
                continue
            if record.progress is Progress.DONE:
                break
            if record.progress is Progress.TROUBLE:
                seen += 1
                self.successResultOf(self.controller.proceed(record.id, ALICE))
        self.pass_(10)
        self.assertEqual(self.steps(), ["done"] * 3, f"{where}: {self.stands()}")
        if not self.restarts:
            self.assertEqual(self.obeyed(), dict.fromkeys(ALL, TURN), where)
        self.assertEqual({node.state for node in self.nodes.values()}, {"serving"}, where)
        self.assertEqual(self.successResultOf(self.store.claims("default")), frozenset(), where)
        self.assertEqual(self.successResultOf(self.store.openOrders()), [], where)
        return seen

    def test_storms(self) -> None:
        """
        Never is a second server away, none is drained or resumed twice, none left behind.
        """
        for seed in range(int(os.environ.get("SIPGRACE_STORMS", "40"))):
            self.storm(seed)

    def test_restarts(self) -> None:
        """
        Also where servers' processes begin again: never is a second server away, and none is left behind.
        """
        self.restarts = True
        for seed in range(int(os.environ.get("SIPGRACE_STORMS", "40"))):
            self.storm(seed)
