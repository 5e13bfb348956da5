"""
The ways to peers with several addresses, as a status shows them.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.commands.show import _lines
from sipgrace.testing import Recorder
from sipgrace.transport.associations import SHOWN, Associations
from sipgrace.transport.bounds import Bounds
from sipgrace.transport.intake import Intake
from sipgrace.transport.sctp.address import SCTPAddress
from sipgrace.transport.sctp.kernelsocket import PathStatus
from sipgrace.transport.sip import SIPProtocol


class Wire:
    """
    An SCTP association of the kernel.
    """

    def __init__(self, hosts: tuple[str, ...]) -> None:
        self.hosts = hosts

    def getHost(self) -> SCTPAddress:
        return SCTPAddress("192.0.2.1", 5060, None, ("192.0.2.1",))

    def getPeer(self) -> SCTPAddress:
        return SCTPAddress(self.hosts[0], 5060, None, self.hosts)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        pass

    def abortConnection(self) -> None:
        pass

    def paths(self) -> list[PathStatus]:
        return [PathStatus(host, "active", host == self.hosts[0], 7, 400, 1, 1500) for host in self.hosts]


class PathsTests(SynchronousTestCase):
    """
    What is gathered from all associations.
    """

    def associations(self, *wires: Wire) -> Associations:
        """
        Books with these associations.
        """
        books = Associations([], Recorder())
        books.listen()
        for wire in wires:
            protocol = SIPProtocol(Intake(books, Clock(), Bounds()), b"SCTP", "network", True)
            protocol.makeConnection(wire)
        return books

    def test_several(self) -> None:
        """
        A path for each address of a peer that has several; a peer with one address has nothing to show.
        """
        books = self.associations(Wire(("192.0.2.7",)), Wire(("192.0.2.8", "192.0.2.9")))
        path = {"peer": "192.0.2.8:5060", "state": "active", "rtt": 7, "rto": 400, "window": 1, "mtu": 1500}
        self.assertEqual(
            books.paths(),
            [path | {"host": "192.0.2.8", "primary": True}, path | {"host": "192.0.2.9", "primary": False}],
        )

    def test_bound(self) -> None:
        """
        However many there are, a status stays small.
        """
        wires = [Wire((f"192.0.2.{number}", f"198.51.100.{number}")) for number in range(SHOWN)]
        self.assertEqual(len(self.associations(*wires).paths()), SHOWN)

    def test_shown(self) -> None:
        """
        One line each for people.
        """
        status = {
            "name": "server-1",
            "role": "server",
            "version": "1",
            "pid": 2,
            "state": "serving",
            "order": None,
            "waiting": 0,
            "guardLeft": None,
            "retryAfter": None,
            "associations": 1,
            "accepted": 0,
            "settled": 0,
            "forced": 0,
            "refused": 0,
            "yielded": 0,
            "listeners": [],
            "paths": self.associations(Wire(("192.0.2.8", "192.0.2.9"))).paths(),
        }
        self.assertEqual(
            [value for heading, value in _lines(status) if heading == "path"],
            [
                "to 192.0.2.8:5060 by 192.0.2.8: active, primary, 7 ms",
                "to 192.0.2.8:5060 by 192.0.2.9: active, 7 ms",
            ],
        )
