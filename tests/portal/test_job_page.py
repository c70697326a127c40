"""A job's page: what its GPUs did over its life, and what it costs (R3)."""

import re

import pytest
from typer.testing import CliRunner

from portal.charts import job as charts
from portal.charts.base import DARK_INK
from portal.client.hub import Hub
from portal.commands import job_reports as commands
from portal.commands import tables
from scheduler.core.model import PriorityClass, QuotaClass
from scheduler.main import app
from scheduler.wire.job_reports import Payer
from tests.portal import job_days
from tests.portal.test_pages import said
from tests.portal.test_sharing_pages import of

RUNNING, WAITING, ENDED = "digits-two-nodes", "sweep-large", "evening-run-1"
SO_FAR = "H100e-hours charged so far"


def number(at, label):
    return next(metric.value for metric in at.metric if metric.label == label)


class TestUse:
    def test_each_gpu_says_what_it_does_and_a_dash_is_what_nobody_measured(self, open_page):
        rows = of(open_page("job", id=RUNNING), "SMs now")
        assert (rows[0]["GPU"], rows[0]["SMs now"]) == ("national-1, GPU 0", "61%")
        assert rows[0]["Memory at most"] == "49.5 GiB"
        last = rows[-1]
        assert {last[name] for name in ("SMs now", "SMs at work", "Memory at most")} == {"–"}  # noqa: RUF001

    def test_an_earlier_attempt_without_points_says_why(self, open_page):
        assert "it was over before a point was" in " ".join(
            each.value for each in open_page("job", id=RUNNING).info
        )

    def test_a_job_without_gpus_says_so(self, open_page):
        shown = " ".join(each.value for each in open_page("job", id=WAITING).info)
        assert "No GPUs were leased yet" in shown

    def test_a_stretch_that_nobody_measured_is_no_point_and_never_0(self, hub):
        run = job_days.use_of(hub, hub.jobs["jdigits0001"]).runs[-1]
        drawn = charts.activity(run, dark=False).spec["data"]["values"]
        assert len(drawn) == 2 * (len(run.points) - 1)
        assert all(row["part"] > 0 for row in drawn)

    def test_a_run_that_nobody_measured_says_so_in_words(self, hub):
        run = job_days.use_of(hub, hub.jobs["jdigits0001"]).runs[-1]
        blind = {"sm_mean": None, "sm_most": None, "memory_most_mib": None}
        points = tuple(one.model_copy(update=blind) for one in run.points)
        run = run.model_copy(update={"points": points})
        assert charts.activity_words(run) == charts.memory_words(run) == "nobody measured it"

    @pytest.mark.parametrize("draw", [charts.activity, charts.memory])
    def test_the_picture_has_the_inks_of_its_theme(self, hub, draw):
        run = job_days.use_of(hub, hub.jobs["jdigits0001"]).runs[-1]
        drawn = draw(run, dark=True)
        assert drawn.spec["encoding"]["y"]["axis"]["labelColor"] == DARK_INK
        assert f"attempt {run.attempt}" in drawn.alt


class TestCost:
    def test_a_running_job_says_what_it_took_and_comes_to_and_who_pays(self, open_page):
        at = open_page("job", id=RUNNING)
        # 16 GPUs, a recalled attempt of 1 min 50 s and one that has lasted ten minutes.
        assert number(at, SO_FAR) == "3.2"
        assert number(at, "At its limit") == "5.8"
        assert "is charged; it counts in arl" in said(at)

    def test_the_price_is_told_tier_by_tier(self, open_page):
        rows = of(open_page("job", id=WAITING), "One GPU-hour")
        assert [(row["Tier"], row["One GPU-hour"]) for row in rows] == [
            ("Institution", "0.315 H100e-hours"),
            ("National", "1 H100e-hours"),
        ]

    def test_an_ended_job_comes_to_nothing_more(self, open_page):
        at = open_page("job", id=ENDED)
        assert [metric.label for metric in at.metric] == [SO_FAR]

    def test_a_guest_pays_nothing_and_the_page_says_so(self, open_page, hub):
        (first, second) = hub.jobs["jdigits0001"].runs
        guest = second.model_copy(update={"guest": True, "quota_class": QuotaClass.BACKGROUND})
        hub.change("jdigits0001", runs=(first, guest), priority=PriorityClass.BACKGROUND)
        at = open_page("job", id=RUNNING)
        assert number(at, SO_FAR) == "0"
        assert "Nobody pays" in said(at)
        charged = {row["Charged"] for row in of(at, "Charged")}
        assert "nothing: a guest on an idle lease" in charged

    def test_a_reservation_that_pays_is_named(self, hub):
        found = job_days.cost_of(hub, hub.jobs["jdigits0001"])
        paid = found.model_copy(update={"payer": Payer.RESERVATION, "reservation": "spring"})
        assert commands.who_pays(paid).startswith("The reservation spring pays")


class TestCommands:
    def test_explain_ends_with_cost_and_gpus(self, hub_url, capsys):
        door = Hub(hub_url, "cp_user_dana")
        commands.print_reports(door, RUNNING, tables.console_of())
        door.close()
        shown = capsys.readouterr().out
        assert "at its limit" in shown
        assert re.search(r"attempt 2 on national-hub, until \S.*: 45% of the time at work", shown)

    def test_cost_tells_attempts_and_prices(self, hub_url):
        command = ["cost", RUNNING, "--hub", hub_url, "--token", "cp_user_dana"]
        shown = CliRunner().invoke(app, command).output
        assert "attempt 1: 16 GPUs on state-u-hpc: took" in shown
        assert "Institution: state-u-hpc, 16 GPUs" in shown
