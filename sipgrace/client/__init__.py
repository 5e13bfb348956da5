"""
The client role: active list, strategies, probing, the TDM route, the users' interface.
"""
