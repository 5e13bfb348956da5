"""
Making and setting the sockets of libusrsctp.
"""

from __future__ import annotations

import errno
import os
import random
import socket
from collections.abc import Container
from typing import Final

from sipgrace.transport.sctp import usrsctp
from sipgrace.transport.sctp.stack import SCTPOptions
from sipgrace.transport.sctp.usrsctp import Binding

__all__ = ["openSocket"]

PATH_MTU: Final = 1200
"""Bytes of an SCTP packet; with UDP and IP before it, it fits any path of today. Nothing probes for more."""

EPHEMERAL: Final = (32768, 65535)


def openSocket(binding: Binding, options: SCTPOptions, port: int, avoid: Container[int]) -> tuple[int, int]:
    """
    A non-blocking one-to-one socket, set and bound.

    @param port: the SCTP port, 0 = any free one.
    @param avoid: SCTP ports that C{port=0} must not take.
    @return: the socket, and its SCTP port.
    @raise OSError: when the port is taken or the stack refuses an option.
    """
    NULL = binding.ffi.NULL
    so: int = binding.lib.usrsctp_socket(
        usrsctp.AF_CONN, socket.SOCK_STREAM, usrsctp.IPPROTO_SCTP, NULL, NULL, 0, NULL
    )
    if not so:
        binding.fail("socket")
    try:
        _configure(binding, so, options)
        if not port:
            port = _freePort(avoid)
        name = binding.address(0, port)
        if binding.lib.usrsctp_bind(so, name, binding.ffi.sizeof("struct sockaddr_conn")) != 0:
            binding.fail("bind")
    except BaseException:
        binding.lib.usrsctp_close(so)
        raise
    return so, port


def _freePort(avoid: Container[int]) -> int:
    # The library would find one, too, but has no cheap way to tell which.
    for _ in range(1000):
        port = random.randint(*EPHEMERAL)
        if port not in avoid:
            return port
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _configure(binding: Binding, so: int, options: SCTPOptions) -> None:
    binding.lib.usrsctp_set_non_blocking(so, 1)
    binding.setInt(so, usrsctp.IPPROTO_SCTP, usrsctp.RECVRCVINFO, 1)
    binding.setInt(so, usrsctp.IPPROTO_SCTP, usrsctp.NODELAY, int(options.nodelay))
    binding.setInt(so, socket.SOL_SOCKET, socket.SO_SNDBUF, options.sendBuffer)
    for kind in (usrsctp.ASSOC_CHANGE, usrsctp.SHUTDOWN_EVENT):
        binding.setStruct(so, usrsctp.EVENT, "sctp_event", se_type=kind, se_on=1)
    binding.setStruct(
        so,
        usrsctp.RTOINFO,
        "sctp_rtoinfo",
        srto_initial=options.rtoInitial,
        srto_min=options.rtoMin,
        srto_max=options.rtoMax,
    )
    binding.setStruct(so, usrsctp.ASSOCINFO, "sctp_assocparams", sasoc_asocmaxrxt=options.maxRetransmissions)
    binding.setStruct(
        so,
        usrsctp.INITMSG,
        "sctp_initmsg",
        sinit_num_ostreams=options.streams,
        sinit_max_instreams=options.streams,
        sinit_max_attempts=options.initAttempts,
        sinit_max_init_timeo=min(options.rtoMax, 65535),
    )
    binding.setStruct(so, usrsctp.DELAYED_SACK, "sctp_sack_info", sack_delay=options.sackDelay)
    beat = usrsctp.SPP_HB_ENABLE if options.heartbeat else usrsctp.SPP_HB_DISABLE
    binding.setStruct(
        so,
        usrsctp.PEER_ADDR_PARAMS,
        "sctp_paddrparams",
        spp_hbinterval=options.heartbeat,
        spp_pathmtu=PATH_MTU,
        spp_pathmaxrxt=options.maxRetransmissions,
        spp_flags=beat | usrsctp.SPP_PMTUD_DISABLE,
    )
