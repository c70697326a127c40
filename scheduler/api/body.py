"""JSON in and out. In, strictly: what two readers could understand in two ways is refused.

Python's reader takes the last of two equal keys, NaN, and integers without end;
PostgreSQL refuses NUL and lone surrogates. So all of these end here, with a 400 that
says what is wrong, and no validation by pydantic of what was parsed twice.
"""

import json
import re
from collections.abc import Iterable, Iterator
from math import isinf
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from scheduler.api.problems import validation_refused
from scheduler.errors import Refused

# Escapes that may spell NUL or half a surrogate pair, and numbers that may be infinite: only
# a body that holds one is looked through value by value.
_SUSPECT = re.compile(rb"\\u0000|\\u[dD][89a-fA-F]|[eE]\+?\d{3}|\d{300}")

M = TypeVar("M", bound=BaseModel)


async def read(request: Request, message: type[M]) -> M:
    """Return the request's body as a message.

    Raises:
        Refused: 415 not JSON by its own word, 400 not JSON, 422 not this message.
    """
    check_content_type(request)
    return parse(await request.body(), message)


def reply(message: BaseModel, status: int = 200) -> Response:
    """Return a message as the answer; it is valid already, so nothing checks it again."""
    return Response(message.model_dump_json(), status_code=status, media_type="application/json")


def parse(body: bytes, message: type[M]) -> M:
    """Return a body as a message; types must match, nothing is converted.

    Raises:
        Refused: 400 not JSON, 422 not this message.
    """
    check_json(body)
    try:
        return message.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise validation_refused(error.errors(include_url=False), message) from None


def check_json(body: bytes) -> Any:  # noqa: ANN401  # JSON can be anything
    """Return what the JSON says, as plain values.

    Raises:
        Refused: 400; malformed, ambiguous, too deep, or text that no database takes.
    """
    if not body:
        raise _malformed("The body is empty; it must be one JSON object.")
    try:
        value = json.loads(
            body.decode(), object_pairs_hook=_without_duplicates, parse_constant=_no_constant
        )
    except UnicodeDecodeError as error:
        raise _malformed(f"The body is not UTF-8: byte {error.start}.") from None
    except RecursionError:
        raise _too_deep() from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise _malformed(f"The body is not JSON: {error.msg} at {place}.") from None
    except ValueError:
        raise _malformed("A number in the body has too many digits.") from None
    if _SUSPECT.search(body):
        _check_values(value)
    return value


def check_content_type(request: Request) -> None:
    """Refuse a body that is not JSON by its own word.

    Raises:
        Refused: 415.
    """
    given = request.headers.get("content-type", "application/json")
    kind = given.partition(";")[0].strip().lower()
    if kind != "application/json" and not (
        kind.startswith("application/") and kind.endswith("+json")
    ):
        raise unsupported_media("application/json", given)


def unsupported_media(wanted: str, given: str) -> Refused:
    """Return the refusal of a body in another format."""
    return Refused(
        title="Unsupported media type",
        detail=f"The body must be {wanted}.",
        status=415,
        field="Content-Type",
        value=given,
        limit=wanted,
        next_step=f"Send it with Content-Type: {wanted}.",
    )


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Refused(
            title="Not valid JSON",
            detail="The field is there twice in one object.",
            status=400,
            field=twice,
            next_step="Keep one of them.",
        )
    return made


def _no_constant(name: str) -> NoReturn:
    raise Refused(
        title="Not valid JSON",
        detail=f"JSON has no {name}.",
        status=400,
        value=name,
        limit="finite numbers",
        next_step="Leave the field out where there is no number.",
    )


def _check_values(value: Any) -> None:  # noqa: ANN401  # JSON can be anything
    """Look through all values, level by level, so that depth costs no recursion."""
    level: list[tuple[str, Any]] = [("", value)]
    while level:
        below: list[tuple[str, Any]] = []
        for path, item in level:
            match item:
                case str():
                    _check_text(path, item)
                case float() if isinf(item):
                    _no_constant("number that large")
                case dict() | list():
                    below.extend(_children(path, item))
        level = below


def _children(path: str, parent: dict[str, Any] | list[Any]) -> Iterator[tuple[str, Any]]:
    if isinstance(parent, list):
        yield from ((_join(path, place), child) for place, child in enumerate(parent))
        return
    for name, child in parent.items():
        _check_text(path, name)
        yield _join(path, name), child


def _join(path: str, step: str | int) -> str:
    return f"{path}.{step}" if path else str(step)


def _check_text(path: str, text: str) -> None:
    if "\x00" in text:
        what = "NUL"
    elif not text.isascii() and _has_surrogate(text):
        what = "half a surrogate pair"
    else:
        return
    raise Refused(
        title="Not valid",
        detail=f"The text holds {what}, which is not a character.",
        status=422,
        field=path or None,
        value=text,
        limit="Unicode text without NUL",
        next_step="Remove it.",
    )


def _has_surrogate(text: Iterable[str]) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _malformed(detail: str) -> Refused:
    return Refused(
        title="Not valid JSON",
        detail=detail,
        status=400,
        next_step="Send one JSON object in UTF-8.",
    )


def _too_deep() -> Refused:
    return Refused(
        title="Not valid JSON",
        detail="The body is nested too deeply.",
        status=400,
        next_step="Flatten it.",
    )
