"""Days of operating, for the fake hub: a drained node, a foreign process, the planner's vitals."""

from datetime import timedelta
from typing import Annotated

from fastapi import Depends
from fastapi.responses import Response

from scheduler.core.roles import Action
from scheduler.wire.diagnostics import DecisionCount, Diagnostics, EtaScore, PhaseView
from scheduler.wire.jobs import JobView
from scheduler.wire.operating import (
    CordonView,
    DrainRequest,
    MaintenanceList,
    MaintenanceRequest,
    MaintenanceWindow,
    NodeDetail,
    NodeEvent,
    ResumeRequest,
)
from scheduler.wire.telemetry import ForeignProcesses

MAY = (Action.OPERATE_NODES, Action.DIAGNOSE)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def cordons(now):
    return {"national-3": a_cordon("fan is <b>loud</b>", "ops", now - 3 * HOUR)}


def a_cordon(why, by, at, until=None):
    return CordonView(
        action="drain", why=why, by=by, at=at, until=until, returns="`commonpool node resume`"
    )


def windows(now):
    return [
        MaintenanceWindow(
            name="maintenance-1",
            pool="state-u-hpc",
            nodes=("state-u-1", "state-u-2"),
            starts_at=now + 2 * DAY,
            ends_at=now + 2 * DAY + 8 * HOUR,
            reason="new chillers",
        )
    ]


def told(hub, nodes):
    """Return nodes as the hub tells them: a cordoned one takes no work."""
    for node in nodes:
        cordon = hub.cordons.get(node.node)
        why = node.why_unusable if cordon is None else cordon.why
        yield node.model_copy(update={"usable": not why, "why_unusable": why})


def telemetry(hub, nodes):
    """Return telemetry with cordons, and with who uses GPUs unasked."""
    for node in nodes:
        gpus = tuple(
            gpu.model_copy(update={"foreign": (ForeignProcesses(processes=2),)})
            if (node.node, gpu.index) in hub.foreign
            else gpu
            for gpu in node.gpus
        )
        cordon = hub.cordons.get(node.node)
        why = node.why_unusable if cordon is None else cordon.why
        said = {"gpus": gpus, "usable": not why, "why_unusable": why}
        yield node.model_copy(update=said)


def diagnostics(hub):
    return Diagnostics(
        at=hub.now,
        policy=7,
        leads=True,
        cycles={"committed": 120, "unchanged": 3_400},
        phases=(
            PhaseView(
                phase="plan", count=120, last_seconds=0.012, mean_seconds=0.01, max_seconds=0.2
            ),
        ),
        decisions=(DecisionCount(kind="start", reason="in_quota", count=80),),
        stale=1,
        events=900,
        waiting=12,
        runs=5,
        nodes=7,
        usable_nodes=5,
        gpus=56,
        accounts=9,
        pools=3,
        etas=EtaScore(hits=8, misses=2, rate=0.8),
    )


def serve(app, hub, caller):  # noqa: C901  # one endpoint after the other
    """Add the endpoints of operating."""
    who = Annotated[str, Depends(caller)]

    def detail(name):
        (node,) = told(hub, [node for node in hub.nodes if node.node == name])
        happened = NodeEvent(at=hub.now - DAY, event="reported", sentence="It reported first.")
        return NodeDetail(node=node, cordon=hub.cordons.get(name), history=(happened,))

    @app.get("/v1/nodes/{name}")
    def one(_: who, name: str) -> NodeDetail:
        return detail(name)

    @app.post("/v1/nodes/{name}/drain")
    def drain(user: who, name: str, asked: DrainRequest) -> NodeDetail:
        hub.cordons[name] = a_cordon(asked.reason, user, hub.now, asked.until)
        return detail(name)

    @app.post("/v1/nodes/{name}/resume")
    def resume(_: who, name: str, asked: ResumeRequest) -> NodeDetail:
        hub.resumed.append((name, asked.reason))
        hub.cordons.pop(name, None)
        return detail(name)

    @app.get("/v1/diagnostics")
    def vitals(_: who) -> Diagnostics:
        return diagnostics(hub)

    @app.post("/v1/jobs/{key}/recall")
    def recall(user: who, key: str) -> JobView:
        job = hub.own(user, key)
        back = tuple(run.model_copy(update={"lent": False}) for run in job.runs)
        hub.change(job.id, runs=back)
        return hub.jobs[job.id]

    @app.get("/v1/policy")
    def policy(_: who) -> Response:
        found = hub.policy is not None
        return Response(hub.policy, 200 if found else 404, media_type="text/yaml")

    @app.get("/v1/maintenance")
    def maintenance(_: who) -> MaintenanceList:
        return MaintenanceList(windows=tuple(hub.windows))

    @app.post("/v1/maintenance")
    def plan(_: who, asked: MaintenanceRequest) -> MaintenanceList:
        pools = {node.node: node.pool for node in hub.nodes}
        hub.windows.append(
            MaintenanceWindow(
                name=f"maintenance-{len(hub.windows) + 1}",
                pool=pools[asked.nodes[0]],
                nodes=asked.nodes,
                starts_at=asked.starts_at,
                ends_at=asked.ends_at,
                reason=asked.reason,
            )
        )
        return maintenance("")

    @app.delete("/v1/maintenance/{name}")
    def cancel(_: who, name: str) -> MaintenanceList:
        hub.windows = [window for window in hub.windows if window.name != name]
        return maintenance("")


def a_policy(now):
    """Return the parts of a policy that keep nodes for somebody, or for nobody."""
    day = now.date()
    return f"""
reservations:
  - id: demo-day
    pool: national-hub
    account: arl
    node_count: 2
    starts_at: {(now + HOUR).isoformat(timespec="seconds")}
    ends_at: {day + 3 * DAY}
    reason: demo day
  - {{id: long-past, pool: arl-team, account: arl, node_count: 1, starts_at: 2020-01-01,
     ends_at: 2020-01-02}}
maintenance:
  - {{id: cooling, pool: arl-team, starts_at: {day + 5 * DAY}, ends_at: {day + 6 * DAY},
     reason: new pumps}}
"""
