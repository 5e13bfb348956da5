"""
A client's interface as the registrar of its users (RFC 3261 §10).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from sipgrace.client.bindings import Binding, Bindings, Record, Source
from sipgrace.client.digest import Digest
from sipgrace.client.registration import contactHeader, isInOrder, preferenceOf, secondsOf, withWay
from sipgrace.client.users import Contact, contactOf
from sipgrace.errors import ParseError
from sipgrace.interfaces import IAssociation
from sipgrace.message.derive import respond
from sipgrace.message.headers import Date, NameAddr
from sipgrace.message.message import Request
from sipgrace.message.uri import SIPURI, parseURI, sameURI
from sipgrace.proxy.glance import glance
from sipgrace.proxy.identity import Identity
from sipgrace.proxy.target import PORTS, hopOf
from sipgrace.transaction.noninviteserver import NonInviteServer
from sipgrace.transport.oncepersecond import gateOf

__all__ = ["Registrar", "RegistrarSettings"]

#: RFC 3261 §10.3 step 7: nobody who asked for an hour or more may be told that it is too brief.
_HOUR: Final = 3600

#: The longest contact, in bytes: all those of one user have to fit into one datagram.
_LONGEST: Final = 500

#: The most changes that wait for the file, and the most of one user; with more it is busy.
_WAITING: Final = 1000
_OF_ONE: Final = 10


@dataclass(frozen=True, slots=True)
class RegistrarSettings:
    """
    All times in seconds.

    @ivar domains: whose users register here, in lower case; requests for this element's own addresses are for
        the first of them.
    @ivar users: the user parts of those who may register.
    @ivar usual: how long a registration lasts that does not say.
    @ivar shortest: how long one lasts at least; C{longest} at most.
    @ivar most: in how many places one user may be at a time.
    """

    domains: tuple[bytes, ...]
    users: Collection[bytes]
    usual: int = 3600
    shortest: int = 60
    longest: int = 7200
    most: int = 10


class _Refused(Exception):
    """
    A final answer other than 200.
    """

    def __init__(self, status: int, *headers: tuple[bytes, bytes], reason: bytes | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers
        self.reason = reason


class Registrar:
    """
    Answers REGISTER, and knows where those are who have registered.

    @ivar refused: how many requests had credentials that were worth nothing.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        identity: Identity,
        bindings: Bindings,
        digest: Digest,
        settings: RegistrarSettings,
        time: Callable[[], float],
        zone: str,
        peer: Callable[[Source], IAssociation | None],
    ) -> None:
        """
        @param time: seconds since the epoch.
        @param zone: the side whose users may register.
        @param peer: finds the UDP peer that a REGISTER came from; C{None} where its listener has gone.
        """
        self._clock = clock
        self._identity = identity
        self._bindings = bindings
        self._digest = digest
        self._settings = settings
        self._time = time
        self._zone = zone
        self._peer = peer
        # One change after the other for each user (RFC 3261 §10.3: each is atomic).
        self._locks: dict[Record, DeferredLock] = {}
        self.refused = 0

    # ------------------------------------------------------------------ REGISTER

    def registerReceived(self, transaction: NonInviteServer, request: Request) -> bool:
        """
        A REGISTER came.

        @return: whether it was for this registrar, and is answered now or soon; those for other domains go on
            as any request does.
        """
        if transaction.association.zone != self._zone:
            return False
        try:
            if not self._isOurs(request):
                return False
        except ParseError as error:
            transaction.respond(respond(request, error.status, error.reason.encode("ascii", "replace")))
            return True
        Deferred.fromCoroutine(self._answer(transaction, request))
        return True

    def _isOurs(self, request: Request) -> bool:
        for route in request.elements(b"Route"):
            if self._identity.zoneOfRoute(route) is None:
                return False
        uri = parseURI(request.uri)
        return isinstance(uri, SIPURI) and self._domainOf(uri) is not None

    def _domainOf(self, uri: SIPURI) -> bytes | None:
        """
        The domain of ours that a URI is in.
        """
        host = glance(bytes(uri))[2]
        if host in self._settings.domains:
            return host
        return self._settings.domains[0] if self._identity.zoneOf(uri) is not None else None

    async def _answer(self, transaction: NonInviteServer, request: Request) -> None:
        headers: list[tuple[bytes, bytes]] = []
        try:
            status, reason, headers = 200, None, await self._register(request, transaction.association)
        except ParseError as error:
            status, reason = error.status, error.reason.encode("ascii", "replace")
        except _Refused as refused:
            status, reason, headers = refused.status, refused.reason, list(refused.headers)
        except Exception:
            # Somebody waits for an answer.
            self.log.failure("a registration failed")
            status, reason = 500, None
        transaction.respond(respond(request, status, reason, headers=headers))

    async def _register(self, request: Request, association: IAssociation) -> list[tuple[bytes, bytes]]:
        """
        RFC 3261 §10.3, step by step.
        """
        required = request.elements(b"Require")
        if required:
            raise _Refused(420, (b"Unsupported", b", ".join(required)))
        user = self._authenticated(request, association)
        record = self._record(request)
        if record[0] != user:
            # Nobody registers for somebody else.
            raise _Refused(403)
        contacts = request.elements(b"Contact")
        if contacts:
            await self._change(record, request, contacts, association)
        now = self._time()
        headers = [(b"Contact", contactHeader(binding, now)) for binding in self._bindings.of(record)]
        return [*headers, (b"Date", bytes(Date(int(now))))]

    def _authenticated(self, request: Request, association: IAssociation) -> bytes:
        stale = False
        given = request.getAll(b"Authorization")
        for value in given:
            checked = self._digest.check(value, request.method, request.uri)
            if checked.user:
                return checked.user
            stale = stale or checked.stale
        user = glance(bytes(NameAddr.parse(request.toValue).uri))[1]
        if given and not stale:
            self.refused += 1
            if gateOf(self._clock).passes(association.peerHost, self._clock.seconds()):
                self.log.warn(
                    "{peer} is not registered as {user}: wrong credentials",
                    peer=association.peerHost,
                    user=user.decode("utf-8", "backslashreplace"),
                )
        raise _Refused(
            401, *((b"WWW-Authenticate", challenge) for challenge in self._digest.challenges(user, stale))
        )

    def _record(self, request: Request) -> Record:
        uri = NameAddr.parse(request.toValue).uri
        domain = self._domainOf(uri) if isinstance(uri, SIPURI) else None
        if domain is None:
            raise _Refused(404)
        return glance(bytes(uri))[1], domain

    async def _change(
        self, record: Record, request: Request, contacts: list[bytes], association: IAssociation
    ) -> None:
        """
        Steps 6 and 7: all or nothing, and not before those that came earlier.
        """
        lock = self._locks.get(record) or DeferredLock()
        if len(lock.waiting) >= _OF_ONE or self._bindings.waiting >= _WAITING:
            raise _Refused(503, (b"Retry-After", b"5"))
        self._locks[record] = lock
        await lock.acquire()
        try:
            known = list(reversed(self._bindings.of(record)))
            kept = self._changed(request, contacts, known, association)
            try:
                await self._bindings.replace(record, kept)
            except Exception as error:
                self.log.error("a registration could not be kept: {error}", error=error)
                raise _Refused(500, reason=b"Registration Could Not Be Kept") from None
        finally:
            lock.release()
            if not lock.locked and self._locks.get(record) is lock:
                del self._locks[record]

    def _changed(
        self, request: Request, contacts: list[bytes], known: list[Binding], association: IAssociation
    ) -> list[Binding]:
        asked = secondsOf(request.get(b"Expires"))
        if contacts == [b"*"]:
            if asked != 0:
                raise _Refused(400, reason=b"Contact * Without Expires: 0")
            if not all(isInOrder(request, binding) for binding in known):
                raise _Refused(500, reason=b"REGISTER Out Of Order")
            return []
        if b"*" in contacts:
            raise _Refused(400, reason=b"Contact * Among Others")
        if len(contacts) > 2 * self._settings.most:
            # Those that end and those that begin; what is more is no telephone.
            raise _Refused(403, reason=b"Too Many Contacts")
        now = self._time()
        kept = known
        for contact in contacts:
            address = NameAddr.parse(contact)
            uri = self._place(address.uri)
            seconds = self._lasting(secondsOf(address.param(b"expires"), asked))
            former = [binding for binding in kept if sameURI(parseURI(binding.uri), uri)]
            # (The same contact twice in one request is the later one of the two.)
            if not all(isInOrder(request, binding) for binding in former if binding in known):
                raise _Refused(500, reason=b"REGISTER Out Of Order")
            kept = [binding for binding in kept if binding not in former]
            if seconds:
                q = preferenceOf(address.param(b"q"))
                binding = Binding(bytes(uri), now + seconds, request.callId, request.cseq, q)
                kept.append(withWay(binding, uri, request, association))
        if len(kept) > self._settings.most:
            raise _Refused(403, reason=b"Registered In Too Many Places")
        return kept

    def _place(self, uri: object) -> SIPURI:
        """
        A contact that calls can be sent to.
        """
        if not isinstance(uri, SIPURI):
            raise _Refused(400, reason=b"Contact That Is No SIP URI")
        if len(bytes(uri)) > _LONGEST:
            raise _Refused(400, reason=b"Contact Too Long")
        if hopOf(uri).transport not in PORTS:
            raise _Refused(400, reason=b"Contact With Unknown Transport")
        if self._identity.zoneOf(uri) is not None or glance(bytes(uri))[2] in self._settings.domains:
            raise _Refused(403, reason=b"Contact That Leads Back Here")
        return uri

    def _lasting(self, asked: int | None) -> int:
        settings = self._settings
        if asked is None:
            return settings.usual
        if 0 < asked < min(settings.shortest, _HOUR):
            raise _Refused(423, (b"Min-Expires", b"%d" % settings.shortest))
        return min(asked, settings.longest)

    # ------------------------------------------------------------------ calls (see client.users.Registered)

    def places(self, uri: bytes) -> list[Contact]:
        """
        Where the user of a Request-URI is registered, the preferred place first.
        """
        record = self._recordOf(uri)
        if record is None:
            return []
        return [
            contactOf(SIPURI.parse(binding.uri), self._way(binding)) for binding in self._bindings.of(record)
        ]

    def way(self, uri: SIPURI) -> IAssociation | None:
        """
        The way to a telephone, where it is none that its URI names: that by which it registered.
        """
        binding = self._bindings.at(uri)
        return None if binding is None else self._way(binding)

    def knows(self, uri: bytes) -> bool:
        """
        Whether the user of a Request-URI may register here.
        """
        record = self._recordOf(uri)
        return record is not None and record[0] in self._settings.users

    def _recordOf(self, uri: bytes) -> Record | None:
        _, user, host = glance(uri)
        if host in self._settings.domains:
            return user, host
        try:
            parsed = parseURI(uri)
        except ParseError:
            return None
        if isinstance(parsed, SIPURI) and self._identity.zoneOf(parsed) is not None:
            return user, self._settings.domains[0]
        return None

    def _way(self, binding: Binding) -> IAssociation | None:
        found = None
        if binding.connection is not None:
            found = binding.connection()
        elif binding.source is not None:
            found = self._peer(binding.source)
        return found if found is not None and found.up else None

    def status(self) -> dict[str, Any]:
        """
        How things stand, for display; everything in it fits JSON.
        """
        return {**self._bindings.counts(), "refused": self.refused}
