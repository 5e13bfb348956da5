"""
Values that are read at once, and the line that a new value makes.
"""

from __future__ import annotations

import re
from typing import Final

from sipgrace.errors import ParseError
from sipgrace.message.names import KNOWN, TOKEN

__all__ = [
    "METHODS",
    "headerLine",
    "isToken",
    "readCSeq",
    "readContentLength",
    "readMaxForwards",
    "readNumber",
]

METHODS: Final = frozenset(
    b"INVITE ACK BYE CANCEL OPTIONS REGISTER PRACK UPDATE INFO SUBSCRIBE NOTIFY MESSAGE REFER PUBLISH".split()
)
"""
The registered methods. Any other token is one, too.
"""

_TOKEN: Final = re.compile(TOKEN)


def isToken(text: bytes) -> bool:
    """
    Whether it is a C{token} of RFC 3261 §25.1, as methods and header field names are.
    """
    return _TOKEN.fullmatch(text) is not None


def readNumber(value: bytes, name: str, bound: int) -> int:
    """
    @param value: the stripped value of a header field that holds one number.
    @param bound: the greatest number there can be.
    @return: the number, or -1 where it is greater than C{bound}.
    @raise ParseError: where it is not a number.
    """
    if not value.isdigit():
        raise ParseError(f"Malformed {name} header field")
    if len(value) > 10:
        value = value.lstrip(b"0") or b"0"
        if len(value) > 10:
            return -1
    number = int(value)
    return number if number <= bound else -1


def readCSeq(value: bytes) -> tuple[int, bytes]:
    """
    @return: number and method (RFC 3261 §20.16).
    @raise ParseError: where it is not a number below 2**31 and a token.
    """
    parts = value.split()
    if len(parts) == 2:
        digits, method = parts
        if method in METHODS or _TOKEN.fullmatch(method) is not None:
            if len(digits) < 10 and digits.isdigit():
                return int(digits), method
            number = readNumber(digits, "CSeq", 2**31 - 1)
            if number < 0:
                raise ParseError("CSeq number out of range")
            return number, method
    raise ParseError("Malformed CSeq header field")


def readMaxForwards(value: bytes) -> int:
    """
    @return: -1 above 255, which RFC 4475 §3.1.2.4 lets an element take as absent.
    @raise ParseError: where it is not a number.
    """
    return readNumber(value, "Max-Forwards", 255)


def readContentLength(value: bytes) -> int:
    """
    @raise ParseError: where it is not a number, or one beyond all reason (2**31 and more, 413).
    """
    number = readNumber(value, "Content-Length", 2**31 - 1)
    if number < 0:
        raise ParseError("Content-Length out of range", 413)
    return number


def headerLine(name: bytes, value: bytes) -> bytes:
    """
    One header line.

    @raise ValueError: where it would not be one line (header injection), or the name is no token.
    """
    if 0x0D in value or 0x0A in value:
        raise ValueError(f"line break in the value of {name!r}")
    if name not in KNOWN and _TOKEN.fullmatch(name) is None:
        raise ValueError(f"not a header name: {name!r}")
    return name + b": " + value
