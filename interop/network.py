"""
The network of the tests (L{tests.scenarios.network}), and the same over the kernel's SCTP.
"""

from __future__ import annotations

import os
import re
from typing import Any

from tests.scenarios.addresses import bound
from tests.scenarios.network import ENCAPS, PORT, Network
from tests.scenarios.waiting import poll


class KernelNetwork(Network):
    """
    Servers and clients meshed over the kernel's SCTP.

    @ivar inner: the port where clients are reached by servers and other clients.
    """

    inner = PORT

    def _write(self, name: str, text: str) -> str:
        text = text.replace(f":encaps={ENCAPS}", "").replace(f":localEncaps={ENCAPS}", "")
        text = text.replace("stack=userspace", "stack=kernel").replace('"userspace"', '"kernel"')
        return super()._write(name, text)


class TCPNetwork(Network):
    """
    Clients that open TCP connections to their servers, and listen for others of the network at a TCP port.

    @ivar inner: that port.
    """

    inner = 5064

    def _write(self, name: str, text: str) -> str:
        place = rf'(?m)^listen_network = \["sctp:{PORT}:interface=([\d.]+):encaps={ENCAPS}"\]$'
        return super()._write(
            name, re.sub(place, rf'listen_network = ["tcp:{self.inner}:interface=\1"]', text)
        )

    def toServer(self, number: int, host: str, encaps: int = 0) -> str:
        """
        @return: where to connect.
        """
        return f"tcp:host={self.serverHost(number)}:port={PORT}:bindAddress={host}"


def inGuest() -> bool:
    """
    Whether this is the guest of C{tools/kernel/run}. What needs SCTP in the kernel, or changes the network,
    is done there alone, also where the host's kernel speaks SCTP: its network is not ours to change.
    """
    return bool(os.environ.get("SIPGRACE_KERNEL_GUEST"))


def networkOf(test: Any, **keywords: Any) -> Network:
    """
    @return: a network over the kernel's SCTP in the guest, else over that in userspace.
    """
    return (KernelNetwork if inGuest() else Network)(test, **keywords)


async def listening(transport: str, host: str, port: int) -> None:
    """
    Waits until somebody listens there.

    @param transport: C{"UDP"}, C{"TCP"} or C{"SCTP"}.
    """
    if transport != "SCTP":
        await bound(transport.lower(), host, port)
        return

    def there() -> bool:
        with open("/proc/net/sctp/eps", encoding="ascii") as table:
            rows = [line.split() for line in list(table)[1:]]
        return any(row[5] == str(port) and row[8] in (host, "0.0.0.0") for row in rows if len(row) > 8)

    await poll(there, f"somebody at SCTP {host}:{port}")
