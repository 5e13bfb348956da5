"""
SIP over the kernel's SCTP: what every transport of SIP must do, and garbage.
"""

from __future__ import annotations

from typing import Any

from tests import test_transport_listen
from tests.sctpguest import NEEDS_KERNEL
from tests.test_transport_garbage import GOOD, INPUTS, OVERSIZED


class KernelSIPTests(test_transport_listen.SCTPTests):
    """
    The tests of all SIP transports, over SCTP of the kernel.
    """

    skip = NEEDS_KERNEL
    timeout = 300

    def setUp(self) -> None:
        # not that of SCTPTests, which looks for the userspace stack
        test_transport_listen.SocketCase.setUp(self)

    def server(self, host: str = "127.0.0.1") -> str:
        return f"sctp:0:interface={host}:stack=kernel"

    def client(self, listener: Any) -> str:
        return f"sctp:host=127.0.0.1:port={listener.port}:stack=kernel:timeout=2"

    async def test_garbage(self) -> None:
        """
        Bad messages leave the association up; one that is far too long ends its own association alone.
        """
        listener = await self.listen(self.server())
        bad, other = await self.connect(self.client(listener))
        for number, data in enumerate(INPUTS):
            bad._wire.write(data)
            bad.send(GOOD)
            await other.until(lambda number=number: other.names().count("200 OPTIONS") == number + 1)
        self.assertTrue(bad.up)
        ends = []
        for data in OVERSIZED:
            ending, other = await self.connect(self.client(listener))
            ending._wire.write(data)
            await other.until(lambda other=other: len(other.names()) > 1)
            ends.append(other.names()[1])
        self.assertEqual(ends, ["413 MESSAGE", "lost ConnectionAborted", "lost ConnectionAborted"])
        self.assertTrue(bad.up)
        self.assertEqual(listener.counters.failed, 0)
