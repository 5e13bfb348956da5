"""
The kernel's SCTP keeps the contract of both stacks.

Where this kernel has no SCTP: C{tools/kernel/run .venv/bin/python -m twisted.trial tests.test_sctp_kernel}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import TestCase

from sipgrace.transport.sctp.stack import kernelSpeaksSCTP
from tests.sctpcontract import SCTPContract

NEEDS_KERNEL = None if kernelSpeaksSCTP() else "kernel SCTP is missing here: run it with tools/kernel/run"


class KernelTests(SCTPContract, TestCase):
    """
    One-to-one sockets on IPv4.
    """

    skip = NEEDS_KERNEL
    timeout = 300
    stack = "kernel"
    host = "127.0.0.1"

    def serverString(self, more: str = "") -> str:
        return f"sctp:0:interface={self.host}:stack=kernel{more}"

    def clientString(self, address: Any, more: str = "") -> str:
        return f"sctp:{self.host}:{address.port}:stack=kernel{more}"

    def stringOf(self, address: Any) -> str:
        return f"sctp:{address.port}:interface={self.host}:stack=kernel"

    def deadString(self, more: str) -> str:
        return f"sctp:{self.host}:5060:stack=kernel{more}"


class KernelIPv6Tests(KernelTests):
    """
    The same on IPv6.
    """

    host = "\\:\\:1"
