"""What can go wrong in the hub, as exceptions that say what a reader needs to act.

`api/problems.py` turns each into an RFC 9457 document, `api/ray_jobs.py` into the
one plain line that Ray's client prints.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One of several things wrong with a document: where, and why."""

    field: str
    reason: str
    line: int | None = None


# Not frozen: context managers and Starlette assign `__traceback__` on what passes through.
@dataclass(eq=False)
class Refused(Exception):  # noqa: N818  # the field's word: a request is refused, not an error
    """A request that cannot be carried out as it stands; nothing was changed."""

    title: str
    detail: str
    status: int = 422
    field: str | None = None
    value: str | None = None
    limit: str | None = None
    next_step: str | None = None
    faults: tuple[Fault, ...] = ()
    next_offset: int | None = None

    def sentence(self) -> str:
        """Return one line with field, value, limit and next step, as far as they are known."""
        parts = [self.detail]
        if self.limit:
            parts.append(f"limit: {self.limit}")
        if self.next_step:
            parts.append(self.next_step)
        return "; ".join(part.rstrip(".") for part in parts)

    def __str__(self) -> str:
        """Return the same line, for logs."""
        return self.sentence()


def no_such_node(name: str) -> Refused:
    """Return the refusal of a name under which no node has reported."""
    return Refused(
        title="No such node",
        detail=f"no node of the name {name} has reported",
        status=404,
        field="node",
        value=name,
        next_step="see the names: commonpool node list",
    )


class NotLeader(Exception):  # noqa: N818  # a state, told by its name
    """This process lost the planning lock; another hub plans now."""


class StorageUnavailable(Exception):  # noqa: N818  # a state, told by its name
    """The database or the disk refuses writes; nothing was stored."""
