"""
Overload control (RFC 7339): the parameters, the server's part, the client's part, and both together.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.client.activelist import ActiveList
from sipgrace.client.link import LinkSettings, ServerLink
from sipgrace.client.reroutes import Reroutes
from sipgrace.client.role import INTERFACE, ClientRole
from sipgrace.client.strategies import RoundRobin
from sipgrace.client.throttle import Throttle
from sipgrace.client.users import Users
from sipgrace.interfaces import IAssociation
from sipgrace.lifecycle.gate import Gate
from sipgrace.lifecycle.ledger import Ledger
from sipgrace.message.message import Request, Response
from sipgrace.message.parser import parse
from sipgrace.message.topvia import readTopVia
from sipgrace.proxy.core import ProxyCore, ProxySettings
from sipgrace.proxy.identity import Identity
from sipgrace.proxy.overload import OFFER, Control, answered, mayOffer, readControl
from sipgrace.proxy.target import Answer, Target
from sipgrace.server.overloadcontrol import OverloadControl
from sipgrace.testing import MemoryAssociation, MemoryNetwork, Recorder, makeRequest, makeResponse
from sipgrace.transaction.layer import TransactionLayer
from sipgrace.transaction.timers import TimerQueue

VIA = b"SIP/2.0/SCTP 192.0.2.11:5060;branch=z9hG4bK1"

#: RFC 7339 §4.4's example of a number, in hundred-thousandths of a second.
SEQUENCE = 128232161578200


def request(via: bytes, method: bytes = b"INVITE", branch: bytes = b"", **values: Any) -> Request:
    message = parse(makeRequest(method, via=via, branch=branch, **values))
    assert isinstance(message, Request)
    return message


def response(via: bytes) -> Response:
    message = parse(makeResponse(request(via), 180))
    assert isinstance(message, Response)
    return message


class Parameters(SynchronousTestCase):
    """
    L{sipgrace.proxy.overload}.
    """

    def test_answered(self) -> None:
        """
        The values take the place of the offer.
        """
        told = b';oc=100;oc-algo="loss";oc-validity=60000;oc-seq=1282321615.78200'
        for via, kept in (
            (VIA + OFFER, VIA),
            (VIA + b';oc-algo="loss";oc', VIA),
            (VIA + b";oc", VIA),
            (VIA + b';received=192.0.2.9;OC;oc-algo="A,LOSS";rport', VIA + b";received=192.0.2.9;rport"),
            (VIA + b';oc=20;oc-algo="loss";oc-seq=1.2;oc-validity=3', VIA),
            (b"SIP/2.0/SCTP [2001:db8::1]:5060" + OFFER, b"SIP/2.0/SCTP [2001:db8::1]:5060"),
        ):
            self.assertTrue(mayOffer(via.lower()), via)
            self.assertEqual(answered(via, Control(100, 60000, SEQUENCE)), kept + told)

    def test_notOffered(self) -> None:
        for via in (VIA, VIA + b';oc-algo="loss"', VIA + b';oc;oc-algo="A"', b"nonsense" + b";oc"):
            self.assertIsNone(answered(via, Control(100, 60000, SEQUENCE)), via)
        self.assertFalse(mayOffer(VIA))

    def test_read(self) -> None:
        """
        What was told is read; where no time is said it is half a second (§4.3).
        """
        via = answered(VIA + OFFER, Control(40, 60000, SEQUENCE))
        assert via is not None
        self.assertEqual(readControl(via), Control(40, 60000, SEQUENCE))
        self.assertEqual(readControl(via + b", SIP/2.0/UDP a;oc=9;oc-seq=1.1"), Control(40, 60000, SEQUENCE))
        self.assertEqual(readControl(VIA + b";oc=40;oc-seq=1.5"), Control(40, 500, 150_000))
        self.assertEqual(readControl(VIA + b";oc=0;oc-validity=0;oc-seq=7.00001"), Control(0, 0, 700_001))

    def test_notRead(self) -> None:
        for more in (
            b"",
            OFFER,
            b";oc=;oc-seq=1.1",
            b";oc=x;oc-seq=1.1",
            b";oc=101;oc-seq=1.1",
            b";oc=-1;oc-seq=1.1",
            b";oc=0000000010;oc-seq=1.1",
            b';oc=10;oc-algo="rate";oc-seq=1.1',
            b";oc=10",
            b";oc=10;oc-seq=1",
            b";oc=10;oc-seq=1.123456",
            b";oc=10;oc-seq=1.1;oc-validity=soon",
            b';oc=10;oc-seq=1.1;x="',
        ):
            self.assertIsNone(readControl(VIA + more), more)

    def test_longest(self) -> None:
        self.assertEqual(
            readControl(VIA + b";oc=1;oc-seq=1.1;oc-validity=99999999999999"), Control(1, 10**9, 110_000)
        )

    def test_readQuickly(self) -> None:
        """
        The offer does not spoil what is read of every Via.
        """
        for _ in range(2):
            self.assertEqual(readTopVia(VIA + OFFER), (b"z9hG4bK1", b"192.0.2.11:5060", b"SCTP"))
            self.assertEqual(readTopVia(VIA), (b"z9hG4bK1", b"192.0.2.11:5060", b"SCTP"))


class ServersPart(SynchronousTestCase):
    """
    L{OverloadControl}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.switched: list[object] = []
        self.now = 1000.25
        self.control = OverloadControl(self.clock, self.switched.append, lambda: self.now)
        self.association: Any = object()

    def told(self, via: bytes = VIA + OFFER) -> bytes:
        """
        @return: the top Via of a marked response.
        """
        message = response(via)
        self.control.mark(message, self.association)
        found = message.get(b"Via")
        assert found is not None
        return found.removeprefix(VIA)

    def test_asleep(self) -> None:
        """
        As long as nothing was asked nothing is looked at; releasing what was never asked changes nothing.
        """
        self.control.release()
        self.assertEqual((self.switched, self.control.marked), ([], 0))

    def test_ask(self) -> None:
        self.control.ask(100, lambda association: 60000 if association is self.association else 0)
        self.assertEqual(self.switched, [self.control.mark])
        self.assertEqual(self.told(), b';oc=100;oc-algo="loss";oc-validity=60000;oc-seq=1000.25000')
        self.assertEqual(self.told(VIA), b"")
        self.assertEqual(self.told(VIA + b';oc;oc-algo="A"'), b';oc;oc-algo="A"')
        self.assertEqual(self.control.marked, 1)

    def test_onlyTheTop(self) -> None:
        """
        The Vias below are others' business, whether in lines of their own or behind a comma.
        """
        self.control.ask(50, lambda association: 1000)
        below = b"SIP/2.0/UDP 192.0.2.99;branch=z9hG4bK0;oc"
        self.assertEqual(
            self.told(VIA + OFFER + b", " + below),
            b';oc=50;oc-algo="loss";oc-validity=1000;oc-seq=1000.25000',
        )
        message = response(VIA + OFFER + b", " + below)
        self.control.mark(message, self.association)
        self.assertEqual(message.elements(b"Via")[1], below)
        self.assertEqual(message.branch, b"z9hG4bK1")
        message = response(b"SIP/2.0/UDP 192.0.2.98;branch=z9hG4bK0, " + VIA + OFFER)
        self.control.mark(message, self.association)
        self.assertEqual(message.elements(b"Via")[1], VIA + OFFER)

    def test_sequence(self) -> None:
        """
        Each word has a higher number than the one before, however the clock goes.
        """
        numbers = []
        for now in (1000.25, 1000.25, 999.0, 1001.0):
            self.now = now
            self.control.ask(10, lambda association: 1000)
            numbers.append(self.told().rpartition(b"=")[2])
            self.assertEqual(self.told().rpartition(b"=")[2], numbers[-1])
        self.assertEqual(numbers, [b"1000.25000", b"1000.25001", b"1000.25002", b"1001.00000"])

    def test_release(self) -> None:
        """
        Answers say that it is over, for as long as anybody may heed what was asked; then none is looked at.
        """
        self.control.ask(100, lambda association: 60000)
        self.told()
        self.clock.advance(20)
        self.now += 20
        self.control.release()
        self.assertEqual(self.told(), b';oc=0;oc-algo="loss";oc-validity=0;oc-seq=1020.25000')
        self.assertEqual(self.switched, [self.control.mark])
        self.clock.advance(39)
        self.assertEqual(len(self.switched), 1)
        self.clock.advance(1)
        self.assertEqual(self.switched, [self.control.mark, None])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_releaseUnheard(self) -> None:
        """
        Where nobody was told there is nothing to take back.
        """
        self.control.ask(100, lambda association: 60000)
        self.control.release()
        self.assertEqual(self.switched, [self.control.mark, None])

    def test_askAgain(self) -> None:
        """
        Asked again while it is being taken back.
        """
        self.control.ask(100, lambda association: 60000)
        self.told()
        self.control.release()
        self.control.ask(30, lambda association: 5000)
        self.clock.advance(70)
        self.assertEqual(self.switched[-1], self.control.mark)
        self.assertEqual(self.told(), b';oc=30;oc-algo="loss";oc-validity=5000;oc-seq=1000.25002')

    def test_stop(self) -> None:
        self.control.ask(100, lambda association: 60000)
        self.told()
        self.control.release()
        self.control.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ClientsPart(SynchronousTestCase):
    """
    L{Throttle}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(100)
        self.throttle = Throttle(self.clock)

    def admitted(self, count: int = 100) -> str:
        """
        Which of so many requests are admitted: a one each.
        """
        found = ""
        for _ in range(count):
            found += str(int(not self.throttle.loss or self.throttle.admits()))
        return found

    def test_share(self) -> None:
        """
        Exactly the share that was asked for, and evenly.
        """
        for sequence, (loss, pattern) in enumerate(
            (
                (0, "1" * 20),
                (10, "11111111101111111110"),
                (25, "11101110111011101110"),
                (50, "10" * 10),
                (75, "10001000100010001000"),
                (100, "0" * 20),
            )
        ):
            self.throttle = Throttle(self.clock)
            self.throttle.heard(Control(loss, 60000, sequence))
            self.assertEqual(self.admitted(20), pattern, loss)
        for loss in range(101):
            self.throttle = Throttle(self.clock)
            self.throttle.heard(Control(loss, 60000, 1))
            self.assertEqual(self.admitted().count("0"), loss)
            self.assertEqual(self.throttle.kept, loss)

    def test_expires(self) -> None:
        self.throttle.heard(Control(100, 5000, 1))
        self.assertEqual((self.admitted(3), self.throttle.left), ("000", 5.0))
        self.clock.advance(4.9)
        self.assertEqual(self.admitted(3), "000")
        self.clock.advance(0.1)
        self.assertEqual((self.admitted(3), self.throttle.loss, self.throttle.left), ("111", 0, 0.0))

    def test_older(self) -> None:
        """
        A word that is not later than the last does not count, in either direction.
        """
        self.throttle.heard(Control(50, 5000, 7))
        self.throttle.heard(Control(0, 0, 6))
        self.throttle.heard(Control(90, 5000, 7))
        self.assertEqual(self.throttle.loss, 50)
        self.throttle.heard(Control(0, 0, 8))
        self.assertEqual(self.throttle.loss, 0)
        self.throttle.heard(Control(50, 5000, 7))
        self.assertEqual(self.throttle.loss, 0)

    def test_noValidity(self) -> None:
        """
        0 is the end of it, whatever else is said (§4.3).
        """
        self.throttle.heard(Control(50, 5000, 1))
        self.throttle.heard(Control(50, 0, 2))
        self.assertEqual(self.throttle.loss, 0)

    def test_release(self) -> None:
        """
        Other word that the server is in service ends a full stop, and nothing less; what it said before then
        does not count any more.
        """
        self.throttle.heard(Control(99, 5000, 9))
        self.throttle.release()
        self.assertEqual(self.throttle.loss, 99)
        self.throttle.heard(Control(100, 5000, 10))
        self.throttle.release()
        self.assertEqual(self.throttle.loss, 0)
        self.throttle.heard(Control(100, 5000, 10))
        self.assertEqual(self.throttle.loss, 0)
        self.throttle.heard(Control(100, 5000, 11))
        self.assertEqual(self.throttle.loss, 100)

    def test_reset(self) -> None:
        """
        A server that was started anew may count from the beginning.
        """
        self.throttle.heard(Control(50, 5000, 9))
        self.throttle.reset()
        self.assertEqual(self.throttle.loss, 0)
        self.throttle.heard(Control(20, 5000, 3))
        self.assertEqual(self.throttle.loss, 20)

    def test_priority(self) -> None:
        """
        A call that goes before others is sent for as long as the server takes any (§5.10.1), and others are
        kept from it instead, ten at most.
        """
        self.throttle.heard(Control(25, 5000, 1))
        self.assertEqual([self.throttle.admits(True) for _ in range(5)], [True] * 5)
        self.assertEqual(self.admitted(8), "01011101")
        self.throttle.heard(Control(50, 5000, 2))
        self.assertEqual([self.throttle.admits(True) for _ in range(100)], [True] * 100)
        self.assertEqual(self.admitted(24), "0" * 20 + "1010")
        self.throttle.heard(Control(100, 5000, 3))
        self.assertFalse(self.throttle.admits(True))
        self.assertEqual(self.throttle.kept, 3 + 22)

    def test_read(self) -> None:
        self.throttle.read(response(VIA + OFFER))
        self.assertEqual(self.throttle.loss, 0)
        self.throttle.read(response(VIA + b';oc=30;oc-algo="loss";oc-validity=2000;oc-seq=1.1'))
        self.assertEqual((self.throttle.loss, self.throttle.left), (30, 2.0))


class Role:
    """
    A server's: refuses what it is told to, sends all else to one place.
    """

    def __init__(self) -> None:
        self.refusal: Answer | None = None
        self.to: IAssociation | None = None

    def admit(self, asked: Request, association: IAssociation) -> Answer | None:
        return self.refusal

    def targets(self, asked: Request, zone: str, outZone: str | None) -> Iterator[Target]:
        yield Target(self.to)

    def answered(self, context: object, target: Target) -> None:
        pass

    def failed(self, context: object, target: Target, reason: str, given: Response | None) -> bool:
        return False

    def exhausted(self, context: object) -> None:
        return None


class InTheProxy(SynchronousTestCase):
    """
    Where the proxy core marks responses, and hears what they say.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.network = MemoryNetwork(self.clock)
        self.role = Role()
        timers = TimerQueue(self.clock)
        layer = TransactionLayer(timers, cast(Any, None))
        self.core = ProxyCore(
            self.clock,
            timers,
            layer,
            cast(Any, self.role),
            cast(Any, Ledger()),
            Identity(),
            ProxySettings(timerC=181.0, quiet=4.5),
        )
        proxy = Recorder(lambda message, association: layer.messageReceived(cast(Any, message), association))
        self.element = self.network.element(proxy, "192.0.2.1")
        self.caller = Recorder()
        self.called = Recorder()
        upstream: MemoryAssociation = self.network.element(self.caller, "192.0.2.11").connect("192.0.2.1")
        self.upstream = upstream
        self.network.element(self.called, "192.0.2.12")
        self.role.to = self.element.connect("192.0.2.12")
        self.control = OverloadControl(
            self.clock, lambda mark: setattr(self.core, "marks", mark), lambda: 1000.0 + self.clock.seconds()
        )

    def call(self, number: int, method: bytes = b"INVITE") -> None:
        self.upstream.send(
            makeRequest(
                method,
                via=b"SIP/2.0/SCTP 192.0.2.11:5060",
                branch=b"z9hG4bK%d" % number + OFFER,
                callId=b"%d" % number,
            )
        )
        self.clock.advance(0)

    def answer(self, *statuses: int) -> None:
        """
        The callee answers what has come last.
        """
        asked = [one for one in self.called.messages() if isinstance(one, Request)][-1]
        for status in statuses:
            assert isinstance(self.role.to, MemoryAssociation)
            self.role.to.twin.send(makeResponse(asked, status))
        self.clock.advance(0)

    def told(self) -> list[tuple[int, bytes]]:
        """
        @return: the responses that have come to the caller: status, and the parameters of overload control.
        """
        found = []
        for message in self.caller.messages():
            assert isinstance(message, Response)
            via = message.get(b"Via")
            assert via is not None
            found.append((message.status, b";oc" + via.partition(b";oc")[2]))
        self.caller.events.clear()
        return found

    def test_untouched(self) -> None:
        """
        While nothing is asked the Via goes back as it came.
        """
        self.call(1)
        self.answer(180, 200)
        self.role.refusal = Answer(503)
        self.call(2)
        self.assertEqual(self.told(), [(100, OFFER), (180, OFFER), (200, OFFER), (503, OFFER)])

    def test_marked(self) -> None:
        """
        Answers of our own and those of callees; what we pass on bears no offer of the client's to others.
        """
        self.call(1)
        self.control.ask(100, lambda association: 60000)
        told = b';oc=100;oc-algo="loss";oc-validity=60000;oc-seq=1000.00000'
        self.answer(180, 200)
        self.role.refusal = Answer(503)
        self.call(2)
        self.role.refusal = Answer(200)
        self.call(3, b"OPTIONS")
        self.assertEqual(self.told(), [(100, OFFER), (180, told), (200, told), (503, told), (200, told)])
        self.clock.advance(10)
        self.control.release()
        self.call(4, b"OPTIONS")
        self.assertEqual(self.told(), [(200, b';oc=0;oc-algo="loss";oc-validity=0;oc-seq=1010.00000')])

    def test_offered(self) -> None:
        """
        What leaves on one side bears an offer, what leaves on the other does not.
        """
        self.core.trail.offers["network"] = OFFER
        self.call(1)
        (asked,) = self.called.messages()
        self.assertTrue((asked.get(b"Via") or b"").endswith(OFFER), asked.get(b"Via"))
        self.core.trail.offers = {"interface": OFFER}
        self.called.events.clear()
        self.call(2)
        (asked,) = self.called.messages()
        self.assertNotIn(OFFER, asked.get(b"Via") or b"")

    def test_loopsAreKnown(self) -> None:
        """
        Also by a Via that bears an offer.
        """
        self.core.trail.offers["network"] = OFFER
        self.call(1)
        (asked,) = self.called.messages()
        assert isinstance(self.role.to, MemoryAssociation)
        self.role.to.twin.send(
            asked.toBytes().replace(b"Via: ", b"Via: SIP/2.0/SCTP b;branch=z9hG4bKb\r\nVia: ", 1)
        )
        self.clock.advance(0)
        self.assertEqual(self.core.counters["loops"], 1)

    def test_heard(self) -> None:
        """
        Each response of a target is shown with our own Via on it.
        """
        heard: list[tuple[int, object]] = []

        def hear(given: Response, target: Target) -> None:
            heard.append((given.status, (given.get(b"Via") or b"")[:26], target.association))

        self.core.heard = hear
        self.call(1)
        self.answer(100, 180, 486)
        ours = b"SIP/2.0/SCTP 192.0.2.1:506"
        self.assertEqual(heard, [(status, ours, self.role.to) for status in (100, 180, 486)])


class Servers:
    """
    Hears of links.
    """

    def __init__(self, active: ActiveList[ServerLink]) -> None:
        self.active = active

    def linkUp(self, link: ServerLink) -> None:
        self.active.add(link)

    def linkDown(self, link: ServerLink, why: str) -> None:
        self.active.remove(link)

    def __getattr__(self, name: str) -> Any:
        return lambda *ignored: None


class InTheRole(SynchronousTestCase):
    """
    How the client role distributes calls when servers ask for less.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        names = ["a", "b"]
        active: ActiveList[ServerLink] = ActiveList(names, RoundRobin())
        network = MemoryNetwork(self.clock)
        client = network.element(Recorder(), "192.0.2.11")
        self.links: dict[str, ServerLink] = {}
        for number, name in enumerate(names):
            network.element(Recorder(), f"192.0.2.{number}")
            association = client.connect(f"192.0.2.{number}")
            self.links[name] = ServerLink(
                name,
                lambda association=association: succeed(association),
                lambda association: succeed(None),
                self.clock,
                cast(Any, Servers(active)),
                LinkSettings(testNew=False),
            )
            self.links[name].start()
        self.role = ClientRole(
            Gate(self.clock),
            Identity(),
            active,
            self.links,
            Users(),
            None,
            cast(Any, None),
            2.0,
            Reroutes(),
        )

    def sent(self, count: int, method: bytes = b"INVITE") -> str:
        """
        To which server each of so many requests goes first; a dash for none.
        """
        found = ""
        for _ in range(count):
            targets = self.role.targets(request(VIA, method), INTERFACE, None)
            target = next(targets, None)
            found += "-" if target is None else cast(ServerLink, target.token).name
        return found

    def test_shares(self) -> None:
        """
        Half of what would have gone to one goes to the other.
        """
        self.assertEqual(self.sent(6), "ababab")
        self.links["a"].throttle.heard(Control(50, 10000, 1))
        self.assertEqual(self.sent(8), "abbabbab")
        self.assertEqual(self.links["a"].status()["throttle"], 50)

    def test_none(self) -> None:
        self.links["a"].throttle.heard(Control(100, 10000, 1))
        self.assertEqual(self.sent(4), "bbbb")
        self.links["b"].throttle.heard(Control(100, 5000, 1))
        self.assertEqual(self.sent(4), "----")
        self.clock.advance(5)
        self.assertEqual(self.sent(4), "bbbb")
        self.clock.advance(5)
        self.assertEqual(set(self.sent(4)), {"a", "b"})

    def test_othersThanCalls(self) -> None:
        """
        It is new calls that are kept from a server.
        """
        self.links["a"].throttle.heard(Control(100, 10000, 1))
        self.assertIn("a", self.sent(2, b"MESSAGE"))

    def test_saidToBeBack(self) -> None:
        """
        A server that announces that it serves is sent calls again.
        """
        self.links["a"].throttle.heard(Control(100, 10000, 1))
        self.links["a"].available()
        self.assertEqual(self.sent(4).count("a"), 2)

    def test_scheduledReturn(self) -> None:
        """
        What a refusal says of the server's return goes to the link.
        """
        context: Any = type("Context", (), {"cancelled": True, "request": None, "isInvite": True})()
        headers = ((b"Retry-After", b"30"), (b"Scheduled-Return", b"70"))
        refusal = parse(makeResponse(request(VIA), 503, headers=headers))
        link = self.links["a"]
        assert isinstance(refusal, Response)
        self.assertTrue(self.role.failed(context, Target(token=link), "answer", refusal))
        self.assertEqual((link.countdown, link.returnsIn), (30.0, 70.0))

    def test_newAssociation(self) -> None:
        """
        What was asked on the old association is not heeded on the next.
        """
        link = self.links["a"]
        link.throttle.heard(Control(100, 10000, 5))
        association = link.association
        assert association is not None
        link.associationLost(association)
        self.assertEqual(link.throttle.loss, 0)
