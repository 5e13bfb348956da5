"""
Who reaches whom, drawn up as often as it takes no time worth mentioning.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from sipgrace.controller.fleet import Fleet
from sipgrace.controller.web.records import encoded

__all__ = ["Overview"]

#: What takes less, in seconds of the processor, is done each time.
LITTLE: Final = 0.02

#: What takes more is not done again for so many times as long: all who ask cost a tenth of the processor.
REST: Final = 10.0


class Overview:
    """
    The mesh of a large fleet takes a second to be drawn up and written down, in which the controller does
    nothing else. So what was drawn up last is given again for a while; its C{number} says how old it is.

    @param seconds: the time.
    @param effort: the time that the processor has spent here.
    """

    def __init__(
        self,
        fleet: Fleet,
        seconds: Callable[[], float],
        effort: Callable[[], float] = time.thread_time,
    ) -> None:
        self._fleet = fleet
        self._seconds = seconds
        self._effort = effort
        self._facts: dict[str, Any] = {}
        self._text = b""
        self._until = 0.0

    def facts(self) -> dict[str, Any]:
        """
        @return: C{mesh}, C{conflicts} and C{number}; see L{Fleet.view}.
        """
        fresh = self._facts.get("number") == self._fleet.number
        if self._facts and (fresh or self._seconds() < self._until):
            return self._facts
        began = self._effort()
        view = self._fleet.view()
        self._facts = {key: view[key] for key in ("mesh", "conflicts", "number")}
        self._text = b""
        self._rest(began)
        return self._facts

    def text(self) -> bytes:
        """
        @return: the same, as JSON.
        """
        facts = self.facts()
        if not self._text:
            began = self._effort()
            self._text = encoded(facts)
            self._rest(began)
        return self._text

    def _rest(self, began: float) -> None:
        took = self._effort() - began
        if took > LITTLE:
            self._until = self._seconds() + took * REST
