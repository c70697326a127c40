"""The house's own rules, as far as a machine can hold them."""

import importlib
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tracked(*suffixes: str) -> list[Path]:
    names = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [ROOT / name for name in names if name.endswith(suffixes) and (ROOT / name).exists()]


@pytest.mark.parametrize("room", ["scheduler", "agents", "portal"])
def test_our_rooms_are_not_other_peoples_packages_of_the_same_name(room):
    file = importlib.import_module(room).__file__
    assert file is not None
    assert Path(file).parent == ROOT / room


def test_the_lock_pins_with_hashes_and_names_no_host():
    for lock in (ROOT / "requirements.lock", ROOT / "tests/old_client/requirements.lock"):
        text = lock.read_text()
        assert "://" not in text
        pins = [line for line in text.splitlines() if re.match(r"^[a-z0-9]", line)]
        assert pins
        assert all("==" in line and line.endswith("\\") for line in pins)
        assert text.count("--hash=sha256:") >= len(pins)


def test_no_code_asks_whether_it_is_simulated():
    asks = re.compile(r"^\s*(if|elif|while)\b.*simulat")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in tracked(".py")
        if path.parts[len(ROOT.parts)] in {"scheduler", "agents"}
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if asks.search(line)
    ]
    assert found == []


def test_the_rooms_start_empty_so_that_agents_can_import_through_them():
    assert (ROOT / "scheduler/__init__.py").read_text() == ""


def test_no_file_is_longer_than_a_reader_can_hold():
    long = {
        str(path.relative_to(ROOT)): count
        for path in tracked(".py")
        if (count := len(path.read_text().splitlines())) > 400
    }
    assert long == {}
