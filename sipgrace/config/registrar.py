"""
The registrar of a client's interface, as configured.
"""

from __future__ import annotations

from string import hexdigits
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from sipgrace.config.sections import Many, Section
from sipgrace.config.values import Domain, FilePath, Phrase, mistakes, once

__all__ = ["Account", "RegistrarSection"]


Algorithm = Literal["SHA-256", "MD5"]


def _hexadecimal(value: str, length: int) -> str:
    if len(value) != length or not set(value) <= set(hexdigits):
        raise ValueError(f"expected {length} hexadecimal digits, found {len(value)} characters")
    return value.lower()


def _sha256(value: str) -> str:
    return _hexadecimal(value, 64)


def _md5(value: str) -> str:
    return _hexadecimal(value, 32)


SHA256 = Annotated[str, AfterValidator(_sha256)]
MD5 = Annotated[str, AfterValidator(_md5)]


class Account(Section):
    """
    A user who may register.
    """

    user: Annotated[str, Field(min_length=1, max_length=100)]
    """The user part of the address of record; the name under which the user authenticates, too."""

    password: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """The password. This, or one or both of the next two."""

    ha1Sha256: SHA256 | None = None
    """In place of the password, what SHA-256 makes of user:realm:password: 64 hexadecimal digits."""

    ha1Md5: MD5 | None = None
    """In place of the password, what MD5 makes of user:realm:password: 32 hexadecimal digits."""

    algorithms: Annotated[tuple[Algorithm, ...], Many, Field(min_length=1)] | None = None
    """The digest algorithms for this user alone."""

    @property
    def hashes(self) -> dict[Algorithm, str]:
        """
        What was given in place of the password, by algorithm.
        """
        given: dict[Algorithm, str | None] = {"SHA-256": self.ha1Sha256, "MD5": self.ha1Md5}
        return {name: value for name, value in given.items() if value is not None}

    @model_validator(mode="after")
    def _known(self) -> Self:
        if (self.password is None) == (not self.hashes):
            mistakes([(("password",), "expected either a password, or ha1_sha256 or ha1_md5 or both")])
        if self.hashes:
            mistakes(
                (("algorithms", at), f"expected one of which the ha1 is given, found {name!r}")
                for at, name in enumerate(self.algorithms or ())
                if name not in self.hashes
            )
        return self


class RegistrarSection(Section):
    """
    Lets users register at the interface (RFC 3261 section 10), so that it is they who say where they are.
    They authenticate by digest, with SHA-256 or MD5. It is off unless this section is there; users of
    [[users]] need no registration.
    """

    database: FilePath
    """The SQLite file that keeps the registrations, so that a restart forgets nobody. It is made at the first
    start, for its owner alone; each client needs one of its own."""

    domains: Annotated[tuple[Domain, ...], Many, Field(min_length=1)]
    """Whose users register here. Requests for the addresses of this client itself are for the first of
    them."""

    realm: Phrase | None = None
    """What users are told that their password is for; by default the first domain."""

    accounts: Annotated[tuple[Account, ...], Many, Field(min_length=1)]
    """Who may register, one table each. A user whom [[users]] names by uri or aor is called there, registered
    or not; where a user has not registered, a prefix of [[users]] is tried."""

    algorithms: Annotated[tuple[Algorithm, ...], Many, Field(min_length=1)] = ("SHA-256", "MD5")
    """The digest algorithms that users are offered, the preferred one first. Some telephones do not register
    where one is offered that they do not know: those need "MD5" alone. An account with an ha1 in place of a
    password is offered those of which it has one."""

    usual: Annotated[int, Field(ge=1, le=604800)] = 3600
    """The seconds that a registration lasts that does not say."""

    shortest: Annotated[int, Field(ge=1, le=604800)] = 60
    """The seconds that a registration lasts at least: who asks for less is told to ask for this."""

    longest: Annotated[int, Field(ge=1, le=604800)] = 7200
    """The seconds that a registration lasts at most."""

    most: Annotated[int, Field(ge=1, le=50)] = 10
    """In how many places one user may be registered. They are called one after the other, the preferred one
    first, and of those equally preferred the one that registered last."""

    @field_validator("domains", mode="after")
    @classmethod
    def _plain(cls, domains: tuple[str, ...]) -> tuple[str, ...]:
        mistakes(
            ((at,), "expected a domain, found '*': nobody can register everywhere")
            for at, domain in enumerate(domains)
            if domain == "*"
        )
        return domains

    @field_validator("realm", mode="after")
    @classmethod
    def _quotable(cls, realm: str | None) -> str | None:
        if realm is not None and ('"' in realm or "\\" in realm):
            raise ValueError(f"expected a text without quotes and backslashes, found {realm!r}")
        return realm

    @field_validator("accounts", mode="after")
    @classmethod
    def _once(cls, accounts: tuple[Account, ...]) -> tuple[Account, ...]:
        mistakes(once([account.user for account in accounts], "account", "user"))
        return accounts

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.shortest <= self.usual <= self.longest:
            mistakes(
                [
                    (
                        ("usual",),
                        f"expected from shortest to longest, which are {self.shortest} and {self.longest}, "
                        f"found {self.usual}",
                    )
                ]
            )
        return self
