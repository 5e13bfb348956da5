"""
Associations that are opened and kept open.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from sipgrace.errors import TransportError
from sipgrace.interfaces import IAssociation, IAssociationUser
from sipgrace.transport.backoff import Backoff
from sipgrace.transport.opener import Opener


class FakeAssociation:
    """
    As much of one as the opener looks at.
    """

    def __init__(self, up: bool = True) -> None:
        self.up = up


class OpenerTests(SynchronousTestCase):
    """
    Waits of 1, 2, 4... up to 8 s.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.attempts: list[Deferred[Any]] = []
        self.log: list[str] = []
        self.opener = Opener(
            "client-110", self.connect, self.clock, self.opened, Backoff(1.0, 8.0), lambda: 1.0
        )

    def connect(self) -> Deferred[IAssociation]:
        self.attempts.append(Deferred(lambda ignored: self.log.append("given up")))
        self.log.append(f"connect at {self.clock.seconds():g}")
        return self.attempts[-1]

    def opened(self, name: str, association: object) -> None:
        self.log.append(f"{name} opened")

    def take(self) -> list[str]:
        log, self.log[:] = list(self.log), []
        return log

    def up(self) -> FakeAssociation:
        association = FakeAssociation()
        self.attempts[-1].callback(association)
        return association

    def fail(self) -> None:
        self.attempts[-1].errback(TransportError("refused"))

    def lose(self, association: FakeAssociation) -> None:
        association.up = False
        self.opener.associationLost(association, Failure(ConnectionLost()))

    def test_interface(self) -> None:
        verifyObject(IAssociationUser, self.opener)

    def test_opened(self) -> None:
        """
        Once, and its owner is told.
        """
        self.opener.start()
        self.opener.start()
        self.assertEqual(self.take(), ["connect at 0"])
        self.up()
        self.assertEqual(self.take(), ["client-110 opened"])
        self.opener.start()
        self.clock.advance(100)
        self.assertEqual(self.take(), [])

    def test_lost(self) -> None:
        """
        It is opened again after a short wait; another one's loss is none of its business.
        """
        self.opener.start()
        association = self.up()
        self.lose(FakeAssociation())
        self.take()
        self.clock.advance(100)
        self.assertEqual(self.take(), [])
        self.lose(association)
        self.clock.advance(0.9)
        self.assertEqual(self.take(), [])
        self.clock.advance(0.1)
        self.assertEqual(self.take(), ["connect at 101"])
        self.lose(association)
        self.assertEqual(len(self.clock.getDelayedCalls()), 0)

    def test_failures(self) -> None:
        """
        The waits double up to the longest, and begin anew after success.
        """
        self.opener.start()
        times = []
        for _ in range(6):
            self.fail()
            (call,) = self.clock.getDelayedCalls()
            times.append(call.getTime() - self.clock.seconds())
            self.clock.advance(times[-1])
        self.assertEqual(times, [2, 4, 8, 8, 8, 8])
        association = self.up()
        self.lose(association)
        (call,) = self.clock.getDelayedCalls()
        self.assertEqual(call.getTime() - self.clock.seconds(), 1)

    def test_goneAtOnce(self) -> None:
        """
        One that is lost as it comes up counts as a failure.
        """
        self.opener.start()
        self.attempts[-1].callback(FakeAssociation(up=False))
        self.assertEqual(self.take(), ["connect at 0"])
        self.clock.advance(2)
        self.assertEqual(self.take(), ["connect at 2"])

    def test_stoppedWhileOpening(self) -> None:
        self.opener.start()
        self.opener.stop()
        self.assertEqual(self.take(), ["connect at 0", "given up"])
        self.clock.advance(100)
        self.assertEqual(self.take(), [])

    def test_stoppedWhileWaiting(self) -> None:
        self.opener.start()
        self.fail()
        self.opener.stop()
        self.opener.stop()
        self.clock.advance(100)
        self.assertEqual(self.take(), ["connect at 0"])
        self.opener.start()
        self.assertEqual(self.take(), ["connect at 100"])

    def test_stoppedWhileUp(self) -> None:
        """
        It stays; when it goes, that is all. Started again before, nothing is opened twice.
        """
        self.opener.start()
        association = self.up()
        self.opener.stop()
        self.take()
        self.opener.start()
        self.assertEqual(self.take(), [])
        self.opener.stop()
        self.opener.associationLost(association, Failure(ConnectionDone()))
        self.clock.advance(100)
        self.assertEqual(self.take(), [])
        self.opener.start()
        self.assertEqual(self.take(), ["connect at 100"])

    def test_cancelledByOthers(self) -> None:
        """
        An attempt that ends by cancellation while nobody has stopped the opener is a failure like any other.
        """
        self.opener.start()
        self.attempts[-1].cancel()
        self.take()
        self.clock.advance(2)
        self.assertEqual(self.take(), ["connect at 2"])

    def test_atOnce(self) -> None:
        """
        What connects without waiting.
        """
        association = FakeAssociation()

        def connect() -> Deferred[Any]:
            done: Deferred[Any] = Deferred()
            done.callback(association)
            return done

        opener = Opener("client-110", connect, self.clock, self.opened, Backoff(1.0, 8.0), lambda: 1.0)
        opener.start()
        self.assertEqual(self.take(), ["client-110 opened"])
        opener.stop()
        opener.start()
        self.assertEqual(self.take(), [])
