"""
Tests for L{sipgrace.transport.udp}, over loopback sockets. The reactor is a fake that is woken by hand,
so that nothing here waits.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import socket
import struct
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, SynchronousTestCase
from zope.interface.verify import verifyObject

from sipgrace.errors import TransportError
from sipgrace.interfaces import IAssociation, IListener
from sipgrace.message.message import Message
from sipgrace.testing import Recorder, makeRequest, makeResponse
from sipgrace.transport import datagrams as datagramsModule
from sipgrace.transport.associations import Associations
from sipgrace.transport.bounds import Bounds
from sipgrace.transport.datagrams import Datagrams, addressOf, datagramsFor
from sipgrace.transport.intake import Intake
from sipgrace.transport.udp import UDPListener


class Readers:
    """
    The part of a reactor that the listener asks for.
    """

    def __init__(self) -> None:
        self.readers: list[object] = []

    def addReader(self, reader: object) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: object) -> None:
        self.readers.remove(reader)


def haveIPv6() -> bool:
    """
    Whether the IPv6 loopback address can be bound.
    """
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


class UDPCase(SynchronousTestCase):
    """
    One listener, and phones that are plain sockets.
    """

    host = "127.0.0.1"

    def setUp(self) -> None:
        self.user = Recorder()
        self.reactor = Readers()
        self.listener = self.listen()

    def listen(self, **bounds: Any) -> UDPListener:
        intake = Intake(self.user, Clock(), Bounds(**bounds))
        listener = UDPListener(self.reactor, intake, "interface", self.host, 0)
        self.addCleanup(listener.stopListening)
        return listener

    def phone(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        phone = socket.socket(family, socket.SOCK_DGRAM)
        self.addCleanup(phone.close)
        phone.settimeout(5)
        phone.bind((self.host, 0))
        return phone

    def tell(self, phone: socket.socket, data: bytes) -> None:
        """
        Sends to the listener, and lets it read.
        """
        phone.sendto(data, (self.listener.host, self.listener.port))
        self.read()

    def read(self) -> None:
        ready, _, _ = select.select([self.listener], [], [], 5)
        self.assertEqual(ready, [self.listener])
        self.listener.doRead()

    def counted(self) -> dict[str, int]:
        return {name: count for name, count in self.listener.counters.asDict().items() if count}


class UDPTests(UDPCase):
    """
    L{UDPListener} and L{UDPPeer}.
    """

    def test_interfaces(self) -> None:
        listener = self.listener
        self.assertTrue(verifyObject(IListener, listener))
        peer = listener.associationTo("127.0.0.9", 5070)
        self.assertTrue(verifyObject(IAssociation, peer))
        self.assertEqual(
            (peer.transport, peer.reliable, peer.zone, peer.opened, peer.up, peer.peerHost, peer.peerPort),
            (b"UDP", False, "interface", True, True, "127.0.0.9", 5070),
        )
        self.assertEqual((peer.localHost, peer.localPort), ("127.0.0.1", listener.port))
        self.assertEqual(peer.via, b"SIP/2.0/UDP 127.0.0.1:%d" % listener.port)
        self.assertEqual(listener.via, peer.via)

    def test_bothWays(self) -> None:
        phone = self.phone()
        self.tell(phone, makeRequest(b"OPTIONS", via=b"SIP/2.0/UDP 127.0.0.1;rport"))
        ((_, peer, request),) = self.user.events
        self.assertEqual((peer.peerHost, peer.peerPort), phone.getsockname())
        self.assertFalse(peer.opened)
        self.assertTrue(peer.send(makeResponse(request, 200)))
        self.assertTrue(phone.recv(65535).startswith(b"SIP/2.0 200 "))

    def test_samePeer(self) -> None:
        phone, other = self.phone(), self.phone()
        for sender in (phone, phone, other):
            self.tell(sender, makeRequest(b"OPTIONS", via=b"SIP/2.0/UDP 127.0.0.1;rport"))
        first, second, third = (event[1] for event in self.user.events)
        self.assertIs(first, second)
        self.assertIsNot(first, third)
        self.assertIs(self.listener.associationTo(*phone.getsockname()), first)

    def test_drainsWithinBurst(self) -> None:
        """
        One wake-up reads what is there, and no more than the bound.
        """
        phone = self.phone()
        for number in range(100):
            phone.sendto(makeRequest(b"OPTIONS", cseq=number), (self.listener.host, self.listener.port))
        self.read()
        self.assertEqual(len(self.user.events), 64)
        self.read()
        self.assertEqual([message.cseq for message in self.user.messages()], list(range(100)))
        self.listener.doRead()
        self.assertEqual(self.counted(), {"received": 100})

    def test_userRaises(self) -> None:
        """
        The reader stays, and the next message arrives.
        """

        def broken(message: Message, association: IAssociation) -> None:
            if message.cseq == 1:
                raise ZeroDivisionError("a bug above")

        self.user.answer = broken
        phone = self.phone()
        self.tell(phone, makeRequest(b"OPTIONS", via=b"SIP/2.0/UDP 127.0.0.1;rport"))
        self.assertTrue(phone.recv(65535).startswith(b"SIP/2.0 500 "))
        self.tell(phone, makeRequest(b"OPTIONS", cseq=2))
        self.assertEqual([message.cseq for message in self.user.messages()], [1, 2])
        self.assertEqual(self.reactor.readers, [self.listener])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_oversized(self) -> None:
        """
        The greatest datagram there is, read whole; and more than a datagram can hold, not sent.
        """
        phone = self.phone()
        head = makeRequest(b"MESSAGE", body=b"")
        body = b"x" * (65507 - len(head) - 4)
        self.tell(phone, makeRequest(b"MESSAGE", body=body))
        self.assertEqual(self.user.messages()[0].body, body)
        peer = self.listener.associationTo(*phone.getsockname())
        self.assertFalse(peer.send(b"x" * 65508))
        self.assertTrue(peer.up)
        self.assertEqual(self.counted(), {"received": 1, "unsendable": 1})

    def test_kernelIsFull(self) -> None:
        """
        What the kernel does not take now is dropped and counted; SIP retransmits.
        """
        peer = self.listener.associationTo("127.0.0.9", 5060)
        for number in (errno.EAGAIN, errno.ENOBUFS, errno.ECONNREFUSED):

            def full(data: bytes, address: object, number: int = number) -> int:
                raise OSError(number, "no")

            self.listener.sendto = full
            self.assertTrue(peer.send(b"x"))
        self.assertEqual(self.counted(), {"dropped": 3})

    def test_noRoute(self) -> None:
        peer = self.listener.associationTo("127.0.0.9", 5060)

        def unreachable(data: bytes, address: object) -> int:
            raise OSError(errno.ENETUNREACH, "Network is unreachable")

        self.listener.sendto = unreachable
        self.assertFalse(peer.send(b"x"))
        self.assertEqual(self.counted(), {"unsendable": 1})

    def test_icmp(self) -> None:
        """
        That nobody listens where we sent to disturbs nobody else.
        """
        gone = self.phone()
        where = gone.getsockname()
        gone.close()
        for _ in range(3):
            self.assertTrue(self.listener.associationTo(*where).send(makeRequest(b"OPTIONS")))
        self.tell(self.phone(), makeRequest(b"OPTIONS"))
        self.assertEqual(self.user.names(), ["OPTIONS"])

    def test_readErrors(self) -> None:
        """
        Errors of reading are counted; the wake-up ends within its bound.
        """

        def refuse(*arguments: object) -> int:
            ctypes.set_errno(errno.ECONNREFUSED)
            return -1

        self.listener._datagrams = Datagrams(refuse, socket.AF_INET)
        self.listener.doRead()
        self.assertEqual(self.counted(), {"readErrors": 64})

    def test_shutdownForgets(self) -> None:
        phone = self.phone()
        peer = self.listener.associationTo(*phone.getsockname())
        peer.shutdown()
        self.assertFalse(peer.up)
        self.assertFalse(peer.send(b"x"))
        self.tell(phone, makeRequest(b"OPTIONS", via=b"SIP/2.0/UDP 127.0.0.1;rport"))
        self.assertIsNot(self.user.events[0][1], peer)
        self.assertEqual(self.user.names(), ["OPTIONS"])

    def test_shutdownForgetsWhoWasHeard(self) -> None:
        """
        Also in the midst of what it sent: the next datagram is that of a new peer.
        """

        def answer(message: Message, association: IAssociation) -> None:
            if message.cseq == 2:
                association.shutdown()

        self.user.answer = answer
        phone = self.phone()
        for number in (1, 2, 3, 4):
            request = makeRequest(b"OPTIONS", cseq=number, via=b"SIP/2.0/UDP 127.0.0.1;rport")
            phone.sendto(request, (self.listener.host, self.listener.port))
        self.read()
        first, second, third, fourth = (event[1] for event in self.user.events)
        self.assertIs(first, second)
        self.assertIs(third, fourth)
        self.assertIsNot(second, third)
        self.assertEqual((second.up, third.up, self.listener.known()), (False, True, 1))

    def test_boundedHeard(self) -> None:
        """
        Who was heard is remembered no longer than as a peer, and is then another one.
        """
        self.listener.stopListening()
        self.listener = self.listen(peers=4)
        phones = [self.phone() for _ in range(7)]
        for number in range(40):
            phone = phones[number * number % 7]
            self.tell(phone, makeRequest(b"OPTIONS", via=b"SIP/2.0/UDP 127.0.0.1;rport"))
            self.assertIs(self.user.events[-1][1], self.listener.peer(phone.getsockname()))
            self.assertLessEqual(len(self.listener._heard), 2)
        self.listener.stopListening()
        self.assertEqual(self.listener._heard, {})

    def test_boundedPeers(self) -> None:
        """
        The peers remembered are bounded; one that is heard again and again is not forgotten.
        """
        self.listener.stopListening()
        self.listener = self.listen(peers=10)
        steady = self.listener.peer(("127.0.0.1", 1))
        for port in range(1000):
            self.listener.peer(("127.0.0.2", port))
            self.assertIs(self.listener.peer(("127.0.0.1", 1)), steady)
            self.assertLessEqual(self.listener.known(), 10)

    def test_stopListening(self) -> None:
        """
        The port is free, all peers are down, also those long forgotten, and nothing is read any more.
        """
        self.listener.stopListening()
        self.listener = self.listen(peers=4)
        peers = [self.listener.peer(("127.0.0.1", port)) for port in range(9000, 9020)]
        self.successResultOf(self.listener.stopListening())
        self.assertEqual(self.reactor.readers, [])
        self.assertEqual([peer.send(b"x") for peer in peers], [False] * 20)
        self.assertEqual([peer.up for peer in peers], [False] * 20)
        self.assertRaises(TransportError, self.listener.associationTo, "127.0.0.1", 5060)
        self.listener.doRead()
        self.successResultOf(self.listener.stopListening())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
            again.bind((self.listener.host, self.listener.port))

    def test_stoppedFromWithin(self) -> None:
        """
        A user that stops the listener over a message: the rest of the burst is not read.
        """
        self.user.answer = lambda message, association: self.listener.stopListening()
        phone = self.phone()
        for _ in range(3):
            phone.sendto(makeRequest(b"OPTIONS"), (self.listener.host, self.listener.port))
        self.read()
        self.assertEqual(self.counted(), {"received": 1})

    def test_stoppedWithAnswers(self) -> None:
        """
        What was to be sent after the burst leaves before the socket goes.
        """

        def answer(message: object, association: IAssociation) -> None:
            association.send(b"one")
            association.send(b"two")
            self.listener.stopListening()

        self.user.answer = answer
        phone = self.phone()
        self.tell(phone, makeRequest(b"OPTIONS", via=b"SIP/2.0/UDP 127.0.0.1;rport"))
        self.assertEqual([phone.recv(9), phone.recv(9)], [b"one", b"two"])

    def test_reactorStops(self) -> None:
        peer = self.listener.associationTo("127.0.0.1", 5060)
        self.listener.connectionLost(Failure(ZeroDivisionError()))
        self.assertEqual((self.listener.fileno(), peer.up), (-1, False))

    def test_notAnAddress(self) -> None:
        for host, port in (("example.com", 5060), ("::1", 5060), ("127.0.0.1", 70000), ("", 5060)):
            self.assertRaises(TransportError, self.listener.associationTo, host, port)

    def test_portTaken(self) -> None:
        intake = Intake(self.user, Clock(), Bounds())
        self.assertRaises(
            OSError, UDPListener, self.reactor, intake, "network", self.listener.host, self.listener.port
        )

    def test_wildcard(self) -> None:
        """
        The Via bears what was advertised, the local address is what the kernel sends from.
        """
        intake = Intake(self.user, Clock(), Bounds())
        listener = UDPListener(self.reactor, intake, "network", "0.0.0.0", 0, ("sip.example.com", 0))
        self.addCleanup(listener.stopListening)
        self.assertEqual(listener.via, b"SIP/2.0/UDP sip.example.com:%d" % listener.port)
        self.assertEqual(listener.associationTo("127.0.0.5", 5060).localHost, "127.0.0.1")

    def test_buffers(self) -> None:
        """
        The kernel was asked for large buffers; what it grants depends on the host.
        """
        granted = self.listener._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            self.assertGreaterEqual(granted, plain.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF))


class EachTests(UDPTests):
    """
    The same where the system reads one datagram at a time.
    """

    def listen(self, **bounds: Any) -> UDPListener:
        listener = super().listen(**bounds)
        listener._datagrams = None
        return listener

    def test_readErrors(self) -> None:
        class Refusing:
            def recvfrom(self, size: int) -> tuple[bytes, object]:
                raise ConnectionRefusedError(errno.ECONNREFUSED, "ICMP")

        real = self.listener._socket
        self.listener._socket = Refusing()
        try:
            self.listener.doRead()
        finally:
            self.listener._socket = real
        self.assertEqual(self.counted(), {"readErrors": 64})


class DatagramsTests(SynchronousTestCase):
    """
    L{Datagrams}.
    """

    def test_addresses(self) -> None:
        """
        They are what the socket itself would have said.
        """
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            if host == "::1" and not haveIPv6():
                continue
            datagrams = datagramsFor(family)
            assert datagrams is not None
            self.assertIs(datagramsFor(family), datagrams)
            ear, mouth = (socket.socket(family, socket.SOCK_DGRAM) for _ in range(2))
            with ear, mouth:
                ear.bind((host, 0))
                mouth.bind((host, 0))
                for data in (b"one", b"", b"x" * 60000, b"two"):
                    mouth.sendto(data, ear.getsockname())
                self.assertEqual(datagrams.receive(ear.fileno(), 3), 3)
                self.assertEqual([datagrams.data(place) for place in range(3)], [b"one", b"", b"x" * 60000])
                self.assertEqual(addressOf(datagrams.address(2)), mouth.getsockname())
                self.assertEqual(datagrams.receive(ear.fileno(), 3), 1)
                self.assertEqual((datagrams.data(0), datagrams.address(0)), (b"two", datagrams.address(1)))
                self.assertEqual(datagrams.receive(ear.fileno(), 3), 0)
            self.assertRaises(OSError, datagrams.receive, -1, 3)

    def test_scopes(self) -> None:
        """
        Addresses of one link are told apart by the link.
        """
        packed = socket.inet_pton(socket.AF_INET6, "fe80::1")
        raw = struct.pack("=H2s4s16sI", socket.AF_INET6, b"\x13\xc4", b"\0\0\0\7", packed, 3)
        self.assertEqual(addressOf(raw), ("fe80::1", 5060, 7, 3))

    def test_fork(self) -> None:
        """
        What a child of the process reads changes nothing for its parent.
        """
        datagrams = datagramsFor(socket.AF_INET)
        assert datagrams is not None
        ear, mouth = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        with ear, mouth:
            ear.bind(("127.0.0.1", 0))
            for data in (b"parent", b"child"):
                mouth.sendto(data, ear.getsockname())
            self.assertEqual(datagrams.receive(ear.fileno(), 1), 1)
            child = os.fork()
            if child == 0:
                read = datagrams.receive(ear.fileno(), 1) == 1 and datagrams.data(0) == b"child"
                os._exit(0 if read else 1)
            self.assertEqual(os.waitpid(child, 0), (child, 0))
            self.assertEqual(datagrams.data(0), b"parent")

    def test_unknownToTheSystem(self) -> None:
        """
        A kernel that has no such call is not asked again.
        """

        def refuse(*arguments: object) -> int:
            ctypes.set_errno(errno.ENOSYS)
            return -1

        for library in (SimpleNamespace(recvmmsg=refuse), SimpleNamespace()):
            with self.subTest(library=library):
                made: dict[int, Datagrams | None] = {}
                self.patch(datagramsModule, "_made", made)
                self.patch(ctypes, "CDLL", lambda *given, library=library, **options: library)
                self.assertIs(datagramsFor(socket.AF_INET), None)
                self.assertEqual(made, {socket.AF_INET: None})


class BehindTests(UDPCase):
    """
    Peers that were seen before, by the listener that saw them.
    """

    def test_peer(self) -> None:
        """
        The same peer as that which sent; none of another listener, another side, or an address that is none.
        """
        associations = Associations([lambda user: succeed(self.listener)], self.user)
        self.successResultOf(associations.listen())
        phone = self.phone()
        host, port = phone.getsockname()
        via = self.listener.via
        found = associations.peer("interface", via, host, port)
        assert found is not None
        self.assertIs(found, self.listener.peer((host, port)))
        found.send(b"ring")
        self.assertEqual(phone.recvfrom(99), (b"ring", (self.listener.host, self.listener.port)))
        for zone, name, where in (
            ("network", via, host),
            ("interface", via + b"1", host),
            ("interface", via, "::1"),
            ("interface", via, "phone.example"),
        ):
            self.assertIs(associations.peer(zone, name, where, port), None)
        self.successResultOf(associations.stopListening())
        self.assertIs(associations.peer("interface", via, host, port), None)


class ReturnPathTests(UDPCase):
    """
    Where responses go (RFC 3261 §18.2.2, RFC 3581 §4).
    """

    def answered(self, via: bytes) -> tuple[str, int]:
        """
        The address of the association that a request with this Via, sent from C{self.caller}, came up
        with.
        """
        self.caller = self.phone()
        self.tell(self.caller, makeRequest(b"OPTIONS", via=via))
        peer = self.user.events[-1][1]
        return peer.peerHost, peer.peerPort

    def test_rport(self) -> None:
        self.assertEqual(self.answered(b"SIP/2.0/UDP 10.1.1.1:5070;rport"), self.caller.getsockname())

    def test_rportElsewhereInTheVia(self) -> None:
        for via in (b"SIP/2.0/UDP 10.1.1.1:5070 ; RPort", b"SIP/2.0/UDP 10.1.1.1:5070;x=1;rport;y"):
            self.assertEqual(self.answered(via), self.caller.getsockname())

    def test_sentByPort(self) -> None:
        self.assertEqual(self.answered(b"SIP/2.0/UDP 10.1.1.1:5070"), ("127.0.0.1", 5070))

    def test_sentByWithoutPort(self) -> None:
        self.assertEqual(self.answered(b"SIP/2.0/UDP phone.example.com"), ("127.0.0.1", 5060))
        self.assertEqual(self.answered(b"SIP/2.0/UDP [2001:db8::1]"), ("127.0.0.1", 5060))

    def test_maddrIgnored(self) -> None:
        self.assertEqual(self.answered(b"SIP/2.0/UDP 10.1.1.1:5070;maddr=127.0.0.9"), ("127.0.0.1", 5070))

    def test_rportOfAnotherVia(self) -> None:
        """
        The top Via alone counts.
        """
        via = b"SIP/2.0/UDP 10.1.1.1:5070;branch=z9hG4bKa, SIP/2.0/UDP 10.1.1.2;rport"
        self.assertEqual(self.answered(via), ("127.0.0.1", 5070))

    def test_notTheRport(self) -> None:
        self.assertEqual(self.answered(b"SIP/2.0/UDP 10.1.1.1:5070;rports=1;xrport"), ("127.0.0.1", 5070))

    def test_reallyThere(self) -> None:
        """
        The answer reaches a phone that sends from one port and listens at another.
        """
        listening = self.phone()
        self.answered(b"SIP/2.0/UDP 127.0.0.1:%d" % listening.getsockname()[1])
        _, peer, request = self.user.events[-1]
        peer.send(makeResponse(request, 200))
        self.assertTrue(listening.recv(65535).startswith(b"SIP/2.0 200 "))

    def test_sameEachTime(self) -> None:
        caller = self.phone()
        for _ in range(2):
            self.tell(caller, makeRequest(b"OPTIONS", via=b"SIP/2.0/UDP 10.1.1.1:5070"))
        self.assertIs(self.user.events[0][1], self.user.events[1][1])

    def test_refusal(self) -> None:
        """
        A refusal takes the same way.
        """
        listening = self.phone()
        bad = makeRequest(b"OPTIONS", via=b"SIP/2.0/UDP 127.0.0.1:%d" % listening.getsockname()[1])
        self.tell(self.phone(), bad.replace(b"1 OPTIONS", b"1 BYE"))
        self.assertTrue(listening.recv(65535).startswith(b"SIP/2.0 400 "))

    def test_responsesComeFromTheirSource(self) -> None:
        caller = self.phone()
        self.tell(caller, makeResponse(makeRequest(b"BYE", via=b"SIP/2.0/UDP 127.0.0.1:5070"), 200))
        peer = self.user.events[-1][1]
        self.assertEqual((peer.peerHost, peer.peerPort), caller.getsockname())


class IPv6Tests(UDPCase):
    """
    The same over IPv6.
    """

    host = "::1"

    def setUp(self) -> None:
        if not haveIPv6():
            raise SkipTest("this host has no IPv6 loopback address")
        super().setUp()

    def test_bothWays(self) -> None:
        phone = self.phone()
        self.assertEqual(self.listener.via, b"SIP/2.0/UDP [::1]:%d" % self.listener.port)
        self.tell(phone, makeRequest(b"OPTIONS", via=b"SIP/2.0/UDP [::1];rport"))
        _, peer, request = self.user.events[0]
        self.assertEqual((peer.peerHost, peer.peerPort), phone.getsockname()[:2])
        self.assertIs(self.listener.associationTo("0:0:0:0:0:0:0:1", peer.peerPort), peer)
        peer.send(makeResponse(request, 200))
        self.assertTrue(phone.recv(65535).startswith(b"SIP/2.0 200 "))

    def test_sentByPort(self) -> None:
        self.tell(self.phone(), makeRequest(b"OPTIONS", via=b"SIP/2.0/UDP [::1]:5070"))
        peer = self.user.events[0][1]
        self.assertEqual((peer.peerHost, peer.peerPort), ("::1", 5070))

    def test_notIPv4(self) -> None:
        self.assertRaises(TransportError, self.listener.associationTo, "127.0.0.1", 5060)
