"""`ray start` without Ray: the options of the launcher, a fake head or a worker that joins it."""

import argparse
import os
import signal
from pathlib import Path

import httpx

from tests.agents.fake_ray_head import FakeRayHead, create_app


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("start")
    for flag in ("--head", "--block", "--no-monitor", "--disable-usage-stats"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--address")
    parser.add_argument("--dashboard-host")
    parser.add_argument("--dashboard-port", type=int)
    parser.add_argument("--port", type=int)
    parser.add_argument("--labels", default="")
    parser.add_argument("--temp-dir", type=Path)
    options, _ = parser.parse_known_args()
    if os.environ.get("FAKE_RAY_FAILS"):
        raise SystemExit("the port is taken")
    labels = dict([options.labels.split("=", 1)])
    if options.head:
        serve(options, labels)
    else:
        join(options, labels)


def serve(options: argparse.Namespace, labels: dict[str, str]) -> None:
    import uvicorn  # noqa: PLC0415  # workers start faster without

    head = FakeRayHead(
        options.temp_dir / "session_2026-01-01" / "logs", os.environ.get("RAY_AUTH_TOKEN")
    )
    head.labels[0] = labels
    # Workers find the dashboard by the port that they were told of.
    (Path(options.temp_dir).parent / f"port-{options.port}").write_text(
        f"http://{options.dashboard_host}:{options.dashboard_port}"
    )
    uvicorn.run(
        create_app(head),
        host=options.dashboard_host,
        port=options.dashboard_port,
        log_level="error",
    )


def join(options: argparse.Namespace, labels: dict[str, str]) -> None:
    port = options.address.rpartition(":")[2]
    folder = Path(os.environ["FAKE_RAY_FOLDER"])
    head = next(folder.glob(f"*/port-{port}")).read_text()
    headers = {"Authorization": f"Bearer {os.environ.get('RAY_AUTH_TOKEN')}"}
    httpx.post(f"{head}/fake/nodes", json=labels, headers=headers, trust_env=False)
    signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    main()
