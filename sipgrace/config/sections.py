"""
The sections that both roles have.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from sipgrace.config.descriptions import listensEverywhere
from sipgrace.config.values import FilePath, Listen, Mistake, Seconds, atLeast, mistakes
from sipgrace.transport.description import parseDescription

__all__ = [
    "ControlSection",
    "Limits",
    "ManholeSection",
    "Many",
    "Section",
    "Timers",
    "checkListeners",
    "snake",
]


def snake(name: str) -> str:
    """
    @return: the key that stands in a file for an attribute: C{retryAfter} is C{retry_after}.
    """
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name)


class Section(BaseModel):
    """
    The rules for every section: no unknown keys, no silent conversion, no change after loading. A key is
    its attribute's name with underscores: C{retryAfter} is C{retry_after} in the file.
    """

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        alias_generator=snake,
        validate_by_alias=True,
        validate_by_name=False,
        use_attribute_docstrings=True,
        arbitrary_types_allowed=True,
    )


class Timers(Section):
    """
    The timers of SIP transactions (RFC 3261 table 4) and of the proxy. The others follow from these.
    """

    t1: Annotated[Seconds, Field(ge=0.01, le=10)] = 0.5
    """The estimate of the round-trip time. A transaction is given up after 64 times as long."""

    t2: Annotated[Seconds, Field(ge=0.01, le=60)] = 4.0
    """The longest time between two retransmissions of a request other than INVITE, or of a final response
    to INVITE. Not below t1."""

    t4: Annotated[Seconds, Field(ge=0.01, le=60)] = 5.0
    """How long a message may stay in the network."""

    timerC: Annotated[Seconds, Field(ge=1, le=86400)] = 181.0
    """How long a proxied INVITE may ring without a new provisional response (RFC 3261 section 16.6). The RFC
    wants more than 180; less is for networks that know their ring times, and for tests."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        mistakes(atLeast("t2", self.t2, "t1", self.t1))
        return self


class Limits(Section):
    """
    How much one peer, and all of them together, may ask this process to hold.
    """

    message: Annotated[int, Field(ge=1024, le=1 << 20)] = 65536
    """The longest SIP message that is accepted, in bytes, its body included; a longer one is answered 413."""

    headers: Annotated[int, Field(ge=16, le=10000)] = 100
    """The most header fields in one message."""

    line: Annotated[int, Field(ge=256, le=65536)] = 8192
    """The longest header field, in bytes, its folded lines included."""

    associations: Annotated[int, Field(ge=1, le=100000)] = 4096
    """The most SCTP associations, or TCP or TLS connections, that one listener keeps at a time; one more is
    turned away."""

    transactions: Annotated[int, Field(ge=1, le=10000000)] = 200000
    """The most server transactions at one time; a new request beyond them is answered 503."""


class ControlSection(Section):
    """
    A socket for the sipgrace command line on the same host. Whoever may use it can give any order: the user
    that the process runs as, and root. It is off unless this section is there.
    """

    socket: FilePath
    """The path of the UNIX socket, in a directory that exists. It is made with mode 0600 when the process
    starts, made anew where somebody removes it meanwhile, and removed when the process ends."""

    @field_validator("socket", mode="after")
    @classmethod
    def _bounded(cls, path: Path) -> Path:
        # sun_path of unix(7)
        if len(os.fsencode(path)) > 107:
            raise ValueError(f"expected a path of at most 107 bytes, as sockets have, found {str(path)!r}")
        return path


class ManholeSection(Section):
    """
    An SSH login into the running process, with the orders of its role as Python functions. Whoever can log in
    can do all that the process can. It is off unless this section is there.
    """

    listen: Listen = "tcp:2222:interface=127.0.0.1"
    """Where it listens: a tcp string."""

    anywhere: bool = False
    """Whether it may listen on an address other than loopback."""

    authorizedKeys: FilePath
    """The file of public keys that may log in, as OpenSSH has it in authorized_keys. Any user name will do.
    Passwords are never accepted."""

    hostKey: FilePath
    """The file of the private key by which clients know this process; made at the first start when it is not
    there, readable by its owner alone."""

    @model_validator(mode="after")
    def _private(self) -> Self:
        given = parseDescription(self.listen)
        if given.transport != b"TCP":
            mistakes([(("listen",), f"expected a tcp string, found {self.listen!r}")])
        try:
            loopback = ip_address(given.arguments.get("interface", "")).is_loopback
        except ValueError:
            loopback = False
        if not loopback and not self.anywhere:
            mistakes(
                [
                    (
                        ("listen",),
                        "expected a loopback interface such as 'tcp:2222:interface=127.0.0.1' (or anywhere = "
                        f"true), found {self.listen!r}",
                    )
                ]
            )
        return self


def _many(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def checkListeners(
    key: str, strings: tuple[str, ...], stack: str, advertise: str | None
) -> Iterator[Mistake]:
    """
    Finds what is wrong with a role's listeners together, when each by itself is well formed.

    @param key: the key that they stand under.
    @param stack: the role's SCTP stack.
    @param advertise: what peers are told in place of the bound address.
    """
    ports: list[str] = []
    for at, text in enumerate(strings):
        given = parseDescription(text)
        if listensEverywhere(given) and advertise is None:
            yield (
                (key, at),
                f"expected interface=ADDRESS, or advertise to tell peers of, found neither in {text!r}",
            )
        if given.transport != b"SCTP":
            continue
        asked = given.arguments.get("stack", stack)
        if asked == "kernel" and "encaps" in given.arguments:
            yield (
                (key, at),
                f"expected no encaps with the kernel's stack (sysctl net.sctp.udp_port), found {text!r}",
            )
        if asked == "userspace" and "," in given.arguments.get("interface", ""):
            yield ((key, at), f"expected one interface with the userspace stack, found {text!r}")
        port = given.arguments.get("port") or given.positional[0]
        if asked != "kernel" and port != "0" and port in ports:
            yield (
                (key, at),
                f"expected each SCTP port once, as the userspace stack wants it, found {port} again",
            )
        ports.append(port)


Many = BeforeValidator(_many)
"""Lets a TOML array stand for a tuple."""
