"""
L{sipgrace.client.subscriber}, L{sipgrace.client.subscribercore} and L{sipgrace.client.subscribermachine}: the
grid cell by cell, then message by message.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import isfunction
from itertools import count
from typing import Any, cast

from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from sipgrace.client import subscribermachine
from sipgrace.client.link import ServerLink
from sipgrace.client.subscriber import Subscriber, Subscriptions
from sipgrace.client.subscribercore import Subscribing
from sipgrace.interfaces import IAssociation, IAssociationUser
from sipgrace.lifecycle.ledger import Ledger
from sipgrace.message.message import Message, Request, Response
from sipgrace.proxy.core import ProxyCore, ProxySettings
from sipgrace.proxy.identity import Identity
from sipgrace.proxy.overload import OFFER
from sipgrace.testing import MemoryAssociation, MemoryNetwork, Recorder, makeResponse, nameOf
from sipgrace.transaction.layer import TransactionLayer
from sipgrace.transaction.timers import TimerQueue
from tests.fakes import drawn

STATES = ("Idle", "Asking", "Subscribed", "Waiting", "Without")

NOTIFY = """\
NOTIFY {uri} SIP/2.0
Via: SIP/2.0/SCTP 192.0.2.1:5060;branch=z9hG4bKn{number}
Max-Forwards: 70
From: <sip:192.0.2.1:5060;transport=sctp>;tag={fromTag}
To: <sip:192.0.2.11:49153>;tag={toTag}
Call-ID: {call}
CSeq: {cseq} NOTIFY
Contact: <sip:192.0.2.1:5060;transport=sctp>
{more}Content-Length: {length}

{body}"""

STATE = "Event: service-availability\nSubscription-State: {}\nContent-Type: message/sipfrag;version=2.0\n"
ACTIVE = STATE.format("active;expires=3600")
HERE = "SIP/2.0 200 OK\n"
AWAY = "SIP/2.0 503 Service Unavailable\nRetry-After: 60 (kernel)\n"


class Link:
    """
    What is told to a link.
    """

    name = "server-102"

    def __init__(self) -> None:
        self.association: IAssociation | None = None
        self.told: list[object] = []

    def available(self) -> None:
        self.told.append("available")

    def unavailable(self, retryAfter: float | None, back: float | None = None) -> None:
        self.told.append(("unavailable", retryAfter, back))

    def took(self) -> list[object]:
        told, self.told = self.told, []
        return told


class Role:
    """
    Knows no way on for anything.
    """

    def admit(self, request: Request, association: IAssociation) -> None:
        return None

    def targets(self, request: Request, zone: str, outZone: str | None) -> Any:
        return iter(())

    def exhausted(self, context: object) -> None:
        return None


@implementer(IAssociationUser)
class World:
    """
    A client's subscriptions, and a server of paper.

    @ivar server: what has come to the server.
    @ivar heard: the answers that the subscriptions heard.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.network = MemoryNetwork(self.clock)
        timers = TimerQueue(self.clock)
        self.layer = TransactionLayer(timers, cast(Any, None))
        self.messageReceived = self.layer.messageReceived
        self.core = ProxyCore(
            self.clock,
            timers,
            self.layer,
            cast(Any, Role()),
            cast(Any, Ledger()),
            Identity(),
            ProxySettings(timerC=181.0, quiet=4.5),
        )
        tokens = count(1)
        self.heard: list[tuple[object, int]] = []
        self.subscriptions = Subscriptions(
            self.clock,
            self.layer,
            lambda: b"t%d" % next(tokens),
            OFFER,
            lambda link, response: self.heard.append((link, response.status)),
        )
        self.core.own[b"NOTIFY"] = self.subscriptions.notifyReceived
        self.server = Recorder()
        self.network.element(self.server, "192.0.2.1")
        self.element = self.network.element(self, "192.0.2.11")
        self.link = Link()
        self.notifies = 0
        self.open()

    def open(self) -> None:
        """
        Opens an association, the link's from now on.
        """
        self.association: MemoryAssociation = self.element.connect("192.0.2.1")
        self.link.association = self.association
        self.server.take()

    def associationMade(self, association: IAssociation) -> None:
        pass

    def associationLost(self, association: IAssociation, reason: Failure) -> None:
        self.subscriptions.associationLost(association)
        self.layer.associationLost(association)

    @property
    def theLink(self) -> ServerLink:
        return cast(ServerLink, self.link)

    @property
    def state(self) -> str:
        return self.subscriptions.stateOf(self.theLink)

    def use(self) -> None:
        self.subscriptions.use(self.theLink)
        self.clock.advance(0)

    def asked(self) -> Request:
        """
        @return: the one request that has come to the server.
        """
        self.clock.advance(0)
        messages = [one for one in self.server.messages() if isinstance(one, Request)]
        self.server.events.clear()
        assert len(messages) == 1, messages
        return messages[0]

    def answer(self, request: Request, status: int = 200, expires: int | None = 3600) -> None:
        headers = [(b"Contact", b"<sip:192.0.2.1:5062;transport=sctp>")]
        if expires is not None:
            headers.append((b"Expires", b"%d" % expires))
        self.association.twin.send(makeResponse(request, status, b"srv", headers))
        self.clock.advance(0)

    def notify(
        self,
        request: Request,
        more: str = ACTIVE,
        body: str = HERE,
        cseq: int | None = None,
        fromTag: str = "srv",
        toTag: str | None = None,
        association: MemoryAssociation | None = None,
        uri: str = "sip:192.0.2.11:5060;transport=sctp",
    ) -> str:
        """
        Sends a NOTIFY in the dialog of this SUBSCRIBE.

        @return: the status line it is answered.
        """
        self.notifies += 1
        body = body.replace("\n", "\r\n")
        head = NOTIFY.format(
            uri=uri,
            number=self.notifies,
            fromTag=fromTag,
            toTag=request.fromTag.decode() if toTag is None else toTag,
            call=request.callId.decode(),
            cseq=self.notifies if cseq is None else cseq,
            more=more,
            length=len(body),
            body="",
        )
        (association or self.association.twin).send(head.replace("\n", "\r\n").encode() + body.encode())
        self.clock.advance(0)
        self.last: Message = self.server.messages()[-1]
        assert isinstance(self.last, Response) and self.last.cseqMethod == b"NOTIFY", self.last
        self.server.events.clear()
        return self.last.startLine.decode().removeprefix("SIP/2.0 ")

    def subscribed(self) -> Request:
        """
        Subscribes.
        """
        self.use()
        request = self.asked()
        self.answer(request)
        assert self.notify(request) == "200 OK"
        self.link.took()
        return request


def inState(state: str) -> tuple[World, Subscriber]:
    """
    A subscription that has come to a state the usual way.
    """
    world = World()
    if state != "Idle":
        world.use()
        request = world.asked()
        if state == "Without":
            world.answer(request, 489)
        elif state != "Asking":
            world.answer(request)
        if state == "Waiting":
            assert world.notify(request, STATE.format("terminated;reason=deactivated")) == "200 OK"
    else:
        world.subscriptions._of(world.theLink)
    subscriber = world.subscriptions._of(world.theLink)
    assert subscriber.state == state, (subscriber.state, state)
    world.server.events.clear()
    return world, subscriber


INPUTS: dict[str, Callable[[Any], object]] = {
    "made": lambda machine: machine.made(),
    "lost": lambda machine: machine.lost(),
    "_accepted": lambda machine: machine._accepted(100.0),
    "_refused": lambda machine: machine._refused(),
    "_notified": lambda machine: machine._notified(100.0),
    "_ended": lambda machine: machine._ended(7.0),
    "_barred": lambda machine: machine._barred(),
    "_due": lambda machine: machine._due(),
}

#: Every cell that does something: where it leads, whether a SUBSCRIBE goes out, and the seconds until what is
#: waited for then.
CELLS: dict[tuple[str, str], tuple[str, bool, float | None]] = {
    # Without an association to send on (that is the shell's part) nothing is sent.
    ("Idle", "made"): ("Asking", False, None),
    ("Asking", "lost"): ("Idle", False, None),
    ("Asking", "_accepted"): ("Subscribed", False, 75.0),
    ("Asking", "_refused"): ("Without", False, None),
    ("Asking", "_notified"): ("Subscribed", False, 75.0),
    ("Asking", "_ended"): ("Waiting", False, 7.0),
    ("Asking", "_barred"): ("Without", False, None),
    ("Subscribed", "lost"): ("Idle", False, None),
    ("Subscribed", "_accepted"): ("Subscribed", False, 75.0),
    ("Subscribed", "_refused"): ("Asking", True, None),
    ("Subscribed", "_notified"): ("Subscribed", False, 75.0),
    ("Subscribed", "_ended"): ("Waiting", False, 7.0),
    ("Subscribed", "_barred"): ("Without", False, None),
    ("Subscribed", "_due"): ("Subscribed", True, 2700.0),
    ("Waiting", "lost"): ("Idle", False, None),
    ("Waiting", "_due"): ("Asking", True, None),
    ("Without", "lost"): ("Idle", False, None),
}
WAITS = {"Subscribed": 2700.0, "Waiting": 1.0}

#: The grid as it is drawn above the machine.
DRAWN = drawn(subscribermachine, STATES)


class Grid(SynchronousTestCase):
    """
    The grid, as drawn, as built, and as it behaves.
    """

    def test_everyCellIsDrawn(self) -> None:
        declared = {
            name
            for name, value in vars(Subscribing).items()
            if isfunction(value) and value.__module__ == Subscribing.__module__
        }
        self.assertEqual(set(INPUTS), declared)
        self.assertEqual(set(DRAWN), {(state, name) for state in STATES for name in INPUTS})

    def test_drawnAsBuilt(self) -> None:
        same = {".", "renew", "refresh"}
        expected = {(state, name, state if cell in same else cell) for (state, name), cell in DRAWN.items()}
        automaton = subscribermachine.subscriberBuilder._automaton
        built = {(before.name, name, after.name) for before, name, after, _ in automaton.allTransitions()}
        self.assertEqual(built, expected)

    def test_drawnAsTested(self) -> None:
        self.assertEqual({cell for cell, drawing in DRAWN.items() if drawing != "."}, set(CELLS))

    def test_everyCell(self) -> None:
        for state in STATES:
            for name, give in INPUTS.items():
                world, subscriber = inState(state)
                timer = subscriber._core._timer
                after, asks, due = CELLS.get((state, name), (state, False, WAITS.get(state)))
                give(subscriber._machine)
                where = f"{name} in {state}"
                self.assertEqual(subscriber.state, after, where)
                world.clock.advance(0)
                words = [nameOf(message) for message in world.server.messages()]
                self.assertEqual(words, ["SUBSCRIBE"] if asks else [], where)
                timer = subscriber._core._timer
                waits = None
                if timer is not None and timer.active():
                    waits = timer.getTime() - world.clock.seconds()
                if (state, name) == ("Subscribed", "_due"):
                    # It was not the clock that gave it: what it waits for is still to come.
                    waits = 2700.0
                self.assertEqual(waits, due, where)


class Asking(SynchronousTestCase):
    """
    SUBSCRIBE, its answers, and when it is sent again.
    """

    def setUp(self) -> None:
        self.world = World()

    def test_request(self) -> None:
        """
        The whole message.
        """
        self.assertEqual(self.world.state, "Idle")
        self.world.use()
        self.assertEqual(self.world.state, "Asking")
        self.assertEqual(
            self.world.asked().toBytes().decode().replace("\r\n", "\n"),
            """\
SUBSCRIBE sip:192.0.2.1:5060;transport=sctp SIP/2.0
Via: SIP/2.0/SCTP 192.0.2.11:5060;branch=z9hG4bKt3;oc;oc-algo="loss"
Max-Forwards: 0
From: <sip:192.0.2.11:5060>;tag=t2
To: <sip:192.0.2.1:5060;transport=sctp>
Call-ID: t1@192.0.2.11
CSeq: 1 SUBSCRIBE
Contact: <sip:192.0.2.11:5060;transport=sctp>
Event: service-availability
Expires: 3600
Accept: message/sipfrag;version=2.0
Content-Length: 0

""",
        )

    def test_onceAnAssociation(self) -> None:
        """
        However often the server shows that it is there.
        """
        self.world.subscribed()
        self.world.use()
        self.assertEqual(self.world.server.messages(), [])

    def test_refresh(self) -> None:
        """
        When three quarters of what was granted are over: in the dialog, where its Contact says.
        """
        self.world.use()
        self.world.answer(self.world.asked(), expires=100)
        self.world.clock.advance(74)
        self.assertEqual(self.world.server.messages(), [])
        self.world.clock.advance(1)
        request = self.world.asked()
        self.assertEqual(request.uri, b"sip:192.0.2.1:5060;transport=sctp".replace(b"5060", b"5062"))
        self.assertEqual(
            (request.callId, request.fromTag, request.toTag, request.cseq, request.maxForwards),
            (b"t1@192.0.2.11", b"t2", b"srv", 2, 0),
        )
        self.world.answer(request, expires=200)
        self.assertEqual(self.world.state, "Subscribed")
        self.world.clock.advance(149)
        self.assertEqual(self.world.server.messages(), [])
        self.world.clock.advance(1)
        self.assertEqual(self.world.asked().cseq, 3)

    def test_withoutExpires(self) -> None:
        """
        A server that does not say how long it grants has granted what was asked for.
        """
        self.world.use()
        self.world.answer(self.world.asked(), expires=None)
        self.world.clock.advance(2699)
        self.assertEqual(self.world.server.messages(), [])
        self.world.clock.advance(1)
        self.world.asked()

    def test_refused(self) -> None:
        """
        A server that knows no subscriptions, whatever it says, is not asked again on this association, and
        keeps its calls.
        """
        for status in (400, 403, 404, 405, 481, 483, 489, 500, 501, 503, 603):
            world = World()
            world.use()
            request = world.asked()
            world.answer(request, status)
            self.assertEqual((world.state, world.link.took()), ("Without", []), status)
            world.use()
            world.clock.advance(100_000)
            self.assertEqual(world.server.messages(), [], status)

    def test_silent(self) -> None:
        """
        Nor is one that does not answer at all.
        """
        self.world.use()
        self.world.asked()
        for _ in range(340):
            self.world.clock.advance(0.1)
        self.assertEqual((self.world.state, self.world.link.took()), ("Without", []))
        self.world.use()
        self.assertEqual(self.world.server.messages(), [])

    def test_anotherAssociation(self) -> None:
        """
        On the next association it is asked anew.
        """
        self.world.use()
        self.world.answer(self.world.asked(), 489)
        self.world.association.fail()
        self.world.clock.advance(0)
        self.assertEqual(self.world.state, "Idle")
        self.world.open()
        self.world.use()
        self.assertEqual(self.world.asked().callId, b"t4@192.0.2.11")

    def test_associationReplaced(self) -> None:
        """
        Also where nobody has told of the loss of the old one.
        """
        first = self.world.subscribed()
        self.world.open()
        self.world.use()
        self.assertNotEqual(self.world.asked().callId, first.callId)

    def test_lost(self) -> None:
        """
        With the association the subscription has gone, and nothing is due any more.
        """
        self.world.subscribed()
        self.world.association.fail()
        self.world.clock.advance(0)
        self.assertEqual(self.world.state, "Idle")
        self.world.clock.advance(4000)
        self.assertEqual(self.world.server.messages(), [])

    def test_lostWhileAsking(self) -> None:
        self.world.use()
        self.world.association.fail()
        self.world.clock.advance(0)
        self.assertEqual(self.world.state, "Idle")

    def test_stopped(self) -> None:
        self.world.subscribed()
        self.world.subscriptions.stop()
        self.assertEqual(self.world.state, "Idle")
        self.world.clock.advance(40)
        self.assertEqual(self.world.clock.getDelayedCalls(), [])

    def test_refreshFails(self) -> None:
        """
        The server may have forgotten the subscription: it is asked for a new one, and if it refuses that for
        no other.
        """
        first = self.world.subscribed()
        self.world.clock.advance(2700)
        self.world.answer(self.world.asked(), 481)
        self.assertEqual(self.world.state, "Asking")
        second = self.world.asked()
        self.assertNotEqual(second.callId, first.callId)
        self.assertEqual((second.toTag, second.cseq), (b"", 1))
        self.world.answer(second, 481)
        self.assertEqual(self.world.state, "Without")

    def test_provisional(self) -> None:
        """
        1xx means nothing yet.
        """
        self.world.use()
        request = self.world.asked()
        self.world.answer(request, 100)
        self.assertEqual(self.world.state, "Asking")
        self.world.answer(request)
        self.assertEqual(self.world.state, "Subscribed")

    def test_noTag(self) -> None:
        """
        A 2xx that makes no dialog is none.
        """
        self.world.use()
        request = self.world.asked()
        data = makeResponse(request, 200, b"srv").replace(b";tag=srv", b"")
        self.world.association.twin.send(data)
        self.world.clock.advance(0)
        self.assertEqual(self.world.state, "Without")

    def test_heard(self) -> None:
        """
        What the answers say of overload control is heard.
        """
        self.world.subscribed()
        self.assertEqual(self.world.heard, [(self.world.link, 200)])

    def test_overUDP(self) -> None:
        """
        Not asked where a server would have to refuse it.
        """
        self.world.network.element(self.world.server, "192.0.2.1", transport=b"UDP")
        element = self.world.network.element(self.world, "192.0.2.11", transport=b"UDP")
        self.world.link.association = element.connect("192.0.2.1")
        self.world.use()
        self.assertEqual((self.world.state, self.world.server.messages()), ("Idle", []))

    def test_noAssociation(self) -> None:
        self.world.link.association = None
        self.world.use()
        self.assertEqual(self.world.state, "Idle")


class Notified(SynchronousTestCase):
    """
    NOTIFY, what it is answered, and what the link is told.
    """

    def setUp(self) -> None:
        self.world = World()

    def test_unavailable(self) -> None:
        request = self.world.subscribed()
        self.assertEqual(self.world.notify(request, body=AWAY), "200 OK")
        self.assertEqual(self.world.link.took(), [("unavailable", 60.0, None)])
        self.assertEqual(self.world.state, "Subscribed")

    def test_scheduledReturn(self) -> None:
        request = self.world.subscribed()
        self.world.notify(request, body=AWAY + "scheduled-return: 90\n")
        self.assertEqual(self.world.link.took(), [("unavailable", 60.0, 90)])

    def test_available(self) -> None:
        """
        A drain that was cancelled.
        """
        request = self.world.subscribed()
        self.world.notify(request, body=AWAY)
        self.assertEqual(self.world.notify(request, body=HERE), "200 OK")
        self.assertEqual(self.world.link.took(), [("unavailable", 60.0, None), "available"])

    def test_beforeTheAnswer(self) -> None:
        """
        RFC 6665 §4.1.2.4.
        """
        self.world.use()
        request = self.world.asked()
        self.assertEqual(self.world.notify(request, body=AWAY), "200 OK")
        self.assertEqual(self.world.state, "Subscribed")
        self.assertEqual(self.world.link.took(), [("unavailable", 60.0, None)])
        self.world.answer(request)
        self.assertEqual(self.world.state, "Subscribed")

    def test_answerOfAnother(self) -> None:
        """
        The dialog is with whoever was first.
        """
        self.world.use()
        request = self.world.asked()
        self.world.notify(request, fromTag="first")
        self.world.answer(request)
        self.assertEqual(self.world.state, "Asking")

    def test_overtaken(self) -> None:
        """
        A NOTIFY that comes after a later one has nothing to say (RFC 3261 §12.2.2).
        """
        request = self.world.subscribed()
        self.assertEqual(self.world.notify(request, body=HERE, cseq=9), "200 OK")
        self.assertEqual(self.world.notify(request, body=AWAY, cseq=8), "500 CSeq Out Of Order")
        self.assertEqual(self.world.notify(request, body=AWAY, cseq=9), "500 CSeq Out Of Order")
        self.assertEqual(self.world.link.took(), ["available"])

    def test_forged(self) -> None:
        """
        Who does not know the dialog, or is not at the other end of its association, is not believed.
        """
        request = self.world.subscribed()
        other = self.world.element.connect("192.0.2.1")
        self.world.clock.advance(0)
        gone = "481 Call/Transaction Does Not Exist"
        self.assertEqual(self.world.notify(request, body=AWAY, fromTag="other"), gone)
        self.assertEqual(self.world.notify(request, body=AWAY, toTag="other"), gone)
        self.assertEqual(self.world.notify(request, body=AWAY, toTag=""), gone)
        self.assertEqual(self.world.notify(request, body=AWAY, association=other.twin), gone)
        self.assertEqual(self.world.link.took(), [])
        self.assertEqual(self.world.notify(request, body=AWAY), "200 OK")

    def test_forgedBeforehand(self) -> None:
        """
        Nor does it help to be the first, on another association.
        """
        self.world.use()
        request = self.world.asked()
        other = self.world.element.connect("192.0.2.1")
        self.world.clock.advance(0)
        gone = "481 Call/Transaction Does Not Exist"
        self.assertEqual(self.world.notify(request, body=AWAY, fromTag="evil", association=other.twin), gone)
        self.world.answer(request)
        self.assertEqual(self.world.state, "Subscribed")

    def test_late(self) -> None:
        """
        One of a dialog that is over is refused, one for somebody else goes its way.
        """
        request = self.world.subscribed()
        self.world.subscriptions.stop()
        self.assertEqual(self.world.notify(request), "481 Call/Transaction Does Not Exist")
        self.assertEqual(self.world.core.counters["accepted"], 0)
        self.assertEqual(
            self.world.notify(request, uri="sip:bob@192.0.2.77"), "481 Call/Transaction Does Not Exist"
        )
        self.assertEqual(self.world.core.counters["accepted"], 1)

    def test_malformed(self) -> None:
        """
        What cannot be read is refused; what came before it counts.
        """
        request = self.world.subscribed()
        event = "Event: service-availability\n"
        state = "Subscription-State: active\n"
        kind = "Content-Type: message/sipfrag\n"
        for more, body, answer in (
            ("Event: presence\n" + state + kind, AWAY, "489 Bad Event"),
            (state + kind, AWAY, "489 Bad Event"),
            (event + kind, AWAY, "400 Missing Subscription-State"),
            (event + "Subscription-State: ;\n" + kind, AWAY, "400 Malformed Subscription-State header field"),
            (event + state + "Content-Type: text/plain\n", AWAY, "415 Unsupported Media Type"),
            (event + state, AWAY, "415 Unsupported Media Type"),
            (event + state + kind, "Retry-After: 5\n", "400 Malformed status line in a sipfrag"),
            (event + state + kind, "SIP/2.0 404 Not Found\n", "400 A sipfrag with neither 200 nor 503"),
            (
                event + state + kind,
                "SIP/2.0 503 No\nRetry-After: soon\n",
                "400 Malformed Retry-After header field",
            ),
        ):
            self.assertEqual(self.world.notify(request, more, body), answer)
            if answer.startswith("415"):
                self.assertEqual(self.world.last.get(b"Accept"), b"message/sipfrag;version=2.0")
            if answer.startswith("489"):
                self.assertEqual(self.world.last.get(b"Allow-Events"), b"service-availability")
        self.assertEqual((self.world.link.took(), self.world.state), ([], "Subscribed"))
        # None of them has used up its number.
        self.assertEqual(self.world.notify(request, event + state + kind, AWAY, cseq=2), "200 OK")

    def test_withoutABody(self) -> None:
        """
        It says nothing of the server.
        """
        request = self.world.subscribed()
        more = "Event: service-availability\nSubscription-State: active;expires=50\n"
        self.assertEqual(self.world.notify(request, more, ""), "200 OK")
        self.assertEqual(self.world.link.took(), [])
        self.world.clock.advance(37.5)
        self.assertEqual(self.world.asked().cseq, 2)

    def test_withoutRetryAfter(self) -> None:
        """
        The time is taken from the Subscription-State, where it is said there alone; where it is not said at
        all the server stays in use, as after such an answer.
        """
        request = self.world.subscribed()
        self.world.notify(request, body="SIP/2.0 503 Service Unavailable\n")
        self.assertEqual(self.world.link.took(), [])
        ended = STATE.format("terminated;reason=probation;retry-after=44")
        self.world.notify(request, ended, "SIP/2.0 503 Service Unavailable\n")
        self.assertEqual(self.world.link.took(), [("unavailable", 44.0, None)])

    def ended(self, state: str) -> tuple[str, float | None]:
        """
        A NOTIFY that ends the subscription.

        @return: the state then, and the seconds until the next SUBSCRIBE.
        """
        world = self.world = World()
        request = world.subscribed()
        self.assertEqual(world.notify(request, STATE.format("terminated" + state), AWAY), "200 OK")
        self.assertEqual(world.link.took(), [("unavailable", 60.0, None)])
        after = world.state
        begun = world.clock.seconds()
        while not world.server.messages():
            world.clock.advance(0.5)
            if world.clock.seconds() > begun + 5000:
                return after, None
        asked = world.asked()
        self.assertNotEqual(asked.callId, request.callId)
        return after, world.clock.seconds() - begun

    def test_ended(self) -> None:
        """
        Whether and when it is asked for again (RFC 6665 §4.1.3).
        """
        for state, expected in (
            (";reason=probation;retry-after=30", ("Waiting", 30.0)),
            (";reason=probation", ("Waiting", 60.0)),
            (";reason=giveup;retry-after=5", ("Waiting", 5.0)),
            (";reason=deactivated", ("Waiting", 1.0)),
            (";reason=timeout", ("Waiting", 1.0)),
            (";reason=timeout;retry-after=0", ("Waiting", 1.0)),
            ("", ("Waiting", 60.0)),
            (";reason=somethingNew;retry-after=9", ("Waiting", 9.0)),
            (";reason=rejected", ("Without", None)),
            (";reason=rejected;retry-after=3", ("Without", None)),
            (";reason=noresource", ("Without", None)),
            (";reason=invariant", ("Without", None)),
        ):
            self.assertEqual(self.ended(state), expected, state)

    def test_endedBeforeTheAnswer(self) -> None:
        """
        The answer that comes then begins nothing.
        """
        self.world.use()
        request = self.world.asked()
        self.world.notify(request, STATE.format("terminated;reason=rejected"))
        self.world.answer(request)
        self.assertEqual(self.world.state, "Without")

    def test_nothingForgotten(self) -> None:
        """
        Nothing is kept of dialogs that are over.
        """
        for _ in range(3):
            self.world.subscribed()
            self.world.association.fail()
            self.world.clock.advance(0)
            self.world.open()
        self.assertEqual(self.world.subscriptions._dialogs, {})
