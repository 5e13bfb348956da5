"""
The seam that both SCTP stacks, the kernel's and the one in userspace, fill; and the choice between them.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IConsumer,
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IPushProducer,
    ITransport,
)
from zope.interface import Attribute, Interface

from sipgrace.errors import ConfigError
from sipgrace.transport.sctp.address import SCTPAddress

__all__ = [
    "DEFAULT_OPTIONS",
    "ENCAPS_PORT",
    "ISCTPProtocol",
    "ISCTPStack",
    "ISCTPTransport",
    "SCTPOptions",
    "SCTPStatus",
    "choose",
    "kernelSpeaksSCTP",
]

ENCAPS_PORT = 9899
"""The UDP port of SCTP in UDP (RFC 6951 §5.1, IANA C{sctp-tunneling})."""

IPPROTO_SCTP = 132


@dataclass(frozen=True, slots=True)
class SCTPOptions:
    """
    What can be set of an association, the same for both stacks.

    The defaults suit signalling: a dead path is noticed within about 20 s under traffic instead of the
    minutes of RFC 9260 §16, whose values are given beside them.

    @ivar rtoInitial: milliseconds of the first retransmission time-out (RFC: 1000).
    @ivar rtoMin: milliseconds (RFC: 1000); above the peer's delayed SACK of 200 ms.
    @ivar rtoMax: milliseconds (RFC: 60000).
    @ivar sackDelay: milliseconds that a SACK may wait for data to go with (RFC: 200). What was sent last must
        be acknowledged before a SHUTDOWN can leave (RFC 9260 §9.2): so long a server that goes may have to
        wait for its peer.
    @ivar heartbeat: milliseconds between HEARTBEATs on an idle path (RFC: 30000); 0 sends none.
    @ivar initAttempts: how often INIT is sent again before it is given up (RFC: 8).
    @ivar maxRetransmissions: how many retransmissions in a row without an answer lose the association
        (Association.Max.Retrans, RFC: 10).
    @ivar streams: the streams asked for in each direction.
    @ivar nodelay: whether small messages leave at once (no Nagle); 1 or 0 in a string.
    @ivar sendBuffer: bytes that the stack itself takes before it blocks.
    @ivar sendBound: bytes that are kept above the stack while it blocks; past it the association is
        aborted.
    @ivar maxMessage: bytes of the largest message taken from the peer; a larger one aborts the
        association.
    """

    rtoInitial: int = 1000
    rtoMin: int = 400
    rtoMax: int = 4000
    sackDelay: int = 20
    heartbeat: int = 15000
    initAttempts: int = 8
    maxRetransmissions: int = 6
    streams: int = 16
    nodelay: bool = True
    sendBuffer: int = 262144
    sendBound: int = 1048576
    maxMessage: int = 65536


DEFAULT_OPTIONS = SCTPOptions()


@dataclass(frozen=True, slots=True)
class SCTPStatus:
    """
    How an association is doing (SCTP_STATUS, RFC 6458 §8.2.1).

    @ivar state: C{'established'}, C{'shutdown-pending'}, C{'shutdown-sent'}, C{'shutdown-received'},
        C{'shutdown-ack-sent'}, C{'cookie-wait'}, C{'cookie-echoed'} or C{'closed'}.
    @ivar peerWindow: bytes that the peer can take.
    @ivar unacknowledged: DATA chunks sent and not yet acknowledged.
    @ivar pending: DATA chunks received and not yet read.
    @ivar inStreams: streams towards us.
    @ivar outStreams: streams towards the peer.
    @ivar rtt: smoothed round-trip time of the primary path, in milliseconds.
    @ivar rto: its retransmission time-out, in milliseconds.
    @ivar window: its congestion window, in bytes.
    @ivar mtu: its path MTU, in bytes.
    @ivar queued: bytes kept above the stack because it blocked.
    """

    state: str
    peerWindow: int = 0
    unacknowledged: int = 0
    pending: int = 0
    inStreams: int = 0
    outStreams: int = 0
    rtt: int = 0
    rto: int = 0
    window: int = 0
    mtu: int = 0
    queued: int = 0


class ISCTPTransport(ITransport, IConsumer, IPushProducer):
    """
    One SCTP association, as a protocol sees it.

    C{write(data)} sends one SCTP message: PPID 0, unordered on stream 0 (RFC 4168 §5.1). C{dataReceived}
    gets whole SCTP messages, one a call. C{loseConnection} is SHUTDOWN after what is queued.
    C{connectionLost} has C{ConnectionDone} after a SHUTDOWN of either side, C{ConnectionAborted} after an
    ABORT of either side, and C{ConnectionLost} or another C{ConnectError} otherwise.
    """

    stack: str = Attribute("C{'userspace'} or C{'kernel'}.")

    def sendMessage(data: bytes, stream: int = 0, ppid: int = 0, unordered: bool = True) -> None:
        """
        Sends one SCTP message. Without effect once the association is going or gone. What the stack
        cannot take now is kept; past C{SCTPOptions.sendBound} the association is aborted.

        @param ppid: the payload protocol identifier, 0 to 2**32-1, in host order.
        @raise ValueError: when C{data} is empty or larger than C{SCTPOptions.sendBuffer}, or the stream
            is not one of the association's.
        """

    def abortConnection() -> None:
        """
        Ends the association at once with ABORT. C{connectionLost} follows, never from within this call.
        """

    def getHost() -> SCTPAddress:
        """
        Our end.
        """

    def getPeer() -> SCTPAddress:
        """
        The peer's end.
        """

    def status() -> SCTPStatus:
        """
        How the association is doing now.
        """


class ISCTPProtocol(Interface):
    """
    A protocol may provide this to be told of streams and PPIDs; C{dataReceived} is then not called.
    """

    def sctpMessageReceived(data: bytes, stream: int, ppid: int, unordered: bool) -> None:
        """
        One whole SCTP message.
        """


class ISCTPStack(Interface):
    """
    A stack that speaks SCTP for this process.
    """

    name: str = Attribute("C{'userspace'} or C{'kernel'}.")

    def listen(
        reactor: object,
        port: int,
        hosts: Sequence[str],
        factory: IProtocolFactory,
        options: SCTPOptions = DEFAULT_OPTIONS,
        encaps: int | None = None,
    ) -> IListeningPort:
        """
        Accepts associations. The factory's C{buildProtocol} gets the L{SCTPAddress} of the peer; where it
        returns C{None} or raises the association is aborted.

        @param port: the SCTP port; 0 = any free one.
        @param hosts: the local IP addresses, at least one (C{'0.0.0.0'} or C{'::'} = all).
        @param encaps: the own UDP port of the encapsulation, 0 = any free one, C{None} = 9899; the
            kernel, where it is a setting of the host, refuses anything but C{None}.
        @return: an C{IListeningPort}; C{getHost()} is an L{SCTPAddress}; C{stopListening()} leaves the
            accepted associations alone.
        @raise CannotListenError: when the port is taken, or the address is not ours.
        """

    def connect(
        reactor: object,
        hosts: Sequence[str],
        port: int,
        factory: IProtocolFactory,
        options: SCTPOptions = DEFAULT_OPTIONS,
        timeout: float = 5.0,
        bindHosts: Sequence[str] = (),
        bindPort: int = 0,
        encaps: int | None = None,
        localEncaps: int | None = None,
        primary: str = "",
    ) -> Deferred[IProtocol]:
        """
        Opens an association.

        @param hosts: the peer's IP addresses, the first to be tried first; userspace takes one.
        @param timeout: seconds.
        @param bindHosts: local IP addresses, none = as the host's routes say.
        @param bindPort: local SCTP port, 0 = any.
        @param encaps: the peer's UDP port, C{None} = 9899 in userspace, the host's setting in the kernel.
        @param localEncaps: our own UDP port, 0 = any free one, C{None} = one that this process already has
            open on a suitable address, else any free one. Userspace only.
        @param primary: the address of the peer over which to send as long as it is active (RFC 6458 §8.1.9),
            empty = the one that answered. Kernel only.
        @return: fires with the protocol after its C{connectionMade}. Fails with C{ConnectionRefusedError}
            after an ABORT, C{TimeoutError}, C{ConnectBindError}, or another C{ConnectError} (all of
            C{twisted.internet.error}). Cancelling it sends ABORT where the peer may know of us,
            and fails it with C{ConnectingCancelledError}.
        """


def kernelSpeaksSCTP() -> bool:
    """
    Whether one-to-one SCTP sockets can be made here.
    """
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_SCTP):
            return True
    except OSError:
        return False


def choose(stack: str = "auto") -> tuple[ISCTPStack, str]:
    """
    Picks the stack.

    @param stack: C{'auto'} (the kernel's where it speaks SCTP, userspace elsewhere), C{'kernel'} or
        C{'userspace'}.
    @return: the stack, and why it was taken, fit for a line of the log.
    @raise ConfigError: on another word, or when the stack asked for cannot run here.
    """
    if stack not in ("auto", "kernel", "userspace"):
        raise ConfigError(f"stack={stack!r}: expected auto, kernel or userspace")
    if stack == "userspace":
        return _userspace(), "userspace was asked for"
    if kernelSpeaksSCTP():
        from sipgrace.transport.sctp.kernel import KernelStack

        why = "kernel was asked for" if stack == "kernel" else "this kernel speaks SCTP"
        return KernelStack(), why
    if stack == "kernel":
        raise ConfigError(
            "stack=kernel: this kernel does not speak SCTP (try 'modprobe sctp', or stack=userspace)"
        )
    return _userspace(), (
        "this kernel does not speak SCTP; it goes inside UDP, where peers that use their kernels' are not "
        "met ('modprobe sctp' for that)"
    )


def _userspace() -> ISCTPStack:
    from sipgrace.transport.sctp.userspace import userspaceStack

    return userspaceStack()
