"""
Orders to a real server, with calls on real associations: signed ones, rehearsals, gradual drains, commands
that follow, and a server that leaves by itself and comes back.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from sipgrace.control.remote import RemoteNode
from sipgrace.errors import OrderRefused
from sipgrace.lifecycle.orderform import SignedOrder, newNonce, sign
from sipgrace.lifecycle.orders import Kind, Order
from tests.scenarios.network import Network
from tests.scenarios.phones import Phone, answerAfter, keepRinging
from tests.scenarios.processes import Role
from tests.scenarios.waiting import moment, poll, reactor


class Auto(float):
    """
    A guard that is written as the word for one that is estimated.
    """

    def __format__(self, form: str) -> str:
        return '"auto"'


class OrdersCase(TestCase):
    """
    One server, a caller with an association from the address of client 1, and a callee from that of client 2.
    """

    timeout = 90

    async def start(self, more: str = "", drain: str = "", guard: float = 10) -> RemoteNode:
        """
        @param more: further sections of the server's file; FOLDER in it is a folder of the test's own.
        @param drain: further keys of C{[drain]}.
        @return: a link to the server's control socket, which is watched.
        """
        self.network = Network(self, guard=guard)
        self.folder = self.network.directory
        (self.folder / "reports").mkdir()
        self.server: Role = self.network.startServer(
            1, self.inFolder(more), drain=f"retry_after_period = 0\n{self.inFolder(drain)}"
        )
        server = self.server
        await server.said("lifecycle: serving")
        self.caller, self.callee = Phone(self, "caller"), Phone(self, "callee", keepRinging)
        await self.meet()
        self.node = await self.network.control("server", 1)
        self.events: list[dict[str, Any]] = []
        await self.node.watch(self.events.append)
        return self.node

    def inFolder(self, text: str) -> str:
        return text.replace("FOLDER", os.fspath(self.folder))

    async def meet(self) -> None:
        self.out = await self.caller.connect(self.network.toServer(1, self.network.clientHost(1)))
        await self.callee.connect(self.network.toServer(1, self.network.clientHost(2)))

    async def refusal(self, given: Deferred[Any]) -> str:
        return str(await self.assertFailure(given, OrderRefused))

    def changes(self) -> list[str]:
        return [event["change"] for event in self.events]

    async def until(self, change: str) -> None:
        await poll(lambda: change in self.changes(), change)

    def audit(self) -> list[dict[str, Any]]:
        path = self.folder / "audit.jsonl"
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]

    def report(self) -> dict[str, Any]:
        """
        The one report there is.
        """
        (path,) = (self.folder / "reports").glob("*.json")
        self.assertTrue(path.with_suffix(".html").exists())
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return found

    async def reported(self, key: str) -> dict[str, Any]:
        """
        Waits until the report says something.
        """

        def look() -> bool:
            return any((self.folder / "reports").glob("*.html")) and self.report()[key] is not None

        await poll(look, f"{key} in the report")
        return self.report()

    async def ends(self) -> None:
        """
        Takes the server down, and sees that it made no mistake.
        """
        self.server.signal(15)
        self.assertEqual(await self.server.end(), 0)
        self.assertEqual(self.server.oddities(), [])


class SignedTests(OrdersCase):
    keys = {name: Ed25519PrivateKey.generate() for name in ("alice", "wanda")}

    def sections(self) -> str:
        text = '[orders]\naudit = "FOLDER/audit.jsonl"\nsigned_locally = true\n'
        for name, role in (("alice", "operator"), ("wanda", "viewer")):
            public = self.keys[name].public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
            text += f'[[orders.keys]]\nname = "{name}"\nrole = "{role}"\npublic = "{public.decode()}"\n'
        return text

    def signed(self, kind: Kind, name: str = "alice", **values: Any) -> SignedOrder:
        now = time.time()
        given = {"who": "Alice", "when": now, "expires": now + 30, "nonce": newNonce(), "node": "server-1"}
        return sign(Order(kind=kind, **{**given, **values}), name, self.keys[name])

    async def test_signed(self) -> None:
        """
        Obeyed when signed rightly, refused with the reason when not; all of it is in the audit log; and what
        was obeyed once is not obeyed again, by the next process either.
        """
        node = await self.start(self.sections())
        call = self.caller.call("2001", self.out)
        await call.has(180)
        self.assertEqual(
            await self.refusal(node.drain()),
            "the order is not signed; orders from the socket are signed here (--key FILE)",
        )
        self.assertEqual(
            await self.refusal(node.signed(self.signed(Kind.DRAIN, "wanda"))),
            "drain takes the role operator; the key wanda has the role viewer",
        )
        forged = SignedOrder(self.signed(Kind.DRAIN).text, "alice", bytes(64))
        self.assertEqual(
            await self.refusal(node.signed(forged)),
            "the signature is not that of the key alice over this order",
        )
        self.assertEqual((await node.status())["state"], "serving")

        good = self.signed(Kind.DRAIN, why="new kernel", guard=20.0)
        answer = await node.signed(good)
        self.assertEqual(answer.state, "draining")
        self.assertEqual(
            await self.refusal(node.signed(good)),
            "an order with this nonce has been given before; each order needs its own",
        )
        refused = await self.caller.call("2001", self.out).done()
        self.assertEqual((refused.status, refused.get(b"Retry-After")), (503, b"20 (new kernel)"))
        await node.signed(self.signed(Kind.CANCEL))
        call.cancel()
        self.assertEqual((await call.done()).status, 487)
        await self.ends()

        records = self.audit()
        self.assertEqual(
            [(one["what"], one.get("key")) for one in records if one.get("source") == "socket"],
            [
                ("refused", None),
                ("refused", "wanda"),
                ("refused", None),
                ("order", "alice"),
                ("obeyed", "alice"),
                # Given a second time: the signature is right all the same.
                ("refused", "alice"),
                ("order", "alice"),
                ("obeyed", "alice"),
            ],
        )
        self.assertEqual(
            [(one["id"] == answer.id, one["state"]) for one in records if one.get("kind") == "drain"],
            [(True, "serving"), (False, "offline")],
        )
        self.assertIn(answer.id, [one.get("id") for one in records])

        again = self.network.startServer(1, self.inFolder(self.sections()))
        await again.said("lifecycle: serving")
        node = await self.network.control("server", 1)
        self.assertEqual(
            await self.refusal(node.signed(good)),
            "an order with this nonce has been given before; each order needs its own",
        )

    async def test_fullDisk(self) -> None:
        """
        An order that cannot be written down is refused; SIGTERM is obeyed all the same.
        """
        node = await self.start('[orders]\naudit = "FOLDER/full"\n')
        (self.folder / "full").unlink()
        (self.folder / "full").symlink_to("/dev/full")
        self.assertEqual(
            await self.refusal(node.drain()),
            "the order cannot be written into the audit log (No space left on device), and is not obeyed; "
            "once that is put right, give it again",
        )
        self.server.signal(15)
        self.assertEqual(await self.server.end(), 0)


class ApprovalTests(TestCase):
    timeout = 90

    async def test_clients(self) -> None:
        """
        The first of two servers may leave, for both clients have the other; the second may not.
        """
        network = Network(self)
        orders = "[orders]\nclients_approve = 2\n"
        for number in (1, 2):
            network.startServer(number, orders)
            network.startClient(number, "sip:127.0.0.1:9")
        await network.ready()
        first, second = await network.control("server", 1), await network.control("server", 2)
        await first.watch()
        answer = await first.drain(why="new kernel")
        await first.when(("offline",), answer)
        for client in network.clients.values():
            await client.said("server-1 is off the active list")
        error = await self.assertFailure(second.drain(), OrderRefused)
        # One no is enough, whichever comes first.
        self.assertIn(
            str(error).partition(" (")[::2],
            [
                ("2 clients must approve of it; of 2 that were asked 0 did", f"{answers})")
                for answers in (
                    "client-1 no, client-2 not waited for",
                    "client-1 not waited for, client-2 no",
                )
            ],
        )
        self.assertEqual((await second.status())["state"], "serving")
        network.check()


class RehearsalTests(OrdersCase):
    async def test_rehearsal(self) -> None:
        """
        What a drain would do, and what would have come of it; calls go on, and nobody else hears of it.
        """
        node = await self.start('[report]\ndir = "FOLDER"\n')
        other = await self.network.control("server", 1)
        heard: list[dict[str, Any]] = []
        await other.watch(heard.append)
        calls = []
        for seconds in (0.5, 60.0):
            self.callee.ringing = answerAfter(seconds)
            calls.append(self.caller.call("2001", self.out))
            await calls[-1].has(180)
        answer = await node.order("rehearse", "new kernel", guard=3.0, retryAfter=90)
        result = answer.result
        keys = ("guard", "retryAfter", "waiting", "cutOff", "associations", "clients")
        self.assertEqual(
            {key: result[key] for key in keys},
            {
                "guard": 3,
                "retryAfter": 90,
                "waiting": 2,
                "cutOff": None,
                "associations": 2,
                "clients": {"client-1": 1, "client-2": 1},
            },
        )
        self.callee.ringing = answerAfter(0)
        self.assertEqual((await self.caller.call("2001", self.out).done()).status, 200)
        found = await node.rehearsed(answer)
        self.assertEqual(
            {**found, "guard": 3},
            {"guard": 3, "waiting": 2, "settled": 1, "cutOff": 1, "drainedAfter": None, "refused": 1},
        )
        self.assertEqual((await calls[0].done()).status, 200)
        self.assertIs(calls[1].final, None)
        self.assertEqual((await node.status())["state"], "serving")
        self.assertEqual((self.events, heard), ([], []))
        self.assertEqual([*self.caller.lost, *self.callee.lost], [])
        self.assertEqual(list(self.folder.glob("*.html")), [])
        calls[1].cancel()
        await calls[1].done()
        await self.ends()


class AutoTests(OrdersCase):
    async def test_auto(self) -> None:
        """
        The guard is estimated; the estimate is in the status, and in the report beside what was needed.
        """
        node = await self.start(
            '[report]\ndir = "FOLDER/reports"\n', drain="guard_floor = 1\n", guard=Auto()
        )
        self.callee.ringing = answerAfter(0)
        for _ in range(40):
            self.assertEqual((await self.caller.call("2001", self.out).done()).status, 200)
        self.callee.ringing = answerAfter(2)
        calls = [self.caller.call("2001", self.out) for _ in range(40)]
        status = await node.status()
        self.assertEqual(status["guardEstimate"]["basis"], "few observations")
        for call in calls:
            self.assertEqual((await call.done()).status, 200)
        await self.idle()
        status = await node.status()
        self.assertEqual(status["setupTimes"]["observed"], 80)
        self.assertTrue(2 < status["setupTimes"]["p99"] < 3, status["setupTimes"])
        self.assertEqual(status["guardEstimate"], {"seconds": 1.0, "basis": "floor", "calls": 0})
        call = self.caller.call("2001", self.out)
        await call.has(180)
        answer = await node.drain()
        self.assertEqual((await call.done()).status, 200)
        await node.when(("offline",), answer)
        report = await self.reported("drained_after_s")
        # What the longest took, and the time that the end of a drain is given.
        self.assertTrue(2 < report["guard_s"] < 6, report["guard_s"])
        self.assertAlmostEqual(report["guard_s"], report["guard_estimate_s"], delta=0.2)
        self.assertTrue(1.5 < report["drained_after_s"] < report["guard_s"], report)
        await self.ends()

    async def idle(self) -> None:
        async def look() -> bool:
            return not (await self.node.status())["waiting"]

        await poll(lambda: Deferred.fromCoroutine(look()), "the last call's end")


class GradualTests(OrdersCase):
    async def test_gradual(self) -> None:
        """
        A rising share of calls is refused, without Retry-After; the others are set up. Then all are, with it.
        """
        node = await self.start('[report]\ndir = "FOLDER/reports"\n')
        self.callee.ringing = answerAfter(0)
        answer = await node.order("drain", "new kernel", over=4.0)
        self.assertEqual(answer.state, "slowing")
        began = reactor.seconds()
        statuses: list[tuple[float, int, bytes | None]] = []
        while reactor.seconds() - began < 3.8:
            response = await self.caller.call("2001", self.out).done()
            statuses.append((reactor.seconds() - began, response.status, response.get(b"Retry-After")))
            await moment(0.04)
        self.assertEqual({(status, after) for _, status, after in statuses}, {(200, None), (503, None)})
        halves = [[s for at, s, _ in statuses if low <= at < low + 2] for low in (0, 2)]
        shares = [half.count(503) / len(half) for half in halves]
        # A quarter in the first half, three in the second.
        self.assertTrue(0.15 < shares[0] < 0.35, shares)
        self.assertTrue(0.65 < shares[1] < 0.85, shares)
        facts = await node.when(("offline",), answer)
        self.assertEqual(facts["state"], "offline")
        self.assertEqual(
            [change for change in self.changes() if change != "gone"],
            ["slowing", "draining", "drained", "offline"],
        )
        report = await self.reported("drained_after_s")
        refused = sum(status == 503 for _, status, _ in statuses)
        self.assertEqual((report["refused"], report["forced"]), (refused, 0))
        self.assertTrue(4 <= report["stopped_after_s"] < 4.5, report["stopped_after_s"])
        self.assertEqual(
            report["timeline"]["columns"], ["after_s", "waiting", "accepted", "settled", "forced", "refused"],
        )
        self.assertEqual(report["timeline"]["rows"][-1][5], refused)
        await self.ends()

    async def test_cancelled(self) -> None:
        node = await self.start()
        self.callee.ringing = answerAfter(0)
        await node.order("drain", over=4.0)
        await moment(2.0)
        self.assertEqual((await node.order("cancel")).state, "serving")
        for _ in range(20):
            self.assertEqual((await self.caller.call("2001", self.out).done()).status, 200)
        await self.ends()


class AfterTests(OrdersCase):
    async def test_run(self) -> None:
        """
        The command is run when the server is offline, with the order's facts; its exit status is told to who
        watches, in the report and in the audit log; and the server stays offline until it is brought back.
        """
        facts = "$SIPGRACE_ORDER_WHO $SIPGRACE_ORDER_WHY $SIPGRACE_STATE"
        command = f"echo {facts} >FOLDER/ran; echo done; exit 3"
        node = await self.start(
            '[report]\ndir = "FOLDER/reports"\n[orders]\naudit = "FOLDER/audit.jsonl"\n',
            f'then = "run {command}"',
        )
        self.callee.ringing = answerAfter(1)
        call = self.caller.call("2001", self.out)
        await call.has(180)
        answer = await node.drain(why="new kernel")
        self.assertEqual((await call.done()).status, 200)
        await node.when(("offline",), answer)
        await self.until("maintained")
        (event,) = [event for event in self.events if event["change"] == "maintained"]
        self.assertTrue(event["text"].startswith("exit status 3 after "), event["text"])
        self.assertEqual(event["state"], "offline")
        self.assertEqual((self.folder / "ran").read_text(), "root new kernel offline\n")
        maintenance = (await self.reported("maintenance"))["maintenance"]
        self.assertEqual((maintenance["exit_status"], maintenance["output"]), (3, "done\n"))
        await poll(lambda: self.audit()[-1]["what"] == "maintained", "the record")
        self.assertEqual((self.audit()[-1]["id"], self.audit()[-1]["exit_status"]), (answer.id, 3))
        back = await node.resume()
        await node.when(("serving",), back)
        self.assertEqual((await self.reported("back_after_s"))["maintenance"], maintenance)
        self.server.signal(15)
        self.assertEqual(await self.server.end(), 0)

    async def test_forced(self) -> None:
        """
        The command is told how many calls were ended by force, though that was before the end.
        """
        node = await self.start(
            '[report]\ndir = "FOLDER/reports"\n',
            'then = "run echo $SIPGRACE_FORCED $SIPGRACE_ABORTED >FOLDER/ran"',
        )
        calls = [self.caller.call("2001", self.out) for _ in range(3)]
        for call in calls:
            await call.has(180)
        await node.drain(guard=1.0)
        for call in calls:
            self.assertEqual((await call.done()).status, 503)
        await self.until("maintained")
        (drained,) = [event for event in self.events if event["change"] == "drained"]
        self.assertEqual(drained["forced"], 3)
        self.assertEqual((self.folder / "ran").read_text(), "3 0\n")
        report = await self.reported("maintenance")
        self.assertEqual((report["settled"], report["forced"], report["cut_off"]), (0, 3, True))
        # The plot says the same as the table.
        columns = dict(zip(report["timeline"]["columns"], report["timeline"]["rows"][-1], strict=True))
        self.assertEqual((columns["settled"], columns["forced"], columns["waiting"]), (0, 3, 0))
        self.assertEqual(report["guard_estimated_from"], "few observations")
        await self.ends()

    async def test_exit(self) -> None:
        """
        The process ends, with status 0, when the order says so.
        """
        node = await self.start()
        self.callee.ringing = answerAfter(1)
        call = self.caller.call("2001", self.out)
        await call.has(180)
        await node.order("drain", then="exit")
        self.assertEqual((await call.done()).status, 200)
        self.assertEqual(await self.server.end(), 0)

    async def test_noCommand(self) -> None:
        node = await self.start()
        self.assertEqual(
            await self.refusal(node.order("drain", then="run")),
            'server-1 has no command to run: drain.then = "run COMMAND" names one',
        )
        self.assertEqual((await node.status())["state"], "serving")


class SelfTests(OrdersCase):
    async def test_overload(self) -> None:
        """
        Too many calls for a while: it drains with that reason, finishes them, and is back by itself.
        """
        node = await self.start("[overload]\nledger = 2\nperiod = 1\nguard = 5\nretry_after = 6\n")
        self.callee.ringing = answerAfter(3)
        calls = [self.caller.call("2001", self.out) for _ in range(3)]
        await self.until("draining")
        refused = await self.caller.call("2001", self.out).done()
        self.assertEqual(refused.status, 503)
        self.assertTrue((refused.get(b"Retry-After") or b"").endswith(b"(overload: 3 calls waiting for 1 s)"))
        for call in calls:
            self.assertEqual((await call.done()).status, 200)
        await self.until("offline")
        self.assertLessEqual((await node.status())["backIn"], 6)
        await self.until("serving")
        orders = [event["order"]["who"] for event in self.events if event["order"]]
        self.assertEqual(set(orders), {"overload"})
        (draining,) = [event for event in self.events if event["change"] == "draining"]
        (serving,) = [event for event in self.events if event["change"] == "serving"]
        self.assertTrue(5.5 < serving["at"] - draining["at"] < 8, (serving["at"], draining["at"]))
        await self.meet()
        self.callee.ringing = answerAfter(0)
        self.assertEqual((await self.caller.call("2001", self.out).done()).status, 200)
        await self.ends()

    async def test_schedule(self) -> None:
        """
        A maintenance window: begun and ended by the server itself, which says when it will be back.
        """
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 6))
        node = await self.start(f'[[schedule]]\nname = "kernel"\nat = {at}\nlasts = 4\n')
        (window,) = (await node.status())["schedule"]
        self.assertEqual(window["name"], "kernel")
        self.callee.ringing = answerAfter(1)
        call = None
        while "draining" not in self.changes():
            call = self.caller.call("2001", self.out)
            await moment(0.3)
        assert call is not None
        await self.until("offline")
        await self.until("serving")
        self.assertEqual((await node.status())["schedule"], [])
        await self.ends()
