"""
A configured registrar made into bindings and what changes them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sipgrace.client.bindingfile import BindingFile
from sipgrace.client.bindings import Bindings, Source
from sipgrace.client.digest import Credentials, Digest, credentials
from sipgrace.client.registrar import Registrar, RegistrarSettings
from sipgrace.client.role import INTERFACE
from sipgrace.config.registrar import Account, Algorithm, RegistrarSection
from sipgrace.element import Element
from sipgrace.interfaces import IAssociation

__all__ = ["credentialsOf", "registering"]


def credentialsOf(account: Account, realm: bytes, algorithms: tuple[Algorithm, ...]) -> Credentials:
    """
    By what an account's telephones are known.

    @param algorithms: those of the registrar, where the account says nothing of its own.
    """
    hashes = account.hashes
    usual = tuple(name for name in algorithms if not hashes or name in hashes)
    names = account.algorithms or usual or tuple(hashes)
    if account.password is None:
        return Credentials({name.encode("ascii"): hashes[name].encode("ascii") for name in names})
    return credentials(
        account.user.encode("utf-8"),
        realm,
        account.password.encode("utf-8"),
        [name.encode("ascii") for name in names],
    )


def registering(
    section: RegistrarSection, element: Element, source: Callable[[Source], IAssociation | None]
) -> tuple[Bindings, Registrar]:
    """
    @param source: finds the association that a telephone has registered over, if it is still there.
    @return: where users are, yet to be opened, and what answers their REGISTERs.
    """
    realm = (section.realm or section.domains[0]).encode("utf-8")
    users = {
        account.user.encode("utf-8"): credentialsOf(account, realm, section.algorithms)
        for account in section.accounts
    }
    settings = RegistrarSettings(
        tuple(domain.encode("ascii") for domain in section.domains),
        users,
        section.usual,
        section.shortest,
        section.longest,
        section.most,
    )
    bindings = Bindings(
        element.clock,
        time.time,
        BindingFile(element.reactor, section.database),
        lambda record: record[0] in settings.users and record[1] in settings.domains,
    )
    algorithms = [name.encode("ascii") for name in section.algorithms]
    # Nonces end with the process, and know nothing of a wall clock that is set back.
    digest = Digest(realm, users, time.monotonic, algorithms)
    registrar = Registrar(
        element.clock, element.identity, bindings, digest, settings, time.time, INTERFACE, source
    )
    return bindings, registrar
