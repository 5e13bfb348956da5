"""
The transactions of other requests over time: each test compares everything that happens, with its second.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from sipgrace.message.derive import respond
from sipgrace.message.parser import parse
from tests.fakes import Rig, makeResponse


def empty(rig: Rig) -> bool:
    layer = rig.layer
    return not (layer.inviteServers or layer.servers or layer.inviteClients or layer.clients)


class NonInviteServerTests(SynchronousTestCase):
    def answer(self, rig: Rig, status: int) -> None:
        rig.user.transactions[0].respond(respond(rig.makeRequest(b"OPTIONS"), status))

    def test_answeredUnreliable(self) -> None:
        """
        Retransmissions are absorbed until there is an answer, and then get it until Timer J.
        """
        rig = Rig()
        server = rig.server(b"OPTIONS")
        rig.run(0.5)
        rig.receive(rig.makeRequest(b"OPTIONS"))
        rig.run(0.5)
        self.answer(rig, 200)
        self.assertEqual((server.finalStatus, server.request), (200, None))
        self.answer(rig, 500)
        rig.receive(rig.makeRequest(b"OPTIONS"))
        rig.run(31)
        rig.receive(rig.makeRequest(b"OPTIONS"))
        rig.run(10)
        self.assertEqual(
            rig.times,
            [(0, "new OPTIONS"), (1, "send 200"), (1, "again"), (32, "again"), (33, "end done")],
        )
        self.assertTrue(empty(rig))

    def test_answeredReliable(self) -> None:
        """
        With Timer J of zero it ends at once; a user that answers at once costs no timer.
        """
        rig = Rig(reliable=True)
        rig.user.onRequest = lambda transaction, request: transaction.respond(respond(request, 200))
        rig.server(b"OPTIONS")
        self.assertEqual(rig.events, ["new OPTIONS", "send 200", "end done"])
        self.assertTrue(empty(rig))
        self.assertEqual(rig.clock.getDelayedCalls(), [])

    def test_lateTrying(self) -> None:
        """
        RFC 4320 §4.1: no provisional response but 100, over UDP not before Timer E has reached T2 at the
        client, and by then in any case.
        """
        rig = Rig()
        rig.server(b"OPTIONS")
        self.answer(rig, 100)
        self.answer(rig, 180)
        rig.run(3.5)
        self.answer(rig, 180)
        rig.receive(rig.makeRequest(b"OPTIONS"))
        rig.run(1)
        self.answer(rig, 200)
        self.assertEqual(
            rig.times, [(0, "new OPTIONS"), (3.5, "send 100"), (3.5, "again"), (4.5, "send 200")]
        )

    def test_earlyTryingReliable(self) -> None:
        """
        Over reliable transports 100 may go at once, and then needs not go later.
        """
        rig = Rig(reliable=True)
        rig.server(b"OPTIONS")
        self.answer(rig, 100)
        self.answer(rig, 180)
        rig.run(10)
        self.answer(rig, 200)
        self.assertEqual(rig.times, [(0, "new OPTIONS"), (0, "send 100"), (10, "send 200"), (10, "end done")])

    def test_no408(self) -> None:
        """
        RFC 4320 §4.2: a 408 goes nowhere, and what is retransmitted is absorbed nevertheless.
        """
        rig = Rig()
        server = rig.server(b"OPTIONS")
        rig.run(10)
        self.answer(rig, 408)
        rig.receive(rig.makeRequest(b"OPTIONS"))
        self.answer(rig, 200)
        self.assertEqual((server.finalStatus, server.request), (408, None))
        rig.run(40)
        self.assertEqual(rig.times, [(0, "new OPTIONS"), (3.5, "send 100"), (42, "end done")])
        self.assertTrue(empty(rig))

    def test_neverAnswered(self) -> None:
        """
        After 64*T1 the client has gone, and so goes the transaction.
        """
        for reliable in (False, True):
            rig = Rig(reliable)
            rig.server(b"OPTIONS")
            rig.run(100)
            self.answer(rig, 200)
            self.assertEqual(rig.times, [(0, "new OPTIONS"), (3.5, "send 100"), (32, "end timeout")])
            self.assertTrue(empty(rig))

    def test_unsent(self) -> None:
        rig = Rig(reliable=True)
        server = rig.server(b"OPTIONS")
        rig.association.up = False
        self.answer(rig, 200)
        self.assertEqual((rig.events, server.finalStatus), (["new OPTIONS", "end lost"], 0))
        rig.run(100)
        self.assertEqual(rig.events, ["new OPTIONS", "end lost"])

    def test_lostWhileSending(self) -> None:
        for status in (100, 200):
            rig = Rig(reliable=True)
            rig.server(b"OPTIONS")
            rig.association.whileSending = lambda rig=rig: rig.layer.associationLost(rig.association)
            self.answer(rig, status)
            rig.run(40)
            self.assertEqual(rig.events, ["new OPTIONS", f"send {status}", "end lost"])
            self.assertTrue(empty(rig))


class NonInviteClientTests(SynchronousTestCase):
    def arrive(self, rig: Rig, status: int) -> None:
        rig.receive(makeResponse(rig.makeRequest(b"BYE"), status))

    def test_noAnswerUnreliable(self) -> None:
        """
        Timer E doubles up to T2, eleven requests in all, until Timer F.
        """
        rig = Rig()
        rig.client(b"BYE")
        rig.run(100)
        again = [(seconds, "again") for seconds in (0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5)]
        self.assertEqual(rig.times, [(0, "BYE"), *again, (32, "fail timeout")])
        self.assertTrue(empty(rig))

    def test_userLetGo(self) -> None:
        """
        After the final response it can be told nothing more, and is not kept.
        """
        for reliable in (False, True):
            rig = Rig(reliable)
            client = rig.client(b"BYE")
            self.arrive(rig, 100)
            self.assertIs(client.user, rig.user)
            self.arrive(rig, 481)
            self.assertEqual((rig.events, client.user), (["BYE", "tell 100", "tell 481"], None))

    def test_noAnswerReliable(self) -> None:
        rig = Rig(reliable=True)
        rig.client(b"BYE")
        rig.run(100)
        self.assertEqual(rig.times, [(0, "BYE"), (32, "fail timeout")])

    def test_provisional(self) -> None:
        """
        After a provisional response the request goes on every T2 seconds, and Timer F goes on, too.
        """
        rig = Rig()
        rig.client(b"BYE")
        rig.run(1)
        self.arrive(rig, 100)
        rig.run(100)
        again = [(seconds, "again") for seconds in (1.5, 5.5, 9.5, 13.5, 17.5, 21.5, 25.5, 29.5)]
        self.assertEqual(
            rig.times, [(0, "BYE"), (0.5, "again"), (1, "tell 100"), *again, (32, "fail timeout")]
        )

    def test_answeredUnreliable(self) -> None:
        """
        Timer K absorbs retransmitted responses.
        """
        rig = Rig()
        client = rig.client(b"BYE")
        self.arrive(rig, 200)
        self.assertEqual((client.finalStatus, client.request), (200, None))
        rig.run(4.5)
        self.arrive(rig, 200)
        rig.run(0.5)
        self.arrive(rig, 200)
        rig.run(100)
        self.assertEqual(rig.times, [(0, "BYE"), (0, "tell 200"), (5, "stray 200")])
        self.assertTrue(empty(rig))

    def test_answeredReliable(self) -> None:
        """
        With Timer K of zero it has ended before its user is told, who can still read the request.
        """
        rig = Rig(reliable=True)
        client = rig.client(b"BYE")
        seen: list[Any] = []
        rig.user.clientResponse = lambda transaction, response: seen.append(
            (empty(rig), transaction.request.method)
        )
        self.arrive(rig, 200)
        self.assertEqual((seen, client.request), ([(True, b"BYE")], None))
        self.arrive(rig, 200)
        self.assertEqual(rig.events, ["BYE", "stray 200"])

    def test_abandoned(self) -> None:
        """
        It is not sent again, and nobody hears of it.
        """
        rig = Rig()
        client = rig.client(b"BYE")
        rig.run(1)
        client.abandon()
        rig.run(100)
        self.assertEqual(rig.times, [(0, "BYE"), (0.5, "again")])
        self.assertTrue(empty(rig))

    def test_lost(self) -> None:
        rig = Rig(reliable=True)
        rig.client(b"BYE")
        rig.layer.associationLost(rig.association)
        rig.run(100)
        self.assertEqual(rig.times, [(0, "BYE"), (0, "fail lost")])
        self.assertTrue(empty(rig))

    def test_unsent(self) -> None:
        rig = Rig(reliable=True)
        rig.association.up = False
        rig.client(b"BYE")
        self.assertEqual(rig.events, [])
        rig.clock.advance(0)
        self.assertEqual(rig.events, ["fail lost"])
        self.assertTrue(empty(rig))

    def test_branchInUse(self) -> None:
        rig = Rig()
        rig.client(b"BYE")
        self.assertRaises(ValueError, rig.client, b"BYE")
        sent: Any = parse(rig.association.sent[0])
        self.assertEqual((len(rig.association.sent), sent.branch), (1, b"z9hG4bK74bf9"))
