"""How the portal says things: times from the viewer's side, amounts with their unit.

Pure functions: `now` and the viewer's zone are arguments.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Literal

from scheduler.core.lifecycle import JobState
from scheduler.core.model import QuotaClass, RunState, Tier
from scheduler.wire.usage import BudgetView

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
UNITS = {"s": timedelta(seconds=1), "m": MINUTE, "h": HOUR, "d": DAY}
MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&])")
# Streamlit turns `:smile:` and `:material/home:` into pictures even where they are escaped.
SHORTCODE = re.compile(r":(?=[\w/+-]+:)")
WORD_JOINER = "\N{WORD JOINER}"  # takes no room
DURATION = re.compile(r"(\d+)\s*(sec|s|min|m|h|d)?", re.ASCII)

Colour = Literal["red", "orange", "blue", "green", "violet", "gray"]


@dataclass(frozen=True, slots=True)
class Look:
    """A state as an icon and a word: colour alone never says it."""

    word: str
    icon: str
    colour: Colour


JOB_LOOKS = {
    JobState.PENDING: Look("Waiting", ":material/hourglass_empty:", "orange"),
    JobState.STARTING: Look("Starting", ":material/rocket_launch:", "blue"),
    JobState.RUNNING: Look("Running", ":material/play_arrow:", "blue"),
    JobState.STOPPING: Look("Stopping", ":material/stop_circle:", "orange"),
    JobState.SUCCEEDED: Look("Succeeded", ":material/check_circle:", "green"),
    JobState.FAILED: Look("Failed", ":material/error:", "red"),
    JobState.STOPPED: Look("Stopped", ":material/cancel:", "gray"),
}
RUN_WORDS = {
    RunState.LEASED: "GPUs leased, not started yet",
    RunState.UNKNOWN: "unknown: its site is silent",
    RunState.PREEMPTED: "recalled by its owner",
    RunState.LOST: "lost with its site or node",
}
QUOTA_WORDS = {
    QuotaClass.IN_QUOTA: "in quota",
    QuotaClass.BORROWED: "borrowed",
    QuotaClass.BACKGROUND: "background",
}
TIER_WORDS = {
    Tier.TEAM: "Team",
    Tier.INSTITUTION: "Institution",
    Tier.NATIONAL: "National",
    Tier.FRONTIER: "Frontier",
}


def run_word(state: RunState) -> str:
    """Return a run's state as people say it."""
    return RUN_WORDS.get(state, state.value)


def span(length: timedelta) -> str:
    """Return a length of time in its two largest units: `1 h 20 min`."""
    seconds = max(0, round(length.total_seconds()))
    days, rest = divmod(seconds, 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, seconds = divmod(rest, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")]
    first = next((place for place, (amount, _) in enumerate(parts) if amount), len(parts) - 1)
    said = [f"{amount} {unit}" for amount, unit in parts[first : first + 2] if amount]
    return " ".join(said) or "0 s"


def rough(length: timedelta) -> str:
    """Return a length of time in one unit, as people estimate: `2 min`, `5 days`."""
    seconds = max(0.0, length.total_seconds())
    if seconds < 59.5:  # noqa: PLR2004  # what rounds to a whole minute is said in minutes
        return f"{round(seconds)} s"
    if length < HOUR:
        return f"{round(length / MINUTE)} min"
    if length < 2 * DAY:
        return f"{round(length / HOUR)} h"
    return f"{round(length / DAY)} days"


def ago(at: datetime, now: datetime) -> str:
    """Return how long ago `at` was; a clock slightly ahead of ours is still `just now`."""
    return "just now" if now - at < timedelta(seconds=5) else f"{rough(now - at)} ago"


def ahead(at: datetime, now: datetime) -> str:
    """Return when `at` comes, as an estimate; one that has passed is due any moment."""
    return f"in about {rough(at - now)}" if at > now else "any moment now"


def moment(at: datetime, now: datetime, zone: tzinfo) -> str:
    """Return the exact time in the viewer's zone, with the date where it is not today."""
    local = at.astimezone(zone)
    if local.date() == now.astimezone(zone).date():
        return f"{local:%H:%M:%S}"
    return f"{local.day} {local:%b %Y %H:%M}"


def zone_name(now: datetime, zone: tzinfo) -> str:
    """Return the zone's name, as in `UTC` or `CET`."""
    return now.astimezone(zone).tzname() or "UTC"


def count(amount: int, noun: str) -> str:
    """Return an amount with its noun in the right number: `1 GPU`, `8 GPUs`."""
    return f"{amount:,} {noun}" if amount == 1 else f"{amount:,} {noun}s"


def gang(nodes: int, gpus_per_node: int) -> str:
    """Return what a job asks for: `1 GPU`, `16 GPUs (2 nodes x 8)` with a real times sign."""
    total = count(nodes * gpus_per_node, "GPU")
    return total if nodes == 1 else f"{total} ({nodes} nodes × {gpus_per_node})"  # noqa: RUF001


def tiers(low: Tier, high: Tier) -> str:
    """Return a range of tiers in words."""
    if low is high:
        return f"{TIER_WORDS[low]} only"
    return f"{TIER_WORDS[low]} to {TIER_WORDS[high]}"


def parse_duration(text: str) -> timedelta | None:
    """Read `90s`, `30m`, `2h 30m`, `7d`, or plain seconds; nothing is None.

    Raises:
        ValueError: it is none of these, or no time at all.
    """
    words = text.strip().lower()
    if not words:
        return None
    parts = DURATION.findall(words)
    left = DURATION.sub("", words).strip()
    length = sum((int(n) * UNITS[(unit or "s")[0]] for n, unit in parts), timedelta())
    if left or not length:
        raise ValueError(f"“{text.strip()}” is not a length of time")
    return length


def plain(text: str) -> str:
    """Return people's text so that Markdown shows it as it was written, on one line."""
    line = SHORTCODE.sub(f":{WORD_JOINER}", " ".join(text.split()))
    return MARKDOWN.sub(r"\\\1", line)


def shortened(text: str, longest: int = 80) -> str:
    """Return one line of at most `longest` characters."""
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def when_used_up(budget: BudgetView) -> str:
    """Return when a budget is used up if use goes on as it went: likely, and how sure."""
    if budget.per_day is None:
        return "too few days to tell"
    if budget.earliest is None:
        return f"lasts until {budget.valid_to:%Y-%m-%d}"
    latest = "may last" if budget.latest is None else f"{budget.latest:%Y-%m-%d}"
    likely = "probably lasts" if budget.likely is None else f"{budget.likely:%Y-%m-%d}"
    sure = budget.earliest == budget.latest
    return likely if sure else f"{likely} ({budget.earliest:%Y-%m-%d} to {latest})"
