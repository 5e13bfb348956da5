"""
The small readings that several modules share: values out of lines, elements out of values, tags.
Every one takes time linear in what it is given, whatever it is given.
"""

from __future__ import annotations

import re
from typing import Final

from sipgrace.errors import ParseError

__all__ = [
    "QUOTED",
    "cutFirst",
    "quotesBalanced",
    "splitElements",
    "tagIn",
    "tagOf",
    "unfold",
    "valueFrom",
    "valueOf",
]

# A quoted string that is never closed matches to the end, so that nothing is scanned twice.
_SEPARATORS: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|<[^<>]*>|,', re.DOTALL)
QUOTED: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)
_CLOSED: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_TAG: Final = re.compile(rb";[ \t]*tag[ \t]*=[ \t]*([^;,\s]+)", re.IGNORECASE)


def unfold(text: bytes) -> bytes:
    """
    Joins folded lines by one blank each (RFC 3261 §7.3.1) and strips blanks at both ends.
    """
    if 0x0A in text or 0x0D in text:
        return b" ".join([part.strip() for part in text.splitlines()]).strip()
    return text.strip()


def valueOf(line: bytes) -> bytes:
    """
    @param line: one header line, perhaps folded.
    @return: what follows its colon, unfolded and stripped.
    """
    return unfold(line.partition(b":")[2])


def valueFrom(line: bytes, start: int) -> bytes:
    """
    @param line: one header line, not folded.
    @param start: the place after its colon.
    @return: what follows, stripped.
    """
    # As a rule there is one blank before it and none behind.
    if len(line) > start + 1 and line[start] == 0x20 and line[start + 1] > 0x20 and line[-1] > 0x20:
        return line[start + 1 :]
    return line[start:].strip()


def _closed(quoted: bytes) -> bool:
    """
    Whether a match of a quoted string ends with its closing quote. (One that runs to the end can
    end with an escaped quote, so the pattern alone decides.)
    """
    return _CLOSED.fullmatch(quoted) is not None


def quotesBalanced(text: bytes) -> bool:
    """
    Whether every quoted string that is opened is closed; C{\\"} within one does not close it.
    """
    if 0x22 not in text:
        return True
    return all(_closed(match.group()) for match in QUOTED.finditer(text))


def splitElements(value: bytes) -> list[bytes]:
    """
    Splits the value of a list header at its commas, leaving those in quotes or in angle brackets.

    @return: the elements, stripped; empty ones are left out.
    @raise ParseError: where a quoted string is not closed.
    """
    if 0x22 not in value and 0x3C not in value:
        parts = value.split(b",")
    else:
        parts = []
        start = 0
        for match in _SEPARATORS.finditer(value):
            found = match.group()
            if found == b",":
                parts.append(value[start : match.start()])
                start = match.end()
            elif found[:1] == b'"' and not _closed(found):
                raise ParseError("Unterminated quoted string")
        parts.append(value[start:])
    return [part for part in [part.strip() for part in parts] if part]


def cutFirst(value: bytes) -> tuple[bytes, bytes]:
    """
    @return: the first element of a list header's value, and what follows its comma (both stripped;
        the second empty when there is no comma).
    @raise ParseError: where a quoted string is not closed.
    """
    if 0x22 not in value and 0x3C not in value:
        first, _, rest = value.partition(b",")
        return first.strip(), rest.strip()
    for match in _SEPARATORS.finditer(value):
        found = match.group()
        if found == b",":
            return value[: match.start()].strip(), value[match.end() :].strip()
        if found[:1] == b'"' and not _closed(found):
            raise ParseError("Unterminated quoted string")
    return value.strip(), b""


def tagIn(line: bytes) -> bytes:
    """
    @param line: the whole line of a From or To header, perhaps folded.
    @return: what L{tagOf} makes of its value.
    """
    tag = line.rpartition(b">;tag=")[2]
    if len(tag) < len(line):
        if tag.isalnum():
            return tag
    elif line.endswith(b">"):
        return b""
    return tagOf(valueOf(line))


def tagOf(value: bytes) -> bytes:
    """
    @param value: the value of a From or To header, unfolded.
    @return: its tag parameter, C{b""} when there is none. Never raises: what cannot be read holds no
        tag.
    """
    _, found, tag = value.rpartition(b">;tag=")
    if found and 0x22 not in tag and 0x3B not in tag and 0x20 not in tag:
        return tag
    if value[-1:] == b">":
        return b""
    # With angle brackets the parameters follow the last one; without, they follow the host.
    parameters = value[value.rfind(b">") + 1 :]
    if not parameters:
        return b""
    if 0x22 in parameters:
        # A parameter whose value is a quoted string, which may hold anything.
        blanked = QUOTED.sub(b'""', value)
        parameters = blanked[blanked.rfind(b">") + 1 :]
    if len(parameters) == len(value):
        # The user part may hold semicolons (RFC 4475 §3.1.1.9), but no second @.
        parameters = parameters[parameters.find(b"@") + 1 :]
    at = parameters.find(b";tag=")
    if at >= 0:
        end = parameters.find(b";", at + 5)
        tag = (parameters[at + 5 :] if end < 0 else parameters[at + 5 : end]).strip()
        if tag:
            return tag
    match = _TAG.search(parameters)
    return match.group(1) if match is not None else b""
