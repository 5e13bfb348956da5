"""
Digest authentication for SIP (RFC 3261 §22, RFC 7616, RFC 8760): SHA-256, and MD5 for who knows no other.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import md5, sha256
from os import urandom
from typing import Any, Final, NamedTuple

from sipgrace.errors import ParseError
from sipgrace.message.params import unquote
from sipgrace.message.uri import parseURI, sameURI

__all__ = ["ALGORITHMS", "Checked", "Credentials", "Digest", "credentials"]

#: The preferred one first: a client takes the first that it knows (RFC 8760 §2.4).
ALGORITHMS: Final[Mapping[bytes, Callable[[bytes], Any]]] = {b"SHA-256": sha256, b"MD5": md5}

_PARAMETER: Final = re.compile(
    rb"\s*([A-Za-z0-9\-.!%*_+`'~]+)\s*=\s*(\"(?:[^\"\\]|\\.)*\"|[^\s,\"]*)\s*(?:,|\Z)", re.DOTALL
)

#: RFC 7616 §3.4: eight hexadecimal digits.
_COUNT: Final = re.compile(rb"[0-9A-Fa-f]{8}")

#: The most parameters that are read.
_MOST: Final = 32

#: The most nonces whose counts are remembered.
_NONCES: Final = 10000


class Credentials(NamedTuple):
    """
    What a user authenticates with.

    @ivar ha1: by algorithm the hash of user, realm and password, as hexadecimal digits (RFC 7616 §3.4.2).
        These algorithms are offered, in this order, and no other is taken.
    """

    ha1: Mapping[bytes, bytes]


def credentials(user: bytes, realm: bytes, password: bytes, algorithms: Sequence[bytes]) -> Credentials:
    """
    What a password comes to.
    """
    return Credentials({name: _hash(name, user, realm, password) for name in algorithms})


def _hash(algorithm: bytes, *parts: bytes) -> bytes:
    return bytes(ALGORITHMS[algorithm](b":".join(parts)).hexdigest().encode("ascii"))


class Checked(NamedTuple):
    """
    What an Authorization is worth.

    @ivar user: whose it is; empty where it is worth nothing.
    @ivar stale: whether it was right, but for a nonce that is too old or was used before.
    """

    user: bytes = b""
    stale: bool = False


def parameters(value: bytes) -> dict[bytes, bytes]:
    """
    @param value: an Authorization.
    @return: its parameters by their names in lower case, without quotes; none where its scheme is not Digest.
    @raise ParseError: where it is malformed.
    """
    scheme, _, rest = value.strip().replace(b"\t", b" ").partition(b" ")
    if scheme.lower() != b"digest":
        return {}
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(rest):
        match = _PARAMETER.match(rest, at)
        if match is None or len(found) == _MOST:
            raise ParseError("Malformed Authorization header field")
        name = match[1].lower()
        if name in found:
            raise ParseError("Authorization header field with a parameter twice")
        found[name] = unquote(match[2])
        at = match.end()
    return found


class Digest:
    """
    Challenges, and judges the answers. A nonce says by itself when it was made and that it is ours, so that
    there is nothing to keep of a challenge that nobody answers rightly.

    @ivar realm: what the passwords are for.
    """

    def __init__(
        self,
        realm: bytes,
        users: Mapping[bytes, Credentials],
        time: Callable[[], float],
        algorithms: Sequence[bytes] = tuple(ALGORITHMS),
        lifetime: float = 300.0,
        nonces: int = _NONCES,
    ) -> None:
        """
        @param time: seconds since anything, which never go back: nonces end with this object.
        @param algorithms: those that are offered while there are no users.
        @param lifetime: seconds that a nonce is good for.
        @param nonces: the most of them whose counts are remembered.
        """
        self.realm = realm
        self._users = users
        self._nobody = credentials(b"", realm, urandom(16), algorithms)
        # What is offered to whom nobody knows: what some user is offered, each time the same, also by the
        # next process; so challenges tell nobody who has an account.
        self._offers = [tuple(known.ha1) for known in users.values()] or [tuple(algorithms)]
        hashes = b"".join(digits for known in users.values() for digits in known.ha1.values())
        self._salt = sha256(hashes).digest()
        self._time = time
        self._lifetime = lifetime
        self._most = nonces
        self._secret = urandom(32)
        # Those that were used rightly, and how often. What was made in this second or before is forgotten.
        self._counts: dict[bytes, int] = {}
        self._forgotten = -1

    def challenges(self, user: bytes, stale: bool = False) -> list[bytes]:
        """
        @param user: who it probably is.
        @param stale: whether the password was right, and only the nonce was not.
        @return: a WWW-Authenticate value for each algorithm, the preferred one first.
        """
        # Nobody else has the same one, whose count would be taken for this one's.
        nonce = self._nonce(b"%x-%b" % (int(self._time()), urandom(8).hex().encode("ascii")))
        more = b", stale=true" if stale else b""
        return [
            b'Digest realm="%b", nonce="%b", algorithm=%b, qop="auth"%b' % (self.realm, nonce, name, more)
            for name in self._offered(user)
        ]

    def _offered(self, user: bytes) -> Iterable[bytes]:
        known = self._users.get(user)
        if known is not None:
            return known.ha1
        number = int.from_bytes(hmac.digest(self._salt, user, "sha256")[:8], "big")
        return self._offers[number % len(self._offers)]

    def _nonce(self, made: bytes) -> bytes:
        return b"%b.%b" % (made, hmac.digest(self._secret, made, "sha256")[:16].hex().encode("ascii"))

    def check(self, value: bytes, method: bytes, uri: bytes) -> Checked:
        """
        @param value: an Authorization.
        @param uri: the Request-URI.
        @raise ParseError: where it is malformed.
        """
        given = parameters(value)
        if not given or given.get(b"realm") != self.realm:
            return Checked()
        user, nonce, qop = given.get(b"username", b""), given.get(b"nonce", b""), given.get(b"qop")
        known = self._users.get(user, self._nobody)
        name = given.get(b"algorithm", b"MD5").upper()
        ha1 = known.ha1.get(name)
        if ha1 is None or not _sameTarget(given.get(b"uri", b""), uri):
            return Checked()
        # As the sender has it; that it is the Request-URI in another spelling was just seen.
        ha2 = _hash(name, method, given[b"uri"])
        count = given.get(b"nc")
        if qop is not None:
            if qop.lower() != b"auth" or count is None or _COUNT.fullmatch(count) is None:
                return Checked()
            expected = _hash(name, ha1, nonce, count, given.get(b"cnonce", b""), qop, ha2)
        else:
            # RFC 2069: without a count, a nonce is good for one request.
            count = b"1"
            expected = _hash(name, ha1, nonce, ha2)
        # It takes as long for somebody whom nobody knows.
        right = hmac.compare_digest(expected, given.get(b"response", b"").lower())
        if not right or known is self._nobody:
            return Checked()
        if not self._fresh(nonce, int(count, 16)):
            return Checked(stale=True)
        return Checked(user)

    def _fresh(self, nonce: bytes, count: int) -> bool:
        """
        Whether a nonce is ours, not too old, and counted further than before (RFC 7616 §3.4); then it is
        counted.
        """
        made = nonce.partition(b".")[0]
        if not hmac.compare_digest(self._nonce(made), nonce):
            return False
        moment = _moment(nonce)
        if self._time() - moment > self._lifetime or moment <= self._forgotten:
            return False
        if count <= self._counts.get(nonce, 0):
            return False
        if nonce not in self._counts and len(self._counts) >= self._most:
            # Rather one more challenge for some than a request that counts twice.
            oldest = next(iter(self._counts))
            del self._counts[oldest]
            self._forgotten = max(self._forgotten, _moment(oldest))
        self._counts[nonce] = count
        return moment > self._forgotten


def _moment(nonce: bytes) -> int:
    """
    @param nonce: one of ours.
    @return: the second in which it was made.
    """
    return int(nonce.partition(b"-")[0], 16)


def _sameTarget(given: bytes, uri: bytes) -> bool:
    """
    RFC 3261 §22.4 item 5: it need be the Request-URI in the sense of §19.1.4 alone.
    """
    if given == uri:
        return True
    try:
        return sameURI(parseURI(given), parseURI(uri))
    except ParseError:
        return False
