"""Approve or deny on the command line: one request or several, each with its own result."""

from collections.abc import Sequence

import typer
from pydantic import ValidationError
from rich.markup import escape

from portal.client.decisions import Chosen, Decided, decide_each
from portal.client.hub import HubProblem, HubUnreachable
from portal.client.requests import Requests
from portal.commands.tables import console_of, print_plain_json
from scheduler.wire.requests import RequestDecision


def decide(
    desk: Requests, names: Sequence[str], word: tuple[bool, str, str], as_json: bool
) -> None:
    """Decide on requests with one reason; print each result, and exit with 1 where one failed.

    Raises:
        typer.BadParameter: no reason, or one digest for several texts.
    """
    _, digest, reason = word
    wanted = list(dict.fromkeys(names))
    if digest and len(wanted) > 1:
        raise typer.BadParameter("--digest: it is of one text; name one request with it")
    _check(reason, digest)
    results = [_one(desk, name, word) for name in wanted]
    if as_json:
        print_plain_json([one.model_dump(mode="json") for one in results])
    else:
        for one in results:
            title = f"  {one.title}" if one.title else ""
            mark = "" if one.ok else "not decided. "
            console_of().print(escape(f"{one.id}{title}: {mark}{one.said}"), highlight=False)
    if not all(one.ok for one in results):
        raise typer.Exit(1)


def _one(desk: Requests, name: str, word: tuple[bool, str, str]) -> Decided:
    approves, digest, reason = word
    try:
        view = desk.show(name)
    except HubProblem as problem:
        return Decided(id=name, title="", ok=False, said=problem.sentence())
    except HubUnreachable as away:  # of several, those before it were decided: that is to be told
        return Decided(id=name, title="", ok=False, said=str(away))
    chosen = Chosen(name, view.title, digest or view.digest)
    (found,) = decide_each(desk, [chosen], reason, approve=approves)
    return found


def _check(reason: str, digest: str) -> None:
    try:
        RequestDecision(approve=True, digest=digest or "0" * 64, reason=reason)
    except ValidationError as error:
        first = error.errors()[0]
        raise typer.BadParameter(f"--{first['loc'][0]}: {first['msg']}") from error
