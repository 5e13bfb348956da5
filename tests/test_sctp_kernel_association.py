"""
L{sipgrace.transport.sctp.kernelassociation} and L{sipgrace.transport.sctp.kernel} over a socket that plays a
written part: what the kernel does seldom, or not on demand. No kernel needed.
"""

from __future__ import annotations

import errno
import socket
import struct
import subprocess
import sys
from typing import Any

from twisted.internet.error import (
    CannotListenError,
    ConnectBindError,
    ConnectError,
    ConnectingCancelledError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    NoRouteError,
    TimeoutError,
)
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyClass

from sipgrace.errors import ConfigError
from sipgrace.transport.sctp import kernel
from sipgrace.transport.sctp.address import SCTPAddress
from sipgrace.transport.sctp.attempt import Attempt
from sipgrace.transport.sctp.kernelassociation import KernelTransport
from sipgrace.transport.sctp.kernelsocket import KernelSocket, PathStatus, familyOf
from sipgrace.transport.sctp.stack import ISCTPStack, ISCTPTransport, SCTPOptions, SCTPStatus
from tests.sctpcontract import DetailedPeer, Peer, PeerFactory

NOTIFICATION = 0x8000 | 0x80
EOR = 0x80
HERE = SCTPAddress("192.0.2.1", 5060)
THERE = SCTPAddress("192.0.2.2", 5061, None, ("192.0.2.2", "192.0.2.3"))


def change(state: int, out: int = 0, info: bytes = b"") -> tuple[Any, ...]:
    """
    What C{recvmsg} gives for an SCTP_ASSOC_CHANGE.
    """
    data = struct.pack("=HHIHHHHi", 0x8001, 0, 20 + len(info), state, 0, out, 5, 1) + info
    return data, [], NOTIFICATION, None


UP, LOST, RESTARTED, SHUTDOWN, REFUSED = range(5)
PEER_SHUTDOWN = (struct.pack("=HHIi", 0x8005, 0, 12, 1), [], NOTIFICATION, None)
PARTIAL = (struct.pack("=HHIIiII", 0x8006, 0, 24, 0, 1, 0, 0), [], NOTIFICATION, None)
END = (b"", [], 0, None)


def message(
    data: bytes, stream: int = 0, ppid: int = 0, unordered: bool = True, whole: bool = True
) -> tuple[Any, ...]:
    """
    What C{recvmsg} gives for a message or a piece of one.
    """
    info = struct.pack("=HHHxx", stream, 9, int(unordered)) + ppid.to_bytes(4, "big") + bytes(16)
    return data, [(132, 3, info)], EOR if whole else 0, None


class Reactor(Clock):
    """
    A clock that knows who wants to read and to write.
    """

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []
        self.writers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        if reader not in self.readers:
            self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        if reader in self.readers:
            self.readers.remove(reader)

    def addWriter(self, writer: Any) -> None:
        if writer not in self.writers:
            self.writers.append(writer)

    def removeWriter(self, writer: Any) -> None:
        if writer in self.writers:
            self.writers.remove(writer)


class Plain:
    """
    Plays a socket: C{incoming} is what it gives to be read, C{refusals} the errors of the next sends.
    """

    def __init__(self) -> None:
        self.incoming: list[Any] = []
        self.refusals: list[int] = []
        self.sent: list[tuple[bytes, list[Any], int]] = []

    def fileno(self) -> int:
        return 77

    def recvmsg(self, size: int, room: int) -> Any:
        if not self.incoming:
            raise BlockingIOError(errno.EAGAIN, "again")
        step = self.incoming.pop(0)
        if isinstance(step, int):
            raise OSError(step, "played")
        return step

    def sendmsg(self, data: Any, info: Any, flags: int) -> int:
        if self.refusals:
            raise OSError(self.refusals.pop(0), "played")
        self.sent.append((b"".join(data), info, flags))
        return len(self.sent[-1][0])


class FakeSocket:
    """
    Plays a L{KernelSocket}; C{calls} is what was asked of it.
    """

    def __init__(self) -> None:
        self.plain = Plain()
        self.calls: list[Any] = []
        self.pending = 0
        self.hasFailed = False
        self.fails: dict[str, int] = {}
        self.waiting: list[Any] = []

    def _call(self, name: str, *details: Any) -> None:
        self.calls.append((name, *details) if details else name)
        if name in self.fails:
            raise OSError(self.fails[name], "played")

    def error(self) -> int:
        pending, self.pending = self.pending, 0
        return pending

    def failed(self) -> bool:
        return self.hasFailed

    def shutdown(self) -> None:
        self._call("shutdown")

    def abort(self) -> None:
        self._call("abort")

    def close(self) -> None:
        self._call("close")

    def local(self) -> SCTPAddress:
        self._call("local")
        return HERE

    def peer(self) -> SCTPAddress:
        return THERE

    def outStreams(self) -> int:
        return 7

    def status(self, queued: int = 0) -> SCTPStatus:
        return SCTPStatus("established", queued=queued)

    def setPrimary(self, host: str) -> None:
        self._call("setPrimary", host)

    def paths(self) -> list[PathStatus]:
        return [PathStatus("192.0.2.2", "active", True)]

    def configure(self, options: SCTPOptions, encaps: int | None = None) -> None:
        self._call("configure", options, encaps)

    def bind(self, hosts: Any, port: int) -> None:
        self._call("bind", tuple(hosts), port)

    def connect(self, hosts: Any, port: int) -> None:
        self._call("connect", tuple(hosts), port)

    def anywhere(self) -> str:
        return "0.0.0.0"

    def accept(self) -> Any:
        step = self.waiting.pop(0) if self.waiting else errno.EAGAIN
        if step == errno.EAGAIN:
            raise BlockingIOError(step, "again")
        if isinstance(step, int):
            raise OSError(step, "played")
        return step, THERE


class TransportCase(SynchronousTestCase):
    """
    An association that a listener accepted.
    """

    options = SCTPOptions(maxMessage=100, sendBound=50)

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.socket = FakeSocket()
        self.plain = self.socket.plain
        self.factory = PeerFactory()
        self.listening = True

    def transportOf(self) -> KernelTransport:
        sock: Any = self.socket
        return KernelTransport(self.reactor, self.options, sock, HERE, THERE)

    def accepted(self, kind: type[Peer] = Peer) -> tuple[KernelTransport, Peer]:
        self.factory.kind = kind
        transport = self.transportOf()
        transport.accepted(self.factory, lambda: self.listening)
        return transport, self.factory.made[-1]

    def play(self, transport: KernelTransport, *steps: Any) -> None:
        """
        The kernel has this to read.
        """
        self.plain.incoming.extend(steps)
        while self.plain.incoming and transport in self.reactor.readers:
            transport.doRead()


class ReadingTests(TransportCase):
    """
    What comes in.
    """

    def test_interfaces(self) -> None:
        verifyClass(ISCTPTransport, KernelTransport)
        verifyClass(ISCTPStack, kernel.KernelStack)

    def test_accepted(self) -> None:
        transport, peer = self.accepted()
        self.assertEqual((transport.outStreams, transport.getHost(), transport.getPeer()), (7, HERE, THERE))
        self.assertEqual(self.reactor.readers, [transport])
        self.play(transport, change(UP, 7), message(b"one"), message(b"two", 3))
        self.assertEqual(peer.events, [("made",), ("data", b"one"), ("data", b"two")])

    def test_details(self) -> None:
        transport, peer = self.accepted(DetailedPeer)
        self.play(
            transport,
            message(b"a", 5, 0xFEDCBA98, False),
            message(b"b"),
            (b"c", [(1, 3, b"other")], EOR, None),
        )
        self.assertEqual(
            peer.events[1:],
            [
                ("message", b"a", 5, 0xFEDCBA98, False),
                ("message", b"b", 0, 0, True),
                ("message", b"c", 0, 0, False),
            ],
        )

    def test_pieces(self) -> None:
        transport, peer = self.accepted()
        self.play(transport, message(b"o", whole=False), message(b"n", whole=False), message(b"e"))
        self.assertEqual(peer.messages, [b"one"])

    def test_piecesBound(self) -> None:
        transport, peer = self.accepted()
        self.play(transport, message(b"x" * 60, whole=False), message(b"x" * 41, whole=False))
        self.assertEqual((peer.messages, self.socket.calls[-1]), ([], "abort"))
        self.reactor.advance(0)
        self.assertEqual(peer.lost, [ConnectionAborted])

    def test_partialDeliveryAborted(self) -> None:
        """
        Pieces whose rest does not come are not put before the next message.
        """
        transport, peer = self.accepted()
        self.play(transport, message(b"half", whole=False), PARTIAL, message(b"whole"))
        self.assertEqual(peer.messages, [b"whole"])
        self.play(transport, message(b"x" * 60, whole=False), PARTIAL, message(b"y" * 60, whole=False))
        self.assertEqual(peer.lost, [])

    def test_turns(self) -> None:
        """
        One association does not keep the reactor from the others.
        """
        transport, peer = self.accepted()
        self.plain.incoming.extend(message(b"%d" % number) for number in range(120))
        transport.doRead()
        self.assertEqual(len(peer.messages), 50)
        transport.doRead()
        transport.doRead()
        self.assertEqual(peer.messages, [b"%d" % number for number in range(120)])

    def test_pausedInTheMidst(self) -> None:
        """
        A protocol that pauses while it is given a message gets no other until it resumes.
        """

        class Slow(Peer):
            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                self.transport.pauseProducing()

        transport, peer = self.accepted(Slow)
        self.play(transport, message(b"one"), message(b"two"))
        self.assertEqual((peer.messages, self.reactor.readers), ([b"one"], []))
        transport.resumeProducing()
        self.play(transport)
        self.assertEqual(peer.messages, [b"one", b"two"])

    def test_abortNoticedWhilePaused(self) -> None:
        transport, peer = self.accepted()
        transport.pauseProducing()
        self.reactor.pump([0.5] * 4)
        self.assertEqual(self.reactor.readers, [])
        self.socket.hasFailed = True
        self.reactor.advance(0.5)
        self.play(transport, message(b"too late"), change(LOST, info=b"\0\x0c\0\4"))
        self.assertEqual((peer.messages, peer.lost), ([], [ConnectionAborted]))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_resumedLooksNoMore(self) -> None:
        transport, _ = self.accepted()
        transport.pauseProducing()
        transport.resumeProducing()
        self.assertEqual(self.reactor.readers, [transport])
        self.reactor.advance(0.5)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_closedWhilePaused(self) -> None:
        transport, peer = self.accepted()
        transport.pauseProducing()
        transport.abortConnection()
        self.reactor.advance(0)
        self.assertEqual((peer.lost, self.reactor.getDelayedCalls()), ([ConnectionAborted], []))

    def test_exception(self) -> None:
        """
        What should never happen ends that association alone, and is logged.
        """
        transport, peer = self.accepted()
        self.play(transport, (b"bad", [(132, 3, b"short")], EOR, None))
        self.assertEqual(len(self.flushLoggedErrors(struct.error)), 1)
        self.reactor.advance(0)
        self.assertEqual((peer.lost, self.socket.calls[-1]), ([ConnectionAborted], "abort"))


class EndTests(TransportCase):
    """
    How it ends, and with what.
    """

    def ending(self, *steps: Any) -> Any:
        transport, peer = self.accepted()
        reasons: list[Any] = []
        peer.connectionLost = lambda reason: reasons.append(reason.value)
        self.play(transport, *steps)
        self.assertEqual(len(reasons), 1)
        self.assertEqual((self.reactor.readers, self.reactor.writers), ([], []))
        self.assertEqual((transport.fileno(), self.socket.calls[-1]), (-1, "close"))
        return reasons[0]

    def test_shutdown(self) -> None:
        self.assertIs(type(self.ending(PEER_SHUTDOWN, change(SHUTDOWN))), ConnectionDone)

    def test_shutdownBeforeItsEnd(self) -> None:
        """
        After the peer's SHUTDOWN there may be an end of file before the notification.
        """
        self.assertIs(type(self.ending(PEER_SHUTDOWN, END)), ConnectionDone)

    def test_aborted(self) -> None:
        error = self.ending(change(LOST, info=b"\0\x0c\0\x07bye\0"))
        self.assertIs(type(error), ConnectionAborted)
        self.assertEqual(str(error), "The peer aborted the association: user-initiated abort (12): bye.")

    def test_abortedWithoutCause(self) -> None:
        self.socket.pending = errno.ECONNRESET
        error = self.ending(change(LOST))
        self.assertIs(type(error), ConnectionAborted)
        self.assertEqual(str(error), "The peer aborted the association.")

    def test_timedOut(self) -> None:
        self.socket.pending = errno.ETIMEDOUT
        error = self.ending(change(LOST))
        self.assertIs(type(error), ConnectionLost)
        self.assertIn("timed out", str(error))

    def test_errors(self) -> None:
        self.assertIs(type(self.ending(errno.ECONNRESET)), ConnectionAborted)
        self.setUp()
        self.assertIs(type(self.ending(errno.ETIMEDOUT)), ConnectionLost)

    def test_reactorStops(self) -> None:
        transport, peer = self.accepted()
        transport.connectionLost(Failure(ConnectionLost()))
        transport.connectionLost(Failure(ConnectionLost()))
        self.assertEqual((peer.lost, self.socket.calls[-1]), ([ConnectionLost], "close"))

    def test_goneBeforeSeen(self) -> None:
        """
        An association that was aborted before it was accepted is made, and lost.
        """
        self.socket.fails["local"] = errno.EINVAL
        self.socket.pending = errno.ECONNRESET
        transport, peer = self.accepted()
        self.assertEqual((transport.getHost(), transport.getPeer()), (HERE, THERE))
        self.play(transport, message(b"data"), change(LOST), END)
        self.assertEqual(peer.events, [("made",), ("data", b"data"), ("lost", ConnectionAborted)])

    def test_loseConnection(self) -> None:
        """
        What the peer had sent is still read, and the end is that of the notification.
        """
        transport, peer = self.accepted()
        transport.loseConnection()
        self.assertEqual(self.socket.calls[-1], "shutdown")
        self.play(transport, message(b"meanwhile"))
        self.assertEqual((peer.messages, peer.lost), ([b"meanwhile"], []))
        self.play(transport, change(SHUTDOWN))
        self.assertEqual(peer.lost, [ConnectionDone])

    def test_shutdownFails(self) -> None:
        """
        It went before we could leave: reading says how.
        """
        transport, peer = self.accepted()
        self.socket.fails["shutdown"] = errno.ENOTCONN
        transport.loseConnection()
        self.play(transport, change(SHUTDOWN))
        self.assertEqual(peer.lost, [ConnectionDone])


class SendingTests(TransportCase):
    """
    What goes out.
    """

    def test_info(self) -> None:
        transport, _ = self.accepted()
        transport.write(b"plain")
        transport.sendMessage(b"other", stream=3, ppid=0x01020304, unordered=False)
        zero = bytes(8)
        self.assertEqual(
            self.plain.sent,
            [
                (b"plain", [(132, 2, struct.pack("=HH", 0, 1) + bytes(4) + zero)], 0x4000),
                (b"other", [(132, 2, struct.pack("=HH", 3, 0) + b"\1\2\3\4" + zero)], 0x4000),
            ],
        )

    def test_blocked(self) -> None:
        """
        What the kernel does not take is kept in order, and sent once it does.
        """
        transport, _ = self.accepted()
        self.plain.refusals = [errno.EAGAIN]
        for data in (b"one", b"two"):
            transport.write(data)
        self.assertEqual(([], [transport]), (self.plain.sent, self.reactor.writers))
        self.assertEqual(transport.status().queued, 6)
        self.plain.refusals = [errno.EAGAIN]
        transport.doWrite()
        self.assertEqual(self.reactor.writers, [transport])
        transport.doWrite()
        self.assertEqual([each[0] for each in self.plain.sent], [b"one", b"two"])
        self.assertEqual(self.reactor.writers, [])

    def test_bound(self) -> None:
        transport, peer = self.accepted()
        self.plain.refusals = [errno.EAGAIN]
        transport.write(b"x" * 50)
        self.assertEqual(self.socket.calls[-1], "local")
        transport.write(b"x")
        self.assertEqual(self.socket.calls[-1], "abort")
        self.reactor.advance(0)
        self.assertEqual(peer.lost, [ConnectionAborted])

    def test_leavesWhatIsQueuedFirst(self) -> None:
        transport, _ = self.accepted()
        self.plain.refusals = [errno.EAGAIN]
        transport.write(b"last")
        transport.loseConnection()
        self.assertNotIn("shutdown", self.socket.calls)
        transport.doWrite()
        self.assertEqual((self.plain.sent[0][0], self.socket.calls[-1]), (b"last", "shutdown"))

    def test_gone(self) -> None:
        """
        Sending to what has gone is no error of its own; the error that only sending saw is remembered.
        """
        transport, peer = self.accepted()
        transport.pauseProducing()
        self.plain.refusals = [errno.ECONNRESET]
        transport.write(b"into nothing")
        self.assertEqual(peer.lost, [])
        self.play(transport, message(b"unread"), END)
        self.assertEqual((peer.messages, peer.lost), ([], [ConnectionAborted]))

    def test_afterThePeersShutdown(self) -> None:
        transport, peer = self.accepted()
        self.plain.refusals = [errno.EPIPE]
        transport.write(b"late")
        self.play(transport, PEER_SHUTDOWN, END)
        self.assertEqual(peer.lost, [ConnectionDone])

    def test_tooLargeForTheKernel(self) -> None:
        transport, peer = self.accepted()
        self.plain.refusals = [errno.EMSGSIZE]
        transport.write(b"x")
        self.assertEqual(self.socket.calls[-1], "abort")
        self.reactor.advance(0)
        self.assertEqual(peer.lost, [ConnectionAborted])

    def test_pullProducer(self) -> None:
        """
        A producer that is to be asked for each piece is asked each time the socket takes one.
        """
        transport, _ = self.accepted()

        class Puller:
            left = 3

            def resumeProducing(self) -> None:
                self.left -= 1
                transport.write(b"%d" % self.left)
                if not self.left:
                    transport.unregisterProducer()

        transport.registerProducer(Puller(), False)
        for _ in range(10):
            if transport in self.reactor.writers:
                transport.doWrite()
        self.assertEqual([each[0] for each in self.plain.sent], [b"2", b"1", b"0"])
        self.assertEqual(self.reactor.writers, [])


class PathTests(TransportCase):
    """
    Addresses of the peer that change.
    """

    def test_primary(self) -> None:
        transport, _ = self.accepted()
        storage = struct.pack("=HH", socket.AF_INET, 0) + bytes([192, 0, 2, 3])
        data = struct.pack("=HHI", 0x8002, 0, 148) + storage.ljust(128, b"\0") + struct.pack("=iii", 4, 0, 1)
        self.play(transport, (data, [], NOTIFICATION, None))
        self.assertEqual(
            transport.getPeer(), SCTPAddress("192.0.2.3", 5061, None, ("192.0.2.3", "192.0.2.2"))
        )

    def test_primaryAskedFor(self) -> None:
        """
        It is set as soon as the association is up, which no refusal hinders.
        """
        for refusal in (0, errno.EADDRNOTAVAIL):
            self.setUp()
            if refusal:
                self.socket.fails["setPrimary"] = refusal
            transport = self.transportOf()
            transport.primary = "192.0.2.3"
            attempt = Attempt(self.reactor, self.factory, 5.0, transport.abandon)
            transport.opening(attempt)
            self.play(transport, change(UP, 7))
            self.assertEqual(self.socket.calls, [("setPrimary", "192.0.2.3"), "local"])
            self.assertIs(self.successResultOf(attempt.deferred), self.factory.made[0])

    def test_goneHasNone(self) -> None:
        transport, _ = self.accepted()
        self.assertEqual(len(transport.paths()), 1)
        transport.abortConnection()
        self.assertEqual((transport.paths(), transport.status().state), ([], "closed"))
        self.assertRaises(OSError, transport.setPrimary, "192.0.2.2")


class RestartTests(TransportCase):
    """
    The peer restarts (RFC 9260 §5.2).
    """

    def test_accepted(self) -> None:
        """
        What was is lost; on the same socket another begins.
        """
        transport, first = self.accepted()
        self.play(transport, message(b"before"), change(RESTARTED, 7))
        second = self.factory.made[1]
        (successor,) = self.reactor.readers
        self.assertIsNot(successor, transport)
        self.play(successor, message(b"after"))
        self.assertEqual(first.events, [("made",), ("data", b"before"), ("lost", ConnectionLost)])
        self.assertEqual(second.events, [("made",), ("data", b"after")])
        self.assertNotIn("close", self.socket.calls)
        transport.abortConnection()
        self.assertNotIn("abort", self.socket.calls)

    def test_listenerHasStopped(self) -> None:
        self.listening = False
        transport, peer = self.accepted()
        self.play(transport, change(RESTARTED, 7))
        self.assertEqual((peer.lost, self.socket.calls[-1]), ([ConnectionLost], "abort"))
        self.assertEqual(len(self.factory.made), 1)

    def test_opened(self) -> None:
        """
        One that we opened is aborted: its protocol's owner opens it again.
        """
        transport = self.transportOf()
        transport.opening(Attempt(self.reactor, self.factory, 5.0, transport.abandon))
        self.play(transport, change(UP, 7), change(RESTARTED, 7))
        self.assertEqual((self.factory.made[0].lost, self.socket.calls[-1]), ([ConnectionLost], "abort"))


class ConnectTests(TransportCase):
    """
    Opening, through the stack.
    """

    def setUp(self) -> None:
        super().setUp()
        self.patch(kernel, "KernelSocket", lambda family: self.socket)

    def connect(self, **more: Any) -> Any:
        stack = kernel.KernelStack()
        deferred = stack.connect(
            self.reactor, ["192.0.2.2", "192.0.2.3"], 5061, self.factory, self.options, **more
        )
        transport = self.reactor.readers[0] if self.reactor.readers else None
        return transport, deferred

    def test_succeeds(self) -> None:
        transport, deferred = self.connect()
        self.assertNoResult(deferred)
        self.play(transport, change(UP, 9))
        peer = self.successResultOf(deferred)
        self.assertEqual(peer.events, [("made",)])
        self.assertEqual(
            (transport.outStreams, transport.getPeer(), self.factory.addresses), (9, THERE, [THERE])
        )
        self.assertEqual(
            self.socket.calls,
            [("configure", self.options, None), ("connect", ("192.0.2.2", "192.0.2.3"), 5061), "local"],
        )
        self.reactor.advance(10.0)
        self.assertEqual(peer.lost, [])

    def test_bound(self) -> None:
        self.connect(bindHosts=["192.0.2.7", "192.0.2.8"], bindPort=6000)
        self.connect(bindPort=6001)
        self.connect(bindHosts=["192.0.2.9"], encaps=9899)
        self.assertEqual(
            [call for call in self.socket.calls if call[0] != "connect"],
            [
                ("configure", self.options, None),
                ("bind", ("192.0.2.7", "192.0.2.8"), 6000),
                ("configure", self.options, None),
                ("bind", ("0.0.0.0",), 6001),
                ("configure", self.options, 9899),
                ("bind", ("192.0.2.9",), 0),
            ],
        )

    def failing(self, code: int, *steps: Any) -> Any:
        transport, deferred = self.connect()
        self.socket.pending = code
        self.play(transport, *steps)
        self.assertEqual(self.socket.calls[-1], "close")
        self.assertEqual((self.factory.made, self.factory.starts, self.factory.stops), ([], 1, 1))
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        return self.failureResultOf(deferred).value

    def test_refused(self) -> None:
        self.assertIs(type(self.failing(errno.ECONNREFUSED, change(REFUSED))), ConnectionRefusedError)

    def test_refusedWithCause(self) -> None:
        error = self.failing(0, change(REFUSED, info=b"\0\x04\0\4"))
        self.assertIs(type(error), ConnectionRefusedError)
        self.assertIn("out of resource (4)", str(error))

    def test_timedOut(self) -> None:
        self.assertIs(type(self.failing(errno.ETIMEDOUT, change(REFUSED))), TimeoutError)

    def test_unreachable(self) -> None:
        self.assertIs(type(self.failing(0, errno.EHOSTUNREACH)), ConnectError)

    def test_ownTimeout(self) -> None:
        _, deferred = self.connect(timeout=2.0)
        self.reactor.advance(1.9)
        self.assertNoResult(deferred)
        self.reactor.advance(0.2)
        self.failureResultOf(deferred, TimeoutError)
        self.assertEqual((self.socket.calls[-1], self.reactor.readers), ("abort", []))

    def test_cancelled(self) -> None:
        _, deferred = self.connect()
        deferred.cancel()
        self.failureResultOf(deferred, ConnectingCancelledError)
        self.assertEqual((self.socket.calls[-1], self.reactor.getDelayedCalls()), ("abort", []))

    def test_reactorStops(self) -> None:
        transport, deferred = self.connect()
        transport.connectionLost(Failure(ConnectionLost()))
        self.failureResultOf(deferred, ConnectError)

    def test_cannotBegin(self) -> None:
        self.socket.fails["connect"] = errno.ENETUNREACH
        self.failureResultOf(self.connect()[1], NoRouteError)
        self.assertEqual(self.socket.calls[-1], "close")

    def test_cannotBind(self) -> None:
        self.socket.fails["bind"] = errno.EADDRNOTAVAIL
        error = self.failureResultOf(self.connect(bindHosts=["192.0.2.7"])[1], ConnectBindError).value
        self.assertIn("192.0.2.7 port 0", str(error))
        self.assertEqual(self.socket.calls[-1], "close")


class PortTests(TransportCase):
    """
    Accepting.
    """

    def setUp(self) -> None:
        super().setUp()
        self.patch(kernel, "KernelSocket", lambda family, given: self.listener)
        self.listener: Any = FakeSocket()
        self.listener.reuse = lambda: None
        self.listener.plain.listen = lambda backlog: None
        self.listener.plain.getsockname = lambda: ("192.0.2.1", 6060)

    def listen(self) -> Any:
        return kernel.KernelStack().listen(
            self.reactor, 0, ["192.0.2.1", "192.0.2.4"], self.factory, self.options
        )

    def test_accepts(self) -> None:
        port = self.listen()
        self.assertEqual(port.getHost(), SCTPAddress("192.0.2.1", 6060, None, ("192.0.2.1", "192.0.2.4")))
        self.listener.waiting = [self.socket, FakeSocket()]
        port.doRead()
        self.assertEqual(len(self.factory.made), 2)
        self.assertEqual(len(self.reactor.readers), 3)

    def test_oneFailsAnotherDoesNot(self) -> None:
        port = self.listen()
        self.listener.waiting = [errno.ECONNABORTED, self.socket]
        port.doRead()
        self.assertEqual(len(self.factory.made), 0)
        port.doRead()
        self.assertEqual(len(self.factory.made), 1)

    def test_noDescriptors(self) -> None:
        """
        With no descriptor left it waits, for the kernel would report the same association for ever.
        """
        port = self.listen()
        self.listener.waiting = [errno.EMFILE, self.socket]
        port.doRead()
        self.assertEqual(self.reactor.readers, [])
        self.reactor.advance(1.0)
        self.assertEqual(self.reactor.readers, [port])
        port.doRead()
        self.assertEqual(len(self.factory.made), 1)

    def test_stoppedWhileItWaits(self) -> None:
        port = self.listen()
        self.listener.waiting = [errno.EMFILE]
        port.doRead()
        self.successResultOf(port.stopListening())
        self.reactor.advance(1.0)
        self.assertEqual((self.reactor.readers, port.fileno()), ([], -1))

    def test_stops(self) -> None:
        port = self.listen()
        self.successResultOf(port.stopListening())
        self.successResultOf(port.stopListening())
        self.assertEqual(self.listener.calls[-1], "close")
        self.assertEqual((self.factory.starts, self.factory.stops), (1, 1))

    def test_taken(self) -> None:
        self.listener.fails["bind"] = errno.EADDRINUSE
        error = self.assertRaises(CannotListenError, self.listen)
        self.assertEqual(error.socketError.errno, errno.EADDRINUSE)
        self.assertEqual((self.listener.calls[-1], self.factory.starts), ("close", 0))


class ImportTests(SynchronousTestCase):
    """
    pysctp is needed by those who use it.
    """

    def test_lazy(self) -> None:
        """
        Neither the seam nor the kernel's side of it imports pysctp.
        """
        code = (
            "import sys; import sipgrace.transport.sctp.endpoints, sipgrace.transport.sctp.kernel; "
            "print('sctp' in sys.modules, '_sctp' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        self.assertEqual((done.stdout, done.stderr), ("False False\n", ""))

    def test_missing(self) -> None:
        modules: dict[str, Any] = sys.modules
        there = modules.get("sctp")
        modules["sctp"] = None
        self.addCleanup(modules.update, {"sctp": there}) if there else self.addCleanup(modules.pop, "sctp")
        error = self.assertRaises(ConfigError, KernelSocket, socket.AF_INET)
        self.assertIn("stack=kernel needs the package pysctp", str(error))

    def test_family(self) -> None:
        self.assertEqual(familyOf(["192.0.2.1"]), socket.AF_INET)
        self.assertEqual(familyOf(["192.0.2.1", "2001:db8::1"]), socket.AF_INET6)
