"""What is checked before anything is started, and how it is said."""

import importlib.util
import os
import socket
from contextlib import closing

import pytest

from scheduler.embedded import checks
from scheduler.embedded.layout import Layout
from scheduler.embedded.trouble import Trouble


def listening():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return closing(listener)


def test_a_taken_port_is_told_with_its_process_and_the_option_that_helps():
    with listening() as busy:
        port = busy.getsockname()[1]
        trouble = checks.port_taken(port, "hub", "--hub-port")
    assert str(port) in trouble.what
    assert f"process {os.getpid()}" in trouble.what
    assert "--hub-port" in trouble.next_step
    assert checks.port_taken(port, "hub", "--hub-port") is None


def test_a_block_of_ports_passes_over_one_that_is_taken():
    with listening() as busy:
        port = busy.getsockname()[1]
        # Far enough that what else runs on the machine does not matter.
        start = checks.free_block(10, port - 3, min(65_535, port + 2_000))
    assert start > port
    assert all(checks.is_free(one) for one in range(start, start + 10))


def test_no_room_for_a_block_is_told():
    with listening() as busy, pytest.raises(Trouble, match="no 4 free ports"):
        checks.free_block(4, busy.getsockname()[1], busy.getsockname()[1] + 3)


def test_any_port_is_free():
    assert checks.is_free(checks.any_port())


def test_too_little_memory_is_told_with_both_amounts_and_enough_is_not():
    assert checks.too_little_memory(1) is None
    trouble = checks.too_little_memory(2**50)
    assert "1048576 GiB" in trouble.what
    assert "--force" in trouble.next_step


@pytest.mark.parametrize(
    ("missing", "with_portal", "extra"),
    [
        pytest.param("ray", True, "site", id="no ray"),
        pytest.param("streamlit", True, "portal", id="no streamlit"),
        pytest.param("streamlit", False, None, id="no streamlit, and no portal wanted"),
    ],
)
def test_missing_parts_are_told_with_the_command_that_installs_them(
    monkeypatch, missing, with_portal, extra
):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == missing else real(name)
    )
    trouble = checks.missing_extras(with_portal)
    assert (extra is None) == (trouble is None)
    if extra:
        assert f"commonpool[{extra}]" in trouble.next_step


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Trouble, match="cannot be written") as raised:
        Layout.of(tmp_path / "file" / "data").make()
    assert "--data" in raised.value.next_step


def test_the_sockets_folder_is_short_and_each_data_folder_has_its_own(tmp_path):
    long = Layout.of(tmp_path / ("x" * 200))
    assert len(str(long.ray)) < 30
    assert long.instance != Layout.of(tmp_path / "y").instance


def test_an_unknown_persons_token_is_told_with_those_that_exist(tmp_path):
    layout = Layout.of(tmp_path)
    layout.tokens.mkdir()
    (layout.tokens / "dana.token").write_text("cp_user_x\n")
    assert layout.token("dana") == "cp_user_x"
    with pytest.raises(Trouble) as raised:
        layout.token("dora")
    assert "dana" in raised.value.next_step
