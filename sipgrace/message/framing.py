"""
Messages out of a byte stream (RFC 3261 §18.3): the empty line ends the header fields, Content-Length
says how much body follows. And the keep-alive of RFC 5626 §3.5.1.
"""

from __future__ import annotations

import re
from typing import Final

from sipgrace.errors import ParseError
from sipgrace.message.limits import LIMITS, Limits
from sipgrace.message.refuse import answerTo
from sipgrace.message.scan import unfold

__all__ = ["Limits", "StreamFramer"]

_END: Final = b"\r\n\r\n"
# The lines are those that the parser sees: a CR or LF by itself ends one, too, and one that begins with
# a blank goes on with the one before.
_LENGTH: Final = re.compile(
    rb"[\r\n](?:content-length|l)[ \t]*:((?:[^\r\n]+|(?:\r\n|\r(?!\n)|\n)[ \t])*)", re.IGNORECASE
)


class StreamFramer:
    """
    Cuts one direction of a connection into messages. Work and memory are linear in what is fed, also
    byte by byte; no more than one message of the permitted size is ever kept.

    @ivar pings: how many keep-alives (two empty lines between messages) came since whoever answers
        them last set this to 0. Each asks for C{CRLF}; an answer for all of one read will do.
    """

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.pings = 0
        self._limits = limits
        self._buffer = bytearray()
        self._seen = 0
        self._needed = 0
        self._breaks = 0
        self._failure: ParseError | None = None

    @property
    def pending(self) -> int:
        """
        How many bytes of a message that is not whole yet are kept.
        """
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """
        @param data: what arrived; C{b""} to ask for what is left.
        @return: the messages that are whole now, each for L{parse
            <sipgrace.message.parser.parse>}.
        @raise ParseError: where framing is lost: always C{fatal}, with the C{answer} to send first
            where there is one. Messages that stood before are returned, and the next call raises:
            call until the list is empty.
        """
        if self._failure is not None:
            raise self._failure
        self._buffer += data
        messages: list[bytes] = []
        try:
            while True:
                message = self._next()
                if message is None:
                    return messages
                messages.append(message)
        except ParseError as error:
            self._failure = error
            self._buffer.clear()
            if not messages:
                raise
            return messages

    def _next(self) -> bytes | None:
        buffer = self._buffer
        if self._needed == 0:
            if self._seen == 0:
                self._skipBreaks()
                if not buffer or buffer == b"\r":
                    return None
            end = buffer.find(_END, max(0, self._seen - 3))
            if end < 0:
                self._seen = len(buffer)
                if self._seen > self._limits.message:
                    raise self._lost("Message too large", 413)
                return None
            self._needed = end + 4 + self._bodyLength(bytes(buffer[: end + 2]))
        if len(buffer) < self._needed:
            return None
        message = bytes(buffer[: self._needed])
        del buffer[: self._needed]
        self._needed = 0
        self._seen = 0
        return message

    def _skipBreaks(self) -> None:
        """
        Drops the empty lines before a message, and counts each two of them as a keep-alive.
        """
        buffer = self._buffer
        place = 0
        while buffer.startswith(b"\r\n", place):
            place += 2
            self._breaks += 1
            if self._breaks == 2:
                self.pings += 1
                self._breaks = 0
        del buffer[:place]
        if buffer and buffer != b"\r":
            self._breaks = 0

    def _bodyLength(self, head: bytes) -> int:
        """
        @param head: up to and with the CRLF of the last header line.
        """
        lower = head.lower()
        at = lower.find(b"content-length")
        if (
            lower[at - 2 : at] == b"\r\n"
            and lower[at + 14 : at + 16] == b": "
            and lower.find(b"content-length", at + 14) < 0
            and lower.find(b"\nl") < 0
            and lower.find(b"\rl") < 0
        ):
            # Written as nearly everybody does, and nothing else that could be meant.
            end = lower.find(b"\r\n", at)
            if lower[at + 16 : end].isdigit() and lower[end + 2 : end + 3] not in (b" ", b"\t"):
                return self._bounded(lower[at + 16 : end], head)
        values = _LENGTH.findall(head)
        if len(values) != 1:
            raise self._lost(
                "Several Content-Length header fields" if values else "Missing Content-Length header field"
            )
        value = unfold(values[0])
        if not value.isdigit():
            raise self._lost("Malformed Content-Length header field")
        return self._bounded(value, head)

    def _bounded(self, digits: bytes, head: bytes) -> int:
        digits = digits.lstrip(b"0")
        if len(digits) > 10 or len(head) + 2 + int(digits or b"0") > self._limits.message:
            raise self._lost("Message too large", 413)
        return int(digits or b"0")

    def _lost(self, reason: str, status: int = 400) -> ParseError:
        answer = answerTo(bytes(self._buffer), status, reason)
        return ParseError(reason, status, answer, fatal=True)
