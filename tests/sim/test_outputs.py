"""What a simulation writes, and what it must not write over."""

import csv
import io

import pytest

from scheduler.errors import Refused
from scheduler.sim.outputs import write_whole
from tests.sim.check import Terms, violations
from tests.sim.replay import text_of
from tests.sim.test_cli import CLUSTER, ROWS, simulate


@pytest.fixture(name="trace")
def trace_file(tmp_path):
    file = tmp_path / "small.csv"
    file.write_text(text_of(ROWS))
    return file


def test_attempts_on_standard_output_are_attempts_alone(trace, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = simulate(trace, *CLUSTER, "--jobs", "-")
    assert done.exit_code == 0, done.output
    assert len(list(csv.DictReader(io.StringIO(done.stdout)))) == len(ROWS)
    assert violations(trace.read_text(), done.stdout, Terms(2, 8)) == []
    assert "makespan" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["small.csv"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param(("--json", "small.csv"), "--json small.csv is the trace itself", id="trace"),
        pytest.param(("--jobs", "./small.csv"), "is the trace itself", id="trace by another name"),
        pytest.param(("--json", "x", "--jobs", "x"), "is what --json writes", id="both in one"),
        pytest.param(("--json", "-", "--jobs", "-"), "is what --json writes", id="both printed"),
        pytest.param(
            ("--compare", "easy", "fifo", "--charts", "x", "--json", "x.html"),
            "is what --json writes",
            id="a chart and the figures",
        ),
        pytest.param(("--restart-cost", "1e300"), "up to 3660 days", id="no end of a restart"),
    ],
)
def test_what_would_be_written_over_is_told_before_it_is_simulated(
    trace, tmp_path, monkeypatch, words, told
):
    monkeypatch.chdir(tmp_path)
    done = simulate("small.csv", *CLUSTER, *words)
    assert done.exit_code == 2
    assert told in " ".join(done.output.replace("│", " ").split())
    assert [file.name for file in tmp_path.iterdir()] == ["small.csv"]
    assert trace.read_text() == text_of(ROWS)


def test_a_file_that_cannot_be_written_whole_stays_as_it_was(tmp_path, monkeypatch):
    file = tmp_path / "jobs.csv"
    file.write_text("before")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(Refused, match=r"jobs\.csv cannot be written: No space left on device"):
        write_whole(file, "after")
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]


def test_a_link_leads_to_the_file_that_is_written(tmp_path):
    file, link = tmp_path / "real.json", tmp_path / "link.json"
    link.symlink_to(file)
    write_whole(link, "{}")
    assert link.is_symlink()
    assert file.read_text() == "{}"
