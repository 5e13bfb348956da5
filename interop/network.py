"""
The network of the tests (L{tests.scenarios.network}), and the same over the kernel's SCTP.
"""

from __future__ import annotations

from typing import Any

from sipgrace.transport.sctp.stack import kernelSpeaksSCTP
from tests.scenarios.addresses import bound
from tests.scenarios.network import ENCAPS, Network
from tests.scenarios.waiting import poll


class KernelNetwork(Network):
    """
    Servers and clients meshed over the kernel's SCTP.
    """

    def _write(self, name: str, text: str) -> str:
        text = text.replace(f":encaps={ENCAPS}", "").replace(f":localEncaps={ENCAPS}", "")
        text = text.replace("stack=userspace", "stack=kernel").replace('"userspace"', '"kernel"')
        return super()._write(name, text)


def networkOf(test: Any, **keywords: Any) -> Network:
    """
    @return: a network over the kernel's SCTP where that is there, else over that in userspace.
    """
    return (KernelNetwork if kernelSpeaksSCTP() else Network)(test, **keywords)


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
