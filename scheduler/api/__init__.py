"""The hub's front doors: Commonpool's own API under `/v1`, Ray's Jobs API under `/api`.

Endpoints parse, call `db` and `core`, and render; the frame around them (`app.Frame`,
`problems`) sees to limits, errors and request ids.
"""
