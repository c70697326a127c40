"""Command line and composition root: `commonpool …`.

Each command lives with the part that it belongs to and is imported when it is called, so
`commonpool --help` is quick and a part's extra is needed only by that part's commands.
"""

import importlib
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from scheduler import compiled, complaints

_HERE = "On this machine"
_WORK = "Your work"
_RUN = "Running a hub and its sites"
_OURS = frozenset({"scheduler", "agents", "portal"})


@dataclass(frozen=True, slots=True)
class Late:
    """A command that is imported when called. `member`: its name in a group that is not shown."""

    module: str
    panel: str
    help: str
    member: str = ""

    def load(self) -> TyperCommand | TyperGroup:
        """Import the command.

        Raises:
            ModuleNotFoundError: the part that it belongs to is not installed.
        """
        compiled.prefer()  # before anything that plans is imported
        name, _, attribute = self.module.partition(":")
        command: Any = typer.main.get_command(getattr(importlib.import_module(name), attribute))
        found: TyperCommand | TyperGroup = command.commands[self.member] if self.member else command
        return found


_EMBEDDED, _ADMIN = "scheduler.embedded.cli:app", "scheduler.admin_cli:"
_PEOPLE = "portal.commands.jobs:app"
_REQUESTS = "portal.commands.requests:app"
_SHARING = "portal.commands.sharing:app"
_SUBMIT = "portal.commands.submit:app"
_IDENTITY = "portal.commands.identity:app"
_PLANNER, _REPLAY = "portal.commands.planner:app", "scheduler.replay_cli:app"
COMMANDS = {
    "up": Late(_EMBEDDED, _HERE, "Start everything on this machine.", "up"),
    "status": Late(_EMBEDDED, _HERE, "Show each process and the pools.", "status"),
    "demo": Late(
        "scheduler.embedded.demo_cli:app", _HERE, "A dozen real Ray programs, narrated.", "demo"
    ),
    "prometheus": Late(
        "scheduler.embedded.prometheus_cli:app", _HERE, "Watch it all by Prometheus.", "prometheus"
    ),
    "down": Late(_EMBEDDED, _HERE, "Stop everything that `up` started.", "down"),
    "login": Late(_IDENTITY, _WORK, "Sign in at a hub, with a browser.", "login"),
    "logout": Late(_IDENTITY, _WORK, "End what `login` began.", "logout"),
    "whoami": Late(_IDENTITY, _WORK, "Say who you are, and what you may.", "whoami"),
    "identity": Late("portal.commands.identities:app", _WORK, "Link or unlink who you sign in as."),
    "submit": Late(_SUBMIT, _WORK, "Submit a job.", "submit"),
    "templates": Late(_SUBMIT, _WORK, "List programs to start from.", "templates"),
    "jobs": Late(_PEOPLE, _WORK, "List your jobs.", "jobs"),
    "logs": Late(_PEOPLE, _WORK, "Print a job's log.", "logs"),
    "explain": Late(_PEOPLE, _WORK, "Say why a job is where it is.", "explain"),
    "cost": Late("portal.commands.job_reports:app", _WORK, "Say what a job costs."),
    "cancel": Late(_PEOPLE, _WORK, "End jobs.", "cancel"),
    "recall": Late(_PEOPLE, _WORK, "Take an idle job's lease back.", "recall"),
    "queue": Late(_PLANNER, _WORK, "List waiting jobs and their starts.", "queue"),
    "shares": Late(_PLANNER, _WORK, "Show the tree of accounts by share.", "shares"),
    "prio": Late(_PLANNER, _WORK, "Show what orders waiting jobs.", "prio"),
    "recalls": Late(_PLANNER, _WORK, "Say how long owners waited for what they lent.", "recalls"),
    "ledger": Late(_SHARING, _WORK, "Show who lent what to whom.", "ledger"),
    "usage": Late(_SHARING, _WORK, "Show what your accounts used and have left.", "usage"),
    "top": Late("portal.commands.top:app", _WORK, "Watch GPUs, and who uses them.", "top"),
    "pools": Late(_PEOPLE, _WORK, "Show what is free, tier by tier.", "pools"),
    "projects": Late(
        "portal.commands.projects:app", _WORK, "List projects and members.", "projects"
    ),
    "request": Late(_REQUESTS, _WORK, "Ask for what others decide on; decide."),
    "estimate": Late("scheduler.estimate_cli:app", _WORK, "Say what a training run takes."),
    "hub": Late(_ADMIN + "hub_app", _RUN, "Run a hub in the foreground."),
    "site-agent": Late("agents.site.main:app", _RUN, "Carry out leases at one site."),
    "node-agent": Late("agents.node.main:app", _RUN, "Report nodes and their GPUs."),
    "portal": Late("portal.commands.serve:app", _RUN, "Serve the web pages."),
    "policy": Late(_ADMIN + "policy_app", _RUN, "Check, compare, apply or show the policy."),
    "diag": Late(_PLANNER, _RUN, "Say how planning goes.", "diag"),
    "what-if": Late(_REPLAY, _RUN, "Play the past under another policy.", "what-if"),
    "replay": Late(_REPLAY, _RUN, "Plan a recording again.", "replay"),
    "simulate": Late("scheduler.sim.cli:app", _RUN, "Replay a trace of jobs under a policy."),
    "audit": Late("scheduler.audit_cli:app", _RUN, "Read, verify or export the audit log."),
    "node": Late("scheduler.node_cli:app", _RUN, "List, show, drain or reserve nodes."),
    "waste": Late("scheduler.node_cli:waste_app", _RUN, "Say what GPUs did with their leases."),
    "token": Late(_ADMIN + "token_app", _RUN, "Create, list or revoke tokens."),
    "admin": Late(_ADMIN + "admin_app", _RUN, "Migrate; look at nodes and accounts."),
    "version": Late(_ADMIN + "version_app", _RUN, "Show the version, here and at the hub."),
}
# Modules that belong to an extra, by the name under which they fail to import.
_EXTRAS = {
    "ray": "site",
    "streamlit": "portal",
    "kubernetes": "operator",
    "pynvml": "agent",
    "sklearn": "demo",
}


class LateGroup(TyperGroup):
    """Shows its commands from a table, imports one when it is called, tells what went wrong."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401  # Typer's, passed through
        """Put a name and a line of help in the place of each command."""
        super().__init__(**attributes)
        for name, late in COMMANDS.items():
            stub = TyperCommand(name, help=late.help, rich_help_panel=late.panel)
            self.add_command(stub)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401  # private types
        """Import the command that is called."""
        late = COMMANDS.get(args[0])
        if late is not None:
            self.commands[args[0]] = _loaded(args[0], late)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401  # private types
        """Run the command; a refusal or an absent hub is one screen, never a traceback."""
        with complaints.told():
            return super().invoke(ctx)


def _loaded(name: str, late: Late) -> TyperCommand | TyperGroup:
    try:
        command = late.load()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in _OURS:
            raise
        what = f"{name} needs {missing}, which is not installed"
        extra = _EXTRAS.get(missing, "scheduler")
        raise typer.BadParameter(f"{what}: pip install 'commonpool[{extra}]'") from error
    command.name = name
    return command


app = typer.Typer(
    cls=LateGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def commonpool() -> None:
    """Share GPU compute between organisations: one queue over team, institution and nation.

    New here? `commonpool up`, then `commonpool demo`.
    """


def run() -> None:
    """Run the command line."""
    app(prog_name="commonpool")


if __name__ == "__main__":
    run()
