"""
The three parts of a Request-URI that routing decides by, read without parsing the rest.
"""

from __future__ import annotations


def glance(uri: bytes) -> tuple[bytes, bytes, bytes]:
    """
    Reads scheme, user and host of a URI, on the path of every request. Parameters may stand within a user
    part (RFC 3261 §25.1 user-unreserved), so the C{@} decides first.

    @param uri: a C{sip:}, C{sips:} or C{tel:} URI; anything else gives what can be found in it.
    @return: scheme and host in lower case, the user without a password. A C{tel:} URI has its number as
        the user and no host (RFC 3966 §3); a SIP URI without a user has an empty one.
    """
    scheme, _, rest = uri.partition(b":")
    scheme = scheme.lower()
    if scheme == b"tel":
        return scheme, rest.partition(b";")[0], b""
    user, at, host = rest.partition(b"@")
    if not at:
        user, host = b"", rest
    else:
        user = user.partition(b":")[0]
    host = host.partition(b";")[0].partition(b"?")[0]
    host = host.partition(b"]")[0] + b"]" if host[:1] == b"[" else host.partition(b":")[0]
    return scheme, user, host.lower()
