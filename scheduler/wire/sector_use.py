"""How many GPUs each sector had, hour by hour, as a message."""

from pydantic import AwareDatetime, Field

from scheduler.core.model import Sector
from scheduler.wire.nodes import Message


class SectorHours(Message):
    """A sector's GPUs, as the mean of each hour from the page's `since` on."""

    sector: Sector
    gpus: tuple[float, ...]


class SectorUsePage(Message):
    """GPUs in use by sector. A GPU counts once, for whoever has it leased; guests are left out."""

    since: AwareDatetime = Field(description="A full hour")
    until: AwareDatetime = Field(description="The last hour is as long as it has lasted")
    capacity: int = Field(description="GPUs of all pools in the policy, now")
    simulated: bool = Field(description="Some of them stand for no real GPU")
    sectors: tuple[SectorHours, ...] = Field(description="Those that used any")
