"""
Configuration: one TOML file a role, checked whole before anything starts.
"""
