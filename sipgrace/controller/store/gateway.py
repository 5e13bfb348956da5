"""
etcd's v3 API through its JSON gateway (U{https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/}): keys and
values are base64, 64-bit numbers are texts.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.http_headers import Headers

from sipgrace.errors import StoreError

__all__ = ["Found", "Gateway", "delete", "isAt", "isNew", "lookUp", "put"]

_HEADERS: Final = Headers({b"Content-Type": [b"application/json"]})


@dataclass(frozen=True, slots=True)
class Found:
    """
    A key and its value.

    @ivar revision: at which revision of the whole store it was changed last.
    """

    key: str
    value: bytes
    revision: int


def _text(value: str | bytes) -> str:
    return b64encode(value.encode() if isinstance(value, str) else value).decode("ascii")


def put(key: str, value: str, lease: int = 0) -> dict[str, Any]:
    """
    @param lease: with which the key goes; 0 for none.
    @return: a part of a transaction that sets a key.
    """
    return {"request_put": {"key": _text(key), "value": _text(value), "lease": str(lease)}}


def delete(key: str, end: str = "") -> dict[str, Any]:
    """
    @return: a part of a transaction that removes a key, or all from there up to C{end}.
    """
    return {"request_delete_range": {"key": _text(key)} | ({"range_end": _text(end)} if end else {})}


def lookUp(key: str, end: str = "", limit: int = 0, keysOnly: bool = False) -> dict[str, Any]:
    """
    @return: a part of a transaction that reads a key, or all from there up to C{end}, in their order.
    """
    asked: dict[str, Any] = {"key": _text(key)}
    if end:
        asked["range_end"] = _text(end)
    if limit:
        asked["limit"] = str(limit)
    if keysOnly:
        asked["keys_only"] = True
    return {"request_range": asked}


def isAt(key: str, revision: int) -> dict[str, Any]:
    """
    @param revision: 0 for a key that is not there.
    @return: a condition: the key was changed last at this revision.
    """
    return {"key": _text(key), "target": "MOD", "result": "EQUAL", "mod_revision": str(revision)}


def isNew(key: str) -> dict[str, Any]:
    """
    @return: a condition: there is no such key.
    """
    return isAt(key, 0)


class Gateway:
    """
    One etcd, at one address or more: where one does not answer, the next is asked from then on.
    """

    def __init__(
        self, clock: IReactorTime, client: HTTPClient, urls: Sequence[str], timeout: float = 5.0
    ) -> None:
        """
        @param client: of treq.
        @param urls: at least one: C{http://127.0.0.1:2379}.
        @param timeout: seconds within which an answer is expected.
        """
        self._clock = clock
        self._client = client
        self._urls = [url.rstrip("/") for url in urls]
        self._at = 0
        self._timeout = timeout

    async def call(self, path: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """
        @return: what etcd answers.
        @raise StoreError: where it does not, or with an error. What was asked may have been done all the
            same.
        """
        url = self._urls[self._at % len(self._urls)]
        try:
            status, body = await Deferred.fromCoroutine(self._post(url + path, asked)).addTimeout(
                self._timeout, self._clock
            )
            answer = json.loads(body)
        except Exception as error:
            self._at += 1
            raise StoreError(f"etcd at {url} does not answer: {error or type(error).__name__}") from None
        if not isinstance(answer, dict):
            raise StoreError(f"etcd at {url} answers what cannot be read: {body[:80]!r}")
        if status != 200:
            if status >= 500:
                # Without a leader, for instance, which the next may have.
                self._at += 1
            why = answer.get("error") or body[:200].decode("utf-8", "replace")
            raise StoreError(f"etcd at {url} answers {status}: {why}")
        return answer

    async def _post(self, url: str, asked: Mapping[str, Any]) -> tuple[int, bytes]:
        response = await self._client.post(url, data=json.dumps(asked).encode("ascii"), headers=_HEADERS)
        return response.code, await response.content()

    async def transact(
        self, *parts: Mapping[str, Any], when: Sequence[Mapping[str, Any]] = ()
    ) -> list[list[Found]] | None:
        """
        Does all parts as one step, if all conditions hold.

        @param when: the conditions.
        @return: what each part has read (nothing, for those that write); C{None} where a condition did not
            hold, and nothing was done.
        """
        answer = await self.call("/v3/kv/txn", {"compare": list(when), "success": list(parts)})
        if not answer.get("succeeded"):
            return None
        return [_found(one.get("response_range") or {}) for one in answer.get("responses", ())]

    async def read(self, key: str, end: str = "", limit: int = 0, keysOnly: bool = False) -> list[Found]:
        """
        @return: a key, or all from there up to C{end}, in their order.
        """
        return _found(
            await self.call("/v3/kv/range", lookUp(key, end, limit, keysOnly)["request_range"])
        )

    async def count(self, key: str, end: str) -> int:
        """
        @return: how many keys there are from there up to C{end}.
        """
        asked = lookUp(key, end)["request_range"] | {"count_only": True}
        return int((await self.call("/v3/kv/range", asked)).get("count", 0))

    async def grant(self, seconds: int) -> int:
        """
        @return: a new lease, which ends after so many seconds unless it is kept alive.
        """
        return int((await self.call("/v3/lease/grant", {"TTL": str(seconds)}))["ID"])

    async def keepAlive(self, lease: int) -> bool:
        """
        @return: whether the lease was there still; it begins anew then.
        """
        answer = await self.call("/v3/lease/keepalive", {"ID": str(lease)})
        return int((answer.get("result") or {}).get("TTL", 0)) > 0

    async def revoke(self, lease: int) -> None:
        """
        Ends a lease, and all keys that go with it.
        """
        await self.call("/v3/lease/revoke", {"ID": str(lease)})


def _found(answer: Mapping[str, Any]) -> list[Found]:
    return [
        Found(
            b64decode(one["key"]).decode("utf-8"),
            b64decode(one.get("value", "")),
            int(one.get("mod_revision", 0)),
        )
        for one in answer.get("kvs", ())
    ]
