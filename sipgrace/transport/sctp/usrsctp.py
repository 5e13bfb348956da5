"""
The binding of libusrsctp 0.9.5 (C{libusrsctp2} in Debian) that the userspace stack needs, and no more.

Opened with C{dlopen}, so that no compiler is needed. Pointers that are only handed back (sockets, peer
handles) are declared as C{uintptr_t}: the calling convention is the same, and they arrive as plain ints.
"""

from __future__ import annotations

import socket
from typing import Any, Final

from cffi import FFI  # type: ignore[import-untyped]  # it has no annotations

from sipgrace.errors import ConfigError

__all__ = ["Binding", "load"]

LIBRARY: Final = "libusrsctp.so.2"

AF_CONN: Final = 123
IPPROTO_SCTP: Final = 132

MSG_EOR: Final = 0x80
MSG_NOTIFICATION: Final = 0x2000

SENDV_SNDINFO: Final = 1
UNORDERED: Final = 0x0400

EVENT_ERROR: Final = 4

# Notifications and the states of an association change (RFC 6458 §6.1).
ASSOC_CHANGE: Final = 1
SHUTDOWN_EVENT: Final = 5
COMM_UP: Final = 1
COMM_LOST: Final = 2
RESTART: Final = 3
SHUTDOWN_COMP: Final = 4
CANT_STR_ASSOC: Final = 5

# Socket options.
RTOINFO: Final = 0x01
ASSOCINFO: Final = 0x02
INITMSG: Final = 0x03
NODELAY: Final = 0x04
PEER_ADDR_PARAMS: Final = 0x0A
DELAYED_SACK: Final = 0x0F
EVENT: Final = 0x1E
RECVRCVINFO: Final = 0x1F
STATUS: Final = 0x100

SPP_HB_ENABLE: Final = 0x01
SPP_HB_DISABLE: Final = 0x02
SPP_HB_DEMAND: Final = 0x04
SPP_PMTUD_DISABLE: Final = 0x10

DECLARATIONS: Final = """
struct sockaddr_conn { uint16_t sconn_family, sconn_port; uintptr_t sconn_addr; };
struct sctp_storage { uint16_t family; char data[118]; uint64_t align; };
struct sctp_sndinfo { uint16_t snd_sid, snd_flags; uint32_t snd_ppid, snd_context, snd_assoc_id; };
struct sctp_rcvinfo {
    uint16_t rcv_sid, rcv_ssn, rcv_flags;
    uint32_t rcv_ppid, rcv_tsn, rcv_cumtsn, rcv_context, rcv_assoc_id; };
struct sctp_event { uint32_t se_assoc_id; uint16_t se_type; uint8_t se_on; };
struct sctp_rtoinfo { uint32_t srto_assoc_id, srto_initial, srto_max, srto_min; };
struct sctp_assocparams {
    uint32_t sasoc_assoc_id, sasoc_peer_rwnd, sasoc_local_rwnd, sasoc_cookie_life;
    uint16_t sasoc_asocmaxrxt, sasoc_number_peer_destinations; };
struct sctp_initmsg {
    uint16_t sinit_num_ostreams, sinit_max_instreams, sinit_max_attempts, sinit_max_init_timeo; };
struct sctp_paddrparams {
    struct sctp_storage spp_address;
    uint32_t spp_assoc_id, spp_hbinterval, spp_pathmtu, spp_flags, spp_ipv6_flowlabel;
    uint16_t spp_pathmaxrxt; uint8_t spp_dscp; };
struct sctp_sack_info { uint32_t sack_assoc_id, sack_delay, sack_freq; };
struct sctp_paddrinfo {
    struct sctp_storage spinfo_address;
    uint32_t spinfo_assoc_id; int32_t spinfo_state;
    uint32_t spinfo_cwnd, spinfo_srtt, spinfo_rto, spinfo_mtu; };
struct sctp_status {
    uint32_t sstat_assoc_id; int32_t sstat_state; uint32_t sstat_rwnd;
    uint16_t sstat_unackdata, sstat_penddata, sstat_instrms, sstat_outstrms;
    uint32_t sstat_fragmentation_point; struct sctp_paddrinfo sstat_primary; };
struct sctp_notice {
    uint16_t type, flags; uint32_t length;
    uint16_t state, error, outbound, inbound; };

void usrsctp_init_nothreads(uint16_t, int (*)(uintptr_t, void *, size_t, uint8_t, uint8_t), void *);
void usrsctp_handle_timers(uint32_t);
void usrsctp_conninput(uintptr_t, const char *, size_t, uint8_t);
void usrsctp_register_address(uintptr_t);
void usrsctp_deregister_address(uintptr_t);
uint32_t usrsctp_crc32c(const char *, size_t);

uintptr_t usrsctp_socket(int, int, int, void *, void *, uint32_t, void *);
int usrsctp_setsockopt(uintptr_t, int, int, const void *, uint32_t);
int usrsctp_getsockopt(uintptr_t, int, int, void *, uint32_t *);
int usrsctp_set_non_blocking(uintptr_t, int);
int usrsctp_set_upcall(uintptr_t, void (*)(uintptr_t, uintptr_t, int), uintptr_t);
int usrsctp_get_events(uintptr_t);
int usrsctp_bind(uintptr_t, void *, uint32_t);
int usrsctp_listen(uintptr_t, int);
uintptr_t usrsctp_accept(uintptr_t, void *, uint32_t *);
int usrsctp_connect(uintptr_t, void *, uint32_t);
int usrsctp_shutdown(uintptr_t, int);
void usrsctp_close(uintptr_t);
ssize_t usrsctp_sendv(uintptr_t, const char *, size_t, void *, int, void *, uint32_t, unsigned int, int);
ssize_t usrsctp_recvv(
    uintptr_t, void *, size_t, void *, uint32_t *, void *, uint32_t *, unsigned int *, int *);

int usrsctp_tunable_set_sctp_hashtblsize(uint32_t);
int usrsctp_sysctl_set_sctp_ecn_enable(uint32_t);
int usrsctp_sysctl_set_sctp_asconf_enable(uint32_t);
int usrsctp_sysctl_set_sctp_auto_asconf(uint32_t);
"""


class Binding:
    """
    The library and its declarations.

    @ivar ffi: cffi's.
    @ivar lib: the functions.
    """

    def __init__(self, ffi: Any, lib: Any) -> None:
        self.ffi = ffi
        self.lib = lib

    def address(self, handle: int, port: int) -> Any:
        """
        A C{struct sockaddr_conn}.

        @param port: in host order.
        """
        return self.ffi.new("struct sockaddr_conn *", (AF_CONN, socket.htons(port), handle))

    def set(self, so: int, level: int, option: int, value: Any) -> None:
        """
        Sets a socket option.

        @param value: a pointer to an owned cffi struct or array.
        @raise OSError: when the stack refuses it.
        """
        size = self.ffi.sizeof(self.ffi.typeof(value).item if self._isPointer(value) else value)
        if self.lib.usrsctp_setsockopt(so, level, option, value, size) != 0:
            self.fail(f"setsockopt {option:#x}")

    def setStruct(self, so: int, option: int, kind: str, **fields: int) -> None:
        """
        Sets an option of SCTP whose value is a C{struct kind}.
        """
        self.set(so, IPPROTO_SCTP, option, self.ffi.new(f"struct {kind} *", fields))

    def setInt(self, so: int, level: int, option: int, value: int) -> None:
        self.set(so, level, option, self.ffi.new("int[1]", [value]))

    def getStruct(self, so: int, option: int, kind: str) -> Any:
        """
        Reads an option of SCTP whose value is a C{struct kind}.

        @return: the struct, or C{None} where the stack has no answer (the association is gone).
        """
        value = self.ffi.new(f"struct {kind} *")
        size = self.ffi.new("uint32_t *", self.ffi.sizeof(f"struct {kind}"))
        if self.lib.usrsctp_getsockopt(so, IPPROTO_SCTP, option, value, size) != 0:
            return None
        return value

    def checksum(self, packet: bytes) -> int:
        """
        CRC32c of an SCTP packet whose checksum field is zero, in the machine's byte order.
        """
        return int(self.lib.usrsctp_crc32c(packet, len(packet)))

    def fail(self, what: str) -> None:
        """
        @raise OSError: with the C{errno} of the call that has just failed.
        """
        raise OSError(self.ffi.errno, f"usrsctp {what} failed")

    def _isPointer(self, value: Any) -> bool:
        return bool(self.ffi.typeof(value).kind == "pointer")


def load(library: str = LIBRARY) -> Binding:
    """
    Opens the library.

    @raise ConfigError: where it is not installed; says which package has it.
    """
    ffi = FFI()
    ffi.cdef(DECLARATIONS)
    try:
        lib = ffi.dlopen(library)
    except OSError as error:
        raise ConfigError(
            f"SCTP in userspace needs {library}: install the package libusrsctp2 (apt install libusrsctp2)"
        ) from error
    return Binding(ffi, lib)
