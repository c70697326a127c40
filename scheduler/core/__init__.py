"""Decide, with values: pure functions of a snapshot, a policy and an instant.

Standard library only; no clock, no I/O, no randomness, no logging. Start with
`plan.py` (the cycle on one screen) and `model.py` (the words).
"""
