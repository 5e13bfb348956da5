"""
L{sipgrace.server.announcer} and L{sipgrace.server.announcements}: the notifier, message by message.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from sipgrace.interfaces import IAssociation, IAssociationUser
from sipgrace.lifecycle.events import Change, Event
from sipgrace.lifecycle.gate import Gate
from sipgrace.lifecycle.ledger import Ledger
from sipgrace.lifecycle.machine import Lifecycle
from sipgrace.lifecycle.orders import Announce, Kind, Order
from sipgrace.lifecycle.settings import Settings
from sipgrace.message.message import Message, Request, Response
from sipgrace.proxy.core import ProxyCore, ProxySettings
from sipgrace.proxy.identity import Identity
from sipgrace.server.announcer import BATCH, Announcer
from sipgrace.server.overloadcontrol import OverloadControl
from sipgrace.testing import (
    MemoryAssociation,
    MemoryElement,
    MemoryNetwork,
    Recorder,
    makeResponse,
    nameOf,
)
from sipgrace.transaction.layer import TransactionLayer
from sipgrace.transaction.timers import TimerQueue

#: The wall clock of these tests begins here.
EPOCH = 1_800_000_000.0

SUBSCRIBE = """\
SUBSCRIBE sip:192.0.2.1:5060;transport=sctp SIP/2.0
Via: SIP/2.0/SCTP {host}:5060;branch=z9hG4bK{branch}
Max-Forwards: {forwards}
From: <sip:{host}:5060>;tag={tag}
To: <sip:192.0.2.1:5060;transport=sctp>{to}
Call-ID: {call}
CSeq: {cseq} SUBSCRIBE
Contact: <sip:{host}:5060;transport=sctp>
{more}Content-Length: 0

"""

EVENT = "Event: service-availability\n"


class Call:
    """
    An accepted call.
    """

    acceptedAt = 0.0

    def recall(self, reason: str) -> None:
        pass

    def forceSettle(self, reason: str) -> bool:
        return True


class Role:
    """
    Accepts everything and knows no way on.
    """

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def admit(self, request: Request, association: IAssociation) -> None:
        self.asked.append(request.method)

    def targets(self, request: Request, zone: str, outZone: str | None) -> Any:
        return iter(())

    def exhausted(self, context: object) -> None:
        return None


@implementer(IAssociationUser)
class Server:
    """
    All of a server but its sockets.

    @ivar log: what was done to the associations.
    """

    def __init__(self, announce: str = "both", spread: int = 0, most: int = 1000) -> None:
        self.clock = Clock()
        self.network = MemoryNetwork(self.clock)
        self.timers = TimerQueue(self.clock)
        self.layer = TransactionLayer(self.timers, cast(Any, None))
        self.messageReceived = self.layer.messageReceived
        self.ledger = Ledger()
        self.gate = Gate(self.clock, spread)
        self.identity = Identity()
        self.role = Role()
        self.element: MemoryElement = self.network.element(self, "192.0.2.1")
        self.udp = self.network.element(self, "192.0.2.1", transport=b"UDP")
        self.identity.addListener(self.element, "network")
        self.core = ProxyCore(
            self.clock,
            self.timers,
            self.layer,
            cast(Any, self.role),
            cast(Any, self.ledger),
            self.identity,
            ProxySettings(timerC=181.0, quiet=4.5),
        )

        def wall() -> float:
            return EPOCH + self.clock.seconds()

        self.control = OverloadControl(self.clock, lambda mark: setattr(self.core, "marks", mark), wall)
        self.announcer = Announcer(
            self.clock,
            self.layer,
            self.gate,
            self.identity,
            {"192.0.2.11": "berlin"}.get,
            lambda host: host != "192.0.2.66",
            self.control,
            announce,
            most,
            wall,
        )
        self.core.own[b"SUBSCRIBE"] = self.announcer.subscribeReceived
        self.associations: list[IAssociation] = []
        self.log: list[str] = []
        self.lifecycle = Lifecycle(
            self.clock, self.ledger, self, self.gate, (self.announcer,), Settings(guard=30, margin=1)
        )

    # ------------------------------------------------------------------ IAssociationUser

    def associationMade(self, association: IAssociation) -> None:
        self.associations.append(association)

    def associationLost(self, association: IAssociation, reason: Failure) -> None:
        self.associations.remove(association)
        self.announcer.associationLost(association, reason)
        self.layer.associationLost(association)
        if not self.associations:
            self.lifecycle.associationsGone()

    # ------------------------------------------------------------------ the lifecycle's associations

    @property
    def count(self) -> int:
        return len(self.associations)

    def stopListening(self) -> None:
        return None

    def shutdownAll(self) -> None:
        self.announcer.ending()
        for association in list(self.associations):
            association.shutdown()

    def abortAll(self) -> None:
        self.announcer.ending()
        for association in list(self.associations):
            association.abort()

    def listen(self) -> Deferred[None]:
        return succeed(None)

    # ------------------------------------------------------------------ orders

    def order(self, kind: Kind, announce: str | None = None, **values: Any) -> Order:
        values["announce"] = None if announce is None else Announce(announce)
        return Order(kind=kind, who="test", when=EPOCH, **values)

    def drain(self, **values: Any) -> None:
        self.lifecycle.drain(self.order(Kind.DRAIN, **values))

    def tick(self, seconds: float = 0.0) -> None:
        """
        Lets all that is due happen, one turn of the reactor after another.
        """
        self.clock.advance(seconds)
        for _ in range(20):
            self.clock.advance(0)


class Client:
    """
    One client.

    @ivar to: what its next SUBSCRIBE has behind To: the tag of the dialog.
    """

    def __init__(
        self, server: Server, number: int = 11, transport: bytes = b"SCTP", answers: bool = True
    ) -> None:
        self.server = server
        self.host = f"192.0.2.{number}"
        self.recorder = Recorder(self.answer if answers else None)
        self.element = server.network.element(self.recorder, self.host, transport=transport)
        self.association: MemoryAssociation = self.element.connect("192.0.2.1")
        self.to = ""
        self.branches = 0
        self.cseq = 0
        self.status = 200
        self.recorder.take()

    def answer(self, message: Message, association: IAssociation) -> None:
        if isinstance(message, Request):
            association.send(makeResponse(message, self.status))

    def send(
        self,
        more: str = EVENT,
        forwards: int = 0,
        tag: str = "a1",
        call: str = "call-1",
        cseq: int | None = None,
        uri: str | None = None,
        via: str = "",
    ) -> list[Message]:
        """
        Sends a SUBSCRIBE.

        @return: what comes back.
        """
        self.branches += 1
        self.cseq = self.cseq + 1 if cseq is None else cseq
        text = SUBSCRIBE.format(
            host=self.host,
            branch=f"{self.host[8:]}-{self.branches}",
            forwards=forwards,
            tag=tag,
            to=self.to,
            call=call,
            cseq=self.cseq,
            more=more,
        )
        if uri is not None:
            text = text.replace("sip:192.0.2.1:5060;transport=sctp SIP", f"{uri} SIP")
        if via:
            text = text.replace("Max-Forwards", f"Via: {via}\nMax-Forwards", 1)
        self.association.send(text.replace("\n", "\r\n").encode())
        self.server.tick()
        return self.got()

    def subscribe(self, more: str = EVENT) -> None:
        """
        Sends a SUBSCRIBE that succeeds.
        """
        response, _ = self.send(more)
        assert isinstance(response, Response) and response.status == 200, response
        self.to = ";tag=" + response.toTag.decode()

    def got(self) -> list[Message]:
        """
        @return: what has come since this was asked last.
        """
        messages = self.recorder.messages()
        self.recorder.events.clear()
        return messages

    def told(self) -> list[tuple[str, str]]:
        """
        @return: the NOTIFYs that have come: Subscription-State, and the body in one line.
        """
        return [told(message) for message in self.got()]


def told(message: Message) -> tuple[str, str]:
    """
    What a NOTIFY says.
    """
    assert isinstance(message, Request) and message.method == b"NOTIFY", message
    body = message.body.decode()
    assert body.endswith("\r\n"), body
    return (message.get(b"Subscription-State") or b"").decode(), body[:-2].replace("\r\n", " | ")


def text(message: Message) -> str:
    """
    The whole message, with what is random in it made plain.
    """
    found = message.toBytes().decode().replace("\r\n", "\n")
    found = re.sub(r"branch=z9hG4bK[0-9a-f]{16}\.([0-9a-f]+)", r"branch=z9hG4bK-\1", found)
    return re.sub(r"tag=[0-9a-f]{12}\.([0-9a-f]+)", r"tag=ours-\1", found)


def inWords(messages: Sequence[Message]) -> list[str]:
    return [nameOf(message) for message in messages]


class Subscribing(SynchronousTestCase):
    """
    SUBSCRIBE, and what it is answered.
    """

    def setUp(self) -> None:
        self.server = Server()
        self.client = Client(self.server)

    def refused(self, *expected: str, **values: Any) -> None:
        """
        A SUBSCRIBE gets this status line and these headers, and makes no subscription.
        """
        (response,) = self.client.send(**values)
        lines = text(response).splitlines()
        copied = ("Via", "From", "To", "Call-ID", "CSeq")
        self.assertEqual(tuple(line for line in lines[:-2] if line.partition(":")[0] not in copied), expected)
        self.assertEqual(lines[-2:], ["Content-Length: 0", ""])
        self.assertEqual(len(self.server.announcer), 0)

    def test_interface(self) -> None:
        verifyObject(IAssociationUser, self.server.announcer)

    def test_subscribed(self) -> None:
        """
        200, and at once a NOTIFY that says how things stand.
        """
        response, notify = self.client.send()
        self.assertEqual(
            text(response),
            """\
SIP/2.0 200 OK
Via: SIP/2.0/SCTP 192.0.2.11:5060;branch=z9hG4bK11-1
From: <sip:192.0.2.11:5060>;tag=a1
To: <sip:192.0.2.1:5060;transport=sctp>;tag=ours-1
Call-ID: call-1
CSeq: 1 SUBSCRIBE
Contact: <sip:192.0.2.1:5060;transport=sctp>
Expires: 3600
Content-Length: 0

""",
        )
        self.assertEqual(
            text(notify),
            """\
NOTIFY sip:192.0.2.11:5060;transport=sctp SIP/2.0
Via: SIP/2.0/SCTP 192.0.2.1:5060;branch=z9hG4bK-2
Max-Forwards: 70
From: <sip:192.0.2.1:5060;transport=sctp>;tag=ours-1
To: <sip:192.0.2.11:5060>;tag=a1
Call-ID: call-1
CSeq: 1 NOTIFY
Contact: <sip:192.0.2.1:5060;transport=sctp>
Event: service-availability
Subscription-State: active;expires=3600
Content-Type: message/sipfrag;version=2.0
Content-Length: 16

SIP/2.0 200 OK
""",
        )
        self.assertEqual(len(self.server.announcer), 1)
        self.assertEqual(self.server.role.asked, [])

    def test_shorter(self) -> None:
        """
        No longer than was asked for, and than is granted at most.
        """
        response, notify = self.client.send(EVENT + "Expires: 60\n")
        self.assertEqual(response.get(b"Expires"), b"60")
        self.assertEqual(notify.get(b"Subscription-State"), b"active;expires=60")
        other = Client(self.server, 12)
        response, notify = other.send(EVENT + "Expires: 99999999999999\n")
        self.assertEqual(response.get(b"Expires"), b"3600")

    def test_eventId(self) -> None:
        """
        The id is repeated, the compact form read.
        """
        _, notify = self.client.send("o: Service-Availability;id=7\n")
        self.assertEqual(notify.get(b"Event"), b"Service-Availability;id=7")

    def test_forUsByAddress(self) -> None:
        """
        With hops left it is for us when the Request-URI is ours.
        """
        self.assertEqual(inWords(self.client.send(forwards=70)), ["200 SUBSCRIBE", "NOTIFY"])

    def test_forOthers(self) -> None:
        """
        What is not for us is none of the announcer's business: it goes the way of every request.
        """
        (response,) = self.client.send(forwards=70, uri="sip:bob@192.0.2.1:5060;transport=sctp")
        self.assertEqual(nameOf(response), "404 SUBSCRIBE")
        (response,) = self.client.send(forwards=70, uri="sip:192.0.2.200")
        self.assertEqual(nameOf(response), "404 SUBSCRIBE")
        (response,) = self.client.send(forwards=70, uri="tel:112")
        self.assertEqual(nameOf(response), "404 SUBSCRIBE")
        self.client.send(EVENT + "Route: <sip:192.0.2.200;lr>\n", forwards=0)
        self.assertEqual(self.server.role.asked, [b"SUBSCRIBE"] * 3)
        self.assertEqual(len(self.server.announcer), 0)

    def test_unknownName(self) -> None:
        """
        With Max-Forwards 0 the name does not matter by which the client knows us.
        """
        self.assertEqual(inWords(self.client.send(uri="sip:server-102.example")), ["200 SUBSCRIBE", "NOTIFY"])

    def test_refused(self) -> None:
        """
        What cannot be meant, or is not offered.
        """
        allow = "Allow-Events: service-availability"
        self.refused("SIP/2.0 489 Bad Event", allow, more="Event: presence\n")
        self.refused("SIP/2.0 489 Bad Event", allow, more="")
        self.refused("SIP/2.0 489 Bad Event", allow, more="Event: service-availability.winfo\n")
        self.refused("SIP/2.0 400 Malformed Event", more="Event: ;=\n")
        self.refused("SIP/2.0 400 Malformed Expires", more=EVENT + "Expires: soon\n")
        accept = "Accept: message/sipfrag;version=2.0"
        self.refused("SIP/2.0 406 Not Acceptable", accept, more=EVENT + "Accept: text/plain, a/b\n")
        contact = "Contact: <sip:a@192.0.2.1>\n"
        self.refused("SIP/2.0 400 One Contact Expected", more=EVENT + contact)
        more = EVENT + "To-Be: ignored\n"
        self.client.to = ";tag=nobody"
        self.refused("SIP/2.0 481 Call/Transaction Does Not Exist", more=more)

    def test_accept(self) -> None:
        """
        Any Accept that covers a sipfrag will do.
        """
        for accept in ("message/sipfrag", "a/b, Message/*;q=0.1", "*/*"):
            words = inWords(self.client.send(EVENT + f"Accept: {accept}\n", call=accept))
            self.assertEqual(words[0], "200 SUBSCRIBE", accept)

    def test_notAllowed(self) -> None:
        self.client = Client(self.server, 66)
        self.refused("SIP/2.0 403 Forbidden")

    def test_throughAProxy(self) -> None:
        """
        The association is to be the subscriber's own: with it the subscription lives and dies.
        """
        self.refused(
            "SIP/2.0 403 Subscriptions Need A Connection Of Their Own",
            via="SIP/2.0/UDP 192.0.2.99;branch=z9hG4bKfar",
        )

    def test_overUDP(self) -> None:
        """
        Whose address can be forged gets no NOTIFYs for others.
        """
        self.client = Client(self.server, 12, b"UDP")
        self.refused("SIP/2.0 403 Subscriptions Need A Connection")

    def test_bounded(self) -> None:
        self.server = Server(most=2)
        clients = [Client(self.server, number) for number in (11, 12, 13)]
        self.assertEqual(
            [inWords(client.send()) for client in clients],
            [["200 SUBSCRIBE", "NOTIFY"], ["200 SUBSCRIBE", "NOTIFY"], ["500 SUBSCRIBE"]],
        )
        # Once is not for long, and who has one may replace it.
        self.assertEqual(
            inWords(clients[2].send(EVENT + "Expires: 0\n", tag="b")), ["200 SUBSCRIBE", "NOTIFY"]
        )
        self.assertEqual(inWords(clients[0].send(call="again")), ["200 SUBSCRIBE", "NOTIFY", "NOTIFY"])
        self.assertEqual(len(self.server.announcer), 2)

    def test_once(self) -> None:
        """
        Expires 0 outside of a dialog asks how things stand, once (RFC 6665 §4.4.3).
        """
        response, notify = self.client.send(EVENT + "Expires: 0\n")
        self.assertEqual((nameOf(response), response.get(b"Expires")), ("200 SUBSCRIBE", b"0"))
        self.assertEqual(told(notify), ("terminated;reason=timeout", "SIP/2.0 200 OK"))
        self.assertEqual(len(self.server.announcer), 0)

    def test_onceBesides(self) -> None:
        """
        That does nothing to a subscription that is there.
        """
        self.client.subscribe()
        self.client.to = ""
        self.client.send(EVENT + "Expires: 0\n", call="once")
        self.assertEqual(len(self.server.announcer), 1)

    def test_refreshed(self) -> None:
        """
        A refresh in the dialog sets the time anew, and is followed by a NOTIFY.
        """
        self.client.subscribe(EVENT + "Expires: 100\n")
        self.server.tick(80)
        response, notify = self.client.send(EVENT + "Expires: 100\n")
        self.assertEqual(response.get(b"Expires"), b"100")
        self.assertEqual(told(notify), ("active;expires=100", "SIP/2.0 200 OK"))
        self.assertEqual(notify.cseq, 2)
        self.server.tick(99)
        self.assertEqual(self.client.got(), [])
        self.server.tick(1)
        self.assertEqual(self.client.told(), [("terminated;reason=timeout", "SIP/2.0 200 OK")])
        self.assertEqual(len(self.server.announcer), 0)

    def test_newContact(self) -> None:
        """
        A refresh may move the place that NOTIFYs are addressed to.
        """
        self.client.subscribe()
        self.client.host = "192.0.2.12"
        _, notify = self.client.send()
        assert isinstance(notify, Request)
        self.assertEqual(notify.uri, b"sip:192.0.2.12:5060;transport=sctp")

    def test_unsubscribed(self) -> None:
        self.client.subscribe()
        response, notify = self.client.send(EVENT + "Expires: 0\n")
        self.assertEqual(response.get(b"Expires"), b"0")
        self.assertEqual(told(notify), ("terminated;reason=timeout", "SIP/2.0 200 OK"))
        self.assertEqual(len(self.server.announcer), 0)
        self.server.tick(4000)
        self.assertEqual(self.client.got(), [])

    def test_outOfOrder(self) -> None:
        """
        RFC 3261 §12.2.2.
        """
        self.client.subscribe()
        (response,) = self.client.send(cseq=1)
        self.assertEqual(response.toBytes().split(b"\r\n")[0], b"SIP/2.0 500 CSeq Out Of Order")
        self.assertEqual(len(self.server.announcer), 1)

    def test_wrongDialog(self) -> None:
        """
        Each part of the dialog's identity counts, and so does the association.
        """
        self.client.subscribe()
        for values in ({"tag": "b"}, {"call": "other"}, {"more": EVENT[:-1] + ";id=3\n"}):
            (response,) = self.client.send(**cast(Any, values))
            self.assertEqual(nameOf(response), "481 SUBSCRIBE", values)
        other = Client(self.server, 12)
        other.to = self.client.to
        (response,) = other.send(cseq=9)
        self.assertEqual(nameOf(response), "481 SUBSCRIBE")

    def test_replaced(self) -> None:
        """
        A second subscription on one association takes the place of the first.
        """
        self.client.subscribe()
        self.client.to = ""
        _, first, second = self.client.send(call="call-2")
        self.assertEqual(
            [(one.callId, *told(one)) for one in (first, second)],
            [
                (b"call-1", "terminated;reason=rejected", "SIP/2.0 200 OK"),
                (b"call-2", "active;expires=3600", "SIP/2.0 200 OK"),
            ],
        )
        self.assertEqual(len(self.server.announcer), 1)

    def test_lost(self) -> None:
        """
        It dies with its association; nothing is left that would be due.
        """
        self.client.subscribe()
        self.client.association.fail()
        self.server.tick()
        self.assertEqual(len(self.server.announcer), 0)
        self.server.drain()
        self.server.tick(4000)
        self.assertEqual(self.server.announcer.notified, 1)

    def test_unknownToTheClient(self) -> None:
        """
        A NOTIFY that is answered 481 ends it in silence (RFC 6665 §4.2.2); one that came too late, or was not
        understood this time, does not.
        """
        self.client.subscribe()
        self.client.status = 500
        self.client.send()
        self.assertEqual(len(self.server.announcer), 1)
        self.client.status = 481
        self.client.send()
        self.assertEqual(len(self.server.announcer), 0)
        self.server.tick(4000)
        self.assertEqual(self.client.got(), [])

    def test_silentClient(self) -> None:
        """
        One that does not answer is not told any more.
        """
        client = Client(self.server, 12, answers=False)
        client.subscribe()
        # Timer F is set when Timer E has fired.
        self.server.tick(1)
        self.server.tick(30)
        self.assertEqual(len(self.server.announcer), 1)
        self.server.tick(2)
        self.assertEqual(len(self.server.announcer), 0)


UNAVAILABLE = "SIP/2.0 503 Service Unavailable"


class Announcing(SynchronousTestCase):
    """
    What clients are told of a drain.
    """

    def begin(self, **values: Any) -> None:
        """
        A server with two subscribed clients and a call that keeps it from being done.
        """
        self.server = Server(**values)
        self.call = Call()
        self.server.ledger.accept(self.call)
        self.clients = [Client(self.server, number) for number in (11, 12)]
        for client in self.clients:
            client.subscribe()

    def told(self) -> list[list[tuple[str, str]]]:
        return [client.told() for client in self.clients]

    def both(self, *expected: tuple[str, str]) -> None:
        """
        Both clients were told just this.
        """
        self.server.tick()
        self.assertEqual(self.told(), [list(expected)] * 2)

    def test_drain(self) -> None:
        """
        A drain from its beginning to its end.
        """
        self.begin()
        self.server.drain(why="new (faster) kernel", retryAfter=120)
        self.server.clock.advance(0)
        first, second = (client.got() for client in self.clients)
        self.assertEqual(
            text(first[0]),
            """\
NOTIFY sip:192.0.2.11:5060;transport=sctp SIP/2.0
Via: SIP/2.0/SCTP 192.0.2.1:5060;branch=z9hG4bK-5
Max-Forwards: 70
From: <sip:192.0.2.1:5060;transport=sctp>;tag=ours-1
To: <sip:192.0.2.11:5060>;tag=a1
Call-ID: call-1
CSeq: 2 NOTIFY
Contact: <sip:192.0.2.1:5060;transport=sctp>
Event: service-availability
Subscription-State: active;expires=3600
Content-Type: message/sipfrag;version=2.0
Content-Length: 75

SIP/2.0 503 Service Unavailable
Retry-After: 120 (new \\(faster\\) kernel)
""",
        )
        self.assertEqual((len(first), inWords(second)), (1, ["NOTIFY"]))
        self.server.tick(5)
        self.server.ledger.settle(cast(Any, self.call))
        self.both(
            (
                "terminated;reason=probation;retry-after=115",
                UNAVAILABLE + " | Retry-After: 115 (new \\(faster\\) kernel)",
            )
        )
        self.assertEqual([client.association.up for client in self.clients], [False, False])
        self.assertEqual(len(self.server.announcer), 0)
        self.assertEqual(str(self.server.lifecycle.status().state), "offline")

    def test_endsBeforeTheAssociation(self) -> None:
        """
        The NOTIFY that ends it goes ahead of SHUTDOWN, and no answer is waited for.
        """
        self.begin()
        client = Client(self.server, 13, answers=False)
        client.subscribe()
        self.server.drain()
        self.server.ledger.settle(cast(Any, self.call))
        self.server.tick()
        self.assertEqual(client.recorder.names(), ["NOTIFY", "NOTIFY", "lost ConnectionDone"])
        self.assertEqual(str(self.server.lifecycle.status().state), "offline")
        self.assertEqual(self.server.layer.counts()["nonInviteClients"], 0)

    def test_idle(self) -> None:
        """
        A server with no calls is drained at once: clients hear that it begins, and that it has ended.
        """
        self.begin()
        self.server.ledger.settle(cast(Any, self.call))
        self.server.drain(retryAfter=60)
        self.both(
            ("active;expires=3600", UNAVAILABLE + " | Retry-After: 60"),
            ("terminated;reason=probation;retry-after=60", UNAVAILABLE + " | Retry-After: 60"),
        )

    def test_extended(self) -> None:
        """
        More time for the drain is more time for the clients to stay away.
        """
        self.begin()
        self.server.drain()
        self.both(("active;expires=3600", UNAVAILABLE + " | Retry-After: 60"))
        self.server.tick(10)
        self.server.lifecycle.extend(40, self.server.order(Kind.EXTEND))
        self.both(("active;expires=3590", UNAVAILABLE + " | Retry-After: 90"))

    def test_cancelled(self) -> None:
        """
        All that were told that it leaves are told that it stays; the subscription goes on and serves for the
        next drain.
        """
        self.begin()
        self.server.drain()
        self.both(("active;expires=3600", UNAVAILABLE + " | Retry-After: 60"))
        self.server.tick(5)
        self.server.lifecycle.cancel(self.server.order(Kind.CANCEL))
        self.both(("active;expires=3595", "SIP/2.0 200 OK"))
        self.server.drain(retryAfter=40)
        self.both(("active;expires=3595", UNAVAILABLE + " | Retry-After: 40"))

    def test_joined(self) -> None:
        """
        A second order that wants clients away for longer is told.
        """
        self.begin()
        self.server.drain()
        self.both(("active;expires=3600", UNAVAILABLE + " | Retry-After: 60"))
        self.server.drain(retryAfter=300)
        self.both(("active;expires=3600", UNAVAILABLE + " | Retry-After: 300"))

    def test_inAnswerOnly(self) -> None:
        """
        Nobody is told unasked, and whoever asks the truth. That it is taken back is told to all, for those
        who were refused meanwhile would stay away.
        """
        self.begin(announce="in-answer")
        self.server.drain()
        self.both()
        self.clients[0].send()
        late = Client(self.server, 13)
        _, notify = late.send()
        self.assertEqual(told(notify), ("active;expires=3600", UNAVAILABLE + " | Retry-After: 60"))
        self.server.lifecycle.cancel(self.server.order(Kind.CANCEL))
        self.server.tick()
        self.assertEqual(
            [client.told() for client in (*self.clients, late)],
            [[("active;expires=3600", "SIP/2.0 200 OK")]] * 3,
        )
        self.server.drain()
        self.server.ledger.settle(cast(Any, self.call))
        self.both()
        self.assertEqual(len(self.server.announcer), 0)

    def test_perOrder(self) -> None:
        """
        An order says for one drain how clients are told.
        """
        self.begin(announce="in-answer")
        self.server.drain(announce="broadcast")
        self.both(("active;expires=3600", UNAVAILABLE + " | Retry-After: 60"))
        self.assertEqual((self.server.control.loss, self.server.core.marks), (0, None))
        self.server.lifecycle.cancel(self.server.order(Kind.CANCEL))
        self.both(("active;expires=3600", "SIP/2.0 200 OK"))
        self.server.drain()
        self.both()
        self.server.drain(announce="broadcast")
        self.both(("active;expires=3600", UNAVAILABLE + " | Retry-After: 60"))
        # What was told in answers until then is told so until the end.
        self.assertEqual(self.server.control.loss, 100)
        self.assertEqual(self.server.announcer.status()["announce"], "both")

    def test_spread(self) -> None:
        """
        Each client has its own Retry-After, the same as in the answers to what it asks.
        """
        self.begin(spread=30)
        self.server.drain(retryAfter=100)
        self.server.tick()
        expected = [self.server.gate.retryAfter(name) for name in ("berlin", "192.0.2.12")]
        self.assertNotEqual(*expected)
        self.assertEqual(
            [told for (told,) in self.told()],
            [("active;expires=3600", UNAVAILABLE + f" | Retry-After: {seconds}") for seconds in expected],
        )

    def test_scheduledReturn(self) -> None:
        """
        When the server is to be back travels along, in seconds from the message, for as long as that is to
        come.
        """
        self.begin()
        self.server.tick(5)
        self.server.drain(retryAfter=20, guard=15.0, back=EPOCH + 5 + 45.5)
        self.both(("active;expires=3595", UNAVAILABLE + " | Retry-After: 20 | Scheduled-Return: 46"))
        self.server.tick(10)
        self.server.lifecycle.extend(50, self.server.order(Kind.EXTEND))
        self.both(("active;expires=3585", UNAVAILABLE + " | Retry-After: 55 | Scheduled-Return: 36"))
        self.server.tick(40)
        self.server.lifecycle.extend(1, self.server.order(Kind.EXTEND))
        self.both(("active;expires=3545", UNAVAILABLE + " | Retry-After: 16"))
        self.server.lifecycle.cancel(self.server.order(Kind.CANCEL))
        self.both(("active;expires=3545", "SIP/2.0 200 OK"))
        self.server.drain()
        self.both(("active;expires=3545", UNAVAILABLE + " | Retry-After: 60"))

    def test_offline(self) -> None:
        """
        One that goes at once says so ahead of its ABORTs.
        """
        self.begin()
        self.server.lifecycle.offline(self.server.order(Kind.OFFLINE, retryAfter=50))
        sent = [message for message in self.clients[0].association.twin.sent if message.startswith(b"NOTIFY")]
        self.assertEqual(len(sent), 2)
        self.assertIn(b"Subscription-State: terminated;reason=probation;retry-after=50\r\n", sent[1])
        self.assertEqual(len(self.server.announcer), 0)

    def test_offlineAfterACancel(self) -> None:
        """
        How one drain was told says nothing about what comes after it.
        """
        self.begin()
        self.server.drain(announce="in-answer")
        self.server.lifecycle.cancel(self.server.order(Kind.CANCEL))
        self.both(("active;expires=3600", "SIP/2.0 200 OK"))
        self.server.lifecycle.offline(self.server.order(Kind.OFFLINE))
        self.assertIn(b"reason=probation", self.clients[0].association.twin.sent[-1])

    def test_backInService(self) -> None:
        """
        A client that has subscribed before the server was wholly back is told when it is.
        """
        self.begin()
        self.server.gate.close(self.server.clock.seconds() + 10, "")
        client = Client(self.server, 13)
        client.send()
        self.server.gate.openAgain()
        self.server.announcer.onChange(Event(9, Change.SERVING, cast(Any, "serving"), 0.0, None, 0, 3))
        self.server.tick()
        self.assertEqual(client.told(), [("active;expires=3600", "SIP/2.0 200 OK")])

    def test_withoutAnOrder(self) -> None:
        """
        A change that nobody has ordered is told as configured.
        """
        self.begin()
        self.server.gate.close(self.server.clock.seconds() + 10, "")
        self.server.announcer.onChange(Event(9, Change.DRAINING, cast(Any, "draining"), 0.0, None, 0, 3))
        self.both(("active;expires=3600", UNAVAILABLE + " | Retry-After: 10"))


class Many(SynchronousTestCase):
    """
    More clients than are told in one turn of the reactor.
    """

    def setUp(self) -> None:
        self.server = Server()
        self.call = Call()
        self.server.ledger.accept(self.call)
        self.clients = [Client(self.server, 100 + number) for number in range(2 * BATCH + 20)]
        for client in self.clients:
            client.subscribe()

    def count(self, status: str) -> int:
        """
        How many clients were told this last.
        """
        return sum(client.association.twin.sent[-1].find(status.encode()) > 0 for client in self.clients)

    def test_spreadOverTurns(self) -> None:
        self.server.drain()
        counts = [self.count("503 S")]

        def look() -> None:
            counts.append(self.count("503 S"))
            if len(counts) < 4:
                self.server.clock.callLater(0, look)

        look()
        del counts[-1]
        self.server.tick()
        self.assertEqual(counts, [BATCH, 2 * BATCH, 2 * BATCH + 20, 2 * BATCH + 20])
        self.assertEqual(self.server.announcer.status()["untold"], 0)

    def test_cancelledMeanwhile(self) -> None:
        """
        Who was not told of the drain is told of its end alone.
        """
        before = self.server.announcer.notified
        self.server.drain()
        self.assertEqual(self.server.announcer.status()["untold"], BATCH + 20)
        self.server.lifecycle.cancel(self.server.order(Kind.CANCEL))
        self.server.tick()
        self.assertEqual(self.server.announcer.notified - before, len(self.clients) + BATCH)
        self.assertEqual(self.count("200 OK"), len(self.clients))

    def test_changedMeanwhile(self) -> None:
        """
        Who has yet to be told is told the latest, once.
        """
        before = self.server.announcer.notified
        self.server.drain()
        self.server.lifecycle.extend(1000, self.server.order(Kind.EXTEND))
        self.server.tick()
        self.assertEqual(self.server.announcer.notified - before, len(self.clients) + BATCH)
        self.assertEqual(self.count("Retry-After: 1060\r\n"), len(self.clients))

    def test_drainedMeanwhile(self) -> None:
        """
        When the drain is over before all have been told, those are told that alone.
        """
        before = self.server.announcer.notified
        self.server.ledger.settle(cast(Any, self.call))
        self.server.drain()
        self.assertEqual(self.count("terminated;reason=probation"), len(self.clients))
        self.assertEqual(self.server.announcer.notified - before, len(self.clients) + BATCH)
        self.assertNotIn("_tellSome", str(self.server.clock.getDelayedCalls()))
        self.server.tick()
        self.assertEqual(self.server.announcer.notified - before, len(self.clients) + BATCH)

    def test_oneFailsInTurn(self) -> None:
        """
        That one cannot be told keeps no other from it.
        """
        self.clients[0].association.twin.send = lambda data: 1 / 0
        self.server.drain()
        self.server.tick()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.count("503 S"), len(self.clients) - 1)
        self.assertEqual(self.server.announcer.status()["untold"], 0)

    def test_lostMeanwhile(self) -> None:
        """
        Who has gone before its turn is skipped.
        """
        self.server.drain()
        self.clients[-1].association.fail()
        self.server.clock.advance(0)
        self.server.tick()
        self.assertEqual(self.count("503 S"), len(self.clients) - 1)

    def test_oneFails(self) -> None:
        """
        One that cannot be told does not keep the others, nor the drain.
        """
        broken = Client(self.server, 99)
        broken.subscribe()
        self.server.ledger.settle(cast(Any, self.call))

        def fail(data: bytes) -> bool:
            raise RuntimeError("broken")

        broken.association.twin.send = fail
        self.server.drain()
        self.assertEqual(self.count("terminated;reason=probation"), len(self.clients))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertNotEqual(str(self.server.lifecycle.status().state), "draining")


class Rehearsing(SynchronousTestCase):
    """
    What would be told.
    """

    def test_rehearse(self) -> None:
        """
        It is what a drain then tells, and changes nothing.
        """
        server = Server(spread=30)
        server.ledger.accept(Call())
        clients = [Client(server, number) for number in (11, 12)]
        for client in clients:
            client.subscribe()
        before = server.announcer.status()
        rehearsed = server.announcer.rehearse(100, "kernel", 500)
        server.tick()
        self.assertEqual([client.got() for client in clients], [[], []])
        self.assertEqual(server.announcer.status(), before)
        self.assertTrue(server.gate.open)
        self.assertEqual([name for name, _ in rehearsed], ["berlin", "192.0.2.12"])
        server.drain(retryAfter=100, why="kernel", back=EPOCH + 500)
        server.tick()

        def withoutBranch(message: Message) -> str:
            return re.sub(r"branch=\S+", "branch=", text(message))

        self.assertEqual(
            [withoutBranch(request) for _, request in rehearsed],
            [withoutBranch(client.got()[0]) for client in clients],
        )
        self.assertIn("Retry-After: 1", text(rehearsed[0][1]))
        self.assertIn("Scheduled-Return: 500\n", text(rehearsed[0][1]))
