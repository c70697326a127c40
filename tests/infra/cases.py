"""When each alert fires and when it does not: series as promtool writes them, minute by minute.

A case's series come every minute from 0 on; both are looked at after `at` minutes. `a+bxn` is
a, a+b … n times more; `axn` is the same value n times more.
"""

from dataclasses import dataclass

NODE = 'site="s",pool="p",node="n"'
GPU = f'{NODE},gpu="0",UUID="u"'


@dataclass(frozen=True)
class Case:
    """What is scraped where an alert fires, and where all is well."""

    alert: str
    bad: dict[str, str]
    good: dict[str, str]
    at: int = 30
    firing: int = 1


def always(value: float) -> str:
    return f"{value}x1500"


def rising(step: float) -> str:
    return f"0+{step}x1500"


def _one(alert: str, series: str, bad: str, good: str, at: int = 30) -> Case:
    return Case(alert, {series: bad}, {series: good}, at)


def _agents(*up: int) -> dict[str, str]:
    return {
        f'up{{job="commonpool-nodes",site="s",pool="p",node="n{n}"}}': always(value)
        for n, value in enumerate(up)
    }


def _nodes(healthy: int, stale: int) -> dict[str, str]:
    row = 'commonpool_nodes{{site="s",pool="p",state="{}"}}'
    return {row.format("healthy"): always(healthy), row.format("stale"): always(stale)}


def _buckets(name: str, labels: str, bounds: dict[str, float]) -> dict[str, str]:
    return {f'{name}_bucket{{{labels},le="{le}"}}': rising(step) for le, step in bounds.items()}


_SLOW, _QUICK = {"5": 0, "10": 5, "+Inf": 5}, {"1": 5, "5": 5, "10": 5, "+Inf": 5}
_XIDS = f'commonpool_gpu_xid_events_total{{{GPU},xid="%s"}}'
_RECOVERY = f"commonpool_gpu_recovery_action{{{GPU}}}"
_SAMPLER = f'commonpool_agent_sampler_state{{{NODE},state="%s"}}'
_REPORTS = f'commonpool_agent_reports_total{{{NODE},outcome="%s"}}'
_JOBS = 'commonpool_jobs{state="pending",priority="standard"}'
_FREE = 'commonpool_pool_gpus{site="s",pool="p",tier="team",state="free"}'
_STARTS = 'commonpool_decisions_total{kind="start",reason="in_quota"}'
_BUDGET = 'commonpool_budget_h100e_seconds{account="a",budget="b",fact="%s"}'
_ETA = 'commonpool_eta_hits_total{hit="%s"}'
_REQUESTS = 'commonpool_request_seconds_count{route="/v1/jobs",status="%s"}'

NODES = (
    _one(
        "NodeAgentDown",
        f'up{{job="commonpool-nodes",{NODE}}}',
        always(0),
        # Away for three minutes: a restart.
        "1x10 0x2 1x1500",
        at=14,
    ),
    Case("ManyNodeAgentsDown", _agents(1, 1, 0), _agents(1, 1, 1, 1, 1, 0)),
    Case(
        "GpuLost",
        {f"commonpool_gpu_up{{{GPU}}}": always(0), _SAMPLER % "ok": always(1)},
        # All are lost to an agent that is stuck: that is another alert.
        {f"commonpool_gpu_up{{{GPU}}}": always(0), _SAMPLER % "stuck": always(1)},
    ),
    # The series comes into being with the first XID; 31 is the application's own fault.
    _one("GpuFatalXid", _XIDS % "79", "_x20 1x1500", "1x1500"),
    Case("GpuFatalXid", {_XIDS % "95": "1x20 2x1500"}, {_XIDS % "31": "_x20 1x1500"}),
    Case("SamplerStuck", {_SAMPLER % "stuck": always(1)}, {_SAMPLER % "starting": always(1)}),
    _one("GpuWantsRecovery", _RECOVERY, always(2), always(0)),
    _one("GpuRowRemapFailed", f"DCGM_FI_DEV_ROW_REMAP_FAILURE{{{GPU}}}", always(1), always(0)),
    _one(
        "GpuRowRemapPending",
        f"DCGM_FI_DEV_ROW_REMAP_PENDING{{{GPU}}}",
        always(1),
        "1x30 0x1500",  # reset within the hour
        at=90,
    ),
    _one(
        "GpuUncorrectedErrors", f"DCGM_FI_DEV_ECC_DBE_VOL_TOTAL{{{GPU}}}", "3x20 4x1500", "3x1500"
    ),
    # 0x04 is a cap on power, 0x08 + 0x04 hardware, 0x40 heat, 0x80 the power brake.
    *(
        _one("GpuHeldDown", f"DCGM_FI_DEV_CLOCK_THROTTLE_REASONS{{{GPU}}}", always(bad), always(4))
        for bad in (12, 64, 128)
    ),
    _one("GpuHot", f"DCGM_FI_DEV_GPU_TEMP{{{GPU}}}", always(88), always(80)),
    _one("ForeignProcesses", f"commonpool_gpu_foreign_processes{{{GPU}}}", always(2), always(0)),
    Case(
        "ReportsNotTaken",
        {_REPORTS % "accepted": "9x1500", _REPORTS % "refused": rising(4)},
        {_REPORTS % "accepted": rising(4), _REPORTS % "refused": rising(1)},
    ),
)

HUB = (
    _one("HubDown", 'up{job="commonpool-hub",instance="h"}', always(0), always(1)),
    Case("HubDown", {}, {'up{job="commonpool-hub",instance="h"}': always(1)}),
    _one("NoLeader", 'commonpool_leader{instance="h"}', always(0), always(1)),
    Case(
        "TwoLeaders",
        {f'commonpool_leader{{instance="{h}"}}': always(1) for h in "ab"},
        {
            'commonpool_leader{instance="a"}': always(1),
            'commonpool_leader{instance="b"}': always(0),
        },
    ),
    _one(
        "PlanningStopped",
        'commonpool_cycle_seconds_count{phase="load"}',
        always(100),
        rising(12),
    ),
    _one("CyclesFail", 'commonpool_cycles_total{outcome="failed"}', rising(1), always(7)),
    Case(
        "CyclesSlow",
        _buckets("commonpool_cycle_seconds", 'phase="whole"', _SLOW),
        _buckets("commonpool_cycle_seconds", 'phase="whole"', _QUICK),
    ),
    Case(
        "CommitsStale",
        {"commonpool_stale_commits_total": rising(5), _STARTS: rising(10)},
        {"commonpool_stale_commits_total": rising(1), _STARTS: rising(10)},
    ),
    _one("LoopFails", 'commonpool_loop_failures_total{loop="watch"}', rising(1), always(9)),
    _one(
        "SiteSilent",
        'commonpool_site_agents{site="s",state="silent"}',
        always(1),
        "1x10 0x1500",
    ),
    Case("NodesUnusable", _nodes(7, 3), _nodes(9, 1)),
    Case("NodesStale", _nodes(9, 1), _nodes(10, 0)),
    Case(
        "NothingStarts",
        {_JOBS: always(3), _FREE: always(8), _STARTS: always(5)},
        {_JOBS: always(3), _FREE: always(0), _STARTS: always(5)},
        at=120,
    ),
    Case(
        "UrgentJobsWait",
        _buckets(
            "commonpool_wait_seconds", 'priority="urgent"', {"3600": 0, "14400": 1, "+Inf": 1}
        ),
        _buckets("commonpool_wait_seconds", 'priority="urgent"', {"60": 1, "3600": 1, "+Inf": 1}),
    ),
    _one(
        "RecallsLate",
        'commonpool_recalls{lender="l",pool="p",outcome="late"}',
        "0x20 1x1500",
        always(1),
    ),
    Case(
        "BudgetLow",
        {_BUDGET % "whole": always(1000), _BUDGET % "left": always(50)},
        {_BUDGET % "whole": always(1000), _BUDGET % "left": always(500)},
        at=90,
    ),
    Case(
        "ForecastsWrong",
        {_ETA % "true": rising(1), _ETA % "false": rising(1)},
        {_ETA % "true": rising(8), _ETA % "false": rising(2)},
        at=120,
    ),
    Case(
        "RequestsFail",
        {_REQUESTS % "200": rising(90), _REQUESTS % "503": rising(10)},
        {_REQUESTS % "200": rising(9999), _REQUESTS % "503": rising(1)},
    ),
    Case(
        "RequestsSlow",
        _buckets("commonpool_request_seconds", 'route="/v1/jobs"', {"1": 0, "5": 5, "+Inf": 5}),
        # A long poll takes long by design.
        _buckets(
            "commonpool_request_seconds",
            'route="/v1/sites/{site}/sync"',
            {"1": 0, "5": 5, "+Inf": 5},
        ),
    ),
)
