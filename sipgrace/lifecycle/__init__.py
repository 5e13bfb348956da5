"""
Graceful termination: the machine, its ledger and guard.
"""
