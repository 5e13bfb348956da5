"""
The INVITE transactions over time: each test compares everything that happens, with its second.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from sipgrace.message.derive import respond
from sipgrace.message.parser import parse
from tests.fakes import Rig, makeRequest, makeResponse


def empty(rig: Rig) -> bool:
    layer = rig.layer
    return not (layer.inviteServers or layer.servers or layer.inviteClients or layer.clients)


class InviteServerTests(SynchronousTestCase):
    def answer(self, rig: Rig, status: int) -> None:
        rig.user.transactions[0].respond(respond(rig.makeRequest(b"INVITE"), status))

    def test_tryingAfter200ms(self) -> None:
        """
        Where the user stays silent the transaction sends 100 by itself, without a To tag (§17.2.1).
        """
        rig = Rig()
        rig.server(b"INVITE")
        rig.run(1)
        self.assertEqual(rig.times, [(0, "new INVITE"), (0.25, "send 100")])
        sent: Any = parse(rig.association.sent[0])
        self.assertEqual((sent.status, sent.toTag, sent.branch), (100, b"", b"z9hG4bK74bf9"))
        rig.receive(rig.makeRequest(b"INVITE"))
        self.assertEqual(rig.events[2:], ["again"])

    def test_userAnswersAtOnce(self) -> None:
        """
        A 100 from within C{requestReceived} needs no timer.
        """
        rig = Rig()
        rig.user.onRequest = lambda transaction, request: transaction.respond(respond(request, 100))
        rig.server(b"INVITE")
        self.assertEqual(rig.clock.getDelayedCalls(), [])
        self.assertEqual(rig.events, ["new INVITE", "send 100"])

    def test_refusedUnreliable(self) -> None:
        """
        A final response other than 2xx: Timer G doubles up to T2 until the ACK; Timer I absorbs ACKs.
        """
        rig = Rig()
        server = rig.server(b"INVITE")
        self.answer(rig, 486)
        self.assertEqual(server.finalStatus, 486)
        self.assertIsNone(server.request)
        rig.run(9)
        rig.receive(rig.makeRequest(b"ACK"))
        rig.run(1)
        rig.receive(rig.makeRequest(b"ACK"))
        rig.receive(rig.makeRequest(b"INVITE"))
        rig.run(40)
        self.assertEqual(
            rig.times,
            [
                (0, "new INVITE"),
                (0, "send 486"),
                (0.5, "again"),
                (1.5, "again"),
                (3.5, "again"),
                (7.5, "again"),
                (14, "end done"),
            ],
        )
        self.assertTrue(empty(rig))

    def test_noAckUnreliable(self) -> None:
        """
        Timer H ends the retransmissions after 64*T1.
        """
        rig = Rig()
        rig.server(b"INVITE")
        self.answer(rig, 486)
        rig.run(40)
        again = [(seconds, "again") for seconds in (0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5)]
        self.assertEqual(rig.times, [(0, "new INVITE"), (0, "send 486"), *again, (32, "end timeout")])

    def test_noAckReliable(self) -> None:
        """
        Timer H is set on all transports.
        """
        rig = Rig(reliable=True)
        rig.server(b"INVITE")
        self.answer(rig, 486)
        rig.run(40)
        self.assertEqual(rig.times, [(0, "new INVITE"), (0, "send 486"), (32, "end timeout")])

    def test_refusedReliable(self) -> None:
        rig = Rig(reliable=True)
        rig.server(b"INVITE")
        self.answer(rig, 486)
        rig.receive(rig.makeRequest(b"ACK"))
        self.assertTrue(empty(rig))
        rig.run(40)
        self.assertEqual(rig.times, [(0, "new INVITE"), (0, "send 486"), (0, "end done")])
        self.assertEqual(rig.clock.getDelayedCalls(), [])

    def test_accepted(self) -> None:
        """
        After a 2xx, on every transport: further 2xx go out, INVITEs are absorbed, and a transaction is
        left after Timer L (RFC 6026). The user knows at once that its response has left.
        """
        for reliable in (False, True):
            rig = Rig(reliable)
            server = rig.server(b"INVITE")
            self.answer(rig, 100)
            self.answer(rig, 180)
            self.answer(rig, 200)
            self.assertEqual(server.finalStatus, 200)
            self.assertIsNone(server.request)
            rig.run(1)
            rig.receive(rig.makeRequest(b"INVITE"))
            rig.run(1)
            self.answer(rig, 200)
            self.answer(rig, 487)
            rig.run(40)
            self.assertEqual(
                rig.times,
                [
                    (0, "new INVITE"),
                    (0, "send 100"),
                    (0, "send 180"),
                    (0, "send 200"),
                    (2, "again"),
                    (32, "end done"),
                ],
            )
            self.assertTrue(empty(rig))

    def test_lastProvisional(self) -> None:
        """
        A retransmitted INVITE gets the most recent provisional response.
        """
        rig = Rig()
        rig.server(b"INVITE")
        for status in (100, 180, 183):
            self.answer(rig, status)
        rig.receive(rig.makeRequest(b"INVITE"))
        self.assertEqual(rig.events, ["new INVITE", "send 100", "send 180", "send 183", "again"])
        self.assertTrue(rig.association.sent[-1].startswith(b"SIP/2.0 183 "))

    def test_unsent(self) -> None:
        """
        A final response that the association does not take ends the transaction before C{respond}
        returns, and what comes afterwards goes nowhere.
        """
        rig = Rig(reliable=True)
        server = rig.server(b"INVITE")
        rig.association.up = False
        self.answer(rig, 200)
        self.assertEqual((rig.events, server.finalStatus), (["new INVITE", "end lost"], 0))
        self.answer(rig, 200)
        self.answer(rig, 486)
        rig.run(40)
        self.assertEqual(rig.events, ["new INVITE", "end lost"])

    def test_lostBeforeFinal(self) -> None:
        rig = Rig(reliable=True)
        server = rig.server(b"INVITE")
        rig.association.up = False
        rig.layer.associationLost(rig.association)
        self.answer(rig, 180)
        self.answer(rig, 200)
        self.assertEqual((rig.events, server.finalStatus), (["new INVITE", "end lost"], 0))

    def test_lostWhileSending(self) -> None:
        """
        An association that ends while it takes the final response (its bound is passed) leaves no
        transaction behind.
        """
        for status in (100, 200, 486):
            rig = Rig(reliable=True)
            rig.server(b"INVITE")
            rig.association.whileSending = lambda rig=rig: rig.layer.associationLost(rig.association)
            self.answer(rig, status)
            rig.run(40)
            self.assertEqual(rig.events, ["new INVITE", f"send {status}", "end lost"])
            self.assertTrue(empty(rig))

    def test_withoutUser(self) -> None:
        """
        Nobody needs to listen.
        """
        rig = Rig()
        server = rig.server(b"INVITE")
        server.user = None
        self.answer(rig, 200)
        rig.run(40)
        self.assertEqual(rig.events, ["new INVITE", "send 200"])
        self.assertTrue(empty(rig))


class InviteClientTests(SynchronousTestCase):
    def arrive(self, rig: Rig, status: int, method: bytes = b"INVITE", **changes: Any) -> None:
        rig.receive(makeResponse(rig.makeRequest(method), status, **changes))

    def test_noAnswerUnreliable(self) -> None:
        """
        Timer A doubles without a bound, seven INVITEs in all, until Timer B.
        """
        rig = Rig()
        rig.client(b"INVITE")
        rig.run(100)
        again = [(seconds, "again") for seconds in (0.5, 1.5, 3.5, 7.5, 15.5, 31.5)]
        self.assertEqual(rig.times, [(0, "INVITE"), *again, (32, "fail timeout")])
        self.assertTrue(empty(rig))

    def test_noAnswerReliable(self) -> None:
        rig = Rig(reliable=True)
        rig.client(b"INVITE")
        rig.run(100)
        self.assertEqual(rig.times, [(0, "INVITE"), (32, "fail timeout")])

    def test_accepted(self) -> None:
        """
        Provisional responses stop the retransmissions and Timer B; each 2xx goes up until Timer M; then
        it is a stray.
        """
        for reliable in (False, True):
            rig = Rig(reliable)
            client = rig.client(b"INVITE")
            rig.run(0.25)
            self.arrive(rig, 100)
            rig.run(59.75)
            self.arrive(rig, 180)
            self.arrive(rig, 200)
            self.assertEqual(client.finalStatus, 200)
            rig.run(1)
            self.arrive(rig, 200)
            self.arrive(rig, 200, toTag=b"another")
            self.arrive(rig, 180)
            self.arrive(rig, 486)
            rig.run(31)
            self.assertTrue(empty(rig))
            self.arrive(rig, 200)
            self.assertEqual(
                rig.times,
                [
                    (0, "INVITE"),
                    (0.25, "tell 100"),
                    (60, "tell 180"),
                    (60, "tell 200"),
                    (61, "tell 200"),
                    (61, "tell 200"),
                    (92, "stray 200"),
                ],
            )

    def test_refusedUnreliable(self) -> None:
        """
        The ACK goes by itself, again for each retransmission of the response, which goes up once.
        """
        rig = Rig()
        client = rig.client(b"INVITE")
        self.arrive(rig, 503)
        self.arrive(rig, 503)
        rig.run(31.5)
        self.arrive(rig, 503)
        self.arrive(rig, 180)
        rig.run(0.5)
        self.assertTrue(empty(rig))
        self.arrive(rig, 503)
        self.assertEqual(
            rig.times,
            [
                (0, "INVITE"),
                (0, "ACK"),
                (0, "tell 503"),
                (0, "again"),
                (31.5, "again"),
                (32, "stray 503"),
            ],
        )
        self.assertEqual(client.finalStatus, 503)
        ack: Any = parse(rig.association.sent[1])
        self.assertEqual((ack.method, ack.branch, ack.toTag), (b"ACK", b"z9hG4bK74bf9", b"314159"))

    def test_refusedReliable(self) -> None:
        """
        With Timer D of zero it has ended before its user is told.
        """
        rig = Rig(reliable=True)
        rig.client(b"INVITE")
        left: list[bool] = []
        rig.user.clientResponse = lambda transaction, response: left.append(empty(rig))
        self.arrive(rig, 503)
        self.assertEqual((rig.events, left), (["INVITE", "ACK"], [True]))

    def test_requestReadable(self) -> None:
        """
        While its user is told, the request is still there; afterwards it has gone.
        """
        for status in (200, 404):
            for reliable in (False, True):
                rig = Rig(reliable)
                client = rig.client(b"INVITE")
                seen: list[bytes] = []
                rig.user.clientResponse = lambda transaction, response, seen=seen: seen.append(
                    transaction.request.uri
                )
                self.arrive(rig, status)
                self.assertEqual((seen, client.request), ([b"sip:bob@biloxi.example"], None))

    def test_userLetGo(self) -> None:
        """
        After a refusal it can be told nothing more, and is not kept; after a 2xx it can.
        """
        for status, kept in ((180, True), (200, True), (404, False)):
            for reliable in (False, True):
                rig = Rig(reliable)
                client = rig.client(b"INVITE")
                self.arrive(rig, status)
                self.assertEqual(client.user is rig.user, kept)

    def test_unsent(self) -> None:
        """
        Where the association does not take the INVITE the user hears so, but not from within C{request}.
        """
        rig = Rig(reliable=True)
        rig.association.up = False
        rig.client(b"INVITE")
        self.assertEqual(rig.events, [])
        rig.clock.advance(0)
        self.assertEqual(rig.events, ["fail lost"])
        self.assertTrue(empty(rig))

    def test_cancelBeforeProvisional(self) -> None:
        """
        The CANCEL waits for a provisional response, while the INVITE goes on; its own transaction goes on
        after that of the INVITE, and its answer interests nobody.
        """
        rig = Rig()
        client = rig.client(b"INVITE")
        client.cancel()
        client.cancel()
        rig.run(1)
        self.arrive(rig, 100)
        client.cancel()
        self.arrive(rig, 487)
        rig.run(1)
        self.arrive(rig, 200, b"CANCEL")
        rig.run(100)
        self.assertEqual(
            rig.times,
            [
                (0, "INVITE"),
                (0.5, "again"),
                (1, "CANCEL"),
                (1, "tell 100"),
                (1, "ACK"),
                (1, "tell 487"),
                (1.5, "CANCEL"),
            ],
        )
        cancel: Any = parse(rig.association.sent[2])
        self.assertEqual((cancel.method, cancel.branch, cancel.cseq), (b"CANCEL", b"z9hG4bK74bf9", 1))
        self.assertTrue(empty(rig))

    def test_cancelWithoutFinal(self) -> None:
        """
        What was cancelled and is not answered ends 64*T1 after the CANCEL (§9.1).
        """
        rig = Rig(reliable=True)
        client = rig.client(b"INVITE")
        self.arrive(rig, 180)
        rig.run(50)
        client.cancel()
        self.arrive(rig, 200, b"CANCEL")
        rig.run(100)
        self.assertEqual(rig.times, [(0, "INVITE"), (0, "tell 180"), (50, "CANCEL"), (82, "fail timeout")])
        self.assertTrue(empty(rig))

    def test_cancelRacesFinal(self) -> None:
        """
        After a final response there is nothing to cancel; a 2xx that crosses the CANCEL goes up.
        """
        for status in (200, 486):
            rig = Rig(reliable=True)
            client = rig.client(b"INVITE")
            self.arrive(rig, status)
            client.cancel()
            client.abandon()
            rig.run(100)
            self.assertNotIn("CANCEL", rig.events)
        rig = Rig(reliable=True)
        client = rig.client(b"INVITE")
        self.arrive(rig, 180)
        client.cancel()
        self.arrive(rig, 200)
        self.assertEqual(rig.events, ["INVITE", "tell 180", "CANCEL", "tell 200"])
        rig = Rig(reliable=True)
        client = rig.client(b"INVITE")
        client.cancel()
        self.arrive(rig, 200)
        self.assertEqual(rig.events, ["INVITE", "tell 200"])

    def test_abandonedBeforeProvisional(self) -> None:
        """
        An INVITE that was abandoned is not sent again. A late 100 is followed by CANCEL; of what
        follows, the user hears nothing.
        """
        rig = Rig()
        client = rig.client(b"INVITE")
        rig.run(2)
        client.abandon()
        rig.run(3)
        self.arrive(rig, 100)
        self.arrive(rig, 180)
        self.arrive(rig, 200, b"CANCEL")
        self.arrive(rig, 487)
        rig.run(100)
        self.assertEqual(
            rig.times,
            [
                (0, "INVITE"),
                (0.5, "again"),
                (1.5, "again"),
                (5, "CANCEL"),
                (5, "ACK"),
            ],
        )
        self.assertTrue(empty(rig))

    def test_abandonedAnswered(self) -> None:
        """
        A late 2xx is for the layer's user, who can end the call.
        """
        rig = Rig(reliable=True)
        client = rig.client(b"INVITE")
        client.abandon()
        self.arrive(rig, 200)
        self.arrive(rig, 200)
        rig.run(100)
        self.assertEqual(rig.times, [(0, "INVITE"), (0, "stray 200"), (0, "stray 200")])

    def test_abandonedInSilence(self) -> None:
        """
        Neither a time limit nor a lost association is reported of it.
        """
        for provisional in (False, True):
            for lost in (False, True):
                rig = Rig(reliable=True)
                client = rig.client(b"INVITE")
                if provisional:
                    self.arrive(rig, 180)
                client.abandon()
                rig.clear()
                if lost:
                    rig.association.up = False
                    rig.layer.associationLost(rig.association)
                rig.run(100)
                self.assertEqual(rig.events, [])
                self.assertTrue(empty(rig))

    def test_cancelFromWithin(self) -> None:
        """
        The user may cancel and abandon while it is told of a response.
        """
        for name in ("cancel", "abandon"):
            rig = Rig(reliable=True)
            rig.client(b"INVITE")
            rig.user.clientResponse = lambda transaction, response, name=name: getattr(transaction, name)()
            self.arrive(rig, 100)
            self.arrive(rig, 180)
            self.arrive(rig, 487)
            self.assertEqual(rig.events, ["INVITE", "CANCEL", "ACK"])

    def test_lostWhileAcknowledging(self) -> None:
        """
        An association that ends while it takes the ACK takes no answer from the user.
        """
        for reliable in (False, True):
            rig = Rig(reliable)
            rig.client(b"INVITE")
            rig.association.whileSending = lambda rig=rig: rig.layer.associationLost(rig.association)
            self.arrive(rig, 486)
            rig.run(100)
            self.assertEqual(rig.events, ["INVITE", "ACK", "tell 486"])
            self.assertTrue(empty(rig))

    def test_branchInUse(self) -> None:
        rig = Rig()
        rig.client(b"INVITE")
        self.assertRaises(ValueError, rig.client, b"INVITE")
        self.assertRaises(ValueError, rig.layer.request, makeRequest(b"ACK"), rig.association, rig.user)
        self.assertEqual(rig.events, ["INVITE"])
