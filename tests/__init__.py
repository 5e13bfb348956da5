"""
Tests of sipgrace, run with trial.
"""
