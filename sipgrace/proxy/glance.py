"""
The three parts of a Request-URI that routing decides by, read without parsing the rest.
"""

from __future__ import annotations

import re
from urllib.parse import quote_from_bytes, unquote_to_bytes

#: What makes a telephone number easier to read, and means nothing (RFC 3966 §5.1.1).
_SEPARATORS = b"-.()"

#: What may stand in a user part besides letters and digits (RFC 3261 §25.1 mark, user-unreserved).
_MARKS = "-_.!~*'()&=+$,;?/"
_PLAIN = re.compile(rb"[A-Za-z0-9" + re.escape(_MARKS.encode("ascii")) + rb"]*")


#: What most URIs are made of: nothing to be unescaped, folded or left out.
_USUAL = re.compile(
    rb"(sips?):(?:([A-Za-z0-9" + re.escape(_MARKS.encode("ascii")) + rb"]*)@)?([a-z0-9.\-]+)(?:[:;?][^@]*)?"
)


def glance(uri: bytes) -> tuple[bytes, bytes, bytes]:
    """
    Reads scheme, user and host of a URI, on the path of every request. Parameters may stand within a user
    part (RFC 3261 §25.1 user-unreserved), so the C{@} decides first.

    @param uri: a C{sip:}, C{sips:} or C{tel:} URI; anything else gives what can be found in it.
    @return: scheme and host in lower case, the user without a password and without escapes. A C{tel:} URI has
        its number as the user, without visual separators, and no host; a SIP URI without a user has an empty
        one.
    """
    usual = _USUAL.fullmatch(uri)
    if usual is not None:
        scheme, user, host = usual.groups(b"")
        return scheme, user, host
    scheme, _, rest = uri.partition(b":")
    scheme = scheme.lower()
    if scheme == b"tel":
        return scheme, rest.partition(b";")[0].translate(None, _SEPARATORS), b""
    user, at, host = rest.partition(b"@")
    if not at:
        user, host = b"", rest
    else:
        user = user.partition(b":")[0]
        if b"%" in user:
            user = unquote_to_bytes(user)
    host = host.partition(b";")[0].partition(b"?")[0]
    host = host.partition(b"]")[0] + b"]" if host[:1] == b"[" else host.partition(b":")[0]
    return scheme, user, host.lower()


def escaped(user: bytes) -> bytes:
    """
    @param user: as L{glance} gives it.
    @return: as it stands in a SIP URI.
    """
    if _PLAIN.fullmatch(user) is not None:
        return user
    return quote_from_bytes(user, safe=_MARKS).encode("ascii")
