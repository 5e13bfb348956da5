"""
Copies of one INVITE that become one call: L{sipgrace.proxy.copies}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipgrace.proxy.copies import PATIENCE
from sipgrace.testing import makeRequest
from tests.proxyrig import ProxyRig


class CopiesRig(ProxyRig):
    """
    The client before the callee. Further steps: C{copy}, the same INVITE through another server, C{third},
    through a third one, and C{copy CANCEL}.
    """

    VIA = b"SIP/2.0/SCTP 192.0.2.2:5060"

    def __init__(self) -> None:
        super().__init__(zones=("network", "interface"), detectMerges=False, joinZone="network")

    def step(self, text: str) -> None:
        """
        See L{ProxyRig.step}.
        """
        if text == "copy":
            self.receive(makeRequest(b"INVITE", via=self.VIA, branch=b"z9hG4bKcopy"), "other")
        elif text == "third":
            self.receive(makeRequest(b"INVITE", via=self.VIA, branch=b"z9hG4bKthird"), "other")
        elif text == "copy CANCEL":
            self.receive(makeRequest(b"CANCEL", via=self.VIA, branch=b"z9hG4bKcopy"), "other")
        else:
            super().step(text)


class CopiesTests(SynchronousTestCase):
    """
    The callee rings once, whoever asks.
    """

    maxDiff = None

    def play(self, table: str) -> CopiesRig:
        """
        Goes through a table.
        """
        rig = CopiesRig()
        wanted, went = rig.play(table)
        self.assertEqual(went, wanted)
        self.assertEqual(self.flushLoggedErrors(), [])
        return rig

    def test_one(self) -> None:
        """
        Without copies nothing is otherwise than it was, and in the end nothing is kept.
        """
        rig = self.play(
            """
            INVITE  | caller 100, a INVITE
            a 180   | a answered, caller 180
            a 200   | caller 200, settled
            a 200   | caller 200
            +33     |
            """
        )
        self.assertEqual(rig.core.counters["joined"], 0)
        assert rig.core._copies is not None
        self.assertEqual(len(rig.core._copies), 0)

    def test_ringing(self) -> None:
        """
        A copy that comes while it rings hears that, and all that follows.
        """
        rig = self.play(
            """
            INVITE  | caller 100, a INVITE
            a 180   | a answered, caller 180
            copy    | other 100, other 180
            a 183   | caller 183, other 183
            a 200   | caller 200, other 200, settled
            a 200   | caller 200, other 200
            """
        )
        self.assertEqual((rig.ledger.accepted, rig.core.counters["joined"]), (1, 1))
        first, other = rig.lines["caller"].sent[-1], rig.lines["other"].sent[-1]
        self.assertEqual(first.getAll(b"Via"), [b"SIP/2.0/SCTP 192.0.2.1:5060;branch=z9hG4bKcaller1"])
        self.assertEqual(other.getAll(b"Via"), [b"SIP/2.0/SCTP 192.0.2.2:5060;branch=z9hG4bKcopy"])
        for message in (first, other):
            message.remove(b"Via")
        self.assertEqual(first.toBytes(), other.toBytes())

    def test_beforeAnything(self) -> None:
        """
        A copy that comes before the callee has said anything.
        """
        self.play(
            """
            INVITE  | caller 100, a INVITE
            copy    | other 100
            a 180   | a answered, caller 180, other 180
            a 486   | a ACK, a failed 486, caller 486, other 486, settled
            """
        )

    def test_answered(self) -> None:
        """
        A copy that comes after the answer gets it too, as long as it may have been lost with its server.
        """
        self.play(
            """
            INVITE  | caller 100, a INVITE
            a 200   | a answered, caller 200, settled
            +30     |
            copy    | other 100, other 200
            """
        )
        self.play(
            """
            INVITE  | caller 100, a INVITE
            a 200   | a answered, caller 200, settled
            +33     |
            copy    | other 100, a INVITE
            """
        )

    def test_refused(self) -> None:
        """
        After a refusal, or once the call is being taken back, a copy is a call of its own.
        """
        self.play(
            """
            INVITE  | caller 100, a INVITE
            a 486   | a ACK, a answered, a failed 486, caller 486, settled
            copy    | other 100, a INVITE
            """
        )
        self.play(
            """
            INVITE  | caller 100, a INVITE
            a 180   | a answered, caller 180
            CANCEL  | caller 200 CANCEL, a CANCEL
            copy    | other 100
            +0.6    | a INVITE
            """
        )

    def test_held(self) -> None:
        """
        A copy that comes while the call is taken back is not sent on before the callee has got the ACK of its
        487: until then it would be a second INVITE of the same transaction to it. A further copy joins it.
        """
        rig = self.play(
            """
            INVITE       | caller 100, a INVITE
            a 180        | a answered, caller 180
            CANCEL       | caller 200 CANCEL, a CANCEL
            copy         | other 100
            third        | other 100
            a 487 INVITE | a ACK, a failed 487, caller 487, settled
            +0.1         | a INVITE
            +1           |
            a 180        | a answered, other 180, other 180
            a 200        | other 200, other 200, settled
            +33          |
            """
        )
        self.assertEqual((rig.ledger.accepted, rig.core.counters["joined"]), (2, 1))
        assert rig.core._copies is not None
        self.assertEqual((len(rig.core._copies), rig.core._copies.ending), (0, {}))

    def test_heldAfterALoss(self) -> None:
        """
        The same where the call is taken back because no copy was there for too long.
        """
        self.play(
            f"""
            INVITE          | caller 100, a INVITE
            a 180           | a answered, caller 180
            lose caller     |
            +{PATIENCE + 1} | a CANCEL
            copy            | other 100
            a 487 INVITE    | a ACK, settled
            +0.1            | a INVITE
            """
        )

    def test_heldAndAnswered(self) -> None:
        """
        The callee has taken up before the CANCEL was there: the copy that was held gets this answer, and the
        callee no second INVITE.
        """
        rig = self.play(
            """
            INVITE  | caller 100, a INVITE
            a 180   | a answered, caller 180
            CANCEL  | caller 200 CANCEL, a CANCEL
            copy    | other 100
            third   | other 100
            a 200   | caller 200, other 200, other 200, settled, settled
            +33     |
            """
        )
        vias = [message.getAll(b"Via") for message in rig.lines["other"].sent[-2:]]
        self.assertEqual(
            vias, [[b"SIP/2.0/SCTP 192.0.2.2:5060;branch=z9hG4bK" + name] for name in (b"copy", b"third")]
        )
        self.assertEqual(len(rig.ledger), 0)

    def test_heldAndCancelled(self) -> None:
        """
        The caller hangs up while the copy is held: the callee hears nothing more of it.
        """
        self.play(
            """
            INVITE       | caller 100, a INVITE
            a 180        | a answered, caller 180
            CANCEL       | caller 200 CANCEL, a CANCEL
            copy         | other 100
            copy CANCEL  | other 200 CANCEL
            a 487 INVITE | a ACK, a failed 487, caller 487, settled
            +0.1         | other 487, settled
            """
        )

    def test_heldAndLost(self) -> None:
        """
        Its server dies, too: the callee rings for as long as yet another copy may come.
        """
        self.play(
            f"""
            INVITE          | caller 100, a INVITE
            a 180           | a answered, caller 180
            CANCEL          | caller 200 CANCEL, a CANCEL
            copy            | other 100
            lose other      |
            a 487 INVITE    | a ACK, a failed 487, caller 487, settled
            +0.1            | a INVITE
            a 180           | a answered
            +{PATIENCE + 1} | a CANCEL
            """
        )

    def test_heldAndForced(self) -> None:
        """
        The client itself leaves: all get their final answer, and nothing is sent on.
        """
        self.play(
            """
            INVITE  | caller 100, a INVITE
            a 180   | a answered, caller 180
            CANCEL  | caller 200 CANCEL, a CANCEL
            copy    | other 100
            force   | caller 503, settled, other 503, settled
            +1      |
            """
        )

    def test_oneCancelled(self) -> None:
        """
        The late attempt is taken back: the call goes on by the other way.
        """
        self.play(
            """
            INVITE      | caller 100, a INVITE
            a 180       | a answered, caller 180
            copy        | other 100, other 180
            copy CANCEL | other 200 CANCEL, other 487
            a 200       | caller 200, settled
            """
        )
        self.play(
            """
            INVITE      | caller 100, a INVITE
            a 180       | a answered, caller 180
            copy        | other 100, other 180
            CANCEL      | caller 200 CANCEL, caller 487
            a 200       | other 200, settled
            """
        )

    def test_bothCancelled(self) -> None:
        """
        The caller has hung up: when the last copy is taken back, so is the call.
        """
        self.play(
            """
            INVITE       | caller 100, a INVITE
            a 180        | a answered, caller 180
            copy         | other 100, other 180
            copy CANCEL  | other 200 CANCEL, other 487
            CANCEL       | caller 200 CANCEL, a CANCEL
            a 487 INVITE | a ACK, a failed 487, caller 487, settled
            """
        )

    def test_cancelledTooLate(self) -> None:
        """
        A CANCEL after the answer changes nothing.
        """
        self.play(
            """
            INVITE      | caller 100, a INVITE
            copy        | other 100
            a 200       | a answered, caller 200, other 200, settled
            copy CANCEL | other 200 CANCEL
            """
        )

    def test_serverLost(self) -> None:
        """
        The server of the first copy dies: the call goes on for the second.
        """
        self.play(
            """
            INVITE      | caller 100, a INVITE
            a 180       | a answered, caller 180
            copy        | other 100, other 180
            lose caller |
            a 200       | other 200, settled
            """
        )

    def test_copyInTime(self) -> None:
        """
        It dies before the second copy has come: the callee goes on ringing until it has.
        """
        self.play(
            f"""
            INVITE        | caller 100, a INVITE
            a 180         | a answered, caller 180
            lose caller   |
            +{PATIENCE - 1} |
            copy          | other 100, other 180
            +{PATIENCE}   |
            a 200         | other 200, settled
            """
        )

    def test_noCopy(self) -> None:
        """
        None comes: the call is taken back.
        """
        self.play(
            f"""
            INVITE        | caller 100, a INVITE
            a 180         | a answered, caller 180
            lose caller   |
            +{PATIENCE - 1} |
            +2            | a CANCEL
            a 487 INVITE  | a ACK, settled
            copy          | other 100, a INVITE
            """
        )

    def test_answeredMeanwhile(self) -> None:
        """
        The callee answers while nobody is there to hear it: the answer waits for the copy.
        """
        self.play(
            f"""
            INVITE        | caller 100, a INVITE
            a 180         | a answered, caller 180
            lose caller   |
            +2            |
            a 200         | settled
            +{PATIENCE - 1} |
            copy          | other 100, other 200
            +{PATIENCE}   |
            """
        )

    def test_answeredToNobody(self) -> None:
        """
        Where none comes the call is ended.
        """
        rig = self.play(
            f"""
            INVITE        | caller 100, a INVITE
            a 180         | a answered, caller 180
            lose caller   |
            a 200         | settled
            +{PATIENCE - 1} |
            +2            | a ACK, a BYE
            a 200 BYE     |
            """
        )
        self.assertEqual(rig.core.counters["ghosts"], 1)

    def test_lostWithTheAnswer(self) -> None:
        """
        The association breaks over the answer itself.
        """
        rig = CopiesRig()
        rig.step("INVITE")
        rig.lines["caller"].up = False
        rig.take()
        rig.step("a 200")
        self.assertEqual(rig.take(), ["a answered", "settled"])
        rig.step("copy")
        self.assertEqual(rig.take(), ["other 100", "other 200"])
        rig.step(f"+{PATIENCE + 1}")
        self.assertEqual(rig.take(), [])

    def test_cancelledAndLost(self) -> None:
        """
        One attempt was taken back, and the server of the other dies: another may come.
        """
        table = f"""
            INVITE       | caller 100, a INVITE
            a 180        | a answered, caller 180
            copy         | other 100, other 180
            CANCEL       | caller 200 CANCEL, caller 487
            lose other   |
            ACK          |
            +{PATIENCE - 1} |
            """
        self.play(table + "+2 | a CANCEL\na 487 INVITE | a ACK, settled")
        rig = self.play(table)
        rig.lines["other"].up = True
        rig.step("copy")
        self.assertEqual(rig.take(), ["other 100", "other 180"])
        rig.step("a 200")
        self.assertEqual(rig.take(), ["other 200", "settled"])

    def test_recalled(self) -> None:
        """
        The client itself leaves: both servers get its final answer.
        """
        self.play(
            """
            INVITE       | caller 100, a INVITE
            a 180        | a answered, caller 180
            copy         | other 100, other 180
            recall       | a CANCEL
            a 487 INVITE | a ACK, a failed 487, caller 503, other 503, settled forced
            """
        )
        self.play(
            """
            INVITE      | caller 100, a INVITE
            a 180       | a answered, caller 180
            copy        | other 100, other 180
            force       | caller 503, other 503, a CANCEL, settled
            """
        )

    def test_others(self) -> None:
        """
        Another call, another number, a call from the other side and what belongs to a dialog are no copies.
        """
        rig = CopiesRig()
        rig.step("INVITE")
        changed = (
            {"callId": b"other"},
            {"cseq": 2},
            {"uri": b"sip:carol@example.org"},
            {"toTag": b"a"},
        )
        for number, change in enumerate(changed):
            rig.take()
            branch = b"z9hG4bK%d" % number
            rig.receive(makeRequest(b"INVITE", via=rig.VIA, branch=branch, **change), "other")
            self.assertEqual(rig.take(), ["other 100", "a INVITE"], change)
        rig.receive(makeRequest(b"INVITE", via=b"SIP/2.0/SCTP 192.0.2.12", branch=b"z9hG4bKb"), "b")
        self.assertEqual(rig.take(), ["b 100", "a INVITE"])
        self.assertEqual(rig.core.counters["joined"], 0)
