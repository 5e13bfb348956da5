"""
The server role: admission, routing, redirecting.
"""
