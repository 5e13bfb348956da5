"""
What the tests of whole networks share: processes, addresses, phones, peers, and SIPp with its scenarios.
"""
