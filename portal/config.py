"""Settings of the portal's process, from `COMMONPOOL_*` variables."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class PortalSettings(BaseSettings):
    """Where the hub is, and whose tokens the embedded demo sign-in may use."""

    model_config = SettingsConfigDict(env_prefix="COMMONPOOL_", frozen=True, extra="ignore")

    hub_url: str = "http://127.0.0.1:8265"
    portal_tokens: Path | None = Field(
        default=None, description="Folder of <person>.token files, one per demo user"
    )
    portal_token: SecretStr | None = Field(
        default=None, description="The one token to use; then nobody chooses"
    )
