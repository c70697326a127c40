"""One log for everything in the process: facts with fields, as lines for people or as JSON.

What libraries write goes the same way, from WARNING on, so nothing is lost and nothing
chatters.
"""

import logging
import sys
from typing import TextIO

import structlog
from structlog.typing import Processor

_SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def configure(log_format: str, stream: TextIO = sys.stderr) -> None:
    """Send everything to `stream`, as `console` or as `json`."""
    as_json = log_format == "json"
    shared = [*_SHARED, *((structlog.processors.format_exc_info,) if as_json else ())]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer() if as_json else _console(stream),
        ],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("scheduler").setLevel(logging.INFO)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=_factory,
        cache_logger_on_first_use=True,
    )


def _factory(*names: object) -> logging.Logger:
    # Ours may say what they do; libraries speak only when something is wrong.
    return logging.getLogger(f"scheduler.{names[0]}" if names else "scheduler")


def _console(stream: TextIO) -> Processor:
    return structlog.dev.ConsoleRenderer(
        colors=stream.isatty(),
        pad_event_to=28,
        # rich's tracebacks are pages long, and importing it costs memory for nothing.
        exception_formatter=structlog.dev.plain_traceback,
    )
