"""
Associations that this side opens and keeps open, whoever uses them.
"""

from __future__ import annotations

from collections.abc import Callable
from random import random as _random

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from sipgrace.interfaces import IAssociation, IAssociationUser
from sipgrace.transport.backoff import Backoff


@implementer(IAssociationUser)
class Opener:
    """
    Keeps one association open to one peer: opens it again whenever it has been lost, after a wait that
    grows with each failure. It hears of losses as a watcher of all associations.
    """

    log = Logger()

    def __init__(
        self,
        name: str,
        connect: Callable[[], Deferred[IAssociation]],
        clock: IReactorTime,
        opened: Callable[[str, IAssociation], None],
        backoff: Backoff | None = None,
        random: Callable[[], float] = _random,
    ) -> None:
        """
        @param name: the peer's.
        @param connect: opens the association.
        @param opened: told the name and the association whenever it is up.
        @param random: a number from 0.0 up to 1.0, for the waits.
        """
        self.name = name
        self._connect = connect
        self._clock = clock
        self._told = opened
        self._backoff = backoff or Backoff()
        self._random = random
        self._failures = 0
        self._association: IAssociation | None = None
        self._attempt: Deferred[None] | None = None
        self._waiting: IDelayedCall | None = None
        self._stopped = True

    def start(self) -> None:
        """
        Opens it, and keeps it open from now on.
        """
        if self._stopped:
            self._stopped = False
            if self._association is None:
                self._open()

    def stop(self) -> None:
        """
        Opens nothing more. An association that is there stays; one that is under way does not come up.
        """
        self._stopped = True
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.cancel()
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.cancel()

    def _open(self) -> None:
        self._waiting = None
        attempt = self._connect().addCallbacks(self._opened, self._failed)
        if not attempt.called:
            self._attempt = attempt

    def _opened(self, association: IAssociation) -> None:
        self._attempt = None
        if association.up:
            self._failures = 0
            self._association = association
            self._told(self.name, association)
        else:
            self._failures += 1
            self._again()

    def _failed(self, failure: Failure) -> None:
        self._attempt = None
        if self._stopped:
            return
        if not self._failures:
            self.log.warn(
                "no association to {name}: {reason}", name=self.name, reason=failure.getErrorMessage()
            )
        self._failures += 1
        self._again()

    def _again(self) -> None:
        if not self._stopped:
            wait = self._backoff.delay(self._failures, self._random)
            self._waiting = self._clock.callLater(wait, self._open)

    def associationMade(self, association: IAssociation) -> None:
        """
        See L{IAssociationUser}.
        """

    def messageReceived(self, message: object, association: IAssociation) -> None:
        """
        See L{IAssociationUser}.
        """

    def associationLost(self, association: IAssociation, reason: Failure) -> None:
        """
        See L{IAssociationUser}.
        """
        if association is self._association:
            self._association = None
            self._again()
