"""
Whether a UDP peer is still there, when ICMP says that nobody is at its port: its process has ended, and its
associations with it.

Anybody can send ICMP. So it is no more than a hint, unless it quotes what we have just sent, verification
tag and all (RFC 9260 §10, RFC 6951 §5.5); and something on the way may say so for a moment. A hint has one of
the peer's associations send a HEARTBEAT, no more often than every half second. When three of these in a row
come back as unreachable, and nothing comes from that peer meanwhile, its associations are lost. Without this
as many HEARTBEATs would have to remain unanswered as may, which takes minutes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sipgrace.transport.sctp.userspaceencaps import Peer

__all__ = ["Doubt"]

ROUND: Final = 0.5
"""Seconds from one HEARTBEAT to the next."""

ROUNDS: Final = 3
"""How many must have come back."""

KEPT: Final = 16
"""How many of the last packets to the peer are remembered, to know those that come back."""

QUOTED: Final = 64
"""The most bytes of a packet that are compared: ICMP may quote less of it than was sent."""

SHORTEST: Final = 12
"""The common header of SCTP: less of it says too little."""


class Doubt:
    """
    What is known of one peer since a first hint.

    @ivar answered: to be set when a packet comes from the peer.
    """

    __slots__ = ("_ask", "_call", "_confirmed", "_gone", "_peer", "_reactor", "_rounds", "_sent", "answered")

    def __init__(
        self, reactor: Any, peer: Peer, ask: Callable[[Peer], None], gone: Callable[[Peer], None]
    ) -> None:
        """
        @param ask: has a HEARTBEAT sent to the peer.
        @param gone: called when it is not there.
        """
        self._reactor = reactor
        self._peer = peer
        self._ask = ask
        self._gone = gone
        self._sent: deque[bytes] = deque(maxlen=KEPT)
        self._confirmed = False
        self._rounds = 0
        self.answered = False
        self._call: Any = None

    def begin(self) -> None:
        """
        The first hint has come.
        """
        self._peer.doubt = self
        self._peer.note = self.sending
        self._begin()

    def _begin(self) -> None:
        self._call = self._reactor.callLater(ROUND, self._next)
        self._ask(self._peer)

    def sending(self, packet: bytes) -> None:
        """
        A packet goes to the peer.
        """
        self._sent.append(packet[:QUOTED])

    def refused(self, quoted: bytes) -> None:
        """
        Another hint.

        @param quoted: the packet that it is about, or the beginning of that.
        """
        quoted = quoted[:QUOTED]
        if len(quoted) >= SHORTEST and any(sent.startswith(quoted) for sent in self._sent):
            self._confirmed = True

    def _next(self) -> None:
        self._call = None
        confirmed, self._confirmed = self._confirmed, False
        if self.answered or not confirmed:
            self.stop()
            return
        self._rounds += 1
        if self._rounds == ROUNDS:
            self.stop()
            self._gone(self._peer)
        else:
            self._begin()

    def stop(self) -> None:
        """
        Nobody wants to know any more.
        """
        self._peer.doubt = self._peer.note = None
        if self._call is not None:
            self._call.cancel()
            self._call = None
