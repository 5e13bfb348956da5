"""
A client's part in overload control (RFC 7339): it keeps from a server the share of new requests that this has
asked it to keep.
"""

from __future__ import annotations

from typing import Final

from twisted.internet.interfaces import IReactorTime

from sipgrace.message.message import Response
from sipgrace.proxy.overload import Control, readControl

#: Others make up for at most so many requests that went before them, times a hundred.
_MADE_UP: Final = 1000


class Throttle:
    """
    What one server has asked for. Which requests are kept from it is not left to chance: of each hundred
    exactly as many as it said, evenly spread (Bresenham's line).

    @ivar loss: how many of a hundred new requests are kept from it; 0 for none, and then nothing else need be
        asked.
    @ivar kept: how many were ever kept from it.
    """

    __slots__ = ("_clock", "_due", "_sequence", "_until", "kept", "loss")

    def __init__(self, clock: IReactorTime) -> None:
        self.loss = 0
        self.kept = 0
        self._clock = clock
        self._due = 0
        self._sequence = -1
        self._until = 0.0

    def read(self, response: Response) -> None:
        """
        Looks for the server's word in a response of its.

        @param response: our own Via is still on it.
        """
        via = response.get(b"Via")
        control = readControl(via) if via is not None else None
        if control is not None:
            self.heard(control)

    def heard(self, control: Control) -> None:
        """
        The server's word. One that is not later than the last does not count (RFC 7339 §4.4):
        responses overtake each other.
        """
        if control.sequence <= self._sequence:
            return
        self._sequence = control.sequence
        self.loss = control.loss if control.validity else 0
        self._until = self._clock.seconds() + control.validity / 1000

    def release(self) -> None:
        """
        The server is said to be in service, by other means. That ends a full stop, which it would otherwise
        get no occasion to take back; a smaller share may be what it wants in service, too.
        """
        if self.loss == 100:
            self.loss = 0

    def reset(self) -> None:
        """
        Nothing that the server said before counts any more: it may have been started anew.
        """
        self.loss = 0
        self._sequence = -1

    def admits(self, preferred: bool = False) -> bool:
        """
        Whether one new request may be sent. Asked only where C{loss} is not 0.

        @param preferred: whether it goes before others. Such a one may be sent for as long as the server
            takes any at all, and others are kept back in its place, so that the server gets no more than it
            asked for (RFC 7339 §5.10.1).
        """
        if self._clock.seconds() >= self._until:
            self.loss = 0
            return True
        if preferred:
            self._due = min(self._due + self.loss, _MADE_UP)
            return self.loss < 100
        self._due += self.loss
        if self._due < 100:
            return True
        self._due -= 100
        self.kept += 1
        return False

    @property
    def left(self) -> float:
        """
        Seconds for which what the server asked still counts; 0.0 where it asks for nothing.
        """
        return max(0.0, self._until - self._clock.seconds()) if self.loss else 0.0
