"""
Digest authentication: challenges, and what their answers are worth.
"""

from __future__ import annotations

import hashlib
import re

from twisted.trial.unittest import SynchronousTestCase

from sipgrace.client.digest import Checked, Credentials, Digest, credentials, parameters
from sipgrace.errors import ParseError

REALM = b"example.org"
URI = b"sip:example.org"
CAROL = b"carol:example.org:secret"
HASHES = {b"SHA-256": hashlib.sha256, b"MD5": hashlib.md5}


def answer(
    challenge: bytes,
    user: bytes = b"alice",
    password: bytes = b"secret",
    *,
    count: int | None = 1,
    method: bytes = b"REGISTER",
    uri: bytes = URI,
    **changes: bytes,
) -> bytes:
    """
    What a telephone makes of a challenge (RFC 7616 §3.4.1), written down once more from the RFC.

    @param count: C{None} for one of RFC 2069.
    @param changes: parameters that are sent otherwise than they were reckoned.
    """
    given = dict(re.findall(rb'(\w+)="?([^",]+)', challenge))

    def h(text: bytes) -> bytes:
        return HASHES[given[b"algorithm"]](text).hexdigest().encode()

    secret, data = h(user + b":" + given[b"realm"] + b":" + password), h(method + b":" + uri)
    said = {b"username": user, b"realm": given[b"realm"], b"nonce": given[b"nonce"], b"uri": uri}
    if count is None:
        said[b"response"] = h(b":".join((secret, given[b"nonce"], data)))
    else:
        counted = (given[b"nonce"], b"%08x" % count, b"0a4f113b", b"auth")
        said[b"response"] = h(b":".join((secret, *counted, data)))
        said |= {b"nc": counted[1], b"cnonce": counted[2], b"qop": b"auth"}
    said[b"algorithm"] = given[b"algorithm"]
    said |= {name.encode(): value for name, value in changes.items()}
    plain = (b"nc", b"qop", b"algorithm")
    return b"Digest " + b", ".join(
        b"%b=%b" % (name, value) if name in plain else b'%b="%b"' % (name, value)
        for name, value in said.items()
    )


class DigestTests(SynchronousTestCase):
    """
    Alice knows both algorithms, Bob's telephone only MD5; of Carol only a hash is known.
    """

    def setUp(self) -> None:
        self.now = 1000.0
        self.digest = self.make()

    def make(self, nonces: int = 100) -> Digest:
        users = {
            b"alice": credentials(b"alice", REALM, b"secret", (b"SHA-256", b"MD5")),
            b"bob": credentials(b"bob", REALM, b"secret", (b"MD5",)),
            b"carol": Credentials({b"SHA-256": HASHES[b"SHA-256"](CAROL).hexdigest().encode()}),
        }
        return Digest(REALM, users, lambda: self.now, nonces=nonces)

    def check(self, value: bytes, uri: bytes = URI) -> Checked:
        return self.digest.check(value, b"REGISTER", uri)

    def challenge(self, which: int = 0, user: bytes = b"alice") -> bytes:
        return self.digest.challenges(user)[which]

    def test_knownAnswer(self) -> None:
        """
        The example of RFC 7616 §3.9.1, whose nonce is not one of ours: right, but stale.
        """
        realm, password = b"http-auth@example.org", b"Circle of Life"
        users = {b"Mufasa": credentials(b"Mufasa", realm, password, (b"SHA-256", b"MD5"))}
        digest = Digest(realm, users, lambda: self.now)
        for algorithm, response in (
            (b"MD5", b"8ca523f5e9506fed4657c9700eebdbec"),
            (b"SHA-256", b"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ):
            value = (
                b'Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", '
                b'algorithm=%b, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001, '
                b'cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth, response="%b", '
                b'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"' % (algorithm, response)
            )
            self.assertEqual(digest.check(value, b"GET", b"/dir/index.html"), Checked(stale=True))
            self.assertEqual(digest.check(value, b"POST", b"/dir/index.html"), Checked())

    def test_challenges(self) -> None:
        """
        The stronger first, with one nonce; those that a user's telephone knows.
        """
        for user, algorithms in (
            (b"alice", [b"SHA-256", b"MD5"]),
            (b"bob", [b"MD5"]),
            (b"carol", [b"SHA-256"]),
        ):
            challenges = self.digest.challenges(user)
            nonces = {re.findall(rb'nonce="([^"]+)"', one)[0] for one in challenges}
            self.assertEqual(len(nonces), 1)
            (nonce,) = nonces
            self.assertEqual(
                challenges,
                [
                    b'Digest realm="example.org", nonce="%b", algorithm=%b, qop="auth"' % (nonce, name)
                    for name in algorithms
                ],
            )
        self.assertTrue(self.digest.challenges(b"alice", stale=True)[0].endswith(b", stale=true"))

    def test_unknown(self) -> None:
        """
        Somebody unknown is offered what some user is, and always the same, after a restart as well: nobody
        learns of accounts that way.
        """

        def offered(digest: Digest, name: bytes) -> tuple[bytes, ...]:
            return tuple(re.findall(rb"algorithm=([^,]+)", b" ".join(digest.challenges(name))))

        names = [b"nobody-%d" % number for number in range(60)]
        found = [offered(self.digest, name) for name in names]
        self.assertEqual(set(found), {(b"SHA-256", b"MD5"), (b"MD5",), (b"SHA-256",)})
        self.assertEqual([offered(self.make(), name) for name in names], found)
        alone = Digest(REALM, {}, lambda: self.now, (b"MD5",))
        self.assertEqual(offered(alone, b"nobody"), (b"MD5",))

    def test_right(self) -> None:
        for which in (0, 1):
            self.assertEqual(self.check(answer(self.challenge(which))), Checked(b"alice"))
            self.assertEqual(self.check(answer(self.challenge(which), count=None)), Checked(b"alice"))
        self.assertEqual(self.check(answer(self.challenge(user=b"bob"), b"bob")), Checked(b"bob"))

    def test_spelling(self) -> None:
        """
        Names, scheme and algorithm in any case, hexadecimal digits in any case, blanks where they may be.
        """
        value = answer(self.challenge(1))
        value = value.replace(b"Digest ", b"dIGEST \t").replace(b"MD5", b"md5").replace(b", ", b" ,\t")
        value = value.replace(b"username=", b"UserName = ")
        value = re.sub(rb'response="(\w+)"', lambda found: b'response="%b"' % found[1].upper(), value)
        self.assertEqual(self.check(value), Checked(b"alice"))

    def test_noAlgorithm(self) -> None:
        """
        Where none is named it is MD5.
        """
        value = answer(self.challenge(1))
        self.assertEqual(self.check(value.replace(b", algorithm=MD5", b"")), Checked(b"alice"))

    def test_wrong(self) -> None:
        """
        Nothing of these is worth anything.
        """
        challenge = self.challenge()
        for value in (
            answer(challenge, password=b"Secret"),
            answer(challenge, user=b"mallory"),
            answer(challenge, method=b"INVITE"),
            answer(challenge, uri=b"sip:example.com"),
            answer(challenge, response=b""),
            answer(challenge, realm=b"example.com"),
            answer(challenge, algorithm=b"SHA-512-256"),
            answer(challenge, algorithm=b"MD5"),
            answer(challenge, qop=b"auth-int"),
            answer(challenge, nc=b"1"),
            answer(challenge, nc=b"0000000x"),
            answer(challenge, nc=b"00000002"),
            # Carol's and Bob's algorithms are others.
            answer(self.challenge(1), b"carol"),
            answer(challenge, b"bob"),
            b"Basic YWxpY2U6c2VjcmV0",
            b"Digest",
            b"Digest ",
        ):
            self.assertEqual(self.check(value), Checked(), value)

    def test_hash(self) -> None:
        """
        A hash in place of the password does as well.
        """
        self.assertEqual(self.check(answer(self.challenge(user=b"carol"), b"carol")), Checked(b"carol"))

    def test_malformed(self) -> None:
        for value in (
            b'Digest username="alice',
            b"Digest username",
            b"Digest a=1, a=2",
            b"Digest a=1 b=2",
            b"Digest " + b", ".join(b"p%d=1" % number for number in range(33)),
        ):
            self.assertRaises(ParseError, parameters, value)

    def test_quoted(self) -> None:
        """
        Commas, quotes and equal signs may stand in a quoted string.
        """
        found = parameters(b'Digest username="a\\"=,b" , realm = "x",qop=auth,')
        self.assertEqual(found, {b"username": b'a"=,b', b"realm": b"x", b"qop": b"auth"})

    def test_sameURI(self) -> None:
        """
        RFC 3261 §22.4: the digest's URI need be the Request-URI in the sense of §19.1.4 alone.
        """
        value = answer(self.challenge(), uri=b"sip:EXAMPLE.org")
        self.assertEqual(self.check(value), Checked(b"alice"))
        value = answer(self.challenge(), uri=b"sip:EXAMPLE.org:5060")
        self.assertEqual(self.check(value), Checked())
        value = answer(self.challenge(), uri=b"//")
        self.assertEqual(self.check(value), Checked())

    def test_counted(self) -> None:
        """
        A nonce is good for as many requests as one likes, but each must count further.
        """
        challenge = self.challenge()
        for count, checked in (
            (1, Checked(b"alice")),
            (1, Checked(stale=True)),
            (2, Checked(b"alice")),
            (7, Checked(b"alice")),
            (3, Checked(stale=True)),
            (0, Checked(stale=True)),
        ):
            self.assertEqual(self.check(answer(challenge, count=count)), checked, count)
        # One of RFC 2069 counts as the first.
        self.assertEqual(self.check(answer(challenge, count=None)), Checked(stale=True))

    def test_tooOld(self) -> None:
        challenge = self.challenge()
        self.now += 300
        self.assertEqual(self.check(answer(challenge)), Checked(b"alice"))
        self.now += 1
        self.assertEqual(self.check(answer(challenge, count=2)), Checked(stale=True))
        # With a wrong password nobody is told that.
        self.assertEqual(self.check(answer(challenge, password=b"x", count=3)), Checked())

    def test_foreign(self) -> None:
        """
        A nonce of somebody else's, of the time before a restart, or one of ours with another time in it.
        """
        other = self.make().challenges(b"alice")[0]
        self.assertEqual(self.check(answer(other)), Checked(stale=True))
        ours = self.challenge()
        later = re.sub(rb'nonce="3e8-', b'nonce="3e9-', ours)
        self.assertNotEqual(ours, later)
        self.assertEqual(self.check(answer(later)), Checked(stale=True))
        self.assertEqual(self.check(answer(ours.replace(b'nonce="', b'nonce="x'))), Checked(stale=True))

    def test_bounded(self) -> None:
        """
        Whatever is asked, only so many nonces are remembered; one that is forgotten is not good any more.
        """
        self.digest = self.make(nonces=3)
        for _ in range(100):
            self.check(answer(self.challenge(), password=b"wrong"))
        challenges = []
        for _ in range(5):
            self.now += 1
            challenges.append(self.challenge())
            self.assertEqual(self.check(answer(challenges[-1])), Checked(b"alice"))
        self.assertEqual(len(self.digest._counts), 3)
        found = [self.check(answer(challenge, count=1)) for challenge in challenges]
        self.assertEqual(found, [Checked(stale=True)] * 5)
        found = [self.check(answer(challenge, count=2)) for challenge in challenges]
        self.assertEqual(found, [Checked(stale=True)] * 2 + [Checked(b"alice")] * 3)
