"""
The calls that go on through a server which stays in their path: who talks to whom, learnt from what passes,
so that either side can be sent a BYE (RFC 3261 §12) when the server has to leave.

A call is found by its Call-ID and the caller's tag. It holds a dialog for each callee that has answered,
which is one, unless it was forked on the way. What CSeq numbers have been used is kept for each side of the
call, early dialogs included: a number may be left out, but none may come twice (§12.2.2).

A dialog ends with the final answer to a BYE; when one side says that it knows nothing of it (481); when its
session timer was not refreshed (RFC 4028); or else after the longest time that is configured.
"""

from __future__ import annotations

from typing import Final

from twisted.internet.interfaces import IReactorTime

from sipgrace.errors import ParseError
from sipgrace.message.message import Message, Request, Response
from sipgrace.proxy.calls import Call, Dialog, Ending, SetUp, Within
from sipgrace.proxy.identity import Identity
from sipgrace.proxy.seams import Ledger
from sipgrace.transaction.timers import TimerQueue

__all__ = ["Dialogs"]

#: So often it is looked which sessions have run out, in seconds; they are kept for so much longer at most.
STEP: Final = 5.0


class Dialogs:
    """
    The table of calls.

    @ivar count: how many dialogs there are, those that are being set up aside.
    @ivar expired: how many were forgotten because their session timer had run out, or the longest time.
    """

    def __init__(
        self,
        clock: IReactorTime,
        timers: TimerQueue,
        identity: Identity,
        ledger: Ledger,
        ending: Ending,
        longest: float = 86400.0,
        most: int = 100_000,
    ) -> None:
        """
        @param longest: so many seconds after a dialog has begun, or was last refreshed, it is forgotten.
        @param most: beyond so many calls, those that are being set up included, the table is full. A tenth
            more are known nevertheless.
        """
        self.ledger = ledger
        self.ending = ending
        self.count = 0
        self.expired = 0
        self._clock = clock
        self._timers = timers
        self._identity = identity
        self._longest = longest
        self._most = most
        self._calls: dict[tuple[bytes, bytes], Call] = {}
        # By when they are to be forgotten, in steps.
        self._slots: dict[int, dict[Dialog, None]] = {}
        self._looking = False

    def __len__(self) -> int:
        """
        @return: how many calls there are, those that are being set up included.
        """
        return len(self._calls)

    @property
    def full(self) -> bool:
        """
        Whether no new call is to be set up.
        """
        return len(self._calls) >= self._most

    def take(self, request: Request) -> SetUp | Within | None:
        """
        @param request: one that has been accepted, as it came, less the Routes that named us.
        @return: what is to be told of it; C{None} for one that is of no call.
        """
        callId = request.callId
        toTag = request.toTag
        if not toTag:
            return self._setUp(request, (callId, request.fromTag)) if request.method == b"INVITE" else None
        call = self._calls.get((callId, request.fromTag))
        if call is not None:
            call.callerCSeq = max(call.callerCSeq, request.cseq)
            return Within(call, request, True)
        call = self._calls.get((callId, toTag))
        if call is not None:
            call.calleeCSeq = max(call.calleeCSeq, request.cseq)
            return Within(call, request, False)
        return None

    def _setUp(self, request: Request, key: tuple[bytes, bytes]) -> SetUp | None:
        call = self._calls.get(key)
        if call is None:
            if len(self._calls) >= self._most + self._most // 10:
                # It went before others, and there is no room for it either: it is set up, and no more.
                return None
            call = self._calls[key] = Call(self, key, request, self._clock.seconds())
        else:
            # It was forked before us, or goes through us twice.
            call.callerCSeq = max(call.callerCSeq, request.cseq)
        call.pending += 1
        return SetUp(call)

    def routesBeyond(self, response: Response) -> list[bytes] | None:
        """
        @return: the Routes from here to the callee, nearest first: of the Record-Routes those above our own.
            C{None} where ours is not among them, so that what is asked within the dialog will not pass here.
        """
        recorded = response.elements(b"Record-Route")
        try:
            for place, route in enumerate(recorded):
                if self._identity.zoneOfRoute(route) is not None:
                    return recorded[:place][::-1]
        except ParseError:
            pass
        return None

    # ------------------------------------------------------------------ for how long

    def keep(self, dialog: Dialog, response: Response) -> None:
        """
        A dialog has begun, or was refreshed, with this 2xx.
        """
        lasting = min(_sessionOf(response) or self._longest, self._longest)
        slot = int((self._clock.seconds() + lasting) / STEP) + 1
        if dialog.slot:
            self._unplace(dialog)
        else:
            self.count += 1
        dialog.slot = slot
        self._slots.setdefault(slot, {})[dialog] = None
        if not self._looking:
            self._looking = True
            self._timers.after(STEP, self._look)

    def forget(self, dialog: Dialog) -> None:
        """
        A dialog has ended.
        """
        self.count -= 1
        self._unplace(dialog)

    def _unplace(self, dialog: Dialog) -> None:
        others = self._slots[dialog.slot]
        del others[dialog]
        if not others:
            del self._slots[dialog.slot]

    def _look(self) -> None:
        now = self._clock.seconds() / STEP
        for slot in [slot for slot in self._slots if slot <= now]:
            for dialog in list(self._slots[slot]):
                self.expired += 1
                dialog.call.ended(dialog.tag)
        self._looking = bool(self._slots)
        if self._looking:
            self._timers.after(STEP, self._look)

    def close(self, call: Call) -> None:
        """
        Nothing is left of a call.
        """
        if self._calls.get(call.key) is call:
            del self._calls[call.key]


def _sessionOf(message: Message) -> int:
    """
    RFC 4028 §4: for how many seconds the session goes on unless it is refreshed; 0 where that is not limited.
    """
    seconds = (message.get(b"Session-Expires") or b"").partition(b";")[0].strip()
    return int(seconds) if seconds.isdigit() and len(seconds) < 10 else 0
