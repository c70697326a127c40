"""The real nvidia-ml-py in this process, on our library in the place of NVIDIA's."""

import contextlib
import ctypes
import socket

import pynvml
import pytest

from agents.node.session import Session
from tests.fake_nvml import State, build

_FUNCTIONS = pynvml._nvmlGetFunctionPointer_cache  # noqa: SLF001  # they belong to one library


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """Return the compiled library."""
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture(scope="session")
def old_library(tmp_path_factory):
    """Return one that lacks what a driver of 2021 lacks."""
    return build(tmp_path_factory.mktemp("old-nvml"), old=True)


def _load(library, state, monkeypatch):
    monkeypatch.setenv("FAKE_NVML_STATE", str(state.file))
    monkeypatch.setenv("FAKE_NVML_POLL_MS", "0")
    _FUNCTIONS.clear()
    pynvml.nvmlLib = ctypes.CDLL(str(library))


def _unload():
    with contextlib.suppress(pynvml.NVMLError):
        while True:
            pynvml.nvmlShutdown()
    _FUNCTIONS.clear()
    pynvml.nvmlLib = None


@pytest.fixture
def gpus(library, tmp_path, monkeypatch):
    """Return the state of eight idle H100s, for the test to change."""
    state = State(tmp_path / "state.ini")
    _load(library, state, monkeypatch)
    yield state
    state.write()
    _unload()


@pytest.fixture
def old_gpus(old_library, tmp_path, monkeypatch):
    """Return the same with an old driver."""
    state = State(tmp_path / "state.ini")
    _load(old_library, state, monkeypatch)
    yield state
    _unload()


@pytest.fixture
def session(gpus):  # noqa: ARG001  # the library must be there first
    """Return a session, closed after the test."""
    made = Session()
    yield made
    made.close()


@pytest.fixture
def unused_port():
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
