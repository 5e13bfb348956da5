"""
The Vias that an element puts on what it sends, by which it knows a request that comes back to it.
"""

from __future__ import annotations

import os
from zlib import crc32

from sipgrace.interfaces import IAssociation
from sipgrace.message.message import Request
from sipgrace.message.topvia import readTopVia

#: So many names are remembered that stand in our own Vias.
_REMEMBERED = 1024


class Trail:
    """
    Makes branches of two parts (RFC 3261 §16.6 step 8): one that was never used before, and a mark of what
    decided about the way the request took. A request that comes back with the same mark has looped; with
    another one it is on a spiral, as is a call between two users of the same client.

    @ivar offers: Via parameters for what leaves on one side, by the name of that side (RFC 7339 §4.1).
    """

    __slots__ = ("_count", "_names", "_prefix", "offers")

    def __init__(self) -> None:
        # The branches of one process begin alike, and nobody else's do.
        self._prefix = b"z9hG4bK" + os.urandom(6).hex().encode()
        self._count = 0
        # By the C{via} of an association: its sent-by and its transport.
        self._names: dict[bytes, tuple[bytes, bytes]] = {}
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

    def sign(self, request: Request, association: IAssociation, mark: int) -> None:
        """
        Puts a Via on one request that leaves by this association.
        """
        self._count += 1
        branch = b"%b%x.%08x" % (self._prefix, self._count, mark)
        via: bytes = association.via
        value = via + b";branch=" + branch
        if self.offers:
            value += self.offers.get(association.zone, b"")
        name = self._names.get(via)
        if name is None:
            if len(self._names) >= _REMEMBERED:
                self._names.clear()
            name = self._names[via] = readTopVia(value)[1:]
        request.pushOwnVia(value, branch, name[0], name[1])

    def looped(self, request: Request, mark: int) -> bool:
        """
        Whether we have sent this very request on before (RFC 3261 §16.3 step 4, RFC 5393 §4.2).
        """
        prefix = self._prefix
        if not request.holds(b"Via", prefix):
            return False
        end = b".%08x" % mark
        return any(prefix in via and end in via for via in request.getAll(b"Via"))
