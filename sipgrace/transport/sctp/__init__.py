"""
SCTP twice: the kernel's and userspace, behind one pair of endpoints.
"""
