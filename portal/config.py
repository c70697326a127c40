"""Settings of the portal's process, from `COMMONPOOL_*` variables."""

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class PortalSettings(BaseSettings):
    """Where the hub is, and whether one person has this portal to themselves."""

    model_config = SettingsConfigDict(env_prefix="COMMONPOOL_", frozen=True, extra="ignore")

    hub_url: str = "http://127.0.0.1:8265"
    portal_token: SecretStr | None = Field(
        default=None, description="The one token to use; then nobody signs in: loopback only"
    )
