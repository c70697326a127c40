"""A site that runs what it is leased in a shell on this machine: enough for Ray's clients.

It speaks the real wire, delivers packages and follows logs, and knows nothing of Ray.
"""

import io
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import zipfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import httpx

from scheduler.wire.sites import DesiredLease, SiteOrders, Wanted


@dataclass
class Work:
    """One run here."""

    lease: DesiredLease
    process: subprocess.Popen[bytes]
    output: Path
    sent: int = 0
    stopped: bool = False

    def report(self) -> dict:
        code = self.process.poll()
        said = {
            "run": self.lease.run,
            "token": self.lease.token,
            "state": "running",
            "observed_at": datetime.now(UTC).isoformat(),
        }
        if code is None:
            return said
        state = "stopped" if self.stopped else "failed" if code else "succeeded"
        message = f"exited with code {code}" if state == "failed" else ""
        size = self.output.stat().st_size
        return said | {
            "state": state,
            "message": message,
            "exit_code": code,
            "fenced": True,
            "log_bytes": size,
        }


@dataclass
class ShellSite:
    """The lab's site; `with` it, it works in a thread."""

    http: httpx.Client
    node_headers: dict[str, str]
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="cp-shell-")))
    work: dict[str, Work] = field(default_factory=dict)
    sequence: int = 0

    def __enter__(self) -> Self:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shell-site")
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        for work in self.work.values():
            self._end(work)
        shutil.rmtree(self.folder)

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self._once()
            except httpx.TransportError:
                self._over.wait(0.1)  # the hub is away: it comes back or the test ends

    def _once(self) -> None:
        if self.sequence % 20 == 0:
            self._report_nodes()
        self.sequence += 1
        reports = [work.report() for work in self.work.values()]
        message = {
            "instance": "shell",
            "sequence": self.sequence,
            "ray_version": "2.60.0",
            "runs": reports,
            "wait_seconds": 0,
        }
        answer = self.http.post("/v1/sites/lab/sync", json=message).raise_for_status()
        for lease in SiteOrders.model_validate_json(answer.content).leases:
            self._carry_out(lease)
        for work in self.work.values():
            self._send_log(work)
        self._over.wait(0.2)

    def _carry_out(self, lease: DesiredLease) -> None:
        known = self.work.get(lease.run)
        if lease.wanted is Wanted.RUN and known is None:
            self.work[lease.run] = self._start(lease)
        elif lease.wanted is Wanted.STOP and known and known.process.poll() is None:
            known.stopped = True
            self._end(known)
        elif lease.wanted is Wanted.FORGET and known:
            self._send_log(known)
            del self.work[lease.run]

    def _start(self, lease: DesiredLease) -> Work:
        folder = self.folder / lease.run
        folder.mkdir()
        for package in lease.packages:
            content = self.http.get(f"/v1/sites/lab/packages/{package.sha256}").raise_for_status()
            with zipfile.ZipFile(io.BytesIO(content.content)) as archive:
                archive.extractall(folder)
        output = self.folder / f"{lease.run}.log"
        environment = lease.runtime_env.get("env_vars", {})
        with output.open("wb") as log:
            process = subprocess.Popen(
                ["/bin/sh", "-c", lease.entrypoint],
                cwd=folder,
                env=os.environ | environment | {"COMMONPOOL_JOB": lease.job},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return Work(lease, process, output)

    def _send_log(self, work: Work) -> None:
        content = work.output.read_bytes()
        if len(content) > work.sent:
            answer = self.http.post(
                f"/v1/sites/lab/runs/{work.lease.run}/log",
                params={"offset": work.sent},
                content=content[work.sent :],
            ).raise_for_status()
            work.sent = answer.json()["next_offset"]

    def _end(self, work: Work) -> None:
        if work.process.poll() is None:
            os.killpg(work.process.pid, signal.SIGKILL)
        work.process.wait()

    def _report_nodes(self) -> None:
        reports = [
            {
                "node": node,
                "pool": "lab-pool",
                "boot_id": "1",
                "sequence": self.sequence,
                "sampled_at": datetime.now(UTC).isoformat(),
                "simulated": True,
                "gpus": [
                    {"index": index, "uuid": f"GPU-{node}-{index}", "model": "H100"}
                    for index in range(8)
                ],
            }
            for node in ("lab-1", "lab-2")
        ]
        self.http.post(
            "/v1/nodes/report", json={"reports": reports}, headers=self.node_headers
        ).raise_for_status()
