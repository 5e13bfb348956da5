"""
The least that anything in Python on Twisted can do: a UDP relay without any state, on Twisted's own C{Port}.
It puts a Via on each request that goes to the callee, and takes it off each response::

    python -m benchmarks.relay ADDRESS PORT CALLEE-ADDRESS CALLEE-PORT
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet import reactor
from twisted.internet.protocol import DatagramProtocol


class Relay(DatagramProtocol):
    """
    Knows one caller and one callee.
    """

    def __init__(self, address: tuple[str, int], callee: tuple[str, int]) -> None:
        self._via = b"Via: SIP/2.0/UDP %b:%d;branch=z9hG4bK" % (address[0].encode("ascii"), address[1])
        self._callee = callee
        self._caller: Any = None
        self._count = 0

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """
        One message either way.
        """
        assert self.transport is not None
        head, _, rest = datagram.partition(b"\r\n")
        if head.startswith(b"SIP/2.0 "):
            rest = rest.partition(b"\r\n")[2]
            self.transport.write(head + b"\r\n" + rest, self._caller)
        else:
            self._caller = addr
            self._count += 1
            self.transport.write(b"%b\r\n%b%x\r\n%b" % (head, self._via, self._count, rest), self._callee)


def main(arguments: list[str]) -> None:
    """
    Relays until it is ended.
    """
    host, port, calleeHost, calleePort = arguments
    there: Any = reactor
    there.listenUDP(int(port), Relay((host, int(port)), (calleeHost, int(calleePort))), host, 65536)
    there.run()


if __name__ == "__main__":
    main(sys.argv[1:])
