"""
The verbs that make what links and orders are trusted by: C{sipgrace keys}.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from sipgrace.commands.certificates import Authority, checkName, checkNew, writeNew
from sipgrace.commands.outcome import Exit, Outcome
from sipgrace.errors import ConfigError

__all__ = ["keys", "makeOrderKey"]

_ROLES = click.Choice(["viewer", "operator", "admin"])


def _folder(function: Callable[..., Any]) -> Callable[..., Any]:
    """
    Gives a verb the option by which it finds the folder.
    """
    return click.option(
        "--dir",
        "folder",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path("keys"),
        show_default=True,
        metavar="FOLDER",
        help="Where the CA is, and where the files are made.",
    )(function)


def _algorithm(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--algorithm",
        type=click.Choice(["p256", "ed25519"]),
        default="p256",
        show_default=True,
        help="The kind of key: ECDSA on P-256, or Ed25519.",
    )(function)


def _days(default: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        "--days",
        type=click.IntRange(1, 36500),
        default=default,
        show_default=True,
        metavar="NUMBER",
        help="How long the certificate is valid.",
    )


def _telling(function: Callable[..., str]) -> Callable[..., None]:
    """
    Says what came of it, and ends the process.
    """

    @functools.wraps(function)
    def wrapped(**values: Any) -> None:
        try:
            text = function(**values)
        except ConfigError as error:
            Outcome(Exit.REFUSED, f"{error}").leave(False)
        click.echo(text)

    return wrapped


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def makeOrderKey(folder: Path, name: str) -> tuple[Path, str]:
    """
    Makes a key that signs orders: C{NAME.order}, and C{NAME.order.pub}.

    @return: the file of the private key, and the public one as a node's configuration has it.
    @raise ConfigError: for a name that is none, or where a file is there already.
    """
    checkName(name)
    private, public = folder / f"{name}.order", folder / f"{name}.order.pub"
    checkNew([private, public])
    made = Ed25519PrivateKey.generate()
    written = made.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode("ascii")
    writeNew(private, made.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()), 0o600)
    writeNew(public, f"{written} {name}\n".encode("ascii"), 0o644)
    return private, written


@click.group(short_help="Make the certificates, keys and tokens of a first set-up.")
def keys() -> None:
    """
    Makes what links between nodes and controllers, and orders, are trusted by: a small CA, the certificate
    of each server, client and controller, keys that sign orders, and tokens for people. No file is ever
    overwritten, private keys are readable by you alone, and nothing is sent anywhere. Each verb prints the
    lines that belong into a configuration.

    \b
    A first set-up, on a machine that you trust:
      sipgrace keys init                                 the CA, in ./keys
      sipgrace keys node controller-120                  a certificate for each controller,
      sipgrace keys node server-102                      each server and each client
      sipgrace keys order controller-120 --role admin    the key by which the controller signs
      sipgrace keys token alice --role operator          what alice says to the controller

    Take to each host ca.crt and its own two files, and leave ca.key where it is: whoever has that can be any
    node, and any controller.
    """


@keys.command(short_help="Make the CA.")
@_folder
@_algorithm
@_days(3650)
@click.option("--name", default="sipgrace CA", show_default=True, help="What the CA calls itself.")
@_telling
def init(folder: Path, algorithm: str, days: int, name: str) -> str:
    """
    Makes the CA by which nodes and controllers know each other: ca.crt, which all of them need, and ca.key,
    which makes further certificates and stays here.
    """
    Authority.make(folder, name, days, algorithm, _now())
    return f"{folder}/ca.crt  the CA's certificate: for every host\n{folder}/ca.key  its key: for none"


@keys.command(short_help="Make the certificate of a server, a client or a controller.")
@click.argument("name")
@_folder
@_algorithm
@_days(825)
@click.option(
    "--to",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    metavar="FOLDER",
    help="Another folder to make the files in: to renew a certificate, say.",
)
@_telling
def node(name: str, folder: Path, algorithm: str, days: int, to: Path | None) -> str:
    """
    Makes NAME.crt and NAME.key, signed by the CA of the folder. NAME is what stands under name in the
    configuration of that server, client or controller: by it the others know who is at the end of a link.
    """
    certificate, key = Authority.load(folder).certify(name, days, algorithm, _now(), to)
    return (
        f"# In the configuration of {name}: under [links] where it is a controller, under [[controllers]]\n"
        f"# where it has one, under [[peers]] for another controller.\n"
        f'certificate = "{certificate.absolute()}"\n'
        f'key = "{key.absolute()}"\n'
        f'ca = "{(folder / "ca.crt").absolute()}"'
    )


@keys.command(short_help="Make a key that signs orders.")
@click.argument("name")
@_folder
@click.option("--role", type=_ROLES, default="operator", show_default=True, help="What it may order.")
@_telling
def order(name: str, folder: Path, role: str) -> str:
    """
    Makes NAME.order and NAME.order.pub: an Ed25519 key in the form of OpenSSH, as ssh-keygen -t ed25519 makes
    one. A controller signs with it; servers and clients verify what is signed.
    """
    private, written = makeOrderKey(folder, name)
    return (
        "# In the configuration of the controller:\n"
        "[key]\n"
        f'name = "{name}"\n'
        f'file = "{private.absolute()}"\n'
        "\n"
        "# In that of each server and client:\n"
        "[[orders.keys]]\n"
        f'name = "{name}"\n'
        f'role = "{role}"\n'
        f'public = "{written}"'
    )


@keys.command(short_help="Make a token for a person.")
@click.argument("name")
@click.option("--role", type=_ROLES, default="operator", show_default=True, help="What they may.")
@_telling
def token(name: str, role: str) -> str:
    """
    Makes a token: what a person, or a program, shows to a controller. It is printed once and kept nowhere;
    the controller's configuration holds what it can be recognized by, and no more.
    """
    # Slow to import, and seldom needed.
    from sipgrace.controller.web.tokens import newToken

    checkName(name)
    made, digest = newToken()
    return (
        f"{made}\n"
        f"is the token of {name}, shown this once: for SIPGRACE_TOKEN, or the login of the web page.\n"
        "\n"
        "# In the configuration of the controller:\n"
        "[[tokens]]\n"
        f'name = "{name}"\n'
        f'role = "{role}"\n'
        f'sha256 = "{digest}"'
    )
