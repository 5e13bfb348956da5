"""
The garbage collector of a process whose objects mostly live for half a minute.
"""

from __future__ import annotations

import gc
import sys
from time import perf_counter
from typing import Final

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from sipgrace.transaction.layer import TransactionLayer

__all__ = ["Collector"]

#: Seconds between two looks at how things stand.
_PERIOD: Final = 5.0

#: So many blocks of memory more than at the start can be gone through at once: that takes some ten
#: milliseconds. It is done once in so many seconds.
_FEW: Final = 300_000
_QUIET: Final = 30.0

#: How many containers a transaction has, with what belongs to it: two when its call has been set up for a
#: while, seven while that rings.
_EACH: Final = 5

#: So many containers more than the transactions account for are garbage: most of it connections that are no
#: more, which hold 50 KiB each where they were TLS.
_GARBAGE: Final = 100_000

#: What collecting may take of the time, however much there is of it.
_SHARE: Final = 0.01


class Collector(Service):
    """
    Has cyclic garbage collected when there is little to be gone through. Starts after all else: what is there
    by then stays, and is never looked at again.

    A call's objects hold each other in no cycle once it is settled: they go when their transactions end, 32 s
    after the answer, by counting of references alone. Python's own collector would have each of them looked
    at several times meanwhile, for nothing, which took a fifth of a server's time, and with much rarer looks
    still an eighth. (C{tests/test_collector.py} holds that there is nothing to find.) What is left to collect
    is what failed with a traceback, and associations that have gone: that can wait until there are few calls.
    Where there is much of it, as when somebody opens and closes connections all the time, it is collected
    whatever the calls.

    @ivar collected: how often there was a collection.
    @param layer: the transactions of this process.
    """

    def __init__(self, clock: IReactorTime, layer: TransactionLayer) -> None:
        self.collected = 0
        self._clock = clock
        self._layer = layer
        self._blocks = 0
        self._last = 0.0
        self._took = 0.0
        self._known = 0
        self._loop = LoopingCall(self._look)
        self._loop.clock = clock

    def startService(self) -> None:
        """
        Takes collecting over from Python.
        """
        Service.startService(self)
        gc.collect()
        gc.freeze()
        gc.disable()
        self._blocks = sys.getallocatedblocks()
        self._last = self._clock.seconds()
        self._loop.start(_PERIOD, now=False)

    def stopService(self) -> None:
        """
        Leaves it to Python again.
        """
        Service.stopService(self)
        self._loop.stop()
        gc.enable()

    def _look(self) -> None:
        waited = self._clock.seconds() - self._last
        few = sys.getallocatedblocks() - self._blocks <= _FEW and waited >= _QUIET
        # Those made since the last collection, less those gone; counted whether Python's own is on or not.
        garbage = gc.get_count()[0] - _EACH * max(0, self._transactions() - self._known)
        if few or (garbage > _GARBAGE and waited * _SHARE >= self._took):
            self._collect()

    def _collect(self) -> None:
        begun = perf_counter()
        gc.collect()
        self._took = perf_counter() - begun
        self.collected += 1
        self._last = self._clock.seconds()
        self._known = self._transactions()

    def _transactions(self) -> int:
        layer = self._layer
        servers = len(layer.inviteServers) + len(layer.servers)
        return servers + len(layer.inviteClients) + len(layer.clients)
