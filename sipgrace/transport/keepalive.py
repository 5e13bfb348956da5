"""
Noticing within seconds that a TCP peer has vanished, as SCTP does by its heartbeats.
"""

from __future__ import annotations

import socket
from typing import Any, Final

__all__ = ["watchPeer"]

#: How many probes may go unanswered.
_PROBES: Final = 3


def watchPeer(transport: Any, seconds: float) -> None:
    """
    Has the kernel give the connection up when its peer acknowledges neither data (RFC 5482) nor, while
    nothing is sent, keep-alive probes (RFC 1122 §4.2.3.6). Where the system lacks one of these, it goes
    without.

    @param transport: Twisted's, of TCP, or of TLS over it.
    @param seconds: how long at most, counted from the data; from the first probe in twice that time.
    """
    # What TLS calls its handle is no socket; the transport below it has one.
    below = getattr(transport, "transport", transport)
    handle = below.getHandle() if hasattr(below, "getHandle") else None
    if not isinstance(handle, socket.socket):
        return
    options = {
        "TCP_USER_TIMEOUT": round(seconds * 1000),
        "TCP_KEEPIDLE": max(1, round(seconds)),
        "TCP_KEEPINTVL": max(1, round(seconds / _PROBES)),
        "TCP_KEEPCNT": _PROBES,
    }
    try:
        for name, value in options.items():
            option = getattr(socket, name, None)
            if option is not None:
                handle.setsockopt(socket.IPPROTO_TCP, option, value)
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    except OSError:
        # It has gone already, and the transport will hear of it.
        return
