"""
The calls that go on through a server: what is learnt of them, when they end, and how they are ended by force.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.errors import TransportError
from sipgrace.interfaces import IAssociation
from sipgrace.message.message import Request
from sipgrace.message.parser import parse
from sipgrace.proxy.acked import AckedContext, Acks
from sipgrace.proxy.calls import FORKS, Call
from sipgrace.proxy.dialogs import Dialogs
from sipgrace.proxy.farewell import AT_ONCE, Farewells
from sipgrace.proxy.kept import KeptContext
from sipgrace.proxy.target import Hop, Target
from sipgrace.testing import makeRequest, makeResponse
from tests.proxyrig import HOSTS, Line, ProxyRig, ScriptedRole

#: What we write into Record-Route on either side.
OWN = b"<sip:192.0.2.100:5060;transport=sctp;lr>"

ALICE = b"<sip:alice@192.0.2.1;transport=sctp>"
BOB = b"<sip:bob@192.0.2.11;transport=sctp>"
REASON = b'SIP;cause=503;text="guard timer"'


class WayfindingRole(ScriptedRole):
    """
    Goes to the line of that address; one without is reached first.

    @ivar unreached: addresses that fail at once.
    """

    unreached: tuple[str, ...] = ()

    def towards(self, hop: Hop, zone: str) -> Target:
        found = {f"192.0.2.{number}": self.rig.lines[name] for name, number in HOSTS.items()}
        return Target(found.get(hop.host), hop)

    def reach(self, target: Target) -> IAssociation | Deferred[IAssociation]:
        assert target.hop is not None
        if target.hop.host in self.unreached:
            return fail(TransportError("nobody is there"))
        return succeed(self.rig.lines["d"])


class CallRig(ProxyRig):
    """
    A server whose guard covers whole calls. The caller is on the line C{caller}, callees on C{a} to C{d}.
    """

    def __init__(self, longest: float = 3600.0, most: int = 100, **lines: Any) -> None:
        super().__init__(recordRoute=True, **lines)
        self.role = self.core.role = WayfindingRole(self)
        self.farewells = Farewells(self.core, "network")
        self.dialogs = self.core.dialogs = Dialogs(
            self.clock, self.timers, self.identity, self.ledger, self.farewells, longest, most
        )
        self.core.contexts = KeptContext

    def call(
        self,
        *headers: tuple[bytes, bytes],
        recorded: tuple[bytes, ...] = (),
        callId: bytes = b"call-1",
        **more: Any,
    ) -> None:
        """
        The caller calls, and the callee answers.

        @param headers: of the answer.
        @param recorded: Record-Routes of elements before us, and C{beyond} those after us.
        """
        self.invite(*recorded, callId=callId)
        self.pickUp(*headers, **more)
        self.take()

    def invite(self, *recorded: bytes, **changes: Any) -> None:
        headers = tuple((b"Record-Route", one) for one in recorded)
        self.receive(self.make(b"INVITE", headers=headers, **changes))

    def pickUp(
        self,
        *headers: tuple[bytes, bytes],
        tag: bytes = b"b1",
        beyond: tuple[bytes, ...] = (),
        contact: bytes = BOB,
        status: int = 200,
        ours: bool = True,
    ) -> None:
        invite = self.lines["a"].last(b"INVITE")
        recorded = (*beyond, *(invite.elements(b"Record-Route") if ours else ()))
        told = [(b"Record-Route", one) for one in recorded]
        if contact:
            told.append((b"Contact", contact))
        self.receive(makeResponse(invite, status, toTag=tag, headers=[*told, *headers]), "a")

    def ask(
        self,
        method: bytes,
        cseq: int,
        contact: bytes = b"",
        fromCallee: bool = False,
        tag: bytes = b"b1",
        callId: bytes = b"call-1",
    ) -> None:
        """
        One side asks something within the call. It goes to the other.
        """
        self.role.plan = ["caller" if fromCallee else "a"]
        data = parse(self.make(method, toTag=tag, cseq=cseq, callId=callId))
        data.remove(b"Contact")
        if fromCallee:
            ours, theirs = data.toValue, data.fromValue
            data.set(b"From", ours)
            data.set(b"To", theirs)
        if contact:
            data.add(b"Contact", contact)
        self.receive(data.toBytes(), "a" if fromCallee else "caller")

    def reply(self, name: str, status: int, *headers: tuple[bytes, bytes], method: bytes = b"") -> None:
        """
        Somebody answers the last thing it was asked.
        """
        request = self.lines[name].last(*((method,) if method else (b"INVITE", b"UPDATE", b"BYE", b"PRACK")))
        self.receive(makeResponse(request, status, headers=headers), name)

    def hangUp(self, fromCallee: bool = False, status: int = 200, callId: bytes = b"call-1") -> None:
        self.ask(b"BYE", 50, fromCallee=fromCallee, callId=callId)
        self.reply("caller" if fromCallee else "a", status, method=b"BYE")

    @property
    def held(self) -> tuple[int, int, int]:
        """
        What the ledger waits for, how many calls of it, and how many dialogs there are.
        """
        return len(self.ledger), len(self.ledger.calls), self.dialogs.count

    def byes(self) -> tuple[Request, Request]:
        """
        The guard is near.

        @return: what the caller gets, and the callee.
        """
        self.ledger.recallAll("guard timer")
        self.clock.advance(0)
        return self.lines["caller"].last(b"BYE"), self.lines["a"].last(b"BYE")


class LifeTests(SynchronousTestCase):
    """
    From the INVITE to the end.
    """

    maxDiff = None

    def setUp(self) -> None:
        self.rig = CallRig()

    def gone(self, rig: CallRig, settled: int = 1, forced: int = 0) -> None:
        """
        Nothing is left of the only call.
        """
        self.assertEqual((rig.held, len(rig.dialogs), rig.dialogs._slots), ((0, 0, 0), 0, {}))
        setups = rig.ledger.settled - (rig.ledger.accepted - 1)
        self.assertEqual((setups, rig.ledger.forced), (settled, forced))

    def test_call(self) -> None:
        """
        An INVITE is settled when its call has ended.
        """
        rig = self.rig
        rig.step("INVITE")
        self.assertEqual((rig.held, len(rig.dialogs)), ((1, 0, 0), 1))
        rig.pickUp(status=180)
        self.assertEqual(rig.held, (1, 0, 0))
        rig.pickUp()
        self.assertEqual((rig.held, rig.ledger.settled), ((1, 1, 1), 0))
        rig.run(600)
        self.assertEqual((rig.held, rig.ledger.settled), ((1, 1, 1), 0))
        rig.hangUp()
        self.gone(rig)

    def test_eitherSide(self) -> None:
        self.rig.call()
        self.rig.hangUp(fromCallee=True)
        self.gone(self.rig)

    def test_refused(self) -> None:
        for step in ("a 486", "a 200 of nobody's"):
            rig = CallRig()
            rig.step("INVITE")
            if step == "a 486":
                rig.step(step)
            else:
                rig.pickUp(ours=False)
            self.gone(rig)

    def test_cancelled(self) -> None:
        self.rig.play("INVITE |\na 180 |\nCANCEL |\na 200 CANCEL |\na 487 |")
        self.gone(self.rig)

    def test_again(self) -> None:
        """
        A 2xx that comes again begins no new call, not even when the call has ended.
        """
        rig = CallRig(caller=b"UDP", callee=b"UDP")
        rig.call()
        rig.pickUp()
        self.assertEqual(rig.held, (1, 0, 1))
        rig.hangUp()
        rig.pickUp()
        self.assertEqual(rig.dialogs.count, 0)
        rig.run(5)
        self.gone(rig)

    def test_udp(self) -> None:
        """
        It is a set-up as long as its 2xx may have to be sent again, and a call then.
        """
        rig = CallRig(caller=b"UDP", callee=b"UDP")
        rig.call()
        self.assertEqual(rig.held, (1, 0, 1))
        rig.run(4.75)
        self.assertEqual(rig.held, (1, 1, 1))
        rig.hangUp()
        self.assertEqual(rig.held[1:], (0, 0))
        rig.run(5)
        self.gone(rig)

    def test_byeRefused(self) -> None:
        """
        Whatever a BYE is answered, whoever has sent it takes the call for ended; unless he is asked for a
        password.
        """
        for status in (481, 408, 500, 603):
            rig = CallRig()
            rig.call()
            rig.hangUp(status=status)
            self.gone(rig)
        for status in (401, 407):
            rig = CallRig()
            rig.call()
            rig.hangUp(status=status)
            self.assertEqual(rig.held, (1, 1, 1))
            rig.hangUp()
            self.gone(rig)

    def test_byeUnanswered(self) -> None:
        """
        The answer never comes; or whoever hangs up has gone before.
        """
        self.rig.call()
        self.rig.ask(b"BYE", 2)
        self.rig.run(33)
        self.gone(self.rig)
        rig = CallRig()
        rig.call()
        rig.ask(b"BYE", 2)
        rig.lose("caller")
        rig.reply("a", 200)
        self.gone(rig)

    def test_unknown(self) -> None:
        """
        One side says that it knows nothing of the call: that ends it. Nothing else that is asked does.
        """
        for method, status, ends in (
            (b"INVITE", 481, True),
            (b"UPDATE", 481, True),
            (b"PRACK", 481, False),
            (b"INVITE", 488, False),
            (b"INVITE", 408, False),
            (b"UPDATE", 200, False),
        ):
            rig = CallRig()
            rig.call()
            rig.ask(method, 2)
            rig.reply("a", status, method=method)
            self.assertEqual(rig.dialogs.count, 0 if ends else 1, (method, status))

    def test_strangers(self) -> None:
        """
        What belongs to no call here passes, and is forgotten.
        """
        rig = self.rig
        rig.call()
        rig.receive(rig.make(b"INFO", toTag=b"b1", callId=b"other"))
        rig.receive(rig.make(b"MESSAGE"))
        self.assertEqual(rig.take(), ["a INFO", "a MESSAGE"])
        self.assertEqual((len(rig.dialogs), rig.dialogs.count), (1, 1))

    def test_nobodyToTell(self) -> None:
        """
        A callee who answers when the caller has gone is in no call: it is ended at once, as ever.
        """
        rig = self.rig
        rig.step("INVITE")
        rig.step("a 180")
        rig.lose("caller")
        rig.take()
        rig.pickUp()
        self.assertEqual(rig.take(), ["a ACK", "a BYE", "settled"])
        self.gone(rig)

    def test_forked(self) -> None:
        """
        Two callees have answered one INVITE. It is settled when both calls have ended.
        """
        rig = self.rig
        rig.call()
        rig.pickUp(tag=b"b2")
        rig.pickUp(tag=b"b1")
        self.assertEqual(rig.held, (1, 1, 2))
        rig.ask(b"BYE", 2, tag=b"b2")
        rig.reply("a", 200)
        self.assertEqual((rig.held, rig.ledger.settled), ((1, 1, 1), 1))
        rig.hangUp()
        self.gone(rig)

    def test_manyForks(self) -> None:
        for number in range(2 * FORKS):
            if not number:
                self.rig.invite()
            self.rig.pickUp(tag=b"%d" % number)
        self.assertEqual(self.rig.dialogs.count, FORKS)

    def test_forkedBefore(self) -> None:
        """
        Two INVITEs of one call, forked before us: both are settled when the last dialog has ended.
        """
        rig = self.rig
        rig.invite()
        rig.pickUp()
        rig.receive(makeRequest(b"INVITE", uri=b"sip:robert@example.com", branch=b"z9hG4bKother"))
        rig.pickUp(tag=b"b2")
        self.assertEqual((rig.held, len(rig.dialogs), rig.ledger.settled), ((1, 1, 2), 1, 0))
        rig.hangUp()
        self.assertEqual((rig.held, rig.ledger.settled), ((1, 1, 1), 1))
        rig.ask(b"BYE", 3, tag=b"b2")
        rig.reply("a", 200)
        self.assertEqual((rig.held, rig.ledger.settled, rig.ledger.accepted), ((0, 0, 0), 4, 4))
        self.assertEqual(len(rig.dialogs), 0)

    def test_spiral(self) -> None:
        """
        A call that goes through us twice is one call, which either side of each pass may end.
        """
        rig = self.rig
        rig.invite()
        back = rig.lines["a"].last(b"INVITE").copy()
        back.uri = b"sip:carol@example.com"
        back.insert(b"Record-Route", b"<sip:192.0.2.11;transport=sctp;lr>")
        back.pushVia(b"SIP/2.0/SCTP 192.0.2.11:5060;branch=z9hG4bKspiral")
        rig.role.plan = ["b"]
        rig.receive(back.toBytes(), "a")
        invite = rig.lines["b"].last(b"INVITE")
        self.assertEqual(
            invite.elements(b"Record-Route"), [OWN, b"<sip:192.0.2.11;transport=sctp;lr>", OWN]
        )
        self.assertEqual((rig.held, len(rig.dialogs)), ((2, 0, 0), 1))
        headers = [*((b"Record-Route", one) for one in invite.elements(b"Record-Route")), (b"Contact", BOB)]
        rig.receive(makeResponse(invite, 200, headers=headers), "b")
        answer = rig.lines["a"].sent[-1].copy()
        answer.popVia()
        rig.receive(answer.toBytes(), "a")
        self.assertEqual((rig.held, rig.ledger.settled), ((1, 1, 1), 0))
        toCaller, toCallee = rig.byes()
        self.assertEqual((toCaller.elements(b"Route"), toCallee.elements(b"Route")), ([], []))
        rig.reply("caller", 200, method=b"BYE")
        rig.reply("a", 200, method=b"BYE")
        self.assertEqual((rig.held, rig.ledger.settled, rig.ledger.forced), ((0, 0, 0), 2, 1))

    def test_memory(self) -> None:
        """
        Nothing stays behind, and there is no beat where there is no call.
        """
        rig = CallRig(caller=b"UDP", callee=b"UDP")
        rig.call(callId=b"forgotten")
        rig.hangUp(callId=b"forgotten")
        rig.run(70)
        self.gone(rig)
        counts = {name: count for name, count in rig.layer.counts().items() if count}
        self.assertEqual((counts, rig.clock.getDelayedCalls()), ({}, []))
        gc.collect()
        calls = [one for one in gc.get_objects() if isinstance(one, Call) and one.callId == b"forgotten"]
        self.assertEqual(calls, [])


class TimeTests(SynchronousTestCase):
    """
    Calls of whose end nothing is heard.
    """

    def test_session(self) -> None:
        """
        RFC 4028: a session that is not refreshed is over; each refresh says for how long the next one is.
        """
        rig = CallRig()
        rig.call((b"Session-Expires", b"300;refresher=uac"))
        rig.run(299)
        self.assertEqual(rig.held, (1, 1, 1))
        rig.ask(b"UPDATE", 2)
        rig.reply("a", 200, (b"Session-Expires", b"100 ;refresher=uac"))
        rig.run(99)
        self.assertEqual(rig.held, (1, 1, 1))
        rig.run(6)
        self.assertEqual((rig.held, len(rig.dialogs), rig.dialogs.expired), ((0, 0, 0), 0, 1))
        self.assertEqual((rig.ledger.forced, rig.farewells.sent), (0, 0))

    def test_noSessionAnyMore(self) -> None:
        """
        A refresh may end the timer.
        """
        rig = CallRig()
        rig.call((b"x", b"300"))
        rig.ask(b"INVITE", 2, ALICE)
        rig.reply("a", 200)
        rig.run(400)
        self.assertEqual(rig.held[1:], (1, 1))

    def test_refused(self) -> None:
        """
        A refusal refreshes nothing.
        """
        rig = CallRig()
        rig.call((b"Session-Expires", b"300"))
        rig.ask(b"UPDATE", 2)
        rig.reply("a", 491, (b"Session-Expires", b"3000"))
        rig.run(306)
        self.assertEqual(rig.held, (0, 0, 0))

    def test_longest(self) -> None:
        for headers in ((), ((b"Session-Expires", b"7200"),), ((b"Session-Expires", b"soon"),)):
            rig = CallRig(longest=600)
            rig.call(*headers)
            rig.run(599)
            self.assertEqual(rig.held, (1, 1, 1))
            rig.run(6)
            self.assertEqual((rig.held, rig.dialogs.expired), ((0, 0, 0), 1))

    def test_full(self) -> None:
        rig = CallRig(most=2)
        rig.call()
        self.assertFalse(rig.dialogs.full)
        rig.receive(rig.make(b"INVITE", callId=b"second"))
        self.assertTrue(rig.dialogs.full)
        rig.hangUp()
        self.assertFalse(rig.dialogs.full)

    def test_overfull(self) -> None:
        """
        Of what is let in nevertheless a tenth is known, and the rest is set up as if there were no such
        table.
        """
        rig = CallRig(most=10)
        for number in range(13):
            rig.receive(rig.make(b"INVITE", callId=b"%d" % number))
            rig.pickUp()
        self.assertEqual((len(rig.dialogs), rig.held, rig.ledger.settled), (11, (11, 11, 11), 2))


class ForcedTests(SynchronousTestCase):
    """
    BYE to both sides.
    """

    maxDiff = None

    def told(self, bye: Request) -> tuple[object, ...]:
        return (
            bye.uri,
            bye.elements(b"Route"),
            bye.fromTag,
            bye.toTag,
            bye.cseq,
            len(bye.getAll(b"Via")),
            bye.get(b"Reason"),
        )

    def test_messages(self) -> None:
        """
        Each as the other side would send it (RFC 3261 §12.2.1.1).
        """
        rig = CallRig()
        rig.call(
            recorded=(b"<sip:192.0.2.1;transport=sctp;lr>, <sip:before;lr>",),
            beyond=(b"<sip:last;lr>", b"<sip:192.0.2.11:5060;transport=sctp;lr>"),
        )
        toCaller, toCallee = rig.byes()
        self.assertEqual(
            self.told(toCaller),
            (
                b"sip:alice@192.0.2.1",
                [b"<sip:192.0.2.1;transport=sctp;lr>", b"<sip:before;lr>"],
                b"b1",
                b"a1",
                1,
                1,
                REASON,
            ),
        )
        self.assertEqual(
            self.told(toCallee),
            (
                b"sip:bob@192.0.2.11;transport=sctp",
                [b"<sip:192.0.2.11:5060;transport=sctp;lr>", b"<sip:last;lr>"],
                b"a1",
                b"b1",
                2,
                1,
                REASON,
            ),
        )
        self.assertEqual((toCaller.callId, toCallee.callId), (b"call-1", b"call-1"))
        self.assertNotEqual(toCaller.branch, toCallee.branch)

    def test_direct(self) -> None:
        """
        Nobody else Record-Routes: to where the two are.
        """
        rig = CallRig()
        rig.call()
        toCaller, toCallee = rig.byes()
        self.assertEqual(self.told(toCaller)[:2], (b"sip:alice@192.0.2.1", []))
        self.assertEqual(self.told(toCallee)[:2], (b"sip:bob@192.0.2.11;transport=sctp", []))

    def test_strictRouter(self) -> None:
        rig = CallRig()
        rig.call(recorded=(b"<sip:192.0.2.1>", b"<sip:before;lr>"))
        toCaller, _ = rig.byes()
        self.assertEqual(
            self.told(toCaller)[:2], (b"sip:192.0.2.1", [b"<sip:before;lr>", b"<sip:alice@192.0.2.1>"])
        )

    def test_cseq(self) -> None:
        """
        The next number after the highest that each side has used, before the call was confirmed too.
        """
        rig = CallRig()
        rig.invite(cseq=7)
        rig.pickUp(status=183)
        rig.ask(b"PRACK", 8)
        rig.reply("a", 200)
        rig.ask(b"UPDATE", 3, fromCallee=True)
        rig.reply("caller", 200)
        self.assertEqual(rig.held[1:], (0, 0))
        rig.receive(makeResponse(rig.lines["a"].last(b"INVITE"), 200, headers=self.answer(rig)), "a")
        rig.ask(b"INFO", 9)
        rig.ask(b"INFO", 11, fromCallee=True)
        toCaller, toCallee = rig.byes()
        self.assertEqual((toCaller.cseq, toCallee.cseq), (12, 10))

    def answer(self, rig: CallRig) -> list[tuple[bytes, bytes]]:
        recorded = rig.lines["a"].last(b"INVITE").elements(b"Record-Route")
        return [*((b"Record-Route", one) for one in recorded), (b"Contact", BOB)]

    def test_moved(self) -> None:
        """
        A re-INVITE or UPDATE that is accepted may move either side; one that is refused moves nobody. Nobody
        who gives no Contact moves.
        """
        alice, bob = b"sip:alice@192.0.2.1", b"sip:bob@192.0.2.11;transport=sctp"
        there, elsewhere = b"sip:x@192.0.2.1;transport=sctp", b"sip:y@192.0.2.11;transport=sctp"
        for method, fromCallee, asked, status, answered, targets in (
            (b"INVITE", False, there, 200, elsewhere, (there, elsewhere)),
            (b"INVITE", True, elsewhere, 200, there, (there, elsewhere)),
            (b"UPDATE", False, there, 200, b"", (there, bob)),
            (b"UPDATE", True, elsewhere, 200, b"", (alice, elsewhere)),
            (b"INVITE", False, there, 488, b"", (alice, bob)),
            (b"INFO", False, there, 200, b"", (alice, bob)),
        ):
            rig = CallRig()
            rig.call()
            rig.ask(method, 2, b"<" + asked + b">", fromCallee)
            headers = ((b"Contact", b"<" + answered + b">"),) if answered else ()
            rig.reply("caller" if fromCallee else "a", status, *headers, method=method)
            toCaller, toCallee = rig.byes()
            self.assertEqual((toCaller.uri, toCallee.uri), targets, (method, status))

    def test_movedEarly(self) -> None:
        """
        The caller moves before the callee has answered.
        """
        rig = CallRig()
        rig.invite()
        rig.pickUp(status=183)
        rig.ask(b"UPDATE", 2, b"<sip:x@192.0.2.1>")
        rig.reply("a", 200, (b"Contact", b"<sip:early@192.0.2.11>"), method=b"UPDATE")
        rig.receive(makeResponse(rig.lines["a"].last(b"INVITE"), 200, headers=self.answer(rig)), "a")
        toCaller, toCallee = rig.byes()
        self.assertEqual(toCaller.uri, b"sip:x@192.0.2.1")
        self.assertEqual(toCallee.uri, b"sip:bob@192.0.2.11;transport=sctp")

    def test_answers(self) -> None:
        """
        It is over when both have answered, whatever they say; and counts as forced.
        """
        for one, other in ((200, 200), (481, 481), (200, 401), (500, 200)):
            rig = CallRig()
            rig.call()
            rig.byes()
            self.assertEqual(rig.take(), ["caller BYE", "a BYE"])
            rig.reply("caller", 100, method=b"BYE")
            rig.reply("caller", one, method=b"BYE")
            self.assertEqual(rig.held, (1, 1, 1))
            rig.reply("a", other, method=b"BYE")
            self.assertEqual(rig.take(), ["settled forced"])
            self.assertEqual((rig.held, rig.ledger.settled, rig.ledger.forced), ((0, 0, 0), 1, 1))

    def test_again(self) -> None:
        """
        A second recall, as after extend, ends nothing twice.
        """
        rig = CallRig()
        rig.call()
        rig.byes()
        rig.byes()
        self.assertEqual((rig.take(), rig.farewells.sent), (["caller BYE", "a BYE"], 2))

    def test_silence(self) -> None:
        """
        Nobody answers: the settlement does not wait, nor for BYEs that are still to be sent.
        """
        rig = CallRig()
        rig.call()
        rig.byes()
        rig.take()
        self.assertEqual(rig.ledger.settleAll("guard timer"), 1)
        self.assertEqual((rig.held, len(rig.dialogs), rig.ledger.forced), ((0, 0, 0), 0, 1))
        self.assertEqual(rig.take(), ["settled"])
        rig.run(40)
        self.assertEqual(rig.ledger.settled, 1)
        for recall in (True, False):
            rig = CallRig()
            rig.call()
            if recall:
                rig.ledger.recallAll("guard timer")
            self.assertEqual(rig.ledger.settleAll("taken offline"), 1)
            rig.clock.advance(0)
            self.assertEqual(rig.take(), ["caller BYE", "a BYE", "settled"])
            self.assertEqual((rig.held, rig.ledger.settled, rig.ledger.forced), ((0, 0, 0), 1, 1))
            rig.reply("caller", 200, method=b"BYE")
            rig.reply("a", 200, method=b"BYE")
            self.assertEqual((rig.take(), rig.ledger.settled), ([], 1))

    def test_lost(self) -> None:
        """
        The associations have gone, or go.
        """
        rig = CallRig()
        rig.call()
        rig.lose("caller")
        rig.ledger.recallAll("guard timer")
        rig.clock.advance(0)
        self.assertEqual(rig.take(), ["a BYE"])
        rig.lose("a")
        self.assertEqual((rig.take(), rig.held), (["settled forced"], (0, 0, 0)))

    def test_lostAtSettlement(self) -> None:
        rig = CallRig()
        rig.call()
        rig.step("lose caller a")
        self.assertEqual(rig.ledger.settleAll("guard timer"), 1)
        self.assertEqual((rig.held, rig.ledger.settled, rig.ledger.forced), ((0, 0, 0), 1, 1))

    def test_reached(self) -> None:
        """
        An association may have to be made first; where that fails there is nothing to wait for.
        """
        rig = CallRig()
        rig.role.unreached = ("192.0.2.99",)
        rig.call(contact=b"<sip:bob@192.0.2.77;transport=tcp>")
        rig.receive(rig.make(b"INVITE", callId=b"second"))
        rig.pickUp(contact=b"<sip:bob@192.0.2.99>")
        rig.take()
        rig.ledger.recallAll("guard timer")
        rig.clock.advance(0)
        self.assertEqual(rig.take(), ["caller BYE", "d BYE", "caller BYE"])
        rig.reply("caller", 200, method=b"BYE")
        self.assertEqual((rig.take(), rig.held), (["settled forced"], (1, 1, 1)))

    def test_unreadable(self) -> None:
        """
        Contacts that lead nowhere.
        """
        for contact in (b"*", b"<tel:+33>", b"<sip:>", b"<sip:a@b>, <sip:c@d>"):
            rig = CallRig()
            rig.call(contact=contact)
            rig.ledger.recallAll("guard timer")
            rig.clock.advance(0)
            self.assertEqual(rig.take(), ["caller BYE"], contact)
            rig.reply("caller", 200)
            self.assertEqual(rig.held, (0, 0, 0))

    def test_withoutContact(self) -> None:
        rig = CallRig()
        rig.call(contact=b"")
        self.assertEqual(rig.lines["d"].sent, [])
        rig.ledger.recallAll("guard timer")
        rig.clock.advance(0)
        self.assertEqual(rig.lines["d"].last(b"BYE").uri, b"sip:bob@example.com")

    def test_crossing(self) -> None:
        """
        One of the two hangs up while our BYEs are on their way: his goes on, and what is answered last does
        not matter.
        """
        for first in (True, False):
            rig = CallRig()
            rig.call()
            rig.byes()
            rig.take()
            rig.ask(b"BYE", 2)
            self.assertEqual(rig.take(), ["a BYE"])
            theirs, ours = (rig.lines["a"].sent[-1], rig.lines["a"].sent[-2])
            for one in (theirs, ours) if first else (ours, theirs):
                assert isinstance(one, Request)
                rig.receive(makeResponse(one, 200 if one is theirs else 481), "a")
            # The BYE of the caller's own is a request by itself, which is settled beside its call.
            rig.reply("caller", 481, method=b"BYE")
            self.assertEqual(sorted(rig.take()), ["caller 200 BYE", "settled", "settled forced"])
            self.assertEqual((rig.held, rig.ledger.forced, len(rig.dialogs)), ((0, 0, 0), 1, 0))

    def test_hungUpBefore(self) -> None:
        """
        One that ends before its BYEs are sent gets none.
        """
        rig = CallRig()
        rig.call()
        rig.ledger.recallAll("guard timer")
        rig.hangUp()
        rig.clock.advance(0)
        self.assertEqual((rig.farewells.sent, rig.held), (0, (0, 0, 0)))

    def test_forked(self) -> None:
        """
        Each of its dialogs is ended.
        """
        rig = CallRig()
        rig.call()
        rig.pickUp(tag=b"b2")
        rig.take()
        rig.byes()
        self.assertEqual(rig.take(), ["caller BYE", "a BYE", "caller BYE", "a BYE"])
        tags = [one.toTag for one in rig.lines["a"].sent if isinstance(one, Request) and one.method == b"BYE"]
        self.assertEqual(tags, [b"b1", b"b2"])
        for name in ("caller", "a"):
            for one in [one for one in rig.lines[name].sent if isinstance(one, Request)]:
                if one.method == b"BYE":
                    rig.receive(makeResponse(one, 200), name)
        self.assertEqual((rig.take(), rig.ledger.forced), (["settled forced"], 1))

    def test_setUps(self) -> None:
        """
        What rings is taken back as ever. A callee who answers nevertheless is in a call, which the settlement
        ends.
        """
        rig = CallRig()
        rig.play("INVITE |\na 180 |\nrecall | a CANCEL")
        rig.take()
        rig.pickUp()
        self.assertEqual((rig.take(), rig.held), (["caller 200"], (1, 1, 1)))
        self.assertEqual(rig.ledger.settleAll("guard timer"), 1)
        self.assertEqual((rig.take(), rig.held), (["caller BYE", "a BYE", "settled"], (0, 0, 0)))

    def test_udp(self) -> None:
        """
        A call that has begun just now is ended, too. It is forced, though its INVITE had not been settled;
        and BYEs are sent again.
        """
        rig = CallRig(caller=b"UDP", callee=b"UDP")
        rig.call(contact=b"<sip:bob@192.0.2.11>")
        rig.byes()
        rig.run(0.75)
        self.assertEqual(rig.take(), ["caller BYE", "a BYE", "caller BYE", "a BYE"])
        rig.reply("caller", 200, method=b"BYE")
        rig.reply("a", 200, method=b"BYE")
        self.assertEqual((rig.held, rig.ledger.forced), ((1, 0, 0), 0))
        rig.run(5)
        self.assertEqual((rig.held, rig.ledger.forced, rig.take()), ((0, 0, 0), 1, ["settled forced"]))

    def test_many(self) -> None:
        """
        A great many are not ended in one turn of the reactor.
        """
        rig = CallRig(most=1000)
        for number in range(2 * AT_ONCE + 1):
            rig.receive(rig.make(b"INVITE", callId=b"%d" % number))
            rig.pickUp()
        turns: list[Callable[[], None]] = []
        self.patch(rig.timers, "soon", turns.append)
        rig.ledger.recallAll("guard timer")
        sent = [rig.farewells.sent]
        while turns:
            turns.pop()()
            sent.append(rig.farewells.sent // 2)
        self.assertEqual(sent, [0, AT_ONCE, 2 * AT_ONCE, 2 * AT_ONCE + 1])


class AckTests(SynchronousTestCase):
    """
    Where the guard covers set-ups: an INVITE is settled when its ACK has passed.
    """

    def rig(self, **lines: Any) -> ProxyRig:
        rig = ProxyRig(recordRoute=True, **lines)
        rig.core.acks = self.acks = Acks(rig.timers, 4.5)
        rig.core.contexts = AckedContext
        return rig

    def ack(self, rig: ProxyRig, **changes: Any) -> None:
        rig.receive(rig.make(b"ACK", toTag=b"a", **changes))

    def test_ack(self) -> None:
        rig = self.rig()
        rig.play("INVITE |\na 180 |\na 200 |")
        self.assertEqual((len(rig.ledger), len(self.acks)), (1, 1))
        rig.take()
        self.ack(rig, cseq=2)
        self.ack(rig, callId=b"other")
        self.assertEqual(rig.take(), ["a ACK", "a ACK"])
        self.ack(rig)
        self.assertEqual((rig.take(), len(self.acks)), (["settled", "a ACK"], 0))
        self.ack(rig)
        self.assertEqual(rig.take(), ["a ACK"])

    def test_patience(self) -> None:
        rig = self.rig()
        rig.play("INVITE |\na 200 |")
        rig.run(4.375)
        self.assertEqual(len(rig.ledger), 1)
        rig.run(0.25)
        self.assertEqual((len(rig.ledger), len(self.acks), rig.ledger.forced), (0, 0, 0))

    def test_udp(self) -> None:
        """
        The ACK settles nothing where the 2xx may have to be sent again nevertheless.
        """
        rig = self.rig(caller=b"UDP", callee=b"UDP")
        rig.play("INVITE |\na 200 |")
        self.ack(rig)
        self.assertEqual(len(rig.ledger), 1)
        rig.run(4.75)
        self.assertEqual(len(rig.ledger), 0)
        rig = self.rig(caller=b"UDP", callee=b"UDP")
        rig.play("INVITE |\na 200 |\n+4.75 |")
        self.assertEqual(len(rig.ledger), 0)

    def test_others(self) -> None:
        """
        What gets no such ACK waits for none; the settlement waits for nobody.
        """
        rig = self.rig()
        for table in ("INVITE |\na 486 |", "MESSAGE |\na 200 |", "INVITE |\na 180 |\nlose caller |\na 200 |"):
            rig.play(table)
            self.assertEqual((len(rig.ledger), len(self.acks)), (0, 0), table)
        rig = self.rig()
        rig.play("INVITE |\na 200 |")
        self.assertEqual((rig.ledger.settleAll("guard timer"), len(rig.ledger)), (0, 0))
        self.ack(rig)
        self.assertEqual((rig.ledger.settled, len(self.acks)), (1, 0))

    def test_forkedBefore(self) -> None:
        rig = self.rig()
        for number in range(2):
            rig.receive(makeRequest(b"INVITE", uri=b"sip:%d@h" % number, branch=b"z9hG4bK%d" % number))
            rig.answer("a", 200)
        self.assertEqual((len(rig.ledger), len(self.acks)), (2, 1))
        self.ack(rig)
        self.assertEqual((len(rig.ledger), rig.ledger.settled), (0, 2))


class AloneTests(SynchronousTestCase):
    """
    Without such a table.
    """

    def test_settled(self) -> None:
        """
        An INVITE is settled by its answer, and a guard leaves calls alone.
        """
        rig = ProxyRig(recordRoute=True)
        rig.play("INVITE |\na 200 |")
        self.assertEqual((len(rig.ledger), rig.ledger.settled), (0, 1))
        line: Line = rig.lines["a"]
        self.assertEqual(line.last(b"INVITE").elements(b"Record-Route"), [OWN])
        rig.take()
        rig.play("recall |\nforce |\n+40 |")
        self.assertEqual(rig.take(), [])
