"""
The garbage collector of a process whose objects mostly live for half a minute.
"""

from __future__ import annotations

import gc
from typing import Final

__all__ = ["settleCollector"]

#: How many containers more there are than at the last look at the young ones; how many such looks before one
#: at those that were found alive; how many of these before one at all (and a quarter of all must be new).
_THRESHOLDS: Final = (50_000, 10, 20)


def settleCollector() -> None:
    """
    Makes the cyclic collector look seldom. To be called when everything has been set up: what is there then
    stays, and is never looked at again.

    A call's objects hold each other in no cycle once it is settled: they go when their transactions end, 32 s
    after the answer, by counting of references alone. Python's own thresholds have each of them looked at
    several times meanwhile, for nothing, which took a fifth of a server's time. (C{tests/test_collector.py}
    holds that there is nothing to find.) What is left to collect is what failed with a traceback, and
    associations that have gone: with these thresholds no more than half a million containers can wait for
    that, unless they lived through two looks.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
