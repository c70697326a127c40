"""A real agent process, on the faked library or on the driver, and a hub that only listens."""

import json
import os
import subprocess
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).parents[3]


class ListeningHub:
    """Keeps the bodies of reports; answers as `status` and `answer` say."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.tokens: set[str] = set()
        self.status, self.answer = 200, {"accepted": 1, "next_report_seconds": 0.1}
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):  # the name that http.server calls
                assert self.path == "/v1/nodes/report"
                hub.heard.append(self.rfile.read(int(self.headers["Content-Length"])))
                hub.tokens.add(self.headers["Authorization"])
                body = json.dumps(hub.answer).encode()
                self.send_response(hub.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def last(self) -> dict:
        """Return the node's last report, as plain data."""
        return json.loads(self.heard[-1])["reports"][0] if self.heard else {}


class LiveAgent:
    """`commonpool node-agent` as it is run on a machine with GPUs.

    Without a `library` and a `state` of the stand-in it has the driver of this machine.
    """

    def __init__(self, folder, library, state, hub, port, *, poll_ms=0, **options) -> None:
        # Half a second is quick for a test, and half a second's waking for a measurement.
        stuck_after, more = options.pop("stuck_after", 0.5), options.pop("environment", {})
        token = folder / "node.token"
        token.write_text("cp_node_x")
        given = {
            "hub": hub,
            "pool": "p",
            "node": "n1",
            "token_file": token,
            "interval": "0.1",
            "exporter_port": port,
            "exporter_address": "127.0.0.1",
            "data": folder / "data",
            "log_format": "json",
            **options,
        }
        argv = [str(p) for k, v in given.items() for p in (f"--{k.replace('_', '-')}", v)]
        self._log = folder / "agent.log"
        self.port = port
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        if library is not None:
            environment |= {
                "LD_LIBRARY_PATH": str(library.parent),
                "FAKE_NVML_STATE": str(state.file),
                "FAKE_NVML_POLL_MS": str(poll_ms),
                "COMMONPOOL_STUCK_AFTER": str(stuck_after),
            }
        environment |= more
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "scheduler.main", "node-agent", *argv],
                env=environment,
                stderr=log,
                cwd=ROOT,
            )

    @property
    def said(self) -> str:
        return self._log.read_text()

    def metrics(self) -> dict[str, list[tuple[dict[str, str], float]]]:
        """Scrape it once; an agent that does not listen yet is "not yet"."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as got:
                text = got.read().decode()
        except OSError as error:
            raise AssertionError(f"not listening: {error}; {self.said}") from error
        found: dict[str, list[tuple[dict[str, str], float]]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, []).append((sample.labels, sample.value))
        return found

    def state(self) -> str:
        values = self.metrics()["commonpool_agent_sampler_state"]
        return next(labels["state"] for labels, value in values if value)

    def end(self, seconds=20) -> int:
        self.process.terminate()
        return self.process.wait(seconds)
