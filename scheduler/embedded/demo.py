"""Plays the story: submits through the real front doors, and tells what the hub reports."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from portal.client.hub import Hub, HubProblem, HubUnreachable, http_client
from portal.format import parse_duration
from portal.working_dir import upload
from scheduler.clock import Clock
from scheduler.core.lifecycle import JobState
from scheduler.core.model import Tier
from scheduler.embedded.demo_story import Cast, Claim, Door, Part, Scene, Seen
from scheduler.embedded.trouble import Trouble
from scheduler.embedded.waiting import pause
from scheduler.wire.accounts import Problem
from scheduler.wire.jobs import JobEvent, JobRequest

PROGRAMS = Path(__file__).parent / "programs"
_LOOK_SECONDS = 1.0
_RAY_SECONDS = 60.0
_AWAY_SECONDS = 30.0
_HANDS = 3


class Teller(Protocol):
    """Where the story is told: a terminal, a log, or a test."""

    def scene(self, words: str) -> None:
        """Begin a scene."""
        ...

    def submitted(self, part: Part) -> None:
        """Say that a part was handed in."""
        ...

    def refused(self, part: Part, words: str) -> None:
        """Say that a part was refused, in the hub's words."""
        ...

    def event(self, part: Part, event: JobEvent) -> None:
        """Say what the hub recorded of a part."""
        ...

    def line(self, part: Part, text: str) -> None:
        """Say what a part's program printed, or why it waits."""
        ...

    def look(self, cast: Cast) -> None:
        """Show everything as it is now."""
        ...


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the story plays. `run` makes the submission ids of this run its own."""

    url: str
    tokens: Mapping[str, str]
    run: str
    clock: Clock


def play(
    stage: Stage, story: tuple[Scene, ...], cast: dict[str, Seen], seconds: float, teller: Teller
) -> None:
    """Play the scenes in their order; what is observed of each part is put into `cast`.

    Raises:
        Trouble: a scene did not come to its end in time; what is left was cancelled.
    """
    end = stage.clock.monotonic() + seconds
    with http_client() as client, ThreadPoolExecutor(_HANDS) as hands:
        hubs = {person: Hub(stage.url, token, client) for person, token in stage.tokens.items()}
        try:
            for scene in story:
                teller.scene(scene.words)
                sent = []
                for part in scene.parts:
                    seen = cast[part.key] = Seen(part)
                    teller.submitted(part)
                    sent.append(hands.submit(_submit, stage, hubs[part.person], seen))
                _watch(_Scene(stage, hubs, cast, scene, end), sent, teller)
        finally:
            _cancel_the_rest(hubs, cast)


@dataclass(frozen=True, slots=True)
class _Scene:
    """All that one scene needs while it is watched. `end` is the whole story's."""

    stage: Stage
    hubs: Mapping[str, Hub]
    cast: Mapping[str, Seen]
    scene: Scene
    end: float


def _submit(stage: Stage, hub: Hub, seen: Seen) -> None:
    """Hand a part in at its door; Ray's command takes seconds, so this is done by a thread."""
    name = f"demo-{stage.run}-{seen.part.key}"
    try:
        if seen.part.door is Door.RAY:
            _by_ray(stage, seen.part, name)
        else:
            _by_api(hub, seen.part, name)
        seen.job = hub.job(name)
    except HubProblem as problem:
        seen.refusal = problem.sentence()


def _by_api(hub: Hub, part: Part, name: str) -> None:
    asks = dict(part.asks)
    low, _, high = asks.get("tier", "").partition("..")
    limit = parse_duration(asks.get("time_limit", "")) or timedelta(minutes=2)
    request = {
        "entrypoint": part.command,
        "submission_id": name,
        "gpus_per_node": int(asks["gpus_per_node"]),
        "nodes": int(asks.get("nodes", "1")),
        "label": asks.get("label", "public"),
        "priority": asks.get("priority", "standard"),
        "time_limit_seconds": int(limit.total_seconds()),
        "tier": (Tier(low), Tier(high or low)) if low else (),
        "runtime_env": {"working_dir": upload(hub, PROGRAMS)},
    }
    hub.submit(JobRequest.model_validate(request), idempotency_key=name)


def _by_ray(stage: Stage, part: Part, name: str) -> None:
    """Run Ray's own command, unmodified; a refusal is what it prints.

    Raises:
        HubProblem: the hub refused.
        Trouble: the command failed in another way.
    """
    metadata = {f"commonpool.{key}": value for key, value in part.asks.items()}
    argv = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", "--no-wait"]
    argv += ["--submission-id", name, "--working-dir", str(PROGRAMS)]
    argv += ["--metadata-json", json.dumps(metadata), "--", *shlex.split(part.command)]
    try:
        done = subprocess.run(  # noqa: S603  # Ray's command with our own words, no shell
            argv,
            env=_as_person(stage, part.person),
            capture_output=True,
            text=True,
            timeout=_RAY_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Trouble(f"ray job submit did not return within {_RAY_SECONDS:.0f} s") from error
    if done.returncode == 0:
        return
    said = [line for line in done.stderr.splitlines() if "status code" in line]
    if not said:
        evidence = "\n".join(done.stderr.splitlines()[-6:])
        raise Trouble("ray job submit failed", "is ray[default] installed?", evidence)
    raise _refusal(said[-1])


def _refusal(line: str) -> HubProblem:
    """Return the refusal in the line that Ray's client prints."""
    words = line.partition("status code ")[2]
    code, _, detail = words.partition(": ")
    return HubProblem(Problem(title="Refused", status=int(code), detail=detail or line))


def _as_person(stage: Stage, person: str) -> dict[str, str]:
    """Return the environment in which Ray's client speaks to the hub as a person."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    return clean | {
        "RAY_ADDRESS": stage.url,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": stage.tokens[person],
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def _watch(scene: _Scene, sent: Sequence[Future[None]], teller: Teller) -> None:
    """Tell what is observed until the scene's claim holds.

    Raises:
        Trouble: it cannot hold any more, or did not in time.
        HubUnreachable: the hub stays away.
    """
    clock = scene.stage.clock
    answered = clock.monotonic()
    while not _is_over(scene, sent):
        if clock.monotonic() > scene.end:
            open_ = ", ".join(key for key, seen in scene.cast.items() if not seen.has_ended())
            what = f"not seen in time: {scene.scene.words} Still open: {open_}"
            raise Trouble(what, "commonpool status shows whether all parts are up")
        pause(_LOOK_SECONDS)
        try:
            for seen in scene.cast.values():
                _observe(scene.hubs[seen.part.person], seen, teller)
            answered = clock.monotonic()
        except HubUnreachable:
            # The supervisor brings a hub back; a short absence is no reason to end the story.
            if clock.monotonic() - answered > _AWAY_SECONDS:
                raise
        teller.look(scene.cast)


def _is_over(scene: _Scene, sent: Sequence[Future[None]]) -> bool:
    if not all(one.done() for one in sent):
        return False
    for one in sent:
        one.result()
    if scene.scene.until(scene.cast):
        return True
    _still_possible(scene.cast, scene.scene.until)
    return False


def _still_possible(cast: Cast, claim: Claim) -> None:
    """Raise where every part has ended and the scene's claim does not hold: waiting is vain."""
    if all(seen.has_ended() for seen in cast.values()) and not claim(cast):
        failed = [s for s in cast.values() if s.has_state(JobState.FAILED, JobState.STOPPED)]
        evidence = "\n".join(f"{s.part.key}: {s.job.reason if s.job else ''}" for s in failed)
        logs = "\n".join(s.log[-800:] for s in failed[:1])
        raise Trouble("every job has ended, and the scene did not come", "", evidence + logs)


def _observe(hub: Hub, seen: Seen, teller: Teller) -> None:
    if seen.refusal and not seen.is_over:
        seen.is_over = True
        teller.refused(seen.part, seen.refusal)
    if seen.job is None or seen.is_over:
        return
    view = hub.job(seen.job.id)
    explanation = hub.explanation(seen.job.id)
    for event in _fresh(seen, explanation.history):
        teller.event(seen.part, event)
    _hear(hub, seen, teller)
    if not seen.waited_for and view.state is JobState.PENDING and not view.runs:
        pool = next((v for v in explanation.verdicts if v.pool), None)
        if pool is not None:
            seen.waited_for = explanation.summary
            teller.line(seen.part, f"waits: {explanation.summary}")
    seen.job, seen.explanation = view, explanation
    seen.is_over = view.state.is_terminal and seen.log_is_complete


def _fresh(seen: Seen, history: tuple[JobEvent, ...]) -> Iterator[JobEvent]:
    for event in history:
        key = (f"{event.at.isoformat()} {event.event}", event.run)
        if key not in seen.told:
            seen.told.add(key)
            yield event


def _hear(hub: Hub, seen: Seen, teller: Teller) -> None:
    """Read what the program printed since; a line that tells the story is passed on."""
    if seen.job is None:
        return
    page = hub.log(seen.job.id, seen.log_offset)
    seen.log_offset, seen.log = page.next_offset, seen.log + page.text
    seen.log_is_complete = page.complete
    telling = ("resumed", "asked to leave", "images in", "done", "found", "forest")
    for line in page.text.splitlines():
        if any(word in line for word in telling):
            teller.line(seen.part, f"prints: {line.strip()}")


def _cancel_the_rest(hubs: Mapping[str, Hub], cast: Cast) -> None:
    for seen in cast.values():
        if seen.job is not None and not seen.has_ended():
            try:
                hubs[seen.part.person].cancel(seen.job.id)
            except (HubProblem, HubUnreachable):
                continue  # the hub is away, or the job ended by itself
