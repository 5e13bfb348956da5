"""
The Vias that an element puts on what it sends, by which it knows a request that comes back to it.
"""

from __future__ import annotations

import os
from zlib import crc32

from sipgrace.interfaces import IAssociation
from sipgrace.message.message import Request


class Trail:
    """
    Makes branches of two parts (RFC 3261 §16.6 step 8): one that was never used before, and a mark of what
    decided about the way the request took. A request that comes back with the same mark has looped; with
    another one it is on a spiral, as is a call between two users of the same client.

    @ivar offers: Via parameters for what leaves on one side, by the name of that side (RFC 7339 §4.1).
    """

    __slots__ = ("_count", "_prefix", "offers")

    def __init__(self) -> None:
        # The branches of one process begin alike, and nobody else's do.
        self._prefix = b"z9hG4bK" + os.urandom(6).hex().encode()
        self._count = 0
        self.offers: dict[str, bytes] = {}

    @staticmethod
    def mark(request: Request, zone: str) -> int:
        """
        @param request: as it came, less the Routes that name us.
        @param zone: the side it came from.
        @return: a number over all that decides about its way.
        """
        basis = request.uri + zone.encode("ascii", "replace")
        if request.hasRoute:
            basis += b"".join(request.getAll(b"Route"))
        return crc32(basis)

    def via(self, association: IAssociation, mark: int) -> bytes:
        """
        A Via for one request that leaves by this association.
        """
        self._count += 1
        return b"%b;branch=%b%x.%08x%b" % (
            association.via,
            self._prefix,
            self._count,
            mark,
            self.offers.get(association.zone, b""),
        )

    def looped(self, request: Request, mark: int) -> bool:
        """
        Whether we have sent this very request on before (RFC 3261 §16.3 step 4, RFC 5393 §4.2).
        """
        prefix = self._prefix
        if not request.holds(b"Via", prefix):
            return False
        end = b".%08x" % mark
        return any(prefix in via and end in via for via in request.getAll(b"Via"))
