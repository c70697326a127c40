"""The fake hub's refusals, in the hub's own form."""

from scheduler.wire.accounts import Problem


class Refuse(Exception):  # noqa: N818
    def __init__(self, status, title, detail, **more):
        super().__init__(detail)
        self.problem = Problem(title=title, status=status, detail=detail, **more)
