"""
What a person can say to a running element at the manhole's prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred

from sipgrace.element import Element
from sipgrace.lifecycle.events import State
from sipgrace.lifecycle.orders import Kind


class Console:
    """
    The names at the prompt. Each says what it does when asked with C{help(name)}.

    @param status: what L{show} shows, by heading.
    """

    def __init__(self, element: Element, status: Callable[[], Mapping[str, Any]]) -> None:
        self._element = element
        self._status = status

    def names(self) -> dict[str, object]:
        """
        What is put into the prompt's namespace.
        """
        return {
            "show": self.show,
            "drain": self.drain,
            "cancel": self.cancel,
            "extend": self.extend,
            "resume": self.resume,
        }

    def show(self) -> None:
        """
        Shows how things stand.
        """
        for heading, value in self._status().items():
            print(f"{heading:<14} {value}")

    def drain(
        self, guard: float | None = None, retryAfter: float | None = None, why: str = ""
    ) -> Deferred[State]:
        """
        Takes this element out of service without losing a call it has accepted.

        @param guard: seconds after which its associations are gone, whatever is left; by default as
            configured.
        @param retryAfter: seconds for which clients are asked to stay away; by default as configured.
        @param why: the reason, for those who ask.
        @return: fires when it is offline, or serves again because the drain was cancelled.
        """
        order = self._element.order(Kind.DRAIN, "manhole", why, guard=guard, retryAfter=retryAfter)
        return self._element.lifecycle.drain(order)

    def cancel(self) -> None:
        """
        Takes a drain back: the element serves again at once.
        """
        self._element.lifecycle.cancel(self._element.order(Kind.CANCEL, "manhole"))

    def extend(self, seconds: float) -> None:
        """
        Gives a drain more time.

        @param seconds: how much more.
        """
        self._element.lifecycle.extend(seconds, self._element.order(Kind.EXTEND, "manhole"))

    def resume(self) -> Deferred[State]:
        """
        Brings this element back into service.

        @return: fires when it serves.
        """
        return self._element.lifecycle.resume(self._element.order(Kind.RESUME, "manhole"))
