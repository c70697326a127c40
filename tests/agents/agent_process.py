"""A real site agent process, which can be killed, and a hub in memory that it reaches by HTTP."""

import asyncio
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from agents.hub import HubAway, LogGap
from scheduler.wire.sites import SiteSync
from tests.agents.fake_hub import FakeHub
from tests.agents.site import ROOT


def create_app(hub: FakeHub) -> FastAPI:
    app = FastAPI()

    @app.post("/v1/sites/{site}/sync")
    async def sync(site: str, request: Request):
        message = SiteSync.model_validate_json(await request.body())
        try:
            orders = await hub.sync(site, message)
        except (HubAway, asyncio.CancelledError) as away:  # Cancelled: the server stops.
            return JSONResponse({"detail": str(away)}, 503)
        return Response(orders.model_dump_json(), media_type="application/json")

    @app.post("/v1/sites/{site}/runs/{run}/log")
    async def log(site: str, run: str, offset: int, request: Request):
        try:
            place = await hub.append_log(site, run, offset, await request.body())
        except LogGap as gap:
            return JSONResponse({"next_offset": gap.next_offset}, 409)
        return {"next_offset": place}

    @app.get("/v1/sites/{site}/packages/{sha256}")
    async def package(site: str, sha256: str):
        return StreamingResponse(hub.package(site, sha256))

    return app


@asynccontextmanager
async def serving_hub(hub: FakeHub):
    """Serve a hub on loopback; yields its URL."""
    config = uvicorn.Config(
        create_app(hub), host="127.0.0.1", port=0, log_level="error", lifespan="off"
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve())  # noqa: SLF001  # the public one takes SIGINT over
    while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        await asyncio.wait({task})


class AgentProcess:
    """`commonpool site-agent` as a process of its own; `kill` is SIGKILL."""

    def __init__(self, hub_url: str, data: Path, *options: str) -> None:
        data.mkdir(exist_ok=True)
        token = data / "token"
        token.write_text("cp_site_test")
        self._command = [
            *(sys.executable, "-m", "agents.site.main", "--hub", hub_url, "--site", "here"),
            *("--token-file", str(token), "--data", str(data), *options),
        ]
        self._out = data / "agent.out"
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        with self._out.open("ab") as out:
            self._process = subprocess.Popen(self._command, stdout=out, stderr=out, cwd=ROOT)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
