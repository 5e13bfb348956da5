"""
How servers and clients are linked to their controllers, and controllers to each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self

from cryptography import x509
from pydantic import AfterValidator, Field, model_validator

from sipgrace.config.sections import Section
from sipgrace.config.values import FilePath, Mistake, Name, mistakes, once
from sipgrace.errors import ConfigError
from sipgrace.transport.peernames import linkOptions, namesOf

__all__ = ["PORT", "Host", "Labels", "NodeController", "bearing", "certified", "once"]

#: Where controllers listen for links, unless told otherwise.
PORT = 7120

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,62}\Z")
_HOST = re.compile(r"[A-Za-z0-9:.%_-]{1,253}\Z")


def _labels(value: dict[str, str]) -> dict[str, str]:
    if len(value) > 32:
        raise ValueError(f"expected at most 32 labels, found {len(value)}")
    for key, word in value.items():
        for text in (key, word):
            if not _LABEL.match(text):
                raise ValueError(
                    "expected letters, digits, '_', '.', '/' and '-' (63 at most) as names and values of "
                    f"labels, found {text[:70]!r}"
                )
    return value


def _host(value: str) -> str:
    if not _HOST.match(value):
        raise ValueError(f"expected a host name or an IP address, found {value[:70]!r}")
    return value


Labels = Annotated[dict[str, str], AfterValidator(_labels)]
"""Names and values by which a node can be selected."""

Host = Annotated[str, AfterValidator(_host)]
"""A host name or an IP address."""


def isLoopback(host: str) -> bool:
    """
    @return: whether that is an address of this very host.
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def certified(
    certificate: Path | None, key: Path | None, ca: Path | None, insecure: bool, host: str, hostKey: str
) -> Iterator[Mistake]:
    """
    Finds what is wrong with how one end of a link shows who it is. The files are read.

    @param insecure: whether it does not, which is for loopback alone.
    @param hostKey: the key that names the host.
    """
    files = {"certificate": certificate, "key": key, "ca": ca}
    if insecure:
        if not isLoopback(host):
            yield ((hostKey,), f"expected a loopback address with insecure (127.0.0.1), found {host!r}")
        for name, path in files.items():
            if path is not None:
                yield ((name,), "expected none with insecure, which shows nothing and asks for nothing")
        return
    missing = [name for name, path in files.items() if path is None]
    for name in missing:
        yield ((name,), "expected this key, found none (sipgrace keys makes what it names)")
    if certificate is not None and key is not None and ca is not None:
        try:
            linkOptions(certificate, key, ca)
        except ConfigError as error:
            name, _, text = str(error).partition(": ")
            yield ((name,), f"expected what sipgrace keys makes: {text}")


def bearing(controllers: tuple[NodeController, ...], name: str) -> Iterator[Mistake]:
    """
    Finds certificates that do not bear our name.
    """
    for at, one in enumerate(controllers):
        if one.certificate is not None:
            names = namesOf(x509.load_pem_x509_certificate(one.certificate.read_bytes()))
            if name not in names:
                found = ", ".join(names) or "no name"
                yield ((at, "certificate"), f"expected a certificate of {name}, found {found} in it")


class NodeController(Section):
    """
    A controller that this process links itself to. It is told of all that happens here, and may give orders
    (see [orders]). Calls and drains need none: while no controller is there, all goes on.
    """

    name: Name
    """The controller's name. Its certificate says the same."""

    host: Host
    """Where it is: a host name or an IP address."""

    port: Annotated[int, Field(ge=1, le=65535)] = PORT
    """The port where it listens for links."""

    role: Literal["viewer", "operator", "admin"] = "operator"
    """What it may order where its orders are not verified by a key of [[orders.keys]] (orders.verify); and
    whether it may speak for servers, which takes operator."""

    certificate: FilePath | None = None
    """The file of our certificate (PEM), which bears our name; sipgrace keys makes one. This and the next two
    are needed unless insecure is set."""

    key: FilePath | None = None
    """The file of its private key (PEM)."""

    ca: FilePath | None = None
    """The file of the CA that has signed the controller's certificate (PEM)."""

    insecure: bool = False
    """Whether the link goes without TLS, so that anybody on this host may take the controller's place. For a
    controller on loopback alone."""

    @model_validator(mode="after")
    def _certified(self) -> Self:
        mistakes(certified(self.certificate, self.key, self.ca, self.insecure, self.host, "host"))
        return self
