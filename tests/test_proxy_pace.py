"""
Associations that fall behind: nothing new is begun there.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.interfaces import IAssociation
from sipgrace.message.message import Request
from sipgrace.proxy.pace import LEAST, Paces
from sipgrace.proxy.priority import Priorities
from sipgrace.proxy.target import Answer
from sipgrace.testing import makeRequest, makeResponse
from tests.proxyrig import ProxyRig


class PacesTests(SynchronousTestCase):
    """
    When an association is full.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.paces = Paces(0.5, self.clock.seconds)
        lines = ProxyRig().lines
        self.line: IAssociation = lines["a"]
        self.other: IAssociation = lines["b"]

    def wait(self, count: int) -> None:
        for _ in range(count):
            self.assertEqual(self.paces.sent(self.line), self.clock.seconds())

    def hear(self, seconds: float, answered: bool = True) -> None:
        """
        One that was sent so many seconds ago waits no longer.
        """
        self.paces.heard(self.line, self.clock.seconds() - seconds, answered)

    def test_full(self) -> None:
        """
        Where many wait and the last first response was late, and until one is in time.
        """
        self.wait(LEAST + 1)
        self.assertFalse(self.paces.full(self.line))
        self.hear(0.625)
        self.assertTrue(self.paces.full(self.line))
        self.assertFalse(self.paces.full(self.other))
        self.wait(1)
        self.hear(0.5)
        self.assertFalse(self.paces.full(self.line))

    def test_few(self) -> None:
        """
        Where few wait it is not full, however late they are answered.
        """
        self.wait(LEAST)
        self.hear(3)
        self.assertFalse(self.paces.full(self.line))
        self.wait(1)
        self.assertTrue(self.paces.full(self.line))

    def test_forgotten(self) -> None:
        """
        Nothing is kept of an association on which nothing waits.
        """
        self.wait(2)
        self.paces.sent(self.other)
        self.assertEqual(len(self.paces), 2)
        for _ in range(2):
            self.hear(9)
        self.assertEqual(len(self.paces), 1)
        self.wait(LEAST)
        self.assertFalse(self.paces.full(self.line))

    def test_unanswered(self) -> None:
        """
        What has failed in a short time does not show that answers are in time, and what has waited long shows
        that they are not.
        """
        self.wait(LEAST + 4)
        self.hear(0.25, answered=False)
        self.assertFalse(self.paces.full(self.line))
        self.hear(2, answered=False)
        self.assertTrue(self.paces.full(self.line))
        self.hear(0.25, answered=False)
        self.assertTrue(self.paces.full(self.line))
        self.hear(0.25)
        self.assertFalse(self.paces.full(self.line))

    def test_trial(self) -> None:
        """
        Where nothing moves for T1, one more is sent, and another after T1.
        """
        self.wait(LEAST + 1)
        self.hear(0.625)
        self.clock.advance(0.5)
        self.assertTrue(self.paces.full(self.line))
        self.clock.advance(0.125)
        self.assertFalse(self.paces.full(self.line))
        self.wait(1)
        self.assertTrue(self.paces.full(self.line))
        self.clock.advance(0.625)
        self.assertFalse(self.paces.full(self.line))
        self.wait(1)
        self.hear(0)
        self.clock.advance(0.25)
        self.assertFalse(self.paces.full(self.line))


class CloggedTests(SynchronousTestCase):
    """
    The same, seen by the calls.
    """

    def fill(self, rig: ProxyRig, count: int = LEAST + 1) -> list[Request]:
        """
        Has so many calls wait for the first target.

        @return: what it was sent.
        """
        sent = rig.lines["a"].sent
        for _ in range(count):
            rig.step("INVITE")
        return [message for message in sent if isinstance(message, Request)]

    def answer(self, rig: ProxyRig, request: Request, status: int = 100) -> None:
        rig.receive(makeResponse(request, status, toTag=b"a"), "a")

    def test_elsewhere(self) -> None:
        """
        A new call goes to the next target, and to the first again when that answers in time; what belongs to
        a call goes there all the while.
        """
        rig = ProxyRig(detectMerges=False)
        rig.role.plan = ["a", "b"]
        rig.role.period = 0
        rig.role.again.add("clogged")
        first, *others = self.fill(rig)
        rig.run(0.625)
        self.answer(rig, first)
        rig.take()
        rig.step("INVITE")
        self.assertEqual(rig.take(), ["caller 100", "a failed clogged", "b INVITE"])
        rig.receive(rig.make(b"INVITE", toTag=b"a"))
        self.assertEqual(rig.take(), ["caller 100", "a INVITE"])
        rig.receive(makeRequest(b"BYE", branch=b"z9hG4bKbye", via=b"SIP/2.0/SCTP 192.0.2.1:5060", toTag=b"a"))
        self.assertEqual(rig.take(), ["a BYE"])
        rig.step("a 100 INVITE")
        rig.take()
        rig.step("INVITE")
        self.assertEqual(rig.take(), ["caller 100", "a INVITE"])
        self.assertEqual(len(others), LEAST)

    def test_nowhere(self) -> None:
        """
        Where there is no other target the role says what is answered; nothing of it waits.
        """
        rig = ProxyRig(detectMerges=False)
        rig.role.period = 0
        rig.role.last = Answer(503)
        rig.role.again.add("clogged")
        first, *others = self.fill(rig)
        rig.run(0.625)
        self.answer(rig, first)
        rig.take()
        rig.step("INVITE")
        self.assertEqual(rig.take(), ["caller 100", "a failed clogged", "caller 503", "settled"])
        for request in others:
            self.answer(rig, request)
        self.assertEqual(len(rig.core.paces), 0)

    def test_silent(self) -> None:
        """
        Many that are never answered, after one that was late, keep others from a target that is well for T1,
        not until Timer B ends them.
        """
        rig = ProxyRig(detectMerges=False)
        rig.role.period = 0
        first, *_ = self.fill(rig)
        rig.run(0.625)
        self.answer(rig, first)
        rig.step("INVITE")
        self.assertEqual(rig.take()[-3:], ["a failed clogged", "caller 503", "settled"])
        rig.run(0.625)
        for _ in range(3):
            rig.step("INVITE")
            rig.step("a 100 INVITE")
            self.assertEqual(rig.take(), ["caller 100", "a INVITE", "a answered"])

    def test_last(self) -> None:
        """
        The answer is 503 where the last target was not asked, even if the role does not know better: the
        callee was not silent.
        """
        rig = ProxyRig(detectMerges=False)
        rig.role.period = 0
        first, *_ = self.fill(rig)
        rig.run(0.625)
        self.answer(rig, first)
        rig.role.plan = ["b", "a"]
        rig.step("INVITE")
        rig.take()
        rig.lose("b")
        self.assertEqual(rig.take(), ["b failed lost", "a failed clogged", "caller 503", "settled"])

    def test_refused(self) -> None:
        """
        What the association does not take, though it is up, does not show that answers are in time.
        """
        rig = ProxyRig(detectMerges=False)
        rig.role.period = 0
        first, *_ = self.fill(rig)
        rig.run(0.625)
        self.answer(rig, first)
        line = rig.lines["a"]
        self.patch(line, "send", lambda data: False)
        rig.step("reINVITE")
        rig.clock.advance(0)
        self.patch(line, "send", lambda data: True)
        rig.take()
        rig.step("INVITE")
        self.assertEqual(rig.take(), ["caller 100", "a failed clogged", "caller 503", "settled"])

    def test_priority(self) -> None:
        """
        Calls that go before others are not held back.
        """
        rig = ProxyRig(detectMerges=False)
        rig.role.period = 0
        rig.core.priorities = Priorities(["esnet"])
        first, *_ = self.fill(rig)
        rig.run(0.625)
        self.answer(rig, first)
        rig.take()
        rig.receive(rig.make(b"INVITE", headers=[(b"Resource-Priority", b"esnet.1")]))
        self.assertEqual(rig.take(), ["caller 100", "a INVITE"])
        rig.step("INVITE")
        self.assertEqual(rig.take(), ["caller 100", "a failed clogged", "caller 503", "settled"])

    def test_ways(self) -> None:
        """
        However an INVITE ends, it waits no longer: answered finally, overdue, lost.
        """
        for ends in (
            lambda rig: rig.step("a 486"),
            lambda rig: rig.run(2.5),
            lambda rig: rig.lose("a"),
            lambda rig: (rig.step("a 200"), rig.step("a 200")),
        ):
            rig = ProxyRig()
            rig.step("INVITE")
            self.assertEqual(len(rig.core.paces), 1)
            ends(rig)
            self.assertEqual(len(rig.core.paces), 0)

    def test_datagrams(self) -> None:
        """
        Over UDP nothing is counted: it retransmits, and keeps nothing.
        """
        rig = ProxyRig(callee=b"UDP")
        rig.step("INVITE")
        self.assertEqual(len(rig.core.paces), 0)
