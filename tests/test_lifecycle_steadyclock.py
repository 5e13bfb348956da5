"""
Tests of L{sipgrace.lifecycle.steadyclock}.
"""

from __future__ import annotations

import time
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.lifecycle.steadyclock import keepSteady


class Steady(SynchronousTestCase):
    """
    A reactor of our own, which does not run.
    """

    def setUp(self) -> None:
        self.reactor: Any = EPollReactor()
        self.addCleanup(self.reactor._poller.close)

    def test_moved(self) -> None:
        """
        What was to be called is called when it was to be.
        """
        call = self.reactor.callLater(5, lambda: None)
        keepSteady(self.reactor)
        self.assertApproximates(self.reactor.seconds(), time.monotonic(), 1)
        self.assertApproximates(call.getTime() - time.monotonic(), 5, 1)
        self.assertApproximates(self.reactor.timeout(), 5, 1)

    def test_steadyAlready(self) -> None:
        """
        A clock that nobody sets stays what it is.
        """
        self.reactor.seconds = seconds = lambda: time.monotonic() + 3.0
        keepSteady(self.reactor)
        self.assertIs(self.reactor.seconds, seconds)
