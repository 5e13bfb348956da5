"""
Tests of L{sipgrace.tap.preparedport}.
"""

from __future__ import annotations

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from sipgrace.errors import ConfigError
from sipgrace.tap.preparedport import PreparedPort
from sipgrace.tap.signals import Prepared


@implementer(IListeningPort)
class FakePort:
    """
    A port that tells what is done to it.
    """

    def __init__(self, done: list[str]) -> None:
        self._done = done
        self.stopped: Deferred[None] = Deferred()

    def startListening(self) -> None:
        self._done.append("taken")

    def stopReading(self) -> None:
        self._done.append("still")

    def startReading(self) -> None:
        self._done.append("reading")

    def stopListening(self) -> Deferred[None]:
        self._done.append("stopped")
        return self.stopped

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.1", 9102)


class Ports(SynchronousTestCase):
    """
    Taking, holding, opening and leaving it.
    """

    def setUp(self) -> None:
        self.done: list[str] = []
        self.fake = FakePort(self.done)
        self.service = PreparedPort("metrics", "192.0.2.1:9102", self.listen)

    def listen(self) -> Deferred[IListeningPort]:
        """
        As an endpoint does it.
        """
        self.fake.startListening()
        return succeed(self.fake)

    def test_prepared(self) -> None:
        """
        It is taken and answers nobody until the service starts.
        """
        self.assertIsInstance(self.service, Prepared)
        self.successResultOf(self.service.prepare())
        self.assertEqual(self.done, ["taken", "still"])
        self.assertIs(self.service.port, self.fake)
        self.successResultOf(self.service.startService())
        self.assertEqual(self.done, ["taken", "still", "reading"])

    def test_unprepared(self) -> None:
        """
        Who starts it at once has it at once.
        """
        self.successResultOf(self.service.startService())
        self.assertEqual(self.done, ["taken"])

    def test_stopped(self) -> None:
        """
        Stopping waits for the port, and there is nothing to wait for without one.
        """
        self.successResultOf(self.service.startService())
        stopping = self.service.stopService()
        self.assertEqual((self.done, self.service.port), (["taken", "stopped"], None))
        self.assertNoResult(stopping)
        self.fake.stopped.callback(None)
        self.successResultOf(stopping)
        self.successResultOf(self.service.stopService())

    def test_taken(self) -> None:
        """
        A port that another has is a mistake of the configuration; what is already said so is left as it is.
        """

        def wrong() -> Deferred[IListeningPort]:
            raise ConfigError("no key")

        def taken() -> Deferred[IListeningPort]:
            return fail(CannotListenError("192.0.2.1", 9102, OSError("in use")))

        for listen, why in (
            (wrong, "no key"),
            (taken, "metrics.listen: cannot listen at 192.0.2.1:9102: "),
        ):
            service = PreparedPort("metrics", "192.0.2.1:9102", listen)
            for begin in (service.prepare, service.startService):
                self.assertIn(why, str(self.failureResultOf(begin(), ConfigError).value))
            self.assertIsNone(service.port)
