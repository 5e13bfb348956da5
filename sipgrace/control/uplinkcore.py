"""
What the states of a node's link to a controller share. The states themselves are in
L{sipgrace.control.uplinkmachine}.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol, TypeVar

from OpenSSL import SSL
from twisted.internet.defer import Deferred, TimeoutError, maybeDeferred
from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from sipgrace.errors import NotAllowed, TransportError
from sipgrace.transport.backoff import Backoff

__all__ = ["BACKOFF", "UplinkCore", "UplinkUser", "Uplinking", "Upward", "plainly"]

#: How long is waited before the next attempt. A controller that was away for long is to have its fleet back
#: soon, and one that is not there costs a node next to nothing: a thousand nodes try 130 times a second.
BACKOFF: Final = Backoff(1.0, 10.0)


class Uplinking(Protocol):
    """
    The inputs.
    """

    def start(self) -> None:
        """
        Be linked, from now on.
        """

    def stop(self) -> None:
        """
        Be so no longer.
        """

    def _connected(self) -> None:
        """
        There is a connection, and the other side has shown who it is.
        """

    def _failed(self) -> None:
        """
        There is none; it does not want us; it does not answer.
        """

    def _welcomed(self) -> None:
        """
        The controller knows us.
        """

    def _lost(self) -> None:
        """
        The connection has gone.
        """

    def _due(self) -> None:
        """
        The time that this state waits for has come.
        """


class Upward(Protocol):
    """
    A connection to a controller; see L{sipgrace.control.approach.Approach}.
    """

    gone: bool
    transport: Any
    why: Exception | None

    def whenLost(self) -> Deferred[None]:
        """
        Fires when it has gone.
        """

    def end(self) -> None:
        """
        Ends it when all that was said has been sent.
        """

    def hello(self, facts: dict[str, Any]) -> Deferred[int]:
        """
        Says who we are; fires with what the controller knows already.
        """

    def alive(self) -> Deferred[Any]:
        """
        Asks for a sign of life.
        """


L = TypeVar("L", bound=Upward)
U = TypeVar("U", bound=Upward, contravariant=True)


class UplinkUser(Protocol[U]):
    """
    Who has something to tell a controller.
    """

    def hello(self) -> dict[str, Any]:
        """
        Who we are; see L{sipgrace.control.commands.Hello}.
        """

    def distrusted(self, why: str) -> None:
        """
        Whoever is there is not who they should be.
        """

    def linked(self, link: U) -> None:
        """
        It can be told now.
        """

    def unlinked(self, link: U) -> None:
        """
        It cannot, any more.
        """


@dataclass(eq=False)
class UplinkCore(Generic[L]):
    """
    What the states share.

    @cvar ATTEMPT: seconds that a connection may take, and the proof of who is there.
    @cvar ANSWER: seconds that an answer may take.
    @cvar ASK: seconds between two questions whether the controller is still there.
    @cvar END: seconds that the other side may take to see that we end the link.
    @cvar GOOD: a link that has lasted so many seconds counts as a good one: after it, failures are counted
        from none again. (Of two nodes of one name each would else put the other out, without a pause.)
    @ivar connect: opens a connection.
    @ivar state: the state's name, for displays alone.
    @ivar failures: attempts that failed since the last good link.
    @ivar trouble: why the last one failed; empty while linked.
    """

    ATTEMPT = 15.0
    ANSWER = 15.0
    ASK = 20.0
    END = 2.0
    GOOD = 30.0

    name: str
    clock: IReactorTime
    connect: Callable[[], Deferred[L]]
    user: UplinkUser[L]
    backoff: Backoff
    random: Callable[[], float]
    log: Logger

    state: str = "Idle"
    failures: int = 0
    trouble: str = ""
    link: L | None = None
    since: int = 0
    _linkedAt: float | None = None
    _timer: IDelayedCall | None = None
    _pending: list[Deferred[Any]] = field(default_factory=list)

    def enter(self, state: str) -> None:
        """
        Leaves a state for another: nothing that was under way goes on.
        """
        self.state = state
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        pending, self._pending = self._pending, []
        for one in pending:
            one.cancel()

    def wait(self, seconds: float, due: Callable[[], None]) -> None:
        """
        The state waits for so many seconds.
        """
        self._timer = self.clock.callLater(seconds, due)

    def attempt(self, uplink: Uplinking) -> None:
        """
        Connects.
        """

        def connected(link: L) -> None:
            self.link = link
            link.whenLost().addCallback(lost, link)
            uplink._connected()

        def lost(_: object, link: L) -> None:
            if self.link is link:
                why = link.why
                self._note("the link has gone" if why is None else plainly(why))
                uplink._lost()

        self._follow(uplink, maybeDeferred(self.connect), connected, self.ATTEMPT)

    def greet(self, uplink: Uplinking) -> None:
        """
        Says who we are.
        """
        assert self.link is not None

        def welcomed(since: int) -> None:
            self.since = since
            uplink._welcomed()

        def turnedAway(failure: Failure) -> None:
            failure.trap(NotAllowed)
            raise NotAllowed(f"it turns us away: {failure.getErrorMessage()}")

        asked = self.link.hello(self.user.hello()).addErrback(turnedAway)
        self._follow(uplink, asked, welcomed, self.ANSWER)

    def ask(self, uplink: Uplinking) -> None:
        """
        Asks for a sign of life.
        """
        assert self.link is not None
        self._follow(uplink, self.link.alive(), lambda _: None, self.ANSWER)

    def _follow(
        self,
        uplink: Uplinking,
        pending: Deferred[Any],
        done: Callable[[Any], None],
        limit: float,
    ) -> None:
        def failed(failure: Failure) -> None:
            if failure.check(ConnectionClosed) and self.link is not None:
                # The loss itself is told of besides.
                return
            error = failure.value or TransportError("no reason is known")
            trouble = plainly(error)
            wrong = self.state == "Connecting" and isinstance(error, NotAllowed | SSL.Error)
            if wrong and trouble != self.trouble:
                self.user.distrusted(trouble)
            self._note(trouble)
            uplink._failed()

        def ended(result: Any) -> None:
            # What was given up comes to nothing here, and is none of the present state's.
            if pending in self._pending:
                self._pending.remove(pending)
                (failed if isinstance(result, Failure) else done)(result)

        self._pending.append(pending)
        pending.addTimeout(limit, self.clock, _late)
        pending.addBoth(ended)

    def _note(self, trouble: str) -> None:
        if trouble != self.trouble:
            self.log.warn("no link to {controller}: {trouble}", controller=self.name, trouble=trouble)
        self.trouble = trouble

    def linked(self) -> None:
        """
        The controller can be told.
        """
        assert self.link is not None
        self._linkedAt = self.clock.seconds()
        self.trouble = ""
        self.log.info("linked to {controller}", controller=self.name)
        self.user.linked(self.link)

    def unlink(self, abort: bool) -> None:
        """
        Ends the connection, where there is one.

        @param abort: at once, rather than when the other side has heard all.
        """
        link, self.link = self.link, None
        if self._linkedAt is not None:
            if self.clock.seconds() - self._linkedAt >= self.GOOD:
                self.failures = 0
            self._linkedAt = None
            if link is not None:
                self.user.unlinked(link)
        if link is None or link.gone:
            return
        if abort:
            link.transport.abortConnection()
        else:
            late = self.clock.callLater(self.END, lambda: link.gone or link.transport.abortConnection())
            link.whenLost().addCallback(lambda _: late.cancel() if late.active() else None)
            link.end()

    def delay(self) -> float:
        """
        @return: seconds until the next attempt; one more has failed.
        """
        seconds = self.backoff.delay(self.failures, self.random)
        self.failures += 1
        return seconds


def _late(result: object, seconds: float) -> None:
    raise TimeoutError(f"no answer within {seconds:g} seconds")


#: Of a certificate that nobody here vouches for.
UNTRUSTED: Final = "its certificate is not by a CA that is trusted here"

#: What OpenSSL, and Twisted, call what a person may have to put right.
_SAYINGS = (
    ("certificate verify failed", UNTRUSTED),
    ("unknown ca", "it does not trust the CA of our certificate"),
    ("certificate required", "it asks for a certificate"),
    ("certificate expired", "a certificate has expired"),
    ("connection was closed cleanly", "it has ended the link"),
    ("wrong version number", "it does not speak TLS"),
    ("protocol version", "it does not speak TLS 1.3"),
)


def plainly(error: BaseException) -> str:
    """
    @return: an error, as a person would say it.
    """
    if isinstance(error, NotAllowed):
        return f"{error}"
    text = str(error) or type(error).__name__
    for known, plain in _SAYINGS:
        if known in text.replace("_", " ").lower():
            return plain
    return text
