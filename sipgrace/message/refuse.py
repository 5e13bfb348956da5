"""
The answer to a request that is not acceptable, built from what can be read of it.
"""

from __future__ import annotations

import re
from typing import Final

from sipgrace.message.names import CSEQ, FROM, LAST_SINGLE, TO, VIA, codeOfReceived
from sipgrace.message.scan import tagOf, valueOf
from sipgrace.message.stabletag import stableTag

__all__ = ["answerTo"]

_START: Final = re.compile(rb"(?!SIP/)(?!ACK\s)[^\s]+[ \t]")
_CSEQ: Final = re.compile(rb"\d+[ \t]+[^\s]+")
_BOUND: Final = 16384


def answerTo(data: bytes, status: int, reason: str) -> bytes | None:
    """
    A response by RFC 3261 §8.2.6 with what there is of Via, From, To, Call-ID and CSeq. The peer
    finds its transaction by top Via and CSeq (§17.1.3), so that these two must be there.

    @param data: the message, or its beginning, as it came.
    @return: C{None} where there is nobody to answer: it looks like a response or an ACK, or holds no
        Via or CSeq, or what would be copied passes 16 KiB.
    """
    head = data.partition(b"\r\n\r\n")[0]
    if _START.match(head) is None:
        return None
    fields: list[bytes] = []
    code = -1
    taken = -1
    seen: set[int] = set()
    for line in head.splitlines()[1:]:
        if line[:1] in (b" ", b"\t"):
            if taken >= 0:
                fields[taken] += b"\r\n" + line
            continue
        code = codeOfReceived(line.partition(b":")[0])
        taken = -1
        if FROM <= code <= VIA and not (code in seen and code <= LAST_SINGLE):
            taken = len(fields)
            fields.append(line)
            seen.add(code)
    if VIA not in seen or CSEQ not in seen:
        return None
    size = 0
    for place, line in enumerate(fields):
        size += len(line)
        code = codeOfReceived(line.partition(b":")[0])
        if code == CSEQ:
            cseq = valueOf(line)
            if _CSEQ.fullmatch(cseq) is None or cseq[-4:] in (b" ACK", b"\tACK"):
                return None
        elif code == TO and not tagOf(valueOf(line)):
            fields[place] = line.rstrip() + b";tag=" + stableTag(head)
    if size > _BOUND:
        return None
    start = b"SIP/2.0 %d %b" % (status, reason.encode("ascii", "replace"))
    return b"\r\n".join([start, *fields, b"Content-Length: 0", b"", b""])
