"""
The garbage collector of a process whose objects mostly live for half a minute.
"""

from __future__ import annotations

import gc
import sys
from typing import Final

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

__all__ = ["Collector"]

#: Seconds between two looks at how things stand.
_PERIOD: Final = 30.0

#: So many blocks of memory more than at the start can be gone through at once: that takes some ten
#: milliseconds.
_FEW: Final = 300_000

#: So many containers more than after the last collection are looked at however many there are in all...
_MANY: Final = 1_000_000

#: ... but not more often than once in so many seconds, for it can take some tenths of a second.
_SELDOM: Final = 600.0


class Collector(Service):
    """
    Has cyclic garbage collected when there is little to be gone through. Starts after all else: what is there
    by then stays, and is never looked at again.

    A call's objects hold each other in no cycle once it is settled: they go when their transactions end, 32 s
    after the answer, by counting of references alone. Python's own collector would have each of them looked
    at several times meanwhile, for nothing, which took a fifth of a server's time, and with much rarer looks
    still an eighth. (C{tests/test_collector.py} holds that there is nothing to find.) What is left to collect
    is what failed with a traceback, and associations that have gone: that can wait until there are few calls.
    Where there never are, objects that go on growing in number are looked at all the same.

    @ivar collected: how often there was a collection.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.collected = 0
        self._clock = clock
        self._blocks = 0
        self._last = 0.0
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
        few = sys.getallocatedblocks() - self._blocks <= _FEW
        # Counted whether Python's own collector is on or not.
        grown = gc.get_count()[0]
        if few or (grown > _MANY and self._clock.seconds() - self._last >= _SELDOM):
            gc.collect()
            self.collected += 1
            self._last = self._clock.seconds()
