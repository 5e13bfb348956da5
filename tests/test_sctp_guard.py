"""
The limits, and the answers out of the blue, without a network.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from sipgrace.transport.sctp.userspace import userspaceStack
from sipgrace.transport.sctp.userspaceencaps import handleOf
from sipgrace.transport.sctp.userspaceguard import (
    SOURCES,
    Admission,
    TokenBucket,
    UserspaceLimits,
    abortOfInit,
    outOfTheBlue,
)
from tests.sctppackets import ABORT, DATA, MISSING, SHUTDOWN_ACK, SHUTDOWN_COMPLETE, chunk, initChunk, packet


class Buckets(SynchronousTestCase):
    def test_bucket(self) -> None:
        """
        A burst at once, then the rate; never more than the burst, however long nobody came.
        """
        bucket = TokenBucket(2.0, 3.0, 100.0)
        self.assertEqual([bucket.take(100.0) for _ in range(4)], [True, True, True, False])
        self.assertEqual([bucket.take(100.5), bucket.take(100.5)], [True, False])
        self.assertEqual([bucket.take(100.9), bucket.take(101.0)], [False, True])
        self.assertEqual([bucket.take(1000.0) for _ in range(4)], [True, True, True, False])

    def test_oneSourceDoesNotStarveOthers(self) -> None:
        """
        What one address is refused is not taken from the rest.
        """
        limits = UserspaceLimits(initRate=1.0, initBurst=10.0, sourceRate=1.0, sourceBurst=3.0)
        admission = Admission(limits, 0.0)
        self.assertEqual([admission.init("192.0.2.1", 0.0) for _ in range(9)].count(True), 3)
        self.assertEqual([admission.init("192.0.2.2", 0.0) for _ in range(9)].count(True), 3)
        self.assertEqual([admission.init("192.0.2.3", 0.0) for _ in range(9)].count(True), 3)
        self.assertEqual([admission.init("192.0.2.4", 0.0) for _ in range(9)].count(True), 1)

    def test_manySources(self) -> None:
        """
        Forged addresses fill no memory: the oldest are forgotten.
        """
        admission = Admission(UserspaceLimits(initRate=1e9, initBurst=1e9), 0.0)
        for number in range(SOURCES + 100):
            self.assertTrue(admission.init(f"address {number}", 0.0))
        self.assertEqual(len(admission._sources), SOURCES)

    def test_answers(self) -> None:
        """
        Answers out of the blue have a limit of their own.
        """
        admission = Admission(UserspaceLimits(answerRate=5.0), 0.0)
        self.assertEqual([admission.answer(0.0) for _ in range(9)].count(True), 5)
        self.assertTrue(admission.answer(1.0))


class Blue(SynchronousTestCase):
    """
    RFC 4960 §8.4, as far as L{tests.test_sctp_userspace_wire} does not show it.
    """

    skip = MISSING

    def test_wrongChecksum(self) -> None:
        """
        A packet with a wrong checksum is not answered.
        """
        good = packet(1, 2, 3, chunk(DATA, b"x" * 12))
        real = userspaceStack().binding.checksum
        self.assertEqual(outOfTheBlue(good, real), packet(2, 1, 3, chunk(ABORT, flags=1)))
        for position in range(len(good)):
            bad = good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :]
            self.assertIsNone(outOfTheBlue(bad, real))

    def test_neverLonger(self) -> None:
        """
        No answer is longer than what it answers, and the shortest packets get none.
        """
        real = userspaceStack().binding.checksum
        for kind in range(256):
            asked = packet(1, 2, 3, chunk(kind))
            self.assertLessEqual(len(outOfTheBlue(asked, real) or b""), len(asked))
            for length in range(16):
                self.assertIsNone(outOfTheBlue(asked[:length], real))
        self.assertIsNone(abortOfInit(packet(1, 2, 0, initChunk(1))[:31], real))
        self.assertEqual(
            abortOfInit(packet(1, 2, 0, initChunk(0x01020304)), real),
            packet(2, 1, 0x01020304, chunk(ABORT)),
        )

    def test_brokenChunks(self) -> None:
        """
        A chunk with an impossible length stops the search for an ABORT, and the answer.
        """
        real = userspaceStack().binding.checksum
        self.assertIsNone(outOfTheBlue(packet(1, 2, 3, b"\x00\x00\x00\x03"), real))
        self.assertEqual(
            outOfTheBlue(packet(1, 2, 3, chunk(SHUTDOWN_ACK)), real),
            packet(2, 1, 3, chunk(SHUTDOWN_COMPLETE, flags=1)),
        )


class Handles(SynchronousTestCase):
    def test_distinct(self) -> None:
        """
        Two addresses, or two of our sockets, never share a handle on IPv4; all are positive and fit.
        """
        seen = {
            handleOf(index, (host, port), b"")
            for index in (1, 2, 32767)
            for host in ("0.0.0.0", "127.0.0.1", "127.0.0.2", "255.255.255.255")
            for port in (1, 2, 65535)
        }
        self.assertEqual(len(seen), 36)
        self.assertTrue(all(0 < handle < 2**63 for handle in seen))

    def test_keyed(self) -> None:
        """
        On IPv6 it depends on the secret, and is apart from IPv4's.
        """
        address = ("2001:db8::1", 9899, 0, 0)
        first, second = handleOf(1, address, b"a" * 16), handleOf(1, address, b"b" * 16)
        self.assertNotEqual(first, second)
        self.assertEqual(first, handleOf(1, address, b"a" * 16))
        self.assertTrue(2**63 <= first < 2**64 and 2**63 <= second < 2**64)
        self.assertNotEqual(first, handleOf(2, address, b"a" * 16))
