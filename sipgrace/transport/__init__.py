"""
Associations over UDP, TCP, TLS and SCTP.
"""
