"""
What becomes of an order, as its node's events tell it. Pure.

A node tells its events in order and without gaps as long as its process lives, also after its link was lost;
so an order is followed by the events that came after it was given. Where the process began again meanwhile,
its state must do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sipgrace.controller.facts import OrderRecord, Outcome
from sipgrace.lifecycle.events import Change, State
from sipgrace.lifecycle.orders import Kind

__all__ = ["MAINTAINING", "NOT_ARRIVED", "Following", "Verdict", "nonceOf"]

#: The result of an order that has failed, and is known never to have reached its node.
NOT_ARRIVED: Final = {"arrived": False}

#: The word for an order to drain whose server is offline, and is being maintained.
MAINTAINING: Final = "offline; its maintenance is under way"

#: An outcome, and a word about it.
Verdict = tuple[Outcome, str]

#: By which the node says that it has obeyed, where an order is carried out in that very moment.
_AT_ONCE: Final = {
    Kind.CANCEL: Change.CANCELLED,
    Kind.EXTEND: Change.EXTENDED,
    Kind.OFFLINE: Change.OFFLINE,
    Kind.SKIP: Change.SKIPPED,
    Kind.UNSKIP: Change.UNSKIPPED,
    Kind.REJECT: Change.REJECTING,
    Kind.ADMIT: Change.ADMITTING,
}

_BEGINNING: Final = (Change.SLOWING, Change.DRAINING, Change.JOINED)

_LEAVING: Final = (State.SLOWING, State.DRAINING, State.DRAINED)


def nonceOf(order: Any) -> str:
    """
    @param order: an order's facts, or C{None}.
    @return: its nonce; empty where there is none.
    """
    return str(order.get("nonce", "")) if isinstance(order, Mapping) else ""


class Following:
    """
    One order under way.

    @ivar begun: whether the node is known to have obeyed.
    """

    def __init__(self, record: OrderRecord) -> None:
        self._id = record.id
        self._boot = record.boot
        self._number = record.number
        self._kind = Kind(record.order["kind"])
        self._then = record.order.get("then")
        self.begun = record.outcome is Outcome.OBEYED
        self._offline = False

    def answered(self, state: str) -> Verdict:
        """
        The node has obeyed.

        @param state: where it stands.
        """
        self.begun = True
        if self._kind is Kind.RESUME:
            return (Outcome.DONE if state == State.SERVING else Outcome.OBEYED), ""
        if self._kind in (Kind.DRAIN, Kind.REHEARSE):
            return Outcome.OBEYED, MAINTAINING if self._offline else ""
        return Outcome.DONE, ""

    def happened(self, boot: str, event: Mapping[str, Any]) -> Verdict | None:
        """
        Something happened to the node.

        @return: what that makes of the order; C{None} for nothing new.
        """
        if boot != self._boot or event.get("number", 0) <= self._number:
            return None
        change = event.get("change")
        order = event.get("order")
        mine = nonceOf(order) == self._id
        if mine and change == Change.REFUSED and not self.begun:
            return Outcome.REFUSED, str(event.get("text", ""))
        if mine and change == _AT_ONCE.get(self._kind):
            return Outcome.DONE, ""
        if self._kind is Kind.DRAIN:
            return self._draining(change, mine, event)
        if self._kind is Kind.RESUME:
            return self._returning(change, mine, event)
        return None

    def _draining(self, change: Any, mine: bool, event: Mapping[str, Any]) -> Verdict | None:
        if mine and change in _BEGINNING and not self.begun:
            self.begun = True
            return Outcome.OBEYED, ""
        if not self.begun:
            return None
        if self._offline:
            return _maintained(str(event.get("text", ""))) if change == Change.MAINTAINED else None
        if change == Change.CANCELLED:
            return Outcome.UNDONE, ""
        if change == Change.OFFLINE:
            return self._left(event.get("order"))
        return None

    def _left(self, order: Any) -> Verdict:
        under = order if isinstance(order, Mapping) else {}
        forced = under.get("kind") == Kind.OFFLINE
        if self._then != "run":
            return Outcome.DONE, "it was taken offline at once" if forced else ""
        if forced:
            return Outcome.FAILED, "it was taken offline at once, and its maintenance was not run"
        if nonceOf(order) != self._id and under.get("then") not in ("run", None):
            return Outcome.FAILED, "it joined a drain that no maintenance follows"
        self._offline = True
        return Outcome.OBEYED, MAINTAINING

    def _returning(self, change: Any, mine: bool, event: Mapping[str, Any]) -> Verdict | None:
        if mine and change == Change.RETURNING and not self.begun:
            self.begun = True
            return Outcome.OBEYED, ""
        if not self.begun:
            return None
        if change == Change.SERVING:
            return Outcome.DONE, ""
        if change == Change.FAILED:
            return Outcome.FAILED, str(event.get("text", ""))
        if change in (Change.DRAINING, Change.OFFLINE):
            return Outcome.FAILED, "it was taken out of service again before it served"
        return None

    def found(self, boot: str, standing: Mapping[str, Any]) -> Verdict | None:
        """
        The link is up (again), and all events have been told: does how the node stands say more than they
        did?

        @return: C{None} where the order is still under way, or may not have arrived.
        """
        state = standing.get("state")
        if state is None:
            return None
        if boot != self._boot:
            return self._another(state)
        mine = nonceOf(standing.get("order")) == self._id
        if not self.begun and not (mine and self._kind in (Kind.DRAIN, Kind.RESUME)):
            return None
        self.begun = True
        if self._kind is Kind.DRAIN:
            if state in _LEAVING or self._offline:
                return Outcome.OBEYED, MAINTAINING if self._offline else ""
            if state == State.OFFLINE and self._then != "run":
                return Outcome.DONE, ""
            return Outcome.FAILED, f"it is {state}; what became of the drain is not known any more"
        if self._kind is Kind.RESUME:
            if state == State.SERVING:
                return Outcome.DONE, ""
            if state == State.RETURNING:
                return Outcome.OBEYED, ""
            return Outcome.FAILED, f"it is {state}"
        if self._kind is Kind.REHEARSE:
            return Outcome.FAILED, "the link was lost before it was over"
        return Outcome.DONE, ""

    def _another(self, state: Any) -> Verdict:
        if self._kind is Kind.RESUME and state == State.SERVING:
            return Outcome.DONE, "its process began again"
        if not self.begun:
            return Outcome.FAILED, "its process began again; whether it had the order is not known"
        if self._kind is Kind.DRAIN and self._then in (None, "exit"):
            return Outcome.DONE, "its process has ended, and began again"
        if self._offline:
            return Outcome.FAILED, "its process began again before its maintenance was known to be done"
        return Outcome.FAILED, "its process began again before the order was known to be carried out"


def _maintained(text: str) -> Verdict:
    # The words of L{sipgrace.lifecycle.afterdrain.Done.outcome}.
    if text.startswith("exit status 0 "):
        return Outcome.DONE, f"its maintenance: {text}"
    return Outcome.FAILED, f"its maintenance: {text}"
