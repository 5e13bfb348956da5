"""
The sipgrace command line.
"""
