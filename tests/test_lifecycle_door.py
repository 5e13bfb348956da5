"""
The door that every order goes through: who may, what is refused, what is written down, and when.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.errors import OrderRefused
from sipgrace.lifecycle.approval import Approval
from sipgrace.lifecycle.audit import AuditLog
from sipgrace.lifecycle.authorization import MAY, Authority, Giver, Key, Role, Source, Verify
from sipgrace.lifecycle.door import Carried, Door, Obeyed
from sipgrace.lifecycle.events import Change, State
from sipgrace.lifecycle.nonces import Nonces
from sipgrace.lifecycle.orderform import SignedOrder, fromText, sign
from sipgrace.lifecycle.orders import Kind, Order
from tests.test_lifecycle_audit import Later, atOnce, lines
from tests.test_lifecycle_machine import Call, World

#: The present, in seconds since the epoch.
NOW = 1763800000.0

LINK = Giver(Source.LINK, "controller-120", Role.OPERATOR)
SOCKET = Giver(Source.SOCKET, "root")
MANHOLE = Giver(Source.MANHOLE, "manhole")
SIGNAL = Giver(Source.SIGNAL, "SIGTERM")
SELF = Giver(Source.SELF, "overload")


class DoorCase(SynchronousTestCase):
    """
    @ivar keys: private keys by name; each bears the name of its role, and a stranger's is there too.
    """

    keys = {name: Ed25519PrivateKey.generate() for name in ("viewer", "operator", "admin", "stranger")}

    def setUp(self) -> None:
        self.world = World()
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.path = self.folder / "audit.jsonl"
        self.beside: Callable[..., Any] = atOnce
        self.now = NOW
        self.count = 0
        self.door = self.make()

    def make(self, **settings: Any) -> Door:
        nonces = Nonces(self.folder / "nonces")
        nonces.load(self.now)
        authority = Authority(
            "server-102",
            [Key(role, role, self.keys[role].public_key()) for role in Role],
            nonces,
            **settings,
        )
        return Door(
            "server-102",
            self.world.clock,
            self.world.lifecycle,
            authority,
            AuditLog(self.path, self.beside),
            self.beside,
            lambda: self.now,
        )

    def order(self, kind: Kind = Kind.DRAIN, **values: Any) -> Order:
        self.count += 1
        given = {
            "who": "alice",
            "when": NOW,
            "node": "server-102",
            "nonce": f"nonce-{self.count:016}",
            "expires": NOW + 60,
            **values,
        }
        return Order(kind=kind, **given)

    def signed(self, order: Order, name: str = "operator") -> SignedOrder:
        return sign(order, name, self.keys[name])

    def refused(self, given: Deferred[Obeyed]) -> str:
        """
        Why.
        """
        return str(self.failureResultOf(given, OrderRefused).value)

    def audit(self) -> list[dict[str, Any]]:
        return lines(self.path) if self.path.exists() else []

    def state(self) -> str:
        return str(self.world.lifecycle.status().state)


class LocalTests(DoorCase):
    def test_drain(self) -> None:
        """
        Obeyed, with the number of the last event before; what became of it is told.
        """
        call = Call(self.world, "call")
        order = Order(kind=Kind.DRAIN, who="root", when=NOW, why="upgrade", guard=30)
        obeyed = self.successResultOf(self.door.give(order, SOCKET))
        self.assertEqual((obeyed.number, obeyed.state, obeyed.result), (0, State.DRAINING, None))
        self.assertEqual(replace(obeyed.order, nonce=""), order)
        ended = obeyed.whenEnded()
        self.assertNoResult(ended)
        self.world.associations.atOnce = True
        call.end()
        self.world.clock.advance(0)
        self.assertEqual(self.successResultOf(ended), State.OFFLINE)
        self.assertEqual(self.successResultOf(obeyed.whenEnded()), State.OFFLINE)
        facts = obeyed.order.facts()
        common = {"at": "2025-11-22T08:26:40.000Z", "node": "server-102"}
        by = {**common, "source": "socket", "by": "root", "role": "admin"}
        by |= {"id": facts["nonce"], "order": facts}
        self.assertEqual(
            self.audit(),
            [
                {**by, "what": "order"},
                {**by, "what": "obeyed"},
                {**common, "what": "ended", "id": facts["nonce"], "kind": "drain", "state": "offline"},
            ],
        )

    def test_told(self) -> None:
        """
        The log says who ordered what, and why; not each rehearsal, and not what came by signal, which is said
        where that comes in.
        """
        told: list[str | None] = []

        def note(event: LogEvent) -> None:
            told.append(formatEvent(event))

        globalLogPublisher.addObserver(note)
        self.addCleanup(globalLogPublisher.removeObserver, note)
        self.door.kinds[Kind.REHEARSE] = lambda order: Carried()
        Call(self.world, "call")
        for kind, giver, why in (
            (Kind.REHEARSE, SOCKET, ""),
            (Kind.DRAIN, SOCKET, "new kernel"),
            (Kind.CANCEL, MANHOLE, ""),
            (Kind.DRAIN, SIGNAL, ""),
        ):
            order = Order(kind=kind, who=giver.name, when=NOW, why=why)
            self.successResultOf(self.door.give(order, giver))
        self.assertEqual(
            [text for text in told if text and "lifecycle" not in text],
            ["drain from root (socket) is obeyed: new kernel", "cancel from manhole (manhole) is obeyed"],
        )

    def test_refusals(self) -> None:
        """
        Of the orders of one giver that may not give them a hundred are written down each minute; the next
        record says how many there were besides. Of others', and of what is obeyed, nothing is left out.
        """
        intruder, other = replace(SOCKET, role=Role.VIEWER), replace(MANHOLE, role=Role.VIEWER)

        def refuse(times: int, giver: Giver) -> list[tuple[str, str, int]]:
            before = len(self.audit())
            for _ in range(times):
                self.refused(self.door.give(self.order(Kind.OFFLINE), giver))
            return [
                (record["what"], record["by"], record.get("unrecorded", 0))
                for record in self.audit()[before:]
            ]

        self.assertEqual(refuse(130, intruder), [("refused", "root", 0)] * 100)
        self.assertEqual(refuse(2, other), [("refused", "manhole", 30), ("refused", "manhole", 0)])
        self.assertEqual(refuse(5, intruder), [])
        self.successResultOf(self.door.give(self.order(Kind.DRAIN), SOCKET))
        self.assertEqual([record.get("unrecorded", 0) for record in self.audit()[-2:]], [5, 0])
        self.assertEqual(refuse(1, intruder), [])
        self.world.clock.advance(60)
        self.assertEqual(refuse(1, intruder), [("refused", "root", 1)])

    def test_signedRefusals(self) -> None:
        """
        Nor do those fill it that are wrongly signed.
        """
        for _ in range(103):
            self.refused(self.door.take(self.signed(self.order(), "stranger"), LINK))
        self.assertEqual(len(self.audit()), 100)
        self.successResultOf(self.door.take(self.signed(self.order()), LINK))
        self.assertEqual(
            [(record["what"], record.get("unrecorded", 0)) for record in self.audit()[100:102]],
            [("order", 3), ("obeyed", 0)],
        )

    def test_eachKind(self) -> None:
        """
        Each reaches the lifecycle, its parameters too.
        """
        Call(self.world, "call")

        def give(kind: Kind, **values: Any) -> Obeyed:
            return self.successResultOf(self.door.give(self.order(kind, **values), MANHOLE))

        give(Kind.DRAIN, guard=30)
        self.assertEqual(give(Kind.EXTEND, guard=10).state, State.DRAINING)
        self.assertEqual(self.world.lifecycle.status().guardLeft, 40)
        cancelled = give(Kind.CANCEL)
        self.assertEqual((cancelled.number, cancelled.state), (2, State.SERVING))
        self.assertEqual(self.successResultOf(cancelled.whenEnded()), State.SERVING)
        self.assertEqual(give(Kind.OFFLINE).state, State.OFFLINE)
        self.assertEqual(self.successResultOf(give(Kind.RESUME).whenEnded()), State.SERVING)
        self.assertEqual(
            [str(event.change) for event in self.world.events],
            ["draining", "extended", "cancelled", "offline", "returning", "serving"],
        )

    def test_refusedByState(self) -> None:
        """
        What does not fit is written down before it is tried, and the refusal after.
        """
        reason = self.refused(self.door.give(self.order(Kind.CANCEL), SOCKET))
        self.assertEqual(
            reason, "the server is serving and no drain is under way; drain is what would be accepted"
        )
        self.assertEqual(
            [(record["what"], record.get("reason")) for record in self.audit()],
            [("order", None), ("refused", reason)],
        )

    def test_noTime(self) -> None:
        self.assertEqual(
            self.refused(self.door.give(self.order(Kind.EXTEND), SOCKET)),
            "extend: no time is given; seconds above 0 are expected",
        )

    def test_otherKinds(self) -> None:
        """
        What is not the lifecycle's is for who says so, and else refused.
        """
        order = self.order(Kind.SKIP, server="server-104")
        self.assertEqual(
            self.refused(self.door.give(order, SOCKET)),
            "skip is no order for server-102; it is one for a client",
        )
        self.door.kinds[Kind.SKIP] = lambda order: Carried(f"{order.server} is skipped")
        obeyed = self.successResultOf(self.door.give(order, SOCKET))
        self.assertEqual(obeyed.result, "server-104 is skipped")
        self.assertEqual(self.world.events, [])

    def test_failed(self) -> None:
        """
        A return that comes to nothing is written down, and told to who asks; nobody need ask.
        """
        self.successResultOf(self.door.give(self.order(Kind.OFFLINE), SOCKET))
        self.world.associations.listening = fail(OSError("port 5060 is taken"))
        obeyed = self.successResultOf(self.door.give(self.order(Kind.RESUME), SOCKET))
        self.failureResultOf(obeyed.whenEnded(), OSError)
        self.assertEqual(self.audit()[-1]["reason"], "port 5060 is taken")
        self.assertEqual(self.audit()[-1]["what"], "ended")

    def test_node(self) -> None:
        self.assertEqual(
            self.refused(self.door.give(self.order(node="server-104"), SOCKET)),
            "the order is for server-104; this is server-102",
        )

    def test_signedLocally(self) -> None:
        """
        Where that is configured. Signals, and what the server does by itself, need none all the same.
        """
        door = self.make(signedLocally=True)
        for giver, how in ((SOCKET, " (--key FILE)"), (MANHOLE, "")):
            self.assertEqual(
                self.refused(door.give(self.order(), giver)),
                f"the order is not signed; orders from the {giver.source} are signed here{how}",
            )
        obeyed = self.successResultOf(door.take(self.signed(self.order()), SOCKET))
        self.assertEqual(obeyed.state, State.DRAINED)
        self.successResultOf(door.give(self.order(Kind.OFFLINE), SIGNAL))
        self.successResultOf(door.give(self.order(Kind.RESUME), SELF))

    def test_wrongButSigned(self) -> None:
        """
        A signature counts also where none is needed.
        """
        reason = self.refused(self.door.take(self.signed(self.order(), "stranger"), SOCKET))
        self.assertEqual(reason, "the order is signed with 'stranger', a key that is not known here")
        reason = self.refused(self.door.take(self.signed(self.order(Kind.OFFLINE), "operator"), SOCKET))
        self.assertEqual(reason, "offline takes the role admin; the key operator has the role operator")
        self.assertEqual(self.state(), "serving")


class SignedTests(DoorCase):
    def test_obeyed(self) -> None:
        order = self.order(guard=30)
        obeyed = self.successResultOf(self.door.take(self.signed(order), LINK))
        self.assertEqual(obeyed.order, order)
        record = self.audit()[0]
        self.assertEqual(
            record,
            {
                "at": "2025-11-22T08:26:40.000Z",
                "node": "server-102",
                "what": "order",
                "source": "link",
                "by": "controller-120",
                "id": order.nonce,
                "role": "operator",
                "key": "operator",
                "order": order.facts(),
            },
        )

    def test_refused(self) -> None:
        """
        One by one, with the reason to the sender and into the audit log; and nothing is done.
        """
        good = self.order()
        changed = self.signed(good)
        changed = replace(changed, text=changed.text.replace("alice", "mallory"))
        another = replace(self.signed(good, "viewer"), key="operator")
        cases = [
            (changed, "the signature is not that of the key operator over this order"),
            (another, "the signature is not that of the key operator over this order"),
            (
                replace(self.signed(good), signature=b""),
                "the signature is not that of the key operator over this order",
            ),
            (
                replace(self.signed(good), signature=bytes(64)),
                "the signature is not that of the key operator over this order",
            ),
            # Signed as something else than an order.
            (
                replace(
                    self.signed(good), signature=self.keys["operator"].sign(self.signed(good).text.encode())
                ),
                "the signature is not that of the key operator over this order",
            ),
            (
                self.signed(good, "stranger"),
                "the order is signed with 'stranger', a key that is not known here",
            ),
            (
                self.signed(self.order(node="server-104")),
                "the order is for server-104; this is server-102",
            ),
            (
                self.signed(self.order(node="")),
                "the order is for nobody in particular; this is server-102",
            ),
            (
                self.signed(self.order(expires=None)),
                "the order does not say when it expires; signed orders do",
            ),
            (
                self.signed(self.order(nonce="")),
                "the order has no nonce of 16 to 100 letters, digits, '-' and '_'",
            ),
            (
                self.signed(self.order(nonce="short")),
                "the order has no nonce of 16 to 100 letters, digits, '-' and '_'",
            ),
            (
                self.signed(self.order(nonce="with blanks in it, and long")),
                "the order has no nonce of 16 to 100 letters, digits, '-' and '_'",
            ),
            (
                self.signed(self.order(when=NOW + 31, expires=NOW + 90)),
                "the order comes from the future: by its own account it was given 31 s from now; at most "
                "30 s are taken for a difference of clocks",
            ),
            (
                self.signed(self.order(when=NOW - 61, expires=NOW - 1)),
                "the order expired 1 s ago; give it again",
            ),
            (self.signed(self.order(expires=NOW)), "the order expired 0 s ago; give it again"),
            (
                self.signed(self.order(when=NOW - 1, expires=NOW + 3600)),
                "the order is valid for 3601 s; at most 3600 s are taken here",
            ),
            (
                self.signed(good, "viewer"),
                "drain takes the role operator; the key viewer has the role viewer",
            ),
            (
                self.signed(self.order(Kind.OFFLINE), "operator"),
                "offline takes the role admin; the key operator has the role operator",
            ),
            (
                SignedOrder("{}", "operator", self.keys["operator"].sign(b"sipgrace order 1\n{}")),
                "the order has no kind",
            ),
            (SignedOrder("\ud800", "operator", bytes(64)), "the order is not Unicode text"),
        ]
        for number, (signed, expected) in enumerate(cases):
            self.assertEqual(self.refused(self.door.take(signed, LINK)), expected)
            records = self.audit()
            self.assertEqual(len(records), number + 1)
            self.assertEqual(records[-1]["what"], "refused")
            self.assertEqual(records[-1]["reason"], expected)
            # What it is, and which key it is from, where that is known.
            right = not expected.startswith(
                ("the signature is not", "the order is signed with", "the order is not Unicode")
            )
            self.assertEqual(records[-1].get("key"), signed.key if right else None)
            if right and signed.text != "{}":
                order = fromText(signed.text)
                self.assertEqual((records[-1]["id"], records[-1]["order"]), (order.nonce, order.facts()))
                self.assertEqual(records[-1]["role"], signed.key)
                self.assertNotIn("claimed", records[-1])
            else:
                self.assertEqual(records[-1]["claimed"]["key"], signed.key)
                self.assertNotIn("id", records[-1])
        self.assertEqual(self.world.events, [])
        # None of these has used up the nonce.
        self.successResultOf(self.door.take(self.signed(good), LINK))

    def test_skew(self) -> None:
        """
        Clocks differ a little.
        """
        self.successResultOf(
            self.door.take(self.signed(self.order(when=NOW + 30, expires=NOW + 90)), LINK)
        )

    def test_replayed(self) -> None:
        """
        Not twice, not under another key's name, not after a restart; and after it has expired not for that.
        """
        signed = self.signed(self.order(Kind.DRAIN))
        self.successResultOf(self.door.take(signed, LINK))
        expected = "an order with this nonce has been given before; each order needs its own"
        self.assertEqual(self.refused(self.door.take(signed, LINK)), expected)
        self.door = self.make()
        self.assertEqual(self.refused(self.door.take(signed, SOCKET)), expected)
        self.assertEqual(
            [record["what"] for record in self.audit()], ["order", "obeyed", "refused", "refused"]
        )
        # It is rightly signed: by its id it belongs to the others.
        self.assertEqual(len({record["id"] for record in self.audit()}), 1)
        self.now += 60
        self.assertEqual(
            self.refused(self.door.take(signed, LINK)), "the order expired 0 s ago; give it again"
        )

    def test_replayedAtOnce(self) -> None:
        """
        Also while the first is still being written down.
        """
        self.beside = later = Later()
        self.door = self.make()
        signed = self.signed(self.order())
        first = self.door.take(signed, LINK)
        second = self.door.take(signed, LINK)
        self.assertNoResult(first)
        self.refused(second)
        while later.waiting:
            later.go()
        self.successResultOf(first)

    def test_unsigned(self) -> None:
        self.assertEqual(
            self.refused(self.door.give(self.order(), LINK)),
            "the order is not signed; orders from a link are signed here",
        )
        self.assertEqual(self.audit()[0]["what"], "refused")
        self.assertEqual(self.state(), "serving")

    def test_roles(self) -> None:
        """
        Which role may order what.
        """
        self.assertEqual(MAY[Role.VIEWER], {Kind.REHEARSE})
        self.assertEqual(MAY[Role.OPERATOR], set(Kind) - {Kind.OFFLINE})
        self.assertEqual(MAY[Role.ADMIN], set(Kind))
        self.door.kinds[Kind.REHEARSE] = lambda order: Carried()
        self.successResultOf(self.door.take(self.signed(self.order(Kind.REHEARSE), "viewer"), LINK))
        self.successResultOf(self.door.take(self.signed(self.order(Kind.OFFLINE), "admin"), LINK))

    def test_none(self) -> None:
        """
        Where nothing is verified, the way's own word counts; what is written down says that no key vouched.
        """
        door = self.make(verify=Verify.NONE)
        self.successResultOf(door.give(self.order(Kind.RESUME), LINK))
        self.successResultOf(door.take(self.signed(self.order(Kind.RESUME), "stranger"), LINK))
        self.assertEqual([record.get("key") for record in self.audit()], [None] * 6)
        self.assertFalse((self.folder / "nonces").exists())
        self.assertEqual(
            self.refused(door.give(self.order(Kind.OFFLINE), LINK)),
            "offline takes the role admin; you have the role operator",
        )

    def test_noneButSigned(self) -> None:
        """
        There, too, a signature that can be verified is; it gives no more than the way does.
        """
        door = self.make(verify=Verify.NONE)
        right = self.signed(self.order(Kind.RESUME))
        self.assertEqual(
            self.refused(door.take(replace(right, signature=bytes(64)), LINK)),
            "the signature is not that of the key operator over this order",
        )
        self.assertIn("claimed", self.audit()[-1])
        self.successResultOf(door.take(right, LINK))
        self.assertEqual(self.audit()[-2]["key"], "operator")
        self.assertIn(self.audit()[-2]["id"], (self.folder / "nonces").read_text())
        self.assertEqual(
            self.refused(door.take(self.signed(self.order(Kind.OFFLINE), "admin"), LINK)),
            "offline takes the role admin; you have the role operator",
        )

    def test_controller(self) -> None:
        """
        The controller is asked, with the very order and who sent it.
        """
        door = self.make(verify=Verify.CONTROLLER)
        self.assertEqual(
            self.refused(door.take(self.signed(self.order()), LINK)),
            "the controller is to say whether the order is right, and none can be asked",
        )
        asked: list[tuple[SignedOrder, Giver]] = []
        answers: list[Deferred[bool]] = [succeed(False), fail(OSError("link lost")), Deferred()]

        def confirm(signed: SignedOrder, giver: Giver) -> Deferred[bool]:
            asked.append((signed, giver))
            return answers[len(asked) - 1]

        door.authority.confirm = confirm
        signed = self.signed(self.order(), "stranger")
        self.assertEqual(
            self.refused(door.take(signed, LINK)), "the controller says that the order is not right"
        )
        self.assertEqual(
            self.refused(door.take(signed, LINK)),
            "the controller could not say whether the order is right: link lost",
        )
        given = door.take(signed, LINK)
        self.assertNoResult(given)
        self.assertEqual(self.state(), "serving")
        answers[2].callback(True)
        self.successResultOf(given)
        self.assertEqual(asked, [(signed, LINK)] * 3)
        self.assertEqual(
            self.refused(door.give(self.order(), LINK)),
            "the order is not signed; orders from a link are signed here",
        )


class AuditTests(DoorCase):
    def test_before(self) -> None:
        """
        It is on the disk before it acts.
        """
        self.beside = later = Later()
        self.door = self.make()
        given = self.door.give(self.order(), SOCKET)
        self.assertNoResult(given)
        self.assertEqual((self.state(), self.audit()), ("serving", []))
        seen: list[list[str]] = []
        self.world.observing[Change.DRAINING] = lambda: seen.append([one["what"] for one in self.audit()])
        later.go()
        self.successResultOf(given)
        self.assertEqual(seen, [["order"]])

    def test_nonceBefore(self) -> None:
        """
        So is the nonce of a signed one.
        """
        self.beside = later = Later()
        self.door = self.make()
        order = self.order()
        given = self.door.take(self.signed(order), LINK)
        later.go()
        self.assertEqual((self.folder / "nonces").read_text(), f"1763800060000 {order.nonce}\n")
        self.assertEqual(self.audit(), [])
        later.go()
        self.successResultOf(given)

    def test_full(self) -> None:
        """
        Nothing is obeyed that cannot be written down.
        """

        def beside(work: Callable[[], object]) -> Deferred[Any]:
            return fail(OSError(errno.ENOSPC, "No space left on device"))

        self.beside = beside
        self.door = self.make()
        expected = (
            "the order cannot be written into the audit log (No space left on device), and is not obeyed; "
            "once that is put right, give it again"
        )
        self.assertEqual(self.refused(self.door.give(self.order(), SOCKET)), expected)
        self.assertEqual(self.refused(self.door.take(self.signed(self.order()), LINK)), expected)
        self.assertEqual(self.refused(self.door.give(self.order(), SELF)), expected)
        self.assertEqual(self.world.events, [])

    def test_fullAndLeaving(self) -> None:
        """
        But a full disk keeps no process from leaving, nor from coming up.
        """

        def beside(work: Callable[[], object]) -> Deferred[Any]:
            return fail(OSError(errno.ENOSPC, "No space left on device"))

        self.beside = beside
        self.door = self.make()
        self.successResultOf(self.door.give(self.order(Kind.OFFLINE), SIGNAL))
        self.assertEqual(self.state(), "offline")
        self.successResultOf(
            self.door.give(self.order(Kind.RESUME), Giver(Source.PROCESS, "start"))
        )
        self.assertEqual(self.state(), "serving")

    def test_stuck(self) -> None:
        """
        A disk that does not answer: an order is refused after a while, a signal is obeyed soon.
        """
        self.beside = later = Later()
        self.door = self.make()
        given = self.door.give(self.order(), SOCKET)
        self.world.clock.advance(9.9)
        self.assertNoResult(given)
        self.world.clock.advance(0.1)
        self.assertEqual(
            self.refused(given),
            "the order cannot be written into the audit log (TimeoutError('no answer from the disk within "
            "10 s')), and is not obeyed; once that is put right, give it again",
        )
        self.assertEqual(self.state(), "serving")
        given = self.door.give(self.order(), SIGNAL)
        self.world.clock.advance(0.9)
        self.assertNoResult(given)
        self.world.clock.advance(0.1)
        self.successResultOf(given)
        # It does answer at last: then all is there, the refusal too.
        while later.waiting:
            later.go()
        self.assertEqual(
            [(one["source"], one["what"]) for one in self.audit()],
            [("socket", "order"), ("socket", "refused"), ("signal", "order"), ("signal", "obeyed")],
        )

    def test_now(self) -> None:
        """
        For the end of a process: written down and obeyed before the call returns, or obeyed whatever becomes
        of the record.
        """
        self.beside = Later()
        self.door = self.make()
        seen: list[list[str]] = []
        self.world.observing[Change.OFFLINE] = lambda: seen.append([one["what"] for one in self.audit()])
        self.assertEqual(self.door.giveNow(self.order(Kind.OFFLINE), SIGNAL).state, State.OFFLINE)
        error = self.assertRaises(OrderRefused, self.door.giveNow, self.order(Kind.DRAIN), SIGNAL)
        self.assertEqual(seen, [["order"]])
        self.assertEqual(
            [record["what"] for record in self.audit()], ["order", "obeyed", "order", "refused"]
        )
        self.assertEqual(self.audit()[3]["reason"], str(error))
        self.path.unlink()
        self.path.mkdir()
        self.door.giveNow(self.order(Kind.OFFLINE), SIGNAL)

    def test_nowAndStuck(self) -> None:
        """
        A disk that does not answer is waited for once, and then no more.
        """
        go = threading.Event()
        self.addCleanup(go.set)
        self.patch(os, "fsync", lambda descriptor: go.wait(20))
        self.patch(AuditLog, "HURRY", 0.3)
        began = time.monotonic()
        self.assertEqual(self.door.giveNow(self.order(Kind.OFFLINE), SIGNAL).state, State.OFFLINE)
        self.assertTrue(0.3 <= time.monotonic() - began < 0.6)

    def test_noLog(self) -> None:
        """
        Without an audit log there is nothing to wait for.
        """
        door = Door("server-102", self.world.clock, self.world.lifecycle, wallClock=lambda: NOW)
        self.assertEqual(self.successResultOf(door.give(self.order(), SOCKET)).state, State.DRAINED)


class ApprovalTests(DoorCase):
    def setUp(self) -> None:
        super().setUp()
        self.answers: dict[str, Deferred[bool]] = {}
        self.cancelled: list[str] = []
        self.asked: list[Order] = []
        self.clients("110", "112", "114")
        self.door.approval = Approval(self.world.clock, 2, 5.0, self.ask)

    def clients(self, *names: str) -> None:
        self.answers = {
            name: Deferred(lambda _, name=name: self.cancelled.append(name)) for name in names
        }

    def ask(self, order: Order) -> dict[str, Deferred[bool]]:
        self.asked.append(order)
        return self.answers

    def test_enough(self) -> None:
        """
        It is not waited for the others.
        """
        order = self.order()
        given = self.door.give(order, SOCKET)
        self.assertEqual(self.asked, [order])
        self.answers["112"].callback(True)
        self.assertNoResult(given)
        self.assertEqual(self.state(), "serving")
        self.answers["110"].callback(True)
        self.successResultOf(given)
        self.assertEqual(self.cancelled, ["114"])
        within = [call for call in self.world.clock.getDelayedCalls() if call.getTime() == 1005]
        self.assertEqual(within, [])

    def test_no(self) -> None:
        given = self.door.give(self.order(), SOCKET)
        self.answers["110"].callback(True)
        self.answers["112"].callback(False)
        self.assertNoResult(given)
        self.answers["114"].errback(OSError("its association has gone"))
        expected = (
            "2 clients must approve of it; of 3 that were asked 1 did (110 yes, 112 no, 114 failed)"
        )
        self.assertEqual(self.refused(given), expected)
        self.assertEqual(self.audit()[-1]["reason"], expected)
        self.assertEqual(self.state(), "serving")

    def test_silent(self) -> None:
        """
        A silent one is a no.
        """
        given = self.door.take(self.signed(self.order()), LINK)
        self.answers["110"].callback(True)
        self.world.clock.advance(4.9)
        self.assertNoResult(given)
        self.world.clock.advance(0.1)
        self.assertEqual(
            self.refused(given),
            "2 clients must approve of it; of 3 that were asked 1 did (110 yes, 112 silent, 114 silent)",
        )
        self.assertEqual(self.cancelled, ["112", "114"])

    def test_notLater(self) -> None:
        """
        What was refused for their silence is not obeyed when it is given again, after a restart either.
        """
        signed = self.signed(self.order())
        given = self.door.take(signed, LINK)
        self.assertIn("nonce-0000000000000001", (self.folder / "nonces").read_text())
        self.world.clock.advance(5)
        self.refused(given)
        self.door = self.make()
        self.assertEqual(
            self.refused(self.door.take(signed, LINK)),
            "an order with this nonce has been given before; each order needs its own",
        )
        self.assertEqual(self.world.events, [])

    def test_tooFew(self) -> None:
        """
        Where there are not enough to ask, it is known at once.
        """
        self.clients("110")
        self.assertEqual(
            self.refused(self.door.give(self.order(), SOCKET)),
            "2 clients must approve of it; of 1 that were asked 0 did (110 not waited for)",
        )
        self.clients()
        self.assertEqual(
            self.refused(self.door.give(self.order(), SOCKET)),
            "2 clients must approve of it; of 0 that were asked 0 did",
        )

    def test_notAsked(self) -> None:
        """
        About a signal, what the server does by itself, and orders other than to drain.
        """
        Call(self.world, "call")
        for giver in (SIGNAL, SELF):
            self.successResultOf(self.door.give(self.order(), giver))
            self.successResultOf(self.door.give(self.order(Kind.CANCEL), SOCKET))
        self.successResultOf(self.door.give(self.order(), SIGNAL))
        # One that joins a drain under way.
        self.successResultOf(self.door.give(self.order(), SOCKET))
        self.successResultOf(self.door.give(self.order(Kind.OFFLINE), SOCKET))
        self.assertEqual(self.asked, [])
