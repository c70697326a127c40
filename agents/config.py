"""Settings of the site agent and of the node agent, from options or `COMMONPOOL_*`.

Built in the `main` of each, passed down as arguments. The hub's token is read from its
file at each use, so that it can be replaced while the agent runs.
"""

import os
import socket
from pathlib import Path
from typing import Self

from pydantic import Field, HttpUrl, TypeAdapter, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from agents.metric_sets import MetricSet
from agents.tokens import TokenUnreadable, read_token

__all__ = ["NodeSettings", "SiteSettings", "TokenUnreadable", "read_token"]

_URL = TypeAdapter(HttpUrl)


def _checked_url(value: str) -> str:
    try:
        _URL.validate_python(value)
    except ValidationError as error:
        raise ValueError(f"{value!r} is not a URL such as http://127.0.0.1:8265") from error
    return value.rstrip("/")


class _AgentSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="COMMONPOOL_", frozen=True, extra="ignore")

    hub: str = Field(description="URL of the hub, e.g. http://127.0.0.1:8265")
    token_file: Path = Field(description="File with this agent's token")
    log_format: str = Field(default="console", pattern="^(console|json)$")

    @field_validator("hub")
    @classmethod
    def hub_is_a_url(cls, value: str) -> str:
        """Refuse what no request can be sent to; drop the slash at the end."""
        return _checked_url(value)

    def token(self) -> str:
        """Return the token as the file has it now."""
        return read_token(self.token_file)


class SiteSettings(_AgentSettings):
    """What a site agent needs to know. Times are seconds."""

    site: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")
    data: Path = Field(description="Folder of this site's records, logs and checkpoints")
    shared_ray: str | None = Field(default=None, description="Jobs address of the shared Ray head")
    shared_ray_token_file: Path | None = None
    wait_seconds: float = Field(default=20, ge=0, le=60, description="Of the long poll")
    tick_seconds: float = Field(default=0.5, gt=0, description="Between looks at deadlines")
    poll_seconds: float = Field(default=1, gt=0, description="Between looks at a running run")
    unknown_after: float = Field(default=15, gt=0, description="Silence of a Ray head")
    lost_after: float = Field(default=120, gt=0, description="Silence, then the run is fenced")
    stop_wait: float = Field(default=6, gt=0, description="For a stop, before the kill")
    log_wait: float = Field(default=10, gt=0, description="For the rest of a log, at the end")
    max_log_bytes: int = Field(default=256 * 1024 * 1024, ge=1024, description="Kept per run")
    keep_days: float = Field(default=14, gt=0, description="Unused checkpoints and packages")
    launcher: str = Field(
        default="site", pattern="^(site|node)$", description="Who starts Ray: this agent, or nodes'"
    )
    launches: int = Field(
        default=max(1, (os.cpu_count() or 1) // 2),
        ge=1,
        description="Ray nodes that start at a time on this machine, all its agents together",
    )
    object_store_bytes: int = Field(default=80_000_000, ge=75_000_000, description="Per Ray node")
    scratch: Path = Field(default=Path("/tmp"), description="Short folder for Ray's sockets")  # noqa: S108  # Unix socket paths end at 107 bytes; the folder made in it is private

    @field_validator("shared_ray")
    @classmethod
    def shared_ray_is_a_url(cls, value: str | None) -> str | None:
        """Refuse what no request can be sent to; drop the slash at the end."""
        return None if value is None else _checked_url(value)

    def shared_token(self) -> str | None:
        """Return the shared head's token, or None where it asks for none."""
        if self.shared_ray_token_file is None:
            return None
        return read_token(self.shared_ray_token_file)


class GatewaySettings(_AgentSettings):
    """What a gateway needs to know; its token is the one of its site's agents."""

    gateway: str = Field(pattern=r"^[^:/]*:[0-9]{1,5}$", description="Where to listen, HOST:PORT")

    @property
    def address(self) -> tuple[str, int]:
        """Return host and port; no host is this machine alone."""
        host, _, port = self.gateway.rpartition(":")
        return host or "127.0.0.1", int(port)


class NodeSettings(_AgentSettings):
    """What a node agent needs to know; `nodes` are the names that it speaks for. Times: seconds."""

    pool: str
    nodes: tuple[str, ...] = Field(default_factory=lambda: (this_machine(),), min_length=1)
    simulated: str = Field(
        default="", description="What each node has, e.g. 8xH100, where no such GPU exists"
    )
    block: str = ""
    model: str = Field(default="", max_length=40, description="The GPUs' model, as pools call it")
    data: Path | None = Field(default=None, description="Folder of what outlives a restart")
    interval: float = Field(default=1, ge=0.1, le=60, description="Between looks at the GPUs")
    stuck_after: float = Field(
        default=10, gt=0, le=600, description="A driver call that takes so long"
    )
    exporter_address: str = "0.0.0.0"  # noqa: S104  # as dcgm-exporter: Prometheus is elsewhere
    exporter_port: int = Field(default=9400, ge=0, le=65535, description="0: no /metrics")
    host_label: str = Field(
        default="Hostname", pattern="^[Hh]ostname$", description="As your dashboards spell it"
    )
    metrics: MetricSet = Field(default=MetricSet.DEFAULT, description="Which names per GPU")
    launch: bool = Field(default=False, description="Start the Ray nodes of runs leased here")
    launch_address: str = Field(default="", max_length=100, description="As other nodes reach it")
    object_store_bytes: int = Field(default=80_000_000, ge=75_000_000, description="Per Ray node")
    scratch: Path = Field(default=Path("/tmp"), description="Short folder for Ray's sockets")  # noqa: S108  # as for SiteSettings

    @model_validator(mode="after")
    def a_real_agent_speaks_for_its_own_machine(self) -> Self:
        """Refuse several names for real GPUs: they are of one machine."""
        real = not self.simulated
        if real and len(self.nodes) > 1:
            raise ValueError("real GPUs are of one --node; several need --simulated, e.g. 8xH100")
        if self.launch and not (real and self.data):
            raise ValueError("--launch is for real GPUs, and needs --data to keep what it started")
        return self

    @property
    def serves_metrics(self) -> bool:
        """Whether simulated nodes have a `/metrics`: only where somebody named its port."""
        return "exporter_port" in self.model_fields_set and self.exporter_port > 0

    @property
    def exporter(self) -> str:
        """Return where simulated nodes' `/metrics` is, for others: this machine if it is at all."""
        if not self.serves_metrics:
            return ""
        host = self.exporter_address
        if host in _EVERY_ADDRESS:
            host = socket.gethostname()
        return f"[{host}]:{self.exporter_port}" if ":" in host else f"{host}:{self.exporter_port}"


_EVERY_ADDRESS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104  # compared with, not bound


def this_machine() -> str:
    """Return this machine's name as a node's: short, in small letters."""
    return socket.gethostname().partition(".")[0].lower()
