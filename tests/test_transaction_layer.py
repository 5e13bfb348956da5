"""
How messages find their transactions, and what the layer does with those that have none.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from sipgrace.message.derive import respond
from sipgrace.message.parser import parse
from sipgrace.transaction.layer import LOST_AT_ONCE
from sipgrace.transaction.timers import Timers
from tests.fakes import FakeAssociation, Rig, makeRequest, makeResponse


class MatchingTests(SynchronousTestCase):
    """
    RFC 3261 §17.2.3 and §17.1.3.
    """

    def setUp(self) -> None:
        self.rig = Rig()

    def news(self, *requests: Any) -> list[str]:
        self.rig.clear()
        for request in requests:
            self.rig.receive(request)
        return self.rig.events

    def test_branchAndSentBy(self) -> None:
        """
        The same branch from another sent-by is another request.
        """
        events = self.news(
            makeRequest(b"INVITE"),
            makeRequest(b"INVITE", sentBy=b"192.0.2.7:5061"),
            makeRequest(b"INVITE", sentBy=b"192.0.2.8:5060"),
            makeRequest(b"INVITE", branch=b"z9hG4bKother"),
            makeRequest(b"INVITE"),
        )
        self.assertEqual(events, ["new INVITE"] * 4)

    def test_methodCounts(self) -> None:
        """
        With one branch there can be one transaction of each method; a duplicate of each is absorbed.
        """
        methods = [b"INVITE", b"CANCEL", b"OPTIONS", b"FOO"]
        events = self.news(*[makeRequest(method) for method in methods * 2])
        self.assertEqual(events, ["new INVITE", "new CANCEL", "new OPTIONS", "new FOO"])

    def test_branchAlone(self) -> None:
        """
        With the cookie nothing but branch, sent-by and method is compared.
        """
        events = self.news(
            makeRequest(b"OPTIONS"), makeRequest(b"OPTIONS", uri=b"sip:eve@example.org", cseq=7)
        )
        self.assertEqual(events, ["new OPTIONS"])

    def test_strayAck(self) -> None:
        """
        The ACK of a 2xx has a branch of its own.
        """
        self.rig.server(b"INVITE").respond(respond(makeRequest(b"INVITE"), 200))
        self.assertEqual(self.news(makeRequest(b"ACK", branch=b"z9hG4bKack")), ["pass"])

    def test_ackAssociation(self) -> None:
        """
        The user is given the association on which the ACK came.
        """
        other = FakeAssociation(self.rig.journal, True)
        got: list[Any] = []
        self.rig.user.ackReceived = lambda request, association: got.append(association)
        self.rig.receive(makeRequest(b"ACK"), other)
        self.assertEqual(got, [other])

    def test_responses(self) -> None:
        """
        Responses are found by branch and CSeq method; all others are strays.
        """
        rig = self.rig
        rig.client(b"INVITE")
        rig.client(b"OPTIONS")
        rig.clear()
        rig.receive(makeResponse(makeRequest(b"INVITE"), 180))
        rig.receive(makeResponse(makeRequest(b"OPTIONS"), 200))
        rig.receive(makeResponse(makeRequest(b"CANCEL"), 200))
        rig.receive(makeResponse(makeRequest(b"INVITE", branch=b"z9hG4bKother"), 183))
        rig.receive(makeResponse(makeRequest(b"OPTIONS", branch=b"z9hG4bKother"), 404))
        self.assertEqual(rig.events, ["tell 180", "tell 200", "stray 200", "stray 183", "stray 404"])

    def test_counts(self) -> None:
        rig = self.rig
        rig.server(b"INVITE")
        rig.server(b"OPTIONS")
        rig.server(b"CANCEL")
        rig.client(b"INVITE")
        rig.client(b"BYE")
        self.assertEqual(
            rig.layer.counts(),
            {
                "inviteServers": 1,
                "nonInviteServers": 2,
                "inviteClients": 1,
                "nonInviteClients": 1,
                "timers": 1 + 2 + 1 + 1,
                "shed": 0,
            },
        )


class LegacyTests(SynchronousTestCase):
    """
    Peers of RFC 2543 (§17.2.3, second half): with no branch or one without the cookie. (A bare cookie is
    refused by the parser.)
    """

    branches = (b"", b"1")
    different: tuple[dict[str, Any], ...] = (
        {"uri": b"sip:carol@biloxi.example"},
        {"to": b"<sip:bob@biloxi.example>;tag=9"},
        {"cseq": 2},
        {"sentBy": b"192.0.2.8"},
    )

    def test_duplicates(self) -> None:
        for method in (b"INVITE", b"OPTIONS"):
            for branch in self.branches:
                rig = Rig()
                for _ in range(2):
                    rig.receive(makeRequest(method, branch=branch))
                for change in self.different:
                    rig.receive(makeRequest(method, branch=branch, **change))
                self.assertEqual(rig.events, [f"new {method.decode()}"] * 5)

    def test_fromTagAndCallId(self) -> None:
        rig = Rig()
        request = makeRequest(b"OPTIONS", branch=b"")
        for old, new in ((b"tag=9fxced76sl", b"tag=other"), (b"38482762", b"38482763")):
            changed = request.toBytes().replace(old, new)
            self.assertNotEqual(changed, request.toBytes())
            rig.receive(parse(changed))
        rig.receive(request)
        self.assertEqual(rig.events, ["new OPTIONS"] * 3)

    def test_methodCounts(self) -> None:
        rig = Rig()
        for method in (b"INVITE", b"CANCEL", b"OPTIONS"):
            rig.receive(makeRequest(method, branch=b""))
        self.assertEqual(rig.events, ["new INVITE", "new CANCEL", "new OPTIONS"])

    def test_ack(self) -> None:
        """
        The ACK has the To tag of the response; with another it is one for a 2xx from elsewhere.
        """
        for branch in self.branches:
            rig = Rig()
            rig.receive(makeRequest(b"INVITE", branch=branch))
            server = rig.user.transactions[0]
            server.respond(respond(server.request, 486, toTag=b"ours"))
            rig.clear()
            rig.receive(makeRequest(b"ACK", branch=branch, to=b"<sip:bob@biloxi.example>;tag=theirs"))
            self.assertEqual(rig.events, ["pass"])
            rig.receive(makeRequest(b"ACK", branch=branch, to=b"<sip:bob@biloxi.example>;tag=ours"))
            rig.run(10)
            self.assertEqual(rig.events, ["pass", "end done"])

    def test_ackInDialog(self) -> None:
        """
        An INVITE within a dialog has the To tag from the start.
        """
        to = b"<sip:bob@biloxi.example>;tag=theirs"
        rig = Rig()
        rig.receive(makeRequest(b"INVITE", branch=b"", to=to))
        server = rig.user.transactions[0]
        server.respond(respond(server.request, 486))
        rig.receive(makeRequest(b"ACK", branch=b"", to=to))
        rig.run(10)
        self.assertEqual(rig.events, ["new INVITE", "send 486", "end done"])

    def test_ackOfAccepted(self) -> None:
        rig = Rig()
        rig.receive(makeRequest(b"INVITE", branch=b""))
        server = rig.user.transactions[0]
        server.respond(respond(server.request, 200, toTag=b"ours"))
        rig.clear()
        rig.receive(makeRequest(b"ACK", branch=b"", to=b"<sip:bob@biloxi.example>;tag=ours"))
        self.assertEqual(rig.events, ["pass"])


class CancelTests(SynchronousTestCase):
    """
    RFC 3261 §9.2.
    """

    def test_found(self) -> None:
        for branch in (b"z9hG4bK1", b"1", b""):
            rig = Rig()
            rig.receive(makeRequest(b"INVITE", branch=branch))
            invite = rig.user.transactions[0]
            cancel = makeRequest(b"CANCEL", branch=branch)
            self.assertIs(rig.layer.inviteFor(cancel), invite)
            stranger = makeRequest(b"CANCEL", branch=branch, sentBy=b"198.51.100.1")
            self.assertIsNone(rig.layer.inviteFor(stranger))
            invite.respond(respond(invite.request, 486))
            self.assertIs(rig.layer.inviteFor(cancel), invite)
            rig.run(40)
            self.assertIsNone(rig.layer.inviteFor(cancel))

    def test_otherBranch(self) -> None:
        rig = Rig()
        rig.receive(makeRequest(b"INVITE"))
        self.assertIsNone(rig.layer.inviteFor(makeRequest(b"CANCEL", branch=b"z9hG4bKother")))
        rig.receive(makeRequest(b"OPTIONS", branch=b"z9hG4bKother"))
        self.assertIsNone(rig.layer.inviteFor(makeRequest(b"CANCEL", branch=b"z9hG4bKother")))


class LimitTests(SynchronousTestCase):
    def fill(self, limit: int = 2) -> Rig:
        rig = Rig(limit=limit)
        rig.receive(makeRequest(b"INVITE"))
        rig.receive(makeRequest(b"OPTIONS"))
        rig.clear()
        return rig

    def test_above(self) -> None:
        """
        Above the limit requests are answered without state: each copy alike, with 503 and no Retry-After.
        Duplicates of known ones are not concerned.
        """
        rig = self.fill()
        for method in (b"INVITE", b"BYE", b"CANCEL"):
            rig.clear()
            for _ in range(2):
                rig.receive(makeRequest(method, branch=b"z9hG4bKmore"))
            self.assertEqual(rig.events, ["send 503", "again"])
            sent: Any = parse(rig.association.sent[-1])
            self.assertEqual((sent.cseqMethod, sent.get(b"Retry-After")), (method, None))
        rig.clear()
        rig.receive(makeRequest(b"INVITE"))
        rig.receive(makeRequest(b"OPTIONS"))
        self.assertEqual(rig.events, [])
        self.assertEqual(len(rig.user.transactions), 2)
        self.assertEqual(rig.layer.counts()["shed"], 6)

    def test_ack(self) -> None:
        """
        The ACK of such a 503 is not taken for that of a 2xx.
        """
        rig = self.fill()
        rig.receive(makeRequest(b"INVITE", branch=b"z9hG4bKmore"))
        sent: Any = parse(rig.association.sent[-1])
        rig.clear()
        rig.receive(makeRequest(b"ACK", branch=b"z9hG4bKmore", to=sent.toValue))
        self.assertEqual(rig.events, [])
        rig.receive(makeRequest(b"ACK", branch=b"z9hG4bKmore", to=b"<sip:bob@biloxi.example>;tag=314159"))
        self.assertEqual(rig.events, ["pass"])

    def test_cancelPasses(self) -> None:
        """
        A CANCEL that finds its INVITE makes room.
        """
        rig = self.fill()
        rig.receive(makeRequest(b"CANCEL"))
        self.assertEqual(rig.events, ["new CANCEL"])

    def test_below(self) -> None:
        """
        When there is room again requests are taken again.
        """
        rig = self.fill()
        rig.user.transactions[0].lost()
        rig.clear()
        rig.receive(makeRequest(b"INVITE", branch=b"z9hG4bKmore"))
        self.assertEqual(rig.events, ["new INVITE"])

    def test_clientsDoNotCount(self) -> None:
        rig = Rig(limit=1)
        rig.client(b"INVITE")
        rig.client(b"BYE")
        rig.clear()
        rig.receive(makeRequest(b"INVITE"))
        self.assertEqual(rig.events, ["new INVITE"])


class UserFailureTests(SynchronousTestCase):
    """
    A user that raises on a request.
    """

    def check(self, method: bytes, answerFirst: bool, events: list[str]) -> None:
        rig = Rig(reliable=True)

        def fail(transaction: Any, request: Any) -> None:
            if answerFirst:
                transaction.respond(respond(request, 404))
            raise RuntimeError("on purpose")

        rig.user.onRequest = fail
        rig.receive(rig.makeRequest(method))
        self.assertEqual(rig.events, events)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_unanswered(self) -> None:
        """
        It is logged, and the request gets 500, so that no transaction stays for good.
        """
        self.check(b"INVITE", False, ["new INVITE", "send 500"])
        self.check(b"OPTIONS", False, ["new OPTIONS", "send 500", "end done"])

    def test_answered(self) -> None:
        """
        What has its answer keeps it.
        """
        self.check(b"INVITE", True, ["new INVITE", "send 404"])
        self.check(b"OPTIONS", True, ["new OPTIONS", "send 404", "end done"])


class LostTests(SynchronousTestCase):
    def test_allOnIt(self) -> None:
        """
        Every transaction of the association hears of it, clients first; those with a final response quietly.
        Those of other associations do not.
        """
        rig = Rig(reliable=True)
        other = FakeAssociation(rig.journal, True)
        answered = rig.server(b"INVITE")
        answered.respond(respond(answered.request, 200))
        rig.receive(rig.makeRequest(b"INVITE", branch=b"z9hG4bK2"))
        rig.receive(rig.makeRequest(b"INFO"))
        rig.receive(rig.makeRequest(b"INVITE", branch=b"z9hG4bK3"), other)
        rig.client(b"INVITE")
        rig.layer.request(rig.makeRequest(b"INVITE", branch=b"z9hG4bK4"), other, rig.user)
        rig.client(b"BYE")
        rig.clear()
        rig.association.up = False
        rig.layer.associationLost(rig.association)
        self.assertEqual(rig.events, ["fail lost", "fail lost", "end done", "end lost", "end lost"])
        counts = rig.layer.counts()
        self.assertEqual((counts["inviteServers"], counts["inviteClients"]), (1, 1))
        self.assertEqual((counts["nonInviteServers"], counts["nonInviteClients"]), (0, 0))
        rig.layer.associationLost(rig.association)
        rig.run(3)
        self.assertEqual(rig.events[5:], ["send 100"])

    def test_inPieces(self) -> None:
        """
        Very many are told in several turns of the reactor, in their order.
        """
        rig = Rig(reliable=True)
        told: list[Any] = []
        rig.user.clientFailed = lambda transaction, reason: told.append(transaction)
        clients = [
            rig.layer.request(rig.makeRequest(b"INVITE", branch=b"z9hG4bK%d" % n), rig.association, rig.user)
            for n in range(LOST_AT_ONCE * 2 + 1)
        ]
        later: list[Any] = []
        rig.timers.soon = later.append
        rig.association.up = False
        rig.layer.associationLost(rig.association)
        lengths = [len(told)]
        for turn in later:
            turn()
            lengths.append(len(told))
        self.assertEqual(lengths, [LOST_AT_ONCE, LOST_AT_ONCE * 2, LOST_AT_ONCE * 2 + 1])
        self.assertEqual(told, clients)
        self.assertEqual(rig.layer.inviteClients, {})

    def test_toldOnce(self) -> None:
        """
        Loss that is noticed twice, by a request that could not be sent and by the association's end, is
        told once.
        """
        rig = Rig(reliable=True)
        rig.association.up = False
        rig.client(b"INVITE")
        rig.client(b"BYE")
        rig.layer.associationLost(rig.association)
        self.assertEqual(rig.events, ["fail lost", "fail lost"])
        rig.clock.advance(0)
        self.assertEqual(rig.events, ["fail lost", "fail lost"])

    def test_failingUser(self) -> None:
        """
        One that raises does not keep the others from hearing of it.
        """
        rig = Rig(reliable=True)
        rig.client(b"INVITE")
        rig.layer.request(rig.makeRequest(b"INVITE", branch=b"z9hG4bK2"), rig.association, rig.user)
        told: list[Any] = []

        def fail(transaction: Any, reason: str) -> None:
            told.append(transaction)
            raise RuntimeError("on purpose")

        rig.user.clientFailed = fail
        rig.layer.associationLost(rig.association)
        self.assertEqual(len(told), 2)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)
        self.assertEqual(rig.layer.inviteClients, {})

    def test_resendWhileTold(self) -> None:
        """
        A user that fails over to another association from within C{clientFailed} is not disturbed.
        """
        rig = Rig(reliable=True)
        other = FakeAssociation(rig.journal, True)
        rig.client(b"INVITE")

        def failOver(transaction: Any, reason: str) -> None:
            rig.layer.request(rig.makeRequest(b"INVITE", branch=b"z9hG4bK2"), other, rig.user)

        rig.user.clientFailed = failOver
        rig.layer.associationLost(rig.association)
        self.assertEqual(list(rig.layer.inviteClients), [b"z9hG4bK2"])


class ValuesTests(SynchronousTestCase):
    def test_own(self) -> None:
        """
        The layer uses the values that it was given.
        """
        rig = Rig(values=Timers(t1=0.25, t2=0.5, t4=1.0))
        rig.client(b"BYE")
        rig.run(2)
        self.assertEqual(
            rig.times, [(0, "BYE"), (0.25, "again"), (0.75, "again"), (1.25, "again"), (1.75, "again")]
        )
