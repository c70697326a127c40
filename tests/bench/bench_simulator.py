"""How fast traces are replayed: philly-2017 on 80 x 8 in under 60 CPU-seconds (issue 3).

Prints, per policy, the CPU-seconds of reading, planning and everything else of the engine,
and the figures that policies are compared by. Needs the traces: --traces FOLDER.
"""

# ruff: noqa: T201  # it reports to a terminal
import argparse
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from scheduler.core.predict import Predictor
from scheduler.sim.engine import Engine
from scheduler.sim.limits import time_limits
from scheduler.sim.report import measure
from scheduler.sim.rulebook import read_rulebook
from scheduler.sim.setting import Cluster, set_up
from scheduler.sim.trace_file import read_trace

_PARENT = Path(__file__).parents[3]
SETTINGS = (
    ("philly-2017.csv.gz", 80),
    ("kalos-2023.csv.gz", 160),
    ("kalos-2023.csv.gz", 302),
)


def main() -> None:
    """Print the figures with their setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    folder = os.environ.get("COMMONPOOL_TRACES") or _PARENT / "shared/traces"
    parser.add_argument("--traces", type=Path, default=Path(folder))
    parser.add_argument("--policies", nargs="+", default=["default", "easy", "fifo"])
    options = parser.parse_args()
    for name, nodes in SETTINGS:
        file = options.traces / name
        if not file.exists():
            print(f"simulator: no {name} in {options.traces}: skipped")
            continue
        print(f"simulator: {name} on {nodes} x 8, limits exact; CPU-seconds of this process")
        for policy in options.policies:
            one(file, nodes, policy)


def one(file: Path, nodes: int, policy: str) -> None:
    """Replay one trace under one policy."""
    begun = time.process_time()
    trace = read_trace(file)
    limits = time_limits("exact", trace)
    setting = set_up(trace, Cluster(nodes, 8), read_rulebook(policy), limits)
    read = time.process_time() - begun
    engine = Engine(setting.policy, setting.nodes, predictor=Predictor(), cpu=time.process_time)
    history = engine.run(setting.works, setting.begins_at)
    report = measure(history)
    whole = time.process_time() - begun
    rest = whole - read - report.planner_cpu_s
    print(
        f"  {policy:8} {whole:6.1f} s (target 60): read {read:.1f}, planner "
        f"{report.planner_cpu_s:.1f}, rest {rest:.1f} = {1e6 * rest / report.jobs:.0f} us per job; "
        f"{report.decisions_per_cpu_s:,.0f} decisions per planner CPU-second"
    )
    print(
        f"           mean wait {report.wait_s.mean:,.0f} s, of gangs "
        f"{report.gang_wait_s.mean:,.0f} s, utilisation {report.utilisation:.4f}, fairness "
        f"{report.fairness:.4f}, {report.preemptions} preemptions, {report.unfinished} unfinished"
    )


if __name__ == "__main__":
    main()
