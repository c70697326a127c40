"""Which policy a simulation plans by: one that ships here, a file of rules, or a whole policy."""

from dataclasses import dataclass
from datetime import timedelta
from importlib.resources import files
from pathlib import Path

from scheduler import policy_file
from scheduler.core.model import Tier
from scheduler.core.policy import Policy, Rules, TierRules
from scheduler.errors import Fault, Refused
from scheduler.policy_file import PolicyRefused
from scheduler.sim.source import LONGEST, read_text

SHIPPED = ("default", "easy", "fifo")
_PLAIN = TierRules(LONGEST, LONGEST, notice=timedelta(minutes=10))


@dataclass(frozen=True, slots=True)
class Rulebook:
    """Rules and tiers alone, to be filled in with a trace's cluster and tenants."""

    rules: Rules
    tiers: tuple[tuple[Tier, TierRules], ...]


def read_rulebook(named: str) -> Rulebook | Policy:
    """Return a shipped policy by name, or what a file says: rules alone, or a whole policy.

    Raises:
        Refused: there is no such file, or it has problems: all of them, by line and field.
    """
    if named not in SHIPPED and not Path(named).exists():
        raise Refused(
            title="no such policy",
            detail=f"there is no file {named}, and no shipped policy of that name",
            field="--policy or --compare",
            value=named,
            limit=f"shipped are {', '.join(SHIPPED)}",
            next_step="name one of these, or a file",
        )
    if named in SHIPPED:
        text = files("scheduler.sim").joinpath("policies", f"{named}.yaml").read_text("utf-8")
    else:
        text = read_text(Path(named))
    try:
        return policy_file.load(text, 1) if _is_whole(text) else rules_of(text)
    except PolicyRefused as refused:
        faults = tuple(Fault(p.field, p.reason, p.line) for p in refused.problems)
        what = f"{named} is not a policy to simulate"
        raise Refused(
            title=what, detail=what, faults=faults, next_step="correct it; nothing was simulated"
        ) from refused


def _is_whole(text: str) -> bool:
    """Return whether the text has a section of its own for accounts, as a whole policy must."""
    return any(line.startswith("accounts:") for line in text.splitlines())


def rules_of(text: str) -> Rulebook:
    """Return what a file of `version`, `rules` and perhaps `tiers` says.

    Of a tier that it does not name, no limit is too long.

    Raises:
        PolicyRefused: with every problem that was found.
    """
    read = policy_file.read_rules_document(text)
    if not isinstance(read, policy_file.RulesDocument):
        raise PolicyRefused(read)
    told = dict(read.tiers)
    return Rulebook(read.rules, tuple((tier, told.get(tier, _PLAIN)) for tier in Tier))
