"""The node reporter: what it says of nodes that do not exist, and how it goes on saying it."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from agents.config import NodeSettings
from agents.hub import HubAway, HubRefused
from agents.node import main
from agents.node.simulated import SimulatedGpus, parse
from scheduler.clock import SystemClock
from scheduler.wire.nodes import NodeReportReply
from tests.waiting import eventually


def settings_of(tmp_path, **changes) -> NodeSettings:
    values = {
        "hub": "http://127.0.0.1:1",
        "token_file": tmp_path / "token",
        "pool": "p",
        "nodes": ("n1", "n2"),
        "simulated": "8xH100",
    }
    return NodeSettings(**{**values, **changes})


@given(st.integers(1, 64), st.from_regex(r"[A-Z][A-Za-z0-9-]{0,20}", fullmatch=True))
def test_a_number_and_a_model_are_read(count, model):
    assert parse(f"{count}x{model}") == SimulatedGpus(count, model)


@pytest.mark.parametrize("text", ["", "H100", "8", "8x", "x8", "8 H100", "8xH 100", "-1xH100"])
def test_what_is_no_specification_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="such as 8xH100"):
        parse(text)


@pytest.mark.parametrize("text", ["0xH100", "65xH100", "999xA100"])
def test_an_impossible_number_is_refused_with_the_limit(text):
    with pytest.raises(ValueError, match="1 to 64"):
        parse(text)


def test_each_node_says_that_it_is_simulated_and_names_its_gpus(tmp_path):
    clock = SystemClock()
    one, two = main.simulated_nodes(settings_of(tmp_path), clock)
    report = one.report(3, clock.now())
    assert (report.node, report.pool, report.sequence, report.simulated) == ("n1", "p", 3, True)
    assert [g.uuid for g in report.gpus] == [f"SIM-n1-{i}" for i in range(8)]
    assert {g.model for g in report.gpus} == {"H100"}
    assert (
        one.boot_id == two.boot_id != main.simulated_nodes(settings_of(tmp_path), clock)[0].boot_id
    )
    assert all(g.memory_mib is None for g in report.gpus)
    assert report.use == ()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        pytest.param({}, "", id="without a port there is none"),
        pytest.param({"exporter_port": 0}, "", id="a port of 0 is none"),
        pytest.param(
            {"exporter_port": 9401, "exporter_address": "127.0.0.1"}, "127.0.0.1:9401", id="IPv4"
        ),
        pytest.param({"exporter_port": 9401, "exporter_address": "::1"}, "[::1]:9401", id="IPv6"),
        pytest.param({"exporter_port": 9401}, "gpu-7.example:9401", id="at every address"),
    ],
)
def test_a_simulated_node_says_where_its_metrics_are(tmp_path, monkeypatch, given, told):
    monkeypatch.setattr("socket.gethostname", lambda: "gpu-7.example")
    clock = SystemClock()
    (node, _) = main.simulated_nodes(settings_of(tmp_path, **given), clock)
    assert node.report(0, clock.now()).exporter == told


def test_a_node_named_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match="n1 is given more than once"):
        main.simulated_nodes(settings_of(tmp_path, nodes=("n1", "n1")), SystemClock())


def test_real_gpus_are_of_one_machine(tmp_path):
    with pytest.raises(ValueError, match="real GPUs are of one --node"):
        settings_of(tmp_path, simulated="")


def test_without_a_name_a_node_is_called_as_its_machine(tmp_path, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "GPU-7.cluster.example")
    settings = NodeSettings(hub="http://127.0.0.1:1", token_file=tmp_path / "t", pool="p")
    assert settings.nodes == ("gpu-7",)


def test_a_name_that_no_report_can_have_is_refused_before_the_first(tmp_path):
    with pytest.raises(ValueError, match="node"):
        main.simulated_nodes(settings_of(tmp_path, nodes=("Not A Name",)), SystemClock())


class FakeReports:
    def __init__(self, *answers) -> None:
        self.answers, self.heard = list(answers), []

    async def report(self, reports):
        self.heard.append(reports)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return NodeReportReply(accepted=len(reports), next_report_seconds=answer)


async def test_it_reports_as_often_as_the_hub_wants_and_counts(tmp_path):
    hub = FakeReports(0.01)
    nodes = main.simulated_nodes(settings_of(tmp_path), SystemClock())
    reporting = asyncio.create_task(main.report_forever(nodes, hub, SystemClock()))
    await eventually(lambda: len(hub.heard) >= 3)
    reporting.cancel()
    await asyncio.wait({reporting})
    assert [r[0].sequence for r in hub.heard[:3]] == [0, 1, 2]
    assert [r.node for r in hub.heard[0]] == ["n1", "n2"]


async def test_it_goes_on_after_the_hub_was_away_or_refused(tmp_path):
    hub = FakeReports(HubAway("gone"), HubRefused(403, "no"), 60)
    nodes = main.simulated_nodes(settings_of(tmp_path), SystemClock())
    reporting = asyncio.create_task(main.report_forever(nodes, hub, SystemClock()))
    await eventually(lambda: len(hub.heard) == 3)
    reporting.cancel()
    await asyncio.wait({reporting})


async def test_thousands_of_nodes_go_out_in_batches(tmp_path):
    hub = FakeReports(60)
    names = tuple(f"n{i}" for i in range(2500))
    nodes = main.simulated_nodes(
        settings_of(tmp_path, nodes=names, simulated="1xH100"), SystemClock()
    )
    reporting = asyncio.create_task(main.report_forever(nodes, hub, SystemClock()))
    await eventually(lambda: len(hub.heard) == 3)
    reporting.cancel()
    await asyncio.wait({reporting})
    assert [len(r) for r in hub.heard] == [1000, 1000, 500]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        pytest.param(["--simulated", "H100"], "such as 8xH100", id="bad specification"),
        pytest.param(["--hub", "nowhere"], "--hub: 'nowhere' is not a URL", id="bad URL"),
        pytest.param(["--token-file", "/no/such"], "/no/such", id="no token"),
        pytest.param(["--node", "N 1"], "node", id="bad name"),
        pytest.param(["--interval", "0"], "--interval: ", id="no time between looks"),
        pytest.param(["--exporter-port", "70000"], "--exporter-port: ", id="no such port"),
        pytest.param(["--host-label", "host"], "--host-label: ", id="a label nobody has"),
        pytest.param(["--metrics", "some"], "--metrics: ", id="a set nobody has"),
    ],
)
def test_a_wrong_option_is_one_line_that_names_it(tmp_path, options, complaint):
    token = tmp_path / "token"
    token.write_text("cp_node_x")
    good = ["--hub", "http://127.0.0.1:1", "--pool", "p", "--simulated", "8xH100"]
    more = [] if "--node" in options else ["--node", "n1"]
    said = CliRunner().invoke(main.app, [*good, "--token-file", str(token), *more, *options])
    assert said.exit_code == 2
    assert complaint in said.output
    assert "Traceback" not in said.output
    assert len(said.output.strip().splitlines()) == 1
