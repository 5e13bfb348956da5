"""
Where registered users are (RFC 3261 §10): kept in memory for the calls, and in a file so that a restart
forgets nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol
from weakref import ReferenceType

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from sipgrace.errors import ParseError
from sipgrace.interfaces import IAssociation
from sipgrace.message.uri import SIPURI, parseURI
from sipgrace.proxy.target import hopOf

__all__ = ["Binding", "Bindings", "Keeper", "Record", "Source"]

Record = tuple[bytes, bytes]
"""An address of record: user without escapes, host in lower case, as L{sipgrace.proxy.glance} has them."""

#: Seconds between two looks for what has ended.
_SWEEP: Final = 60.0

_Key = tuple[bytes, bytes, bytes, int | None]

#: In place of a port: over a connection the user and the host are enough, for who opens one has a port for
#: that alone, and may name it in one place and not in another.
_ANY: Final = -1


class Source(NamedTuple):
    """
    Where a REGISTER came from over UDP: behind a NAT, the way back is from the same listener to the same
    address and no other.

    @ivar via: the listener's, see L{sipgrace.interfaces.IListener}.
    """

    via: bytes
    host: str
    port: int


class Binding(NamedTuple):
    """
    One place where a user can be reached.

    @ivar uri: the contact's URI, as it was registered.
    @ivar expires: until when, in seconds since the epoch.
    @ivar callId: of the REGISTER that made it; C{cseq} likewise.
    @ivar q: its preference in thousandths, from 0 to 1000.
    @ivar source: where it came from over UDP, where that is the way to it.
    @ivar connection: the connection it came over, where that is the way to it. No file keeps it.
    """

    uri: bytes
    expires: float
    callId: bytes
    cseq: int
    q: int = 1000
    source: Source | None = None
    connection: ReferenceType[IAssociation] | None = None


class Keeper(Protocol):
    """
    What keeps bindings from one start to the next.
    """

    def load(self, now: float) -> Deferred[list[tuple[Record, Binding]]]:
        """
        Opens it.

        @return: what has not ended yet, those of one user in their order; fails with
            L{sipgrace.errors.ConfigError} when it cannot be used.
        """

    def write(self, changes: Mapping[Record, Sequence[Binding]]) -> Deferred[None]:
        """
        Puts these in the place of all that there was of the same users: all or nothing.

        @return: fires when they would outlive the process.
        """

    def expire(self, now: float) -> Deferred[None]:
        """
        Takes out what has ended.
        """

    def close(self) -> None:
        """
        Lets go of it.
        """


class Bindings:
    """
    Every binding there is. What is changed while a change is being written is written together.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        time: Callable[[], float],
        keeper: Keeper,
        wanted: Callable[[Record], bool] = lambda record: True,
    ) -> None:
        """
        @param time: seconds since the epoch.
        @param wanted: whether somebody may still be registered: all that was kept of others is taken out.
        """
        self._time = time
        self._wanted = wanted
        self._keeper = keeper
        self._known: dict[Record, tuple[Binding, ...]] = {}
        # Those that have a way of their own, by what stands in a Request-URI.
        self._ways: dict[_Key, list[Binding]] = {}
        self._queue: list[tuple[Record, tuple[Binding, ...], Deferred[None]]] = []
        self._writing = 0
        self._sweeping = LoopingCall(self._sweep)
        self._sweeping.clock = clock

    def open(self) -> Deferred[None]:
        """
        Reads what was kept.

        @return: fails with L{sipgrace.errors.ConfigError} when that cannot be done.
        """
        return self._keeper.load(self._time()).addCallback(self._opened)

    def _opened(self, rows: Iterable[tuple[Record, Binding]]) -> None:
        known: dict[Record, list[Binding]] = {}
        for record, binding in rows:
            known.setdefault(record, []).append(binding)
        for record in [record for record in known if not self._wanted(record)]:
            del known[record]
            user, domain = (part.decode("utf-8", "replace") for part in record)
            self.log.info("{user} of {domain} has no account any more: forgotten", user=user, domain=domain)
            self.replace(record, ()).addErrback(self._notExpired)
        for record, bindings in known.items():
            self._keep(record, tuple(bindings))
        self.log.info("{count} users are registered", count=len(known))
        self._sweeping.start(_SWEEP, now=False)

    def close(self) -> None:
        """
        Ends what would keep a reactor busy. What is being written is written first.
        """
        if self._sweeping.running:
            self._sweeping.stop()
        self._keeper.close()

    @property
    def waiting(self) -> int:
        """
        How many changes are not in the file yet.
        """
        return self._writing + len(self._queue)

    def of(self, record: Record) -> list[Binding]:
        """
        @return: where a user is now, the preferred place first, and the newer one of equals.
        """
        known = self._known.get(record)
        if known is None:
            return []
        now = self._time()
        current = [binding for binding in reversed(known) if binding.expires > now]
        return sorted(current, key=lambda binding: -binding.q)

    def at(self, uri: SIPURI) -> Binding | None:
        """
        @param uri: a Request-URI, such as those of a dialog's requests: what a user's telephone has put into
            its Contact.
        @return: the binding whose way leads there, where there is just one way.
        """
        found = [*self._ways.get(_key(uri), ()), *self._ways.get(_key(uri, _ANY), ())]
        if not found:
            return None
        now = self._time()
        ways: dict[tuple[Source | None, int], Binding] = {}
        for binding in found:
            connection = None if binding.connection is None else binding.connection()
            if binding.expires > now and (binding.source is not None or connection is not None):
                ways[binding.source, id(connection)] = binding
        return next(iter(ways.values())) if len(ways) == 1 else None

    def replace(self, record: Record, bindings: Iterable[Binding]) -> Deferred[None]:
        """
        All bindings of a user, the older ones first.

        @return: fires when they are in the file, and count; fails with what kept them from getting there, and
            then nothing has changed.
        """
        done: Deferred[None] = Deferred()
        self._queue.append((record, tuple(bindings), done))
        if not self._writing:
            self._write()
        return done

    def _write(self) -> None:
        batch, self._queue = self._queue, []
        self._writing = len(batch)
        changes = {record: bindings for record, bindings, _ in batch}
        try:
            written = self._keeper.write(changes)
        except Exception:
            self._failed(Failure(), batch)
        else:
            written.addCallback(self._written, batch).addErrback(self._failed, batch)

    def _written(
        self, ignored: None, batch: list[tuple[Record, tuple[Binding, ...], Deferred[None]]]
    ) -> None:
        for record, bindings, _ in batch:
            self._keep(record, bindings)
        self._goOn()
        for _, _, done in batch:
            done.callback(None)

    def _failed(
        self, reason: Failure, batch: list[tuple[Record, tuple[Binding, ...], Deferred[None]]]
    ) -> None:
        self._goOn()
        for _, _, done in batch:
            done.errback(reason)

    def _goOn(self) -> None:
        self._writing = 0
        if self._queue:
            self._write()

    def _keep(self, record: Record, bindings: tuple[Binding, ...]) -> None:
        for binding in self._known.get(record, ()):
            key = _keyOf(binding)
            if key is not None:
                ways = self._ways[key]
                ways.remove(binding)
                if not ways:
                    del self._ways[key]
        for binding in bindings:
            key = _keyOf(binding)
            if key is not None:
                self._ways.setdefault(key, []).append(binding)
        if bindings:
            self._known[record] = bindings
        else:
            self._known.pop(record, None)

    def _sweep(self) -> None:
        now = self._time()
        for record, bindings in list(self._known.items()):
            current = tuple(binding for binding in bindings if binding.expires > now)
            if len(current) != len(bindings):
                self._keep(record, current)
        try:
            self._keeper.expire(now).addErrback(self._notExpired)
        except Exception:
            self._notExpired(Failure())

    def _notExpired(self, reason: Failure) -> None:
        self.log.warn("registrations that have ended stay in the file: {reason}", reason=reason.value)

    def counts(self) -> dict[str, int]:
        """
        How many users are registered, and in how many places; those that ended a minute ago at most may be
        among them.
        """
        return {"users": len(self._known), "bindings": sum(map(len, self._known.values()))}


def _key(uri: SIPURI, port: int | None = None) -> _Key:
    return hopOf(uri).transport, uri.user, uri.host.lower(), port or uri.port


def _keyOf(binding: Binding) -> _Key | None:
    if binding.source is None and binding.connection is None:
        return None
    try:
        uri = parseURI(binding.uri)
    except ParseError:
        return None
    if not isinstance(uri, SIPURI):
        return None
    return _key(uri) if binding.connection is None else _key(uri, _ANY)
