"""
The HTTP API of a controller, as the demo's operator uses it.
"""

from __future__ import annotations

import json
from typing import Any

from treq.client import HTTPClient
from twisted.internet.defer import TimeoutError
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.web.client import Agent, HTTPConnectionPool, ResponseFailed

from sipgrace.demo.children import DemoError

__all__ = ["API", "NotReached", "Refused"]

#: Seconds that an answer may take.
ANSWER = 15.0


class NotReached(DemoError):
    """
    The controller did not answer.
    """


class Refused(DemoError):
    """
    The controller, or a node, refused what was asked for.
    """


class API:
    """
    One controller.

    @ivar page: where it is, for a browser as well.
    """

    def __init__(self, reactor: Any, name: str, page: str, token: str) -> None:
        """
        @param token: the operator's.
        """
        self.page = page
        self._name = name
        self._headers: dict[bytes | str, bytes | str] = {"Authorization": f"Bearer {token}"}
        # A controller that has begun again knows nothing of old connections.
        pool = HTTPConnectionPool(reactor, persistent=False)
        self._client = HTTPClient(Agent(reactor, pool=pool, connectTimeout=ANSWER))

    async def get(self, path: str) -> Any:
        """
        @param path: behind C{/api/v1/}.
        @raise Refused: where it is refused.
        @raise NotReached: where there is no answer.
        """
        return await self._ask("GET", path, {})

    async def post(self, path: str, **values: Any) -> Any:
        """
        The same, to have something done.
        """
        return await self._ask("POST", path, {"json": values})

    async def _ask(self, method: str, path: str, more: dict[str, Any]) -> Any:
        url = f"{self.page}api/v1/{path}"
        try:
            response = await self._client.request(
                method, url, headers=self._headers, timeout=ANSWER, **more
            )
            answer = json.loads(await response.text())
        except (ConnectError, ConnectionClosed, ResponseFailed, TimeoutError) as error:
            why = str(error) or type(error).__name__
            raise NotReached(f"{self._name} does not answer at {url}: {why}") from error
        except ValueError as error:
            raise DemoError(f"{self._name} answers {url} with what is no JSON: {error}") from error
        if response.code >= 300:
            raise Refused(f"{self._name} refuses {method} {path}: {answer.get('detail', response.code)}")
        return answer
