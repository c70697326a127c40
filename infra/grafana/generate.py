"""Write the dashboards: `python infra/grafana/generate.py`; a test holds the files to it.

A panel is a line here and forty in Grafana's JSON. Expressions are the recording rules'
names wherever there is one, so that a dashboard costs Prometheus next to nothing; only the
one of a single node asks for what a site's own Prometheus has.
"""

import sys
from pathlib import Path

from grafana_json import Dashboard, Panel, Variable, now, rendered

FOLDER = Path(__file__).parent / "dashboards"

_SITE = Variable("site", "label_values(cluster:nodes:max, site)")
_POOL = Variable("pool", 'label_values(cluster:nodes:max{site=~"$site"}, pool)')
_IN = 'site=~"$site",pool=~"$pool"'

FLEET = Dashboard(
    "commonpool-fleet",
    "Commonpool: fleet",
    (
        now("Nodes that take work", f'sum(cluster:nodes:max{{state="healthy",{_IN}}})'),
        now("Nodes that do not", f'sum(cluster:nodes:max{{state!="healthy",{_IN}}})'),
        now("GPUs up", f'sum(cluster:gpus:sum{{state="up",{_IN}}})'),
        now("GPUs free", f'sum(cluster:gpus:sum{{state="free",{_IN}}})'),
        now("Agents that answer", f"avg(cluster:agents_up:ratio{{{_IN}}})", "percentunit"),
        now("Sites that are silent", 'sum(cluster:site_silent:max{site=~"$site"})'),
        Panel(
            "Nodes by state",
            f"sum by (state) (cluster:nodes:max{{{_IN}}})",
            "{{state}}",
            about="Every state but healthy takes no work: `commonpool node list` says why.",
        ),
        Panel(
            "GPUs held, of those up",
            'cluster:gpus_held:ratio{pool=~"$pool"}',
            "{{pool}}",
            "percentunit",
        ),
        Panel(
            "SMs at work",
            f"cluster:gpu_sm_active:avg{{{_IN}}}",
            "{{site}} {{pool}}",
            "percentunit",
            about="Utilisation says 100 % for one busy block; this says how much works.",
        ),
        Panel(
            "Tensor cores at work",
            f"cluster:gpu_tensor_active:avg{{{_IN}}}",
            "{{site}} {{pool}}",
            "percentunit",
        ),
        Panel("Power", f"cluster:gpu_power_watts:sum{{{_IN}}}", "{{site}} {{pool}}", "watt"),
        Panel(
            "GPUs that did nothing for half an hour",
            f"cluster:gpus_idle30m:sum{{{_IN}}}",
            "{{site}} {{pool}}",
        ),
        Panel(
            "GPUs missing from the inventory",
            f"cluster:gpus_expected:sum{{{_IN}}} - cluster:gpus_up:sum{{{_IN}}}",
            "{{site}} {{pool}}",
        ),
        Panel(
            "Utilisation",
            f"cluster:gpu_utilisation:avg{{{_IN}}}",
            "{{site}} {{pool}}",
            "percentunit",
        ),
    ),
    (_SITE, _POOL),
)

SHARING = Dashboard(
    "commonpool-sharing",
    "Commonpool: tiers and sharing",
    (
        now("Jobs that wait", 'sum(cluster:jobs:sum{state="pending"})'),
        now("Jobs that run", 'sum(cluster:jobs:sum{state="running"})'),
        now("GPUs in quota", 'sum(cluster:gpus_held:sum{quota_class="in_quota"})'),
        now("GPUs borrowed", 'sum(cluster:gpus_held:sum{quota_class="borrowed"})'),
        now("GPUs in background", 'sum(cluster:gpus_held:sum{quota_class="background"})'),
        now("Lent by agreement", 'sum(commonpool_agreement_gpus{fact="used"})'),
        Panel("GPUs up by tier", 'sum by (tier) (cluster:gpus:sum{state="up"})', "{{tier}}"),
        Panel("GPUs free by tier", 'sum by (tier) (cluster:gpus:sum{state="free"})', "{{tier}}"),
        Panel(
            "GPUs held by class",
            "sum by (quota_class) (cluster:gpus_held:sum)",
            "{{quota_class}}",
            about="Borrowed and background GPUs go back to their owners on notice.",
        ),
        Panel(
            "GPUs lent by account",
            'sum by (account) (account:quota_gpus:sum{fact="lent"})',
            "{{account}}",
            about="Each owner's part of what others hold, by what it leaves unused.",
        ),
        Panel(
            "GPUs borrowed by account",
            'sum by (account) (account:quota_gpus:sum{fact="borrowed"})',
            "{{account}}",
        ),
        Panel(
            "Agreements, used of cap",
            'sum by (agreement) (commonpool_agreement_gpus{fact="used"})'
            ' / sum by (agreement) (commonpool_agreement_gpus{fact="cap"})',
            "{{agreement}}",
            "percentunit",
        ),
        Panel(
            "Use against weight",
            "account:use_to_weight:ratio",
            "{{account}}",
            about="1 is what the weight gives; the account with the least goes first.",
        ),
        Panel("Jobs that wait by priority", 'cluster:jobs:sum{state="pending"}', "{{priority}}"),
        Panel("Wait of 19 in 20 jobs", "cluster:wait_seconds:p95_1h", "{{priority}}", "s"),
        Panel("Wait of half of the jobs", "cluster:wait_seconds:p50_1h", "{{priority}}", "s"),
        Panel(
            "Owners' wait for what they had lent",
            'max by (lender, pool) (commonpool_recall_seconds{percentile="99"})',
            "{{lender}} {{pool}}",
            "s",
        ),
        Panel(
            "Recalls of 30 days",
            "max by (lender, outcome) (commonpool_recalls)",
            "{{lender}} {{outcome}}",
        ),
    ),
)

_MINE = 'account=~"$account"'

ACCOUNT = Dashboard(
    "commonpool-account",
    "Commonpool: one account",
    (
        now("Jobs that wait", f"sum(account:pending_jobs:sum{{{_MINE}}})"),
        now("GPUs they ask for", f"sum(account:pending_gpus:sum{{{_MINE}}})"),
        now("GPUs used", f'sum(account:quota_gpus:sum{{fact="used",{_MINE}}})'),
        now("GPUs nominal", f'sum(account:quota_gpus:sum{{fact="nominal",{_MINE}}})'),
        now("Budget left", f"min(account:budget_left:ratio{{{_MINE}}})", "percentunit"),
        now("Use against weight", f"max(account:use_to_weight:ratio{{{_MINE}}})"),
        Panel(
            "Quota by pool",
            f"sum by (pool, fact) (account:quota_gpus:sum{{{_MINE}}})",
            "{{pool}} {{fact}}",
        ),
        Panel(
            "Nominal in use", f"account:quota_used:ratio{{{_MINE}}}", "{{account}}", "percentunit"
        ),
        Panel(
            "Use that shares go by",
            f"sum by (account) (commonpool_account_used_h100e_seconds{{{_MINE}}})",
            "{{account}}",
            "s",
            about="H100-equivalent seconds; they count half after each half-life.",
        ),
        Panel(
            "Part of use, and part by weight",
            f"sum by (account) (commonpool_account_use_ratio{{{_MINE}}})"
            f" - sum by (account) (commonpool_account_weight_ratio{{{_MINE}}})",
            "{{account}}",
            "percentunit",
            about="Above 0 the account has had more than its weight gives it.",
        ),
        Panel("Budgets", f"account:budget_left:ratio{{{_MINE}}}", "{{budget}}", "percentunit"),
        Panel("Jobs that wait", f"account:pending_jobs:sum{{{_MINE}}}", "{{account}}"),
    ),
    (Variable("account", "label_values(account:quota_gpus:sum, account)", many=False),),
)

_HERE = 'node=~"$node"'

NODE = Dashboard(
    "commonpool-node",
    "Commonpool: one node",
    (
        now("Agent answers", f"max(node:agent_up:max{{{_HERE}}})"),
        now("GPUs up", f"sum(node:gpus_up:sum{{{_HERE}}})"),
        now("GPUs expected", f"sum(node:gpus_expected:max{{{_HERE}}})"),
        now("XIDs", f"sum(node:gpu_xid_events:sum{{{_HERE}}})"),
        now("Power", f"sum(node:gpu_power_watts:sum{{{_HERE}}})", "watt"),
        now("Hottest GPU", f"max(node:gpu_temperature_celsius:max{{{_HERE}}})", "celsius"),
        Panel("SMs at work", f"DCGM_FI_PROF_SM_ACTIVE{{{_HERE}}}", "GPU {{gpu}}", "percentunit"),
        Panel(
            "Tensor cores at work",
            f"DCGM_FI_PROF_PIPE_TENSOR_ACTIVE{{{_HERE}}}",
            "GPU {{gpu}}",
            "percentunit",
        ),
        Panel(
            "Memory used",
            f"DCGM_FI_DEV_FB_USED{{{_HERE}}}",
            "GPU {{gpu}}",
            "mbytes",
        ),
        Panel("Power by GPU", f"DCGM_FI_DEV_POWER_USAGE{{{_HERE}}}", "GPU {{gpu}}", "watt"),
        Panel("Temperature", f"DCGM_FI_DEV_GPU_TEMP{{{_HERE}}}", "GPU {{gpu}}", "celsius"),
        Panel("SM clock", f"DCGM_FI_DEV_SM_CLOCK{{{_HERE}}} * 1e6", "GPU {{gpu}}", "hertz"),
        Panel(
            "XIDs by GPU",
            f"sum by (gpu, xid) (commonpool_gpu_xid_events_total{{{_HERE}}})",
            "GPU {{gpu}} XID {{xid}}",
        ),
        Panel(
            "Processes without a lease",
            f"sum by (gpu) (commonpool_gpu_foreign_processes{{{_HERE}}})",
            "GPU {{gpu}}",
        ),
        Panel(
            "Jobs on its GPUs",
            f"max by (gpu, job_id) (commonpool_gpu_job_info{{{_HERE}}})",
            "GPU {{gpu}} {{job_id}}",
        ),
        Panel(
            "Node means of the last while",
            f"node:gpu_sm_active:avg{{{_HERE}}} or node:gpu_tensor_active:avg{{{_HERE}}}"
            f" or node:gpu_memory_used:ratio{{{_HERE}}}",
            "{{__name__}}",
            "percentunit",
        ),
        Panel("What the agent costs", f"process_resident_memory_bytes{{{_HERE}}}", "RSS", "bytes"),
        Panel(
            "Reports to the hub",
            f"sum by (outcome) (rate(commonpool_agent_reports_total{{{_HERE}}}[5m]))",
            "{{outcome}}",
            "ops",
        ),
    ),
    (Variable("node", "label_values(node:agent_up:max, node)", many=False),),
)

SCHEDULER = Dashboard(
    "commonpool-scheduler",
    "Commonpool: scheduler internals",
    (
        now("Leaders", "sum(commonpool_leader)"),
        now("Jobs that wait", 'sum(cluster:jobs:sum{state="pending"})'),
        now("Cycles a second", "sum(cluster:cycles:rate5m)", "ops"),
        now("Slowest cycles", 'max(cluster:cycle_seconds:p99_5m{phase="whole"})', "s"),
        now("Stale commits", "sum(cluster:stale_commits:rate5m)", "ops"),
        now("Forecasts kept", "cluster:eta_hit:ratio1d", "percentunit"),
        Panel(
            "Cycle time, mean by phase",
            "sum by (phase) (rate(commonpool_cycle_seconds_sum[5m]))"
            " / sum by (phase) (rate(commonpool_cycle_seconds_count[5m]))",
            "{{phase}}",
            "s",
        ),
        Panel(
            "Cycle time, 99 in 100",
            "histogram_quantile(0.99, sum by (phase, le)"
            " (rate(commonpool_cycle_seconds_bucket[5m])))",
            "{{phase}}",
            "s",
            about="The dots are cycles: their cycle_id is `cycle` in the hub's log.",
        ),
        Panel(
            "What was started, by quota",
            'cluster:decisions:rate5m{kind="start"}',
            "{{reason}}",
            "ops",
        ),
        Panel(
            "Why jobs are held",
            'topk(8, cluster:decisions:rate5m{kind="hold"})',
            "{{reason}}",
            "ops",
            about="Told per account and shape, not per job.",
        ),
        Panel(
            "Recalled and reserved",
            'cluster:decisions:rate5m{kind=~"preempt|reserve"}',
            "{{kind}} {{reason}}",
            "ops",
        ),
        Panel("Cycles by outcome", "cluster:cycles:rate5m", "{{outcome}}", "ops"),
        Panel("Jobs by state", "sum by (state) (cluster:jobs:sum)", "{{state}}"),
        Panel("Changes heard", "sum(rate(commonpool_events_total[5m]))", "events", "ops"),
        Panel(
            "Loops that fail",
            "sum by (loop) (increase(commonpool_loop_failures_total[15m]))",
            "{{loop}}",
        ),
        Panel(
            "What the watch loop did",
            "sum by (what) (increase(commonpool_watched_total[15m]))",
            "{{what}}",
        ),
        Panel("Requests, 99 in 100", "cluster:request_seconds:p99_5m", "{{route}}", "s"),
        Panel("Requests", "sum by (status) (cluster:requests:rate5m)", "{{status}}", "ops"),
        Panel(
            "Memory of the hub",
            'process_resident_memory_bytes{job="commonpool-hub"}',
            "{{instance}}",
            "bytes",
        ),
        Panel(
            "CPU of the hub",
            'rate(process_cpu_seconds_total{job="commonpool-hub"}[5m])',
            "{{instance}}",
        ),
    ),
)

ALL = (FLEET, SHARING, ACCOUNT, NODE, SCHEDULER)


def main(folder: Path) -> None:
    """Write every dashboard."""
    folder.mkdir(exist_ok=True)
    for dashboard in ALL:
        file = folder / f"{dashboard.uid}.json"
        file.write_text(rendered(dashboard) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
