"""
The reference network on loopback.
"""
