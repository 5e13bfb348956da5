"""
What a person can say to a running element at the manhole's prompt.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from sipgrace.element import Element
from sipgrace.errors import OrderRefused
from sipgrace.lifecycle.authorization import Giver, Source
from sipgrace.lifecycle.door import Obeyed
from sipgrace.lifecycle.events import State
from sipgrace.lifecycle.orders import Announce, Kind


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
        found: dict[str, object] = {
            "show": self.show,
            "drain": self.drain,
            "cancel": self.cancel,
            "extend": self.extend,
            "resume": self.resume,
            "offline": self.offline,
            "rehearse": self.rehearse,
        }
        if Kind.SKIP in self._element.door.kinds:
            found |= {"skip": self.skip, "unskip": self.unskip}
        if Kind.REJECT in self._element.door.kinds:
            found |= {"reject": self.reject, "admit": self.admit}
        return found

    def show(self) -> None:
        """
        Shows how things stand.
        """
        for heading, value in self._status().items():
            print(f"{heading:<14} {value}")

    def drain(
        self,
        guard: float | None = None,
        retryAfter: float | None = None,
        why: str = "",
        over: float | None = None,
        then: str | None = None,
        announce: str | None = None,
        back: float | None = None,
    ) -> Deferred[State]:
        """
        Takes this element out of service without losing a call it has accepted.

        @param guard: seconds after which its associations are gone, whatever is left; by default as
            configured.
        @param retryAfter: seconds for which clients are asked to stay away; by default as configured.
        @param why: the reason, for those who ask.
        @param over: for so many seconds a rising share of new calls is refused before the full stop.
        @param then: what follows: C{'stay'}, C{'exit'}, or C{'run'} for the command that is configured.
        @param announce: how clients are told: C{'in-answer'}, C{'broadcast'}, C{'both'}.
        @param back: in how many seconds from now it is scheduled to return, for clients to know.
        @return: fires when it is offline, or serves again because the drain was cancelled.
        """
        given = self._give(
            Kind.DRAIN,
            why,
            guard=guard,
            retryAfter=retryAfter,
            over=over,
            then=then,
            announce=None if announce is None else _way(announce),
            back=None if back is None else time.time() + back,
        )
        return given.addCallback(Obeyed.whenEnded)

    def cancel(self, why: str = "") -> Deferred[State]:
        """
        Takes a drain back: the element serves again at once.

        @param why: the reason.
        """
        return self._give(Kind.CANCEL, why).addCallback(_state)

    def extend(self, seconds: float, why: str = "") -> Deferred[State]:
        """
        Gives a drain more time.

        @param seconds: how much more.
        @param why: the reason.
        """
        return self._give(Kind.EXTEND, why, guard=seconds).addCallback(_state)

    def resume(self, why: str = "") -> Deferred[State]:
        """
        Brings this element back into service.

        @param why: the reason.
        @return: fires when it serves.
        """
        return self._give(Kind.RESUME, why).addCallback(Obeyed.whenEnded)

    def offline(self, why: str = "") -> Deferred[State]:
        """
        Takes this element out of service at once, ending accepted calls; C{drain()} is what you want unless
        there is no time at all.

        @param why: the reason.
        """
        return self._give(Kind.OFFLINE, why).addCallback(_state)

    def rehearse(self, guard: float | None = None, retryAfter: float | None = None) -> Deferred[Any]:
        """
        Says what a drain would do now. This element goes on serving, and nobody else notices.

        @return: fires when the time of that drain is over, with what would have come of it.
        """

        def show(obeyed: Obeyed) -> Any:
            for name, value in obeyed.result.items():
                print(f"{name:<14} {value}")
            return obeyed.later

        return self._give(Kind.REHEARSE, guard=guard, retryAfter=retryAfter).addCallback(show)

    def skip(self, server: str, why: str = "") -> Deferred[Any]:
        """
        Leaves a server alone: it is sent no new calls, and tested all the same.

        @param server: its name.
        @param why: the reason, which is kept.
        @return: the server, whether it is skipped, and whether a restart will know of it.
        """
        return self._give(Kind.SKIP, why, server=server).addCallback(_result)

    def unskip(self, server: str, why: str = "") -> Deferred[Any]:
        """
        Uses a server again, as soon as it is good.

        @param server: its name.
        @param why: the reason.
        @return: as L{skip}.
        """
        return self._give(Kind.UNSKIP, why, server=server).addCallback(_result)

    def reject(self, name: str, why: str = "", **rule: Any) -> Deferred[Any]:
        """
        Refuses new calls by a rule.

        @param name: by this it is taken back.
        @param why: the reason, which is kept.
        @param rule: as a server's configuration has it in C{[[reject]]}: C{origin={"prefix": "0900"}},
            C{destination}, C{status}, C{reason}.
        @return: the rule's name, whether calls are refused by it, and whether a restart will know of it.
        """
        return self._give(Kind.REJECT, why, rule=json.dumps({"name": name, **rule})).addCallback(_result)

    def admit(self, name: str, why: str = "") -> Deferred[Any]:
        """
        Takes such a rule back.

        @param name: its name.
        @param why: the reason.
        @return: as L{reject}.
        """
        return self._give(Kind.ADMIT, why, rule=name).addCallback(_result)

    def _give(self, kind: Kind, why: str = "", **values: Any) -> Deferred[Obeyed]:
        order = self._element.order(kind, "manhole", why, **values)
        given = self._element.door.give(order, Giver(Source.MANHOLE, "manhole"))
        if given.called and isinstance(given.result, Failure):
            # A person sees it as an error, right below what was typed.
            failure = given.result
            given.addErrback(lambda failure: None)
            failure.raiseException()
        return given


def _way(text: str) -> Announce:
    if text not in list(Announce):
        known = ", ".join(Announce)
        raise OrderRefused(f"{text[:50]!r} is no way to announce it; one of {known} is expected")
    return Announce(text)


def _state(obeyed: Obeyed) -> State:
    return obeyed.state


def _result(obeyed: Obeyed) -> Any:
    return obeyed.result
