"""The real driver in this process, programs on its GPU, and agents that watch it."""

import ctypes
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pynvml
import pytest

from agents.node.session import Session
from tests.agents.node.live import ROOT, ListeningHub, LiveAgent
from tests.agents.node.real.smi import Smi

_FUNCTIONS = pynvml._nvmlGetFunctionPointer_cache  # noqa: SLF001  # they belong to one library
_DEVICE, _DRIVER = Path("/dev/nvidia0"), Path("/proc/driver/nvidia/version")


def missing() -> str:
    """Say what of a real driver is not here; empty where all is."""
    if not _DEVICE.exists():
        return f"no GPU here: {_DEVICE} is not there"
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError as error:
        return f"no NVIDIA driver here: {error}"
    if hasattr(library, "fake_nvml") or not _DRIVER.exists():
        return "the libnvidia-ml.so.1 of this process is our stand-in, and not the driver's"
    return ""


@pytest.fixture(autouse=True, scope="session")
def driver():
    if why := missing():
        pytest.skip(why)
    _FUNCTIONS.clear()
    pynvml.nvmlLib = None


@pytest.fixture
def session(driver):  # noqa: ARG001  # it must be there first
    made = Session()
    yield made
    made.close()


@pytest.fixture
def smi(driver):  # noqa: ARG001  # as above
    """Return what asks nvidia-smi anew each time."""
    return Smi


@contextmanager
def running(*words: str, ready: str = "ready", **environment: str):
    """A program on the GPU, from the moment when it says that it does what it is for."""
    process = subprocess.Popen(
        [sys.executable, "-m", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        said = process.stdout.readline().strip()
        assert said == ready, f"{words} said {said!r}"
        yield process
    finally:
        process.stdin.close()
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        process.stdout.close()


CUDA, MATMUL = "tests.agents.node.real.cuda", "tests.agents.node.real.matmul"


@contextmanager
def computing(**environment: str):
    """A real load of the tensor cores; skips where there is no PyTorch to make it."""
    pytest.importorskip("torch", reason="the load is made by PyTorch: pip install torch")
    with running(MATMUL, **environment) as process:
        yield process


@pytest.fixture
def hub(driver):  # noqa: ARG001  # as above
    made = ListeningHub()
    made.answer["next_report_seconds"] = 1
    yield made
    made.close()


@pytest.fixture
def start(tmp_path, hub, unused_port):
    agents = []

    def begin(**options):
        given = {"interval": "1", **options}
        agents.append(LiveAgent(tmp_path, None, None, hub.url, unused_port, **given))
        return agents[-1]

    yield begin
    for agent in agents:
        if agent.process.poll() is None:
            agent.process.send_signal(signal.SIGCONT)
            agent.process.terminate()
        agent.process.wait(30)
