"""
How a node is watched and given orders from outside: the AMP commands and the links that carry them.
"""
