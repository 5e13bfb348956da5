"""
Who may give which orders, and how they prove it.

An order comes by a way (L{Source}) that knows who is at the other end of it (L{Giver}). What comes over a
network is signed besides, with a key that the configuration names together with its role.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from twisted.internet.defer import Deferred

from sipgrace.errors import OrderRefused
from sipgrace.lifecycle.nonces import Nonces
from sipgrace.lifecycle.orderform import SignedOrder, fromText, signedBytes
from sipgrace.lifecycle.orders import Kind, Order

__all__ = ["MAY", "Authority", "Giver", "Grant", "Key", "Role", "SignedRefused", "Source", "Verify"]


class Role(StrEnum):
    """
    What somebody may order.
    """

    VIEWER = "viewer"
    """What changes nothing: rehearsals."""

    OPERATOR = "operator"
    """All that loses no call."""

    ADMIN = "admin"
    """All."""


_OPERATORS = frozenset(kind for kind in Kind if kind is not Kind.OFFLINE)

#: Which orders each role may give.
MAY: dict[Role, frozenset[Kind]] = {
    Role.VIEWER: frozenset((Kind.REHEARSE,)),
    Role.OPERATOR: _OPERATORS,
    Role.ADMIN: frozenset(Kind),
}


class Source(StrEnum):
    """
    The way an order comes by.
    """

    LINK = "link"
    """A controller's link."""

    SOCKET = "socket"
    """The control socket on the same host: the kernel says which user it is."""

    MANHOLE = "manhole"
    """The SSH login: whoever is there can do all that the process can."""

    SIGNAL = "signal"
    """A signal."""

    PROCESS = "process"
    """The process itself: its start and its end."""

    SELF = "self"
    """The server itself: overload, the schedule."""


@dataclass(frozen=True, slots=True)
class Giver:
    """
    Who is at the other end of the way.

    @ivar name: as the way knows them: the user, the name in the certificate.
    @ivar role: what they may order without a signature, where none is needed.
    """

    source: Source
    name: str
    role: Role = Role.ADMIN


class Verify(StrEnum):
    """
    Who sees to it that an order from a link is what it says.
    """

    SELF = "self"
    """We do: it bears a signature by one of our keys."""

    CONTROLLER = "controller"
    """The controller is asked."""

    NONE = "none"
    """Nobody: who may connect is who may give orders."""


@dataclass(frozen=True, slots=True)
class Key:
    """
    A key that orders may be signed with.
    """

    name: str
    role: Role
    public: Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class Grant:
    """
    An order that may be given.

    @ivar key: the name of the key it was signed with; empty where it was not signed.
    """

    order: Order
    role: Role
    key: str = ""


class SignedRefused(OrderRefused):
    """
    An order that is rightly signed, and refused all the same.

    @ivar key: the name of the key; empty where nobody has vouched for it (L{Verify.NONE}).
    @ivar order: the order; C{None} where its text is none.
    @ivar role: what its giver may order.
    """

    def __init__(self, reason: str, key: str, role: Role, order: Order | None = None) -> None:
        super().__init__(reason)
        self.key = key
        self.role = role
        self.order = order


#: Asks a controller whether an order is its own.
Confirm = Callable[[SignedOrder, Giver], Deferred[bool]]

_NONCE = re.compile(r"[A-Za-z0-9_-]{16,100}\Z")


class Authority:
    """
    Decides whether an order may be given here.

    @ivar confirm: how a controller is asked, with L{Verify.CONTROLLER}; C{None} while none is linked.
    """

    def __init__(
        self,
        node: str,
        keys: Iterable[Key] = (),
        nonces: Nonces | None = None,
        verify: Verify = Verify.SELF,
        signedLocally: bool = False,
        skew: float = 30.0,
        longest: float = 3600.0,
        confirm: Confirm | None = None,
    ) -> None:
        """
        @param node: our name; signed orders are for nobody else.
        @param signedLocally: whether orders from the control socket and the manhole need a signature, too.
        @param skew: by how many seconds the giver's clock may be ahead of ours.
        @param longest: for how many seconds an order may be valid.
        """
        self._node = node
        self._keys = {key.name: key for key in keys}
        self._nonces = Nonces() if nonces is None else nonces
        self._verify = verify
        self._signedLocally = signedLocally
        self._skew = skew
        self._longest = longest
        self.confirm = confirm

    def unsigned(self, order: Order, giver: Giver) -> Grant:
        """
        Looks at an order that bears no signature.

        @raise OrderRefused: when it needs one, or may not be given.
        """
        if giver.source is Source.LINK and self._verify is not Verify.NONE:
            raise OrderRefused("the order is not signed; orders from a link are signed here")
        if giver.source in (Source.SOCKET, Source.MANHOLE) and self._signedLocally:
            how = " (--key FILE)" if giver.source is Source.SOCKET else ""
            raise OrderRefused(
                f"the order is not signed; orders from the {giver.source} are signed here{how}"
            )
        if order.node and order.node != self._node:
            raise OrderRefused(f"the order is for {order.node}; this is {self._node}")
        return self._allowed(Grant(order, giver.role), "you have")

    async def signed(self, signed: SignedOrder, giver: Giver, now: float) -> Grant:
        """
        Looks at a signed order. Whatever is wrong with it is told only to somebody whose signature is right:
        that is looked at first.

        @param now: seconds since the epoch.
        @raise OrderRefused: when it may not be given. A nonce that was seen once is not taken again.
        """
        data = signedBytes(signed.text)
        if giver.source is Source.LINK and self._verify is Verify.CONTROLLER:
            await self._confirmed(signed, giver)
            role, name, whose = giver.role, signed.key, "you have"
        elif giver.source is Source.LINK and self._verify is Verify.NONE:
            # One that is there and can be verified is; what may be ordered, the way says alone.
            name = self._keyOf(signed, data).name if signed.key in self._keys else ""
            role, whose = giver.role, "you have"
        else:
            key = self._keyOf(signed, data)
            role, name, whose = key.role, key.name, f"the key {key.name} has"
        order: Order | None = None
        try:
            order = fromText(signed.text)
            self._current(order, now)
            granted = self._allowed(Grant(order, role, name), whose)
            assert order.expires is not None
            self._nonces.take(order.nonce, order.expires, now)
        except OrderRefused as error:
            raise SignedRefused(str(error), name, role, order) from None
        return granted

    def _keyOf(self, signed: SignedOrder, data: bytes) -> Key:
        key = self._keys.get(signed.key)
        if key is None:
            raise OrderRefused(f"the order is signed with {signed.key[:50]!r}, a key that is not known here")
        try:
            key.public.verify(signed.signature, data)
        except InvalidSignature:
            raise OrderRefused(f"the signature is not that of the key {key.name} over this order") from None
        return key

    async def _confirmed(self, signed: SignedOrder, giver: Giver) -> None:
        if self.confirm is None:
            raise OrderRefused("the controller is to say whether the order is right, and none can be asked")
        try:
            right = await self.confirm(signed, giver)
        except Exception as error:
            raise OrderRefused(f"the controller could not say whether the order is right: {error}") from None
        if not right:
            raise OrderRefused("the controller says that the order is not right")

    def _current(self, order: Order, now: float) -> None:
        if order.node != self._node:
            whom = order.node or "nobody in particular"
            raise OrderRefused(f"the order is for {whom}; this is {self._node}")
        if order.expires is None:
            raise OrderRefused("the order does not say when it expires; signed orders do")
        if not _NONCE.match(order.nonce):
            raise OrderRefused("the order has no nonce of 16 to 100 letters, digits, '-' and '_'")
        if order.when > now + self._skew:
            raise OrderRefused(
                f"the order comes from the future: by its own account it was given {order.when - now:.0f} s "
                f"from now; at most {self._skew:g} s are taken for a difference of clocks"
            )
        if order.expires <= now:
            raise OrderRefused(f"the order expired {now - order.expires:.0f} s ago; give it again")
        if order.expires - order.when > self._longest:
            raise OrderRefused(
                f"the order is valid for {order.expires - order.when:.0f} s; at most {self._longest:g} s are "
                "taken here"
            )

    def _allowed(self, grant: Grant, whose: str) -> Grant:
        if grant.order.kind not in MAY[grant.role]:
            least = next(role for role in Role if grant.order.kind in MAY[role])
            raise OrderRefused(
                f"{grant.order.kind} takes the role {least}; {whose} the role {grant.role}"
            )
        return grant

    def remembering(self, order: Order, now: float) -> Callable[[], None]:
        """
        @return: see L{Nonces.storing}; for the nonce of a signed order.
        """
        assert order.expires is not None
        return self._nonces.storing(order.nonce, order.expires, now)
