"""How one process of the node agent becomes the next: a new program with the same settings.

Nothing but the standard library, so that a command line that only simulates needs no more.
"""

import json
import os
import sys
from dataclasses import asdict, dataclass
from typing import NoReturn


@dataclass(frozen=True, slots=True)
class Settings:
    """What the process is told by the one before it; times in seconds."""

    node: str
    pool: str
    hub: str
    token_file: str
    block: str = ""
    model: str = ""
    data: str = ""
    interval: float = 1
    stuck_after: float = 10
    exporter_address: str = ""
    exporter_port: int = 0
    host_label: str = "Hostname"
    metrics: str = "default"
    log_format: str = "console"
    launch: bool = False
    launch_address: str = ""
    ray: str = ""
    object_store_bytes: int = 0
    scratch: str = ""
    restarts: int = 0
    """How often the process before it began anew."""
    in_vain: int = 0
    """How often in a row without one look at a GPU."""


def become(settings: Settings) -> NoReturn:
    """Replace this process by an agent with these settings."""
    command = [sys.executable, "-m", "agents.node.daemon", json.dumps(asdict(settings))]
    os.execv(command[0], command)  # noqa: S606  # our own program, no shell
