"""A Ray head without Ray: its Jobs API, with real processes, and knobs for its faults.

It runs an entrypoint with `/bin/sh`, in a session of its own as Ray does, and answers as
notes/ray.md §1.2 and §4 say: a duplicate id is a 500 with a sentence, an unknown one a
404 in plain text, the tail socket starts at the first byte and closes when all is said.
"""

import asyncio
import os
import signal
import subprocess
import time
import zipfile
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import JSONResponse, PlainTextResponse, Response

TERMINAL = ("SUCCEEDED", "FAILED", "STOPPED")
DUPLICATE = (
    "ValueError: Job with submission_id {} already exists. Please use a different submission_id."
)


@dataclass
class Knobs:
    """What is wrong with the head. `hang` and `fail` are beginnings of «METHOD /path»."""

    hang: tuple[str, ...] = ()
    fail: dict[str, str] = field(default_factory=dict)
    fail_after_recording: int = 0
    tail_is_broken: bool = False
    stay_pending: bool = False
    dead_nodes: bool = False


@dataclass
class FakeJob:
    request: dict
    process: subprocess.Popen | None
    log: Path
    stopped: bool = False
    started: int = field(default_factory=lambda: int(time.time() * 1000))

    @property
    def status(self) -> str:
        if self.process is None:
            return "STOPPED" if self.stopped else "PENDING"
        code = self.process.poll()
        if code is None:
            return "RUNNING"
        if self.stopped:
            return "STOPPED"
        return "FAILED" if code else "SUCCEEDED"

    def details(self) -> dict:
        code = self.process.poll() if self.process else None
        return {
            "type": "SUBMISSION",
            "job_id": "02000000",
            "submission_id": self.request["submission_id"],
            "status": self.status,
            "entrypoint": self.request["entrypoint"],
            "message": f"is {self.status.lower()}",
            "error_type": "JOB_ENTRYPOINT_COMMAND_ERROR" if self.status == "FAILED" else None,
            "start_time": self.started,
            "end_time": None,
            "metadata": self.request.get("metadata") or {},
            "runtime_env": self.request.get("runtime_env") or {},
            "driver_node_id": "node-0" if self.process else None,
            "driver_exit_code": code,
        }


class FakeRayHead:
    """The head's memory, and what the tests turn and read."""

    def __init__(self, folder: Path, token: str | None = None) -> None:
        self.folder, self.token = folder, token
        folder.mkdir(parents=True, exist_ok=True)
        self.knobs = Knobs()
        self.jobs: dict[str, FakeJob] = {}
        self.packages: dict[str, bytes] = {}
        self.labels: list[dict[str, str]] = [{}]
        self.calls: list[str] = []
        self.posts = 0

    def restart(self) -> None:
        """Forget everything, as a head without fault tolerance does; programs are orphans."""
        self.jobs.clear()
        self.packages.clear()

    def lose(self, run: str) -> None:
        del self.jobs[run]

    def end_all(self) -> None:
        for job in self.jobs.values():
            if job.process and job.process.poll() is None:
                os.killpg(job.process.pid, signal.SIGKILL)
                job.process.wait()

    def submit(self, request: dict) -> Response:
        run = request["submission_id"]
        self.posts += 1
        if run in self.jobs:
            return PlainTextResponse(f"Traceback\n{DUPLICATE.format(run)}", 500)
        process = None if self.knobs.stay_pending else self._start(request)
        self.jobs[run] = FakeJob(request, process, self._log(run))
        if self.knobs.fail_after_recording:
            self.knobs.fail_after_recording -= 1
            return PlainTextResponse("Traceback\nRpcError: it broke afterwards", 500)
        return JSONResponse({"job_id": run, "submission_id": run})

    def _log(self, run: str) -> Path:
        return self.folder / f"job-driver-{run}.log"

    def _start(self, request: dict) -> subprocess.Popen:
        env = request.get("runtime_env") or {}
        run = request["submission_id"]
        cwd = self.folder
        if uri := env.get("working_dir"):
            cwd = self.folder / run
            file = self.folder / f"{run}.zip"
            file.write_bytes(self.packages[uri.removeprefix("gcs://")])
            with zipfile.ZipFile(file) as archive:
                archive.extractall(cwd)
        with self._log(run).open("wb") as out:
            return subprocess.Popen(
                ["/bin/sh", "-c", request["entrypoint"]],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=cwd,
                env={**os.environ, **env.get("env_vars", {})},
                start_new_session=True,
            )

    def stop(self, run: str) -> bool:
        job = self.jobs[run]
        if job.status in TERMINAL:
            return False
        if job.process is not None:  # A job that is PENDING stays so: ray#58353.
            job.stopped = True
            os.killpg(job.process.pid, signal.SIGTERM)
        return True


def create_app(head: FakeRayHead) -> FastAPI:  # noqa: C901, PLR0915  # one route after another
    app = FastAPI()

    @app.middleware("http")
    async def faults(request: Request, call_next):
        call = f"{request.method} {request.url.path}"
        head.calls.append(call)
        if any(call.startswith(start) for start in head.knobs.hang):
            await asyncio.sleep(3600)
        for start, text in head.knobs.fail.items():
            if call.startswith(start):
                return PlainTextResponse(text, 500)
        if head.token and request.headers.get("Authorization") != f"Bearer {head.token}":
            return PlainTextResponse("no", 403)
        return await call_next(request)

    @app.get("/api/version")
    async def version():
        return {"version": "4", "ray_version": "2.60.0", "session_name": "session_fake"}

    @app.post("/fake/nodes")
    async def join(request: Request):
        head.labels.append(await request.json())

    @app.get("/api/v0/nodes")
    async def nodes():
        rows = [
            {
                "node_id": f"node-{i}",
                "state": "DEAD" if head.knobs.dead_nodes else "ALIVE",
                "labels": labels,
            }
            for i, labels in enumerate(head.labels)
        ]
        return {"result": True, "data": {"result": {"result": rows}}}

    @app.get("/api/packages/gcs/{name}")
    async def has(name: str):
        return Response(status_code=200 if name in head.packages else 404)

    @app.put("/api/packages/gcs/{name}")
    async def put(name: str, request: Request):
        head.packages[name] = await request.body()
        return Response()

    @app.post("/api/jobs/")
    async def submit(request: Request):
        return head.submit(await request.json())

    @app.get("/api/jobs/{run}")
    async def details(run: str):
        return head.jobs[run].details() if run in head.jobs else _absent(run)

    @app.delete("/api/jobs/{run}")
    async def delete(run: str):
        return {"deleted": head.jobs.pop(run, None) is not None}

    @app.post("/api/jobs/{run}/stop")
    async def stop(run: str):
        return {"stopped": head.stop(run)} if run in head.jobs else _absent(run)

    @app.get("/api/jobs/{run}/logs")
    async def logs(run: str):
        if run not in head.jobs:
            return _absent(run)
        file = head.jobs[run].log
        return {"logs": file.read_text(errors="replace") if file.exists() else ""}

    @app.websocket("/api/jobs/{run}/logs/tail")
    async def tail(socket: WebSocket, run: str):
        if run not in head.jobs or head.knobs.tail_is_broken:
            await socket.close()
            return
        await socket.accept()
        await _tail(socket, head.jobs[run])

    return app


def _absent(run: str) -> Response:
    return PlainTextResponse(f"Job {run} does not exist", 404)


async def _tail(socket: WebSocket, job: FakeJob) -> None:
    place = 0
    while True:
        ended = job.status in TERMINAL
        data = job.log.read_bytes()[place : place + 20_000] if job.log.exists() else b""
        if data:
            place += len(data)
            await socket.send_text(data.decode(errors="replace"))
        elif ended:
            await socket.close()
            return
        else:
            await asyncio.sleep(0.05)


@asynccontextmanager
async def serving(head: FakeRayHead, port: int = 0):
    """Serve a head on loopback; yields its address. Programs that are left are killed."""
    config = uvicorn.Config(
        create_app(head), host="127.0.0.1", port=port, log_level="error", lifespan="off"
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[method-assign]
    task = asyncio.create_task(server._serve())  # noqa: SLF001  # the public one takes SIGINT over
    while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        await asyncio.wait({task})
        head.end_all()
