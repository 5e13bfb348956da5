"""
At most one log line per peer and second, whatever is thrown at us and wherever it arrives.
"""

from __future__ import annotations

from typing import Final
from weakref import WeakKeyDictionary

from twisted.internet.interfaces import IReactorTime

__all__ = ["OncePerSecond", "gateOf"]

#: Lines a second about all peers together: there may be as many peers as there are addresses to forge.
BOUND: Final = 100


class OncePerSecond:
    """
    Lets each key pass once a second, and C{bound} keys a second at most. Remembers no more than
    twice that many keys.
    """

    def __init__(self, bound: int = BOUND) -> None:
        self._bound = bound
        self._since = 0.0
        self._young: dict[str, float] = {}
        self._old: dict[str, float] = {}

    def passes(self, key: str, now: float) -> bool:
        """
        @param now: seconds, of a clock that never goes back.

        @return: whether this one may pass; if so, it counts as having passed.
        """
        age = now - self._since
        if age >= 1.0:
            # Two generations of one second each hold every pass of the last second.
            self._old = self._young if age < 2.0 else {}
            self._young = {}
            self._since = now
        last = self._young.get(key, self._old.get(key))
        if (last is not None and now - last < 1.0) or len(self._young) >= self._bound:
            return False
        self._young[key] = now
        return True

    def __len__(self) -> int:
        """
        @return: how many keys are remembered.
        """
        return len(self._young) + len(self._old)


_gates: WeakKeyDictionary[IReactorTime, OncePerSecond] = WeakKeyDictionary()


def gateOf(clock: IReactorTime) -> OncePerSecond:
    """
    @param clock: the reactor.

    @return: the gate of all that live on this reactor: its keys are the hosts of peers. (Ports cost an
        attacker nothing.)
    """
    gate = _gates.get(clock)
    if gate is None:
        gate = _gates[clock] = OncePerSecond()
    return gate
