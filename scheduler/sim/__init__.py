"""A trace of jobs against the planner, under a virtual clock: `commonpool simulate`.

Another shell around the same core: `engine.py` feeds a `World` with events and carries
out its plans, as the hub does. Start there; `trace.py` and `sacct.py` read what happened
elsewhere, `setting.py` makes a cluster and a policy for it, `report.py` measures.
"""
