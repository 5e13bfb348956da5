"""
One association of the userspace stack.
"""

from __future__ import annotations

import errno
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.error import ConnectionLost
from twisted.logger import Logger

from sipgrace.transport.sctp import usrsctp
from sipgrace.transport.sctp.address import SCTPAddress
from sipgrace.transport.sctp.attempt import Attempt, refusalOf
from sipgrace.transport.sctp.common import SCTPTransport, endOf
from sipgrace.transport.sctp.stack import SCTPOptions, SCTPStatus
from sipgrace.transport.sctp.userspaceencaps import Peer

if TYPE_CHECKING:
    from sipgrace.transport.sctp.userspace import UserspaceStack

__all__ = ["UserspaceTransport"]

log = Logger()

LOST_WITHOUT_ABORT: Final = 20
"""The length of an association change that carries no chunk."""

STATES: Final = {
    0x0002: "cookie-wait",
    0x0004: "cookie-echoed",
    0x0008: "established",
    0x0010: "shutdown-sent",
    0x0020: "shutdown-received",
    0x0040: "shutdown-ack-sent",
    0x0080: "shutdown-pending",
}


class UserspaceTransport(SCTPTransport):
    """
    One association over a one-to-one socket of libusrsctp.

    @ivar so: the socket, 0 once it is closed.
    @ivar key: what the upcall of the socket names it by.
    @ivar udp: the peer's UDP address and handle.
    @ivar opened: whether its SCTP port is its own, because we opened it.
    @ivar attempt: set while we are opening it.
    @ivar initTag: the initiate tag of our INIT, where we have opened it.
    """

    stack = "userspace"
    opened = False

    def __init__(
        self,
        owner: UserspaceStack,
        so: int,
        key: int,
        udp: Peer,
        options: SCTPOptions,
        host: SCTPAddress,
        peer: SCTPAddress,
    ) -> None:
        super().__init__(owner.reactor, options, host, peer)
        self.owner = owner
        self.so = so
        self.key = key
        self.udp = udp
        self.attempt: Attempt | None = None
        self.initTag = b""
        self.ends = (host.port, peer.port)
        udp.ends[self.ends] = self
        self._lib = owner.lib
        self._ffi = owner.ffi

    # Called by the stack after an upcall.

    def serve(self) -> None:
        """
        Reads what has arrived and sends what has waited.
        """
        owner = self.owner
        receive = self._lib.usrsctp_recvv
        buffer, size, view = owner.buffer, owner.bufferSize, owner.view
        info, infoLength, infoType, flags, fromLength = owner.receiving
        NULL = self._ffi.NULL
        discard = False
        while self.so:
            if self.readPaused:
                if not self._lib.usrsctp_get_events(self.so) & usrsctp.EVENT_ERROR:
                    break
                # Aborted: what nobody has asked for yet stands before the notification that says so.
                discard = True
            infoLength[0] = 28
            flags[0] = 0
            fromLength[0] = 0
            length = receive(self.so, buffer, size, NULL, fromLength, info, infoLength, infoType, flags)
            if length > 0:
                flag = flags[0]
                if flag & usrsctp.MSG_NOTIFICATION:
                    self._noticed(view[0:length])
                elif not discard:
                    self.pieceReceived(
                        view[0:length],
                        bool(flag & usrsctp.MSG_EOR),
                        info.rcv_sid,
                        socket.ntohl(info.rcv_ppid),
                        bool(info.rcv_flags & usrsctp.UNORDERED),
                    )
            elif length == 0:
                self._over(0)
            else:
                code = self._ffi.errno
                if code in (errno.EAGAIN, errno.EINTR):
                    break
                self._over(code)
        if self._queue and self.so:
            self.writable()

    def _noticed(self, notice: bytes) -> None:
        kind = int.from_bytes(notice[0:2], sys.byteorder)
        if kind == usrsctp.SHUTDOWN_EVENT:
            self.peerShutdown()
            return
        if kind != usrsctp.ASSOC_CHANGE or len(notice) < 20:
            return
        change = self._ffi.from_buffer("struct sctp_notice *", notice)
        if change.state == usrsctp.COMM_UP:
            self.outStreams = change.outbound
            if self.attempt is not None:
                attempt, self.attempt = self.attempt, None
                attempt.succeeded(self)
        elif change.state == usrsctp.SHUTDOWN_COMP:
            self._over(0)
        elif change.state == usrsctp.RESTART:
            self.outStreams = change.outbound
            self.owner.restarted(self)
        elif change.state in (usrsctp.COMM_LOST, usrsctp.CANT_STR_ASSOC):
            # The peer's ABORT comes with it. Without one it is our stack that has given up; the errno of
            # the next read would be ECONNABORTED, whether the peer is dead or broke the protocol.
            self._over(errno.ECONNRESET if len(notice) > LOST_WITHOUT_ABORT else errno.ETIMEDOUT)

    def _over(self, code: int, abort: bool = False) -> None:
        self._release(abort)
        if self.attempt is not None:
            attempt, self.attempt = self.attempt, None
            attempt.failed(refusalOf(code))
        else:
            self.end(endOf(code))

    def unreachable(self) -> None:
        """
        Its peer's process has ended: lost, or not to be opened.
        """
        self._over(errno.ECONNREFUSED, abort=True)

    def beat(self) -> None:
        """
        Sends a HEARTBEAT now.
        """
        name = self.owner.binding.address(self.udp.handle, self._peer.port)
        asked = self._ffi.new("struct sctp_paddrparams *", {"spp_flags": usrsctp.SPP_HB_DEMAND})
        self._ffi.memmove(
            self._ffi.addressof(asked, "spp_address"), name, self._ffi.sizeof("struct sockaddr_conn")
        )
        # What cannot send one is going anyway.
        with suppress(OSError):
            self.owner.binding.set(self.so, usrsctp.IPPROTO_SCTP, usrsctp.PEER_ADDR_PARAMS, asked)

    def succeed(self) -> UserspaceTransport:
        """
        Another transport for the same socket, after the peer has restarted; this one has no socket then.
        """
        successor = UserspaceTransport(
            self.owner, self.so, self.key, self.udp, self.options, self._host, self._peer
        )
        successor.outStreams = self.outStreams
        successor.opened = self.opened
        self.so = 0
        self.end(ConnectionLost("the peer has restarted"))
        return successor

    def abandon(self) -> None:
        """
        Gives up opening it.
        """
        self.attempt = None
        self._release(abort=True)

    def forget(self) -> None:
        """
        Aborts it before it has a protocol.
        """
        self._ended = True
        self._release(abort=True)

    def _release(self, abort: bool) -> None:
        so, self.so = self.so, 0
        if so:
            if abort:
                self.owner.linger(so)
            self._lib.usrsctp_close(so)
            self.owner.released(self)

    # What SCTPTransport asks for.

    def _send(self, data: bytes, stream: int, ppid: int, unordered: bool) -> bool:
        so = self.so
        if not so:
            return True
        owner = self.owner
        if unordered and not stream and not ppid:
            info = owner.plainInfo
        else:
            info = owner.sendInfo
            info.snd_sid = stream
            info.snd_ppid = socket.htonl(ppid)
            info.snd_flags = usrsctp.UNORDERED if unordered else 0
        sent = self._lib.usrsctp_sendv(
            so, data, len(data), self._ffi.NULL, 0, info, 16, usrsctp.SENDV_SNDINFO, 0
        )
        if sent >= 0:
            return True
        code = self._ffi.errno
        if code in (errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM):
            return False
        log.debug("{peer} takes no more data: {why}", peer=self._peer, why=errno.errorcode.get(code, code))
        return True

    def _shutdown(self) -> None:
        if self.so and self._lib.usrsctp_shutdown(self.so, socket.SHUT_WR) != 0:
            # Gone already, or going: the notification or the errno of the next read ends it.
            self.owner.wake(self)

    def _abort(self) -> None:
        self._release(abort=True)

    def _resumeReading(self) -> None:
        self.owner.wake(self)

    def status(self) -> SCTPStatus:
        found: Any = None
        if self.so:
            found = self.owner.binding.getStruct(self.so, usrsctp.STATUS, "sctp_status")
        if found is None:
            return SCTPStatus("closed", queued=self.queued)
        path = found.sstat_primary
        return SCTPStatus(
            state=STATES.get(found.sstat_state & 0xFF, "closed"),
            peerWindow=found.sstat_rwnd,
            unacknowledged=found.sstat_unackdata,
            pending=found.sstat_penddata,
            inStreams=found.sstat_instrms,
            outStreams=found.sstat_outstrms,
            rtt=path.spinfo_srtt,
            rto=path.spinfo_rto,
            window=path.spinfo_cwnd,
            mtu=path.spinfo_mtu,
            queued=self.queued,
        )
