"""
Which header fields a message has, in which order. Elements write theirs in few orders, so that the
order met last for messages that look alike is tried first: one comparison then replaces the look-up
of each name.
"""

from __future__ import annotations

from typing import Final

from sipgrace.errors import ParseError
from sipgrace.message.limits import Limits
from sipgrace.message.names import (
    CALL_ID,
    CODES,
    CONTENT_LENGTH,
    CSEQ,
    FROM,
    LAST_SINGLE,
    MAX_FORWARDS,
    ROUTE,
    TO,
    VIA,
    codeOfReceived,
)
from sipgrace.message.scan import unfold

__all__ = ["Layout", "layouts", "readLayout"]

_NAMES: Final = {
    CONTENT_LENGTH: "Content-Length",
    MAX_FORWARDS: "Max-Forwards",
    FROM: "From",
    TO: "To",
    CALL_ID: "Call-ID",
    CSEQ: "CSeq",
    VIA: "Via",
}

_MEMO_LINES: Final = 40
_MEMO_NAMES: Final = 1024


class Layout:
    """
    What the names of the header fields tell, checked: what must be there is (RFC 3261 §8.1.1), and
    nothing is there twice that may not be.

    @ivar names: as they stand in the message, each with its colon.
    @ivar codes: the code of each, a byte.
    @ivar via: the place of the first Via; C{viaValue} is where the value begins in its line. The others
        likewise; -1 where there is none.
    """

    __slots__ = (
        "callId",
        "callIdValue",
        "codes",
        "cseq",
        "forwards",
        "length",
        "names",
        "route",
        "source",
        "sourceValue",
        "target",
        "targetValue",
        "via",
        "viaValue",
    )

    names: list[bytes]
    codes: bytes
    via: int
    viaValue: int
    source: int
    sourceValue: int
    target: int
    targetValue: int
    callId: int
    callIdValue: int
    cseq: int
    length: int
    forwards: int
    route: int

    def __init__(self, names: list[bytes], codes: bytes) -> None:
        """
        @raise ParseError: where a field is missing or doubled.
        """
        for code in (VIA, FROM, TO, CALL_ID, CSEQ):
            if code not in codes:
                raise ParseError(f"Missing {_NAMES[code]} header field")
        for code in range(LAST_SINGLE + 1):
            if codes.count(code) > 1:
                raise ParseError(f"Several {_NAMES[code]} header fields")
        self.names = names
        self.codes = codes
        self.via = codes.index(VIA)
        self.viaValue = len(names[self.via])
        self.source = codes.index(FROM)
        self.sourceValue = len(names[self.source])
        self.target = codes.index(TO)
        self.targetValue = len(names[self.target])
        self.callId = codes.index(CALL_ID)
        self.callIdValue = len(names[self.callId])
        self.cseq = codes.index(CSEQ)
        self.length = codes.index(CONTENT_LENGTH) if CONTENT_LENGTH in codes else -1
        self.forwards = codes.index(MAX_FORWARDS) if MAX_FORWARDS in codes else -1
        self.route = codes.index(ROUTE) if ROUTE in codes else -1


layouts: Final[list[Layout | None]] = [None] * 1024
"""
By what tells messages apart quickly: the layout met last of those alike, of messages without folded lines.
Whoever takes one from here must compare the names, and their number.
"""


def readLayout(lines: list[bytes], limits: Limits, look: int) -> tuple[list[bytes], list[bytes], Layout]:
    """
    The slow way: looks up each name, joins folded lines.

    @param look: the place in L{layouts} for what is read.
    @return: the header lines as they are to be sent on, folds and all; the same unfolded; the layout.
    @raise ParseError: where a name is none, a field is missing or doubled, or a limit is passed.
    """
    try:
        pairs = [line.split(b":", 1) for line in lines]
        codes = [CODES[name] for name, _ in pairs]
    except (KeyError, ValueError):
        joined = _join(lines, limits)
        pairs = []
        codes = []
        for line in joined:
            name, colon, value = line.partition(b":")
            code = codeOfReceived(name) if colon else -1
            if code < 0:
                raise ParseError("Malformed header field name") from None
            pairs.append([name, value])
            codes.append(code)
    else:
        joined = lines
    layout = Layout([name + b":" for name, _ in pairs], bytes(codes))
    if len(joined) != len(lines):
        return joined, [name + b":" + unfold(value) for name, value in pairs], layout
    if len(lines) <= _MEMO_LINES and sum(map(len, layout.names)) <= _MEMO_NAMES:
        layouts[look] = layout
    return lines, lines, layout


def _join(lines: list[bytes], limits: Limits) -> list[bytes]:
    groups: list[list[bytes]] = []
    for line in lines:
        if line[:1] not in (b" ", b"\t"):
            groups.append([line])
        elif groups:
            groups[-1].append(line)
        else:
            raise ParseError("Blank before the first header field")
    if len(groups) > limits.headers:
        raise ParseError("Too many header fields")
    joined = [group[0] if len(group) == 1 else b"\r\n".join(group) for group in groups]
    if len(joined) != len(lines) and max(map(len, joined)) > limits.line:
        raise ParseError("Header field too long")
    return joined
