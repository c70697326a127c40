"""A /proc of our own, with processes as a test wants them."""

import json
from pathlib import Path


class Proc:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, pid, parent=1, name="python", cgroup="/user.slice", started=1000, **environment):
        """Put a process there; `environment=None` is one whose variables may not be read."""
        home = self.folder / str(pid)
        home.mkdir(exist_ok=True)
        rest = ["S", parent, *[0] * 17, started, *[0] * 10]
        (home / "stat").write_text(f"{pid} ({name}) {' '.join(map(str, rest))}\n")
        (home / "cgroup").write_text(f"0::{cgroup}\n")
        text = "".join(f"{key}={value}\0" for key, value in environment.items())
        (home / "environ").write_text(text)

    def close(self, pid):
        """Let nobody read a process's environment: reading a folder fails for root too."""
        (self.folder / str(pid) / "environ").unlink()
        (self.folder / str(pid) / "environ").mkdir()


def marked(run: str, node: str = "n1", gpus=(0, 1), job: str = "") -> dict[str, str]:
    """Return what the site agent puts into the environment of a run."""
    nodes = json.dumps([{"node": node, "gpus": list(gpus)}])
    said = {"COMMONPOOL_NODES": nodes, "COMMONPOOL_RUN": run}
    return {**said, "COMMONPOOL_JOB": job} if job else said
