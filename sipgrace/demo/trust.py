"""
What the elements of the reference network know each other by, made for one run.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sipgrace.commands.certificates import CA_CERTIFICATE, Authority
from sipgrace.commands.keys import makeOrderKey
from sipgrace.controller.web.tokens import newToken
from sipgrace.demo.plan import CLIENTS, CONTROLLERS, SERVERS, Member

__all__ = ["Trust", "makeTrust"]

#: No run lasts longer.
_DAYS = 30


@dataclass(frozen=True, slots=True)
class Trust:
    """
    Certificates, keys that sign orders, and a token.

    @ivar folder: where the files are.
    @ivar publics: each controller's public key.
    @ivar token: what an operator says to a controller, which knows its C{digest}.
    """

    folder: Path
    publics: Mapping[Member, str]
    token: str
    digest: str

    def certificates(self, member: Member) -> str:
        """
        @return: the lines of a link, for a configuration.
        """
        return f"""\
certificate = "{self.folder / member.name}.crt"
key = "{self.folder / member.name}.key"
ca = "{self.folder / CA_CERTIFICATE}\""""


def makeTrust(folder: Path) -> Trust:
    """
    Makes all that C{sipgrace keys} makes for a first set-up.

    @param folder: is made.
    """
    now = datetime.datetime.now(datetime.UTC)
    authority = Authority.make(folder, "sipgrace demo", _DAYS, "p256", now)
    for member in (*CONTROLLERS, *SERVERS, *CLIENTS):
        authority.certify(member.name, _DAYS, "p256", now)
    publics = {member: makeOrderKey(folder, member.name)[1] for member in CONTROLLERS}
    return Trust(folder, publics, *newToken())
