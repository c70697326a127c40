"""`commonpool portal`: the portal's own process."""

import os
from ipaddress import ip_address
from typing import Annotated

import typer

app = typer.Typer(help="Serve the portal.")

HubUrl = Annotated[str, typer.Option("--hub", help="The hub's address.", metavar="URL")]
Port = Annotated[int, typer.Option(help="Where to listen.", min=1, max=65_535)]
Host = Annotated[str, typer.Option(help="Where to listen; a proxy with TLS in front.")]
LOOPBACK = "127.0.0.1"


@app.callback(invoke_without_command=True)
def portal(hub: HubUrl = "http://127.0.0.1:8265", port: Port = 8501, host: Host = LOOPBACK) -> None:
    """Serve the portal until it is told to stop.

    People sign in at the hub, whose API and sign-in pages are under this address too; the hub's
    COMMONPOOL_PUBLIC_URL is this portal's address as browsers see it. With COMMONPOOL_PORTAL_TOKEN
    nobody signs in and whoever opens it is the token's owner, so it listens on this machine only.
    """
    if os.environ.get("COMMONPOOL_PORTAL_TOKEN") and not _is_loopback(host):
        raise typer.BadParameter(
            f"{host} can be reached from other machines, and COMMONPOOL_PORTAL_TOKEN makes whoever"
            " opens the portal its owner. Use 127.0.0.1, and a tunnel from elsewhere:"
            f" ssh -L {port}:127.0.0.1:{port} this-machine",
            param_hint="--host",
        )
    os.environ["COMMONPOOL_HUB_URL"] = hub
    import uvicorn  # noqa: PLC0415  # Streamlit behind it takes a second to import

    typer.echo(f"Portal: http://{host}:{port} (hub: {hub}). Ctrl-C ends it.")
    uvicorn.run(
        "portal.gate.asgi:app",
        host=host,
        port=port,
        access_log=False,
        log_level="warning",
        # A proxy's word on who comes is the hub's business, and taken by a secret only.
        proxy_headers=False,
        server_header=False,
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
