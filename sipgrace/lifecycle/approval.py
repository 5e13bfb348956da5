"""
Asking the clients of a server whether it may leave.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from sipgrace.errors import OrderRefused
from sipgrace.lifecycle.orders import Order

__all__ = ["CONTENT_TYPE", "Approval", "Ask"]

#: What the order is that they are asked about: the text that L{sipgrace.lifecycle.orderform} makes of it.
CONTENT_TYPE: Final = b"application/vnd.sipgrace.order+json"

#: Puts the question to every client that is associated, by its name: each answers yes or no in its time, or
#: fails, which is a no.
Ask = Callable[[Order], Mapping[str, Deferred[bool]]]


class Approval:
    """
    So many clients must say yes within a time; a silent one is a no.

    @param need: how many.
    @param within: the time in seconds.
    @param ask: how they are asked.
    """

    def __init__(self, clock: IReactorTime, need: int, within: float, ask: Ask) -> None:
        self._clock = clock
        self._need = need
        self._within = within
        self._ask = ask

    def consult(self, order: Order) -> Deferred[None]:
        """
        Asks, and waits no longer than it must.

        @return: fires when enough have said yes; fails with L{OrderRefused}, which says who said what, when
            enough cannot be had any more.
        """
        asked = dict(self._ask(order))
        answers: dict[str, str] = {}
        decided: Deferred[None] = Deferred()

        def decide(last: bool = False) -> None:
            yes = sum(answer == "yes" for answer in answers.values())
            possible = yes if last else yes + len(asked) - len(answers)
            if yes < self._need <= possible:
                return
            if call.active():
                call.cancel()
            silent = [name for name in asked if name not in answers]
            for name in silent:
                answers[name] = "silent" if last else "not waited for"
            for name in silent:
                asked[name].cancel()
            if yes >= self._need:
                decided.callback(None)
                return
            said = ", ".join(f"{name} {answers[name]}" for name in asked)
            why = f"{self._need} clients must approve of it; of {len(asked)} that were asked {yes} did"
            decided.errback(OrderRefused(f"{why} ({said})" if said else why))

        def answered(result: object, name: str) -> None:
            if name not in answers:
                answers[name] = "yes" if result is True else "no" if result is False else "failed"
                if not decided.called:
                    decide()

        call = self._clock.callLater(self._within, decide, True)
        for name, answer in asked.items():
            answer.addBoth(answered, name)
        if not decided.called:
            decide()
        return decided
