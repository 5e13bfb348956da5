"""
The server's part in overload control (RFC 7339): those who offer it are told in every answer how much less
they are to send.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from sipgrace.interfaces import IAssociation
from sipgrace.message.message import Response
from sipgrace.message.scan import cutFirst
from sipgrace.proxy.overload import Control, answered, mayOffer

#: Marks one response, on its way to this association.
Mark = Callable[[Response, IAssociation], None]


class OverloadControl:
    """
    While something is asked, or has been and may still be heeded, every response is looked at; at all other
    times none is.

    @ivar loss: what is asked now: so many of a hundred new requests not to be sent.
    @ivar marked: how many responses told it.
    """

    def __init__(
        self,
        clock: IReactorTime,
        switch: Callable[[Mark | None], None],
        wallClock: Callable[[], float] = time.time,
    ) -> None:
        """
        @param switch: has every response marked from now on, or none.
        @param wallClock: where the numbers come from that say which word is the later one (§4.4); they rise
            over a restart, too.
        """
        self.loss = 0
        self.marked = 0
        self._clock = clock
        self._switch = switch
        self._wallClock = wallClock
        self._validity: Callable[[IAssociation], int] | None = None
        self._sequence = 0
        self._heeded = 0.0
        self._quiet: IDelayedCall | None = None

    def ask(self, loss: int, validity: Callable[[IAssociation], int]) -> None:
        """
        Asks for less.

        @param loss: 0 to 100, in percent.
        @param validity: for how many milliseconds from now, for one client; asked for each response.
        """
        self._awake()
        self.loss = loss
        self._validity = validity
        self._next()
        self._switch(self.mark)

    def release(self) -> None:
        """
        Asks for nothing any more. For as long as anybody may still heed what was asked, answers say so.
        """
        if self._validity is None:
            return
        self.loss = 0
        self._validity = None
        self._next()
        left = self._heeded - self._clock.seconds()
        if left > 0:
            self._quiet = self._clock.callLater(left, self._forgotten)
        else:
            self._switch(None)

    def stop(self) -> None:
        """
        Ends what would keep a reactor busy.
        """
        self._awake()

    def mark(self, response: Response, association: IAssociation) -> None:
        """
        Tells it in the top Via of a response, where that has an offer.
        """
        via = response.get(b"Via")
        if via is None or not mayOffer(via):
            return
        validity = 0 if self._validity is None else self._validity(association)
        told = answered(cutFirst(via)[0], Control(self.loss, validity, self._sequence))
        if told is None:
            return
        response.popVia()
        response.pushVia(told)
        self.marked += 1
        self._heeded = max(self._heeded, self._clock.seconds() + validity / 1000)

    def _next(self) -> None:
        self._sequence = max(self._sequence + 1, int(self._wallClock() * 1000) * 100)

    def _forgotten(self) -> None:
        self._quiet = None
        self._switch(None)

    def _awake(self) -> None:
        quiet, self._quiet = self._quiet, None
        if quiet is not None:
            quiet.cancel()
