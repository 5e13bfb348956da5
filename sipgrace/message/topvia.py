"""
Reading the top Via, which every message needs at once: its branch, sent-by and transport
(RFC 3261 §18.1.1, §20.42), and marking where a request came from (§18.2.1, RFC 3581).
"""

from __future__ import annotations

import re
from socket import AF_INET6, inet_pton
from typing import Final

from sipgrace.errors import ParseError
from sipgrace.message.names import TOKEN
from sipgrace.message.params import join, split
from sipgrace.message.scan import QUOTED, cutFirst

__all__ = ["hostOf", "markedVia", "readSent", "readTopVia", "readViaLine", "wantsMarks"]

_HOST: Final = rb"(?:[A-Za-z0-9_](?:[A-Za-z0-9_.\-]*)|\[[0-9A-Fa-f:.]+\])"
_SENT: Final = re.compile(
    rb"SIP[ \t]*/[ \t]*2\.0[ \t]*/[ \t]*(" + TOKEN + rb")[ \t]+(" + _HOST + rb")"
    rb"[ \t]*(?::[ \t]*(\d{1,5})[ \t]*)?",
    re.IGNORECASE,
)
_VERSION: Final = re.compile(rb"SIP[ \t]*/[ \t]*(\d+\.\d+)[ \t]*/", re.IGNORECASE)
# A received of IPv6 is written with and without brackets (RFC 5118 §4.5).
_PARAMETERS: Final = re.compile(
    rb"(?:;[ \t]*" + TOKEN + rb'[ \t]*(?:=[ \t]*(?:"[^"\\]*(?:\\.[^"\\]*)*"|[^\s;,"]+)[ \t]*)?)*', re.DOTALL
)
_USUAL: Final = re.compile(rb'([^;,\s"]+)(?:;[A-Za-z0-9\-]+(?:=[^;,\s"]+)?)*')
_BRANCH: Final = re.compile(rb';[ \t]*branch[ \t]*=[ \t]*([^\s;,"]+)', re.IGNORECASE)
_MARKS: Final = re.compile(
    rb';[ \t]*(?:received[ \t]*=[^;,"]*|rport[ \t]*(?:=[^;,"]*)?(?=[;,]|\Z))', re.IGNORECASE
)
_MARK_NAMES: Final = (b"received", b"rport")
_RPORT: Final = re.compile(rb";\s*rport\s*(?=[;,]|\Z)", re.IGNORECASE)

#: What a branch is made of, nearly always.
_PLAIN: Final = b"0123456789-.ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"

#: What may follow the branch: nothing, the wish for a port (RFC 3581), or the offer that every request of a
#: client bears which can be asked for less (RFC 7339 §4).
_FOLLOWING: Final = frozenset((b"rport", b'oc;oc-algo="loss"'))

_MEMO_BOUND: Final = 2048
_MEMO_LENGTH: Final = 128

_sent: Final[dict[bytes, tuple[bytes, bytes]]] = {}
"""
What stood before the branch: sent-protocol, sent-by and perhaps C{;rport} → (sent-by, transport).
There are few of them, each met again and again; emptied when it is full.
"""

_named: Final[dict[bytes, tuple[bytes, bytes]]] = {}
"""
The same with the name of the field before it.
"""


def readViaLine(line: bytes, start: int) -> tuple[bytes, bytes, bytes]:
    """
    Like L{readTopVia}, for the line that the field stands in.

    @param line: the line, unfolded.
    @param start: where the value begins in it.
    """
    sent, _, rest = line.partition(b";branch=")
    known = _named.get(sent)
    if known is not None:
        branch = _branchOf(rest)
        if branch:
            return branch, known[0], known[1]
    read = readTopVia(line[start:])
    known = _sent.get(sent[start:])
    if known is not None and len(sent) <= _MEMO_LENGTH:
        if len(_named) >= _MEMO_BOUND:
            _named.clear()
        _named[sent] = known
    return read


def readTopVia(value: bytes) -> tuple[bytes, bytes, bytes]:
    """
    @param value: the value of the first Via field, unfolded; it may hold several, joined by commas.
    @return: branch (C{b""} when there is none), sent-by without blanks, transport in upper case.
    @raise ParseError: where it is not a Via; status 505 where it is one of another SIP version.
    """
    sent, _, rest = value.partition(b";branch=")
    known = _sent.get(sent)
    if known is not None:
        branch = _branchOf(rest)
        if branch:
            return branch, known[0], known[1]
    return _readCarefully(value)


def _branchOf(rest: bytes) -> bytes:
    """
    @param rest: what follows C{;branch=} in a Via that began as one met before.
    @return: the branch, empty where it takes a slower way to see that.
    """
    if 0x2C in rest and 0x3C not in rest:
        # Several in one line, as SIPp answers: what stands before the comma decides alone.
        rest = rest.partition(b",")[0]
    # What has none but plain characters, stripped of these, is empty.
    if 0x3B not in rest:
        if rest.isalnum() or not rest.lstrip(_PLAIN):
            return rest
    else:
        branch, _, more = rest.partition(b";")
        if more in _FOLLOWING and (branch.isalnum() or not branch.lstrip(_PLAIN)):
            return branch
    match = _USUAL.fullmatch(rest)
    return b"" if match is None else match[1]


def readSent(sent: bytes) -> tuple[bytes, bytes, int | None]:
    """
    @param sent: sent-protocol and sent-by of one Via.
    @return: transport in upper case, host (IPv6 in brackets), port where one is written.
    @raise ParseError: where it is malformed; status 505 where it is of another SIP version.
    """
    sent = sent.strip()
    match = _SENT.fullmatch(sent)
    if match is None:
        version = _VERSION.match(sent)
        if version is not None and version.group(1) != b"2.0":
            raise ParseError("Unsupported SIP version in Via header field", 505)
        raise ParseError("Malformed Via header field")
    transport, host, port = match.groups()
    if port is not None and not 0 < int(port) < 65536:
        raise ParseError("Port out of range in Via header field")
    return transport.upper(), host, None if port is None else int(port)


def _readCarefully(value: bytes) -> tuple[bytes, bytes, bytes]:
    first = cutFirst(value)[0]
    sent, semicolon, rest = first.partition(b";")
    transport, host, port = readSent(sent)
    parameters = (semicolon + rest).strip()
    if _PARAMETERS.fullmatch(parameters) is None:
        raise ParseError("Malformed parameters in Via header field")
    sentBy = host if port is None else b"%b:%d" % (host, port)
    spelled, found, _ = value.partition(b";branch=")
    if found and len(spelled) <= _MEMO_LENGTH and spelled.strip() in (sent, sent + b";rport"):
        if len(_sent) >= _MEMO_BOUND:
            _sent.clear()
        _sent[spelled] = (sentBy, transport)
    branch = _BRANCH.search(QUOTED.sub(b'""', parameters))
    return (b"" if branch is None else branch.group(1)), sentBy, transport


def hostOf(sentBy: bytes) -> bytes:
    """
    @return: the host of a sent-by, an IPv6 address without its brackets.
    """
    if sentBy[:1] == b"[":
        return sentBy[1 : sentBy.find(b"]")]
    return sentBy.partition(b":")[0]


def _sameHost(one: bytes, other: bytes) -> bool:
    if one == other:
        return True
    if b":" in one and b":" in other:
        try:
            return inet_pton(AF_INET6, one.decode("ascii")) == inet_pton(AF_INET6, other.decode("ascii"))
        except (OSError, ValueError):
            return False
    return False


def wantsMarks(line: bytes, sentBy: bytes, host: bytes) -> bool:
    """
    @param line: the first Via line.
    @return: whether L{markedVia} may have something to do; a quick look.
    """
    # A branch is all that most Vias have besides.
    plain = b";branch=" in line and line.count(b";") == 1
    if not plain and _RPORT.search(line) is not None:
        return True
    return not (sentBy.startswith(host + b":") or _sameHost(hostOf(sentBy), host))


def markedVia(value: bytes, sentBy: bytes, host: bytes, port: int) -> bytes:
    """
    What the server transport adds to the top Via of a request: C{received} where the sent-by is not
    the address it came from (RFC 3261 §18.2.1); C{received} and the port in C{rport} where the sender
    asked for it by an empty one (RFC 3581 §4). Marks that the sender wrote itself are then dropped.

    @param value: the first Via field's value, unfolded.
    @return: the new value.
    """
    first, rest = cutFirst(value)
    wanted = _RPORT.search(QUOTED.sub(b'""', first) if 0x22 in first else first) is not None
    if not wanted and _sameHost(hostOf(sentBy), host):
        return value
    if 0x22 in first:
        sent, semicolon, parameters = first.partition(b";")
        kept = sent + join(
            tuple(pair for pair in split(semicolon + parameters) if pair[0].lower() not in _MARK_NAMES)
        )
    else:
        kept = _MARKS.sub(b"", first)
    kept += b";received=" + host
    if wanted:
        kept += b";rport=%d" % port
    return kept + b", " + rest if rest else kept
