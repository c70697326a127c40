"""Which hub a command speaks to, and as whom: options every command shares, in one place."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from portal.client.hub import Hub, http_client
from portal.commands import credentials

DEFAULT_HUB = "http://127.0.0.1:8265"
DEFAULT_DATA = Path(".commonpool")
_PANEL = "Hub and identity"

HubUrl = Annotated[
    str,
    typer.Option(
        "--hub",
        envvar="COMMONPOOL_HUB",
        help="Address; default: that of the instance in --data, else port 8265 here.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
_Token = Annotated[
    str,
    typer.Option(
        "--token",
        envvar="COMMONPOOL_TOKEN",
        rich_help_panel=_PANEL,
        show_default=False,
        help="Your token. Better from a file or the environment: others see command lines.",
    ),
]
_TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        envvar="COMMONPOOL_TOKEN_FILE",
        help="File that holds your token.",
        rich_help_panel=_PANEL,
    ),
]
_Person = Annotated[
    str,
    typer.Option(
        "--as",
        metavar="NAME",
        rich_help_panel=_PANEL,
        show_default=False,
        help="A person of the instance that `commonpool up` started here, e.g. dana.",
    ),
]
Data = Annotated[
    Path,
    typer.Option(
        "--data",
        envvar="COMMONPOOL_DATA",
        rich_help_panel=_PANEL,
        help="Data folder of that instance.",
    ),
]


_SHARED: dict[str, tuple[object, object]] = {
    "url": ("", HubUrl),
    "token": ("", _Token),
    "token_file": (None, _TokenFile),
    "person": ("", _Person),
    "data": (DEFAULT_DATA, Data),
}
Door = Hub | Path
"""A hub with somebody's token, or the folder of its database where there was no token."""


def with_hub(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that name a hub and a token, and hand it the `Hub`."""

    @wraps(command)
    def connected(**given: Any) -> None:  # noqa: ANN401  # as Typer read them from the signature
        named = _Named(*(given.pop(name) for name in _SHARED))
        with http_client() as client:
            command(named.hub(client), **given)

    return _with_options(connected, command)


def with_door(command: Callable[..., None]) -> Callable[..., None]:
    """Do the same for a command that can also work on the database's folder, with no token."""

    @wraps(command)
    def connected(**given: Any) -> None:  # noqa: ANN401  # as above
        named = _Named(*(given.pop(name) for name in _SHARED))
        with http_client() as client:
            # What is one's own is the hub's to know, whoever may write its database.
            door = named.has_token() or given.get("mine")
            command(named.hub(client) if door else named.data, **given)

    return _with_options(connected, command)


def _with_options(wrapper: Callable[..., None], command: Callable[..., Any]) -> Callable[..., None]:
    """Replace the wrapped command's first parameter by the shared options, for Typer to read."""
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    keyword = inspect.Parameter.KEYWORD_ONLY
    shared = [
        inspect.Parameter(name, keyword, default=default, annotation=annotation)
        for name, (default, annotation) in _SHARED.items()
    ]
    parameters = [*(one.replace(kind=keyword) for one in own), *shared]
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # Typer reads it
    wrapper.__annotations__ = {one.name: one.annotation for one in parameters}
    return wrapper


@dataclass(frozen=True, slots=True)
class _Named:
    """What the shared options said, in the order of `_SHARED`."""

    url: str
    token: str
    token_file: Path | None
    person: str
    data: Path

    def has_token(self) -> bool:
        return bool(self.person or self.token or self.token_file)

    def hub(self, client: httpx.Client) -> Hub:
        """Return the hub as the person whom the options name.

        Raises:
            typer.BadParameter: no option names a token that can be read, and nobody logged in.
        """
        url = self.address()
        return Hub(url, self._secret(url), client)

    def address(self) -> str:
        """Return the hub's address: named, that of the instance here, or of the last login."""
        return self.url or _embedded_hub(self.data) or credentials.last_hub() or DEFAULT_HUB

    def _secret(self, url: str) -> str:
        """Return the token; a person named on this command line goes before the environment."""
        if self.person:
            file = self.data / "tokens" / f"{self.person}.token"
            return _read(file, "--as", _known(self.data))
        if self.token:
            return self.token.strip()
        if self.token_file:
            return _read(self.token_file, "--token-file", "")
        kept = credentials.find(url)
        if kept is not None:
            return kept.token
        raise typer.BadParameter(
            "which token? Sign in with `commonpool login`, or use --token-file FILE or"
            " COMMONPOOL_TOKEN, or --as NAME on a machine where `commonpool up` runs"
            f"{_known(self.data)}"
        )


def named_hub(said: tuple[str, str, Path | None, str, Path], client: httpx.Client) -> Hub:
    """Return the hub that the shared options name, in the order of `_SHARED`.

    Raises:
        typer.BadParameter: no option names a token that can be read, and nobody logged in.
    """
    return _Named(*said).hub(client)


def hub_address(url: str, data: Path) -> str:
    """Return the hub's address where no token is needed, as for the commands that get one."""
    return _Named(url, "", None, "", data).address()


def _embedded_hub(data: Path) -> str:
    """Return the address of the instance in a data folder; empty where there is none."""
    try:
        return (data / "hub.url").read_text().split()[0]
    except (OSError, IndexError):
        return ""


def _read(file: Path, option: str, advice: str) -> str:
    try:
        return file.read_text().strip()
    except OSError as error:
        raise typer.BadParameter(f"{option}: {file}: {error.strerror}{advice}") from error


def _known(data: Path) -> str:
    names = sorted(file.stem for file in (data / "tokens").glob("*.token"))
    people = [name for name in names if not name.endswith(("-site", "-node"))]
    return f" (here: {', '.join(people)})" if people else ""
