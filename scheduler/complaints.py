"""How the command line says what went wrong: one screen, with what to do; never a traceback.

What is unexpected still ends in a traceback: it is a defect, and its place should be seen.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from portal.client.hub import HubProblem
    from scheduler.errors import Fault, Refused
    from scheduler.wire.accounts import ProblemFault

_MANY = 2
_UNUSABLE = 422
_START = (
    "start one here with `commonpool up`, see `commonpool status`, or name another with --hub URL"
)


@contextmanager
def told() -> Iterator[None]:
    """Turn the failures that are expected into words on standard error, and an exit code.

    It is 2 where what was handed in, a file or an option, cannot be used, and else 1.

    Raises:
        typer.Exit: something expected went wrong.
    """
    try:
        yield
    except BrokenPipeError:
        # Whoever read our output has enough; Python would complain again at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from None
    except ValueError as error:
        usage = _usage(error)
        if usage is None:
            raise
        raise usage from error
    except Exception as error:
        words = said(error)
        if words is None:
            raise
        typer.echo(words, err=True)
        raise typer.Exit(_code(error)) from error


def _code(error: Exception) -> int:
    from scheduler.errors import Refused  # noqa: PLC0415  # as below

    return 2 if isinstance(error, Refused) and error.status == _UNUSABLE else 1


def _usage(error: ValueError) -> typer.BadParameter | None:
    """Return why a message was not even sent, or None where the error is a defect."""
    from pydantic import ValidationError  # noqa: PLC0415  # as below

    if not isinstance(error, ValidationError):
        return None
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    return typer.BadParameter(f"{field}: {first['msg']}, not {first['input']!r:.80}")


def said(error: Exception) -> str | None:
    """Return what a person is told of a failure, or None where it is a defect."""
    # Imported here, where time no longer matters, for `commonpool --help` needs none of it.
    from portal.client.hub import HubProblem, HubUnreachable  # noqa: PLC0415
    from scheduler.embedded.trouble import Trouble  # noqa: PLC0415
    from scheduler.errors import Refused, StorageUnavailable  # noqa: PLC0415

    match error:
        case HubProblem():
            return _refusal(error, error.errors)
        case Refused():
            return _refusal(error, error.faults)
        case HubUnreachable():
            return _lines(str(error), next=_START)
        case Trouble():
            return _lines(error.what, error.evidence, next=error.next_step)
        case StorageUnavailable():
            return _lines(f"storage: {error}")
        case _:
            return None


def _refusal(refused: "HubProblem | Refused", faults: "Sequence[ProblemFault | Fault]") -> str:
    listed = "\n".join(
        f"line {f.line}: {f.field}: {f.reason}" if f.line else f"{f.field}: {f.reason}"
        for f in faults
    )
    field = refused.field
    if field and refused.value:
        field = f"{field} = {refused.value}"
    what = refused.detail if len(faults) < _MANY else refused.title
    return _lines(what, listed, field=field, limit=refused.limit, next=refused.next_step)


def _lines(what: str, evidence: str = "", **parts: str | None) -> str:
    """Return the sentence, the evidence below it, and each part that is known on its line."""
    lines = [f"error: {what}"]
    lines += [f"  | {line}" for line in evidence.splitlines()]
    lines += [f"  {name}: {value}" for name, value in parts.items() if value]
    return "\n".join(lines)
