"""
The operation controller: a fleet of servers and clients, watched and commanded, never in the path of a call.
"""
