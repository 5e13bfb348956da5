"""
sipgrace takes a SIP server out of service without losing a call.
"""

__version__ = "0.1.0"
