"""
RFC 3261 §16, the part that servers and clients share.
"""
