"""
Parameters of header fields: C{;name}, C{;name=token}, C{;name="quoted string"} (RFC 3261 §25.1
C{generic-param}).
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

from sipgrace.errors import ParseError
from sipgrace.message.names import TOKEN

__all__ = ["Params", "find", "join", "quote", "split", "unquote"]

Params: TypeAlias = tuple[tuple[bytes, bytes | None], ...]
"""
Names and values in order, as they stand on the wire: a quoted string keeps its quotes, a parameter
without a value has C{None}.
"""

_PARAM: Final = re.compile(
    rb";[ \t]*(" + TOKEN + rb')[ \t]*(?:=[ \t]*("[^"\\]*(?:\\.[^"\\]*)*"|[^\s;,"]+)[ \t]*)?', re.DOTALL
)
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)


def split(text: bytes) -> Params:
    """
    @param text: what follows the value proper, from the first semicolon on; may be empty.
    @raise ParseError: where it is anything else but parameters.
    """
    text = text.strip()
    found: list[tuple[bytes, bytes | None]] = []
    place = 0
    while place < len(text):
        match = _PARAM.match(text, place)
        if match is None:
            raise ParseError("Malformed parameters in a header field")
        found.append((match.group(1), match.group(2)))
        place = match.end()
    return tuple(found)


def join(params: Params) -> bytes:
    """
    The reverse of L{split}.
    """
    return b"".join([b";" + name if value is None else b";" + name + b"=" + value for name, value in params])


def find(params: Params, name: bytes) -> bytes | None:
    """
    @return: the value of the first parameter of that name in any case, out of its quotes; C{b""} where
        it has none, C{None} where there is no such parameter.
    """
    wanted = name.lower()
    for other, value in params:
        if other.lower() == wanted:
            return b"" if value is None else unquote(value)
    return None


def unquote(text: bytes) -> bytes:
    """
    @return: what a quoted string says; anything else as it is.
    """
    if len(text) > 1 and text[:1] == b'"' and text[-1:] == b'"':
        return _ESCAPED.sub(rb"\1", text[1:-1])
    return text


def quote(text: bytes) -> bytes:
    """
    @return: a quoted string that says this.
    """
    return b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
