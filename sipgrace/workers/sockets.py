"""
The sockets that workers share, made by the front before any of them: UDP and the kernel's SCTP by
C{SO_REUSEPORT}, one for each worker; TCP and TLS one for all.

The front keeps its own descriptors while a worker may come back. The kernel picks a socket of the group by
where a packet comes from, and closing one would move the others: while a worker is away what is for it waits
in its socket, and nobody else's associations are touched.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sipgrace.errors import ConfigError, TransportError
from sipgrace.transport import handed
from sipgrace.transport.arguments import listenArguments
from sipgrace.transport.description import parseDescription
from sipgrace.transport.sctp.endpoints import serverFromArguments
from sipgrace.transport.sctp.stack import ENCAPS_PORT, choose
from sipgrace.workers.steering import steer

__all__ = ["Place", "Sockets", "placesOf"]

_BACKLOG = 50


class Place(NamedTuple):
    """
    Where a socket is to be bound: what for, and host and port as the configuration has them; several hosts
    with commas between them.
    """

    kind: str
    host: str
    port: int


def placesOf(description: str) -> Iterator[Place]:
    """
    @param description: where to listen, as in the configuration, with the SCTP stack.
    @return: the sockets that it needs.
    @raise ConfigError: where several processes cannot share them.
    """
    parsed = parseDescription(description)
    if parsed.transport == b"SCTP":
        endpoint = serverFromArguments(None, *parsed.positional, **parsed.arguments)
        if not endpoint.port:
            raise ConfigError(f"{description!r}: with server.workers above 1 expected a port other than 0")
        if endpoint.encaps is None and choose(endpoint.stack)[0].name == "kernel":
            yield Place(handed.KERNEL, ",".join(endpoint.hosts), endpoint.port)
            return
        for host in endpoint.hosts:
            yield Place(handed.ENCAPS, host, ENCAPS_PORT if endpoint.encaps is None else endpoint.encaps)
        return
    values = listenArguments(parsed)
    host, port = values.get("interface", ""), int(values["port"])
    if parsed.transport == b"UDP":
        yield Place(handed.UDP, host or "0.0.0.0", port)
    else:
        yield Place(handed.STREAM, host, port)


class Sockets:
    """
    All of them.

    @param count: how many workers share each.
    @param shared: what the branches of all have in common.
    """

    def __init__(self, places: Iterable[Place], count: int, shared: bytes = b"") -> None:
        found: list[Place] = []
        for place in places:
            # Several SCTP ports go through one UDP port.
            if not (place.kind == handed.ENCAPS and place.port and place in found):
                found.append(place)
        self._places = found
        self._count = count
        self._shared = shared
        self._open: list[tuple[Place, list[socket.socket]]] = []

    def open(self) -> None:
        """
        Binds all.

        @raise TransportError: where one cannot be; none is open then.
        """
        self.close()
        for place in self._places:
            try:
                self._open.append((place, self._bind(place)))
            except OSError as error:
                self.close()
                at = f"{place.host or '*'} port {place.port}"
                raise TransportError(f"cannot listen at {at}: {error.strerror or error}") from None

    def _bind(self, place: Place) -> list[socket.socket]:
        family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
        if place.kind == handed.STREAM:
            listening = socket.create_server(
                (place.host, place.port), family=family, backlog=_BACKLOG, dualstack_ipv6=False
            )
            listening.setblocking(False)
            return [listening]
        if place.kind == handed.KERNEL:
            return self._bindSCTP(place.host.split(","), place.port)
        # Whoever else is there already is to be met with an error, not to be shared with.
        with socket.socket(family, socket.SOCK_DGRAM) as alone:
            if family == socket.AF_INET6:
                alone.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            alone.bind((place.host, place.port))
            port = alone.getsockname()[1]
        made: list[socket.socket] = []
        try:
            for _ in range(self._count):
                one = socket.socket(family, socket.SOCK_DGRAM)
                made.append(one)
                one.setblocking(False)
                if family == socket.AF_INET6:
                    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                one.bind((place.host, port))
        except OSError:
            for one in made:
                one.close()
            raise
        if place.kind == handed.UDP and self._shared:
            steer(made, self._shared)
        return made

    def _bindSCTP(self, hosts: list[str], port: int) -> list[socket.socket]:
        # Not on hosts that never use it.
        from sipgrace.transport.sctp.kernelsocket import KernelSocket, familyOf

        made: list[socket.socket] = []
        try:
            for shared in (False, *(True for _ in range(self._count))):
                one = KernelSocket(familyOf(hosts))
                made.append(one.plain)
                # As a listener of one process has it: associations of an earlier one may live on.
                one.reuse()
                if shared:
                    one.plain.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                one.bind(hosts, port)
                # The kernel counts to the group who listens; what comes before a worker does waits for it.
                one.plain.listen(_BACKLOG)
                if not shared:
                    # Whoever else is there already was met with an error.
                    made.pop().close()
        except OSError:
            for plain in made:
                plain.close()
            raise
        return made

    def of(self, number: int) -> Iterator[tuple[Place, socket.socket]]:
        """
        @return: those of one worker.
        """
        for place, made in self._open:
            yield place, made[number % len(made)]

    def close(self, associations: bool = True) -> None:
        """
        Closes ours.

        @param associations: whether also those behind which associations may be, of SCTP in userspace.
        """
        left = []
        for place, made in self._open:
            if place.kind == handed.ENCAPS and not associations:
                left.append((place, made))
                continue
            for one in made:
                one.close()
        self._open = left
