"""
Alerts posted to an address on the web.
"""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers

from sipgrace.transport.backoff import Backoff

__all__ = ["Webhook"]

#: So many alerts wait; the oldest of more is left out.
MOST: Final = 100

#: An alert is posted so often before it is left out: for about half an hour.
TRIES: Final = 30

#: An answer is expected within so many seconds.
TIMEOUT: Final = 10.0

#: Answers to one that cannot be had by trying again; of the others of the family 4xx none can.
_AGAIN: Final = (408, 425, 429)


class Webhook:
    """
    Posts JSON objects, one after another, each until it is taken.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        client: HTTPClient,
        url: str,
        backoff: Backoff | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """
        @param client: of treq.
        @param chance: gives a number from 0.0 up to 1.0.
        """
        self._clock = clock
        self._client = client
        self._url = url
        self._backoff = Backoff() if backoff is None else backoff
        self._chance = chance
        self._waiting: deque[bytes] = deque()
        self._failures = 0
        self._posting: Deferred[Any] | None = None
        self._call: IDelayedCall | None = None
        self._stopped = False

    def __call__(self, facts: Mapping[str, Any]) -> None:
        """
        Posts an alert, now or soon.
        """
        if len(self._waiting) >= MOST:
            self._waiting.popleft()
            self._failures = 0
            self._log.error("{url} takes nothing: the oldest alert is left out", url=self._url)
        self._waiting.append(json.dumps(facts, ensure_ascii=False).encode("utf-8"))
        self._post()

    def stop(self) -> None:
        """
        Posts nothing more.
        """
        self._stopped = True
        if self._call is not None and self._call.active():
            self._call.cancel()
        if self._posting is not None:
            self._posting.cancel()

    def _post(self) -> None:
        busy = self._posting is not None or (self._call is not None and self._call.active())
        if busy or self._stopped or not self._waiting:
            return
        body = self._waiting[0]
        posting = self._posting = Deferred.fromCoroutine(self._postOne(body))
        posting.addTimeout(TIMEOUT, self._clock)
        posting.addErrback(self._notPosted).addCallback(self._posted, body)

    async def _postOne(self, body: bytes) -> str:
        headers = Headers({b"Content-Type": [b"application/json"], b"User-Agent": [b"sipgrace"]})
        response = await self._client.post(self._url, data=body, headers=headers, allow_redirects=False)
        # The connection is free for the next only when the answer has been read.
        await response.content()
        if 200 <= response.code < 300:
            return ""
        if 400 <= response.code < 500 and response.code not in _AGAIN:
            self._log.error("{url} answered {code}: an alert is left out", url=self._url, code=response.code)
            return ""
        return f"answered {response.code}"

    def _notPosted(self, failure: Failure) -> str:
        return failure.getErrorMessage() or repr(failure.value)

    def _posted(self, why: str, body: bytes) -> None:
        self._posting = None
        if self._stopped:
            return
        if not why:
            self._failures = 0
            self._leave(body)
            self._post()
            return
        self._failures += 1
        if self._failures >= TRIES:
            self._log.error("{url}: {why}; an alert is left out", url=self._url, why=why)
            self._failures = 0
            self._leave(body)
        delay = self._backoff.delay(max(0, self._failures - 1), self._chance)
        self._log.warn("{url}: {why}; again in {delay:.0f} s", url=self._url, why=why, delay=delay)
        self._call = self._clock.callLater(delay, self._post)

    def _leave(self, body: bytes) -> None:
        # It may have been left out already, for want of room.
        if self._waiting and self._waiting[0] is body:
            self._waiting.popleft()
