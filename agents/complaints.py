"""What is wrong with options, in one line per option and in a person's words."""

from pydantic import ValidationError


def said(error: Exception) -> str:
    """Return a settings error as `--option: what is wrong`, or another error's own words."""
    if not isinstance(error, ValidationError):
        return str(error)
    return "; ".join(
        f"--{'-'.join(str(part) for part in problem['loc'][:1]).replace('_', '-')}:"
        f" {problem['msg'].removeprefix('Value error, ')}"
        for problem in error.errors()
    )
