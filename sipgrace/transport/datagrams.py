"""
Reading many datagrams with one system call (C{recvmmsg} of Linux). Python's own C{recvfrom} makes each
sender's address into text, only for it to be looked up, and an exception where there is nothing more.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import struct
import sys
from typing import Any, Final

__all__ = ["Datagrams", "addressOf", "datagramsFor"]

#: So many are read at a time.
_MOST: Final = 16

_NOW: Final = int(socket.MSG_DONTWAIT)
_NONE_THERE: Final = errno.EAGAIN
_errorNumber: Final[Any] = ctypes.get_errno

#: The longest there is, and what keeps those of one reading from the same lines of the processor's caches.
_LONGEST: Final = 65535
_APART: Final = 65536 + 512

#: C{struct iovec}, C{struct mmsghdr}, and where in that the length is, in units of its own size.
_VECTOR: Final = struct.Struct("@PN")
_MESSAGE: Final = struct.Struct("@PIPNPNi0PI0P")
_LENGTH: Final = struct.calcsize("@PIPNPNi0P") // 4
_WORDS: Final = _MESSAGE.size // 4

#: So much of C{sockaddr_in} and C{sockaddr_in6} says where something came from; and their whole sizes.
_TELLING: Final[dict[int, int]] = {socket.AF_INET: 8, socket.AF_INET6: 28}
_SIZE: Final[dict[int, int]] = {socket.AF_INET: 16, socket.AF_INET6: 28}


class Datagrams:
    """
    Room for the datagrams of one reading, for all sockets of one family: whoever reads takes out at once what
    was read. What is not touched takes no memory.
    """

    def __init__(self, receive: Any, family: int) -> None:
        """
        @param receive: C{recvmmsg}, its arguments without types: to look at these takes as long as the call.
        """
        self._receive = receive
        names = _MOST * _APART
        vectors = names + _MOST * 32
        self._messages: Final = vectors + _MOST * _VECTOR.size
        size = self._messages + _MOST * _MESSAGE.size
        # Of this process alone, whoever forks.
        self._memory: Any = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._reference: Any = ctypes.byref(ctypes.c_char.from_buffer(self._memory, self._messages))
        self._lengths: Any = memoryview(self._memory)[self._messages :].cast("I")
        # Made once: one that is made to be used once takes as long as the reading.
        self._addresses: list[Any] = []
        for place in range(_MOST):
            data, name, vector = place * _APART, names + place * 32, vectors + place * _VECTOR.size
            _VECTOR.pack_into(self._memory, vector, start + data, _LONGEST)
            message = (start + name, _SIZE[family], start + vector, 1, 0, 0, 0, 0)
            _MESSAGE.pack_into(self._memory, self._messages + place * _MESSAGE.size, *message)
            self._addresses.append(slice(name, name + _TELLING[family]))

    def receive(self, descriptor: int, most: int) -> int:
        """
        Reads what is there.

        @return: how many have come, 0 where none is there, or no more than C{most}.
        @raise OSError: as C{recvfrom} does, but where none is there.
        """
        room = most if most < _MOST else _MOST
        count: int = self._receive(descriptor, self._reference, room, _NOW, None)
        if count < 0:
            number: int = _errorNumber()
            if number == _NONE_THERE:
                return 0
            raise OSError(number, os.strerror(number))
        return count

    def data(self, place: int) -> bytes:
        """
        @param place: from 0, less than what L{receive} has returned.
        """
        start = place * _APART
        length: int = self._lengths[place * _WORDS + _LENGTH]
        data: bytes = self._memory[start : start + length]
        return data

    def address(self, place: int) -> bytes:
        """
        @return: where that came from, as the kernel writes it, to be looked up, or read by L{addressOf}.
        """
        address: bytes = self._memory[self._addresses[place]]
        return address


def addressOf(raw: bytes) -> tuple[Any, ...]:
    """
    @param raw: as L{Datagrams.address} returns it.
    @return: the same as a socket gives and takes it.
    """
    port = int.from_bytes(raw[2:4], "big")
    if len(raw) == _TELLING[socket.AF_INET]:
        return socket.inet_ntop(socket.AF_INET, raw[4:]), port
    flow = int.from_bytes(raw[4:8], "big")
    return socket.inet_ntop(socket.AF_INET6, raw[8:24]), port, flow, int.from_bytes(raw[24:], sys.byteorder)


_made: dict[int, Datagrams | None] = {}


def datagramsFor(family: int) -> Datagrams | None:
    """
    @return: what reads from sockets of this family, C{None} where the system has nothing of that kind.
    """
    if family not in _made:
        _made[family] = _make(family) if sys.platform == "linux" else None
    return _made[family]


def _make(family: int) -> Datagrams | None:
    try:
        datagrams = Datagrams(ctypes.CDLL(None, use_errno=True).recvmmsg, family)
        # Some sandboxes have a kernel of their own, which knows less.
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            datagrams.receive(probe.fileno(), 1)
    except (AttributeError, OSError):
        return None
    return datagrams
