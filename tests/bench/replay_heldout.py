"""How well held-out traces are scheduled: the default policy beside EASY and others.

Prints, per trace and policy: jobs, mean wait, its p99, mean wait of gangs, utilisation, tenants
worse off than under the first policy, the worst of them as a factor, unfinished jobs, CPU-seconds.
All of it takes half an hour of CPU, so `make bench` leaves it out; --only takes parts of names.
"""

# ruff: noqa: T201  # it reports to a terminal
import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from scheduler.core.predict import Predictor
from scheduler.garbage import look_seldom
from scheduler.sim.engine import Engine
from scheduler.sim.limits import time_limits
from scheduler.sim.report import figures, measure
from scheduler.sim.rulebook import read_rulebook
from scheduler.sim.setting import Cluster, set_up
from scheduler.sim.trace_file import read_trace
from tests.bench.heldout import HeldOut, held_out, write

_PARENT = Path(__file__).parents[3]


def main() -> None:
    """Print a row per trace and policy."""
    parser = argparse.ArgumentParser(description=__doc__)
    folder = os.environ.get("COMMONPOOL_TRACES") or _PARENT / "shared/traces"
    parser.add_argument("--traces", type=Path, default=Path(folder))
    parser.add_argument("--only", nargs="+", default=[""])
    parser.add_argument("--policies", nargs="+", default=["easy", "default"])
    parser.add_argument("--json", type=Path, help="also write every figure, a line per run")
    options = parser.parse_args()
    look_seldom()
    for trace in held_out(options.traces):
        if any(part in trace.name for part in options.only):
            told = [one(trace, policy) for policy in options.policies]
            for each in told:
                print(row(each, told[0]), flush=True)
                if options.json:
                    with options.json.open("a", encoding="utf-8") as out:
                        out.write(json.dumps(each) + "\n")


def one(held: HeldOut, policy: str) -> dict[str, Any]:
    """Replay one trace under one policy, and return every figure."""
    with tempfile.TemporaryDirectory() as folder:
        trace = read_trace(write(held, Path(folder)))
    begun = time.process_time()
    cluster = Cluster(held.nodes, held.gpus_per_node)
    setting = set_up(trace, cluster, read_rulebook(policy), time_limits(held.limits, trace))
    engine = Engine(setting.policy, setting.nodes, predictor=Predictor(), cpu=time.process_time)
    report = measure(engine.run(setting.works, setting.begins_at))
    return {
        "trace": held.name,
        "policy": Path(policy).stem,
        "cpu_s": time.process_time() - begun,
        **figures(report),
    }


def row(told: dict[str, Any], easy: dict[str, Any]) -> str:
    """Return a row of the table; tenants are compared with the first policy, by mean wait."""
    before = {each["tenant"]: each["wait_s"]["mean"] for each in easy["tenants"]}
    ratios = {
        each["tenant"]: (each["wait_s"]["mean"] + 1) / (before[each["tenant"]] + 1)
        for each in told["tenants"]
    }
    worse = [ratio for ratio in ratios.values() if ratio > 1]
    return (
        f"| {told['trace']} | {told['policy']} | {told['jobs']:,} | {told['wait_s']['mean']:,.0f} "
        f"| {told['wait_s']['p99']:,.0f} | {told['gang_wait_s']['mean']:,.0f} "
        f"| {told['utilisation']:.4f} | {len(worse)} of {len(ratios)} "
        f"| {max(ratios.values()):.2f} | {told['unfinished']} | {told['cpu_s']:.0f} |"
    )


if __name__ == "__main__":
    main()
