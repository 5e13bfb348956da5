"""
Runs against SIP programs that nobody here wrote: SIPp, Kamailio, baresip. C{make interop} makes all of them,
and writes what they proved into docs/interop.rst.
"""
