"""`commonpool prometheus`: a real Prometheus beside a running instance, ended by `down`.

It runs the configuration and the rules that are shipped; only addresses, the token's file and
the times between looks are others, for whoever tries something out does not want to wait.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from scheduler.clock import SystemClock
from scheduler.embedded import checks, ready
from scheduler.embedded.instance import Presence, alone, look
from scheduler.embedded.layout import Layout
from scheduler.embedded.narrator import Narrator
from scheduler.embedded.plan import LOOPBACK
from scheduler.embedded.processes import Spec, read_record, spawn, stop, tail
from scheduler.embedded.trouble import Trouble
from scheduler.embedded.waiting import pause

NAME = "prometheus"
# The repository's own copy is the only one, as for the demo's policy.
CONFIGURATION = Path(__file__).parents[2] / "infra" / "prometheus" / "single.yml"
USUAL_PORT = 9090
_READY_SECONDS, _SEEN_SECONDS = 60.0, 90.0
_LOOK_SECONDS = 0.3
_EVERY = "5s"
_SERIES = "DCGM_FI_DEV_GPU_UTIL"


@dataclass(frozen=True, slots=True)
class Watched:
    """A Prometheus that runs, and of how many GPUs it has series."""

    url: str
    gpus: int
    fresh: bool = True


def start_prometheus(layout: Layout, port: int | None, alertmanager: str, say: Narrator) -> Watched:
    """Start it and return when it has series of GPUs. `port`: 0 is any, None the usual if free.

    Raises:
        Trouble: it is not installed, nothing runs here, or it does not become ready.
    """
    program = _program()
    if not layout.run.exists() or look(layout).presence is not Presence.UP:
        raise Trouble(
            f"nothing runs in {layout.data}, so there is nothing to scrape",
            f"start it with: commonpool up --data {layout.data}",
        )
    with alone(layout):
        if running := _running(layout):
            return running
        url = f"http://{LOOPBACK}:{_port(port)}"
        _begin(layout, program, url, alertmanager)
        try:
            _wait(layout, url, say)
        except BaseException:
            _end(layout)
            raise
    return Watched(url, _gpus(url))


def _program() -> str:
    found = shutil.which(NAME)
    if found is None:
        raise Trouble(
            "Prometheus is not installed",
            "apt-get install prometheus, or in a clone, as root on Debian: make prometheus-demo",
        )
    return found


def _port(wanted: int | None) -> int:
    if wanted is None:
        return USUAL_PORT if checks.is_free(USUAL_PORT) else checks.any_port()
    if wanted and (taken := checks.port_taken(wanted, "Prometheus", "--port")):
        raise taken
    return wanted or checks.any_port()


def _folder(layout: Layout) -> Path:
    return layout.data / NAME


def _running(layout: Layout) -> Watched | None:
    record = read_record(layout.run / f"{NAME}.json")
    if record is None or not record.is_alive:
        return None
    url = (_folder(layout) / "url").read_text().strip()
    return Watched(url, _gpus(url), fresh=False)


def _begin(layout: Layout, program: str, url: str, alertmanager: str) -> None:
    folder = _folder(layout)
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / "url").write_text(url + "\n")
    hub = layout.hub_url.read_text().split()[0]
    layout.token(NAME)  # told now if it is missing
    file = folder / "prometheus.yml"
    document = configured(hub, layout.tokens / f"{NAME}.token", alertmanager)
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    argv = (
        program,
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--storage.tsdb.retention.time=2d",
        f"--web.listen-address={url.removeprefix('http://')}",
        "--enable-feature=exemplar-storage",
    )
    process, _ = spawn(layout, Spec(NAME, argv))
    process.returncode = 0  # It outlives us: nobody waits for it, and Python need not warn.


def configured(hub: str, token: Path, alertmanager: str) -> dict[str, Any]:
    """Return the shipped configuration with this instance's addresses, quicker.

    Raises:
        Trouble: this is no clone of the repository, which has the only copy.
    """
    try:
        text = CONFIGURATION.read_text()
    except OSError as error:
        raise Trouble(
            f"{CONFIGURATION} cannot be read: {error.strerror}",
            "run this from a clone of the repository",
        ) from error
    for shipped, here in (
        ("127.0.0.1:8265", hub.removeprefix("http://")),
        ("credentials_file: prometheus.token", f"credentials_file: {token}"),
        ("_interval: 15s", f"_interval: {_EVERY}"),
        ("_interval: 1m", f"_interval: {_EVERY}"),
    ):
        text = text.replace(shipped, here)
    document: dict[str, Any] = yaml.safe_load(text)
    document["rule_files"] = [str(CONFIGURATION.parent / one) for one in document["rule_files"]]
    del document["alerting"]
    if alertmanager:
        document["alerting"] = {
            "alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]
        }
    return document


def _wait(layout: Layout, url: str, say: Narrator) -> None:
    steps: tuple[tuple[str, Callable[[], bool], float], ...] = (
        (f"Prometheus at {url}", lambda: ready.answers(f"{url}/-/ready"), _READY_SECONDS),
        ("it has asked the hub and every node", lambda: _has_asked_all(url), _SEEN_SECONDS),
    )
    clock = SystemClock()
    for words, holds, seconds in steps:
        begun = clock.monotonic()
        with say.waiting(words):
            while not (_is_there(layout) and holds()):
                if clock.monotonic() - begun > seconds:
                    log = layout.log / f"{NAME}.log"
                    raise Trouble(f"not so after {seconds:.0f} s: {words}", f"see {log}", tail(log))
                pause(_LOOK_SECONDS)
        say.done(words, clock.monotonic() - begun)


def _is_there(layout: Layout) -> bool:
    record = read_record(layout.run / f"{NAME}.json")
    if record is None or not record.is_alive:
        log = layout.log / f"{NAME}.log"
        raise Trouble("Prometheus ended while it started", f"see {log}", tail(log))
    return True


def _end(layout: Layout) -> None:
    record = read_record(layout.run / f"{NAME}.json")
    if record is not None:
        stop(record, 5.0)
        (layout.run / f"{NAME}.json").unlink(missing_ok=True)


def _has_asked_all(url: str) -> bool:
    found = _answer(url, "/api/v1/targets", {"state": "active"}).get("activeTargets", [])
    asked = [one["labels"]["job"] for one in found if one["health"] != "unknown"]
    return "commonpool-nodes" in asked and len(asked) == len(found)


def _gpus(url: str) -> int:
    """Return of how many GPUs there are series now; 0 while it does not answer."""
    found = _answer(url, "/api/v1/query", {"query": f"count({_SERIES})"}).get("result")
    return int(found[0]["value"][1]) if found else 0


def _answer(url: str, path: str, query: dict[str, str]) -> dict[str, Any]:
    try:
        with httpx.Client(trust_env=False, timeout=5) as client:
            answer = client.get(url + path, params=query)
            answer.raise_for_status()
    except httpx.HTTPError:
        return {}
    data: dict[str, Any] = answer.json()["data"]
    return data
