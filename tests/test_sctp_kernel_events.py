"""
L{sipgrace.transport.sctp.kernelevents}: what Linux 6.1 sent, and what it should never send. No kernel needed.
"""

from __future__ import annotations

import socket
import struct

from twisted.internet.error import ConnectionAborted
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.transport.sctp.kernelevents import (
    AssociationChange,
    Cause,
    PartialDeliveryAborted,
    PathChange,
    PeerShutdown,
    RemoteError,
    abortedByPeer,
    parseCauses,
    parseNotification,
    parseSocketAddress,
    unmapped,
)


def change(state: int, error: int = 0, out: int = 0, inn: int = 0, info: bytes = b"") -> bytes:
    """
    An SCTP_ASSOC_CHANGE as RFC 6458 §6.1.1 lays it out, in the order of this host.
    """
    return struct.pack("=HHIHHHHi", 0x8001, 0, 20 + len(info), state, error, out, inn, 7) + info


def cause(code: int, value: bytes = b"") -> bytes:
    """
    One error cause of RFC 9260 §3.3.10, padded to 4 bytes.
    """
    return struct.pack("!HH", code, 4 + len(value)) + value + bytes(-len(value) % 4)


class RecordedTests(SynchronousTestCase):
    """
    Notifications as Linux 6.1 wrote them on x86-64 (little endian).
    """

    def setUp(self) -> None:
        if struct.pack("=H", 1) != b"\1\0":
            self.skipTest("the recordings are those of a little-endian host")

    def check(self, recorded: str, expected: object) -> None:
        self.assertEqual(parseNotification(bytes.fromhex(recorded)), expected)

    def test_communicationUp(self) -> None:
        self.check("0180000014000000000000000a0010000d000000", AssociationChange("up", 10, 16))

    def test_shutdownComplete(self) -> None:
        self.check("0180000014000000030000000000000004000000", AssociationChange("shutdown"))

    def test_abortedByThePeer(self) -> None:
        self.check(
            "01800000180000000100000c0000000007000000000c0004",
            AssociationChange("lost", causes=(Cause(12),)),
        )

    def test_refused(self) -> None:
        self.check("0180000014000000040000000000000000000000", AssociationChange("refused"))

    def test_shutdownEvent(self) -> None:
        self.check("058000000c00000004000000", PeerShutdown())

    def test_primaryPath(self) -> None:
        self.check(
            "0280000094000000020080de7f000002" + "00" * 120 + "040000000000000005000000",
            PathChange("127.0.0.2", "primary"),
        )


class NotificationTests(SynchronousTestCase):
    """
    Kinds, and what is cut short.
    """

    def test_states(self) -> None:
        found = [parseNotification(change(state, out=4, inn=5)) for state in range(6)]
        self.assertEqual(
            found,
            [
                AssociationChange("up", 4, 5),
                AssociationChange("lost", 4, 5),
                AssociationChange("restarted", 4, 5),
                AssociationChange("shutdown", 4, 5),
                AssociationChange("refused", 4, 5),
                None,
            ],
        )

    def test_causeWithoutChunk(self) -> None:
        """
        C{sac_error} is in the order of the network; it counts where there is nothing better.
        """
        self.assertEqual(
            parseNotification(change(1, error=socket.htons(13))),
            AssociationChange("lost", causes=(Cause(13),)),
        )
        self.assertEqual(
            parseNotification(change(1, error=socket.htons(13), info=cause(12, b"bye"))),
            AssociationChange("lost", causes=(Cause(12, "bye"),)),
        )

    def test_lostWithoutCause(self) -> None:
        self.assertEqual(parseNotification(change(1)), AssociationChange("lost"))

    def test_errorMeansNothingWhenUp(self) -> None:
        self.assertEqual(parseNotification(change(0, error=9)), AssociationChange("up"))

    def test_pathStates(self) -> None:
        address = (
            struct.pack("=H", socket.AF_INET6) + bytes(6) + socket.inet_pton(socket.AF_INET6, "2001:db8::5")
        )
        found = []
        for state in range(8):
            body = address.ljust(128, b"\0") + struct.pack("=iii", state, 0, 1)
            found.append(parseNotification(struct.pack("=HHI", 0x8002, 0, 148) + body))
        self.assertEqual(
            [event.state for event in found if isinstance(event, PathChange)],
            [
                "available",
                "unreachable",
                "removed",
                "added",
                "primary",
                "confirmed",
                "potentially-failed",
                "state 7",
            ],
        )
        self.assertEqual({event.host for event in found if isinstance(event, PathChange)}, {"2001:db8::5"})

    def test_remoteError(self) -> None:
        data = struct.pack("=HHI", 0x8004, 0, 16) + struct.pack("!H", 6) + bytes(6)
        self.assertEqual(parseNotification(data), RemoteError(Cause(6)))

    def test_partialDelivery(self) -> None:
        self.assertEqual(
            parseNotification(struct.pack("=HHIIiII", 0x8006, 0, 24, 0, 1, 0, 0)), PartialDeliveryAborted()
        )

    def test_others(self) -> None:
        """
        A SEND_FAILED with bytes that are no UTF-8 (they end the process in pysctp), and one of the future.
        """
        self.assertIsNone(parseNotification(struct.pack("=HHI", 0x8003, 1, 60) + b"\xff\xfe" * 26))
        self.assertIsNone(parseNotification(struct.pack("=HHI", 0x80FF, 0, 8)))

    def test_cutShort(self) -> None:
        """
        Every prefix of every kind is either read or left, and never raises.
        """
        path = struct.pack("=H", socket.AF_INET).ljust(128, b"\0") + struct.pack("=iii", 1, 0, 1)
        whole = [
            change(1, info=cause(12, b"because")),
            struct.pack("=HHI", 0x8002, 0, 148) + path,
            struct.pack("=HHI", 0x8004, 0, 16) + bytes(8),
        ]
        least = [20, 148, 10]
        for data, size in zip(whole, least, strict=True):
            for end in range(len(data)):
                event = parseNotification(data[:end])
                self.assertEqual(event is None, end < size, (data[:end].hex(), event))


class CauseTests(SynchronousTestCase):
    """
    L{parseCauses}
    """

    def test_several(self) -> None:
        self.assertEqual(
            list(parseCauses(cause(1, b"abcd") + cause(12, b"enough") + cause(200, b"x"))),
            [Cause(1), Cause(12, "enough"), Cause(200)],
        )

    def test_wholeChunk(self) -> None:
        """
        RFC 6458 speaks of the ABORT chunk itself, header and all; flags (the T bit) do not matter.
        """
        inside = cause(12, b"moving")
        for flags in (0, 1):
            chunk = struct.pack("!BBH", 6, flags, 4 + len(inside)) + inside
            self.assertEqual(list(parseCauses(chunk)), [Cause(12, "moving")])

    def test_textIsMadeHarmless(self) -> None:
        (found,) = parseCauses(cause(12, b"a\nb\x1b[31m\xff" + b"y" * 500))
        self.assertEqual(found.text, "a?b?[31m\ufffd" + "y" * 111)

    def test_lengthsThatLie(self) -> None:
        self.assertEqual(list(parseCauses(b"\0\x0c\0\x03")), [])
        self.assertEqual(list(parseCauses(b"\0\x0c\0\x00")), [])
        self.assertEqual(list(parseCauses(b"\0\x0c\0\xffabc")), [])
        self.assertEqual(list(parseCauses(cause(1) + b"\0\x0c\0")), [Cause(1)])

    def test_asText(self) -> None:
        self.assertEqual(str(Cause(12, "moving")), "user-initiated abort (12): moving")
        self.assertEqual(str(Cause(4)), "out of resource (4)")
        self.assertEqual(str(Cause(999)), "unknown cause (999)")

    def test_error(self) -> None:
        error = abortedByPeer((Cause(12, "moving"), Cause(1)))
        self.assertIs(type(error), ConnectionAborted)
        self.assertEqual(error.args, ("user-initiated abort (12): moving", "invalid stream (1)"))
        self.assertEqual(
            str(error),
            "The peer aborted the association: user-initiated abort (12): moving invalid stream (1).",
        )
        self.assertEqual(str(abortedByPeer()), "The peer aborted the association.")
        self.assertIn("locally", str(ConnectionAborted()))


class AddressTests(SynchronousTestCase):
    """
    L{parseSocketAddress} and L{unmapped}
    """

    def test_v4(self) -> None:
        storage = struct.pack("=H", socket.AF_INET) + struct.pack("!H", 5060) + bytes([192, 0, 2, 9])
        self.assertEqual(parseSocketAddress(storage.ljust(128, b"\0")), ("192.0.2.9", 5060))

    def test_v6(self) -> None:
        for text, expected in (("2001:db8::1", "2001:db8::1"), ("::ffff:192.0.2.9", "192.0.2.9")):
            storage = struct.pack("=H", socket.AF_INET6) + struct.pack("!H", 5060) + bytes(4)
            storage += socket.inet_pton(socket.AF_INET6, text)
            self.assertEqual(parseSocketAddress(storage.ljust(128, b"\0")), (expected, 5060))

    def test_other(self) -> None:
        self.assertEqual(parseSocketAddress(bytes(128)), ("", 0))

    def test_unmapped(self) -> None:
        self.assertEqual(unmapped("::ffff:127.0.0.1"), "127.0.0.1")
        self.assertEqual(unmapped("::ffff:1"), "::ffff:1")
        self.assertEqual(unmapped("::1"), "::1")
        self.assertEqual(unmapped("10.0.0.1"), "10.0.0.1")
