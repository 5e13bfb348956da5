"""
Requests whose bodies are bounded, and what is read from them.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

from pydantic import BaseModel, TypeAdapter
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure
from twisted.web.server import Request

from sipgrace.controller.web.problems import Problem, Rejected

__all__ = ["LONGEST", "BoundedRequest", "abort", "bodyOf", "queryOf"]

_Model = TypeVar("_Model", bound=BaseModel)

#: The longest body, in bytes.
LONGEST: Final = 65_536

#: Whoever goes on sending is answered, and cut off, after so much.
_PATIENCE: Final = 1_048_576

#: Then, so many seconds are left to read the answer, while what still comes is thrown away: a connection that
#: is closed at once would take the answer with it.
_LINGER: Final = 2.0

_TOO_LONG: Final = Problem(413, f"a body of at most {LONGEST} bytes is expected")


class BoundedRequest(Request):
    """
    Keeps no more of a body than L{LONGEST}.

    @ivar tooLong: whether there was more.
    """

    tooLong = False
    _arrived = 0
    _lingering: IDelayedCall | None = None

    def gotLength(self, length: int | None) -> None:
        """
        See C{twisted.web.iweb.IRequest}.
        """
        if length is not None and length > LONGEST:
            self.tooLong = True
            length = 0
        super().gotLength(length)

    def handleContentChunk(self, data: bytes) -> None:
        """
        See C{twisted.web.http.Request}.
        """
        self._arrived += len(data)
        if self._arrived > LONGEST:
            self.tooLong = True
        if self._arrived > _PATIENCE:
            self._cutOff()
        elif not self.tooLong:
            super().handleContentChunk(data)

    def _cutOff(self) -> None:
        channel: Any = self.channel
        if self._lingering is not None or channel is None:
            return
        body = _TOO_LONG.body()
        channel.transport.write(
            b"HTTP/1.1 413 Request Entity Too Large\r\nConnection: close\r\nCache-Control: no-store\r\n"
            b"Content-Type: application/problem+json\r\nX-Content-Type-Options: nosniff\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        self._lingering = channel.callLater(_LINGER, abort, self)

    def process(self) -> None:
        """
        See C{twisted.web.http.Request}.
        """
        if self._lingering is None:
            super().process()
        elif self.channel is not None:
            # All has come, and nothing is left that could take the answer with it.
            self.channel.loseConnection()

    def connectionLost(self, reason: Failure) -> None:
        """
        See C{twisted.web.http.Request}.
        """
        if self._lingering is not None and self._lingering.active():
            self._lingering.cancel()
        super().connectionLost(reason)


def abort(request: Any) -> None:
    """
    Ends its connection at once, whatever is on the way.
    """
    if request.channel is not None:
        request.channel.transport.abortConnection()


def bodyOf(request: Any, model: TypeAdapter[Any]) -> Any:
    """
    @return: the body, as the model has it.
    @raise Rejected: when it is too long, or no JSON is said to come.
    @raise pydantic.ValidationError: when it is not what is expected.
    """
    if request.tooLong:
        raise Rejected(_TOO_LONG.status, _TOO_LONG.detail)
    kind = (request.getHeader("content-type") or "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Rejected(415, f"Content-Type: application/json is expected, found {kind[:50] or 'none'}")
    return model.validate_json(request.content.read())


def queryOf(request: Any, model: type[_Model]) -> _Model:
    """
    @return: what stands behind the question mark, as the model has it.
    @raise pydantic.ValidationError: when it is not what is expected.
    """
    found: dict[str, str] = {}
    for name, values in request.args.items():
        key = name.decode("utf-8", "replace")[:50]
        if len(values) > 1:
            raise Rejected(400, f"{key}: expected once")
        found[key] = values[0].decode("utf-8", "replace")
    return model.model_validate_strings(found)
