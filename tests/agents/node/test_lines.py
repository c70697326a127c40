"""The small process's log reads like the other agents'."""

import io
import json

from agents.node.lines import Lines
from scheduler.clock import SystemClock


def test_a_line_for_collectors_is_one_object():
    stream = io.StringIO()
    lines = Lines(SystemClock(), stream)
    lines.configure("json")
    lines.warning("gpu_failed", uuid="GPU-1", detail="a\nb")
    said = json.loads(stream.getvalue())
    assert said.pop("timestamp").endswith("Z")
    assert said == {"event": "gpu_failed", "level": "warning", "uuid": "GPU-1", "detail": "a\nb"}
    assert stream.getvalue().count("\n") == 1


def test_a_line_to_read_stays_one_line_whatever_is_told():
    stream = io.StringIO()
    Lines(SystemClock(), stream).error("gpu_failed", why="it\nbroke", uuid="GPU-1", empty="")
    (line,) = stream.getvalue().splitlines()
    event = "[error    ] gpu_failed                     "
    assert line.endswith(event + r"empty='' uuid=GPU-1 why='it\nbroke'")
