"""
A drain that begins gradually, told to those who speak overload control (RFC 7339): they hold back a rising
share of their calls themselves, and send these where they are welcome without a round trip.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sipgrace.interfaces import IAssociation
from sipgrace.lifecycle.events import Change, Event
from sipgrace.lifecycle.gate import Gate
from sipgrace.lifecycle.pulse import BEAT
from sipgrace.server.overloadcontrol import OverloadControl

__all__ = ["Ramp"]

#: So long a share counts that nobody hears of again, in milliseconds.
VALIDITY: Final = 2000

#: At every so manieth beat the share is told anew.
_EVERY: Final = round(1 / BEAT)


class Ramp:
    """
    An observer of the lifecycle that is a listener of its pulse as well.

    @param tell: whether the role is to leave those who speak overload control alone.
    """

    def __init__(self, gate: Gate, control: OverloadControl, tell: Callable[[bool], None]) -> None:
        self._gate = gate
        self._control = control
        self._tell = tell
        self._running = False
        self._beats = 0

    def onChange(self, event: Event) -> None:
        """
        See L{sipgrace.lifecycle.seams.Observer}. To be told after those who announce the full stop.
        """
        if event.change is Change.SLOWING:
            self._running = True
            self._beats = 0
            self._ask()
            self._tell(True)
        elif self._running and event.change in (Change.DRAINING, Change.CANCELLED, Change.OFFLINE):
            self._running = False
            self._tell(False)
            if self._control.loss != 100:
                # Nobody else asks now.
                self._control.release()

    def __call__(self, lag: float) -> None:
        """
        One beat.
        """
        if self._running:
            self._beats += 1
            if self._beats % _EVERY == 0:
                self._ask()

    def _ask(self) -> None:
        self._control.ask(min(99, round(100 * self._gate.share())), self._validity)

    def _validity(self, association: IAssociation) -> int:
        return VALIDITY
