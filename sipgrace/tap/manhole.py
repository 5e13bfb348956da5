"""
An SSH login for operators, with the orders of the role as Python functions.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.application.service import IService
from twisted.conch.checkers import IAuthorizedKeysDB, SSHPublicKeyChecker, readAuthorizedKeyFile
from twisted.conch.insults.insults import ServerProtocol
from twisted.conch.manhole import ColoredManhole, ManholeInterpreter
from twisted.conch.manhole_ssh import ConchFactory, TerminalRealm, TerminalSession
from twisted.conch.ssh.keys import BadKeyError, Key
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from zope.interface import implementer

from sipgrace.config.sections import ManholeSection
from sipgrace.errors import ConfigError, SIPGraceError
from sipgrace.lifecycle.replacing import replaceFile
from sipgrace.tap.preparedport import PreparedPort

__all__ = ["authorizedKeys", "hostKey", "hostKeyOf", "manholeBeside"]


def manholeBeside(
    reactor: object, section: ManholeSection | None, namespace: Mapping[str, object]
) -> Iterator[IService]:
    """
    @return: the manhole where one is configured, or nothing.
    """
    if section is not None:
        yield PreparedPort("manhole", section.listen, partial(_listen, reactor, section, namespace))


def hostKey(path: Path) -> Key:
    """
    Reads the private key by which clients know this host; makes one (Ed25519) where there is none, readable
    by its owner alone.

    @raise ConfigError: when the file is no such key, or others may read it.
    """
    if not os.path.lexists(path):
        made = Ed25519PrivateKey.generate()
        # Whole or not at all: with a part of one no later start would get any further.
        replaceFile(path, made.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()), 0o600)
    if path.stat().st_mode & 0o077:
        raise ConfigError(f"manhole.host_key: expected that only the owner may read {path}: chmod 600 {path}")
    try:
        key: Key = Key.fromFile(str(path))
    except (BadKeyError, ValueError) as error:
        raise ConfigError(f"manhole.host_key: expected a private key in {path}: {error}") from None
    if key.isPublic():
        raise ConfigError(f"manhole.host_key: expected a private key in {path}, found a public one")
    return key


@implementer(IAuthorizedKeysDB)
class _AuthorizedKeys:
    """
    One file for every user name, read at each login, so that a key can be taken away without a restart.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def getAuthorizedKeys(self, username: object) -> list[Key]:
        with self._path.open("rb") as file:
            return list(readAuthorizedKeyFile(file))


class _Session(TerminalSession):
    def windowChanged(self, newWindowSize: tuple[int, ...]) -> None:
        # Twisted's raises NotImplementedError, which would write a traceback into the log at each resize.
        pass


class _Interpreter(ManholeInterpreter):
    def displayhook(self, obj: object) -> None:
        ManholeInterpreter.displayhook(self, obj)
        if isinstance(obj, Deferred):
            # A failure has been shown; without this it would be logged as one that nobody has seen.
            obj.addErrback(lambda _: None)

    def runcode(self, code: Any) -> None:
        try:
            ManholeInterpreter.runcode(self, code)
        except SystemExit:
            # The end of this login, and of nothing else.
            self.handler.handle_QUIT()

    def excepthook(
        self, excType: type[BaseException], excValue: BaseException, excTraceback: TracebackType
    ) -> None:
        if isinstance(excValue, SIPGraceError):
            # An order that is refused says why; where in the program is no help.
            self.write(f"{excValue}\n")
        else:
            ManholeInterpreter.excepthook(self, excType, excValue, excTraceback)


class _Prompt(ColoredManhole):
    def connectionMade(self) -> None:
        ColoredManhole.connectionMade(self)
        # Python's own would close the standard input of the whole process.
        names = {"quit": sys.exit, "exit": sys.exit, **(self.namespace or {})}
        self.interpreter = _Interpreter(self, names)


def _listen(
    reactor: object, section: ManholeSection, namespace: Mapping[str, object]
) -> Deferred[IListeningPort]:
    """
    Reads the key files, and takes the port.

    @param namespace: the names at the prompt; each login starts with its own copy.
    @raise ConfigError: when a key file cannot be used.
    """
    key = hostKeyOf(section)
    database = authorizedKeys(section)

    def prompt() -> ServerProtocol:
        return ServerProtocol(_Prompt, dict(namespace))

    # Conch's own annotations are too narrow for what it documents, hence Any.
    realm: Any = TerminalRealm()
    realm.sessionFactory = _Session
    realm.chainedProtocolFactory = prompt
    factory: Any = ConchFactory(Portal(realm, [SSHPublicKeyChecker(database)]))
    factory.noisy = False
    factory.publicKeys = {key.sshType(): key.public()}
    factory.privateKeys = {key.sshType(): key}
    endpoint: IStreamServerEndpoint = serverFromString(reactor, section.listen)
    return endpoint.listen(factory)


def authorizedKeys(section: ManholeSection) -> IAuthorizedKeysDB:
    """
    @return: who may log in.
    @raise ConfigError: when that cannot be read, or is nobody.
    """
    database = _AuthorizedKeys(section.authorizedKeys)
    try:
        authorized = database.getAuthorizedKeys(b"")
    except OSError as error:
        raise ConfigError(
            f"manhole.authorized_keys: cannot read {section.authorizedKeys}: {error.strerror}"
        ) from None
    if not authorized:
        raise ConfigError(f"manhole.authorized_keys: expected a public key in {section.authorizedKeys}")
    return database


def hostKeyOf(section: ManholeSection) -> Key:
    """
    See L{hostKey}.

    @raise ConfigError: also when the file cannot be used.
    """
    try:
        return hostKey(section.hostKey)
    except OSError as error:
        raise ConfigError(f"manhole.host_key: cannot use {section.hostKey}: {error.strerror}") from None
