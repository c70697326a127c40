"""Settings of the hub's process, from `COMMONPOOL_*` variables; built in `main`, passed down.

Scheduling policy is not configuration: it is data with a revision (`core/policy.py`).
"""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class HubSettings(BaseSettings):
    """What the hub needs to know before it reads its database."""

    model_config = SettingsConfigDict(env_prefix="COMMONPOOL_", frozen=True, extra="ignore")

    data: Path = Field(
        default=Path(".commonpool"), description="Folder of database, logs, packages"
    )
    database_url: str = Field(
        default="",
        description="postgresql+psycopg://… ; empty is SQLite in the data folder",
    )
    host: str = "127.0.0.1"
    port: int = Field(default=8265, ge=1, le=65_535)
    max_package_bytes: int = Field(default=100 * 1024 * 1024, ge=1)
    max_log_bytes: int = Field(default=256 * 1024 * 1024, ge=1, description="Kept per run")
    cycle_seconds: float = Field(default=5, gt=0, description="Longest pause between cycles")
    watch_seconds: float = Field(default=1, gt=0)
    node_report_seconds: float = Field(default=15, gt=0)
    node_stale_seconds: float = Field(default=60, gt=0)
    rollup_seconds: float = Field(default=300, gt=0, description="Between rollups of GPU use")
    site_lost_seconds: float = Field(
        default=120, gt=0, description="Silence after which a site's runs are unknown"
    )
    launch_lease_seconds: float = Field(
        default=300, ge=5, description="For which a node may run what it started, unheard"
    )
    record: Path | None = Field(
        default=None, description="Folder to record cycles into, for `commonpool replay`"
    )
    identity: Path | None = Field(
        default=None, description="YAML file of issuers and sessions: docs/identity.md"
    )
    public_url: str = Field(
        default="", description="Of the portal and the hub, as browsers see them"
    )
    development_issuer: bool = Field(
        default=False, description="Let anybody be anybody: for one machine, on loopback only"
    )
    portal_url: str = Field(default="", description="Where people reach the portal, for links")
    smtp_host: str = Field(default="", description="Mail server for notices; empty sends none")
    smtp_port: int = Field(default=587, ge=1, le=65_535)
    smtp_security: str = Field(default="starttls", pattern="^(none|starttls|tls)$")
    smtp_user: str = ""
    smtp_password: SecretStr = SecretStr("")
    smtp_from: str = Field(default="commonpool@localhost", description="Sender of notices")
    webhook_url: str = Field(default="", description="Told of every notice, as signed JSON")
    webhook_secret: SecretStr = SecretStr("")
    log_format: str = Field(default="console", pattern="^(console|json)$")

    @property
    def sqlalchemy_url(self) -> str:
        """Return the database's URL, with the embedded default filled in."""
        return self.database_url or f"sqlite+aiosqlite:///{self.data.absolute() / 'hub.db'}"
