"""
Where one end of an SCTP association is.
"""

from __future__ import annotations

from dataclasses import dataclass

from twisted.internet.interfaces import IAddress
from zope.interface import implementer

__all__ = ["SCTPAddress"]


@implementer(IAddress)
@dataclass(frozen=True)
class SCTPAddress:
    """
    One end of an SCTP association, or of a listener.

    @ivar host: the IP address, as text; of the primary path where there are several.
    @ivar port: the SCTP port.
    @ivar encaps: the UDP port of the encapsulation (RFC 6951), C{None} where SCTP runs on IP itself.
    @ivar hosts: every IP address of this end (multihoming), C{host} first.
    """

    host: str
    port: int
    encaps: int | None = None
    hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.hosts:
            object.__setattr__(self, "hosts", (self.host,))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        over = "" if self.encaps is None else f" over UDP {self.encaps}"
        return f"{host}:{self.port}{over}"
