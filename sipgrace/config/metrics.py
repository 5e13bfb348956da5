"""
Where a process is scraped.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated

from pydantic import AfterValidator

from sipgrace.config.sections import Section

__all__ = ["AddressPort", "MetricsSection", "addressAndPort"]


def addressAndPort(text: str) -> tuple[str, int]:
    """
    Reads C{127.0.0.1:9102} or C{[::1]:9102}.

    @raise ValueError: when it is neither.
    """
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    try:
        ip_address(host)
        if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
            raise ValueError
    except ValueError:
        raise ValueError(f"expected an address and a port, as in 127.0.0.1:9102, found {text!r}") from None
    return host, int(port)


def _checked(text: str) -> str:
    addressAndPort(text)
    return text


AddressPort = Annotated[str, AfterValidator(_checked)]
"""An IP address and a port."""


class MetricsSection(Section):
    """
    What Prometheus is told, at http://ADDRESS:PORT/metrics. Nobody is asked who they are, and it is off
    unless this section is there.
    """

    listen: AddressPort
    """Where it listens: an IP address and a port; port 0 takes a free one. What is told holds the names of
    servers and clients, and nothing of users."""
