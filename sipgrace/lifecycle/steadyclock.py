"""
A reactor whose time is nobody's to set.
"""

from __future__ import annotations

import time
from typing import Any

__all__ = ["keepSteady"]


def keepSteady(reactor: Any) -> None:
    """
    Has a reactor take its time from the host's monotonic clock. Most of Twisted's take it from the wall
    clock: when that is set forward, all timers expire at once, those of calls that ring and of guards among
    them; when it is set back, none does until it has caught up.

    Before the reactor runs, and before anybody has taken its C{seconds}. One that is steady already is left
    as it is.
    """
    steady, set_ = time.monotonic(), time.time()
    now = reactor.seconds()
    if abs(now - set_) >= abs(now - steady):
        return
    calls = reactor.getDelayedCalls()
    lefts = [call.getTime() - now for call in calls]
    reactor.seconds = time.monotonic
    for call, left in zip(calls, lefts, strict=True):
        call.seconds = time.monotonic
        call.reset(left)
