"""
What a server says of its own service, the same in every announcement: in the answer to a request it refuses,
and in the C{message/sipfrag} (RFC 3420) of the event package C{service-availability}, which
C{docs/event-package.rst} specifies. Written here by servers, read here by clients.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol

from sipgrace.errors import ParseError
from sipgrace.message.headers import RetryAfter
from sipgrace.message.message import Message

__all__ = [
    "CONTENT_TYPE",
    "EVENT",
    "RETURN",
    "Announcing",
    "Availability",
    "availabilityOf",
    "commentOf",
    "scheduledReturn",
]

#: The event package.
EVENT: Final = b"service-availability"

#: What the body of its notifications is.
CONTENT_TYPE: Final = b"message/sipfrag;version=2.0"

#: The header that gives the scheduled return in seconds from the message that holds it.
RETURN: Final = b"Scheduled-Return"

_STATUS_LINE: Final = re.compile(rb"SIP/2\.0 ([1-6]\d\d)(?: [^\r\n]*)?")
_LINE_END: Final = re.compile(rb"\r?\n")
_FOLD: Final = re.compile(rb"[ \t]*\r?\n[ \t]+")

#: No reason is told longer than this, in characters.
_LONGEST_REASON: Final = 200


@dataclass(frozen=True, slots=True)
class Availability:
    """
    Whether a server is in service, and if not, for how long.

    @ivar available: whether new INVITEs are accepted.
    @ivar retryAfter: for how many seconds the server is to be left alone; C{None} where it did not say,
        or is available.
    @ivar comment: why, as it stands within the brackets of C{Retry-After}; C{b""} where it did not say.
    @ivar back: in how many seconds it is scheduled to return; C{None} where it did not say.
    """

    available: bool
    retryAfter: int | None = None
    comment: bytes = b""
    back: int | None = None

    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """
        The headers that go with the 503, in an answer as in a fragment.
        """
        if self.retryAfter is None:
            return ()
        found = ((b"Retry-After", bytes(RetryAfter(self.retryAfter, self.comment))),)
        return found if self.back is None else (*found, (RETURN, b"%d" % self.back))

    def fragment(self) -> bytes:
        """
        The body of a notification.
        """
        if self.available:
            return b"SIP/2.0 200 OK\r\n"
        lines = [name + b": " + value for name, value in self.headers()]
        return b"\r\n".join([b"SIP/2.0 503 Service Unavailable", *lines, b""])

    @classmethod
    def parse(cls, fragment: bytes) -> Availability:
        """
        Reads the body of a notification: a 2xx or a 503. Headers that it does not know, and what follows
        an empty line, are passed over.

        @raise ParseError: where it says nothing about a server's availability.
        """
        lines = _LINE_END.split(_FOLD.sub(b" ", fragment))
        match = _STATUS_LINE.fullmatch(lines[0])
        if match is None:
            raise ParseError("Malformed status line in a sipfrag")
        status = int(match.group(1))
        if 200 <= status < 300:
            return cls(True)
        if status != 503:
            raise ParseError("A sipfrag with neither 200 nor 503")
        values: dict[bytes, bytes] = {}
        for line in lines[1:]:
            if not line:
                break
            name, _, value = line.partition(b":")
            values.setdefault(name.strip().lower(), value.strip())
        retryAfter = values.get(b"retry-after")
        back = values.get(RETURN.lower())
        if retryAfter is None:
            return cls(False, back=_seconds(back))
        parsed = RetryAfter.parse(retryAfter)
        return cls(False, parsed.seconds, parsed.comment, _seconds(back))


class Announcing(Protocol):
    """
    What knows the facts: L{sipgrace.lifecycle.gate.Gate}.
    """

    open: bool
    reason: str

    def retryAfter(self, peerName: str) -> int:
        """
        Seconds for which this client shall leave the server alone.
        """

    def returnsIn(self) -> int | None:
        """
        Seconds until the scheduled return.
        """


def availabilityOf(gate: Announcing, name: str) -> Availability:
    """
    What a server says to one client now.

    @param name: the client; the period is spread a little by it.
    """
    if gate.open:
        return Availability(True)
    return Availability(False, gate.retryAfter(name), commentOf(gate.reason), gate.returnsIn())


@lru_cache(maxsize=16)
def commentOf(reason: str) -> bytes:
    """
    A reason as a comment (RFC 3261 §25.1): on one line, brackets and backslashes quoted. A very long one is
    cut.
    """
    if not reason:
        return b""
    words = "".join(char if char.isprintable() else " " for char in reason[:_LONGEST_REASON]).strip()
    return re.sub(r"([()\\])", r"\\\1", words).encode("utf-8", "replace")


def scheduledReturn(message: Message) -> int | None:
    """
    In how many seconds from this answer its sender is scheduled to return; C{None} where it does not say.
    """
    return _seconds(message.get(RETURN))


def _seconds(value: bytes | None) -> int | None:
    # What cannot be read counts as not said.
    return int(value) if value is not None and value.isdigit() and len(value) <= 9 else None
