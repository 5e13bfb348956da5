"""
The userspace stack keeps the contract of every transport; and TCP does, so the contract is fair.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.trial.unittest import TestCase

from tests.sctpcontract import SCTPContract, StreamContract
from tests.sctppackets import MISSING


class TCPTests(StreamContract, TestCase):
    """
    Twisted's own TCP.
    """

    keepsBoundaries = False
    abortedByPeer = ConnectionLost
    blocked = 20_000_000

    def serverString(self, more: str = "") -> str:
        return "tcp:0:interface=127.0.0.1"

    def clientString(self, address: Any, more: str = "") -> str:
        return f"tcp:{address.host}:{address.port}"

    def stringOf(self, address: Any) -> str:
        return f"tcp:{address.port}:interface={address.host}"


class UserspaceTests(SCTPContract, TestCase):
    """
    libusrsctp over UDP on IPv4.
    """

    skip = MISSING
    stack = "userspace"
    host = "127.0.0.1"

    def setUp(self) -> None:
        super().setUp()
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self.silent = socket.socket(family, socket.SOCK_DGRAM)
        self.silent.bind((self.host.replace("\\", ""), 0))
        self.addCleanup(self.silent.close)

    def serverString(self, more: str = "") -> str:
        encaps = "" if "encaps=" in more else ":encaps=0"
        return f"sctp:0:interface={self.host}:stack=userspace{encaps}{more}"

    def clientString(self, address: Any, more: str = "") -> str:
        return f"sctp:{self.host}:{address.port}:encaps={address.encaps}:stack=userspace{more}"

    def stringOf(self, address: Any) -> str:
        return f"sctp:{address.port}:interface={self.host}:encaps={address.encaps}:stack=userspace"

    def sameCarrier(self, port: Any) -> str:
        return f":encaps={port.getHost().encaps}"

    def deadString(self, more: str) -> str:
        port = self.silent.getsockname()[1]
        return f"sctp:{self.host}:5060:encaps={port}:stack=userspace{more}"


class UserspaceIPv6Tests(UserspaceTests):
    """
    The same on IPv6.
    """

    host = "\\:\\:1"
