"""
The response context, as its neighbours see it: RFC 3261 §16.6 to §16.10, event by event.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from sipgrace.message.message import Request
from sipgrace.proxy.target import Answer
from sipgrace.testing import makeRequest, makeResponse
from tests.proxyrig import ProxyRig


class ScenarioCase(SynchronousTestCase):
    """
    Tests that are tables.
    """

    maxDiff = None

    def play(self, table: str, rig: ProxyRig | None = None, **settings: Any) -> ProxyRig:
        rig = rig or ProxyRig(**settings)
        wanted, went = rig.play(table)
        self.assertEqual(went, wanted)
        self.assertEqual(self.flushLoggedErrors(), [])
        return rig


class AnswerTests(ScenarioCase):
    """
    One target, and what it answers.
    """

    def test_answered(self) -> None:
        rig = self.play(
            """
            INVITE  | caller 100, a INVITE
            a 100   | a answered
            a 180   | caller 180
            a 183   | caller 183
            a 200   | caller 200, settled
            """
        )
        self.assertEqual((rig.ledger.accepted, len(rig.ledger), rig.core.counters["accepted"]), (1, 0, 1))

    def test_refused(self) -> None:
        """
        Every final response but 503 is passed on as it is.
        """
        for status in (300, 302, 401, 404, 486, 487, 500, 600, 603):
            self.play(
                f"""
                INVITE   | caller 100, a INVITE
                a 180    | a answered, caller 180
                a {status} | a ACK, a failed {status}, caller {status}, settled
                ACK      |
                """
            )

    def test_unavailable(self) -> None:
        """
        A 503 is not ours to repeat (§16.7 step 6).
        """
        self.play(
            """
            INVITE  | caller 100, a INVITE
            a 503   | a ACK, a answered, a failed 503, caller 500, settled
            """
        )

    def test_silent(self) -> None:
        """
        Without a response period it is Timer B that ends it (§16.7 step 6: 408).
        """
        rig = ProxyRig()
        rig.role.period = 0
        self.play(
            """
            INVITE  | caller 100, a INVITE
            +31.875 |
            +0.25   | a failed timeout, caller 408, settled
            """,
            rig,
        )

    def test_unreachable(self) -> None:
        """
        As if it had answered 408 (§16.6 step 7).
        """
        rig = ProxyRig()
        rig.role.plan = ["(nowhere)"]
        self.play("INVITE | caller 100, (nowhere) failed lost, caller 408, settled", rig)

    def test_nowhereToGo(self) -> None:
        rig = ProxyRig()
        rig.role.plan = []
        self.play(
            """
            INVITE   | caller 100, caller 404, settled
            reINVITE | caller 100, caller 481, settled
            MESSAGE  | caller 404 MESSAGE, settled
            """,
            rig,
        )

    def test_ownAnswer(self) -> None:
        """
        The role may know better what to say when nobody answered.
        """
        rig = ProxyRig()
        rig.role.last = Answer(503, ((b"Retry-After", b"7"),))
        self.play(
            """
            INVITE  | caller 100, a INVITE
            a 503   | a ACK, a answered, a failed 503, caller 503, settled
            INVITE  | caller 100, a INVITE
            lose a  | a failed lost, caller 503, settled
            """,
            rig,
        )
        self.assertEqual(rig.lines["caller"].sent[-1].get(b"Retry-After"), b"7")

    def test_secondAnswer(self) -> None:
        """
        Of one INVITE every 2xx goes up, also one of another dialog; nothing else does any more.
        """
        self.play(
            """
            INVITE  | caller 100, a INVITE
            a 200   | a answered, caller 200, settled
            a 200   | caller 200
            a 180   |
            a 486   |
            """
        )

    def test_spoiledVia(self) -> None:
        """
        A response without our upstream Via, or with rubbish in its place, cannot be passed on: it counts as
        lost. A call that it has set up is ended.
        """
        for spoil in (
            lambda data: data.replace(b"Via: SIP/2.0/SCTP 192.0.2.1:5060", b"X-Via: 1"),
            lambda data: data.replace(b"Via: SIP/2.0/SCTP 192.0.2.1:5060", b"Via: rubbish"),
        ):
            for status, then in (
                ("180", ["a answered"]),
                ("486", ["a ACK", "a answered", "a failed lost", "caller 408", "settled"]),
                ("200", ["a answered", "a ACK", "a BYE", "a failed lost", "caller 408", "settled"]),
            ):
                rig = ProxyRig()
                rig.step("INVITE")
                answer = rig.lines["a"].last(b"INVITE")
                rig.take()
                rig.receive(spoil(makeResponse(answer, int(status))), "a")
                self.assertEqual(rig.take(), then)


class FailoverTests(ScenarioCase):
    """
    One target after another.
    """

    def rig(self, *plan: str, **settings: Any) -> ProxyRig:
        rig = ProxyRig(**settings)
        rig.role.plan = list(plan)
        return rig

    def test_unavailable(self) -> None:
        self.play(
            """
            INVITE  | caller 100, a INVITE
            a 503   | a ACK, a answered, a failed 503, b INVITE
            b 100   | b answered
            b 200   | caller 200, settled
            """,
            self.rig("a", "b"),
        )

    def test_silent(self) -> None:
        """
        The period is over; the attempt that gave no answer keeps the request in the ledger until it ends.
        """
        self.play(
            """
            INVITE  | caller 100, a INVITE
            +1.875  |
            +0.25   | a failed timeout, b INVITE
            b 180   | b answered, caller 180
            b 200   | caller 200
            +29.75  |
            +0.25   | settled
            """,
            self.rig("a", "b"),
        )

    def test_answeredInTime(self) -> None:
        """
        Any answer will do; from then on it may take its time.
        """
        self.play(
            """
            INVITE  | caller 100, a INVITE
            +1.875  |
            a 100   | a answered
            +100    |
            a 200   | caller 200, settled
            """,
            self.rig("a", "b"),
        )

    def test_lost(self) -> None:
        """
        In the middle of ringing.
        """
        self.play(
            """
            INVITE  | caller 100, a INVITE
            a 180   | a answered, caller 180
            lose a  | a failed lost, b INVITE
            b 200   | b answered, caller 200, settled
            """,
            self.rig("a", "b"),
        )

    def test_allFail(self) -> None:
        """
        One by silence, one by 503, one because it cannot be reached: of these the 503 is the answer, and not
        to be repeated.
        """
        self.play(
            """
            INVITE  | caller 100, a INVITE
            +2.125  | a failed timeout, b INVITE
            b 503   | b ACK, b answered, b failed 503, (nowhere) failed lost, caller 500
            +30     | settled
            """,
            self.rig("a", "b", "(nowhere)"),
        )

    def test_best(self) -> None:
        """
        The best of several: the lowest class, but a 6xx before all.
        """
        for first, second, chosen in (
            (503, 486, 486),
            (404, 500, 404),
            (500, 404, 404),
            (486, 401, 401),
            (486, 404, 486),
            (500, 302, 302),
            (404, 603, 603),
        ):
            rig = self.rig("a", "b")
            rig.role.again |= {404, 486, 500}
            for step in ("INVITE", f"a {first}", f"b {second}"):
                rig.step(step)
            self.assertEqual(rig.take()[-2:], [f"caller {chosen}", "settled"], (first, second))

    def test_allChallenges(self) -> None:
        """
        A user is told of each element that asks for credentials (§16.7 step 7).
        """
        rig = self.rig("a", "b", "c")
        rig.role.again |= {401, 407, 404}
        rig.step("INVITE")
        rig.answer("a", 401, headers=((b"WWW-Authenticate", b'Digest realm="a"'),))
        rig.answer("b", 404)
        rig.answer("c", 407, headers=((b"Proxy-Authenticate", b'Digest realm="c"'),))
        answer = rig.lines["caller"].sent[-1]
        self.assertEqual(rig.take()[-2:], ["caller 401", "settled"])
        self.assertEqual(answer.getAll(b"WWW-Authenticate"), [b'Digest realm="a"'])
        self.assertEqual(answer.getAll(b"Proxy-Authenticate"), [b'Digest realm="c"'])

    def test_globalRefusal(self) -> None:
        """
        After a 6xx nobody else is asked, whatever the role says (§16.7 step 5).
        """
        rig = self.rig("a", "b")
        rig.role.again.add(600)
        self.play(
            """
            INVITE  | caller 100, a INVITE
            a 600   | a ACK, a answered, a failed 600, caller 600, settled
            """,
            rig,
        )

    def test_onceEach(self) -> None:
        """
        No place is tried twice (§16.5).
        """
        self.play(
            """
            INVITE  | caller 100, a INVITE
            a 503   | a ACK, a answered, a failed 503, b INVITE
            b 503   | b ACK, b answered, b failed 503, caller 500, settled
            """,
            self.rig("a", "a", "b", "a"),
        )

    def test_furtherTargets(self) -> None:
        """
        A redirection that the role follows is not told to the caller (§16.7 step 4), and what it names comes
        ahead of the rest, each place once.
        """
        rig = self.rig("a", "b", "c")
        rig.role.again.add(302)
        rig.role.more = {"a": ["c"]}
        self.play(
            """
            INVITE  | caller 100, a INVITE
            a 302   | a ACK, a answered, a failed 302, c INVITE
            c 503   | c ACK, c answered, c failed 503, b INVITE
            b 486   | b ACK, b answered, b failed 486, caller 486, settled
            """,
            rig,
        )

    def test_furtherTooLate(self) -> None:
        """
        A redirection of a call that was taken back leads nowhere.
        """
        for step, told in (("CANCEL", "caller 487, settled"), ("recall", "caller 503, settled forced")):
            rig = self.rig("a")
            rig.role.again.add(302)
            rig.role.more = {"a": ["b"]}
            rig.play(f"INVITE |\na 180 |\n{step} |")
            self.play(f"a 302 | a ACK, a failed 302, {told}", rig)

    def test_reached(self) -> None:
        """
        An association that has to be made first is within the period, too.
        """
        self.play(
            """
            INVITE    | caller 100, b reaching
            +1        |
            reached b | b INVITE
            b 200     | (b) answered, caller 200, settled
            """,
            self.rig("(b)"),
        )
        self.play(
            """
            INVITE      | caller 100, b reaching
            unreached b | (b) failed lost, a INVITE
            """,
            self.rig("(b)", "a"),
        )
        self.play(
            """
            INVITE    | caller 100, b reaching
            +2.125    | b given up, (b) failed timeout, a INVITE
            a 200     | a answered, caller 200, settled
            """,
            self.rig("(b)", "a"),
        )

    def test_brokenOnceReached(self) -> None:
        """
        An error of ours, when it is sent after all, is logged, and the next target tried.
        """
        rig = self.rig("(b)", "a")
        rig.play("INVITE | caller 100, b reaching")
        rig.role.reaching["b"].callback(None)  # no association
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
        self.play("+0 | (b) failed lost, a INVITE", rig)

    def test_timerCOfEach(self) -> None:
        """
        Each attempt has Timer C for itself (§16.6 step 11).
        """
        rig = self.rig("a", "b")
        self.play(
            """
            INVITE  | caller 100, a INVITE
            a 180   | a answered, caller 180
            +150    |
            lose a  | a failed lost, b INVITE
            b 100   | b answered
            """,
            rig,
        )
        (context,) = rig.ledger
        rig.run(100)
        context.checkTimerC(rig.clock.seconds())
        self.assertEqual(rig.take(), [])
        rig.run(81)
        context.checkTimerC(rig.clock.seconds())
        self.assertEqual(rig.take(), ["b CANCEL"])


class LateTests(ScenarioCase):
    """
    An attempt that was given up gets an answer after all.
    """

    def rig(self, *plan: str) -> ProxyRig:
        rig = ProxyRig()
        rig.role.plan = list(plan) or ["a", "b"]
        rig.step("INVITE")
        rig.run(2.125)
        expected = ["caller 100", "a INVITE", "a failed timeout"]
        if len(rig.role.plan) > 1:
            expected.append("b INVITE")
        self.assertEqual(rig.take()[: len(expected)], expected)
        return rig

    def test_trying(self) -> None:
        """
        A late 100, or any other provisional response, is followed by CANCEL; nobody hears of it.
        """
        for status in (100, 180):
            self.play(
                f"""
                a {status} | a CANCEL
                a 180   |
                a 200 CANCEL |
                a 487   | a ACK
                b 200   | b answered, caller 200, settled
                """,
                self.rig(),
            )

    def test_refusal(self) -> None:
        """
        A late refusal is of no interest.
        """
        self.play(
            """
            a 503   | a ACK
            b 486   | b ACK, b answered, b failed 486, caller 486, settled
            """,
            self.rig(),
        )

    def test_success(self) -> None:
        """
        A late 2xx is the call, and the other attempt is taken back: so the callee rings once.
        """
        rig = self.play(
            """
            b 180   | b answered, caller 180
            a 200   | caller 200, b CANCEL
            b 487   | b ACK, settled
            """,
            self.rig(),
        )
        self.assertEqual(
            rig.lines["b"].last(b"CANCEL").get(b"Reason"), b'SIP;cause=200;text="Call completed elsewhere"'
        )

    def test_successOfBoth(self) -> None:
        """
        Both 2xx go up; it is for the caller to end one (§13.2.2.4).
        """
        self.play(
            """
            b 200   | b answered, caller 200
            a 200   | caller 200, settled
            """,
            self.rig(),
        )

    def test_successAfterFailure(self) -> None:
        """
        The caller was told that it failed, and can be told nothing else: the call is ended (no ghost).
        """
        rig = self.play(
            """
            b 486   | b ACK, b answered, b failed 486, caller 486
            a 200   | a ACK, a BYE, settled
            a 200   | a ACK
            a 200 BYE |
            """,
            self.rig(),
        )
        self.assertEqual(rig.core.counters["ghosts"], 1)

    def test_lastOne(self) -> None:
        """
        Where there was no other, the failure has been told; what comes late is put right all the same.
        """
        self.play(
            """
            a 100   | a CANCEL
            a 487   | a ACK, settled
            """,
            self.rig("a"),
        )

    def test_never(self) -> None:
        """
        What never answers ends with Timer B; what never answers its CANCEL, 64*T1 after that.
        """
        self.play("+30 | settled", self.rig("a"))
        self.play(
            """
            a 100   | a CANCEL
            +31.875 |
            +0.25   | settled
            """,
            self.rig("a"),
        )

    def test_lost(self) -> None:
        """
        The association of an attempt that was given up goes: nothing is left to wait for.
        """
        self.play("lose a | settled", self.rig("a"))


class CancelTests(ScenarioCase):
    """
    The caller gives up (§16.10), in each phase.
    """

    def rig(self, *plan: str, **settings: Any) -> ProxyRig:
        rig = ProxyRig(**settings)
        rig.role.plan = list(plan) or ["a", "b"]
        return rig

    def test_ringing(self) -> None:
        self.play(
            """
            INVITE  | caller 100, a INVITE
            a 180   | a answered, caller 180
            CANCEL  | caller 200 CANCEL, a CANCEL
            a 200 CANCEL |
            a 487   | a ACK, a failed 487, caller 487, settled
            """,
            self.rig(),
        )

    def test_beforeAnyAnswer(self) -> None:
        """
        CANCEL waits for the first answer (§9.1); it has not failed the caller then, and no other is tried.
        """
        self.play(
            """
            INVITE  | caller 100, a INVITE
            CANCEL  | caller 200 CANCEL
            a 100   | a CANCEL, a answered
            a 487   | a ACK, a failed 487, caller 487, settled
            """,
            self.rig(),
        )

    def test_silent(self) -> None:
        """
        The callee is silent: the period ends it for the caller, and the role hears of the silence.
        """
        self.play(
            """
            INVITE  | caller 100, a INVITE
            CANCEL  | caller 200 CANCEL
            +2.125  | a failed timeout, caller 487
            a 100   | a CANCEL
            a 487   | a ACK, settled
            """,
            self.rig(),
        )

    def test_reaching(self) -> None:
        """
        An association is still being made: there is nothing to take back but that.
        """
        rig = self.play(
            """
            INVITE  | caller 100, b reaching
            CANCEL  | caller 200 CANCEL, b given up, caller 487, settled
            +10     |
            """,
            self.rig("(b)", "a"),
        )
        self.assertEqual(rig.lines["b"].sent, [])

    def test_reachingTheSecond(self) -> None:
        """
        The silence of the first keeps the caller from nothing.
        """
        self.play(
            """
            INVITE  | caller 100, a INVITE
            +2.125  | a failed timeout, b reaching
            CANCEL  | caller 200 CANCEL, b given up, caller 487
            +30     | settled
            """,
            self.rig("a", "(b)"),
        )

    def test_crossesAnswer(self) -> None:
        """
        The callee had answered: the call stands.
        """
        self.play(
            """
            INVITE  | caller 100, a INVITE
            a 180   | a answered, caller 180
            CANCEL  | caller 200 CANCEL, a CANCEL
            a 200   | caller 200, settled
            a 481 CANCEL |
            """,
            self.rig(),
        )

    def test_crossesRefusal(self) -> None:
        """
        Busy is busy, cancelled or not. A 503 is no answer to a caller who has given up.
        """
        for answer, told in ((486, 486), (503, 487)):
            self.play(
                f"""
                INVITE  | caller 100, a INVITE
                a 180   | a answered, caller 180
                CANCEL  | caller 200 CANCEL, a CANCEL
                a {answer} | a ACK, a failed {answer}, caller {told}, settled
                """,
                self.rig(),
            )

    def test_afterAnswer(self) -> None:
        """
        Too late: it has no effect (§9.2).
        """
        self.play(
            """
            INVITE  | caller 100, a INVITE
            a 200   | a answered, caller 200, settled
            CANCEL  | caller 200 CANCEL
            """,
            self.rig(),
        )

    def test_twice(self) -> None:
        """
        The transaction absorbs a second copy.
        """
        self.play(
            """
            INVITE  | caller 100, a INVITE
            a 180   | a answered, caller 180
            CANCEL  | caller 200 CANCEL, a CANCEL
            CANCEL  | caller 200 CANCEL
            """,
            self.rig(caller=b"UDP"),
        )

    def test_unknown(self) -> None:
        self.play("CANCEL | caller 481 CANCEL", self.rig())

    def test_lostWhileCancelled(self) -> None:
        self.play(
            """
            INVITE  | caller 100, a INVITE
            a 180   | a answered, caller 180
            CANCEL  | caller 200 CANCEL, a CANCEL
            lose a  | a failed lost, caller 487, settled
            """,
            self.rig(),
        )

    def test_noAnswerToCANCEL(self) -> None:
        """
        §9.1: 64*T1 after the CANCEL it is over. That is no fault of the place, which had answered.
        """
        self.play(
            """
            INVITE  | caller 100, a INVITE
            a 180   | a answered, caller 180
            CANCEL  | caller 200 CANCEL, a CANCEL
            +31.875 |
            +0.25   | caller 487, settled
            """,
            self.rig(),
        )

    def test_reason(self) -> None:
        """
        Why is passed on (RFC 3326), all of it.
        """
        rig = self.rig()
        rig.step("INVITE")
        rig.step("a 180")
        rig.receive(
            makeRequest(
                b"CANCEL",
                branch=b"z9hG4bKcaller1",
                headers=((b"Reason", b"SIP;cause=600"), (b"Reason", b"Q.850;cause=16")),
            )
        )
        self.assertEqual(
            rig.lines["a"].last(b"CANCEL").elements(b"Reason"), [b"SIP;cause=600", b"Q.850;cause=16"]
        )


class LossTests(ScenarioCase):
    """
    The association that the request came by is lost.
    """

    def test_ringing(self) -> None:
        """
        Its sender tries elsewhere: what rings is taken back.
        """
        self.play(
            """
            INVITE      | caller 100, a INVITE
            a 180       | a answered, caller 180
            lose caller | a CANCEL
            a 487       | a ACK, settled
            """
        )

    def test_crossesAnswer(self) -> None:
        """
        The callee answers while it is taken back: nobody can be told, so the call is ended.
        """
        for wait in ("180", "100"):
            rig = self.play(
                f"""
                INVITE      | caller 100, a INVITE
                a {wait}    | a answered{", caller 180" if wait == "180" else ""}
                lose caller | a CANCEL
                a 200       | a ACK, a BYE, settled
                a 200       | a ACK
                """
            )
            self.assertEqual(rig.core.counters["ghosts"], 1)

    def test_notYetTold(self) -> None:
        """
        It is down, and the answer is what shows it.
        """
        rig = ProxyRig()
        rig.play("INVITE |\na 180 |")
        rig.lines["caller"].up = False
        rig.step("a 200")
        self.assertEqual(rig.take(), ["settled", "a ACK", "a BYE"])
        rig.lose("caller")
        self.assertEqual(rig.take(), [])

    def test_refusalNotDelivered(self) -> None:
        rig = ProxyRig()
        rig.play("INVITE |\na 180 |")
        rig.lines["caller"].up = False
        rig.step("a 486")
        self.assertEqual(rig.take(), ["a ACK", "a failed 486", "settled"])

    def test_reaching(self) -> None:
        rig = ProxyRig()
        rig.role.plan = ["(b)"]
        self.play(
            """
            INVITE      | caller 100, b reaching
            lose caller | b given up, settled
            """,
            rig,
        )

    def test_beforeAnyAnswer(self) -> None:
        rig = ProxyRig()
        rig.role.plan = ["a", "b"]
        self.play(
            """
            INVITE      | caller 100, a INVITE
            lose caller |
            a 100       | a CANCEL, a answered
            a 487       | a ACK, settled
            """,
            rig,
        )

    def test_other(self) -> None:
        """
        Of a request other than INVITE nothing can be taken back.
        """
        self.play(
            """
            MESSAGE     | a MESSAGE
            lose caller |
            a 200       | settled
            """
        )

    def test_both(self) -> None:
        """
        Caller and callee are at the same element, and it goes.
        """
        rig = ProxyRig()
        rig.role.plan = ["a", "b"]
        rig.step("INVITE")
        rig.lines["a"].up = rig.lines["caller"].up = False
        rig.take()
        rig.layer.associationLost(rig.lines["a"])
        rig.layer.associationLost(rig.lines["caller"])
        self.assertEqual(rig.take(), ["a failed lost", "b INVITE"])
        rig.step("b 100")
        rig.step("b 487")
        self.assertEqual(rig.take(), ["b CANCEL", "b answered", "b ACK", "settled"])

    def test_many(self) -> None:
        """
        A thousand calls in set-up on one association: each goes elsewhere, once.
        """
        rig = ProxyRig()
        rig.role.plan = ["a", "b"]
        for number in range(1000):
            rig.receive(rig.make(b"INVITE", callId=b"call-%d" % number))
        rig.take()
        rig.lose("a")
        rig.run(1)
        events = rig.take()
        self.assertEqual(events.count("b INVITE"), 1000)
        self.assertEqual(events.count("a failed lost"), 1000)
        self.assertEqual(len(events), 2000)
        for request in list(rig.lines["b"].sent):
            assert isinstance(request, Request)
            rig.receive(makeResponse(request, 200), "b")
        self.assertEqual(len(rig.ledger), 0)
        self.assertEqual(rig.take().count("caller 200"), 1000)

    def test_manyCallers(self) -> None:
        """
        The same for those who call.
        """
        rig = ProxyRig()
        for number in range(1000):
            rig.receive(rig.make(b"INVITE", callId=b"call-%d" % number))
        for request in list(rig.lines["a"].sent):
            assert isinstance(request, Request)
            rig.receive(makeResponse(request, 180), "a")
        rig.take()
        rig.lose("caller")
        rig.run(1)
        self.assertEqual(rig.take(), ["a CANCEL"] * 1000)


class RecallTests(ScenarioCase):
    """
    The guard is near.
    """

    def test_ringing(self) -> None:
        """
        The callee obeys: the caller's client may try another server. The CANCEL says why (RFC 3326).
        """
        rig = self.play(
            """
            INVITE  | caller 100, a INVITE
            a 180   | a answered, caller 180
            recall  | a CANCEL
            a 200 CANCEL |
            a 487   | a ACK, a failed 487, caller 503, settled forced
            force   |
            """
        )
        self.assertEqual(rig.lines["caller"].sent[-1].get(b"Retry-After"), None)
        self.assertEqual(rig.lines["a"].last(b"CANCEL").get(b"Reason"), b'SIP;cause=503;text="guard timer"')
        self.assertEqual(rig.ledger.forced, 1)

    def test_lastWord(self) -> None:
        """
        An answer that crosses the CANCEL counts, whatever it is.
        """
        for status in (200, 486, 603):
            rig = ProxyRig()
            rig.play("INVITE |\na 180 |\nrecall |")
            rig.step(f"a {status}")
            self.assertEqual(rig.take()[-2:], [f"caller {status}", "settled"])
            self.assertEqual(rig.ledger.forced, 0)

    def test_silent(self) -> None:
        """
        The callee says nothing: the settlement is the end of it. A 2xx that comes after that can be given to
        nobody.
        """
        rig = self.play(
            """
            INVITE  | caller 100, a INVITE
            a 180   | a answered, caller 180
            recall  | a CANCEL
            force   | caller 503, settled
            a 200   | a ACK, a BYE
            """
        )
        self.assertEqual(rig.lines["a"].last(b"BYE").get(b"Reason"), b'SIP;cause=503;text="guard timer"')
        self.assertEqual(rig.ledger.forced, 1)

    def test_notAnswered(self) -> None:
        """
        CANCEL must wait for the callee's first answer, the caller need not.
        """
        self.play(
            """
            INVITE  | caller 100, a INVITE
            recall  |
            force   | caller 503, settled
            a 100   | a CANCEL, a answered
            a 487   | a ACK
            """
        )

    def test_noOther(self) -> None:
        """
        No other place is tried any more.
        """
        rig = ProxyRig()
        rig.role.plan = ["a", "b"]
        self.play(
            """
            INVITE  | caller 100, a INVITE
            a 100   | a answered
            recall  | a CANCEL
            a 503   | a ACK, a failed 503, caller 503, settled forced
            """,
            rig,
        )
        rig = ProxyRig()
        rig.role.plan = ["(b)", "a"]
        self.play(
            """
            INVITE  | caller 100, b reaching
            recall  | b given up, caller 503, settled forced
            """,
            rig,
        )

    def test_cancelledToo(self) -> None:
        """
        A caller who gives up gets 487, before or after.
        """
        self.play(
            """
            INVITE  | caller 100, a INVITE
            a 180   | a answered, caller 180
            recall  | a CANCEL
            CANCEL  | caller 200 CANCEL
            a 487   | a ACK, a failed 487, caller 487, settled
            """
        )
        self.play(
            """
            INVITE  | caller 100, a INVITE
            a 180   | a answered, caller 180
            CANCEL  | caller 200 CANCEL, a CANCEL
            recall  |
            force   | caller 503, settled
            """
        )

    def test_others(self) -> None:
        """
        What is no INVITE has no callee to be taken back from, and other places are tried yet; what was
        answered is left alone.
        """
        rig = ProxyRig()
        rig.role.plan = ["a", "b"]
        self.play("MESSAGE | a MESSAGE\nrecall |\na 503 | a failed 503, b MESSAGE", rig)
        rig = self.play(
            """
            MESSAGE | a MESSAGE
            recall  |
            force   | caller 503 MESSAGE, settled
            a 200   |
            """
        )
        self.assertEqual(rig.ledger.forced, 1)

    def test_answered(self) -> None:
        """
        On UDP a 2xx has left, but may be asked for again: nothing is forced on anybody.
        """
        rig = self.play(
            """
            INVITE  | caller 100, a INVITE
            a 200   | a answered, caller 200
            recall  |
            force   | settled
            """,
            caller=b"UDP",
        )
        self.assertEqual(rig.ledger.forced, 0)

    def test_forcedAtOnce(self) -> None:
        """
        Taken offline at once, without a recall before.
        """
        self.play(
            """
            INVITE  | caller 100, a INVITE
            a 180   | a answered, caller 180
            force   | caller 503, a CANCEL, settled
            a 487   | a ACK
            """
        )

    def test_abandonedToo(self) -> None:
        """
        An attempt that was given up is not waited for.
        """
        rig = ProxyRig()
        rig.role.plan = ["a", "b"]
        self.play(
            """
            INVITE  | caller 100, a INVITE
            +2.125  | a failed timeout, b INVITE
            b 200   | b answered, caller 200
            force   | settled
            """,
            rig,
        )


class TimerCTests(ScenarioCase):
    """
    §16.8.
    """

    def check(self, rig: ProxyRig) -> list[str]:
        for context in list(rig.ledger):
            context.checkTimerC(rig.clock.seconds())
        return rig.take()

    def test_rungTooLong(self) -> None:
        rig = ProxyRig(timerC=181.0)
        rig.step("INVITE")
        rig.step("a 180")
        rig.run(180)
        rig.take()
        self.assertEqual(self.check(rig), [])
        rig.run(1)
        self.assertEqual(self.check(rig), ["a CANCEL"])
        self.assertEqual(self.check(rig), [])
        rig.step("a 487")
        self.assertEqual(rig.take(), ["a ACK", "a failed 487", "caller 487", "settled"])

    def test_progress(self) -> None:
        """
        Provisional responses but 100 begin it anew (§16.7 step 2).
        """
        for status, then in ((180, []), (183, []), (100, ["a CANCEL"])):
            rig = ProxyRig()
            rig.step("INVITE")
            rig.step("a 180")
            rig.run(100)
            rig.step(f"a {status}")
            rig.run(100)
            rig.take()
            self.assertEqual(self.check(rig), then)

    def test_neverAnswered(self) -> None:
        """
        As if the place had answered 408.
        """
        rig = ProxyRig()
        rig.role.plan = ["(b)"]
        rig.role.period = 0
        rig.step("INVITE")
        rig.run(181)
        rig.take()
        self.assertEqual(self.check(rig), ["caller 408", "b given up", "settled"])

    def test_others(self) -> None:
        """
        Only INVITEs ring, and only until they are answered.
        """
        rig = ProxyRig()
        rig.step("MESSAGE")
        (context,) = rig.ledger
        rig.take()
        context.checkTimerC(rig.clock.seconds() + 1000)
        self.assertEqual(rig.take(), [])
        rig = ProxyRig(caller=b"UDP")
        rig.play("INVITE |\na 200 |")
        (context,) = rig.ledger
        context.checkTimerC(rig.clock.seconds() + 1000)
        self.assertEqual(rig.take(), [])


class UDPTests(ScenarioCase):
    """
    The caller, or the callee, is reached over UDP.
    """

    def test_answered(self) -> None:
        """
        A 2xx that was lost comes again from the callee within T2; then it is known to have arrived.
        """
        self.play(
            """
            INVITE  | caller 100, a INVITE
            again   | caller 100
            a 180   | a answered, caller 180
            again   | caller 180
            a 200   | caller 200
            again   |
            a 200   | caller 200
            +4.375  |
            +0.25   | settled
            a 200   | caller 200
            """,
            caller=b"UDP",
        )

    def test_refused(self) -> None:
        """
        A refusal is repeated until its ACK is there; settled when no ACK can be missed any more (Timer I).
        """
        self.play(
            """
            INVITE  | caller 100, a INVITE
            a 486   | a ACK, a answered, a failed 486, caller 486
            again   | caller 486
            +0.625  | caller 486
            ACK     |
            +4.875  |
            +0.25   | settled
            """,
            caller=b"UDP",
        )

    def test_noACK(self) -> None:
        """
        Timer H.
        """
        rig = ProxyRig(caller=b"UDP")
        rig.play("INVITE |\na 486 |")
        rig.run(31.75)
        self.assertEqual(set(rig.take()), {"caller 486"})
        rig.run(0.5)
        self.assertEqual(rig.take(), ["settled"])

    def test_callee(self) -> None:
        """
        INVITE and ACK are repeated towards a callee on UDP.
        """
        self.play(
            """
            INVITE  | caller 100, a INVITE
            +0.625  | a INVITE
            a 486   | a ACK, a answered, a failed 486, caller 486, settled
            a 486   | a ACK
            """,
            callee=b"UDP",
        )

    def test_calleeAnswers(self) -> None:
        """
        Every 200 that the callee repeats goes up, for the ACK goes another way.
        """
        self.play(
            """
            INVITE  | caller 100, a INVITE
            a 200   | a answered, caller 200, settled
            a 200   | caller 200
            a 200   | caller 200
            """,
            callee=b"UDP",
        )

    def test_recalled(self) -> None:
        """
        The 503 has left, and counts as forced when it is settled, by its ACK or by the settlement.
        """
        rig = self.play(
            """
            INVITE  | caller 100, a INVITE
            a 180   | a answered, caller 180
            recall  | a CANCEL
            a 487   | a ACK, a failed 487, caller 503
            force   | settled forced
            """,
            caller=b"UDP",
        )
        self.assertEqual(rig.ledger.forced, 1)


class OtherMethodTests(ScenarioCase):
    """
    What is no INVITE (RFC 3261 §16, RFC 4320).
    """

    def test_answered(self) -> None:
        """
        No 100 of ours (§16.2), and none of the callee's.
        """
        self.play(
            """
            MESSAGE | a MESSAGE
            a 100   |
            a 180   |
            a 200   | caller 200 MESSAGE, settled
            a 200   |
            """
        )

    def test_failover(self) -> None:
        rig = ProxyRig()
        rig.role.plan = ["a", "b", "c"]
        self.play(
            """
            MESSAGE | a MESSAGE
            a 503   | a failed 503, b MESSAGE
            lose b  | b failed lost, c MESSAGE
            c 404   | c failed 404, caller 404 MESSAGE, settled
            """,
            rig,
        )

    def test_silent(self) -> None:
        """
        It is not the period that counts, but Timer F; and when that is over nobody is told (RFC 4320 §4.2).
        """
        rig = ProxyRig()
        rig.role.again.discard("timeout")
        rig.role.last = Answer(503)
        rig.step("MESSAGE")
        rig.run(3)
        self.assertEqual(rig.take(), ["a MESSAGE"])
        rig.run(30)
        events = rig.take()
        self.assertEqual([event for event in events if "100" not in event], ["a failed timeout", "settled"])

    def test_unreachable(self) -> None:
        """
        That, on the other hand, can be said in time (§16.9).
        """
        self.play(
            """
            MESSAGE | a MESSAGE
            lose a  | a failed lost, caller 500 MESSAGE, settled
            """
        )

    def test_udp(self) -> None:
        """
        Whoever has not got the answer asks again within T2.
        """
        self.play(
            """
            MESSAGE | a MESSAGE
            a 200   | caller 200 MESSAGE
            again   | caller 200 MESSAGE
            +4.375  |
            +0.25   | settled
            """,
            caller=b"UDP",
        )
