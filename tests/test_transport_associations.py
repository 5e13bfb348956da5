"""
The books of one element's associations, and the places where it listens.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from sipgrace.errors import TransportError
from sipgrace.interfaces import IAssociation, IAssociationUser, IListener
from sipgrace.testing import MemoryElement, MemoryNetwork, Recorder
from sipgrace.transport.associations import Associations

LOST = Failure(ConnectionDone())


class Place:
    """
    A place to listen, which takes its time.
    """

    def __init__(self) -> None:
        self.asked: list[IAssociationUser] = []
        self.cancelled = 0
        self.listening: Deferred[IListener] = Deferred()

    def __call__(self, user: IAssociationUser) -> Deferred[IListener]:
        self.asked.append(user)
        self.listening = Deferred(self._cancel)
        return self.listening

    def _cancel(self, listening: object) -> None:
        self.cancelled += 1


class Listener(MemoryElement):
    """
    A listener that takes its time to stop.
    """

    def __init__(self, name: str) -> None:
        super().__init__(MemoryNetwork(), Recorder(), name, 5060, b"TCP", "network")
        self.stopped: list[Deferred[None]] = []

    def stopListening(self) -> Deferred[None]:
        self.stopped.append(Deferred())
        return self.stopped[-1]


class BooksTests(SynchronousTestCase):
    """
    What comes and goes.
    """

    def setUp(self) -> None:
        self.recorder = Recorder()
        self.associations = Associations((), self.recorder)
        self.log: list[str] = []
        self.associations.onGone = lambda: self.log.append("gone")
        self.associations.onEnding = lambda: self.log.append("ending")
        self.network = MemoryNetwork()
        self.element = self.network.element(self.associations, "192.0.2.1")
        self.peer = Recorder()
        self.far = self.network.element(self.peer, "192.0.2.2")
        self.successResultOf(self.associations.listen())

    def connect(self) -> IAssociation:
        return self.element.connect("192.0.2.2")

    def test_interface(self) -> None:
        verifyObject(IAssociationUser, self.associations)

    def test_counted(self) -> None:
        """
        Each until it has gone, whatever ended it; the user hears of all.
        """
        first, second = self.connect(), self.connect()
        self.assertEqual(self.associations.count, 2)
        first.shutdown()
        self.assertEqual(self.associations.count, 2)
        self.network.flush()
        self.assertEqual((self.associations.count, self.log), (1, []))
        second.abort()
        self.network.flush()
        self.assertEqual((self.associations.count, self.log), (0, ["gone"]))
        self.assertEqual(
            self.recorder.names(), ["made", "made", "lost ConnectionDone", "lost ConnectionAborted"]
        )

    def test_messages(self) -> None:
        """
        These do not come by here at all.
        """
        self.assertEqual(self.associations.messageReceived, self.recorder.messageReceived)

    def test_shutDown(self) -> None:
        for _ in range(3):
            self.connect()
        self.associations.shutdownAll()
        self.assertEqual(self.log, ["ending"])
        self.network.flush()
        self.assertEqual(self.log, ["ending", "gone"])
        self.assertEqual(self.peer.names()[3:], ["lost ConnectionDone"] * 3)

    def test_abortedAfterAll(self) -> None:
        """
        The guard: what has not shut down is aborted; the end is announced once.
        """
        calls: list[str] = []
        for name in ("first", "second"):
            association = self.connect()
            self.patch(association, "shutdown", lambda name=name: calls.append(f"shut {name} down"))
            self.patch(association, "abort", lambda name=name: calls.append(f"abort {name}"))
        self.associations.shutdownAll()
        self.associations.abortAll()
        self.assertEqual(self.log, ["ending"])
        self.assertEqual(calls, ["shut first down", "shut second down", "abort first", "abort second"])

    def test_nothingToEnd(self) -> None:
        self.associations.abortAll()
        self.associations.shutdownAll()
        self.assertEqual(self.log, ["ending"])

    def test_late(self) -> None:
        """
        What comes up after the end goes at once.
        """
        self.associations.shutdownAll()
        self.far.connect("192.0.2.1")
        self.network.flush()
        self.assertEqual((self.associations.count, self.log), (0, ["ending", "gone"]))
        self.assertEqual(self.peer.names(), ["made", "lost ConnectionAborted"])

    def test_again(self) -> None:
        """
        Until it listens again.
        """
        self.associations.shutdownAll()
        self.successResultOf(self.associations.listen())
        self.connect()
        self.network.flush()
        self.assertEqual(self.associations.count, 1)
        self.associations.abortAll()
        self.assertEqual(self.log, ["ending", "ending"])

    def test_neverListened(self) -> None:
        """
        Before the first time it takes none.
        """
        associations = Associations((), self.recorder)
        element = self.network.element(associations, "192.0.2.3")
        element.connect("192.0.2.2")
        self.network.flush()
        self.assertEqual(associations.count, 0)


class ListenTests(SynchronousTestCase):
    """
    All places, or none.
    """

    def setUp(self) -> None:
        self.places = [Place(), Place()]
        self.associations = Associations(self.places, Recorder())
        self.log: list[str] = []
        self.associations.onListening = lambda listener: self.log.append(f"listens {listener.host}")
        self.associations.onStopped = lambda listener: self.log.append(f"stopped {listener.host}")
        self.listeners = [Listener("one"), Listener("two")]

    def test_all(self) -> None:
        done = self.associations.listen()
        self.assertEqual([place.asked for place in self.places], [[self.associations]] * 2)
        self.places[1].listening.callback(self.listeners[1])
        self.assertNoResult(done)
        self.places[0].listening.callback(self.listeners[0])
        self.assertEqual(self.successResultOf(done), None)
        self.assertEqual(self.log, ["listens two", "listens one"])
        self.assertEqual(self.associations.listeners, [self.listeners[1], self.listeners[0]])

    def test_oneFails(self) -> None:
        """
        Then none does, and the reason is told when the ports are free again.
        """
        done = self.associations.listen()
        self.places[0].listening.callback(self.listeners[0])
        self.places[1].listening.errback(TransportError("taken"))
        self.assertNoResult(done)
        self.assertEqual(self.log, ["listens one", "stopped one"])
        self.listeners[0].stopped[0].callback(None)
        self.assertEqual(self.failureResultOf(done, TransportError).getErrorMessage(), "taken")
        self.assertEqual(self.associations.listeners, [])

    def test_othersGivenUp(self) -> None:
        """
        One that was still under way is given up.
        """
        done = self.associations.listen()
        self.places[0].listening.errback(TransportError("taken"))
        self.failureResultOf(done, TransportError)
        self.assertEqual([place.cancelled for place in self.places], [0, 1])
        self.assertEqual(self.flushLoggedErrors(CancelledError), [])

    def test_stopped(self) -> None:
        """
        Done when all ports are free, whatever goes wrong with one.
        """
        done = self.associations.listen()
        for place, listener in zip(self.places, self.listeners, strict=True):
            place.listening.callback(listener)
        self.successResultOf(done)
        stopped = self.associations.stopListening()
        self.assertEqual(self.log[2:], ["stopped one", "stopped two"])
        self.listeners[0].stopped[0].errback(TransportError("odd"))
        self.assertNoResult(stopped)
        self.listeners[1].stopped[0].callback(None)
        self.assertEqual(self.successResultOf(stopped), None)
        self.successResultOf(self.associations.stopListening())
        self.assertEqual([len(listener.stopped) for listener in self.listeners], [1, 1])

    def test_stoppedWhileUnderWay(self) -> None:
        done = self.associations.listen()
        self.places[0].listening.callback(self.listeners[0])
        stopped = self.associations.stopListening()
        self.listeners[0].stopped[0].callback(None)
        self.successResultOf(stopped)
        self.failureResultOf(done)
        self.assertEqual(self.places[1].cancelled, 1)
        self.assertEqual(self.associations.listeners, [])

    def test_again(self) -> None:
        for _ in range(2):
            done = self.associations.listen()
            for place, listener in zip(self.places, self.listeners, strict=True):
                place.listening.callback(listener)
            self.successResultOf(done)
            self.assertEqual(self.associations.listeners, self.listeners)
            self.associations.stopListening()
