"""`commonpool portal`: the portal's own process."""

import os
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Serve the portal.")

HubUrl = Annotated[str, typer.Option("--hub", help="The hub's address.", metavar="URL")]
Tokens = Annotated[
    Path,
    typer.Option(
        help="Folder with a <person>.token file for each demo user.",
        exists=True,
        file_okay=False,
        metavar="DIR",
    ),
]
Port = Annotated[int, typer.Option(help="Where to listen.", min=1, max=65_535)]
Host = Annotated[str, typer.Option(help="A loopback address: see below.")]


@app.callback(invoke_without_command=True)
def portal(
    tokens: Tokens,
    hub: HubUrl = "http://127.0.0.1:8265",
    port: Port = 8501,
    host: Host = "127.0.0.1",
) -> None:
    """Serve the portal until it is told to stop.

    Its sign-in is the embedded demo's: whoever opens it can be any of the people in DIR.
    So it listens on this machine only.
    """
    if not _is_loopback(host):
        raise typer.BadParameter(
            f"{host} can be reached from other machines, and the demo sign-in gives whoever"
            " opens the portal everybody's tokens. Use 127.0.0.1, and a tunnel from elsewhere:"
            f" ssh -L {port}:127.0.0.1:{port} this-machine",
            param_hint="--host",
        )
    os.environ["COMMONPOOL_HUB_URL"] = hub
    os.environ["COMMONPOOL_PORTAL_TOKENS"] = str(tokens.absolute())
    import uvicorn  # noqa: PLC0415  # Streamlit behind it takes a second to import

    typer.echo(f"Portal: http://{host}:{port} (hub: {hub}). Ctrl-C ends it.")
    uvicorn.run("portal.asgi:app", host=host, port=port, access_log=False, log_level="warning")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
