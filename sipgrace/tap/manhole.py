"""
An SSH login for operators, with the orders of the role as Python functions.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.application.service import IService, Service
from twisted.conch.checkers import IAuthorizedKeysDB, SSHPublicKeyChecker, readAuthorizedKeyFile
from twisted.conch.insults.insults import ServerProtocol
from twisted.conch.manhole import ColoredManhole, ManholeInterpreter
from twisted.conch.manhole_ssh import ConchFactory, TerminalRealm, TerminalSession
from twisted.conch.ssh.keys import BadKeyError, Key
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from sipgrace.config.sections import ManholeSection
from sipgrace.errors import ConfigError, SIPGraceError
from sipgrace.transport.address import addressOf

__all__ = ["Manhole", "hostKey", "manholeBeside"]


def manholeBeside(
    reactor: object, section: ManholeSection | None, namespace: Mapping[str, object]
) -> Iterator[IService]:
    """
    @return: the manhole where one is configured, or nothing.
    """
    if section is not None:
        yield Manhole(reactor, section, namespace)


def hostKey(path: Path) -> Key:
    """
    Reads the private key by which clients know this host; makes one (Ed25519) where there is none, readable
    by its owner alone.

    @raise ConfigError: when the file is no such key, or others may read it.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    else:
        made = Ed25519PrivateKey.generate()
        with open(descriptor, "wb") as file:
            file.write(made.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
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
        self.interpreter = _Interpreter(self, self.namespace)


class Manhole(Service):
    """
    Listens for SSH and gives whoever holds an authorized key a Python prompt.

    @param reactor: the reactor.
    @param section: where to listen, and the keys.
    @param namespace: the names at the prompt; each login starts with its own copy.
    """

    _log = Logger()
    port: IListeningPort | None = None

    def __init__(self, reactor: object, section: ManholeSection, namespace: Mapping[str, object]) -> None:
        self._reactor = reactor
        self._section = section
        self._namespace = namespace

    def prepare(self) -> Deferred[None]:
        """
        Reads the key files and takes the port; nobody can log in yet.

        @return: as that of L{startService}.
        """

        def hold(ignored: None) -> None:
            port: Any = self.port
            port.stopReading()

        return maybeDeferred(self._listen).addCallback(hold)

    def startService(self) -> Deferred[None]:
        """
        @return: fires when it listens; fails with L{ConfigError} when a key file cannot be used, or the port
            is taken.
        """
        Service.startService(self)
        port: Any = self.port
        if port is None:
            return maybeDeferred(self._listen)
        port.startReading()
        return succeed(None)

    def _listen(self) -> Deferred[None]:
        key = self._hostKey()
        database = _AuthorizedKeys(self._section.authorizedKeys)
        try:
            authorized = database.getAuthorizedKeys(b"")
        except OSError as error:
            raise ConfigError(
                f"manhole.authorized_keys: cannot read {self._section.authorizedKeys}: {error.strerror}"
            ) from None
        if not authorized:
            raise ConfigError(
                f"manhole.authorized_keys: expected a public key in {self._section.authorizedKeys}"
            )
        # Conch's own annotations are too narrow for what it documents, hence Any.
        realm: Any = TerminalRealm()
        realm.sessionFactory = _Session
        realm.chainedProtocolFactory = self._prompt
        factory: Any = ConchFactory(Portal(realm, [SSHPublicKeyChecker(database)]))
        factory.publicKeys = {key.sshType(): key.public()}
        factory.privateKeys = {key.sshType(): key}
        endpoint: IStreamServerEndpoint = serverFromString(self._reactor, self._section.listen)
        return endpoint.listen(factory).addCallbacks(self._listening, self._taken)

    def _taken(self, failure: Failure) -> None:
        failure.trap(CannotListenError)
        raise ConfigError(f"manhole.listen: cannot listen at {self._section.listen}: {failure.value}")

    def _hostKey(self) -> Key:
        path = self._section.hostKey
        try:
            return hostKey(path)
        except OSError as error:
            raise ConfigError(f"manhole.host_key: cannot use {path}: {error.strerror}") from None

    def _listening(self, port: IListeningPort) -> None:
        self.port = port
        self._log.info("manhole at {address}", address=addressOf(port))

    def _prompt(self) -> ServerProtocol:
        return ServerProtocol(_Prompt, dict(self._namespace))

    def stopService(self) -> Deferred[Any] | None:
        """
        Listens no longer. Whoever is logged in stays so until the process ends.
        """
        Service.stopService(self)
        port, self.port = self.port, None
        return None if port is None else maybeDeferred(port.stopListening)
