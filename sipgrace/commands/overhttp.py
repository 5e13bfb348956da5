"""
A controller, as the command line speaks to it: L{sipgrace.controller.web} from the other side.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import treq
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ConnectError, ConnectionLost, DNSLookupError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    BrowserLikePolicyForHTTPS,
    HTTPConnectionPool,
    ResponseFailed,
    ResponseNeverReceived,
)

from sipgrace.control.commands import NotOffered
from sipgrace.control.remote import Unreachable
from sipgrace.control.uplinkcore import UNTRUSTED, plainly
from sipgrace.errors import ConfigError, OrderRefused

__all__ = ["ControllerHTTP", "EventStream", "Fault", "policyOf"]

_BEGIN: Final = b"-----BEGIN CERTIFICATE-----"

#: Without a sign of life for so many seconds (one comes every fifteen) a stream of events is lost.
SILENCE: Final = 40.0


class Fault(Exception):
    """
    What a controller does not answer.
    """


def policyOf(ca: Path | None) -> BrowserLikePolicyForHTTPS:
    """
    @param ca: a PEM file of the certificates that vouch for the controller; by default those that the system
        trusts.
    @raise ConfigError: when there are none in it.
    """
    if ca is None:
        return BrowserLikePolicyForHTTPS()
    try:
        parts = ca.read_bytes().split(_BEGIN)[1:]
        found = [Certificate.loadPEM(_BEGIN + part) for part in parts]
    except Exception as error:
        raise ConfigError(f"{ca}: no certificates can be read from it: {error}") from None
    if not found:
        raise ConfigError(f"{ca}: expected certificates in PEM, found none")
    return BrowserLikePolicyForHTTPS(trustRootFromCertificates(found))


def _plainly(error: BaseException) -> str:
    """
    @return: what a person may have to put right.
    """
    if isinstance(error, VerificationError):
        return "its certificate is not for the host that the URL names"
    if isinstance(error, SSL.Error):
        text = plainly(error)
        return f"{text} (see --ca)" if text == UNTRUSTED else text
    return str(error) or type(error).__name__


class ControllerHTTP:
    """
    Asks a controller. All that is asked fails with L{OrderRefused} when it says no, L{Unreachable} when it,
    or the node that is meant, cannot be reached, L{NotOffered}, or L{Fault}.
    """

    def __init__(
        self, reactor: Any, url: str, token: str, policy: BrowserLikePolicyForHTTPS, timeout: float
    ) -> None:
        """
        @param url: of the controller, as in C{https://controller-120.example.org:7180}.
        @param timeout: seconds within which an answer is expected.
        """
        self.reactor = reactor
        self.url = url.rstrip("/")
        self.timeout = timeout
        self._headers: dict[bytes | str, bytes | str] = {
            "Authorization": f"Bearer {token}",
            "User-Agent": "sipgrace",
        }
        pool = HTTPConnectionPool(reactor, persistent=False)
        self._agent = Agent(reactor, policy, connectTimeout=timeout, pool=pool)

    async def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
    ) -> Any:
        """
        @param path: below C{/api/v1/}.
        @return: what it answers with; C{None} where that is nothing.
        """
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = "application/json"
        found = {key: value for key, value in (query or {}).items() if value not in (None, "")}
        url = f"{self.url}/api/v1/{path}" + (f"?{urlencode(found)}" if found else "")
        data = None if body is None else json.dumps(body).encode("utf-8")
        response = await self._reached(
            treq.request(method, url, headers=headers, data=data, agent=self._agent, reactor=self.reactor)
        )
        content = await self._reached(response.content())
        return self._read(response, content)

    async def _reached(self, asked: Deferred[Any]) -> Any:
        def late(result: object, timeout: float) -> None:
            # A request that is cancelled fails with more than that.
            raise TimeoutError

        try:
            return await asked.addTimeout(self.timeout, IReactorTime(self.reactor), late)
        except TimeoutError:
            raise Unreachable(f"{self.url} has not answered within {self.timeout:g} seconds") from None
        except (ConnectError, ConnectionLost, DNSLookupError) as error:
            raise Unreachable(f"{self.url} cannot be reached: {error}") from None
        except (ResponseFailed, ResponseNeverReceived) as error:
            reasons = [failure.value for failure in error.reasons]
            if any(isinstance(one, CancelledError) for one in reasons):
                raise CancelledError from None
            text = "; ".join(_plainly(one) for one in reasons)
            raise Unreachable(f"{self.url} has not answered: {text}") from None

    def _read(self, response: Any, content: bytes) -> Any:
        if response.code == 204:
            return None
        try:
            facts = json.loads(content)
        except ValueError:
            facts = None
        if response.code < 300 and facts is not None:
            return facts
        detail = facts.get("detail") if isinstance(facts, dict) else None
        if not isinstance(detail, str):
            raise Fault(f"{self.url} does not answer as a controller does (status {response.code})")
        if response.code == 401:
            raise OrderRefused(f"{detail} (see --token-file)")
        if response.code == 501:
            raise NotOffered(detail)
        if response.code in (502, 503, 504):
            raise Unreachable(detail)
        if response.code >= 500:
            raise Fault(f"{self.url}: {detail}")
        raise OrderRefused(detail)

    def events(self, heard: Callable[[str, dict[str, Any]], None]) -> EventStream:
        """
        Begins to read what happens.

        @param heard: called with each event's kind and data.
        """
        return EventStream(self, heard)

    def stream(self, last: str) -> Deferred[Any]:
        """
        Asks for the events.

        @param last: the id of the last that was seen.
        """
        headers = {**self._headers, "Accept": "text/event-stream"}
        if last:
            headers["Last-Event-ID"] = last
        url = f"{self.url}/api/v1/events"
        asked: Deferred[Any] = treq.get(
            url, headers=headers, agent=self._agent, reactor=self.reactor, unbuffered=True
        )
        return asked

    async def streaming(self, last: str) -> Any:
        """
        @return: the response, whose body is the events.
        """
        response = await self._reached(self.stream(last))
        if response.code != 200:
            self._read(response, await self._reached(response.content()))
            raise Fault(f"{self.url} has no events")
        return response


class _Lines(Protocol):
    """
    Takes a stream of events apart.
    """

    def __init__(self, told: Callable[[str, str, str], None], quiet: Callable[[], None]) -> None:
        self._told = told
        self._quiet = quiet
        self._data = b""
        self.ended: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        """
        See C{IProtocol}.
        """
        self._quiet()
        *blocks, self._data = (self._data + data).split(b"\n\n")
        for block in blocks:
            fields: dict[str, str] = {}
            for line in block.decode("utf-8", "replace").split("\n"):
                name, colon, value = line.partition(": ")
                if colon and name:
                    fields[name] = value
            if "event" in fields:
                self._told(fields.get("id", ""), fields["event"], fields.get("data", "null"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        See C{IProtocol}.
        """
        if not self.ended.called:
            self.ended.callback(None)


class EventStream:
    """
    Events, taken up again where they broke off.

    @ivar started: fires when it has begun; fails like all that is asked.
    @ivar lost: fires, with why, when it could not be taken up again.

    @cvar TRIES: so often it is tried, with a second between two.
    """

    TRIES = 20

    def __init__(self, controller: ControllerHTTP, heard: Callable[[str, dict[str, Any]], None]) -> None:
        self._controller = controller
        self._heard = heard
        self._last = ""
        self._stopped = False
        self._begun = False
        self.started: Deferred[None] = Deferred()
        self.lost: Deferred[str] = Deferred()
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(self._failed)

    def stop(self) -> None:
        """
        Reads no further.
        """
        self._stopped = True
        self._running.cancel()

    async def _run(self) -> None:
        missed = 0
        while not self._stopped:
            try:
                response = await self._controller.streaming(self._last)
                missed = 0
                await self._read(response)
                why = f"{self._controller.url} has ended the stream of events"
            except Unreachable as error:
                if not self._begun:
                    raise
                missed += 1
                why = str(error)
            if missed >= self.TRIES:
                if not self.lost.called:
                    self.lost.callback(why)
                return
            await deferLater(IReactorTime(self._controller.reactor), 1.0)

    async def _read(self, response: Any) -> None:
        clock = IReactorTime(self._controller.reactor)
        lines = _Lines(self._told, lambda: silence.reset(SILENCE))

        def cut() -> None:
            # There is no other way to let go of a response.
            transport = response.original._transport
            end = getattr(transport, "loseConnection", None) or transport.abortConnection
            end()

        silence = clock.callLater(SILENCE, cut)
        response.deliverBody(lines)
        try:
            await lines.ended
        except CancelledError:
            cut()
            raise
        finally:
            if silence.active():
                silence.cancel()

    def _told(self, id: str, kind: str, data: str) -> None:
        self._last = id or self._last
        if kind == "hello" and not self._begun:
            self._begun = True
            self.started.callback(None)
        try:
            facts = json.loads(data)
        except ValueError:
            return
        self._heard(kind, facts)

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        if not self._begun:
            self.started.errback(failure)
        elif not self.lost.called:
            self.lost.callback(failure.getErrorMessage())
