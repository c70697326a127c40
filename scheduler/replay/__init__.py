"""What the planner looked at, kept in files, and planned again from them to the byte.

A recording is evidence: with it, anybody can ask why the planner decided as it did, and
whether it would again. Nothing in here decides anything.
"""
