"""The log of the small process: lines as structlog writes them for the other agents.

structlog brings asyncio and rich along, nine MiB: a quarter of what this process may have.
"""

import json
import sys
import threading
from typing import TextIO

from scheduler.clock import Clock, SystemClock


class Lines:
    """Structured facts to standard error, one a line, from any thread."""

    def __init__(self, clock: Clock, stream: TextIO | None = None) -> None:
        self._clock, self._stream = clock, stream
        self._lock = threading.Lock()
        self._json = False

    def configure(self, log_format: str) -> None:
        """Write `json` for collectors, or else lines to read."""
        self._json = log_format == "json"

    def info(self, event: str, **facts: object) -> None:
        """Tell of a state that changed."""
        self._write("info", event, facts)

    def warning(self, event: str, **facts: object) -> None:
        """Tell of what will be tried again, or should be known."""
        self._write("warning", event, facts)

    def error(self, event: str, **facts: object) -> None:
        """Tell of what someone must look at."""
        self._write("error", event, facts)

    def _write(self, level: str, event: str, facts: dict[str, object]) -> None:
        stamp = self._clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        if self._json:
            line = json.dumps(
                {**facts, "event": event, "level": level, "timestamp": stamp}, default=str
            )
        else:
            told = " ".join(f"{key}={_shown(value)}" for key, value in sorted(facts.items()))
            line = f"{stamp} [{level:<9}] {event:<30} {told}".rstrip()
        stream = self._stream or sys.stderr
        with self._lock:
            print(line, file=stream, flush=True)


def _shown(value: object) -> str:
    text = str(value)
    return text if text and not any(c.isspace() or c in "'\"=" for c in text) else repr(text)


log = Lines(SystemClock())
