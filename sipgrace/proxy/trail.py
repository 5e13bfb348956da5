"""
The Vias that an element puts on what it sends, by which it knows a request that comes back to it.
"""

from __future__ import annotations

import os
from typing import Final
from zlib import crc32

from sipgrace.interfaces import IAssociation
from sipgrace.message.message import Request
from sipgrace.message.topvia import readTopVia

#: So many names are remembered that stand in our own Vias.
_REMEMBERED: Final = 1024


class Trail:
    """
    Makes branches of two parts (RFC 3261 §16.6 step 8): a mark of what decided about the way the request
    took, and a number that was never used before. A request that comes back with the same mark has looped;
    with another one it is on a spiral, as is a call between two users of the same client. They are made of
    letters and digits alone, which are read fastest.

    @ivar offers: Via parameters for what leaves on one side, by the name of that side (RFC 7339 §4.1).
    """

    __slots__ = ("_count", "_names", "_prefix", "_start", "_zones", "offers")

    def __init__(self, shared: bytes = b"", own: bytes = b"") -> None:
        """
        @param shared: what the branches of several processes that are one element have in common: hexadecimal
            digits; what one of them has sent on, the others know again.
        @param own: and what tells their branches apart, hexadecimal digits. Empty for an element in one
            process.
        """
        # The branches of one element begin alike, and nobody else's do.
        self._prefix = b"z9hG4bK" + (shared or os.urandom(6).hex().encode())
        self._start = self._prefix + own + b"m"
        self._count = 0
        # By the C{via} of an association: how its lines begin, its sent-by and its transport.
        self._names: dict[bytes, tuple[bytes, bytes, bytes]] = {}
        self._zones: dict[str, int] = {}
        self.offers: dict[str, bytes] = {}

    def mark(self, request: Request, zone: str) -> int:
        """
        @param request: as it came, less the Routes that name us.
        @param zone: the side it came from.
        @return: a number over all that decides about its way.
        """
        start = self._zones.get(zone)
        if start is None:
            start = self._zones[zone] = crc32(zone.encode("ascii", "replace"))
        mark = crc32(request.uri, start)
        if request.hasRoute:
            mark = crc32(b"".join(request.getAll(b"Route")), mark)
        return mark

    def via(self, association: IAssociation, mark: int) -> bytes:
        """
        A Via for one request that leaves by this association.
        """
        self._count += 1
        return b"%b;branch=%b%dn%d%b" % (
            association.via,
            self._start,
            mark,
            self._count,
            self.offers.get(association.zone, b""),
        )

    def sign(self, request: Request, association: IAssociation, mark: int) -> None:
        """
        Puts a Via on one request that leaves by this association.
        """
        self._count += 1
        branch = b"%b%dn%d" % (self._start, mark, self._count)
        via: bytes = association.via
        name = self._names.get(via)
        if name is None:
            name = self._name(via)
        line = name[0] + branch
        if self.offers:
            line += self.offers.get(association.zone, b"")
        request.pushOwnVia(line, branch, name[1], name[2])

    def _name(self, via: bytes) -> tuple[bytes, bytes, bytes]:
        if len(self._names) >= _REMEMBERED:
            self._names.clear()
        _, sentBy, transport = readTopVia(via)
        name = self._names[via] = (b"Via: " + via + b";branch=", sentBy, transport)
        return name

    def looped(self, request: Request, mark: int) -> bool:
        """
        Whether we have sent this very request on before (RFC 3261 §16.3 step 4, RFC 5393 §4.2).
        """
        if not request.branch.startswith(self._prefix) and request.hasOneVia():
            return False
        prefix, mine = self._prefix, b"m%dn" % mark
        if not request.holds(b"Via", prefix):
            return False
        return any(prefix in via and mine in via for via in request.getAll(b"Via"))
