"""
The transaction layer of RFC 3261 §17 with RFC 6026: timers, four machines, and what matches messages to them.
"""
