"""Debian's Prometheus, Alertmanager and their tools, started on free ports of loopback."""

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from tests.waiting import until

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"


def tool(*words: str | Path, given: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run promtool or amtool to its end."""
    argv = [str(word) for word in words]
    return subprocess.run(
        argv, input=given, capture_output=True, text=True, timeout=120, check=False
    )


class Server:
    """A program that serves HTTP on loopback, until it is ended."""

    def __init__(self, port: int, log: Path, *argv: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.log = log
        with log.open("ab") as told:
            self.process = subprocess.Popen(argv, stdout=told, stderr=told, cwd=log.parent)

    def get(self, path: str, **query: str) -> Any:
        """Return what it answers; one that does not listen yet is "not yet"."""
        try:
            answer = httpx.get(f"{self.url}{path}", params=query, timeout=10)
        except httpx.HTTPError as error:
            said = self.log.read_text()[-2000:] if self.log.is_file() else ""
            raise AssertionError(f"{self.url}{path}: {error}; it said: {said}") from error
        text = answer.text
        assert answer.status_code == 200, f"{answer.url}: {text}"
        return json.loads(text) if text.startswith(("{", "[")) else text

    def query(self, expr: str) -> list[dict[str, Any]]:
        """Return the value of an expression now, as a vector."""
        result: list[dict[str, Any]] = self.get("/api/v1/query", query=expr)["data"]["result"]
        return result

    def end(self) -> None:
        """End it, and wait for that."""
        self.process.terminate()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def prometheus(folder: Path, port: int, *more: str) -> Iterator[Server]:
    """Start Prometheus with `prometheus.yml` of a folder."""
    server = Server(
        port,
        folder / "prometheus.log",
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        *more,
    )
    try:
        until(lambda: server.get("/-/ready"), seconds=60)
        yield server
    finally:
        server.end()


@contextmanager
def alertmanager(folder: Path, port: int) -> Iterator[Server]:
    """Start Alertmanager, alone, with `alertmanager.yml` of a folder."""
    server = Server(
        port,
        folder / "alertmanager.log",
        "prometheus-alertmanager",
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'alerts'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    )
    try:
        until(lambda: server.get("/-/ready"), seconds=60)
        yield server
    finally:
        server.end()


class Webhook:
    """What an operator's pager is in the tests: it keeps what it is sent."""

    def __init__(self) -> None:
        self.alerts: list[dict[str, Any]] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):  # the name that http.server calls
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.alerts += json.loads(body)["alerts"]
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/alerts"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def firing(self, name: str) -> list[dict[str, Any]]:
        """Return the alerts of a name that fire, as they were sent."""
        return [
            alert
            for alert in list(self.alerts)
            if alert["labels"]["alertname"] == name and alert["status"] == "firing"
        ]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
