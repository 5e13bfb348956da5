"""
What twistd starts: options and service makers, one module a role.
"""
