"""
Header field names. Each known name has a small integer, its code; a message keeps the codes of its
header lines beside the lines, a byte each. The codes of what the parser reads at once come first, in
the order that lets it check them all by one comparison of the sorted codes.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["CODES", "OTHER", "codeOf", "codeOfReceived"]

CONTENT_LENGTH: Final = 0
MAX_FORWARDS: Final = 1
FROM: Final = 2
TO: Final = 3
CALL_ID: Final = 4
CSEQ: Final = 5
VIA: Final = 6
ROUTE: Final = 7
OTHER: Final = 255
"""
The code of all names that are not in the table; such lines are told apart by their text.
"""

LAST_READ: Final = ROUTE
"""
Codes up to here are those of what the parser reads at once.
"""

LAST_SINGLE: Final = CSEQ
"""
Codes up to here may stand once in a message (of those that the parser reads at once).
"""

_TABLE: Final = (
    # In the order of the codes above; the compact forms are those registered with IANA.
    (b"Content-Length", b"l"),
    (b"Max-Forwards", b""),
    (b"From", b"f"),
    (b"To", b"t"),
    (b"Call-ID", b"i"),
    (b"CSeq", b""),
    (b"Via", b"v"),
    (b"Route", b""),
    (b"Record-Route", b""),
    (b"Contact", b"m"),
    (b"Content-Type", b"c"),
    (b"Accept", b""),
    (b"Accept-Contact", b"a"),
    (b"Accept-Encoding", b""),
    (b"Accept-Language", b""),
    (b"Alert-Info", b""),
    (b"Allow", b""),
    (b"Allow-Events", b"u"),
    (b"Authentication-Info", b""),
    (b"Authorization", b""),
    (b"Call-Info", b""),
    (b"Content-Disposition", b""),
    (b"Content-Encoding", b"e"),
    (b"Content-Language", b""),
    (b"Date", b""),
    (b"Error-Info", b""),
    (b"Event", b"o"),
    (b"Expires", b""),
    (b"History-Info", b""),
    (b"Identity", b"y"),
    (b"In-Reply-To", b""),
    (b"MIME-Version", b""),
    (b"Max-Breadth", b""),
    (b"Min-Expires", b""),
    (b"Min-SE", b""),
    (b"Organization", b""),
    (b"P-Asserted-Identity", b""),
    (b"P-Preferred-Identity", b""),
    (b"Path", b""),
    (b"Priority", b""),
    (b"Privacy", b""),
    (b"Proxy-Authenticate", b""),
    (b"Proxy-Authorization", b""),
    (b"Proxy-Require", b""),
    (b"RAck", b""),
    (b"Reason", b""),
    (b"Refer-To", b"r"),
    (b"Referred-By", b"b"),
    (b"Reject-Contact", b"j"),
    (b"Replaces", b""),
    (b"Reply-To", b""),
    (b"Request-Disposition", b"d"),
    (b"Require", b""),
    (b"Resource-Priority", b""),
    (b"Retry-After", b""),
    (b"RSeq", b""),
    (b"Server", b""),
    (b"Service-Route", b""),
    (b"Session-Expires", b"x"),
    (b"SIP-ETag", b""),
    (b"SIP-If-Match", b""),
    (b"Subject", b"s"),
    (b"Subscription-State", b""),
    (b"Supported", b"k"),
    (b"Timestamp", b""),
    (b"Unsupported", b""),
    (b"User-Agent", b""),
    (b"Warning", b""),
    (b"WWW-Authenticate", b""),
)

BYTES: Final = [bytes((code,)) for code in range(256)]
"""
Each code as the byte that stands for it beside the lines of a message.
"""

_MEMO_BOUND: Final = 4096
_MEMO_NAME: Final = 64

TOKEN: Final = rb"[A-Za-z0-9\-.!%*_+`'~]+"
"""
The C{token} of RFC 3261 §25.1, as a pattern.
"""

_NAME: Final = re.compile(TOKEN + rb"[ \t]*")

KNOWN: Final = frozenset(long for long, _ in _TABLE)
"""
The long forms as RFC 3261 writes them.
"""

_LOWER: Final[dict[bytes, int]] = {}
CODES: Final[dict[bytes, int]] = {}
"""
Name as it was spelled → code: all usual spellings from the start, and others as they are met, until
the table is full (4096 spellings of at most 64 bytes). What is not in it takes the slow way.
"""


def _fill() -> None:
    for code, (long, compact) in enumerate(_TABLE):
        for name in (long, compact):
            if name:
                _LOWER[name.lower()] = code
                for spelling in (name, name.lower(), name.upper(), name.title()):
                    CODES[spelling] = code


_fill()


def codeOf(name: bytes) -> int:
    """
    @param name: a header field name in any spelling, long or compact, without blanks around it.
    @return: its code; L{OTHER} where it is not a known one.
    """
    code = CODES.get(name)
    if code is None:
        code = _LOWER.get(name.lower(), OTHER)
    return code


def codeOfReceived(name: bytes) -> int:
    """
    The same for what stands before the colon of a received line, and remembers the spelling.

    @return: -1 where that is not a header field name (a token, then blanks at most).
    """
    code = CODES.get(name)
    if code is not None:
        return code
    if _NAME.fullmatch(name) is None:
        return -1
    code = _LOWER.get(name.rstrip(b" \t").lower(), OTHER)
    if len(CODES) < _MEMO_BOUND and len(name) <= _MEMO_NAME:
        CODES[name] = code
    return code


def placeOf(code: int, codes: bytes, start: int = 0) -> int:
    """
    @return: where the code comes first among these, from C{start} on; -1 where it does not.
    """
    # Compiled, this is much faster than to have them searched.
    for place in range(start, len(codes)):
        if codes[place] == code:
            return place
    return -1
