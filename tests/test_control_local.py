"""
Tests of L{sipgrace.control.local}: orders and live state over a real socket, to a real server and client.
"""

from __future__ import annotations

import getpass
import os
import select
import socket
import stat
import struct
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import LogLevel, globalLogPublisher
from twisted.protocols import amp
from twisted.python.failure import Failure

from sipgrace import __version__
from sipgrace.control.commands import GetReroutes, GiveOrder, NotOffered
from sipgrace.control.local import LocalControl, LocalLink, connectLocal
from sipgrace.control.node import Node
from sipgrace.control.nodelink import NodeLink
from sipgrace.control.remote import Answer, Unreachable
from sipgrace.errors import ConfigError, OrderRefused
from tests.controlled import SERVER, Call, ControlledCase
from tests.scenarios.waiting import moment


def freePort() -> int:
    """
    A UDP port that nobody uses.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.7.1", 0))
        number: int = probe.getsockname()[1]
        return number


class Raw(Protocol):
    """
    A client that sends whatever it likes.
    """

    def __init__(self) -> None:
        self.heard = b""
        self.lost: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.callback(self.heard)


class Stranger(amp.Command):
    """
    A command of some other version.
    """

    commandName = b"stranger"


class LocalCase(ControlledCase):
    """
    With an eye on the log.
    """

    def setUp(self) -> None:
        super().setUp()
        self.warnings: list[str] = []
        globalLogPublisher.addObserver(self._logged)
        self.addCleanup(globalLogPublisher.removeObserver, self._logged)

    def _logged(self, event: Any) -> None:
        if event["log_level"] >= LogLevel.warn:
            self.warnings.append(event.get("log_format", "").format_map(event))

    async def raw(self) -> Raw:
        """
        One who sends whatever it likes.
        """
        raw: Raw = await connectProtocol(UNIXClientEndpoint(reactor, os.fspath(self.path)), Raw())
        return raw

    async def assertRefused(self, asked: Deferred[Any], text: str) -> None:
        """
        An order is refused for that reason.
        """
        try:
            await asked
        except OrderRefused as error:
            self.assertEqual(str(error), text)
        else:
            self.fail("it was not refused")

    async def assertUnreachable(self, asked: Deferred[Any], text: str) -> None:
        """
        The other side is not there, for that reason.
        """
        try:
            await asked
        except Unreachable as error:
            self.assertEqual(str(error), text)
        else:
            self.fail("it was reached")


class Status(LocalCase):
    """
    How things stand.
    """

    async def test_server(self) -> None:
        """
        All that the role tells, and the process's own.
        """
        service = await self.server()
        service.element.ledger.accept(Call())
        node = await self.connect()
        status = await node.status()
        self.assertEqual(
            {key: status[key] for key in ("version", "pid", "role", "name", "state", "waiting", "order")},
            {
                "version": __version__,
                "pid": os.getpid(),
                "role": "server",
                "name": "server-1",
                "state": "serving",
                "waiting": 1,
                "order": None,
            },
        )
        self.assertEqual(set(status), {"version", "compiled", "pid", *service.status()})

    async def test_client(self) -> None:
        await self.client()
        status = await (await self.connect()).status()
        self.assertEqual((status["role"], status["name"], status["reroutes"]), ("client", "client-1", 0))
        self.assertEqual([server["name"] for server in status["servers"]], ["server-1"])

    async def test_order(self) -> None:
        """
        While a drain is under way, it is told whose it is, and how long it may take.
        """
        service = await self.server()
        service.element.ledger.accept(Call())
        node = await self.connect()
        await node.drain(guard=10, why="für später")
        status = await node.status()
        order = status["order"]
        self.assertEqual(
            (order["kind"], order["who"], order["why"], order["guard"], order["retryAfter"]),
            ("drain", getpass.getuser(), "für später", 10.0, None),
        )
        self.assertEqual(status["state"], "draining")
        self.assertTrue(9 < status["guardLeft"] <= 10, status["guardLeft"])
        self.assertTrue(59 < status["retryAfter"] <= 60, status["retryAfter"])


class Orders(LocalCase):
    """
    What is ordered is done, or refused.
    """

    async def test_drain(self) -> None:
        """
        A drain and a return, each seen through to its end by the events.
        """
        await self.server()
        node = await self.connect()
        events: list[dict[str, Any]] = []
        before = await node.watch(events.append)
        answer = await node.drain()
        self.assertEqual(answer, Answer(before, "offline", answer.id))
        self.assertEqual((await node.when({"offline", "serving"}, answer))["change"], "offline")
        answer = await node.resume()
        last = await node.when({"offline", "serving"}, answer)
        self.assertEqual(last["change"], "serving")
        self.assertEqual(
            [(event["number"] - before, event["change"], event["state"]) for event in events],
            [
                (1, "draining", "draining"),
                (2, "drained", "drained"),
                (3, "offline", "offline"),
                (4, "returning", "returning"),
                (5, "serving", "serving"),
            ],
        )

    async def test_accepted(self) -> None:
        """
        A drain lasts as long as there are accepted calls.
        """
        service = await self.server()
        calls = [Call(), Call()]
        for call in calls:
            service.element.ledger.accept(call)
        node = await self.connect()
        await node.watch()
        answer = await node.drain(guard=20)
        self.assertEqual(answer.state, "draining")
        waiting = node.when({"offline"}, answer)
        service.element.ledger.settle(calls[0])
        self.assertEqual((await node.status())["waiting"], 1)
        self.assertFalse(waiting.called)
        service.element.ledger.settle(calls[1])
        self.assertEqual((await waiting)["forced"], 0)
        self.assertEqual([call.forced for call in calls], [[], []])

    async def test_guard(self) -> None:
        """
        An order's own guard counts, and what is left then is settled by force.
        """
        service = await self.server()
        call = Call()
        service.element.ledger.accept(call)
        node = await self.connect()
        events: list[dict[str, Any]] = []
        await node.watch(events.append)
        answer = await node.drain(guard=0.3, retryAfter=7)
        await node.when({"offline"}, answer)
        self.assertEqual(len(call.forced), 1)
        self.assertEqual(
            [(event["change"], event["forced"]) for event in events],
            [("draining", 0), ("drained", 1), ("offline", 0)],
        )
        self.assertAlmostEqual(events[0]["guardLeft"], 0.3, 2)
        self.assertAlmostEqual(events[0]["retryAfter"], 7, 2)

    async def test_extendAndCancel(self) -> None:
        service = await self.server()
        service.element.ledger.accept(Call())
        node = await self.connect()
        await node.watch()
        drained = await node.drain(guard=5)
        extended = await node.order("extend", guard=100)
        self.assertEqual(extended, Answer(drained.number + 1, "draining", extended.id))
        self.assertTrue(104 < (await node.status())["guardLeft"] <= 105)
        cancelled = await node.order("cancel", "not today")
        self.assertEqual(cancelled, Answer(drained.number + 2, "serving", cancelled.id))
        event = await node.when({"offline", "serving"}, drained)
        self.assertEqual(
            (event["change"], event["order"]["kind"], event["order"]["why"]),
            ("cancelled", "cancel", "not today"),
        )

    async def test_offline(self) -> None:
        """
        At once, by force.
        """
        service = await self.server()
        call = Call()
        service.element.ledger.accept(call)
        node = await self.connect()
        events: list[dict[str, Any]] = []
        await node.watch(events.append)
        self.assertEqual((await node.order("offline")).state, "offline")
        self.assertEqual(len(call.forced), 1)
        self.assertEqual(events[0]["change"], "offline")
        self.assertEqual(events[0]["forced"], 1)

    async def test_refused(self) -> None:
        """
        What does not fit is refused with the reason, and the link goes on.
        """
        await self.server()
        node = await self.connect()
        await self.assertRefused(
            node.order("cancel"),
            "the server is serving and no drain is under way; drain is what would be accepted",
        )
        await self.assertRefused(
            node.order("dance"),
            "'dance' is no order; one of drain, cancel, extend, resume, offline, rehearse, skip, "
            "unskip, reject, admit is expected",
        )
        await self.assertRefused(
            node.order("extend"), "extend: no time is given; seconds above 0 are expected"
        )
        await self.assertRefused(
            node.drain(guard=-1), "drain: its guard is -1.0; a number of seconds from 0 up is expected"
        )
        await self.assertRefused(
            node.drain(retryAfter=float("nan")),
            "drain: its Retry-After is nan; a number of seconds from 0 up is expected",
        )
        self.assertEqual((await node.status())["state"], "serving")
        self.assertEqual(self.warnings, [])

    async def test_why(self) -> None:
        """
        A reason that could do harm is refused on this side, and on the other too.
        """
        await self.server()
        node = await self.connect()
        text = "why: one line of printable characters is expected"
        await self.assertRefused(node.drain(why="a\r\nb"), text)
        await self.assertRefused(node.callRemote(GiveOrder, kind="drain", why="a\r\nb"), text)

    async def test_who(self) -> None:
        """
        Who orders is whom the kernel names, whatever they say.
        """
        service = await self.server()
        node = await self.connect()
        events: list[dict[str, Any]] = []
        await node.watch(events.append)
        await node.order("drain", who="the pope")
        self.assertEqual(events[0]["order"]["who"], getpass.getuser())
        order = service.element.lifecycle.status().order
        assert order is not None
        self.assertEqual(order.who, getpass.getuser())

    async def test_stranger(self) -> None:
        """
        A user without a name is called by number.
        """
        await self.server()
        node = await self.connect()
        self.patch(socket.socket, "getsockopt", lambda *args: struct.pack("3i", 1, 4123456789 - 2**32, 1))
        await node.watch()
        event = await node.when({"offline"}, await node.drain())
        self.assertEqual(event["order"]["who"], f"uid {4123456789 - 2**32}")

    async def test_failedReturn(self) -> None:
        """
        A return that fails is told, with what kept it from listening.
        """
        port = freePort()
        await self.server(SERVER.replace("udp:0", f"udp:{port}"))
        node = await self.connect()
        await node.watch()
        await node.when({"offline"}, await node.drain())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.7.1", port))
            event = await node.when({"offline", "serving"}, await node.resume())
        self.assertEqual((event["change"], event["state"]), ("failed", "offline"))
        self.assertIn("Address already in use", event["text"])
        event = await node.when({"offline", "serving"}, await node.resume())
        self.assertEqual((event["change"], event["state"]), ("serving", "serving"))


class Watching(LocalCase):
    """
    Those who are told.
    """

    async def test_two(self) -> None:
        """
        Each hears of everything, in the same order; one who is not watching hears of nothing.
        """
        await self.server()
        one, two, deaf = await gatherResults([Deferred.fromCoroutine(self.connect()) for _ in range(3)])
        heard: dict[str, list[dict[str, Any]]] = {"one": [], "two": [], "again": []}
        await one.watch(heard["one"].append)
        await one.watch(heard["again"].append)
        await two.watch(heard["two"].append)
        answer = await deaf.drain()
        for node in (one, two):
            await node.when({"offline"}, Answer(answer.number, ""))
        self.assertEqual([event["change"] for event in heard["one"]], ["draining", "drained", "offline"])
        self.assertEqual(heard["two"], heard["one"])
        self.assertEqual(heard["again"], heard["one"])
        self.assertEqual(len(deaf._events), 0)

    async def test_clumsy(self) -> None:
        """
        A watcher that fails keeps the others from nothing.
        """
        await self.server()
        node = await self.connect()
        heard: list[dict[str, Any]] = []
        await node.watch(lambda event: 1 / 0)
        await node.watch(heard.append)
        await node.when({"offline"}, await node.drain())
        self.assertEqual(len(heard), 3)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)

    async def test_goesAway(self) -> None:
        """
        One who leaves in the middle of waiting leaves nothing behind, and the drain goes on to its end.
        """
        service = await self.server()
        call = Call()
        service.element.ledger.accept(call)
        node, other = await self.connect(), await self.connect()
        await node.watch()
        waiting = node.when({"offline"}, await node.drain())
        gone = self.assertUnreachable(waiting, "it has closed the connection; its process has probably ended")
        node.transport.abortConnection()
        await gone
        await self.until(lambda: len(self.control._factory.links) == 1)
        self.assertEqual(self.control._factory._node._watchers, {})
        self.assertEqual((await other.status())["state"], "draining")
        service.element.ledger.settle(call)
        await service.element.lifecycle.whenOffline()
        self.assertEqual(self.warnings, [])

    async def test_goesAwayAtOnce(self) -> None:
        """
        Whoever leaves before the order is answered leaves no rehearsal behind either: there may be but few.
        """
        service = await self.server()
        service.element.ledger.accept(Call(service.element.clock.seconds()))
        reached: Deferred[None] = Deferred()
        service.element.door.reached = lambda: reached
        node = await self.connect()
        node.order("rehearse", guard=100.0).addErrback(lambda failure: None)
        watching = service.element.oversight.rehearsals._watching
        await self.until(lambda: watching)
        node.transport.abortConnection()
        await self.until(lambda: not self.control._factory.links)
        reached.callback(None)
        self.assertEqual((watching, self.warnings), ([], []))

    async def test_interrupted(self) -> None:
        """
        Who waits no longer may be told later all the same.
        """
        service = await self.server()
        call = Call()
        service.element.ledger.accept(call)
        node = await self.connect()
        await node.watch()
        answer = await node.drain()
        waiting = node.when({"offline"}, answer).addErrback(lambda failure: "left")
        waiting.cancel()
        self.assertEqual(await waiting, "left")
        service.element.ledger.settle(call)
        self.assertEqual((await node.when({"offline"}, answer))["change"], "offline")

    async def test_there(self) -> None:
        """
        What has come about before the order was answered is not waited for.
        """
        await self.server()
        node = await self.connect()
        await node.watch()
        answer = await node.resume()
        self.assertEqual(await node.when({"serving"}, answer), {"number": answer.number, "state": "serving"})

    async def test_earlier(self) -> None:
        """
        What happened before an order is not taken for what became of it.
        """
        service = await self.server()
        node = await self.connect()
        await node.watch()
        await node.when({"offline"}, await node.drain())
        await node.when({"serving"}, await node.resume())
        service.element.ledger.accept(Call())
        waiting = node.when({"offline"}, await node.drain())
        await node.status()
        self.assertFalse(waiting.called)
        waiting.addErrback(lambda failure: None).cancel()

    async def test_unread(self) -> None:
        """
        One who watches and never reads is let go after a while; others are told, and nothing piles up.
        """
        await self.server()
        self.patch(NodeLink, "UNREAD", 5)
        raw = await self.raw()
        raw.transport.pauseProducing()
        raw.transport.write(amp.AmpBox({b"_command": b"watch", b"_ask": b"1"}).serialize())
        node = await self.connect()
        await self.until(lambda: self.control._factory._node._watchers)
        heard: list[dict[str, Any]] = []
        await node.watch(heard.append)
        for _ in range(2000):
            # As long as it takes to fill the socket's own buffers.
            if len(self.control._factory.links) < 2:
                break
            await self.assertRefused(
                node.order("cancel"),
                "the server is serving and no drain is under way; drain is what would be accepted",
            )
        self.assertEqual(len(self.control._factory.links), 1)
        self.assertEqual(len(self.control._factory._node._watchers), 1)
        await node.status()
        self.assertEqual([event["number"] - heard[0]["number"] for event in heard], list(range(len(heard))))
        self.assertEqual(self.warnings, [UNREADABLE.format("whoever watches here does not read")])
        raw.transport.abortConnection()


UNREADABLE = "a link is ended, for what came on it cannot be read: {}"


class Garbage(LocalCase):
    """
    What should never come.
    """

    async def test_garbage(self) -> None:
        """
        Each ends its own connection, with one line in the log, and harms nobody.
        """
        await self.server()
        node = await self.connect()
        for data, why in [
            (b"GET / HTTP/1.1\r\n\r\n", "a key of 18245 bytes"),
            (b"\xff" * 1000, "a key of 65535 bytes"),
            (b"\x00\x00", None),
            (amp.AmpBox({b"a": b"b"}).serialize(), None),
            (amp.AmpBox({b"_answer": b"1"}).serialize(), "KeyError(b'1')"),
            (amp.AmpBox({b"_error": b"1", b"_error_code": b"X"}).serialize(), "KeyError(b'1')"),
            (amp.AmpBox({b"_command": b"order", b"_ask": b"1", b"kind": b"\xff"}).serialize(), ""),
        ]:
            self.warnings.clear()
            raw = await self.raw()
            raw.transport.write(data)
            if why == "":
                # This one is well formed as a box, and so is answered.
                await self.until(lambda raw=raw: b"MALFORMED" in raw.heard)
                raw.transport.loseConnection()
                await raw.lost
                self.assertEqual(self.warnings, [])
                continue
            self.assertEqual(await raw.lost, b"", data)
            self.assertEqual(len(self.warnings), 1, (data, self.warnings))
            if why is not None:
                self.assertEqual(self.warnings, [UNREADABLE.format(why)])
            self.assertEqual((await node.status())["state"], "serving")
        await self.untilLinks(1)

    async def test_unanswerable(self) -> None:
        """
        A command that cannot be read, and to which nobody wants an answer.
        """
        await self.server()
        raw = await self.raw()
        raw.transport.write(amp.AmpBox({b"_command": b"order"}).serialize())
        self.assertEqual(await raw.lost, b"")
        self.assertEqual(len(self.warnings), 1, self.warnings)

    async def test_endless(self) -> None:
        """
        A box that does not end is not kept for ever.
        """
        await self.server()
        self.patch(LocalLink, "LONGEST", 100_000)
        raw = await self.raw()
        for number in range(2):
            raw.transport.write(b"\x00\x02%02d\xff\xff" % number + b"x" * 65535)
        self.assertEqual(await raw.lost, b"")
        self.assertEqual(self.warnings, [UNREADABLE.format("ValueError('it is longer than 100000 bytes')")])

    async def test_manyBoxes(self) -> None:
        """
        The bound is one box's.
        """
        await self.server()
        self.patch(LocalLink, "LONGEST", 1000)
        node = await self.connect()
        for _ in range(100):
            await node.status()
        self.assertEqual(self.warnings, [])

    async def test_unknown(self) -> None:
        """
        A command of another version is answered, and the link goes on.
        """
        await self.server()
        node = await self.connect()
        try:
            await node.callRemote(Stranger)
        except amp.UnhandledCommand as error:
            self.assertIn("stranger", str(error))
        else:
            self.fail("it was known")
        await node.status()
        self.assertEqual(self.warnings, [])

    async def test_flood(self) -> None:
        """
        One who asks and asks and does not read is not read from any more; when it reads, it gets all its
        answers.
        """
        await self.server()
        many = 3000
        raw = await self.raw()
        raw.transport.pauseProducing()
        box = amp.AmpBox({b"_command": b"status", b"_ask": b"1"}).serialize()
        raw.transport.write(box * many)
        (link,) = await self.untilLinks(1)
        await self.until(lambda: link._clogged)
        for _ in range(5):
            await moment(0)
        # What waits to be sent is bounded, though there would be much more.
        waiting = sum(map(len, link.transport._tempDataBuffer)) + len(link.transport.dataBuffer)
        self.assertTrue(65536 <= waiting < 200_000, waiting)
        self.assertGreater(len(link._rest), 0)
        node = await self.connect()
        await node.status()
        raw.transport.resumeProducing()
        await self.until(lambda: raw.heard.count(b"_answer") == many)
        raw.transport.loseConnection()
        await raw.lost

    async def untilLinks(self, count: int) -> list[LocalLink]:
        """
        Waits until there are so many connections.
        """
        await self.until(lambda: len(self.control._factory.links) == count)
        return list(self.control._factory.links)


class Reroutes(LocalCase):
    """
    What a client tried elsewhere.
    """

    async def test_pages(self) -> None:
        """
        However many there are, all come; from a number on, only the later ones.
        """
        service = await self.client()
        for number in range(777):
            service.reroutes.add(b"call-%d" % number, "server-1", "timeout")
        node = await self.connect()
        page = await node.callRemote(GetReroutes, since=0)
        self.assertEqual((len(page["reroutes"]), page["total"]), (250, 777))
        found = await node.reroutes()
        self.assertEqual([one["number"] for one in found], list(range(1, 778)))
        self.assertEqual(
            await node.reroutes(775),
            [
                {"number": number, "callId": f"call-{number - 1}", "server": "server-1", "reason": "timeout"}
                for number in (776, 777)
            ],
        )
        self.assertEqual(await node.reroutes(777), [])

    async def test_long(self) -> None:
        """
        Names of the greatest length go through.
        """
        service = await self.client()
        for _ in range(60):
            service.reroutes.add(b"\xff" * 8000, "server-1", "lost")
        found = await (await self.connect()).reroutes()
        self.assertEqual([one["callId"] for one in found], ["\ufffd" * 8000] * 60)

    async def test_server(self) -> None:
        await self.server()
        node = await self.connect()
        try:
            await node.reroutes()
        except NotOffered as error:
            self.assertEqual(str(error), "a server reroutes no calls; ask its clients")
        else:
            self.fail("it has some")


class Stopping(LocalCase):
    """
    The end of the socket, and of whoever is at its other end.
    """

    async def test_said(self) -> None:
        """
        What was said last is heard before the link ends; the socket is gone.
        """
        await self.server()
        node = await self.connect()
        events: list[dict[str, Any]] = []
        await node.watch(events.append)
        order = node.callRemote(GiveOrder, kind="drain")
        await self.until(lambda: self.control._factory._node.number == 5)
        stopped = self.control.stopService()
        self.assertFalse(self.path.exists())
        await stopped
        await order
        self.assertEqual([event["change"] for event in events], ["draining", "drained", "offline"])
        await node.whenLost()
        await self.assertUnreachable(
            node.status(), "it has closed the connection; its process has probably ended"
        )
        await self.assertUnreachable(
            node.when({"serving"}, Answer(99, "")),
            "it has closed the connection; its process has probably ended",
        )

    async def test_deaf(self) -> None:
        """
        One who does not read does not hold up the end.
        """
        await self.server()
        self.patch(LocalControl, "PATIENCE", 0.1)
        raw = await self.raw()
        raw.transport.pauseProducing()
        raw.transport.write(amp.AmpBox({b"_command": b"status", b"_ask": b"1"}).serialize() * 3000)
        await self.until(lambda: [link for link in self.control._factory.links if link._clogged])
        await self.control.stopService()
        await self.until(lambda: not self.control._factory.links)
        raw.transport.abortConnection()
        await raw.lost

    async def test_again(self) -> None:
        """
        It can be opened again.
        """
        await self.server()
        await self.control.stopService()
        self.control.startService()
        self.assertEqual((await (await self.connect()).status())["state"], "serving")

    async def test_prepared(self) -> None:
        """
        Who connects before the service is started is answered when it is.
        """
        await self.server()
        await self.control.stopService()
        self.control.prepare()
        status = (await self.connect()).status()
        await self.until(lambda: select.select([self.control._port], [], [], 0)[0])
        self.assertEqual((len(self.control._factory.links), status.called), (0, False))
        self.control.startService()
        self.assertEqual((await status)["state"], "serving")

    async def test_removed(self) -> None:
        """
        A socket that somebody has removed is made anew; whoever had connected notices nothing.
        """
        self.patch(LocalControl, "LOOK", 0.01)
        await self.server()
        before = await self.connect()
        self.path.unlink()
        await self.until(self.path.exists)
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        self.assertEqual((await (await self.connect()).status())["state"], "serving")
        self.assertEqual((await before.status())["state"], "serving")
        self.assertEqual(self.warnings, [f"somebody has removed {self.path}: it is made anew"])
        await self.control.stopService()
        self.assertFalse(self.path.exists())

    async def test_removedForGood(self) -> None:
        """
        Where it cannot be made anew that is said once, and tried again.
        """
        self.patch(LocalControl, "LOOK", 0.01)
        await self.server()
        self.path.unlink()
        self.path.write_text("something else")
        await self.until(lambda: self.warnings)
        await moment(0.1)
        self.assertEqual(
            self.warnings,
            [
                f"control.socket {self.path}: there is something else than a socket; give another path, or "
                "remove it; somebody has removed the socket that was there"
            ],
        )
        self.path.unlink()
        await self.until(lambda: len(self.warnings) == 2)
        await (await self.connect()).status()

    async def test_live(self) -> None:
        """
        A second process with the same socket does not start, and says where the trouble is.
        """
        service = await self.server()
        second = LocalControl(reactor, self.path, Node(service.element.door, service.status))
        error = self.assertRaises(ConfigError, second.startService)
        self.assertEqual(
            str(error),
            f"control.socket {self.path}: another process listens there; stop that one, or give this one "
            "another path",
        )
        await (await self.connect()).status()
        await second.stopService()
        self.assertTrue(self.path.exists())


class Connecting(LocalCase):
    """
    Sockets at which nobody answers.
    """

    async def test_nothing(self) -> None:
        await self.assertUnreachable(
            connectLocal(reactor, self.path),
            f"{self.path}: there is no such socket; is the process running, and is this the socket in its "
            "[control]?",
        )

    async def test_dead(self) -> None:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(os.fspath(self.path))
        await self.assertUnreachable(
            connectLocal(reactor, self.path),
            f"{self.path}: nobody listens there; the process has ended without removing it",
        )

    async def test_noSocket(self) -> None:
        """
        Something else than a socket, such as the configuration file.
        """
        self.path.write_text("")
        await self.assertUnreachable(
            connectLocal(reactor, self.path),
            f"{self.path}: that is no socket; name the one in the [control] of the process",
        )

    async def test_long(self) -> None:
        path = "/" + "x" * 107
        await self.assertUnreachable(
            connectLocal(reactor, path), f"{path}: the path of a socket has at most 107 bytes"
        )

    async def test_silent(self) -> None:
        """
        A process that hangs is not waited for any longer than was asked; a late answer does no harm.
        """
        with socket.socket(socket.AF_UNIX) as hung:
            hung.bind(os.fspath(self.path))
            hung.listen()
            node = await self.connect(timeout=0.05)
            await self.assertUnreachable(node.status(), "it has not answered within 0.05 seconds")
            await self.assertUnreachable(node.watch(), "it has not answered within 0.05 seconds")
            # What was asked for in vain is asked for again, and not taken for answered.
            for asked in (node.watch(), node.watch()):
                await self.assertUnreachable(asked, "it has not answered within 0.05 seconds")
            peer, _ = hung.accept()
            peer.sendall(amp.AmpBox({b"_answer": b"1", b"status": b"{}"}).serialize())
            asked = node.status()
            await self.until(lambda: peer.recv(65536) != b"")
            peer.sendall(amp.AmpBox({b"_answer": b"4", b"status": b'{"late": false}'}).serialize())
            self.assertEqual(await asked, {"late": False})
            peer.close()

    async def test_forbidden(self) -> None:
        """
        Somebody else's socket.
        """
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(os.fspath(self.path))
            other.listen()
            error = PermissionError(13, "Permission denied")
            self.patch(socket.socket, "connect_ex", lambda *args: error.errno)
            await self.assertUnreachable(
                connectLocal(reactor, self.path),
                f"{self.path}: you may not use it; it is for the user that the process runs as, and for root",
            )


class Associations(LocalCase):
    """
    A server with a client, over SCTP.
    """

    async def test_drain(self) -> None:
        """
        The client's association ends in order, and then the server is offline.
        """
        encaps, stack = freePort(), ":stack=userspace"
        server = await self.server(
            SERVER.replace("udp:0:interface=127.0.7.1", f"sctp:0:interface=127.0.7.1:encaps={encaps}{stack}")
        )
        (listener,) = server.element.associations.listeners
        address = f"sctp:host=127.0.7.1:port={listener.port}:encaps={encaps}{stack}"
        control, path = self.control, self.path
        self.path = self.folder / "client.sock"
        client = await self.client(address)
        await self.until(lambda: server.element.associations.count == 1)
        self.control, self.path = control, path
        node = await self.connect()
        self.assertEqual((await node.status())["associations"], 1)
        events: list[dict[str, Any]] = []
        await node.watch(events.append)
        answer = await node.drain(guard=10)
        last = await node.when({"offline", "serving"}, answer)
        self.assertEqual(
            [(event["change"], event["associations"], event["aborted"]) for event in events],
            [("draining", 1, 0), ("drained", 1, 0), ("offline", 0, 0)],
        )
        self.assertEqual(last["state"], "offline")
        await self.until(lambda: client.element.associations.count == 0)
