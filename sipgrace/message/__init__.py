"""
What a SIP message is: URIs, headers, messages and framing; no I/O, no time (RFC 3261 §7, §25).
"""
