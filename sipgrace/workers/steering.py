"""
Has the kernel give a UDP response to the worker whose request it answers: a filter on the group of sockets
that looks for the branch. It is the faster way for most of them, not the only one: what it does not know goes
by the address it comes from, as requests do, and the worker that gets it hands it over.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from typing import Final

__all__ = ["program", "steer"]

#: From linux/bpf_common.h and linux/filter.h: classic BPF, which needs no privilege.
_LENGTH: Final = 0x80
_WORD: Final = 0x20
_HALF: Final = 0x28
_JUMP: Final = 0x05
_IF_EQUAL: Final = 0x15
_IF_GREATER_OR_EQUAL: Final = 0x35
_RETURN: Final = 0x06
_INSTRUCTION: Final = struct.Struct("=HBBI")

#: From asm-generic/socket.h.
_SO_ATTACH_REUSEPORT_CBPF: Final = 51

#: No socket of the group: the kernel then takes the one that it would have taken without a filter.
_NONE: Final = 0xFFFFFFFF

#: Where in a response what our branches have in common may begin: behind the status line, the protocol, an
#: address and C{;branch=z9hG4bK}.
_PLACES: Final = range(44, 144)


def program(shared: bytes, count: int) -> bytes:
    """
    @param shared: what the branches have in common, eight bytes; the worker's number follows.
    @param count: how many workers there are.
    @return: the filter, in the machine's code of BPF.
    """
    first, second = struct.unpack("!II", shared)
    (status,) = struct.unpack("!I", b"SIP/")
    # What is shorter than all that is looked at would end the filter with 0, which is a worker.
    steps: list[tuple[int, int, int, int]] = [
        (_LENGTH, 0, 0, 0),
        (_IF_GREATER_OR_EQUAL, 1, 0, _PLACES.stop + 10),
        (_RETURN, 0, 0, _NONE),
        (_WORD, 0, 0, 0),
        (_IF_EQUAL, 1, 0, status),
        (_RETURN, 0, 0, _NONE),
    ]
    # From the jump at the end of each place to behind the last place, past what says that there is none.
    each = 6
    for at in _PLACES:
        left = (_PLACES.stop - 1 - at) * each + 1
        steps += [
            (_WORD, 0, 0, at),
            (_IF_EQUAL, 0, 4, first),
            (_WORD, 0, 0, at + 4),
            (_IF_EQUAL, 0, 2, second),
            (_HALF, 0, 0, at + 8),
            (_JUMP, 0, 0, left),
        ]
    steps.append((_RETURN, 0, 0, _NONE))
    for number in range(count):
        digits = int.from_bytes(b"%02x" % number, "big")
        steps += [(_IF_EQUAL, 0, 1, digits), (_RETURN, 0, 0, number)]
    steps.append((_RETURN, 0, 0, _NONE))
    return b"".join(_INSTRUCTION.pack(*step) for step in steps)


def steer(group: list[socket.socket], shared: bytes) -> bool:
    """
    @param group: the sockets that share one address, in the order in which they were bound.
    @return: whether the kernel does it.
    """
    code = program(shared, len(group))
    kept = ctypes.create_string_buffer(code, len(code))
    given = struct.pack("@HP", len(code) // _INSTRUCTION.size, ctypes.addressof(kept))
    try:
        group[0].setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, given)
    except OSError:
        return False
    return True
